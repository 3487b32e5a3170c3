/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* GMAC from OpenSSL's libcrypto, which uses the CPU's AES and carry-less multiplication. */
#include "os/block-hash.h"

#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <string.h>
#include <sys/random.h>

#define GMAC_KEY_BYTES 16
#define IV_BYTES 12

struct VmigBlockHash {
    EVP_MAC_CTX *context;
    guint8 key[GMAC_KEY_BYTES];
    gboolean begun;
};

char *vmig_hash_key_to_text(const VmigHashKey *key)
{
    GString *text = g_string_new(NULL);

    for (guint i = 0; i < VMIG_HASH_KEY_BYTES; i++)
        g_string_append_printf(text, "%02x", key->bytes[i]);
    return g_string_free(text, FALSE);
}

/* A MAC that is ready for its first byte, or NULL. The initialization vector is constant: hashes are compared, not
 * published, and each key is used for one comparison only. */
static EVP_MAC_CTX *make_context(void)
{
    EVP_MAC *mac = EVP_MAC_fetch(NULL, "GMAC", NULL);
    EVP_MAC_CTX *context = mac != NULL ? EVP_MAC_CTX_new(mac) : NULL;

    EVP_MAC_free(mac);
    return context;
}

static gboolean begin(EVP_MAC_CTX *context, const guint8 *key)
{
    guint8 iv[IV_BYTES] = {0};
    char cipher[] = "AES-128-GCM";
    const OSSL_PARAM params[] = {
        OSSL_PARAM_utf8_string(OSSL_MAC_PARAM_CIPHER, cipher, sizeof cipher - 1),
        OSSL_PARAM_octet_string(OSSL_MAC_PARAM_IV, iv, sizeof iv),
        OSSL_PARAM_END,
    };

    return EVP_MAC_init(context, key, GMAC_KEY_BYTES, params) == 1;
}

gboolean vmig_hash_check(GError **error)
{
    static const guint8 key[GMAC_KEY_BYTES];
    EVP_MAC_CTX *context = make_context();
    gboolean ok = context != NULL && begin(context, key);

    EVP_MAC_CTX_free(context);
    return ok || vmig_fail(error, VMIG_ERROR_UNSUPPORTED, "Enable the default provider in this host's openssl.cnf.",
                           "cannot hash the copy: OpenSSL's libcrypto has no AES-128-GMAC");
}

gboolean vmig_hash_key_draw(VmigHashKey *key, GError **error)
{
    ssize_t got;

    do /* up to 256 bytes arrive in one piece (getrandom(2)), after waiting until the kernel has them */
        got = getrandom(key->bytes, sizeof key->bytes, 0);
    while (got < 0 && errno == EINTR);
    return got == sizeof key->bytes
               ? vmig_hash_check(error)
               : vmig_fail(error, VMIG_ERROR_UNSUPPORTED, NULL,
                           "cannot create a key for the hash of the copy: getrandom: %s", g_strerror(errno));
}

gboolean vmig_hash_key_read(const char *text, VmigHashKey *key, GError **error)
{
    gsize length = strlen(text);

    if (length != 2 * VMIG_HASH_KEY_BYTES || strspn(text, "0123456789abcdef") != length)
        return vmig_fail(error, VMIG_ERROR_PROTOCOL, NULL, "the key of the hash must have 64 hexadecimal digits");
    for (guint i = 0; i < VMIG_HASH_KEY_BYTES; i++)
        key->bytes[i] = (guint8)(g_ascii_xdigit_value(text[2 * i]) << 4 | g_ascii_xdigit_value(text[2 * i + 1]));
    return vmig_hash_check(error);
}

/* After vmig_hash_check() libcrypto fails here only for lack of memory. Aborting is better than a wrong hash. */
static void need(gboolean ok)
{
    if (!ok)
        g_error("out of memory");
}

VmigBlockHash *vmig_block_hash_new(const VmigHashKey *key)
{
    VmigBlockHash *hash = g_new0(VmigBlockHash, 1);

    hash->context = make_context();
    need(hash->context != NULL);
    memcpy(hash->key, key->bytes, GMAC_KEY_BYTES);
    return hash;
}

void vmig_block_hash_free(VmigBlockHash *hash)
{
    if (hash == NULL)
        return;
    EVP_MAC_CTX_free(hash->context);
    g_free(hash);
}

void vmig_block_hash_update(VmigBlockHash *hash, const void *data, gsize length)
{
    if (!hash->begun)
        need(begin(hash->context, hash->key));
    hash->begun = TRUE;
    need(EVP_MAC_update(hash->context, data, length) == 1);
}

void vmig_block_hash_end(VmigBlockHash *hash, guint8 ret[VMIG_HASH_BYTES])
{
    gsize length = 0;

    if (!hash->begun)
        need(begin(hash->context, hash->key));
    hash->begun = FALSE;
    need(EVP_MAC_final(hash->context, ret, &length, VMIG_HASH_BYTES) == 1 && length == VMIG_HASH_BYTES);
}

char *vmig_hash_summary(const VmigHashKey *key, guint64 size, const guint8 *digests, gsize length)
{
    g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);
    guint64 little = GUINT64_TO_LE(size);

    g_checksum_update(sum, key->bytes + GMAC_KEY_BYTES, VMIG_HASH_KEY_BYTES - GMAC_KEY_BYTES);
    g_checksum_update(sum, (const guchar *)&little, sizeof little);
    for (gsize done = 0, part; done < length; done += part) {
        part = MIN(length - done, G_MAXINT32);
        g_checksum_update(sum, digests + done, (gssize)part);
    }
    return g_strndup(g_checksum_get_string(sum), 32);
}

guint64 vmig_hash_key_seed(const VmigHashKey *key)
{
    g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);
    guint8 digest[32];
    gsize length = sizeof digest;
    guint64 seed;

    g_checksum_update(sum, (const guchar *)"leaf", 4);
    g_checksum_update(sum, key->bytes + GMAC_KEY_BYTES, VMIG_HASH_KEY_BYTES - GMAC_KEY_BYTES);
    g_checksum_get_digest(sum, digest, &length);
    memcpy(&seed, digest, sizeof seed);
    return GUINT64_FROM_LE(seed);
}
