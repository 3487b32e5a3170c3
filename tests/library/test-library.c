/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Tests of the installed library that need no host: invalid requests fail before anything is connected. */
#include <string.h>
#include <vmig-snap/vmig-snap.h>

#define DEST "qemu+ssh://kvm2/system"

/* --- requests --- */

static void test_defaults(void)
{
    g_autoptr(VmigMigrateRequest) request = vmig_migrate_request_new("web1", DEST);
    g_autofree char *domain = NULL, *destination = NULL, *policy = NULL;
    g_auto(GStrv) disks = NULL;
    VmigMerge merge;
    VmigTransport transport;
    VmigSourceImages images;
    guint64 bandwidth;
    gboolean rehearse, verify;

    g_object_get(request, "domain", &domain, "destination", &destination, "policy", &policy, "disks", &disks, "merge",
                 &merge, "transport", &transport, "source-images", &images, "bandwidth", &bandwidth, "rehearse",
                 &rehearse, "verify", &verify, NULL);
    g_assert_cmpstr(domain, ==, "web1");
    g_assert_cmpstr(destination, ==, DEST);
    g_assert_null(policy);
    g_assert_null(disks);
    g_assert_cmpint(merge, ==, VMIG_MERGE_COMMIT);
    g_assert_cmpint(transport, ==, VMIG_TRANSPORT_DEFAULT);
    g_assert_cmpint(images, ==, VMIG_SOURCE_IMAGES_KEEP);
    g_assert_cmpuint(bandwidth, ==, 0);
    g_assert_true(rehearse);
    g_assert_false(verify);
    g_assert_true(vmig_migrate_request_check(request, NULL));
}

static void test_properties(void)
{
    g_autoptr(VmigMigrateRequest) request = vmig_migrate_request_new("web1", DEST);
    const char *const disks[] = {"vda", "vdb", NULL}, *const maps[] = {"vda=/srv/a.qcow2", NULL};
    g_auto(GStrv) found = NULL;
    guint64 bandwidth, parallel;
    VmigMerge merge;
    g_autoptr(GError) error = NULL;

    g_object_set(request, "disks", disks, "maps", maps, "merge", VMIG_MERGE_MIRROR, "bandwidth",
                 G_GUINT64_CONSTANT(5000000000), "parallel", G_GUINT64_CONSTANT(4), "postcopy", TRUE, NULL);
    g_object_get(request, "disks", &found, "bandwidth", &bandwidth, "parallel", &parallel, "merge", &merge, NULL);
    g_assert_true(g_strv_equal((const char *const *)found, disks));
    g_assert_cmpuint(bandwidth, ==, G_GUINT64_CONSTANT(5000000000));
    g_assert_cmpuint(parallel, ==, 4);
    g_assert_cmpint(merge, ==, VMIG_MERGE_MIRROR);
    vmig_migrate_request_check(request, &error);
    g_assert_no_error(error);
}

/* A call reports the same error as the check, before it reads or connects anything. */
static void expect(VmigMigrateRequest *request, VmigErrorCode code, const char *property)
{
    g_autoptr(VmigSession) session = vmig_session_new(NULL);
    g_autoptr(GError) checked = NULL, planned = NULL;

    g_assert_false(vmig_migrate_request_check(request, &checked));
    g_assert_error(checked, VMIG_ERROR, (int)code);
    g_assert_true(g_str_has_prefix(checked->message, property));
    g_assert_null(vmig_session_plan(session, request, NULL, &planned));
    g_assert_error(planned, VMIG_ERROR, (int)code);
    g_assert_cmpstr(planned->message, ==, checked->message);
    g_object_unref(request);
}

static VmigMigrateRequest *with(const char *property, const char *value)
{
    VmigMigrateRequest *request = vmig_migrate_request_new("web1", DEST);
    const char *const list[] = {value, value, NULL};
    GParamSpec *spec = g_object_class_find_property(G_OBJECT_GET_CLASS(request), property);

    if (spec->value_type == G_TYPE_STRV)
        g_object_set(request, property, list, NULL);
    else if (spec->value_type == G_TYPE_UINT64)
        g_object_set(request, property, g_ascii_strtoull(value, NULL, 10), NULL);
    else
        g_object_set(request, property, value, NULL);
    return request;
}

static void test_bad_requests(void)
{
    expect(with("domain", ""), VMIG_ERROR_BAD_NAME, "domain: ");
    expect(with("domain", NULL), VMIG_ERROR_BAD_NAME, "domain: ");
    expect(with("domain", "a\nb"), VMIG_ERROR_BAD_NAME, "domain: ");
    expect(with("destination", NULL), VMIG_ERROR_BAD_URI, "destination: ");
    expect(with("destination", "xen+ssh://kvm2/"), VMIG_ERROR_BAD_URI, "destination: ");
    expect(with("disks", "vda"), VMIG_ERROR_USAGE, "disks: ");
    expect(with("disks", ""), VMIG_ERROR_BAD_NAME, "disks: ");
    expect(with("maps", "vda"), VMIG_ERROR_USAGE, "maps: ");
    expect(with("map-dirs", "/a=/../b"), VMIG_ERROR_BAD_PATH, "map-dirs: ");
    expect(with("policy", "../x"), VMIG_ERROR_BAD_NAME, "policy: ");
    expect(with("migrate-host", "-x"), VMIG_ERROR_BAD_NAME, "migrate-host: ");
    expect(with("bandwidth", "9223372036854775808"), VMIG_ERROR_USAGE, "bandwidth: ");
    expect(with("max-downtime", "2000001"), VMIG_ERROR_USAGE, "max-downtime: ");
    expect(with("parallel", "256"), VMIG_ERROR_USAGE, "parallel: ");
    expect(with("timeout", "31536001"), VMIG_ERROR_USAGE, "timeout: ");
}

static void test_resume_request(void)
{
    g_autoptr(VmigSession) session = vmig_session_new(NULL);
    g_autoptr(VmigResumeRequest) request = vmig_resume_request_new("a3f1c20b9d4e5f60");
    g_autoptr(GError) error = NULL, empty = NULL;

    g_assert_true(vmig_resume_request_check(request, NULL));
    g_object_set(request, "set-aside", TRUE, "fenced-source", "kvm1", NULL);
    g_assert_null(vmig_session_resume(session, request, NULL, &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_USAGE);
    g_object_set(request, "job", NULL, NULL);
    g_assert_false(vmig_resume_request_check(request, &empty));
    g_assert_error(empty, VMIG_ERROR, VMIG_ERROR_BAD_NAME);
}

/* --- errors --- */

static void test_errors(void)
{
    g_autoptr(VmigMigrateRequest) request = with("policy", "../x");
    g_autoptr(GEnumClass) klass = (GEnumClass *)g_type_class_ref(VMIG_TYPE_ERROR_CODE);
    g_autoptr(GError) error = NULL;

    g_assert_false(vmig_migrate_request_check(request, &error));
    g_assert_cmpstr(vmig_error_get_name(error), ==, "bad-name");
    g_assert_nonnull(strstr(vmig_error_get_hint(error), "policy.d"));
    /* A language binding makes the error again from its three members. */
    g_autoptr(GError) copy = g_error_new_literal(error->domain, error->code, error->message);
    g_autoptr(GError) other = g_error_new_literal(error->domain, error->code, "other");
    g_assert_cmpstr(vmig_error_get_hint(copy), ==, vmig_error_get_hint(error));
    g_assert_null(vmig_error_get_hint(other));
    vmig_error_set_hint(other, "%d", 1);
    g_assert_cmpstr(vmig_error_get_hint(other), ==, "1");
    /* The numbers are part of the ABI. */
    g_assert_cmpint(VMIG_ERROR_USAGE, ==, 0);
    g_assert_cmpstr(g_enum_get_value(klass, VMIG_ERROR_USAGE)->value_nick, ==, "usage");
    g_assert_cmpstr(g_enum_get_value_by_nick(klass, "unrevertable")->value_name, ==, "VMIG_ERROR_UNREVERTABLE");
}

static void test_codes(void)
{
    VmigErrorCode code = VMIG_ERROR_INTERNAL;

    g_assert_true(vmig_error_code_from_name("no-space", &code));
    g_assert_cmpint(code, ==, VMIG_ERROR_NO_SPACE);
    g_assert_cmpstr(vmig_error_code_get_name(code), ==, "no-space");
    g_assert_cmpint(vmig_error_code_get_class(code), ==, VMIG_CLASS_NO_SPACE);
    g_assert_false(vmig_error_code_from_name("no-such-code", &code));
    g_assert_false(vmig_error_code_from_name(NULL, &code));
    g_assert_cmpint(code, ==, VMIG_ERROR_NO_SPACE);
    g_assert_cmpint(vmig_error_code_get_class((VmigErrorCode)9999), ==, VMIG_CLASS_FATAL);
}

/* --- documents --- */

/* Text with apostrophes for the quotation marks of JSON. */
static JsonNode *node_of(const char *text)
{
    g_autofree char *json = g_strdelimit(g_strdup(text), "'", '"');
    JsonNode *node = json_from_string(json, NULL);

    g_assert_nonnull(node);
    return node;
}

static void test_result(void)
{
    g_autoptr(JsonNode) node = node_of("{'event':'result','job':'a3f1c20b9d4e5f60','outcome':'rolled-back',"
                                       "'domain':'web1','state':'ROLLED_BACK','source':'kvm1','destination':'kvm2',"
                                       "'error':{'code':'no-space','message':'full','hint':'Free 3 GB there.'},"
                                       "'merge':'mirror','bytes_copied':1090000000,'downtime_ms':34,'duration_s':9}");
    g_autoptr(GError) error = vmig_document_get_error(node);

    g_assert_cmpint(vmig_document_get_outcome(node), ==, VMIG_OUTCOME_ROLLED_BACK);
    g_assert_cmpstr(vmig_document_get_job(node), ==, "a3f1c20b9d4e5f60");
    g_assert_cmpstr(vmig_document_get_domain(node), ==, "web1");
    g_assert_cmpstr(vmig_document_get_source(node), ==, "kvm1");
    g_assert_cmpstr(vmig_document_get_destination(node), ==, "kvm2");
    g_assert_cmpstr(vmig_document_get_state(node), ==, "ROLLED_BACK");
    g_assert_cmpint(vmig_document_get_merge(node), ==, VMIG_MERGE_MIRROR);
    g_assert_cmpuint(vmig_document_get_bytes_copied(node), ==, 1090000000);
    g_assert_cmpuint(vmig_document_get_downtime(node), ==, 34);
    g_assert_cmpuint(vmig_document_get_duration(node), ==, 9);
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_NO_SPACE);
    g_assert_cmpstr(error->message, ==, "full");
    g_assert_cmpstr(vmig_error_get_hint(error), ==, "Free 3 GB there.");
}

static void test_plan_and_odd_documents(void)
{
    g_autoptr(JsonNode) plan = node_of("{'can_migrate':true,'source':{'host':'kvm1'},'destination':{'host':null}}");
    g_autoptr(JsonNode) odd = node_of("{'job':1,'outcome':'new','can_migrate':'yes','downtime_ms':-1,'error':null}");
    g_autoptr(JsonNode) unknown = node_of("{'error':{'code':'a-newer-code','message':'x','hint':null}}");
    g_autoptr(JsonNode) list = node_of("[]");
    g_autoptr(GError) error = vmig_document_get_error(unknown);

    g_assert_true(vmig_document_can_migrate(plan));
    g_assert_cmpstr(vmig_document_get_source(plan), ==, "kvm1");
    g_assert_null(vmig_document_get_destination(plan));
    g_assert_cmpint(vmig_document_get_merge(plan), ==, VMIG_MERGE_AUTO);
    g_assert_null(vmig_document_get_job(odd));
    g_assert_cmpint(vmig_document_get_outcome(odd), ==, VMIG_OUTCOME_FAILED);
    g_assert_false(vmig_document_can_migrate(odd));
    g_assert_cmpuint(vmig_document_get_downtime(odd), ==, 0);
    g_assert_null(vmig_document_get_error(odd));
    g_assert_null(vmig_document_get_job(list));
    g_assert_null(vmig_document_get_error(list));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_INTERNAL);
}

static void test_states(void)
{
    VmigPhase phase = VMIG_PHASE_BACK;
    VmigGuestAt guest = VMIG_GUEST_ARRIVED;

    g_assert_true(vmig_job_state_get_phase("COMMIT", &phase));
    g_assert_cmpint(phase, ==, VMIG_PHASE_AFTER);
    g_assert_true(vmig_job_state_get_guest("PLAN", &guest));
    g_assert_cmpint(guest, ==, VMIG_GUEST_UNTOUCHED);
    g_assert_nonnull(strstr(vmig_job_state_get_text("COPY"), "copy the bases"));
    g_assert_true(vmig_job_state_is_final("DONE"));
    g_assert_false(vmig_job_state_is_final("PARKED"));
    g_assert_false(vmig_job_state_get_phase("NEWER", &phase));
    g_assert_false(vmig_job_state_get_guest(NULL, &guest));
    g_assert_false(vmig_job_state_is_final(NULL));
    g_assert_true(vmig_job_state_continues_on_source("COPY"));
    g_assert_false(vmig_job_state_continues_on_source("COMMIT"));
    g_assert_false(vmig_job_state_continues_on_source(NULL));
    g_assert_null(vmig_job_state_get_text("copy"));
    g_assert_cmpint(phase, ==, VMIG_PHASE_AFTER);
}

static void test_texts(void)
{
    g_autofree char *name = vmig_text_escape("a\033b", -1), *amount = vmig_amount_format(2090000000),
                    *duration = vmig_duration_format(125);
    guint64 value = 0;
    g_autoptr(GError) error = NULL;

    g_assert_cmpstr(name, ==, "a\\x1bb");
    g_assert_cmpstr(amount, ==, "2.09 GB");
    g_assert_cmpstr(duration, ==, "2 min 5 s");
    g_assert_true(vmig_amount_parse("100M", FALSE, &value, NULL));
    g_assert_cmpuint(value, ==, 104857600);
    g_assert_false(vmig_count_parse("256", 1, 255, &value, &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_USAGE);
}

/* --- calls --- */

static void test_cancelled_before(void)
{
    g_autoptr(VmigSession) session = vmig_session_new(NULL);
    g_autoptr(VmigMigrateRequest) request = vmig_migrate_request_new("web1", DEST);
    g_autoptr(GCancellable) cancellable = g_cancellable_new();
    g_autoptr(GError) error = NULL, listed = NULL;

    g_cancellable_cancel(cancellable);
    g_assert_null(vmig_session_migrate(session, request, cancellable, &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_CANCELLED);
    g_assert_null(vmig_session_list(session, VMIG_LIST_ALL, cancellable, &listed));
    g_assert_error(listed, VMIG_ERROR, VMIG_ERROR_CANCELLED);
}

typedef struct {
    GMainLoop *loop;
    GThread *thread;
    JsonNode *(*finish)(VmigSession *session, GAsyncResult *result, GError **error);
    JsonNode *document;
    GError *error;
} Ended;

static void on_end(GObject *source, GAsyncResult *result, gpointer user)
{
    Ended *ended = (Ended *)user;

    ended->thread = g_thread_self();
    ended->document = ended->finish(VMIG_SESSION(source), result, &ended->error);
    g_main_loop_quit(ended->loop);
}

static void test_async(void)
{
    g_autoptr(VmigSession) session = vmig_session_new(NULL);
    g_autoptr(VmigMigrateRequest) request = vmig_migrate_request_new("", DEST);
    g_autoptr(GMainLoop) loop = g_main_loop_new(NULL, FALSE);
    Ended refused = {.loop = loop, .finish = vmig_session_plan_finish},
          cancelled = {.loop = loop, .finish = vmig_session_list_finish};
    g_autoptr(GCancellable) cancellable = g_cancellable_new();

    vmig_session_plan_async(session, request, NULL, on_end, &refused);
    /* The call has a copy of the request. */
    g_object_set(request, "domain", "web1", NULL);
    g_main_loop_run(loop);
    g_assert_null(refused.document);
    g_assert_error(refused.error, VMIG_ERROR, VMIG_ERROR_BAD_NAME);
    g_assert_true(refused.thread == g_thread_self());
    g_cancellable_cancel(cancellable);
    vmig_session_list_async(session, VMIG_LIST_NONE, cancellable, on_end, &cancelled);
    g_main_loop_run(loop);
    g_assert_error(cancelled.error, VMIG_ERROR, VMIG_ERROR_CANCELLED);
    g_clear_error(&refused.error);
    g_clear_error(&cancelled.error);
}

/* An asynchronous call keeps its session alive. */
static void test_dropped(void)
{
    VmigSession *session = vmig_session_new(NULL);
    g_autoptr(VmigMigrateRequest) request = vmig_migrate_request_new("", DEST);
    g_autoptr(GMainLoop) loop = g_main_loop_new(NULL, FALSE);
    Ended ended = {.loop = loop, .finish = vmig_session_migrate_finish};

    vmig_session_migrate_async(session, request, NULL, on_end, &ended);
    g_object_unref(session);
    g_main_loop_run(loop);
    g_assert_error(ended.error, VMIG_ERROR, VMIG_ERROR_BAD_NAME);
    g_clear_error(&ended.error);
}

static void test_usage_of_calls(void)
{
    g_autoptr(VmigSession) session = vmig_session_new(NULL);
    g_autoptr(VmigSession) elsewhere = vmig_session_new("qemu+ssh://kvm1/system");
    g_autoptr(GError) none = NULL, both = NULL, remote = NULL;

    g_assert_null(vmig_session_verify(session, NULL, NULL, NULL, &none));
    g_assert_error(none, VMIG_ERROR, VMIG_ERROR_USAGE);
    g_assert_null(vmig_session_verify(session, "web1", "a3f1c20b9d4e5f60", NULL, &both));
    g_assert_error(both, VMIG_ERROR, VMIG_ERROR_USAGE);
    g_assert_null(vmig_session_status(elsewhere, NULL, NULL, &remote));
    g_assert_error(remote, VMIG_ERROR, VMIG_ERROR_BAD_URI);
    g_assert_true(g_str_has_prefix(remote->message, "connect-uri: "));
    g_assert_true(g_ascii_isdigit(*vmig_version()));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/library/defaults", test_defaults);
    g_test_add_func("/library/properties", test_properties);
    g_test_add_func("/library/bad-requests", test_bad_requests);
    g_test_add_func("/library/resume-request", test_resume_request);
    g_test_add_func("/library/errors", test_errors);
    g_test_add_func("/library/codes", test_codes);
    g_test_add_func("/library/result", test_result);
    g_test_add_func("/library/plan-and-odd-documents", test_plan_and_odd_documents);
    g_test_add_func("/library/states", test_states);
    g_test_add_func("/library/texts", test_texts);
    g_test_add_func("/library/cancelled-before", test_cancelled_before);
    g_test_add_func("/library/async", test_async);
    g_test_add_func("/library/dropped", test_dropped);
    g_test_add_func("/library/usage-of-calls", test_usage_of_calls);
    return g_test_run();
}
