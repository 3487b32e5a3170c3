# SPDX-License-Identifier: LGPL-2.1-or-later
"""Reads qcow2 and raw images without QEMU: the guest's current content and that of every internal snapshot.

An independent oracle: it shares no code with the program under test, takes no locks and changes nothing. So it can read
an image that a guest has open (suspend the guest first: QEMU flushes its caches then). Digests cover content, not
allocation: a cluster of zeros and a hole are equal, so an image that was copied sparsely or defragmented compares
equal. Cluster digests are cached by their place in the file, so that data shared by several snapshots is hashed once.
"""
import dataclasses
import hashlib
import os
import struct
import zlib

OFFSET_MASK = 0x00fffffffffffe00
COMPRESSED = 1 << 62
ZERO_BIT = 1
EXTENDED_L2 = 1 << 4


@dataclasses.dataclass
class Snapshot:
    """One row of an image's snapshot table."""
    id: str
    name: str
    date_sec: int
    date_nsec: int
    vm_clock_nsec: int
    vm_state_size: int
    disk_size: int
    l1_offset: int
    l1_size: int


class RawImage:
    """A raw image with the same interface."""

    def __init__(self, path):
        self.path = path
        self.fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.size = os.lseek(self.fd, 0, os.SEEK_END)
        self.cluster_size = 65536
        self.backing = None
        self.snapshots = []

    def close(self):
        """Close the file."""
        os.close(self.fd)

    def read(self, offset, length):
        """Guest content; zeros beyond the end."""
        return os.pread(self.fd, length, offset).ljust(length, b'\0')

    def clusters(self):
        """Yield (index, content) of the clusters that are not holes."""
        at = 0
        while at < self.size:
            try:
                at = os.lseek(self.fd, at, os.SEEK_DATA)
            except OSError:
                return
            index = at // self.cluster_size
            yield index, self.read(index * self.cluster_size, self.cluster_size)
            at = (index + 1) * self.cluster_size

    def digest(self):
        """SHA-256 over the content, comparable with Qcow2Image.digest() for 64 KiB clusters."""
        total = hashlib.sha256()
        for index, data in self.clusters():
            if data.count(0) != len(data):
                total.update(struct.pack('<Q', index) + hashlib.sha256(data).digest())
        return total.hexdigest()


class Qcow2Image:
    """A qcow2 file and its backing chain. `resolve` maps a backing path to one that can be opened here."""

    def __init__(self, path, resolve=None, follow_backing=True):
        self.path = path
        self.fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._digests = {}
        self._tables = {}
        self._read_header()
        self.snapshots = list(self._read_snapshots())
        self.l1 = self._read_table(self.l1_offset, self.l1_size)
        self.backing = None
        if self.backing_name and follow_backing:
            name = os.path.join(os.path.dirname(path), self.backing_name)
            if self.backing_name.startswith('/') and resolve:
                name = resolve(self.backing_name)
            self.backing = open_image(name, resolve)

    def close(self):
        """Close the file and its backing files."""
        os.close(self.fd)
        if self.backing:
            self.backing.close()

    # --- the file's structures -----------------------------------------------------------------

    def _pread(self, offset, length):
        return os.pread(self.fd, length, offset)

    def _read_header(self):
        head = self._pread(0, 112)
        (magic, version, backing_offset, backing_size, self.cluster_bits, self.size, crypt,
         self.l1_size, self.l1_offset, _, _, self.nb_snapshots, self.snapshots_offset) = \
            struct.unpack_from('>IIQIIQIIQQIIQ', head)
        if magic != 0x514649fb or crypt:
            raise ValueError(f'{self.path}: not a plain qcow2 image')
        self.incompatible = struct.unpack_from('>Q', head, 72)[0] if version >= 3 else 0
        if self.incompatible & 4:
            raise ValueError(f'{self.path}: external data files are not supported')
        self.zstd = version >= 3 and bool(self.incompatible & 8)
        self.cluster_size = 1 << self.cluster_bits
        self.extended = bool(self.incompatible & EXTENDED_L2)
        self.l2_entries = self.cluster_size // (16 if self.extended else 8)
        self.backing_name = self._pread(backing_offset, backing_size).decode() \
            if backing_offset else None

    def _read_snapshots(self):
        at = self.snapshots_offset
        for _ in range(self.nb_snapshots):
            (l1_offset, l1_size, id_size, name_size, sec, nsec, clock, state, extra_size) = \
                struct.unpack('>QIHHIIQII', self._pread(at, 40))
            extra = self._pread(at + 40, extra_size)
            strings = self._pread(at + 40 + extra_size, id_size + name_size)
            yield Snapshot(strings[:id_size].decode(), strings[id_size:].decode(), sec, nsec, clock,
                           struct.unpack_from('>Q', extra)[0] if extra_size >= 8 else state,
                           struct.unpack_from('>Q', extra, 8)[0] if extra_size >= 16 else self.size,
                           l1_offset, l1_size)
            at += (40 + extra_size + id_size + name_size + 7) & ~7

    def _read_table(self, offset, entries):
        return struct.unpack(f'>{entries}Q', self._pread(offset, entries * 8))

    def _l2(self, l1, index):
        """The L2 entries of an L1 index as a tuple of words, None if there is no table."""
        offset = l1[index] & OFFSET_MASK if index < len(l1) else 0
        if not offset:
            return None
        if offset not in self._tables:
            self._tables[offset] = self._read_table(offset, self.cluster_size // 8)
        return self._tables[offset]

    def _decompress(self, entry):
        shift = 62 - (self.cluster_bits - 8)
        offset = entry & ((1 << shift) - 1)
        sectors = ((entry >> shift) & ((1 << (self.cluster_bits - 8)) - 1)) + 1
        data = self._pread(offset, sectors * 512 - (offset & 511))
        if self.zstd:
            raise ValueError(f'{self.path}: zstd compression is not supported')
        return zlib.decompressobj(-15).decompress(data, self.cluster_size)

    # --- content -------------------------------------------------------------------------------

    def _from_backing(self, index, below):
        """The backing content of a cluster, None if there is none. `below`: whether to read backing files."""
        start = index << self.cluster_bits
        if not below or not self.backing or start >= self.backing.size:
            return None
        length = min(self.cluster_size, self.backing.size - start)
        return self.backing.read(start, length).ljust(self.cluster_size, b'\0')

    def _subclusters(self, words, slot, index, below):
        """A cluster of an image with extended L2 entries, None if it is all zeros by its maps."""
        entry, bitmap = words[2 * slot], words[2 * slot + 1]
        if not bitmap and not below:
            return None
        size = self.cluster_size // 32
        host = entry & OFFSET_MASK
        own = self._pread(host, self.cluster_size) if host else b''
        back = self._from_backing(index, below) or bytes(self.cluster_size)
        parts = []
        for bit in range(32):
            part = slice(bit * size, (bit + 1) * size)
            zero = bitmap >> (32 + bit) & 1
            parts.append(bytes(size) if zero else own[part] if bitmap >> bit & 1 else back[part])
        return b''.join(parts)

    def _cluster(self, l1, index, below=True):
        """(place in the file or None, content or None for zeros) of a guest cluster."""
        words = self._l2(l1, index // self.l2_entries)
        slot = index % self.l2_entries
        if words is None:
            return None, self._from_backing(index, below)
        entry = words[2 * slot if self.extended else slot]
        if entry & COMPRESSED:
            return entry, self._decompress(entry)
        if self.extended:
            return None, self._subclusters(words, slot, index, below)
        if entry & ZERO_BIT:
            return None, None
        host = entry & OFFSET_MASK
        if not host:
            return None, self._from_backing(index, below)
        if host in self._digests:
            return host, None
        return host, self._pread(host, self.cluster_size).ljust(self.cluster_size, b'\0')

    def read(self, offset, length, snapshot=None):
        """Guest content at an offset, now or in a snapshot."""
        l1 = self._l1_of(snapshot)
        parts = []
        while length > 0:
            index, skip = divmod(offset, self.cluster_size)
            take = min(length, self.cluster_size - skip)
            words = self._l2(l1, index // self.l2_entries)
            entry = words[index % self.l2_entries] if words and not self.extended else None
            if entry and not entry & (COMPRESSED | ZERO_BIT) and entry & OFFSET_MASK:
                parts.append(self._pread((entry & OFFSET_MASK) + skip, take).ljust(take, b'\0'))
            else:
                data = self._cluster(l1, index)[1]
                parts.append(data[skip:skip + take] if data else bytes(take))
            offset += take
            length -= take
        return b''.join(parts)

    def find_snapshot(self, key):
        """The snapshot with this name, or with this id if no name matches."""
        for field in ('name', 'id'):
            for snapshot in self.snapshots:
                if getattr(snapshot, field) == key:
                    return snapshot
        raise KeyError(f'{self.path}: no snapshot {key!r}')

    def _l1_of(self, snapshot):
        if snapshot is None:
            return self.l1
        if isinstance(snapshot, str):
            snapshot = self.find_snapshot(snapshot)
        return self._read_table(snapshot.l1_offset, snapshot.l1_size)

    def _allocated(self, l1, first, end, below):
        """Guest cluster indexes that may hold data, skipping what no table covers."""
        step = self.l2_entries
        for table in range(first // step, (end + step - 1) // step):
            words = self._l2(l1, table)
            start = max(table * step, first)
            stop = min((table + 1) * step, end)
            if words is None and not (below and self.backing):
                continue
            stride = 2 if self.extended else 1
            for index in range(start, stop):
                if (below and self.backing) or any(words[(index % step) * stride:][:stride]):
                    yield index

    def _digest_range(self, l1, first, end, below):
        total = hashlib.sha256()
        for index in self._allocated(l1, first, end, below):
            place, data = self._cluster(l1, index, below)
            digest = self._digests.get(place) if place is not None else None
            if data is not None:
                zero = data[:64].count(0) == 64 and data.count(0) == len(data)
                digest = b'' if zero else hashlib.sha256(data).digest()
                if place is not None:
                    self._digests[place] = digest
            if digest:
                total.update(struct.pack('<Q', index - first) + digest)
        return total.hexdigest()

    def digest(self, snapshot=None):
        """SHA-256 over the guest-visible content, now or of a snapshot."""
        if isinstance(snapshot, str):
            snapshot = self.find_snapshot(snapshot)
        size = snapshot.disk_size if snapshot else self.size
        return self._digest_range(self._l1_of(snapshot), 0, -(-size // self.cluster_size), True)

    def vmstate_digest(self, snapshot):
        """SHA-256 over a snapshot's saved machine state, None if it has none.

        The state lies in the same address space, behind the last L1 entry the disk needs.
        """
        if isinstance(snapshot, str):
            snapshot = self.find_snapshot(snapshot)
        if not snapshot.vm_state_size:
            return None
        per_l1 = self.cluster_size * self.l2_entries
        first = -(-snapshot.disk_size // per_l1) * self.l2_entries
        end = first + -(-snapshot.vm_state_size // self.cluster_size)
        return self._digest_range(self._l1_of(snapshot), first, end, False)

    def place_of(self, offset, snapshot=None):
        """Offset in the file of the guest byte at `offset`, None if there is no plain cluster.

        For injecting a corruption.
        """
        index, skip = divmod(offset, self.cluster_size)
        words = self._l2(self._l1_of(snapshot), index // self.l2_entries)
        entry = words[index % self.l2_entries] if words and not self.extended else 0
        if entry & (COMPRESSED | ZERO_BIT) or not entry & OFFSET_MASK:
            return None
        return (entry & OFFSET_MASK) + skip


def open_image(path, resolve=None, follow_backing=True):
    """Open an image as raw or qcow2, judging by its first bytes."""
    with open(path, 'rb') as file:
        magic = file.read(4)
    if magic == b'QFI\xfb':
        return Qcow2Image(path, resolve, follow_backing)
    return RawImage(path)
