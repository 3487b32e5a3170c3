/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The hook: what it permits libvirt to do, row by row; what it reads; when it starts resume. */
#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "definition/domain-xml.h"
#include "flows/migrate/states.h"
#include "hooks/hook-facts.h"
#include "hooks/hook-wake.h"
#include "store/journal.h"
#include "store/oplock.h"
#include "tests/unit/legal.h"
#include "tests/unit/many-jobs.h"
#include "tests/unit/older-journal.h"

#define UUID "6f2c5c3e-8a4b-4f0e-9d3a-0d9f5c1b7e21"
#define UUID2 "11111111-2222-4333-8444-555555555555"
#define JOB "0123456789abcdef"
#define MACHINE "3d1219c7c4c5404aaa1f6d2a48adfda4"
#define S(state) VMIG_MIGRATE(state)
#define C(chain) VMIG_HOOK_CHAIN_##chain
#define V(verdict) VMIG_HOOK_VETO_##verdict
#define ALLOW VMIG_HOOK_ALLOW

/* --- the table --- */

enum { SRC, DST };
/* Flags of a row besides its columns. */
enum { HANDED = 1, PIVOTED = 2, NO_OVERLAYS = 4, BUSY = 8, INCOMING = 16 };

static const struct {
    int role;
    int token;
    VmigState state;
    guint more;
    VmigHookChain chain;
    VmigHookVerdict verdict;
} rows[] = {
    /* The stale twin is refused in any state, with any files and lock. */
    {SRC, DST, S(MIGRATE), HANDED, C(OVERLAYS), V(TWIN)},
    {SRC, DST, S(ACTIVATE), HANDED | BUSY, C(OVERLAYS), V(TWIN)},
    {SRC, DST, S(COMMIT), HANDED, C(BASES), V(TWIN)},
    {SRC, DST, S(CLEANUP), HANDED | PIVOTED, C(BASES), V(TWIN)},
    {SRC, DST, S(CLEANUP), HANDED, C(UNKNOWN), V(TWIN)},
    {SRC, DST, S(REDEFINE), HANDED, C(OTHER), V(TWIN)},
    {SRC, DST, NULL, 0, C(OVERLAYS), V(TWIN)},

    /* Before any overlay exists, the base is the only disk. */
    {SRC, SRC, S(LOCK), NO_OVERLAYS, C(BASES), ALLOW},
    {SRC, SRC, S(LOCK), NO_OVERLAYS | BUSY, C(BASES), ALLOW},
    {SRC, SRC, S(OVERLAY), NO_OVERLAYS, C(BASES), ALLOW},
    /* A crash while they are created. */
    {SRC, SRC, S(OVERLAY), 0, C(BASES), V(UNDECIDED)},
    {SRC, SRC, S(OVERLAY), 0, C(OVERLAYS), ALLOW},
    /* A guest that died during its base copy starts from its overlay, never from the base. */
    {SRC, SRC, S(COPY), 0, C(OVERLAYS), ALLOW},
    {SRC, SRC, S(COPY), BUSY, C(OVERLAYS), ALLOW},
    {SRC, SRC, S(COPY), 0, C(BASES), V(BASE)},
    {SRC, SRC, S(COPY), 0, C(MIXED), V(BASE)},
    {SRC, SRC, S(COPY), 0, C(OTHER), V(CHAIN)},
    {SRC, SRC, S(COPY), 0, C(UNKNOWN), V(UNREADABLE)},
    {SRC, SRC, S(PREPARE), 0, C(OVERLAYS), ALLOW},
    {SRC, SRC, S(DROP_METADATA), 0, C(OVERLAYS), ALLOW},
    {SRC, SRC, S(DROP_METADATA), 0, C(BASES), V(BASE)},
    /* While it is given away: the destination may get the token because the source's QEMU is gone. */
    {SRC, SRC, S(MIGRATE), HANDED | BUSY, C(OVERLAYS), V(UNDECIDED)},
    {SRC, SRC, S(MIGRATE), HANDED, C(BASES), V(UNDECIDED)},
    {SRC, SRC, S(UNCERTAIN), HANDED, C(OVERLAYS), V(UNDECIDED)},
    {SRC, SRC, S(ROLLBACK), HANDED, C(OVERLAYS), V(UNDECIDED)},
    /* A rollback that began before libvirt was told to migrate: no other host has anything. */
    {SRC, SRC, S(ROLLBACK), 0, C(OVERLAYS), ALLOW},
    {SRC, SRC, S(UNCERTAIN), 0, C(OVERLAYS), ALLOW},
    {SRC, SRC, S(ROLLBACK), 0, C(BASES), V(BASE)},
    {SRC, SRC, S(ROLLBACK), NO_OVERLAYS, C(BASES), ALLOW},
    /* The commit of the rollback: offline if the guest is off, by the holder of the lock. */
    {SRC, SRC, S(BACK_COMMIT), BUSY, C(OVERLAYS), V(REPAIR)},
    {SRC, SRC, S(BACK_COMMIT), 0, C(OVERLAYS), ALLOW},
    {SRC, SRC, S(BACK_COMMIT), HANDED, C(OVERLAYS), ALLOW},
    {SRC, SRC, S(BACK_COMMIT), 0, C(BASES), V(BASE)},
    {SRC, SRC, S(BACK_COMMIT), PIVOTED, C(BASES), ALLOW},
    {SRC, SRC, S(BACK_COMMIT), PIVOTED | BUSY, C(BASES), ALLOW},
    {SRC, SRC, S(BACK_COMMIT), PIVOTED, C(OVERLAYS), V(OVERLAY)},
    {SRC, SRC, S(BACK_COMMIT), NO_OVERLAYS, C(BASES), ALLOW},
    /* In the middle of a pivot only the repair may start it. */
    {SRC, SRC, S(BACK_PIVOT), 0, C(OVERLAYS), V(REPAIR)},
    {SRC, SRC, S(BACK_PIVOT), 0, C(MIXED), V(REPAIR)},
    {SRC, SRC, S(BACK_PIVOT), 0, C(BASES), V(REPAIR)},
    {SRC, SRC, S(BACK_PIVOT), PIVOTED, C(BASES), ALLOW},
    {SRC, SRC, S(BACK_PIVOT), PIVOTED, C(MIXED), V(OVERLAY)},
    {SRC, SRC, S(BACK_REDEFINE), PIVOTED, C(BASES), ALLOW},
    {SRC, SRC, S(BACK_REDEFINE), 0, C(OVERLAYS), V(OVERLAY)},

    /* The destination before it has the token: only what `migrate` has admitted. */
    {DST, SRC, S(MIGRATE), INCOMING | BUSY, C(OVERLAYS), ALLOW},
    {DST, SRC, S(DROP_METADATA), INCOMING | BUSY, C(OVERLAYS), ALLOW},
    {DST, SRC, S(PREPARE), INCOMING | BUSY, C(OVERLAYS), ALLOW},
    {DST, SRC, S(MIGRATE), INCOMING | BUSY, C(UNKNOWN), ALLOW},
    {DST, SRC, S(MIGRATE), BUSY, C(OVERLAYS), V(NOT_YET)},
    {DST, SRC, S(MIGRATE), 0, C(OVERLAYS), V(NOT_YET)},
    {DST, SRC, S(COPY), INCOMING, C(OVERLAYS), V(NOT_YET)},
    {DST, SRC, S(UNCERTAIN), INCOMING, C(OVERLAYS), V(NOT_YET)},
    {DST, SRC, S(ROLLBACK), 0, C(BASES), V(NOT_YET)},

    /* The destination with the token. */
    {DST, DST, S(ACTIVATE), 0, C(OVERLAYS), ALLOW},
    {DST, DST, S(ACTIVATE), BUSY, C(OVERLAYS), V(REPAIR)},
    {DST, DST, S(MIGRATE), 0, C(OVERLAYS), ALLOW},
    {DST, DST, S(COMMIT), 0, C(OVERLAYS), ALLOW},
    {DST, DST, S(COMMIT), BUSY, C(OVERLAYS), V(REPAIR)},
    {DST, DST, S(COMMIT), 0, C(BASES), V(BASE)},
    {DST, DST, S(COMMIT), 0, C(MIXED), V(BASE)},
    {DST, DST, S(COMMIT), 0, C(OTHER), V(CHAIN)},
    {DST, DST, S(COMMIT), PIVOTED | BUSY, C(BASES), ALLOW},
    {DST, DST, S(COMMIT), PIVOTED, C(OVERLAYS), V(OVERLAY)},
    {DST, DST, S(COMMIT), NO_OVERLAYS, C(BASES), ALLOW},
    {DST, DST, S(PIVOT), 0, C(OVERLAYS), V(REPAIR)},
    {DST, DST, S(PIVOT), 0, C(BASES), V(REPAIR)},
    {DST, DST, S(PIVOT), PIVOTED, C(BASES), ALLOW},
    {DST, DST, S(PIVOT), NO_OVERLAYS, C(BASES), ALLOW},
    {DST, DST, S(REDEFINE), PIVOTED | BUSY, C(BASES), ALLOW},
    {DST, DST, S(REDEFINE), PIVOTED, C(OVERLAYS), V(OVERLAY)},
    {DST, DST, S(CLEANUP), PIVOTED, C(BASES), ALLOW},
    {DST, DST, S(CLEANUP), PIVOTED, C(MIXED), V(OVERLAY)},
};

static VmigHookFacts facts_of(int role, int token, VmigState state, guint more, VmigHookChain chain)
{
    return (VmigHookFacts){
        .op = VMIG_HOOK_PREPARE,
        .known = VMIG_HOOK_OPEN,
        .marked = TRUE,
        .same_domain = TRUE,
        .own_mark = TRUE,
        .here = role == SRC ? VMIG_SOURCE : VMIG_DEST,
        .owner = token == DST ? VMIG_DEST : VMIG_SOURCE,
        .state = state,
        .handed = (more & HANDED) != 0,
        .pivoted = (more & PIVOTED) != 0,
        .overlays = (more & NO_OVERLAYS) == 0,
        .busy = (more & BUSY) != 0,
        .incoming = (more & INCOMING) != 0,
        .chain = chain,
    };
}

static void test_rows(void)
{
    for (guint i = 0; i < G_N_ELEMENTS(rows); i++) {
        VmigHookFacts f = facts_of(rows[i].role, rows[i].token, rows[i].state, rows[i].more, rows[i].chain);
        for (int restore = 0; restore < 2; restore++) {
            f.op = restore ? VMIG_HOOK_RESTORE : VMIG_HOOK_PREPARE;
            VmigHookVerdict verdict = vmig_hook_decide(&f);
            if (verdict != rows[i].verdict)
                g_error("row %u: %s on the %s, token %d, more %u, chain %d: %s instead of %s", i,
                        vmig_state_name(rows[i].state), rows[i].role == SRC ? "source" : "destination", rows[i].token,
                        rows[i].more, (int)rows[i].chain, vmig_hook_verdict_name(verdict),
                        vmig_hook_verdict_name(rows[i].verdict));
        }
    }
}

/* Invariants for every combination, listed above or not. */
static void check_laws(const VmigHookFacts *f)
{
    gboolean allowed = vmig_hook_decide(f) == ALLOW;
    gboolean whole =
        f->pivoted || !f->overlays || f->state == S(REDEFINE) || f->state == S(CLEANUP) || f->state == S(BACK_REDEFINE);

    if (!allowed)
        return;
    g_assert_false(f->here == VMIG_SOURCE && f->owner == VMIG_DEST);
    g_assert_true(f->here == VMIG_SOURCE || f->owner == VMIG_DEST || f->incoming);
    if (f->incoming && f->here == VMIG_DEST && f->owner == VMIG_SOURCE)
        return;
    g_assert_true(f->chain == C(BASES) || f->chain == C(OVERLAYS));
    g_assert_true(f->chain != C(BASES) || whole);
    g_assert_false(f->chain == C(OVERLAYS) && (f->pivoted || f->state == S(PIVOT) || f->state == S(BACK_PIVOT)));
    g_assert_false(f->state == S(MIGRATE) && f->here == VMIG_SOURCE);
}

/* Each state, and after them none: the record lacks it. */
static VmigState nth(guint i)
{
    return i < VMIG_MIGRATE_STATES ? &vmig_migrate_rows[i] : NULL;
}

static void test_laws(void)
{
    guint n = 0;

    for (guint i = 0; i <= VMIG_MIGRATE_STATES; i++)
        for (guint bits = 0; bits < 32; bits++)
            for (guint who = 0; who < 4; who++)
                for (int chain = C(UNKNOWN); chain <= C(OTHER); chain++) {
                    VmigHookFacts f = facts_of(who & 1 ? DST : SRC, who & 2 ? DST : SRC, nth(i), bits, chain);
                    check_laws(&f);
                    n++;
                }
    g_assert_cmpuint(n, >, 10000);
}

/* No other operation is ever refused: that would kill the guest, or have no effect. */
static void test_ops_that_never_fail(void)
{
    const VmigHookOp ops[] = {VMIG_HOOK_OTHER,     VMIG_HOOK_STARTED,      VMIG_HOOK_STOPPED,      VMIG_HOOK_RELEASE,
                              VMIG_HOOK_RECONNECT, VMIG_HOOK_DAEMON_START, VMIG_HOOK_DAEMON_RELOAD};

    for (guint i = 0; i < G_N_ELEMENTS(ops); i++)
        for (int known = VMIG_HOOK_FREE; known <= VMIG_HOOK_UNTRUSTED; known++) {
            VmigHookFacts f = facts_of(SRC, DST, S(CLEANUP), 0, C(UNKNOWN));
            f.op = ops[i];
            f.known = known;
            g_assert_false(vmig_hook_op_may_veto(ops[i]));
            g_assert_cmpint(vmig_hook_decide(&f), ==, ALLOW);
            g_assert_true(vmig_hook_wakes(&f) ==
                          (known == VMIG_HOOK_OPEN && ops[i] != VMIG_HOOK_OTHER && ops[i] < VMIG_HOOK_DAEMON_START));
        }
}

static void test_known(void)
{
    const VmigHookOp ops[] = {VMIG_HOOK_PREPARE, VMIG_HOOK_RESTORE, VMIG_HOOK_MIGRATE};

    for (guint i = 0; i < G_N_ELEMENTS(ops); i++) {
        VmigHookFacts f = facts_of(SRC, DST, S(CLEANUP), 0, C(BASES));
        f.op = ops[i];
        f.known = VMIG_HOOK_FREE;
        g_assert_cmpint(vmig_hook_decide(&f), ==, ALLOW);
        f.known = VMIG_HOOK_UNTRUSTED;
        g_assert_cmpint(vmig_hook_decide(&f), ==, V(JOURNAL));
        f.marked = FALSE;
        g_assert_cmpint(vmig_hook_decide(&f), ==, ALLOW);
        f.known = VMIG_HOOK_LEFT;
        g_assert_cmpint(vmig_hook_decide(&f), ==, ops[i] == VMIG_HOOK_MIGRATE ? ALLOW : V(TWIN));
        g_assert_false(vmig_hook_wakes(&f));
    }
}

/* Another guest that got the name. */
static void test_namesake(void)
{
    for (int chain = C(UNKNOWN); chain <= C(OTHER); chain++) {
        VmigHookFacts f = facts_of(SRC, SRC, S(COPY), 0, chain);
        f.same_domain = FALSE;
        g_assert_cmpint(vmig_hook_decide(&f), ==,
                        chain == C(OTHER)     ? ALLOW
                        : chain == C(UNKNOWN) ? V(UNREADABLE)
                                              : V(FILES));
    }
}

static void test_migrate(void)
{
    for (guint n = 0; n <= VMIG_MIGRATE_STATES; n++) {
        VmigState state = nth(n);
        VmigHookFacts right = facts_of(DST, SRC, state, BUSY, C(OVERLAYS));
        right.op = VMIG_HOOK_MIGRATE;
        gboolean in_time = state == S(PREPARE) || state == S(DROP_METADATA) || state == S(MIGRATE);
        g_assert_cmpint(vmig_hook_decide(&right), ==, in_time ? ALLOW : V(MIGRATION));
        VmigHookFacts wrong[7] = {right, right, right, right, right, right, right};
        wrong[0].own_mark = FALSE;
        wrong[1].here = VMIG_SOURCE;
        wrong[2].owner = VMIG_DEST;
        wrong[3].chain = C(BASES);
        wrong[4].chain = C(UNKNOWN);
        wrong[5].same_domain = FALSE;
        wrong[6].direct = TRUE;
        for (guint i = 0; i < G_N_ELEMENTS(wrong); i++)
            g_assert_cmpint(vmig_hook_decide(&wrong[i]), ==, V(MIGRATION));
        wrong[3].direct = TRUE;
        g_assert_cmpint(vmig_hook_decide(&wrong[3]), ==, in_time ? ALLOW : V(MIGRATION));
    }
}

static void test_op_names(void)
{
    g_assert_cmpint(vmig_hook_op("g", "prepare", "begin"), ==, VMIG_HOOK_PREPARE);
    g_assert_cmpint(vmig_hook_op("$(reboot)", "restore", "begin"), ==, VMIG_HOOK_RESTORE);
    g_assert_cmpint(vmig_hook_op("g", "migrate", "begin"), ==, VMIG_HOOK_MIGRATE);
    g_assert_cmpint(vmig_hook_op("g", "started", "begin"), ==, VMIG_HOOK_STARTED);
    g_assert_cmpint(vmig_hook_op("g", "stopped", "end"), ==, VMIG_HOOK_STOPPED);
    g_assert_cmpint(vmig_hook_op("g", "release", "end"), ==, VMIG_HOOK_RELEASE);
    g_assert_cmpint(vmig_hook_op("g", "reconnect", "begin"), ==, VMIG_HOOK_RECONNECT);
    g_assert_cmpint(vmig_hook_op("-", "start", "-"), ==, VMIG_HOOK_DAEMON_START);
    g_assert_cmpint(vmig_hook_op("-", "reload", "begin"), ==, VMIG_HOOK_DAEMON_RELOAD);
    g_assert_cmpint(vmig_hook_op("-", "shutdown", "-"), ==, VMIG_HOOK_OTHER);
    g_assert_cmpint(vmig_hook_op("-", "start", "begin"), ==, VMIG_HOOK_OTHER);
    g_assert_cmpint(vmig_hook_op("-", "prepare", "begin"), ==, VMIG_HOOK_PREPARE);
    g_assert_cmpint(vmig_hook_op("g", "attach", "begin"), ==, VMIG_HOOK_OTHER);
    g_assert_cmpint(vmig_hook_op("", "", ""), ==, VMIG_HOOK_OTHER);
    g_assert_cmpint(vmig_hook_op("prepare", "begin", "prepare"), ==, VMIG_HOOK_OTHER);
}

/* --- reading --- */

typedef struct {
    char *dir;
    VmigHookPaths paths;
    char *overlay;
} Fixture;

static void set_up(Fixture *f, G_GNUC_UNUSED gconstpointer data)
{
    f->dir = g_dir_make_tmp("vmig-hook-XXXXXX", NULL);
    f->paths.state_dir = g_build_filename(f->dir, "state", NULL);
    f->paths.run_dir = g_build_filename(f->dir, "run", NULL);
    f->paths.journal = g_build_filename(f->dir, "state", "journal.db", NULL);
    f->paths.lock_dir = g_build_filename(f->dir, "run", "lock", NULL);
    f->overlay = g_build_filename(f->dir, "over.qcow2", NULL);
}

static void tear_down(Fixture *f, G_GNUC_UNUSED gconstpointer data)
{
    g_autofree char *command = g_strdup_printf("rm -rf '%s'", f->dir);

    g_assert_cmpint(system(command), ==, 0);
    g_free(f->dir);
    g_free(f->paths.state_dir);
    g_free(f->paths.run_dir);
    g_free(f->paths.journal);
    g_free(f->paths.lock_dir);
    g_free(f->paths.machine_id);
    g_free(f->overlay);
}

static void set(char **field, const char *value)
{
    g_free(*field);
    *field = g_strdup(value);
}

static VmigJob *make_job(Fixture *f, const char *state)
{
    VmigJob *job = vmig_job_new(&vmig_states_migrate);
    VmigDisk *disk = vmig_disk_new();
    VmigFile *file = vmig_file_new();

    job->version = VMIG_JOB_VERSION;
    job->id = g_strdup(JOB);
    set(&job->state, state);
    job->domain = g_strdup("g");
    job->uuid = g_strdup(UUID);
    job->host[VMIG_SOURCE] = g_strdup("vmig-a");
    job->host[VMIG_DEST] = g_strdup("vmig-b");
    job->owner = VMIG_SOURCE;
    file->path[VMIG_SOURCE] = g_strdup("/images/g.qcow2");
    file->path[VMIG_DEST] = g_strdup("/there/g.qcow2");
    disk->target = g_strdup("vda");
    disk->at[VMIG_SOURCE].overlay = g_strdup(f->overlay);
    disk->at[VMIG_DEST].overlay = g_strdup("/there/g.over.qcow2");
    g_ptr_array_add(disk->files, file);
    vmig_job_add(job, disk);
    put_facts(job, vmig_job_state(job));
    if (vmig_state_phase(vmig_job_state(job)) == VMIG_PHASE_AFTER || g_str_equal(state, "DONE"))
        job->owner = VMIG_DEST;
    return job;
}

static void write_job(Fixture *f, const VmigJob *job, VmigRole role)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(VmigJournal) journal = vmig_journal_open(f->paths.journal, NULL, &error);

    g_assert_no_error(error);
    g_assert_true(vmig_journal_create_job(journal, job, role, &error));
    g_assert_no_error(error);
}

static char *make_xml(const char *uuid, const char *job, const char *file)
{
    g_autofree char *mark = job == NULL ? g_strdup("")
                                        : g_strdup_printf("<metadata><vmig:operation xmlns:vmig='" VMIG_METADATA_URI
                                                          "' job='%s'/></metadata>",
                                                          job);

    return g_strdup_printf("<domain type='kvm'><name>g</name><uuid>%s</uuid>%s<memory>1</memory><os><type>hvm</type>"
                           "</os><devices><disk type='file' device='disk'><driver name='qemu' type='qcow2'/>"
                           "<source file='%s'/><target dev='vda'/></disk></devices></domain>",
                           uuid, mark, file);
}

static void check(Fixture *f, VmigHookOp op, const char *xml, VmigHookVerdict expected, const char *says)
{
    g_autoptr(VmigHookSight) sight = vmig_hook_look(&f->paths, op, "g", xml);
    VmigHookVerdict verdict = vmig_hook_decide(&sight->facts);

    g_assert_cmpstr(vmig_hook_verdict_name(verdict), ==, vmig_hook_verdict_name(expected));
    if (verdict == ALLOW)
        return;
    g_autofree char *words = vmig_hook_words(sight, verdict, "g");
    g_test_message("%s", words);
    g_assert_null(strchr(words, '\n'));
    g_assert_nonnull(strstr(words, "`vmig-snap "));
    if (strstr(words, says) == NULL)
        g_error("'%s' is not in '%s'", says, words);
}

static void test_nothing(Fixture *f, G_GNUC_UNUSED gconstpointer data)
{
    g_autofree char *marked = make_xml(UUID, JOB, "/images/g.qcow2");

    check(f, VMIG_HOOK_PREPARE, marked, ALLOW, "");
    check(f, VMIG_HOOK_PREPARE, NULL, ALLOW, "");
    check(f, VMIG_HOOK_MIGRATE, "garbage", ALLOW, "");
    /* Looking creates nothing. */
    g_assert_cmpint(access(f->paths.state_dir, F_OK), !=, 0);
}

static void test_source(Fixture *f, G_GNUC_UNUSED gconstpointer data)
{
    g_autofree char *base = make_xml(UUID, JOB, "/images/g.qcow2");
    g_autofree char *over = make_xml(UUID, JOB, f->overlay);
    g_autofree char *other = make_xml(UUID, JOB, "/images/x.qcow2");
    g_autofree char *namesake = make_xml(UUID2, NULL, "/images/g.qcow2");
    g_autofree char *stranger = make_xml(UUID2, NULL, "/images/x.qcow2");
    g_autoptr(VmigJob) job = make_job(f, "COPY");

    job->overlays = VMIG_OVERLAYS_IN_USE;
    write_job(f, job, VMIG_SOURCE);
    check(f, VMIG_HOOK_PREPARE, over, ALLOW, "");
    check(f, VMIG_HOOK_PREPARE, base, V(BASE), "last writes");
    check(f, VMIG_HOOK_RESTORE, base, V(BASE), JOB);
    check(f, VMIG_HOOK_PREPARE, other, V(CHAIN), JOB);
    check(f, VMIG_HOOK_PREPARE, "<domain", V(UNREADABLE), JOB);
    check(f, VMIG_HOOK_PREPARE, NULL, V(UNREADABLE), JOB);
    check(f, VMIG_HOOK_PREPARE, namesake, V(FILES), JOB);
    check(f, VMIG_HOOK_PREPARE, stranger, ALLOW, "");
    check(f, VMIG_HOOK_MIGRATE, over, V(MIGRATION), JOB);
    check(f, VMIG_HOOK_RECONNECT, "garbage", ALLOW, "");
}

/* The token's own table decides, whatever the definition says. */
static void test_twin(Fixture *f, G_GNUC_UNUSED gconstpointer data)
{
    g_autofree char *marked = make_xml(UUID, JOB, f->overlay);
    g_autofree char *plain = make_xml(UUID, NULL, "/images/g.qcow2");
    g_autofree char *forged = make_xml(UUID, "ffffffffffffffff", "/elsewhere");
    g_autoptr(VmigJob) job = make_job(f, "MIGRATE");

    write_job(f, job, VMIG_SOURCE);
    check(f, VMIG_HOOK_PREPARE, marked, V(UNDECIDED), "resume " JOB);
    g_autoptr(VmigJournal) journal = vmig_journal_open(f->paths.journal, NULL, NULL);
    g_assert_true(vmig_journal_set_token(journal, JOB, VMIG_DEST, NULL));
    check(f, VMIG_HOOK_PREPARE, marked, V(TWIN), "moved to vmig-b");
    check(f, VMIG_HOOK_PREPARE, plain, V(TWIN), "out of date");
    check(f, VMIG_HOOK_RESTORE, forged, V(TWIN), JOB);
}

/* For a parked job, the state in which it parked counts. Also with a lock that is held. */
static void test_parked_and_busy(Fixture *f, G_GNUC_UNUSED gconstpointer data)
{
    g_autofree char *over = make_xml(UUID, JOB, f->overlay);
    g_autoptr(VmigJob) job = make_job(f, "PARKED");

    job->parked_state = g_strdup("BACK_COMMIT");
    job->overlays = VMIG_OVERLAYS_IN_USE;
    write_job(f, job, VMIG_SOURCE);
    check(f, VMIG_HOOK_PREPARE, over, ALLOW, "");
    g_assert_cmpint(g_mkdir_with_parents(f->paths.lock_dir, 0700), ==, 0);
    g_autoptr(VmigOpLock) lock = vmig_oplock_take(f->paths.lock_dir, UUID, JOB, "source", NULL);
    g_assert_nonnull(lock);
    check(f, VMIG_HOOK_PREPARE, over, V(REPAIR), "as the source, process");
}

/* An existing overlay counts, whether recorded or not. */
static void test_overlay_file(Fixture *f, G_GNUC_UNUSED gconstpointer data)
{
    g_autofree char *base = make_xml(UUID, JOB, "/images/g.qcow2");
    g_autoptr(VmigJob) job = make_job(f, "OVERLAY");

    write_job(f, job, VMIG_SOURCE);
    check(f, VMIG_HOOK_PREPARE, base, ALLOW, "");
    g_assert_true(g_file_set_contents(f->overlay, "x", 1, NULL));
    check(f, VMIG_HOOK_PREPARE, base, V(UNDECIDED), JOB);
}

static void test_incoming(Fixture *f, G_GNUC_UNUSED gconstpointer data)
{
    g_autofree char *over = make_xml(UUID, JOB, "/there/g.over.qcow2");
    g_autofree char *forged = make_xml(UUID, "ffffffffffffffff", "/there/g.over.qcow2");
    g_autoptr(VmigJob) job = make_job(f, "MIGRATE");
    g_autofree char *mark = g_build_filename(f->paths.run_dir, "incoming-" UUID, NULL);

    write_job(f, job, VMIG_DEST);
    check(f, VMIG_HOOK_MIGRATE, over, ALLOW, "");
    check(f, VMIG_HOOK_MIGRATE, forged, V(MIGRATION), JOB);
    check(f, VMIG_HOOK_PREPARE, over, V(NOT_YET), "belongs to vmig-a");
    g_assert_true(vmig_hook_mark_incoming(&f->paths, UUID, JOB, NULL));
    check(f, VMIG_HOOK_PREPARE, over, ALLOW, "");
    /* Only once. */
    g_assert_cmpint(access(mark, F_OK), !=, 0);
    check(f, VMIG_HOOK_PREPARE, over, V(NOT_YET), "");
    /* Another job's mark, one from the future, an old one, an invalid one. */
    g_assert_true(vmig_hook_mark_incoming(&f->paths, UUID, "ffffffffffffffff", NULL));
    check(f, VMIG_HOOK_PREPARE, over, V(NOT_YET), "");
    const char *bad[] = {JOB " 99999999999\n", JOB " -1000000\n", "", "\xff", JOB};
    for (guint i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_assert_true(g_file_set_contents(mark, bad[i], -1, NULL));
        check(f, VMIG_HOOK_PREPARE, over, V(NOT_YET), "");
    }
    g_unlink(mark);
    g_assert_cmpint(symlink("/etc/passwd", mark), ==, 0);
    check(f, VMIG_HOOK_PREPARE, over, V(NOT_YET), "");
    g_assert_false(vmig_hook_mark_incoming(&f->paths, UUID, JOB, NULL));
}

/* An ended job whose source was never cleaned up: the mark in the definition leads to it. */
static void test_left(Fixture *f, G_GNUC_UNUSED gconstpointer data)
{
    g_autofree char *marked = make_xml(UUID, JOB, "/images/g.qcow2");
    g_autofree char *plain = make_xml(UUID, NULL, "/images/g.qcow2");
    g_autofree char *forged = make_xml(UUID2, JOB, "/images/g.qcow2");
    g_autofree char *unknown = make_xml(UUID, "ffffffffffffffff", "/images/g.qcow2");
    g_autoptr(VmigJob) job = make_job(f, "DONE");

    job->owner = VMIG_DEST;
    write_job(f, job, VMIG_SOURCE);
    check(f, VMIG_HOOK_PREPARE, marked, V(TWIN), "moved to vmig-b");
    check(f, VMIG_HOOK_PREPARE, plain, ALLOW, "");
    check(f, VMIG_HOOK_PREPARE, forged, ALLOW, "");
    check(f, VMIG_HOOK_PREPARE, unknown, ALLOW, "");
    g_autoptr(VmigJournal) journal = vmig_journal_open(f->paths.journal, NULL, NULL);
    job->source_clean = TRUE;
    g_assert_true(vmig_journal_save(journal, job, NULL));
    check(f, VMIG_HOOK_PREPARE, marked, ALLOW, "");
}

/* If the journal is unreadable, only a guest with its own mark is held back. */
static void test_damaged(Fixture *f, G_GNUC_UNUSED gconstpointer data)
{
    g_autofree char *marked = make_xml(UUID, JOB, "/images/g.qcow2");
    g_autofree char *plain = make_xml(UUID, NULL, "/images/g.qcow2");
    g_autofree char *broken = g_strconcat("<domain>", marked, NULL);
    g_autoptr(VmigJob) job = make_job(f, "COPY");
    const char *damage[] = {"", "no database at all", "SQLite format 3"};

    write_job(f, job, VMIG_SOURCE);
    for (guint i = 0; i < G_N_ELEMENTS(damage); i++) {
        int fd = open(f->paths.journal, O_WRONLY | O_TRUNC);
        g_assert_cmpint(write(fd, damage[i], strlen(damage[i])), ==, (gssize)strlen(damage[i]));
        close(fd);
        check(f, VMIG_HOOK_PREPARE, marked, V(JOURNAL), "doctor");
        check(f, VMIG_HOOK_RESTORE, marked, V(JOURNAL), "doctor");
        check(f, VMIG_HOOK_MIGRATE, marked, V(JOURNAL), "doctor");
        check(f, VMIG_HOOK_PREPARE, broken, V(JOURNAL), "doctor");
        check(f, VMIG_HOOK_PREPARE, plain, ALLOW, "");
        check(f, VMIG_HOOK_RECONNECT, marked, ALLOW, "");
        check(f, VMIG_HOOK_STARTED, marked, ALLOW, "");
    }
}

/* An unfinished job of an older version: its guest does not start, as with an unreadable journal, but every other one
 * does. Without an unfinished job no guest is held back. */
static void test_older(Fixture *f, G_GNUC_UNUSED gconstpointer data)
{
    g_autofree char *marked = make_xml(UUID, JOB, "/images/g.qcow2");
    g_autofree char *plain = make_xml(UUID2, NULL, "/images/x.qcow2");
    sqlite3 *db = NULL;

    g_assert_cmpint(g_mkdir_with_parents(f->paths.state_dir, 0700), ==, 0);
    db = older_journal(f->paths.journal, MACHINE);
    older_add(db, "fedcba9876543210", UUID2, "old1", "DONE");
    check(f, VMIG_HOOK_PREPARE, marked, ALLOW, "");
    check(f, VMIG_HOOK_PREPARE, plain, ALLOW, "");
    older_add(db, JOB, UUID, "g", "COPY");
    sqlite3_close(db);
    check(f, VMIG_HOOK_PREPARE, marked, V(JOURNAL), "is of version 1");
    check(f, VMIG_HOOK_RESTORE, marked, V(JOURNAL), "is of version 1");
    check(f, VMIG_HOOK_MIGRATE, marked, V(JOURNAL), "is of version 1");
    check(f, VMIG_HOOK_PREPARE, plain, ALLOW, "");
    check(f, VMIG_HOOK_RECONNECT, marked, ALLOW, "");
    check(f, VMIG_HOOK_STARTED, marked, ALLOW, "");
}

/* Not all of the journal is verified for a guest: if a row is lost, the guest's own mark reveals it. Another host's
 * journal does not count. */
static void test_index_and_machine(Fixture *f, G_GNUC_UNUSED gconstpointer data)
{
    g_autofree char *marked = make_xml(UUID, JOB, f->overlay);
    g_autofree char *plain = make_xml(UUID, NULL, f->overlay);
    g_autofree char *on_base = make_xml(UUID, JOB, "/images/g.qcow2");
    g_autoptr(VmigJob) job = make_job(f, "COPY");
    g_autoptr(GError) error = NULL;
    sqlite3 *db = NULL;

    job->overlays = VMIG_OVERLAYS_IN_USE;
    f->paths.machine_id = g_strdup("this-one");
    VmigJournal *journal = vmig_journal_open(f->paths.journal, "this-one", &error);
    g_assert_true(vmig_journal_create_job(journal, job, VMIG_SOURCE, &error));
    vmig_journal_close(journal);
    check(f, VMIG_HOOK_PREPARE, marked, ALLOW, "");
    check(f, VMIG_HOOK_PREPARE, on_base, V(BASE), JOB);

    set(&f->paths.machine_id, "the-copy");
    check(f, VMIG_HOOK_PREPARE, marked, V(JOURNAL), "another machine-id");
    check(f, VMIG_HOOK_MIGRATE, marked, V(JOURNAL), "another machine-id");
    check(f, VMIG_HOOK_PREPARE, plain, ALLOW, "");
    set(&f->paths.machine_id, "this-one");

    /* The row is right, but its index entry is gone. */
    g_assert_cmpint(sqlite3_open(f->paths.journal, &db), ==, SQLITE_OK);
    g_assert_true(vmig_db_add_functions(db));
    g_assert_cmpint(sqlite3_exec(db,
                                 "PRAGMA writable_schema = ON;"
                                 "UPDATE sqlite_schema SET sql = replace(sql, 'finished = 0', 'finished = 5')"
                                 " WHERE name = 'job_open'; PRAGMA writable_schema = RESET; REINDEX job_open;"
                                 "PRAGMA writable_schema = ON;"
                                 "UPDATE sqlite_schema SET sql = replace(sql, 'finished = 5', 'finished = 0')"
                                 " WHERE name = 'job_open';",
                                 NULL, NULL, NULL),
                    ==, SQLITE_OK);
    sqlite3_close(db);
    check(f, VMIG_HOOK_PREPARE, marked, V(JOURNAL), "index");
}

static gint by_number(gconstpointer a, gconstpointer b)
{
    gint64 x = *(const gint64 *)a, y = *(const gint64 *)b;

    return x < y ? -1 : x > y;
}

/* CPU microseconds of this thread, so that other programs do not matter. The median of many calls. */
static gint64 time_of_a_look(Fixture *f, const char *xml)
{
    gint64 times[41];

    for (guint i = 0; i < G_N_ELEMENTS(times); i++) {
        struct timespec from, to;
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &from);
        g_autoptr(VmigHookSight) sight = vmig_hook_look(&f->paths, VMIG_HOOK_PREPARE, "g", xml);
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &to);
        times[i] = (to.tv_sec - from.tv_sec) * G_USEC_PER_SEC + (to.tv_nsec - from.tv_nsec) / 1000;
        g_assert_cmpint(vmig_hook_decide(&sight->facts), ==, ALLOW);
    }
    qsort(times, G_N_ELEMENTS(times), sizeof times[0], by_number);
    return times[G_N_ELEMENTS(times) / 2];
}

/* libvirt blocks the guest during the hook: ten thousand old jobs must not slow it down. */
static void test_time(Fixture *f, G_GNUC_UNUSED gconstpointer data)
{
    char *xml[] = {make_xml(UUID, JOB, f->overlay), make_xml(UUID, NULL, f->overlay),
                   make_xml(UUID2, NULL, "/images/other.qcow2"),
                   make_xml(UUID2, "e000000000000001", "/images/other.qcow2")};
    g_autoptr(VmigJob) job = make_job(f, "COPY");
    gint64 few[G_N_ELEMENTS(xml)];

    job->overlays = VMIG_OVERLAYS_IN_USE;
    write_job(f, job, VMIG_SOURCE);
    for (guint i = 0; i < G_N_ELEMENTS(xml); i++)
        few[i] = time_of_a_look(f, xml[i]);
    add_ended_jobs(f->paths.journal, 10000);
    for (guint i = 0; i < G_N_ELEMENTS(xml); i++) {
        gint64 many = time_of_a_look(f, xml[i]);
        g_test_message("look %u: %" G_GINT64_FORMAT " us with one job, %" G_GINT64_FORMAT " us with 10,001", i, few[i],
                       many);
        g_assert_cmpint(many, <=, 2 * few[i] + 200);
        g_free(xml[i]);
    }
}

static void test_paths(Fixture *f, G_GNUC_UNUSED gconstpointer data)
{
    g_autofree char *config = g_build_filename(f->dir, "vmig-snap.conf", NULL);
    g_autoptr(GError) error = NULL;
    g_autoptr(VmigHookPaths) none = vmig_hook_paths_load(config, &error);

    g_assert_cmpstr(none->journal, ==, "/var/lib/vmig-snap/journal.db");
    g_assert_cmpstr(none->lock_dir, ==, "/run/vmig-snap/lock");
    g_assert_true(g_file_set_contents(config, "[vmig-snap]\nstate-dir=/s\nrun-dir=/r\nimage-roots=/x;\n", -1, NULL));
    g_chmod(config, 0644);
    g_autoptr(VmigHookPaths) set = vmig_hook_paths_load(config, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(set->journal, ==, "/s/journal.db");
    g_assert_cmpstr(set->run_dir, ==, "/r");
    g_chmod(config, 0666);
    g_assert_null(vmig_hook_paths_load(config, &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_USAGE);
    g_clear_error(&error);
    g_assert_true(g_file_set_contents(config, "no key file", -1, NULL));
    g_chmod(config, 0600);
    g_assert_null(vmig_hook_paths_load(config, &error));
    g_assert_error(error, VMIG_ERROR, VMIG_ERROR_USAGE);
}

static void test_seen(Fixture *f, G_GNUC_UNUSED gconstpointer data)
{
    g_autofree char *path = g_build_filename(f->paths.run_dir, "hook-seen", NULL);
    g_autofree char *start = g_strdup_printf("%d ", (int)getppid());
    g_autofree char *text = NULL;
    struct stat st;

    vmig_hook_note_seen(&f->paths, "started");
    vmig_hook_note_seen(&f->paths, "prepare");
    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    g_assert_true(g_str_has_prefix(text, start));
    g_assert_true(g_str_has_suffix(text, " prepare\n"));
    g_auto(GStrv) words = g_strsplit(g_strchomp(text), " ", 0);
    g_assert_cmpuint(g_strv_length(words), ==, 4);
    g_assert_cmpuint(g_ascii_strtoull(words[1], NULL, 10), >, 0);
    g_assert_cmpint(stat(path, &st), ==, 0);
    g_assert_cmpuint(st.st_mode & 07777, ==, 0600);
    /* Another daemon of libvirt does not replace the proof. comm is that of the parent's main thread. */
    pid_t proxy = fork();
    if (proxy == 0) {
        prctl(PR_SET_NAME, "virtproxyd");
        pid_t child = fork();
        if (child == 0) {
            vmig_hook_note_seen(&f->paths, "shutdown");
            _exit(0);
        }
        waitpid(child, NULL, 0);
        _exit(0);
    }
    waitpid(proxy, NULL, 0);
    g_autofree char *kept = NULL;
    g_assert_true(g_file_get_contents(path, &kept, NULL, NULL));
    g_assert_true(g_str_has_suffix(kept, " prepare\n"));
    /* A failed write has no consequences. */
    g_unlink(path);
    g_assert_cmpint(mkdir(path, 0700), ==, 0);
    vmig_hook_note_seen(&f->paths, "prepare");
}

/* --- starting resume --- */

static char *fake_resume(Fixture *f, int code)
{
    char *program = g_build_filename(f->dir, "fake", NULL);
    g_autofree char *text = g_strdup_printf("#!/bin/sh\necho \"$*\" >> '%s/calls'\nexit %d\n", f->dir, code);

    g_assert_true(g_file_set_contents(program, text, -1, NULL));
    g_chmod(program, 0755);
    return program;
}

static char *calls(Fixture *f)
{
    g_autofree char *path = g_build_filename(f->dir, "calls", NULL);
    char *text = NULL;

    return g_file_get_contents(path, &text, NULL, NULL) ? text : g_strdup("");
}

static int watch_to_end(Fixture *f, const char *program)
{
    return vmig_hook_watch(&f->paths, program, JOB);
}

static void test_watch(Fixture *f, G_GNUC_UNUSED gconstpointer data)
{
    g_autofree char *program = fake_resume(f, 4);
    g_autofree char *none = NULL;
    g_autofree char *once = NULL;
    g_autoptr(VmigJob) job = make_job(f, "COMMIT");

    /* Unknown: nothing to do. */
    g_assert_cmpint(watch_to_end(f, program), ==, 0);
    none = calls(f);
    g_assert_cmpstr(none, ==, "");
    write_job(f, job, VMIG_SOURCE);
    g_assert_cmpint(watch_to_end(f, program), ==, 4);
    once = calls(f);
    g_assert_cmpstr(once, ==, "resume " JOB " --quiet --unless-busy\n");
}

/* While a process works on the job nothing is started; a second watcher exits at once; the death of the worker triggers
 * it. */
static void test_watch_waits(Fixture *f, G_GNUC_UNUSED gconstpointer data)
{
    g_autofree char *program = fake_resume(f, 4);
    g_autofree char *before = NULL;
    g_autofree char *after = NULL;
    g_autoptr(VmigJob) job = make_job(f, "COMMIT");
    int status;

    write_job(f, job, VMIG_SOURCE);
    g_assert_cmpint(g_mkdir_with_parents(f->paths.lock_dir, 0700), ==, 0);
    pid_t worker = fork();
    if (worker == 0) {
        VmigOpLock *lock = vmig_oplock_take(f->paths.lock_dir, UUID, JOB, "source", NULL);
        for (;;)
            lock != NULL ? pause() : exit(1);
    }
    g_usleep(300000);
    pid_t watcher = fork();
    if (watcher == 0)
        _exit(watch_to_end(f, program));
    g_usleep(2500000);
    before = calls(f);
    g_assert_cmpstr(before, ==, "");
    g_assert_cmpint(watch_to_end(f, program), ==, 0);
    gint64 killed = g_get_monotonic_time();
    kill(worker, SIGKILL);
    waitpid(worker, NULL, 0);
    g_assert_cmpint(waitpid(watcher, &status, 0), ==, watcher);
    g_assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 4);
    g_assert_cmpint(g_get_monotonic_time() - killed, <, 30 * G_USEC_PER_SEC);
    after = calls(f);
    g_assert_cmpstr(after, ==, "resume " JOB " --quiet --unless-busy\n");
}

/* A stop of the unit: the process that works on the job is asked to end and waited for, and no other one follows. The
 * unit was asked to end and does not fail, although the job is not finished. */
static void test_watch_is_stopped(Fixture *f, G_GNUC_UNUSED gconstpointer data)
{
    g_autofree char *program = g_build_filename(f->dir, "slow-resume", NULL);
    g_autofree char *mark = g_build_filename(f->dir, "runs", NULL);
    g_autofree char *said = g_build_filename(f->dir, "said", NULL);
    g_autofree char *script = g_strdup_printf("#!/bin/sh\ntrap 'echo asked >> %s; exit 5' TERM\n: > %s\n"
                                              "while :; do sleep 0.1; done\n",
                                              said, mark);
    g_autofree char *text = NULL;
    g_autoptr(VmigJob) job = make_job(f, "COMMIT");
    int status;

    write_job(f, job, VMIG_SOURCE);
    g_assert_true(g_file_set_contents_full(program, script, -1, G_FILE_SET_CONTENTS_NONE, 0755, NULL));
    pid_t watcher = fork();
    if (watcher == 0)
        _exit(watch_to_end(f, program));
    for (guint i = 0; i < 600 && access(mark, F_OK) != 0; i++)
        g_usleep(50000);
    g_assert_cmpint(access(mark, F_OK), ==, 0);
    kill(watcher, SIGTERM);
    g_assert_cmpint(waitpid(watcher, &status, 0), ==, watcher);
    g_assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    g_assert_true(g_file_get_contents(said, &text, NULL, NULL));
    g_assert_cmpstr(text, ==, "asked\n");
}

/* The same before that process can handle the signal: it dies of it. */
static void test_watch_is_stopped_early(Fixture *f, G_GNUC_UNUSED gconstpointer data)
{
    g_autofree char *program = g_build_filename(f->dir, "early-resume", NULL);
    g_autofree char *mark = g_build_filename(f->dir, "runs", NULL);
    g_autofree char *script = g_strdup_printf("#!/bin/sh\n: > %s\nwhile :; do sleep 0.1; done\n", mark);
    g_autoptr(VmigJob) job = make_job(f, "COMMIT");
    int status;

    write_job(f, job, VMIG_SOURCE);
    g_assert_true(g_file_set_contents_full(program, script, -1, G_FILE_SET_CONTENTS_NONE, 0755, NULL));
    pid_t watcher = fork();
    if (watcher == 0)
        _exit(watch_to_end(f, program));
    for (guint i = 0; i < 600 && access(mark, F_OK) != 0; i++)
        g_usleep(50000);
    kill(watcher, SIGTERM);
    g_assert_cmpint(waitpid(watcher, &status, 0), ==, watcher);
    g_assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* This process works on the job, and another one waits for the end of that. */
static pid_t watch_own_work(Fixture *f, VmigJob *job, const char *program, VmigOpLock **lock)
{
    write_job(f, job, VMIG_SOURCE);
    g_assert_cmpint(g_mkdir_with_parents(f->paths.lock_dir, 0700), ==, 0);
    *lock = vmig_oplock_take(f->paths.lock_dir, UUID, JOB, "source", NULL);
    pid_t watcher = fork();
    if (watcher == 0) {
        close(vmig_oplock_fd(*lock));
        _exit(watch_to_end(f, program));
    }
    g_usleep(1200000);
    return watcher;
}

/* An operation that ends by itself is left alone. */
static void test_watch_of_the_end(Fixture *f, G_GNUC_UNUSED gconstpointer data)
{
    g_autofree char *program = fake_resume(f, 0);
    g_autofree char *none = NULL;
    g_autoptr(VmigJob) job = make_job(f, "CLEANUP");
    int status;

    VmigOpLock *lock;
    pid_t watcher = watch_own_work(f, job, program, &lock);
    g_autoptr(VmigJournal) journal = vmig_journal_open(f->paths.journal, NULL, NULL);
    vmig_oplock_release(lock);
    g_usleep(300000);
    g_assert_true(vmig_journal_commit_transition(journal, job, S(DONE), NULL, NULL));
    g_assert_cmpint(waitpid(watcher, &status, 0), ==, watcher);
    g_assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    none = calls(f);
    g_assert_cmpstr(none, ==, "");
}

/* A process that parks the job has tried what it could: the next try is an operator's, or comes with an event. */
static void test_watch_of_a_park(Fixture *f, G_GNUC_UNUSED gconstpointer data)
{
    g_autofree char *program = fake_resume(f, 0);
    g_autofree char *none = NULL;
    g_autofree char *once = NULL;
    g_autoptr(VmigJob) job = make_job(f, "COMMIT");
    g_autoptr(GError) why = NULL;
    int status;

    VmigOpLock *lock;
    pid_t watcher = watch_own_work(f, job, program, &lock);
    g_autoptr(VmigJournal) journal = vmig_journal_open(f->paths.journal, NULL, NULL);
    vmig_fail(&why, VMIG_ERROR_INTERFERENCE, NULL, "somebody took a snapshot");
    vmig_job_set_error(job, why);
    job->parked_state = g_strdup("COMMIT");
    g_assert_true(vmig_journal_commit_transition(journal, job, S(PARKED), NULL, NULL));
    vmig_oplock_release(lock);
    g_assert_cmpint(waitpid(watcher, &status, 0), ==, watcher);
    g_assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 5);
    none = calls(f);
    g_assert_cmpstr(none, ==, "");
    /* The event. */
    (void)watch_to_end(f, program);
    once = calls(f);
    g_assert_cmpstr(once, ==, "resume " JOB " --quiet --unless-busy\n");
}

#define ADD(name, function) g_test_add("/hook/" name, Fixture, NULL, set_up, function, tear_down)

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/hook/rows", test_rows);
    g_test_add_func("/hook/laws", test_laws);
    g_test_add_func("/hook/ops-that-never-fail", test_ops_that_never_fail);
    g_test_add_func("/hook/known", test_known);
    g_test_add_func("/hook/namesake", test_namesake);
    g_test_add_func("/hook/migrate", test_migrate);
    g_test_add_func("/hook/op-names", test_op_names);
    ADD("nothing", test_nothing);
    ADD("source", test_source);
    ADD("twin", test_twin);
    ADD("parked-and-busy", test_parked_and_busy);
    ADD("overlay-file", test_overlay_file);
    ADD("incoming", test_incoming);
    ADD("left", test_left);
    ADD("damaged", test_damaged);
    ADD("older", test_older);
    ADD("index-and-machine", test_index_and_machine);
    ADD("time", test_time);
    ADD("paths", test_paths);
    ADD("seen", test_seen);
    ADD("watch", test_watch);
    ADD("watch-waits", test_watch_waits);
    ADD("watch-of-the-end", test_watch_of_the_end);
    ADD("watch-of-a-park", test_watch_of_a_park);
    ADD("watch-is-stopped", test_watch_is_stopped);
    ADD("watch-is-stopped-early", test_watch_is_stopped_early);
    return g_test_run();
}
