# SPDX-License-Identifier: LGPL-2.1-or-later
"""The packages under test: those of a folder, or made of this tree as a distribution makes them."""
import hashlib
import os
import pathlib
import shutil
import subprocess
import tempfile

import rootfs

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Not needed on a host.
LEFT_OUT = ('-dev_', '-dbgsym_', '-doc_', 'gir1.2-')


def _chosen(folder):
    found = [path for path in sorted(pathlib.Path(folder).glob('*.deb')) if not any(word in path.name for word in LEFT_OUT)]
    if not found:
        raise RuntimeError(f'{folder} has no packages')
    return found


def _tree():
    """Every file of the tree that is not ignored."""
    names = subprocess.run(['git', 'ls-files', '-z', '--cached', '--others', '--exclude-standard'], cwd=ROOT, check=True,
                           capture_output=True).stdout.decode().split('\0')
    return [name for name in sorted(names) if name and (ROOT / name).is_file()]


def _build(names, folder):
    """Build the packages of the tree and put them into the folder."""
    with tempfile.TemporaryDirectory(prefix='packages-', dir=rootfs.CACHE) as work:
        tree = pathlib.Path(work) / 'vmig-snap'
        for name in names:
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, tree / name, follow_symlinks=False)
        done = subprocess.run(['dpkg-buildpackage', '--build=binary', '--no-sign'], cwd=tree, check=False, text=True,
                              env={**os.environ, 'DEB_BUILD_OPTIONS': 'nocheck'}, capture_output=True)
        if done.returncode != 0:
            raise RuntimeError(f'dpkg-buildpackage failed: {(done.stdout + done.stderr)[-4000:]}')
        made = pathlib.Path(work) / 'made'
        made.mkdir()
        for package in pathlib.Path(work).glob('*.deb'):
            package.rename(made / package.name)
        made.rename(folder)


def debs(folder=None):
    """The packages in `folder`, or, without one, those of this tree; the last ones that were built are kept in the cache."""
    if folder:
        return _chosen(folder)
    names, key = _tree(), hashlib.sha256()
    for name in names:
        key.update(f'{name}\0'.encode() + (ROOT / name).read_bytes())
    kept = rootfs.CACHE / f'packages-{key.hexdigest()[:16]}'
    with rootfs.locked():
        if not kept.exists():
            for old in rootfs.CACHE.glob('packages-*'):
                shutil.rmtree(old)
            _build(names, kept)
    return _chosen(kept)
