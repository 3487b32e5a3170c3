/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Transfers the XML of a job's snapshots between two journals in messages of bounded size. Each text is named by the
 * SHA-256 of its bytes, so that a transfer can be repeated and continues where it stopped. */
#include "node/node-local-private.h"

#include <string.h>

/* The journal's names. None of them is a path or SQL. */
static gboolean good_names(const char *const *names)
{
    for (guint i = 0; names[i] != NULL; i++)
        if (strlen(names[i]) != 64 || strspn(names[i], "0123456789abcdef") != 64)
            return FALSE;
    return TRUE;
}

static JsonObject *texts_reply(const char *member, const char *const *texts)
{
    JsonObject *reply = json_object_new();
    JsonArray *array = json_array_new();

    for (guint i = 0; texts[i] != NULL; i++)
        json_array_add_string_element(array, texts[i]);
    json_object_set_array_member(reply, member, array);
    return reply;
}

JsonObject *vmig_local_do_texts_missing(VmigLocal *local, VmigReader *args, GError **error)
{
    const char *job = vmig_local_job(args);
    g_auto(GStrv) names = vmig_reader_texts(args, "names");

    if (!good_names((const char *const *)names))
        vmig_reader_mistake(args, "names", "an array of SHA-256 sums");
    if (!vmig_local_args(args, error))
        return NULL;
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&local->journal_lock);
    g_auto(GStrv) missing = vmig_journal_texts_missing(local->journal, job, (const char *const *)names, error);
    return missing != NULL ? texts_reply("missing", (const char *const *)missing) : NULL;
}

JsonObject *vmig_local_do_texts_put(VmigLocal *local, VmigReader *args, GError **error)
{
    const char *job = vmig_local_job(args);
    g_auto(GStrv) texts = vmig_reader_texts(args, "texts");

    if (!vmig_local_args(args, error))
        return NULL;
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&local->journal_lock);
    return vmig_local_done(vmig_journal_texts_put(local->journal, job, (const char *const *)texts, error));
}

JsonObject *vmig_local_do_texts_get(VmigLocal *local, VmigReader *args, GError **error)
{
    const char *job = vmig_local_job(args);
    g_auto(GStrv) names = vmig_reader_texts(args, "names");
    g_autoptr(GPtrArray) texts = g_ptr_array_new_with_free_func(g_free);
    gsize size = 0;

    if (!good_names((const char *const *)names))
        vmig_reader_mistake(args, "names", "an array of SHA-256 sums");
    if (!vmig_local_args(args, error))
        return NULL;
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&local->journal_lock);
    for (guint i = 0; names[i] != NULL && size < VMIG_TEXTS_MESSAGE; i++) {
        g_autofree char *text = vmig_journal_text(local->journal, job, names[i], error);
        if (text == NULL)
            return NULL;
        size += vmig_json_text_size(text);
        if (i == 0 || size <= VMIG_TEXTS_MESSAGE)
            g_ptr_array_add(texts, g_steal_pointer(&text));
    }
    g_ptr_array_add(texts, NULL);
    return texts_reply("texts", (const char *const *)texts->pdata);
}
