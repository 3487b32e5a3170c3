# SPDX-License-Identifier: LGPL-2.1-or-later
"""Faults that a test can inject into the lab's hosts. Mixed into lab.Lab."""
import os
import shutil
import signal

import config
import hostns


class FaultsMixin:
    """Network and power of a Lab's hosts."""

    def link(self, up, host='a'):
        """Pull (False) or plug (True) the cable between the hosts."""
        self.run(host, ['ip', 'link', 'set', 'eth0', 'up' if up else 'down'])

    def silence(self, on, host='b'):
        """Drop (True) every packet that arrives at this host, without notifying the sender."""
        rule = ['INPUT', '-i', 'eth0', '-j', 'DROP']
        self.run(host, ['iptables', '-I' if on else '-D', *rule])

    def rate(self, mbit, hosts=hostns.HOSTS):
        """Limit what these hosts send to `mbit` Mbit/s; None lifts the limit."""
        for host in hosts:
            self.run(host, ['tc', 'qdisc', 'del', 'dev', 'eth0', 'root'], check=False)
            if mbit:
                self.run(host, ['tc', 'qdisc', 'add', 'dev', 'eth0', 'root', 'tbf', 'rate',
                                f'{mbit}mbit', 'burst', '128kb', 'latency', '100ms'])

    def tmpfs(self, host, path, size):
        """Mount an empty tmpfs over a folder of this host: a full disk on demand ('64m')."""
        self.run(host, ['mount', '-t', 'tmpfs', '-o', f'size={size}', 'vmig-small', path])

    def freeze(self, host, on, *names):
        """SIGSTOP (or SIGCONT) the processes with these names; without names, all but the holder."""
        for pid in self.processes(host, *names):
            if pid != self.pids[host]:
                os.kill(pid, signal.SIGSTOP if on else signal.SIGCONT)

    def crash(self, host):
        """Power failure of the host: every process but the holder is killed, and /run is emptied.

        Data written without a flush is still there (the kernel survives), so this shows what a tool loses, not what a
        disk loses. boot() starts the host's daemons again.
        """
        hostns.kill(lambda: [pid for pid in hostns.processes(self.dir, (host,))
                             if pid != self.pids[host]])
        run = self.dir / host / 'run'
        for name in os.listdir(run):
            path = run / name
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        config.make_run(self.dir / host)

    def boot(self, host):
        """Start the daemons of a host after crash() and wait until they answer."""
        self.start_daemons(host)
        self.wait_ready(host)
