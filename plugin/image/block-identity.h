/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which block device of this host is which one of another host. */
#pragma once

#include <glib.h>

/* A name that the same storage has on every host, and no other storage has: the WWN of a SCSI or NVMe disk, the map of
 * a multipath device, a logical volume together with the names of the disks below it. NULL where the device has none: a
 * loop device, a local disk that only has a serial number, anything that this function does not know. `sysfs` is
 * "/sys". */
char *vmig_block_identity(const char *sysfs, guint major, guint minor);
