/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The error domain of the library. The numbers are part of the ABI: a removed code leaves a gap, and a new code
 * gets the next free number. */
#pragma once

#include <glib-object.h>

G_BEGIN_DECLS

/**
 * VMIG_ERROR:
 *
 * The domain of all errors that this library sets.
 */
#define VMIG_ERROR (vmig_error_quark())

/**
 * VmigErrorCode:
 * @VMIG_ERROR_USAGE: the command line is wrong: an unknown option, a malformed number, a missing argument
 * @VMIG_ERROR_BAD_URI: the libvirt URI is malformed or of a kind that vmig-snap does not support
 * @VMIG_ERROR_BAD_PATH: a path is not a plain absolute path: it is relative or contains '..'
 * @VMIG_ERROR_BAD_NAME: a name is empty, too long or contains characters that are not allowed in it
 * @VMIG_ERROR_NO_JOB: the journal of this host does not have the job
 * @VMIG_ERROR_REFUSED: the plan found one or more reasons to refuse, each with its own code
 * @VMIG_ERROR_NO_DOMAIN: the source host has no such domain
 * @VMIG_ERROR_AMBIGUOUS_DOMAIN: the text is the name of one domain and the UUID of another, or several domains match
 *   it
 * @VMIG_ERROR_NOT_RUNNING: the guest is not running; only running guests can be migrated
 * @VMIG_ERROR_TRANSIENT_DOMAIN: the domain is transient: after a crash there is no persistent definition to return to
 * @VMIG_ERROR_UNREACHABLE: a host or its libvirt cannot be reached
 * @VMIG_ERROR_SAME_HOST: source and destination are the same host
 * @VMIG_ERROR_NO_AGENT: vmig-snap cannot be started on the other host over ssh
 * @VMIG_ERROR_NOT_AUTHORIZED: the user, or vmig-snap on the other host, is not allowed to do this: not root, or
 *   refused by libvirt's authentication
 * @VMIG_ERROR_PROTOCOL: the other host's vmig-snap uses another protocol version, or sent an invalid message
 * @VMIG_ERROR_BLOCK_JOB: a disk has a running block job
 * @VMIG_ERROR_DOMAIN_JOB: the domain has a running job (save, migration, backup)
 * @VMIG_ERROR_CHECKPOINTS: the domain has checkpoints
 * @VMIG_ERROR_BITMAPS: an image has persistent dirty bitmaps
 * @VMIG_ERROR_MANAGED_SAVE: the domain has a managed save image
 * @VMIG_ERROR_TRANSIENT_DISK: a disk is <transient/>
 * @VMIG_ERROR_SHARED_DISK: a disk given with --disk is shareable or on storage that both hosts share
 * @VMIG_ERROR_NOT_SHARED: a disk is not moved, and it is not proven that the destination uses the same storage for it
 * @VMIG_ERROR_NO_ACCESS: QEMU on the destination could not open a disk that is not moved
 * @VMIG_ERROR_READONLY_DISK: a disk given with --disk is read-only
 * @VMIG_ERROR_UNKNOWN_DISK: the domain has no disk with that target name
 * @VMIG_ERROR_DEFINITIONS_DIFFER: the live and the persistent definition differ in a disk that is moved
 * @VMIG_ERROR_DISK_KIND: a disk is not a local file (it is a network disk, volume, block device or vhost-user disk),
 *   or its format is not qcow2 or raw
 * @VMIG_ERROR_NO_DISK: there is no disk to move
 * @VMIG_ERROR_EXTERNAL_SNAPSHOT: the snapshot tree contains external snapshots
 * @VMIG_ERROR_NVRAM: the guest has UEFI variables (NVRAM) in a file that vmig-snap cannot move yet
 * @VMIG_ERROR_HOST_DEVICE: the guest uses a device or a directory of its host (hostdev, virtiofs)
 * @VMIG_ERROR_DESTINATION_EXISTS: a destination path exists and is not a file of this job
 * @VMIG_ERROR_PATH_CLASH: two files would get the same destination path
 * @VMIG_ERROR_OUTSIDE_ROOTS: a path is outside the image roots of its host
 * @VMIG_ERROR_ODD_PATH: a path in the definition or in an image is not supported: it has control characters, is too
 *   long or is not absolute
 * @VMIG_ERROR_NO_DIRECTORY: a destination directory does not exist or cannot be written
 * @VMIG_ERROR_DATA_FILE: an image keeps its data in an external data file
 * @VMIG_ERROR_ENCRYPTED: an image is encrypted
 * @VMIG_ERROR_OLD_IMAGE: a qcow2 image has version 2 (compat=0.10), and the job needs version 3
 * @VMIG_ERROR_ODD_SIZE: the size of a raw image is not a multiple of 512 bytes
 * @VMIG_ERROR_BAD_IMAGE: an image is damaged, marked as corrupt, of an unknown kind, or exceeds a limit
 * @VMIG_ERROR_CHAIN: the backing chain has a cycle, is too long, or differs from the chain that libvirt reports
 * @VMIG_ERROR_NO_EMULATOR: the destination lacks the emulator or the machine type
 * @VMIG_ERROR_DOMAIN_EXISTS: the destination already has a domain with that name or UUID
 * @VMIG_ERROR_MEDIA_MISSING: a read-only medium or another file that the guest uses does not exist on the destination
 * @VMIG_ERROR_REHEARSAL: the destination could not start the rehearsal, a paused twin of the guest on empty disks
 * @VMIG_ERROR_SNAPSHOT_DEFINITION: the destination's libvirt does not accept the definition of a snapshot
 * @VMIG_ERROR_UNREVERTABLE: the destination could not revert to a snapshot, for example because a file that it uses
 *   is missing there
 * @VMIG_ERROR_UNRESOLVED: the name under which the source's libvirt connects to the destination does not resolve on
 *   the source
 * @VMIG_ERROR_DYNAMIC_OWNERSHIP: the destination's libvirt does not give QEMU access to images (dynamic_ownership=0),
 *   and QEMU does not run as root there
 * @VMIG_ERROR_NO_FORWARDING: the destination's sshd does not allow forwarding of unix sockets
 * @VMIG_ERROR_LIBVIRT_SOCKET: the destination's libvirt does not listen on the socket that vmig-snap connects to
 * @VMIG_ERROR_MERGE: a condition of the requested merge is not met
 * @VMIG_ERROR_UNSUPPORTED: the requested option or combination of options is not supported
 * @VMIG_ERROR_LOCKED: another operation holds the domain
 * @VMIG_ERROR_CANCELLED: an operator cancelled the job
 * @VMIG_ERROR_INTERRUPTED: the process that ran the job ended while libvirt migrated the guest
 * @VMIG_ERROR_HYPERVISOR: a libvirt call failed; libvirt's own error domain and code are kept
 * @VMIG_ERROR_HYPERVISOR_REFUSED: libvirt reports that it does not support this; a retry does not help
 * @VMIG_ERROR_SETUP: a host lacks something that the guest needs (a bridge, a network, an address, access to a
 *   directory); a retry does not help
 * @VMIG_ERROR_CONNECTION: the connection to a host was lost
 * @VMIG_ERROR_TIMEOUT: an operation did not finish before its deadline
 * @VMIG_ERROR_STALLED: a copy, a migration or a block job made no progress for too long
 * @VMIG_ERROR_JOB_LOST: a block job disappeared, and no event reported how it ended
 * @VMIG_ERROR_JOB_CANCELLED: another process or a user cancelled a block job (virsh blockjob --abort)
 * @VMIG_ERROR_NO_SPACE: a file system has too little space, or is full; refused with exit 3 if the plan finds it
 * @VMIG_ERROR_IO: reading or writing a file failed
 * @VMIG_ERROR_GUEST_GONE: the guest stopped during the migration
 * @VMIG_ERROR_HASH_MISMATCH: the base copy differs from the base
 * @VMIG_ERROR_BASE_CHANGED: a frozen base was changed while it was copied
 * @VMIG_ERROR_DIFFERS: a snapshot, the snapshot tree or an image on the destination differs from the source
 * @VMIG_ERROR_UNPROVEN: a snapshot cannot be compared: the source's image and its hashes are gone, or it changed
 *   meanwhile
 * @VMIG_ERROR_NOT_REVERTABLE: the destination could not start the machine that a snapshot with memory was taken of
 * @VMIG_ERROR_INTERFERENCE: another process or a user changed the guest's backing chain, snapshots or definition
 *   during the job
 * @VMIG_ERROR_IMAGE_TOOL: qemu-img or qemu-nbd failed
 * @VMIG_ERROR_JOURNAL: the journal cannot be read or written
 * @VMIG_ERROR_JOURNAL_DAMAGED: the journal is damaged or belongs to another machine; `doctor --fix` sets it aside
 * @VMIG_ERROR_JOURNAL_NEWER: the journal was written by a newer vmig-snap
 * @VMIG_ERROR_JOURNAL_OLDER: the journal has an unfinished job of an older vmig-snap, and only that version can end
 *   it
 * @VMIG_ERROR_FORGOTTEN: that host does not accept the record: its journal does not have the job, and no domain there
 *   carries the job's marker
 * @VMIG_ERROR_GATE: an operation was refused because the journal does not prove that it is safe, such as deleting a
 *   file that is still needed
 * @VMIG_ERROR_CONTRADICTION: the records of a job, or the facts on the two hosts, contradict each other
 * @VMIG_ERROR_XML: XML from libvirt cannot be parsed or lacks an expected element
 * @VMIG_ERROR_PARKED: the job waits for an operator
 * @VMIG_ERROR_CRASHED: the process died at this point (simulation only)
 * @VMIG_ERROR_INJECTED: a fault that VMIG_SNAP_FAULT injected (test builds only)
 * @VMIG_ERROR_INTERNAL: a bug in vmig-snap
 *
 * What failed. Names, numbers and meanings are stable. docs/errors.md lists the codes with their names in JSON
 * documents and on the command line.
 */
typedef enum {
    VMIG_ERROR_USAGE = 0,
    VMIG_ERROR_BAD_URI = 1,
    VMIG_ERROR_BAD_PATH = 2,
    VMIG_ERROR_BAD_NAME = 3,
    VMIG_ERROR_NO_JOB = 4,
    VMIG_ERROR_REFUSED = 5,
    VMIG_ERROR_NO_DOMAIN = 6,
    VMIG_ERROR_AMBIGUOUS_DOMAIN = 7,
    VMIG_ERROR_NOT_RUNNING = 8,
    VMIG_ERROR_TRANSIENT_DOMAIN = 9,
    VMIG_ERROR_UNREACHABLE = 10,
    VMIG_ERROR_SAME_HOST = 11,
    VMIG_ERROR_NO_AGENT = 12,
    VMIG_ERROR_PROTOCOL = 13,
    VMIG_ERROR_BLOCK_JOB = 14,
    VMIG_ERROR_DOMAIN_JOB = 15,
    VMIG_ERROR_CHECKPOINTS = 16,
    VMIG_ERROR_BITMAPS = 17,
    VMIG_ERROR_MANAGED_SAVE = 18,
    VMIG_ERROR_TRANSIENT_DISK = 19,
    VMIG_ERROR_SHARED_DISK = 20,
    VMIG_ERROR_NOT_SHARED = 21,
    VMIG_ERROR_NO_ACCESS = 22,
    VMIG_ERROR_READONLY_DISK = 23,
    VMIG_ERROR_UNKNOWN_DISK = 24,
    VMIG_ERROR_DEFINITIONS_DIFFER = 25,
    VMIG_ERROR_DISK_KIND = 26,
    VMIG_ERROR_NO_DISK = 27,
    VMIG_ERROR_EXTERNAL_SNAPSHOT = 28,
    VMIG_ERROR_NVRAM = 29,
    VMIG_ERROR_HOST_DEVICE = 30,
    VMIG_ERROR_DESTINATION_EXISTS = 31,
    VMIG_ERROR_PATH_CLASH = 32,
    VMIG_ERROR_OUTSIDE_ROOTS = 33,
    VMIG_ERROR_ODD_PATH = 34,
    VMIG_ERROR_NO_DIRECTORY = 35,
    VMIG_ERROR_DATA_FILE = 36,
    VMIG_ERROR_ENCRYPTED = 37,
    VMIG_ERROR_OLD_IMAGE = 38,
    VMIG_ERROR_ODD_SIZE = 39,
    VMIG_ERROR_BAD_IMAGE = 40,
    VMIG_ERROR_CHAIN = 41,
    VMIG_ERROR_NO_EMULATOR = 42,
    VMIG_ERROR_DOMAIN_EXISTS = 43,
    VMIG_ERROR_MEDIA_MISSING = 44,
    VMIG_ERROR_REHEARSAL = 45,
    VMIG_ERROR_SNAPSHOT_DEFINITION = 46,
    VMIG_ERROR_UNREVERTABLE = 47,
    VMIG_ERROR_UNRESOLVED = 48,
    VMIG_ERROR_DYNAMIC_OWNERSHIP = 49,
    VMIG_ERROR_NO_FORWARDING = 50,
    VMIG_ERROR_LIBVIRT_SOCKET = 51,
    VMIG_ERROR_MERGE = 52,
    VMIG_ERROR_UNSUPPORTED = 53,
    VMIG_ERROR_LOCKED = 54,
    VMIG_ERROR_CANCELLED = 55,
    VMIG_ERROR_INTERRUPTED = 56,
    VMIG_ERROR_HYPERVISOR = 57,
    VMIG_ERROR_HYPERVISOR_REFUSED = 58,
    VMIG_ERROR_SETUP = 59,
    VMIG_ERROR_CONNECTION = 60,
    VMIG_ERROR_TIMEOUT = 61,
    VMIG_ERROR_STALLED = 62,
    VMIG_ERROR_JOB_LOST = 63,
    VMIG_ERROR_JOB_CANCELLED = 64,
    VMIG_ERROR_NO_SPACE = 65,
    VMIG_ERROR_IO = 66,
    VMIG_ERROR_GUEST_GONE = 67,
    VMIG_ERROR_HASH_MISMATCH = 68,
    VMIG_ERROR_BASE_CHANGED = 69,
    VMIG_ERROR_DIFFERS = 70,
    VMIG_ERROR_UNPROVEN = 71,
    VMIG_ERROR_NOT_REVERTABLE = 72,
    VMIG_ERROR_INTERFERENCE = 73,
    VMIG_ERROR_IMAGE_TOOL = 74,
    VMIG_ERROR_JOURNAL = 75,
    VMIG_ERROR_JOURNAL_DAMAGED = 76,
    VMIG_ERROR_JOURNAL_NEWER = 77,
    VMIG_ERROR_JOURNAL_OLDER = 78,
    VMIG_ERROR_FORGOTTEN = 79,
    VMIG_ERROR_GATE = 80,
    VMIG_ERROR_CONTRADICTION = 81,
    VMIG_ERROR_XML = 82,
    VMIG_ERROR_PARKED = 83,
    VMIG_ERROR_CRASHED = 84,
    VMIG_ERROR_INJECTED = 85,
    VMIG_ERROR_INTERNAL = 86,
    VMIG_ERROR_NOT_AUTHORIZED = 87,
} VmigErrorCode;

#define VMIG_TYPE_ERROR_CODE (vmig_error_get_type())
GType vmig_error_get_type(void);
GQuark vmig_error_quark(void);

/**
 * VmigErrorClass:
 * @VMIG_CLASS_USAGE: the request is wrong
 * @VMIG_CLASS_REFUSAL: refused before anything was touched
 * @VMIG_CLASS_TRANSIENT: a retry may help, without anybody doing something
 * @VMIG_CLASS_NO_SPACE: a retry helps when there is space
 * @VMIG_CLASS_IO: reading or writing failed
 * @VMIG_CLASS_GONE: the guest stopped
 * @VMIG_CLASS_FATAL: a retry does not help
 *
 * What kind of error a code is. It decides whether a failed step is retried, and the exit code of the command.
 */
typedef enum {
    VMIG_CLASS_USAGE,
    VMIG_CLASS_REFUSAL,
    VMIG_CLASS_TRANSIENT,
    VMIG_CLASS_NO_SPACE,
    VMIG_CLASS_IO,
    VMIG_CLASS_GONE,
    VMIG_CLASS_FATAL,
} VmigErrorClass;

#define VMIG_TYPE_ERROR_CLASS (vmig_error_class_get_type())
GType vmig_error_class_get_type(void);

const char *vmig_error_get_name(const GError *error);
const char *vmig_error_get_hint(const GError *error);
void vmig_error_set_hint(GError *error, const char *format, ...) G_GNUC_PRINTF(2, 3);
const char *vmig_error_code_get_name(VmigErrorCode code);
gboolean vmig_error_code_from_name(const char *name, VmigErrorCode *code);
VmigErrorClass vmig_error_code_get_class(VmigErrorCode code);

G_END_DECLS
