# SPDX-License-Identifier: LGPL-2.1-or-later
"""The checks that must hold after any operation on a guest.

    check_writes(lab, host, domain)    every acknowledged write is on the disks
    image_facts(lab, host, path)       every internal snapshot of an image, by content
    snapshot_tree(lab, host, domain)   libvirt's view of the snapshots
    leftovers(lab, host, expected)     what a tool left behind
    runners(lab, domain)               on which hosts the guest runs
    RunnerWatch, StallWatch            permanent observation in a thread
Nothing here shares code with the program under test, and QEMU's tools are not used to check QEMU's images.
"""
import dataclasses
import os
import re
import struct
import threading
import time
import xml.etree.ElementTree as ET
import zlib

import qcow2
import virt
from console import WriteLog
from hostns import HOSTS

BLOCK = 4096
HEAD = struct.Struct('<8sB7xQQQQQQ')
DAEMONS = ('sleep', 'virtlogd', 'libvirtd', 'sshd', 'bindfs')


# --- acknowledged writes -------------------------------------------------------------------------

def parse_block(data):
    """(disk, block, seq, nonce, us, hash, prev) of a block that the guest's writer made, otherwise None."""
    magic, disk, block, seq, nonce, us, own, prev = HEAD.unpack_from(data)
    if magic != b'VMIGBLK1' or zlib.crc32(data[:-4]) != struct.unpack('<I', data[-4:])[0]:
        return None
    return chr(disk), block, seq, nonce, us, own, prev


@dataclasses.dataclass
class Verdict:
    """The result of check_writes(). `unseen`: blocks newer than the last line about them (permitted up to max_unseen:
    written, but the line was not printed). `damaged`: lines truncated by a revert or a kill; their writes count as
    unseen. `errors`: all defects, as text."""
    checked: int = 0
    exact: int = 0
    unseen: int = 0
    damaged: int = 0
    errors: list = dataclasses.field(default_factory=list)

    @property
    def ok(self):
        """Whether the disks hold everything that was acknowledged."""
        return not self.errors and self.checked > 0

    def __str__(self):
        shown = '; '.join(self.errors[:5]) + (' ...' if len(self.errors) > 5 else '')
        return (f'{self.checked} blocks checked, {self.exact} exact, {self.unseen} unseen, '
                f'{self.damaged} cut lines, '
                f'{len(self.errors)} errors{": " if self.errors else ""}{shown}')


class _Promise:
    """What the guest printed about one disk, prepared for checking blocks."""

    def __init__(self, log, disk, host):
        self.log = log
        self.leaf = log.leaf(disk, host)
        self.wanted = log.last_acknowledged(disk, host)
        self.on_path = set()
        self.ends = {}  # nonce of a boot -> the number of its last line, the newest boot first
        for write in log.path(self.leaf):
            self.on_path.add(write.hash)
            self.ends.setdefault(write.nonce, write.seq)
        self.gaps = log.gaps(disk, host)

    def judge(self, wanted, data):
        """'exact', 'unseen', or a description of what is wrong with a block's content."""
        where = f'vd{wanted.disk} block {wanted.block}'
        found = parse_block(data)
        if found is None:
            kind = 'zeros' if data.count(0) == len(data) else 'garbage'
            return f'{where}: {kind} instead of write {wanted.seq}'
        disk, block, seq, nonce, _, own, _ = found
        if (disk, block) != (wanted.disk, wanted.block):
            return f'{where}: content of vd{disk} block {block}'
        if own == wanted.hash and nonce == wanted.nonce:
            return 'exact'
        if (disk, own) in self.log.writes:
            what = 'older' if own in self.on_path else 'from another branch'
            return f'{where}: {what} (write {seq} instead of {wanted.seq})'
        if self._line_lost(wanted, nonce, seq):
            return 'unseen'
        return f'{where}: unknown write {seq} instead of {wanted.seq}'

    def _line_lost(self, wanted, nonce, seq):
        """Whether a write without a line may be there: it was made after the last line of its boot, which was lost when
        the guest ended, or where a line is missing, and in no earlier boot than the wanted write."""
        boots = list(self.ends)
        if nonce not in boots or boots.index(nonce) > boots.index(wanted.nonce):
            return False
        return seq > self.ends[nonce] or (nonce == self.leaf.nonce and self.gaps > 0)


def check_image(image, log, disk, host, max_unseen=8):
    """Check one open image (qcow2.open_image()) against what the guest printed about disk `disk`."""
    verdict = Verdict()
    promise = _Promise(log, disk, host)
    for block, write in sorted(promise.wanted.items()):
        result = promise.judge(write, image.read(block * BLOCK, BLOCK))
        verdict.checked += 1
        if result in ('exact', 'unseen'):
            setattr(verdict, result, getattr(verdict, result) + 1)
        else:
            verdict.errors.append(result)
    allowed = max_unseen + promise.gaps
    if verdict.unseen > allowed:
        verdict.errors.append(f'vd{disk}: {verdict.unseen} blocks newer than any line, {allowed} '
                              'can be explained')
    return verdict


def read_log(lab, domain, hosts=HOSTS):
    """The WriteLog of a guest. hosts: in the order in which the guest came to them."""
    return WriteLog({host: lab.console(host, domain) for host in hosts})


def check_writes(lab, host, domain, hosts=HOSTS, disks=None, paths=None, max_unseen=8):
    """Whether a guest's disks on `host` hold every acknowledged write; a Verdict over all disks.

    A running guest is suspended for the reading and resumed after it. disks: targets to check (default: all that were
    written to). paths: {target: path} instead of the live XML's. The guest's own read-back errors (vmig.verify=1) count
    as errors.
    """
    paths = paths or lab.disks(host, domain)
    suspended = lab.state(host, domain) == 'running'
    if suspended:
        lab.virsh(host, 'suspend', domain)
    try:
        log = read_log(lab, domain, hosts)
        total = Verdict(errors=[f'guest on {h}: {text}' for h, text in log.errors])
        total.damaged = len(log.damaged)
        for target, path in sorted(paths.items()):
            if target[-1] not in log.disks() or (disks and target not in disks):
                continue
            image = qcow2.open_image(str(lab.path(host, path)), lambda p: str(lab.path(host, p)))
            one = check_image(image, log, target[-1], host, max_unseen)
            image.close()
            total.checked += one.checked
            total.exact += one.exact
            total.unseen += one.unseen
            total.errors += one.errors
        return total
    finally:
        if suspended:
            lab.virsh(host, 'resume', domain)


# --- snapshots -----------------------------------------------------------------------------------

@dataclasses.dataclass(frozen=True)
class SnapshotFacts:
    """Everything of one internal snapshot that must survive. Equal facts mean the same snapshot."""
    id: str
    name: str
    date_sec: int
    date_nsec: int
    vm_clock_nsec: int
    vm_state_size: int
    disk_size: int
    sha256: str
    vmstate_sha256: str


def image_facts(lab, host, path):
    """[SnapshotFacts] of an image, in table order. Hashes content and saved machine state.

    About 4 s for 2 GB. Data shared by snapshots is hashed once. Safe on an image in use whose snapshots do not change
    meanwhile.
    """
    image = qcow2.open_image(str(lab.path(host, path)), lambda p: str(lab.path(host, p)))
    facts = [SnapshotFacts(s.id, s.name, s.date_sec, s.date_nsec, s.vm_clock_nsec, s.vm_state_size,
                           s.disk_size, image.digest(s), image.vmstate_digest(s))
             for s in image.snapshots]
    image.close()
    return facts


def image_digest(lab, host, path):
    """SHA-256 of an image's current content, backing files included (guest stopped or paused)."""
    image = qcow2.open_image(str(lab.path(host, path)), lambda p: str(lab.path(host, p)))
    digest = image.digest()
    image.close()
    return digest


def without_implicit(text):
    """A definition without what some versions of libvirt write by themselves, and others do not: the default partition
    (not after a revert by 11.3), and the watchdog of each q35 machine (from 9.1 on). One with an action other than the
    default stays."""
    text = re.sub(r'\s*<resource>\s*<partition>/machine</partition>\s*</resource>', '', text)
    return re.sub(r"\s*<watchdog model='itco' action='reset'(?:/>|>\s*<alias [^>]*/>\s*</watchdog>)", '', text)


def snapshot_tree(lab, host, domain, images=None):
    """{name: facts} of libvirt's snapshots: parent, creation, state, description, memory, disks,
    current, and as `domain` the whole <domain> as text.

    images: {path on the other host: path here}, replaced in `domain` and `disks`, so that trees of
    two hosts with different paths compare equal.
    """
    names = lab.virsh(host, 'snapshot-list', '--domain', domain, '--name').split('\n')
    current = lab.virsh(host, 'snapshot-current', '--domain', domain, '--name',
                        check=False).stdout.rstrip('\n')
    tree = {}
    for name in [name for name in names if name]:
        text = without_implicit(lab.virsh(host, 'snapshot-dumpxml', '--domain', domain, '--snapshotname', name,
                                          '--security-info'))
        for old, new in (images or {}).items():
            text = text.replace(old, new)
        root = ET.fromstring(text)
        tree[name] = {
            'parent': root.findtext('parent/name'),
            'creation': root.findtext('creationTime'),
            'state': root.findtext('state'),
            'description': root.findtext('description'),
            'memory': dict(root.find('memory').attrib) if root.find('memory') is not None else None,
            'disks': {d.get('name'): d.get('snapshot') for d in root.iterfind('disks/disk')},
            'current': name == current,
            'domain': re.sub(r'\s+', ' ', ET.tostring(root.find('domain'), encoding='unicode'))
            if root.find('domain') is not None else None,
        }
    return tree


def tree_matches_image(tree, facts):
    """[] or the differences between libvirt's tree and an image's snapshot table, as text."""
    known, real = set(tree), {fact.name for fact in facts}
    return ([f'libvirt knows {name!r}, the image does not' for name in sorted(known - real)] +
            [f'the image has {name!r}, libvirt does not' for name in sorted(real - known)])


# --- leftovers -----------------------------------------------------------------------------------

def _files_in(lab, host, folder):
    root = lab.path(host, folder)
    if not root.is_dir():
        return set()
    return {f'{folder}/{p.relative_to(root)}' for p in root.rglob('*') if not p.is_dir()}


def _domains_left(lab, host, domains):
    found = []
    for name in lab.virsh(host, 'list', '--all', '--name').split('\n'):
        if not name:
            continue
        if name not in domains:
            # Not asked for more: it may be gone already, as the twin of a rehearsal that a killed tool left behind.
            found.append(f'domain {name}')
            continue
        job = lab.virsh(host, 'domjobinfo', name, check=False)
        if job.returncode == 0 and 'None' not in job.stdout.split('\n')[0]:
            found.append(f'job on {name}: {job.stdout.splitlines()[0]}')
        for target in lab.disks(host, name) if lab.state(host, name) != 'shut off' else []:
            info = lab.virsh(host, 'blockjob', name, target, '--raw', check=False)
            if info.returncode == 0 and info.stdout.strip():
                found.append(f'block job on {name} {target}: {info.stdout.split()}')
    return found


def _processes_left(lab, host, domains):
    guests = {lab.qemu_pid(host, domain) for domain in domains}
    return [f'process {pid}: {" ".join(argv)[:150]}' for pid, argv in lab.processes(host).items()
            if pid not in guests and not
            (os.path.basename(argv[0].split(':')[0]) in DAEMONS and
             ('[listener]' in argv[0] or not argv[0].startswith('sshd')))]


def leftovers(lab, host, files=(), domains=(), timeout=10.0):
    """Everything on a host that is not expected, as a list of texts; [] is what a test wants.

    files      image paths that may be in the image folders
    domains    guests that may be defined (and run)
    Checks: files in the image folders, domains, jobs and block jobs, processes other than the host's daemons and the
    expected guests' QEMUs, sockets under /run/vmig-snap. Things that disappear by themselves within `timeout` do not
    count.
    """
    deadline = time.monotonic() + timeout
    while True:
        found = [f'file {path}' for folder in lab.image_folders()
                 for path in sorted(_files_in(lab, host, folder) - {str(f) for f in files})]
        found += _domains_left(lab, host, domains)
        found += _processes_left(lab, host, domains)
        found += [f'socket {p}' for p in sorted(_files_in(lab, host, '/run/vmig-snap'))
                  if lab.path(host, p).is_socket()]
        if not found or time.monotonic() > deadline:
            return found
        time.sleep(0.2)


# --- who runs ------------------------------------------------------------------------------------

def runners(lab, domain):
    """The hosts on which libvirt reports the guest as running: ['a'], [], or, never, ['a', 'b']."""
    return [host for host in HOSTS if lab.state(host, domain) == 'running']


class RunnerWatch(threading.Thread):
    """Watches for two running copies; use in a `with` around the migration.

    both     [(seconds since start, states)] whenever both ran: must stay empty
    changes  [(seconds since start, {'a': state, 'b': state})] at each change
    A sample reads a, b, a: both run only if `a` ran before and after `b` did. A host whose libvirtd is down is
    'unknown': then check WriteLog.forks(), too, which needs no libvirt.
    """

    def __init__(self, lab, domain, interval=0.01):
        super().__init__(daemon=True)
        self.lab, self.domain, self.interval = lab, domain, interval
        self.both, self.changes, self.samples = [], [], 0
        self.began = time.monotonic()
        self._stop_it = threading.Event()

    def run(self):
        readers = {host: virt.StateReader(self.lab, host) for host in HOSTS}
        start = self.began
        last = None
        while not self._stop_it.is_set():
            before = readers['a'].state(self.domain)
            states = {'b': readers['b'].state(self.domain), 'a': readers['a'].state(self.domain)}
            self.samples += 1
            if states != last:
                self.changes.append((time.monotonic() - start, dict(sorted(states.items()))))
                last = states
            if before == states['a'] == states['b'] == 'running':
                self.both.append((time.monotonic() - start, states))
            self._stop_it.wait(self.interval)
        for reader in readers.values():
            reader.close()

    def longest_without(self, since):
        """(seconds, states) of the longest time after `since` (time.monotonic()) without a running copy, according to
        libvirt; states: {'a': ..., 'b': ...} at its start."""
        worst, begin, states = (0.0, None), None, None
        changes = [*self.changes, (time.monotonic() - self.began, {'a': 'running'})]
        for (at, now), (until, _) in zip(changes, changes[1:]):
            at, until = (max(moment, since - self.began) for moment in (at, until))
            if 'running' in now.values():
                begin = None
                continue
            if begin is None:
                begin, states = at, now
            worst = max(worst, (until - begin, states), key=lambda pair: pair[0])
        return worst

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self._stop_it.set()
        self.join()


class StallWatch(threading.Thread):
    """Measures by the machine's clock how long no write was acknowledged; use in a `with`.

    gaps   {disk letter: (longest milliseconds, seconds since start)}, pauses included
    Polls both console files every `interval` seconds, which is also its resolution.
    """

    def __init__(self, lab, domain, interval=0.002):
        super().__init__(daemon=True)
        self.files = [lab.path(host, lab.console_path(domain)) for host in HOSTS]
        self.interval = interval
        self.gaps = {}
        self._stop_it = threading.Event()

    def run(self):
        start = time.monotonic()
        places = {file: file.stat().st_size if file.exists() else 0 for file in self.files}
        last = {}
        while not self._stop_it.is_set():
            for file, place in places.items():
                size = file.stat().st_size if file.exists() else 0
                if size > place:
                    with open(file, 'rb') as stream:
                        stream.seek(place)
                        data = stream.read(size - place)
                    places[file] = size
                    self._seen(data, last, time.monotonic() - start)
            self._stop_it.wait(self.interval)
        for disk, when in last.items():
            self._gap(disk, when, time.monotonic() - start)

    def _gap(self, disk, since, now):
        if (now - since) * 1000 > self.gaps.get(disk, (0, 0))[0]:
            self.gaps[disk] = ((now - since) * 1000, since)

    def _seen(self, data, last, now):
        for disk in {m.decode() for m in re.findall(rb'^W (\w) ', data, re.M)}:
            if disk in last:
                self._gap(disk, last[disk], now)
            last[disk] = now

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self._stop_it.set()
        self.join()
