/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The two records of one job in the journals of two hosts: which record counts, and how the other one is brought up to
 * date. */
#pragma once

#include "engine/machine.h"

/* Reconciles the records of both hosts. The other host may have continued the job while this one was away, and either
 * host's journal may have been replaced by an older backup. The record that counts becomes m->job, durably. If one
 * journal lacks a token that the other shows it once had, it gets the token again. Call it with both locks held. */
gboolean vmig_records_agree(VmigMachine *m, GError **error);
/* UNSUPPORTED if the job is past the switchover: then there is no way back. */
gboolean vmig_records_may_go_back(const VmigJob *job, GError **error);
