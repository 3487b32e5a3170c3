/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The main functions of the agent and the guard, and the command's other private calls. */
#include "api/private.h"

#include <string.h>

#include "core/names.h"
#include "core/path-map.h"
#include "guard/guard.h"
#include "node/agent.h"
#include "node/node-local.h"
#include "os/config.h"
#include "os/fault.h"

/* Never freed: a request that could not be cancelled may still use it. */
static VmigNode *open_node(GError **error)
{
    g_autoptr(VmigConfig) config = vmig_config_load(NULL, error);

    if (config == NULL)
        return NULL;
    const VmigNodeConfig node = {
        .state_dir = config->state_dir,
        .run_dir = config->run_dir,
        .roots = (const char *const *)config->image_roots,
        .role = VMIG_ROLE_DESTINATION,
        .serves_peer = TRUE,
        .tls_dir = config->tls_dir,
        .first_port = config->first_port,
        .last_port = config->last_port,
    };
    return vmig_node_local_new(g_get_host_name(), &node, error);
}

gboolean vmig_private_serve_agent(int in_fd, int out_fd, GError **error)
{
    g_autoptr(GError) why = NULL;
    VmigNode *local = open_node(&why);

    if (local != NULL)
        return vmig_agent_serve(in_fd, out_fd, local, error);
    vmig_agent_refuse(out_fd, why);
    g_propagate_error(error, g_steal_pointer(&why));
    return FALSE;
}

int vmig_private_run_guard(const char *socket)
{
    return vmig_guard_main(socket);
}

char *vmig_private_log_folder(void)
{
    g_autoptr(VmigConfig) config = vmig_config_load(NULL, NULL);

    return config != NULL ? g_build_filename(config->state_dir, "log", NULL) : NULL;
}

const char *const *vmig_private_fault_points(void)
{
    return vmig_fault_compiled_in() ? vmig_fault_points() : NULL;
}

gboolean vmig_private_check_connect(const char *uri, GError **error)
{
    static const char *const known[] = {"qemu:///system", "qemu+unix:///system"};

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
