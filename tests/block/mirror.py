#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""On what the mirror merge rests: QEMU's mirror with sync=top from an overlay into a copy of its base, as libvirt asks
for it in a migration with VIR_MIGRATE_NON_SHARED_INC (qemuMigrationSrcNBDStorageCopy), without libvirt and without a
guest. One storage daemon is the source (overlay over base, a writer over NBD while the mirror runs), another one the
destination (the copy, exported over NBD). Afterwards the copy must read as the overlay does, each internal snapshot of
it as it did, and the image must be sound. docs/architecture.md names each condition by the case that tries it.

    direct.py [CASE...]
"""
import ctypes
import hashlib
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'style'))
from tap import Tap  # noqa: E402

K, M = 1024, 1024 * 1024
SIZE = 24 * M


class Wrong(Exception):
    """What a case says when it does not hold."""


def run(*argv):
    """A command that must succeed; its output."""
    done = subprocess.run([str(word) for word in argv], capture_output=True, text=True, check=False, timeout=60)
    if done.returncode != 0:
        raise Wrong(f'{" ".join(map(str, argv))}: {done.stderr.strip() or done.stdout.strip()}')
    return done.stdout


def io(target, *commands, options=()):
    """qemu-io on an image (or an export), one command after the other."""
    argv = ['qemu-io', *options]
    for command in commands:
        argv += ['-c', command]
    return run(*argv, target)


def image_io(path, *commands, fmt='qcow2'):
    """The same on a file that nobody has open."""
    return io(path, *commands, options=['-f', fmt])


def digest(path, *options):
    """What a guest reads from an image: its SHA-256 as raw."""
    with tempfile.NamedTemporaryFile(dir=os.path.dirname(path)) as raw:
        run('qemu-img', 'convert', *options, '-O', 'raw', path, raw.name)
        return hashlib.sha256(pathlib.Path(raw.name).read_bytes()).hexdigest()


def snapshots(path):
    """{name: what it reads as} of the internal snapshots of an image."""
    info = json.loads(run('qemu-img', 'info', '--output=json', path))
    return {entry['name']: digest(path, '-l', f'snapshot.name={entry["name"]}') for entry in info.get('snapshots', [])}


def end_with_us():
    """PR_SET_PDEATHSIG: a daemon that outlived a test would keep its output open, and whoever reads that waiting."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


class Daemon:
    """A qemu-storage-daemon and its monitor."""

    def __init__(self, folder, name):
        self.path = f'{folder}/{name}.qmp'
        self.process = subprocess.Popen(
            ['qemu-storage-daemon', '--chardev', f'socket,id=c,path={self.path},server=on,wait=off',
             '--monitor', 'chardev=c'], stderr=subprocess.PIPE, text=True, preexec_fn=end_with_us)
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(60)
        until = time.monotonic() + 60
        while self.socket.connect_ex(self.path) != 0:
            if self.process.poll() is not None or time.monotonic() > until:
                self.process.kill()  # one that lives would keep its end of the pipe open
                raise Wrong(f'qemu-storage-daemon: exit code {self.process.wait()}: {self.process.stderr.read()}')
            time.sleep(0.01)
        self.stream, self.events = self.socket.makefile('rw'), []
        self.read()
        self.ask('qmp_capabilities')

    def read(self):
        """The next message."""
        line = self.stream.readline()
        if not line:
            raise Wrong('qemu-storage-daemon is gone')
        return json.loads(line)

    def ask(self, command, **arguments):
        """A command and its answer; hyphens are written as underscores."""
        arguments = {key.replace('_', '-'): value for key, value in arguments.items()}
        self.stream.write(json.dumps({'execute': command, 'arguments': arguments}) + '\n')
        self.stream.flush()
        while True:
            message = self.read()
            if 'event' in message:
                self.events.append(message)
            elif 'error' in message:
                raise Wrong(message['error']['desc'])
            else:
                return message['return']

    def wait_event(self, name):
        """Until an event was seen; its data."""
        while True:
            for message in self.events:
                if message['event'] == name:
                    return message['data']
            message = self.read()
            if 'event' in message:
                self.events.append(message)

    def export(self, node, path):
        """Everything that libvirt asks for an export on a destination."""
        self.ask('nbd-server-start', addr={'type': 'unix', 'data': {'path': path}})
        self.ask('block-export-add', type='nbd', id='export', node_name=node, name='disk', writable=True)
        return f'nbd+unix:///disk?socket={path}'

    def end(self):
        """As a process that goes in order: what it holds in memory is written."""
        self.ask('quit')
        self.process.wait(20)

    def kill(self):
        """Whatever became of it."""
        self.stream.close()
        self.socket.close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(20)
        self.process.stderr.close()


def node(name, path, fmt, backing=None, **options):
    """A chain of nodes as libvirt writes it: the format over the file."""
    options = {key.replace('_', '-'): value for key, value in options.items()}
    value = {'driver': fmt, 'node-name': name, 'file': {'driver': 'file', 'filename': str(path)}, **options}
    if fmt == 'qcow2':
        value['backing'] = backing
    return value


class Trial:
    """A base, its copy, an overlay over the base, and the mirror from one into the other."""

    def __init__(self, folder, fmt='qcow2', size=SIZE, create=(), deep=False, compressed=False):
        self.folder, self.fmt = folder, fmt
        self.base, self.copy, self.overlay = (f'{folder}/{name}' for name in ('base', 'copy', 'overlay.qcow2'))
        self.deep = f'{folder}/deep' if deep else None
        if deep:
            run('qemu-img', 'create', '-q', '-f', 'qcow2', self.deep, size)
            image_io(self.deep, 'write -q -P 0xdd 0 6M', 'write -q -P 0xde 20M 1M')
        below = ['-b', self.deep, '-F', 'qcow2'] if deep else []
        run('qemu-img', 'create', '-q', '-f', fmt, *(['-o', ','.join(create)] if create else []), *below, self.base,
            *([] if deep else [size]))
        image_io(self.base, 'write -q -P 0x11 0 8M', 'write -q -P 0x12 12M 3M', fmt=fmt)
        if compressed:
            run('qemu-img', 'convert', '-c', '-O', 'qcow2', self.base, f'{self.base}.c')
            os.replace(f'{self.base}.c', self.base)
        if fmt == 'qcow2':
            run('qemu-img', 'snapshot', '-c', 'one', self.base)
            image_io(self.base, 'write -q -P 0x21 1M 2M', 'write -q -z 5M 1M')
            run('qemu-img', 'snapshot', '-c', 'two', self.base)
            image_io(self.base, 'write -q -P 0x31 2M 64k', 'write -q -P 0x32 13M 128k')
        shutil.copy(self.base, self.copy)
        self.kept = snapshots(self.base) if fmt == 'qcow2' else {}
        self.digest = hashlib.sha256(pathlib.Path(self.base).read_bytes()).hexdigest()
        self.length = os.path.getsize(self.copy)
        run('qemu-img', 'create', '-q', '-f', 'qcow2', '-b', self.base, '-F', fmt, self.overlay)
        self.source = self.dest = None

    def write_before(self, *commands):
        """What the guest writes before the migration."""
        image_io(self.overlay, *commands)

    def below(self, top):
        """The node under the base, on either side."""
        return node(f'{top}-deep', self.deep, 'qcow2', read_only=True) if self.deep else None

    def begin(self, speed=0, **options):
        """Both sides, and the mirror between them. options: of the disk, on both sides."""
        self.source = Daemon(self.folder, 'source')
        self.dest = Daemon(self.folder, 'dest')
        self.dest.ask('blockdev-add', **node('copy', self.copy, self.fmt, self.below('copy'), **options))
        base = node('base', self.base, self.fmt, self.below('base'), read_only=True)
        self.source.ask('blockdev-add', **node('top', self.overlay, 'qcow2', base, **options))
        self.dest.export('copy', f'{self.folder}/dest.nbd')
        guest = self.source.export('top', f'{self.folder}/source.nbd')
        self.source.ask('blockdev-add', driver='nbd', node_name='to', export='disk', discard='unmap',
                        server={'type': 'unix', 'path': f'{self.folder}/dest.nbd'})
        self.source.ask('blockdev-mirror', job_id='mirror', device='top', target='to', sync='top',
                        auto_finalize=True, auto_dismiss=True, **({'speed': speed} if speed else {}))
        return guest

    def write_meanwhile(self, guest, *commands):
        """What the guest writes while the mirror runs."""
        io(guest, *commands, options=['-f', 'raw', '-d', 'unmap'])

    def finish(self):
        """The switchover: the mirror is in step, and ends where it is."""
        self.source.wait_event('BLOCK_JOB_READY')
        self.source.ask('block-job-cancel', device='mirror')
        data = self.source.wait_event('BLOCK_JOB_COMPLETED')
        if 'error' in data:
            raise Wrong(data['error'])
        self.source.end()
        self.dest.end()

    def move(self, guest_writes=(), **options):
        """All of it."""
        guest = self.begin(**options)
        if guest_writes:
            self.write_meanwhile(guest, *guest_writes)
        self.finish()

    def judge(self):
        """What arrived is what the overlay reads as; all else is as it was."""
        if digest(self.overlay) != digest(self.copy, *(['-f', self.fmt])):
            raise Wrong('what arrived does not read as what was sent')
        if hashlib.sha256(pathlib.Path(self.base).read_bytes()).hexdigest() != self.digest:
            raise Wrong('the base changed')
        if self.fmt == 'qcow2':
            run('qemu-img', 'check', self.copy)
            if snapshots(self.copy) != self.kept:
                raise Wrong('an internal snapshot changed')

    def close(self):
        """Nothing is left running."""
        for daemon in (self.source, self.dest):
            if daemon is not None:
                daemon.kill()


WRITES = ('write -q -P 0x41 0 1M', 'write -q -P 0x42 2M 3M', 'write -q -P 0x43 16M 2M')


def case_writes(trial):
    """Whole clusters, over data, over what a snapshot shares, over nothing; before and during the mirror"""
    trial.write_before(*WRITES)
    trial.move(['write -q -P 0x51 512k 2M', 'write -q -P 0x52 19M 1M'])
    trial.judge()


def case_copy_is_base(trial):
    """The copy's active layer must be the base's when the mirror begins: what differs outside the overlay stays so"""
    image_io(trial.copy, 'write -q -P 0x99 7M 64k', fmt=trial.fmt)
    trial.write_before(*WRITES)
    trial.move()
    try:
        trial.judge()
    except Wrong as why:
        if 'does not read' in str(why):
            return
        raise
    raise Wrong('a copy that was not the base arrived as if it had been')


def case_sub_cluster(trial):
    """Writes of a sector, within clusters of the overlay, of the copy and of the mirror: the rest comes from the base"""
    trial.write_before('write -q -P 0x61 512 512', f'write -q -P 0x62 {M + 1536} 1024', f'write -q -P 0x63 {9 * M} 512')
    trial.move([f'write -q -P 0x64 {3 * M + 512} 512', f'write -q -P 0x65 {13 * M + 4096} 4096'])
    trial.judge()


def case_zeros_and_discards(trial):
    """Zero and discarded clusters hide the base's data, and do so in the copy"""
    trial.write_before('write -q -z 0 1M', 'write -q -z -u 12M 64k', 'write -q -P 0 3M 128k')
    image_io(trial.overlay, 'discard 6M 1M', f'discard {4 * M + 512} 100k')
    trial.move(['write -q -z 7M 64k', 'discard 14M 512k', 'write -q -z -u 2M 64k'], discard='unmap')
    trial.judge()


def case_detect_zeroes(trial):
    """detect_zeroes='unmap' on both sides: zeros that are written become holes, and read as zeros"""
    trial.write_before('write -q -P 0 0 1M', 'write -q -P 0 12M 128k')
    trial.move(['write -q -P 0 2M 1M', f'write -q -P 0 {7 * M + 512} 64k'], discard='unmap', detect_zeroes='unmap')
    trial.judge()


def case_growth(trial):
    """The copy grows: what a snapshot shares is copied before it is written, into new clusters"""
    trial.write_before('write -q -P 0x71 0 8M')
    trial.move(['write -q -P 0x72 12M 3M'])
    trial.judge()
    if trial.fmt == 'qcow2' and os.path.getsize(trial.copy) <= trial.length:
        raise Wrong('the copy did not grow: nothing was shared with a snapshot')


def case_only_the_top(trial):
    """Of a chain only the top is written to"""
    before = pathlib.Path(trial.deep).read_bytes()
    trial.write_before(*WRITES, 'write -q -z 20M 512k', 'write -q -P 0x44 3584k 512')
    trial.move(['write -q -P 0x53 20992k 512'])
    trial.judge()
    if pathlib.Path(trial.deep).read_bytes() != before:
        raise Wrong('a file below the top changed')


def case_other_size(trial):
    """An overlay that is larger than the copy is refused by QEMU, and nothing is written"""
    trial.write_before(*WRITES)
    run('qemu-img', 'resize', '-q', trial.overlay, '+1M')
    before = pathlib.Path(trial.copy).read_bytes()
    trial.begin()
    data = trial.source.wait_event('BLOCK_JOB_COMPLETED')
    if 'different sizes' not in data.get('error', ''):
        raise Wrong(f'the mirror of an overlay of another size: {data}')
    trial.dest.end()
    if trial.fmt == 'raw' and pathlib.Path(trial.copy).read_bytes() != before:
        raise Wrong('the copy changed')


def case_cut_off(trial):
    """A mirror that is cut off leaves a copy that is neither the base nor what the guest has: it has to be proven again"""
    trial.write_before('write -q -P 0x81 0 8M', 'write -q -P 0x82 16M 6M')
    trial.begin(speed=256 * K)
    until = time.monotonic() + 60
    while not (jobs := trial.source.ask('query-block-jobs')) or jobs[0]['offset'] == 0:
        if time.monotonic() > until:
            raise Wrong(f'the mirror does not begin: {jobs}')
        time.sleep(0.05)
    trial.source.kill()
    trial.dest.end()
    copied = digest(trial.copy)
    if copied in (digest(trial.base), digest(trial.overlay)):
        raise Wrong('nothing was half done')
    if snapshots(trial.copy) != trial.kept:
        raise Wrong('an internal snapshot changed')


ALL = (case_writes, case_sub_cluster, case_zeros_and_discards, case_detect_zeroes, case_growth)
IMAGES = {
    'qcow2': ({}, (*ALL, case_copy_is_base, case_other_size, case_cut_off)),
    'qcow2, clusters of 4 KiB': ({'create': ['cluster_size=4k']}, ALL),
    'qcow2, clusters of 2 MiB': ({'create': ['cluster_size=2M']}, ALL),
    'qcow2, extended L2': ({'create': ['extended_l2=on', 'cluster_size=128k']}, ALL),
    'qcow2, lazy refcounts': ({'create': ['lazy_refcounts=on']}, (case_writes, case_zeros_and_discards)),
    'qcow2, preallocated': ({'create': ['preallocation=metadata']}, (case_writes, case_zeros_and_discards)),
    'qcow2, compressed clusters': ({'compressed': True}, ALL),
    'qcow2, size no multiple of a cluster': ({'size': SIZE + 12800}, ALL),
    'qcow2 over another file': ({'deep': True}, (*ALL, case_only_the_top)),
    'raw': ({'fmt': 'raw'}, (*ALL, case_copy_is_base, case_other_size)),
    'raw, size no multiple of 4 KiB': ({'fmt': 'raw', 'size': SIZE + 512}, (case_writes, case_zeros_and_discards)),
}


def one(case, options):
    """One case with one kind of image; [] or what is wrong."""
    with tempfile.TemporaryDirectory(prefix='vmig-mirror-', dir='/var/tmp') as folder:
        trial = None
        try:
            trial = Trial(folder, **options)
            case(trial)
        except (Wrong, OSError, subprocess.TimeoutExpired) as why:
            return [str(why)]
        finally:
            if trial is not None:
                trial.close()
    return []


def main(wanted):
    """Every case with every kind of image that it says something about."""
    tap = Tap()
    if not shutil.which('qemu-storage-daemon'):
        tap.skip('the mirror merge', 'qemu-storage-daemon is not installed')
        return tap.end()
    for title, (options, cases) in IMAGES.items():
        for case in cases:
            if not wanted or case.__name__[5:] in wanted:
                tap.check(one(case, options), f'{case.__name__[5:]}, {title}: {case.__doc__}')
    return tap.end()


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
