/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Asks a host what it has at a path, and compares two answers. */
#include "port/identity.h"

#include "core/amount.h"

VmigIdentity *vmig_identity_ask(VmigNode *node, const char *path, GError **error)
{
    g_autoptr(VmigIdentity) identity = g_new0(VmigIdentity, 1);

    return vmig_call_identity(node, &(VmigPathArgs){.path = path}, identity, error) ? g_steal_pointer(&identity) : NULL;
}

char *vmig_identity_digest(VmigNode *node, const char *path, GError **error)
{
    g_auto(VmigDigestReply) reply = {0};

    return vmig_call_digest(node, &(VmigPathArgs){.path = path}, &reply, error) ? g_steal_pointer(&reply.digest) : NULL;
}

static char *compare_devices(const VmigIdentity *here, const VmigIdentity *there)
{
    if (here->name == NULL || there->name == NULL)
        return g_strdup("the devices have no WWN by which they could be compared");
    if (g_strcmp0(here->name, there->name) != 0)
        return g_strdup_printf("they are different devices: %s here, %s there", here->name, there->name);
    if (here->size == there->size)
        return NULL;
    g_autofree char *size_here = vmig_amount_format(here->size);
    g_autofree char *size_there = vmig_amount_format(there->size);
    return g_strdup_printf("the devices have different sizes: %s here, %s there", size_here, size_there);
}

static char *compare_files(const VmigIdentity *here, const VmigIdentity *there)
{
    if (!here->shared || !there->shared)
        return g_strdup_printf("the file is on a file system that only %s has",
                               !here->shared ? "this host" : "the destination");
    if (here->filesystem != there->filesystem || here->ino != there->ino)
        return g_strdup("both hosts have a file of that name on shared storage, but the two files are not the same");
    return NULL;
}

/* Needs at least one block that did not change between the first host's two reports: otherwise nothing was compared. */
static char *compare_samples(const VmigIdentity *here, const VmigIdentity *there, const VmigIdentity *again)
{
    guint n = g_strv_length(here->samples), still = 0;

    if (g_strv_length(there->samples) != n || g_strv_length(again->samples) != n)
        return g_strdup("one host can read the content, but the other one cannot");
    for (guint i = 0; i < n; i++) {
        if (!g_str_equal(here->samples[i], again->samples[i]))
            continue;
        still++;
        if (!g_str_equal(here->samples[i], there->samples[i]))
            return g_strdup("the contents differ");
    }
    return still > 0 ? NULL : g_strdup("no part of the content could be compared");
}

char *vmig_identity_compare(const VmigIdentity *here, const VmigIdentity *there, const VmigIdentity *again)
{
    if (here->kind != there->kind || here->kind != again->kind)
        return g_strdup("the files are of different kinds");
    if (here->kind != VMIG_IDENTITY_FILE && here->kind != VMIG_IDENTITY_BLOCK)
        return g_strdup("it is neither a file nor a block device");
    char *why = here->kind == VMIG_IDENTITY_BLOCK ? compare_devices(here, there) : compare_files(here, there);
    return why != NULL ? why : compare_samples(here, there, again);
}
