/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One thread that scans the file repeatedly and hashes what has been written. */
#include "copy/hash-behind.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#define ALIGNMENT 4096
#define PIECE (1024 * 1024)                /* of a block: one such thread runs for each file that is received */
#define NAP (20 * G_TIME_SPAN_MILLISECOND) /* no event reports that an extent was written */

struct VmigHashBehind {
    VmigTreeHash *hash;
    int direct;
    guint8 *buffer; /* PIECE */
    VmigBlockHash *stream;
    GMutex lock;
    GCond changed;
    gboolean stop;
    guint64 upto; /* under lock */
    GThread *thread;
};

/* FALSE if the file system reports reserved space as data: then every reserved block would look written. */
static gboolean tells_written_from_reserved(int folder)
{
    int fd = openat(folder, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

    if (fd < 0)
        return FALSE;
    gboolean tells = ftruncate(fd, ALIGNMENT) == 0 && fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, ALIGNMENT) == 0 &&
                     lseek(fd, 0, SEEK_DATA) < 0 && errno == ENXIO;
    close(fd);
    return tells;
}

/* Waits for the nap or a stop; FALSE once stopped. */
static gboolean go_on(VmigHashBehind *behind, gint64 nap)
{
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&behind->lock);
    gint64 until = g_get_monotonic_time() + nap;

    while (!behind->stop && nap > 0 && g_cond_wait_until(&behind->changed, &behind->lock, until))
        continue;
    return !behind->stop;
}

/* After anything unexpected the block is left for the final pass, which reports errors. */
static gboolean hash_block(VmigHashBehind *behind, guint64 index)
{
    off_t from = (off_t)(index * VMIG_HASH_BLOCK);
    gsize length = vmig_tree_hash_block_length(behind->hash, index);
    guint8 digest[VMIG_HASH_BYTES];
    gboolean whole = TRUE;

    if (lseek(behind->direct, from, SEEK_HOLE) < from + (off_t)length)
        return FALSE;
    for (gsize done = 0, part; whole && done < length; done += part) {
        part = MIN(PIECE, length - done);
        gsize rounded = (part + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
        whole = pread(behind->direct, behind->buffer, rounded, from + (off_t)done) >= (ssize_t)part;
        if (whole)
            vmig_block_hash_update(behind->stream, behind->buffer, part);
    }
    vmig_block_hash_end(behind->stream, digest); /* also after a partial block, to reset the stream */
    if (whole)
        vmig_tree_hash_set_digest(behind->hash, index, digest);
    return whole;
}

/* One scan; returns the number of blocks that it hashed. */
static guint go_round(VmigHashBehind *behind)
{
    guint8 known[VMIG_HASH_BYTES];
    guint hashed = 0;

    g_mutex_lock(&behind->lock);
    guint64 upto = behind->upto;
    g_mutex_unlock(&behind->lock);
    for (guint64 i = 0; i < upto && go_on(behind, 0); i++) {
        if (vmig_tree_hash_get_digest(behind->hash, i, known))
            continue;
        off_t data = lseek(behind->direct, (off_t)(i * VMIG_HASH_BLOCK), SEEK_DATA);
        if (data < 0)
            break; /* no further data is written */
        if ((guint64)data > i * VMIG_HASH_BLOCK)
            i = (guint64)data / VMIG_HASH_BLOCK - ((guint64)data % VMIG_HASH_BLOCK == 0);
        else
            hashed += hash_block(behind, i);
    }
    return hashed;
}

static gpointer behind_thread(gpointer data)
{
    VmigHashBehind *behind = data;

    while (go_on(behind, go_round(behind) > 0 ? 0 : NAP))
        continue;
    return NULL;
}

VmigHashBehind *vmig_hash_behind_new(VmigTreeHash *hash, int folder, int fd, guint64 size, guint64 upto)
{
    int direct = vmig_open_direct(fd, O_RDONLY);

    if (direct < 0 || size == 0 || !tells_written_from_reserved(folder)) {
        if (direct >= 0)
            close(direct);
        return NULL;
    }
    VmigHashBehind *behind = g_new0(VmigHashBehind, 1);
    behind->hash = hash;
    behind->direct = direct;
    behind->upto = upto;
    behind->buffer = aligned_alloc(ALIGNMENT, PIECE);
    behind->stream = vmig_tree_hash_streamer(hash);
    if (behind->buffer == NULL)
        g_error("out of memory");
    g_mutex_init(&behind->lock);
    g_cond_init(&behind->changed);
    behind->thread = g_thread_new("vmig-behind", behind_thread, behind);
    return behind;
}

void vmig_hash_behind_allow(VmigHashBehind *behind, guint64 upto)
{
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&behind->lock);

    behind->upto = MAX(behind->upto, upto);
}

void vmig_hash_behind_free(VmigHashBehind *behind)
{
    if (behind == NULL)
        return;
    g_mutex_lock(&behind->lock);
    behind->stop = TRUE;
    g_cond_broadcast(&behind->changed);
    g_mutex_unlock(&behind->lock);
    g_thread_join(behind->thread);
    close(behind->direct);
    free(behind->buffer);
    vmig_block_hash_free(behind->stream);
    g_mutex_clear(&behind->lock);
    g_cond_clear(&behind->changed);
    g_free(behind);
}
