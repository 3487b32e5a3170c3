/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Checks a caller's request and converts it for the flow. */
#pragma once

#include "api/vmig-snap.h"
#include "core/job.h"
#include "core/path-map.h"

/* USAGE, BAD_NAME: all checks that need no host. */
gboolean vmig_request_check(const VmigRequest *request, GError **error);
/* scheme: of the destination's URI, for the default transport. The strings belong to options. */
void vmig_request_options(const VmigRequest *request, const char *scheme, VmigOptions *options);
void vmig_request_options_clear(VmigOptions *options);
VmigPathMap *vmig_request_map(const VmigRequest *request, GError **error);
