/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The verification on real images: what it hashes is what qemu-img reads, equal images are found equal (even while they
 * are written to), and each kind of difference is found and named. libvirt is simulated. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <glib.h>
#include <glib/gstdio.h>

#include "definition/snapshot-tree.h"
#include "verify/verify.h"
#include "verify/contents.h"
#include "node/node-local.h"

#define MIB (1u << 20)
#define MEMORY (5 * MIB + 300 * 1024)

/* --- a simulated libvirt ----------------------------------------------------------------------------------------- */

typedef struct {
    VmigHypervisor parent;
    GPtrArray *snapshots; /* VmigSnapshot */
    char *disk;           /* the guest's disk */
    gboolean absent;
    const char *lacks; /* a machine with this word in its XML would not start */
} Fake;

static VmigSnapshot *new_snapshot(const char *name, const char *parent, gboolean memory, gboolean current,
                                  const char *description)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *up = parent != NULL ? g_strdup_printf("<parent><name>%s</name></parent>", parent) : g_strdup("");
    g_autofree char *xml = g_strdup_printf(
        "<domainsnapshot><name>%s</name><description>%s</description><state>%s</state>%s"
        "<creationTime>1700000000</creationTime><memory snapshot='%s'/>"
        "<domain type='qemu'><name>g</name><uuid>u</uuid><os><type machine='pc-%s'>hvm</type></os></domain>"
        "</domainsnapshot>",
        name, description, memory ? "running" : "shutoff", up, memory ? "internal" : "no", name);
    VmigSnapshot *snapshot = vmig_snapshot_from_xml(xml, &error);

    g_assert_no_error(error);
    snapshot->current = current;
    return snapshot;
}

static void add_tree(GPtrArray *snapshots)
{
    g_ptr_array_add(snapshots, new_snapshot("one", NULL, TRUE, FALSE, "the first"));
    g_ptr_array_add(snapshots, new_snapshot("two", "one", FALSE, FALSE, "the second"));
    g_ptr_array_add(snapshots, new_snapshot("three", "two", TRUE, TRUE, "the third"));
}

static gboolean fake_find(VmigHypervisor *self, const char *name G_GNUC_UNUSED, VmigDomainInfo **ret,
                          GError **error G_GNUC_UNUSED)
{
    *ret = NULL;
    if (((Fake *)self)->absent)
        return TRUE;
    *ret = g_new0(VmigDomainInfo, 1);
    (*ret)->name = g_strdup("g");
    (*ret)->uuid = g_strdup("u");
    (*ret)->run = VMIG_RUN_RUNNING;
    return TRUE;
}

static gboolean fake_xml(VmigHypervisor *self, const char *uuid G_GNUC_UNUSED, VmigXmlKind kind G_GNUC_UNUSED,
                         char **ret, GError **error G_GNUC_UNUSED)
{
    *ret = g_strdup_printf("<domain type='qemu'><name>g</name><uuid>u</uuid><devices><disk type='file' device='disk'>"
                           "<driver name='qemu' type='qcow2'/><source file='%s'/><target dev='vda' bus='virtio'/>"
                           "</disk></devices></domain>",
                           ((Fake *)self)->disk);
    return TRUE;
}

static gboolean fake_snapshots(VmigHypervisor *self, const char *uuid G_GNUC_UNUSED, GPtrArray **ret,
                               GError **error G_GNUC_UNUSED)
{
    *ret = g_ptr_array_ref(((Fake *)self)->snapshots);
    return TRUE;
}

static gboolean fake_would_start(VmigHypervisor *self, const char *xml, GError **error)
{
    const Fake *fake = (const Fake *)self;

    g_assert_true(g_str_has_prefix(xml, "<domain "));
    if (fake->lacks == NULL || strstr(xml, fake->lacks) == NULL)
        return TRUE;
    return vmig_fail(error, VMIG_ERROR_NO_EMULATOR, NULL, "does not support machine type");
}

static const VmigHypervisorOps fake_ops = {
    .find = fake_find, .domain_xml = fake_xml, .snapshots = fake_snapshots, .would_start = fake_would_start};

/* --- two hosts --------------------------------------------------------------------------------------------------- */

typedef struct {
    char *dir;
    char *roots[2];
    VmigNode *nodes[2];
    Fake fake;
    VmigJob *job;
    gboolean cancel;
    void (*meanwhile)(gpointer user); /* at the first progress */
    guint64 done;                     /* at the last one */
    guint64 total;
} Fixture;

static void sh(Fixture *f, const char *format, ...) G_GNUC_PRINTF(2, 3);
static void sh(Fixture *f, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    g_autofree char *command = g_strdup_vprintf(format, args);
    va_end(args);
    char *argv[] = {"/bin/sh", "-ec", command, NULL};
    g_autoptr(GError) error = NULL;
    gint status = 0;
    g_spawn_sync(f->dir, argv, NULL, G_SPAWN_STDOUT_TO_DEV_NULL, NULL, NULL, NULL, NULL, &status, &error);
    g_assert_no_error(error);
    g_spawn_check_wait_status(status, &error);
    g_assert_no_error(error);
}

static void set_up(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    static const char *const names[] = {"a", "b"};
    g_autoptr(GError) error = NULL;

    f->dir = g_dir_make_tmp("vmig-verify-XXXXXX", NULL);
    for (guint i = 0; i < 2; i++) {
        f->roots[i] = g_build_filename(f->dir, names[i], NULL);
        g_autofree char *state = g_build_filename(f->dir, names[i], "state", NULL);
        g_autofree char *run = g_build_filename(f->dir, names[i], "run", NULL);
        const char *const roots[] = {f->roots[i], NULL};
        VmigNodeConfig config = {.state_dir = state,
                                 .run_dir = run,
                                 .roots = roots,
                                 .exe = "/bin/false",
                                 .machine_id = names[i],
                                 .role = VMIG_SOURCE};
        g_assert_cmpint(g_mkdir(f->roots[i], 0755), ==, 0);
        f->nodes[i] = vmig_node_local_new(names[i], &config, &error);
        g_assert_no_error(error);
    }
    f->fake = (Fake){.parent = {.ops = &fake_ops, .host = (char *)"b"}};
    f->fake.snapshots = g_ptr_array_new_with_free_func((GDestroyNotify)vmig_snapshot_free);
    f->fake.disk = g_build_filename(f->roots[1], "d.qcow2", NULL);
    f->job = vmig_job_new(&vmig_states_migrate);
    f->job->id = g_strdup("0123456789abcdef");
    f->job->uuid = g_strdup("u");
    f->job->domain = g_strdup("g");
    f->job->host[VMIG_DEST] = g_strdup("b");
}

static void tear_down(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    for (guint i = 0; i < 2; i++) {
        vmig_node_free(f->nodes[i]);
        g_free(f->roots[i]);
    }
    g_ptr_array_unref(f->fake.snapshots);
    g_free(f->fake.disk);
    vmig_job_free(f->job);
    sh(f, "rm -rf '%s'", f->dir);
    g_free(f->dir);
}

/* --- images ------------------------------------------------------------------------------------------------------ */

static char *path_of(Fixture *f, guint role, const char *name)
{
    return g_build_filename(f->roots[role], name, NULL);
}

static void poke(const char *path, guint64 offset, gconstpointer bytes, gsize length)
{
    int fd = open(path, O_RDWR);

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(pwrite(fd, bytes, length, (off_t)offset), ==, (gssize)length);
    close(fd);
}

static void peek(const char *path, guint64 offset, gpointer bytes, gsize length)
{
    int fd = open(path, O_RDONLY);

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(pread(fd, bytes, length, (off_t)offset), ==, (gssize)length);
    close(fd);
}

static guint64 peek64(const char *path, guint64 offset)
{
    guint64 value;

    peek(path, offset, &value, sizeof value);
    return GUINT64_FROM_BE(value);
}

static guint entry_size(const char *path, guint64 at)
{
    guint16 id, name;
    guint32 extra;

    peek(path, at + 12, &id, 2);
    peek(path, at + 14, &name, 2);
    peek(path, at + 36, &extra, 4);
    guint size = 40 + GUINT32_FROM_BE(extra) + GUINT16_FROM_BE(id) + GUINT16_FROM_BE(name);
    return (size + 7) / 8 * 8;
}

/* The offset of the Nth snapshot's entry, from 0. */
static guint64 entry_at(const char *path, guint n)
{
    guint64 at = peek64(path, 64);

    for (guint i = 0; i < n; i++)
        at += entry_size(path, at);
    return at;
}

static void set_memory(const char *path, guint n, guint64 bytes)
{
    guint64 value = GUINT64_TO_BE(bytes);

    poke(path, entry_at(path, n) + 40, &value, sizeof value);
}

/* Three snapshots on a disk of two and a half blocks; the first and the last have memory, with a hole in it. */
static void make_image(Fixture *f, const char *name, const char *options)
{
    g_autofree char *path = path_of(f, 0, name);

    sh(f, "qemu-img create -q -f qcow2 %s '%s' 9M", options, path);
    sh(f,
       "qemu-io -f qcow2 -c 'write -P 7 1M 1M' -c 'write -P 3 8M 70k' -c 'write -b -P 90 0 4M' "
       "-c 'write -b -P 91 5M 300k' '%s'",
       path);
    sh(f, "qemu-img snapshot -c one '%s'", path);
    sh(f, "qemu-io -f qcow2 -c 'write -P 9 3M 2M' -c 'discard 8M 64k' '%s'", path);
    sh(f, "qemu-img snapshot -c two '%s'", path);
    sh(f, "qemu-io -f qcow2 -c 'write -z 1M 64k' -c 'write -b -P 17 0 5420k' '%s'", path);
    sh(f, "qemu-img snapshot -c three '%s'", path);
    sh(f, "qemu-io -f qcow2 -c 'write -P 11 0 9M' '%s'", path);
    set_memory(path, 0, MEMORY);
    set_memory(path, 2, MEMORY);
}

static void add_disk(Fixture *f, const char *target, const char *name)
{
    VmigDisk *disk = vmig_disk_new();
    VmigFile *file = vmig_file_new();
    struct stat st;

    disk->target = g_strdup(target);
    file->path[VMIG_SOURCE] = path_of(f, 0, name);
    file->path[VMIG_DEST] = path_of(f, 1, name);
    file->format = g_strdup("qcow2");
    g_assert_cmpint(stat(file->path[VMIG_SOURCE], &st), ==, 0);
    file->size = (guint64)st.st_size;
    file->ino = st.st_ino;
    file->mtime_ns = (guint64)st.st_mtim.tv_sec * 1000000000u + (guint64)st.st_mtim.tv_nsec;
    g_ptr_array_add(disk->files, file);
    vmig_job_add(f->job, disk);
}

/* A finished job: the image is on both hosts, and the guest runs on the copy. */
static char *move(Fixture *f, const char *options)
{
    make_image(f, "d.qcow2", options);
    sh(f, "cp a/d.qcow2 b/d.qcow2");
    add_disk(f, "vda", "d.qcow2");
    add_tree(f->job->snapshots);
    add_tree(f->fake.snapshots);
    return path_of(f, 1, "d.qcow2");
}

static gboolean is_cancelled(gpointer user)
{
    return ((Fixture *)user)->cancel;
}

static void on_progress(gpointer user, const VmigProgress *progress)
{
    Fixture *f = user;
    void (*meanwhile)(gpointer user) = f->meanwhile;

    f->done = progress->done;
    f->total = progress->total;
    f->meanwhile = NULL;
    if (meanwhile != NULL)
        meanwhile(f);
}

static VmigVerdict *verify_with(Fixture *f, GError **error)
{
    VmigVerifyRequest request = {
        .source = {.node = f->nodes[0]},
        .dest = {.node = f->nodes[1], .hypervisor = &f->fake.parent},
        .job = f->job,
        .cancelled = is_cancelled,
        .progress = on_progress,
        .user = f,
    };
    return vmig_verify(&request, error);
}

static VmigVerdict *verify(Fixture *f)
{
    g_autoptr(GError) error = NULL;
    VmigVerdict *verdict = verify_with(f, &error);

    g_assert_no_error(error);
    return verdict;
}

static void show(const VmigVerdict *verdict)
{
    for (guint i = 0; i < verdict->differences->len; i++)
        g_test_message("different: %s", ((const VmigDifference *)verdict->differences->pdata[i])->message);
    for (guint i = 0; i < verdict->unproven->len; i++)
        g_test_message("unproven: %s", ((const VmigDifference *)verdict->unproven->pdata[i])->message);
}

static void assert_outcome(Fixture *f, const char *outcome, VmigErrorCode code)
{
    g_autoptr(VmigVerdict) verdict = verify(f);
    g_autoptr(GError) error = NULL;

    show(verdict);
    g_assert_cmpstr(vmig_verdict_outcome(verdict), ==, outcome);
    g_assert_true(vmig_verdict_to_error(verdict, f->job, &error) == (code == VMIG_ERROR_LAST));
    if (code != VMIG_ERROR_LAST)
        g_assert_error(error, VMIG_ERROR, (int)code);
}

static void assert_equal(Fixture *f)
{
    assert_outcome(f, "equal", VMIG_ERROR_LAST);
}

/* Exactly one difference, of this kind and about this snapshot. */
static void assert_differs(Fixture *f, const char *kind, const char *snapshot, const char *words)
{
    g_autoptr(VmigVerdict) verdict = verify(f);

    show(verdict);
    g_assert_cmpstr(vmig_verdict_outcome(verdict), ==, "different");
    g_assert_cmpuint(verdict->differences->len, ==, 1);
    g_assert_cmpuint(verdict->unproven->len, ==, 0);
    const VmigDifference *first = verdict->differences->pdata[0];
    g_assert_cmpstr(first->kind, ==, kind);
    g_assert_cmpstr(first->snapshot, ==, snapshot);
    if (words != NULL)
        g_assert_nonnull(strstr(first->message, words));
}

static const VmigHashKey key = {{1, 2, 3}};

/* --- what is hashed ---------------------------------------------------------------------------------------------- */

static char *hash_file(const char *path)
{
    g_autoptr(GError) error = NULL;
    struct stat st;
    int fd = open(path, O_RDONLY);

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(fstat(fd, &st), ==, 0);
    char *hash = vmig_file_hash(&key, fd, (guint64)st.st_size, 1, NULL, NULL, NULL, &error);
    g_assert_no_error(error);
    close(fd);
    return hash;
}

static VmigTreeHash *read_whole(Fixture *f, const VmigContentAsk *ask, guint64 size, const VmigTreeHash *like)
{
    g_autoptr(GError) error = NULL;
    VmigTreeHash *hash = vmig_tree_hash_new(size, &key);
    guint64 next = 0;

    while (next < vmig_tree_hash_blocks(hash)) {
        vmig_node_content_page(f->nodes[0], ask, hash, like, &next, &error);
        g_assert_no_error(error);
    }
    return hash;
}

static void assert_hash(const VmigTreeHash *hash, const char *raw)
{
    g_autofree char *expected = hash_file(raw);
    g_autofree char *got = vmig_tree_hash_finish(hash, NULL);

    g_assert_cmpstr(got, ==, expected);
}

/* Each snapshot's disk, alone and relative to the previous one, compared with qemu-img's result. */
static void assert_disks(Fixture *f, const char *name)
{
    g_autofree char *path = path_of(f, 0, name), *raw = path_of(f, 0, "raw"), *stamp = NULL;
    g_autoptr(GError) error = NULL;
    g_autoptr(GPtrArray) contents = vmig_node_contents(f->nodes[0], path, &stamp, &error);
    g_autoptr(VmigTreeHash) before = NULL;

    g_assert_no_error(error);
    g_assert_cmpuint(contents->len, >, 1);
    for (guint i = 0; i < contents->len; i++) {
        const VmigContent *content = contents->pdata[i];
        VmigContentAsk ask = {path, stamp, content->id, NULL, VMIG_CONTENT_DISK, &key};
        sh(f, "qemu-img convert -f qcow2 -O raw -l snapshot.id=%s '%s' '%s'", content->id, path, raw);
        sh(f, "truncate -s %" G_GUINT64_FORMAT " '%s'", content->disk_size, raw);
        g_autoptr(VmigTreeHash) alone = read_whole(f, &ask, content->disk_size, NULL);
        assert_hash(alone, raw);
        ask.like = i > 0 ? ((const VmigContent *)contents->pdata[i - 1])->id : NULL;
        if (i > 0 && ((const VmigContent *)contents->pdata[i - 1])->disk_size != content->disk_size)
            ask.like = NULL;
        g_autoptr(VmigTreeHash) compared = read_whole(f, &ask, content->disk_size, before);
        assert_hash(compared, raw);
        g_clear_pointer(&before, vmig_tree_hash_free);
        before = g_steal_pointer(&compared);
    }
}

static void test_disks(Fixture *f, gconstpointer options)
{
    make_image(f, "d.qcow2", options);
    assert_disks(f, "d.qcow2");
}

static void test_compressed(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    sh(f, "qemu-img create -q -f qcow2 a/d.qcow2 9M; qemu-io -f qcow2 -c 'write -c -P 5 64k 64k' "
          "-c 'write -c -P 6 5M 64k' a/d.qcow2; qemu-img snapshot -c x a/d.qcow2; "
          "qemu-io -f qcow2 -c 'write -P 8 64k 10k' a/d.qcow2; qemu-img snapshot -c x a/d.qcow2");
    assert_disks(f, "d.qcow2");
}

static void test_backing(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    sh(f, "cd a; qemu-img create -q -f raw low.raw 6M; qemu-io -f raw -c 'write -P 44 2M 3M' low.raw; "
          "qemu-img create -q -f qcow2 -b low.raw -F raw mid.qcow2 8M; qemu-io -f qcow2 -c 'write -P 45 1M 1M' "
          "mid.qcow2; qemu-img create -q -f qcow2 -b mid.qcow2 -F qcow2 d.qcow2 9M; "
          "qemu-img snapshot -c x d.qcow2; qemu-io -f qcow2 -c 'write -P 46 3M 64k' -c 'write -z 2M 64k' d.qcow2; "
          "qemu-img snapshot -c y d.qcow2");
    assert_disks(f, "d.qcow2");
}

/* The first snapshot's disk ends where its memory begins, inside the current disk size. */
static void test_grown(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    make_image(f, "d.qcow2", "-o cluster_size=512");
    sh(f, "qemu-img resize -q -f qcow2 a/d.qcow2 40M; qemu-io -f qcow2 -c 'write -P 12 30M 1M' a/d.qcow2; "
          "qemu-img snapshot -c later a/d.qcow2");
    assert_disks(f, "d.qcow2");
}

static void assert_memory(Fixture *f, const char *path, const char *stamp, const char *id, const char *make)
{
    g_autofree char *raw = path_of(f, 0, "raw");
    VmigContentAsk ask = {path, stamp, id, NULL, VMIG_CONTENT_MEMORY, &key};

    sh(f, "rm -f '%s'; truncate -s %u '%s'; qemu-io -f raw %s '%s'", raw, MEMORY, raw, make, raw);
    g_autoptr(VmigTreeHash) hash = read_whole(f, &ask, MEMORY, NULL);
    assert_hash(hash, raw);
}

static void test_memory(Fixture *f, gconstpointer options)
{
    g_autofree char *path = path_of(f, 0, "d.qcow2"), *stamp = NULL;
    g_autoptr(GError) error = NULL;

    make_image(f, "d.qcow2", options);
    g_autoptr(GPtrArray) contents = vmig_node_contents(f->nodes[0], path, &stamp, &error);
    g_assert_no_error(error);
    assert_memory(f, path, stamp, "1", "-c 'write -P 90 0 4M' -c 'write -P 91 5M 300k'");
    assert_memory(f, path, stamp, "3", "-c 'write -P 17 0 5420k'");
}

static void test_refused(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autofree char *path = path_of(f, 0, "d.qcow2"), *stamp = NULL;
    g_autofree char *outside = g_build_filename(f->dir, "d.qcow2", NULL);
    g_autoptr(GPtrArray) contents = NULL;
    g_autoptr(VmigTreeHash) hash = vmig_tree_hash_new(9 * MIB, &key);
    guint64 next = 0;

    make_image(f, "d.qcow2", "");
    contents = vmig_node_contents(f->nodes[0], path, &stamp, NULL);
    const struct {
        VmigContentAsk ask;
        guint64 next;
        VmigErrorCode code;
    } rows[] = {
        {{outside, stamp, "1", NULL, VMIG_CONTENT_DISK, &key}, 0, VMIG_ERROR_OUTSIDE_ROOTS},
        {{path, "0", "1", NULL, VMIG_CONTENT_DISK, &key}, 0, VMIG_ERROR_INTERFERENCE},
        {{path, stamp, "9", NULL, VMIG_CONTENT_DISK, &key}, 0, VMIG_ERROR_INTERFERENCE},
        {{path, stamp, "one", NULL, VMIG_CONTENT_DISK, &key}, 0, VMIG_ERROR_INTERFERENCE},
        {{path, stamp, "1", "9", VMIG_CONTENT_DISK, &key}, 0, VMIG_ERROR_INTERFERENCE},
        {{path, stamp, "1", NULL, VMIG_CONTENT_DISK, &key}, 3, VMIG_ERROR_PROTOCOL},
        {{path, stamp, "2", NULL, VMIG_CONTENT_MEMORY, &key}, 0, VMIG_ERROR_PROTOCOL},
    };
    for (guint i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GError) error = NULL;
        next = rows[i].next;
        g_assert_false(vmig_node_content_page(f->nodes[0], &rows[i].ask, hash, NULL, &next, &error));
        g_test_message("%u: %s", i, error->message);
        g_assert_error(error, VMIG_ERROR, (int)rows[i].code);
    }
}

/* Pages that another host could send. */
static void test_bad_pages(void)
{
    static const struct {
        const char *bytes;
        gsize length;
        gboolean good;
    } rows[] = {
        {"", 0, FALSE},
        {"Z\1\0\0\0", 5, TRUE},
        {"Z\3\0\0\0", 5, TRUE},
        {"Z\4\0\0\0", 5, FALSE},
        {"Z\0\0\0\0", 5, FALSE},
        {"Z\377\377\377\377", 5, FALSE},
        {"Z\1\0\0", 4, FALSE},
        {"S\1\0\0\0", 5, FALSE},
        {"X\1\0\0\0", 5, FALSE},
        {"D0123456789abcdef", 17, TRUE},
        {"D0123456789abcde", 16, FALSE},
        {"Z\3\0\0\0D0123456789abcdef", 22, FALSE},
        {"Z\3\0\0\0Z\1\0\0\0", 10, FALSE},
    };

    for (guint i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(VmigTreeHash) hash = vmig_tree_hash_new(3 * VMIG_HASH_BLOCK, &key);
        g_autoptr(GBytes) page = g_bytes_new_static(rows[i].bytes, rows[i].length);
        g_autoptr(GError) error = NULL;
        guint64 next = 0;
        g_test_message("page %u", i);
        g_assert_true(vmig_snapshot_page_apply(hash, NULL, page, 0, &next, &error) == rows[i].good);
        if (!rows[i].good)
            g_assert_error(error, VMIG_ERROR, VMIG_ERROR_PROTOCOL);
    }
}

/* --- what is found ----------------------------------------------------------------------------------------------- */

static void test_equal(Fixture *f, gconstpointer options)
{
    g_autofree char *path = move(f, options);
    g_autoptr(VmigVerdict) verdict = verify(f);

    show(verdict);
    g_assert_cmpstr(vmig_verdict_outcome(verdict), ==, "equal");
    const VmigVerifiedFile *file = verdict->files->pdata[0];
    g_assert_cmpint(file->against, ==, VMIG_AGAINST_IMAGE);
    g_assert_cmpstr(file->check, ==, "ok");
    g_assert_cmpuint(verdict->reverts->len, ==, 2);
    g_assert_cmpuint(f->done, ==, f->total);
    g_assert_cmpuint(f->total, ==, 2 * (3 * 9 * MIB + 2 * MEMORY));
    for (guint i = 0; i < 3; i++) {
        const VmigContent *left = file->left->pdata[i], *arrived = file->arrived->pdata[i];
        g_assert_nonnull(left->disk_hash);
        g_assert_cmpstr(left->disk_hash, ==, arrived->disk_hash);
        g_assert_true((left->memory_hash != NULL) == (left->vm_state_size > 0));
        g_assert_cmpstr(left->memory_hash, ==, arrived->memory_hash);
    }
    /* The guest continues: its disk is not compared. */
    sh(f, "qemu-io -f qcow2 -c 'write -P 200 0 9M' '%s'", path);
    assert_equal(f);
}

/* Only the content of one snapshot: written while it is the current state, then stored under its name again. */
static void test_content(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autofree char *path = move(f, "");
    guint64 l1 = peek64(path, entry_at(path, 1));
    guint64 l2 = peek64(path, l1) & G_GUINT64_CONSTANT(0x00fffffffffffe00);
    guint64 cluster = peek64(path, l2 + 8 * (3 * 16 + 1)) & G_GUINT64_CONSTANT(0x00fffffffffffe00); /* 3 MiB + 64 KiB */

    /* A cluster that only "two" and "three" have. */
    poke(path, cluster + 77, "!", 1);
    g_autoptr(VmigVerdict) verdict = verify(f);
    show(verdict);
    g_assert_cmpuint(verdict->differences->len, ==, 2);
    const VmigDifference *first = verdict->differences->pdata[0], *second = verdict->differences->pdata[1];
    g_assert_cmpstr(first->kind, ==, VMIG_DIFFERS_CONTENT);
    g_assert_cmpstr(first->snapshot, ==, "two");
    g_assert_nonnull(strstr(first->message, "4194304 bytes at 0"));
    g_assert_cmpstr(second->snapshot, ==, "three");
}

static void test_memory_byte(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autofree char *path = move(f, "");
    guint64 l1 = peek64(path, entry_at(path, 2));
    guint64 l2 = peek64(path, l1 + 8) & G_GUINT64_CONSTANT(0x00fffffffffffe00);
    /* The last cluster of the memory, which is in the second block. */
    guint64 cluster = peek64(path, l2 + 8 * ((MEMORY - 1) / 65536)) & G_GUINT64_CONSTANT(0x00fffffffffffe00);

    poke(path, cluster + 5, "!", 1);
    assert_differs(f, VMIG_DIFFERS_MEMORY, "three", "at 4194304");
}

static void test_name(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autofree char *path = move(f, "");

    poke(path, entry_at(path, 0) + entry_size(path, entry_at(path, 0)) - 8 + 1, "\xff", 1);
    g_autoptr(VmigVerdict) verdict = verify(f);
    show(verdict);
    g_assert_cmpstr(vmig_verdict_outcome(verdict), ==, "different");
}

/* Changes bytes of a table's entry, and restores them. */
static void assert_field(Fixture *f, const char *path, guint64 at, const char *bytes, gsize length, const char *words)
{
    g_autofree char *before = g_malloc(length);

    peek(path, at, before, length);
    poke(path, at, bytes, length);
    assert_differs(f, VMIG_DIFFERS_FIELD, "two", words);
    poke(path, at, before, length);
}

static void test_fields(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autofree char *path = move(f, "");
    guint64 two = entry_at(path, 1);

    assert_field(f, path, two + 16, "\1\2\3\4", 4, "date (seconds)");
    assert_field(f, path, two + 20, "\1\2\3\4", 4, "date (nanoseconds)");
    assert_field(f, path, two + 24, "\1\2\3\4", 4, "clock");
    assert_field(f, path, two + 40 + 16, "\1", 1, "instruction count");
    set_memory(path, 0, 0);
    assert_differs(f, VMIG_DIFFERS_FIELD, "one", "size of the memory");
}

/* The names "one" and "two" have the same length, and so do their entries. */
static void test_order(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autofree char *path = move(f, "");
    guint64 a = entry_at(path, 0), b = entry_at(path, 1);
    guint size = entry_size(path, a);
    g_autofree char *first = g_malloc(size), *second = g_malloc(size);

    g_assert_cmpuint(entry_size(path, b), ==, size);
    peek(path, a, first, size);
    peek(path, b, second, size);
    poke(path, a, second, size);
    poke(path, b, first, size);
    assert_differs(f, VMIG_DIFFERS_ORDER, "one", "another order");
}

static void test_missing(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autofree char *path = move(f, "");

    sh(f, "qemu-img snapshot -d two '%s'", path);
    assert_differs(f, VMIG_DIFFERS_MISSING, "two", NULL);
}

static void test_extra(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autofree char *path = move(f, "");

    sh(f, "qemu-img snapshot -c four '%s'", path);
    assert_differs(f, VMIG_DIFFERS_EXTRA, "four", NULL);
}

/* Duplicate names are no reason to compare the wrong snapshots. */
static void test_same_names(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autofree char *path = move(f, "");
    struct stat st;
    VmigFile *file = vmig_disk_base(f->job->disks->pdata[0]);

    sh(f, "qemu-img snapshot -c one a/d.qcow2; cp a/d.qcow2 b/d.qcow2");
    g_assert_cmpint(stat(file->path[VMIG_SOURCE], &st), ==, 0);
    file->size = (guint64)st.st_size;
    file->mtime_ns = (guint64)st.st_mtim.tv_sec * 1000000000u + (guint64)st.st_mtim.tv_nsec;
    assert_equal(f);
    set_memory(path, 3, 4096);
    assert_differs(f, VMIG_DIFFERS_FIELD, "one", "snapshot 4");
}

static void test_leak_and_damage(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autofree char *path = move(f, "");
    guint64 l1 = peek64(path, 40);

    /* A cluster of the active disk that its table no longer names is leaked; one that points to the header is damage.
     */
    guint64 l2 = peek64(path, l1) & G_GUINT64_CONSTANT(0x00fffffffffffe00), zero = 0;
    guint64 wrong = GUINT64_TO_BE(G_GUINT64_CONSTANT(0x8000000000000000) + peek64(path, 64));
    poke(path, l2, &zero, sizeof zero);
    g_autoptr(VmigVerdict) leaks = verify(f);
    show(leaks);
    g_assert_cmpstr(vmig_verdict_outcome(leaks), ==, "equal");
    g_assert_cmpstr(((const VmigVerifiedFile *)leaks->files->pdata[0])->check, ==, "leaks");
    poke(path, l2, &wrong, sizeof wrong);
    assert_differs(f, VMIG_DIFFERS_IMAGE, NULL, NULL);
}

static void test_gone(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autofree char *path = move(f, "");

    g_unlink(path);
    assert_differs(f, VMIG_DIFFERS_IMAGE, NULL, NULL);
}

static void test_two_disks(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autofree char *path = move(f, "");
    g_autofree char *other = path_of(f, 1, "e.qcow2");

    make_image(f, "e.qcow2", "");
    sh(f, "cp a/e.qcow2 b/e.qcow2");
    add_disk(f, "vdb", "e.qcow2");
    poke(other, entry_at(other, 1) + 16, "\1\2\3\4", 4);
    g_autoptr(VmigVerdict) verdict = verify(f);
    show(verdict);
    /* The simulated guest has one disk: the other one does not belong to it. */
    g_assert_cmpuint(verdict->differences->len, ==, 2);
    g_assert_cmpstr(((const VmigDifference *)verdict->differences->pdata[0])->kind, ==, VMIG_DIFFERS_DEFINITION);
    g_assert_cmpstr(((const VmigDifference *)verdict->differences->pdata[1])->disk, ==, "vdb");
}

/* --- libvirt ----------------------------------------------------------------------------------------------------- */

static void put_snapshot(Fixture *f, guint n, VmigSnapshot *snapshot)
{
    vmig_snapshot_free(f->fake.snapshots->pdata[n]);
    f->fake.snapshots->pdata[n] = snapshot;
}

static void test_tree(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autofree char *path = move(f, "");

    assert_equal(f);
    put_snapshot(f, 2, new_snapshot("three", "one", TRUE, TRUE, "the third"));
    assert_differs(f, VMIG_DIFFERS_TREE, "three", "parent was 'two' and is 'one'");
    put_snapshot(f, 2, new_snapshot("three", "two", TRUE, FALSE, "the third"));
    assert_differs(f, VMIG_DIFFERS_TREE, "three", "current");
    put_snapshot(f, 2, new_snapshot("three", "two", TRUE, TRUE, "other words"));
    assert_differs(f, VMIG_DIFFERS_TREE, "three", "description");
    put_snapshot(f, 2, new_snapshot("three", "two", TRUE, TRUE, "the third"));
    ((VmigSnapshot *)f->fake.snapshots->pdata[0])->creation_time++;
    assert_differs(f, VMIG_DIFFERS_TREE, "one", "creation time");
    ((VmigSnapshot *)f->fake.snapshots->pdata[0])->creation_time--;
    g_ptr_array_add(f->fake.snapshots, new_snapshot("four", "three", FALSE, FALSE, "new"));
    assert_differs(f, VMIG_DIFFERS_TREE, "four", "did not come");
    g_ptr_array_set_size(f->fake.snapshots, 2);
    assert_differs(f, VMIG_DIFFERS_TREE, "three", "is missing on the destination");
}

static void test_not_revertable(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autofree char *path = move(f, "");

    f->fake.lacks = "pc-three";
    assert_outcome(f, "not-revertable", VMIG_ERROR_NOT_REVERTABLE);
    f->fake.lacks = "pc-two"; /* it has no memory: reverting to it starts the machine as currently defined */
    assert_equal(f);
}

static void test_elsewhere(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autofree char *path = move(f, "");

    g_free(f->fake.disk);
    f->fake.disk = g_strdup("/elsewhere.qcow2");
    assert_differs(f, VMIG_DIFFERS_DEFINITION, NULL, "does not use");
    f->fake.absent = TRUE;
    assert_differs(f, VMIG_DIFFERS_DEFINITION, NULL, "no longer on b");
}

/* --- what the destination is compared with ----------------------------------------------------------------------- */

static void test_record(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autofree char *path = move(f, "");
    g_autoptr(VmigVerdict) first = verify(f);

    vmig_verdict_record(first, f->job);
    /* Through the journal's form, as it would be read back. */
    g_autofree char *text = vmig_job_to_string(f->job);
    vmig_job_free(f->job);
    f->job = vmig_job_from_string(text, NULL);
    g_assert_nonnull(f->job);
    sh(f, "rm a/d.qcow2");
    g_autoptr(VmigVerdict) second = verify(f);
    show(second);
    g_assert_cmpstr(vmig_verdict_outcome(second), ==, "equal");
    g_assert_cmpint(((const VmigVerifiedFile *)second->files->pdata[0])->against, ==, VMIG_AGAINST_RECORD);
    guint64 l1 = peek64(path, entry_at(path, 2));
    guint64 l2 = peek64(path, l1 + 8) & G_GUINT64_CONSTANT(0x00fffffffffffe00);
    poke(path, peek64(path, l2) & G_GUINT64_CONSTANT(0x00fffffffffffe00), "!", 1);
    assert_differs(f, VMIG_DIFFERS_MEMORY, "three", NULL);
}

static void test_no_truth(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autofree char *path = move(f, "");

    sh(f, "mv a/d.qcow2 a/away");
    assert_outcome(f, "unproven", VMIG_ERROR_UNPROVEN);
    sh(f, "mv a/away a/d.qcow2; touch a/d.qcow2");
    assert_outcome(f, "unproven", VMIG_ERROR_UNPROVEN);
    sh(f, "qemu-img snapshot -d two '%s'", path);
    assert_outcome(f, "unproven", VMIG_ERROR_UNPROVEN);
}

/* --- while the guest writes -------------------------------------------------------------------------------------- */

static gpointer write_all_the_time(gpointer data)
{
    Fixture *f = data;

    sh(f, "for i in $(seq 1 400); do echo \"write -P $((i %% 250)) $((i %% 140 * 64))k 64k\"; "
          "[ $((i %% 20)) = 0 ] && echo flush; [ $((i %% 10)) != 0 ] || sleep 0.02; done | "
          "qemu-io -f qcow2 b/d.qcow2");
    return NULL;
}

static void test_writer(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autofree char *path = move(f, "");
    GThread *writer = g_thread_new("writer", write_all_the_time, f);
    VmigImageLocks locks = {0};
    guint runs = 0;

    while (!locks.writer)
        g_assert_true(vmig_node_locks(f->nodes[1], path, &locks, NULL));
    while (locks.writer) {
        assert_equal(f);
        runs++;
        g_assert_true(vmig_node_locks(f->nodes[1], path, &locks, NULL));
    }
    g_thread_join(writer);
    g_test_message("%u verifications beside the writer", runs);
    assert_equal(f);
}

static void make_snapshot(gpointer user)
{
    sh(user, "qemu-img snapshot -c meanwhile b/d.qcow2");
}

static void test_changed_meanwhile(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autofree char *path = move(f, "");

    f->meanwhile = make_snapshot;
    g_autoptr(VmigVerdict) verdict = verify(f);
    show(verdict);
    g_assert_cmpstr(vmig_verdict_outcome(verdict), ==, "unproven");
    g_assert_nonnull(strstr(((const VmigDifference *)verdict->unproven->pdata[0])->message, "changed"));
}

static void ask_to_stop(gpointer user)
{
    ((Fixture *)user)->cancel = TRUE;
}

static void test_cancel(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autofree char *path = move(f, "");
    g_autoptr(GError) error = NULL;

    f->meanwhile = ask_to_stop;
    g_assert_null(verify_with(f, &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_CANCELLED);
}

/* Damages bytes of the header and of every table one after the other: verification always ends, and never with "equal"
 * if a snapshot reads differently. If it reads the same (a reserved byte), it may be equal. */
static void test_damaged(Fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autofree char *path = move(f, "-o cluster_size=4k");
    guint64 places[] = {0, entry_at(path, 0), peek64(path, entry_at(path, 0)), peek64(path, entry_at(path, 2)),
                        peek64(path, peek64(path, entry_at(path, 2))) & G_GUINT64_CONSTANT(0x00fffffffffffe00)};
    static const guint8 values[] = {0x00, 0x41, 0xff};
    guint equal = 0, other = 0;

    for (guint p = 0; p < G_N_ELEMENTS(places); p++)
        for (guint at = 0; at < 70; at += 14) {
            guint8 before, now = values[(at / 14) % G_N_ELEMENTS(values)];
            peek(path, places[p] + at, &before, 1);
            poke(path, places[p] + at, &now, 1);
            g_autoptr(GError) error = NULL;
            g_autoptr(VmigVerdict) verdict = verify_with(f, &error);
            g_test_message("%" G_GUINT64_FORMAT " + %u: %s", places[p], at,
                           verdict != NULL ? vmig_verdict_outcome(verdict) : error->message);
            g_assert_true((verdict == NULL) == (error != NULL));
            gboolean same = verdict != NULL && strcmp(vmig_verdict_outcome(verdict), "equal") == 0;
            *(same ? &equal : &other) += 1;
            if (now == before)
                g_assert_true(same);
            poke(path, places[p] + at, &before, 1);
        }
    g_test_message("%u equal, %u not", equal, other);
    g_assert_cmpuint(other, >, 8);
    assert_equal(f);
}

#define ADD(name, data, test) g_test_add("/verify/" name, Fixture, data, set_up, test, tear_down)

static void add_readings(void)
{
    ADD("disks", "", test_disks);
    ADD("disks/small-clusters", "-o cluster_size=512", test_disks);
    ADD("disks/large-clusters", "-o cluster_size=2M", test_disks);
    ADD("disks/extended", "-o extended_l2=on", test_disks);
    ADD("disks/compressed", NULL, test_compressed);
    ADD("disks/backing", NULL, test_backing);
    ADD("disks/grown", NULL, test_grown);
    ADD("memory", "", test_memory);
    ADD("memory/small-clusters", "-o cluster_size=512", test_memory);
    ADD("memory/extended", "-o extended_l2=on", test_memory);
    ADD("refused", NULL, test_refused);
    g_test_add_func("/verify/bad-pages", test_bad_pages);
}

static void add_differences(void)
{
    ADD("equal", "", test_equal);
    ADD("equal/extended", "-o extended_l2=on", test_equal);
    ADD("content", NULL, test_content);
    ADD("memory-byte", NULL, test_memory_byte);
    ADD("name", NULL, test_name);
    ADD("fields", NULL, test_fields);
    ADD("order", NULL, test_order);
    ADD("missing", NULL, test_missing);
    ADD("extra", NULL, test_extra);
    ADD("same-names", NULL, test_same_names);
    ADD("check", NULL, test_leak_and_damage);
    ADD("gone", NULL, test_gone);
    ADD("two-disks", NULL, test_two_disks);
    ADD("tree", NULL, test_tree);
    ADD("not-revertable", NULL, test_not_revertable);
    ADD("elsewhere", NULL, test_elsewhere);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    add_readings();
    add_differences();
    ADD("record", NULL, test_record);
    ADD("no-truth", NULL, test_no_truth);
    ADD("writer", NULL, test_writer);
    ADD("changed-meanwhile", NULL, test_changed_meanwhile);
    ADD("cancel", NULL, test_cancel);
    ADD("damaged", NULL, test_damaged);
    return g_test_run();
}
