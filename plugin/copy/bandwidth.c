/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "copy/bandwidth.h"

#define BURST (G_USEC_PER_SEC / 4) /* an idle bucket saves up this much time's worth of bytes */
#define SMALLEST 4096              /* direct I/O at the receiver cannot use smaller pieces */

struct VmigBandwidth {
    GMutex lock;
    guint64 rate;
    double tokens; /* negative after a take that exceeded the bucket; it is paid back afterwards */
    gint64 filled; /* monotonic time of the last refill */
};

VmigBandwidth *vmig_bandwidth_new(guint64 rate)
{
    VmigBandwidth *bandwidth = g_new0(VmigBandwidth, 1);

    g_mutex_init(&bandwidth->lock);
    bandwidth->rate = rate;
    bandwidth->filled = g_get_monotonic_time();
    return bandwidth;
}

void vmig_bandwidth_free(VmigBandwidth *bandwidth)
{
    if (bandwidth == NULL)
        return;
    g_mutex_clear(&bandwidth->lock);
    g_free(bandwidth);
}

void vmig_bandwidth_set(VmigBandwidth *bandwidth, guint64 rate)
{
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&bandwidth->lock);

    bandwidth->rate = rate;
    bandwidth->tokens = 0; /* discards both a burst saved at the old rate and a debt made at it */
    bandwidth->filled = g_get_monotonic_time();
}

gsize vmig_bandwidth_chunk(VmigBandwidth *bandwidth, gsize max)
{
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&bandwidth->lock);

    if (bandwidth->rate == 0 || bandwidth->rate / 8 >= max)
        return max;
    return MAX(bandwidth->rate / 8 / SMALLEST * SMALLEST, SMALLEST);
}

gint64 vmig_bandwidth_take(VmigBandwidth *bandwidth, gsize bytes, gint64 now)
{
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&bandwidth->lock);
    double rate = (double)bandwidth->rate / G_USEC_PER_SEC;

    if (bandwidth->rate == 0)
        return 0;
    bandwidth->tokens = MIN(bandwidth->tokens + rate * (double)MAX(now - bandwidth->filled, 0), rate * BURST);
    bandwidth->filled = MAX(now, bandwidth->filled);
    double wanted = MIN((double)bytes, rate * BURST);
    if (bandwidth->tokens < wanted)
        return (gint64)((wanted - bandwidth->tokens) / rate) + 1;
    bandwidth->tokens -= (double)bytes;
    return 0;
}
