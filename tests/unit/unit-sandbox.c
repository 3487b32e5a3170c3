/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Runs a program under the restrictions of a systemd unit, without systemd: what the unit's lines make the kernel
 * refuse is set up here as systemd does it (src/shared/seccomp-util.c and src/core/namespace.c of systemd 252).
 *
 *     unit-sandbox [--filters-only] UNIT BINDIR INSTANCE              runs the unit's ExecStart=
 *     unit-sandbox [--filters-only] UNIT - PROGRAM [ARGUMENT...]      runs another program
 *
 * BINDIR replaces the template's @bindir@, INSTANCE replaces %i. A line of [Service] that is not in the tables below
 * ends it with code 99: a new line in a unit must be added here with what it refuses, which shows whether the tool can
 * live with it. The system-call filters need no privilege; mounts and capabilities need root, and --filters-only omits
 * them.
 */
#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SKIP 77
#define UNKNOWN 99

#if defined(__x86_64__)
#define ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCH AUDIT_ARCH_AARCH64
#endif

#ifndef ARCH
int main(void)
{
    puts("1..0 # SKIP the filters are written for x86-64 and arm64");
    return SKIP;
}
#else

G_GNUC_PRINTF(1, 2) G_GNUC_NORETURN static void give_up(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    exit(UNKNOWN);
}

/* --- filters --- */

static void emit(GArray *code, guint16 what, guint8 yes, guint8 no, guint32 k)
{
    struct sock_filter step = {what, yes, no, k};

    g_array_append_val(code, step);
}

static void emit_load(GArray *code, guint32 offset)
{
    emit(code, BPF_LD | BPF_W | BPF_ABS, 0, 0, offset);
}

static void emit_answer(GArray *code, int errnum)
{
    emit(code, BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ERRNO | ((guint32)errnum & SECCOMP_RET_DATA));
}

/* The lower half: the arguments checked are ints and flags. */
static guint32 argument(guint n)
{
    return (guint32)(offsetof(struct seccomp_data, args) + n * sizeof(guint64));
}

static void refuse(GArray *code, long call, int errnum)
{
    if (call < 0)
        return;
    emit_load(code, offsetof(struct seccomp_data, nr));
    emit(code, BPF_JMP | BPF_JEQ | BPF_K, 0, 1, (guint32)call);
    emit_answer(code, errnum);
}

/* Refuses the call if (argument & mask) == value. */
static void refuse_if(GArray *code, long call, guint arg, guint32 mask, guint32 value, int errnum)
{
    if (call < 0)
        return;
    emit_load(code, offsetof(struct seccomp_data, nr));
    emit(code, BPF_JMP | BPF_JEQ | BPF_K, 0, 4, (guint32)call);
    emit_load(code, argument(arg));
    emit(code, BPF_ALU | BPF_AND | BPF_K, 0, 0, mask);
    emit(code, BPF_JMP | BPF_JEQ | BPF_K, 0, 1, value);
    emit_answer(code, errnum);
}

/* Refuses with a second condition: (argument2 & bits2) == bits2. */
static void refuse_if_both(GArray *code, long call, guint arg, guint32 bits, guint arg2, guint32 bits2, int errnum)
{
    if (call < 0)
        return;
    emit_load(code, offsetof(struct seccomp_data, nr));
    emit(code, BPF_JMP | BPF_JEQ | BPF_K, 0, 7, (guint32)call);
    emit_load(code, argument(arg));
    emit(code, BPF_ALU | BPF_AND | BPF_K, 0, 0, bits);
    emit(code, BPF_JMP | BPF_JEQ | BPF_K, 0, 4, bits);
    emit_load(code, argument(arg2));
    emit(code, BPF_ALU | BPF_AND | BPF_K, 0, 0, bits2);
    emit(code, BPF_JMP | BPF_JEQ | BPF_K, 0, 1, bits2);
    emit_answer(code, errnum);
}

/* Refuses any other value of the argument. */
static void refuse_others(GArray *code, long call, guint arg, const guint32 *values, guint n, int errnum)
{
    emit_load(code, offsetof(struct seccomp_data, nr));
    emit(code, BPF_JMP | BPF_JEQ | BPF_K, 0, (guint8)(n + 2), (guint32)call);
    emit_load(code, argument(arg));
    for (guint i = 0; i < n; i++)
        emit(code, BPF_JMP | BPF_JEQ | BPF_K, (guint8)(n - i), 0, values[i]);
    emit_answer(code, errnum);
}

static void install(GArray *code)
{
    emit(code, BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW);
    struct sock_fprog program = {(unsigned short)code->len, (struct sock_filter *)(void *)code->data};
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) == 0)
        return;
    /* Needed without root. systemd sets it for such services, too. */
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) != 0)
        give_up("cannot install a system-call filter: %s", g_strerror(errno));
}

/* Refuses these mode bits wherever a mode is passed. A call with the mode in memory (openat2) is refused completely. */
static void filter_suid_sgid(GArray *code)
{
    static const guint32 bits[] = {S_ISUID, S_ISGID};

    for (guint i = 0; i < G_N_ELEMENTS(bits); i++) {
        guint32 b = bits[i];
#ifdef SYS_chmod
        refuse_if(code, SYS_chmod, 1, b, b, EPERM);
        refuse_if(code, SYS_mkdir, 1, b, b, EPERM);
        refuse_if(code, SYS_mknod, 1, b, b, EPERM);
        refuse_if(code, SYS_creat, 1, b, b, EPERM);
        refuse_if_both(code, SYS_open, 1, O_CREAT, 2, b, EPERM);
#endif
        refuse_if(code, SYS_fchmod, 1, b, b, EPERM);
        refuse_if(code, SYS_fchmodat, 2, b, b, EPERM);
        refuse_if(code, 452 /* fchmodat2 */, 2, b, b, EPERM);
        refuse_if(code, SYS_mkdirat, 2, b, b, EPERM);
        refuse_if(code, SYS_mknodat, 2, b, b, EPERM);
        refuse_if_both(code, SYS_openat, 2, O_CREAT, 3, b, EPERM);
    }
    refuse(code, SYS_openat2, ENOSYS);
}

static void filter_realtime(GArray *code)
{
    static const guint32 permitted[] = {SCHED_OTHER, SCHED_BATCH, SCHED_IDLE};

    refuse_others(code, SYS_sched_setscheduler, 1, permitted, G_N_ELEMENTS(permitted), EPERM);
}

static void filter_clock(GArray *code)
{
    refuse(code, SYS_clock_settime, EPERM);
    refuse(code, SYS_settimeofday, EPERM);
    refuse(code, SYS_adjtimex, EPERM);
    refuse(code, SYS_clock_adjtime, EPERM);
}

static void filter_hostname(GArray *code)
{
    refuse(code, SYS_sethostname, EPERM);
    refuse(code, SYS_setdomainname, EPERM);
}

static void filter_logs(GArray *code)
{
    refuse(code, SYS_syslog, EPERM);
}

static void filter_modules(GArray *code)
{
    refuse(code, SYS_init_module, EPERM);
    refuse(code, SYS_finit_module, EPERM);
    refuse(code, SYS_delete_module, EPERM);
}

static void filter_tunables(GArray *code)
{
#ifdef SYS__sysctl
    refuse(code, SYS__sysctl, EPERM);
#else
    refuse(code, -1, EPERM);
#endif
}

static void filter_personality(GArray *code)
{
    const guint32 current = (guint32)personality(0xffffffff), permitted[] = {current, 0xffffffff};

    refuse_others(code, SYS_personality, 0, permitted, G_N_ELEMENTS(permitted), EPERM);
}

static void filter_write_execute(GArray *code)
{
    refuse_if(code, SYS_mmap, 2, PROT_EXEC | PROT_WRITE, PROT_EXEC | PROT_WRITE, EPERM);
    refuse_if(code, SYS_mprotect, 2, PROT_EXEC, PROT_EXEC, EPERM);
    refuse_if(code, SYS_pkey_mprotect, 2, PROT_EXEC, PROT_EXEC, EPERM);
    refuse_if(code, SYS_shmat, 2, SHM_EXEC, SHM_EXEC, EPERM);
}

static void filter_nothing(GArray *code G_GNUC_UNUSED)
{
}

/* --- lines with yes --- */

typedef struct {
    const char *name;
    void (*filter)(GArray *code);
    const char *read_only; /* folders to make read-only (hidden: to hide), separated by ':' */
    const char *hidden;
    guint64 capabilities; /* capabilities to drop */
} Switch;

#define CAP(name) (G_GUINT64_CONSTANT(1) << CAP_##name)

static const Switch switches[] = {
    {"ProtectClock", filter_clock, NULL, NULL, CAP(SYS_TIME) | CAP(WAKE_ALARM)},
    {"ProtectHostname", filter_hostname, NULL, NULL, 0},
    {"ProtectKernelTunables", filter_tunables,
     "/proc/acpi:/proc/apm:/proc/asound:/proc/bus:/proc/fs:/proc/irq:/proc/latency_stats:/proc/mtrr:/proc/scsi:"
     "/proc/sys:/proc/sysrq-trigger:/proc/timer_stats:/sys",
     "/proc/kallsyms:/proc/kcore", 0},
    {"ProtectKernelLogs", filter_logs, NULL, "/dev/kmsg:/proc/kmsg", CAP(SYSLOG)},
    {"ProtectKernelModules", filter_modules, NULL, "/lib/modules:/usr/lib/modules", CAP(SYS_MODULE)},
    {"ProtectControlGroups", filter_nothing, "/sys/fs/cgroup", NULL, 0},
    {"RestrictRealtime", filter_realtime, NULL, NULL, 0},
    {"RestrictSUIDSGID", filter_suid_sgid, NULL, NULL, 0},
    {"LockPersonality", filter_personality, NULL, NULL, 0},
    {"MemoryDenyWriteExecute", filter_write_execute, NULL, NULL, 0},
};

/* Lines about when and how it runs, which restrict nothing. */
static const char *const harmless[] = {
    "Type",     "ExecStart",      "SuccessExitStatus", "Restart", "RestartSec", "RestartPreventExitStatus",
    "KillMode", "TimeoutStopSec", "OOMScoreAdjust",    NULL,
};

/* --- lines with a list --- */

static guint32 family(const char *name)
{
    static const struct {
        const char *name;
        guint32 is;
    } table[] = {{"AF_UNIX", AF_UNIX}, {"AF_INET", AF_INET}, {"AF_INET6", AF_INET6}, {"AF_NETLINK", AF_NETLINK}};

    for (guint i = 0; i < G_N_ELEMENTS(table); i++)
        if (strcmp(name, table[i].name) == 0)
            return table[i].is;
    give_up("address family '%s' is not known here", name);
}

static void filter_families(GArray *code, char **words)
{
    guint32 permitted[16];
    guint n = 0;

    for (; words[n] != NULL && n < G_N_ELEMENTS(permitted); n++)
        permitted[n] = family(words[n]);
    refuse_others(code, SYS_socket, 0, permitted, n, EAFNOSUPPORT);
}

static void filter_namespaces(GArray *code, char **words)
{
    static const struct {
        const char *name;
        guint32 flag;
    } table[] = {
        {"cgroup", CLONE_NEWCGROUP}, {"ipc", CLONE_NEWIPC},   {"net", CLONE_NEWNET}, {"mnt", CLONE_NEWNS},
        {"pid", CLONE_NEWPID},       {"user", CLONE_NEWUSER}, {"uts", CLONE_NEWUTS},
    };

    /* Its flags are in memory, which a filter cannot read. */
    refuse(code, SYS_clone3, ENOSYS);
    refuse_if(code, SYS_setns, 1, 0xffffffff, 0, EPERM);
    for (guint i = 0; i < G_N_ELEMENTS(table); i++) {
        if (g_strv_contains((const char *const *)words, table[i].name))
            continue;
        refuse_if(code, SYS_unshare, 0, table[i].flag, table[i].flag, EPERM);
        refuse_if(code, SYS_clone, 0, table[i].flag, table[i].flag, EPERM);
        refuse_if(code, SYS_setns, 1, table[i].flag, table[i].flag, EPERM);
    }
}

/* --- mounts and capabilities --- */

static void set_mount(const char *path, gboolean hide)
{
    struct mount_attr read_only = {.attr_set = MOUNT_ATTR_RDONLY};
    struct stat st;

    if (stat(path, &st) != 0)
        return;
    if (hide && !S_ISDIR(st.st_mode)) {
        if (mount("/dev/null", path, NULL, MS_BIND, NULL) != 0)
            give_up("cannot hide %s: %s", path, g_strerror(errno));
    } else if (hide) {
        if (mount("tmpfs", path, "tmpfs", MS_RDONLY, "mode=0,size=0") != 0)
            give_up("cannot hide %s: %s", path, g_strerror(errno));
    } else if (mount(path, path, NULL, MS_BIND | MS_REC, NULL) != 0 ||
               mount_setattr(AT_FDCWD, path, AT_RECURSIVE, &read_only, sizeof read_only) != 0)
        give_up("cannot make %s read-only: %s", path, g_strerror(errno));
}

static void set_mounts(const char *list, gboolean hide)
{
    g_auto(GStrv) paths = g_strsplit(list != NULL ? list : "", ":", -1);

    for (guint i = 0; paths[i] != NULL; i++)
        if (*paths[i] != '\0')
            set_mount(paths[i], hide);
}

static void drop(guint64 capabilities)
{
    for (int cap = 0; cap <= CAP_LAST_CAP; cap++)
        if ((capabilities & (G_GUINT64_CONSTANT(1) << cap)) != 0 && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) != 0)
            give_up("cannot drop capability %d: %s", cap, g_strerror(errno));
}

/* --- the unit --- */

typedef struct {
    GArray *code;
    gboolean filters_only;
    char *exec_start;
} Sandbox;

/* FALSE: it is none of these. */
static gboolean apply_switch(Sandbox *box, const char *name, const char *value)
{
    for (guint i = 0; i < G_N_ELEMENTS(switches); i++) {
        if (strcmp(name, switches[i].name) != 0)
            continue;
        if (strcmp(value, "no") == 0)
            return TRUE;
        if (strcmp(value, "yes") != 0)
            give_up("%s=%s is not known here", name, value);
        switches[i].filter(box->code);
        if (!box->filters_only) {
            set_mounts(switches[i].read_only, FALSE);
            set_mounts(switches[i].hidden, TRUE);
            drop(switches[i].capabilities);
        }
        return TRUE;
    }
    return FALSE;
}

static void apply(Sandbox *box, const char *name, const char *value)
{
    g_auto(GStrv) words = g_strsplit(value, " ", -1);

    if (strcmp(name, "ExecStart") == 0)
        box->exec_start = g_strdup(value);
    if (g_strv_contains(harmless, name) || apply_switch(box, name, value))
        return;
    if (strcmp(name, "RestrictAddressFamilies") == 0)
        filter_families(box->code, words);
    else if (strcmp(name, "RestrictNamespaces") == 0)
        filter_namespaces(box->code, words);
    else if (strcmp(name, "SystemCallArchitectures") == 0 && strcmp(value, "native") == 0) {
        emit_load(box->code, offsetof(struct seccomp_data, arch));
        emit(box->code, BPF_JMP | BPF_JEQ | BPF_K, 1, 0, ARCH);
        emit(box->code, BPF_RET | BPF_K, 0, 0, SECCOMP_RET_KILL_PROCESS);
    } else if (strcmp(name, "ProtectSystem") == 0 && strcmp(value, "full") == 0) {
        if (!box->filters_only)
            set_mounts("/usr:/boot:/efi:/etc", FALSE);
    } else
        give_up("this test does not know the unit's line %s=%s: add what it refuses", name, value);
}

static void apply_unit(Sandbox *box, const char *unit)
{
    g_autofree char *text = NULL;
    g_autoptr(GError) error = NULL;
    gboolean service = FALSE;

    if (!g_file_get_contents(unit, &text, NULL, &error))
        give_up("%s", error->message);
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    for (guint i = 0; lines[i] != NULL; i++) {
        char *line = g_strstrip(lines[i]), *equals = strchr(line, '=');
        if (*line == '[')
            service = strcmp(line, "[Service]") == 0;
        if (!service || *line == '#' || *line == '[' || *line == '\0')
            continue;
        if (equals == NULL)
            give_up("'%s' is no line of a unit", line);
        *equals = '\0';
        apply(box, line, equals + 1);
    }
}

static char *filled(const char *text, const char *what, const char *with)
{
    g_auto(GStrv) parts = g_strsplit(text, what, -1);

    return g_strjoinv(with, parts);
}

static char **command(const Sandbox *box, char **argv)
{
    if (strcmp(argv[1], "-") == 0)
        return argv + 2;
    if (box->exec_start == NULL)
        give_up("the unit has no ExecStart=");
    g_autofree char *there = filled(box->exec_start, "@bindir@", argv[1]);
    g_autofree char *whole = filled(there, "%i", argv[2]);
    return g_strsplit(whole, " ", -1);
}

int main(int argc, char **argv)
{
    Sandbox box = {.code = g_array_new(FALSE, FALSE, sizeof(struct sock_filter))};

    box.filters_only = argc > 1 && strcmp(argv[1], "--filters-only") == 0;
    argv += box.filters_only ? 2 : 1;
    argc -= box.filters_only ? 2 : 1;
    if (argc < 3)
        give_up("unit-sandbox [--filters-only] UNIT BINDIR INSTANCE | UNIT - PROGRAM [ARGUMENT...]");
    if (!box.filters_only && (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) != 0))
        give_up("no mount namespace: %s", g_strerror(errno));
    apply_unit(&box, argv[0]);
    char **words = command(&box, argv);
    install(box.code);
    execv(words[0], words);
    give_up("cannot run %s: %s", words[0], g_strerror(errno));
}
#endif
