/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* doctor: facts, rules, repairs. */
#include "doctor/doctor-private.h"

#include "core/names.h"

void vmig_finding_free(VmigFinding *finding)
{
    g_free(finding->message);
    g_free(finding->repair);
    g_free(finding->job);
    g_free(finding->path);
    g_free(finding->uuid);
    g_free(finding->target);
    g_free(finding->value);
    g_free(finding);
}

VmigFinding *vmig_finding_add(GPtrArray *findings, const char *code, VmigSeverity severity, const char *format, ...)
{
    VmigFinding *finding = g_new0(VmigFinding, 1);
    va_list args;

    finding->code = code;
    finding->severity = severity;
    va_start(args, format);
    finding->message = g_strdup_vprintf(format, args);
    va_end(args);
    g_ptr_array_add(findings, finding);
    return finding;
}

void vmig_finding_repair(VmigFinding *finding, const char *format, ...)
{
    va_list args;

    g_free(finding->repair);
    va_start(args, format);
    finding->repair = g_strdup_vprintf(format, args);
    va_end(args);
}

const char *vmig_severity_name(VmigSeverity severity)
{
    static const char *const names[] = {"ok", "note", "problem"};

    return names[severity];
}

guint vmig_doctor_count_problems(GPtrArray *findings)
{
    guint n = 0;

    for (guint i = 0; i < findings->len; i++) {
        const VmigFinding *finding = findings->pdata[i];
        n += finding->severity == VMIG_SEVERITY_PROBLEM && !finding->fixed ? 1 : 0;
    }
    return n;
}

static void repair_all(const VmigDoctorFacts *facts, const VmigDoctorRequest *request, const VmigConfig *config,
                       GPtrArray *findings)
{
    for (guint i = 0; i < findings->len; i++) {
        VmigFinding *finding = findings->pdata[i];
        g_autoptr(GError) why = NULL;
        if (finding->fix == VMIG_FIX_NONE)
            continue;
        finding->fixed = vmig_doctor_repair(facts, request, config, finding, &why);
        if (finding->fixed)
            continue;
        g_autofree char *shown = vmig_text_escape(why->message, -1);
        vmig_finding_repair(finding, "The repair failed: %s", shown);
    }
}

static gboolean is_known(const VmigDoctorFacts *facts)
{
    /* Without one of the two this is unknown. */
    gboolean known = facts->only == NULL || facts->domains == NULL || facts->jobs == NULL;

    for (guint i = 0; !known && i < facts->domains->len; i++)
        known = vmig_doctor_wants_domain(facts, facts->domains->pdata[i]);
    for (guint i = 0; !known && i < facts->jobs->len; i++)
        known = vmig_doctor_wants_job(facts, ((const VmigDoctorJob *)facts->jobs->pdata[i])->job);
    return known;
}

GPtrArray *vmig_doctor_run(const VmigDoctorRequest *request, GError **error)
{
    g_autoptr(VmigDoctorFacts) facts = vmig_doctor_facts_new();
    g_autoptr(VmigConfig) config = vmig_config_load(request->config_path, &facts->config_error);
    g_autoptr(GPtrArray) findings = g_ptr_array_new_with_free_func((GDestroyNotify)vmig_finding_free);

    vmig_doctor_look(facts, request, config);
    if (!is_known(facts)) {
        g_autofree char *shown = vmig_text_escape(request->domain, -1);
        vmig_fail(error, VMIG_ERROR_NO_DOMAIN, NULL, "neither libvirt nor the journal of this host has a domain '%s'",
                  shown);
        return NULL;
    }
    vmig_doctor_setup_rules(facts, findings);
    vmig_doctor_job_rules(facts, findings);
    vmig_doctor_leftover_rules(facts, findings);
    vmig_doctor_rehearsal_rules(facts, findings);
    if (request->fix && config != NULL)
        repair_all(facts, request, config, findings);
    return g_steal_pointer(&findings);
}
