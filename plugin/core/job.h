/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The record of one operation: all that a later process, on either host, needs to carry it on.
 *
 * It is written as one JSON object, to the journals of both hosts. Each structure has one table of fields in job.c
 * that drives reading and writing, so that a field cannot be written and then not be read. Unknown fields are kept
 * out, missing ones are zero; VMIG_JOB_VERSION changes when the meaning of a field does.
 *
 * Folder plugin/core: the job record, errors, states, the retry decision and the decision table after a crash, qcow2
 * headers. Pure: nothing here opens a file, starts a process or talks to libvirt.
 */
#pragma once

#include <glib.h>
#include <json-glib/json-glib.h>

#include "core/states.h"

/* 2: the merge "mirror"; 3: the XML of snapshots is kept beside the record; 4: the names of states and members */
#define VMIG_JOB_VERSION 4

/* What one internal snapshot of an image is. Names and ids are printable: vmig_printable(), other bytes are another
 * text. The hashes are those of image/snapshot-page.h, NULL while they are not known. */
typedef struct {
    char *id;
    char *name;
    guint64 date_sec, date_nsec;
    guint64 vm_clock;      /* nanoseconds */
    guint64 vm_state_size; /* bytes; 0: no memory */
    guint64 disk_size;
    guint64 icount; /* G_MAXUINT64 where it was not recorded */
    char *disk_hash;
    char *memory_hash; /* NULL without memory too */
} VmigContent;

/* One file of a base: the base itself or one of the files that it is backed by. */
typedef struct {
    char *source;         /* absolute path on the source, plain */
    char *named;          /* how the source's definitions lead to it, where that is another text; or NULL */
    char *dest;           /* absolute path on the destination */
    char *part;           /* where the base copy is written until it is proven */
    char *format;         /* "qcow2" or "raw" */
    char *backing;        /* the backing file's name as the header has it, or NULL */
    char *backing_format; /* or NULL */
    char *rebase;      /* the name to write into the base copy's header, or NULL where the stored one is right there */
    guint64 size;      /* bytes of the file */
    guint64 allocated; /* bytes that it occupies */
    guint64 virtual_size; /* bytes that the guest sees */
    guint64 dev;          /* identity of the source file when it was frozen */
    guint64 ino;
    guint64 mtime_ns;
    char *kept;          /* the job that left an image under the name dest, to begin the base copy with; or NULL */
    char *hash;          /* of the whole file, once both sides agree on it */
    gboolean placed;     /* the base copy has its final name */
    gboolean dirty;      /* a migration may have written into the base copy since: it is not what was proven any more */
    GPtrArray *contents; /* VmigContent: of the source's file, in its order, once a verification has hashed it */
    char *source_user;   /* at the end: who needs the source's file all the same, so that it stays; NULL: nobody */
} VmigFile;

typedef struct {
    char *target;        /* "vda" */
    GPtrArray *files;    /* VmigFile, the top first */
    char *overlay;       /* the temporary overlay on the source */
    char *dest_overlay;  /* and on the destination; NULL with the merge "mirror", which has none */
    char *hold;          /* the throw-away target of the hold */
    char *dest_hold;     /* of one on the destination, where one was ever needed */
    gboolean pivoted;    /* the owner writes into the base: the overlay is stale and must never be committed again */
    char *snapshot;      /* the snapshot= attribute of the running guest before the job, or NULL */
    char *next_snapshot; /* and that of its definition for the next start */
    guint64 virtual_size;
} VmigDisk;

/* What libvirt remembers of one snapshot. */
typedef struct {
    char *name;
    char *parent;      /* or NULL for a root */
    char *state;       /* "running", "shutoff", "disk-snapshot"... */
    char *xml;         /* as virDomainSnapshotGetXMLDesc(SECURE) gave it; not part of the record: NULL after reading */
    char *text;        /* SHA-256 of xml: the name under which each journal has it */
    char *description; /* the user's; of a long one the beginning and its SHA-256 */
    gint64 creation_time; /* seconds since the epoch */
    gboolean current;
    gboolean memory;    /* has memory state */
    char *unrevertable; /* why the destination could not revert to it, accepted by the operator; or NULL */
    gboolean external;  /* any part of it is kept outside the images */
} VmigSnapshot;

typedef struct {
    char *merge;          /* "commit" or "mirror" */
    char *transport;      /* "ssh", "tls" or "tcp" */
    guint64 bandwidth;    /* bytes a second for all storage traffic; 0 is without limit */
    guint64 max_downtime; /* milliseconds; 0 is libvirt's default */
    guint64 parallel;     /* multifd connections; 0 is without */
    guint64 timeout;      /* seconds for the migration; 0 is without */
    gboolean auto_converge;
    gboolean postcopy;
    gboolean keep_source;         /* --source-images keep */
    gboolean verify;              /* every snapshot is compared before anything of the source is removed */
    gboolean no_rehearsal;        /* the destination was not asked to prove that it starts the guest */
    gboolean accept_unrevertable; /* snapshots that could not be reverted to there are no reason against it */
    char *migrate_host;           /* the destination's name for libvirt on the source, or NULL for the URI's */
    char *policy;
} VmigOptions;

typedef struct {
    guint64 version;    /* VMIG_JOB_VERSION */
    char *id;           /* 16 lower-case hex digits */
    char *state;        /* the name of the state; vmig_job_state() */
    char *parked_state; /* where PARKED goes on from, or NULL */
    char *domain;       /* name */
    char *uuid;
    char *source_host; /* the name that libvirt gives of the host */
    char *dest_host;
    char *connect_uri; /* the source's libvirt */
    char *dest_uri;
    VmigOptions options;

    GPtrArray *disks;     /* VmigDisk */
    GPtrArray *snapshots; /* VmigSnapshot, parents first */
    char *live_xml;       /* the definition before the job, SECURE */
    char *persistent_xml;
    char *dest_xml; /* what the destination is given */
    char *dest_persistent_xml;
    gboolean autostart;
    char *source_boot;   /* boot id of the source when the job began */
    char *content_key;   /* of the hashes in the files' contents, drawn by the first verification; secret */
    gboolean was_paused; /* by its user: it arrives paused */

    gboolean
        migration_begun;     /* libvirt may have been asked to migrate: until then nothing of the guest was elsewhere */
    gboolean revoked;        /* the source went on after a migration: what may have arrived is stale and never runs */
    char *token;             /* "source" or "destination": who may run the guest */
    gboolean commit_started; /* a byte may have been committed on the owner: no overlay may be dropped any more */
    gboolean frozen;         /* the overlays take the guest's writes: they may hold what the bases do not */
    gboolean diverged;       /* ... and yet the guest was seen on its bases: no overlay may be committed any more */
    gboolean pivoting;       /* a pivot was begun: a disk on its base may be there by us */
    gboolean suspended;      /* by us, around a pivot: whoever finds it so resumes the guest */
    gboolean pivoted;        /* on the owner: live and persistent definition name the bases */
    gboolean start_again;  /* its QEMU died before the pivot, or was ended by us; it is off, and was not asked to be */
    gboolean verified;     /* every snapshot was compared, and none differs */
    gboolean source_clean; /* nothing of the job is left on the source */

    guint64 started; /* seconds since the epoch, for people */
    guint64 ended;
    guint64 bytes_copied; /* over the network, out of band */
    guint64 bytes_mirrored;
    guint64 bytes_memory;
    guint64 downtime_ms;
    guint64 attempt; /* of the state it is in, from 1 */
    char *next_try;  /* for people, or NULL */

    char *last_code; /* how the last try of the state failed, on the way back too; NULL while none has */
    char *last_message;
    char *last_hint;

    char *error_code; /* why it goes back, parked or failed; NULL while all is well */
    char *error_message;
    char *error_hint;
} VmigJob;

VmigContent *vmig_content_new(void);
void vmig_content_free(VmigContent *content);
VmigFile *vmig_file_new(void);
void vmig_file_free(VmigFile *file);
VmigDisk *vmig_disk_new(void);
void vmig_disk_free(VmigDisk *disk);
VmigSnapshot *vmig_snapshot_new(void);
void vmig_snapshot_free(VmigSnapshot *snapshot);
/* Takes xml, and names it. */
void vmig_snapshot_take_xml(VmigSnapshot *snapshot, char *xml);
VmigJob *vmig_job_new(void);
void vmig_job_free(VmigJob *job);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigContent, vmig_content_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigFile, vmig_file_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigDisk, vmig_disk_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigSnapshot, vmig_snapshot_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigJob, vmig_job_free)

VmigState vmig_job_state(const VmigJob *job);
/* How it ended, VMIG_END_NONE while it has not. */
VmigEnd vmig_job_end(const VmigJob *job);
/* Whether it is parked: it waits for an operator. */
gboolean vmig_job_waits(const VmigJob *job);
/* Its state; of a parked one that where it parked, or VMIG_STATE_LAST where the record does not say it. */
VmigState vmig_job_work_state(const VmigJob *job);
void vmig_job_set_state(VmigJob *job, VmigState state);
void vmig_job_set_error(VmigJob *job, const GError *error);
void vmig_job_set_last(VmigJob *job, const GError *error);
/* The names of the XML of its snapshots, each once. (transfer full) */
char **vmig_job_texts(const VmigJob *job);
/* Once the journal has the XML: it may be hundreds of megabytes. */
void vmig_job_forget_xml(VmigJob *job);
/* The disk of that target name, or NULL. (transfer none) */
VmigDisk *vmig_job_disk(const VmigJob *job, const char *target);
/* The file that the guest's disk is on once no overlay is left: the first of the chain. (transfer none) */
VmigFile *vmig_disk_base(const VmigDisk *disk);
/* VmigFile of all disks, each file once, and none before one that lies on it. (transfer container) */
GPtrArray *vmig_job_images(const VmigJob *job);
/* Disks may lie on one file, which each of them lists: the first entry of all that are the same file of the source. It
 * is the one that is copied. (transfer none) */
VmigFile *vmig_job_first(const VmigJob *job, const VmigFile *file);
gboolean vmig_job_token_is_dest(const VmigJob *job);
/* The merge "mirror": the migration writes into the base copies themselves. */
gboolean vmig_job_merges_by_mirror(const VmigJob *job);

/* (transfer full) */
JsonObject *vmig_job_to_json(const VmigJob *job);
char *vmig_job_to_string(const VmigJob *job);
/* Of a record that is handed to the other host in one message, with room for what is around it. */
#define VMIG_JOB_RECORD_MAX (15 * 1024 * 1024)
gsize vmig_job_record_size(const VmigJob *job);
/* What ends an unfinished job of an older version; id NULL: one of several. (transfer full) */
char *vmig_job_older_hint(const char *id);
/* Error: JOURNAL for what is no job, JOURNAL_NEWER for a newer version, JOURNAL_OLDER for an unfinished job of an older
 * version: its fields mean something else. One that has ended is only looked at. */
VmigJob *vmig_job_from_json(JsonObject *object, GError **error);
VmigJob *vmig_job_from_string(const char *text, GError **error);
/* STATE where the record that the other host tells of a job changes what this host, which is its source or not, has
 * recorded of it for good: the guest, its definitions, the hosts, the disks and their files, that the source's images
 * stay, and from the switchover on which files these are. */
gboolean vmig_job_check_told(const VmigJob *own, const VmigJob *told, gboolean source, GError **error);
/* A deep copy. (transfer full) */
VmigJob *vmig_job_copy(const VmigJob *job);
