/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A disk that is not moved is refused unless it is the same storage on both hosts, for each type of source that libvirt
 * has and for one that it does not have yet. plan-rows-stay.c tests the complete texts of the refusals, and that their
 * hints help. */
#include <string.h>

#include "core/errors.h"
#include "plan/plan.h"

#define DOMAIN                                                                                                         \
    "<domain type='kvm'><name>g</name><uuid>11111111-2222-3333-4444-555555555555</uuid><memory>1</memory><devices>%s"  \
    "</devices></domain>"
#define DISK(type, device, source, rest)                                                                               \
    "<disk type='" type "' device='" device "'><driver name='qemu' type='raw'/>" source "<target dev='vdb'/>" rest     \
    "<backingStore/></disk>"

/* What one simulated host has at the only path. */
typedef struct {
    VmigNode base;
    VmigIdentityKind kind;
    guint64 size, ino;
    gboolean shared;
    const char *name;
    const char *content; /* the samples and the digest */
    gboolean moving;     /* every read of the content differs */
    gboolean fails;
    const char *denied, *read_only; /* why QEMU there cannot use it */
    guint asked, hashed;
} Host;

static gboolean answer_identity(const Host *host, VmigIdentity *reply)
{
    *reply = (VmigIdentity){.kind = host->kind,
                            .size = host->size,
                            .ino = host->ino,
                            .filesystem = 0x6969,
                            .shared = host->shared,
                            .name = g_strdup(host->name),
                            .denied = g_strdup(host->denied),
                            .read_only = g_strdup(host->read_only),
                            .samples = g_new0(char *, 2)};
    reply->samples[0] = g_strdup_printf("%s-%u", host->content, host->moving ? host->asked : 0);
    return TRUE;
}

static gboolean call(VmigNode *self, VmigMethod method, gconstpointer args, gpointer reply, GError **error)
{
    Host *host = (Host *)self;

    g_assert_cmpstr(((const VmigPathArgs *)args)->path, ==, "/s/b");
    host->asked++;
    if (host->fails)
        return vmig_fail(error, VMIG_ERROR_CONNECTION, NULL, "gone");
    if (method == VMIG_METHOD_IDENTITY)
        return answer_identity(host, reply);
    g_assert_cmpint(method, ==, VMIG_METHOD_DIGEST);
    host->hashed++;
    ((VmigDigestReply *)reply)->digest = g_strdup(host->content);
    return TRUE;
}

static const VmigNodeOps ops = {.call = call};

typedef struct {
    VmigPlan plan;
    VmigEnv env;
    Host here, there;
} Fixture;

static void set_up(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    const Host host = {
        .base = {&ops, (char *)"host"}, .kind = VMIG_IDENTITY_FILE, .size = 4096, .ino = 7, .content = "a"};

    f->here = f->there = host;
    f->env.source.node = &f->here.base;
    f->env.dest.node = &f->there.base;
    f->plan.refusals = g_ptr_array_new();
    f->plan.notes = g_ptr_array_new_with_free_func(g_free);
}

static void forget(Fixture *f)
{
    for (guint i = 0; i < f->plan.refusals->len; i++) {
        VmigRefusal *refusal = f->plan.refusals->pdata[i];
        g_free(refusal->disk);
        g_free(refusal->message);
        g_free(refusal->hint);
        g_free(refusal);
    }
    g_ptr_array_set_size(f->plan.refusals, 0);
}

static void tear_down(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    forget(f);
    g_ptr_array_unref(f->plan.refusals);
    g_ptr_array_unref(f->plan.notes);
}

/* The code of the refusal, or VMIG_ERROR_LAST for none; each refusal names the disk and has a hint. */
static VmigErrorCode ask(Fixture *f, const char *disk_xml)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *text = g_strdup_printf(DOMAIN, disk_xml);
    g_autoptr(VmigDomainXml) xml = vmig_domain_xml_parse(text, &error);
    VmigPlanDisk disk = {.why_not = (char *)"not named with --disk"};

    g_assert_no_error(error);
    forget(f);
    disk.disk = vmig_domain_xml_disk(xml, "vdb");
    vmig_survey_ask_stay(&f->env, &disk);
    vmig_plan_rule_stay(&f->plan, &disk);
    g_clear_pointer(&disk.stay, g_ptr_array_unref);
    if (f->plan.refusals->len == 0)
        return VMIG_ERROR_LAST;
    g_assert_cmpuint(f->plan.refusals->len, ==, 1);
    const VmigRefusal *refusal = f->plan.refusals->pdata[0];
    g_assert_cmpstr(refusal->disk, ==, "vdb");
    g_assert_nonnull(strstr(refusal->message, "vdb"));
    g_assert_nonnull(refusal->hint);
    return refusal->code;
}

static void assert_refused(Fixture *f, const char *disk_xml, const char *word)
{
    g_assert_cmpint(ask(f, disk_xml), ==, VMIG_ERROR_NOT_SHARED);
    const VmigRefusal *refusal = f->plan.refusals->pdata[0];
    if (strstr(refusal->message, word) == NULL)
        g_error("'%s' does not say '%s'", refusal->message, word);
}

#define FILE_DISK DISK("file", "disk", "<source file='/s/b'/>", "")
#define READONLY_DISK DISK("file", "disk", "<source file='/s/b'/>", "<readonly/>")
#define BLOCK_DISK DISK("block", "disk", "<source dev='/s/b'/>", "")

static void test_file(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    assert_refused(f, FILE_DISK, "a file system that only this host has");
    f->here.shared = TRUE;
    assert_refused(f, FILE_DISK, "a file system that only the destination has");
    f->there.shared = TRUE;
    g_assert_cmpint(ask(f, FILE_DISK), ==, VMIG_ERROR_LAST);
    g_assert_cmpuint(f->plan.notes->len, ==, 1);
    f->there.ino = 8;
    assert_refused(f, FILE_DISK, "are not the same");
    f->there.ino = 7;
    f->there.content = "b";
    assert_refused(f, FILE_DISK, "the contents differ");
    f->there.kind = VMIG_IDENTITY_ABSENT;
    assert_refused(f, FILE_DISK, "does not have this file");
    f->there.kind = VMIG_IDENTITY_BLOCK;
    assert_refused(f, FILE_DISK, "different kinds");
    f->there.fails = TRUE;
    g_assert_cmpint(ask(f, FILE_DISK), ==, VMIG_ERROR_NOT_SHARED);
    g_assert_cmpuint(f->here.hashed, ==, 0);
}

/* A disk that the guest writes to: its content at one moment proves nothing, and a changing block disproves nothing
 * while another block is unchanged. */
static void test_written(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    f->here.shared = f->there.shared = TRUE;
    f->here.moving = TRUE;
    assert_refused(f, FILE_DISK, "no part of the content");
    f->here.moving = FALSE;
    f->there.size = 8192; /* it grew */
    g_assert_cmpint(ask(f, FILE_DISK), ==, VMIG_ERROR_LAST);
}

static void test_block(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    f->here.kind = f->there.kind = VMIG_IDENTITY_BLOCK;
    assert_refused(f, BLOCK_DISK, "no WWN");
    f->here.name = "naa.600140500000000a";
    assert_refused(f, BLOCK_DISK, "no WWN");
    f->there.name = "naa.600140500000000b";
    assert_refused(f, BLOCK_DISK, "different devices");
    f->there.name = f->here.name;
    g_assert_cmpint(ask(f, BLOCK_DISK), ==, VMIG_ERROR_LAST);
    f->there.size = 8192;
    assert_refused(f, BLOCK_DISK, "different sizes");
    f->there.size = 4096;
    f->there.content = "b";
    assert_refused(f, BLOCK_DISK, "the contents differ");
    /* Read-only for the guest does not mean unchanged: others may write to a device. */
    f->there.name = NULL;
    f->there.content = "a";
    assert_refused(f, DISK("block", "disk", "<source dev='/s/b'/>", "<readonly/>"), "no WWN");
    assert_refused(f, DISK("block", "disk", "<source dev='/s/b'/>", "<shareable/>"), "no WWN");
    assert_refused(f, DISK("block", "lun", "<source dev='/s/b'/>", ""), "no WWN");
}

/* The same storage, but QEMU there cannot use it. */
static void test_access(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    f->here.shared = f->there.shared = TRUE;
    f->there.read_only = "the file system is not writable there";
    g_assert_cmpint(ask(f, FILE_DISK), ==, VMIG_ERROR_NO_ACCESS);
    g_assert_cmpint(ask(f, READONLY_DISK), ==, VMIG_ERROR_LAST);
    f->there.read_only = NULL;
    f->there.denied = "QEMU's user (uid 7) has no access to the directory /s there";
    g_assert_cmpint(ask(f, READONLY_DISK), ==, VMIG_ERROR_NO_ACCESS);
    const VmigRefusal *refusal = f->plan.refusals->pdata[0];
    g_assert_nonnull(strstr(refusal->message, "/s/b"));
    g_assert_nonnull(strstr(refusal->message, "no access to the directory /s"));
    /* For other storage, only that is refused. */
    f->there.ino = 8;
    f->there.content = "b";
    g_assert_cmpint(ask(f, FILE_DISK), ==, VMIG_ERROR_NOT_SHARED);
}

/* A file without writers may be a copy. */
static void test_readonly(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_assert_cmpint(ask(f, READONLY_DISK), ==, VMIG_ERROR_LAST);
    g_assert_cmpuint(f->here.hashed, ==, 1);
    f->there.content = "b";
    assert_refused(f, READONLY_DISK, "the contents differ");
    f->there.content = "a";
    f->there.size = 8192;
    assert_refused(f, READONLY_DISK, "the contents differ");
    g_assert_cmpuint(f->here.hashed, ==, 2); /* different sizes suffice */
    f->there.kind = VMIG_IDENTITY_ABSENT;
    g_assert_cmpint(ask(f, READONLY_DISK), ==, VMIG_ERROR_MEDIA_MISSING);
}

static void test_media(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_assert_cmpint(ask(f, DISK("file", "cdrom", "", "")), ==, VMIG_ERROR_LAST);
    g_assert_cmpint(ask(f, DISK("block", "cdrom", "", "")), ==, VMIG_ERROR_LAST);
    g_assert_cmpint(ask(f, DISK("file", "floppy", "", "")), ==, VMIG_ERROR_LAST);
    g_assert_cmpuint(f->here.asked, ==, 0);
    g_assert_cmpint(ask(f, DISK("file", "cdrom", "<source file='/s/b'/>", "")), ==, VMIG_ERROR_LAST);
    /* The guest can write to a floppy. */
    assert_refused(f, DISK("file", "floppy", "<source file='/s/b'/>", ""), "a file system that only this host has");
    f->there.content = "b";
    assert_refused(f, DISK("file", "cdrom", "<source file='/s/b'/>", ""), "the contents differ");
    assert_refused(f, DISK("file", "cdrom", "<source file='/s/b' startupPolicy='optional'/>", ""), "contents differ");
    f->there.kind = VMIG_IDENTITY_ABSENT;
    g_assert_cmpint(ask(f, DISK("file", "cdrom", "<source file='/s/b' startupPolicy='optional'/>", "")), ==,
                    VMIG_ERROR_LAST);
    g_assert_cmpint(ask(f, DISK("file", "cdrom", "<source file='/s/b' startupPolicy='mandatory'/>", "")), ==,
                    VMIG_ERROR_MEDIA_MISSING);
}

#define NETWORK(protocol, host)                                                                                        \
    DISK("network", "disk", "<source protocol='" protocol "' name='x'>" host "</source>", "")

static void test_network(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_assert_cmpint(ask(f, NETWORK("rbd", "")), ==, VMIG_ERROR_LAST);
    g_assert_cmpint(ask(f, NETWORK("iscsi", "<host name='store.example' port='3260'/>")), ==, VMIG_ERROR_LAST);
    g_assert_cmpint(ask(f, NETWORK("nbd", "<host name='192.0.2.9' port='10809'/>")), ==, VMIG_ERROR_LAST);
    assert_refused(f, NETWORK("nbd", ""), "this host itself");
    assert_refused(f, NETWORK("nbd", "<host transport='unix' socket='/s'/>"), "this host itself");
    assert_refused(f, NETWORK("nbd", "<host name='localhost' port='10809'/>"), "this host itself");
    assert_refused(f, NETWORK("rbd", "<host name='store.example'/><host name='127.0.0.1'/>"), "this host itself");
    assert_refused(f, NETWORK("gluster", "<host name='::1'/>"), "this host itself");
    g_assert_cmpuint(f->there.asked, ==, 0);
}

static void test_other_types(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    assert_refused(f, DISK("volume", "disk", "<source pool='p' volume='v'/>", ""), "pool of that name");
    assert_refused(f, DISK("volume", "cdrom", "<source pool='p' volume='v'/>", ""), "pool of that name");
    assert_refused(f, DISK("dir", "disk", "<source dir='/s/b'/>", "<readonly/>"), "a resource of this host");
    assert_refused(f, DISK("nvme", "disk", "<source type='pci' namespace='1'/>", ""), "a resource of this host");
    assert_refused(f, DISK("vhostuser", "disk", "<source type='unix' path='/s/b'/>", ""), "a resource of this host");
    assert_refused(f, DISK("vhostvdpa", "disk", "<source dev='/s/b'/>", ""), "a resource of this host");
    assert_refused(f, DISK("tomorrow", "disk", "<source x='y'/>", ""), "does not know");
    assert_refused(f, DISK("tomorrow", "disk", "", ""), "does not know");
}

/* Every file of the chain counts, and an unknown one counts as different. */
static void test_chain(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
#define CHAIN(below)                                                                                                   \
    "<disk type='file' device='disk'><driver type='qcow2'/><source file='/s/b'/><target dev='vdb'/>" below "</disk>"
    f->here.shared = f->there.shared = TRUE;
    g_assert_cmpint(ask(f, CHAIN("<backingStore/>")), ==, VMIG_ERROR_LAST);
    assert_refused(f, CHAIN(""), "backing file");
    assert_refused(f,
                   CHAIN("<backingStore type='network'><format type='raw'/><source protocol='nbd' name='x'>"
                         "<host name='h'/></source><backingStore/></backingStore>"),
                   "backing file");
    g_assert_cmpint(ask(f, CHAIN("<backingStore type='file'><format type='raw'/><source file='/s/b'/>"
                                 "<backingStore/></backingStore>")),
                    ==, VMIG_ERROR_LAST);
}

/* The host does not answer: reported elsewhere, not as a property of the disk. */
static void test_unreachable(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    f->env.dest.node = NULL;
    g_assert_cmpint(ask(f, FILE_DISK), ==, VMIG_ERROR_LAST);
    g_assert_cmpuint(f->plan.notes->len, ==, 0);
}

#define ADD(name, function) g_test_add("/plan-stay/" name, Fixture, NULL, set_up, function, tear_down)

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    ADD("file", test_file);
    ADD("written", test_written);
    ADD("access", test_access);
    ADD("block", test_block);
    ADD("readonly", test_readonly);
    ADD("media", test_media);
    ADD("network", test_network);
    ADD("other-types", test_other_types);
    ADD("chain", test_chain);
    ADD("unreachable", test_unreachable);
    return g_test_run();
}
