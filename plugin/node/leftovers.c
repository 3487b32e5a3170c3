/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The scans are bounded, because other users can create files in the image roots and in the run folder. */
#include "node/leftovers.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/path-map.h"
#include "guard/guard.h"

#define MARK ".vmig-"
#define ID_LENGTH 16
#define GUARD_PATIENCE (2 * G_USEC_PER_SEC)

static void our_file_free(VmigOurFile *file)
{
    g_free(file->path);
    g_free(file->job);
    g_free(file);
}

static void run_folder_free(VmigRunFolder *folder)
{
    g_free(folder->path);
    g_free(folder->job);
    g_free(folder);
}

static void guard_facts_free(VmigGuardFacts *guard)
{
    g_free(guard->socket);
    g_free(guard->job);
    g_free(guard);
}

char *vmig_our_job_of_path(const char *path)
{
    /* Use the last mark: the base's own name may contain one, too. */
    const char *mark = path != NULL ? g_strrstr(path, MARK) : NULL;

    if (mark == NULL || strlen(mark) < strlen(MARK) + ID_LENGTH)
        return NULL;
    g_autofree char *id = g_strndup(mark + strlen(MARK), ID_LENGTH);
    return vmig_path_is_ours(path, id) ? g_steal_pointer(&id) : NULL;
}

typedef struct Scan Scan;

struct Scan {
    /* Called for each regular file; FALSE ends the scan. */
    gboolean (*visit)(Scan *scan, int folder, const char *name, const char *path, const struct stat *st);
    GPtrArray *found;
    guint entries;
    gint64 deadline;
    gboolean whole, over;
};

static gboolean visit_ours(Scan *scan, int folder G_GNUC_UNUSED, const char *name G_GNUC_UNUSED, const char *path,
                           const struct stat *st)
{
    g_autofree char *job = vmig_our_job_of_path(path);

    if (job == NULL)
        return TRUE;
    VmigOurFile *file = g_new0(VmigOurFile, 1);
    file->path = g_strdup(path);
    file->job = g_steal_pointer(&job);
    file->size = (guint64)st->st_size;
    file->allocated = (guint64)st->st_blocks * 512;
    g_ptr_array_add(scan->found, file);
    return TRUE;
}

gboolean vmig_stat_is(const struct stat *st, guint64 ino, guint64 size, guint64 mtime_ns)
{
    return S_ISREG(st->st_mode) && (guint64)st->st_ino == ino && (guint64)st->st_size == size &&
           (guint64)st->st_mtim.tv_sec * 1000000000 + (guint64)st->st_mtim.tv_nsec == mtime_ns;
}

gboolean vmig_file_is(const char *path, guint64 ino, guint64 size, guint64 mtime_ns)
{
    struct stat st;

    return lstat(path, &st) == 0 && vmig_stat_is(&st, ino, size, mtime_ns);
}

static void scan_folder(Scan *scan, int fd, const char *path, guint depth);

static void scan_entry(Scan *scan, int folder, const char *path, const char *name, guint depth)
{
    g_autofree char *full = g_build_filename(path, name, NULL);
    struct stat st;

    if (fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return;
    if (S_ISDIR(st.st_mode)) {
        int fd = openat(folder, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd >= 0)
            scan_folder(scan, fd, full, depth + 1);
    } else if (S_ISREG(st.st_mode) && !scan->visit(scan, folder, name, full, &st)) {
        scan->over = TRUE;
    }
}

/* Takes ownership of the descriptor. */
static void scan_folder(Scan *scan, int fd, const char *path, guint depth)
{
    DIR *dir = depth <= VMIG_SCAN_DEPTH ? fdopendir(fd) : NULL;

    if (dir == NULL) {
        scan->whole = scan->whole && depth <= VMIG_SCAN_DEPTH;
        close(fd);
        return;
    }
    for (struct dirent *entry = readdir(dir); entry != NULL && !scan->over; entry = readdir(dir)) {
        if (g_str_equal(entry->d_name, ".") || g_str_equal(entry->d_name, ".."))
            continue;
        if (++scan->entries > VMIG_SCAN_ENTRIES || g_get_monotonic_time() > scan->deadline) {
            scan->whole = FALSE;
            scan->over = TRUE;
            break;
        }
        scan_entry(scan, dirfd(dir), path, entry->d_name, depth);
    }
    closedir(dir);
}

static gboolean is_below_another(const char *const *roots, guint index)
{
    for (guint i = 0; roots[i] != NULL; i++)
        if (vmig_path_is_below(roots[index], roots[i]) || (i < index && g_str_equal(roots[i], roots[index])))
            return TRUE;
    return FALSE;
}

static void scan_roots(Scan *scan, const char *const *roots)
{
    scan->deadline = g_get_monotonic_time() + VMIG_SCAN_SECONDS * G_USEC_PER_SEC;
    scan->whole = TRUE;
    for (guint i = 0; roots[i] != NULL; i++) {
        /* The root itself may be a symbolic link, because the administrator chose it. */
        int fd = scan->over || is_below_another(roots, i) ? -1 : open(roots[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd >= 0)
            scan_folder(scan, fd, roots[i], 1);
    }
}

GPtrArray *vmig_scan_files(const char *const *roots, gboolean *whole)
{
    Scan scan = {
        .visit = visit_ours,
        .found = g_ptr_array_new_with_free_func((GDestroyNotify)our_file_free),
    };

    scan_roots(&scan, roots);
    *whole = scan.whole;
    return scan.found;
}

/* proc(5): the path is in the last column, for sockets that have one; flag 00010000 marks listening sockets. */
static gboolean listens_in(const char *unix_table, const char *folder)
{
    g_autofree char *prefix = g_strconcat(folder, "/", NULL);
    g_auto(GStrv) lines = g_strsplit(unix_table, "\n", -1);

    for (char **line = lines; *line != NULL; line++) {
        const char *path = strchr(*line, '/');
        if (path != NULL && g_str_has_prefix(path, prefix) && strstr(*line, " 00010000 ") != NULL)
            return TRUE;
    }
    return FALSE;
}

GPtrArray *vmig_scan_run_folders(const char *run_dir)
{
    GPtrArray *found = g_ptr_array_new_with_free_func((GDestroyNotify)run_folder_free);
    g_autofree char *sockets = NULL;
    DIR *dir = opendir(run_dir);

    if (dir == NULL)
        return found;
    /* Without this table it is unknown whether a folder is in use. */
    gboolean table = g_file_get_contents("/proc/net/unix", &sockets, NULL, NULL);
    for (struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        struct stat st;
        if (!vmig_job_id_is_valid(entry->d_name) || fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0 ||
            !S_ISDIR(st.st_mode))
            continue;
        VmigRunFolder *folder = g_new0(VmigRunFolder, 1);
        folder->path = g_build_filename(run_dir, entry->d_name, NULL);
        folder->job = g_strdup(entry->d_name);
        folder->in_use = !table || listens_in(sockets, folder->path);
        folder->age_s = g_get_real_time() / G_USEC_PER_SEC - st.st_mtim.tv_sec;
        g_ptr_array_add(found, folder);
    }
    closedir(dir);
    return found;
}

static void ask_guard(VmigGuardFacts *guard)
{
    g_autofree char *reply = NULL;
    int pid;

    guard->answers = vmig_guard_call(guard->socket, "status", GUARD_PATIENCE, &reply, NULL);
    /* Treat a guard with an invalid reply as one that holds something. */
    if (guard->answers &&
        sscanf(reply, "pid %d frozen %u armed %u held %u", &pid, &guard->frozen, &guard->armed, &guard->held) != 4)
        guard->armed = MAX(guard->armed, 1);
}

GPtrArray *vmig_scan_guards(const char *run_dir)
{
    GPtrArray *found = g_ptr_array_new_with_free_func((GDestroyNotify)guard_facts_free);
    g_autofree char *folder = g_build_filename(run_dir, "guard", NULL);
    DIR *dir = opendir(folder);

    if (dir == NULL)
        return found;
    for (struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        g_autofree char *id = g_str_has_suffix(entry->d_name, ".sock")
                                  ? g_strndup(entry->d_name, strlen(entry->d_name) - strlen(".sock"))
                                  : NULL;
        if (!vmig_job_id_is_valid(id))
            continue;
        VmigGuardFacts *guard = g_new0(VmigGuardFacts, 1);
        guard->socket = g_build_filename(folder, entry->d_name, NULL);
        guard->job = g_steal_pointer(&id);
        ask_guard(guard);
        g_ptr_array_add(found, guard);
    }
    closedir(dir);
    return found;
}

/* QEMU locks byte 100 and up for permissions in use, 200 and up for permissions not shared (block/file-posix.c). A
 * write lock conflicts with any of them. */
gboolean vmig_image_is_held_fd(int fd, const char *path, gboolean *held, GError **error)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 100, .l_len = 200};

    if (fcntl(fd, F_OFD_GETLK, &lock) != 0)
        return vmig_fail_errno(error, errno, "cannot query the locks of %s", path);
    *held = lock.l_type != F_UNLCK;
    return TRUE;
}

gboolean vmig_image_is_held(const char *path, gboolean *held, GError **error)
{
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

    if (fd < 0)
        return vmig_fail_errno(error, errno, "cannot query the locks of %s", path);
    gboolean ok = vmig_image_is_held_fd(fd, path, held, error);
    close(fd); /* releases no other lock: these are OFD locks */
    return ok;
}
