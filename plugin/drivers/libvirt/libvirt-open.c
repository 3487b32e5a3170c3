/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Connects to a libvirtd that may be frozen. virConnectOpen() never returns if the daemon accepts the connection and
 * then stays silent, because keepalive works only on open connections. So a thread opens it, and is abandoned if it
 * takes too long. */
#include "drivers/libvirt/libvirt-private.h"

#define OPEN_LIMIT (10 * G_USEC_PER_SEC)

typedef struct {
    gint refs;
    GMutex lock; /* for the members below */
    GCond changed;
    gboolean done;
    gboolean given_up;
    virConnectPtr conn;
    char *why;
    gboolean denied; /* by libvirt's authentication */
    char *uri;
} Opening;

static void opening_unref(Opening *opening)
{
    if (!g_atomic_int_dec_and_test(&opening->refs))
        return;
    g_mutex_clear(&opening->lock);
    g_cond_clear(&opening->changed);
    g_free(opening->why);
    g_free(opening->uri);
    g_free(opening);
}

/* From SASL (auth_unix_rw = "sasl") and polkit. */
static gboolean is_denial(int code)
{
    return code == VIR_ERR_AUTH_FAILED || code == VIR_ERR_AUTH_CANCELLED || code == VIR_ERR_AUTH_UNAVAILABLE;
}

static gpointer open_thread(gpointer data)
{
    Opening *opening = data;
    virConnectPtr conn = virConnectOpen(opening->uri);
    virErrorPtr last = conn == NULL ? virGetLastError() : NULL;
    g_autofree char *why = g_strdup(last != NULL ? last->message : "no reason given");
    gboolean denied = last != NULL && is_denial(last->code);

    virResetLastError();
    g_mutex_lock(&opening->lock);
    gboolean late = opening->given_up;
    opening->done = TRUE;
    opening->conn = late ? NULL : conn;
    opening->why = g_steal_pointer(&why);
    opening->denied = denied;
    g_cond_broadcast(&opening->changed);
    g_mutex_unlock(&opening->lock);
    if (late && conn != NULL)
        virConnectClose(conn);
    opening_unref(opening);
    return NULL;
}

virConnectPtr vmig_libvirt_open(const char *uri, GError **error)
{
    Opening *opening = g_new0(Opening, 1);
    gint64 until = g_get_monotonic_time() + OPEN_LIMIT;

    opening->refs = 2;
    opening->uri = g_strdup(uri);
    g_mutex_init(&opening->lock);
    g_cond_init(&opening->changed);
    g_thread_unref(g_thread_new("vmig-open", open_thread, opening));
    g_mutex_lock(&opening->lock);
    while (!opening->done && g_cond_wait_until(&opening->changed, &opening->lock, until))
        continue;
    opening->given_up = !opening->done;
    virConnectPtr conn = opening->conn;
    g_autofree char *why = g_strdup(opening->done ? opening->why : "it accepts the connection but does not answer");
    gboolean denied = opening->done && opening->denied;
    g_mutex_unlock(&opening->lock);
    opening_unref(opening);
    /* 5 s x 3 detects a dead host, whatever TCP's timeouts are. Local sockets do not need keepalive. */
    if (conn != NULL)
        virConnectSetKeepAlive(conn, 5, 3);
    else if (denied)
        vmig_fail(
            error, VMIG_ERROR_NOT_AUTHORIZED,
            "Give vmig-snap what libvirt asks for in /etc/libvirt/auth.conf (libvirt.org/auth.html), or run it as "
            "root.",
            "libvirt at %s refuses the connection: %s", uri, why);
    else
        vmig_fail(error, VMIG_ERROR_UNREACHABLE, "Check that libvirt runs there and that the URI is correct.",
                  "cannot connect to libvirt at %s: %s", uri, why);
    return conn;
}
