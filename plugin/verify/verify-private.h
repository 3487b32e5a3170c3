/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the files of the verification share. */
#pragma once

#include "verify/verify.h"
#include "verify/contents.h"

/* Is it an error of the asking, rather than something that is wrong with an image? */
gboolean vmig_verify_is_fatal(const GError *error);

/* How far the reading is, of all files; both sides count. */
typedef struct {
    const VmigVerifyRequest *request;
    VmigHashKey key; /* the job's, once it has one */
    GMutex mutex;
    GHashTable *disks; /* target → VmigProgress */
    guint64 bytes;
} VmigVerifyMeter;

void vmig_verify_meter_expect(VmigVerifyMeter *meter, const char *target, guint64 bytes);
void vmig_verify_meter_add(VmigVerifyMeter *meter, const char *target, guint64 bytes);

/* Reads the snapshots that both tables of the file have, sets their hashes, and adds what differs. */
gboolean vmig_verify_contents(VmigVerdict *verdict, VmigVerifiedFile *file, const char *left_stamp,
                              const char *arrived_stamp, VmigVerifyMeter *meter, GError **error);
