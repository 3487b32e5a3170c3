# SPDX-License-Identifier: LGPL-2.1-or-later
"""The part of TAP that the style tests need."""


class Tap:
    """Prints and counts checks."""

    def __init__(self):
        self.count = self.failures = 0

    def check(self, problems, text):
        """One check. It passes if there are no problems; each problem is printed."""
        self.count += 1
        for problem in problems:
            print(f'# {problem}')
        self.failures += bool(problems)
        print(f'{"not ok" if problems else "ok"} {self.count} {text}', flush=True)

    def skip(self, text, reason):
        """A check that cannot be made."""
        self.count += 1
        print(f'ok {self.count} {text} # SKIP {reason}', flush=True)

    def end(self):
        """Print the plan; the exit code."""
        print(f'1..{self.count}')
        return 1 if self.failures else 0
