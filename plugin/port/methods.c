/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "port/methods.h"

#include <string.h>

static const struct {
    const char *name;
    const VmigMessage *args, *reply;
    VmigMethodPeer peer;
    VmigMethodTime time;
} methods[] = {
#define VMIG_METHOD(symbol, function, name_, args_, reply_, peer_, time_)                                              \
    [VMIG_METHOD_##symbol] = {.name = name_,                                                                           \
                              .args = &vmig_##args_##_message,                                                         \
                              .reply = &vmig_##reply_##_message,                                                       \
                              .peer = VMIG_PEER_##peer_,                                                               \
                              .time = VMIG_TIME_##time_},
#include "port/methods.def"
#undef VMIG_METHOD
};

const char *vmig_method_name(VmigMethod method)
{
    g_return_val_if_fail(method < VMIG_METHOD_LAST, "?");
    return methods[method].name;
}

VmigMethod vmig_method_from_name(const char *name)
{
    for (guint i = 0; i < G_N_ELEMENTS(methods); i++)
        if (strcmp(methods[i].name, name) == 0)
            return (VmigMethod)i;
    return VMIG_METHOD_LAST;
}

VmigMethodPeer vmig_method_peer(VmigMethod method)
{
    return methods[method].peer;
}

VmigMethodTime vmig_method_time(VmigMethod method)
{
    return methods[method].time;
}

const VmigMessage *vmig_method_args(VmigMethod method)
{
    return methods[method].args;
}

const VmigMessage *vmig_method_reply(VmigMethod method)
{
    return methods[method].reply;
}
