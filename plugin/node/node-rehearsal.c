/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* This host's node: the images of a rehearsal's twin.
 *
 * A rehearsal belongs to no job. Its images are empty and have names that this host chooses. They are recorded before
 * they are made, in STATE_DIR/rehearsals/ID, which the process that serves the node keeps locked. An unlocked record
 * belongs to a process that died: the next rehearsal here, or doctor, removes the files that it names. The record is
 * removed last, after the twin, because its ID leads to the twin's UUID.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "definition/rehearsal.h"
#include "drivers/libvirt/qemu-user.h"
#include "node/node-local-private.h"

#define MAX_IMAGES 4096
#define TWIN_LIMIT (5 * G_USEC_PER_SEC)

static int open_records(const VmigLocal *local, GError **error)
{
    g_autofree char *path = g_build_filename(local->state_dir, "rehearsals", NULL);

    if (mkdir(path, 0700) != 0 && errno != EEXIST) {
        vmig_fail_errno(error, errno, "cannot create %s", path);
        return -1;
    }
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        vmig_fail_errno(error, errno, "cannot open %s", path);
    return fd;
}

static gboolean write_all(int fd, const char *data, gsize size)
{
    while (size > 0) {
        gssize n = write(fd, data, size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return FALSE;
        data += n;
        size -= (gsize)n;
    }
    return TRUE;
}

/* The record's lines: the twin's name, then the images' paths. Durable before the first image is made. */
static int make_record(int records, const char *id, const char *name, char **paths, GError **error)
{
    g_autofree char *lines = g_strjoinv("\n", paths);
    g_autofree char *text = g_strdup_printf("%s\n%s\n", name, lines);
    g_auto(VmigFd) fd = openat(records, id, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);

    if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) != 0 || !write_all(fd, text, strlen(text)) || fsync(fd) != 0 ||
        fsync(records) != 0) {
        vmig_fail_errno(error, errno, "cannot write the record of a rehearsal");
        return -1;
    }
    int made = fd;
    fd = -1;
    return made;
}

static char **read_record(int fd, GError **error)
{
    char buffer[8192];
    g_autoptr(GString) text = g_string_new(NULL);
    gssize n;

    if (lseek(fd, 0, SEEK_SET) != 0) {
        vmig_fail_errno(error, errno, "cannot read the record of a rehearsal");
        return NULL;
    }
    while ((n = read(fd, buffer, sizeof buffer)) > 0)
        g_string_append_len(text, buffer, n);
    if (n < 0) {
        vmig_fail_errno(error, errno, "cannot read the record of a rehearsal");
        return NULL;
    }
    return g_strsplit(text->str, "\n", -1);
}

static gboolean make_image(VmigLocal *local, const char *path, const char *format, GError **error)
{
    g_autoptr(GBytes) bytes = vmig_rehearsal_image_bytes(format);
    const char *name;
    gsize size;
    const char *data = g_bytes_get_data(bytes, &size);
    g_auto(VmigFd) folder = vmig_local_open_folder(local, path, &name, error);

    if (folder < 0)
        return FALSE;
    g_auto(VmigFd) fd = openat(folder, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0 || !write_all(fd, data, size) || (size == 0 && ftruncate(fd, VMIG_REHEARSAL_IMAGE_SIZE) != 0))
        return vmig_fail_errno(error, errno, "cannot create '%s'", path);
    return vmig_qemu_user_give(local->qemu_conf, fd, path, 0600, error);
}

/* Removes only what the record names, and only under a name that this rehearsal alone can have. */
static gboolean remove_images(VmigLocal *local, int record, const char *id, GError **error)
{
    g_auto(GStrv) lines = read_record(record, error);

    if (lines == NULL)
        return FALSE;
    for (guint i = 1; lines[0] != NULL && lines[i] != NULL; i++) {
        const char *name;
        struct stat st;
        if (*lines[i] == '\0' || !vmig_rehearsal_is_image(lines[i], id))
            continue;
        g_auto(VmigFd) folder = vmig_local_open_folder(local, lines[i], &name, NULL);
        if (folder < 0)
            continue; /* gone, or no longer an image folder: there is nothing to remove */
        if (fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(st.st_mode))
            continue;
        if (unlinkat(folder, name, 0) != 0 && errno != ENOENT)
            return vmig_fail_errno(error, errno, "cannot remove '%s'", lines[i]);
    }
    return TRUE;
}

/* Returns this process's record, or locks one that no process holds. *record is -1 if there is none. LOCKED if another
 * process holds it. */
static gboolean take_record(VmigLocal *local, int records, const char *id, int *record, GError **error)
{
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&local->lock);
    gpointer held = g_hash_table_lookup(local->rehearsals, id);

    *record = held != NULL ? fcntl(GPOINTER_TO_INT(held), F_DUPFD_CLOEXEC, 3)
                           : openat(records, id, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
    if (*record < 0)
        return errno == ENOENT || vmig_fail_errno(error, errno, "cannot open the record of rehearsal %s", id);
    if (held != NULL || flock(*record, LOCK_EX | LOCK_NB) == 0)
        return TRUE;
    return vmig_fail(error, VMIG_ERROR_LOCKED, NULL, "rehearsal %s is in progress", id);
}

char **vmig_rehearsals_dead(const char *state_dir)
{
    g_autofree char *path = g_build_filename(state_dir, "rehearsals", NULL);
    g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
    g_autoptr(GPtrArray) dead = g_ptr_array_new();
    const char *name;

    while (dir != NULL && (name = g_dir_read_name(dir)) != NULL) {
        g_autofree char *record = g_build_filename(path, name, NULL);
        g_auto(VmigFd) fd = -1;
        if (vmig_rehearsal_id_is_valid(name))
            fd = open(record, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
        if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0)
            g_ptr_array_add(dead, g_strdup(name));
    }
    g_ptr_array_add(dead, NULL);
    return (char **)g_ptr_array_free(g_steal_pointer(&dead), FALSE);
}

static char *new_id(void)
{
    return g_strdup_printf("%08x%08x", g_random_int(), g_random_int());
}

static void remember(VmigLocal *local, const char *id, int record)
{
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&local->lock);

    g_hash_table_insert(local->rehearsals, g_strdup(id), GINT_TO_POINTER(record));
}

static char **image_paths(const char *const *paths, const char *const *formats, const char *id)
{
    g_autoptr(GPtrArray) made = g_ptr_array_new();

    for (guint i = 0; paths[i] != NULL; i++)
        g_ptr_array_add(made, vmig_rehearsal_image_path(paths[i], id, i, formats[i]));
    g_ptr_array_add(made, NULL);
    return (char **)g_ptr_array_free(g_steal_pointer(&made), FALSE);
}

/* Checks every folder before the record is written, so that all its lines are valid paths. */
static gboolean check_paths(VmigLocal *local, char **paths, GError **error)
{
    for (char **path = paths; *path != NULL; path++) {
        if (strchr(*path, '\n') != NULL)
            return vmig_fail(error, VMIG_ERROR_BAD_PATH, NULL, "a path contains a line break");
        if (!vmig_local_check_path(local, *path, error))
            return FALSE;
    }
    return TRUE;
}

static gboolean make_images(VmigLocal *local, char **images, const char *const *formats, GError **error)
{
    for (guint i = 0; images[i] != NULL; i++)
        if (!make_image(local, images[i], formats[i], error))
            return FALSE;
    return TRUE;
}

/* Removes the images, then the record. */
static gboolean end_rehearsal(VmigLocal *local, int records, int record, const char *id, GError **error)
{
    if (!remove_images(local, record, id, error))
        return FALSE;
    if (unlinkat(records, id, 0) != 0 && errno != ENOENT)
        return vmig_fail_errno(error, errno, "cannot remove the record of rehearsal %s", id);
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&local->lock);
    g_hash_table_remove(local->rehearsals, id);
    return TRUE;
}

gboolean vmig_local_do_rehearsal_begin(VmigLocal *local, const VmigRehearsalArgs *args, VmigRehearsal *reply,
                                       GError **error)
{
    guint length = g_strv_length((char **)args->paths);

    if (g_strv_length((char **)args->formats) != length || length > MAX_IMAGES)
        return vmig_message_refuse(error, NULL, "formats", "as many as there are paths");
    if (strpbrk(args->domain, "\n/") != NULL)
        return vmig_message_refuse(error, NULL, "domain", "the name of a domain");
    g_autofree char *id = new_id();
    g_auto(GStrv) images = image_paths(args->paths, args->formats, id);
    g_autofree char *name = vmig_rehearsal_name(args->domain, id);
    g_auto(VmigFd) records = check_paths(local, images, error) ? open_records(local, error) : -1;
    if (records < 0)
        return FALSE;
    g_auto(GStrv) dead = vmig_rehearsals_dead(local->state_dir);
    int record = make_record(records, id, name, images, error);
    if (record < 0)
        return FALSE;
    remember(local, id, record);
    if (!make_images(local, images, args->formats, error)) {
        end_rehearsal(local, records, record, id, NULL);
        return FALSE;
    }
    reply->id = g_steal_pointer(&id);
    reply->images = g_steal_pointer(&images);
    reply->dead = g_steal_pointer(&dead);
    return TRUE;
}

/* Opens the records, among which the rehearsal's is *record; -1 there if it has none. */
static gboolean find_record(VmigLocal *local, const char *id, int *records, int *record, GError **error)
{
    if (!vmig_rehearsal_id_is_valid(id))
        return vmig_message_refuse(error, NULL, "id", "the id of a rehearsal");
    *records = open_records(local, error);
    return *records >= 0 && take_record(local, *records, id, record, error);
}

/* QEMU has them open, and no other process needs their names. */
gboolean vmig_local_do_rehearsal_unlink(VmigLocal *local, const VmigRehearsalIdArgs *args,
                                        VmigNothing *reply G_GNUC_UNUSED, GError **error)
{
    g_auto(VmigFd) records = -1;
    g_auto(VmigFd) record = -1;

    return find_record(local, args->id, &records, &record, error) &&
           (record < 0 || remove_images(local, record, args->id, error));
}

/* Call after the twin is gone. Succeeds again if repeated. */
gboolean vmig_local_do_rehearsal_end(VmigLocal *local, const VmigRehearsalIdArgs *args,
                                     VmigNothing *reply G_GNUC_UNUSED, GError **error)
{
    g_auto(VmigFd) records = -1;
    g_auto(VmigFd) record = -1;

    return find_record(local, args->id, &records, &record, error) &&
           (record < 0 || end_rehearsal(local, records, record, args->id, error));
}

/* libvirt keeps NAME.pid while a domain's QEMU runs. */
static gboolean twin_is_gone(const VmigLocal *local, const char *name)
{
    g_autofree char *file = g_strconcat(name, ".pid", NULL);
    g_autofree char *path = g_build_filename(local->libvirt_run_dir, file, NULL);
    gint64 until = g_get_monotonic_time() + TWIN_LIMIT;

    while (access(path, F_OK) == 0) {
        if (g_get_monotonic_time() > until)
            return FALSE;
        g_usleep(G_USEC_PER_SEC / 20); /* poll: libvirt sends events only to its clients */
    }
    return TRUE;
}

void vmig_local_rehearsals_close(VmigLocal *local)
{
    GHashTableIter iter;
    gpointer id, record;

    g_hash_table_iter_init(&iter, local->rehearsals);
    while (g_hash_table_iter_next(&iter, &id, &record)) {
        g_auto(VmigFd) records = open_records(local, NULL);
        g_auto(GStrv) lines = read_record(GPOINTER_TO_INT(record), NULL);
        /* The tool's connection ended with the tool, and the twin with the connection (AUTODESTROY). If the twin does
         * not end, its record leads to it later. */
        if (records >= 0 && lines != NULL && remove_images(local, GPOINTER_TO_INT(record), id, NULL) &&
            twin_is_gone(local, lines[0]))
            (void)unlinkat(records, id, 0);
    }
    g_hash_table_remove_all(local->rehearsals);
}

static void close_record(gpointer record)
{
    close(GPOINTER_TO_INT(record));
}

GHashTable *vmig_local_rehearsals_new(void)
{
    return g_hash_table_new_full(g_str_hash, g_str_equal, g_free, close_record);
}
