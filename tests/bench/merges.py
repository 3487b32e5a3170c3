# SPDX-License-Identifier: LGPL-2.1-or-later
"""The two merges side by side: what the guest notices of a migration, how long it takes, what it sends and writes.

    python3 tests/bench/merges.py [--binary PATH] [--runs N] [--mib N] [--rate N] [--mbit N] [--write]

Each run migrates the same guest (its image made anew, two internal snapshots, a writer of --rate blocks of 4 KiB a
second all over 192 MiB) with either merge, between the two hosts of tests/lab, the order turned from run to run;
differences are made within a run, so that what else the machine does cancels out. What arrived is judged as in the
lab's tests before a figure counts. --write puts the table into docs/merges.md.
"""
import argparse
import datetime
import os
import pathlib
import statistics
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / 'tests/lab'))

import oracle  # noqa: E402
from command import Call  # noqa: E402
from lab import IMAGES, Lab  # noqa: E402
from meters import drop_caches  # noqa: E402

MERGES = ('commit', 'mirror')
GOLDEN = '/srv/vmig2/golden.qcow2'
IMAGE = f'{IMAGES}/merges.qcow2'
SNAPSHOTS = ['one', 'two']
MIB = 1 << 20
MARKS = ('<!-- begin: tests/bench/merges.py -->', '<!-- end: tests/bench/merges.py -->')
# (what, unit, how much a digit counts); the names of measure()'s dictionary
FIGURES = {'total': ('whole migration', 's', 1), 'forward': ('from the switchover to the end of the job', 's', 2),
           'stall': ('longest wait of the guest for a write', 'ms', 0),
           'downtime': ('downtime as vmig-snap reports it', 'ms', 0),
           'sent': ('sent between the hosts: bases, mirror, memory', 'MiB', 0),
           'committed': ('copied again on the destination by the commit', 'MiB', 0),
           'occupied': ('the image on the destination afterwards', 'MiB', 0)}


class Merges:
    """The lab with its golden image, and one migration with either merge."""

    def __init__(self, lab, args):
        self.lab, self.args = lab, args
        lab.make_disk('a', GOLDEN, '2G', fill_mb=args.mib, fill_offset_mb=0)

    def clean(self):
        """Nothing of an earlier migration is left."""
        for host in 'ab':
            if self.lab.qemu_pid(host, 'merges'):
                self.lab.kill_qemu(host, 'merges')
            self.lab.remove_guest(host, 'merges')
            self.lab.run(host, ['rm', '-f', IMAGE, self.lab.console_path('merges')])

    def measure(self, merge):
        """{figure: value} of one migration that was right."""
        lab = self.lab
        self.clean()
        lab.run('a', ['cp', '--sparse=always', GOLDEN, IMAGE], timeout=600)
        lab.make_guest('a', 'merges', [IMAGE], cmdline=f'vmig.rate={self.args.rate} vmig.region_mb=192')
        lab.make_tree('a', 'merges', [('take', name, '') for name in SNAPSHOTS])
        drop_caches()
        with oracle.StallWatch(lab, 'merges') as stall:
            begin = time.monotonic()
            call = Call(lab, 'a', ['migrate', 'merges', lab.uri('b'), '--json', '--merge', merge]).wait(1800)
            took = time.monotonic() - begin
            if call.code != 0:
                raise RuntimeError(f'vmig-snap ended with {call.code}: {call.tail()}')
            lab.wait_writes('b', 'merges', 5)
        self.check()
        result = call.result
        switched = next(when for when, state in call.states() if state == 'ACTIVATE')
        committed = [event['total'] for _, event in call.events
                     if event['event'] == 'progress' and event['phase'] == 'COMMIT']
        return {'total': took, 'forward': took - switched, 'stall': max(gap for gap, _ in stall.gaps.values()),
                'downtime': result['downtime_ms'],
                'sent': (result['bytes_copied'] + result['bytes_mirrored'] + result['bytes_memory']) / MIB,
                'committed': max(committed, default=0) / MIB,
                'occupied': os.stat(lab.path('b', IMAGE)).st_blocks * 512 / MIB}

    def check(self):
        """The guest is there, whole, with its snapshots; else the figures are worth nothing."""
        verdict = oracle.check_writes(self.lab, 'b', 'merges')
        if not verdict.ok or oracle.runners(self.lab, 'merges') != ['b']:
            raise RuntimeError(f'the guest did not arrive whole: {verdict}')
        if [fact.name for fact in oracle.image_facts(self.lab, 'b', IMAGE)] != SNAPSHOTS:
            raise RuntimeError('the snapshots did not arrive')


def report(runs, args, loads):
    """The table, as it stands in docs/merges.md."""
    link = f'{args.mbit} Mbit/s' if args.mbit else 'unlimited (virtual Ethernet)'
    lines = [f'{datetime.date.today()}, {os.cpu_count()} processors, both hosts on one machine (tests/lab), the guest '
             'emulated (TCG).',
             f'Link between the hosts: {link}. Load average during the runs: {min(loads):.0f} to {max(loads):.0f}. '
             f'A qcow2 disk of {args.mib} MiB of random data,',
             f'two internal snapshots with memory, {args.rate} writes of 4 KiB a second over a range of 192 MiB. '
             f'{len(runs)} runs in alternating order.', '',
             '| | commit | mirror | mirror - commit, within each run |', '|---|---|---|---|']
    for name, (what, unit, digits) in FIGURES.items():
        each = {merge: [run[merge][name] for run in runs] for merge in MERGES}
        differences = [b - a for a, b in zip(each['commit'], each['mirror'])]
        cells = [f'{statistics.median(each[merge]):.{digits}f} {unit} '
                 f'({min(each[merge]):.{digits}f}-{max(each[merge]):.{digits}f})' for merge in MERGES]
        lines.append(f'| {what} | {cells[0]} | {cells[1]} | {statistics.median(differences):+.{digits}f} {unit}: '
                     f'{", ".join(f"{value:+.{digits}f}" for value in differences)} |')
    return '\n'.join(lines)


def write(text):
    """Into docs/merges.md, between the marks."""
    path = ROOT / 'docs/merges.md'
    head, rest = path.read_text(encoding='utf-8').split(MARKS[0])
    tail = rest.split(MARKS[1])[1]
    path.write_text(f'{head}{MARKS[0]}\n{text}\n{MARKS[1]}{tail}', encoding='utf-8')


def main():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n', maxsplit=1)[0])
    parser.add_argument('--binary', default=str(ROOT / 'build/plugin/vmig-snap'))
    parser.add_argument('--runs', type=int, default=5, metavar='N')
    parser.add_argument('--mib', type=int, default=768, metavar='N', help='random data in the image (768)')
    parser.add_argument('--rate', type=int, default=200, metavar='N', help='writes of the guest a second (200)')
    parser.add_argument('--mbit', type=int, metavar='N', help='limit the link between the hosts')
    parser.add_argument('--write', action='store_true', help='write docs/merges.md')
    parser.add_argument('--dir', default='/var/tmp/vmig-lab-merges', help="the lab's folder")
    args = parser.parse_args()
    runs, loads = [], []
    with Lab(args.dir, replace=True) as lab:
        lab.install(args.binary)
        if args.mbit:
            lab.rate(args.mbit)
        merges = Merges(lab, args)
        for run in range(args.runs):
            runs.append({merge: merges.measure(merge) for merge in (MERGES if run % 2 == 0 else MERGES[::-1])})
            loads.append(os.getloadavg()[0])
            print(f'# run {run + 1}: ' + '; '.join(
                f'{merge} {runs[-1][merge]["total"]:.1f} s, stall {runs[-1][merge]["stall"]:.0f} ms, '
                f'committed {runs[-1][merge]["committed"]:.0f} MiB' for merge in MERGES), flush=True)
    text = report(runs, args, loads)
    print(text)
    if args.write:
        write(text)
    return 0


if __name__ == '__main__':
    sys.exit(main())
