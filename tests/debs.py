# SPDX-License-Identifier: LGPL-2.1-or-later
"""Builds the Debian packages of this tree."""
import os
import pathlib
import shutil
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent


def tracked():
    """The names of the files that git has or would add; in a tree without git an exception."""
    names = subprocess.run(['git', '-C', ROOT, 'ls-files', '-co', '--exclude-standard', '-z'], check=True,
                           capture_output=True).stdout.decode().split('\0')
    return [name for name in sorted(names) if name and (ROOT / name).is_file()]


def export(folder):
    """A copy of the sources without what a build or git has put beside them."""
    folder.mkdir(parents=True)
    if (ROOT / '.git').exists():
        subprocess.run(['rsync', '-a', '--from0', '--files-from=-', f'{ROOT}/', f'{folder}/'], check=True,
                       input='\0'.join(tracked()).encode())
    else:
        subprocess.run(['rsync', '-a', '--exclude', 'build*', '--exclude', 'obj-*', f'{ROOT}/', f'{folder}/'], check=True)


def build(tree, folder, jobs=2, umask=0o022, env=None):
    """Build the binary packages in folder/source, a copy of that tree; the .deb files in folder/debs. Returns the exit
    code of dpkg-buildpackage and the end of what it said."""
    shutil.copytree(tree, folder / 'source', symlinks=True)
    log = folder / 'build.log'
    with open(log, 'w', encoding='utf-8') as out:
        done = subprocess.run(['dpkg-buildpackage', '-b', '-us', '-uc', f'-j{jobs}'], cwd=folder / 'source', stdout=out,
                              stderr=subprocess.STDOUT, check=False, umask=umask,
                              env={**os.environ, 'DEB_BUILD_OPTIONS': 'nocheck noautodbgsym', **(env or {})})
    (folder / 'debs').mkdir()
    for path in folder.glob('*.deb'):
        path.rename(folder / 'debs' / path.name)
    return done.returncode, log.read_text()[-6000:]
