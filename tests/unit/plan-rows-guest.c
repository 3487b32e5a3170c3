/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Rows of plan-rows.h: the guest and its devices. */
#include "plan-rows.h"

/* --- the guest --- */

static void open_job(PlanEnv *w)
{
    plan_env_job(w, "COPY");
}

static void job_done(PlanEnv *w, const char *hint G_GNUC_UNUSED)
{
    plan_env_job(w, "ROLLED_BACK");
}

static void unknown(PlanEnv *w)
{
    w->wanted = "nobody";
}

static void known(PlanEnv *w, const char *hint G_GNUC_UNUSED)
{
    w->wanted = NULL;
}

static void shut_off(PlanEnv *w)
{
    w->guest.run = VMIG_RUN_SHUTOFF;
}

static void io_error(PlanEnv *w)
{
    w->guest.run = VMIG_RUN_IO_ERROR;
}

static void crashed(PlanEnv *w)
{
    w->guest.run = VMIG_RUN_CRASHED;
}

static void migrating(PlanEnv *w)
{
    w->guest.run = VMIG_RUN_MIGRATING;
}

static void runs(PlanEnv *w, const char *hint G_GNUC_UNUSED)
{
    w->guest.run = VMIG_RUN_RUNNING;
}

static void transient(PlanEnv *w)
{
    w->guest.persistent = FALSE;
}

static void defined(PlanEnv *w, const char *hint G_GNUC_UNUSED)
{
    w->guest.persistent = TRUE;
}

static void saved(PlanEnv *w)
{
    w->guest.run = VMIG_RUN_SHUTOFF;
    w->guest.managed_save = TRUE;
}

static void started(PlanEnv *w, const char *hint G_GNUC_UNUSED)
{
    w->guest.run = VMIG_RUN_RUNNING;
    w->guest.managed_save = FALSE;
}

static void saved_and_runs(PlanEnv *w)
{
    w->guest.managed_save = TRUE;
}

static void save_removed(PlanEnv *w, const char *hint G_GNUC_UNUSED)
{
    w->guest.managed_save = FALSE;
}

static void checkpoint(PlanEnv *w)
{
    w->guest.checkpoints = 2;
}

static void no_checkpoint(PlanEnv *w, const char *hint G_GNUC_UNUSED)
{
    w->guest.checkpoints = 0;
}

static void busy(PlanEnv *w)
{
    w->busy = TRUE;
}

static void idle(PlanEnv *w, const char *hint G_GNUC_UNUSED)
{
    w->busy = FALSE;
}

static void name_there(PlanEnv *w)
{
    w->hosts[THERE].has_name = TRUE;
}

static void uuid_there(PlanEnv *w)
{
    w->hosts[THERE].has_name = w->hosts[THERE].has_uuid = TRUE;
}

static void renamed(PlanEnv *w, const char *hint G_GNUC_UNUSED)
{
    w->hosts[THERE].has_name = FALSE;
}

static void undefined(PlanEnv *w, const char *hint G_GNUC_UNUSED)
{
    w->hosts[THERE].has_name = w->hosts[THERE].has_uuid = FALSE;
}

static void only_another_uuid(PlanEnv *w, const char *hint G_GNUC_UNUSED)
{
    w->hosts[THERE].has_uuid = FALSE;
}

static void uuid_alone_there(PlanEnv *w)
{
    w->hosts[THERE].has_uuid = TRUE;
}

/* --- its devices --- */

#define HOST_DEVICE                                                                                                    \
    "<hostdev mode='subsystem' type='pci'><source><address domain='0x0000' bus='0x03' slot='0x00' function='0x0'/>"    \
    "</source></hostdev>"
#define FOLDER "<filesystem type='mount'><source dir='@I@'/><target dir='share'/></filesystem>"
#define VHOST "<interface type='vhostuser'><source type='unix' path='/run/vhost.sock' mode='server'/></interface>"
#define SHMEM "<shmem name='between'><model type='ivshmem-plain'/></shmem>"

static void host_device(PlanEnv *w)
{
    plan_env_add_device(w, HOST_DEVICE);
}

static void host_device_detached(PlanEnv *w, const char *hint G_GNUC_UNUSED)
{
    plan_env_edit(w, HOST_DEVICE, "");
}

static void host_folder(PlanEnv *w)
{
    plan_env_add_device(w, FOLDER);
}

static void host_folder_detached(PlanEnv *w, const char *hint G_GNUC_UNUSED)
{
    plan_env_edit(w, FOLDER, "");
}

static void vhost_user(PlanEnv *w)
{
    plan_env_add_device(w, VHOST);
}

static void vhost_user_detached(PlanEnv *w, const char *hint G_GNUC_UNUSED)
{
    plan_env_edit(w, VHOST, "");
}

static void shared_memory(PlanEnv *w)
{
    plan_env_add_device(w, SHMEM);
}

static void shared_memory_detached(PlanEnv *w, const char *hint G_GNUC_UNUSED)
{
    plan_env_edit(w, SHMEM, "");
}

static void raw_nvram(PlanEnv *w)
{
    plan_env_edit(w, "</type></os>", "</type><loader type='pflash'>/fw</loader><nvram>@I@/vars.fd</nvram></os>");
    plan_env_put(w, THERE, (PlanFile){.path = (char *)"/fw"});
}

static void qcow2_nvram(PlanEnv *w)
{
    plan_env_edit(w, "</type></os>",
                  "</type><loader type='pflash'>/fw</loader><nvram format='qcow2'>@I@/vars.qcow2</nvram></os>");
    plan_env_put(w, THERE, (PlanFile){.path = (char *)"/fw"});
}

static void kernel(PlanEnv *w)
{
    plan_env_edit(w, "</type></os>", "</type><kernel>@I@/vmlinuz</kernel></os>");
}

static void firmware(PlanEnv *w)
{
    plan_env_edit(w, "</type></os>", "</type><loader>@I@/bios.bin</loader></os>");
}

static void firmware_copied(PlanEnv *w, const char *hint G_GNUC_UNUSED)
{
    plan_env_put(w, THERE, (PlanFile){.path = (char *)"@I@/bios.bin"});
}

static void kernel_copied(PlanEnv *w, const char *hint G_GNUC_UNUSED)
{
    plan_env_put(w, THERE, (PlanFile){.path = (char *)"@I@/vmlinuz"});
}

#define EXTERNAL                                                                                                       \
    "<domainsnapshot><name>outside</name><state>disk-snapshot</state><creationTime>1</creationTime>"                   \
    "<memory snapshot='no'/><disks><disk name='vda' snapshot='external'/></disks></domainsnapshot>"

static void external_snapshot(PlanEnv *w)
{
    g_ptr_array_add(w->snapshots, g_strdup(EXTERNAL));
}

/* With --metadata the result is the same: its files were merged before. */
static void snapshot_deleted(PlanEnv *w, const char *hint G_GNUC_UNUSED)
{
    g_ptr_array_set_size(w->snapshots, 0);
}

#define DETACH_DEVICE "Detach it before the migration, and attach one on the destination afterwards."

static const PlanRow rows[] = {
    {.name = "locked",
     .spoil = open_job,
     .code = VMIG_ERROR_LOCKED,
     .message = "'g' is held by job fedcba9876543210, which moves it from kvm1 to kvm3 since 2023-11-14 22:13:20 "
                "(state COPY)",
     .hint = "See vmig-snap status; vmig-snap resume or cancel ends the job.",
     .follow = {job_done}},
    {.name = "no-domain",
     .spoil = unknown,
     .code = VMIG_ERROR_NO_DOMAIN,
     .message = "there is no domain 'nobody' on this host",
     .hint = "See virsh list --all.",
     .follow = {known}},
    {.name = "shut-off",
     .spoil = shut_off,
     .code = VMIG_ERROR_NOT_RUNNING,
     .message = "'g' is shut off; only a running guest can be migrated",
     .hint = "Start the guest (virsh start).",
     .follow = {runs}},
    {.name = "io-error",
     .spoil = io_error,
     .code = VMIG_ERROR_NOT_RUNNING,
     .message = "'g' is paused on an I/O error; only a running guest can be migrated",
     .hint = "Remove the cause of the I/O error (virsh domblkerror), then resume the guest (virsh resume).",
     .follow = {runs}},
    {.name = "crashed",
     .spoil = crashed,
     .code = VMIG_ERROR_NOT_RUNNING,
     .message = "'g' is crashed; only a running guest can be migrated",
     .hint = "Destroy the crashed guest (virsh destroy), then start it (virsh start).",
     .follow = {runs}},
    {.name = "migrating",
     .spoil = migrating,
     .code = VMIG_ERROR_NOT_RUNNING,
     .message = "'g' is migrating; only a running guest can be migrated",
     .hint = "Wait until the guest's other migration has ended (virsh domjobinfo).",
     .follow = {runs}},
    {.name = "transient",
     .spoil = transient,
     .code = VMIG_ERROR_TRANSIENT_DOMAIN,
     .message = "'g' is transient",
     .hint = "Make the domain persistent (virsh define).",
     .follow = {defined}},
    {.name = "managed-save",
     .spoil = saved,
     .code = VMIG_ERROR_MANAGED_SAVE,
     .message = "'g' has a managed save image",
     .hint = "Start the guest (virsh start): it continues from that image, and libvirt then removes the image. Do not "
             "remove it by hand: it contains the guest's memory.",
     .follow = {started},
     .also = {VMIG_ERROR_NOT_RUNNING}},
    {.name = "managed-save-stale",
     .spoil = saved_and_runs,
     .code = VMIG_ERROR_MANAGED_SAVE,
     .message = "'g' has a managed save image",
     .hint = "The guest runs without that image: remove it (virsh managedsave-remove).",
     .follow = {save_removed}},
    {.name = "checkpoints",
     .spoil = checkpoint,
     .code = VMIG_ERROR_CHECKPOINTS,
     .message = "'g' has 2 checkpoint(s)",
     .hint = "Delete the checkpoints (virsh checkpoint-delete), then take a full backup after the migration.",
     .follow = {no_checkpoint}},
    {.name = "domain-job",
     .spoil = busy,
     .code = VMIG_ERROR_DOMAIN_JOB,
     .message = "a libvirt job runs on 'g'",
     .hint = "Wait until the job has ended (virsh domjobinfo).",
     .follow = {idle}},
    {.name = "name-there",
     .spoil = name_there,
     .code = VMIG_ERROR_DOMAIN_EXISTS,
     .message = "the destination already has a domain with the name of 'g'",
     .hint = "Rename that domain (virsh domrename), or undefine it if it is not needed (virsh undefine).",
     .follow = {renamed, undefined}},
    {.name = "uuid-and-name-there",
     .spoil = uuid_there,
     .code = VMIG_ERROR_DOMAIN_EXISTS,
     .message = "the destination already has a domain with the UUID of 'g'",
     .hint = "Undefine that domain if it is not needed (virsh undefine).",
     .follow = {undefined}},
    {.name = "uuid-there",
     .spoil = uuid_alone_there,
     .code = VMIG_ERROR_DOMAIN_EXISTS,
     .message = "the destination already has a domain with the UUID of 'g'",
     .hint = "Undefine that domain if it is not needed (virsh undefine), or give it another UUID.",
     .follow = {undefined, only_another_uuid}},
    {.name = "host-device",
     .spoil = host_device,
     .code = VMIG_ERROR_HOST_DEVICE,
     .message = "the guest uses a device of this host: pci 0000:03:00.0",
     .hint = DETACH_DEVICE,
     .follow = {host_device_detached}},
    {.name = "host-folder",
     .spoil = host_folder,
     .code = VMIG_ERROR_HOST_DEVICE,
     .message = "the guest uses a directory of this host: 9p /img",
     .hint = DETACH_DEVICE,
     .follow = {host_folder_detached}},
    {.name = "vhost-user",
     .spoil = vhost_user,
     .code = VMIG_ERROR_HOST_DEVICE,
     .message = "the guest uses a vhost-user socket of this host: interface /run/vhost.sock",
     .hint = DETACH_DEVICE,
     .follow = {vhost_user_detached}},
    {.name = "shared-memory",
     .spoil = shared_memory,
     .code = VMIG_ERROR_HOST_DEVICE,
     .message = "the guest uses shared memory of this host: between",
     .hint = DETACH_DEVICE,
     .follow = {shared_memory_detached}},
    {.name = "nvram-raw",
     .spoil = raw_nvram,
     .code = VMIG_ERROR_NVRAM,
     .message = "the UEFI variables of 'g' are in a raw file (/img/vars.fd), which vmig-snap cannot move yet"},
    {.name = "nvram-qcow2",
     .spoil = qcow2_nvram,
     .code = VMIG_ERROR_NVRAM,
     .message = "the UEFI variables of 'g' are in a qcow2 file, whose own snapshots vmig-snap cannot move yet"},
    {.name = "kernel-missing",
     .spoil = kernel,
     .code = VMIG_ERROR_MEDIA_MISSING,
     .message = "the guest needs /img/vmlinuz, which kvm2 does not have",
     .hint = "Copy this host's file to the same path on the destination.",
     .follow = {kernel_copied}},
    {.name = "firmware-missing",
     .spoil = firmware,
     .code = VMIG_ERROR_MEDIA_MISSING,
     .message = "the guest needs /img/bios.bin, which kvm2 does not have",
     .hint = "Copy this host's file to the same path on the destination.",
     .follow = {firmware_copied}},
    {.name = "external-snapshot",
     .spoil = external_snapshot,
     .code = VMIG_ERROR_EXTERNAL_SNAPSHOT,
     .message = "snapshot 'outside' is external: parts of it are outside the images",
     .hint = "Delete it (virsh snapshot-delete). If libvirt cannot, merge its files (virsh blockcommit), then delete "
             "libvirt's metadata of it (virsh snapshot-delete --metadata).",
     .follow = {snapshot_deleted}},
};

PlanRows plan_rows_guest(void)
{
    return (PlanRows){rows, G_N_ELEMENTS(rows)};
}
