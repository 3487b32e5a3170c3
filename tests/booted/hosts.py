# SPDX-License-Identifier: LGPL-2.1-or-later
"""Two hosts that systemd has booted, with vmig-snap from its packages: the lab's Lab with other hosts in it.

Everything that the lab's tests and its oracle use works here, too: run(), virsh(), path(), processes(), the guests. In
addition: reboot(), power_cut(), power_on(), journal(), failed_units(). A command `vmig-snap` runs in an ssh session of
root's, as a user's does. libvirt, QEMU, sshd and systemd have Debian's configuration except for the lines here.

    python3 tests/booted/hosts.py up [--dir DIR] [--suite HOST=SUITE] [--debs DIR]
    python3 tests/booted/hosts.py shell|down [--dir DIR] [HOST]
"""
import argparse
import hashlib
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / 'lab')]

import hostns  # noqa: E402  (the paths come first)
import oracle  # noqa: E402
import rootfs  # noqa: E402
from guest import build  # noqa: E402
from hostns import ADDRESS, HOSTS, NAME  # noqa: E402
from lab import Lab, LabError, wait_until  # noqa: E402
from machine import Machine, remove_group  # noqa: E402

DIRECTORY = '/var/tmp/vmig-booted'
CONSOLE = '/var/log/libvirt/console'
# Both hosts have the DMI data of this machine, if it has any.
LIBVIRTD = 'host_uuid_source = "machine-id"\n'
# QEMU writes the console itself, so that each printed line is in the file, whatever is killed next.
QEMU = 'stdio_handler = "file"\n'
SSH = '''\
Host *
    BatchMode yes
    ConnectTimeout 10
'''
# Their processes are no leftovers of a job.
DAEMONS = ('init', 'systemd', 'systemd-journald', 'systemd-journal', 'systemd-logind', 'systemd-machined', 'dbus-daemon', '(sd-pam)', 'agetty',
           'systemd-udevd', 'systemd-userwork', 'systemd-userdbd', 'systemd-executor', 'virtlockd', 'nsenter', 'sh')
oracle.DAEMONS = (*oracle.DAEMONS, *DAEMONS)


def _copy(source, target):
    subprocess.run(['cp', '--sparse=always', str(source), str(target)], check=True)


class BootedLab(Lab):
    """A pair of booted hosts. packages: the .deb files to install; suites: {host: what it runs}."""

    def __init__(self, dir=None, packages=(), suites=None, replace=False):
        super().__init__(dir or DIRECTORY, replace=replace)
        self.packages = [pathlib.Path(package) for package in packages]
        self.suites = {host: 'bookworm' for host in HOSTS} | (suites or {})
        self.machines = {}

    # --- life --------------------------------------------------------------------------------

    def group(self, host=''):
        """The control group of this lab, or of one of its hosts."""
        name = f'vmig-booted-{hashlib.sha256(str(self.dir).encode()).hexdigest()[:12]}'
        return f'{name}/{host}' if host else name

    def _make_hosts(self):
        self._write_state()
        self.bin.mkdir()
        kernel, initramfs = build.build()
        keys = self._make_keys()
        for host in HOSTS:
            base = self.dir / host
            base.mkdir()
            (base / 'bin').mkdir()
            (base / 'console').mkdir(mode=0o777)
            machine = self.machines[host] = Machine(self.dir, host, self.group(host))
            # Outside of the host's disk, because a power cut must not take what the guest has said.
            machine.binds = [(base / 'console', CONSOLE)]
            _copy(rootfs.build(self.suites[host]), machine.image)
            machine.hold()
            self._holders.append(machine.holder)
            self.pids[host] = machine.holder.pid
            self._write_host(machine, keys)
            for source, name in ((kernel, 'vmlinuz'), (initramfs, 'initramfs')):
                shutil.copyfile(source, machine.disk(f'/var/lib/libvirt/guest/{name}'))
        hostns.connect(self.pids)

    def _make_keys(self):
        keys = {}
        for name in ('test', *HOSTS, *(f'{host}-host' for host in HOSTS)):
            file = self.dir / f'key-{name}'
            subprocess.run(['ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-C', f'vmig-{name}', '-f', str(file)], check=True)
            keys[name] = file, file.with_suffix('.pub').read_text()
        return keys

    def _write_host(self, machine, keys):
        """A machine ID, names and ssh keys of its own; its users may log in to each other as root."""
        host, disk = machine.host, machine.disk
        disk('/etc/machine-id').write_text(machine.uuid.replace('-', '') + '\n')
        disk('/etc/hostname').write_text(NAME[host] + '\n')
        disk('/etc/hosts').write_text('127.0.0.1 localhost\n' + ''.join(f'{ADDRESS[h]} {NAME[h]}\n' for h in HOSTS))
        ssh = disk('/root/.ssh')
        for file, text, mode in ((ssh / 'id_ed25519', keys[host][0].read_text(), 0o600),
                                 (ssh / 'authorized_keys', ''.join(keys[k][1] for k in ('test', *HOSTS)), 0o600),
                                 (ssh / 'known_hosts', ''.join(f'{NAME[h]} {keys[f"{h}-host"][1]}' for h in HOSTS), 0o644),
                                 (ssh / 'config', SSH, 0o644),
                                 (disk('/etc/ssh/ssh_host_ed25519_key'), keys[f'{host}-host'][0].read_text(), 0o600)):
            file.write_text(text)
            file.chmod(mode)
        for file, lines in (('libvirtd.conf', LIBVIRTD), ('qemu.conf', QEMU)):
            with open(disk(f'/etc/libvirt/{file}'), 'a', encoding='utf-8') as stream:
                stream.write(f'\n# For the tests.\n{lines}')
        subprocess.run(['chroot', str(disk('/')), 'sh', '-c', f'chown libvirt-qemu:libvirt-qemu {CONSOLE} && chmod 755 {CONSOLE}'],
                       check=True)
        shutil.chown(machine.base / 'console', os.stat(disk(CONSOLE)).st_uid, os.stat(disk(CONSOLE)).st_gid)

    def start_daemons(self, host):
        """Turn the power on."""
        self.machines[host].power_on()

    def wait_ready(self, host, timeout=120):
        """Wait until the host has booted and its libvirtd and sshd answer."""
        self.wait_booted(host, timeout)
        super().wait_ready(host, timeout)

    def down(self):
        """End everything and remove it, also what a killed test left."""
        remove_group(self.group())
        super().down()
        remove_group(self.group())
        self.machines = {}

    def attach(self):
        raise LabError('a booted lab belongs to the test that made it')

    # --- power -------------------------------------------------------------------------------

    def is_on(self, host):
        """Whether the host has a process 1. Raises LabError if it cannot boot."""
        if self.machines[host].booting.poll() is not None:
            raise LabError(f'{NAME[host]} does not boot: {self.boot_log(host)[-1000:]}')
        return self.machines[host].first_process() is not None

    def wait_booted(self, host, timeout=120):
        """Wait until systemd says that the boot is complete, 'running' or 'degraded'."""
        wait_until(lambda: self.is_on(host), timeout, f'process 1 of {NAME[host]}')

        def booted():
            try:
                done = self.run(host, ['systemctl', 'is-system-running', '--wait'], check=False, timeout=timeout)
            except (subprocess.TimeoutExpired, LabError):
                return False
            return done.stdout.strip() in ('running', 'degraded')
        wait_until(booted, timeout, f'the boot of {NAME[host]}', interval=0.1)

    def reboot(self, host, timeout=180):
        """`systemctl reboot`, without a wait for the new boot. Returns the seconds of the shutdown."""
        old, begin = self.machines[host].first_process(), time.monotonic()
        self.run(host, ['systemctl', 'reboot'], check=False)
        wait_until(lambda: self.machines[host].first_process() != old, timeout, f'the shutdown of {NAME[host]}')
        return time.monotonic() - begin

    def power_cut(self, *hosts):
        """Cut the power of these hosts; what was not synced is lost."""
        for host in hosts:
            self.machines[host].power_cut()

    def power_on(self, *hosts):
        """Give the power back, without a wait for the boot."""
        for host in hosts:
            self.machines[host].power_back()

    def may_ask_libvirt(self, host):
        """Only a libvirtd that runs is asked: what watches a boot must not start it."""
        return host in self.machines and self.path(host, '/run/libvirtd.pid').exists()

    # --- running things ----------------------------------------------------------------------

    def environment(self, host):
        """As a login has it."""
        return {'PATH': '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', 'LANG': 'C.UTF-8', 'HOME': '/root'}

    def path(self, host, path):
        """The host's file as seen from outside; it stays the same over a boot."""
        return pathlib.Path(f'{self.machines[host].now}{path}')

    def enter(self, host):
        """The argv prefix that runs a command on the host: a visitor, outside of its systemd's units."""
        machine = self.machines[host]
        first = machine.first_process()
        if first is None:
            raise LabError(f'{NAME[host]} is off')
        group = machine.in_group('visitors/cgroup.procs')
        return ['sh', '-c', f'echo 0 > {group}; exec nsenter --target {first} --all "$@"', 'sh']

    def popen(self, host, argv, env=None, **options):
        """As Lab.popen(); `vmig-snap` runs in an ssh session of root's (its PID is that of the ssh client)."""
        if isinstance(argv, str) or str(argv[0]) != 'vmig-snap':
            return super().popen(host, argv, env, **options)
        words = [f'{key}={value}' for key, value in (env or {}).items()] + [str(word) for word in argv]
        ssh = ['nsenter', '--target', str(self.pids[host]), '--net', 'ssh', '-q', '-F', 'none', '-i', self.dir / 'key-test',
               '-o', 'StrictHostKeyChecking=no', '-o', 'UserKnownHostsFile=/dev/null', '-o', 'BatchMode=yes',
               '-o', 'ServerAliveInterval=5', 'root@127.0.0.1', shlex.join(['env', *words] if env else words)]
        settings = {'stdin': subprocess.DEVNULL, 'stdout': subprocess.PIPE, 'stderr': subprocess.PIPE, 'text': True,
                    'start_new_session': True, 'cwd': '/'}
        return subprocess.Popen([str(word) for word in ssh], **{**settings, **options})

    def processes(self, host, *names):
        """{pid: argv} of the host's processes, only those with one of these names if any given."""
        found = {}
        for pid in self.machines[host].processes():
            try:
                argv = pathlib.Path(f'/proc/{pid}/cmdline').read_bytes().split(b'\0')[:-1]
            except OSError:
                continue
            argv = [word.decode(errors='replace') for word in argv]
            if argv and (not names or os.path.basename(argv[0].split(':')[0]) in names):
                found[pid] = argv
        return found

    def install(self, program=None):
        """Install the packages on both hosts, as the README says: then libvirt's daemon is reloaded once."""
        for host in HOSTS:
            folder = self.path(host, '/var/cache/vmig-debs')
            folder.mkdir()
            for package in self.packages:
                shutil.copy(package, folder)
            self.run(host, 'DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends /var/cache/vmig-debs/*.deb')
            shutil.rmtree(folder)
            self.run(host, ['sync'])  # the first power cut must not take them

    def boot_log(self, host):
        """What the host has printed on its console, and systemd-nspawn."""
        return (self.machines[host].base / 'boot.log').read_text(errors='replace')

    # --- what the units say ------------------------------------------------------------------

    def journal(self, host, *match):
        """The lines of the host's journal, of all its boots."""
        return self.run(host, ['journalctl', '--quiet', '--no-pager', '--output=short-monotonic', *match]).stdout.splitlines()

    def failed_units(self, host):
        """The units that systemd calls failed."""
        listed = self.run(host, ['systemctl', 'list-units', '--state=failed', '--plain', '--no-legend']).stdout
        return re.findall(r'^(\S+)', listed, re.M)


def shell(directory, host):
    """A shell in a host that is up, whoever has booted it."""
    first = os.readlink(f'{directory}/{host}/now').split('/')[2]
    os.execvp('nsenter', ['nsenter', '--target', first, '--all', 'bash'])


def main():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('command', choices=('up', 'down', 'shell'))
    parser.add_argument('host', nargs='?', choices=HOSTS, default='a')
    parser.add_argument('--dir', default=DIRECTORY)
    parser.add_argument('--suite', action='append', default=[], metavar='HOST=SUITE')
    parser.add_argument('--debs', type=pathlib.Path)
    args = parser.parse_args()
    if args.command == 'shell':
        shell(args.dir, args.host)
    lab = BootedLab(args.dir, sorted(args.debs.glob('*.deb')) if args.debs else (),
                    dict(word.split('=') for word in args.suite), replace=True)
    if args.command == 'down':
        lab.down()
        return
    lab.up()
    if lab.packages:
        lab.install()


if __name__ == '__main__':
    main()
