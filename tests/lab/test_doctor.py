# SPDX-License-Identifier: LGPL-2.1-or-later
"""doctor and purge on two real hosts: each fault is injected, found, and repaired if that loses nothing; nothing else
is changed."""
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET

import facts
import migration
import oracle
from cases import TWO, Disk, define, main
from command import DONE, REFUSED, USAGE, need
from facts import Untouched, file_digest, files_there
from hostns import HOSTS
from lab import IMAGES, IMAGES2, wait_until
from migration import SILENT

RUN = '/run/vmig-snap'
JOURNAL = '/var/lib/vmig-snap/journal.db'
HOOKS = '/etc/libvirt/hooks'
HOOK = f'{HOOKS}/qemu.d/50-vmig-snap'
CONFIG = '/etc/vmig-snap/vmig-snap.conf'
UNKNOWN = 'fedcba9876543210'
KEYS = {'code', 'severity', 'message', 'repair', 'fixable', 'fixed'}
ONE = TWO[:1]

# Written by doctor: the time when it reloaded libvirtd.
_left = facts.run_folder_left
facts.run_folder_left = migration.run_folder_left = lambda lab, host: [
    left for left in _left(lab, host) if not left.endswith(('/hook-reloaded', '/hook-seen'))]


# --- running doctor ------------------------------------------------------------------------------

def doctor(case, host, *args):
    """{code: [finding]} of doctor --json; checks that the document and the exit code agree."""
    call = case.call(host, 'doctor', '--json', *args)
    need(call.stderr == '', 'it complained:', call.stderr)
    document = call.document
    left = [f for f in document['findings'] if f['severity'] == 'problem' and not f['fixed']]
    need(all(set(f) == KEYS for f in document['findings']), 'members:', document)
    need(document['problems'] == len(left) and call.code == (1 if left else 0),
         'exit code', call.code, 'with', len(left), 'problems:', document)
    need(all(f['repair'] for f in left), 'a problem without a repair:', left)
    need('--fix' in args or not any(f['fixed'] for f in document['findings']), 'repaired without --fix:', document)
    found = {}
    for finding in document['findings']:
        found.setdefault(finding['code'], []).append(finding)
    return found


def problems(found):
    """The codes of the remaining problems."""
    return sorted(code for code, all_of_it in found.items()
                  for f in all_of_it if f['severity'] == 'problem' and not f['fixed'])


def clean_bill(case, host, *args):
    """Nothing is wrong on the host."""
    found = doctor(case, host, *args)
    need(problems(found) == [], f'problems on {host}:', [found[code] for code in problems(found)])
    return found


def planted(case, host, *codes, fixable=True):
    """Exactly these problems are found, and finding them changes no file; returns the findings."""
    before = tree(case, host)
    found = doctor(case, host)
    need(problems(found) == sorted(codes), f'problems on {host}:', problems(found), found)
    need(tree(case, host) == before, 'looking changed something')
    need(all(f['fixable'] == fixable for code in codes for f in found[code]), 'fixable:', found)
    return found


def fixed(case, host, *codes, gone=()):
    """--fix repairs these, removes only the files in `gone`, and the next run finds nothing."""
    before = tree(case, host)
    found = doctor(case, host, '--fix')
    need(problems(found) == [] and all(f['fixed'] for code in codes for f in found[code]), 'not repaired:', found)
    now = tree(case, host)
    need(set(before) - set(now) == set(gone), 'files that went:', set(before) - set(now))
    need(all(before[path] == digest for path, digest in now.items()), 'files changed:',
         [path for path in now if now[path] != before.get(path)])
    clean_bill(case, host)


def tree(case, host):
    """{path: digest} of the image folders. The guests must not write."""
    return {path: file_digest(case.lab, host, path) for path in files_there(case.lab, host)}


# --- hosts ---------------------------------------------------------------------------------------

def put_hook(case, host):
    """Install a hook that permits everything, loaded by libvirtd, so that the tests below get no finding about hooks.
    (With the real one jobs would resume by themselves.)"""
    path = case.lab.path(host, HOOK)
    if path.exists():
        return
    path.parent.mkdir(exist_ok=True)
    path.write_text('#!/bin/sh\nexit 0\n')
    path.chmod(0o755)
    found = doctor(case, host, '--fix')
    need(found['hook-not-loaded'][0]['fixed'], found)


def hosts(case):
    """Both hosts without a fault."""
    for host in HOSTS:
        put_hook(case, host)


def moved(case, *args, disks=None, tree_of=ONE, cmdline=SILENT):
    """A guest that was migrated from a to b and keeps its images on a; returns (the guest, its job)."""
    hosts(case)
    guest = case.guest(disks=disks, tree=tree_of, cmdline=cmdline)
    call = case.call('a', 'migrate', 'g', case.lab.uri('b'), '--json', *args, timeout=180)
    need(call.code == DONE, 'the migration:', call.code, call.tail())
    return guest, call.result['job']


def killed(case, fault, guest=None, **options):
    """A migration whose tool dies at a fault point; its job."""
    case.need_faults()
    hosts(case)
    if guest is None:
        case.guest(**options)
    call = case.call('a', 'migrate', 'g', case.lab.uri('b'), '--json', env={'VMIG_SNAP_FAULT': fault}, timeout=120)
    need(call.code == -signal.SIGKILL, 'the tool was not killed:', call.code, call.tail())
    # Its agent on the other host, and the lock there, end with the connection.
    for host in HOSTS:
        wait_until(lambda: not [argv for argv in case.lab.processes(host, 'vmig-snap').values()
                                if '--guard' not in argv], 30, f'the end of vmig-snap on {host}')
    return next(event['job'] for _, event in call.events if event['event'] == 'state')


def resumed(case, job, host='a', code=None):
    """vmig-snap resume ends the job."""
    call = case.call(host, 'resume', job, '--json', timeout=180)
    need(call.code in ((code,) if code is not None else (0, 4)), 'resume:', call.code, call.tail())


def wait_source_gone(case):
    """Wait until the source's QEMU has exited."""
    wait_until(lambda: case.lab.qemu_pid('a', 'g') is None, 30, "the end of the source's QEMU")
    wait_until(lambda: case.lab.state('a', 'g') in ('shut off', None), 30, 'libvirt to notice')


# --- the host's setup ----------------------------------------------------------------------------

def test_hook(case):
    """Without the hook, with a hook that libvirtd has not looked for yet, and with one that it has found."""
    lab = case.lab
    missing = doctor(case, 'a')
    need(problems(missing) == ['hook'] and not missing['hook'][0]['fixable'], missing)
    case.guest(cmdline=SILENT, tree=None)
    path = lab.path('a', HOOK)
    path.parent.mkdir(exist_ok=True)
    path.write_text('#!/bin/sh\nexit 0\n')
    path.chmod(0o644)
    found = doctor(case, 'a')
    need(problems(found) == ['hook'] and 'executable' in found['hook'][0]['message'], 'mode 0644:', found)
    path.chmod(0o755)
    planted(case, 'a', 'hook-not-loaded')
    pid = lab.libvirtd_pid('a')
    fixed(case, 'a', 'hook-not-loaded')
    need(lab.libvirtd_pid('a') == pid and lab.state('a', 'g') == 'running', 'libvirtd or the guest did not survive')
    lab.path('a', f'{RUN}/hook-reloaded').unlink()
    planted(case, 'a', 'hook-not-loaded')
    time.sleep(1.2)
    lab.restart_libvirtd('a')
    clean_bill(case, 'a')  # it existed when libvirtd was started


def test_real_hook(case):
    """The hook of hooks/ proves itself: SIGHUP by hand is enough."""
    lab = case.lab
    beside = pathlib.Path(case.binary).parents[1] / 'hooks/vmig-snap-hook'
    program = pathlib.Path(os.environ.get('VMIG_SNAP_HOOK', beside))
    need(program.exists(), f'{program} does not exist: build it, or set VMIG_SNAP_HOOK')
    shutil.copy(program, lab.bin / 'vmig-snap-hook')
    for driver in ('qemu.d', 'daemon.d'):
        lab.path('b', f'{HOOKS}/{driver}/50-vmig-snap').unlink(missing_ok=True)
    # The hint is followed; only the program is where the lab has it.
    command = planted(case, 'b', 'hook', fixable=False)['hook'][0]['repair'].split('; then ')[0]
    need('/vmig-snap-hook' in command, 'no command:', command)
    lab.run('b', ['sh', '-ec', re.sub(r'\S+/vmig-snap-hook', f'{lab.bin}/vmig-snap-hook', command)])
    try:
        lab.path('b', f'{RUN}/hook-reloaded').unlink(missing_ok=True)
        planted(case, 'b', 'hook-not-loaded')
        lab.reload_libvirtd('b')
        wait_until(lambda: lab.path('b', f'{RUN}/hook-seen').exists(), 20, 'the call of the hook')
        clean_bill(case, 'b')
    finally:
        for driver in ('qemu.d', 'daemon.d'):
            lab.path('b', f'{HOOKS}/{driver}/50-vmig-snap').unlink()
        # Where vmig-snap finds it, it would resume the jobs that the next tests leave behind.
        (lab.bin / 'vmig-snap-hook').unlink()


def test_config(case):
    """An invalid configuration, and one that names a missing folder."""
    hosts(case)
    path = case.lab.path('a', CONFIG)
    old = path.read_text() if path.exists() else None
    try:
        path.write_text('[vmig-snap]\nimage-root = /srv\n')
        path.chmod(0o644)
        found = doctor(case, 'a', '--fix')
        need(problems(found) == ['config'] and 'image-root' in found['config'][0]['message'], found)
        path.write_text(f'[vmig-snap]\nimage-roots = {IMAGES};/nowhere\n')
        found = doctor(case, 'a')
        need(problems(found) == ['image-root'] and '/nowhere' in found['image-root'][0]['message'], found)
    finally:
        path.unlink() if old is None else path.write_text(old)
    clean_bill(case, 'a')


def test_libvirt_silent(case):
    """libvirtd is down: reported, and everything else is checked nevertheless."""
    hosts(case)
    case.lab.kill_libvirtd('a')
    try:
        found = doctor(case, 'a')
    finally:
        case.lab.start_libvirtd('a')
    need(problems(found) == ['libvirt'] and 'journal' in found and 'tool' in found, found)


def test_words(case):
    """Text output; an unknown domain; invalid arguments."""
    hosts(case)
    call = case.call('a', 'doctor')
    need(call.code == DONE and call.stdout.endswith('No problem on vmig-a.\n') and '[libvirt]' in call.stdout,
         call.stdout)
    need(case.call('a', 'doctor', 'nobody', '--json').error['code'] == 'no-domain', 'an unknown domain')
    need(case.call('a', 'doctor', 'nobody').code == REFUSED, 'an unknown domain')
    need(case.call('a', 'doctor', 'a', 'b').code == USAGE and case.call('a', 'purge').code == USAGE, 'wrong words')


# --- the journal ---------------------------------------------------------------------------------

def with_journal(case, change):
    """The journal of b, changed while no process has it open, and restored afterwards."""
    path = case.lab.path('b', JOURNAL)
    good = path.read_bytes()
    try:
        change(path)
        changed = path.read_bytes()
        found = doctor(case, 'b')
        need(path.read_bytes() == changed, 'doctor changed the journal')
        again = doctor(case, 'b', '--fix')
        return found, again, path.exists() and path.read_bytes() == changed
    finally:
        for old in path.parent.glob('journal.db*'):
            old.unlink()
        path.write_bytes(good)
        path.chmod(0o600)


def test_journal(case):
    """Damaged, newer, readable for others: only a damaged one is set aside, and only with --fix."""
    moved(case)

    def damage(path):
        data = bytearray(path.read_bytes())
        data[4096:8192] = b'x' * 4096
        path.write_bytes(data)

    def newer(path):
        data = bytearray(path.read_bytes())
        data[60:64] = (99).to_bytes(4, 'big')  # user_version (sqlite.org/fileformat2.html)
        path.write_bytes(data)

    found, again, there = with_journal(case, damage)
    need(problems(found) == ['journal-damaged'] and 'forgotten' in found['journal-damaged'][0]['repair'], found)
    need(again['journal-damaged'][0]['fixed'] and not there and 'journal.db.bad-' in
         again['journal-damaged'][0]['repair'], again)
    for change, code in ((newer, 'journal-newer'), (lambda path: path.chmod(0o644), 'journal')):
        found, again, there = with_journal(case, change)
        need(problems(found) == [code] and problems(again) == [code] and there, code, found, again)
    clean_bill(case, 'b')


# --- leftovers -----------------------------------------------------------------------------------

def test_nothing_left(case):
    """After a successful migration there is no finding about anything on either host."""
    guest, _ = moved(case)
    with Untouched(case, guest, 'b'):
        for host in HOSTS:
            clean_bill(case, host)
            clean_bill(case, host, '--fix')
            clean_bill(case, host, 'g')


def test_mark(case):
    """vmig-snap's element in a definition, of a finished and of an unknown job."""
    lab = case.lab
    _, job = moved(case)
    for mark in (job, UNKNOWN):
        for flags in (['--live', '--config'], ['--config'], ['--live']):
            lab.virsh('b', 'metadata', 'g', '--uri', 'urn:vmig-snap:operation:1', '--key', 'vmig',
                      '--set', f"<operation job='{mark}' state='CLEANUP'/>", *flags)
            planted(case, 'b', 'metadata')
            fixed(case, 'b', 'metadata')
            for kind in ([], ['--inactive']):
                need('operation' not in lab.virsh('b', 'dumpxml', 'g', *kind), 'the mark is still there')


def test_snapshot_no(case):
    """snapshot='no' is left, live and persistent; the guest's own setting is not changed."""
    lab = case.lab
    moved(case, disks=[Disk('vda'), Disk('vdb', attributes="snapshot='no'")], tree_of=None)
    for kind, flag in (([], '--live'), (['--inactive'], '--config')):
        disk = next(d for d in ET.fromstring(lab.virsh('b', 'dumpxml', 'g', *kind)).iterfind('devices/disk')
                    if d.find('target').get('dev') == 'vda')
        disk.set('snapshot', 'no')
        lab.path('b', '/run/disk.xml').write_text(ET.tostring(disk, encoding='unicode'))
        lab.virsh('b', 'update-device', 'g', '/run/disk.xml', flag)
    lab.path('b', '/run/disk.xml').unlink()
    found = doctor(case, 'b')
    need(problems(found) == ['snapshot-no'] * 2, found)
    fixed(case, 'b', 'snapshot-no')
    for kind in ([], ['--inactive']):
        told = {d.find('target').get('dev'): d.get('snapshot')
                for d in ET.fromstring(lab.virsh('b', 'dumpxml', 'g', *kind)).iterfind('devices/disk')}
        need(told.get('vda') is None and told.get('vdb') == 'no', told)


def start_guard(case, host, job):
    """Start a guard for this job, as the tool does."""
    case.lab.run(host, ['mkdir', '-p', f'{RUN}/guard'])
    case.lab.popen(host, ['vmig-snap', 'agent', '--guard', f'{RUN}/guard/{job}.sock'],
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until(lambda: case.lab.path(host, f'{RUN}/guard/{job}.sock').exists(), 10, 'the guard')


def ask_guard(case, host, job, request):
    """Send one request to a guard."""
    program = ('import socket,sys; s=socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]);'
               's.sendall(sys.argv[2].encode()+b"\\n"); print(s.recv(4096).decode())')
    return case.lab.run(host, ['python3', '-c', program, f'{RUN}/guard/{job}.sock', request]).stdout


def guards(case, host):
    """The running guards of a host."""
    return [pid for pid, argv in case.lab.processes(host, 'vmig-snap').items() if '--guard' in argv]


def test_guard(case):
    """A guard of a finished job is ended; one with a fence for an unknown job is not."""
    lab = case.lab
    _, job = moved(case)
    start_guard(case, 'a', job)
    planted(case, 'a', 'guard')
    fixed(case, 'a', 'guard')
    wait_until(lambda: not guards(case, 'a'), 10, 'the end of the guard')
    image = f'{IMAGES}/fenced.qcow2'
    lab.make_disk('a', image, '1M')
    start_guard(case, 'a', UNKNOWN)
    need(ask_guard(case, 'a', UNKNOWN, f'fence {json.dumps([image])}').startswith('ok'), 'the fence')
    planted(case, 'a', 'guard', fixable=False)
    need(problems(doctor(case, 'a', '--fix')) == ['guard'] and guards(case, 'a'), 'the fence was dropped')
    ask_guard(case, 'a', UNKNOWN, 'unfence')
    fixed(case, 'a', 'guard')


def test_run_folder(case):
    """Removes a folder of sockets without listeners; one in use, a recent one and one with another file stay."""
    lab = case.lab
    _, job = moved(case)
    make = ('import socket,os,sys,time\nd=sys.argv[1]; os.makedirs(d); s=socket.socket(socket.AF_UNIX)\n'
            's.bind(d+"/nbd.sock"); s.listen(1)\nos.utime(d,(1,1)); print("ready",flush=True); time.sleep(float('
            'sys.argv[2]))')
    for name in (job, UNKNOWN):
        lab.run('a', ['python3', '-c', make, f'{RUN}/{name}', '0'])
        planted(case, 'a', 'run-folder')
        fixed(case, 'a', 'run-folder')
        need(not lab.path('a', f'{RUN}/{name}').exists(), 'the folder is still there')
    holder = lab.popen('a', ['python3', '-c', make, f'{RUN}/{UNKNOWN}', '60'])
    try:
        holder.stdout.readline()
        clean_bill(case, 'a', '--fix')
        need(lab.path('a', f'{RUN}/{UNKNOWN}/nbd.sock').exists(), 'it took a socket that is in use')
    finally:
        holder.kill()
        holder.communicate()
    os.utime(lab.path('a', f'{RUN}/{UNKNOWN}'))
    clean_bill(case, 'a', '--fix')
    lab.path('a', f'{RUN}/{UNKNOWN}/treasure').write_text('x')
    os.utime(lab.path('a', f'{RUN}/{UNKNOWN}'), (1, 1))
    found = doctor(case, 'a', '--fix')
    need(problems(found) == ['run-folder'] and lab.path('a', f'{RUN}/{UNKNOWN}/treasure').exists(), found)
    shutil.rmtree(lab.path('a', f'{RUN}/{UNKNOWN}'))


def test_stray_files(case):
    """Files with vmig-snap's names that no journal lists are reported, even odd names, and never removed."""
    lab = case.lab
    _, job = moved(case)
    strange = f'{IMAGES2}/deep/er/st\x1b[31mrange.vmig-{UNKNOWN}.qcow2'
    lab.path('a', f'{IMAGES2}/deep/er').mkdir(parents=True)
    paths = [f'{IMAGES}/x.vmig-{job}.qcow2', f'{IMAGES2}/deep/er/.y.qcow2.vmig-{UNKNOWN}.part', strange]
    for path in paths:
        lab.path('a', path).write_text('x')
    (lab.path('a', IMAGES2) / 'loop').symlink_to('/srv/vmig2')
    codes = ['stray-file'] * 2  # a name with control characters is not one of vmig-snap's
    planted(case, 'a', *codes, fixable=False)
    before = tree(case, 'a')
    need(problems(doctor(case, 'a', '--fix')) == codes and tree(case, 'a') == before, 'it removed something')
    found = doctor(case, 'a', 'g')
    need(problems(found) == ['stray-file'] and job in found['stray-file'][0]['message'], found)
    (lab.path('a', IMAGES2) / 'loop').unlink()


def test_overlay_in_chain(case):
    """A guest on a vmig-snap overlay whose job is over: reported, never changed."""
    lab = case.lab
    guest, job = moved(case)
    base = guest.files['vda'][0]
    for id_, word in ((UNKNOWN, 'blockcommit'), (job, 'must not be committed')):
        overlay = base.replace('.qcow2', f'.vmig-{id_}.qcow2')
        lab.virsh('b', 'snapshot-create-as', 'g', 'x', '--no-metadata', '--disk-only', '--diskspec',
                  f'vda,file={overlay}')
        found = planted(case, 'b', 'overlay-in-chain', fixable=False)
        need(word in found['overlay-in-chain'][0]['repair'], found)
        before = tree(case, 'b')
        need(problems(doctor(case, 'b', '--fix')) == ['overlay-in-chain'] and tree(case, 'b') == before, 'touched')
        lab.virsh('b', 'blockcommit', 'g', 'vda', '--active', '--shallow', '--pivot', '--wait')
        lab.path('b', overlay).unlink()
    clean_bill(case, 'b')


# --- unfinished jobs -----------------------------------------------------------------------------

def test_unfinished(case):
    """A killed tool: both hosts report the job and the remedy. --fix changes nothing; after resume all is well."""
    lab = case.lab
    job = killed(case, 'copy.sent:kill', cmdline=SILENT, tree=ONE)
    for host in HOSTS:
        before = tree(case, host)
        found = doctor(case, host, '--fix')
        need(problems(found) == ['job-unfinished'] and job in found['job-unfinished'][0]['repair'] and
             'COPY' in found['job-unfinished'][0]['message'], f'on {host}:', found)
        need(tree(case, host) == before, f'--fix changed files on {host}')
    need(guards(case, 'a'), '--fix ended the guard of a job that is not finished')
    need('vmig:operation' in lab.virsh('a', 'dumpxml', 'g'), '--fix took the mark')
    call = case.call('a', 'doctor', '--json')
    need(call.code == 1, 'exit code', call.code)
    clean = case.call('a', 'purge', 'g', '--json')
    need(clean.code == REFUSED and 'not finished' in clean.error['message'], clean.tail())
    resumed(case, job)
    for host in HOSTS:
        clean_bill(case, host)


def test_running(case):
    """While a migration runs there is never a problem on either host, and --fix disturbs nothing."""
    hosts(case)
    guest = case.guest(tree=ONE, disks=[Disk('vda', fill_mb=60)])
    move = case.migration(guest, '--bandwidth', '25M')
    call = move.start()
    looks, noted = 0, set()
    while call.process.poll() is None:
        for host in HOSTS:
            found = doctor(case, host, '--fix')
            need(problems(found) == [], f'a problem on {host}, state {call.states()[-1:]}:', found)
            noted |= set(found) & {'job-running'}
            looks += 1
    move.finish()
    need(call.code == DONE and looks > 3 and noted, 'looks', looks, noted, call.tail())
    move.prove_arrived(revert=None)


def test_changed_chain(case):
    """The guest is redefined on its base while a job's overlay is on top of it."""
    lab = case.lab
    hosts(case)
    case.guest(cmdline=SILENT, tree=ONE)
    plain = lab.virsh('a', 'dumpxml', 'g', '--inactive')
    job = killed(case, 'copy.sent:kill', guest=True)
    ours = lab.virsh('a', 'dumpxml', 'g', '--inactive')
    define(lab, 'a', plain)
    found = doctor(case, 'a', '--fix')
    need(problems(found) == ['job-chain', 'job-unfinished'] and 'persistent' in found['job-chain'][0]['message'], found)
    define(lab, 'a', ours)
    resumed(case, job)
    clean_bill(case, 'a')


def test_two_owners(case):
    """The guest is started on the source after the switchover, despite every fence: the finding is as loud as possible.
    """
    lab = case.lab
    job = killed(case, 'activate.resumed:kill', cmdline=SILENT, tree=ONE)
    wait_source_gone(case)
    need(problems(doctor(case, 'a')) == ['job-unfinished'], doctor(case, 'a'))
    for pid in guards(case, 'a'):
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not guards(case, 'a'), 10, 'the end of the guard')
    lab.path('a', f'{RUN}/guard/{job}.sock').unlink()  # a killed guard leaves its socket
    lab.virsh('a', 'start', 'g')
    for args in ([], ['--fix'], ['g']):
        found = doctor(case, 'a', *args)
        need('two-owners' in problems(found) and found['two-owners'][0]['message'].startswith('DANGER'), found)
    lab.virsh('a', 'suspend', 'g')
    need('two-owners' not in doctor(case, 'a'), 'still loud')
    lab.kill_qemu('a', 'g')
    wait_source_gone(case)
    resumed(case, job, code=DONE)
    for host in HOSTS:
        clean_bill(case, host)


# --- purge ---------------------------------------------------------------------------------------

def test_clean(case):
    """The kept images are removed, whole chains, and nothing else; the guest does not notice."""
    lab = case.lab
    disk = Disk('vda', below=(f'{IMAGES}/below.qcow2',), relative=True)
    guest, job = moved(case, disks=[disk, Disk('vdb', fmt='raw', attributes="snapshot='no'")], tree_of=None)
    foreign = f'{IMAGES}/foreign.qcow2'
    lab.make_disk('a', foreign, '1M')
    there = tree(case, 'b')
    held = {path: os.stat(lab.path('a', path)).st_blocks * 512 for path in guest.all_files()}
    need(len(held) == 3, 'the lab made', held)
    call = case.call('a', 'purge', 'g', '--json')
    need(call.code == DONE and call.stderr == '', call.code, call.tail())
    done = call.document
    need((done['job'], done['domain'], done['destination']) == (job, 'g', 'vmig-b'), done)
    need({image['path']: image['bytes'] for image in done['removed']} == held and
         done['freed'] == sum(held.values()), done, held)
    need(files_there(lab, 'a') == {foreign}, 'left on a:', files_there(lab, 'a'))
    need(tree(case, 'b') == there and lab.state('b', 'g') == 'running', 'the destination was touched')
    need(oracle.leftovers(lab, 'a', [foreign], []) == [], oracle.leftovers(lab, 'a', [foreign], []))
    again = case.call('a', 'purge', 'g', '--json')
    need(again.code == DONE and again.document['removed'] == [] and again.document['freed'] == 0, again.tail())
    for host in HOSTS:
        clean_bill(case, host)


def test_clean_words(case):
    """Text output: each file and the total."""
    guest, _ = moved(case)
    call = case.call('a', 'purge', 'g')
    need(call.code == DONE and f'Removed {guest.files["vda"][0]}' in call.stdout and 'freed; g is on vmig-b.'
         in call.stdout, call.stdout, call.stderr)
    need('There are no images of g to remove' in case.call('a', 'purge', 'g').stdout, 'the second time')


def refuses(case, host, name, word, *args, code=REFUSED):
    """purge refuses with these words and changes nothing."""
    before = {h: tree(case, h) for h in HOSTS}
    call = case.call(host, 'purge', name, '--json', *args)
    need(call.code == code and word in call.error['message'], f'{word!r}, {code}:', call.code, call.tail())
    need({h: tree(case, h) for h in HOSTS} == before, 'it touched files')
    return call


def test_clean_refusals(case):
    """Changed, used, locked, used as backing file, unfinished, on the wrong host, unknown."""
    lab = case.lab
    hosts(case)
    guest, job = moved(case)
    refuses(case, 'a', 'nobody', 'nobody', code=USAGE)
    image = guest.files['vda'][0]
    refuses(case, 'b', 'g', 'moved')

    times = os.stat(lab.path('a', image))
    os.utime(lab.path('a', image))
    refuses(case, 'a', 'g', 'was changed')
    refuses(case, 'a', 'g', 'was changed', '--without-destination')
    os.utime(lab.path('a', image), ns=(times.st_atime_ns, times.st_mtime_ns))

    define(lab, 'a', lab.guest_xml('other', [image]))
    refuses(case, 'a', 'g', 'other')
    define(lab, 'a', lab.guest_xml('other', [f'{IMAGES2}/clone.qcow2'],
                                   uuid=lab.virsh('a', 'domuuid', 'other').strip()))
    lab.make_disk('a', f'{IMAGES2}/clone.qcow2', None, backing=image)
    refuses(case, 'a', 'g', 'which uses it')  # only its header shows that
    lab.remove_guest('a', 'other')
    refuses(case, 'a', 'g', 'clone.qcow2')  # no domain uses it
    lab.path('a', f'{IMAGES2}/clone.qcow2').unlink()

    linked = lab.path('a', f'{IMAGES2}/link.qcow2')
    linked.symlink_to(image)
    define(lab, 'a', lab.guest_xml('other', [f'{IMAGES2}/link.qcow2']))
    refuses(case, 'a', 'g', 'other')  # under another name
    lab.remove_guest('a', 'other')
    linked.unlink()

    for mode in ([], ['--read-only']):
        holder = lab.popen('a', ['qemu-nbd', '--persistent', '-k', '/run/held.sock', '-f', 'qcow2', *mode, image])
        try:
            wait_until(lambda: lab.path('a', '/run/held.sock').exists(), 10, 'qemu-nbd')
            refuses(case, 'a', 'g', 'in use')
        finally:
            holder.kill()
            holder.communicate()
            lab.path('a', '/run/held.sock').unlink(missing_ok=True)
        os.utime(lab.path('a', image), ns=(times.st_atime_ns, times.st_mtime_ns))

    copy = lab.path('b', image)
    copy.rename(copy.with_suffix('.aside'))
    refuses(case, 'a', 'g', 'last copy')
    copy.with_suffix('.aside').rename(copy)
    need(case.call('a', 'purge', 'g').code == DONE, 'and at last it goes')
    need(not lab.path('a', image).exists(), 'it is still there')


def test_clean_same_name(case):
    """Two guests had the same name, and both have images here: the user must say which one."""
    lab = case.lab
    first, _ = moved(case, disks=[Disk('vda', path=f'{IMAGES}/first.qcow2')])
    uuid = lab.virsh('b', 'domuuid', 'g').strip()
    lab.kill_qemu('b', 'g')
    lab.remove_guest('b', 'g')
    second, _ = moved(case)
    refuses(case, 'a', 'g', 'several domains')
    need(case.call('a', 'purge', uuid).code == DONE, 'by its UUID')
    need(not lab.path('a', first.files['vda'][0]).exists() and lab.path('a', second.files['vda'][0]).exists(),
         'the wrong one went:', files_there(lab, 'a'))
    need(case.call('a', 'purge', 'g').code == DONE and not files_there(lab, 'a'), 'the other one by name')


def test_clean_alone(case):
    """The other host does not answer: refused, unless the user insists."""
    lab = case.lab
    guest, _ = moved(case)
    lab.link(False)
    try:
        call = refuses(case, 'a', 'g', 'vmig-b')
        need('--without-destination' in call.error['hint'], call.error)
        need(case.call('a', 'purge', 'g', '--without-destination').code == DONE, 'alone')
    finally:
        lab.link(True)
    need(not lab.path('a', guest.files['vda'][0]).exists(), 'it is still there')


def test_clean_unknown_there(case):
    """The other host has lost its journal: it does not confirm."""
    lab = case.lab
    moved(case)
    folder = lab.path('b', JOURNAL).parent
    files = {path: path.with_name(f'aside{index}') for index, path in enumerate(folder.glob('journal.db*'))}
    for path, aside in files.items():
        path.rename(aside)
    try:
        refuses(case, 'a', 'g', 'does not know job')
    finally:
        for path in folder.glob('journal.db*'):
            path.unlink()
        for path, aside in files.items():
            aside.rename(path)


def test_clean_after_rollback(case):
    """The images of a guest that stayed are its disks."""
    killed(case, 'copy.sent:kill', cmdline=SILENT, tree=ONE)
    need(case.call('a', 'cancel', 'g', timeout=120).code == DONE, 'cancel')
    case.lab.virsh('a', 'suspend', 'g')
    refuses(case, 'a', 'g', 'stayed')
    for host in HOSTS:
        clean_bill(case, host)


def test_clean_there_and_back(case):
    """After a migration back, the images here are the guest's disks; those on the other host can be purged."""
    lab = case.lab
    guest, _ = moved(case)
    need(case.call('a', 'purge', 'g').code == DONE, 'before the way back')
    back = case.call('b', 'migrate', 'g', lab.uri('a'), '--json', timeout=180)
    need(back.code == DONE, 'the way back:', back.tail())
    lab.virsh('a', 'suspend', 'g')
    image = guest.files['vda'][0]
    call = case.call('a', 'purge', 'g', '--json')
    need(lab.path('a', image).exists(), 'IT REMOVED THE DISK OF A GUEST', call.tail())
    need(call.code == REFUSED, call.code, call.tail())
    need(case.call('b', 'purge', 'g').code == DONE and not lab.path('b', image).exists(), 'on the other host')
    need(lab.path('a', image).exists(), 'the disk')


if __name__ == '__main__':
    sys.exit(main(__file__, globals()))
