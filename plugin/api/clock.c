/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* CLOCK_BOOTTIME, so that deadlines pass while the host is suspended; getrandom() for names and jitter. */
#include "api/clock.h"

#include <sys/random.h>
#include <time.h>

typedef struct {
    VmigClock parent;
    VmigWaker *waker;
} RealClock;

static gint64 clock_now(VmigClock *clock G_GNUC_UNUSED)
{
    struct timespec ts;

    clock_gettime(CLOCK_BOOTTIME, &ts);
    return (gint64)ts.tv_sec * G_USEC_PER_SEC + ts.tv_nsec / 1000;
}

static gint64 clock_wall(VmigClock *clock G_GNUC_UNUSED)
{
    return g_get_real_time();
}

static void clock_wait(VmigClock *clock, gint64 until)
{
    vmig_waker_wait(((RealClock *)clock)->waker, until - clock_now(clock));
}

static void clock_free(VmigClock *clock)
{
    vmig_waker_unref(((RealClock *)clock)->waker);
    g_free(clock);
}

static const VmigClockOps clock_ops = {clock_now, clock_wall, clock_wait, clock_free};

VmigClock *vmig_clock_new(VmigWaker *waker)
{
    RealClock *clock = g_new0(RealClock, 1);

    clock->parent.ops = &clock_ops;
    clock->waker = vmig_waker_ref(waker);
    return &clock->parent;
}

static void random_bytes(VmigRandom *self G_GNUC_UNUSED, guint8 *buffer, gsize length)
{
    gsize done = 0;

    while (done < length) {
        gssize n = getrandom(buffer + done, length - done, 0);
        if (n > 0)
            done += (gsize)n;
    }
}

static double random_unit(VmigRandom *self)
{
    guint32 value;

    random_bytes(self, (guint8 *)&value, sizeof value);
    return value / 4294967296.0;
}

static void random_free(VmigRandom *self)
{
    g_free(self);
}

static const VmigRandomOps random_ops = {random_bytes, random_unit, random_free};

VmigRandom *vmig_random_new(void)
{
    VmigRandom *random = g_new0(VmigRandom, 1);

    random->ops = &random_ops;
    return random;
}
