/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "port/codec.h"

#include <string.h>

#include "os/json-read.h"

/* --- encode --- */

static JsonArray *encode_texts(char **texts)
{
    JsonArray *array = json_array_new();

    for (guint i = 0; texts[i] != NULL; i++)
        json_array_add_string_element(array, texts[i]);
    return array;
}

static JsonArray *encode_objects(const VmigMessage *message, const GPtrArray *objects)
{
    JsonArray *array = json_array_new();

    for (guint i = 0; i < objects->len; i++)
        json_array_add_object_element(array, vmig_codec_encode(message, objects->pdata[i]));
    return array;
}

static void encode_text(JsonObject *object, const char *name, const char *text)
{
    if (text != NULL)
        json_object_set_string_member(object, name, text);
}

static void encode_bytes(JsonObject *object, const char *name, GBytes *bytes)
{
    gsize length;
    gconstpointer data = g_bytes_get_data(bytes, &length);
    g_autofree char *text = g_base64_encode(data, length);

    json_object_set_string_member(object, name, text);
}

static void encode_key(JsonObject *object, const char *name, const VmigHashKey *key)
{
    g_autofree char *text = vmig_hash_key_to_text(key);

    json_object_set_string_member(object, name, text);
}

static void encode_member(JsonObject *object, const VmigField *field, gconstpointer data)
{
    switch (field->kind) {
    case VMIG_FIELD_TEXT:
    case VMIG_FIELD_FILLED:
    case VMIG_FIELD_JOB:
    case VMIG_FIELD_WORD:
        encode_text(object, field->name, *(char *const *)data);
        break;
    case VMIG_FIELD_TEXTS:
    case VMIG_FIELD_SUMS:
        json_object_set_array_member(object, field->name, encode_texts(*(char **const *)data));
        break;
    case VMIG_FIELD_FLAG:
        json_object_set_boolean_member(object, field->name, *(const gboolean *)data);
        break;
    case VMIG_FIELD_NUMBER:
    case VMIG_FIELD_SIZE:
    case VMIG_FIELD_BITS:
        json_object_set_int_member(object, field->name, *(const gint64 *)data);
        break;
    case VMIG_FIELD_COUNT:
        json_object_set_int_member(object, field->name, *(const guint32 *)data);
        break;
    case VMIG_FIELD_ENUM:
        encode_text(object, field->name, field->words->words[*(const guint *)data]);
        break;
    case VMIG_FIELD_KEY:
        encode_key(object, field->name, data);
        break;
    case VMIG_FIELD_BYTES:
        encode_bytes(object, field->name, *(GBytes *const *)data);
        break;
    case VMIG_FIELD_RECORD:
        if (*(VmigJob *const *)data != NULL)
            json_object_set_object_member(object, field->name, vmig_job_to_json(*(VmigJob *const *)data));
        break;
    case VMIG_FIELD_OBJECT:
        json_object_set_object_member(object, field->name, vmig_codec_encode(field->of, data));
        break;
    case VMIG_FIELD_OBJECTS:
        json_object_set_array_member(object, field->name, encode_objects(field->of, *(GPtrArray *const *)data));
        break;
    }
}

JsonObject *vmig_codec_encode(const VmigMessage *message, gconstpointer data)
{
    JsonObject *object = json_object_new();

    for (const VmigField *field = message->fields(); field->name != NULL; field++)
        encode_member(object, field, (const char *)data + field->offset);
    return object;
}

/* --- decode --- */

/* The object that is read, with the first mistake in it. failure: the first error of a record or of a key. */
typedef struct {
    VmigReader reader;
    GError *failure;
} Decoder;

static void decode_members(Decoder *decoder, const VmigMessage *message, gpointer data);

static char *decode_text(Decoder *decoder, const VmigField *field)
{
    return g_strdup(field->needed ? vmig_reader_text(&decoder->reader, field->name)
                                  : vmig_reader_maybe_text(&decoder->reader, field->name));
}

static guint32 decode_count(Decoder *decoder, const char *name)
{
    guint64 number = vmig_reader_size(&decoder->reader, name);

    if (number > G_MAXUINT32)
        vmig_reader_mistake(&decoder->reader, name, "a number of 32 bits");
    return (guint32)number;
}

static guint decode_enum(Decoder *decoder, const VmigField *field)
{
    const char *text = vmig_reader_text(&decoder->reader, field->name);

    for (guint i = 0; text != NULL && field->words->words[i] != NULL; i++)
        if (strcmp(text, field->words->words[i]) == 0)
            return i;
    vmig_reader_mistake(&decoder->reader, field->name, field->words->expected);
    return 0;
}

static VmigHashKey decode_key(Decoder *decoder, const char *name)
{
    const char *text = vmig_reader_text(&decoder->reader, name);
    VmigHashKey key = {0};

    if (text != NULL && decoder->failure == NULL)
        vmig_hash_key_read(text, &key, &decoder->failure);
    return key;
}

/* g_base64_decode() skips what is not base64. */
static gboolean is_base64(const char *text)
{
    gsize length = strlen(text);
    gsize good = strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/");

    return length % 4 == 0 && length - good <= 2 && strspn(text + good, "=") == length - good;
}

static GBytes *decode_bytes(Decoder *decoder, const char *name)
{
    const char *text = vmig_reader_text(&decoder->reader, name);
    gsize length = 0;

    if (text == NULL || !is_base64(text)) {
        vmig_reader_mistake(&decoder->reader, name, "base64");
        return NULL;
    }
    guchar *bytes = g_base64_decode(text, &length);
    return g_bytes_new_take(bytes, length);
}

static VmigJob *decode_record(Decoder *decoder, const VmigField *field)
{
    JsonObject *object = field->needed ? vmig_reader_object(&decoder->reader, field->name)
                                       : vmig_reader_maybe_object(&decoder->reader, field->name);

    return object != NULL && decoder->failure == NULL ? vmig_job_from_json(object, &decoder->failure) : NULL;
}

static void decode_object(Decoder *decoder, const VmigMessage *message, JsonObject *object, gpointer data)
{
    VmigReader above = decoder->reader;

    if (object == NULL)
        return;
    decoder->reader = vmig_reader(object);
    decode_members(decoder, message, data);
    if (decoder->reader.member != NULL)
        vmig_reader_mistake(&above, decoder->reader.member, decoder->reader.expected);
    decoder->reader = above;
}

static GPtrArray *decode_objects(Decoder *decoder, const VmigField *field)
{
    JsonArray *array = vmig_reader_array(&decoder->reader, field->name);
    guint length = array != NULL ? json_array_get_length(array) : 0;
    GPtrArray *objects = vmig_message_array(field->of);

    for (guint i = 0; i < length && decoder->reader.member == NULL; i++) {
        gpointer data = vmig_message_new(field->of);
        g_ptr_array_add(objects, data);
        decode_object(decoder, field->of, vmig_reader_element(&decoder->reader, field->name, array, i), data);
    }
    return objects;
}

static void decode_member(Decoder *decoder, const VmigField *field, gpointer data)
{
    VmigReader *reader = &decoder->reader;

    switch (field->kind) {
    case VMIG_FIELD_TEXT:
    case VMIG_FIELD_FILLED:
    case VMIG_FIELD_JOB:
    case VMIG_FIELD_WORD:
        *(char **)data = decode_text(decoder, field);
        break;
    case VMIG_FIELD_TEXTS:
    case VMIG_FIELD_SUMS:
        *(char ***)data = vmig_reader_texts(reader, field->name);
        break;
    case VMIG_FIELD_FLAG:
        *(gboolean *)data = vmig_reader_flag(reader, field->name);
        break;
    case VMIG_FIELD_NUMBER:
    case VMIG_FIELD_BITS:
        *(gint64 *)data = vmig_reader_number(reader, field->name);
        break;
    case VMIG_FIELD_SIZE:
        *(guint64 *)data = vmig_reader_size(reader, field->name);
        break;
    case VMIG_FIELD_COUNT:
        *(guint32 *)data = decode_count(decoder, field->name);
        break;
    case VMIG_FIELD_ENUM:
        *(guint *)data = decode_enum(decoder, field);
        break;
    case VMIG_FIELD_KEY:
        *(VmigHashKey *)data = decode_key(decoder, field->name);
        break;
    case VMIG_FIELD_BYTES:
        *(GBytes **)data = decode_bytes(decoder, field->name);
        break;
    case VMIG_FIELD_RECORD:
        *(VmigJob **)data = decode_record(decoder, field);
        break;
    case VMIG_FIELD_OBJECT:
        decode_object(decoder, field->of, vmig_reader_object(reader, field->name), data);
        break;
    case VMIG_FIELD_OBJECTS:
        *(GPtrArray **)data = decode_objects(decoder, field);
        break;
    }
}

static void decode_members(Decoder *decoder, const VmigMessage *message, gpointer data)
{
    for (const VmigField *field = message->fields(); field->name != NULL; field++)
        decode_member(decoder, field, (char *)data + field->offset);
}

gboolean vmig_codec_decode(const VmigMessage *message, JsonObject *object, gpointer data, const char *reply_to,
                           GError **error)
{
    Decoder decoder = {.reader = vmig_reader(object)};
    g_autoptr(GError) failure = NULL;
    gboolean ok = FALSE;

    memset(data, 0, message->size);
    decode_members(&decoder, message, data);
    failure = decoder.failure;
    if (decoder.reader.member != NULL)
        vmig_message_refuse(error, reply_to, decoder.reader.member, decoder.reader.expected);
    else if (failure != NULL)
        g_propagate_error(error, g_steal_pointer(&failure));
    else
        ok = vmig_message_check(message, data, reply_to, error);
    if (!ok)
        vmig_message_clear(message, data);
    return ok;
}
