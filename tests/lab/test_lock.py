# SPDX-License-Identifier: LGPL-2.1-or-later
"""The operation lock: while a job holds a guest, no user can change its disks or snapshots, not even root.

The job is stopped in COPY, in MIGRATE and in COMMIT, and everything that would lose data is attempted as root with
virsh. It is refused, the guest and its files are as before, and the job then ends DONE. What libvirt cannot refuse is
attempted, too: the job notices it, and the guest is safe.
"""
import os
import re
import signal
import sys
import time

import oracle
from cases import TWO, Disk, main, shared
from command import DONE, LOCKED, REFUSED, ROLLED_BACK, UNFINISHED, Call, need
from facts import files_there, normal_xml
from lab import wait_until
from stopped import OTHER, stopped

SCRATCH = '/run/foreign'


# --- a stopped job -------------------------------------------------------------------------------

def roaming(case):
    """The guest that moves back and forth: two disks, a tree of two snapshots."""
    return case.guest_once('roaming', lambda: case.guest(
        disks=[Disk('vda'), Disk('vdb', size='160M', fill_mb=4)], tree=TWO))


def journey(case, guest, *args):
    """A migration of the roaming guest to the host where it is not."""
    return case.migration(guest, '--source-images', 'delete', *args, source=guest.host,
                          dest=OTHER[guest.host])


# A merge by "mirror" has neither a commit nor an overlay on the destination.
COMMIT = ('--merge', 'commit')


def arrived(move):
    """The job ended DONE and everything is correct."""
    move.prove_arrived(revert=None, keep=False)
    move.guest.host = move.dest


# --- what must be refused ------------------------------------------------------------------------

def forbidden(lab, guest, host):
    """{name: argv of virsh} of everything that must be refused while a job holds the guest."""
    other = lab.uri(OTHER[host])
    name = guest.name
    targets = list(guest.files)
    internal = [word for t in targets for word in ('--diskspec', f'{t},snapshot=internal')]
    external = [word for t in targets
                for word in ('--diskspec', f'{t},snapshot=external,file={SCRATCH}-{t}.qcow2')]
    nothing = [word for t in targets for word in ('--diskspec', f'{t},snapshot=no')]
    return {
        'snapshot-create': ['snapshot-create', name],
        'snapshot-create-as': ['snapshot-create-as', name, 'foreign'],
        'snapshot-create-as internal': ['snapshot-create-as', name, 'foreign', *internal],
        'snapshot-create-as --disk-only': ['snapshot-create-as', name, 'foreign', '--disk-only'],
        'snapshot-create-as external': ['snapshot-create-as', name, 'foreign', '--disk-only',
                                        '--no-metadata', *external],
        'snapshot-create-as memory': ['snapshot-create-as', name, 'foreign', '--memspec',
                                      f'file={SCRATCH}.mem,snapshot=external', *nothing],
        'snapshot-revert': ['snapshot-revert', name, 'one'],
        'snapshot-revert --force': ['snapshot-revert', name, 'one', '--running', '--force'],
        'snapshot-delete': ['snapshot-delete', name, 'two'],
        'blockcommit': ['blockcommit', name, 'vda', '--active', '--pivot'],
        'blockcommit base': ['blockcommit', name, 'vdb', '--active', '--shallow'],
        'blockpull': ['blockpull', name, 'vda', '--wait'],
        'blockcopy': ['blockcopy', name, 'vda', '--dest', f'{SCRATCH}.copy', '--transient-job'],
        'save': ['save', name, f'{SCRATCH}.save'],
        'managedsave': ['managedsave', name],
        'detach-disk': ['detach-disk', name, 'vdb', '--live'],
        'blockresize': ['blockresize', name, 'vda', '400M'],
        'migrate': ['migrate', '--live', '--p2p', '--copy-storage-all', name, other],
        'migrate unsafe': ['migrate', '--live', '--p2p', '--unsafe', name, other],
        'backup-begin': ['backup-begin', name],
    }


def attempts(lab, host, commands, timeout=75):
    """Run all of them in parallel as root: {name: (code, words)}."""
    running = {name: lab.popen(host, ['virsh', '-c', 'qemu:///system', *argv])
               for name, argv in commands.items()}
    ended = {}
    for name, process in running.items():
        out, err = process.communicate(timeout=timeout)
        ended[name] = (process.returncode, ' '.join((out + err).split()))
    return ended


def look(lab, guest, host):
    """What an attempt must not change on the guest's current host."""
    def settled(text):
        return re.sub(r" ready='(yes|abort|pivot)'", '', normal_xml(text))
    files = {h: files_there(lab, h) for h in OTHER}
    return {
        'state': lab.state(host, guest.name),
        'QEMU': lab.qemu_pid(host, guest.name),
        'live': settled(lab.virsh(host, 'dumpxml', guest.name, '--security-info')),
        'persistent': lab.virsh(host, 'dumpxml', guest.name, '--inactive', '--security-info'),
        'snapshots': lab.virsh(host, 'snapshot-list', '--domain', guest.name, '--tree'),
        'files': files,
        'scratch': sorted(p.name for p in lab.path(host, '/run').glob('foreign*')),
        'overlays': {path: [s.name for s in oracle.image_facts(lab, host, path)]
                     for path in files[host] if 'overlay' in path or path.endswith('.vmig')},
        'snapshots of files': {path: oracle.image_facts(lab, host, path)
                               for path in guest.all_files()},
    }


def changes(before, now):
    """The names of the differences, with both values."""
    return [(key, before[key], now[key]) for key in before if before[key] != now[key]]


def all_refused(case, move, host):
    """Every attempt on this host is refused and changes nothing."""
    lab, guest = case.lab, move.guest
    before = look(lab, guest, host)
    ended = attempts(lab, host, forbidden(lab, guest, host))
    done = {name: words for name, (code, words) in ended.items() if code == 0}
    need(not done, 'NOT REFUSED:', done)
    now = look(lab, guest, host)
    need(not changes(before, now), 'an attempt changed', changes(before, now)[:2])


def second_locked(case, move, hosts='ab'):
    """A second vmig-snap migrate is refused on either host, with the holder and the time."""
    lab, guest = case.lab, move.guest
    for host in hosts:
        begin = time.monotonic()
        call = case.call(host, 'migrate', guest.name, lab.uri(OTHER[host]), '--json')
        took = time.monotonic() - begin
        need(took < 3, f'on {host} it took {took:.1f} s to say so')
        need(call.code == LOCKED, f'on {host} the second one ended with {call.code}:', call.tail())
        need(move.call.states() and call.error.get('code') == 'locked', call.tail())
        job = next(e['job'] for _, e in move.call.events if e.get('job'))
        message = call.error['message']
        need(job in message and re.search(r'since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d', message),
             f'on {host} it does not say who and since when:', message)


@shared
def test_held_in_copy(case):
    """COPY: the holds refuse."""
    guest = roaming(case)
    move = journey(case, guest)
    with stopped(move, 'copy.sent'):
        all_refused(case, move, guest.host)
        second_locked(case, move)
    arrived(move)


@shared
def test_held_in_migrate(case):
    """MIGRATE: libvirt's own migration job refuses."""
    guest = roaming(case)
    move = journey(case, guest)
    with stopped(move, 'migrate.running', rate=4):
        all_refused(case, move, guest.host)
        second_locked(case, move)
    arrived(move)


@shared
def test_held_in_commit(case):
    """COMMIT: the commit job refuses, on the destination."""
    guest = roaming(case)
    move = journey(case, guest, *COMMIT)
    with stopped(move, 'commit.started@2'):
        all_refused(case, move, OTHER[guest.host])
        second_locked(case, move)
    arrived(move)


# --- what cannot be refused ----------------------------------------------------------------------

@shared
def test_abort_in_copy(case):
    """virsh blockjob --abort of a hold: it is restarted before the next state."""
    lab = case.lab
    guest = roaming(case)
    move = journey(case, guest)
    with stopped(move, 'copy.sent') as call:
        lab.virsh(guest.host, 'blockjob', guest.name, 'vda', '--abort')
        need(not lab.virsh(guest.host, 'blockjob', guest.name, 'vda', '--raw').strip(), 'it was not aborted')
        os.kill(call.process.pid, signal.SIGCONT)
        call.wait_state('DROP_METADATA')
        held = lab.virsh(guest.host, 'blockjob', guest.name, 'vda', '--raw', check=False).stdout
        need('Copy' in held or any(state == 'MIGRATE' for _, state in call.states()), 'nothing holds vda:', held)
    need(call.code != DONE or not call.error, call.tail())
    arrived(move)


def suspended_at(point):
    """A test: the guest's user suspends it at this point, and it arrives suspended."""
    @shared
    def test(case):
        lab = case.lab
        guest = roaming(case)
        move = journey(case, guest, *(COMMIT if point.startswith('commit.') else ()))
        with stopped(move, point) as call:
            where = next(host for host in OTHER if lab.state(host, guest.name) == 'running')
            lab.virsh(where, 'suspend', guest.name)
        need(call.code == DONE, call.code, call.tail())
        need(lab.state(move.dest, guest.name) == 'paused', 'its user suspended it, it is',
             lab.state(move.dest, guest.name))
        lab.virsh(move.dest, 'resume', guest.name)
        arrived(move)
    test.__doc__ = f'virsh suspend at {point}: it arrives suspended.'
    return test


globals().update({f'test_suspended_at_{point}': suspended_at(point)
                  for point in ('copy.sent', 'commit.started@2', 'PIVOT.enter')})


@shared
def test_suspended_and_resumed(case):
    """virsh suspend and resume during the base copy have no effect on the job."""
    guest = roaming(case)
    move = journey(case, guest)
    with stopped(move, 'copy.sent'):
        case.lab.virsh(guest.host, 'suspend', guest.name)
        case.lab.virsh(guest.host, 'resume', guest.name)
    arrived(move)


def odd_in_commit(name, do, after=None):
    """A test: something that libvirt does not refuse is done on the destination while the commit holds the disks. The
    job notices it and ends as if it had not happened."""
    @shared
    def test(case):
        guest = roaming(case)
        move = journey(case, guest, *COMMIT)
        with stopped(move, 'commit.started@2') as call:
            do(case.lab, move.dest, guest.name)
        need(call.code == DONE, 'it ended with', call.code, call.tail())
        if after:
            after(case.lab, move, call)
        arrived(move)
    test.__doc__ = f'virsh {name} in COMMIT.'
    return test


def _checkpoint(lab, host, name):
    lab.virsh(host, 'checkpoint-create-as', name, 'foreign')


def _checkpoint_told(lab, move, call):
    notes = [event['message'] for _, event in call.events if event['event'] == 'note']
    need(any('1 checkpoint(s)' in note for note in notes), 'nothing was said of the checkpoint:', notes)
    left = lab.virsh(move.dest, 'checkpoint-list', 'g', '--name').split()
    need(left == ['foreign'], 'of its checkpoints there are', left)
    lab.virsh(move.dest, 'checkpoint-delete', 'g', 'foreign')


def _defined_again(lab, move, call):
    notes = [event['message'] for _, event in call.events if event['event'] == 'note']
    need(any('a user undefined' in note for note in notes), 'nothing was said of it:', notes)
    need('Persistent:     yes' in lab.virsh(move.dest, 'dominfo', 'g'), 'it is not persistent')


test_checkpoint_in_commit = odd_in_commit('checkpoint-create-as', _checkpoint, _checkpoint_told)
test_undefined_in_commit = odd_in_commit('undefine', lambda lab, host, name: lab.virsh(host, 'undefine', name),
                                         _defined_again)
test_undefined_checkpoints_in_commit = odd_in_commit(
    'undefine --checkpoints-metadata',
    lambda lab, host, name: lab.virsh(host, 'undefine', name, '--checkpoints-metadata', '--snapshots-metadata'),
    _defined_again)
test_abort_in_commit = odd_in_commit('blockjob --abort', lambda lab, host, name: [
    lab.virsh(host, 'blockjob', name, target, '--abort') for target in ('vda', 'vdb')])


def test_reverted_and_off(case):
    """The job's process and its guard are dead, and its guest is destroyed, reverted and off again before resume: the
    overlay is not committed into a base that was written to."""
    lab = case.lab
    guest = case.guest(tree=TWO)
    move = case.migration(guest)
    with stopped(move, 'copy.sent') as call:
        os.kill(call.process.pid, signal.SIGKILL)
        call.process.wait(10)
        for pid, argv in lab.processes('a', 'vmig-snap').items():
            if '--guard' in argv:
                os.kill(pid, signal.SIGKILL)
        lab.virsh('a', 'destroy', guest.name)
        lab.virsh('a', 'snapshot-revert', guest.name, 'one', '--force')
        lab.virsh('a', 'destroy', guest.name)
        base = oracle.image_facts(lab, 'a', guest.all_files()[0])
        there = files_there(lab, 'a')
        again = case.call('a', 'resume', guest.name, '--json', timeout=90)
        notes = [event['message'] for _, event in again.events if event['event'] == 'note']
        need(again.code == UNFINISHED and any('was written to although it was frozen' in note for note in notes),
             again.code, again.tail())
        said = case.call('a', 'status', guest.name, '--json').document['jobs'][0]
        need(said['last_error']['code'] == 'interference' and 'Decide which state' in said['waits_for'], said)
        need(files_there(lab, 'a') == there, 'files went:', there - files_there(lab, 'a'))
        need(oracle.image_facts(lab, 'a', guest.all_files()[0]) == base, 'the base changed')
        # The operator decides for the reverted guest, and for the current snapshot that was recorded.
        lab.virsh('a', 'snapshot-current', guest.name, 'two')
        for path in there - set(guest.all_files()):
            lab.path('a', path).unlink()
        again = case.call('a', 'resume', guest.name, '--json', timeout=90)
        need(again.code == ROLLED_BACK, again.code, again.tail())


test_reverted_and_off.thorough = True


def off_in_copy(case, command, words):
    """The guest is ended in COPY: rolled back, off, intact, and started nowhere."""
    lab = case.lab
    guest = case.guest(tree=TWO[:1])
    move = case.migration(guest)
    with stopped(move, 'copy.sent') as call:
        lab.virsh('a', *command, guest.name)
        wait_until(lambda: lab.state('a', guest.name) == 'shut off', 30, 'the end of the guest')
    need(call.code == ROLLED_BACK and call.error['code'] in words, call.code, call.tail())
    need(lab.state('a', guest.name) == 'shut off' and lab.state('b', guest.name) is None,
         lab.state('a', guest.name), lab.state('b', guest.name))
    need(files_there(lab, 'b') == move.files_before['b'] and files_there(lab, 'a') == move.files_before['a'],
         'files are left:', files_there(lab, 'a'), files_there(lab, 'b'))
    lab.virsh('a', 'start', guest.name)
    lab.wait_writes('a', guest.name, 5)
    verdict = oracle.check_writes(lab, 'a', guest.name)
    need(verdict.ok, verdict)
    lab.revert('a', guest.name, 'one')
    lab.wait_writes('a', guest.name, 5)


def test_destroyed_in_copy(case):
    """virsh destroy."""
    off_in_copy(case, ['destroy'], ('guest-gone',))


def test_shut_down_in_copy(case):
    """virsh shutdown."""
    off_in_copy(case, ['shutdown'], ('guest-gone',))


# --- a snapshot that got into the overlay nevertheless -------------------------------------------

def sneak(lab, host, guest):
    """An internal snapshot of everything in the overlays, made by QEMU behind libvirt's back."""
    said = lab.virsh(host, 'qemu-monitor-command', guest.name, '--hmp', 'savevm sneaked')
    need(not said.strip(), 'QEMU did not make it:', said)


def overlays(lab, host, guest):
    """The overlay of each disk, from the live definition."""
    return [path for path in lab.disks(host, guest.name).values() if path not in guest.all_files()]


def parked_by_snapshot(case, move, point, host):
    """A snapshot is sneaked in on this host while the job is stopped at the point. The job parks and says which and
    where, the snapshot stays, and after its deletion resume finishes the job."""
    lab, guest = case.lab, move.guest
    with stopped(move, point) as call:
        sneak(lab, host, guest)
    need(call.code == UNFINISHED and call.error['code'] == 'interference', call.code, call.tail())
    said = case.call(move.source, 'status', call.result['job'], '--json').document['jobs'][0]
    files = overlays(lab, host, guest)
    message = (said['last_error'] or said['error'])['message']
    need(files and 'sneaked' in message and any(path in message for path in files), 'it said', message, files)
    need(lab.state(host, guest.name) == 'running', 'the guest is', lab.state(host, guest.name))
    refused = attempts(lab, host, {'snapshot': forbidden(lab, guest, host)['snapshot-create-as internal'],
                                   'commit': forbidden(lab, guest, host)['blockcommit']})
    need(all(code != 0 for code, _ in refused.values()), 'not refused while parked:', refused)
    again = case.call(move.source, 'resume', guest.name, '--json')
    need(again.code == UNFINISHED, 'resume with the snapshot in place:', again.code, again.tail())
    for path in files:
        names = [snapshot.name for snapshot in oracle.image_facts(lab, host, path)]
        need(names == ['sneaked'], 'in', path, 'there is', names)
    lab.virsh(host, 'qemu-monitor-command', guest.name, '--hmp', 'delvm sneaked')
    move.call = case.call(move.source, 'resume', guest.name, '--json', timeout=90)


def test_sneaked_in_copy(case):
    """During the base copy: the job rolls back, and parks before it would commit the overlays."""
    guest = case.guest(disks=[Disk('vda'), Disk('vdb', fill_mb=1)], tree=TWO[:1])
    move = case.migration(guest)
    parked_by_snapshot(case, move, 'copy.sent', 'a')
    need(move.call.code == ROLLED_BACK, move.call.code, move.call.tail())
    need(not overlays(case.lab, 'a', guest) and case.lab.state('a', 'g') == 'running', 'not as before')
    need(files_there(case.lab, 'a') == move.files_before['a'] and
         files_there(case.lab, 'b') == move.files_before['b'], 'files are left')
    verdict = oracle.check_writes(case.lab, 'a', 'g')
    need(verdict.ok, verdict)


def sneaked_at(point):
    """A test: a snapshot is sneaked in on the destination."""
    def test(case):
        guest = case.guest(tree=TWO[:1])
        move = case.migration(guest, *COMMIT)
        parked_by_snapshot(case, move, point, 'b')
        move.prove_arrived(revert=None)
    test.__doc__ = f'At {point}, on the destination: the job parks there.'
    return test


globals().update({f'test_sneaked_at_{point}': sneaked_at(point) for point in ('commit.started@2', 'PIVOT.enter')})


# --- two operators -------------------------------------------------------------------------------

@shared
def test_at_once(case):
    """Three migrations start at the same moment, two on the source and one on the destination: one succeeds, the others
    change nothing."""
    lab = case.lab
    guest = roaming(case)
    here, there = guest.host, OTHER[guest.host]
    move = journey(case, guest)
    argv = ['migrate', guest.name, lab.uri(there), '--json', '--source-images', 'delete']
    rivals = [Call(lab, here, argv), Call(lab, there, ['migrate', guest.name, lab.uri(here), '--json'])]
    call = move.start()
    move.finish()
    for rival in rivals:
        rival.wait(120)
    ends = [call.code, rivals[0].code]
    need(sorted(ends) == [DONE, LOCKED], 'on the source they ended with', ends, call.tail(), rivals[0].tail())
    need(rivals[1].code in (LOCKED, REFUSED), 'on the destination it ended with', rivals[1].tail())
    if rivals[0].code == DONE:
        move.call = rivals[0]
    arrived(move)


if __name__ == '__main__':
    sys.exit(main(__file__, globals()))
