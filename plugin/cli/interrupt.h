/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Calls a function in its own thread for SIGINT and SIGTERM. SIGHUP is ignored meanwhile, because closing a terminal
 * must not end a job in the middle. */
#pragma once

#include <glib.h>

typedef struct VmigInterrupt VmigInterrupt;

/* Only one at a time in a process. */
VmigInterrupt *vmig_interrupt_new(void (*callback)(gpointer user), gpointer user);
/* Restores the previous signal handling. */
void vmig_interrupt_free(VmigInterrupt *interrupt);
