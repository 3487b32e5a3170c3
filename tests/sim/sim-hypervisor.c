/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The table of calls on a simulated libvirt: what it does and what it refuses (libvirt 9.0, qemu driver). */
#include "sim.h"

#include <string.h>

typedef struct {
    VmigHypervisor parent;
    SimHost *host;
} SimHypervisor;

SimHost *sim_host_of(VmigHypervisor *self)
{
    return ((SimHypervisor *)self)->host;
}

gboolean sim_hv_refuse(GError **error, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    g_autofree char *text = g_strdup_vprintf(format, args);
    va_end(args);
    return vmig_fail(error, VMIG_ERROR_HYPERVISOR, NULL, "%s", text);
}

static SimDomain *need_domain(SimHost *host, GError **error)
{
    if (host->domain.exists)
        return &host->domain;
    vmig_fail(error, VMIG_ERROR_NO_DOMAIN, NULL, "%s: Domain not found", host->name);
    return NULL;
}

SimDomain *sim_hv_active(SimHost *host, GError **error)
{
    SimDomain *d = need_domain(host, error);

    if (d == NULL || d->qemu != NULL)
        return d;
    sim_hv_refuse(error, "%s: Requested operation is not valid: domain is not running", host->name);
    return NULL;
}

/* The migration's job mask excludes MODIFY and every other asynchronous job: they give up after VIR_JOB_WAIT_TIME. */
static gboolean wait_for_job(SimHost *host, GError **error)
{
    SimDomain *d = &host->domain;
    gint64 until = host->sim->now + 30 * SIM_S;

    while (d->exists && (d->out_job || d->in_job) && host->sim->now < until)
        sim_advance_to(host->sim, until, TRUE);
    return (!d->out_job && !d->in_job) ||
           vmig_fail(error, VMIG_ERROR_TIMEOUT, NULL,
                     "%s: Timed out during operation: cannot acquire state change lock", host->name);
}

SimDomain *sim_hv_modify(SimHost *host, GError **error)
{
    sim_pivot_wait(host);
    if (need_domain(host, error) == NULL || !wait_for_job(host, error))
        return NULL;
    return need_domain(host, error);
}

/* One call: the code between begin and end is the effect. */
#define CALL(name, expression)                                                                                         \
    SimHost *host = sim_host_of(self);                                                                                 \
    SimCall call;                                                                                                      \
    if (!sim_libvirt_begin(host->sim, &call, host, name, error))                                                       \
        return FALSE;                                                                                                  \
    gboolean ok = expression;                                                                                          \
    return sim_call_end(host->sim, &call, ok, error)

static gboolean host_info(SimHost *host, VmigHypervisorInfo **ret)
{
    VmigHypervisorInfo *info = g_new0(VmigHypervisorInfo, 1);

    info->hostname = g_strdup(host->name);
    info->uuid =
        g_strdup(host->is_dest ? "22222222-2222-4222-8222-222222222222" : "11111111-1111-4111-8111-111111111111");
    info->libvirt_version = 9000000;
    info->qemu_version = 7002000;
    *ret = info;
    return TRUE;
}

static gboolean hv_host_info(VmigHypervisor *self, VmigHypervisorInfo **ret, GError **error)
{
    CALL("host-info", host_info(host, ret));
}

static gboolean hv_can_run(VmigHypervisor *self, const char *xml G_GNUC_UNUSED, GError **error)
{
    CALL("can-run", TRUE);
}

static gboolean hv_would_start(VmigHypervisor *self, const char *xml G_GNUC_UNUSED, GError **error)
{
    CALL("would-start", TRUE);
}

static gboolean hv_rehearse(VmigHypervisor *self, const char *xml, char **ret, GError **error)
{
    *ret = g_strdup(xml);
    CALL("rehearse", sim_twin_start(host, xml, error));
}

static gboolean find(SimHost *host, const char *name, VmigDomainInfo **ret)
{
    const SimDomain *d = &host->domain;

    if (sim_twin_find(host, name, ret))
        return TRUE;
    if (!d->exists || (strcmp(name, "guest") != 0 && strcmp(name, host->sim->uuid) != 0))
        return TRUE;
    VmigDomainInfo *info = g_new0(VmigDomainInfo, 1);
    info->name = g_strdup(d->stranger ? "restored" : "guest");
    info->uuid = g_strdup(host->sim->uuid);
    info->id = d->qemu != NULL || d->stranger ? d->id : -1;
    info->run = d->run;
    info->by_user = d->run == VMIG_RUN_PAUSED && d->by_user;
    info->cancelled = d->run == VMIG_RUN_RUNNING && d->cancelled;
    info->off = d->off;
    info->migrated = d->migrated && d->run == VMIG_RUN_SHUTOFF;
    info->persistent = d->persistent;
    info->autostart = d->autostart;
    *ret = info;
    return TRUE;
}

static gboolean hv_find(VmigHypervisor *self, const char *name, VmigDomainInfo **ret, GError **error)
{
    g_autoptr(VmigDomainInfo) info = NULL;
    SimHost *host = sim_host_of(self);
    SimCall call;

    *ret = NULL;
    if (!sim_libvirt_begin(host->sim, &call, host, "find", error))
        return FALSE;
    find(host, name, &info);
    if (!sim_call_end(host->sim, &call, TRUE, error))
        return FALSE;
    *ret = g_steal_pointer(&info);
    return TRUE;
}

static gboolean hv_run(VmigHypervisor *self, const char *uuid G_GNUC_UNUSED, VmigRun *ret, GError **error)
{
    SimHost *host = sim_host_of(self);
    SimCall call;

    if (!sim_libvirt_begin(host->sim, &call, host, "run", error))
        return FALSE;
    *ret = host->domain.exists ? host->domain.run : VMIG_RUN_ABSENT;
    return sim_call_end(host->sim, &call, TRUE, error);
}

static gboolean hv_domain_xml(VmigHypervisor *self, const char *uuid, VmigXmlKind kind, char **ret, GError **error)
{
    SimHost *host = sim_host_of(self);
    SimCall call;
    gboolean live = kind == VMIG_XML_LIVE || kind == VMIG_XML_MIGRATABLE;

    if (!sim_libvirt_begin(host->sim, &call, host, "domain-xml", error))
        return FALSE;
    if (sim_twin_is(host, uuid))
        return sim_call_end(host->sim, &call, sim_twin_xml(host, ret, error), error);
    SimDomain *d = need_domain(host, error);
    if (!sim_call_end(host->sim, &call, d != NULL, error))
        return FALSE;
    live = (live && d->qemu != NULL) || !d->persistent;
    *ret = sim_def_to_xml(host->sim, live ? &d->live : &d->config, live ? d->qemu : NULL);
    return TRUE;
}

static gboolean update_disk(SimHost *host, const char *xml, gboolean config, GError **error)
{
    SimDomain *d = sim_hv_modify(host, error);
    const char *start = strstr(xml, "<target dev=\"");
    const char *attr = strstr(xml, " snapshot=\"");

    if (d == NULL || (!config && sim_hv_active(host, error) == NULL))
        return FALSE;
    g_assert(start != NULL);
    g_autofree char *target = g_strndup(start + 13, strcspn(start + 13, "\""));
    SimDefDisk *disk = sim_def_disk(config ? &d->config : &d->live, target);
    if (disk == NULL)
        return sim_hv_refuse(error, "%s: no disk %s to change", host->name, target);
    if (config)
        sim_domain_before_config(host);
    g_free(disk->snapshot);
    disk->snapshot = attr != NULL ? g_strndup(attr + 11, strcspn(attr + 11, "\"")) : NULL;
    return TRUE;
}

static gboolean hv_update_disk(VmigHypervisor *self, const char *uuid G_GNUC_UNUSED, const char *xml, gboolean config,
                               GError **error)
{
    CALL("update-disk", update_disk(host, xml, config, error));
}

static gboolean suspend(SimHost *host, GError **error)
{
    SimDomain *d = sim_hv_active(host, error);

    if (d == NULL || d->in_job)
        return d != NULL && sim_hv_refuse(error, "%s: the domain is just arriving", host->name);
    sim_qemu_stop(d->qemu);
    if (d->run == VMIG_RUN_RUNNING) {
        d->run = VMIG_RUN_PAUSED;
        d->by_user = TRUE;
    }
    return TRUE;
}

static gboolean hv_suspend(VmigHypervisor *self, const char *uuid G_GNUC_UNUSED, GError **error)
{
    CALL("suspend", suspend(host, error));
}

static gboolean resume(SimHost *host, GError **error)
{
    if (sim_hv_modify(host, error) == NULL)
        return FALSE;
    SimDomain *d = sim_hv_active(host, error);
    if (d == NULL)
        return FALSE;
    sim_check_resume(host);
    if (!sim_qemu_cont(d->qemu, error))
        return FALSE;
    d->run = VMIG_RUN_RUNNING;
    d->cancelled = FALSE;
    return TRUE;
}

static gboolean hv_resume(VmigHypervisor *self, const char *uuid G_GNUC_UNUSED, GError **error)
{
    CALL("resume", resume(host, error));
}

/* A guest stops only for lack of space: there is no other error here. */
static gboolean lacks_space(SimHost *host, gboolean *ret, GError **error)
{
    const SimDomain *d = sim_hv_active(host, error);

    *ret = d != NULL && d->run == VMIG_RUN_IO_ERROR;
    return d != NULL;
}

static gboolean hv_lacks_space(VmigHypervisor *self, const char *uuid G_GNUC_UNUSED, gboolean *ret, GError **error)
{
    CALL("disk-errors", lacks_space(host, ret, error));
}

static gboolean start(SimHost *host, GError **error)
{
    SimDomain *d = need_domain(host, error);

    if (d == NULL || d->qemu != NULL)
        return d != NULL && sim_hv_refuse(error, "%s: domain is already running", host->name);
    return sim_domain_start(host, FALSE, error);
}

static gboolean hv_start(VmigHypervisor *self, const char *uuid G_GNUC_UNUSED, GError **error)
{
    CALL("start", start(host, error));
}

static gboolean destroy(SimHost *host, int id, GError **error)
{
    if (sim_hv_active(host, error) == NULL)
        return FALSE;
    if (host->domain.id != id)
        return vmig_fail(error, VMIG_ERROR_INTERFERENCE, NULL, "%s: another run of the domain", host->name);
    sim_pivot_check_destroy(host);
    sim_migration_qemu_died(host->sim, host);
    sim_domain_off(host);
    host->domain.off = VMIG_OFF_ASKED;
    return TRUE;
}

static gboolean hv_destroy(VmigHypervisor *self, const char *uuid, int id, GError **error)
{
    CALL(sim_twin_is(host, uuid) ? "twin-end" : "destroy",
         sim_twin_is(host, uuid) ? sim_twin_end(host, error) : destroy(host, id, error));
}

static gboolean define(SimHost *host, const char *xml, GError **error)
{
    SimDomain *d = &host->domain;

    sim_domain_before_config(host);
    if (!sim_def_parse(&d->config, xml, error))
        return FALSE;
    if (!d->exists)
        d->run = VMIG_RUN_SHUTOFF;
    d->exists = d->persistent = TRUE;
    return TRUE;
}

static gboolean hv_define(VmigHypervisor *self, const char *xml, GError **error)
{
    CALL("define", define(host, xml, error));
}

static gboolean undefine(SimHost *host, GError **error)
{
    SimDomain *d = sim_hv_modify(host, error);

    if (d == NULL)
        return FALSE;
    if (!d->persistent)
        return sim_hv_refuse(error, "%s: cannot undefine transient domain", host->name);
    if (d->qemu == NULL && d->snapshots->len > 0)
        return sim_hv_refuse(error, "%s: cannot delete inactive domain with %u snapshots", host->name,
                             d->snapshots->len);
    if (d->qemu == NULL) {
        sim_domain_drop(host);
        return TRUE;
    }
    d->persistent = d->autostart = FALSE;
    sim_def_clear(&d->config);
    return TRUE;
}

static gboolean hv_undefine(VmigHypervisor *self, const char *uuid G_GNUC_UNUSED, GError **error)
{
    CALL("undefine", undefine(host, error));
}

static gboolean set_autostart(SimHost *host, gboolean on, GError **error)
{
    SimDomain *d = sim_hv_modify(host, error);

    if (d == NULL)
        return FALSE;
    if (!d->persistent)
        return sim_hv_refuse(error, "%s: cannot set autostart for transient domain", host->name);
    d->autostart = on;
    return TRUE;
}

static gboolean hv_set_autostart(VmigHypervisor *self, const char *uuid G_GNUC_UNUSED, gboolean on, GError **error)
{
    CALL("set-autostart", set_autostart(host, on, error));
}

/* virXMLInjectNamespace(): the element is passed without its namespace, and is stored with it. */
static char *with_namespace(const char *xml)
{
    GString *text = g_string_new(xml);

    g_string_replace(text, "<operation", "<vmig:operation xmlns:vmig=\"" VMIG_METADATA_URI "\"", 0);
    g_string_replace(text, "</operation", "</vmig:operation", 0);
    g_string_replace(text, "<disk", "<vmig:disk", 0);
    g_string_replace(text, "</disk", "</vmig:disk", 0);
    return g_string_free(text, FALSE);
}

static gboolean set_metadata(SimHost *host, const char *xml, GError **error)
{
    SimDomain *d = sim_hv_modify(host, error);

    if (d == NULL)
        return FALSE;
    sim_domain_before_config(host);
    SimDef *defs[] = {d->qemu != NULL ? &d->live : NULL, d->persistent ? &d->config : NULL};
    for (guint i = 0; i < G_N_ELEMENTS(defs); i++) {
        if (defs[i] == NULL)
            continue;
        g_free(defs[i]->metadata);
        defs[i]->metadata = xml != NULL ? with_namespace(xml) : NULL;
    }
    return TRUE;
}

static gboolean hv_set_metadata(VmigHypervisor *self, const char *uuid G_GNUC_UNUSED, const char *xml, GError **error)
{
    CALL("set-metadata", set_metadata(host, xml, error));
}

static gboolean domain_job(SimHost *host, VmigDomainJob *ret, GError **error)
{
    SimDomain *d = sim_hv_active(host, error);

    if (d != NULL)
        *ret = d->out_job ? VMIG_DOMAIN_JOB_MIGRATION : d->in_job ? VMIG_DOMAIN_JOB_OTHER : VMIG_DOMAIN_JOB_NONE;
    return d != NULL;
}

static gboolean hv_domain_job(VmigHypervisor *self, const char *uuid G_GNUC_UNUSED, VmigDomainJob *ret, GError **error)
{
    CALL("domain-job", domain_job(host, ret, error));
}

static gboolean abort_job(SimHost *host, GError **error)
{
    if (sim_hv_active(host, error) == NULL)
        return FALSE;
    if (host->domain.out_job)
        host->sim->migration.abort = TRUE;
    return TRUE;
}

static gboolean hv_abort_job(VmigHypervisor *self, const char *uuid G_GNUC_UNUSED, GError **error)
{
    CALL("abort-job", abort_job(host, error));
}

/* It starts a thread: this cannot fail after its effect. */
static gboolean hv_migrate_begin(VmigHypervisor *self, const char *uuid G_GNUC_UNUSED, const VmigMigrateParams *params,
                                 GError **error)
{
    SimHost *host = sim_host_of(self);
    SimCall call;

    if (!sim_libvirt_begin(host->sim, &call, host, "migrate-begin", error))
        return FALSE;
    call.fail_after = FALSE;
    return sim_call_end(host->sim, &call, sim_migrate_begin(host, params, error), error);
}

static gboolean hv_migrate_poll(VmigHypervisor *self, VmigMigrateStatus *ret, GError **error)
{
    SimHost *host = sim_host_of(self);
    SimCall call;

    memset(ret, 0, sizeof *ret);
    if (!sim_libvirt_begin(host->sim, &call, host, "migrate-poll", error))
        return FALSE;
    if (!host->sim->migration.watched)
        return vmig_fail(error, VMIG_ERROR_INTERNAL, NULL, "there is no migration to query");
    sim_migrate_poll(host, ret);
    return sim_call_end(host->sim, &call, TRUE, error);
}

static gint64 hv_stopped_for(VmigHypervisor *self)
{
    const Sim *sim = sim_host_of(self)->sim;

    return sim->migration.stopped_at > 0 ? MAX(sim->now - sim->migration.stopped_at, 1) : 0;
}

static gboolean migrate_abort(SimHost *host)
{
    SimMigration *m = &host->sim->migration;

    if (m->watched && m->phase != SIM_MIG_RETURNED)
        m->abort = TRUE;
    return TRUE;
}

static gboolean hv_migrate_abort(VmigHypervisor *self, GError **error)
{
    CALL("migrate-abort", migrate_abort(host));
}

/* Joins a thread, which needs no libvirt; a dead process has none. */
static gboolean hv_migrate_end(VmigHypervisor *self, GError **error)
{
    SimHost *host = sim_host_of(self);

    if (host->sim->dead)
        return vmig_fail(error, VMIG_ERROR_CRASHED, NULL, "the process died before");
    return sim_migrate_end(host, error);
}

static void hv_free(VmigHypervisor *self)
{
    SimHost *host = sim_host_of(self);

    if (!host->is_dest && !host->sim->dead)
        sim_migrate_end(host, NULL);
    g_free(self->host);
    g_free(self);
}

static const VmigHypervisorOps ops = {
    .host_info = hv_host_info,
    .can_run = hv_can_run,
    .would_start = hv_would_start,
    .rehearse = hv_rehearse,
    .find = hv_find,
    .run = hv_run,
    .domain_xml = hv_domain_xml,
    .snapshots = sim_hv_snapshots,
    .snapshot_forget = sim_hv_snapshot_forget,
    .snapshot_define = sim_hv_snapshot_define,
    .overlay = sim_hv_overlay,
    .update_disk = hv_update_disk,
    .hold = sim_hv_hold,
    .block_job = sim_hv_block_job,
    .block_commit = sim_hv_block_commit,
    .block_cancel = sim_hv_block_cancel,
    .block_pivot = sim_hv_block_pivot,
    .disk_file = sim_hv_disk_file,
    .block_speed = sim_hv_block_speed,
    .block_end = sim_hv_block_end,
    .lacks_space = hv_lacks_space,
    .suspend = hv_suspend,
    .resume = hv_resume,
    .start = hv_start,
    .destroy = hv_destroy,
    .define = hv_define,
    .undefine = hv_undefine,
    .set_autostart = hv_set_autostart,
    .set_metadata = hv_set_metadata,
    .domain_job = hv_domain_job,
    .abort_job = hv_abort_job,
    .migrate_begin = hv_migrate_begin,
    .migrate_poll = hv_migrate_poll,
    .stopped_for = hv_stopped_for,
    .migrate_abort = hv_migrate_abort,
    .migrate_end = hv_migrate_end,
    .free = hv_free,
};

VmigHypervisor *sim_hypervisor_new(SimHost *host)
{
    SimHypervisor *self = g_new0(SimHypervisor, 1);

    self->parent.ops = &ops;
    self->parent.host = g_strdup(host->name);
    self->host = host;
    return &self->parent;
}
