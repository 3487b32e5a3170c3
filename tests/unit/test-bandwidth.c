/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The token bucket with the test's own clock: the results do not depend on the machine. */
#include "copy/bandwidth.h"

#define MIB (1024 * 1024)
#define RATE (16 * MIB)

/* Takes bytes as the copies do, and waits as told. Returns the time that it took, in microseconds. */
static gint64 take_all(VmigBandwidth *bandwidth, guint64 bytes, gint64 *now)
{
    gint64 began = *now;

    while (bytes > 0) {
        gsize chunk = (gsize)MIN(bytes, vmig_bandwidth_chunk(bandwidth, 4 * MIB));
        gint64 wait = vmig_bandwidth_take(bandwidth, chunk, *now);
        g_assert_cmpint(wait, >=, 0);
        g_assert_cmpint(wait, <=, G_USEC_PER_SEC);
        *now += wait;
        if (wait == 0)
            bytes -= chunk;
    }
    return *now - began;
}

/* Neither faster nor slower than requested, apart from what an idle bucket saves. */
static void test_rate(void)
{
    VmigBandwidth *bandwidth = vmig_bandwidth_new(RATE);
    gint64 now = g_get_monotonic_time();

    take_all(bandwidth, RATE, &now);
    for (guint i = 1; i < 5; i++) {
        gint64 took = take_all(bandwidth, (guint64)i * RATE, &now);
        g_assert_cmpint(took, >, i * G_USEC_PER_SEC - G_USEC_PER_SEC / 2);
        g_assert_cmpint(took, <, i * G_USEC_PER_SEC + G_USEC_PER_SEC / 10);
    }
    vmig_bandwidth_free(bandwidth);
}

/* A taker that slept long may not catch up all at once. */
static void test_idle(void)
{
    VmigBandwidth *bandwidth = vmig_bandwidth_new(RATE);
    gint64 now = g_get_monotonic_time() + (gint64)3600 * G_USEC_PER_SEC;

    g_assert_cmpint(take_all(bandwidth, 2 * RATE, &now), >, 3 * G_USEC_PER_SEC / 2);
    vmig_bandwidth_free(bandwidth);
}

static void test_none(void)
{
    VmigBandwidth *bandwidth = vmig_bandwidth_new(0);
    gint64 now = g_get_monotonic_time();

    g_assert_cmpint(take_all(bandwidth, (guint64)1 << 40, &now), ==, 0);
    vmig_bandwidth_free(bandwidth);
}

/* A limit far below a request's size is slow, but the transfer ends. */
static void test_slow(void)
{
    VmigBandwidth *bandwidth = vmig_bandwidth_new(8192);
    gint64 now = g_get_monotonic_time();

    g_assert_cmpint(take_all(bandwidth, 10 * 8192, &now), >, 9 * G_USEC_PER_SEC);
    vmig_bandwidth_free(bandwidth);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/bandwidth/rate", test_rate);
    g_test_add_func("/bandwidth/idle", test_idle);
    g_test_add_func("/bandwidth/none", test_none);
    g_test_add_func("/bandwidth/slow", test_slow);
    return g_test_run();
}
