/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A run as 64 bits: the calls, their times and results, and the state at the end. Two runs of one seed have the same
 * hash, in any process and after any other runs. */
#include "sim.h"

#include <string.h>

#include "store/journal-private.h"
#include "../roles.h"

static void add(Sim *sim, gconstpointer data, gsize length)
{
    const guint8 *bytes = data;

    for (gsize i = 0; i < length; i++)
        sim->hash = (sim->hash ^ bytes[i]) * G_GUINT64_CONSTANT(0x100000001b3);
}

static void add_number(Sim *sim, gint64 number)
{
    add(sim, &number, sizeof number);
}

static void add_text(Sim *sim, const char *text)
{
    add_number(sim, text != NULL ? (gint64)strlen(text) : -1);
    if (text != NULL)
        add(sim, text, strlen(text));
}

void sim_hash_call(Sim *sim, const SimCall *call, gboolean ok)
{
    add_text(sim, call->method);
    add_number(sim, sim->now * 8 + (call->host->is_dest ? 4 : 0) + (ok ? 2 : 0) + sim->dead);
}

static int by_text(gconstpointer a, gconstpointer b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void add_file(Sim *sim, const SimFile *file)
{
    add_number(sim, (gint64)file->ino);
    add_text(sim, file->backing);
    add(sim, file->blocks, sizeof file->blocks);
    for (guint i = 0; i < file->internals->len; i++) {
        const SimInternal *internal = file->internals->pdata[i];
        add_text(sim, internal->name);
        add(sim, internal->blocks, sizeof internal->blocks);
    }
}

static void add_files(Sim *sim, SimHost *host)
{
    guint n = 0;
    g_autofree const char **paths = (const char **)g_hash_table_get_keys_as_array(host->files, &n);

    if (n > 0)
        qsort(paths, n, sizeof *paths, by_text);
    for (guint i = 0; i < n; i++) {
        add_text(sim, paths[i]);
        add_file(sim, g_hash_table_lookup(host->files, paths[i]));
    }
}

static void add_domain(Sim *sim, SimHost *host)
{
    const SimDomain *d = &host->domain;

    add_number(sim, d->exists * 8 + d->persistent * 4 + d->autostart * 2 + d->migrated);
    add_number(sim, d->exists ? (gint64)d->run : -1);
    for (guint i = 0; d->snapshots != NULL && i < d->snapshots->len; i++)
        add_text(sim, ((const VmigSnapshot *)d->snapshots->pdata[i])->xml);
}

/* The operating system draws the key of a verification, and its hashes depend on it. */
static void drop_keyed(VmigJob *job)
{
    g_clear_pointer(&job->content_key, g_free);
    for (guint d = 0; d < job->disks->len; d++) {
        const VmigDisk *disk = job->disks->pdata[d];
        for (guint f = 0; f < disk->files->len; f++) {
            const VmigFile *file = disk->files->pdata[f];
            for (guint c = 0; c < file->contents->len; c++) {
                VmigContent *content = file->contents->pdata[c];
                g_clear_pointer(&content->disk_hash, g_free);
                g_clear_pointer(&content->memory_hash, g_free);
            }
        }
    }
}

/* Without the times, which are real, and the numbers, which increase from run to run. */
static void add_journal(Sim *sim, SimHost *host)
{
    const char *token = token_in(host->journal, sim->job_id, NULL);
    g_autoptr(VmigJob) job = vmig_journal_load(host->journal, sim->job_id, NULL);
    g_autoptr(GPtrArray) history = job != NULL ? vmig_journal_history(host->journal, sim->job_id, NULL) : NULL;

    add_text(sim, token);
    if (job != NULL) {
        job->started = job->ended = 0;
        drop_keyed(job);
        g_autofree char *record = vmig_job_to_string(job);
        add_text(sim, record);
    }
    for (guint i = 0; history != NULL && i < history->len; i++) {
        const VmigJournalEntry *entry = history->pdata[i];
        add_text(sim, entry->from);
        add_text(sim, entry->to);
        add_text(sim, entry->phase);
        add_text(sim, entry->detail);
    }
}

void sim_hash_end(Sim *sim, SimOutcome outcome)
{
    add_number(sim, outcome);
    add_number(sim, sim->calls * 64 + sim->processes);
    add(sim, sim->guest.last, sizeof sim->guest.last);
    add_text(sim, sim->violation);
    for (guint h = 0; h < 2; h++) {
        add_files(sim, &sim->hosts[h]);
        add_domain(sim, &sim->hosts[h]);
        add_journal(sim, &sim->hosts[h]);
    }
}
