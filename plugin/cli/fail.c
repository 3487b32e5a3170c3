/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cli/fail.h"

gboolean vmig_cli_fail(GError **error, VmigErrorCode code, const char *hint, const char *format, ...)
{
    va_list args;

    if (error == NULL)
        return FALSE;
    va_start(args, format);
    *error = g_error_new_valist(VMIG_ERROR, (int)code, format, args);
    va_end(args);
    if (hint != NULL)
        vmig_error_set_hint(*error, "%s", hint);
    return FALSE;
}

gboolean vmig_cli_fail_errno(GError **error, int errnum, const char *what)
{
    return vmig_cli_fail(error, VMIG_ERROR_IO, NULL, "%s: %s", what, g_strerror(errnum));
}
