/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which files the definitions of a libvirt name. On a connection of its own, so that any thread may ask. */
#pragma once

#include <glib.h>

#include "core/errors.h"

/* who: "the definition of 'web1'", "snapshot 'clean' of 'web1'". text: an attribute, or the text of an element, with a
 * slash in it; a volume is given as its path. */
typedef void (*VmigNamedFunc)(gpointer user, const char *who, const char *text);

/* Calls on_text for everything that may name a file, in the live and persistent definition, the saved state and every
 * snapshot of each domain but the one with the UUID except (or NULL). FALSE where not all could be read. */
gboolean vmig_libvirt_named_texts(const char *uri, const char *except, VmigNamedFunc on_text, gpointer user,
                                  GError **error);
