/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* doctor: the rules over artificial facts, and the repairs on a real journal and real files. */
#include <errno.h>
#include <glib/gstdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <utime.h>

#include "core/path-map.h"
#include "doctor/doctor-private.h"
#include "store/gate.h"
#include "store/oplock.h"
#include "tests/unit/older-journal.h"
#include "tests/unit/legal.h"

#define ID "0123456789abcdef"
#define OTHER "fedcba9876543210"
#define UUID "6f2c5c3e-8a4b-4f0e-9d3a-0d9f5c1b7e21"
#define SECOND G_USEC_PER_SEC

static GPtrArray *new_findings(void)
{
    return g_ptr_array_new_with_free_func((GDestroyNotify)vmig_finding_free);
}

static VmigFinding *find(GPtrArray *findings, const char *code)
{
    for (guint i = 0; i < findings->len; i++)
        if (strcmp(((VmigFinding *)findings->pdata[i])->code, code) == 0)
            return findings->pdata[i];
    return NULL;
}

static guint count(GPtrArray *findings, const char *code)
{
    guint n = 0;

    for (guint i = 0; i < findings->len; i++)
        n += strcmp(((VmigFinding *)findings->pdata[i])->code, code) == 0 ? 1 : 0;
    return n;
}

static void assert_problem(GPtrArray *findings, const char *code, const char *word, VmigFix fix)
{
    const VmigFinding *f = find(findings, code);

    g_assert_nonnull(f);
    g_assert_cmpint(f->severity, ==, VMIG_SEVERITY_PROBLEM);
    g_assert_cmpint(f->fix, ==, fix);
    g_assert_nonnull(f->repair);
    g_assert_nonnull(strstr(f->message, word));
    g_assert_null(strpbrk(f->message, "\n\x1b"));
}

/* --- the host --- */

static VmigHostSetup *good_setup(void)
{
    VmigHostSetup *setup = g_new0(VmigHostSetup, 1);

    setup->tools = g_ptr_array_new();
    setup->roots = g_ptr_array_new_with_free_func(g_free);
    setup->run_dir = g_new0(VmigFolderFacts, 1);
    setup->run_dir->path = g_strdup("/run/vmig-snap");
    setup->files_limit = setup->daemon_files_limit = 8192;
    setup->daemon = g_strdup("libvirtd");
    setup->daemon_unit = "libvirtd.service";
    setup->daemon_pid = 77;
    setup->daemon_ticks = 5000;
    setup->daemon_started = 1000 * SECOND;
    setup->hook_exists = setup->hook_regular = setup->hook_executable = TRUE;
    setup->first_hook = 900 * SECOND;
    return setup;
}

static VmigFolderFacts *folder(const char *path, VmigFolderKind kind)
{
    VmigFolderFacts *facts = g_new0(VmigFolderFacts, 1);

    facts->path = (char *)path;
    facts->kind = kind;
    return facts;
}

static VmigDoctorFacts *good_facts(guint64 version)
{
    VmigDoctorFacts *facts = vmig_doctor_facts_new();

    facts->connect_uri = "qemu:///system";
    facts->libvirt = g_new0(VmigHypervisorInfo, 1);
    facts->libvirt->libvirt_version = version;
    facts->libvirt->qemu_version = 7002022;
    facts->setup = good_setup();
    return facts;
}

static void test_setup_good(void)
{
    g_autoptr(VmigDoctorFacts) facts = good_facts(9000000);
    g_autoptr(GPtrArray) findings = new_findings();

    g_ptr_array_add(facts->setup->roots, folder("/srv", VMIG_FOLDER_GOOD));
    vmig_doctor_setup_rules(facts, findings);
    g_assert_cmpuint(vmig_doctor_count_problems(findings), ==, 0);
    g_assert_cmpint(find(findings, "hook")->severity, ==, VMIG_SEVERITY_OK);
    g_assert_cmpint(find(findings, "unit")->severity, ==, VMIG_SEVERITY_OK);
    g_assert_nonnull(strstr(find(findings, "libvirt")->message, "9.0.0 with QEMU 7.2.22"));
}

static void test_libvirt(void)
{
    static const struct {
        guint64 version;
        const char *code;
        VmigSeverity severity;
    } table[] = {
        {8005000, "libvirt-old", VMIG_SEVERITY_NOTE},
        {9000000, "libvirt", VMIG_SEVERITY_OK},
        {11001000, "libvirt", VMIG_SEVERITY_OK},
        {11002000, "libvirt-revert", VMIG_SEVERITY_PROBLEM},
        {11003000, "libvirt-revert", VMIG_SEVERITY_PROBLEM},
        {11003001, "libvirt-revert", VMIG_SEVERITY_PROBLEM},
        {11004000, "libvirt", VMIG_SEVERITY_OK},
        {12002000, "libvirt", VMIG_SEVERITY_OK},
    };

    for (guint i = 0; i < G_N_ELEMENTS(table); i++) {
        g_autoptr(VmigDoctorFacts) facts = good_facts(table[i].version);
        g_autoptr(GPtrArray) findings = new_findings();
        vmig_doctor_setup_rules(facts, findings);
        g_assert_nonnull(find(findings, table[i].code));
        g_assert_cmpint(find(findings, table[i].code)->severity, ==, table[i].severity);
    }
}

static void test_libvirt_silent(void)
{
    g_autoptr(VmigDoctorFacts) facts = good_facts(0);
    g_autoptr(GPtrArray) findings = new_findings();

    g_clear_pointer(&facts->libvirt, vmig_hypervisor_info_free);
    vmig_fail(&facts->libvirt_error, VMIG_ERROR_UNREACHABLE, NULL, "no \x1b[2J socket");
    vmig_doctor_setup_rules(facts, findings);
    assert_problem(findings, "libvirt", "no \\x1b[2J socket", VMIG_FIX_NONE);
}

static void test_roots(void)
{
    g_autoptr(VmigDoctorFacts) facts = good_facts(9000000);
    g_autoptr(GPtrArray) named = new_findings();
    g_autoptr(GPtrArray) defaults = new_findings();
    g_autoptr(GPtrArray) none = new_findings();

    g_ptr_array_add(facts->setup->roots, folder("/gone", VMIG_FOLDER_MISSING));
    g_ptr_array_add(facts->setup->roots, folder("/a-file", VMIG_FOLDER_OTHER_KIND));
    g_ptr_array_add(facts->setup->roots, folder("/srv", VMIG_FOLDER_GOOD));
    vmig_doctor_setup_rules(facts, named);
    g_assert_cmpuint(count(named, "image-root"), ==, 2);
    assert_problem(named, "image-root", "/gone", VMIG_FIX_NONE);
    facts->setup->default_roots = TRUE;
    vmig_doctor_setup_rules(facts, defaults);
    g_assert_cmpuint(count(defaults, "image-root"), ==, 1);
    g_assert_nonnull(strstr(find(defaults, "image-roots")->message, "/srv"));
    g_ptr_array_set_size(facts->setup->roots, 1);
    vmig_doctor_setup_rules(facts, none);
    assert_problem(none, "image-roots", "none", VMIG_FIX_NONE);
}

static void test_run_dir_and_limits(void)
{
    g_autoptr(VmigDoctorFacts) facts = good_facts(9000000);
    g_autoptr(GPtrArray) findings = new_findings();

    facts->setup->run_dir->kind = VMIG_FOLDER_UNSAFE;
    facts->setup->daemon_files_limit = 512;
    vmig_doctor_setup_rules(facts, findings);
    assert_problem(findings, "run-dir", "other users can write", VMIG_FIX_NONE);
    g_assert_cmpint(find(findings, "open-files")->severity, ==, VMIG_SEVERITY_NOTE);
    g_assert_nonnull(strstr(find(findings, "open-files")->message, "libvirtd"));
}

static void test_unit(void)
{
    static const char *const states[] = {"enabled", "disabled", "not-found", "masked"};

    for (guint i = 0; i < G_N_ELEMENTS(states); i++) {
        g_autoptr(VmigDoctorFacts) facts = good_facts(9000000);
        g_autoptr(GPtrArray) findings = new_findings();
        facts->setup->systemd = TRUE;
        facts->setup->resume_unit = g_strdup(states[i]);
        vmig_doctor_setup_rules(facts, findings);
        g_assert_cmpint(find(findings, "unit")->severity, ==, i == 0 ? VMIG_SEVERITY_OK : VMIG_SEVERITY_PROBLEM);
    }
}

static void test_config_error(void)
{
    g_autoptr(VmigDoctorFacts) facts = good_facts(9000000);
    g_autoptr(GPtrArray) findings = new_findings();

    g_clear_pointer(&facts->setup, vmig_host_setup_free);
    vmig_fail(&facts->config_error, VMIG_ERROR_USAGE, NULL, "no such key");
    vmig_doctor_setup_rules(facts, findings);
    vmig_doctor_job_rules(facts, findings);
    vmig_doctor_leftover_rules(facts, findings);
    assert_problem(findings, "config", "no such key", VMIG_FIX_NONE);
    g_assert_cmpuint(findings->len, ==, 2);
}

/* Each row changes one fact about a daemon with PID 77 that was started at 1,000 s. */
static void test_hook_state(void)
{
    g_autoptr(VmigHostSetup) s = good_setup();

    g_assert_cmpint(vmig_doctor_hook_state(s), ==, VMIG_HOOK_LOADED);
    s->first_hook = 1001 * SECOND;
    g_assert_cmpint(vmig_doctor_hook_state(s), ==, VMIG_HOOK_NOT_PROVEN);
    s->first_hook = 1000 * SECOND - 1; /* too close to determine which was first */
    g_assert_cmpint(vmig_doctor_hook_state(s), ==, VMIG_HOOK_NOT_PROVEN);

    s->first_hook = 1100 * SECOND;
    s->daemon_reloaded = 1099 * SECOND;
    g_assert_cmpint(vmig_doctor_hook_state(s), ==, VMIG_HOOK_NOT_PROVEN);
    s->daemon_reloaded = 1101 * SECOND;
    g_assert_cmpint(vmig_doctor_hook_state(s), ==, VMIG_HOOK_LOADED);
    s->daemon_started =
        1102 * SECOND; /* another process was reloaded, but this one started after the hook was installed */
    g_assert_cmpint(vmig_doctor_hook_state(s), ==, VMIG_HOOK_LOADED);
    s->first_hook = 1103 * SECOND;
    g_assert_cmpint(vmig_doctor_hook_state(s), ==, VMIG_HOOK_NOT_PROVEN);

    s->hook_seen = 1050 * SECOND; /* without details: before the daemon's start */
    g_assert_cmpint(vmig_doctor_hook_state(s), ==, VMIG_HOOK_NOT_PROVEN);
    s->hook_seen = 1200 * SECOND;
    g_assert_cmpint(vmig_doctor_hook_state(s), ==, VMIG_HOOK_LOADED);
    s->seen_pid = 77;
    s->seen_ticks = 4000; /* the PID was another process's */
    s->seen_as_qemu = TRUE;
    g_assert_cmpint(vmig_doctor_hook_state(s), ==, VMIG_HOOK_NOT_PROVEN);
    s->seen_ticks = 5000;
    g_assert_cmpint(vmig_doctor_hook_state(s), ==, VMIG_HOOK_LOADED);
    s->seen_as_qemu = FALSE; /* its own hook, when it looked: the guests' hook existed */
    g_assert_cmpint(vmig_doctor_hook_state(s), ==, VMIG_HOOK_LOADED);
    s->first_hook = 1201 * SECOND; /* here it did not */
    g_assert_cmpint(vmig_doctor_hook_state(s), ==, VMIG_HOOK_NOT_PROVEN);

    s->hook_executable = FALSE;
    g_assert_cmpint(vmig_doctor_hook_state(s), ==, VMIG_HOOK_NOT_EXECUTABLE);
    s->hook_exists = FALSE;
    g_assert_cmpint(vmig_doctor_hook_state(s), ==, VMIG_HOOK_NOT_THERE);
    s->hook_exists = s->hook_executable = TRUE;
    g_clear_pointer(&s->daemon, g_free);
    g_assert_cmpint(vmig_doctor_hook_state(s), ==, VMIG_HOOK_NO_DAEMON);
}

static void test_hook_rule(void)
{
    g_autoptr(VmigDoctorFacts) facts = good_facts(9000000);
    g_autoptr(GPtrArray) plain = new_findings();
    g_autoptr(GPtrArray) systemd = new_findings();

    facts->setup->first_hook = 2000 * SECOND;
    vmig_doctor_setup_rules(facts, plain);
    assert_problem(plain, "hook-not-loaded", "libvirtd", VMIG_FIX_RELOAD);
    g_assert_nonnull(strstr(find(plain, "hook-not-loaded")->repair, "SIGHUP"));
    facts->setup->systemd = TRUE;
    facts->setup->resume_unit = g_strdup("enabled");
    vmig_doctor_setup_rules(facts, systemd);
    g_assert_cmpstr(find(systemd, "hook-not-loaded")->repair, ==, "systemctl reload libvirtd");
}

/* --- jobs --- */

static VmigJob *make_job(const char *id, const char *state)
{
    VmigJob *job = vmig_job_new(&vmig_states_migrate);
    VmigDisk *disk = vmig_disk_new();
    VmigFile *file = vmig_file_new();

    job->version = VMIG_JOB_VERSION;
    job->id = g_strdup(id);
    job->uuid = g_strdup(UUID);
    job->domain = g_strdup("web\x1b[1m");
    job->host[VMIG_SOURCE] = g_strdup("kvm1");
    job->host[VMIG_DEST] = g_strdup("kvm2");
    g_free(job->state);
    job->state = g_strdup(state);
    job->owner = VMIG_SOURCE;
    file->path[VMIG_SOURCE] = g_strdup("/img/web.qcow2");
    file->path[VMIG_DEST] = g_strdup("/img/web.qcow2");
    disk->target = g_strdup("vda");
    disk->at[VMIG_SOURCE].overlay = vmig_overlay_path("/img/web.qcow2", id);
    disk->at[VMIG_DEST].overlay = vmig_overlay_path("/img/web.qcow2", id);
    g_ptr_array_add(disk->files, file);
    vmig_job_add(job, disk);
    if (vmig_job_state(job) != NULL)
        put_facts(job, vmig_job_state(job));
    return job;
}

static void our_file_free(VmigOurFile *file)
{
    g_free(file->path);
    g_free(file->job);
    g_free(file);
}

static void listed_free(VmigDoctorFile *file)
{
    g_free(file->path);
    g_free(file->kind);
    g_free(file->state);
    g_free(file);
}

static VmigDoctorFacts *job_facts(void)
{
    VmigDoctorFacts *facts = vmig_doctor_facts_new();

    facts->journal_path = g_strdup("/var/lib/vmig-snap/journal.db");
    facts->jobs = g_ptr_array_new_with_free_func((GDestroyNotify)vmig_doctor_job_free);
    facts->domains = g_ptr_array_new_with_free_func((GDestroyNotify)vmig_doctor_domain_free);
    facts->files = g_ptr_array_new_with_free_func((GDestroyNotify)our_file_free);
    facts->folders = g_ptr_array_new_with_free_func(g_free);
    facts->guards = g_ptr_array_new_with_free_func(g_free);
    facts->files_whole = TRUE;
    return facts;
}

static VmigDoctorJob *add_job(VmigDoctorFacts *facts, const char *id, const char *state, VmigRole role)
{
    VmigDoctorJob *job = g_new0(VmigDoctorJob, 1);

    job->job = make_job(id, state);
    job->role = role;
    job->finished = vmig_state_is_final(vmig_job_state(job->job));
    job->files = g_ptr_array_new_with_free_func((GDestroyNotify)listed_free);
    g_ptr_array_add(facts->jobs, job);
    return job;
}

static VmigDomainXml *definition(const char *attributes, const char *top, gboolean over_base, const char *metadata)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *backing =
        over_base ? g_strdup("<backingStore type='file'><format type='qcow2'/><source file='/img/web.qcow2'/>"
                             "<backingStore/></backingStore>")
                  : g_strdup("<backingStore/>");
    g_autofree char *xml =
        g_strdup_printf("<domain type='kvm'><name>web</name><uuid>" UUID "</uuid><memory unit='KiB'>1024</memory>"
                        "<metadata>%s</metadata><os><type arch='x86_64' machine='q35'>hvm</type></os><devices>"
                        "<disk type='file' device='disk'%s><driver name='qemu' type='qcow2'/><source file='%s'/>%s"
                        "<target dev='vda' bus='virtio'/></disk></devices></domain>",
                        metadata, attributes, top, backing);
    VmigDomainXml *doc = vmig_domain_xml_parse(xml, &error);

    g_assert_no_error(error);
    return doc;
}

static VmigDoctorDomain *add_domain(VmigDoctorFacts *facts, VmigDomainXml *live, VmigDomainXml *persistent)
{
    VmigDoctorDomain *domain = vmig_doctor_domain_new(UUID, "web\x1b[1m");

    domain->live = live;
    domain->persistent = persistent;
    g_ptr_array_add(facts->domains, domain);
    return domain;
}

#define OVERLAY "/img/web.vmig-" ID ".qcow2"
#define BASE "/img/web.qcow2"
#define MARK(id) "<vmig:operation xmlns:vmig='" VMIG_METADATA_URI "' job='" id "'/>"

/* Covers every state of the table, on both hosts: what a job may have there. */
static void test_expected(void)
{
    const guint base = VMIG_MAY_BE_BASE, overlay = VMIG_MAY_BE_OVERLAY, absent = VMIG_MAY_BE_ABSENT;
    const struct {
        const char *state;
        guint source, dest;
    } table[] = {
        {"PLAN", base, absent},
        {"LOCK", base, absent},
        {"OVERLAY", base | overlay, absent},
        {"COPY", overlay, absent},
        {"PREPARE", overlay, overlay | absent},
        {"DROP_METADATA", overlay, overlay | absent},
        {"MIGRATE", overlay | absent, overlay | absent},
        {"UNCERTAIN", base | overlay | absent, overlay | absent},
        {"ACTIVATE", overlay | absent, base | overlay | absent},
        {"COMMIT", overlay | absent, base | overlay | absent},
        {"PIVOT", overlay | absent, base | overlay | absent},
        {"REDEFINE", overlay | absent, base},
        {"CLEANUP", overlay | absent, base},
        {"ROLLBACK", base | overlay, overlay | absent},
        {"BACK_COMMIT", base | overlay, overlay | absent},
        {"BACK_PIVOT", base | overlay, overlay | absent},
        {"BACK_REDEFINE", base, overlay | absent},
    };

    g_assert_cmpuint(G_N_ELEMENTS(table) + 4, ==, VMIG_MIGRATE_STATES); /* and DONE, ROLLED_BACK, PARKED */
    for (guint i = 0; i < G_N_ELEMENTS(table); i++) {
        g_autoptr(VmigJob) job = make_job(ID, table[i].state);
        g_autoptr(VmigJob) parked = make_job(ID, "PARKED");
        parked->parked_state = g_strdup(table[i].state);
        g_assert_cmpuint(vmig_job_expected(job, VMIG_SOURCE), ==, table[i].source);
        g_assert_cmpuint(vmig_job_expected(job, VMIG_DEST), ==, table[i].dest);
        g_assert_cmpuint(vmig_job_expected(parked, VMIG_SOURCE), ==, table[i].source);
        /* With --merge mirror there is no overlay on the destination. */
        g_free(job->options.merge);
        job->options.merge = g_strdup("mirror");
        g_assert_cmpuint(vmig_job_expected(job, VMIG_SOURCE), ==, table[i].source);
        g_assert_cmpuint(vmig_job_expected(job, VMIG_DEST), ==,
                         table[i].dest & overlay ? (table[i].dest & ~overlay) | base : table[i].dest);
    }
    g_autoptr(VmigJob) lost = make_job(ID, "PARKED");
    g_assert_cmpuint(vmig_job_expected(lost, VMIG_SOURCE), ==, base | overlay | absent);
}

static void test_unfinished(void)
{
    g_autoptr(VmigDoctorFacts) facts = job_facts();
    g_autoptr(GPtrArray) findings = new_findings();
    g_autoptr(GPtrArray) running = new_findings();
    VmigDoctorJob *job = add_job(facts, ID, "COPY", VMIG_SOURCE);

    add_domain(facts, definition("", OVERLAY, TRUE, MARK(ID)), definition("", OVERLAY, TRUE, MARK(ID)));
    vmig_doctor_job_rules(facts, findings);
    vmig_doctor_leftover_rules(facts, findings);
    assert_problem(findings, "job-unfinished", "COPY", VMIG_FIX_NONE);
    g_assert_cmpstr(find(findings, "job-unfinished")->repair, ==, "vmig-snap resume " ID);
    g_assert_cmpuint(vmig_doctor_count_problems(findings), ==, 1);

    job->holder = g_strdup("process 7");
    g_clear_pointer(&((VmigDoctorDomain *)facts->domains->pdata[0])->live, vmig_domain_xml_free);
    vmig_doctor_job_rules(facts, running);
    g_assert_cmpuint(vmig_doctor_count_problems(running), ==, 0);
    g_assert_nonnull(strstr(find(running, "job-running")->message, "process 7"));
}

static void test_chains(void)
{
    static const struct {
        const char *state;
        VmigRole role;
        gboolean live, persistent; /* each: TRUE on the overlay, FALSE on the base */
        guint problems;
    } table[] = {
        {"COPY", VMIG_SOURCE, TRUE, TRUE, 0},   {"COPY", VMIG_SOURCE, FALSE, TRUE, 1},
        {"COPY", VMIG_SOURCE, TRUE, FALSE, 1},  {"COPY", VMIG_SOURCE, FALSE, FALSE, 2},
        {"LOCK", VMIG_SOURCE, TRUE, TRUE, 2},   {"LOCK", VMIG_SOURCE, FALSE, FALSE, 0},
        {"COMMIT", VMIG_DEST, TRUE, TRUE, 0},   {"REDEFINE", VMIG_DEST, FALSE, FALSE, 0},
        {"CLEANUP", VMIG_DEST, FALSE, TRUE, 1}, {"REDEFINE", VMIG_DEST, TRUE, TRUE, 2},
    };

    for (guint i = 0; i < G_N_ELEMENTS(table); i++) {
        g_autoptr(VmigDoctorFacts) facts = job_facts();
        g_autoptr(GPtrArray) findings = new_findings();
        add_job(facts, ID, table[i].state, table[i].role);
        add_domain(facts, definition("", table[i].live ? OVERLAY : BASE, table[i].live, ""),
                   definition("", table[i].persistent ? OVERLAY : BASE, table[i].persistent, ""));
        vmig_doctor_job_rules(facts, findings);
        g_assert_cmpuint(count(findings, "job-chain"), ==, table[i].problems);
    }
}

static void test_chain_of_somebody_else(void)
{
    g_autoptr(VmigDoctorFacts) facts = job_facts();
    g_autoptr(GPtrArray) findings = new_findings();

    add_job(facts, ID, "OVERLAY", VMIG_SOURCE);
    add_domain(facts, definition("", "/img/other.qcow2", TRUE, ""), NULL);
    vmig_doctor_job_rules(facts, findings);
    assert_problem(findings, "job-chain", "/img/other.qcow2 <- /img/web.qcow2", VMIG_FIX_NONE);
}

static void test_domain_missing(void)
{
    g_autoptr(VmigDoctorFacts) facts = job_facts();
    g_autoptr(GPtrArray) missing = new_findings();
    g_autoptr(GPtrArray) early = new_findings();
    g_autoptr(GPtrArray) silent = new_findings();

    add_job(facts, ID, "COPY", VMIG_SOURCE);
    vmig_doctor_job_rules(facts, missing);
    assert_problem(missing, "job-domain", "has no domain", VMIG_FIX_NONE);
    g_ptr_array_set_size(facts->jobs, 0);
    add_job(facts, ID, "COPY", VMIG_DEST);
    add_domain(facts, definition("", BASE, FALSE, ""), NULL);
    vmig_doctor_job_rules(facts, early);
    assert_problem(early, "job-domain", "already has a domain", VMIG_FIX_NONE);
    g_clear_pointer(&facts->domains, g_ptr_array_unref); /* libvirt cannot be queried: nothing is guessed */
    vmig_doctor_job_rules(facts, silent);
    g_assert_null(find(silent, "job-domain"));
}

/* The token is read before the guest on the source, and after it on the destination. */
static void test_two_owners(void)
{
    static const struct {
        VmigRole role, before, after;
        VmigRun run;
        gboolean loud;
    } table[] = {
        {VMIG_SOURCE, VMIG_SOURCE, VMIG_SOURCE, VMIG_RUN_RUNNING, FALSE},
        {VMIG_SOURCE, VMIG_DEST, VMIG_DEST, VMIG_RUN_RUNNING, TRUE},
        {VMIG_SOURCE, VMIG_SOURCE, VMIG_DEST, VMIG_RUN_RUNNING, FALSE},
        {VMIG_SOURCE, VMIG_DEST, VMIG_DEST, VMIG_RUN_PAUSED, FALSE},
        {VMIG_SOURCE, VMIG_DEST, VMIG_DEST, VMIG_RUN_MIGRATING, FALSE},
        {VMIG_DEST, VMIG_DEST, VMIG_DEST, VMIG_RUN_RUNNING, FALSE},
        {VMIG_DEST, VMIG_SOURCE, VMIG_SOURCE, VMIG_RUN_RUNNING, TRUE},
        {VMIG_DEST, VMIG_SOURCE, VMIG_DEST, VMIG_RUN_RUNNING, FALSE},
        {VMIG_DEST, VMIG_SOURCE, VMIG_SOURCE, VMIG_RUN_PAUSED, FALSE},
    };

    for (guint i = 0; i < G_N_ELEMENTS(table); i++) {
        for (int held = 0; held < 2; held++) {
            g_autoptr(VmigDoctorFacts) facts = job_facts();
            g_autoptr(GPtrArray) findings = new_findings();
            VmigDoctorJob *job = add_job(facts, ID, "UNCERTAIN", table[i].role);
            job->token_before = table[i].before;
            job->token_after = table[i].after;
            job->run_known = TRUE;
            job->run = table[i].run;
            job->holder = held ? g_strdup("process 7") : NULL;
            vmig_doctor_job_rules(facts, findings);
            g_assert_cmpuint(count(findings, "two-owners"), ==, table[i].loud ? 1 : 0);
            if (table[i].loud)
                assert_problem(findings, "two-owners", "DANGER", VMIG_FIX_NONE);
        }
    }
}

static void test_has_snapshot(void)
{
    g_autoptr(VmigDoctorFacts) facts = job_facts();
    g_autoptr(GPtrArray) findings = new_findings();
    VmigDoctorJob *job = add_job(facts, ID, "COPY", VMIG_SOURCE);

    job->has_snapshot = g_ptr_array_new_with_free_func(g_free);
    g_ptr_array_add(job->has_snapshot, g_strdup(OVERLAY));
    vmig_doctor_job_rules(facts, findings);
    assert_problem(findings, "snapshot-in-overlay", OVERLAY, VMIG_FIX_NONE);
}

/* Only what the journal itself calls damage is set aside. */
static void test_journal_errors(void)
{
    static const struct {
        VmigErrorCode code;
        const char *hint, *finding;
        VmigFix fix;
    } table[] = {
        {VMIG_ERROR_JOURNAL_DAMAGED, NULL, "journal-damaged", VMIG_FIX_JOURNAL},
        {VMIG_ERROR_JOURNAL,
         "`vmig-snap doctor` compares the hosts with the journal; `doctor --fix` sets the journal aside.", "journal",
         VMIG_FIX_NONE}, /* a hint permits nothing */
        {VMIG_ERROR_JOURNAL, "Change its mode to 0600, and check whether another user changed it.", "journal",
         VMIG_FIX_NONE},
        {VMIG_ERROR_JOURNAL, NULL, "journal", VMIG_FIX_NONE},
        {VMIG_ERROR_JOURNAL_NEWER, "Upgrade vmig-snap on this host.", "journal-newer", VMIG_FIX_NONE},
        {VMIG_ERROR_JOURNAL_OLDER, "Install it again.", "journal-older", VMIG_FIX_NONE},
        {VMIG_ERROR_NO_SPACE, "Free some space.", "journal", VMIG_FIX_NONE},
        {VMIG_ERROR_TIMEOUT, NULL, "journal", VMIG_FIX_NONE},
    };

    for (guint i = 0; i < G_N_ELEMENTS(table); i++) {
        g_autoptr(VmigDoctorFacts) facts = job_facts();
        g_autoptr(GPtrArray) findings = new_findings();
        g_clear_pointer(&facts->jobs, g_ptr_array_unref);
        vmig_fail(&facts->journal_error, table[i].code, table[i].hint, "bad");
        add_domain(facts, definition("", OVERLAY, TRUE, MARK(ID)), NULL);
        vmig_doctor_job_rules(facts, findings);
        vmig_doctor_leftover_rules(facts, findings); /* nothing is reported about unknown jobs */
        g_assert_cmpuint(findings->len, ==, 1);
        const VmigFinding *f = findings->pdata[0];
        g_assert_cmpstr(f->code, ==, table[i].finding);
        g_assert_cmpint(f->fix, ==, table[i].fix);
    }
}

/* --- leftovers --- */

static void test_nothing_left(void)
{
    g_autoptr(VmigDoctorFacts) facts = job_facts();
    g_autoptr(GPtrArray) findings = new_findings();

    add_job(facts, ID, "DONE", VMIG_DEST);
    add_domain(facts, definition("", BASE, FALSE, ""), definition("", BASE, FALSE, ""));
    vmig_doctor_job_rules(facts, findings);
    vmig_doctor_leftover_rules(facts, findings);
    g_assert_cmpuint(vmig_doctor_count_problems(findings), ==, 0);
}

static void add_listed(VmigDoctorJob *job, const char *path, const char *kind, const char *state)
{
    VmigDoctorFile *file = g_new0(VmigDoctorFile, 1);

    file->path = g_strdup(path);
    file->kind = g_strdup(kind);
    file->state = g_strdup(state);
    g_ptr_array_add(job->files, file);
}

static void add_found(VmigDoctorFacts *facts, const char *path, const char *job)
{
    VmigOurFile *file = g_new0(VmigOurFile, 1);

    file->path = g_strdup(path);
    file->job = g_strdup(job);
    g_ptr_array_add(facts->files, file);
}

static void test_files(void)
{
    static const struct {
        const char *kind, *state;
        gboolean fixable;
    } table[] = {
        {"part", "made", TRUE},         {"part", "intended", TRUE},  {"hold", "made", TRUE},
        {"overlay", "redundant", TRUE}, {"overlay", "made", FALSE},  {"overlay", "intended", FALSE},
        {"copy", "verified", FALSE},    {"copy", "redundant", TRUE},
    };

    for (guint i = 0; i < G_N_ELEMENTS(table); i++) {
        for (int used = 0; used < 2; used++) {
            g_autoptr(VmigDoctorFacts) facts = job_facts();
            g_autoptr(GPtrArray) findings = new_findings();
            VmigDoctorJob *job = add_job(facts, ID, "ROLLED_BACK", VMIG_SOURCE);
            add_listed(job, OVERLAY, table[i].kind, table[i].state);
            add_found(facts, OVERLAY, ID); /* the same file: reported once */
            if (used)
                add_domain(facts, definition("", OVERLAY, TRUE, ""), NULL);
            vmig_doctor_leftover_rules(facts, findings);
            assert_problem(findings, "leftover-file", OVERLAY,
                           table[i].fixable && !used ? VMIG_FIX_FILE : VMIG_FIX_NONE);
            g_assert_null(find(findings, "stray-file"));
        }
    }
}

static void test_stray_files(void)
{
    g_autoptr(VmigDoctorFacts) facts = job_facts();
    g_autoptr(GPtrArray) findings = new_findings();
    g_autoptr(GPtrArray) only = new_findings();

    add_job(facts, ID, "COPY", VMIG_SOURCE);
    add_found(facts, OVERLAY, ID); /* of an unfinished job, which needs it */
    add_found(facts, "/img/\nb.vmig-" OTHER ".qcow2", OTHER);
    vmig_doctor_leftover_rules(facts, findings);
    g_assert_cmpuint(count(findings, "stray-file"), ==, 1);
    assert_problem(findings, "stray-file", "\\x0ab.vmig-" OTHER, VMIG_FIX_NONE);
    facts->only = "another";
    vmig_doctor_leftover_rules(facts, only);
    g_assert_null(find(only, "stray-file"));
    facts->only = NULL;
    facts->files_whole = FALSE;
    vmig_doctor_leftover_rules(facts, only);
    g_assert_nonnull(find(only, "scan"));
}

/* A disk that a definition may name is not removed while this is unknown: without libvirt, or with an unreadable
 * definition. A file that is never a disk is removed. */
static void test_files_of_unknown_users(void)
{
    for (int silent = 0; silent < 2; silent++) {
        g_autoptr(VmigDoctorFacts) facts = job_facts();
        g_autoptr(GPtrArray) findings = new_findings();
        VmigDoctorJob *job = add_job(facts, ID, "ROLLED_BACK", VMIG_SOURCE);
        add_listed(job, OVERLAY, "overlay", "redundant");
        add_listed(job, "/img/.web.vmig-" ID ".part", "part", "made");
        if (silent)
            g_clear_pointer(&facts->domains, g_ptr_array_unref);
        else
            vmig_fail(&add_domain(facts, NULL, NULL)->error, VMIG_ERROR_XML, NULL, "odd");
        vmig_doctor_leftover_rules(facts, findings);
        g_assert_cmpuint(count(findings, "leftover-file"), ==, 2);
        g_assert_cmpint(((VmigFinding *)findings->pdata[0])->fix, ==, VMIG_FIX_NONE);
        g_assert_cmpint(((VmigFinding *)findings->pdata[1])->fix, ==, VMIG_FIX_FILE);
        g_assert_cmpint(find(findings, "definition") != NULL, ==, !silent);
    }
}

/* Files of a job that ended during the check were leftovers only for a moment. */
static void test_busy(void)
{
    g_autoptr(VmigDoctorFacts) facts = job_facts();
    g_autoptr(GPtrArray) findings = new_findings();
    VmigDoctorJob *job = add_job(facts, ID, "DONE", VMIG_SOURCE);

    job->busy = TRUE;
    add_listed(job, OVERLAY, "part", "made");
    add_found(facts, OVERLAY, ID);
    add_domain(facts, definition(" snapshot='no'", OVERLAY, TRUE, MARK(ID)), NULL);
    vmig_doctor_job_rules(facts, findings);
    vmig_doctor_leftover_rules(facts, findings);
    g_assert_cmpuint(vmig_doctor_count_problems(findings), ==, 0);
}

static void test_folders(void)
{
    static const struct {
        const char *job;
        gboolean in_use;
        gint64 age;
        gboolean found;
    } table[] = {
        {ID, FALSE, 3600, FALSE}, /* unfinished */
        {OTHER, FALSE, 3600, TRUE},
        {OTHER, TRUE, 3600, FALSE},
        {OTHER, FALSE, 10, FALSE}, /* a plan has no record */
        {"00000000000000aa", FALSE, 3600, TRUE},
    };

    for (guint i = 0; i < G_N_ELEMENTS(table); i++) {
        g_autoptr(VmigDoctorFacts) facts = job_facts();
        g_autoptr(GPtrArray) findings = new_findings();
        VmigRunFolder *run = g_new0(VmigRunFolder, 1);
        add_job(facts, ID, "COPY", VMIG_SOURCE);
        add_job(facts, "00000000000000aa", "DONE", VMIG_SOURCE);
        *run = (VmigRunFolder){(char *)"/run/vmig-snap/x", (char *)table[i].job, table[i].in_use, table[i].age};
        g_ptr_array_add(facts->folders, run);
        vmig_doctor_leftover_rules(facts, findings);
        g_assert_cmpuint(count(findings, "run-folder"), ==, table[i].found ? 1 : 0);
        if (table[i].found)
            assert_problem(findings, "run-folder", "/run/vmig-snap/x", VMIG_FIX_FOLDER);
    }
}

/* The fence of an unknown job may be what keeps a second copy from running. */
static void test_guards(void)
{
    static const struct {
        const char *job;
        gboolean answers;
        guint armed;
        gboolean found;
        VmigFix fix;
    } table[] = {
        {ID, TRUE, 1, FALSE, VMIG_FIX_NONE},
        {OTHER, TRUE, 0, TRUE, VMIG_FIX_GUARD},
        {OTHER, TRUE, 1, TRUE, VMIG_FIX_NONE},
        {OTHER, FALSE, 1, FALSE, VMIG_FIX_NONE},
        {"00000000000000aa", TRUE, 1, TRUE, VMIG_FIX_GUARD},
    };

    for (guint i = 0; i < G_N_ELEMENTS(table); i++) {
        g_autoptr(VmigDoctorFacts) facts = job_facts();
        g_autoptr(GPtrArray) findings = new_findings();
        VmigGuardFacts *guard = g_new0(VmigGuardFacts, 1);
        add_job(facts, ID, "MIGRATE", VMIG_SOURCE);
        add_job(facts, "00000000000000aa", "DONE", VMIG_SOURCE);
        *guard = (VmigGuardFacts){(char *)"/g.sock", (char *)table[i].job, table[i].answers, 1, table[i].armed, 0};
        g_ptr_array_add(facts->guards, guard);
        vmig_doctor_leftover_rules(facts, findings);
        g_assert_cmpuint(count(findings, "guard"), ==, table[i].found ? 1 : 0);
        if (table[i].found)
            assert_problem(findings, "guard", "/g.sock", table[i].fix);
    }
}

static void test_metadata(void)
{
    static const struct {
        const char *state; /* of the job; NULL: unknown */
        const char *top;
        gboolean file; /* a file of that job exists */
        gboolean found;
        VmigFix fix;
    } table[] = {
        {"COPY", OVERLAY, FALSE, FALSE, VMIG_FIX_NONE}, {"DONE", BASE, FALSE, TRUE, VMIG_FIX_METADATA},
        {"DONE", BASE, TRUE, TRUE, VMIG_FIX_METADATA},  {"ROLLED_BACK", OVERLAY, FALSE, TRUE, VMIG_FIX_NONE},
        {NULL, BASE, FALSE, TRUE, VMIG_FIX_METADATA},   {NULL, BASE, TRUE, TRUE, VMIG_FIX_NONE},
        {NULL, OVERLAY, FALSE, TRUE, VMIG_FIX_NONE},
    };

    for (guint i = 0; i < G_N_ELEMENTS(table); i++) {
        g_autoptr(VmigDoctorFacts) facts = job_facts();
        g_autoptr(GPtrArray) findings = new_findings();
        if (table[i].state != NULL)
            add_job(facts, ID, table[i].state, VMIG_SOURCE);
        if (table[i].file)
            add_found(facts, "/img/x.vmig-" ID ".qcow2", ID);
        add_domain(facts, NULL, definition("", table[i].top, strcmp(table[i].top, OVERLAY) == 0, MARK(ID)));
        vmig_doctor_leftover_rules(facts, findings);
        g_assert_cmpuint(count(findings, "metadata"), ==, table[i].found ? 1 : 0);
        if (table[i].found)
            assert_problem(findings, "metadata", "web\\x1b[1m", table[i].fix);
    }
}

/* A clone of a guest also has the mark of the original's job. */
static void test_metadata_of_another(void)
{
    g_autoptr(VmigDoctorFacts) facts = job_facts();
    g_autoptr(GPtrArray) findings = new_findings();
    VmigDoctorJob *job = add_job(facts, ID, "COPY", VMIG_SOURCE);

    g_free(job->job->uuid);
    job->job->uuid = g_strdup("7f2c5c3e-8a4b-4f0e-9d3a-0d9f5c1b7e21");
    add_domain(facts, NULL, definition("", BASE, FALSE, MARK(ID)));
    vmig_doctor_leftover_rules(facts, findings);
    assert_problem(findings, "metadata", "another guest", VMIG_FIX_METADATA);
}

/* The overlay of a finished job is stale: doctor must not suggest committing it. */
static void test_overlay_in_chain(void)
{
    for (int known = 0; known < 2; known++) {
        for (int live = 0; live < 2; live++) {
            g_autoptr(VmigDoctorFacts) facts = job_facts();
            g_autoptr(GPtrArray) findings = new_findings();
            VmigDomainXml *xml = definition("", OVERLAY, TRUE, "");
            if (known)
                add_job(facts, ID, "DONE", VMIG_DEST);
            add_domain(facts, live ? xml : NULL, live ? NULL : xml);
            vmig_doctor_leftover_rules(facts, findings);
            assert_problem(findings, "overlay-in-chain", OVERLAY, VMIG_FIX_NONE);
            const char *repair = find(findings, "overlay-in-chain")->repair;
            g_assert_cmpint(strstr(repair, "blockcommit") != NULL, ==, !known && live);
            g_assert_cmpint(strstr(repair, "qemu-img commit") != NULL, ==, !known && !live);
            g_assert_cmpint(strstr(repair, "do not commit") != NULL || strstr(repair, "must not be committed") != NULL,
                            ==, known);
            g_assert_null(find(findings, "stray-file"));
        }
    }
}

static void test_snapshot_no(void)
{
    static const struct {
        const char *state;
        VmigRole role;
        const char *attribute, *before;
        guint found;
    } table[] = {
        {"DONE", VMIG_DEST, " snapshot='no'", NULL, 2},
        {"DONE", VMIG_DEST, " snapshot='no'", "no", 0},
        {"DONE", VMIG_DEST, "", NULL, 0},
        {"ROLLED_BACK", VMIG_SOURCE, " snapshot='no'", "internal", 2},
        {"DONE", VMIG_SOURCE, " snapshot='no'", NULL, 0},
        {"ROLLED_BACK", VMIG_DEST, " snapshot='no'", NULL, 0},
        {"COPY", VMIG_SOURCE, " snapshot='no'", NULL, 0},
    };

    for (guint i = 0; i < G_N_ELEMENTS(table); i++) {
        g_autoptr(VmigDoctorFacts) facts = job_facts();
        g_autoptr(GPtrArray) findings = new_findings();
        VmigDoctorJob *job = add_job(facts, ID, table[i].state, table[i].role);
        ((VmigDisk *)job->job->disks->pdata[0])->snapshot = g_strdup(table[i].before);
        add_job(facts, OTHER, "DONE", VMIG_DEST); /* an older one: irrelevant */
        add_domain(facts, definition(table[i].attribute, BASE, FALSE, ""),
                   definition(table[i].attribute, BASE, FALSE, ""));
        vmig_doctor_leftover_rules(facts, findings);
        g_assert_cmpuint(count(findings, "snapshot-no"), ==, table[i].found);
        if (table[i].found > 0)
            g_assert_cmpstr(find(findings, "snapshot-no")->value, ==, table[i].before);
    }
}

/* --- with a real journal and real files --- */

typedef struct {
    char *dir, *images, *state, *run, *config;
} Host;

static void set_up(Host *h, G_GNUC_UNUSED gconstpointer data)
{
    h->dir = g_dir_make_tmp("vmig-doctor-XXXXXX", NULL);
    h->images = g_build_filename(h->dir, "images", NULL);
    h->state = g_build_filename(h->dir, "state", NULL);
    h->run = g_build_filename(h->dir, "run", NULL);
    h->config = g_build_filename(h->dir, "vmig-snap.conf", NULL);
    g_assert_cmpint(mkdir(h->images, 0755), ==, 0);
    g_autofree char *text =
        g_strdup_printf("[vmig-snap]\nimage-roots = %s\nstate-dir = %s\nrun-dir = %s\n", h->images, h->state, h->run);
    g_assert_true(g_file_set_contents(h->config, text, -1, NULL));
    g_assert_cmpint(chmod(h->config, 0644), ==, 0);
}

static void tear_down(Host *h, G_GNUC_UNUSED gconstpointer data)
{
    g_autofree char *command = g_strdup_printf("rm -rf '%s'", h->dir);

    g_assert_cmpint(system(command), ==, 0);
    g_free(h->dir);
    g_free(h->images);
    g_free(h->state);
    g_free(h->run);
    g_free(h->config);
}

static VmigJournal *open_journal(const Host *h)
{
    g_autofree char *path = g_build_filename(h->state, "journal.db", NULL);
    g_autofree char *machine_id = vmig_machine_id();
    g_autoptr(GError) error = NULL;
    VmigJournal *journal = vmig_journal_open(path, machine_id, &error);

    g_assert_no_error(error);
    return journal;
}

static void record(VmigJournal *journal, const char *id, const char *state)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(VmigJob) job = make_job(id, state);

    if (strcmp(state, "DONE") == 0) {
        job->owner = VMIG_DEST;
        vmig_journal_set_token(journal, id, job->owner, &error);
        g_assert_no_error(error);
    }
    vmig_journal_put(journal, job, VMIG_SOURCE, &error);
    g_assert_no_error(error);
}

static GPtrArray *run(const Host *h, gboolean fix)
{
    g_autoptr(GError) error = NULL;
    VmigDoctorRequest request = {.config_path = h->config, .connect_uri = "qemu:///system", .fix = fix};
    GPtrArray *findings = vmig_doctor_run(&request, &error);

    g_assert_no_error(error);
    return findings;
}

static char *write_file(const Host *h, const char *name)
{
    char *path = g_build_filename(h->images, name, NULL);

    g_assert_true(g_file_set_contents(path, "content", -1, NULL));
    return path;
}

static gboolean exists(const char *path)
{
    return access(path, F_OK) == 0;
}

static gboolean repair(const Host *h, const char *path)
{
    g_autoptr(VmigConfig) config = vmig_config_load(h->config, NULL);
    g_autoptr(VmigDoctorFacts) facts = job_facts();
    VmigDoctorRequest request = {.config_path = h->config};
    VmigFinding finding = {.code = "leftover-file", .fix = VMIG_FIX_FILE, .job = (char *)ID, .path = (char *)path};

    return vmig_doctor_repair(facts, &request, config, &finding, NULL);
}

/* The part is removed; the overlay, which was not declared redundant, and everything else stay. */
static void test_fix_files(Host *h, G_GNUC_UNUSED gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(VmigJournal) journal = open_journal(h);
    g_autofree char *part = g_build_filename(h->images, ".a.qcow2.vmig-" ID ".part", NULL);
    g_autofree char *overlay = g_build_filename(h->images, "a.vmig-" ID ".qcow2", NULL);
    g_autofree char *stale = g_build_filename(h->images, "b.vmig-" ID ".qcow2", NULL);
    const char *paths[] = {part, overlay, stale};
    const char *kinds[] = {"part", "overlay", "overlay"};

    record(journal, ID, "COPY");
    for (guint i = 0; i < G_N_ELEMENTS(paths); i++) {
        g_assert_true(vmig_gate_intend(journal, ID, paths[i], kinds[i], &error));
        g_assert_true(g_file_set_contents(paths[i], "content", -1, NULL));
        g_assert_true(vmig_gate_made(journal, ID, paths[i], &error));
    }
    g_assert_true(vmig_gate_redundant(journal, ID, stale, "committed", &error));
    record(journal, ID, "DONE");
    g_clear_pointer(&journal, vmig_journal_close);
    g_autofree char *foreign = write_file(h, "foreign.qcow2");
    g_autofree char *stray = write_file(h, "x.vmig-" OTHER ".qcow2");

    g_autoptr(GPtrArray) found = run(h, FALSE);
    g_assert_cmpuint(count(found, "leftover-file"), ==, 3);
    g_assert_cmpuint(count(found, "stray-file"), ==, 1);
    g_assert_true(exists(part) && exists(overlay) && exists(stale) && exists(stray));
    g_autoptr(GPtrArray) fixed = run(h, TRUE);
    g_assert_cmpuint(count(fixed, "leftover-file"), ==, 3);
    g_assert_false(exists(part));
    g_assert_true(exists(stale) && exists(overlay) && exists(stray) && exists(foreign)); /* without libvirt */
    g_autoptr(GPtrArray) after = run(h, TRUE);
    g_assert_cmpuint(count(after, "leftover-file"), ==, 2);
    g_assert_cmpint(find(after, "leftover-file")->fix, ==, VMIG_FIX_NONE);

    /* With libvirt the gate releases what the job called redundant, and nothing else. */
    g_assert_false(repair(h, overlay));
    g_assert_false(repair(h, stray));
    g_assert_false(repair(h, foreign));
    g_assert_true(repair(h, stale));
    g_assert_false(exists(stale));
    g_assert_true(exists(overlay) && exists(stray) && exists(foreign));
}

static gboolean repair_journal(const Host *h, const char *path, GError **error)
{
    g_autoptr(VmigConfig) config = vmig_config_load(h->config, NULL);
    g_autoptr(VmigDoctorFacts) facts = job_facts();
    VmigDoctorRequest request = {.config_path = h->config};
    VmigFinding finding = {.code = "journal-damaged", .fix = VMIG_FIX_JOURNAL, .job = (char *)ID, .path = (char *)path};

    g_free(facts->journal_path);
    facts->journal_path = g_strdup(path);
    gboolean ok = vmig_doctor_repair(facts, &request, config, &finding, error);
    g_free(finding.repair);
    return ok;
}

/* Damage was found. If the journal fails for another reason at the repair, it stays where it is. */
static void test_fix_journal_other_cause(Host *h, G_GNUC_UNUSED gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(VmigJournal) journal = open_journal(h);
    g_autofree char *path = g_strdup(vmig_journal_path(journal));

    g_clear_pointer(&journal, vmig_journal_close);
    g_assert_cmpint(chmod(path, 0644), ==, 0);
    g_assert_false(repair_journal(h, path, &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_JOURNAL);
    g_clear_error(&error);
    g_assert_true(exists(path));
    g_assert_true(g_file_set_contents(path, "", 0, NULL));
    g_assert_cmpint(chmod(path, 0600), ==, 0);
    g_assert_true(repair_journal(h, path, &error));
    g_assert_no_error(error);
    g_assert_false(exists(path));
}

/* The file was replaced between the check and the repair: the gate keeps the new one. */
static void test_fix_exchanged(Host *h, G_GNUC_UNUSED gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(VmigJournal) journal = open_journal(h);
    g_autofree char *part = g_build_filename(h->images, ".a.qcow2.vmig-" ID ".part", NULL);
    g_autofree char *aside = g_strconcat(part, ".aside", NULL);

    record(journal, ID, "COPY");
    g_assert_true(vmig_gate_intend(journal, ID, part, "part", &error));
    g_assert_true(g_file_set_contents(part, "content", -1, NULL));
    g_assert_true(vmig_gate_made(journal, ID, part, &error));
    record(journal, ID, "ROLLED_BACK");
    g_clear_pointer(&journal, vmig_journal_close);
    g_assert_cmpint(g_rename(part, aside), ==, 0);
    g_assert_true(g_file_set_contents(part, "somebody's", -1, NULL));
    g_autoptr(GPtrArray) findings = run(h, TRUE);
    const VmigFinding *f = find(findings, "leftover-file");
    g_assert_false(f->fixed);
    g_assert_nonnull(strstr(f->repair, "another file"));
    g_assert_true(exists(part));
}

static char *make_run_folder(const Host *h, const char *id, gint64 age)
{
    char *path = g_build_filename(h->run, id, NULL);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct utimbuf times = {time(NULL) - age, time(NULL) - age};

    g_assert_cmpint(g_mkdir_with_parents(path, 0711), ==, 0);
    g_assert_cmpint(chmod(h->run, 0711), ==, 0);
    g_snprintf(address.sun_path, sizeof address.sun_path, "%s/nbd.sock", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    g_assert_cmpint(bind(fd, (struct sockaddr *)&address, sizeof address), ==, 0);
    close(fd); /* the name stays, without a listener */
    g_assert_cmpint(utime(path, &times), ==, 0);
    return path;
}

static void test_fix_folders(Host *h, G_GNUC_UNUSED gconstpointer data)
{
    g_autoptr(VmigJournal) journal = open_journal(h);
    g_autofree char *open = make_run_folder(h, ID, 3600);
    g_autofree char *unknown = make_run_folder(h, OTHER, 3600);
    g_autofree char *young = make_run_folder(h, "00000000000000aa", 5);
    g_autofree char *odd = make_run_folder(h, "00000000000000bb", 3600);
    g_autofree char *treasure = g_build_filename(odd, "treasure", NULL);

    record(journal, ID, "COPY");
    g_clear_pointer(&journal, vmig_journal_close);
    g_assert_true(g_file_set_contents(treasure, "x", -1, NULL));
    g_assert_cmpint(utime(odd, &(struct utimbuf){1, 1}), ==, 0);
    g_autoptr(GPtrArray) found = run(h, FALSE);
    g_assert_cmpuint(count(found, "run-folder"), ==, 2);
    g_assert_true(exists(unknown));
    g_autoptr(GPtrArray) fixed = run(h, TRUE);
    g_assert_true(exists(open) && exists(young) && exists(treasure));
    g_assert_false(exists(unknown));
    g_assert_cmpuint(count(fixed, "run-folder"), ==, 2);
}

/* doctor reports an older version's journal as every command does, and --fix leaves it alone. */
static void test_older_journal(Host *h, G_GNUC_UNUSED gconstpointer data)
{
    g_autofree char *path = g_build_filename(h->state, "journal.db", NULL);
    g_autofree char *machine = vmig_machine_id();
    g_autoptr(GError) error = NULL;
    sqlite3 *db = NULL;

    g_assert_cmpint(g_mkdir_with_parents(h->state, 0700), ==, 0);
    db = older_journal(path, machine);
    older_add(db, OTHER, "7f2c5c3e-8a4b-4f0e-9d3a-0d9f5c1b7e21", "old1", "DONE");
    g_autoptr(GPtrArray) fine = run(h, FALSE);
    g_assert_cmpint(find(fine, "journal")->severity, ==, VMIG_SEVERITY_OK);
    older_add(db, ID, "6f2c5c3e-8a4b-4f0e-9d3a-0d9f5c1b7e21", "web1", "COPY");
    sqlite3_close(db);
    g_assert_null(vmig_journal_open(path, machine, &error));
    for (gint fix = FALSE; fix <= TRUE; fix++) {
        g_autoptr(GPtrArray) found = run(h, fix);
        assert_problem(found, "journal-older", error->message, VMIG_FIX_NONE);
        g_assert_cmpstr(find(found, "journal-older")->repair, ==, vmig_error_hint(error));
        g_assert_true(exists(path));
    }
}

static void test_fix_journal(Host *h, G_GNUC_UNUSED gconstpointer data)
{
    g_autofree char *path = g_build_filename(h->state, "journal.db", NULL);
    g_autoptr(VmigJournal) journal = open_journal(h);
    g_autofree char *stray = NULL;
    g_autofree char *text = NULL;
    gsize length = 0;

    record(journal, ID, "COPY");
    g_clear_pointer(&journal, vmig_journal_close);
    stray = write_file(h, "a.vmig-" ID ".qcow2");
    g_assert_true(g_file_get_contents(path, &text, &length, NULL));
    for (gsize i = 4096; i < 12288 && i < length; i++)
        text[i] = 'x';
    g_assert_true(g_file_set_contents(path, text, (gssize)length, NULL));
    g_assert_cmpint(chmod(path, 0600), ==, 0);

    g_autoptr(GPtrArray) found = run(h, FALSE);
    assert_problem(found, "journal-damaged", "damaged", VMIG_FIX_JOURNAL);
    g_assert_true(exists(path));
    g_autoptr(GPtrArray) fixed = run(h, TRUE);
    g_assert_true(find(fixed, "journal-damaged")->fixed);
    g_assert_nonnull(strstr(find(fixed, "journal-damaged")->repair, "forgotten"));
    g_assert_false(exists(path));
    g_assert_true(exists(stray));
    g_autoptr(GPtrArray) after = run(h, TRUE); /* what the journal listed is unknown now, and stays */
    g_assert_cmpint(find(after, "journal")->severity, ==, VMIG_SEVERITY_OK);
    assert_problem(after, "stray-file", "not in this host's journal", VMIG_FIX_NONE);
    g_assert_true(exists(stray));
}

/* Without --fix nothing is created either. */
static void test_changes_nothing(Host *h, G_GNUC_UNUSED gconstpointer data)
{
    g_autoptr(GPtrArray) findings = run(h, FALSE);

    g_assert_false(exists(h->state));
    g_assert_false(exists(h->run));
    g_assert_cmpint(find(findings, "journal")->severity, ==, VMIG_SEVERITY_OK);
    assert_problem(findings, "libvirt", "qemu:///system", VMIG_FIX_NONE);
}

static void test_scan(Host *h, G_GNUC_UNUSED gconstpointer data)
{
    const char *roots[] = {h->images, h->images, NULL};
    g_autofree char *deep = g_strconcat(h->images, "/1/2/3/4/5/6/7/8/9", NULL);
    g_autofree char *hidden = g_strconcat(deep, "/c.vmig-" ID ".qcow2", NULL);
    g_autofree char *near = write_file(h, "c.vmig-" ID "-hold.qcow2");
    g_autofree char *link = g_strconcat(h->images, "/l.vmig-" ID ".qcow2", NULL);
    gboolean whole = FALSE;

    g_assert_cmpint(g_mkdir_with_parents(deep, 0755), ==, 0);
    g_assert_true(g_file_set_contents(hidden, "x", -1, NULL));
    g_assert_cmpint(symlink(near, link), ==, 0);
    g_autoptr(GPtrArray) files = vmig_scan_files(roots, &whole);
    g_assert_cmpuint(files->len, ==, 1); /* not too deep, not through a link, each root once */
    g_assert_cmpstr(((VmigOurFile *)files->pdata[0])->path, ==, near);
    g_assert_false(whole);
}

static void test_names(void)
{
    static const struct {
        const char *path, *job;
    } table[] = {
        {OVERLAY, ID},
        {"/img/.web.qcow2.vmig-" ID ".part", ID},
        {"/img/web.vmig-" ID "-hold.qcow2", ID},
        {"/img/web.vmig-" OTHER ".vmig-" ID ".qcow2", ID},
        {"/img/.vmig-" ID ".qcow2", NULL},
        {"/img/web.vmig-0123.qcow2", NULL},
        {"/img/web.vmig-0123456789ABCDEF.qcow2", NULL},
        {"/img/web.vmig-" ID ".img", NULL},
        {"/img.vmig-" ID ".qcow2/x", NULL},
        {BASE, NULL},
        {NULL, NULL},
    };

    for (guint i = 0; i < G_N_ELEMENTS(table); i++) {
        g_autofree char *job = vmig_our_job_of_path(table[i].path);
        g_assert_cmpstr(job, ==, table[i].job);
    }
}

#define ADD(name, function) g_test_add(name, Host, NULL, set_up, function, tear_down)

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/doctor/setup/good", test_setup_good);
    g_test_add_func("/doctor/setup/libvirt", test_libvirt);
    g_test_add_func("/doctor/setup/libvirt-silent", test_libvirt_silent);
    g_test_add_func("/doctor/setup/roots", test_roots);
    g_test_add_func("/doctor/setup/run-dir-and-limits", test_run_dir_and_limits);
    g_test_add_func("/doctor/setup/unit", test_unit);
    g_test_add_func("/doctor/setup/config", test_config_error);
    g_test_add_func("/doctor/setup/hook-state", test_hook_state);
    g_test_add_func("/doctor/setup/hook", test_hook_rule);
    g_test_add_func("/doctor/jobs/expected", test_expected);
    g_test_add_func("/doctor/jobs/unfinished", test_unfinished);
    g_test_add_func("/doctor/jobs/chains", test_chains);
    g_test_add_func("/doctor/jobs/chain-of-somebody-else", test_chain_of_somebody_else);
    g_test_add_func("/doctor/jobs/domain-missing", test_domain_missing);
    g_test_add_func("/doctor/jobs/two-owners", test_two_owners);
    g_test_add_func("/doctor/jobs/has_snapshot", test_has_snapshot);
    g_test_add_func("/doctor/jobs/journal-errors", test_journal_errors);
    g_test_add_func("/doctor/left/nothing", test_nothing_left);
    g_test_add_func("/doctor/left/files", test_files);
    g_test_add_func("/doctor/left/files-of-unknown-users", test_files_of_unknown_users);
    g_test_add_func("/doctor/left/stray-files", test_stray_files);
    g_test_add_func("/doctor/left/busy", test_busy);
    g_test_add_func("/doctor/left/folders", test_folders);
    g_test_add_func("/doctor/left/guards", test_guards);
    g_test_add_func("/doctor/left/metadata", test_metadata);
    g_test_add_func("/doctor/left/metadata-of-another", test_metadata_of_another);
    g_test_add_func("/doctor/left/overlay-in-chain", test_overlay_in_chain);
    g_test_add_func("/doctor/left/snapshot-no", test_snapshot_no);
    g_test_add_func("/doctor/names", test_names);
    ADD("/doctor/scan", test_scan);
    ADD("/doctor/changes-nothing", test_changes_nothing);
    ADD("/doctor/fix/files", test_fix_files);
    ADD("/doctor/fix/journal-other-cause", test_fix_journal_other_cause);
    ADD("/doctor/fix/exchanged", test_fix_exchanged);
    ADD("/doctor/fix/folders", test_fix_folders);
    ADD("/doctor/older-journal", test_older_journal);
    ADD("/doctor/fix/journal", test_fix_journal);
    return g_test_run();
}
