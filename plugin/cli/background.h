/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* --detach: the command goes on in a process of its own, which no terminal and no parent can end. The one that was
 * started waits until the job is in the journal, or is refused. */
#pragma once

#include "cli/cli.h"

typedef struct VmigBackground VmigBackground;

/* Forks: to be called while there is one thread and nothing is connected.
 * In the new process: the background. In the old one: NULL once the new one has told, *code is the exit code. */
VmigBackground *vmig_background_start(const VmigMode *mode, int *code);
void vmig_background_free(VmigBackground *background);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigBackground, vmig_background_free)

/* Each event of the job, before it is shown: the first state that is in the journal lets the old process go, and what
 * is written to standard output and standard error goes to the log of the job from then on. */
void vmig_background_event(VmigBackground *background, JsonObject *event);
/* The result, for an old process that still waits. */
void vmig_background_end(VmigBackground *background, JsonNode *result);
