# SPDX-License-Identifier: LGPL-2.1-or-later
"""One booted host as a machine: its disk, its power switch and its network cable.

A holder process has the host's network and mount namespaces, as in the lab (hostns.py), and outlives every boot. In its
mount namespace the host's disk is mounted, and systemd-nspawn boots from it in a control group of its own. So a reboot
is a new process 1 on the same disk and the same cable.

A power cut keeps only what was synced. The control group is frozen, so that no process of the host does anything more;
the cable is pulled, so that no farewell of the kernel reaches the other host; the file system is shut down without its
journal being written (EXT4_IOC_SHUTDOWN), which drops every page that was not synced; then everything is killed.
"""
import array
import fcntl
import os
import pathlib
import signal
import subprocess
import time
import uuid

import hostns
import lab

EXT4_IOC_SHUTDOWN, NO_LOG_FLUSH = 0x8004587d, 2
REBOOT = 133  # systemd-nspawn's exit code when the host asks for a reboot

HOLDER = '''
set -e
dir=$1 mark=$2 name=$3 group=$4
mount -t tmpfs -o size=64k,mode=755 "$mark" "$dir/mark"
# systemd-nspawn cannot remove its folder here at a reboot if it is on a disk.
mkdir -p /run/systemd
mount -t tmpfs -o mode=755 vmig-booted /run/systemd
umount -R /sys/fs/cgroup 2>/dev/null || true
mount -t cgroup2 none /sys/fs/cgroup
mkdir -p "/sys/fs/cgroup/$group/boot" "/sys/fs/cgroup/$group/visitors"
hostname "$name"
ip link set lo up
echo ready
exec sleep infinity >/dev/null 2>&1
'''

# Boots again as long as the host asks for it.
BOOT = f'''
group=$1; shift
code={REBOOT}
while [ $code -eq {REBOOT} ]; do
    code=0
    (echo 0 > "/sys/fs/cgroup/$group/boot/cgroup.procs"; exec systemd-nspawn "$@") || code=$?
    echo "systemd-nspawn ended with $code"
done
exit $code
'''

# Ends every process of the group `$1` and removes it, wherever this machine has its control groups.
REMOVE_GROUP = '''
umount -R /sys/fs/cgroup 2>/dev/null || true
mount -t cgroup2 none /sys/fs/cgroup || exit 0
cd "/sys/fs/cgroup/$1" 2>/dev/null || exit 0
echo 0 > cgroup.freeze
echo 1 > cgroup.kill
tries=0
while grep -q 'populated 1' cgroup.events && [ $tries -lt 400 ]; do sleep 0.05; tries=$((tries + 1)); done
cd /
find "/sys/fs/cgroup/$1" -depth -type d -exec rmdir {} +
'''


def remove_group(group):
    """End and remove a control group and everything in it, if it exists."""
    subprocess.run(['unshare', '--mount', '--propagation', 'private', 'sh', '-c', REMOVE_GROUP, 'sh', group], check=True)


def _own_process(pid):
    """Whether a process is in a PID namespace of its own, as everything is that systemd-nspawn has booted."""
    try:
        with open(f'/proc/{pid}/status', encoding='utf-8', errors='replace') as file:
            numbers = next(line for line in file if line.startswith('NSpid:')).split()[1:]
    except (OSError, StopIteration):
        return None
    return numbers if len(numbers) > 1 else None


class Machine:
    """A booted host. base: its folder on the machine; image: its disk; group: its control group."""

    def __init__(self, directory, host, group):
        self.directory, self.host, self.group = directory, host, group
        self.base = pathlib.Path(directory) / host
        self.image = self.base / 'disk.ext4'
        self.root = self.base / 'root'
        self.now = self.base / 'now'  # a link to the root of what runs
        self.uuid = str(uuid.uuid4())
        self.holder = self.booting = None
        self.binds = []

    # --- namespaces --------------------------------------------------------------------------

    def hold(self):
        """Make the namespaces and mount the disk."""
        for folder in ('mark', 'root'):
            (self.base / folder).mkdir()
        self.holder = subprocess.Popen(
            ['unshare', '--net', '--mount', '--uts', '--propagation', 'private', 'sh', '-c', HOLDER, 'sh', str(self.base),
             hostns.mark(self.directory, self.host), hostns.NAME[self.host], self.group],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd='/', start_new_session=True,
            text=True)
        if self.holder.stdout.readline() != 'ready\n':
            raise RuntimeError(f'{hostns.NAME[self.host]} did not come up: {self.holder.stderr.read()}')
        self.holder.stdout.close()
        self.holder.stderr.close()
        self._mount()

    def outside(self, *argv, check=True):
        """Run a program of this machine in the holder's namespaces."""
        return subprocess.run(['nsenter', '--target', str(self.holder.pid), '--net', '--mount', '--uts', *map(str, argv)],
                              check=check, capture_output=True, text=True, cwd='/')

    def _mount(self):
        self.outside('mount', '-o', 'loop', self.image, self.root)
        self._point_now(f'/proc/{self.holder.pid}/root{self.root}')

    def _point_now(self, target):
        part = self.base / 'now.part'
        part.symlink_to(target)
        part.rename(self.now)

    def disk(self, path):
        """A file of the host's disk as seen from outside, whether the host is on or off."""
        return pathlib.Path(f'/proc/{self.holder.pid}/root{self.root}{path}')

    # --- control group -----------------------------------------------------------------------

    def in_group(self, name=''):
        """A path in the host's control group as seen from outside."""
        return pathlib.Path(f'/proc/{self.holder.pid}/root/sys/fs/cgroup/{self.group}/{name}')

    def processes(self):
        """PIDs (of this machine) of the processes that run on the host."""
        found = []
        for path, _, files in os.walk(self.in_group()):
            if 'cgroup.procs' not in files:
                continue
            try:
                pids = (pathlib.Path(path) / 'cgroup.procs').read_text().split()
            except OSError:
                continue
            found += [int(pid) for pid in pids if _own_process(pid)]
        return sorted(found)

    def freeze(self, on):
        """Stop or continue every process of the host at once."""
        self.in_group('cgroup.freeze').write_text('1' if on else '0')
        while on and 'frozen 1' not in self.in_group('cgroup.events').read_text():
            time.sleep(0.002)

    # --- power -------------------------------------------------------------------------------

    def power_on(self):
        """Boot; returns at once."""
        self.cable(True)
        with open(self.base / 'boot.log', 'ab') as log:
            self.booting = subprocess.Popen(
                ['nsenter', '--target', str(self.holder.pid), '--net', '--mount', '--uts', 'sh', '-c', BOOT, 'sh', self.group,
                 '--quiet', '--boot', f'--directory={self.root}', f'--machine={hostns.NAME[self.host]}',
                 f'--hostname={hostns.NAME[self.host]}', f'--uuid={self.uuid}', '--register=no', '--keep-unit',
                 '--private-users=no', f'--network-namespace-path=/proc/{self.holder.pid}/ns/net', '--capability=all',
                 '--drop-capability=CAP_SYS_MODULE,CAP_SYS_TIME,CAP_SYS_RAWIO', '--system-call-filter=@known',
                 '--resolv-conf=off', '--timezone=off', '--link-journal=no', '--console=read-only',
                 *(f'--bind={outside}:{inside}' for outside, inside in self.binds)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd='/', start_new_session=True)

    def first_process(self):
        """The PID (of this machine) of the host's process 1, or None while it is off. Points `now` to its root."""
        for pid in self.processes():
            numbers = _own_process(pid)
            if not numbers or numbers[-1] != '1' or len(numbers) > 2:
                continue
            target = f'/proc/{pid}/root'
            try:
                ready = os.path.samefile(f'{target}/', self.disk('/'))
            except OSError:
                continue
            if ready and (not self.now.is_symlink() or os.readlink(self.now) != target):
                self._point_now(target)
            return pid if ready else None
        return None

    def cable(self, plugged):
        """Plug or pull the network cable."""
        self.outside('ip', 'link', 'set', 'eth0', 'up' if plugged else 'down')

    def power_cut(self):
        """Stop everything now; un-synced data is lost. power_back() is needed before the next power_on()."""
        self.freeze(True)
        self.cable(False)
        descriptor = os.open(self.disk('/'), os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(descriptor, EXT4_IOC_SHUTDOWN, array.array('I', [NO_LOG_FLUSH]))
        finally:
            os.close(descriptor)
        # A signal to a frozen group takes effect at once. The loop that boots again must not see a reboot.
        os.killpg(self.booting.pid, signal.SIGKILL)
        self.in_group('cgroup.kill').write_text('1')
        self.booting.wait()
        self.freeze(False)
        self._point_now('/nonexistent')
        # The kernel removes the mount namespaces of killed processes later. Until then it has the file system that was
        # shut down, and another mount of the same file would be that one.
        lab.wait_until(lambda: self.outside('umount', self.root, check=False).returncode == 0, 30, f'umount {self.root}')
        lab.wait_until(lambda: not self.outside('losetup', '--associated', self.image).stdout, 30, f'the release of {self.image}')

    def power_back(self):
        """Mount the disk again, as it was at the power cut, and boot."""
        self._mount()
        self.power_on()
