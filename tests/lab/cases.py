# SPDX-License-Identifier: LGPL-2.1-or-later
"""Shared by the lab tests of vmig-snap: a runner, guests, a watched migration, and two proofs.

A test file has functions test_*(case) and ends with `sys.exit(main(__file__, globals()))`:

    def test_one_disk(case):
        guest = case.guest('g', [Disk('vda')], tree=TWO)
        move = case.migration(guest)
        move.run()
        move.prove_arrived()

One lab serves the whole file. After each test the guests and their files are removed. After a failed test the lab is
rebuilt, so that no test affects another.

Command line of every test file:
    [--binary PATH] [-k PATTERN] [--all] [--third N] [--repeat N] [--list] [--dir FOLDER] [--keep]
prints `ok - NAME (SECONDS)`, `not ok - NAME: WHY`, `skip - NAME: WHY` and at the end `N passed, N failed, N skipped`.
With CI=true a skipped test counts as failed.
"""
import argparse
import dataclasses
import fcntl
import fnmatch
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time
import traceback

import guests
from command import ROOT, Call, Failure, Skip
from hostns import HOSTS
from lab import IMAGES, Lab, LabError, wait_until
from migration import SILENT, Migration

BINARY = ROOT / 'build/plugin/vmig-snap'

# Two snapshots with memory and writes between them: the smallest tree that can go wrong.
TWO = [('take', 'one', 'the first'), ('take', 'two', '')]

# A guest with little load: 40 writes a second to 8 MiB, each read back by the guest itself.
CALM = 'vmig.verify=1 vmig.region_mb=8 vmig.rate=40'


# --- guests --------------------------------------------------------------------------------------

@dataclasses.dataclass
class Disk:
    """A disk to create. path: default IMAGES/<guest>-<target>.<fmt>. below: paths of its backing files, deepest last;
    each gets content and one internal snapshot. attributes: additional ones of <disk>, such as "snapshot='no'"; xml:
    additional children."""
    target: str = 'vda'
    size: str = '192M'
    fmt: str = 'qcow2'
    fill_mb: int = 8
    path: str = None
    below: tuple = ()
    relative: bool = False
    attributes: str = ''
    xml: str = ''
    options: dict = None


@dataclasses.dataclass
class Guest:
    """A guest of a test. files: {target: [path of each file of the chain, top first]}."""
    name: str
    host: str
    files: dict
    disks: list

    def __post_init__(self):
        self.born = self.host  # where it first ran; host is where it is now

    def all_files(self):
        """Every file of every disk."""
        return [path for chain in self.files.values() for path in chain]


def _fill(lab, host, disk, path, index):
    """Content that no guest wrote, outside the area that the lab guest's writer uses."""
    if disk.fill_mb:
        lab.fill_disk(host, path, disk.fill_mb, 64 + index * disk.fill_mb, disk.fmt)


def make_disk(lab, host, name, disk):
    """Make a disk with its chain; returns the paths, top first."""
    top = disk.path or f'{IMAGES}/{name}-{disk.target}.{disk.fmt}'
    chain = [top, *disk.below]
    for index, path in enumerate(reversed(chain)):
        below = chain[len(chain) - index] if index else None
        lab.make_disk(host, path, None if below else disk.size, disk.fmt, backing=below,
                      relative_backing=disk.relative, options=disk.options)
        _fill(lab, host, disk, path, index)
        if path != top:
            lab.run(host, ['qemu-img', 'snapshot', '-c', f'below {index}', path])
            lab.fill_disk(host, path, 1, 60 + index, disk.fmt)
    return chain


def guest_xml(lab, name, disks, chains, cmdline=CALM, memory_mib=128, devices='', edit=None, **more):
    """The domain XML of a test guest; edit: a function from text to text."""
    specs = [{'path': chains[d.target][0], 'target': d.target, 'fmt': d.fmt, 'xml': d.xml}
             for d in disks]
    text = lab.guest_xml(name, specs, memory_mib=memory_mib, cmdline=cmdline, devices=devices,
                         **more)
    for disk, spec in zip(disks, specs):
        plain = guests.disk_xml(spec, 0)
        text = text.replace(plain, plain.replace("device='disk'", f"device='disk' {disk.attributes}"))
    return edit(text) if edit else text


def define(lab, host, xml):
    """virsh define with this text."""
    file = lab.path(host, '/run/define.xml')
    file.write_text(xml)
    try:
        lab.virsh(host, 'define', '/run/define.xml')
    finally:
        file.unlink()


# --- the runner ----------------------------------------------------------------------------------

def shared(function):
    """Mark a test that leaves its guests to the next test: see Case.guest_once()."""
    function.shared = True
    return function


def one_of_many(function):
    """Mark a test that is one of a long row of alike: each run takes every third of them, another third each day."""
    function.one_of_many = True
    return function


class Case:
    """Passed to each test function: the lab, and factories for guests and migrations."""

    def __init__(self, lab, binary):
        self.lab, self.binary = lab, binary
        self._once = {}

    def install(self):
        """Put the binary under test into the (new) lab."""
        self._once = {}
        self.lab.install(self.binary)

    def need_faults(self):
        """Skip the test if the binary has no fault points."""
        done = subprocess.run([self.binary, '--list-faults'], capture_output=True, check=False)
        if done.returncode != 0:
            raise Skip('the binary has no fault points (meson setup -Dfaults=true)')

    def guest(self, name='g', disks=None, tree=TWO, start=True, host='a', **options):
        """Make disks and a running guest with a snapshot tree; returns the Guest.

        options: cmdline, memory_mib, devices, edit (text to text) and what Lab.guest_xml takes
        """
        lab = self.lab
        disks = disks or [Disk()]
        files = {disk.target: make_disk(lab, host, name, disk) for disk in disks}
        define(lab, host, guest_xml(lab, name, disks, files, **options))
        if start:
            lab.virsh(host, 'start', name)
            if SILENT not in options.get('cmdline', CALM):
                lab.wait_writes(host, name, 1)
        if tree and start:
            silent = SILENT in options.get('cmdline', CALM)
            if silent:
                wait_until(lambda: b'\nB ' in lab.console(host, name), 60, 'the boot')
            lab.make_tree(host, name, tree, writes=0 if silent else 5)
        return Guest(name, host, files, disks)

    def guest_once(self, key, make):
        """The guest that the @shared tests share, made by the first test that needs it."""
        if key not in self._once:
            self.clean()
            self._once[key] = make()
        return self._once[key]

    def migration(self, guest, *args, **options):
        """A Migration of a guest, facts gathered."""
        return Migration(self, guest, args, **options)

    def call(self, host, *argv, env=None, timeout=60):
        """Run vmig-snap on a host until it exits; returns the Call."""
        return Call(self.lab, host, argv, env).wait(timeout)

    def clean(self):
        """Remove every guest and every file of a test from both hosts."""
        lab = self.lab
        self._once = {}
        for host in HOSTS:
            for name in lab.virsh(host, 'list', '--all', '--name').split('\n'):
                if name:
                    if lab.qemu_pid(host, name):  # libvirt would wait two seconds for its exit
                        lab.kill_qemu(host, name)
                    lab.remove_guest(host, name)
            for folder in [*lab.image_folders(), '/var/log/libvirt/console']:
                for path in lab.path(host, folder).iterdir():
                    shutil.rmtree(path) if path.is_dir() else path.unlink()


def _run_one(case, name, function):
    """Run one test and print its result; returns 'ok', 'not ok' or 'skip'."""
    begin = time.monotonic()
    keep = getattr(function, 'shared', False)
    try:
        if not keep:
            case.clean()
        function(case)
        if not keep:
            case.clean()
    except Skip as why:
        print(f'skip - {name}: {why}', flush=True)
        case.clean()
        return 'skip'
    except (Failure, LabError, TimeoutError, subprocess.TimeoutExpired, OSError) as why:
        text = str(why).replace('\n', '\n#   ')
        print(f'not ok - {name}: {text} ({time.monotonic() - begin:.1f} s)', flush=True)
        return 'not ok'
    except Exception:
        text = traceback.format_exc().replace('\n', '\n#   ')
        print(f'not ok - {name}: the test itself broke: {text}', flush=True)
        return 'not ok'
    print(f'ok - {name} ({time.monotonic() - begin:.1f} s)', flush=True)
    return 'ok'


def _parser(file):
    parser = argparse.ArgumentParser(description=(sys.modules['__main__'].__doc__ or file))
    parser.add_argument('--binary', default=os.environ.get('VMIG_SNAP_BINARY', str(BINARY)))
    parser.add_argument('-k', metavar='PATTERN', default='', help='only tests whose name has one of these, separated by commas')
    parser.add_argument('--all', action='store_true', help='also those that take long; -k takes them too')
    parser.add_argument('--third', type=int, choices=range(3), default=int(time.time()) // 86400 % 3, metavar='N',
                        help='which third of long rows of tests: 0, 1 or 2 (default: by the day); --all and -k take all')
    parser.add_argument('--merge', choices=('commit', 'mirror', 'auto'),
                        help='migrate with this merge where a test does not choose one')
    parser.add_argument('--repeat', type=int, default=1, metavar='N')
    parser.add_argument('--list', action='store_true')
    parser.add_argument('--dir', help="the lab's folder (default: one for this test file)")
    parser.add_argument('--keep', action='store_true', help='leave the lab of a failed test up, and end')
    return parser


def _own_folder(wanted, stem):
    """A folder for the lab that no other running process uses, and its lock. Any content of the folder is the lab of a
    dead process."""
    for n in range(1, 20):
        folder = wanted or f'/var/tmp/vmig-lab-{stem}{"" if n == 1 else f"-{n}"}'
        lock = open(f'{folder}.lock', 'w')
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return folder, lock
        except BlockingIOError:
            lock.close()
            if wanted:
                sys.exit(f'another test runs in {folder}')
    sys.exit('too many tests are running')


def _selected(args, names):
    """The tests that the command line asks for, {name: function}."""
    wanted = {name[5:]: function for name, function in names.items() if name.startswith('test_')
              and any(k in name or fnmatch.fnmatch(name[5:], k) for k in args.k.split(','))
              and (args.all or args.k or not getattr(function, 'thorough', False))}
    row = [name for name, function in wanted.items() if getattr(function, 'one_of_many', False)]
    if not row or args.all or args.k:
        return wanted
    left_out = {name for number, name in enumerate(row) if number % 3 != args.third}
    print(f'# {len(row) - len(left_out)} of the {len(row)} tests that are alike: --third {args.third}; --all for all')
    return {name: function for name, function in wanted.items() if name not in left_out}


def _run_all(case, tests, args, counts):
    """Run the tests, each in a clean lab; returns whether the lab should be kept."""
    for _ in range(args.repeat):
        for name, function in tests.items():
            how = _run_one(case, name, function)
            counts[how] += 1
            if how != 'not ok':
                continue
            if args.keep:
                print(f'# the lab is up in {case.lab.dir}')
                return True
            case.lab.down()
            case.lab.up()
            case.install()
    return False


def main(file, names, merge=None, options=None, make_lab=None):
    """Run the test_* functions of a file as the command line asks; returns the exit code.

    merge: the only merge that the tests of the file are about. make_lab: makes the lab of other hosts than the lab's
    from (folder, the parsed command line); options: adds to the parser what it needs.
    """
    parser = _parser(file)
    if options:
        options(parser)
    args = parser.parse_args()
    tests = _selected(args, names)
    Call.merge = merge or args.merge
    if args.list:
        print('\n'.join(tests))
        return 0
    if not make_lab and not os.path.exists(args.binary):
        print(f'{args.binary} does not exist: build first, or --binary PATH', file=sys.stderr)
        return 1
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    # A shell that runs this in the background ignores SIGINT, and vmig-snap would inherit that: no test could press ^C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    folder, lock = _own_folder(args.dir, pathlib.Path(file).stem.removeprefix('test_'))
    lab = make_lab(folder, args) if make_lab else Lab(folder, replace=True)
    case = Case(lab, os.path.realpath(args.binary))
    counts = {'ok': 0, 'not ok': 0, 'skip': 0}
    keep = False
    lab.up()
    try:
        case.install()
        keep = _run_all(case, tests, args, counts)
    finally:
        if not keep:
            lab.down()
            os.unlink(lock.name)
        print(f'{counts["ok"]} passed, {counts["not ok"]} failed, {counts["skip"]} skipped')
    return 1 if counts['not ok'] or (counts['skip'] and os.environ.get('CI') == 'true') else 0
