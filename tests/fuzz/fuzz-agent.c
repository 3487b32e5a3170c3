/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the agent reads: any bytes on its standard input, in front of a storage that answers everything. Whatever comes,
 * each line of its output is one JSON object. */
#include <fcntl.h>
#include <sys/mman.h>

#include "node/agent.h"
#include "os/json-read.h"
#include "tests/fuzz/fuzz.h"

static JsonObject *call(VmigNode *self G_GNUC_UNUSED, VmigMethod id, JsonObject *args, GError **error)
{
    const char *method = vmig_method_name(id);
    JsonObject *reply = json_object_new();

    if (id == VMIG_METHOD_FREEZE) {
        json_object_unref(reply);
        vmig_fail(error, VMIG_ERROR_IO, method, "%s", method);
        return NULL;
    }
    json_object_set_int_member(reply, "members", json_object_get_size(args));
    json_object_set_string_member(reply, "method", method);
    return reply;
}

static const VmigNodeOps ops = {.call = call};

static void check_output(int fd)
{
    off_t size = lseek(fd, 0, SEEK_END);
    g_autofree char *text = g_malloc0((gsize)size + 1);

    g_assert(pread(fd, text, (gsize)size, 0) == size && (size == 0 || text[size - 1] == '\n'));
    for (char *line = text, *end; (end = strchr(line, '\n')) != NULL; line = end + 1) {
        g_autoptr(JsonObject) object = vmig_json_parse(line, (gsize)(end - line), NULL);
        g_assert(object != NULL);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    VmigNode node = {&ops, (char *)"here"};
    g_autoptr(GError) error = NULL;
    int in = memfd_create("in", MFD_CLOEXEC), out = memfd_create("out", MFD_CLOEXEC);

    g_assert(in >= 0 && out >= 0 && write(in, data, size) == (ssize_t)size && lseek(in, 0, SEEK_SET) == 0);
    gboolean ok = vmig_agent_serve(in, out, &node, &error);
    g_assert(ok == (error == NULL));
    check_output(out);
    close(in);
    close(out);
    return 0;
}
