# SPDX-License-Identifier: LGPL-2.1-or-later
"""One migration under permanent observation, and the two proofs of its outcome: arrived, or rolled back."""
import contextlib
import os
import re

import oracle
import qcow2
from command import (DONE, ROLLED_BACK, Call, check_events, need)
from facts import (backing_names, difference, file_mode, files_there, gather, image_checks, normal_xml,
                   persistent_xml, run_folder_left, same_definitions, sorted_controllers)
from hostns import HOSTS
from lab import wait_until

SILENT = 'vmig.rate=0'


class Migration:
    """One `vmig-snap migrate` under permanent observation, with the facts from before it.

    args    additional command line options
    paths   {path here: path there} for files that the options move
    moved   targets that are moved (default: all)
    uri     of the destination (default: as root, by ssh)
    """

    def __init__(self, case, guest, args=(), paths=None, moved=None, source='a', dest='b', uri=None):
        self.case, self.lab, self.guest = case, case.lab, guest
        self.args, self.paths = list(args), dict(paths or {})
        self.moved = moved or list(guest.files)
        self.source, self.dest = source, dest
        self.uri = uri or self.lab.uri(dest)
        self.hosts = sorted(HOSTS, key=lambda host: host != guest.born)
        self.before = gather(self.lab, source, guest)
        self.files_before = {host: files_there(self.lab, host) for host in HOSTS}
        self.call = self.watch = self.stall = None
        self.start_call = Call  # another program than the command
        self.leaks = False  # see image_checks()
        self._stack = None

    def start(self, fault=None, env=None, args=(), json_lines=True):
        """Start it under observation; returns the Call. finish() waits for its end."""
        self._stack = contextlib.ExitStack()
        self.watch = self._stack.enter_context(oracle.RunnerWatch(self.lab, self.guest.name))
        self.stall = self._stack.enter_context(
            oracle.StallWatch(self.lab, self.guest.name, interval=0.01))
        env = {**({'VMIG_SNAP_FAULT': fault} if fault else {}), **(env or {})}
        if fault:
            self.case.need_faults()
        argv = ['migrate', self.guest.name, self.uri,
                *(['--json'] if json_lines else []), *self.args, *args]
        self.call = self.start_call(self.lab, self.source, argv, env)
        return self.call

    def finish(self, timeout=120):
        """Wait for its exit and stop observing; returns the Call."""
        try:
            self.call.wait(timeout)
        finally:
            self.stop_watching()
        return self.call

    def stop_watching(self):
        """For callers that wait themselves."""
        self._stack.close()

    def run(self, timeout=120, **options):
        """start() and finish()."""
        self.start(**options)
        return self.finish(timeout)

    def run_slowly(self, fault=None, mbit=60, through_retries=False):
        """run() of a migration that fails while libvirt migrates. Until it rolls back or retries, the link is so slow
        that libvirt does not finish before it is told to stop."""
        call = self.start(fault=fault)
        call.wait_state('DROP_METADATA')
        self.lab.rate(mbit)
        try:
            wait_until(lambda: call.process.poll() is not None or (call.retries() and not through_retries) or
                       any(name == 'ROLLBACK' for _, name in call.states()), 90, 'the way back, or another try')
        finally:
            self.lab.rate(None)
        return self.finish()

    def there(self, path):
        """The path of a file on the destination."""
        return self.paths.get(path, path)

    def files_moved(self):
        """The files of the moved disks, by their names on the source."""
        return [path for target in self.moved for path in self.guest.files[target]]

    def _raise(self, wrong):
        need(not wrong, '; '.join(str(w) for w in wrong), '| said:', self.call.tail())

    # -- arrived

    def prove_arrived(self, revert='first', keep=True, json_lines=True, events=None):
        """Prove that the guest and every snapshot are on the destination, and that nothing is left over.

        revert: a snapshot to revert to on the destination at the end, 'first' for the first one with memory, None for
        none. keep: whether the source's images should still exist.
        """
        self._raise([*self._not_there(json_lines), *self._left_after_arrival(keep)])
        self._go_on(self.dest, revert)

    def prove_guest(self):
        """Prove that the guest and every snapshot are on the destination. For one of several jobs that run at the same
        time: the caller checks for leftovers."""
        self._raise(self._not_there())
        self._go_on(self.dest, 'first')

    def _not_there(self, json_lines=True):
        if self.call.code != DONE:
            self._raise([f'exit code {self.call.code}, not 0'])
        wrong = check_events(self.call, 'done') if json_lines else []
        wrong += self._never_two()
        if self.before.state != 'paused':
            self.lab.wait_writes(self.dest, self.guest.name, 5)
        wrong += self._who_runs(self.dest, [self.source])
        wrong += self._content(self.dest)
        wrong += self._definitions_there()
        return wrong

    def _never_two(self):
        wrong = []
        if self.watch.both:
            wrong.append(f'TWO COPIES RAN: {self.watch.both[:3]}')
        if self.watch.samples < 10:
            wrong.append(f'only {self.watch.samples} looks for two copies')
        log = oracle.read_log(self.lab, self.guest.name, self.hosts)
        if log.forks():
            wrong.append(f'TWO COPIES WROTE: {log.forks()[:3]}')
        return wrong

    def _who_runs(self, here, elsewhere):
        lab, name = self.lab, self.guest.name
        wrong = []
        if lab.state(here, name) != self.before.state:
            wrong.append(f'on {here} the guest is {lab.state(here, name)}, was {self.before.state}')
        for host in elsewhere:
            if lab.state(host, name) is not None or lab.qemu_pid(host, name):
                wrong.append(f'the guest is still known on {host}: {lab.state(host, name)}')
        return wrong

    def _content(self, host):
        """Checks the writes, the snapshots in every file, and libvirt's tree."""
        lab, name = self.lab, self.guest.name
        there = self.there if host == self.dest else lambda path: path
        wrong = []
        if SILENT not in self.before.persistent:
            verdict = self._writes(host)
            if not verdict.ok:
                wrong.append(f'writes on {host}: {verdict}')
        for path, facts in self.before.images.items():
            if path not in self.files_moved():
                continue
            now = oracle.image_facts(lab, host, there(path))
            if now != facts:
                wrong.append(f'snapshots in {there(path)} on {host}: {facts} became {now}')
            if file_mode(lab, host, there(path)) != self.before.modes[path]:
                wrong.append(f'the mode of {there(path)} on {host} became {file_mode(lab, host, there(path)):o}')
        back = {self.there(path): path for path in self.files_moved()} if host == self.dest else {}
        tree = oracle.snapshot_tree(lab, host, name, back)
        wrong += [f'snapshot {key!r}: {self.before.tree.get(key)} became {tree.get(key)}'
                  for key in sorted({*tree, *self.before.tree})
                  if tree.get(key) != self.before.tree.get(key)]
        return wrong

    def _writes(self, host):
        """Whether the disks on a host hold every acknowledged write, even if the guest arrived paused and has not
        printed anything there yet."""
        lab, name = self.lab, self.guest.name
        if self.before.state == 'running':
            return oracle.check_writes(lab, host, name, self.hosts)
        log = oracle.read_log(lab, name, [self.source])
        total = oracle.Verdict()
        for target, path in lab.disks(host, name).items():
            image = qcow2.open_image(str(lab.path(host, path)), lambda p: str(lab.path(host, p)))
            one = oracle.check_image(image, log, target[-1], self.source)
            image.close()
            total.checked += one.checked
            total.errors += one.errors
        return total

    def _definitions_there(self):
        back = {self.there(path): path for path in self.files_moved()}
        lab, name = self.lab, self.guest.name
        persistent = lab.virsh(self.dest, 'dumpxml', name, '--inactive', '--security-info')
        live = lab.virsh(self.dest, 'dumpxml', name, '--security-info')
        wrong = []
        left, right = (sorted_controllers(text) for text in (
            persistent_xml(self.before.persistent), persistent_xml(persistent, back)))
        if left != right:
            wrong.append(f'the persistent definition: {difference(left, right)}')
        left, right = (sorted_controllers(text) for text in (
            normal_xml(self.before.live), normal_xml(live, back)))
        if left != right:
            wrong.append(f'the live definition: {difference(left, right)}')
        for path in self.files_moved():
            name_here, format_here = backing_names(lab, self.source, path) \
                if lab.path(self.source, path).exists() else (None, None)
            name_there, format_there = backing_names(lab, self.dest, self.there(path))
            same = name_here == name_there or self.paths
            if lab.path(self.source, path).exists() and (not same or format_here != format_there):
                wrong.append(f'backing name of {path}: {name_here} became {name_there}')
        enabled = re.search(r'Autostart:\s+enable', lab.virsh(self.dest, 'dominfo', name))
        if bool(enabled) != self.before.autostart:
            wrong.append(f'autostart was {self.before.autostart}, is {bool(enabled)}')
        return wrong

    def _left_after_arrival(self, keep):
        lab, name = self.lab, self.guest.name
        gone = set() if keep else set(self.files_moved())
        made = {self.there(path) for path in self.files_moved()}
        expected = {self.source: self.files_before[self.source] - gone,
                    self.dest: self.files_before[self.dest] | made}
        wrong = self._left_over(expected, {self.dest: [name]})
        for path in expected[self.source] & set(self.files_moved()):
            if oracle.image_facts(lab, self.source, path) != self.before.images[path]:
                wrong.append(f'the kept image {path} changed')
        return wrong

    def _left_over(self, expected, domains):
        lab, wrong = self.lab, []
        for host in HOSTS:
            wrong += [f'left on {host}: {thing}' for thing in
                      oracle.leftovers(lab, host, expected[host], domains.get(host, []))]
            wrong += [f'missing on {host}: {path}'
                      for path in sorted(expected[host] - files_there(lab, host))]
            wrong += [f'left on {host}: {thing}' for thing in run_folder_left(lab, host)]
            folder = lab.path(host, f'/var/lib/libvirt/qemu/snapshot/{self.guest.name}')
            if self.guest.name not in domains.get(host, []) and folder.exists() and \
                    any(folder.iterdir()):
                wrong.append(f'left on {host}: snapshot metadata {os.listdir(folder)}')
            for domain in domains.get(host, []):
                for kind in ([], ['--inactive']):
                    text = lab.virsh(host, 'dumpxml', domain, *kind)
                    if 'vmig' in re.sub(r"(cmdline>.*?</cmdline|'[^']*')", '', text):
                        wrong.append(f'left on {host}: our mark in the definition of {domain}')
            wrong += [f'{host}: {job["domain"]} is open in the journal: {job["state"]}' for job in
                      Call(lab, host, ['status', '--json']).wait(20).document['jobs']]
        return wrong

    def _go_on(self, host, revert):
        """Checks that the images are sound, that the guest writes, and that it can revert to a snapshot."""
        lab, name = self.lab, self.guest.name
        there = self.there if host == self.dest else lambda path: path
        was = lab.state(host, name)
        if was == 'running':
            lab.virsh(host, 'suspend', name)
        wrong = image_checks(lab, host, [there(path) for path in self.files_moved()], self.leaks)
        if was == 'running':
            lab.virsh(host, 'resume', name)
        self._raise(wrong)
        if revert == 'first':
            revert = next((key for key, facts in self.before.tree.items()
                           if (facts['memory'] or {}).get('snapshot') == 'internal'), None)
        if not revert:
            return
        lab.revert(host, name, revert)
        if SILENT not in self.before.persistent:
            lab.wait_writes(host, name, 5)
            verdict = oracle.check_writes(lab, host, name, self.hosts)
            need(verdict.ok, f'after the revert to {revert!r} on {host}: {verdict}')

    # -- back

    def prove_back(self, code=None, words=(), stall_ms=4000, revert=None, outcome='rolled-back'):
        """Prove that the guest is on the source as before, and that nothing is left over on either host.

        code: the error's code. words: texts that its message must contain. stall_ms: the longest permitted time without
        an acknowledged write.
        """
        lab, guest = self.lab, self.guest
        if self.call.code != ROLLED_BACK:
            self._raise([f'exit code {self.call.code}, not 4'])
        wrong = check_events(self.call, outcome)
        if code and self.call.error.get('code') != code:
            wrong.append(f'the error is {self.call.error}, not {code}')
        wrong += [f'the error does not say {word!r}: {self.call.error.get("message")}'
                  for word in words if word not in (self.call.error.get('message') or '')]
        wrong += self._never_two()
        if self.before.state == 'running':
            lab.wait_writes(self.source, guest.name, 5)
        wrong += self._who_runs(self.source, [self.dest])
        wrong += self.unnoticed(stall_ms)
        wrong += self._content(self.source)
        wrong += same_definitions(self.before, gather(lab, self.source, guest))
        wrong += self._left_over(self.files_before, {self.source: [guest.name]})
        self._raise(wrong)
        plan = Call(lab, self.source, ['plan', guest.name, lab.uri(self.dest), '--json',
                                       *self.args]).wait(30)
        need(plan.code == DONE, 'it could not be tried again:', plan.stdout[-800:], plan.stderr)
        self._go_on(self.source, revert)

    def unnoticed(self, stall_ms):
        """[] or what the guest on the source noticed of the attempt."""
        wrong = []
        if self.lab.qemu_pid(self.source, self.guest.name) != self.before.pid:
            wrong.append('the guest runs in another QEMU than before')
        if self.lab.console(self.dest, self.guest.name):
            wrong.append('the guest has run on the destination')
        wrong += [f'vd{disk}: no write for {gap:.0f} ms at {when:.1f} s'
                  for disk, (gap, when) in self.stall.gaps.items() if gap > stall_ms]
        return wrong
