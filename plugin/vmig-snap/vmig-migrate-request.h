/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What to migrate, where to and how. */
#pragma once

#include <glib-object.h>

G_BEGIN_DECLS

#define VMIG_TYPE_MIGRATE_REQUEST (vmig_migrate_request_get_type())
G_DECLARE_FINAL_TYPE(VmigMigrateRequest, vmig_migrate_request, VMIG, MIGRATE_REQUEST, GObject)

VmigMigrateRequest *vmig_migrate_request_new(const char *domain, const char *destination);
gboolean vmig_migrate_request_check(VmigMigrateRequest *request, GError **error);

G_END_DECLS
