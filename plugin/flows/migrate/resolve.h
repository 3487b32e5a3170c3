/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* After a migration that nobody saw the end of: look at both hosts, decide by core/uncertain, act. */
#pragma once

#include "core/uncertain.h"
#include "engine/machine.h"

/* BACK: nothing of the guest is on the destination any more (where that answers) and the source runs as before.
 * FORWARD: the token is the destination's, in both journals.
 * The others are returned with nothing done; ADOPT only after the migration was aborted and would not end. */
gboolean vmig_resolve(VmigMachine *m, VmigDecision *ret, GError **error);
/* Writes the token: the source's journal first, then the destination's. Only with the fence held. */
gboolean vmig_resolve_give_token(VmigMachine *m, GError **error);
/* Ends and undefines what arrived on the destination; only where it never ran: without the token. A destination that
 * does not answer is left for later. */
gboolean vmig_resolve_remove_arrived(VmigMachine *m, GError **error);
