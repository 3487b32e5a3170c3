/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Receives one file: a part file and a qemu-nbd that serves it for writing on a unix socket or a port.
 *
 * The part is created sparse. The sender reserves space for its data before it writes (copier.c), so that a sparse
 * source never needs its full length here, and a full disk still shows at the start. qemu-nbd never outlives the
 * process that started it.
 *
 * One receiver handles one send. If the part is not new, the sender asks what is there and sends the differences; for
 * blocks that it did not write, the digest reported to it counts. Data written into holes is hashed concurrently, each
 * block once it is on the disk; all other written blocks are hashed at the end. This is valid only if no client except
 * the sender can connect: root on a unix socket, the owner of the one certificate with TLS. On a port without TLS
 * everything is hashed at the end, after the server has exited. To retry, start another receiver on the same part.
 */
#pragma once

#include <gio/gio.h>

#include "core/errors.h"
#include "os/block-hash.h"
#include "copy/listen.h"

typedef struct VmigReceiver VmigReceiver;

/* key: of the hashes; the sender has the same. Creates the part or reuses an existing one (the caller knows from the
 * journal that it is the job's own), and returns when the server answers on the socket. Removes a stale socket first.
 * Errors: NO_SPACE, IO, IMAGE_TOOL (with qemu-nbd's message), BAD_PATH for a socket path that is too long,
 * OUTSIDE_ROOTS for a part that has another hard link or is, or lies behind, a symbolic link. */
VmigReceiver *vmig_receiver_start(const char *part_path, guint64 size, const char *socket_path, const VmigHashKey *key,
                                  GError **error);

/* TRUE if the part was empty when this receiver opened it. */
gboolean vmig_receiver_is_fresh(VmigReceiver *receiver);
/* vmig_receiver_finish(), _abort() and _free() wait while it is held, because another thread asks what is there. */
void vmig_receiver_hold(VmigReceiver *receiver);
void vmig_receiver_release(VmigReceiver *receiver);
/* What is there from block first on, as a page of copy/known-blocks.h. The sender must ask for a block before it writes
 * to it. PROTOCOL for a block that the file does not have. */
gboolean vmig_receiver_known(VmigReceiver *receiver, guint64 first, GBytes **page, GError **error);

/* Ends the server, makes the file durable, and hashes it from the disk. rewritten: the blocks that the sender wrote
 * (vmig_block_set_write()); NULL: any. If the sender omits one, the hashes differ. The receiver is finished afterwards,
 * whatever this returns. IO is final: the part must be discarded, because after a failed fsync a later success proves
 * nothing. */
gboolean vmig_receiver_finish(VmigReceiver *receiver, const char *rewritten, char **hash, GError **error);
/* The same for another kind of socket; vmig_receiver_get_port() has the port. */
VmigReceiver *vmig_receiver_start_on(const char *part_path, guint64 size, const VmigListen *to, const VmigHashKey *key,
                                     GError **error);
/* The same for a part in an open folder. Of part_path only the file name counts; the rest is for messages. */
VmigReceiver *vmig_receiver_start_in(int folder, const char *part_path, guint64 size, const VmigListen *to,
                                     const VmigHashKey *key, GError **error);
guint vmig_receiver_get_port(VmigReceiver *receiver);
/* The name of the export that a client must request: 128 random bits on a port, "" on a unix socket. */
const char *vmig_receiver_get_export(VmigReceiver *receiver);
/* Kills the server; the part stays for the gate to remove. */
void vmig_receiver_abort(VmigReceiver *receiver);
/* Aborts it if it is not finished. */
void vmig_receiver_free(VmigReceiver *receiver);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigReceiver, vmig_receiver_free)

/* For tests: the server's PID, 0 once it is gone. */
GPid vmig_receiver_get_pid(VmigReceiver *receiver);
/* TRUE if the server writes past the page cache. */
gboolean vmig_receiver_is_direct(VmigReceiver *receiver);
