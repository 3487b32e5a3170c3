/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* journal-look: reads names of journals, one a line, opens each as vmig-snap does (which rolls back what a crash has
 * left, and proves every row), and says on one line what it has: "ok SUM", the sum being over every row of every table;
 * or "error WHY". */
#include <stdio.h>
#include <string.h>

#include "store/journal-private.h"

static gboolean add_rows(VmigJournal *journal, const char *table, GChecksum *sum, GError **error)
{
    g_autofree char *sql = g_strdup_printf("SELECT * FROM \"%s\" ORDER BY rowid", table);
    g_autoptr(sqlite3_stmt) stmt = vmig_db_prepare(error, journal, sql, "");
    gboolean row = TRUE;

    while (stmt != NULL && vmig_db_step(journal, stmt, &row, error) && row)
        for (int i = 0; i < sqlite3_column_count(stmt); i++) {
            const void *bytes = sqlite3_column_blob(stmt, i);
            int n = sqlite3_column_bytes(stmt, i);
            g_checksum_update(sum, (const guchar *)&n, sizeof n);
            if (n > 0)
                g_checksum_update(sum, bytes, n);
        }
    return stmt != NULL && !row;
}

static gboolean add_tables(VmigJournal *journal, GChecksum *sum, GError **error)
{
    g_autoptr(sqlite3_stmt) stmt =
        vmig_db_prepare(error, journal, "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name", "");
    gboolean row = TRUE;

    while (stmt != NULL && vmig_db_step(journal, stmt, &row, error) && row)
        if (!add_rows(journal, vmig_db_text(stmt, 0), sum, error))
            return FALSE;
    return stmt != NULL && !row;
}

static char *look(const char *path)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);
    g_autoptr(VmigJournal) journal = vmig_journal_open(path, NULL, &error);

    if (journal != NULL && vmig_journal_check(journal, &error) && add_tables(journal, sum, &error))
        return g_strdup_printf("ok %s", g_checksum_get_string(sum));
    g_strdelimit(error->message, "\n", ' ');
    return g_strdup_printf("error %s", error->message);
}

int main(void)
{
    char line[4096];

    while (fgets(line, sizeof line, stdin) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        g_autofree char *said = look(line);
        puts(said);
        fflush(stdout);
    }
    return 0;
}
