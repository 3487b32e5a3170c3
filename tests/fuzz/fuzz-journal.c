/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A journal's bytes: damage to a good one, or anything at all. Whatever is in the file, reading it is an error or gives
 * jobs; a good one that nobody damaged is read.
 *
 * Input: 'R' and the file; or any number of damages, each an offset (3 bytes, little-endian), a length (1 byte) and the
 * bytes that are put there; a length of 0 cuts the file off. */
#include "store/journal.h"
#include "tests/fuzz/fuzz.h"
#include "flows/migrate/states.h"

#define ID "0123456789abcdef"

static void make_good(const char *path)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(VmigJob) job = vmig_job_new(&vmig_states_migrate);
    g_autoptr(VmigJournal) journal = vmig_journal_open(path, "m", &error);
    g_autoptr(VmigJournalFile) file = vmig_journal_file_new(ID, "/srv/a.part", "part", "made");

    g_assert_no_error(error);
    job->id = g_strdup(ID);
    job->uuid = g_strdup("6f2c5c3e-8a4b-4f0e-9d3a-0d9f5c1b7e21");
    job->domain = g_strdup("web1");
    job->host[VMIG_SOURCE] = g_strdup("a");
    job->host[VMIG_DEST] = g_strdup("b");
    job->dest_uri = g_strdup("qemu+ssh://b/system");
    vmig_job_set_state(job, VMIG_MIGRATE(PLAN));
    g_assert(vmig_journal_create_job(journal, job, VMIG_SOURCE, NULL));
    g_assert(vmig_journal_note(journal, ID, "a note", NULL) && vmig_journal_file_put(journal, file, NULL, NULL));
}

static GByteArray *good_bytes(const char *path)
{
    static GByteArray *good;
    char *bytes;
    gsize size;

    if (good == NULL) {
        make_good(path);
        g_assert(g_file_get_contents(path, &bytes, &size, NULL));
        good = g_byte_array_new_take((guint8 *)bytes, size);
    }
    return good;
}

static void damage(GByteArray *file, const uint8_t *data, size_t size)
{
    while (size >= 4) {
        guint at = data[0] | data[1] << 8 | data[2] << 16, length = MIN(data[3], size - 4);
        if (length == 0)
            g_byte_array_set_size(file, MIN(at, file->len));
        else if (at < file->len)
            memcpy(file->data + at, data + 4, MIN(length, file->len - at));
        data += 4 + length;
        size -= 4 + length;
    }
}

static void read_all(VmigJournal *journal)
{
    g_autoptr(GPtrArray) all = vmig_journal_list(journal, TRUE, NULL), heads = vmig_journal_heads(journal, NULL);
    g_autoptr(GPtrArray) history = vmig_journal_history(journal, ID, NULL);
    g_autoptr(VmigJob) job = vmig_journal_load(journal, ID, NULL), open = NULL;
    VmigRole role, token;
    g_autoptr(VmigJournalFile) file = NULL;
    gboolean pending;
    VmigState to;

    vmig_journal_find_open(journal, "web1", &open, NULL);
    vmig_journal_role(journal, ID, &role, NULL);
    vmig_journal_token(journal, ID, &token, NULL);
    vmig_journal_pending(journal, ID, &pending, &to, NULL);
    vmig_journal_file_get(journal, ID, "/srv/a.part", &file, NULL);
    vmig_journal_check(journal, NULL);
    g_assert(job == NULL || g_str_equal(job->id, ID));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autofree char *path = g_build_filename(fuzz_folder(), "journal.db", NULL);
    g_autofree char *rollback = g_strconcat(path, "-journal", NULL);
    const GByteArray *good = good_bytes(path);
    g_autoptr(GByteArray) file = g_byte_array_new();
    gboolean raw = size > 0 && data[0] == 'R';
    g_autoptr(GError) error = NULL, failure = NULL;

    g_unlink(rollback);
    if (!raw)
        g_byte_array_append(file, good->data, good->len);
    if (raw)
        g_byte_array_append(file, data + 1, (guint)size - 1);
    else
        damage(file, data, size);
    g_assert(g_file_set_contents_full(path, (const char *)file->data, file->len, G_FILE_SET_CONTENTS_NONE, 0600, NULL));
    g_autoptr(VmigJournal) look = vmig_journal_open_to_look(path, "m", NULL);
    if (look != NULL)
        read_all(look);
    g_clear_pointer(&look, vmig_journal_close);
    g_autoptr(VmigJournal) journal = vmig_journal_open(path, "m", &error);
    g_assert((journal == NULL) == (error != NULL));
    g_assert(journal != NULL || size > 0);
    if (journal != NULL)
        read_all(journal);
    return 0;
}
