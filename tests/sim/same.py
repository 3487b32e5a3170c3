# SPDX-License-Identifier: LGPL-2.1-or-later
"""One seed is one run: the same calls at the same times and the same end, whatever ran before it in the process.

    python3 tests/sim/same.py SIM [SEEDS]

The seeds run one after the other in one process, and then each in its own process; the hashes of the runs must be
equal. The hashes of different seeds must differ, because equal ones would prove nothing.
"""
import subprocess
import sys

FIRST = 1000


def hashes(sim, *args):
    """{seed: hash}"""
    done = subprocess.run([sim, '--hash', *args], capture_output=True, text=True, check=False)
    lines = (line.split() for line in done.stdout.splitlines())
    return {int(words[0]): words[1] for words in lines if len(words) == 2 and words[0].isdigit() and len(words[1]) == 16}


def main():
    """Run all seeds."""
    sim, seeds = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 50
    together = hashes(sim, '--first', str(FIRST), '--seeds', str(seeds), '--jobs', '1')
    spread = hashes(sim, '--first', str(FIRST), '--seeds', str(seeds), '--jobs', '2')
    alone = {}
    for seed in range(FIRST, FIRST + seeds):
        alone.update(hashes(sim, '--seed', str(seed)))
    differ = [seed for seed in alone if not alone[seed] == together.get(seed) == spread.get(seed)]
    good = len(alone) == seeds and not differ and len(set(alone.values())) == seeds
    print(f'{"ok" if good else "not ok"} - {seeds} seeds are the same runs every time')
    if not good:
        print(f'{len(alone)} ran, {len(set(alone.values()))} different ones; not the same again: {differ}')
    return 0 if good else 1


if __name__ == '__main__':
    sys.exit(main())
