/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Measures work on a machine that does other things, too: CPU time instead of wall-clock time. */
#pragma once

#include <glib.h>
#include <sys/resource.h>

/* CPU time of this process with all its threads, in microseconds. */
static inline gint64 cpu_time(void)
{
    struct rusage used;

    g_assert_cmpint(getrusage(RUSAGE_SELF, &used), ==, 0);
    return (used.ru_utime.tv_sec + used.ru_stime.tv_sec) * G_USEC_PER_SEC + used.ru_utime.tv_usec +
           used.ru_stime.tv_usec;
}
