/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The only error domain. The codes come from errors.def. A foreign library's error code is kept inside the error. */
#pragma once

#include <glib.h>

#include "vmig-snap/vmig-error.h"

/* The highest number of a code, plus one. Not a code. */
#define VMIG_ERROR_LAST (VMIG_ERROR_NOT_AUTHORIZED + 1)

/* The stable name of a code ("no-space"); never NULL. */
const char *vmig_error_name(VmigErrorCode code);
const char *vmig_error_meaning(VmigErrorCode code);
VmigErrorClass vmig_error_class(VmigErrorCode code);
/* The code of that name, or VMIG_ERROR_LAST. */
VmigErrorCode vmig_error_from_name(const char *name);

/* The name of an error: that of its code, or "internal" for an error of a foreign domain. */
const char *vmig_error_name_of(const GError *error);

/* What to do next, or NULL. The string belongs to the error. */
const char *vmig_error_hint(const GError *error);

/* The domain and code of another library (libvirt's virErrorDomain and virErrorNumber, or 0 and an errno). */
void vmig_error_set_foreign(GError *error, int domain, int code);
gboolean vmig_error_get_foreign(const GError *error, int *domain, int *code);

/* Sets an error of the domain with a hint; hint may be NULL. Returns FALSE, so that a caller can return the call. */
gboolean vmig_fail(GError **error, VmigErrorCode code, const char *hint, const char *format, ...) G_GNUC_PRINTF(4, 5);
/* The same for an errno: ENOSPC and EDQUOT become NO_SPACE, ENOSYS becomes UNSUPPORTED, all others IO. The text of the
 * errno is appended. */
gboolean vmig_fail_errno(GError **error, int errnum, const char *format, ...) G_GNUC_PRINTF(3, 4);

/* Converts an error of GLib or GIO into the domain, in place. An error of the domain is left unchanged. */
void vmig_error_adopt(GError **error, VmigErrorCode code);
