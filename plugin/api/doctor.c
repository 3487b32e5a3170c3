/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* doctor and purge: their JSON documents. */
#include "doctor/doctor.h"

#include "api/json-members.h"
#include "api/session-private.h"
#include "doctor/kept-images.h"
#include "link/destination.h"
#include "drivers/libvirt/libvirt.h"
#include "link/ssh-link.h"
#include "os/waker.h"

static void add_finding(JsonBuilder *b, const VmigFinding *finding)
{
    json_builder_begin_object(b);
    vmig_json_text(b, "code", finding->code);
    vmig_json_text(b, "severity", vmig_severity_name(finding->severity));
    vmig_json_text(b, "message", finding->message);
    vmig_json_text(b, "repair", finding->repair);
    vmig_json_flag(b, "fixable", finding->fix != VMIG_FIX_NONE);
    vmig_json_flag(b, "fixed", finding->fixed);
    json_builder_end_object(b);
}

static JsonNode *findings_document(GPtrArray *findings)
{
    g_autoptr(JsonBuilder) b = json_builder_new();

    json_builder_begin_object(b);
    vmig_json_text(b, "host", g_get_host_name());
    vmig_json_number(b, "problems", vmig_doctor_count_problems(findings));
    json_builder_set_member_name(b, "findings");
    json_builder_begin_array(b);
    for (guint i = 0; i < findings->len; i++)
        add_finding(b, findings->pdata[i]);
    json_builder_end_array(b);
    json_builder_end_object(b);
    return json_builder_get_root(b);
}

/* Without vmig_session_config(): a configuration that is wrong is a finding. */
JsonNode *vmig_work_doctor(const VmigCall *call, GError **error)
{
    const char *uri = call->session->connect_uri;
    g_autoptr(VmigConfig) config = vmig_config_load(NULL, NULL);
    if (config != NULL && !vmig_config_check_user(config, error))
        return NULL;
    g_autoptr(VmigWaker) waker = vmig_waker_new();
    g_autoptr(GError) why = NULL;
    g_autoptr(VmigHypervisor) hypervisor = vmig_libvirt_new(uri, NULL, waker, &why);
    VmigDoctorRequest request = {
        .connect_uri = uri,
        .hypervisor = hypervisor,
        .hypervisor_error = why,
        .domain = call->domain,
        .fix = (call->flags & VMIG_DOCTOR_FIX) != 0,
    };
    g_autoptr(GPtrArray) findings = vmig_doctor_run(&request, error);

    return findings != NULL ? findings_document(findings) : NULL;
}

/* The connection that open_peer() opens, to be closed after the node. */
typedef struct {
    const VmigConfig *config;
    VmigSshLink *link;
} Peer;

static void peer_clear(Peer *peer)
{
    vmig_ssh_link_close(peer->link);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Peer, peer_clear)

static VmigNode *open_peer(gpointer user, const VmigJob *job, GError **error)
{
    Peer *peer = user;
    g_autoptr(VmigDestination) dest = vmig_destination_parse(job->dest_uri, error);
    VmigSshLinkOptions options = {
        .destination = dest,
        .run_dir = peer->config->run_dir, /* unused: nothing is forwarded */
        .ssh_command = peer->config->ssh_command,
        .agent_command = peer->config->agent_command,
    };

    if (dest == NULL)
        return NULL;
    peer->link = vmig_ssh_link_open(&options, error);
    return peer->link != NULL ? vmig_ssh_link_node(peer->link) : NULL;
}

static JsonNode *purged_document(const VmigPurged *cleaned)
{
    g_autoptr(JsonBuilder) b = json_builder_new();

    json_builder_begin_object(b);
    vmig_json_text(b, "job", cleaned->job->id);
    vmig_json_text(b, "domain", cleaned->job->domain);
    vmig_json_text(b, "uuid", cleaned->job->uuid);
    vmig_json_text(b, "destination", cleaned->job->host[VMIG_DEST]);
    vmig_json_number(b, "freed", cleaned->freed);
    json_builder_set_member_name(b, "removed");
    json_builder_begin_array(b);
    for (guint i = 0; i < cleaned->removed->len; i++) {
        const VmigRemovedImage *image = cleaned->removed->pdata[i];
        json_builder_begin_object(b);
        vmig_json_text(b, "path", image->path);
        vmig_json_number(b, "bytes", image->bytes);
        json_builder_end_object(b);
    }
    json_builder_end_array(b);
    json_builder_end_object(b);
    return json_builder_get_root(b);
}

JsonNode *vmig_work_purge(const VmigCall *call, GError **error)
{
    const VmigConfig *config = vmig_session_config(call->session, error);

    if (config == NULL)
        return NULL;
    g_auto(Peer) peer = {config, NULL};
    VmigPurgeRequest request = {
        .config = config,
        .connect_uri = call->session->connect_uri,
        .domain = call->domain,
        .open_peer = (call->flags & VMIG_PURGE_WITHOUT_DESTINATION) != 0 ? NULL : open_peer,
        .user = &peer,
    };
    g_autoptr(VmigPurged) cleaned = vmig_purge_kept_images(&request, error);
    return cleaned != NULL ? purged_document(cleaned) : NULL;
}
