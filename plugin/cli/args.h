/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Parses the command line of one command strictly: anything unknown is refused, never guessed. */
#pragma once

#include "cli/cli.h"

typedef struct {
    const char *command;      /* "migrate" */
    const char *arguments;    /* "DOMAIN DEST", for the help */
    const char *summary;      /* what the command does, one or two lines */
    guint least, most;        /* number of arguments */
    const char *const *names; /* the arguments' names in messages */
} VmigUsage;

typedef enum {
    VMIG_ARGS_GO_ON,
    VMIG_ARGS_END, /* the help or an error was shown */
} VmigArgsResult;

/* entries: strings must be G_OPTION_ARG_FILENAME, because G_OPTION_ARG_STRING depends on the locale. mode may already
 * be set. --json takes effect wherever it is, so that mistakes are reported as JSON. *rest: the arguments (transfer
 * full). *code: the exit code with VMIG_ARGS_END. */
VmigArgsResult vmig_args_parse(const VmigUsage *usage, const GOptionEntry *entries, int argc, char **argv,
                               VmigMode *mode, char ***rest, int *code);

/* Checks a domain's or a disk's name: not empty, UTF-8, no control characters, at most 255 bytes. BAD_NAME. */
gboolean vmig_args_check_name(const char *what, const char *name, GError **error);
/* Accepts qemu:///system or qemu+unix:///system, with ?socket=/PATH. BAD_URI. */
gboolean vmig_args_check_connect(const char *uri, GError **error);
