/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a caller asked for, checked and turned into what the flow takes. */
#pragma once

#include "api/vmig-snap.h"
#include "core/job.h"
#include "core/path-map.h"

/* USAGE, BAD_NAME: what no host needs to be asked for. */
gboolean vmig_request_check(const VmigRequest *request, GError **error);
/* scheme: of the destination's URI, the default of the transport. The strings belong to options. */
void vmig_request_options(const VmigRequest *request, const char *scheme, VmigOptions *options);
void vmig_request_options_clear(VmigOptions *options);
VmigPathMap *vmig_request_map(const VmigRequest *request, GError **error);
