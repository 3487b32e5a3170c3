/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Derives a block device name that does not depend on the host, from sysfs.
 *
 * Serial numbers do not qualify: emulated disks get the same ones on every host. Names that an administrator chose (NAA
 * type 3, "t10." names, md and LUKS UUIDs) may also be on a copy.
 */
#include "image/block-identity.h"

#include <stdlib.h>
#include <string.h>

#define MOST_LEVELS 8

static char *identify(const char *folder, guint level);

static char *read_line(const char *folder, const char *name)
{
    g_autofree char *path = g_build_filename(folder, name, NULL);
    char *text = NULL;

    if (!g_file_get_contents(path, &text, NULL, NULL))
        return NULL;
    return g_strstrip(text);
}

static gboolean has_prefix(const char *text, const char *const *prefixes)
{
    for (; *prefixes != NULL; prefixes++)
        if (g_str_has_prefix(text, *prefixes))
            return TRUE;
    return FALSE;
}

/* NAA types 2, 5 and 6 contain the vendor's IEEE number. */
static char *hardware_name(const char *folder)
{
    static const char *const good[] = {"naa.2", "naa.5", "naa.6", "eui.", "uuid.", NULL};
    g_autofree char *nvme = read_line(folder, "wwid");
    g_autofree char *scsi = read_line(folder, "device/wwid");
    const char *name = nvme != NULL ? nvme : scsi;

    return name != NULL && has_prefix(name, good) ? g_strdup(name) : NULL;
}

/* The device numbers of a folder's "dev" file lead to the device's own folder. */
static char *folder_of(const char *sysfs_block, const char *numbers)
{
    g_autofree char *link = g_build_filename(sysfs_block, numbers, NULL);
    char *real = realpath(link, NULL);
    char *copy = g_strdup(real);

    free(real);
    return copy;
}

static int compare_text(gconstpointer a, gconstpointer b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The names of the disks below a logical volume; NULL if there are none or one has no name. The volume's UUID alone is
 * not enough, because a cloned host has it too. */
static char *identify_slaves(const char *folder, guint level)
{
    g_autofree char *slaves = g_build_filename(folder, "slaves", NULL);
    g_autoptr(GDir) dir = g_dir_open(slaves, 0, NULL);
    g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
    const char *entry;

    while (dir != NULL && (entry = g_dir_read_name(dir)) != NULL) {
        g_autofree char *link = g_build_filename(slaves, entry, NULL);
        char *real = realpath(link, NULL);
        char *name = real != NULL ? identify(real, level + 1) : NULL;
        free(real);
        if (name == NULL)
            return NULL;
        g_ptr_array_add(names, name);
    }
    if (names->len == 0)
        return NULL;
    g_ptr_array_sort(names, compare_text);
    g_ptr_array_add(names, NULL);
    return g_strjoinv(",", (char **)names->pdata);
}

static char *mapped_name(const char *folder, const char *uuid, guint level)
{
    if (g_str_has_prefix(uuid, "mpath-"))
        return g_strdup(uuid);
    if (!g_str_has_prefix(uuid, "LVM-"))
        return NULL;
    g_autofree char *below = identify_slaves(folder, level);
    return below != NULL ? g_strdup_printf("%s(%s)", uuid, below) : NULL;
}

static char *partition_name(const char *folder, const char *number, guint level)
{
    g_autofree char *parent = g_path_get_dirname(folder);
    g_autofree char *disk = identify(parent, level + 1);
    g_autofree char *start = read_line(folder, "start");

    return disk != NULL && start != NULL ? g_strdup_printf("%s-part%s@%s", disk, number, start) : NULL;
}

static char *identify(const char *folder, guint level)
{
    g_autofree char *partition = read_line(folder, "partition");
    g_autofree char *mapped = read_line(folder, "dm/uuid");

    if (level > MOST_LEVELS)
        return NULL;
    if (partition != NULL)
        return partition_name(folder, partition, level);
    return mapped != NULL ? mapped_name(folder, mapped, level) : hardware_name(folder);
}

char *vmig_block_identity(const char *sysfs, guint major, guint minor)
{
    g_autofree char *block = g_build_filename(sysfs, "dev/block", NULL);
    g_autofree char *numbers = g_strdup_printf("%u:%u", major, minor);
    g_autofree char *folder = folder_of(block, numbers);

    return folder != NULL ? identify(folder, 0) : NULL;
}
