/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The main functions of the agent and the guard, and what else the command asks for. */
#include "vmig-snap/vmig-serve.h"

#include <pwd.h>
#include <string.h>
#include <unistd.h>

#include "core/names.h"
#include "core/path-map.h"
#include "guard/guard.h"
#include "node/agent.h"
#include "node/node-local.h"
#include "os/config.h"
#include "os/fault.h"

/* The user whose sshd forwards the sockets. Programs that give root to a user tell in the environment who it was
 * (sudo(8), doas(1), pkexec(1)); 0: nobody did, so it was root. */
static uid_t login_user(void)
{
    static const char *const names[] = {"SUDO_UID", "PKEXEC_UID"};
    const char *doas = g_getenv("DOAS_USER");
    const struct passwd *entry = geteuid() == 0 && doas != NULL ? getpwnam(doas) : NULL;
    guint64 uid = entry != NULL ? entry->pw_uid : 0;

    for (guint i = 0; geteuid() == 0 && uid == 0 && i < G_N_ELEMENTS(names); i++) {
        const char *value = g_getenv(names[i]);
        if (value != NULL && !g_ascii_string_to_unsigned(value, 10, 0, G_MAXUINT32 - 1, &uid, NULL))
            uid = 0;
    }
    return (uid_t)uid;
}

/* Never freed: a request that could not be cancelled may still use it. */
static VmigNode *open_node(GError **error)
{
    g_autoptr(VmigConfig) config = vmig_config_load(NULL, error);

    if (config == NULL)
        return NULL;
    if (!vmig_config_check_user(config, error)) {
        g_prefix_error(error, "the agent: ");
        vmig_error_set_hint(*error, VMIG_AGENT_ROOT_HINT);
        return NULL;
    }
    const VmigNodeConfig node = {
        .state_dir = config->state_dir,
        .run_dir = config->run_dir,
        .roots = (const char *const *)config->image_roots,
        .role = VMIG_DEST,
        .serves_peer = TRUE,
        .login = login_user(),
        .tls_dir = config->tls_dir,
        .first_port = config->first_port,
        .last_port = config->last_port,
    };
    return vmig_node_local_new(g_get_host_name(), &node, error);
}

/**
 * vmig_may_serve_agent: (skip)
 *
 * Returns: %FALSE if this process is not root and has no state directory of its own
 */
gboolean vmig_may_serve_agent(void)
{
    g_autoptr(VmigConfig) config = geteuid() != 0 ? vmig_config_load(NULL, NULL) : NULL;

    return config == NULL || vmig_config_check_user(config, NULL);
}

/**
 * vmig_serve_agent: (skip)
 * @in_fd: the requests of the other host
 * @out_fd: the replies
 * @error: return location for an error, which was also sent to the other host
 *
 * Serves this host to vmig-snap on the other host until that closes the connection. Threads may still run afterwards:
 * the caller must end the process with _exit().
 *
 * Returns: %TRUE if the other host closed the connection
 */
gboolean vmig_serve_agent(int in_fd, int out_fd, GError **error)
{
    g_autoptr(GError) why = NULL;
    VmigNode *local = open_node(&why);

    if (local != NULL)
        return vmig_agent_serve(in_fd, out_fd, local, error);
    vmig_agent_refuse(out_fd, why);
    g_propagate_error(error, g_steal_pointer(&why));
    return FALSE;
}

/**
 * vmig_serve_guard: (skip)
 * @socket: the absolute path of the socket over which the requests come
 * @code: (out): return location for the exit code of the process
 * @error: return location for an error, %VMIG_ERROR_BAD_PATH
 *
 * Holds the image locks of a job until it is told to release them.
 *
 * Returns: %FALSE if the path is invalid
 */
gboolean vmig_serve_guard(const char *socket, int *code, GError **error)
{
    g_return_val_if_fail(socket != NULL && code != NULL, FALSE);

    if (!vmig_path_check(socket, error))
        return FALSE;
    *code = vmig_guard_main(socket);
    return TRUE;
}

/**
 * vmig_get_log_path: (skip)
 * @job: the id of a job
 *
 * The file with the output of a migration that `vmig-snap migrate --detach` left in the background.
 *
 * Returns: (transfer full) (nullable): its path; %NULL if the id or the configuration is invalid
 */
char *vmig_get_log_path(const char *job)
{
    g_autoptr(VmigConfig) config = vmig_config_load(NULL, NULL);

    if (config == NULL || job == NULL || !vmig_job_id_is_valid(job))
        return NULL;
    g_autofree char *name = g_strconcat(job, ".log", NULL);
    return g_build_filename(config->state_dir, "log", name, NULL);
}

/**
 * vmig_get_fault_points: (skip)
 *
 * Returns: (transfer none) (nullable) (array zero-terminated=1): the points at which a test build can be made to fail;
 *   %NULL if the build has none
 */
const char *const *vmig_get_fault_points(void)
{
    return vmig_fault_compiled_in() ? vmig_fault_points() : NULL;
}

/**
 * vmig_check_connect_uri: (skip)
 * @uri: a libvirt URI
 * @error: return location for an error, %VMIG_ERROR_BAD_URI
 *
 * Whether a session accepts the URI: qemu:///system or qemu+unix:///system of this host, with ?socket=/PATH.
 *
 * Returns: %TRUE if it does
 */
gboolean vmig_check_connect_uri(const char *uri, GError **error)
{
    static const char *const known[] = {"qemu:///system", "qemu+unix:///system"};

    g_return_val_if_fail(uri != NULL, FALSE);
    for (guint i = 0; i < G_N_ELEMENTS(known); i++) {
        const char *rest = g_str_has_prefix(uri, known[i]) ? uri + strlen(known[i]) : NULL;
        if (rest != NULL && *rest == '\0')
            return TRUE;
        if (rest != NULL && g_str_has_prefix(rest, "?socket=") && strpbrk(rest, "&#%") == NULL &&
            vmig_path_check(rest + strlen("?socket="), NULL))
            return TRUE;
    }
    g_autofree char *shown = vmig_text_escape(uri, (gssize)MIN(strlen(uri), 200));
    return vmig_fail(error, VMIG_ERROR_BAD_URI, "Run vmig-snap on the source host and use its libvirt, qemu:///system.",
                     "'%s' is not the system libvirt of this host", shown);
}
