# SPDX-License-Identifier: LGPL-2.1-or-later
"""vmig-snap from its packages on two hosts that systemd has booted: a migration, and jobs that end without a hand.

    python3 tests/booted/test_booted.py [--debs DIR] [-k PATTERN] ...

--debs: the packages to install; without it they are built from this tree.
"""
import sys

from booted import main, thorough
from trial import Trial, UnitLog, run_again

from command import need
from hostns import HOSTS


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


def test_kill_in_commit(case):
    """The tool is killed after the switchover: the hook's unit ends the job."""
    run_again(case, Trial('kill', 'COMMIT'))


@thorough
def test_kill_in_copy(case):
    """The tool is killed while it copies, when no guest starts or stops."""
    run_again(case, Trial('kill', 'COPY', delay=0.3))


def test_reboot_of_the_destination(case):
    """The destination reboots while the overlay is committed into the base copy."""
    run_again(case, Trial('reboot', 'COMMIT', 'b'))


def test_power_cut_of_the_source(case):
    """The source loses its power during the copy; the guest, which starts with its host, runs again."""
    run_again(case, Trial('power', 'COPY', 'a', delay=0.3))


if __name__ == '__main__':
    sys.exit(main(__file__, globals()))
