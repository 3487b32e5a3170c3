# SPDX-License-Identifier: LGPL-2.1-or-later
"""The policies in a root folder in which the packages are installed.

polkit decides for real. AppArmor and SELinux are compiled: no kernel of ours has enforced them.
"""
import re
import subprocess

RULES = '/etc/apparmor.d/abstractions/libvirt-qemu.d/vmig-snap'
MODULE = '/usr/share/selinux/packages/vmig_snap.pp'
MEMBER, STRANGER = 'vmig-member', 'vmig-stranger'


def test_polkit(root, check):
    """A member of the group libvirt becomes root by pkexec, only for vmig-snap; nobody else does."""
    root.run('groupadd', '--system', '--force', 'libvirt')
    for user, groups in ((MEMBER, ['--groups', 'libvirt']), (STRANGER, [])):
        root.run('useradd', '--no-create-home', '--shell', '/bin/sh', *groups, user)
    root.at('/run/dbus').mkdir(exist_ok=True)
    bus = subprocess.Popen(['chroot', root.path, 'dbus-daemon', '--system', '--nofork', '--nopidfile', '--print-address=1'],
                           stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        bus.stdout.readline()  # it listens
        polkitd = subprocess.Popen(['chroot', root.path, '/usr/lib/polkit-1/polkitd', '--no-debug'], stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)
        try:
            root.run('gdbus', 'wait', '--system', '--timeout', '20', 'org.freedesktop.PolicyKit1')
            ask(root, check)
        finally:
            polkitd.kill()
            polkitd.wait()
    finally:
        bus.kill()
        bus.wait()


def ask(root, check):
    """pkexec for a member and for a stranger."""
    def pkexec(user, *argv):
        # pkexec wants a parent that is not process 1.
        return root.run('setpriv', f'--reuid={user}', f'--regid={user}', '--init-groups', 'sh', '-c', '"$@"; exit $?', 'sh',
                        'pkexec', '--disable-internal-agent', *argv)
    done = pkexec(MEMBER, '/usr/bin/vmig-snap', 'status')
    check(done.returncode == 0, 'pkexec vmig-snap works for a member of the group libvirt', done.stdout)
    done = pkexec(MEMBER, 'vmig-snap', 'migrate', 'web1', 'nowhere')
    check(done.returncode == 2 and 'nowhere' in done.stdout, 'with arguments too, and its exit code is that of vmig-snap', done.stdout)
    done = pkexec(MEMBER, '/usr/bin/id')
    check(done.returncode == 127 and 'uid=0' not in done.stdout, 'not for another program', done.stdout)
    done = pkexec(STRANGER, '/usr/bin/vmig-snap', 'status')
    check(done.returncode == 127, 'not for another user', done.stdout)
    done = root.run('pkaction', '--verbose', '--action-id', 'org.vmig-snap.run')
    check(re.search(r'implicit any:\s+auth_admin$', done.stdout, re.M) and '/usr/bin/vmig-snap' in done.stdout,
          'others must authenticate as an administrator', done.stdout)


def test_apparmor(root, check):
    """The rules compile as a part of a profile, and a wrong rule would not."""
    profile = 'include <tunables/global>\nprofile vmig-test {{\n  include <abstractions/base>\n  include if exists <abstractions/libvirt-qemu.d>\n{}}}\n'
    for text, good in (('', True), ('  /run/vmig-snap/*/ram.sock readwrite,\n', False)):
        root.write('/profile', profile.format(text))
        done = root.run('apparmor_parser', '--skip-kernel-load', '--skip-cache', '/profile')
        check((done.returncode == 0) == good, f'apparmor_parser {"takes the rules" if good else "refuses a wrong rule"}', done.stdout)
    root.write('/profile', profile.format(''))
    text = root.run('apparmor_parser', '--preprocess', '/profile').stdout
    found = set(re.findall(r'^\s*/run/vmig-snap/\*/(\w+\.sock) rw,', text, re.M))
    check(found == {'ram.sock', 'nbd.sock'}, 'the profile has the sockets that QEMU uses', found)


def test_selinux(root, check):
    """The module has its type, its rules and its file contexts."""
    done = root.run('semodule_unpackage', MODULE, '/module.mod', '/module.fc')
    check(done.returncode == 0, 'the SELinux module can be unpacked', done.stdout)
    labels = re.findall(r'^(\S+)\s+system_u:object_r:vmig_snap_runtime_t:s0$', root.read('/module.fc'), re.M)
    check(labels == ['/run/vmig-snap(/.*)?', '/var/run/vmig-snap(/.*)?'], 'it labels the run folder', labels)
    known = root.at('/module.mod').read_bytes()
    for word in (b'vmig_snap_runtime_t', b'virt_domain', b'connectto'):
        check(word in known, f'it knows {word.decode()}')
