#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The decision tables and the messages between hosts are typed: the wrong type does not compile.

Each plant puts the value of one column into another, or one message in the place of another, in a copy of the file.
The compiler, which treats warnings as errors in every build, must reject it. The unchanged file must compile.

    tests/style/columns.py SOURCE_ROOT [COMPILER...]
"""
import pathlib
import subprocess
import sys

from tap import Tap

# file: [(what is there, what is planted)]
PLANTS = {
    'plugin/core/uncertain.c': [
        ('.source = IS(MIGRATING), .token = NOT_GIVEN', '.source = NOT_GIVEN, .token = IS(MIGRATING)'),
        ('.dest = IS(ABSENT), .token = GIVEN', '.dest = GIVEN, .token = IS(ABSENT)'),
        ('.proof = PROVEN, .decision = VMIG_DECIDE_FORWARD', '.proof = VMIG_DECIDE_FORWARD, .decision = PROVEN'),
        ('{.source = IS(RUNNING), .dest', '{IS(RUNNING), VMIG_DECIDE_ALARM, .dest'),
    ],
    'plugin/flows/migrate/facts.c': [
        ('.owner = DEST_OWNS', '.owner = REQUIRED'),
        ('.begun = REQUIRED', '.begun = DEST_OWNS'),
        ('.overlays = OVERLAYS(USE(IN_USE))', '.overlays = MERGE(USE(IN_USE))'),
        ('.copies = COPIES(COPY(PLACED))', '.copies = OVERLAYS(COPY(PLACED))'),
    ],
    'hooks/hook-decide.c': [
        ('.here = THE_SOURCE, .owner = THE_DESTINATION', '.here = YES, .owner = THE_DESTINATION'),
        ('.handed = YES', '.handed = THE_SOURCE'),
        ('.chain = CHAINS(BASES)', '.chain = STAGES(BASES)'),
        ('.stage = STAGES(ARRIVED)', '.stage = CHAINS(ARRIVED)'),
        ('.busy = NO', '.busy = VMIG_HOOK_ALLOW'),
        ('.verdict = VMIG_HOOK_VETO_TWIN', '.verdict = VMIG_PHASE_AFTER'),
    ],
    # A call with another method's arguments or reply. The planted structures have the members that are used.
    'plugin/port/node.c': [
        ('vmig_call_unlock(node, &(VmigGuestArgs){', 'vmig_call_unlock(node, &(VmigLockArgs){'),
        ('g_auto(VmigLeftoversReply) reply', 'g_auto(VmigTextsReply) paths'),
        ('g_auto(VmigTextsReply) reply', 'g_auto(VmigUsersReply) reply'),
    ],
    # A handler that takes them.
    'plugin/node/node-orphan.c': [
        ('const VmigGuestArgs *args, VmigOrphanFacts *reply', 'const VmigLockArgs *args, VmigOrphanFacts *reply'),
        ('VmigOrphanFacts *reply', 'VmigOrphan *reply'),
    ],
}


def compiles(root, compiler, file, text):
    """Whether the compiler takes this text in the place of the file."""
    flags = subprocess.run(['pkg-config', '--cflags', 'glib-2.0', 'json-glib-1.0'], capture_output=True, text=True,
                           check=True).stdout.split()
    return subprocess.run([*compiler, '-x', 'c', '-std=gnu11', '-fsyntax-only', '-Wall', '-Wextra', '-Werror',
                           f'-I{root}', f'-I{root}/plugin', *flags, '-'], input=text, text=True, check=False,
                          capture_output=True, cwd=(root / file).parent).returncode == 0


def main():
    """One check for each file."""
    root = pathlib.Path(sys.argv[1]).resolve()
    compiler = sys.argv[2:] or ['cc']
    tap = Tap()
    for file, plants in PLANTS.items():
        text = (root / file).read_text()
        wrong = [] if compiles(root, compiler, file, text) else ['it does not compile as it is']
        for there, planted in plants:
            if there not in text:
                wrong.append(f'"{there}" is not there: the plant must follow the table')
            elif compiles(root, compiler, file, text.replace(there, planted, 1)):
                wrong.append(f'"{planted}" compiles')
        tap.check(wrong, f'the wrong type in {file} does not compile')
    return tap.end()


if __name__ == '__main__':
    sys.exit(main())
