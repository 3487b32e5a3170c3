# SPDX-License-Identifier: LGPL-2.1-or-later
"""Checks the model of ownership with SPIN, and that planted faults are found.

    python3 tests/model/ownership.py PRINT-TABLES [--all]

PRINT-TABLES is the program that prints the state table and the decision table as Promela. --all also checks three
crashes together with a cut and a lost reply, which takes some minutes and 4 GB of memory.
"""
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / 'style'))

from tap import Tap  # noqa: E402

SAFETY = ['-DSAFETY', '-DNOCLAIM', '-DCOLLAPSE', '-DVECTORSZ=2048']
LIVENESS = ['-DCOLLAPSE', '-DVECTORSZ=2048', '-DNFAIR=4']
# What is allowed to happen: (crashes, cuts of the network, lost replies of libvirt).
SAFE = [(0, 2, 1), (1, 1, 1), (3, 0, 0)]
SAFE_ALL = [(2, 1, 1), (3, 1, 1)]
LIVE = [(0, 1, 1), (1, 0, 0)]
LIVE_ALL = [(1, 1, 0)]
# A fault in the code that the model must find, and how it shows.
PLANTED = {'ORDER': 'the token on the destination first',
           'PROOF': 'a source that is off counts as one that stood still',
           'FENCE': 'the token without a fence on the source'}


class Model:
    """The model in a folder of its own, with the tables of the code."""

    def __init__(self, folder, tables):
        self.folder = pathlib.Path(folder)
        shutil.copy(HERE / 'ownership.pml', self.folder)
        (self.folder / 'tables.pml').write_text(subprocess.run([tables], capture_output=True, text=True,
                                                               check=True).stdout)

    def check(self, budget, *planted, live=False):
        """The verifier's words and the number of errors that it found."""
        crashes, cuts, losses = budget
        names = [f'CRASHES={crashes}', f'CUTS={cuts}', f'LOSSES={losses}', *(f'PLANT_{name}' for name in planted)]
        self.run(['spin', *(f'-D{name}' for name in names), '-a', 'ownership.pml'])
        self.run(['cc', '-O2', '-w', *(LIVENESS if live else SAFETY), '-o', 'pan', 'pan.c'])
        said = self.run(['./pan', '-m1000000', *(['-a', '-f'] if live else ['-E'])])
        errors = re.search(r'errors: (\d+)', said)
        if not errors or 'Search not completed' in said and errors[1] == '0' or 'max search depth too small' in said:
            raise RuntimeError(f'the search did not end: {said[-1500:]}')
        return said, int(errors[1])

    def run(self, argv):
        """The output of a program of this check."""
        done = subprocess.run(argv, cwd=self.folder, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f'{argv[0]} ended with {done.returncode}: {(done.stdout + done.stderr)[-1500:]}')
        return done.stdout


def states(said):
    """How many states the verifier saw."""
    return int(float(re.search(r'(\S+) states, stored', said)[1]))


def main():
    """The command line."""
    tap = Tap()
    if not shutil.which('spin'):
        tap.skip('the model of ownership', 'spin is not installed')
        return tap.end()
    with tempfile.TemporaryDirectory() as folder:
        model = Model(folder, os.path.abspath(sys.argv[1]))
        for budget in SAFE + (SAFE_ALL if '--all' in sys.argv else []):
            said, errors = model.check(budget)
            tap.check([said[-1500:]] if errors else [], f'safety with {budget[0]} crashes, {budget[1]} cuts, {budget[2]} lost replies '
                      f'({states(said):,} states)')
        for budget in LIVE + (LIVE_ALL if '--all' in sys.argv else []):
            said, errors = model.check(budget, live=True)
            tap.check([said[-1500:]] if errors else [],
                      f'liveness with {budget[0]} crashes, {budget[1]} cuts, {budget[2]} lost replies')
        for name, what in PLANTED.items():
            said, errors = model.check((1, 1, 1), name)
            tap.check([] if errors else ['the planted fault was not found'], f'found: {what}')
        said, errors = model.check((0, 1, 1), 'STAY', live=True)
        tap.check([] if errors else ['no cycle was found'], 'found: the source is not resumed on the way back')
    return tap.end()


if __name__ == '__main__':
    sys.exit(main())
