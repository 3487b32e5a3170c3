/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Queries for a disk that is not moved: whether both hosts have the same storage for it. */
#include <string.h>

#include "plan/plan.h"

static void stay_file_free(gpointer data)
{
    VmigStayFile *file = data;

    g_free(file->path);
    g_clear_pointer(&file->here, vmig_identity_free);
    g_clear_pointer(&file->there, vmig_identity_free);
    g_free(file->why_not);
    g_free(file);
}

static void fail_question(VmigStayFile *file, const GError *error)
{
    file->why_not = g_strdup(error->message);
    file->code = (VmigErrorCode)error->code;
}

/* For a file that the guest does not write to, equal content is as good as the same file. */
static gboolean may_compare_contents(const VmigStayFile *file)
{
    return !file->written && file->here->kind == VMIG_IDENTITY_FILE && file->there->kind == VMIG_IDENTITY_FILE;
}

static void compare_contents(VmigEnv *env, VmigStayFile *file)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *here = NULL;
    g_autofree char *there = NULL;

    g_clear_pointer(&file->why_not, g_free);
    if (file->here->size != file->there->size && file->here->size > 0 && file->there->size > 0) {
        file->why_not = g_strdup("the contents differ");
        return;
    }
    here = vmig_identity_digest(env->source.node, file->path, &error);
    if (here != NULL)
        there = vmig_identity_digest(env->dest.node, file->path, &error);
    if (there == NULL)
        fail_question(file, error);
    else if (!g_str_equal(here, there))
        file->why_not = g_strdup("the contents differ");
}

static void ask_file(VmigEnv *env, VmigStayFile *file)
{
    g_autoptr(GError) error = NULL;

    file->code = VMIG_ERROR_NOT_SHARED;
    file->here = vmig_identity_ask(env->source.node, file->path, &error);
    if (file->here != NULL)
        file->there = vmig_identity_ask(env->dest.node, file->path, &error);
    if (file->there == NULL) {
        fail_question(file, error);
        return;
    }
    if (file->there->kind == VMIG_IDENTITY_ABSENT) {
        file->why_not = g_strdup("the destination does not have this file");
        return;
    }
    g_autoptr(VmigIdentity) again = vmig_identity_ask(env->source.node, file->path, &error);
    if (again == NULL) {
        fail_question(file, error);
        return;
    }
    file->why_not = vmig_identity_compare(file->here, file->there, again);
    if (file->why_not != NULL && may_compare_contents(file))
        compare_contents(env, file);
}

static void add_file(VmigEnv *env, VmigPlanDisk *disk, const char *path, gboolean written)
{
    VmigStayFile *file = g_new0(VmigStayFile, 1);

    file->path = g_strdup(path);
    file->written = written;
    g_ptr_array_add(disk->stay, file);
    ask_file(env, file);
}

/* A source that is neither a file nor a block device is not listed, and the rules refuse it by its type. */
void vmig_survey_ask_stay(VmigEnv *env, VmigPlanDisk *disk)
{
    const VmigDomainDisk *d = disk->disk;
    const char *top = d->source != NULL ? d->source : d->device_path;

    if (env->dest.node == NULL || top == NULL)
        return;
    disk->stay = g_ptr_array_new_with_free_func(stay_file_free);
    add_file(env, disk, top, !d->readonly);
    for (guint i = 0; i < d->backing->len; i++) {
        const VmigChainFile *below = d->backing->pdata[i];
        const char *path = below->file != NULL ? below->file : below->device;
        if (path != NULL)
            add_file(env, disk, path, FALSE);
    }
}

gboolean vmig_survey_is_shared(const VmigPlanDisk *disk)
{
    if (disk->stay == NULL || disk->stay->len != disk->disk->backing->len + 1)
        return FALSE;
    for (guint i = 0; i < disk->stay->len; i++)
        if (((const VmigStayFile *)disk->stay->pdata[i])->why_not != NULL)
            return FALSE;
    return TRUE;
}
