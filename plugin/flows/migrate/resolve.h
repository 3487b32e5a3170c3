/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* After a migration with an unknown end: queries both hosts, decides by core/uncertain, and acts. */
#pragma once

#include "core/uncertain.h"
#include "engine/machine.h"

/* BACK: nothing of the guest is left on the destination (if it answers), and the source runs as before. FORWARD: the
 * destination has the token, in both journals. For all other decisions nothing was done. ADOPT is returned only if the
 * migration was aborted and did not end. */
gboolean vmig_resolve(VmigMachine *m, VmigDecision *ret, GError **error);
/* Writes the token to the source's journal first, then to the destination's. Call it only with the fence held. */
gboolean vmig_resolve_give_token(VmigMachine *m, GError **error);
/* Ends and undefines the guest that arrived on the destination. Only for a guest that never ran there, without the
 * token. A destination that does not answer is left for later. */
gboolean vmig_resolve_remove_arrived(VmigMachine *m, GError **error);
