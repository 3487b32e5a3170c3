/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The part of a host in a job. It is an index of the arrays that have one element for each host. Its name is written
 * only to the journal and to JSON. */
#pragma once

#include <glib.h>

typedef enum {
    VMIG_SOURCE,
    VMIG_DEST,
} VmigRole;

VmigRole vmig_role_other(VmigRole role);
const char *vmig_role_name(VmigRole role);
/* FALSE if there is no such role; NULL is none. */
gboolean vmig_role_parse(const char *name, VmigRole *ret);
