# SPDX-License-Identifier: LGPL-2.1-or-later
"""Two builds of vmig-snap side by side: how long a migration takes and how long the guest is suspended.

    python3 tests/bench/builds.py --old PATH [--new PATH] [--disks 1,8] [--runs N]

For each number of disks, each run migrates the same guest (its images made anew, two internal snapshots with memory, a
writer on every disk) with either build, between the two hosts of tests/lab. The order turns from run to run, and ratios
are made within a run, so that what else the machine does cancels out. What arrived is judged as in the lab's tests
before a figure counts.

suspended  from libvirt's event that the guest on the destination is suspended for the pivot to the event that it runs
stall      the longest time without an acknowledged write of any disk, the downtime of the migration included
"""
import argparse
import os
import pathlib
import re
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / 'tests/lab'))

import oracle  # noqa: E402
from command import Call  # noqa: E402
from lab import IMAGES, Lab  # noqa: E402
from meters import drop_caches  # noqa: E402

BUILDS = ('old', 'new')
GOLDEN = '/srv/vmig2/golden.qcow2'
SNAPSHOTS = ['one', 'two']
# (what, unit, digits), by the names of measure()'s dictionary
FIGURES = {'total': ('whole migration', 's', 2), 'suspended': ('suspended for the pivot', 'ms', 0),
           'stall': ('longest wait for a write', 'ms', 0), 'downtime': ('downtime as reported', 'ms', 0)}
EVENT = re.compile(r'^(?P<day>\S+) (?P<time>\S+?)\+\d+: event .lifecycle. for domain .*: (?P<what>\w+)', re.M)


class Events:
    """The lifecycle events of the destination's libvirt with its own timestamps; use in a `with`."""

    def __init__(self, lab):
        self.lab = lab
        self.process, self.file = None, lab.dir / 'b/run/bench-events'

    def __enter__(self):
        with open(self.file, 'w', encoding='utf-8') as out:
            self.process = self.lab.popen('b', ['virsh', 'event', '--all', '--loop', '--timestamp'], stdout=out,
                                          stderr=subprocess.STDOUT)
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(10)

    def suspended(self):
        """Milliseconds from the last suspension to the resumption that followed it."""
        begin, lasted = None, 0.0
        for match in EVENT.finditer(self.file.read_text(encoding='utf-8')):
            hours, minutes, seconds = match['time'].split(':')
            now = (int(hours) * 60 + int(minutes)) * 60 + float(seconds)
            if match['what'] == 'Suspended':
                begin = now
            elif match['what'] == 'Resumed' and begin is not None:
                lasted, begin = (now - begin) * 1000, None
        return lasted


class Builds:
    """The lab with its golden image, and one migration by either build."""

    def __init__(self, lab, args):
        self.lab, self.args = lab, args
        lab.make_disk('a', GOLDEN, '256M', fill_mb=args.mib, fill_offset_mb=64)

    def clean(self):
        """Nothing of an earlier migration is left, and no journal that the other build would not read."""
        for host in 'ab':
            if self.lab.qemu_pid(host, 'builds'):
                self.lab.kill_qemu(host, 'builds')
            self.lab.remove_guest(host, 'builds')
            self.lab.run(host, ['sh', '-c', f'rm -rf {IMAGES}/builds-* /var/lib/vmig-snap/* /run/vmig-snap'])
            self.lab.run(host, ['rm', '-f', self.lab.console_path('builds')])

    def measure(self, program, disks):
        """{figure: value} of one migration that was right."""
        lab = self.lab
        self.clean()
        lab.install(program)
        images = [f'{IMAGES}/builds-{number}.qcow2' for number in range(disks)]
        for image in images:
            lab.run('a', ['cp', '--sparse=always', GOLDEN, image])
        lab.make_guest('a', 'builds', images, cmdline='vmig.rate=40 vmig.region_mb=8')
        lab.make_tree('a', 'builds', [('take', name, '') for name in SNAPSHOTS])
        drop_caches()
        with oracle.StallWatch(lab, 'builds') as stall, Events(lab) as events:
            begin = time.monotonic()
            call = Call(lab, 'a', ['migrate', 'builds', lab.uri('b'), '--json']).wait(1800)
            took = time.monotonic() - begin
            if call.code != 0:
                raise RuntimeError(f'vmig-snap ended with {call.code}: {call.tail()}')
            lab.wait_writes('b', 'builds', 5)
        self.check(images)
        return {'total': took, 'suspended': events.suspended(), 'downtime': call.result['downtime_ms'],
                'stall': max(gap for gap, _ in stall.gaps.values())}

    def check(self, images):
        """The guest is there, whole, with its snapshots; else the figures are worth nothing."""
        verdict = oracle.check_writes(self.lab, 'b', 'builds')
        if not verdict.ok or oracle.runners(self.lab, 'builds') != ['b']:
            raise RuntimeError(f'the guest did not arrive whole: {verdict}')
        for image in images:
            if [fact.name for fact in oracle.image_facts(self.lab, 'b', image)] != SNAPSHOTS:
                raise RuntimeError(f'the snapshots of {image} did not arrive')


def report(disks, runs):
    """A table of one number of disks."""
    print(f'{disks} disks, {len(runs)} runs, load now {os.getloadavg()[0]:.1f}')
    for name, (what, unit, digits) in FIGURES.items():
        each = {build: [run[build][name] for run in runs] for build in BUILDS}
        ratios = [new / old for old, new in zip(each['old'], each['new']) if old]
        cells = ', '.join(f'{build} {statistics.median(each[build]):.{digits}f} {unit} '
                          f'({min(each[build]):.{digits}f}-{max(each[build]):.{digits}f})' for build in BUILDS)
        ratio = f'{statistics.median(ratios):.3f} ({min(ratios):.2f}-{max(ratios):.2f})' if ratios else 'none'
        print(f'  {what}: {cells}; new / old within each run {ratio}', flush=True)


def main():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n', maxsplit=1)[0])
    parser.add_argument('--old', required=True, metavar='PATH', help='the build to compare with')
    parser.add_argument('--new', default=str(ROOT / 'build/plugin/vmig-snap'), metavar='PATH')
    parser.add_argument('--disks', default='1,8', metavar='N,...', help='numbers of disks (1,8)')
    parser.add_argument('--runs', type=int, default=5, metavar='N')
    parser.add_argument('--mib', type=int, default=64, metavar='N', help='random data in each image (64)')
    parser.add_argument('--dir', default='/var/tmp/vmig-lab-builds', help="the lab's folder")
    args = parser.parse_args()
    programs = {'old': args.old, 'new': args.new}
    with Lab(args.dir, replace=True) as lab:
        builds = Builds(lab, args)
        for disks in (int(word) for word in args.disks.split(',')):
            runs = []
            for run in range(args.runs):
                order = BUILDS if run % 2 == 0 else BUILDS[::-1]
                runs.append({build: builds.measure(programs[build], disks) for build in order})
                print(f'# {disks} disks, run {run + 1}: ' + '; '.join(
                    f'{build} {runs[-1][build]["total"]:.1f} s, suspended {runs[-1][build]["suspended"]:.0f} ms'
                    for build in BUILDS), flush=True)
            report(disks, runs)
    return 0


if __name__ == '__main__':
    sys.exit(main())
