/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The simulated node: the methods of node-local on simulated files, with the real journal and the real gate. The checks
 * that node-gate.c makes before it calls the gate are made here in the same order. */
#include "sim.h"

#include <string.h>

#include "core/path-map.h"
#include "store/gate.h"

typedef struct {
    VmigNode parent;
    SimHost *host;
} SimNode;

typedef JsonObject *(*Handler)(SimHost *host, VmigReader *args, GError **error);

static JsonObject *done(gboolean ok)
{
    return ok ? json_object_new() : NULL;
}

static gboolean good(const VmigReader *args, GError **error)
{
    return vmig_reader_end(args, error, "the request");
}

JsonObject *sim_do_lock(SimHost *host, VmigReader *args, GError **error)
{
    const char *job = vmig_reader_text(args, "job");

    if (!good(args, error))
        return NULL;
    if (host->oplock != NULL && strcmp(host->oplock, job) != 0) {
        vmig_fail(error, VMIG_ERROR_LOCKED, NULL, "job %s holds the domain", host->oplock);
        return NULL;
    }
    g_free(host->oplock);
    host->oplock = g_strdup(job);
    return done(TRUE);
}

JsonObject *sim_do_unlock(SimHost *host, VmigReader *args, GError **error)
{
    if (vmig_reader_text(args, "job") == NULL || !good(args, error))
        return NULL;
    g_clear_pointer(&host->oplock, g_free);
    return done(TRUE);
}

/* This host's role in the job: from the journal, or as its agent was started. */
static const char *role_of(const SimHost *host)
{
    return host->is_dest ? VMIG_ROLE_DESTINATION : VMIG_ROLE_SOURCE;
}

JsonObject *sim_do_record_put(SimHost *host, VmigReader *args, GError **error)
{
    JsonObject *record = vmig_reader_object(args, "record");
    g_autoptr(VmigJob) job = good(args, error) ? vmig_job_from_json(record, error) : NULL;

    return done(job != NULL && vmig_journal_put(host->journal, job, role_of(host), error));
}

JsonObject *sim_do_was_given(SimHost *host, VmigReader *args, GError **error)
{
    if (vmig_reader_text(args, "job") == NULL || !good(args, error))
        return NULL;
    JsonObject *reply = json_object_new();
    json_object_set_boolean_member(reply, "given", host->given);
    return reply;
}

JsonObject *sim_do_catch_up(SimHost *host, VmigReader *args, GError **error)
{
    JsonObject *record = vmig_reader_object(args, "record");
    const char *role = vmig_reader_text(args, "role");
    g_autoptr(VmigJob) job = good(args, error) ? vmig_job_from_json(record, error) : NULL;

    g_assert(job == NULL || strcmp(role, role_of(host)) == 0);
    gboolean ok = job != NULL && vmig_gate_catch_up(host->journal, job, role, error);
    host->given = host->given || (ok && vmig_job_token_is_dest(job));
    return done(ok);
}

JsonObject *sim_do_record_get(SimHost *host, VmigReader *args, GError **error)
{
    const char *id = vmig_reader_text(args, "job");
    g_autoptr(GError) failure = NULL;

    if (!good(args, error))
        return NULL;
    g_autoptr(VmigJob) job = vmig_journal_load(host->journal, id, &failure);
    if (job == NULL && !g_error_matches(failure, VMIG_ERROR, VMIG_ERROR_NO_JOB)) {
        g_propagate_error(error, g_steal_pointer(&failure));
        return NULL;
    }
    JsonObject *reply = json_object_new();
    if (job != NULL)
        json_object_set_object_member(reply, "record", vmig_job_to_json(job));
    else
        json_object_set_null_member(reply, "record");
    return reply;
}

static JsonObject *texts_reply(const char *member, char **texts)
{
    JsonObject *reply = json_object_new();
    JsonArray *array = json_array_new();

    for (guint i = 0; texts[i] != NULL; i++)
        json_array_add_string_element(array, texts[i]);
    json_object_set_array_member(reply, member, array);
    return reply;
}

JsonObject *sim_do_texts_missing(SimHost *host, VmigReader *args, GError **error)
{
    const char *job = vmig_reader_text(args, "job");
    g_auto(GStrv) names = vmig_reader_texts(args, "names");

    if (!good(args, error))
        return NULL;
    g_auto(GStrv) missing = vmig_journal_texts_missing(host->journal, job, (const char *const *)names, error);
    return missing != NULL ? texts_reply("missing", missing) : NULL;
}

JsonObject *sim_do_texts_put(SimHost *host, VmigReader *args, GError **error)
{
    const char *job = vmig_reader_text(args, "job");
    g_auto(GStrv) texts = vmig_reader_texts(args, "texts");

    return done(good(args, error) && vmig_journal_texts_put(host->journal, job, (const char *const *)texts, error));
}

/* One at a time, so that the caller must call repeatedly. */
JsonObject *sim_do_texts_get(SimHost *host, VmigReader *args, GError **error)
{
    const char *job = vmig_reader_text(args, "job");
    g_auto(GStrv) names = vmig_reader_texts(args, "names");
    char *texts[] = {NULL, NULL};

    texts[0] = good(args, error) ? vmig_journal_text(host->journal, job, names[0], error) : NULL;
    g_autofree char *owned = texts[0];
    return owned != NULL ? texts_reply("texts", texts) : NULL;
}

JsonObject *sim_do_token_put(SimHost *host, VmigReader *args, GError **error)
{
    const char *job = vmig_reader_text(args, "job");
    const char *owner = vmig_reader_text(args, "owner");

    if (!good(args, error))
        return NULL;
    if (host->sim->broken == SIM_BREAK_TOKEN && host->is_dest)
        return done(TRUE);
    gboolean gives = g_strcmp0(owner, VMIG_OWNER_DESTINATION) == 0;
    if (gives && host->is_dest)
        sim_check_receive(host->sim);
    else if (gives)
        sim_check_give(host);
    gboolean ok = vmig_journal_set_token(host->journal, job, owner, error);
    host->given = host->given || (ok && strcmp(owner, VMIG_OWNER_DESTINATION) == 0);
    return done(ok);
}

static gboolean check_ours(const char *job, const char *path, GError **error)
{
    return vmig_path_is_ours(path, job) ||
           vmig_fail(error, VMIG_ERROR_GATE, NULL, "'%s' is not the name of a file of job %s", path, job);
}

JsonObject *sim_do_intend(SimHost *host, VmigReader *args, GError **error)
{
    const char *job = vmig_reader_text(args, "job");
    const char *path = vmig_reader_text(args, "path");
    const char *kind = vmig_reader_text(args, "kind");

    return done(good(args, error) && check_ours(job, path, error) &&
                vmig_gate_intend(host->journal, job, path, kind, error));
}

JsonObject *sim_do_made(SimHost *host, VmigReader *args, GError **error)
{
    const char *job = vmig_reader_text(args, "job");
    const char *path = vmig_reader_text(args, "path");

    return done(good(args, error) && vmig_gate_made(host->journal, job, path, error));
}

static gboolean token_is_dest(SimHost *host, const char *job, gboolean *ret, GError **error)
{
    g_autofree char *owner = vmig_journal_token(host->journal, job, error);

    *ret = g_strcmp0(owner, VMIG_OWNER_DESTINATION) == 0;
    return owner != NULL;
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

JsonObject *sim_do_remove(SimHost *host, VmigReader *args, GError **error)
{
    const char *job = vmig_reader_text(args, "job");
    const char *path = vmig_reader_text(args, "path");
    const char *reason = vmig_reader_text(args, "reason");

    return done(good(args, error) && remove_file(host, job, path, reason, error));
}

static const VmigFile *find_base(const VmigJob *record, const char *path)
{
    for (guint i = 0; i < record->disks->len; i++) {
        const VmigDisk *disk = record->disks->pdata[i];
        for (guint k = 0; k < disk->files->len; k++)
            if (g_strcmp0(((VmigFile *)disk->files->pdata[k])->source, path) == 0)
                return disk->files->pdata[k];
    }
    return NULL;
}

JsonObject *sim_do_remove_base(SimHost *host, VmigReader *args, GError **error)
{
    const char *job = vmig_reader_text(args, "job");
    JsonObject *object = vmig_reader_object(args, "file");

    if (!good(args, error))
        return NULL;
    VmigReader reader = vmig_reader(object);
    const char *path = vmig_reader_text(&reader, "source");
    g_autoptr(VmigJob) record = vmig_journal_load(host->journal, job, error);
    if (record == NULL)
        return NULL;
    const VmigFile *base = find_base(record, path);
    const SimFile *file = sim_file_find(host, path);
    if (base == NULL || host->is_dest || !vmig_job_token_is_dest(record) || record->merge != VMIG_MERGE_DONE) {
        vmig_fail(error, VMIG_ERROR_GATE, NULL, "'%s' may still be needed: the destination has not finished the job",
                  path);
        return NULL;
    }
    if (file == NULL)
        return done(TRUE);
    if (file->ino != base->ino || file->mtime_ns != base->mtime_ns) {
        vmig_fail(error, VMIG_ERROR_GATE, NULL, "'%s' is not as it was when it was copied", path);
        return NULL;
    }
    return done(check_unused(host, path, error) &&
                vmig_gate_adopt(host->journal, job, path, (8 << 8) | 1, base->ino, "base", error) &&
                vmig_gate_redundant(host->journal, job, path, "a proven copy runs elsewhere", error) &&
                vmig_gate_remove(host->journal, job, path, error));
}

/* No other guest has an image here. */
JsonObject *sim_do_users(SimHost *host G_GNUC_UNUSED, VmigReader *args, GError **error)
{
    g_auto(GStrv) paths = vmig_reader_texts(args, "paths");
    JsonArray *users = json_array_new();

    for (guint i = 0; paths[i] != NULL; i++)
        json_array_add_string_element(users, "");
    if (!good(args, error)) {
        json_array_unref(users);
        return NULL;
    }
    JsonObject *reply = json_object_new();
    json_object_set_array_member(reply, "users", users);
    return reply;
}

JsonObject *sim_do_create_overlay(SimHost *host, VmigReader *args, GError **error)
{
    const char *job = vmig_reader_text(args, "job");
    const char *path = vmig_reader_text(args, "path");
    const char *backing = vmig_reader_text(args, "backing");
    gboolean dest = FALSE;

    if (!good(args, error) || !check_ours(job, path, error) || !token_is_dest(host, job, &dest, error))
        return NULL;
    if (dest) {
        vmig_fail(error, VMIG_ERROR_STATE, NULL, "the guest runs on this host: '%s' is not created again", path);
        return NULL;
    }
    if (!remove_file(host, job, path, "a new one replaces it", error) ||
        !vmig_gate_intend(host->journal, job, path, "overlay", error))
        return NULL;
    if (sim_file_create(host, path, backing) == NULL) {
        vmig_fail(error, VMIG_ERROR_DESTINATION_EXISTS, NULL, "%s exists", path);
        return NULL;
    }
    return done(vmig_gate_made(host->journal, job, path, error));
}

/* qemu-img commit -d opens both for writing. Committing twice has the same result. */
JsonObject *sim_do_commit_offline(SimHost *host, VmigReader *args, GError **error)
{
    const char *job = vmig_reader_text(args, "job");
    SimFile *overlay = sim_node_file(host, args, NULL, error);

    if (overlay == NULL || job == NULL)
        return NULL;
    if (overlay->writer != NULL) {
        vmig_fail(error, VMIG_ERROR_INTERFERENCE, NULL, "the overlay is in use");
        return NULL;
    }
    SimFile *base = overlay->backing != NULL ? sim_file_find(host, overlay->backing) : NULL;
    if (base == NULL || !sim_qemu_can_write(overlay, NULL) || !sim_qemu_can_write(base, NULL)) {
        vmig_fail(error, VMIG_ERROR_IMAGE_TOOL, NULL, "qemu-img: Failed to get \"write\" lock");
        return NULL;
    }
    sim_check_offline_commit(host, overlay, base);
    for (guint b = 0; b < SIM_BLOCKS; b++)
        if (overlay->blocks[b] != 0)
            base->blocks[b] = overlay->blocks[b];
    sim_file_touch(host, base);
    return done(TRUE);
}

JsonObject *sim_do_leftovers(SimHost *host, VmigReader *args, GError **error)
{
    const char *job = vmig_reader_text(args, "job");
    g_autoptr(GError) failure = NULL;
    g_autoptr(JsonObject) reply = json_object_new();
    JsonArray *paths = json_array_new();
    gboolean dest = FALSE;

    json_object_set_array_member(reply, "paths", paths);
    if (!good(args, error))
        return NULL;
    if (!token_is_dest(host, job, &dest, &failure)) {
        if (g_error_matches(failure, VMIG_ERROR, VMIG_ERROR_NO_JOB))
            return g_steal_pointer(&reply);
        g_propagate_error(error, g_steal_pointer(&failure));
        return NULL;
    }
    g_autoptr(GPtrArray) files = vmig_gate_list(host->journal, job, error);
    if (files == NULL)
        return NULL;
    for (guint i = 0; i < files->len; i++) {
        const VmigJournalFile *file = files->pdata[i];
        if (strcmp(file->kind, "base") != 0 && !(dest && strcmp(file->kind, "copy") == 0) &&
            sim_file_find(host, file->path) != NULL)
            json_array_add_string_element(paths, file->path);
    }
    return g_steal_pointer(&reply);
}

/* What the flow never asks of a simulated host. */
#define NOT_SIMULATED(function)                                                                                        \
    JsonObject *sim_do_##function(SimHost *host, VmigReader *args G_GNUC_UNUSED, GError **error G_GNUC_UNUSED)         \
    {                                                                                                                  \
        g_error("%s: the simulation has no %s", host->name, #function);                                                \
    }
NOT_SIMULATED(identity)
NOT_SIMULATED(digest)
NOT_SIMULATED(known)
NOT_SIMULATED(libvirt_socket)

static const Handler handlers[] = {
#define VMIG_METHOD(symbol, function, name, peer, time) [VMIG_METHOD_##symbol] = sim_do_##function,
#include "port/methods.def"
#undef VMIG_METHOD
};

static JsonObject *node_call(VmigNode *self, VmigMethod method, JsonObject *args, GError **error)
{
    SimHost *host = ((SimNode *)self)->host;
    VmigReader reader = vmig_reader(args);
    SimCall call;

    if (!sim_node_begin(host->sim, &call, host, vmig_method_name(method), error))
        return NULL;
    sim_gate_set_host(host);
    JsonObject *reply = sim_peer_may(host, method, args, error) ? handlers[method](host, &reader, error) : NULL;
    if (sim_call_end(host->sim, &call, reply != NULL, error))
        return reply;
    g_clear_pointer(&reply, json_object_unref);
    return NULL;
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
