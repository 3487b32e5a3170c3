/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The hook: libvirt runs it for every guest that starts, stops or arrives. /etc/libvirt/hooks/qemu.d/50-vmig-snap is a
 * link to this program. It may refuse prepare, restore and migrate, and starts `vmig-snap resume`; see docs/hooks.md.
 *
 * libvirt waits for it without a limit and with the guest locked, so it has limits of its own. It never calls libvirt,
 * which would wait for itself. If a failure would kill a running guest (reconnect, started), the hook never fails.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "definition/domain-xml.h"
#include "hooks/hook-facts.h"
#include "core/path-map.h"
#include "hooks/hook-wake.h"

/* libvirt writes the definition at once and closes the pipe. */
#define READ_LIMIT G_USEC_PER_SEC
#define WHOLE_LIMIT 2 /* seconds; for example if the disk of the journal hangs */

static void give_up(int signum G_GNUC_UNUSED)
{
    _exit(0);
}

static void give_up_with_veto(int signum G_GNUC_UNUSED)
{
    static const char text[] = "vmig-snap: the guest has the marker of a migration, and the journal did not answer in "
                               "time: try again, or run `vmig-snap doctor`.\n";

    (void)!write(STDERR_FILENO, text, sizeof text - 1);
    _exit(1);
}

static void on_timeout(void (*what)(int))
{
    struct sigaction action = {.sa_handler = what};

    sigaction(SIGALRM, &action, NULL);
}

/* NULL if the definition is incomplete or too large. */
static char *read_definition(int fd)
{
    g_autoptr(GString) text = g_string_sized_new(64 * 1024);
    gint64 until = g_get_monotonic_time() + READ_LIMIT;
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    g_autofree char *part = g_malloc(64 * 1024);

    while (text->len <= VMIG_XML_MAX_SIZE) {
        gint64 left = until - g_get_monotonic_time();
        if (left <= 0 || poll(&wait, 1, (int)(left / 1000) + 1) == 0)
            return NULL;
        gssize n = read(fd, part, 64 * 1024);
        if (n == 0)
            return text->len > 0 && memchr(text->str, '\0', text->len) == NULL
                       ? g_string_free(g_steal_pointer(&text), FALSE)
                       : NULL;
        if (n < 0 && errno != EINTR)
            return NULL;
        if (n > 0)
            g_string_append_len(text, part, n);
    }
    return NULL;
}

static int veto(const char *words)
{
    /* libvirt shows this text unchanged to its caller. */
    fprintf(stderr, "vmig-snap: %s\n", words);
    return 1;
}

static int judge(const VmigHookPaths *paths, VmigHookOp op, const char *name)
{
    g_autofree char *xml = read_definition(STDIN_FILENO);
    g_autoptr(GError) error = NULL;

    if (vmig_hook_op_may_veto(op) && xml != NULL && strstr(xml, VMIG_METADATA_URI) != NULL)
        on_timeout(give_up_with_veto);
    g_autoptr(VmigHookSight) sight = vmig_hook_look(paths, op, name, xml);
    if (vmig_hook_wakes(&sight->facts))
        vmig_hook_wake(paths, VMIG_SYSTEMD_DIR, sight->job->id);
    VmigHookVerdict verdict = vmig_hook_decide(&sight->facts);
    if (verdict != VMIG_HOOK_ALLOW) {
        g_autofree char *words = vmig_hook_words(sight, verdict, name);
        return veto(words);
    }
    if (op == VMIG_HOOK_MIGRATE && sight->facts.known == VMIG_HOOK_OPEN &&
        !vmig_hook_mark_incoming(paths, sight->job->uuid, sight->job->id, &error))
        return veto(error->message);
    return 0;
}

static int serve(char **argv)
{
    VmigHookOp op = vmig_hook_op(argv[1], argv[2], argv[3]);
    g_autoptr(GError) error = NULL;
    g_autoptr(VmigHookPaths) paths = vmig_hook_paths_load(VMIG_HOOK_CONFIG, &error);

    if (paths == NULL) {
        /* The path of the journal is unknown: refuse only a guest whose definition says that it is being migrated. */
        g_autofree char *xml = vmig_hook_op_may_veto(op) ? read_definition(STDIN_FILENO) : NULL;
        return xml != NULL && strstr(xml, VMIG_METADATA_URI) != NULL ? veto(error->message) : 0;
    }
    vmig_hook_note_seen(paths, argv[2]);
    if (op == VMIG_HOOK_DAEMON_START)
        vmig_hook_wake_all(paths, VMIG_SYSTEMD_DIR);
    if (op == VMIG_HOOK_OTHER || op == VMIG_HOOK_DAEMON_START || op == VMIG_HOOK_DAEMON_RELOAD)
        return 0;
    return judge(paths, op, argv[1]);
}

/* Runs the vmig-snap that is installed beside this program. */
static int watch(const char *job)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(VmigHookPaths) paths = vmig_hook_paths_load(VMIG_HOOK_CONFIG, &error);
    g_autofree char *self = g_file_read_link("/proc/self/exe", NULL);
    g_autofree char *folder = self != NULL ? g_path_get_dirname(self) : g_strdup("/usr/bin");
    g_autofree char *program = g_build_filename(folder, "vmig-snap", NULL);

    if (paths == NULL)
        return veto(error->message);
    return vmig_hook_watch(paths, program, job);
}

/* Returns as soon as another process waits for the end of the one that asks for this. */
static int leave_watch(const char *job)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(VmigHookPaths) paths = vmig_hook_paths_load(VMIG_HOOK_CONFIG, &error);

    if (paths == NULL)
        return veto(error->message);
    if (!vmig_job_id_is_valid(job))
        return veto("that is not the id of a job");
    vmig_hook_wake(paths, VMIG_SYSTEMD_DIR, job);
    return 0;
}

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN);
    if (argc == 3 && strcmp(argv[1], "--watch") == 0)
        return leave_watch(argv[2]);
    if (argc == 3 && strcmp(argv[1], "--resume") == 0)
        return watch(argv[2]);
    if (argc < 4) {
        fputs("vmig-snap-hook is called by libvirt (NAME OPERATION SUB-OPERATION EXTRA, the definition on stdin),\nby "
              "systemd (--resume JOB) and by vmig-snap (--watch JOB). Users do not call it.\n",
              stderr);
        return 2;
    }
    on_timeout(give_up);
    alarm(WHOLE_LIMIT);
    return serve(argv);
}
