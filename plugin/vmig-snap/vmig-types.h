/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The enumerations of requests and calls. */
#pragma once

#include <glib-object.h>

G_BEGIN_DECLS

/**
 * VmigMerge:
 * @VMIG_MERGE_COMMIT: the destination has an overlay, which is committed into the copy after the switchover
 * @VMIG_MERGE_MIRROR: libvirt mirrors later writes into the copy itself
 * @VMIG_MERGE_AUTO: mirror if its conditions hold, else commit
 *
 * How writes that the guest makes during the copy get into the copy.
 */
typedef enum {
    VMIG_MERGE_COMMIT,
    VMIG_MERGE_MIRROR,
    VMIG_MERGE_AUTO,
} VmigMerge;

#define VMIG_TYPE_MERGE (vmig_merge_get_type())
GType vmig_merge_get_type(void);

/**
 * VmigTransport:
 * @VMIG_TRANSPORT_DEFAULT: the transport of the destination's URI
 * @VMIG_TRANSPORT_SSH: through the ssh connection
 * @VMIG_TRANSPORT_TLS: TLS between the hosts, with libvirt's certificates
 * @VMIG_TRANSPORT_TCP: TCP without encryption
 *
 * How disks and memory travel.
 */
typedef enum {
    VMIG_TRANSPORT_DEFAULT,
    VMIG_TRANSPORT_SSH,
    VMIG_TRANSPORT_TLS,
    VMIG_TRANSPORT_TCP,
} VmigTransport;

#define VMIG_TYPE_TRANSPORT (vmig_transport_get_type())
GType vmig_transport_get_type(void);

/**
 * VmigSourceImages:
 * @VMIG_SOURCE_IMAGES_KEEP: the images stay on the source
 * @VMIG_SOURCE_IMAGES_DELETE: the images are deleted, except those that are still in use there
 *
 * What happens to the images on the source after the migration.
 */
typedef enum {
    VMIG_SOURCE_IMAGES_KEEP,
    VMIG_SOURCE_IMAGES_DELETE,
} VmigSourceImages;

#define VMIG_TYPE_SOURCE_IMAGES (vmig_source_images_get_type())
GType vmig_source_images_get_type(void);

/**
 * VmigListFlags:
 * @VMIG_LIST_NONE: unfinished jobs only
 * @VMIG_LIST_ALL: finished jobs too
 *
 * Flags of vmig_session_list().
 */
typedef enum /*< flags >*/ {
    VMIG_LIST_NONE = 0,
    VMIG_LIST_ALL = 1 << 0,
} VmigListFlags;

#define VMIG_TYPE_LIST_FLAGS (vmig_list_flags_get_type())
GType vmig_list_flags_get_type(void);

/**
 * VmigDoctorFlags:
 * @VMIG_DOCTOR_NONE: change nothing
 * @VMIG_DOCTOR_FIX: repair what can be repaired without losing anything
 *
 * Flags of vmig_session_doctor().
 */
typedef enum /*< flags >*/ {
    VMIG_DOCTOR_NONE = 0,
    VMIG_DOCTOR_FIX = 1 << 0,
} VmigDoctorFlags;

#define VMIG_TYPE_DOCTOR_FLAGS (vmig_doctor_flags_get_type())
GType vmig_doctor_flags_get_type(void);

/**
 * VmigPurgeFlags:
 * @VMIG_PURGE_NONE: ask the destination whether it has everything
 * @VMIG_PURGE_WITHOUT_DESTINATION: do not ask the destination
 *
 * Flags of vmig_session_purge().
 */
typedef enum /*< flags >*/ {
    VMIG_PURGE_NONE = 0,
    VMIG_PURGE_WITHOUT_DESTINATION = 1 << 0,
} VmigPurgeFlags;

#define VMIG_TYPE_PURGE_FLAGS (vmig_purge_flags_get_type())
GType vmig_purge_flags_get_type(void);

G_END_DECLS
