/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Changes to images with qemu-img: check, create an overlay, write a backing name, commit. Nothing here deletes. */
#include <errno.h>
#include <fcntl.h>
#include <json-glib/json-glib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/errors.h"
#include "core/file-id.h"
#include "image/image-locks.h"
#include "image/image.h"
#include "os/tool.h"
#include "store/beneath.h"

typedef int Fd;

static void fd_close(Fd fd)
{
    close(fd);
}
G_DEFINE_AUTO_CLEANUP_FREE_FUNC(Fd, fd_close, -1)
typedef GArray VmigOpenChain; /* of int */

/* Limits for work whose duration depends on the size: far more than a slow disk needs, but finite. The memory suffices
 * for the caches of a whole chain and the refcounts of a large image. */
static VmigToolLimits slow_limits(guint64 bytes)
{
    VmigToolLimits limits = VMIG_TOOL_LIMITS;
    guint64 seconds = 600 + MIN(bytes / (8u << 20), (guint64)30 * 24 * 3600);

    limits.deadline_us = g_get_monotonic_time() + (gint64)seconds * G_USEC_PER_SEC;
    limits.memory = (guint64)8 << 30;
    return limits;
}

static gboolean run(const char *const *argv, const VmigToolLimits *limits, const char *path, GError **error)
{
    g_autoptr(VmigToolResult) result = vmig_tool_exec(argv, limits, error);

    if (result != NULL && result->status == 0)
        return TRUE;
    if (result != NULL)
        vmig_tool_fail(argv, result, error);
    g_prefix_error(error, "'%s': ", path);
    return FALSE;
}

static VmigQcow2 *read_header(int fd, const char *path, GError **error)
{
    struct stat st;

    if (fstat(fd, &st) != 0) {
        vmig_fail_errno(error, errno, "cannot stat '%s'", path);
        return NULL;
    }
    VmigQcow2 *image = vmig_qcow2_read(vmig_image_pread, GINT_TO_POINTER(fd), (guint64)st.st_size, NULL, error);
    if (image == NULL)
        g_prefix_error(error, "'%s': ", path);
    return image;
}

/* qemu-img would open the data file, or ask for the key. */
static gboolean refuse_kinds(const VmigQcow2 *image, const char *path, GError **error)
{
    if (image->data_file)
        return vmig_fail(error, VMIG_ERROR_DATA_FILE, NULL, "'%s' keeps its data in an external data file", path);
    if (image->crypt_method != 0)
        return vmig_fail(error, VMIG_ERROR_ENCRYPTED, NULL, "'%s' is encrypted", path);
    return TRUE;
}

/* The number of leaked clusters in the output of `qemu-img check`; 0 if it has none. */
static gint64 parse_leaks(const char *text)
{
    g_autoptr(JsonParser) parser = json_parser_new();
    JsonNode *root = json_parser_load_from_data(parser, text, -1, NULL) ? json_parser_get_root(parser) : NULL;

    if (root == NULL || !JSON_NODE_HOLDS_OBJECT(root))
        return 0;
    return json_object_get_int_member_with_default(json_node_get_object(root), "leaks", 0);
}

static gboolean judge_check(const char *const *argv, const VmigToolResult *result, int fd, const char *path,
                            gint64 *leaks, GError **error)
{
    VmigImageLocks locks = {0};

    /* qemu-img(1): 0 no errors, 1 not completed, 2 corruption, 3 leaked clusters only. */
    if (result->status == 0 || result->status == 3) {
        if (leaks != NULL)
            *leaks = result->status == 3 ? parse_leaks(result->out) : 0;
        return TRUE;
    }
    if (result->status == 2)
        return vmig_fail(error, VMIG_ERROR_BAD_IMAGE, NULL, "'%s' is damaged: %s", path, result->err);
    /* A lock that another process holds says nothing about the image. */
    if (result->status == 1 && !vmig_image_locks_probe_fd(fd, path, &locks, error))
        return FALSE;
    if (result->status == 1 && !locks.writer)
        return vmig_fail(error, VMIG_ERROR_BAD_IMAGE, NULL, "cannot check '%s': %s", path, result->err);
    vmig_tool_fail(argv, result, error);
    g_prefix_error(error, "'%s': ", path);
    return FALSE;
}

gboolean vmig_image_check(const char *path, GPtrArray *roots, const char *format, gboolean force_share, gint64 *leaks,
                          GError **error)
{
    /* Without the backing file: the check does not need it, and -f alone would open the whole chain. */
    const char *file = "json:{\"driver\":\"qcow2\",\"backing\":null,"
                       "\"file\":{\"driver\":\"file\",\"filename\":\"" VMIG_TOOL_FD "\"}}";
    const char *shared[] = {"qemu-img", "check", "-U", "-f", "qcow2", "--output=json", "--", file, NULL};
    const char *alone[] = {"qemu-img", "check", "-f", "qcow2", "--output=json", "--", file, NULL};
    const char *const *argv = force_share ? shared : alone;
    struct stat st;

    g_auto(Fd) fd = vmig_image_open(path, roots, FALSE, error);
    if (fd < 0)
        return FALSE;
    if (leaks != NULL)
        *leaks = 0;
    if (g_str_equal(format, "raw"))
        return TRUE;
    g_autoptr(VmigQcow2) image = read_header(fd, path, error);
    if (image == NULL || !refuse_kinds(image, path, error))
        return FALSE;
    VmigToolLimits limits = slow_limits(fstat(fd, &st) == 0 ? (guint64)st.st_size : 0);
    limits.fd = fd;
    g_autoptr(VmigToolResult) result = vmig_tool_exec(argv, &limits, error);
    if (result == NULL) {
        g_prefix_error(error, "'%s': ", path);
        return FALSE;
    }
    return judge_check(argv, result, fd, path, leaks, error);
}

/* The name, format and file must be valid: otherwise only the guest would notice. */
static gboolean check_backing(const char *path, GPtrArray *roots, const char *backing, const char *backing_format,
                              GError **error)
{
    if (!vmig_backing_name_is_plain(backing, error))
        return FALSE;
    if (g_strcmp0(backing_format, "qcow2") != 0 && g_strcmp0(backing_format, "raw") != 0)
        return vmig_fail(error, VMIG_ERROR_CHAIN, NULL, "the backing file's format is neither qcow2 nor raw");
    if (path == NULL)
        return TRUE;
    g_autofree char *resolved = vmig_backing_resolve(path, backing);
    g_auto(Fd) fd = vmig_image_open(resolved, roots, FALSE, error);
    return fd >= 0;
}

static gboolean confirm(int fd, const char *path, guint64 virtual_size, const char *backing, const char *backing_format,
                        GError **error)
{
    g_autoptr(VmigQcow2) image = read_header(fd, path, error);

    if (image == NULL)
        return FALSE;
    if ((virtual_size != 0 && image->virtual_size != virtual_size) || g_strcmp0(image->backing_name, backing) != 0 ||
        g_strcmp0(image->backing_format, backing_format) != 0)
        return vmig_fail(error, VMIG_ERROR_IMAGE_TOOL, NULL, "qemu-img did not create '%s' as requested", path);
    if (fsync(fd) != 0)
        return vmig_fail_errno(error, errno, "cannot sync '%s'", path);
    return TRUE;
}

static gboolean fail_taken(const char *path, GError **error)
{
    return vmig_fail(error, VMIG_ERROR_DESTINATION_EXISTS, NULL, "'%s' exists", path);
}

/* Creates an unnamed file, of which a crash leaves nothing behind. On a file system without O_TMPFILE it creates the
 * named file at once and sets *ret_named; the journal knows that name already. */
static int new_file(int folder, const char *path, const char *name, gboolean *ret_named, GError **error)
{
    *ret_named = FALSE;
    int fd = openat(folder, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    /* open(2): a kernel without the flag returns EISDIR, a file system without it EOPNOTSUPP. */
    if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL)) {
        *ret_named = TRUE;
        fd = openat(folder, name, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0600);
    }
    if (fd < 0 && errno == EEXIST)
        fail_taken(path, error);
    else if (fd < 0)
        vmig_fail_errno(error, errno, "cannot create '%s'", path);
    return fd;
}

/* linkat() never replaces a file. */
static gboolean give_name(int fd, int folder, const char *path, const char *name, GError **error)
{
    g_autofree char *self = g_strdup_printf("/proc/self/fd/%d", fd);

    if (linkat(AT_FDCWD, self, folder, name, AT_SYMLINK_FOLLOW) == 0)
        return TRUE;
    if (errno == EEXIST)
        return fail_taken(path, error);
    return vmig_fail_errno(error, errno, "cannot create '%s'", path);
}

static gboolean fill_overlay(int fd, const char *path, guint64 virtual_size, const char *backing,
                             const char *backing_format, GError **error)
{
    g_autofree char *size = g_strdup_printf("%" G_GUINT64_FORMAT, virtual_size);
    /* -u: the caller has checked the backing file; a relative name cannot be resolved from a descriptor. */
    const char *argv[] = {"qemu-img", "create", "-q",           "-u", "-f",         "qcow2", "-b",
                          backing,    "-F",     backing_format, "--", VMIG_TOOL_FD, size,    NULL};
    VmigToolLimits limits = VMIG_TOOL_LIMITS;

    limits.fd = fd;
    return run(argv, &limits, path, error) && confirm(fd, path, virtual_size, backing, backing_format, error);
}

gboolean vmig_image_create_overlay(const char *path, GPtrArray *roots, guint64 virtual_size, const char *backing,
                                   const char *backing_format, GError **error)
{
    g_autofree char *name = g_path_get_basename(path);
    gboolean named = FALSE;
    struct stat st;

    if (*path != '/' || g_str_has_suffix(path, "/"))
        return vmig_fail(error, VMIG_ERROR_BAD_PATH, NULL, "'%s' is not an absolute path of a file", path);
    if (!check_backing(path, roots, backing, backing_format, error))
        return FALSE;
    g_auto(Fd) folder = vmig_beneath_folder(roots, path);
    if (folder < 0)
        return vmig_beneath_fail(error, errno, path);
    if (fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
        return fail_taken(path, error);
    g_auto(Fd) fd = new_file(folder, path, name, &named, error);
    if (fd < 0 || !fill_overlay(fd, path, virtual_size, backing, backing_format, error))
        return FALSE;
    if (!named && !give_name(fd, folder, path, name, error))
        return FALSE;
    if (fsync(folder) != 0)
        return vmig_fail_errno(error, errno, "cannot sync the directory of '%s'", path);
    return TRUE;
}

gboolean vmig_image_rebase_name(const char *path, GPtrArray *roots, const char *format, const char *backing,
                                const char *backing_format, GError **error)
{
    const char *set[] = {"qemu-img", "rebase", "-u",           "-f", format,       "-b",
                         backing,    "-F",     backing_format, "--", VMIG_TOOL_FD, NULL};
    const char *unset[] = {"qemu-img", "rebase", "-u", "-f", format, "-b", "", "--", VMIG_TOOL_FD, NULL};
    VmigToolLimits limits = VMIG_TOOL_LIMITS;

    if (!g_str_equal(format, "qcow2"))
        return vmig_fail(error, VMIG_ERROR_UNSUPPORTED, NULL, "'%s': only qcow2 images name a backing file", path);
    /* The backing file may not exist yet: this only writes a name. */
    if (backing != NULL && !check_backing(NULL, roots, backing, backing_format, error))
        return FALSE;
    g_auto(Fd) fd = vmig_image_open(path, roots, TRUE, error);
    if (fd < 0)
        return FALSE;
    g_autoptr(VmigQcow2) image = read_header(fd, path, error);
    if (image == NULL || !refuse_kinds(image, path, error))
        return FALSE;
    limits.fd = fd;
    return run(backing != NULL ? set : unset, &limits, path, error) &&
           confirm(fd, path, image->virtual_size, backing, backing != NULL ? backing_format : NULL, error);
}

static void close_all(GArray *fds)
{
    for (guint i = 0; i < fds->len; i++)
        fd_close(g_array_index(fds, int, i));
    g_array_unref(fds);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigOpenChain, close_all)

/* Each file must still be the one that was surveyed. Only the overlay's backing file is opened for writing. */
static gboolean open_chain(GPtrArray *chain, GPtrArray *roots, GArray *fds, GError **error)
{
    for (guint i = 0; i < chain->len; i++) {
        const VmigImage *image = chain->pdata[i];
        struct stat st;
        int fd = vmig_image_open(image->path, roots, i == 1, error);
        if (fd < 0)
            return FALSE;
        g_array_append_val(fds, fd);
        if (fstat(fd, &st) != 0)
            return vmig_fail_errno(error, errno, "cannot stat '%s'", image->path);
        if (!vmig_file_id_equal(VMIG_FILE_ID(st), image->id))
            return vmig_fail(error, VMIG_ERROR_INTERFERENCE, NULL, "'%s' was replaced by another file", image->path);
    }
    return TRUE;
}

/* Names the whole chain explicitly, so that qemu-img ignores the names in the headers. */
static char *name_chain(GPtrArray *chain)
{
    GString *text = g_string_new("json:");

    for (guint i = 0; i < chain->len; i++)
        g_string_append_printf(
            text, "%s{\"driver\":\"%s\",\"file\":{\"driver\":\"file\",\"filename\":\"/proc/self/fd/%u\"}",
            i > 0 ? ",\"backing\":" : "", ((const VmigImage *)chain->pdata[i])->format, VMIG_TOOL_FIRST_FD + i);
    if (((const VmigImage *)chain->pdata[chain->len - 1])->qcow2 != NULL)
        g_string_append(text, ",\"backing\":null");
    for (guint i = 0; i < chain->len; i++)
        g_string_append_c(text, '}');
    return g_string_free(text, FALSE);
}

gboolean vmig_image_commit_offline(const char *overlay, GPtrArray *roots, const char *into, GError **error)
{
    g_autoptr(VmigOpenChain) fds = g_array_new(FALSE, FALSE, sizeof(int));

    /* qemu-img acts on the headers, so they must be safe for it. */
    g_autoptr(GPtrArray) chain = vmig_image_survey_chain(overlay, "qcow2", roots, error);
    if (chain == NULL)
        return FALSE;
    for (guint i = 0; i < chain->len; i++) {
        const VmigImage *image = chain->pdata[i];
        if (image->qcow2 != NULL && !refuse_kinds(image->qcow2, image->path, error))
            return FALSE;
    }
    if (chain->len < 2)
        return vmig_fail(error, VMIG_ERROR_CHAIN, NULL, "'%s' has no backing file to commit to", overlay);
    if (into != NULL && !g_str_equal(((const VmigImage *)chain->pdata[1])->path, into))
        return vmig_fail(error, VMIG_ERROR_CHAIN, NULL, "'%s' has the backing file '%s' instead of '%s'", overlay,
                         ((const VmigImage *)chain->pdata[1])->path, into);
    if (!open_chain(chain, roots, fds, error))
        return FALSE;
    const VmigImage *top = chain->pdata[0], *base = chain->pdata[1];
    g_autofree char *name = name_chain(chain);
    /* -d keeps the overlay as it is. */
    const char *argv[] = {"qemu-img", "commit", "-q", "-d", "--", name, NULL};
    VmigToolLimits limits = slow_limits(top->allocated);
    limits.fds = fds;
    if (!run(argv, &limits, overlay, error))
        return FALSE;
    if (fsync(g_array_index(fds, int, 1)) != 0)
        return vmig_fail_errno(error, errno, "cannot sync '%s'", base->path);
    return TRUE;
}
