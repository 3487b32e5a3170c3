/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Functions common to all implementations of VmigEnv. */
#include "port/env.h"

void vmig_env_free(VmigEnv *env)
{
    if (env->copier != NULL)
        env->copier->ops->free(env->copier);
    g_clear_pointer(&env->source.hypervisor, vmig_hypervisor_free);
    g_clear_pointer(&env->dest.hypervisor, vmig_hypervisor_free);
    g_clear_pointer(&env->dest.node, vmig_node_free);
    g_clear_pointer(&env->source.node, vmig_node_free);
    g_clear_pointer(&env->links, g_ptr_array_unref);
    if (env->link_free != NULL)
        env->link_free(env->link);
    if (env->recipe_free != NULL)
        env->recipe_free(env->recipe);
    if (env->clock != NULL)
        env->clock->ops->free(env->clock);
    if (env->random != NULL)
        env->random->ops->free(env->random);
    g_free(env->tool);
    g_free(env->run_dir);
    g_free(env->copy_transport);
    g_free(env->copy_uri_head);
    g_free(env->copy_uri_tail);
    g_free(env->copy_tls_dir);
    g_free(env->peer_uri);
    g_free(env->migrate_uri);
    g_free(env->disks_uri);
    g_free(env);
}

char *vmig_env_socket(const VmigEnv *env, const char *name)
{
    return g_build_filename(env->run_dir, name, NULL);
}

char *vmig_env_copy_suffix(guint link)
{
    return g_strdup_printf(".%u", link);
}

char **vmig_env_copy_sockets(const VmigEnv *env, guint index)
{
    g_autofree char *name = g_strdup_printf("copy-%u.sock", index);
    char **sockets = g_new0(char *, env->copy_links + 2);

    sockets[0] = vmig_env_socket(env, name);
    for (guint i = 0; i < env->copy_links; i++) {
        g_autofree char *suffix = vmig_env_copy_suffix(i);
        sockets[i + 1] = g_strconcat(sockets[0], suffix, NULL);
    }
    return sockets;
}

char **vmig_env_copy_uris(const VmigEnv *env, guint port, const char *export)
{
    char **uris = g_new0(char *, 2);

    uris[0] = g_strdup_printf("%s%u/%s%s", env->copy_uri_head, port, export, env->copy_uri_tail);
    return uris;
}
