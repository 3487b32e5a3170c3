# SPDX-License-Identifier: LGPL-2.1-or-later
"""verify, and migrate --verify: equal content is found equal while the guest writes, changes are named, and a job that
finds a difference removes nothing."""
import contextlib
import os
import signal
import subprocess
import sys

import qcow2
from cases import Disk, main, shared
from command import DONE, LOCKED, REFUSED, UNFINISHED, Call, need
from exits import follow
from facts import files_there, gather, run_folder_left, same_definitions
from hostns import HOSTS, NAME
from lab import IMAGES, wait_until
from stopped import stopped
from test_net import agents, signal_all

FAILED = 1


def verify(case, host, *args):
    """`verify --json` on a host: (exit code, document)."""
    call = case.call(host, 'verify', *(args or ['g']), '--json', timeout=120)
    need(call.stdout, 'verify said nothing:', call.stderr)
    return call.code, call.document


def need_equal(case, host, against, names, *args):
    """The whole document says equal, and so does each snapshot."""
    code, document = verify(case, host, *args)
    need(code == DONE and document['outcome'] == 'equal' and document['error'] is None, f'verify on {host}:', code,
         document)
    need(not document['differences'] and not document['unproven'], document)
    for file in document['files']:
        need(file['against'] == against, 'compared with', file['against'])
        need(file['check'] in ('ok', 'unsure'), 'the check says', file['check'], file['check_message'])
        need([s['name'] for s in file['snapshots']] == names, 'snapshots', file['snapshots'])
        need(all(s['content'] == 'equal' and s['memory'] in ('equal', 'none') for s in file['snapshots']),
             file['snapshots'])
        need(all(s['source_content_hash'] == s['destination_content_hash'] and
                 s['source_content_hash'].startswith('gmact:') for s in file['snapshots']), file['snapshots'])
    # libvirt keeps the memory in the first disk's image.
    need(all(s['memory'] == 'equal' for s in document['files'][0]['snapshots']), document['files'][0])
    need({r['snapshot'] for r in document['reverts']} == set(names) and
         all(r['would_start'] for r in document['reverts']), 'reverts', document['reverts'])
    return document


def need_different(case, host, kind, names, *args):
    """The difference is found and named, and no other."""
    code, document = verify(case, host, *args)
    found = [(d['kind'], d['snapshot']) for d in document['differences']]
    need(code == FAILED and document['outcome'] == 'different' and document['error']['code'] == 'differs',
         'not found to differ:', code, document)
    need(found == [(kind, name) for name in names], 'found', found, 'not', kind, names)


FILLED = 64 << 20  # no guest of the lab writes or reads beyond this offset


def change_byte(case, host, path, snapshot):
    """Change a byte of a snapshot's content that the guest does not currently read; returns the names of the snapshots
    that contain it, as few as possible."""
    real = str(case.lab.path(host, path))
    image = qcow2.Qcow2Image(real)
    offsets = range(0, image.size, image.cluster_size)
    now = {image.place_of(at) for at in offsets}
    users = {}
    for one in image.snapshots:
        for at in offsets:
            users.setdefault(image.place_of(at, one), set()).add(one.name)
    mine = [place for at in offsets if (place := image.place_of(at, snapshot)) is not None and
            (place not in now or at >= FILLED)]
    order = [one.name for one in image.snapshots]
    image.close()
    need(mine, f'nothing of {snapshot!r} can be changed')
    place = min(mine, key=lambda place: len(users[place]))
    with open(real, 'r+b') as file:
        file.seek(place + 100)
        byte = file.read(1)
        file.seek(place + 100)
        file.write(bytes([byte[0] ^ 0x55]))
    return [name for name in order if name in users[place]]


def test_kept_images(case):
    """Equal on both hosts while the guest writes; then one thing after another is changed on the destination."""
    lab = case.lab
    guest = case.guest(disks=[Disk('vda'), Disk('vdb')])
    move = case.migration(guest)
    move.run()
    move.prove_arrived(revert=None)
    for host in 'ab':
        need_equal(case, host, 'image', ['one', 'two'])
    need_equal(case, 'a', 'image', ['one', 'two'], '--job', move.call.result['job'])
    page = case.call('b', 'verify', 'g')
    need(page.code == DONE and 'EQUAL' in page.stdout and 'two' in page.stdout,
         'the page:', page.stdout, page.stderr)

    xml = lab.virsh('b', 'snapshot-dumpxml', '--domain', 'g', '--snapshotname', 'two', '--security-info')
    machine = xml.split("machine='")[1].split("'")[0]
    file = lab.dir / 'b/run/snapshot.xml'
    for text, snapshot, code in ((xml.replace(machine, 'pc-q35-99.9'), 'two', 'not-revertable'), (xml, None, None)):
        file.write_text(text)
        lab.virsh('b', 'snapshot-delete', 'g', 'two', '--metadata')  # an existing snapshot's machine cannot change
        lab.virsh('b', 'snapshot-create', 'g', '--xmlfile', '/run/snapshot.xml', '--redefine', '--current')
        done, document = verify(case, 'a')
        stuck = [r['snapshot'] for r in document['reverts'] if not r['would_start']]
        need(stuck == ([snapshot] if snapshot else []) and (document['error'] or {}).get('code') == code and
             done == (FAILED if code else DONE), 'reverts', done, document['reverts'], document['error'])

    with away(lab, 'a'):
        code, document = verify(case, 'b')
        need(code == FAILED and document['outcome'] == 'unproven' and not document['differences'],
             'without the source, which alone has something to compare with:', code, document)
    lab.virsh('b', 'destroy', 'g')
    need_equal(case, 'b', 'image', ['one', 'two'])
    path = guest.files['vdb'][0]
    names = change_byte(case, 'b', path, 'one')
    need_different(case, 'a', 'content', names)
    need(change_byte(case, 'b', path, 'one') == names, 'another byte was changed')
    need_equal(case, 'b', 'image', ['one', 'two'])
    lab.run('b', ['qemu-img', 'snapshot', '-d', 'two', path])
    need_different(case, 'b', 'missing', ['two'])
    lab.run('b', ['qemu-img', 'snapshot', '-c', 'two', path])
    code, document = verify(case, 'b')
    need(code == FAILED and {d['kind'] for d in document['differences']} & {'missing', 'content', 'field', 'extra'},
         'another snapshot of the same name:', document)


@contextlib.contextmanager
def away(lab, host):
    """No process listens for ssh on this host, as if it were off."""
    os.kill(int(lab.path(host, '/run/sshd.pid').read_text()), signal.SIGTERM)
    wait_until(lambda: lab.run(host, ['ssh', '-oConnectTimeout=5', NAME[host], 'true'], check=False).returncode == 255,
               20, 'the end of sshd')
    try:
        yield
    finally:
        lab.run(host, ['/usr/sbin/sshd', '-f', f'{lab.dir}/{host}/sshd/sshd_config'], stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL)
        lab.wait_ready(host)


def verified(case):
    """The guest of the read-only tests: it moved from a to b with --verify, and a kept its images."""
    def make():
        guest = case.guest()
        move = case.migration(guest, '--verify')
        move.run()
        move.prove_arrived(revert=None)
        return guest
    return case.guest_once('verified', make)


@shared
def test_source_away(case):
    """The source is off: the facts about its snapshots are in the record. Run on the source with the destination off,
    verify says so and compares nothing."""
    lab = case.lab
    verified(case)
    need_equal(case, 'b', 'image', ['one', 'two'])
    with away(lab, 'a'):
        need_equal(case, 'b', 'record', ['one', 'two'])
        said = case.call('b', 'verify', 'g')
        need(said.code == DONE and 'EQUAL' in said.stdout, 'the page:', said.stdout, said.stderr)
    with away(lab, 'b'):
        code, document = verify(case, 'a')
        need(code == REFUSED and document['error']['code'] == 'unreachable', 'without the destination:', code, document)
    need_equal(case, 'a', 'image', ['one', 'two'])
    nothing_left(case)


def nothing_left(case):
    """No process, no socket, no lock is left of a verification on either host."""
    for host in HOSTS:
        wait_until(lambda host=host: not case.lab.processes(host, 'vmig-snap', 'qemu-nbd', 'qemu-img'), 20,
                   f'the end of all processes on {host}')
        need(not run_folder_left(case.lab, host), f'left on {host}:', run_folder_left(case.lab, host))


@shared
def test_interrupted(case):
    """^C in the middle, on either host: it ends with an error, and has changed and left nothing."""
    lab, guest = case.lab, verified(case)
    for host, other in (('a', 'b'), ('b', 'a')):
        files = {h: files_there(lab, h) for h in HOSTS}
        jobs = case.call(host, 'list', '--all', '--json').document
        before = gather(lab, 'b', guest)
        call = Call(lab, host, ['verify', 'g', '--json'])
        # The agent of the other host is frozen, so that verify cannot have finished.
        wait_until(lambda: agents(lab, other) or call.process.poll() is not None, 20, 'the agent')
        signal_all(agents(lab, other), signal.SIGSTOP)
        try:
            need(call.process.poll() is None, 'it ended before:', call.tail())
            call.interrupt()
            wait_until(lambda: 'interrupted' in call.stderr, 20, 'a word about the interrupt')
        finally:
            signal_all(agents(lab, other), signal.SIGCONT)
        call.wait(20)
        need(call.code == FAILED and call.document['error']['code'] == 'cancelled', 'it ended with', call.code,
             call.tail())
        nothing_left(case)
        now = gather(lab, 'b', guest)
        need(not same_definitions(before, now) and (now.pid, now.images, now.tree, now.state) ==
             (before.pid, before.images, before.tree, 'running'), 'the guest changed:', same_definitions(before, now))
        need({h: files_there(lab, h) for h in HOSTS} == files, 'files came or went')
        need(case.call(host, 'list', '--all', '--json').document == jobs, 'the job changed')
        need_equal(case, host, 'image', ['one', 'two'])


def test_deleted_images(case):
    """--verify, and the source's images are removed: the hashes in the journal still prove equality and reveal changes.
    """
    guest = case.guest()
    move = case.migration(guest, '--verify', '--source-images', 'delete')
    move.run()
    phases = {event['phase'] for _, event in move.call.events if event['event'] == 'progress'}
    need('VERIFY' in phases, 'no progress of the verification:', phases)
    move.prove_arrived(revert=None, keep=False)
    for host in 'ab':
        need_equal(case, host, 'record', ['one', 'two'])
    case.lab.virsh('b', 'destroy', 'g')
    names = change_byte(case, 'b', guest.files['vda'][0], 'two')
    need_different(case, 'b', 'content', names)


def test_copy_changed(case):
    """The copy is changed after it was proven: --verify finds it, the job parks, and nothing is removed."""
    guest = case.guest()
    path = guest.files['vda'][0]
    move = case.migration(guest, '--verify', '--source-images', 'delete')
    with stopped(move, 'MIGRATE.enter'):
        for host in 'ab':
            call = case.call(host, 'verify', 'g', '--json')
            need(call.code == LOCKED and call.error['code'] == 'locked', f'verify on {host} beside the job:', call.code,
                 call.tail())
        names = change_byte(case, 'b', path, 'one')
        before = files_there(case.lab, 'a')
    move.finish()
    need(move.call.code == UNFINISHED and move.call.error['code'] == 'differs', 'it ended with', move.call.code,
         move.call.error)
    need(f"'{names[0]}'" in move.call.error['message'], 'the snapshot is not named:', move.call.error)
    need(path in files_there(case.lab, 'a') and files_there(case.lab, 'a') <= before, 'the base is gone')
    case.lab.wait_writes('b', 'g', 5)
    job = move.call.result['job']
    need_different(case, 'b', 'content', names, '--job', job)
    again = case.call('a', 'resume', job, '--json', timeout=120)
    need(again.code == UNFINISHED and again.error['code'] == 'differs', 'resume:', again.code, again.tail())
    need(path in files_there(case.lab, 'a'), 'resume removed the base')
    end = follow(case, 'a', job, '--without-verify')
    need(end.code == DONE and path in files_there(case.lab, 'a'), 'resume --without-verify:', end.code, end.tail(),
         sorted(files_there(case.lab, 'a')))
    need(not [name for name in files_there(case.lab, 'b') if 'vmig' in name and name.startswith(IMAGES)], 'left there')
    need_different(case, 'a', 'content', names)
    case.lab.run('a', ['rm', path])
    code, document = verify(case, 'b')
    need(code == FAILED and document['outcome'] == 'unproven' and document['error']['code'] == 'unproven' and
         not document['differences'], 'with nothing to compare with:', code, document)


if __name__ == '__main__':
    sys.exit(main(__file__, globals()))
