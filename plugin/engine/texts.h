/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The definitions of the job's snapshots, which stand beside the record in either journal: a record is taken only by a
 * journal that has them. */
#pragma once

#include "engine/machine.h"

/* Gives that host what its journal does not have of the job's. Nothing to do for this host itself. */
gboolean vmig_texts_send(VmigMachine *m, VmigNode *to, GError **error);
/* Puts into this host's journal what it does not have of a record that is to be taken from the other host. */
gboolean vmig_texts_fetch(VmigMachine *m, VmigNode *from, const VmigJob *job, GError **error);
