/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the agent reads: any bytes on its standard input, in front of a storage that answers every method. Whatever
 * comes, each line of its output is one JSON object. */
#include <fcntl.h>
#include <sys/mman.h>

#include "node/agent.h"
#include "os/json-read.h"
#include "tests/fuzz/fuzz.h"

/* Whatever the agent decoded is complete. A reply that is not becomes an error. */
static gboolean call(VmigNode *self G_GNUC_UNUSED, VmigMethod method, gconstpointer args, gpointer reply,
                     GError **error)
{
    const char *name = vmig_method_name(method);

    g_assert(vmig_message_check(vmig_method_args(method), args, NULL, NULL));
    if (method == VMIG_METHOD_FREEZE)
        return vmig_fail(error, VMIG_ERROR_IO, name, "%s", name);
    if (method == VMIG_METHOD_REAL_PATH)
        ((VmigRealPathReply *)reply)->path = g_strdup(((const VmigPathArgs *)args)->path);
    return TRUE;
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
