# SPDX-License-Identifier: LGPL-2.1-or-later
"""Make the root file system of a booted host: Debian with systemd, libvirt, QEMU and sshd, as one ext4 image.

    python3 tests/booted/rootfs.py [SUITE]      build it (bookworm, trixie) and print its path

build() is what the hosts call. The image is kept in a cache folder under a name made from everything that decides its
content, so that only the first run on a machine pays for it. The mirror is the one that this machine's apt uses.
"""
import contextlib
import fcntl
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import archive  # noqa: E402

CACHE = pathlib.Path(os.environ.get('VMIG_BOOTED_CACHE', '/var/tmp/vmig-booted-cache'))
SUITES = {'bookworm': 'Debian 12', 'trixie': 'Debian 13'}
SIZE = '16G'  # sparse: what the guests' images may use

# A host as its administrator sets it up; nbdcopy (libnbd-bin) fills the tests' images. The last line: what vmig-snap's
# own packages depend on, so that installing them needs no network. If one is missing, the installation fails.
PACKAGES = '''
systemd systemd-sysv dbus libpam-systemd libvirt-daemon-system libvirt-clients qemu-system-x86 qemu-utils
openssh-server openssh-client iproute2 procps kmod libnbd-bin
libglib2.0-0 libjson-glib-1.0-0 libxml2 libsqlite3-0 libnbd0 libxxhash0 libssl3 libgnutls30
'''
RENAMED = {'trixie': {'libglib2.0-0': 'libglib2.0-0t64', 'libssl3': 'libssl3t64', 'libgnutls30': 'libgnutls30t64'}}
# Nothing reads them in a test, and they are half of the files.
EXCLUDE = ('/usr/share/doc/*', '/usr/share/man/*', '/usr/share/locale/*', '/usr/share/info/*')
# No program of the root is started while its packages are configured: mmdebstrap puts a policy-rc.d there meanwhile.
SETUP = r'''
set -e
root=$1
# There are no devices and no terminals in a container.
for unit in systemd-udevd.service systemd-udevd-kernel.socket systemd-udevd-control.socket systemd-udev-trigger.service \
    getty.target console-getty.service; do
    ln -sf /dev/null "$root/etc/systemd/system/$unit"
done
mkdir -p "$root/var/lib/libvirt/guest" "$root/var/log/libvirt/console" "$root/srv/vmig2" "$root/root/.ssh"
chmod 700 "$root/root/.ssh"
rm -f "$root"/etc/ssh/ssh_host_* "$root/etc/machine-id" "$root/etc/hostname"
: > "$root/etc/machine-id"
'''


def packages(suite):
    """The packages of a host."""
    return [RENAMED.get(suite, {}).get(name, name) for name in PACKAGES.split()]


def _bootstrap(suite, root):
    options = [f'--dpkgopt=path-exclude={path}' for path in EXCLUDE]
    # A downloaded package is needed once. Every fsync of dpkg would wait for a disk whose content nobody needs yet.
    command = ['mmdebstrap', '--quiet', '--mode=root', '--variant=minbase', '--format=directory',
               '--aptopt=APT::Install-Recommends "false"', '--dpkgopt=force-unsafe-io', *options,
               f'--include={",".join(packages(suite))}', suite, str(root), *archive.sources(suite)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise RuntimeError(f'mmdebstrap of {suite} failed: {(done.stderr + done.stdout)[-3000:]}')
    # dpkg must not refuse what the tests install later with a manual page.
    subprocess.run(['sh', '-c', SETUP, 'sh', str(root)], check=True)


@contextlib.contextmanager
def locked():
    """Nobody else changes the cache."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / 'lock', 'w', encoding='utf-8') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def build(suite='bookworm'):
    """The path of the image in the cache, made if it is not there yet (about a minute)."""
    key = hashlib.sha256(json.dumps([suite, archive.sources(suite), packages(suite), SETUP, EXCLUDE, SIZE]).encode())
    image = CACHE / f'{suite}-{key.hexdigest()[:16]}.ext4'
    with locked():
        if not image.exists():
            _make(suite, image)
    return image


def _make(suite, image):
    for old in CACHE.glob(f'{suite}-*'):  # of another list of packages, or of a killed run
        shutil.rmtree(old) if old.is_dir() else old.unlink()
    with tempfile.TemporaryDirectory(prefix=f'{suite}-', dir=CACHE) as work:
        root, part = pathlib.Path(work) / 'root', pathlib.Path(work) / 'part'
        _bootstrap(suite, root)
        subprocess.run(['mke2fs', '-q', '-t', 'ext4', '-L', f'vmig-{suite}', '-d', str(root), str(part), SIZE], check=True,
                       stdout=subprocess.DEVNULL)
        part.rename(image)


if __name__ == '__main__':
    print(build(*sys.argv[1:2]))
