/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Derives what a host lacks from an error message of libvirt or QEMU.
 *
 * libvirt has few codes for this: a missing bridge is a system error, an inactive network an invalid operation, and a
 * refusal by QEMU an internal error. So the texts are compared: those of libvirt 9.0 to 11 and QEMU 7.2 to 10. An
 * unknown text gives no cause, and the error is kept as it is.
 */
#pragma once

#include <glib.h>

typedef struct {
    const char *element; /* of the domain's definition, "<interface>" */
    char *name;          /* of the missing object, or NULL */
    gboolean lasts;      /* only a change of the host or the definition helps: not worth another try */
    char *remedy;        /* one sentence; the host is known from the context */
} VmigSetupCause;

/* NULL if the message names no cause. */
VmigSetupCause *vmig_setup_cause(const char *message);
void vmig_setup_cause_free(VmigSetupCause *cause);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigSetupCause, vmig_setup_cause_free)
