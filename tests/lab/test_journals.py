# SPDX-License-Identifier: LGPL-2.1-or-later
"""Journals. A migration with an unusable journal on either host is refused, changes nothing and says where and why. An
older journal, from before the switchover or before the job, on either host never makes the wrong host run the guest:
the job finishes by itself, whichever host resumes it."""
import os
import shutil
import signal
import sys

import oracle
import outcome
from cases import TWO, main, shared
from command import DONE, REFUSED, ROLLED_BACK, UNFINISHED, Call, need
from facts import files_there
from hostns import NAME
from lab import wait_until
from test_net import agents, wait_stopped
from test_verify import away

FOLDER = '/var/lib/vmig-snap'
JOURNAL = f'{FOLDER}/journal.db'
FAILED = 1
SOURCE, DEST = 'source', 'destination'


def moving(case):
    """The guest of these tests, which moves back and forth, and a Migration to the other host. Both hosts have a
    journal with a job that was rolled back."""
    def make():
        guest = case.guest(tree=TWO[:1])
        move = case.migration(guest)
        move.run(fault='COPY.leave@1:error:interference')
        need(move.call.code == ROLLED_BACK, 'the first job:', move.call.tail())
        return guest
    guest = case.guest_once('moving', make)
    return case.migration(guest, '--source-images', 'delete', source=guest.host, dest='b' if guest.host == 'a' else 'a')


def saved(lab, host):
    """Save a copy of the current journal."""
    to = lab.dir / f'{host}-old-journal'
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(lab.path(host, FOLDER), to)
    return to


def put_back(lab, host, kept):
    """Replace the journal with the saved copy, as from a backup."""
    for name in ('journal.db', 'journal.db-journal'):
        lab.path(host, f'{FOLDER}/{name}').unlink(missing_ok=True)
        if (kept / name).exists():
            shutil.copy2(kept / name, lab.path(host, f'{FOLDER}/{name}'))
    shutil.rmtree(kept)


# --- unusable journals ---------------------------------------------------------------------------

def corrupt(lab, host):
    """Overwrite bytes in the middle."""
    with open(lab.path(host, JOURNAL), 'r+b') as file:
        file.seek(4096)
        file.write(b'\xa5' * 4096)


def newer(lab, host):
    """PRAGMA user_version (bytes 60 to 63): increment it."""
    with open(lab.path(host, JOURNAL), 'r+b') as file:
        file.seek(60)
        version = int.from_bytes(file.read(4), 'big')
        file.seek(60)
        file.write((version + 1).to_bytes(4, 'big'))


def read_only(lab, host):
    """On a read-only file system."""
    lab.run(host, f'mount --bind {FOLDER} {FOLDER} && mount -o remount,bind,ro {FOLDER}')


def full(lab, host):
    """On a file system without free space."""
    lab.run(host, f'mount -t tmpfs -o size=16k,mode=0700 none {FOLDER} && '
            f'(dd if=/dev/zero of={FOLDER}/filler bs=4k 2>/dev/null; true)')


# name: (function, whether it mounts something, error code, words of the message)
BAD = {
    'corrupt': (corrupt, False, 'journal-damaged', 'damaged'),
    'newer': (newer, False, 'journal-newer', 'has version'),
    'read_only': (read_only, True, 'journal', 'cannot be written'),
    'full': (full, True, 'no-space', 'No space left'),
}


def refused_with(what, side):
    """A test: migrate with such a journal on this side."""
    spoil, mounted, code, words = BAD[what]

    @shared
    def test(case):
        move = moving(case)
        lab, guest, host = case.lab, move.guest, move.source if side == SOURCE else move.dest
        kept = saved(lab, host)
        files = {h: files_there(lab, h) for h in 'ab'}
        xml = lab.virsh(move.source, 'dumpxml', guest.name, '--security-info')
        spoil(lab, host)
        before = None if mounted else lab.path(host, JOURNAL).read_bytes()
        try:
            call = case.call(move.source, 'migrate', guest.name, lab.uri(move.dest), '--json')
            after = None if mounted else lab.path(host, JOURNAL).read_bytes()
        finally:
            if mounted:
                lab.run(host, ['umount', FOLDER])
            put_back(lab, host, kept)
        need(call.code == (FAILED if side == SOURCE else REFUSED), 'it ended with', call.code, call.tail())
        need(call.error['code'] == code and words in call.error['message'] and JOURNAL in call.error['message'] and
             call.error['hint'], 'it said', call.error)
        need(side == SOURCE or (call.error['message'].startswith(f'{NAME[host]}: ') and
                                call.error['hint'].startswith(f'On {NAME[host]}: ')), 'it does not say where:', call.error)
        need(after == before, 'the journal was changed')
        need({h: files_there(lab, h) for h in 'ab'} == files, 'files came or went')
        need(lab.virsh(move.source, 'dumpxml', guest.name, '--security-info') == xml and
             lab.state(move.dest, guest.name) is None, 'the guest was touched')
    test.__doc__ = f'migrate with a journal that is {what} on the {side}.'
    return test


globals().update({f'test_{what}_on_{side}': refused_with(what, side) for what in BAD for side in (SOURCE, DEST)})


# --- older journals ------------------------------------------------------------------------------

def replaced(case, side, when='MIGRATE.enter', died='COMMIT.enter'):
    """A migration whose tool died at a fault point after the token moved. One host's journal is then replaced with its
    state at an earlier point (None: before the job)."""
    move = moving(case)
    lab, host = case.lab, move.source if side == SOURCE else move.dest
    kept = None if when else saved(lab, host)
    call = move.start(fault=f'{when}@1:stop,{died}@1:kill' if when else f'{died}@1:kill')
    if when:
        wait_stopped(call)
        kept = saved(lab, host)
        os.kill(call.process.pid, signal.SIGCONT)
    call.wait(60)
    need(call.code == -signal.SIGKILL, 'it was not killed at', died, call.tail())
    wait_until(lambda: not agents(lab, move.dest), 20, 'the end of the agent')
    put_back(lab, host, kept)
    move.ran = lab.qemu_pid(move.dest, 'g')
    return move


def still_there(move, *words):
    """The guest runs on the destination, in the QEMU in which it arrived, and nowhere else."""
    lab = move.lab
    need(lab.state(move.dest, 'g') == 'running' and lab.qemu_pid(move.dest, 'g') == move.ran and
         not lab.qemu_pid(move.source, 'g'), 'the guest does not run where it did:', *words)


def ends_there(move, host):
    """Resumed from this host, the job finishes, without stopping the guest."""
    call = Call(move.lab, host, ['resume', 'g', '--json']).wait(90)
    move.stop_watching()
    need(call.code == DONE, 'it ended with', call.code, call.tail())
    still_there(move, call.tail())
    outcome.prove_safe(move, keep=False, ends=[move.dest])
    move.guest.host = move.dest


def not_cancelled(case, move, host):
    """cancel on this host is refused and does no harm."""
    images = {path: oracle.image_facts(move.lab, move.dest, path) for path in move.guest.all_files()}
    call = case.call(host, 'cancel', 'g', '--json')
    need(call.code == REFUSED and call.error.get('code') == 'unsupported' and
         'past the switchover' in call.error['message'], 'cancel said', call.code, call.tail())
    still_there(move, call.tail())
    need({path: oracle.image_facts(move.lab, move.dest, path) for path in images} == images, 'a snapshot went')


@shared
def test_older_destination(case):
    """The destination's journal does not know that it owns the guest; resumed from the destination."""
    move = replaced(case, DEST)
    ends_there(move, move.dest)


@shared
def test_older_destination_from_source(case):
    """The same, resumed from the source, after the destination's cancel was refused."""
    move = replaced(case, DEST)
    not_cancelled(case, move, move.dest)
    ends_there(move, move.source)


@shared
def test_destination_without_job(case):
    """The destination's journal is from before the job."""
    move = replaced(case, DEST, when=None)
    ends_there(move, move.source)


@shared
def test_older_destination_half_given(case):
    """The token was given on the source only, and the destination's journal is older than the overlays there."""
    move = replaced(case, DEST, when='PREPARE.enter', died='token.source')
    need(lab_state(move) == 'paused', 'it runs without a token:', lab_state(move))
    ends_there(move, move.source)


@shared
def test_older_source(case):
    """The source's journal does not know that it gave the guest away: its cancel is refused, and it accepts the
    destination's record."""
    move = replaced(case, SOURCE)
    not_cancelled(case, move, move.source)
    ends_there(move, move.source)


@shared
def test_source_without_job(case):
    """The source's journal is from before the job, so that only the destination can resume it."""
    move = replaced(case, SOURCE, when=None)
    call = case.call(move.source, 'resume', 'g', '--json')
    need(call.error['code'] == 'no-job', 'resume on the source said', call.tail())
    still_there(move, call.tail())
    ends_there(move, move.dest)


@shared
def test_older_source_alone(case):
    """The source's journal is outdated, and the destination is unreachable: the guest is not started on the source, and
    once the destination is reachable the job goes forward."""
    move = replaced(case, SOURCE, died='token.dest')
    with away(case.lab, move.dest):
        call = Call(case.lab, move.source, ['resume', 'g', '--json'])
        wait_until(lambda: call.retries() or call.process.poll() is not None, 60, 'a retry')
        call.interrupt()
        call.wait(60)
    need(call.code == UNFINISHED and call.error['code'] == 'connection', 'it ended with', call.code, call.tail())
    need(lab_state(move) == 'paused' and case.lab.state(move.source, 'g') != 'running', 'it runs:', call.tail())
    ends_there(move, move.source)


@shared
def test_source_forgot_all(case):
    """The source's journal is from before the job, its guest is undefined, and it was rebooted. Nothing proves that it
    was the source, so it accepts no record. The job finishes without it, and what the job left there stays."""
    move = replaced(case, SOURCE, when=None, died='cleanup.undefined')
    lab, source = case.lab, move.source
    lab.run(source, 'rm -rf /run/vmig-snap/*')
    before = files_there(lab, source)
    call = Call(lab, move.dest, ['resume', 'g', '--json']).wait(90)
    move.stop_watching()
    need(call.code == DONE and any('has no record of the job' in str(event) for _, event in call.events),
         'it ended with', call.code, call.tail())
    still_there(move, call.tail())
    need(files_there(lab, source) == before, 'files of the source changed', call.tail())
    need(lab.state(source, 'g') is None, 'the source has a guest')
    for path in before:
        if path.startswith(str(lab.image_folders()[0])) and '/g-' in path:
            lab.path(source, path).unlink()
    move.guest.host = move.dest


def lab_state(move):
    """The guest's state on the destination."""
    return move.lab.state(move.dest, 'g')


if __name__ == '__main__':
    sys.exit(main(__file__, globals()))
