# SPDX-License-Identifier: LGPL-2.1-or-later
"""What vmig-snap refuses, and that a refusal changes nothing: definitions, snapshots and files of both hosts are byte
for byte as before."""
import os
import stat
import subprocess
import sys
import time

from cases import Disk, define, main, shared
from command import DONE, LOCKED, REFUSED, USAGE, Call, Failure, need
from facts import Untouched
from lab import IMAGES, IMAGES2, wait_until
from refusals import own, quiet, refuse


# --- the domain ----------------------------------------------------------------------------------

@shared
def test_unknown_domain(case):
    """No domain of that name."""
    refuse(case, quiet(case), 'no-domain', domain='nobody', words=['nobody'])


@shared
def test_odd_domain_names(case):
    """Invalid names, or names that look like something else."""
    guest = quiet(case)
    for name, code, exit_code in (('', 'bad-name', USAGE), ('a\nb', 'bad-name', USAGE),
                                  ('\udcff', 'bad-name', USAGE), ('../../etc/passwd', 'no-domain', 3),
                                  ("x' or 1=1 --", 'no-domain', 3), ('ü%s%n', 'no-domain', 3),
                                  ('x' * 5000, None, None)):
        with Untouched(case, guest):
            call = case.call('a', 'migrate', '--json', '--', name, case.lab.uri('b'))
        need(call.code in (USAGE, REFUSED), repr(name[:20]), 'ended with', call.code, call.tail())
        if code:
            need(call.code == exit_code and call.error['code'] == code, repr(name), call.tail())


def test_stopped(case):
    """A guest that is off."""
    guest = own(case, start=False)
    refuse(case, guest, 'not-running')


def test_transient(case):
    """A domain without a persistent definition."""
    guest = own(case, tree=None, start=False)
    xml = case.lab.virsh('a', 'dumpxml', 'g')
    case.lab.virsh('a', 'undefine', 'g')
    (case.lab.dir / 'a/run/transient.xml').write_text(xml)
    case.lab.virsh('a', 'create', '/run/transient.xml')
    refuse(case, guest, 'transient-domain')


def test_managed_save(case):
    """A guest with a managed save: it is off, and both are reported."""
    guest = own(case)
    case.lab.virsh('a', 'managedsave', 'g')
    refuse(case, guest, 'managed-save', only=False)


def test_domain_there(case):
    """The destination has a domain of that name, or of that UUID."""
    guest = own(case)
    define(case.lab, 'b', case.lab.guest_xml('g', []))
    refuse(case, guest, 'domain-exists', words=['name'])
    case.lab.virsh('b', 'undefine', 'g')
    uuid = case.lab.virsh('a', 'domuuid', 'g').strip()
    define(case.lab, 'b', case.lab.guest_xml('other', [], uuid=uuid))
    refuse(case, guest, 'domain-exists', words=['UUID'])


def test_checkpoint(case):
    """A domain with a checkpoint."""
    guest = own(case, tree=None)
    case.lab.virsh('a', 'checkpoint-create-as', 'g', 'check')
    refuse(case, guest, 'checkpoints', only=False)


def test_persistent_bitmap(case):
    """An image with a dirty bitmap that no checkpoint knows."""
    guest = own(case, tree=None, start=False)
    case.lab.run('a', ['qemu-img', 'bitmap', '--add', guest.files['vda'][0], 'bits'])
    case.lab.virsh('a', 'start', 'g')
    refuse(case, guest, 'bitmaps', words=['vda'])


def test_external_snapshot(case):
    """An external snapshot in the tree."""
    guest = own(case)
    case.lab.virsh('a', 'snapshot-create-as', 'g', 'outside', '--disk-only', '--atomic', '--diskspec',
                   f'vda,file={IMAGES}/outside.qcow2')
    refuse(case, guest, 'external-snapshot', words=['outside'], only=False)


def test_host_device(case):
    """A folder of the host passed to the guest."""
    folder = (f"<filesystem type='mount'><source dir='{IMAGES}'/><target dir='share'/></filesystem>")
    guest = own(case, tree=None, devices=folder)
    refuse(case, guest, 'host-device')


# --- jobs ----------------------------------------------------------------------------------------

@shared
def test_block_job(case):
    """A running block job on one disk."""
    guest = quiet(case)
    case.lab.virsh('a', 'blockcopy', 'g', 'vdb', f'{IMAGES2}/copy.qcow2', '--transient-job',
                   '--bandwidth', '1', '--bytes')
    try:
        refuse(case, guest, 'block-job', words=['vdb'], only=False)
    finally:
        case.lab.virsh('a', 'blockjob', 'g', 'vdb', '--abort')
        case.lab.run('a', ['rm', '-f', f'{IMAGES2}/copy.qcow2'])


BACKUP = f"""<domainbackup mode='pull'><server transport='unix' socket='/run/backup.sock'/><disks>
  <disk name='vda' backup='yes' type='file'><scratch file='{IMAGES2}/scratch.qcow2'/></disk>
  <disk name='vdb' backup='no'/></disks></domainbackup>"""


@shared
def test_backup(case):
    """A backup that another user started (pull mode, over a unix socket): refused, and the backup continues."""
    lab = case.lab
    guest = quiet(case)
    (lab.dir / 'a/run/backup.xml').write_text(BACKUP)
    lab.virsh('a', 'backup-begin', 'g', '/run/backup.xml')
    read = ['qemu-img', 'info', '-f', 'raw', 'nbd+unix:///vda?socket=/run/backup.sock']
    try:
        lab.run('a', read)
        before = lab.virsh('a', 'backup-dumpxml', 'g')
        refuse(case, guest, 'domain-job', only=False)
        need('Backup' in lab.virsh('a', 'domjobinfo', 'g'), 'the backup is gone')
        need(lab.virsh('a', 'backup-dumpxml', 'g') == before, 'the backup changed')
        lab.run('a', read)
    finally:
        lab.virsh('a', 'domjobabort', 'g', check=False)
        lab.run('a', ['rm', '-f', f'{IMAGES2}/scratch.qcow2', '/run/backup.sock'])


def test_domain_job(case):
    """Another libvirt job: a slow migration."""
    lab = case.lab
    guest = own(case, tree=None)
    lab.make_disk('b', guest.files['vda'][0], '192M')
    migration = lab.popen('a', ['virsh', 'migrate', '--live', '--unsafe', '--bandwidth', '1', 'g',
                                lab.uri('b', 'tcp')])
    wait_until(lambda: 'Unbounded' in lab.virsh('a', 'domjobinfo', 'g'), 20, 'the job')
    try:
        call = case.call('a', 'plan', 'g', lab.uri('b'), '--json')
    finally:
        lab.virsh('a', 'domjobabort', 'g')
        migration.wait(30)
    codes = [refusal['code'] for refusal in call.document['refusals']]
    need(call.code == REFUSED and 'domain-job' in codes, call.code, codes)


def test_second_operation(case):
    """A second migration while one runs: exit 6, and it names the holder of the domain."""
    case.need_faults()
    guest = case.guest()
    move = case.migration(guest)
    call = move.start(fault='copy.receiving:delay:4000')
    call.wait_state('COPY')
    job = call.states and call.events[0][1]['job']
    for argv in (['migrate', 'g', case.lab.uri('b'), '--json'], ['plan', 'g', case.lab.uri('b'),
                                                                 '--json']):
        second = case.call('a', *argv)
        need(second.code == LOCKED, argv, 'ended with', second.code, second.tail())
        need(job in second.stdout, 'it does not name the job:', second.stdout)
    need(second.document['refusals'][0]['code'] == 'locked', second.document)
    move.finish()
    move.prove_arrived(revert=None)


def test_two_at_once(case):
    """Two migrations start at the same moment: one wins, the other changes nothing."""
    guest = case.guest()
    move = case.migration(guest)
    first = move.start()
    second = Call(case.lab, 'a', ['migrate', 'g', case.lab.uri('b'), '--json'])
    move.finish()
    second.wait()
    if first.code != DONE:
        first, second = second, first
        move.call = first
    need(second.code in (LOCKED, REFUSED), 'the other ended with', second.code, second.tail())
    move.prove_arrived(revert=None)


# --- hosts ---------------------------------------------------------------------------------------

@shared
def test_same_host(case):
    """The destination is the source."""
    guest = quiet(case)
    refuse(case, guest, 'same-host', dest='qemu+ssh://vmig-a/system', only=False)


@shared
def test_unreachable(case):
    """No answer: an unknown name, a closed port, a disconnected cable."""
    guest = quiet(case)
    refuse(case, guest, 'unreachable', dest='qemu+ssh://no-such-host/system')
    refuse(case, guest, 'unreachable', dest='qemu+ssh://vmig-b:2222/system')
    case.lab.kill_libvirtd('b')
    try:
        call = case.call('a', 'plan', 'g', case.lab.uri('b'), '--json')
        need(call.code == REFUSED and call.document['refusals'][0]['code'] == 'unreachable',
             'without a libvirtd there:', call.code, call.tail())
    finally:
        case.lab.start_libvirtd('b')


@shared
def test_silent_host(case):
    """A host that drops every packet: fails within a minute."""
    guest = quiet(case)
    case.lab.silence(True)
    try:
        begin = time.monotonic()
        call = case.call('a', 'plan', 'g', case.lab.uri('b'), '--json', timeout=90)
        need(time.monotonic() - begin < 60, 'it took', time.monotonic() - begin)
    finally:
        case.lab.silence(False)
    need(call.code == REFUSED and call.document['refusals'][0]['code'] == 'unreachable', call.tail())
    with Untouched(case, guest):
        pass


@shared
def test_bad_uris(case):
    """Invalid URIs, unsupported ones, and ones that could be ssh options."""
    guest = quiet(case)
    for uri in ('', 'b', 'vmig-b', 'qemu:///system', 'xen+ssh://vmig-b/', 'qemu+ssh:///system',
                'qemu+ssh://-oProxyCommand=touch%20x/system', 'qemu+ssh://vmig-b/session',
                'qemu+ssh://vmig-b/system?command=/bin/sh', 'qemu+ssh://vm ig/system',
                'qemu+ssh://vmig-b:99999/system', 'qemu+ssh://a;id/system', 'http://vmig-b/'):
        with Untouched(case, guest):
            call = case.call('a', 'migrate', 'g', uri, '--json')
        need(call.code == USAGE and call.error['code'] in ('bad-uri', 'usage', 'bad-name'),
             f'{uri!r} ended with', call.code, call.tail())


def with_agent(case, text):
    """Put a script in place of vmig-snap on the destination; returns its path."""
    path = case.lab.host_bin('b') / 'vmig-snap'
    path.write_text(text)
    path.chmod(0o755)
    return path


@shared
def test_no_agent(case):
    """The destination has no vmig-snap."""
    guest = quiet(case)
    path = with_agent(case, '#!/bin/sh\necho "vmig-snap: not found" >&2\nexit 127\n')
    try:
        refuse(case, guest, 'no-agent')
    finally:
        path.unlink()


@shared
def test_other_protocol(case):
    """The destination's vmig-snap sends another version, nonsense, too much, or nothing."""
    guest = quiet(case)
    hello = '{"hello":"vmig-snap","protocol":9999,"version":"99.0","id":1,"ok":{}}'
    for text, why in ((f"#!/bin/sh\necho '{hello}'\ncat > /dev/null\n", 'another version'),
                      ('#!/bin/sh\necho "Welcome to this host!"\ncat > /dev/null\n', 'a greeting'),
                      ('#!/bin/sh\nhead -c 3000000 /dev/zero | tr "\\0" x\necho\ncat >/dev/null\n',
                       'a line without end'),
                      ('#!/bin/sh\nhead -c 100000 /dev/urandom\n', 'garbage')):
        path = with_agent(case, text)
        try:
            begin = time.monotonic()
            refuse(case, guest, 'protocol')
        except Failure as failure:
            raise Failure(f'{why}: {failure}') from None
        finally:
            path.unlink()
        need(time.monotonic() - begin < 60, why, 'took', time.monotonic() - begin)


# --- disks ---------------------------------------------------------------------------------------

@shared
def test_unknown_disk(case):
    """--disk and --map with a disk that the guest does not have."""
    guest = quiet(case)
    refuse(case, guest, 'unknown-disk', '--disk', 'vdz', words=['vdz'], only=False)
    refuse(case, guest, 'unknown-disk', '--map', f'vdz={IMAGES}/z.qcow2', words=['vdz'])


def test_transient_disk(case):
    """<transient/>."""
    guest = own(case, [Disk('vda'), Disk('vdb', xml='<transient/>')], tree=None)
    refuse(case, guest, 'transient-disk', words=['vdb'], only=False)


def test_shareable_disk(case):
    """A <shareable/> disk that is named with --disk."""
    guest = own(case, [Disk('vda'), Disk('vdb', fmt='raw', xml='<shareable/>')], tree=None)
    refuse(case, guest, 'shared-disk', '--disk', 'vda', '--disk', 'vdb', words=['vdb'])


def test_readonly_disk(case):
    """A <readonly/> disk that is named with --disk."""
    guest = own(case, [Disk('vda'), Disk('vdb', xml='<readonly/>')], tree=None)
    refuse(case, guest, 'readonly-disk', '--disk', 'vda', '--disk', 'vdb', words=['vdb'], only=False)


def test_no_disk(case):
    """A guest without a disk to move."""
    guest = own(case, [Disk('vda', xml='<readonly/>')], tree=None)
    refuse(case, guest, 'no-disk', only=False)


def test_medium_missing(case):
    """A cdrom whose medium the destination does not have; then it has a copy that differs in one byte, and then an
    identical one."""
    case.lab.run('a', ['truncate', '-s', '1M', f'{IMAGES}/medium.iso'])
    cdrom = (f"<disk type='file' device='cdrom'><driver name='qemu' type='raw'/>"
             f"<source file='{IMAGES}/medium.iso'/><target dev='sda' bus='sata'/><readonly/></disk>")
    guest = own(case, devices=cdrom)
    refuse(case, guest, 'media-missing', words=['medium.iso'])
    copy = case.lab.path('b', f'{IMAGES}/medium.iso')
    copy.write_bytes(bytes(700_000) + b'x' + bytes((1 << 20) - 700_001))
    refuse(case, guest, 'not-shared', words=['medium.iso', 'the contents differ'])
    copy.write_bytes(bytes(1 << 20))
    plan = case.call('a', 'plan', 'g', case.lab.uri('b'), '--json')
    need(plan.code == DONE, 'the hint did not help:', plan.tail())


def loop_device(case, host, path, text):
    """Put a block device on one host at this path: a loop device with this text on it."""
    file = case.lab.path(host, f'{path}.img')
    file.write_bytes(text.encode().ljust(1 << 20, b'-'))
    device = subprocess.run(['losetup', '--show', '--find', str(file)], check=True, capture_output=True,
                            text=True).stdout.strip()
    number = os.stat(device).st_rdev
    os.mknod(case.lab.path(host, path), stat.S_IFBLK | 0o600, number)
    return device


def test_other_device_there(case):
    """A block device that stays but is another one on the destination: with --disk and without it."""
    path = f'{IMAGES}/data'
    devices = [loop_device(case, 'a', path, 'aaaa'), loop_device(case, 'b', path, 'bbbb')]
    try:
        disk = (f"<disk type='block' device='disk'><driver name='qemu' type='raw' cache='none'/>"
                f"<source dev='{path}'/><target dev='vdb' bus='virtio'/></disk>")
        guest = own(case, tree=None, devices=disk)
        refuse(case, guest, 'not-shared', '--disk', 'vda', words=['vdb', path])
        refuse(case, guest, 'disk-kind', words=['vdb'])
        case.lab.virsh('a', 'detach-disk', 'g', 'vdb', '--persistent')
        wait_until(lambda: 'vdb' not in case.lab.virsh('a', 'domblklist', 'g'), 20, 'the disk to go')
        plan = case.call('a', 'plan', 'g', case.lab.uri('b'), '--json')
        need(plan.code == DONE, 'the hint did not help:', plan.tail())
    finally:
        case.clean()
        for device in devices:
            subprocess.run(['losetup', '-d', device], check=False)
        for host in 'ab':
            case.lab.run(host, ['rm', '-f', path, f'{path}.img'])


@shared
def test_destination_exists(case):
    """A file, a folder, and a dangling link at the image's new path."""
    guest = quiet(case)
    path = guest.files['vda'][0]
    there = case.lab.path('b', path)
    for make, unmake in ((lambda: there.write_bytes(b'precious'), there.unlink),
                         (there.mkdir, there.rmdir),
                         (lambda: there.symlink_to('/nowhere'), there.unlink)):
        make()
        try:
            refuse(case, guest, 'destination-exists', words=[path])
        finally:
            unmake()


@shared
def test_map_clash(case):
    """Two disks mapped to one path."""
    guest = quiet(case)
    refuse(case, guest, 'path-clash', '--map', f'vda={IMAGES2}/x.qcow2', '--map',
           f'vdb={IMAGES2}/x.qcow2', words=['x.qcow2'])


@shared
def test_map_outside(case):
    """--map to a path outside the image roots, also through a link."""
    guest = quiet(case)
    refuse(case, guest, 'outside-roots', '--map', 'vda=/etc/x.qcow2', words=['/etc/x.qcow2'])
    link = case.lab.path('b', f'{IMAGES}/link')
    link.symlink_to('/etc')
    try:
        refuse(case, guest, 'outside-roots', '--map', f'vda={IMAGES}/link/x.qcow2')
    finally:
        link.unlink()


@shared
def test_map_no_folder(case):
    """--map to a folder that does not exist."""
    refuse(case, quiet(case), 'no-directory', '--map', f'vda={IMAGES}/no/such/x.qcow2')


@shared
def test_no_room(case):
    """The destination's disk is too small."""
    guest = quiet(case)
    case.lab.tmpfs('b', IMAGES2, '8m')
    try:
        refuse(case, guest, 'no-space', '--map-dir', f'{IMAGES}={IMAGES2}')
    finally:
        case.lab.run('b', ['umount', IMAGES2])


# --- the command line ----------------------------------------------------------------------------

@shared
def test_bad_options(case):
    """Malformed options: exit 2, before any host is contacted."""
    guest = quiet(case)
    dest = case.lab.uri('b')
    for argv in (['--bandwidth', '-1'], ['--bandwidth', '10X'], ['--bandwidth', ''],
                 ['--bandwidth', '99999999999G'], ['--timeout', '0'], ['--timeout', '1e3'],
                 ['--parallel', '999'], ['--max-downtime', 'soon'], ['--map', 'vda'],
                 ['--map', 'vda=relative.qcow2'], ['--map', f'vda={IMAGES}/../x'],
                 ['--map-dir', f'{IMAGES}=x'], ['--disk', 'vda', '--disk', 'vda'], ['--disk', ''],
                 ['--merge', 'sideways'], ['--transport', 'pigeon'], ['--source-images', 'burn'],
                 ['--policy', '../x'], ['--policy', 'nobody'], ['--no-such-option'], ['extra']):
        with Untouched(case, guest):
            call = case.call('a', 'migrate', 'g', dest, *argv, '--json')
        need(call.code == USAGE, argv, 'ended with', call.code, call.tail())
        need(call.stderr.startswith('vmig-snap: '), argv, 'said', call.stderr)
    for argv in ([], ['nonsense'], ['migrate'], ['migrate', 'g'], ['plan', 'g', dest, '--detach', 'x']):
        call = case.call('a', *argv)
        need(call.code == USAGE and call.stderr, argv, 'ended with', call.code, call.tail())


@shared
def test_unsupported(case):
    """Valid options that are unsupported, alone or combined."""
    guest = quiet(case)
    for argv in (['--postcopy'], ['--parallel', '4']):
        refuse(case, guest, 'unsupported', *argv, words=[argv[0].lstrip('-')[:4]])


if __name__ == '__main__':
    sys.exit(main(__file__, globals()))
