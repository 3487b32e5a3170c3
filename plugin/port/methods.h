/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* methods.def as an enumeration, with lookups. */
#pragma once

#include <glib.h>

#include "port/messages.h"

typedef enum {
#define VMIG_METHOD(symbol, function, name, args, reply, peer, time) VMIG_METHOD_##symbol,
#include "port/methods.def"
#undef VMIG_METHOD
    VMIG_METHOD_LAST,
} VmigMethod;

/* What the agent requires before another host may call the method. */
typedef enum {
    VMIG_PEER_LOOKS,
    VMIG_PEER_LOCKS,
    VMIG_PEER_RECORDS,
    VMIG_PEER_WORKS,
    VMIG_PEER_ON_SOURCE,
    VMIG_PEER_ON_DEST,
} VmigMethodPeer;

/* How long a reply may take. */
typedef enum {
    VMIG_TIME_SHORT,
    VMIG_TIME_DISK,
    VMIG_TIME_WORK,
} VmigMethodTime;

const char *vmig_method_name(VmigMethod method);
/* VMIG_METHOD_LAST if there is no method with this name. */
VmigMethod vmig_method_from_name(const char *name);
VmigMethodPeer vmig_method_peer(VmigMethod method);
VmigMethodTime vmig_method_time(VmigMethod method);
const VmigMessage *vmig_method_args(VmigMethod method);
const VmigMessage *vmig_method_reply(VmigMethod method);
