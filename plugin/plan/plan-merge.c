/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Chooses the merge of a migration, and says why. docs/architecture.md explains what merge "mirror" relies on.
 * tests/block/mirror.py tries that with QEMU alone, for every kind of image that the plan accepts. */
#include "plan/plan.h"

/* The oldest tested versions. Older ones are believed to mirror in the same way, but that is not proven. What cannot be
 * asked is how their mirror behaves, so this is a statement about the tests and not about a capability; --merge commit
 * works with any version. */
#define LEAST_LIBVIRT 9000000ull
#define LEAST_QEMU 7002000ull

static char *version(guint64 number)
{
    return g_strdup_printf("%" G_GUINT64_FORMAT ".%" G_GUINT64_FORMAT, number / 1000000, number / 1000 % 1000);
}

static char *too_old(const VmigHypervisorInfo *info, const char *where)
{
    if (info == NULL || (info->libvirt_version >= LEAST_LIBVIRT && info->qemu_version >= LEAST_QEMU))
        return NULL;
    g_autofree char *libvirt = version(info->libvirt_version);
    g_autofree char *qemu = version(info->qemu_version);
    return g_strdup_printf("it needs libvirt 9.0 and QEMU 7.2 on both hosts, but %s has libvirt %s and QEMU %s", where,
                           libvirt, qemu);
}

/* The unmet condition of merge "mirror", or NULL. The other conditions are guaranteed by the job's steps, or are
 * refused with either merge. */
static char *what_is_missing(const VmigSurvey *s)
{
    char *old = too_old(s->source_info, "the source");

    return old != NULL ? old : too_old(s->dest_info, "the destination");
}

char *vmig_plan_choose_merge(VmigPlan *plan)
{
    const char *asked = plan->survey->request->options->merge;
    g_autofree char *missing = what_is_missing(plan->survey);
    gboolean direct = g_strcmp0(asked, "mirror") == 0;

    if (g_strcmp0(asked, "auto") != 0) {
        plan->merge = direct ? "mirror" : "commit";
        plan->merge_why = g_strdup(direct ? "requested" : "it is the default");
        return direct ? g_steal_pointer(&missing) : NULL;
    }
    plan->merge = missing == NULL ? "mirror" : "commit";
    plan->merge_why =
        missing == NULL
            ? g_strdup(
                  "the conditions of the merge 'mirror' are met, and it leaves nothing to commit on the destination")
            : g_strdup_printf("the merge 'mirror' is not possible: %s", missing);
    return NULL;
}
