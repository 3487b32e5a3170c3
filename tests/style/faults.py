# SPDX-License-Identifier: LGPL-2.1-or-later
"""docs/faults.md has a row for every fault, bad input, promise and figure, and every test it names exists.

    python3 tests/style/faults.py [SOURCE-ROOT]

In the last column each text in backquotes is a test: `PROGRAM NAME`. How NAME is searched depends on the program. The
search is also tested with names that do not exist.
"""
import functools
import pathlib
import re
import subprocess
import sys

from tap import Tap

ROWS = {'F': 45, 'D': 17, 'B': 109, 'V': 17, 'I': 26, 'N': 25}
ROW = re.compile(r'^\| ([FDBVIN]\d+[a-z]?) \| (.*) \| (.*) \|$', re.M)
SKIPPED = {'__pycache__', 'corpus', 'golden'}
# The shortest text that counts as a reason for a missing test.
SHORTEST_REASON = 30


class Tree:
    """The existing tests."""

    def __init__(self, root):
        self.root = root / 'tests'
        self.files = [path for path in self.root.rglob('*') if path.is_file() and not set(path.parts) & SKIPPED]

    def named(self, program):
        """The file of that program, or None if there is none or several."""
        if '/' in program:
            return self.root / program if (self.root / program).is_file() else None
        if (self.root / program / 'run').is_file():
            return self.root / program / 'run'
        found = [path for path in self.files if path.name == program or
                 (path.stem == program and path.suffix in ('.c', '.py'))]
        return found[0] if len(found) == 1 else None

    @functools.lru_cache(maxsize=None)
    def listed(self, *argv):
        """The output of a program with --list."""
        done = subprocess.run([sys.executable, '-B', *argv, '--list'], capture_output=True, text=True, check=False)
        return done.stdout.split('\n')

    def has(self, reference):
        """Whether a test exists."""
        program, _, name = reference.partition(' ')
        path = self.named(program)
        if path is None:
            return False
        text = path.read_text(encoding='utf-8')
        if not name:
            return True
        if name.startswith('--'):
            return f"'{name}'" in text or f'"{name}"' in text
        if path.parent.name == 'crash' and path.name == 'run':
            return self._in_crash(name, self.listed(str(path)))
        if path.name == 'syscalls.py':
            return name in self.listed(str(path))
        if path.parent.name in ('lab', 'booted') and program.startswith('test_') and program != 'test_lab':
            listed = [line for line in self.listed(str(path), '--all') if line]
            return bool(listed) if name == '*' else name in listed
        return self._in_c(name, text) if path.suffix == '.c' else self._in_python(name, text)

    @staticmethod
    def _in_crash(name, listed):
        point, _, victim = name.rpartition(',')
        if victim == '*' or point == '*':
            return any(line.endswith(f',{"" if victim == "*" else victim}') or victim == '*' for line in listed)
        return name in listed

    @staticmethod
    def _in_c(name, text):
        """A GTest path whose end is a string in the file, or a function, or another string."""
        parts = name.split('/')
        ends = ['/'.join(parts[i:]) for i in range(len(parts))]
        return any(f'"{end}"' in text or f'"/{end}"' in text for end in ends if end) or \
            re.search(rf'^[a-z].*\b{re.escape(name)}\(', text, re.M) is not None

    @staticmethod
    def _in_python(name, text):
        return re.search(rf'^\s*(def|class) {re.escape(name)}\b|^{re.escape(name)} =', text, re.M) is not None or \
            f"'{name}'" in text


def missing_rows(text):
    """Rows that do not exist exactly once. Rows with a letter, such as F30b, follow the row with their number."""
    rows = [row for row, _, _ in ROW.findall(text)]
    lettered = [row for row in rows if row[-1].isalpha()]
    wanted = [f'{letter}{number}' for letter, most in ROWS.items() for number in range(1, most + 1)]
    return [f'{row} exists {rows.count(row)} times' for row in wanted if rows.count(row) != 1] + \
        [f'{row} exists more than once' for row in set(lettered) if lettered.count(row) > 1] + \
        [f'{row} is no row' for row in rows if row.rstrip('abcdefgh') not in wanted]


def bad_rows(text, tree):
    """Rows that name a test that does not exist, or have neither a test nor a reason."""
    problems = []
    for row, _, tried in ROW.findall(text):
        tests = re.findall(r'`([^`]+)`', tried)
        problems += [f'{row}: there is no test {test}' for test in tests if not tree.has(test)]
        reason = tried.partition('**none**:')[2]
        if not tests and not reason and 'this page' not in tried:
            problems.append(f'{row}: neither a test nor **none** with a reason')
        if '**none**' in tried and len(reason) < SHORTEST_REASON:
            problems.append(f'{row}: **none** without a reason')
    return problems


def broken(tree):
    """Names that must not be found but are, and wrong rows that are accepted."""
    wrong = ['test_net silence_at_nothing', 'test_nothing *', 'test-qcow2 /qcow2/nothing', 'crash token.source,nobody',
             'crash nowhere,tool', 'crash *,nobody', 'sim-fault.c nothing', 'test_cli test_nothing', 'block --nothing',
             'oracle.py Nothing', 'syscalls.py sad path', 'power/nothing.py']
    found = [f'{name} is found' for name in wrong if tree.has(name)]
    head, tests = '| F1 | x | `test_net gone` |\n', bad_rows('| F1 | x | **none**: no |\n| F2 | x | |\n', tree)
    if len(bad_rows(head, tree)) != 1 or len(tests) != 1:
        found.append(f'bad rows are not seen: {tests}')
    if len(missing_rows(head + head)) != sum(ROWS.values()):
        found.append('missing and double rows are not seen')
    return found


def main():
    """All checks."""
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else '.').resolve()
    text, tree, tap = (root / 'docs/faults.md').read_text(encoding='utf-8'), Tree(root), Tap()
    tap.check(broken(tree), 'names that do not exist are not found')
    tap.check(missing_rows(text), 'docs/faults.md has every row once')
    tap.check(bad_rows(text, tree), 'every test that docs/faults.md names is in the tree')
    return tap.end()


if __name__ == '__main__':
    sys.exit(main())
