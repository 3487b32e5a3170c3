/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The real gate on simulated files: store/gate.c with its system calls redirected to the files of one host. Only this
 * file includes it, so that the gate's decisions in the simulation are those of the shipped code. */
#include "sim.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "store/beneath.h"

#define FOLDERS 64
#define FIRST_FD 100000

/* The gate knows no hosts, and neither do its system calls. Single-threaded. */
static SimHost *current;
static char *folders[FOLDERS];
static SimFile *opened;

void sim_gate_set_host(SimHost *host)
{
    current = host;
}

/* If the process can be killed, each call of the gate is also a real system call: a moment to die at, or to fail. */
static int really(SimGateCall call)
{
    return current->sim->gate_call != NULL ? current->sim->gate_call(current, call) : 0;
}

static int fd_open(GPtrArray *roots G_GNUC_UNUSED, const char *path)
{
    g_autofree char *folder = g_path_get_dirname(path);

    if (really(SIM_GATE_OPEN) != 0)
        return -1;
    if (strcmp(folder, current->folder) != 0) {
        errno = ENOENT;
        return -1;
    }
    for (int i = 0; i < FOLDERS; i++)
        if (folders[i] == NULL) {
            folders[i] = g_strdup(folder);
            return FIRST_FD + i;
        }
    errno = EMFILE;
    return -1;
}

static int fd_close(int fd)
{
    if (fd < FIRST_FD + FOLDERS)
        g_clear_pointer(&folders[fd - FIRST_FD], g_free);
    return 0;
}

static char *path_at(int fd, const char *name)
{
    return g_build_filename(folders[fd - FIRST_FD], name, NULL);
}

static int file_statx(int fd, const char *name, struct statx *sx)
{
    g_autofree char *path = path_at(fd, name);
    const SimFile *file = *name != '\0' ? sim_file_find(current, path) : NULL;

    memset(sx, 0, sizeof *sx);
    if (*name != '\0' && file == NULL) {
        errno = ENOENT;
        return -1;
    }
    sx->stx_dev_major = 8;
    sx->stx_dev_minor = current->is_dest ? 2 : 1;
    sx->stx_mask = STATX_BASIC_STATS | STATX_BTIME;
    sx->stx_mode = file != NULL ? S_IFREG : S_IFDIR;
    sx->stx_ino = file != NULL ? file->ino : 2;
    if (file != NULL) {
        sx->stx_btime.tv_sec = file->born_ns / 1000000000;
        sx->stx_btime.tv_nsec = (guint32)(file->born_ns % 1000000000);
    }
    return 0;
}

static int file_openat(int fd, const char *name)
{
    g_autofree char *path = path_at(fd, name);

    if (really(SIM_GATE_OPEN) != 0)
        return -1;
    opened = sim_file_find(current, path);
    if (opened == NULL)
        errno = ENOENT;
    return opened != NULL ? FIRST_FD + FOLDERS : -1;
}

static ssize_t header_pread(void *buffer, size_t length)
{
    guint8 head[64] = {'Q', 'F', 'I', 0xfb};
    guint32 count = GUINT32_TO_BE(opened->internals->len);

    memcpy(head + 60, &count, sizeof count);
    memcpy(buffer, head, MIN(length, sizeof head));
    return (ssize_t)MIN(length, sizeof head);
}

static int file_unlinkat(int fd, const char *name)
{
    g_autofree char *path = path_at(fd, name);

    if (really(SIM_GATE_UNLINK) != 0)
        return -1;
    sim_check_unlink(current, path, sim_file_find(current, path));
    g_hash_table_remove(current->files, path);
    return 0;
}

static int file_rename(int from_fd, const char *from, int to_fd, const char *to)
{
    g_autofree char *from_path = path_at(from_fd, from);
    char *to_path = path_at(to_fd, to);

    if (sim_file_find(current, to_path) != NULL) {
        g_free(to_path);
        errno = EEXIST;
        return -1;
    }
    if (really(SIM_GATE_RENAME) != 0) {
        g_free(to_path);
        return -1;
    }
    g_hash_table_insert(current->files, to_path, sim_file_ref(sim_file_find(current, from_path)));
    g_hash_table_remove(current->files, from_path);
    return 0;
}

#define vmig_beneath_folder(roots, path) fd_open(roots, path)
#define close(fd) fd_close(fd)
#define statx(fd, name, flags, mask, sx) file_statx(fd, name, sx)
#define openat(fd, name, ...) file_openat(fd, name)
#define pread(fd, buffer, length, offset) header_pread(buffer, length)
#define unlinkat(fd, name, flags) file_unlinkat(fd, name)
#define renameat2(from_fd, from, to_fd, to, flags) file_rename(from_fd, from, to_fd, to)
#define fsync(fd) really(SIM_GATE_SYNC)
#include "store/gate.c"
