# SPDX-License-Identifier: LGPL-2.1-or-later
"""All facts about a guest and its files on a host, to compare before and after."""
import dataclasses
import hashlib
import json
import os
import re
import xml.etree.ElementTree as ET

import oracle
from command import need
from hostns import HOSTS


def file_digest(lab, host, path):
    """SHA-256 of a file's bytes; for a link, its target."""
    if lab.path(host, path).is_symlink():
        return os.readlink(lab.path(host, path))
    with open(lab.path(host, path), 'rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()


def normal_xml(text, paths=None):
    """A definition without the parts that libvirt itself changes and that cannot be restored:

    - index='N' of live sources and backing stores: QEMU's node numbers, incremented for every
      image that is opened
    - an empty <metadata/>: libvirt keeps the element after its last child is removed
    - id='N' of a running <domain>: incremented by each libvirtd
    - the watchdog that each q35 machine has, which only newer versions of libvirt write
    - the alias of the disabled USB controller (model='none'): a restarted libvirtd has none
    paths: {path: path to replace it with}
    """
    text = re.sub(r"(<(?:source|backingStore) [^>]*?) index='\d+'", r'\1', oracle.without_implicit(text))
    text = re.sub(r'\n *<metadata/>', '', text)
    text = re.sub(r"(<domain type='\w+') id='\d+'", r'\1', text)
    text = re.sub(r"(<controller type='usb' index='0' model='none')>\s*<alias [^>]*/>\s*</controller>", r'\1/>', text)
    for old, new in (paths or {}).items():
        text = text.replace(f"'{old}'", f"'{new}'")
    return text


def persistent_xml(text, paths=None):
    """normal_xml() of a persistent definition without <backingStore>: at the pivot of a commit, libvirt writes the
    chain into a definition in which the administrator had omitted it."""
    root = ET.fromstring(normal_xml(text, paths))
    for disk in root.iterfind('devices/disk'):
        for store in disk.findall('backingStore'):
            disk.remove(store)
    return ET.tostring(root, encoding='unicode')


def sorted_controllers(text):
    """A definition with its controllers sorted: libvirt puts the controllers that it adds in another place than the
    next libvirt does when it reads them."""
    root = ET.fromstring(text)
    devices = root.find('devices')
    places = [i for i, child in enumerate(devices) if child.tag == 'controller']
    ordered = sorted((devices[i] for i in places),
                     key=lambda c: (c.get('type'), int(c.get('index', 0))))
    for place, controller in zip(places, ordered):
        devices[place] = controller
    return ET.tostring(root, encoding='unicode')


def difference(before, after):
    """The first lines that differ, for a failure's message."""
    left, right = before.split('\n'), after.split('\n')
    for one, two in zip(left, right):
        if one != two:
            return f'{one.strip()!r} became {two.strip()!r}'
    return f'{len(left)} lines became {len(right)}: {(left + right)[min(len(left), len(right))]!r}'


@dataclasses.dataclass
class Facts:
    """Everything that must survive of a guest on a host: see gather()."""
    state: str
    live: str
    persistent: str
    autostart: bool
    tree: dict
    snapshot_xml: dict
    images: dict
    modes: dict
    pid: int


def file_mode(lab, host, path):
    """The permissions of a file."""
    return lab.path(host, path).stat().st_mode & 0o7777


def gather(lab, host, guest, files=None, paths=None):
    """The facts of a guest. files: its files on that host. paths: {path there: path to report instead}."""
    files = files if files is not None else guest.all_files()
    name, paths = guest.name, paths or {}
    state = lab.state(host, name)
    info = lab.virsh(host, 'dominfo', name)
    tree = oracle.snapshot_tree(lab, host, name, paths)
    texts = {snapshot: lab.virsh(host, 'snapshot-dumpxml', '--domain', name, '--snapshotname',
                                 snapshot, '--security-info') for snapshot in tree}
    return Facts(state=state,
                 live=lab.virsh(host, 'dumpxml', name, '--security-info')
                 if state != 'shut off' else '',
                 persistent=lab.virsh(host, 'dumpxml', name, '--inactive', '--security-info'),
                 autostart=bool(re.search(r'Autostart:\s+enable', info)),
                 tree=tree, snapshot_xml=texts,
                 images={paths.get(path, path): oracle.image_facts(lab, host, path)
                         for path in files},
                 modes={paths.get(path, path): file_mode(lab, host, path) for path in files},
                 pid=lab.qemu_pid(host, name))


def files_there(lab, host):
    """Every file in the image folders of a host."""
    return {path for folder in lab.image_folders() for path in oracle._files_in(lab, host, folder)}


def run_folder_left(lab, host):
    """What is in /run/vmig-snap except the empty folders and lock files that stay."""
    root = lab.path(host, '/run/vmig-snap')
    if not root.is_dir():
        return []
    return [f'/run/vmig-snap/{p.relative_to(root)}' for p in root.rglob('*')
            if not (p.is_dir() and p.name in ('lock', 'guard')) and p.suffix != '.lock']


def image_checks(lab, host, paths, leaks=False):
    """[] or the errors of qemu-img check on these images (the guest must not write). leaks: clusters that nothing uses are
    none, as after a power cut: QEMU allocates a cluster before it uses it."""
    wrong = []
    for path in paths:
        if str(path).endswith('.raw'):
            continue
        done = lab.run(host, ['qemu-img', 'check', '-U', path], check=False)
        if done.returncode != 0 and not (leaks and done.returncode == 3):
            wrong.append(f'qemu-img check {path}: {done.returncode}: '
                         f'{(done.stdout + done.stderr)[-400:]}')
    return wrong


def backing_names(lab, host, path):
    """(backing file, its format) from the header of an image."""
    info = json.loads(lab.run(host, ['qemu-img', 'info', '-U', '--output=json', path]).stdout)
    return info.get('backing-filename'), info.get('backing-filename-format')


def same_definitions(before, now):
    """[] or the differences between two Facts that should be equal, as text."""
    wrong = []
    for name, normal in (('live', normal_xml), ('persistent', persistent_xml)):
        left, right = normal(getattr(before, name)), normal(getattr(now, name))
        if left != right:
            wrong.append(f'the {name} definition: {difference(left, right)}')
    if before.snapshot_xml != now.snapshot_xml:
        names = [n for n in {*before.snapshot_xml, *now.snapshot_xml}
                 if before.snapshot_xml.get(n) != now.snapshot_xml.get(n)]
        wrong.append(f'the XML of snapshots {names} changed')
    if before.autostart != now.autostart:
        wrong.append('autostart changed')
    return wrong


class Untouched:
    """Proves that something changed nothing; the guest must not write meanwhile.

    with Untouched(case, guest): run what must not change anything
    """

    def __init__(self, case, guest, host='a'):
        self.case, self.lab, self.guest, self.host = case, case.lab, guest, host

    def _look(self):
        lab, name = self.lab, self.guest.name
        look = {'domains': {h: lab.virsh(h, 'list', '--all') for h in HOSTS}}
        for host in HOSTS:
            look[f'files of {host}'] = {path: file_digest(lab, host, path)
                                        for path in files_there(lab, host)}
            for domain in lab.virsh(host, 'list', '--all', '--name').split('\n'):
                look |= self._look_at(host, domain) if domain else {}
        look['QEMU'] = lab.qemu_pid(self.host, name)
        return look

    def _look_at(self, host, domain):
        lab = self.lab
        look = {f'definition of {domain} on {host}': lab.virsh(host, 'dumpxml', domain),
                f'persistent definition of {domain} on {host}':
                    lab.virsh(host, 'dumpxml', domain, '--inactive', check=False).stdout}
        names = lab.virsh(host, 'snapshot-list', '--domain', domain, '--name')
        for name in names.split('\n'):
            if name:
                look[f'snapshot {name!r}'] = lab.virsh(host, 'snapshot-dumpxml', '--domain', domain,
                                                       '--snapshotname', name, '--security-info')
        return look

    def __enter__(self):
        self.before = self._look()
        return self

    def __exit__(self, kind, *_):
        if kind is not None:
            return
        now = self._look()
        changed = [key for key in {*self.before, *now} if self.before.get(key) != now.get(key)]
        need(not changed, 'it touched', changed,
             [(self.before.get(key), now.get(key)) for key in changed][:1])
        for host in HOSTS:
            left = run_folder_left(self.lab, host)
            processes = [argv for argv in self.lab.processes(host, 'vmig-snap', 'qemu-nbd').values()]
            need(not left and not processes, f'left on {host}:', left, processes)
