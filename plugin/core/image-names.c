/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The formats are QEMU's: docs/interop/qcow2.txt, block/qcow.c, docs/interop/qed_spec.txt, block/vmdk.c. */
#include "core/image-names.h"

#include <string.h>

#include "core/errors.h"

#define HEAD (64 * 1024)
/* The limit of QEMU's block/qcow2.c, qcow2_do_open(). */
#define NAME_MAX_BYTES 1023
#define EXTENSION_DATA_FILE 0x44415441
#define DESCRIPTOR_MAX (20 * 512) /* block/vmdk.c, DESC_SIZE */

typedef struct {
    VmigReadFunc read;
    gpointer user;
    guint64 size;
    guint8 *head; /* the first bytes, as many as the file has */
    gsize length;
    GPtrArray *names;
} Image;

static guint32 big32(const Image *image, gsize at)
{
    guint32 value = 0;

    if (at + sizeof value <= image->length)
        memcpy(&value, image->head + at, sizeof value);
    return GUINT32_FROM_BE(value);
}

static guint64 big64(const Image *image, gsize at)
{
    return ((guint64)big32(image, at) << 32) | big32(image, at + 4);
}

static void add_unique(GPtrArray *names, char *name)
{
    if (*name == '\0' || g_ptr_array_find_with_equal_func(names, name, g_str_equal, NULL))
        g_free(name);
    else
        g_ptr_array_add(names, name);
}

/* Reads one string in single or double quotes: QEMU's JSON accepts both. Returns the position after it. */
static const char *read_string(const char *p, GString *text)
{
    static const char escapes[] = "bfnrt", values[] = "\b\f\n\r\t";
    char quote = *p++;

    for (; *p != '\0' && *p != quote; p++) {
        const char *escape = *p == '\\' && p[1] != '\0' ? strchr(escapes, p[1]) : NULL;
        char digits[5] = "";
        if (*p != '\\' || p[1] == '\0') {
            g_string_append_c(text, *p);
            continue;
        }
        p++;
        if (*p == 'u')
            g_strlcpy(digits, p + 1, sizeof digits);
        if (strlen(digits) == 4) {
            g_string_append_unichar(text, (gunichar)g_ascii_strtoull(digits, NULL, 16));
            p += 4;
        } else {
            g_string_append_c(text, escape != NULL ? values[escape - escapes] : *p);
        }
    }
    return *p == '\0' ? p : p + 1;
}

/* Adds every string in the JSON text, including keys: the caller finds out which of them are files. */
static void add_strings(GPtrArray *names, const char *json)
{
    const char *p = json;

    while (*(p += strcspn(p, "\"'")) != '\0') {
        g_autoptr(GString) text = g_string_new(NULL);
        p = read_string(p, text);
        vmig_image_names_add(names, text->str);
    }
}

void vmig_image_names_add(GPtrArray *names, const char *name)
{
    if (g_str_has_prefix(name, "json:")) {
        add_strings(names, name + strlen("json:"));
        return;
    }
    add_unique(names, g_strdup(name));
    /* "file:x", "raw:x", "blkdebug:x:y", "nbd:unix:x": a file name may follow any of the colons. */
    for (const char *colon = strchr(name, ':'); colon != NULL; colon = strchr(colon + 1, ':'))
        add_unique(names, g_strdup(colon + 1));
}

/* A name that reaches beyond the end of the file is ignored: QEMU cannot open such an image. */
static gboolean add_at(Image *image, guint64 offset, guint32 length, GError **error)
{
    g_autofree char *text = NULL;

    if (length == 0 || length > NAME_MAX_BYTES || offset > image->size || length > image->size - offset)
        return TRUE;
    text = g_malloc0(length + 1);
    if (!image->read(image->user, offset, text, length, error))
        return FALSE;
    vmig_image_names_add(image->names, text);
    return TRUE;
}

static gboolean add_data_file(Image *image, GError **error)
{
    guint64 cluster = (guint64)1 << MIN(big32(image, 20), 21);
    gsize at = big32(image, 4) >= 3 ? big32(image, 100) : 72;

    while (at + 8 <= image->length) {
        guint32 type = big32(image, at), length = big32(image, at + 4);
        if (type == 0)
            return TRUE;
        if (type == EXTENSION_DATA_FILE)
            return add_at(image, at + 8, length, error);
        at += 8 + ((gsize)length + 7) / 8 * 8;
    }
    /* Header extensions end with the first cluster. */
    return image->length < HEAD || at + 8 > cluster ||
           vmig_fail(error, VMIG_ERROR_BAD_IMAGE, NULL, "the header has too many extensions");
}

/* qcow stores its backing file's name at the same place. */
static gboolean add_of_qcow(Image *image, GError **error)
{
    if (!add_at(image, big64(image, 8), big32(image, 16), error))
        return FALSE;
    return big32(image, 4) < 2 || add_data_file(image, error);
}

static gboolean add_of_qed(Image *image, GError **error)
{
    return add_at(image, GUINT32_SWAP_LE_BE(big32(image, 56)), GUINT32_SWAP_LE_BE(big32(image, 60)), error);
}

/* The descriptor is text, in a file of its own or inside the image. Its extents and its parent are in quotes. */
static gboolean add_of_vmdk(Image *image, GError **error)
{
    guint64 offset = 0;
    g_autofree char *text = NULL;

    if (memcmp(image->head, "KDMV", 4) == 0 && image->length >= 36) {
        memcpy(&offset, image->head + 28, sizeof offset);
        offset = GUINT64_FROM_LE(offset);
        offset = offset < G_MAXUINT64 / 512 ? offset * 512 : image->size;
    }
    if (offset >= image->size)
        return TRUE;
    gsize length = (gsize)MIN(image->size - offset, (guint64)DESCRIPTOR_MAX);
    text = g_malloc0(length + 1);
    if (!image->read(image->user, offset, text, length, error))
        return FALSE;
    add_strings(image->names, text);
    return TRUE;
}

static gboolean add_names(Image *image, GError **error)
{
    static const struct {
        const char *magic;
        gsize length;
        gboolean (*add)(Image *image, GError **error);
    } formats[] = {
        {"QFI\xfb", 4, add_of_qcow},
        {"QED", 4, add_of_qed},
        {"KDMV", 4, add_of_vmdk},
        {"# Disk DescriptorFile", 21, add_of_vmdk},
    };

    for (guint i = 0; i < G_N_ELEMENTS(formats); i++)
        if (memcmp(image->head, formats[i].magic, formats[i].length) == 0)
            return formats[i].add(image, error);
    return TRUE;
}

GPtrArray *vmig_image_names(VmigReadFunc read, gpointer user, guint64 file_size, GError **error)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
    g_autofree guint8 *head = NULL;
    Image image = {read, user, file_size, NULL, (gsize)MIN(file_size, (guint64)HEAD), names};

    if (file_size < 64)
        return g_steal_pointer(&names);
    /* Most files are not images: the first bytes show it. */
    guint8 magic[32];
    if (!read(user, 0, magic, sizeof magic, error))
        return NULL;
    image.head = head = g_malloc0(MAX(image.length, sizeof magic));
    memcpy(head, magic, sizeof magic);
    if (memcmp(magic, "QFI\xfb", 4) != 0 && memcmp(magic, "QED", 4) != 0 && memcmp(magic, "KDMV", 4) != 0 &&
        magic[0] != '#')
        return g_steal_pointer(&names);
    if (!read(user, 0, head, image.length, error) || !add_names(&image, error))
        return NULL;
    return g_steal_pointer(&names);
}
