/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Rehearsals whose process was killed: a paused twin that no connection ends any more, and its empty images. */
#include "definition/rehearsal.h"
#include "doctor/doctor-private.h"
#include "plan/rehearsal.h"
#include "node/node-local.h"

void vmig_doctor_rehearsal_rules(const VmigDoctorFacts *facts, GPtrArray *findings)
{
    if (facts->config == NULL || facts->only != NULL)
        return;
    g_auto(GStrv) dead = vmig_rehearsals_dead(facts->config->state_dir);
    for (guint i = 0; dead[i] != NULL; i++) {
        g_autofree char *uuid = vmig_rehearsal_uuid(dead[i]);
        VmigFinding *f = vmig_finding_add(
            findings, "rehearsal", VMIG_SEVERITY_PROBLEM,
            "rehearsal %s was killed: its empty images and a paused twin of the guest (UUID %s) may be left", dead[i],
            uuid);
        f->fix = VMIG_FIX_REHEARSAL;
        f->job = g_strdup(dead[i]);
        vmig_finding_repair(f, "vmig-snap doctor --fix");
    }
}

/* Does what the next rehearsal on this host would do. */
gboolean vmig_doctor_fix_rehearsal(VmigHypervisor *hypervisor, VmigNode *node, const char *id, GError **error)
{
    VmigHost host = {hypervisor, node};

    if (hypervisor == NULL)
        return vmig_fail(error, VMIG_ERROR_UNREACHABLE, "Start libvirt, then run vmig-snap doctor --fix again.",
                         "libvirt does not answer, and may have the twin");
    return vmig_rehearsal_clear(&host, id, error);
}
