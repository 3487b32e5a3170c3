/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/texts.h"

#include <string.h>

#include "os/json-read.h"

/* Sends as many of the next texts as fit into one message. *sent is their number. */
static gboolean send_some(VmigMachine *m, VmigNode *to, char **names, guint *sent, GError **error)
{
    g_autoptr(GPtrArray) texts = g_ptr_array_new_with_free_func(g_free);
    gsize size = 0;

    for (guint i = 0; names[i] != NULL && size < VMIG_TEXTS_MESSAGE; i++) {
        g_autofree char *text = vmig_journal_text(m->journal, m->job->id, names[i], error);
        if (text == NULL)
            return FALSE;
        size += vmig_json_text_size(text);
        if (i == 0 || size <= VMIG_TEXTS_MESSAGE)
            g_ptr_array_add(texts, g_steal_pointer(&text));
    }
    *sent = texts->len;
    g_ptr_array_add(texts, NULL);
    return vmig_node_texts_put(to, m->job, (const char *const *)texts->pdata, error);
}

gboolean vmig_texts_send(VmigMachine *m, VmigNode *to, GError **error)
{
    VmigNode *own = m->env->host[m->here].node;
    guint sent = 0;

    if (to == own || m->job->snapshots->len == 0 || vmig_state_is_final(vmig_job_state(m->job)))
        return TRUE;
    g_auto(GStrv) names = vmig_job_texts(m->job);
    g_auto(GStrv) missing = vmig_node_texts_missing(to, m->job, (const char *const *)names, error);
    if (missing == NULL)
        return FALSE;
    for (char **next = missing; *next != NULL; next += sent)
        if (!send_some(m, to, next, &sent, error))
            return FALSE;
    return TRUE;
}

gboolean vmig_texts_fetch(VmigMachine *m, VmigNode *from, const VmigJob *job, GError **error)
{
    if (job->snapshots->len == 0 || vmig_state_is_final(vmig_job_state(job)))
        return TRUE;
    g_auto(GStrv) names = vmig_job_texts(job);
    g_auto(GStrv) missing = vmig_journal_texts_missing(m->journal, job->id, (const char *const *)names, error);
    if (missing == NULL)
        return FALSE;
    for (char **next = missing; *next != NULL;) {
        g_auto(GStrv) texts = vmig_node_texts_get(from, job, (const char *const *)next, error);
        if (texts == NULL || !vmig_journal_texts_put(m->journal, job->id, (const char *const *)texts, error))
            return FALSE;
        next += g_strv_length(texts);
    }
    return TRUE;
}
