# SPDX-License-Identifier: LGPL-2.1-or-later
"""Whole migrations of a guest that writes, with vmig-snap and with stock virsh, and what the guest noticed of them."""
import os
import pathlib
import random
import signal
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / 'tests/lab'))

import meters  # noqa: E402
import oracle  # noqa: E402
import qcow2  # noqa: E402
from command import Call  # noqa: E402
from lab import IMAGES, wait_until  # noqa: E402

GUEST = 'bench'
SNAPSHOTS = ['one', 'two']
RATE = 100      # writes a second and disk
REGION_MIB = 4  # where the guest writes
MIB = 1 << 20
CLUSTER = 65536
PKI = '/etc/libvirt/pki'
OURS = ('vmig-snap',)
HELPERS = ('vmig-snap', 'qemu-nbd', 'qemu-img', 'ssh', 'sshd', 'sshd-session', 'libvirtd', 'rpc-libvirtd')


class Migrations:
    """One method for each kind; run() gives {'seconds': ..., 'stall': ..., ...}."""

    def __init__(self, lab, mib):
        self.lab, self.mib = lab, mib
        self.first = None  # the result of ssh(), while its guest is still there

    def prepare(self):
        """The images that every run starts from: full of random data behind the writer's region."""
        for disks in (1, 4):
            each = self.mib // disks
            for index in range(disks):
                self.lab.make_disk('a', self._golden(disks, index), f'{each}M', fill_mb=each - REGION_MIB,
                                   fill_offset_mb=REGION_MIB)
        for host in 'ab':
            lab = self.lab
            lab.path(host, '/etc/vmig-snap').mkdir(parents=True, exist_ok=True)
            lab.path(host, '/etc/vmig-snap/vmig-snap.conf').write_text(f'[vmig-snap]\ntls-dir = {PKI}\n',
                                                                       encoding='ascii')
            conf = lab.path(host, '/etc/libvirt/qemu.conf')
            conf.write_text(f'{conf.read_text(encoding="utf-8")}\ndefault_tls_x509_cert_dir = "{PKI}"\n',
                            encoding='utf-8')
            lab.restart_libvirtd(host)

    @staticmethod
    def _golden(disks, index):
        return f'/srv/vmig2/golden-{disks}-{index}.qcow2'

    @staticmethod
    def _image(index):
        return f'{IMAGES}/bench-{index}.qcow2'

    def _guest(self, disks=1, length=None):
        """A running guest on copies of them, with two snapshots; length: what each image file is made long, sparse."""
        lab = self.lab
        self.remove()
        self.first = None
        images = [self._image(index) for index in range(disks)]
        for index, image in enumerate(images):
            lab.run('a', ['cp', '--sparse=always', self._golden(disks, index), image], timeout=600)
            if length:
                os.truncate(lab.path('a', image), length)
        lab.make_guest('a', GUEST, images, cmdline=f'vmig.rate={RATE} vmig.region_mb={REGION_MIB}')
        lab.make_tree('a', GUEST, [('take', name, '') for name in SNAPSHOTS])

    def remove(self):
        """Nothing of an earlier measurement is left."""
        lab = self.lab
        for host in 'ab':
            if lab.qemu_pid(host, GUEST):
                lab.kill_qemu(host, GUEST)
            lab.remove_guest(host, GUEST)
            for index in range(4):
                lab.path(host, self._image(index)).unlink(missing_ok=True)
            lab.path(host, lab.console_path(GUEST)).unlink(missing_ok=True)

    def _arrived(self, dest, snapshots, whole=True):
        """The guest is there, whole, and writes; else the time is worth nothing."""
        lab = self.lab
        lab.wait_writes(dest, GUEST, 5)
        verdict = oracle.check_writes(lab, dest, GUEST) if whole else None
        if oracle.runners(lab, GUEST) != [dest] or (whole and not verdict.ok):
            raise RuntimeError(f'the guest did not arrive whole: {verdict}')
        for path in lab.disks(dest, GUEST).values():
            image = qcow2.open_image(str(lab.path(dest, path)))
            names = [snapshot.name for snapshot in image.snapshots]
            image.close()
            if snapshots and names != SNAPSHOTS:
                raise RuntimeError(f'the snapshots did not arrive: {names}')

    def _measure(self, source, dest, move):
        """move() is timed from outside; its result with what the guest and the machine did meanwhile."""
        meters.drop_caches()
        lab = self.lab
        with meters.Processes(lab, OURS) as processes, meters.Machine(lab.dir) as machine, \
                meters.Console(lab, GUEST, source, dest) as console:
            begin = time.monotonic()
            result = move()
            seconds = time.monotonic() - begin
            if dest != source:
                lab.wait_writes(dest, GUEST, 20)
        states = result.get('marks', [])
        during = [state for when, state in states if begin + when <= console.at]
        return {'seconds': seconds, **result, **machine.facts(), 'cpu': processes.cpu(*HELPERS),
                'our_cpu': processes.cpu(*OURS), 'memory': processes.memory(*OURS),
                'memories': processes.each_memory(*OURS), 'stall': console.stall,
                'stall_in': (during[-1] if during else 'PLAN') if states else None, 'gap': console.gap}

    def _vmig(self, source, dest, *words):
        def move():
            call = Call(self.lab, source, ['migrate', GUEST, self.lab.uri(dest), *words, '--json']).wait(1800)
            return self._told(call)
        return self._measure(source, dest, move)

    @staticmethod
    def _told(call):
        if call.code != 0:
            raise RuntimeError(f'vmig-snap ended with {call.code}: {call.tail()}')
        marks = [(0.0, 'PLAN'), *call.states(), (call.seconds, 'end')]
        states = {}
        for (when, name), (later, _) in zip(marks, marks[1:]):
            states[name] = states.get(name, 0) + later - when
        return {'states': states, 'marks': marks, 'copied': call.result['bytes_copied'],
                'downtime_ms': call.result['downtime_ms']}

    def _first(self, *words, disks=1):
        self._guest(disks)
        size = sum(self.lab.path('a', self._image(index)).stat().st_size for index in range(disks))
        result = self._vmig('a', 'b', *words)
        self._arrived('b', True)
        return {**result, 'size': size}

    def ssh(self):
        """vmig-snap, everything inside ssh."""
        result = self._first()
        self.first = result
        return result

    def way_back(self):
        """After ssh(): 1 % of the guest's disk is changed on b, then it goes back to a."""
        if self.first is None:
            self.ssh()
        lab, first, self.first = self.lab, self.first, None
        lab.virsh('b', 'destroy', GUEST)
        clusters = range(REGION_MIB * MIB // CLUSTER, self.mib * MIB // CLUSTER)
        changed = random.Random(1).sample(clusters, self.mib * MIB // CLUSTER // 100)
        words = [word for cluster in changed
                 for word in ('-c', f'write -q -P {1 + cluster % 255} {cluster * CLUSTER} {CLUSTER}')]
        lab.run('b', ['qemu-io', '-f', 'qcow2', *words, self._image(0)])
        lab.virsh('b', 'start', GUEST)
        lab.wait_writes('b', GUEST, 5)
        result = self._vmig('b', 'a')
        self._arrived('a', True, whole=False)
        return {**result, 'first_seconds': first['seconds'], 'first_copied': first['copied']}

    def tls(self):
        """vmig-snap with TLS for libvirt's streams and the base copies."""
        return self._first('--transport', 'tls')

    def tcp(self):
        """vmig-snap in clear."""
        return self._first('--transport', 'tcp')

    def four_ssh(self):
        """The same bytes on four disks, inside ssh."""
        return self._first(disks=4)

    def resumed(self):
        """vmig-snap is killed when half is copied; the time is that of resume."""
        self._guest()
        half = self.lab.path('a', self._image(0)).stat().st_blocks * 512 // 2
        call = Call(self.lab, 'a', ['migrate', GUEST, self.lab.uri('b'), '--json'])

        def done():
            told = [event for _, event in call.events
                    if event['event'] == 'progress' and event['phase'] == 'COPY' and event['disk'] is None]
            return call.process.poll() is not None or (told and told[-1]['done'] >= half)
        wait_until(done, 300, 'half of the copy')
        os.kill(call.process.pid, signal.SIGKILL)
        call.wait()
        job = call.events[-1][1]['job']
        result = self._measure('a', 'b', lambda: self._told(Call(self.lab, 'a', ['resume', job, '--json']).wait(1800)))
        self._arrived('b', True)
        return result

    def _stock(self, disks):
        lab = self.lab
        self._guest(disks)
        for name in reversed(SNAPSHOTS):
            lab.virsh('a', 'snapshot-delete', GUEST, name, '--metadata')
        for index in range(disks):
            lab.make_disk('b', self._image(index), f'{self.mib // disks}M')

        def move():
            lab.virsh('a', 'migrate', '--live', '--p2p', '--copy-storage-all', '--persistent', '--undefinesource',
                      GUEST, lab.uri('b', 'tcp'), timeout=1800)
            return {}
        result = self._measure('a', 'b', move)
        self._arrived('b', False)
        return result

    def stock(self):
        """virsh migrate --copy-storage-all in clear, which loses the snapshots."""
        return self._stock(1)

    def four_stock(self):
        """The same with four disks."""
        return self._stock(4)

    def terabyte(self):
        """vmig-snap with an image file that is 1 TiB long, nearly all of it a hole: for its memory."""
        self._guest(length=1 << 40)
        result = self._vmig('a', 'b')
        self._arrived('b', True)
        return result

    KINDS = ('ssh', 'way_back', 'stock', 'tcp', 'tls', 'resumed', 'four_stock', 'four_ssh')
    ONCE = ('terabyte',)

    def run(self, kind):
        """One of KINDS or ONCE."""
        result = getattr(self, kind)()
        result.pop('marks', None)
        return result


def ratios(runs):
    """{what: [ratio of each run]} of [{kind: result}]."""
    def over(kind, other):
        return [run[kind]['seconds'] / run[other]['seconds'] for run in runs if kind in run and other in run]
    back = [run['way_back'] for run in runs if 'way_back' in run]
    return {
        'ssh / stock': over('ssh', 'stock'),
        'tcp / stock': over('tcp', 'stock'),
        'tls / stock': over('tls', 'stock'),
        'four disks: ssh / stock': over('four_ssh', 'four_stock'),
        'four disks / one, ssh': over('four_ssh', 'ssh'),
        'resumed at 50 % / ssh': over('resumed', 'ssh'),
        'way back: time / the first time': [one['seconds'] / one['first_seconds'] for one in back],
        'way back: bytes / the first time': [one['copied'] / one['first_copied'] for one in back],
    }
