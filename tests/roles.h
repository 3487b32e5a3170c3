/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A journal's roles by name, or NULL: what a test compares and prints. */
#pragma once

#include "store/journal.h"

static inline const char *role_in(VmigJournal *journal, const char *id, GError **error)
{
    VmigRole role;

    return vmig_journal_role(journal, id, &role, error) ? vmig_role_name(role) : NULL;
}

static inline const char *token_in(VmigJournal *journal, const char *id, GError **error)
{
    VmigRole owner;

    return vmig_journal_token(journal, id, &owner, error) ? vmig_role_name(owner) : NULL;
}
