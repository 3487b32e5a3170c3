/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Snapshot metadata of a simulated libvirt. */
#include "sim.h"

#include <string.h>

#include "definition/snapshot-tree.h"

char *sim_snapshot_xml(Sim *sim, const char *name, const char *parent, const char *state, gint64 date,
                       const SimDef *def)
{
    g_autofree char *domain = sim_def_to_xml(sim, def, NULL);
    GString *xml = g_string_sized_new(2048);

    g_string_append_printf(xml, "<domainsnapshot>\n  <name>%s</name>\n  <state>%s</state>\n", name, state);
    if (parent != NULL)
        g_string_append_printf(xml, "  <parent><name>%s</name></parent>\n", parent);
    g_string_append_printf(
        xml, "  <creationTime>%" G_GINT64_FORMAT "</creationTime>\n  <memory snapshot='%s'/>\n  <disks>\n", date,
        strcmp(state, "running") == 0 ? "internal" : "no");
    for (guint i = 0; i < def->n; i++)
        g_string_append_printf(xml, "    <disk name='%s' snapshot='internal'/>\n", def->disks[i].target);
    g_string_append_printf(xml, "  </disks>\n  %s</domainsnapshot>\n", domain);
    return g_string_free(xml, FALSE);
}

static VmigSnapshot *copy_snapshot(const VmigSnapshot *from)
{
    VmigSnapshot *to = vmig_snapshot_new();

    to->name = g_strdup(from->name);
    to->parent = g_strdup(from->parent);
    to->state = g_strdup(from->state);
    vmig_snapshot_take_xml(to, g_strdup(from->xml));
    to->creation_time = from->creation_time;
    to->current = from->current;
    to->memory = from->memory;
    to->external = from->external;
    return to;
}

gboolean sim_hv_snapshots(VmigHypervisor *self, const char *uuid, GPtrArray **ret, GError **error)
{
    SimHost *host = sim_host_of(self);
    gboolean twin = sim_twin_is(host, uuid); /* the definitions that a twin accepted are not kept */
    SimCall call;

    if (!sim_libvirt_begin(host->sim, &call, host, "snapshots", error))
        return FALSE;
    gboolean ok =
        twin || host->domain.exists || vmig_fail(error, VMIG_ERROR_NO_DOMAIN, NULL, "%s: Domain not found", host->name);
    if (!sim_call_end(host->sim, &call, ok, error))
        return FALSE;
    GPtrArray *list = g_ptr_array_new_with_free_func((GDestroyNotify)vmig_snapshot_free);
    for (guint i = 0; !twin && i < host->domain.snapshots->len; i++)
        g_ptr_array_add(list, copy_snapshot(host->domain.snapshots->pdata[i]));
    *ret = list;
    return TRUE;
}

/* METADATA_ONLY: the children move to the parent, and the parent becomes current if this one was. */
void sim_snapshot_drop(SimHost *host, const char *name)
{
    SimDomain *d = &host->domain;
    VmigSnapshot *gone = sim_domain_snapshot(host, name);

    if (gone == NULL)
        return;
    for (guint i = 0; i < d->snapshots->len; i++) {
        VmigSnapshot *child = d->snapshots->pdata[i];
        if (g_strcmp0(child->parent, name) == 0) {
            g_free(child->parent);
            child->parent = g_strdup(gone->parent);
        }
    }
    VmigSnapshot *parent = gone->parent != NULL ? sim_domain_snapshot(host, gone->parent) : NULL;
    if (gone->current && parent != NULL)
        parent->current = TRUE;
    g_ptr_array_remove(d->snapshots, gone);
}

static gboolean forget(SimHost *host, const char *name, GError **error)
{
    if (sim_hv_modify(host, error) == NULL)
        return FALSE;
    sim_snapshot_drop(host, name);
    return TRUE;
}

gboolean sim_hv_snapshot_forget(VmigHypervisor *self, const char *uuid G_GNUC_UNUSED, const char *name, GError **error)
{
    SimHost *host = sim_host_of(self);
    SimCall call;

    if (!sim_libvirt_begin(host->sim, &call, host, "snapshot-forget", error))
        return FALSE;
    gboolean ok = forget(host, name, error);
    return sim_call_end(host->sim, &call, ok, error);
}

static gboolean define(SimHost *host, const char *xml, gboolean current, GError **error)
{
    SimDomain *d = sim_hv_modify(host, error);
    g_autoptr(VmigSnapshot) snapshot = d != NULL ? vmig_snapshot_from_xml(xml, error) : NULL;

    if (snapshot == NULL)
        return FALSE;
    if (snapshot->parent != NULL && sim_domain_snapshot(host, snapshot->parent) == NULL)
        return sim_hv_refuse(error, "%s: parent %s for moment %s not found", host->name, snapshot->parent,
                             snapshot->name);
    VmigSnapshot *old = sim_domain_snapshot(host, snapshot->name);
    gboolean was_current = old != NULL && old->current;
    for (guint i = 0; current && i < d->snapshots->len; i++)
        ((VmigSnapshot *)d->snapshots->pdata[i])->current = FALSE;
    snapshot->current = current || was_current;
    if (old != NULL)
        g_ptr_array_remove(d->snapshots, old);
    g_ptr_array_add(d->snapshots, g_steal_pointer(&snapshot));
    return TRUE;
}

gboolean sim_hv_snapshot_define(VmigHypervisor *self, const char *uuid, const char *xml, gboolean current,
                                GError **error)
{
    SimHost *host = sim_host_of(self);
    SimCall call;

    if (!sim_libvirt_begin(host->sim, &call, host, sim_twin_is(host, uuid) ? "twin-define" : "snapshot-define", error))
        return FALSE;
    gboolean ok = sim_twin_is(host, uuid) ? sim_twin_define(host, uuid, xml, error) : define(host, xml, current, error);
    if (ok)
        sim_meddle_defined(host);
    return sim_call_end(host->sim, &call, ok, error);
}
