/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What vmig-snap-hook tells the `vmig-snap resume` that it starts: it waits for the end of that process already. */
#pragma once

#define VMIG_WATCHED_VARIABLE "VMIG_SNAP_WATCHED"
