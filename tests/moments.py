# SPDX-License-Identifier: LGPL-2.1-or-later
"""What else happens in a run of sim-disk (tests/sim), and when: by state and call, not by the number that the call has
today. That is looked up in a trace, and a run has to show that it is so."""
import re
import shutil
import subprocess

# (what happens, the state, the first call in that state that it happens at, how the job then ends; None: either way).
SCENARIOS = {
    'happy path': None,
    'cancelled while it copies': ('cancel', 'COPY', 'send', 'rolled-back'),
    'cancelled while it migrates': ('cancel', 'MIGRATE', 'migrate-poll', 'rolled-back'),
    'a process dies while it migrates': ('crash-before', 'MIGRATE', 'migrate-poll', None),
    'a process dies with half of the token given': ('crash-after', 'MIGRATE', 'token-put', 'done'),
    'guest off before the switchover': ('guest-off', 'COPY', 'send', 'rolled-back'),
    'guest off while it is committed': ('guest-off', 'COMMIT', 'block-job', 'done'),
}
LINE = re.compile(r'^ *[\d.]+ +(?:==== (?P<state>\w+)|(?P<number>\d+) (?:source|dest): (?P<call>[\w-]+)$'
                  r'|fault (?P<fault>[\w-]+) at call \d+ )')


def _trace(sim, folder, arguments):
    """The lines of a run's trace, as matches, and how it ended."""
    folder.mkdir()
    done = subprocess.run([sim, '--folder', folder, *arguments, '--trace'], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors='replace', timeout=120,
                          check=False)
    shutil.rmtree(folder)
    lines = done.stdout.strip().splitlines()
    if done.returncode != 0 or not lines:
        raise SystemExit(f'not ok - undisturbed, it ends with {done.returncode}: {lines[-3:]}')
    return [match for match in map(LINE.match, lines) if match], lines[-1]


def _first(found, is_it):
    """The first line that is_it, and the state that it is in."""
    state = None
    for match in found:
        state = match['state'] or state
        if is_it(match, state):
            return match, state
    raise SystemExit(f'not ok - it does not come to the moment of a scenario; the last state is {state}')


def arguments(sim, folder, copy, name):
    """The command line of a scenario, beside --folder. folder: one that is not there, for the runs that are needed."""
    world = ['--seed', copy]
    if SCENARIOS[name] is None:
        return world
    fault, wanted, call, end = SCENARIOS[name]
    found, _ = _trace(sim, folder, world)
    moment, _ = _first(found, lambda match, state: state == wanted and match['call'] == call)
    world += ['--fault', f'{fault}@{moment["number"]}']
    found, ended = _trace(sim, folder, world)
    _, state = _first(found, lambda match, _: match['fault'] == fault)
    if state != wanted or (end and ended != end):
        raise SystemExit(f'not ok - {name}: {" ".join(world)} happens in {state}, and it ends as {ended}')
    return world
