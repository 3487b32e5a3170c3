# SPDX-License-Identifier: LGPL-2.1-or-later
"""libvirtd or the agent is away for a moment: the job retries by itself, and no operator is needed to resume it.

A frozen process returns no error; a killed one is restarted by its supervisor. Either way exactly one copy of the guest
runs, and soon.
"""
import os
import signal
import sys
import time

import outcome
from cases import main, shared
from command import DONE, ROLLED_BACK, Call, need
from lab import wait_until
from test_net import SOON, agents, quick_keepalive, signal_all, thorough, wait_stopped

# Retries every second; everything that the tests take away is back long before it gives up.
POLICY = '[transient]\nattempts=40\nfirst-delay=1\ngrowth=1\njitter=0\n[overall]\ndeadline=60\n'
# Seconds for which a daemon is away.
AWAY = 5
# Seconds of an agent's silence after which its connection is replaced while the guest is not running.
HURRY = 4


def roaming(case):
    """The guest of these tests, which moves back and forth; returns a Migration to the other host."""
    quick_keepalive(case)
    for host in 'ab':
        folder = case.lab.path(host, '/etc/vmig-snap/policy.d')
        folder.mkdir(parents=True, exist_ok=True)
        (folder / 'patient.conf').write_text(POLICY)
    guest = case.guest_once('roaming', case.guest)
    other = 'b' if guest.host == 'a' else 'a'
    return case.migration(guest, '--policy', 'patient', '--source-images', 'delete', source=guest.host, dest=other)


def judge(move, call, code, ends=None, timeout=60):
    """The call finished the job by itself, with this result; everything is right."""
    call.wait(timeout)
    move.stop_watching()
    need(call.code == code, 'it ended with', call.code, call.tail())
    here = outcome.prove_safe(move, keep=False, ends=ends or [move.dest if code == DONE else move.source])
    move.guest.host = here
    return here


def libvirtd_away(lab, host, seconds=AWAY):
    """Kill libvirtd, and restart it a while later."""
    lab.kill_libvirtd(host)
    time.sleep(seconds)
    lab.start_libvirtd(host)


def asked_again(call, state):
    """There was a retry in this state because of the connection, and the job never parked."""
    retries = [event for event in call.retries() if event['state'] == state]
    need(retries and all(event['error']['code'] == 'connection' for event in retries),
         f'no retry of {state} for the connection:', call.retries(), call.tail())
    need('PARKED' not in [name for _, name in call.states()], 'it parked:', call.states())


def after_death(case, point):
    """A migration whose tool died at this point, and a resume that is stopped before UNCERTAIN looks."""
    move = roaming(case)
    move.start(fault=f'{point}@1:kill')
    move.call.process.wait(60)
    call = Call(case.lab, move.source, ['resume', 'g', '--json'], {'VMIG_SNAP_FAULT': 'UNCERTAIN.enter@1:stop'})
    wait_stopped(call)
    return move, call


@shared
def test_source_libvirtd_when_uncertain(case):
    """The source's libvirtd dies at the moment when UNCERTAIN looks, and is back five seconds later."""
    move, call = after_death(case, 'migrate.running')
    case.lab.kill_libvirtd(move.source)
    os.kill(call.process.pid, signal.SIGCONT)
    wait_until(lambda: call.retries() or call.process.poll() is not None, 20, 'a retry')
    time.sleep(AWAY)
    case.lab.start_libvirtd(move.source)
    judge(move, call, ROLLED_BACK)
    asked_again(call, 'UNCERTAIN')
    need('migration failed and' in call.retries()[0]['error']['message'], call.retries()[0])


@shared
def test_source_libvirtd_frozen_when_uncertain(case):
    """The same with a libvirtd that is frozen for as long."""
    move, call = after_death(case, 'migrate.arrived')
    pid = case.lab.libvirtd_pid(move.source)
    os.kill(pid, signal.SIGSTOP)
    try:
        os.kill(call.process.pid, signal.SIGCONT)
        time.sleep(AWAY)
    finally:
        os.kill(pid, signal.SIGCONT)
    call.wait(60)
    judge(move, call, call.code, ends='ab')
    need(call.code in (DONE, ROLLED_BACK), 'it ended with', call.code, call.tail())


@shared
def test_token_given_and_destination_away(case):
    """The token is written on the source, the tool dies, and the destination's libvirtd is away when UNCERTAIN looks:
    the job goes forward as soon as libvirtd is back."""
    move, call = after_death(case, 'token.source')
    case.lab.kill_libvirtd(move.dest)
    os.kill(call.process.pid, signal.SIGCONT)
    wait_until(lambda: call.retries() or call.process.poll() is not None, 20, 'a retry')
    case.lab.start_libvirtd(move.dest)
    began = time.monotonic()
    judge(move, call, DONE)
    asked_again(call, 'UNCERTAIN')
    gap, _ = move.watch.longest_without(began)
    print(f'# the guest ran {gap:.2f} s after libvirtd was back', flush=True)
    need(gap < SOON, 'nobody ran for', gap, 's after libvirtd was back')


@shared
def test_source_libvirtd_before_migrate(case):
    """The source's libvirtd dies before anything was changed: the job rolls back by itself, and no message says that
    the guest may be elsewhere."""
    move = roaming(case)
    call = move.start(fault='LOCK.enter@1:stop')
    wait_stopped(call)
    case.lab.kill_libvirtd(move.source)
    os.kill(call.process.pid, signal.SIGCONT)
    wait_until(lambda: any(event['state'] == 'UNCERTAIN' for event in call.retries()) or
               call.process.poll() is not None, 20, 'a retry of UNCERTAIN')
    status = case.call(move.source, 'status', '--json').document['jobs'][0]
    case.lab.start_libvirtd(move.source)
    judge(move, call, ROLLED_BACK)
    asked_again(call, 'UNCERTAIN')
    need(not status['migration_begun'] and 'had not begun' in status['last_error']['message'], 'status said:', status)


@shared
def test_agent_when_uncertain(case):
    """The agent dies at the moment when UNCERTAIN looks, with the token half given."""
    move, call = after_death(case, 'token.source')
    signal_all(agents(case.lab, move.dest), signal.SIGKILL)
    os.kill(call.process.pid, signal.SIGCONT)
    judge(move, call, DONE)


@shared
def test_interrupted_while_it_waits(case):
    """^C ends the waiting without contacting the hosts. The job parks, and a resume completes it."""
    move, call = after_death(case, 'token.source')
    case.lab.kill_libvirtd(move.dest)
    os.kill(call.process.pid, signal.SIGCONT)
    wait_until(lambda: call.retries() or call.process.poll() is not None, 20, 'a retry')
    call.interrupt()
    call.wait(10)
    case.lab.start_libvirtd(move.dest)
    need(call.code == 5 and call.error['code'] == 'connection', 'it ended with', call.code, call.tail())
    again = Call(case.lab, move.source, ['resume', 'g', '--json'])
    judge(move, again, DONE)


# --- the agent -----------------------------------------------------------------------------------

@shared
def test_agent_frozen_at_token(case):
    """The agent freezes when the token is to be written there, while the guest runs on no host. The same process
    replaces the agent after seconds, although the old one still holds the lock."""
    move = roaming(case)
    call = move.start(fault='token.source@1:stop')
    wait_stopped(call)
    frozen = agents(case.lab, move.dest)
    signal_all(frozen, signal.SIGSTOP)
    began = time.monotonic()
    os.kill(call.process.pid, signal.SIGCONT)
    judge(move, call, DONE)
    gap, _ = move.watch.longest_without(began)
    print(f'# nobody ran for {gap:.2f} s', flush=True)
    need(gap < HURRY + SOON, 'nobody ran for', gap, 's')
    left = [pid for pid in frozen if pid in agents(case.lab, move.dest)]
    need(not left, 'the frozen agent is still there:', left)


@shared
def test_agent_frozen_and_tool_dead(case):
    """The same, and the tool is killed, too: the next one on that host replaces what the dead one left there."""
    move = roaming(case)
    call = move.start(fault='token.source@1:stop')
    wait_stopped(call)
    signal_all(agents(case.lab, move.dest), signal.SIGSTOP)
    os.kill(call.process.pid, signal.SIGKILL)
    call.process.wait(10)
    began = time.monotonic()
    again = Call(case.lab, move.source, ['resume', 'g', '--json'])
    judge(move, again, DONE)
    gap, _ = move.watch.longest_without(began)
    need(gap < HURRY + SOON, 'nobody ran for', gap, 's')


@shared
@thorough
def test_silence_then_the_same_tool(case):
    """Half a minute of silence in COPY: when the network is back, the agent does not know yet that its connection is
    dead. The tool continues with a new agent, and does not mistake its own old one for another operation."""
    move = roaming(case)
    call = move.start(args=['--bandwidth', '10M'])
    call.wait_state('COPY')
    case.lab.silence(True, move.dest)
    try:
        wait_until(lambda: call.retries() or call.process.poll() is not None, 45, 'a retry')
        need(agents(case.lab, move.dest), 'the old agent has ended already')
    finally:
        case.lab.silence(False, move.dest)
    judge(move, call, DONE, timeout=240)


if __name__ == '__main__':
    sys.exit(main(__file__, globals()))
