/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The journal of one host: its jobs and their progress, the owner of each guest, and the files that jobs made.
 *
 * It is one SQLite file. Every writing function is one transaction. If it returns TRUE, its changes survive a power
 * loss. If it returns FALSE, nothing was changed, with one exception: if the last sync failed, the state is either the
 * old or the new one. After a failed sync the object refuses all further writes (JOURNAL): open the journal again and
 * read. The next successful write makes durable what was read. Several processes may have the journal open. An object
 * must be used by one thread only.
 *
 * Errors of all functions: JOURNAL if the journal cannot be read, written or trusted, NO_SPACE for a full disk, TIMEOUT
 * if another process kept it busy for 5 s.
 *
 * Folder plugin/store: everything of this host that outlives the process: the journal, the operation lock, and the
 * gate that every delete passes. It accesses /var/lib/vmig-snap and the image roots.
 */
#pragma once

#include <glib.h>

#include "core/errors.h"
#include "core/job.h"

#define VMIG_JOURNAL_PATH "/var/lib/vmig-snap/journal.db"
/* PRAGMA user_version, and PRAGMA application_id ("vmsj") */
#define VMIG_JOURNAL_SCHEMA 3
#define VMIG_JOURNAL_APPLICATION 0x766d736a

typedef struct VmigJournal VmigJournal;

/* One line of a job's history. */
typedef struct {
    gint64 seq; /* increases over the whole journal */
    char *job;
    char *from;     /* name of a state */
    char *to;       /* equals from in a note */
    char *phase;    /* "intent", "result" or "note" */
    gint64 wall_us; /* for people */
    gint64 boot_us; /* CLOCK_BOOTTIME, for durations within one boot */
    char *detail;   /* or NULL */
} VmigJournalEntry;

/* The journal's data on one file. Only store/gate.c writes it. */
typedef struct {
    char *job;
    char *path;
    char *kind;       /* "part", "copy", "overlay", "hold", "socket", "base" */
    char *state;      /* "intended", "made", "verified", "redundant", "removed" */
    guint64 dev, ino; /* 0, 0 until the file is made */
    gint64 born_ns;   /* birth time, because inode numbers are soon reused; 0 if there is none */
    char *boot;       /* boot id when dev was read, because device numbers last for one boot; or NULL */
    char *reason;     /* why it is redundant, or NULL */
} VmigJournalFile;

/* The main data of a job, without its record. */
typedef struct {
    char *id, *uuid, *domain;
    gboolean finished;
} VmigJournalHead;
void vmig_journal_head_free(VmigJournalHead *head);

/* Opens the journal. Creates it and its directory (0700) if there is none. machine_id, if not NULL, is stored when the
 * journal is created, and compared afterwards. Errors: JOURNAL for a symbolic link, another owner, a directory or file
 * that others can write, a second hard link, a read-only file system; JOURNAL_DAMAGED for a damaged or foreign
 * database, that of another machine, or a rollback file without its database; JOURNAL_NEWER for that of a newer
 * vmig-snap; JOURNAL_OLDER for that of an older vmig-snap with unfinished jobs. An older journal without unfinished
 * jobs is upgraded. A damaged journal is never replaced here: see vmig_journal_set_aside(). */
VmigJournal *vmig_journal_open(const char *path, const char *machine_id, GError **error);
/* Opens for reading only: works on a read-only file system, and every writing function fails. NO_JOB if there is no
 * journal. */
VmigJournal *vmig_journal_open_read_only(const char *path, const char *machine_id, GError **error);
/* The same without a check of the whole contents, so that the time does not depend on its size. Only the rows that are
 * read are verified, each by its sum. */
VmigJournal *vmig_journal_open_to_look(const char *path, const char *machine_id, GError **error);
/* Whether the file may have an unfinished job of a guest with this name or UUID: one query, without opening the journal
 * as such. TRUE on any failure; then vmig_journal_open_to_look() gives the reason. */
gboolean vmig_journal_may_have_open(const char *path, const char *domain, const char *uuid);
void vmig_journal_close(VmigJournal *journal);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigJournal, vmig_journal_close)

const char *vmig_journal_path(const VmigJournal *journal);
/* The directories that may contain the files of its jobs (char *, copied), for store/gate.c. If not set: anywhere, but
 * through no symbolic link. */
void vmig_journal_set_roots(VmigJournal *journal, GPtrArray *roots);
GPtrArray *vmig_journal_roots(const VmigJournal *journal);
/* The boot id of this host, or "" if /proc has none. */
const char *vmig_journal_boot_id(const VmigJournal *journal);
/* Reads the whole journal, whatever its size, and verifies every row's sum. Opening does the same up to 64 MiB. */
gboolean vmig_journal_check(VmigJournal *journal, GError **error);
/* Only for `doctor --fix`: renames an unusable journal (and its rollback file), so that the next open creates a new
 * one. LOCKED while a process has it open. */
gboolean vmig_journal_set_aside(const char *path, char **new_name, GError **error);
/* Releases the preallocated space to the database. Writing functions do this themselves, once, when the disk is full,
 * and leave a note. Opening reserves it again when there is space. *released is FALSE if none was left. */
gboolean vmig_journal_release_reserve(VmigJournal *journal, gboolean *released, GError **error);

/* LOCKED if the domain has an unfinished job here: the message gives the job, its role and its start. */
gboolean vmig_journal_create_job(VmigJournal *journal, const VmigJob *job, VmigRole role, GError **error);
/* Saves the record of a job without a change of its state. CONTRADICTION if job->state or job->owner differs from the
 * journal's. */
gboolean vmig_journal_save(VmigJournal *journal, const VmigJob *job, GError **error);
/* Saves the record that the other host's process sent, in any state. Creates the job the first time. CONTRADICTION if
 * it would undo a decision recorded here: leave a final state, go back from a state after the switchover, or give the
 * token back. */
gboolean vmig_journal_put(VmigJournal *journal, const VmigJob *job, VmigRole role, GError **error);

/* The same together with the token, if the record shows it as transferred, and with rows of the job's files
 * (VmigJournalFile), in one transaction: for a journal that was replaced by an older one. */
gboolean vmig_journal_catch_up(VmigJournal *journal, const VmigJob *job, VmigRole role, GPtrArray *files,
                               GError **error);

/* Intent, action, result. begin writes the intent and does not change the state. commit sets the state in the job, its
 * record and the journal, and writes the result, in one transaction. If it fails, the job is unchanged. INTERNAL for a
 * transition that is not in the table, CONTRADICTION if the journal has the job in another state. A final state
 * finishes the job. detail may be NULL. */
gboolean vmig_journal_begin_transition(VmigJournal *journal, const VmigJob *job, VmigState to, const char *detail,
                                       GError **error);
gboolean vmig_journal_commit_transition(VmigJournal *journal, VmigJob *job, VmigState to, const char *detail,
                                        GError **error);
gboolean vmig_journal_note(VmigJournal *journal, const char *id, const char *detail, GError **error);

/* By id, or by a unique prefix of at least 4 digits. NO_JOB if there is none or more than one; JOURNAL with the job's
 * id if record and row disagree. (transfer full) */
VmigJob *vmig_journal_load(VmigJournal *journal, const char *id, GError **error);
/* The unfinished job of a domain, by UUID or name; *ret is NULL if there is none. USAGE if two domains match. */
gboolean vmig_journal_find_open(VmigJournal *journal, const char *uuid_or_name, VmigJob **ret, GError **error);
/* The finished job of that domain that changed last; *ret is NULL if there is none. (transfer full) */
gboolean vmig_journal_find_ended(VmigJournal *journal, const char *uuid_or_name, VmigJob **ret, GError **error);
/* VmigJob, the most recently changed first; the unfinished ones, or all. (transfer container+full) */
GPtrArray *vmig_journal_list(VmigJournal *journal, gboolean all, GError **error);
/* As vmig_journal_list() with all, but at most that many; *left_out is the number of omitted older ones. */
GPtrArray *vmig_journal_newest(VmigJournal *journal, guint most, guint *left_out, GError **error);
/* VmigJournalHead of all jobs, the most recently changed first. Not verified: use it after vmig_journal_check(), or to
 * decide what to read. */
GPtrArray *vmig_journal_heads(VmigJournal *journal, GError **error);
/* The role of this host in that job. */
gboolean vmig_journal_role(VmigJournal *journal, const char *id, VmigRole *ret, GError **error);
/* VmigJournalEntry, oldest first. */
GPtrArray *vmig_journal_history(VmigJournal *journal, const char *id, GError **error);
/* *pending is TRUE, with the state in *to, if the last begin has no commit: the process died during the action. */
gboolean vmig_journal_pending(VmigJournal *journal, const char *id, gboolean *pending, VmigState *to, GError **error);

/* The XML of a job's snapshots, by the names in its record (VmigSnapshot.text, vmig_job_texts()). Creating a job stores
 * the texts that its record has in memory. The end of a job removes them. */
#define VMIG_TEXTS_MAX 4096
#define VMIG_TEXTS_MAX_BYTES (G_GINT64_CONSTANT(1) << 30)
/* The names whose texts the journal lacks. (transfer full) */
char **vmig_journal_texts_missing(VmigJournal *journal, const char *id, const char *const *names, GError **error);
/* For a job that is or will be recorded. Storing a text again is success. UNSUPPORTED beyond the limits. */
gboolean vmig_journal_texts_put(VmigJournal *journal, const char *id, const char *const *texts, GError **error);
/* JOURNAL if the text is missing or does not match its name. (transfer full) */
char *vmig_journal_text(VmigJournal *journal, const char *id, const char *name, GError **error);

/* The owner according to the token table; initially the source. */
gboolean vmig_journal_token(VmigJournal *journal, const char *id, VmigRole *ret, GError **error);
/* Transfers the token from source to destination, once. Repeating it is success, and writes again, so that TRUE always
 * means durable. The opposite direction is CONTRADICTION. Also sets the token of the stored record, but not that of the
 * caller's VmigJob. */
gboolean vmig_journal_set_token(VmigJournal *journal, const char *id, VmigRole owner, GError **error);

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
/* VmigJournalFile of one job (or, if job is NULL, of that path, newest first) that are not removed. */
GPtrArray *vmig_journal_file_list(VmigJournal *journal, const char *job, const char *path, GError **error);
/* The files of all finished jobs that are not removed and not meant to stay. Bases, the disks of a guest that arrived,
 * and everything that a job that was set aside has kept are meant to stay. */
GPtrArray *vmig_journal_files_left(VmigJournal *journal, GError **error);
