# SPDX-License-Identifier: LGPL-2.1-or-later
"""Make the lab's guest: Debian's cloud kernel and an initramfs with init.c.

    python3 tests/lab/guest/build.py [FOLDER]     build into FOLDER and print both paths

build() is what the lab calls. Everything is kept in a cache folder under a name made from its
inputs, so that only the first lab on a machine pays for it.
"""
import gzip
import hashlib
import lzma
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
CACHE = pathlib.Path(os.environ.get('VMIG_LAB_CACHE', '/var/tmp/vmig-lab-cache'))
# In this order: each needs the ones before it. The last two are for `virsh shutdown` only.
MODULES = ['virtio_ring', 'virtio', 'virtio_pci_legacy_dev', 'virtio_pci_modern_dev', 'virtio_pci',
           'virtio_blk', 'evdev', 'button']
OPTIONAL = {'virtio_pci_legacy_dev', 'virtio_pci_modern_dev', 'evdev', 'button'}


def find_kernel(root):
    """(vmlinuz, modules folder) of the newest cloud kernel under root, or None."""
    for image in sorted(pathlib.Path(root).glob('boot/vmlinuz-*-cloud-amd64'), reverse=True):
        version = image.name.removeprefix('vmlinuz-')
        for base in ('lib/modules', 'usr/lib/modules'):
            modules = pathlib.Path(root) / base / version
            if (modules / 'modules.dep').exists() or any(modules.glob('kernel/drivers/block')):
                return image, modules
    return None


def download_kernel():
    """Fetch and unpack (not install) the package that linux-image-cloud-amd64 stands for."""
    depends = subprocess.run(['apt-cache', 'depends', 'linux-image-cloud-amd64'], check=True,
                             capture_output=True, text=True).stdout
    package = re.search(r'Depends: (linux-image-\S+-cloud-amd64)', depends)
    if not package:
        raise RuntimeError('apt knows no linux-image-cloud-amd64 (is `apt-get update` needed?)')
    target = CACHE / package[1]
    if not (target / 'complete').exists():
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as work:
            subprocess.run(['apt-get', '-o', 'APT::Sandbox::User=root', 'download', package[1]],
                           cwd=work, check=True, capture_output=True)
            deb, = pathlib.Path(work).glob('*.deb')
            subprocess.run(['dpkg-deb', '-x', str(deb), str(target)], check=True)
        (target / 'complete').touch()
    return target


def read_module(modules, name):
    """The uncompressed module, or None if it is built in (or optional and not there)."""
    file_name = re.sub('[-_]', '[-_]', name)
    for path in modules.rglob(f'{file_name}.ko*'):
        data = path.read_bytes()
        if path.suffix == '.xz':
            return lzma.decompress(data)
        if path.suffix == '.gz':
            return gzip.decompress(data)
        if path.suffix == '.zst':
            return subprocess.run(['zstd', '-dc'], input=data, check=True,
                                  capture_output=True).stdout
        return data
    builtin = modules / 'modules.builtin'
    known = builtin.read_text().replace('-', '_') if builtin.exists() else ''
    if name in OPTIONAL or f'/{name}.ko' in known:
        return None
    raise RuntimeError(f'the kernel in {modules} has no module {name}')


def make_initramfs(init, modules, to):
    """Pack the static init and the modules it loads, in order, as a gzipped newc archive."""
    with tempfile.TemporaryDirectory() as work:
        root = pathlib.Path(work)
        (root / 'modules').mkdir()
        for folder in ('dev', 'proc'):
            (root / folder).mkdir()
        shutil.copy2(init, root / 'init')
        order = []
        for name in MODULES:
            data = read_module(modules, name)
            if data is not None:
                (root / 'modules' / f'{name}.ko').write_bytes(data)
                order.append(f'{name}.ko\n')
        (root / 'modules/order').write_text(''.join(order))
        names = sorted(str(p.relative_to(root)) for p in root.rglob('*'))
        archive = subprocess.run(['cpio', '-o', '-H', 'newc', '--quiet', '-R', '0:0'], cwd=root,
                                 input='\n'.join(names).encode(), check=True,
                                 capture_output=True).stdout
    to.write_bytes(gzip.compress(archive, 1))


def build():
    """Return (vmlinuz, initramfs) as paths in the cache, made if they are not there yet.

    VMIG_LAB_KERNEL=download uses the package even if the machine has such a kernel installed.
    """
    CACHE.mkdir(parents=True, exist_ok=True)
    found = None if os.environ.get('VMIG_LAB_KERNEL') == 'download' else find_kernel('/')
    image, modules = found or find_kernel(download_kernel())
    source = (HERE / 'init.c').read_bytes()
    key = hashlib.sha256(source + str(modules).encode() + pathlib.Path(__file__).read_bytes())
    initramfs = CACHE / f'initramfs-{modules.name}-{key.hexdigest()[:16]}'
    if not initramfs.exists():
        with tempfile.TemporaryDirectory(dir=CACHE) as work:
            init = pathlib.Path(work) / 'init'
            subprocess.run(['gcc', '-static', '-O2', '-Wall', '-Wextra', '-s', '-o', str(init),
                            str(HERE / 'init.c')], check=True)
            made = pathlib.Path(work) / 'initramfs'
            make_initramfs(init, modules, made)
            made.rename(initramfs)
    return image, initramfs


if __name__ == '__main__':
    if len(sys.argv) > 1:
        CACHE = pathlib.Path(sys.argv[1])
    print(*build(), sep='\n')
