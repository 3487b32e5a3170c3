/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The snapshot tree: what is read from one snapshot, the order, and the comparisons that decide whether everything
 * arrived. */
#include <glib.h>
#include <string.h>

#include "core/errors.h"
#include "definition/snapshot-tree.h"
#include "tests/unit/cpu.h"

static GPtrArray *new_tree(void)
{
    return g_ptr_array_new_with_free_func((GDestroyNotify)vmig_snapshot_free);
}

static VmigSnapshot *add(GPtrArray *tree, const char *name, const char *parent, gint64 time)
{
    VmigSnapshot *snapshot = vmig_snapshot_new();

    snapshot->name = g_strdup(name);
    snapshot->parent = g_strdup(parent);
    snapshot->state = g_strdup("running");
    snapshot->creation_time = time;
    g_ptr_array_add(tree, snapshot);
    return snapshot;
}

static void assert_order(GPtrArray *tree, const char *expected)
{
    g_autoptr(GString) names = g_string_new(NULL);

    for (guint i = 0; i < tree->len; i++)
        g_string_append_printf(names, "%s%s", i > 0 ? " " : "", ((VmigSnapshot *)tree->pdata[i])->name);
    g_assert_cmpstr(names->str, ==, expected);
}

#define SNAPSHOT(rest)                                                                                                 \
    "<domainsnapshot><name>s</name><state>running</state><creationTime>7</creationTime>" rest "</domainsnapshot>"

static VmigSnapshot *read_good(const char *xml)
{
    g_autoptr(GError) error = NULL;
    VmigSnapshot *snapshot = vmig_snapshot_from_xml(xml, &error);

    g_assert_no_error(error);
    g_assert_cmpstr(snapshot->xml, ==, xml);
    return snapshot;
}

static void test_from_xml(void)
{
    g_autoptr(VmigSnapshot) full = read_good(
        SNAPSHOT("<parent><name>p &amp; q&#10;</name></parent><memory snapshot='internal'/><disks><disk name='vda' "
                 "snapshot='internal'/><disk name='vdb' snapshot='no'/></disks><domain><name>other</name></domain>"));
    g_autoptr(VmigSnapshot) bare = read_good(SNAPSHOT(""));
    g_autoptr(VmigSnapshot) off = read_good(
        "<domainsnapshot><name>s</name><state>shutoff</state><creationTime> 9223372036854775807\n</creationTime>"
        "</domainsnapshot>");
    g_autoptr(VmigSnapshot) disk = read_good(SNAPSHOT("<memory snapshot='no'/><disks><disk name='vda' "
                                                      "snapshot='external'><source file='/o'/></disk></disks>"));
    g_autoptr(VmigSnapshot) memory = read_good(SNAPSHOT("<memory snapshot='external' file='/etc/passwd'/>"));

    g_assert_cmpstr(full->name, ==, "s");
    g_assert_cmpstr(full->parent, ==, "p & q\n");
    g_assert_cmpstr(full->state, ==, "running");
    g_assert_cmpint(full->creation_time, ==, 7);
    g_assert_true(full->memory && !full->external);
    g_assert_true(bare->memory && !bare->external && bare->parent == NULL);
    g_assert_false(off->memory);
    g_assert_cmpint(off->creation_time, ==, G_MAXINT64);
    g_assert_true(!disk->memory && disk->external);
    g_assert_true(memory->memory && memory->external);
    g_assert_true(vmig_snapshot_has_disk(full, "vda"));
    g_assert_false(vmig_snapshot_has_disk(full, "vdb"));
    g_assert_false(vmig_snapshot_has_disk(full, "vdc"));
    g_assert_true(vmig_snapshot_has_disk(bare, "vda"));
}

static void test_bad_xml(void)
{
    static const char *const bad[] = {
        "<domainsnapshot>",
        "<domain/>",
        "<domainsnapshot/>",
        "<domainsnapshot><name/><state>running</state><creationTime>7</creationTime></domainsnapshot>",
        "<domainsnapshot><name>s</name><creationTime>7</creationTime></domainsnapshot>",
        "<domainsnapshot><name>s</name><state>running</state></domainsnapshot>",
        "<domainsnapshot><name>s</name><state>running</state><creationTime>-1</creationTime></domainsnapshot>",
        "<domainsnapshot><name>s</name><state>running</state><creationTime>9223372036854775808</creationTime>"
        "</domainsnapshot>",
        "<domainsnapshot><name>s</name><state>running</state><creationTime>1e3</creationTime></domainsnapshot>",
        SNAPSHOT("<name>t</name>"),
        SNAPSHOT("<parent/><parent/>"),
        SNAPSHOT("<x:memory xmlns:x='u'/>"),
        "<!DOCTYPE d>" SNAPSHOT(""),
    };
    for (guint i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;
        g_assert_null(vmig_snapshot_from_xml(bad[i], &error));
        g_assert_error(error, VMIG_ERROR, (int)VMIG_ERROR_XML);
    }
}

static void test_order(void)
{
    g_autoptr(GPtrArray) tree = new_tree();
    g_autoptr(GError) error = NULL;

    add(tree, "leaf", "mid", 1);
    add(tree, "b", "root", 5);
    add(tree, "a", "root", 5);
    add(tree, "mid", "root", 4);
    add(tree, "root2", NULL, 9)->current = TRUE;
    add(tree, "root", NULL, 2);
    g_assert_true(vmig_snapshot_tree_order(tree, &error));
    g_assert_no_error(error);
    assert_order(tree, "root root2 mid a b leaf");
    g_ptr_array_set_size(tree, 0);
    g_assert_true(vmig_snapshot_tree_order(tree, &error));
}

static void assert_disorder(GPtrArray *tree, const char *message)
{
    g_autoptr(GError) error = NULL;
    gpointer first = tree->pdata[0];

    g_assert_false(vmig_snapshot_tree_order(tree, &error));
    g_assert_error(error, VMIG_ERROR, (int)VMIG_ERROR_XML);
    g_assert_nonnull(strstr(error->message, message));
    g_assert_true(tree->pdata[0] == first);
    g_ptr_array_set_size(tree, 0);
}

static void test_disorder(void)
{
    g_autoptr(GPtrArray) tree = new_tree();

    add(tree, "z", NULL, 1);
    add(tree, "z", NULL, 2);
    assert_disorder(tree, "twice");
    add(tree, "z", "y", 1);
    add(tree, "\x1b[2J", "nobody", 1);
    add(tree, "y", NULL, 1);
    assert_disorder(tree, "'\\x1b[2J' has a parent that does not exist");
    add(tree, "z", "z", 1);
    assert_disorder(tree, "ancestor");
    add(tree, "leaf", "c", 1);
    add(tree, "a", "b", 1);
    add(tree, "b", "c", 1);
    add(tree, "c", "a", 1);
    add(tree, "root", NULL, 1);
    assert_disorder(tree, "ancestor");
    add(tree, "a", NULL, 1)->current = TRUE;
    add(tree, "b", NULL, 1)->current = TRUE;
    assert_disorder(tree, "only current");
}

/* 10^5 deep, leaf first: needs no stack and no quadratic time. */
static void test_deep(void)
{
    enum { N = 100000 };
    g_autoptr(GPtrArray) tree = new_tree();
    g_autoptr(GError) error = NULL;
    gint64 start = cpu_time();

    for (guint i = N; i > 0; i--) {
        g_autofree char *name = g_strdup_printf("%u", i);
        g_autofree char *parent = i > 1 ? g_strdup_printf("%u", i - 1) : NULL;
        add(tree, name, parent, 1);
    }
    g_assert_true(vmig_snapshot_tree_order(tree, &error));
    g_assert_cmpstr(((VmigSnapshot *)tree->pdata[0])->name, ==, "1");
    g_assert_cmpstr(((VmigSnapshot *)tree->pdata[N - 1])->name, ==, "100000");
    /* And as a cycle. */
    ((VmigSnapshot *)tree->pdata[0])->parent = g_strdup("100000");
    g_assert_false(vmig_snapshot_tree_order(tree, &error));
    g_assert_error(error, VMIG_ERROR, (int)VMIG_ERROR_XML);
    g_assert_cmpint(cpu_time() - start, <, 10 * G_USEC_PER_SEC);
}

static void test_equal(void)
{
    static const char *const messages[] = {"one host only", "another parent", "another state", "another creation time",
                                           "has memory",    "current one",    "one host only", "one host only"};
    for (guint i = 0; i <= G_N_ELEMENTS(messages); i++) {
        g_autoptr(GPtrArray) a = new_tree();
        g_autoptr(GPtrArray) b = new_tree();
        g_autofree char *difference = NULL;
        add(a, "r", NULL, 1);
        VmigSnapshot *changed = add(b, "s", "r", 2);
        add(a, "s", "r", 2);
        add(b, "r", NULL, 1); /* another order is not a difference */
        if (i == 0)
            changed->name[0] = 't';
        if (i == 1)
            g_clear_pointer(&changed->parent, g_free);
        if (i == 2)
            changed->state[0] = 'R';
        if (i == 3)
            changed->creation_time++;
        if (i == 4)
            changed->memory = TRUE;
        if (i == 5)
            changed->current = TRUE;
        if (i == 6)
            add(a, "x", NULL, 3);
        if (i == 7)
            add(b, "x", NULL, 3);
        gboolean equal = vmig_snapshot_tree_equal(a, b, &difference);
        g_assert_cmpint(equal, ==, i == G_N_ELEMENTS(messages));
        if (equal)
            g_assert_null(difference);
        else
            g_assert_nonnull(strstr(difference, messages[i]));
        g_assert_cmpint(vmig_snapshot_tree_equal(b, a, NULL), ==, equal);
    }
}

static void add_name(GPtrArray *names, const char *bytes, gsize length)
{
    g_ptr_array_add(names, g_bytes_new(bytes, length));
}

static void test_compare_image(void)
{
    g_autoptr(GPtrArray) tree = new_tree();
    g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func((GDestroyNotify)g_bytes_unref);

    add(tree, "a", NULL, 1);
    add(tree, "b", "a", 1)->xml = g_strdup(SNAPSHOT("<disks><disk name='vda' snapshot='internal'/>"
                                                    "<disk name='vdb' snapshot='no'/></disks>"));
    add(tree, "outside", "a", 1)->external = TRUE;
    add_name(names, "b", 1);
    add_name(names, "a", 1);
    g_autoptr(GPtrArray) same = vmig_snapshot_tree_compare_image(tree, "vda", names);
    g_assert_cmpuint(same->len, ==, 0);
    /* vdb was left out of b, so b in its image is another snapshot. */
    g_autoptr(GPtrArray) other = vmig_snapshot_tree_compare_image(tree, "vdb", names);
    g_assert_cmpuint(other->len, ==, 1);
    g_assert_cmpstr(other->pdata[0], ==, "the snapshot 'b' is in the image but not in libvirt's metadata");
    g_ptr_array_set_size(names, 1);
    add_name(names, "b", 1);
    add_name(names, "a\0x", 3);
    add_name(names, "\xff\x1b", 2);
    g_autoptr(GPtrArray) lines = vmig_snapshot_tree_compare_image(tree, NULL, names);
    g_assert_cmpuint(lines->len, ==, 4);
    g_assert_cmpstr(lines->pdata[0], ==, "the snapshot 'b' occurs twice in the image");
    g_assert_cmpstr(lines->pdata[1], ==, "the snapshot 'a' is in libvirt's metadata but not in the image");
    g_assert_cmpstr(lines->pdata[2], ==, "the snapshot 'a\\x00x' is in the image but not in libvirt's metadata");
    g_assert_cmpstr(lines->pdata[3], ==, "the snapshot '\\xff\\x1b' is in the image but not in libvirt's metadata");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/snapshot-tree/from-xml", test_from_xml);
    g_test_add_func("/snapshot-tree/bad-xml", test_bad_xml);
    g_test_add_func("/snapshot-tree/order", test_order);
    g_test_add_func("/snapshot-tree/disorder", test_disorder);
    g_test_add_func("/snapshot-tree/deep", test_deep);
    g_test_add_func("/snapshot-tree/equal", test_equal);
    g_test_add_func("/snapshot-tree/compare-image", test_compare_image);
    return g_test_run();
}
