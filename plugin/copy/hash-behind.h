/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Hashes a file concurrently with its writer, so that little is left to read at the end.
 *
 * No notification says which blocks are complete, but the file system knows: reserved space is a hole to
 * lseek(SEEK_DATA) until a write to it has reached the disk. This works only for blocks that start as holes and are
 * written with direct I/O, each byte once. Blocks that still contain holes afterwards are left for the final pass.
 */
#pragma once

#include "copy/file-hash.h"

typedef struct VmigHashBehind VmigHashBehind;

/* folder: the file's open folder, in which an unnamed file tests whether the file system distinguishes written from
 * reserved space. NULL if it does not. Blocks from upto on are left alone. Uses hash and fd until
 * vmig_hash_behind_free(), which ends the thread. */
VmigHashBehind *vmig_hash_behind_new(VmigTreeHash *hash, int folder, int fd, guint64 size, guint64 upto);
/* Declares that blocks below upto without a digest were holes and that their writer writes each byte once. */
void vmig_hash_behind_allow(VmigHashBehind *behind, guint64 upto);
void vmig_hash_behind_free(VmigHashBehind *behind);
