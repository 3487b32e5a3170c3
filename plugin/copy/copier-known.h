/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the destination has of one file, fetched page by page ahead of the connections that need it. */
#pragma once

#include "copy/known-blocks.h"
#include "port/env.h"

typedef struct VmigKnown VmigKnown;

/* Starts fetching. Keeps events and its user pointer. */
VmigKnown *vmig_known_new(guint64 size, const VmigCopyEvents *events, guint index);
/* Waits until the block is known. *ret is NULL for a block that is a hole on the destination; (transfer full). Each
 * block can be taken once, and all must be taken, roughly in order, because the number fetched ahead is limited. Fails
 * with the error of the fetch, or with CANCELLED after vmig_known_stop(). */
gboolean vmig_known_take(VmigKnown *known, guint64 index, VmigKnownBlock **ret, GError **error);
/* Callable from any thread: ends all waits. */
void vmig_known_stop(VmigKnown *known);
void vmig_known_free(VmigKnown *known);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigKnown, vmig_known_free)
