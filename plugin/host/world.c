/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is common to every world. */
#include "host/world.h"

void vmig_world_free(VmigWorld *world)
{
    if (world->mover != NULL)
        world->mover->ops->free(world->mover);
    g_clear_pointer(&world->source.hypervisor, vmig_hypervisor_free);
    g_clear_pointer(&world->dest.hypervisor, vmig_hypervisor_free);
    g_clear_pointer(&world->dest.storage, vmig_storage_free);
    g_clear_pointer(&world->source.storage, vmig_storage_free);
    g_clear_pointer(&world->links, g_ptr_array_unref);
    if (world->link_free != NULL)
        world->link_free(world->link);
    if (world->recipe_free != NULL)
        world->recipe_free(world->recipe);
    if (world->clock != NULL)
        world->clock->ops->free(world->clock);
    if (world->random != NULL)
        world->random->ops->free(world->random);
    g_free(world->tool);
    g_free(world->run_dir);
    g_free(world->seed_transport);
    g_free(world->seed_uri_head);
    g_free(world->seed_uri_tail);
    g_free(world->seed_tls_dir);
    g_free(world->peer_uri);
    g_free(world->migrate_uri);
    g_free(world->disks_uri);
    g_free(world);
}

char *vmig_world_socket(const VmigWorld *world, const char *name)
{
    return g_build_filename(world->run_dir, name, NULL);
}

char *vmig_world_seed_suffix(guint link)
{
    return g_strdup_printf(".%u", link);
}

char **vmig_world_seed_sockets(const VmigWorld *world, guint index)
{
    g_autofree char *name = g_strdup_printf("seed-%u.sock", index);
    char **sockets = g_new0(char *, world->seed_links + 2);

    sockets[0] = vmig_world_socket(world, name);
    for (guint i = 0; i < world->seed_links; i++) {
        g_autofree char *suffix = vmig_world_seed_suffix(i);
        sockets[i + 1] = g_strconcat(sockets[0], suffix, NULL);
    }
    return sockets;
}

char **vmig_world_seed_uris(const VmigWorld *world, guint port, const char *export)
{
    char **uris = g_new0(char *, 2);

    uris[0] = g_strdup_printf("%s%u/%s%s", world->seed_uri_head, port, export, world->seed_uri_tail);
    return uris;
}
