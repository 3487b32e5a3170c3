/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Named places where a test can make the process die, fail, wait or stop.
 *
 * VMIG_SNAP_FAULT=POINT:kill | POINT:error:CODE | POINT:delay:MS | POINT:stop, several separated by commas; POINT@N
 * means the Nth time that the point is reached. Compiled in with -Dfaults=true; otherwise every point is TRUE at no
 * cost.
 */
#pragma once

#include <glib.h>

/* The variable. A process that goes on after a fault must not get it. */
#define VMIG_FAULT_VARIABLE "VMIG_SNAP_FAULT"

#ifdef VMIG_FAULTS
/* TRUE: continue. FALSE with the error set: fail here. */
gboolean vmig_fault(const char *point, GError **error);
#else
static inline gboolean vmig_fault(const char *point G_GNUC_UNUSED, GError **error G_GNUC_UNUSED)
{
    return TRUE;
}
#endif

/* All points, NULL-terminated. (transfer none) */
const char *const *vmig_fault_points(void);
gboolean vmig_fault_compiled_in(void);
