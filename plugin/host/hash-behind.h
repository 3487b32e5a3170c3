/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Hashes a file behind the back of who writes it, so that little is left to read at the end.
 *
 * Nobody tells which blocks are complete, but the file system knows: room that is only reserved is a hole to
 * lseek(SEEK_DATA) until a write to it has reached the disk. Only for a new file that is written with direct I/O, each
 * byte once; blocks that are partly holes are left for the end.
 */
#pragma once

#include "host/file-hash.h"

typedef struct VmigHashBehind VmigHashBehind;

/* NULL where the file system does not tell written from reserved. fd: the file, empty but for its length. Keeps both
 * arguments until vmig_hash_behind_free(), which ends it. */
VmigHashBehind *vmig_hash_behind_new(VmigTreeHash *hash, int fd, guint64 size);
void vmig_hash_behind_free(VmigHashBehind *behind);
