/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which facts of a record go together: one table, no I/O. */
#pragma once

#include "core/job.h"

/* The guest is on the destination. That proves everything without which libvirt was not asked to migrate it: the guest
 * writes to overlays, and every base copy is in place. A record from a journal that is older than the migration,
 * because a host got its disk back from a backup, does not say so. */
void vmig_job_note_arrival(VmigJob *job);
/* FALSE with JOURNAL if the record has a fact that a job in its state cannot have, lacks one that it must have, or has
 * two that exclude each other. For a parked job the state in which it parked counts. */
gboolean vmig_job_facts_are_legal(const VmigJob *job, GError **error);
