/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One operation per domain on this host. The kernel holds the lock, so it ends with its holder and never by age. A
 * leftover lock file is no lock. */
#pragma once

#include <glib.h>

#include "core/errors.h"

#define VMIG_OPLOCK_DIR "/run/vmig-snap/lock"

typedef struct VmigOpLock VmigOpLock;

/* Takes DIR/UUID.lock. Creates DIR (0700) if it is missing. role is "source" or "destination". Errors: LOCKED with the
 * holder's job, role, process and start; BAD_NAME for an invalid UUID. */
VmigOpLock *vmig_oplock_take(const char *dir, const char *uuid, const char *job_id, const char *role, GError **error);
/* The same on behalf of a tool on the other host, which is identified by its name. */
VmigOpLock *vmig_oplock_take_for(const char *dir, const char *uuid, const char *job_id, const char *role,
                                 const char *tool, GError **error);
/* The process that the lock file names, if it holds the lock for this job and this tool; otherwise 0. The file may be
 * that of a dead holder: see vmig_oplock_holder_process(). */
int vmig_oplock_pid_for(const char *dir, const char *uuid, const char *job_id, const char *tool);
/* Releases the lock. A child that inherited the descriptor still holds it. */
void vmig_oplock_release(VmigOpLock *lock);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigOpLock, vmig_oplock_release)
/* The descriptor that holds the lock, close-on-exec. A child that inherits it (or a duplicate) holds the same lock. */
int vmig_oplock_fd(const VmigOpLock *lock);
/* Describes the holder of that domain's lock for people; *holder is NULL if there is none. Takes no lock. */
gboolean vmig_oplock_holder(const char *dir, const char *uuid, char **holder, GError **error);
/* The process that holds it, as a pidfd (transfer full); -1 if there is none. A process counts only if it has the lock
 * file open, because the contents of the file may be those of a dead holder. *holder as above, NULL with -1. LOCKED if
 * the lock is held and its process cannot be found. */
gboolean vmig_oplock_holder_process(const char *dir, const char *uuid, int *pidfd, int *pid, char **holder,
                                    GError **error);
