/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A folder for one journal, created for a test and removed afterwards. */
#pragma once

#include <glib/gstdio.h>
#include <stdlib.h>

typedef struct {
    char *dir;
    char *path;
} Fixture;

static inline void set_up(Fixture *f, G_GNUC_UNUSED gconstpointer data)
{
    f->dir = g_dir_make_tmp("vmig-journal-XXXXXX", NULL);
    f->path = g_build_filename(f->dir, "journal.db", NULL);
}

static inline void tear_down(Fixture *f, G_GNUC_UNUSED gconstpointer data)
{
    g_autofree char *command = g_strdup_printf("rm -rf '%s'", f->dir);

    g_assert_cmpint(system(command), ==, 0);
    g_free(f->dir);
    g_free(f->path);
}
