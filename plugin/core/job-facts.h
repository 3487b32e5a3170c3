/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which facts of a record go together: one table, no I/O. */
#pragma once

#include "core/job.h"

/* FALSE with JOURNAL if the record has a fact that a job in its state cannot have, lacks one that it must have, or has
 * two that exclude each other. For a parked job the state in which it parked counts. */
gboolean vmig_job_facts_are_legal(const VmigJob *job, GError **error);
