/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* purge: removes the images that a finished migration kept on its source.
 *
 * They count as a guest's disks until all of this is proven. The newest job that left images here is DONE, in this
 * journal and in the destination's. The copies still exist on the destination. Each file is, to the nanosecond, the one
 * that was copied. Nothing needs it (node/image-users.h), which is checked again before each removal. All files are
 * checked before the first one is removed.
 */
#pragma once

#include "os/config.h"
#include "port/node.h"

typedef struct {
    const VmigConfig *config;
    const char *connect_uri; /* this host's libvirt; NULL: qemu:///system */
    const char *domain;      /* name or UUID */
    /* The other host's node (transfer full), NULL with the error set. open_peer NULL: the other host is not asked. */
    VmigNode *(*open_peer)(gpointer user, const VmigJob *job, GError **error);
    gpointer user;
} VmigPurgeRequest;

typedef struct {
    char *path;
    guint64 bytes; /* bytes on disk */
} VmigRemovedImage;

typedef struct {
    VmigJob *job;
    GPtrArray *removed; /* VmigRemovedImage; empty if they were already gone */
    guint64 freed;
} VmigPurged;

void vmig_purged_free(VmigPurged *cleaned);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigPurged, vmig_purged_free)

/* Errors: NO_JOB if there never was a job of this domain, AMBIGUOUS_DOMAIN, REFUSED with the reason, LOCKED,
 * UNREACHABLE and the like for the other host. An error after the first removal names the files that were removed.
 * (transfer full) */
VmigPurged *vmig_purge_kept_images(const VmigPurgeRequest *request, GError **error);
