/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How one process changes what another one, which works on a job, keeps to: a unix socket in the job's run folder, on
 * which one request is one line of JSON, {"bandwidth":N}, and the answer {} or {"error":{"code","message"}}. Only root
 * (the folder's owner) can connect.
 */
#pragma once

#include <glib.h>

#include "core/errors.h"

typedef struct VmigControl VmigControl;

#define VMIG_CONTROL_SOCKET "control.sock"

/* In any thread; 0 is without limit. */
typedef void (*VmigControlSet)(gpointer user, guint64 bandwidth);

/* Listens until it is freed. A stale socket there goes first. Errors: IO, BAD_PATH. */
VmigControl *vmig_control_new(const char *path, VmigControlSet set, gpointer user, GError **error);
void vmig_control_free(VmigControl *control);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigControl, vmig_control_free)

/* Asks whoever listens there. *heard is FALSE, and that no error, where nobody does. Errors: what it answered, TIMEOUT,
 * CONNECTION, PROTOCOL. */
gboolean vmig_control_ask(const char *path, guint64 bandwidth, gboolean *heard, GError **error);
