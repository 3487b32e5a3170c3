/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Verifies the process that a file names: its number may have been reused by another process. */
#pragma once

#include <sys/stat.h>

/* A pidfd of that process if it has this file open (device and inode), otherwise -1. (transfer full) */
int vmig_process_that_has(int pid, const struct stat *file);
/* pidfd_send_signal(2). */
int vmig_process_signal(int pidfd, int signum);
