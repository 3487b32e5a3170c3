/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Defines the recorded snapshot tree in a host's libvirt. */
#pragma once

#include "engine/host.h"

/* Defines the missing snapshots, parents first, and checks that the tree equals the recorded one. */
gboolean vmig_redefine_snapshots(VmigMachine *m, VmigRole role, GError **error);
