/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The source itself checks for other users of an image, immediately before each removal (node/image-users.h). */
#include "flows/migrate/source-images.h"

static void set_user(VmigFile *file, const char *user)
{
    g_free(file->source_user);
    file->source_user = g_strdup(user);
}

gboolean vmig_images_remove(VmigMachine *m, GError **error)
{
    g_autoptr(GPtrArray) images = vmig_job_images(m->job);

    for (guint i = 0; i < images->len; i++) {
        VmigFile *file = images->pdata[i];
        g_autofree char *why = NULL;
        if (!vmig_node_remove_base(m->env->source.node, m->job, file, &why, error))
            return FALSE;
        set_user(file, why);
        if (why != NULL)
            vmig_machine_note(m, "%s stays on the source: %s", file->path[VMIG_SOURCE], why);
    }
    return TRUE;
}

gboolean vmig_images_note_users(VmigMachine *m)
{
    g_autoptr(GPtrArray) images = vmig_job_images(m->job);
    g_autoptr(GPtrArray) paths = g_ptr_array_new();
    g_autoptr(GError) why = NULL;

    for (guint i = 0; i < images->len; i++)
        g_ptr_array_add(paths, ((const VmigFile *)images->pdata[i])->path[VMIG_SOURCE]);
    g_ptr_array_add(paths, NULL);
    g_autoptr(GPtrArray) users = vmig_node_users(m->env->source.node, (const char *const *)paths->pdata, NULL, &why);
    g_autofree char *unknown =
        users == NULL ? g_strdup_printf("cannot determine what uses it: %s", why->message) : NULL;
    for (guint i = 0; i < images->len; i++)
        set_user(images->pdata[i], users != NULL ? users->pdata[i] : unknown);
    return TRUE;
}
