/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Domain and snapshot XML: what is read from it, what a rewrite changes and keeps, and what is refused.
 *
 * golden/ contains inputs as libvirt 9.0 writes them, and the result of each rewrite. VMIG_GOLDEN_UPDATE=1 rewrites the
 * expected files; review the difference before committing it. */
#include <glib.h>
#include <libxml/xmlerror.h>
#include <string.h>

#include "definition/chain.h"
#include "definition/domain-xml.h"
#include "core/errors.h"
#include "definition/snapshot-tree.h"
#include "definition/xml.h"
#include "tests/unit/cpu.h"

#define ID "0123456789abcdef"
#define UUID "3f6b2f0e-6d3c-4c55-9f0a-52a1d9a0c0de"

static char *golden_path(const char *name)
{
#ifdef VMIG_GOLDEN_DIR
    return g_build_filename(VMIG_GOLDEN_DIR, name, NULL);
#else
    return g_test_build_filename(G_TEST_DIST, "golden", name, NULL);
#endif
}

static char *load(const char *name)
{
    g_autofree char *path = golden_path(name);
    g_autoptr(GError) error = NULL;
    char *text = NULL;

    g_file_get_contents(path, &text, NULL, &error);
    g_assert_no_error(error);
    return text;
}

static void assert_golden(const char *got, const char *name)
{
    g_autofree char *path = golden_path(name);

    if (g_getenv("VMIG_GOLDEN_UPDATE") != NULL)
        g_assert_true(g_file_set_contents(path, got, -1, NULL));
    g_autofree char *expected = load(name);
    g_auto(GStrv) a = g_strsplit(got, "\n", -1);
    g_auto(GStrv) b = g_strsplit(expected, "\n", -1);
    for (guint i = 0; a[i] != NULL && b[i] != NULL; i++)
        g_assert_cmpstr(a[i], ==, b[i]);
    g_assert_cmpstr(got, ==, expected);
}

static void add_file(VmigDisk *disk, const char *source, const char *dest, const char *format)
{
    VmigFile *file = vmig_file_new();

    file->path[VMIG_SOURCE] = g_strdup(source);
    file->path[VMIG_DEST] = g_strdup(dest);
    file->format = g_strdup(format);
    g_ptr_array_add(disk->files, file);
}

static VmigDisk *add_disk(VmigJob *job, const char *target, const char *overlay, const char *dest_overlay)
{
    VmigDisk *disk = vmig_disk_new();

    disk->target = g_strdup(target);
    disk->at[VMIG_SOURCE].overlay = g_strdup(overlay);
    disk->at[VMIG_DEST].overlay = g_strdup(dest_overlay);
    vmig_job_add(job, disk);
    return disk;
}

static VmigJob *make_job(const char *merge)
{
    VmigJob *job = vmig_job_new(&vmig_states_migrate);

    job->id = g_strdup(ID);
    job->uuid = g_strdup(UUID);
    job->options.merge = g_strdup(merge);
    job->host[VMIG_SOURCE] = g_strdup("alpha");
    job->host[VMIG_DEST] = g_strdup("beta & \"co\"");
    VmigDisk *a = add_disk(job, "vda", "/var/lib/libvirt/images/a.vmig-" ID ".qcow2", "/pool/a.vmig-" ID ".qcow2");
    add_file(a, "/var/lib/libvirt/images/a.qcow2", "/pool/a.qcow2", "qcow2");
    add_file(a, "/var/lib/libvirt/images/golden's & base.img", "/pool/golden's & \"base\".img", "raw");
    VmigDisk *b = add_disk(job, "vdb", "/srv/daten-ü/b.vmig-" ID ".qcow2", "/pool/ü/b.vmig-" ID ".qcow2");
    add_file(b, "/srv/daten-ü/b.qcow2", "/pool/ü/b.qcow2", "qcow2");
    return job;
}

static void assert_strings(GPtrArray *array, const char *expected)
{
    g_autoptr(GString) joined = g_string_new(NULL);

    for (guint i = 0; i < array->len; i++)
        g_string_append_printf(joined, "%s%s", i > 0 ? "|" : "", (char *)array->pdata[i]);
    g_assert_cmpstr(joined->str, ==, expected);
}

static VmigDomainXml *parse_good(const char *text)
{
    g_autoptr(GError) error = NULL;
    VmigDomainXml *xml = vmig_domain_xml_parse(text, &error);

    g_assert_no_error(error);
    g_assert_nonnull(xml);
    return xml;
}

/* The facts of a whole guest are read, with escapes resolved. */
static void test_facts(void)
{
    g_autofree char *text = load("live.xml");
    g_autoptr(VmigDomainXml) xml = parse_good(text);
    const VmigDomainFacts *f = vmig_domain_xml_facts(xml);

    g_assert_cmpstr(f->name, ==, "büro & \"lager\"");
    g_assert_cmpstr(f->uuid, ==, UUID);
    g_assert_cmpstr(f->title, ==, "A <guest> it's");
    g_assert_cmpstr(f->type, ==, "kvm");
    g_assert_cmpstr(f->arch, ==, "x86_64");
    g_assert_cmpstr(f->machine, ==, "pc-q35-7.2");
    g_assert_cmpstr(f->emulator, ==, "/usr/bin/qemu-system-x86_64");
    g_assert_cmpstr(f->loader_type, ==, "pflash");
    g_assert_cmpstr(f->nvram, ==, "/var/lib/libvirt/qemu/nvram/büro_VARS.fd");
    g_assert_cmpstr(f->nvram_format, ==, NULL);
    g_assert_cmpstr(f->on_reboot, ==, "restart");
    g_assert_cmpuint(f->memory, ==, G_GUINT64_CONSTANT(2147483648));
    g_assert_cmpuint(f->vcpus, ==, 4);
    g_assert_true(f->qemu_commandline);
    g_assert_false(f->has_metadata);
    g_assert_cmpuint(f->disks->len, ==, 5);
    assert_strings(f->host_devices, "pci 0000:03:10.2|usb 0x046d:0xc52b");
    assert_strings(f->filesystems, "virtiofs /srv/share");
    assert_strings(f->shmems, "ivshmem0");
    assert_strings(f->vhost_users, "interface /run/vhost.sock");
    assert_strings(f->tpms, "emulator");
    assert_strings(f->interfaces, "bridge|vhostuser");
    assert_strings(f->needed_files, "/boot/guest/vmlinuz|/boot/guest/initrd|"
                                    "/usr/share/OVMF/OVMF_CODE_4M.fd|/usr/share/OVMF/OVMF_VARS_4M.fd");
}

static void test_disks(void)
{
    g_autofree char *text = load("live.xml");
    g_autoptr(VmigDomainXml) xml = parse_good(text);
    const VmigDomainDisk *a = vmig_domain_xml_disk(xml, "vda");
    const VmigDomainDisk *iso = vmig_domain_xml_disk(xml, "sda");
    const VmigDomainDisk *empty = vmig_domain_xml_disk(xml, "sdb");
    const VmigDomainDisk *net = vmig_domain_xml_disk(xml, "vdc");
    g_autofree char *chain = vmig_domain_disk_chain_text(a);

    g_assert_cmpstr(a->driver_type, ==, "qcow2");
    g_assert_cmpstr(a->serial, ==, "S-1");
    g_assert_true(a->mirror && a->mirror_ready && a->chain_known);
    g_assert_cmpstr(a->mirror_job, ==, "copy");
    g_assert_cmpstr(a->mirror_file, ==, "/var/lib/libvirt/images/a.vmig-" ID "-hold.qcow2");
    g_assert_cmpstr(chain, ==,
                    "/var/lib/libvirt/images/a.vmig-" ID ".qcow2 <- /var/lib/libvirt/images/a.qcow2 <- "
                    "/var/lib/libvirt/images/golden's & base.img");
    g_assert_cmpstr(vmig_domain_xml_disk(xml, "vdb")->snapshot, ==, "external");
    g_assert_true(iso->readonly);
    g_assert_cmpstr(iso->device, ==, "cdrom");
    g_assert_null(empty->source);
    g_assert_null(empty->source_text);
    g_assert_false(empty->chain_known);
    g_assert_cmpstr(net->type, ==, "network");
    g_assert_null(net->source);
    g_assert_cmpstr(net->source_text, ==, "nbd://store.example/export");
    g_assert_true(net->shareable);
    g_assert_null(vmig_domain_xml_disk(xml, "vdz"));
}

/* A chain with one file more, less, different or unchecked does not match the expected one. */
static void test_chain_matches(void)
{
    g_autofree char *text = load("live.xml");
    g_autofree char *persistent = load("persistent.xml");
    g_autoptr(VmigDomainXml) xml = parse_good(text);
    g_autoptr(VmigDomainXml) other = parse_good(persistent);
    g_autoptr(VmigJob) job = make_job("commit");
    VmigDisk *disk = vmig_job_disk(job, "vda");
    const VmigDomainDisk *live = vmig_domain_xml_disk(xml, "vda");

    g_assert_cmpint(vmig_chain_of(live, disk, VMIG_SOURCE), ==, VMIG_CHAIN_OVERLAY);
    g_assert_cmpint(vmig_chain_in(xml, disk, VMIG_SOURCE), ==, VMIG_CHAIN_OVERLAY);
    g_assert_cmpint(vmig_chain_of(live, disk, VMIG_DEST), ==, VMIG_CHAIN_OTHER);
    g_assert_true(vmig_chain_has(live, disk->at[VMIG_SOURCE].overlay));
    g_assert_true(vmig_chain_has(live, vmig_disk_base(disk)->path[VMIG_SOURCE]));
    g_assert_false(vmig_chain_has(live, "/other"));
    g_assert_false(vmig_chain_has(live, NULL));
    g_assert_true(vmig_chain_has_file_of(live, disk, VMIG_SOURCE));
    g_assert_false(vmig_chain_has_file_of(live, disk, VMIG_DEST));
    /* Of a chain that libvirt has not read, only the top counts. */
    const VmigDomainDisk *unknown = vmig_domain_xml_disk(other, "vda");
    g_assert_false(unknown->chain_known);
    g_assert_cmpint(vmig_chain_of(unknown, disk, VMIG_SOURCE), ==,
                    vmig_chain_of_top(unknown->source, disk, VMIG_SOURCE));
    g_autofree char *overlay = g_steal_pointer(&disk->at[VMIG_SOURCE].overlay);
    g_assert_cmpint(vmig_chain_of(live, disk, VMIG_SOURCE), ==, VMIG_CHAIN_OTHER);
    disk->at[VMIG_SOURCE].overlay = g_strdup("/other");
    g_assert_cmpint(vmig_chain_of(live, disk, VMIG_SOURCE), ==, VMIG_CHAIN_OTHER);
    g_free(disk->at[VMIG_SOURCE].overlay);
    disk->at[VMIG_SOURCE].overlay = g_steal_pointer(&overlay);
    g_ptr_array_set_size(disk->files, 1);
    g_assert_cmpint(vmig_chain_of(live, disk, VMIG_SOURCE), ==, VMIG_CHAIN_OTHER);
    add_file(disk, "/z", "/z", "raw");
    g_assert_cmpint(vmig_chain_of(live, disk, VMIG_SOURCE), ==, VMIG_CHAIN_OTHER);
}

static void test_chain_of_top(void)
{
    g_autoptr(VmigJob) job = vmig_job_new(&vmig_states_migrate);
    VmigDisk *disk = add_disk(job, "vda", "/o", NULL);

    g_assert_cmpint(vmig_chain_of_top("/b", disk, VMIG_SOURCE), ==, VMIG_CHAIN_OTHER); /* no file is planned yet */
    add_file(disk, "/b", "/d", "qcow2");
    vmig_disk_base(disk)->named = g_strdup("/link");
    g_assert_cmpint(vmig_chain_of_top("/b", disk, VMIG_SOURCE), ==, VMIG_CHAIN_BASE);
    g_assert_cmpint(vmig_chain_of_top("/link", disk, VMIG_SOURCE), ==, VMIG_CHAIN_BASE);
    g_assert_cmpint(vmig_chain_of_top("/o", disk, VMIG_SOURCE), ==, VMIG_CHAIN_OVERLAY);
    g_assert_cmpint(vmig_chain_of_top("/d", disk, VMIG_DEST), ==, VMIG_CHAIN_BASE);
    g_assert_cmpint(vmig_chain_of_top("/link", disk, VMIG_DEST), ==, VMIG_CHAIN_OTHER);
    g_assert_cmpint(vmig_chain_of_top("/o", disk, VMIG_DEST), ==, VMIG_CHAIN_OTHER);
    /* Merge "mirror" has no overlay there, and a disk without a source names none. */
    g_assert_cmpint(vmig_chain_of_top(NULL, disk, VMIG_DEST), ==, VMIG_CHAIN_OTHER);
    g_assert_cmpuint(vmig_chain_may_be(VMIG_CHAIN_BASE), ==, VMIG_MAY_BE_BASE);
    g_assert_cmpuint(vmig_chain_may_be(VMIG_CHAIN_OVERLAY), ==, VMIG_MAY_BE_OVERLAY);
    g_assert_cmpuint(vmig_chain_may_be(VMIG_CHAIN_OTHER), ==, 0);
}

/* The right files without the end: libvirt did not report that nothing lies below. */
static void test_chain_without_end(void)
{
    static const char text[] =
        "<domain><name>n</name><uuid>u</uuid><devices><disk><source file='/o'/><target dev='vda'/>"
        "<backingStore type='file'><source file='/b'/></backingStore></disk></devices></domain>";
    g_autoptr(VmigDomainXml) xml = parse_good(text);
    g_autoptr(VmigJob) job = vmig_job_new(&vmig_states_migrate);
    VmigDisk *disk = add_disk(job, "vda", "/o", NULL);
    const VmigDomainDisk *live = vmig_domain_xml_disk(xml, "vda");
    g_autofree char *chain = vmig_domain_disk_chain_text(live);

    add_file(disk, "/b", "/b", "qcow2");
    g_assert_cmpstr(chain, ==, "/o <- /b <- ?");
    g_assert_cmpint(vmig_chain_of(live, disk, VMIG_SOURCE), ==, VMIG_CHAIN_OVERLAY);
    disk->at[VMIG_SOURCE].overlay[1] = 'x';
    g_assert_cmpint(vmig_chain_of(live, disk, VMIG_SOURCE), ==, VMIG_CHAIN_OTHER);
}

/* Attributes are written with double quotes; apart from that, a rewrite without changes changes nothing. */
static void test_round_trip(void)
{
    static const char *const names[] = {"live.xml", "persistent.xml", "declared.xml"};

    for (guint i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autofree char *text = load(names[i]);
        g_autoptr(VmigDomainXml) xml = parse_good(text);
        g_autofree char *once = vmig_domain_xml_to_string(xml);
        g_autoptr(VmigDomainXml) again = parse_good(once);
        g_autofree char *twice = vmig_domain_xml_to_string(again);
        g_assert_cmpstr(once, ==, twice);
        g_autofree char *golden = g_strconcat("round-trip.", names[i], NULL);
        assert_golden(once, golden);
    }
}

static void test_round_trip_edges(void)
{
    static const char body[] = "<domain><name>a\xc3\xbc\n&lt;</name><uuid>u</uuid><x y=\"\xc3\xbc&#10;&quot;'\"/>"
                               "<!-- c --><?pi x?><![CDATA[<&]]></domain>";
    static const char *const heads[] = {"", "\n \t", "<?xml version='1.0'?>", "<!-- a > b --><?x y?>\n\n"};
    static const char *const tails[] = {"", "\n", "\n\n  "};

    for (guint i = 0; i < G_N_ELEMENTS(heads); i++) {
        for (guint k = 0; k < G_N_ELEMENTS(tails); k++) {
            g_autofree char *text = g_strconcat(heads[i], body, tails[k], NULL);
            g_autoptr(VmigDomainXml) xml = parse_good(text);
            g_autofree char *out = vmig_domain_xml_to_string(xml);
            g_assert_cmpstr(out, ==, text);
        }
    }
}

static void check_destination(const char *input, const char *merge, gboolean live, const char *golden)
{
    g_autofree char *text = load(input);
    g_autoptr(VmigJob) job = make_job(merge);
    g_autoptr(GError) error = NULL;
    g_autofree char *out = vmig_domain_xml_for_destination(text, job, live, &error);

    g_assert_no_error(error);
    assert_golden(out, golden);
    /* Repeating it on its own result changes nothing: vmig-snap's element is replaced, not added. */
    g_autofree char *again = vmig_domain_xml_for_destination(out, job, live, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(again, ==, out);
    g_autoptr(VmigDomainXml) xml = parse_good(out);
    g_assert_true(vmig_domain_xml_facts(xml)->has_metadata);
    g_assert_cmpstr(vmig_domain_xml_facts(xml)->metadata_job, ==, ID);
    g_autofree char *id = vmig_metadata_job_id(out);
    g_assert_cmpstr(id, ==, ID);
    if (!live)
        return;
    const VmigDisk *disk = vmig_job_disk(job, "vda");
    g_assert_cmpint(vmig_chain_in(xml, disk, VMIG_DEST), ==,
                    g_str_equal(merge, "mirror") ? VMIG_CHAIN_BASE : VMIG_CHAIN_OVERLAY);
}

static void test_for_destination(void)
{
    check_destination("live.xml", "commit", TRUE, "dest-commit.live.xml");
    check_destination("live.xml", "mirror", TRUE, "dest-mirror.live.xml");
    check_destination("persistent.xml", "commit", FALSE, "dest-commit.persistent.xml");
    check_destination("persistent.xml", "mirror", FALSE, "dest-mirror.persistent.xml");
    check_destination("persistent.xml", "commit", TRUE, "dest-commit-live.persistent.xml");
    check_destination("declared.xml", "commit", FALSE, "dest-commit.declared.xml");
}

/* A <domain> on one line stays on one line. */
static void test_without_white_space(void)
{
    static const char text[] =
        "<domain><name>n</name><uuid>" UUID "</uuid><devices><disk><source file='/a'/><target dev='vdb'/></disk>"
        "</devices></domain>";
    g_autoptr(VmigJob) job = make_job("commit");
    g_autoptr(GError) error = NULL;

    g_ptr_array_remove_index(job->disks, 0);
    g_autofree char *out = vmig_domain_xml_for_destination(text, job, TRUE, &error);
    g_assert_no_error(error);
    assert_golden(out, "dest-commit.one-line.xml");
}

static void test_for_destination_refuses(void)
{
    g_autofree char *text = load("live.xml");
    g_autoptr(GError) error = NULL;

    for (guint i = 0; i < 6; i++) {
        g_autoptr(VmigJob) job = make_job("commit");
        VmigDisk *disk = vmig_job_disk(job, "vda");
        if (i == 0)
            job->uuid[0] = '4';
        if (i == 1)
            disk->target[2] = 'z'; /* no such disk */
        if (i == 2)
            disk->target[2] = 'c'; /* on the network */
        if (i == 3)
            memcpy(disk->target, "sda", 3); /* a cdrom */
        if (i == 4)
            disk->at[VMIG_DEST].overlay[3] = '\x01';
        if (i == 5)
            g_ptr_array_set_size(disk->files, 0);
        char *out = vmig_domain_xml_for_destination(text, job, TRUE, &error);
        g_assert_error(error, VMIG_ERROR, (int)VMIG_ERROR_XML);
        g_assert_null(out);
        g_clear_error(&error);
    }
}

static void test_snapshot_for_destination(void)
{
    g_autofree char *text = load("snapshot.xml");
    g_autoptr(VmigJob) job = make_job("commit");
    g_autoptr(GError) error = NULL;
    g_autofree char *out = vmig_snapshot_xml_for_destination(text, job, &error);

    g_assert_no_error(error);
    assert_golden(out, "dest.snapshot.xml");
    /* libvirt would store the same. */
    g_autoptr(VmigSnapshot) before = vmig_snapshot_from_xml(text, &error);
    g_assert_no_error(error);
    g_autoptr(VmigSnapshot) after = vmig_snapshot_from_xml(out, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(before->name, ==, "vor dem \"Update\" & so\nzweite Zeile");
    g_assert_cmpstr(after->name, ==, before->name);
    g_assert_cmpstr(after->parent, ==, "clean-é");
    /* All paths are the destination's now, so a second rewrite gives exactly the same text. */
    g_autofree char *again = vmig_snapshot_xml_for_destination(out, job, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(again, ==, out);
}

/* With the same paths on both hosts, libvirt gets back exactly what it returned. */
static void test_snapshot_unchanged(void)
{
    g_autofree char *text = load("snapshot.xml");
    g_autoptr(VmigJob) job = make_job("commit");
    g_autoptr(GError) error = NULL;

    for (guint i = 0; i < job->disks->len; i++) {
        VmigDisk *disk = job->disks->pdata[i];
        for (guint k = 0; k < disk->files->len; k++) {
            VmigFile *file = disk->files->pdata[k];
            g_free(file->path[VMIG_DEST]);
            file->path[VMIG_DEST] = g_strdup(file->path[VMIG_SOURCE]);
        }
    }
    g_autofree char *out = vmig_snapshot_xml_for_destination(text, job, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(out, ==, text);
}

/* Two files that swap names are swapped, not both moved to one name. */
static void test_snapshot_swap(void)
{
    static const char text[] = "<domainsnapshot><disks><disk name='a'><source file='/1'/></disk><disk name='b'>"
                               "<source file='/2'/></disk><disk name='c' type='block'><source file='/1'/></disk>"
                               "</disks></domainsnapshot>";
    g_autoptr(VmigJob) job = vmig_job_new(&vmig_states_migrate);
    VmigDisk *disk = add_disk(job, "vda", NULL, NULL);
    g_autoptr(GError) error = NULL;

    add_file(disk, "/1", "/2", "qcow2");
    add_file(disk, "/2", "/1", "qcow2");
    g_autofree char *out = vmig_snapshot_xml_for_destination(text, job, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(out, ==,
                    "<domainsnapshot><disks><disk name=\"a\"><source file=\"/2\"/></disk><disk name=\"b\">"
                    "<source file=\"/1\"/></disk><disk name=\"c\" type=\"block\"><source file=\"/1\"/></disk>"
                    "</disks></domainsnapshot>");
}

#define ITCO(action) "<watchdog model=\"itco\" action=\"" action "\"/>"
#define ESB(action) "<watchdog model=\"i6300esb\" action=\"" action "\"/>"

/* A snapshot of a machine with this device. */
static char *watched(const char *uuid, const char *machine, const char *device)
{
    g_autofree char *inside = g_strdup_printf("<uuid>%s</uuid><os><type machine=\"%s\">hvm</type></os><devices>"
                                              "<sound model=\"ich9\"/>%s</devices>",
                                              uuid, machine, device);

    return g_strdup_printf("<domainsnapshot><domain>%s</domain><inactiveDomain>%s</inactiveDomain></domainsnapshot>",
                           inside, inside);
}

/* The watchdog that libvirt 9.1 and later write for every q35 machine is left out, and no other. */
static void test_snapshot_watchdog(void)
{
    static const struct {
        const char *machine, *device;
        gboolean dropped;
    } rows[] = {
        {"pc-q35-7.2", ITCO("reset"), TRUE},     {"q35", "<watchdog model=\"itco\"/>", TRUE},
        {"pc-q35-7.2", ITCO("pause"), FALSE},    {"pc-q35-7.2", ESB("reset"), FALSE},
        {"pc-i440fx-7.2", ITCO("reset"), FALSE}, {"pc-q35-7.2", ITCO("pause") ESB("reset"), FALSE},
    };
    for (guint i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(VmigJob) job = make_job("commit");
        g_autoptr(GError) error = NULL;
        g_autofree char *with = watched(job->uuid, rows[i].machine, rows[i].device);
        g_autofree char *without = watched(job->uuid, rows[i].machine, rows[i].dropped ? "" : rows[i].device);
        g_autofree char *out = vmig_snapshot_xml_for_destination(with, job, &error);
        g_assert_no_error(error);
        g_assert_cmpstr(out, ==, without);
    }
    /* Beside another watchdog it has that one's action. */
    g_autoptr(VmigJob) job = make_job("commit");
    g_autofree char *two = watched(job->uuid, "pc-q35-7.2", ESB("poweroff") ITCO("poweroff"));
    g_autofree char *one = watched(job->uuid, "pc-q35-7.2", ESB("poweroff"));
    g_autoptr(GError) error = NULL;
    g_autofree char *out = vmig_snapshot_xml_for_destination(two, job, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(out, ==, one);
}

static void test_snapshot_refuses(void)
{
    static const char *const bad[] = {
        "<domain/>",
        "<domainsnapshot><domain><uuid>1</uuid></domain></domainsnapshot>",
        "<domainsnapshot><domain><name>no uuid</name></domain></domainsnapshot>",
        "<domainsnapshot><inactiveDomain><uuid>1</uuid></inactiveDomain></domainsnapshot>",
        "<domainsnapshot><domain><uuid>" UUID "</uuid></domain><domain/></domainsnapshot>",
        "<domainsnapshot><disks><disk><source file='/1'/><source file='/2'/></disk></disks></domainsnapshot>",
        "<domainsnapshot xmlns:x='u'><disks><disk><x:source file='/1'/></disk></disks></domainsnapshot>",
        "<domainsnapshot><domain><uuid>" UUID "</uuid><devices/><devices/></domain></domainsnapshot>",
    };
    g_autoptr(VmigJob) job = make_job("commit");
    g_autoptr(GError) error = NULL;

    for (guint i = 0; i < G_N_ELEMENTS(bad); i++) {
        char *out = vmig_snapshot_xml_for_destination(bad[i], job, &error);
        g_assert_error(error, VMIG_ERROR, (int)VMIG_ERROR_XML);
        g_assert_null(out);
        g_clear_error(&error);
    }
}

static void test_disk_snapshot_attribute(void)
{
    g_autofree char *text = load("persistent.xml");
    g_autoptr(GError) error = NULL;
    g_autofree char *set = vmig_disk_xml_set_snapshot(text, "vda", "no", &error);

    g_assert_no_error(error);
    g_assert_true(g_str_has_prefix(set, "<disk type=\"file\" device=\"disk\" snapshot=\"no\">\n"));
    g_assert_true(g_str_has_suffix(set, "</disk>"));
    g_autofree char *removed = vmig_disk_xml_set_snapshot(text, "vdb", NULL, &error);
    g_assert_no_error(error);
    g_assert_null(strstr(removed, "snapshot"));
    g_assert_nonnull(strstr(removed, "/srv/daten-ü/b.qcow2"));
    g_assert_null(vmig_disk_xml_set_snapshot(text, "vdc", "no", &error));
    g_assert_error(error, VMIG_ERROR, (int)VMIG_ERROR_XML);
}

static void test_job_xml(void)
{
    g_autofree char *text = load("live.xml");
    g_autoptr(VmigJob) job = make_job("commit");
    g_autoptr(GError) error = NULL;
    g_autofree char *overlay = vmig_overlay_snapshot_xml(job, text, &error);

    g_assert_no_error(error);
    g_assert_cmpstr(overlay, ==,
                    "<domainsnapshot><name>vmig-snap-" ID "</name><disks>"
                    "<disk name=\"vda\" snapshot=\"external\" type=\"file\"><driver type=\"qcow2\"/>"
                    "<source file=\"/var/lib/libvirt/images/a.vmig-" ID ".qcow2\"/></disk>"
                    "<disk name=\"vdb\" snapshot=\"external\" type=\"file\"><driver type=\"qcow2\"/>"
                    "<source file=\"/srv/daten-ü/b.vmig-" ID ".qcow2\"/></disk>"
                    "<disk name=\"sda\" snapshot=\"no\"/><disk name=\"sdb\" snapshot=\"no\"/>"
                    "<disk name=\"vdc\" snapshot=\"no\"/></disks></domainsnapshot>");
    g_autofree char *copy = vmig_block_copy_xml("/ü/<a> & 'b\".qcow2");
    g_assert_cmpstr(copy, ==,
                    "<disk type=\"file\"><driver type=\"qcow2\"/>"
                    "<source file=\"/ü/&lt;a&gt; &amp; 'b&quot;.qcow2\"/></disk>");
    memcpy(vmig_job_disk(job, "vdb")->target, "vdx", 3);
    g_assert_null(vmig_overlay_snapshot_xml(job, text, &error));
    g_assert_error(error, VMIG_ERROR, (int)VMIG_ERROR_XML);
}

static void test_metadata(void)
{
    g_autoptr(VmigJob) job = make_job("commit");
    g_autofree char *xml = vmig_metadata_xml(job);

    g_assert_true(g_str_has_prefix(xml, "<operation job=\"" ID "\" "
                                        "state=\"PLAN\" token=\"source\" merge=\"commit\" source-host=\"alpha\" "
                                        "dest-host=\"beta &amp; &quot;co&quot;\"><disk target=\"vda\" base="));
    static const char *const without[] = {
        "<domain",
        "<domain/>",
        "<domain><metadata/></domain>",
        "<domain><metadata><operation job='" ID "'/></metadata></domain>",
        "<domain><metadata><v:operation xmlns:v='other' job='" ID "'/></metadata></domain>",
        "<domain><metadata><v:operation xmlns:v='" VMIG_METADATA_URI "' job='../../etc'/></metadata></domain>",
        "<domain><metadata><v:operation xmlns:v='" VMIG_METADATA_URI "'/></metadata></domain>",
    };
    for (guint i = 0; i < G_N_ELEMENTS(without); i++)
        g_assert_null(vmig_metadata_job_id(without[i]));
    g_autofree char *id = vmig_metadata_job_id("<domain><metadata><q:operation xmlns:q='" VMIG_METADATA_URI "' job='" ID
                                               "'/></metadata></domain>");
    g_assert_cmpstr(id, ==, ID);
}

static void assert_bad(const char *text, const char *message)
{
    g_autoptr(GError) error = NULL;
    gint64 start = cpu_time();

    g_assert_null(vmig_domain_xml_parse(text, &error));
    g_assert_error(error, VMIG_ERROR, (int)VMIG_ERROR_XML);
    g_assert_nonnull(strstr(error->message, message));
    g_assert_null(strchr(error->message, '\n'));
    g_assert_cmpint(cpu_time() - start, <, 10 * G_USEC_PER_SEC);
}

#define DOMAIN(devices) "<domain><name>n</name><uuid>u</uuid><devices>" devices "</devices></domain>"

static void test_bad_small(void)
{
    assert_bad("", "is empty");
    assert_bad("text", "cannot be parsed");
    assert_bad("<domain>", "cannot be parsed");
    assert_bad("<domain/>", "no name");
    assert_bad("<network/>", "not describe a domain");
    assert_bad("<domain xmlns='http://example'><name>n</name><uuid>u</uuid></domain>", "not describe a domain");
    assert_bad("<domain><name>n</name><uuid>u</uuid></domain><domain/>", "cannot be parsed");
    assert_bad("<domain><name>\xff</name></domain>", "UTF-8");
    assert_bad("\xef\xbb\xbf<domain/>", "UTF-8");
    assert_bad("\xff\xfe<\0d\0", "UTF-8");
    assert_bad("<?xml version='1.0' encoding='ISO-8859-1'?><domain/>", "UTF-8");
    assert_bad("<domain><name>\x01</name></domain>", "cannot be parsed");
    assert_bad("<domain><name>&#0;</name></domain>", "cannot be parsed");
    assert_bad("<domain><x:name>a</x:name></domain>", "cannot be parsed");
    assert_bad("<domain xmlns:x='u'><x:uuid>a</x:uuid><name>n</name><uuid>u</uuid></domain>", "namespace");
    assert_bad("<domain><name>n</name><uuid>u</uuid><uuid>v</uuid></domain>", "second <uuid>");
    assert_bad("<domain><name>n</name><uuid>u</uuid><memory>-1</memory></domain>", "<memory>");
    assert_bad("<domain><name>n</name><uuid>u</uuid><memory unit='EiB'>999</memory></domain>", "<memory>");
    assert_bad("<domain><name>n</name><uuid>u</uuid><vcpu>many</vcpu></domain>", "<vcpu>");
    assert_bad(DOMAIN("<disk/>"), "no target");
    assert_bad(DOMAIN("<disk><target dev='a'/></disk><disk><target dev='a'/></disk>"), "two disks 'a'");
    assert_bad(DOMAIN("<disk><target dev='a'/><source file='/1'/><source file='/2'/></disk>"), "second <source>");
    assert_bad(DOMAIN("<disk xmlns:x='u'><target dev='a'/><x:source file='/2'/></disk>"), "namespace");
    assert_bad(DOMAIN("<disk><target dev='a'/><backingStore/><backingStore/></disk>"), "second <backingStore>");
    assert_bad(DOMAIN("<disk><target dev='a'/><backingStore type='file'><source file='/1'/><source file='/2'/>"
                      "</backingStore></disk>"),
               "second <source>");
}

/* No external entity is read and none is expanded: a DOCTYPE is an error. */
static void test_doctype(void)
{
    assert_bad("<!DOCTYPE domain><domain/>", "DOCTYPE");
    assert_bad("<!DOCTYPE d [<!ENTITY x SYSTEM \"file:///etc/passwd\">]><domain><name>&x;</name></domain>", "DOCTYPE");
    assert_bad("<!DOCTYPE d SYSTEM \"http://127.0.0.1:9/x.dtd\"><domain/>", "DOCTYPE");
    assert_bad("<domain><name>&x;</name></domain>", "cannot be parsed");
    assert_bad("<!DOCTYPE d [<!ENTITY % p SYSTEM 'http://127.0.0.1:9/'> %p;]><domain/>", "DOCTYPE");
    g_autoptr(GString) laughs = g_string_new("<!DOCTYPE d [<!ENTITY l0 \"ha\">");
    for (guint i = 1; i < 30; i++)
        g_string_append_printf(laughs, "<!ENTITY l%u \"&l%u;&l%u;&l%u;\">", i, i - 1, i - 1, i - 1);
    g_string_append(laughs, "]><domain><name>&l29;</name></domain>");
    assert_bad(laughs->str, "DOCTYPE");
}

static char *repeat(const char *before, const char *part, gsize times, const char *after)
{
    GString *text = g_string_new(before);

    for (gsize i = 0; i < times; i++)
        g_string_append(text, part);
    g_string_append(text, after);
    return g_string_free(text, FALSE);
}

static void test_bad_large(void)
{
    g_autofree char *deep = repeat("<domain>", "<a>", 100000, "");
    g_autofree char *chain = repeat("<domain><devices><disk>", "<backingStore type='file'>", 100000, "");
    g_autofree char *wide = repeat("<domain>", "<a/>", 4000000, "</domain>");
    g_autofree char *text = repeat("<domain><name>", "0123456789abcdef", 50 * 65536, "</name></domain>");
    g_autofree char *inside = repeat("<domain><name>", "0123456789abcdef", 60 * 16384, "</name></domain>");
    g_autoptr(GString) attributes = g_string_new("<domain ");

    for (guint i = 0; i < 400000; i++)
        g_string_append_printf(attributes, "a%u='' ", i);
    g_string_append(attributes, "/>");
    assert_bad(deep, "cannot be parsed");
    assert_bad(chain, "cannot be parsed");
    assert_bad(wide, "too many");
    assert_bad(text, "longer than 16 MiB");
    assert_bad(inside, "cannot be parsed"); /* 15 MiB: below this limit, above libxml2's for one text */
    assert_bad(attributes->str, "too many");
}

/* libvirt's own limit is 200 files in a chain. */
static void test_long_chain(void)
{
    GString *text = g_string_new("<domain><name>n</name><uuid>u</uuid><devices><disk><source file='/0'/>"
                                 "<target dev='vda'/>");
    for (guint i = 0; i < 200; i++)
        g_string_append_printf(text, "<backingStore type='file'><format type='qcow2'/><source file='/%u'/>", i + 1);
    g_string_append(text, "<backingStore/>");
    for (guint i = 0; i < 200; i++)
        g_string_append(text, "</backingStore>");
    g_string_append(text, "</disk></devices></domain>");
    g_autofree char *xml_text = g_string_free(text, FALSE);
    g_autoptr(VmigDomainXml) xml = parse_good(xml_text);
    const VmigDomainDisk *disk = vmig_domain_xml_disk(xml, "vda");
    g_assert_cmpuint(disk->backing->len, ==, 200);
    g_assert_true(disk->chain_known);
    g_assert_cmpstr(((VmigChainFile *)disk->backing->pdata[199])->file, ==, "/200");
}

static void test_rare_devices(void)
{
    static const char text[] =
        "<domain><name>n</name><uuid>u</uuid><memory unit='MB'>3</memory><os><nvram format='qcow2' type='file'>"
        "<source file='/nv'/></nvram><acpi><table type='slic'>/slic</table></acpi></os><sysinfo type='fwcfg'>"
        "<entry name='opt/x' file='/fw'/></sysinfo><devices>"
        "<disk type='vhostuser'><source type='unix' path='/s'/><target dev='vda'/></disk>"
        "<disk device='floppy'><source file='/f' startupPolicy='optional'/><target dev='fda'/></disk>"
        "<disk><source file='/e'><encryption format='luks'/><slices/></source><target dev='vdb'/><transient/></disk>"
        "<disk type='volume'><source pool='p' volume='v'/><target dev='vdc'/></disk>"
        "<interface type='hostdev'/><serial type='dev'><source path='/dev/ttyS0'/></serial>"
        "<memory model='nvdimm'><source><path>/nvdimm</path></source></memory>"
        "<memory model='dimm'><target/></memory><filesystem><source dir='/d'/></filesystem>"
        "<hostdev type='mdev'><source><address uuid='u-1'/></source></hostdev></devices></domain>";
    g_autoptr(VmigDomainXml) xml = parse_good(text);
    const VmigDomainFacts *f = vmig_domain_xml_facts(xml);

    g_assert_cmpuint(f->memory, ==, 3000000);
    g_assert_cmpstr(f->nvram, ==, "/nv");
    g_assert_cmpstr(f->nvram_format, ==, "qcow2");
    assert_strings(f->needed_files, "/slic|/fw");
    assert_strings(f->vhost_users, "disk vda");
    assert_strings(f->host_devices, "interface hostdev|serial /dev/ttyS0|nvdimm /nvdimm|mdev u-1");
    assert_strings(f->filesystems, "9p /d");
    g_assert_true(vmig_domain_xml_disk(xml, "vdb")->encrypted);
    g_assert_true(vmig_domain_xml_disk(xml, "vdb")->sliced);
    g_assert_true(vmig_domain_xml_disk(xml, "vdb")->transient);
    g_assert_cmpstr(vmig_domain_xml_disk(xml, "vdc")->source_text, ==, "volume v of pool p");
}

static void count_error(void *data, const char *format, ...)
{
    (void)format;
    ++*(guint *)data;
}

int main(int argc, char **argv)
{
    guint printed = 0;

    g_test_init(&argc, &argv, NULL);
    /* libxml2 prints through this; a library must not print. */
    xmlSetGenericErrorFunc(&printed, count_error);
    g_test_add_func("/domain-xml/facts", test_facts);
    g_test_add_func("/domain-xml/disks", test_disks);
    g_test_add_func("/domain-xml/rare-devices", test_rare_devices);
    g_test_add_func("/domain-xml/chain-matches", test_chain_matches);
    g_test_add_func("/domain-xml/chain-of-top", test_chain_of_top);
    g_test_add_func("/domain-xml/chain-without-end", test_chain_without_end);
    g_test_add_func("/domain-xml/long-chain", test_long_chain);
    g_test_add_func("/domain-xml/round-trip", test_round_trip);
    g_test_add_func("/domain-xml/round-trip-edges", test_round_trip_edges);
    g_test_add_func("/domain-xml/for-destination", test_for_destination);
    g_test_add_func("/domain-xml/without-white-space", test_without_white_space);
    g_test_add_func("/domain-xml/for-destination-refuses", test_for_destination_refuses);
    g_test_add_func("/domain-xml/disk-snapshot", test_disk_snapshot_attribute);
    g_test_add_func("/domain-xml/job-xml", test_job_xml);
    g_test_add_func("/domain-xml/metadata", test_metadata);
    g_test_add_func("/domain-xml/snapshot", test_snapshot_for_destination);
    g_test_add_func("/domain-xml/snapshot-unchanged", test_snapshot_unchanged);
    g_test_add_func("/domain-xml/snapshot-swap", test_snapshot_swap);
    g_test_add_func("/domain-xml/snapshot-watchdog", test_snapshot_watchdog);
    g_test_add_func("/domain-xml/snapshot-refuses", test_snapshot_refuses);
    g_test_add_func("/domain-xml/bad-small", test_bad_small);
    g_test_add_func("/domain-xml/doctype", test_doctype);
    g_test_add_func("/domain-xml/bad-large", test_bad_large);
    int result = g_test_run();
    g_assert_cmpuint(printed, ==, 0);
    return result;
}
