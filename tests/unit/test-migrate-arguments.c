/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is requested of libvirt for a migration: the flags that no option may add or remove. */
#include "drivers/libvirt/migrate-arguments.h"

static const char *const one_disk[] = {"vda", NULL};

/* The basis of every migration's safety, and nothing else. */
#define ALWAYS                                                                                                         \
    (VIR_MIGRATE_LIVE | VIR_MIGRATE_PEER2PEER | VIR_MIGRATE_PAUSED | VIR_MIGRATE_PERSIST_DEST |                        \
     VIR_MIGRATE_NON_SHARED_INC | VIR_MIGRATE_ABORT_ON_ERROR)

static unsigned flags_of(VmigMigrateParams params)
{
    virTypedParameterPtr list = NULL;
    unsigned flags = 0;
    int n = 0;

    params.disks = one_disk;
    params.dest_xml = "<domain/>";
    params.persistent_xml = "<domain type='x'/>";
    vmig_migrate_arguments(&params, &list, &n, &flags);
    virTypedParamsFree(list, n);
    return flags;
}

static void test_paused_always(void)
{
    for (guint n = 0; n < 16; n++) {
        VmigMigrateParams params = {
            .auto_converge = n & 1, .tls = n >> 1 & 1, .parallel = (n >> 2 & 1) * 4, .bandwidth = (n >> 3 & 1) << 30};
        unsigned more = (n & 1 ? VIR_MIGRATE_AUTO_CONVERGE : 0) | (n >> 1 & 1 ? VIR_MIGRATE_TLS : 0) |
                        (n >> 2 & 1 ? VIR_MIGRATE_PARALLEL : 0);
        g_assert_cmphex(flags_of(params), ==, ALWAYS | more);
    }
}

static void test_both_definitions(void)
{
    static const char *const two[] = {"vda", "sdb", NULL};
    VmigMigrateParams params = {.dest_xml = "<live/>", .persistent_xml = "<persistent/>", .disks = two};
    virTypedParameterPtr list = NULL;
    const char *text = NULL;
    unsigned flags = 0;
    int n = 0;

    vmig_migrate_arguments(&params, &list, &n, &flags);
    g_assert_cmpint(virTypedParamsGetString(list, n, VIR_MIGRATE_PARAM_DEST_XML, &text), ==, 1);
    g_assert_cmpstr(text, ==, "<live/>");
    g_assert_cmpint(virTypedParamsGetString(list, n, VIR_MIGRATE_PARAM_PERSIST_XML, &text), ==, 1);
    g_assert_cmpstr(text, ==, "<persistent/>");
    /* Two definitions and two disks: libvirt chooses where the streams go, and there is no limit. */
    g_assert_cmpint(n, ==, 4);
    g_assert_cmpstr(list[2].value.s, ==, "vda");
    g_assert_cmpstr(list[3].value.s, ==, "sdb");
    virTypedParamsFree(list, n);
}

static void test_small_bandwidth(void)
{
    VmigMigrateParams params = {.dest_xml = "<a/>", .persistent_xml = "<b/>", .disks = one_disk, .bandwidth = 1000};
    virTypedParameterPtr list = NULL;
    unsigned long long speed = 0;
    unsigned flags = 0;
    int n = 0;

    /* 0 would be unlimited. */
    vmig_migrate_arguments(&params, &list, &n, &flags);
    g_assert_cmpint(virTypedParamsGetULLong(list, n, VIR_MIGRATE_PARAM_BANDWIDTH, &speed), ==, 1);
    g_assert_cmpuint(speed, ==, 1);
    virTypedParamsFree(list, n);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    /* A connection would do this: libvirt's errors are in a thread variable that does not exist before. */
    g_assert_cmpint(virInitialize(), ==, 0);
    g_test_add_func("/migrate-arguments/paused-always", test_paused_always);
    g_test_add_func("/migrate-arguments/both-definitions", test_both_definitions);
    g_test_add_func("/migrate-arguments/small-bandwidth", test_small_bandwidth);
    return g_test_run();
}
