/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The keyed hash of blocks of content.
 *
 * The owner of the guest chooses the content, so the hash must hold against content that was made to collide. It is
 * AES-128-GMAC under a key that the guest cannot know: for any two different contents of up to 4 MiB the chance of the
 * same hash is below 2^-109, whatever they are, as long as whoever chose them knows neither the key nor any hash under
 * it. Keys are drawn for one try of one copy, or for the verifications of one job. docs/security.md has the figures
 * that led to this choice.
 *
 * The hashes of blocks may be compared block by block, but they may not be hashed again with the same key: GMAC is
 * linear, and changes of two blocks could cancel out. What sums up blocks is vmig_hash_summary(), which is SHA-256.
 */
#pragma once

#include <glib.h>

#include "core/errors.h"

#define VMIG_HASH_BYTES 16
#define VMIG_HASH_KEY_BYTES 32

typedef struct {
    guint8 bytes[VMIG_HASH_KEY_BYTES]; /* 16 for GMAC, 16 for everything else */
} VmigHashKey;

/* From the kernel's random numbers. UNSUPPORTED where the kernel has none, or libcrypto has no GMAC. */
gboolean vmig_hash_key_draw(VmigHashKey *key, GError **error);
/* As 64 hex digits. (transfer full) */
char *vmig_hash_key_to_text(const VmigHashKey *key);
/* Whether libcrypto can do it: UNSUPPORTED. */
gboolean vmig_hash_check(GError **error);
/* PROTOCOL for anything but 64 lower-case hex digits; UNSUPPORTED where libcrypto has no GMAC. */
gboolean vmig_hash_key_read(const char *text, VmigHashKey *key, GError **error);

/* One hash at a time, as a stream. Not for two threads at once. */
typedef struct VmigBlockHash VmigBlockHash;

VmigBlockHash *vmig_block_hash_new(const VmigHashKey *key);
void vmig_block_hash_free(VmigBlockHash *hash);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigBlockHash, vmig_block_hash_free)
void vmig_block_hash_update(VmigBlockHash *hash, const void *data, gsize length);
/* The hash of everything since the last end; the next update begins a new one. */
void vmig_block_hash_end(VmigBlockHash *hash, guint8 ret[VMIG_HASH_BYTES]);

/* The first half of the SHA-256 of the key's second half, the size (little-endian, 8 bytes) and the digests, as 32 hex
 * digits. It tells nothing about the key or the digests to whoever sees it. (transfer full) */
char *vmig_hash_summary(const VmigHashKey *key, guint64 size, const guint8 *digests, gsize length);
/* A seed for hashes that only choose what to send. */
guint64 vmig_hash_key_seed(const VmigHashKey *key);
