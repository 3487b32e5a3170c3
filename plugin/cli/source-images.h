/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the end of a migration says of the images on the source. */
#pragma once

#include "cli/watch.h"

/* result: the result's document, or NULL. */
void vmig_say_source_images(VmigWatch *watch, JsonNode *result);
