# SPDX-License-Identifier: LGPL-2.1-or-later
"""ssh and libvirt's sockets as people have them: a user with sudo, a login shell that prints, an alias with a port of
its own behind a jump host, and the sockets of the modular daemons."""
import contextlib
import shutil
import sys

from cases import TWO, Disk, Skip, main, one_of_many
from command import DONE, REFUSED, need
from hostns import ADDRESS
from written import written

USER = 'operator'
SOCKETS = '/run/libvirt'


def moving(case, *args, uri=None, **options):
    """A migration of a new guest with two disks from a to b."""
    guest = case.guest(disks=[Disk('vda'), Disk('vdb', size='160M', fill_mb=4)], tree=TWO)
    return case.migration(guest, '--source-images', 'keep', *args, uri=uri, **options)


@contextlib.contextmanager
def login(case, sudo):
    """A user of b who logs in with the lab's key, and may run the agent as root if sudo is true."""
    lab = case.lab
    if not shutil.which('sudo'):
        raise Skip('sudo is not installed')
    base = lab.dir / 'b'
    keys = base / 'run/keys'
    keys.write_text((base / 'root-ssh/authorized_keys').read_text())
    config = base / 'sshd/sshd_config'
    rule = f'{USER} ALL=(root) NOPASSWD: {lab.bin}/vmig-snap agent\n' if sudo else ''
    try:
        with written(config, f'{config.read_text()}Match User {USER}\n    AuthorizedKeysFile /run/keys\n'), \
                written(base / 'etc-sudoers', f'root ALL=(ALL:ALL) ALL\n{rule}'):
            lab.restart_sshd('b')
            yield f'qemu+ssh://{USER}@vmig-b/system'
    finally:
        keys.unlink()
        lab.restart_sshd('b')


def sudo(merge):
    """A test: everything goes through the sockets of a user who is not root."""
    def test(case):
        with login(case, sudo=True) as uri:
            move = moving(case, '--merge', merge, uri=uri)
            move.run()
            move.prove_arrived()
    test.__doc__ = f'A user with sudo, merge {merge}: the guest arrives as with root.'
    return test


test_sudo_commit = sudo('commit')
test_sudo_mirror = sudo('mirror')


def test_sudo_is_refused(case):
    """A user without sudo: told which line is missing, and where; nothing is left there."""
    with login(case, sudo=False) as uri:
        case.guest()
        call = case.call('a', 'plan', 'g', uri, '--json')
        said = call.document['refusals']
        need(call.code == REFUSED and [r['code'] for r in said] == ['not-authorized'], call.code, call.tail())
        need('vmig-b' in said[0]['message'] and 'NOPASSWD: /usr/bin/vmig-snap agent' in said[0]['hint'], said)
        need(not list(case.lab.path('b', '/run/vmig-snap').glob('*/*.sock')), 'a socket is left')


def test_shell_prints(case):
    """A login shell that prints lines, and one without its end, before the agent begins."""
    with written(case.lab.dir / 'b/root-bashrc', 'echo Welcome to b\necho "{"\nprintf "news: "\n'):
        said = case.lab.run('a', ['ssh', 'vmig-b', 'true']).stdout
        need(said == 'Welcome to b\n{\nnews: ', 'the shell does not print:', said)
        move = moving(case)
        move.run()
        move.prove_arrived()


def test_alias_and_jump_host(case):
    """The name, the port and the way are in ssh's configuration; nothing but ssh knows them."""
    lab = case.lab
    server, client = lab.dir / 'b/sshd/sshd_config', lab.dir / 'a/root-ssh/config'
    alias = f'Host kvm2\n    HostName {ADDRESS["b"]}\n    Port 2222\n    ProxyJump vmig-a\n'
    try:
        with written(server, server.read_text().replace('Port 22\n', 'Port 22\nPort 2222\n', 1)), \
                written(client, alias + client.read_text().replace('Host vmig-a', 'Host kvm2 vmig-a')):
            lab.restart_sshd('b')
            move = moving(case, uri='qemu+ssh://kvm2/system')
            move.run()
            move.prove_arrived()
    finally:
        lab.restart_sshd('b')


@contextlib.contextmanager
def modular(case, *hosts):
    """Hosts whose libvirt listens on virtqemud's socket alone. The daemon is libvirtd under another name: Debian has no
    modular daemons, and the two differ in the drivers that they load, none of which a migration needs."""
    lab = case.lab
    with contextlib.ExitStack() as stack:
        for host in hosts:
            # libvirt's own client takes that socket by itself only if virtqemud is installed.
            stack.enter_context(written(lab.dir / host / 'etc-libvirt/libvirt.conf', 'remote_mode = "direct"\n'))
            lab.run(host, ['mv', f'{SOCKETS}/libvirt-sock', f'{SOCKETS}/virtqemud-sock'])
            stack.callback(lab.run, host, ['mv', f'{SOCKETS}/virtqemud-sock', f'{SOCKETS}/libvirt-sock'])
        yield


def on_modular(*hosts, query=''):
    """A test: a migration where these hosts have only virtqemud's socket."""
    @one_of_many
    def test(case):
        with modular(case, *hosts):
            move = moving(case, uri=f'qemu+ssh://vmig-b/system{query}')
            move.run()
            move.prove_arrived()
    test.__doc__ = f'virtqemud on {" and ".join(hosts)}{query and f", {query}"}: its socket is found.'
    return test


test_modular_there = on_modular('b')
test_modular_both = on_modular('a', 'b', query='?mode=direct&proxy=native&no_tty=1')
test_modular_here = on_modular('a', query=f'?socket=/var{SOCKETS}/libvirt-sock')


def test_wanted_socket(case):
    """A socket or a mode that the destination does not have: refused with what was tried. The remedy helps."""
    case.guest()
    for query, words in ((f'?socket={SOCKETS}/virtqemud-sock', 'virtqemud-sock'), ('?mode=direct', 'virtqemud-sock'),
                         ('?socket=/run/docker.sock', SOCKETS)):
        call = case.call('a', 'plan', 'g', f'{case.lab.uri("b")}{query}', '--json')
        said = call.document['refusals']
        need(call.code == REFUSED and [r['code'] for r in said] == ['libvirt-socket'], call.code, call.tail())
        need(words in said[0]['message'] and 'vmig-b' in said[0]['message'], said)
        need('Omit socket= and mode=' in said[0]['hint'], said)
    need(case.call('a', 'plan', 'g', case.lab.uri('b'), '--json').code == DONE, 'without them it is refused, too')


if __name__ == '__main__':
    sys.exit(main(__file__, globals()))
