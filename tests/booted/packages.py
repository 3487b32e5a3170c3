# SPDX-License-Identifier: LGPL-2.1-or-later
"""The packages under test: those of a folder, or made of this tree as a distribution makes them."""
import os
import pathlib
import shutil
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Not needed on a host.
LEFT_OUT = ('-dev_', '-dbgsym_', '-doc_', 'gir1.2-')


def _chosen(folder):
    found = [path for path in sorted(pathlib.Path(folder).glob('*.deb')) if not any(word in path.name for word in LEFT_OUT)]
    if not found:
        raise RuntimeError(f'{folder} has no packages')
    return found


def debs(folder, work):
    """The packages in `folder`, or, without one, of a build of this tree in `work`."""
    if folder:
        return _chosen(folder)
    tree = pathlib.Path(work) / 'tree'
    shutil.rmtree(work, ignore_errors=True)
    files = subprocess.run(['git', 'ls-files', '-z', '--cached', '--others', '--exclude-standard'], cwd=ROOT, check=True,
                           capture_output=True).stdout.decode().split('\0')
    for name in files:
        if name and (ROOT / name).exists():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, tree / name, follow_symlinks=False)
    done = subprocess.run(['dpkg-buildpackage', '--build=binary', '--no-sign'], cwd=tree, check=False,
                          env={**os.environ, 'DEB_BUILD_OPTIONS': 'nocheck'}, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f'dpkg-buildpackage failed: {(done.stdout + done.stderr)[-4000:]}')
    return _chosen(work)
