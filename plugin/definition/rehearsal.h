/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The rehearsal's twin: the destination's definition with another name and UUID, on empty images, and without anything
 * that only one domain can have at a time.
 *
 * Pure. Parts that often fail are kept: interfaces, graphics, CPU, memory, devices. Parts that a second domain would
 * take from the guest, or that would change the host, are replaced or left out: host devices, files of consoles,
 * identities on virtual switches.
 */
#pragma once

#include <glib.h>

#include "core/errors.h"
#include "core/job.h"

/* The element in <metadata> that identifies a twin. It is not a job's element, so the hook lets the twin start. */
#define VMIG_REHEARSAL_URI "urn:vmig-snap:rehearsal:1"

/* "vmig-rehearsal-ID-N.qcow2": the Nth image of that rehearsal. */
#define VMIG_REHEARSAL_PREFIX "vmig-rehearsal-"
#define VMIG_REHEARSAL_IMAGE_SIZE (1024 * 1024) /* bytes of the disk in the twin */

/* An image that the twin needs, in a file beside path. */
typedef struct {
    char *path;   /* of the real image */
    char *format; /* "qcow2" or "raw" */
} VmigRehearsalImage;

gboolean vmig_rehearsal_id_is_valid(const char *id);
/* The path of the image with that number, beside `path`. (transfer full) */
char *vmig_rehearsal_image_path(const char *path, const char *id, guint number, const char *format);
/* Whether the path has the name of an image of that rehearsal. */
gboolean vmig_rehearsal_is_image(const char *path, const char *id);
/* The bytes of a new image: a qcow2 file without data, or nothing for raw. (transfer full) */
GBytes *vmig_rehearsal_image_bytes(const char *format);

/* Derived from the id, so that a twin can be found from the record of its rehearsal. (transfer full) */
char *vmig_rehearsal_uuid(const char *id);
char *vmig_rehearsal_name(const char *domain, const char *id);
/* The id in the twin's mark, or NULL. (transfer full) */
char *vmig_rehearsal_id(const char *domain_xml);

/* VmigRehearsalImage: the files of the moved disks in the destination's definition. Error: XML. */
GPtrArray *vmig_rehearsal_images(const char *dest_xml, const VmigJob *job, GError **error);
/* media: paths of removable media that exist on the destination, NULL-terminated; a drive with another medium is
 * emptied. twins: real path → path of the twin's image. Error: XML. (transfer full) */
char *vmig_rehearsal_xml(const char *dest_xml, const VmigJob *job, const char *id, const char *const *media,
                         GHashTable *twins, GError **error);
/* The definition without the files that a boot needs. Used if some of them are missing, which is reported separately.
 * (transfer full) */
char *vmig_rehearsal_without_boot_files(const char *dest_xml, GError **error);
/* Paths of the media in the definition's removable drives. (transfer full) */
char **vmig_rehearsal_media(const char *dest_xml, GError **error);
/* A snapshot's definition with the twin's UUID. Error: XML. (transfer full) */
char *vmig_rehearsal_snapshot_xml(const char *snapshot_xml, const char *id, GError **error);
