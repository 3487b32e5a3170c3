# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the tests of the command line share: counting, and running the command."""
import os
import subprocess
import sys
import time
import traceback

# A command that refuses must do so at once; the rest is for slow machines and sanitizers.
PATIENCE = 60


class Counter:
    """Prints `ok - ...` and `not ok - ...` and remembers how many."""

    def __init__(self):
        self.passed = self.failed = self.skipped = 0

    def check(self, condition, text, detail=''):
        """Print and count one check."""
        if condition:
            self.passed += 1
            print(f'ok - {text}', flush=True)
        else:
            self.failed += 1
            print(f'not ok - {text}', flush=True)
            for line in str(detail).splitlines():
                print(f'#   {line}', flush=True)

    def skip(self, text, reason):
        """Print and count a check that cannot be made."""
        self.skipped += 1
        print(f'ok - {text} # SKIP {reason}', flush=True)

    def run(self, tests):
        """Call every test; an exception is a failure. Print the sum and return the exit code."""
        for test in tests:
            try:
                test()
            except Exception:  # pylint: disable=broad-except
                self.check(False, f'{test.__name__} runs to its end', traceback.format_exc())
        print(f'{self.passed} passed, {self.failed} failed, {self.skipped} skipped')
        return 1 if self.failed else 0


class Ended:
    """How a command ended."""

    def __init__(self, argv, code, out, err, seconds, cpu=0.0):
        self.argv, self.code, self.out, self.err, self.seconds = argv, code, out, err, seconds
        self.cpu = cpu  # seconds of processor time: the same on a machine that does other things too

    @property
    def reason(self):
        """The first line of standard error."""
        return self.err.split('\n', 1)[0]

    def __str__(self):
        return f'{self.argv}\nexit code {self.code} after {self.seconds:.1f} s\nout: {self.out!r}\nerr: {self.err!r}'


def binary(variable):
    """The program that the environment names, or an end of the test."""
    path = os.environ.get(variable)
    if not path or not os.access(path, os.X_OK):
        sys.exit(f'{variable} must name the program to test')
    return os.path.abspath(path)


def clean_environment(**more):
    """Nothing of the caller's that could change what is printed."""
    kept = {name: os.environ[name] for name in ('PATH', 'ASAN_OPTIONS', 'UBSAN_OPTIONS', 'LD_LIBRARY_PATH')
            if name in os.environ}
    return {**kept, 'TZ': 'UTC', **more}


def cpu_of_children():
    """Seconds of processor time that ended children took."""
    used = os.times()
    return used.children_user + used.children_system


def call(argv, env=None, wrap=(), **more):
    """Run to the end. argv may hold bytes; wrap is put before it."""
    began, used = time.monotonic(), cpu_of_children()
    done = subprocess.run([*wrap, *argv], stdin=more.pop('stdin', subprocess.DEVNULL), capture_output=True, check=False,
                          timeout=PATIENCE, env=env if env is not None else clean_environment(), **more)
    return Ended(argv, done.returncode, done.stdout.decode('utf-8', 'surrogateescape'),
                 done.stderr.decode('utf-8', 'surrogateescape'), time.monotonic() - began, cpu_of_children() - used)
