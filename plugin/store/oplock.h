/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One operation per domain on this host: a lock that the kernel holds, so that it ends with its holder and never by
 * age. A file that is left over is no lock. */
#pragma once

#include <glib.h>

#include "core/errors.h"

#define VMIG_OPLOCK_DIR "/run/vmig-snap/lock"

typedef struct VmigOpLock VmigOpLock;

/* Takes DIR/UUID.lock; makes DIR (0700) where it is missing. role is "source" or "destination".
 * Error: LOCKED names the holder's job, role and process and since when; BAD_NAME for what is no UUID. */
VmigOpLock *vmig_oplock_take(const char *dir, const char *uuid, const char *job_id, const char *role, GError **error);
/* The same for a tool on another host, which is asked for by its name. */
VmigOpLock *vmig_oplock_take_for(const char *dir, const char *uuid, const char *job_id, const char *role,
                                 const char *tool, GError **error);
/* The process that its holder's file names, if it holds the lock for this job and this tool; else 0. What is written
 * may be of a holder that is gone: see vmig_oplock_holder_process(). */
int vmig_oplock_pid_for(const char *dir, const char *uuid, const char *job_id, const char *tool);
/* Lets go. A child that was given the descriptor goes on holding it. */
void vmig_oplock_release(VmigOpLock *lock);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigOpLock, vmig_oplock_release)
/* The descriptor that holds the lock, close-on-exec: a child that inherits (a duplicate of) it holds the same lock. */
int vmig_oplock_fd(const VmigOpLock *lock);
/* Who holds the lock of that domain, for people; *holder is NULL if nobody does. Takes nothing. */
gboolean vmig_oplock_holder(const char *dir, const char *uuid, char **holder, GError **error);
/* The process that holds it, as a pidfd (transfer full); -1 if nobody does. A process counts only if it has the very
 * file of the lock open: what is written in the file may be of a holder that is gone. *holder as above, NULL with -1.
 * LOCKED where it is held and its process cannot be found. */
gboolean vmig_oplock_holder_process(const char *dir, const char *uuid, int *pidfd, int *pid, char **holder,
                                    GError **error);
