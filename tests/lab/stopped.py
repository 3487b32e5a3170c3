# SPDX-License-Identifier: LGPL-2.1-or-later
"""A migration that is stopped at a fault point, so that a test can change the guest meanwhile."""
import contextlib
import os
import pathlib
import signal

from command import need
from lab import wait_until

OTHER = {'a': 'b', 'b': 'a'}


def is_stopped(pid):
    """Whether a process is in the state that SIGSTOP puts it in."""
    try:
        return pathlib.Path(f'/proc/{pid}/stat').read_text().rsplit(')', 1)[1].split()[0] == 'T'
    except OSError:
        return False


@contextlib.contextmanager
def stopped(move, point, rate=None):
    """The migration, stopped at a fault point (POINT or POINT@N); it continues and ends with the block. rate: the
    hosts' network rate in Mbit/s meanwhile, from the state DROP_METADATA on."""
    call = move.start(fault=f'{point if "@" in point else point + "@1"}:stop')
    try:
        if rate:
            call.wait_state('DROP_METADATA')
            move.lab.rate(rate)
        wait_until(lambda: is_stopped(call.process.pid) or call.process.poll() is not None, 60,
                   f'the stop at {point}')
        need(call.process.poll() is None, f'it ended before {point}:', call.tail())
        yield call
    finally:
        if rate:
            move.lab.rate(None)
        if call.process.poll() is None:
            os.kill(call.process.pid, signal.SIGCONT)
        move.finish()
