/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The reasons to refuse a migration: rules over a survey, each of which adds its refusals. Pure. */
#include <string.h>

#include "core/amount.h"
#include "core/names.h"
#include "definition/snapshot-tree.h"
#include "plan/plan.h"

static void refuse(VmigPlan *plan, VmigErrorCode code, const char *disk, const char *hint, const char *format, ...)
    G_GNUC_PRINTF(5, 6);

static void refuse(VmigPlan *plan, VmigErrorCode code, const char *disk, const char *hint, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    g_autofree char *text = g_strdup_vprintf(format, args);
    va_end(args);
    vmig_plan_refuse(plan, code, disk, hint, text);
}

void vmig_plan_refuse_error(VmigPlan *plan, const char *disk, const GError *error)
{
    VmigErrorCode code = error->domain == VMIG_ERROR ? (VmigErrorCode)error->code : VMIG_ERROR_REFUSED;

    /* The user did not type this path: it is in a definition or in an image. */
    if (code == VMIG_ERROR_BAD_PATH)
        refuse(plan, VMIG_ERROR_ODD_PATH, disk, VMIG_PLAN_HINT_PATH, "%s", error->message);
    else
        refuse(plan, code, disk, vmig_error_hint(error), "%s", error->message);
}

static void note(VmigPlan *plan, const char *format, ...) G_GNUC_PRINTF(2, 3);

static void note(VmigPlan *plan, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    g_autofree char *text = g_strdup_vprintf(format, args);
    va_end(args);
    vmig_plan_note(plan, text);
}

static void rule_hosts(VmigPlan *plan)
{
    const VmigSurvey *s = plan->survey;

    if (s->request->dest_error != NULL)
        vmig_plan_refuse_error(plan, NULL, s->request->dest_error);
    if (s->source_info != NULL && s->dest_info != NULL && g_strcmp0(s->source_info->uuid, s->dest_info->uuid) == 0)
        refuse(plan, VMIG_ERROR_SAME_HOST, NULL,
               "Name another host. If this is another host, give it its own UUID (host_uuid in "
               "/etc/libvirt/libvirtd.conf, or in virtqemud.conf with modular daemons) and restart libvirt's daemon.",
               "'%s' is this host itself (libvirt's host UUID %s)", s->request->dest_uri, s->dest_info->uuid);
    if (s->dest_info != NULL && s->dest_info->libvirt_version >= 11002000 && s->dest_info->libvirt_version < 11004000)
        note(plan, "libvirt 11.2 and 11.3 on the destination cannot revert to internal snapshots; libvirt 11.4 can");
    if (g_strcmp0(s->request->options->transport, "tcp") == 0)
        note(plan, "WARNING: with tcp the guest's memory and disks cross the network unencrypted, and anyone who can "
                   "reach the destination's ports during the migration can read and change them");
    for (guint i = 0; i < s->dest_errors->len; i++)
        vmig_plan_refuse_error(plan, NULL, s->dest_errors->pdata[i]);
}

static void rule_locked(VmigPlan *plan)
{
    const VmigJob *job = plan->survey->open_job;
    g_autoptr(GDateTime) began = g_date_time_new_from_unix_local((gint64)job->started);
    g_autofree char *when = began != NULL ? g_date_time_format(began, "%Y-%m-%d %H:%M:%S") : g_strdup("?");

    refuse(plan, VMIG_ERROR_LOCKED, NULL, "See vmig-snap status; vmig-snap resume or cancel ends the job.",
           "'%s' is held by job %s, which moves it from %s to %s since %s (state %s)", job->domain, job->id,
           job->host[VMIG_SOURCE], job->host[VMIG_DEST], when, job->state);
}

static void rule_domain(VmigPlan *plan)
{
    const VmigSurvey *s = plan->survey;
    const VmigDomainInfo *d = s->domain;

    if (s->domain_error != NULL)
        vmig_plan_refuse_error(plan, NULL, s->domain_error);
    else if (d == NULL)
        refuse(plan, VMIG_ERROR_NO_DOMAIN, NULL, "See virsh list --all.", "there is no domain '%s' on this host",
               s->request->domain);
    if (d == NULL)
        return;
    if (d->run != VMIG_RUN_RUNNING && d->run != VMIG_RUN_PAUSED)
        refuse(plan, VMIG_ERROR_NOT_RUNNING, NULL, vmig_plan_hint_run(d->run),
               "'%s' is %s; only a running guest can be migrated", d->name, vmig_run_name(d->run));
    if (!d->persistent)
        refuse(plan, VMIG_ERROR_TRANSIENT_DOMAIN, NULL, "Make the domain persistent (virsh define).",
               "'%s' is transient", d->name);
    if (d->managed_save)
        refuse(plan, VMIG_ERROR_MANAGED_SAVE, NULL, vmig_plan_hint_saved(d->run), "'%s' has a managed save image",
               d->name);
    if (d->checkpoints > 0)
        refuse(plan, VMIG_ERROR_CHECKPOINTS, NULL,
               "Delete the checkpoints (virsh checkpoint-delete), then take a full backup after the migration.",
               "'%s' has %u checkpoint(s)", d->name, d->checkpoints);
    if (s->has_job)
        refuse(plan, VMIG_ERROR_DOMAIN_JOB, NULL, "Wait until the job has ended (virsh domjobinfo).",
               "a libvirt job runs on '%s'", d->name);
    if (s->name_there || s->uuid_there)
        refuse(plan, VMIG_ERROR_DOMAIN_EXISTS, NULL, vmig_plan_hint_there(s->name_there, s->uuid_there),
               "the destination already has a domain with the %s of '%s'", s->uuid_there ? "UUID" : "name", d->name);
    if (s->cannot_run != NULL)
        vmig_plan_refuse_error(plan, NULL, s->cannot_run);
}

static void refuse_list(VmigPlan *plan, GPtrArray *list, const char *what)
{
    for (guint i = 0; i < list->len; i++)
        refuse(plan, VMIG_ERROR_HOST_DEVICE, NULL,
               "Detach it before the migration, and attach one on the destination afterwards.",
               "the guest uses %s of this host: %s", what, (const char *)list->pdata[i]);
}

static void rule_devices(VmigPlan *plan)
{
    const VmigSurvey *s = plan->survey;
    const VmigDomainFacts *f = vmig_domain_xml_facts(s->live);

    refuse_list(plan, f->host_devices, "a device");
    refuse_list(plan, f->filesystems, "a directory");
    refuse_list(plan, f->vhost_users, "a vhost-user socket");
    refuse_list(plan, f->shmems, "shared memory");
    if (g_strcmp0(f->loader_type, "pflash") == 0 && g_strcmp0(f->nvram_format, "qcow2") != 0)
        refuse(plan, VMIG_ERROR_NVRAM, NULL, NULL,
               "the UEFI variables of '%s' are in a raw file (%s), which vmig-snap cannot move yet", s->domain->name,
               f->nvram != NULL ? f->nvram : "created at the guest's start");
    else if (g_strcmp0(f->loader_type, "pflash") == 0)
        refuse(plan, VMIG_ERROR_NVRAM, NULL, NULL,
               "the UEFI variables of '%s' are in a qcow2 file, whose own snapshots vmig-snap cannot move yet",
               s->domain->name);
    for (guint i = 0; i < s->media_missing->len; i++)
        refuse(plan, VMIG_ERROR_MEDIA_MISSING, NULL, "Copy this host's file to the same path on the destination.",
               "the guest needs %s, which %s does not have", (const char *)s->media_missing->pdata[i],
               s->dest_info != NULL ? s->dest_info->hostname : "the destination");
    if (f->qemu_commandline)
        note(plan,
             "the guest has <qemu:commandline>: the files and devices that it names must exist on the destination too");
}

static void rule_snapshots(VmigPlan *plan)
{
    const VmigSurvey *s = plan->survey;

    if (s->snapshots_error != NULL)
        vmig_plan_refuse_error(plan, NULL, s->snapshots_error);
    for (guint i = 0; i < s->snapshots->len; i++) {
        const VmigSnapshot *snapshot = s->snapshots->pdata[i];
        if (snapshot->external)
            refuse(plan, VMIG_ERROR_EXTERNAL_SNAPSHOT, NULL,
                   "Delete it (virsh snapshot-delete). If libvirt cannot, merge its files (virsh blockcommit), then "
                   "delete libvirt's metadata of it (virsh snapshot-delete --metadata).",
                   "snapshot '%s' is external: parts of it are outside the images", snapshot->name);
    }
}

/* Notes for people: libvirt's snapshots against the image's. The image's own snapshots are moved in any case. */
static void note_differences(VmigPlan *plan, const VmigPlanDisk *disk)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func((GDestroyNotify)g_bytes_unref);

    for (guint i = 0; i < disk->chain->len; i++) {
        const VmigImageFacts *file = disk->chain->pdata[i];
        if (i > 0 && file->snapshots->len > 0)
            note(plan, "disk %s: the backing file %s has %u snapshots of its own; they are moved with it",
                 disk->disk->target, file->path, file->snapshots->len);
        for (guint k = 0; i == 0 && k < file->snapshots->len; k++) {
            const char *name = ((const VmigImageSnapshot *)file->snapshots->pdata[k])->name;
            g_ptr_array_add(names, g_bytes_new(name, strlen(name)));
        }
    }
    g_autoptr(GPtrArray) lines = vmig_snapshot_tree_compare_image(plan->survey->snapshots, disk->disk->target, names);
    for (guint i = 0; i < lines->len; i++)
        note(plan, "disk %s: %s", disk->disk->target, (const char *)lines->pdata[i]);
}

static void rule_image(VmigPlan *plan, const VmigPlanDisk *disk, const VmigImageFacts *file, gboolean top)
{
    const char *t = disk->disk->target;

    /* QEMU rounds the last part up to a whole sector, and then refuses to commit ("Image size is not a multiple of
     * request alignment"), on either host. */
    if (top && g_strcmp0(file->format, "raw") == 0 && file->size % 512 != 0) {
        g_autofree char *word = vmig_shell_word(file->path);
        g_autofree char *hint = g_strdup_printf(
            "Shut the guest down and round the image's size up to whole sectors: truncate -s %%512 %s", word);
        refuse(plan, VMIG_ERROR_ODD_SIZE, t, hint,
               "disk %s: the size of %s, %" G_GUINT64_FORMAT " bytes, is not a multiple of 512", t, file->path,
               file->size);
    }
    if (file->encrypted)
        refuse(plan, VMIG_ERROR_ENCRYPTED, t, NULL, "disk %s: %s is encrypted", t, file->path);
    if (file->data_file)
        refuse(plan, VMIG_ERROR_DATA_FILE, t, VMIG_PLAN_HINT_DATA_FILE,
               "disk %s: %s keeps its data in an external data file", t, file->path);
    if (file->bitmaps > 0)
        refuse(plan, VMIG_ERROR_BITMAPS, t, "Shut the guest down and remove them (qemu-img bitmap --remove).",
               "disk %s: %s has %" G_GUINT64_FORMAT " persistent bitmap(s)", t, file->path, file->bitmaps);
    if (file->version == 2 && top)
        refuse(plan, VMIG_ERROR_OLD_IMAGE, t,
               "Shut the guest down and upgrade the image (qemu-img amend -o compat=1.1).",
               "disk %s: %s is a qcow2 image of version 2 (compat=0.10): QEMU cannot commit into a version 2 image "
               "that has snapshots if the sizes differ",
               t, file->path);
}

static void rule_kind(VmigPlan *plan, const VmigPlanDisk *disk)
{
    const VmigDomainDisk *d = disk->disk;
    const char *format = d->driver_type != NULL ? d->driver_type : "raw";

    if (d->transient)
        refuse(plan, VMIG_ERROR_TRANSIENT_DISK, d->target,
               "Remove <transient/> (virsh edit), then shut the guest down and start it.", "disk %s is transient",
               d->target);
    if (disk->named && d->readonly)
        refuse(plan, VMIG_ERROR_READONLY_DISK, d->target, "Omit this disk from --disk.", "disk %s is read-only",
               d->target);
    if (disk->named && (d->shareable || (disk->overlay_facts != NULL && disk->overlay_facts->shared &&
                                         disk->same_path != NULL && disk->same_path->exists)))
        refuse(plan, VMIG_ERROR_SHARED_DISK, d->target, "Omit this disk from --disk.",
               "disk %s is shared between hosts", d->target);
    if (d->mirror)
        refuse(plan, VMIG_ERROR_BLOCK_JOB, d->target, "Wait for the block job or end it (virsh blockjob).",
               "disk %s has a running block job", d->target);
    if (d->encrypted)
        refuse(plan, VMIG_ERROR_ENCRYPTED, d->target, NULL, "disk %s is encrypted", d->target);
    if (d->data_store)
        refuse(plan, VMIG_ERROR_DATA_FILE, d->target, VMIG_PLAN_HINT_DATA_FILE, "disk %s has an external data file",
               d->target);
    if (g_strcmp0(d->type, "file") != 0 || d->source == NULL || d->sliced || d->reservations ||
        (strcmp(format, "qcow2") != 0 && strcmp(format, "raw") != 0))
        refuse(plan, VMIG_ERROR_DISK_KIND, d->target,
               d->source_text == NULL ? "Omit this drive from --disk: it is empty."
                                      : "Only whole local qcow2 and raw files can be moved: detach the disk before the "
                                        "migration (virsh detach-disk).",
               "disk %s is %s on '%s' (%s)", d->target, format, d->source_text != NULL ? d->source_text : "nothing",
               d->type);
}

static void rule_chain(VmigPlan *plan, const VmigPlanDisk *disk)
{
    const VmigDomainDisk *d = disk->disk;

    if (disk->chain_error != NULL)
        vmig_plan_refuse_error(plan, d->target, disk->chain_error);
    if (disk->chain == NULL)
        return;
    for (guint i = 0; i < disk->chain->len; i++)
        rule_image(plan, disk, disk->chain->pdata[i], i == 0);
    /* A live definition names the whole chain. It must match the image headers, otherwise one of them was changed. */
    gboolean same = !d->chain_known || d->backing->len + 1 == disk->chain->len;
    for (guint i = 0; same && d->chain_known && i < d->backing->len; i++)
        same = vmig_plan_names_image(((const VmigChainFile *)d->backing->pdata[i])->file, disk->chain->pdata[i + 1]);
    if (!same)
        refuse(plan, VMIG_ERROR_CHAIN, d->target,
               "Compare virsh dumpxml with qemu-img info --backing-chain. Shut the guest down, correct the wrong chain "
               "(virsh edit, qemu-img rebase -u), and start the guest.",
               "disk %s: the chain in libvirt's definition differs from the chain in the image headers", d->target);
    note_differences(plan, disk);
}

/* An image that an earlier migration of the same guest left there may be reused for this one. */
static gboolean rule_kept(VmigPlan *plan, const VmigPlanDisk *disk, guint index)
{
    const VmigSurvey *s = plan->survey;
    const VmigPathFacts *facts = disk->dest_facts->pdata[index];
    const char *path = disk->dest_paths->pdata[index];
    const char *t = disk->disk->target;
    const char *why = facts->kept_why_not;

    if (facts->kept_job == NULL)
        return FALSE;
    if (g_strcmp0(facts->kept_domain, s->domain->uuid) != 0)
        why = "it belongs to another guest";
    if (why == NULL) {
        note(plan, "disk %s: job %s kept %s on the destination: only the changes since then are sent", t,
             facts->kept_job, path);
        return TRUE;
    }
    g_autofree char *hint = vmig_plan_hint_exists(plan, disk, index);
    refuse(plan, VMIG_ERROR_DESTINATION_EXISTS, t, hint,
           "disk %s: %s exists on the destination, where job %s left it, and cannot be used as the base copy: %s", t,
           path, facts->kept_job, why);
    return TRUE;
}

static void rule_dest_path(VmigPlan *plan, const VmigPlanDisk *disk, guint index)
{
    const VmigPathFacts *facts = disk->dest_facts->pdata[index];
    const char *path = disk->dest_paths->pdata[index];
    const char *t = disk->disk->target;

    if (!facts->in_roots)
        refuse(plan, VMIG_ERROR_OUTSIDE_ROOTS, t, vmig_plan_hint_outside(index),
               "disk %s: %s is outside the image roots of the destination", t, path);
    else if (facts->exists && !rule_kept(plan, disk, index)) {
        g_autofree char *hint = vmig_plan_hint_exists(plan, disk, index);
        refuse(plan, VMIG_ERROR_DESTINATION_EXISTS, t, hint, "disk %s: %s exists on the destination", t, path);
    } else if (!facts->exists && !facts->folder_ok)
        refuse(
            plan, VMIG_ERROR_NO_DIRECTORY, t,
            "Create that directory on the destination, make it writable, or choose another directory with --map-dir.",
            "disk %s: the directory of %s does not exist on the destination or cannot be written", t, path);
}

static void rule_dest_paths(VmigPlan *plan, const VmigPlanDisk *disk)
{
    for (guint i = 0; i < disk->dest_facts->len && i < disk->dest_paths->len; i++)
        rule_dest_path(plan, disk, i);
}

static void rule_source_room(VmigPlan *plan, const VmigPlanDisk *disk)
{
    const VmigPathFacts *here = disk->overlay_facts;

    if (here == NULL || disk->chain == NULL)
        return;
    if (!here->in_roots)
        refuse(plan, VMIG_ERROR_OUTSIDE_ROOTS, disk->disk->target,
               "Add the directory to image-roots in /etc/vmig-snap/vmig-snap.conf.",
               "disk %s: %s is outside the image roots of this host", disk->disk->target, disk->disk->source);
    if (here->free_bytes < disk->overlay_forecast) {
        g_autofree char *needs = vmig_amount_format(disk->overlay_forecast);
        g_autofree char *has = vmig_amount_format(here->free_bytes);
        refuse(plan, VMIG_ERROR_NO_SPACE, disk->disk->target, "Free space on the file system of the image.",
               "disk %s: the temporary overlay may need %s, but this host has only %s free there", disk->disk->target,
               needs, has);
    }
}

/* Bytes that the base copies already occupy. */
static guint64 kept_bytes(const VmigSurvey *s, const VmigPlanDisk *disk)
{
    guint64 sum = 0;

    for (guint i = 0; i < disk->dest_facts->len; i++) {
        const VmigPathFacts *facts = disk->dest_facts->pdata[i];
        if (facts->kept_job != NULL && !vmig_survey_is_counted(s, disk, i) && !vmig_size_add(&sum, facts->kept_bytes))
            return G_MAXUINT64;
    }
    return sum;
}

/* Several disks on one file system of the destination need the sum of their space. */
static void rule_dest_room(VmigPlan *plan)
{
    const VmigSurvey *s = plan->survey;
    g_autoptr(GHashTable) needs = g_hash_table_new_full(g_int64_hash, g_int64_equal, NULL, g_free);
    /* Guest writes take space in the overlay and, once committed, in the base copy; with "mirror" only in the copy. */
    guint times = g_strcmp0(plan->merge, "mirror") == 0 ? 1 : 2;
    GHashTableIter iter;
    gpointer key, value;

    for (guint i = 0; i < s->disks->len; i++) {
        const VmigPlanDisk *disk = s->disks->pdata[i];
        if (!disk->moved || disk->chain == NULL || disk->dest_facts->len == 0)
            continue;
        VmigPathFacts *there = disk->dest_facts->pdata[0];
        if (!there->in_roots || !there->folder_ok)
            continue; /* refused already; the free space there is not known */
        guint64 *sum = g_hash_table_lookup(needs, &there->filesystem);
        if (sum == NULL) {
            sum = g_new0(guint64, 1);
            g_hash_table_insert(needs, &there->filesystem, sum);
        }
        guint64 room =
            vmig_room_needed(disk->to_copy - MIN(disk->to_copy, kept_bytes(s, disk)), disk->overlay_forecast, times);
        if (!vmig_size_add(sum, room))
            *sum = G_MAXUINT64;
    }
    g_hash_table_iter_init(&iter, needs);
    while (g_hash_table_iter_next(&iter, &key, &value)) {
        /* The key lies inside the facts of the first disk on that file system. */
        const VmigPathFacts *there =
            (const VmigPathFacts *)(gconstpointer)((char *)key - G_STRUCT_OFFSET(VmigPathFacts, filesystem));
        guint64 need = *(guint64 *)value;
        if (!vmig_size_add(&plan->dest_needs, need))
            plan->dest_needs = G_MAXUINT64;
        if (there->free_bytes >= need)
            continue;
        g_autofree char *needs_text = vmig_amount_format(need);
        g_autofree char *has = vmig_amount_format(there->free_bytes);
        refuse(plan, VMIG_ERROR_NO_SPACE, NULL,
               "Free space on the destination, or choose another file system with --map-dir.",
               "the destination needs %s (for the images, and %sthe guest's writes meanwhile) but has only %s free",
               needs_text, times > 1 ? "twice " : "", has);
    }
}

static void rule_named(VmigPlan *plan)
{
    const VmigSurvey *s = plan->survey;
    g_autoptr(GPtrArray) mapped = vmig_path_map_targets(s->request->map);

    for (const char *const *name = s->request->disks; name != NULL && *name != NULL; name++)
        if (vmig_domain_xml_disk(s->live, *name) == NULL)
            refuse(plan, VMIG_ERROR_UNKNOWN_DISK, *name, "See virsh domblklist.", "the guest has no disk '%s'", *name);
    for (guint i = 0; i < mapped->len; i++) {
        const char *target = mapped->pdata[i];
        gboolean moved = FALSE;
        for (guint k = 0; k < s->disks->len; k++) {
            const VmigPlanDisk *disk = s->disks->pdata[k];
            moved = moved || (disk->moved && strcmp(disk->disk->target, target) == 0);
        }
        if (!moved)
            refuse(plan, VMIG_ERROR_UNKNOWN_DISK, target,
                   "Omit that --map, or name a disk that is moved (virsh domblklist).",
                   "--map names disk '%s', which is not moved", target);
    }
}

static void rule_path_clash(VmigPlan *plan)
{
    const VmigSurvey *s = plan->survey;
    g_autoptr(GHashTable) seen = g_hash_table_new(g_str_hash, g_str_equal);

    for (guint i = 0; i < s->disks->len; i++) {
        const VmigPlanDisk *disk = s->disks->pdata[i];
        for (guint k = 0; disk->moved && k < disk->dest_paths->len; k++) {
            const char *path = disk->dest_paths->pdata[k];
            /* Several disks may share one file, which is copied once. */
            if (k > 0 && vmig_survey_is_counted(s, disk, k))
                continue;
            if (!g_hash_table_add(seen, (gpointer)path))
                refuse(plan, VMIG_ERROR_PATH_CLASH, disk->disk->target, vmig_plan_hint_clash(k),
                       "two files would get the same destination path %s", path);
        }
    }
}

static void rule_options(VmigPlan *plan)
{
    const VmigOptions *o = plan->survey->request->options;
    g_autofree char *against = vmig_plan_choose_merge(plan);

    if (against != NULL)
        refuse(plan, VMIG_ERROR_MERGE, NULL, "Use --merge commit, or --merge auto.",
               "the merge '%s' cannot be used: %s", plan->merge, against);
    if (o->postcopy)
        refuse(plan, VMIG_ERROR_UNSUPPORTED, NULL, "Omit --postcopy; --auto-converge helps with a busy guest.",
               "--postcopy cannot be used: the guest must arrive paused, so that two copies of it cannot run");
    if (o->parallel > 0 && g_strcmp0(o->transport, "ssh") == 0)
        refuse(plan, VMIG_ERROR_UNSUPPORTED, NULL, "Omit --parallel.",
               "--parallel opens several connections for the memory, but with ssh everything uses one connection");
}

void vmig_plan_apply_rules(VmigPlan *plan)
{
    const VmigSurvey *s = plan->survey;
    guint moved = 0;

    /* All other findings would be caused by that job. */
    if (s->open_job != NULL) {
        rule_locked(plan);
        return;
    }
    rule_options(plan);
    rule_hosts(plan);
    vmig_plan_host_rules(plan);
    rule_domain(plan);
    if (s->live == NULL)
        return;
    rule_devices(plan);
    rule_snapshots(plan);
    rule_named(plan);
    for (guint i = 0; i < s->disks->len; i++) {
        const VmigPlanDisk *disk = s->disks->pdata[i];
        if (!disk->moved) {
            vmig_plan_rule_stay(plan, disk);
            continue;
        }
        moved++;
        plan->bytes_to_copy += disk->to_copy;
        rule_kind(plan, disk);
        rule_chain(plan, disk);
        rule_source_room(plan, disk);
        rule_dest_paths(plan, disk);
    }
    if (moved == 0)
        refuse(plan, VMIG_ERROR_NO_DISK, NULL, vmig_plan_hint_no_disk(s->request->disks != NULL),
               "'%s' has no disk to move", s->domain->name);
    vmig_plan_rule_definitions(plan);
    rule_path_clash(plan);
    rule_dest_room(plan);
}
