# SPDX-License-Identifier: LGPL-2.1-or-later
"""Files count, not how a definition spells their paths: links, "..", "." and "//"; also sizes that are not a multiple
of a sector."""
import sys

from cases import TWO, Disk, define, main
from command import DONE, need
from lab import IMAGES
from refusals import own, refuse

REAL = f'{IMAGES}/real'
TOP, BASE = f'{REAL}/top.qcow2', f'{IMAGES}/base/base.qcow2'


def spelled(case):
    """A guest whose disk is a link in a linked folder, with a backing file that its header names with '..'."""
    lab = case.lab
    for host in 'ab':
        lab.run(host, ['mkdir', '-p', REAL, f'{IMAGES}/base'])
    guest = case.guest(disks=[Disk('vda', path=TOP, below=(BASE,), relative=True)], tree=None, start=False)
    lab.run('a', ['ln', '-s', 'real', f'{IMAGES}/folder'])
    lab.run('a', ['ln', '-s', '../real/top.qcow2', f'{REAL}/link.qcow2'])
    text = lab.virsh('a', 'dumpxml', 'g', '--inactive')
    define(lab, 'a', text.replace(TOP, f'{IMAGES}//folder/./link.qcow2'))
    lab.virsh('a', 'start', 'g')
    lab.wait_writes('a', 'g', 1)
    lab.make_tree('a', 'g', TWO[:1], 3)
    return guest


def test_links_arrive(case):
    """The guest arrives; its definitions there, and its snapshot's, name the files directly."""
    lab = case.lab
    guest = spelled(case)
    move = case.migration(guest)
    move.run()
    need(move.call.code == DONE, 'it ended with', move.call.code, move.call.tail())
    for inactive in (False, True):
        need(lab.disks('b', 'g', inactive) == {'vda': TOP}, 'the definition names', lab.disks('b', 'g', inactive))
    need(f'<source file="{TOP}"' in lab.virsh('b', 'snapshot-dumpxml', 'g', 'one').replace("'", '"'),
         "the snapshot's definition names something else")
    lab.wait_writes('b', 'g', 5)
    lab.revert('b', 'g', 'one')
    lab.wait_writes('b', 'g', 5)
    need(not case.call('a', 'status', '--json').document['jobs'], 'a job is left')


def test_links_come_back(case):
    """After a rollback the definitions spell the paths as before."""
    move = case.migration(spelled(case))
    move.run(fault='prepare.overlays:error:interference')
    move.prove_back('interference')


def test_odd_size(case):
    """A raw disk whose size is not a multiple of 512 is refused; following the hint helps."""
    lab = case.lab
    guest = own(case, [Disk('vda'), Disk('vdb', fmt='raw', size='16M', fill_mb=0)], tree=None, start=False)
    path = guest.files['vdb'][0]
    lab.run('a', ['truncate', '-s', '+100', path])
    lab.virsh('a', 'start', 'g')
    plan = refuse(case, guest, 'odd-size', words=['vdb', path])
    lab.virsh('a', 'destroy', 'g')
    lab.run('a', ['sh', '-c', plan['refusals'][0]['hint'].partition(': ')[2]])
    lab.virsh('a', 'start', 'g')
    need(case.call('a', 'plan', 'g', lab.uri('b')).code == DONE, 'the hint does not help')


if __name__ == '__main__':
    sys.exit(main(__file__, globals()))
