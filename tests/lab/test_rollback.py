# SPDX-License-Identifier: LGPL-2.1-or-later
"""Migrations that fail: at a named fault point of every state, by the operator, by the network.

Before the switchover a failure leads back: the guest on the source never notices. Transient failures are retried. After
the switchover the job only goes forward.
"""
import os
import re
import signal
import sys
import time

from cases import TWO, Disk, main, one_of_many, shared
from command import DONE, LOCKED, ROLLED_BACK, ROOT, need
from facts import file_digest
from lab import IMAGES, wait_until

# Every point before the token, in the order in which a migration reaches them. An error of class FATAL is never
# retried.
BEFORE = ['LOCK.enter', 'LOCK.leave', 'OVERLAY.enter', 'overlay.made', 'overlay.held',
          'OVERLAY.leave', 'COPY.enter', 'copy.receiving', 'copy.sent', 'copy.placed', 'COPY.leave',
          'PREPARE.enter', 'prepare.overlays', 'PREPARE.leave', 'DROP_METADATA.enter', 'drop_metadata.one',
          'DROP_METADATA.leave', 'MIGRATE.enter', 'migrate.watched', 'migrate.released', 'migrate.running']
# Points before the token in states that the policy may repeat.
REPEATED = ['COPY.enter', 'copy.receiving', 'copy.sent', 'copy.placed', 'COPY.leave',
            'MIGRATE.enter', 'migrate.watched', 'migrate.released', 'migrate.running']
# The guest is complete on the destination, and libvirt is finishing its migration. If the source is already gone, the
# guest arrives; otherwise the job rolls back.
EITHER = ['migrate.arrived', 'migrate.fenced']
# The destination owns the guest: it arrives, whatever fails.
AFTER = ['MIGRATE.leave', 'ACTIVATE.enter', 'activate.ended', 'activate.resumed', 'ACTIVATE.leave', 'COMMIT.enter',
         'commit.started', 'COMMIT.leave', 'PIVOT.enter', 'pivot.suspended', 'pivot.pivoted',
         'PIVOT.leave', 'REDEFINE.enter', 'redefine.one', 'REDEFINE.leave', 'CLEANUP.enter',
         'cleanup.undefined', 'CLEANUP.leave']
# During the rollback, after a failure at migrate.running.
BACK = ['ROLLBACK.enter', 'ROLLBACK.leave', 'BACK_COMMIT.enter', 'BACK_COMMIT.leave',
        'BACK_PIVOT.enter', 'BACK_PIVOT.leave', 'BACK_REDEFINE.enter', 'BACK_REDEFINE.leave']

# Retries soon, so that a test does not wait.
POLICY = '''[transient]
attempts=3
first-delay=0.2
growth=1
jitter=0
[overall]
deadline=20
'''


def two_disks(case):
    """The guest that all rollbacks share: it is as before after each of them."""
    return case.guest_once('two disks', lambda: case.guest(
        disks=[Disk('vda'), Disk('vdb', size='160M', fill_mb=4)],
        tree=[*TWO, ('revert', 'one', None), ('take', "branch's %", 'other')]))


def quick_policy(case):
    """Install --policy test on both hosts."""
    for host in 'ab':
        folder = case.lab.path(host, '/etc/vmig-snap/policy.d')
        folder.mkdir(parents=True, exist_ok=True)
        (folder / 'test.conf').write_text(POLICY)


def run_to(move, point, fault):
    """A migration with a fault at this point."""
    return move.run_slowly(fault) if point == 'migrate.running' else move.run(fault=fault)


def forth_or_back(case, fault):
    """The guest that moves back and forth without a trace: moves it once more, with this fault. Returns the Migration,
    which has arrived."""
    quick_policy(case)
    guest = case.guest_once('roaming', case.guest)
    other = 'b' if guest.host == 'a' else 'a'
    move = case.migration(guest, '--policy', 'test', '--source-images', 'delete',
                          source=guest.host, dest=other)
    run_to(move, fault.partition('@')[0], fault)
    move.prove_arrived(revert=None, keep=False)
    guest.host = other
    return move


def back_at(point):
    """A test: a permanent error at a point leads back."""
    @one_of_many
    @shared
    def test(case):
        move = case.migration(two_disks(case))
        run_to(move, point, f'{point}:error:interference')
        move.prove_back('interference', words=[point])
    test.__doc__ = f'A fatal error at {point} leads back.'
    return test


def again_at(point):
    """A test: a single transient error at a point is retried, and the guest arrives."""
    @one_of_many
    @shared
    def test(case):
        move = forth_or_back(case, f'{point}@1:error:connection')
        retries = move.call.retries()
        need(len(retries) == 1 and retries[0]['error']['code'] == 'connection',
             'retries:', retries, move.call.tail())
    test.__doc__ = f'A passing error at {point} is tried again.'
    return test


def forward_at(point):
    """A test: an error at a point after the token does not keep the guest from arriving."""
    @one_of_many
    @shared
    def test(case):
        code = 'interference' if point == 'MIGRATE.leave' else 'hypervisor'
        forth_or_back(case, f'{point}@1:error:{code}')
    test.__doc__ = f'After the switchover an error at {point} only leads forward.'
    return test


def either_at(point):
    """A test: an error at the moment of arrival leads to one intact guest, on either host."""
    def test(case):
        move = case.migration(case.guest())
        move.run(fault=f'{point}@1:error:interference')
        if move.call.code == 0:
            move.prove_arrived()
        else:
            move.prove_back('interference', words=[point])
    test.__doc__ = f'An error at {point} leads to one whole guest, on one of the hosts.'
    return test


def back_again_at(point):
    """A test: a single error during the rollback is retried."""
    @one_of_many
    @shared
    def test(case):
        quick_policy(case)
        move = case.migration(two_disks(case), '--policy', 'test')
        move.run_slowly(f'migrate.running:error:interference,{point}@1:error:hypervisor')
        move.prove_back('interference', words=['migrate.running'])
    test.__doc__ = f'An error at {point} does not end the way back.'
    return test


def test_points_are_all(case):
    """Every fault point of the product is in one of the lists above, or is known to need something else."""
    states = re.findall(r'^VMIG_STATE\((\w+)', (ROOT / 'plugin/flows/migrate/states.def').read_text(), re.M)
    named = re.findall(r'^VMIG_POINT\("([\w.]+)"', (ROOT / 'plugin/os/faults.def').read_text(), re.M)
    # No step runs in these; UNCERTAIN is covered by the crash tests.
    without = {'PLAN', 'DONE', 'ROLLED_BACK', 'SET_ASIDE', 'PARKED', 'UNCERTAIN'}
    every = {f'{state}.{end}' for state in states if state not in without
             for end in ('enter', 'leave')} | set(named)
    # A half-written token and an interrupted rollback need a crash to matter; test_mirror, test_pivot, test_rehearsal
    # and test_others have the last ones.
    elsewhere = {'token.source', 'token.dest', 'rollback.dest', 'copy.unplaced', 'pivot.before', 'pivot.asked',
                 'rehearsal.started', 'aside.other', 'aside.released', 'aside.told'}
    tested = {*BEFORE, *EITHER, *AFTER, *BACK}
    need(every - tested == elsewhere and tested <= every,
         'points without a test:', every - tested - elsewhere, 'tests without a point:', tested - every)


globals().update({f'test_back_at_{point}': back_at(point) for point in BEFORE})
globals().update({f'test_back_again_at_{point}': back_again_at(point) for point in BACK})
globals().update({f'test_again_at_{point}': again_at(point) for point in REPEATED})
globals().update({f'test_either_at_{point}': either_at(point) for point in EITHER})
globals().update({f'test_forward_at_{point}': forward_at(point) for point in AFTER})


@shared
def test_revert_after_rollback(case):
    """After all those rollbacks the guest can still revert to a snapshot with memory, and can be migrated."""
    guest = two_disks(case)
    move = case.migration(guest)
    move.run_slowly('migrate.running:error:interference')
    move.prove_back('interference', revert='two')


def test_chain_back(case):
    """A disk of three files: the overlay is committed into the top one, the others are unchanged."""
    disk = Disk('vda', below=(f'{IMAGES}/middle.qcow2', f'{IMAGES}/deep.qcow2'), relative=True)
    guest = case.guest(disks=[disk])
    digests = {path: file_digest(case.lab, 'a', path) for path in disk.below}
    move = case.migration(guest)
    move.run_slowly('migrate.running:error:interference')
    move.prove_back('interference', revert='one')
    need(digests == {path: file_digest(case.lab, 'a', path) for path in disk.below},
         'a file below the top changed')


def test_attempts_run_out(case):
    """A permanent failure ends by the policy: back, after this many retries."""
    quick_policy(case)
    move = case.migration(case.guest(tree=TWO[:1]), '--policy', 'test')
    move.run(fault='copy.sent:error:connection')
    need(len(move.call.retries()) == 3, 'retries:', len(move.call.retries()))
    move.prove_back('connection', words=['copy.sent'])


def test_paused_back(case):
    """A guest that its user paused is still paused after a rollback."""
    guest = case.guest(tree=TWO[:1])
    case.lab.virsh('a', 'suspend', 'g')
    move = case.migration(guest)
    move.run_slowly('migrate.running:error:interference')
    ran = [states for _, states in move.watch.changes if 'running' in states.values()]
    need(not ran, 'the guest ran:', ran)
    move.prove_back('interference', stall_ms=1e9)


# --- the operator --------------------------------------------------------------------------------

@shared
def test_interrupt_copy(case):
    """^C while the base is copied."""
    move = case.migration(two_disks(case), '--bandwidth', '20M')
    call = move.start()
    call.wait_state('COPY')
    time.sleep(1)
    call.interrupt()
    begin = time.monotonic()
    move.finish()
    need(time.monotonic() - begin < 15, 'going back took', time.monotonic() - begin)
    move.prove_back('cancelled')
    need('interrupted' in call.stderr, 'it did not say so:', call.stderr)


@shared
def test_interrupt_copy_often(case):
    """^C pressed repeatedly, then SIGTERM: nothing is interrupted in the middle."""
    move = case.migration(two_disks(case), '--bandwidth', '20M')
    call = move.start()
    call.wait_state('COPY')
    for _ in range(15):
        if call.process.poll() is None:
            call.interrupt()
        time.sleep(0.1)
    if call.process.poll() is None:
        call.interrupt(signal.SIGTERM)
    move.finish()
    move.prove_back('cancelled')


@shared
def test_interrupt_migrate(case):
    """^C while libvirt migrates."""
    move = case.migration(two_disks(case))
    call = move.start()
    call.wait_state('DROP_METADATA')
    case.lab.rate(40)
    try:
        call.wait_state('MIGRATE')
        time.sleep(1.5)
        call.interrupt()
        move.finish()
    finally:
        case.lab.rate(None)
    move.prove_back('cancelled')


@shared
def test_terminate_migrate(case):
    """SIGTERM soon after libvirt's job begins: back, or forward if the source's CPUs had already stopped."""
    move = case.migration(two_disks(case))
    call = move.start(fault='migrate.running:delay:1000')
    call.wait_state('MIGRATE')
    time.sleep(0.3)
    call.interrupt(signal.SIGTERM)
    move.finish()
    if call.code == DONE:
        move.prove_arrived(revert=None)
        case.clean()
    else:
        move.prove_back('cancelled')


@shared
def test_cancel_detached(case):
    """vmig-snap cancel from elsewhere while a job runs: it reports the process that works on it, or ends it; the guest
    is safe in either case."""
    lab = case.lab
    guest = two_disks(case)
    move = case.migration(guest, '--bandwidth', '20M')
    call = move.start()
    call.wait_state('COPY')
    cancel = case.call('a', 'cancel', 'g')
    if cancel.code != LOCKED:
        need(cancel.code in (DONE, ROLLED_BACK), 'cancel:', cancel.code, cancel.stdout, cancel.stderr)
    else:
        need(re.search('[0-9a-f]{16}', cancel.stderr), 'it does not say who:', cancel.stderr)
        call.interrupt()
    move.finish()
    move.prove_back('cancelled')


def test_interrupt_after_switchover(case):
    """^C after the switchover: it says that the job can only go forward, and continues."""
    move = case.migration(case.guest(tree=TWO[:1]))
    call = move.start(fault='commit.started:delay:2000')
    call.wait_state('ACTIVATE')
    time.sleep(0.5)
    call.interrupt()
    move.finish()
    need('destination' in call.stderr, 'it did not say so:', call.stderr)
    move.prove_arrived(revert=None)


def test_guest_goes_off(case):
    """The guest shuts down during its base copy: it stays off, its disks and snapshots are intact, and the message says
    that it does not run."""
    lab, guest = case.lab, case.guest()
    move = case.migration(guest, '--bandwidth', '20M')
    call = move.start()
    call.wait_state('COPY')
    lab.virsh('a', 'destroy', 'g')
    move.finish()
    need(call.code == ROLLED_BACK and call.error.get('code') == 'guest-gone', call.code, call.error)
    need('runs on' not in call.stderr, 'it says that the guest runs:', call.stderr)
    need(lab.state('a', 'g') == 'shut off' and not lab.virsh('b', 'list', '--all', '--name').strip(),
         'states:', lab.state('a', 'g'), lab.virsh('b', 'list', '--all'))
    wrong = move._content('a')
    need(not wrong, *wrong)
    lab.virsh('a', 'start', 'g')
    lab.wait_writes('a', 'g', 5)


# --- the network and the hosts -------------------------------------------------------------------

@shared
def test_timeout(case):
    """--timeout: a migration that does not finish in time is given up."""
    quick_policy(case)
    move = case.migration(two_disks(case), '--timeout', '2', '--policy', 'test')
    move.run_slowly(mbit=30, through_retries=True)
    move.prove_back('timeout')


@shared
def test_agent_killed(case):
    """The agent on the destination dies while it receives."""
    quick_policy(case)
    move = case.migration(two_disks(case), '--bandwidth', '20M', '--policy', 'test')
    call = move.start()
    call.wait_state('COPY')
    time.sleep(1)
    for pid in case.lab.processes('b', 'vmig-snap'):
        os.kill(pid, signal.SIGKILL)
    move.finish()
    if call.code == DONE:
        move.prove_arrived(revert=None)
        case.clean()
    else:
        move.prove_back()


def test_receiver_killed(case):
    """qemu-nbd on the destination dies while it receives: the base copy is copied again."""
    quick_policy(case)
    move = case.migration(case.guest(), '--bandwidth', '40M', '--policy', 'test')
    call = move.start()
    call.wait_state('COPY')
    time.sleep(1)
    for pid in case.lab.processes('b', 'qemu-nbd'):
        os.kill(pid, signal.SIGKILL)
    move.finish()
    need(call.retries(), 'it was not tried again:', call.tail())
    move.prove_arrived(revert=None)


def test_destination_qemu_killed(case):
    """The QEMU that receives the guest dies: the migration is retried, or rolled back."""
    quick_policy(case)
    move = case.migration(case.guest(), '--policy', 'test')
    call = move.start()
    call.wait_state('DROP_METADATA')
    case.lab.rate(60)
    try:
        wait_until(lambda: case.lab.qemu_pid('b', 'g') or call.process.poll() is not None, 30,
                   'QEMU on b')
        time.sleep(0.5)
        if case.lab.qemu_pid('b', 'g'):
            case.lab.kill_qemu('b', 'g')
    finally:
        case.lab.rate(None)
    move.finish()
    need(call.retries(), 'it was not tried again:', call.tail())
    move.prove_arrived(revert=None)


if __name__ == '__main__':
    sys.exit(main(__file__, globals()))
