/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Rows of plan-rows.h: which disks are moved, and what they are. */
#include "plan-rows.h"

/* --- which disks --- */

static void name_disk(PlanEnv *w, const char *target)
{
    plan_env_option(w->disks, w, target);
}

static void forget_disk(PlanEnv *w, const char *target)
{
    for (guint i = 0; i < w->disks->len; i++)
        if (g_strcmp0(w->disks->pdata[i], target) == 0) {
            g_ptr_array_remove_index(w->disks, i);
            return;
        }
    g_assert_not_reached();
}

static void both_named(PlanEnv *w)
{
    name_disk(w, "vda");
    name_disk(w, "vdb");
}

static void unknown_disk(PlanEnv *w)
{
    both_named(w);
    name_disk(w, "vdz");
}

static void unknown_left_out(PlanEnv *w, const char *hint G_GNUC_UNUSED)
{
    forget_disk(w, "vdz");
}

static void only_unknown(PlanEnv *w)
{
    name_disk(w, "vdz");
}

static void disk_left_out(PlanEnv *w, const char *hint G_GNUC_UNUSED)
{
    g_ptr_array_set_size(w->disks, 0);
}

static void known_named(PlanEnv *w, const char *hint G_GNUC_UNUSED)
{
    g_ptr_array_set_size(w->disks, 0);
    both_named(w);
}

static void mapped_unknown(PlanEnv *w)
{
    plan_env_option(w->maps, w, "vdz=@I@/new.qcow2");
}

static void map_left_out(PlanEnv *w, const char *hint G_GNUC_UNUSED)
{
    g_ptr_array_set_size(w->maps, 0);
}

static void map_of_a_disk(PlanEnv *w, const char *hint G_GNUC_UNUSED)
{
    g_ptr_array_set_size(w->maps, 0);
    plan_env_option(w->maps, w, "vdb=@I@/new.raw");
}

#define READ_ONLY "<target dev='vdb' bus='virtio'/><readonly/>"
#define SHAREABLE "<target dev='vdb' bus='virtio'/><shareable/>"
#define TARGET_B "<target dev='vdb' bus='virtio'/>"

/* The destination has the same content. */
static void read_only(PlanEnv *w)
{
    both_named(w);
    plan_env_edit(w, TARGET_B, READ_ONLY);
    plan_env_put(w, THERE, (PlanFile){.path = (char *)"@I@/data.raw", .size = GIB});
    plan_env_option(w->maps, w, "vdb=@I@/new.raw");
}

static void b_left_out(PlanEnv *w, const char *hint G_GNUC_UNUSED)
{
    forget_disk(w, "vdb");
    g_ptr_array_set_size(w->maps, 0);
}

/* On storage that both hosts share. */
static void put_on_both(PlanEnv *w)
{
    plan_env_file(w, HERE, "@I@/data.raw")->shared = TRUE;
    plan_env_put(w, THERE, (PlanFile){.path = (char *)"@I@/data.raw", .size = GIB, .shared = TRUE});
}

static void mapped_not_moved(PlanEnv *w)
{
    name_disk(w, "vda");
    put_on_both(w);
    plan_env_option(w->maps, w, "vdb=@I@/new.raw");
}

static void a_mapped(PlanEnv *w, const char *hint G_GNUC_UNUSED)
{
    g_ptr_array_set_size(w->maps, 0);
    plan_env_option(w->maps, w, "vda=@I@/new.qcow2");
}

static void shareable(PlanEnv *w)
{
    both_named(w);
    plan_env_edit(w, TARGET_B, SHAREABLE);
    put_on_both(w);
    plan_env_option(w->maps, w, "vdb=/big/new.raw");
}

static void shared(PlanEnv *w)
{
    both_named(w);
    put_on_both(w);
    plan_env_option(w->maps, w, "vdb=/big/new.raw");
}

static void all_read_only(PlanEnv *w)
{
    for (guint i = 0; i < 2; i++) {
        const char *target = i == 0 ? "<target dev='vda' bus='virtio'/>" : TARGET_B;
        g_autofree char *with = g_strconcat(target, "<readonly/>", NULL);
        plan_env_edit(w, target, with);
    }
    plan_env_put(w, THERE, (PlanFile){.path = (char *)"@I@/g.qcow2", .size = GIB});
    plan_env_put(w, THERE, (PlanFile){.path = (char *)"@I@/base.qcow2", .size = GIB});
    plan_env_put(w, THERE, (PlanFile){.path = (char *)"@I@/data.raw", .size = GIB});
}

static void moved_by_virsh(PlanEnv *w, const char *hint G_GNUC_UNUSED)
{
    w->guest_gone = TRUE;
}

/* --- what a disk is --- */

static void transient_disk(PlanEnv *w)
{
    plan_env_edit(w, TARGET_B, TARGET_B "<transient/>");
}

static void not_transient(PlanEnv *w, const char *hint G_GNUC_UNUSED)
{
    plan_env_edit(w, "<transient/>", "");
}

#define MIRROR                                                                                                         \
    "<mirror type='file' file='@I@/copy.raw' format='raw' job='copy' ready='yes'><format type='raw'/>"                 \
    "<source file='@I@/copy.raw'/></mirror>"

static void block_job(PlanEnv *w)
{
    plan_env_edit_live(w, TARGET_B, MIRROR TARGET_B);
}

static void block_job_ended(PlanEnv *w, const char *hint G_GNUC_UNUSED)
{
    plan_env_edit_live(w, MIRROR, "");
}

#define ENCRYPTION "<encryption format='luks'/>"
#define DATA_STORE "<dataStore type='file'><format type='raw'/><source file='@I@/data.bin'/></dataStore>"

static void encrypted_disk(PlanEnv *w)
{
    plan_env_edit(w, "<source file='@I@/data.raw'/>", "<source file='@I@/data.raw'>" ENCRYPTION "</source>");
}

static void empty_drive(PlanEnv *w)
{
    both_named(w);
    name_disk(w, "fda");
    plan_env_add_device(w, "<disk type='file' device='floppy'><target dev='fda' bus='fdc'/></disk>");
}

static void drive_left_out(PlanEnv *w, const char *hint G_GNUC_UNUSED)
{
    forget_disk(w, "fda");
}

static void data_store(PlanEnv *w)
{
    plan_env_edit(w, "<source file='@I@/g.qcow2'/>", "<source file='@I@/g.qcow2'>" DATA_STORE "</source>");
}

static void data_store_converted(PlanEnv *w, const char *hint G_GNUC_UNUSED)
{
    plan_env_edit(w, "<source file='@I@/g.qcow2'>" DATA_STORE "</source>", "<source file='@I@/g.qcow2'/>");
}

static void another_format(PlanEnv *w)
{
    plan_env_edit(w, "<driver name='qemu' type='raw'/>", "<driver name='qemu' type='vdi'/>");
}

static void sliced(PlanEnv *w)
{
    plan_env_edit(w, "<source file='@I@/data.raw'/>",
                  "<source file='@I@/data.raw'><slices><slice type='storage' offset='0' size='512'/></slices>"
                  "</source>");
}

static void reservations(PlanEnv *w)
{
    plan_env_edit(w, "<source file='@I@/data.raw'/>",
                  "<source file='@I@/data.raw'><reservations managed='yes'/></source>");
}

static void block_device(PlanEnv *w)
{
    plan_env_edit(w, "<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='@I@/data.raw'/>",
                  "<disk type='block' device='disk'><driver name='qemu' type='raw'/><source dev='/dev/vg/data'/>");
    plan_env_put(w, HERE, (PlanFile){.path = (char *)"/dev/vg/data", .block = TRUE, .size = GIB});
    plan_env_put(w, THERE, (PlanFile){.path = (char *)"/dev/vg/data", .block = TRUE, .size = GIB});
}

static void b_detached(PlanEnv *w, const char *hint G_GNUC_UNUSED)
{
    plan_env_detach(w, 0, "vdb");
    plan_env_detach(w, 1, "vdb");
}

#define ONLY_WHOLE                                                                                                     \
    "Only whole local qcow2 and raw files can be moved: detach the disk before the migration (virsh detach-disk)."
#define ONE_FILE "Shut the guest down, convert the image into one file (qemu-img convert), and use that file instead."

static const PlanRow rows[] = {
    {.name = "unknown-disk",
     .spoil = unknown_disk,
     .disk = "vdz",
     .code = VMIG_ERROR_UNKNOWN_DISK,
     .message = "the guest has no disk 'vdz'",
     .hint = "See virsh domblklist.",
     .follow = {unknown_left_out}},
    {.name = "mapped-unknown",
     .spoil = mapped_unknown,
     .disk = "vdz",
     .code = VMIG_ERROR_UNKNOWN_DISK,
     .message = "--map names disk 'vdz', which is not moved",
     .hint = "Omit that --map, or name a disk that is moved (virsh domblklist).",
     .follow = {map_left_out, map_of_a_disk}},
    {.name = "mapped-not-moved",
     .spoil = mapped_not_moved,
     .disk = "vdb",
     .code = VMIG_ERROR_UNKNOWN_DISK,
     .message = "--map names disk 'vdb', which is not moved",
     .hint = "Omit that --map, or name a disk that is moved (virsh domblklist).",
     .follow = {map_left_out, a_mapped}},
    {.name = "read-only",
     .spoil = read_only,
     .disk = "vdb",
     .code = VMIG_ERROR_READONLY_DISK,
     .message = "disk vdb is read-only",
     .hint = "Omit this disk from --disk.",
     .follow = {b_left_out}},
    {.name = "shareable",
     .spoil = shareable,
     .disk = "vdb",
     .code = VMIG_ERROR_SHARED_DISK,
     .message = "disk vdb is shared between hosts",
     .hint = "Omit this disk from --disk.",
     .follow = {b_left_out}},
    {.name = "shared",
     .spoil = shared,
     .disk = "vdb",
     .code = VMIG_ERROR_SHARED_DISK,
     .message = "disk vdb is shared between hosts",
     .hint = "Omit this disk from --disk.",
     .follow = {b_left_out}},
    {.name = "no-disk",
     .spoil = all_read_only,
     .code = VMIG_ERROR_NO_DISK,
     .message = "'g' has no disk to move",
     .hint = "vmig-snap moves local disks. To move a guest without local disks, delete its snapshots (virsh "
             "snapshot-list) and use virsh migrate.",
     .follow = {moved_by_virsh},
     .after = VMIG_ERROR_NO_DOMAIN},
    {.name = "transient-disk",
     .spoil = transient_disk,
     .disk = "vdb",
     .code = VMIG_ERROR_TRANSIENT_DISK,
     .message = "disk vdb is transient",
     .hint = "Remove <transient/> (virsh edit), then shut the guest down and start it.",
     .follow = {not_transient}},
    {.name = "block-job",
     .spoil = block_job,
     .disk = "vdb",
     .code = VMIG_ERROR_BLOCK_JOB,
     .message = "disk vdb has a running block job",
     .hint = "Wait for the block job or end it (virsh blockjob).",
     .follow = {block_job_ended}},
    {.name = "encrypted-disk",
     .spoil = encrypted_disk,
     .disk = "vdb",
     .code = VMIG_ERROR_ENCRYPTED,
     .message = "disk vdb is encrypted"},
    {.name = "data-store",
     .spoil = data_store,
     .disk = "vda",
     .code = VMIG_ERROR_DATA_FILE,
     .message = "disk vda has an external data file",
     .hint = ONE_FILE,
     .follow = {data_store_converted}},
    {.name = "another-format",
     .spoil = another_format,
     .disk = "vdb",
     .code = VMIG_ERROR_DISK_KIND,
     .message = "disk vdb is vdi on '/img/data.raw' (file)",
     .hint = ONLY_WHOLE,
     .follow = {b_detached}},
    {.name = "empty-drive",
     .spoil = empty_drive,
     .disk = "fda",
     .code = VMIG_ERROR_DISK_KIND,
     .message = "disk fda is raw on 'nothing' (file)",
     .hint = "Omit this drive from --disk: it is empty.",
     .follow = {drive_left_out}},
    {.name = "sliced",
     .spoil = sliced,
     .disk = "vdb",
     .code = VMIG_ERROR_DISK_KIND,
     .message = "disk vdb is raw on '/img/data.raw' (file)",
     .hint = ONLY_WHOLE,
     .follow = {b_detached}},
    {.name = "reservations",
     .spoil = reservations,
     .disk = "vdb",
     .code = VMIG_ERROR_DISK_KIND,
     .message = "disk vdb is raw on '/img/data.raw' (file)",
     .hint = ONLY_WHOLE,
     .follow = {b_detached}},
    {.name = "block-device", /* test_refusals other_device_there detaches it on a real host */
     .spoil = block_device,
     .disk = "vdb",
     .code = VMIG_ERROR_DISK_KIND,
     .message = "disk vdb is raw on '/dev/vg/data' (block)",
     .hint = ONLY_WHOLE,
     .follow = {b_detached}},
    {.name = "only-unknown",
     .spoil = only_unknown,
     .code = VMIG_ERROR_NO_DISK,
     .message = "'g' has no disk to move",
     .hint = "Omit --disk, or name a disk that can be moved (virsh domblklist).",
     .follow = {disk_left_out, known_named},
     .also = {VMIG_ERROR_UNKNOWN_DISK, VMIG_ERROR_NOT_SHARED, VMIG_ERROR_MEDIA_MISSING}},
};

PlanRows plan_rows_disks(void)
{
    return (PlanRows){rows, G_N_ELEMENTS(rows)};
}
