/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The XML of a job's snapshots. It never changes and may have hundreds of megabytes, so it is written once, beside the
 * record, under the SHA-256 of its bytes. The record contains these names. A journal refuses the record of an
 * unfinished job whose texts it lacks. The texts are removed when the job ends. */
#include "store/journal-private.h"

#include <string.h>

/* Texts for a job that was never recorded here are useless after this time. */
#define ORPHAN_S (7 * 24 * 3600)

/* The names of the texts that the journal has for the job. */
static GHashTable *known_names(VmigJournal *journal, const char *id, GError **error)
{
    g_autoptr(GHashTable) names = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    g_autoptr(sqlite3_stmt) stmt = vmig_db_prepare(error, journal, "SELECT hash FROM text WHERE job = ?1", "s", id);
    gboolean more = FALSE;

    if (stmt == NULL || !vmig_db_step(journal, stmt, &more, error))
        return NULL;
    while (more) {
        g_hash_table_add(names, g_strdup(vmig_db_text(stmt, 0)));
        if (!vmig_db_step(journal, stmt, &more, error))
            return NULL;
    }
    return g_steal_pointer(&names);
}

char **vmig_journal_texts_missing(VmigJournal *journal, const char *id, const char *const *names, GError **error)
{
    g_autoptr(GHashTable) known = known_names(journal, id, error);
    g_autoptr(GPtrArray) missing = g_ptr_array_new_with_free_func(g_free);

    if (known == NULL)
        return NULL;
    for (guint i = 0; names[i] != NULL; i++)
        if (!g_hash_table_contains(known, names[i]))
            g_ptr_array_add(missing, g_strdup(names[i]));
    g_ptr_array_add(missing, NULL);
    return (char **)g_ptr_array_free(g_steal_pointer(&missing), FALSE);
}

gboolean vmig_db_need_texts(VmigJournal *journal, const VmigJob *job, GError **error)
{
    if (job->snapshots->len == 0 || vmig_state_is_final(vmig_job_state(job)))
        return TRUE;
    g_auto(GStrv) names = vmig_job_texts(job);
    g_auto(GStrv) missing = vmig_journal_texts_missing(journal, job->id, (const char *const *)names, error);
    if (missing == NULL)
        return FALSE;
    guint n = g_strv_length(missing);
    return n == 0 ||
           vmig_fail(error, VMIG_ERROR_CONTRADICTION, NULL,
                     "cannot record job %s: the definitions of %u of its snapshots were not received yet", job->id, n);
}

gboolean vmig_db_put_text(VmigJournal *journal, const char *id, const char *name, const char *text, GError **error)
{
    return vmig_db_run(error, journal,
                       "INSERT INTO text VALUES (?1, ?2, ?3, ?4, ?5, vmig_sum('text', ?1, ?2, ?4, ?5))"
                       " ON CONFLICT (job, hash) DO NOTHING",
                       "sssii", id, name, text, (gint64)strlen(text), g_get_real_time() / G_USEC_PER_SEC);
}

gboolean vmig_db_put_texts_of(VmigJournal *journal, const VmigJob *job, GError **error)
{
    for (guint i = 0; i < job->snapshots->len; i++) {
        const VmigSnapshot *snapshot = job->snapshots->pdata[i];
        if (snapshot->xml != NULL && !vmig_db_put_text(journal, job->id, snapshot->text, snapshot->xml, error))
            return FALSE;
    }
    return TRUE;
}

gboolean vmig_db_drop_texts(VmigJournal *journal, const char *id, GError **error)
{
    return vmig_db_run(error, journal, "DELETE FROM text WHERE job = ?1", "s", id);
}

static gboolean drop_orphans(VmigJournal *journal, GError **error)
{
    return vmig_db_run(error, journal, "DELETE FROM text WHERE since < ?1 AND job NOT IN (SELECT id FROM job)", "i",
                       g_get_real_time() / G_USEC_PER_SEC - ORPHAN_S);
}

static gboolean check_room(VmigJournal *journal, const char *id, GError **error)
{
    gboolean row = FALSE;
    g_autoptr(sqlite3_stmt) stmt =
        vmig_db_prepare(error, journal, "SELECT count(*), coalesce(sum(size), 0) FROM text WHERE job = ?1", "s", id);

    if (stmt == NULL || !vmig_db_step(journal, stmt, &row, error))
        return FALSE;
    if (sqlite3_column_int64(stmt, 0) <= VMIG_TEXTS_MAX && sqlite3_column_int64(stmt, 1) <= VMIG_TEXTS_MAX_BYTES)
        return TRUE;
    return vmig_fail(error, VMIG_ERROR_UNSUPPORTED, NULL,
                     "cannot store the snapshots' definitions of job %s: they are more than %d, or larger than %d MiB",
                     id, VMIG_TEXTS_MAX, (int)(VMIG_TEXTS_MAX_BYTES >> 20));
}

typedef struct {
    const char *id;
    const char *const *texts;
} Texts;

static gboolean write_texts(VmigJournal *journal, gpointer data, GError **error)
{
    const Texts *t = data;

    if (!drop_orphans(journal, error))
        return FALSE;
    for (guint i = 0; t->texts[i] != NULL; i++) {
        g_autofree char *name = g_compute_checksum_for_string(G_CHECKSUM_SHA256, t->texts[i], -1);
        if (!vmig_db_put_text(journal, t->id, name, t->texts[i], error))
            return FALSE;
    }
    return check_room(journal, t->id, error);
}

gboolean vmig_journal_texts_put(VmigJournal *journal, const char *id, const char *const *texts, GError **error)
{
    Texts t = {id, texts};

    if (!vmig_journal_is_id(id))
        return vmig_fail(error, VMIG_ERROR_BAD_NAME, NULL, "'%s' is not the id of a job", id);
    return vmig_db_transaction(journal, NULL, write_texts, &t, error);
}

char *vmig_journal_text(VmigJournal *journal, const char *id, const char *name, GError **error)
{
    gboolean row = FALSE;
    g_autoptr(sqlite3_stmt) stmt =
        vmig_db_prepare(error, journal, "SELECT body FROM text WHERE job = ?1 AND hash = ?2", "ss", id, name);

    if (stmt == NULL || !vmig_db_step(journal, stmt, &row, error))
        return NULL;
    g_autofree char *body = row ? g_strdup(vmig_db_text(stmt, 0)) : NULL;
    g_autofree char *sum = body != NULL ? g_compute_checksum_for_string(G_CHECKSUM_SHA256, body, -1) : NULL;
    if (g_strcmp0(sum, name) == 0)
        return g_steal_pointer(&body);
    vmig_fail(error, VMIG_ERROR_JOURNAL, "`vmig-snap doctor` compares the hosts with the journal.",
              "cannot read the definition of a snapshot of job %s from the journal %s: it is %s", id, journal->path,
              body == NULL ? "missing" : "damaged");
    return NULL;
}
