/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* As much of libvirt as the machine needs from ACTIVATE to PIVOT: block jobs on the storage daemon by the calls that
 * libvirt makes, a live and a persistent definition that follow a pivot when its event is dealt with. At REDEFINE it
 * refuses, for good: the machine parks there, and the trial is over. */
#include "block.h"

#include <json-glib/json-glib.h>
#include <string.h>

#include "definition/domain-xml.h"
#include "core/errors.h"

#define PATIENCE (20 * G_USEC_PER_SEC)

typedef struct {
    VmigHypervisor parent;
    Block *block;
    int qmp;
    gboolean pretends; /* that the writer is held */
} Libvirt;

char *block_target(guint disk)
{
    return g_strdup_printf("vd%c", 'a' + disk);
}

static guint disk_of(const char *target)
{
    return (guint)(target[2] - 'a');
}

static void reach(Libvirt *lv, BlockPhase phase)
{
    BlockShared *shared = lv->block->shared;

    if (g_atomic_int_get(&shared->phase) < (gint)phase)
        g_atomic_int_set(&shared->phase, phase);
}

static char *definition_path(const Block *block)
{
    return g_build_filename(block->folder, "libvirt", "guest.xml", NULL);
}

/* A persistent definition names the top alone, a live one the chain. */
static char *definition(const Block *block, gboolean live)
{
    g_autofree char *job = block_job_id(block);
    GString *xml = g_string_new(NULL);

    /* It arrived with the job's mark. */
    g_string_append_printf(xml,
                           "<domain type='qemu'%s><name>guest</name>"
                           "<uuid>c7a5fdbd-cdaf-4455-926a-02d65c16db18</uuid><metadata>"
                           "<vmig:operation xmlns:vmig='" VMIG_METADATA_URI
                           "' job='%s'/></metadata><memory unit='KiB'>65536</memory>"
                           "<vcpu>1</vcpu><os><type arch='x86_64' machine='pc'>hvm</type></os><devices>"
                           "<emulator>/usr/bin/qemu-system-x86_64</emulator>",
                           live ? " id='1'" : "", job);
    for (guint i = 0; i < block->n_disks; i++) {
        gboolean on_base = g_atomic_int_get(&block->shared->on_base[i]);
        g_autofree char *base = block_path(block, "base", i);
        g_autofree char *top = block_path(block, on_base ? "base" : "overlay", i);
        g_autofree char *target = block_target(i);
        g_string_append_printf(
            xml, "<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='%s'/>", top);
        if (live && !on_base)
            g_string_append_printf(xml,
                                   "<backingStore type='file'><format type='qcow2'/><source file='%s'/><backingStore/>"
                                   "</backingStore>",
                                   base);
        else if (live)
            g_string_append(xml, "<backingStore/>");
        g_string_append_printf(xml, "<target dev='%s' bus='virtio'/></disk>", target);
    }
    g_string_append(xml, "</devices></domain>");
    return g_string_free(xml, FALSE);
}

static gboolean define_text(const Block *block, const char *xml, GError **error)
{
    g_autofree char *path = definition_path(block);

    return g_file_set_contents(path, xml, -1, error);
}

gboolean block_define_first(Block *block, GError **error)
{
    g_autofree char *xml = definition(block, FALSE);

    return define_text(block, xml, error);
}

static JsonNode *qmp(Libvirt *lv, GError **error, const char *format, ...) G_GNUC_PRINTF(3, 4);
static JsonNode *qmp(Libvirt *lv, GError **error, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    g_autofree char *command = g_strdup_vprintf(format, args);
    va_end(args);
    return block_qmp(&lv->qmp, lv->block, command, error);
}

static gboolean qmp_ok(JsonNode *answer)
{
    if (answer == NULL)
        return FALSE;
    json_node_unref(answer);
    return TRUE;
}

/* qemuBlockJobEventProcessConcluded(): both definitions follow, then the job is dismissed. */
static gboolean conclude(Libvirt *lv, guint disk, gboolean good, GError **error)
{
    BlockShared *shared = lv->block->shared;

    if (good && g_atomic_int_get(&shared->completing[disk])) {
        reach(lv, BLOCK_CONCLUDED);
        g_atomic_int_set(&shared->on_base[disk], 1);
        if (!block_define_first(lv->block, error))
            return FALSE;
        reach(lv, BLOCK_DEFINED);
    }
    g_atomic_int_set(&shared->completing[disk], 0);
    return qmp_ok(qmp(lv, error, "{\"execute\":\"job-dismiss\",\"arguments\":{\"id\":\"commit-%u\"}}", disk));
}

/* What happened since the last call, as libvirt's event thread would have dealt with it. */
static gboolean deal_with_events(Libvirt *lv, GError **error)
{
    g_autoptr(JsonNode) jobs = qmp(lv, error, "{\"execute\":\"query-jobs\"}");
    JsonArray *list = jobs != NULL ? json_node_get_array(jobs) : NULL;

    for (guint i = 0; list != NULL && i < json_array_get_length(list); i++) {
        JsonObject *job = json_array_get_object_element(list, i);
        const char *id = json_object_get_string_member(job, "id");
        if (g_strcmp0(json_object_get_string_member(job, "status"), "concluded") == 0 &&
            !conclude(lv, (guint)(id[7] - '0'), !json_object_has_member(job, "error"), error))
            return FALSE;
    }
    return jobs != NULL;
}

static gboolean is_off(Libvirt *lv)
{
    return g_atomic_int_get(&lv->block->shared->dead) != 0;
}

static gboolean lv_run(VmigHypervisor *self, const char *uuid G_GNUC_UNUSED, VmigRun *ret, GError **error G_GNUC_UNUSED)
{
    Libvirt *lv = (Libvirt *)self;

    *ret = g_atomic_int_get(&lv->block->shared->may_run) && !lv->pretends ? VMIG_RUN_RUNNING : VMIG_RUN_PAUSED;
    if (is_off(lv))
        *ret = VMIG_RUN_SHUTOFF;
    return TRUE;
}

/* Off, and nobody knows why: as after a restart of the host. It is not started again then. */
static gboolean lv_find(VmigHypervisor *self, const char *uuid, VmigDomainInfo **ret, GError **error)
{
    VmigDomainInfo *info = g_new0(VmigDomainInfo, 1);

    info->name = g_strdup("guest");
    info->uuid = g_strdup(uuid);
    info->persistent = TRUE;
    info->off = VMIG_OFF_UNKNOWN;
    *ret = info;
    return lv_run(self, uuid, &info->run, error);
}

static gboolean lv_domain_xml(VmigHypervisor *self, const char *uuid G_GNUC_UNUSED, VmigXmlKind kind, char **ret,
                              GError **error)
{
    Libvirt *lv = (Libvirt *)self;
    g_autofree char *path = definition_path(lv->block);

    if (!is_off(lv) && !deal_with_events(lv, error))
        return FALSE;
    if (kind == VMIG_XML_PERSISTENT || is_off(lv))
        return g_file_get_contents(path, ret, NULL, error);
    *ret = definition(lv->block, TRUE);
    return TRUE;
}

static gboolean lv_define(VmigHypervisor *self, const char *xml, GError **error)
{
    return define_text(((Libvirt *)self)->block, xml, error);
}

static gboolean lv_block_job(VmigHypervisor *self, const char *uuid G_GNUC_UNUSED, const char *target,
                             const VmigDomainDisk *seen G_GNUC_UNUSED, VmigBlockJob *ret, GError **error)
{
    Libvirt *lv = (Libvirt *)self;
    g_autofree char *id = g_strdup_printf("commit-%u", disk_of(target));

    vmig_block_job_clear(ret);
    *ret = (VmigBlockJob){.kind = VMIG_BLOCK_JOB_NONE};
    if (!deal_with_events(lv, error))
        return FALSE;
    g_autoptr(JsonNode) jobs = qmp(lv, error, "{\"execute\":\"query-block-jobs\"}");
    JsonArray *list = jobs != NULL ? json_node_get_array(jobs) : NULL;
    for (guint i = 0; list != NULL && i < json_array_get_length(list); i++) {
        JsonObject *job = json_array_get_object_element(list, i);
        if (g_strcmp0(json_object_get_string_member(job, "device"), id) != 0)
            continue;
        ret->kind = VMIG_BLOCK_JOB_COMMIT;
        ret->ready = json_object_get_boolean_member(job, "ready");
        ret->done = (guint64)json_object_get_int_member(job, "offset");
        ret->total = (guint64)json_object_get_int_member(job, "len");
        if (ret->ready)
            reach(lv, BLOCK_READY);
    }
    return jobs != NULL;
}

static gboolean lv_block_commit(VmigHypervisor *self, const char *uuid G_GNUC_UNUSED, const char *target,
                                const char *base G_GNUC_UNUSED, guint64 bandwidth G_GNUC_UNUSED, GError **error)
{
    Libvirt *lv = (Libvirt *)self;
    guint disk = disk_of(target);

    reach(lv, BLOCK_COMMIT);
    return qmp_ok(qmp(lv, error,
                      "{\"execute\":\"block-commit\",\"arguments\":{\"job-id\":\"commit-%u\",\"device\":\"overlay-%u\","
                      "\"top-node\":\"overlay-%u\",\"base-node\":\"base-%u\",\"speed\":%" G_GUINT64_FORMAT
                      ",\"auto-finalize\":true,\"auto-dismiss\":false}}",
                      disk, disk, disk, disk, lv->block->speed));
}

static gboolean lv_block_cancel(VmigHypervisor *self G_GNUC_UNUSED, const char *uuid G_GNUC_UNUSED,
                                const char *target G_GNUC_UNUSED, GError **error)
{
    return vmig_fail(error, VMIG_ERROR_HYPERVISOR, NULL, "nothing here is parked");
}

static gboolean lv_block_speed(VmigHypervisor *self, const char *uuid G_GNUC_UNUSED, const char *target,
                               guint64 bandwidth, GError **error)
{
    return qmp_ok(
        qmp((Libvirt *)self, error,
            "{\"execute\":\"block-job-set-speed\",\"arguments\":{\"device\":\"commit-%u\",\"speed\":%" G_GUINT64_FORMAT
            "}}",
            disk_of(target), bandwidth));
}

/* virDomainBlockJobAbort(PIVOT) returns once the job is gone and the definitions are written. */
static gboolean lv_block_pivot(VmigHypervisor *self, const char *uuid G_GNUC_UNUSED, const char *target, GError **error)
{
    Libvirt *lv = (Libvirt *)self;
    guint disk = disk_of(target);
    gint64 until = g_get_monotonic_time() + PATIENCE;

    reach(lv, BLOCK_PIVOT);
    g_atomic_int_set(&lv->block->shared->completing[disk], 1);
    if (!qmp_ok(qmp(lv, error, "{\"execute\":\"job-complete\",\"arguments\":{\"id\":\"commit-%u\"}}", disk)))
        return FALSE;
    reach(lv, BLOCK_COMPLETING);
    while (g_atomic_int_get(&lv->block->shared->completing[disk])) {
        if (!deal_with_events(lv, error))
            return FALSE;
        if (g_get_monotonic_time() > until)
            return vmig_fail(error, VMIG_ERROR_TIMEOUT, NULL, "the pivot does not end");
    }
    return g_atomic_int_get(&lv->block->shared->on_base[disk]) ||
           vmig_fail(error, VMIG_ERROR_HYPERVISOR, NULL, "the pivot failed");
}

/* The node that the guest's export writes to. */
static gboolean lv_disk_file(VmigHypervisor *self, const char *uuid G_GNUC_UNUSED, const char *target, char **ret,
                             GError **error)
{
    Libvirt *lv = (Libvirt *)self;
    g_autoptr(JsonNode) exports = qmp(lv, error, "{\"execute\":\"query-block-exports\"}");
    JsonArray *list = exports != NULL ? json_node_get_array(exports) : NULL;
    guint disk = disk_of(target);
    g_autofree char *base = g_strdup_printf("base-%u", disk);
    g_autofree char *overlay = g_strdup_printf("overlay-%u", disk);

    for (guint i = 0; list != NULL && i < json_array_get_length(list); i++) {
        const char *node = json_object_get_string_member(json_array_get_object_element(list, i), "node-name");
        if (g_strcmp0(node, base) == 0 || g_strcmp0(node, overlay) == 0)
            *ret = block_path(lv->block, g_strcmp0(node, base) == 0 ? "base" : "overlay", disk);
    }
    if (exports != NULL && *ret == NULL)
        return vmig_fail(error, VMIG_ERROR_HYPERVISOR, NULL, "disk %s has no export", target);
    return exports != NULL;
}

static gboolean lv_suspend(VmigHypervisor *self, const char *uuid G_GNUC_UNUSED, GError **error)
{
    Libvirt *lv = (Libvirt *)self;
    BlockShared *shared = lv->block->shared;
    gint64 until = g_get_monotonic_time() + PATIENCE;

    if (lv->block->no_suspend) {
        lv->pretends = TRUE;
        reach(lv, BLOCK_SUSPENDED);
        return TRUE;
    }
    g_atomic_int_set(&shared->may_run, 0);
    while (!g_atomic_int_get(&shared->held)) {
        if (is_off(lv) || g_get_monotonic_time() > until)
            return vmig_fail(error, VMIG_ERROR_HYPERVISOR, NULL, "domain is not running");
        g_usleep(50);
    }
    reach(lv, BLOCK_SUSPENDED);
    return TRUE;
}

static gboolean lv_resume(VmigHypervisor *self, const char *uuid G_GNUC_UNUSED, GError **error)
{
    Libvirt *lv = (Libvirt *)self;

    if (is_off(lv))
        return vmig_fail(error, VMIG_ERROR_HYPERVISOR, NULL, "domain is not running");
    lv->pretends = FALSE;
    g_atomic_int_set(&lv->block->shared->may_run, 1);
    if (g_atomic_int_get(&lv->block->shared->phase) >= BLOCK_DEFINED)
        reach(lv, BLOCK_RESUMED);
    return TRUE;
}

/* The first that REDEFINE asks for. Nothing is to be gained by asking again. */
static gboolean lv_snapshots(VmigHypervisor *self, const char *uuid G_GNUC_UNUSED, GPtrArray **ret, GError **error)
{
    *ret = NULL;
    reach((Libvirt *)self, BLOCK_RESTORE);
    return vmig_fail(error, VMIG_ERROR_UNSUPPORTED, NULL, "there is no snapshot metadata here");
}

/* Nothing here ends without a reason that the tool was told. */
static VmigBlockEnd lv_block_end(VmigHypervisor *self G_GNUC_UNUSED, const char *uuid G_GNUC_UNUSED,
                                 const char *target G_GNUC_UNUSED)
{
    return VMIG_BLOCK_END_UNKNOWN;
}

static gboolean lv_lacks_space(VmigHypervisor *self G_GNUC_UNUSED, const char *uuid G_GNUC_UNUSED, gboolean *ret,
                               GError **error G_GNUC_UNUSED)
{
    *ret = FALSE;
    return TRUE;
}

/* No trial gives a reason to end the guest or to start it: the machine would not get through. */
static gboolean lv_destroy(VmigHypervisor *self G_GNUC_UNUSED, const char *uuid G_GNUC_UNUSED, int id G_GNUC_UNUSED,
                           GError **error)
{
    return vmig_fail(error, VMIG_ERROR_INTERNAL, NULL, "the guest would be destroyed, and nothing is wrong with it");
}

static gboolean lv_start(VmigHypervisor *self G_GNUC_UNUSED, const char *uuid G_GNUC_UNUSED, GError **error)
{
    return vmig_fail(error, VMIG_ERROR_INTERNAL, NULL, "the guest would be started, and nobody asked for it");
}

static void lv_free(VmigHypervisor *self)
{
    g_free(self->host);
    g_free(self);
}

static const VmigHypervisorOps ops = {
    .find = lv_find,
    .run = lv_run,
    .domain_xml = lv_domain_xml,
    .define = lv_define,
    .snapshots = lv_snapshots,
    .block_job = lv_block_job,
    .block_commit = lv_block_commit,
    .block_cancel = lv_block_cancel,
    .block_pivot = lv_block_pivot,
    .disk_file = lv_disk_file,
    .block_speed = lv_block_speed,
    .block_end = lv_block_end,
    .lacks_space = lv_lacks_space,
    .destroy = lv_destroy,
    .start = lv_start,
    .suspend = lv_suspend,
    .resume = lv_resume,
    .free = lv_free,
};

VmigHypervisor *block_libvirt(Block *block)
{
    Libvirt *lv = g_new0(Libvirt, 1);

    lv->parent.ops = &ops;
    lv->parent.host = g_strdup("dest");
    lv->block = block;
    lv->qmp = -1;
    return &lv->parent;
}
