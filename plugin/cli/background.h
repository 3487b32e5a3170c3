/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* --detach: the command continues in its own process, which no terminal and no parent can end. The original process
 * waits until the job is in the journal or is refused. */
#pragma once

#include "cli/cli.h"

typedef struct VmigBackground VmigBackground;

/* Forks: call this while there is one thread and no connection. Returns the background in the new process. In the old
 * process it returns NULL once the new one has reported, with the exit code in *code. */
VmigBackground *vmig_background_start(const VmigMode *mode, int *code);
void vmig_background_free(VmigBackground *background);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigBackground, vmig_background_free)

/* Call for each event of the job before it is shown. At the first state in the journal the old process exits, and from
 * then on standard output and standard error go to the job's log. */
void vmig_background_event(VmigBackground *background, JsonObject *event);
/* Passes the result to the old process if it still waits. */
void vmig_background_end(VmigBackground *background, JsonNode *result);
