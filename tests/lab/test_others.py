# SPDX-License-Identifier: LGPL-2.1-or-later
"""Others on the same hosts: several jobs at once, a guest that has the same UUID, and the guest's own user."""
import os
import signal
import sys

import oracle
from cases import CALM, TWO, Disk, main, shared
from command import DONE, ROLLED_BACK, need
from facts import files_there
from lab import IMAGES
from stopped import OTHER, stopped

QUIET = CALM.replace('rate=40', 'rate=20')


# --- a guest with the same UUID -------------------------------------------------------------------

def restore(lab, guest, host, start):
    """Another guest is restored on a host, under the UUID of this one."""
    uuid = lab.virsh(guest.host, 'domuuid', guest.name).strip()
    path = lab.make_disk(host, f'{IMAGES}/restored.qcow2', '16M')
    lab.make_guest(host, 'restored', [path], uuid=uuid, memory_mib=96, cmdline='vmig.rate=0', start=start)


def known(lab, host):
    """What must not change of the restored guest."""
    return {'state': lab.state(host, 'restored'), 'QEMU': lab.qemu_pid(host, 'restored'),
            'definition': lab.virsh(host, 'dumpxml', 'restored', '--inactive', check=False).stdout}


def restored(start):
    """A test: while the job copies somebody restores another guest with the same UUID on the destination."""
    @shared
    def test(case):
        lab = case.lab
        guest = case.guest_once('kept', lambda: case.guest(tree=TWO))
        move = case.migration(guest)
        try:
            with stopped(move, 'seed.sent') as call:
                restore(lab, guest, 'b', start)
                before = known(lab, 'b')
            need(call.code == ROLLED_BACK and call.error['code'] == 'interference', call.code, call.tail())
            need('is not the guest of this job' in call.error['message'], call.error)
            need(known(lab, 'b') == before, 'the restored guest was', before, 'and is', known(lab, 'b'))
        finally:
            lab.remove_guest('b', 'restored')
            lab.path('b', f'{IMAGES}/restored.qcow2').unlink(missing_ok=True)
        move.prove_back(code='interference')
    test.__doc__ = f'It is {"running" if start else "defined"}: the job goes back and leaves it alone.'
    return test


test_restored_and_running = restored(True)
test_restored_and_off = restored(False)


# --- the guest's user ------------------------------------------------------------------------------

@shared
def test_suspended_and_cancelled(case):
    """virsh suspend while the base is copied, then the job is cancelled: the guest stays suspended."""
    lab = case.lab
    guest = case.guest_once('kept', lambda: case.guest(tree=TWO))
    move = case.migration(guest)
    with stopped(move, 'seed.sent') as call:
        lab.virsh('a', 'suspend', guest.name)
        os.kill(call.process.pid, signal.SIGTERM)
    need(call.code == ROLLED_BACK and call.error['code'] == 'cancelled', call.code, call.tail())
    need(lab.state('a', guest.name) == 'paused', 'its user suspended it, it is', lab.state('a', guest.name))
    lab.virsh('a', 'resume', guest.name)
    move.prove_back(code='cancelled', stall_ms=600000)


# --- several jobs at once -------------------------------------------------------------------------

def test_three_at_once(case):
    """Two guests from one host and one from the other, all at the same time: each arrives whole."""
    lab = case.lab
    homes = {'g1': 'a', 'g2': 'a', 'g3': 'b'}
    guests = [case.guest(name, [Disk('vda', size='96M', fill_mb=mb)], tree=TWO[:1], host=host, cmdline=QUIET,
                         memory_mib=96)
              for (name, host), mb in zip(homes.items(), (24, 4, 8))]
    before = {host: files_there(lab, host) for host in OTHER}
    moves = [case.migration(guest, source=guest.host, dest=OTHER[guest.host]) for guest in guests]
    for move in moves:
        move.start()
    for move in moves:
        move.finish(240)
    need(all(move.call.code == DONE for move in moves), [(m.guest.name, m.call.code, m.call.tail()) for m in moves])
    for move in moves:
        move.prove_guest()
    for host in OTHER:
        here = [name for name, home in homes.items() if home != host]
        left = oracle.leftovers(lab, host, before['a'] | before['b'], here)
        need(not left, f'left on {host}:', left)


if __name__ == '__main__':
    sys.exit(main(__file__, globals()))
