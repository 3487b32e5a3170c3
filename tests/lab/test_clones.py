# SPDX-License-Identifier: LGPL-2.1-or-later
"""Linked clones: what happens to a base that other guests, disks or hosts use, too."""
import os
import re
import shlex
import signal
import sys

from cases import SILENT, TWO, Disk, Guest, define, guest_xml, main
from command import DONE, REFUSED, Call, need
from facts import files_there
from lab import IMAGES, wait_until
from test_net import wait_stopped

BASE = f'{IMAGES}/base.qcow2'


def make_base(lab, host='a', path=BASE):
    """A template with its own content."""
    lab.make_disk(host, path, '32M', fill_mb=8, fill_offset_mb=8)


def clone(case, name, start=False, **options):
    """A guest whose only disk has the base as its backing file; no snapshots."""
    host, base = 'a', BASE
    lab = case.lab
    path = f'{IMAGES}/{name}.qcow2'
    lab.make_disk(host, path, None, backing=base, **options)
    lab.fill_disk(host, path, 1, 20)
    disks = [Disk(path=path)]
    define(lab, host, guest_xml(lab, name, disks, {'vda': [path, base]}, cmdline=SILENT))
    if start:
        lab.virsh(host, 'start', name)
    return Guest(name, host, {'vda': [path, base]}, disks)


def content(lab, host, path):
    """A hash of the disk's content through its whole chain; -U: also while a guest runs on it."""
    return lab.run(host, f'qemu-img dd -U -f qcow2 -O raw bs=1M if={path} of=/run/read.raw && sha256sum </run/read.raw; '
                         'rm -f /run/read.raw').stdout


def lives(case, host, guest, before):
    """The guest runs, or starts, and reads the same content as before."""
    lab = case.lab
    need(lab.path(host, BASE).exists(), f'THE BASE OF {guest.name} WAS REMOVED')
    need(content(lab, host, guest.files['vda'][0]) == before, f'{guest.name} reads something else')
    if lab.state(host, guest.name) == 'running':
        lab.virsh(host, 'destroy', guest.name)
    if lab.state(host, guest.name) is not None:
        lab.virsh(host, 'start', guest.name)


def migrated(case, *args, dest='b', **options):
    """Migrates g1 and removes its images as far as permitted."""
    call = case.call('a', 'migrate', 'g1', case.lab.uri(dest), '--json', '--source-images', 'delete', *args,
                     timeout=180, **options)
    need(call.code == DONE and case.lab.state(dest, 'g1') == 'running', 'it ended with', call.code, call.tail())
    need(case.lab.path('a', BASE).exists(), 'THE BASE OF ANOTHER GUEST WAS REMOVED')
    return call


def kept_because(call, word):
    """The result and a note say that the base stays, and why; the clone itself is gone."""
    images = {image['path']: image for image in call.result['source_images']}
    need(images[BASE]['kept'] and word in images[BASE]['used_by'], f'not because of {word!r}:', images)
    need(not images[f'{IMAGES}/g1.qcow2']['kept'], images)
    notes = [event['message'] for _, event in call.events if event['event'] == 'note']
    need(any(BASE in note and word in note for note in notes), 'no note:', notes)


def follow_hint(case, guest, before):
    """The base is already on the destination, under the first clone: the refusal's hint works."""
    lab = case.lab
    plan = case.call('a', 'plan', guest.name, lab.uri('b'), '--json')
    told = {refusal['code']: refusal for refusal in plan.document['refusals']}
    need(plan.code == REFUSED and set(told) == {'destination-exists'} and BASE in
         told['destination-exists']['message'], plan.document['refusals'])
    words = re.fullmatch(r"Give this guest's images a directory of their own: mkdir (.*) on the destination, then "
                         r'(--map-dir) (.*)\.', told['destination-exists']['hint'])
    need(words, 'the hint:', told)
    folder, option, mapping = (shlex.split(word)[0] for word in words.groups())
    lab.run('b', ['mkdir', folder])
    call = case.call('a', 'migrate', guest.name, lab.uri('b'), '--json', option, mapping, timeout=180)
    need(call.code == DONE, 'the hint did not help:', call.code, call.tail())
    need(content(lab, 'b', f'{folder}/{guest.name}.qcow2') == before, 'it reads something else there')
    need(lab.state('b', 'g1') == 'running', 'the first clone there was touched')


def test_two_disks(case):
    """Two disks of one guest share a base: it is copied once, each disk is complete, and nothing is left."""
    lab = case.lab
    make_base(lab)
    disks = [Disk(target, path=f'{IMAGES}/g-{target}.qcow2') for target in ('vda', 'vdb')]
    for index, disk in enumerate(disks):
        lab.make_disk('a', disk.path, None, backing=BASE, relative_backing=bool(index))
        lab.fill_disk('a', disk.path, 1, 20 + index)
    files = {disk.target: [disk.path, BASE] for disk in disks}
    define(lab, 'a', guest_xml(lab, 'g', disks, files, cmdline=SILENT))
    before = [content(lab, 'a', disk.path) for disk in disks]
    lab.virsh('a', 'start', 'g')
    wait_until(lambda: b'\nB ' in lab.console('a', 'g'), 60, 'the boot')
    lab.make_tree('a', 'g', TWO[:1], writes=0)
    sizes = [os.stat(lab.path('a', path)).st_size for path in (BASE, disks[0].path, disks[1].path)]
    call = case.call('a', 'migrate', 'g', lab.uri('b'), '--json', '--source-images', 'delete', '--verify', timeout=180)
    need(call.code == DONE and lab.state('b', 'g') == 'running', call.code, call.tail())
    need([content(lab, 'b', disk.path) for disk in disks] == before, 'a disk reads something else there')
    totals = [event['total'] for _, event in call.events if event['event'] == 'progress' and event['phase'] == 'COPY'
              and event['disk'] is None]
    need(totals and max(totals) < sum(sizes) + sizes[0] / 2, 'the base was sent twice:', max(totals), sizes)
    need(not files_there(lab, 'a'), 'left on the source:', files_there(lab, 'a'))
    lab.revert('b', 'g', 'one')


def test_other_clones(case):
    """Three clones share a base: one is migrated, one runs, one is off. Plan and migration say that the base stays. The
    running one keeps running, the others start, and each reads the same content as before."""
    lab = case.lab
    make_base(lab)
    clone(case, 'g1', start=True)
    runs, off = clone(case, 'g3', start=True), clone(case, 'g2', relative_backing=True)
    before = {guest.name: content(lab, 'a', guest.files['vda'][0]) for guest in (runs, off)}
    pid = lab.qemu_pid('a', 'g3')
    plan = case.call('a', 'plan', 'g1', lab.uri('b'), '--json', '--source-images', 'delete')
    need(plan.code == DONE and any(f'{BASE} will stay' in note for note in plan.document['notes']),
         plan.document['notes'])
    need(not any('g1.qcow2 will stay' in note for note in plan.document['notes']), plan.document['notes'])
    call = migrated(case)
    kept_because(call, 'which uses it')
    need(not lab.path('a', f'{IMAGES}/g1.qcow2').exists(), 'the clone itself was not removed')
    need(lab.qemu_pid('a', 'g3') == pid, 'the running one did not run on')
    for guest in (runs, off):
        lives(case, 'a', guest, before[guest.name])
    follow_hint(case, off, before['g2'])


def test_other_clone_off(case):
    """The other clone is only defined."""
    make_base(case.lab)
    clone(case, 'g1', start=True)
    other = clone(case, 'g2')
    before = content(case.lab, 'a', other.files['vda'][0])
    kept_because(migrated(case), "the definition of 'g2'")
    lives(case, 'a', other, before)


def test_other_clone_runs(case):
    """The other clone only runs: it has no definition."""
    lab = case.lab
    make_base(lab)
    clone(case, 'g1', start=True)
    other = clone(case, 'g2', start=True)
    lab.virsh('a', 'undefine', 'g2')
    before = content(lab, 'a', other.files['vda'][0])
    kept_because(migrated(case), "the running guest 'g2'")
    lives(case, 'a', other, before)


def test_clone_of_no_guest(case):
    """No definition and no process uses the other clone, which is behind a link to a folder outside the roots."""
    lab = case.lab
    make_base(lab)
    clone(case, 'g1', start=True)
    lab.run('a', f'mkdir -p /run/elsewhere && ln -s /run/elsewhere {IMAGES}/link')
    lab.run('a', ['qemu-img', 'create', '-q', '-f', 'qcow2', '-u', '-F', 'qcow2', '-b',
                  f'json:{{"file":{{"driver":"file","filename":"{BASE}"}}}}', '/run/elsewhere/g2.qcow2', '32M'])
    try:
        kept_because(migrated(case), f'{IMAGES}/link/g2.qcow2 uses it')
    finally:
        lab.run('a', f'rm -r /run/elsewhere {IMAGES}/link')


def test_defined_meanwhile(case):
    """A guest is defined on the base after the plan, immediately before the base is removed."""
    lab = case.lab
    case.need_faults()
    make_base(lab)
    clone(case, 'g1', start=True)
    call = Call(lab, 'a', ['migrate', 'g1', lab.uri('b'), '--json', '--source-images', 'delete'],
                {'VMIG_SNAP_FAULT': 'cleanup.undefined@1:stop'})
    wait_stopped(call)
    other = clone(case, 'g2')
    before = content(lab, 'a', other.files['vda'][0])
    os.kill(call.process.pid, signal.SIGCONT)
    call.wait(60)
    need(call.code == DONE and lab.path('a', BASE).exists(), 'it ended with', call.code, call.tail())
    kept_because(call, "the definition of 'g2'")
    lives(case, 'a', other, before)


def test_kept_and_used(case):
    """With --source-images keep the last line says who uses the base, or that nothing does."""
    lab = case.lab
    make_base(lab)
    clone(case, 'g1', start=True)
    clone(case, 'g2')
    call = case.call('a', 'migrate', 'g1', lab.uri('b'), timeout=180)
    need(call.code == DONE and 'nothing uses them' not in call.stdout and
         f"{BASE}: the definition of 'g2'" in call.stdout, call.stdout, call.stderr)
    lab.remove_guest('a', 'g2')
    lab.run('a', f'rm {IMAGES}/g2.qcow2 {IMAGES}/g1.qcow2 {BASE}')
    back = case.call('b', 'migrate', 'g1', lab.uri('a'), timeout=180)
    need(back.code == DONE and 'are kept; nothing uses them any longer.' in back.stdout, back.stdout, back.stderr)


if __name__ == '__main__':
    sys.exit(main(__file__, globals()))
