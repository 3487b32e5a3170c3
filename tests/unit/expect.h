/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Assertions about calls with a GError. The expression takes &error_ and is TRUE on success. */
#pragma once

#include <string.h>

#include "core/errors.h"

#define assert_ok(expression)                                                                                          \
    do {                                                                                                               \
        GError *error_ = NULL;                                                                                         \
        gboolean ok_ = (expression);                                                                                   \
        g_assert_no_error(error_);                                                                                     \
        g_assert_true(ok_);                                                                                            \
    } while (0)

#define assert_fails(code_, expression)                                                                                \
    do {                                                                                                               \
        GError *error_ = NULL;                                                                                         \
        gboolean ok_ = (expression);                                                                                   \
        g_assert_error(error_, VMIG_ERROR, code_);                                                                     \
        g_assert_false(ok_);                                                                                           \
        g_test_message("%s", error_->message);                                                                         \
        g_clear_error(&error_);                                                                                        \
    } while (0)

#define assert_fails_saying(code_, text_, expression)                                                                  \
    do {                                                                                                               \
        GError *error_ = NULL;                                                                                         \
        gboolean ok_ = (expression);                                                                                   \
        g_assert_error(error_, VMIG_ERROR, code_);                                                                     \
        g_assert_false(ok_);                                                                                           \
        if (strstr(error_->message, text_) == NULL)                                                                    \
            g_error("'%s' is not in '%s'", text_, error_->message);                                                    \
        g_clear_error(&error_);                                                                                        \
    } while (0)
