# SPDX-License-Identifier: LGPL-2.1-or-later
"""One migration on booted hosts that is broken off in a state, ends without a hand, and is judged.

kinds: 'kill' (SIGKILL of the tool), 'reboot' (systemctl reboot), 'power' (a power cut; the host boots again at once),
'both' (a power cut of both hosts). victim: the host of a reboot or a power cut, 'a' (the source) or 'b'.
"""
import dataclasses
import json
import os
import re
import signal
import time
from collections import Counter

from command import Failure, need
from facts import persistent_xml
from hostns import HOSTS
from lab import LabError, wait_until

KINDS = ('kill', 'reboot', 'power', 'both')
STATES = ('COPY', 'DROP_METADATA', 'MIGRATE', 'COMMIT', 'PIVOT', 'CLEANUP')
# The emulated CPU can lose a page of a guest that is migrated, above all while it boots, and the guest's kernel dies of it
# (docs/reliability.md). With KVM that is not so. Such a trial says nothing and is made again.
DEAD_GUEST = re.compile(rb'BUG: |Oops: |Kernel panic|invalid opcode')
# Slow enough that a host which boots during the copy is back before its end, and that a guest has booted.
SLOW_COPY = ['--bandwidth', '24M']
LONGEST = 240.0  # a job must have ended by itself, boots included
# The same line from a unit so many times is spam.
REPEATED = 3


class Missed(Failure):
    """The migration had ended before it could be broken off."""


class GuestDied(Failure):
    """The guest's kernel died by itself."""


@dataclasses.dataclass
class Trial:
    """What is done, and what was seen: hit (the state when it happened), ended (on which host the guest is), recovery and
    end (seconds, see Watch), shutdown (seconds of a reboot's shutdown)."""
    kind: str
    state: str
    victim: str = 'a'
    delay: float = 0.0
    hit: str = ''
    ended: str = ''
    recovery: float = None
    end: float = None
    shutdown: float = None
    wrong: list = dataclasses.field(default_factory=list)

    @property
    def name(self):
        """For reports."""
        where = {'a': 'source', 'b': 'destination'}[self.victim]
        what = {'kill': 'kill -9 of the tool', 'reboot': f'reboot of the {where}', 'power': f'power cut of the {where}',
                'both': 'power cut of both hosts'}[self.kind]
        return f'{what} in {self.state}'

    def line(self):
        """What was seen, for people."""
        times = ', '.join(f'{name} {value:.1f} s' for name, value in
                          (('going on after', self.recovery), ('ended after', self.end), ('shutdown', self.shutdown))
                          if value is not None)
        return f'{self.name} (hit {self.hit}): the guest is on {self.ended or "?"}; {times}'


# --- what the units say --------------------------------------------------------------------------

class UnitLog:
    """What systemd's journal gets from the units of vmig-snap on both hosts, from now on."""

    def __init__(self, lab):
        self.lab = lab
        for host in HOSTS:
            lab.run(host, ['journalctl', '--sync'])
        self.cursors = {host: self._cursor(host) for host in HOSTS}

    def _cursor(self, host):
        shown = self.lab.run(host, ['journalctl', '--quiet', '-n', '1', '--show-cursor', '--output=cat']).stdout
        return re.search(r'-- cursor: (\S+)', shown)[1]

    def lines(self, host):
        """The lines so far."""
        # It fails if no such unit has said anything.
        shown = self.lab.run(host, ['journalctl', '--quiet', '--no-pager', '--output=short-iso-precise', '-u', 'vmig-snap*',
                                    f'--after-cursor={self.cursors[host]}'], check=False)
        need(shown.returncode == 0 or 'No data available' in shown.stderr, shown.stderr)
        return shown.stdout.splitlines()

    def wrong(self):
        """[] or what is wrong with them: a failed unit, or the same line again and again."""
        wrong = []
        for host in HOSTS:
            wrong += [f'{unit} has failed on {host}' for unit in self.lab.failed_units(host) if 'vmig' in unit]
            said = Counter(re.sub(r'^\S+ \S+ |\d+', '', line) for line in self.lines(host)
                           if re.search(r' vmig-snap\S*\[\d+\]: ', line))
            wrong += [f'{count} times on {host}: {line}' for line, count in said.items() if count > REPEATED]
        return wrong

    def __str__(self):
        lines = []
        for host in HOSTS:
            try:
                lines += [f'{host}: {line}' for line in self.lines(host)]
            except LabError as why:
                lines.append(f'{host}: {why}; {self.lab.boot_log(host)[-1000:]}')
        return '\n'.join(lines)


# --- breaking it off -----------------------------------------------------------------------------

def tools(lab, host, *words):
    """PIDs of vmig-snap on a host with one of these commands ('migrate', 'resume')."""
    return [pid for pid, argv in lab.processes(host, 'vmig-snap').items() if len(argv) > 1 and argv[1] in words]


def kill_tool(lab, host='a'):
    """SIGKILL the process of the job that works on the source."""
    pids = tools(lab, host, 'migrate')
    if not pids:
        raise Missed('the migration was over')
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


def break_off(trial, lab):
    """Do it. Returns the time of the event."""
    begin = time.monotonic()
    if trial.kind == 'kill':
        kill_tool(lab)
    elif trial.kind == 'reboot':
        trial.shutdown = lab.reboot(trial.victim)
    else:
        hosts = HOSTS if trial.kind == 'both' else trial.victim
        lab.power_cut(*hosts)
        lab.power_on(*hosts)
    return begin


# --- until it has ended --------------------------------------------------------------------------

def open_jobs(lab):
    """{host: unfinished jobs in its journal}; a host that is off or still boots: ['?']."""
    found = {}
    for host in HOSTS:
        try:
            # Not by ssh: this is asked often, and each session leaves lines in the journal.
            done = lab.run(host, ['/usr/bin/vmig-snap', 'status', '--json'], check=False)
            found[host] = [f'{job["job"]} {job["state"]}' for job in json.loads(done.stdout)['jobs']]
        except (LabError, OSError, ValueError) as why:
            found[host] = [f'? {why}']
    return found


def wait_for_end(trial, move, begin, timeout=LONGEST):
    """Wait, without a hand, until no journal has an unfinished job. Notes when something went on by itself."""
    lab = move.lab

    def ended():
        if trial.kind == 'kill' and trial.recovery is None and any(tools(lab, host, 'resume') for host in HOSTS):
            trial.recovery = time.monotonic() - begin
        return not any(open_jobs(lab).values())
    try:
        wait_until(ended, timeout, 'the end of the job', interval=0.1)
    except TimeoutError:
        raise Failure(f'open after {timeout:g} s: {open_jobs(lab)}, processes '
                      f'{[argv[:4] for host in HOSTS for argv in lab.processes(host, "vmig-snap", "vmig-snap-hook").values()]}'
                      ) from None
    trial.end = time.monotonic() - begin
    if trial.kind == 'kill' and trial.recovery is None:
        trial.recovery = trial.end


def until_it_runs(watch, begin, hosts):
    """Seconds from the first answer of the last of these hosts' libvirt after the event until the guest ran on exactly one
    host; None if it never did."""
    since = begin - watch.began
    changes = [(at, states) for at, states in watch.changes if at >= since]
    up = 0.0
    for host in hosts:
        down = next((at for at, states in changes if states[host] == 'unknown'), since)
        up = max(up, next((at for at, states in changes if at > down and states[host] != 'unknown'), since))
    runs = [(at, list(states.values()).count('running')) for at, states in watch.changes]
    at_up = [count for at, count in runs if at <= up]
    if at_up and at_up[-1] == 1:
        return 0.0
    return next((at - up for at, count in runs if at > up and count == 1), None)


# --- the verdict ---------------------------------------------------------------------------------

def judge(trial, move, booted):
    """[] or what is wrong now that the job has ended. booted: the hosts that were off meanwhile."""
    lab, guest = move.lab, move.guest
    wrong = move._never_two()
    wait_until(lambda: any(lab.state(host, guest.name) == 'running' for host in HOSTS), 60, 'a running guest')
    running = [host for host in HOSTS if lab.state(host, guest.name) == 'running']
    need(len(running) == 1 and not wrong, 'running on', running, *wrong, move.watch.changes[-6:])
    here = trial.ended = running[0]
    lab.wait_writes(here, guest.name, 5)
    wrong += move._content(here) + move._who_runs(here, [host for host in HOSTS if host != here])
    if here == move.dest:
        wrong += move._definitions_there() + move._left_after_arrival(True)
    else:
        wrong += move._left_over(move.files_before, {move.source: [guest.name]})
        now = lab.virsh(here, 'dumpxml', guest.name, '--inactive', '--security-info')
        if persistent_xml(now) != persistent_xml(move.before.persistent):
            wrong.append(f'the persistent definition became {now}')
        if move.source not in booted and lab.qemu_pid(here, guest.name) != move.before.pid:
            wrong.append('the guest runs in another QEMU than before')
    if move.call.code == 0 and here != move.dest or move.call.code == 4 and here != move.source:
        wrong.append(f'it ended with {move.call.code}, and the guest is on {here}')
    if not wrong:
        move.leaks = trial.kind in ('power', 'both')
        move._go_on(here, 'first')
    return wrong


def _until_over(trial, move, timeout):
    """Break it off and wait until everything is over, without a hand. Returns the hosts that were off."""
    lab, call = move.lab, move.call
    call.wait_state(trial.state)
    time.sleep(trial.delay)
    trial.hit = call.states()[-1][1]
    begin = break_off(trial, lab)
    booted = {'kill': (), 'both': HOSTS}.get(trial.kind, (trial.victim,))
    for host in booted:
        lab.wait_booted(host)
    wait_for_end(trial, move, begin, timeout)
    call.wait(30)
    if booted:
        wait_until(lambda: until_it_runs(move.watch, begin, booted) is not None, 60, 'a running guest')
        trial.recovery = until_it_runs(move.watch, begin, booted)
    return booted


def conclude(trial, move, log, booted=(), begin=None):
    """Wait until the job has ended by itself, and judge; for a test that has broken it off in a way of its own."""
    try:
        wait_for_end(trial, move, begin or time.monotonic())
        move.call.wait(30)
        wrong = judge(trial, move, booted) + log.wrong()
    finally:
        move.stop_watching()
    need(not wrong, '; '.join(wrong), '| said:', move.call.tail(), f'\n{log}')


def run(case, trial, guest, args=(), timeout=LONGEST):
    """Migrate the guest, break it off, wait, judge. The Trial has what was seen; raises Failure if anything is wrong."""
    lab = case.lab
    log = UnitLog(lab)
    lab.virsh('a', 'autostart', guest.name)
    move = case.migration(guest, *(SLOW_COPY if trial.state == 'COPY' else ()), *args)
    call = move.start()
    try:
        booted = _until_over(trial, move, timeout)
        trial.wrong = judge(trial, move, booted) + log.wrong()
    except Missed:
        raise
    except (Failure, LabError, TimeoutError) as why:
        trial.wrong = [str(why)]
    finally:
        move.stop_watching()
    print('#', trial.line(), flush=True)
    if not trial.wrong:
        return trial
    text = f'{trial.name} (hit {trial.hit}): {"; ".join(trial.wrong)} | {move.watch.changes[-8:]} | said: {call.tail()}\n{log}'
    dead = any(DEAD_GUEST.search(lab.console(host, guest.name)) for host in HOSTS)
    raise (GuestDied if dead else Failure)(text)


def run_again(case, trial, seen=None, **options):
    """run() with a new guest; made again if its kernel died or the state was over too soon. seen: a list that gets each Trial that was made."""
    for tries in (3, 2, 1):
        made = dataclasses.replace(trial)
        if seen is not None:
            seen.append(made)
        try:
            return run(case, made, case.guest(), **options)
        except (GuestDied, Missed) as why:
            if tries == 1:
                raise
            print(f'# {trial.name}: {type(why).__doc__} Made again.\n#   {str(why)[:300]!r}', flush=True)
            case.clean()
