# SPDX-License-Identifier: LGPL-2.1-or-later
"""Images, domains and snapshot trees for tests. Mixed into lab.Lab."""
import os
import pathlib
import re
import signal
import time
import xml.etree.ElementTree as ET
from xml.sax.saxutils import quoteattr

GUEST = '/var/lib/libvirt/guest'
CONSOLE = '/var/log/libvirt/console'

# With rdrand the kernel's random numbers are ready before its first interrupt. Otherwise they are ready about 19 s
# later, and Linux 6.1 then patches its code (the static key crng_is_ready) while interrupts use it: sometimes the
# emulated CPU takes the patched code for an invalid instruction, and the guest panics.
DOMAIN = '''\
<domain type='qemu'>
  <name>{name}</name>
  {uuid}
  <memory unit='MiB'>{memory}</memory>
  <vcpu>{vcpus}</vcpu>
  <os>
    <type arch='x86_64' machine={machine}>hvm</type>
    <kernel>{guest}/vmlinuz</kernel>
    <initrd>{guest}/initramfs</initrd>
    <cmdline>{cmdline}</cmdline>
  </os>
  <features><acpi/></features>
  <cpu mode='custom' match='exact' check='none'>
    <model fallback='forbid'>qemu64</model>
    <feature policy='require' name='rdrand'/>
  </cpu>
  <on_crash>destroy</on_crash>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
{disks}
    <controller type='usb' model='none'/>
    <serial type='file'><source path={console} append='on'/></serial>
    <memballoon model='none'/>
{devices}
  </devices>
</domain>
'''

# The default tree of make_tree(): names and descriptions that need escaping in XML, in a shell, in the monitor's
# command line and on a terminal, and one name that looks like a qcow2 snapshot ID.
#   'first & <second>' -> "it's 100% ü" -> '7'      (first branch)
#                      -> 'branch $(b)'             (second branch, current)
# No name contains a double quote or a backslash: libvirt 9.0 quotes it for QEMU's human monitor, which refuses it, and
# libvirt reports success. Its tree then has a snapshot that no image has.
TREE = [('take', 'first & <second>', 'two "lines"\nwith \'quotes\' & <tags>'),
        ('take', "it's 100% ü", 'percent %s and \\ backslash'),
        ('take', '7', ''),
        ('revert', 'first & <second>', None),
        ('take', 'branch $(b)', 'after a revert')]


def disk_xml(disk, index):
    """A <disk> from a path or from a dict, see GuestsMixin.make_guest()."""
    spec = {'path': disk} if isinstance(disk, (str, os.PathLike)) else dict(disk)
    target = spec.get('target') or f'vd{chr(ord("a") + index)}'
    policy = f' error_policy={quoteattr(spec["error_policy"])}' if 'error_policy' in spec else ''
    return (f"    <disk type='file' device='disk'>\n"
            f"      <driver name='qemu' type={quoteattr(spec.get('fmt', 'qcow2'))}"
            f" cache={quoteattr(spec.get('cache', 'none'))}{policy}/>\n"
            f"      <source file={quoteattr(str(spec['path']))}/>\n"
            f"      <target dev={quoteattr(target)} bus='virtio'/>\n"
            f"      {spec.get('xml', '')}\n    </disk>")


class GuestsMixin:
    """Images, guests and snapshots of a Lab."""

    # --- images ------------------------------------------------------------------------------

    def make_disk(self, host, path, size, fmt='qcow2', fill_mb=0, fill_offset_mb=0, backing=None,
                  relative_backing=False, backing_fmt='qcow2', options=None):
        """Create an image in a host and fill part of it with random data (about 300 MB/s).

        size              as qemu-img takes it ('2G'), None: the size of the backing file
        fill_mb           that many MiB of random data from fill_offset_mb on
        backing           path of the backing file; relative_backing writes only its path relative
                          to the image into the header
        options           dict for qemu-img -o, such as {'cluster_size': '2M'}
        """
        argv = ['qemu-img', 'create', '-q', '-f', fmt]
        if backing:
            name = os.path.relpath(backing, os.path.dirname(path)) if relative_backing else backing
            argv += ['-b', name, '-F', backing_fmt]
        if options:
            argv += ['-o', ','.join(f'{key}={value}' for key, value in options.items())]
        self.run(host, [*argv, str(path), *([str(size)] if size else [])])
        if fill_mb:
            self.fill_disk(host, path, fill_mb, fill_offset_mb, fmt)
        return path

    def fill_disk(self, host, path, mb, offset_mb=0, fmt='qcow2'):
        """Write `mb` MiB of random data into an unused image, through qemu-nbd."""
        image = f'driver=raw,offset={offset_mb << 20},size={mb << 20},' \
                f'file.driver={fmt},file.file.driver=file,file.file.filename={path}'
        server = ['qemu-nbd', '--image-opts', '--cache=unsafe', '-e', '8', image]
        copy = self.popen(host, ['nbdcopy', '--', '-', '[', *server, ']'], stdin=-1, text=False)
        try:
            for _ in range(mb):
                copy.stdin.write(os.urandom(1 << 20))
        except BrokenPipeError:
            pass
        _, err = copy.communicate()
        if copy.returncode:
            raise RuntimeError(f'filling {path}: {err.decode()}')

    def image_folders(self):
        """The folders that hold images on both hosts."""
        return ['/var/lib/libvirt/images', '/srv/vmig2']

    # --- guests ------------------------------------------------------------------------------

    def console_path(self, domain):
        """Where each host keeps the guest's console output (the same path on both)."""
        return f'{CONSOLE}/{domain}.log'

    def console(self, host, domain):
        """The guest's output on this host so far, as bytes (b'' if it never was there)."""
        try:
            return self.path(host, self.console_path(domain)).read_bytes()
        except FileNotFoundError:
            return b''

    def guest_xml(self, name, disks, memory_mib=192, machine='pc-q35-7.2', cmdline='', vcpus=1,
                  uuid=None, devices=''):
        """The domain XML that make_guest() defines."""
        return DOMAIN.format(
            name=name, memory=memory_mib, machine=quoteattr(machine), vcpus=vcpus, guest=GUEST,
            uuid=f'<uuid>{uuid}</uuid>' if uuid else '', devices=devices,
            # On a busy machine the emulated timer is late, and the kernel's check of it would panic.
            cmdline=f'console=ttyS0 quiet panic=0 no_timer_check {cmdline}'.strip(),
            console=quoteattr(self.console_path(name)),
            disks='\n'.join(disk_xml(disk, i) for i, disk in enumerate(disks)))

    def make_guest(self, host, name, disks, *, memory_mib=192, machine='pc-q35-7.2', cmdline='',
                   vcpus=1, uuid=None, devices='', start=True, wait=True, timeout=60):
        """Define and start a guest that writes; with wait, until every disk has its first write.

        disks     paths, or dicts with path and optional target, fmt, cache, error_policy, xml (additional
                  children of <disk>)
        machine   'pc-q35-7.2' or 'pc-i440fx-7.2'
        cmdline   for init.c, such as 'vmig.rate=200 vmig.region_mb=256 vmig.verify=1'
        devices   additional XML for <devices>
        """
        text = self.guest_xml(name, disks, memory_mib, machine, cmdline, vcpus, uuid, devices)
        file = self.path(host, f'/run/define-{name}.xml')
        file.write_text(text)
        self.virsh(host, 'define', f'/run/{file.name}')
        file.unlink()
        if not start:
            return
        self.virsh(host, 'start', name)
        if wait and 'vmig.rate=0' not in cmdline:
            self.wait_writes(host, name, 1, timeout)

    def count_writes(self, host, domain):
        """{disk letter: number of acknowledged writes printed on this host}."""
        counts = {}
        for match in re.finditer(rb'^W (\w) ', self.console(host, domain), re.M):
            counts[match[1].decode()] = counts.get(match[1].decode(), 0) + 1
        return counts

    def disks(self, host, domain, inactive=False):
        """{target: image path} from the live (or the persistent) XML."""
        xml = self.virsh(host, 'dumpxml', domain, *(['--inactive'] if inactive else []))
        return {disk.find('target').get('dev'): disk.find('source').get('file')
                for disk in ET.fromstring(xml).iterfind("devices/disk[@device='disk']")
                if disk.find('source') is not None}

    def wait_writes(self, host, domain, n=10, timeout=60):
        """Wait until each disk that is written to has n more writes acknowledged on this host."""
        letters = {target[-1] for target in self.disks(host, domain)}
        cmdline = ET.fromstring(self.virsh(host, 'dumpxml', domain)).findtext('os/cmdline') or ''
        only = re.search(r'vmig\.disks=(\w+)', cmdline)
        letters &= set(only[1]) if only else letters
        before = self.count_writes(host, domain)
        deadline = time.monotonic() + timeout
        while True:
            now = self.count_writes(host, domain)
            if all(now.get(d, 0) >= before.get(d, 0) + n for d in letters):
                return
            if time.monotonic() > deadline:
                end = self.console(host, domain)
                # Report a panic from its beginning; the guest's earlier lines are not needed then.
                oops = re.search(rb'^.*(?:BUG:|Oops:|invalid opcode|general protection|Kernel panic)', end, re.M)
                raise TimeoutError(f'{domain} on {host}: writes {before} -> {now} in {timeout} s, '
                                   f'console ends {(end[oops.start():][:6000] if oops else end[-300:])!r}')
            time.sleep(0.05)

    def state(self, host, domain):
        """The state as virsh prints it ('running', 'paused', 'shut off'), None if not defined."""
        done = self.virsh(host, 'domstate', domain, check=False)
        return done.stdout.strip() if done.returncode == 0 else None

    def remove_guest(self, host, domain):
        """Destroy and undefine a guest with all its metadata, if it exists; images are kept."""
        self.virsh(host, 'destroy', domain, check=False)
        self.virsh(host, 'undefine', domain, '--snapshots-metadata', '--managed-save',
                   '--checkpoints-metadata', '--nvram', check=False)

    def kill_qemu(self, host, domain):
        """SIGKILL the guest's QEMU and wait until it is gone."""
        pid = self.qemu_pid(host, domain)
        os.kill(pid, signal.SIGKILL)
        while self.qemu_pid(host, domain) == pid:
            time.sleep(0.01)

    # --- snapshots ---------------------------------------------------------------------------

    def take_snapshot(self, host, domain, name, description='', *extra):
        """virsh snapshot-create-as: internal, with memory while the guest runs."""
        argv = ['snapshot-create-as', '--domain', domain, '--name', name]
        if description:
            argv += ['--description', description]
        self.virsh(host, *argv, *extra)

    def revert(self, host, domain, name, *extra):
        """virsh snapshot-revert."""
        self.virsh(host, 'snapshot-revert', '--domain', domain, '--snapshotname', name, *extra)

    def make_tree(self, host, domain, steps=None, writes=10):
        """Build a snapshot tree on a running guest: take, keep writing, revert, take again.

        steps   list of ('take', name, description) and ('revert', name, None); default: TREE
        writes  acknowledged writes per disk between the steps, so that no two snapshots are equal
        Returns the names in the order in which they were taken. Takes about 1 s per step.
        """
        names = []
        for verb, name, description in steps or TREE:
            self.wait_writes(host, domain, writes)
            if verb == 'take':
                self.take_snapshot(host, domain, name, description)
                names.append(name)
            else:
                self.revert(host, domain, name)
        self.wait_writes(host, domain, writes)
        return names
