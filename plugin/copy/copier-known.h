/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the destination has of one file, fetched page by page ahead of the connections that need it. */
#pragma once

#include "copy/known-blocks.h"
#include "port/env.h"

typedef struct VmigKnown VmigKnown;

/* Begins to fetch. events and its user are kept. */
VmigKnown *vmig_known_new(guint64 size, const VmigCopyEvents *events, guint index);
/* Waits until it is known. *ret is NULL for a block that is nothing but a hole there; (transfer full). Each block can
 * be taken once, and all of them have to be, more or less in order: what is fetched ahead is bounded. The error is that
 * of the fetching, or CANCELLED after vmig_known_stop(). */
gboolean vmig_known_take(VmigKnown *known, guint64 index, VmigKnownBlock **ret, GError **error);
/* From any thread: whoever waits ends. */
void vmig_known_stop(VmigKnown *known);
void vmig_known_free(VmigKnown *known);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigKnown, vmig_known_free)
