/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* When there is enough space for a commit that ran out of it. */
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

/* The estimate is the worst case: clearly more space than when the disk was full is worth an attempt. */
static void test_more(void)
{
    VmigMachine m = {0};
    VmigRoom full = {80 * MIB, 3 * MIB, NULL};

    vmig_room_note_full(&m, &full);
    g_assert_false(is_there(&m, 80 * MIB, 3 * MIB));
    g_assert_false(is_there(&m, 80 * MIB, 13 * MIB - 1));
    g_assert_true(is_there(&m, 80 * MIB, 13 * MIB));
    /* If little is needed, one MiB more suffices, instead of an eighth. */
    g_assert_false(is_there(&m, 5 * MIB, 4 * MIB - 1));
    g_assert_true(is_there(&m, 5 * MIB, 4 * MIB));
    /* Less than before is never enough. */
    g_assert_false(is_there(&m, 80 * MIB, 0));
}

/* The guest was resumed and stopped again: the earlier amount is not enough. */
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
