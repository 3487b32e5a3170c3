/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A job's record, as the other host gives it. What was read is written and read again as the same. Only what is one
 * JSON object: json-glib leaks where there is more in a text, and a journal's text is one that was written here. */
#include "core/job.h"
#include "os/json-read.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autofree char *text = fuzz_text(data, size);
    g_autoptr(GError) error = NULL;
    g_autoptr(JsonObject) object = vmig_json_parse(text, strlen(text), NULL);
    g_autoptr(VmigJob) job = object != NULL ? vmig_job_from_json(object, &error) : NULL;

    g_assert(object == NULL || (job == NULL) == (error != NULL));
    if (job == NULL)
        return 0;
    g_autofree char *once = vmig_job_to_string(job);
    g_autoptr(VmigJob) again = vmig_job_from_string(once, &error), copy = vmig_job_copy(job);
    g_assert_no_error(error);
    g_autofree char *twice = vmig_job_to_string(again), *copied = vmig_job_to_string(copy);
    g_assert_cmpstr(once, ==, twice);
    g_assert_cmpstr(once, ==, copied);
    (void)vmig_job_state(job);
    for (guint i = 0; i < job->disks->len; i++) {
        const VmigDisk *disk = job->disks->pdata[i];
        if (disk->target != NULL)
            g_assert(vmig_job_disk(job, disk->target) != NULL);
    }
    return 0;
}
