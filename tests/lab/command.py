# SPDX-License-Identifier: LGPL-2.1-or-later
"""Runs vmig-snap in a test: records its output and timing, and checks them against the contract."""
import json
import os
import pathlib
import re
import signal
import subprocess
import threading
import time

from lab import wait_until

ROOT = pathlib.Path(__file__).resolve().parents[2]
STATES_DEF = ROOT / 'plugin/flows/migrate/states.def'

DONE, USAGE, REFUSED, ROLLED_BACK, UNFINISHED, LOCKED = 0, 2, 3, 4, 5, 6


class Failure(AssertionError):
    """Raised by a test that found a defect."""


class Skip(Exception):
    """Raised by a test that cannot run here, with the reason."""


def need(truth, *words):
    """Fail with these words unless `truth`."""
    if not truth:
        raise Failure(' '.join(str(word) for word in words))


def transitions():
    """{state: {states that may follow}} from plugin/flows/migrate/states.def."""
    text = re.sub(r'/\*.*?\*/', '', STATES_DEF.read_text(), flags=re.S)
    table = {}
    for name, rest in re.findall(r'VMIG_STATE\((\w+),(.*?)(?=VMIG_STATE\(|\Z)', text, re.S):
        following = re.search(r'NEXT\((.*?)\)', rest, re.S)
        table[name] = set(re.findall(r'\w+', following[1])) if following else set()
    return table


class Output(threading.Thread):
    """Reads the output of a running vmig-snap with timestamps: lines = [(seconds since start, text)]."""

    def __init__(self, stream):
        super().__init__(daemon=True)
        self.stream, self.lines, self.start_time = stream, [], time.monotonic()
        self.start()

    def run(self):
        for line in self.stream:
            self.lines.append((time.monotonic() - self.start_time, line))


class Call:
    """A running or finished vmig-snap. events: [(seconds, dict)] of --json.

    program: what is run with these arguments in place of vmig-snap.
    merge: the --merge option for plan and migrate, unless their arguments contain one; None: no option.
    """

    merge = None

    def __init__(self, lab, host, argv, env=None, program=('vmig-snap',)):
        self.lab, self.argv = lab, [str(word) for word in argv]
        if program == ('vmig-snap',) and self.merge and self.argv[:1] in (['plan'], ['migrate']) and '--merge' not in self.argv:
            self.argv += ['--merge', self.merge]
        self.begin = time.monotonic()
        self.process = lab.popen(host, [*program, *self.argv], env=env)
        self._out, self._err = Output(self.process.stdout), Output(self.process.stderr)
        self.code = None
        self.seconds = None

    def wait(self, timeout=120):
        """Wait for its exit; returns self. On timeout it is killed and the test fails."""
        try:
            self.code = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            raise Failure(f'vmig-snap did not end within {timeout} s: {self.tail()}') from None
        finally:
            self.seconds = time.monotonic() - self.begin
            self._out.join(5)
            self._err.join(5)
        return self

    @property
    def stdout(self):
        """All of standard output so far."""
        return ''.join(line for _, line in self._out.lines)

    @property
    def stderr(self):
        """All of standard error so far."""
        return ''.join(line for _, line in self._err.lines)

    @property
    def events(self):
        """[(seconds, event)] so far; fails on a line that is not a JSON object."""
        found = []
        for seconds, line in list(self._out.lines):
            event = json.loads(line)
            need(isinstance(event, dict), 'a line of --json is no object:', line)
            found.append((seconds, event))
        return found

    @property
    def document(self):
        """The single document that plan, status and list print with --json."""
        return json.loads(self.stdout)

    @property
    def result(self):
        """The "result" event."""
        found = [event for _, event in self.events if event.get('event') == 'result']
        need(found, 'there was no result:', self.tail())
        return found[-1]

    @property
    def error(self):
        """The result's error ({} if none)."""
        return self.result.get('error') or {}

    def states(self):
        """[(seconds, state)] in the order they were entered."""
        return [(seconds, event['state']) for seconds, event in self.events
                if event.get('event') == 'state']

    def retries(self):
        """The retry events."""
        return [event for _, event in self.events if event.get('event') == 'retry']

    def wait_state(self, state, timeout=60):
        """Wait until it reports that it entered this state."""
        wait_until(lambda: self.process.poll() is not None or
                   any(name == state for _, name in self.states()), timeout, f'state {state}')
        need(any(name == state for _, name in self.states()),
             f'it ended before the state {state}:', self.tail())

    def interrupt(self, sig=signal.SIGINT):
        """Send the signal of ^C."""
        os.kill(self.process.pid, sig)

    def tail(self):
        """The end of its output, for a failure's message."""
        lines = [line for _, line in self._out.lines if '"progress"' not in line][-4:]
        return f'{"".join(lines)[-1500:]} {self.stderr[-1500:]}'.strip()


def check_events(call, outcome):
    """[] or the violations of the contract in the lines of a --json run, as text."""
    wrong = []
    table = transitions()
    events = call.events
    kinds = [event.get('event') for _, event in events]
    wrong += [f'an event of kind {kind!r}' for kind in
              set(kinds) - {'state', 'progress', 'retry', 'note', 'result'}]
    if kinds.count('result') != 1 or kinds[-1] != 'result':
        wrong.append(f'not exactly one result at the end: {kinds[-5:]}')
        return wrong
    job = call.result['job']
    wrong += [f'an event of job {event.get("job")}' for _, event in events
              if event.get('job') != job][:1]
    states = [state for _, state in call.states()]
    for before, after in zip(states, states[1:]):
        if after not in table.get(before, ()):
            wrong.append(f'{before} -> {after} is not in states.def')
    if call.result['outcome'] != outcome:
        wrong.append(f'the outcome is {call.result["outcome"]}, not {outcome}')
    for name in ('error', 'bytes_copied', 'downtime_ms'):
        if name not in call.result:
            wrong.append(f'the result has no {name}')
    return wrong + _check_progress([pair for pair in events if pair[1]['event'] == 'progress'])


def _check_progress(progress):
    wrong, times = [], {}
    for seconds, event in progress:
        missing = {'phase', 'disk', 'done', 'total', 'rate', 'eta_s'} - set(event)
        if missing:
            wrong.append(f'a progress event lacks {sorted(missing)}')
        elif event['done'] > event['total']:
            wrong.append(f'progress beyond the end: {event}')
        times.setdefault((event.get('phase'), event.get('disk')), []).append(seconds)
    for (phase, disk), when in times.items():
        # The last event of a phase may come at once, and the lines read here were delayed by a pipe.
        if any(b - a < 0.9 for a, b in zip(when, when[5:])):
            wrong.append(f'more than 4 progress events a second for {disk} in {phase}')
    return wrong[:5]
