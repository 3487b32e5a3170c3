/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Checks which parts of a record the other host may change. The files and the guest of this host must stay as this host
 * first recorded them. Otherwise a record that names other files would give the other host access to them. */
#include "core/errors.h"
#include "core/job.h"
#include "core/path-map.h"

typedef struct {
    const VmigJob *job;
    VmigRole here;
    GError **error;
} Check;

static gboolean refuse(const Check *c, const char *what, const char *of)
{
    return vmig_fail(c->error, VMIG_ERROR_CONTRADICTION,
                     "Both hosts have a record of the job: vmig-snap status shows it on each host.",
                     "cannot take the other host's record of job %s: it changes %s%s%s", c->job->id, what,
                     of != NULL ? " of " : "", of != NULL ? of : "");
}

static gboolean same(const Check *c, const char *own, const char *told, const char *what, const char *of)
{
    return g_strcmp0(own, told) == 0 || refuse(c, what, of);
}

/* The name of a throw-away file: it is set once, and only to a name that belongs to the job. If this host's journal was
 * replaced by an older one, the name is missing here. It may then be set again, because it is always the same. */
static gboolean same_or_ours(const Check *c, const char *own, const char *told, const char *what, const char *of)
{
    if (told == NULL || (own == NULL && vmig_path_is_ours(told, c->job->id)))
        return TRUE;
    return same(c, own, told, what, of);
}

/* The identity of the frozen file: recorded between OVERLAY and the switchover, and fixed from then on. */
static gboolean same_identity(const Check *c, const VmigFile *own, const VmigFile *told)
{
    VmigState state = vmig_job_state(c->job);
    gboolean open = c->job->owner == VMIG_SOURCE && vmig_state_phase(state) != VMIG_PHASE_AFTER;

    return open || (own->size == told->size && own->ino == told->ino && own->mtime_ns == told->mtime_ns) ||
           refuse(c, "the identity", own->path[VMIG_SOURCE]);
}

static gboolean check_file(const Check *c, const VmigFile *own, const VmigFile *told)
{
    return same(c, own->path[VMIG_SOURCE], told->path[VMIG_SOURCE], "the path on the source", own->path[VMIG_SOURCE]) &&
           same(c, own->path[VMIG_DEST], told->path[VMIG_DEST], "the path on the destination", own->path[VMIG_DEST]) &&
           same(c, own->part, told->part, "the name of the copy", own->path[VMIG_DEST]) &&
           same(c, own->format, told->format, "the format", own->path[VMIG_SOURCE]) &&
           same(c, own->kept, told->kept, "the kept image of the copy", own->path[VMIG_DEST]) &&
           (c->here == VMIG_DEST || same_identity(c, own, told));
}

static gboolean check_artifact(const Check *c, const VmigArtifact *own, const VmigArtifact *told)
{
    if (own->kind != told->kind)
        return refuse(c, "the kind", own->target);
    if (!same(c, own->target, told->target, "the disks", NULL) ||
        !same(c, own->at[VMIG_SOURCE].overlay, told->at[VMIG_SOURCE].overlay, "the overlay on the source",
              own->target) ||
        !same(c, own->at[VMIG_DEST].overlay, told->at[VMIG_DEST].overlay, "the overlay on the destination",
              own->target) ||
        !same(c, own->snapshot, told->snapshot, "the snapshot attribute", own->target) ||
        !same(c, own->next_snapshot, told->next_snapshot, "the snapshot attribute", own->target) ||
        !same_or_ours(c, own->at[VMIG_SOURCE].hold, told->at[VMIG_SOURCE].hold, "the hold on the source",
                      own->target) ||
        !same_or_ours(c, own->at[VMIG_DEST].hold, told->at[VMIG_DEST].hold, "the hold on the destination", own->target))
        return FALSE;
    if (own->files->len != told->files->len)
        return refuse(c, "the files", own->target);
    for (guint i = 0; i < own->files->len; i++)
        if (!check_file(c, own->files->pdata[i], told->files->pdata[i]))
            return FALSE;
    return TRUE;
}

static const VmigSnapshot *find_snapshot(const VmigJob *job, const char *name)
{
    for (guint i = 0; i < job->snapshots->len; i++) {
        const VmigSnapshot *snapshot = job->snapshots->pdata[i];
        if (g_strcmp0(snapshot->name, name) == 0)
            return snapshot;
    }
    return NULL;
}

/* The way back defines these again on the source. */
static gboolean check_definitions(const Check *c, const VmigJob *told)
{
    if (!same(c, c->job->live_xml, told->live_xml, "the guest's definition", NULL) ||
        !same(c, c->job->persistent_xml, told->persistent_xml, "the guest's persistent definition", NULL))
        return FALSE;
    for (guint i = 0; i < told->snapshots->len; i++) {
        const VmigSnapshot *snapshot = told->snapshots->pdata[i];
        const VmigSnapshot *own = find_snapshot(c->job, snapshot->name);
        if (own == NULL || !same(c, own->text, snapshot->text, "the definition of snapshot", snapshot->name))
            return own != NULL ? FALSE : refuse(c, "the snapshots", NULL);
    }
    return TRUE;
}

gboolean vmig_job_check_told(const VmigJob *own, const VmigJob *told, VmigRole here, GError **error)
{
    const Check c = {own, here, error};
    gboolean source = here == VMIG_SOURCE;

    if (own->flow != told->flow)
        return refuse(&c, "the operation", NULL);
    if (!same(&c, own->uuid, told->uuid, "the guest", NULL) ||
        !same(&c, own->domain, told->domain, "the guest's name", NULL) ||
        !same(&c, own->host[VMIG_SOURCE], told->host[VMIG_SOURCE], "the source", NULL) ||
        !same(&c, own->host[VMIG_DEST], told->host[VMIG_DEST], "the destination", NULL) ||
        !same(&c, own->connect_uri, told->connect_uri, "the source's libvirt", NULL) ||
        !same(&c, own->dest_uri, told->dest_uri, "the destination's address", NULL))
        return FALSE;
    if (source && own->options.keep_source && !told->options.keep_source)
        return refuse(&c, "whether the source's images are kept", NULL);
    if (own->artifacts->len != told->artifacts->len)
        return refuse(&c, "the disks", NULL);
    for (guint i = 0; i < own->artifacts->len; i++)
        if (!check_artifact(&c, own->artifacts->pdata[i], told->artifacts->pdata[i]))
            return FALSE;
    return !source || check_definitions(&c, told);
}
