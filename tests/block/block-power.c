/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Power losses: QEMU's blklogwrites records what reaches each image, in order, with its flushes. A witness notes now
 * and then how far each record is, what the writer was promised, and what journal and definition are. Of such a moment
 * the images are made again: all up to each one's last flush, and of what came after it some, some not, some in parts.
 * Then the machine is started as after a boot.
 *
 * blklogwrites gives a write its place in the record when it begins. One that a flush overtook would count as flushed
 * here, though it need not be; that is the one thing that this is kinder in than a disk. */
#include "block.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/errors.h"

#define MOST_MOMENTS 160
#define MOST_OF_PHASE 16
#define LOG_MAGIC G_GUINT64_CONSTANT(0x6a736677736872)
#define LOG_SECTOR 512
#define FLUSH 1
#define DISCARD 4
#define IMAGES 2 /* of one disk */

static const char *const kinds[IMAGES] = {"base", "overlay"};

typedef struct {
    guint64 entries[IMAGES][BLOCK_DISKS];
    guint64 flushed[BLOCK_DISKS][BLOCK_SECTORS];
    gint phase;
} Moment;

/* Of the witness and of whoever looks afterwards. */
typedef struct {
    gint n, enough;
    guint of_phase[BLOCK_PHASES];
    Moment moments[MOST_MOMENTS];
} Moments;

static char *log_path(const Block *block, guint kind, guint disk)
{
    return g_strdup_printf("%s/%s-%u.log", block->log_folder, kinds[kind], disk);
}

/* The superblock: magic, version, number of entries. */
static gboolean count_entries(const Block *block, guint kind, guint disk, guint64 *n)
{
    g_autofree char *path = log_path(block, kind, disk);
    guint64 super[3] = {0};
    FILE *log = fopen(path, "r");
    gboolean good = log != NULL && fread(super, sizeof super, 1, log) == 1 && GUINT64_FROM_LE(super[0]) == LOG_MAGIC;

    if (log != NULL)
        fclose(log);
    *n = GUINT64_FROM_LE(super[2]);
    return good;
}

static char *kept_path(const Block *block, guint moment, const char *name)
{
    return g_strdup_printf("%s/%u-%s", block->log_folder, moment, name);
}

typedef struct {
    char *bytes[3];
    gsize length[3];
} Files;

static const char *const small[] = {"state/journal.db", "state/journal.db-journal", "libvirt/guest.xml"};
static const char *const small_kept[] = {"journal.db", "journal.db-journal", "guest.xml"};

static Files read_files(const Block *block)
{
    Files files = {0};

    for (guint i = 0; i < G_N_ELEMENTS(small); i++) {
        g_autofree char *path = g_build_filename(block->folder, small[i], NULL);
        g_file_get_contents(path, &files.bytes[i], &files.length[i], NULL);
    }
    return files;
}

static void clear_files(Files *files)
{
    for (guint i = 0; i < G_N_ELEMENTS(small); i++)
        g_free(files->bytes[i]);
}

static gboolean same_files(const Files *a, const Files *b)
{
    for (guint i = 0; i < G_N_ELEMENTS(small); i++)
        if (a->bytes[i] == NULL || b->bytes[i] == NULL || a->length[i] != b->length[i] ||
            memcmp(a->bytes[i], b->bytes[i], a->length[i]) != 0)
            return FALSE;
    return TRUE;
}

/* A moment is one only if nothing of the small files changed while the rest was looked at. What was promised is looked
 * at before the records: a flush that comes in between is in them, and is not demanded. */
static gboolean note_moment(const Block *block, Moments *moments)
{
    Moment *moment = &moments->moments[moments->n];
    Files before = read_files(block);
    gboolean good = TRUE;

    moment->phase = g_atomic_int_get(&block->shared->phase);
    memcpy(moment->flushed, block->shared->flushed, sizeof moment->flushed);
    __sync_synchronize();
    for (guint kind = 0; kind < IMAGES; kind++)
        for (guint i = 0; i < block->n_disks; i++)
            good = good && count_entries(block, kind, i, &moment->entries[kind][i]);
    Files after = read_files(block);
    good = good && same_files(&before, &after);
    for (guint i = 0; good && i < G_N_ELEMENTS(small); i++) {
        g_autofree char *path = kept_path(block, (guint)moments->n, small_kept[i]);
        good = g_file_set_contents(path, after.bytes[i], (gssize)after.length[i], NULL);
    }
    clear_files(&before);
    clear_files(&after);
    return good;
}

static pid_t start_witness(const Block *block, Moments *moments)
{
    pid_t pid = fork();

    if (pid != 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    g_autoptr(GRand) random = g_rand_new_with_seed((guint32)block->seed ^ 0x5eed);
    while (moments->n < MOST_MOMENTS && !g_atomic_int_get(&moments->enough)) {
        gint phase = g_atomic_int_get(&block->shared->phase);
        if (moments->of_phase[phase] < MOST_OF_PHASE && note_moment(block, moments)) {
            moments->of_phase[moments->moments[moments->n].phase]++;
            g_atomic_int_inc(&moments->n);
        }
        /* Closely around the pivot, where moments are short. */
        if (phase < BLOCK_READY || phase >= BLOCK_RESUMED)
            g_usleep((gulong)g_rand_int_range(random, 0, 20000));
        else
            g_usleep(20);
    }
    _exit(0);
}

/* --- what is left ------------------------------------------------------------------------------------------------ */

static void write_at(GByteArray *image, guint64 at, const guint8 *bytes, guint64 length)
{
    if (image->len < at + length) {
        guint before = image->len;
        g_byte_array_set_size(image, (guint)(at + length));
        memset(image->data + before, 0, image->len - before);
    }
    if (bytes != NULL)
        memcpy(image->data + at, bytes, length);
}

/* Sector by sector where it is torn; in one piece, or not at all. */
static void maybe_write(GByteArray *image, GRand *random, guint64 at, const guint8 *bytes, guint64 length)
{
    int how = g_rand_int_range(random, 0, 3);

    for (guint64 i = 0; how < 2 && i < length; i += LOG_SECTOR)
        if (how == 0 || g_rand_boolean(random))
            write_at(image, at + i, bytes + i, LOG_SECTOR);
}

typedef struct {
    guint64 sector, sectors, flags, data;
} Entry;

/* Where the next entry begins. */
static gsize read_entry(const guint8 *log, gsize at, Entry *entry)
{
    guint64 raw[4];

    memcpy(raw, log + at, sizeof raw);
    *entry = (Entry){GUINT64_FROM_LE(raw[0]), GUINT64_FROM_LE(raw[1]), GUINT64_FROM_LE(raw[2]), at + LOG_SECTOR};
    return at + LOG_SECTOR + ((entry->flags & DISCARD) != 0 ? 0 : entry->sectors * LOG_SECTOR);
}

/* The image at that many entries, as a power loss leaves it; without dice, as if there had been none. */
static void replay(GByteArray *image, const guint8 *log, gsize length, guint64 n, gboolean lies, GRand *random)
{
    gsize at = LOG_SECTOR;
    guint64 safe = 0;
    Entry entry;

    for (guint64 i = 0; i < n; i++) {
        g_assert(at + LOG_SECTOR <= length);
        at = read_entry(log, at, &entry);
        if ((entry.flags & FLUSH) != 0 && !lies)
            safe = i;
    }
    at = LOG_SECTOR;
    for (guint64 i = 0; i < n; i++) {
        at = read_entry(log, at, &entry);
        g_assert(at <= length);
        if ((entry.flags & (DISCARD | FLUSH)) != 0)
            continue;
        if (i < safe || random == NULL)
            write_at(image, entry.sector * LOG_SECTOR, log + entry.data, entry.sectors * LOG_SECTOR);
        else
            maybe_write(image, random, entry.sector * LOG_SECTOR, log + entry.data, entry.sectors * LOG_SECTOR);
    }
}

static GByteArray *image_at(const Block *block, guint kind, guint disk, guint64 n, GRand *random, GError **error)
{
    g_autofree char *first = g_strdup_printf("%s/%s-%u.first", block->log_folder, kinds[kind], disk);
    g_autofree char *log_name = log_path(block, kind, disk);
    g_autoptr(GByteArray) image = g_byte_array_new();
    g_autofree char *start = NULL, *log = NULL;
    gsize start_length, log_length;

    if (!g_file_get_contents(first, &start, &start_length, error) ||
        !g_file_get_contents(log_name, &log, &log_length, error))
        return NULL;
    g_byte_array_append(image, (guint8 *)start, (guint)start_length);
    replay(image, (guint8 *)log, log_length, n, block->lying_disk, random);
    /* Preallocation and the like are in no record: a file ends at a whole cluster. */
    write_at(image, (image->len + 65535) / 65536 * 65536, NULL, 0);
    return g_steal_pointer(&image);
}

static gboolean make_image(const Block *block, guint kind, guint disk, guint64 n, GRand *random, GError **error)
{
    g_autofree char *path = block_path(block, kinds[kind], disk);
    g_autoptr(GByteArray) image = image_at(block, kind, disk, n, random, error);

    return image != NULL && g_file_set_contents(path, (char *)image->data, image->len, error);
}

/* All of the record on top of the first image must be the image that there is. */
static gboolean record_is_whole(const Block *block, GError **error)
{
    for (guint kind = 0; kind < IMAGES; kind++)
        for (guint i = 0; i < block->n_disks; i++) {
            g_autofree char *path = block_path(block, kinds[kind], i);
            g_autofree char *is = NULL;
            gsize length;
            guint64 n;
            if (!count_entries(block, kind, i, &n) || !g_file_get_contents(path, &is, &length, error))
                return FALSE;
            g_autoptr(GByteArray) image = image_at(block, kind, i, n, NULL, error);
            if (image == NULL)
                return FALSE;
            write_at(image, length, NULL, 0);
            if (memcmp(image->data, is, length) != 0)
                return vmig_fail(error, VMIG_ERROR_INTERNAL, NULL, "the record of '%s' is not what was written", path);
        }
    return TRUE;
}

/* The definition of before: nobody has synced it until the journal says so. */
static gboolean forget_definition(Block *block, GRand *random, GError **error)
{
    g_autoptr(VmigJob) record = block_record(block, error);

    if (record == NULL)
        return FALSE;
    return record->merge == VMIG_MERGE_DONE || g_rand_boolean(random) || block_define_first(block, error);
}

static gboolean lose_power(Block *block, Moments *moments, guint which, GRand *random, GError **error)
{
    const Moment *moment = &moments->moments[which];
    guint tools = 0;

    if (!block_run_tool(error, "rm -rf %s/run", block->folder) || !block_make_folders(block, error))
        return FALSE;
    for (guint i = 0; i < G_N_ELEMENTS(small); i++) {
        g_autofree char *kept = kept_path(block, which, small_kept[i]);
        if (!block_run_tool(error, "cp %s %s/%s", kept, block->folder, small[i]))
            return FALSE;
    }
    for (guint kind = 0; kind < IMAGES; kind++)
        for (guint i = 0; i < block->n_disks; i++)
            if (!make_image(block, kind, i, moment->entries[kind][i], random, error))
                return FALSE;
    memset(block->shared->on_base, 0, sizeof block->shared->on_base);
    memset(block->shared->completing, 0, sizeof block->shared->completing);
    memcpy(block->shared->flushed, moment->flushed, sizeof moment->flushed);
    return forget_definition(block, random, error) && block_judge_by_rule(block, error) &&
           block_carry_on(block, random, &tools, error) && block_judge_end(block, error);
}

static gboolean keep_first(const Block *block, GError **error)
{
    for (guint kind = 0; kind < IMAGES; kind++)
        for (guint i = 0; i < block->n_disks; i++) {
            g_autofree char *path = block_path(block, kinds[kind], i);
            g_autofree char *log = log_path(block, kind, i);
            if (!block_run_tool(error, "cp %s %s/%s-%u.first", path, block->log_folder, kinds[kind], i) ||
                !g_file_set_contents(log, "", 0, error))
                return FALSE;
        }
    return TRUE;
}

/* From the arrival until the machine is through, with nothing going wrong. */
static gboolean record(Block *block, GRand *random, Moments *moments, GError **error)
{
    guint tools = 0;

    block->daemon = block_daemon(block, TRUE);
    g_atomic_int_set(&block->shared->may_run, 1);
    pid_t guest = block_start_guest(block);
    gboolean good = block_wait_filled(block, guest, error);
    g_atomic_int_set(&block->shared->may_run, 0);
    pid_t witness = start_witness(block, moments);
    good = good && block_end_tool(block_start_tool(block), FALSE) == 0;
    /* And some writes more, on the bases alone. */
    if (good)
        g_usleep((gulong)g_rand_int_range(random, 5000, 60000));
    g_atomic_int_set(&moments->enough, 1);
    waitpid(witness, NULL, 0);
    /* Its last write is in the record and on the disk, or in neither. */
    g_atomic_int_set(&block->shared->may_run, 0);
    while (good && !g_atomic_int_get(&block->shared->held))
        g_usleep(50);
    block_kill_daemon(block);
    waitpid(guest, NULL, 0);
    return (good || block_carry_on(block, random, &tools, error)) && record_is_whole(block, error);
}

gboolean block_power(Block *block, GRand *random, guint n, GError **error)
{
    Moments *moments = mmap(NULL, sizeof *moments, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    block->log_folder = g_build_filename(block->folder, "log", NULL);
    if (!block_make_folders(block, error) || g_mkdir_with_parents(block->log_folder, 0700) != 0 ||
        !block_take_template(block, error) || !block_define_first(block, error) || !block_prepare(block, error) ||
        !keep_first(block, error) || !record(block, random, moments, error))
        return FALSE;
    printf("recorded %d moments\n", moments->n);
    for (guint i = 0; i < n; i++) {
        /* Each phase as often as any other, however short it is. */
        gint phase = g_rand_int_range(random, 0, BLOCK_PHASES);
        guint which = (guint)g_rand_int_range(random, 0, moments->n);
        for (gint k = 0; k < moments->n && moments->moments[which].phase != phase; k++)
            which = (which + 1) % (guint)moments->n;
        /* The states of any two draws are their own. */
        g_autoptr(GRand) dice = g_rand_new_with_seed((guint32)block->seed * 1000 + i);
        printf("lost at %s\n", block_phases[moments->moments[which].phase]);
        if (!lose_power(block, moments, which, dice, error)) {
            g_prefix_error(error, "power loss %u, moment %u, phase %d: ", i, which, moments->moments[which].phase);
            return FALSE;
        }
    }
    return TRUE;
}
