/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the hosts of plan-world.h answer the plan. */
#pragma once

#include "plan-world.h"

/* The host's function tables. */
void plan_answers_set(PlanHost *host);
/* Puts both hosts into the VmigWorld: the destination only where there is a connection to it. */
void plan_answers_connect(PlanWorld *world);
