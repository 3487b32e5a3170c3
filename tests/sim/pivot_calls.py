# SPDX-License-Identifier: LGPL-2.1-or-later
"""While the guest is suspended for the pivot, libvirt is asked for its definition equally often for any number of
disks; each disk costs one query about its job and the pivot itself.

    python3 tests/sim/pivot_calls.py SIM
"""
import collections
import re
import subprocess
import sys

SEEDS = range(1, 40)
CALL = re.compile(r'^ +[\d.]+ +\d+ dest: ([a-z-]+)$')


def calls_of_pivot(sim, seed):
    """The number of each call to the destination between its suspend and its resume."""
    trace = subprocess.run([sim, '--seed', str(seed), '--faults', 'none', '--trace'], capture_output=True, text=True,
                           check=False).stdout
    calls, inside = collections.Counter(), False
    for line in trace.splitlines():
        match = CALL.match(line)
        if match and match[1] == 'suspend':
            inside = True
        elif match and match[1] == 'resume' and inside:
            break
        elif match and inside:
            calls[match[1]] += 1
    return calls if inside else None


def main():
    """Run guests with different numbers of disks without a fault."""
    runs = {seed: calls_of_pivot(sys.argv[1], seed) for seed in SEEDS}
    seen = {seed: calls for seed, calls in runs.items() if calls}
    disks = {calls['block-pivot'] for calls in seen.values()}
    wrong = [f'seed {seed}: {dict(calls)}' for seed, calls in seen.items()
             if calls['domain-xml'] != 6 or calls['block-job'] != calls['block-pivot'] or calls['run'] > 2]
    good = len(disks) > 1 and not wrong
    print(f'{"ok" if good else "not ok"} - {len(seen)} pivots of {sorted(disks)} disks look equally often')
    for line in wrong[:5]:
        print(f'# {line}')
    return 0 if good else 1


if __name__ == '__main__':
    sys.exit(main())
