/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Names that somebody else chose, made fit for a terminal and a log. */
#pragma once

#include <glib.h>

#define VMIG_TEXT_MAX 4096

/* Printable UTF-8 stays; control and format characters, line separators and bytes that are no UTF-8 become \xNN.
 * Longer than VMIG_TEXT_MAX bytes: cut, with "..." at the end. length -1: NUL-terminated; NULL gives "".
 * (transfer full) */
char *vmig_text_escape(const char *bytes, gssize length);
/* A word of a shell command that is told to people: as it is where the shell takes it as it is, else quoted, so that
 * the command does what it says whatever the name is. (transfer full) */
char *vmig_shell_word(const char *text);
/* A domain in a virsh command that is told to people: its name as such a word, or its UUID where virsh would take the
 * name for an option. (transfer full) */
char *vmig_shell_domain(const char *name, const char *uuid);
