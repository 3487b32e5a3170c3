/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a rehearsal's twin contains, that its images are valid, that only a rehearsal's own files are removed, and what
 * is parsed from libvirt's messages. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <glib.h>
#include <glib/gstdio.h>

#include "definition/rehearsal.h"
#include "core/setup-cause.h"
#include "plan/rehearsal.h"
#include "plan/snapshot-files.h"
#include "node/node-local.h"

#define ID "0123456789abcdef"
#define UUID "11111111-2222-4333-8444-555555555555"

static const char definition[] =
    "<domain type='kvm' id='7'><name>g &amp; co</name><uuid>" UUID "</uuid><genid>" UUID "</genid>"
    "<metadata><other:x xmlns:other='urn:x'/></metadata><memory>1</memory><os><type>hvm</type>"
    "<loader type='pflash'>/fw</loader><nvram>/var/n.fd</nvram></os>"
    "<sysinfo type='smbios'><system><entry name='uuid'>" UUID "</entry></system></sysinfo><devices>"
    "<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='/d/ov.qcow2' index='3'/>"
    "<backingStore type='file'><format type='raw'/><source file='/e/base.raw'/><backingStore/></backingStore>"
    "<target dev='vda'/></disk>"
    "<disk type='network' device='disk'><source protocol='rbd' name='p/i'/><target dev='vdb'/></disk>"
    "<disk type='file' device='cdrom'><source file='/there.iso'/><target dev='sda'/></disk>"
    "<disk type='file' device='cdrom'><source file='/gone.iso'/><target dev='sdb'/></disk>"
    "<interface type='bridge'><source bridge='br0'/><mac address='52:54:00:11:22:33'/>"
    "<virtualport type='openvswitch'><parameters interfaceid='" UUID "'/></virtualport></interface>"
    "<interface type='direct'><source dev='eth0'/><mac address='52:54:00:11:22:34'/></interface>"
    "<serial type='file'><source path='/log'/><log file='/log2'/></serial>"
    "<serial type='tcp'><source mode='bind' host='192.0.2.1' service='7000'/></serial>"
    "<serial type='tcp'><source mode='connect' host='192.0.2.2' service='7001'/><protocol type='raw'/></serial>"
    "<channel type='unix'><source mode='bind' path='/agent.sock'/><target type='virtio' name='a'/></channel>"
    "<hostdev mode='subsystem' type='pci'/><graphics type='vnc' port='5901' listen='192.0.2.3'/>"
    "<watchdog model='itco'/><vsock><cid auto='no' address='3'/></vsock></devices></domain>";

static VmigJob *make_job(void)
{
    VmigJob *job = vmig_job_new(&vmig_states_migrate);
    VmigDisk *disk = vmig_disk_new();

    job->id = g_strdup(ID);
    job->domain = g_strdup("g & co");
    job->uuid = g_strdup(UUID);
    job->host[VMIG_DEST] = g_strdup("there");
    disk->target = g_strdup("vda");
    vmig_job_add(job, disk);
    return job;
}

static char *make_twin(const VmigJob *job, GError **error)
{
    const char *const media[] = {"/there.iso", NULL};
    g_autoptr(GHashTable) twins = g_hash_table_new(g_str_hash, g_str_equal);

    g_hash_table_insert(twins, (gpointer) "/d/ov.qcow2", (gpointer) "/d/twin-0.qcow2");
    g_hash_table_insert(twins, (gpointer) "/e/base.raw", (gpointer) "/e/twin-1.img");
    return vmig_rehearsal_xml(definition, job, ID, media, twins, error);
}

/* Everything to be proven stays; everything that a second domain would take or change is removed. */
static void test_twin(void)
{
    static const char *const there[] = {
        "/d/twin-0.qcow2", "/e/twin-1.img", "/there.iso",          "bridge=\"br0\"", "52:54:00:11:22:33",
        "dev=\"eth0\"",    "192.0.2.1",     "192.0.2.3",           "5901",           "itco",
        "auto=\"yes\"",    "rehearsal-" ID, "g &amp; co-rehearsal"};
    static const char *const gone[] = {
        UUID,   "id=\"7\"",  "/d/ov.qcow2", "/e/base.raw", "index=",    "rbd",   "/gone.iso", "52:54:00:11:22:34",
        "/log", "192.0.2.2", "/agent.sock", "hostdev",     "/var/n.fd", "urn:x", "genid"};
    g_autoptr(VmigJob) job = make_job();
    g_autoptr(GError) error = NULL;
    g_autofree char *xml = make_twin(job, &error);

    g_assert_no_error(error);
    for (guint i = 0; i < G_N_ELEMENTS(there); i++)
        if (strstr(xml, there[i]) == NULL)
            g_error("'%s' is not in %s", there[i], xml);
    for (guint i = 0; i < G_N_ELEMENTS(gone); i++)
        if (strstr(xml, gone[i]) != NULL)
            g_error("'%s' is still in %s", gone[i], xml);
    g_autofree char *id = vmig_rehearsal_id(xml);
    g_assert_cmpstr(id, ==, ID);
    g_autofree char *none = vmig_rehearsal_id(definition);
    g_assert_null(none);
}

static void test_images_of(void)
{
    g_autoptr(VmigJob) job = make_job();
    g_autoptr(GError) error = NULL;
    g_autoptr(GPtrArray) images = vmig_rehearsal_images(definition, job, &error);

    g_assert_no_error(error);
    g_assert_cmpuint(images->len, ==, 2);
    const VmigRehearsalImage *top = images->pdata[0], *below = images->pdata[1];
    g_assert_cmpstr(top->path, ==, "/d/ov.qcow2");
    g_assert_cmpstr(top->format, ==, "qcow2");
    g_assert_cmpstr(below->path, ==, "/e/base.raw");
    g_assert_cmpstr(below->format, ==, "raw");
}

static void test_names(void)
{
    g_autofree char *path = vmig_rehearsal_image_path("/d/x.img", ID, 12, "qcow2");
    g_autofree char *uuid = vmig_rehearsal_uuid(ID);

    g_assert_cmpstr(path, ==, "/d/vmig-rehearsal-" ID "-12.qcow2");
    g_assert_true(vmig_rehearsal_is_image(path, ID));
    g_assert_false(vmig_rehearsal_is_image("/d/vmig-rehearsal-" ID "-x.qcow2", ID));
    g_assert_false(vmig_rehearsal_is_image("/d/vmig-rehearsal-" ID "-1.qcow2.bak", ID));
    g_assert_false(vmig_rehearsal_is_image("/d/vmig-rehearsal-" ID "-1.qcow2", "fedcba9876543210"));
    g_assert_false(vmig_rehearsal_is_image("/d/g.qcow2", ID));
    g_assert_true(g_uuid_string_is_valid(uuid));
}

static void test_causes(void)
{
    static const struct {
        const char *message, *element, *name;
    } known[] = {
        {"Cannot get interface MTU on 'br9': No such device", "<interface>", "br9"},
        {"Network not found: no network with matching name 'lonely'", "<interface>", "lonely"},
        {"Requested operation is not valid: network 'lonely' is not active", "<interface>", "lonely"},
        {"internal error: process exited while connecting to monitor: qemu: -vnc 192.0.2.7:0: Failed to find an "
         "available "
         "port: Cannot assign requested address",
         "<graphics>", NULL},
        {"XML error: unknown watchdog model 'itco'", "<watchdog>", NULL},
        {"internal error: only a single watchdog device is supported", "<watchdog>", NULL},
        {"the CPU is incompatible with host CPU: Host CPU does not provide required features: avx512f", "<cpu>", NULL},
        {"internal error: process exited while connecting to monitor: qemu: -blockdev {..}: Could not open "
         "'/srv/x/vmig.qcow2': Permission denied",
         "<disk>", "/srv/x/vmig.qcow2"},
        {"unsupported configuration: Unable to find 'swtpm_setup' binary", "<tpm>", NULL},
        {"operation failed: job 'migration in' failed: load of migration failed: Invalid argument: error while loading "
         "state for instance 0x0 of device '0000:00:01.0:00.0/virtio-blk'",
         "<machine>", NULL},
        {"unsupported configuration: unexpected feature 'async-teardown'", "definition", NULL},
        {"XML error: Invalid value for attribute 'model' in element 'sound': 'virtio'.", "definition", NULL},
    };
    static const char *const others[] = {"internal error: client socket is closed",
                                         "operation failed: migration job: unexpectedly failed",
                                         "Cannot recv data: Connection reset by peer",
                                         "load of migration failed: Input/output error",
                                         "Timed out during operation: cannot acquire state change lock",
                                         ""};

    for (guint i = 0; i < G_N_ELEMENTS(known); i++) {
        g_autoptr(VmigSetupCause) cause = vmig_setup_cause(known[i].message);
        if (cause == NULL)
            g_error("no cause in '%s'", known[i].message);
        g_assert_cmpstr(cause->element, ==, known[i].element);
        g_assert_cmpstr(cause->name, ==, known[i].name);
        g_assert_null(strstr(cause->remedy, "%s"));
    }
    for (guint i = 0; i < G_N_ELEMENTS(others); i++)
        g_assert_null(vmig_setup_cause(others[i]));
}

/* A network's name reaches virsh as a single argument. */
static void test_remedy_words(void)
{
    static const char *const names[] = {"lonely", "it's $(touch x)", "-all", "a; b", NULL};

    for (guint i = 0; names[i] != NULL; i++) {
        g_autofree char *message = g_strdup_printf("network '%s' is not active", names[i]);
        g_autoptr(VmigSetupCause) cause = vmig_setup_cause(message);
        g_auto(GStrv) words = NULL;
        const char *command = strstr(cause->remedy, "virsh net-start");
        const char *end = strstr(command, "; virsh net-autostart");
        g_autofree char *first = g_strndup(command, (gsize)(end - command));
        g_assert_true(g_shell_parse_argv(first, NULL, &words, NULL));
        guint length = g_strv_length(words);
        g_assert_cmpstr(words[length - 1], ==, names[i]);
        g_assert_cmpuint(length, ==, *names[i] == '-' ? 4 : 3);
        g_assert_true(length == 3 || g_str_equal(words[2], "--"));
    }
}

/* --- this host's node --- */

typedef struct {
    char *dir, *root, *state, *run, *libvirt;
    VmigNode *node;
} Fixture;

static VmigNode *open_node(const Fixture *f)
{
    const char *const roots[] = {f->root, NULL};
    VmigNodeConfig config = {.state_dir = f->state,
                             .run_dir = f->run,
                             .roots = roots,
                             .machine_id = "m",
                             .role = VMIG_DEST,
                             .libvirt_run_dir = f->libvirt};
    g_autoptr(GError) error = NULL;
    VmigNode *node = vmig_node_local_new("here", &config, &error);

    g_assert_no_error(error);
    return node;
}

static void set_up(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    f->dir = g_dir_make_tmp("vmig-rehearsal-XXXXXX", NULL);
    f->root = g_build_filename(f->dir, "images", NULL);
    f->state = g_build_filename(f->dir, "state", NULL);
    f->run = g_build_filename(f->dir, "run", NULL);
    f->libvirt = g_build_filename(f->dir, "libvirt", NULL);
    g_assert_cmpint(g_mkdir(f->root, 0755), ==, 0);
    g_assert_cmpint(g_mkdir(f->libvirt, 0755), ==, 0);
    f->node = open_node(f);
}

static void tear_down(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    const char *argv[] = {"rm", "-rf", f->dir, NULL};

    g_clear_pointer(&f->node, vmig_node_free);
    g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL, NULL, NULL, NULL);
    g_free(f->dir);
    g_free(f->root);
    g_free(f->state);
    g_free(f->run);
    g_free(f->libvirt);
}

static VmigRehearsal *begin(Fixture *f, GError **error)
{
    g_autofree char *one = g_build_filename(f->root, "g.qcow2", NULL);
    g_autofree char *two = g_build_filename(f->root, "h.raw", NULL);
    const char *const paths[] = {one, two, NULL};
    const char *const formats[] = {"qcow2", "raw", NULL};

    return vmig_node_rehearsal_begin(f->node, "g", paths, formats, error);
}

static guint n_files(const char *path)
{
    g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
    guint n = 0;

    while (dir != NULL && g_dir_read_name(dir) != NULL)
        n++;
    return n;
}

static guint n_records(const Fixture *f)
{
    g_autofree char *path = g_build_filename(f->state, "rehearsals", NULL);

    return n_files(path);
}

/* The images are valid empty images of one size for QEMU; unlink removes their names, end removes the record. */
static void test_images(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(VmigRehearsal) r = begin(f, &error);

    g_assert_no_error(error);
    g_assert_cmpuint(g_strv_length(r->dead), ==, 0);
    for (guint i = 0; i < 2; i++) {
        const char *check[] = {"qemu-img", "check", "-f", "qcow2", r->images[i], NULL};
        const char *info[] = {"qemu-img", "info", "--output=json", r->images[i], NULL};
        g_autofree char *out = NULL;
        int status = -1;
        if (i == 0)
            g_spawn_sync(NULL, (char **)check, NULL, G_SPAWN_SEARCH_PATH | G_SPAWN_STDOUT_TO_DEV_NULL, NULL, NULL, NULL,
                         NULL, &status, NULL);
        g_assert_cmpint(i == 0 ? status : 0, ==, 0);
        g_spawn_sync(NULL, (char **)info, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, &out, NULL, &status, NULL);
        g_assert_nonnull(strstr(out, "\"virtual-size\": 1048576"));
    }
    g_assert_cmpuint(n_files(f->root), ==, 2);
    g_assert_true(vmig_node_rehearsal_unlink(f->node, r->id, &error));
    g_assert_cmpuint(n_files(f->root), ==, 0);
    g_assert_cmpuint(n_records(f), ==, 1);
    g_assert_true(vmig_node_rehearsal_end(f->node, r->id, &error));
    g_assert_cmpuint(n_records(f), ==, 0);
    g_assert_true(vmig_node_rehearsal_end(f->node, r->id, &error));
    g_assert_no_error(error);
}

/* A process that dies takes everything with it, unless libvirt still has the twin. */
static void test_process_ends(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(VmigRehearsal) r = begin(f, &error);
    g_autofree char *pid = g_strdup_printf("%s/g-rehearsal-%s.pid", f->libvirt, r->id);

    g_assert_true(g_file_set_contents(pid, "1", -1, NULL));
    g_clear_pointer(&f->node, vmig_node_free);
    g_assert_cmpuint(n_files(f->root), ==, 0);
    g_auto(GStrv) dead = vmig_rehearsals_dead(f->state);
    g_assert_cmpstr(dead[0], ==, r->id);
    f->node = open_node(f);
    g_autoptr(VmigRehearsal) next = begin(f, &error);
    g_assert_cmpstr(next->dead[0], ==, r->id);
    g_assert_true(vmig_node_rehearsal_end(f->node, next->dead[0], &error));
    g_clear_pointer(&f->node, vmig_node_free);
    g_assert_cmpuint(n_records(f), ==, 0);
    g_assert_cmpuint(n_files(f->root), ==, 0);
}

/* Another process's rehearsal is not dead and must not be ended. */
static void test_of_another(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(VmigRehearsal) r = begin(f, &error);
    g_autoptr(VmigNode) other = open_node(f);

    g_auto(GStrv) dead = vmig_rehearsals_dead(f->state);
    g_assert_null(dead[0]);
    g_assert_false(vmig_node_rehearsal_end(other, r->id, &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_LOCKED);
    g_assert_cmpuint(n_files(f->root), ==, 2);
}

/* A forged record gives no access: only names of that rehearsal, only inside the roots. */
static void test_forged(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *image = g_build_filename(f->root, "guest.qcow2", NULL);
    g_autofree char *outside = g_strdup_printf("%s/vmig-rehearsal-" ID "-0.img", f->dir);
    g_autofree char *link = g_strdup_printf("%s/vmig-rehearsal-" ID "-1.img", f->root);
    g_autofree char *dir = g_build_filename(f->state, "rehearsals", NULL);
    g_autofree char *record = g_build_filename(dir, ID, NULL);
    g_autofree char *text = g_strdup_printf("g\n%s\n%s\n%s\n", image, outside, link);

    g_assert_cmpint(g_mkdir(dir, 0700), ==, 0);
    g_assert_true(g_file_set_contents(image, "x", -1, NULL) && g_file_set_contents(outside, "x", -1, NULL));
    g_assert_cmpint(symlink(image, link), ==, 0);
    g_assert_true(g_file_set_contents(record, text, -1, NULL));
    g_assert_true(vmig_node_rehearsal_end(f->node, ID, &error));
    g_assert_true(g_file_test(image, G_FILE_TEST_EXISTS) && g_file_test(outside, G_FILE_TEST_EXISTS));
    g_assert_cmpuint(n_records(f), ==, 0);
}

static void test_refused(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    const char *const paths[] = {"/etc/g.qcow2", NULL};
    const char *const formats[] = {"qcow2", NULL};
    g_autoptr(GError) error = NULL;

    g_assert_null(vmig_node_rehearsal_begin(f->node, "g", paths, formats, &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_OUTSIDE_ROOTS);
    g_clear_error(&error);
    g_assert_false(vmig_node_rehearsal_end(f->node, "../../etc/passwd", &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_PROTOCOL);
    g_assert_cmpuint(n_records(f), ==, 0);
}

/* --- the files of snapshots --- */

/* A host that only has paths below /there. */
static gboolean fake_call(VmigNode *self G_GNUC_UNUSED, VmigMethod method, gconstpointer args, gpointer reply,
                          GError **error G_GNUC_UNUSED)
{
    VmigPathFacts *facts = reply;

    g_assert_cmpint(method, ==, VMIG_METHOD_PATH);
    *facts = (VmigPathFacts){.exists = g_str_has_prefix(((const VmigPathArgs *)args)->path, "/there"),
                             .is_regular = TRUE,
                             .folder_ok = TRUE,
                             .in_roots = TRUE};
    return TRUE;
}

static char *missing_of(const char *devices)
{
    static const VmigNodeOps ops = {.call = fake_call};
    VmigNode host = {&ops, (char *)"there"};
    g_autofree char *xml = g_strdup_printf("<domain type='qemu'><name>g</name><uuid>" UUID "</uuid><os><type>hvm</type>"
                                           "</os><devices>%s</devices></domain>",
                                           devices);
    g_autoptr(GHashTable) known = vmig_snapshot_files_known();
    g_autoptr(GHashTable) coming = g_hash_table_new(g_str_hash, g_str_equal);
    g_autoptr(GError) error = NULL;
    char *missing = NULL;

    g_hash_table_add(coming, (gpointer) "/img/g.qcow2");
    g_assert_true(vmig_snapshot_files_missing(&host, xml, coming, known, &missing, &error));
    g_assert_no_error(error);
    return missing;
}

#define DISK(device, file, more)                                                                                       \
    "<disk type='file' device='" device "'><source file='" file "'" more "/><target dev='sd" file "'/>"                \
    "<readonly/></disk>"

static void test_snapshot_files(void)
{
    static const struct {
        const char *devices, *missing;
    } cases[] = {
        {DISK("disk", "/img/g.qcow2", ""), NULL},
        {DISK("disk", "/img/g.qcow2", "") DISK("disk", "/img/old.qcow2", ""), "/img/old.qcow2"},
        {DISK("cdrom", "/there.iso", ""), NULL},
        {DISK("cdrom", "/gone.iso", ""), "/gone.iso"},
        {DISK("cdrom", "/gone.iso", " startupPolicy='optional'"), NULL},
        {"<disk type='block' device='disk'><source dev='/dev/gone'/><target dev='vdb'/></disk>", "/dev/gone"},
        {"<disk type='network' device='disk'><source protocol='rbd' name='p/i'/><target dev='vdb'/></disk>", NULL},
    };

    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *missing = missing_of(cases[i].devices);
        g_assert_cmpstr(missing, ==, cases[i].missing);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/rehearsal/twin", test_twin);
    g_test_add_func("/rehearsal/images-of", test_images_of);
    g_test_add_func("/rehearsal/names", test_names);
    g_test_add_func("/rehearsal/causes", test_causes);
    g_test_add_func("/rehearsal/remedy-words", test_remedy_words);
    g_test_add_func("/rehearsal/snapshot-files", test_snapshot_files);
    g_test_add("/rehearsal/images", Fixture, NULL, set_up, test_images, tear_down);
    g_test_add("/rehearsal/process-ends", Fixture, NULL, set_up, test_process_ends, tear_down);
    g_test_add("/rehearsal/of-another", Fixture, NULL, set_up, test_of_another, tear_down);
    g_test_add("/rehearsal/forged", Fixture, NULL, set_up, test_forged, tear_down);
    g_test_add("/rehearsal/refused", Fixture, NULL, set_up, test_refused, tear_down);
    return g_test_run();
}
