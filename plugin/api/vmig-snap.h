/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The public interface of libvmig-snap: live migration of guests with all their internal snapshots.
 *
 * Everything that comes out is a JSON document (docs/json.md): what the command prints with --json is what a caller of
 * the library gets. Calls block until the work is done; progress comes through the "event" signal, from the thread that
 * called or from one that copies for it.
 *
 * Memory: (transfer full) results belong to the caller. Errors: domain vmig_error_quark(), codes and names as in
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

/* What to migrate, where to and how. Zero and NULL are the defaults; no string is taken over.
 * Sizes are bytes, --bandwidth bytes a second, max_downtime milliseconds, timeout seconds. */
typedef struct {
    const char *domain;          /* name or UUID */
    const char *destination;     /* libvirt URI */
    const char *const *disks;    /* targets; NULL: every writable disk that the hosts do not share */
    const char *const *maps;     /* "TARGET=PATH" */
    const char *const *map_dirs; /* "OLD=NEW" */
    const char *merge;           /* "commit", "mirror" or "auto"; NULL: "commit" */
    const char *transport;       /* NULL: follows the destination's URI */
    const char *source_images;   /* "keep" (NULL) or "delete" */
    const char *policy;          /* NULL: "default" */
    guint64 bandwidth;
    guint64 max_downtime;
    guint64 parallel;
    guint64 timeout;
    gboolean auto_converge;
    gboolean postcopy;
    gboolean verify;              /* compare every snapshot before the job is done */
    gboolean no_rehearsal;        /* do not make the destination prove that it starts the guest */
    gboolean accept_unrevertable; /* migrate although a snapshot could not be reverted to there */
    const char *migrate_host;     /* the destination's name for libvirt on this host; NULL: as in destination */
} VmigRequest;

/* connect_uri: the source's libvirt, NULL for qemu:///system. Nothing is connected yet.
 * Error: a configuration file that is wrong, a journal that cannot be trusted. */
VmigSession *vmig_session_new(const char *connect_uri, GError **error);

/* Signal "event" (JsonNode): what --json prints, one object at a time. */

/* What migrate would do: a document with every refusal. NULL only where nothing can be said at all.
 * (transfer full) */
JsonNode *vmig_session_plan(VmigSession *session, const VmigRequest *request, GError **error);
/* The whole migration. The result document tells the outcome: "done", "refused", "rolled-back", "parked", "locked" or
 * "failed"; an error only where there is none. (transfer full) */
JsonNode *vmig_session_migrate(VmigSession *session, const VmigRequest *request, GError **error);
/* Carries on an unfinished job; the same result document. (transfer full) */
JsonNode *vmig_session_resume(VmigSession *session, const char *job_or_domain, GError **error);
/* The same, with the operator's word that the source host is off for good or cut off from its storage: host must be the
 * job's source by name, and must not answer. What arrived on the destination then runs there. A word that is not true
 * makes two copies of the guest run. (transfer full) */
JsonNode *vmig_session_resume_fenced(VmigSession *session, const char *job_or_domain, const char *host, GError **error);
/* Rolls a job back that no process works on; see vmig_session_interrupt() for one's own. (transfer full) */
JsonNode *vmig_session_cancel(VmigSession *session, const char *job_or_domain, GError **error);
/* Changes the limit of all storage traffic of a job that is not finished: of the process that works on it, or, where
 * none does, for the next one. 0 is without limit. {"job","domain","bandwidth","running"} (transfer full) */
JsonNode *vmig_session_set_bandwidth(VmigSession *session, const char *job_or_domain, guint64 bytes_per_s,
                                     GError **error);
/* Proves what arrived: every internal snapshot, its memory, libvirt's tree and the images of a finished job, against
 * the source's images or the hashes in the journal. domain: its newest job; or job_id, the other one NULL. Nothing is
 * changed. The document's "outcome": "equal", "different", "unproven" or "not-revertable". Error: NO_JOB, LOCKED while
 * something else is done to the guest, CANCELLED by vmig_session_interrupt(). (transfer full) */
JsonNode *vmig_session_verify(VmigSession *session, const char *domain, const char *job_id, GError **error);
/* resume of a job whose verification found a difference: it ends without one, and keeps the source's images whatever it
 * was asked to do with them. (transfer full) */
JsonNode *vmig_session_resume_without_verify(VmigSession *session, const char *job_or_domain, GError **error);
/* Gives a parked job up: the guest stays on its owner, on the disks that it has; nothing holds it any more, and every
 * file is kept. Outcome "set-aside". UNSUPPORTED where the job has another way out ("exits" of its status). */
JsonNode *vmig_session_set_aside(VmigSession *session, const char *job_or_domain, GError **error);
/* Asks the migration that runs in this session to go back; from any thread. After the switchover it goes on. */
void vmig_session_interrupt(VmigSession *session);

/* From this host's journal. job_or_domain NULL: all that are not finished. (transfer full) */
JsonNode *vmig_session_status(VmigSession *session, const char *job_or_domain, GError **error);
/* Newest first; all: finished ones too. (transfer full) */
JsonNode *vmig_session_list(VmigSession *session, gboolean all, GError **error);

/* These two need no session: a doctor has to work where none can be made. connect_uri: this host's libvirt, NULL for
 * qemu:///system. */
/* What is wrong on this host, with its repair; fix: repairs what can be repaired without losing anything. domain: only
 * what concerns that one, beside the host itself; NULL for everything. Error: NO_DOMAIN. (transfer full) */
JsonNode *vmig_doctor(const char *connect_uri, const char *domain, gboolean fix, GError **error);
/* Removes the images that the finished migration of a domain kept on this host. without_destination: does not ask the
 * other host. Nothing is removed with an error, but for one that says so. (transfer full) */
JsonNode *vmig_purge(const char *connect_uri, const char *domain, gboolean without_destination, GError **error);

/* The version of the library, "1.0.0". */
const char *vmig_version(void);

G_END_DECLS
