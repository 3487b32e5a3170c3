# SPDX-License-Identifier: LGPL-2.1-or-later
"""The guest's promises: the console lines of guest/init.c as chains of acknowledged writes.

Each write names its predecessor by hash. So the lines in both hosts' console files form a tree per disk, whatever the
number of migrations and reverts. The guest's current state is one leaf; the path from that leaf back to the boot is
what the disk must hold. A revert continues from an inner node. If both hosts continue from one node without a revert,
two copies of the guest run.
"""
import collections
import dataclasses
import re

LINE = re.compile(rb'^W (\w) (\d+) (\d+) (\d+)\.(\d\d\d) ([0-9a-f]{16}) ([0-9a-f]{16})\r*$')
BOOT = re.compile(rb'^B ([0-9a-f]{16})\r*$')
MASK = (1 << 64) - 1
TROUBLE = re.compile(rb'^(ERROR .*?|E \w .*?)\r*$')


@dataclasses.dataclass(eq=False, slots=True)
class Write:
    """One acknowledged write. `us`: guest clock at its start. `at`: place in the host's console."""
    disk: str
    block: int
    seq: int
    us: int
    hash: int
    prev: int
    nonce: int
    host: str
    at: int


def chain_hash(nonce, disk, block, seq, us, prev):
    """The hash that names a write: same fields, same order as in init.c."""
    known = 0
    for word in (nonce, block, seq, us, ord(disk), prev):
        known = (known + 0x9e3779b97f4a7c15 + word) & MASK
        known = (known ^ known >> 30) * 0xbf58476d1ce4e5b9 & MASK
        known = (known ^ known >> 27) * 0x94d049bb133111eb & MASK
        known ^= known >> 31
    return known


class WriteLog:
    """The writes found in console files.

    consoles   {host: bytes}, in the order in which the guest first came to the hosts
    errors     the guest's own errors: ERROR (a read-back failed) and E (a write failed) lines
    damaged    lines that start with W but are not valid: a revert or a kill of QEMU truncates the line
               being printed, and the next QEMU appends to it
    """

    def __init__(self, consoles):
        self.order = {host: i for i, host in enumerate(consoles)}
        self.writes = {}      # (disk, hash) -> Write; the first of several equal lines
        self.by_host = {}     # (host, disk) -> [Write], as printed
        self.boots = []       # (host, at, nonce)
        self.errors = []
        self.damaged = []
        lines = [(host, at, line) for host, text in self._joined(consoles).items()
                 for at, line in enumerate(text.split(b'\n')[:-1])]
        for host, at, line in lines:
            if match := BOOT.match(line):
                self.boots.append((host, at, int(match[1], 16)))
        for host, at, line in lines:
            self._take(host, at, line)

    def _joined(self, consoles):
        """Joins a line that the switchover split between two hosts' consoles."""
        texts = dict(consoles)
        for first in consoles:
            tail = texts[first].rpartition(b'\n')[2]
            if not tail.startswith(b'W') or LINE.match(tail):
                continue
            for second in consoles:
                head = texts[second].partition(b'\n')[0]
                if second != first and LINE.match(tail + head):
                    texts[second] = tail + texts[second]
        return texts

    def _take(self, host, at, line):
        if trouble := TROUBLE.match(line):
            self.errors.append((host, trouble[1].decode(errors='replace')))
        match = LINE.match(line)
        if not match:
            if line.startswith(b'W '):
                self.damaged.append((host, at, line))
            return
        disk = match[1].decode()
        block, seq, ms, us = (int(match[i]) for i in (2, 3, 4, 5))
        own, prev = int(match[6], 16), int(match[7], 16)
        us += ms * 1000
        for nonce in dict.fromkeys(boot[2] for boot in reversed(self.boots)):
            if chain_hash(nonce, disk, block, seq, us, prev) == own:
                write = Write(disk, block, seq, us, own, prev, nonce, host, at)
                self.by_host.setdefault((host, disk), []).append(write)
                self.writes.setdefault((disk, own), write)
                return
        self.damaged.append((host, at, line))

    def disks(self):
        """The letters of all disks that were written to."""
        return sorted({disk for disk, _ in self.writes})

    def hosts(self):
        """The hosts, in the order given."""
        return list(self.order)

    def leaf(self, disk, host):
        """The last write printed on this host, None if none was."""
        writes = self.by_host.get((host, disk))
        return writes[-1] if writes else None

    def path(self, leaf):
        """Yields the writes from this one back to the first of the first boot, newest first."""
        while leaf:
            yield leaf
            leaf = self.parent(leaf)

    def parent(self, write):
        """The write before this one; over a lost line or a boot, the nearest one before it."""
        known = self.writes.get((write.disk, write.prev))
        if known:
            return known
        first = write.prev == chain_hash(write.nonce, write.disk, 0, 0, 0, 0)
        return self._before_boot(write) if first else self._over_gap(write)

    def _over_gap(self, write):
        """For a missing line: the newest known write of the same boot with a smaller number."""
        best = None
        for (host, disk), writes in self.by_host.items():
            if disk != write.disk:
                continue
            for other in writes:
                earlier = host != write.host or other.at < write.at
                if earlier and other.nonce == write.nonce and other.seq < write.seq and \
                        (best is None or (other.seq, host == write.host) >= (best.seq, False)):
                    best = other
        return best

    def _before_boot(self, write):
        """The last write before the boot that begins with this write."""
        boot = next((b for b in self.boots if b[2] == write.nonce), None)
        if boot is None:
            return None
        host, at, _ = boot
        here = [w for w in self.by_host.get((host, write.disk), []) if w.at < at]
        if here:
            return here[-1]
        for earlier in [h for h in reversed(self.hosts()) if self.order[h] < self.order[host]]:
            if leaf := self.leaf(write.disk, earlier):
                return leaf
        return None

    def last_acknowledged(self, disk, host):
        """{block: Write} that the disk must hold if `host` printed the guest's last line."""
        newest = {}
        for write in self.path(self.leaf(disk, host)):
            newest.setdefault(write.block, write)
        return newest

    def forks(self, between_hosts=True):
        """Writes with two different successors: [(disk, seq, {hosts})].

        A fork between hosts without a revert or a rollback of the guest means that two copies ran.
        """
        ways = collections.defaultdict(dict)
        for (host, disk), writes in self.by_host.items():
            for write in writes:
                ways[disk, write.prev].setdefault(write.hash, (write.seq, set()))[1].add(host)
        found = []
        for (disk, _), children in ways.items():
            hosts = set().union(*(hosts for _, hosts in children.values()))
            if len(children) > 1 and (len(hosts) > 1 or not between_hosts):
                found.append((disk, min(seq for seq, _ in children.values()), hosts))
        return found

    def gaps(self, disk, host):
        """The number of missing lines on the path from the leaf back."""
        return sum(1 for write in self.path(self.leaf(disk, host))
                   if (disk, write.prev) not in self.writes and
                   write.prev != chain_hash(write.nonce, disk, 0, 0, 0, 0))

    def longest_stall(self, disk, host, since_seq=0):
        """(milliseconds, seq) of the longest time between the starts of two consecutive writes.

        Uses the guest's clock, which stops while the guest is paused, so it measures how long I/O was blocked in the
        running guest. oracle.StallWatch includes pauses.
        """
        worst = (0.0, 0)
        later = None
        for write in self.path(self.leaf(disk, host)):
            if later and later.nonce == write.nonce and write.seq >= since_seq:
                worst = max(worst, ((later.us - write.us) / 1000, write.seq))
            later = write
        return worst
