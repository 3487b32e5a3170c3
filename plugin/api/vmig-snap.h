/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The public interface of libvmig-snap: live migration of guests with all their internal snapshots.
 *
 * All output consists of JSON documents (docs/json.md): a caller of the library gets what the command prints with
 * --json. Calls block until the work is done. Progress is reported by the "event" signal, from the calling thread or
 * from one that copies for it.
 *
 * Memory: the caller owns (transfer full) results. Errors: domain vmig_error_quark(), codes and names as in
 * docs/errors.md.
 *
 * Folder plugin/api: the public interface of the library, the documents that it gives, and the environment of a real
 * run. The only folder that puts all others together.
 */
#pragma once

#include <glib-object.h>
#include <json-glib/json-glib.h>

G_BEGIN_DECLS

#define VMIG_TYPE_SESSION (vmig_session_get_type())
G_DECLARE_FINAL_TYPE(VmigSession, vmig_session, VMIG, SESSION, GObject)

/* What to migrate, where to and how. Zero and NULL are the defaults; the caller keeps ownership of all strings. Sizes
 * are in bytes, bandwidth in bytes per second, max_downtime in milliseconds, timeout in seconds. */
typedef struct {
    const char *domain;          /* name or UUID */
    const char *destination;     /* libvirt URI */
    const char *const *disks;    /* targets; NULL: every writable disk that the hosts do not share */
    const char *const *maps;     /* "TARGET=PATH" */
    const char *const *map_dirs; /* "OLD=NEW" */
    const char *merge;           /* "commit", "mirror" or "auto"; NULL: "commit" */
    const char *transport;       /* NULL: from the destination's URI */
    const char *source_images;   /* "keep" (NULL) or "delete" */
    const char *policy;          /* NULL: "default" */
    guint64 bandwidth;
    guint64 max_downtime;
    guint64 parallel;
    guint64 timeout;
    gboolean auto_converge;
    gboolean postcopy;
    gboolean verify;              /* compare every snapshot before the job is done */
    gboolean no_rehearsal;        /* skip the proof that the destination can start the guest */
    gboolean accept_unrevertable; /* migrate even if a snapshot cannot be reverted to there */
    const char *migrate_host;     /* the destination's name for libvirt on this host; NULL: as in destination */
} VmigRequest;

/* connect_uri: the source's libvirt; NULL: qemu:///system. Connects to nothing yet. Errors: an invalid configuration
 * file, a journal that cannot be trusted. */
VmigSession *vmig_session_new(const char *connect_uri, GError **error);

/* Signal "event" (JsonNode): what --json prints, one object at a time. */

/* What migrate would do: a document with every refusal. NULL with an error only if no plan can be made at all.
 * (transfer full) */
JsonNode *vmig_session_plan(VmigSession *session, const VmigRequest *request, GError **error);
/* Runs the whole migration. The result document has the outcome: "done", "refused", "rolled-back", "parked", "locked"
 * or "failed"; error is set only if there is no document. (transfer full) */
JsonNode *vmig_session_migrate(VmigSession *session, const VmigRequest *request, GError **error);
/* Continues an unfinished job; returns the same kind of document. (transfer full) */
JsonNode *vmig_session_resume(VmigSession *session, const char *job_or_domain, GError **error);
/* The same, for a source host of which the operator states that it is permanently off or cut off from its storage. host
 * must be the name of the job's source, and the source must not answer. The guest then runs on the destination with
 * what has arrived there. If the statement is false, two copies of the guest run. (transfer full) */
JsonNode *vmig_session_resume_fenced(VmigSession *session, const char *job_or_domain, const char *host, GError **error);
/* Rolls back a job. A process that works on it is asked to do so, otherwise this session does it. For a migration in
 * this session see vmig_session_interrupt(). (transfer full) */
JsonNode *vmig_session_cancel(VmigSession *session, const char *job_or_domain, GError **error);
/* Changes the limit of all storage traffic of an unfinished job: in the process that works on it or, if there is none,
 * for the next process. 0: unlimited. {"job","domain","bandwidth","running"} (transfer full) */
JsonNode *vmig_session_set_bandwidth(VmigSession *session, const char *job_or_domain, guint64 bytes_per_s,
                                     GError **error);
/* Proves what arrived: every internal snapshot, its memory, libvirt's tree and the images of a finished job are
 * compared with the source's images or the hashes in the journal. Give either domain, for its newest job, or job_id;
 * the other one is NULL. Changes nothing. The document's "outcome" is "equal", "different", "unproven" or
 * "not-revertable". Errors: NO_JOB, LOCKED during another operation on the guest, CANCELLED by
 * vmig_session_interrupt(). (transfer full) */
JsonNode *vmig_session_verify(VmigSession *session, const char *domain, const char *job_id, GError **error);
/* Resumes a job whose verification found a difference: ends it without verification, and keeps the source's images even
 * if the job was to delete them. (transfer full) */
JsonNode *vmig_session_resume_without_verify(VmigSession *session, const char *job_or_domain, GError **error);
/* Abandons a parked job: the guest stays on its owner with its current disks, nothing holds it any more, and every file
 * is kept. Outcome "set-aside". UNSUPPORTED if the job has another way out ("exits" in its status). (transfer full) */
JsonNode *vmig_session_set_aside(VmigSession *session, const char *job_or_domain, GError **error);
/* Asks this session's running migration to roll back; callable from any thread. After the switchover it continues. */
void vmig_session_interrupt(VmigSession *session);

/* From this host's journal. job_or_domain NULL: all unfinished jobs. (transfer full) */
JsonNode *vmig_session_status(VmigSession *session, const char *job_or_domain, GError **error);
/* Newest first; all: including finished ones. (transfer full) */
JsonNode *vmig_session_list(VmigSession *session, gboolean all, GError **error);

/* The next two need no session, because doctor must work even if none can be created. connect_uri: this host's libvirt;
 * NULL: qemu:///system. */
/* What is wrong on this host, and the repairs. fix: makes those repairs that lose nothing. domain: only findings about
 * it and about the host itself; NULL: all. Error: NO_DOMAIN. (transfer full) */
JsonNode *vmig_doctor(const char *connect_uri, const char *domain, gboolean fix, GError **error);
/* Removes the images that the finished migration of a domain kept on this host. without_destination: does not contact
 * the other host. On error nothing was removed, unless the error says so. (transfer full) */
JsonNode *vmig_purge(const char *connect_uri, const char *domain, gboolean without_destination, GError **error);

/* The version of the library, "1.0.0". */
const char *vmig_version(void);

G_END_DECLS
