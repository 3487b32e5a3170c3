/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One connection to one libvirt: connecting, errors, events, and calls on whole domains. */
#include "drivers/libvirt/libvirt-private.h"

#include <stdlib.h>
#include <string.h>

#include "definition/domain-xml.h"
#include "core/setup-cause.h"
#include "definition/xml.h"

static void ignore_error(void *data G_GNUC_UNUSED, virErrorPtr err G_GNUC_UNUSED)
{
    /* The default handler prints; vmig-snap reports errors through GError. */
}

static gpointer event_thread(gpointer data G_GNUC_UNUSED)
{
    while (virEventRunDefaultImpl() == 0)
        ;
    return NULL;
}

gboolean vmig_libvirt_init(GError **error)
{
    static gsize once = 0;

    if (g_once_init_enter(&once)) {
        gsize ok = 1;
        virSetErrorFunc(NULL, ignore_error);
        if (virInitialize() == 0 && virEventRegisterDefaultImpl() == 0) {
            g_thread_unref(g_thread_new("vmig-events", event_thread, NULL));
            ok = 2;
        }
        g_once_init_leave(&once, ok);
    }
    return once == 2 || vmig_fail(error, VMIG_ERROR_HYPERVISOR, NULL, "cannot initialize libvirt's client library");
}

static VmigErrorCode code_for(int libvirt_code, gboolean alive)
{
    if (!alive)
        return VMIG_ERROR_CONNECTION;
    switch (libvirt_code) {
    case VIR_ERR_NO_DOMAIN:
        return VMIG_ERROR_NO_DOMAIN;
    case VIR_ERR_OPERATION_TIMEOUT:
        return VMIG_ERROR_TIMEOUT;
    case VIR_ERR_CONFIG_UNSUPPORTED:
    case VIR_ERR_NO_SUPPORT:
    case VIR_ERR_OPERATION_UNSUPPORTED:
    case VIR_ERR_ARGUMENT_UNSUPPORTED:
    case VIR_ERR_CPU_INCOMPATIBLE:
    case VIR_ERR_MIGRATE_UNSAFE:
    case VIR_ERR_OPERATION_DENIED:
    case VIR_ERR_XML_ERROR:
    case VIR_ERR_XML_DETAIL:
    case VIR_ERR_ACCESS_DENIED:
    case VIR_ERR_AUTH_FAILED:
        return VMIG_ERROR_HYPERVISOR_REFUSED;
    default:
        return VMIG_ERROR_HYPERVISOR;
    }
}

static gboolean is_alive(VmigLibvirt *self)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&self->mutex);

    return self->conn != NULL && virConnectIsAlive(self->conn) == 1;
}

/* last: a copy, which is freed. Every libvirt call, even virConnectIsAlive(), resets the last error first. */
static gboolean fail_with(const VmigLibvirt *self, virErrorPtr last, gboolean alive, const char *what, GError **error)
{
    int domain = last != NULL ? last->domain : 0;
    int code = last != NULL ? last->code : 0;
    const char *message = last != NULL && last->message != NULL ? last->message : "no reason given";

    VmigErrorCode ours = code_for(code, alive);
    /* A missing bridge, for example, will still be missing at the next attempt. */
    g_autoptr(VmigSetupCause) cause =
        ours == VMIG_ERROR_HYPERVISOR || ours == VMIG_ERROR_HYPERVISOR_REFUSED ? vmig_setup_cause(message) : NULL;
    vmig_fail(error, cause != NULL && cause->lasts ? VMIG_ERROR_SETUP : ours, cause != NULL ? cause->remedy : NULL,
              "%s: %s: %s", self->parent.host, what, message);
    if (error != NULL)
        vmig_error_set_foreign(*error, domain, code);
    virFreeError(last);
    virResetLastError();
    return FALSE;
}

gboolean vmig_libvirt_fail(VmigLibvirt *self, GError **error, const char *format, ...)
{
    virErrorPtr last = virSaveLastError();
    va_list args;

    va_start(args, format);
    g_autofree char *what = g_strdup_vprintf(format, args);
    va_end(args);
    return fail_with(self, last, is_alive(self), what, error);
}

gboolean vmig_libvirt_fail_on(const VmigLibvirt *self, virConnectPtr conn, const char *what, GError **error)
{
    virErrorPtr last = virSaveLastError();

    return fail_with(self, last, virConnectIsAlive(conn) == 1, what, error);
}

static virConnectPtr open_connection(VmigLibvirt *self, GError **error)
{
    virConnectPtr conn = vmig_libvirt_open(self->uri, error);

    if (conn == NULL)
        return NULL;
    vmig_libvirt_events_on(self, conn);
    virResetLastError();
    return conn;
}

static void close_connection(VmigLibvirt *self)
{
    if (self->conn == NULL)
        return;
    g_clear_pointer(&self->block_domain, virDomainFree);
    vmig_libvirt_events_off(self, self->conn);
    virConnectClose(self->conn);
    virResetLastError();
    self->conn = NULL;
}

/* A step makes several calls to a host: if it is frozen, wait for it once and not in each of them. */
static virConnectPtr open_again(VmigLibvirt *self, GError **error)
{
    gint64 began = g_get_monotonic_time();

    if (began < self->silent_until) {
        vmig_fail(error, VMIG_ERROR_UNREACHABLE, "Check that libvirt runs there.", "libvirt at %s did not answer",
                  self->uri);
        return NULL;
    }
    virConnectPtr conn = open_connection(self, error);
    gint64 took = g_get_monotonic_time() - began;
    self->silent_until = conn == NULL && took > G_USEC_PER_SEC ? began + 2 * took : 0;
    return conn;
}

virConnectPtr vmig_libvirt_connection(VmigLibvirt *self, GError **error)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&self->mutex);

    if (self->conn != NULL && virConnectIsAlive(self->conn) == 1)
        return self->conn;
    close_connection(self);
    self->conn = open_again(self, error);
    if (self->conn == NULL && error != NULL && *error != NULL && self->parent.host != NULL)
        (*error)->code = VMIG_ERROR_CONNECTION; /* it was reachable before: worth a retry */
    return self->conn;
}

virDomainPtr vmig_libvirt_domain(VmigLibvirt *self, const char *uuid, GError **error)
{
    virConnectPtr conn = vmig_libvirt_connection(self, error);

    if (conn == NULL)
        return NULL;
    virDomainPtr domain = virDomainLookupByUUIDString(conn, uuid);
    if (domain == NULL)
        vmig_libvirt_fail(self, error, "cannot find the domain %s", uuid);
    return domain;
}

static VmigRun run_of(int state, int reason)
{
    switch (state) {
    case VIR_DOMAIN_PAUSED:
        if (reason == VIR_DOMAIN_PAUSED_MIGRATION || reason == VIR_DOMAIN_PAUSED_STARTING_UP ||
            reason == VIR_DOMAIN_PAUSED_POSTCOPY)
            return VMIG_RUN_MIGRATING;
        return reason == VIR_DOMAIN_PAUSED_IOERROR ? VMIG_RUN_IO_ERROR : VMIG_RUN_PAUSED;
    case VIR_DOMAIN_SHUTOFF:
        return VMIG_RUN_SHUTOFF;
    case VIR_DOMAIN_CRASHED:
        return VMIG_RUN_CRASHED;
    default:
        return VMIG_RUN_RUNNING; /* also shutting down, blocked, suspended by the guest's power management */
    }
}

/* For a domain that is shut off. QEMU's death without its SHUTDOWN event is CRASHED; a libvirtd that restarted
 * meanwhile does not know the reason. */
static VmigOff off_of(int reason)
{
    switch (reason) {
    case VIR_DOMAIN_SHUTOFF_CRASHED:
    case VIR_DOMAIN_SHUTOFF_FAILED:
        return VMIG_OFF_DIED;
    case VIR_DOMAIN_SHUTOFF_UNKNOWN:
    case VIR_DOMAIN_SHUTOFF_DAEMON:
        return VMIG_OFF_UNKNOWN;
    default:
        return VMIG_OFF_ASKED;
    }
}

static VmigDomainInfo *read_info(VmigLibvirt *self, virDomainPtr domain, GError **error)
{
    g_autoptr(VmigDomainInfo) info = g_new0(VmigDomainInfo, 1);
    char uuid[VIR_UUID_STRING_BUFLEN];
    int state = 0, reason = 0, autostart = 0;

    if (virDomainGetUUIDString(domain, uuid) != 0 || virDomainGetState(domain, &state, &reason, 0) != 0) {
        vmig_libvirt_fail(self, error, "cannot query the domain's state");
        return NULL;
    }
    info->name = g_strdup(virDomainGetName(domain));
    info->uuid = g_strdup(uuid);
    unsigned id = virDomainGetID(domain);
    info->id = id != (unsigned)-1 ? (int)id : -1;
    info->run = run_of(state, reason);
    info->by_user = state == VIR_DOMAIN_PAUSED && reason == VIR_DOMAIN_PAUSED_USER;
    info->cancelled = state == VIR_DOMAIN_RUNNING && reason == VIR_DOMAIN_RUNNING_MIGRATION_CANCELED;
    info->migrated = state == VIR_DOMAIN_SHUTOFF && reason == VIR_DOMAIN_SHUTOFF_MIGRATED;
    info->off = off_of(reason);
    info->persistent = virDomainIsPersistent(domain) == 1;
    info->autostart = virDomainGetAutostart(domain, &autostart) == 0 && autostart != 0;
    info->managed_save = virDomainHasManagedSaveImage(domain, 0) == 1;
    int checkpoints = virDomainListAllCheckpoints(domain, NULL, 0);
    info->checkpoints = checkpoints > 0 ? (guint)checkpoints : 0;
    virResetLastError();
    return g_steal_pointer(&info);
}

static gboolean libvirt_find(VmigHypervisor *hv, const char *name_or_uuid, VmigDomainInfo **ret, GError **error)
{
    VmigLibvirt *self = (VmigLibvirt *)hv;
    virConnectPtr conn = vmig_libvirt_connection(self, error);

    *ret = NULL;
    if (conn == NULL)
        return FALSE;
    g_autoptr(virDomain) by_uuid = NULL;
    if (g_uuid_string_is_valid(name_or_uuid)) {
        by_uuid = virDomainLookupByUUIDString(conn, name_or_uuid);
        if (by_uuid == NULL && virGetLastErrorCode() != VIR_ERR_NO_DOMAIN)
            return vmig_libvirt_fail(self, error, "cannot look up '%s'", name_or_uuid);
    }
    g_autoptr(virDomain) by_name = virDomainLookupByName(conn, name_or_uuid);
    if (by_name == NULL && virGetLastErrorCode() != VIR_ERR_NO_DOMAIN)
        return vmig_libvirt_fail(self, error, "cannot look up '%s'", name_or_uuid);
    if (by_uuid != NULL && by_name != NULL && strcmp(virDomainGetName(by_uuid), virDomainGetName(by_name)) != 0)
        return vmig_fail(error, VMIG_ERROR_AMBIGUOUS_DOMAIN, "Use the other domain's UUID.",
                         "%s: '%s' is the name of one domain and the UUID of another", hv->host, name_or_uuid);
    virResetLastError();
    if (by_uuid == NULL && by_name == NULL)
        return TRUE;
    *ret = read_info(self, by_uuid != NULL ? by_uuid : by_name, error);
    return *ret != NULL;
}

static gboolean libvirt_run(VmigHypervisor *hv, const char *uuid, VmigRun *ret, GError **error)
{
    VmigLibvirt *self = (VmigLibvirt *)hv;
    g_autoptr(GError) why = NULL;
    g_autoptr(virDomain) domain = vmig_libvirt_domain(self, uuid, &why);
    int state = 0, reason = 0;

    *ret = VMIG_RUN_ABSENT;
    if (domain != NULL && virDomainGetState(domain, &state, &reason, 0) == 0) {
        *ret = run_of(state, reason);
        return TRUE;
    }
    /* The domain may also have vanished between the two calls. */
    if (domain != NULL)
        vmig_libvirt_fail(self, &why, "cannot query the domain's state");
    if (g_error_matches(why, VMIG_ERROR, VMIG_ERROR_NO_DOMAIN))
        return TRUE;
    g_propagate_error(error, g_steal_pointer(&why));
    return FALSE;
}

static gboolean libvirt_domain_xml(VmigHypervisor *hv, const char *uuid, VmigXmlKind kind, char **ret, GError **error)
{
    static const unsigned flags[] = {
        [VMIG_XML_LIVE] = VIR_DOMAIN_XML_SECURE,
        [VMIG_XML_PERSISTENT] = VIR_DOMAIN_XML_SECURE | VIR_DOMAIN_XML_INACTIVE,
        [VMIG_XML_MIGRATABLE] = VIR_DOMAIN_XML_SECURE | VIR_DOMAIN_XML_MIGRATABLE,
        [VMIG_XML_PERSISTENT_MIGRATABLE] = VIR_DOMAIN_XML_SECURE | VIR_DOMAIN_XML_INACTIVE | VIR_DOMAIN_XML_MIGRATABLE,
    };
    VmigLibvirt *self = (VmigLibvirt *)hv;
    g_autoptr(virDomain) domain = vmig_libvirt_domain(self, uuid, error);

    if (domain == NULL)
        return FALSE;
    char *xml = virDomainGetXMLDesc(domain, flags[kind]);
    if (xml == NULL)
        return vmig_libvirt_fail(self, error, "cannot read the domain's definition");
    *ret = g_strdup(xml);
    free(xml);
    return TRUE;
}

static char *host_uuid(const char *capabilities, GError **error)
{
    g_autoptr(VmigXml) xml = vmig_xml_parse(capabilities, "the host's capabilities", error);

    if (xml == NULL)
        return NULL;
    char *uuid = vmig_xml_child_text(vmig_xml_child(xmlDocGetRootElement(xml->doc), "host"), "uuid");
    if (uuid == NULL)
        vmig_fail(error, VMIG_ERROR_XML, NULL, "the host's capabilities do not contain a UUID");
    return uuid;
}

static gboolean libvirt_host_info(VmigHypervisor *hv, VmigHypervisorInfo **ret, GError **error)
{
    VmigLibvirt *self = (VmigLibvirt *)hv;
    virConnectPtr conn = vmig_libvirt_connection(self, error);
    g_autoptr(VmigHypervisorInfo) info = g_new0(VmigHypervisorInfo, 1);
    unsigned long libvirt_version = 0, qemu_version = 0;

    if (conn == NULL)
        return FALSE;
    char *hostname = virConnectGetHostname(conn);
    char *capabilities = hostname != NULL ? virConnectGetCapabilities(conn) : NULL;
    if (capabilities == NULL || virConnectGetLibVersion(conn, &libvirt_version) != 0 ||
        virConnectGetVersion(conn, &qemu_version) != 0) {
        free(hostname);
        free(capabilities);
        return vmig_libvirt_fail(self, error, "cannot query the capabilities of the host");
    }
    info->hostname = g_strdup(hostname);
    info->uuid = host_uuid(capabilities, error);
    info->libvirt_version = libvirt_version;
    info->qemu_version = qemu_version;
    free(hostname);
    free(capabilities);
    if (info->uuid == NULL)
        return FALSE;
    *ret = g_steal_pointer(&info);
    return TRUE;
}

static gboolean libvirt_can_run(VmigHypervisor *hv, const char *domain_xml, GError **error)
{
    VmigLibvirt *self = (VmigLibvirt *)hv;
    virConnectPtr conn = vmig_libvirt_connection(self, error);
    g_autoptr(VmigDomainXml) doc = conn != NULL ? vmig_domain_xml_parse(domain_xml, error) : NULL;

    if (doc == NULL)
        return FALSE;
    const VmigDomainFacts *domain = vmig_domain_xml_facts(doc);
    char *capabilities =
        virConnectGetDomainCapabilities(conn, domain->emulator, domain->arch, domain->machine, domain->type, 0);
    if (capabilities != NULL) {
        free(capabilities);
        return TRUE;
    }
    virErrorPtr last = virGetLastError();
    gboolean lacks = last != NULL && (last->code == VIR_ERR_INVALID_ARG || last->code == VIR_ERR_CONFIG_UNSUPPORTED ||
                                      last->code == VIR_ERR_NO_SUPPORT || last->code == VIR_ERR_INTERNAL_ERROR);
    if (!lacks)
        return vmig_libvirt_fail(self, error, "cannot query the domain capabilities");
    vmig_fail(error, VMIG_ERROR_NO_EMULATOR, "Install the same or a newer QEMU there.",
              "%s: cannot run the guest (emulator %s, machine %s, type %s): %s", hv->host, domain->emulator,
              domain->machine, domain->type, last->message);
    virResetLastError();
    return FALSE;
}

/* The operations that consist of one libvirt call on one domain. */
#define SIMPLE_CALL(name, call, what)                                                                                  \
    static gboolean libvirt_##name(VmigHypervisor *hv, const char *uuid, GError **error)                               \
    {                                                                                                                  \
        VmigLibvirt *self = (VmigLibvirt *)hv;                                                                         \
        g_autoptr(virDomain) domain = vmig_libvirt_domain(self, uuid, error);                                          \
        if (domain == NULL)                                                                                            \
            return FALSE;                                                                                              \
        return call == 0 || vmig_libvirt_fail(self, error, what);                                                      \
    }

SIMPLE_CALL(suspend, virDomainSuspend(domain), "cannot suspend the guest")
SIMPLE_CALL(resume, virDomainResume(domain), "cannot resume the guest")
SIMPLE_CALL(start, virDomainCreate(domain), "cannot start the guest")
/* The NVRAM file is kept: it is the source's only copy until the user cleans up. */
/* Without SNAPSHOTS_METADATA: a domain that still has snapshots must not be undefined. */
SIMPLE_CALL(undefine, virDomainUndefineFlags(domain, VIR_DOMAIN_UNDEFINE_KEEP_NVRAM), "cannot undefine the domain")

/* libvirt takes the UUID from the handle and destroys whatever runs under it by then. So the run's ID is checked right
 * before, as close as libvirt's API allows. */
static gboolean libvirt_destroy(VmigHypervisor *hv, const char *uuid, int id, GError **error)
{
    VmigLibvirt *self = (VmigLibvirt *)hv;
    g_autoptr(virDomain) domain = vmig_libvirt_domain(self, uuid, error);

    if (domain == NULL)
        return FALSE;
    unsigned now = virDomainGetID(domain);
    if (now != (unsigned)-1 && (int)now != id)
        return vmig_fail(error, VMIG_ERROR_INTERFERENCE, NULL,
                         "%s: cannot end the guest's QEMU: another one was started with the same UUID meanwhile",
                         hv->host);
    return virDomainDestroy(domain) == 0 || vmig_libvirt_fail(self, error, "cannot end the guest's QEMU");
}

static gboolean libvirt_lacks_space(VmigHypervisor *hv, const char *uuid, gboolean *ret, GError **error)
{
    VmigLibvirt *self = (VmigLibvirt *)hv;
    g_autoptr(virDomain) domain = vmig_libvirt_domain(self, uuid, error);
    virDomainDiskError errors[64];

    *ret = FALSE;
    if (domain == NULL)
        return FALSE;
    int n = virDomainGetDiskErrors(domain, errors, G_N_ELEMENTS(errors), 0);
    if (n < 0)
        return vmig_libvirt_fail(self, error, "cannot query the errors of the disks");
    *ret = n > 0;
    for (int i = 0; i < n; i++) {
        *ret = *ret && errors[i].error == VIR_DOMAIN_DISK_ERROR_NO_SPACE;
        free(errors[i].disk);
    }
    return TRUE;
}

static gboolean libvirt_set_autostart(VmigHypervisor *hv, const char *uuid, gboolean on, GError **error)
{
    VmigLibvirt *self = (VmigLibvirt *)hv;
    g_autoptr(virDomain) domain = vmig_libvirt_domain(self, uuid, error);

    if (domain == NULL)
        return FALSE;
    return virDomainSetAutostart(domain, on) == 0 || vmig_libvirt_fail(self, error, "cannot change autostart");
}

static gboolean libvirt_define(VmigHypervisor *hv, const char *xml, GError **error)
{
    VmigLibvirt *self = (VmigLibvirt *)hv;
    virConnectPtr conn = vmig_libvirt_connection(self, error);

    if (conn == NULL)
        return FALSE;
    g_autoptr(virDomain) domain = virDomainDefineXML(conn, xml);
    return domain != NULL || vmig_libvirt_fail(self, error, "cannot define the domain");
}

static gboolean libvirt_update_disk(VmigHypervisor *hv, const char *uuid, const char *disk_xml, gboolean config,
                                    GError **error)
{
    VmigLibvirt *self = (VmigLibvirt *)hv;
    g_autoptr(virDomain) domain = vmig_libvirt_domain(self, uuid, error);

    if (domain == NULL)
        return FALSE;
    unsigned flags = config ? VIR_DOMAIN_DEVICE_MODIFY_CONFIG : VIR_DOMAIN_DEVICE_MODIFY_LIVE;
    if (virDomainUpdateDeviceFlags(domain, disk_xml, flags) == 0)
        return TRUE;
    return vmig_libvirt_fail(self, error, "cannot change the snapshot setting of a disk");
}

static unsigned impact_of(virDomainPtr domain)
{
    unsigned flags = 0;

    if (virDomainIsActive(domain) == 1)
        flags |= VIR_DOMAIN_AFFECT_LIVE;
    if (virDomainIsPersistent(domain) == 1)
        flags |= VIR_DOMAIN_AFFECT_CONFIG;
    return flags;
}

static gboolean libvirt_set_metadata(VmigHypervisor *hv, const char *uuid, const char *xml, GError **error)
{
    VmigLibvirt *self = (VmigLibvirt *)hv;
    g_autoptr(virDomain) domain = vmig_libvirt_domain(self, uuid, error);

    if (domain == NULL)
        return FALSE;
    if (virDomainSetMetadata(domain, VIR_DOMAIN_METADATA_ELEMENT, xml, VMIG_METADATA_KEY, VMIG_METADATA_URI,
                             impact_of(domain)) == 0)
        return TRUE;
    return vmig_libvirt_fail(self, error, "cannot change the domain's metadata");
}

static void libvirt_free(VmigHypervisor *hv)
{
    VmigLibvirt *self = (VmigLibvirt *)hv;

    if (self->migration != NULL)
        vmig_libvirt_migrate_end(hv, NULL);
    close_connection(self);
    vmig_event_sink_unref(self->sink);
    g_mutex_clear(&self->mutex);
    g_free(self->uri);
    g_free(hv->host);
    g_free(self);
}

static const VmigHypervisorOps libvirt_ops = {
    .host_info = libvirt_host_info,
    .can_run = libvirt_can_run,
    .would_start = vmig_libvirt_would_start,
    .attend = vmig_libvirt_attend,
    .rehearse = vmig_libvirt_rehearse,
    .find = libvirt_find,
    .run = libvirt_run,
    .domain_xml = libvirt_domain_xml,
    .snapshots = vmig_libvirt_snapshots,
    .snapshot_forget = vmig_libvirt_snapshot_forget,
    .snapshot_define = vmig_libvirt_snapshot_define,
    .overlay = vmig_libvirt_overlay,
    .update_disk = libvirt_update_disk,
    .hold = vmig_libvirt_hold,
    .block_job = vmig_libvirt_block_job,
    .block_commit = vmig_libvirt_block_commit,
    .block_cancel = vmig_libvirt_block_cancel,
    .block_pivot = vmig_libvirt_block_pivot,
    .disk_file = vmig_libvirt_disk_file,
    .block_speed = vmig_libvirt_block_speed,
    .block_end = vmig_libvirt_block_end,
    .lacks_space = libvirt_lacks_space,
    .suspend = libvirt_suspend,
    .resume = libvirt_resume,
    .start = libvirt_start,
    .destroy = libvirt_destroy,
    .define = libvirt_define,
    .undefine = libvirt_undefine,
    .set_autostart = libvirt_set_autostart,
    .set_metadata = libvirt_set_metadata,
    .abort_job = vmig_libvirt_abort_job,
    .domain_job = vmig_libvirt_domain_job,
    .migrate_begin = vmig_libvirt_migrate_begin,
    .migrate_poll = vmig_libvirt_migrate_poll,
    .stopped_for = vmig_libvirt_stopped_for,
    .migrate_abort = vmig_libvirt_migrate_abort,
    .migrate_end = vmig_libvirt_migrate_end,
    .free = libvirt_free,
};

VmigHypervisor *vmig_libvirt_new(const char *uri, const char *host, VmigWaker *waker, GError **error)
{
    if (!vmig_libvirt_init(error))
        return NULL;
    VmigLibvirt *self = g_new0(VmigLibvirt, 1);
    g_autoptr(VmigHypervisor) hv = &self->parent;
    hv->ops = &libvirt_ops;
    self->uri = g_strdup(uri);
    self->sink = vmig_event_sink_new(waker);
    self->waker = waker;
    g_mutex_init(&self->mutex);
    if (vmig_libvirt_connection(self, error) == NULL)
        return NULL;
    char *name = host == NULL ? virConnectGetHostname(self->conn) : NULL;
    hv->host = g_strdup(host != NULL ? host : name != NULL ? name : uri);
    free(name);
    virResetLastError();
    return g_steal_pointer(&hv);
}
