/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* This host's node: facts about the host itself. */
#include "os/cipher.h"
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

gboolean vmig_local_do_hello(VmigLocal *local, const VmigNothing *args G_GNUC_UNUSED, VmigNodeFacts *reply,
                             GError **error)
{
    g_autofree char *version = qemu_img_version(error);

    if (version == NULL)
        return FALSE;
    reply->roots = g_new0(char *, local->roots->len + 1);
    for (guint i = 0; i < local->roots->len; i++)
        reply->roots[i] = g_strdup(local->roots->pdata[i]);
    reply->protocol = VMIG_PROTOCOL;
    reply->version = g_strdup(VMIG_VERSION);
    reply->hostname = g_strdup(g_get_host_name());
    reply->machine_id = g_strdup(local->machine_id);
    reply->qemu_img_version = g_steal_pointer(&version);
    reply->cpus = g_get_num_processors();
    reply->aes = vmig_cipher_has_aes();
    reply->migrate_host = vmig_qemu_conf_value(local->qemu_conf, "migrate_host");
    reply->images_denied = vmig_qemu_user_lacks_images(local->qemu_conf);
    return TRUE;
}
