/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which destination URIs are accepted, how they are parsed, and that nothing in them can become an ssh option or
 * command. Also the strict parsing of the configuration file, and ssh's argument vector. */
#include <string.h>

#include <glib.h>
#include <glib/gstdio.h>

#include "os/cipher.h"
#include "os/config.h"
#include "link/destination.h"
#include "link/ssh-link.h"

typedef struct {
    const char *uri, *scheme, *user, *host, *keyfile;
    guint port;
    const char *socket, *mode;
} Good;

static const Good good[] = {
    {"qemu+ssh://b/system", "ssh", NULL, "b", NULL, 0, NULL, NULL},
    {"qemu+ssh://root@vmig-b.example.org:2222/system", "ssh", "root", "vmig-b.example.org", NULL, 2222, NULL, NULL},
    {"qemu+ssh://[2001:db8::1]/system", "ssh", NULL, "2001:db8::1", NULL, 0, NULL, NULL},
    {"qemu+ssh://[::1]:22/system", "ssh", NULL, "::1", NULL, 22, NULL, NULL},
    {"qemu+ssh://192.0.2.2/system?keyfile=/root/.ssh/id_vmig", "ssh", NULL, "192.0.2.2", "/root/.ssh/id_vmig", 0, NULL,
     NULL},
    {"qemu+ssh://b/system?keyfile=%2Froot%2Fkey", "ssh", NULL, "b", "/root/key", 0, NULL, NULL},
    {"qemu+ssh://b/system?socket=/run/libvirt/virtqemud-sock&no_tty=1", "ssh", NULL, "b", NULL, 0,
     "/run/libvirt/virtqemud-sock", NULL},
    {"qemu+ssh://b/system?proxy=native&mode=direct&keyfile=/k", "ssh", NULL, "b", "/k", 0, NULL, "direct"},
    {"qemu+tls://b.example.org/system", "tls", NULL, "b.example.org", NULL, 0, NULL, NULL},
    {"qemu+tcp://u@b:16510/system", "tcp", "u", "b", NULL, 16510, NULL, NULL},
};

static const char *const bad[] = {
    "",
    "b",
    "/system",
    "qemu:///system",
    "qemu://b/system",
    "qemu+ssh://b/session",
    "qemu+ssh://b/",
    "qemu+ssh://b",
    "qemu+ssh://b/system/",
    "qemu+ssh://b//system",
    "qemu+ssh://b/system#x",
    "qemu+ssh:///system",
    "qemu+ssh://@/system",
    "qemu+ssh://-oProxyCommand=sh/system",
    "qemu+ssh://%2doProxyCommand=sh/system",
    "qemu+ssh://-b/system",
    "qemu+ssh://root@-oProxyCommand=sh/system",
    "qemu+ssh://-l@b/system",
    "qemu+ssh://$(reboot)@b/system",
    "qemu+ssh://`id`/system",
    "qemu+ssh://b;id/system",
    "qemu+ssh://a%0ab/system",
    "qemu+ssh://a%00b/system",
    "qemu+ssh://a b/system",
    "qemu+ssh://a\nb/system",
    "qemu+ssh://a\033[2Jb/system",
    "qemu+ssh://b\xc3\xbc/system",
    "qemu+ssh://root:secret@b/system",
    "qemu+ssh://b:0/system",
    "qemu+ssh://b:65536/system",
    "qemu+ssh://b:-1/system",
    "qemu+ssh://b:x/system",
    "qemu+ssh://[::1/system",
    "qemu+ssh://[::1;id]/system",
    "qemu+ext://b/system",
    "qemu+libssh://b/system",
    "qemu+libssh2://b/system",
    "qemu+unix:///system",
    "qemu+ssh+x://b/system",
    "test:///default",
    "test+ssh://b/default",
    "esx://b/system",
    "xen+ssh://b/system",
    "qemu+ssh://b/system?",
    "qemu+ssh://b/system?command=/tmp/x",
    "qemu+ssh://b/system?netcat=/tmp/x",
    "qemu+ssh://b/system?no_verify=1",
    "qemu+ssh://b/system?known_hosts=/dev/null",
    "qemu+ssh://b/system?socket=s",
    "qemu+ssh://b/system?socket=/a&socket=/b",
    "qemu+ssh://b/system?socket=/a&mode=direct",
    "qemu+ssh://b/system?mode=",
    "qemu+ssh://b/system?mode=other",
    "qemu+ssh://b/system?mode",
    "qemu+ssh://b/system?proxy=/tmp/x",
    "qemu+ssh://b/system?no_tty=0",
    "qemu+ssh://b/system?mode=direct&",
    "qemu+tls://b/system?mode=direct",
    "qemu+tcp://b/system?socket=/run/libvirt/libvirt-sock",
    "qemu+ssh://b/system?keyfile=",
    "qemu+ssh://b/system?keyfile=key",
    "qemu+ssh://b/system?keyfile=-oProxyCommand=x",
    "qemu+ssh://b/system?keyfile=/a&command=/tmp/x",
    "qemu+ssh://b/system?keyfile=/a&keyfile=/b",
    "qemu+ssh://b/system?keyfile=/%25d/key",
    "qemu+ssh://b/system?keyfile=/a%0ab",
    "qemu+ssh://b/system?keyfile=/%zz",
    "qemu+ssh://b/system?KEYFILE=/a",
    "qemu+tls://b/system?keyfile=/a",
    "qemu+tls://b/system?no_verify=1",
    "qemu+tls://b/system?pkipath=/tmp",
};

static void test_good(void)
{
    for (guint i = 0; i < G_N_ELEMENTS(good); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(VmigDestination) to = vmig_destination_parse(good[i].uri, &error);
        g_assert_no_error(error);
        g_assert_cmpstr(to->scheme, ==, good[i].scheme);
        g_assert_cmpstr(to->user, ==, good[i].user);
        g_assert_cmpstr(to->host, ==, good[i].host);
        g_assert_cmpstr(to->keyfile, ==, good[i].keyfile);
        g_assert_cmpuint(to->port, ==, good[i].port);
        g_assert_cmpstr(to->socket, ==, good[i].socket);
        g_assert_cmpstr(to->mode, ==, good[i].mode);
    }
}

static void test_bad(void)
{
    for (guint i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(VmigDestination) to = vmig_destination_parse(bad[i], &error);
        if (to != NULL)
            g_error("taken: %s", bad[i]);
        g_assert_error(error, VMIG_ERROR, VMIG_ERROR_BAD_URI);
        g_assert_nonnull(vmig_error_hint(error));
        for (const char *c = error->message; *c != '\0'; c++)
            g_assert_true(g_ascii_isprint(*c) || (guchar)*c >= 0x80);
        g_assert_null(strstr(error->message, "secret"));
    }
}

static void test_long(void)
{
    g_autofree char *name = g_strnfill(5000, 'a');
    g_autofree char *uri = g_strdup_printf("qemu+ssh://%s/system", name);
    g_autoptr(GError) error = NULL;

    g_assert_null(vmig_destination_parse(uri, &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_BAD_URI);
    g_assert_cmpuint(strlen(error->message), <, 4096);
}

static char **argv_for(const char *uri, const char *run_dir, const char *const *sockets, gboolean libvirt,
                       GError **error)
{
    g_autoptr(VmigDestination) to = vmig_destination_parse(uri, NULL);
    VmigSshLinkOptions options = {.destination = to, .run_dir = run_dir, .sockets = sockets, .libvirt = libvirt};

    return vmig_ssh_link_argv(&options, error);
}

/* After "--" come the host and one word for the remote shell; -L has both ends; -p is ssh's port, not libvirt's. */
static void test_argv(void)
{
    const char *const sockets[] = {"ram.sock", NULL};
    g_auto(GStrv) argv =
        argv_for("qemu+ssh://u@b:2222/system?keyfile=/k", "/run/vmig-snap/0123456789abcdef", sockets, TRUE, NULL);
    g_autofree char *line = g_strjoinv(" ", argv);
    guint n = g_strv_length(argv);

    g_assert_cmpstr(argv[0], ==, "ssh");
    g_assert_cmpstr(argv[n - 3], ==, "--");
    g_assert_cmpstr(argv[n - 2], ==, "b");
    g_assert_cmpstr(argv[n - 1], ==, "vmig-snap agent");
    g_assert_nonnull(strstr(line, " -p2222 "));
    g_assert_nonnull(strstr(line, " -i /k "));
    g_assert_nonnull(strstr(line, " -l u "));
    g_assert_nonnull(strstr(line, " -L /run/vmig-snap/0123456789abcdef/ram.sock:"
                                  "/run/vmig-snap/0123456789abcdef/ram.sock "));
    g_assert_nonnull(strstr(line, "/libvirt.sock:/run/vmig-snap/0123456789abcdef/libvirt-relay.sock "));
    g_auto(GStrv) tcp = argv_for("qemu+tcp://b:16509/system", "/run/x", NULL, FALSE, NULL);
    g_autofree char *tcp_line = g_strjoinv(" ", tcp);
    g_assert_null(strstr(tcp_line, "16509"));
    g_assert_null(strstr(tcp_line, "-L"));
}

/* An additional connection: the same sockets there, other names here. */
static void test_argv_further(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(VmigDestination) to = vmig_destination_parse("qemu+tls://b/system", &error);
    const char *const sockets[] = {"copy-0.sock", NULL};
    VmigSshLinkOptions options = {
        .destination = to, .run_dir = "/run/x", .sockets = sockets, .suffix = ".1", .ciphers = "^c"};
    g_auto(GStrv) argv = vmig_ssh_link_argv(&options, &error);

    g_assert_no_error(error);
    g_assert_true(g_strv_contains((const char *const *)argv, "/run/x/copy-0.sock.1:/run/x/copy-0.sock"));
    g_assert_true(g_strv_contains((const char *const *)argv, "-oCiphers=^c"));
}

static void test_ciphers(void)
{
    static const struct {
        const char *text;
        gboolean aes;
    } cases[] = {
        {"processor\t: 0\nflags\t\t: fpu aes avx\n", TRUE},
        {"flags\t\t: fpu vaes avx\nflags\t\t: aes\n", FALSE}, /* only the first CPU counts */
        {"Features\t: fp asimd aes pmull\n", TRUE},
        {"Features\t: fp asimd\n", FALSE},
        {"", FALSE},
        {"aes\n", FALSE},
    };

    for (guint i = 0; i < G_N_ELEMENTS(cases); i++)
        g_assert_cmpint(vmig_cipher_text_has_aes(cases[i].text), ==, cases[i].aes);
    g_assert_nonnull(strstr(vmig_cipher_preferred(TRUE), "aes128-gcm"));
    g_assert_nonnull(strstr(vmig_cipher_preferred(FALSE), "chacha20"));
    /* "^": nothing that the administrator permits is removed. */
    g_assert_true(*vmig_cipher_preferred(TRUE) == '^' && *vmig_cipher_preferred(FALSE) == '^');
}

static void test_argv_paths(void)
{
    static const char *const dirs[] = {"run", "/run/a:b", "/run/%h", "/run/${X}", "/run/a b", "/run/\n"};
    const char *const sockets[] = {"ram.sock", NULL};
    g_autofree char *name = g_strnfill(120, 'a');
    g_autofree char *deep = g_strconcat("/", name, NULL);

    for (guint i = 0; i <= G_N_ELEMENTS(dirs); i++) {
        g_autoptr(GError) error = NULL;
        g_assert_null(argv_for("qemu+ssh://b/system", i < G_N_ELEMENTS(dirs) ? dirs[i] : deep, sockets, FALSE, &error));
        g_assert_error(error, VMIG_ERROR, VMIG_ERROR_BAD_PATH);
    }
}

static char *config_path;

static VmigConfig *load_config(const char *text, GError **error)
{
    g_assert_true(g_file_set_contents(config_path, text, -1, NULL));
    g_chmod(config_path, 0644);
    return vmig_config_load(config_path, error);
}

static void test_config_good(void)
{
    g_autoptr(VmigConfig) config =
        load_config("# x\n[vmig-snap]\nimage-roots = /a;/b/c\nrun-dir=/run/other\nssh-command=/usr/bin/ssh\n", NULL);

    g_assert_nonnull(config);
    g_assert_cmpstr(config->image_roots[0], ==, "/a");
    g_assert_cmpstr(config->image_roots[1], ==, "/b/c");
    g_assert_null(config->image_roots[2]);
    g_assert_cmpstr(config->run_dir, ==, "/run/other");
    g_assert_cmpstr(config->state_dir, ==, "/var/lib/vmig-snap");
    g_assert_cmpstr(config->ssh_command, ==, "/usr/bin/ssh");
    g_assert_cmpstr(config->agent_command, ==, "vmig-snap agent");
    g_autoptr(VmigConfig) ports = load_config("[vmig-snap]\nnbd-ports = 5000-5003\ntls-dir = /etc/x\n", NULL);
    g_assert_true(ports->first_port == 5000 && ports->last_port == 5003);
    g_assert_cmpstr(ports->tls_dir, ==, "/etc/x");
    g_autoptr(VmigConfig) port = load_config("[vmig-snap]\nnbd-ports = 5000\n", NULL);
    g_assert_true(port->first_port == 5000 && port->last_port == 5000);
    g_autoptr(VmigConfig) none = vmig_config_load("/nonexistent/vmig-snap.conf", NULL);
    g_assert_cmpstr(none->image_roots[0], ==, "/var/lib/libvirt/images");
    g_autoptr(VmigConfig) empty = load_config("", NULL);
    g_assert_nonnull(empty);
    g_assert_cmpuint(empty->stall_limit, ==, 30);
    g_autoptr(VmigConfig) quick = load_config("[vmig-snap]\nstall-limit = 2\n", NULL);
    g_assert_nonnull(quick);
    g_assert_cmpuint(quick->stall_limit, ==, 2);
}

static void test_config_bad(void)
{
    static const char *const texts[] = {
        "[vmig-snap]\nimage-root = /a\n",
        "[other]\nx = y\n",
        "[vmig-snap]\nrun-dir = /a\nrun-dir = /b\n",
        "[vmig-snap]\nrun-dir = /a\n[vmig-snap]\nstate-dir = /b\n",
        "[vmig-snap]\nrun-dir = run\n",
        "[vmig-snap]\nimage-roots = /a;b\n",
        "[vmig-snap]\nimage-roots = /a;/b/../c\n",
        "[vmig-snap]\nimage-roots =\n",
        "[vmig-snap]\nssh-command = -oProxyCommand=x\n",
        "[vmig-snap]\nssh-command =\n",
        "[vmig-snap]\ntls-dir = pki\n",
        "[vmig-snap]\nnbd-ports =\n",
        "[vmig-snap]\nnbd-ports = 80\n",
        "[vmig-snap]\nnbd-ports = 2000-1999\n",
        "[vmig-snap]\nnbd-ports = 2000-\n",
        "[vmig-snap]\nnbd-ports = 2000-3000-4000\n",
        "[vmig-snap]\nnbd-ports = 60000-70000\n",
        "[vmig-snap]\nstall-limit = 1\n",
        "[vmig-snap]\nstall-limit = 3601\n",
        "[vmig-snap]\nstall-limit = -4294967286\n",
        "[vmig-snap]\nstall-limit = 30s\n",
        "[vmig-snap]\nstall-limit =\n",
        "run-dir = /a\n",
        "[vmig-snap\n",
        "\xff\xfe",
    };

    for (guint i = 0; i < G_N_ELEMENTS(texts); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(VmigConfig) config = load_config(texts[i], &error);
        if (config != NULL)
            g_error("taken: %s", texts[i]);
        g_assert_true(error->domain == VMIG_ERROR);
        g_assert_true(error->code == VMIG_ERROR_USAGE || error->code == VMIG_ERROR_BAD_PATH);
    }
}

static void test_config_mode(void)
{
    g_autoptr(GError) error = NULL;

    g_autoptr(VmigConfig) config = load_config("[vmig-snap]\n", NULL);
    g_assert_nonnull(config);
    g_chmod(config_path, 0666);
    g_assert_null(vmig_config_load(config_path, &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_USAGE);
    g_clear_error(&error);
    g_autofree char *large = g_strnfill(70000, '#');
    g_assert_null(load_config(large, &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_USAGE);
    g_clear_error(&error);
    g_assert_null(vmig_config_load("/dev/zero", &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_USAGE);
}

int main(int argc, char **argv)
{
    g_autofree char *dir = g_dir_make_tmp("vmig-dest-XXXXXX", NULL);

    g_test_init(&argc, &argv, NULL);
    config_path = g_build_filename(dir, "vmig-snap.conf", NULL);
    g_test_add_func("/destination/good", test_good);
    g_test_add_func("/destination/bad", test_bad);
    g_test_add_func("/destination/long", test_long);
    g_test_add_func("/ssh-link/argv", test_argv);
    g_test_add_func("/ssh-link/argv-further", test_argv_further);
    g_test_add_func("/ssh-link/ciphers", test_ciphers);
    g_test_add_func("/ssh-link/argv-paths", test_argv_paths);
    g_test_add_func("/config/good", test_config_good);
    g_test_add_func("/config/bad", test_config_bad);
    g_test_add_func("/config/mode", test_config_mode);
    int result = g_test_run();
    g_unlink(config_path);
    g_rmdir(dir);
    g_free(config_path);
    return result;
}
