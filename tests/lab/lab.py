# SPDX-License-Identifier: LGPL-2.1-or-later
"""Two real libvirt hosts on one machine, for tests with real migrations.

Command line:
    python3 tests/lab/lab.py up|down|status [--dir DIR]
    python3 tests/lab/lab.py exec HOST CMD... | shell HOST

In a test:
    from lab import Lab
    with Lab() as lab:
        lab.make_disk('a', '/var/lib/libvirt/images/g.qcow2', '1G', fill_mb=64)
        lab.make_guest('a', 'g', ['/var/lib/libvirt/images/g.qcow2'])
        lab.make_tree('a', 'g')
        lab.run('a', ['vmig-snap', 'migrate', 'g', 'qemu+ssh://vmig-b/system'])
and check the result with oracle.py. The guest helpers (make_disk, make_guest, make_tree, ...) are in guests.py, the
faults (link, rate, crash, ...) in faults.py; Lab has them all.

The hosts are called 'a' and 'b' here, and know each other as vmig-a (192.0.2.1) and vmig-b (192.0.2.2). On both,
Lab.host_bin(HOST) and Lab.bin come first in every PATH, including that of ssh commands and libvirtd: put the built
vmig-snap there. hostns.FOLDERS lists everything that each host has for itself; the rest of the file system (/usr, /tmp,
...) is shared with the machine, unless the host has another root. All files are under one folder, by default /var/tmp/vmig-lab or $VMIG_LAB_DIR. Needs
root.
"""
import argparse
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import config
import hostns
from faults import FaultsMixin
from guest import build
from guests import GuestsMixin
from hostns import ADDRESS, HOSTS, NAME

SYSTEM_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'
IMAGES = '/var/lib/libvirt/images'
IMAGES2 = '/srv/vmig2'


class LabError(RuntimeError):
    """The lab itself failed, not the program under test."""


def wait_until(test, timeout=30.0, what='the condition', interval=0.02):
    """Return test()'s first true value; raise TimeoutError after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not (value := test()):
        if time.monotonic() > deadline:
            raise TimeoutError(f'{what} did not happen within {timeout:g} s')
        time.sleep(interval)
    return value


class Lab(GuestsMixin, FaultsMixin):
    """A pair of hosts. Use as a context manager, or up() and down(), or attach() to one that is up.

    dir   the folder of the lab ($VMIG_LAB_DIR, /var/tmp/vmig-lab). Labs in different folders are
          independent: each has its own networks, and both may use the same addresses.
    env   extra environment for everything started in the hosts, also through ssh and by libvirtd.
          run() and popen() take more for one command.
    roots   {host: folder}: the host's root is this Debian release (default $VMIG_LAB_ROOT_A, $VMIG_LAB_ROOT_B). It
          then has its own libvirt, QEMU and ssh.
    replace   first take down any lab in the folder (a killed test leaves one); also with
          $VMIG_LAB_REPLACE=1. Otherwise up() refuses.
    With $VMIG_LAB_KEEP=1 a lab whose `with` body raised is left up for inspection (then: lab.py down).
    """

    def __init__(self, dir=None, env=None, replace=False, roots=None):
        self.dir = pathlib.Path(
            os.path.realpath(dir or os.environ.get('VMIG_LAB_DIR', '/var/tmp/vmig-lab')))
        self.bin = self.dir / 'bin'
        self.extra_env = dict(env or {})
        self.roots = dict(roots or {host: os.environ[f'VMIG_LAB_ROOT_{host.upper()}'] for host in HOSTS
                                    if os.environ.get(f'VMIG_LAB_ROOT_{host.upper()}')})
        self.replace = replace or os.environ.get('VMIG_LAB_REPLACE') == '1'
        self.pids = {}
        self._holders = []

    def __enter__(self):
        self.up()
        return self

    def __exit__(self, kind, *_):
        if kind is not None and os.environ.get('VMIG_LAB_KEEP') == '1':
            print(f'lab kept in {self.dir}: lab.py exec|shell|down --dir {self.dir}',
                  file=sys.stderr)
            return
        self.down()

    # --- life of the lab ---------------------------------------------------------------------

    def up(self):
        """Create both hosts and wait until libvirtd and sshd of both answer. Takes about 1 s.

        Raises LabError if this folder already contains a lab, complete or not.
        """
        if self.replace:
            self.down()
        self._check_folder()
        self.dir.mkdir(parents=True)
        try:
            self._make_hosts()
            for host in HOSTS:
                self.start_daemons(host)
            for host in HOSTS:
                self.wait_ready(host)
        except BaseException:
            self.down()
            raise

    def down(self):
        """End all processes of the lab, remove its namespaces and its folder, even if it is incomplete."""
        hostns.kill(lambda: hostns.processes(self.dir))
        for holder in self._holders:
            holder.wait()
        self._holders, self.pids = [], {}
        if self.dir.exists():
            if not (self.dir / 'lab.json').exists() and os.listdir(self.dir):
                raise LabError(f'{self.dir} is not a lab: not removing it')
            hostns.keep_capabilities(self.dir, self._written_state().get('roots', {}))
            hostns.remove_folder(self.dir)
        hostns.remove_mount_points()

    def attach(self):
        """Use the lab that is up in this folder (`lab = Lab(DIR).attach()`); returns self."""
        state = self._written_state()
        if not state:
            raise LabError(f'no lab in {self.dir}')
        self.extra_env = {**state['env'], **self.extra_env}
        self.roots = state['roots']
        alive = {host: hostns.processes(self.dir, (host,)) for host in HOSTS}
        for host in HOSTS:
            if state['pids'].get(host) not in alive[host]:
                raise LabError(f'the lab in {self.dir} is stale: take it down first')
        self.pids = state['pids']
        return self

    def is_up(self):
        """Whether the folder holds a lab with at least one living process."""
        return bool(hostns.processes(self.dir))

    def _check_folder(self):
        if os.geteuid() != 0:
            raise LabError('the lab needs root')
        if any(c.isspace() or c in '\\",:' for c in str(self.dir)):
            raise LabError(f'{self.dir}: no blanks, commas, colons, quotes or backslashes, please')
        for _, target in hostns.FOLDERS:
            if self.dir.is_relative_to(target):
                raise LabError(f'{self.dir} is inside {target}, which the hosts have of their own')
        if self.is_up():
            raise LabError(f'a lab is up in {self.dir}: `lab.py down --dir {self.dir}` ends it')
        if self.dir.exists() and os.listdir(self.dir):
            raise LabError(f'{self.dir} is not empty: a dead lab? `lab.py down` removes it')
        if self.dir.exists():
            self.dir.rmdir()

    def _make_hosts(self):
        self._write_state()
        self.bin.mkdir()
        config.make_keys(self.dir)
        kernel, initramfs = build.build()
        for host in HOSTS:
            root = self.roots.get(host)
            config.write_host(self.dir, host, self.environment(host), root)
            config.install_guest(self.dir / host, kernel, initramfs)
            hostns.give_capabilities(self.dir / host, root)
            holder = hostns.start_holder(self.dir, host, root)
            self._holders.append(holder)
            self.pids[host] = holder.pid
            self._write_state()
        hostns.connect(self.pids)

    def _write_state(self):
        state = {'pids': self.pids, 'env': self.extra_env, 'roots': self.roots}
        (self.dir / 'lab.json').write_text(json.dumps(state))

    def _written_state(self):
        try:
            return json.loads((self.dir / 'lab.json').read_text())
        except FileNotFoundError:
            return {}

    # --- running things ----------------------------------------------------------------------

    def host_bin(self, host):
        """A folder that comes first in the PATH of this host only, before Lab.bin."""
        return self.dir / host / 'bin'

    def environment(self, host):
        """The whole environment of a command in this host."""
        path = f'{self.host_bin(host)}:{self.bin}:{SYSTEM_PATH}'
        return {'PATH': path, 'LANG': 'C.UTF-8', 'HOME': '/root', **self.extra_env}

    def name(self, host):
        """The host's name on the network: 'vmig-a' or 'vmig-b'."""
        return NAME[host]

    def install(self, program, host=None):
        """Put a built vmig-snap into the PATH of both hosts or of one, with the library that it finds beside itself.

        A host with another root needs a build of its own: $VMIG_LAB_BINARY_A, $VMIG_LAB_BINARY_B, or install() with
        `host`.
        """
        folder = self.host_bin(host) if host else self.bin
        shutil.copy(program, folder / 'vmig-snap')
        library = pathlib.Path(program).with_name('libvmig-snap.so.0')
        if library.exists():
            shutil.copy(library, folder)
        for other in HOSTS if not host else ():
            if own := os.environ.get(f'VMIG_LAB_BINARY_{other.upper()}'):
                self.install(own, other)

    def uri(self, host, transport='ssh'):
        """The libvirt URI under which the other host reaches this one ('ssh' or 'tcp')."""
        return f'qemu+{transport}://{NAME[host]}/system'

    def path(self, host, path):
        """The host's file `path` as seen from outside, so that Python can open it.

        Works for everything that the host has mounted, as long as the lab is up.
        """
        return pathlib.Path(f'/proc/{self.pids[host]}/root{path}')

    def enter(self, host):
        """The argv prefix that runs a command in the host's namespaces."""
        return ['nsenter', '--target', str(self.pids[host]), '--net', '--mount', '--uts']

    def run(self, host, argv, check=True, timeout=120, env=None, input=None, **options):
        """Run argv (list, or str for sh -c) in a host; CompletedProcess with text output.

        With check a failure raises LabError that shows the command's stderr. A command that
        outlives `timeout` is killed with its children and raises subprocess.TimeoutExpired.
        """
        process = self.popen(host, argv, env=env,
                             stdin=subprocess.DEVNULL if input is None else subprocess.PIPE,
                             **options)
        try:
            out, err = process.communicate(input, timeout=timeout)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            raise
        done = subprocess.CompletedProcess(argv, process.returncode, out, err)
        if check and done.returncode != 0:
            raise LabError(f'{NAME[host]}: {argv} ended with {done.returncode}: {err}{out}')
        return done

    def popen(self, host, argv, env=None, **options):
        """Start argv in a host; a subprocess.Popen that leads its own process group.

        Popen.pid is the command's own PID (nsenter execs), so signals go to the command. Text
        pipes for stdout and stderr unless told otherwise; stdin is empty.
        """
        if isinstance(argv, str):
            argv = ['sh', '-c', argv]
        settings = {'stdin': subprocess.DEVNULL, 'stdout': subprocess.PIPE,
                    'stderr': subprocess.PIPE, 'text': True, 'start_new_session': True, 'cwd': '/'}
        if options.get('text') is False or options.get('encoding'):
            del settings['text']
        return subprocess.Popen([*self.enter(host), *map(str, argv)],
                                env={**self.environment(host), **(env or {})},
                                **{**settings, **options})

    def virsh(self, host, *args, check=True, timeout=120):
        """Run virsh against the host's own libvirtd; returns stdout (check) or CompletedProcess."""
        done = self.run(host, ['virsh', '-q', '-c', 'qemu:///system', *args], check=check,
                        timeout=timeout)
        return done.stdout if check else done

    # --- daemons -----------------------------------------------------------------------------

    def start_daemons(self, host):
        """Start virtlogd, libvirtd and sshd; wait_ready() waits for them."""
        for argv in (['virtlogd', '-d'], ['libvirtd', '-d', '-l'],
                     ['/usr/sbin/sshd', '-f', f'{self.dir}/{host}/sshd/sshd_config']):
            self.run(host, argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def wait_ready(self, host, timeout=60):
        """Wait until the host's libvirtd and sshd answer."""
        wait_until(lambda: self.virsh(host, 'uri', check=False).returncode == 0, timeout,
                   f'libvirtd of {NAME[host]}')
        wait_until(lambda: self.run(host, ['ssh', NAME[host], 'true'], check=False).returncode == 0,
                   timeout, f'sshd of {NAME[host]}')

    def restart_sshd(self, host):
        """Kill the host's sshd, and start it with its current configuration."""
        pid = int(self.path(host, '/run/sshd.pid').read_text())
        os.kill(pid, signal.SIGTERM)
        wait_until(lambda: not os.path.exists(f'/proc/{pid}'), 10, 'the end of sshd')
        self.run(host, ['/usr/sbin/sshd', '-f', f'{self.dir}/{host}/sshd/sshd_config'], stdout=subprocess.DEVNULL,
                 stderr=subprocess.DEVNULL)
        self.wait_ready(host)

    def processes(self, host, *names):
        """{pid: argv} of the host's processes, only those with one of these names if any given."""
        found = {}
        for pid in hostns.processes(self.dir, (host,)):
            try:
                argv = pathlib.Path(f'/proc/{pid}/cmdline').read_bytes().split(b'\0')[:-1]
                argv = [word.decode(errors='replace') for word in argv]
            except OSError:
                continue
            if argv and (not names or os.path.basename(argv[0].split(':')[0]) in names):
                found[pid] = argv
        return found

    def libvirtd_pid(self, host):
        """The PID of the host's libvirtd, or None."""
        return next(iter(self.processes(host, 'libvirtd')), None)

    def kill_libvirtd(self, host, sig=signal.SIGKILL):
        """Signal the host's libvirtd (default SIGKILL) and wait for its exit. Guests keep running."""
        for pid in self.processes(host, 'libvirtd'):
            os.kill(pid, sig)
        wait_until(lambda: not self.processes(host, 'libvirtd'), 30, 'the end of libvirtd')

    def may_ask_libvirt(self, host):
        """Whether a question to libvirtd changes nothing: a socket of systemd's would start it."""
        return True

    def start_libvirtd(self, host):
        """Start libvirtd after kill_libvirtd() and wait until it answers."""
        self.run(host, ['libvirtd', '-d', '-l'], stdout=subprocess.DEVNULL,
                 stderr=subprocess.DEVNULL)
        self.wait_ready(host)

    def restart_libvirtd(self, host, sig=signal.SIGTERM):
        """End libvirtd (SIGTERM; SIGKILL for a crash) and start it again."""
        self.kill_libvirtd(host, sig)
        self.start_libvirtd(host)

    def reload_libvirtd(self, host):
        """SIGHUP: libvirtd looks for hook scripts only at startup and on this signal."""
        os.kill(self.libvirtd_pid(host), signal.SIGHUP)

    def qemu_pid(self, host, domain):
        """The PID of a guest's QEMU on this host, or None. Searches the processes, does not ask libvirtd."""
        for pid, argv in self.processes(host, 'qemu-system-x86_64').items():
            if '-name' in argv and argv[argv.index('-name') + 1].split(',')[0] == f'guest={domain}':
                return pid
        return None


def show_status(lab):
    """Print the state of the lab and its processes."""
    print(f'{lab.dir}: {"up" if lab.is_up() else "down"}')
    if lab.is_up():
        lab.attach()
        for host in HOSTS:
            print(f'{NAME[host]} {ADDRESS[host]} holder {lab.pids[host]}')
            for pid, argv in lab.processes(host).items():
                print(f'  {pid:7} {" ".join(argv)[:100]}')
            print(lab.virsh(host, 'list', '--all', check=False).stdout, end='')


def main():
    """The command line."""
    parser = argparse.ArgumentParser(description='two libvirt hosts on one machine')
    parser.add_argument('--dir', help='the folder (default $VMIG_LAB_DIR, /var/tmp/vmig-lab)')
    commands = parser.add_subparsers(dest='command', required=True)
    for name in ('up', 'down', 'status', 'exec', 'shell'):
        command = commands.add_parser(name)
        command.add_argument('--dir', default=argparse.SUPPRESS)
        if name in ('exec', 'shell'):
            command.add_argument('host', choices=HOSTS)
        if name == 'exec':
            command.add_argument('argv', nargs=argparse.REMAINDER)
    args = parser.parse_args()
    lab = Lab(args.dir)
    if args.command in ('up', 'down'):
        getattr(lab, args.command)()
        return 0
    if args.command == 'status':
        show_status(lab)
        return 0 if lab.is_up() else 3
    lab.attach()
    argv = args.argv if args.command == 'exec' else [shutil.which('bash') or 'sh']
    return subprocess.run([*lab.enter(args.host), *argv], check=False,
                          env={**os.environ, **lab.environment(args.host)}).returncode


if __name__ == '__main__':
    try:
        sys.exit(main())
    except (LabError, TimeoutError) as error:
        sys.exit(f'lab: {error}')
