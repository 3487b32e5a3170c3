/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Identifies block devices across hosts. */
#pragma once

#include <glib.h>

/* A name that the same storage has on every host and no other storage has: the WWN of a SCSI or NVMe disk, the map of a
 * multipath device, a logical volume together with the names of the disks below it. NULL if the device has none: a loop
 * device, a local disk with only a serial number, or a type not supported here. `sysfs` is "/sys". */
char *vmig_block_identity(const char *sysfs, guint major, guint minor);
