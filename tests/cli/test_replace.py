# SPDX-License-Identifier: LGPL-2.1-or-later
"""Two agents on one host: one that still holds the operation lock for a connection that is dead is replaced, by the same
tool for the same job, and by nobody else.

    VMIG_SNAP=build/plugin/vmig-snap python3 tests/cli/test_replace.py

The agents run in a mount namespace in which /var/lib and /run are empty.
"""
import json
import os
import shutil
import signal
import subprocess
import sys

from clitest import Counter, binary

SNAP = binary('VMIG_SNAP')
UUID, JOB, OTHER = '6f2c5c3e-8a4b-4f0e-9d3a-0d9f5c1b7e21', '0123456789abcdef', 'fedcba9876543210'
WRAP = ('unshare', '--mount', '--', 'sh', '-c', 'mount -t tmpfs none /var/lib && mount -t tmpfs none /run && exec "$@"',
        'sh')
counter = Counter()
check = counter.check


class Agent:
    """An agent that is spoken to by hand."""

    def __init__(self):
        self.process = subprocess.Popen([SNAP, 'agent'], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.asked = 0
        self.hello = json.loads(self.process.stdout.readline())

    def ask(self, method, **args):
        """The result, or the error's code."""
        self.asked += 1
        self.process.stdin.write(json.dumps({'id': self.asked, 'method': method, 'args': args}) + '\n')
        self.process.stdin.flush()
        reply = json.loads(self.process.stdout.readline())
        return reply['error']['code'] if 'error' in reply else reply['result']

    def lives(self):
        """It answers."""
        return self.process.poll() is None and isinstance(self.ask('hello'), dict)

    def end(self):
        """The end of its input."""
        self.process.stdin.close()
        self.process.wait(10)
        self.process.stdout.close()


def test_replaced():
    """The lock goes to the same job and tool; the old agent, which stands still, is killed for it."""
    holder, asker, third = Agent(), Agent(), Agent()
    check('hello' in holder.hello and holder.ask('lock', job=JOB, uuid=UUID, tool='one') == {}, 'the first lock')
    check(holder.ask('lock', job=JOB, uuid=UUID, tool='one') == {}, 'and once more by the same agent')
    for what, args in (('another tool', {'job': JOB, 'tool': 'two'}), ('another job', {'job': OTHER, 'tool': 'one'}),
                       ('nobody said who', {'job': JOB}), ('a tool without a name', {'job': JOB, 'tool': '?'})):
        check(asker.ask('lock', uuid=UUID, **args) == 'locked' and holder.lives(), f'not for {what}')
    os.kill(holder.process.pid, signal.SIGSTOP)
    check(asker.ask('lock', job=JOB, uuid=UUID, tool='one') == {}, 'the same tool has the lock, for the same job')
    check(holder.process.wait(10) == -signal.SIGKILL, 'the old agent is gone', holder.process.returncode)
    check(third.ask('lock', job=JOB, uuid=UUID, tool='two') == 'locked' and asker.lives(), 'it is held as before')
    holder.process.stdin.close()
    asker.end()
    check(third.ask('lock', job=OTHER, uuid=UUID, tool='two') == {}, 'and let go of at its end')
    third.end()


def test_without_a_tool():
    """A lock that was taken without a word of who asks (by a tool of this host) is nobody's to take over."""
    holder, asker = Agent(), Agent()
    check(holder.ask('lock', job=JOB, uuid=UUID) == {}, 'a lock of this host')
    for tool in ('one', '?', ''):
        check(asker.ask('lock', job=JOB, uuid=UUID, tool=tool) == 'locked' and holder.lives(), f'not for {tool!r}')
    holder.end()
    asker.end()


def test_another_program():
    """What says that it is an agent and is another program is left alone."""
    holder = Agent()
    check(holder.ask('lock', job=JOB, uuid=UUID, tool='one') == {}, 'a lock, for its file')
    holder.end()
    path = f'/run/vmig-snap/lock/{UUID}.lock'
    # The same bytes, locked by this process, which is no vmig-snap.
    script = ('import fcntl, json, os, sys; f = open(sys.argv[1], "r+"); fcntl.lockf(f, fcntl.LOCK_EX); '
              'c = json.load(f); c["pid"] = os.getpid(); f.seek(0); f.truncate(); f.write(json.dumps(c)); f.flush(); '
              'print("held", flush=True); sys.stdin.read()')
    with subprocess.Popen([sys.executable, '-c', script, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          text=True) as other:
        check(other.stdout.readline() == 'held\n', 'another program has it')
        asker = Agent()
        check(asker.ask('lock', job=JOB, uuid=UUID, tool='one') == 'locked' and other.poll() is None,
              'another program is not ended')
        asker.end()
        other.stdin.close()


def main():
    """All of it, where mounts can be made."""
    if os.environ.get('VMIG_INSIDE'):
        return counter.run([test_replaced, test_without_a_tool, test_another_program])
    if shutil.which('unshare') is None or subprocess.run([*WRAP, 'true'], capture_output=True, check=False).returncode:
        counter.skip('agents', 'no mount namespace to be had')
        return counter.run([])
    return subprocess.run([*WRAP, sys.executable, os.path.abspath(__file__)], check=False,
                          env={**os.environ, 'VMIG_INSIDE': '1'}).returncode


if __name__ == '__main__':
    sys.exit(main())
