/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Putting the real world of one job together. */
#include "host/world-real.h"

#include <string.h>

#include <gio/gio.h>

#include <glib/gstdio.h>

#include "host/agent-client.h"
#include "host/cipher.h"
#include "host/flag-file.h"
#include "host/host-setup.h"
#include "host/clock.h"
#include "host/libvirt.h"
#include "host/mover.h"
#include "host/ssh-link.h"
#include "host/storage-local.h"

#define LOCAL_URI_FORMAT "qemu+unix:///system?socket=%s"
#define MOST_LINKS 4 /* further ssh connections for the copies */

static VmigHost *here(VmigWorld *world, gboolean here_is_dest)
{
    return here_is_dest ? &world->dest : &world->source;
}

static gboolean asked(VmigWorld *world)
{
    return vmig_flag_clear(world->run_dir, VMIG_FLAG_TRY_NOW);
}

static gboolean resolves(VmigWorld *world G_GNUC_UNUSED, const char *name, GError **error)
{
    g_autoptr(GResolver) resolver = g_resolver_get_default();
    g_autoptr(GError) why = NULL;
    GList *addresses = g_resolver_lookup_by_name(resolver, name, NULL, &why);

    if (addresses == NULL)
        return vmig_fail(error, VMIG_ERROR_UNRESOLVED, NULL, "%s", why->message);
    g_resolver_free_addresses(addresses);
    return TRUE;
}

VmigWorld *vmig_world_open_here(const VmigWorldConfig *config, VmigWaker *waker, GError **error)
{
    g_autoptr(VmigWorld) world = g_new0(VmigWorld, 1);
    VmigHost *host = here(world, config->here_is_dest);
    VmigStorageConfig storage = {
        .state_dir = config->config->state_dir,
        .run_dir = config->config->run_dir,
        .roots = (const char *const *)config->config->image_roots,
        .role = config->here_is_dest ? VMIG_ROLE_DESTINATION : VMIG_ROLE_SOURCE,
        .tls_dir = config->config->tls_dir,
        .first_port = config->config->first_port,
        .last_port = config->config->last_port,
        .libvirt_uri = config->connect_uri,
    };

    world->clock = vmig_clock_new(waker);
    world->random = vmig_random_new();
    world->tool = vmig_machine_id();
    world->run_dir = g_build_filename(config->config->run_dir, config->job_id, NULL);
    world->mover = vmig_mover_new(config->bandwidth);
    world->asked = asked;
    world->resolves = resolves;
    world->stall_limit = (gint64)config->config->stall_limit * G_USEC_PER_SEC;
    vmig_mover_set_stall_limit(world->mover, world->stall_limit);
    vmig_mover_set_roots(world->mover, storage.roots);
    host->hypervisor = vmig_libvirt_new(config->connect_uri, NULL, waker, error);
    if (host->hypervisor == NULL)
        return NULL;
    host->storage = vmig_storage_local_new(host->hypervisor->host, &storage, error);
    return host->storage != NULL ? g_steal_pointer(&world) : NULL;
}

VmigJournal *vmig_world_journal(VmigWorld *world, gboolean here_is_dest, GError **error)
{
    return vmig_storage_local_journal(here(world, here_is_dest)->storage, error);
}

/* The sockets that ssh forwards: the memory, the mirrors, and one for each file. */
static GPtrArray *socket_names(guint seeds, gboolean only_seeds)
{
    GPtrArray *names = g_ptr_array_new_with_free_func(g_free);

    if (!only_seeds) {
        g_ptr_array_add(names, g_strdup("ram.sock"));
        g_ptr_array_add(names, g_strdup("nbd.sock"));
    }
    for (guint i = 0; i < seeds; i++)
        g_ptr_array_add(names, g_strdup_printf(VMIG_PRIVATE_SOCKET "%u.sock", i));
    g_ptr_array_add(names, NULL);
    return names;
}

static gboolean open_link(VmigWorld *world, const VmigWorldConfig *config, const VmigDestination *peer,
                          gboolean all_through_ssh, GError **error)
{
    g_autoptr(GPtrArray) names = socket_names(config->seeds, FALSE);
    g_autoptr(VmigJob) job = vmig_job_new();
    VmigSshLinkOptions options = {
        .destination = peer,
        .run_dir = world->run_dir,
        .sockets = (const char *const *)names->pdata,
        .remote_libvirt_socket = all_through_ssh ? VMIG_REMOTE_LIBVIRT_SOCKET : NULL,
        .host = config->peer_name,
        .ssh_command = config->config->ssh_command,
        .agent_command = config->config->agent_command,
    };

    job->id = g_strdup(config->job_id);
    if (!vmig_storage_rundir(here(world, config->here_is_dest)->storage, job, error))
        return FALSE;
    world->link = vmig_ssh_link_open(&options, error);
    world->link_free = (GDestroyNotify)vmig_ssh_link_close;
    return world->link != NULL;
}

/* What it takes to connect the other host once more. */
typedef struct {
    VmigWorldConfig config; /* its strings are below; its VmigConfig outlives the world */
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

static Recipe *recipe_new(const VmigWorldConfig *config, VmigWaker *waker)
{
    Recipe *recipe = g_new0(Recipe, 1);

    recipe->config = *config;
    recipe->config.peer_uri = recipe->peer_uri = g_strdup(config->peer_uri);
    recipe->config.peer_name = recipe->peer_name = g_strdup(config->peer_name);
    recipe->config.job_id = recipe->job_id = g_strdup(config->job_id);
    recipe->config.transport = recipe->transport = g_strdup(config->transport);
    recipe->config.migrate_host = recipe->migrate_host = g_strdup(config->migrate_host);
    recipe->config.connect_uri = NULL; /* only this host's needs it */
    recipe->waker = vmig_waker_ref(waker);
    return recipe;
}

static void forget_seed_transport(VmigWorld *world)
{
    g_clear_pointer(&world->seed_transport, g_free);
    g_clear_pointer(&world->seed_uri_head, g_free);
    g_clear_pointer(&world->seed_uri_tail, g_free);
    g_clear_pointer(&world->seed_tls_dir, g_free);
}

/* libnbd verifies that the server's certificate is of the CA in that folder and has the host's name. */
static void set_seed_transport(VmigWorld *world, const char *transport, const char *host, const char *tls_dir)
{
    gboolean tls = g_str_equal(transport, "tls");
    gboolean six = strchr(host, ':') != NULL;
    g_autofree char *dir = g_uri_escape_string(tls_dir, "/", FALSE);

    forget_seed_transport(world);
    world->seed_transport = g_strdup(transport);
    world->seed_uri_head = g_strdup_printf("%s://%s%s%s:", tls ? "nbds" : "nbd", six ? "[" : "", host, six ? "]" : "");
    world->seed_uri_tail = tls ? g_strconcat("?tls-certificates=", dir, NULL) : g_strdup("");
    world->seed_tls_dir = tls ? g_strdup(tls_dir) : NULL;
}

/* The port is the destination's choice; the mirrors go to the same host (qemuMigrationSrcNBDStorageCopy). */
static char *migrate_uri(const char *host)
{
    gboolean six = host != NULL && strchr(host, ':') != NULL;

    return host != NULL ? g_strdup_printf("tcp://%s%s%s", six ? "[" : "", host, six ? "]" : "") : NULL;
}

/* ssh says "open failed" for everything: the agent knows what is at the other end. */
static gboolean fail_libvirt(VmigStorage *storage, gboolean through_ssh, const GError *why, GError **error)
{
    g_autofree char *state = through_ssh ? vmig_storage_libvirt_socket(storage, NULL) : NULL;

    if (g_strcmp0(state, "elsewhere") == 0)
        return vmig_fail(error, VMIG_ERROR_LIBVIRT_SOCKET,
                         "Start the modular daemons' proxy there: systemctl enable --now virtproxyd.socket.",
                         "%s: libvirt listens on virtqemud's own socket only, not on " VMIG_REMOTE_LIBVIRT_SOCKET,
                         storage->host);
    if (g_strcmp0(state, "answers") == 0)
        return vmig_fail(
            error, VMIG_ERROR_NO_FORWARDING,
            "Allow it in sshd_config there (AllowStreamLocalForwarding yes, DisableForwarding no), and for "
            "the key, if it is restricted in authorized_keys.",
            "%s: libvirt answers there, but not through ssh: sshd does not forward unix sockets (%s)", storage->host,
            why->message);
    if (error != NULL)
        *error = g_error_copy(why);
    return FALSE;
}

static gboolean connect_peer(VmigWorld *world, const VmigWorldConfig *config, VmigWaker *waker, GError **error)
{
    g_autoptr(VmigDestination) peer = vmig_destination_parse(config->peer_uri, error);
    VmigHost *host = here(world, !config->here_is_dest);

    if (peer == NULL)
        return FALSE;
    const char *transport = config->transport != NULL ? config->transport : peer->scheme;
    gboolean all_through_ssh = g_strcmp0(transport, "ssh") == 0;
    if (!open_link(world, config, peer, all_through_ssh, error))
        return FALSE;
    if (all_through_ssh) {
        g_autofree char *libvirt = vmig_world_socket(world, VMIG_LIBVIRT_SOCKET);
        g_autofree char *ram = vmig_world_socket(world, "ram.sock");
        g_autofree char *nbd = vmig_world_socket(world, "nbd.sock");
        world->peer_uri = g_strdup_printf(LOCAL_URI_FORMAT, libvirt);
        world->migrate_uri = g_strconcat("unix://", ram, NULL);
        world->disks_uri = g_strconcat("unix://", nbd, NULL);
    } else {
        world->peer_uri = g_strdup(config->peer_uri);
        world->migrate_uri = migrate_uri(config->migrate_host);
    }
    if (!all_through_ssh && !config->here_is_dest)
        set_seed_transport(world, transport, peer->host, config->config->tls_dir);
    g_autoptr(GError) why = NULL;
    host->storage = vmig_ssh_link_storage(world->link);
    host->hypervisor = vmig_libvirt_new(world->peer_uri, NULL, waker, &why);
    return host->hypervisor != NULL || fail_libvirt(host->storage, all_through_ssh, why, error);
}

/* ssh encrypts a connection in one thread: it is the slowest part of a copy. More of them than processors are of no
 * use, and the sender, the receiver and the guests want some too. */
static guint useful_links(const VmigStorageFacts *there)
{
    return (guint)CLAMP(MIN(there->cpus, g_get_num_processors()) / 2, 1, MOST_LINKS);
}

static gboolean links_live(const VmigWorld *world)
{
    for (guint i = 0; world->links != NULL && i < world->links->len; i++)
        if (!vmig_ssh_link_alive(world->links->pdata[i]))
            return FALSE;
    return world->links != NULL;
}

/* Again at each try: those that broke are made anew, all of them. */
static void widen(VmigWorld *world)
{
    const Recipe *recipe = world->recipe;
    const VmigWorldConfig *config = &recipe->config;
    VmigHost *peer = here(world, !config->here_is_dest);
    g_autoptr(VmigDestination) to = vmig_destination_parse(config->peer_uri, NULL);
    g_autoptr(GPtrArray) names = socket_names(config->seeds, TRUE);

    if (world->seed_transport != NULL || to == NULL || peer->storage == NULL || config->here_is_dest ||
        links_live(world))
        return;
    g_clear_pointer(&world->links, g_ptr_array_unref);
    world->seed_links = 0;
    g_autoptr(VmigStorageFacts) there = vmig_storage_hello(peer->storage, NULL);
    if (there == NULL)
        return;
    world->links = g_ptr_array_new_with_free_func((GDestroyNotify)vmig_ssh_link_close);
    while (world->seed_links < useful_links(there)) {
        g_autofree char *suffix = vmig_world_seed_suffix(world->seed_links);
        VmigSshLinkOptions options = {
            .destination = to,
            .run_dir = world->run_dir,
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
        g_ptr_array_add(world->links, link);
        world->seed_links++;
    }
}

static void disconnect_peer(VmigWorld *world, gboolean here_is_dest)
{
    VmigHost *host = here(world, !here_is_dest);

    /* Nothing of a connection that is dead ends by itself, and closing what goes over it would wait for that. */
    if (world->link != NULL && host->storage != NULL && !vmig_agent_client_alive(host->storage))
        vmig_ssh_link_kill(world->link);
    g_clear_pointer(&host->hypervisor, vmig_hypervisor_free);
    g_clear_pointer(&host->storage, vmig_storage_free);
    g_clear_pointer(&world->peer_uri, g_free);
    g_clear_pointer(&world->migrate_uri, g_free);
    g_clear_pointer(&world->disks_uri, g_free);
    g_clear_pointer(&world->links, g_ptr_array_unref);
    world->seed_links = 0;
    forget_seed_transport(world);
    if (world->link != NULL)
        vmig_ssh_link_close(world->link);
    world->link = NULL;
}

/* A link that lives is left alone: libvirt's own connections are made anew by whoever uses them. */
static gboolean reconnect(VmigWorld *world, GError **error)
{
    Recipe *recipe = world->recipe;
    VmigHost *host = here(world, !recipe->config.here_is_dest);

    if (world->link != NULL && vmig_ssh_link_alive(world->link) && host->storage != NULL &&
        vmig_agent_client_alive(host->storage))
        return TRUE;
    disconnect_peer(world, recipe->config.here_is_dest);
    if (connect_peer(world, &recipe->config, recipe->waker, error))
        return TRUE;
    disconnect_peer(world, recipe->config.here_is_dest);
    return FALSE;
}

gboolean vmig_world_open_peer(VmigWorld *world, const VmigWorldConfig *config, VmigWaker *waker, GError **error)
{
    world->recipe = recipe_new(config, waker);
    world->recipe_free = (GDestroyNotify)recipe_free;
    world->reconnect = reconnect;
    world->widen = widen;
    if (connect_peer(world, config, waker, error))
        return TRUE;
    disconnect_peer(world, config->here_is_dest);
    return FALSE;
}
