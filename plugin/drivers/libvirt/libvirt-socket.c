/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "drivers/libvirt/libvirt-socket.h"

#include <errno.h>
#include <unistd.h>

#include "core/path-map.h"
#include "os/relay.h"

#define START_HINT                                                                                                     \
    "Start libvirt's daemon there: systemctl start libvirtd.socket, or virtqemud.socket if the modular daemons are "   \
    "used."

#define OMIT_HINT "Omit socket= and mode= from the URI: vmig-snap then finds the socket on which libvirt answers there."

/* In the order in which they are tried. */
static const struct {
    const char *name, *mode;
} sockets[] = {{"virtqemud-sock", "direct"}, {"libvirt-sock", "legacy"}};

/* *exists: there is such a socket, so that the daemon is off or too busy. */
static gboolean answers(const char *path, GString *tried, gboolean *exists)
{
    int fd = vmig_relay_connect(path);

    if (fd < 0) {
        *exists = *exists || errno == ECONNREFUSED || errno == EAGAIN;
        g_string_append_printf(tried, "%s%s: %s", tried->len > 0 ? "; " : "", path, g_strerror(errno));
        return FALSE;
    }
    close(fd);
    return TRUE;
}

/* /var/run is a link to /run on every host with systemd; libvirt writes either. */
static char *inside(const char *folder, const char *path)
{
    const char *plain = g_str_has_prefix(path, "/var/run/") ? path + strlen("/var") : path;
    g_autofree char *parent = g_path_get_dirname(plain);

    return vmig_path_check(plain, NULL) && g_str_equal(parent, folder) ? g_strdup(plain) : NULL;
}

char *vmig_libvirt_socket_find(const char *folder, const VmigLibvirtWanted *wanted, GError **error)
{
    g_autoptr(GString) tried = g_string_new(NULL);
    const char *mode = wanted->mode != NULL ? wanted->mode : "auto";
    gboolean exists = FALSE;

    if (wanted->socket != NULL) {
        g_autofree char *path = inside(folder, wanted->socket);
        if (path == NULL) {
            vmig_fail(error, VMIG_ERROR_LIBVIRT_SOCKET, OMIT_HINT,
                      "cannot connect to libvirt on %s: vmig-snap uses only sockets in %s on another host",
                      wanted->socket, folder);
            return NULL;
        }
        if (answers(path, tried, &exists))
            return g_steal_pointer(&path);
    }
    for (guint i = 0; wanted->socket == NULL && i < G_N_ELEMENTS(sockets); i++) {
        g_autofree char *path = g_build_filename(folder, sockets[i].name, NULL);
        if ((g_str_equal(mode, "auto") || g_str_equal(mode, sockets[i].mode)) && answers(path, tried, &exists))
            return g_steal_pointer(&path);
    }
    gboolean chosen = wanted->socket != NULL || !g_str_equal(mode, "auto");
    vmig_fail(error, exists ? VMIG_ERROR_UNREACHABLE : VMIG_ERROR_LIBVIRT_SOCKET, chosen ? OMIT_HINT : START_HINT,
              "cannot connect to libvirt's daemon: %s", tried->str);
    return NULL;
}
