/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* make-journal PATH MACHINE-ID N: a journal with one parked job and N ended ones, for the tests of the command line.
 * make-journal PATH MACHINE-ID older|older-ended: one of the version before, with such a job, or only with one that has
 * ended. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/many-jobs.h"
#include "tests/unit/older-journal.h"
#include "flows/migrate/states.h"

static int make_older(const char *path, const char *machine_id, gboolean ended)
{
    sqlite3 *db = older_journal(path, machine_id);

    older_add(db, "fedcba9876543210", "7f2c5c3e-8a4b-4f0e-9d3a-0d9f5c1b7e21", "old1", "DONE");
    if (!ended)
        older_add(db, "0123456789abcdef", "6f2c5c3e-8a4b-4f0e-9d3a-0d9f5c1b7e21", "web1", "PARKED");
    sqlite3_close(db);
    return 0;
}

int main(int argc, char **argv)
{
    g_autoptr(VmigJob) job = vmig_job_new(&vmig_states_migrate);
    g_autoptr(GError) error = NULL;

    if (argc != 4)
        return 2;
    if (strncmp(argv[3], "older", strlen("older")) == 0)
        return make_older(argv[1], argv[2], strcmp(argv[3], "older-ended") == 0);
    VmigJournal *journal = vmig_journal_open(argv[1], argv[2], &error);
    job->id = g_strdup("0123456789abcdef");
    job->uuid = g_strdup("6f2c5c3e-8a4b-4f0e-9d3a-0d9f5c1b7e21");
    job->domain = g_strdup("web1");
    job->host[VMIG_SOURCE] = g_strdup("vmig-a");
    job->host[VMIG_DEST] = g_strdup("vmig-b");
    job->dest_uri = g_strdup("qemu+ssh://vmig-b.invalid/system");
    vmig_job_set_state(job, VMIG_MIGRATE(PARKED));
    job->parked_state = g_strdup("COPY");
    job->overlays = VMIG_OVERLAYS_IN_USE;
    job->started = 1700000000;
    if (journal == NULL || !vmig_journal_create_job(journal, job, VMIG_SOURCE, &error)) {
        fprintf(stderr, "%s\n", error->message);
        return 1;
    }
    vmig_journal_close(journal);
    if (atoi(argv[3]) > 0)
        add_ended_jobs(argv[1], (guint)atoi(argv[3]));
    return 0;
}
