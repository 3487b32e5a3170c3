# SPDX-License-Identifier: LGPL-2.1-or-later
"""The simulation notices what must never happen: for each injected bug, the invariant made for it must report it.

    python3 tests/sim/sees.py SIM fence|token|order|facts|copy

A crash of the simulation is no detection, and the exit code alone cannot distinguish the two.
"""
import re
import subprocess
import sys


def main():
    """Run with one injected bug."""
    sim, fault = sys.argv[1:]
    done = subprocess.run([sim, '--seeds', '1500', '--break', fault], capture_output=True, text=True, check=False)
    seen = re.search(r' was seen in [1-9]\d* runs$', done.stdout, re.M)
    good = done.returncode == 1 and seen
    print(f'{"ok" if good else "not ok"} - a broken {fault} is seen for what it is')
    if not good:
        print(f'exit code {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}')
    return 0 if good else 1


if __name__ == '__main__':
    sys.exit(main())
