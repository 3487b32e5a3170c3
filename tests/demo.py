# SPDX-License-Identifier: LGPL-2.1-or-later
"""One live migration between two real libvirt hosts on this machine, shown and proven. `./demo` starts it."""
import argparse
import fcntl
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / 'tests/lab'))

import oracle  # noqa: E402
from lab import IMAGES, Lab, LabError  # noqa: E402

FOLDER = pathlib.Path('/var/tmp/vmig-snap-demo')
GUEST = 'web1'
DISKS = {'vda': f'{IMAGES}/web1.qcow2', 'vdb': f'{IMAGES}/web1-data.qcow2'}
# 50 writes a second to each disk, read back by the guest itself.
WRITES = 'vmig.verify=1 vmig.rate=50 vmig.region_mb=32'
TREE = [('take', 'installed', 'fresh from the installer'),
        ('take', 'configured', 'before the upgrade'),
        ('take', 'upgrade-failed', ''),
        ('revert', 'configured', None),
        ('take', 'patched', 'the other way')]
PROGRAMS = ['meson', 'ninja', 'cc', 'libvirtd', 'virtlogd', 'virsh', 'qemu-system-x86_64', 'qemu-img', 'qemu-nbd',
            'nbdcopy', 'ssh', 'ssh-keygen', 'ip', 'nsenter', 'unshare', 'cpio']
BOLD, GREEN, RED, PLAIN = ('\033[1m', '\033[32m', '\033[31m', '\033[0m') if sys.stdout.isatty() else ('',) * 4


class Stop(Exception):
    """Something that ends the demo, in words."""


class Demo:
    """The steps share a lab and a count."""

    def __init__(self, lab):
        self.lab = lab
        self.good = self.bad = 0

    def check(self, condition, text, detail=''):
        """One proof."""
        self.good += bool(condition)
        self.bad += not condition
        print(f'  {GREEN}ok{PLAIN}      {text}' if condition else f'  {RED}NOT OK{PLAIN}  {text} {detail}', flush=True)

    def command(self, host, *argv, **options):
        """Show a command and run it with its output on the terminal; the exit code."""
        shown = ' '.join(f"'{word}'" if ' ' in word else word for word in argv)
        print(f'\n{BOLD}root@{self.lab.name(host)}:~# {shown}{PLAIN}', flush=True)
        return self.lab.popen(host, argv, stdout=None, stderr=None, **options).wait()


def step(text):
    """A heading."""
    print(f'\n{BOLD}== {text}{PLAIN}', flush=True)


def build():
    """The command as users build it."""
    folder = FOLDER / 'build'
    log = FOLDER / 'build.log'
    for argv in (['meson', 'setup', folder, ROOT, '--buildtype=release'], ['ninja', '-C', folder, 'plugin/vmig-snap']):
        with open(log, 'a', encoding='utf-8') as file:
            done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=file, stderr=file, check=False)
        if done.returncode != 0:
            raise Stop(f'the build failed:\n{log.read_text()[-6000:]}')
    return folder / 'plugin/vmig-snap'


def make_guest(demo):
    """A guest with two disks that writes all the time, and a branched tree of snapshots with memory."""
    lab = demo.lab
    lab.make_disk('a', DISKS['vda'], '4G', fill_mb=400, fill_offset_mb=64)
    lab.make_disk('a', DISKS['vdb'], '1G', fill_mb=100, fill_offset_mb=64)
    lab.make_guest('a', GUEST, list(DISKS.values()), cmdline=WRITES)
    lab.make_tree('a', GUEST, TREE, writes=25)
    demo.command('a', 'virsh', '-q', 'list')
    demo.command('a', 'virsh', 'snapshot-list', GUEST, '--tree')
    demo.command('a', 'qemu-img', 'snapshot', '-U', '-l', DISKS['vda'])


def facts(lab, host):
    """Content of every snapshot in every image, and libvirt's tree."""
    images = {disk: oracle.image_facts(lab, host, path) for disk, path in DISKS.items()}
    return images, oracle.snapshot_tree(lab, host, GUEST)


def migrate(demo):
    """What libvirt says to it, and then the whole migration; the watches that looked on."""
    lab = demo.lab
    step('What libvirt alone does with such a guest')
    demo.command('a', 'virsh', 'migrate', '--live', '--copy-storage-all', GUEST, lab.uri('b'))
    step('The plan, which changes nothing, and the migration')
    if demo.command('a', 'vmig-snap', 'plan', GUEST, lab.uri('b')) != 0:
        raise Stop('plan refuses')
    with oracle.RunnerWatch(lab, GUEST) as runners, oracle.StallWatch(lab, GUEST) as stall:
        begin = time.monotonic()
        code = demo.command('a', 'vmig-snap', 'migrate', GUEST, lab.uri('b'))
        took = time.monotonic() - begin
        if code != 0:
            raise Stop(f'vmig-snap migrate ended with {code}')
        lab.wait_writes('b', GUEST, 25)
    demo.command('a', 'vmig-snap', 'list', '--all')
    return runners, stall, took


def show_hashes(before, after):
    """Every snapshot's content, before and after."""
    def both(old, new):
        return f'{(old or "none")[:12]} -> {(new or "none")[:12]}{"" if old == new else " DIFFERENT"}'
    print(f'\n  {"disk":5} {"snapshot":15} {"content before -> after (SHA-256)":36} machine state')
    for disk, rows in before.items():
        for old, new in zip(rows, after[disk]):
            print(f'  {disk:5} {old.name:15} {both(old.sha256, new.sha256):36} '
                  f'{both(old.vmstate_sha256, new.vmstate_sha256)}')
    print()


def prove(demo, before, watches):
    """Everything that must be true now."""
    lab, (runners, stall, took) = demo.lab, watches
    step('The proof, by programs that share no code with vmig-snap')
    images, tree = facts(lab, 'b')
    show_hashes(before[0], images)
    demo.check(oracle.runners(lab, GUEST) == ['b'], 'the guest runs on vmig-b, and only there')
    demo.check(not runners.both, f'at no moment did both hosts run it ({runners.samples} looks)', runners.both)
    demo.check(images == before[0], f'all {sum(map(len, images.values()))} snapshots in both images have the same '
               'content, memory, names and dates')
    demo.check(tree == before[1], 'libvirt\'s snapshot tree is the same: parents, descriptions, times, the current one')
    verdict, log = oracle.check_writes(lab, 'b', GUEST), oracle.read_log(lab, GUEST)
    demo.check(verdict.ok and not log.forks(), f'every write that the guest saw acknowledged is on the disk '
               f'({verdict.checked} blocks read)', verdict)
    jobs = json.loads(lab.run('a', ['vmig-snap', 'list', '--all', '--json']).stdout)
    job = jobs['jobs'][0] if isinstance(jobs, dict) else jobs[0]
    longest = max(gap for gap, _ in stall.gaps.values())
    demo.check(longest < 5000, f'it took {took:.1f} s; downtime {job["downtime_ms"]} ms at the '
               f'switchover; longest time without a write, seen from outside: {longest:.0f} ms')
    lab.virsh('b', 'suspend', GUEST)
    for path in DISKS.values():
        done = lab.run('b', ['qemu-img', 'check', '-U', path], check=False)
        demo.check(done.returncode == 0, f'qemu-img check {path}', done.stdout + done.stderr)
    lab.virsh('b', 'resume', GUEST)
    left = oracle.leftovers(lab, 'a', DISKS.values()) + oracle.leftovers(lab, 'b', DISKS.values(), [GUEST])
    demo.check(not left, 'nothing is left over: no overlay, no job, no process, no domain on the source '
               '(its images are kept, which is the default)', left)


def revert(demo):
    """Snapshots are there to be gone back to."""
    lab = demo.lab
    step('Back to a snapshot, on the new host')
    for name in ('upgrade-failed', 'installed'):
        code = demo.command('b', 'virsh', 'snapshot-revert', GUEST, name)
        lab.wait_writes('b', GUEST, 25)
        verdict = oracle.check_writes(lab, 'b', GUEST)
        demo.check(code == 0 and lab.state('b', GUEST) == 'running' and verdict.ok,
                   f'reverted to {name!r}: the guest goes on from that memory and that disk, and writes', verdict)


def run(args):
    """From nothing to nothing."""
    begin = time.monotonic()
    lab = Lab(FOLDER / 'lab', replace=True)
    demo = Demo(lab)
    try:
        lab.down()
        shutil.rmtree(FOLDER, ignore_errors=True)
        FOLDER.mkdir(parents=True)
        step('Building vmig-snap')
        binary = build()
        step('Two libvirt hosts on this machine: vmig-a and vmig-b')
        lab.up()
        lab.install(binary)
        step('A guest that writes all the time, with snapshots of disks and memory')
        make_guest(demo)
        before = facts(lab, 'a')
        prove(demo, before, migrate(demo))
        revert(demo)
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        if args.keep and lab.is_up():
            tool = f'python3 {ROOT}/tests/lab/lab.py'
            print(f'\nThe hosts are up: {tool} shell --dir {lab.dir} a\nTo remove them: {tool} down --dir {lab.dir}')
        else:
            lab.down()
            shutil.rmtree(FOLDER, ignore_errors=True)
    if not args.keep:
        demo.check(not FOLDER.exists() and not lab.is_up(), 'both hosts and all files are removed again')
    print(f'\n{BOLD}{demo.good} proofs hold, {demo.bad} do not{PLAIN} ({time.monotonic() - begin:.0f} s)')
    return 1 if demo.bad else 0


def end(number, _):
    """A signal ends the demo the way an error does: with everything taken down."""
    raise Stop(f'ended by {signal.Signals(number).name}')


def main():
    """The command line."""
    parser = argparse.ArgumentParser(prog='./demo', add_help=False)
    parser.add_argument('--no-install', action='store_true')
    parser.add_argument('--keep', action='store_true')
    args = parser.parse_args()
    os.environ['PATH'] += ':/usr/sbin:/sbin'
    missing = [name for name in PROGRAMS if not shutil.which(name)]
    if missing or os.geteuid() != 0:
        print(f'Missing: {" ".join(missing)} (tests/install-packages demo)' if missing else
              'Two hosts can only be made by root.', file=sys.stderr)
        return 1
    with open('/var/tmp/.vmig-snap-demo.lock', 'w', encoding='utf-8') as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print('Another ./demo is running.', file=sys.stderr)
            return 1
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, end)
        try:
            return run(args)
        except (Stop, LabError, TimeoutError, subprocess.SubprocessError) as error:
            print(f'\n{RED}{error}{PLAIN}', file=sys.stderr)
            return 1
        finally:
            os.unlink(lock.name)


if __name__ == '__main__':
    sys.exit(main())
