/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The typed form of a node's methods: converts arguments to JSON, and parses replies.
 *
 * A reply may come from another host, so parsing is strict: a missing member, or one of another type, is a PROTOCOL
 * error and never a zero. A call about a job carries the job's ID and the domain's name and UUID; only record-put
 * carries the record. The file has one short function per method, and is therefore longer than others.
 */
#include "port/node.h"

#include <string.h>

#include "os/json-read.h"

void vmig_node_hurry(VmigNode *node, gboolean on)
{
    if (node->ops->hurry != NULL)
        node->ops->hurry(node, on);
}

void vmig_node_free(VmigNode *node)
{
    if (node != NULL)
        node->ops->free(node);
}

void vmig_node_facts_free(VmigNodeFacts *facts)
{
    if (facts == NULL)
        return;
    g_free(facts->version);
    g_free(facts->hostname);
    g_free(facts->machine_id);
    g_free(facts->qemu_img_version);
    g_free(facts->migrate_host);
    g_strfreev(facts->roots);
    g_free(facts);
}

void vmig_path_facts_free(VmigPathFacts *facts)
{
    if (facts == NULL)
        return;
    g_free(facts->owner_job);
    g_free(facts->owner_state);
    g_free(facts->kept_job);
    g_free(facts->kept_domain);
    g_free(facts->kept_why_not);
    g_free(facts);
}

static void image_snapshot_free(gpointer data)
{
    VmigImageSnapshot *snapshot = data;

    g_free(snapshot->id);
    g_free(snapshot->name);
    g_free(snapshot);
}

void vmig_image_facts_free(VmigImageFacts *facts)
{
    if (facts == NULL)
        return;
    g_free(facts->path);
    g_free(facts->named);
    g_free(facts->format);
    g_free(facts->backing);
    g_free(facts->backing_format);
    g_free(facts->backing_path);
    if (facts->snapshots != NULL)
        g_ptr_array_unref(facts->snapshots);
    g_free(facts);
}

/* The only place that adds the host's name to a message: the implementation of call() may be on that host, which does
 * not name itself. */
static void name_host(const VmigNode *node, GError **error)
{
    if (error == NULL || *error == NULL)
        return;
    g_autofree char *prefix = g_strconcat(node->host, ": ", NULL);
    if (!g_str_has_prefix((*error)->message, prefix))
        g_prefix_error(error, "%s", prefix);
}

JsonObject *vmig_node_ask(VmigNode *node, VmigMethod method, JsonObject *args, GError **error)
{
    g_autoptr(JsonObject) owned = args;
    JsonObject *reply = node->ops->call(node, method, owned, error);

    if (reply == NULL)
        name_host(node, error);
    return reply;
}

gboolean vmig_node_understood(const VmigReader *reader, const VmigNode *node, VmigMethod method, GError **error)
{
    if (vmig_reader_end(reader, error, "the reply to '%s'", vmig_method_name(method)))
        return TRUE;
    name_host(node, error);
    return FALSE;
}

static gboolean tell(VmigNode *node, VmigMethod method, JsonObject *args, GError **error)
{
    g_autoptr(JsonObject) reply = vmig_node_ask(node, method, args, error);
    return reply != NULL;
}

static void set_text(JsonObject *object, const char *name, const char *text)
{
    if (text != NULL)
        json_object_set_string_member(object, name, text);
}

static void set_texts(JsonObject *object, const char *name, const char *const *texts)
{
    JsonArray *array = json_array_new();

    for (guint i = 0; texts != NULL && texts[i] != NULL; i++)
        json_array_add_string_element(array, texts[i]);
    json_object_set_array_member(object, name, array);
}

static JsonObject *path_args(const char *path)
{
    JsonObject *args = json_object_new();

    set_text(args, "path", path);
    return args;
}

static JsonObject *job_args(const VmigJob *job)
{
    JsonObject *args = json_object_new();

    set_text(args, "job", job->id);
    set_text(args, "uuid", job->uuid);
    set_text(args, "domain", job->domain);
    return args;
}

static JsonObject *job_path_args(const VmigJob *job, const char *path)
{
    JsonObject *args = job_args(job);

    set_text(args, "path", path);
    return args;
}

static JsonObject *job_file_args(const VmigJob *job, const VmigFile *file)
{
    JsonObject *args = job_args(job);
    JsonObject *object = json_object_new();

    set_text(object, "source", file->source);
    set_text(object, "dest", file->dest);
    set_text(object, "part", file->part);
    set_text(object, "format", file->format);
    set_text(object, "backing_format", file->backing_format);
    set_text(object, "rebase", file->rebase);
    set_text(object, "hash", file->hash);
    set_text(object, "kept", file->kept);
    json_object_set_int_member(object, "size", (gint64)file->size);
    json_object_set_int_member(object, "dev", (gint64)file->dev);
    json_object_set_int_member(object, "ino", (gint64)file->ino);
    json_object_set_int_member(object, "mtime_ns", (gint64)file->mtime_ns);
    json_object_set_object_member(args, "file", object);
    return args;
}

VmigNodeFacts *vmig_node_hello(VmigNode *node, GError **error)
{
    g_autoptr(JsonObject) reply = vmig_node_ask(node, VMIG_METHOD_HELLO, json_object_new(), error);

    if (reply == NULL)
        return NULL;
    g_autoptr(VmigNodeFacts) facts = g_new0(VmigNodeFacts, 1);
    VmigReader reader = vmig_reader(reply);
    facts->protocol = vmig_reader_size(&reader, "protocol");
    facts->version = g_strdup(vmig_reader_text(&reader, "version"));
    facts->hostname = g_strdup(vmig_reader_text(&reader, "hostname"));
    facts->machine_id = g_strdup(vmig_reader_text(&reader, "machine_id"));
    facts->qemu_img_version = g_strdup(vmig_reader_text(&reader, "qemu_img_version"));
    facts->roots = vmig_reader_texts(&reader, "roots");
    facts->cpus = vmig_reader_size(&reader, "cpus");
    facts->aes = vmig_reader_flag(&reader, "aes");
    facts->migrate_host = g_strdup(vmig_reader_maybe_text(&reader, "migrate_host"));
    facts->images_denied = vmig_reader_flag(&reader, "images_denied");
    return vmig_node_understood(&reader, node, VMIG_METHOD_HELLO, error) ? g_steal_pointer(&facts) : NULL;
}

char *vmig_node_libvirt_socket(VmigNode *node, GError **error)
{
    g_autoptr(JsonObject) reply = vmig_node_ask(node, VMIG_METHOD_LIBVIRT_SOCKET, json_object_new(), error);

    if (reply == NULL)
        return NULL;
    VmigReader reader = vmig_reader(reply);
    g_autofree char *state = g_strdup(vmig_reader_text(&reader, "state"));
    return vmig_node_understood(&reader, node, VMIG_METHOD_LIBVIRT_SOCKET, error) ? g_steal_pointer(&state) : NULL;
}

VmigPathFacts *vmig_node_path(VmigNode *node, const char *path, GError **error)
{
    g_autoptr(JsonObject) reply = vmig_node_ask(node, VMIG_METHOD_PATH, path_args(path), error);

    if (reply == NULL)
        return NULL;
    g_autoptr(VmigPathFacts) facts = g_new0(VmigPathFacts, 1);
    VmigReader reader = vmig_reader(reply);
    facts->exists = vmig_reader_flag(&reader, "exists");
    facts->is_regular = vmig_reader_flag(&reader, "is_regular");
    facts->folder_ok = vmig_reader_flag(&reader, "folder_ok");
    facts->in_roots = vmig_reader_flag(&reader, "in_roots");
    facts->shared = vmig_reader_flag(&reader, "shared");
    facts->free_bytes = vmig_reader_size(&reader, "free_bytes");
    facts->filesystem = vmig_reader_bits(&reader, "filesystem");
    facts->size = vmig_reader_size(&reader, "size");
    facts->dev = vmig_reader_bits(&reader, "dev");
    facts->ino = vmig_reader_bits(&reader, "ino");
    facts->owner_job = g_strdup(vmig_reader_maybe_text(&reader, "owner_job"));
    facts->owner_state = g_strdup(vmig_reader_maybe_text(&reader, "owner_state"));
    facts->kept_job = g_strdup(vmig_reader_maybe_text(&reader, "kept_job"));
    if (facts->kept_job != NULL) {
        facts->kept_domain = g_strdup(vmig_reader_text(&reader, "kept_domain"));
        facts->kept_bytes = vmig_reader_size(&reader, "kept_bytes");
        facts->kept_why_not = g_strdup(vmig_reader_maybe_text(&reader, "kept_why_not"));
    }
    return vmig_node_understood(&reader, node, VMIG_METHOD_PATH, error) ? g_steal_pointer(&facts) : NULL;
}

char *vmig_node_real_path(VmigNode *node, const char *path, GError **error)
{
    g_autoptr(JsonObject) reply = vmig_node_ask(node, VMIG_METHOD_REAL_PATH, path_args(path), error);

    if (reply == NULL)
        return NULL;
    VmigReader reader = vmig_reader(reply);
    const char *real = vmig_reader_text(&reader, "path");
    return vmig_node_understood(&reader, node, VMIG_METHOD_REAL_PATH, error) ? g_strdup(real) : NULL;
}

static void read_snapshots(VmigReader *image, GPtrArray *snapshots)
{
    JsonArray *array = vmig_reader_array(image, "snapshots");
    guint length = array != NULL ? json_array_get_length(array) : 0;

    for (guint i = 0; i < length; i++) {
        JsonObject *object = vmig_reader_element(image, "snapshots", array, i);
        if (object == NULL)
            return;
        VmigReader reader = vmig_reader(object);
        VmigImageSnapshot *snapshot = g_new0(VmigImageSnapshot, 1);
        g_ptr_array_add(snapshots, snapshot);
        snapshot->id = g_strdup(vmig_reader_text(&reader, "id"));
        snapshot->name = g_strdup(vmig_reader_text(&reader, "name"));
        snapshot->vm_state_size = vmig_reader_size(&reader, "vm_state_size");
        snapshot->date = vmig_reader_number(&reader, "date");
        if (reader.member != NULL)
            vmig_reader_mistake(image, reader.member, reader.expected);
    }
}

static VmigImageFacts *read_image(VmigReader *reply, JsonObject *object)
{
    g_autoptr(VmigImageFacts) facts = g_new0(VmigImageFacts, 1);
    VmigReader reader = vmig_reader(object);

    facts->path = g_strdup(vmig_reader_text(&reader, "path"));
    facts->named = g_strdup(vmig_reader_maybe_text(&reader, "named"));
    facts->format = g_strdup(vmig_reader_text(&reader, "format"));
    facts->backing = g_strdup(vmig_reader_maybe_text(&reader, "backing"));
    facts->backing_format = g_strdup(vmig_reader_maybe_text(&reader, "backing_format"));
    facts->backing_path = g_strdup(vmig_reader_maybe_text(&reader, "backing_path"));
    facts->size = vmig_reader_size(&reader, "size");
    facts->allocated = vmig_reader_size(&reader, "allocated");
    facts->virtual_size = vmig_reader_size(&reader, "virtual_size");
    facts->dev = vmig_reader_bits(&reader, "dev");
    facts->ino = vmig_reader_bits(&reader, "ino");
    facts->mtime_ns = vmig_reader_bits(&reader, "mtime_ns");
    facts->version = vmig_reader_size(&reader, "version");
    facts->bitmaps = vmig_reader_size(&reader, "bitmaps");
    facts->encrypted = vmig_reader_flag(&reader, "encrypted");
    facts->data_file = vmig_reader_flag(&reader, "data_file");
    facts->dirty = vmig_reader_flag(&reader, "dirty");
    facts->snapshots = g_ptr_array_new_with_free_func(image_snapshot_free);
    read_snapshots(&reader, facts->snapshots);
    if (reader.member != NULL)
        vmig_reader_mistake(reply, reader.member, reader.expected);
    return g_steal_pointer(&facts);
}

GPtrArray *vmig_node_survey(VmigNode *node, const char *path, const char *format, GError **error)
{
    JsonObject *args = path_args(path);

    set_text(args, "format", format);
    g_autoptr(JsonObject) reply = vmig_node_ask(node, VMIG_METHOD_SURVEY, args, error);
    if (reply == NULL)
        return NULL;
    g_autoptr(GPtrArray) images = g_ptr_array_new_with_free_func((GDestroyNotify)vmig_image_facts_free);
    VmigReader reader = vmig_reader(reply);
    JsonArray *array = vmig_reader_array(&reader, "images");
    guint length = array != NULL ? json_array_get_length(array) : 0;
    for (guint i = 0; i < length; i++) {
        JsonObject *object = vmig_reader_element(&reader, "images", array, i);
        if (object != NULL)
            g_ptr_array_add(images, read_image(&reader, object));
    }
    if (length == 0)
        vmig_reader_mistake(&reader, "images", "an array with at least one image");
    return vmig_node_understood(&reader, node, VMIG_METHOD_SURVEY, error) ? g_steal_pointer(&images) : NULL;
}

gboolean vmig_node_stat(VmigNode *node, const char *path, guint64 *size, guint64 *dev, guint64 *ino, guint64 *mtime_ns,
                        GError **error)
{
    g_autoptr(JsonObject) reply = vmig_node_ask(node, VMIG_METHOD_STAT, path_args(path), error);

    if (reply == NULL)
        return FALSE;
    VmigReader reader = vmig_reader(reply);
    guint64 numbers[] = {vmig_reader_size(&reader, "size"), vmig_reader_bits(&reader, "dev"),
                         vmig_reader_bits(&reader, "ino"), vmig_reader_bits(&reader, "mtime_ns")};
    guint64 *rets[] = {size, dev, ino, mtime_ns};
    if (!vmig_node_understood(&reader, node, VMIG_METHOD_STAT, error))
        return FALSE;
    for (guint i = 0; i < G_N_ELEMENTS(rets); i++)
        if (rets[i] != NULL)
            *rets[i] = numbers[i];
    return TRUE;
}

gboolean vmig_node_count_snapshots(VmigNode *node, const char *path, guint32 *count, GError **error)
{
    g_autoptr(JsonObject) reply = vmig_node_ask(node, VMIG_METHOD_COUNT_SNAPSHOTS, path_args(path), error);

    if (reply == NULL)
        return FALSE;
    VmigReader reader = vmig_reader(reply);
    guint64 number = vmig_reader_size(&reader, "count");
    if (number > G_MAXUINT32)
        vmig_reader_mistake(&reader, "count", "a number of 32 bits");
    if (!vmig_node_understood(&reader, node, VMIG_METHOD_COUNT_SNAPSHOTS, error))
        return FALSE;
    *count = (guint32)number;
    return TRUE;
}

gboolean vmig_node_locks(VmigNode *node, const char *path, VmigImageLocks *ret, GError **error)
{
    g_autoptr(JsonObject) reply = vmig_node_ask(node, VMIG_METHOD_LOCKS, path_args(path), error);

    if (reply == NULL)
        return FALSE;
    VmigReader reader = vmig_reader(reply);
    VmigImageLocks locks = {.writer = vmig_reader_flag(&reader, "writer"),
                            .frozen = vmig_reader_flag(&reader, "frozen")};
    if (!vmig_node_understood(&reader, node, VMIG_METHOD_LOCKS, error))
        return FALSE;
    *ret = locks;
    return TRUE;
}

gboolean vmig_node_allocated(VmigNode *node, const char *path, guint64 *bytes, GError **error)
{
    g_autoptr(JsonObject) reply = vmig_node_ask(node, VMIG_METHOD_ALLOCATED, path_args(path), error);

    if (reply == NULL)
        return FALSE;
    VmigReader reader = vmig_reader(reply);
    guint64 number = vmig_reader_size(&reader, "bytes");
    if (!vmig_node_understood(&reader, node, VMIG_METHOD_ALLOCATED, error))
        return FALSE;
    *bytes = number;
    return TRUE;
}

gboolean vmig_node_check(VmigNode *node, const char *path, const char *format, gint64 *leaks, GError **error)
{
    JsonObject *args = path_args(path);

    set_text(args, "format", format);
    g_autoptr(JsonObject) reply = vmig_node_ask(node, VMIG_METHOD_CHECK, args, error);
    if (reply == NULL)
        return FALSE;
    VmigReader reader = vmig_reader(reply);
    gint64 number = (gint64)vmig_reader_size(&reader, "leaks");
    if (!vmig_node_understood(&reader, node, VMIG_METHOD_CHECK, error))
        return FALSE;
    if (leaks != NULL)
        *leaks = number;
    return TRUE;
}

gboolean vmig_node_lock(VmigNode *node, const VmigJob *job, const char *tool, GError **error)
{
    JsonObject *args = job_args(job);

    if (tool != NULL)
        set_text(args, "tool", tool);
    return tell(node, VMIG_METHOD_LOCK, args, error);
}

gboolean vmig_node_unlock(VmigNode *node, const VmigJob *job, GError **error)
{
    return tell(node, VMIG_METHOD_UNLOCK, job_args(job), error);
}

gboolean vmig_node_record_put(VmigNode *node, const VmigJob *job, GError **error)
{
    JsonObject *args = json_object_new();

    json_object_set_object_member(args, "record", vmig_job_to_json(job));
    return tell(node, VMIG_METHOD_RECORD_PUT, args, error);
}

gboolean vmig_node_was_given(VmigNode *node, const VmigJob *job)
{
    JsonObject *args = json_object_new();

    set_text(args, "job", job->id);
    g_autoptr(JsonObject) reply = vmig_node_ask(node, VMIG_METHOD_WAS_GIVEN, args, NULL);
    if (reply == NULL)
        return FALSE;
    VmigReader reader = vmig_reader(reply);
    gboolean given = vmig_reader_flag(&reader, "given");
    return vmig_node_understood(&reader, node, VMIG_METHOD_WAS_GIVEN, NULL) && given;
}

gboolean vmig_node_catch_up(VmigNode *node, const VmigJob *job, const char *role, GError **error)
{
    JsonObject *args = json_object_new();

    set_text(args, "role", role);
    json_object_set_object_member(args, "record", vmig_job_to_json(job));
    return tell(node, VMIG_METHOD_CATCH_UP, args, error);
}

gboolean vmig_node_record_get(VmigNode *node, const char *id, VmigJob **ret, GError **error)
{
    JsonObject *args = json_object_new();

    set_text(args, "job", id);
    g_autoptr(JsonObject) reply = vmig_node_ask(node, VMIG_METHOD_RECORD_GET, args, error);
    if (reply == NULL)
        return FALSE;
    VmigReader reader = vmig_reader(reply);
    JsonObject *object = vmig_reader_maybe_object(&reader, "record");
    if (!vmig_node_understood(&reader, node, VMIG_METHOD_RECORD_GET, error))
        return FALSE;
    g_autoptr(VmigJob) job = NULL;
    if (object != NULL) {
        job = vmig_job_from_json(object, error);
        if (job == NULL) {
            name_host(node, error);
            return FALSE;
        }
        /* Using another job's record would move another guest's token. */
        if (g_strcmp0(job->id, id) != 0) {
            vmig_reader_mistake(&reader, "record", "the requested job");
            return vmig_node_understood(&reader, node, VMIG_METHOD_RECORD_GET, error);
        }
    }
    *ret = g_steal_pointer(&job);
    return TRUE;
}

char **vmig_node_texts_missing(VmigNode *node, const VmigJob *job, const char *const *names, GError **error)
{
    JsonObject *args = job_args(job);

    set_texts(args, "names", names);
    g_autoptr(JsonObject) reply = vmig_node_ask(node, VMIG_METHOD_TEXTS_MISSING, args, error);
    if (reply == NULL)
        return NULL;
    VmigReader reader = vmig_reader(reply);
    g_auto(GStrv) missing = vmig_reader_texts(&reader, "missing");
    for (guint i = 0; missing[i] != NULL; i++)
        if (!g_strv_contains(names, missing[i]))
            vmig_reader_mistake(&reader, "missing", "some of the requested names");
    return vmig_node_understood(&reader, node, VMIG_METHOD_TEXTS_MISSING, error) ? g_steal_pointer(&missing) : NULL;
}

gboolean vmig_node_texts_put(VmigNode *node, const VmigJob *job, const char *const *texts, GError **error)
{
    JsonObject *args = job_args(job);

    set_texts(args, "texts", texts);
    return tell(node, VMIG_METHOD_TEXTS_PUT, args, error);
}

/* The texts must be those of the first names, in order: the checksum identifies each. */
static gboolean are_named(char **texts, const char *const *names)
{
    for (guint i = 0; texts[i] != NULL; i++) {
        g_autofree char *sum = g_compute_checksum_for_string(G_CHECKSUM_SHA256, texts[i], -1);
        if (g_strcmp0(sum, names[i]) != 0)
            return FALSE;
    }
    return texts[0] != NULL;
}

char **vmig_node_texts_get(VmigNode *node, const VmigJob *job, const char *const *names, GError **error)
{
    JsonObject *args = job_args(job);

    set_texts(args, "names", names);
    g_autoptr(JsonObject) reply = vmig_node_ask(node, VMIG_METHOD_TEXTS_GET, args, error);
    if (reply == NULL)
        return NULL;
    VmigReader reader = vmig_reader(reply);
    g_auto(GStrv) texts = vmig_reader_texts(&reader, "texts");
    if (g_strv_length(texts) > g_strv_length((char **)names) || !are_named(texts, names))
        vmig_reader_mistake(&reader, "texts", "the requested texts");
    return vmig_node_understood(&reader, node, VMIG_METHOD_TEXTS_GET, error) ? g_steal_pointer(&texts) : NULL;
}

gboolean vmig_node_token_put(VmigNode *node, const VmigJob *job, const char *owner, GError **error)
{
    JsonObject *args = job_args(job);

    set_text(args, "owner", owner);
    return tell(node, VMIG_METHOD_TOKEN_PUT, args, error);
}

gboolean vmig_node_intend(VmigNode *node, const VmigJob *job, const char *path, const char *kind, GError **error)
{
    JsonObject *args = job_path_args(job, path);

    set_text(args, "kind", kind);
    return tell(node, VMIG_METHOD_INTEND, args, error);
}

gboolean vmig_node_made(VmigNode *node, const VmigJob *job, const char *path, GError **error)
{
    return tell(node, VMIG_METHOD_MADE, job_path_args(job, path), error);
}

gboolean vmig_node_remove(VmigNode *node, const VmigJob *job, const char *path, const char *reason, GError **error)
{
    JsonObject *args = job_path_args(job, path);

    set_text(args, "reason", reason);
    return tell(node, VMIG_METHOD_REMOVE, args, error);
}

gboolean vmig_node_remove_base(VmigNode *node, const VmigJob *job, const VmigFile *file, char **kept, GError **error)
{
    g_autoptr(JsonObject) reply = vmig_node_ask(node, VMIG_METHOD_REMOVE_BASE, job_file_args(job, file), error);

    *kept = NULL;
    if (reply == NULL)
        return FALSE;
    VmigReader reader = vmig_reader(reply);
    const char *why = vmig_reader_maybe_text(&reader, "kept");
    if (!vmig_node_understood(&reader, node, VMIG_METHOD_REMOVE_BASE, error))
        return FALSE;
    *kept = g_strdup(why);
    return TRUE;
}

GPtrArray *vmig_node_users(VmigNode *node, const char *const *paths, const char *domain, GError **error)
{
    g_autoptr(GPtrArray) users = g_ptr_array_new_with_free_func(g_free);
    JsonObject *args = json_object_new();
    JsonArray *array = json_array_new();
    guint length = 0;

    for (; paths[length] != NULL; length++)
        json_array_add_string_element(array, paths[length]);
    json_object_set_array_member(args, "paths", array);
    set_text(args, "domain", domain);
    g_autoptr(JsonObject) reply = vmig_node_ask(node, VMIG_METHOD_USERS, args, error);
    if (reply == NULL)
        return NULL;
    VmigReader reader = vmig_reader(reply);
    g_auto(GStrv) texts = vmig_reader_texts(&reader, "users");
    if (g_strv_length(texts) != length)
        vmig_reader_mistake(&reader, "users", "one text for each path");
    for (guint i = 0; texts[i] != NULL; i++)
        g_ptr_array_add(users, *texts[i] != '\0' ? g_strdup(texts[i]) : NULL);
    return vmig_node_understood(&reader, node, VMIG_METHOD_USERS, error) ? g_steal_pointer(&users) : NULL;
}

gboolean vmig_node_create_overlay(VmigNode *node, const VmigJob *job, const char *path, guint64 virtual_size,
                                  const char *backing, const char *backing_format, GError **error)
{
    JsonObject *args = job_path_args(job, path);

    json_object_set_int_member(args, "virtual_size", (gint64)virtual_size);
    set_text(args, "backing", backing);
    set_text(args, "backing_format", backing_format);
    return tell(node, VMIG_METHOD_CREATE_OVERLAY, args, error);
}

gboolean vmig_node_commit_offline(VmigNode *node, const VmigJob *job, const char *overlay, GError **error)
{
    return tell(node, VMIG_METHOD_COMMIT_OFFLINE, job_path_args(job, overlay), error);
}

char **vmig_node_leftovers(VmigNode *node, const VmigJob *job, GError **error)
{
    g_autoptr(JsonObject) reply = vmig_node_ask(node, VMIG_METHOD_LEFTOVERS, job_args(job), error);

    if (reply == NULL)
        return NULL;
    VmigReader reader = vmig_reader(reply);
    g_auto(GStrv) paths = vmig_reader_texts(&reader, "paths");
    return vmig_node_understood(&reader, node, VMIG_METHOD_LEFTOVERS, error) ? g_steal_pointer(&paths) : NULL;
}

static void read_port(VmigReader *reader, VmigPort *port)
{
    guint64 number = vmig_reader_size(reader, "port");
    const char *export = vmig_reader_text(reader, "export");

    if (number == 0 || number > 65535)
        vmig_reader_mistake(reader, "port", "a port");
    if (export != NULL && (strlen(export) != 32 || strspn(export, "0123456789abcdef") != 32))
        vmig_reader_mistake(reader, "export", "32 hexadecimal digits");
    if (reader->member != NULL)
        return;
    port->number = (guint)number;
    g_strlcpy(port->export, export, sizeof port->export);
}

static gboolean receive(VmigNode *node, JsonObject *args, VmigPort *port, gboolean *fresh, GError **error)
{
    g_autoptr(JsonObject) reply = vmig_node_ask(node, VMIG_METHOD_RECEIVE, args, error);

    if (reply == NULL)
        return FALSE;
    VmigReader reader = vmig_reader(reply);
    gboolean answer = vmig_reader_flag(&reader, "fresh");
    if (port != NULL)
        read_port(&reader, port);
    if (!vmig_node_understood(&reader, node, VMIG_METHOD_RECEIVE, error))
        return FALSE;
    *fresh = answer;
    return TRUE;
}

static void set_key(JsonObject *args, const VmigHashKey *key)
{
    g_autofree char *text = vmig_hash_key_to_text(key);

    set_text(args, "key", text);
}

gboolean vmig_node_receive(VmigNode *node, const VmigJob *job, const VmigFile *file, const char *socket,
                           const VmigHashKey *key, gboolean *fresh, GError **error)
{
    JsonObject *args = job_file_args(job, file);

    set_key(args, key);
    set_text(args, "socket", socket);
    return receive(node, args, NULL, fresh, error);
}

gboolean vmig_node_receive_on_port(VmigNode *node, const VmigJob *job, const VmigFile *file, const char *transport,
                                   const VmigHashKey *key, VmigPort *port, gboolean *fresh, GError **error)
{
    JsonObject *args = job_file_args(job, file);

    set_key(args, key);
    set_text(args, "transport", transport);
    set_text(args, "identity", port->identity);
    return receive(node, args, port, fresh, error);
}

gboolean vmig_node_known(VmigNode *node, const VmigJob *job, const VmigFile *file, guint64 first, GBytes **page,
                         GError **error)
{
    JsonObject *args = job_file_args(job, file);
    gsize length = 0;

    json_object_set_int_member(args, "first", (gint64)first);
    g_autoptr(JsonObject) reply = vmig_node_ask(node, VMIG_METHOD_KNOWN, args, error);
    if (reply == NULL)
        return FALSE;
    VmigReader reader = vmig_reader(reply);
    const char *text = vmig_reader_text(&reader, "page");
    if (!vmig_node_understood(&reader, node, VMIG_METHOD_KNOWN, error))
        return FALSE;
    guint8 *bytes = g_base64_decode(text, &length);
    *page = g_bytes_new_take(bytes, length);
    return TRUE;
}

gboolean vmig_node_received(VmigNode *node, const VmigJob *job, const VmigFile *file, const char *rewritten,
                            char **hash, GError **error)
{
    JsonObject *args = job_file_args(job, file);

    set_text(args, "rewritten", rewritten);
    g_autoptr(JsonObject) reply = vmig_node_ask(node, VMIG_METHOD_RECEIVED, args, error);

    if (reply == NULL)
        return FALSE;
    VmigReader reader = vmig_reader(reply);
    const char *text = vmig_reader_text(&reader, "hash");
    if (text != NULL && *text == '\0')
        vmig_reader_mistake(&reader, "hash", "a hash");
    if (!vmig_node_understood(&reader, node, VMIG_METHOD_RECEIVED, error))
        return FALSE;
    *hash = g_strdup(text);
    return TRUE;
}

gboolean vmig_node_place(VmigNode *node, const VmigJob *job, const VmigFile *file, GError **error)
{
    return tell(node, VMIG_METHOD_PLACE, job_file_args(job, file), error);
}

gboolean vmig_node_unplace(VmigNode *node, const VmigJob *job, const VmigFile *file, GError **error)
{
    return tell(node, VMIG_METHOD_UNPLACE, job_file_args(job, file), error);
}

static gboolean tell_paths(VmigNode *node, VmigMethod method, const VmigJob *job, const char *const *paths,
                           GError **error)
{
    JsonObject *args = job_args(job);

    set_texts(args, "paths", paths);
    return tell(node, method, args, error);
}

gboolean vmig_node_freeze(VmigNode *node, const VmigJob *job, const char *const *paths, GError **error)
{
    return tell_paths(node, VMIG_METHOD_FREEZE, job, paths, error);
}

gboolean vmig_node_thaw(VmigNode *node, const VmigJob *job, GError **error)
{
    return tell(node, VMIG_METHOD_THAW, job_args(job), error);
}

gboolean vmig_node_fence_arm(VmigNode *node, const VmigJob *job, const char *const *overlays, char **slow,
                             GError **error)
{
    JsonObject *args = job_args(job);

    set_texts(args, "paths", overlays);
    g_autoptr(JsonObject) reply = vmig_node_ask(node, VMIG_METHOD_FENCE_ARM, args, error);
    if (reply == NULL)
        return FALSE;
    VmigReader reader = vmig_reader(reply);
    g_autofree char *copy = g_strdup(vmig_reader_maybe_text(&reader, "slow"));
    if (!vmig_node_understood(&reader, node, VMIG_METHOD_FENCE_ARM, error))
        return FALSE;
    if (slow != NULL)
        *slow = g_steal_pointer(&copy);
    return TRUE;
}

gboolean vmig_node_fence_take(VmigNode *node, const VmigJob *job, gint64 wait_us, gboolean *held, GError **error)
{
    JsonObject *args = job_args(job);

    json_object_set_int_member(args, "wait_us", MAX(wait_us, 0));
    g_autoptr(JsonObject) reply = vmig_node_ask(node, VMIG_METHOD_FENCE_TAKE, args, error);
    if (reply == NULL)
        return FALSE;
    VmigReader reader = vmig_reader(reply);
    gboolean answer = vmig_reader_flag(&reader, "held");
    if (!vmig_node_understood(&reader, node, VMIG_METHOD_FENCE_TAKE, error))
        return FALSE;
    *held = answer;
    return TRUE;
}

gboolean vmig_node_end_source_qemu(VmigNode *node, const VmigJob *job, char **note, GError **error)
{
    g_autoptr(JsonObject) reply = vmig_node_ask(node, VMIG_METHOD_END_SOURCE_QEMU, job_args(job), error);

    if (reply == NULL)
        return FALSE;
    VmigReader reader = vmig_reader(reply);
    g_autofree char *copy = g_strdup(vmig_reader_maybe_text(&reader, "note"));
    if (!vmig_node_understood(&reader, node, VMIG_METHOD_END_SOURCE_QEMU, error))
        return FALSE;
    *note = g_steal_pointer(&copy);
    return TRUE;
}

void vmig_orphan_facts_free(VmigOrphanFacts *facts)
{
    g_free(facts->kind);
    g_free(facts->why);
    g_free(facts);
}

VmigOrphanFacts *vmig_node_orphan(VmigNode *node, const VmigJob *job, GError **error)
{
    g_autoptr(JsonObject) reply = vmig_node_ask(node, VMIG_METHOD_ORPHAN, job_args(job), error);

    if (reply == NULL)
        return NULL;
    VmigReader reader = vmig_reader(reply);
    g_autoptr(VmigOrphanFacts) facts = g_new0(VmigOrphanFacts, 1);
    facts->kind = g_strdup(vmig_reader_text(&reader, "kind"));
    facts->pid = vmig_reader_number(&reader, "pid");
    facts->why = g_strdup(vmig_reader_maybe_text(&reader, "why"));
    return vmig_node_understood(&reader, node, VMIG_METHOD_ORPHAN, error) ? g_steal_pointer(&facts) : NULL;
}

gboolean vmig_node_orphan_end(VmigNode *node, const VmigJob *job, GError **error)
{
    return tell(node, VMIG_METHOD_ORPHAN_END, job_args(job), error);
}

gboolean vmig_node_fence_drop(VmigNode *node, const VmigJob *job, GError **error)
{
    return tell(node, VMIG_METHOD_FENCE_DROP, job_args(job), error);
}

gboolean vmig_node_guard_stop(VmigNode *node, const VmigJob *job, GError **error)
{
    return tell(node, VMIG_METHOD_GUARD_STOP, job_args(job), error);
}

gboolean vmig_node_sync_config(VmigNode *node, GError **error)
{
    return tell(node, VMIG_METHOD_SYNC_CONFIG, json_object_new(), error);
}

gboolean vmig_node_rundir(VmigNode *node, const VmigJob *job, GError **error)
{
    return tell(node, VMIG_METHOD_RUNDIR, job_args(job), error);
}

gboolean vmig_node_rundir_remove(VmigNode *node, const VmigJob *job, GError **error)
{
    return tell(node, VMIG_METHOD_RUNDIR_REMOVE, job_args(job), error);
}

void vmig_rehearsal_free(VmigRehearsal *rehearsal)
{
    g_free(rehearsal->id);
    g_strfreev(rehearsal->images);
    g_strfreev(rehearsal->dead);
    g_free(rehearsal);
}

VmigRehearsal *vmig_node_rehearsal_begin(VmigNode *node, const char *domain, const char *const *paths,
                                         const char *const *formats, GError **error)
{
    JsonObject *args = json_object_new();

    set_text(args, "domain", domain);
    set_texts(args, "paths", paths);
    set_texts(args, "formats", formats);
    g_autoptr(JsonObject) reply = vmig_node_ask(node, VMIG_METHOD_REHEARSAL_BEGIN, args, error);
    if (reply == NULL)
        return NULL;
    VmigReader reader = vmig_reader(reply);
    g_autoptr(VmigRehearsal) rehearsal = g_new0(VmigRehearsal, 1);
    rehearsal->id = g_strdup(vmig_reader_text(&reader, "id"));
    rehearsal->images = vmig_reader_texts(&reader, "images");
    rehearsal->dead = vmig_reader_texts(&reader, "dead");
    if (g_strv_length(rehearsal->images) != g_strv_length((char **)paths))
        vmig_reader_mistake(&reader, "images", "one for each path");
    return vmig_node_understood(&reader, node, VMIG_METHOD_REHEARSAL_BEGIN, error) ? g_steal_pointer(&rehearsal) : NULL;
}

static gboolean tell_rehearsal(VmigNode *node, VmigMethod method, const char *id, GError **error)
{
    JsonObject *args = json_object_new();

    set_text(args, "id", id);
    return tell(node, method, args, error);
}

gboolean vmig_node_rehearsal_unlink(VmigNode *node, const char *id, GError **error)
{
    return tell_rehearsal(node, VMIG_METHOD_REHEARSAL_UNLINK, id, error);
}

gboolean vmig_node_rehearsal_end(VmigNode *node, const char *id, GError **error)
{
    return tell_rehearsal(node, VMIG_METHOD_REHEARSAL_END, id, error);
}
