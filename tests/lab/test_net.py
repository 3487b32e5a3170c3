# SPDX-License-Identifier: LGPL-2.1-or-later
"""Failures of the network and of the two libvirtds during a migration: exactly one copy of the guest runs, always.

The calls of libvirt's own migration between the hosts are cut one by one, in both directions, by closing and by
silence, alone and together with the death of the guard or of the tool.
"""
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import outcome
from cases import main, shared
from command import DONE, REFUSED, ROLLED_BACK, Call, Failure, need
from lab import wait_until
from rpc_proxy import FINISH, PREPARE, Cut, RpcProxy
from test_rollback import quick_policy

# Seconds after which libvirtd gives up a silent peer in these tests: one keepalive per second, four of them unanswered.
# libvirt's defaults are 5 s and five.
KEEPALIVE = 'keepalive_interval = 1\nkeepalive_count = 4\n'
SILENT_FOR = 6
# RELIABILITY: exactly one copy runs this soon after a crash, if both hosts are reachable.
SOON = 5

# Seconds without progress after which a copy is stalled in these tests; twice that for a migration or a commit.
STALL = 4

PROCEDURES = {'prepare': PREPARE, 'finish': FINISH}
WHERE = ('call', 'reply', 'delivered')
HOW = ('close', 'hole')
DEATHS = ('', 'guard', 'tool')
# The cases that run every time; the others run with --all.
OFTEN = {'finish-call-close', 'finish-reply-close', 'finish-reply-hole', 'finish-delivered-close',
         'prepare-reply-close',
         'finish-reply-close-guard', 'finish-delivered-close-guard',
         'finish-call-close-tool', 'finish-reply-close-tool', 'finish-delivered-close-tool'}


def quick_keepalive(case):
    """Make both libvirtds give up a silent peer after about five seconds."""
    for host in 'ab':
        for name in ('qemu.conf', 'libvirtd.conf'):
            conf = case.lab.path(host, f'/etc/libvirt/{name}')
            text = conf.read_text()
            if KEEPALIVE in text:
                continue
            conf.write_text(text + KEEPALIVE)
            if name == 'libvirtd.conf':
                case.lab.restart_libvirtd(host)


def roaming(case, *args):
    """The guest of these tests, which moves back and forth; returns a Migration to the other host."""
    quick_policy(case)
    quick_keepalive(case)
    quick_stall(case)
    guest = case.guest_once('roaming', case.guest)
    other = 'b' if guest.host == 'a' else 'a'
    return case.migration(guest, '--policy', 'test', '--source-images', 'delete', *args, source=guest.host, dest=other)


def quick_stall(case):
    """Make vmig-snap treat a copy as stalled after STALL seconds instead of thirty."""
    for host in 'ab':
        conf = case.lab.path(host, '/etc/vmig-snap/vmig-snap.conf')
        if not conf.exists():
            conf.write_text(f'[vmig-snap]\nstall-limit = {STALL}\n')


def guards(lab, host):
    """The PIDs of the guards."""
    return [pid for pid, argv in lab.processes(host, 'vmig-snap').items() if '--guard' in argv]


def kill_guards(lab, host):
    """Returns the number of guards."""
    pids = guards(lab, host)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    return len(pids)


def end_of(move, timeout=180):
    """Wait for the end, prove it, print how long no copy ran after the fault."""
    outcome.finish(move, timeout)
    here = outcome.prove_safe(move, keep=False)
    move.guest.host = here
    return here


def cut_at(procedure, where, how, death):
    """A test: one message of libvirt's migration is cut, and a process dies at that moment."""
    @shared
    def test(case):
        move = roaming(case)
        died = []

        def also():
            if death == 'guard':
                died.append(kill_guards(case.lab, move.source))
            if death == 'tool':
                os.kill(move.call.process.pid, signal.SIGKILL)

        with RpcProxy(case.lab, move.dest) as proxy:
            cut = proxy.arm(Cut(PROCEDURES[procedure], where, how, also))
            call = move.start()
            need(cut.fired.wait(60), 'that message never came:', proxy.seen, call.tail())
            if death == 'tool':
                call.process.wait(10)
            here = end_of(move)
        need(death != 'guard' or died == [1], 'guards killed:', died)
        gap, states = move.watch.longest_without(cut.at)
        bound = SOON + (SILENT_FOR if how == 'hole' else 0)
        print(f'# ended on the {"destination" if here == move.dest else "source"} with {call.code}, '
              f'nobody ran for {gap:.2f} s {states or ""}', flush=True)
        need(gap < bound, 'nobody ran for', gap, 's:', move.watch.changes)
    test.__doc__ = f'{procedure}: {where}, {how}{", and the " + death + " dies" if death else ""}.'
    test.thorough = '-'.join(filter(None, (procedure, where, how, death))) not in OFTEN
    return test


globals().update({
    f'test_cut_{"-".join(filter(None, (procedure, where, how, death)))}': cut_at(procedure, where, how, death)
    for procedure in PROCEDURES for where in WHERE for how in HOW for death in DEATHS})


def thorough(function):
    """Mark a test that runs only with --all, or by name."""
    function.thorough = True
    return function


@shared
def test_guard_killed_later(case):
    """The reply of Finish gets lost in silence, and the guest is resumed on the destination. The guard dies before the
    source's libvirt has given up and resumes its QEMU."""
    move = roaming(case)
    with RpcProxy(case.lab, move.dest) as proxy:
        cut = proxy.arm(Cut(FINISH, 'reply', 'hole'))
        call = move.start(fault=f'activate.resumed:delay:{1000 * (SILENT_FOR + 4)}')
        need(cut.fired.wait(60), 'Finish never came:', proxy.seen, call.tail())
        wait_until(lambda: case.lab.state(move.dest, 'g') == 'running', 20, 'the guest on the destination')
        need(kill_guards(case.lab, move.source) == 1, 'there was no guard')
        end_of(move)
    need(move.guest.host == move.dest, 'the guest went back to a source that had given it away')


@shared
@thorough
def test_libvirt_gives_up(case):
    """How long libvirt itself takes to notice a silent peer with its default keepalive, which cannot be shortened for a
    call of Finish that is in progress. Prints the figure."""
    move = roaming(case)
    for host in 'ab':
        for name in ('qemu.conf', 'libvirtd.conf'):
            conf = case.lab.path(host, f'/etc/libvirt/{name}')
            conf.write_text(conf.read_text().replace(KEEPALIVE, ''))
        case.lab.restart_libvirtd(host)
    with RpcProxy(case.lab, move.dest) as proxy:
        cut = proxy.arm(Cut(FINISH, 'call', 'hole'))
        move.start()
        need(cut.fired.wait(60), 'Finish never came:', proxy.seen)
        end_of(move)
    gap, _ = move.watch.longest_without(cut.at)
    print(f"# with libvirt's own keepalive nobody ran for {gap:.1f} s", flush=True)
    need(gap < 30 + SOON, 'nobody ran for', gap, 's')


# --- the network and frozen peers ----------------------------------------------------------------

def begin_in(move, state):
    """Start the migration, and return when it is in the middle of this state."""
    lab = move.lab
    if state == 'COMMIT':
        call = move.start(fault='COMMIT.enter:delay:1000')
        call.wait_state('COMMIT')
    elif state == 'MIGRATE':
        call = move.start()
        call.wait_state('DROP_METADATA')
        lab.rate(40)
        wait_until(lambda: call.process.poll() is not None or lab.qemu_pid(move.dest, 'g'), 30, 'QEMU there')
        time.sleep(1)
    else:
        call = move.start(args=['--bandwidth', '20M'])
        call.wait_state('COPY')
        time.sleep(1)
    need(call.process.poll() is None, f'it ended in {state}:', call.tail())
    return time.monotonic()


def ssh_of(lab, host, listener=False):
    """The PIDs of the ssh connection's end on this host: ssh on the connecting host, sshd on the other one."""
    return [pid for pid, argv in lab.processes(host, 'ssh', 'sshd').items()
            if listener or '[listener]' not in argv[0]]


def agents(lab, host):
    """The PIDs of the agent on this host."""
    return [pid for pid, argv in lab.processes(host, 'vmig-snap').items() if argv[1:] == ['agent']]


def signal_all(pids, sig):
    """Signal processes; there must be at least one."""
    need(pids, 'there is no such process')
    for pid in pids:
        os.kill(pid, sig)


def after_fault(move, began, state, bound):
    """Wait for the end and prove it. After the switchover the guest must be on the destination. It must never be
    without running CPUs for longer than a switchover and `bound`."""
    here = end_of(move, timeout=240)
    need(state != 'COMMIT' or here == move.dest, 'after the switchover the guest ended on', here)
    gap, _ = move.watch.longest_without(began)
    print(f'# ended on the {"destination" if here == move.dest else "source"} with {move.call.code} after '
          f'{time.monotonic() - began:.0f} s, {len(move.call.retries())} retries, nobody ran for {gap:.2f} s', flush=True)
    need(gap < bound, 'nobody ran for', gap, 's:', move.watch.changes)


def lost_in(state, how, seconds):
    """A test: the network fails in a state for this many seconds (0: the ssh connection is killed)."""
    @shared
    def test(case):
        lab = case.lab
        move = roaming(case)
        try:
            began = begin_in(move, state)
            if how == 'ssh':
                signal_all([pid for pid, argv in lab.processes(move.source, 'ssh').items()], signal.SIGKILL)
            else:
                change = lab.link if how == 'down' else lambda up: lab.silence(not up, move.dest)
                change(False)
                try:
                    wait_until(lambda: time.monotonic() - began > seconds or move.call.process.poll() is not None,
                               seconds + 60, 'the end of the cut')
                finally:
                    change(True)
            lab.rate(None)
            after_fault(move, began, state, SOON + SILENT_FOR)
        finally:
            lab.rate(None)
    test.__doc__ = f'{state}: {how} for {seconds} s.'
    test.thorough = how != 'ssh' or state == 'COPY'
    return test


globals().update({f'test_lost_{state.lower()}_{how}_{seconds}': lost_in(state, how, seconds)
                  for state in ('COPY', 'MIGRATE', 'COMMIT')
                  for how, seconds in (('ssh', 0), ('silent', 3), ('silent', 30), ('down', 3), ('down', 30))})


# What can freeze in each state: (process, seconds within which it is noticed on a machine that does nothing else).
FROZEN = {
    'COPY': {'receiver': 2 * STALL, 'sshd': 25, 'agent': 60},
    'MIGRATE': {'qemu': 2 * STALL + 20, 'libvirtd': 55, 'sshd': 25, 'agent': 60},
    'COMMIT': {'libvirtd': 55, 'sshd': 25, 'agent': 60},
}


def frozen_processes(move, who):
    """The processes on the destination to freeze."""
    lab, host = move.lab, move.dest
    return {'receiver': lambda: list(lab.processes(host, 'qemu-nbd')), 'sshd': lambda: ssh_of(lab, host),
            'agent': lambda: agents(lab, host), 'qemu': lambda: [lab.qemu_pid(host, 'g')],
            'libvirtd': lambda: [lab.libvirtd_pid(host)]}[who]()


def frozen_in(state, who, noticed):
    """A test: a process of the destination freezes silently."""
    @shared
    def test(case):
        lab = case.lab
        move = roaming(case)
        frozen = []
        try:
            began = begin_in(move, state)
            frozen = frozen_processes(move, who)
            signal_all(frozen, signal.SIGSTOP)
            lab.rate(None)
            call = move.call
            before = [name for _, name in call.states()]
            # A retry, a rollback, or an end: the fault was noticed.
            wait_until(lambda: call.retries() or call.process.poll() is not None or
                       any(name in ('ROLLBACK', 'UNCERTAIN', 'PARKED') for _, name in call.states()[len(before):]),
                       noticed + 30, f'{who} frozen in {state}: a sign that it was noticed')
            seen = time.monotonic() - began
            for pid in frozen:
                try:
                    os.kill(pid, signal.SIGCONT)
                except ProcessLookupError:
                    pass
            frozen = []
            print(f'# noticed after {seen:.1f} s', flush=True)
            after_fault(move, began, state, SOON + noticed)
        finally:
            lab.rate(None)
            for pid in frozen:
                os.kill(pid, signal.SIGCONT)
    test.__doc__ = f'{state}: {who} on the destination stands still.'
    test.thorough = (state, who) not in (('COPY', 'receiver'), ('MIGRATE', 'qemu'))
    return test


globals().update({f'test_frozen_{state.lower()}_{who}': frozen_in(state, who, noticed)
                  for state, all_of in FROZEN.items() for who, noticed in all_of.items()})


def slow_in(state):
    """A test: the network becomes very slow, which must not count as dead."""
    @shared
    def test(case):
        move = roaming(case)
        try:
            began = begin_in(move, state)
            case.lab.rate(2)
            time.sleep(4 * STALL)
            stalled = [event for event in move.call.retries() if event['error']['code'] == 'stalled']
            need(not stalled and move.call.process.poll() is None, 'what crawled was called dead:', move.call.tail())
            case.lab.rate(None)
            after_fault(move, began, state, SOON)
        finally:
            case.lab.rate(None)
    test.__doc__ = f'{state}: 2 Mbit/s for {4 * STALL} s.'
    test.thorough = True
    return test


globals().update({f'test_slow_{state.lower()}': slow_in(state) for state in ('COPY', 'MIGRATE')})


@shared
def test_silence_at_finish(case):
    """The network falls silent while the call of Finish is in progress. The token has not moved, so the source
    continues by itself; the destination, which is unreachable, never runs its copy."""
    lab = case.lab
    move = roaming(case)
    with RpcProxy(lab, move.dest) as proxy:
        cut = proxy.arm(Cut(FINISH, 'call', 'hole', lambda: lab.silence(True, move.dest)))
        try:
            move.start()
            need(cut.fired.wait(60), 'Finish never came:', proxy.seen)
            wait_until(lambda: lab.state(move.source, 'g') == 'running', SILENT_FOR + SOON, 'the guest on the source')
        finally:
            lab.silence(False, move.dest)
        after_fault(move, cut.at, 'MIGRATE', SILENT_FOR + SOON)


@shared
def test_silence_at_token(case):
    """The token is written on the source, and the network fails before the destination has it: no copy runs, and no
    host guesses. Once the network is back the job goes forward at once."""
    lab = case.lab
    move = roaming(case)
    call = move.start(fault='token.source@1:stop')
    wait_stopped(call)
    lab.silence(True, move.dest)
    try:
        os.kill(call.process.pid, signal.SIGCONT)
        try:
            call.process.wait(90)
        except subprocess.TimeoutExpired:
            raise Failure(f'it did not say within 90 s that the other host is away: {call.tail()}') from None
        need(call.process.returncode == 5, 'it ended with', call.process.returncode, call.tail())
        need('running' not in (lab.state('a', 'g'), lab.state('b', 'g')), 'somebody runs without knowing who has the token')
    finally:
        lab.silence(False, move.dest)
    began = time.monotonic()
    outcome.resume_all(lab)
    # The connection was given up during the silence. The sshd at its other end notices when TCP retransmits the close,
    # which happens less and less often.
    wait_until(lambda: not any('@notty' in ' '.join(argv) for argv in lab.processes(move.dest).values()), 130,
               'the end of the old connection')
    here = end_of(move)
    gap, _ = move.watch.longest_without(began)
    print(f'# the guest ran {gap:.2f} s after the network was back', flush=True)
    need(here == move.dest, 'the token was given, and the guest ended on the source')
    # The old agent there holds the lock until it notices that its connection is dead.
    need(gap < 60, 'nobody ran for', gap, 's after the network was back')


# --- cancel from another shell in every state ----------------------------------------------------

# In the order in which a migration reaches them: from `token.source` on it only goes forward.
BACK_FROM = ['LOCK.enter', 'LOCK.leave', 'OVERLAY.enter', 'overlay.made', 'overlay.held', 'OVERLAY.leave', 'COPY.enter',
             'copy.receiving', 'copy.sent', 'copy.placed', 'COPY.leave', 'PREPARE.enter', 'prepare.overlays',
             'PREPARE.leave', 'DROP_METADATA.enter', 'drop_metadata.one', 'DROP_METADATA.leave', 'MIGRATE.enter']
# The signal arrives while libvirt begins: a small guest may be about to arrive by then.
EITHER_FROM = ['migrate.released']
FORWARD_FROM = ['token.source', 'token.dest', 'MIGRATE.leave', 'ACTIVATE.enter', 'activate.resumed', 'ACTIVATE.leave',
                'COMMIT.enter', 'commit.started', 'COMMIT.leave', 'PIVOT.enter', 'pivot.suspended', 'pivot.pivoted',
                'PIVOT.leave', 'REDEFINE.enter', 'redefine.one', 'REDEFINE.leave', 'CLEANUP.enter', 'cleanup.undefined',
                'CLEANUP.leave']
CANCEL_OFTEN = {'LOCK.leave', 'overlay.held', 'copy.sent', 'drop_metadata.one', 'migrate.released', 'token.dest',
                'CLEANUP.enter'}


def stat_of(pid):
    """A process's state letter and its pending signals."""
    text = pathlib.Path(f'/proc/{pid}/status').read_text()
    return re.search(r'^State:\s+(\w)', text, re.M)[1], int(re.search(r'^ShdPnd:\s+(\w+)', text, re.M)[1], 16)


def wait_stopped(call):
    """Wait until a fault point stopped it."""
    wait_until(lambda: call.process.poll() is not None or stat_of(call.process.pid)[0] == 'T', 60, 'the fault point')
    need(call.process.poll() is None, 'it ended:', call.tail())


def cancelled_at(point):
    """A test: `vmig-snap cancel` while another vmig-snap is at this point."""
    @shared
    def test(case):
        move = roaming(case)
        call = move.start(fault=f'{point}@1:stop')
        wait_stopped(call)
        cancel = Call(case.lab, move.source, ['cancel', 'g', '--json'])
        pid = call.process.pid
        try:
            wait_until(lambda: cancel.process.poll() is not None or stat_of(pid)[1] & 1 << signal.SIGTERM - 1, 20,
                       'cancel asks the other process, or refuses')
        finally:
            os.kill(pid, signal.SIGCONT)
        cancel.wait(120)
        end_of(move)
        if point in BACK_FROM or (point in EITHER_FROM and call.code != DONE):
            need(call.code == ROLLED_BACK and call.error['code'] == 'cancelled', 'the migration ended with', call.code,
                 call.tail())
            need(cancel.code == DONE, 'cancel ended with', cancel.code, cancel.tail())
            need(cancel.result['outcome'] == 'rolled-back', cancel.result)
            return
        need(call.code == DONE, 'the migration ended with', call.code, call.tail())
        need(cancel.code == REFUSED, 'cancel ended with', cancel.code, cancel.tail())
        need('forward' in cancel.error.get('message', '') or 'too late' in cancel.stderr, 'it does not say why:',
             cancel.tail())
    test.__doc__ = f'cancel at {point}.'
    test.thorough = point not in CANCEL_OFTEN
    return test


globals().update({f'test_cancel_at_{point}': cancelled_at(point) for point in BACK_FROM + EITHER_FROM + FORWARD_FROM})


@shared
def test_cancel_of_the_dead(case):
    """cancel of a job whose process was killed: it takes the job over and rolls it back."""
    move = roaming(case)
    move.start(fault='COPY.leave:kill')
    move.call.process.wait(60)
    cancel = case.call(move.source, 'cancel', 'g', '--json', timeout=120)
    need(cancel.code == DONE, 'cancel ended with', cancel.code, cancel.tail())
    need(end_of(move) == move.source, 'it went to the destination')
    again = case.call(move.source, 'cancel', cancel.result['job'], '--json')
    need(again.code == DONE, 'cancel of what was cancelled ended with', again.code, again.tail())


if __name__ == '__main__':
    sys.exit(main(__file__, globals()))
