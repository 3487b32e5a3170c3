/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The commit of the overlays into their bases and the pivot, on whichever host owns the guest. */
#pragma once

#include "flow/side.h"

/* Starts the commit job of every disk that has none and is not on its base yet. */
gboolean vmig_commit_start(VmigMachine *m, VmigSide side, GError **error);
