/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Rows of plan-rows.h: the disks that are not moved. test-plan-stay.c tests when they are proven to be the same on both
 * hosts. */
#include "plan-rows.h"

#define DISK(type, device, source, rest)                                                                               \
    "<disk type='" type "' device='" device "'><driver name='qemu' type='raw'/>" source                                \
    "<backingStore/><target dev='vdc'/>" rest "</disk>"
#define FILE_C "<source file='@I@/c.raw'/>"

static void put_c(PlanEnv *w, PlanRole role, const char *content)
{
    plan_env_put(w, role, (PlanFile){.path = (char *)"@I@/c.raw", .format = "raw", .size = GIB, .content = content});
}

/* A third disk that is not named with --disk. */
static void stay(PlanEnv *w, const char *xml)
{
    plan_env_option(w->disks, w, "vda");
    plan_env_option(w->disks, w, "vdb");
    plan_env_add_device(w, xml);
}

static void only_next(PlanEnv *w, const char *xml)
{
    g_autofree char *with = g_strconcat(xml, "</devices>", NULL);

    plan_env_edit_next(w, "</devices>", with);
}

static void detached(PlanEnv *w, const char *hint G_GNUC_UNUSED)
{
    plan_env_detach(w, 0, "vdc");
    plan_env_detach(w, 1, "vdc");
}

static void detached_next(PlanEnv *w, const char *hint G_GNUC_UNUSED)
{
    plan_env_detach(w, 1, "vdc");
}

static void ejected(PlanEnv *w, const char *hint G_GNUC_UNUSED)
{
    for (guint i = 0; i < G_N_ELEMENTS(w->xml); i++) {
        g_auto(GStrv) parts =
            g_regex_split_simple("<source (?:file='@I@/c.raw'|pool='p' volume='v')/>", w->xml[i], 0, 0);
        g_free(w->xml[i]);
        w->xml[i] = g_strjoinv("", parts);
    }
}

static void copied(PlanEnv *w, const char *hint G_GNUC_UNUSED)
{
    for (guint i = 0; i < w->hosts[THERE].files->len; i++) {
        PlanFile *file = w->hosts[THERE].files->pdata[i];
        if (g_str_has_suffix(file->path, "/c.raw")) {
            file->content = "a";
            return;
        }
    }
    put_c(w, THERE, "a");
}

/* --- files --- */

static void written_file(PlanEnv *w)
{
    stay(w, DISK("file", "disk", FILE_C, ""));
    put_c(w, HERE, "a");
}

static void all_moved(PlanEnv *w, const char *hint G_GNUC_UNUSED)
{
    g_ptr_array_set_size(w->disks, 0);
}

static void named_as_well(PlanEnv *w, const char *hint G_GNUC_UNUSED)
{
    plan_env_option(w->disks, w, "vdc");
}

static void other_file_there(PlanEnv *w)
{
    written_file(w);
    put_c(w, THERE, "a");
}

static void all_moved_elsewhere(PlanEnv *w, const char *hint)
{
    all_moved(w, hint);
    plan_env_option(w->maps, w, "vdc=@I@/new.raw");
}

static void named_and_mapped(PlanEnv *w, const char *hint)
{
    named_as_well(w, hint);
    plan_env_option(w->maps, w, "vdc=@I@/new.raw");
}

static void another_format(PlanEnv *w)
{
    stay(w, "<disk type='file' device='disk'><driver name='qemu' type='vdi'/>" FILE_C "<backingStore/>"
            "<target dev='vdc'/></disk>");
    put_c(w, HERE, "a");
}

static void sliced(PlanEnv *w)
{
    stay(w, "<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='@I@/c.raw'>"
            "<slices><slice type='storage' offset='0' size='512'/></slices></source><backingStore/>"
            "<target dev='vdc'/></disk>");
    put_c(w, HERE, "a");
}

static PlanFile *there_c(PlanEnv *w)
{
    GPtrArray *files = w->hosts[THERE].files;

    for (guint i = 0; i < files->len; i++)
        if (g_str_has_suffix(((PlanFile *)files->pdata[i])->path, "/c.raw"))
            return files->pdata[i];
    g_assert_not_reached();
}

static void shared_file(PlanEnv *w)
{
    stay(w, DISK("file", "disk", FILE_C, ""));
    for (guint role = HERE; role <= THERE; role++)
        plan_env_put(w, role, (PlanFile){.path = (char *)"@I@/c.raw", .size = GIB, .shared = TRUE});
}

static void closed_folder(PlanEnv *w)
{
    shared_file(w);
    there_c(w)->denied = "QEMU's user (uid 7) has no access to the directory /img there";
}

static void entered(PlanEnv *w, const char *hint G_GNUC_UNUSED)
{
    there_c(w)->denied = NULL;
}

static void no_writes(PlanEnv *w)
{
    shared_file(w);
    there_c(w)->read_only = "the file system is not writable there";
}

static void mounted_anew(PlanEnv *w, const char *hint G_GNUC_UNUSED)
{
    there_c(w)->read_only = NULL;
}

static void missing_file(PlanEnv *w)
{
    stay(w, DISK("file", "disk", FILE_C, "<readonly/>"));
    put_c(w, HERE, "a");
}

static void other_medium(PlanEnv *w)
{
    stay(w, DISK("file", "cdrom", FILE_C, ""));
    put_c(w, HERE, "a");
    put_c(w, THERE, "b");
}

static void floppy(PlanEnv *w)
{
    stay(w, DISK("file", "floppy", FILE_C, ""));
    put_c(w, HERE, "a");
    put_c(w, THERE, "a");
}

static void device(PlanEnv *w)
{
    stay(w, DISK("block", "disk", "<source dev='/dev/c'/>", ""));
    for (guint role = 0; role < 2; role++)
        plan_env_put(w, role, (PlanFile){.path = (char *)"/dev/c", .block = TRUE, .size = GIB});
}

static void unknown_below(PlanEnv *w)
{
    stay(w, "<disk type='file' device='disk'><driver name='qemu' type='qcow2'/>" FILE_C "<target dev='vdc'/></disk>");
    for (guint role = 0; role < 2; role++)
        plan_env_put(w, role, (PlanFile){.path = (char *)"@I@/c.raw", .size = GIB, .shared = TRUE});
}

/* --- servers, volumes and the rest --- */

#define NBD(host, below)                                                                                               \
    "<disk type='network' device='disk'><driver name='qemu' type='qcow2'/><source protocol='nbd' name='x'>"            \
    "<host name='" host "' port='10809'/></source>" below "<target dev='vdc'/></disk>"

static void local_server(PlanEnv *w)
{
    stay(w, NBD("localhost", ""));
}

static void server_named(PlanEnv *w, const char *hint G_GNUC_UNUSED)
{
    plan_env_edit(w, "'localhost'", "'192.0.2.1'");
}

static void server_and_below(PlanEnv *w)
{
    stay(w, NBD("192.0.2.1", "<backingStore type='file'><format type='raw'/>" FILE_C "<backingStore/></backingStore>"));
}

#define VOLUME "<source pool='p' volume='v'/>"

static void volume(PlanEnv *w)
{
    stay(w, DISK("volume", "disk", VOLUME, ""));
}

/* On shared storage the path proves what the pool cannot. */
static void volume_by_path(PlanEnv *w, const char *hint G_GNUC_UNUSED)
{
    plan_env_edit(w, VOLUME, FILE_C);
    plan_env_edit(w, "type='volume'", "type='file'");
    for (guint role = 0; role < 2; role++)
        plan_env_put(w, role, (PlanFile){.path = (char *)"@I@/c.raw", .size = GIB, .shared = TRUE});
}

static void volume_medium(PlanEnv *w)
{
    stay(w, DISK("volume", "cdrom", VOLUME, ""));
}

static void folder(PlanEnv *w)
{
    stay(w, DISK("dir", "disk", "<source dir='/c'/>", ""));
}

static void unknown_type(PlanEnv *w)
{
    stay(w, DISK("tomorrow", "disk", "<source x='y'/>", ""));
}

/* --- only in the definition for the next start --- */

static void next_file(PlanEnv *w)
{
    only_next(w, DISK("file", "disk", FILE_C, ""));
    put_c(w, HERE, "a");
    put_c(w, THERE, "a");
}

static void next_medium(PlanEnv *w)
{
    only_next(w, DISK("file", "cdrom", FILE_C, ""));
    put_c(w, HERE, "a");
    put_c(w, THERE, "b");
}

static void next_floppy(PlanEnv *w)
{
    only_next(w, DISK("file", "floppy", FILE_C, ""));
    put_c(w, HERE, "a");
    put_c(w, THERE, "a");
}

static void next_volume(PlanEnv *w)
{
    only_next(w, DISK("volume", "disk", VOLUME, ""));
}

#define LEFT_OUT "disk vdc (not named with --disk) is not moved, and "
#define NEXT "disk vdc (only in the definition for the next start) is not moved, and "
#define NOT_PROVEN "it is not proven that /img/c.raw is the same on the destination: "
#define DETACH "Detach it before the migration (virsh detach-disk), and attach one on the destination afterwards."
#define PROVABLE                                                                                                       \
    " Storage can be proven to be the same on both hosts only if it has a WWN or is on a network file system below "   \
    "the image roots."
#define DETACH_NEXT                                                                                                    \
    "Detach it from the definition (virsh detach-disk --config), and attach one on the destination afterwards."
#define POOL                                                                                                           \
    "it is not proven that volume v of pool p is the same on both hosts: the destination's pool of that name may be "  \
    "different"

static const PlanRow rows[] = {
    {.name = "stay-file",
     .spoil = written_file,
     .disk = "vdc",
     .code = VMIG_ERROR_NOT_SHARED,
     .message = LEFT_OUT NOT_PROVEN "the destination does not have this file",
     .hint = "Move it too: omit --disk, or name this disk as well.",
     .follow = {all_moved, named_as_well}},
    {.name = "stay-file-there",
     .spoil = other_file_there,
     .disk = "vdc",
     .code = VMIG_ERROR_NOT_SHARED,
     .message = LEFT_OUT NOT_PROVEN "the file is on a file system that only this host has",
     .hint = "Move it too, to another path (--map): omit --disk, or name this disk as well.",
     .follow = {all_moved_elsewhere, named_and_mapped}},
    {.name = "stay-another-format",
     .spoil = another_format,
     .disk = "vdc",
     .code = VMIG_ERROR_NOT_SHARED,
     .message = LEFT_OUT NOT_PROVEN "the destination does not have this file",
     .hint = DETACH PROVABLE,
     .follow = {detached}},
    {.name = "stay-sliced",
     .spoil = sliced,
     .disk = "vdc",
     .code = VMIG_ERROR_NOT_SHARED,
     .message = LEFT_OUT NOT_PROVEN "the destination does not have this file",
     .hint = DETACH PROVABLE,
     .follow = {detached}},
    {.name = "stay-closed-folder",
     .spoil = closed_folder,
     .disk = "vdc",
     .code = VMIG_ERROR_NO_ACCESS,
     .message = LEFT_OUT
     "the destination cannot open /img/c.raw: QEMU's user (uid 7) has no access to the directory /img there",
     .hint = "Give that user access to the directory there (setfacl -m u:UID:x DIRECTORY, or chmod o+x), or detach the "
             "disk (virsh detach-disk).",
     .follow = {entered, detached}},
    {.name = "stay-no-writes",
     .spoil = no_writes,
     .disk = "vdc",
     .code = VMIG_ERROR_NO_ACCESS,
     .message = LEFT_OUT "the destination cannot write to /img/c.raw: the file system is not writable there",
     .hint = "Mount the file system writable there, or detach the disk (virsh detach-disk).",
     .follow = {mounted_anew, detached}},
    {.name = "stay-missing",
     .spoil = missing_file,
     .disk = "vdc",
     .code = VMIG_ERROR_MEDIA_MISSING,
     .message = LEFT_OUT "the destination does not have /img/c.raw",
     .hint = "Copy this host's file to the destination, or detach the disk (virsh detach-disk).",
     .follow = {copied, detached}},
    {.name = "stay-medium",
     .spoil = other_medium,
     .disk = "vdc",
     .code = VMIG_ERROR_NOT_SHARED,
     .message = LEFT_OUT NOT_PROVEN "the contents differ",
     .hint = "Eject it (virsh change-media --eject), or copy this host's file to the destination.",
     .follow = {ejected, copied}},
    {.name = "stay-floppy",
     .spoil = floppy,
     .disk = "vdc",
     .code = VMIG_ERROR_NOT_SHARED,
     .message = LEFT_OUT NOT_PROVEN "the file is on a file system that only this host has",
     .hint = "Eject it (virsh change-media --eject).",
     .follow = {ejected}},
    {.name = "stay-device",
     .spoil = device,
     .disk = "vdc",
     .code = VMIG_ERROR_NOT_SHARED,
     .message = LEFT_OUT "it is not proven that /dev/c is the same on the destination: the devices have no WWN by "
                         "which they could be compared",
     .hint = DETACH PROVABLE,
     .follow = {detached}},
    {.name = "stay-unknown-below",
     .spoil = unknown_below,
     .disk = "vdc",
     .code = VMIG_ERROR_NOT_SHARED,
     .message = LEFT_OUT "it has a backing file that cannot be compared with the destination's",
     .hint = DETACH,
     .follow = {detached}},
    {.name = "stay-local-server",
     .spoil = local_server,
     .disk = "vdc",
     .code = VMIG_ERROR_NOT_SHARED,
     .message = LEFT_OUT
     "its server is this host itself ('nbd://localhost/x'): the destination would connect to its own server",
     .hint = "Name the server by an address that is the same for both hosts (virsh edit), then shut the guest down and "
             "start it.",
     .follow = {server_named}},
    {.name = "stay-server-and-below",
     .spoil = server_and_below,
     .disk = "vdc",
     .code = VMIG_ERROR_NOT_SHARED,
     .message = LEFT_OUT "it has a backing file that cannot be compared with the destination's",
     .hint = DETACH,
     .follow = {detached}},
    {.name = "stay-volume",
     .spoil = volume,
     .disk = "vdc",
     .code = VMIG_ERROR_NOT_SHARED,
     .message = LEFT_OUT POOL,
     .hint = "Name the volume by its path instead of its pool (virsh edit), then shut the guest down and start it.",
     .follow = {volume_by_path}},
    {.name = "stay-volume-medium",
     .spoil = volume_medium,
     .disk = "vdc",
     .code = VMIG_ERROR_NOT_SHARED,
     .message = LEFT_OUT POOL,
     .hint = "Eject it (virsh change-media --eject).",
     .follow = {ejected}},
    {.name = "stay-folder",
     .spoil = folder,
     .disk = "vdc",
     .code = VMIG_ERROR_NOT_SHARED,
     .message = LEFT_OUT "it is a resource of this host ('/c')",
     .hint = DETACH,
     .follow = {detached}},
    {.name = "stay-unknown-type",
     .spoil = unknown_type,
     .disk = "vdc",
     .code = VMIG_ERROR_NOT_SHARED,
     .message = LEFT_OUT "it is of a type that vmig-snap does not know ('tomorrow')",
     .hint = DETACH,
     .follow = {detached}},
    {.name = "next-file",
     .spoil = next_file,
     .disk = "vdc",
     .code = VMIG_ERROR_NOT_SHARED,
     .message = NEXT NOT_PROVEN "the file is on a file system that only this host has",
     .hint = DETACH_NEXT,
     .follow = {detached_next}},
    {.name = "next-medium",
     .spoil = next_medium,
     .disk = "vdc",
     .code = VMIG_ERROR_NOT_SHARED,
     .message = NEXT NOT_PROVEN "the contents differ",
     .hint = "Eject it from the definition (virsh change-media --eject --config), or copy this host's file to the "
             "destination.",
     .follow = {ejected, copied}},
    {.name = "next-floppy",
     .spoil = next_floppy,
     .disk = "vdc",
     .code = VMIG_ERROR_NOT_SHARED,
     .message = NEXT NOT_PROVEN "the file is on a file system that only this host has",
     .hint = "Eject it from the definition (virsh change-media --eject --config).",
     .follow = {ejected}},
    {.name = "next-volume",
     .spoil = next_volume,
     .disk = "vdc",
     .code = VMIG_ERROR_NOT_SHARED,
     .message = NEXT POOL,
     .hint = DETACH_NEXT,
     .follow = {detached_next}},
};

PlanRows plan_rows_stay(void)
{
    return (PlanRows){rows, G_N_ELEMENTS(rows)};
}
