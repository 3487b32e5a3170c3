/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Ends a wait early: for events of either host's libvirt, the return of a migration, an operator's signal. */
#pragma once

#include <glib.h>

typedef struct VmigWaker VmigWaker;

VmigWaker *vmig_waker_new(void);
VmigWaker *vmig_waker_ref(VmigWaker *waker);
void vmig_waker_unref(VmigWaker *waker);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigWaker, vmig_waker_unref)

/* Callable from any thread. A wake between two waits ends the next one at once, so that none is lost. */
void vmig_waker_wake(VmigWaker *waker);
/* Waits up to this number of microseconds. */
void vmig_waker_wait(VmigWaker *waker, gint64 microseconds);
