# SPDX-License-Identifier: LGPL-2.1-or-later
"""The copy of one base alone: vmig-snap's copier and receiver against other tools, on the same file and hosts."""
import contextlib
import json
import os
import pathlib
import random
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / 'tests/lab'))

import meters  # noqa: E402
from lab import IMAGES, wait_until  # noqa: E402

SOURCE = f'{IMAGES}/base.img'
PART = f'{IMAGES}/base.part'
POOL = 'bench'
SOCKET = '/run/bench.sock'
PKI = '/etc/libvirt/pki'
PORT = 49500
CIPHER = 'aes128-gcm@openssh.com'
MIB = 1 << 20


# Whose processor time a copy costs, on both hosts.
TOOLS = ('bench-copy', 'qemu-nbd', 'nbdcopy', 'ssh', 'sshd', 'sshd-session', 'scp', 'sftp-server', 'rsync', 'virsh',
         'libvirtd', 'rpc-libvirtd', 'libvirt_iohelpe')
OURS = ('bench-copy',)


class Copies:
    """One method for each kind of copy; run() gives {'seconds': ..., ...}."""

    def __init__(self, lab, mib):
        self.lab, self.size = lab, mib * MIB

    def prepare(self):
        """A file of random data, and certificates."""
        with open(self.lab.path('a', SOURCE), 'wb') as file:
            for _ in range(self.size // MIB):
                file.write(os.urandom(MIB))
        for host in 'ab':
            self._make_pki(host)
        self.lab.run('b', ['mkdir', '-p', '/run/bench'])
        self.lab.virsh('b', 'pool-create-as', POOL, 'dir', '--target', IMAGES)

    def remove(self):
        """What prepare() and the copies left."""
        for host in 'ab':
            for path in (SOURCE, PART):
                self.lab.path(host, path).unlink(missing_ok=True)
        self.lab.virsh('b', 'pool-destroy', POOL)

    def _make_pki(self, host):
        ca, there = self.lab.dir / 'ca', self.lab.path(host, PKI)
        there.mkdir(parents=True, exist_ok=True)

        def openssl(*args):
            subprocess.run(['openssl', *map(str, args)], check=True, capture_output=True)

        if not ca.exists():
            ca.mkdir()
            openssl('req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', 9, '-subj', '/CN=lab', '-keyout',
                    ca / 'key', '-out', ca / 'cert')
        (there / 'ca-cert.pem').write_bytes((ca / 'cert').read_bytes())
        (ca / 'ext').write_text(f'subjectAltName=DNS:vmig-{host}\n', encoding='ascii')
        for end in ('server', 'client'):
            openssl('req', '-newkey', 'rsa:2048', '-nodes', '-subj', f'/CN=vmig-{host}', '-keyout',
                    there / f'{end}-key.pem', '-out', ca / 'request')
            openssl('x509', '-req', '-in', ca / 'request', '-CA', ca / 'cert', '-CAkey', ca / 'key',
                    '-CAcreateserial', '-days', 9, '-extfile', ca / 'ext', '-out', there / f'{end}-cert.pem')

    def _nothing(self):
        self.lab.path('b', PART).unlink(missing_ok=True)

    def _stale(self, share_there, share_changed):
        """The destination has a part of the file, of which another part has changed since: pieces of 64 KiB, as a
        guest with qcow2 makes them."""
        source, part = self.lab.path('a', SOURCE), self.lab.path('b', PART)
        self._nothing()
        length = int(self.size * share_there) // MIB * MIB
        subprocess.run(['dd', f'if={source}', f'of={part}', 'bs=1M', f'count={length // MIB}', 'status=none'],
                       check=True)
        pieces = random.Random(1).sample(range(length // 65536), int(length // 65536 * share_changed))
        with open(part, 'r+b') as file:
            for piece in pieces:
                file.seek(piece * 65536)
                file.write(os.urandom(65536))

    def _send(self, where, receiver, links=(), connections=0):
        others = [self.lab.popen('a', ['ssh', '-N', f'-oCiphers=^{CIPHER}', '-oStreamLocalBindUnlink=yes', '-L',
                                       f'{here}:{SOCKET}', 'vmig-b']) for here in links]
        try:
            for here in links:
                wait_until(self.lab.path('a', here).exists, 20, here)
            argv = ['bench-copy', 'send', '-c', str(connections), SOURCE, *where, '--', *receiver]
            result = self._measure(lambda: json.loads(self.lab.run('a', argv, timeout=1800).stdout))
        finally:
            for process in others:
                process.terminate()
                process.wait()
        if not result['equal']:
            raise RuntimeError('the copy differs')
        return result

    def _measure(self, copy):
        """copy()'s result, with what the machine and the processes did meanwhile."""
        meters.drop_caches()
        with meters.Machine(self.lab.dir) as machine, meters.Processes(self.lab, TOOLS) as processes:
            begin = time.monotonic()
            result = copy() or {}
            # The copy says itself how long it took where connecting is not part of it.
            result.setdefault('seconds', time.monotonic() - begin)
        return {**result, **machine.facts(), 'cpu': processes.cpu(*TOOLS), 'our_cpu': processes.cpu(*OURS),
                'memory': processes.memory(*OURS)}

    def _over_ssh(self, links=2):
        first, *more = (f'/run/bench.{link}' for link in range(links))
        receiver = ['ssh', f'-oCiphers=^{CIPHER}', '-oStreamLocalBindUnlink=yes', '-L', f'{first}:{SOCKET}', 'vmig-b',
                    'bench-copy', 'receive', PART, str(self.size), SOCKET]
        return self._send([first, *more], receiver, more)

    def _on_port(self, uri, pki, connections=0):
        return self._send([uri], ['ssh', 'vmig-b', 'bench-copy', 'receive', PART, str(self.size),
                                  f'{PORT}-{PORT + 9}', pki], connections=connections)

    def connections(self, kind):
        """A new copy with so many connections: tcp-1, tls-2, or so many ssh links: ssh-1."""
        transport, count = kind.split('-')
        self._nothing()
        if transport == 'ssh':
            return self._over_ssh(int(count))
        return self._on_port('nbd://vmig-b:PORT', '-', int(count)) if transport == 'tcp' else \
            self._on_port(f'nbds://vmig-b:PORT?tls-certificates={PKI}', PKI, int(count))

    def ssh(self):
        """A new copy over two ssh connections."""
        self._nothing()
        return self._over_ssh()

    def tls(self):
        """A new copy over TLS."""
        self._nothing()
        return self._on_port(f'nbds://vmig-b:PORT?tls-certificates={PKI}', PKI)

    def tcp(self):
        """A new copy in clear."""
        self._nothing()
        return self._on_port('nbd://vmig-b:PORT', '-')

    def resumed(self):
        """Half of it is there."""
        self._stale(0.5, 0)
        return self._over_ssh()

    def way_back(self):
        """All of it is there, and 1 % has changed since."""
        self._stale(1, 0.01)
        return self._over_ssh()

    def _timed(self, argv):
        def copy():
            self.lab.run('a', argv, timeout=1800)
            self.lab.run('b', ['sync', PART])
        return self._measure(copy)

    def scp(self):
        """scp with its fastest cipher, synced there."""
        self._nothing()
        return self._timed(['scp', '-q', '-c', CIPHER, SOURCE, f'vmig-b:{PART}'])

    def rsync(self):
        """rsync over ssh, the whole file, synced there."""
        self._nothing()
        return self._timed(['rsync', '-S', '-W', '-e', f'ssh -c {CIPHER}', SOURCE, f'vmig-b:{PART}'])

    def _nbdcopy(self, *mode, preallocate):
        self._nothing()
        self.lab.run('b', ['fallocate' if preallocate else 'truncate', '-l' if preallocate else '-s', str(self.size),
                           PART])
        server = self.lab.popen('b', ['qemu-nbd', '-f', 'raw', *mode, '-p', '10999', '-t', '-e', '8', PART])
        try:
            wait_until(lambda: self.lab.run('a', ['nbdinfo', '--size', 'nbd://vmig-b:10999'],
                                            check=False).returncode == 0, 20, 'qemu-nbd')
            return self._timed(['nbdcopy', '--connections=4', '--flush', SOURCE, 'nbd://vmig-b:10999'])
        finally:
            server.terminate()
            server.wait()

    def nbdcopy_direct(self):
        """nbdcopy to qemu-nbd with direct I/O on a preallocated file."""
        return self._nbdcopy('--cache=none', '--aio=native', preallocate=True)

    def nbdcopy_writeback(self):
        """nbdcopy to qemu-nbd through the page cache on a sparse file."""
        return self._nbdcopy('--cache=writeback', preallocate=False)

    def vol_upload(self):
        """virsh vol-upload, in clear, holes as holes."""
        self._nothing()
        self.lab.virsh('b', 'pool-refresh', POOL)
        name = pathlib.Path(PART).name
        self.lab.virsh('b', 'vol-create-as', POOL, name, str(self.size), '--allocation', '0', '--format', 'raw')
        return self._timed(['virsh', '-q', '-c', self.lab.uri('b', 'tcp'), 'vol-upload', '--pool', POOL, '--sparse',
                            name, SOURCE])

    def disk(self):
        """No copy: the file read, then as much written, past the page cache. What the disk gives."""
        self._nothing()
        def both():
            return {'read_rate': meters.disk_rate(self.lab.path('a', SOURCE), self.size, False),
                    'write_rate': meters.disk_rate(self.lab.path('b', PART), self.size, True)}
        return self._measure(both)

    KINDS = ('tcp', 'nbdcopy_direct', 'nbdcopy_writeback', 'tls', 'vol_upload', 'ssh', 'scp', 'rsync', 'resumed',
             'way_back', 'disk')

    # Measured once more in each of AROUND.
    PAIRED = ('tcp', 'nbdcopy_direct', 'nbdcopy_writeback', 'tls', 'ssh', 'way_back', 'scp')

    # How much several connections help; measured only when it is asked for.
    CONNECTIONS = ('tcp-1', 'tcp-2', 'tcp-4', 'tcp-8', 'tls-1', 'tls-2', 'tls-4', 'tls-8', 'ssh-1', 'ssh-2', 'ssh-3',
                   'ssh-4')

    def run(self, kind):
        """One of KINDS or CONNECTIONS."""
        return self.connections(kind) if kind in self.CONNECTIONS else getattr(self, kind)()


@contextlib.contextmanager
def own_disk(lab, size):
    """The destination's images are on a disk that the source does not use: in memory, behind a loop device."""
    lab.run('b', ['sh', '-ec', f'mkdir -p /run/own && mount -t tmpfs -o size={size + size // 2} none /run/own && '
                  f'truncate -s {size + size // 4} /run/own/disk && mkfs.ext4 -q -F -m 0 /run/own/disk && '
                  f'mount -o loop /run/own/disk {IMAGES}'])
    try:
        yield
    finally:
        lab.run('b', ['umount', IMAGES, '/run/own'])


@contextlib.contextmanager
def gigabit(lab, _size):
    """A link as slow as most hosts have one."""
    lab.rate(1000)
    try:
        yield
    finally:
        lab.rate(None)


# Where else the copies are measured, because one machine with one disk is not what two hosts are.
AROUND = {'own_disk': own_disk, 'gigabit': gigabit}


def ratios(runs):
    """{what: [ratio of each run]} of [{kind: result}]."""
    def over(kind, other):
        return [run[kind]['seconds'] / min(run[each]['seconds'] for each in other)
                for run in runs if kind in run and all(each in run for each in other)]

    nbdcopy = ('nbdcopy_direct', 'nbdcopy_writeback')
    return {
        'tcp / the faster nbdcopy': over('tcp', nbdcopy),
        'tls / the faster nbdcopy': over('tls', nbdcopy),
        'tcp / vol-upload': over('tcp', ['vol_upload']),
        'ssh / scp': over('ssh', ['scp']),
        'ssh / rsync': over('ssh', ['rsync']),
        'resumed at 50 % / ssh': over('resumed', ['ssh']),
        'way back, 1 % changed / ssh': over('way_back', ['ssh']),
        'way back: bytes sent / bytes of the file': [run['way_back']['sent'] / run['way_back']['size'] for run in runs
                                                     if 'way_back' in run],
    }
