# SPDX-License-Identifier: LGPL-2.1-or-later
"""The copy of one base alone: vmig-snap's mover and receiver against other tools, on the same file and hosts."""
import json
import os
import pathlib
import random
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / 'tests/lab'))

from lab import IMAGES, wait_until  # noqa: E402

SOURCE = f'{IMAGES}/base.img'
PART = f'{IMAGES}/base.part'
SOCKET = '/run/bench.sock'
PKI = '/etc/libvirt/pki'
PORT = 49500
CIPHER = 'aes128-gcm@openssh.com'
MIB = 1 << 20


def drop_caches():
    """Write everything out and forget it, where that is allowed."""
    os.sync()
    try:
        pathlib.Path('/proc/sys/vm/drop_caches').write_text('3', encoding='ascii')
    except OSError:
        pass


class Copies:
    """One method for each kind of copy; all return {'seconds': ..., ...}."""

    def __init__(self, lab, gib):
        self.lab, self.size = lab, gib << 30

    def prepare(self):
        """A file of random data, and certificates."""
        with open(self.lab.path('a', SOURCE), 'wb') as file:
            for _ in range(self.size // MIB):
                file.write(os.urandom(MIB))
        for host in 'ab':
            self._make_pki(host)
        self.lab.run('b', ['mkdir', '-p', '/run/bench'])

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

    def _send(self, where, receiver, links=()):
        others = [self.lab.popen('a', ['ssh', '-N', f'-oCiphers=^{CIPHER}', '-oStreamLocalBindUnlink=yes', '-L',
                                       f'{here}:{SOCKET}', 'vmig-b']) for here in links]
        try:
            for here in links:
                wait_until(self.lab.path('a', here).exists, 20, here)
            drop_caches()
            told = self.lab.run('a', ['bench-copy', 'send', SOURCE, *where, '--', *receiver], timeout=1800).stdout
        finally:
            for process in others:
                process.terminate()
                process.wait()
        result = json.loads(told)
        if not result['equal']:
            raise RuntimeError('the copy differs')
        return result

    def _over_ssh(self):
        first, second = '/run/bench.0', '/run/bench.1'
        receiver = ['ssh', f'-oCiphers=^{CIPHER}', '-oStreamLocalBindUnlink=yes', '-L', f'{first}:{SOCKET}', 'vmig-b',
                    'bench-copy', 'receive', PART, str(self.size), SOCKET]
        return self._send([first, second], receiver, [second])

    def _on_port(self, uri, pki):
        return self._send([uri], ['ssh', 'vmig-b', 'bench-copy', 'receive', PART, str(self.size),
                                  f'{PORT}-{PORT + 9}', pki])

    def ssh(self):
        """A new copy over two ssh connections."""
        self._nothing()
        return self._over_ssh()

    def tls(self):
        """A new copy over TLS."""
        self._nothing()
        return self._on_port(f'nbds://vmig-b:PORT/?tls-certificates={PKI}', PKI)

    def tcp(self):
        """A new copy in clear."""
        self._nothing()
        return self._on_port('nbd://vmig-b:PORT/', '-')

    def resumed(self):
        """Half of it is there."""
        self._stale(0.5, 0)
        return self._over_ssh()

    def way_back(self):
        """All of it is there, and 1 % has changed since."""
        self._stale(1, 0.01)
        return self._over_ssh()

    def _timed(self, host, argv):
        drop_caches()
        begin = time.monotonic()
        self.lab.run(host, argv, timeout=1800)
        self.lab.run('b', ['sync', PART])
        return {'seconds': time.monotonic() - begin}

    def scp(self):
        """scp with its fastest cipher, synced there."""
        self._nothing()
        return self._timed('a', ['scp', '-q', '-c', CIPHER, SOURCE, f'vmig-b:{PART}'])

    def rsync(self):
        """rsync over ssh, the whole file, synced there."""
        self._nothing()
        return self._timed('a', ['rsync', '-S', '-W', '-e', f'ssh -c {CIPHER}', SOURCE, f'vmig-b:{PART}'])

    def _nbdcopy(self, *mode, preallocate):
        self._nothing()
        self.lab.run('b', ['fallocate' if preallocate else 'truncate', '-l' if preallocate else '-s', str(self.size),
                           PART])
        server = self.lab.popen('b', ['qemu-nbd', '-f', 'raw', *mode, '-p', '10999', '-t', '-e', '8', PART])
        try:
            wait_until(lambda: self.lab.run('a', ['nbdinfo', '--size', 'nbd://vmig-b:10999'],
                                            check=False).returncode == 0, 20, 'qemu-nbd')
            return self._timed('a', ['nbdcopy', '--connections=4', '--flush', SOURCE, 'nbd://vmig-b:10999'])
        finally:
            server.terminate()
            server.wait()

    def nbdcopy_direct(self):
        """nbdcopy to qemu-nbd with direct I/O on a preallocated file."""
        return self._nbdcopy('--cache=none', '--aio=native', preallocate=True)

    def nbdcopy_writeback(self):
        """nbdcopy to qemu-nbd through the page cache on a sparse file."""
        return self._nbdcopy('--cache=writeback', preallocate=False)

    KINDS = ('tcp', 'nbdcopy_direct', 'nbdcopy_writeback', 'tls', 'ssh', 'scp', 'rsync', 'resumed', 'way_back')

    def run(self, kind):
        """One of KINDS."""
        return getattr(self, kind)()


def ratios(runs):
    """{what: [ratio of each run]} of [{kind: result}]."""
    def seconds(run, kind):
        return run[kind]['seconds']
    return {
        'tcp / the faster nbdcopy': [seconds(r, 'tcp') / min(seconds(r, 'nbdcopy_direct'),
                                                             seconds(r, 'nbdcopy_writeback')) for r in runs],
        'tls / the faster nbdcopy': [seconds(r, 'tls') / min(seconds(r, 'nbdcopy_direct'),
                                                             seconds(r, 'nbdcopy_writeback')) for r in runs],
        'ssh / scp': [seconds(r, 'ssh') / seconds(r, 'scp') for r in runs],
        'resumed at 50 % / ssh': [seconds(r, 'resumed') / seconds(r, 'ssh') for r in runs],
        'way back, 1 % changed / ssh': [seconds(r, 'way_back') / seconds(r, 'ssh') for r in runs],
        'way back: bytes sent / bytes of the file': [r['way_back']['sent'] / r['way_back']['size'] for r in runs],
    }
