/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "os/waker.h"

struct VmigWaker {
    gatomicrefcount refs;
    GMutex mutex;
    GCond cond;
    gboolean woken;
};

VmigWaker *vmig_waker_new(void)
{
    VmigWaker *waker = g_new0(VmigWaker, 1);

    g_atomic_ref_count_init(&waker->refs);
    g_mutex_init(&waker->mutex);
    g_cond_init(&waker->cond);
    return waker;
}

VmigWaker *vmig_waker_ref(VmigWaker *waker)
{
    g_atomic_ref_count_inc(&waker->refs);
    return waker;
}

void vmig_waker_unref(VmigWaker *waker)
{
    if (!g_atomic_ref_count_dec(&waker->refs))
        return;
    g_mutex_clear(&waker->mutex);
    g_cond_clear(&waker->cond);
    g_free(waker);
}

void vmig_waker_wake(VmigWaker *waker)
{
    g_mutex_lock(&waker->mutex);
    waker->woken = TRUE;
    g_cond_broadcast(&waker->cond);
    g_mutex_unlock(&waker->mutex);
}

void vmig_waker_wait(VmigWaker *waker, gint64 microseconds)
{
    gint64 until = g_get_monotonic_time() + MAX(microseconds, 0);

    g_mutex_lock(&waker->mutex);
    while (!waker->woken)
        if (!g_cond_wait_until(&waker->cond, &waker->mutex, until))
            break;
    waker->woken = FALSE;
    g_mutex_unlock(&waker->mutex);
}
