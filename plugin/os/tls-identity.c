/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Uses GnuTLS, because QEMU compares the text that gnutls_x509_crt_get_dn() produces (crypto/tlssession.c). */
#include "os/tls-identity.h"

#include <gnutls/gnutls.h>
#include <gnutls/x509.h>

static gboolean read_name(gnutls_x509_crt_t certificate, const char *pem, gsize length, char **name)
{
    gnutls_datum_t data = {(unsigned char *)pem, (unsigned)length};
    gsize room = 0;

    int status = gnutls_x509_crt_import(certificate, &data, GNUTLS_X509_FMT_PEM);
    if (status < 0)
        return FALSE;
    status = gnutls_x509_crt_get_dn(certificate, NULL, &room);
    if (status != GNUTLS_E_SHORT_MEMORY_BUFFER)
        return FALSE;
    *name = g_malloc0(room + 1);
    return gnutls_x509_crt_get_dn(certificate, *name, &room) == 0 && **name != '\0';
}

char *vmig_tls_identity(const char *tls_dir, GError **error)
{
    g_autofree char *path = g_build_filename(tls_dir, "client-cert.pem", NULL);
    g_autofree char *pem = NULL, *name = NULL;
    g_autoptr(GError) failure = NULL;
    gnutls_x509_crt_t certificate = NULL;
    gsize length = 0;

    if (g_file_get_contents(path, &pem, &length, &failure) && length <= G_MAXINT &&
        gnutls_x509_crt_init(&certificate) == 0 && read_name(certificate, pem, length, &name)) {
        gnutls_x509_crt_deinit(certificate);
        return g_steal_pointer(&name);
    }
    if (certificate != NULL)
        gnutls_x509_crt_deinit(certificate);
    vmig_fail(error, VMIG_ERROR_UNREACHABLE, "Put this host's client certificate and key into tls-dir.",
              "cannot read the client certificate %s: %s", path,
              failure != NULL ? failure->message : "it is not a certificate with a name");
    return NULL;
}
