/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The simulated world: two hosts with a libvirt, files and a guard each, a guest that writes, faults from a seed.
 *
 * One thread. Time stands still but where sim_advance() is called: by every call of the tool (a little), by its clock's
 * wait() (to the next event), by calls that wait for something. All that goes on by itself (the guest, block jobs, the
 * migration, a host that comes back) has a due time and happens in the order of these times. */
#pragma once

#include <glib.h>

#include "definition/domain-xml.h"
#include "core/parks.h"
#include "engine/machine.h"
#include "plan/plan.h"
#include "os/json-read.h"

#define SIM_DISKS 2
#define SIM_BLOCKS 6  /* of each disk; every one has a number that says which write it holds */
#define SIM_CHAIN 6   /* files of one disk at most, with foreign overlays */
#define SIM_FAULTS 10 /* of one run at most */
#define SIM_NEVER G_MAXINT64
#define SIM_MS ((gint64)1000)
#define SIM_S ((gint64)G_USEC_PER_SEC)
#define SIM_VIRTUAL_SIZE (SIM_BLOCKS * 65536ull)

typedef struct Sim Sim;
typedef struct SimHost SimHost;
typedef struct SimQemu SimQemu;

typedef enum {
    SIM_BREAK_NOTHING,
    SIM_BREAK_FENCE, /* the guard says that it holds the overlays, and holds nothing */
    SIM_BREAK_TOKEN, /* the destination's journal says that it wrote the token, and did not */
    SIM_BREAK_ORDER, /* a commit says that it is ready before all is in the base */
    SIM_BREAK_COPY,  /* what is in a part already is believed to be what it should be */
} SimBreak;

typedef enum {
    SIM_FAULTS_NONE,
    SIM_FAULTS_ERRORS,
    SIM_FAULTS_CRASHES,
    SIM_FAULTS_ALL,
} SimFaultSet;

/* --- sim-random.c ------------------------------------------------------------------------------------------------ */

typedef struct {
    guint64 state;
} SimRandom;

void sim_random_seed(SimRandom *random, guint64 seed, guint64 stream);
guint64 sim_random_next(SimRandom *random);
/* 0 ≤ result < n */
guint sim_random_below(SimRandom *random, guint n);
/* low ≤ result ≤ high */
gint64 sim_random_range(SimRandom *random, gint64 low, gint64 high);
/* As sim_random_range(), but every order of magnitude is as likely as any other. */
gint64 sim_random_scale(SimRandom *random, gint64 low, gint64 high);
gboolean sim_random_percent(SimRandom *random, guint percent);

/* --- sim-file.c: images ------------------------------------------------------------------------------------------ */

/* What an internal snapshot froze. */
typedef struct {
    char *name;
    gint64 date;
    gboolean memory;
    guint32 blocks[SIM_BLOCKS];
} SimInternal;

/* One inode. It lives as long as a name or a QEMU has it. */
typedef struct {
    guint refs;
    guint64 ino;
    gint64 born_ns;
    guint64 mtime_ns;
    gboolean raw;
    char *backing; /* as in the header, or NULL */
    char *backing_format;
    guint32 blocks[SIM_BLOCKS]; /* 0: not in this file */
    GPtrArray *internals;       /* SimInternal */
    SimQemu *writer;            /* the QEMU that has it open for writing (byte 101) */
    gboolean frozen;            /* the guard's lock of byte 201: freeze */
    gboolean fenced;            /* the same: fence */
    gboolean foreign;           /* made by an operator */
    char *kept;                 /* an earlier job's, and this is its hash; NULL once a job has taken it */
} SimFile;

#define SIM_KEPT_JOB "0123456789abcdef"

SimFile *sim_file_bare(void); /* nobody refers to it yet */
SimFile *sim_file_ref(SimFile *file);
void sim_file_unref(SimFile *file);
/* A new file under that name, or NULL if there is one. */
SimFile *sim_file_create(SimHost *host, const char *path, const char *backing);
SimFile *sim_file_find(SimHost *host, const char *path);
/* What the guest would read from that path on; FALSE if a file of the chain is missing. */
gboolean sim_file_read_path(SimHost *host, const char *path, guint32 *blocks);
/* The chain by the headers. FALSE if a file is missing. */
gboolean sim_file_chain(SimHost *host, const char *path, GPtrArray *paths);
void sim_file_touch(SimHost *host, SimFile *file);
SimInternal *sim_file_internal(const SimFile *file, const char *name);
void sim_file_add_internal(SimFile *file, const char *name, gint64 date, gboolean memory, const guint32 *blocks);
char *sim_file_hash(const SimFile *file);
void sim_file_copy(SimFile *to, const SimFile *from);

/* --- sim-def.c: definitions -------------------------------------------------------------------------------------- */

typedef struct {
    char *target;
    char *snapshot;         /* the attribute, or NULL */
    char *chain[SIM_CHAIN]; /* the top first */
    guint n_chain;
    gboolean chain_known;
} SimDefDisk;

typedef struct {
    guint n;
    SimDefDisk disks[SIM_DISKS];
    char *metadata; /* our element, or NULL */
} SimDef;

void sim_def_clear(SimDef *def);
void sim_def_copy(SimDef *to, const SimDef *from);
SimDefDisk *sim_def_disk(SimDef *def, const char *target);
void sim_def_push(SimDefDisk *disk, const char *path); /* a new top */
void sim_def_pop(SimDefDisk *disk);
/* job: of the disks, "copy", "active-commit" or NULL; may be NULL. */
char *sim_def_to_xml(Sim *sim, const SimDef *def, const SimQemu *qemu);
gboolean sim_def_parse(SimDef *def, const char *xml, GError **error);

/* --- sim-qemu.c: one QEMU process -------------------------------------------------------------------------------- */

typedef struct {
    VmigBlockJobKind kind;
    gboolean ready;
    guint dirty; /* bits: blocks that are not in the base yet */
    gint64 step; /* between two copied blocks */
    gint64 due;
    guint fails_after; /* steps; 0: it does not */
    gboolean stalled;  /* until somebody gives it more speed */
    SimFile *hold;
} SimBlockJob;

typedef struct {
    SimFile *chain[SIM_CHAIN]; /* the top first */
    guint n_chain;
    SimBlockJob job;
    VmigBlockEnd end; /* of the last commit, until it was told */
} SimQemuDisk;

struct SimQemu {
    SimHost *host;
    guint n;
    SimQemuDisk disks[SIM_DISKS];
    gboolean running;  /* CPUs */
    gboolean inactive; /* the images are let go of, after a migration */
    gboolean incoming; /* the migration's end has not come yet */
};

/* Opens every file that the definition names, the tops for writing. */
SimQemu *sim_qemu_new(SimHost *host, SimDef *def, gboolean incoming, GError **error);
void sim_qemu_kill(SimQemu *qemu);
/* Takes the images again if they were let go of. FALSE while somebody holds them. */
gboolean sim_qemu_cont(SimQemu *qemu, GError **error);
void sim_qemu_stop(SimQemu *qemu);
void sim_qemu_inactivate(SimQemu *qemu);
guint32 sim_qemu_read(const SimQemu *qemu, guint disk, guint block);
void sim_qemu_write(SimQemu *qemu, guint disk, guint block, guint32 value);
void sim_qemu_end_job(SimQemuDisk *disk, VmigBlockEnd end);
void sim_qemu_job_tick(SimQemu *qemu, guint disk);
gboolean sim_qemu_can_write(const SimFile *file, const SimQemu *qemu);

/* --- sim-domain.c: one libvirt's domain -------------------------------------------------------------------------- */

typedef struct {
    gboolean exists;
    gboolean persistent;
    gboolean autostart;
    gboolean migrated;
    gboolean by_user;   /* suspended by a call, not by a migration */
    gboolean cancelled; /* it runs because its migration was given up */
    gboolean stranger;  /* another guest with the same UUID */
    int id;             /* of this run */
    VmigRun run;        /* never ABSENT */
    VmigOff off;
    gboolean out_job; /* its migration away */
    gboolean in_job;  /* its arrival */
    SimQemu *qemu;
    SimDef live;
    SimDef config;
    SimDef synced; /* the configuration that a power loss may bring back */
    gboolean synced_set;
    gint64 changed_at;
    GPtrArray *snapshots; /* VmigSnapshot */
} SimDomain;

gboolean sim_domain_start(SimHost *host, gboolean paused, GError **error);
/* QEMU is gone, whatever the reason. */
void sim_domain_off(SimHost *host);
void sim_domain_drop(SimHost *host); /* libvirt forgets it */
/* Before the persistent definition changes: libvirt syncs the file, not its folder. */
void sim_domain_before_config(SimHost *host);
void sim_domain_sync(SimHost *host);
void sim_domain_lose_config(SimHost *host);
VmigSnapshot *sim_domain_snapshot(SimHost *host, const char *name);
gboolean sim_domain_has_block_job(const SimDomain *domain);

/* --- hosts ------------------------------------------------------------------------------------------------------- */

typedef struct {
    gboolean alive;
    GPtrArray *frozen; /* SimFile */
    GPtrArray *fences; /* SimFile */
    gboolean taken;    /* QEMU had one of them again after it had let go of it */
    gboolean shared;   /* the process that asked holds the same locks, until it ends (node/node-hold.c) */
} SimGuard;

struct SimHost {
    Sim *sim;
    SimHost *twin; /* the same host in the simulation that runs beside this one (sim-two.c), or NULL */
    const char *name;
    gboolean is_dest;
    char *folder;          /* of the images */
    GHashTable *files;     /* path → SimFile */
    GHashTable *receivers; /* part → GINT: this process's */
    GHashTable *hashes;    /* part → hash: this process's */
    SimDomain domain;
    SimQemu *orphan; /* lives, and libvirt does not know it */
    SimGuard guard;
    char *oplock;     /* the job that holds it */
    char *rehearsed;  /* the definition of a rehearsal's twin that runs, or NULL */
    char *rehearsal;  /* the record of one: its id, or NULL */
    guint rehearsals; /* so far */
    gboolean rundir;
    gboolean rundir_stuck; /* it could not be removed once */
    gboolean given;        /* the token, since its boot */
    VmigJournal *journal;
    gint64 down_until;       /* cannot be reached by the tool on the other host */
    gboolean agent;          /* what serves it to the tool on the other host is alive */
    gint64 libvirt_until;    /* its libvirtd is away */
    gboolean no_space_guest; /* the next write of the guest finds no room */
    gint64 full_until;       /* its file system is full */
    gboolean tool_owes;      /* the guest stopped for that while the tool was to look after it */
};

/* --- sim-migration.c --------------------------------------------------------------------------------------------- */

typedef enum {
    SIM_MIG_NONE,
    SIM_MIG_BEGIN,
    SIM_MIG_PREPARE,
    SIM_MIG_PERFORM,
    SIM_MIG_STOPPED, /* the source's CPUs and images are let go of */
    SIM_MIG_FINISH,  /* the destination has all; its libvirt is asked to finish */
    SIM_MIG_REPLY,   /* the destination is paused and complete; the source does not know yet */
    SIM_MIG_CONFIRM, /* the source's QEMU is about to be ended */
    SIM_MIG_RETURN,  /* the call is about to return */
    SIM_MIG_RETURNED,
} SimMigPhase;

typedef struct {
    SimMigPhase phase;
    gint64 due;
    gint64 stopped_at;
    gboolean was_running;
    gboolean abort;
    gboolean failed;      /* what the call returns */
    SimMigPhase fails_at; /* NONE: nowhere */
    gboolean lost_reply;  /* of Finish */
    gboolean lost_confirm;
    gboolean watched; /* a process of ours waits for the call */
    gboolean refused; /* its call, because another migration is under way */
    guint steps;
    char *dest_xml;
    char *persistent_xml;
} SimMigration;

void sim_migration_tick(Sim *sim);
/* What a restart of that host's libvirtd makes of it. */
void sim_migration_libvirt_died(Sim *sim, SimHost *host);
void sim_migration_qemu_died(Sim *sim, SimHost *host);
void sim_migration_clear(SimMigration *migration);
gboolean sim_migrate_begin(SimHost *host, const VmigMigrateParams *params, GError **error);
void sim_migrate_poll(SimHost *host, VmigMigrateStatus *ret);
gboolean sim_migrate_end(SimHost *host, GError **error);

/* --- sim-fault.c ------------------------------------------------------------------------------------------------- */

typedef enum {
    SIM_FAULT_ERROR_BEFORE,
    SIM_FAULT_ERROR_AFTER,
    SIM_FAULT_CRASH_BEFORE,
    SIM_FAULT_CRASH_AFTER,
    SIM_FAULT_STUBBORN,  /* the method fails for a while */
    SIM_FAULT_PEER_DOWN, /* the tool cannot reach the other host */
    SIM_FAULT_NET_DOWN,  /* neither can the source's libvirt */
    SIM_FAULT_LIBVIRT,   /* a libvirtd is restarted */
    SIM_FAULT_POWER,     /* a host loses power */
    SIM_FAULT_QEMU,      /* a QEMU dies */
    SIM_FAULT_CANCEL,
    SIM_FAULT_GUEST_OFF,
    SIM_FAULT_GUEST_PAUSE,
    SIM_FAULT_GUEST_IO,
    SIM_FAULT_SPACE,     /* a file system is full for a while */
    SIM_FAULT_BLOCK_JOB, /* a block job fails or is ended by somebody */
    SIM_FAULT_OPERATOR,  /* an operation of somebody else */
    SIM_FAULT_CORRUPT,   /* bytes arrive other than they left */
    SIM_FAULT_JOURNAL,   /* a transaction fails, or the process dies at it */
    SIM_FAULT_GUARD,     /* the guard is killed, and all its locks are gone */
    SIM_FAULT_OLD,       /* a journal is replaced by this moment's, once the token is given */
    /* libvirtd is killed at a pivot (sim-pivot.c), and then */
    SIM_FAULT_FORGET,     /* ... says that the guest is off, while its QEMU lives */
    SIM_FAULT_OLD_CONFIG, /* ... its persistent definition still names the overlay */
    SIM_FAULT_OLD_LIVE,   /* ... believes that the disk is on its overlay */
    SIM_FAULT_KINDS,
} SimFaultKind;

typedef struct {
    SimFaultKind kind;
    guint at; /* the call that it happens at */
} SimFault;

typedef struct {
    SimHost *host;
    const char *method;
    gboolean libvirt; /* or storage */
    gboolean fail_before;
    gboolean fail_after;
    gboolean crash_after;
} SimCall;

/* sim-script.c */
#define SIM_SCRIPT 8

typedef struct {
    VmigState state;
    const char *method;
    gboolean on_dest;
    guint nth;  /* of such calls in that state */
    guint kind; /* SimFaultKind, or one of sim-script.c */
    gboolean hits_dest;
} SimWhen;

typedef struct {
    SimWhen lines[SIM_SCRIPT];
    guint n;
} SimScript;

/* FALSE if it is no line of a script. */
gboolean sim_script_add(SimScript *script, const char *text);
void sim_script_call(Sim *sim, SimCall *call);
void sim_script_check(Sim *sim); /* at the end: each line came */
void sim_operator_revert(Sim *sim, SimHost *host);

extern const char *const sim_fault_names[SIM_FAULT_KINDS];
/* host: of the faults that are one host's. */
void sim_fault_happen(Sim *sim, SimFaultKind kind, SimHost *host, SimCall *call);
void sim_fault_plan(Sim *sim, SimFaultSet set);
/* Every effect of the tool begins and ends with these. begin: FALSE with the error set when it does not get through. */
gboolean sim_libvirt_begin(Sim *sim, SimCall *call, SimHost *host, const char *method, GError **error);
gboolean sim_node_begin(Sim *sim, SimCall *call, SimHost *host, const char *method, GError **error);
gboolean sim_call_end(Sim *sim, SimCall *call, gboolean ok, GError **error);
void sim_fault_heal(Sim *sim); /* everything answers again, and nothing more goes wrong */
void sim_end_agent(SimHost *host);
void sim_crash(Sim *sim);
void sim_power_loss(Sim *sim, SimHost *host);
/* Called by SQLite before each commit of a host's journal. */
int sim_fault_commit_hook(gpointer data);

/* --- sim-pivot.c ------------------------------------------------------------------------------------------------- */

void sim_pivot_plan(Sim *sim);
/* What happens to libvirtd at this pivot; SIM_FAULT_KINDS: nothing. */
SimFaultKind sim_pivot_fault(Sim *sim);
/* QEMU has pivoted. Sets the error, returns FALSE. */
gboolean sim_pivot_killed(SimHost *host, SimFaultKind kind, GError **error);
void sim_pivot_heal(SimHost *host);
gboolean sim_hv_disk_file(VmigHypervisor *self, const char *uuid, const char *target, char **ret, GError **error);

/* --- sim-operator.c ---------------------------------------------------------------------------------------------- */

void sim_operator_act(Sim *sim);
/* The QEMU of that host ends, by whatever; the guest with it, if it was the owner's. */
void sim_guest_lost(Sim *sim, SimHost *host);
void sim_guest_off(Sim *sim);
void sim_guest_pause(Sim *sim);

/* --- sim-guest.c: the writer and what it was promised ------------------------------------------------------------ */

typedef enum {
    SIM_WANT_RUNNING,
    SIM_WANT_PAUSED,
    SIM_WANT_OFF,
} SimWant;

/* One internal snapshot that must not change. */
typedef struct {
    char *name;
    guint disk;
    guint32 blocks[SIM_BLOCKS];
} SimKept;

typedef struct {
    guint n_disks;
    guint32 last[SIM_DISKS][SIM_BLOCKS]; /* the last acknowledged write of each block */
    guint32 counter;
    gint64 due;
    guint idle;               /* writes since the tool did something */
    SimWant want;             /* what the guest and its user want */
    gboolean was_off;         /* it stopped at some time; nobody has to start it again */
    gboolean user_acted;      /* its user suspended or resumed it meanwhile */
    gboolean suspended;       /* ... suspended it on the source, and not within a migration */
    gboolean stays_suspended; /* ... and before the migration: it has to be suspended where it arrives */
    GPtrArray *kept;          /* SimKept */
} SimGuest;

void sim_guest_tick(Sim *sim);
SimQemu *sim_guest_runner(Sim *sim);
void sim_guest_free_kept(gpointer data);
void sim_guest_keep(Sim *sim, guint disk, const char *name, const guint32 *blocks);

typedef enum { SIM_GATE_OPEN, SIM_GATE_UNLINK, SIM_GATE_RENAME, SIM_GATE_SYNC } SimGateCall;

/* --- the whole --------------------------------------------------------------------------------------------------- */

struct Sim {
    guint64 seed;
    SimBreak broken;
    SimFaultSet set;
    gboolean trace;
    SimRandom env;    /* how long things take */
    SimRandom chance; /* faults */
    SimRandom tool;   /* the tool's own */
    gint64 now;
    gboolean woken;
    SimHost hosts[2]; /* source, destination */
    SimGuest guest;
    SimMigration migration;
    guint64 next_ino;

    /* The process under test. */
    guint here;        /* the host that it runs on */
    gboolean dead;     /* it crashed: nothing that it does has an effect any more */
    gint64 dead_clock; /* what its clock shows beyond ours */
    VmigMachine *machine;
    guint processes;
    guint aside_dies; /* a process that sets the job aside dies at so many calls from now; 0: it does not */
    gboolean ended;   /* vmig_machine_run() said DONE, ROLLED_BACK or SET_ASIDE */
    guint exit;       /* VmigParkExits: what the operator asks the next process for; 0: to go on */
    /* With journals on the disk (sim-disk.c): closes and opens them, as the next process would; FALSE: one cannot be
     * opened, or read, now. */
    gboolean (*reopen)(Sim *sim);
    int (*gate_call)(SimHost *host, SimGateCall call); /* -1 with errno: it fails */
    gboolean stuck;
    void (*yield)(Sim *sim); /* another job's turn may have come (sim-two.c), or NULL */

    /* The scenario. */
    char *uuid;
    char *job_id;
    gboolean was_paused;
    gboolean autostart;
    gboolean keep_source;
    gboolean direct;                /* the merge */
    gboolean took_kept;             /* an image that an earlier job kept became a part */
    char *sent_hash;                /* with SIM_BREAK_COPY: what a part that was not fresh should be */
    gboolean config_chain;          /* the persistent definition names the chain */
    guint n_bases;                  /* files of each disk */
    char *base[2][SIM_DISKS][2];    /* paths: host, disk, file */
    char *snapshot_attr[SIM_DISKS]; /* of the definition for the next start */
    char *live_attr[SIM_DISKS];     /* of the running guest */
    GPtrArray *tree;                /* VmigSnapshot as it was */

    /* Faults. */
    guint calls;
    SimFault faults[SIM_FAULTS];
    guint n_faults;
    guint boots; /* after a power loss, of both hosts */
    guint next_fault;
    gboolean healed;
    guint migration_fails; /* percent */
    guint commit_fails;    /* the next commit job fails after that many steps */
    gint64 net_until;      /* the hosts do not reach each other */
    const char *stubborn;
    gint64 stubborn_until;
    SimFaultKind journal_fault; /* what the next commit does, or SIM_FAULT_KINDS */
    gboolean corrupt;
    guint runs;           /* QEMUs that were started */
    gboolean stranger;    /* another guest with the UUID came to the destination, and is there */
    gboolean foreign;     /* an operator changed something that only he can put right */
    gboolean reverted;    /* ... and that is the persistent definition: he reverted, the guest is off */
    gboolean rewritten;   /* ... and the bases are what the snapshot had: no overlay may be committed into them */
    gboolean lost_config; /* a power loss took back what libvirt had not synced */
    gboolean fired[SIM_FAULT_KINDS];
    struct {
        SimHost *host;
        void *journal; /* what it was: a database in memory */
        guint after;   /* calls with the token given, then the process dies */
        gboolean put_back;
    } old; /* journal, of SIM_FAULT_OLD */
    struct {
        SimFaultKind kind; /* or SIM_FAULT_KINDS */
        guint after;       /* pivots */
        gint64 away;       /* how long libvirtd is */
    } pivot;
    struct {
        gboolean touches, redefines, saves, prunes; /* whether he will */
        gboolean touched, redefined, saved, pruned;
        VmigState saves_in;
    } meddle;

    const SimScript *script; /* or NULL */
    guint script_seen[SIM_SCRIPT];
    VmigState state; /* that was entered last */

    /* What is found. */
    char *violation;
    guint64 visited; /* bits: states */
    guint64 hash;    /* of all that happened, and of what is there at the end */
};

gboolean sim_is_full(const SimHost *host);
SimHost *sim_source(Sim *sim);
SimHost *sim_dest(Sim *sim);
SimHost *sim_here(Sim *sim);
SimHost *sim_peer(Sim *sim);
/* sim-journal.c */
VmigJournal *sim_journal_new(const char *name);
void sim_journal_free(VmigJournal *journal);
/* As from a backup: what a host's journal is now, and that it is so again. */
void sim_journal_keep_old(Sim *sim, SimHost *host);
void sim_journal_put_back(Sim *sim);
void sim_journal_drop_old(Sim *sim);
/* sim-clock.c */
void sim_advance(Sim *sim, gint64 microseconds);
void sim_advance_to(Sim *sim, gint64 until, gboolean stop_on_event);
VmigClock *sim_clock_new(Sim *sim);
VmigRandom *sim_tool_random_new(Sim *sim);
/* sim-hypervisor.c, sim-node.c, sim-copier.c */
VmigHypervisor *sim_hypervisor_new(SimHost *host);
VmigNode *sim_node_new(SimHost *host);
/* --- sim-peer.c: may the tool on the other host ask that? */
/* What is behind a host's node, one for each method of port/methods.def. */
#define VMIG_METHOD(symbol, function, name, peer, time)                                                                \
    JsonObject *sim_do_##function(SimHost *host, VmigReader *args, GError **error);
#include "port/methods.def"
#undef VMIG_METHOD
gboolean sim_peer_may(SimHost *host, VmigMethod method, JsonObject *args, GError **error);
VmigCopier *sim_copier_new(Sim *sim);
/* Each answers the methods that it knows. */
void sim_guard_kill(SimHost *host);
/* The process that asked the guard is gone, and its locks with it. */
void sim_guard_asker_ends(SimHost *host);
/* The file of the argument "path", or NULL with the error set. */
SimFile *sim_node_file(SimHost *host, VmigReader *args, const char **ret, GError **error);
/* sim-block.c: the parts of the table of calls that are long; first what an operator does too */
gboolean sim_block_overlays(SimHost *host, const char *xml, GError **error);
gboolean sim_block_commit(SimHost *host, const char *target, const char *base, GError **error);
gboolean sim_hv_overlay(VmigHypervisor *self, const char *uuid, const char *xml, GError **error);
gboolean sim_hv_hold(VmigHypervisor *self, const char *uuid, const char *target, const char *xml, GError **error);
gboolean sim_hv_block_job(VmigHypervisor *self, const char *uuid, const char *target, const VmigDomainDisk *seen,
                          VmigBlockJob *ret, GError **error);
gboolean sim_hv_block_commit(VmigHypervisor *self, const char *uuid, const char *target, const char *base,
                             guint64 bandwidth, GError **error);
gboolean sim_hv_block_cancel(VmigHypervisor *self, const char *uuid, const char *target, GError **error);
gboolean sim_hv_block_pivot(VmigHypervisor *self, const char *uuid, const char *target, GError **error);
gboolean sim_hv_block_speed(VmigHypervisor *self, const char *uuid, const char *target, guint64 bandwidth,
                            GError **error);
VmigBlockEnd sim_hv_block_end(VmigHypervisor *self, const char *uuid, const char *target);
/* sim-snapshot.c */
gboolean sim_hv_snapshots(VmigHypervisor *self, const char *uuid, GPtrArray **ret, GError **error);
gboolean sim_hv_snapshot_forget(VmigHypervisor *self, const char *uuid, const char *name, GError **error);
gboolean sim_hv_snapshot_define(VmigHypervisor *self, const char *uuid, const char *xml, gboolean current,
                                GError **error);
void sim_snapshot_drop(SimHost *host, const char *name); /* its metadata */
char *sim_snapshot_xml(Sim *sim, const char *name, const char *parent, const char *state, gint64 date,
                       const SimDef *def);
/* sim-gate.c: whose files the gate sees */
void sim_gate_set_host(SimHost *host);

/* A call on a host's libvirt. */
SimHost *sim_host_of(VmigHypervisor *self);
/* sim-rehearsal.c */
gboolean sim_twin_start(SimHost *host, const char *xml, GError **error);
gboolean sim_twin_is(const SimHost *host, const char *uuid);
gboolean sim_twin_xml(SimHost *host, char **ret, GError **error);
gboolean sim_twin_find(SimHost *host, const char *uuid, VmigDomainInfo **ret);
gboolean sim_twin_end(SimHost *host, GError **error);
gboolean sim_twin_define(SimHost *host, const char *uuid, const char *xml, GError **error);

gboolean sim_hv_refuse(GError **error, const char *format, ...) G_GNUC_PRINTF(2, 3);
/* The domain with a QEMU, and without a job that keeps others out; NULL with the error set. */
SimDomain *sim_hv_active(SimHost *host, GError **error);
SimDomain *sim_hv_modify(SimHost *host, GError **error);

/* sim-stranger.c */
void sim_meddle_plan(Sim *sim);
void sim_meddle_copied(Sim *sim, const char *path);
void sim_meddle_defined(SimHost *host); /* the tool defined a snapshot there */
void sim_meddle_entered(Sim *sim, const VmigJob *job);
void sim_meddle_save(Sim *sim); /* somebody makes a snapshot in the overlays now */
void sim_meddle_heal(Sim *sim);
void sim_meddle_check(Sim *sim, VmigState end);

void sim_stranger_come(Sim *sim);
void sim_stranger_leave(Sim *sim);
void sim_stranger_check(SimHost *host, const char *method); /* what the tool does there */
/* sim-check.c */
void sim_violate(Sim *sim, const char *format, ...) G_GNUC_PRINTF(2, 3);
/* Who owns the guest, by what is durable. */
SimHost *sim_owner(Sim *sim);
void sim_check_now(Sim *sim);
void sim_check_resume(SimHost *host);     /* the tool lets the guest run there */
void sim_check_fence_drop(SimHost *host); /* its QEMU may have its disks again */
void sim_check_receive(Sim *sim);         /* the destination's journal is told so */
void sim_check_give(SimHost *source);     /* its journal is told that the destination owns the guest */
void sim_check_copies(Sim *sim);          /* a migration comes in to them */
void sim_check_unlink(SimHost *host, const char *path, SimFile *file);
void sim_check_offline_commit(SimHost *host, const SimFile *overlay, const SimFile *base);
void sim_check_end(Sim *sim, const VmigJob *job);
/* sim-expect.c */
void sim_check_expected(Sim *sim, const VmigJob *job); /* a state is entered */
/* sim-operator.c: ends and undefines the guest on that host, by hand. */
void sim_operator_end_copy(SimHost *host);
/* sim-scenario.c */
void sim_scenario(Sim *sim);
void sim_clear(Sim *sim);
/* sim-run.c */
typedef enum {
    SIM_DONE,
    SIM_ROLLED_BACK,
    SIM_SET_ASIDE,
    SIM_PARKED,
    SIM_REFUSED,
    SIM_OUTCOMES,
} SimOutcome;

SimOutcome sim_run(Sim *sim);
/* sim-hash.c */
void sim_hash_call(Sim *sim, const SimCall *call, gboolean ok);
void sim_hash_end(Sim *sim, SimOutcome outcome);
void sim_trace(Sim *sim, const char *format, ...) G_GNUC_PRINTF(2, 3);

/* sim-pool.c */
#define SIM_CHUNK 200ull

/* What came out of some runs. */
typedef struct {
    guint64 seed; /* that is running */
    guint64 passed, failed;
    guint64 seen; /* with something broken on purpose: runs in which the invariant for it noticed */
    guint64 outcomes[SIM_OUTCOMES];
    guint64 states[VMIG_STATE_LAST];
    guint64 fired[SIM_FAULT_KINDS];
    guint64 processes, calls;
    guint64 kept; /* of these began with an image that an earlier job kept */
} SimCount;

/* Runs n seeds, one after the other, and adds to count. */
typedef void (*SimPoolWork)(gpointer data, SimCount *count, guint64 first, guint64 n);
void sim_pool_run(guint jobs, guint64 first, guint64 seeds, SimPoolWork work, gpointer data, SimCount *sum);
