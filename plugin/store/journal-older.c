/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The journal of an older vmig-snap, 0.1.0. Its version 1 kept the XML of snapshots inside the records, and had other
 * names for two kinds of files. Records of finished jobs are read in the same way. The fields of an unfinished job have
 * other meanings, and only the program that wrote them may act on them. */
#include "store/journal-private.h"

#include "core/names.h"

/* The maximum number of unfinished jobs in a message. */
#define MOST_NAMED 5

/* The kinds of files in version 1. */
#define OLDER_KINDS "'part', 'seed', 'overlay', 'park', 'socket', 'base'"

const char *vmig_journal_older_schema(gint64 version)
{
    return version == 1 ? "DROP TABLE text; DROP TABLE file;" VMIG_JOURNAL_FILE_TABLE(OLDER_KINDS)
                              VMIG_JOURNAL_FILE_INDEX
                        : NULL;
}

/* "0123456789abcdef of 'web1', ..."; *first is the id of the first job, or NULL. */
static char *name_unfinished(VmigJournal *journal, char **first, GError **error)
{
    g_autoptr(GString) text = g_string_new(NULL);
    gboolean more = FALSE;
    g_autoptr(sqlite3_stmt) stmt = vmig_db_prepare(
        error, journal, "SELECT id, domain FROM job INDEXED BY job_open WHERE finished = 0 ORDER BY id LIMIT ?1", "i",
        (gint64)MOST_NAMED);

    *first = NULL;
    if (stmt == NULL || !vmig_db_step(journal, stmt, &more, error))
        return NULL;
    while (more) {
        g_autofree char *id = vmig_text_escape(vmig_db_text(stmt, 0), -1);
        g_autofree char *domain = vmig_text_escape(vmig_db_text(stmt, 1), -1);
        g_string_append_printf(text, "%s%s of '%s'", text->len > 0 ? ", " : "", id, domain);
        if (*first == NULL)
            *first = g_steal_pointer(&id);
        if (!vmig_db_step(journal, stmt, &more, error))
            return NULL;
    }
    return g_string_free(g_steal_pointer(&text), FALSE);
}

static gboolean refuse_unfinished(VmigJournal *journal, GError **error)
{
    gint64 n = 0;
    g_autofree char *first = NULL;
    g_autofree char *names = name_unfinished(journal, &first, error);

    if (names == NULL)
        return FALSE;
    if (first == NULL)
        return TRUE;
    if (!vmig_db_number(journal, "SELECT count(*) FROM job INDEXED BY job_open WHERE finished = 0", &n, error))
        return FALSE;
    g_autofree char *hint = vmig_job_older_hint(n == 1 ? first : NULL);
    return vmig_fail(error, VMIG_ERROR_JOURNAL_OLDER, hint,
                     "cannot use the journal %s: it is of version %" G_GINT64_FORMAT
                     ", this vmig-snap writes version %d, and %" G_GINT64_FORMAT " of its jobs %s not finished: %s%s",
                     journal->path, journal->version, VMIG_JOURNAL_SCHEMA, n, n == 1 ? "is" : "are", names,
                     n > MOST_NAMED ? ", ..." : "");
}

/* Converts the rows of files to the current names of their kinds. */
static gboolean carry_files(VmigJournal *journal, GError **error)
{
    static const char *const steps[] = {
        "CREATE TABLE older AS SELECT * FROM file",
        "UPDATE older SET kind = CASE kind WHEN 'seed' THEN 'copy' WHEN 'park' THEN 'hold' ELSE kind END",
        "DROP TABLE file",
        VMIG_JOURNAL_FILE_TABLE(VMIG_JOURNAL_FILE_KINDS),
        VMIG_JOURNAL_FILE_INDEX,
        "INSERT INTO file SELECT job, path, kind, state, dev, ino, born_ns, boot, reason,"
        " vmig_sum('file', job, path, kind, state, dev, ino, born_ns, boot, reason) FROM older",
        "DROP TABLE older",
    };

    for (guint i = 0; i < G_N_ELEMENTS(steps); i++)
        if (!vmig_db_run(error, journal, steps[i], ""))
            return FALSE;
    return TRUE;
}

/* Another process may have upgraded it first. */
static gboolean carry_over(VmigJournal *journal, G_GNUC_UNUSED gpointer data, GError **error)
{
    gint64 version = 0;
    g_autofree char *set = g_strdup_printf("PRAGMA user_version = %d", VMIG_JOURNAL_SCHEMA);

    if (!vmig_db_number(journal, "PRAGMA user_version", &version, error))
        return FALSE;
    if (version == VMIG_JOURNAL_SCHEMA)
        return TRUE;
    return refuse_unfinished(journal, error) && vmig_db_run(error, journal, VMIG_JOURNAL_TEXT_TABLE, "") &&
           carry_files(journal, error) && vmig_db_run(error, journal, set, "");
}

gboolean vmig_journal_upgrade(VmigJournal *journal, GError **error)
{
    if (journal->version == VMIG_JOURNAL_SCHEMA)
        return TRUE;
    if (!refuse_unfinished(journal, error))
        return FALSE;
    if (journal->read_only)
        return TRUE;
    if (!vmig_db_transaction(journal, NULL, carry_over, NULL, error))
        return FALSE;
    journal->version = VMIG_JOURNAL_SCHEMA;
    return TRUE;
}
