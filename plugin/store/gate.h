/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The one gate for deletes. A file goes only if the journal proves that it is ours and that nobody needs it.
 *
 *   intend ─→ made ─→ verified ─→ redundant ─→ removed      each step is in the journal before the next
 *      └────────────────────────────┘
 *
 * Kinds: "part" (a base copy that is being copied), "hold" (throw-away target) and "socket" are redundant by nature;
 * "overlay" and "copy" only once somebody says why; "base" was not made by a job and has to be adopted first.
 * Paths are absolute and plain: no "..", no ".", no "//". Every function can be repeated after a crash.
 */
#pragma once

#include <glib.h>

#include "store/journal.h"

/* Before a file is made. Repeated it is success; a file that was removed can be intended again. GATE if it is made
 * already, or under that name as another kind. */
gboolean vmig_gate_intend(VmigJournal *journal, const char *job_id, const char *path, const char *kind, GError **error);
/* After it was made: records which file it is. GATE if it was not intended or is of the wrong type. */
gboolean vmig_gate_made(VmigJournal *journal, const char *job_id, const char *path, GError **error);
/* Its content is proven. */
gboolean vmig_gate_verified(VmigJournal *journal, const char *job_id, const char *path, GError **error);
/* Nobody needs it any more; reason is for the journal and must not be empty. */
gboolean vmig_gate_redundant(VmigJournal *journal, const char *job_id, const char *path, const char *reason,
                             GError **error);
/* Names a file that the job did not make (kind "base"), by the identity that it had when the job verified it. */
gboolean vmig_gate_adopt(VmigJournal *journal, const char *job_id, const char *path, guint64 dev, guint64 ino,
                         const char *kind, GError **error);
/* Deletes, durably. GATE, and the file stays, unless
 *   - the journal has it for this job, and it is redundant, by nature or by word,
 *   - what is there is the file that was made (device, inode, birth), or, if the process died before it could record
 *     that, a part, hold, overlay or socket whose name carries the job's id,
 *   - an overlay holds no snapshot.
 * A file that is not there is success. */
gboolean vmig_gate_remove(VmigJournal *journal, const char *job_id, const char *path, GError **error);
/* Gives a made file its final name, durably; never over another file (DESTINATION_EXISTS). A part becomes a base copy,
 * and a base copy a part that has to be verified again. */
gboolean vmig_gate_rename(VmigJournal *journal, const char *job_id, const char *from, const char *to, GError **error);
/* Makes an image that an earlier job kept the part that this one begins with: gives it the part's name, durably. The
 * caller has made sure that nobody needs it under its own name, and dev and ino are what he looked at. The part has to
 * be intended, and is recorded by vmig_gate_made() afterwards. */
gboolean vmig_gate_take(VmigJournal *journal, const char *job_id, const char *from, const char *to, guint64 dev,
                        guint64 ino, GError **error);
/* For a journal that was replaced by an older one: the other host's record is the true one. In one transaction the
 * journal takes it, with the token if that is given, and records anew which file each of the record's overlays and
 * holds of this host is, by its name: what the older journal has may be one of an earlier try. Removing them is
 * as much for the gate as ever. */
gboolean vmig_gate_catch_up(VmigJournal *journal, const VmigJob *record, const char *role, GError **error);
/* VmigJournalFile: what the job has not removed. Not all of them need to exist. */
GPtrArray *vmig_gate_list(VmigJournal *journal, const char *job_id, GError **error);
/* The job that a path belongs to by the journal, the newest one; *job_id is NULL if it is nobody's. */
gboolean vmig_gate_owner(VmigJournal *journal, const char *path, char **job_id, GError **error);
