# SPDX-License-Identifier: LGPL-2.1-or-later
"""The commands that `vmig-snap status` prints for a parked job, run as printed."""
import re
import shlex

from command import need


def commands(case, host, job):
    """The commands that `status JOB` prints on a host under "continue" and "or", in that order."""
    text = case.call(host, 'status', job).stdout
    return re.findall(r'^  (?:continue|or) +(vmig-snap .*)$', text, re.M)


def follow(case, host, job, option='', json=True, timeout=120):
    """Run the printed command that has this option ('': plain resume), split as by a shell; returns the Call. json:
    adds --json, for a test that reads the events."""
    told = commands(case, host, job)
    wanted = f'vmig-snap resume {job}{" " if option else ""}{option}'
    need(wanted in told, f'status on {host} does not tell {wanted!r}:', told)
    words = shlex.split(told[told.index(wanted)])
    return case.call(host, *words[1:], *(['--json'] if json else []), timeout=timeout)
