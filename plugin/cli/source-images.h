/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reports the source's images at the end of a migration. */
#pragma once

#include "cli/watch.h"

/* result: the result's document, or NULL. */
void vmig_say_source_images(VmigWatch *watch, JsonNode *result);
