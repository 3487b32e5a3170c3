# SPDX-License-Identifier: LGPL-2.1-or-later
"""A power loss at every sync of the journal, on the bytes of a real run.

    python3 tests/power/journal.py --sim build/tests/sim/sim-disk --look build/tests/power/journal-look
                                   [--states N] [--seed S]

strace(1) records every write, truncation, sync, link and unlink of runs of the machine with its two journals on the
disk. At each sync, and now and then in between, the power is lost: what was synced is there; of what was not, each
write is there, or not, or in parts of 512 bytes, in any order; a name that was made or removed since its folder was
last synced may be there or not. That is all that POSIX and ALICE allow a file system, and more than ext4, xfs or btrfs
do to a program. What is found then is opened by vmig-snap's own code and must be, row for row, what the last
transaction left that was reported as done, or what the one under way would have.

--planted: the syncs of the rollback file do nothing. This has to be seen.
"""
import argparse
import collections
import concurrent.futures
import os
import pathlib
import random
import re
import shutil
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import moments  # pylint: disable=wrong-import-position
from scratch import Scratch  # pylint: disable=wrong-import-position

CALLS = ['openat', 'pwrite64', 'write', 'ftruncate', 'fdatasync', 'fsync', 'linkat', '?unlink', 'unlinkat', '?rename',
         'renameat', 'renameat2', 'pwritev', 'writev', '?link', '?truncate', 'copy_file_range', 'sync_file_range']
SCENARIOS = ['happy path', 'cancelled while it migrates', 'a process dies while it migrates']
LINE = re.compile(r'^(?:\d+ +)?(\w+)\((.*)\) += (-?\d+)')
FD = re.compile(r'^(\d+)<((?:\\x[0-9a-f]{2})*)>(?:\(deleted\))?')
STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
SECTOR = 512


def unhex(text):
    """The bytes of strace's -xx."""
    return bytes.fromhex(text.replace('\\x', ''))


class Inode:
    """A file: what the disk has, and what only memory has."""

    def __init__(self):
        self.disk, self.pending = bytearray(), []

    def now(self):
        """As every process sees it."""
        data = bytearray(self.disk)
        for op in self.pending:
            apply(data, op)
        return data

    def sync(self):
        """All of it is on the disk."""
        self.disk, self.pending = self.now(), []

    def lose(self, dice):
        """One of the things that a power loss leaves."""
        data = bytearray(self.disk)
        how = dice.choice(['none', 'all', 'some', 'first', 'torn', 'torn'])
        first = dice.randrange(len(self.pending) + 1)
        for index, op in enumerate(self.pending):
            if how == 'all' or (how == 'some' and dice.random() < 0.5) or (how == 'first' and index < first):
                apply(data, op)
            elif how == 'torn' and dice.random() < 0.8:
                tear(data, op, dice)
        return data


def apply(data, op):
    """A write or a truncation, as a whole."""
    at, content = op
    if content is None:
        data[:] = data[:at].ljust(at, b'\0')
        return
    if len(data) < at:
        data.extend(bytes(at - len(data)))
    data[at:at + len(content)] = content


def tear(data, op, dice):
    """Some sectors of it."""
    at, content = op
    if content is None:
        apply(data, op)
        return
    begin = 0
    while begin < len(content):
        end = min(len(content), begin + SECTOR - (at + begin) % SECTOR)
        if dice.random() < 0.6:
            apply(data, (at + begin, content[begin:end]))
        begin = end


class Disk:
    """All files of a run, by their names, now and on the disk."""

    def __init__(self, planted):
        self.names, self.durable, self.nameless, self.planted = {}, {}, {}, planted

    def inode(self, path):
        """Of a descriptor as strace shows it."""
        if path in self.names:
            return self.names[path]
        return self.nameless.setdefault(path, Inode())

    def sync(self, path):
        """fsync of a file, or of a folder."""
        if self.planted and path.endswith('-journal'):
            return
        if path in self.names or path in self.nameless:
            self.inode(path).sync()
            return
        for names, other in ((self.names, self.durable), (self.durable, self.names)):
            for name in [n for n in names if os.path.dirname(n) == path]:
                if other is self.durable:
                    self.durable[name] = self.names[name]
                elif name not in self.names:
                    del self.durable[name]

    def lose(self, dice):
        """{name: content} after a power loss."""
        left = {name: inode for name, inode in self.durable.items()
                if self.names.get(name) is inode or dice.random() < 0.5}
        for name, inode in self.names.items():
            if self.durable.get(name) is not inode and dice.random() < 0.5:
                left[name] = inode
        return {name: inode.lose(dice) for name, inode in left.items()}

    def now(self):
        """{name: content} without one."""
        return {name: inode.now() for name, inode in self.names.items()}


def record(sim, arguments, folder):
    """A run's calls: [(call, path, data)], in their order; data by the call."""
    log, marks = folder / 'strace', folder / 'marks'
    subprocess.run(['sh', '-c', 'exec "$@" 9>"$0"', marks, 'strace', '-f', '--seccomp-bpf', '-qqq', '-y', '-xx', '-s',
                    '1048576', '-o', log, '-e', 'trace=' + ','.join(CALLS), sim, '--folder', folder,
                    '--marks', *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)
    calls = []
    with open(log, encoding='ascii', errors='replace') as lines:
        for line in lines:
            match = LINE.match(line)
            if match and int(match[3]) >= 0:
                calls += one_call(match[1], match[2], folder)
    log.unlink()
    return calls


def one_call(call, args, folder):
    """What one line of strace does to files of ours."""
    fd, strings = FD.match(args), [unhex(text) for text in STRING.findall(args)]
    path = unhex(fd[2]).decode() if fd else ''
    ours = path.startswith(str(folder)) and not path.endswith('/world')
    if call == 'write' and path.endswith('/marks'):
        return [('mark', strings[0].split()[1].decode(), None)]
    if call == 'openat':
        name = strings[0].decode()
        new = 'O_CREAT' in args and name.startswith(str(folder)) and not name.endswith('/world')
        return [('make', name, None)] if new else []
    if call == 'linkat':
        folder_fd = re.search(r', \d+<((?:\\x[0-9a-f]{2})*)>', args)
        return [('link', unhex(folder_fd[1]).decode() + '/' + strings[1].decode(), strings[0].decode())]
    if not ours:
        return []
    if call == 'pwrite64':
        return [('write', path, (int(args.rsplit(', ', 1)[1]), strings[0]))]
    if call == 'write':
        return [('append', path, strings[0])]
    if call == 'ftruncate':
        return [('write', path, (int(args.rsplit(', ', 1)[1]), None))]
    if call in ('fsync', 'fdatasync'):
        return [('sync', path, None)]
    raise SystemExit(f'{call} on {path}: this test does not know what it does to the disk')


class Look:
    """journal-look, one process for many journals."""

    def __init__(self, program):
        self.process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def at(self, content, folder):
        """What it says of these files of one host: {file name: content}."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700)
        for name, data in content.items():
            (folder / name).write_bytes(data)
            (folder / name).chmod(0o600)
        self.process.stdin.write(f'{folder}/journal.db\n')
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def end(self):
        """No more."""
        self.process.stdin.close()
        self.process.wait()


def of_host(content, folder, host):
    """The files of one host by their bare names."""
    begin = f'{folder}/{host}/'
    return {name[len(begin):]: data for name, data in content.items() if name.startswith(begin) and '#' not in name}


class Replay:
    """One recorded run."""

    def __init__(self, args, name, folder):
        self.args, self.name, self.folder = args, name, folder
        sim = args.sim.resolve()
        self.calls = record(sim, moments.arguments(sim, folder / 'moment', '4', name), folder)
        self.dice = random.Random(f'{args.seed} {name}')
        self.look = Look(args.look.resolve())
        self.bad, self.states, self.kinds = [], 0, collections.Counter()

    def step(self, disk, call):
        """One call happens."""
        what, path, data = call
        if what == 'make' and path not in disk.names:
            disk.names[path] = Inode()
        elif what == 'link':
            disk.names[path] = next(inode for name, inode in disk.nameless.items()
                                    if os.path.dirname(name) == os.path.dirname(path))
        elif what == 'write':
            disk.inode(path).pending.append(data)
        elif what == 'append':
            inode = disk.inode(path)
            inode.pending.append((len(inode.now()), data))
        elif what == 'sync':
            disk.sync(path)

    def truth(self):
        """{host: [what the journal has after each transaction]}: without any loss."""
        disk, truth = Disk(False), {'source': [], 'dest': []}
        for call in self.calls:
            self.step(disk, call)
            if call[0] == 'mark':
                truth[call[1]].append(self.say(of_host(disk.now(), self.folder, call[1])))
        for host, sums in truth.items():
            if not sums or not all(said.startswith('ok') for said in sums):
                raise SystemExit(f'{host}: without a power loss the journal says {sums[-1:]}')
        return truth

    def say(self, content):
        """What is in these files."""
        return self.look.at(content, self.folder / 'state')

    def run(self):
        """Every sync."""
        truth, disk, done = self.truth(), Disk(self.args.planted), {'source': 0, 'dest': 0}
        # Before the first transaction: nothing, or what the journal is made as.
        empty = {self.say({})}
        for index, call in enumerate(self.calls):
            if call[0] == 'sync' or self.dice.random() < 0.05:
                for _ in range(self.args.states):
                    self.lose(disk, truth, done, empty, index)
            self.step(disk, call)
            if call[0] == 'link':
                host = os.path.basename(os.path.dirname(call[1]))
                empty.add(self.say(of_host(disk.now(), self.folder, host)))
            if call[0] == 'mark':
                done[call[1]] += 1
        for host in ('source', 'dest'):
            if self.say(of_host(disk.now(), self.folder, host)) != truth[host][-1]:
                raise SystemExit('the record of the run does not end as the run did')
        self.look.end()
        return sum(len(sums) for sums in truth.values())

    def lose(self, disk, truth, done, empty, index):
        """One power loss, as both hosts see it."""
        left = disk.lose(self.dice)
        for host in ('source', 'dest'):
            if not any(name.startswith(f'{self.folder}/{host}/') and (i.pending or disk.durable.get(name) is not i)
                       for name, i in disk.names.items()):
                continue  # nothing is under way there
            n, said = done[host], self.say(of_host(left, self.folder, host))
            may = set(truth[host][max(0, n - 1):n + 1]) | (empty if n == 0 else set())
            self.states += 1
            self.kinds['before' if said == truth[host][n - 1] else 'after'] += 1
            if said not in may:
                self.bad.append(f'{host}, call {index}, after {n} transactions: {said}')


def replay(args, name, folder):
    """One scenario: (its line, good)."""
    begin = time.monotonic()
    folder.mkdir()
    run = Replay(args, name, folder)
    transactions = run.run()
    good = not run.bad and run.states > 0
    lines = [f'{"ok" if good else "not ok"} - {name}: {run.states} power losses in {transactions} transactions, each '
             f'the one before ({run.kinds["before"]}) or the one after ({run.kinds["after"]}) '
             f'({time.monotonic() - begin:.0f} s)']
    return '\n    '.join(lines + run.bad[:5]), good


def main():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n', maxsplit=1)[0])
    parser.add_argument('--sim', type=pathlib.Path, required=True)
    parser.add_argument('--look', type=pathlib.Path, required=True)
    parser.add_argument('--states', type=int, default=3, help='power losses at each sync')
    parser.add_argument('--seed', type=int, default=int(time.time()))
    parser.add_argument('--planted', action='store_true')
    args = parser.parse_args()
    print(f'seed {args.seed}', flush=True)
    names = SCENARIOS[:1] if args.planted else SCENARIOS
    passed = 0
    with Scratch('vmig-power-') as scratch:
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            for said, good in pool.map(lambda item: replay(args, item[1], scratch.path / str(item[0])),
                                       enumerate(names)):
                if args.planted:
                    said, good = f'{"not ok" if good else "ok"} - a rollback file that is not synced is seen', not good
                print(said, flush=True)
                passed += good
    print(f'{passed} passed, {len(names) - passed} failed, 0 skipped')
    return 0 if passed == len(names) else 1


if __name__ == '__main__':
    sys.exit(main())
