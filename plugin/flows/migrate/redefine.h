/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The recorded snapshot tree, put back into a host's libvirt. */
#pragma once

#include "engine/host.h"

/* Defines what is missing, parents first, and proves the tree equal to the recorded one. */
gboolean vmig_redefine_snapshots(VmigMachine *m, VmigRole role, GError **error);
