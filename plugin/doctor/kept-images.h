/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* purge: removes the images that a finished migration kept on its source.
 *
 * They are somebody's disks until all of this is proven: the newest job that left images here is DONE, in this journal
 * and in the destination's, where the copies still are; each file is, to the nanosecond, the one that was copied;
 * nothing needs it (node/image-users.h), which is looked at once more before each removal. All are looked at before
 * the first one goes.
 */
#pragma once

#include "os/config.h"
#include "port/node.h"

typedef struct {
    const VmigConfig *config;
    const char *connect_uri; /* this host's libvirt; NULL: qemu:///system */
    const char *domain;      /* name or UUID */
    /* The other host's storage (transfer full), NULL with the error set. NULL: the other host is not asked. */
    VmigNode *(*open_peer)(gpointer user, const VmigJob *job, GError **error);
    gpointer user;
} VmigPurgeRequest;

typedef struct {
    char *path;
    guint64 bytes; /* that it occupied */
} VmigRemovedImage;

typedef struct {
    VmigJob *job;
    GPtrArray *removed; /* VmigRemovedImage; empty where they were gone already */
    guint64 freed;
} VmigPurged;

void vmig_purged_free(VmigPurged *cleaned);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigPurged, vmig_purged_free)

/* Errors: NO_JOB where there never was a job of that domain, AMBIGUOUS_DOMAIN, REFUSED with what speaks against it,
 * LOCKED, UNREACHABLE and the like for the other host. An error after the first file went says which did.
 * (transfer full) */
VmigPurged *vmig_purge_kept_images(const VmigPurgeRequest *request, GError **error);
