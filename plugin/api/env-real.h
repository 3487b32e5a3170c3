/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The real environment of one job: this host, the other host, and the connections between them. */
#pragma once

#include <gio/gio.h>

#include "os/config.h"
#include "os/waker.h"
#include "port/env.h"
#include "store/journal.h"

typedef struct {
    const VmigConfig *config;
    const char *connect_uri; /* this host's libvirt */
    const char *peer_uri;    /* the other host's, as the user gave it: "qemu+ssh://host/system" */
    const char *peer_name;   /* the other host's name in messages */
    const char *job_id;
    const char *transport;    /* "ssh", "tls" or "tcp"; NULL: from peer_uri */
    const char *migrate_host; /* the destination's name for the source's libvirt (tls, tcp); NULL: its own */
    VmigRole here;            /* this host is the job's destination */
    guint copies;             /* files to copy: one socket is forwarded for each */
    guint64 bandwidth;
    GCancellable *cancellable; /* ends the first attempt to connect the other host; NULL: not cancellable */
} VmigEnvConfig;

/* Opens only this host. VMIG_ERROR_UNREACHABLE and the like if its libvirt does not answer. */
VmigEnv *vmig_env_open_here(const VmigEnvConfig *config, VmigWaker *waker, GError **error);
/* Connects the other host and stores how, so that the environment's reconnect() can repeat it. On failure the
 * environment contains nothing of the other host. config->config must outlive the environment. */
gboolean vmig_env_open_peer(VmigEnv *env, const VmigEnvConfig *config, VmigWaker *waker, GError **error);
/* This host's journal. (transfer none) */
VmigJournal *vmig_env_journal(VmigEnv *env, VmigRole here, GError **error);
