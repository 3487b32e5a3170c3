# SPDX-License-Identifier: LGPL-2.1-or-later
"""Cases of several faults that are too rare at random: each fault happens at a named call, in several simulated
environments.

    python3 tests/sim/cases.py SIM [CASE]
"""
import re
import subprocess
import sys

# name: (seeds, the end of each run, [--when])
CASES = {
    # The source is rebooted with a journal from before the job, after its guest was undefined.
    'source-forgot': (range(1, 21), 'done', ['PLAN/lock/source=old-journal', 'CLEANUP/guard-stop/source=power']),
    # The destination's record is older than the migration, and the source's journal is replaced after the switchover: no
    # record says that the migration began.
    'arrived-without-record': (range(2, 9), 'done', ['PREPARE/create-overlay/dest=old-journal@source',
                                                     'DROP_METADATA/record-put/dest=error-before',
                                                     'MIGRATE/token-put/dest=crash-after']),
    # The mark on the destination is gone, its journal is replaced, and only the end is not recorded yet.
    'destination-forgot': (range(1, 21), 'done', ['PLAN/lock/dest=old-journal',
                                                  'CLEANUP/rundir-remove/dest=crash-before']),
    # The disks are on their bases and the guest writes there, but the pivot is not recorded as done; then it shuts
    # down.
    'off-after-half-a-pivot': ((2, 3, 4, 5, 7, 8, 11), 'done', [
        'PIVOT/sync-config/dest=error-after', 'PIVOT/resume/dest=crash-after', 'PIVOT/lock/dest=guest-off']),
    # The user suspends the guest during the base copy: it arrives suspended.
    'suspended-while-copied': (range(1, 11), 'done', ['COPY/received/dest=guest-pause']),
    # The overlay has a snapshot that did not arrive, and the source does not answer the check for it: the copy on the
    # destination does not become the guest.
    'snapshot-not-seen': ((1, 2, 3, 4, 6, 7, 8, 9), 'rolled-back', [
        'MIGRATE/migrate-poll/source#3=save', 'MIGRATE/fence-take/source=crash-after',
        'UNCERTAIN/count-snapshots/source=error-before']),
    # An operator reverts the guest on its bases, and it shuts down while the job is parked for that. The same before
    # the job has recorded that the overlays take the guest's writes.
    'reverted-before-frozen': ((1, 3, 4), 'rolled-back', ['OVERLAY/made/source#2=revert',
                                                             'ROLLBACK/find/source#2=guest-off']),
    # Another user's block copy begins just before the hold. It is not ended; the user ends it, or the job is set aside.
    'copy-of-another-user': ((1, 3, 4, 5, 6, 7, 8), 'rolled-back', ['OVERLAY/block-job/source=copy',
                                                                    'PARKED/lock/source=block-job']),
    'copy-stays': (range(1, 11), 'set-aside', ['OVERLAY/block-job/source=copy']),
    'reverted-and-off': ((3, 4, 7), 'set-aside', ['COPY/receive/dest=guard', 'COPY/stat/source=revert',
                                                  'PARKED/lock/source=guest-off']),
}


def wrong_in(sim, seed, end, script):
    """[] or the errors in one run."""
    argv = [sim, '--seed', str(seed)] + [word for line in script for word in ('--when', line)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    ended = re.search(rf' {end} 1 ', done.stdout)
    told = [line for line in done.stdout.splitlines() if line.startswith('seed ')]
    if done.returncode == 0 and ended:
        return []
    return told or [f'seed {seed}: exit code {done.returncode}, it did not end as {end}']


def main():
    """Run every case, or one."""
    sim, failed = sys.argv[1], 0
    for name in sys.argv[2:] or CASES:
        seeds, end, script = CASES[name]
        wrong = [line for seed in seeds for line in wrong_in(sim, seed, end, script)]
        failed += bool(wrong)
        print(f'{"not ok" if wrong else "ok"} - {name}', flush=True)
        for line in wrong[:5]:
            print(f'# {line}')
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
