/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Events: each counts for its own domain only, even while another domain of the same host migrates. */
#include "drivers/libvirt/libvirt-private.h"

#define OURS "0f7d3c5e-8a1b-4c2d-9e3f-112233445566"
#define OTHER "0f7d3c5e-8a1b-4c2d-9e3f-665544332211"
#define LONG (10 * G_TIME_SPAN_SECOND)
#define SHORT (G_TIME_SPAN_SECOND / 20)

typedef struct {
    VmigWaker *waker;
    VmigEventSink *sink;
} Fixture;

static void set_up(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    f->waker = vmig_waker_new();
    f->sink = vmig_event_sink_new(f->waker);
}

static void tear_down(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    vmig_event_sink_unref(f->sink);
    vmig_waker_unref(f->waker);
}

/* TRUE if the wait ended early. */
static gboolean is_woken(Fixture *f, gint64 most)
{
    gint64 began = g_get_monotonic_time();

    vmig_waker_wait(f->waker, most);
    return g_get_monotonic_time() - began < most;
}

static void stopped(Fixture *f, const char *uuid)
{
    vmig_event_sink_lifecycle(f->sink, uuid, VIR_DOMAIN_EVENT_SUSPENDED, VIR_DOMAIN_EVENT_SUSPENDED_MIGRATED);
}

static void test_switchover_of_another(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    stopped(f, OTHER);
    g_assert_cmpint(vmig_event_sink_stopped_at(f->sink, OURS), ==, 0);
    g_assert_cmpint(vmig_event_sink_stopped_at(f->sink, OTHER), >, 0);
}

static void test_switchover_of_ours(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    gint64 before = g_get_monotonic_time();

    stopped(f, OURS);
    gint64 at = vmig_event_sink_stopped_at(f->sink, OURS);
    g_assert_cmpint(at, >=, before);
    stopped(f, OTHER);
    g_assert_cmpint(vmig_event_sink_stopped_at(f->sink, OURS), ==, at);
}

static void test_plain_suspend(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    vmig_event_sink_lifecycle(f->sink, OURS, VIR_DOMAIN_EVENT_SUSPENDED, VIR_DOMAIN_EVENT_SUSPENDED_PAUSED);
    g_assert_cmpint(vmig_event_sink_stopped_at(f->sink, OURS), ==, 0);
}

static void test_wakes(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    stopped(f, OTHER);
    g_assert_true(is_woken(f, LONG)); /* no domain has been selected yet */
    vmig_event_sink_attend(f->sink, OURS);
    stopped(f, OTHER);
    vmig_event_sink_lifecycle(f->sink, OTHER, VIR_DOMAIN_EVENT_STOPPED, VIR_DOMAIN_EVENT_STOPPED_MIGRATED);
    g_assert_false(is_woken(f, SHORT));
    vmig_event_sink_lifecycle(f->sink, OURS, VIR_DOMAIN_EVENT_STOPPED, VIR_DOMAIN_EVENT_STOPPED_MIGRATED);
    g_assert_true(is_woken(f, LONG));
}

/* libvirt's own test driver: the events for all of its domains arrive through its client library. */
static VmigHypervisor *open_two(Fixture *f, virConnectPtr *conn)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *xml = NULL;
    VmigHypervisor *hv = vmig_libvirt_new("test:///default", NULL, f->waker, &error);

    g_assert_no_error(error);
    *conn = vmig_libvirt_connection((VmigLibvirt *)hv, &error);
    g_assert_no_error(error);
    xml = g_strdup_printf("<domain type='test'><name>other</name><uuid>%s</uuid><memory>1024</memory>"
                          "<os><type>hvm</type></os></domain>",
                          OTHER);
    g_autoptr(virDomain) domain = virDomainCreateXML(*conn, xml, 0);
    g_assert_nonnull(domain);
    return hv;
}

static void act_on(virConnectPtr conn, const char *uuid, gboolean suspend)
{
    g_autoptr(virDomain) domain = virDomainLookupByUUIDString(conn, uuid);

    g_assert_nonnull(domain);
    g_assert_cmpint(suspend ? virDomainSuspend(domain) : virDomainResume(domain), ==, 0);
}

static void test_wakes_through_libvirt(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    virConnectPtr conn = NULL;
    g_autoptr(VmigHypervisor) hv = open_two(f, &conn);
    g_autoptr(VmigDomainInfo) ours = NULL;
    g_autoptr(GError) error = NULL;

    g_assert_true(hv->ops->find(hv, "test", &ours, &error));
    g_assert_no_error(error);
    vmig_hypervisor_attend(hv, ours->uuid);
    while (is_woken(f, SHORT)) /* what starting the other one caused */
        ;
    act_on(conn, OTHER, TRUE);
    g_assert_false(is_woken(f, 10 * SHORT));
    act_on(conn, ours->uuid, TRUE);
    g_assert_true(is_woken(f, LONG));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add("/libvirt-events/switchover-of-another", Fixture, NULL, set_up, test_switchover_of_another, tear_down);
    g_test_add("/libvirt-events/switchover-of-ours", Fixture, NULL, set_up, test_switchover_of_ours, tear_down);
    g_test_add("/libvirt-events/plain-suspend", Fixture, NULL, set_up, test_plain_suspend, tear_down);
    g_test_add("/libvirt-events/wakes", Fixture, NULL, set_up, test_wakes, tear_down);
    g_test_add("/libvirt-events/wakes-through-libvirt", Fixture, NULL, set_up, test_wakes_through_libvirt, tear_down);
    return g_test_run();
}
