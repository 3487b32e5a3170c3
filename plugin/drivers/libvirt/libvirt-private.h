/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Shared by the libvirt-*.c files. */
#pragma once

#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>

#include "drivers/libvirt/libvirt.h"

G_DEFINE_AUTOPTR_CLEANUP_FUNC(virDomain, virDomainFree)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(virDomainSnapshot, virDomainSnapshotFree)

typedef struct VmigMigration VmigMigration;
typedef struct VmigEventSink VmigEventSink;

typedef struct {
    VmigHypervisor parent;
    char *uri;
    VmigEventSink *sink;
    VmigWaker *waker; /* the sink's */
    GMutex mutex;     /* for conn: the migration's thread reads it too */
    virConnectPtr conn;
    virDomainPtr block_domain; /* on conn: the domain that libvirt-block.c used last, or NULL */
    gint64 silent_until;       /* a daemon that timed out is not called again before this time */
    int lifecycle_id;
    int block_job_id;
    int job_id;
    VmigMigration *migration;
} VmigLibvirt;

/* Sets the error from libvirt's last one, with its message, domain and code. Returns FALSE. */
gboolean vmig_libvirt_fail(VmigLibvirt *self, GError **error, const char *format, ...) G_GNUC_PRINTF(3, 4);
/* The same for a call on a connection other than the object's own. */
gboolean vmig_libvirt_fail_on(const VmigLibvirt *self, virConnectPtr conn, const char *what, GError **error);
/* Opens a connection with keepalive, or gives up after 10 s. UNREACHABLE. */
virConnectPtr vmig_libvirt_open(const char *uri, GError **error);
/* The open connection, reopened if it broke. The object owns it. */
virConnectPtr vmig_libvirt_connection(VmigLibvirt *self, GError **error);
virDomainPtr vmig_libvirt_domain(VmigLibvirt *self, const char *uuid, GError **error);

/* libvirt-events.c */
VmigEventSink *vmig_event_sink_new(VmigWaker *waker);
void vmig_event_sink_unref(void *sink);
/* From now on only this domain's events end a wait. */
void vmig_event_sink_attend(VmigEventSink *sink, const char *uuid);
void vmig_event_sink_lifecycle(VmigEventSink *sink, const char *uuid, int event, int detail);
/* Monotonic time when a migration stopped this guest's CPUs, or 0. */
gint64 vmig_event_sink_stopped_at(VmigEventSink *sink, const char *uuid);
void vmig_libvirt_attend(VmigHypervisor *hv, const char *uuid);
void vmig_libvirt_events_on(VmigLibvirt *self, virConnectPtr conn);
void vmig_libvirt_events_off(VmigLibvirt *self, virConnectPtr conn);
VmigBlockEnd vmig_libvirt_block_end(VmigHypervisor *hv, const char *uuid, const char *target);

/* libvirt-block.c */
gboolean vmig_libvirt_hold(VmigHypervisor *hv, const char *uuid, const char *target, const char *disk_xml,
                           GError **error);
gboolean vmig_libvirt_block_job(VmigHypervisor *hv, const char *uuid, const char *target, const VmigDomainDisk *seen,
                                VmigBlockJob *ret, GError **error);
gboolean vmig_libvirt_block_commit(VmigHypervisor *hv, const char *uuid, const char *target, const char *base,
                                   guint64 bandwidth, GError **error);
gboolean vmig_libvirt_block_cancel(VmigHypervisor *hv, const char *uuid, const char *target, GError **error);
gboolean vmig_libvirt_block_pivot(VmigHypervisor *hv, const char *uuid, const char *target, GError **error);
gboolean vmig_libvirt_disk_file(VmigHypervisor *hv, const char *uuid, const char *target, char **ret, GError **error);
gboolean vmig_libvirt_block_speed(VmigHypervisor *hv, const char *uuid, const char *target, guint64 bandwidth,
                                  GError **error);

/* libvirt-snapshot.c */
gboolean vmig_libvirt_snapshots(VmigHypervisor *hv, const char *uuid, GPtrArray **ret, GError **error);
gboolean vmig_libvirt_snapshot_forget(VmigHypervisor *hv, const char *uuid, const char *name, GError **error);
gboolean vmig_libvirt_snapshot_define(VmigHypervisor *hv, const char *uuid, const char *xml, gboolean current,
                                      GError **error);
gboolean vmig_libvirt_would_start(VmigHypervisor *hv, const char *domain_xml, GError **error);
/* libvirt-rehearse.c */
gboolean vmig_libvirt_rehearse(VmigHypervisor *hv, const char *domain_xml, char **ret, GError **error);

gboolean vmig_libvirt_overlay(VmigHypervisor *hv, const char *uuid, const char *xml, GError **error);

/* libvirt-migrate.c */
gboolean vmig_libvirt_abort_job(VmigHypervisor *hv, const char *uuid, GError **error);
gboolean vmig_libvirt_domain_job(VmigHypervisor *hv, const char *uuid, VmigDomainJob *ret, GError **error);
gboolean vmig_libvirt_migrate_begin(VmigHypervisor *hv, const char *uuid, const VmigMigrateParams *params,
                                    GError **error);
gboolean vmig_libvirt_migrate_poll(VmigHypervisor *hv, VmigMigrateStatus *ret, GError **error);
gint64 vmig_libvirt_stopped_for(VmigHypervisor *hv);
gboolean vmig_libvirt_migrate_abort(VmigHypervisor *hv, GError **error);
gboolean vmig_libvirt_migrate_end(VmigHypervisor *hv, GError **error);
