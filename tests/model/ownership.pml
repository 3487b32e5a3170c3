/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Who runs the guest: a model of the token, the fence, the two journals and the decision table.
 *
 * The model has two hosts, one guest, libvirt's migration, at most one vmig-snap process on each host, and an operator
 * who starts these processes again and again. The network is cut at any moment, also between a request and its reply
 * (CUTS). A host loses its power and a process is killed at any step (CRASHES). libvirt breaks its migration although
 * both hosts are well, as it does when a reply is lost (LOSSES). tables.pml comes from print-tables.c, which makes it
 * from states.def and uncertain.c.
 *
 * ownership.py checks:
 *   safety     There are never two runners. The guest never resumes from an older copy. The destination never runs
 *              without its token. Every transition is one of states.def.
 *   liveness   Once both hosts answer for good, the guest runs again, unless a power failure ended it.
 *
 * Not in the model: a journal that was replaced by an older one, the death of the guard, an operator who says that a
 * host is fenced, a guest that its user suspends, and states in which nothing can change the owner. The simulation and
 * the lab have these.
 *
 * A step of a process is one atomic block. Anything can happen between two of them. */

#include "tables.pml"

#ifndef DEATHS
#define DEATHS 3 /* of a vmig-snap process */
#endif
#ifndef POWER
#define POWER 3 /* failures, of either host */
#endif
#ifndef CRASHES
#define CRASHES 3 /* of both kinds together */
#endif
#ifndef CUTS
#define CUTS 1
#endif
#ifndef LOSSES
#define LOSSES 1
#endif
#ifndef TRIES
#define TRIES 2 /* of MIGRATE, before it goes back */
#endif

#define SRC 0
#define DST 1

/* The guest on the source. LEAVING and HELD have libvirt's migration job; the CPUs of HELD stand still. */
#define G_RUN 0
#define G_LEAVING 1
#define G_HELD 2
#define G_PAUSED 3
#define G_OFF 4
/* And on the destination. COMPLETE is paused, and has all its memory and disks. */
#define A_ABSENT 0
#define A_ARRIVING 1
#define A_COMPLETE 2
#define A_RUN 3

byte source = G_RUN;
byte dest = A_ABSENT;
bool left;            /* off on the source because it was migrated away, by libvirt's word */
bool disks = true;    /* the source's QEMU has its overlays open for writing (lock byte 101) */
bool parked = true;   /* the holds: libvirt refuses to migrate */
bool asked;           /* libvirt was asked to migrate, and has not begun */
bool abort_asked;
bool stale;           /* the source ran since what is on the destination was complete */
bool lost_power;      /* the guest went off with its host: it may be off */

bool watching;        /* the guard watches the overlays */
bool retaken;         /* and saw QEMU take them again */
bool fence;           /* and holds them */

bool up[2] = true;
bool link = true;
bool token[2];        /* what the two journals say: the destination owns the guest */
byte record[2];       /* the state in them; 255: the journal does not know the job */
bool revoked[2];
bool alive[2];        /* the process of that host: it ends with its host */
byte lock[2] = 2;     /* the host whose process has the operation lock; 2: none */
bool session[2];      /* the process of that host has its connection to the other one */

byte crashes = CRASHES;
byte deaths = DEATHS;
byte power = POWER;
byte cuts = CUTS;
byte losses = LOSSES;

#define SOURCE_RUNS (source == G_RUN || source == G_LEAVING)
#define DEST_RUNS (dest == A_RUN)
#define HAS_JOB (source == G_LEAVING || source == G_HELD)
#define ONE_RUNNER assert(!(SOURCE_RUNS && DEST_RUNS))

/* QEMU on the source gets its disks back, if the guard lets it, and runs. */
inline source_goes_on()
{
    if
    :: fence -> source = G_PAUSED
    :: else ->
        source = G_RUN;
        disks = true;
        retaken = watching;
        stale = (dest == A_COMPLETE);
        ONE_RUNNER
    fi
}

/* libvirt on both hosts. The guest arrives paused, always: nothing here lets it run on the destination. */
active proctype Libvirt()
{
    do
    :: atomic { asked && up[SRC] ->
        asked = false;
        if
        :: source == G_RUN && !parked && link && up[DST] && dest == A_ABSENT ->
            source = G_LEAVING; dest = A_ARRIVING; abort_asked = false
        :: else -> skip
        fi }
    :: atomic { source == G_LEAVING && dest == A_ARRIVING && link && up[DST] -> source = G_HELD }
    /* QEMU gives its images away before it sends the last bytes. */
    :: atomic { source == G_HELD && dest == A_ARRIVING && disks -> disks = false }
    :: atomic { source == G_HELD && dest == A_ARRIVING && !disks && link && up[DST] ->
        dest = A_COMPLETE; stale = false }
    :: atomic { source == G_HELD && dest == A_COMPLETE && link && up[DST] -> source = G_OFF; left = true }
    /* It breaks: the other side is gone, or it was asked to abort, or a reply was lost with both sides well. */
    :: atomic { HAS_JOB && (abort_asked || !link || !up[DST] || losses > 0) ->
        if
        :: !abort_asked && link && up[DST] -> losses--
        :: else -> skip
        fi;
        abort_asked = false;
        /* The destination's libvirt ends what still arrives, if it hears of it. Once the guest is complete there, its
         * part of the migration is over (qemuMigrationDstFinishActive() of libvirt 9.0). */
        if
        :: link && up[DST] && dest == A_ARRIVING -> dest = A_ABSENT
        :: true -> skip
        fi;
        source_goes_on() }
    /* A libvirtd that is started again leaves what it finds paused. */
    :: atomic { source == G_HELD && losses > 0 -> losses--; source = G_PAUSED }
    :: atomic { dest == A_ARRIVING && up[DST] && !HAS_JOB -> dest = A_ABSENT }
    :: atomic { abort_asked && !HAS_JOB -> abort_asked = false }
    od
}

/* Faults and repairs are processes of their own, so that weak fairness applies to each repair. */
active proctype Cut()
{
    do
    :: atomic { cuts > 0 && link -> cuts--; link = false; session[SRC] = false; session[DST] = false }
    od
}

active proctype Mend()
{
    do
    :: atomic { !link -> link = true }
    od
}

/* The lock on the other host ends with the agent, which ends when its connection does. */
active proctype Agents()
{
    do
    :: atomic { lock[DST] == SRC && !session[SRC] -> lock[DST] = 2 }
    :: atomic { lock[SRC] == DST && !session[DST] -> lock[SRC] = 2 }
    od
}

active proctype Power()
{
    do
    :: atomic { crashes > 0 && power > 0 && up[SRC] ->
        crashes--; power--;
        up[SRC] = false; alive[SRC] = false; session[SRC] = false; session[DST] = false;
        if
        :: source != G_OFF -> source = G_OFF; lost_power = true
        /* What proves that the source stood still is gone: the guest is off, complete on the source's disks. */
        :: source == G_OFF && dest == A_COMPLETE && !token[SRC] -> lost_power = true
        :: else -> skip
        fi;
        left = false;
        disks = false; watching = false; retaken = false; fence = false; parked = true; asked = false;
        abort_asked = false;
        lock[SRC] = 2 }
    :: atomic { crashes > 0 && power > 0 && up[DST] ->
        crashes--; power--;
        up[DST] = false; alive[DST] = false; session[SRC] = false; session[DST] = false;
        if
        /* A guest that was complete here may be about to get the token: then it is off, complete on these disks. */
        :: dest != A_ABSENT ->
            lost_power = lost_power || token[DST] || token[SRC] || dest == A_COMPLETE;
            dest = A_ABSENT;
            stale = false
        :: else -> skip
        fi;
        lock[DST] = 2 }
    od
}

/* Time goes on when nothing else does: a guest that stands still for good is a run without an end. */
active proctype Clock() { do :: true -> skip od }

active proctype BootSource() { do :: atomic { !up[SRC] -> up[SRC] = true } od }
active proctype BootDestination() { do :: atomic { !up[DST] -> up[DST] = true } od }

/* A step of a process: it ends with its host, and may be killed before it. */
#define STEP \
    if \
    :: !alive[h] -> goto died \
    :: atomic { alive[h] && crashes > 0 && deaths > 0 -> crashes--; deaths-- }; goto died \
    :: alive[h] -> skip \
    fi

/* A step that only looks. To be killed before it is the same as to be killed after what was last done. */
#define LOOK \
    if \
    :: !alive[h] -> goto died \
    :: alive[h] -> skip \
    fi

#define REACHES(host) ((host) == h || session[h])

/* The journal of this host, then the other one's, which may lag behind. */
inline enter(to)
{
    atomic {
        STEP;
        assert(to == state || MAY_FOLLOW(state, to));
        assert(!IS_AFTER(to) || mine);
        state = to;
        record[h] = state;
        if
        :: session[h] -> record[1 - h] = state; revoked[1 - h] = revoked[h]
        :: else -> skip
        fi
    }
}

/* The source's journal first, then the destination's: and it may be there although the reply was lost. */
inline give_token(given)
{
    given = false;
    tried = true;
    STEP;
#ifdef PLANT_ORDER
    atomic {
        if
        :: REACHES(DST) -> token[DST] = true
        :: else -> skip
        fi
    };
    STEP;
#endif
    atomic {
        if
        :: REACHES(SRC) && up[SRC] -> token[SRC] = true; mine = true
        :: else -> mine = mine || h == DST
        fi
    };
    atomic {
        STEP;
        if
        :: mine && REACHES(DST) && up[DST] ->
            token[DST] = true;
            if
            :: given = true
            :: h == SRC && cuts > 0 -> cuts--; link = false; session[SRC] = false; session[DST] = false
            fi
        :: else -> skip
        fi
    }
}

/* What token_seen() and source_seen(), then dest_seen() and fence_stands() of flows/migrate/resolve.c see. */
inline look()
{
    atomic {
        LOOK;
        if
        :: REACHES(DST) && token[DST] -> seen_token = TOKEN_DEST
        :: else ->
            if
            :: REACHES(SRC) && token[SRC] -> seen_token = TOKEN_SOURCE_ONLY
            :: REACHES(SRC) && !token[SRC] -> seen_token = TOKEN_NONE
            :: !REACHES(SRC) && (mine || tried) -> seen_token = TOKEN_SOURCE_ONLY
            :: !REACHES(SRC) && !mine && !tried -> seen_token = TOKEN_NONE
            fi
        fi;
        proven = false;
        if
        :: !REACHES(SRC) -> seen_source = SEEN_UNREACHABLE
        :: REACHES(SRC) && source == G_OFF -> seen_source = SEEN_ABSENT; proven = left
        :: REACHES(SRC) && HAS_JOB -> seen_source = SEEN_MIGRATING
        :: REACHES(SRC) && source == G_PAUSED -> seen_source = SEEN_STOPPED
        :: REACHES(SRC) && source == G_RUN -> seen_source = SEEN_RUNNING
        fi
    };
    atomic {
        LOOK;
        if
        :: !REACHES(DST) -> seen_dest = SEEN_UNREACHABLE
        :: REACHES(DST) && dest == A_ABSENT -> seen_dest = SEEN_ABSENT
        :: REACHES(DST) && dest == A_ARRIVING -> seen_dest = SEEN_MIGRATING
        :: REACHES(DST) && dest == A_COMPLETE -> seen_dest = SEEN_STOPPED
        :: REACHES(DST) && dest == A_RUN -> seen_dest = SEEN_RUNNING
        fi;
        if
        :: seen_source == SEEN_ABSENT && seen_dest == SEEN_STOPPED && seen_token == TOKEN_NONE && REACHES(SRC) &&
           watching && !disks && !retaken -> fence = true; proven = true
        :: else -> skip
        fi;
#ifdef PLANT_PROOF
        proven = true;
#endif
        facts = FACTS(seen_source, seen_dest, seen_token, proven, revoked[h])
    }
}

/* vmig_resolve(): looks until the table says something that is not a way to the next look. */
inline settle()
{
    barred = false;
    looks = 0;
    do
    :: looks++;
        look();
        decide(facts, decision);
        if
        :: decision == DECIDE_ADOPT && looks < 4 ->
            atomic {
                STEP;
                if
                :: REACHES(SRC) -> fence = false; retaken = retaken || watching; abort_asked = HAS_JOB
                :: else -> skip
                fi
            };
            STEP;
            if
            :: !HAS_JOB || !REACHES(SRC) -> skip
            :: !alive[h] -> goto died
            fi
        :: decision == DECIDE_BACK && !barred && looks < 4 ->
            atomic {
                STEP;
                barred = true;
                if
                :: REACHES(SRC) && seen_source == SEEN_RUNNING && source == G_RUN -> parked = true; asked = false
                :: REACHES(SRC) && seen_source == SEEN_RUNNING && source != G_RUN -> barred = false
                :: else -> skip
                fi
            }
        :: decision == DECIDE_BACK && (barred || looks >= 4) ->
            atomic {
                STEP;
               tried = false; revoked[h] = true;
                if
                :: session[h] -> revoked[1 - h] = true
                :: else -> skip
                fi };
            atomic {
                STEP;
                if
                :: REACHES(DST) && dest != A_RUN -> dest = A_ABSENT; stale = false
                :: else -> skip
                fi
            };
            atomic {
                STEP;
                if
                :: !REACHES(SRC) -> decision = DECIDE_WAIT
                :: else ->
                    fence = false;
                    if
#ifndef PLANT_STAY
                    :: seen_source == SEEN_STOPPED && source == G_PAUSED -> source_goes_on()
#endif
                    :: else -> skip
                    fi
                fi
            };
            break
        :: decision == DECIDE_FORWARD && seen_token != TOKEN_DEST ->
            give_token(ok);
            if
            :: ok -> skip
            :: else -> decision = DECIDE_WAIT
            fi;
            break
        :: decision == DECIDE_ALARM && looks < 4 && !(seen_source == SEEN_RUNNING && seen_dest == SEEN_RUNNING) -> skip
        :: else ->
            if
            :: decision == DECIDE_FORWARD || decision == DECIDE_DOWN -> mine = mine || seen_token == TOKEN_DEST
            :: else -> skip
            fi;
            break
        fi
    od
}

/* engine/records.c: whose record counts. */
#define RANK(host) ((!token[host] || record[host] == 255) -> 0 : (IS_AFTER(record[host]) -> record[host] : 1))

inline agree()
{
    atomic {
        STEP;
        if
        :: session[h] && record[1 - h] != 255 ->
            if
            :: (RANK(h) == 0 && RANK(1 - h) <= 1 && (RANK(1 - h) == 1 || h == DST)) ||
               (RANK(1 - h) > 1 && (RANK(1 - h) > RANK(h) || (RANK(1 - h) == RANK(h) && h == SRC))) ->
                /* What the source alone has may not have been given: the decision table looks at it. */
                token[h] = token[h] || (token[1 - h] && !(h == DST && RANK(1 - h) == 1));
                record[h] = record[1 - h];
                revoked[h] = revoked[1 - h]
            :: else -> skip
            fi
        :: session[h] && record[1 - h] == 255 -> skip
        :: !session[h] && ((h == SRC && RANK(SRC) > 0) || (h == DST && RANK(DST) == 0)) -> goto done
        :: else -> skip
        fi;
        mine = token[h];
        state = record[h]
    }
}

inline connect()
{
    atomic {
        LOOK;
        session[h] = link && up[1 - h];
        if
        :: session[h] && lock[1 - h] != 2 && lock[1 - h] != h -> session[h] = false; goto done /* it is at work */
        :: session[h] && (lock[1 - h] == 2 || lock[1 - h] == h) -> lock[1 - h] = h
        :: else -> skip
        fi
    }
}

/* One vmig-snap process after the other on that host, as a user, a unit or a hook starts them. */
proctype Tool(byte h)
{
    byte state, seen_source, seen_dest, seen_token, decision, looks, tries;
    bool mine, tried, proven, barred, ok;
    short facts;

idle:
    /* One that finds another at work ends at once and changes nothing: it is not begun here. */
    atomic {
        up[h] && !alive[h] && lock[h] == 2 && record[h] != ST_DONE && record[h] != ST_ROLLED_BACK &&
        (!link || !up[1 - h] || lock[1 - h] == 2) ->
        lock[h] = h;
        alive[h] = true;
        connect();
        agree()
    };
    if
    :: state == ST_DONE || state == ST_ROLLED_BACK -> goto done
    :: else -> skip
    fi;
    /* The first one comes from DROP_METADATA; nobody watched a migration that is found begun. */
    if
    :: state == ST_DROP_METADATA && h == SRC -> enter(ST_MIGRATE)
    :: state == ST_DROP_METADATA && h == DST -> enter(ST_ROLLBACK)
    :: state == ST_MIGRATE -> enter(ST_UNCERTAIN)
    :: state == ST_PARKED -> goto done
    :: else -> skip
    fi;
next:
    /* What was seen does not outlive the step. */
    atomic { looks = 0; seen_source = 0; seen_dest = 0; seen_token = 0; decision = 0; facts = 0; proven = false;
             barred = false; ok = false };
    if
    :: state == ST_MIGRATE -> goto migrate
    :: state == ST_UNCERTAIN -> goto uncertain
    :: state == ST_ROLLBACK -> goto rollback
    :: state == ST_ACTIVATE -> goto switched
    :: state == ST_CLEANUP -> goto clean
    :: state == ST_BACK_REDEFINE -> goto back_restore
    fi;

migrate:
    if
    :: !session[h] -> goto undo
    :: else -> skip
    fi;
    assert(!tried && !mine);
    /* Nothing of an earlier try is there. */
    atomic {
        if
        :: session[h] -> assert(dest != A_RUN); dest = A_ABSENT; stale = false
        :: else -> goto undo
        fi
    };
    atomic {
        STEP;
        revoked[h] = false;
        if
        :: session[h] -> revoked[1 - h] = false
        :: else -> skip
        fi };
    atomic {
        STEP;
        fence = false; watching = true; retaken = !disks };
    atomic {
        STEP;
        parked = false };
    atomic {
        STEP;
        if
        :: source == G_RUN && session[h] -> asked = true
        :: else -> goto undo
        fi
    };
    do
    :: atomic {
            LOOK;
            if
            :: session[h] && dest == A_COMPLETE -> ok = true
            :: session[h] && dest != A_COMPLETE && (asked || HAS_JOB) -> ok = false
            :: else -> goto undo /* the connection is gone, or libvirt's call returned */
            fi
        };
        if
        :: atomic { !ok && losses > 0 -> losses-- }; goto undo /* cancelled, timed out, stalled */
        :: !ok -> skip
        :: ok ->
            atomic {
                STEP;
                if
                :: watching && !disks && !retaken -> fence = true; ok = true
                :: else -> ok = (source == G_OFF && left)
                fi;
#ifdef PLANT_FENCE
                ok = true;
#endif
            };
            if
            :: ok -> break
            :: !ok && (HAS_JOB || asked) -> skip
            :: else -> goto undo
            fi
        fi
    od;
    give_token(ok);
    if
    :: ok -> enter(ST_ACTIVATE); goto next
    :: else -> skip
    fi;

undo:
    atomic {
        STEP;
        if
        :: !tried -> fence = false; retaken = retaken || watching; abort_asked = HAS_JOB; asked = false
        :: else -> skip
        fi
    };
    /* The call of libvirt's migration is joined. */
    if
    :: !HAS_JOB -> skip
    :: !alive[h] -> goto died
    :: tried || !up[DST] || !link -> skip
    fi;
    STEP;
    if
    :: !session[h] -> connect(); agree()
    :: else -> skip
    fi;
    if
    :: IS_AFTER(state) || state == ST_ROLLED_BACK -> goto next_or_done
    :: else -> skip
    fi;
    settle();
    if
    :: decision == DECIDE_FORWARD -> enter(ST_ACTIVATE)
    :: decision == DECIDE_BACK && tries < TRIES -> atomic { tries++; parked = true }
    :: decision == DECIDE_BACK && tries >= TRIES -> enter(ST_ROLLBACK)
    :: else -> enter(ST_UNCERTAIN)
    fi;
    goto next;

uncertain:
    settle();
    if
    :: decision == DECIDE_FORWARD -> enter(ST_ACTIVATE)
    :: decision == DECIDE_BACK -> enter(ST_ROLLBACK)
    :: decision == DECIDE_DOWN && mine -> enter(ST_ACTIVATE)
    :: decision == DECIDE_DOWN && !mine -> enter(ST_ROLLBACK)
    :: else -> goto done /* it parks; the operator asks again */
    fi;
    goto next;

rollback:
    settle();
    if
    :: decision == DECIDE_BACK || decision == DECIDE_DOWN ->
        if
        :: mine -> enter(ST_UNCERTAIN)
        :: else -> atomic { enter(ST_BACK_COMMIT); enter(ST_BACK_PIVOT); enter(ST_BACK_REDEFINE) }
        fi
    :: else -> enter(ST_UNCERTAIN)
    fi;
    goto next;

back_restore:
    atomic {
        if
        :: REACHES(SRC) && REACHES(DST) && up[1 - h] && dest != A_RUN -> dest = A_ABSENT; stale = false; fence = false; ok = true
        :: else -> ok = false
        fi
    };
    if
    :: ok -> enter(ST_ROLLED_BACK)
    :: else -> skip
    fi;
    goto done;

switched:
    if
    :: !REACHES(DST) -> goto done
    :: else -> skip
    fi;
    /* Before the guest runs there, the source's QEMU is ended: a source that does not answer is fenced. */
    atomic {
        if
        :: REACHES(SRC) && token[SRC] && source != G_OFF -> source = G_OFF; left = false; disks = false
        :: else -> skip
        fi
    };
    atomic {
        STEP;
        if
        :: !REACHES(DST) -> goto done
        :: REACHES(DST) && dest == A_COMPLETE ->
            assert(token[DST]);
            assert(!stale);
            dest = A_RUN;
            ONE_RUNNER
        :: else -> skip
        fi
    };
    atomic { enter(ST_COMMIT); enter(ST_PIVOT); enter(ST_REDEFINE); enter(ST_CLEANUP) };
    goto next;

clean:
    atomic {
        if
        :: REACHES(SRC) && REACHES(DST) -> source = G_OFF; fence = false; watching = false; ok = true
        :: else -> ok = false
        fi
    };
    if
    :: ok -> enter(ST_DONE)
    :: else -> skip
    fi;
    goto done;

next_or_done:
    if
    :: state == ST_DONE || state == ST_ROLLED_BACK -> goto done
    :: else -> goto next
    fi;

done:
died:
    atomic {
        session[h] = false;
        alive[h] = false;
        if
        :: lock[h] == h -> lock[h] = 2
        :: else -> skip
        fi;
        tries = 0; looks = 0; seen_source = 0; seen_dest = 0; seen_token = 0; decision = 0; state = 0; facts = 0;
        mine = false; tried = false; proven = false; barred = false; ok = false
    };
    goto idle
}

init
{
    atomic {
        record[SRC] = ST_DROP_METADATA;
        record[DST] = ST_DROP_METADATA;
        run Tool(SRC);
        run Tool(DST)
    }
}

#define RUNS (SOURCE_RUNS || DEST_RUNS)
ltl live { <>[] (RUNS || lost_power) }
