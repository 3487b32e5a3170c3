# SPDX-License-Identifier: LGPL-2.1-or-later
"""The guest of all trials: made once, then put back in place as a copy, running, in about a second.

Its disk, its definition, its snapshots and what it has printed are kept beside the lab's hosts. A trial
starts it by a revert to its newest snapshot: no boot is waited for, and its writes go on from the ones
that were acknowledged before the snapshot was taken.
"""
import dataclasses
import os
import shutil
import signal

import cases
import facts
import oracle
from command import Failure
from hostns import HOSTS
from lab import IMAGES, LabError, wait_until

NAME = 'g'
DISK = f'{IMAGES}/g-vda.qcow2'
# Files of somebody else beside the guest's: nobody may touch them.
OTHERS = [f'{IMAGES}/other.qcow2', f'{IMAGES}/g-vda.qcow2.bak', '/srv/vmig2/notes']
# Retries come soon, as nothing here heals by waiting.
POLICY = '''[transient]
attempts=4
first-delay=0.2
growth=1.5
jitter=0
[overall]
deadline=30
'''
# What a trial may leave running; killed before the next one.
PROGRAMS = ('vmig-snap', 'qemu-system-x86_64', 'qemu-nbd', 'qemu-img', 'ssh')


def _signature(path):
    stat = path.stat()
    return stat.st_ino, stat.st_mtime_ns, stat.st_size, path.read_bytes()


class Golden:
    """Makes the guest in a lab, and puts it back."""

    def __init__(self, case):
        self.case, self.lab = case, case.lab
        self.store = self.lab.dir / 'golden'
        self.before = None
        self.others = {}
        self._make()

    def _make(self):
        lab = self.lab
        self.store.mkdir(exist_ok=True)
        for host in HOSTS:
            folder = lab.path(host, '/etc/vmig-snap/policy.d')
            folder.mkdir(parents=True, exist_ok=True)
            (folder / 'crash.conf').write_text(POLICY)
        # A small guest: two of them share two cores with everything else, 96 MiB are enough to boot.
        self.guest = self.case.guest(NAME, [cases.Disk('vda', size='72M', fill_mb=4)], start=False, memory_mib=96,
                                     cmdline='vmig.verify=1 vmig.region_mb=4 vmig.rate=40')
        lab.take_snapshot('a', NAME, 'one', 'while off')
        lab.virsh('a', 'start', NAME)
        lab.make_tree('a', NAME, [('take', 'two', 'with memory')], writes=5)
        (self.store / 'domain.xml').write_text(lab.virsh('a', 'dumpxml', NAME, '--inactive', '--security-info'))
        for name in ('one', 'two'):
            (self.store / f'{name}.xml').write_text(
                lab.virsh('a', 'snapshot-dumpxml', '--domain', NAME, '--snapshotname', name, '--security-info'))
        lab.kill_qemu('a', NAME)
        wait_until(lambda: lab.state('a', NAME) == 'shut off', 10, 'the end of the guest')
        lab.run('a', ['qemu-img', 'check', '-q', '-r', 'leaks', DISK])
        shutil.copy(lab.path('a', DISK), self.store / 'disk')
        shutil.copy(lab.path('a', lab.console_path(NAME)), self.store / 'console')

    def clean(self):
        """Nothing of a trial is left on either host, whatever state it ended in."""
        lab = self.lab
        for host in HOSTS:
            for pid in lab.processes(host, *PROGRAMS):
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            if not lab.processes(host, 'libvirtd'):
                lab.start_libvirtd(host)
        for host in HOSTS:
            lab.run(host, ['virsh', '-q', f'destroy {NAME}; undefine {NAME} --snapshots-metadata --managed-save '
                           f'--checkpoints-metadata --nvram'], check=False, timeout=15)
            left = lab.virsh(host, 'list', '--all', '--name', timeout=15).strip()
            if left:
                raise LabError(f'{host} keeps its guest: {left}')
            for folder in [*lab.image_folders(), '/var/log/libvirt/console', '/var/lib/vmig-snap', '/run/vmig-snap']:
                if lab.path(host, folder).is_dir():
                    self._empty(lab.path(host, folder))

    @staticmethod
    def _empty(folder):
        for path in folder.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def fresh(self):
        """Clean both hosts and let the guest run on the source; returns its Facts."""
        lab = self.lab
        self.clean()
        shutil.copy(self.store / 'disk', lab.path('a', DISK))
        shutil.copy(self.store / 'console', lab.path('a', lab.console_path(NAME)))
        self.others = {}
        for host in HOSTS:
            for name in OTHERS:
                lab.path(host, name).write_bytes(os.urandom(4096))
                self.others[host, name] = _signature(lab.path(host, name))
        for name in ('domain', 'one', 'two'):
            shutil.copy(self.store / f'{name}.xml', lab.dir / 'a/run' / f'{name}.xml')
        lab.run('a', ['virsh', '-q', f'define /run/domain.xml; snapshot-create {NAME} /run/one.xml --redefine; '
                      f'snapshot-create {NAME} /run/two.xml --redefine --current; snapshot-revert {NAME} two'])
        printed = (self.store / 'console').stat().st_size
        wait_until(lambda: lab.path('a', lab.console_path(NAME)).stat().st_size > printed + 200, 30, 'a write')
        if self.before is None:
            self.before = facts.gather(lab, 'a', self.guest)
            if self.before.state != 'running' or len(self.before.tree) != 2:
                raise Failure('the guest of the trials is not what it should be')
        return dataclasses.replace(self.before, pid=lab.qemu_pid('a', NAME))

    def others_changed(self):
        """[] or which of the files that are somebody else's are not as they were."""
        wrong = []
        for (host, name), was in self.others.items():
            path = self.lab.path(host, name)
            if not path.exists() or _signature(path) != was:
                wrong.append(f'{name} of {host}, which nobody may touch, changed')
        return wrong

    def files_before(self):
        """{host: files that are there before the job}."""
        return {host: facts.files_there(self.lab, host) for host in HOSTS}


def forks(lab):
    """Writes after which the guest went on on both hosts."""
    return oracle.read_log(lab, NAME).forks()
