/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the hosts of plan-env.h answer the plan. */
#pragma once

#include "plan-env.h"

/* The host's function tables. */
void plan_answers_set(PlanHost *host);
/* Puts both hosts into the VmigEnv: the destination only where there is a connection to it. */
void plan_answers_connect(PlanEnv *env);
