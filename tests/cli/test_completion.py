# SPDX-License-Identifier: LGPL-2.1-or-later
"""bash completes what --help lists, and nothing else.

    VMIG_SNAP=build/plugin/vmig-snap python3 tests/cli/test_completion.py
"""
import pathlib
import re
import shutil
import sys
import tempfile

from clitest import Counter, binary, call, clean_environment

SNAP = binary('VMIG_SNAP')
SCRIPT = pathlib.Path(__file__).resolve().parents[2] / 'plugin/cli/vmig-snap.bash'
JOB = '0123456789abcdef'
counter = Counter()
check = counter.check
scratch = tempfile.TemporaryDirectory(prefix='vmig-completion-')


def complete(*words):
    """What bash offers for the last of these words of a command line."""
    line = ['vmig-snap', *words]
    script = 'source "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _vmig_snap; printf "%s\\n" "${COMPREPLY[@]}"'
    # A virsh and a vmig-snap that know one guest and one job.
    env = clean_environment(PATH=f'{scratch.name}:/usr/bin:/bin')
    done = call(['bash', '-c', script, str(SCRIPT), *line], env=env)
    check(not done.err, f'no message for {" ".join(words)}', done)
    return set(done.out.split())


def stand_ins():
    """Programs for the names that are completed."""
    for name, text in (('virsh', 'echo web1'), ('vmig-snap', f"echo '{{\"jobs\": [{{\"job\":\"{JOB}\"}}]}}'")):
        path = pathlib.Path(scratch.name) / name
        path.write_text(f'#!/bin/sh\n{text}\n')
        path.chmod(0o755)


def options(command):
    """{option: value or ''} of `vmig-snap COMMAND --help`."""
    text = call([SNAP, command, '--help']).out
    return {m[1]: m[2] or '' for m in re.finditer(r'^  (?:-\w, )?(--[a-z-]+)(?:=(\S+))?  ', text, re.M)}


def commands():
    """{command: its arguments} of `vmig-snap --help`."""
    block = call([SNAP, '--help']).out.split('Commands:\n', 1)[1].split('\n\n', 1)[0]
    return {line.split()[0]: re.split(r'  +', line.strip())[0].replace('|--job JOB', '').split()[1:]
            for line in block.splitlines()}


def test_commands():
    """The commands and the options without a command."""
    general = set(re.findall(r'^  (--[a-z-]+)', call([SNAP, '--help']).out, re.M))
    check(complete('') == set(commands()) | general, 'the commands', complete('') ^ (set(commands()) | general))
    check(complete('pu') == {'purge'}, 'the beginning of a command')


def test_options():
    """The options of each command, and which of them take a value."""
    for command in commands():
        helped = options(command)
        check(complete(command, '--') == set(helped), f'the options of {command}', complete(command, '--') ^ set(helped))
        for option, value in helped.items():
            after = complete(command, option, '--')
            check(bool(after) != bool(value), f'{command} {option} {"takes" if value else "takes no"} value', after)
            if '|' in value:
                check(complete(command, option, '') == complete(command, option, '=') == set(value.split('|')),
                      f'the values of {command} {option}')
                first = value.split('|')[0]
                check(complete(command, option, '=', first[:2]) == {first}, f'{command} {option}={first[:2]}')


def test_arguments():
    """Guests, jobs and destinations."""
    for command, arguments in commands().items():
        offered = complete(command, '')
        check(('web1' in offered) == any('DOMAIN' in word for word in arguments), f'a guest for {command}', offered)
        check((JOB in offered) == any(re.match(r'\[?JOB', word) for word in arguments), f'a job for {command}', offered)
    check(complete('migrate', '--json', '--merge', 'auto', 'web1', 'qemu+s') == {'qemu+ssh://'}, 'a destination')
    check(complete('set', JOB, '') == {'bandwidth='}, 'a setting')


if __name__ == '__main__':
    if shutil.which('bash') is None:
        sys.exit('there is no bash')
    stand_ins()
    sys.exit(counter.run([test_commands, test_options, test_arguments]))
