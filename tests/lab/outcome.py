# SPDX-License-Identifier: LGPL-2.1-or-later
"""Finishes and checks a migration whose fault permits either outcome."""
import time

from command import Call, check_events, need
from facts import gather, same_definitions
from hostns import HOSTS


def open_jobs(lab, host):
    """The unfinished jobs in a host's journal."""
    return Call(lab, host, ['status', '--json']).wait(30).document['jobs']


def resume_all(lab, timeout=120):
    """Does what the units do on each host after a crash: `vmig-snap resume --all` on both at the same time, repeated
    until no journal has an unfinished job. Returns the calls."""
    deadline = time.monotonic() + timeout
    calls = []
    while True:
        pair = [Call(lab, host, ['resume', '--all', '--json']) for host in HOSTS]
        calls += [call.wait(timeout) for call in pair]
        left = {host: [f'{job["job"]} {job["state"]}' for job in open_jobs(lab, host)] for host in HOSTS}
        if not any(left.values()):
            return calls
        need(time.monotonic() < deadline, 'open after', timeout, 's:', left, '|',
             *[call.tail() for call in calls[-2:]])


def finish(move, timeout=180):
    """Wait for the migration's exit and resume a job that it left unfinished (or that was killed). Observation
    continues until then. Returns the resume calls."""
    calls = []
    try:
        move.call.wait(timeout)
        if any(open_jobs(move.lab, host) for host in HOSTS):
            calls = resume_all(move.lab, timeout)
    finally:
        move.stop_watching()
    return calls


def _stayed(move, stall_ms):
    """[] or what the guest that stayed on the source noticed, and the leftovers on both hosts."""
    lab, name = move.lab, move.guest.name
    wrong = move._who_runs(move.source, [move.dest]) + move._left_over(move.files_before, {move.source: [name]})
    wrong += same_definitions(move.before, gather(lab, move.source, move.guest))
    if lab.qemu_pid(move.source, name) != move.before.pid:
        wrong.append('the guest runs in another QEMU than before')
    wrong += [f'vd{disk}: no write for {gap:.0f} ms at {when:.1f} s' for disk, (gap, when) in move.stall.gaps.items()
              if stall_ms and gap > stall_ms]
    return wrong


def prove_safe(move, keep=True, ends=HOSTS, stall_ms=None):
    """Prove that exactly one copy runs and that nothing is lost or left over; returns the host that has the guest.

    ends: the hosts where it may be. stall_ms: the longest time without a write for a guest that stayed.
    """
    lab, guest = move.lab, move.guest
    wrong = move._never_two()
    running = [host for host in HOSTS if lab.state(host, guest.name) == 'running']
    need(len(running) == 1 and not wrong, 'running on', running, *wrong, move.watch.changes[-6:], '| said:',
         move.call.tail())
    here = running[0]
    lab.wait_writes(here, guest.name, 5)
    if here not in ends:
        wrong.append(f'the guest ended on {here}')
    wrong += move._content(here)
    if here == move.dest:
        wrong += move._who_runs(here, [move.source]) + move._definitions_there() + move._left_after_arrival(keep)
    else:
        wrong += _stayed(move, stall_ms)
    if move.call.code == 0 and here != move.dest or move.call.code == 4 and here != move.source:
        wrong.append(f'it ended with {move.call.code}, and the guest is on {here}')
    if move.call.code in (0, 4):
        wrong += check_events(move.call, 'done' if move.call.code == 0 else 'rolled-back')
    need(not wrong, '; '.join(wrong), '| said:', move.call.tail())
    return here
