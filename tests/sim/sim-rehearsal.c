/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A rehearsal's twin on a simulated host: its record, and what libvirt refuses about it. */
#include "sim.h"

#include <string.h>

#include "definition/rehearsal.h"

gboolean sim_twin_start(SimHost *host, const char *xml, GError **error)
{
    g_autofree char *id = vmig_rehearsal_id(xml);

    if (host->rehearsal == NULL || g_strcmp0(id, host->rehearsal) != 0)
        sim_violate(host->sim, "%s: a twin is started that no record leads to", host->name);
    if (host->rehearsed != NULL)
        return sim_hv_refuse(error, "%s: the twin is there already", host->name);
    host->rehearsed = g_strdup(xml);
    return TRUE;
}

gboolean sim_twin_is(const SimHost *host, const char *uuid)
{
    return strcmp(uuid, host->sim->uuid) != 0;
}

static gboolean need_twin(SimHost *host, GError **error)
{
    return host->rehearsed != NULL || vmig_fail(error, VMIG_ERROR_NO_DOMAIN, NULL, "%s: Domain not found", host->name);
}

gboolean sim_twin_xml(SimHost *host, char **ret, GError **error)
{
    if (!need_twin(host, error))
        return FALSE;
    *ret = g_strdup(host->rehearsed);
    return TRUE;
}

gboolean sim_twin_find(SimHost *host, const char *uuid, VmigDomainInfo **ret)
{
    g_autofree char *id = host->rehearsed != NULL ? vmig_rehearsal_id(host->rehearsed) : NULL;
    g_autofree char *its = id != NULL ? vmig_rehearsal_uuid(id) : NULL;

    if (g_strcmp0(its, uuid) != 0)
        return FALSE;
    *ret = g_new0(VmigDomainInfo, 1);
    (*ret)->uuid = g_steal_pointer(&its);
    (*ret)->run = VMIG_RUN_PAUSED;
    return TRUE;
}

gboolean sim_twin_end(SimHost *host, GError **error)
{
    if (!need_twin(host, error))
        return FALSE;
    g_clear_pointer(&host->rehearsed, g_free);
    return TRUE;
}

/* Like libvirt: the XML must contain the domain for which it is defined. */
gboolean sim_twin_define(SimHost *host, const char *uuid, const char *xml, GError **error)
{
    g_autofree char *wanted = g_strdup_printf("<uuid>%s</uuid>", uuid);

    if (!need_twin(host, error))
        return FALSE;
    return strstr(xml, wanted) != NULL || sim_hv_refuse(error, "%s: the snapshot is of another domain", host->name);
}

/* One at a time: a simulated host has one guest. */
gboolean sim_do_rehearsal_begin(SimHost *host, const VmigRehearsalArgs *args, VmigRehearsal *reply,
                                GError **error G_GNUC_UNUSED)
{
    const char *dead[] = {host->rehearsal, NULL};
    guint length = g_strv_length((char **)args->paths);

    reply->dead = g_strdupv((char **)dead);
    reply->images = g_new0(char *, length + 1);
    g_free(host->rehearsal);
    host->rehearsal = g_strdup_printf("%016x", ++host->rehearsals);
    reply->id = g_strdup(host->rehearsal);
    for (guint i = 0; i < length && args->formats[i] != NULL; i++)
        reply->images[i] = vmig_rehearsal_image_path(args->paths[i], host->rehearsal, i, args->formats[i]);
    return TRUE;
}

gboolean sim_do_rehearsal_unlink(SimHost *host G_GNUC_UNUSED, const VmigRehearsalIdArgs *args G_GNUC_UNUSED,
                                 VmigNothing *reply G_GNUC_UNUSED, GError **error G_GNUC_UNUSED)
{
    return TRUE;
}

gboolean sim_do_rehearsal_end(SimHost *host, const VmigRehearsalIdArgs *args, VmigNothing *reply G_GNUC_UNUSED,
                              GError **error G_GNUC_UNUSED)
{
    if (g_strcmp0(args->id, host->rehearsal) != 0)
        return TRUE;
    if (host->rehearsed != NULL)
        sim_violate(host->sim, "%s: the record of a rehearsal goes before its twin", host->name);
    g_clear_pointer(&host->rehearsal, g_free);
    return TRUE;
}
