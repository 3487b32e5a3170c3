/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The calls to a host's node: fill the arguments from a job, and take the reply apart.
 *
 * A reply may come from another host. The tables of its fields are checked before it gets here; what a reply must have
 * in common with its request is checked here.
 */
#include "port/node.h"

#include <string.h>

#define NO_REPLY (&(VmigNothing){})

void vmig_node_hurry(VmigNode *node, gboolean on)
{
    if (node->ops->hurry != NULL)
        node->ops->hurry(node, on);
}

void vmig_node_free(VmigNode *node)
{
    if (node != NULL)
        node->ops->free(node);
}

/* The only place that adds the host's name to a message: the implementation of call() may be on that host, which does
 * not name itself. */
static gboolean name_host(const VmigNode *node, GError **error)
{
    if (error == NULL || *error == NULL)
        return FALSE;
    g_autofree char *prefix = g_strconcat(node->host, ": ", NULL);
    if (!g_str_has_prefix((*error)->message, prefix))
        g_prefix_error(error, "%s", prefix);
    return FALSE;
}

gboolean vmig_node_call(VmigNode *node, VmigMethod method, gconstpointer args, gpointer reply, GError **error)
{
    const VmigMessage *kind = vmig_method_reply(method);

    memset(reply, 0, kind->size);
    if (vmig_message_check(vmig_method_args(method), args, NULL, error) &&
        node->ops->call(node, method, args, reply, error) &&
        vmig_message_check(kind, reply, vmig_method_name(method), error))
        return TRUE;
    vmig_message_clear(kind, reply);
    return name_host(node, error);
}

gboolean vmig_node_refuse(VmigNode *node, VmigMethod method, const char *member, const char *expected, GError **error)
{
    vmig_message_refuse(error, vmig_method_name(method), member, expected);
    return name_host(node, error);
}

VmigNodeFacts *vmig_node_hello(VmigNode *node, GError **error)
{
    g_autoptr(VmigNodeFacts) facts = g_new0(VmigNodeFacts, 1);

    return vmig_call_hello(node, &(VmigNothing){}, facts, error) ? g_steal_pointer(&facts) : NULL;
}

gboolean vmig_node_libvirt_relay(VmigNode *node, const char *job, const char *socket, const char *mode, GError **error)
{
    return vmig_call_libvirt_relay(node, &(VmigLibvirtRelayArgs){.job = job, .socket = socket, .mode = mode}, NO_REPLY,
                                   error);
}

VmigPathFacts *vmig_node_path(VmigNode *node, const char *path, GError **error)
{
    g_autoptr(VmigPathFacts) facts = g_new0(VmigPathFacts, 1);

    if (!vmig_call_path(node, &(VmigPathArgs){.path = path}, facts, error))
        return NULL;
    if (facts->kept_job != NULL && facts->kept_domain == NULL) {
        vmig_node_refuse(node, VMIG_METHOD_PATH, "kept_domain", "a string", error);
        return NULL;
    }
    return g_steal_pointer(&facts);
}

char *vmig_node_real_path(VmigNode *node, const char *path, GError **error)
{
    g_auto(VmigRealPathReply) reply = {0};

    return vmig_call_real_path(node, &(VmigPathArgs){.path = path}, &reply, error) ? g_steal_pointer(&reply.path)
                                                                                   : NULL;
}

GPtrArray *vmig_node_survey(VmigNode *node, const char *path, const char *format, GError **error)
{
    g_auto(VmigSurveyReply) reply = {0};

    if (!vmig_call_survey(node, &(VmigImageArgs){.path = path, .format = format}, &reply, error))
        return NULL;
    if (reply.images->len > 0)
        return g_steal_pointer(&reply.images);
    vmig_node_refuse(node, VMIG_METHOD_SURVEY, "images", "an array with at least one image", error);
    return NULL;
}

gboolean vmig_node_stat(VmigNode *node, const char *path, guint64 *size, guint64 *dev, guint64 *ino, guint64 *mtime_ns,
                        GError **error)
{
    g_auto(VmigFileFacts) facts = {0};
    guint64 *rets[] = {size, dev, ino, mtime_ns};

    if (!vmig_call_stat(node, &(VmigPathArgs){.path = path}, &facts, error))
        return FALSE;
    const guint64 numbers[] = {facts.size, facts.dev, facts.ino, facts.mtime_ns};
    for (guint i = 0; i < G_N_ELEMENTS(rets); i++)
        if (rets[i] != NULL)
            *rets[i] = numbers[i];
    return TRUE;
}

gboolean vmig_node_count_snapshots(VmigNode *node, const char *path, guint32 *count, GError **error)
{
    g_auto(VmigCountReply) reply = {0};

    if (!vmig_call_count_snapshots(node, &(VmigPathArgs){.path = path}, &reply, error))
        return FALSE;
    *count = reply.count;
    return TRUE;
}

gboolean vmig_node_locks(VmigNode *node, const char *path, VmigImageLocks *ret, GError **error)
{
    g_auto(VmigImageLocks) locks = {0};

    if (!vmig_call_locks(node, &(VmigPathArgs){.path = path}, &locks, error))
        return FALSE;
    *ret = locks;
    return TRUE;
}

gboolean vmig_node_allocated(VmigNode *node, const char *path, guint64 *bytes, GError **error)
{
    g_auto(VmigAllocatedReply) reply = {0};

    if (!vmig_call_allocated(node, &(VmigPathArgs){.path = path}, &reply, error))
        return FALSE;
    *bytes = reply.bytes;
    return TRUE;
}

gboolean vmig_node_check(VmigNode *node, const char *path, const char *format, gint64 *leaks, GError **error)
{
    g_auto(VmigCheckReply) reply = {0};

    if (!vmig_call_check(node, &(VmigImageArgs){.path = path, .format = format}, &reply, error))
        return FALSE;
    if (leaks != NULL)
        *leaks = (gint64)reply.leaks;
    return TRUE;
}

gboolean vmig_node_lock(VmigNode *node, const VmigJob *job, const char *tool, GError **error)
{
    return vmig_call_lock(node, &(VmigLockArgs){.job = job->id, .uuid = job->uuid, .tool = tool}, NO_REPLY, error);
}

gboolean vmig_node_unlock(VmigNode *node, const VmigJob *job, GError **error)
{
    return vmig_call_unlock(node, &(VmigGuestArgs){.job = job->id, .uuid = job->uuid}, NO_REPLY, error);
}

gboolean vmig_node_record_put(VmigNode *node, const VmigJob *job, GError **error)
{
    return vmig_call_record_put(node, &(VmigRecordArgs){.record = job}, NO_REPLY, error);
}

gboolean vmig_node_was_given(VmigNode *node, const VmigJob *job)
{
    g_auto(VmigWasGivenReply) reply = {0};

    return vmig_call_was_given(node, &(VmigJobArgs){.job = job->id}, &reply, NULL) && reply.given;
}

gboolean vmig_node_catch_up(VmigNode *node, const VmigJob *job, VmigRole role, GError **error)
{
    return vmig_call_catch_up(node, &(VmigCatchUpArgs){.record = job, .role = role}, NO_REPLY, error);
}

gboolean vmig_node_record_get(VmigNode *node, const char *id, VmigJob **ret, GError **error)
{
    g_auto(VmigRecordReply) reply = {0};

    if (!vmig_call_record_get(node, &(VmigJobArgs){.job = id}, &reply, error))
        return FALSE;
    /* Using another job's record would move another guest's token. */
    if (reply.record != NULL && g_strcmp0(reply.record->id, id) != 0)
        return vmig_node_refuse(node, VMIG_METHOD_RECORD_GET, "record", "the requested job", error);
    *ret = g_steal_pointer(&reply.record);
    return TRUE;
}

char **vmig_node_texts_missing(VmigNode *node, const VmigJob *job, const char *const *names, GError **error)
{
    g_auto(VmigTextsMissingReply) reply = {0};

    if (!vmig_call_texts_missing(node, &(VmigTextNamesArgs){.job = job->id, .names = names}, &reply, error))
        return NULL;
    for (guint i = 0; reply.missing[i] != NULL; i++)
        if (!g_strv_contains(names, reply.missing[i])) {
            vmig_node_refuse(node, VMIG_METHOD_TEXTS_MISSING, "missing", "some of the requested names", error);
            return NULL;
        }
    return g_steal_pointer(&reply.missing);
}

gboolean vmig_node_texts_put(VmigNode *node, const VmigJob *job, const char *const *texts, GError **error)
{
    return vmig_call_texts_put(node, &(VmigTextsArgs){.job = job->id, .texts = texts}, NO_REPLY, error);
}

/* The texts must be those of the first names, in order: the checksum identifies each. */
static gboolean are_named(char **texts, const char *const *names)
{
    for (guint i = 0; texts[i] != NULL; i++) {
        g_autofree char *sum = g_compute_checksum_for_string(G_CHECKSUM_SHA256, texts[i], -1);
        if (g_strcmp0(sum, names[i]) != 0)
            return FALSE;
    }
    return texts[0] != NULL;
}

char **vmig_node_texts_get(VmigNode *node, const VmigJob *job, const char *const *names, GError **error)
{
    g_auto(VmigTextsReply) reply = {0};

    if (!vmig_call_texts_get(node, &(VmigTextNamesArgs){.job = job->id, .names = names}, &reply, error))
        return NULL;
    if (g_strv_length(reply.texts) <= g_strv_length((char **)names) && are_named(reply.texts, names))
        return g_steal_pointer(&reply.texts);
    vmig_node_refuse(node, VMIG_METHOD_TEXTS_GET, "texts", "the requested texts", error);
    return NULL;
}

gboolean vmig_node_token_put(VmigNode *node, const VmigJob *job, VmigRole owner, GError **error)
{
    return vmig_call_token_put(node, &(VmigTokenArgs){.job = job->id, .owner = owner}, NO_REPLY, error);
}

gboolean vmig_node_intend(VmigNode *node, const VmigJob *job, const char *path, const char *kind, GError **error)
{
    return vmig_call_intend(node, &(VmigIntendArgs){.job = job->id, .path = path, .kind = kind}, NO_REPLY, error);
}

gboolean vmig_node_made(VmigNode *node, const VmigJob *job, const char *path, GError **error)
{
    return vmig_call_made(node, &(VmigJobPathArgs){.job = job->id, .path = path}, NO_REPLY, error);
}

gboolean vmig_node_remove(VmigNode *node, const VmigJob *job, const char *path, const char *reason, GError **error)
{
    return vmig_call_remove(node, &(VmigRemoveArgs){.job = job->id, .path = path, .reason = reason}, NO_REPLY, error);
}

gboolean vmig_node_remove_base(VmigNode *node, const VmigJob *job, const VmigFile *file, char **kept, GError **error)
{
    g_auto(VmigRemoveBaseReply) reply = {0};
    gboolean ok =
        vmig_call_remove_base(node, &(VmigJobPathArgs){.job = job->id, .path = file->path[VMIG_SOURCE]}, &reply, error);

    *kept = g_steal_pointer(&reply.kept);
    return ok;
}

GPtrArray *vmig_node_users(VmigNode *node, const char *const *paths, const char *domain, GError **error)
{
    g_auto(VmigUsersReply) reply = {0};

    if (!vmig_call_users(node, &(VmigUsersArgs){.paths = paths, .domain = domain}, &reply, error))
        return NULL;
    if (g_strv_length(reply.users) != g_strv_length((char **)paths)) {
        vmig_node_refuse(node, VMIG_METHOD_USERS, "users", "one text for each path", error);
        return NULL;
    }
    GPtrArray *users = g_ptr_array_new_with_free_func(g_free);
    for (guint i = 0; reply.users[i] != NULL; i++)
        g_ptr_array_add(users, *reply.users[i] != '\0' ? g_strdup(reply.users[i]) : NULL);
    return users;
}

gboolean vmig_node_create_overlay(VmigNode *node, const VmigJob *job, const char *path, guint64 virtual_size,
                                  const char *backing, const char *backing_format, GError **error)
{
    const VmigOverlayArgs args = {.job = job->id,
                                  .path = path,
                                  .virtual_size = virtual_size,
                                  .backing = backing,
                                  .backing_format = backing_format};

    return vmig_call_create_overlay(node, &args, NO_REPLY, error);
}

gboolean vmig_node_commit_offline(VmigNode *node, const VmigJob *job, const char *overlay, GError **error)
{
    return vmig_call_commit_offline(node, &(VmigJobPathArgs){.job = job->id, .path = overlay}, NO_REPLY, error);
}

char **vmig_node_leftovers(VmigNode *node, const VmigJob *job, GError **error)
{
    g_auto(VmigLeftoversReply) reply = {0};

    return vmig_call_leftovers(node, &(VmigJobArgs){.job = job->id}, &reply, error) ? g_steal_pointer(&reply.paths)
                                                                                    : NULL;
}

static VmigCopyFile copy_file(const VmigFile *file)
{
    return (VmigCopyFile){.part = file->part,
                          .dest = file->path[VMIG_DEST],
                          .format = file->format,
                          .rebase = file->rebase,
                          .backing_format = file->backing_format,
                          .hash = file->hash,
                          .kept = file->kept,
                          .size = file->size};
}

gboolean vmig_node_receive(VmigNode *node, const VmigJob *job, const VmigFile *file, const char *socket,
                           const VmigHashKey *key, gboolean *fresh, GError **error)
{
    const VmigReceiveArgs args = {.job = job->id, .file = copy_file(file), .key = *key, .socket = socket};
    g_auto(VmigReceiveReply) reply = {0};

    if (!vmig_call_receive(node, &args, &reply, error))
        return FALSE;
    *fresh = reply.fresh;
    return TRUE;
}

gboolean vmig_node_receive_on_port(VmigNode *node, const VmigJob *job, const VmigFile *file, const char *transport,
                                   const VmigHashKey *key, VmigPort *port, gboolean *fresh, GError **error)
{
    const VmigReceiveArgs args = {
        .job = job->id, .file = copy_file(file), .key = *key, .transport = transport, .identity = port->identity};
    g_auto(VmigReceiveReply) reply = {0};

    if (!vmig_call_receive(node, &args, &reply, error))
        return FALSE;
    if (reply.port == 0 || reply.port > 65535)
        return vmig_node_refuse(node, VMIG_METHOD_RECEIVE, "port", "a port", error);
    if (strlen(reply.export) != 32 || strspn(reply.export, "0123456789abcdef") != 32)
        return vmig_node_refuse(node, VMIG_METHOD_RECEIVE, "export", "32 hexadecimal digits", error);
    port->number = reply.port;
    g_strlcpy(port->export, reply.export, sizeof port->export);
    *fresh = reply.fresh;
    return TRUE;
}

gboolean vmig_node_known(VmigNode *node, const VmigJob *job, const VmigFile *file, guint64 first, GBytes **page,
                         GError **error)
{
    g_auto(VmigKnownReply) reply = {0};

    if (!vmig_call_known(node, &(VmigKnownArgs){.job = job->id, .file = copy_file(file), .first = first}, &reply,
                         error))
        return FALSE;
    *page = g_steal_pointer(&reply.page);
    return TRUE;
}

gboolean vmig_node_received(VmigNode *node, const VmigJob *job, const VmigFile *file, const char *rewritten,
                            char **hash, GError **error)
{
    const VmigReceivedArgs args = {.job = job->id, .file = copy_file(file), .rewritten = rewritten};
    g_auto(VmigReceivedReply) reply = {0};

    if (!vmig_call_received(node, &args, &reply, error))
        return FALSE;
    *hash = g_steal_pointer(&reply.hash);
    return TRUE;
}

gboolean vmig_node_place(VmigNode *node, const VmigJob *job, const VmigFile *file, GError **error)
{
    return vmig_call_place(node, &(VmigCopyArgs){.job = job->id, .file = copy_file(file)}, NO_REPLY, error);
}

gboolean vmig_node_unplace(VmigNode *node, const VmigJob *job, const VmigFile *file, GError **error)
{
    return vmig_call_unplace(node, &(VmigCopyArgs){.job = job->id, .file = copy_file(file)}, NO_REPLY, error);
}

gboolean vmig_node_freeze(VmigNode *node, const VmigJob *job, const char *const *paths, GError **error)
{
    return vmig_call_freeze(node, &(VmigJobPathsArgs){.job = job->id, .paths = paths}, NO_REPLY, error);
}

gboolean vmig_node_thaw(VmigNode *node, const VmigJob *job, GError **error)
{
    return vmig_call_thaw(node, &(VmigJobArgs){.job = job->id}, NO_REPLY, error);
}

gboolean vmig_node_fence_arm(VmigNode *node, const VmigJob *job, const char *const *overlays, char **slow,
                             GError **error)
{
    g_auto(VmigFenceArmReply) reply = {0};

    if (!vmig_call_fence_arm(node, &(VmigJobPathsArgs){.job = job->id, .paths = overlays}, &reply, error))
        return FALSE;
    if (slow != NULL)
        *slow = g_steal_pointer(&reply.slow);
    return TRUE;
}

gboolean vmig_node_fence_take(VmigNode *node, const VmigJob *job, gint64 wait_us, gboolean *held, GError **error)
{
    g_auto(VmigFenceTakeReply) reply = {0};

    if (!vmig_call_fence_take(node, &(VmigFenceTakeArgs){.job = job->id, .wait_us = (guint64)MAX(wait_us, 0)}, &reply,
                              error))
        return FALSE;
    *held = reply.held;
    return TRUE;
}

gboolean vmig_node_end_source_qemu(VmigNode *node, const VmigJob *job, char **note, GError **error)
{
    const VmigDomainArgs args = {.job = job->id, .uuid = job->uuid, .domain = job->domain};
    g_auto(VmigEndSourceQemuReply) reply = {0};

    if (!vmig_call_end_source_qemu(node, &args, &reply, error))
        return FALSE;
    *note = g_steal_pointer(&reply.note);
    return TRUE;
}

VmigOrphanFacts *vmig_node_orphan(VmigNode *node, const VmigJob *job, GError **error)
{
    g_autoptr(VmigOrphanFacts) facts = g_new0(VmigOrphanFacts, 1);

    return vmig_call_orphan(node, &(VmigGuestArgs){.job = job->id, .uuid = job->uuid}, facts, error)
               ? g_steal_pointer(&facts)
               : NULL;
}

gboolean vmig_node_orphan_end(VmigNode *node, const VmigJob *job, GError **error)
{
    return vmig_call_orphan_end(node, &(VmigGuestArgs){.job = job->id, .uuid = job->uuid}, NO_REPLY, error);
}

gboolean vmig_node_fence_drop(VmigNode *node, const VmigJob *job, GError **error)
{
    return vmig_call_fence_drop(node, &(VmigJobArgs){.job = job->id}, NO_REPLY, error);
}

gboolean vmig_node_guard_stop(VmigNode *node, const VmigJob *job, GError **error)
{
    return vmig_call_guard_stop(node, &(VmigJobArgs){.job = job->id}, NO_REPLY, error);
}

gboolean vmig_node_sync_config(VmigNode *node, GError **error)
{
    return vmig_call_sync_config(node, &(VmigNothing){}, NO_REPLY, error);
}

gboolean vmig_node_rundir(VmigNode *node, const VmigJob *job, GError **error)
{
    return vmig_call_rundir(node, &(VmigJobArgs){.job = job->id}, NO_REPLY, error);
}

gboolean vmig_node_rundir_remove(VmigNode *node, const VmigJob *job, GError **error)
{
    return vmig_call_rundir_remove(node, &(VmigJobArgs){.job = job->id}, NO_REPLY, error);
}

VmigRehearsal *vmig_node_rehearsal_begin(VmigNode *node, const char *domain, const char *const *paths,
                                         const char *const *formats, GError **error)
{
    g_autoptr(VmigRehearsal) rehearsal = g_new0(VmigRehearsal, 1);
    const VmigRehearsalArgs args = {.domain = domain, .paths = paths, .formats = formats};

    if (!vmig_call_rehearsal_begin(node, &args, rehearsal, error))
        return NULL;
    if (g_strv_length(rehearsal->images) == g_strv_length((char **)paths))
        return g_steal_pointer(&rehearsal);
    vmig_node_refuse(node, VMIG_METHOD_REHEARSAL_BEGIN, "images", "one for each path", error);
    return NULL;
}

gboolean vmig_node_rehearsal_unlink(VmigNode *node, const char *id, GError **error)
{
    return vmig_call_rehearsal_unlink(node, &(VmigRehearsalIdArgs){.id = id}, NO_REPLY, error);
}

gboolean vmig_node_rehearsal_end(VmigNode *node, const char *id, GError **error)
{
    return vmig_call_rehearsal_end(node, &(VmigRehearsalIdArgs){.id = id}, NO_REPLY, error);
}
