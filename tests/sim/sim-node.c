/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The simulated node: the methods of node-local on simulated files, with the real journal and the real gate. The checks
 * that node-gate.c makes before it calls the gate are made here in the same order. */
#include "sim.h"

#include <string.h>

#include "core/path-map.h"
#include "port/codec.h"
#include "store/gate.h"

typedef struct {
    VmigNode parent;
    SimHost *host;
} SimNode;

gboolean sim_do_lock(SimHost *host, const VmigLockArgs *args, VmigNothing *reply G_GNUC_UNUSED, GError **error)
{
    const char *job = args->job;

    if (host->oplock != NULL && strcmp(host->oplock, job) != 0)
        return vmig_fail(error, VMIG_ERROR_LOCKED, NULL, "job %s holds the domain", host->oplock);
    g_free(host->oplock);
    host->oplock = g_strdup(job);
    return TRUE;
}

gboolean sim_do_unlock(SimHost *host, const VmigGuestArgs *args G_GNUC_UNUSED, VmigNothing *reply G_GNUC_UNUSED,
                       GError **error G_GNUC_UNUSED)
{
    g_clear_pointer(&host->oplock, g_free);
    return TRUE;
}

/* This host's role in the job: from the journal, or as its agent was started. */
static VmigRole role_of(const SimHost *host)
{
    return host->is_dest ? VMIG_DEST : VMIG_SOURCE;
}

gboolean sim_do_record_put(SimHost *host, const VmigRecordArgs *args, VmigNothing *reply G_GNUC_UNUSED, GError **error)
{
    return vmig_journal_put(host->journal, args->record, role_of(host), error);
}

gboolean sim_do_was_given(SimHost *host, const VmigJobArgs *args G_GNUC_UNUSED, VmigWasGivenReply *reply,
                          GError **error G_GNUC_UNUSED)
{
    reply->given = host->given;
    return TRUE;
}

gboolean sim_do_catch_up(SimHost *host, const VmigCatchUpArgs *args, VmigNothing *reply G_GNUC_UNUSED, GError **error)
{
    g_assert(args->role == role_of(host));
    gboolean ok = vmig_gate_catch_up(host->journal, args->record, args->role, error);
    host->given = host->given || (ok && args->record->owner == VMIG_DEST);
    return ok;
}

gboolean sim_do_record_get(SimHost *host, const VmigJobArgs *args, VmigRecordReply *reply, GError **error)
{
    g_autoptr(GError) failure = NULL;

    reply->record = vmig_journal_load(host->journal, args->job, &failure);
    if (reply->record != NULL || g_error_matches(failure, VMIG_ERROR, VMIG_ERROR_NO_JOB))
        return TRUE;
    g_propagate_error(error, g_steal_pointer(&failure));
    return FALSE;
}

gboolean sim_do_texts_missing(SimHost *host, const VmigTextNamesArgs *args, VmigTextsMissingReply *reply G_GNUC_UNUSED,
                              GError **error)
{
    reply->missing = vmig_journal_texts_missing(host->journal, args->job, args->names, error);
    return reply->missing != NULL;
}

gboolean sim_do_texts_put(SimHost *host, const VmigTextsArgs *args, VmigNothing *reply G_GNUC_UNUSED, GError **error)
{
    return vmig_journal_texts_put(host->journal, args->job, args->texts, error);
}

/* One at a time, so that the caller must call repeatedly. */
gboolean sim_do_texts_get(SimHost *host, const VmigTextNamesArgs *args, VmigTextsReply *reply G_GNUC_UNUSED,
                          GError **error)
{
    reply->texts = g_new0(char *, 2);
    reply->texts[0] = vmig_journal_text(host->journal, args->job, args->names[0], error);
    return reply->texts[0] != NULL;
}

gboolean sim_do_token_put(SimHost *host, const VmigTokenArgs *args, VmigNothing *reply G_GNUC_UNUSED, GError **error)
{
    const char *job = args->job;
    VmigRole owner = args->owner;

    if (host->sim->broken == SIM_BREAK_TOKEN && host->is_dest)
        return TRUE;
    gboolean gives = owner == VMIG_DEST;
    if (gives && host->is_dest)
        sim_check_receive(host->sim);
    else if (gives)
        sim_check_give(host);
    gboolean ok = vmig_journal_set_token(host->journal, job, owner, error);
    host->given = host->given || (ok && owner == VMIG_DEST);
    return ok;
}

static gboolean check_ours(const char *job, const char *path, GError **error)
{
    return vmig_path_is_ours(path, job) ||
           vmig_fail(error, VMIG_ERROR_GATE, NULL, "'%s' is not the name of a file of job %s", path, job);
}

gboolean sim_do_intend(SimHost *host, const VmigIntendArgs *args, VmigNothing *reply G_GNUC_UNUSED, GError **error)
{
    const char *job = args->job;
    const char *path = args->path;
    const char *kind = args->kind;

    return check_ours(job, path, error) && vmig_gate_intend(host->journal, job, path, kind, error);
}

gboolean sim_do_made(SimHost *host, const VmigJobPathArgs *args, VmigNothing *reply G_GNUC_UNUSED, GError **error)
{
    const char *job = args->job;
    const char *path = args->path;

    return vmig_gate_made(host->journal, job, path, error);
}

static gboolean token_is_dest(SimHost *host, const char *job, gboolean *ret, GError **error)
{
    VmigRole owner = VMIG_SOURCE;
    gboolean ok = vmig_journal_token(host->journal, job, &owner, error);

    *ret = owner == VMIG_DEST;
    return ok;
}

static gboolean check_not_the_guests(SimHost *host, const char *job, const VmigJournalFile *file, GError **error)
{
    gboolean dest = FALSE;

    if (strcmp(file->kind, "hold") == 0 || strcmp(file->kind, "part") == 0)
        return TRUE;
    if (!token_is_dest(host, job, &dest, error))
        return FALSE;
    if (!dest || !host->is_dest)
        return TRUE;
    if (strcmp(file->kind, "copy") == 0)
        return vmig_fail(error, VMIG_ERROR_GATE, NULL, "'%s' is a disk of the guest by now", file->path);
    g_autoptr(VmigJob) record = vmig_journal_load(host->journal, job, error);
    if (record == NULL)
        return FALSE;
    return record->merge == VMIG_MERGE_DONE ||
           vmig_fail(error, VMIG_ERROR_GATE, NULL, "the guest still uses '%s'", file->path);
}

static gboolean check_unused(SimHost *host, const char *path, GError **error)
{
    const SimFile *file = sim_file_find(host, path);

    return file == NULL || file->writer == NULL ||
           vmig_fail(error, VMIG_ERROR_INTERFERENCE, NULL, "'%s' is in use", path);
}

static gboolean remove_file(SimHost *host, const char *job, const char *path, const char *reason, GError **error)
{
    g_autoptr(VmigJournalFile) row = NULL;
    gboolean exists = sim_file_find(host, path) != NULL;

    if (!vmig_journal_file_get(host->journal, job, path, &row, error))
        return FALSE;
    if (row == NULL && !exists)
        return TRUE;
    if (row == NULL || strcmp(row->kind, "base") == 0)
        return vmig_fail(error, VMIG_ERROR_GATE, NULL, "'%s' is no file that job %s made", path, job);
    g_hash_table_remove(host->receivers, path);
    g_hash_table_remove(host->hashes, path);
    return (!exists || check_not_the_guests(host, job, row, error)) && check_unused(host, path, error) &&
           vmig_gate_redundant(host->journal, job, path, reason, error) &&
           vmig_gate_remove(host->journal, job, path, error);
}

gboolean sim_do_remove(SimHost *host, const VmigRemoveArgs *args, VmigNothing *reply G_GNUC_UNUSED, GError **error)
{
    const char *job = args->job;
    const char *path = args->path;
    const char *reason = args->reason;

    return remove_file(host, job, path, reason, error);
}

static const VmigFile *find_base(const VmigJob *record, const char *path)
{
    for (guint i = 0; i < record->disks->len; i++) {
        const VmigDisk *disk = record->disks->pdata[i];
        for (guint k = 0; k < disk->files->len; k++)
            if (g_strcmp0(((VmigFile *)disk->files->pdata[k])->path[VMIG_SOURCE], path) == 0)
                return disk->files->pdata[k];
    }
    return NULL;
}

gboolean sim_do_remove_base(SimHost *host, const VmigJobPathArgs *args, VmigRemoveBaseReply *reply G_GNUC_UNUSED,
                            GError **error)
{
    const char *job = args->job;
    const char *path = args->path;
    g_autoptr(VmigJob) record = vmig_journal_load(host->journal, job, error);
    if (record == NULL)
        return FALSE;
    const VmigFile *base = find_base(record, path);
    const SimFile *file = sim_file_find(host, path);
    if (base == NULL || host->is_dest || record->owner == VMIG_SOURCE || record->merge != VMIG_MERGE_DONE)
        return vmig_fail(error, VMIG_ERROR_GATE, NULL,
                         "'%s' may still be needed: the destination has not finished the job", path);
    if (file == NULL)
        return TRUE;
    if (file->ino != base->ino || file->mtime_ns != base->mtime_ns)
        return vmig_fail(error, VMIG_ERROR_GATE, NULL, "'%s' is not as it was when it was copied", path);
    return check_unused(host, path, error) &&
           vmig_gate_adopt(host->journal, job, path, (8 << 8) | 1, base->ino, "base", error) &&
           vmig_gate_redundant(host->journal, job, path, "a proven copy runs elsewhere", error) &&
           vmig_gate_remove(host->journal, job, path, error);
}

/* No other guest has an image here. */
gboolean sim_do_users(SimHost *host G_GNUC_UNUSED, const VmigUsersArgs *args, VmigUsersReply *reply,
                      GError **error G_GNUC_UNUSED)
{
    reply->users = g_new0(char *, g_strv_length((char **)args->paths) + 1);
    for (guint i = 0; args->paths[i] != NULL; i++)
        reply->users[i] = g_strdup("");
    return TRUE;
}

gboolean sim_do_create_overlay(SimHost *host, const VmigOverlayArgs *args, VmigNothing *reply G_GNUC_UNUSED,
                               GError **error)
{
    const char *job = args->job;
    const char *path = args->path;
    const char *backing = args->backing;
    gboolean dest = FALSE;

    if (!check_ours(job, path, error) || !token_is_dest(host, job, &dest, error))
        return FALSE;
    if (dest)
        return vmig_fail(error, VMIG_ERROR_GATE, NULL, "the guest runs on this host: '%s' is not created again", path);
    if (!remove_file(host, job, path, "a new one replaces it", error) ||
        !vmig_gate_intend(host->journal, job, path, "overlay", error))
        return FALSE;
    if (sim_file_create(host, path, backing) == NULL)
        return vmig_fail(error, VMIG_ERROR_DESTINATION_EXISTS, NULL, "%s exists", path);
    return vmig_gate_made(host->journal, job, path, error);
}

/* qemu-img commit -d opens both for writing. Committing twice has the same result. */
gboolean sim_do_commit_offline(SimHost *host, const VmigJobPathArgs *args, VmigNothing *reply G_GNUC_UNUSED,
                               GError **error)
{
    SimFile *overlay = sim_node_file(host, args->path, error);

    if (overlay == NULL)
        return FALSE;
    if (overlay->writer != NULL)
        return vmig_fail(error, VMIG_ERROR_INTERFERENCE, NULL, "the overlay is in use");
    SimFile *base = overlay->backing != NULL ? sim_file_find(host, overlay->backing) : NULL;
    if (base == NULL || !sim_qemu_can_write(overlay, NULL) || !sim_qemu_can_write(base, NULL))
        return vmig_fail(error, VMIG_ERROR_IMAGE_TOOL, NULL, "qemu-img: Failed to get \"write\" lock");
    sim_check_offline_commit(host, overlay, base);
    for (guint b = 0; b < SIM_BLOCKS; b++)
        if (overlay->blocks[b] != 0)
            base->blocks[b] = overlay->blocks[b];
    sim_file_touch(host, base);
    return TRUE;
}

gboolean sim_do_leftovers(SimHost *host, const VmigJobArgs *args, VmigLeftoversReply *reply, GError **error)
{
    const char *job = args->job;
    g_autoptr(GError) failure = NULL;
    g_autoptr(GPtrArray) paths = g_ptr_array_new_with_free_func(g_free);
    gboolean dest = FALSE;

    if (!token_is_dest(host, job, &dest, &failure)) {
        if (g_error_matches(failure, VMIG_ERROR, VMIG_ERROR_NO_JOB)) {
            reply->paths = g_new0(char *, 1);
            return TRUE;
        }
        g_propagate_error(error, g_steal_pointer(&failure));
        return FALSE;
    }
    g_autoptr(GPtrArray) files = vmig_gate_list(host->journal, job, error);
    if (files == NULL)
        return FALSE;
    for (guint i = 0; i < files->len; i++) {
        const VmigJournalFile *file = files->pdata[i];
        if (strcmp(file->kind, "base") != 0 && !(dest && strcmp(file->kind, "copy") == 0) &&
            sim_file_find(host, file->path) != NULL)
            g_ptr_array_add(paths, g_strdup(file->path));
    }
    g_ptr_array_add(paths, NULL);
    reply->paths = (char **)g_ptr_array_free(g_steal_pointer(&paths), FALSE);
    return TRUE;
}

/* What the flow never asks of a simulated host. */
#define NOT_SIMULATED(function, args_, reply_)                                                                         \
    gboolean sim_do_##function(SimHost *host, const struct vmig_##args_ *args G_GNUC_UNUSED,                           \
                               struct vmig_##reply_ *reply G_GNUC_UNUSED, GError **error G_GNUC_UNUSED)                \
    {                                                                                                                  \
        g_error("%s: the simulation has no %s", host->name, #function);                                                \
    }
NOT_SIMULATED(identity, path_args, identity)
NOT_SIMULATED(digest, path_args, digest_reply)
NOT_SIMULATED(known, known_args, known_reply)
NOT_SIMULATED(libvirt_relay, libvirt_relay_args, nothing)

static gboolean run(SimHost *host, VmigMethod method, gconstpointer args, gpointer reply, GError **error)
{
    switch (method) {
#define VMIG_METHOD(symbol, function, name, args_, reply_, peer, time)                                                 \
    case VMIG_METHOD_##symbol:                                                                                         \
        return sim_do_##function(host, args, reply, error);
#include "port/methods.def"
#undef VMIG_METHOD
    case VMIG_METHOD_LAST:
        break;
    }
    g_assert_not_reached();
}

/* What the connection to an agent does to a message. */
static gboolean transfer(const VmigMessage *message, gconstpointer from, gpointer to, const char *reply_to,
                         GError **error)
{
    g_autoptr(JsonObject) object = vmig_codec_encode(message, from);

    return vmig_codec_decode(message, object, to, reply_to, error);
}

static gboolean run_as_agent(SimHost *host, VmigMethod method, gconstpointer args, gpointer reply, GError **error)
{
    const VmigMessage *asked = vmig_method_args(method), *answered = vmig_method_reply(method);
    gpointer its_args = vmig_message_new(asked), its_reply = vmig_message_new(answered);
    gboolean ok = transfer(asked, args, its_args, NULL, error) && sim_peer_may(host, method, its_args, error) &&
                  run(host, method, its_args, its_reply, error) &&
                  transfer(answered, its_reply, reply, vmig_method_name(method), error);

    vmig_message_free(asked, its_args);
    vmig_message_free(answered, its_reply);
    return ok;
}

static gboolean node_call(VmigNode *self, VmigMethod method, gconstpointer args, gpointer reply, GError **error)
{
    SimHost *host = ((SimNode *)self)->host;
    SimCall call;

    if (!sim_node_begin(host->sim, &call, host, vmig_method_name(method), error))
        return FALSE;
    sim_gate_set_host(host);
    gboolean ok = (host == sim_peer(host->sim) ? run_as_agent : run)(host, method, args, reply, error);
    return sim_call_end(host->sim, &call, ok, error);
}

static void node_free(VmigNode *self)
{
    g_free(self->host);
    g_free(self);
}

static const VmigNodeOps ops = {.call = node_call, .free = node_free};

VmigNode *sim_node_new(SimHost *host)
{
    SimNode *self = g_new0(SimNode, 1);

    self->parent.ops = &ops;
    self->parent.host = g_strdup(host->name);
    self->host = host;
    return &self->parent;
}
