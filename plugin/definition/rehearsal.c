/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The names and images of the twin. */
#include "definition/rehearsal.h"

#include <string.h>

#define ID_LENGTH 16
#define CLUSTER 65536

gboolean vmig_rehearsal_id_is_valid(const char *id)
{
    return id != NULL && strlen(id) == ID_LENGTH && strspn(id, "0123456789abcdef") == ID_LENGTH;
}

char *vmig_rehearsal_image_path(const char *path, const char *id, guint number, const char *format)
{
    g_autofree char *folder = g_path_get_dirname(path);
    /* AppArmor's virt-aa-helper may read *.qcow2 and *.img wherever images are allowed. */
    const char *suffix = g_strcmp0(format, "qcow2") == 0 ? "qcow2" : "img";
    g_autofree char *name = g_strdup_printf(VMIG_REHEARSAL_PREFIX "%s-%u.%s", id, number, suffix);

    return g_build_filename(folder, name, NULL);
}

gboolean vmig_rehearsal_is_image(const char *path, const char *id)
{
    g_autofree char *name = g_path_get_basename(path);
    g_autofree char *prefix = g_strdup_printf(VMIG_REHEARSAL_PREFIX "%s-", id);

    if (!g_str_has_prefix(name, prefix))
        return FALSE;
    const char *rest = name + strlen(prefix);
    gsize digits = strspn(rest, "0123456789");
    return digits > 0 && digits < 6 && (strcmp(rest + digits, ".qcow2") == 0 || strcmp(rest + digits, ".img") == 0);
}

static void put32(guint8 *at, guint32 value)
{
    value = GUINT32_TO_BE(value);
    memcpy(at, &value, sizeof value);
}

static void put64(guint8 *at, guint64 value)
{
    value = GUINT64_TO_BE(value);
    memcpy(at, &value, sizeof value);
}

/* docs/interop/qcow2.txt of QEMU: version 3, 64 KiB clusters; header, refcount table, refcount block, L1 table. */
GBytes *vmig_rehearsal_image_bytes(const char *format)
{
    if (g_strcmp0(format, "qcow2") != 0)
        return g_bytes_new_static("", 0);
    gsize size = 4 * CLUSTER;
    guint8 *image = g_malloc0(size);
    memcpy(image, "QFI\xfb", 4);
    put32(image + 4, 3);
    put32(image + 20, 16); /* cluster_bits */
    put64(image + 24, VMIG_REHEARSAL_IMAGE_SIZE);
    put32(image + 36, 1); /* l1_size */
    put64(image + 40, 3 * CLUSTER);
    put64(image + 48, CLUSTER); /* refcount table */
    put32(image + 56, 1);
    put32(image + 96, 4);    /* refcount_order: 16 bits */
    put32(image + 100, 104); /* header_length */
    put64(image + CLUSTER, 2 * CLUSTER);
    for (guint i = 0; i < 4; i++)
        image[2 * CLUSTER + 2 * i + 1] = 1;
    return g_bytes_new_take(image, size);
}

/* The last twelve digits are "vmig-r" in ASCII. */
char *vmig_rehearsal_uuid(const char *id)
{
    return g_strdup_printf("%.8s-%.4s-4%.3s-8%.1s72-766d69672d72", id, id + 8, id + 12, id + 15);
}

char *vmig_rehearsal_name(const char *domain, const char *id)
{
    /* libvirt creates files named after a domain: with their suffixes they must fit into 255 bytes. */
    g_autofree char *head = g_utf8_substring(domain, 0, MIN(g_utf8_strlen(domain, -1), 40));

    return g_strdup_printf("%s-rehearsal-%s", head, id);
}
