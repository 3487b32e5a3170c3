# SPDX-License-Identifier: LGPL-2.1-or-later
"""The packages under test: those of a folder, or made of this tree as a distribution makes them."""
import hashlib
import pathlib
import shutil
import tempfile

import rootfs  # it adds tests/ to the path
import debs as tree

# Not needed on a host.
LEFT_OUT = ('-dev_', '-dbgsym_', '-doc_', 'gir1.2-')


def _chosen(folder):
    found = [path for path in sorted(pathlib.Path(folder).glob('*.deb')) if not any(word in path.name for word in LEFT_OUT)]
    if not found:
        raise RuntimeError(f'{folder} has no packages')
    return found


def _build(folder):
    """Build the packages of the tree and put them into the folder."""
    with tempfile.TemporaryDirectory(prefix='packages-', dir=rootfs.CACHE) as name:
        work = pathlib.Path(name)
        tree.export(work / 'vmig-snap')
        code, said = tree.build(work / 'vmig-snap', work / 'build')
        if code != 0:
            raise RuntimeError(f'dpkg-buildpackage failed: {said}')
        (work / 'build/debs').rename(folder)


def debs(folder=None):
    """The packages in `folder`, or, without one, those of this tree; the last ones that were built are kept in the cache."""
    if folder:
        return _chosen(folder)
    key = hashlib.sha256()
    for name in tree.tracked():
        key.update(f'{name}\0'.encode() + (tree.ROOT / name).read_bytes())
    kept = rootfs.CACHE / f'packages-{key.hexdigest()[:16]}'
    with rootfs.locked():
        if not kept.exists():
            for old in rootfs.CACHE.glob('packages-*'):
                shutil.rmtree(old)
            _build(kept)
    return _chosen(kept)
