/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* libvmig-snap: live migration of KVM guests with all their internal snapshots. docs/library.md says how to use it.
 *
 * Folder plugin/vmig-snap: the public headers of the library, as they are installed. They include GLib, GIO, json-glib
 * and one another.
 */
#pragma once

#include <vmig-snap/vmig-document.h>
#include <vmig-snap/vmig-error.h>
#include <vmig-snap/vmig-migrate-request.h>
#include <vmig-snap/vmig-resume-request.h>
#include <vmig-snap/vmig-serve.h>
#include <vmig-snap/vmig-session.h>
#include <vmig-snap/vmig-state.h>
#include <vmig-snap/vmig-text.h>
#include <vmig-snap/vmig-types.h>

G_BEGIN_DECLS

const char *vmig_version(void);

G_END_DECLS
