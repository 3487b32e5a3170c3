/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Resumes a job without an operator: the hook starts it, and it outlives the hook. */
#pragma once

#include "hooks/hook-facts.h"

/* This directory exists if systemd runs (sd_booted(3)). */
#define VMIG_SYSTEMD_DIR "/run/systemd/system"

/* Starts the resume of a job in the background and returns at once. With systemd it is vmig-snap@JOB.service. Without
 * systemd, or without that unit, it is this program's own `--resume JOB`, detached. */
void vmig_hook_wake(const VmigHookPaths *paths, const char *systemd_dir, const char *job);
/* The same for every unfinished job of this host. */
void vmig_hook_wake_all(const VmigHookPaths *paths, const char *systemd_dir);

/* `vmig-snap-hook --resume JOB`: waits until no process works on the job. Then, if the job is still unfinished, runs
 * PROGRAM resume JOB --quiet, repeatedly while the only obstacle is a host that does not answer. Only one may run per
 * job and host; a second one ends at once. Returns the exit code. */
int vmig_hook_watch(const VmigHookPaths *paths, const char *program, const char *job);
