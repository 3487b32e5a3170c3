/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Why a guest's QEMU did not load the state that was sent to it. libvirt before 12 does not report it: the source
 * learns only that the connection was closed. QEMU writes it to the log that libvirt keeps for the guest. */
#pragma once

#include <glib.h>

/* QEMU's words in folder/DOMAIN.log, if it refused the state after `since` (microseconds, by this host's clock). NULL
 * if it did not, or if its log cannot be read. A stream that broke off is no refusal. (transfer full) */
char *vmig_qemu_log_refusal(const char *folder, const char *domain, gint64 since);
