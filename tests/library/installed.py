# SPDX-License-Identifier: LGPL-2.1-or-later
"""A copy of the project that `meson install` made in a folder of its own, and programs that are built with it."""
import os
import pathlib
import re
import shlex
import subprocess
import sys


def python():
    """A Python interpreter that has gi, or None. Debian's python3-gi is only for /usr/bin/python3."""
    for program in (sys.executable, '/usr/bin/python3'):
        if subprocess.run([program, '-c', 'import gi'], capture_output=True, check=False).returncode == 0:
            return program
    return None


class Installed:
    """The files of `meson install --destdir FOLDER`."""

    def __init__(self, build, folder):
        self.folder = pathlib.Path(folder)
        subprocess.run(['meson', 'install', '-C', build, '--destdir', self.folder, '--no-rebuild'], check=True,
                       stdout=subprocess.DEVNULL)
        self.library = self.find('libvmig-snap.so.0')
        self.pc_folder = self.find('vmig-snap.pc').parent
        self._move()

    def find(self, name):
        """The installed file of that name."""
        found = sorted(self.folder.rglob(name))
        if not found:
            raise FileNotFoundError(f'{name} was not installed')
        return found[0]

    def _move(self):
        """Make vmig-snap.pc point to the folder. PKG_CONFIG_SYSROOT_DIR would apply to GLib too."""
        path = self.pc_folder / 'vmig-snap.pc'
        prefix = re.search(r'^prefix=(.*)$', path.read_text(), re.M)[1]
        path.write_text(path.read_text().replace(f'prefix={prefix}', f'prefix={self.folder}{prefix}', 1))

    def typelib(self):
        """The folder of VmigSnap-1.0.typelib, or None for a build without introspection."""
        found = sorted(self.folder.rglob('VmigSnap-1.0.typelib'))
        return found[0].parent if found else None

    def environment(self):
        """The environment in which a program finds the copy."""
        env = {'LD_LIBRARY_PATH': str(self.library.parent), 'PATH': f'{self.find("vmig-snap").parent}:{os.environ["PATH"]}'}
        if self.typelib():
            env['GI_TYPELIB_PATH'] = str(self.typelib())
        return env

    def flags(self):
        """The flags of pkg-config."""
        path = f'{self.pc_folder}:{os.environ.get("PKG_CONFIG_PATH", "")}'
        done = subprocess.run(['pkg-config', '--cflags', '--libs', 'vmig-snap'], capture_output=True, text=True, check=True,
                              env={**os.environ, 'PKG_CONFIG_PATH': path})
        return shlex.split(done.stdout)

    def compile(self, source, program, *more):
        """Build a C program with these flags."""
        subprocess.run([*shlex.split(os.environ.get('CC', 'cc')), '-Wall', '-Wextra', '-Werror', *more, str(source), '-o',
                        str(program), *self.flags()], check=True)
        return program
