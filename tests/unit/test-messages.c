/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The codec, with every message of the methods: the tables say what to test. A message with each field filled survives
 * the wire; one with any field missing or damaged is refused, with a text that names the field. */
#include <string.h>

#include "os/json-read.h"
#include "port/codec.h"
#include "port/methods.h"
#include "flows/migrate/states.h"

#define ID "0123456789abcdef"
#define SUM "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

/* --- a message with a value in each field --- */

static JsonNode *node_of_text(const char *text)
{
    JsonNode *node = json_node_alloc();

    return json_node_init_string(node, text);
}

static JsonNode *node_of_number(gint64 number)
{
    return json_node_init_int(json_node_alloc(), number);
}

static JsonNode *node_of_object(JsonObject *object)
{
    JsonNode *node = json_node_init_object(json_node_alloc(), object);

    json_object_unref(object);
    return node;
}

static JsonNode *node_of_array(JsonNode *a, JsonNode *b)
{
    JsonArray *array = json_array_new();
    JsonNode *node = json_node_alloc();

    json_array_add_element(array, a);
    json_array_add_element(array, b);
    json_node_init_array(node, array);
    json_array_unref(array);
    return node;
}

static JsonObject *record(void)
{
    g_autoptr(VmigJob) job = vmig_job_new(&vmig_states_migrate);

    job->id = g_strdup(ID);
    job->uuid = g_strdup("11111111-2222-3333-4444-555555555555");
    job->version = VMIG_JOB_VERSION;
    vmig_job_set_state(job, VMIG_MIGRATE(LOCK));
    return vmig_job_to_json(job);
}

static JsonObject *full(const VmigMessage *message);

static JsonNode *value_of(const VmigField *field)
{
    switch (field->kind) {
    case VMIG_FIELD_TEXT:
    case VMIG_FIELD_FILLED:
        return node_of_text("/some \"text\" \303\251");
    case VMIG_FIELD_JOB:
        return node_of_text(ID);
    case VMIG_FIELD_WORD:
    case VMIG_FIELD_ENUM:
        return node_of_text(field->words->words[1]);
    case VMIG_FIELD_TEXTS:
        return node_of_array(node_of_text("a"), node_of_text(""));
    case VMIG_FIELD_SUMS:
        return node_of_array(node_of_text(SUM), node_of_text(SUM));
    case VMIG_FIELD_FLAG:
        return json_node_init_boolean(json_node_alloc(), TRUE);
    case VMIG_FIELD_NUMBER:
    case VMIG_FIELD_BITS:
        return node_of_number(-3);
    case VMIG_FIELD_SIZE:
        return node_of_number(G_MAXINT64);
    case VMIG_FIELD_COUNT:
        return node_of_number(G_MAXUINT32);
    case VMIG_FIELD_KEY:
        return node_of_text(SUM);
    case VMIG_FIELD_BYTES:
        return node_of_text("AAECAwQ=");
    case VMIG_FIELD_RECORD:
        return node_of_object(record());
    case VMIG_FIELD_OBJECT:
        return node_of_object(full(field->of));
    case VMIG_FIELD_OBJECTS:
        return node_of_array(node_of_object(full(field->of)), node_of_object(full(field->of)));
    }
    g_assert_not_reached();
}

static JsonObject *full(const VmigMessage *message)
{
    JsonObject *object = json_object_new();

    for (const VmigField *field = message->fields(); field->name != NULL; field++)
        json_object_set_member(object, field->name, value_of(field));
    return object;
}

static char *line_of(JsonObject *object)
{
    return vmig_json_line(object);
}

/* --- what must be refused in place of a value --- */

typedef struct {
    JsonNode *value;
    const char *expected;
} Wrong;

static void add(GArray *wrongs, JsonNode *value, const char *expected)
{
    const Wrong wrong = {value, expected};

    g_array_append_val(wrongs, wrong);
}

static void add_texts(GArray *wrongs, const char *expected, const char *const *texts)
{
    for (; *texts != NULL; texts++)
        add(wrongs, node_of_text(*texts), expected);
}

#define ADD_TEXTS(wrongs, expected, ...) add_texts(wrongs, expected, (const char *const[]){__VA_ARGS__, NULL})

static void add_wrong_texts(GArray *wrongs, const VmigField *field)
{
    add(wrongs, node_of_number(5), "a string");
    add(wrongs, node_of_object(json_object_new()), "a string");
    if (field->kind == VMIG_FIELD_FILLED)
        ADD_TEXTS(wrongs, "a string that is not empty", "");
    if (field->kind == VMIG_FIELD_JOB)
        ADD_TEXTS(wrongs, "the id of a job", "", "../x", "x", ID "0");
    if (field->kind == VMIG_FIELD_WORD || field->kind == VMIG_FIELD_ENUM)
        ADD_TEXTS(wrongs, field->words->expected, "", "unheard-of");
    if (field->kind == VMIG_FIELD_BYTES)
        ADD_TEXTS(wrongs, "base64", "AAE", "AA*=", "=AAA", "A===", "AAEC\nAAEC");
}

static void add_wrong_numbers(GArray *wrongs, const VmigField *field)
{
    add(wrongs, node_of_text("5"), "an integer");
    add(wrongs, json_node_init_double(json_node_alloc(), 0.5), "an integer");
    if (field->kind == VMIG_FIELD_SIZE || field->kind == VMIG_FIELD_COUNT)
        add(wrongs, node_of_number(-1), "0 or more");
    if (field->kind == VMIG_FIELD_COUNT)
        add(wrongs, node_of_number((gint64)G_MAXUINT32 + 1), "a number of 32 bits");
}

static void add_wrong_arrays(GArray *wrongs, const VmigField *field)
{
    add(wrongs, node_of_text("a"), "an array");
    if (field->kind == VMIG_FIELD_OBJECTS) {
        add(wrongs, node_of_array(node_of_object(full(field->of)), node_of_text("a")), "an array of objects");
        return;
    }
    add(wrongs, node_of_array(node_of_text(SUM), node_of_number(1)), "an array of strings");
    if (field->kind == VMIG_FIELD_SUMS)
        add(wrongs, node_of_array(node_of_text(SUM), node_of_text("../" SUM)), "an array of SHA-256 sums");
}

static const char *type_of(const VmigField *field)
{
    switch (field->kind) {
    case VMIG_FIELD_TEXTS:
    case VMIG_FIELD_SUMS:
    case VMIG_FIELD_OBJECTS:
        return "an array";
    case VMIG_FIELD_FLAG:
        return "a boolean";
    case VMIG_FIELD_NUMBER:
    case VMIG_FIELD_BITS:
    case VMIG_FIELD_SIZE:
    case VMIG_FIELD_COUNT:
        return "an integer";
    case VMIG_FIELD_RECORD:
    case VMIG_FIELD_OBJECT:
        return "an object";
    default:
        return "a string";
    }
}

static GArray *wrongs_of(const VmigField *field)
{
    GArray *wrongs = g_array_new(FALSE, FALSE, sizeof(Wrong));
    const char *type = type_of(field);

    if (field->needed) {
        add(wrongs, NULL, type);
        add(wrongs, json_node_init_null(json_node_alloc()), type);
    }
    if (strcmp(type, "a string") == 0)
        add_wrong_texts(wrongs, field);
    else if (strcmp(type, "an integer") == 0)
        add_wrong_numbers(wrongs, field);
    else if (strcmp(type, "an array") == 0)
        add_wrong_arrays(wrongs, field);
    else
        add(wrongs, node_of_text("x"), type);
    return wrongs;
}

/* --- the tests, for each message --- */

typedef struct {
    VmigMethod method;
    gboolean is_reply;
} Case;

static void refused(const VmigMessage *message, JsonObject *object, const char *reply_to, const char *member,
                    const char *expected)
{
    g_autoptr(GError) error = NULL;
    gpointer data = vmig_message_new(message);
    g_autofree char *what = reply_to != NULL ? g_strdup_printf("the reply to '%s'", reply_to) : g_strdup("the request");
    g_autofree char *text = g_strdup_printf("%s: member '%s' is missing or not %s", what, member, expected);

    g_assert_false(vmig_codec_decode(message, object, data, reply_to, &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_PROTOCOL);
    g_assert_cmpstr(error->message, ==, text);
    vmig_message_free(message, data);
}

static void damage_fields(const VmigMessage *top, JsonObject *whole, const VmigMessage *message, JsonObject *object,
                          const char *reply_to);

static void damage_below(const VmigMessage *top, JsonObject *whole, const VmigField *field, JsonObject *object,
                         const char *reply_to)
{
    if (field->kind == VMIG_FIELD_OBJECT)
        damage_fields(top, whole, field->of, json_object_get_object_member(object, field->name), reply_to);
    if (field->kind == VMIG_FIELD_OBJECTS)
        damage_fields(top, whole, field->of,
                      json_array_get_object_element(json_object_get_array_member(object, field->name), 1), reply_to);
}

/* Each field of the object, which is whole or a part of it, in turn. */
static void damage_fields(const VmigMessage *top, JsonObject *whole, const VmigMessage *message, JsonObject *object,
                          const char *reply_to)
{
    for (const VmigField *field = message->fields(); field->name != NULL; field++) {
        g_autoptr(GArray) wrongs = wrongs_of(field);
        for (guint i = 0; i < wrongs->len; i++) {
            const Wrong *wrong = &g_array_index(wrongs, Wrong, i);
            json_object_remove_member(object, field->name);
            if (wrong->value != NULL)
                json_object_set_member(object, field->name, wrong->value);
            refused(top, whole, reply_to, field->name, wrong->expected);
        }
        json_object_set_member(object, field->name, value_of(field));
        damage_below(top, whole, field, object, reply_to);
    }
}

static const VmigMessage *message_of(const Case *each)
{
    return each->is_reply ? vmig_method_reply(each->method) : vmig_method_args(each->method);
}

static void test_refused(gconstpointer data)
{
    const Case *each = data;
    g_autoptr(JsonObject) object = full(message_of(each));

    damage_fields(message_of(each), object, message_of(each), object,
                  each->is_reply ? vmig_method_name(each->method) : NULL);
}

static void pass(const VmigMessage *message, JsonObject *sent, JsonObject *same)
{
    g_autoptr(GError) error = NULL;
    gpointer data = vmig_message_new(message);
    g_autofree char *line = line_of(same);

    vmig_codec_decode(message, sent, data, NULL, &error);
    g_assert_no_error(error);
    g_assert_true(vmig_message_check(message, data, NULL, &error));
    g_autoptr(JsonObject) again = vmig_codec_encode(message, data);
    g_autofree char *line_again = line_of(again);
    g_assert_cmpstr(line_again, ==, line);
    vmig_message_free(message, data);
}

/* What is sent arrives, and what is optional may be absent or null. */
static void test_whole(gconstpointer data)
{
    const VmigMessage *message = message_of(data);
    g_autoptr(JsonObject) object = full(message);

    pass(message, object, object);
    for (const VmigField *field = message->fields(); field->name != NULL; field++) {
        if (field->needed)
            continue;
        g_autoptr(JsonObject) null = full(message), without = full(message);
        json_object_set_null_member(null, field->name);
        json_object_remove_member(without, field->name);
        pass(message, null, without);
        pass(message, without, without);
    }
    g_autoptr(JsonObject) more = full(message);
    json_object_set_string_member(more, "unheard_of", "is ignored");
    pass(message, more, object);
}

/* An empty structure lacks what the message needs: a call of this process is checked, too. */
static void test_check(gconstpointer data)
{
    const Case *each = data;
    const VmigMessage *message = message_of(each);
    g_autofree gpointer empty = vmig_message_new(message);
    g_autoptr(GError) error = NULL;
    gboolean needs = FALSE;

    for (const VmigField *field = message->fields(); field->name != NULL; field++)
        needs |= field->needed && strcmp(type_of(field), "a boolean") != 0 &&
                 strcmp(type_of(field), "an integer") != 0 && field->kind != VMIG_FIELD_ENUM &&
                 field->kind != VMIG_FIELD_KEY;
    g_assert_cmpint(vmig_message_check(message, empty, NULL, &error), ==, !needs);
    if (needs)
        g_assert_error(error, VMIG_ERROR, VMIG_ERROR_PROTOCOL);
}

/* --- by hand --- */

static void test_text(void)
{
    g_autoptr(JsonObject) object = vmig_json_parse("{\"job\":5}", 9, NULL);

    refused(&vmig_job_args_message, object, NULL, "job", "a string");
    refused(&vmig_received_reply_message, object, "received", "hash", "a string");
}

/* Two escapes that are one character. */
static void test_surrogates(void)
{
    static const char text[] = "{\"job\":\"\\ud83d\\ude00\"}";
    g_autoptr(GError) error = NULL;
    g_autoptr(JsonObject) object = vmig_json_parse(text, strlen(text), &error);

    g_assert_no_error(error);
    g_assert_cmpstr(json_object_get_string_member(object, "job"), ==, "\xf0\x9f\x98\x80");
}

static void test_errors_of_others(void)
{
    g_autoptr(JsonObject) object = full(&vmig_record_args_message), page = full(&vmig_content_page_args_message);
    g_autoptr(GError) error = NULL;
    VmigRecordArgs args;
    VmigContentPageArgs page_args;

    json_object_set_object_member(object, "record", json_object_new());
    g_assert_false(vmig_codec_decode(&vmig_record_args_message, object, &args, NULL, &error));
    g_assert_nonnull(error);
    g_assert_null(args.record);
    g_clear_error(&error);
    json_object_set_string_member(page, "key", "00");
    g_assert_false(vmig_codec_decode(&vmig_content_page_args_message, page, &page_args, NULL, &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_PROTOCOL);
    g_assert_cmpstr(error->message, ==, "the key of the hash must have 64 hexadecimal digits");
}

static void test_out_of_range(void)
{
    g_autoptr(GError) error = NULL;
    VmigOrphanFacts orphan = {.kind = (VmigOrphanKind)17};
    const VmigFenceTakeArgs take = {.job = ID, .wait_us = G_MAXUINT64};

    g_assert_false(vmig_message_check(&vmig_orphan_facts_message, &orphan, "orphan", &error));
    g_assert_cmpstr(error->message, ==,
                    "the reply to 'orphan': member 'kind' is missing or not what is known about a QEMU");
    g_clear_error(&error);
    g_assert_false(vmig_message_check(&vmig_fence_take_args_message, &take, NULL, &error));
    g_assert_cmpstr(error->message, ==, "the request: member 'wait_us' is missing or not 0 or more");
}

/* A call within the process is not decoded, but a record that contradicts itself is refused there, too. */
static void test_record(void)
{
    g_autoptr(VmigJob) job = vmig_job_new(&vmig_states_migrate);
    const VmigRecordArgs args = {.record = job};
    g_autoptr(GError) error = NULL;

    g_assert_false(vmig_message_check(&vmig_record_args_message, &args, NULL, &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_JOURNAL);
}

/* The agent finds the job by the message's table. */
static void test_jobs(void)
{
    for (VmigMethod method = 0; method < VMIG_METHOD_LAST; method++) {
        const VmigMessage *message = vmig_method_args(method);
        g_autoptr(JsonObject) object = full(message);
        gpointer data = vmig_message_new(message);
        VmigMethodPeer peer = vmig_method_peer(method);
        g_autoptr(GError) error = NULL;
        vmig_codec_decode(message, object, data, NULL, &error);
        g_assert_no_error(error);
        if (peer != VMIG_PEER_LOOKS)
            g_assert_cmpstr(vmig_message_job(message, data), ==, ID);
        g_assert_cmpint(vmig_message_record(message, data) != NULL, ==, peer == VMIG_PEER_RECORDS);
        g_assert_true(peer != VMIG_PEER_LOCKS || message == &vmig_lock_args_message);
        vmig_message_free(message, data);
    }
}

static void add_tests(VmigMethod method, gboolean is_reply)
{
    static const struct {
        const char *name;
        GTestDataFunc func;
    } tests[] = {{"refused", test_refused}, {"whole", test_whole}, {"check", test_check}};

    for (guint i = 0; i < G_N_ELEMENTS(tests); i++) {
        Case *each = g_new0(Case, 1);
        g_autofree char *path =
            g_strdup_printf("/messages/%s/%s/%s", vmig_method_name(method), is_reply ? "reply" : "args", tests[i].name);
        *each = (Case){method, is_reply};
        g_test_add_data_func_full(path, each, tests[i].func, g_free);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (VmigMethod method = 0; method < VMIG_METHOD_LAST; method++) {
        add_tests(method, FALSE);
        add_tests(method, TRUE);
    }
    g_test_add_func("/messages/text", test_text);
    g_test_add_func("/messages/surrogates", test_surrogates);
    g_test_add_func("/messages/errors-of-others", test_errors_of_others);
    g_test_add_func("/messages/out-of-range", test_out_of_range);
    g_test_add_func("/messages/record", test_record);
    g_test_add_func("/messages/jobs", test_jobs);
    return g_test_run();
}
