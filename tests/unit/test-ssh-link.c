/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The result of every way in which ssh can end, with scripts in place of ssh, and that none of them is left running. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <glib.h>
#include <glib/gstdio.h>

#include "node/agent-client.h"
#include "link/ssh-link.h"

#define HELLO "echo '{\"hello\":{\"protocol\":" G_STRINGIFY(VMIG_PROTOCOL) ",\"version\":\"1\"}}'\n"
#define PID "echo $$ > \"$(dirname \"$0\")/pid\"\n"

static char *dir;

static char *in_dir(const char *name)
{
    return g_build_filename(dir, name, NULL);
}

static GCancellable *attempt; /* cancels the next connection; NULL: none */

static VmigSshLink *open_link(const char *script, GError **error)
{
    g_autofree char *ssh = in_dir("ssh");
    g_autofree char *text = g_strconcat("#!/bin/sh\n" PID, script, NULL);
    g_autoptr(VmigDestination) to = vmig_destination_parse("qemu+ssh://b/system", NULL);
    VmigSshLinkOptions options = {.destination = to,
                                  .run_dir = dir,
                                  .host = "vmig-b",
                                  .ssh_command = ssh,
                                  .qemu_conf = "/nonexistent",
                                  .cancellable = attempt};

    g_assert_true(g_file_set_contents(ssh, text, -1, NULL));
    g_assert_cmpint(g_chmod(ssh, 0755), ==, 0);
    return vmig_ssh_link_open(&options, error);
}

static pid_t ssh_pid(void)
{
    g_autofree char *path = in_dir("pid");
    g_autofree char *text = NULL;

    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    return atoi(text);
}

static gboolean is_gone(pid_t pid)
{
    for (guint i = 0; i < 300; i++) {
        if (kill(pid, 0) < 0 && errno == ESRCH)
            return TRUE;
        g_usleep(10000);
    }
    return FALSE;
}

static void check_failure(const char *script, int code, const char *words)
{
    g_autoptr(GError) error = NULL;

    g_assert_null(open_link(script, &error));
    g_assert_error(error, VMIG_ERROR, code);
    g_assert_true(g_str_has_prefix(error->message, "vmig-b: "));
    if (strstr(error->message, words) == NULL)
        g_error("'%s' is not in '%s'", words, error->message);
    g_assert_null(strchr(error->message, '\033'));
    g_assert_cmpuint(strlen(error->message), <, 5000);
    g_assert_true(is_gone(ssh_pid()));
}

static void test_failures(void)
{
    check_failure("echo 'root@b: Permission denied (publickey).' >&2; exit 255", VMIG_ERROR_UNREACHABLE,
                  "ssh: root@b: Permission denied (publickey).");
    check_failure("printf 'one\\r\\ntwo\\033[2J\\n' >&2; exit 255", VMIG_ERROR_UNREACHABLE, "one; two\\x1b[2J");
    check_failure("exit 255", VMIG_ERROR_UNREACHABLE, "ssh: ");
    check_failure("echo 'bash: line 1: vmig-snap: command not found' >&2; exit 127", VMIG_ERROR_NO_AGENT,
                  "command not found");
    check_failure("echo '{\"error\":{\"code\":\"journal\",\"message\":\"it is damaged\",\"hint\":\"Look.\"}}'; exit 1",
                  VMIG_ERROR_JOURNAL, "vmig-b: it is damaged");
    check_failure("echo '{\"error\":{\"code\":\"timeout\",\"message\":\"it is busy\"}}'; exit 1", VMIG_ERROR_TIMEOUT,
                  "it is busy");
    check_failure("echo '{\"error\":{\"code\":\"journal\"}}'; exit 1", VMIG_ERROR_PROTOCOL, "instead of");
    check_failure("exit 0", VMIG_ERROR_NO_AGENT, "no vmig-snap agent was found (status 0)");
    check_failure("kill -9 $$", VMIG_ERROR_UNREACHABLE, "ssh: ");
    check_failure("echo Welcome; exit 0", VMIG_ERROR_PROTOCOL, "Welcome");
    check_failure("echo 'sudo: a password is required' >&2; exit 1", VMIG_ERROR_NOT_AUTHORIZED, "password is required");
    check_failure("echo '{\"hello\":{\"protocol\":999,\"version\":\"9\"}}'; exec sleep 100", VMIG_ERROR_PROTOCOL,
                  "version 999");
    /* Only the end of a long output is kept, and ssh is never blocked by an unread pipe. */
    check_failure("i=0; while [ $i -lt 3000 ]; do echo 0123456789012345678901234567890123456789 >&2; i=$((i+1)); done;"
                  "echo the end >&2; exit 255",
                  VMIG_ERROR_UNREACHABLE, "the end");
}

/* The error of an agent that cannot serve is passed on unchanged, with the host's name. */
static void test_refusing_agent(void)
{
    g_autoptr(GError) error = NULL;

    g_assert_null(open_link("echo '{\"error\":{\"code\":\"journal-newer\",\"message\":\"version 2\",\"hint\":"
                            "\"Install it.\"}}'; echo 'vmig-snap: version 2' >&2; exit 1",
                            &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_JOURNAL_NEWER);
    g_assert_cmpstr(error->message, ==, "vmig-b: version 2");
    g_assert_cmpstr(vmig_error_hint(error), ==, "On vmig-b: Install it.");
    g_assert_true(is_gone(ssh_pid()));
}

static void test_no_ssh(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(VmigDestination) to = vmig_destination_parse("qemu+ssh://b/system", NULL);
    VmigSshLinkOptions options = {.destination = to, .run_dir = dir, .ssh_command = "/nonexistent/ssh"};

    g_assert_null(vmig_ssh_link_open(&options, &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_UNREACHABLE);
}

static gpointer cancel_soon(gpointer data)
{
    g_usleep(G_USEC_PER_SEC / 5);
    g_cancellable_cancel(data);
    return NULL;
}

/* A host that does not answer: only the cancellation ends the wait, and nothing is left of ssh. */
static void test_cancelled(void)
{
    g_autoptr(GCancellable) cancellable = attempt = g_cancellable_new();
    GThread *thread = g_thread_new("cancel", cancel_soon, cancellable);
    gint64 began = g_get_monotonic_time();
    g_autoptr(GError) error = NULL, again = NULL;

    g_assert_null(open_link("exec sleep 100", &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_CANCELLED);
    g_assert_cmpint(g_get_monotonic_time() - began, <, 50 * G_USEC_PER_SEC);
    g_assert_true(is_gone(ssh_pid()));
    g_thread_join(thread);
    g_assert_null(open_link("exec sleep 100", &again));
    g_assert_error(again, VMIG_ERROR, VMIG_ERROR_CANCELLED);
    attempt = NULL;
}

static void test_open(void)
{
    g_autoptr(GError) error = NULL;
    guint64 bytes = 0;
    VmigSshLink *link =
        open_link(HELLO "read line; echo '{\"id\":1,\"result\":{\"bytes\":3}}'; cat >/dev/null", &error);

    g_assert_no_error(error);
    pid_t pid = ssh_pid();
    VmigNode *node = vmig_ssh_link_node(link);
    g_assert_null(vmig_ssh_link_node(link));
    g_assert_true(vmig_ssh_link_alive(link));
    g_assert_cmpint(getsid(pid), ==, pid); /* a terminal's ^C does not reach it */
    g_assert_true(vmig_node_allocated(node, "/x", &bytes, &error));
    g_assert_cmpuint(bytes, ==, 3);
    vmig_node_free(node);
    vmig_ssh_link_close(link);
    g_assert_true(is_gone(pid));
}

static void test_loss(void)
{
    g_autoptr(GError) error = NULL;
    guint64 bytes = 0;
    VmigSshLink *link = open_link(HELLO "read line; echo 'client_loop: send disconnect' >&2; exit 255", &error);

    g_assert_no_error(error);
    VmigNode *node = vmig_ssh_link_node(link);
    g_assert_false(vmig_node_allocated(node, "/x", &bytes, &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_CONNECTION);
    for (guint i = 0; i < 300 && vmig_ssh_link_alive(link); i++)
        g_usleep(10000);
    g_assert_false(vmig_ssh_link_alive(link));
    g_autofree char *words = vmig_ssh_link_words(link);
    g_assert_cmpstr(words, ==, "client_loop: send disconnect");
    vmig_node_free(node);
    vmig_ssh_link_close(link);
}

/* How long it takes here to end an ssh that ignores everything: each step waits for some time. */
static gint64 stubborn_took;

/* The link ends even if ssh ignores the end of its input and SIGTERM. */
static void test_stubborn(void)
{
    g_autoptr(GError) error = NULL;
    VmigSshLink *link = open_link("trap '' TERM INT HUP\n" HELLO "while :; do sleep 0.1; done", &error);

    g_assert_no_error(error);
    pid_t pid = ssh_pid();
    gint64 before = g_get_monotonic_time();
    vmig_ssh_link_close(link);
    stubborn_took = g_get_monotonic_time() - before;
    g_assert_cmpint(stubborn_took, <, 60 * G_USEC_PER_SEC);
    g_assert_true(is_gone(pid));
}

static VmigSshLink *open_forwards(const char *script, GError **error)
{
    static const char *const sockets[] = {"one.sock", "two.sock", NULL};
    g_autofree char *ssh = in_dir("ssh");
    g_autofree char *text =
        g_strconcat("#!/bin/sh\n" PID "case \"$*\" in *agent*) exit 3;; *' -N -- b') ;; *) exit 4;; esac\n",
                    "cd \"$(dirname \"$0\")\"\n", script, NULL);
    g_autoptr(VmigDestination) to = vmig_destination_parse("qemu+ssh://b/system", NULL);
    VmigSshLinkOptions options = {.destination = to,
                                  .run_dir = dir,
                                  .sockets = sockets,
                                  .suffix = ".0",
                                  .host = "vmig-b",
                                  .ssh_command = ssh,
                                  .only_forwards = TRUE};

    g_assert_true(g_file_set_contents(ssh, text, -1, NULL));
    g_assert_cmpint(g_chmod(ssh, 0755), ==, 0);
    return vmig_ssh_link_open(&options, error);
}

/* A connection for sockets only: it is ready when the last socket exists, ignoring one left by an earlier connection.
 * It ends on a signal, because ssh does not read its input. */
static void test_forwards(void)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *last = in_dir("two.sock.0");
    g_autofree char *first = in_dir("one.sock.0");
    g_autofree char *ready = in_dir("ready");
    gint64 before;

    g_assert_true(g_file_set_contents(last, "stale", -1, NULL));
    g_assert_null(open_forwards("echo 'bind: no' >&2; exit 255", &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_UNREACHABLE);
    g_assert_nonnull(strstr(error->message, "bind: no"));
    g_clear_error(&error);
    g_assert_true(g_file_set_contents(last, "stale", -1, NULL));
    VmigSshLink *link = open_forwards(": > one.sock.0; sleep 0.3; : > ready; : > two.sock.0; exec sleep 100", &error);
    g_assert_no_error(error);
    g_assert_true(g_file_test(ready, G_FILE_TEST_EXISTS));
    g_assert_null(vmig_ssh_link_node(link));
    g_assert_true(vmig_ssh_link_alive(link));
    pid_t pid = ssh_pid();
    before = g_get_monotonic_time();
    vmig_ssh_link_close(link);
    g_assert_cmpint(g_get_monotonic_time() - before, <, MAX(1900 * G_TIME_SPAN_MILLISECOND, stubborn_took));
    g_assert_true(is_gone(pid));
    g_unlink(first);
    g_unlink(last);
    g_unlink(ready);
}

/* A killed process cannot close anything. */
static void test_dies_with_us(void)
{
    pid_t child = fork();

    if (child == 0) {
        g_autoptr(GError) error = NULL;
        VmigSshLink *link = open_link(HELLO "while :; do sleep 0.1; done", &error);
        raise(link != NULL ? SIGKILL : SIGABRT);
        _exit(1);
    }
    int status = 0;
    waitpid(child, &status, 0);
    g_assert_true(WIFSIGNALED(status));
    g_assert_cmpint(WTERMSIG(status), ==, SIGKILL);
    g_assert_true(is_gone(ssh_pid()));
}

int main(int argc, char **argv)
{
    dir = g_dir_make_tmp("vmig-ssh-XXXXXX", NULL);
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/ssh-link/dies-with-us", test_dies_with_us);
    g_test_add_func("/ssh-link/failures", test_failures);
    g_test_add_func("/ssh-link/refusing-agent", test_refusing_agent);
    g_test_add_func("/ssh-link/no-ssh", test_no_ssh);
    g_test_add_func("/ssh-link/cancelled", test_cancelled);
    g_test_add_func("/ssh-link/open", test_open);
    g_test_add_func("/ssh-link/loss", test_loss);
    g_test_add_func("/ssh-link/stubborn", test_stubborn);
    g_test_add_func("/ssh-link/forwards", test_forwards);
    int result = g_test_run();
    for (guint i = 0; i < 2; i++) {
        g_autofree char *path = in_dir(i == 0 ? "ssh" : "pid");
        g_unlink(path);
    }
    g_rmdir(dir);
    g_free(dir);
    return result;
}
