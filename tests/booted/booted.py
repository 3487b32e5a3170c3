# SPDX-License-Identifier: LGPL-2.1-or-later
"""Shared by the tests on booted hosts: their runner."""
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / 'lab')]

import cases  # noqa: E402  (the paths come first)
import facts  # noqa: E402
import migration  # noqa: E402
import packages  # noqa: E402
from hosts import BootedLab  # noqa: E402

# doctor's proof that libvirt's daemon has loaded the hook stays.
migration.run_folder_left = lambda lab, host: [x for x in facts.run_folder_left(lab, host) if not x.endswith('/hook-seen')]


def options(parser):
    """Adds what every program here takes."""
    parser.add_argument('--debs', metavar='DIR', help='the packages to install; without it they are built from this tree')
    parser.add_argument('--suite', action='append', default=[], metavar='HOST=SUITE', help='what a host runs: a=trixie')


def make_lab(folder, args):
    """The hosts that the command line asks for."""
    suites = dict(word.split('=') for word in args.suite)
    return BootedLab(folder, packages.debs(args.debs), suites, replace=True)


def main(file, names):
    """Run the test_* functions of a file."""
    return cases.main(file, names, options=options, make_lab=make_lab)


def thorough(function):
    """Mark a test that only --all and -k take."""
    function.thorough = True
    return function
