# SPDX-License-Identifier: LGPL-2.1-or-later
"""vmig-snap from its packages on two hosts that systemd has booted: a migration, and jobs that end without a hand.

    python3 tests/booted/test_booted.py [--debs DIR] [-k PATTERN] ...

--debs: the packages to install; without it they are built from this tree.
"""
import sys
import time

from booted import main, thorough
from break_off import SLOW_COPY, Trial, UnitLog, conclude, kill_tool, run_again, tools

from command import need
from hostns import HOSTS
from lab import wait_until

GOES_ON = 10.0  # after a kill of the tool
SHUTDOWN = 30.0  # systemd kills what has not ended after 90 s


def test_doctor(case):
    """doctor finds nothing to complain about after the packages were installed."""
    for host in HOSTS:
        call = case.call(host, 'doctor')
        need(call.code == 0, 'doctor on', host, 'said', call.stdout, call.stderr)
        need(not case.lab.failed_units(host), case.lab.failed_units(host))


def test_main_job(case):
    """A migration between two hosts of the default configuration: every snapshot can be reverted to there."""
    log = UnitLog(case.lab)
    guest = case.guest()
    move = case.migration(guest)
    move.run()
    move.prove_arrived(revert='two')
    case.lab.revert('b', 'g', 'one')
    case.lab.wait_writes('b', 'g', 5)
    need(not log.wrong(), log.wrong(), log)


def killed(case, trial):
    """The tool is killed. The unit of the job goes on soon and ends it."""
    made = run_again(case, trial, timeout=60)
    need(made.recovery < GOES_ON, f'nothing went on for {made.recovery:.1f} s')


def test_kill_in_copy(case):
    """The tool is killed while it copies, when no guest starts or stops."""
    killed(case, Trial('kill', 'COPY', delay=0.3))


def test_kill_in_commit(case):
    """The tool is killed after the switchover."""
    killed(case, Trial('kill', 'COMMIT'))


def test_reboot_of_the_destination(case):
    """The destination reboots while the overlay is committed into the base copy."""
    run_again(case, Trial('reboot', 'COMMIT', 'b'))


def test_reboot_of_the_source(case):
    """The source reboots after the switchover. Its libvirt ends before the tool does, and the shutdown does not wait."""
    trial = run_again(case, Trial('reboot', 'COMMIT', 'a'))
    need(trial.shutdown < SHUTDOWN, f'the shutdown took {trial.shutdown:.1f} s')


def test_power_cut_of_the_source(case):
    """The source loses its power during the copy; the guest, which starts with its host, runs again."""
    run_again(case, Trial('power', 'COPY', 'a', delay=0.3))


def owned(lab, path):
    """(owner, group, mode) of a file of b, by name."""
    return tuple(lab.run('b', ['stat', '-c', '%U %G %a', path]).stdout.split())


@thorough
def test_ownership_is_not_changed(case):
    """dynamic_ownership=0 on the destination: the images belong to QEMU's user there, with the modes that they had."""
    lab = case.lab
    conf = lab.path('b', '/etc/libvirt/qemu.conf')
    before = conf.read_text()
    try:
        conf.write_text(f'{before}\ndynamic_ownership = 0\n')
        lab.run('b', ['systemctl', 'restart', 'libvirtd'])
        for merge in ('commit', 'mirror'):
            guest = case.guest()
            image = guest.all_files()[0]
            lab.run('a', ['chmod', '644', image])
            move = case.migration(guest, '--merge', merge)
            move.run()
            move.prove_arrived(revert='one')
            need(owned(lab, image) == ('libvirt-qemu', 'libvirt-qemu', '644'), merge, owned(lab, image))
            case.clean()
    finally:
        conf.write_text(before)
        lab.run('b', ['systemctl', 'restart', 'libvirtd'])


@thorough
def test_stop_of_the_unit(case):
    """The unit of a job is stopped while it waits for the other host: nothing of it is left, and it has not failed. A
    start of the unit ends the job."""
    lab, log = case.lab, UnitLog(case.lab)
    move = case.migration(case.guest())
    call = move.start()
    call.wait_state('COMMIT')
    unit = f'vmig-snap@{call.events[0][1]["job"]}.service'
    lab.link(False)
    kill_tool(lab)
    wait_until(lambda: tools(lab, 'a', 'resume'), 30, 'the resume by the unit')
    begin = time.monotonic()
    lab.run('a', ['systemctl', 'stop', unit])
    seconds = time.monotonic() - begin
    left = list(lab.processes('a', 'vmig-snap', 'vmig-snap-hook').values())
    lab.link(True)
    need(seconds < SHUTDOWN, f'the stop took {seconds:.1f} s')
    need(not [argv for argv in left if '--guard' not in argv], 'left after the stop:', left)
    need(unit not in lab.failed_units('a'), unit, 'has failed', log)
    lab.run('a', ['systemctl', 'start', unit])
    conclude(Trial('kill', 'COMMIT'), move, log)


@thorough
def test_source_is_back_first(case):
    """Both hosts lose their power during the copy, and the destination stays off. The guest, which starts with its host,
    runs again; when the destination is back the job ends."""
    lab, log, trial = case.lab, UnitLog(case.lab), Trial('both', 'COPY')
    guest = case.guest()
    lab.virsh('a', 'autostart', 'g')
    move = case.migration(guest, *SLOW_COPY)
    move.start().wait_state('COPY')
    lab.power_cut(*HOSTS)
    lab.power_on('a')
    lab.wait_booted('a')
    begin = time.monotonic()
    wait_until(lambda: lab.state('a', 'g') == 'running', 60, 'the guest')
    print(f'# the guest runs {time.monotonic() - begin:.1f} s after the boot of the source')
    lab.wait_writes('a', 'g', 3)
    lab.power_on('b')
    lab.wait_booted('b')
    conclude(trial, move, log, HOSTS)


if __name__ == '__main__':
    sys.exit(main(__file__, globals()))
