/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The real clock and random source. */
#pragma once

#include "os/waker.h"
#include "port/env.h"

/* Its wait() ends early when the waker wakes. */
VmigClock *vmig_clock_new(VmigWaker *waker);
VmigRandom *vmig_random_new(void);
