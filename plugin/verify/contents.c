/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The typed interface to "contents" and "content-page". Replies are checked as in node.c. */
#include "verify/contents.h"

#include "os/json-read.h"

/* The limits of the other host's qcow2 reader, checked here again because a reply may contain anything. */
#define MAX_SNAPSHOTS 1024
#define MAX_BYTES (G_GUINT64_CONSTANT(64) << 40)

static VmigContent *read_content(VmigReader *reply, JsonArray *array, guint index)
{
    JsonObject *object = vmig_reader_element(reply, "snapshots", array, index);
    VmigContent *content = vmig_content_new();

    if (object == NULL)
        return content;
    VmigReader reader = vmig_reader(object);
    content->id = g_strdup(vmig_reader_text(&reader, "id"));
    content->name = g_strdup(vmig_reader_text(&reader, "name"));
    content->date_sec = vmig_reader_size(&reader, "date_sec");
    content->date_nsec = vmig_reader_size(&reader, "date_nsec");
    content->vm_clock = vmig_reader_bits(&reader, "vm_clock");
    content->vm_state_size = vmig_reader_size(&reader, "vm_state_size");
    content->disk_size = vmig_reader_size(&reader, "disk_size");
    content->icount = vmig_reader_bits(&reader, "icount");
    if (content->vm_state_size > MAX_BYTES || content->disk_size > MAX_BYTES)
        vmig_reader_mistake(&reader, "disk_size", "a valid size");
    if (reader.member != NULL)
        vmig_reader_mistake(reply, "snapshots", "a list of snapshots");
    return content;
}

GPtrArray *vmig_node_contents(VmigNode *node, const char *path, char **stamp, GError **error)
{
    JsonObject *args = json_object_new();
    g_autoptr(GPtrArray) result = g_ptr_array_new_with_free_func((GDestroyNotify)vmig_content_free);

    json_object_set_string_member(args, "path", path);
    g_autoptr(JsonObject) reply = vmig_node_ask(node, VMIG_METHOD_CONTENTS, args, error);
    if (reply == NULL)
        return NULL;
    VmigReader reader = vmig_reader(reply);
    const char *text = vmig_reader_text(&reader, "stamp");
    JsonArray *array = vmig_reader_array(&reader, "snapshots");
    guint n = array != NULL ? json_array_get_length(array) : 0;
    if (n > MAX_SNAPSHOTS)
        vmig_reader_mistake(&reader, "snapshots", "a list of snapshots");
    for (guint i = 0; reader.member == NULL && i < n; i++)
        g_ptr_array_add(result, read_content(&reader, array, i));
    if (!vmig_node_understood(&reader, node, VMIG_METHOD_CONTENTS, error))
        return NULL;
    *stamp = g_strdup(text);
    return g_steal_pointer(&result);
}

gboolean vmig_node_content_page(VmigNode *node, const VmigContentAsk *what, VmigTreeHash *hash,
                                const VmigTreeHash *like_hash, guint64 *next, GError **error)
{
    JsonObject *args = json_object_new();
    guint64 got = 0;
    gsize length;
    g_autofree char *key = vmig_hash_key_to_text(what->key);

    json_object_set_string_member(args, "key", key);
    json_object_set_string_member(args, "path", what->path);
    json_object_set_string_member(args, "stamp", what->stamp);
    json_object_set_string_member(args, "id", what->id);
    json_object_set_string_member(args, "kind", what->kind == VMIG_CONTENT_MEMORY ? "memory" : "disk");
    json_object_set_int_member(args, "first", (gint64)*next);
    if (what->like != NULL)
        json_object_set_string_member(args, "like", what->like);
    g_autoptr(JsonObject) reply = vmig_node_ask(node, VMIG_METHOD_CONTENT_PAGE, args, error);
    if (reply == NULL)
        return FALSE;
    VmigReader reader = vmig_reader(reply);
    const char *text = vmig_reader_text(&reader, "page");
    guint64 told = vmig_reader_size(&reader, "next");
    if (!vmig_node_understood(&reader, node, VMIG_METHOD_CONTENT_PAGE, error))
        return FALSE;
    guchar *bytes = g_base64_decode(text, &length);
    g_autoptr(GBytes) page = g_bytes_new_take(bytes, length);
    if (!vmig_snapshot_page_apply(hash, like_hash, page, *next, &got, error)) {
        g_prefix_error(error, "%s: ", node->host);
        return FALSE;
    }
    if (got != told)
        return vmig_fail(error, VMIG_ERROR_PROTOCOL, NULL,
                         "%s: a page of a snapshot's digests does not end where it should", node->host);
    *next = got;
    return TRUE;
}
