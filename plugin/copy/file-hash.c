/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The tree hash of a file, and the walk over its blocks. */
#include "copy/file-hash.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ALIGNMENT 4096
#define DEFAULT_THREADS 4
#define PROGRESS_INTERVAL (G_USEC_PER_SEC / 4)

struct VmigTreeHash {
    VmigHashKey key;
    guint64 seed;
    guint64 size;
    guint64 blocks;
    guint8 zero[VMIG_HASH_BYTES];      /* of a whole block */
    guint8 zero_tail[VMIG_HASH_BYTES]; /* of the last one */
    guint8 *digests;                   /* VMIG_HASH_BYTES for each block */
    gint *state;                       /* MISSING or SET, atomic: publishes the digest to finish() */
};

enum { MISSING, SET };

static void hash_bytes(const VmigTreeHash *hash, const void *data, gsize length, guint8 ret[VMIG_HASH_BYTES])
{
    g_autoptr(VmigBlockHash) block = vmig_block_hash_new(&hash->key);

    vmig_block_hash_update(block, data, length);
    vmig_block_hash_end(block, ret);
}

VmigTreeHash *vmig_tree_hash_new(guint64 size, const VmigHashKey *key)
{
    VmigTreeHash *hash = g_new0(VmigTreeHash, 1);

    hash->key = *key;
    hash->seed = vmig_hash_key_seed(key);
    hash->size = size;
    hash->blocks = size / VMIG_HASH_BLOCK + (size % VMIG_HASH_BLOCK != 0);
    hash->digests = g_malloc0_n(hash->blocks, VMIG_HASH_BYTES);
    hash->state = g_new0(gint, hash->blocks);
    if (hash->blocks > 0) {
        g_autofree guint8 *zeros = g_malloc0(VMIG_HASH_BLOCK);
        hash_bytes(hash, zeros, VMIG_HASH_BLOCK, hash->zero);
        hash_bytes(hash, zeros, vmig_tree_hash_block_length(hash, hash->blocks - 1), hash->zero_tail);
    }
    return hash;
}

void vmig_tree_hash_free(VmigTreeHash *hash)
{
    if (hash == NULL)
        return;
    g_free(hash->digests);
    g_free(hash->state);
    g_free(hash);
}

guint64 vmig_tree_hash_blocks(const VmigTreeHash *hash)
{
    return hash->blocks;
}

VmigBlockHash *vmig_tree_hash_streamer(const VmigTreeHash *hash)
{
    return vmig_block_hash_new(&hash->key);
}

guint64 vmig_tree_hash_seed(const VmigTreeHash *hash)
{
    return hash->seed;
}

gsize vmig_tree_hash_block_length(const VmigTreeHash *hash, guint64 index)
{
    return MIN(VMIG_HASH_BLOCK, hash->size - index * VMIG_HASH_BLOCK);
}

void vmig_tree_hash_set_digest(VmigTreeHash *hash, guint64 index, const guint8 digest[VMIG_HASH_BYTES])
{
    g_return_if_fail(index < hash->blocks);
    memcpy(hash->digests + index * VMIG_HASH_BYTES, digest, VMIG_HASH_BYTES);
    g_atomic_int_set(&hash->state[index], SET);
}

void vmig_tree_hash_set_zero(VmigTreeHash *hash, guint64 index)
{
    vmig_tree_hash_set_digest(hash, index, index + 1 == hash->blocks ? hash->zero_tail : hash->zero);
}

void vmig_tree_hash_set_block(VmigTreeHash *hash, guint64 index, const void *data, gsize length)
{
    guint8 digest[VMIG_HASH_BYTES];

    g_return_if_fail(index < hash->blocks && length == vmig_tree_hash_block_length(hash, index));
    if (vmig_is_zero(data, length)) {
        vmig_tree_hash_set_zero(hash, index);
        return;
    }
    hash_bytes(hash, data, length, digest);
    vmig_tree_hash_set_digest(hash, index, digest);
}

gboolean vmig_tree_hash_get_digest(const VmigTreeHash *hash, guint64 index, guint8 ret[VMIG_HASH_BYTES])
{
    if (index >= hash->blocks || g_atomic_int_get(&hash->state[index]) == MISSING)
        return FALSE;
    memcpy(ret, hash->digests + index * VMIG_HASH_BYTES, VMIG_HASH_BYTES);
    return TRUE;
}

void vmig_tree_hash_clear(VmigTreeHash *hash, guint64 index)
{
    g_return_if_fail(index < hash->blocks);
    g_atomic_int_set(&hash->state[index], MISSING);
}

char *vmig_tree_hash_finish(const VmigTreeHash *hash, GError **error)
{
    for (guint64 i = 0; i < hash->blocks; i++)
        if (g_atomic_int_get(&hash->state[i]) == MISSING) {
            vmig_fail(error, VMIG_ERROR_INTERNAL, NULL,
                      "block %" G_GUINT64_FORMAT " of %" G_GUINT64_FORMAT " was never hashed", i, hash->blocks);
            return NULL;
        }
    g_autofree char *summary = vmig_hash_summary(&hash->key, hash->size, hash->digests, hash->blocks * VMIG_HASH_BYTES);
    return g_strconcat("gmact:", summary, NULL);
}

gboolean vmig_is_zero(const void *data, gsize length)
{
    const guint8 *bytes = data;
    guint8 head = 0;

    /* Checks 16 bytes, then compares the buffer with itself shifted by 16: memcmp is the fastest loop in libc. */
    for (gsize i = 0; i < MIN(length, 16); i++)
        head |= bytes[i];
    return head == 0 && (length <= 16 || memcmp(bytes, bytes + 16, length - 16) == 0);
}

struct VmigBlockWalk {
    GMutex lock;
    int fd;
    guint64 size;
    guint64 next;      /* block index */
    guint64 data_from; /* everything between next and this offset is known to be a hole */
    guint64 data_to;   /* end of the last data found */
};

VmigBlockWalk *vmig_block_walk_new(int fd, guint64 size)
{
    return vmig_block_walk_new_at(fd, size, 0);
}

VmigBlockWalk *vmig_block_walk_new_at(int fd, guint64 size, guint64 first)
{
    VmigBlockWalk *walk = g_new0(VmigBlockWalk, 1);

    g_mutex_init(&walk->lock);
    walk->fd = fd;
    walk->size = size;
    walk->next = first;
    return walk;
}

void vmig_block_walk_free(VmigBlockWalk *walk)
{
    if (walk == NULL)
        return;
    g_mutex_clear(&walk->lock);
    g_free(walk);
}

/* lseek() that maps "nothing further" to end, and a file system without holes to one extent of data. */
static gboolean seek(int fd, guint64 offset, guint64 end, int whence, guint64 *ret, GError **error)
{
    off_t found = lseek(fd, (off_t)offset, whence);

    if (found >= 0)
        *ret = MIN((guint64)found, end);
    else if (errno == ENXIO)
        *ret = end;
    else if (errno == EINVAL || errno == EOPNOTSUPP)
        *ret = whence == SEEK_DATA ? offset : end;
    else
        return vmig_fail_errno(error, errno, "cannot find the holes of a file at offset %" G_GUINT64_FORMAT, offset);
    return TRUE;
}

gboolean vmig_next_extent(int fd, guint64 offset, guint64 end, gboolean *hole, guint64 *ret, GError **error)
{
    guint64 data = end, stop = end;

    if (!seek(fd, offset, end, SEEK_DATA, &data, error))
        return FALSE;
    *hole = data == end || data - data % ALIGNMENT > offset;
    if (*hole) {
        *ret = data == end ? end : data - data % ALIGNMENT;
        return TRUE;
    }
    if (!seek(fd, MAX(data, offset), end, SEEK_HOLE, &stop, error))
        return FALSE;
    stop += (ALIGNMENT - stop % ALIGNMENT) % ALIGNMENT;
    *ret = CLAMP(stop, offset + 1, end);
    return TRUE;
}

/* Finds the next data at or after the next block, unless the last extent found still reaches there. */
static gboolean look_ahead(VmigBlockWalk *walk, GError **error)
{
    guint64 offset = walk->next * VMIG_HASH_BLOCK;

    if (offset < walk->data_to)
        return TRUE;
    if (!seek(walk->fd, offset, walk->size, SEEK_DATA, &walk->data_from, error))
        return FALSE;
    walk->data_to = walk->data_from;
    return walk->data_from >= walk->size ||
           seek(walk->fd, walk->data_from, walk->size, SEEK_HOLE, &walk->data_to, error);
}

gboolean vmig_block_walk_next(VmigBlockWalk *walk, VmigBlockRun *ret, GError **error)
{
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&walk->lock);
    guint64 blocks = walk->size / VMIG_HASH_BLOCK + (walk->size % VMIG_HASH_BLOCK != 0);

    *ret = (VmigBlockRun){.first = walk->next};
    if (walk->next >= blocks)
        return TRUE;
    if (!look_ahead(walk, error))
        return FALSE;
    guint64 data_block = walk->data_from >= walk->size ? blocks : walk->data_from / VMIG_HASH_BLOCK;
    ret->hole = data_block > walk->next;
    ret->count = ret->hole ? data_block - walk->next : 1;
    walk->next += ret->count;
    return TRUE;
}

int vmig_open_direct(int fd, int flags)
{
    g_autofree char *path = g_strdup_printf("/proc/self/fd/%d", fd);

    return open(path, flags | O_DIRECT | O_CLOEXEC);
}

/* One pass over a file with several threads. */
typedef struct {
    VmigTreeHash *hash;
    VmigBlockWalk *walk;
    GCancellable *cancellable;
    VmigHashProgress progress;
    gpointer user;
    int fd;
    int direct; /* or -1 */
    GMutex lock;
    GError *error; /* the first */
    guint64 done;
    gint64 last_told; /* monotonic */
} Pass;

static void pass_fail(Pass *pass, GError *error)
{
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&pass->lock);

    if (pass->error == NULL)
        pass->error = error;
    else
        g_error_free(error);
}

static gboolean pass_over(Pass *pass)
{
    g_autoptr(GError) error = NULL;

    if (g_cancellable_is_cancelled(pass->cancellable)) {
        vmig_fail(&error, VMIG_ERROR_CANCELLED, NULL, "the hashing of a file was cancelled");
        pass_fail(pass, g_steal_pointer(&error));
        return TRUE;
    }
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&pass->lock);
    return pass->error != NULL;
}

static void pass_tell(Pass *pass, guint64 bytes)
{
    gboolean tell = FALSE;
    guint64 done;

    g_mutex_lock(&pass->lock);
    pass->done += bytes;
    done = pass->done;
    if (pass->progress != NULL && g_get_monotonic_time() - pass->last_told >= PROGRESS_INTERVAL) {
        pass->last_told = g_get_monotonic_time();
        tell = TRUE;
    }
    g_mutex_unlock(&pass->lock);
    if (tell)
        pass->progress(pass->user, done, pass->hash->size);
}

/* Reads [offset, offset + length) of the file; buffer has room for the length rounded up to ALIGNMENT. */
static gboolean read_piece(int fd, int direct, guint8 *buffer, gsize length, guint64 offset, GError **error)
{
    int from = direct >= 0 ? direct : fd;
    gsize rounded = (length + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;

    for (gsize done = 0; done < length;) {
        /* A short read ends unaligned only at the end of the file. */
        ssize_t got = pread(from, buffer + done, rounded - done, (off_t)(offset + done));
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 && errno == EINVAL && from != fd) {
            from = fd; /* the device needs more than 4096-byte alignment: read through the cache */
            continue;
        }
        if (got < 0)
            return vmig_fail_errno(error, errno, "cannot read at offset %" G_GUINT64_FORMAT, offset + done);
        if (got == 0)
            return vmig_fail(error, VMIG_ERROR_BASE_CHANGED, NULL,
                             "a file became shorter than %" G_GUINT64_FORMAT " bytes while it was hashed",
                             offset + length);
        done += (gsize)got;
    }
    return TRUE;
}

gboolean vmig_block_read(int fd, int direct, guint64 size, guint64 index, guint8 *buffer, GError **error)
{
    guint64 from = index * VMIG_HASH_BLOCK, end = MIN(from + VMIG_HASH_BLOCK, size), stop;
    gboolean hole;

    if (direct < 0) /* the cache may differ from the disk */
        (void)posix_fadvise(fd, (off_t)from, (off_t)(end - from), POSIX_FADV_DONTNEED);
    for (guint64 offset = from; offset < end; offset = stop) {
        if (!vmig_next_extent(fd, offset, end, &hole, &stop, error))
            return FALSE;
        if (hole)
            memset(buffer + (offset - from), 0, stop - offset);
        else if (!read_piece(fd, direct, buffer + (offset - from), stop - offset, offset, error))
            return FALSE;
    }
    if (direct < 0)
        (void)posix_fadvise(fd, (off_t)from, (off_t)(end - from), POSIX_FADV_DONTNEED);
    return TRUE;
}

static gboolean hash_data_block(Pass *pass, guint8 *buffer, guint64 index, GError **error)
{
    if (!vmig_block_read(pass->fd, pass->direct, pass->hash->size, index, buffer, error))
        return FALSE;
    vmig_tree_hash_set_block(pass->hash, index, buffer, vmig_tree_hash_block_length(pass->hash, index));
    return TRUE;
}

static gboolean hash_run(Pass *pass, guint8 *buffer, const VmigBlockRun *run, GError **error)
{
    guint8 known[VMIG_HASH_BYTES];
    guint64 bytes = 0;

    for (guint64 i = run->first; i < run->first + run->count; i++) {
        bytes += vmig_tree_hash_block_length(pass->hash, i);
        if (vmig_tree_hash_get_digest(pass->hash, i, known))
            continue;
        if (run->hole)
            vmig_tree_hash_set_zero(pass->hash, i);
        else if (!hash_data_block(pass, buffer, i, error))
            return FALSE;
    }
    pass_tell(pass, bytes);
    return TRUE;
}

static gpointer pass_thread(gpointer data)
{
    Pass *pass = data;
    GError *error = NULL;
    VmigBlockRun run;
    guint8 *buffer = aligned_alloc(ALIGNMENT, VMIG_HASH_BLOCK);

    if (buffer == NULL)
        g_error("out of memory");
    while (!pass_over(pass)) {
        if (!vmig_block_walk_next(pass->walk, &run, &error) ||
            (run.count > 0 && !hash_run(pass, buffer, &run, &error))) {
            pass_fail(pass, error);
            break;
        }
        if (run.count == 0)
            break;
    }
    free(buffer);
    return NULL;
}

static gboolean check_size(int fd, guint64 size, GError **error)
{
    struct stat st;

    if (fstat(fd, &st) < 0)
        return vmig_fail_errno(error, errno, "cannot stat the file to be hashed");
    if ((guint64)st.st_size != size)
        return vmig_fail(error, VMIG_ERROR_BASE_CHANGED, NULL,
                         "the file has %" G_GUINT64_FORMAT " bytes instead of the expected %" G_GUINT64_FORMAT " bytes",
                         (guint64)st.st_size, size);
    return TRUE;
}

static void run_pass(Pass *pass, guint threads)
{
    g_autoptr(GPtrArray) others = g_ptr_array_new();

    threads = MIN(threads == 0 ? DEFAULT_THREADS : threads, MAX(vmig_tree_hash_blocks(pass->hash), 1));
    for (guint i = 1; i < threads; i++)
        g_ptr_array_add(others, g_thread_new("vmig-hash", pass_thread, pass));
    pass_thread(pass);
    for (guint i = 0; i < others->len; i++)
        g_thread_join(others->pdata[i]);
}

gboolean vmig_file_hash_fill(VmigTreeHash *hash, int fd, guint64 size, guint threads, GCancellable *cancellable,
                             VmigHashProgress progress, gpointer user, GError **error)
{
    if (!check_size(fd, size, error))
        return FALSE;
    g_autoptr(VmigBlockWalk) walk = vmig_block_walk_new(fd, size);
    Pass pass = {.hash = hash,
                 .walk = walk,
                 .cancellable = cancellable,
                 .progress = progress,
                 .user = user,
                 .fd = fd,
                 .direct = vmig_open_direct(fd, O_RDONLY),
                 .last_told = g_get_monotonic_time()};

    g_mutex_init(&pass.lock);
    run_pass(&pass, threads);
    g_mutex_clear(&pass.lock);
    if (pass.direct >= 0)
        close(pass.direct);
    if (pass.error != NULL) {
        g_propagate_error(error, pass.error);
        return FALSE;
    }
    if (progress != NULL)
        progress(user, size, size);
    return check_size(fd, size, error);
}

char *vmig_file_hash(const VmigHashKey *key, int fd, guint64 size, guint threads, GCancellable *cancellable,
                     VmigHashProgress progress, gpointer user, GError **error)
{
    if (!check_size(fd, size, error))
        return NULL; /* checked before an unverified size determines how much memory is allocated */
    g_autoptr(VmigTreeHash) hash = vmig_tree_hash_new(size, key);

    if (!vmig_file_hash_fill(hash, fd, size, threads, cancellable, progress, user, error))
        return NULL;
    return vmig_tree_hash_finish(hash, error);
}
