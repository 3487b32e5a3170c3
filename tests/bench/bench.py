# SPDX-License-Identifier: LGPL-2.1-or-later
"""How fast vmig-snap is, what it costs and what the guest notices, against other tools, in one paired run.

    python3 tests/bench/bench.py [--runs N] [--more N] [--minutes N] [--write]
    python3 tests/bench/bench.py --only copies | migrations | memory | own_disk | gigabit | connections | KIND,...

copies      one file, new over tcp, tls and ssh, resumed at 50 %, the way back with 1 % changed, against nbdcopy to
            qemu-nbd in two modes, virsh vol-upload, scp and rsync (copies.py)
migrations  a guest that writes, with internal snapshots, over ssh, tls and tcp, with one disk and four, resumed at
            50 %, the way back, against virsh migrate --copy-storage-all over plain TCP, which loses the snapshots
            (migrations.py)
memory      once, with an image file that is 1 TiB long
own_disk    --around times, the most important copies where the destination has a disk of its own, in memory
gigabit     --around times, the same over a link of 1 Gbit/s
connections only when asked for: one file with one connection and more

Every run measures all of it in turn, on the same image content and the same two hosts of tests/lab. The order turns
from run to run, page caches are dropped before each measurement, and ratios are made within a run, so that what else
the machine does cancels out. With --minutes no run is begun that would end later. The figures are kept in --figures
after each run; --render makes the report of them. --write writes docs/performance.md.
"""
import argparse
import datetime
import json
import os
import pathlib
import platform
import shutil
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / 'tests/lab'))

import copies  # noqa: E402
import migrations  # noqa: E402
import report  # noqa: E402
from lab import Lab, LabError  # noqa: E402

PARTS = {'copies': copies.Copies.KINDS, 'migrations': migrations.Migrations.KINDS,
         'memory': migrations.Migrations.ONCE, 'connections': copies.Copies.CONNECTIONS,
         **{name: copies.Copies.PAIRED for name in copies.AROUND}}
DEFAULT = ('copies', 'migrations', 'memory', *copies.AROUND)
# What the goals are about.
GOALS = {'copies': ('tcp', 'tls', 'ssh', 'nbdcopy_direct', 'nbdcopy_writeback', 'scp'),
         'migrations': ('ssh', 'way_back', 'stock')}


def wanted(only):
    """{part: kinds} of --only; kinds as PART:KIND or KIND, parts by their name."""
    words = only.split(',') if only else DEFAULT
    found = {part: [kind for kind in kinds if part in words or kind in words or f'{part}:{kind}' in words]
             for part, kinds in PARTS.items()}
    known = {*PARTS, *(kind for kinds in PARTS.values() for kind in kinds),
             *(f'{part}:{kind}' for part, kinds in PARTS.items() for kind in kinds)}
    if set(words) - known:
        sys.exit(f'--only: there is no {", ".join(sorted(set(words) - known))}; there is: {", ".join(sorted(known))}')
    return found


def turned(kinds, run):
    """The kinds in the order of that run; the way back follows what it is the way back of."""
    pair = 'ssh' in kinds and 'way_back' in kinds
    rest = [kind for kind in kinds if not (pair and kind == 'way_back')]
    rest = [*rest[run % len(rest):], *rest[:run % len(rest)]] if rest else []
    return [each for kind in rest for each in ((kind, 'way_back') if pair and kind == 'ssh' else (kind,))]


class Bench:
    """The runs, and what they gave."""

    def __init__(self, lab, args):
        self.lab, self.args = lab, args
        self.kinds = wanted(args.only)
        cpu = next((line.split(':')[1].strip() for line in open('/proc/cpuinfo', encoding='utf-8')
                    if line.startswith('model name')), platform.machine())
        self.figures = {'date': str(datetime.date.today()), 'cpu': f'{os.cpu_count()} × {cpu}', 'mib': args.mib,
                        'mbit': args.mbit, 'loads': [], 'failed': [], 'whole': 0, 'short': 0,
                        **{part: [] for part in PARTS}}

    def _measure(self, part, source, order):
        results = {}
        for kind in order:
            try:
                results[kind] = source.run(kind)
            except (LabError, RuntimeError, TimeoutError, subprocess.SubprocessError) as error:
                # One that does not come off must not take all the others along.
                self.figures['failed'].append(f'{part}: {kind}: {error}')
                print(f'# {self.figures["failed"][-1]}', flush=True)
                continue
            self.figures['loads'].append(os.getloadavg()[0])
            print(f'# {part} {len(self.figures[part]) + 1}: {kind} {results[kind]["seconds"]:.2f} s, load '
                  f'{self.figures["loads"][-1]:.1f}', flush=True)
        if results:
            self.figures[part].append(results)

    def run(self):
        """All runs; the figures are kept after each."""
        args, kinds = self.args, self.kinds
        begin = time.monotonic()
        alone, whole = copies.Copies(self.lab, args.mib), migrations.Migrations(self.lab, args.mib)
        alone.prepare()
        if kinds['migrations'] or kinds['memory']:
            whole.prepare()
        longest = {}
        for run in range(args.runs + args.more):
            now, short = time.monotonic(), run >= args.runs
            if short:
                kinds = {part: [kind for kind in self.kinds[part] if kind in GOALS.get(part, ())] for part in PARTS}
            # The first short one takes about half as long as a whole one.
            expected = longest.get(short, longest.get(False, 0) / 2)
            if run and args.minutes and now - begin + expected > args.minutes * 60:
                print(f'# {args.minutes} minutes are not enough for run {run + 1}', flush=True)
                continue
            # The copies' files are in the page cache's and nobody else's way meanwhile.
            self._measure('copies', alone, turned(kinds['copies'], run))
            self._measure('connections', alone, turned(kinds['connections'], run))
            self._measure('migrations', whole, turned(kinds['migrations'], run))
            whole.remove()
            self.figures['short' if short else 'whole'] += 1
            longest[short] = max(longest.get(short, 0), time.monotonic() - now)
            if run == 0:
                self._measure('memory', whole, kinds['memory'])
                whole.remove()
            pathlib.Path(args.figures).write_text(json.dumps(self.figures), encoding='utf-8')
        for name, surroundings in copies.AROUND.items():
            if self.kinds[name]:
                with surroundings(self.lab, alone.size):
                    for run in range(args.around):
                        self._measure(name, alone, turned(self.kinds[name], run))
        alone.remove()
        pathlib.Path(args.figures).write_text(json.dumps(self.figures), encoding='utf-8')
        return self.figures


def main():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--binary', default=str(ROOT / 'build/plugin/vmig-snap'))
    parser.add_argument('--runs', type=int, default=3, metavar='N')
    parser.add_argument('--more', type=int, default=0, metavar='N',
                        help='after these, runs of only what the goals are about')
    parser.add_argument('--around', type=int, default=2, metavar='N', help='runs of own_disk and gigabit (2)')
    parser.add_argument('--minutes', type=float, metavar='N', help='begin no run that would end later')
    parser.add_argument('--mib', type=int, default=2048, metavar='N', help='size of the image (2048), at least 512')
    parser.add_argument('--only', metavar='WHAT,...', help='parts or kinds; nothing is written')
    parser.add_argument('--mbit', type=int, metavar='N', help='limit the link between the hosts')
    parser.add_argument('--write', action='store_true', help='write docs/performance.md')
    parser.add_argument('--figures', default='/var/tmp/vmig-bench.json', help='where the figures are kept')
    parser.add_argument('--render', action='store_true', help='measure nothing, report what is kept there')
    parser.add_argument('--dir', default='/var/tmp/vmig-lab-bench', help="the lab's folder")
    args = parser.parse_args()
    if args.write and args.only:
        parser.error('--write is for the whole')
    if args.mib < 512:
        parser.error('--mib: at least 512')
    if args.render:
        figures = json.loads(pathlib.Path(args.figures).read_text(encoding='utf-8'))
    else:
        if not os.path.exists(args.binary):
            sys.exit(f'{args.binary} does not exist: build first, or --binary PATH')
        with Lab(args.dir, replace=True) as lab:
            lab.install(args.binary)
            shutil.copy(pathlib.Path(args.binary).parents[1] / 'tests/bench-copy', lab.bin)
            if args.mbit:
                lab.rate(args.mbit)
            figures = Bench(lab, args).run()
    text = report.text(figures)
    print(text)
    for goal in report.goals(figures):
        print(f'{"ok" if goal.reached else "not ok"} - {goal.name}: {goal.shown}, the goal is {goal.wanted}')
    if args.write:
        (ROOT / 'docs/performance.md').write_text(text, encoding='utf-8')
    return 1 if figures['failed'] else 0


if __name__ == '__main__':
    sys.exit(main())
