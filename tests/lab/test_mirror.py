# SPDX-License-Identifier: LGPL-2.1-or-later
"""The mirror merge: libvirt mirrors the overlays directly into the base copies, and nothing is left to commit on the
destination. The result is checked as with the commit merge. A failure leaves no trace, and a retry starts with base
copies that are proven again."""
import os
import signal
import sys

from cases import TWO, Disk, main, shared
from command import DONE, UNFINISHED, need
from lab import IMAGES, IMAGES2, wait_until
from stopped import OTHER, stopped
from test_commit import small_disk
from test_rollback import quick_policy

MIRROR = ('--merge', 'mirror')


def notes(call, words):
    """The notes of a call that contain these words."""
    return [event['message'] for _, event in call.events
            if event['event'] == 'note' and words in event['message']]


def two_disks(case):
    """The guest of the rollbacks: it is as before after each of them."""
    return case.guest_once('direct: two disks', lambda: case.guest(
        disks=[Disk('vda'), Disk('vdb', size='160M', fill_mb=4)],
        tree=[*TWO, ('revert', 'one', None), ('take', 'branch', 'other')]))


def test_chain_beside_raw(case):
    """A chain of three files that moves to another folder, and a raw disk: only the top is written to, nothing is
    committed, no overlay is made on the destination, and every snapshot is there."""
    lab = case.lab
    chain = Disk('vda', below=(f'{IMAGES}/middle.qcow2', f'{IMAGES}/deep.qcow2'))
    guest = case.guest(disks=[chain, Disk('vdb', size='160M', fill_mb=4)])
    paths = {path: path.replace(IMAGES, IMAGES2) for path in guest.all_files()}
    move = case.migration(guest, *MIRROR, '--verify', '--map-dir', f'{IMAGES}={IMAGES2}', paths=paths)
    call = move.start(fault='activate.resumed:delay:1500')
    call.wait_state('ACTIVATE')
    lab.wait_writes('b', 'g', 3)
    there = sorted(os.listdir(lab.path('b', IMAGES2)))
    live = lab.virsh('b', 'dumpxml', 'g')
    move.finish()
    need(there == sorted(os.path.basename(path) for path in paths), 'files on the destination:', there)
    need(all(f"'{paths[chain_[0]]}'" in live for chain_ in guest.files.values()) and '<mirror' not in live,
         'the guest runs on something else than its copies:', live)
    states = [name for _, name in call.states()]
    need(states.index('REDEFINE') > states.index('PIVOT'), states)
    move.prove_arrived()


@shared
def test_back_and_again(case):
    """A migration that fails twice after it began, and once more while the base copies are turned into parts again.
    Each time they are synchronized and proven; then the migration is given up, and nothing of it is left."""
    quick_policy(case)
    move = case.migration(two_disks(case), *MIRROR, '--policy', 'test')
    call = move.run_slowly('migrate.running@1:error:connection,copy.unplaced@1:error:connection,'
                           'migrate.running@2:error:connection,migrate.running@3:error:interference',
                           through_retries=True)
    need(len(call.retries()) == 3, call.code, call.states(), 'retries:', call.retries(), call.tail())
    need(len(notes(call, 'made equal to')) == 4, 'the copies were taken as they were:', call.tail())
    move.prove_back('interference', words=['migrate.running'], revert='two')


@shared
def test_tool_killed(case):
    """The tool dies while libvirt migrates: what arrived is not used, and the base copy is discarded."""
    move = case.migration(two_disks(case), *MIRROR)
    call = move.start(fault='migrate.running:kill')
    move.finish()
    need(call.code == -signal.SIGKILL, call.code, call.tail())
    move.call = case.call('a', 'resume', 'g', '--json', timeout=90)
    if move.call.code == DONE:  # libvirt was faster than the resume
        move.prove_arrived(revert=None)
        case.clean()
    else:
        move.prove_back('interrupted', stall_ms=1e9)


def roaming(case):
    """The guest that moves back and forth without leaving a trace."""
    return case.guest_once('direct: roaming', lambda: case.guest(tree=TWO[:1]))


def journey(case, *args):
    """A migration of the roaming guest to the host where it is not."""
    guest = roaming(case)
    quick_policy(case)
    return case.migration(guest, '--merge', 'mirror', '--source-images', 'delete', '--policy', 'test', *args,
                          source=guest.host, dest=OTHER[guest.host])


def arrived(move):
    """It arrived with everything, and its base copies were proven again at every retry."""
    move.prove_arrived(revert=None, keep=False)
    move.guest.host = move.dest


@shared
def test_destination_qemu_killed(case):
    """The receiving QEMU dies in the middle of the mirror: the half-written base copy is proven again, the overlay
    stays, no base is copied a second time, and the guest arrives."""
    lab = case.lab
    move = journey(case)
    call = move.start()
    call.wait_state('DROP_METADATA')
    lab.rate(60)
    try:
        wait_until(lambda: lab.qemu_pid(move.dest, 'g') or call.process.poll() is not None, 30, 'the second QEMU')
        wait_until(lambda: call.process.poll() is not None or
                   any(event['event'] == 'progress' and event['phase'] == 'MIGRATE' and event['done'] > 0
                       for _, event in call.events), 30, 'the mirror')
        if lab.qemu_pid(move.dest, 'g'):
            lab.kill_qemu(move.dest, 'g')
    finally:
        lab.rate(None)
    move.finish()
    need(len(call.retries()) == 1, 'retries:', call.retries(), call.tail())
    need([name for _, name in call.states()].count('OVERLAY') == 1, call.states())
    need(len(notes(call, 'made equal to')) == 1, 'the copy was taken as it was:', call.tail())
    size = sum(os.stat(lab.path(move.dest, path)).st_blocks * 512 for path in move.files_moved())
    need(call.result['bytes_copied'] < 1.5 * size, 'copied', call.result['bytes_copied'], 'of', size)
    arrived(move)


@shared
def test_parked_and_resumed(case):
    """The policy parks after the first failure, and a user resumes: the base copy is proven again before use."""
    move = journey(case)
    for host in 'ab':
        (case.lab.path(host, '/etc/vmig-snap/policy.d') / 'park.conf').write_text(
            '[transient]\nattempts=0\n[overall]\nthen=park\n')
    move.args[move.args.index('test')] = 'park'
    with stopped(move, 'migrate.running') as call:
        # Not caused by the tool: the network of the migration breaks.
        case.lab.kill_qemu(move.dest, 'g')
    need(call.code == UNFINISHED, call.code, call.tail())
    move.call = case.call(move.source, 'resume', 'g', '--json', timeout=90)
    need(len(notes(move.call, 'made equal to')) == 1, 'the copy was taken as it was:', move.call.tail())
    arrived(move)


@shared
def test_killed_there(case):
    """QEMU dies on the destination as soon as the guest runs there: nothing is lost, and it is restarted."""
    move = journey(case)
    with stopped(move, 'activate.resumed') as call:
        case.lab.wait_writes(move.dest, 'g', 5)
        case.lab.kill_qemu(move.dest, 'g')
    need('started again' in call.stdout, 'it did not say so:', call.tail())
    arrived(move)


def test_auto_paused(case):
    """--merge auto: plan says which method and why, and the migration uses it. A paused guest arrives paused."""
    lab = case.lab
    guest = case.guest(tree=TWO[:1])
    lab.virsh('a', 'suspend', 'g')
    plan = case.call('a', 'plan', 'g', lab.uri('b'), '--json', '--merge', 'auto').document
    need(plan['merge'] == 'mirror' and plan['merge_why'], plan)
    commit = case.call('a', 'plan', 'g', lab.uri('b'), '--json').document
    need(commit['merge'] == 'commit' and commit['destination_needs'] > plan['destination_needs'], commit, plan)
    move = case.migration(guest, '--merge', 'auto')
    move.run()
    need(move.call.result['merge'] == 'mirror', move.call.result)
    ran = [states for _, states in move.watch.changes if 'running' in states.values()]
    need(not ran, 'the guest ran:', ran)
    move.prove_arrived(revert=None)


def test_full(case):
    """The destination's file system is full: detected before the switchover, unnoticed by the guest on the source, and
    nothing is left."""
    small, guest = small_disk(case)
    for host in 'ab':
        folder = case.lab.path(host, '/etc/vmig-snap/policy.d')
        folder.mkdir(parents=True, exist_ok=True)
        (folder / 'once.conf').write_text('[transient]\nattempts=1\nfirst-delay=0.2\n')
    move = case.migration(guest, *MIRROR, '--policy', 'once')
    with stopped(move, 'migrate.watched') as call:
        small.fill(1)
    small.relieve()
    need('ACTIVATE' not in [name for _, name in call.states()], call.states())
    move.prove_back('hypervisor', words=['No space left'], stall_ms=15000)
    case.lab.run('b', ['umount', IMAGES], check=False)


if __name__ == '__main__':
    sys.exit(main(__file__, globals()))
