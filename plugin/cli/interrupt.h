/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* SIGINT and SIGTERM as calls of a function, in a thread of its own. SIGHUP is ignored meanwhile: a job must not end in
 * the middle because a terminal was closed. */
#pragma once

#include <glib.h>

typedef struct VmigInterrupt VmigInterrupt;

/* One at a time in a process. */
VmigInterrupt *vmig_interrupt_new(void (*callback)(gpointer user), gpointer user);
/* The signals do what they did before. */
void vmig_interrupt_free(VmigInterrupt *interrupt);
