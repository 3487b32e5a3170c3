/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Carrying a job on without anybody asking: started by the hook, outliving it. */
#pragma once

#include "hooks/hook-facts.h"

/* Where systemd runs, this folder exists (sd_booted(3)). */
#define VMIG_SYSTEMD_DIR "/run/systemd/system"

/* Starts the resume of a job in the background and returns at once. Under systemd it is vmig-snap@JOB.service; without
 * (or where that unit is not there) it is this program's own `--resume JOB`, detached. */
void vmig_hook_wake(const VmigHookPaths *paths, const char *systemd_dir, const char *job);
/* The same for every unfinished job of this host. */
void vmig_hook_wake_all(const VmigHookPaths *paths, const char *systemd_dir);

/* `vmig-snap-hook --resume JOB`: waits until no process works on the job, then, if it is still unfinished, runs
 * PROGRAM resume JOB --quiet, again and again while only a host that does not answer is in the way. One of them per job
 * and host; a second one ends at once. Returns the exit code. */
int vmig_hook_watch(const VmigHookPaths *paths, const char *program, const char *job);
