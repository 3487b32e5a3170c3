/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/role.h"

static const char *const names[] = {[VMIG_SOURCE] = "source", [VMIG_DEST] = "destination"};

VmigRole vmig_role_other(VmigRole role)
{
    return role == VMIG_SOURCE ? VMIG_DEST : VMIG_SOURCE;
}

const char *vmig_role_name(VmigRole role)
{
    return names[role];
}

gboolean vmig_role_parse(const char *name, VmigRole *ret)
{
    for (guint i = 0; i < G_N_ELEMENTS(names); i++)
        if (g_strcmp0(name, names[i]) == 0) {
            *ret = (VmigRole)i;
            return TRUE;
        }
    return FALSE;
}
