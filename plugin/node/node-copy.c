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

/* The arguments of the requests for a base copy. The strings belong to the request. */
typedef struct {
    const char *job, *part, *dest, *format, *rebase, *backing_format, *hash, *kept;
    guint64 size;
} BaseCopy;

static gboolean read_base_copy(VmigLocal *local, VmigReader *args, BaseCopy *base_copy, GError **error)
{
    base_copy->job = vmig_local_job(args);
    JsonObject *object = vmig_reader_object(args, "file");
    if (!vmig_local_args(args, error))
        return FALSE;
    VmigReader reader = vmig_reader(object);
    base_copy->part = vmig_reader_text(&reader, "part");
    base_copy->dest = vmig_reader_text(&reader, "dest");
    base_copy->format = vmig_reader_text(&reader, "format");
    base_copy->rebase = vmig_reader_maybe_text(&reader, "rebase");
    base_copy->backing_format = vmig_reader_maybe_text(&reader, "backing_format");
    base_copy->hash = vmig_reader_maybe_text(&reader, "hash");
    base_copy->kept = vmig_reader_maybe_text(&reader, "kept");
    base_copy->size = vmig_reader_size(&reader, "size");
    return vmig_local_args(&reader, error) &&
           (!local->serves_peer ||
            vmig_local_peer_copy(local, base_copy->job, base_copy->part, base_copy->dest, base_copy->kept, error));
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
static gboolean intend_part(VmigLocal *local, const BaseCopy *base_copy, GError **error)
{
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&local->journal_lock);
    g_autoptr(VmigJournalFile) row = NULL;

    if (!vmig_journal_file_get(local->journal, base_copy->job, base_copy->part, &row, error))
        return FALSE;
    if (row != NULL && !g_str_equal(row->kind, "part"))
        return vmig_fail(error, VMIG_ERROR_GATE, NULL, "'%s' is not part of a base copy", base_copy->part);
    gboolean open = row != NULL && !g_str_equal(row->state, "removed");
    gboolean usable = open && (g_str_equal(row->state, "intended") ||
                               (!g_str_equal(row->state, "redundant") && vmig_local_exists(local, base_copy->part)));
    if (usable)
        return TRUE;
    return (!open || vmig_gate_remove(local->journal, base_copy->job, base_copy->part, error)) &&
           vmig_gate_intend(local->journal, base_copy->job, base_copy->part, "part", error);
}

static gboolean record_part(VmigLocal *local, const BaseCopy *base_copy, GError **error)
{
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&local->journal_lock);

    return vmig_gate_made(local->journal, base_copy->job, base_copy->part, error);
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

JsonObject *vmig_local_do_receive(VmigLocal *local, VmigReader *args, GError **error)
{
    const char *transport = vmig_reader_maybe_text(args, "transport");
    const char *socket = transport == NULL ? vmig_reader_text(args, "socket") : NULL;
    const char *key_text = vmig_reader_text(args, "key");
    gboolean tls = g_strcmp0(transport, "tls") == 0;
    const char *identity = tls ? vmig_reader_text(args, "identity") : NULL;
    VmigListen to = {.socket = socket,
                     .first_port = local->first_port,
                     .last_port = local->last_port,
                     .tls_dir = tls ? local->tls_dir : NULL,
                     .identity = identity};
    VmigHashKey key;
    BaseCopy base_copy;

    if (transport != NULL && !tls && !g_str_equal(transport, "tcp"))
        vmig_reader_mistake(args, "transport", "\"tls\" or \"tcp\"");
    if (identity != NULL && *identity == '\0')
        vmig_reader_mistake(args, "identity", "the name in a certificate");
    if (!read_base_copy(local, args, &base_copy, error) ||
        (socket != NULL && !check_socket(local, base_copy.job, socket, error)) ||
        !vmig_hash_key_read(key_text, &key, error) ||
        !vmig_local_check_ours(local, base_copy.job, base_copy.part, error) ||
        !vmig_local_check_path(local, base_copy.dest, error))
        return NULL;
    g_autoptr(VmigReceiver) old = take_receiver(local, base_copy.part);
    if (old != NULL)
        vmig_receiver_abort(old);
    set_hash(local, base_copy.part, NULL);
    if (!await_unused(local, base_copy.part, error) || !intend_part(local, &base_copy, error) ||
        (base_copy.kept != NULL &&
         !vmig_local_take_kept(local, base_copy.job, base_copy.kept, base_copy.dest, base_copy.part, error)))
        return NULL;
    const char *name = NULL;
    g_auto(VmigFd) folder = vmig_local_open_folder(local, base_copy.part, &name, error);
    if (folder < 0)
        return NULL;
    g_autoptr(VmigReceiver) receiver = vmig_receiver_start_in(folder, base_copy.part, base_copy.size, &to, &key, error);
    if (receiver == NULL || !record_part(local, &base_copy, error))
        return NULL;
    JsonObject *reply = json_object_new();
    json_object_set_int_member(reply, "port", vmig_receiver_get_port(receiver));
    json_object_set_string_member(reply, "export", vmig_receiver_get_export(receiver));
    json_object_set_boolean_member(reply, "fresh", vmig_receiver_is_fresh(receiver));
    keep_receiver(local, base_copy.part, g_steal_pointer(&receiver));
    return reply;
}

/* Reports what is already there, page by page, so that only the differences are sent. */
JsonObject *vmig_local_do_known(VmigLocal *local, VmigReader *args, GError **error)
{
    guint64 first = vmig_reader_size(args, "first");
    g_autoptr(GBytes) page = NULL;
    BaseCopy base_copy;

    if (!read_base_copy(local, args, &base_copy, error) ||
        !vmig_local_check_ours(local, base_copy.job, base_copy.part, error))
        return NULL;
    VmigReceiver *receiver = hold_receiver(local, base_copy.part);
    if (receiver == NULL) {
        vmig_fail(error, VMIG_ERROR_CONNECTION, NULL, "'%s' is no longer received", base_copy.part);
        return NULL;
    }
    gboolean ok = vmig_receiver_known(receiver, first, &page, error);
    vmig_receiver_release(receiver);
    if (!ok)
        return NULL;
    g_autofree char *text = g_base64_encode(g_bytes_get_data(page, NULL), g_bytes_get_size(page));
    JsonObject *reply = json_object_new();
    json_object_set_string_member(reply, "page", text);
    return reply;
}

/* Returns the same result if it is repeated after a lost reply. If the receiving process died, it is unknown whether
 * all data reached the disk, and a second sync would not report an error: the data must be sent again. */
JsonObject *vmig_local_do_received(VmigLocal *local, VmigReader *args, GError **error)
{
    const char *rewritten = vmig_reader_maybe_text(args, "rewritten");
    BaseCopy base_copy;

    if (!read_base_copy(local, args, &base_copy, error) ||
        !vmig_local_check_ours(local, base_copy.job, base_copy.part, error))
        return NULL;
    g_autofree char *hash = get_hash(local, base_copy.part);
    g_autoptr(VmigReceiver) receiver = take_receiver(local, base_copy.part);
    if (receiver != NULL)
        g_clear_pointer(&hash, g_free);
    if (receiver != NULL && !vmig_receiver_finish(receiver, rewritten, &hash, error))
        return NULL;
    if (hash == NULL) {
        vmig_fail(error, VMIG_ERROR_CONNECTION, NULL, "'%s' is no longer received", base_copy.part);
        return NULL;
    }
    set_hash(local, base_copy.part, hash);
    JsonObject *reply = json_object_new();
    json_object_set_string_member(reply, "hash", hash);
    return reply;
}

/* Checks what QEMU will open because of the base copy's header, under the name that it is about to get. */
static gboolean check_header(VmigLocal *local, const BaseCopy *base_copy, GError **error)
{
    struct stat st;

    if (g_str_equal(base_copy->format, "raw"))
        return TRUE;
    g_auto(VmigFd) fd = vmig_image_open(base_copy->part, local->roots, FALSE, error);
    if (fd < 0)
        return FALSE;
    if (fstat(fd, &st) != 0)
        return vmig_fail_errno(error, errno, "cannot stat '%s'", base_copy->part);
    g_autoptr(VmigQcow2) image =
        vmig_qcow2_read(vmig_image_pread, GINT_TO_POINTER(fd), (guint64)st.st_size, NULL, error);
    if (image == NULL) {
        g_prefix_error(error, "'%s': ", base_copy->part);
        return FALSE;
    }
    if (image->data_file)
        return vmig_fail(error, VMIG_ERROR_DATA_FILE, NULL, "'%s' keeps its data in an external data file",
                         base_copy->part);
    if (image->backing_name == NULL)
        return TRUE;
    if (!vmig_backing_name_is_plain(image->backing_name, error))
        return FALSE;
    g_autofree char *backing = vmig_backing_resolve(base_copy->dest, image->backing_name);
    return vmig_local_check_path(local, backing, error);
}

static gboolean write_backing_name(VmigLocal *local, const BaseCopy *base_copy, GError **error)
{
    if (base_copy->rebase == NULL)
        return TRUE;
    return vmig_image_rebase_name(base_copy->part, local->roots, base_copy->format, base_copy->rebase,
                                  base_copy->backing_format, error);
}

static gboolean name_base_copy(VmigLocal *local, const BaseCopy *base_copy, gboolean verified, GError **error)
{
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&local->journal_lock);

    return (!verified || vmig_gate_verified(local->journal, base_copy->job, base_copy->part, error)) &&
           vmig_gate_rename(local->journal, base_copy->job, base_copy->part, base_copy->dest, error);
}

/* The caller has compared the two hosts' hashes. This checks again if this process still has its own hash. */
static gboolean check_hash(VmigLocal *local, const BaseCopy *base_copy, GError **error)
{
    g_autofree char *hash = get_hash(local, base_copy->part);

    if (hash == NULL || base_copy->hash == NULL || g_str_equal(hash, base_copy->hash))
        return TRUE;
    return vmig_fail(error, VMIG_ERROR_HASH_MISMATCH, NULL, "'%s' differs from what was sent", base_copy->part);
}

JsonObject *vmig_local_do_place(VmigLocal *local, VmigReader *args, GError **error)
{
    BaseCopy base_copy;

    if (!read_base_copy(local, args, &base_copy, error) ||
        !vmig_local_check_ours(local, base_copy.job, base_copy.part, error) ||
        !vmig_local_check_path(local, base_copy.dest, error))
        return NULL;
    if (!g_str_equal(base_copy.format, "qcow2") && !g_str_equal(base_copy.format, "raw")) {
        vmig_fail(error, VMIG_ERROR_PROTOCOL, NULL, "the request: the format is neither qcow2 nor raw");
        return NULL;
    }
    gboolean there = vmig_local_exists(local, base_copy.part);
    if (there && (!check_hash(local, &base_copy, error) || !write_backing_name(local, &base_copy, error) ||
                  !check_header(local, &base_copy, error)))
        return NULL;
    if (!name_base_copy(local, &base_copy, there, error))
        return NULL;
    set_hash(local, base_copy.part, NULL);
    return vmig_local_done(TRUE);
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
JsonObject *vmig_local_do_unplace(VmigLocal *local, VmigReader *args, GError **error)
{
    gboolean dest = FALSE;
    BaseCopy base_copy;

    if (!read_base_copy(local, args, &base_copy, error) ||
        !vmig_local_check_ours(local, base_copy.job, base_copy.part, error) ||
        !vmig_local_check_path(local, base_copy.dest, error) ||
        !vmig_local_token_is_dest(local, base_copy.job, &dest, error))
        return NULL;
    if (dest) {
        vmig_fail(error, VMIG_ERROR_STATE, NULL, "the guest runs on this host: '%s' is not copied again",
                  base_copy.dest);
        return NULL;
    }
    if (!nobody_writes(local, base_copy.dest, error))
        return NULL;
    set_hash(local, base_copy.part, NULL);
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&local->journal_lock);
    return vmig_local_done(vmig_gate_rename(local->journal, base_copy.job, base_copy.dest, base_copy.part, error));
}
