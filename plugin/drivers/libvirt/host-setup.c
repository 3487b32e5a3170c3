/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Collects facts about this host from /proc, /run, the hook folder and the tools themselves. */
#include "drivers/libvirt/host-setup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "os/tool.h"

static void folder_facts_free(VmigFolderFacts *folder)
{
    if (folder == NULL)
        return;
    g_free(folder->path);
    g_free(folder);
}

static void tool_facts_free(VmigToolFacts *tool)
{
    g_free(tool->name);
    g_free(tool->version);
    g_clear_error(&tool->error);
    g_free(tool);
}

void vmig_host_setup_free(VmigHostSetup *setup)
{
    g_ptr_array_unref(setup->tools);
    g_ptr_array_unref(setup->roots);
    folder_facts_free(setup->run_dir);
    g_free(setup->daemon);
    g_free(setup->resume_unit);
    g_free(setup);
}

/* --- tools --- */

/* The first word that begins with a digit: "qemu-img version 7.2.22 (Debian ...)", "qemu-nbd 7.2.22 (Debian...)",
 * "OpenSSH_9.2p1 Debian-2, OpenSSL 3.0.15" (split at the underscore). */
static char *version_in(const char *text)
{
    g_auto(GStrv) words = g_strsplit_set(text, " _\n,", -1);

    for (char **word = words; *word != NULL; word++)
        if (g_ascii_isdigit(**word))
            return g_strdup(*word);
    return NULL;
}

static void ask_tool(VmigHostSetup *setup, const char *program, const char *option)
{
    const char *argv[] = {program, option, NULL};
    VmigToolFacts *tool = g_new0(VmigToolFacts, 1);
    g_autoptr(VmigToolResult) result = vmig_tool_exec(argv, NULL, &tool->error);

    tool->name = g_strdup(program);
    g_ptr_array_add(setup->tools, tool);
    if (result == NULL)
        return;
    /* ssh prints its version to standard error. */
    tool->version = version_in(*result->out != '\0' ? result->out : result->err);
    if (result->status != 0)
        g_clear_pointer(&tool->version, g_free);
    if (tool->version == NULL)
        vmig_fail(&tool->error, VMIG_ERROR_IMAGE_TOOL, NULL, "%s does not report its version", program);
}

/* --- folders --- */

static VmigFolderFacts *look_at_folder(const char *path, gboolean ours)
{
    VmigFolderFacts *folder = g_new0(VmigFolderFacts, 1);
    struct stat st;

    folder->path = g_strdup(path);
    if (stat(path, &st) != 0)
        folder->kind = errno == ENOENT ? VMIG_FOLDER_MISSING : VMIG_FOLDER_UNREADABLE;
    else if (!S_ISDIR(st.st_mode))
        folder->kind = VMIG_FOLDER_OTHER_KIND;
    else if (ours && (st.st_uid != geteuid() || (st.st_mode & 022) != 0))
        folder->kind = VMIG_FOLDER_UNSAFE;
    else if (access(path, R_OK | X_OK) != 0)
        folder->kind = VMIG_FOLDER_UNREADABLE;
    return folder;
}

/* --- libvirt's daemon --- */

static gint64 of_timespec(const struct timespec *time)
{
    return time->tv_sec * G_USEC_PER_SEC + time->tv_nsec / 1000;
}

static gboolean is_process(int pid, const char *name)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/comm", pid);
    g_autofree char *text = NULL;

    return pid > 0 && g_file_get_contents(path, &text, NULL, NULL) && g_str_equal(g_strchomp(text), name);
}

/* proc(5): field 22 of stat is the start time in clock ticks since boot; the name before it may contain blanks and
 * brackets. */
static guint64 ticks_of(int pid)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/stat", pid);
    g_autofree char *text = NULL;
    guint64 ticks = 0;

    if (!g_file_get_contents(path, &text, NULL, NULL))
        return 0;
    const char *end = strrchr(text, ')');
    g_auto(GStrv) fields = g_strsplit(end != NULL ? end + 1 : "", " ", 22);
    if (g_strv_length(fields) < 21 || !g_ascii_string_to_unsigned(fields[20], 10, 0, G_MAXINT64, &ticks, NULL))
        return 0;
    return ticks;
}

static gint64 time_of_ticks(guint64 ticks)
{
    struct timespec now;

    if (ticks == 0 || clock_gettime(CLOCK_BOOTTIME, &now) != 0)
        return 0;
    gint64 after_boot = (gint64)(ticks * G_USEC_PER_SEC / (guint64)sysconf(_SC_CLK_TCK));
    return g_get_real_time() - (of_timespec(&now) - after_boot);
}

static guint64 files_limit_of(int pid)
{
    struct rlimit limit;

    return prlimit(pid, RLIMIT_NOFILE, NULL, &limit) == 0 ? (guint64)limit.rlim_cur : 0;
}

static const char *find_daemon_unit(void)
{
    g_autofree char *modular = g_find_program_in_path("virtqemud");

    return modular != NULL ? "virtqemud.service" : "libvirtd.service";
}

/* The modular daemon first: if both are installed, it runs the guests. */
static void find_daemon(VmigHostSetup *setup, const char *pid_dir)
{
    static const char *const names[] = {"virtqemud", "libvirtd"};

    for (guint i = 0; i < G_N_ELEMENTS(names) && setup->daemon == NULL; i++) {
        g_autofree char *path = g_strdup_printf("%s/%s.pid", pid_dir, names[i]);
        g_autofree char *text = NULL;
        guint64 pid = 0;
        if (!g_file_get_contents(path, &text, NULL, NULL) ||
            !g_ascii_string_to_unsigned(g_strstrip(text), 10, 1, G_MAXINT, &pid, NULL) ||
            !is_process((int)pid, names[i]))
            continue;
        setup->daemon = g_strdup(names[i]);
        setup->daemon_pid = (int)pid;
        setup->daemon_ticks = ticks_of((int)pid);
        setup->daemon_started = time_of_ticks(setup->daemon_ticks);
        setup->daemon_files_limit = files_limit_of((int)pid);
    }
}

/* --- the hooks --- */

/* Determines since when the program has existed, as far as inodes show: since that time neither the file nor a link to
 * it was created or renamed, nor was its mode changed. */
static void note_hook(VmigHostSetup *setup, int folder, const char *name)
{
    struct stat st, link;

    if (fstatat(folder, name, &st, 0) != 0 || !S_ISREG(st.st_mode) || faccessat(folder, name, X_OK, AT_EACCESS) != 0 ||
        fstatat(folder, name, &link, AT_SYMLINK_NOFOLLOW) != 0)
        return;
    gint64 changed = MAX(of_timespec(&st.st_ctim), of_timespec(&link.st_ctim));
    if (setup->first_hook == 0 || changed < setup->first_hook)
        setup->first_hook = changed;
}

/* The same search as virHookCheck (virhook.c): hooks/qemu, and any program in hooks/qemu.d. */
static void look_at_hooks(VmigHostSetup *setup, const char *hook_dir)
{
    g_autofree char *ours = g_build_filename(hook_dir, VMIG_HOOK_NAME, NULL);
    g_autofree char *single = g_build_filename(hook_dir, "qemu", NULL);
    g_autofree char *folder = g_build_filename(hook_dir, "qemu.d", NULL);
    struct stat st;

    setup->hook_exists = stat(ours, &st) == 0;
    setup->hook_regular = setup->hook_exists && S_ISREG(st.st_mode);
    setup->hook_executable = setup->hook_exists && access(ours, X_OK) == 0;
    note_hook(setup, AT_FDCWD, single);
    DIR *dir = opendir(folder);
    if (dir == NULL)
        return;
    for (struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir))
        if (!g_str_equal(entry->d_name, ".") && !g_str_equal(entry->d_name, ".."))
            note_hook(setup, dirfd(dir), entry->d_name);
    closedir(dir);
}

static gint64 mark_time(const char *run_dir, const char *name)
{
    g_autofree char *path = g_build_filename(run_dir, name, NULL);
    struct stat st;

    return lstat(path, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == geteuid() ? of_timespec(&st.st_mtim) : 0;
}

/* The daemon's own hook is called when it starts and reloads, which is when it looks for all hooks. QEMU's hook also
 * has an operation "start". */
static void read_seen(VmigHostSetup *setup, const char *run_dir)
{
    g_autofree char *path = g_build_filename(run_dir, VMIG_HOOK_SEEN, NULL);
    g_autofree char *text = NULL;
    unsigned long long ticks = 0;
    long long when = 0;
    char op[32] = "";
    int pid = 0;

    setup->hook_seen = mark_time(run_dir, VMIG_HOOK_SEEN);
    if (setup->hook_seen == 0 || !g_file_get_contents(path, &text, NULL, NULL) ||
        sscanf(text, "%d %llu %lld %31s", &pid, &ticks, &when, op) != 4)
        return;
    setup->seen_pid = pid;
    setup->seen_ticks = ticks;
    setup->seen_as_qemu = !g_str_equal(op, "start") && !g_str_equal(op, "reload") && !g_str_equal(op, "shutdown");
}

/* --- systemd --- */

static char *ask_systemd(const char *const *argv)
{
    g_autoptr(VmigToolResult) result = vmig_tool_exec(argv, NULL, NULL);

    return result != NULL ? g_strdup(g_strstrip(result->out)) : NULL;
}

/* "ExecReload={ path=/bin/kill ; ... ; start_time=[@1700000000] ; ..." with --timestamp=unix (systemd 251). */
static gint64 reload_time(const char *daemon)
{
    const char *argv[] = {"systemctl", "show", "--timestamp=unix", "--property=ExecReload", daemon, NULL};
    g_autofree char *text = ask_systemd(argv);
    const char *at = text != NULL ? strstr(text, "start_time=[@") : NULL;

    return at != NULL ? g_ascii_strtoll(at + strlen("start_time=[@"), NULL, 10) * G_USEC_PER_SEC : 0;
}

static void look_at_systemd(VmigHostSetup *setup)
{
    const char *argv[] = {"systemctl", "is-enabled", VMIG_RESUME_UNIT, NULL};

    /* sd_booted(3) */
    setup->systemd = access("/run/systemd/system", F_OK) == 0;
    if (!setup->systemd)
        return;
    setup->resume_unit = ask_systemd(argv);
    if (setup->resume_unit == NULL || *setup->resume_unit == '\0') {
        g_free(setup->resume_unit);
        setup->resume_unit = g_strdup("not-found");
    }
    if (setup->daemon != NULL)
        setup->daemon_reloaded = reload_time(setup->daemon);
}

VmigHostSetup *vmig_host_setup_look(const VmigHostSetupPlaces *places)
{
    VmigHostSetup *setup = g_new0(VmigHostSetup, 1);

    setup->tools = g_ptr_array_new_with_free_func((GDestroyNotify)tool_facts_free);
    setup->roots = g_ptr_array_new_with_free_func((GDestroyNotify)folder_facts_free);
    setup->default_roots = places->default_roots;
    ask_tool(setup, "qemu-img", "--version");
    ask_tool(setup, "qemu-nbd", "--version");
    ask_tool(setup, places->ssh_command, "-V");
    for (guint i = 0; places->roots != NULL && places->roots[i] != NULL; i++)
        g_ptr_array_add(setup->roots, look_at_folder(places->roots[i], FALSE));
    setup->run_dir = look_at_folder(places->run_dir, TRUE);
    setup->files_limit = files_limit_of(0);
    setup->daemon_unit = find_daemon_unit();
    find_daemon(setup, places->pid_dir != NULL ? places->pid_dir : "/run");
    look_at_hooks(setup, places->hook_dir != NULL ? places->hook_dir : VMIG_HOOK_DIR);
    look_at_systemd(setup);
    read_seen(setup, places->run_dir);
    setup->daemon_reloaded = MAX(setup->daemon_reloaded, mark_time(places->run_dir, VMIG_HOOK_RELOADED));
    return setup;
}

gboolean vmig_host_setup_reload(const VmigHostSetup *setup, const char *run_dir, GError **error)
{
    g_autofree char *mark = g_build_filename(run_dir, VMIG_HOOK_RELOADED, NULL);

    if (setup->daemon == NULL || !is_process(setup->daemon_pid, setup->daemon))
        return vmig_fail(error, VMIG_ERROR_INTERFERENCE, NULL, "libvirt's daemon was replaced by another process");
    if (kill(setup->daemon_pid, SIGHUP) != 0)
        return vmig_fail_errno(error, errno, "cannot send SIGHUP to %s (process %d)", setup->daemon, setup->daemon_pid);
    if (g_mkdir_with_parents(run_dir, 0711) != 0)
        return vmig_fail_errno(error, errno, "cannot create %s", run_dir);
    int fd = open(mark, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    gboolean ok = fd >= 0 && futimens(fd, NULL) == 0;
    int errnum = errno;
    if (fd >= 0)
        close(fd);
    return ok || vmig_fail_errno(error, errnum, "cannot write %s", mark);
}

char *vmig_machine_id(void)
{
    g_autofree char *text = NULL;

    if (!g_file_get_contents("/etc/machine-id", &text, NULL, NULL) || *g_strstrip(text) == '\0')
        return NULL;
    return g_steal_pointer(&text);
}
