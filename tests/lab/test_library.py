# SPDX-License-Identifier: LGPL-2.1-or-later
"""A C program and a Python program that use an installed copy of the library: plan, cancel and migrate.

The programs are tests/library/move.c and move.py.
"""
import json
import pathlib
import sys

from cases import main, shared
from command import DONE, ROLLED_BACK, ROOT, Call, Skip, need
from lab import IMAGES, wait_until

sys.path.insert(0, str(ROOT / 'tests/library'))
from installed import Installed, python

PROGRAM = ROOT / 'tests/library'


def copy(case):
    """The installed copy; each lab has one."""
    folder = case.lab.dir / 'installed'
    if not folder.exists():
        case.installed = Installed(pathlib.Path(case.binary).parents[1], folder)
        case.installed.compile(PROGRAM / 'move.c', folder / 'move')
    return case.installed


def start(case, language, host, *words, env=None):
    """Start the program with the PATH of the host, which has vmig-snap."""
    installed = copy(case)
    if language == 'python' and not installed.typelib():
        raise Skip('built without introspection')
    if language == 'python' and not python():
        raise Skip('there is no python3-gi')
    env = {**installed.environment(), **(env or {})}
    del env['PATH']
    program = [installed.folder / 'move'] if language == 'c' else [python(), PROGRAM / 'move.py']
    return Call(case.lab, host, words, env, program=program)


def unmoved(case):
    """The guest of the tests that leave it on its host."""
    return case.guest_once('unmoved', case.guest)


def plan(language):
    """A test: the program makes a plan."""
    @shared
    def test(case):
        guest = unmoved(case)
        call = start(case, language, 'a', 'plan', guest.name, case.lab.uri('b')).wait()
        need(call.code == 0, call.code, call.tail())
        document = json.loads(call.stdout.splitlines()[-1])
        need(document['can_migrate'] and document['domain'] == guest.name, document)
        need([disk['chain'][0]['path'] for disk in document['disks']] == [f'{IMAGES}/{guest.name}-vda.qcow2'], document)
        call = start(case, language, 'a', 'plan', 'no-such-guest', case.lab.uri('b')).wait()
        need(call.code == 0 and '"no-domain"' in call.stdout, 'a guest that is not there:', call.code, call.tail())
    test.__doc__ = f'The {language} program makes a plan, and one of a guest that does not exist.'
    return test


def twins(case):
    """The domains that rehearsals started on the destination."""
    return [name for name in case.lab.virsh('b', 'list', '--all', '--name').split() if 'rehearsal' in name]


def cancelled_plan(language):
    """A test: the cancellable ends a plan, and its rehearsal ends the twin."""
    @shared
    def test(case):
        case.need_faults()
        guest = unmoved(case)
        call = start(case, language, 'a', 'plan', guest.name, case.lab.uri('b'),
                     env={'VMIG_SNAP_FAULT': 'rehearsal.started:delay:4000'})
        wait_until(lambda: twins(case) or call.process.poll() is not None, 60, 'the twin')
        need(call.process.poll() is None, 'it ended:', call.code, call.tail())
        call.interrupt()
        call.wait()
        need(call.code == 1 and '[cancelled]' in call.stderr and not call.stdout, call.code, call.tail())
        need(not twins(case), 'left behind:', twins(case))
    test.__doc__ = f'The {language} program cancels a plan whose rehearsal runs.'
    return test


def migration(case, guest, language):
    """A Migration that the program makes."""
    move = case.migration(guest)
    move.start_call = lambda lab, host, argv, env: start(case, language, host, *[w for w in argv if w != '--json'], env=env)
    return move


def cancelled(language):
    """A test: the cancellable rolls the migration back."""
    @shared
    def test(case):
        move = migration(case, unmoved(case), language)
        call = move.start(fault='copy.sent:delay:3000')
        call.wait_state('COPY')
        call.interrupt()
        move.finish()
        need(call.code == DONE and call.error['code'] == 'cancelled', call.code, call.tail())
        call.code = ROLLED_BACK  # the program reports it only in the document
        move.prove_back()
    test.__doc__ = f'The {language} program cancels its migration.'
    return test


def migrate(language):
    """A test: the program migrates the guest, with the checks of any other migration."""
    def test(case):
        move = migration(case, case.guest(), language)
        call = move.run()
        need(call.code == DONE, call.code, call.tail())
        move.prove_arrived()
        need(len(call.states()) > 5 and [e for _, e in call.events if e['event'] == 'progress'], 'events:', call.states())
    test.__doc__ = f'The {language} program migrates a guest and receives the events.'
    return test


test_plan_c, test_plan_python = plan('c'), plan('python')
test_cancelled_plan_c, test_cancelled_plan_python = cancelled_plan('c'), cancelled_plan('python')
test_cancelled_c, test_cancelled_python = cancelled('c'), cancelled('python')
test_migrate_c, test_migrate_python = migrate('c'), migrate('python')


if __name__ == '__main__':
    sys.exit(main(__file__, globals()))
