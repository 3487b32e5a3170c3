/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* This host's node: facts about the host itself. */
#include "os/cipher.h"
#include "drivers/libvirt/libvirt-socket.h"
#include "drivers/libvirt/qemu-user.h"
#include "node/node-local-private.h"
#include "os/tool.h"

static char *qemu_img_version(GError **error)
{
    const char *argv[] = {"qemu-img", "--version", NULL};
    g_autofree char *out = NULL;

    if (!vmig_tool_run(argv, g_get_monotonic_time() + VMIG_TOOL_DEADLINE_US, &out, error))
        return NULL;
    g_auto(GStrv) words = g_strsplit_set(out, " \n", 4);
    /* "qemu-img version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)" */
    if (g_strv_length(words) < 4) {
        vmig_fail(error, VMIG_ERROR_IMAGE_TOOL, NULL, "qemu-img does not report its version");
        return NULL;
    }
    return g_strdup(words[2]);
}

JsonObject *vmig_local_do_hello(VmigLocal *local, VmigReader *args G_GNUC_UNUSED, GError **error)
{
    g_autofree char *version = qemu_img_version(error);

    if (version == NULL)
        return NULL;
    JsonObject *reply = json_object_new();
    JsonArray *roots = json_array_new();
    for (guint i = 0; i < local->roots->len; i++)
        json_array_add_string_element(roots, local->roots->pdata[i]);
    json_object_set_int_member(reply, "protocol", VMIG_PROTOCOL);
    json_object_set_string_member(reply, "version", VMIG_VERSION);
    json_object_set_string_member(reply, "hostname", g_get_host_name());
    json_object_set_string_member(reply, "machine_id", local->machine_id);
    json_object_set_string_member(reply, "qemu_img_version", version);
    json_object_set_array_member(reply, "roots", roots);
    json_object_set_int_member(reply, "cpus", (gint64)g_get_num_processors());
    json_object_set_boolean_member(reply, "aes", vmig_cipher_has_aes());
    g_autofree char *migrate_host = vmig_qemu_conf_value(local->qemu_conf, "migrate_host");
    if (migrate_host != NULL)
        json_object_set_string_member(reply, "migrate_host", migrate_host);
    json_object_set_boolean_member(reply, "images_denied", vmig_qemu_user_lacks_images(local->qemu_conf));
    return reply;
}

JsonObject *vmig_local_do_libvirt_socket(VmigLocal *local G_GNUC_UNUSED, VmigReader *args G_GNUC_UNUSED,
                                         GError **error G_GNUC_UNUSED)
{
    JsonObject *reply = json_object_new();

    json_object_set_string_member(
        reply, "state", vmig_libvirt_socket_state(VMIG_REMOTE_LIBVIRT_SOCKET, "/var/run/libvirt/virtqemud-sock"));
    return reply;
}
