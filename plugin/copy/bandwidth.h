/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A token bucket that keeps all copies together below --bandwidth. Thread-safe. */
#pragma once

#include <glib.h>

typedef struct VmigBandwidth VmigBandwidth;

/* rate: bytes per second; 0: unlimited. */
VmigBandwidth *vmig_bandwidth_new(guint64 rate);
void vmig_bandwidth_free(VmigBandwidth *bandwidth);
void vmig_bandwidth_set(VmigBandwidth *bandwidth, guint64 rate);
/* The largest amount to take at a time, at most max: an eighth of a second's worth, so that several takers alternate.
 */
gsize vmig_bandwidth_chunk(VmigBandwidth *bandwidth, gsize max);
/* Takes bytes and returns 0, or takes nothing and returns the microseconds after which to try again. */
gint64 vmig_bandwidth_take(VmigBandwidth *bandwidth, gsize bytes, gint64 now);
