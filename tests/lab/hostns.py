# SPDX-License-Identifier: LGPL-2.1-or-later
"""The two hosts of the lab as kernel objects: namespaces, mounts, veth, and their processes.

A host is a holder process in its own network, mount and UTS namespaces. The namespaces have no name: they vanish with
the last process of the host, and nothing is left to clean up. The first mount of each host is a tiny tmpfs whose
*source* names the lab. Every process of the lab has this mark in its /proc/PID/mountinfo. So a stale or incomplete lab
can be found and ended, and no other process can be mistaken for it.
"""
import contextlib
import fcntl
import json
import os
import pathlib
import shutil
import signal
import subprocess
import time

CACHE = pathlib.Path(os.environ.get('VMIG_LAB_CACHE', '/var/tmp/vmig-lab-cache'))
HOSTS = ('a', 'b')
ADDRESS = {'a': '192.0.2.1', 'b': '192.0.2.2'}
NAME = {'a': 'vmig-a', 'b': 'vmig-b'}

# (folder under DIR/HOST, where the host sees it). Missing mount points are first created on the machine; see
# made_mount_points().
FOLDERS = [('run', '/run'), ('etc-libvirt', '/etc/libvirt'),
           ('var-lib-libvirt', '/var/lib/libvirt'), ('var-log-libvirt', '/var/log/libvirt'),
           ('var-cache-libvirt', '/var/cache/libvirt'),
           ('root-ssh', '/root/.ssh'), ('vmig-state', '/var/lib/vmig-snap'),
           ('vmig-etc', '/etc/vmig-snap'), ('vmig2', '/srv/vmig2')]
FILES = [('etc-hosts', '/etc/hosts'), ('etc-shadow', '/etc/shadow'),
         ('etc-passwd', '/etc/passwd'), ('etc-group', '/etc/group'),
         ('etc-sudoers', '/etc/sudoers'), ('etc-machine-id', '/etc/machine-id'), ('root-bashrc', '/root/.bashrc')]

HOLDER = '''
set -e
dir=$1 mark=$2 name=$3; shift 3
mount -t tmpfs -o size=64k,mode=755 "$mark" "$dir/mark"
while [ $# -gt 0 ]; do mount --bind "$dir/$1" "$2"; shift 2; done
hostname "$name"
ip link set lo up
echo ready
exec sleep infinity >/dev/null 2>&1
'''


def mark(directory, host):
    """The tmpfs source that marks a process as belonging to this host of this lab."""
    return f'vmig-lab:{host}:{directory}'


def _namespaces(pid):
    return tuple(os.readlink(f'/proc/{pid}/ns/{kind}') for kind in ('net', 'mnt'))


def _all_pids():
    return [int(name) for name in os.listdir('/proc') if name.isdigit()]


def _has_mark(pid, wanted):
    with open(f'/proc/{pid}/mountinfo', encoding='utf-8', errors='replace') as file:
        return any(f' - tmpfs {wanted}' in line for line in file)


def processes(directory, hosts=HOSTS):
    """PIDs of every process in the namespaces of these hosts of the lab in `directory`.

    A process counts if it has the mark, or shares the network or mount namespace of one that has
    (a chroot hides the mark). The machine's own namespaces never count.
    """
    own = set(_namespaces('self'))
    try:
        own |= set(_namespaces(1))
    except OSError:
        pass  # in a container PID 1 may be inaccessible, and then everything in its namespaces is, too
    seen = {}
    lab = set()
    for pid in _all_pids():
        try:
            seen[pid] = set(_namespaces(pid)) - own
            if seen[pid] and any(_has_mark(pid, mark(directory, h) + ' ') for h in hosts):
                lab |= seen[pid]
        except OSError:
            continue
    return sorted(pid for pid, spaces in seen.items() if spaces & lab)


def other_labs_exist():
    """Whether any process of any lab, in any folder, is alive."""
    for pid in _all_pids():
        try:
            if _has_mark(pid, 'vmig-lab:'):
                return True
        except OSError:
            continue
    return False


def kill(pids_of, timeout=20.0):
    """SIGKILL what pids_of() lists until it lists nothing; this also catches processes forked meanwhile."""
    deadline = time.monotonic() + timeout
    while pids := pids_of():
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        if time.monotonic() > deadline:
            raise TimeoutError(f'processes {pids} of the lab do not die')
        time.sleep(0.01)


class _Locked:
    """A lock over the machine-wide list of the mount points that labs have created."""

    def __enter__(self):
        CACHE.mkdir(parents=True, exist_ok=True)
        self.path = CACHE / 'made-mount-points.json'
        self.lock = open(CACHE / 'lock', 'w', encoding='utf-8')
        fcntl.flock(self.lock, fcntl.LOCK_EX)
        try:
            self.made = json.loads(self.path.read_text())
        except (FileNotFoundError, ValueError):
            self.made = []
        return self

    def __exit__(self, *_):
        if self.made:
            self.path.write_text(json.dumps(self.made))
        else:
            self.path.unlink(missing_ok=True)
        self.lock.close()


@contextlib.contextmanager
def mount_points():
    """Ensures that the mount points exist on the machine while a host starts.

    Remembers which of them were missing. Locked until the host has its mounts: a lab that ends at the same time does
    not see this one yet and would remove them.
    """
    with _Locked() as state:
        for _, target in FOLDERS:
            path = pathlib.Path(target)
            for folder in [*reversed(path.parents), path]:
                if not folder.exists():
                    folder.mkdir(mode=0o700 if folder.name == '.ssh' else 0o755)
                    state.made.append(str(folder))
        yield


def remove_mount_points():
    """Remove the created folders that are still empty, unless another lab needs them.

    (Removing a folder detaches what other mount namespaces have mounted on it.)
    """
    with _Locked() as state:
        if other_labs_exist():
            return
        for folder in sorted(state.made, reverse=True):
            try:
                os.rmdir(folder)
            except OSError:
                pass
        state.made = []


def start_holder(directory, host):
    """Start a host's namespaces with all binds in place; return the holder's PID."""
    base = pathlib.Path(directory) / host
    (base / 'mark').mkdir(exist_ok=True)
    pairs = []
    for name, target in FOLDERS:
        (base / name).mkdir(exist_ok=True)
        pairs += [name, target]
    for name, target in FILES:
        if (base / name).exists() and os.path.exists(target):
            pairs += [name, target]
    with mount_points():
        return _start(base, mark(directory, host), NAME[host], pairs)


def _start(base, its_mark, name, pairs):
    holder = subprocess.Popen(
        ['unshare', '--net', '--mount', '--uts', '--propagation', 'private', 'sh', '-c', HOLDER,
         'sh', str(base), its_mark, name, *pairs],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd='/',
        start_new_session=True, text=True)
    if holder.stdout.readline() != 'ready\n':
        raise RuntimeError(f'host {name} did not come up: {holder.stderr.read()}')
    holder.stdout.close()
    holder.stderr.close()
    return holder


def connect(pids):
    """Connect the two hosts by a veth pair created directly in their namespaces."""
    subprocess.run(['ip', 'link', 'add', 'name', 'eth0', 'netns', str(pids['a']), 'type', 'veth',
                    'peer', 'name', 'eth0', 'netns', str(pids['b'])], check=True)
    for host in HOSTS:
        enter = ['nsenter', '--target', str(pids[host]), '--net']
        subprocess.run([*enter, 'ip', 'address', 'add', f'{ADDRESS[host]}/24', 'dev', 'eth0'],
                       check=True)
        subprocess.run([*enter, 'ip', 'link', 'set', 'eth0', 'up'], check=True)


def _copy_all(source, target):
    """Copy files; each appears complete or not at all."""
    if source.is_dir():
        target.mkdir(parents=True, exist_ok=True)
        for file in source.glob('*.xml'):
            part = target / f'.{file.name}.{os.getpid()}'
            shutil.copy2(file, part)
            part.rename(target / file.name)


def keep_capabilities(directory):
    """Keep libvirtd's probed QEMU capabilities for the next lab: probing takes 8 s per host.

    libvirtd itself checks that they still match its own and QEMU's timestamps.
    """
    for host in HOSTS:
        _copy_all(pathlib.Path(directory) / host / 'var-cache-libvirt/qemu/capabilities',
                  CACHE / 'capabilities')


def give_capabilities(base):
    """Give a new host the capabilities that an earlier lab kept."""
    _copy_all(CACHE / 'capabilities', base / 'var-cache-libvirt/qemu/capabilities')


def remove_folder(directory):
    """Remove the lab's folder; first detach leftover mounts and loop devices inside it."""
    prefix = f'{directory}/'
    loops = subprocess.run(['losetup', '-n', '-l', '-O', 'NAME,BACK-FILE'], capture_output=True,
                           text=True, check=False).stdout
    for line in loops.splitlines():
        device, _, file = line.partition(' ')
        if file.strip().startswith(prefix):
            subprocess.run(['losetup', '-d', device], check=False)
    with open('/proc/self/mountinfo', encoding='utf-8') as file:
        inside = [line.split()[4] for line in file if line.split()[4].startswith(prefix)]
    for target in reversed(inside):
        subprocess.run(['umount', target], check=True)
    shutil.rmtree(directory, ignore_errors=False)
