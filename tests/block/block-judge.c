/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What has to be true of the images, by programs that are not vmig-snap's. */
#include "block.h"

#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/errors.h"
#include "store/journal.h"

gboolean block_run_tool(GError **error, const char *format, ...)
{
    g_autofree char *err = NULL;
    va_list args;
    int status = 0;

    va_start(args, format);
    g_autofree char *command = g_strdup_vprintf(format, args);
    va_end(args);
    if (!g_spawn_command_line_sync(command, NULL, &err, &status, error))
        return FALSE;
    return status == 0 || vmig_fail(error, VMIG_ERROR_IMAGE_TOOL, NULL, "%s: %d: %s", command, status, err);
}

VmigJob *block_record(const Block *block, GError **error)
{
    g_autofree char *path = g_build_filename(block->folder, "state", "journal.db", NULL);
    g_autofree char *id = block_job_id(block);
    g_autoptr(VmigJournal) journal = vmig_journal_open_read_only(path, NULL, error);

    return journal != NULL ? vmig_journal_load(journal, id, error) : NULL;
}

static gboolean judge_view(const Block *block, guint disk, const char *kind, GError **error)
{
    g_autofree char *raw = g_strdup_printf("%s/view-%u.raw", block->folder, disk);
    g_autofree char *path = block_path(block, kind, disk);

    if (!block_run_tool(error, "qemu-img convert -f qcow2 -O raw %s %s", path, raw) ||
        !block_judge(block, disk, raw, error)) {
        g_prefix_error(error, "%s: ", kind);
        return FALSE;
    }
    unlink(raw);
    return TRUE;
}

/* What whoever comes now has: before the journal says that a disk is on its base, the overlay and what is below it. */
gboolean block_judge_by_rule(const Block *block, GError **error)
{
    g_autoptr(VmigJob) record = block_record(block, error);

    for (guint i = 0; record != NULL && i < block->n_disks; i++) {
        const VmigDisk *disk = record->disks->pdata[i];
        if (!judge_view(block, i, record->merge == VMIG_MERGE_DONE || disk->pivoted ? "base" : "overlay", error)) {
            g_prefix_error(error, "before recovery, in %s: ", record->state);
            return FALSE;
        }
    }
    return record != NULL;
}

static gboolean same_snapshot(const Block *block, guint disk, const char *name, GError **error)
{
    g_autofree char *path = block_path(block, "base", disk);
    g_autofree char *raw = g_strdup_printf("%s/snapshot.raw", block->folder);

    if (!block_run_tool(error, "qemu-img convert -f qcow2 -l snapshot.name=%s -O raw %s %s", name, path, raw) ||
        !block_run_tool(error, "cmp %s %s/%s-%u.raw", raw, block->template, name, disk)) {
        g_prefix_error(error, "snapshot %s of disk %u: ", name, disk);
        return FALSE;
    }
    unlink(raw);
    return TRUE;
}

/* qemu-img(1): 3 is leaked clusters and nothing else, which a kill may leave. */
static gboolean sound(const Block *block, guint disk, GError **error)
{
    g_autofree char *path = block_path(block, "base", disk);
    g_autofree char *command = g_strdup_printf("qemu-img check -q -f qcow2 %s", path);
    g_autofree char *out = NULL, *err = NULL;
    int status = 0;

    if (!g_spawn_command_line_sync(command, &out, &err, &status, error))
        return FALSE;
    int code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    return code == 0 || code == 3 || vmig_fail(error, VMIG_ERROR_BAD_IMAGE, NULL, "%s: %d", command, code);
}

gboolean block_judge_end(const Block *block, GError **error)
{
    for (guint i = 0; i < block->n_disks; i++)
        if (!judge_view(block, i, "base", error) || !same_snapshot(block, i, "one", error) ||
            !same_snapshot(block, i, "two", error) || !sound(block, i, error))
            return FALSE;
    return TRUE;
}
