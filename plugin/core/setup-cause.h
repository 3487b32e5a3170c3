/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a host lacks, read from the message of libvirt or QEMU that failed for it.
 *
 * libvirt has few codes for this: a missing bridge is a system error, an inactive network an invalid operation, what
 * QEMU refuses an internal error. So the texts are compared, those of libvirt 9.0 to 11 and QEMU 7.2 to 10. A text that
 * is not known is no cause: the error stays what it is. */
#pragma once

#include <glib.h>

typedef struct {
    const char *element; /* of the domain's definition, "<interface>" */
    char *name;          /* of what is missing, or NULL */
    gboolean lasts;      /* nothing but a change of the host or the definition helps: not worth another try */
    char *remedy;        /* one sentence; where it is to be done follows from the host */
} VmigSetupCause;

/* NULL where the message names no cause. */
VmigSetupCause *vmig_setup_cause(const char *message);
void vmig_setup_cause_free(VmigSetupCause *cause);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigSetupCause, vmig_setup_cause_free)
