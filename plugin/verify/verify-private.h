/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Shared by the files of the verification. */
#pragma once

#include "verify/verify.h"
#include "verify/contents.h"

/* Whether the error is a failure of the query and not a problem of an image. */
gboolean vmig_verify_is_fatal(const GError *error);

/* The progress of reading all files; both hosts count. */
typedef struct {
    const VmigVerifyRequest *request;
    VmigHashKey key; /* the job's, once it has one */
    GMutex mutex;
    GHashTable *disks; /* target → VmigProgress */
    guint64 bytes;
} VmigVerifyMeter;

void vmig_verify_meter_expect(VmigVerifyMeter *meter, const char *target, guint64 bytes);
void vmig_verify_meter_add(VmigVerifyMeter *meter, const char *target, guint64 bytes);

/* Reads the snapshots that both tables of the file have, sets their hashes, and adds the differences. */
gboolean vmig_verify_contents(VmigVerdict *verdict, VmigVerifiedFile *file, const char *left_stamp,
                              const char *arrived_stamp, VmigVerifyMeter *meter, GError **error);
