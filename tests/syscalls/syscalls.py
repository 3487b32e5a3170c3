# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every system call of the tool as a place to die at, and as one that fails.

    python3 tests/syscalls/syscalls.py --sim build/tests/sim/sim-disk [--trials N] [--seed S] [--jobs N]
    python3 tests/syscalls/syscalls.py --sim build/tests/sim/sim-disk --all

`sim-disk` is the real machine, journal and gate on two simulated hosts; the journals are real files, and the hosts
outlive the process. strace(1) kills it at the Nth call of one kind, or makes that call fail; then it is carried on by
the same command line without strace, to its end, where all invariants of the simulation must hold, and once more, which
must change nothing.

A kill at a call is one before it, so the calls of a whole run are all the moments there are. The gate's calls are made
too, on nothing; its files are those of the simulation. What is done to images has no call of its own here: it happens
between two of these.

--all takes every point once, the default draws them by the seed, as many as fit into a few minutes. A failure says the
commands that repeat it and keeps its folder.
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

# What touches the world. Reading, memory and waiting leave nothing behind.
WRITES = ['pwrite64', 'write', 'fsync', 'fdatasync', 'ftruncate', 'fallocate', 'rename', 'renameat', 'renameat2',
          'link', 'linkat', 'unlink', 'unlinkat', 'mkdir', 'mkdirat']
TRACED = [*WRITES, 'openat', 'open', 'fcntl', 'flock']
ERRORS = ['EIO', 'ENOSPC', 'EROFS']
SEED_OF_WORLD = '4'  # two disks of two files each, two snapshots
LINE = re.compile(r'^(?:\[pid +\d+\] |\d+ +)?(\w+)\((.*)')
AGAIN = 3

Point = collections.namedtuple('Point', 'call number')


class Failed(Exception):
    """A trial found something."""


class Runs:
    """Runs of one scenario in one folder."""

    def __init__(self, sim, arguments, folder):
        self.argv = [str(sim), '--folder', str(folder), *arguments]
        self.folder = folder
        self.said = []

    def run(self, before=()):
        """Once, under what stands before; (exit code, what it said)."""
        argv = [str(word) for word in (*before, *self.argv)]
        self.said.append(' '.join(argv))
        try:
            done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                  text=True, errors='replace', timeout=120, check=False)
        except subprocess.TimeoutExpired:
            raise Failed('it does not end') from None
        self.said.append(f'    {done.returncode}: {done.stdout.strip()[-300:]}')
        return done.returncode, done.stdout.strip()

    def injected(self, point, what):
        """With that call killed, or failing. With --seccomp-bpf strace 6.1 injects errors, and no signal."""
        quick = ['-f', '--seccomp-bpf'] if what.startswith('error') else []
        return self.run(['strace', *quick, '-qqq', '-o', '/dev/null', '-e', f'trace={point.call}', '-e',
                         f'inject={point.call}:{what}:when={point.number}'])

    def points(self):
        """A whole run; every Point after the world's file is open."""
        log = pathlib.Path(f'{self.folder}.strace')
        code, said = self.run(['strace', '-f', '--seccomp-bpf', '-qqq', '-s', '0', '-o', log, '-e',
                               'trace=' + ','.join(f'?{name}' for name in TRACED)])
        if code != 0:
            raise Failed(f'undisturbed, it ends with {code}: {said}')
        counts, points, begun = collections.Counter(), [], False
        for line in log.read_text(errors='replace').splitlines():
            match = LINE.match(line)
            if not match:
                continue
            counts[match[1]] += 1
            if begun:
                points.append(Point(match[1], counts[match[1]]))
            # The first one is that of the world's file; before it the program is being loaded.
            begun = begun or match[1] == 'ftruncate'
        log.unlink()
        return points

    def to_the_end(self):
        """Carry on undisturbed; what it ended as."""
        code, said = self.run()
        if code == AGAIN:
            raise Failed('carried on with nothing in its way, it cannot open or read its journal')
        if code != 0:
            raise Failed(f'carried on, it ends with {code}')
        return said.splitlines()[-1]


def killed(runs, point):
    """Kill at a point. FALSE: this run did not get there."""
    code, _ = runs.injected(point, 'signal=KILL')
    if code in (-9, 137):
        return True
    if code == 0:
        return False
    raise Failed(f'it was to be killed and ended with {code}')


def failing(runs, point, error):
    """Let a call fail. The process may end as it likes, but for a broken invariant."""
    code, _ = runs.injected(point, f'error={error}')
    if code not in (0, AGAIN):
        raise Failed(f'with {error} at {point.call} number {point.number} it ends with {code}')


class Trials:
    """Everything with one binary."""

    def __init__(self, args, folder):
        self.sim, self.folder = args.sim.resolve(), folder
        self.all, self.jobs = args.all, args.jobs
        self.planted = ['--break'] if args.planted else []
        self.random = random.Random(args.seed)
        self.number = self.passed = self.failed = 0
        self.outcomes = collections.Counter()
        self.arguments = {}

    def trial(self, name, number, plan):
        """One: plan does what is to be done first."""
        folder = self.folder / f'{number}'
        folder.mkdir()
        runs = Runs(self.sim, [*self.arguments[name], *self.planted], folder)
        try:
            reached = plan(runs)
            outcome = runs.to_the_end()
            if runs.to_the_end() != outcome:
                raise Failed('run once more, it ends otherwise')
        except Failed as why:
            return f'{why}\n    ' + '\n    '.join(runs.said) + f'\n    kept: {folder}', None, True
        shutil.rmtree(folder)
        return None, outcome, reached

    def run(self, title, name, plans):
        """Many trials of a kind; one line, and one more for each that failed."""
        begin = time.monotonic()
        outcomes, failures, missed = collections.Counter(), [], 0
        with concurrent.futures.ThreadPoolExecutor(self.jobs) as pool:
            waiting = []
            for plan in plans:
                self.number += 1
                waiting.append(pool.submit(self.trial, name, self.number, plan))
            for future in waiting:
                why, outcome, reached = future.result()
                missed += not reached
                if why:
                    failures.append(why)
                else:
                    outcomes[outcome] += 1
        good = not failures and missed * 20 <= len(plans)
        self.passed += good
        self.failed += not good
        if self.planted:
            return
        ends = ', '.join(f'{n} {what}' for what, n in sorted(outcomes.items()))
        print(f'{"ok" if good else "not ok"} - {name}: {title} ({ends or "nothing"}; {missed} not reached, '
              f'{time.monotonic() - begin:.0f} s)', flush=True)
        for why in failures[:5]:
            print(f'    {why}', flush=True)
        if len(failures) > 5:
            print(f'    and {len(failures) - 5} more', flush=True)

    def some(self, points, n, kind):
        """That many of them by the seed, of each kind as many as of any other; or all."""
        if self.all or n >= len(points):
            return points
        kinds = collections.defaultdict(list)
        for point in points:
            kinds[kind(point)].append(point)
        for group in kinds.values():
            self.random.shuffle(group)
        chosen, groups = [], list(kinds.values())
        while len(chosen) < n:
            groups = [group for group in groups if group]
            chosen += [group.pop() for group in groups]
        return chosen[:n]

    def of(self, name, share):
        """All kinds of one scenario; share: how many trials of the budget."""
        folder = self.folder / 'whole'
        self.arguments[name] = moments.arguments(self.sim, folder, SEED_OF_WORLD, name)
        folder.mkdir()
        points = Runs(self.sim, [*self.arguments[name], *self.planted], folder).points()
        shutil.rmtree(folder)
        # What is done between two writes is the same for whoever dies at any call there. What is planted shows in the
        # middle of a commit.
        calls = ['pwrite64'] if self.planted else WRITES
        kills = points if self.all else [p for p in points if p.call in calls]
        some = self.some(kills, share, lambda p: p.call)
        self.run(f'killed at {len(some)} of {len(points)} calls', name,
                 [lambda runs, p=p: killed(runs, p) for p in some])
        if self.planted:
            return
        pairs = [(p, error) for p in points for error in ERRORS]
        some = self.some(pairs, share, lambda pair: (pair[0].call, pair[1]))
        self.run(f'{len(some)} of {len(pairs)} failing calls', name,
                 [lambda runs, p=p, e=e: failing(runs, p, e) or True for p, e in some])
        self.deep(name, kills, points, share)

    def deep(self, name, kills, points, share):
        """Killed, carried on and killed again, at the calls of the one that carries on."""
        firsts = self.random.sample(kills, min(len(kills), 60 if self.all else max(1, share // 6)))
        plans = []
        for first in firsts:
            folder = self.folder / 'first'
            folder.mkdir()
            runs = Runs(self.sim, [*self.arguments[name], *self.planted], folder)
            seconds = runs.points() if killed(runs, first) else []
            shutil.rmtree(folder)
            for second in self.random.sample(seconds, min(len(seconds), 60 if self.all else 4)):
                plans.append(lambda runs, a=first, b=second: killed(runs, a) and killed(runs, b))
        self.run(f'killed twice, at {len(plans)} pairs of calls', name, plans)


def main():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n', maxsplit=1)[0])
    parser.add_argument('--sim', type=pathlib.Path, required='--list' not in sys.argv)
    parser.add_argument('--trials', type=int, default=600, help='about how many in all')
    parser.add_argument('--seed', type=int, default=int(time.time()))
    parser.add_argument('--jobs', type=int, default=os.cpu_count() or 1)
    parser.add_argument('--all', action='store_true', help='every point: hours')
    parser.add_argument('--planted', action='store_true', help='without rollback file: this must be seen')
    parser.add_argument('--only', choices=list(moments.SCENARIOS))
    parser.add_argument('--list', action='store_true', help='only say which scenarios there are')
    args = parser.parse_args()
    if args.list:
        print('\n'.join(moments.SCENARIOS))
        return 0
    print(f'seed {args.seed}', flush=True)
    names = [args.only] if args.only else list(moments.SCENARIOS)
    with Scratch('vmig-syscalls-') as scratch:
        trials = Trials(args, scratch.path)
        for name in names:
            trials.of(name, max(4, args.trials // (3 * len(names))))
        scratch.keep = trials.failed and not args.planted
    if args.planted:
        print(f'{"ok" if trials.failed else "not ok"} - journals without a rollback file are seen\n'
              f'{int(trials.failed > 0)} passed, {int(not trials.failed)} failed, 0 skipped')
        return 0 if trials.failed else 1
    print(f'{trials.passed} passed, {trials.failed} failed, 0 skipped')
    return 1 if trials.failed else 0


if __name__ == '__main__':
    sys.exit(main())
