/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Overlays and block jobs, and what libvirt refuses while one runs. */
#include "sim.h"

#include <string.h>

#include "definition/xml.h"

/* The QEMU side of a disk, by its target; NULL with the error set. */
static SimQemuDisk *find_disk(SimHost *host, const char *target, GError **error)
{
    SimDomain *d = sim_hv_active(host, error);

    for (guint i = 0; d != NULL && i < d->live.n; i++)
        if (strcmp(d->live.disks[i].target, target) == 0)
            return &d->qemu->disks[i];
    if (d != NULL)
        sim_hv_refuse(error, "%s: no disk '%s'", host->name, target);
    return NULL;
}

/* Like find_disk(), for changes: fails during a migration or another block job of the disk. */
static SimQemuDisk *free_disk(SimHost *host, const char *target, GError **error)
{
    SimQemuDisk *disk = sim_hv_modify(host, error) != NULL ? find_disk(host, target, error) : NULL;

    if (disk == NULL || disk->job.kind == VMIG_BLOCK_JOB_NONE)
        return disk;
    sim_hv_refuse(error, "%s: block copy already active on disk '%s'", host->name, target);
    return NULL;
}

typedef struct {
    char *target;
    char *path;
} NewOverlay;

static void clear_overlay(gpointer data)
{
    NewOverlay *overlay = data;

    g_free(overlay->target);
    g_free(overlay->path);
}

static GArray *parse_overlays(const char *text, GError **error)
{
    g_autoptr(VmigXml) xml = vmig_xml_parse(text, "the snapshot", error);

    if (xml == NULL)
        return NULL;
    GArray *array = g_array_new(FALSE, FALSE, sizeof(NewOverlay));
    g_array_set_clear_func(array, clear_overlay);
    xmlNode *disk = vmig_xml_child(vmig_xml_child(xmlDocGetRootElement(xml->doc), "disks"), "disk");
    for (; disk != NULL; disk = vmig_xml_next(disk)) {
        NewOverlay overlay = {vmig_xml_attr(disk, "name"), vmig_xml_child_attr(disk, "source", "file")};
        g_array_append_val(array, overlay);
    }
    return array;
}

static gboolean overlays_possible(SimHost *host, GArray *overlays, GError **error)
{
    if (sim_hv_modify(host, error) == NULL || sim_hv_active(host, error) == NULL)
        return FALSE;
    if (sim_domain_has_block_job(&host->domain))
        return sim_hv_refuse(error, "%s: Operation not supported: disk has an active block job", host->name);
    for (guint i = 0; i < overlays->len; i++) {
        const NewOverlay *o = &g_array_index(overlays, NewOverlay, i);
        if (find_disk(host, o->target, error) == NULL)
            return FALSE;
        if (o->path != NULL && sim_file_find(host, o->path) != NULL)
            return sim_hv_refuse(error, "%s: external snapshot file for disk %s already exists", host->name, o->target);
    }
    return TRUE;
}

/* qemuSnapshotDiskUpdateSource(): the persistent definition is updated, too, if it had the same source. */
static void put_overlay(SimHost *host, const NewOverlay *o)
{
    SimDomain *d = &host->domain;
    SimQemuDisk *disk = find_disk(host, o->target, NULL);
    SimDefDisk *live = sim_def_disk(&d->live, o->target);
    SimDefDisk *config = sim_def_disk(&d->config, o->target);
    SimFile *file = sim_file_create(host, o->path, live->chain[0]);

    sim_domain_before_config(host);
    if (config != NULL && strcmp(config->chain[0], live->chain[0]) == 0)
        sim_def_push(config, o->path);
    sim_def_push(live, o->path);
    disk->chain[0]->writer = NULL;
    sim_file_touch(host, disk->chain[0]);
    memmove(&disk->chain[1], &disk->chain[0], disk->n_chain * sizeof disk->chain[0]);
    disk->chain[0] = sim_file_ref(file);
    disk->n_chain++;
    file->writer = d->qemu;
}

gboolean sim_block_overlays(SimHost *host, const char *xml, GError **error)
{
    g_autoptr(GArray) overlays = parse_overlays(xml, error);

    if (overlays == NULL || !overlays_possible(host, overlays, error))
        return FALSE;
    for (guint i = 0; i < overlays->len; i++) {
        const NewOverlay *o = &g_array_index(overlays, NewOverlay, i);
        if (o->path != NULL)
            put_overlay(host, o);
    }
    return TRUE;
}

#define CALL(name, expression)                                                                                         \
    SimHost *host = sim_host_of(self);                                                                                 \
    SimCall call;                                                                                                      \
    if (!sim_libvirt_begin(host->sim, &call, host, name, error))                                                       \
        return FALSE;                                                                                                  \
    gboolean ok = expression;                                                                                          \
    return sim_call_end(host->sim, &call, ok, error)

gboolean sim_hv_overlay(VmigHypervisor *self, const char *uuid G_GNUC_UNUSED, const char *xml, GError **error)
{
    CALL("overlay", sim_block_overlays(host, xml, error));
}

static gboolean hold_disk(SimHost *host, const char *target, const char *text, GError **error)
{
    g_autoptr(VmigXml) xml = vmig_xml_parse(text, "the copy's target", error);
    SimQemuDisk *disk = xml != NULL ? free_disk(host, target, error) : NULL;

    if (disk == NULL)
        return FALSE;
    g_autofree char *path = vmig_xml_child_attr(xmlDocGetRootElement(xml->doc), "source", "file");
    SimFile *file = sim_file_create(host, path, NULL);
    if (file == NULL)
        return sim_hv_refuse(error, "%s: external destination file for disk %s already exists", host->name, target);
    file->writer = host->domain.qemu;
    disk->job = (SimBlockJob){.kind = VMIG_BLOCK_JOB_COPY, .due = SIM_NEVER, .hold = sim_file_ref(file)};
    return TRUE;
}

gboolean sim_hv_hold(VmigHypervisor *self, const char *uuid G_GNUC_UNUSED, const char *target, const char *xml,
                     GError **error)
{
    CALL("hold", hold_disk(host, target, xml, error));
}

/* NULL for a file that was unlinked while QEMU has it open. */
static const char *path_of(SimHost *host, const SimFile *file)
{
    GHashTableIter iter;
    gpointer path, value;

    g_hash_table_iter_init(&iter, host->files);
    while (g_hash_table_iter_next(&iter, &path, &value))
        if (value == file)
            return path;
    return NULL;
}

gboolean sim_hv_block_job(VmigHypervisor *self, const char *uuid G_GNUC_UNUSED, const char *target,
                          const VmigDomainDisk *seen G_GNUC_UNUSED, VmigBlockJob *ret, GError **error)
{
    SimHost *host = sim_host_of(self);
    SimCall call;

    vmig_block_job_clear(ret);
    *ret = (VmigBlockJob){0};
    if (!sim_libvirt_begin(host->sim, &call, host, "block-job", error))
        return FALSE;
    const SimQemuDisk *disk = find_disk(host, target, error);
    if (!sim_call_end(host->sim, &call, disk != NULL, error))
        return FALSE;
    guint dirty = (guint)__builtin_popcount(disk->job.dirty);
    ret->kind = disk->job.kind;
    ret->ready = disk->job.ready;
    if (disk->job.kind == VMIG_BLOCK_JOB_COPY)
        ret->file = g_strdup(path_of(host, disk->job.hold));
    else if (disk->job.kind == VMIG_BLOCK_JOB_COMMIT)
        ret->file = g_strdup(sim_def_disk(&host->domain.live, target)->chain[1]);
    ret->total = disk->job.kind != VMIG_BLOCK_JOB_NONE ? SIM_BLOCKS : 0;
    /* "cur == end" comes before ready, as with libvirt. */
    ret->done = disk->job.kind == VMIG_BLOCK_JOB_COMMIT ? MIN(ret->total, ret->total - dirty + 1) : 0;
    return TRUE;
}

gboolean sim_block_commit(SimHost *host, const char *target, const char *base, GError **error)
{
    SimQemuDisk *disk = free_disk(host, target, error);
    Sim *sim = host->sim;

    if (disk == NULL)
        return FALSE;
    SimDefDisk *live = sim_def_disk(&host->domain.live, target);
    if (live->n_chain < 2 || strcmp(live->chain[1], base) != 0)
        return sim_hv_refuse(error, "%s: base '%s' is not right below the top of disk %s", host->name, base, target);
    if (!sim_qemu_can_write(disk->chain[1], host->domain.qemu))
        return sim_hv_refuse(error, "%s: Failed to get \"write\" lock on %s", host->name, base);
    disk->end = VMIG_BLOCK_END_UNKNOWN;
    disk->chain[1]->writer = host->domain.qemu;
    disk->job.kind = VMIG_BLOCK_JOB_COMMIT;
    /* Once it runs it is faster than the guest writes; the start may take a while. */
    disk->job.step = sim_random_scale(&sim->env, 100, 5 * SIM_MS);
    disk->job.due = sim->now + sim_random_scale(&sim->env, SIM_MS, 100 * SIM_S);
    for (guint b = 0; b < SIM_BLOCKS; b++)
        if (disk->chain[0]->blocks[b] != 0)
            disk->job.dirty |= 1u << b;
    disk->job.fails_after = sim->commit_fails;
    sim->commit_fails = 0;
    return TRUE;
}

gboolean sim_hv_block_commit(VmigHypervisor *self, const char *uuid G_GNUC_UNUSED, const char *target, const char *base,
                             guint64 bandwidth G_GNUC_UNUSED, GError **error)
{
    CALL("block-commit", sim_block_commit(host, target, base, error));
}

static gboolean block_cancel(SimHost *host, const char *target, GError **error)
{
    SimQemuDisk *disk = find_disk(host, target, error);

    if (disk == NULL)
        return FALSE;
    if (disk->job.kind == VMIG_BLOCK_JOB_NONE)
        return TRUE;
    if (sim_hv_modify(host, error) == NULL)
        return FALSE;
    disk = find_disk(host, target, error);
    if (disk == NULL)
        return FALSE;
    if (disk->job.hold != NULL && disk->job.hold->foreign)
        sim_violate(host->sim, "%s: the block copy of another user was ended", host->name);
    sim_qemu_end_job(disk, VMIG_BLOCK_END_CANCELLED);
    return TRUE;
}

gboolean sim_hv_block_cancel(VmigHypervisor *self, const char *uuid G_GNUC_UNUSED, const char *target, GError **error)
{
    CALL("block-cancel", block_cancel(host, target, error));
}

/* libvirt's part, done afterwards. killed: how far it gets. */
static void follow_commit(SimHost *host, const char *target, SimFaultKind killed)
{
    SimDomain *d = &host->domain;
    SimDefDisk *live = sim_def_disk(&d->live, target);
    SimDefDisk *config = sim_def_disk(&d->config, target);

    if (killed == SIM_FAULT_OLD_LIVE)
        return;
    if (killed != SIM_FAULT_KINDS)
        config = NULL;
    sim_domain_before_config(host);
    if (config != NULL && strcmp(config->chain[0], live->chain[0]) == 0) {
        if (config->chain_known)
            sim_def_pop(config);
        else
            sim_def_push(config, live->chain[1]);
    }
    sim_def_pop(live);
}

void sim_block_follow(SimHost *host, const char *target)
{
    follow_commit(host, target, SIM_FAULT_KINDS);
}

/* QEMU drains what is not in the base yet; then the base is the top. */
static void complete_commit(SimQemuDisk *disk)
{
    SimFile *overlay = disk->chain[0];

    for (guint b = 0; b < SIM_BLOCKS; b++)
        if (disk->job.dirty & (1u << b))
            disk->chain[1]->blocks[b] = overlay->blocks[b];
    disk->job = (SimBlockJob){.due = SIM_NEVER};
    overlay->writer = NULL;
    disk->n_chain--;
    memmove(&disk->chain[0], &disk->chain[1], disk->n_chain * sizeof disk->chain[0]);
    sim_file_unref(overlay);
}

static gboolean block_pivot(SimHost *host, const char *target, GError **error)
{
    SimQemuDisk *disk = sim_hv_modify(host, error) != NULL ? find_disk(host, target, error) : NULL;

    if (disk == NULL)
        return FALSE;
    if (disk->job.kind != VMIG_BLOCK_JOB_COMMIT)
        return sim_hv_refuse(error, "%s: pivot of disk '%s' requires an active copy job", host->name, target);
    if (!disk->job.ready)
        return sim_hv_refuse(error, "%s: block copy still active: disk '%s' not ready for pivot yet", host->name,
                             target);
    SimFaultKind killed = sim_pivot_fault(host->sim);
    complete_commit(disk);
    if (killed == SIM_FAULT_LATE_LIVE)
        return sim_pivot_late(host, target, error);
    follow_commit(host, target, killed);
    return killed == SIM_FAULT_KINDS || sim_pivot_killed(host, killed, error);
}

gboolean sim_hv_block_pivot(VmigHypervisor *self, const char *uuid G_GNUC_UNUSED, const char *target, GError **error)
{
    CALL("block-pivot", block_pivot(host, target, error));
}

static gboolean set_speed(SimHost *host, const char *target, GError **error)
{
    SimQemuDisk *disk = sim_hv_modify(host, error) != NULL ? find_disk(host, target, error) : NULL;

    if (disk != NULL && disk->job.stalled) {
        disk->job.stalled = FALSE;
        disk->job.due = host->sim->now + disk->job.step;
    }
    return disk != NULL;
}

gboolean sim_hv_block_speed(VmigHypervisor *self, const char *uuid G_GNUC_UNUSED, const char *target,
                            guint64 bandwidth G_GNUC_UNUSED, GError **error)
{
    CALL("block-speed", set_speed(host, target, error));
}

/* Does not count as a call. */
VmigBlockEnd sim_hv_block_end(VmigHypervisor *self, const char *uuid G_GNUC_UNUSED, const char *target)
{
    SimHost *host = sim_host_of(self);
    SimQemuDisk *disk = host->domain.qemu != NULL ? find_disk(host, target, NULL) : NULL;
    VmigBlockEnd end = disk != NULL ? disk->end : VMIG_BLOCK_END_UNKNOWN;

    if (disk != NULL)
        disk->end = VMIG_BLOCK_END_UNKNOWN;
    return end;
}
