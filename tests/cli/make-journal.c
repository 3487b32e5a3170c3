/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* make-journal PATH MACHINE-ID N: a journal with one parked job and N ended ones, for the tests of the command line. */
#include <stdio.h>
#include <stdlib.h>

#include "tests/unit/many-jobs.h"

int main(int argc, char **argv)
{
    g_autoptr(VmigJob) job = vmig_job_new();
    g_autoptr(GError) error = NULL;

    if (argc != 4)
        return 2;
    VmigJournal *journal = vmig_journal_open(argv[1], argv[2], &error);
    job->id = g_strdup("0123456789abcdef");
    job->uuid = g_strdup("6f2c5c3e-8a4b-4f0e-9d3a-0d9f5c1b7e21");
    job->domain = g_strdup("web1");
    job->source_host = g_strdup("vmig-a");
    job->dest_host = g_strdup("vmig-b");
    job->dest_uri = g_strdup("qemu+ssh://vmig-b.invalid/system");
    vmig_job_set_state(job, VMIG_STATE_PARKED);
    job->parked_state = g_strdup("SEED");
    job->started = 1700000000;
    if (journal == NULL || !vmig_journal_create_job(journal, job, VMIG_ROLE_SOURCE, &error)) {
        fprintf(stderr, "%s\n", error->message);
        return 1;
    }
    vmig_journal_close(journal);
    if (atoi(argv[3]) > 0)
        add_ended_jobs(argv[1], (guint)atoi(argv[3]));
    return 0;
}
