# SPDX-License-Identifier: LGPL-2.1-or-later
"""Migrations between two hosts whose versions of libvirt and QEMU may differ; tests/versions/run chooses the hosts.

Alone it runs between two hosts of this machine's versions, or with the roots of $VMIG_LAB_ROOT_A and $VMIG_LAB_ROOT_B
and the builds of $VMIG_LAB_BINARY_A and $VMIG_LAB_BINARY_B. What ends in `or_refused` is not known beforehand: a
definition that the destination does not take must be refused by the plan, with the name of the element.
"""
import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'lab'))

from cases import TWO, main  # noqa: E402
from command import DONE, REFUSED, need  # noqa: E402

MACHINES = {'q35': 'pc-q35-7.2', 'i440fx': 'pc-i440fx-7.2'}
BRANCHES = [*TWO, ('revert', 'one', None), ('take', 'three', 'after a revert')]

# What virt-install writes for a Linux guest, as far as both emulate it without hardware virtualization.
TYPICAL = """
    <controller type='usb' model='qemu-xhci' ports='15'/>
    <controller type='virtio-serial'/>
    <interface type='user'><model type='virtio'/></interface>
    <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
    <input type='tablet' bus='usb'/>
    <graphics type='vnc' autoport='yes' listen='127.0.0.1'/>
    <sound model='ich9'/><audio id='1' type='none'/>
    <video><model type='vga' vram='16384' heads='1' primary='yes'/></video>
    <watchdog model='i6300esb' action='reset'/>
    <rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>
    <panic model='isa'/>"""
BALLOON = "<memballoon model='virtio' autodeflate='on' freePageReporting='on'/>"


def typical(text):
    """The definition with what virt-install writes outside of <devices>, and with a memory balloon."""
    text = text.replace("<controller type='usb' model='none'/>", '').replace("<memballoon model='none'/>", BALLOON)
    text = text.replace('<features><acpi/></features>', "<features><acpi/><apic/><vmcoreinfo state='on'/>"
                        "<hyperv mode='custom'><relaxed state='on'/><vapic state='on'/>"
                        "<spinlocks state='on' retries='8191'/></hyperv></features>")
    return text.replace('<on_crash>', "<clock offset='utc'><timer name='rtc' tickpolicy='catchup'/>"
                        "<timer name='pit' tickpolicy='delay'/><timer name='hpet' present='no'/></clock>"
                        "<pm><suspend-to-mem enabled='no'/><suspend-to-disk enabled='no'/></pm><on_crash>")


def reverts(case, move):
    """Revert to each snapshot on the destination; the guest writes on, and its disks have what it wrote before."""
    for name in move.before.tree:
        move._go_on(move.dest, name)


def cell(machine, merge):
    """A test: the guest with three snapshots in two branches arrives, and each snapshot can be reverted to."""
    def test(case):
        move = case.migration(case.guest(tree=BRANCHES, machine=MACHINES[machine]), '--merge', merge)
        move.run(timeout=240)
        move.prove_arrived(revert=None)
        reverts(case, move)
    test.__doc__ = f'{machine}, --merge {merge}'
    return test


globals().update({f'test_{machine}_{merge}': cell(machine, merge)
                  for machine in MACHINES for merge in ('commit', 'mirror')})


def arrives_or_refused(case, element, **options):
    """Returns whether it arrived. Otherwise the plan named this element and changed nothing."""
    guest = case.guest(tree=TWO, **options)
    plan = case.call('a', 'plan', 'g', case.lab.uri('b'), '--json')
    need(not case.lab.virsh('b', 'list', '--all', '--name').strip(), 'the plan left a domain')
    if plan.code == REFUSED:
        words = ' '.join(refusal['message'] for refusal in plan.document['refusals'])
        need(re.search(element, words), 'the refusal does not name', element, ':', words)
        print(f'#   refused: {words[:300]}')
        return False
    need(plan.code == DONE, plan.code, plan.tail())
    move = case.migration(guest)
    move.run(timeout=240)
    need(move.call.code == DONE, 'the plan found nothing, but the migration ended with', move.call.code,
         move.call.tail())
    case.lab.wait_writes('b', 'g', 5)
    reverts(case, move)
    return True


def test_typical(case):
    """A guest as virt-install makes it arrives between any two versions."""
    need(arrives_or_refused(case, 'nothing', devices=TYPICAL, edit=typical, memory_mib=192), 'it was refused')


def test_watchdog_or_refused(case):
    """The watchdog of the machine with an action of its own, which libvirt 9.0 does not know."""
    if case.lab.virsh('a', 'version').count('9.0.0'):
        return  # it cannot be defined
    arrives_or_refused(case, '<watchdog>', devices="<watchdog model='itco' action='pause'/>")


def test_two_watchdogs_or_refused(case):
    """Beside another watchdog the machine's own gets its action, and libvirt keeps it for a migration."""
    arrives_or_refused(case, '<watchdog>', devices="<watchdog model='i6300esb' action='poweroff'/>")


def test_pstore_or_refused(case):
    """A device that libvirt 9.0 ignores without an error."""
    if case.lab.virsh('a', 'version').count('9.0.0'):
        return  # ignored there, too
    arrives_or_refused(case, '<pstore>', devices="<pstore backend='acpi-erst'><path>/var/lib/libvirt/images/p"
                       "</path><size unit='KiB'>64</size></pstore>")


def test_discard(case):
    """An attribute that libvirt 9.0 does not know, and the guest does not notice."""
    need(arrives_or_refused(case, 'nothing', edit=lambda text: text.replace(
        "cache='none'", "cache='none' discard='unmap' discard_no_unref='on'")), 'it was refused')


def test_teardown_or_refused(case):
    """A feature that libvirt 9.0 refuses, although the guest does not notice it."""
    if case.lab.virsh('a', 'version').count('9.0.0'):
        return  # it cannot be defined
    arrives_or_refused(case, 'async-teardown', edit=lambda text: text.replace(
        '<features>', "<features><async-teardown enabled='yes'/>"))


if __name__ == '__main__':
    sys.exit(main(__file__, globals()))
