/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Two hosts, two journals, two records of one job: which one counts, and what the other host is told. */
#pragma once

#include "engine/machine.h"

/* The other host may have gone on while this one was away, and either host's journal may have been replaced by an older
 * one (a backup): the record that counts becomes m->job, durably, and a journal that does not know the token, where the
 * other one shows that it was there, gets it once more. To be called with both locks held. */
gboolean vmig_records_agree(VmigMachine *m, GError **error);
/* UNSUPPORTED where the job is past the switchover: there is no way back. */
gboolean vmig_records_may_go_back(const VmigJob *job, GError **error);
