/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a libvirt leaves out of a definition without an error: it ignores elements that only newer versions know. The
 * guest would then arrive in a machine without that device, and QEMU would refuse its state. */
#pragma once

#include <glib.h>

#include "core/errors.h"

/* Both are <domain> or <domainsnapshot>; of the latter the <domain> in it is compared. *ret: the first element of given
 * that kept lacks ("<devices><pstore>"), or NULL. (transfer full) Elements that the guest cannot see do not count.
 * Error: XML. */
gboolean vmig_definition_ignored(const char *given, const char *kept, char **ret, GError **error);
