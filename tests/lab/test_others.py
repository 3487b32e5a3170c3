# SPDX-License-Identifier: LGPL-2.1-or-later
"""Other activity on the same hosts: several jobs at once, a guest with the same UUID, the guest's own user."""
import os
import re
import signal
import sys

import oracle
from cases import CALM, TWO, Disk, main, shared
from command import DONE, ROLLED_BACK, UNFINISHED, Call, need
from exits import commands, follow
from facts import files_there
from lab import IMAGES, wait_until
from stopped import OTHER, is_stopped, stopped

QUIET = CALM.replace('rate=40', 'rate=20')


# --- a guest with the same UUID -------------------------------------------------------------------

def restore(lab, guest, host, start):
    """Restore another guest on a host under this guest's UUID."""
    uuid = lab.virsh(guest.host, 'domuuid', guest.name).strip()
    path = lab.make_disk(host, f'{IMAGES}/restored.qcow2', '16M')
    lab.make_guest(host, 'restored', [path], uuid=uuid, memory_mib=96, cmdline='vmig.rate=0', start=start)


def known(lab, host):
    """What must not change of the restored guest."""
    return {'state': lab.state(host, 'restored'), 'QEMU': lab.qemu_pid(host, 'restored'),
            'definition': lab.virsh(host, 'dumpxml', 'restored', '--inactive', check=False).stdout}


def restored(start):
    """A test: during the copy another guest with the same UUID is restored on the destination."""
    @shared
    def test(case):
        lab = case.lab
        guest = case.guest_once('kept', lambda: case.guest(tree=TWO))
        move = case.migration(guest)
        try:
            with stopped(move, 'copy.sent') as call:
                restore(lab, guest, 'b', start)
                before = known(lab, 'b')
            need(call.code == ROLLED_BACK and call.error['code'] == 'interference', call.code, call.tail())
            need('is not the guest of this job' in call.error['message'], call.error)
            need(known(lab, 'b') == before, 'the restored guest was', before, 'and is', known(lab, 'b'))
        finally:
            lab.remove_guest('b', 'restored')
            lab.path('b', f'{IMAGES}/restored.qcow2').unlink(missing_ok=True)
        move.prove_back(code='interference')
    test.__doc__ = f'It is {"running" if start else "defined"}: the job goes back and leaves it alone.'
    return test


test_restored_and_running = restored(True)
test_restored_and_off = restored(False)


# --- the guest's user ------------------------------------------------------------------------------

@shared
def test_suspended_and_cancelled(case):
    """virsh suspend during the base copy, then the job is cancelled: the guest stays suspended."""
    lab = case.lab
    guest = case.guest_once('kept', lambda: case.guest(tree=TWO))
    move = case.migration(guest)
    with stopped(move, 'copy.sent') as call:
        lab.virsh('a', 'suspend', guest.name)
        os.kill(call.process.pid, signal.SIGTERM)
    need(call.code == ROLLED_BACK and call.error['code'] == 'cancelled', call.code, call.tail())
    need(lab.state('a', guest.name) == 'paused', 'its user suspended it, it is', lab.state('a', guest.name))
    lab.virsh('a', 'resume', guest.name)
    move.prove_back(code='cancelled', stall_ms=600000)


@shared
def test_block_copy_of_another_user(case):
    """virsh blockcopy just before the job's hold: the job parks and leaves the copy alone. Once its user ends it, the
    job rolls back."""
    lab = case.lab
    guest = case.guest_once('kept', lambda: case.guest(tree=TWO))
    move = case.migration(guest)
    path = f'{IMAGES}/their-copy.qcow2'
    with stopped(move, 'overlay.made') as call:
        lab.virsh('a', 'blockcopy', guest.name, 'vda', '--dest', path, '--transient-job')
    need(call.code == UNFINISHED and 'block job' in call.error['message'], call.code, call.tail())
    need(path in lab.virsh('a', 'dumpxml', guest.name), 'the copy was ended:', call.tail())
    need(f'virsh blockjob {guest.name} vda --abort' in call.error['hint'], call.error)
    lab.virsh('a', 'blockjob', guest.name, 'vda', '--abort')
    again = case.call('a', 'resume', call.result['job'], '--json')
    need(again.code == ROLLED_BACK, 'resume ended with', again.code, again.tail())
    lab.path('a', path).unlink()
    need(lab.disks('a', guest.name) == {'vda': guest.all_files()[0]}, 'not on its base:', lab.disks('a', guest.name))
    lab.wait_writes('a', guest.name, 5)


# --- a job that is set aside ----------------------------------------------------------------------

def parked_by_sneak(case, point, host):
    """(the migration, the job's ID): parked, because QEMU made a snapshot in the temporary overlay on this host."""
    guest = case.guest(tree=TWO[:1])
    # On the destination only a merge by commit has an overlay.
    move = case.migration(guest, *(['--merge', 'commit'] if host == 'b' else []))
    with stopped(move, point) as call:
        said = case.lab.virsh(host, 'qemu-monitor-command', guest.name, '--hmp', 'savevm sneaked')
        need(not said.strip(), 'QEMU did not make it:', said)
    need(call.code == UNFINISHED and call.error['code'] == 'interference', call.code, call.tail())
    return move, call.result['job']


def set_aside(case, host, job, killed_at=()):
    """Run the command that status prints on the host that owns the guest. It removes no file, and nothing holds the
    guest afterwards."""
    lab, other = case.lab, OTHER[host]
    there = {h: files_there(lab, h) for h in OTHER}
    need(not [c for c in commands(case, other, job) if c.endswith('--set-aside')],
         f'status on {other} prints a command that does not work there:', commands(case, other, job))
    for point in killed_at:  # it can be repeated
        died = case.call(host, 'resume', job, '--set-aside', env={'VMIG_SNAP_FAULT': f'{point}@1:kill'})
        need(died.code == -signal.SIGKILL, f'it was not killed at {point}:', died.code, died.tail())
    call = follow(case, host, job, '--set-aside', json=False)
    need(call.code == DONE and f'job {job} no longer holds the guest' in call.stdout, call.code, call.tail())
    need({h: files_there(lab, h) for h in OTHER} == there, 'files came or went')
    need(lab.state(host, 'g') == 'running' and lab.state(other, 'g') is None, lab.state(host, 'g'), lab.state(other, 'g'))
    disks = lab.disks(host, 'g')
    case.call(host, 'resume', job)
    need(lab.disks(host, 'g') == disks and {h: files_there(lab, h) for h in OTHER} == there, 'it was carried on')


def merged(case, host, guest):
    """What the command says that an overlay needs: its snapshot is deleted, and virsh commits it."""
    lab = case.lab
    overlay = lab.disks(host, 'g')['vda']
    need(overlay not in guest.all_files(), 'the guest is not on an overlay:', overlay)
    lab.virsh(host, 'qemu-monitor-command', 'g', '--hmp', 'delvm sneaked')
    lab.virsh(host, 'blockcommit', 'g', 'vda', '--active', '--pivot', '--wait')
    need(lab.disks(host, 'g') == {'vda': guest.all_files()[0]}, 'not on its base:', lab.disks(host, 'g'))
    for h in OTHER:
        for path in files_there(lab, h) - {guest.all_files()[0]}:
            if job_file(path):
                lab.path(h, path).unlink()


def job_file(path):
    """Whether the file has a vmig-snap name."""
    return '.vmig-' in path


def whole(case, host, guest, again=True):
    """doctor finds no problem on either host, every write is there and, with again, the guest can be migrated."""
    lab, other = case.lab, OTHER[host]
    for h in OTHER:
        call = case.call(h, 'doctor', '--json')
        left = [f for f in call.document['findings'] if f['severity'] == 'problem' and f['code'] not in ('hook', 'unit')]
        need(not left, f'doctor on {h}:', left)
    lab.wait_writes(host, 'g', 5)
    verdict = oracle.check_writes(lab, host, 'g', ['a', 'b'])
    need(verdict.ok, verdict)
    if again:
        lab.path(other, guest.all_files()[0]).unlink()  # the base copy, which was kept when the job was set aside
        move = case.migration(guest, source=host, dest=other)
        move.run()
        move.prove_guest()


def test_set_aside_on_source(case):
    """During the rollback: the guest stays on the source, on its overlay. After a commit all is as before."""
    move, job = parked_by_sneak(case, 'copy.sent', 'a')
    set_aside(case, 'a', job, killed_at=('aside.other', 'aside.released', 'aside.told'))
    merged(case, 'a', move.guest)
    whole(case, 'a', move.guest)


def test_set_aside_on_destination(case):
    """After the switchover: the guest stays on the destination."""
    move, job = parked_by_sneak(case, 'PIVOT.enter', 'b')
    set_aside(case, 'b', job)
    merged(case, 'b', move.guest)
    whole(case, 'b', move.guest, again=False)


# --- a name that a shell would execute -------------------------------------------------------------

NASTY = 'it\'s $(touch expanded) "g" `touch expanded`; touch expanded'


def follow_hint(case, text):
    """Run the command that a hint names through sh, with the snapshot's name for NAME."""
    lab = case.lab
    command = re.search(r"virsh qemu-monitor-command .* --hmp 'delvm NAME'", text)
    need(command, 'no command in', text)
    done = lab.run('a', command[0].replace('NAME', 'sneaked'), check=False)
    need(done.returncode == 0 and not done.stdout.strip(), command[0], 'said', done.stdout, done.stderr)
    need(not lab.path('a', '/expanded').exists(), 'the shell took the name for a command:', command[0])


def test_nasty_name(case):
    """The hint of a parked job, as printed by status and as in JSON, does in a shell what it says, and no more."""
    lab = case.lab
    guest = case.guest(tree=None, start=False, edit=lambda xml: xml.replace('<name>g</name>', f'<name>{NASTY}</name>'))
    lab.virsh('a', 'start', NASTY)
    call = Call(lab, 'a', ['migrate', NASTY, lab.uri('b'), '--json'], env={'VMIG_SNAP_FAULT': 'copy.sent@1:stop'})
    wait_until(lambda: is_stopped(call.process.pid) or call.process.poll() is not None, 60, 'the stop at copy.sent')
    need(call.process.poll() is None, 'it ended before:', call.tail())
    lab.virsh('a', 'qemu-monitor-command', NASTY, '--hmp', 'savevm sneaked')
    os.kill(call.process.pid, signal.SIGCONT)
    call.wait()
    need(call.code == UNFINISHED and call.error['code'] == 'interference', call.code, call.tail())
    job = call.result['job']
    follow_hint(case, case.call('a', 'status', job).stdout)
    lab.virsh('a', 'qemu-monitor-command', NASTY, '--hmp', 'savevm sneaked')
    follow_hint(case, case.call('a', 'status', job, '--json').document['jobs'][0]['waits_for'])
    end = follow(case, 'a', job)
    need(end.code == ROLLED_BACK, end.code, end.tail())
    need(lab.disks('a', NASTY) == {'vda': guest.all_files()[0]} and lab.state('a', NASTY) == 'running', 'not as before')


# --- several jobs at once -------------------------------------------------------------------------

def test_three_at_once(case):
    """Two guests from one host and one from the other, all at the same time: each arrives intact."""
    lab = case.lab
    homes = {'g1': 'a', 'g2': 'a', 'g3': 'b'}
    guests = [case.guest(name, [Disk('vda', size='96M', fill_mb=mb)], tree=TWO[:1], host=host, cmdline=QUIET,
                         memory_mib=96)
              for (name, host), mb in zip(homes.items(), (24, 4, 8))]
    before = {host: files_there(lab, host) for host in OTHER}
    moves = [case.migration(guest, source=guest.host, dest=OTHER[guest.host]) for guest in guests]
    for move in moves:
        move.start()
    for move in moves:
        move.finish(240)
    need(all(move.call.code == DONE for move in moves), [(m.guest.name, m.call.code, m.call.tail()) for m in moves])
    for move in moves:
        move.prove_guest()
    for host in OTHER:
        here = [name for name, home in homes.items() if home != host]
        left = oracle.leftovers(lab, host, before['a'] | before['b'], here)
        need(not left, f'left on {host}:', left)


if __name__ == '__main__':
    sys.exit(main(__file__, globals()))
