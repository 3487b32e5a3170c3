/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The QEMU that a guest has left: ended unless libvirt does it, and never another process. The status files are
 * excerpts from libvirt 9.0's; a sleeping program acts as QEMU, with the guest's UUID among its arguments. */
#include <glib/gstdio.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "node/source-qemu.h"

#define UUID "0f7d3c5e-8a1b-4c2d-9e3f-112233445566"
#define OTHER "0f7d3c5e-8a1b-4c2d-9e3f-665544332211"

typedef struct {
    char *folder;
    GPid pid;
} Fixture;

static void set_up(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    char *argv[] = {(char *)"sh", (char *)"-c", (char *)"read line", (char *)"-uuid", (char *)UUID, NULL};
    g_autoptr(GError) error = NULL;
    int in;

    f->folder = g_dir_make_tmp("vmig-left-XXXXXX", &error);
    g_assert_no_error(error);
    g_spawn_async_with_pipes(NULL, argv, NULL, G_SPAWN_SEARCH_PATH | G_SPAWN_DO_NOT_REAP_CHILD, NULL, NULL, &f->pid,
                             &in, NULL, NULL, &error);
    g_assert_no_error(error);
}

static gboolean lives(Fixture *f)
{
    siginfo_t info = {0};

    g_assert_cmpint(waitid(P_PID, (id_t)f->pid, &info, WEXITED | WNOHANG | WNOWAIT), ==, 0);
    return info.si_pid == 0;
}

static void tear_down(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autofree char *path = g_build_filename(f->folder, "guest.xml", NULL);

    kill(f->pid, SIGKILL);
    waitpid(f->pid, NULL, 0);
    g_unlink(path);
    g_assert_cmpint(g_rmdir(f->folder), ==, 0);
    g_free(f->folder);
}

static void write_status(Fixture *f, const char *state, const char *job, const char *uuid, gint64 pid)
{
    g_autofree char *path = g_build_filename(f->folder, "guest.xml", NULL);
    g_autofree char *text =
        g_strdup_printf("<!--\nWARNING: THIS IS AN AUTO-GENERATED FILE. CHANGES TO IT ARE LIKELY TO BE\n"
                        "OVERWRITTEN AND LOST. Changes to this xml configuration should be made using:\n"
                        "  virsh edit guest\nor other application using the libvirt API.\n-->\n\n"
                        "<domstatus state='%s' reason='migration' pid='%" G_GINT64_FORMAT "'>\n"
                        "  <taint flag='custom-argv'/>\n  <monitor path='/var/lib/libvirt/m.sock' type='unix'/>\n%s"
                        "  <domain type='qemu' id='1'>\n    <name>guest</name>\n    <uuid>%s</uuid>\n"
                        "  </domain>\n</domstatus>\n",
                        state, pid, job, uuid);
    g_autoptr(GError) error = NULL;

    g_file_set_contents(path, text, -1, &error);
    g_assert_no_error(error);
}

static const char *out_job(const char *phase)
{
    static char text[200];

    g_snprintf(text, sizeof text,
               "  <job type='none' async='migration out' phase='%s' flags='0x19b'>\n    <disk dev='vda'/>\n  </job>\n",
               phase);
    return text;
}

static void expect(Fixture *f, VmigLeft wanted)
{
    g_autoptr(GError) error = NULL;
    VmigLeft left;

    vmig_source_qemu_end(f->folder, "guest", UUID, &left, &error);
    g_assert_no_error(error);
    g_assert_cmpint(left, ==, wanted);
}

/* phase: of the migration, or NULL after it. */
static void test_killed(Fixture *f, gconstpointer phase)
{
    write_status(f, "paused", phase != NULL ? out_job(phase) : "", UUID, f->pid);
    expect(f, VMIG_LEFT_KILLED);
    int status;
    g_assert_cmpint(waitpid(f->pid, &status, 0), ==, f->pid);
    g_assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    expect(f, VMIG_LEFT_GONE); /* the file still exists, the process does not */
}

static void test_libvirt_ends_it(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    write_status(f, "paused", out_job("confirm3"), UUID, f->pid);
    expect(f, VMIG_LEFT_ENDING);
    g_assert_true(lives(f));
}

static void test_gone(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    expect(f, VMIG_LEFT_GONE);
    g_assert_true(lives(f));
    /* The PID belongs to another process by now: this program. */
    write_status(f, "paused", out_job("perform3_done"), UUID, getpid());
    expect(f, VMIG_LEFT_GONE);
}

static void test_refusals(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;
    VmigLeft left;

    write_status(f, "running", out_job("perform3"), UUID, f->pid);
    g_assert_false(vmig_source_qemu_end(f->folder, "guest", UUID, &left, &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_CONTRADICTION);
    g_clear_error(&error);
    write_status(f, "paused", out_job("perform3"), OTHER, f->pid);
    g_assert_false(vmig_source_qemu_end(f->folder, "guest", UUID, &left, &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_INTERFERENCE);
    g_clear_error(&error);
    static const gint64 odd[] = {0, 1, -1, G_MAXINT + G_GINT64_CONSTANT(1)};
    for (guint i = 0; i < G_N_ELEMENTS(odd); i++) {
        write_status(f, "paused", out_job("perform3"), UUID, odd[i]);
        g_assert_false(vmig_source_qemu_end(f->folder, "guest", UUID, &left, &error));
        g_assert_error(error, VMIG_ERROR, VMIG_ERROR_INTERFERENCE);
        g_clear_error(&error);
    }
    g_assert_false(vmig_source_qemu_end(f->folder, "../guest", UUID, &left, &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_BAD_PATH);
    g_clear_error(&error);
    g_autofree char *path = g_build_filename(f->folder, "guest.xml", NULL);
    g_assert_true(g_file_set_contents(path, "<domstatus", -1, NULL));
    g_assert_false(vmig_source_qemu_end(f->folder, "guest", UUID, &left, &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_XML);
    g_assert_true(lives(f));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add("/source-qemu/killed-before-the-reply", Fixture, "perform3_done", set_up, test_killed, tear_down);
    g_test_add("/source-qemu/killed-after-the-job", Fixture, NULL, set_up, test_killed, tear_down);
    g_test_add("/source-qemu/libvirt-ends-it", Fixture, NULL, set_up, test_libvirt_ends_it, tear_down);
    g_test_add("/source-qemu/gone", Fixture, NULL, set_up, test_gone, tear_down);
    g_test_add("/source-qemu/refusals", Fixture, NULL, set_up, test_refusals, tear_down);
    return g_test_run();
}
