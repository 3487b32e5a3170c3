/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Retry policies by name: /etc/vmig-snap/policy.d/NAME.conf, then those installed with the program. */
#pragma once

#include "core/retry.h"

/* vmig_policy_load() with these folders: the first one that has the file counts. */
VmigPolicy *vmig_policy_load_from(const char *const *folders, const char *name, GError **error);
/* name NULL is "default", which exists even without a file. USAGE if the name is invalid or has no file, or if the file
 * is invalid. Also USAGE if users other than root can write to the file or its folder, because its command runs as
 * root. (transfer full) */
VmigPolicy *vmig_policy_load(const char *name, GError **error);
