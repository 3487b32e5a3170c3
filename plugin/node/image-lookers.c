/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Where the users of an image are looked for, except in libvirt. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "node/image-users-private.h"
#include "node/leftovers.h"

typedef DIR Folder;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Folder, closedir)

/* --- processes --- */

static gboolean is_of_domain(const char *pid, const char *uuid)
{
    g_autofree char *path = g_strconcat("/proc/", pid, "/cmdline", NULL);
    g_autofree char *line = NULL;
    gsize length = 0;

    return uuid != NULL && g_file_get_contents(path, &line, &length, NULL) &&
           memmem(line, length, uuid, strlen(uuid)) != NULL;
}

static char *process_name(const char *pid)
{
    g_autofree char *path = g_strconcat("/proc/", pid, "/comm", NULL);
    g_autofree char *name = NULL;

    if (!g_file_get_contents(path, &name, NULL, NULL))
        return g_strdup("?");
    return g_strdup(g_strchomp(name));
}

static gboolean is_target(const VmigImageSearch *search, dev_t dev, ino_t ino)
{
    for (guint i = 0; i < search->targets->len; i++) {
        const VmigImageTarget *target = search->targets->pdata[i];
        if (target->exists && vmig_file_id_is(target->id, dev, ino))
            return TRUE;
    }
    return FALSE;
}

/* Does not ask a server: images to be checked are never on a network file system that hangs. */
static gboolean identify(int folder, const char *name, dev_t *dev, ino_t *ino)
{
    struct statx sx;

    if (statx(folder, name, AT_STATX_DONT_SYNC, STATX_INO, &sx) != 0)
        return FALSE;
    *dev = makedev(sx.stx_dev_major, sx.stx_dev_minor);
    *ino = (ino_t)sx.stx_ino;
    return TRUE;
}

static void look_at_process(VmigImageSearch *search, const char *pid)
{
    g_autofree char *path = g_strconcat("/proc/", pid, "/fd", NULL);
    g_autoptr(Folder) dir = opendir(path);
    dev_t dev;
    ino_t ino;

    if (dir == NULL) {
        if (errno != ENOENT && errno != ESRCH)
            vmig_image_search_unknown(search, "cannot read the open files of process %s: %s", pid, g_strerror(errno));
        return;
    }
    for (struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        if (!g_ascii_isdigit(entry->d_name[0]) || !identify(dirfd(dir), entry->d_name, &dev, &ino) ||
            !is_target(search, dev, ino) || is_of_domain(pid, search->domain))
            continue;
        g_autofree char *name = process_name(pid);
        g_autofree char *user = g_strdup_printf("it is in use: process %s (%s) has it open", pid, name);
        vmig_image_search_found(search, dev, ino, user);
    }
}

void vmig_image_look_at_processes(VmigImageSearch *search)
{
    g_autoptr(Folder) dir = opendir("/proc");
    g_autofree char *self = g_strdup_printf("%d", getpid());

    if (dir == NULL) {
        vmig_image_search_unknown(search, "cannot read the list of processes: %s", g_strerror(errno));
        return;
    }
    for (struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir))
        if (g_ascii_isdigit(entry->d_name[0]) && strcmp(entry->d_name, self) != 0 && !vmig_image_search_over(search))
            look_at_process(search, entry->d_name);
}

/* A loop device keeps a file open that no process has open. */
void vmig_image_look_at_loops(VmigImageSearch *search)
{
    g_autoptr(Folder) dir = opendir("/sys/block");

    for (struct dirent *entry = dir != NULL ? readdir(dir) : NULL; entry != NULL; entry = readdir(dir)) {
        g_autofree char *path = g_strconcat("/sys/block/", entry->d_name, "/loop/backing_file", NULL);
        g_autofree char *file = NULL;
        dev_t dev;
        ino_t ino;
        if (!g_str_has_prefix(entry->d_name, "loop") || !g_file_get_contents(path, &file, NULL, NULL) ||
            !identify(AT_FDCWD, g_strchomp(file), &dev, &ino))
            continue;
        g_autofree char *user = g_strdup_printf("it is in use: it is the backing file of /dev/%s", entry->d_name);
        vmig_image_search_found(search, dev, ino, user);
    }
}

/* Skipped for a guest that leaves: its own locks cannot be told from those of other QEMUs. */
void vmig_image_look_at_locks(VmigImageSearch *search)
{
    for (guint i = 0; search->domain == NULL && !search->taken && i < search->targets->len; i++) {
        VmigImageTarget *target = search->targets->pdata[i];
        g_autoptr(GError) error = NULL;
        gboolean held = FALSE;
        if (!target->exists || target->user != NULL)
            continue;
        if (!vmig_image_is_held(target->path, &held, &error))
            target->user = g_strdup(error->message);
        else if (held)
            target->user = g_strdup("it is in use: a process holds a QEMU lock on it");
    }
}

/* --- the image roots --- */

static void scan_folder(VmigImageSearch *search, int fd, const char *path, guint depth);

static void scan_file(VmigImageSearch *search, int folder, const char *name, const char *path, const struct stat *st)
{
    int fd;

    if (vmig_image_search_is_leaving(search, st->st_dev, st->st_ino))
        return;
    fd = openat(folder, name, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0) {
        if (errno != ENOENT)
            vmig_image_search_unknown(search, "cannot open %s: %s", path, g_strerror(errno));
        return;
    }
    vmig_image_search_below(search, fd, path);
    close(fd);
}

/* Follows symbolic links, because libvirt and QEMU do: an image may be behind one. */
static void scan_entry(VmigImageSearch *search, int folder, const char *path, const char *name, guint depth)
{
    g_autofree char *full = g_build_filename(path, name, NULL);
    struct stat st;

    if (fstatat(folder, name, &st, 0) != 0) {
        if (errno != ENOENT && errno != ELOOP && errno != ENOTDIR)
            vmig_image_search_unknown(search, "cannot stat %s: %s", full, g_strerror(errno));
    } else if (S_ISDIR(st.st_mode)) {
        int fd = openat(folder, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd >= 0)
            scan_folder(search, fd, full, depth + 1);
        else if (errno != ENOENT)
            vmig_image_search_unknown(search, "cannot open the directory %s: %s", full, g_strerror(errno));
    } else if (S_ISREG(st.st_mode)) {
        scan_file(search, folder, name, full, &st);
    }
}

static gboolean is_new_folder(VmigImageSearch *search, int fd)
{
    struct stat st;

    return fstat(fd, &st) == 0 &&
           g_hash_table_add(search->folders, g_strdup_printf("%" G_GUINT64_FORMAT ":%" G_GUINT64_FORMAT,
                                                             (guint64)st.st_dev, (guint64)st.st_ino));
}

/* Takes ownership of the descriptor. */
static void scan_folder(VmigImageSearch *search, int fd, const char *path, guint depth)
{
    gboolean new = is_new_folder(search, fd);
    g_autoptr(Folder) dir = new &&depth <= VMIG_SCAN_DEPTH ? fdopendir(fd) : NULL;

    if (dir == NULL) {
        if (new &&depth > VMIG_SCAN_DEPTH)
            vmig_image_search_unknown(search, "%s is nested too deeply to be searched", path);
        close(fd);
        return;
    }
    errno = 0;
    for (struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        if (g_str_equal(entry->d_name, ".") || g_str_equal(entry->d_name, ".."))
            continue;
        if (++search->entries > VMIG_SCAN_ENTRIES)
            vmig_image_search_unknown(search, "the image roots contain too many files to be searched");
        if (search->entries > VMIG_SCAN_ENTRIES || vmig_image_search_over(search))
            return;
        scan_entry(search, dirfd(dir), path, entry->d_name, depth);
        errno = 0;
    }
    if (errno != 0)
        vmig_image_search_unknown(search, "cannot read the directory %s: %s", path, g_strerror(errno));
}

void vmig_image_look_at_roots(VmigImageSearch *search)
{
    for (guint i = 0; search->roots != NULL && search->roots[i] != NULL; i++) {
        int fd = open(search->roots[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd >= 0)
            scan_folder(search, fd, search->roots[i], 1);
        else if (errno != ENOENT)
            vmig_image_search_unknown(search, "cannot open the image root %s: %s", search->roots[i], g_strerror(errno));
    }
}
