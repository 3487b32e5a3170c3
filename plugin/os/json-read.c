/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A bounded parser for one JSON object, and strict reading of its members. */
#include "os/json-read.h"

#include <string.h>

typedef struct {
    gboolean in_string;
    gboolean escaped;
    guint digits;      /* of \uXXXX, still to come */
    guint code;        /* of the digits so far */
    gboolean half;     /* the first half of a surrogate pair was read: the second has to follow */
    gboolean complete; /* the outermost value has ended */
    guint depth;
    guint values;
    gboolean negative, fraction; /* of the current number */
    guint64 number;
} Lexer;

#define HALF "half a surrogate pair in a string"

/* The only characters in JSON outside of strings. */
static gboolean plain_char(char c)
{
    return c != '\0' && strchr(" \t\r\n{}[]:,+-.0123456789eEtrufalsn", c) != NULL;
}

static const char *lex_digit(Lexer *lexer, char c)
{
    if (!g_ascii_isxdigit(c))
        return "not JSON";
    lexer->code = lexer->code << 4 | (guint)g_ascii_xdigit_value(c);
    if (--lexer->digits > 0)
        return NULL;
    /* Half a character: JsonParser (json-glib 1.6) does not free the string then. */
    gboolean first = lexer->code >= 0xd800 && lexer->code < 0xdc00;
    gboolean second = lexer->code >= 0xdc00 && lexer->code < 0xe000;
    if (second != lexer->half)
        return HALF;
    lexer->half = first;
    /* JsonParser would end the string there. */
    return lexer->code == 0 ? "a zero byte in a string" : NULL;
}

/* JsonParser accepts more, such as octal escapes, which can make a string invalid UTF-8. */
static const char *lex_escaped(Lexer *lexer, char c)
{
    lexer->escaped = FALSE;
    lexer->digits = c == 'u' ? 4 : 0;
    lexer->code = 0;
    if (lexer->half && c != 'u')
        return HALF;
    return strchr("\"\\/bfnrtu", c) != NULL ? NULL : "not JSON";
}

static const char *lex_in_string(Lexer *lexer, char c)
{
    if ((guchar)c < 0x20)
        return "a control character in a string";
    if (lexer->digits > 0)
        return lex_digit(lexer, c);
    if (lexer->escaped)
        return lex_escaped(lexer, c);
    if (c == '\\')
        lexer->escaped = TRUE;
    else if (lexer->half)
        return HALF;
    else if (c == '"')
        lexer->in_string = FALSE;
    return NULL;
}

/* JsonParser changes a number that does not fit into a gint64: to its low bits or, since json-glib 1.10, to the
 * largest. */
static const char *lex_number(Lexer *lexer, char c)
{
    if (!g_ascii_isdigit(c)) {
        lexer->negative = c == '-';
        lexer->fraction = c == '.' || (lexer->fraction && (c == '-' || c == '+')) || c == 'e' || c == 'E';
        lexer->number = 0;
        return NULL;
    }
    guint64 most = (guint64)G_MAXINT64 + (lexer->negative ? 1 : 0), digit = (guint64)(c - '0');
    if (!lexer->fraction && lexer->number > (most - digit) / 10)
        return "a number that is too large";
    lexer->number = lexer->fraction ? 0 : lexer->number * 10 + digit;
    return NULL;
}

static const char *lex_outside(Lexer *lexer, char c)
{
    /* JsonParser reads the first value and ignores the rest. */
    if (lexer->complete && !g_ascii_isspace(c))
        return "data after its end";
    /* It would also accept a scalar before the object, read on, and leak one of the two. */
    if (lexer->depth == 0 && c != '{' && !g_ascii_isspace(c))
        return "not an object";
    if (c == '"') {
        lexer->in_string = TRUE;
        return NULL;
    }
    if (!plain_char(c))
        return "not JSON";
    if (c == '{' || c == '[') {
        if (++lexer->depth > VMIG_JSON_MAX_DEPTH)
            return "nested too deeply";
    } else if (c == '}' || c == ']') {
        if (lexer->depth == 0)
            return "not JSON";
        lexer->complete = --lexer->depth == 0;
    }
    if ((c == '{' || c == '[' || c == ',') && ++lexer->values > VMIG_JSON_MAX_VALUES)
        return "too many values";
    return lex_number(lexer, c);
}

/* Returns NULL, or what is wrong. */
static const char *lex(const char *text, gsize length)
{
    Lexer lexer = {0};
    const char *wrong = NULL;

    if (length > VMIG_JSON_MAX_LINE)
        return "longer than 16 MiB";
    if (!g_utf8_validate(text, (gssize)length, NULL))
        return "not UTF-8";
    for (gsize i = 0; i < length && wrong == NULL; i++)
        wrong = lexer.in_string ? lex_in_string(&lexer, text[i]) : lex_outside(&lexer, text[i]);
    if (wrong == NULL && (lexer.in_string || lexer.depth != 0))
        return "truncated";
    return wrong;
}

JsonObject *vmig_json_parse(const char *text, gsize length, GError **error)
{
    const char *wrong = lex(text, length);

    if (wrong != NULL) {
        vmig_fail(error, VMIG_ERROR_PROTOCOL, NULL, "the line is not a message: %s", wrong);
        return NULL;
    }
    g_autoptr(JsonParser) parser = json_parser_new_immutable();
    g_autoptr(GError) parse_error = NULL;
    if (!json_parser_load_from_data(parser, text, (gssize)length, &parse_error)) {
        vmig_fail(error, VMIG_ERROR_PROTOCOL, NULL, "the line is not a message: not JSON");
        return NULL;
    }
    JsonNode *root = json_parser_get_root(parser);
    if (root == NULL || !JSON_NODE_HOLDS_OBJECT(root)) {
        vmig_fail(error, VMIG_ERROR_PROTOCOL, NULL, "the line is not a message: not an object");
        return NULL;
    }
    return json_object_ref(json_node_get_object(root));
}

gsize vmig_json_text_size(const char *text)
{
    gsize size = 3; /* quotes and a comma */

    for (; *text != '\0'; text++) {
        guchar c = (guchar)*text;
        if (c == '"' || c == '\\' || c == '\n' || c == '\t' || c == '\r')
            size += 2;
        else
            size += c < 0x20 || c == 0x7f ? 6 : 1;
    }
    return size;
}

char *vmig_json_line(JsonObject *object)
{
    g_autoptr(JsonNode) node = json_node_new(JSON_NODE_OBJECT);

    json_node_set_object(node, object);
    return json_to_string(node, FALSE);
}

VmigReader vmig_reader(JsonObject *object)
{
    return (VmigReader){.object = object};
}

void vmig_reader_mistake(VmigReader *reader, const char *name, const char *expected)
{
    if (reader->member != NULL)
        return;
    reader->member = name;
    reader->expected = expected;
}

/* The member's node if it holds a value of this type; otherwise NULL and a mistake. */
static JsonNode *value_node(VmigReader *reader, const char *name, GType type, const char *expected)
{
    if (reader->member != NULL)
        return NULL;
    JsonNode *node = json_object_get_member(reader->object, name);
    if (node != NULL && JSON_NODE_HOLDS_VALUE(node) && json_node_get_value_type(node) == type)
        return node;
    vmig_reader_mistake(reader, name, expected);
    return NULL;
}

const char *vmig_reader_text(VmigReader *reader, const char *name)
{
    JsonNode *node = value_node(reader, name, G_TYPE_STRING, "a string");
    return node != NULL ? json_node_get_string(node) : NULL;
}

gint64 vmig_reader_number(VmigReader *reader, const char *name)
{
    JsonNode *node = value_node(reader, name, G_TYPE_INT64, "an integer");
    return node != NULL ? json_node_get_int(node) : 0;
}

guint64 vmig_reader_size(VmigReader *reader, const char *name)
{
    gint64 number = vmig_reader_number(reader, name);

    if (number >= 0)
        return (guint64)number;
    vmig_reader_mistake(reader, name, "0 or more");
    return 0;
}

guint64 vmig_reader_bits(VmigReader *reader, const char *name)
{
    return (guint64)vmig_reader_number(reader, name);
}

gboolean vmig_reader_flag(VmigReader *reader, const char *name)
{
    JsonNode *node = value_node(reader, name, G_TYPE_BOOLEAN, "a boolean");
    return node != NULL && json_node_get_boolean(node);
}

static gboolean is_absent(VmigReader *reader, const char *name)
{
    JsonNode *node = json_object_get_member(reader->object, name);
    return node == NULL || JSON_NODE_HOLDS_NULL(node);
}

JsonObject *vmig_reader_object(VmigReader *reader, const char *name)
{
    if (reader->member != NULL)
        return NULL;
    JsonNode *node = json_object_get_member(reader->object, name);
    if (node != NULL && JSON_NODE_HOLDS_OBJECT(node))
        return json_node_get_object(node);
    vmig_reader_mistake(reader, name, "an object");
    return NULL;
}

JsonArray *vmig_reader_array(VmigReader *reader, const char *name)
{
    if (reader->member != NULL)
        return NULL;
    JsonNode *node = json_object_get_member(reader->object, name);
    if (node != NULL && JSON_NODE_HOLDS_ARRAY(node))
        return json_node_get_array(node);
    vmig_reader_mistake(reader, name, "an array");
    return NULL;
}

char **vmig_reader_texts(VmigReader *reader, const char *name)
{
    g_autoptr(GPtrArray) texts = g_ptr_array_new_with_free_func(g_free);
    JsonArray *array = vmig_reader_array(reader, name);
    guint length = array != NULL ? json_array_get_length(array) : 0;

    for (guint i = 0; i < length; i++) {
        JsonNode *node = json_array_get_element(array, i);
        if (JSON_NODE_HOLDS_VALUE(node) && json_node_get_value_type(node) == G_TYPE_STRING)
            g_ptr_array_add(texts, g_strdup(json_node_get_string(node)));
        else
            vmig_reader_mistake(reader, name, "an array of strings");
    }
    g_ptr_array_add(texts, NULL);
    return (char **)g_ptr_array_free(g_steal_pointer(&texts), FALSE);
}

const char *vmig_reader_maybe_text(VmigReader *reader, const char *name)
{
    return is_absent(reader, name) ? NULL : vmig_reader_text(reader, name);
}

JsonObject *vmig_reader_maybe_object(VmigReader *reader, const char *name)
{
    return is_absent(reader, name) ? NULL : vmig_reader_object(reader, name);
}

JsonObject *vmig_reader_element(VmigReader *reader, const char *name, JsonArray *array, guint index)
{
    JsonNode *node = json_array_get_element(array, index);

    if (JSON_NODE_HOLDS_OBJECT(node))
        return json_node_get_object(node);
    vmig_reader_mistake(reader, name, "an array of objects");
    return NULL;
}

gboolean vmig_reader_end(const VmigReader *reader, GError **error, const char *what, ...)
{
    va_list args;

    if (reader->member == NULL)
        return TRUE;
    va_start(args, what);
    g_autofree char *text = g_strdup_vprintf(what, args);
    va_end(args);
    return vmig_fail(error, VMIG_ERROR_PROTOCOL, NULL, "%s: member '%s' is missing or not %s", text, reader->member,
                     reader->expected);
}
