# SPDX-License-Identifier: LGPL-2.1-or-later
"""The commit on the destination with failures: a full disk, an I/O error, a commit that is cancelled or ends
unobserved, libvirtd or QEMU killed, the guest destroyed or shut down.

Each job is stopped before or in the commit, the failure is caused, and the job continues.
"""
import os
import re
import signal
import subprocess
import sys
import threading
import time

from cases import TWO, main, shared
from command import DONE, LOCKED, ROOT, UNFINISHED, need
from exits import follow
from lab import IMAGES, wait_until
from stopped import OTHER, is_stopped, stopped

# Many writes over many clusters: the data to commit does not fit on a nearly full disk.
BUSY = 'vmig.region_mb=150 vmig.rate=150'

POLICY = '''[transient]
attempts=9
first-delay=0.3
growth=1
jitter=0
[io]
attempts=9
first-delay=0.5
growth=1
ceiling=1
jitter=0
[no-space]
attempts={attempts}
first-delay={delay}
growth=1
ceiling={delay}
jitter=0
[overall]
deadline=600
then=park
command=/usr/bin/env sh /run/vmig-parked.sh
'''


def policy(case, name='commit', attempts=9, delay=60):
    """Install --policy NAME on both hosts, with a command that records its input."""
    for host in 'ab':
        folder = case.lab.path(host, '/etc/vmig-snap/policy.d')
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f'{name}.conf').write_text(POLICY.format(attempts=attempts, delay=delay))
        case.lab.path(host, '/run/vmig-parked.sh').write_text('env > /run/vmig-parked.env\n')
        case.lab.path(host, '/run/vmig-parked.env').unlink(missing_ok=True)
    return ['--policy', name]


def roaming(case):
    """The guest that moves back and forth, with one failed commit each time."""
    return case.guest_once('roaming', lambda: case.guest(tree=TWO[:1]))


def journey(case, guest, *args):
    """A migration of the roaming guest to the host where it is not."""
    return case.migration(guest, '--source-images', 'delete', *policy(case), *args, source=guest.host,
                          dest=OTHER[guest.host])


def arrived(move):
    """The job ended DONE and everything is correct."""
    move.prove_arrived(revert=None, keep=False)
    move.guest.host = move.dest


def codes(call):
    """The codes of the retries so far."""
    return [retry['error']['code'] for retry in call.retries()]


# --- an I/O error --------------------------------------------------------------------------------

def broken_disk(case):
    """The library that breaks a disk, built and installed on both hosts; returns the XML edit that loads it."""
    library = case.lab.dir / 'eio.so'
    subprocess.run(['cc', '-shared', '-fPIC', '-O2', '-o', library, ROOT / 'tests/lab/guest/eio.c', '-ldl'], check=True)

    def edit(text):
        text = text.replace("<domain type='qemu'>", "<domain type='qemu' "
                            "xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>")
        return text.replace('</domain>', "  <qemu:commandline>\n"
                            f"    <qemu:env name='LD_PRELOAD' value='{library}'/>\n"
                            "    <qemu:env name='VMIG_EIO' value='/run/vmig-eio'/>\n"
                            "  </qemu:commandline>\n</domain>")
    return edit


def test_io_error(case):
    """The base cannot be written: the commit fails with an I/O error, and the guest runs on unharmed. Once the disk
    works again, the commit succeeds."""
    lab = case.lab
    guest = case.guest(tree=TWO[:1], edit=broken_disk(case))
    trigger = lab.path('b', '/run/vmig-eio')
    move = case.migration(guest, *policy(case))
    with stopped(move, 'ACTIVATE.enter') as call:
        trigger.write_text(guest.files['vda'][0])
        os.kill(call.process.pid, signal.SIGCONT)
        wait_until(lambda: len(call.retries()) > 1 or call.process.poll() is not None, 60, 'retries')
        lab.wait_writes('b', 'g', 5)
        trigger.unlink()
    need(set(codes(call)) == {'io'}, 'retries:', call.retries(), call.tail())
    move.prove_arrived(revert=None)


# --- commits that end ----------------------------------------------------------------------------

@shared
def test_cancelled(case):
    """virsh blockjob --abort: it is reported, and the commit is restarted."""
    move = journey(case, roaming(case))
    with stopped(move, 'commit.started@2') as call:
        case.lab.virsh(move.dest, 'blockjob', 'g', 'vda', '--abort')
    need(codes(call) == ['job-cancelled'], 'retries:', call.retries(), call.tail())
    arrived(move)


@shared
def test_cancelled_before_pivot(case):
    """The same after the commit became ready."""
    move = journey(case, roaming(case))
    with stopped(move, 'PIVOT.enter') as call:
        case.lab.virsh(move.dest, 'blockjob', 'g', 'vda', '--abort')
    need([state for _, state in call.states()].count('COMMIT') == 2, call.states())
    arrived(move)


@shared
def test_job_gone(case):
    """The commit is gone, and its end was not observed because the tool was dead. Resume restarts it."""
    lab = case.lab
    move = journey(case, roaming(case))
    call = move.start(fault='commit.started@2:kill')
    move.finish()
    need(call.code == -signal.SIGKILL, call.code, call.tail())
    lab.virsh(move.dest, 'blockjob', 'g', 'vda', '--abort')
    move.call = case.call(move.source, 'resume', 'g', '--json', timeout=90)
    arrived(move)


@shared
def test_throttled(case):
    """Another user throttles the commit to almost nothing: it gets its speed back."""
    move = journey(case, roaming(case))
    with stopped(move, 'ACTIVATE.leave') as call:
        case.lab.virsh(move.dest, 'blockjob', 'g', 'vda', '--bandwidth', '1')
    arrived(move)


@shared
def test_libvirtd_killed(case):
    """libvirtd is killed in the commit and comes back a little later: the commit continued without it."""
    lab = case.lab
    move = journey(case, roaming(case))
    back = None
    with stopped(move, 'commit.started@2') as call:
        lab.kill_libvirtd(move.dest)
        back = threading.Timer(1.5, lab.start_libvirtd, [move.dest])
        back.start()
    back.join()
    need(set(codes(call)) == {'connection'}, 'retries:', call.retries(), call.tail())
    # After reading its status file again, libvirtd formats the live definition differently.
    move.before.live = case.lab.virsh(move.dest, 'dumpxml', 'g', '--security-info')
    arrived(move)


# --- the guest ends ------------------------------------------------------------------------------

@shared
def test_qemu_killed(case):
    """QEMU dies in the commit: qemu-img commits, and the guest, which was not asked to stop, is restarted."""
    move = journey(case, roaming(case))
    with stopped(move, 'commit.started@2') as call:
        case.lab.wait_writes(move.dest, 'g', 5)
        case.lab.kill_qemu(move.dest, 'g')
    need('started again' in call.stdout, 'it did not say so:', call.tail())
    arrived(move)


@shared
def test_qemu_killed_after_offline(case):
    """The tool dies too, between the offline commit and the start: resume starts the guest."""
    lab = case.lab
    move = journey(case, roaming(case))
    with stopped(move, 'commit.started@2') as call:
        lab.wait_writes(move.dest, 'g', 5)
        lab.kill_qemu(move.dest, 'g')
        os.kill(call.process.pid, signal.SIGKILL)
    move.call = case.call(move.source, 'resume', 'g', '--json', timeout=90)
    arrived(move)


def gone_off(case, move):
    """The guest is off on the destination, as requested, and everything is there."""
    lab = case.lab
    need(move.call.code == DONE, move.call.code, move.call.tail())
    need(lab.state(move.dest, 'g') == 'shut off', 'the guest is', lab.state(move.dest, 'g'))
    need(lab.state(move.source, 'g') is None, 'left on the source')
    lab.virsh(move.dest, 'start', 'g')
    arrived(move)


@shared
def test_destroyed(case):
    """virsh destroy in the commit: the guest stays off, and its disks are complete."""
    move = journey(case, roaming(case))
    with stopped(move, 'commit.started@2'):
        case.lab.wait_writes(move.dest, 'g', 5)
        case.lab.virsh(move.dest, 'destroy', 'g')
    gone_off(case, move)


@shared
def test_shut_down(case):
    """virsh shutdown in the commit: the same."""
    lab = case.lab
    move = journey(case, roaming(case))
    with stopped(move, 'commit.started@2'):
        lab.wait_writes(move.dest, 'g', 5)
        lab.virsh(move.dest, 'shutdown', 'g')
        wait_until(lambda: lab.state(move.dest, 'g') == 'shut off', 30, 'the end of the guest')
    gone_off(case, move)


# --- retry on request ---------------------------------------------------------------------------

@shared
def test_asked(case):
    """vmig-snap resume of a job that waits for its next attempt starts the attempt at once. The connection of the
    working process is left alone."""
    guest = roaming(case)
    policy(case)
    long = case.lab.path(guest.host, '/etc/vmig-snap/policy.d/long.conf')
    long.write_text('[transient]\nfirst-delay=100\nceiling=100\njitter=0\n')
    move = case.migration(guest, '--source-images', 'delete', '--policy', 'long', source=guest.host,
                          dest=OTHER[guest.host])
    call = move.start(fault='COMMIT.enter@1:error:connection')
    try:
        wait_until(lambda: call.retries() or call.process.poll() is not None, 60, 'a retry')
        asked = case.call(move.source, 'resume', 'g', '--json')
        need(asked.code == LOCKED and 'tries now' in asked.error['message'], asked.code, asked.tail())
        move.finish(60)
    finally:
        call.process.poll() is None and call.process.kill()
    arrived(move)


# --- a full disk; from here on the host has a small file system for its images ---

class SmallDisk:
    """A separate file system for a host's images, and a file that fills it."""

    def __init__(self, case, host, mb):
        self.lab, self.host = case.lab, host
        file = self.lab.dir / host / 'small.img'
        with open(file, 'wb') as out:
            out.truncate(mb << 20)
        subprocess.run(['mkfs.ext4', '-q', '-F', '-m', '0', file], check=True)
        self.lab.run(host, ['umount', IMAGES], check=False)  # from the previous test
        self.lab.run(host, ['mount', '-o', 'loop', file, IMAGES])
        self.ballast = f'{IMAGES}/ballast'

    def free(self):
        """The number of free bytes."""
        fs = os.statvfs(self.lab.path(self.host, IMAGES))
        return fs.f_bavail * fs.f_frsize

    def fill(self, leave_mb):
        """Leave this many MiB free."""
        self.lab.run(self.host, ['fallocate', '-l', self.free() - (leave_mb << 20), self.ballast])

    def relieve(self):
        """Free the space again."""
        self.lab.path(self.host, self.ballast).unlink()


def small_disk(case, mb=900):
    """A busy guest on a, and a small disk for b's images."""
    case.clean()
    small = SmallDisk(case, 'b', mb)
    return small, case.guest(tree=TWO[:1], cmdline=BUSY)


def full_in_commit(case, *args):
    """A migration whose commit finds the destination full, no longer stopped: (small disk, Migration, Call)."""
    small, guest = small_disk(case)
    move = case.migration(guest, *args)
    call = move.start(fault='ACTIVATE.enter@1:stop')
    wait_until(lambda: is_stopped(call.process.pid), 90, 'the arrival')
    small.fill(1)
    os.kill(call.process.pid, signal.SIGCONT)
    return small, move, call


def status(case, host, job):
    """(the job of `status --json`, the text of `status`)"""
    return (case.call(host, 'status', job, '--json').document['jobs'][0], case.call(host, 'status', job).stdout)


def test_full(case):
    """No space for the commit: the job says how many bytes it may need and waits. It continues by itself when there is
    space, long before its next attempt. The guest, which QEMU paused, continues then and not before."""
    lab = case.lab
    small, move, call = full_in_commit(case, *policy(case, delay=60))
    try:
        wait_until(lambda: call.retries() or call.process.poll() is not None, 60, 'a retry')
        need(codes(call) == ['no-space'], 'retries:', call.retries(), call.tail())
        message = call.retries()[0]['error']['message']
        need(re.search(r'may need .* \(\d+ bytes\)', message) and IMAGES in message, 'it said', message)
        job = call.retries()[0]['job']
        document, text = status(case, 'a', job)
        need(document['state'] == 'COMMIT' and document['attempt'] == 2 and document['next_try'] and
             document['last_error']['code'] == 'no-space', 'status:', document)
        need('attempt 2' in text and 'next try' in text and 'no-space' in text, 'status:', text)
        wait_until(lambda: lab.state('b', 'g') == 'paused', 60, 'the pause of the guest')
        time.sleep(5)  # nothing may change by itself
        need(lab.state('b', 'g') == 'paused' and len(call.retries()) == 1, 'it went on without room:', call.tail())
        small.relieve()
        begin = time.monotonic()
        move.finish(60)
    finally:
        call.process.poll() is None and call.process.kill()
    need(time.monotonic() - begin < 30, 'it waited for its next try', call.tail())
    move.prove_arrived(revert=None)


def test_full_parks(case):
    """The policy gives up: the job parks, runs the command, and says what it waits for. With free space, resume
    finishes it at once."""
    lab = case.lab
    small, move, call = full_in_commit(case, *policy(case, attempts=1, delay=0.5))
    move.finish(60)
    need(call.code == UNFINISHED and call.result['outcome'] == 'parked', call.code, call.tail())
    need(call.error['code'] == 'no-space' and 'resume' in call.error['hint'], call.error)
    job = call.result['job']
    told = wait_until(lambda: lab.path('a', '/run/vmig-parked.env').exists() and
                      lab.path('a', '/run/vmig-parked.env').read_text(), 5, 'the command of the policy')
    need(f'VMIG_JOB={job}' in told and 'VMIG_STATE=COMMIT' in told and 'VMIG_ERROR=no-space' in told, told)
    document, text = status(case, 'a', job)
    need(document['state'] == 'PARKED' and document['parked_state'] == 'COMMIT' and
         document['last_error']['code'] == 'no-space', document)
    need('parked in COMMIT' in text and f'resume {job}' in text, text)
    need(lab.state('b', 'g') == 'paused', 'the guest without room is', lab.state('b', 'g'))
    small.relieve()
    resumed = follow(case, 'a', job)
    need(resumed.code == DONE and not resumed.retries(), resumed.code, resumed.tail())
    move.call = resumed
    move.prove_arrived(revert=None, events=False)


if __name__ == '__main__':
    sys.exit(main(__file__, globals(), merge='commit'))
