# SPDX-License-Identifier: LGPL-2.1-or-later
"""The configuration files of a lab host: libvirt, ssh, names. All are minimal; only /etc/shadow is copied."""
import os
import pathlib
import subprocess
import uuid

from hostns import ADDRESS, FOLDERS, HOSTS, NAME

LIBVIRTD = '''\
listen_tls = 0
listen_tcp = 1
auth_tcp = "none"
auth_unix_ro = "none"
auth_unix_rw = "none"
host_uuid = "{uuid}"
log_level = 3
log_outputs = "2:file:/var/log/libvirt/libvirtd.log"
'''
# stdio_handler: QEMU writes the console file itself, so that each printed line is in the file, whatever process is
# killed next.
QEMU = '''\
user = "root"
group = "root"
security_driver = "none"
cgroup_controllers = []
namespaces = []
remember_owner = 0
stdio_handler = "file"
'''
SSH = '''\
Host vmig-a vmig-b 192.0.2.*
    User root
    IdentityFile /root/.ssh/id_ed25519
    IdentitiesOnly yes
    StrictHostKeyChecking no
    UserKnownHostsFile /dev/null
    LogLevel ERROR
    ConnectTimeout 10
'''
SSHD = '''\
Port 22
ListenAddress {address}
HostKey {base}/sshd/host_key
PidFile /run/sshd.pid
AuthorizedKeysFile /root/.ssh/authorized_keys
PermitRootLogin yes
PubkeyAuthentication yes
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
StrictModes no
UseDNS no
PrintMotd no
PrintLastLog no
AllowTcpForwarding yes
AllowStreamLocalForwarding yes
MaxStartups 200
MaxSessions 200
SetEnv {environment}
Subsystem sftp /usr/lib/openssh/sftp-server
'''


def make_keys(directory):
    """One client key for both hosts, one host key for both sshds."""
    for name in ('id_ed25519', 'host_key'):
        subprocess.run(['ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-C', 'vmig-lab', '-f',
                        str(directory / name)], check=True)


def _copy(source, target, mode):
    target.write_bytes(source.read_bytes())
    target.chmod(mode)


def _write_ssh(directory, base, environment):
    ssh = base / 'root-ssh'
    ssh.chmod(0o700)
    _copy(directory / 'id_ed25519', ssh / 'id_ed25519', 0o600)
    _copy(directory / 'id_ed25519.pub', ssh / 'id_ed25519.pub', 0o644)
    _copy(directory / 'id_ed25519.pub', ssh / 'authorized_keys', 0o600)
    (ssh / 'config').write_text(SSH)
    (base / 'sshd').mkdir()
    _copy(directory / 'host_key', base / 'sshd/host_key', 0o600)
    quoted = ' '.join(f'"{key}={value}"' for key, value in environment.items())
    (base / 'sshd/sshd_config').write_text(
        SSHD.format(address=ADDRESS[base.name], base=base, environment=quoted))


def _write_names(base):
    lines = ['127.0.0.1 localhost'] + [f'{ADDRESS[h]} {NAME[h]}' for h in HOSTS]
    (base / 'etc-hosts').write_text('\n'.join(lines) + '\n')
    (base / 'etc-machine-id').write_text(uuid.uuid4().hex + '\n')
    # bash reads it even for a command over ssh, and the machine's own may change PATH.
    (base / 'root-bashrc').touch()
    # Without PAM, sshd refuses root if its password field says "locked".
    shadow = pathlib.Path('/etc/shadow')
    if shadow.exists():
        text = ''.join(':'.join(['root', '*', *line.split(':')[2:]]) if line.startswith('root:')
                       else line for line in shadow.read_text().splitlines(keepends=True))
        (base / 'etc-shadow').write_text(text)
        (base / 'etc-shadow').chmod(0o600)


def _write_users(base):
    """The users that Debian's libvirt requires at startup (virGetUserID of its compiled-in defaults). They come with
    libvirt-daemon-system, which would also install units, a network and an /etc/libvirt on the machine. And one who
    may use sudo, if a test says so in etc-sudoers."""
    missing = {'passwd': ['libvirt-qemu:x:64055:64055:Libvirt Qemu:/var/lib/libvirt:/usr/sbin/nologin',
                          'operator:*:64058:65534::/nonexistent:/bin/sh'],
               'group': ['libvirt-qemu:x:64055:', 'kvm:x:64056:', 'libvirt:x:64057:']}
    for name, lines in missing.items():
        text = pathlib.Path('/etc', name).read_text()
        known = {line.split(':')[0] for line in text.splitlines()}
        new = [f'{line}\n' for line in lines if line.split(':')[0] not in known]
        if new:
            (base / f'etc-{name}').write_text(text.rstrip('\n') + '\n' + ''.join(new))


def _write_sudoers(base):
    (base / 'etc-sudoers').write_text('root ALL=(ALL:ALL) ALL\n')
    (base / 'etc-sudoers').chmod(0o440)


def make_run(base):
    """The content of /run after a boot."""
    for name in ('run/lock', 'run/sshd', 'run/libvirt'):
        (base / name).mkdir(parents=True, exist_ok=True)


def write_host(directory, host, environment):
    """Write everything under DIR/HOST that the host's binds show."""
    base = directory / host
    for name, _ in FOLDERS:
        (base / name).mkdir(parents=True)
    for name in ('bin', 'etc-libvirt/hooks/qemu.d', 'etc-libvirt/qemu', 'var-lib-libvirt/images',
                 'var-lib-libvirt/guest', 'var-lib-libvirt/qemu', 'var-log-libvirt/console'):
        (base / name).mkdir(parents=True)
    make_run(base)
    (base / 'etc-libvirt/libvirtd.conf').write_text(LIBVIRTD.format(uuid=uuid.uuid4()))
    (base / 'etc-libvirt/qemu.conf').write_text(QEMU)
    (base / 'etc-libvirt/virtlogd.conf').write_text('max_size = 0\n')
    _write_ssh(directory, base, environment)
    _write_names(base)
    _write_users(base)
    _write_sudoers(base)


def install_guest(base, kernel, initramfs):
    """Put the guest's kernel and initramfs at the same path in each host, linked where possible."""
    for source, name in ((kernel, 'vmlinuz'), (initramfs, 'initramfs')):
        target = base / 'var-lib-libvirt/guest' / name
        try:
            os.link(source, target)
        except OSError:
            _copy(pathlib.Path(source), target, 0o644)
