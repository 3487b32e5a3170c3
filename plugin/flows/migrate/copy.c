/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* COPY: copies every file of every base, proves each copy equal, and gives it its final name.
 *
 * A copy is proven if three conditions hold. The sender's hash of the data that it read equals the destination's hash
 * of the data read back from its disk after the sync. The source file is the one that was frozen. The source file has
 * not changed.
 */
#include "flows/migrate/copy.h"

#include "flows/migrate/migrate-flow.h"
#include "os/fault.h"
#include "os/tls-identity.h"

typedef struct {
    VmigFile *file; /* not owned */
    const char *target;
    char **sockets; /* the first is the receiver's */
    VmigCopyTask task;
    VmigCopyProgress progress; /* under the mutex */
} BaseCopy;

typedef struct {
    VmigMachine *m;
    GMutex mutex;
    GPtrArray *copies; /* BaseCopy */
    gint64 last_time;
    guint64 last_done;
    guint64 rate;
} Copying;

static void base_copy_free(BaseCopy *copy)
{
    g_strfreev(copy->sockets);
    g_free(copy->task.hash);
    g_free(copy->task.rewritten);
    g_free(copy);
}

static void copying_free(Copying *copying)
{
    g_ptr_array_unref(copying->copies);
    g_mutex_clear(&copying->mutex);
    g_free(copying);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Copying, copying_free)

/* COPY brings only what the guest does not write to meanwhile. */
static gboolean is_ahead(const VmigArtifact *artifact)
{
    return vmig_artifact_copy(artifact->kind) == VMIG_COPY_AHEAD;
}

/* Minimum size of a copy that justifies more connections, which take half a second to make. */
#define WORTH_MORE (256 * 1024 * 1024)

static void widen(VmigMachine *m)
{
    guint64 bytes = 0;

    for (guint i = 0; i < m->job->artifacts->len; i++) {
        const VmigArtifact *artifact = m->job->artifacts->pdata[i];
        for (guint k = 0; is_ahead(artifact) && k < artifact->files->len; k++)
            if (((const VmigFile *)artifact->files->pdata[k])->hash == NULL)
                bytes += ((const VmigFile *)artifact->files->pdata[k])->allocated;
    }
    if (bytes >= WORTH_MORE && m->env->widen != NULL)
        m->env->widen(m->env);
}

/* Collects the files whose copies are not proven yet. */
static Copying *collect(VmigMachine *m)
{
    Copying *copying = g_new0(Copying, 1);

    copying->m = m;
    g_mutex_init(&copying->mutex);
    copying->copies = g_ptr_array_new_with_free_func((GDestroyNotify)base_copy_free);
    for (guint i = 0; i < m->job->artifacts->len; i++) {
        const VmigArtifact *artifact = m->job->artifacts->pdata[i];
        for (guint k = artifact->files->len; is_ahead(artifact) && k > 0; k--) {
            VmigFile *file = artifact->files->pdata[k - 1];
            if (file->hash != NULL || vmig_job_first(m->job, file) != file)
                continue;
            BaseCopy *copy = g_new0(BaseCopy, 1);
            copy->file = file;
            copy->target = artifact->target;
            copy->sockets = vmig_env_copy_sockets(m->env, copying->copies->len);
            copy->task.file = file;
            copy->task.sockets = (const char *const *)copy->sockets;
            g_ptr_array_add(copying->copies, copy);
        }
    }
    return copying;
}

/* Sums up one disk's files, or all files if target is NULL. Call it with the mutex held. */
static VmigProgress sum_up(const Copying *s, const char *target)
{
    VmigProgress sum = {.disk = target};

    for (guint i = 0; i < s->copies->len; i++) {
        const BaseCopy *each = s->copies->pdata[i];
        if (target != NULL && g_strcmp0(each->target, target) != 0)
            continue;
        sum.done += each->progress.done;
        sum.skipped += each->progress.done - MIN(each->progress.sent, each->progress.done);
        sum.total += each->file->size;
    }
    return sum;
}

/* Smoothed over about two seconds. */
static void update_rate(Copying *s, guint64 done, gint64 time)
{
    if (s->last_time > 0 && time > s->last_time && done >= s->last_done) {
        guint64 rate = (done - s->last_done) * G_USEC_PER_SEC / (guint64)(time - s->last_time);
        s->rate = s->rate == 0 ? rate : (s->rate * 7 + rate) / 8;
    }
    s->last_time = time;
    s->last_done = done;
}

/* Called from the copies' threads. A disk's share of the total rate is its share of the remaining bytes. */
static void on_progress(gpointer user, guint index, const VmigCopyProgress *now)
{
    Copying *s = user;
    BaseCopy *copy = s->copies->pdata[index];
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&s->mutex);
    gint64 time = vmig_machine_now(s->m);

    copy->progress = *now;
    VmigProgress all = sum_up(s, NULL), disk = sum_up(s, copy->target);
    if (time - s->last_time >= G_USEC_PER_SEC / 4 || all.done >= all.total)
        update_rate(s, all.done, time);
    double share = all.total > all.done ? (double)(disk.total - disk.done) / (double)(all.total - all.done) : 0;
    all.rate = s->rate;
    disk.rate = (guint64)((double)s->rate * share);
    vmig_machine_tell(s->m, disk);
    vmig_machine_tell(s->m, all);
}

static gboolean start_receiver(VmigMachine *m, BaseCopy *copy, GError **error)
{
    VmigNode *dest = m->env->dest.node;
    VmigPort port = {NULL};
    g_autofree char *identity = NULL;

    /* The key is only for this try: no hash made with it is kept. */
    if (!vmig_hash_key_draw(&copy->task.key, error))
        return FALSE;
    if (m->env->copy_transport == NULL)
        return vmig_node_receive(dest, m->job, copy->file, copy->sockets[0], &copy->task.key, &copy->task.fresh, error);
    if (m->env->copy_tls_dir != NULL && (identity = vmig_tls_identity(m->env->copy_tls_dir, error)) == NULL)
        return FALSE;
    port.identity = identity;
    if (!vmig_node_receive_on_port(dest, m->job, copy->file, m->env->copy_transport, &copy->task.key, &port,
                                   &copy->task.fresh, error))
        return FALSE;
    g_strfreev(copy->sockets);
    copy->sockets = vmig_env_copy_uris(m->env, port.number, port.export);
    copy->task.sockets = (const char *const *)copy->sockets;
    return TRUE;
}

static gboolean start_receivers(Copying *s, GError **error)
{
    VmigMachine *m = s->m;

    for (guint i = 0; i < s->copies->len; i++) {
        BaseCopy *copy = s->copies->pdata[i];
        if (!start_receiver(m, copy, error))
            return FALSE;
        if (!copy->task.fresh)
            vmig_machine_note(m, "disk %s: the copy of %s continues from the data that the destination already has",
                              copy->target, copy->file->path[VMIG_SOURCE]);
    }
    return vmig_fault("copy.receiving", error);
}

/* Called from the copies' threads. */
static gboolean on_known(gpointer user, guint index, guint64 first, GBytes **page, GError **error)
{
    Copying *s = user;
    const BaseCopy *copy = s->copies->pdata[index];

    return vmig_node_known(s->m->env->dest.node, s->m->job, copy->file, first, page, error);
}

static gboolean send_all(Copying *s, GError **error)
{
    VmigMachine *m = s->m;
    VmigCopyEvents events = {on_known, on_progress, s};
    g_autoptr(GPtrArray) tasks = g_ptr_array_new();

    for (guint i = 0; i < s->copies->len; i++)
        g_ptr_array_add(tasks, &((BaseCopy *)s->copies->pdata[i])->task);
    gboolean sent = m->env->copier->ops->send(m->env->copier, tasks, &events, error);
    for (guint i = 0; i < s->copies->len; i++)
        m->job->bytes_copied += ((const BaseCopy *)s->copies->pdata[i])->progress.sent;
    return sent && vmig_fault("copy.sent", error);
}

static gboolean source_unchanged(VmigMachine *m, const VmigFile *file, GError **error)
{
    guint64 size, dev, ino, mtime_ns;

    if (!vmig_node_stat(m->env->source.node, file->path[VMIG_SOURCE], &size, &dev, &ino, &mtime_ns, error))
        return FALSE;
    if (size == file->size && dev == file->dev && ino == file->ino && mtime_ns == file->mtime_ns)
        return TRUE;
    return vmig_fail(error, VMIG_ERROR_BASE_CHANGED, NULL, "the frozen base %s changed while it was copied",
                     file->path[VMIG_SOURCE]);
}

/* If the hashes differ, another process wrote to the file or a host computes wrongly. Sending the differences again
 * would not help, so the next try starts from nothing. */
static gboolean refuse_part(VmigMachine *m, const BaseCopy *copy, GError **error)
{
    g_autoptr(GError) why = NULL;

    if (!vmig_node_remove(m->env->dest.node, m->job, copy->file->part, "its content differs from what was sent", &why))
        vmig_machine_note(m, "cannot remove %s: %s", copy->file->part, why->message);
    return vmig_fail(error, VMIG_ERROR_HASH_MISMATCH, "Check the memory, the disks and the network of both hosts.",
                     "disk %s: the copy of %s differs from the data that was read", copy->target,
                     copy->file->path[VMIG_SOURCE]);
}

static gboolean prove(VmigMachine *m, BaseCopy *copy, GError **error)
{
    VmigNode *dest = m->env->dest.node;
    g_autofree char *got_hash = NULL;

    if (!vmig_node_received(dest, m->job, copy->file, copy->task.rewritten, &got_hash, error) ||
        !source_unchanged(m, copy->file, error))
        return FALSE;
    if (g_strcmp0(copy->task.hash, got_hash) != 0)
        return refuse_part(m, copy, error);
    copy->file->hash = g_steal_pointer(&got_hash);
    return vmig_machine_save(m, error);
}

/* A file that several disks share was copied and placed with the first of them. */
static gboolean place(VmigMachine *m, VmigFile *file, GError **error)
{
    const VmigFile *first = vmig_job_first(m->job, file);

    if (first == file) {
        if (!vmig_node_place(m->env->dest.node, m->job, file, error) || !vmig_fault("copy.placed", error))
            return FALSE;
        file->copy = VMIG_BASE_COPY_PLACED;
        return TRUE;
    }
    g_free(file->hash);
    file->hash = g_strdup(first->hash);
    file->copy = first->copy;
    return TRUE;
}

/* Starts with the deepest file: a backing file must have its name before a file that refers to it. */
static gboolean place_proven(VmigMachine *m, GError **error)
{
    for (guint i = 0; i < m->job->artifacts->len; i++) {
        const VmigArtifact *artifact = m->job->artifacts->pdata[i];
        for (guint k = artifact->files->len; is_ahead(artifact) && k > 0; k--) {
            VmigFile *file = artifact->files->pdata[k - 1];
            if (file->copy != VMIG_BASE_COPY_PART)
                continue;
            if (!place(m, file, error))
                return FALSE;
            if (!vmig_machine_save(m, error))
                return FALSE;
        }
    }
    return TRUE;
}

/* The proof of a base copy holds until a migration begins that writes into it (merge "mirror"). From then on, whatever
 * the result was, the file is a part again: it must be made equal and proven before it is used. */
static gboolean doubt_dirty(VmigMachine *m, GError **error)
{
    for (guint i = 0; i < m->job->disks->len; i++) {
        VmigDisk *disk = m->job->disks->pdata[i];
        VmigFile *file = vmig_disk_base(disk);
        if (file->copy != VMIG_BASE_COPY_DIRTY)
            continue;
        if (!vmig_node_unplace(m->env->dest.node, m->job, file, error) || !vmig_fault("copy.unplaced", error))
            return FALSE;
        vmig_machine_note(m, "disk %s: a failed migration may have written to %s: it is made equal to %s again",
                          disk->target, file->path[VMIG_DEST], file->path[VMIG_SOURCE]);
        g_clear_pointer(&file->hash, g_free);
        file->copy = VMIG_BASE_COPY_PART;
        if (!vmig_machine_save(m, error))
            return FALSE;
    }
    return TRUE;
}

gboolean vmig_copy_prove_again(VmigMachine *m, GError **error)
{
    VmigState next;

    return doubt_dirty(m, error) && vmig_step_copy(m, &next, error);
}

gboolean vmig_copy_note_written(VmigMachine *m, GError **error)
{
    for (guint i = 0; i < m->job->artifacts->len; i++) {
        const VmigArtifact *artifact = m->job->artifacts->pdata[i];
        for (guint k = 0; is_ahead(artifact) && k < artifact->files->len; k++) {
            VmigFile *file = artifact->files->pdata[k];
            if (file->hash == NULL || file->copy != VMIG_BASE_COPY_PLACED)
                return vmig_fail(error, VMIG_ERROR_INTERNAL, NULL, "%s %s: the copy of %s was not verified",
                                 vmig_artifact_name(artifact->kind), artifact->target, file->path[VMIG_SOURCE]);
            if (k == 0 && vmig_job_merges_by_mirror(m->job))
                file->copy = VMIG_BASE_COPY_DIRTY;
        }
    }
    return !vmig_job_merges_by_mirror(m->job) || vmig_machine_save(m, error);
}

gboolean vmig_step_copy(VmigMachine *m, VmigState *next G_GNUC_UNUSED, GError **error)
{
    widen(m);
    g_autoptr(Copying) copying = collect(m);

    if (copying->copies->len > 0 && (!start_receivers(copying, error) || !send_all(copying, error)))
        return FALSE;
    for (guint i = 0; i < copying->copies->len; i++)
        if (!vmig_machine_check_cancel(m, error) || !prove(m, copying->copies->pdata[i], error))
            return FALSE;
    return place_proven(m, error);
}
