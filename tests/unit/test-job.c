/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The record of a job: every field that is written is read back; anything that is not a record is refused. */

/* For its tables of fields: a field added there is tested here. */
#include "core/job.c"
#include "flows/migrate/states.h"

/* Every member must be in a table, or it would be lost between two processes. */
static gsize size_of(FieldKind kind, const FieldTable *table)
{
    switch (kind) {
    case FIELD_BOOL:
    case FIELD_LEVEL:
    case FIELD_ROLE:
    case FIELD_KIND:
        return sizeof(gboolean);
    case FIELD_STRUCT:
        return table->size;
    case FIELD_UINT64:
    case FIELD_INT64:
        return sizeof(gint64);
    case FIELD_STRING:
    case FIELD_MEMORY:
    case FIELD_ARRAY:
    case FIELD_FLOW:
        break;
    }
    return sizeof(gpointer);
}

static void check_table(const FieldTable *table)
{
    g_autofree guint8 *covered = g_malloc0(table->size);
    gsize missing = 0;
    gsize run = 0;

    for (guint i = 0; i < table->n_fields; i++) {
        const Field *f = &table->fields[i];
        gsize size = size_of(f->kind, f->table);
        for (gsize b = 0; b < size; b++) {
            /* Several flags are levels of one enumeration. */
            g_assert_cmpuint(covered[f->offset + b], ==, f->kind == FIELD_LEVEL && f->level > 1);
            covered[f->offset + b] = 1;
        }
        if (f->kind == FIELD_STRUCT || f->kind == FIELD_ARRAY)
            check_table(f->table);
    }
    /* It is made from the artifacts. */
    for (gsize b = 0; table == &job_table && b < sizeof(gpointer); b++)
        covered[G_STRUCT_OFFSET(VmigJob, disks) + b] = 1;
    /* Padding is at most 4 bytes, after a gboolean; 8 in a row are a member. 4 could be one: there are few. */
    for (gsize b = 0; b < table->size; b++) {
        run = covered[b] ? 0 : run + 1;
        missing += !covered[b];
        g_assert_cmpuint(run, <=, 4);
    }
    g_assert_cmpuint(missing, <=, 12);
}

static void test_tables(void)
{
    check_table(&job_table);
}

/* Puts a different value into every field. */
static void fill(gpointer record, const FieldTable *table, guint *n)
{
    for (guint i = 0; i < table->n_fields; i++) {
        const Field *f = &table->fields[i];
        gpointer at = G_STRUCT_MEMBER_P(record, f->offset);
        (*n)++;
        switch (f->kind) {
        case FIELD_STRING:
            g_free(*(char **)at);
            *(char **)at = g_strdup_printf("%s %u \"\\\n\t\x7f äöü 漢 <&>", f->name, *n);
            break;
        case FIELD_UINT64:
            *(guint64 *)at = G_MAXUINT64 - *n;
            break;
        case FIELD_INT64:
            *(gint64 *)at = G_MININT64 + *n;
            break;
        case FIELD_BOOL:
            *(gboolean *)at = TRUE;
            break;
        case FIELD_ROLE:
            *(VmigRole *)at = VMIG_DEST;
            break;
        case FIELD_FLOW:
            *(const VmigStates **)at = &vmig_states_migrate;
            break;
        case FIELD_KIND:
            *(VmigArtifactKind *)at = VMIG_ARTIFACT_DISK;
            break;
        case FIELD_LEVEL:
            *(guint *)at = MAX(*(guint *)at, f->level);
            break;
        case FIELD_STRUCT:
            fill(at, f->table, n);
            break;
        case FIELD_ARRAY:
            for (int k = 0; k < 3; k++) {
                gpointer element = vmig_record_new(f->table);
                fill(element, f->table, n);
                g_ptr_array_add(*(GPtrArray **)at, element);
            }
            break;
        case FIELD_MEMORY:
            *(char **)at = g_strdup("not in the record");
            break;
        }
    }
}

static void assert_same(gconstpointer a, gconstpointer b, const FieldTable *table)
{
    for (guint i = 0; i < table->n_fields; i++) {
        const Field *f = &table->fields[i];
        gconstpointer x = G_STRUCT_MEMBER_P(a, f->offset);
        gconstpointer y = G_STRUCT_MEMBER_P(b, f->offset);
        switch (f->kind) {
        case FIELD_STRING:
            g_assert_cmpstr(*(char *const *)x, ==, *(char *const *)y);
            break;
        case FIELD_UINT64:
        case FIELD_INT64:
            g_assert_cmpint(*(const gint64 *)x, ==, *(const gint64 *)y);
            break;
        case FIELD_BOOL:
        case FIELD_LEVEL:
        case FIELD_ROLE:
        case FIELD_KIND:
            g_assert_cmpint(*(const gboolean *)x, ==, *(const gboolean *)y);
            break;
        case FIELD_FLOW:
            g_assert_true(*(const VmigStates *const *)x == *(const VmigStates *const *)y);
            break;
        case FIELD_STRUCT:
            assert_same(x, y, f->table);
            break;
        case FIELD_ARRAY: {
            const GPtrArray *list = *(GPtrArray *const *)x;
            const GPtrArray *list2 = *(GPtrArray *const *)y;
            g_assert_cmpuint(list->len, ==, list2->len);
            for (guint k = 0; k < list->len; k++)
                assert_same(list->pdata[k], list2->pdata[k], f->table);
            break;
        }
        case FIELD_MEMORY:
            g_assert_null(*(char *const *)y);
            break;
        }
    }
}

static VmigJob *full_job(void)
{
    VmigJob *job = vmig_job_new(&vmig_states_migrate);
    guint n = 0;

    fill(job, &job_table, &n);
    g_assert_cmpuint(n, >, 60);
    job->version = VMIG_JOB_VERSION;
    vmig_job_set_state(job, VMIG_MIGRATE(SET_ASIDE)); /* may have all facts at once, */
    job->revoked = FALSE;                             /* but two that exclude each other */
    return job;
}

static void test_round_trip(void)
{
    g_autoptr(VmigJob) job = full_job();
    g_autoptr(GError) error = NULL;
    g_autofree char *text = vmig_job_to_string(job);
    g_autoptr(VmigJob) again = vmig_job_from_string(text, &error);

    g_assert_no_error(error);
    assert_same(job, again, &job_table);
    g_autoptr(VmigJob) copy = vmig_job_copy(job);
    assert_same(job, copy, &job_table);
    g_autofree char *text2 = vmig_job_to_string(copy);
    g_assert_cmpstr(text, ==, text2);
    /* One line, so that it fits the agent's protocol. */
    g_assert_null(strchr(text, '\n'));
    /* The same as through a tree of objects, which has another writer. */
    g_autoptr(JsonNode) tree = json_node_new(JSON_NODE_OBJECT);
    g_autoptr(JsonNode) read = json_from_string(text, &error);
    g_assert_no_error(error);
    json_node_take_object(tree, vmig_job_to_json(job));
    g_assert_true(json_node_equal(tree, read));
}

static void test_missing(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(VmigJob) job = vmig_job_from_string(
        "{\"version\":" G_STRINGIFY(VMIG_JOB_VERSION) ",\"id\":\"a\",\"uuid\":\"b\",\"token\":\"source\",\"flow\":"
                                                      "\"migrate\",\"state\":\"PLAN\","
                                                      "\"error_code\":null,\"unknown\":{\"a\":[1]}}",
        &error);
    g_autoptr(VmigJob) empty = empty_job();

    g_assert_no_error(error);
    empty->version = VMIG_JOB_VERSION;
    empty->id = g_strdup("a");
    empty->uuid = g_strdup("b");
    empty->flow = &vmig_states_migrate;
    empty->state = g_strdup("PLAN");
    assert_same(job, empty, &job_table);
    g_autofree char *text = vmig_job_to_string(job);
    g_assert_null(strstr(text, "unknown"));
}

/* The kinds are in the record and in its checks; only disks are moved by this version. */
static void test_artifacts(void)
{
    g_autoptr(VmigJob) job = vmig_job_new(&vmig_states_migrate);
    VmigArtifactKind kind;

    job->id = g_strdup("0123456789abcdef");
    job->uuid = g_strdup("11111111-2222-3333-4444-555555555555");
    for (kind = 0; kind < VMIG_ARTIFACT_KINDS; kind++) {
        VmigArtifact *artifact = vmig_artifact_new(kind);
        VmigFile *file = vmig_file_new();
        VmigArtifactKind read;
        g_assert_true(vmig_artifact_parse(vmig_artifact_name(kind), &read) && read == kind);
        artifact->target = g_strdup(vmig_artifact_name(kind));
        file->path[VMIG_SOURCE] = g_strdup_printf("/images/%s", artifact->target);
        g_ptr_array_add(artifact->files, file);
        vmig_job_add(job, artifact);
    }
    g_assert_false(vmig_artifact_parse("floppy", &kind));
    g_assert_false(vmig_artifact_parse(NULL, &kind));
    g_assert_cmpuint(job->disks->len, ==, 1);
    g_assert_true(job->disks->pdata[0] == job->artifacts->pdata[0]);
    g_autoptr(GPtrArray) images = vmig_job_images(job);
    g_assert_cmpuint(images->len, ==, VMIG_ARTIFACT_KINDS);

    /* Each other kind alone is refused, by its name. */
    for (guint i = VMIG_ARTIFACT_KINDS; i > 1; i--) {
        VmigArtifact *artifact = job->artifacts->pdata[i - 1];
        g_autoptr(GError) error = NULL;
        g_autofree char *text = vmig_job_to_string(job);
        g_autofree char *says = g_strdup_printf("'%s'", vmig_artifact_name(VMIG_ARTIFACT_NVRAM));
        g_assert_null(vmig_job_from_string(text, &error));
        g_assert_error(error, VMIG_ERROR, VMIG_ERROR_JOURNAL_NEWER);
        g_assert_nonnull(strstr(error->message, says));
        vmig_job_remove(job, artifact);
    }
    g_autoptr(GError) error = NULL;
    g_autofree char *text = vmig_job_to_string(job);
    g_autoptr(VmigJob) back = vmig_job_from_string(text, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(back->artifacts->len, ==, 1);
    g_assert_true(back->disks->pdata[0] == back->artifacts->pdata[0]);
    g_assert_cmpuint(vmig_artifact_freeze(VMIG_ARTIFACT_DISK), ==, VMIG_FREEZE_OVERLAY);
}

/* What the other host may not change in a record, each alone. */
static void test_told(void)
{
    static const VmigStates another = {.name = "another"};
    g_autoptr(VmigJob) own = vmig_job_new(&vmig_states_migrate);
    VmigDisk *disk = vmig_disk_new();
    VmigFile *file = vmig_file_new();
    g_autoptr(GError) error = NULL;

    own->id = g_strdup("0123456789abcdef");
    own->uuid = g_strdup("11111111-2222-3333-4444-555555555555");
    own->options.keep_source = TRUE;
    for (guint role = 0; role < 2; role++) {
        own->host[role] = g_strdup(vmig_role_name(role));
        file->path[role] = g_strdup_printf("/%s.qcow2", vmig_role_name(role));
        disk->at[role].overlay = g_strdup_printf("/%s.overlay", vmig_role_name(role));
    }
    disk->target = g_strdup("vda");
    g_ptr_array_add(disk->files, file);
    vmig_job_add(own, disk);
    g_autoptr(VmigJob) same = vmig_job_copy(own);
    g_assert_true(vmig_job_check_told(own, same, VMIG_SOURCE, &error));
    g_assert_no_error(error);

    static const char *const says[] = {"the operation",
                                       "the guest",
                                       "the source",
                                       "whether the source's images are kept",
                                       "the disks",
                                       "the kind",
                                       "the disks",
                                       "the path on the destination",
                                       "the overlay on the des",
                                       "the files"};
    for (guint i = 0; i < G_N_ELEMENTS(says); i++) {
        g_autoptr(VmigJob) told = vmig_job_copy(own);
        VmigArtifact *first = told->artifacts->pdata[0];
        VmigFile *its = first->files->pdata[0];
        g_autoptr(GError) why = NULL;
        char **texts[] = {NULL,           &told->uuid,           &told->host[VMIG_SOURCE],      NULL, NULL, NULL,
                          &first->target, &its->path[VMIG_DEST], &first->at[VMIG_DEST].overlay, NULL};
        if (texts[i] != NULL) {
            g_free(*texts[i]);
            *texts[i] = g_strdup("another");
        }
        if (i == 0)
            told->flow = &another;
        told->options.keep_source = i != 3;
        if (i == 4)
            vmig_job_add(told, vmig_disk_new());
        if (i == 5)
            first->kind = VMIG_ARTIFACT_TPM;
        if (i == 9)
            g_ptr_array_add(first->files, vmig_file_new());
        g_assert_false(vmig_job_check_told(own, told, VMIG_SOURCE, &why));
        g_assert_error(why, VMIG_ERROR, VMIG_ERROR_CONTRADICTION);
        if (strstr(why->message, says[i]) == NULL)
            g_error("%u: '%s' is not in '%s'", i, says[i], why->message);
    }
}

/* Each field in turn gets a value of each other type. */
static void refuse_types(JsonObject *root, JsonObject *object, const FieldTable *table)
{
    static const char *const values[] = {"\"text\"", "5", "true", "{}", "[]", "1.5", "[5]"};
    static const FieldKind fits[] = {FIELD_STRING, FIELD_INT64, FIELD_BOOL, FIELD_STRUCT, FIELD_ARRAY, 99, 99};

    for (guint i = 0; i < table->n_fields; i++) {
        const Field *f = &table->fields[i];
        if (f->kind == FIELD_MEMORY)
            continue;
        g_autoptr(JsonNode) old = json_node_copy(json_object_get_member(object, f->name));
        for (guint v = 0; v < G_N_ELEMENTS(values); v++) {
            g_autoptr(GError) error = NULL;
            FieldKind kind = f->kind == FIELD_UINT64 ? FIELD_INT64 : f->kind == FIELD_LEVEL ? FIELD_BOOL : f->kind;
            if (kind == fits[v])
                continue;
            json_object_set_member(object, f->name, json_from_string(values[v], NULL));
            g_autoptr(VmigJob) job = vmig_job_from_json(root, &error);
            if (job != NULL)
                g_error("'%s' takes %s", f->name, values[v]);
            /* The name of no flow: a later version may have it. */
            gboolean newer = (f->kind == FIELD_FLOW || f->kind == FIELD_KIND) && fits[v] == FIELD_STRING;
            VmigErrorCode code = newer ? VMIG_ERROR_JOURNAL_NEWER : VMIG_ERROR_JOURNAL;
            g_assert_error(error, VMIG_ERROR, (gint)code);
            g_assert_nonnull(strstr(error->message, f->name));
        }
        json_object_set_member(object, f->name, g_steal_pointer(&old));
        if (f->kind == FIELD_STRUCT)
            refuse_types(root, json_object_get_object_member(object, f->name), f->table);
        if (f->kind == FIELD_ARRAY)
            refuse_types(root, json_array_get_object_element(json_object_get_array_member(object, f->name), 1),
                         f->table);
    }
}

static void test_types(void)
{
    g_autoptr(VmigJob) job = full_job();
    g_autoptr(JsonObject) object = vmig_job_to_json(job);

    refuse_types(object, object, &job_table);
    g_autoptr(VmigJob) still = vmig_job_from_json(object, NULL);
    g_assert_nonnull(still);
}

static void test_refused(void)
{
    struct {
        const char *text;
        VmigErrorCode code;
    } cases[] = {
        {"", VMIG_ERROR_JOURNAL},
        {"null", VMIG_ERROR_JOURNAL},
        {"[]", VMIG_ERROR_JOURNAL},
        {"5", VMIG_ERROR_JOURNAL},
        {"{", VMIG_ERROR_JOURNAL},
        {"{}", VMIG_ERROR_JOURNAL},
        {"{\"version\":1}", VMIG_ERROR_JOURNAL},
        {"{\"version\":1,\"id\":\"a\",\"uuid\":\"b\",\"token\":\"source\"}", VMIG_ERROR_JOURNAL},
        {"{\"version\":" G_STRINGIFY(VMIG_JOB_VERSION) ",\"id\":\"a\",\"uuid\":\"b\",\"token\":\"source\",\"flow\":"
                                                       "\"migrate\",\"state\":\"NOPE\"}",
         VMIG_ERROR_JOURNAL},
        {"{\"version\":2,\"id\":\"a\",\"uuid\":\"b\",\"token\":\"source\",\"state\":\"SEED\"}",
         VMIG_ERROR_JOURNAL_OLDER},
        {"{\"version\":1,\"id\":\"a\",\"uuid\":\"b\",\"state\":\"PLAN\"}", VMIG_ERROR_JOURNAL},
        {"{\"version\":1,\"id\":\"a\",\"token\":\"source\",\"state\":\"PLAN\"}", VMIG_ERROR_JOURNAL},
        {"{\"version\":1,\"uuid\":\"b\",\"token\":\"source\",\"state\":\"PLAN\"}", VMIG_ERROR_JOURNAL},
        {"{\"id\":\"a\",\"uuid\":\"b\",\"token\":\"source\",\"state\":\"PLAN\"}", VMIG_ERROR_JOURNAL},
        {"{\"version\":99,\"id\":\"a\",\"uuid\":\"b\",\"token\":\"source\",\"state\":\"PLAN\"}",
         VMIG_ERROR_JOURNAL_NEWER},
        {"{\"version\":99}", VMIG_ERROR_JOURNAL_NEWER},
    };

    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GError) error = NULL;
        g_assert_null(vmig_job_from_string(cases[i].text, &error));
        g_assert_error(error, VMIG_ERROR, (int)cases[i].code);
        g_assert_null(vmig_job_from_string(cases[i].text, NULL));
    }
}

static void test_helpers(void)
{
    g_autoptr(VmigJob) job = vmig_job_new(&vmig_states_migrate);
    g_autoptr(GError) error = NULL;
    VmigDisk *disk = vmig_disk_new();
    VmigFile *file = vmig_file_new();
    g_autoptr(VmigSnapshot) snapshot = vmig_snapshot_new();

    g_assert_null(snapshot->name);
    g_assert_true(vmig_job_state(job) == VMIG_MIGRATE(PLAN));
    g_assert_false(job->owner == VMIG_DEST);
    job->owner = VMIG_DEST;
    g_assert_true(job->owner == VMIG_DEST);
    disk->target = g_strdup("vda");
    g_ptr_array_add(disk->files, file);
    vmig_job_add(job, disk);
    g_assert_true(vmig_job_disk(job, "vda") == disk);
    g_assert_null(vmig_job_disk(job, "vdb"));
    g_assert_true(vmig_disk_base(disk) == file);
    vmig_fail(&error, VMIG_ERROR_STALLED, "wait", "stalled");
    vmig_job_set_error(job, error);
    g_assert_cmpstr(job->error_code, ==, "stalled");
    g_assert_cmpstr(job->error_message, ==, "stalled");
    g_assert_cmpstr(job->error_hint, ==, "wait");
    vmig_job_set_error(job, NULL);
    g_assert_null(job->error_code);
}

/* A randomly changed text is refused, or is a record that can be written and read again. */
static void test_fuzz(void)
{
    g_autoptr(VmigJob) job = full_job();
    g_autofree char *text = vmig_job_to_string(job);
    gsize length = strlen(text);
    static const char *const bits[] = {
        "null", "[]",   "{}",     "\"",      "-1",   "1e999", "99999999999999999999", "\\u0000", "\\ud800", ",",
        ":",    "true", "[[[[[[", "{\"a\":", "\xff", "0x1"};
    int rounds = g_test_thorough() ? 200000 : 5000;
    guint read = 0;

    for (int i = 0; i < rounds; i++) {
        g_autoptr(GString) bad = g_string_new_len(text, (gssize)length);
        int changes = g_test_rand_int_range(1, 4);
        for (int c = 0; c < changes; c++) {
            gssize at = g_test_rand_int_range(0, (gint32)bad->len);
            gssize some = MIN((gssize)bad->len - at, (gssize)(i % 40 + 1));
            switch (g_test_rand_int_range(0, 4)) {
            case 0:
                bad->str[at] = (char)g_test_rand_int_range(1, 256);
                break;
            case 1:
                g_string_erase(bad, at, some);
                g_string_append_c(bad, ' ');
                break;
            case 2:
                g_string_insert(bad, at, bits[g_test_rand_int_range(0, G_N_ELEMENTS(bits))]);
                break;
            default:
                g_string_truncate(bad, MAX(at, 1));
            }
        }
        g_autoptr(GError) error = NULL;
        g_autoptr(VmigJob) again = vmig_job_from_string(bad->str, &error);
        g_assert_true((again == NULL) == (error != NULL));
        if (again == NULL) {
            g_assert_cmpint(error->domain, ==, VMIG_ERROR);
            continue;
        }
        read++;
        g_autofree char *out = vmig_job_to_string(again);
        /* json-glib 1.6 turns a lone surrogate ("\\ud800") into invalid UTF-8; the journal refuses to write that. */
        if (!g_utf8_validate(out, -1, NULL))
            continue;
        g_autoptr(VmigJob) third = vmig_job_from_string(out, &error);
        g_assert_no_error(error);
        assert_same(again, third, &job_table);
    }
    g_test_message("%u of %d were still records", read, rounds);
}

/* Disks that share files: each file is listed once, after all images on top of it. */
static void test_images(void)
{
    static const char *const chains[][4] = {{"a", "m", "base"}, {"b", "base"}, {"c", "m", "base"}};
    static const char *const order[] = {"a", "b", "c", "m", "base"};
    g_autoptr(VmigJob) job = vmig_job_new(&vmig_states_migrate);

    for (guint i = 0; i < G_N_ELEMENTS(chains); i++) {
        VmigDisk *disk = vmig_disk_new();
        vmig_job_add(job, disk);
        for (guint k = 0; chains[i][k] != NULL; k++) {
            VmigFile *file = vmig_file_new();
            file->path[VMIG_SOURCE] = g_strdup(chains[i][k]);
            g_ptr_array_add(disk->files, file);
        }
    }
    g_autoptr(GPtrArray) images = vmig_job_images(job);
    g_assert_cmpuint(images->len, ==, G_N_ELEMENTS(order));
    for (guint i = 0; i < images->len; i++)
        g_assert_cmpstr(((const VmigFile *)images->pdata[i])->path[VMIG_SOURCE], ==, order[i]);
    const VmigDisk *first = job->disks->pdata[0], *last = job->disks->pdata[2];
    g_assert_true(vmig_job_first(job, last->files->pdata[2]) == first->files->pdata[2]);
    g_assert_true(vmig_job_first(job, last->files->pdata[0]) == last->files->pdata[0]);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/job/tables", test_tables);
    g_test_add_func("/job/round-trip", test_round_trip);
    g_test_add_func("/job/missing", test_missing);
    g_test_add_func("/job/artifacts", test_artifacts);
    g_test_add_func("/job/told", test_told);
    g_test_add_func("/job/types", test_types);
    g_test_add_func("/job/refused", test_refused);
    g_test_add_func("/job/helpers", test_helpers);
    g_test_add_func("/job/images", test_images);
    g_test_add_func("/job/fuzz", test_fuzz);
    return g_test_run();
}
