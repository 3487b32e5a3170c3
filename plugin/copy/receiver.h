/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One file being received: a part file and a qemu-nbd that serves it for writing on a unix socket.
 *
 * The part is created sparse; the sender reserves what its data needs before it writes (copier.c), so that a sparse
 * source never needs its full length here and a full disk still shows at the start. qemu-nbd lives at most as long as
 * the process that started it.
 *
 * One receiver takes one send. Where the part is not new, the sender asks what is there and sends what differs; what it
 * did not write counts with the digest that it was told. What is written into holes is hashed behind the writes, each
 * block once it is on the disk; everything else that was written is hashed at the end. All that holds only where nobody
 * but the sender can connect: root on a unix socket, the owner of the one certificate with TLS. On a port without TLS
 * everything is hashed at the end, when the server is gone. To try again, start another receiver on the same part.
 */
#pragma once

#include <gio/gio.h>

#include "core/errors.h"
#include "os/block-hash.h"
#include "copy/listen.h"

typedef struct VmigReceiver VmigReceiver;

/* key: of the hashes; the sender has the same. Makes the part, or takes one that exists (the caller knows by the
 * journal that it is the job's own), and returns when the server answers on the socket. A stale socket there goes
 * first. Errors: NO_SPACE, IO, IMAGE_TOOL (with what qemu-nbd said), BAD_PATH for a socket path that is too long,
 * OUTSIDE_ROOTS for a part that has another name too or is, or lies behind, a symbolic link. */
VmigReceiver *vmig_receiver_start(const char *part_path, guint64 size, const char *socket_path, const VmigHashKey *key,
                                  GError **error);

/* TRUE where the part was made by this receiver: there is nothing in it. */
gboolean vmig_receiver_is_fresh(VmigReceiver *receiver);
/* Between the two vmig_receiver_finish(), _abort() and _free() wait; for who asks from another thread what is there. */
void vmig_receiver_hold(VmigReceiver *receiver);
void vmig_receiver_release(VmigReceiver *receiver);
/* What is there from block first on, as a page of copy/known-blocks.h. The sender asks for a block before it writes to
 * it. PROTOCOL for a block that the file does not have. */
gboolean vmig_receiver_known(VmigReceiver *receiver, guint64 first, GBytes **page, GError **error);

/* Ends the server, makes the file durable, and hashes it from the disk. rewritten: the blocks that were written to, as
 * the sender tells (vmig_block_set_write()); NULL: any. A sender that leaves one out makes the hashes differ. The
 * receiver is over afterwards, whatever this returns. IO from here is final: the part must be thrown away, for an fsync
 * that failed once says nothing when it succeeds later. */
gboolean vmig_receiver_finish(VmigReceiver *receiver, const char *rewritten, char **hash, GError **error);
/* The same, to be reached in another way; the port it got. */
VmigReceiver *vmig_receiver_start_on(const char *part_path, guint64 size, const VmigListen *to, const VmigHashKey *key,
                                     GError **error);
/* The same, for a part in an open folder, which is the one that counts: part_path is for messages but for its name. */
VmigReceiver *vmig_receiver_start_in(int folder, const char *part_path, guint64 size, const VmigListen *to,
                                     const VmigHashKey *key, GError **error);
guint vmig_receiver_get_port(VmigReceiver *receiver);
/* The name of the export, which a client must ask for: 128 random bits on a port, "" on a unix socket. */
const char *vmig_receiver_get_export(VmigReceiver *receiver);
/* Ends the server at once; the part stays for the gate to remove. */
void vmig_receiver_abort(VmigReceiver *receiver);
/* Aborts one that is not over. */
void vmig_receiver_free(VmigReceiver *receiver);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigReceiver, vmig_receiver_free)

/* For tests: the server's process, 0 when it is gone. */
GPid vmig_receiver_get_pid(VmigReceiver *receiver);
/* TRUE where the server writes past the page cache. */
gboolean vmig_receiver_is_direct(VmigReceiver *receiver);
