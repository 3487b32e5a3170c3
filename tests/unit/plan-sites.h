/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The places in the sources that refuse a plan, and whether each has a row of plan-rows.h of its own. */
#pragma once

#include "plan-rows.h"

/* The sources of the plan (plugin/plan/plan*.c, and plan.h for its macros): path to text, as the keys and values of a
 * table. (transfer full) */
GHashTable *plan_sites_sources(void);
/* A line for each place that refuses and has no row, for each hint without a row, and for each place that the reader
 * does not understand; empty where all is well. (transfer full) */
GPtrArray *plan_sites_without_row(GHashTable *sources, const PlanRow *const *rows, guint length);
