/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The kinds of what a job moves, and what each kind needs: artifacts.def. */
#pragma once

#include <glib.h>

typedef enum {
#define VMIG_ARTIFACT(symbol, name, freeze, copy, what) VMIG_ARTIFACT_##symbol,
#include "core/artifacts.def"
#undef VMIG_ARTIFACT
    VMIG_ARTIFACT_KINDS,
} VmigArtifactKind;

typedef enum {
    VMIG_FREEZE_NOTHING,
    VMIG_FREEZE_OVERLAY,
} VmigFreeze;

typedef enum {
    VMIG_COPY_AHEAD,
    VMIG_COPY_LAST,
} VmigCopyWhen;

const char *vmig_artifact_name(VmigArtifactKind kind);
/* FALSE if there is no such kind; NULL is none. */
gboolean vmig_artifact_parse(const char *name, VmigArtifactKind *ret);
const char *vmig_artifact_what(VmigArtifactKind kind);
VmigFreeze vmig_artifact_freeze(VmigArtifactKind kind);
VmigCopyWhen vmig_artifact_copy(VmigArtifactKind kind);
