# SPDX-License-Identifier: LGPL-2.1-or-later
"""Refused images: damaged, of an unsupported kind, or leading out of the image roots."""
import os
import struct
import sys

from cases import Disk, main
from facts import backing_names
from lab import IMAGES
from refusals import own, refuse


def make_corrupt(case, path):
    """Set the corrupt bit of a qcow2 header."""
    with open(case.lab.path('a', path), 'r+b') as file:
        file.seek(72)
        bits = struct.unpack('>Q', file.read(8))[0]
        file.seek(72)
        file.write(struct.pack('>Q', bits | 2))


def test_corrupt_image(case):
    """An image that is marked corrupt while the guest runs on it."""
    guest = own(case, [Disk('vda'), Disk('vdb')], tree=None)
    make_corrupt(case, guest.files['vdb'][0])
    refuse(case, guest, 'bad-image', words=['vdb'])


def test_garbage_image(case):
    """An image that is overwritten with garbage while the guest runs on it."""
    guest = own(case, [Disk('vda'), Disk('vdb')], tree=None)
    with open(case.lab.path('a', guest.files['vdb'][0]), 'r+b') as file:
        file.write(os.urandom(4096))
    refuse(case, guest, 'bad-image', words=['vdb'])


def test_version_2(case):
    """A qcow2 image of version 2 (compat=0.10)."""
    guest = own(case, [Disk('vda', options={'compat': '0.10'})])
    refuse(case, guest, 'old-image', words=['vda'])


def test_data_file(case):
    """An image with an external data file."""
    guest = own(case, [Disk('vda', fill_mb=0)], tree=None, start=False)
    path = guest.files['vda'][0]
    case.lab.run('a', ['rm', path])
    case.lab.run('a', ['qemu-img', 'create', '-q', '-f', 'qcow2', '-o',
                       f'data_file={IMAGES}/data.raw', path, '64M'])
    case.lab.virsh('a', 'start', 'g')
    refuse(case, guest, 'data-file', only=False)


def test_encrypted(case):
    """An encrypted image that the guest does not unlock (its header says so)."""
    guest = own(case, [Disk('vda'), Disk('vdb')], tree=None)
    path = guest.files['vdb'][0]
    with open(case.lab.path('a', path), 'r+b') as file:
        file.seek(32)
        file.write(struct.pack('>I', 2))
    refuse(case, guest, 'encrypted', words=['vdb'], only=False)


def test_source_outside_roots(case):
    """An image outside the image roots of its host."""
    lab = case.lab
    lab.run('a', ['mkdir', '-p', '/run/elsewhere'])
    guest = own(case, [Disk('vda', path='/run/elsewhere/g.qcow2')])
    refuse(case, guest, 'outside-roots', words=['/run/elsewhere'], only=False)


def test_backing_outside_roots(case):
    """A backing file outside the image roots, by an absolute and by a relative name."""
    lab = case.lab
    lab.run('a', ['mkdir', '-p', '/run/elsewhere'])
    for relative in (False, True):
        guest = own(case, [Disk('vda', below=('/run/elsewhere/base.qcow2',), relative=relative)])
        refuse(case, guest, 'outside-roots', words=['/run/elsewhere'], only=False)
        case.clean()
        lab.run('a', ['rm', '/run/elsewhere/base.qcow2'])


def test_image_is_link(case):
    """An image that is a symbolic link leading out of the roots."""
    lab = case.lab
    lab.run('a', ['mkdir', '-p', '/run/elsewhere'])
    lab.make_disk('a', '/run/elsewhere/real.qcow2', '64M')
    guest = own(case, [Disk('vda', fill_mb=0)], tree=None, start=False)
    path = guest.files['vda'][0]
    lab.run('a', ['ln', '-sf', '/run/elsewhere/real.qcow2', path])
    lab.virsh('a', 'start', 'g')
    refuse(case, guest, 'outside-roots', only=False)


def test_hidden_backing(case):
    """A backing file that libvirt's definition does not have: the image was rebased."""
    lab = case.lab
    guest = own(case, tree=None)
    path = guest.files['vda'][0]
    lab.make_disk('a', f'{IMAGES}/sly.qcow2', '192M')
    lab.run('a', ['qemu-img', 'rebase', '-u', '-U', '-b', f'{IMAGES}/sly.qcow2', '-F', 'qcow2', path],
            check=False)
    name, _ = backing_names(lab, 'a', path)
    if not name:  # QEMU's lock prevents it: write the name directly, as an attacker would
        with open(lab.path('a', path), 'r+b') as file:
            text = f'{IMAGES}/sly.qcow2'.encode()
            file.seek(8)
            file.write(struct.pack('>QI', 4096, len(text)))
            file.seek(4096)
            file.write(text)
    refuse(case, guest, 'chain', only=False)


if __name__ == '__main__':
    sys.exit(main(__file__, globals()))
