/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The record of one operation. It contains everything that a later process on either host needs to continue it.
 *
 * It is written as one JSON object to the journals of both hosts. Each structure has one table of fields in job.c that
 * drives both reading and writing, so the two cannot differ. Unknown fields are dropped, missing fields are zero.
 * VMIG_JOB_VERSION changes when the meaning of a field does. A fact with several levels is stored as one flag for each
 * level but the lowest; each level includes those before it.
 *
 * Folder plugin/core: the job record, errors, states, the retry decision, the decision table after a crash, and qcow2
 * headers. Pure: it opens no file, starts no process and does not call libvirt.
 */
#pragma once

#include <glib.h>
#include <json-glib/json-glib.h>

#include "core/artifact.h"
#include "core/role.h"
#include "core/states.h"

/* 2: merge "mirror"; 3: the XML of snapshots is kept beside the record; 4: the names of states and members; 5: the
 * flow, artifacts */
#define VMIG_JOB_VERSION 5

/* One internal snapshot of an image. Names and ids are printable: vmig_printable() maps different bytes to different
 * texts. The hashes are those of image/snapshot-page.h, or NULL if not yet known. */
typedef struct {
    char *id;
    char *name;
    guint64 date_sec, date_nsec;
    guint64 vm_clock;      /* nanoseconds */
    guint64 vm_state_size; /* bytes; 0: no memory */
    guint64 disk_size;
    guint64 icount; /* G_MAXUINT64 if not recorded */
    char *disk_hash;
    char *memory_hash; /* also NULL without memory */
} VmigContent;

/* The base copy of a file. */
typedef enum {
    VMIG_BASE_COPY_PART,   /* it has the part's name: it is not proven, or does not exist yet */
    VMIG_BASE_COPY_PLACED, /* it equals the source's file, and has its final name */
    VMIG_BASE_COPY_DIRTY,  /* the same, but a migration may have written into it since: it is no longer proven */
} VmigBaseCopy;

/* One file of a base: the base itself or one of its backing files. */
typedef struct {
    char *path[2];        /* by VmigRole: absolute path on that host; on the source a plain one */
    char *named;          /* the path in the source's definitions, if it differs; or NULL */
    char *part;           /* file name of the base copy until it is proven */
    char *format;         /* "qcow2" or "raw" */
    char *backing;        /* the backing file's name as stored in the header, or NULL */
    char *backing_format; /* or NULL */
    char *rebase;         /* the name to write into the base copy's header, or NULL if the stored one is right there */
    guint64 size;         /* size of the file in bytes */
    guint64 allocated;    /* bytes that it occupies */
    guint64 virtual_size; /* bytes that the guest sees */
    guint64 dev;          /* identity of the source file when it was frozen */
    guint64 ino;
    guint64 mtime_ns;
    guint64 mode; /* its permissions, as for chmod; 0: unknown */
    char *kept;   /* the job that left an image under the name dest, from which the base copy starts; or NULL */
    char *hash;   /* of the whole file, once both hosts agree on it */
    VmigBaseCopy copy;
    GPtrArray *contents; /* VmigContent: of the source's file, in its order, after a verification has hashed it */
    char *source_user;   /* at the end: another user of the source's file, because of which it is kept; NULL: none */
} VmigFile;

/* One thing of the guest that the job moves. */
typedef struct {
    VmigArtifactKind kind;
    char *target;     /* of a disk: "vda"; otherwise a name of its own */
    GPtrArray *files; /* VmigFile, the top first */
    /* The rest is of a disk. */
    struct {
        char *overlay;   /* the temporary overlay; NULL on the destination with merge "mirror", which has none there */
        char *hold;      /* the throw-away target of the hold; NULL on the destination if none was ever needed */
    } at[2];             /* by VmigRole */
    gboolean pivoted;    /* the owner writes into the base: the overlay is stale and must never be committed again */
    char *snapshot;      /* the snapshot= attribute of the running guest before the job, or NULL */
    char *next_snapshot; /* the same attribute of the definition for the next start */
    guint64 virtual_size;
} VmigArtifact;

/* An artifact that is a disk. */
typedef VmigArtifact VmigDisk;

/* libvirt's metadata of one snapshot. */
typedef struct {
    char *name;
    char *parent;         /* or NULL for a root */
    char *state;          /* "running", "shutoff", "disk-snapshot"... */
    char *xml;            /* from virDomainSnapshotGetXMLDesc(SECURE); not part of the record: NULL after reading */
    char *text;           /* SHA-256 of xml: the name under which each journal stores it */
    char *description;    /* the user's; a long one is replaced by its beginning and its SHA-256 */
    gint64 creation_time; /* seconds since the epoch */
    gboolean current;
    gboolean memory;    /* has memory state */
    char *unrevertable; /* why the destination could not revert to it, accepted by the operator; or NULL */
    gboolean external;  /* a part of it is stored outside the images */
} VmigSnapshot;

typedef struct {
    char *merge;          /* "commit" or "mirror" */
    char *transport;      /* "ssh", "tls" or "tcp" */
    guint64 bandwidth;    /* bytes per second for all storage traffic; 0: unlimited */
    guint64 max_downtime; /* milliseconds; 0: libvirt's default */
    guint64 parallel;     /* multifd connections; 0: no multifd */
    guint64 timeout;      /* seconds for the migration; 0: none */
    gboolean auto_converge;
    gboolean postcopy;
    gboolean keep_source;         /* --source-images keep */
    gboolean verify;              /* every snapshot is compared before anything is removed from the source */
    gboolean no_rehearsal;        /* the destination was not asked to prove that it can start the guest */
    gboolean accept_unrevertable; /* snapshots that could not be reverted to there do not prevent the migration */
    char *migrate_host;           /* the destination's name for libvirt on the source, or NULL for that in the URI */
    char *policy;
} VmigOptions;

/* What the overlays on the source contain. */
typedef enum {
    VMIG_OVERLAYS_UNUSED,   /* as far as the job knows, no write of the guest */
    VMIG_OVERLAYS_IN_USE,   /* the guest's writes since the bases were frozen, which the bases may not have */
    VMIG_OVERLAYS_DIVERGED, /* the same, but the guest was seen on its bases: no overlay may be committed */
} VmigOverlays;

/* How far the owner has merged its overlays into its bases. A job never returns to an earlier stage. */
typedef enum {
    VMIG_MERGE_NOT_BEGUN,
    VMIG_MERGE_COMMITTING, /* a byte may have been committed: no overlay may be dropped */
    VMIG_MERGE_PIVOTING,   /* a pivot was begun: the job may have put a disk on its base */
    VMIG_MERGE_DONE,       /* the live and the persistent definition name the bases */
} VmigMergeStage;

/* core/job-facts.c says which of these facts may be true in which state. */
typedef struct {
    guint64 version;        /* VMIG_JOB_VERSION */
    char *id;               /* 16 lower-case hex digits */
    const VmigStates *flow; /* the operation; stored as its name */
    char *state;            /* name of the state; vmig_job_state() */
    char *parked_state;     /* the state from which PARKED continues, or NULL */
    char *domain;           /* name */
    char *uuid;
    char *host[2];     /* by VmigRole: the host's name according to libvirt */
    char *connect_uri; /* the source's libvirt */
    char *dest_uri;
    VmigOptions options;

    GPtrArray *artifacts; /* VmigArtifact: everything that is moved */
    GPtrArray *disks;     /* VmigDisk: those of them that are disks, in the same order; not owned. Add only with
                           * vmig_job_add() */
    GPtrArray *snapshots; /* VmigSnapshot, parents first */
    char *live_xml;       /* the definition before the job, SECURE */
    char *persistent_xml;
    char *dest_xml; /* the definition for the destination */
    char *dest_persistent_xml;
    gboolean autostart;
    char *source_boot;   /* boot id of the source when the job began */
    char *content_key;   /* key of the hashes in the files' contents, drawn by the first verification; secret */
    gboolean was_paused; /* by its user: it arrives paused */

    gboolean migration_begun; /* libvirt may have been asked to migrate: before that, the guest was nowhere else */
    gboolean revoked;         /* the source continued after a migration: whatever arrived is stale and never runs */
    VmigRole owner;           /* the host that may run the guest: it has the token */
    VmigOverlays overlays;
    VmigMergeStage merge;
    gboolean suspended;    /* by the job, around a pivot: a process that finds the guest suspended resumes it */
    gboolean start_again;  /* its QEMU died before the pivot, or the job ended it; the guest is off although no user
                            * asked for it */
    gboolean verified;     /* every snapshot was compared, and none differs */
    gboolean source_clean; /* nothing of the job is left on the source */

    guint64 started; /* seconds since the epoch, for people */
    guint64 ended;
    guint64 bytes_copied; /* over the network, outside libvirt's migration */
    guint64 bytes_mirrored;
    guint64 bytes_memory;
    guint64 downtime_ms;
    guint64 attempt; /* number of the try in this state, from 1 */
    char *next_try;  /* for people, or NULL */

    char *last_code; /* how the last try of the state failed, also on the way back; NULL if none has */
    char *last_message;
    char *last_hint;

    char *error_code; /* why the job goes back, parked or failed; NULL if there is no problem */
    char *error_message;
    char *error_hint;
} VmigJob;

VmigContent *vmig_content_new(void);
void vmig_content_free(VmigContent *content);
VmigFile *vmig_file_new(void);
void vmig_file_free(VmigFile *file);
VmigArtifact *vmig_artifact_new(VmigArtifactKind kind);
VmigDisk *vmig_disk_new(void);
void vmig_artifact_free(VmigArtifact *artifact);
VmigSnapshot *vmig_snapshot_new(void);
void vmig_snapshot_free(VmigSnapshot *snapshot);
/* Takes xml, and sets text to its name. */
void vmig_snapshot_take_xml(VmigSnapshot *snapshot, char *xml);
/* A job in the first state of the flow. */
VmigJob *vmig_job_new(const VmigStates *flow);
/* For a call that asks only for the job's id. */
VmigJob *vmig_job_only_id(const char *id);
void vmig_job_free(VmigJob *job);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigContent, vmig_content_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigFile, vmig_file_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigArtifact, vmig_artifact_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigSnapshot, vmig_snapshot_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigJob, vmig_job_free)

/* Takes ownership of the artifact. */
void vmig_job_add(VmigJob *job, VmigArtifact *artifact);
/* Removes and frees it. */
void vmig_job_remove(VmigJob *job, VmigArtifact *artifact);

/* Records that the merge has come as far as this stage. It never goes back to an earlier one. */
void vmig_job_reach_merge(VmigJob *job, VmigMergeStage stage);

VmigState vmig_job_state(const VmigJob *job);
/* How the job ended; VMIG_END_NONE if it has not. */
VmigEnd vmig_job_end(const VmigJob *job);
/* The VmigMayBe bits of what the host with that role may have in the job's state; for a parked job in the state in
 * which it parked. */
guint vmig_job_expected(const VmigJob *job, VmigRole role);
/* Whether the job is parked: it waits for an operator. */
gboolean vmig_job_waits(const VmigJob *job);
/* The job's state. For a parked job the state in which it parked, or NULL if the record lacks it. */
VmigState vmig_job_work_state(const VmigJob *job);
void vmig_job_set_state(VmigJob *job, VmigState state);
void vmig_job_set_error(VmigJob *job, const GError *error);
void vmig_job_set_last(VmigJob *job, const GError *error);
/* The names of the XML texts of its snapshots, each once. (transfer full) */
char **vmig_job_texts(const VmigJob *job);
/* Call it once the journal has the XML, which may be hundreds of megabytes. */
void vmig_job_forget_xml(VmigJob *job);
/* The disk of that target name, or NULL. (transfer none) */
VmigDisk *vmig_job_disk(const VmigJob *job, const char *target);
/* The file that the guest's disk uses once no overlay is left: the first of the chain. (transfer none) */
VmigFile *vmig_disk_base(const VmigDisk *disk);
/* The path of a file, an overlay or a hold on the host with that role; NULL if there is none. (transfer none) */
const char *vmig_file_path(const VmigFile *file, VmigRole role);
const char *vmig_disk_overlay(const VmigDisk *disk, VmigRole role);
const char *vmig_disk_hold(const VmigDisk *disk, VmigRole role);
/* VmigFile of all artifacts, each file once. A file comes after those that it backs. (transfer container) */
GPtrArray *vmig_job_images(const VmigJob *job);
/* Several artifacts may share a file, and each of them lists it. Returns the first entry that is the same file of the
 * source. Only that one is copied. (transfer none) */
VmigFile *vmig_job_first(const VmigJob *job, const VmigFile *file);
/* Merge "mirror": the migration writes into the base copies themselves. */
gboolean vmig_job_merges_by_mirror(const VmigJob *job);

/* (transfer full) */
JsonObject *vmig_job_to_json(const VmigJob *job);
char *vmig_job_to_string(const VmigJob *job);
/* The maximum size of a record that is sent to the other host in one message, with room for the rest of the message. */
#define VMIG_JOB_RECORD_MAX (15 * 1024 * 1024)
gsize vmig_job_record_size(const VmigJob *job);
/* A hint how to end an unfinished job of an older version; id NULL: one of several jobs. (transfer full) */
char *vmig_job_older_hint(const char *id);
/* Errors: JOURNAL if it is no job, or contradicts itself, JOURNAL_NEWER for a newer version, JOURNAL_OLDER for an
 * unfinished job of an older version, whose fields have other meanings. A finished job of an older version is accepted,
 * because it is only displayed. */
gboolean vmig_job_check(const VmigJob *job, GError **error);
/* The same errors. */
VmigJob *vmig_job_from_json(JsonObject *object, GError **error);
VmigJob *vmig_job_from_string(const char *text, GError **error);
/* Checks a record that the other host sent. CONTRADICTION if it changes what must stay fixed on this host: the guest,
 * its definitions, the hosts, the disks and their files, and that the source's images are kept. After the switchover
 * the identity of the files on the source is fixed too. */
gboolean vmig_job_check_told(const VmigJob *own, const VmigJob *told, VmigRole here, GError **error);
/* A deep copy. (transfer full) */
VmigJob *vmig_job_copy(const VmigJob *job);
