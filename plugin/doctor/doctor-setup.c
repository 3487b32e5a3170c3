/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Rules for the host's setup. */
#include "doctor/doctor-private.h"

#include <string.h>

#include "core/names.h"

/* The kernel's tick limits an inode's time, hundredths of a second limit a process's start: closer times cannot be
 * ordered. */
#define MARGIN G_USEC_PER_SEC
/* Each disk needs some descriptors for its chain, its connections and its mirror; 1,024 is the usual limit. */
#define FILES_LIMIT 1024

static void libvirt_rule(const VmigDoctorFacts *facts, GPtrArray *findings)
{
    const VmigHypervisorInfo *info = facts->libvirt;

    if (info == NULL) {
        g_autofree char *why = vmig_text_escape(facts->libvirt_error != NULL ? facts->libvirt_error->message : "?", -1);
        VmigFinding *f = vmig_finding_add(findings, "libvirt", VMIG_SEVERITY_PROBLEM,
                                          "libvirt does not answer on %s: %s", facts->connect_uri, why);
        vmig_finding_repair(f, "Start it (systemctl start %s); running guests are not affected.",
                            facts->setup->daemon_unit);
        return;
    }
    guint64 major = info->libvirt_version / 1000000, minor = info->libvirt_version / 1000 % 1000;
    guint64 release = info->libvirt_version % 1000;
    g_autofree char *libvirt =
        g_strdup_printf("%" G_GUINT64_FORMAT ".%" G_GUINT64_FORMAT ".%" G_GUINT64_FORMAT, major, minor, release);
    /* Broken by the switch to QEMU's snapshot-load (11.2), fixed in 11.4. */
    if (major == 11 && (minor == 2 || minor == 3)) {
        VmigFinding *f = vmig_finding_add(
            findings, "libvirt-revert", VMIG_SEVERITY_PROBLEM,
            "libvirt %s cannot revert to internal snapshots: they are kept, but cannot be used until it is replaced",
            libvirt);
        vmig_finding_repair(f, "Install libvirt 11.4 or later.");
        return;
    }
    if (major < 9) {
        vmig_finding_add(findings, "libvirt-old", VMIG_SEVERITY_NOTE,
                         "libvirt %s is older than the oldest version that vmig-snap is tested with (9.0)", libvirt);
        return;
    }
    vmig_finding_add(
        findings, "libvirt", VMIG_SEVERITY_OK,
        "libvirt %s with QEMU %" G_GUINT64_FORMAT ".%" G_GUINT64_FORMAT ".%" G_GUINT64_FORMAT " answers on %s", libvirt,
        info->qemu_version / 1000000, info->qemu_version / 1000 % 1000, info->qemu_version % 1000, facts->connect_uri);
}

static void tool_rules(const VmigHostSetup *setup, GPtrArray *findings)
{
    for (guint i = 0; i < setup->tools->len; i++) {
        const VmigToolFacts *tool = setup->tools->pdata[i];
        g_autofree char *name = vmig_text_escape(tool->name, -1);
        g_autofree char *text = vmig_text_escape(tool->version != NULL ? tool->version
                                                 : tool->error != NULL ? tool->error->message
                                                                       : "?",
                                                 -1);
        if (tool->version != NULL) {
            vmig_finding_add(findings, "tool", VMIG_SEVERITY_OK, "%s %s", name, text);
            continue;
        }
        VmigFinding *f = vmig_finding_add(findings, "tool", VMIG_SEVERITY_PROBLEM, "%s cannot be used: %s", name, text);
        vmig_finding_repair(f, "Install it (Debian: qemu-utils, openssh-client).");
    }
}

static const char *folder_fault(VmigFolderKind kind)
{
    switch (kind) {
    case VMIG_FOLDER_MISSING:
        return "does not exist";
    case VMIG_FOLDER_OTHER_KIND:
        return "is not a directory";
    case VMIG_FOLDER_UNSAFE:
        return "belongs to another user, or other users can write to it";
    case VMIG_FOLDER_UNREADABLE:
        return "cannot be read";
    case VMIG_FOLDER_GOOD:
        break;
    }
    return NULL;
}

/* Not all default roots must exist, but a root that the administrator configured must. */
static void root_rules(const VmigHostSetup *setup, GPtrArray *findings)
{
    g_autoptr(GString) good = g_string_new(NULL);

    for (guint i = 0; i < setup->roots->len; i++) {
        const VmigFolderFacts *root = setup->roots->pdata[i];
        g_autofree char *path = vmig_text_escape(root->path, -1);
        if (root->kind == VMIG_FOLDER_GOOD)
            g_string_append_printf(good, "%s%s", good->len > 0 ? ", " : "", path);
        if (root->kind == VMIG_FOLDER_GOOD || (setup->default_roots && root->kind == VMIG_FOLDER_MISSING))
            continue;
        VmigFinding *f = vmig_finding_add(findings, "image-root", VMIG_SEVERITY_PROBLEM, "the image root %s %s", path,
                                          folder_fault(root->kind));
        vmig_finding_repair(f, "Create it, or change image-roots in " VMIG_CONFIG_PATH ".");
    }
    if (good->len > 0) {
        vmig_finding_add(findings, "image-roots", VMIG_SEVERITY_OK, "images may be in %s", good->str);
        return;
    }
    VmigFinding *f = vmig_finding_add(findings, "image-roots", VMIG_SEVERITY_PROBLEM,
                                      "none of the image roots exists: no guest can be migrated from or to this host");
    vmig_finding_repair(f, "Set image-roots in " VMIG_CONFIG_PATH " to the directories that contain the images.");
}

static void run_dir_rule(const VmigHostSetup *setup, GPtrArray *findings)
{
    g_autofree char *path = vmig_text_escape(setup->run_dir->path, -1);

    if (setup->run_dir->kind == VMIG_FOLDER_GOOD) {
        vmig_finding_add(findings, "run-dir", VMIG_SEVERITY_OK, "sockets and locks are in %s", path);
    } else if (setup->run_dir->kind == VMIG_FOLDER_MISSING) {
        vmig_finding_add(findings, "run-dir", VMIG_SEVERITY_OK, "%s is created when it is needed", path);
    } else {
        VmigFinding *f = vmig_finding_add(findings, "run-dir", VMIG_SEVERITY_PROBLEM, "the runtime directory %s %s",
                                          path, folder_fault(setup->run_dir->kind));
        vmig_finding_repair(f, "Find out who created it; while no job is running, give it to root with mode 0711.");
    }
}

static void limit_rules(const VmigHostSetup *setup, GPtrArray *findings)
{
    guint64 limits[] = {setup->files_limit, setup->daemon_files_limit};
    const char *whose[] = {"this process", setup->daemon};
    gboolean good = TRUE;

    for (guint i = 0; i < G_N_ELEMENTS(limits); i++) {
        if (limits[i] == 0 || limits[i] >= FILES_LIMIT)
            continue;
        good = FALSE;
        VmigFinding *f = vmig_finding_add(findings, "open-files", VMIG_SEVERITY_NOTE,
                                          "%s can open only %" G_GUINT64_FORMAT
                                          " files: a guest with many disks or long chains may need more",
                                          whose[i], limits[i]);
        vmig_finding_repair(f, "Raise the limit to %d or more (LimitNOFILE= of the unit, ulimit -n).", FILES_LIMIT);
    }
    if (good)
        vmig_finding_add(findings, "open-files", VMIG_SEVERITY_OK, "the limits of open files are high enough");
}

/* TRUE if this daemon called the hook, either for a guest or when it looked for hooks and some existed. */
static gboolean was_called(const VmigHostSetup *setup)
{
    if (setup->hook_seen == 0)
        return FALSE;
    if (setup->seen_pid == 0)
        return setup->hook_seen > setup->daemon_started;
    return setup->seen_pid == setup->daemon_pid && setup->seen_ticks == setup->daemon_ticks &&
           (setup->seen_as_qemu || (setup->first_hook != 0 && setup->hook_seen >= setup->first_hook));
}

VmigHookState vmig_doctor_hook_state(const VmigHostSetup *setup)
{
    if (!setup->hook_exists)
        return VMIG_HOOK_NOT_THERE;
    if (!setup->hook_regular || !setup->hook_executable)
        return VMIG_HOOK_NOT_EXECUTABLE;
    if (setup->daemon == NULL || setup->daemon_started == 0)
        return VMIG_HOOK_NO_DAEMON;
    /* libvirtd remembers whether any hook existed when it started or reloaded (virHooksFound, virhook.c). If so, it
     * searches the folder at each call. */
    if (setup->first_hook != 0 && setup->first_hook + MARGIN <= setup->daemon_started)
        return VMIG_HOOK_LOADED;
    if (setup->first_hook != 0 && setup->daemon_reloaded >= setup->first_hook &&
        setup->daemon_reloaded >= setup->daemon_started)
        return VMIG_HOOK_LOADED;
    return was_called(setup) ? VMIG_HOOK_LOADED : VMIG_HOOK_NOT_PROVEN;
}

#define HOOK_DIRS VMIG_HOOK_DIR "/qemu.d " VMIG_HOOK_DIR "/daemon.d"

static void hook_rule(const VmigHostSetup *setup, GPtrArray *findings)
{
    static const char path[] = VMIG_HOOK_DIR "/" VMIG_HOOK_NAME;
    static const char program[] = VMIG_BINDIR "/vmig-snap-hook";
    VmigFinding *f;

    switch (vmig_doctor_hook_state(setup)) {
    case VMIG_HOOK_NOT_THERE:
        f = vmig_finding_add(findings, "hook", VMIG_SEVERITY_PROBLEM,
                             "libvirt's hook %s is not installed: libvirt would start a stale copy of a guest that was "
                             "migrated away, and jobs are not resumed after a reboot",
                             path);
        vmig_finding_repair(f,
                            "mkdir -p " HOOK_DIRS " && for d in " HOOK_DIRS "; do "
                            "ln -s %s $d/50-vmig-snap; done; then vmig-snap doctor --fix",
                            program);
        return;
    case VMIG_HOOK_NOT_EXECUTABLE:
        f = vmig_finding_add(findings, "hook", VMIG_SEVERITY_PROBLEM,
                             "libvirt does not run the hook %s: it is not an executable program", path);
        vmig_finding_repair(f, "chmod 0755 %s", path);
        return;
    case VMIG_HOOK_NO_DAEMON:
        vmig_finding_add(
            findings, "hook", VMIG_SEVERITY_NOTE,
            "the hook %s is installed; no running libvirtd or virtqemud was found that could have loaded it", path);
        return;
    case VMIG_HOOK_LOADED:
        vmig_finding_add(findings, "hook", VMIG_SEVERITY_OK, "libvirt's hook %s is installed, and %s has loaded it",
                         path, setup->daemon);
        return;
    case VMIG_HOOK_NOT_PROVEN:
        break;
    }
    f = vmig_finding_add(findings, "hook-not-loaded", VMIG_SEVERITY_PROBLEM,
                         "the hook %s was installed after the start of %s, which looks for hooks only when it is "
                         "started or reloaded: it may never call the hook",
                         path, setup->daemon);
    f->fix = VMIG_FIX_RELOAD;
    if (setup->systemd)
        vmig_finding_repair(f, "systemctl reload %s", setup->daemon);
    else
        vmig_finding_repair(f, "vmig-snap doctor --fix (it sends SIGHUP to %s, process %d)", setup->daemon,
                            setup->daemon_pid);
}

static void unit_rule(const VmigHostSetup *setup, GPtrArray *findings)
{
    if (!setup->systemd) {
        vmig_finding_add(
            findings, "unit", VMIG_SEVERITY_OK,
            "systemd does not run on this host: after a reboot the hook resumes jobs, or vmig-snap resume --all");
        return;
    }
    if (g_strcmp0(setup->resume_unit, "enabled") == 0) {
        vmig_finding_add(findings, "unit", VMIG_SEVERITY_OK, VMIG_RESUME_UNIT " is enabled");
        return;
    }
    g_autofree char *state = vmig_text_escape(setup->resume_unit, -1);
    VmigFinding *f =
        vmig_finding_add(findings, "unit", VMIG_SEVERITY_PROBLEM,
                         VMIG_RESUME_UNIT " is not enabled (%s): jobs are not resumed after a reboot", state);
    vmig_finding_repair(f, "systemctl enable " VMIG_RESUME_UNIT);
}

void vmig_doctor_setup_rules(const VmigDoctorFacts *facts, GPtrArray *findings)
{
    libvirt_rule(facts, findings);
    if (facts->config_error != NULL) {
        g_autofree char *why = vmig_text_escape(facts->config_error->message, -1);
        VmigFinding *f = vmig_finding_add(
            findings, "config", VMIG_SEVERITY_PROBLEM,
            "the configuration is invalid: no command works, and everything that depends on it was not checked: %s",
            why);
        vmig_finding_repair(f, "%s",
                            vmig_error_hint(facts->config_error) != NULL ? vmig_error_hint(facts->config_error)
                                                                         : "Correct " VMIG_CONFIG_PATH ".");
    }
    if (facts->setup == NULL)
        return;
    tool_rules(facts->setup, findings);
    root_rules(facts->setup, findings);
    run_dir_rule(facts->setup, findings);
    limit_rules(facts->setup, findings);
    hook_rule(facts->setup, findings);
    unit_rule(facts->setup, findings);
}
