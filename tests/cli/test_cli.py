# SPDX-License-Identifier: LGPL-2.1-or-later
"""Bad input that needs no libvirt, against the real program.

    VMIG_SNAP=build/plugin/vmig-snap python3 tests/cli/test_cli.py

Each case proves the exit code, a one-line reason that names the input, that nothing is on standard output, that nothing
unprintable is echoed, and that it does not take long.
"""
import json
import os
import shutil
import subprocess
import sys
import tempfile

from clitest import Counter, binary, call, clean_environment

SNAP = binary('VMIG_SNAP')
DEST = 'qemu+ssh://elsewhere.invalid/system'
COMMANDS = ('plan', 'migrate', 'status', 'list', 'resume', 'cancel', 'set', 'verify', 'doctor', 'purge', 'agent')
LATER = ('move', 'report', 'hook')
counter = Counter()
check = counter.check


def refused(argv, reason, code='usage', exit_code=2, env=None):
    """One case: argv is refused with a first line that has `reason` in it."""
    ended = call([SNAP, *argv], env=env)
    printable = all(c.isprintable() or c == '\n' for c in ended.err)
    shown = ' '.join(repr(a) if len(a) < 60 else repr(a[:20]) + '...' for a in argv) or '(nothing)'
    check(ended.code == exit_code and ended.reason.startswith('vmig-snap: ') and reason in ended.reason
          and ended.err.endswith(f'[{code}]\n') and ended.out == '' and printable and ended.cpu < 5,
          f'refused with {exit_code}, {code}: {shown}', f'wanted: {reason!r}\n{ended}')


def test_commands():
    """Which words are commands."""
    refused([], 'no command')
    for word in ('', 'nonsense', 'Plan', 'help', 'plan ', '../plan', *LATER):
        refused([word], f"'{word}' is not a command of vmig-snap")
    refused(['\x1b[2Jmove', 'x'], "'\\x1b[2Jmove' is not a command")
    refused([b'\xff\xfe'.decode('utf-8', 'surrogateescape')], "'\\xff\\xfe' is not a command")
    refused(['--nonsense'], "'--nonsense' is not an option of vmig-snap")
    refused(['--json', 'plan', 'a', DEST], "'--json': options must follow the command")
    refused(['--version', 'plan'], "'--version': options must follow the command")
    refused(['-'], "'-' is not an option")
    refused(['--'], "'--' is not an option")


def test_help():
    """--help of everything, --version, and that a help that cannot be written is no success."""
    top = call([SNAP, '--help'])
    check(top.code == 0 and top.err == '' and all(f'\n  {c} ' in top.out for c in COMMANDS), '--help has every command',
          top)
    check(not any(f'\n  {c} ' in top.out for c in LATER), '--help promises no command that is not there', top)
    check(call([SNAP, '-h']).out == top.out, '-h is --help')
    for command in COMMANDS:
        ended = call([SNAP, command, '--help'])
        check(ended.code == 0 and f'vmig-snap {command} ' in ended.out and '--help' in ended.out and ended.err == '',
              f'{command} --help', ended)
    version = call([SNAP, '--version'])
    check(version.code == 0 and version.out.startswith('vmig-snap ') and version.out[10].isdigit(), '--version',
          version)
    with open('/dev/full', 'wb') as full:
        done = subprocess.run([SNAP, '--help'], stdout=full, stderr=subprocess.PIPE, check=False, text=True)
    check(done.returncode == 1 and 'cannot write to standard output: No space left' in done.stderr,
          'a help that cannot be written ends with 1', done)


def test_options():
    """Options that do not exist, miss their value or have one too many; wrong numbers of arguments."""
    for command in COMMANDS:
        refused([command, '--nonsense'], f'{command}: Unknown option --nonsense')
        refused([command, '-d'], f'{command}: Unknown option -d')
        refused([command, '--\x1b]0;x\x07'], 'Unknown option --\\x1b]0;x\\x07')
    for command in ('plan', 'migrate'):
        refused([command], f'{command}: DOMAIN is missing')
        refused([command, 'a'], f'{command}: DEST is missing')
        refused([command, 'a', DEST, 'more'], "unexpected argument 'more'")
        refused([command, 'a', DEST, '--json=yes'], "'--json=yes': --json takes no value")
        refused([command, '--bandwidth'], 'Missing argument for --bandwidth')
        refused([command, 'a', DEST, '--op-id', '../x'], 'Unknown option --op-id')
    for words in (['--fold', 'direct'], ['--fold=direct']):
        refused(['migrate', 'a', DEST, *words], 'the option --fold is now called --merge')
    refused(['clean', 'a'], 'the command clean is now called vmig-snap purge')
    refused(['migrate', 'a', DEST, '--folded'], 'Unknown option --folded')
    refused(['plan', 'a', DEST, '--dry-run'], 'Unknown option --dry-run')
    refused(['cancel'], 'cancel: JOB is missing')
    refused(['cancel', 'a', 'b'], "unexpected argument 'b'")
    refused(['cancel', '--all'], 'Unknown option --all')
    refused(['set'], 'set: JOB is missing')
    refused(['set', 'web1'], 'set: SETTING is missing')
    refused(['set', 'web1', 'bandwidth=1M', 'x'], "unexpected argument 'x'")
    for setting, reason in (('bandwidth', 'is not a setting'), ('speed=5', 'is not a setting'),
                            ('bandwidth=', 'bandwidth: '), ('bandwidth=-1', 'bandwidth: '), ('bandwidth=1.5M', 'bandwidth: '),
                            ('bandwidth=9223372036854775808', 'bandwidth: '), ('bandwidth=1 M', 'bandwidth: ')):
        refused(['set', 'web1', setting], reason)
    refused(['status', 'a', 'b'], "unexpected argument 'b'")
    refused(['list', 'a'], "unexpected argument 'a'")
    refused(['resume', 'a', '--all'], "'a' and --all cannot be combined")
    refused(['agent', 'a'], "unexpected argument 'a'")
    refused(['agent', '--guard'], 'Missing argument for --guard')
    refused(['agent', '--guard', 'relative'], "--guard: the path 'relative'", code='bad-path')


def test_numbers():
    """Amounts and counts are read strictly."""
    for text in ('0', '-1', '+1', '1e309', '1e3', '10MB ', '10MB', ' 10M', '10M ', '', 'M', '0x10', '1.5M', 'nan',
                 '1k1', '10Mi', '0K', '٣', '18446744073709551616', '9223372036854775808', '99999999T', '1' * 400):
        refused(['plan', '--bandwidth', text, 'a', DEST], f"--bandwidth: '{text}' is")
    refused(['plan', '--bandwidth=1\x1b[2J', 'a', DEST], "--bandwidth: '1\\x1b[2J' is not an amount")
    for option, most in (('max-downtime', 2000000), ('parallel', 255), ('timeout', 31536000)):
        for text in ('0', '-1', '', '1K', '1.0', ' 1', str(most + 1), str(2 ** 64), '1e309'):
            refused(['migrate', f'--{option}', text, 'a', DEST],
                    f"--{option}: '{text}' is not a whole number from 1 to {most}")


def test_words():
    """Options that take one of a few words, and names of policies."""
    for option, text in (('merge', 'Commit'), ('merge', ''), ('transport', 'udp'), ('transport', 'ssh '),
                         ('source-images', 'destroy'), ('source-images', 'keep,delete')):
        refused(['plan', f'--{option}', text, 'a', DEST], f"--{option}: '{text}' is not ")
    for text in ('', '../default', '.hidden', '-x', 'a/b', 'a b', 'x' * 65, 'p\n', 'Default', 'a.conf'):
        refused(['plan', f'--policy={text}', 'a', DEST], '--policy: ', code='bad-name')


def test_uris():
    """Destinations that could run a program, or that are none."""
    for uri in ('', 'test:///default', 'test:///', 'esx://host/', 'qemu:///system', 'qemu:///session', 'host', '/',
                '-x', 'qemu+ssh://-oProxyCommand=x/system', 'qemu+ssh://-oProxyCommand=sh%20-c%20id/system',
                'qemu+ssh://h/session', 'qemu+ssh://h', 'qemu+ssh:///system', 'qemu+ext://h/system',
                'qemu+unix://h/system', 'qemu+libssh://h/system', 'xen+ssh://h/system',
                'qemu+ext://h/system?command=/tmp/x', 'qemu+ssh://h/system?command=/tmp/x',
                'qemu+ssh://h/system?netcat=/tmp/x', 'qemu+ssh://h/system?known_hosts=/tmp/x',
                'qemu+ssh://h/system?no_verify=1', 'qemu+tls://h/system?no_verify=1', 'qemu+ssh://h/system#x',
                'qemu+ssh://$(reboot)/system', 'qemu+ssh://h;reboot/system', 'qemu+ssh://`id`@h/system',
                'qemu+ssh://h:0/system', 'qemu+ssh://h:65536/system', 'qemu+ssh://h:-1/system', 'qemu+ssh://h /system',
                'qemu+ssh://h/system?keyfile=rel', 'qemu+ssh://h/system\n', 'qemu+ssh://h\x1b[2J/system',
                'qemu+ssh://' + 'h' * 5000 + '/system'):
        refused(['migrate', '--', 'a', uri], 'DEST: ', code='bad-uri')
    secret = call([SNAP, 'plan', 'a', 'qemu+ssh://u:hunter2@h/system'])
    check(secret.code == 2 and 'hunter2' not in secret.err + secret.out, 'a password in a URI is not echoed', secret)
    for uri in ('', 'test:///default', 'qemu:///session', 'qemu+ssh://h/system', 'qemu:///system?command=/tmp/x',
                'qemu:///system?socket=rel', 'qemu:///system?socket=/a&command=/b', 'qemu:///system/',
                'qemu:///systemx'):
        refused(['plan', '--connect', uri, 'a', DEST], f"--connect: '{uri}' is not the system libvirt",
                code='bad-uri')


def test_names():
    """Names of domains, jobs and disks."""
    cases = (('', 'is empty'), ('a\nb', "'a\\x0ab' is not the name of a "), ('\x1b[2J', 'contains control characters'),
             ('a\x7f', "'a\\x7f' is not the name"), ('a\u0085', 'contains control characters'),
             (b'a\xff'.decode('utf-8', 'surrogateescape'), "'a\\xff' is not the name"), ('x' * 256, 'at most 255 bytes'),
             ('x' * 4096, 'at most 255 bytes'), ('ü' * 128, 'at most 255 bytes'))
    for name, reason in cases:
        refused(['plan', name, DEST], reason, code='bad-name')
        refused(['status', name], reason, code='bad-name')
        refused(['resume', name], reason, code='bad-name')
        refused(['cancel', name], reason, code='bad-name')
        refused(['migrate', '--disk', name, 'a', DEST], reason, code='bad-name')
    refused(['plan', '--disk', 'vda', '--disk', 'vdb', '--disk', 'vda', 'a', DEST], "--disk: 'vda' is given twice")
    # The name is taken: what is wrong is only found after it.
    for name in ('-dom', '--json', '--help', '-d', 'a b', "a'b", 'a/b', '../a', '$(reboot)', 'grün', '数据库', '{x}',
                 '%s%n'):
        refused(['plan', '--', name, 'test:///x'], "DEST: 'test:///x'", code='bad-uri')


def test_maps():
    """--map and --map-dir."""
    for option, text, code in (('map', '', 'usage'), ('map', 'vda', 'usage'), ('map', '=/a', None),
                               ('map', 'vda=', 'bad-path'), ('map', 'vda=rel', 'bad-path'),
                               ('map', 'vda=./a', 'bad-path'), ('map', 'vda=/a/../b', 'bad-path'),
                               ('map', 'vda=/a//b', 'bad-path'), ('map', 'vda=/a\nb', 'bad-path'),
                               ('map', 'vda=/' + 'x' * 300, 'bad-path'), ('map-dir', 'a=b', None),
                               ('map-dir', '/a', 'usage'), ('map-dir', '/a=b', None), ('map-dir', 'a=/b', 'bad-path'),
                               ('map-dir', '/a=/b/../c', 'bad-path')):
        ended = call([SNAP, 'plan', f'--{option}', text, 'a', DEST])
        check(ended.code == 2 and ended.reason.startswith(f'vmig-snap: --{option}: ') and ended.out == ''
              and (code is None or ended.err.endswith(f'[{code}]\n')),
              f'--{option} {text[:40]!r} is refused', ended)
    refused(['plan', '--map', 'vda=/a', '--map', 'vda=/b', 'a', DEST], "--map: ")


def test_json():
    """With --json a mistake is a result object on standard output too, wherever --json is."""
    for argv, code in ((['plan', '--json', 'a', 'test:///x'], 'bad-uri'), (['migrate', 'a', '--json'], 'usage'),
                       (['migrate', '--bandwidth', '0', 'a', DEST, '--json'], 'usage'),
                       (['status', '--json', 'a\nb'], 'bad-name'), (['cancel', '--nonsense', '--json'], 'usage')):
        ended = call([SNAP, *argv])
        lines = ended.out.splitlines()
        result = json.loads(lines[0]) if len(lines) == 1 else {}
        check(ended.code == 2 and result.get('event') == 'result' and result['outcome'] == 'refused'
              and result['error']['code'] == code and result['error']['hint'] and result['job'] is None and ended.err,
              f'a result object for {argv}', ended)
    ended = call([SNAP, 'migrate', '--', '--json', 'test:///x'])
    check(ended.out == '' and ended.code == 2, '--json after -- is a name', ended)


def test_streams():
    """Closed descriptors, and readers that go away."""
    for closed in ('<&-', '>&-', '2>&-', '<&- >&- 2>&-', '<&- >&-'):
        for words, code in (('--help', 0), ('plan a test:///x', 2), ('plan --json a test:///x', 2)):
            ended = call(['sh', '-c', f'exec "$0" {words} {closed}', SNAP])
            check(ended.code == code and 'cannot' not in ended.err, f'{words} with {closed} ends with {code}', ended)
    ended = call(['sh', '-c', '{ "$0" --help; echo $? >&2; } | true', SNAP])
    check(ended.err.strip() in ('0', '1'), 'a reader that goes away ends nothing by a signal', ended)
    ended = call(['sh', '-c', 'ulimit -f 0; trap "" XFSZ; "$0" --help > "$1"', SNAP,
                  os.path.join(tempfile.gettempdir(), f'vmig-cli-{os.getpid()}')])
    check(ended.code == 1 and 'cannot write to standard output' in ended.err, 'a limit of file sizes is an error, no signal', ended)
    os.unlink(os.path.join(tempfile.gettempdir(), f'vmig-cli-{os.getpid()}'))


def test_environment():
    """Locales, odd terminals, hostile variables."""
    for name, value in (('LC_ALL', 'tr_TR.UTF-8'), ('LC_ALL', 'C'), ('LANG', 'de_DE.UTF-8'), ('COLUMNS', '0'),
                        ('TERM', 'dumb'), ('G_MESSAGES_DEBUG', 'all'), ('LANGUAGE', 'de')):
        env = clean_environment(**{name: value})
        refused(['plan', '--bandwidth', '1,5M', 'a', DEST], "--bandwidth: '1,5M' is not an amount", env=env)
        refused(['plan', 'grün', 'test:///x'], "DEST: 'test:///x'", code='bad-uri', env=env)
        refused(['plan', '--nonsense'], 'Unknown option --nonsense', env=env)
    ended = call(['sh', '-c', 'ulimit -n 8; exec "$0" plan a test:///x', SNAP])
    check(ended.code == 2, 'eight descriptors are enough to refuse', ended)


def test_journal():
    """status, list, resume and cancel on a host that never had a job. In a mount namespace, so that it is one."""
    wrap = ('unshare', '--mount', '--', 'sh', '-c',
            'mount -t tmpfs none /var/lib && mount -t tmpfs none /run && exec "$@"', 'sh')
    if shutil.which('unshare') is None or subprocess.run([*wrap, 'true'], capture_output=True, check=False).returncode:
        counter.skip('the commands that read the journal', 'no mount namespace to be had')
        return
    for argv, out in ((['status'], 'There are no unfinished jobs.\n'), (['list', '--all'], 'There are no jobs.\n'),
                      (['resume'], 'There are no unfinished jobs.\n'),
                      (['resume', '--all'], 'There are no unfinished jobs.\n')):
        ended = call([SNAP, *argv], wrap=wrap)
        check(ended.code == 0 and ended.out == out and ended.err == '', f'{argv} without a journal', ended)
    for command in ('status', 'list'):
        ended = call([SNAP, command, '--json'], wrap=wrap)
        check(ended.code == 0 and json.loads(ended.out) == {'jobs': []}, f'{command} --json without a journal', ended)
    for command in ('status', 'resume', 'cancel'):
        ended = call([SNAP, command, 'nobody'], wrap=wrap)
        check(ended.code == 2 and ended.err.endswith('[no-job]\n'), f'{command} of a job that is not there', ended)
    agent = call([SNAP, 'agent'], wrap=wrap)
    check(agent.code == 0 and agent.out.startswith('{"hello":') and len(agent.out.splitlines()) == 1,
          'agent says hello, and ends with its input', agent)
    agent = call(['sh', '-c', 'exec "$0" agent <&- >&-', SNAP], wrap=wrap)
    check(agent.code == 0 and agent.out == '', 'agent with nothing to talk to ends', agent)
    with tempfile.TemporaryFile() as nonsense:
        nonsense.write(b'nonsense\n')
        nonsense.seek(0)
        agent = call([SNAP, 'agent'], wrap=wrap, stdin=nonsense)
    check(agent.code != 0 and agent.err.startswith('vmig-snap: ') and len(agent.out.splitlines()) == 1,
          'agent ends when it hears nonsense', agent)


def made():
    """What a command makes that gets as far as opening its journal."""
    return [path for path in ('/var/lib/vmig-snap/journal.db', '/run/vmig-snap') if os.path.exists(path)]


MADE_BEFORE = made()


def test_not_root():
    """Whatever a user who is not root asks for, the answer is that it needs root, and how to get that."""
    if os.geteuid() != 0:
        counter.skip('a caller who is not root', 'needs root, to become another user')
        return
    with tempfile.TemporaryDirectory(dir='/var/tmp') as folder:
        os.chmod(folder, 0o755)
        for file in (SNAP, os.path.join(os.path.dirname(SNAP), 'libvmig-snap.so.0')):
            shutil.copy(file, folder)
        program = os.path.join(folder, os.path.basename(SNAP))
        for argv in (['status'], ['list'], ['plan', 'g', DEST], ['migrate', 'g', DEST], ['resume', 'g'], ['cancel', 'g'],
                     ['verify', 'g'], ['doctor'], ['purge', 'g']):
            ended = call(['setpriv', '--reuid', '65534', '--regid', '65534', '--clear-groups', program, *argv])
            check(ended.code == 3 and 'needs root' in ended.reason and 'sudo vmig-snap' in ended.err
                  and ended.err.endswith('[not-authorized]\n') and ended.out == '', f'{argv[0]} needs root', ended)
        ended = call(['setpriv', '--reuid', '65534', '--regid', '65534', '--clear-groups', 'env', 'PATH=/nonexistent',
                      program, 'agent'])
        check('"code":"not-authorized"' in ended.out and '/etc/sudoers.d' in ended.out, 'the agent says it to its peer', ended)


def test_nothing_was_made():
    """After all of the above."""
    check(made() == MADE_BEFORE, 'no refused command made a file', made())


if __name__ == '__main__':
    sys.exit(counter.run([test_commands, test_help, test_options, test_numbers, test_words, test_uris, test_names,
                          test_maps, test_json, test_streams, test_environment, test_journal, test_not_root,
                          test_nothing_was_made]))
