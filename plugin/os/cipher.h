/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which of ssh's ciphers is the fast one between two hosts: AES in GCM where both processors have instructions for it
 * (several times as fast as the other), ChaCha20 where one has none (AES without them is slow and leaks time). */
#pragma once

#include <glib.h>

/* Of this host's processor, from /proc/cpuinfo. */
gboolean vmig_cipher_has_aes(void);
/* The same of a text like /proc/cpuinfo. Pure. */
gboolean vmig_cipher_text_has_aes(const char *cpuinfo);
/* For ssh's -oCiphers=: put before those that it would choose, so that nothing is lost that both support. */
const char *vmig_cipher_preferred(gboolean both_have_aes);
