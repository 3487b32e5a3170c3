/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Resolves names to paths. The result is only a hint: its user opens it below the root again. */
#include "os/real-path.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/errors.h"
#include "core/path-map.h"
#include "core/qcow2.h"

static char *real_path(const char *path)
{
    char *real = realpath(path, NULL);
    char *copy = g_strdup(real);

    free(real);
    return copy;
}

static gboolean fail_outside(const char *path, const char *real, GError **error)
{
    g_autofree char *shown = vmig_printable(path, strlen(path));
    g_autofree char *leads = vmig_printable(real, strlen(real));
    g_autofree char *folder = g_path_get_dirname(leads);
    g_autofree char *hint =
        g_strdup_printf("Add the directory %s to image-roots in /etc/vmig-snap/vmig-snap.conf.", folder);

    if (g_str_equal(path, real))
        return vmig_fail(error, VMIG_ERROR_OUTSIDE_ROOTS, hint, "'%s' is outside the image roots", shown);
    return vmig_fail(error, VMIG_ERROR_OUTSIDE_ROOTS, hint, "'%s' leads to '%s', which is outside the image roots",
                     shown, leads);
}

char *vmig_real_path(const char *path, GPtrArray *roots, GError **error)
{
    g_autofree char *real = *path == '/' ? real_path(path) : NULL;

    if (real == NULL) {
        g_autofree char *shown = vmig_printable(path, strlen(path));
        vmig_fail_errno(error, *path == '/' ? errno : EINVAL, "cannot stat '%s'", shown);
        return NULL;
    }
    /* If roots are nested, links count from the outermost one. */
    g_autofree char *best = NULL;
    gsize shortest = G_MAXSIZE;
    for (guint i = 0; i < roots->len; i++) {
        g_autofree char *plain = g_canonicalize_filename(roots->pdata[i], "/");
        g_autofree char *root = real_path(plain);
        if (root == NULL || strlen(root) >= shortest || !vmig_path_is_below(real, root))
            continue;
        shortest = strlen(root);
        g_free(best);
        best = g_build_filename(plain, real + shortest, NULL);
    }
    if (best != NULL)
        return g_steal_pointer(&best);
    fail_outside(path, real, error);
    return NULL;
}
