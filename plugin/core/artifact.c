/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/artifact.h"

static const struct {
    const char *name;
    VmigFreeze freeze;
    VmigCopyWhen copy;
    const char *what;
} kinds[] = {
#define VMIG_ARTIFACT(symbol, name, freeze, copy, what)                                                                \
    [VMIG_ARTIFACT_##symbol] = {name, VMIG_FREEZE_##freeze, VMIG_COPY_##copy, what},
#include "core/artifacts.def"
#undef VMIG_ARTIFACT
};

const char *vmig_artifact_name(VmigArtifactKind kind)
{
    return kinds[kind].name;
}

gboolean vmig_artifact_parse(const char *name, VmigArtifactKind *ret)
{
    for (guint i = 0; i < G_N_ELEMENTS(kinds); i++)
        if (g_strcmp0(kinds[i].name, name) == 0) {
            *ret = i;
            return TRUE;
        }
    return FALSE;
}

const char *vmig_artifact_what(VmigArtifactKind kind)
{
    return kinds[kind].what;
}

VmigFreeze vmig_artifact_freeze(VmigArtifactKind kind)
{
    return kinds[kind].freeze;
}

VmigCopyWhen vmig_artifact_copy(VmigArtifactKind kind)
{
    return kinds[kind].copy;
}
