/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* This host's node: receives base copies, several at a time. Long work runs without holding any lock. */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "core/path-map.h"
#include "image/image.h"
#include "copy/receiver.h"
#include "node/node-local-private.h"
#include "store/gate.h"

#define RECEIVER_END_US (5 * G_USEC_PER_SEC)

/* What the journal must allow before another host's request touches a base copy. */
static gboolean check_peer(VmigLocal *local, const char *job, const VmigCopyFile *file, GError **error)
{
    return !local->serves_peer || vmig_local_peer_copy(local, job, file->part, file->dest, file->kept, error);
}

/* Only RUN_DIR/JOB/NAME is allowed. */
static gboolean check_socket(const VmigLocal *local, const char *job, const char *path, GError **error)
{
    g_autofree char *dir = vmig_local_job_dir(local, job);
    g_autofree char *folder = g_path_get_dirname(path);

    if (!vmig_path_check(path, error))
        return FALSE;
    return g_str_equal(folder, dir) ||
           vmig_fail(error, VMIG_ERROR_BAD_PATH, NULL, "the socket '%s' is not in %s", path, dir);
}

/* Keeps the part of an earlier attempt: the sender asks what is in it and sends the rest. A part that vanished, or that
 * was declared redundant, is replaced by a new one. */
static gboolean intend_part(VmigLocal *local, const char *job, const VmigCopyFile *file, GError **error)
{
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&local->journal_lock);
    g_autoptr(VmigJournalFile) row = NULL;

    if (!vmig_journal_file_get(local->journal, job, file->part, &row, error))
        return FALSE;
    if (row != NULL && !g_str_equal(row->kind, "part"))
        return vmig_fail(error, VMIG_ERROR_GATE, NULL, "'%s' is not part of a base copy", file->part);
    gboolean open = row != NULL && !g_str_equal(row->state, "removed");
    gboolean usable = open && (g_str_equal(row->state, "intended") ||
                               (!g_str_equal(row->state, "redundant") && vmig_local_exists(local, file->part)));
    if (usable)
        return TRUE;
    return (!open || vmig_gate_remove(local->journal, job, file->part, error)) &&
           vmig_gate_intend(local->journal, job, file->part, "part", error);
}

static gboolean record_part(VmigLocal *local, const char *job, const VmigCopyFile *file, GError **error)
{
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&local->journal_lock);

    return vmig_gate_made(local->journal, job, file->part, error);
}

static void keep_receiver(VmigLocal *local, const char *part, VmigReceiver *receiver)
{
    g_autoptr(VmigReceiver) owned = receiver;
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&local->lock);

    /* The agent's peer may have disconnected meanwhile. */
    if (!local->cancelled)
        g_hash_table_replace(local->receivers, g_strdup(part), g_steal_pointer(&owned));
}

static VmigReceiver *take_receiver(VmigLocal *local, const char *part)
{
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&local->lock);
    gpointer key = NULL, receiver = NULL;

    if (!g_hash_table_steal_extended(local->receivers, part, &key, &receiver))
        return NULL;
    g_free(key);
    return receiver;
}

static VmigReceiver *hold_receiver(VmigLocal *local, const char *part)
{
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&local->lock);
    VmigReceiver *receiver = g_hash_table_lookup(local->receivers, part);

    if (receiver != NULL)
        vmig_receiver_hold(receiver);
    return receiver;
}

static void set_hash(VmigLocal *local, const char *part, const char *hash)
{
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&local->lock);

    if (hash != NULL)
        g_hash_table_replace(local->hashes, g_strdup(part), g_strdup(hash));
    else
        g_hash_table_remove(local->hashes, part);
}

static char *get_hash(VmigLocal *local, const char *part)
{
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&local->lock);

    return g_strdup(g_hash_table_lookup(local->hashes, part));
}

/* The receiver of an agent that was ended in favor of this one ends with it, but slightly later and without any event.
 */
static gboolean await_unused(VmigLocal *local, const char *part, GError **error)
{
    gint64 until = g_get_monotonic_time() + RECEIVER_END_US;
    g_autoptr(GError) why = NULL;

    while (!vmig_local_check_unused(local, part, &why)) {
        if (!g_error_matches(why, VMIG_ERROR, VMIG_ERROR_INTERFERENCE) || g_get_monotonic_time() > until) {
            g_propagate_error(error, g_steal_pointer(&why));
            return FALSE;
        }
        g_clear_error(&why);
        g_usleep(RECEIVER_END_US / 250);
    }
    return TRUE;
}

/* Where it is received. */
static gboolean get_listen(const VmigLocal *local, const VmigReceiveArgs *args, VmigListen *ret, GError **error)
{
    gboolean tls = g_strcmp0(args->transport, "tls") == 0;

    *ret = (VmigListen){.socket = args->transport == NULL ? args->socket : NULL,
                        .admitted = local->login,
                        .first_port = local->first_port,
                        .last_port = local->last_port,
                        .tls_dir = tls ? local->tls_dir : NULL,
                        .identity = tls ? args->identity : NULL};
    if (args->transport == NULL && args->socket == NULL)
        return vmig_message_refuse(error, NULL, "socket", "a string");
    if (tls && (args->identity == NULL || *args->identity == '\0'))
        return vmig_message_refuse(error, NULL, "identity", "the name in a certificate");
    return ret->socket == NULL || check_socket(local, args->job, ret->socket, error);
}

gboolean vmig_local_do_receive(VmigLocal *local, const VmigReceiveArgs *args, VmigReceiveReply *reply, GError **error)
{
    VmigListen to;
    const VmigCopyFile *file = &args->file;

    if (!check_peer(local, args->job, file, error) || !get_listen(local, args, &to, error) || !vmig_hash_check(error) ||
        !vmig_local_check_ours(local, args->job, file->part, error) || !vmig_local_check_path(local, file->dest, error))
        return FALSE;
    g_autoptr(VmigReceiver) old = take_receiver(local, file->part);
    if (old != NULL)
        vmig_receiver_abort(old);
    set_hash(local, file->part, NULL);
    if (!await_unused(local, file->part, error) || !intend_part(local, args->job, file, error) ||
        (file->kept != NULL && !vmig_local_take_kept(local, args->job, file->kept, file->dest, file->part, error)))
        return FALSE;
    const char *name = NULL;
    g_auto(VmigFd) folder = vmig_local_open_folder(local, file->part, &name, error);
    if (folder < 0)
        return FALSE;
    g_autoptr(VmigReceiver) receiver = vmig_receiver_start_in(folder, file->part, file->size, &to, &args->key, error);
    if (receiver == NULL || !record_part(local, args->job, file, error))
        return FALSE;
    reply->port = vmig_receiver_get_port(receiver);
    reply->export = g_strdup(vmig_receiver_get_export(receiver));
    reply->fresh = vmig_receiver_is_fresh(receiver);
    keep_receiver(local, file->part, g_steal_pointer(&receiver));
    return TRUE;
}

/* Reports what is already there, page by page, so that only the differences are sent. */
gboolean vmig_local_do_known(VmigLocal *local, const VmigKnownArgs *args, VmigKnownReply *reply, GError **error)
{
    const VmigCopyFile *file = &args->file;

    if (!check_peer(local, args->job, file, error) || !vmig_local_check_ours(local, args->job, file->part, error))
        return FALSE;
    VmigReceiver *receiver = hold_receiver(local, file->part);
    if (receiver == NULL)
        return vmig_fail(error, VMIG_ERROR_CONNECTION, NULL, "'%s' is no longer received", file->part);
    gboolean ok = vmig_receiver_known(receiver, args->first, &reply->page, error);
    vmig_receiver_release(receiver);
    return ok;
}

/* Returns the same result if it is repeated after a lost reply. If the receiving process died, it is unknown whether
 * all data reached the disk, and a second sync would not report an error: the data must be sent again. */
gboolean vmig_local_do_received(VmigLocal *local, const VmigReceivedArgs *args, VmigReceivedReply *reply,
                                GError **error)
{
    const VmigCopyFile *file = &args->file;

    if (!check_peer(local, args->job, file, error) || !vmig_local_check_ours(local, args->job, file->part, error))
        return FALSE;
    g_autofree char *hash = get_hash(local, file->part);
    g_autoptr(VmigReceiver) receiver = take_receiver(local, file->part);
    if (receiver != NULL)
        g_clear_pointer(&hash, g_free);
    if (receiver != NULL && !vmig_receiver_finish(receiver, args->rewritten, &hash, error))
        return FALSE;
    if (hash == NULL) {
        vmig_fail(error, VMIG_ERROR_CONNECTION, NULL, "'%s' is no longer received", file->part);
        return FALSE;
    }
    set_hash(local, file->part, hash);
    reply->hash = g_steal_pointer(&hash);
    return TRUE;
}

/* Checks what QEMU will open because of the base copy's header, under the name that it is about to get. */
static gboolean check_header(VmigLocal *local, const VmigCopyFile *file, GError **error)
{
    struct stat st;

    if (g_str_equal(file->format, "raw"))
        return TRUE;
    g_auto(VmigFd) fd = vmig_image_open(file->part, local->roots, FALSE, error);
    if (fd < 0)
        return FALSE;
    if (fstat(fd, &st) != 0)
        return vmig_fail_errno(error, errno, "cannot stat '%s'", file->part);
    g_autoptr(VmigQcow2) image =
        vmig_qcow2_read(vmig_image_pread, GINT_TO_POINTER(fd), (guint64)st.st_size, NULL, error);
    if (image == NULL) {
        g_prefix_error(error, "'%s': ", file->part);
        return FALSE;
    }
    if (image->data_file)
        return vmig_fail(error, VMIG_ERROR_DATA_FILE, NULL, "'%s' keeps its data in an external data file", file->part);
    if (image->backing_name == NULL)
        return TRUE;
    if (!vmig_backing_name_is_plain(image->backing_name, error))
        return FALSE;
    g_autofree char *backing = vmig_backing_resolve(file->dest, image->backing_name);
    return vmig_local_check_path(local, backing, error);
}

static gboolean write_backing_name(VmigLocal *local, const VmigCopyFile *file, GError **error)
{
    if (file->rebase == NULL)
        return TRUE;
    return vmig_image_rebase_name(file->part, local->roots, file->format, file->rebase, file->backing_format, error);
}

static gboolean name_base_copy(VmigLocal *local, const char *job, const VmigCopyFile *file, gboolean verified,
                               GError **error)
{
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&local->journal_lock);

    return (!verified || vmig_gate_verified(local->journal, job, file->part, error)) &&
           vmig_gate_rename(local->journal, job, file->part, file->dest, error);
}

/* The caller has compared the two hosts' hashes. This checks again if this process still has its own hash. */
static gboolean check_hash(VmigLocal *local, const VmigCopyFile *file, GError **error)
{
    g_autofree char *hash = get_hash(local, file->part);

    if (hash == NULL || file->hash == NULL || g_str_equal(hash, file->hash))
        return TRUE;
    return vmig_fail(error, VMIG_ERROR_HASH_MISMATCH, NULL, "'%s' differs from what was sent", file->part);
}

gboolean vmig_local_do_place(VmigLocal *local, const VmigCopyArgs *args, VmigNothing *reply G_GNUC_UNUSED,
                             GError **error)
{
    const VmigCopyFile *file = &args->file;

    if (!check_peer(local, args->job, file, error) || !vmig_local_check_ours(local, args->job, file->part, error) ||
        !vmig_local_check_path(local, file->dest, error))
        return FALSE;
    if (!g_str_equal(file->format, "qcow2") && !g_str_equal(file->format, "raw")) {
        vmig_fail(error, VMIG_ERROR_PROTOCOL, NULL, "the request: the format is neither qcow2 nor raw");
        return FALSE;
    }
    gboolean there = vmig_local_exists(local, file->part);
    if (there && (!check_hash(local, file, error) || !write_backing_name(local, file, error) ||
                  !check_header(local, file, error)))
        return FALSE;
    if (!name_base_copy(local, args->job, file, there, error))
        return FALSE;
    set_hash(local, file->part, NULL);
    return TRUE;
}

/* A QEMU that libvirt is ending may have the file open for a moment longer. */
static gboolean nobody_writes(VmigLocal *local, const char *path, GError **error)
{
    g_autoptr(GError) why = NULL;

    if (vmig_local_check_unused(local, path, &why))
        return TRUE;
    if (!g_error_matches(why, VMIG_ERROR, VMIG_ERROR_INTERFERENCE)) {
        g_propagate_error(error, g_steal_pointer(&why));
        return FALSE;
    }
    return vmig_fail(error, VMIG_ERROR_TIMEOUT, NULL, "the previous transfer has not ended yet: %s", why->message);
}

/* Never while the guest runs on it: once this host has the token, the file is a disk, not a base copy. */
gboolean vmig_local_do_unplace(VmigLocal *local, const VmigCopyArgs *args, VmigNothing *reply G_GNUC_UNUSED,
                               GError **error)
{
    gboolean dest = FALSE;
    const VmigCopyFile *file = &args->file;

    if (!check_peer(local, args->job, file, error) || !vmig_local_check_ours(local, args->job, file->part, error) ||
        !vmig_local_check_path(local, file->dest, error) || !vmig_local_token_is_dest(local, args->job, &dest, error))
        return FALSE;
    if (dest) {
        vmig_fail(error, VMIG_ERROR_GATE, NULL, "the guest runs on this host: '%s' is not copied again", file->dest);
        return FALSE;
    }
    if (!nobody_writes(local, file->dest, error))
        return FALSE;
    set_hash(local, file->part, NULL);
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&local->journal_lock);
    return vmig_gate_rename(local->journal, args->job, file->dest, file->part, error);
}
