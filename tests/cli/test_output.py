# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the command line does with what the library tells: output, exit codes, signals, --detach.

    VMIG_SNAP_FAKE=build/tests/cli/vmig-snap-fake python3 tests/cli/test_output.py

The program is the real command line with fake-session.c in place of the library's session.
"""
import json
import os
import pathlib
import pty
import re
import select
import signal
import subprocess
import sys
import tempfile
import time

from clitest import PATIENCE, Counter, binary, call, clean_environment

SNAP = binary('VMIG_SNAP_FAKE')
DEST = 'qemu+ssh://kvm2/system'
JOB = '0123456789abcdef'
# Made by --detach for its log where they are missing; in the order in which they can be removed.
STATE_FOLDERS = ('/var/lib/vmig-snap/log', '/var/lib/vmig-snap')
counter = Counter()
check = counter.check
scratch = tempfile.TemporaryDirectory(prefix='vmig-cli-')
folder = pathlib.Path(scratch.name)


def state(name, what='what happens'):
    """An event."""
    return {'emit': {'event': 'state', 'job': JOB, 'state': name, 'what': what}}


def progress(phase, disk, done, total, rate=0):
    """An event."""
    return {'emit': {'event': 'progress', 'job': JOB, 'phase': phase, 'disk': disk, 'done': done, 'total': total,
                     'rate': rate, 'eta_s': None}}


def result(outcome, code=None, message=None, hint=None, **more):
    """A result document."""
    error = {'code': code, 'message': message, 'hint': hint} if code else None
    return {'event': 'result', 'job': JOB, 'outcome': outcome, 'domain': 'web1', 'state': None, 'source': 'kvm1',
            'destination': 'kvm2', 'error': error, 'bytes_copied': 2090000000, 'bytes_mirrored': 12300000,
            'bytes_memory': 201000000, 'downtime_ms': 34, 'duration_s': 14, **more}


def job(name='COPY', **more):
    """A job of a status document."""
    return {'job': JOB, 'domain': 'web1', 'uuid': 'u', 'state': name, 'what': 'something', 'role': 'source',
            'held_by': None, 'parked_state': None, 'waits_for': None, 'attempt': 1, 'next_try': None, 'last_error': None, 'error': None,
            'source': 'kvm1', 'destination': 'kvm2', 'owner': 'source', 'started': 1700000000, 'ended': 0, 'bytes_copied': 1000,
            'downtime_ms': 0, **more}


def script(**parts):
    """The environment of a program that plays this."""
    path = folder / 'script.json'
    path.write_text(json.dumps(parts), encoding='utf-8')
    return clean_environment(VMIG_FAKE=str(path), VMIG_FAKE_SEEN=str(folder / 'seen.json'), LC_ALL='C.UTF-8')


def play(words, env=None, **parts):
    """Run `vmig-snap WORDS` on a script."""
    return call([SNAP, *words], env=env or script(**parts))


def test_request():
    """Every option arrives at the library as it was given."""
    play(['migrate', 'web1', DEST], migrate={'result': result('done')})
    seen = json.loads((folder / 'seen.json').read_text())
    check(seen == {'domain': 'web1', 'destination': DEST, 'disks': [], 'maps': [], 'map_dirs': [], 'merge': 'commit',
                   'transport': 'default', 'source_images': 'keep', 'policy': None, 'migrate_host': None, 'bandwidth': 0,
                   'max_downtime': 0, 'parallel': 0, 'timeout': 0, 'auto_converge': 0, 'postcopy': 0, 'verify': 0,
                   'rehearse': 1, 'accept_unrevertable': 0}, 'no option, the defaults', seen)
    words = ['--disk', 'vda', '--disk=vdb', '--map', 'vda=/srv/a=b', '--map-dir', '/a=/b', '--map-dir', '/c=/d',
             '--merge', 'mirror', '--transport', 'tls', '--source-images', 'delete', '--policy', 'patient',
             '--bandwidth', '10M', '--max-downtime', '300', '--parallel', '4', '--timeout', '600',
             '--auto-converge', '--postcopy', '--verify', '--no-rehearsal', '--accept-unrevertable', '--migrate-host', 'kvm2',
             '--connect', 'qemu+unix:///system?socket=/run/x', '--', '-grün', DEST]
    for command in ('plan', 'migrate'):
        play([command, *words], migrate={'result': result('done')}, plan={'result': plan()})
        seen = json.loads((folder / 'seen.json').read_text())
        check(seen == {'domain': '-grün', 'destination': DEST, 'disks': ['vda', 'vdb'], 'maps': ['vda=/srv/a=b'],
                       'map_dirs': ['/a=/b', '/c=/d'], 'merge': 'mirror', 'transport': 'tls', 'source_images': 'delete',
                       'policy': 'patient', 'migrate_host': 'kvm2', 'bandwidth': 10 * 1024 * 1024, 'max_downtime': 300,
                       'parallel': 4, 'timeout': 600, 'auto_converge': 1, 'postcopy': 1, 'verify': 1, 'rehearse': 0,
                       'accept_unrevertable': 1}, f'{command}: every option arrives', seen)


def test_outcomes():
    """The exit code of each outcome, and of each class of error without a document."""
    for outcome, code, expected in (('done', None, 0), ('refused', 'no-space', 3), ('refused', 'bad-path', 2),
                                    ('refused', 'usage', 2), ('refused', 'refused', 3), ('rolled-back', 'io', 4),
                                    ('parked', 'stalled', 5), ('locked', 'locked', 6), ('failed', 'journal', 1),
                                    ('something new', 'io', 1)):
        parts = {'migrate': {'result': result(outcome, code, 'it happened')}, 'status': {'result': {'jobs': [job()]}}}
        for words in ([], ['--json'], ['--quiet']):
            ended = play(['migrate', 'web1', DEST, *words], **parts)
            lines = [json.loads(line) for line in ended.out.splitlines()] if words == ['--json'] else []
            check(ended.code == expected and (ended.err == '') == (outcome == 'done')
                  and (words != ['--json'] or lines == [parts['migrate']['result']])
                  and (words != ['--quiet'] or ended.out == ''),
                  f'{outcome} ({code}) ends with {expected} {words}', ended)
    for code, expected in (('usage', 2), ('bad-name', 2), ('no-job', 2), ('no-domain', 3), ('unreachable', 3),
                           ('locked', 6), ('journal', 1), ('connection', 1), ('internal', 1)):
        error = {'error': {'code': code, 'message': 'it\x1b[2J failed', 'hint': 'do something'}}
        for command in ('plan', 'migrate', 'resume', 'cancel', 'status'):
            words = [command, 'web1'] + ([DEST] if command in ('plan', 'migrate') else [])
            ended = play([*words, '--json'], **{command: error})
            told = json.loads(ended.out.splitlines()[-1])
            check(ended.code == expected and told['error']['code'] == code
                  and ended.err == f'vmig-snap: it\\x1b[2J failed\nTo do: do something [{code}]\n',
                  f'{command}: {code} without a document ends with {expected}', ended)


def test_words():
    """What is said about the guest and about what to do next."""
    image = {'path': '/img/base.qcow2', 'kept': True, 'used_by': None}
    done = play(['migrate', 'web1', DEST], migrate={'result': result('done', source_images=[image])})
    check(done.out == 'Done: web1 is on kvm2 with all its snapshots.\n'
          '2.09 GB copied, 12.3 MB of later writes mirrored, 201 MB of memory sent in 14 s; '
          'downtime 34 ms.\n'
          'The images on the source are kept; nothing uses them any longer.\n' and done.err == '', 'done', done)
    unseen = {**result('done'), 'bytes_mirrored': 0, 'bytes_memory': 0, 'downtime_ms': 0, 'duration_s': 0}
    done = play(['resume', 'web1'], resume={'result': unseen})
    check('2.09 GB copied; the downtime is not known.\n' in done.out and ' 0 ' not in done.out,
          'what a process that died had seen is not told as nothing', done)
    gone, used = {**image, 'path': '/img/web1.qcow2', 'kept': False}, {**image, 'used_by': "the definition\x1b of 'g2'"}
    done = play(['migrate', 'web1', DEST, '--source-images=delete'],
                migrate={'result': result('done', source_images=[gone])})
    check('images on the source' not in done.out, 'images that were deleted are not said to be kept', done)
    done = play(['migrate', 'web1', DEST], migrate={'result': result('done', source_images=[image, used])})
    check("are kept. These are still in use there:\n  /img/base.qcow2: the definition\\x1b of 'g2'\n" in done.out
          and 'nothing uses' not in done.out, 'who uses a kept image is named', done)
    done = play(['resume', 'web1'], resume={'result': result('done', source_images=[gone, used])})
    check('removed, except these, which are still in use there:\n  /img/base.qcow2: ' in done.out,
          'what was not removed is named, with its user', done)
    done = play(['migrate', 'web1', DEST], migrate={'result': result('done')})
    check('nothing uses' not in done.out, 'without the proof it is not said that nothing uses them', done)
    back = play(['migrate', 'web1', DEST], migrate={'result': result('rolled-back', 'no-space', 'vda on kvm2: full',
                                                                     'Free 3 GB there.')})
    check(back.err == 'vmig-snap: vda on kvm2: full\nThe guest runs on kvm1 as before; no data was lost.\n'
          'To do: Free 3 GB there. [no-space]\n' and back.out == '', 'rolled back', back)
    gone = play(['migrate', 'web1', DEST], migrate={'result': result('rolled-back', 'guest-gone', 'it stopped')})
    check('The guest runs' not in gone.err and 'on kvm1 as before' in gone.err, 'a guest that is gone does not run',
          gone)
    locked = play(['migrate', 'web1', DEST], migrate={'result': result('locked', 'locked', 'job ff is at it',
                                                                       state='PLAN')})
    check(locked.err == 'vmig-snap: job ff is at it\nNothing was touched. [locked]\n', 'locked', locked)


def test_unfinished():
    """A job that is left over: who has the guest, and how it goes on."""
    cases = (({'parked_state': 'COPY', 'waits_for': 'Free space.'},
              'The guest is on kvm1, and no data was lost; the job waits in COPY.\n'
              'To do: Free space.\n  Then: vmig-snap resume ' + JOB),
             ({'parked_state': 'COMMIT', 'owner': 'destination'}, 'The guest is on kvm2, and no data was lost; the '
              'job waits in COMMIT.\nTo do: vmig-snap resume ' + JOB),
             ({'parked_state': 'UNCERTAIN', 'migration_begun': True},
              'It is not decided yet whether the guest is on kvm1 or on kvm2: do not start it on either host.\n'
              'To do: vmig-snap resume ' + JOB),
             ({'parked_state': 'UNCERTAIN', 'migration_begun': False},
              'The guest is on kvm1, and no data was lost; the job waits in UNCERTAIN.\n'
              'To do: vmig-snap resume ' + JOB),
             ({'parked_state': 'ACTIVATE', 'owner': 'destination'}, 'The guest is on kvm2 and may still be '
              'paused; no data was lost; the job waits in ACTIVATE.\nTo do: vmig-snap resume ' + JOB))
    for more, words in cases:
        ended = play(['migrate', 'web1', DEST], migrate={'result': result('parked', 'stalled', 'no progress',
                                                                          state='PARKED')},
                     status={'result': {'jobs': [job('PARKED', **more)]}})
        check(ended.err == f'vmig-snap: no progress\n{words} [stalled]\n', f'parked: {more}', ended)
    ended = play(['migrate', 'web1', DEST], migrate={'result': result('parked', 'contradiction', 'it runs', state='PARKED')},
                 status={'result': {'jobs': [job('PARKED', parked_state='ACTIVATE', owner='destination')]}})
    check('kvm2 owns the guest, but the guest may also run on kvm1' in ended.err and 'is on kvm2' not in ended.err,
          'a guest that runs where it was given away is not said to be elsewhere', ended)
    ended = play(['migrate', 'web1', DEST], migrate={'result': result('parked', 'stalled', 'no progress',
                                                                      state='PARKED')},
                 status={'error': {'code': 'journal', 'message': 'broken'}})
    check(ended.err == 'vmig-snap: no progress\nThe guest was not changed.\n'
          f'To do: vmig-snap resume {JOB} [stalled]\n',
          'parked, and the journal cannot be asked: nothing is claimed', ended)
    ended = play(['migrate', 'web1', DEST], migrate={'result': result('failed', 'journal', 'no journal', state='COPY')},
                 status={'result': {'jobs': [job('COPY')]}})
    check('The guest is on kvm1' in ended.err and f'vmig-snap resume {JOB}' in ended.err, 'failed in COPY', ended)


def plan(**more):
    """A plan document."""
    return {'domain': 'web\x1b1', 'uuid': 'u-u', 'source': {'host': 'kvm1', 'uri': 'qemu:///system', 'libvirt': '9.0.0',
                                                           'qemu': '7.2.0', 'vmig_snap': '1.0.0'},
            'destination': {'host': 'kvm2', 'uri': DEST, 'libvirt': '11.3.0', 'qemu': '10.0.2', 'vmig_snap': '1.0.0'},
            'can_migrate': True, 'refusals': [], 'notes': ['the guest has qemu:commandline'],
            'disks': [{'target': 'vda', 'moved': True, 'why_not': None, 'format': 'qcow2', 'chain': [
                {'path': '/img/a.qcow2', 'destination': '/srv/a.qcow2', 'format': 'qcow2', 'size': 3000000000,
                 'allocated': 2090000000, 'virtual_size': 8589934592, 'snapshots': [
                     {'id': '1', 'name': 'clean', 'vm_state_size': 0, 'date': 1700000000},
                     {'id': '2', 'name': 'up\n2', 'vm_state_size': 201000000, 'date': 1700000000}]},
                {'path': '/img/base.qcow2', 'destination': '/img/base.qcow2', 'format': 'qcow2', 'size': 1000000,
                 'allocated': 1000000, 'virtual_size': 8589934592, 'snapshots': []}],
                'to_copy': 2091000000, 'overlay_forecast': 200000000, 'source_free': 50000000000,
                'destination_free': 0},
                {'target': 'sda', 'moved': False, 'why_not': 'it is read-only', 'format': 'raw', 'chain': [],
                 'to_copy': 0, 'overlay_forecast': 0, 'source_free': 0, 'destination_free': 0}],
            'snapshots': [snapshot('root', None), snapshot('a', 'root', memory=True), snapshot('b', 'a', current=True),
                          snapshot('c', 'root'), snapshot('other', None, external=True)],
            'bytes_to_copy': 2091000000, 'destination_needs': -1, 'estimate_s': 9, **more}


def snapshot(name, parent, **more):
    """A snapshot of a plan document."""
    return {'name': name, 'parent': parent, 'state': 'running', 'creation_time': 1700000000, 'memory': False,
            'external': False, 'current': False, **more}


PAGE = f'''Guest web\\x1b1 (u-u)
  source       kvm1 (qemu:///system): libvirt 9.0.0, QEMU 7.2.0, vmig-snap 1.0.0
  destination  kvm2 ({DEST}): libvirt 11.3.0, QEMU 10.0.2, vmig-snap 1.0.0

Disks
  vda  8.59 GB for the guest, moves
       /img/a.qcow2 (qcow2, 2.09 GB on disk)
         there: /srv/a.qcow2
         2 snapshots inside: clean, up\\x0a2 (memory 201 MB)
       on /img/base.qcow2 (qcow2, 1.00 MB on disk)
       2.09 GB to copy, up to 200 MB written meanwhile; free: 50.0 GB here, not known there
  sda  stays: it is read-only

Snapshots that libvirt knows: 5
  root  2023-11-14 22:13:20  running
  ├─ a  2023-11-14 22:13:20  running, with memory
  │  └─ b  2023-11-14 22:13:20  running  <- current
  └─ c  2023-11-14 22:13:20  running
  other  2023-11-14 22:13:20  running, external

Notes
  - the guest has qemu:commandline

2.09 GB to copy, about 9 s; the destination needs more than 9.22 EB
The guest can be migrated.
'''


def test_plan():
    """The page, its refusals, its exit codes."""
    good = play(['plan', 'web1', DEST], plan={'result': plan()})
    check(good.code == 0 and good.out == PAGE and good.err == '', 'the page of a plan', good)
    ascii_env = {**script(plan={'result': plan()}), 'LC_ALL': 'C'}
    bare = call([SNAP, 'plan', 'web1', DEST], env=ascii_env)
    check('  |- a ' in bare.out and '  |  `- b ' in bare.out and bare.out.isascii(), 'a tree in ASCII', bare)
    dry = play(['migrate', '--dry-run', 'web1', DEST], plan={'result': plan()})
    check(dry.out == good.out and dry.code == 0, 'migrate --dry-run is plan', dry)
    alone = play(['plan', 'web1', DEST], plan={'result': {**plan(can_migrate=False), 'destination_needs': 0}})
    check('; what the destination needs is not known\n' in alone.out, 'a destination that nothing is known of', alone)
    quiet = play(['plan', '--quiet', 'web1', DEST], plan={'result': plan()})
    check((quiet.out, quiet.err, quiet.code) == ('', '', 0), 'plan --quiet says nothing', quiet)
    document = play(['plan', '--json', 'web1', DEST], plan={'result': plan()})
    check(document.out.count('\n') == 1 and json.loads(document.out) == plan(), 'plan --json is the document', document)
    refusals = [{'code': 'bitmaps', 'disk': 'vda', 'message': 'vda has bitmaps', 'hint': 'Remove them.'},
                {'code': 'no-space', 'disk': None, 'message': 'no room\nat all', 'hint': None}]
    bad = play(['plan', 'web1', DEST], plan={'result': plan(can_migrate=False, refusals=refusals)})
    check(bad.code == 3 and bad.out.endswith('The guest cannot be migrated.\n')
          and bad.err == 'vmig-snap: web\\x1b1 cannot be migrated, for 2 reasons:\n  1. vda has bitmaps [bitmaps]\n'
          '     To do: Remove them.\n  2. no room\n     at all [no-space]\nNothing was touched. [refused]\n',
          'every refusal, with its code and what to do', bad)
    for codes, expected in ((['no-space'], 3), (['bad-path'], 2), (['locked'], 6), (['no-space', 'locked'], 6),
                            (['bad-path', 'bad-path'], 3)):
        refusals = [{'code': c, 'disk': None, 'message': 'm', 'hint': None} for c in codes]
        for words, part in ((['plan'], {'result': plan(can_migrate=False, refusals=refusals)}),):
            ended = play([*words, '--json', 'web1', DEST], plan=part)
            check(ended.code == expected, f'a plan refused for {codes} ends with {expected}', ended)
    ended = play(['migrate', 'web1', DEST], migrate={'result': result('refused', 'refused', 'm\nm', refusals=[
        {'code': 'a', 'disk': None, 'message': 'one', 'hint': 'h'}, {'code': 'b', 'disk': None, 'message': 'two',
                                                                    'hint': None}])})
    check(ended.code == 3 and '  1. one [a]\n     To do: h\n  2. two [b]\n' in ended.err, 'migrate lists them too',
          ended)


def test_odd_documents():
    """What a newer or a broken library could tell must not crash, hang or move the cursor."""
    deep = [snapshot(f's{i}', f's{i - 1}' if i else None) for i in range(5000)]
    circle = [snapshot('x', 'y'), snapshot('y', 'x'), snapshot('lost', 'nobody'), snapshot('self', 'self')]
    for name, document in (('nothing in it', {}), ('a chain of 5,000', plan(snapshots=deep)),
                           ('a circle', plan(snapshots=circle)),
                           ('other types', plan(disks=5, snapshots=[1, 'x', None], source='s', destination=None,
                                                notes=[3], estimate_s=-1, bytes_to_copy='many'))):
        ended = play(['plan', 'web1', DEST], plan={'result': document})
        check(ended.code in (0, 3) and ended.out.startswith('Guest '), f'plan: {name}', ended.err[-500:])
        if document.get('snapshots') is circle:
            check(all(len(re.findall(rf'^ .*\b{n}  2023', ended.out, re.M)) == 1 for n in ('x', 'y', 'lost', 'self')),
                  'a circle is shown once', ended)
    for name, document in (('nothing in it', {}), ('no jobs', {'jobs': None}),
                           ('other types', {'jobs': [1, {}, None]})):
        for command in ('status', 'list'):
            ended = play([command], status={'result': document})
            check(ended.code == 0 and ended.out and not ended.err, f'{command}: {name}', ended)
    for odd in ({}, [], {'event': 'result'}, {'outcome': 5}):
        ended = play(['migrate', 'web1', DEST], migrate={'result': odd})
        check(ended.code == 1 and ended.err.startswith('vmig-snap: '), f'a result that is {odd}', ended)
    events = [{'emit': e} for e in ({}, {'event': 'state'}, {'event': 'progress'}, {'event': 'news'}, {'event': 5},
                                    {'event': 'progress', 'phase': 'COPY', 'disk': 'v\x1bda', 'done': -5, 'total': -9},
                                    {'event': 'note', 'message': '\x1b[2J'}, {'event': 'retry'})]
    ended = play(['migrate', 'web1', DEST], migrate={'steps': events, 'result': result('done')})
    check(ended.code == 0 and '\x1b' not in ended.out + ended.err, 'odd events', ended)


def test_jobs():
    """status and list."""
    parked = job('PARKED', parked_state='COMMIT', waits_for='Free space.', attempt=3, owner='destination',
                 error={'code': 'no-space', 'message': 'full', 'hint': 'Free space.'}, downtime_ms=34)
    ended = play(['status', JOB], status={'result': {'jobs': [parked]}})
    check(ended.out == f'''Job {JOB}: web1 from kvm1 to kvm2
  state     PARKED: something (attempt 3)
  parked in COMMIT
  waits for Free space.
  reason    full [no-space]
  to do     Free space.
  guest     on kvm2
  this host source
  started   2023-11-14 22:13:20
  copied    1.00 kB; downtime 34 ms
  continue  vmig-snap resume {JOB}
''' and ended.code == 0, 'status of one', ended)
    back = job('BACK_COMMIT', attempt=2, next_try='2023-11-14 22:14:00 UTC',
               error={'code': 'timeout', 'message': 'too slow', 'hint': None},
               last_error={'code': 'io', 'message': 'disk\nbroken', 'hint': None})
    ended = play(['status', JOB], status={'result': {'jobs': [back]}})
    check('(attempt 2)\n  next try  2023-11-14 22:14:00 UTC\n  reason    too slow [timeout]\n'
          '  last try  disk\\x0abroken [io]\n' in ended.out, 'the last try beside the reason', ended)
    same = {'code': 'io', 'message': 'broken', 'hint': None}
    ended = play(['status', JOB], status={'result': {'jobs': [job('COMMIT', error=same, last_error=same)]}})
    check('last try' not in ended.out, 'the last try is the reason: once', ended)
    ended = play(['status'], status={'result': {'jobs': [job()]}})
    check(ended.out.endswith(f"""  this host source
  held by   no process of this host
  started   2023-11-14 22:13:20
  copied    1.00 kB
  continue  vmig-snap resume {JOB}
"""), 'a job that nobody works on', ended)
    ended = play(['status'], status={'result': {'jobs': [job(role='destination', bytes_copied=0)]}})
    check(ended.out.endswith(f"""  copied    not counted before the base copy ends
  continue  vmig-snap resume {JOB}
            here it can only roll back; on kvm1 it can also continue
"""), 'a job in COPY on the destination', ended)
    ended = play(['status'], status={'result': {'jobs': [job('COMMIT', role='destination')]}})
    check('roll back' not in ended.out, 'a job after the switchover, on the destination', ended)
    for name, held in (('COPY', 'process 7'), ('PARKED', 'process 7'), ('DONE', None)):
        ended = play(['status'], status={'result': {'jobs': [job(name, held_by=held)]}})
        check('continue' not in ended.out and ('held by   process 7' in ended.out) == bool(held),
              f'{name}, held by {held}: nothing to do', ended)
    ended = play(['list', '--all'], list={'result': {'jobs': [job(), job('DONE', domain='a\nb')]}})
    check(ended.out == f'''JOB               DOMAIN  STATE  FROM  TO    STARTED
{JOB}  web1    COPY   kvm1  kvm2  2023-11-14 22:13:20
{JOB}  a\\x0ab  DONE   kvm1  kvm2  2023-11-14 22:13:20
''', 'list', ended)
    ended = play(['list'], status={'result': {'jobs': []}})
    check(ended.out == 'There are no unfinished jobs; --all also lists finished jobs.\n', 'an empty list', ended)
    with open('/dev/full', 'wb') as full:
        done = subprocess.run([SNAP, 'list'], stdout=full, stderr=subprocess.PIPE, text=True, check=False,
                              env=script(status={'result': {'jobs': [job()]}}))
    check(done.returncode == 1 and 'cannot write to standard output' in done.stderr, 'a document that is lost is no success', done)


def finding(code, severity, message, repair=None, fixable=False, fixed=False):
    """One of doctor's."""
    return {'code': code, 'severity': severity, 'message': message, 'repair': repair, 'fixable': fixable,
            'fixed': fixed}


def test_doctor():
    """doctor and clean."""
    found = [finding('tool', 'ok', 'qemu-img 7.2'), finding('scan', 'note', 'more'),
             finding('guard', 'problem', 'a \x1b[2J guard', 'vmig-snap doctor --fix', True),
             finding('stray-file', 'problem', 'a file', 'See what it is.')]
    ended = play(['doctor'], doctor={'result': {'host': 'kvm1', 'problems': 2, 'findings': found}})
    check(ended.code == 1 and ended.err == '' and ended.out == '''ok        qemu-img 7.2 [tool]
note      more [scan]
PROBLEM   a \\x1b[2J guard [guard]
          To do: vmig-snap doctor --fix
PROBLEM   a file [stray-file]
          To do: See what it is.

2 problems on kvm1.
vmig-snap doctor --fix can repair 1 of them.
''', 'what doctor found', ended)
    found[2].update(fixed=True)
    found[3].update(fixed=True, repair='Look at it.')
    ended = play(['doctor', '--fix', 'web1'], **{'doctor --fix': {'result': {'host': 'kvm1', 'problems': 0,
                                                                             'findings': found[2:]}}})
    check(ended.code == 0 and ended.out == '''repaired  a \\x1b[2J guard [guard]
repaired  a file [stray-file]
          Look at it.

2 repaired. No problem is left on kvm1.
''', 'what doctor repaired', ended)
    ended = play(['doctor', '--json'], doctor={'result': {'host': 'kvm1', 'problems': 1, 'findings': found}})
    check(ended.code == 1 and json.loads(ended.out)['findings'] == found, 'doctor --json', ended)
    removed = {'domain': 'web1', 'destination': 'kvm2', 'freed': 2000, 'removed': [{'path': '/a\nb', 'bytes': 2000}]}
    ended = play(['purge', 'web1'], purge={'result': removed})
    check(ended.code == 0 and ended.out == 'Removed /a\\x0ab (2.00 kB)\n2.00 kB freed; web1 is on kvm2.\n', 'clean',
          ended)
    ended = play(['purge', '--without-destination', 'web1'],
                 **{'purge --without-destination': {'result': {**removed, 'removed': []}}})
    check(ended.out == 'There are no images of web1 to remove.\n', 'nothing to clean', ended)
    ended = play(['purge', 'web1', '--json'], purge={'error': {'code': 'refused', 'message': 'in use'}})
    check(ended.code == 3 and json.loads(ended.out)['outcome'] == 'refused', 'a refusal of clean', ended)


def verdict(outcome='equal', error=None, **more):
    """A document of verify."""
    snapshot = {'id': '1', 'name': 'a \x1b[2J', 'date': 0, 'vm_clock_ns': 0, 'disk_size': 8, 'vm_state_size': 4,
                'content': 'equal', 'memory': 'equal', 'source_content_hash': 'gmact:1',
                'destination_content_hash': 'gmact:1', 'source_memory_hash': 'gmact:2',
                'destination_memory_hash': 'gmact:2'}
    file = {'disk': 'vda', 'source_path': '/a', 'destination_path': '/b', 'against': 'image', 'check': 'ok',
            'check_message': None, 'snapshots': [snapshot]}
    return {'job': JOB, 'domain': 'web1', 'source': 'kvm1', 'destination': 'kvm2', 'outcome': outcome,
            'guest': 'running', 'time': 0, 'files': [file], 'tree_snapshots': 1,
            'reverts': [{'snapshot': 'a', 'would_start': True, 'reason': None, 'memory': True, 'accepted': False}], 'differences': [], 'unproven': [],
            'notes': [], 'bytes': 2000, 'duration_s': 3, 'error': error, **more}


def test_verify():
    """verify: the page, the document, the exit codes, ^C."""
    ended = play(['verify', 'web1'], verify={'steps': [{'emit': {'event': 'progress', 'job': JOB, 'phase': 'VERIFY',
                 'disk': 'vda', 'done': 1, 'total': 2, 'rate': 0}}], 'result': verdict()})
    check(ended.code == 0 and ended.err == '' and ended.out == f'''Verification of web1, job {JOB}, -
  from kvm1 to kvm2; the guest there: running

Disk vda: /b
  compared with /a on kvm1
  1    a \\x1b[2J            -  disk equal     memory equal     gmact:1
  qemu-img check: ok

libvirt's snapshot tree: 1 snapshot, equal
Snapshots with memory: 1, of which 1 would start on kvm2.

EQUAL: every snapshot on the destination equals that on the source.
2.00 kB compared in 3 s.
''', 'what is equal', ended)
    differs = {'code': 'differs', 'message': 'web1 differs from the guest', 'hint': 'Keep the images.'}
    found = [{'kind': 'tree', 'disk': None, 'path': None, 'snapshot': 'a', 'message': 'its parent\nwas b'}]
    ended = play(['verify', '--job', JOB], **{'verify --job': {'result': verdict('different', differs,
                                                                                differences=found)}})
    check(ended.code == 1 and 'What differs:\n  its parent\\x0awas b\n' in ended.out and 'DIFFERENT' in ended.out and
          '1 snapshot, different' in ended.out and 'web1 differs from the guest' in ended.reason, 'what differs', ended)
    ended = play(['verify', 'web1', '--json'], verify={'result': verdict('different', differs, differences=found)})
    check(ended.code == 1 and json.loads(ended.out)['differences'] == found, 'verify --json', ended)
    for outcome, word in (('unproven', 'UNPROVEN'), ('not-revertable', 'not every snapshot with memory')):
        ended = play(['verify', 'web1'], verify={'result': verdict(outcome, {**differs, 'code': outcome})})
        check(ended.code == 1 and word in ended.out and f'[{outcome}]' in ended.err, f'verify: {outcome}', ended)
    accepted = {'snapshot': 'with\niso', 'would_start': False, 'reason': 'it needs /i.iso, which kvm2 does not have',
                'memory': False, 'accepted': True}
    ended = play(['verify', 'web1'], verify={'result': verdict(reverts=[*verdict()['reverts'], accepted])})
    check("Snapshots with memory: 1, of which 1 would start on kvm2.\n  'with\\x0aiso' would not "
          '(--accept-unrevertable): it needs /i.iso, which kvm2 does not have\n' in ended.out, 'what was accepted', ended)
    ended = play(['verify', 'web1'], verify={'error': {'code': 'locked', 'message': 'job x is at work'}})
    check(ended.code == 6, 'verify beside a job', ended)
    for argv in (['verify'], ['verify', 'web1', '--job', JOB], ['verify', ''], ['verify', 'a', 'b']):
        ended = play(argv)
        check(ended.code == 2, f'{argv} is a mistake', ended)


def test_resume():
    """Which jobs are resumed, and how each is told of."""
    two = {'result': {'jobs': [job(), job(job='fedcba9876543210')]}}
    one = {'result': {'jobs': [job()]}}
    ended = play(['resume'], status=two)
    check(ended.code == 2 and '2 jobs are unfinished: ' + JOB in ended.reason, 'resume of one of two', ended)
    ended = play(['resume'], status=one, resume={'result': result('done')})
    check(ended.code == 0 and ended.out.startswith('Done: '), 'resume of the only one', ended)
    ended = play(['resume', JOB, '--without-verify'], **{'resume --without-verify': {'result': result('done')}})
    check(ended.code == 0, 'resume --without-verify', ended)
    for argv in (['resume', '--without-verify'], ['resume', JOB, '--without-verify', '--source-is-fenced', 'kvm1']):
        ended = play(argv)
        check(ended.code == 2, f'{argv} is a mistake', ended)
    ended = play(['resume', '--all', '--json'], status=two, resume={'result': result('done')},
                 **{f'resume {JOB}': {'result': result('parked', 'io', 'm')}})
    check(ended.code == 5 and sorted(json.loads(line)['outcome'] for line in ended.out.splitlines()) == ['done', 'parked'],
          'resume --all does all and ends with the worst', ended)
    ended = play(['resume', '--all'], status=two, resume={'result': result('done')},
                 **{f'resume {JOB}': {'steps': [state('COMMIT')], 'result': result('parked', 'io', 'm')}})
    check('\nweb1: Done: ' in f'\n{ended.out}' and '\nweb1: COMMIT ' in f'\n{ended.out}' and
          ended.err.startswith('vmig-snap: web1: m\nweb1: '), 'each line of several jobs names its domain', ended)


def test_resume_side_by_side():
    """A job that waits holds up no other one, and an interruption reaches it."""
    two = {'result': {'jobs': [job(), job(job='fedcba9876543210')]}}
    env = script(status=two, resume={'result': result('done')},
                 **{f'resume {JOB}': {'steps': [{'await': 'interrupt'}], 'result': result('parked', 'connection', 'm')}})
    with subprocess.Popen([SNAP, 'resume', '--all', '--json'], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True) as process:
        first = process.stdout.readline()
        check(json.loads(first)['outcome'] == 'done', 'the other job ends while the first one waits', first)
        process.terminate()
        rest = process.stdout.read()
        code = process.wait(20)
    check(code == 5 and json.loads(rest)['outcome'] == 'parked', 'SIGTERM is handed on, and waited for', f'{code} {rest}')


def test_cancel():
    """A cancel that goes back is a success."""
    one = {'result': {'jobs': [job()]}}
    ended = play(['cancel', 'web1'], cancel={'result': result('rolled-back', 'cancelled', 'cancelled by the operator')})
    check(ended.code == 0 and ended.out == 'Cancelled: web1 is on kvm1 as before; no data was lost.\n'
          and not ended.err, 'cancel that went back', ended)
    for running, words in ((True, 'from now on'), (False, 'when it is resumed')):
        document = {'job': 'a3f1c20b9d4e5f60', 'domain': 'web1', 'bandwidth': 20 << 20, 'running': running}
        ended = play(['set', 'web1', 'bandwidth=20M'], set={'result': document})
        check(ended.code == 0 and ended.out == f"Job a3f1c20b9d4e5f60 of 'web1': 21.0 MB per second {words}.\n", 'set', ended)
    document['bandwidth'] = 0
    ended = play(['set', 'web1', 'bandwidth=0'], set={'result': document})
    check(ended.code == 0 and 'no limit' in ended.out, 'set to no limit', ended)
    ended = play(['set', 'web1', 'bandwidth=1K', '--json'], set={'error': {'code': 'locked', 'message': 'm', 'hint': None}})
    check(ended.code == 6, 'set on a job that another process has', ended)
    ended = play(['cancel', 'web1'], cancel={'result': result('done')})
    check(ended.code == 3 and 'too late' in ended.reason, 'cancel of what is done', ended)
    ended = play(['cancel', 'web1'], cancel={'result': result('parked', 'io', 'm')}, status=one)
    check(ended.code == 5, 'cancel that could not go back yet', ended)


STEPS = [state('LOCK'), state('COPY'), progress('COPY', 'vda', 0, 1000000), progress('COPY', None, 0, 1000000, 500000),
         progress('COPY', 'vda', 500000, 1000000), progress('COPY', None, 500000, 1000000, 500000),
         {'emit': {'event': 'retry', 'job': JOB, 'state': 'COPY', 'attempt': 2, 'delay_s': 3.6,
                   'error': {'code': 'connection', 'message': 'it\nbroke', 'hint': None}}},
         {'emit': {'event': 'note', 'job': JOB, 'message': 'a note'}},
         progress('COPY', 'vda', 1000000, 1000000), progress('COPY', None, 1000000, 1000000, 500000), state('PREPARE')]


def test_events():
    """Events as lines: verbatim with --json, readable otherwise, none with --quiet."""
    parts = {'migrate': {'steps': STEPS, 'result': result('done')}}
    ended = play(['migrate', '--json', 'web1', DEST], **parts)
    told = [json.loads(line) for line in ended.out.splitlines()]
    check(told == [s['emit'] for s in STEPS] + [result('done')] and ended.err == '', 'one JSON object a line', ended)
    ended = play(['migrate', '--quiet', 'web1', DEST], **parts)
    check(ended.out == '' and ended.err == '' and ended.code == 0, '--quiet', ended)
    ended = play(['migrate', 'web1', DEST], **parts)
    lines = ended.out.splitlines()
    check(lines[:2] == ['LOCK          what happens', 'COPY          what happens']
          and '  COPY      vda        0 %  0 bytes of 1.00 MB' in lines
          and '  COPY      vda      100 %  1.00 MB of 1.00 MB' in lines
          and '  COPY again in 4 s (attempt 2): it\\x0abroke [connection]' in lines and '  note: a note' in lines
          and 'PREPARE       what happens' in lines and 'COPY      all' not in ended.out and '\r' not in ended.out
          and '\x1b' not in ended.out,
          'plain lines where there is no terminal', ended)
    many = [progress('COPY', 'vda', i * 1000, 1000000) for i in range(500)]
    ended = play(['migrate', 'web1', DEST], migrate={'steps': many, 'result': result('done')})
    check(ended.out.count('COPY') == 1, 'a log is not flooded', ended)


def on_terminal(words, env, columns=80):
    """What a terminal of that width gets."""
    parent, child = pty.openpty()
    subprocess.run(['stty', 'cols', str(columns), 'rows', '24'], stdin=child, check=True)
    with subprocess.Popen([SNAP, *words], stdin=child, stdout=child, stderr=child, env=env) as process:
        os.close(child)
        text = b''
        while select.select([parent], [], [], PATIENCE)[0]:
            try:
                text += os.read(parent, 65536)
            except OSError:
                break
        process.wait(PATIENCE)
    os.close(parent)
    return text.decode()


def screen(text):
    """What the terminal shows in the end: carriage return, cursor up, erase to the end of the line."""
    lines, row, column = [''], 0, 0
    for part in re.findall(r'\x1b\[\d*[A-Z]|\r|\n|[^\x1b\r\n]+', text):
        if part == '\r':
            column = 0
        elif part == '\n':
            row, column = row + 1, column
            lines += [''] * (row + 1 - len(lines))
        elif part == '\x1b[K':
            lines[row] = lines[row][:column]
        elif part.startswith('\x1b'):
            row -= int(part[2:-1])
        else:
            lines[row] = lines[row].ljust(column)[:column] + part + lines[row][column + len(part):]
            column += len(part)
    return [line.rstrip() for line in lines]


def test_terminal():
    """On a terminal the lines of a phase are drawn in place."""
    env = {**script(migrate={'steps': [
        state('COPY'), progress('COPY', 'vda', 0, 1000000), progress('COPY', None, 0, 3000000, 500000),
        progress('COPY', 'vdb', 0, 2000000), progress('COPY', 'vda', 500000, 1000000, 250000),
        progress('COPY', None, 500000, 3000000, 500000), progress('COPY', 'vdb', 2000000, 2000000),
        progress('COPY', 'vda', 1000000, 1000000), progress('COPY', None, 3000000, 3000000),
        state('MIGRATE'), progress('MIGRATE', None, 1000000, 2000000, 1000000)], 'result': result('done')}),
           'TERM': 'xterm'}
    text = on_terminal(['migrate', 'web1', DEST], env)
    shown = screen(text)
    check(shown[:6] == ['COPY          what happens', '  COPY      vda      100 %  1.00 MB of 1.00 MB',
                        '  COPY      vdb      100 %  2.00 MB of 2.00 MB',
                        '  COPY      all      100 %  3.00 MB of 3.00 MB',
                        'MIGRATE       what happens',
                        '  MIGRATE   all       50 %  1.00 MB of 2.00 MB  1.00 MB/s  2 s left']
          and shown[6].startswith('Done: '), 'one line for each disk and phase', '\n'.join(shown))
    narrow = screen(on_terminal(['migrate', 'web1', DEST], env, columns=30))
    check(all(len(line) < 30 for line in narrow if '%' in line), 'no progress line is wider than the terminal', narrow)
    plain = on_terminal(['migrate', 'web1', DEST], {**env, 'TERM': 'dumb'})
    check('\x1b' not in plain, 'a dumb terminal gets plain lines', plain)


def interrupt(steps, signals, more=()):
    """Play the steps in a process that gets the signals once it waits; how it ended."""
    ready = folder / 'ready'
    ready.unlink(missing_ok=True)
    parts = {'steps': [*steps, {'touch': str(ready)}, *more], 'result': result('done'),
             'interrupted': result('rolled-back', 'cancelled', 'cancelled by the operator')}
    with subprocess.Popen([SNAP, 'migrate', 'web1', DEST], env=script(migrate=parts), stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True) as process:
        while not ready.exists() and process.poll() is None:
            time.sleep(0.01)
        for number in signals:
            process.send_signal(number)
            time.sleep(0.1)
        out, err = process.communicate(timeout=PATIENCE)
    return process.returncode, out, err


def test_signals():
    """SIGINT and SIGTERM go back, however often; SIGHUP does nothing; nothing is killed."""
    for number in (signal.SIGINT, signal.SIGTERM):
        code, _, err = interrupt([state('COPY')], [number], [{'await': 'interrupt'}])
        check(code == 4 and 'interrupted: rolling back' in err and 'runs on kvm1 as before' in err,
              f'{number.name} goes back', (code, err))
    code, _, err = interrupt([state('COPY')], [signal.SIGINT] * 3, [{'sleep_ms': 700}])
    check(code == 4 and err.count('interrupted: rolling back') == 1 and err.count('already rolling back') == 2,
          'more of them cut nothing off', (code, err))
    code, _, err = interrupt([state('COMMIT')], [signal.SIGINT], [{'sleep_ms': 300}])
    check('already on the destination' in err, 'after the switchover it says that it goes on', (code, err))
    code, _, err = interrupt([state('ROLLBACK')], [signal.SIGINT], [{'sleep_ms': 300}])
    check('already rolling back' in err, 'while it goes back it says so', (code, err))
    code, _, err = interrupt([state('COPY')], [signal.SIGHUP], [{'sleep_ms': 300}])
    check(code == 0 and err == '', 'SIGHUP does nothing', (code, err))


def processes_of(pid):
    """Is it there?"""
    return os.path.exists(f'/proc/{pid}')


def test_detach():
    """--detach: the job's id once it is in the journal; the error if it never gets there."""
    ready = folder / 'ended'
    before = {name for name in STATE_FOLDERS if os.path.exists(name)}
    parts = {'steps': [{'emit': {'event': 'note', 'job': JOB, 'message': 'early'}}, state('PLAN'), {'sleep_ms': 200},
                       state('LOCK'), {'sleep_ms': 3000}, {'touch': str(ready)}], 'result': result('done')}
    ended = play(['migrate', '--detach', '--json', 'web1', DEST], migrate=parts)
    told = json.loads(ended.out)
    check(ended.code == 0 and told['event'] == 'detached' and told['job'] == JOB and told['pid'] > 1
          and not ready.exists() and 0.2 <= ended.seconds, 'the job goes on when the command has ended', ended)
    deadline = time.monotonic() + PATIENCE
    while processes_of(told['pid']) and time.monotonic() < deadline:
        time.sleep(0.05)
    check(ready.exists() and not processes_of(told['pid']), 'and ends by itself', told)
    if told['log']:
        log = pathlib.Path(told['log'])
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        check([x['event'] for x in lines] == ['state', 'result'] and log.stat().st_mode & 0o777 == 0o600,
              'its events are in the log of the job', lines)
        log.unlink()
        for name in STATE_FOLDERS:
            if name not in before:
                os.rmdir(name)
    else:
        counter.skip('the log of a job in the background', 'the state folder cannot be written')
    ready.unlink()
    for outcome, code, expected in (('refused', 'no-space', 3), ('refused', 'bad-path', 2), ('locked', 'locked', 6),
                                    ('failed', 'journal', 1)):
        ended = play(['migrate', '--detach', 'web1', DEST],
                     migrate={'result': result(outcome, code, 'a reason', job=None)})
        check(ended.code == expected and ended.reason.startswith('vmig-snap: a reason'),
              f'detached, {outcome}: {expected}', ended)
    for code, expected in (('unreachable', 3), ('usage', 2), ('connection', 1)):
        ended = play(['migrate', '--detach', 'web1', DEST, '--json'],
                     migrate={'error': {'code': code, 'message': 'why'}})
        check(ended.code == expected and json.loads(ended.out)['error']['code'] == code, f'detached, {code}', ended)
    ended = play(['migrate', '--detach', 'web1', DEST], migrate={'steps': [{'die': True}], 'result': {}})
    check(ended.code == 1 and 'ended without reporting' in ended.reason, 'a background process that dies is told', ended)
    ended = call([SNAP, 'migrate', '--detach', 'web1', DEST], env=clean_environment(VMIG_FAKE='/nonexistent'))
    check(ended.code == 1 and ended.reason != '', 'no session, and it is told', ended)


def test_detach_interrupted():
    """A ^C while the command still waits for the background process is meant for that one."""
    ready = folder / 'waits'
    parts = {'steps': [{'touch': str(ready)}, {'await': 'interrupt'}], 'result': result('done'),
             'interrupted': result('refused', 'cancelled', 'cancelled by the operator', job=None)}
    with subprocess.Popen([SNAP, 'migrate', '--detach', 'web1', DEST], env=script(migrate=parts),
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while not ready.exists() and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=PATIENCE)
    check(process.returncode == 3 and 'asked the background process' in err and 'cancelled by the operator' in err,
          '^C is handed on', (process.returncode, err))


if __name__ == '__main__':
    sys.exit(counter.run([test_request, test_outcomes, test_words, test_unfinished, test_plan, test_doctor, test_verify,
                          test_odd_documents, test_jobs, test_resume, test_resume_side_by_side, test_cancel, test_events, test_terminal,
                          test_signals, test_detach, test_detach_interrupted]))
