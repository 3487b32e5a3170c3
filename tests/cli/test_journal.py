# SPDX-License-Identifier: LGPL-2.1-or-later
"""The commands that read the journal, with a journal that cannot be used, and with one that has years behind it.

    VMIG_SNAP=build/plugin/vmig-snap MAKE_JOURNAL=build/tests/cli/make-journal python3 tests/cli/test_journal.py

Each command runs in a mount namespace in which /var/lib/vmig-snap is the prepared folder. A journal that cannot be used
is refused with its path and a reason by every one of them, is not changed, and no new one is put in its place.
"""
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile

from clitest import Counter, binary, call, cpu_of_children

SNAP = binary('VMIG_SNAP')
MAKE = binary('MAKE_JOURNAL')
FOLDER = '/var/lib/vmig-snap'
JOB = '0123456789abcdef'
MANY = 100000
counter = Counter()
check = counter.check


def machine_id():
    """This host's, as vmig-snap reads it."""
    try:
        with open('/etc/machine-id', encoding='ascii') as file:
            return file.read().strip() or 'none'
    except FileNotFoundError:
        return 'none'


def wrap(folder, more='true'):
    """What to put before a command so that it sees folder as its own state."""
    script = ('mount -t tmpfs none /var/lib && mount -t tmpfs none /run && mkdir -m 0700 "$1" && '
              f'mount --bind "$0" "$1" && {more} && shift && exec "$@"')
    return ('unshare', '--mount', '--', 'sh', '-c', script, folder, FOLDER)


def look(folder):
    """Everything in the folder: names, kinds, contents."""
    seen = {}
    for name in sorted(os.listdir(folder)):
        path = os.path.join(folder, name)
        what = os.lstat(path)
        content = b''
        if os.path.isfile(path) and not os.path.islink(path):
            with open(path, 'rb') as file:
                content = hashlib.sha256(file.read()).digest()
        seen[name] = (what.st_mode, what.st_ino, what.st_nlink, what.st_size, content)
    return seen


def change(path, offset, new):
    """Other bytes in the middle of the file."""
    with open(path, 'r+b') as file:
        file.seek(offset)
        file.write(new)


def find(path, text):
    """Where it is in the file."""
    with open(path, 'rb') as file:
        return file.read().index(text)


def as_link(path):
    """The journal behind a symbolic link."""
    os.rename(path, path + '.real')
    os.symlink(path + '.real', path)


def as_fifo(path):
    """A FIFO, which would hang who opens it."""
    os.unlink(path)
    os.mkfifo(path, 0o600)


def as_folder(path):
    """A folder of that name."""
    os.unlink(path)
    os.mkdir(path, 0o600)


def version_99(path):
    """PRAGMA user_version: bytes 60 to 63."""
    change(path, 60, b'\0\0\0\x63')


def flipped(path):
    """One bit of the job's record."""
    where = find(path, b'"web1"')
    change(path, where + 1, b'v')


CASES = (
    ('empty', lambda p: os.truncate(p, 0), 'it is empty', 'journal-damaged'),
    ('half', lambda p: os.truncate(p, os.path.getsize(p) // 2), 'it is damaged', 'journal-damaged'),
    ('of 512 bytes', lambda p: os.truncate(p, 512), 'it is damaged', 'journal-damaged'),
    ('with a flipped bit', flipped, 'it is damaged', 'journal-damaged'),
    ('of another program', lambda p: change(p, 68, b'abcd'), 'it is not a journal of vmig-snap', 'journal-damaged'),
    ('of a newer version', version_99, 'has version 99, but this vmig-snap supports versions up to ', 'journal-newer'),
    ('behind a symbolic link', as_link, 'it is a symbolic link', 'journal'),
    ('with a second hard link', lambda p: os.link(p, p + '.2'), 'it has a second hard link', 'journal'),
    ('that is a FIFO', as_fifo, 'it is not a regular file', 'journal'),
    ('that is a folder', as_folder, 'it is not a regular file', 'journal'),
    ('that others can read', lambda p: os.chmod(p, 0o644), 'other users can read or write it', 'journal'),
    ('of another user', lambda p: os.chown(p, 1, 1), 'it belongs to another user', 'journal'),
    ('in a folder that others can write', lambda p: os.chmod(os.path.dirname(p), 0o777), 'other users can write', 'journal'),
    ('gone but for its rollback file', os.unlink, 'only its rollback file is left', 'journal-damaged'),
)
COMMANDS = (['status'], ['status', 'web1'], ['list'], ['list', '--all'], ['resume'], ['resume', '--all'],
            ['resume', JOB], ['cancel', JOB])


def refused(folder, what, reason, code, before):
    """Every command says the same, the agent to the other host, and nothing in the folder is another thing than
    before."""
    for argv in COMMANDS:
        ended = call([SNAP, *argv], wrap=wrap(folder))
        check(ended.code == 1 and ended.out == '' and reason in ended.reason and FOLDER in ended.reason
              and ended.err.endswith(f'[{code}]\n') and ended.cpu < 5,
              f'{" ".join(argv)}: a journal {what} is refused', ended)
    agent = call([SNAP, 'agent'], wrap=wrap(folder))
    said = json.loads(agent.out).get('error', {})
    check(agent.code == 1 and said.get('code') == code and reason in said.get('message', '') and
          FOLDER in said['message'],
          f'agent: a journal {what} is told in place of the hello', agent)
    check(look(folder) == before, f'a journal {what} is left as it is', look(folder))


def test_refused():
    """One journal for each way in which it cannot be used."""
    for what, spoil, reason, code in CASES:
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, 'journal.db')
            os.chmod(folder, 0o700)
            subprocess.run([MAKE, path, machine_id(), '0'], check=True)
            spoil(path)
            refused(folder, what, reason, code, look(folder))


def test_older():
    """One of the version before: an unfinished job in it is refused by name, everything else is carried over."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o700)
        subprocess.run([MAKE, os.path.join(folder, 'journal.db'), machine_id(), 'older'], check=True)
        refused(folder, 'of an older version', "is of version 1, this vmig-snap writes version 3, and 1 of its jobs is "
                f"not finished: {JOB} of 'web1'", 'journal-older', look(folder))
        ended = call([SNAP, 'status'], wrap=wrap(folder))
        check(f'vmig-snap resume {JOB}, or vmig-snap cancel {JOB}. Then upgrade' in ended.err,
              'the hint says what ends the job', ended)
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o700)
        subprocess.run([MAKE, os.path.join(folder, 'journal.db'), machine_id(), 'older-ended'], check=True)
        before = look(folder)
        ended = call([SNAP, 'list', '--all'], wrap=wrap(folder))
        check(ended.code == 0 and 'old1' in ended.out, 'list --all reads an older journal', ended)
        check(look(folder) == before, 'reading an older journal changes nothing', look(folder))
        agent = call([SNAP, 'agent'], wrap=wrap(folder))
        check(agent.code == 0 and 'hello' in agent.out, 'the agent carries an older journal over', agent)
        with open(os.path.join(folder, 'journal.db'), 'rb') as file:
            check(file.read(64)[60:] == b'\0\0\0\3', 'it is of this version then', '')
        ended = call([SNAP, 'list', '--all'], wrap=wrap(folder))
        check(ended.code == 0 and 'old1' in ended.out, 'list --all still has the old job', ended)


def test_clone():
    """The journal of another machine, in a copy of its disk."""
    if machine_id() == 'none':
        counter.skip('a clone', 'this host has no /etc/machine-id')
        return
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o700)
        subprocess.run([MAKE, os.path.join(folder, 'journal.db'), 'another-machine', '0'], check=True)
        refused(folder, 'of another machine', 'it was written on a host with another machine-id', 'journal-damaged',
                look(folder))


def test_read_only():
    """On a read-only file system it can be read, and not carried on."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o700)
        subprocess.run([MAKE, os.path.join(folder, 'journal.db'), machine_id(), '0'], check=True)
        before = look(folder)
        read_only = wrap(folder, 'mount -o remount,bind,ro "$1"')
        for argv in (['status'], ['list', '--all'], ['status', 'web1']):
            ended = call([SNAP, *argv], wrap=read_only)
            check(ended.code == 0 and 'web1' in ended.out, f'{" ".join(argv)} on a read-only file system', ended)
        check(look(folder) == before, 'looking changes nothing')


def test_many():
    """A hundred thousand ended jobs: the answer comes at once, and says what it left out."""
    with tempfile.TemporaryDirectory(dir='/var/tmp') as folder:
        os.chmod(folder, 0o700)
        # What it costs to write them all is what an answer is held against: the same machine, and the same moment.
        before = cpu_of_children()
        subprocess.run([MAKE, os.path.join(folder, 'journal.db'), machine_id(), str(MANY)], check=True)
        all_of_them = cpu_of_children() - before
        size = os.path.getsize(os.path.join(folder, 'journal.db')) // 1000000
        for argv, jobs in ((['status'], 1), (['status', 'web1'], 1), (['status', 'e0000000000186a0'], 1), (['status', 'old-7'], 1),
                           (['list'], 1),
                           (['list', '--all'], 1000)):
            ended = call([SNAP, *argv, '--json'], wrap=wrap(folder))
            document = json.loads(ended.out) if ended.code == 0 else {'jobs': []}
            left = document.get('left_out', 0)
            good = len(document['jobs']) == jobs and left == (MANY + 1 - jobs if '--all' in argv else 0)
            check(ended.code == 0 and good and ended.cpu < all_of_them / 2,
                  f'{" ".join(argv)} with {MANY} ended jobs ({size} MB): {ended.cpu:.2f} s of CPU time, to write them '
                  f'all took {all_of_them:.2f} s',
                  f'{ended.code} {ended.err} {len(document["jobs"])} {left}')
        ended = call([SNAP, 'doctor', '--json'], wrap=wrap(folder))
        check(f'{MANY + 1} jobs, 1 unfinished' in ended.out and ended.cpu < 3 * all_of_them,
              f'doctor with {MANY} ended jobs, every sum proven: {ended.cpu:.1f} s of CPU time', f'{ended}'[:3000])
        ended = call([SNAP, 'status', 'old-0'], wrap=wrap(folder))
        check(ended.code == 2 and ended.err.endswith('[no-job]\n'), 'status of a domain that no job ever had', ended)
        ended = call([SNAP, 'list', '--all'], wrap=wrap(folder))
        check(f'and {MANY - 999} older jobs' in ended.out, 'the table says how many are not in it', ended.out[-200:])


def main():
    """All of it, where mounts can be made."""
    with tempfile.TemporaryDirectory() as folder:
        if shutil.which('unshare') is None or subprocess.run([*wrap(folder), 'true'], capture_output=True,
                                                             check=False).returncode:
            counter.skip('the journal by the command line', 'no mount namespace to be had')
            return counter.run([])
    return counter.run([test_refused, test_older, test_clone, test_read_only, test_many])


if __name__ == '__main__':
    sys.exit(main())
