/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* This host's node: the contents of an image's internal snapshots. Read-only. */
#include <string.h>
#include <sys/stat.h>

#include "image/image.h"
#include "image/snapshot-page.h"
#include "node/node-local-private.h"

static VmigSnapshotFacts *facts_of(const VmigQcow2Snapshot *snapshot)
{
    VmigSnapshotFacts *facts = g_new0(VmigSnapshotFacts, 1);
    gsize length;
    const char *name = g_bytes_get_data(snapshot->name, &length);

    facts->id = vmig_printable(snapshot->id, strlen(snapshot->id));
    facts->name = vmig_printable(name != NULL ? name : "", length);
    facts->date_sec = snapshot->date_sec;
    facts->date_nsec = snapshot->date_nsec;
    facts->vm_clock = snapshot->vm_clock_nsec;
    facts->vm_state_size = snapshot->vm_state_size;
    facts->disk_size = snapshot->disk_size;
    facts->icount = snapshot->icount;
    return facts;
}

gboolean vmig_local_do_contents(VmigLocal *local, const VmigPathArgs *args, VmigContentsReply *reply, GError **error)
{
    if (!vmig_local_check_path(local, args->path, error))
        return FALSE;
    g_autoptr(GPtrArray) chain = vmig_image_survey_chain(args->path, "qcow2", local->roots, error);
    if (chain == NULL)
        return FALSE;
    const VmigQcow2 *qcow2 = ((const VmigImage *)chain->pdata[0])->qcow2;
    reply->stamp = vmig_snapshot_stamp(qcow2);
    reply->snapshots = vmig_message_array(&vmig_snapshot_facts_message);
    for (guint i = 0; i < qcow2->snapshots->len; i++)
        g_ptr_array_add(reply->snapshots, facts_of(qcow2->snapshots->pdata[i]));
    return TRUE;
}

/* Finds the raw ID in the image for an ID in printable form. The printable forms of different IDs differ. */
static const char *id_of(const VmigQcow2 *qcow2, const char *printable)
{
    for (guint i = 0; printable != NULL && i < qcow2->snapshots->len; i++) {
        const VmigQcow2Snapshot *snapshot = qcow2->snapshots->pdata[i];
        g_autofree char *shown = vmig_printable(snapshot->id, strlen(snapshot->id));
        if (g_str_equal(shown, printable))
            return snapshot->id;
    }
    return NULL;
}

gboolean vmig_local_do_content_page(VmigLocal *local, const VmigContentPageArgs *args, VmigContentPageReply *reply,
                                    GError **error)
{
    VmigSnapshotPageRequest request = {
        .kind = args->kind, .stamp = args->stamp, .key = &args->key, .first = args->first};

    if (!vmig_hash_check(error) || !vmig_local_check_path(local, args->path, error))
        return FALSE;
    g_autoptr(GPtrArray) chain = vmig_image_survey_chain(args->path, "qcow2", local->roots, error);
    if (chain == NULL)
        return FALSE;
    const VmigQcow2 *qcow2 = ((const VmigImage *)chain->pdata[0])->qcow2;
    request.id = id_of(qcow2, args->id);
    request.like = id_of(qcow2, args->like);
    if (request.id == NULL || (args->like != NULL && request.like == NULL))
        return vmig_fail(error, VMIG_ERROR_INTERFERENCE, "Try again when no snapshots are being created or deleted.",
                         "'%s' no longer has a snapshot %s", args->path, request.id == NULL ? args->id : args->like);
    reply->page = vmig_snapshot_page_make(chain, local->roots, local->run_dir, &request, &reply->next, error);
    return reply->page != NULL;
}
