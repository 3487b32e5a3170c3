/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The replies of the hosts of plan-env.h to the plan. */
#pragma once

#include "plan-env.h"

/* Sets the host's function tables. */
void plan_answers_set(PlanHost *host);
/* Puts both hosts into the VmigEnv: the destination only if there is a connection to it. */
void plan_answers_connect(PlanEnv *env);
