# SPDX-License-Identifier: LGPL-2.1-or-later
"""Whether everything is right once a job has ended, wherever it ended.

The guest is on exactly one host, complete, with every acknowledged write and every snapshot, and can be
reverted; or it is off there, because its QEMU was killed, and can be started; nothing is left over
anywhere; both journals and what the last command said tell the truth.
"""
import pathlib
import shutil
import sqlite3
import tempfile

import facts
import golden
import oracle
import qcow2
from command import Call
from hostns import HOSTS
from lab import wait_until
from migration import Migration

NAME = golden.NAME
# Of qemu-img check. 3 is leaked clusters and nothing else: QEMU was killed, space is lost, no content.
SOUND = (0, 3)


def journal(lab, host):
    """[(state, owner) of the host's jobs], newest first, as `vmig-snap list` tells them."""
    listed = Call(lab, host, ['list', '--all', '--json']).wait(20)
    return listed.document['jobs']


def history(lab, host):
    """The transitions that a host's journal has, for a failure's message."""
    path = lab.path(host, '/var/lib/vmig-snap/journal.db')
    if not path.exists():
        return [f'{host}: no journal']
    with tempfile.TemporaryDirectory() as folder:
        # A copy: SQLite resolves /proc/PID/root to / and would read this machine's own journal.
        for name in (path.name, f'{path.name}-journal'):
            if path.with_name(name).exists():
                shutil.copy(path.with_name(name), folder)
        try:
            base = sqlite3.connect(f'file:{folder}/{path.name}?mode=ro', uri=True, timeout=5)
            rows = base.execute('SELECT * FROM transition').fetchall()
            base.close()
        except sqlite3.Error as error:
            return [f'{host}: {error}']
    return [f'{host}: {" | ".join(str(field)[:300] for field in row)}' for row in rows]


def qemu_facts(lab, host):
    """What the guest's QEMU says of itself, and how much its threads work: a guest that libvirt says runs may not."""
    pid = lab.qemu_pid(host, NAME)
    if not pid:
        return []
    lines = []
    for command in ('info status', 'info block-jobs', 'info block', 'info migrate', 'info registers', 'info lapic'):
        done = lab.run(host, ['virsh', '-q', 'qemu-monitor-command', NAME, '--hmp', command], check=False, timeout=10)
        lines += [f'{host} {command}: {line[:200]}' for line in (done.stdout + done.stderr).split('\n')[:12] if line.strip()]
    for task in sorted(pathlib.Path(f'/proc/{pid}/task').iterdir()):
        fields = (task / 'stat').read_text().rpartition(')')[2].split()
        wait = (task / 'wchan').read_text()
        lines.append(f'{host} thread {(task / "comm").read_text().strip()}: {fields[0]} {wait}, CPU {fields[11]}+{fields[12]}')
    return lines


class Judge(Migration):
    """Looks at both hosts after a job. A Migration that has its facts from the golden guest and whose
    watching is the trial's."""

    def __init__(self, world, before, files_before, watch):
        # Not Migration's own: it would gather what is known already.
        self.case, self.lab, self.guest = world.case, world.lab, world.guest
        self.args, self.paths, self.moved = [], {}, list(world.guest.files)
        self.source, self.dest = 'a', 'b'
        self.hosts = (self.source, self.dest)
        self.before, self.files_before, self.watch = before, files_before, watch
        self.world = world
        self.call = None

    def outcome(self):
        """('done'|'back'|'no job', if it came to none; with ' down' if the guest is off; or 'open STATE'), and what is
        contradictory."""
        jobs = {host: journal(self.lab, host) for host in HOSTS}
        states = {host: listed[0]['state'] for host, listed in jobs.items() if listed}
        wrong = [f'{len(listed)} jobs in the journal of {host}' for host, listed in jobs.items() if len(listed) > 1]
        if not states and not wrong and self.call.code != 0:
            if self.call.code < 0:  # its folder of sockets is doctor's to clear, when it is old enough
                for path in self.lab.path(self.source, '/run/vmig-snap').iterdir():
                    shutil.rmtree(path)
            return 'no job' + self._down(self.source), []
        ended = {{'DONE': 'done', 'ROLLED_BACK': 'back'}.get(state, f'open {state}') for state in states.values()}
        if len(ended) != 1 or 'a' not in states:
            return 'unclear', [*wrong, f'the journals say {states}']
        outcome = ended.pop()
        host = self.dest if outcome == 'done' else self.source
        return outcome + (self._down(host) if outcome in ('done', 'back') else ''), wrong

    def _down(self, host):
        return ' down' if self.lab.state(host, NAME) == 'shut off' else ''

    def judge(self, outcome):
        """[] or everything that is wrong."""
        host = self.dest if outcome.startswith('done') else self.source
        other = self.source if host == self.dest else self.dest
        wrong = self._never_two()
        if outcome.endswith('down'):
            wrong += self._is_down(host, other)
        else:
            self.lab.wait_writes(host, NAME, 3, timeout=20)
            wrong += self._who_runs(host, [other])
            wrong += self._content(host)
            wrong += self._definitions(host)
        wrong += self._left_after_arrival(True) if host == self.dest else \
            self._left_over(self.files_before, {self.source: [NAME]})
        wrong += self.world.others_changed()
        wrong += self._again()
        return wrong or self._use(host, outcome.endswith('down'))

    def _definitions(self, host):
        if host == self.dest:
            return self._definitions_there()
        wrong = facts.same_definitions(self.before, facts.gather(self.lab, host, self.guest, files=[]))
        if b'\nW ' in self.lab.console(self.dest, NAME):
            wrong.append('the guest has run on the destination')
        if self.lab.qemu_pid(host, NAME) != self.before.pid:
            wrong.append('the guest runs in another QEMU than before')
        return wrong

    def _is_down(self, host, other):
        """The guest is off on its owner, whole, and nobody started it anywhere."""
        lab = self.lab
        wrong = [f'the guest is known on {other}: {lab.state(other, NAME)}'] if lab.state(other, NAME) else []
        wrong += [f'a QEMU of the guest lives on {h}' for h in HOSTS if lab.qemu_pid(h, NAME)]
        persistent = lab.virsh(host, 'dumpxml', NAME, '--inactive', '--security-info')
        left, right = (facts.sorted_controllers(facts.persistent_xml(text))
                       for text in (self.before.persistent, persistent))
        if left != right:
            wrong.append(f'the persistent definition: {facts.difference(left, right)}')
        return wrong + self._content(host)

    def _writes(self, host):
        """Also of a guest that is off, or that came here and has not said a word."""
        log = oracle.read_log(self.lab, NAME)
        if self.lab.state(host, NAME) == 'running':
            return oracle.check_writes(self.lab, host, NAME)
        spoke = self.dest if log.leaf('a', self.dest) else self.source
        total = oracle.Verdict(errors=[f'guest on {h}: {text}' for h, text in log.errors])
        for target, path in self.lab.disks(host, NAME).items():
            image = qcow2.open_image(str(self.lab.path(host, path)), lambda p: str(self.lab.path(host, p)))
            one = oracle.check_image(image, log, target[-1], spoke)
            image.close()
            total.checked += one.checked
            total.errors += one.errors
        return total

    def _again(self):
        """A resume after the end finds nothing to do."""
        wrong = []
        for host in HOSTS:
            call = Call(self.lab, host, ['resume', '--all', '--json']).wait(30)
            if call.code != 0 or call.stdout.strip():
                wrong.append(f'a resume on {host} after the end: {call.code} {call.tail()}')
        return wrong

    def _use(self, host, down):
        """The images are sound, the guest starts where it is off, and goes back to a snapshot."""
        lab = self.lab
        if not down:
            lab.virsh(host, 'suspend', NAME)
        for path in self.files_moved():
            done = lab.run(host, ['qemu-img', 'check', '-U', path], check=False)
            if done.returncode not in SOUND:
                return [f'qemu-img check {path}: {done.returncode}: {(done.stdout + done.stderr)[-400:]}']
        if down:
            lab.virsh(host, 'start', NAME)
            lab.wait_writes(host, NAME, 5)
            verdict = oracle.check_writes(lab, host, NAME)
            if not verdict.ok:
                return [f'after the start on {host}: {verdict}']
        else:
            lab.virsh(host, 'resume', NAME)
        # Off first: libvirt takes two seconds to end a guest that runs, and asks it again at a revert.
        lab.kill_qemu(host, NAME)
        wait_until(lambda: lab.state(host, NAME) == 'shut off', 10, 'the end of the guest')
        lab.revert(host, NAME, 'two')
        lab.wait_writes(host, NAME, 3)
        verdict = oracle.check_writes(lab, host, NAME)
        return [] if verdict.ok else [f'after the revert on {host}: {verdict}']
