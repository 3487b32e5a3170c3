/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Arriving base copies, and the copier that sends them. Receivers and hashes belong to the process that serves them. */
#include "sim.h"

#include <string.h>

#include "core/path-map.h"
#include "store/gate.h"
#include "../roles.h"

#define SIM_FRESH 1 /* a receiver whose part is empty */

/* Like do_unplace() of node-copy.c. */
static gboolean unplace(SimHost *host, const char *job, const VmigCopyFile *copy, GError **error)
{
    const SimFile *file = sim_file_find(host, copy->dest);
    const char *owner = token_in(host->journal, job, error);

    if (owner == NULL)
        return FALSE;
    if (strcmp(owner, vmig_role_name(VMIG_DEST)) == 0)
        return vmig_fail(error, VMIG_ERROR_GATE, NULL, "the guest runs here");
    if (file != NULL && file->writer != NULL)
        return vmig_fail(error, VMIG_ERROR_TIMEOUT, NULL, "somebody writes to '%s'", copy->dest);
    g_hash_table_remove(host->hashes, copy->part);
    return vmig_gate_rename(host->journal, job, copy->dest, copy->part, error);
}

/* Like vmig_local_take_kept() of node-kept.c. */
static gboolean take_kept(SimHost *host, const char *job, const VmigCopyFile *copy, GError **error)
{
    SimFile *there = sim_file_find(host, copy->dest);
    SimFile *part = sim_file_find(host, copy->part);

    if ((part == NULL) == (there == NULL))
        return TRUE;
    if (part == NULL && there->kept == NULL)
        return vmig_fail(error, VMIG_ERROR_DESTINATION_EXISTS, NULL, "'%s' cannot be the copy any more", copy->dest);
    if (!vmig_gate_take(host->journal, job, copy->dest, copy->part, (8 << 8) | (host->is_dest ? 2 : 1),
                        part == NULL ? there->ino : 0, error))
        return FALSE;
    g_clear_pointer(&sim_file_find(host, copy->part)->kept, g_free);
    host->sim->took_kept = TRUE;
    return TRUE;
}

/* Like intend_part() and record_part() of node-copy.c. */
static gboolean receive(SimHost *host, const char *job, const VmigCopyFile *copy, gboolean *fresh, GError **error)
{
    g_autoptr(VmigJournalFile) row = NULL;

    g_hash_table_remove(host->hashes, copy->part);
    if (!vmig_path_is_ours(copy->part, job))
        return vmig_fail(error, VMIG_ERROR_GATE, NULL, "'%s' is none of ours", copy->part);
    if (!vmig_journal_file_get(host->journal, job, copy->part, &row, error))
        return FALSE;
    gboolean known = row != NULL && strcmp(row->state, "removed") != 0;
    if (!known && !vmig_gate_intend(host->journal, job, copy->part, "part", error))
        return FALSE;
    if (copy->kept != NULL && !take_kept(host, job, copy, error))
        return FALSE;
    *fresh = sim_file_find(host, copy->part) == NULL;
    if (*fresh)
        sim_file_create(host, copy->part, NULL);
    if (!(known && strcmp(row->state, "redundant") == 0) && !vmig_gate_made(host->journal, job, copy->part, error))
        return FALSE;
    g_hash_table_replace(host->receivers, g_strdup(copy->part), GINT_TO_POINTER(*fresh ? SIM_FRESH : SIM_FRESH + 1));
    return TRUE;
}

static gboolean received(SimHost *host, const VmigCopyFile *copy, char **ret, GError **error)
{
    const char *hash = g_hash_table_lookup(host->hashes, copy->part);

    if (g_hash_table_remove(host->receivers, copy->part)) {
        const SimFile *file = sim_file_find(host, copy->part);
        /* Injected bug: existing data is assumed to be what was sent. */
        gboolean blind = host->sim->broken == SIM_BREAK_COPY && host->sim->sent_hash != NULL;
        g_hash_table_replace(host->hashes, g_strdup(copy->part),
                             blind          ? g_strdup(host->sim->sent_hash)
                             : file != NULL ? sim_file_hash(file)
                                            : g_strdup("nothing"));
        hash = g_hash_table_lookup(host->hashes, copy->part);
    }
    if (hash == NULL)
        return vmig_fail(error, VMIG_ERROR_CONNECTION, NULL, "'%s' is no longer received", copy->part);
    *ret = g_strdup(hash);
    return TRUE;
}

static gboolean place(SimHost *host, const char *job, const VmigCopyFile *copy, GError **error)
{
    SimFile *file = sim_file_find(host, copy->part);
    const char *hash = g_hash_table_lookup(host->hashes, copy->part);

    if (file != NULL && hash != NULL && copy->hash != NULL && strcmp(hash, copy->hash) != 0)
        return vmig_fail(error, VMIG_ERROR_HASH_MISMATCH, NULL, "'%s' differs from what was sent", copy->part);
    if (file != NULL && copy->rebase != NULL) {
        g_free(file->backing);
        file->backing = g_strdup(copy->rebase);
    }
    if ((file != NULL && !vmig_gate_verified(host->journal, job, copy->part, error)) ||
        !vmig_gate_rename(host->journal, job, copy->part, copy->dest, error))
        return FALSE;
    g_hash_table_remove(host->hashes, copy->part);
    return TRUE;
}

gboolean sim_do_receive(SimHost *host, const VmigReceiveArgs *args, VmigReceiveReply *reply, GError **error)
{
    reply->export = g_strdup("");
    return receive(host, args->job, &args->file, &reply->fresh, error);
}

gboolean sim_do_received(SimHost *host, const VmigReceivedArgs *args, VmigReceivedReply *reply, GError **error)
{
    return received(host, &args->file, &reply->hash, error);
}

gboolean sim_do_place(SimHost *host, const VmigCopyArgs *args, VmigNothing *reply G_GNUC_UNUSED, GError **error)
{
    return place(host, args->job, &args->file, error);
}

gboolean sim_do_unplace(SimHost *host, const VmigCopyArgs *args, VmigNothing *reply G_GNUC_UNUSED, GError **error)
{
    return unplace(host, args->job, &args->file, error);
}

typedef struct {
    VmigCopier parent;
    Sim *sim;
    gboolean cancelled;
} SimCopier;

/* An interrupted one has sent half of the data; the other half is unchanged. */
static void send_blocks(SimFile *to, const SimFile *from, gboolean half)
{
    guint32 old[SIM_BLOCKS];

    memcpy(old, to->blocks, sizeof old);
    sim_file_copy(to, from);
    if (half)
        memcpy(to->blocks + SIM_BLOCKS / 2, old + SIM_BLOCKS / 2, sizeof old / 2);
}

static gboolean send_file(Sim *sim, VmigCopyTask *task, gboolean half, GError **error)
{
    SimHost *dest = sim_dest(sim);
    SimFile *from = sim_file_find(sim_source(sim), task->file->path[VMIG_SOURCE]);
    SimFile *to = sim_file_find(dest, task->file->part);

    if (from == NULL)
        return vmig_fail(error, VMIG_ERROR_IO, NULL, "'%s' is gone", task->file->path[VMIG_SOURCE]);
    if (to == NULL || !g_hash_table_contains(dest->receivers, task->file->part))
        return vmig_fail(error, VMIG_ERROR_CONNECTION, NULL, "nobody receives '%s'", task->file->part);
    gboolean fresh = GPOINTER_TO_INT(g_hash_table_lookup(dest->receivers, task->file->part)) == SIM_FRESH;
    if (sim->broken != SIM_BREAK_COPY || fresh)
        send_blocks(to, from, half);
    task->hash = sim_file_hash(from);
    sim_meddle_copied(sim, task->file->path[VMIG_SOURCE]);
    g_free(sim->sent_hash);
    sim->sent_hash = fresh ? NULL : g_strdup(task->hash);
    if (sim->corrupt) {
        sim->corrupt = FALSE;
        to->blocks[0] ^= 0x40000000;
    }
    return TRUE;
}

static gboolean copier_send(VmigCopier *self, GPtrArray *tasks, const VmigCopyEvents *events, GError **error)
{
    SimCopier *copier = (SimCopier *)self;
    Sim *sim = copier->sim;
    SimCall call;
    gboolean ok = TRUE;

    if (!sim_node_begin(sim, &call, sim_dest(sim), "send", error))
        return FALSE;
    sim_advance(sim, sim_random_scale(&sim->env, 10 * SIM_MS, 600 * SIM_S));
    for (guint i = 0; ok && i < tasks->len; i++) {
        VmigCopyProgress now = {SIM_VIRTUAL_SIZE, SIM_VIRTUAL_SIZE, SIM_VIRTUAL_SIZE};
        if (copier->cancelled)
            ok = vmig_fail(error, VMIG_ERROR_CANCELLED, NULL, "the copy was cancelled");
        else
            ok = send_file(sim, tasks->pdata[i], call.crash_after || call.fail_after, error);
        if (ok && events->progress != NULL)
            events->progress(events->user, i, &now);
    }
    return sim_call_end(sim, &call, ok, error);
}

static void copier_cancel(VmigCopier *self)
{
    ((SimCopier *)self)->cancelled = TRUE;
}

static void copier_set_bandwidth(VmigCopier *self G_GNUC_UNUSED, guint64 bytes G_GNUC_UNUSED)
{
}

static void copier_free(VmigCopier *self)
{
    g_free(self);
}

static const VmigCopierOps copier_ops = {copier_send, copier_cancel, copier_set_bandwidth, copier_free};

VmigCopier *sim_copier_new(Sim *sim)
{
    SimCopier *self = g_new0(SimCopier, 1);

    self->parent.ops = &copier_ops;
    self->sim = sim;
    return &self->parent;
}
