/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Another process that goes on with a job if this one dies. */
#pragma once

/* Lets the hook program wait for the end of this process, and resume the job if it is unfinished then: as
 * vmig-snap@JOB.service where systemd runs, otherwise as a process in a session of its own. There is one for each job
 * and host. Best effort: without the hook program nothing waits, which `vmig-snap doctor` reports. */
void vmig_watcher_start(const char *job);
