# SPDX-License-Identifier: LGPL-2.1-or-later
"""libvirtd killed at a pivot: it may lose track of the guest, or leave its definition on the overlay; the job ends
correctly. And a pivot that takes long, while the tool is killed: nothing is wrong with that guest.

Some kills of each kind; tests/crash/pivot makes as many as requested.
"""
import contextlib
import os
import signal
import sys

import pivot_kills
from cases import Disk, main
from command import Call, need
from lab import wait_until
from stopped import is_stopped

DELAYS = (12, 18, 24, 30)


def test_back(case):
    """Four kills of the source's libvirtd during rollbacks of one guest with two disks."""
    guest = case.guest(disks=[Disk(), Disk('vdb')])
    counts = pivot_kills.new_counts()
    for number, delay in enumerate(DELAYS):
        pivot_kills.count(counts, pivot_kills.kill_back(case, guest, delay, 1 + number % 2))
    print(f'# {pivot_kills.tell(counts)}')


def test_there(case):
    """A kill of the destination's libvirtd."""
    counts = pivot_kills.new_counts()
    pivot_kills.count(counts, pivot_kills.kill_there(case, case.guest(), 20))
    print(f'# {pivot_kills.tell(counts)}')


@contextlib.contextmanager
def _frozen(pid):
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def test_slow(case):
    """The tool is killed during a pivot that takes long. The next one reads libvirt's definition before it is done, asks
    QEMU when it is done, and does not take the difference for a contradiction: the guest is not restarted."""
    lab, move = case.lab, case.migration(case.guest())
    call = move.start(fault='pivot.before@1:stop')
    wait_until(lambda: is_stopped(call.process.pid) or call.process.poll() is not None, 60, 'the pivot')
    qemu, disk = lab.qemu_pid('b', 'g'), move.guest.files['vda'][0]
    with _frozen(qemu):
        os.kill(call.process.pid, signal.SIGCONT)
        wait_until(lambda: 'occupied' in lab.virsh('b', 'domcontrol', 'g'), 20, 'the pivot')
        os.kill(call.process.pid, signal.SIGKILL)
        call.wait(20)
        move.stop_watching()
        again = Call(lab, 'a', ['resume', '--all', '--json'], {'VMIG_SNAP_FAULT': 'pivot.asked@1:stop'})
        wait_until(lambda: is_stopped(again.process.pid) or again.process.poll() is not None, 60, 'the resume')
        need(again.process.poll() is None, 'it did not ask QEMU:', again.tail())
    wait_until(lambda: lab.disks('b', 'g')['vda'] == disk, 20, 'the end of the pivot')
    os.kill(again.process.pid, signal.SIGCONT)
    again.wait()
    need(again.code == 0, 'it did not arrive:', again.code, again.tail())
    need(lab.qemu_pid('b', 'g') == qemu, 'the guest was restarted:', again.tail())
    need('destroyed' not in again.stdout, 'it says that it destroyed the guest:', again.tail())
    move.call = again
    pivot_kills.judge(move, 'b', 'a', 0)


if __name__ == '__main__':
    sys.exit(main(__file__, globals(), merge='commit'))
