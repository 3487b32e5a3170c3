/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The contents of snapshots from a host's node. */
#include "verify/contents.h"

/* The limits of the other host's qcow2 reader, checked here again because a reply may contain anything. */
#define MAX_SNAPSHOTS 1024
#define MAX_BYTES (G_GUINT64_CONSTANT(64) << 40)

static VmigContent *content_of(const VmigSnapshotFacts *facts)
{
    VmigContent *content = vmig_content_new();

    content->id = g_strdup(facts->id);
    content->name = g_strdup(facts->name);
    content->date_sec = facts->date_sec;
    content->date_nsec = facts->date_nsec;
    content->vm_clock = facts->vm_clock;
    content->vm_state_size = facts->vm_state_size;
    content->disk_size = facts->disk_size;
    content->icount = facts->icount;
    return content;
}

static gboolean are_possible(const GPtrArray *snapshots)
{
    for (guint i = 0; i < snapshots->len; i++) {
        const VmigSnapshotFacts *facts = snapshots->pdata[i];
        if (facts->vm_state_size > MAX_BYTES || facts->disk_size > MAX_BYTES)
            return FALSE;
    }
    return snapshots->len <= MAX_SNAPSHOTS;
}

GPtrArray *vmig_node_contents(VmigNode *node, const char *path, char **stamp, GError **error)
{
    g_auto(VmigContentsReply) reply = {0};

    if (!vmig_call_contents(node, &(VmigPathArgs){.path = path}, &reply, error))
        return NULL;
    if (!are_possible(reply.snapshots)) {
        vmig_node_refuse(node, VMIG_METHOD_CONTENTS, "snapshots", "a list of snapshots", error);
        return NULL;
    }
    GPtrArray *result = g_ptr_array_new_with_free_func((GDestroyNotify)vmig_content_free);
    for (guint i = 0; i < reply.snapshots->len; i++)
        g_ptr_array_add(result, content_of(reply.snapshots->pdata[i]));
    *stamp = g_steal_pointer(&reply.stamp);
    return result;
}

gboolean vmig_node_content_page(VmigNode *node, const VmigContentAsk *what, VmigTreeHash *hash,
                                const VmigTreeHash *like_hash, guint64 *next, GError **error)
{
    const VmigContentPageArgs args = {.key = *what->key,
                                      .path = what->path,
                                      .stamp = what->stamp,
                                      .id = what->id,
                                      .kind = what->kind,
                                      .first = *next,
                                      .like = what->like};
    g_auto(VmigContentPageReply) reply = {0};
    guint64 got = 0;

    if (!vmig_call_content_page(node, &args, &reply, error))
        return FALSE;
    if (!vmig_snapshot_page_apply(hash, like_hash, reply.page, *next, &got, error)) {
        g_prefix_error(error, "%s: ", node->host);
        return FALSE;
    }
    if (got != reply.next)
        return vmig_fail(error, VMIG_ERROR_PROTOCOL, NULL,
                         "%s: a page of a snapshot's digests does not end where it should", node->host);
    *next = got;
    return TRUE;
}
