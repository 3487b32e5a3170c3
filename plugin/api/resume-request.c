/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The request to continue a job. */
#include "api/hints.h"
#include "api/properties.h"
#include "api/requests.h"
#include "core/errors.h"

G_DEFINE_FINAL_TYPE(VmigResumeRequest, vmig_resume_request, G_TYPE_OBJECT)

#define MEMBER(name, kind, member)                                                                                     \
    {                                                                                                                  \
        name, kind, G_STRUCT_OFFSET(VmigResumeRequest, member), 0, NULL                                                \
    }

static const VmigMember members[] = {
    /**
     * VmigResumeRequest:job:
     *
     * Id of the job, or name or UUID of the guest that it holds.
     */
    MEMBER("job", VMIG_MEMBER_TEXT, job),
    /**
     * VmigResumeRequest:fenced-source:
     *
     * Name of the source host, if the operator vouches that it is off for good or cut off from its storage. The host
     * must not answer. What arrived on the destination then runs there. If the statement is false, two copies of the
     * guest run.
     */
    MEMBER("fenced-source", VMIG_MEMBER_TEXT, fenced_source),
    /**
     * VmigResumeRequest:without-verify:
     *
     * Whether a job whose verification found a difference ends without one. It keeps the source's images.
     */
    MEMBER("without-verify", VMIG_MEMBER_FLAG, without_verify),
    /**
     * VmigResumeRequest:set-aside:
     *
     * Whether a parked job is given up: the guest stays on its owner, on the disks that it has, and every file is kept.
     * %VMIG_ERROR_UNSUPPORTED if the job has another way out.
     */
    MEMBER("set-aside", VMIG_MEMBER_FLAG, set_aside),
};

static void vmig_resume_request_get_property(GObject *object, guint id, GValue *value, GParamSpec *spec G_GNUC_UNUSED)
{
    vmig_members_get(object, &members[id - 1], value);
}

static void vmig_resume_request_set_property(GObject *object, guint id, const GValue *value,
                                             GParamSpec *spec G_GNUC_UNUSED)
{
    vmig_members_set(object, &members[id - 1], value);
}

static void vmig_resume_request_finalize(GObject *object)
{
    vmig_members_clear(object, members, G_N_ELEMENTS(members));
    G_OBJECT_CLASS(vmig_resume_request_parent_class)->finalize(object);
}

static void vmig_resume_request_class_init(VmigResumeRequestClass *klass)
{
    GObjectClass *object_class = G_OBJECT_CLASS(klass);

    object_class->get_property = vmig_resume_request_get_property;
    object_class->set_property = vmig_resume_request_set_property;
    object_class->finalize = vmig_resume_request_finalize;
    vmig_members_install(object_class, members, G_N_ELEMENTS(members));
}

static void vmig_resume_request_init(VmigResumeRequest *self G_GNUC_UNUSED)
{
}

/**
 * vmig_resume_request_new:
 * @job: id of the job, or name or UUID of the guest that it holds
 *
 * Returns: (transfer full): a new request
 */
VmigResumeRequest *vmig_resume_request_new(const char *job)
{
    return g_object_new(VMIG_TYPE_RESUME_REQUEST, "job", job, NULL);
}

static gboolean check(VmigResumeRequest *request, GError **error)
{
    guint decisions =
        (request->fenced_source != NULL) + (request->without_verify ? 1u : 0u) + (request->set_aside ? 1u : 0u);

    if (request->job == NULL || *request->job == '\0')
        return vmig_fail(error, VMIG_ERROR_BAD_NAME, NULL, "job: the name is empty");
    if (decisions > 1)
        return vmig_fail(error, VMIG_ERROR_USAGE, "Leave one of them out.",
                         "fenced-source, without-verify and set-aside cannot be combined");
    return TRUE;
}

/**
 * vmig_resume_request_check:
 * @request: a request
 * @error: return location for an error
 *
 * Checks what can be checked without the journal. vmig_session_resume() does it too.
 *
 * Returns: %TRUE if nothing is wrong; else %FALSE with %VMIG_ERROR_USAGE or %VMIG_ERROR_BAD_NAME
 */
gboolean vmig_resume_request_check(VmigResumeRequest *request, GError **error)
{
    GError *why = NULL;

    g_return_val_if_fail(VMIG_IS_RESUME_REQUEST(request), FALSE);
    gboolean good = check(request, &why);
    return vmig_hints_pass(good, why, error);
}

gpointer vmig_request_copy(gpointer request)
{
    guint n;
    g_autofree GParamSpec **specs = g_object_class_list_properties(G_OBJECT_GET_CLASS(request), &n);
    GObject *copy = g_object_new(G_OBJECT_TYPE(request), NULL);

    for (guint i = 0; i < n; i++) {
        g_auto(GValue) value = G_VALUE_INIT;
        g_value_init(&value, specs[i]->value_type);
        g_object_get_property(request, specs[i]->name, &value);
        g_object_set_property(copy, specs[i]->name, &value);
    }
    return copy;
}
