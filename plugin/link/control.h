/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Changes settings of a process that works on a job: a unix socket in the job's run folder. A request is one line of
 * JSON, {"bandwidth":N}; the reply is {} or {"error":{"code","message"}}. Only root (the folder's owner) can connect.
 */
#pragma once

#include <glib.h>

#include "core/errors.h"

typedef struct VmigControl VmigControl;

#define VMIG_CONTROL_SOCKET "control.sock"

/* Called in any thread; 0: unlimited. */
typedef void (*VmigControlSet)(gpointer user, guint64 bandwidth);

/* Listens until it is freed. Removes a stale socket first. Errors: IO, BAD_PATH. */
VmigControl *vmig_control_new(const char *path, VmigControlSet set, gpointer user, GError **error);
void vmig_control_free(VmigControl *control);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigControl, vmig_control_free)

/* Sends the request to the process that listens there. If none does, *heard is FALSE without an error. Errors: the
 * reply's own, TIMEOUT, CONNECTION, PROTOCOL. */
gboolean vmig_control_ask(const char *path, guint64 bandwidth, gboolean *heard, GError **error);
