/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The migration: virDomainMigrateToURI3 in its own thread, monitored through job statistics.
 *
 * Peer to peer, so that the two libvirtds continue if this process dies (a managed migration would be aborted). Always
 * PAUSED: without it a lost reply of Finish leaves the guest running on both hosts.
 */
#include <string.h>

#include "drivers/libvirt/libvirt-private.h"
#include "drivers/libvirt/migrate-arguments.h"

/* libvirt 9.0 can miss that a mirror ended when several are cancelled: it checks each once, releases the guest's lock
 * for a query to QEMU, and then waits for an event that has already happened (qemuMigrationSrcNBDCopyCancel()). Another
 * abort request wakes it. */
#define ABORT_AGAIN G_TIME_SPAN_SECOND
#define END_DEADLINE (90 * G_TIME_SPAN_SECOND) /* longer than libvirt's keepalive */

struct VmigMigration {
    VmigLibvirt *owner;
    virDomainPtr domain; /* to query and abort it */
    virConnectPtr conn;  /* the thread's own connection, and the domain on it */
    virDomainPtr moving;
    char *uuid;
    char *peer_uri;
    virTypedParameterPtr params;
    int n_params;
    unsigned flags;
    guint64 max_downtime;
    gboolean downtime_set;
    gint64 began_at;
    GThread *thread;
    gboolean aborted; /* an abort was requested */
    GMutex mutex;     /* for the members below */
    GCond ended;
    gboolean done;
    gboolean abandoned; /* no thread waits for it any more: its own thread frees it and touches nothing else */
    GError *error;      /* valid once done */
};

static void migration_free(VmigMigration *m);

static gpointer migrate_thread(gpointer data)
{
    VmigMigration *m = data;

    int result = virDomainMigrateToURI3(m->moving, m->peer_uri, m->params, (unsigned)m->n_params, m->flags);
    g_mutex_lock(&m->mutex);
    if (result != 0 && !m->abandoned)
        vmig_libvirt_fail_on(m->owner, m->conn, "the migration failed", &m->error);
    m->done = TRUE;
    if (!m->abandoned)
        vmig_waker_wake(m->owner->waker);
    gboolean abandoned = m->abandoned;
    g_cond_broadcast(&m->ended);
    g_mutex_unlock(&m->mutex);
    if (abandoned)
        migration_free(m);
    return NULL;
}

static gboolean is_done(VmigMigration *m)
{
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&m->mutex);

    return m->done;
}

static void migration_free(VmigMigration *m)
{
    virTypedParamsFree(m->params, m->n_params);
    virDomainFree(m->domain);
    if (m->moving != NULL)
        virDomainFree(m->moving);
    if (m->conn != NULL)
        virConnectClose(m->conn);
    virResetLastError();
    g_clear_error(&m->error);
    g_mutex_clear(&m->mutex);
    g_cond_clear(&m->ended);
    g_free(m->uuid);
    g_free(m->peer_uri);
    g_free(m);
}

/* Two threads on one connection delay each other in libvirt's client (virNetClientIO() of 9.0). The thread that waits
 * for the end of the migration reads the socket for both; the other wakes it with g_main_loop_quit() to send its call.
 * Between the unlock and g_main_loop_run() that wakeup is lost. The call then waits for the daemon's next message,
 * which may be its keepalive five seconds later. */
static gboolean open_own(VmigMigration *m, GError **error)
{
    m->conn = vmig_libvirt_open(m->owner->uri, error);
    if (m->conn == NULL)
        return FALSE;
    m->moving = virDomainLookupByUUIDString(m->conn, m->uuid);
    return m->moving != NULL || vmig_libvirt_fail_on(m->owner, m->conn, "cannot find the domain", error);
}

gboolean vmig_libvirt_migrate_begin(VmigHypervisor *hv, const char *uuid, const VmigMigrateParams *params,
                                    GError **error)
{
    VmigLibvirt *self = (VmigLibvirt *)hv;

    g_return_val_if_fail(self->migration == NULL,
                         vmig_fail(error, VMIG_ERROR_INTERNAL, NULL, "a migration is already in progress"));
    virDomainPtr domain = vmig_libvirt_domain(self, uuid, error);
    if (domain == NULL)
        return FALSE;
    VmigMigration *m = g_new0(VmigMigration, 1);
    m->owner = self;
    g_mutex_init(&m->mutex);
    g_cond_init(&m->ended);
    m->began_at = g_get_monotonic_time();
    m->domain = domain;
    m->uuid = g_strdup(uuid);
    m->peer_uri = g_strdup(params->peer_uri);
    m->max_downtime = params->max_downtime;
    if (!open_own(m, error)) {
        migration_free(m);
        return FALSE;
    }
    vmig_migrate_arguments(params, &m->params, &m->n_params, &m->flags);
    m->thread = g_thread_new("vmig-migrate", migrate_thread, m);
    self->migration = m;
    return TRUE;
}

static guint64 stat_of(virTypedParameterPtr params, int n, const char *name)
{
    unsigned long long value = 0;

    virTypedParamsGetULLong(params, n, name, &value);
    return value;
}

static void read_stats(VmigMigration *m, VmigMigrateStatus *ret)
{
    virTypedParameterPtr params = NULL;
    int type = VIR_DOMAIN_JOB_NONE, n = 0, operation = 0;

    if (virDomainGetJobStats(m->domain, &type, &params, &n, 0) != 0) {
        virResetLastError();
        return;
    }
    virTypedParamsGetInt(params, n, VIR_DOMAIN_JOB_OPERATION, &operation);
    if (type == VIR_DOMAIN_JOB_UNBOUNDED || type == VIR_DOMAIN_JOB_BOUNDED) {
        ret->job_seen = operation == VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT;
        ret->memory_done = stat_of(params, n, VIR_DOMAIN_JOB_MEMORY_PROCESSED);
        ret->memory_total = stat_of(params, n, VIR_DOMAIN_JOB_MEMORY_TOTAL);
        ret->memory_rate = stat_of(params, n, VIR_DOMAIN_JOB_MEMORY_BPS);
        ret->disk_done = stat_of(params, n, VIR_DOMAIN_JOB_DISK_PROCESSED);
        ret->disk_total = stat_of(params, n, VIR_DOMAIN_JOB_DISK_TOTAL);
        ret->disk_rate = stat_of(params, n, VIR_DOMAIN_JOB_DISK_BPS);
    }
    virTypedParamsFree(params, n);
}

gint64 vmig_libvirt_stopped_for(VmigHypervisor *hv)
{
    VmigLibvirt *self = (VmigLibvirt *)hv;

    if (self->migration == NULL)
        return 0;
    gint64 stopped = vmig_event_sink_stopped_at(self->sink, self->migration->uuid);
    if (stopped < self->migration->began_at)
        return 0;
    return MAX(g_get_monotonic_time() - stopped, 1);
}

gboolean vmig_libvirt_migrate_poll(VmigHypervisor *hv, VmigMigrateStatus *ret, GError **error)
{
    VmigMigration *m = ((VmigLibvirt *)hv)->migration;

    memset(ret, 0, sizeof *ret);
    if (m == NULL)
        return vmig_fail(error, VMIG_ERROR_INTERNAL, NULL, "there is no migration to query");
    ret->running = !is_done(m);
    /* While the CPUs are stopped, the source's QEMU replies slowly, and waiting for it would add downtime. */
    if (!ret->running || vmig_libvirt_stopped_for(hv) > 0)
        return TRUE;
    read_stats(m, ret);
    /* Only a running job accepts a downtime limit. */
    if (ret->job_seen && m->max_downtime > 0 && !m->downtime_set) {
        m->downtime_set = virDomainMigrateSetMaxDowntime(m->domain, m->max_downtime, 0) == 0;
        virResetLastError();
    }
    return TRUE;
}

/* The thread's connection may have outlived the monitoring one. */
static gboolean abort_job(VmigMigration *m, GError **error)
{
    g_autoptr(virDomain) again = NULL;
    virDomainPtr domain = m->domain;

    if (virConnectIsAlive(virDomainGetConnect(domain)) != 1)
        domain = again = vmig_libvirt_domain(m->owner, m->uuid, error);
    if (domain == NULL)
        return FALSE;
    return virDomainAbortJob(domain) == 0 || vmig_libvirt_fail(m->owner, error, "cannot abort the migration");
}

gboolean vmig_libvirt_migrate_abort(VmigHypervisor *hv, GError **error)
{
    VmigLibvirt *self = (VmigLibvirt *)hv;
    VmigMigration *m = self->migration;

    if (m == NULL || is_done(m))
        return TRUE;
    g_autoptr(GError) why = NULL;
    m->aborted = TRUE;
    if (abort_job(m, &why) || is_done(m))
        return TRUE;
    g_propagate_error(error, g_steal_pointer(&why));
    return FALSE;
}

/* FALSE if it has not ended in time; then the thread keeps the object. */
static gboolean await_end(VmigMigration *m)
{
    gint64 deadline = g_get_monotonic_time() + END_DEADLINE;

    g_mutex_lock(&m->mutex);
    while (!m->done && g_get_monotonic_time() < deadline) {
        if (g_cond_wait_until(&m->ended, &m->mutex, g_get_monotonic_time() + ABORT_AGAIN) || !m->aborted)
            continue;
        g_mutex_unlock(&m->mutex);
        (void)abort_job(m, NULL);
        g_mutex_lock(&m->mutex);
    }
    gboolean done = m->done;
    m->abandoned = !done;
    g_mutex_unlock(&m->mutex);
    return done;
}

gboolean vmig_libvirt_migrate_end(VmigHypervisor *hv, GError **error)
{
    VmigLibvirt *self = (VmigLibvirt *)hv;
    VmigMigration *m = g_steal_pointer(&self->migration);

    if (m == NULL)
        return TRUE;
    GThread *thread = m->thread;
    if (!await_end(m)) {
        g_thread_unref(thread);
        return vmig_fail(error, VMIG_ERROR_TIMEOUT, VMIG_HINT_RESTART_LIBVIRT,
                         "libvirt on %s does not end its migration", hv->host);
    }
    g_thread_join(thread);
    GError *verdict = g_steal_pointer(&m->error);
    migration_free(m);
    if (verdict == NULL)
        return TRUE;
    g_propagate_error(error, verdict);
    return FALSE;
}

gboolean vmig_libvirt_domain_job(VmigHypervisor *hv, const char *uuid, VmigDomainJob *ret, GError **error)
{
    VmigLibvirt *self = (VmigLibvirt *)hv;
    g_autoptr(virDomain) domain = vmig_libvirt_domain(self, uuid, error);
    virTypedParameterPtr params = NULL;
    int type = VIR_DOMAIN_JOB_NONE, n = 0, operation = VIR_DOMAIN_JOB_OPERATION_UNKNOWN;

    if (domain == NULL)
        return FALSE;
    if (virDomainGetJobStats(domain, &type, &params, &n, 0) != 0)
        return vmig_libvirt_fail(self, error, "cannot query the domain's job");
    virTypedParamsGetInt(params, n, VIR_DOMAIN_JOB_OPERATION, &operation);
    virTypedParamsFree(params, n);
    if (type == VIR_DOMAIN_JOB_NONE)
        *ret = VMIG_DOMAIN_JOB_NONE;
    else
        *ret = operation == VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT ? VMIG_DOMAIN_JOB_MIGRATION : VMIG_DOMAIN_JOB_OTHER;
    return TRUE;
}

gboolean vmig_libvirt_abort_job(VmigHypervisor *hv, const char *uuid, GError **error)
{
    VmigLibvirt *self = (VmigLibvirt *)hv;
    VmigDomainJob job;

    if (!vmig_libvirt_domain_job(hv, uuid, &job, error))
        return FALSE;
    if (job == VMIG_DOMAIN_JOB_NONE)
        return TRUE;
    if (job == VMIG_DOMAIN_JOB_OTHER)
        return vmig_fail(error, VMIG_ERROR_INTERFERENCE,
                         "Wait until that job has ended (virsh domjobinfo), then run vmig-snap resume.",
                         "%s: cannot end the guest's migration: another libvirt job runs on the guest", hv->host);
    g_autoptr(virDomain) domain = vmig_libvirt_domain(self, uuid, error);
    if (domain == NULL)
        return FALSE;
    if (virDomainAbortJob(domain) == 0)
        return TRUE;
    g_autoptr(GError) why = NULL;
    vmig_libvirt_fail(self, &why, "cannot abort the domain's job");
    if (vmig_libvirt_domain_job(hv, uuid, &job, NULL) && job == VMIG_DOMAIN_JOB_NONE)
        return TRUE;
    g_propagate_error(error, g_steal_pointer(&why));
    return FALSE;
}
