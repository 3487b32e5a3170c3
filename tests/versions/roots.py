# SPDX-License-Identifier: LGPL-2.1-or-later
"""Debian releases as folders on this machine, in which vmig-snap is built and hosts of the lab run.

    python3 tests/versions/roots.py make RELEASE [RELEASE...]    bootstrap them (needs root); prints the folders
    python3 tests/versions/roots.py run RELEASE CMD...           a command in one of them
    python3 tests/versions/roots.py remove [RELEASE...]          remove them all, or these

The folders are below $VMIG_ROOTS_CACHE (/var/tmp/vmig-roots) and are used again. A folder that is incomplete is made
again. The packages come from the mirror that apt uses on this machine.
"""
import argparse
import contextlib
import fcntl
import os
import pathlib
import shutil
import subprocess
import sys

SOURCES = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(SOURCES / 'tests'))

import archive  # noqa: E402

CACHE = pathlib.Path(os.environ.get('VMIG_ROOTS_CACHE', '/var/tmp/vmig-roots'))
RELEASES = ('bookworm', 'trixie', 'sid')
# Never in a root: the style tests run on the machine, whose formatter decides.
NOT_NEEDED = ('clang-format',)
# What a minimal root lacks: users for libvirt (passwd), and certificates for a mirror with https.
MORE = ['ca-certificates', 'passwd']
IN_ROOT = {'PATH': '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', 'LANG': 'C.UTF-8', 'HOME': '/root',
           'DEBIAN_FRONTEND': 'noninteractive'}
# In a mount namespace of its own: what is mounted ends with the command, also if it is killed. Its /dev has copies of the
# nodes, so that no command there can remove the machine's.
ENTER = '''
set -e
root=$1 sources=$2; shift 2
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
cp -a /dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty /dev/fuse /dev/loop* /dev/fd /dev/stdin \
    /dev/stdout /dev/stderr "$root/dev"
mkdir "$root/dev/pts" "$root/dev/shm" "$root/dev/net"
cp -a /dev/net/tun "$root/dev/net"
mount -t devpts -o newinstance,ptmxmode=666 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mkdir -p "$root/run/lock" "$root/run/libvirt"
if [ -n "$sources" ]; then mount --bind -o ro "$sources" "$root/usr/src/vmig-snap"; fi
exec chroot "$root" "$@"
'''


class RootError(RuntimeError):
    """A root cannot be made or used."""


def apt_options():
    """How apt reaches and checks the archive on this machine (a proxy, an archive that is frozen at a date)."""
    lines = subprocess.run(['apt-config', 'dump'], capture_output=True, text=True, check=True).stdout.splitlines()
    wanted = ('Acquire::Check-', 'Acquire::http', 'Acquire::https', 'Acquire::Retries')
    return ''.join(f'{line}\n' for line in lines if line.startswith(wanted) and '""' not in line)


def packages():
    """What a root needs: the packages of the tests, and a few that the machine has anyway."""
    printed = subprocess.run([SOURCES / 'tests/install-packages', '--print', 'tests'], capture_output=True, text=True,
                             check=True).stdout.split()
    return [name for name in printed if not name.startswith(NOT_NEEDED)] + MORE


def folder(release):
    """Where a release's root is."""
    if release not in RELEASES:
        raise RootError(f'unknown release {release}: one of {", ".join(RELEASES)}')
    return CACHE / release


def run(release, argv, sources=SOURCES, check=True, **options):
    """Run a command in a root, with the sources at /usr/src/vmig-snap (read-only); the CompletedProcess."""
    root = folder(release)
    (root / 'usr/src/vmig-snap').mkdir(parents=True, exist_ok=True)
    return subprocess.run(['unshare', '--mount', '--propagation', 'private', 'sh', '-c', ENTER, 'sh', str(root),
                           str(sources or ''), *map(str, argv)], env={**os.environ, **IN_ROOT}, check=check, cwd='/',
                          **options)


@contextlib.contextmanager
def locked(release):
    """Only one process makes or removes a root."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / f'{release}.lock', 'w', encoding='utf-8') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _bootstrap(release, root, log):
    if not shutil.which('debootstrap'):
        raise RootError('debootstrap is missing: apt-get install debootstrap')
    if root.exists():
        shutil.rmtree(root)
    archives = CACHE / 'archives'
    archives.mkdir(exist_ok=True)
    # In a mount namespace of its own: a debootstrap that is killed leaves its /proc mounted in the root.
    subprocess.run(['unshare', '--mount', '--propagation', 'private', 'debootstrap', '--variant=minbase',
                    f'--cache-dir={archives}', release, str(root), archive.address()], stdout=log, stderr=log, check=True)
    (root / 'etc/apt/apt.conf.d/machine').write_text(apt_options())
    policy = root / 'usr/sbin/policy-rc.d'
    policy.write_text('#!/bin/sh\nexit 101\n')
    policy.chmod(0o755)
    # The updates of a stable release have the fixes that its users run.
    (root / 'etc/apt/sources.list').write_text(''.join(f'{line}\n' for line in archive.sources(release)))


def _install(release, log):
    names = packages()
    steps = [['apt-get', 'update', '-q'],
             ['apt-get', 'install', '-y', '-q', '--no-install-recommends', '-o', 'Dpkg::Use-Pty=0',
              '-o', 'DPkg::Options::=--force-unsafe-io', *names],
             ['apt-get', 'clean']]
    for argv in steps:
        run(release, argv, sources=None, stdout=log, stderr=log)


def make(release):
    """Make a root unless it is complete; its folder."""
    root = folder(release)
    complete = root / 'complete'
    wanted = '\n'.join(packages()) + '\n'
    with locked(release):
        if complete.exists() and complete.read_text() == wanted:
            return root
        log_path = CACHE / f'{release}.log'
        try:
            with open(log_path, 'w', encoding='utf-8') as log:
                if not (root / 'bootstrapped').exists():
                    _bootstrap(release, root, log)
                    (root / 'bootstrapped').touch()
                complete.unlink(missing_ok=True)
                _install(release, log)
        except subprocess.CalledProcessError as error:
            text = log_path.read_text(encoding='utf-8', errors='replace')
            raise RootError(f'cannot make the root {root}: {error}\n{text[-3000:]}') from None
        complete.write_text(wanted)
    return root


def remove(release):
    """Remove a root."""
    with locked(release):
        if folder(release).exists():
            shutil.rmtree(folder(release))


def versions(release):
    """{package: version} of what decides how a host behaves."""
    names = ['libvirt-daemon', 'qemu-system-x86', 'libnbd0', 'libjson-glib-1.0-0', 'gcc', 'libglib2.0-dev']
    done = run(release, ['dpkg-query', '-W', '-f', '${Package} ${Version}\\n', *names], sources=None, check=False,
               capture_output=True, text=True)
    return dict(line.split() for line in done.stdout.splitlines() if len(line.split()) == 2)


def main():
    """The command line."""
    parser = argparse.ArgumentParser(description='Debian releases as folders')
    commands = parser.add_subparsers(dest='command', required=True)
    commands.add_parser('make').add_argument('release', nargs='+')
    commands.add_parser('remove').add_argument('release', nargs='*')
    one = commands.add_parser('run')
    one.add_argument('release')
    one.add_argument('argv', nargs=argparse.REMAINDER)
    args = parser.parse_args()
    if args.command == 'run':
        return run(args.release, args.argv or ['bash'], check=False).returncode
    for release in args.release or RELEASES:
        if args.command == 'make':
            print(make(release))
        else:
            remove(release)
    return 0


if __name__ == '__main__':
    try:
        sys.exit(main())
    except RootError as error:
        sys.exit(f'roots: {error}')
