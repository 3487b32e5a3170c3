# SPDX-License-Identifier: LGPL-2.1-or-later
"""How long a live migration takes with vmig-snap, against stock virsh, scp and nbdcopy.

    python3 tests/bench/bench.py [--binary PATH] [--runs N] [--gib N] [--mbit N] [--only copies|migrations] [--write]

First the copy of one file alone (copies.py): new over tcp, tls and ssh, resumed at 50 %, the way back with 1 % changed,
against nbdcopy to qemu-nbd in two modes, scp and rsync. Then whole migrations. Each run measures in turn, on the same
image content and the same two hosts of tests/lab:
    vmig-snap   vmig-snap migrate over ssh, with all internal snapshots
    stock       virsh migrate --live --p2p --copy-storage-all over plain TCP, which loses them (it
                is only possible without libvirt's metadata of them, so that is deleted first)
    scp         the image file alone, over ssh
    nbdcopy     the image file alone, over plain TCP, from qemu-nbd to qemu-nbd
The order turns from run to run, page caches are dropped before each measurement, and ratios are made
within a run, so that what else the machine does cancels out. --write writes docs/performance.md.
"""
import argparse
import datetime
import os
import pathlib
import platform
import shutil
import statistics
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / 'tests/lab'))

import copies  # noqa: E402
import oracle  # noqa: E402
from command import Call  # noqa: E402
from lab import IMAGES, Lab, wait_until  # noqa: E402

GOLDEN = '/srv/vmig2/golden.qcow2'
IMAGE = f'{IMAGES}/bench.qcow2'
SNAPSHOTS = ['one', 'two']
PORT = '10999'


def drop_caches():
    """Write everything out and forget it, where that is allowed."""
    os.sync()
    try:
        pathlib.Path('/proc/sys/vm/drop_caches').write_text('3')
    except OSError:
        pass


class Bench:
    """The lab with its golden image, and one method for each thing that is measured."""

    def __init__(self, lab, gib):
        self.lab, self.gib = lab, gib
        self.states = []
        self.loads = []

    def prepare(self):
        """The image that every run starts from: full of random data, behind the writer's region."""
        self.lab.make_disk('a', GOLDEN, f'{self.gib}G', fill_mb=(self.gib << 10) - 64,
                           fill_offset_mb=64)

    def guest(self):
        """A running guest on a copy of it, with two snapshots."""
        lab = self.lab
        self.clean()
        lab.run('a', ['cp', '--sparse=always', GOLDEN, IMAGE], timeout=600)
        lab.make_guest('a', 'bench', [IMAGE], cmdline='vmig.rate=50')
        lab.make_tree('a', 'bench', [('take', name, '') for name in SNAPSHOTS])
        drop_caches()

    def clean(self):
        """Nothing of an earlier measurement is left."""
        lab = self.lab
        for host in 'ab':
            if lab.qemu_pid(host, 'bench'):
                lab.kill_qemu(host, 'bench')
            lab.remove_guest(host, 'bench')
            lab.run(host, ['rm', '-f', IMAGE, lab.console_path('bench')])

    def check(self):
        """The guest is there, whole, and writes; else the time is worth nothing."""
        self.lab.wait_writes('b', 'bench', 5)
        verdict = oracle.check_writes(self.lab, 'b', 'bench')
        if not verdict.ok or oracle.runners(self.lab, 'bench') != ['b']:
            raise RuntimeError(f'the guest did not arrive whole: {verdict}')

    def vmig_snap(self):
        """Seconds of a whole vmig-snap migrate."""
        self.guest()
        begin = time.monotonic()
        call = Call(self.lab, 'a', ['migrate', 'bench', self.lab.uri('b'), '--json']).wait(1800)
        took = time.monotonic() - begin
        if call.code != 0:
            raise RuntimeError(f'vmig-snap ended with {call.code}: {call.tail()}')
        self.check()
        facts = oracle.image_facts(self.lab, 'b', IMAGE)
        if [fact.name for fact in facts] != SNAPSHOTS:
            raise RuntimeError('the snapshots did not arrive')
        marks = [(0.0, 'PLAN'), *call.states(), (took, 'end')]
        self.states.append({name: later - when for (when, name), (later, _) in zip(marks, marks[1:])})
        self.states[-1]['downtime_ms'] = call.result['downtime_ms']
        return took

    def stock(self):
        """Seconds of a whole virsh migrate, which loses the snapshots."""
        self.guest()
        lab = self.lab
        for name in reversed(SNAPSHOTS):
            lab.virsh('a', 'snapshot-delete', 'bench', name, '--metadata')
        lab.make_disk('b', IMAGE, f'{self.gib}G')
        drop_caches()
        begin = time.monotonic()
        lab.virsh('a', 'migrate', '--live', '--p2p', '--copy-storage-all', '--persistent',
                  '--undefinesource', 'bench', lab.uri('b', 'tcp'), timeout=1800)
        took = time.monotonic() - begin
        self.check()
        return took

    def scp(self):
        """Seconds of scp of the image file, synced there."""
        self.guest()
        self.lab.virsh('a', 'suspend', 'bench')
        drop_caches()
        begin = time.monotonic()
        self.lab.run('a', ['scp', '-q', IMAGE, f'vmig-b:{IMAGE}'], timeout=1800)
        self.lab.run('b', ['sync', IMAGE])
        return time.monotonic() - begin

    def nbdcopy(self):
        """Seconds of nbdcopy of the image file between two qemu-nbd, direct I/O at both ends."""
        self.guest()
        lab = self.lab
        lab.kill_qemu('a', 'bench')  # its image lock is in qemu-nbd's way
        size = os.stat(lab.path('a', IMAGE)).st_size
        lab.run('b', ['truncate', '-s', str(size), IMAGE])
        server = lab.popen('b', ['qemu-nbd', '-f', 'raw', '--cache=none', '--aio=native', '-p', PORT,
                                 '-t', '-e', '8', IMAGE])
        wait_until(lambda: lab.run('a', ['nbdinfo', '--size', f'nbd://vmig-b:{PORT}'],
                                   check=False).returncode == 0, 20, 'qemu-nbd')
        drop_caches()
        begin = time.monotonic()
        source = ['[', 'qemu-nbd', '-r', '-f', 'raw', '--cache=none', '--aio=native', '-e', '8',
                  IMAGE, ']']
        try:
            lab.run('a', ['nbdcopy', '--flush', '--', *source, f'nbd://vmig-b:{PORT}'], timeout=1800)
            took = time.monotonic() - begin
        finally:
            server.terminate()
            server.wait()
        return took


def measure(bench, runs):
    """{what: [seconds of each run]}."""
    kinds = {'vmig-snap': bench.vmig_snap, 'stock': bench.stock, 'scp': bench.scp,
             'nbdcopy': bench.nbdcopy}
    times = {kind: [] for kind in kinds}
    for run in range(runs):
        order = list(kinds)
        order = order[run % len(order):] + order[:run % len(order)]
        for kind in order:
            times[kind].append(kinds[kind]())
            bench.loads.append(os.getloadavg()[0])
            print(f'# run {run + 1}: {kind} {times[kind][-1]:.1f} s, load '
                  f'{bench.loads[-1]:.1f}', flush=True)
    return times


def ratios(times, states):
    """{what: [ratio of each run]}."""
    seeds = [state['SEED'] for state in states]
    return {'vmig-snap / stock': [a / b for a, b in zip(times['vmig-snap'], times['stock'])],
            'SEED / scp': [a / b for a, b in zip(seeds, times['scp'])],
            'SEED / nbdcopy': [a / b for a, b in zip(seeds, times['nbdcopy'])]}


def measure_copies(lab, args):
    """[{kind: result}], the order turned from run to run."""
    bench = copies.Copies(lab, args.gib)
    bench.prepare()
    runs = []
    for run in range(args.runs):
        order = [*bench.KINDS[run % len(bench.KINDS):], *bench.KINDS[:run % len(bench.KINDS)]]
        runs.append({kind: bench.run(kind) for kind in order})
        for kind in order:
            print(f'# copy {run + 1}: {kind} {runs[-1][kind]["seconds"]:.2f} s, load {os.getloadavg()[0]:.1f}',
                  flush=True)
    return runs


def report_copies(runs):
    """The part of docs/performance.md about the copies."""
    if not runs:
        return []
    sums = copies.ratios(runs)
    return ['## The copy of a base alone', '',
            'vmig-snap hashes on both sides and reads back what it wrote; the other tools do not.', '',
            '| copy | median | each run |', '|---|---|---|',
            *(row(kind.replace('_', ' '), [run[kind]['seconds'] for run in runs], digits=2)
              for kind in copies.Copies.KINDS), '',
            '| ratio, within each run | median | each run |', '|---|---|---|',
            *(row(name, values, '', 3) for name, values in sums.items()), '',
            f'CPU of the sender: {statistics.median(run["tcp"]["cpu"] for run in runs):.2f} s over tcp; its peak memory '
            f'{max(run[kind]["memory_kib"] for run in runs for kind in ("tcp", "tls", "ssh", "way_back")) // 1024} MiB.',
            '']


def row(name, values, unit='s', digits=1):
    """A line of a table."""
    shown = ', '.join(f'{value:.{digits}f}' for value in values)
    return f'| {name} | {statistics.median(values):.{digits}f} {unit} | {shown} |'.replace('  ', ' ')


def report(bench, times, args, copied):
    """The text of docs/performance.md."""
    states = bench.states
    order = [name for name in states[0] if name not in ('downtime_ms', 'end')]
    cpu = next((line.split(':')[1].strip() for line in open('/proc/cpuinfo', encoding='utf-8')
                if line.startswith('model name')), platform.machine())
    link = f'{args.mbit} Mbit/s' if args.mbit else 'unlimited (virtual Ethernet)'
    lines = [
        '# Performance', '',
        'Written by `python3 tests/bench/bench.py --write`; do not edit. The goal: a whole live migration with all',
        'internal snapshots takes at most 1.3 times what stock `virsh migrate --copy-storage-all` takes, which loses',
        'them.', '',
        '## How it was measured', '',
        f'{datetime.date.today()}, {os.cpu_count()} × {cpu}, both hosts on this one machine (tests/lab), guests '
        f'emulated (TCG).',
        f'Load average meanwhile: {min(bench.loads):.0f} to {max(bench.loads):.0f}. Link between the hosts: {link}.',
        f'One guest that writes 50 blocks a second, one qcow2 disk of {bench.gib} GiB full of random data, two internal',
        f'snapshots with memory. {len(times["stock"])} runs, their order turned, caches dropped before each.',
        'vmig-snap goes over ssh (encrypted) and hashes everything on both sides; stock virsh and nbdcopy go over plain',
        'TCP and hash nothing. `python3 tests/bench/bench.py --help` says more.', '',
        *report_copies(copied),
        '## Whole migration', '',
        '| what | median | each run |', '|---|---|---|',
        row('vmig-snap migrate (ssh, with snapshots)', times['vmig-snap']),
        row('virsh migrate --copy-storage-all (TCP, loses them)', times['stock']),
        row('the state SEED of vmig-snap: copy, hash twice, sync', [s['SEED'] for s in states]),
        row('scp of the image file, synced', times['scp']),
        row('nbdcopy of the image file (TCP), flushed', times['nbdcopy']), '',
        '| ratio, within each run | median | each run |', '|---|---|---|',
        *(row(name, values, '', 2) for name, values in ratios(times, states).items()), '',
        '## Where the time goes', '',
        '| state of vmig-snap | median | each run |', '|---|---|---|',
        *(row(name, [s.get(name, 0.0) for s in states], digits=2) for name in order), '',
        f'Downtime told by vmig-snap: median '
        f'{statistics.median(s["downtime_ms"] for s in states):.0f} ms.', '']
    return '\n'.join(lines)


def main():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n', maxsplit=1)[0])
    parser.add_argument('--binary', default=str(ROOT / 'build/plugin/vmig-snap'))
    parser.add_argument('--runs', type=int, default=3, metavar='N')
    parser.add_argument('--gib', type=int, default=2, metavar='N', help='size of the image (2)')
    parser.add_argument('--only', choices=('copies', 'migrations'), help='one of the two parts; nothing is written')
    parser.add_argument('--mbit', type=int, metavar='N', help='limit the link between the hosts')
    parser.add_argument('--write', action='store_true', help='write docs/performance.md')
    parser.add_argument('--dir', default='/var/tmp/vmig-lab-bench', help="the lab's folder")
    args = parser.parse_args()
    if not os.path.exists(args.binary):
        sys.exit(f'{args.binary} does not exist: build first, or --binary PATH')
    with Lab(args.dir, replace=True) as lab:
        shutil.copy(args.binary, lab.bin / 'vmig-snap')
        shutil.copy(pathlib.Path(args.binary).parents[1] / 'tests/bench-copy', lab.bin)
        if args.mbit:
            lab.rate(args.mbit)
        copied = measure_copies(lab, args) if args.only != 'migrations' else []
        if args.only == 'copies':
            print('\n'.join(report_copies(copied)))
            return 0
        for host in 'ab':
            for path in (copies.SOURCE, copies.PART):
                lab.path(host, path).unlink(missing_ok=True)
        bench = Bench(lab, args.gib)
        bench.prepare()
        times = measure(bench, args.runs)
    text = report(bench, times, args, copied)
    print(text)
    if args.write:
        (ROOT / 'docs/performance.md').write_text(text)
    ratio = statistics.median(ratios(times, bench.states)['vmig-snap / stock'])
    print(f'{"ok" if ratio <= 1.3 else "not ok"} - vmig-snap takes {ratio:.2f} times stock')
    return 0 if ratio <= 1.3 else 1


if __name__ == '__main__':
    sys.exit(main())
