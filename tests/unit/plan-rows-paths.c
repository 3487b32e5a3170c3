/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Rows of plan-rows.h: where the images go, and whether there is space. */
#include "plan-rows.h"

#include <string.h>

static void map(PlanEnv *w, const char *text)
{
    g_ptr_array_set_size(w->maps, 0);
    plan_env_option(w->maps, w, text);
}

static void map_dir(PlanEnv *w, const char *text)
{
    g_ptr_array_set_size(w->map_dirs, 0);
    plan_env_option(w->map_dirs, w, text);
}

static void mapped_a(PlanEnv *w, const char *hint G_GNUC_UNUSED)
{
    map(w, "vda=@I@/new.qcow2");
}

static void mapped_b(PlanEnv *w, const char *hint G_GNUC_UNUSED)
{
    map(w, "vdb=@I@/new.raw");
}

static void all_to_big(PlanEnv *w, const char *hint G_GNUC_UNUSED)
{
    g_ptr_array_set_size(w->maps, 0);
    map_dir(w, "@I@=/big");
}

/* --- the path is taken --- */

static PlanFile *put_top(PlanEnv *w)
{
    return plan_env_put(w, THERE, (PlanFile){.path = (char *)"@I@/g.qcow2", .size = GIB});
}

static void stranger(PlanEnv *w)
{
    put_top(w);
}

static void open_jobs(PlanEnv *w)
{
    PlanFile *file = put_top(w);

    file->owner_job = "fedcba9876543210";
    file->owner_state = "COPY";
}

static void given_up(PlanEnv *w)
{
    PlanFile *file = put_top(w);

    file->owner_job = "fedcba9876543210";
    file->owner_state = "ROLLED_BACK";
}

static void brought(PlanEnv *w)
{
    PlanFile *file = put_top(w);

    file->owner_job = "fedcba9876543210";
    file->owner_state = "DONE";
}

static void kept_of_another(PlanEnv *w)
{
    PlanFile *file = put_top(w);

    file->kept_job = "fedcba9876543210";
    file->kept_domain = "99999999-2222-4333-8444-555555555555";
}

static void kept_and_changed(PlanEnv *w)
{
    PlanFile *file = put_top(w);

    file->kept_job = file->owner_job = "fedcba9876543210";
    file->owner_state = "DONE";
    file->kept_domain = PLAN_UUID;
    file->kept_why_not = "it was written to since";
}

static void moved_away(PlanEnv *w, const char *hint G_GNUC_UNUSED)
{
    plan_env_remove(w, THERE, "@I@/g.qcow2");
}

static void base_there(PlanEnv *w)
{
    plan_env_put(w, THERE, (PlanFile){.path = (char *)"@I@/base.qcow2", .size = GIB});
}

/* As the hint says, word for word; test_clones other_clones does so on real hosts. */
static void own_folder(PlanEnv *w, const char *hint)
{
    g_auto(GStrv) folder = plan_hint_words(hint, "mkdir");
    g_auto(GStrv) option = plan_hint_words(hint, "--map-dir");

    g_assert_cmpstr(folder[0], ==, "mkdir");
    plan_env_mkdir(w, THERE, folder[1], 1, 100 * GIB);
    g_assert_cmpuint(g_strv_length(option), ==, 2);
    map_dir(w, option[1]);
}

/* --- the folders --- */

static void outside(PlanEnv *w)
{
    plan_env_mkdir(w, THERE, "/out", 3, 100 * GIB);
    map(w, "vdb=/out/data.raw");
}

static void out_is_root(PlanEnv *w, const char *hint G_GNUC_UNUSED)
{
    plan_env_add_root(w, THERE, "/out");
}

/* Moves the base to its own folder on both hosts. */
static void move_base(PlanEnv *w, const char *folder, const char *path)
{
    plan_env_remove(w, HERE, "@I@/base.qcow2");
    plan_env_put(w, HERE, (PlanFile){.path = (char *)path, .format = "qcow2", .size = GIB});
    plan_env_file(w, HERE, "@I@/g.qcow2")->backing = path;
    plan_env_edit_live(w, "@I@/base.qcow2", path);
    plan_env_mkdir(w, HERE, folder, 1, 100 * GIB);
    plan_env_mkdir(w, THERE, folder, 1, 100 * GIB);
}

static void base_apart(PlanEnv *w)
{
    move_base(w, "@I@/low", "@I@/low/base.qcow2");
}

#define ODD_BASE "@I@/x=/low/base.qcow2"

static void base_there_in_odd_folder(PlanEnv *w)
{
    move_base(w, "@I@/x=/low", ODD_BASE);
    plan_env_put(w, THERE, (PlanFile){.path = (char *)ODD_BASE, .size = GIB});
}

static void odd_base_moved_away(PlanEnv *w, const char *hint G_GNUC_UNUSED)
{
    plan_env_remove(w, THERE, ODD_BASE);
}

static void low_base_there(PlanEnv *w)
{
    base_apart(w);
    plan_env_put(w, THERE, (PlanFile){.path = (char *)"@I@/low/base.qcow2", .size = GIB});
}

static void base_outside(PlanEnv *w)
{
    base_apart(w);
    plan_env_mkdir(w, THERE, "/out", 3, 100 * GIB);
    map_dir(w, "@I@/low=/out");
}

static void base_to_big(PlanEnv *w, const char *hint G_GNUC_UNUSED)
{
    map_dir(w, "@I@/low=/big");
}

static void no_folder(PlanEnv *w)
{
    map(w, "vdb=@I@/none/data.raw");
}

static void folder_made(PlanEnv *w, const char *hint G_GNUC_UNUSED)
{
    plan_env_mkdir(w, THERE, "@I@/none", 1, 100 * GIB);
}

/* Moves a disk to a folder that is not among the source's roots. */
static void move_b(PlanEnv *w, guint64 room)
{
    plan_env_edit(w, "@I@/data.raw", "/small/data.raw");
    plan_env_remove(w, HERE, "@I@/data.raw");
    plan_env_put(w, HERE, (PlanFile){.path = (char *)"/small/data.raw", .format = "raw", .size = GIB});
    plan_env_mkdir(w, HERE, "/small", 4, room);
    map(w, "vdb=@I@/data.raw");
}

static void outside_here(PlanEnv *w)
{
    move_b(w, 100 * GIB);
}

static void small_is_root(PlanEnv *w, const char *hint G_GNUC_UNUSED)
{
    plan_env_add_root(w, HERE, "/small");
}

/* --- space --- */

static void no_room_here(PlanEnv *w)
{
    move_b(w, 1024 * 1024);
    plan_env_add_root(w, HERE, "/small");
}

static void freed_here(PlanEnv *w, const char *hint G_GNUC_UNUSED)
{
    plan_env_folder(w, HERE, "/small")->free = 100 * GIB;
}

/* Each disk alone would fit. */
static void no_room_there(PlanEnv *w)
{
    plan_env_folder(w, THERE, "@I@")->free = 3 * GIB;
}

static void no_room_mirror(PlanEnv *w)
{
    w->options.merge = (char *)"mirror";
    no_room_there(w);
}

static void freed_there(PlanEnv *w, const char *hint G_GNUC_UNUSED)
{
    plan_env_folder(w, THERE, "@I@")->free = 100 * GIB;
}

/* --- two files, one path --- */

static void clash(PlanEnv *w)
{
    map(w, "vda=@I@/x.img");
    plan_env_option(w->maps, w, "vdb=@I@/x.img");
}

static void clash_below(PlanEnv *w)
{
    base_apart(w);
    map(w, "vda=@I@/low/base.qcow2");
}

#define EXISTS "disk vda: /img/g.qcow2 exists on the destination"
#define LEFT                                                                                                           \
    "disk vda: /img/g.qcow2 exists on the destination, where job fedcba9876543210 left it, and cannot be used as the " \
    "base copy: "

static const PlanRow rows[] = {
    {.name = "exists",
     .spoil = stranger,
     .disk = "vda",
     .code = VMIG_ERROR_DESTINATION_EXISTS,
     .message = EXISTS,
     .hint = "Choose another path with --map, or move that file away.",
     .follow = {mapped_a, moved_away}},
    {.name = "exists-open-job", /* cancel removes it there */
     .spoil = open_jobs,
     .disk = "vda",
     .code = VMIG_ERROR_DESTINATION_EXISTS,
     .message = EXISTS,
     .hint = "Job fedcba9876543210 on the destination is not finished: run vmig-snap resume or cancel there.",
     .follow = {moved_away}},
    {.name = "exists-left",
     .spoil = given_up, /* doctor's finding about it: see test-doctor */
     .disk = "vda",
     .code = VMIG_ERROR_DESTINATION_EXISTS,
     .message = EXISTS,
     .hint = "The file was left by a job: run vmig-snap doctor on the destination.",
     .follow = {moved_away}},
    {.name = "exists-brought",
     .spoil = brought,
     .disk = "vda",
     .code = VMIG_ERROR_DESTINATION_EXISTS,
     .message = EXISTS,
     .hint = "Choose another path with --map: job fedcba9876543210 copied the file there as a guest's disk.",
     .follow = {mapped_a}},
    {.name = "base-exists",
     .spoil = base_there,
     .disk = "vda",
     .code = VMIG_ERROR_DESTINATION_EXISTS,
     .message = "disk vda: /img/base.qcow2 exists on the destination",
     .hint = "Give this guest's images a directory of their own: mkdir /img/g on the destination, then --map-dir "
             "/img=/img/g.",
     .follow = {own_folder}},
    {.name = "base-apart-exists",
     .spoil = low_base_there,
     .disk = "vda",
     .code = VMIG_ERROR_DESTINATION_EXISTS,
     .message = "disk vda: /img/low/base.qcow2 exists on the destination",
     .hint = "Give this guest's images a directory of their own: mkdir /img/low/g on the destination, then --map-dir "
             "/img/low=/img/low/g.",
     .follow = {own_folder}},
    {.name = "base-in-odd-folder-exists",
     .spoil = base_there_in_odd_folder,
     .disk = "vda",
     .code = VMIG_ERROR_DESTINATION_EXISTS,
     .message = "disk vda: /img/x=/low/base.qcow2 exists on the destination",
     .hint = "Move that file away. --map-dir cannot name a directory with '=/' in its path.",
     .follow = {odd_base_moved_away}},
    {.name = "kept-of-another",
     .spoil = kept_of_another,
     .disk = "vda",
     .code = VMIG_ERROR_DESTINATION_EXISTS,
     .message = LEFT "it belongs to another guest",
     .hint = "Choose another path with --map, or move that file away.",
     .follow = {mapped_a, moved_away}},
    {.name = "kept-and-changed",
     .spoil = kept_and_changed,
     .disk = "vda",
     .code = VMIG_ERROR_DESTINATION_EXISTS,
     .message = LEFT "it was written to since",
     .hint = "Choose another path with --map: job fedcba9876543210 copied the file there as a guest's disk.",
     .follow = {mapped_a}},
    {.name = "outside",
     .spoil = outside,
     .disk = "vdb",
     .code = VMIG_ERROR_OUTSIDE_ROOTS,
     .message = "disk vdb: /out/data.raw is outside the image roots of the destination",
     .hint = "Choose another path with --map or --map-dir, or add the directory to image-roots in "
             "/etc/vmig-snap/vmig-snap.conf on the destination.",
     .follow = {mapped_b, all_to_big, out_is_root}},
    {.name = "base-outside",
     .spoil = base_outside,
     .disk = "vda",
     .code = VMIG_ERROR_OUTSIDE_ROOTS,
     .message = "disk vda: /out/base.qcow2 is outside the image roots of the destination",
     .hint = "Choose another directory with --map-dir, or add the directory to image-roots in "
             "/etc/vmig-snap/vmig-snap.conf on the destination.",
     .follow = {base_to_big, out_is_root}},
    {.name = "no-folder",
     .spoil = no_folder,
     .disk = "vdb",
     .code = VMIG_ERROR_NO_DIRECTORY,
     .message = "disk vdb: the directory of /img/none/data.raw does not exist on the destination or cannot be written",
     .hint = "Create that directory on the destination, make it writable, or choose another directory with --map-dir.",
     .follow = {folder_made, all_to_big}},
    {.name = "outside-here",
     .spoil = outside_here,
     .disk = "vdb",
     .code = VMIG_ERROR_OUTSIDE_ROOTS,
     .message = "disk vdb: /small/data.raw is outside the image roots of this host",
     .hint = "Add the directory to image-roots in /etc/vmig-snap/vmig-snap.conf.",
     .follow = {small_is_root}},
    {.name = "no-space-here",
     .spoil = no_room_here,
     .disk = "vdb",
     .code = VMIG_ERROR_NO_SPACE,
     .message = "disk vdb: the temporary overlay may need 107 MB, but this host has only 1.05 MB free there",
     .hint = "Free space on the file system of the image.",
     .follow = {freed_here}},
    {.name = "no-space-there",
     .spoil = no_room_there,
     .code = VMIG_ERROR_NO_SPACE,
     .message = "the destination needs 4.06 GB (for the images, and twice the guest's writes meanwhile) but has only "
                "3.22 GB free",
     .hint = "Free space on the destination, or choose another file system with --map-dir.",
     .follow = {freed_there, all_to_big}},
    {.name = "no-space-mirror",
     .spoil = no_room_mirror,
     .code = VMIG_ERROR_NO_SPACE,
     .message =
         "the destination needs 3.72 GB (for the images, and the guest's writes meanwhile) but has only 3.22 GB free",
     .hint = "Free space on the destination, or choose another file system with --map-dir.",
     .follow = {freed_there, all_to_big}},
    {.name = "clash",
     .spoil = clash,
     .disk = "vdb",
     .code = VMIG_ERROR_PATH_CLASH,
     .message = "two files would get the same destination path /img/x.img",
     .hint = "Give each file its own path with --map.",
     .follow = {mapped_a}},
    {.name = "clash-below",
     .spoil = clash_below,
     .disk = "vda",
     .code = VMIG_ERROR_PATH_CLASH,
     .message = "two files would get the same destination path /img/low/base.qcow2",
     .hint = "Map the directories of the two files to different directories with --map-dir.",
     .follow = {base_to_big}},
};

PlanRows plan_rows_paths(void)
{
    return (PlanRows){rows, G_N_ELEMENTS(rows)};
}
