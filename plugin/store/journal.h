/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The journal of one host: which jobs there are, how far each is, who owns the guest, which files are ours.
 *
 * One SQLite file. Every function that writes is one transaction: when it returns TRUE, what it wrote survives a power
 * loss; when it returns FALSE, nothing of it was written, but for one case: if the last of its syncs failed, it is the
 * old state or the new one. After a failed sync the object therefore writes nothing any more (JOURNAL): open the
 * journal again and read. The next write that succeeds makes durable what was read. Several processes may have the
 * journal open; one object belongs to one thread.
 *
 * Errors of all functions: JOURNAL for what cannot be read, written or trusted, NO_SPACE for a full disk, TIMEOUT if
 * another process kept it busy for 5 s.
 *
 * Folder plugin/store: what outlives the process on this host: the journal, the operation lock, and the gate that
 * every delete passes. Touches /var/lib/vmig-snap and the image roots.
 */
#pragma once

#include <glib.h>

#include "core/errors.h"
#include "core/job.h"

#define VMIG_JOURNAL_PATH "/var/lib/vmig-snap/journal.db"
/* PRAGMA user_version, and PRAGMA application_id ("vmsj") */
#define VMIG_JOURNAL_SCHEMA 3
#define VMIG_JOURNAL_APPLICATION 0x766d736a

#define VMIG_OWNER_SOURCE "source"
#define VMIG_OWNER_DESTINATION "destination"
#define VMIG_ROLE_SOURCE "source"
#define VMIG_ROLE_DESTINATION "destination"

typedef struct VmigJournal VmigJournal;

/* One line of a job's history. */
typedef struct {
    gint64 seq; /* rises over the whole journal */
    char *job;
    char *from;     /* name of a state */
    char *to;       /* the same as from in a note */
    char *phase;    /* "intent", "result" or "note" */
    gint64 wall_us; /* for people */
    gint64 boot_us; /* CLOCK_BOOTTIME, for durations within one boot */
    char *detail;   /* or NULL */
} VmigJournalEntry;

/* What the journal knows of one file. Written by store/gate.c alone. */
typedef struct {
    char *job;
    char *path;
    char *kind;       /* "part", "copy", "overlay", "hold", "socket", "base" */
    char *state;      /* "intended", "made", "verified", "redundant", "removed" */
    guint64 dev, ino; /* 0, 0 until it is made */
    gint64 born_ns;   /* birth time: an inode number is given to the next file soon; 0 where there is none */
    char *boot;       /* boot id when dev was read: device numbers last for one boot; or NULL */
    char *reason;     /* why it is redundant, or NULL */
} VmigJournalFile;

/* What a job is about, without its record. */
typedef struct {
    char *id, *uuid, *domain;
    gboolean finished;
} VmigJournalHead;
void vmig_journal_head_free(VmigJournalHead *head);

/* Opens the journal; makes it and its folder (0700) where there is none. machine_id, where not NULL, is stored when the
 * journal is made and compared afterwards.
 * Refuses (JOURNAL) a symbolic link, another owner, a folder or file that others can write, a second hard link, a
 * read-only file system; (JOURNAL_DAMAGED) a damaged or foreign database, that of another machine, a rollback file
 * without its database; (JOURNAL_NEWER) one of a newer vmig-snap; (JOURNAL_OLDER) one of an older
 * vmig-snap that has unfinished jobs. An older one without them is carried over. A damaged journal is never replaced:
 * that is vmig_journal_set_aside(). */
VmigJournal *vmig_journal_open(const char *path, const char *machine_id, GError **error);
/* To look only: works on a read-only file system; every writing function fails. NO_JOB where there is no journal. */
VmigJournal *vmig_journal_open_read_only(const char *path, const char *machine_id, GError **error);
/* The same without a proof of all that is in it, so that it takes as long however much there is: the rows that are read
 * are proven, each by its sum, and no more. */
VmigJournal *vmig_journal_open_to_look(const char *path, const char *machine_id, GError **error);
void vmig_journal_close(VmigJournal *journal);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigJournal, vmig_journal_close)

const char *vmig_journal_path(const VmigJournal *journal);
/* Where the files of its jobs may be (char *, copied), for store/gate.c; not set: anywhere, through no symbolic link.
 */
void vmig_journal_set_roots(VmigJournal *journal, GPtrArray *roots);
GPtrArray *vmig_journal_roots(const VmigJournal *journal);
/* The boot id of this host, or "" where /proc has none. */
const char *vmig_journal_boot_id(const VmigJournal *journal);
/* Reads everything, however large, and proves every row's sum. Opening does the same up to 64 MiB. */
gboolean vmig_journal_check(VmigJournal *journal, GError **error);
/* For `doctor --fix` only: renames a journal (and its rollback file) that cannot be used, so that the next open makes a
 * new one. LOCKED while a process has it open. */
gboolean vmig_journal_set_aside(const char *path, char **new_name, GError **error);
/* Gives the preallocated room back to the database. Writing functions do it themselves, once, when the disk is full,
 * and leave a note; opening reserves it again when there is space. *released is FALSE if there was none left. */
gboolean vmig_journal_release_reserve(VmigJournal *journal, gboolean *released, GError **error);

/* LOCKED if the domain has an unfinished job here: the message names it, its role and since when. */
gboolean vmig_journal_create_job(VmigJournal *journal, const VmigJob *job, const char *role, GError **error);
/* The record of a job, in the state that it is in: STATE if job->state or job->token is not what the journal has. */
gboolean vmig_journal_save(VmigJournal *journal, const VmigJob *job, GError **error);
/* The record as the other host's process has it, in whatever state; makes the job the first time. STATE if it would
 * undo what is decided here: a final state left, a state after the switchover left backwards, the token given back. */
gboolean vmig_journal_put(VmigJournal *journal, const VmigJob *job, const char *role, GError **error);

/* The same with the token, if it is given in the record, and with rows of its files (VmigJournalFile), all in one
 * transaction: for a journal that was replaced by an older one. */
gboolean vmig_journal_catch_up(VmigJournal *journal, const VmigJob *job, const char *role, GPtrArray *files,
                               GError **error);

/* Intent, act, result. begin writes the intent and leaves the state alone. commit sets the state in the job, its record
 * and the journal, and writes the result, in one transaction; a job whose commit failed is as before. STATE for a
 * transition that the table does not have. A final state finishes the job. detail may be NULL. */
gboolean vmig_journal_begin_transition(VmigJournal *journal, const VmigJob *job, VmigState to, const char *detail,
                                       GError **error);
gboolean vmig_journal_commit_transition(VmigJournal *journal, VmigJob *job, VmigState to, const char *detail,
                                        GError **error);
gboolean vmig_journal_note(VmigJournal *journal, const char *id, const char *detail, GError **error);

/* By id, or by the first 4 or more digits of one where they are unique. NO_JOB if there is none or more than one;
 * JOURNAL, naming the job, where record and row disagree. (transfer full) */
VmigJob *vmig_journal_load(VmigJournal *journal, const char *id, GError **error);
/* The unfinished job of a domain, by UUID or name; *ret is NULL if there is none. USAGE if two domains answer to it. */
gboolean vmig_journal_find_open(VmigJournal *journal, const char *uuid_or_name, VmigJob **ret, GError **error);
/* The finished job of that domain that changed last, or NULL in *ret. (transfer full) */
gboolean vmig_journal_find_ended(VmigJournal *journal, const char *uuid_or_name, VmigJob **ret, GError **error);
/* VmigJob, the one that changed last first; the unfinished ones, or all. (transfer container+full) */
GPtrArray *vmig_journal_list(VmigJournal *journal, gboolean all, GError **error);
/* As list() with all, but so many at most; *left_out older ones are not in it. */
GPtrArray *vmig_journal_newest(VmigJournal *journal, guint most, guint *left_out, GError **error);
/* VmigJournalHead of all, the one that changed last first. Without a proof: after vmig_journal_check(), or to decide
 * what is read. */
GPtrArray *vmig_journal_heads(VmigJournal *journal, GError **error);
/* "source" or "destination": which of the two this host is in that job. (transfer full) */
char *vmig_journal_role(VmigJournal *journal, const char *id, GError **error);
/* VmigJournalEntry, oldest first. */
GPtrArray *vmig_journal_history(VmigJournal *journal, const char *id, GError **error);
/* TRUE in *pending and the state in *to if the last begin has no commit: the process died while it acted. */
gboolean vmig_journal_pending(VmigJournal *journal, const char *id, gboolean *pending, VmigState *to, GError **error);

/* The XML of a job's snapshots, by the names in its record (VmigSnapshot.text, vmig_job_texts()). Creating a job puts
 * what the record has in memory; the end of a job drops them. */
#define VMIG_TEXTS_MAX 4096
#define VMIG_TEXTS_MAX_BYTES (G_GINT64_CONSTANT(1) << 30)
/* Those of the names that the journal does not have. (transfer full) */
char **vmig_journal_texts_missing(VmigJournal *journal, const char *id, const char *const *names, GError **error);
/* For a job that is or will be recorded. Repeating it is success. UNSUPPORTED beyond the limits. */
gboolean vmig_journal_texts_put(VmigJournal *journal, const char *id, const char *const *texts, GError **error);
/* JOURNAL where it is not there or not what its name says. (transfer full) */
char *vmig_journal_text(VmigJournal *journal, const char *id, const char *name, GError **error);

/* The owner by the token table, which begins as "source". (transfer full) */
char *vmig_journal_token(VmigJournal *journal, const char *id, GError **error);
/* source → destination, once. Repeating it is success, and writes again, so that TRUE always means durable; the way
 * back is STATE. Also sets the token of the stored record; the caller's own VmigJob is his to set. */
gboolean vmig_journal_set_token(VmigJournal *journal, const char *id, const char *owner, GError **error);

void vmig_journal_entry_free(VmigJournalEntry *entry);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigJournalEntry, vmig_journal_entry_free)

/* For store/gate.c. */
VmigJournalFile *vmig_journal_file_new(const char *job, const char *path, const char *kind, const char *state);
void vmig_journal_file_free(VmigJournalFile *file);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigJournalFile, vmig_journal_file_free)
/* *ret is NULL if the journal does not have the file for that job. */
gboolean vmig_journal_file_get(VmigJournal *journal, const char *job, const char *path, VmigJournalFile **ret,
                               GError **error);
/* Writes one row, or two in one transaction (second may be NULL). */
gboolean vmig_journal_file_put(VmigJournal *journal, const VmigJournalFile *file, const VmigJournalFile *second,
                               GError **error);
/* VmigJournalFile of one job (or, with job NULL, of that path, newest first) that are not removed. */
GPtrArray *vmig_journal_file_list(VmigJournal *journal, const char *job, const char *path, GError **error);
/* Of all finished jobs those that are not removed and not meant to stay: neither bases nor the disks of a guest that
 * arrived, nor what a job that was set aside has kept. */
GPtrArray *vmig_journal_files_left(VmigJournal *journal, GError **error);
