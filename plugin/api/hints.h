/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Hints for language bindings. A binding makes a new error of the domain, code and message, which has no hint. */
#pragma once

#include <glib.h>

/* Keeps the hint of an error that is returned to the caller. Does nothing without a hint. */
void vmig_hints_keep(const GError *error);
/* Hands the error of a failed call to the caller and keeps its hint. Takes why; returns ok. */
gboolean vmig_hints_pass(gboolean ok, GError *why, GError **error);
/* Gives an error the hint of the newest kept error with the same domain, code and message. */
void vmig_hints_restore(GError *error);
