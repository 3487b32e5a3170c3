/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The simulated environment: two hosts with a libvirt, files and a guard each, a guest that writes, faults from a seed.
 *
 * Single-threaded. Time advances only in sim_advance(): with every call of the tool (a little), in its clock's wait()
 * (to the next event), and in calls that wait for something. Everything that progresses by itself (the guest, block
 * jobs, the migration, a host that comes back) has a due time and happens in the order of these times. */
#pragma once

#include <glib.h>

#include "definition/domain-xml.h"
#include "flows/migrate/states.h"
#include "core/parks.h"
#include "engine/machine.h"
#include "plan/plan.h"
#include "os/json-read.h"

#define SIM_DISKS 2
#define SIM_BLOCKS 6  /* of each disk; each has a number that says which write it holds */
#define SIM_CHAIN 6   /* most files of one disk, with foreign overlays */
#define SIM_FAULTS 10 /* most faults of one run */
#define SIM_NEVER G_MAXINT64
#define SIM_MS ((gint64)1000)
#define SIM_S ((gint64)G_USEC_PER_SEC)
#define SIM_VIRTUAL_SIZE (SIM_BLOCKS * 65536ull)

typedef struct Sim Sim;
typedef struct SimHost SimHost;
typedef struct SimQemu SimQemu;

typedef enum {
    SIM_BREAK_NOTHING,
    SIM_BREAK_FENCE, /* the guard claims to hold the overlays, but holds nothing */
    SIM_BREAK_TOKEN, /* the destination's journal claims to have written the token, but did not */
    SIM_BREAK_ORDER, /* a commit reports ready before everything is in the base */
    SIM_BREAK_FACTS, /* a step records the end of the merge long before it */
    SIM_BREAK_COPY,  /* existing data in a part is assumed to be correct */
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
/* Like sim_random_range(), but every order of magnitude is equally likely. */
gint64 sim_random_scale(SimRandom *random, gint64 low, gint64 high);
gboolean sim_random_percent(SimRandom *random, guint percent);

/* --- sim-file.c: images ------------------------------------------------------------------------------------------ */

/* The content of an internal snapshot. */
typedef struct {
    char *name;
    gint64 date;
    gboolean memory;
    guint32 blocks[SIM_BLOCKS];
} SimInternal;

/* One inode. It lives as long as a name or a QEMU refers to it. */
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
    gboolean fenced;            /* the same for the fence */
    gboolean foreign;           /* made by an operator */
    char *kept;                 /* kept by an earlier job, with this hash; NULL once a job has taken it */
} SimFile;

#define SIM_KEPT_JOB "0123456789abcdef"

SimFile *sim_file_bare(void); /* without any reference yet */
SimFile *sim_file_ref(SimFile *file);
void sim_file_unref(SimFile *file);
/* Creates a file with this name, or returns NULL if there is one. */
SimFile *sim_file_create(SimHost *host, const char *path, const char *backing);
SimFile *sim_file_find(SimHost *host, const char *path);
/* What the guest would read with this path as top; FALSE if a file of the chain is missing. */
gboolean sim_file_read_path(SimHost *host, const char *path, guint32 *blocks);
/* The chain according to the headers. FALSE if a file is missing. */
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
    char *chain[SIM_CHAIN]; /* top first */
    guint n_chain;
    gboolean chain_known;
} SimDefDisk;

typedef struct {
    guint n;
    SimDefDisk disks[SIM_DISKS];
    char *metadata; /* vmig-snap's element, or NULL */
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
    guint fails_after; /* steps; 0: it does not fail */
    gboolean stalled;  /* until its speed is raised */
    SimFile *hold;
} SimBlockJob;

typedef struct {
    SimFile *chain[SIM_CHAIN]; /* top first */
    guint n_chain;
    SimBlockJob job;
    VmigBlockEnd end; /* of the last commit, until it was reported */
} SimQemuDisk;

struct SimQemu {
    SimHost *host;
    guint n;
    SimQemuDisk disks[SIM_DISKS];
    gboolean running;  /* CPUs */
    gboolean inactive; /* the images are released, after a migration */
    gboolean incoming; /* the end of the migration is still to come */
};

/* Opens every file that the definition names, the tops for writing. */
SimQemu *sim_qemu_new(SimHost *host, SimDef *def, gboolean incoming, GError **error);
void sim_qemu_kill(SimQemu *qemu);
/* Reopens released images. FALSE while they are locked. */
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
    gboolean cancelled; /* it runs because its migration was aborted */
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
/* QEMU is gone, for any reason. */
void sim_domain_off(SimHost *host);
void sim_domain_drop(SimHost *host); /* libvirt forgets it */
/* Call before the persistent definition changes: libvirt syncs the file, not its folder. */
void sim_domain_before_config(SimHost *host);
void sim_domain_sync(SimHost *host);
void sim_domain_lose_config(SimHost *host);
VmigSnapshot *sim_domain_snapshot(SimHost *host, const char *name);
gboolean sim_domain_has_block_job(const SimDomain *domain);

/* --- hosts -------------------------------------------------------------------------------------------------------- */

typedef struct {
    gboolean alive;
    GPtrArray *frozen; /* SimFile */
    GPtrArray *fences; /* SimFile */
    gboolean taken;    /* QEMU opened one of them again after it had released it */
    gboolean shared;   /* the process that asked holds the same locks until it ends (node/node-hold.c) */
} SimGuard;

struct SimHost {
    Sim *sim;
    SimHost *twin; /* the same host in the simulation that runs in parallel (sim-two.c), or NULL */
    const char *name;
    gboolean is_dest;
    char *folder;          /* of the images */
    GHashTable *files;     /* path → SimFile */
    GHashTable *receivers; /* part → GINT; belong to this process */
    GHashTable *hashes;    /* part → hash; belong to this process */
    SimDomain domain;
    SimQemu *orphan; /* alive, but unknown to libvirt */
    struct {
        char *target; /* of the disk that QEMU has pivoted, while libvirt's job for it has not ended; or NULL */
        gint64 due;
    } late;
    SimGuard guard;
    char *oplock;     /* the job that holds it */
    char *rehearsed;  /* the definition of a running rehearsal's twin, or NULL */
    char *rehearsal;  /* the record of a rehearsal: its ID, or NULL */
    guint rehearsals; /* so far */
    gboolean rundir;
    gboolean rundir_stuck; /* removing it failed once */
    gboolean given;        /* the token, since its boot */
    VmigJournal *journal;
    gboolean booted;         /* it lost its power, and its guest with it */
    gint64 down_until;       /* the tool on the other host cannot reach it */
    gboolean agent;          /* its process that serves the tool on the other host is alive */
    gint64 libvirt_until;    /* its libvirtd is down */
    gboolean no_space_guest; /* the guest's next write finds no space */
    gint64 full_until;       /* its file system is full */
    gboolean tool_owes;      /* the guest stopped for lack of space while the tool was responsible for it */
};

/* --- sim-migration.c --------------------------------------------------------------------------------------------- */

typedef enum {
    SIM_MIG_NONE,
    SIM_MIG_BEGIN,
    SIM_MIG_PREPARE,
    SIM_MIG_PERFORM,
    SIM_MIG_STOPPED, /* the source's CPUs are stopped and its images released */
    SIM_MIG_FINISH,  /* the destination has everything; its libvirt is asked to finish */
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
    gboolean watched; /* a process of the tool waits for the call */
    gboolean refused; /* the call was refused because another migration is running */
    guint steps;
    char *dest_xml;
    char *persistent_xml;
} SimMigration;

void sim_migration_tick(Sim *sim);
/* The effect of a restart of that host's libvirtd. */
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
    SIM_FAULT_BLOCK_JOB, /* a block job fails or another user ends it */
    SIM_FAULT_OPERATOR,  /* another user's operation */
    SIM_FAULT_CORRUPT,   /* bytes are corrupted in transit */
    SIM_FAULT_JOURNAL,   /* a transaction fails, or the process dies in it */
    SIM_FAULT_GUARD,     /* the guard is killed, and all its locks are gone */
    SIM_FAULT_OLD,       /* a journal is replaced with its state of this moment, once the token was given */
    /* libvirtd is killed at a pivot (sim-pivot.c), and afterwards */
    SIM_FAULT_FORGET,     /* ... reports the guest as off, while its QEMU is alive */
    SIM_FAULT_OLD_CONFIG, /* ... its persistent definition still names the overlay */
    SIM_FAULT_OLD_LIVE,   /* ... believes that the disk is on its overlay */
    SIM_FAULT_LATE_LIVE,  /* the caller loses its connection at a pivot, and libvirt notes it some time after QEMU */
    SIM_FAULT_KINDS,
} SimFaultKind;

typedef struct {
    SimFaultKind kind;
    guint at; /* the number of the call */
} SimFault;

typedef struct {
    SimHost *host;
    const char *method;
    gboolean libvirt; /* otherwise the node */
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
    guint nth;  /* counts such calls in this state */
    guint kind; /* SimFaultKind, or one of sim-script.c */
    gboolean hits_dest;
} SimWhen;

typedef struct {
    SimWhen lines[SIM_SCRIPT];
    guint n;
} SimScript;

/* FALSE if it is not a valid line of a script. */
gboolean sim_script_add(SimScript *script, const char *text);
void sim_script_call(Sim *sim, SimCall *call);
void sim_script_check(Sim *sim); /* at the end: each line was used */
void sim_operator_revert(Sim *sim, SimHost *host);

extern const char *const sim_fault_names[SIM_FAULT_KINDS];
/* host: for faults of a single host. */
void sim_fault_happen(Sim *sim, SimFaultKind kind, SimHost *host, SimCall *call);
void sim_fault_plan(Sim *sim, SimFaultSet set);
/* Every effect of the tool is between these. begin: FALSE with the error set if the call does not get through. */
gboolean sim_libvirt_begin(Sim *sim, SimCall *call, SimHost *host, const char *method, GError **error);
gboolean sim_node_begin(Sim *sim, SimCall *call, SimHost *host, const char *method, GError **error);
gboolean sim_call_end(Sim *sim, SimCall *call, gboolean ok, GError **error);
void sim_fault_heal(Sim *sim); /* everything answers again, and no more faults happen */
void sim_end_agent(SimHost *host);
void sim_crash(Sim *sim);
void sim_power_loss(Sim *sim, SimHost *host);
/* Called by SQLite before each commit of a host's journal. */
int sim_fault_commit_hook(gpointer data);

/* --- sim-pivot.c ------------------------------------------------------------------------------------------------- */

void sim_pivot_plan(Sim *sim);
/* The fault of libvirtd at this pivot; SIM_FAULT_KINDS: none. */
SimFaultKind sim_pivot_fault(Sim *sim);
/* QEMU has pivoted. Sets the error and returns FALSE. */
gboolean sim_pivot_killed(SimHost *host, SimFaultKind kind, GError **error);
/* The same, where libvirt lives and notes it later. */
gboolean sim_pivot_late(SimHost *host, const char *target, GError **error);
/* libvirt notes what is due. */
void sim_pivot_follow(SimHost *host);
/* A call that needs the domain's job lock waits until libvirt's job for a pivot has ended. */
void sim_pivot_wait(SimHost *host);
/* The tool destroys the guest: not for a difference that libvirt had not noted yet. */
void sim_pivot_check_destroy(SimHost *host);
void sim_pivot_heal(SimHost *host);
gboolean sim_hv_disk_file(VmigHypervisor *self, const char *uuid, const char *target, char **ret, GError **error);

/* --- sim-operator.c ---------------------------------------------------------------------------------------------- */

/* virsh blockcopy --transient-job by another user. */
void sim_operator_copy(Sim *sim, SimHost *host);
void sim_operator_act(Sim *sim);
/* The QEMU of that host ends for any reason; so does the guest, if this was the owner's. */
void sim_guest_lost(Sim *sim, SimHost *host);
void sim_guest_off(Sim *sim);
void sim_guest_pause(Sim *sim);

/* --- sim-guest.c: the writer and its acknowledged writes ---------------------------------------------------------- */

typedef enum {
    SIM_WANT_RUNNING,
    SIM_WANT_PAUSED,
    SIM_WANT_OFF,
} SimWant;

/* An internal snapshot that must not change. */
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
    guint idle;               /* writes since the tool's last call */
    SimWant want;             /* what the guest and its user want */
    gboolean was_off;         /* it stopped at some time; it need not be restarted */
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

/* --- everything --------------------------------------------------------------------------------------------------- */

struct Sim {
    guint64 seed;
    SimBreak broken;
    SimFaultSet set;
    gboolean trace;
    SimRandom env;    /* durations */
    SimRandom chance; /* faults */
    SimRandom tool;   /* the tool's own */
    gint64 now;
    gboolean woken;
    SimHost hosts[2]; /* source, destination */
    SimGuest guest;
    SimMigration migration;
    guint64 next_ino;

    /* The process under test. */
    guint here;        /* its host */
    gboolean dead;     /* it crashed: its calls have no effect any more */
    gint64 dead_clock; /* how far its clock is ahead of the simulation's */
    VmigMachine *machine;
    guint processes;
    guint aside_dies; /* a process that sets the job aside dies after this many calls; 0: it does not */
    gboolean ended;   /* vmig_machine_run() returned DONE, ROLLED_BACK or SET_ASIDE */
    guint exit;       /* VmigParkExits: what the operator requests of the next process; 0: to continue */
    /* With journals on the disk (sim-disk.c): closes and reopens them like the next process; FALSE: one cannot be
     * opened or read now. */
    gboolean (*reopen)(Sim *sim);
    int (*gate_call)(SimHost *host, SimGateCall call); /* -1 with errno: fails */
    gboolean stuck;
    void (*yield)(Sim *sim); /* lets another job run if it is its turn (sim-two.c), or NULL */

    /* The scenario. */
    char *uuid;
    char *job_id;
    gboolean was_paused;
    gboolean autostart;
    gboolean keep_source;
    gboolean direct;                /* merge by mirror */
    gboolean took_kept;             /* an image that an earlier job kept became a part */
    char *sent_hash;                /* with SIM_BREAK_COPY: the hash that a part with existing data should have */
    gboolean config_chain;          /* the persistent definition names the chain */
    guint n_bases;                  /* files of each disk */
    char *base[2][SIM_DISKS][2];    /* paths: host, disk, file */
    char *snapshot_attr[SIM_DISKS]; /* in the definition for the next start */
    char *live_attr[SIM_DISKS];     /* in the running guest */
    GPtrArray *tree;                /* VmigSnapshot, the original tree */

    /* Faults. */
    guint calls;
    SimFault faults[SIM_FAULTS];
    guint n_faults;
    guint boots; /* after a power loss, of both hosts */
    guint next_fault;
    gboolean healed;
    guint migration_fails; /* percent */
    guint commit_fails;    /* the next commit job fails after this many steps */
    gint64 net_until;      /* the hosts cannot reach each other */
    const char *stubborn;
    gint64 stubborn_until;
    SimFaultKind journal_fault; /* what happens at the next commit, or SIM_FAULT_KINDS */
    gboolean corrupt;
    guint runs;           /* number of QEMUs started */
    gboolean stranger;    /* another guest with the UUID appeared on the destination, and is there */
    gboolean foreign;     /* an operator changed something that only the operator can repair */
    gboolean reverted;    /* ... namely the persistent definition: the operator reverted, and the guest is off */
    gboolean rewritten;   /* ... and the bases have the snapshot's content: no overlay may be committed into them */
    gboolean lost_config; /* a power loss reverted what libvirt had not synced */
    gboolean fired[SIM_FAULT_KINDS];
    struct {
        SimHost *host;
        void *journal; /* its former state: a database in memory */
        guint after;   /* calls after the token was given until the process dies */
        gboolean put_back;
    } old; /* the journal of SIM_FAULT_OLD */
    struct {
        SimFaultKind kind; /* or SIM_FAULT_KINDS */
        guint after;       /* pivots */
        gint64 away;       /* how long libvirtd is down */
    } pivot;
    struct {
        gboolean touches, redefines, saves, prunes; /* what the user will do */
        gboolean touched, redefined, saved, pruned;
        VmigState saves_in;
    } meddle;

    const SimScript *script; /* or NULL */
    guint script_seen[SIM_SCRIPT];
    VmigState state; /* the state entered last */

    /* Findings. */
    char *violation;
    guint64 visited; /* bits: states */
    guint64 hash;    /* of all events, and of the state at the end */
};

gboolean sim_is_full(const SimHost *host);
SimHost *sim_source(Sim *sim);
SimHost *sim_dest(Sim *sim);
SimHost *sim_here(Sim *sim);
SimHost *sim_peer(Sim *sim);
/* sim-journal.c */
VmigJournal *sim_journal_new(const char *name);
void sim_journal_free(VmigJournal *journal);
/* As from a backup: saves a host's journal, and restores it. */
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
/* The methods of a host's node, one for each method of port/methods.def. */
#define VMIG_METHOD(symbol, function, name, args_, reply_, peer, time)                                                 \
    gboolean sim_do_##function(SimHost *host, const struct vmig_##args_ *args, struct vmig_##reply_ *reply,            \
                               GError **error);
#include "port/methods.def"
#undef VMIG_METHOD
/* sim-peer.c: may the tool on the other host send this request? */
gboolean sim_peer_may(SimHost *host, VmigMethod method, gconstpointer args, GError **error);
VmigCopier *sim_copier_new(Sim *sim);
void sim_guard_kill(SimHost *host);
/* The process that asked the guard is gone, and so are its locks. */
void sim_guard_asker_ends(SimHost *host);
/* NULL with the error set if there is no such file. */
SimFile *sim_node_file(SimHost *host, const char *path, GError **error);
/* sim-block.c: the long operations of the table; first those that an operator uses, too */
gboolean sim_block_overlays(SimHost *host, const char *xml, GError **error);
gboolean sim_block_commit(SimHost *host, const char *target, const char *base, GError **error);
gboolean sim_hv_overlay(VmigHypervisor *self, const char *uuid, const char *xml, GError **error);
gboolean sim_hv_hold(VmigHypervisor *self, const char *uuid, const char *target, const char *xml, GError **error);
gboolean sim_hv_block_job(VmigHypervisor *self, const char *uuid, const char *target, const VmigDomainDisk *seen,
                          VmigBlockJob *ret, GError **error);
gboolean sim_hv_block_commit(VmigHypervisor *self, const char *uuid, const char *target, const char *base,
                             guint64 bandwidth, GError **error);
gboolean sim_hv_block_cancel(VmigHypervisor *self, const char *uuid, const char *target, GError **error);
/* libvirt's part of a pivot: both definitions. */
void sim_block_follow(SimHost *host, const char *target);
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
/* sim-gate.c: the host whose files the gate sees */
void sim_gate_set_host(SimHost *host);

/* The host of a libvirt call. */
SimHost *sim_host_of(VmigHypervisor *self);
/* sim-rehearsal.c */
gboolean sim_twin_start(SimHost *host, const char *xml, GError **error);
gboolean sim_twin_is(const SimHost *host, const char *uuid);
gboolean sim_twin_xml(SimHost *host, char **ret, GError **error);
gboolean sim_twin_find(SimHost *host, const char *uuid, VmigDomainInfo **ret);
gboolean sim_twin_end(SimHost *host, GError **error);
gboolean sim_twin_define(SimHost *host, const char *uuid, const char *xml, GError **error);

gboolean sim_hv_refuse(GError **error, const char *format, ...) G_GNUC_PRINTF(2, 3);
/* The domain with a QEMU and without a job that blocks others; NULL with the error set. */
SimDomain *sim_hv_active(SimHost *host, GError **error);
SimDomain *sim_hv_modify(SimHost *host, GError **error);

/* sim-meddle.c, sim-stranger.c */
void sim_meddle_plan(Sim *sim);
void sim_meddle_copied(Sim *sim, const char *path);
void sim_meddle_defined(SimHost *host); /* the tool defined a snapshot there */
void sim_meddle_entered(Sim *sim, const VmigJob *job);
void sim_meddle_save(Sim *sim); /* a user makes a snapshot in the overlays now */
void sim_meddle_heal(Sim *sim);
void sim_meddle_check(Sim *sim, VmigState end);

void sim_stranger_come(Sim *sim);
void sim_stranger_leave(Sim *sim);
void sim_stranger_check(SimHost *host, const char *method); /* what the tool does to it */
/* sim-check.c */
void sim_violate(Sim *sim, const char *format, ...) G_GNUC_PRINTF(2, 3);
/* The guest's owner, according to what is durable. */
SimHost *sim_owner(Sim *sim);
void sim_check_now(Sim *sim);
void sim_check_resume(SimHost *host);     /* the tool resumes the guest there */
void sim_check_fence_drop(SimHost *host); /* its QEMU may have its disks again */
void sim_check_receive(Sim *sim);         /* the destination's journal receives the token */
void sim_check_give(SimHost *source);     /* its journal records that the destination owns the guest */
void sim_check_copies(Sim *sim);          /* a migration writes to them */
void sim_check_unlink(SimHost *host, const char *path, SimFile *file);
void sim_check_offline_commit(SimHost *host, const SimFile *overlay, const SimFile *base);
void sim_check_end(Sim *sim, const VmigJob *job);
/* sim-expect.c */
void sim_check_expected(Sim *sim, const VmigJob *job); /* when a state is entered, and after every event */
/* sim-operator.c: manually ends and undefines the guest on that host. */
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

/* The results of some runs. */
typedef struct {
    guint64 seed; /* currently running */
    guint64 passed, failed;
    guint64 seen; /* with a bug injected on purpose: runs in which the invariant for it noticed */
    guint64 outcomes[SIM_OUTCOMES];
    guint64 states[VMIG_MIGRATE_STATES];
    guint64 fired[SIM_FAULT_KINDS];
    guint64 processes, calls;
    guint64 kept; /* runs that began with an image that an earlier job kept */
} SimCount;

/* Runs n seeds, one after the other, and adds to count. */
typedef void (*SimPoolWork)(gpointer data, SimCount *count, guint64 first, guint64 n);
void sim_pool_run(guint jobs, guint64 first, guint64 seeds, SimPoolWork work, gpointer data, SimCount *sum);
