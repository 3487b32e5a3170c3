/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The structs of the requests, and their conversion for the flow. */
#pragma once

#include "core/job.h"
#include "core/path-map.h"
#include "vmig-snap/vmig-snap.h"

struct _VmigMigrateRequest {
    GObject parent;
    char *domain;
    char *destination;
    char **disks;    /* NULL: every writable disk that the hosts do not share */
    char **maps;     /* "TARGET=PATH" */
    char **map_dirs; /* "OLD=NEW" */
    int merge;
    int transport;
    int source_images;
    char *policy;       /* NULL: "default" */
    char *migrate_host; /* NULL: from the destination's URI */
    guint64 bandwidth;
    guint64 max_downtime;
    guint64 parallel;
    guint64 timeout;
    gboolean auto_converge;
    gboolean postcopy;
    gboolean verify;
    gboolean rehearse;
    gboolean accept_unrevertable;
};

struct _VmigResumeRequest {
    GObject parent;
    char *job;
    char *fenced_source; /* the source host that the operator states is off, or NULL */
    gboolean without_verify;
    gboolean set_aside;
};

/* scheme: of the destination's URI, for the default transport. The strings belong to options. */
void vmig_migrate_request_options(const VmigMigrateRequest *request, const char *scheme, VmigOptions *options);
void vmig_migrate_request_options_clear(VmigOptions *options);
VmigPathMap *vmig_migrate_request_map(const VmigMigrateRequest *request, GError **error);

/* A copy for another thread: the caller can change the original. (transfer full) */
gpointer vmig_request_copy(gpointer request);
