/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which job to continue, and what the operator decided about it. */
#pragma once

#include <glib-object.h>

G_BEGIN_DECLS

#define VMIG_TYPE_RESUME_REQUEST (vmig_resume_request_get_type())
G_DECLARE_FINAL_TYPE(VmigResumeRequest, vmig_resume_request, VMIG, RESUME_REQUEST, GObject)

VmigResumeRequest *vmig_resume_request_new(const char *job);
gboolean vmig_resume_request_check(VmigResumeRequest *request, GError **error);

G_END_DECLS
