/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* args.def and replies.def as tables, and what is done with every message. */
#include "port/messages.h"

#include <string.h>

#include "core/path-map.h"

static const VmigWords words_libvirt_modes = {"\"auto\", \"direct\" or \"legacy\"", {"auto", "direct", "legacy"}};
static const VmigWords words_formats = {"\"qcow2\" or \"raw\"", {"qcow2", "raw"}};
static const VmigWords words_sides = {"\"source\" or \"destination\"", {"source", "destination"}};
static const VmigWords words_announced = {"\"overlay\" or \"hold\"", {"overlay", "hold"}};
static const VmigWords words_transports = {"\"tls\" or \"tcp\"", {"tls", "tcp"}};
static const VmigWords words_content_kinds = {"\"disk\" or \"memory\"",
                                              {[VMIG_CONTENT_DISK] = "disk", [VMIG_CONTENT_MEMORY] = "memory"}};
static const VmigWords words_identity_kinds = {"a kind of file",
                                               {[VMIG_IDENTITY_ABSENT] = "absent",
                                                [VMIG_IDENTITY_FILE] = "file",
                                                [VMIG_IDENTITY_BLOCK] = "block",
                                                [VMIG_IDENTITY_OTHER] = "other"}};
static const VmigWords words_orphan_kinds = {"what is known about a QEMU",
                                             {[VMIG_ORPHAN_NONE] = "none",
                                              [VMIG_ORPHAN_SUSPENDED] = "suspended",
                                              [VMIG_ORPHAN_RUNNING] = "running",
                                              [VMIG_ORPHAN_UNCLEAR] = "unclear"}};

/* What a field's table entry has besides. */
#define MORE_TEXT()
#define MORE_FILLED()
#define MORE_JOB()
#define MORE_WORD(list) .words = &words_##list,
#define MORE_TEXTS()
#define MORE_SUMS()
#define MORE_FLAG()
#define MORE_NUMBER()
#define MORE_SIZE()
#define MORE_BITS()
#define MORE_COUNT()
#define MORE_ENUM(Type, list) .words = &words_##list,
#define MORE_KEY()
#define MORE_BYTES()
#define MORE_RECORD()
#define MORE_OBJECT(message) .of = &vmig_##message##_message,
#define MORE_OBJECTS(message) .of = &vmig_##message##_message,

/* The table is in a function because only there can the fields call their structure "Self". */
#define MESSAGE(Type, message)                                                                                         \
    static const VmigField *fields_of_##message(void)                                                                  \
    {                                                                                                                  \
        typedef Type Self G_GNUC_UNUSED;                                                                               \
        static const VmigField fields[] = {
#define FIELD(KIND, member, must, ...)                                                                                 \
    {.name = #member,                                                                                                  \
     .kind = VMIG_FIELD_##KIND,                                                                                        \
     .needed = must,                                                                                                   \
     .offset = G_STRUCT_OFFSET(Self, member),                                                                          \
     MORE_##KIND(__VA_ARGS__)},
#define NEED(KIND, member, ...) FIELD(KIND, member, TRUE, __VA_ARGS__)
#define MAYBE(KIND, member, ...) FIELD(KIND, member, FALSE, __VA_ARGS__)
#define END(message)                                                                                                   \
    {                                                                                                                  \
        .name = NULL                                                                                                   \
    }                                                                                                                  \
    }                                                                                                                  \
    ;                                                                                                                  \
    return fields;                                                                                                     \
    }                                                                                                                  \
    static void free_any_##message(gpointer data)                                                                      \
    {                                                                                                                  \
        vmig_##message##_free(data);                                                                                   \
    }                                                                                                                  \
    const VmigMessage vmig_##message##_message = {sizeof(struct vmig_##message), fields_of_##message,                  \
                                                  free_any_##message};                                                 \
    void vmig_##message##_clear(struct vmig_##message *data)                                                           \
    {                                                                                                                  \
        vmig_message_clear(&vmig_##message##_message, data);                                                           \
    }                                                                                                                  \
    void vmig_##message##_free(struct vmig_##message *data)                                                            \
    {                                                                                                                  \
        vmig_message_free(&vmig_##message##_message, data);                                                            \
    }
#include "port/args.def"
#include "port/replies.def"
#undef MESSAGE
#undef NEED
#undef MAYBE
#undef END

gpointer vmig_message_new(const VmigMessage *message)
{
    return g_malloc0(MAX(message->size, 1)); /* nothing has no size */
}

void vmig_message_free(const VmigMessage *message, gpointer data)
{
    if (data != NULL)
        vmig_message_clear(message, data);
    g_free(data);
}

GPtrArray *vmig_message_array(const VmigMessage *message)
{
    return g_ptr_array_new_with_free_func(message->free);
}

static void clear_member(const VmigField *field, gpointer member)
{
    switch (field->kind) {
    case VMIG_FIELD_TEXT:
    case VMIG_FIELD_FILLED:
    case VMIG_FIELD_JOB:
    case VMIG_FIELD_WORD:
        g_free(*(char **)member);
        break;
    case VMIG_FIELD_TEXTS:
    case VMIG_FIELD_SUMS:
        g_strfreev(*(char ***)member);
        break;
    case VMIG_FIELD_BYTES:
        g_clear_pointer((GBytes **)member, g_bytes_unref);
        break;
    case VMIG_FIELD_RECORD:
        g_clear_pointer((VmigJob **)member, vmig_job_free);
        break;
    case VMIG_FIELD_OBJECT:
        vmig_message_clear(field->of, member);
        break;
    case VMIG_FIELD_OBJECTS:
        g_clear_pointer((GPtrArray **)member, g_ptr_array_unref);
        break;
    default:
        break;
    }
}

void vmig_message_clear(const VmigMessage *message, gpointer data)
{
    for (const VmigField *field = message->fields(); field->name != NULL; field++)
        clear_member(field, (char *)data + field->offset);
    memset(data, 0, message->size);
}

/* --- the rules of each kind --- */

static gboolean is_word(const VmigWords *words, const char *text)
{
    return text != NULL && g_strv_contains(words->words, text);
}

static guint count_words(const VmigWords *words)
{
    return g_strv_length((char **)words->words);
}

/* None of them is a path or SQL. */
static gboolean are_sums(char **texts)
{
    for (guint i = 0; texts[i] != NULL; i++)
        if (strlen(texts[i]) != 64 || strspn(texts[i], "0123456789abcdef") != 64)
            return FALSE;
    return TRUE;
}

/* NULL, or what the text should have been. */
static const char *check_text(const VmigField *field, const char *text)
{
    if (text == NULL)
        return field->needed ? "a string" : NULL;
    if (field->kind == VMIG_FIELD_FILLED && *text == '\0')
        return "a string that is not empty";
    if (field->kind == VMIG_FIELD_JOB && !vmig_job_id_is_valid(text))
        return "the id of a job";
    if (field->kind == VMIG_FIELD_WORD && !is_word(field->words, text))
        return field->words->expected;
    return NULL;
}

static const char *check_list(const VmigField *field, char **texts)
{
    if (texts == NULL)
        return "an array of strings";
    return field->kind == VMIG_FIELD_TEXTS || are_sums(texts) ? NULL : "an array of SHA-256 sums";
}

static gboolean check_message(const VmigMessage *message, gconstpointer data, const char **member,
                              const char **expected);

static gboolean check_objects(const VmigField *field, const GPtrArray *array, const char **member,
                              const char **expected)
{
    for (guint i = 0; array != NULL && i < array->len; i++)
        if (!check_message(field->of, array->pdata[i], member, expected))
            return FALSE;
    *expected = array != NULL ? NULL : "an array of objects";
    return array != NULL;
}

/* FALSE with what was expected of it, or of a member below it. */
static gboolean check_member(const VmigField *field, gconstpointer data, const char **member, const char **expected)
{
    *member = field->name;
    *expected = NULL;
    switch (field->kind) {
    case VMIG_FIELD_TEXT:
    case VMIG_FIELD_FILLED:
    case VMIG_FIELD_JOB:
    case VMIG_FIELD_WORD:
        *expected = check_text(field, *(char *const *)data);
        break;
    case VMIG_FIELD_TEXTS:
    case VMIG_FIELD_SUMS:
        *expected = check_list(field, *(char **const *)data);
        break;
    case VMIG_FIELD_SIZE:
        *expected = *(const guint64 *)data > G_MAXINT64 ? "0 or more" : NULL;
        break;
    case VMIG_FIELD_ENUM:
        *expected = *(const guint *)data >= count_words(field->words) ? field->words->expected : NULL;
        break;
    case VMIG_FIELD_BYTES:
        *expected = *(GBytes *const *)data == NULL ? "base64" : NULL;
        break;
    case VMIG_FIELD_RECORD:
        *expected = field->needed && *(VmigJob *const *)data == NULL ? "an object" : NULL;
        break;
    case VMIG_FIELD_OBJECT:
        return check_message(field->of, data, member, expected);
    case VMIG_FIELD_OBJECTS:
        return check_objects(field, *(GPtrArray *const *)data, member, expected);
    default:
        break;
    }
    return *expected == NULL;
}

static gboolean check_message(const VmigMessage *message, gconstpointer data, const char **member,
                              const char **expected)
{
    for (const VmigField *field = message->fields(); field->name != NULL; field++)
        if (!check_member(field, (const char *)data + field->offset, member, expected))
            return FALSE;
    return TRUE;
}

gboolean vmig_message_check(const VmigMessage *message, gconstpointer data, const char *reply_to, GError **error)
{
    const VmigJob *record = vmig_message_record(message, data);
    const char *member, *expected;

    if (!check_message(message, data, &member, &expected))
        return vmig_message_refuse(error, reply_to, member, expected);
    return record == NULL || vmig_job_check(record, error);
}

gboolean vmig_message_refuse(GError **error, const char *reply_to, const char *member, const char *expected)
{
    if (reply_to == NULL)
        return vmig_fail(error, VMIG_ERROR_PROTOCOL, NULL, "the request: member '%s' is missing or not %s", member,
                         expected);
    return vmig_fail(error, VMIG_ERROR_PROTOCOL, NULL, "the reply to '%s': member '%s' is missing or not %s", reply_to,
                     member, expected);
}

static gconstpointer find_member(const VmigMessage *message, gconstpointer data, VmigFieldKind kind)
{
    for (const VmigField *field = message->fields(); field->name != NULL; field++)
        if (field->kind == kind)
            return *(const gconstpointer *)(gconstpointer)((const char *)data + field->offset);
    return NULL;
}

const VmigJob *vmig_message_record(const VmigMessage *message, gconstpointer data)
{
    return find_member(message, data, VMIG_FIELD_RECORD);
}

const char *vmig_message_job(const VmigMessage *message, gconstpointer data)
{
    const VmigJob *record = vmig_message_record(message, data);

    return record != NULL ? record->id : find_member(message, data, VMIG_FIELD_JOB);
}
