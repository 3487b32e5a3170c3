/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A process that a file names, proven to be the one that is meant: a number in a file may be another process's by now.
 */
#pragma once

#include <sys/stat.h>

/* A pidfd of that process if it has this very file open (device and inode), else -1. (transfer full) */
int vmig_process_that_has(int pid, const struct stat *file);
/* pidfd_send_signal(2). */
int vmig_process_signal(int pidfd, int signum);
