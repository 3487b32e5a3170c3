# SPDX-License-Identifier: LGPL-2.1-or-later
"""The data path: what is sent, what is not sent again, and what is never used as a base copy."""
import os
import shutil
import signal
import subprocess
import sys

import oracle
from cases import Disk, main
from command import DONE, REFUSED, ROLLED_BACK, Skip, need
from lab import IMAGES, wait_until
from test_rollback import quick_policy

MIB = 1 << 20
IMAGE = f'{IMAGES}/g-vda.qcow2'
FULL = Disk('vda', fill_mb=96)


def allocated(case, host, path=IMAGE):
    """A file's allocated bytes."""
    return os.stat(case.lab.path(host, path)).st_blocks * 512


def done_of(call, phase='COPY'):
    """The last total that was reported for a phase."""
    told = [event['done'] for _, event in call.events
            if event.get('event') == 'progress' and event['phase'] == phase and event['disk'] is None]
    return told[-1] if told else 0


def wait_done(call, size):
    """Wait until this many bytes of COPY are done, or the call has ended."""
    wait_until(lambda: call.process.poll() is not None or done_of(call) >= size, 60,
               f'{size} bytes of COPY')
    need(call.process.poll() is None, 'it ended too early:', call.tail())


def away(case, guest):
    """A first migration from a to b; returns the number of bytes that it copied."""
    move = case.migration(guest)
    move.run()
    move.prove_arrived(revert=None)
    need(move.call.result['bytes_copied'] >= 96 * MIB, 'the copy was too small to be one')
    guest.host = 'b'
    return move.call.result['bytes_copied']


# --- what is not sent again ----------------------------------------------------------------------

def test_way_back(case):
    """A migration back onto the images that the first one kept: only changes are sent."""
    guest = case.guest(disks=[FULL])
    first = away(case, guest)
    case.lab.wait_writes('b', 'g', 20)
    back = case.migration(guest, source='b', dest='a')
    back.run()
    back.prove_arrived(revert=None)
    second = back.call.result['bytes_copied']
    need(0 < second < first / 4, f'the way there took {first} bytes, the way back {second}')
    need('only the changes since then' in back.call.stdout, 'nothing was said of the copy')
    told = [event for _, event in back.call.events if event['event'] == 'progress' and event['phase'] == 'COPY']
    need(told[-1]['skipped'] > first // 2, 'nothing was told of what is skipped:', told[-1])
    # And once more to b, onto the images that the second migration kept.
    guest.host = 'a'
    again = case.migration(guest)
    again.run()
    again.prove_arrived(revert=None)
    need(again.call.result['bytes_copied'] < first / 4, 'the third way took',
         again.call.result['bytes_copied'])


def test_way_back_chain(case):
    """The same with a chain of two files: each has its own base copy."""
    guest = case.guest(disks=[Disk('vda', below=(f'{IMAGES}/deep.qcow2',), fill_mb=32)])
    move = case.migration(guest)
    move.run()
    move.prove_arrived(revert=None)
    back = case.migration(guest, source='b', dest='a')
    back.run()
    back.prove_arrived(revert=None)
    first, second = (m.call.result['bytes_copied'] for m in (move, back))
    need(second < first / 4, f'the way there took {first} bytes, the way back {second}')


def test_way_back_rolled_back(case):
    """A migration back that fails in the middle leaves the guest where it is; the next one starts from scratch."""
    guest = case.guest(disks=[FULL])
    first = away(case, guest)
    case.need_faults()
    call = case.call('b', 'migrate', 'g', case.lab.uri('a'), '--json',
                     env={'VMIG_SNAP_FAULT': 'copy.sent:error:base-changed'}, timeout=120)
    need(call.code == ROLLED_BACK, f'exit code {call.code}:', call.tail())
    need(case.lab.state('b', 'g') == 'running', 'the guest does not run on b')
    need(not case.lab.path('a', IMAGE).exists(), 'the copy is there, and nobody knows what is in it')
    case.lab.wait_writes('b', 'g', 5)
    verdict = oracle.check_writes(case.lab, 'b', 'g')
    need(verdict.ok, 'the writes:', verdict)
    back = case.migration(guest, source='b', dest='a')
    back.run()
    back.prove_arrived(revert=None)
    need(back.call.result['bytes_copied'] > first // 2, 'something unknown was taken for a copy')


def test_connection_lost(case):
    """The network fails in the middle and comes back: only the rest is sent."""
    quick_policy(case)
    guest = case.guest(disks=[FULL])
    size = allocated(case, 'a')
    move = case.migration(guest, '--policy', 'test', '--bandwidth', '40M')
    call = move.start()
    wait_done(call, size // 2)
    for host in 'ab':  # both ends of ssh, as after a network failure
        for pid in case.lab.processes(host, 'ssh', 'sshd'):
            if '[listener]' not in command_line(pid):
                os.kill(pid, signal.SIGKILL)
    move.finish()
    need(call.retries(), 'nothing was tried again:', call.tail())
    move.prove_arrived(revert=None)
    sent = call.result['bytes_copied']
    need(size * 9 // 10 < sent < size * 13 // 10, f'{sent} bytes were sent for a file of {size}')


def command_line(pid):
    """The command line of a process."""
    with open(f'/proc/{pid}/cmdline', encoding='utf-8', errors='replace') as file:
        return file.read()


def test_process_killed(case):
    """The tool dies in the middle of the copy: resume sends the rest."""
    guest = case.guest(disks=[FULL])
    size = allocated(case, 'a')
    move = case.migration(guest, '--bandwidth', '40M')
    call = move.start()
    wait_done(call, size * 6 // 10)
    job = call.events[-1][1]['job']
    os.kill(call.process.pid, signal.SIGKILL)
    call.wait()
    move.call = case.call('a', 'resume', job, '--json', timeout=120)
    move.finish()
    need(move.call.code == DONE, 'resume failed:', move.call.tail())
    move.prove_arrived(revert=None, json_lines=False)
    sent = move.call.result['bytes_copied']
    need(sent < size * 6 // 10, f'{sent} bytes were sent by resume for a file of {size}')


# --- how fast ------------------------------------------------------------------------------------

def test_set_bandwidth(case):
    """The limit is changed while the copy runs: first lowered, then removed."""
    guest = case.guest(disks=[FULL])
    size = allocated(case, 'a')
    move = case.migration(guest, '--bandwidth', '8M')
    call = move.start()
    wait_done(call, 16 * MIB)
    job = call.events[-1][1]['job']
    slow = case.call('a', 'set', 'g', 'bandwidth=1M', '--json')
    need(slow.code == DONE and slow.document['running'] and slow.document['bandwidth'] == MIB,
         'set to 1M:', slow.tail())
    before, begin = done_of(call), call.events[-1][0]
    wait_until(lambda: call.events[-1][0] > begin + 3, 30, 'three seconds of the copy')
    need(done_of(call) - before < 8 * MIB, 'at 1 MiB/s it copied', done_of(call) - before, 'in 3 s')
    need(done_of(call) < size, 'it was too fast to see anything')
    fast = case.call('a', 'set', job, 'bandwidth=0')
    need(fast.code == DONE and 'no limit from now on' in fast.stdout, 'set to 0:', fast.tail())
    move.finish(60)
    move.prove_arrived(revert=None)
    late = case.call('a', 'set', job, 'bandwidth=1M')
    need(late.code != DONE and 'is over' in late.stderr, 'set on a job that is over:', late.tail())


def test_set_parked(case):
    """For a job without a process, the limit applies to the next resume."""
    guest = case.guest(disks=[FULL])
    move = case.migration(guest, '--bandwidth', '4M')
    call = move.start()
    wait_done(call, 4 * MIB)
    job = call.events[-1][1]['job']
    os.kill(call.process.pid, signal.SIGKILL)
    call.wait()
    later = case.call('a', 'set', job, 'bandwidth=0')
    need(later.code == DONE and 'when it is resumed' in later.stdout, 'set:', later.tail())
    move.call = case.call('a', 'resume', job, '--json', timeout=60)
    move.finish()
    need(move.call.code == DONE, 'resume failed:', move.call.tail())
    move.prove_arrived(revert=None, json_lines=False)


# --- transports ----------------------------------------------------------------------------------

PKI = '/etc/libvirt/pki'


def make_pki(case, host, name, folder=PKI):
    """QEMU's x509 files for a host, signed by the lab's CA, which the first call creates; name: in the server's
    certificate."""
    lab = case.lab
    ca = lab.dir / 'ca'
    there = lab.path(host, folder)
    there.mkdir(parents=True, exist_ok=True)

    def openssl(*args):
        subprocess.run(['openssl', *map(str, args)], check=True, capture_output=True)

    if not ca.exists():
        ca.mkdir()
        openssl('req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', 9, '-subj', '/CN=lab', '-keyout', ca / 'key',
                '-out', ca / 'cert')
    (there / 'ca-cert.pem').write_bytes((ca / 'cert').read_bytes())
    for end in ('server', 'client'):
        (ca / 'ext').write_text(f'subjectAltName=DNS:{name}\nextendedKeyUsage=serverAuth,clientAuth\n')
        openssl('req', '-newkey', 'rsa:2048', '-nodes', '-subj', f'/CN={name}', '-keyout', there / f'{end}-key.pem',
                '-out', ca / 'request')
        openssl('x509', '-req', '-in', ca / 'request', '-CA', ca / 'cert', '-CAkey', ca / 'key', '-CAcreateserial',
                '-days', 9, '-extfile', ca / 'ext', '-out', there / f'{end}-cert.pem')


def use_pki(case, host):
    """Configure vmig-snap and QEMU to use it."""
    lab = case.lab
    lab.path(host, '/etc/vmig-snap').mkdir(parents=True, exist_ok=True)
    lab.path(host, '/etc/vmig-snap/vmig-snap.conf').write_text(f'[vmig-snap]\ntls-dir = {PKI}\n')
    conf = lab.path(host, '/etc/libvirt/qemu.conf')
    if PKI not in conf.read_text():
        conf.write_text(conf.read_text() + f'\ndefault_tls_x509_cert_dir = "{PKI}"\n')
        lab.restart_libvirtd(host)


def test_more_connections(case):
    """A large copy uses additional ssh connections, and nothing of them is left."""
    guest = case.guest(disks=[Disk('vda', size='512M', fill_mb=280)])
    move = case.migration(guest, '--bandwidth', '150M')
    call = move.start()
    wait_done(call, 16 * MIB)
    job = call.events[-1][1]['job']
    links = case.lab.path('a', f'/run/vmig-snap/{job}')
    need((links / 'copy-0.sock.0').exists(), 'there is one connection only:', sorted(os.listdir(links)))
    agents = [argv for argv in case.lab.processes('b', 'vmig-snap').values() if argv[1:] == ['agent']]
    need(len(agents) == 1, 'a further connection has an agent of its own:', agents)
    move.finish()
    move.prove_arrived(revert=None)


def test_tcp(case):
    """Unencrypted, on request: with a warning, and the copy goes to a port."""
    move = case.migration(case.guest(disks=[FULL]), '--transport', 'tcp')
    move.run()
    move.prove_arrived(revert=None)
    need('WARNING: with tcp' in move.call.stdout, 'there was no warning')


def test_tls(case):
    """Memory, mirrors and base copies with TLS; a certificate with another host's name ends the migration."""
    if shutil.which('openssl') is None:
        raise Skip('openssl is not installed')
    for host in 'ab':
        make_pki(case, host, 'elsewhere.example')
        use_pki(case, host)
    try:
        guest = case.guest(disks=[FULL])
        call = case.call('a', 'migrate', 'g', case.lab.uri('b'), '--transport', 'tls', '--json', timeout=120)
        need(call.code == ROLLED_BACK and 'TLS with' in call.error['message'], 'a wrong name:', call.tail())
        for host in 'ab':
            make_pki(case, host, f'vmig-{host}')
        move = case.migration(guest, '--transport', 'tls')
        move.run()
        move.prove_arrived(revert=None)
    finally:
        for host in 'ab':
            case.lab.path(host, '/etc/vmig-snap/vmig-snap.conf').unlink()


# --- what is never a base copy ------------------------------------------------------------------------

def refused_back(case, guest, *words):
    """The migration back is refused before anything is changed, with these words."""
    before = case.lab.path('a', IMAGE).stat()
    call = case.call('b', 'migrate', guest.name, case.lab.uri('a'), '--json')
    need(call.code == REFUSED, f'exit code {call.code}:', call.tail())
    need(call.error['code'] == 'destination-exists', 'the error is', call.error)
    for word in words:
        need(word in call.error['message'], f'{word!r} is not in', call.error['message'])
    after = case.lab.path('a', IMAGE).stat()
    need((before.st_mtime_ns, before.st_ino) == (after.st_mtime_ns, after.st_ino), 'it was touched')


def test_touched_copy(case):
    """A kept image that was written to, one in use, one that another image is based on, one that a domain uses."""
    lab, guest = case.lab, case.guest(disks=[FULL])
    away(case, guest)
    image = lab.path('a', IMAGE)
    stat = image.stat()
    lab.run('a', ['qemu-img', 'create', '-q', '-f', 'qcow2', '-b', IMAGE, '-F', 'qcow2',
                  f'{IMAGES}/clone.qcow2'])
    refused_back(case, guest, 'clone.qcow2 uses it')
    lab.path('a', f'{IMAGES}/clone.qcow2').unlink()
    lab.run('a', ['virsh', 'define', '/dev/stdin'], input=lab.guest_xml(
        'other', [{'path': IMAGE, 'target': 'vda', 'fmt': 'qcow2', 'xml': ''}]))
    refused_back(case, guest, "the definition of 'other' uses it")
    lab.virsh('a', 'undefine', 'other')
    holder = lab.popen('a', ['qemu-nbd', '-f', 'qcow2', '-k', '/run/hold.sock', '-t', IMAGE])
    try:
        wait_until(lambda: lab.path('a', '/run/hold.sock').exists(), 10, 'qemu-nbd')
        os.utime(image, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        refused_back(case, guest, 'it is in use')
    finally:
        holder.terminate()
        holder.wait()
    with open(image, 'r+b') as file:
        file.seek(70000)
        file.write(b'mine')
    refused_back(case, guest, 'it was changed after')


if __name__ == '__main__':
    sys.exit(main(__file__, globals()))
