/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Common to all commands: exit codes and output modes.
 *
 * Folder plugin/cli: the command line, with one file for each command.
 */
#pragma once

#include <glib.h>
#include <json-glib/json-glib.h>

/* Scripts rely on these values: docs/man/vmig-snap.1. */
typedef enum {
    VMIG_EXIT_DONE = 0,
    VMIG_EXIT_FAILED = 1,
    VMIG_EXIT_USAGE = 2,
    VMIG_EXIT_REFUSED = 3,
    VMIG_EXIT_ROLLED_BACK = 4,
    VMIG_EXIT_UNFINISHED = 5,
    VMIG_EXIT_LOCKED = 6,
} VmigExit;

typedef struct {
    gboolean json;
    gboolean quiet; /* errors only */
} VmigMode;

typedef struct {
    const char *name;
    const char *arguments; /* "DOMAIN DEST" */
    const char *help;      /* one line */
    int (*run)(int argc, char **argv);
} VmigCommand;

/* argv[0] is the command's name. Each returns the exit code. */
int vmig_cmd_plan(int argc, char **argv);
int vmig_cmd_migrate(int argc, char **argv);
int vmig_cmd_status(int argc, char **argv);
int vmig_cmd_list(int argc, char **argv);
int vmig_cmd_resume(int argc, char **argv);
int vmig_cmd_cancel(int argc, char **argv);
int vmig_cmd_set(int argc, char **argv);
int vmig_cmd_verify(int argc, char **argv);
int vmig_cmd_doctor(int argc, char **argv);
int vmig_cmd_purge(int argc, char **argv);
int vmig_cmd_agent(int argc, char **argv);
