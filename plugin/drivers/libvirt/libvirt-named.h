/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Lists the files that a libvirt's definitions name. Uses its own connection, so that any thread may call it. */
#pragma once

#include <glib.h>

#include "core/errors.h"

/* who: "the definition of 'web1'", "snapshot 'clean' of 'web1'". text: an attribute or element text that contains a
 * slash; a volume is reported as its path. */
typedef void (*VmigNamedFunc)(gpointer user, const char *who, const char *text);

/* Calls on_text for everything that may name a file, in the live and persistent definition, the saved state and all
 * snapshots of each domain except the one with UUID except (or NULL). FALSE if something could not be read. */
gboolean vmig_libvirt_named_texts(const char *uri, const char *except, VmigNamedFunc on_text, gpointer user,
                                  GError **error);
