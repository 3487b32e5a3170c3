/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* This host's node: the object, the dispatcher, the locks and the journal. */
#include "node/node-local.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/path-map.h"
#include "node/agent.h"
#include "os/flag-file.h"
#include "copy/receiver.h"
#include "drivers/libvirt/libvirt-socket.h"
#include "node/node-local-private.h"
#include "os/command.h"
#include "os/worker.h"
#include "store/gate.h"
#include "store/oplock.h"

typedef struct {
    VmigOpLock *lock;
    char *job;
} HeldLock;

static void held_lock_free(gpointer data)
{
    HeldLock *held = data;

    vmig_oplock_release(held->lock);
    g_free(held->job);
    g_free(held);
}

char *vmig_local_job_dir(const VmigLocal *local, const char *job)
{
    return g_build_filename(local->run_dir, job, NULL);
}

gboolean vmig_local_role(VmigLocal *local, const char *job, VmigRole *ret, GError **error)
{
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&local->journal_lock);
    g_autoptr(GError) failure = NULL;

    if (vmig_journal_role(local->journal, job, ret, &failure))
        return TRUE;
    if (g_error_matches(failure, VMIG_ERROR, VMIG_ERROR_NO_JOB)) {
        *ret = local->role;
        return TRUE;
    }
    g_propagate_error(error, g_steal_pointer(&failure));
    return FALSE;
}

gboolean vmig_local_holds(VmigLocal *local, const char *job, const char *uuid)
{
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&local->lock);
    GHashTableIter iter;
    gpointer domain, held;

    g_hash_table_iter_init(&iter, local->oplocks);
    while (g_hash_table_iter_next(&iter, &domain, &held))
        if (g_str_equal(((HeldLock *)held)->job, job) && (uuid == NULL || g_str_equal(domain, uuid)))
            return TRUE;
    return FALSE;
}

/* This process's lock for another job excludes this one, just like another process's lock. */
static gboolean check_held(const HeldLock *held, const char *job, GError **error)
{
    if (g_str_equal(held->job, job))
        return TRUE;
    return vmig_fail(error, VMIG_ERROR_LOCKED, NULL, "job %s holds the domain", held->job);
}

gboolean vmig_local_do_lock(VmigLocal *local, const VmigLockArgs *args, VmigNothing *reply G_GNUC_UNUSED,
                            GError **error)
{
    const char *job = args->job;
    const char *uuid = args->uuid;
    const char *tool = args->tool;
    g_autoptr(GError) taken = NULL;

    VmigRole role;
    if (!vmig_local_role(local, job, &role, error))
        return FALSE;
    g_autofree char *dir = g_build_filename(local->run_dir, "lock", NULL);
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&local->lock);
    HeldLock *held = g_hash_table_lookup(local->oplocks, uuid);
    if (held != NULL)
        return check_held(held, job, error);
    VmigOpLock *lock = vmig_oplock_take_for(dir, uuid, job, vmig_role_name(role), tool, &taken);
    if (lock == NULL && tool != NULL && g_error_matches(taken, VMIG_ERROR, VMIG_ERROR_LOCKED) &&
        vmig_worker_end_agent(local->run_dir, uuid, job, tool)) {
        g_clear_error(&taken);
        lock = vmig_oplock_take_for(dir, uuid, job, vmig_role_name(role), tool, &taken);
    }
    if (lock == NULL) {
        g_propagate_error(error, g_steal_pointer(&taken));
        return FALSE;
    }
    held = g_new0(HeldLock, 1);
    held->lock = lock;
    held->job = g_strdup(job);
    g_hash_table_insert(local->oplocks, g_strdup(uuid), held);
    return TRUE;
}

gboolean vmig_local_do_unlock(VmigLocal *local, const VmigGuestArgs *args, VmigNothing *reply G_GNUC_UNUSED,
                              GError **error)
{
    const char *job = args->job;
    const char *uuid = args->uuid;

    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&local->lock);
    HeldLock *held = g_hash_table_lookup(local->oplocks, uuid);
    if (held != NULL && !check_held(held, job, error))
        return FALSE;
    g_hash_table_remove(local->oplocks, uuid);
    return TRUE;
}

static gboolean check_record_id(const VmigJob *record, GError **error)
{
    return (record->id != NULL && vmig_job_id_is_valid(record->id)) ||
           vmig_fail(error, VMIG_ERROR_PROTOCOL, NULL, "the request: the record's id is not the id of a job");
}

gboolean vmig_local_do_record_put(VmigLocal *local, const VmigRecordArgs *args, VmigNothing *reply G_GNUC_UNUSED,
                                  GError **error)
{
    const VmigJob *job = args->record;
    VmigRole role;

    if (!check_record_id(job, error) || !vmig_local_role(local, job->id, &role, error))
        return FALSE;
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&local->journal_lock);
    return vmig_journal_put(local->journal, job, role, error);
}

/* The journal records this, too: the flag is for the case that the journal is lost. */
static void note_given(const VmigLocal *local, const char *job)
{
    g_autofree char *folder = vmig_local_job_dir(local, job);

    vmig_flag_set(folder, VMIG_FLAG_GIVEN, NULL);
}

gboolean vmig_local_do_catch_up(VmigLocal *local, const VmigCatchUpArgs *args, VmigNothing *reply G_GNUC_UNUSED,
                                GError **error)
{
    const VmigJob *job = args->record;

    if (!check_record_id(job, error))
        return FALSE;
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&local->journal_lock);
    gboolean ok = vmig_gate_catch_up(local->journal, job, args->role, error);
    if (ok && job->owner == VMIG_DEST)
        note_given(local, job->id);
    return ok;
}

gboolean vmig_local_do_record_get(VmigLocal *local, const VmigJobArgs *args, VmigRecordReply *reply, GError **error)
{
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&local->journal_lock);
    g_autoptr(GError) failure = NULL;

    reply->record = vmig_journal_load(local->journal, args->job, &failure);
    if (reply->record != NULL || g_error_matches(failure, VMIG_ERROR, VMIG_ERROR_NO_JOB))
        return TRUE;
    g_propagate_error(error, g_steal_pointer(&failure));
    return FALSE;
}

gboolean vmig_local_was_given(const VmigLocal *local, const char *job)
{
    g_autofree char *folder = vmig_local_job_dir(local, job);

    return vmig_flag_is_set(folder, VMIG_FLAG_GIVEN);
}

gboolean vmig_local_do_was_given(VmigLocal *local, const VmigJobArgs *args, VmigWasGivenReply *reply,
                                 GError **error G_GNUC_UNUSED)
{
    reply->given = vmig_local_was_given(local, args->job);
    return TRUE;
}

gboolean vmig_local_do_token_put(VmigLocal *local, const VmigTokenArgs *args, VmigNothing *reply G_GNUC_UNUSED,
                                 GError **error)
{
    const char *job = args->job;

    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&local->journal_lock);
    gboolean ok = vmig_journal_set_token(local->journal, job, args->owner, error);
    if (ok && args->owner == VMIG_DEST)
        note_given(local, job);
    return ok;
}

static gboolean run(VmigLocal *local, VmigMethod method, gconstpointer args, gpointer reply, GError **error)
{
    switch (method) {
#define VMIG_METHOD(symbol, function, name, args_, reply_, peer, time)                                                 \
    case VMIG_METHOD_##symbol:                                                                                         \
        return vmig_local_do_##function(local, args, reply, error);
#include "port/methods.def"
#undef VMIG_METHOD
    case VMIG_METHOD_LAST:
        break;
    }
    g_return_val_if_reached(FALSE);
}

static gboolean is_cancelled(VmigLocal *local)
{
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&local->lock);
    return local->cancelled;
}

static gboolean local_call(VmigNode *self, VmigMethod method, gconstpointer args, gpointer reply, GError **error)
{
    VmigLocal *local = (VmigLocal *)self;

    if (is_cancelled(local))
        return vmig_fail(error, VMIG_ERROR_CANCELLED, NULL, "'%s' was cancelled", vmig_method_name(method));
    return (!local->serves_peer || vmig_local_peer_may(local, method, args, error)) &&
           run(local, method, args, reply, error);
}

static void local_free(VmigNode *self)
{
    VmigLocal *local = (VmigLocal *)self;

    g_hash_table_unref(local->receivers);
    vmig_local_relay_end(local);
    vmig_local_rehearsals_close(local);
    g_hash_table_unref(local->rehearsals);
    g_hash_table_unref(local->oplocks);
    g_hash_table_unref(local->holds);
    g_hash_table_unref(local->hashes);
    g_clear_pointer(&local->flow_journal, vmig_journal_close);
    g_clear_pointer(&local->journal, vmig_journal_close);
    g_ptr_array_unref(local->roots);
    g_mutex_clear(&local->journal_lock);
    g_mutex_clear(&local->lock);
    g_free(local->state_dir);
    g_free(local->run_dir);
    g_free(local->exe);
    g_free(local->machine_id);
    g_free(local->tls_dir);
    g_free(local->qemu_conf);
    g_free(local->libvirt_dir);
    g_free(local->libvirt_run_dir);
    g_free(local->libvirt_log_dir);
    g_free(local->libvirt_uri);
    g_free(local->libvirt_sockets);
    g_free(local->base.host);
    g_free(local);
}

static const VmigNodeOps local_ops = {.call = local_call, .free = local_free};

static char *read_machine_id(void)
{
    g_autofree char *text = NULL;

    if (!g_file_get_contents("/etc/machine-id", &text, NULL, NULL))
        return g_strdup("");
    return g_strdup(g_strstrip(text));
}

static gboolean add_roots(VmigLocal *local, const char *const *roots, GError **error)
{
    for (guint i = 0; roots != NULL && roots[i] != NULL; i++) {
        if (!vmig_path_check(roots[i], error)) {
            g_prefix_error(error, "an image root: ");
            return FALSE;
        }
        g_ptr_array_add(local->roots, g_strdup(roots[i]));
    }
    return TRUE;
}

/* Others may search it, to reach the job folders in it, but not list it. */
static gboolean make_run_dir(const char *path, GError **error)
{
    struct stat st;

    if (g_mkdir_with_parents(path, 0711) != 0 || lstat(path, &st) != 0)
        return vmig_fail_errno(error, errno, "cannot create %s", path);
    if (!S_ISDIR(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 022) != 0)
        return vmig_fail(error, VMIG_ERROR_IO, NULL, "%s must be a directory to which no other user can write", path);
    if (chmod(path, 0711) != 0)
        return vmig_fail_errno(error, errno, "cannot change the mode of %s", path);
    return TRUE;
}

static gboolean open_journal(VmigLocal *local, VmigJournal **ret, GError **error)
{
    g_autofree char *path = g_build_filename(local->state_dir, "journal.db", NULL);

    *ret = vmig_journal_open(path, *local->machine_id != '\0' ? local->machine_id : NULL, error);
    if (*ret != NULL)
        vmig_journal_set_roots(*ret, local->roots);
    return *ret != NULL;
}

static VmigLocal *local_alloc(const char *host, const VmigNodeConfig *config)
{
    VmigLocal *local = g_new0(VmigLocal, 1);

    local->base.ops = &local_ops;
    local->base.host = g_strdup(host);
    local->state_dir = g_strdup(config->state_dir);
    local->run_dir = g_strdup(config->run_dir);
    local->exe = config->exe != NULL ? g_strdup(config->exe) : vmig_command_path();
    local->machine_id = config->machine_id != NULL ? g_strdup(config->machine_id) : read_machine_id();
    local->role = config->role;
    local->serves_peer = config->serves_peer;
    local->tls_dir = g_strdup(config->tls_dir != NULL ? config->tls_dir : "/etc/pki/qemu");
    local->first_port = MAX(config->first_port, 1);
    local->last_port = config->last_port;
    local->qemu_conf = g_strdup(config->qemu_conf != NULL ? config->qemu_conf : "/etc/libvirt/qemu.conf");
    local->libvirt_dir = g_strdup(config->libvirt_qemu_dir != NULL ? config->libvirt_qemu_dir : "/etc/libvirt/qemu");
    local->libvirt_run_dir = g_strdup(config->libvirt_run_dir != NULL ? config->libvirt_run_dir : "/run/libvirt/qemu");
    local->libvirt_log_dir =
        g_strdup(config->libvirt_log_dir != NULL ? config->libvirt_log_dir : "/var/log/libvirt/qemu");
    local->libvirt_uri = g_strdup(config->libvirt_uri != NULL ? config->libvirt_uri : "qemu:///system");
    local->libvirt_sockets = g_strdup(config->libvirt_sockets != NULL ? config->libvirt_sockets : VMIG_LIBVIRT_SOCKETS);
    local->login = config->login;
    local->roots = g_ptr_array_new_with_free_func(g_free);
    g_mutex_init(&local->journal_lock);
    g_mutex_init(&local->lock);
    local->oplocks = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, held_lock_free);
    local->receivers = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, (GDestroyNotify)vmig_receiver_free);
    local->holds = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, (GDestroyNotify)g_ptr_array_unref);
    local->hashes = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    local->rehearsals = vmig_local_rehearsals_new();
    return local;
}

VmigNode *vmig_node_local_new(const char *host, const VmigNodeConfig *config, GError **error)
{
    VmigLocal *local = local_alloc(host, config);
    g_autoptr(VmigNode) node = &local->base;

    if (!add_roots(local, config->roots, error) || !make_run_dir(local->run_dir, error) ||
        !open_journal(local, &local->journal, error))
        return NULL;
    return g_steal_pointer(&node);
}

VmigJournal *vmig_node_local_journal(VmigNode *node, GError **error)
{
    VmigLocal *local = (VmigLocal *)node;
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&local->journal_lock);

    if (local->flow_journal == NULL && !open_journal(local, &local->flow_journal, error))
        return NULL;
    return local->flow_journal;
}

void vmig_node_local_cancel(VmigNode *node)
{
    VmigLocal *local = (VmigLocal *)node;

    if (node->ops != &local_ops)
        return;
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&local->lock);
    local->cancelled = TRUE;
    /* Frees, and so ends, the receivers. One that vmig_local_do_received() is finishing is not in the table any more.
     */
    g_hash_table_remove_all(local->receivers);
}

void vmig_node_local_release(VmigNode *node)
{
    VmigLocal *local = (VmigLocal *)node;

    if (node->ops != &local_ops)
        return;
    vmig_local_rehearsals_close(local);
    vmig_local_relay_end(local);
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&local->lock);
    g_hash_table_remove_all(local->oplocks);
}
