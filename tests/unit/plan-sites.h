/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The places in the sources that refuse a plan, and whether each has its own row of plan-rows.h. */
#pragma once

#include "plan-rows.h"

/* The sources of the plan (plugin/plan/plan*.c, and plan.h for its macros): a table from path to text. (transfer full)
 */
GHashTable *plan_sites_sources(void);
/* A line for each place that refuses without a row, for each hint without a row, and for each place that the parser
 * does not understand; empty if all is well. (transfer full) */
GPtrArray *plan_sites_without_row(GHashTable *sources, const PlanRow *const *rows, guint length);
