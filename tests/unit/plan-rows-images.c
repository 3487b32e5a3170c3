/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Rows of plan-rows.h: the images of the disks that are moved, and the two definitions of them. */
#include "plan-rows.h"

#define TARGET_B "<target dev='vdb' bus='virtio'/>"

/* --- the images --- */

static void odd_size(PlanEnv *w)
{
    plan_env_file(w, HERE, "@I@/data.raw")->size = GIB + 7;
}

/* Does what truncate does; test_paths odd_size runs the real one. */
static void size_rounded_up(PlanEnv *w, const char *hint)
{
    g_auto(GStrv) words = plan_hint_words(hint, "truncate");

    g_assert_cmpuint(g_strv_length(words), ==, 4);
    g_assert_cmpstr(words[1], ==, "-s");
    g_assert_cmpstr(words[2], ==, "%512");
    PlanFile *file = plan_env_file(w, HERE, words[3]);
    file->size = (file->size + 511) / 512 * 512;
}

static void encrypted_image(PlanEnv *w)
{
    plan_env_file(w, HERE, "@I@/base.qcow2")->encrypted = TRUE;
}

static void data_file(PlanEnv *w)
{
    plan_env_file(w, HERE, "@I@/g.qcow2")->data_file = TRUE;
}

static void data_file_converted(PlanEnv *w, const char *hint G_GNUC_UNUSED)
{
    plan_env_file(w, HERE, "@I@/g.qcow2")->data_file = FALSE;
}

static void bitmaps(PlanEnv *w)
{
    plan_env_file(w, HERE, "@I@/g.qcow2")->bitmaps = 2;
}

static void bitmaps_removed(PlanEnv *w, const char *hint G_GNUC_UNUSED)
{
    plan_env_file(w, HERE, "@I@/g.qcow2")->bitmaps = 0;
}

static void old_image(PlanEnv *w)
{
    plan_env_file(w, HERE, "@I@/g.qcow2")->version = 2;
}

static void upgraded(PlanEnv *w, const char *hint G_GNUC_UNUSED)
{
    plan_env_file(w, HERE, "@I@/g.qcow2")->version = 3;
}

/* libvirt knows two files, but the header names no backing file. */
static void other_chain(PlanEnv *w)
{
    plan_env_file(w, HERE, "@I@/g.qcow2")->backing = NULL;
}

static void header_put_right(PlanEnv *w, const char *hint G_GNUC_UNUSED)
{
    plan_env_file(w, HERE, "@I@/g.qcow2")->backing = "@I@/base.qcow2";
}

static void other_file_below(PlanEnv *w)
{
    plan_env_file(w, HERE, "@I@/g.qcow2")->backing = "@I@/other.qcow2";
    plan_env_put(w, HERE, (PlanFile){.path = (char *)"@I@/other.qcow2", .format = "qcow2", .size = GIB});
}

static void other_file_known(PlanEnv *w, const char *hint G_GNUC_UNUSED)
{
    plan_env_edit_live(w, "@I@/base.qcow2", "@I@/other.qcow2");
}

/* The header is right: after a restart the guest has what it says. */
static void started_anew(PlanEnv *w, const char *hint G_GNUC_UNUSED)
{
    plan_env_edit_live(w,
                       "<backingStore type='file'><format type='qcow2'/><source file='@I@/base.qcow2'/>"
                       "<backingStore/></backingStore>",
                       "<backingStore/>");
}

/* --- the definition for the next start; test_definitions.py follows these hints on a real host --- */

static void only_running(PlanEnv *w)
{
    plan_env_detach(w, 1, "vdb");
}

static void attached_for_good(PlanEnv *w, const char *hint G_GNUC_UNUSED)
{
    plan_env_edit_next(w, "</devices>",
                       "<disk type='file' device='disk'><driver name='qemu' type='raw'/>"
                       "<source file='@I@/data.raw'/>" TARGET_B "</disk></devices>");
}

static void detached_live(PlanEnv *w, const char *hint G_GNUC_UNUSED)
{
    plan_env_detach(w, 0, "vdb");
}

static void other_source(PlanEnv *w)
{
    plan_env_edit_next(w, "@I@/data.raw", "@I@/other.raw");
}

static void restarted(PlanEnv *w, const char *hint G_GNUC_UNUSED)
{
    plan_env_edit_live(w, "@I@/data.raw", "@I@/other.raw");
    plan_env_put(w, HERE, (PlanFile){.path = (char *)"@I@/other.raw", .format = "raw", .size = GIB});
}

static void source_edited(PlanEnv *w, const char *hint G_GNUC_UNUSED)
{
    plan_env_edit_next(w, "@I@/other.raw", "@I@/data.raw");
}

static void other_format(PlanEnv *w)
{
    plan_env_edit_next(w, "type='raw'", "type='qcow2'");
}

static void format_edited(PlanEnv *w, const char *hint G_GNUC_UNUSED)
{
    plan_env_edit_next(w, "type='qcow2'/><source file='@I@/data.raw'", "type='raw'/><source file='@I@/data.raw'");
}

#define OTHER_BELOW                                                                                                    \
    "<backingStore type='file'><format type='qcow2'/><source file='@I@/old.qcow2'/><backingStore/></backingStore>"

#define MORE_BELOW                                                                                                     \
    "<backingStore type='file'><format type='qcow2'/><source file='@I@/base.qcow2'/>"                                  \
    "<backingStore type='file'><format type='qcow2'/><source file='@I@/old.qcow2'/><backingStore/></backingStore>"     \
    "</backingStore>"

static void other_below(PlanEnv *w)
{
    plan_env_edit_next(w, "<source file='@I@/g.qcow2'/>", "<source file='@I@/g.qcow2'/>" OTHER_BELOW);
}

static void more_below(PlanEnv *w)
{
    plan_env_edit_next(w, "<source file='@I@/g.qcow2'/>", "<source file='@I@/g.qcow2'/>" MORE_BELOW);
}

static void more_removed(PlanEnv *w, const char *hint G_GNUC_UNUSED)
{
    plan_env_edit_next(w, MORE_BELOW, "");
}

static void other_type(PlanEnv *w)
{
    plan_env_edit_next(w, "<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file=",
                       "<disk type='block' device='disk'><driver name='qemu' type='raw'/><source dev=");
}

static void type_edited(PlanEnv *w, const char *hint G_GNUC_UNUSED)
{
    plan_env_edit_next(w, "<disk type='block' device='disk'><driver name='qemu' type='raw'/><source dev=",
                       "<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file=");
}

static void other_device(PlanEnv *w)
{
    plan_env_edit_next(w, "device='disk'><driver name='qemu' type='raw'/>",
                       "device='floppy'><driver name='qemu' type='raw'/>");
}

static void device_edited(PlanEnv *w, const char *hint G_GNUC_UNUSED)
{
    plan_env_edit_next(w, "device='floppy'", "device='disk'");
}

static void below_removed(PlanEnv *w, const char *hint G_GNUC_UNUSED)
{
    plan_env_edit_next(w, OTHER_BELOW, "");
}

#define ONE_FILE "Shut the guest down, convert the image into one file (qemu-img convert), and use that file instead."
#define AS_DEFINED                                                                                                     \
    "Shut the guest down and start it (virsh shutdown, virsh start), so that it runs on the disk that its definition " \
    "names; or change the definition so that it names the disk on which the guest runs (virsh edit)."

static const PlanRow rows[] = {
    {.name = "odd-size",
     .spoil = odd_size,
     .disk = "vdb",
     .code = VMIG_ERROR_ODD_SIZE,
     .message = "disk vdb: the size of /img/data.raw, 1073741831 bytes, is not a multiple of 512",
     .hint = "Shut the guest down and round the image's size up to whole sectors: truncate -s %512 /img/data.raw",
     .follow = {size_rounded_up}},
    {.name = "encrypted-image",
     .spoil = encrypted_image,
     .disk = "vda",
     .code = VMIG_ERROR_ENCRYPTED,
     .message = "disk vda: /img/base.qcow2 is encrypted"},
    {.name = "data-file",
     .spoil = data_file,
     .disk = "vda",
     .code = VMIG_ERROR_DATA_FILE,
     .message = "disk vda: /img/g.qcow2 keeps its data in an external data file",
     .hint = ONE_FILE,
     .follow = {data_file_converted}},
    {.name = "bitmaps",
     .spoil = bitmaps,
     .disk = "vda",
     .code = VMIG_ERROR_BITMAPS,
     .message = "disk vda: /img/g.qcow2 has 2 persistent bitmap(s)",
     .hint = "Shut the guest down and remove them (qemu-img bitmap --remove).",
     .follow = {bitmaps_removed}},
    {.name = "old-image",
     .spoil = old_image,
     .disk = "vda",
     .code = VMIG_ERROR_OLD_IMAGE,
     .message = "disk vda: /img/g.qcow2 is a qcow2 image of version 2 (compat=0.10): QEMU cannot commit into a version "
                "2 image that has snapshots if the sizes differ",
     .hint = "Shut the guest down and upgrade the image (qemu-img amend -o compat=1.1).",
     .follow = {upgraded}},
    {.name = "chain",
     .spoil = other_chain,
     .disk = "vda",
     .code = VMIG_ERROR_CHAIN,
     .message = "disk vda: the chain in libvirt's definition differs from the chain in the image headers",
     .hint = "Compare virsh dumpxml with qemu-img info --backing-chain. Shut the guest down, correct the wrong chain "
             "(virsh edit, qemu-img rebase -u), and start the guest.",
     .follow = {header_put_right, started_anew}},
    {.name = "chain-of-another-file",
     .spoil = other_file_below,
     .disk = "vda",
     .code = VMIG_ERROR_CHAIN,
     .message = "disk vda: the chain in libvirt's definition differs from the chain in the image headers",
     .hint = "Compare virsh dumpxml with qemu-img info --backing-chain. Shut the guest down, correct the wrong chain "
             "(virsh edit, qemu-img rebase -u), and start the guest.",
     .follow = {header_put_right, other_file_known}},
    {.name = "only-running",
     .spoil = only_running,
     .disk = "vdb",
     .code = VMIG_ERROR_DEFINITIONS_DIFFER,
     .message = "disk vdb is attached only to the running guest: the definition for the next start does not contain it",
     .hint = "Attach the disk to the definition too (virsh attach-device --config), or detach it (virsh detach-disk "
             "--live).",
     .follow = {attached_for_good, detached_live}},
    {.name = "other-source",
     .spoil = other_source,
     .disk = "vdb",
     .code = VMIG_ERROR_DEFINITIONS_DIFFER,
     .message =
         "disk vdb: the guest runs on /img/data.raw, but the definition for the next start names /img/other.raw (disk)",
     .hint = AS_DEFINED,
     .follow = {restarted, source_edited}},
    {.name = "other-type",
     .spoil = other_type,
     .disk = "vdb",
     .code = VMIG_ERROR_DEFINITIONS_DIFFER,
     .message =
         "disk vdb: the guest runs on /img/data.raw, but the definition for the next start names /img/data.raw (disk)",
     .hint = AS_DEFINED,
     .follow = {type_edited}},
    {.name = "other-device",
     .spoil = other_device,
     .disk = "vdb",
     .code = VMIG_ERROR_DEFINITIONS_DIFFER,
     .message = "disk vdb: the guest runs on /img/data.raw, but the definition for the next start names /img/data.raw "
                "(floppy)",
     .hint = AS_DEFINED,
     .follow = {device_edited}},
    {.name = "other-format",
     .spoil = other_format,
     .disk = "vdb",
     .code = VMIG_ERROR_DEFINITIONS_DIFFER,
     .message = "disk vdb: the guest runs with the format raw, but the definition for the next start says qcow2",
     .hint = AS_DEFINED,
     .follow = {format_edited}},
    {.name = "more-below",
     .spoil = more_below,
     .disk = "vda",
     .code = VMIG_ERROR_DEFINITIONS_DIFFER,
     .message =
         "disk vda: the backing files in the definition for the next start differ from those in the image headers",
     .hint = "Remove <backingStore> of that disk from the definition (virsh edit).",
     .follow = {more_removed}},
    {.name = "other-below",
     .spoil = other_below,
     .disk = "vda",
     .code = VMIG_ERROR_DEFINITIONS_DIFFER,
     .message =
         "disk vda: the backing files in the definition for the next start differ from those in the image headers",
     .hint = "Remove <backingStore> of that disk from the definition (virsh edit).",
     .follow = {below_removed}},
};

PlanRows plan_rows_images(void)
{
    return (PlanRows){rows, G_N_ELEMENTS(rows)};
}
