/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The name in this host's certificate, as QEMU will read it. */
#pragma once

#include <glib.h>

#include "core/errors.h"

/* The distinguished name of client-cert.pem in this folder, spelled as QEMU's authz-simple compares it: GnuTLS produces
 * both. UNREACHABLE if there is no such certificate. (transfer full) */
char *vmig_tls_identity(const char *tls_dir, GError **error);
