/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Sets up the real environment of one job. */
#include "api/env-real.h"

#include <string.h>

#include <gio/gio.h>

#include <glib/gstdio.h>

#include "node/agent-client.h"
#include "os/cipher.h"
#include "os/flag-file.h"
#include "drivers/libvirt/host-setup.h"
#include "api/clock.h"
#include "drivers/libvirt/libvirt.h"
#include "copy/copier.h"
#include "link/ssh-link.h"
#include "node/node-local.h"

#define LOCAL_URI_FORMAT "qemu+unix:///system?socket=%s"
#define MOST_LINKS 4 /* additional ssh connections for the copies */

static gboolean asked(VmigEnv *env)
{
    return vmig_flag_clear(env->run_dir, VMIG_FLAG_TRY_NOW);
}

static gboolean resolves(VmigEnv *env G_GNUC_UNUSED, const char *name, GError **error)
{
    g_autoptr(GResolver) resolver = g_resolver_get_default();
    g_autoptr(GError) why = NULL;
    GList *addresses = g_resolver_lookup_by_name(resolver, name, NULL, &why);

    if (addresses == NULL)
        return vmig_fail(error, VMIG_ERROR_UNRESOLVED, NULL, "%s", why->message);
    g_resolver_free_addresses(addresses);
    return TRUE;
}

VmigEnv *vmig_env_open_here(const VmigEnvConfig *config, VmigWaker *waker, GError **error)
{
    g_autoptr(VmigEnv) env = g_new0(VmigEnv, 1);
    VmigHost *host = &env->host[config->here];
    VmigNodeConfig node = {
        .state_dir = config->config->state_dir,
        .run_dir = config->config->run_dir,
        .roots = (const char *const *)config->config->image_roots,
        .role = config->here,
        .tls_dir = config->config->tls_dir,
        .first_port = config->config->first_port,
        .last_port = config->config->last_port,
        .libvirt_uri = config->connect_uri,
    };

    env->clock = vmig_clock_new(waker);
    env->random = vmig_random_new();
    env->tool = vmig_machine_id();
    env->run_dir = g_build_filename(config->config->run_dir, config->job_id, NULL);
    env->copier = vmig_copier_new(config->bandwidth);
    env->asked = asked;
    env->resolves = resolves;
    env->stall_limit = (gint64)config->config->stall_limit * G_USEC_PER_SEC;
    vmig_copier_set_stall_limit(env->copier, env->stall_limit);
    vmig_copier_set_roots(env->copier, node.roots);
    host->hypervisor = vmig_libvirt_new(config->connect_uri, NULL, waker, error);
    if (host->hypervisor == NULL)
        return NULL;
    host->node = vmig_node_local_new(host->hypervisor->host, &node, error);
    return host->node != NULL ? g_steal_pointer(&env) : NULL;
}

VmigJournal *vmig_env_journal(VmigEnv *env, VmigRole here, GError **error)
{
    return vmig_node_local_journal(env->host[here].node, error);
}

/* The sockets that ssh forwards: for the memory, the mirrors, and each file. */
static GPtrArray *socket_names(guint copies, gboolean only_copies)
{
    GPtrArray *names = g_ptr_array_new_with_free_func(g_free);

    if (!only_copies) {
        g_ptr_array_add(names, g_strdup("ram.sock"));
        g_ptr_array_add(names, g_strdup("nbd.sock"));
    }
    for (guint i = 0; i < copies; i++)
        g_ptr_array_add(names, g_strdup_printf(VMIG_PRIVATE_SOCKET "%u.sock", i));
    g_ptr_array_add(names, NULL);
    return names;
}

static gboolean open_link(VmigEnv *env, const VmigEnvConfig *config, const VmigDestination *peer,
                          gboolean all_through_ssh, GError **error)
{
    g_autoptr(GPtrArray) names = socket_names(config->copies, FALSE);
    g_autoptr(VmigJob) job = vmig_job_only_id(config->job_id);
    VmigSshLinkOptions options = {
        .destination = peer,
        .run_dir = env->run_dir,
        .sockets = (const char *const *)names->pdata,
        .libvirt = all_through_ssh,
        .host = config->peer_name,
        .cancellable = config->cancellable,
        .ssh_command = config->config->ssh_command,
        .agent_command = config->config->agent_command,
    };

    if (!vmig_node_rundir(env->host[config->here].node, job, error))
        return FALSE;
    env->link = vmig_ssh_link_open(&options, error);
    env->link_free = (GDestroyNotify)vmig_ssh_link_close;
    return env->link != NULL;
}

/* What is needed to connect the other host again. */
typedef struct {
    VmigEnvConfig config; /* its strings are below; its VmigConfig outlives the environment */
    char *peer_uri, *peer_name, *job_id, *transport, *migrate_host;
    VmigWaker *waker;
} Recipe;

static void recipe_free(Recipe *recipe)
{
    g_free(recipe->peer_uri);
    g_free(recipe->peer_name);
    g_free(recipe->job_id);
    g_free(recipe->transport);
    g_free(recipe->migrate_host);
    vmig_waker_unref(recipe->waker);
    g_free(recipe);
}

static Recipe *recipe_new(const VmigEnvConfig *config, VmigWaker *waker)
{
    Recipe *recipe = g_new0(Recipe, 1);

    recipe->config = *config;
    recipe->config.peer_uri = recipe->peer_uri = g_strdup(config->peer_uri);
    recipe->config.peer_name = recipe->peer_name = g_strdup(config->peer_name);
    recipe->config.job_id = recipe->job_id = g_strdup(config->job_id);
    recipe->config.transport = recipe->transport = g_strdup(config->transport);
    recipe->config.migrate_host = recipe->migrate_host = g_strdup(config->migrate_host);
    recipe->config.connect_uri = NULL; /* needed only for this host */
    recipe->config.cancellable = NULL;
    recipe->waker = vmig_waker_ref(waker);
    return recipe;
}

static void forget_copy_transport(VmigEnv *env)
{
    g_clear_pointer(&env->copy_transport, g_free);
    g_clear_pointer(&env->copy_uri_head, g_free);
    g_clear_pointer(&env->copy_uri_tail, g_free);
    g_clear_pointer(&env->copy_tls_dir, g_free);
}

/* libnbd verifies that the server's certificate is signed by the CA in this folder and has the host's name. */
static void set_copy_transport(VmigEnv *env, const char *transport, const char *host, const char *tls_dir)
{
    gboolean tls = g_str_equal(transport, "tls");
    gboolean six = strchr(host, ':') != NULL;
    g_autofree char *dir = g_uri_escape_string(tls_dir, "/", FALSE);

    forget_copy_transport(env);
    env->copy_transport = g_strdup(transport);
    env->copy_uri_head = g_strdup_printf("%s://%s%s%s:", tls ? "nbds" : "nbd", six ? "[" : "", host, six ? "]" : "");
    env->copy_uri_tail = tls ? g_strconcat("?tls-certificates=", dir, NULL) : g_strdup("");
    env->copy_tls_dir = tls ? g_strdup(tls_dir) : NULL;
}

/* The destination chooses the port; the mirrors go to the same host (qemuMigrationSrcNBDStorageCopy). */
static char *migrate_uri(const char *host)
{
    gboolean six = host != NULL && strchr(host, ':') != NULL;

    return host != NULL ? g_strdup_printf("tcp://%s%s%s", six ? "[" : "", host, six ? "]" : "") : NULL;
}

/* ssh reports only "open failed". The agent has reached libvirt, so that only the forwarding can have failed. */
static gboolean fail_libvirt(VmigNode *node, gboolean through_ssh, const GError *why, GError **error)
{
    if (through_ssh && why->code == VMIG_ERROR_UNREACHABLE)
        return vmig_fail(
            error, VMIG_ERROR_NO_FORWARDING,
            "Allow it in sshd_config on that host (AllowStreamLocalForwarding yes, DisableForwarding no), and for the "
            "key, if authorized_keys restricts it.",
            "%s: libvirt answers, but cannot be reached through ssh: sshd does not forward unix sockets (%s)",
            node->host, why->message);
    if (error != NULL)
        *error = g_error_copy(why);
    return FALSE;
}

static gboolean connect_peer(VmigEnv *env, const VmigEnvConfig *config, VmigWaker *waker, GError **error)
{
    g_autoptr(VmigDestination) peer = vmig_destination_parse(config->peer_uri, error);
    VmigHost *host = &env->host[vmig_role_other(config->here)];

    if (peer == NULL)
        return FALSE;
    const char *transport = config->transport != NULL ? config->transport : peer->scheme;
    gboolean all_through_ssh = g_strcmp0(transport, "ssh") == 0;
    if (!open_link(env, config, peer, all_through_ssh, error))
        return FALSE;
    if (all_through_ssh) {
        g_autofree char *libvirt = vmig_env_socket(env, VMIG_LIBVIRT_SOCKET);
        g_autofree char *ram = vmig_env_socket(env, "ram.sock");
        g_autofree char *nbd = vmig_env_socket(env, "nbd.sock");
        env->peer_uri = g_strdup_printf(LOCAL_URI_FORMAT, libvirt);
        env->migrate_uri = g_strconcat("unix://", ram, NULL);
        env->disks_uri = g_strconcat("unix://", nbd, NULL);
    } else {
        env->peer_uri = g_strdup(config->peer_uri);
        env->migrate_uri = migrate_uri(config->migrate_host);
    }
    if (!all_through_ssh && config->here == VMIG_SOURCE)
        set_copy_transport(env, transport, peer->host, config->config->tls_dir);
    g_autoptr(GError) why = NULL;
    host->node = vmig_ssh_link_node(env->link);
    if (all_through_ssh && !vmig_node_libvirt_relay(host->node, config->job_id, peer->socket, peer->mode, error))
        return FALSE;
    host->hypervisor = vmig_libvirt_new(env->peer_uri, NULL, waker, &why);
    return host->hypervisor != NULL || fail_libvirt(host->node, all_through_ssh, why, error);
}

/* ssh encrypts a connection in a single thread, which is the slowest part of a copy. More connections than CPUs are
 * useless, and the sender, the receiver and the guests need CPUs, too. */
static guint useful_links(const VmigNodeFacts *there)
{
    return (guint)CLAMP(MIN(there->cpus, g_get_num_processors()) / 2, 1, MOST_LINKS);
}

static gboolean links_live(const VmigEnv *env)
{
    for (guint i = 0; env->links != NULL && i < env->links->len; i++)
        if (!vmig_ssh_link_alive(env->links->pdata[i]))
            return FALSE;
    return env->links != NULL;
}

/* Called for each attempt: if any connection broke, all are opened again. */
static void widen(VmigEnv *env)
{
    const Recipe *recipe = env->recipe;
    const VmigEnvConfig *config = &recipe->config;
    VmigHost *peer = &env->host[vmig_role_other(config->here)];
    g_autoptr(VmigDestination) to = vmig_destination_parse(config->peer_uri, NULL);
    g_autoptr(GPtrArray) names = socket_names(config->copies, TRUE);

    if (env->copy_transport != NULL || to == NULL || peer->node == NULL || config->here == VMIG_DEST || links_live(env))
        return;
    g_clear_pointer(&env->links, g_ptr_array_unref);
    env->copy_links = 0;
    g_autoptr(VmigNodeFacts) there = vmig_node_hello(peer->node, NULL);
    if (there == NULL)
        return;
    env->links = g_ptr_array_new_with_free_func((GDestroyNotify)vmig_ssh_link_close);
    while (env->copy_links < useful_links(there)) {
        g_autofree char *suffix = vmig_env_copy_suffix(env->copy_links);
        VmigSshLinkOptions options = {
            .destination = to,
            .run_dir = env->run_dir,
            .sockets = (const char *const *)names->pdata,
            .suffix = suffix,
            .only_forwards = TRUE,
            .ciphers = vmig_cipher_preferred(there->aes && vmig_cipher_has_aes()),
            .host = config->peer_name,
            .ssh_command = config->config->ssh_command,
        };
        VmigSshLink *link = vmig_ssh_link_open(&options, NULL);
        if (link == NULL)
            return;
        g_ptr_array_add(env->links, link);
        env->copy_links++;
    }
}

static void disconnect_peer(VmigEnv *env, VmigRole here)
{
    VmigHost *host = &env->host[vmig_role_other(here)];

    /* On a dead connection nothing ends by itself, and closing what uses it would wait for that. */
    if (env->link != NULL && host->node != NULL && !vmig_agent_client_alive(host->node))
        vmig_ssh_link_kill(env->link);
    g_clear_pointer(&host->hypervisor, vmig_hypervisor_free);
    g_clear_pointer(&host->node, vmig_node_free);
    g_clear_pointer(&env->peer_uri, g_free);
    g_clear_pointer(&env->migrate_uri, g_free);
    g_clear_pointer(&env->disks_uri, g_free);
    g_clear_pointer(&env->links, g_ptr_array_unref);
    env->copy_links = 0;
    forget_copy_transport(env);
    if (env->link != NULL)
        vmig_ssh_link_close(env->link);
    env->link = NULL;
}

/* A live link is left alone: libvirt's own connections are reopened by their users. */
static gboolean reconnect(VmigEnv *env, GError **error)
{
    Recipe *recipe = env->recipe;
    VmigHost *host = &env->host[vmig_role_other(recipe->config.here)];

    if (env->link != NULL && vmig_ssh_link_alive(env->link) && host->node != NULL &&
        vmig_agent_client_alive(host->node))
        return TRUE;
    disconnect_peer(env, recipe->config.here);
    if (connect_peer(env, &recipe->config, recipe->waker, error))
        return TRUE;
    disconnect_peer(env, recipe->config.here);
    return FALSE;
}

gboolean vmig_env_open_peer(VmigEnv *env, const VmigEnvConfig *config, VmigWaker *waker, GError **error)
{
    env->recipe = recipe_new(config, waker);
    env->recipe_free = (GDestroyNotify)recipe_free;
    env->reconnect = reconnect;
    env->widen = widen;
    if (connect_peer(env, config, waker, error))
        return TRUE;
    disconnect_peer(env, config->here);
    return FALSE;
}
