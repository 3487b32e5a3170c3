/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The real world of one job: this host, the other one, and what connects them. */
#pragma once

#include "os/config.h"
#include "os/waker.h"
#include "port/env.h"
#include "store/journal.h"

/* In the job's run folder: made by who wants the next try at once, taken away by the process that sees it. */

typedef struct {
    const VmigConfig *config;
    const char *connect_uri; /* this host's libvirt */
    const char *peer_uri;    /* the other host's, as people give it: "qemu+ssh://host/system" */
    const char *peer_name;   /* what messages call the other host */
    const char *job_id;
    const char *transport; /* "ssh", "tls" or "tcp"; NULL follows peer_uri */
    const char
        *migrate_host;     /* the destination's name for libvirt on the source (tls, tcp); NULL: as it calls itself */
    gboolean here_is_dest; /* this host is the destination of the job */
    guint copies;          /* files to be copied: so many sockets are forwarded */
    guint64 bandwidth;
} VmigEnvConfig;

/* This host alone; VMIG_ERROR_UNREACHABLE and the like where its libvirt does not answer. */
VmigEnv *vmig_env_open_here(const VmigEnvConfig *config, VmigWaker *waker, GError **error);
/* Connects the other host, and remembers how: the world's reconnect() does it again. Where it fails nothing of the
 * other host is left in the world. config->config must outlive the world. */
gboolean vmig_env_open_peer(VmigEnv *env, const VmigEnvConfig *config, VmigWaker *waker, GError **error);
/* The journal of this host. (transfer none) */
VmigJournal *vmig_env_journal(VmigEnv *env, gboolean here_is_dest, GError **error);
