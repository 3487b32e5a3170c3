/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Makes names that others chose safe for a terminal and a log. */
#pragma once

#include <glib.h>

#include "vmig-snap/vmig-text.h"

/* Of vmig_text_escape(). */
#define VMIG_TEXT_MAX 4096

/* A word of a shell command that is shown to people. It is quoted if necessary, so that the command works for any name.
 * (transfer full) */
char *vmig_shell_word(const char *text);
/* A domain in a virsh command that is shown to people: its name as such a word, or its UUID if virsh would mistake the
 * name for an option. (transfer full) */
char *vmig_shell_domain(const char *name, const char *uuid);
