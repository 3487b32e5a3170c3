# SPDX-License-Identifier: LGPL-2.1-or-later
"""A folder for trials with many syncs: in memory where there is room, gone afterwards unless something is to be kept."""
import os
import pathlib
import shutil
import tempfile

ROOM = 2 << 30  # a container's /dev/shm often has 64 MiB


def place():
    """Where syncs are quick; what a sync does to a disk is judged by tests/power, on the record of the calls."""
    try:
        fs = os.statvfs('/dev/shm')
    except OSError:
        return '/var/tmp'
    return '/dev/shm' if fs.f_bavail * fs.f_frsize >= ROOM and os.access('/dev/shm', os.W_OK) else '/var/tmp'


class Scratch:
    """with Scratch('vmig-x-') as scratch: scratch.path is there; scratch.keep = True leaves it."""

    def __init__(self, prefix):
        self.path, self.keep = pathlib.Path(tempfile.mkdtemp(prefix=prefix, dir=place())), False

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if not self.keep:
            shutil.rmtree(self.path, ignore_errors=True)
