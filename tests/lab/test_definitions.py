# SPDX-License-Identifier: LGPL-2.1-or-later
"""A guest whose running definition differs from the one for its next start: both are correct in the end."""
import re
import sys
import xml.etree.ElementTree as ET

from cases import TWO, Disk, main
from command import need
from lab import IMAGES, wait_until
from refusals import own, refuse


def snapshot_attributes(lab, host, inactive):
    """{target: snapshot attribute} of one of the two definitions."""
    xml = lab.virsh(host, 'dumpxml', 'g', *(['--inactive'] if inactive else []))
    return {disk.find('target').get('dev'): disk.get('snapshot')
            for disk in ET.fromstring(xml).iterfind('devices/disk')}


def edit_persistent(lab, host, edit):
    """Change only the definition for the next start."""
    text = edit(lab.virsh(host, 'dumpxml', 'g', '--inactive', '--security-info'))
    lab.path(host, '/run/next.xml').write_text(text)
    lab.virsh(host, 'define', '/run/next.xml')


def test_disk_of_the_running_guest_only(case):
    """A disk was attached to the running guest but not to its definition: reported before anything is changed, and
    following the hint helps."""
    lab = case.lab
    guest = own(case, tree=None)
    lab.make_disk('a', f'{IMAGES}/live.qcow2', '64M')
    lab.virsh('a', 'attach-disk', 'g', f'{IMAGES}/live.qcow2', 'vdb', '--subdriver', 'qcow2', '--live')
    guest.files['vdb'] = [f'{IMAGES}/live.qcow2']
    refuse(case, guest, 'definitions-differ', words=['vdb', 'running guest'])
    lab.virsh('a', 'attach-disk', 'g', f'{IMAGES}/live.qcow2', 'vdb', '--subdriver', 'qcow2', '--config')
    need(case.call('a', 'plan', 'g', lab.uri('b')).code == 0, 'the hint does not help')


def test_other_image_next_time(case):
    """The definition for the next start names another image or format, or a medium that only it has."""
    lab = case.lab
    guest = own(case, tree=None)
    path = guest.files['vda'][0]
    lab.make_disk('a', f'{IMAGES}/next.qcow2', '64M')
    edit_persistent(lab, 'a', lambda text: text.replace(path, f'{IMAGES}/next.qcow2'))
    refuse(case, guest, 'definitions-differ', words=['vda', 'next.qcow2'])
    edit_persistent(lab, 'a', lambda text: text.replace(f'{IMAGES}/next.qcow2', path))
    need(case.call('a', 'plan', 'g', lab.uri('b')).code == 0, 'the hint does not help')
    edit_persistent(lab, 'a', lambda text: text.replace("type='qcow2'", "type='raw'"))
    refuse(case, guest, 'definitions-differ', words=['vda', 'raw'])
    edit_persistent(lab, 'a', lambda text: text.replace("type='raw'", "type='qcow2'"))
    lab.run('a', ['truncate', '-s', '1M', f'{IMAGES}/next.iso'])
    lab.virsh('a', 'attach-disk', 'g', f'{IMAGES}/next.iso', 'sda', '--type', 'cdrom', '--config')
    refuse(case, guest, 'media-missing', words=['next.iso', 'next start'])
    lab.virsh('a', 'change-media', 'g', 'sda', '--eject', '--config')
    need(case.call('a', 'plan', 'g', lab.uri('b')).code == 0, 'the hint does not help')


CDROM = "<disk type='file' device='cdrom'><target dev='sda' bus='sata'/><readonly/></disk>"
MEDIUM = f'{IMAGES}/next.iso'


def next_start(text):
    """Changes snapshot=, a cache mode, the boot order and a medium, and adds a device."""
    text = re.sub(r"snapshot='internal'>(?=\s*<driver[^>]*/>\s*<source file='[^']*vda)", '>', text)
    text = re.sub(r"cache='none'(?=[^>]*>\s*<source file='[^']*vdb)", "cache='writeback'", text)
    text = re.sub(r"<boot dev='[^']*'/>", '', text)
    text = text.replace("<target dev='vda' bus='virtio'/>", "<target dev='vda' bus='virtio'/><boot order='1'/>")
    text = text.replace("<target dev='sda' bus='sata'/>", f"<source file='{MEDIUM}'/><target dev='sda' bus='sata'/>")
    return text.replace('</devices>', "<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng></devices>")


def what_differs(lab, host, inactive):
    """The values in one of the two definitions of everything that next_start() and differing() changed."""
    root = ET.fromstring(lab.virsh(host, 'dumpxml', 'g', *(['--inactive'] if inactive else [])))
    disks = {disk.find('target').get('dev'): disk for disk in root.iterfind('devices/disk')}
    medium = disks['sda'].find('source')
    return {'cache': disks['vdb'].find('driver').get('cache'),
            'boot': disks['vda'].find('boot') is not None,
            'medium': None if medium is None else medium.get('file'),
            'rng': root.find('devices/rng') is not None,
            'network': len(root.findall("devices/interface[@type='user']"))}


def differing(case):
    """A guest whose two definitions differ wherever they may: snapshot=, a cache mode, the boot order, a medium, a
    device only for the next start, a network only in the running guest."""
    lab = case.lab
    for host in 'ab':
        lab.run(host, ['truncate', '-s', '1M', MEDIUM])
    guest = case.guest(disks=[Disk('vda', attributes="snapshot='internal'"), Disk('vdb', fill_mb=1)], tree=TWO[:1],
                       devices=CDROM)
    edit_persistent(lab, 'a', next_start)
    lab.path('a', '/run/nic.xml').write_text("<interface type='user'><model type='virtio'/></interface>")
    lab.virsh('a', 'attach-device', 'g', '/run/nic.xml', '--live')
    for inactive, expected in ((False, 'internal'), (True, None)):
        found = snapshot_attributes(lab, 'a', inactive)
        need(found == {'vda': expected, 'vdb': None, 'sda': None}, 'the guest was not made as it should:', found)
    live, later = what_differs(lab, 'a', False), what_differs(lab, 'a', True)
    need(all(live[key] != later[key] for key in live), 'the definitions do not differ in each:', live, later)
    return guest


def test_definitions_arrive(case):
    """Both definitions arrive unchanged."""
    move = case.migration(differing(case))
    lab = case.lab
    before = [what_differs(lab, 'a', inactive) for inactive in (False, True)]
    move.run()
    move.prove_arrived(revert=None)
    need(snapshot_attributes(lab, 'b', False) == {'vda': 'internal', 'vdb': None, 'sda': None}, 'the live definition')
    need(snapshot_attributes(lab, 'b', True) == {'vda': None, 'vdb': None, 'sda': None}, 'the persistent definition')
    after = [what_differs(lab, 'b', inactive) for inactive in (False, True)]
    need(after == before, 'the definitions:', after, before)


def test_definitions_come_back(case):
    """Both definitions are restored."""
    move = case.migration(differing(case))
    move.run(fault='prepare.overlays:error:interference')
    move.prove_back('interference')


def test_defined_anew_meanwhile(case):
    """The definition for the next start is changed during the migration: the job rolls back, leaves that definition as
    it is, and ends."""
    lab = case.lab
    guest = case.guest(disks=[Disk('vda'), Disk('vdb', fill_mb=1)], tree=None)
    move = case.migration(guest)
    call = move.start(fault='copy.receiving:delay:4000')
    call.wait_state('COPY')
    lab.make_disk('a', f'{IMAGES}/next.qcow2', '64M')
    edit_persistent(lab, 'a', lambda text: re.sub(r"'[^'<>]*g-vda\.vmig[^'<>]*'", f"'{IMAGES}/next.qcow2'", text))
    move.finish()
    need(call.code == 4 and call.error['code'] == 'interference', 'it ended with', call.code, call.tail())
    need(lab.disks('a', 'g', inactive=True)['vda'] == f'{IMAGES}/next.qcow2', 'the new definition was changed')
    need(lab.disks('a', 'g', inactive=True)['vdb'] == guest.files['vdb'][0], 'the other disk')
    need(lab.disks('a', 'g') == {target: files[0] for target, files in guest.files.items()}, 'the running guest')
    need(not case.call('a', 'status', '--json').document['jobs'], 'a job is left')
    wait_until(lambda: lab.state('a', 'g') == 'running', 5, 'the guest')


def test_attached_meanwhile(case):
    """A disk that is attached during the migration is not ignored: the job rolls back."""
    lab = case.lab
    guest = case.guest(tree=None)
    move = case.migration(guest)
    call = move.start(fault='copy.receiving:delay:4000')
    call.wait_state('COPY')
    lab.make_disk('a', f'{IMAGES}/new.raw', '64M', fmt='raw')
    lab.virsh('a', 'attach-disk', 'g', f'{IMAGES}/new.raw', 'vdb', '--live', '--config')
    move.finish()
    need(call.code == 4 and call.error['code'] == 'interference' and 'vdb' in call.error['message'],
         'it ended with', call.code, call.tail())
    need(lab.disks('a', 'g')['vda'] == guest.files['vda'][0], 'the guest is not on its image')
    need(not case.call('a', 'status', '--json').document['jobs'], 'a job is left')


if __name__ == '__main__':
    sys.exit(main(__file__, globals()))
