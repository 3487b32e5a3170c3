/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The name in a certificate of this host, as QEMU will read it. */
#pragma once

#include <glib.h>

#include "core/errors.h"

/* The distinguished name of client-cert.pem in that folder, in the spelling that QEMU's authz-simple compares with:
 * both are made by GnuTLS. UNREACHABLE where there is no such certificate. (transfer full) */
char *vmig_tls_identity(const char *tls_dir, GError **error);
