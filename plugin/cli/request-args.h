/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The options of plan and migrate, which are the same, as a request to the library. */
#pragma once

#include "vmig-snap/vmig-snap.h"
#include "cli/args.h"

typedef struct {
    VmigMode mode;
    gboolean dry_run;
    gboolean detach;
    char *connect;               /* or NULL */
    VmigMigrateRequest *request; /* made from the members below */
    char **arguments;            /* DOMAIN, DEST */
    char **disks;
    char **maps;
    char **map_dirs;
    char *merge;
    char *transport;
    char *source_images;
    char *policy;
    char *migrate_host;
    char *bandwidth;
    char *max_downtime;
    char *parallel;
    char *timeout;
    gboolean auto_converge;
    gboolean postcopy;
    gboolean verify;
    gboolean no_rehearsal;
    gboolean accept_unrevertable;
} VmigRequestArgs;

/* Checks everything that needs no host: USAGE, BAD_NAME, BAD_URI, BAD_PATH. Returns NULL with the exit code in *code.
 * command: "plan" or "migrate". (transfer full) */
VmigRequestArgs *vmig_request_args_parse(const char *command, int argc, char **argv, int *code);
void vmig_request_args_free(VmigRequestArgs *args);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigRequestArgs, vmig_request_args_free)
