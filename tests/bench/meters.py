# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the machine, the processes and the guest did while something was measured, from outside of them."""
import mmap
import os
import pathlib
import threading
import time

SECTOR = 512
TICK = os.sysconf('SC_CLK_TCK')
MIB = 1 << 20


def drop_caches():
    """Write everything out and forget it, where that is allowed."""
    os.sync()
    try:
        pathlib.Path('/proc/sys/vm/drop_caches').write_text('3', encoding='ascii')
    except OSError:
        pass


class Machine:
    """`with Machine(folder) as m`: bytes that the folder's disk read and wrote, and how busy the processors were."""

    def __init__(self, folder):
        device = os.stat(folder).st_dev
        self.device = [str(os.major(device)), str(os.minor(device))]
        self.seconds = self.read = self.written = self.busy = None

    def _disk(self):
        for line in pathlib.Path('/proc/diskstats').read_text(encoding='ascii').splitlines():
            words = line.split()
            if words[:2] == self.device:
                return int(words[5]) * SECTOR, int(words[9]) * SECTOR
        return 0, 0

    @staticmethod
    def _processors():
        line = pathlib.Path('/proc/stat').read_text(encoding='ascii').split('\n', 1)[0]
        words = [int(word) for word in line.split()[1:]]
        idle = words[3] + words[4]
        return sum(words[:8]) - idle, sum(words[:8])

    def __enter__(self):
        self._begin = time.monotonic(), *self._disk(), *self._processors()
        return self

    def __exit__(self, *_):
        begin, read, written, busy, total = self._begin
        now_read, now_written = self._disk()
        now_busy, now_total = self._processors()
        self.seconds = time.monotonic() - begin
        self.read, self.written = now_read - read, now_written - written
        self.busy = (now_busy - busy) / max(now_total - total, 1)

    def facts(self):
        """What it saw, as plain numbers."""
        return {'disk_read': self.read, 'disk_written': self.written, 'busy': self.busy}


class Processes(threading.Thread):
    """`with Processes(lab, names) as p`: CPU seconds and peak memory of the lab's processes with these names.

    Looks ten times a second: of a process that ends, what it did after the last look is not seen.
    """

    def __init__(self, lab, names):
        super().__init__(daemon=True)
        self.names = names
        self.nets = {os.readlink(f'/proc/{pid}/ns/net') for pid in lab.pids.values()}
        self.strangers = set()
        self.seen = {}  # {pid: [name, CPU s at the first look (0 where it began later), CPU s, VmHWM in KiB]}
        self.words = {}  # {pid: its arguments}
        self.over = threading.Event()

    def __enter__(self):
        self._look(True)
        self.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.join()
        self._look(False)

    def run(self):
        while not self.over.wait(0.1):
            self._look(False)

    def _look(self, first):
        alive = {int(name) for name in os.listdir('/proc') if name.isdigit()}
        self.strangers &= alive
        for pid in alive - self.strangers:
            try:
                if pid not in self.seen and os.readlink(f'/proc/{pid}/ns/net') not in self.nets:
                    self.strangers.add(pid)
                    continue
                self._note(pid, first)
            except (OSError, IndexError):
                continue

    def _note(self, pid, first):
        folder = pathlib.Path(f'/proc/{pid}')
        name = (folder / 'comm').read_text(encoding='utf-8').strip()
        fields = (folder / 'stat').read_text(encoding='utf-8').rsplit(')', 1)[1].split()
        cpu = (int(fields[11]) + int(fields[12])) / TICK
        memory = 0
        if name in self.names:
            status = (folder / 'status').read_text(encoding='utf-8')
            memory = int(status.split('VmHWM:')[1].split()[0]) if 'VmHWM:' in status else 0
            self.words[pid] = (folder / 'cmdline').read_text(encoding='utf-8').split('\0')[1:3] or \
                self.words.get(pid, [])
        before = self.seen.get(pid)
        since = before[1] if before else (cpu if first else 0)
        # A process that is about to end has no memory any more.
        self.seen[pid] = [name, since, cpu, memory or (before[3] if before and before[0] == name else 0)]

    def cpu(self, *names):
        """Seconds of all with one of these names."""
        return sum(cpu - since for name, since, cpu, _ in self.seen.values() if name in names)

    def memory(self, *names):
        """Bytes: the sum of each one's peak."""
        return sum(peak << 10 for name, _, _, peak in self.seen.values() if name in names)

    def each_memory(self, *names):
        """[[arguments, bytes]], the most first."""
        found = [[' '.join(self.words.get(pid, [])).strip(), peak << 10]
                 for pid, (name, _, _, peak) in self.seen.items() if name in names]
        return sorted(found, key=lambda pair: -pair[1])


class Console(threading.Thread):
    """`with Console(lab, guest, source, dest) as c`: the guest says each write that its disk acknowledged; this looks
    from outside how long nothing was said.

    stall: the longest silence in seconds, and in `at` when it ended (time.monotonic()); gap: between the last that the
    source's QEMU printed and the first that the destination's did, None where it stayed.
    """

    LOOK = 0.002

    def __init__(self, lab, guest, source, dest):
        super().__init__(daemon=True)
        path = lab.console_path(guest)
        self.here, self.there = lab.path(source, path), lab.path(dest, path)
        self.over = threading.Event()
        self.stall, self.at, self.gap = 0.0, 0.0, None

    @staticmethod
    def _size(path):
        try:
            return os.stat(path).st_size
        except FileNotFoundError:
            return 0

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.join()

    def run(self):
        sizes = self._size(self.here), self._size(self.there)
        last = last_here = time.monotonic()
        moved = False
        while not self.over.wait(self.LOOK):
            now_sizes, now = (self._size(self.here), self._size(self.there)), time.monotonic()
            if now_sizes == sizes:
                continue
            if now - last > self.stall:
                self.stall, self.at = now - last, now
            if now_sizes[1] != sizes[1] and not moved:
                moved, self.gap = True, now - last_here
            if now_sizes[0] != sizes[0]:
                last_here = now
            last, sizes = now, now_sizes


def disk_rate(path, size, write):
    """Bytes a second that the disk gives past the page cache, eight requests of 1 MiB at a time; a write ends with a
    sync of what fallocate() had reserved."""
    fd = os.open(path, os.O_DIRECT | (os.O_RDWR | os.O_CREAT if write else os.O_RDONLY), 0o600)
    if write:
        os.posix_fallocate(fd, 0, size)
    offsets = iter(range(0, size - MIB + 1, MIB))
    lock = threading.Lock()

    def work():
        buffer = mmap.mmap(-1, MIB)
        buffer.write(os.urandom(MIB))
        while True:
            with lock:
                offset = next(offsets, None)
            if offset is None:
                return
            (os.pwritev if write else os.preadv)(fd, [buffer], offset)

    begin = time.monotonic()
    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    os.fsync(fd)
    took = time.monotonic() - begin
    os.close(fd)
    return size / took
