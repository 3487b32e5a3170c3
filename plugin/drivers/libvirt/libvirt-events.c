/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* libvirt's events. They end a wait early. Two things that cannot be queried later are recorded: when a migration
 * stopped the guest's CPUs, and how a commit ended. Events arrive for every domain of the host, and other jobs may run
 * on those, so each event counts for its own domain only. */
#include <string.h>

#include "drivers/libvirt/libvirt-private.h"

/* The state that the event thread uses; it may briefly outlive the connection. */
struct VmigEventSink {
    gatomicrefcount refs;
    VmigWaker *waker;
    GMutex mutex;
    char *attended;      /* UUID: only this domain's events end a wait; NULL: all events do */
    GHashTable *stopped; /* UUID → gint64, monotonic: the last time a migration stopped this guest's CPUs */
    GHashTable *ends;    /* UUID/target → VmigBlockEnd, for commits of the active layer */
};

VmigEventSink *vmig_event_sink_new(VmigWaker *waker)
{
    VmigEventSink *sink = g_new0(VmigEventSink, 1);

    g_atomic_ref_count_init(&sink->refs);
    sink->waker = vmig_waker_ref(waker);
    g_mutex_init(&sink->mutex);
    sink->stopped = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    sink->ends = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    return sink;
}

static VmigEventSink *sink_ref(VmigEventSink *sink)
{
    g_atomic_ref_count_inc(&sink->refs);
    return sink;
}

void vmig_event_sink_unref(void *opaque)
{
    VmigEventSink *sink = opaque;

    if (!g_atomic_ref_count_dec(&sink->refs))
        return;
    vmig_waker_unref(sink->waker);
    g_hash_table_unref(sink->ends);
    g_hash_table_unref(sink->stopped);
    g_free(sink->attended);
    g_mutex_clear(&sink->mutex);
    g_free(sink);
}

void vmig_event_sink_attend(VmigEventSink *sink, const char *uuid)
{
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&sink->mutex);

    g_free(sink->attended);
    sink->attended = g_strdup(uuid);
}

gint64 vmig_event_sink_stopped_at(VmigEventSink *sink, const char *uuid)
{
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&sink->mutex);
    const gint64 *at = g_hash_table_lookup(sink->stopped, uuid);

    return at != NULL ? *at : 0;
}

/* An event without a domain may concern any domain. */
static void wake_for(VmigEventSink *sink, const char *uuid)
{
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&sink->mutex);

    if (uuid == NULL || sink->attended == NULL || strcmp(uuid, sink->attended) == 0)
        vmig_waker_wake(sink->waker);
}

static void note_stop(VmigEventSink *sink, const char *uuid)
{
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&sink->mutex);
    gint64 *at = g_new(gint64, 1);

    *at = g_get_monotonic_time();
    g_hash_table_replace(sink->stopped, g_strdup(uuid), at);
}

void vmig_event_sink_lifecycle(VmigEventSink *sink, const char *uuid, int event, int detail)
{
    if (event == VIR_DOMAIN_EVENT_SUSPENDED && detail == VIR_DOMAIN_EVENT_SUSPENDED_MIGRATED)
        note_stop(sink, uuid);
    wake_for(sink, uuid);
}

static int on_lifecycle(virConnectPtr conn G_GNUC_UNUSED, virDomainPtr domain, int event, int detail, void *opaque)
{
    char uuid[VIR_UUID_STRING_BUFLEN];

    if (virDomainGetUUIDString(domain, uuid) == 0)
        vmig_event_sink_lifecycle(opaque, uuid, event, detail);
    return 0;
}

static VmigBlockEnd end_of(int status)
{
    switch (status) {
    case VIR_DOMAIN_BLOCK_JOB_COMPLETED:
        return VMIG_BLOCK_END_COMPLETED;
    case VIR_DOMAIN_BLOCK_JOB_FAILED:
        return VMIG_BLOCK_END_FAILED;
    case VIR_DOMAIN_BLOCK_JOB_CANCELED:
        return VMIG_BLOCK_END_CANCELLED;
    default:
        return VMIG_BLOCK_END_UNKNOWN;
    }
}

static char *disk_key(const char *uuid, const char *target)
{
    return g_strconcat(uuid, "/", target, NULL);
}

/* Commits only: the event for the end of the hold may arrive when the commit is already running. */
static void on_block_job(virConnectPtr conn G_GNUC_UNUSED, virDomainPtr domain, const char *disk, int type, int status,
                         void *opaque)
{
    VmigEventSink *sink = opaque;
    VmigBlockEnd end = end_of(status);
    char uuid[VIR_UUID_STRING_BUFLEN];

    if (virDomainGetUUIDString(domain, uuid) != 0)
        return;
    if (type == VIR_DOMAIN_BLOCK_JOB_TYPE_ACTIVE_COMMIT && end != VMIG_BLOCK_END_UNKNOWN) {
        g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&sink->mutex);
        g_hash_table_insert(sink->ends, disk_key(uuid, disk), GINT_TO_POINTER(end));
    }
    wake_for(sink, uuid);
}

VmigBlockEnd vmig_libvirt_block_end(VmigHypervisor *hv, const char *uuid, const char *target)
{
    VmigEventSink *sink = ((VmigLibvirt *)hv)->sink;
    g_autofree char *key = disk_key(uuid, target);
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&sink->mutex);
    gpointer end = g_hash_table_lookup(sink->ends, key);

    g_hash_table_remove(sink->ends, key);
    return (VmigBlockEnd)GPOINTER_TO_INT(end);
}

static void on_job_completed(virConnectPtr conn G_GNUC_UNUSED, virDomainPtr domain,
                             virTypedParameterPtr params G_GNUC_UNUSED, int n G_GNUC_UNUSED, void *opaque)
{
    char uuid[VIR_UUID_STRING_BUFLEN];

    if (virDomainGetUUIDString(domain, uuid) == 0)
        wake_for(opaque, uuid);
}

static void on_close(virConnectPtr conn G_GNUC_UNUSED, int reason G_GNUC_UNUSED, void *opaque)
{
    wake_for(opaque, NULL);
}

static int subscribe(VmigLibvirt *self, virConnectPtr conn, int event, virConnectDomainEventGenericCallback callback)
{
    int id = virConnectDomainEventRegisterAny(conn, NULL, event, callback, sink_ref(self->sink), vmig_event_sink_unref);

    if (id < 0) /* on failure libvirt does not free it */
        vmig_event_sink_unref(self->sink);
    return id;
}

void vmig_libvirt_attend(VmigHypervisor *hv, const char *uuid)
{
    vmig_event_sink_attend(((VmigLibvirt *)hv)->sink, uuid);
}

void vmig_libvirt_events_on(VmigLibvirt *self, virConnectPtr conn)
{
    /* Without a reference of its own: a driver without this callback (libvirt's test driver) accepts it, returns 0 and
     * never frees it. The others call it under the lock that unregistering takes, and it is unregistered before the
     * sink is freed. */
    virConnectRegisterCloseCallback(conn, on_close, self->sink, NULL);
    self->lifecycle_id = subscribe(self, conn, VIR_DOMAIN_EVENT_ID_LIFECYCLE, VIR_DOMAIN_EVENT_CALLBACK(on_lifecycle));
    self->block_job_id =
        subscribe(self, conn, VIR_DOMAIN_EVENT_ID_BLOCK_JOB_2, VIR_DOMAIN_EVENT_CALLBACK(on_block_job));
    self->job_id =
        subscribe(self, conn, VIR_DOMAIN_EVENT_ID_JOB_COMPLETED, VIR_DOMAIN_EVENT_CALLBACK(on_job_completed));
}

void vmig_libvirt_events_off(VmigLibvirt *self, virConnectPtr conn)
{
    virConnectDomainEventDeregisterAny(conn, self->lifecycle_id);
    virConnectDomainEventDeregisterAny(conn, self->block_job_id);
    virConnectDomainEventDeregisterAny(conn, self->job_id);
    virConnectUnregisterCloseCallback(conn, on_close);
}
