/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Examines image files: opens them below the roots, surveys one file or a chain. */
#include "image/image.h"

#include <errno.h>
#include <fcntl.h>
#include <json-glib/json-glib.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/file-id.h"
#include "core/errors.h"
#include "core/names.h"
#include "os/real-path.h"
#include "os/tool.h"
#include "store/beneath.h"

typedef int Fd;

static void fd_close(Fd fd)
{
    close(fd);
}
G_DEFINE_AUTO_CLEANUP_FREE_FUNC(Fd, fd_close, -1)

void vmig_image_free(VmigImage *image)
{
    if (image == NULL)
        return;
    g_free(image->path);
    g_free(image->named);
    g_free(image->format);
    vmig_qcow2_free(image->qcow2);
    g_free(image->backing);
    g_free(image->backing_format);
    g_free(image->backing_path);
    g_free(image);
}

static gboolean check_path(const char *path, GError **error)
{
    g_autofree char *shown = vmig_printable(path, strlen(path));
    g_auto(GStrv) parts = g_strsplit(path, "/", -1);

    /* Requiring an absolute path also keeps qemu-img from taking "nbd:localhost" for a protocol. */
    if (*path != '/')
        return vmig_fail(error, VMIG_ERROR_BAD_PATH, NULL, "'%s' is not an absolute path", shown);
    if (g_strv_contains((const char *const *)parts, ".."))
        return vmig_fail(error, VMIG_ERROR_BAD_PATH, NULL, "'%s' contains '..'", shown);
    return TRUE;
}

static int open_in_roots(const char *path, GPtrArray *roots, int flags)
{
    g_autofree char *folder = g_path_get_dirname(path);
    g_autoptr(GPtrArray) own = g_ptr_array_new();

    g_ptr_array_add(own, folder);
    return vmig_beneath_open(roots != NULL ? roots : own, path, flags | O_NONBLOCK | O_NOFOLLOW, 0);
}

static gboolean fail_open(const char *path, int errnum, GError **error)
{
    if (errnum == ENXIO || errnum == EISDIR)
        return vmig_fail(error, VMIG_ERROR_DISK_KIND, NULL, "'%s' is not a regular file", path);
    return vmig_beneath_fail(error, errnum, path);
}

static gboolean check_file(int fd, const char *path, GError **error)
{
    struct stat st;

    if (fstat(fd, &st) != 0)
        return vmig_fail_errno(error, errno, "cannot stat '%s'", path);
    if (!S_ISREG(st.st_mode))
        return vmig_fail(error, VMIG_ERROR_DISK_KIND, NULL, "'%s' is not a regular file", path);
    /* Another hard link may be outside the roots, where other users can change the content. */
    if (st.st_nlink != 1)
        return vmig_fail(error, VMIG_ERROR_OUTSIDE_ROOTS, VMIG_HINT_HARD_LINK, "'%s' has %lu hard links instead of one",
                         path, (unsigned long)st.st_nlink);
    return TRUE;
}

int vmig_image_open(const char *path, GPtrArray *roots, gboolean writable, GError **error)
{
    if (!check_path(path, error))
        return -1;
    g_autofree char *plain = g_canonicalize_filename(path, "/");
    g_autofree char *shown = vmig_printable(path, strlen(path));
    g_auto(Fd) fd = open_in_roots(plain, roots, writable ? O_RDWR : O_RDONLY);
    if (fd < 0) {
        fail_open(shown, errno, error);
        return -1;
    }
    if (!check_file(fd, shown, error))
        return -1;
    Fd result = fd;
    fd = -1;
    return result;
}

gboolean vmig_image_pread(gpointer user, guint64 offset, gpointer buffer, gsize length, GError **error)
{
    gsize done = 0;

    while (done < length) {
        ssize_t got = pread(GPOINTER_TO_INT(user), (guint8 *)buffer + done, length - done, (off_t)(offset + done));
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return vmig_fail_errno(error, errno, "cannot read");
        if (got == 0)
            return vmig_fail(error, VMIG_ERROR_BAD_IMAGE, NULL, "the file became shorter while it was read");
        done += (gsize)got;
    }
    return TRUE;
}

static gboolean prefixed(GError **error, const char *path)
{
    g_autofree char *shown = vmig_printable(path, strlen(path));
    g_prefix_error(error, "'%s': ", shown);
    return FALSE;
}

gboolean vmig_image_count_snapshots(const char *path, GPtrArray *roots, guint32 *count, GError **error)
{
    struct stat st;
    g_auto(Fd) fd = vmig_image_open(path, roots, FALSE, error);

    if (fd < 0)
        return FALSE;
    if (fstat(fd, &st) != 0)
        return vmig_fail_errno(error, errno, "cannot stat '%s'", path);
    if (!vmig_qcow2_count_snapshots(vmig_image_pread, GINT_TO_POINTER(fd), (guint64)st.st_size, count, error))
        return prefixed(error, path);
    return TRUE;
}

/* The output of qemu-img info, or NULL. (transfer full) */
static JsonObject *ask_qemu_img(int fd, const char *format, GError **error)
{
    const char *argv[] = {"qemu-img", "info", "-U", "--output=json", "-f", format, "--", VMIG_TOOL_FD, NULL};
    VmigToolLimits limits = VMIG_TOOL_LIMITS;
    g_autoptr(JsonParser) parser = json_parser_new();

    limits.fd = fd;
    g_autoptr(VmigToolResult) result = vmig_tool_exec(argv, &limits, error);
    if (result == NULL)
        return NULL;
    if (result->status != 0) {
        vmig_tool_fail(argv, result, error);
        return NULL;
    }
    JsonNode *root = json_parser_load_from_data(parser, result->out, -1, NULL) ? json_parser_get_root(parser) : NULL;
    if (root == NULL || !JSON_NODE_HOLDS_OBJECT(root)) {
        vmig_fail(error, VMIG_ERROR_IMAGE_TOOL, NULL, "qemu-img info did not print JSON");
        return NULL;
    }
    return json_object_ref(json_node_get_object(root));
}

static gint64 member_int(JsonObject *object, const char *name)
{
    JsonNode *node = json_object_get_member(object, name);
    return node != NULL && json_node_get_value_type(node) == G_TYPE_INT64 ? json_node_get_int(node) : -1;
}

static const char *member_string(JsonObject *object, const char *name)
{
    JsonNode *node = json_object_get_member(object, name);
    return node != NULL && json_node_get_value_type(node) == G_TYPE_STRING ? json_node_get_string(node) : NULL;
}

static guint member_length(JsonObject *object, const char *name)
{
    JsonNode *node = json_object_get_member(object, name);
    return node != NULL && JSON_NODE_HOLDS_ARRAY(node) ? json_array_get_length(json_node_get_array(node)) : 0;
}

/* If two readers of a hostile file disagree, the file has fooled one of them. */
static gboolean compare(const VmigImage *image, JsonObject *info, GError **error)
{
    guint64 sectors = image->virtual_size / 512 + (image->virtual_size % 512 != 0);
    gint64 theirs = member_int(info, "virtual-size");
    const char *backing = member_string(info, "backing-filename");
    guint snapshots = image->qcow2 != NULL ? image->qcow2->nb_snapshots : 0;

    /* QEMU rounds up to whole sectors. */
    if (theirs < 0 || (guint64)theirs != sectors * 512)
        return vmig_fail(error, VMIG_ERROR_BAD_IMAGE, NULL,
                         "virtual size: the header says %" G_GUINT64_FORMAT ", but qemu-img %" G_GINT64_FORMAT,
                         image->virtual_size, theirs);
    if (member_length(info, "snapshots") != snapshots)
        return vmig_fail(error, VMIG_ERROR_BAD_IMAGE, NULL, "snapshots: the header says %u, but qemu-img %u", snapshots,
                         member_length(info, "snapshots"));
    /* A name that is not a plain path is refused elsewhere, and qemu-img may print it differently. */
    if (image->backing_path != NULL ? g_strcmp0(backing, image->backing) != 0 : !image->backing != !backing)
        return vmig_fail(error, VMIG_ERROR_BAD_IMAGE, NULL, "qemu-img reports another backing file than the header");
    return TRUE;
}

static gboolean read_header(VmigImage *image, int fd, GError **error)
{
    image->qcow2 = vmig_qcow2_read(vmig_image_pread, GINT_TO_POINTER(fd), image->file_size, NULL, error);
    if (image->qcow2 == NULL)
        return FALSE;
    image->virtual_size = image->qcow2->virtual_size;
    image->backing = g_strdup(image->qcow2->backing_name);
    image->backing_format = g_strdup(image->qcow2->backing_format);
    if (image->backing != NULL && vmig_backing_name_is_plain(image->backing, NULL))
        image->backing_path = vmig_backing_resolve(image->path, image->backing);
    return TRUE;
}

static gboolean survey_content(VmigImage *image, int fd, GError **error)
{
    if (g_str_equal(image->format, "qcow2") && !read_header(image, fd, error))
        return FALSE;
    if (image->qcow2 == NULL)
        image->virtual_size = image->file_size;
    /* qemu-img would open the data file, or ask for the key. */
    if (image->qcow2 != NULL && (image->qcow2->data_file || image->qcow2->crypt_method != 0))
        return TRUE;
    g_autoptr(JsonObject) info = ask_qemu_img(fd, image->format, error);
    return info != NULL && compare(image, info, error);
}

static VmigImage *survey_once(int fd, const char *path, const char *format, GError **error)
{
    g_autoptr(VmigImage) image = g_new0(VmigImage, 1);
    struct stat st;

    if (fstat(fd, &st) != 0) {
        vmig_fail_errno(error, errno, "cannot stat");
        return NULL;
    }
    image->path = g_canonicalize_filename(path, "/");
    image->format = g_strdup(format);
    image->file_size = (guint64)st.st_size;
    image->allocated = (guint64)st.st_blocks * 512;
    image->id = VMIG_FILE_ID(st);
    image->mode = st.st_mode & 07777;
    image->mtime_ns = (guint64)st.st_mtim.tv_sec * 1000000000u + (guint64)st.st_mtim.tv_nsec;
    return survey_content(image, fd, error) ? g_steal_pointer(&image) : NULL;
}

static VmigImage *survey_fd(int fd, const char *path, const char *format, GError **error)
{
    g_autoptr(GError) local = NULL;

    if (!g_str_equal(format, "qcow2") && !g_str_equal(format, "raw")) {
        g_autofree char *shown = vmig_printable(format, strlen(format));
        vmig_fail(error, VMIG_ERROR_DISK_KIND, NULL, "format '%s' is neither qcow2 nor raw", shown);
        prefixed(error, path);
        return NULL;
    }
    VmigImage *image = survey_once(fd, path, format, &local);
    if (image != NULL)
        return image;
    /* QEMU may have written the header or moved the snapshot table between these reads: try again. */
    if (g_error_matches(local, VMIG_ERROR, VMIG_ERROR_BAD_IMAGE)) {
        g_clear_error(&local);
        image = survey_once(fd, path, format, &local);
    }
    if (image == NULL) {
        prefixed(&local, path);
        g_propagate_error(error, g_steal_pointer(&local));
    }
    return image;
}

VmigImage *vmig_image_survey(const char *path, const char *format, GError **error)
{
    g_auto(Fd) fd = vmig_image_open(path, NULL, FALSE, error);
    return fd >= 0 ? survey_fd(fd, path, format, error) : NULL;
}

/* The path may have been redirected between resolving it and opening the file. */
static gboolean check_resolved(const char *named, int fd, GError **error)
{
    struct stat ours, theirs;

    if (fstat(fd, &ours) != 0 || stat(named, &theirs) != 0)
        return vmig_fail_errno(error, errno, "cannot stat '%s'", named);
    if (!vmig_file_id_equal(VMIG_FILE_ID(ours), VMIG_FILE_ID(theirs)))
        return vmig_fail(error, VMIG_ERROR_OUTSIDE_ROOTS, NULL,
                         "'%s' was replaced by another file while it was checked", named);
    return TRUE;
}

/* Resolves the backing name as QEMU does: from the folder of the name by which the image was opened, which may be a
 * link. */
static char *name_below(const VmigImage *image)
{
    g_autofree char *folder = g_path_get_dirname(image->named);

    if (image->backing_path == NULL)
        return NULL;
    return *image->backing == '/' ? g_strdup(image->backing) : g_strconcat(folder, "/", image->backing, NULL);
}

static gboolean check_backing(const VmigImage *image, GError **error)
{
    if (!vmig_backing_name_is_plain(image->backing, error))
        return prefixed(error, image->path);
    if (image->backing_format == NULL) {
        g_autofree char *backing = vmig_shell_word(image->backing);
        g_autofree char *path = vmig_shell_word(image->path);
        g_autofree char *hint =
            g_strdup_printf("while the guest is off: qemu-img rebase -u -f qcow2 -F FORMAT -b %s %s", backing, path);
        return vmig_fail(error, VMIG_ERROR_CHAIN, hint, "'%s' does not name the format of its backing file '%s'",
                         image->path, image->backing);
    }
    return TRUE;
}

static gboolean check_new(GPtrArray *chain, const VmigImage *image, GError **error)
{
    for (guint i = 0; i < chain->len; i++) {
        const VmigImage *other = chain->pdata[i];
        if (vmig_file_id_equal(other->id, image->id))
            return vmig_fail(error, VMIG_ERROR_CHAIN, NULL, "the backing chain has a cycle: it contains '%s' twice",
                             image->path);
    }
    if (chain->len >= VMIG_IMAGE_MAX_CHAIN)
        return vmig_fail(error, VMIG_ERROR_CHAIN, NULL, "the backing chain has more than %d files",
                         VMIG_IMAGE_MAX_CHAIN);
    return TRUE;
}

GPtrArray *vmig_image_survey_chain(const char *path, const char *format, GPtrArray *roots, GError **error)
{
    g_autoptr(GPtrArray) chain = g_ptr_array_new_with_free_func((GDestroyNotify)vmig_image_free);
    g_autofree char *named = g_strdup(path);
    VmigImage *above = NULL;

    while (named != NULL) {
        g_autofree char *real = roots != NULL ? vmig_real_path(named, roots, error) : g_strdup(named);
        g_auto(Fd) fd = real != NULL ? vmig_image_open(real, roots, FALSE, error) : -1;
        if (fd < 0 || !check_resolved(named, fd, error))
            return NULL;
        g_autoptr(VmigImage) image = survey_fd(fd, real, format, error);
        if (image == NULL || !check_new(chain, image, error))
            return NULL;
        image->named = g_steal_pointer(&named);
        if (image->backing != NULL && !check_backing(image, error))
            return NULL;
        if (above != NULL) {
            g_free(above->backing_path);
            above->backing_path = g_strdup(image->path);
        }
        above = image;
        named = name_below(image);
        format = image->backing_format;
        g_ptr_array_add(chain, g_steal_pointer(&image));
    }
    return g_steal_pointer(&chain);
}
