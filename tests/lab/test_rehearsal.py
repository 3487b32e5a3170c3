# SPDX-License-Identifier: LGPL-2.1-or-later
"""The rehearsal: plan reports what the destination would not start, and the attempt leaves nothing there."""
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time

from cases import TWO, Disk, define, main, shared
from command import DONE, REFUSED, Call, need
from facts import Untouched, run_folder_left
from hostns import ADDRESS as ADDRESSES
from lab import IMAGES, wait_until
from refusals import own, quiet, refuse
from stopped import is_stopped
from written import written

ADDRESS = '192.0.2.77'
NETWORK = "<network><name>lonely</name><bridge name='virbr9' stp='off'/></network>"
DEVICES = f"""
    <interface type='network'><source network='lonely'/><model type='virtio'/></interface>
    <interface type='bridge'><source bridge='br9'/><model type='virtio'/></interface>
    <graphics type='vnc' autoport='yes' listen='{ADDRESS}'/>
    <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
    <serial type='unix'><source mode='bind' path='/run/console.sock'/></serial>"""


def left_behind(case, host='b'):
    """What a rehearsal left on a host: its record, domains, images, libvirt's files."""
    lab = case.lab
    left = [name for name in lab.virsh(host, 'list', '--all', '--name').split() if 'rehearsal' in name]
    found = lab.run(host, ['find', '/var/lib/vmig-snap/rehearsals', '/var/lib/libvirt', '/run/libvirt', '/srv/vmig2',
                           '-name', '*rehearsal-*', '-not', '-name', '*.log'], check=False).stdout.split()
    records = lab.run(host, ['find', '/var/lib/vmig-snap/rehearsals', '-type', 'f'], check=False).stdout.split()
    return left + found + records


def plan(case, *args):
    """plan --json of the guest g."""
    return case.call('a', 'plan', 'g', case.lab.uri('b'), '--json', *args)


def refused(case, code, *words):
    """plan refuses with only this code; returns the message and the hint."""
    call = plan(case)
    refusals = call.document['refusals']
    need(call.code == REFUSED and [r['code'] for r in refusals] == [code], call.code, call.tail())
    for word in words:
        need(word in refusals[0]['message'], f'{word!r} is not in', refusals[0]['message'])
    need(refusals[0]['hint'], 'no hint', refusals[0])
    need(not left_behind(case), 'left behind:', left_behind(case))
    return refusals[0]


def network(case, host):
    """Define the network on a host."""
    (case.lab.dir / host / 'run/network.xml').write_text(NETWORK)
    case.lab.virsh(host, 'net-define', '/run/network.xml')


def make_bridge(case, host):
    """The bridge of the guest's second interface."""
    case.lab.run(host, ['ip', 'link', 'add', 'br9', 'type', 'bridge'])
    case.lab.run(host, ['ip', 'link', 'set', 'br9', 'up'])


def unmake(case):
    """Remove the networks, bridges and addresses of test_what_the_destination_lacks()."""
    for host in ('a', 'b'):
        case.lab.virsh(host, 'net-destroy', 'lonely', check=False)
        case.lab.virsh(host, 'net-undefine', 'lonely', check=False)
        case.lab.run(host, ['ip', 'link', 'del', 'br9'], check=False)
        case.lab.run(host, ['ip', 'address', 'del', f'{ADDRESS}/32', 'dev', 'lo'], check=False)


def beside_other_refusals(case, guest):
    """The missing bridge is reported together with an existing file and a missing folder, each once."""
    lab = case.lab
    path = guest.files['vdb'][0]
    for args, place, code in (((), path, 'destination-exists'),
                              (('--map-dir', f'{IMAGES}=/srv/vmig/not-there'), None, 'no-directory'),
                              (('--map', 'vdb=/root/vdb.qcow2'), None, 'outside-roots')):
        if place:
            lab.run('b', ['touch', place])
        try:
            call = plan(case, *args)
        finally:
            if place:
                lab.run('b', ['rm', place])
        codes = sorted({r['code'] for r in call.document['refusals']})
        bridges = [r for r in call.document['refusals'] if 'br9' in r['message']]
        need(call.code == REFUSED and codes == sorted([code, 'rehearsal']) and len(bridges) == 1, args, call.tail())
        need(not left_behind(case), 'left behind:', left_behind(case))


def test_what_the_destination_lacks(case):
    """A network, started or not, a bridge, an address to listen on: plan reports each missing one by name, and the hint
    helps."""
    lab = case.lab
    unmake(case)
    try:
        network(case, 'a')
        lab.virsh('a', 'net-start', 'lonely')
        make_bridge(case, 'a')
        lab.run('a', ['ip', 'address', 'add', f'{ADDRESS}/32', 'dev', 'lo'])
        guest = own(case, [Disk('vda', below=(f'{IMAGES}/below.qcow2',)), Disk('vdb', fill_mb=1)],
                    devices=DEVICES)
        refuse(case, guest, 'rehearsal', words=['<interface>', 'lonely'], rehearsal=True)
        network(case, 'b')
        told = refused(case, 'rehearsal', 'lonely', 'is not active')
        need('virsh net-start lonely' in told['hint'], told)
        lab.virsh('b', 'net-start', 'lonely')
        told = refused(case, 'rehearsal', '<interface>', 'br9')
        need('bridge' in told['hint'] and 'br9' in told['hint'], told)
        beside_other_refusals(case, guest)
        make_bridge(case, 'b')
        refused(case, 'rehearsal', '<graphics>')
        need(plan(case, '--no-rehearsal').code == DONE, 'refused in spite of --no-rehearsal')
        lab.run('b', ['ip', 'address', 'add', f'{ADDRESS}/32', 'dev', 'lo'])
        with Untouched(case, guest):
            call = plan(case)
        need(call.code == DONE, call.tail())
        need(not left_behind(case), 'left behind:', left_behind(case))
    finally:
        case.clean()
        unmake(case)


def stopped_plan(case):
    """A plan that is stopped while its twin runs, and the twin's name."""
    lab = case.lab
    call = Call(lab, 'a', ['plan', 'g', lab.uri('b'), '--json'],
                {'VMIG_SNAP_FAULT': 'rehearsal.started:stop'})
    wait_until(lambda: is_stopped(call.process.pid) or call.process.poll() is not None, 60, 'the stop')
    need(call.process.poll() is None, 'it ended:', call.code, call.tail())
    twins = [name for name in lab.virsh('b', 'list', '--name').split() if 'rehearsal' in name]
    need(len(twins) == 1 and lab.state('b', twins[0]) == 'paused', 'the twin:', twins)
    return call, twins[0]


def kill(call):
    """kill -9. A killed plan leaves its socket folder on its own host, which doctor removes two minutes later."""
    call.process.kill()
    call.wait()
    call.lab.run('a', ['sh', '-c', 'rm -rf /run/vmig-snap/????????????????'])


def agent_pid(case, host):
    """The agent of that host."""
    pids = [pid for pid, argv in case.lab.processes(host, 'vmig-snap').items() if argv[-1] == 'agent']
    need(len(pids) == 1, 'agents:', pids)
    return pids[0]


@shared
def test_killed_tool(case):
    """kill -9 of the tool in the middle of a rehearsal: nothing is left on the destination."""
    case.need_faults()
    with Untouched(case, quiet(case)):
        call, _ = stopped_plan(case)
        kill(call)
        wait_until(lambda: not left_behind(case), 20, 'the end of the rehearsal')


@shared
def test_interrupted(case):
    """^C in the middle of a rehearsal: the plan ends as cancelled, and nothing is left on either host."""
    case.need_faults()
    with Untouched(case, quiet(case)):
        call, _ = stopped_plan(case)
        call.interrupt()
        os.kill(call.process.pid, signal.SIGCONT)
        call.wait(30)
        need(call.code == 1, 'it did not end as cancelled:', call.code, call.tail())
        need('interrupted' in call.stderr and 'cancelled' in call.stderr, 'it does not say why:', call.stderr)
        need(not left_behind(case), 'left behind:', left_behind(case))
        left = run_folder_left(case.lab, 'a') + run_folder_left(case.lab, 'b')
        need(not left, 'left in the run directory:', left)


@shared
def test_killed_agent(case):
    """kill -9 of the agent: the plan fails, starts another agent and ends the rehearsal through it. If the plan is killed,
    too, the twin ends, and the next plan, or doctor, removes what only an agent could remove."""
    case.need_faults()
    guest = quiet(case)
    with Untouched(case, guest):
        call, _ = stopped_plan(case)
        os.kill(agent_pid(case, 'b'), signal.SIGKILL)
        os.kill(call.process.pid, signal.SIGCONT)
        call.wait()
        need(call.code != DONE, 'it was told that all is well:', call.tail())
        need(not left_behind(case), 'left behind:', left_behind(case))
    for clear in (lambda: plan(case), lambda: case.call('b', 'doctor', '--fix')):
        with Untouched(case, guest):
            call, _ = stopped_plan(case)
            os.kill(agent_pid(case, 'b'), signal.SIGKILL)
            kill(call)
            wait_until(lambda: not [name for name in left_behind(case) if name.startswith('g-')], 20, 'the end of the twin')
            need(left_behind(case), 'nothing was left: this test proves nothing')
            clear()
            need(not left_behind(case), 'left behind:', left_behind(case))
            plan(case)  # doctor leaves a run folder alone that is so young; the next agent knows a dead relay


@shared
def test_killed_libvirtd(case):
    """kill -9 of the destination's libvirtd and of the tool: the twin outlives both. doctor, which reports it, or the
    next plan ends it."""
    case.need_faults()
    lab, guest = case.lab, quiet(case)
    for fix in (True, False):
        with Untouched(case, guest):
            call, twin = stopped_plan(case)
            lab.kill_libvirtd('b')
            kill(call)
            wait_until(lambda: not lab.processes('b', 'vmig-snap'), 20, 'the end of the agent')
            lab.start_libvirtd('b')
            need(lab.state('b', twin) == 'paused', 'the twin is gone: this test proves nothing')
            if fix:
                found = json.loads(case.call('b', 'doctor', '--json').stdout)['findings']
                need([f['code'] for f in found if f['fixable']] == ['rehearsal'], found)
                case.call('b', 'doctor', '--fix')
            else:
                need(plan(case).code == DONE, 'the next plan is refused')
            need(not left_behind(case), 'left behind:', left_behind(case))


@shared
def test_restarted_libvirtd(case):
    """kill -9 of the destination's libvirtd, which is started again two seconds later: the plan fails and ends the twin
    by itself."""
    case.need_faults()
    lab = case.lab
    with Untouched(case, quiet(case)):
        call, twin = stopped_plan(case)
        lab.kill_libvirtd('b')
        os.kill(call.process.pid, signal.SIGCONT)
        time.sleep(2)
        lab.start_libvirtd('b')
        call.wait(60)
        need(call.code != DONE, 'it was told that all is well:', call.tail())
        need(lab.state('b', twin) is None, 'the twin runs:', lab.state('b', twin))
        need(not left_behind(case), 'left behind:', left_behind(case))


@shared
def test_two_at_once(case):
    """Two parallel rehearsals do not disturb each other, and the plan does not mention them."""
    guest = quiet(case)
    with Untouched(case, guest):
        calls = [Call(case.lab, 'a', ['plan', 'g', case.lab.uri('b'), '--json']) for _ in range(2)]
        for call in calls:
            call.wait()
            need(call.code == DONE, call.tail())
    need(not left_behind(case), 'left behind:', left_behind(case))


@contextlib.contextmanager
def without_watchdog(case, host, model):
    """A libvirtd that does not know one watchdog model, like an older one."""
    lab = case.lab
    library = os.path.realpath('/usr/lib/x86_64-linux-gnu/libvirt.so.0')
    name = f'{model}\0'.encode()
    with open(library, 'rb') as file:
        text = file.read()
    need(text.count(name) >= 1, 'libvirt does not know', model)
    (lab.dir / host / 'run/libvirt.so').write_bytes(text.replace(name, b'x' + name[1:]))
    lab.run(host, ['mount', '--bind', '/run/libvirt.so', library])
    try:
        lab.restart_libvirtd(host)
        yield
    finally:
        lab.run(host, ['umount', '-l', library], check=False)
        lab.restart_libvirtd(host)


def test_snapshot_of_a_newer_libvirt(case):
    """A snapshot has a device that the destination's libvirt does not know and that the guest no longer has: plan
    reports it with the snapshot. Without a rehearsal it is found after the switchover."""
    lab = case.lab
    guest = own(case, machine='pc-i440fx-7.2', devices="<watchdog model='ib700'/>")
    lab.virsh('a', 'destroy', 'g')
    xml = lab.virsh('a', 'dumpxml', 'g', '--inactive', '--security-info')
    define(lab, 'a', re.sub(r'<watchdog model=.ib700.[^>]*?(/>|>.*?</watchdog>)', '', xml, flags=re.S))
    lab.virsh('a', 'start', 'g')
    need("model='ib700'" not in lab.virsh('a', 'dumpxml', 'g'), 'the guest still has the watchdog')
    with without_watchdog(case, 'b', 'ib700'), Untouched(case, guest):
        refused(case, 'snapshot-definition', "'one'", 'unknown watchdog model', '<watchdog>')
    call = plan(case)
    need(call.code == DONE, 'refused by a libvirt that knows it:', call.tail())


def test_file_of_a_snapshot(case):
    """A medium that only a snapshot uses and the destination lacks: refused with its name and the snapshot's. With
    --accept-unrevertable the guest is migrated, the result lists the snapshot, and verify does not claim that it would
    start."""
    lab = case.lab
    lab.run('a', ['truncate', '-s', '1M', '/run/setup.iso'])
    cdrom = "<disk type='file' device='cdrom'>%s<target dev='sda' bus='sata'/><readonly/></disk>"
    guest = own(case, tree=TWO, devices=cdrom % "<source file='/run/setup.iso'/>")
    lab.virsh('a', 'change-media', 'g', 'sda', '--eject', '--live', '--config')
    lab.virsh('a', 'snapshot-create-as', 'g', 'without')
    refuse(case, guest, 'unrevertable', words=["'one'", '/run/setup.iso', 'vmig-b'], rehearsal=True)
    told = plan(case, '--accept-unrevertable').document
    need({s['name']: s['unrevertable'] is None for s in told['snapshots']} ==
         {'one': False, 'two': False, 'without': True}, told['snapshots'])
    need([name for name in ('one', 'two', 'without') for note in told['notes'] if f"'{name}'" in note] == ['one', 'two'],
         told['notes'])
    call = case.call('a', 'migrate', 'g', lab.uri('b'), '--json', '--accept-unrevertable')
    need(call.code == DONE, call.tail())
    need(sorted(u['snapshot'] for u in call.result['unrevertable']) == ['one', 'two'], call.result)
    verdict = case.call('a', 'verify', 'g', '--json').document
    would = {revert['snapshot']: revert['would_start'] for revert in verdict['reverts']}
    need(would == {'one': False, 'two': False, 'without': True}, verdict['reverts'])
    # In the order of libvirt's list, which is that of a hash table.
    need(sorted(r['snapshot'] for r in verdict['reverts'] if r['accepted']) == ['one', 'two'], verdict['reverts'])


@shared
def test_name_does_not_resolve(case):
    """The destination's own name does not resolve on the source, although libvirt must connect by it: with tcp plan
    reports it; --migrate-host provides another name."""
    lab, guest = case.lab, quiet(case)
    uri = f'qemu+tcp://{ADDRESSES["b"]}/system'
    hosts = lab.path('a', '/etc/hosts')
    with written(hosts, hosts.read_text().replace('vmig-b', 'somebody-else')):
        refuse(case, guest, 'unresolved', words=['vmig-b'], dest=uri, rehearsal=True)
        call = case.call('a', 'plan', 'g', uri, '--json', '--migrate-host', ADDRESSES['b'])
        need(call.code == DONE, call.tail())


@shared
def test_forwarding_is_forbidden(case):
    """An sshd that does not forward unix sockets: reported as such, not as an unresponsive libvirt."""
    guest = quiet(case)
    config = case.lab.dir / 'b/sshd/sshd_config'
    try:
        with written(config, 'AllowStreamLocalForwarding no\n' + config.read_text()):
            case.lab.restart_sshd('b')
            refuse(case, guest, 'no-forwarding', words=['sshd', 'vmig-b'], rehearsal=True)
    finally:
        case.lab.restart_sshd('b')


@shared
def test_no_socket(case):
    """libvirt's daemon there listens on no socket with a name that libvirt uses."""
    lab, guest = case.lab, quiet(case)
    folder = '/var/run/libvirt'
    lab.run('b', ['mv', f'{folder}/libvirt-sock', f'{folder}/other-sock'])
    try:
        for command in ('plan', 'migrate'):
            call = case.call('a', command, 'g', lab.uri('b'), '--json')
            codes = [r['code'] for r in (call.document if command == 'plan' else call.result)['refusals']]
            need(call.code == REFUSED and codes == ['libvirt-socket'], command, call.code, call.tail())
            need('virtqemud.socket' in call.tail(), 'no remedy:', call.tail())
    finally:
        lab.run('b', ['mv', f'{folder}/other-sock', f'{folder}/libvirt-sock'])
    need(plan(case).code == DONE and guest, 'refused with the socket in its place')


def test_not_tried_again(case):
    """The migration itself finds what the rehearsal would have reported: it tries once, reports it once, and the guest
    is as before."""
    unmake(case)
    try:
        make_bridge(case, 'a')
        guest = case.guest(tree=TWO[:1], devices="<interface type='bridge'><source bridge='br9'/></interface>")
        move = case.migration(guest, '--no-rehearsal')
        move.run()
        need(not move.call.retries(), 'it was tried again:', move.call.retries())
        told = [event for _, event in move.call.events if 'br9' in json.dumps(event)]
        need([event['event'] for event in told] == ['result'], 'told more than once:', told)
        need('br9' in (told[0]['error']['hint'] or ''), 'no remedy:', told)
        move.prove_back('setup', words=['br9'])
    finally:
        case.clean()
        unmake(case)


# QEMU of another version, as far as the stream is concerned: it does not load the state of this machine type.
OTHER_QEMU = '''#!/bin/bash
case " $* " in *' -incoming '*)
    for word; do
        shift
        set -- "$@" "${word/pc-q35-7.2/pc-q35-7.1}"
    done ;;
esac
exec -a /usr/bin/qemu-system-x86_64 /run/real-qemu -L /usr/share/qemu -L /usr/share/seabios -L /usr/lib/ipxe/qemu "$@"
'''


@contextlib.contextmanager
def other_qemu(lab):
    """The destination's QEMU refuses the state of the lab's guests; a start, and so the rehearsal, succeeds."""
    qemu = '/usr/bin/qemu-system-x86_64'
    lab.path('b', '/run/other-qemu').write_text(OTHER_QEMU)
    lab.run('b', 'chmod 755 /run/other-qemu; touch /run/real-qemu')
    lab.run('b', ['mount', '--bind', qemu, '/run/real-qemu'])
    lab.run('b', ['mount', '--bind', '/run/other-qemu', qemu])
    lab.restart_libvirtd('b')
    try:
        yield
    finally:
        lab.run('b', ['umount', qemu])
        lab.run('b', ['umount', '/run/real-qemu'])
        lab.restart_libvirtd('b')


def test_stream_that_qemu_does_not_load(case):
    """The destination's QEMU does not load the guest's state: no retry would change that, so the job goes back at once,
    and says why."""
    guest = case.guest(tree=TWO)
    with other_qemu(case.lab):
        move = case.migration(guest)
        move.run()
        need(not move.call.retries(), 'it was tried again:', move.call.retries())
        move.prove_back('setup', words=['load of migration failed', 'pc-q35-7.2'])


def test_snapshots_between_tries(case):
    """While the migration's next attempt is minutes away, the source's libvirt lists the snapshots; afterwards the job
    finishes."""
    case.need_faults()
    folder = case.lab.path('a', '/etc/vmig-snap/policy.d')
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'far.conf').write_text('[transient]\nattempts=2\nfirst-delay=600\nceiling=600\njitter=0\n')
    guest = case.guest()
    names = case.lab.virsh('a', 'snapshot-list', 'g', '--name')
    move = case.migration(guest, '--policy', 'far')
    call = move.start(fault='migrate.released@1:error:connection')
    wait_until(lambda: call.retries() or call.process.poll() is not None, 90, 'the retry')
    wait_until(lambda: case.lab.virsh('a', 'snapshot-list', 'g', '--name') == names, 20, 'the snapshots')
    case.call('a', 'resume', 'g')
    move.finish()
    move.prove_arrived()


sys.exit(main(__file__, globals()))
