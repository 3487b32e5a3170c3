/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Hashes a file behind the back of who writes it, so that little is left to read at the end.
 *
 * Nobody tells which blocks are complete, but the file system knows: room that is only reserved is a hole to
 * lseek(SEEK_DATA) until a write to it has reached the disk. Only for blocks that are holes to begin with and are
 * written with direct I/O, each byte once; blocks that are partly holes in the end are left for the end.
 */
#pragma once

#include "copy/file-hash.h"

typedef struct VmigHashBehind VmigHashBehind;

/* folder: the file's, open, for a nameless file in which it is tried whether the file system tells written from
 * reserved. NULL where it does not. Blocks from upto on are left alone. Keeps hash and fd until
 * vmig_hash_behind_free(), which ends it. */
VmigHashBehind *vmig_hash_behind_new(VmigTreeHash *hash, int folder, int fd, guint64 size, guint64 upto);
/* Blocks below upto that have no digest yet were holes: whoever writes them writes each byte once. */
void vmig_hash_behind_allow(VmigHashBehind *behind, guint64 upto);
void vmig_hash_behind_free(VmigHashBehind *behind);
