# SPDX-License-Identifier: LGPL-2.1-or-later
"""libvirtd killed at a pivot: it may lose track of the guest, or leave its definition on the overlay; the job ends
correctly.

Some kills of each kind; tests/crash/pivot makes as many as requested.
"""
import sys

import pivot_kills
from cases import Disk, main

DELAYS = (4, 12, 18, 24, 30, 36)


def test_back(case):
    """Six kills of the source's libvirtd during rollbacks of one guest with two disks."""
    guest = case.guest(disks=[Disk(), Disk('vdb')])
    counts = pivot_kills.new_counts()
    for number, delay in enumerate(DELAYS):
        pivot_kills.count(counts, pivot_kills.kill_back(case, guest, delay, 1 + number % 2))
    print(f'# {pivot_kills.tell(counts)}')


def test_there(case):
    """A kill of the destination's libvirtd."""
    counts = pivot_kills.new_counts()
    pivot_kills.count(counts, pivot_kills.kill_there(case, case.guest(), 20))
    print(f'# {pivot_kills.tell(counts)}')


if __name__ == '__main__':
    sys.exit(main(__file__, globals(), merge='commit'))
