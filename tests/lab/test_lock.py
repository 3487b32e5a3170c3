# SPDX-License-Identifier: LGPL-2.1-or-later
"""The operation lock: while a job holds a guest nobody changes its disks or snapshots, root neither.

The job is stopped in SEED, in MIGRATE and in COMMIT, and everything that would lose data is tried as
root with virsh: refused, the guest and its files as before, and the job then ends DONE. What libvirt
cannot refuse is tried as well: the job notices and the guest is safe.
"""
import os
import re
import signal
import sys
import time

import oracle
from cases import TWO, Disk, main, shared
from command import DONE, LOCKED, need
from facts import files_there, normal_xml
from lab import wait_until
from stopped import OTHER, stopped

SCRATCH = '/run/foreign'


# --- a job that is stopped -----------------------------------------------------------------------

def roaming(case):
    """The guest that goes from one host to the other and back: two disks, a tree of two."""
    return case.guest_once('roaming', lambda: case.guest(
        disks=[Disk('vda'), Disk('vdb', size='160M', fill_mb=4)], tree=TWO))


def journey(case, guest, *args):
    """A migration of the roaming guest to the host where it is not."""
    return case.migration(guest, '--source-images', 'delete', *args, source=guest.host,
                          dest=OTHER[guest.host])


def arrived(move):
    """The job ended DONE with everything as it should be."""
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
    """Run them all at once as root: {name: CompletedProcess-like (code, words)}."""
    running = {name: lab.popen(host, ['virsh', '-c', 'qemu:///system', *argv])
               for name, argv in commands.items()}
    ended = {}
    for name, process in running.items():
        out, err = process.communicate(timeout=timeout)
        ended[name] = (process.returncode, ' '.join((out + err).split()))
    return ended


def look(lab, guest, host):
    """What an attempt must not change on the host that the guest is on."""
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
    """The names of what differs, with both values."""
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
    """A second vmig-snap migrate is refused on either host, with who and since when."""
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
def test_held_in_seed(case):
    """SEED: the parked block copies refuse."""
    guest = roaming(case)
    move = journey(case, guest)
    with stopped(move, 'seed.sent'):
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
    move = journey(case, guest)
    with stopped(move, 'commit.started@2'):
        all_refused(case, move, OTHER[guest.host])
        second_locked(case, move)
    arrived(move)


# --- what cannot be refused ----------------------------------------------------------------------

@shared
def test_abort_in_seed(case):
    """virsh blockjob --abort of a parked copy: it is taken again before the next state."""
    lab = case.lab
    guest = roaming(case)
    move = journey(case, guest)
    with stopped(move, 'seed.sent') as call:
        lab.virsh(guest.host, 'blockjob', guest.name, 'vda', '--abort')
        need(not lab.virsh(guest.host, 'blockjob', guest.name, 'vda', '--raw').strip(), 'it was not aborted')
        os.kill(call.process.pid, signal.SIGCONT)
        call.wait_state('DETACH')
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
        move = journey(case, guest)
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
                  for point in ('commit.started@2', 'PIVOT.enter')})


if __name__ == '__main__':
    sys.exit(main(__file__, globals()))
