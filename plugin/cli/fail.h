/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Errors of the command line itself. */
#pragma once

#include "vmig-snap/vmig-snap.h"

/* Sets an error with a hint; hint may be NULL. Returns FALSE, so that a caller can return the call. */
gboolean vmig_cli_fail(GError **error, VmigErrorCode code, const char *hint, const char *format, ...)
    G_GNUC_PRINTF(4, 5);
/* The same for an errno: IO with the text of the errno. */
gboolean vmig_cli_fail_errno(GError **error, int errnum, const char *what);
