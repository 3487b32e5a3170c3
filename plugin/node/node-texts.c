/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Transfers the XML of a job's snapshots between two journals in messages of bounded size. Each text is named by the
 * SHA-256 of its bytes, so that a transfer can be repeated and continues where it stopped. */
#include "node/node-local-private.h"
#include "os/json-read.h"

gboolean vmig_local_do_texts_missing(VmigLocal *local, const VmigTextNamesArgs *args, VmigTextsMissingReply *reply,
                                     GError **error)
{
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&local->journal_lock);

    reply->missing = vmig_journal_texts_missing(local->journal, args->job, args->names, error);
    return reply->missing != NULL;
}

gboolean vmig_local_do_texts_put(VmigLocal *local, const VmigTextsArgs *args, VmigNothing *reply G_GNUC_UNUSED,
                                 GError **error)
{
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&local->journal_lock);

    return vmig_journal_texts_put(local->journal, args->job, args->texts, error);
}

gboolean vmig_local_do_texts_get(VmigLocal *local, const VmigTextNamesArgs *args, VmigTextsReply *reply, GError **error)
{
    g_autoptr(GPtrArray) texts = g_ptr_array_new_with_free_func(g_free);
    gsize size = 0;

    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&local->journal_lock);
    for (guint i = 0; args->names[i] != NULL && size < VMIG_TEXTS_MESSAGE; i++) {
        g_autofree char *text = vmig_journal_text(local->journal, args->job, args->names[i], error);
        if (text == NULL)
            return FALSE;
        size += vmig_json_text_size(text);
        if (i == 0 || size <= VMIG_TEXTS_MESSAGE)
            g_ptr_array_add(texts, g_steal_pointer(&text));
    }
    g_ptr_array_add(texts, NULL);
    reply->texts = (char **)g_ptr_array_free(g_steal_pointer(&texts), FALSE);
    return TRUE;
}
