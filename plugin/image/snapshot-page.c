/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Makes a page of a snapshot's digests, and parses one. */
#include "image/snapshot-page.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/qcow2-map.h"
#include "image/snapshot-server.h"

typedef int Fd;

static void fd_close(Fd fd)
{
    close(fd);
}
G_DEFINE_AUTO_CLEANUP_FREE_FUNC(Fd, fd_close, -1)

char *vmig_snapshot_stamp(const VmigQcow2 *image)
{
    g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);

    for (guint i = 0; i < image->snapshots->len; i++) {
        const VmigQcow2Snapshot *s = image->snapshots->pdata[i];
        gsize length, id_length = strlen(s->id);
        const char *name = g_bytes_get_data(s->name, &length);
        const guint64 numbers[] = {s->date_sec, s->date_nsec, s->vm_clock_nsec, s->vm_state_size, s->disk_size,
                                   s->icount,   s->l1_offset, s->l1_size,       id_length,        length};
        g_checksum_update(sum, (const guchar *)numbers, sizeof numbers);
        g_checksum_update(sum, (const guchar *)s->id, (gssize)id_length);
        g_checksum_update(sum, (const guchar *)(name != NULL ? name : ""), (gssize)length);
    }
    return g_strdup(g_checksum_get_string(sum));
}

/* --- making a page --- */

/* The open image in its current state. */
typedef struct {
    int fd;
    guint64 size;
    VmigQcow2 *qcow2;
} Opened;

static void opened_clear(Opened *opened)
{
    g_clear_pointer(&opened->qcow2, vmig_qcow2_free);
    if (opened->fd >= 0)
        close(opened->fd);
    opened->fd = -1;
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Opened, opened_clear)

static gboolean read_table(Opened *opened, const char *path, const char *stamp, GError **error)
{
    struct stat st;

    g_clear_pointer(&opened->qcow2, vmig_qcow2_free);
    if (fstat(opened->fd, &st) != 0)
        return vmig_fail_errno(error, errno, "cannot stat '%s'", path);
    opened->size = (guint64)st.st_size;
    opened->qcow2 = vmig_qcow2_read(vmig_image_pread, GINT_TO_POINTER(opened->fd), opened->size, NULL, error);
    if (opened->qcow2 == NULL) {
        g_prefix_error(error, "'%s': ", path);
        return FALSE;
    }
    g_autofree char *now = vmig_snapshot_stamp(opened->qcow2);
    return g_str_equal(now, stamp) ||
           vmig_fail(error, VMIG_ERROR_INTERFERENCE, "Try again when no snapshots are being created or deleted.",
                     "the snapshots of '%s' changed while they were read", path);
}

static const VmigQcow2Snapshot *find(const VmigQcow2 *image, const char *id, GError **error)
{
    for (guint i = 0; id != NULL && i < image->snapshots->len; i++)
        if (g_str_equal(((const VmigQcow2Snapshot *)image->snapshots->pdata[i])->id, id))
            return image->snapshots->pdata[i];
    vmig_fail(error, VMIG_ERROR_PROTOCOL, NULL, "there is no snapshot with that id");
    return NULL;
}

/* A page under construction. */
typedef struct {
    GByteArray *page;
    guint8 *buffer;
    guint64 size; /* size of the hashed content */
    guint64 blocks;
    guint64 next;
    guint64 run; /* length of the last run, in blocks */
    char run_kind;
    VmigBlockHash *hash;
    VmigQcow2Map *map, *like; /* like: NULL if nothing is compared */
    VmigSnapshotServer *server;
    gint64 until;
    guint read;
} Page;

static void page_clear(Page *p)
{
    g_clear_pointer(&p->page, g_byte_array_unref);
    g_aligned_free(p->buffer);
    g_clear_pointer(&p->hash, vmig_block_hash_free);
    g_clear_pointer(&p->map, vmig_qcow2_map_free);
    g_clear_pointer(&p->like, vmig_qcow2_map_free);
    g_clear_pointer(&p->server, vmig_snapshot_server_free);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Page, page_clear)

static void end_run(Page *p)
{
    guint8 raw[5] = {(guint8)p->run_kind};
    guint32 count = GUINT32_TO_LE((guint32)p->run);

    memcpy(raw + 1, &count, sizeof count);
    if (p->run > 0)
        g_byte_array_append(p->page, raw, sizeof raw);
    p->run = 0;
}

static void put_run(Page *p, char kind)
{
    if (kind != p->run_kind || p->run == G_MAXUINT32)
        end_run(p);
    p->run_kind = kind;
    p->run++;
}

static void put_data(Page *p, gsize length)
{
    guint8 raw[1 + VMIG_HASH_BYTES] = {'D'};

    if (vmig_is_zero(p->buffer, length)) {
        put_run(p, 'Z');
        return;
    }
    vmig_block_hash_update(p->hash, p->buffer, length);
    vmig_block_hash_end(p->hash, raw + 1);
    end_run(p);
    g_byte_array_append(p->page, raw, sizeof raw);
}

static gboolean disk_block(Page *p, guint64 index, gsize length, GError **error)
{
    guint64 offset = index * VMIG_HASH_BLOCK;
    gboolean same = FALSE, zero = FALSE;

    if (p->like != NULL && !vmig_qcow2_map_same(p->map, p->like, offset, length, &same, error))
        return FALSE;
    if (same) {
        put_run(p, 'S');
        return TRUE;
    }
    if (!vmig_snapshot_server_is_zero(p->server, offset, length, &zero, error))
        return FALSE;
    if (zero) {
        put_run(p, 'Z');
        return TRUE;
    }
    p->read++;
    if (!vmig_snapshot_server_read(p->server, offset, p->buffer, length, error))
        return FALSE;
    put_data(p, length);
    return TRUE;
}

static gboolean memory_block(Page *p, guint64 index, gsize length, GError **error)
{
    p->read++;
    if (!vmig_qcow2_map_read_memory(p->map, index * VMIG_HASH_BLOCK, p->buffer, length, error))
        return FALSE;
    put_data(p, length);
    return TRUE;
}

static gboolean fill(Page *p, VmigContentKind kind, GError **error)
{
    guint64 first = p->next;

    /* A page without a block is invalid, however long it took to open the image. */
    while (p->next < p->blocks && p->read < VMIG_SNAPSHOT_PAGE_BLOCKS &&
           (p->next == first || g_get_monotonic_time() < p->until)) {
        gsize length = (gsize)MIN(VMIG_HASH_BLOCK, p->size - p->next * VMIG_HASH_BLOCK);
        if (!(kind == VMIG_CONTENT_DISK ? disk_block : memory_block)(p, p->next, length, error))
            return FALSE;
        p->next++;
    }
    end_run(p);
    return TRUE;
}

static gboolean begin(Page *p, const Opened *opened, const VmigSnapshotPageRequest *request, GError **error)
{
    const VmigQcow2Snapshot *snapshot = find(opened->qcow2, request->id, error);
    const VmigQcow2Snapshot *like =
        request->like != NULL && snapshot != NULL ? find(opened->qcow2, request->like, error) : NULL;
    gpointer user = GINT_TO_POINTER(opened->fd);

    if (snapshot == NULL || (request->like != NULL && like == NULL))
        return FALSE;
    p->size = request->kind == VMIG_CONTENT_DISK ? snapshot->disk_size : snapshot->vm_state_size;
    p->blocks = p->size / VMIG_HASH_BLOCK + (p->size % VMIG_HASH_BLOCK != 0);
    p->page = g_byte_array_new();
    p->hash = vmig_block_hash_new(request->key);
    p->buffer = g_aligned_alloc(1, VMIG_HASH_BLOCK, 4096);
    p->next = request->first;
    p->until = g_get_monotonic_time() + VMIG_SNAPSHOT_PAGE_US;
    if (p->next >= p->blocks)
        return vmig_fail(error, VMIG_ERROR_PROTOCOL, NULL, "the snapshot has no block %" G_GUINT64_FORMAT, p->next);
    p->map = vmig_qcow2_map_new(vmig_image_pread, user, opened->size, opened->qcow2, snapshot, error);
    if (p->map != NULL && like != NULL && like->disk_size == snapshot->disk_size)
        p->like = vmig_qcow2_map_new(vmig_image_pread, user, opened->size, opened->qcow2, like, error);
    return p->map != NULL && (p->like != NULL || like == NULL || like->disk_size != snapshot->disk_size);
}

/* QEMU shows a snapshot with the disk's current length. With internal snapshots, a disk can only grow. */
static gboolean serve(Page *p, GPtrArray *chain, GPtrArray *roots, const char *run_dir, const char *id, GError **error)
{
    p->server = vmig_snapshot_server_start(chain, roots, id, run_dir, error);
    if (p->server == NULL)
        return FALSE;
    return vmig_snapshot_server_size(p->server) >= p->size ||
           vmig_fail(error, VMIG_ERROR_BAD_IMAGE, NULL,
                     "the disk of the snapshot (%" G_GUINT64_FORMAT
                     " bytes) is larger than that of the image (%" G_GUINT64_FORMAT ")",
                     p->size, vmig_snapshot_server_size(p->server));
}

GBytes *vmig_snapshot_page_make(GPtrArray *chain, GPtrArray *roots, const char *run_dir,
                                const VmigSnapshotPageRequest *request, guint64 *next, GError **error)
{
    const char *path = ((const VmigImage *)chain->pdata[0])->path;
    g_auto(Opened) opened = {.fd = vmig_image_open(path, roots, FALSE, error)};
    g_auto(Page) page = {0};

    if (opened.fd < 0 || !read_table(&opened, path, request->stamp, error) || !begin(&page, &opened, request, error))
        return NULL;
    if (request->kind == VMIG_CONTENT_DISK && !serve(&page, chain, roots, run_dir, request->id, error))
        return NULL;
    if (!fill(&page, request->kind, error)) {
        g_autoptr(GError) changed = NULL;
        /* If the snapshots changed during the read, its error does not mean damage. */
        if (!read_table(&opened, path, request->stamp, &changed) &&
            g_error_matches(changed, VMIG_ERROR, VMIG_ERROR_INTERFERENCE)) {
            g_clear_error(error);
            g_propagate_error(error, g_steal_pointer(&changed));
        }
        return NULL;
    }
    *next = page.next;
    GBytes *bytes = g_byte_array_free_to_bytes(g_steal_pointer(&page.page));
    if (read_table(&opened, path, request->stamp, error))
        return bytes;
    g_bytes_unref(bytes);
    return NULL;
}

/* --- parsing a page --- */

static gboolean bad_page(GError **error)
{
    return vmig_fail(error, VMIG_ERROR_PROTOCOL, NULL, "a page of a snapshot's digests is invalid");
}

static gboolean apply_run(VmigTreeHash *hash, const VmigTreeHash *like, char kind, guint64 first, guint64 count,
                          GError **error)
{
    guint8 digest[VMIG_HASH_BYTES];

    if (count == 0 || count > vmig_tree_hash_blocks(hash) - first)
        return bad_page(error);
    for (guint64 i = first; i < first + count; i++) {
        if (kind == 'Z') {
            vmig_tree_hash_set_zero(hash, i);
            continue;
        }
        if (like == NULL || !vmig_tree_hash_get_digest(like, i, digest))
            return bad_page(error);
        vmig_tree_hash_set_digest(hash, i, digest);
    }
    return TRUE;
}

gboolean vmig_snapshot_page_apply(VmigTreeHash *hash, const VmigTreeHash *like, GBytes *page, guint64 first,
                                  guint64 *next, GError **error)
{
    gsize length;
    const guint8 *at = g_bytes_get_data(page, &length);
    guint64 block = first;

    if (length == 0)
        return bad_page(error);
    const guint8 *end = at + length;
    while (at < end) {
        guint8 kind = *at++;
        if (kind == 'D') {
            if (end - at < VMIG_HASH_BYTES || block >= vmig_tree_hash_blocks(hash))
                return bad_page(error);
            vmig_tree_hash_set_digest(hash, block++, at);
            at += VMIG_HASH_BYTES;
            continue;
        }
        guint32 count;
        if ((kind != 'Z' && kind != 'S') || end - at < (ptrdiff_t)sizeof count || block > vmig_tree_hash_blocks(hash))
            return bad_page(error);
        memcpy(&count, at, sizeof count);
        count = GUINT32_FROM_LE(count);
        if (!apply_run(hash, like, (char)kind, block, count, error))
            return FALSE;
        at += sizeof count;
        block += count;
    }
    *next = block;
    return block > first || bad_page(error);
}
