/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One guest's disks below libvirt: a real QEMU block layer (qemu-storage-daemon), a writer over NBD, and the machine.
 *
 * A trial is several processes, each of which can be killed: the storage daemon, the writer, the tool. What outlives
 * them (libvirt's memory, what the writer was promised) is in memory that they share. */
#pragma once

#include <glib.h>
#include <sys/types.h>

#include "port/env.h"

#define BLOCK_DISKS 2
#define BLOCK_SECTOR 512
#define BLOCK_SECTORS 16384 /* of each disk */
#define BLOCK_SIZE ((guint64)BLOCK_SECTORS * BLOCK_SECTOR)

/* How far a run came: the last of these that began. */
typedef enum {
    BLOCK_BEGIN,
    BLOCK_COMMIT,     /* the commit job was asked for */
    BLOCK_READY,      /* it was seen to be ready */
    BLOCK_SUSPENDED,  /* the writer is held */
    BLOCK_PIVOT,      /* about to complete the job */
    BLOCK_COMPLETING, /* asked for */
    BLOCK_CONCLUDED,  /* QEMU is on the base */
    BLOCK_DEFINED,    /* so is the definition */
    BLOCK_RESUMED,
    BLOCK_RESTORE, /* the machine has nothing more to do with the disks */
    BLOCK_PHASES,
} BlockPhase;

typedef struct {
    gint phase;
    gint may_run; /* what libvirt wants of the writer */
    gint held;    /* it does nothing */
    gint filled;  /* the overlays have something in them */
    gint dead;    /* the storage daemon was killed */
    gint on_base[BLOCK_DISKS];
    gint completing[BLOCK_DISKS];
    guint64 next; /* number of the next write */
    guint64 writes, flushes;
    guint64 flushed[BLOCK_DISKS][BLOCK_SECTORS]; /* no older write may be there */
} BlockShared;

typedef struct {
    char *folder;
    char *template;
    guint64 seed;
    guint n_disks;
    gboolean no_suspend;       /* planted: the writer goes on over the pivot */
    gboolean lying_disk;       /* planted: flushes do nothing */
    gboolean flush_on_suspend; /* as QEMU does when it stops the CPUs */
    guint64 speed;             /* of the commit, or 0 */
    guint pause_us;            /* between two writes, at most */
    char *log_folder;          /* record with blklogwrites there, or NULL */
    BlockShared *shared;
    pid_t daemon;
} Block;

/* block-guest.c: sectors that say what they are */
void block_fill(guint8 *sector, guint disk, guint lba, guint64 number);
/* 0 for a sector of zeros; FALSE for one that no write of ours can have left there. */
gboolean block_read(const guint8 *sector, guint disk, guint lba, guint64 *number);
/* The writer, until the daemon is gone. Returns without one. */
void block_guest(Block *block);
/* Does that raw image hold every flushed write? */
gboolean block_judge(const Block *block, guint disk, const char *raw, GError **error);

/* block-daemon.c: QEMU */
char *block_path(const Block *block, const char *kind, guint disk); /* "base", "overlay" */
pid_t block_daemon(const Block *block, gboolean overlays);
/* A call of QMP: what it returns, or NULL. */
JsonNode *block_qmp(int *fd, const Block *block, const char *command, GError **error);

/* block-tool.c */
char *block_job_id(const Block *block);
/* As a migration leaves the destination: overlays by the gate, the token, a guest that is paused. */
gboolean block_prepare(const Block *block, GError **error);
pid_t block_start_tool(Block *block);

/* block-judge.c */
gboolean block_run_tool(GError **error, const char *format, ...) G_GNUC_PRINTF(2, 3);
/* The job as its journal has it. */
VmigJob *block_record(const Block *block, GError **error);
/* What whoever comes now has: before the journal says that a disk is on its base, the overlay and what is below it. */
gboolean block_judge_by_rule(const Block *block, GError **error);
/* The bases alone, their snapshots and their metadata. */
gboolean block_judge_end(const Block *block, GError **error);

/* trial.c */
extern const char *const block_phases[BLOCK_PHASES];
gboolean block_make_folders(const Block *block, GError **error);
gboolean block_take_template(Block *block, GError **error);
gboolean block_wait_filled(const Block *block, pid_t guest, GError **error);
pid_t block_start_guest(Block *block);
void block_kill_daemon(Block *block);
int block_end_tool(pid_t pid, gboolean by_force);
gboolean block_carry_on(Block *block, GRand *random, guint *tools, GError **error);

/* block-power.c: one run is recorded, then the power is lost n times in it. */
gboolean block_power(Block *block, GRand *random, guint n, GError **error);

/* block-libvirt.c: what the machine takes for a libvirt */
VmigHypervisor *block_libvirt(Block *block);
gboolean block_define_first(Block *block, GError **error);
char *block_target(guint disk);
