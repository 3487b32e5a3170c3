/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the command vmig-snap does for other processes. Programs that migrate guests do not call these functions. */
#pragma once

#include <glib.h>

G_BEGIN_DECLS

gboolean vmig_may_serve_agent(void);
gboolean vmig_serve_agent(int in_fd, int out_fd, GError **error);
gboolean vmig_serve_guard(const char *socket, int *code, GError **error);
gboolean vmig_check_connect_uri(const char *uri, GError **error);
char *vmig_get_log_path(const char *job);
const char *const *vmig_get_fault_points(void);

G_END_DECLS
