/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The journal's data on files. No file is accessed. */
#include "store/gate.h"

GPtrArray *vmig_gate_list(VmigJournal *journal, const char *job_id, GError **error)
{
    return vmig_journal_file_list(journal, job_id, NULL, error);
}

gboolean vmig_gate_owner(VmigJournal *journal, const char *path, char **job_id, GError **error)
{
    g_autoptr(GPtrArray) files = vmig_journal_file_list(journal, NULL, path, error);

    *job_id = NULL;
    if (files == NULL)
        return FALSE;
    if (files->len > 0)
        *job_id = g_strdup(((VmigJournalFile *)files->pdata[0])->job);
    return TRUE;
}
