/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "verify/compare.h"

#include <stdarg.h>

#include "core/names.h"
#include "definition/xml.h"

void vmig_difference_free(VmigDifference *difference)
{
    if (difference == NULL)
        return;
    g_free(difference->disk);
    g_free(difference->file);
    g_free(difference->snapshot);
    g_free(difference->message);
    g_free(difference);
}

GPtrArray *vmig_differences_new(void)
{
    return g_ptr_array_new_with_free_func((GDestroyNotify)vmig_difference_free);
}

void vmig_differences_add(GPtrArray *differences, const char *kind, const char *disk, const char *file,
                          const char *snapshot, const char *format, ...)
{
    VmigDifference *difference = g_new0(VmigDifference, 1);
    va_list args;

    va_start(args, format);
    difference->kind = kind;
    difference->disk = g_strdup(disk);
    difference->file = g_strdup(file);
    difference->snapshot = g_strdup(snapshot);
    difference->message = g_strdup_vprintf(format, args);
    va_end(args);
    g_ptr_array_add(differences, difference);
}

VmigContent *vmig_content_find(GPtrArray *contents, const char *id)
{
    for (guint i = 0; i < contents->len; i++)
        if (g_strcmp0(((const VmigContent *)contents->pdata[i])->id, id) == 0)
            return contents->pdata[i];
    return NULL;
}

/* One comparison, with the common beginning of its messages. */
typedef struct {
    const char *disk;
    const char *file;
    GPtrArray *differences;
} Comparison;

static void compare_text(const Comparison *c, const VmigContent *left, const char *what, const char *a, const char *b)
{
    if (g_strcmp0(a, b) != 0)
        vmig_differences_add(c->differences, VMIG_DIFFERS_FIELD, c->disk, c->file, left->name,
                             "disk %s: the %s of snapshot %s was '%s' and is '%s'", c->disk, what, left->id, a, b);
}

static void compare_number(const Comparison *c, const VmigContent *left, const char *what, guint64 a, guint64 b)
{
    if (a != b)
        vmig_differences_add(c->differences, VMIG_DIFFERS_FIELD, c->disk, c->file, left->name,
                             "disk %s: the %s of snapshot %s '%s' was %" G_GUINT64_FORMAT " and is %" G_GUINT64_FORMAT,
                             c->disk, what, left->id, left->name, a, b);
}

static void compare_fields(const Comparison *c, const VmigContent *left, const VmigContent *now)
{
    compare_text(c, left, "name", left->name, now->name);
    compare_number(c, left, "date (seconds)", left->date_sec, now->date_sec);
    compare_number(c, left, "date (nanoseconds)", left->date_nsec, now->date_nsec);
    compare_number(c, left, "clock", left->vm_clock, now->vm_clock);
    compare_number(c, left, "size of the memory", left->vm_state_size, now->vm_state_size);
    compare_number(c, left, "size of the disk", left->disk_size, now->disk_size);
    compare_number(c, left, "instruction count", left->icount, now->icount);
}

/* Compares the positions of the snapshots that both tables have. */
static void compare_order(const Comparison *c, GPtrArray *left, GPtrArray *arrived)
{
    guint k = 0;

    for (guint i = 0; i < left->len; i++) {
        const VmigContent *expected = left->pdata[i];
        if (vmig_content_find(arrived, expected->id) == NULL)
            continue;
        while (k < arrived->len && vmig_content_find(left, ((const VmigContent *)arrived->pdata[k])->id) == NULL)
            k++;
        /* Compares the order of the snapshots that both tables have. */
        if (k >= arrived->len)
            return;
        const VmigContent *found = arrived->pdata[k++];
        if (g_strcmp0(found->id, expected->id) == 0)
            continue;
        vmig_differences_add(c->differences, VMIG_DIFFERS_ORDER, c->disk, c->file, expected->name,
                             "disk %s: the snapshots are in another order: %s '%s' is in the place of %s '%s'", c->disk,
                             found->id, found->name, expected->id, expected->name);
        return;
    }
}

void vmig_verify_tables(const char *disk, const char *file, GPtrArray *left, GPtrArray *arrived, GPtrArray *differences)
{
    const Comparison c = {disk, file, differences};

    for (guint i = 0; i < left->len; i++) {
        const VmigContent *content = left->pdata[i];
        const VmigContent *now = vmig_content_find(arrived, content->id);
        if (now != NULL)
            compare_fields(&c, content, now);
        else
            vmig_differences_add(differences, VMIG_DIFFERS_MISSING, disk, file, content->name,
                                 "disk %s: snapshot %s '%s' is not in %s", disk, content->id, content->name, file);
    }
    for (guint i = 0; i < arrived->len; i++) {
        const VmigContent *content = arrived->pdata[i];
        if (vmig_content_find(left, content->id) == NULL)
            vmig_differences_add(differences, VMIG_DIFFERS_EXTRA, disk, file, content->name,
                                 "disk %s: snapshot %s '%s' is in %s, but did not come from the source", disk,
                                 content->id, content->name, file);
    }
    compare_order(&c, left, arrived);
}

/* Ids are unique in a table, so both tables contain the same number of common snapshots. */

static void tree_difference(GPtrArray *differences, const VmigSnapshot *snapshot, const char *what, const char *a,
                            const char *b)
{
    g_autofree char *name = vmig_text_escape(snapshot->name, -1);
    g_autofree char *was = vmig_text_escape(a != NULL ? a : "none", -1);
    g_autofree char *is = vmig_text_escape(b != NULL ? b : "none", -1);

    if (g_strcmp0(a, b) != 0)
        vmig_differences_add(differences, VMIG_DIFFERS_TREE, NULL, NULL, name,
                             "libvirt's snapshot '%s': its %s was '%s' and is '%s'", name, what, was, is);
}

static void compare_metadata(const VmigSnapshot *was, const VmigSnapshot *is, GPtrArray *differences)
{
    g_autofree char *made = g_strdup_printf("%" G_GINT64_FORMAT, was->creation_time);
    g_autofree char *makes = g_strdup_printf("%" G_GINT64_FORMAT, is->creation_time);

    tree_difference(differences, was, "parent", was->parent, is->parent);
    tree_difference(differences, was, "state", was->state, is->state);
    tree_difference(differences, was, "creation time", made, makes);
    tree_difference(differences, was, "memory", was->memory ? "kept" : "none", is->memory ? "kept" : "none");
    tree_difference(differences, was, "state as the current one", was->current ? "yes" : "no",
                    is->current ? "yes" : "no");
    tree_difference(differences, was, "description", was->description, is->description);
}

static const VmigSnapshot *find_snapshot(GPtrArray *snapshots, const char *name)
{
    for (guint i = 0; i < snapshots->len; i++)
        if (g_strcmp0(((const VmigSnapshot *)snapshots->pdata[i])->name, name) == 0)
            return snapshots->pdata[i];
    return NULL;
}

void vmig_verify_trees(GPtrArray *recorded, GPtrArray *now, GPtrArray *differences)
{
    for (guint i = 0; i < recorded->len; i++) {
        const VmigSnapshot *was = recorded->pdata[i], *is = find_snapshot(now, was->name);
        g_autofree char *name = vmig_text_escape(was->name, -1);
        if (is != NULL)
            compare_metadata(was, is, differences);
        else
            vmig_differences_add(differences, VMIG_DIFFERS_TREE, NULL, NULL, name,
                                 "libvirt's snapshot '%s' is missing on the destination", name);
    }
    for (guint i = 0; i < now->len; i++) {
        const VmigSnapshot *is = now->pdata[i];
        g_autofree char *name = vmig_text_escape(is->name, -1);
        if (find_snapshot(recorded, is->name) == NULL)
            vmig_differences_add(differences, VMIG_DIFFERS_TREE, NULL, NULL, name,
                                 "libvirt's snapshot '%s' exists on the destination, but did not come from the source",
                                 name);
    }
}
