# SPDX-License-Identifier: LGPL-2.1-or-later
"""Root folders in which packages are installed: the machine's own, or a fresh one, with every change on top in memory."""
import os
import pathlib
import shutil
import stat
import subprocess

import archive

# What a package manager writes for itself.
ITS_OWN = ('var/lib/dpkg', 'var/lib/apt', 'var/log', 'var/cache', 'etc/ld.so.cache', 'var/lib/systemd/deb-systemd-helper-enabled',
           'var/lib/systemd/deb-systemd-helper-masked', 'root', 'tmp', 'var/tmp', 'usr/share/info/dir', 'usr/share/mime',
           'etc/apt', 'debs')


def sh(*argv, **options):
    """Run a command that must succeed."""
    return subprocess.run([str(word) for word in argv], check=True, **options)


class Root:
    """A copy-on-write view of a root folder. Its mounts belong to the mount namespace of the test."""

    def __init__(self, folder, lower='/'):
        self.folder, self.lower = pathlib.Path(folder), pathlib.Path(lower)
        self.folder.mkdir(parents=True)
        sh('mount', '-t', 'tmpfs', '-o', 'mode=0755', 'none', self.folder)
        self.upper, self.path = self.folder / 'upper', self.folder / 'root'
        for part in (self.upper, self.folder / 'work', self.path):
            part.mkdir()
        sh('mount', '-t', 'overlay', '-o', f'lowerdir={lower},upperdir={self.upper},workdir={self.folder}/work', 'none',
           self.path)
        self._devices()
        sh('mount', '-t', 'proc', 'proc', self.path / 'proc')
        sh('mount', '-t', 'tmpfs', '-o', 'mode=0755', 'none', self.path / 'run')
        (self.path / 'run/lock').mkdir(mode=0o1777)
        self.write('/usr/sbin/policy-rc.d', '#!/bin/sh\nexit 101\n', 0o755)
        self.env = {'PATH': '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', 'DEBIAN_FRONTEND': 'noninteractive',
                    'LC_ALL': 'C.UTF-8', 'HOME': '/root'}

    def _devices(self):
        """A /dev of its own: what happens to it does not happen to the machine's."""
        sh('mount', '-t', 'tmpfs', '-o', 'mode=0755', 'none', self.path / 'dev')
        for minor, name in ((3, 'null'), (5, 'zero'), (7, 'full'), (8, 'random'), (9, 'urandom')):
            os.mknod(self.path / 'dev' / name, 0o666 | stat.S_IFCHR, os.makedev(1, minor))
            (self.path / 'dev' / name).chmod(0o666)
        (self.path / 'dev/fd').symlink_to('/proc/self/fd')
        (self.path / 'dev/shm').mkdir()
        (self.path / 'dev/shm').chmod(0o1777)

    def at(self, path):
        """A path inside, as it is called outside."""
        return self.path / str(path).lstrip('/')

    def write(self, path, text, mode=0o644):
        """A file inside."""
        self.at(path).parent.mkdir(parents=True, exist_ok=True)
        # Not through a link of the lower folder.
        if os.path.lexists(self.at(path)):
            self.at(path).unlink()
        self.at(path).write_text(text)
        self.at(path).chmod(mode)

    def read(self, path):
        """The text of a file inside; empty if there is none."""
        return self.at(path).read_text() if self.at(path).exists() else ''

    def run(self, *argv, env=None, **options):
        """Run a command inside; its output is both streams."""
        return subprocess.run(['chroot', self.path, *map(str, argv)], env={**self.env, **(env or {})}, text=True, check=False,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options)

    def forget(self, *paths):
        """Remove what the machine may have of an earlier installation, from this view only."""
        for path in paths:
            if self.at(path).is_dir() and not self.at(path).is_symlink():
                shutil.rmtree(self.at(path))
            elif os.path.lexists(self.at(path)):
                self.at(path).unlink()

    def changes(self):
        """Files and new folders that differ from the lower folder, without what package managers write for themselves."""
        found = set()
        for folder, names, files in os.walk(self.upper):
            inner = pathlib.Path(folder).relative_to(self.upper)
            names[:] = [name for name in names if str(inner / name) not in ITS_OWN]
            found |= {str(inner / name) for name in files if str(inner / name) not in ITS_OWN}
            found |= {str(inner / name) for name in names if not (self.lower / inner / name).is_dir()}
        return found


def bootstrap(folder):
    """A minimal root of the suite of this machine."""
    sh('debootstrap', '--variant=minbase', archive.codename(), folder, archive.address(), stdout=subprocess.DEVNULL)
    shutil.copy('/etc/resolv.conf', pathlib.Path(folder) / 'etc/resolv.conf')
