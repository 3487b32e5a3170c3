# SPDX-License-Identifier: LGPL-2.1-or-later
"""Kills libvirtd some milliseconds after it was asked to pivot a disk, and checks the outcome."""
import collections
import os
import signal
import time

from command import DONE, ROLLED_BACK, need
from facts import gather, same_definitions
from lab import wait_until
from stopped import is_stopped

# The tool's messages about what it had to repair.
FOUND = {'libvirt has forgotten': 'forgotten',
         'of \'g\' on the overlay in the persistent definition': 'old definition',
         'not on the file that libvirt reports': 'old live definition'}
MOST_MS = 40


def _stop_at_pivot(call, process):
    wait_until(lambda: is_stopped(process.pid) or process.poll() is not None, 120, 'the pivot')
    need(process.poll() is None, 'it ended before the pivot:', call.tail())


def _kill(lab, host, process, delay_ms):
    """Let the tool ask for the pivot, and kill libvirtd after this delay."""
    pids = list(lab.processes(host, 'libvirtd'))
    until = time.monotonic() + delay_ms / 1e3
    os.kill(process.pid, signal.SIGCONT)
    while time.monotonic() < until:
        pass
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    lab.kill_libvirtd(host)
    lab.start_libvirtd(host)


def judge(move, host, other, code):
    """All checks except that the guest noticed nothing: it may have been restarted."""
    lab, call = move.lab, move.call
    wrong = [] if call.code == code else [f'exit code {call.code}, not {code}']
    wrong += move._never_two()
    lab.wait_writes(host, move.guest.name, 5)
    wrong += move._who_runs(host, [other]) + move._content(host)
    if host == move.source:
        wrong += same_definitions(move.before, gather(lab, host, move.guest))
        wrong += move._left_over(move.files_before, {host: [move.guest.name]})
    else:
        wrong += move._definitions_there() + move._left_after_arrival(True)
    need(not wrong, '; '.join(str(w) for w in wrong), '| said:', call.tail())


def found(call):
    """The known traces that libvirt left, according to the tool's messages."""
    return [name for words, name in FOUND.items() if words in call.stdout]


def kill_back(case, guest, delay_ms, disk=1):
    """Kills the source's libvirtd at a pivot during a rollback; returns the traces. The guest stays."""
    move = case.migration(guest)
    call = move.start(fault=f'COPY.enter@1:error:contradiction,pivot.before@{disk}:stop')
    try:
        _stop_at_pivot(call, call.process)
        _kill(case.lab, 'a', call.process, delay_ms)
    finally:
        move.finish(240)
    judge(move, 'a', 'b', ROLLED_BACK)
    return found(call)


def kill_there(case, guest, delay_ms, disk=1):
    """Kills the destination's libvirtd at a pivot of a migration that arrives; returns the traces."""
    move = case.migration(guest)
    call = move.start(fault=f'pivot.before@{disk}:stop')
    try:
        _stop_at_pivot(call, call.process)
        _kill(case.lab, 'b', call.process, delay_ms)
    finally:
        move.finish(240)
    judge(move, 'b', 'a', DONE)
    return found(call)


def tell(counts):
    """The figures in one line."""
    return ', '.join(f'{counts[name]} {name}' for name in [*FOUND.values(), 'nothing'])


def count(counts, traces):
    """Add the traces of one kill."""
    counts.update(traces or ['nothing'])


def new_counts():
    """An empty counter."""
    return collections.Counter()
