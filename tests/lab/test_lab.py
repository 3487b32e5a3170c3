# SPDX-License-Identifier: LGPL-2.1-or-later
"""The lab tests itself: hosts, guest, and every oracle, which must pass and must also be seen to fail.

    python3 tests/lab/test_lab.py [DIR]

Each check prints `ok - ...` or `not ok - ...`; the last line is `N passed, N failed, N skipped`.
"""
import os
import pathlib
import struct
import subprocess
import sys
import threading
import time
import traceback
import zlib

import hostns
import oracle
import qcow2
from console import WriteLog, chain_hash
from lab import IMAGES, IMAGES2, Lab, LabError, wait_until

passed = failed = skipped = 0


def check(condition, text, detail=''):
    """Print and count one check."""
    global passed, failed
    if condition:
        passed += 1
        print(f'ok - {text}', flush=True)
    else:
        failed += 1
        print(f'not ok - {text} {detail}', flush=True)


def skip(text, reason):
    """Print and count a check that cannot run here."""
    global skipped
    skipped += 1
    print(f'ok - {text} # SKIP {reason}', flush=True)


def machine_facts():
    """What must be equal before and after: named namespaces, links, mounts, folders."""
    def output(*argv):
        return subprocess.run(argv, capture_output=True, text=True, check=False).stdout
    mounts = [line for line in pathlib.Path('/proc/self/mountinfo').read_text().splitlines()
              if 'vmig' in line]
    folders = [target for _, target in hostns.FOLDERS if os.path.exists(target)]
    return (output('ip', 'netns', 'list'), output('ip', '-o', 'link').count('\n'), mounts, folders,
            os.path.exists('/run/libvirt'))


def test_hosts(lab):
    """Names, network, ssh in both directions, separate state, PATH over ssh, refusal of a second lab."""
    for host, other in (('a', 'vmig-b'), ('b', 'vmig-a')):
        said = lab.run(host, ['ssh', other, 'hostname; virsh -q list --all']).stdout
        check(said.split() == [other], f'{host} reaches {other} by ssh and finds no domain', said)
    tool = lab.bin / 'vmig-lab-probe'
    tool.write_text('#!/bin/sh\necho here\n')
    tool.chmod(0o755)
    said = lab.run('a', ['ssh', 'vmig-b', 'vmig-lab-probe']).stdout
    check(said == 'here\n', 'a program in Lab.bin is in the PATH of a non-interactive ssh', said)
    lab.run('a', f'touch {IMAGES2}/only-a')
    check(not lab.path('b', f'{IMAGES2}/only-a').exists() and
          not os.path.exists(f'{IMAGES2}/only-a'),
          'the hosts and the machine do not see each other\'s folders')
    check(oracle.leftovers(lab, 'a', timeout=0) == [f'file {IMAGES2}/only-a'],
          'leftovers() sees a planted file and nothing else')
    lab.run('a', f'rm {IMAGES2}/only-a')
    try:
        Lab(lab.dir).up()
        check(False, 'a second lab in the same folder is refused')
    except LabError as error:
        check('is up' in str(error), 'a second lab in the same folder is refused', error)
    check(lab.virsh('a', '-c', 'qemu+tcp://vmig-b/system', 'hostname') == 'vmig-b\n',
          'libvirtd answers over tcp')


def test_tree(lab):
    """A guest with two disks and a branched tree, checked by all snapshot oracles."""
    disks = [f'{IMAGES}/tree.qcow2', f'{IMAGES2}/tree2.qcow2']
    lab.make_disk('a', disks[0], '2G', fill_mb=200, fill_offset_mb=100)
    lab.make_disk('a', f'{IMAGES2}/base.qcow2', '256M', fill_mb=64)
    lab.make_disk('a', disks[1], None, backing=f'{IMAGES2}/base.qcow2', relative_backing=True)
    lab.make_guest('a', 'tree', disks, cmdline='vmig.verify=1 vmig.region_mb=32 vmig.rate=100')
    names = lab.make_tree('a', 'tree')
    tree = oracle.snapshot_tree(lab, 'a', 'tree')
    check([tree[n]['parent'] for n in names] == [None, names[0], names[1], names[0]],
          'the tree has its two branches', tree)
    check([n for n in tree if tree[n]['current']] == [names[3]], 'one snapshot is current')
    check(tree[names[0]]['description'] == 'two "lines"\nwith \'quotes\' & <tags>',
          'a description survives quoting')
    facts = [oracle.image_facts(lab, 'a', disk) for disk in disks]
    check([f.name for f in facts[0]] == names and not oracle.tree_matches_image(tree, facts[0]),
          'image and libvirt agree on the names', facts[0])
    check(len({f.sha256 for f in facts[0]}) == 4 and len({f.vmstate_sha256 for f in facts[0]}) == 4,
          'no two snapshots have equal content')
    verdict = oracle.check_writes(lab, 'a', 'tree')
    check(verdict.ok and verdict.exact > 20, 'after a revert every acknowledged write is there',
          verdict)
    compare_with_qemu(lab, disks[0], facts[0][1])
    seen_to_fail(lab, disks, facts)


def compare_with_qemu(lab, disk, fact):
    """The lab's reader and qemu-img agree about a snapshot's content."""
    lab.run('a', ['qemu-img', 'convert', '-U', '-l', f'snapshot.id={fact.id}', '-O', 'raw', disk,
                  f'{IMAGES2}/check.raw'])
    check(oracle.image_digest(lab, 'a', f'{IMAGES2}/check.raw') == fact.sha256,
          'qemu-img reads the same content from the snapshot')
    lab.run('a', ['rm', f'{IMAGES2}/check.raw'])


def damage(path, at, data):
    """Overwrite bytes of an image file; returns the old bytes."""
    with open(path, 'r+b') as file:
        file.seek(at)
        before = file.read(len(data))
        file.seek(at)
        file.write(data)
    return before


def seen_to_fail(lab, disks, facts):
    """Inject each kind of damage into a suspended guest's images: the oracles must find it."""
    lab.virsh('a', 'suspend', 'tree')
    log = oracle.read_log(lab, 'tree')
    host_path = lab.path('a', disks[0])
    image = qcow2.open_image(str(host_path))
    wanted = list(log.last_acknowledged('a', 'a').values())
    newest, oldest = max(wanted, key=lambda w: w.seq), min(wanted, key=lambda w: w.seq)
    places = {w.block: image.place_of(w.block * 4096) for w in (newest, oldest)}
    old_content = image.read(oldest.block * 4096, 4096)
    state_place = image.place_of((1 << 29) * (image.size >> 29) + 65536 * 8, facts[0][0].id)
    image.close()
    for text, content in (('one flipped bit', None), ('a lost write', bytes(4096)),
                          ('a misplaced block', old_content)):
        data = content or bytes([old_content[100] ^ 1])
        at = places[newest.block] if content else places[oldest.block] + 100
        before = damage(host_path, at, data)
        verdict = oracle.check_writes(lab, 'a', 'tree')
        check(len(verdict.errors) == 1 and not verdict.ok, f'{text} is seen', verdict)
        damage(host_path, at, before)
    check(oracle.check_writes(lab, 'a', 'tree').ok, 'with the damage undone the oracle passes')
    before = damage(host_path, state_place, b'\x5a' * 16)
    again = oracle.image_facts(lab, 'a', disks[0])
    damage(host_path, state_place, before)
    check([x == y for x, y in zip(again, facts[0])].count(False) >= 1,
          'damage to a saved machine state is seen')
    check(oracle.image_facts(lab, 'a', disks[0]) == facts[0], 'and undone it compares equal again')
    lab.remove_guest('a', 'tree')
    lab.run('a', ['rm', *disks, f'{IMAGES2}/base.qcow2'])


def test_guest_notices(lab):
    """The guest itself reads back what it wrote, and reports if it is not there."""
    disk = f'{IMAGES}/notice.qcow2'
    lab.make_disk('a', disk, '64M')
    lab.make_guest('a', 'notice', [disk], cmdline='vmig.verify=1 vmig.region_mb=1 vmig.rate=100')
    lab.wait_writes('a', 'notice', 300)
    lab.virsh('a', 'suspend', 'notice')
    image = qcow2.open_image(str(lab.path('a', disk)))
    place = image.place_of(0)
    image.close()
    damage(lab.path('a', disk), place, b'\x5a' * (1 << 16))
    lab.virsh('a', 'resume', 'notice')
    try:
        wait_until(lambda: b'\nERROR a ' in lab.console('a', 'notice'), 20, 'the complaint')
        check(True, 'the guest notices damage by reading back')
    except TimeoutError as error:
        check(False, 'the guest notices damage by reading back', error)
    check(not oracle.check_writes(lab, 'a', 'notice').ok, 'and its complaint fails the oracle')
    lab.remove_guest('a', 'notice')
    lab.run('a', ['rm', disk])


def test_faults(lab):
    """Each fault works, and is gone after it is undone."""
    def reach():
        return lab.run('a', ['ssh', '-o', 'ConnectTimeout=1', 'vmig-b', 'true'],
                       check=False).returncode == 0
    lab.link(False)
    cut = reach()
    lab.link(True)
    check(not cut and reach(), 'a pulled cable, and plugged again')
    lab.silence(True)
    cut = reach()
    lab.silence(False)
    check(not cut and reach(), 'silence, and no more')
    lab.rate(16)
    begin = time.monotonic()
    lab.run('a', 'head -c 4000000 /dev/urandom | ssh vmig-b "cat > /dev/null"')
    took = time.monotonic() - begin
    lab.rate(None)
    check(1.5 < took < 10, f'16 Mbit/s: 4 MB in {took:.1f} s')
    lab.tmpfs('b', IMAGES2, '1m')
    full = lab.run('b', f'head -c 2000000 /dev/zero > {IMAGES2}/x', check=False)
    lab.run('b', ['umount', IMAGES2])
    check(full.returncode != 0 and 'No space' in full.stderr, 'a full disk on demand', full.stderr)
    lab.freeze('b', True, 'libvirtd')
    try:
        lab.virsh('b', 'list', timeout=1)
        check(False, 'a frozen libvirtd does not answer')
    except subprocess.TimeoutExpired:
        check(True, 'a frozen libvirtd does not answer')
    lab.freeze('b', False, 'libvirtd')
    check(lab.virsh('b', 'hostname') == 'vmig-b\n', 'and answers when it goes on')


def test_old_branch(lab):
    """After a revert, content of the abandoned branch must not pass as newer."""
    disk = f'{IMAGES}/old.qcow2'
    lab.make_disk('a', disk, '64M')
    lab.make_guest('a', 'old', [disk], cmdline='vmig.region_mb=1 vmig.rate=100')
    lab.take_snapshot('a', 'old', 's1')
    lab.wait_writes('a', 'old', 200)
    lab.virsh('a', 'suspend', 'old')
    lab.run('a', ['cp', disk, f'{IMAGES}/left.qcow2'])
    lab.virsh('a', 'resume', 'old')
    lab.revert('a', 'old', 's1')
    lab.wait_writes('a', 'old', 50)
    good = oracle.check_writes(lab, 'a', 'old')
    bad = oracle.check_writes(lab, 'a', 'old', paths={'vda': f'{IMAGES}/left.qcow2'})
    check(good.ok, 'a reverted guest\'s disk passes', good)
    check(any('another branch' in e for e in bad.errors), 'the branch that was left does not', bad)
    lab.remove_guest('a', 'old')
    lab.run('a', ['rm', disk, f'{IMAGES}/left.qcow2'])


def migrate(lab, machine):
    """One plain live migration a -> b, observed by everything."""
    name, disk = f'mig-{machine[3:6]}', f'{IMAGES}/mig-{machine[3:6]}.qcow2'
    lab.make_disk('a', disk, '1G', fill_mb=64, fill_offset_mb=64)
    lab.make_disk('b', disk, '1G')
    lab.make_guest('a', name, [disk], machine=machine, cmdline='vmig.verify=1 vmig.region_mb=32')
    lab.wait_writes('a', name, 20)
    with oracle.RunnerWatch(lab, name) as watch, oracle.StallWatch(lab, name) as stall:
        begin = time.monotonic()
        lab.virsh('a', 'migrate', '--live', '--p2p', '--persistent', '--undefinesource',
                  '--copy-storage-all', name, lab.uri('b'))
        took = time.monotonic() - begin
        lab.wait_writes('b', name, 20)
    check(oracle.runners(lab, name) == ['b'], f'{machine}: the guest has moved ({took:.1f} s)')
    check(watch.samples > 50 and not watch.both, f'{machine}: never two running', watch.both)
    verdict = oracle.check_writes(lab, 'b', name)
    log = oracle.read_log(lab, name)
    check(verdict.ok and not log.forks(), f'{machine}: every acknowledged write arrived', verdict)
    silence, by_guest = stall.gaps['a'][0], log.longest_stall('a', 'b')[0]
    check(0 < silence < 20000,
          f'{machine}: longest silence {silence:.0f} ms, by the guest {by_guest:.0f} ms')
    stale = oracle.check_writes(lab, 'b', name, paths={'vda': f'{IMAGES}/empty.qcow2'}) \
        if lab.make_disk('b', f'{IMAGES}/empty.qcow2', '1G') else None
    check(not stale.ok, f'{machine}: an empty disk in its place does not pass')
    lab.run('b', ['rm', f'{IMAGES}/empty.qcow2'])
    left = oracle.leftovers(lab, 'a', files=[disk]) + oracle.leftovers(lab, 'b', [disk], [name])
    check(not left, f'{machine}: nothing is left over', left)
    return name, disk


def test_migration(lab):
    """Both machine types; then a shutdown by the power button, a crash and a boot of a host."""
    name, disk = migrate(lab, 'pc-q35-7.2')
    lab.virsh('b', 'shutdown', name)
    deadline = time.monotonic() + 20
    while lab.state('b', name) != 'shut off' and time.monotonic() < deadline:
        time.sleep(0.1)
    check(lab.state('b', name) == 'shut off', 'the guest obeys its power button')
    check(oracle.check_writes(lab, 'b', name).ok, 'a guest that is off can be judged too')
    lab.remove_guest('b', name)
    for host in hostns.HOSTS:
        lab.run(host, ['rm', disk])
    name, disk = migrate(lab, 'pc-i440fx-7.2')
    pid = lab.qemu_pid('b', name)
    lab.restart_libvirtd('b', 9)
    check(lab.qemu_pid('b', name) == pid and lab.state('b', name) == 'running',
          'a killed libvirtd finds its guest again')
    lab.crash('b')
    check(list(lab.processes('b')) == [lab.pids['b']], 'after a crash only the holder is left')
    lab.boot('b')
    check(lab.state('b', name) == 'shut off', 'after the boot the guest is defined and off')
    check(oracle.check_writes(lab, 'b', name).ok, 'and its disk holds what was acknowledged')
    lab.virsh('b', 'start', name)
    lab.wait_writes('b', name, 5)
    check(oracle.check_writes(lab, 'b', name).ok, 'and after the next boot of the guest')
    lab.remove_guest('b', name)
    for host in hostns.HOSTS:
        lab.run(host, ['rm', disk])


def test_two_running(lab):
    """Two copies of one guest that really run: the watch must report them."""
    disk = f'{IMAGES}/twin.qcow2'
    for host in hostns.HOSTS:
        lab.make_disk(host, disk, '64M')
        lab.make_guest(host, 'twin', [disk], uuid='c0ffee00-0000-4000-8000-000000000001',
                       wait=False)
    with oracle.RunnerWatch(lab, 'twin') as watch:
        threading.Event().wait(0.5)
    check(watch.both and oracle.runners(lab, 'twin') == ['a', 'b'], 'two running copies are seen')
    for host in hostns.HOSTS:
        lab.remove_guest(host, 'twin')
        lab.run(host, ['rm', disk])


def line(nonce, block, seq, us, prev):
    """A console line as init.c prints it, and its hash."""
    own = chain_hash(nonce, 'a', block, seq, us, prev)
    return f'W a {block} {seq} {us // 1000}.{us % 1000:03} {own:016x} {prev:016x}\r\n'.encode(), own


def test_log():
    """The chains of the console: a truncated line, a fork, a lost line, a damaged line. Needs no lab."""
    root = chain_hash(7, 'a', 0, 0, 0, 0)
    l1, h1 = line(7, 10, 1, 1000, root)
    l2, h2 = line(7, 11, 2, 2000, h1)
    l3, h3 = line(7, 10, 3, 9000, h2)
    twin, _ = line(7, 12, 3, 3000, h2)
    boot = b'B 0000000000000007\r\n'
    log = WriteLog({'a': boot + l1 + l2[:9], 'b': l2[9:] + l3})
    newest = log.last_acknowledged('a', 'b')
    check({b: w.seq for b, w in newest.items()} == {10: 3, 11: 2} and not log.forks(),
          'a line that the switchover cut in two is joined')
    check(log.longest_stall('a', 'b') == (7.0, 2), 'the longest stall is found')
    log = WriteLog({'a': boot + l1 + l2 + l3, 'b': twin})
    check(log.forks() == [('a', 3, {'a', 'b'})], 'two copies that both went on are a fork')
    log = WriteLog({'a': boot + l1 + l3, 'b': b''})
    check({b: w.seq for b, w in log.last_acknowledged('a', 'a').items()} == {10: 3} and
          log.gaps('a', 'a') == 1, 'a lost line is bridged and counted')
    log = WriteLog({'a': boot + l1.replace(b' 10 ', b' 13 '), 'b': b''})
    check(len(log.damaged) == 1, 'a damaged line is noticed')
    names = [root]
    for seq in range(1, 300000):
        names.append(chain_hash(7, 'a', seq * 2654435761 % 16384, seq, seq * 20011, names[-1]))
    check(len(set(names)) == len(names), 'no two of 300,000 writes have one name', len(set(names)))
    check_lost_lines()


class Memory:
    """An image in memory, for the oracle."""

    def __init__(self, blocks):
        self.blocks = blocks

    def read(self, offset, size):
        """The content of a block."""
        return self.blocks[offset // oracle.BLOCK].ljust(size, b'\0')


def block(nonce, number, seq, prev):
    """A block as init.c writes it, 1 ms per sequence number."""
    us = seq * 1000
    own = chain_hash(nonce, 'a', number, seq, us, prev)
    head = oracle.HEAD.pack(b'VMIGBLK1', ord('a'), number, seq, nonce, us, own, prev).ljust(oracle.BLOCK - 4, b'\0')
    return head + struct.pack('<I', zlib.crc32(head))


def check_lost_lines():
    """A write whose line was lost at the end of a boot is permitted; an older one, or one of an earlier boot, is not.
    """
    root = {nonce: chain_hash(nonce, 'a', 0, 0, 0, 0) for nonce in (7, 8)}
    one, hash_one = line(7, 10, 1, 1000, root[7])
    two, hash_two = line(7, 11, 2, 2000, hash_one)
    later, _ = line(8, 11, 1, 1000, root[8])
    log = WriteLog({'a': b'B 0000000000000007\r\n' + one + two + b'B 0000000000000008\r\n' + later})
    held = {10: block(7, 10, 1, root[7]), 11: block(8, 11, 1, root[8])}

    def verdict(**changed):
        blocks = {**held, **{int(name[1:]): data for name, data in changed.items()}}
        return oracle.check_image(Memory(blocks), log, 'a', 'a')

    check(verdict().exact == 2 and verdict().ok, 'what was printed is what is wanted', verdict())
    lost = verdict(b10=block(7, 10, 3, hash_two))
    check(lost.ok and lost.unseen == 1, 'a write whose line the end of the guest swallowed is allowed', lost)
    for what, data in (('of the boot before', {'b11': block(7, 11, 3, hash_two)}),
                       ('that came before the last line', {'b10': block(7, 10, 1, hash_two)}),
                       ('of a boot nobody saw', {'b10': block(9, 10, 3, hash_two)})):
        check(not verdict(**data).ok, f'a write without a line {what} is an error', verdict(**data))


def test_stale(directory):
    """A lab whose creator died is refused, found again, and taken down."""
    first = Lab(directory)
    first.up()
    os.kill(first.pids['a'], 9)
    first._holders[0].wait()
    for act, text in ((Lab(directory).up, 'is up'), (Lab(directory).attach, 'stale')):
        try:
            act()
            check(False, f'a half-dead lab is refused ({text})')
        except LabError as error:
            check(text in str(error), f'a half-dead lab is refused ({text})', error)
    with Lab(directory, replace=True) as second:
        check(second.virsh('a', 'hostname') == 'vmig-a\n', 'replace=True takes its place')
    check(not first.dir.exists() and not hostns.processes(first.dir), 'and taken down')


def main():
    """Run all tests, with one lab for those that need one."""
    directory = sys.argv[1] if len(sys.argv) > 1 else '/var/tmp/vmig-lab-selftest'
    hostns.remove_mount_points()  # left on the machine by a killed lab; otherwise removed together with this lab's
    before, alone = machine_facts(), not hostns.other_labs_exist()
    test_log()
    begin = time.monotonic()
    try:
        with Lab(directory) as lab:
            print(f'# up in {time.monotonic() - begin:.1f} s')
            for test in (test_hosts, test_faults, test_tree, test_old_branch, test_guest_notices,
                         test_migration, test_two_running):
                test(lab)
            begin = time.monotonic()
        print(f'# down in {time.monotonic() - begin:.1f} s')
        test_stale(directory)
    except Exception:
        traceback.print_exc()
        check(False, 'the lab ran to its end')
    check(not hostns.processes(directory) and not os.path.exists(directory),
          'no process and no folder of the lab is left')
    if alone and not hostns.other_labs_exist():
        check(machine_facts() == before, 'the machine is as it was', (before, machine_facts()))
    else:
        skip('the machine is as it was', 'another lab is up')
    print(f'{passed} passed, {failed} failed, {skipped} skipped')
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
