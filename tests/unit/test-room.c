/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* When there is room for a commit that found none. */
#include "flows/migrate/commit.h"

#define MIB (1024ull * 1024)

static gboolean is_there(const VmigMachine *m, guint64 needed, guint64 free)
{
    VmigRoom room = {needed, free, NULL};

    return vmig_room_is_there(m, &room);
}

static void test_enough(void)
{
    VmigMachine m = {0};

    g_assert_true(is_there(&m, 10 * MIB, 10 * MIB));
    g_assert_false(is_there(&m, 10 * MIB, 10 * MIB - 1));
    g_assert_false(is_there(&m, G_MAXUINT64, G_MAXUINT64 - 1));
}

/* The estimate is for the worst case: clearly more than when it was full is worth a try. */
static void test_more(void)
{
    VmigMachine m = {0};
    VmigRoom full = {80 * MIB, 3 * MIB, NULL};

    vmig_room_note_full(&m, &full);
    g_assert_false(is_there(&m, 80 * MIB, 3 * MIB));
    g_assert_false(is_there(&m, 80 * MIB, 13 * MIB - 1));
    g_assert_true(is_there(&m, 80 * MIB, 13 * MIB));
    /* Of little that is needed a MiB more, not an eighth. */
    g_assert_false(is_there(&m, 5 * MIB, 4 * MIB - 1));
    g_assert_true(is_there(&m, 5 * MIB, 4 * MIB));
    /* Less than before is never room. */
    g_assert_false(is_there(&m, 80 * MIB, 0));
}

/* The guest was let go on and stopped again: what was enough is not. */
static void test_again(void)
{
    VmigMachine m = {.full_again = TRUE};
    VmigRoom full = {2 * MIB, 4 * MIB, NULL};

    vmig_room_note_full(&m, &full);
    g_assert_false(is_there(&m, 2 * MIB, 4 * MIB));
    g_assert_true(is_there(&m, 2 * MIB, 5 * MIB));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/room/enough", test_enough);
    g_test_add_func("/room/more", test_more);
    g_test_add_func("/room/again", test_again);
    return g_test_run();
}
