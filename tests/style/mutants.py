#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every fault of tests/mutation/mutants.py still fits the code: its text is in its file exactly once.

    python3 tests/style/mutants.py SOURCE-ROOT

tests/mutation/run takes hours, and is run by hand; an entry that no longer fits would be found only then.
"""
import importlib.util
import pathlib
import sys

from tap import Tap


def misfits(root, mutants):
    """The edits whose text is not in their file once."""
    wrong = []
    for mutant in mutants:
        for path, old, new in mutant.edits:
            file = root / path
            found = file.read_text(encoding='utf-8').count(old) if file.exists() else -1
            if found != 1 or old == new:
                wrong.append(f'{mutant.id}: {path} has it {found} times: {old[:80]!r}')
    return wrong


def main():
    """Look at the list, and at one that must be refused."""
    root = pathlib.Path(sys.argv[1])
    spec = importlib.util.spec_from_file_location('mutants', root / 'tests/mutation/mutants.py')
    there = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(there)
    tap = Tap()
    planted = there.Mutant('planted', [('plugin/core/role.c', 'a text that is not there', '')], '', '', None)
    tap.check([] if misfits(root, [planted]) else ['it was not'], 'an edit that does not fit is seen')
    tap.check(misfits(root, there.MUTANTS), f'all {len(there.MUTANTS)} faults of the list fit the code')
    return tap.end()


if __name__ == '__main__':
    sys.exit(main())
