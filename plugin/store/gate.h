/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The only gate for deletes. A file is removed only if the journal proves that vmig-snap made it and that it is no
 * longer needed.
 *
 *   intend ─→ made ─→ verified ─→ redundant ─→ removed      each step is in the journal before the next
 *      └────────────────────────────┘
 *
 * Kinds: "part" (a base copy that is being copied), "hold" (the throw-away target of a hold) and "socket" are always
 * redundant. "overlay" and "copy" become redundant by vmig_gate_redundant(). "base" was not made by a job and must be
 * adopted first. Paths are absolute and plain: no "..", no ".", no "//". Every function can be repeated after a crash.
 */
#pragma once

#include <glib.h>

#include "store/journal.h"

/* Call it before a file is made. Repeating it is success, and a removed file can be intended again. GATE if the file is
 * already made, or recorded under that name as another kind. */
gboolean vmig_gate_intend(VmigJournal *journal, const char *job_id, const char *path, const char *kind, GError **error);
/* Call it after the file was made: records its identity. GATE if it was not intended or has the wrong type. */
gboolean vmig_gate_made(VmigJournal *journal, const char *job_id, const char *path, GError **error);
/* The content of the file is proven. */
gboolean vmig_gate_verified(VmigJournal *journal, const char *job_id, const char *path, GError **error);
/* The file is no longer needed. reason is for the journal and must not be empty. */
gboolean vmig_gate_redundant(VmigJournal *journal, const char *job_id, const char *path, const char *reason,
                             GError **error);
/* Records a file that the job did not make (kind "base"), with the identity that it had when the job verified it. */
gboolean vmig_gate_adopt(VmigJournal *journal, const char *job_id, const char *path, guint64 dev, guint64 ino,
                         const char *kind, GError **error);
/* Deletes the file, durably. Fails with GATE and keeps the file unless
 *   - the journal has it for this job and it is redundant, by its kind or by vmig_gate_redundant(),
 *   - it is the file that was made (device, inode, birth) or, if the process died before it could record that, a part,
 *     hold, overlay or socket whose name contains the job's id,
 *   - it is not an overlay with a snapshot.
 * A missing file is success. */
gboolean vmig_gate_remove(VmigJournal *journal, const char *job_id, const char *path, GError **error);
/* Gives a file its final name, durably, but never over another file (DESTINATION_EXISTS). A part becomes a base copy,
 * and a base copy becomes a part that must be verified again. */
gboolean vmig_gate_rename(VmigJournal *journal, const char *job_id, const char *from, const char *to, GError **error);
/* Reuses an image that an earlier job kept: gives it the name of this job's part, durably. The caller must have made
 * sure that the image is not needed under its own name; dev and ino identify the file that was checked. The part must
 * be intended, and must be recorded with vmig_gate_made() afterwards. */
gboolean vmig_gate_take(VmigJournal *journal, const char *job_id, const char *from, const char *to, guint64 dev,
                        guint64 ino, GError **error);
/* For a journal that was replaced by an older one: the other host's record is the right one. In one transaction the
 * journal takes the record, with the token if it was transferred. It also records anew the identity of each overlay and
 * hold of this host, by its name, because the older journal may have those of an earlier try. The gate still decides
 * about their removal. */
gboolean vmig_gate_catch_up(VmigJournal *journal, const VmigJob *record, VmigRole here, GError **error);
/* VmigJournalFile: the files that the job has not removed. Some of them may not exist. */
GPtrArray *vmig_gate_list(VmigJournal *journal, const char *job_id, GError **error);
/* The newest job that a path belongs to according to the journal; *job_id is NULL if there is none. */
gboolean vmig_gate_owner(VmigJournal *journal, const char *path, char **job_id, GError **error);
