# SPDX-License-Identifier: LGPL-2.1-or-later
"""One trial: a migration is broken off by SIGKILL, what a boot would run is run, and the end is judged."""
import dataclasses
import os
import random
import re
import shutil
import signal
import subprocess
import threading
import time
import traceback

import golden
import oracle
import verdict
from command import Call, Failure
from hostns import HOSTS
from lab import LabError, wait_until
from points import Point

NAME = golden.NAME
# How a boot comes to the job: one host first, both at once, the destination first.
MODES = ('source', 'both', 'dest')
# systemd and the hook would come back every few seconds to a minute; here nothing is waited for longer.
ROUNDS = 12
END_LIMIT = 90
CALL_LIMIT = 75
RANDOM_VICTIMS = ['tool', 'tool', 'tool', 'agent', 'source-libvirtd', 'dest-libvirtd', 'source-qemu', 'dest-qemu',
                  'guard']

# The end of the guest's own kernel.
DEAD_GUEST = re.compile(rb'BUG: |Oops: |Kernel panic')

# What _sabotage() does, in the words in which the judge must complain of it.
SABOTAGE = [f'left on b: file {golden.IMAGES}/left.qcow2', f'{golden.OTHERS[0]} of a, which nobody may touch',
            'the persistent definition', "snapshot 'one'", f'snapshots in {golden.DISK}',
            'left on a: /run/vmig-snap/forgotten']


@dataclasses.dataclass
class Trial:
    """What to do. point: a Point, or None for a moment; moments: [(seconds after the start, or after the
    recovery began, victim)]."""
    number: int
    victim: str
    point: Point = None
    mode: str = 'source'
    late: bool = False
    moments: tuple = ()
    sabotage: bool = False
    seed: str = ''
    merge: str = 'commit'

    @property
    def key(self):
        """What tells it from all others, in a file of results."""
        return (self.point.key, self.victim) if self.point and not self.sabotage else (self.seed, self.number)

    @property
    def name(self):
        """How it is called in the output, and by --only."""
        if self.sabotage:
            return 'the judge sees what is wrong'
        if self.point:
            return f'{self.point.key},{self.victim}'
        kills = ', then '.join(f'{victim} at {when:.2f} s' for when, victim in self.moments)
        return f'random {self.seed}/{self.number} ({self.merge}){": " if kills else ""}{kills}'


@dataclasses.dataclass
class Result:
    """How it went. outcome: see verdict.Judge.outcome(), or 'none' where the victim does not live there.
    first: seconds from the start of the recovery to the guest's next write; silence: the longest time
    without one from then to the end; ended: to the end of the job."""
    name: str
    point: str = ''
    victim: str = ''
    seed: str = ''
    number: int = -1
    outcome: str = ''
    wrong: list = dataclasses.field(default_factory=list)
    mode: str = ''
    rounds: int = 0
    retries: list = dataclasses.field(default_factory=list)
    first: float = None
    silence: float = None
    ended: float = None
    seconds: float = 0
    guest_died: bool = False
    evidence: list = dataclasses.field(default_factory=list)


class Beat(threading.Thread):
    """When the guest's writes came out, by the console files: [(seconds on the machine's clock, host)].
    It needs no libvirt, which may be dead."""

    def __init__(self, lab, interval=0.01):
        super().__init__(daemon=True)
        self.files = {host: lab.path(host, lab.console_path(NAME)) for host in HOSTS}
        self.interval, self.beats = interval, []
        self._over = threading.Event()

    def run(self):
        sizes = {}
        while not self._over.wait(self.interval):
            for host, file in self.files.items():
                try:
                    size = file.stat().st_size
                except OSError:
                    continue
                if size > sizes.get(host, size if host == 'a' else 0):
                    self.beats.append((time.monotonic(), host))
                sizes[host] = size

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self.join()

    def first_after(self, when):
        """Seconds from `when` to the next write, None if none came."""
        return next((beat - when for beat, _ in list(self.beats) if beat >= when), None)

    def silence(self, since, until):
        """The longest time without a write between two moments."""
        times = [since, *[beat for beat, _ in list(self.beats) if since < beat < until], until]
        return max(b - a for a, b in zip(times, times[1:]))


class Runner:
    """Does trials in one lab."""

    def __init__(self, world, keep_in=None):
        self.world, self.lab = world, world.lab
        self.keep_in = keep_in
        self.calls = []

    # -- victims

    def _agents(self, guard):
        found = []
        for host in HOSTS:
            for pid, argv in self.lab.processes(host, 'vmig-snap').items():
                if 'agent' in argv[1:2] and ('--guard' in argv) == guard:
                    found.append(pid)
        return found

    def victims(self, victim):
        """The PIDs of a victim, [] if it does not live now."""
        if victim == 'tool':
            return [call.process.pid for call in self.calls if call.process.poll() is None]
        if victim in ('agent', 'guard'):
            return self._agents(victim == 'guard')
        side, _, what = victim.partition('-')
        host = 'a' if side == 'source' else 'b'
        if what == 'libvirtd':
            return list(self.lab.processes(host, 'libvirtd'))  # also its child that is about to become a QEMU
        pid = self.lab.qemu_pid(host, NAME)
        return [pid] if pid else []

    def kill(self, victim):
        """SIGKILL; returns whether there was one to kill."""
        pids = self.victims(victim)
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        return bool(pids)

    def revive(self, victim, late=False):
        """What systemd does for libvirtd."""
        if not victim.endswith('-libvirtd'):
            return
        host = 'a' if victim.startswith('source') else 'b'
        if late:
            time.sleep(2)
        wait_until(lambda: not self.lab.processes(host, 'libvirtd'), 10, 'the end of libvirtd')
        self.lab.start_libvirtd(host)

    # -- the job

    def start(self, host, argv, fault=None):
        """Start a vmig-snap."""
        call = Call(self.lab, host, argv, {'VMIG_SNAP_FAULT': fault} if fault else None)
        self.calls.append(call)
        return call

    def migrate(self, fault=None, merge='commit'):
        """Start the migration."""
        return self.start('a', ['migrate', NAME, self.lab.uri('b'), '--json', '--policy', 'crash', '--merge', merge], fault)

    @staticmethod
    def _stopped(call):
        try:
            with open(f'/proc/{call.process.pid}/stat', encoding='ascii', errors='replace') as file:
                return file.read().rpartition(')')[2].split()[0] == 'T'
        except (OSError, IndexError):
            return False

    def come_to(self, point):
        """Run the job until it stands at a point; returns the Call that stands there."""
        faults = point.faults()
        call = self.migrate(faults[0], 'mirror' if point.way == 'mirror' else 'commit')
        for fault in faults[1:]:
            call.wait(60)
            if call.code != -signal.SIGKILL:
                raise Failure(f'it did not come to {point.killed}: {call.code} {call.tail()}')
            call = self._resume_until(fault)
        wait_until(lambda: self._stopped(call) or call.process.poll() is not None, 60, f'the point {point.name}')
        if call.process.poll() is not None:
            raise Failure(f'it ended before it came to {point.name}: {call.wait().code} {call.tail()}')
        return call

    def _resume_until(self, fault):
        """A resume; the dead process's agent may hold the job for a moment."""
        for _ in range(20):
            call = self.start('a', ['resume', '--all', '--json', ], fault)
            wait_until(lambda: self._stopped(call) or call.process.poll() is not None, 60, 'a resume')
            if call.process.poll() is None or call.wait().code != 6:
                break
            time.sleep(0.2)
        return call

    def open_hosts(self):
        """The hosts whose journal has a job that did not end."""
        return [host for host in HOSTS
                if Call(self.lab, host, ['status', '--json']).wait(20).document['jobs']]

    def recover(self, mode, result, on_round=lambda: None):
        """What boot and systemd run, until the job has ended on both hosts; the last Call."""
        begin, last = time.monotonic(), None
        wanted = {'source': ['a'], 'dest': ['b'], 'both': ['a', 'b']}[mode]
        while result.rounds < ROUNDS and time.monotonic() - begin < END_LIMIT:
            calls = [self.start(host, ['resume', '--all', '--json']) for host in wanted]
            result.rounds += 1
            on_round()
            for call in calls:
                call.wait(CALL_LIMIT)
                last = call
            there = self.open_hosts()
            if not there:
                return last
            wanted = [host for host in wanted if host in there] or there
            if any(call.code in (5, 6) for call in calls):
                time.sleep(0.3)
            # A job that only the other host can carry on.
            if result.rounds >= 3:
                wanted = there
        raise Failure(f'the job did not end in {result.rounds} rounds, {time.monotonic() - begin:.0f} s: '
                      f'open on {there}: {last.code} {last.tail()}')

    # -- trials

    def run(self, trial):
        """One trial; the Result."""
        result = Result(trial.name, trial.point.key if trial.point and not trial.sabotage else '', trial.victim,
                        trial.seed, trial.number, mode=trial.mode)
        begin = time.monotonic()
        self.calls = []
        try:
            before = self.world.fresh()
            files = self.world.files_before()
            with oracle.RunnerWatch(self.lab, NAME, 0.02) as watch, Beat(self.lab) as beat:
                judge = verdict.Judge(self.world, before, files, watch)
                if trial.point:
                    self._at_point(trial, result, beat)
                else:
                    self._at_moments(trial, result, beat)
                if trial.sabotage:
                    self._sabotage()
                if result.outcome != 'none':
                    judge.call = self.calls[0]
                    result.outcome, result.wrong = judge.outcome()
            if result.outcome != 'none':
                self._judge(trial, result, judge)
        except (Failure, LabError, TimeoutError, subprocess.TimeoutExpired, OSError) as why:
            result.wrong.append(str(why))
        except Exception:
            result.wrong.append(f'the test itself broke: {traceback.format_exc()}')
        result.retries = [f'{event["state"]}: {event["error"]["code"]}: {event["error"]["message"]}'
                          for call in self.calls for _, event in self._events(call) if event.get('event') == 'retry']
        if trial.sabotage:
            result.wrong = [f'the judge did not see: {text}' for text in SABOTAGE
                            if not any(text in str(wrong) for wrong in result.wrong)]
        if result.wrong:
            result.guest_died = any(DEAD_GUEST.search(self.lab.console(host, NAME)) for host in HOSTS)
            result.evidence = self._evidence()
        result.seconds = time.monotonic() - begin
        return result

    @staticmethod
    def _events(call):
        try:
            return call.events
        except ValueError:
            return []  # a line that a kill cut off

    def _judge(self, trial, result, judge):
        allowed = trial.point.may_end(trial.victim) if trial.point else self._may_end(trial)
        if result.outcome not in allowed:
            result.wrong.append(f'it ended as {result.outcome!r}; allowed: {sorted(allowed)}')
        if result.outcome.split()[0] in ('done', 'back', 'no'):
            result.wrong += judge.judge(result.outcome)
        result.wrong += self._truthful(result.outcome)

    @staticmethod
    def _may_end(trial):
        ends = {'done', 'back', 'no job'}
        killed = {victim for _, victim in trial.moments}
        if 'source-qemu' in killed:
            ends |= {'back down', 'no job down'}
        if 'dest-qemu' in killed:
            ends.add('done down')
        return ends

    def _truthful(self, outcome):
        """What the commands said about the end is what happened."""
        wrong = []
        for call in self.calls:
            if call.code not in (0, 4) or '"result"' not in call.stdout:
                continue
            said = {0: 'done', 4: 'back'}[call.code]
            ends = [event['outcome'] for _, event in call.events if event.get('event') == 'result']
            if said != outcome.split()[0] or not ends or ends[-1] != {'done': 'done', 'back': 'rolled-back'}[said]:
                wrong.append(f'{call.argv[0]} said {call.code} {ends}, it was {outcome}')
        return wrong

    def _at_point(self, trial, result, beat):
        call = self.come_to(trial.point)
        if not self.kill(trial.victim):
            result.outcome = 'none'
            return
        since = time.monotonic()
        if trial.victim == 'tool':
            call.wait(10)
            since = time.monotonic()
        else:
            os.kill(call.process.pid, signal.SIGCONT)
            self.revive(trial.victim, trial.late)
            call.wait(CALL_LIMIT)
        if trial.victim == 'tool' or self.open_hosts():
            self.recover(trial.mode, result)
        self._times(result, beat, since)

    def _at_moments(self, trial, result, beat):
        (first, victim), *more = trial.moments
        call = self.migrate(merge=trial.merge)
        time.sleep(first)
        self.kill(victim)
        since = time.monotonic()
        self.revive(victim, trial.late)
        if more and victim != 'tool':
            self._second(more[0])
        call.wait(CALL_LIMIT)
        if victim == 'tool':
            since = time.monotonic()
        if self.open_hosts():
            again = more if victim == 'tool' else []
            self.recover(trial.mode, result, lambda: self._second(again.pop()) if again else None)
        self._times(result, beat, since)

    def _second(self, moment):
        when, victim = moment
        time.sleep(when)
        self.kill(victim)
        self.revive(victim)

    @staticmethod
    def _times(result, beat, since):
        now = time.monotonic()
        result.ended = now - since
        result.first = beat.first_after(since)
        result.silence = beat.silence(since, now)

    def _sabotage(self):
        """What the judge must see, or its word is worth nothing: see SABOTAGE."""
        lab = self.lab
        lab.path('b', f'{golden.IMAGES}/left.qcow2').write_bytes(b'left')
        lab.path('a', golden.OTHERS[0]).write_bytes(b'changed')
        lab.virsh('b', 'desc', NAME, '--config', 'another')
        lab.virsh('b', 'snapshot-delete', NAME, 'one')
        lab.path('a', '/run/vmig-snap/forgotten').write_bytes(b'')

    def _keep_consoles(self):
        """What the guest said outlives the lab: without it nobody can tell a lost write from a lost line."""
        if not self.keep_in:
            return []
        folder = self.keep_in / f'{time.strftime("%H%M%S")}-{os.getpid()}'
        folder.mkdir(parents=True)
        for host in HOSTS:
            path = self.lab.path(host, self.lab.console_path(NAME))
            if path.exists():
                shutil.copy(path, folder / f'console-{host}')
            for path in self.lab.path(host, golden.DISK).parent.glob('*.qcow2'):
                if path.is_file():
                    shutil.copy(path, folder / f'{path.name}-{host}')
        return [f'consoles and images: {folder}']

    def _evidence(self):
        """What is needed to understand a failure."""
        lines = self._keep_consoles()
        for call in self.calls:
            code = call.process.poll()
            lines.append(f'vmig-snap {" ".join(call.argv)}: {code}')
            lines += [f'  {line.strip()[:600]}' for line in (call.stdout + call.stderr).split('\n')
                      if line.strip() and '"progress"' not in line][-25:]
        for host in HOSTS:
            lines += verdict.history(self.lab, host)
            try:
                lines.append(f'{host}: {self.lab.state(host, NAME)}, QEMU {self.lab.qemu_pid(host, NAME)}')
                lines += verdict.qemu_facts(self.lab, host)
            except (subprocess.TimeoutExpired, OSError) as why:
                lines.append(f'{host}: {why}')
            log = self.lab.path(host, '/var/log/libvirt/libvirtd.log')
            if log.exists():
                lines += [f'{host} libvirtd: {line[:300]}' for line in log.read_text(errors='replace').split('\n')[-8:]]
        return lines


def random_trial(number, seed, duration):
    """A trial at random: one kill at any moment of the job, and often one more while it recovers."""
    chance = random.Random(f'{seed}/{number}')
    moments = [(chance.uniform(0, duration), chance.choice(RANDOM_VICTIMS))]
    if chance.random() < 0.5:
        moments.append((chance.uniform(0, 2.5), chance.choice(RANDOM_VICTIMS)))
    return Trial(number, moments[0][1], None, chance.choice(MODES), chance.random() < 0.5, tuple(moments),
                 seed=seed, merge=chance.choice(['commit', 'mirror']))
