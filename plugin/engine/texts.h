/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The definitions of the job's snapshots. Each journal keeps them beside the record, and accepts a record only if it
 * has them. */
#pragma once

#include "engine/machine.h"

/* Sends the other host the definitions of this job that its journal lacks. Does nothing if `to` is this host. */
gboolean vmig_texts_send(VmigMachine *m, VmigNode *to, GError **error);
/* Fetches into this host's journal the definitions that it lacks for a record of the other host. */
gboolean vmig_texts_fetch(VmigMachine *m, VmigNode *from, const VmigJob *job, GError **error);
