/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The keyed hash of content blocks.
 *
 * The guest's owner controls the content, so the hash must resist content made to collide. It is AES-128-GMAC under a
 * key that the guest cannot know. For any two different contents of up to 4 MiB, the chance of equal hashes is below
 * 2^-109, as long as their author knows neither the key nor any hash under it. A key is drawn for one attempt of one
 * copy, or for the verifications of one job. docs/security.md has the figures behind this choice.
 *
 * Block hashes may be compared block by block, but must not be hashed again with the same key: GMAC is linear, and
 * changes in two blocks could cancel out. vmig_hash_summary(), which is SHA-256, combines the block hashes.
 */
#pragma once

#include <glib.h>

#include "core/errors.h"

#define VMIG_HASH_BYTES 16
#define VMIG_HASH_KEY_BYTES 32

typedef struct {
    guint8 bytes[VMIG_HASH_KEY_BYTES]; /* 16 for GMAC, 16 for everything else */
} VmigHashKey;

/* Draws from the kernel's random numbers. UNSUPPORTED if the kernel has none, or libcrypto has no GMAC. */
gboolean vmig_hash_key_draw(VmigHashKey *key, GError **error);
/* As 64 hex digits. (transfer full) */
char *vmig_hash_key_to_text(const VmigHashKey *key);
/* UNSUPPORTED if libcrypto has no GMAC. */
gboolean vmig_hash_check(GError **error);
/* PROTOCOL for anything but 64 lower-case hex digits; UNSUPPORTED if libcrypto has no GMAC. */
gboolean vmig_hash_key_read(const char *text, VmigHashKey *key, GError **error);

/* A streaming hash, one block at a time. Not thread-safe. */
typedef struct VmigBlockHash VmigBlockHash;

VmigBlockHash *vmig_block_hash_new(const VmigHashKey *key);
void vmig_block_hash_free(VmigBlockHash *hash);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigBlockHash, vmig_block_hash_free)
void vmig_block_hash_update(VmigBlockHash *hash, const void *data, gsize length);
/* The hash of all data since the last call; the next update starts a new one. */
void vmig_block_hash_end(VmigBlockHash *hash, guint8 ret[VMIG_HASH_BYTES]);

/* The first half of the SHA-256 of the key's second half, the size (little-endian, 8 bytes) and the digests, as 32 hex
 * digits. It reveals nothing about the key or the digests. (transfer full) */
char *vmig_hash_summary(const VmigHashKey *key, guint64 size, const guint8 *digests, gsize length);
/* A seed for hashes that only select what to send. */
guint64 vmig_hash_key_seed(const VmigHashKey *key);
