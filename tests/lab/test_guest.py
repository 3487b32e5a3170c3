# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a guest does by itself during its migration without ending: it reboots.

Shutdown, suspension and a stop by a disk error are tested with the states that handle them: test_rollback, test_lock,
test_commit.
"""
import sys

from cases import TWO, main, shared
from command import DONE, need
from lab import wait_until
from stopped import OTHER, stopped


def roaming(case):
    """The guest that moves back and forth."""
    return case.guest_once('roaming', lambda: case.guest(tree=TWO))


def reset_at(point):
    """A test: the guest is reset at this point and reboots in the same QEMU; it arrives and keeps writing."""
    @shared
    def test(case):
        lab, guest = case.lab, roaming(case)
        options = ['--merge', 'commit'] if point.startswith('commit.') else []
        move = case.migration(guest, '--source-images', 'delete', *options, source=guest.host, dest=OTHER[guest.host])
        with stopped(move, point) as call:
            where = next(host for host in OTHER if lab.state(host, guest.name) == 'running')
            boots = lab.console(where, guest.name).count(b'\nB ')
            pid = lab.qemu_pid(where, guest.name)
            lab.virsh(where, 'reset', guest.name)
            wait_until(lambda: lab.console(where, guest.name).count(b'\nB ') > boots, 30, 'another boot')
            need(lab.qemu_pid(where, guest.name) == pid, 'the reset made another QEMU')
        need(call.code == DONE, call.code, call.tail())
        move.prove_arrived(revert=None, keep=False)
        guest.host = move.dest
    test.__doc__ = f'virsh reset at {point}.'
    return test


# With merge "mirror" there is no commit.
globals().update({f'test_reset_at_{point}': reset_at(point) for point in ('copy.sent', 'migrate.released',
                                                                          'commit.started@2', 'PIVOT.enter')})


if __name__ == '__main__':
    sys.exit(main(__file__, globals()))
