/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Compares the hosts with the row of a state before its step. */
#pragma once

#include "definition/domain-xml.h"
#include "engine/machine.h"

/* INTERFERENCE if the job's guest is defined on a host that must not have it in the job's state, or if its definition
 * names a file of the job that it must not name then, such as a base that is covered by an overlay. Everything that a
 * user can have changed is left to the step, which knows how to go on: a missing domain, a domain without the job's
 * mark, and files that are not the job's. */
gboolean vmig_entry_admits(const VmigDomainXml *definition, const VmigJob *job, VmigRole role, GError **error);
/* The same with the definitions of the hosts that the state cannot do without. A host that does not answer is left to
 * the step too.
 *
 * It costs one call to libvirt for each host whose row excludes something. No row of a state in which the guest may be
 * suspended by the job, or waits after its arrival, does: ACTIVATE, COMMIT, PIVOT, BACK_COMMIT and BACK_PIVOT cost no
 * call (`sim-pivot-calls` counts them). */
gboolean vmig_entry_check(VmigMachine *m, VmigState state, GError **error);
