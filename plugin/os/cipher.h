/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Chooses ssh's fastest cipher between two hosts: AES-GCM if both CPUs have AES instructions (several times faster),
 * ChaCha20 otherwise (AES in software is slow and leaks timing). */
#pragma once

#include <glib.h>

/* For this host's CPU, from /proc/cpuinfo. */
gboolean vmig_cipher_has_aes(void);
/* The same for a text like /proc/cpuinfo. Pure. */
gboolean vmig_cipher_text_has_aes(const char *cpuinfo);
/* For ssh's -oCiphers=: puts the cipher before ssh's defaults, so that any cipher that both hosts support still works.
 */
const char *vmig_cipher_preferred(gboolean both_have_aes);
