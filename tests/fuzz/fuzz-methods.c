/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The methods of a host's storage, destructive ones too, as a hostile peer calls them: lines with a method and its
 * arguments, on a host that has images of other guests, a folder outside the image roots and a link to it. "@" in a
 * line stands for the folder of all that. Whatever is asked, what is not the job's stays as it is.
 *
 * No program is in PATH: what would start one ends there. */
#include <fcntl.h>
#include <sys/stat.h>

#include "os/json-read.h"
#include "node/node-local.h"
#include "port/codec.h"
#include "tests/fuzz/fuzz.h"

#define MOST_CALLS 12

static const char *const foreign[] = {"images/other.qcow2", "images/sub/other.raw", "outside/file.qcow2",
                                      "config/other.xml"};

static char *in_folder(const char *name)
{
    return g_build_filename(fuzz_folder(), name, NULL);
}

static void make_folders(void)
{
    static const char *const names[] = {"images", "images/sub", "outside", "config", "libvirt", "run", "state"};

    for (guint i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autofree char *path = in_folder(names[i]);
        if (i == 0 || i >= 5)
            fuzz_remove_tree(path);
        g_assert(g_mkdir_with_parents(path, 0700) == 0);
    }
}

static void make_files(void)
{
    g_autofree char *link = in_folder("images/link"), *outside = in_folder("outside"),
                    *base = in_folder("images/a.raw");

    for (guint i = 0; i < G_N_ELEMENTS(foreign); i++) {
        g_autofree char *path = in_folder(foreign[i]);
        g_assert(g_file_set_contents(path, foreign[i], -1, NULL));
    }
    g_assert(g_file_set_contents(base, "base", 4, NULL) && symlink(outside, link) == 0);
}

static void check_foreign(void)
{
    for (guint i = 0; i < G_N_ELEMENTS(foreign); i++) {
        g_autofree char *path = in_folder(foreign[i]), *content = NULL;
        g_assert(g_file_get_contents(path, &content, NULL, NULL));
        g_assert_cmpstr(content, ==, foreign[i]);
    }
}

static VmigNode *open_node(gboolean dest)
{
    g_autofree char *state = in_folder("state"), *run = in_folder("run"), *images = in_folder("images");
    g_autofree char *config_dir = in_folder("config"), *libvirt = in_folder("libvirt");
    g_autofree char *conf = in_folder("config/qemu.conf");
    const char *const roots[] = {images, NULL};
    VmigNodeConfig config = {.state_dir = state,
                             .libvirt_uri = "test:///default",
                             .run_dir = run,
                             .roots = roots,
                             .exe = "/nonexistent/vmig-snap",
                             .machine_id = "m",
                             .role = dest ? VMIG_DEST : VMIG_SOURCE,
                             .tls_dir = "/nonexistent/pki",
                             .qemu_conf = conf,
                             .libvirt_qemu_dir = config_dir,
                             .libvirt_run_dir = libvirt};
    g_autoptr(GError) error = NULL;
    VmigNode *node = vmig_node_local_new("here", &config, &error);

    g_assert_no_error(error);
    return node;
}

static void call(VmigNode *node, const char *line)
{
    g_auto(GStrv) parts = g_strsplit(line, "@", -1);
    g_autofree char *text = g_strjoinv(fuzz_folder(), parts);
    g_autoptr(JsonObject) request = vmig_json_parse(text, strlen(text), NULL);
    g_autoptr(GError) error = NULL;

    if (request == NULL)
        return;
    VmigReader reader = vmig_reader(request);
    const char *method = vmig_reader_text(&reader, "method");
    JsonObject *args = vmig_reader_object(&reader, "args");
    VmigMethod id = vmig_reader_end(&reader, NULL, "the request") ? vmig_method_from_name(method) : VMIG_METHOD_LAST;
    if (id == VMIG_METHOD_LAST)
        return;
    const VmigMessage *asked = vmig_method_args(id), *answered = vmig_method_reply(id);
    gpointer typed = vmig_message_new(asked), reply = vmig_message_new(answered);
    gboolean ok = vmig_codec_decode(asked, args, typed, NULL, &error) && vmig_node_call(node, id, typed, reply, &error);
    g_assert(ok == (error == NULL));
    g_autoptr(JsonObject) object = ok ? vmig_codec_encode(answered, reply) : NULL;
    g_autofree char *written = ok ? vmig_json_line(object) : NULL;
    g_assert(!ok || strchr(written, '\n') == NULL);
    vmig_message_free(asked, typed);
    vmig_message_free(answered, reply);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static gboolean begun;

    if (size == 0)
        return 0;
    if (!begun)
        g_setenv("PATH", "/nonexistent", TRUE);
    begun = TRUE;
    g_autofree char *text = fuzz_text(data + 1, size - 1);
    g_auto(GStrv) lines = g_strsplit(text, "\n", MOST_CALLS + 1);
    make_folders();
    make_files();
    VmigNode *node = open_node(data[0] == 'D');
    for (guint i = 0; lines[i] != NULL && i < MOST_CALLS; i++)
        call(node, lines[i]);
    vmig_node_free(node);
    check_foreign();
    return 0;
}
