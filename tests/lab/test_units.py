# SPDX-License-Identifier: LGPL-2.1-or-later
"""The shipped systemd units: their ExecStart= finishes jobs under the restrictions that the units set up.

tests/unit/unit-sandbox.c reads the unit and does what systemd would do; systemd is not needed.
"""
import contextlib
import pathlib
import sys
import uuid

from cases import main
from command import DONE, ROLLED_BACK, ROOT, need
from lab import wait_until
from test_hooks import job_of, nobody_resumes, prove_moved, put, state_of, wait_end


def run_unit(case, host, unit, instance='-'):
    """A Popen of a unit's ExecStart= under its restrictions, as `systemctl start` would run it."""
    sandbox = pathlib.Path(case.binary).parents[1] / 'tests/unit/unit-sandbox'
    need(sandbox.exists(), f'{sandbox} does not exist: build it')
    lab = case.lab
    return lab.popen(host, [sandbox, ROOT / f'hooks/{unit}.service.in', lab.bin, instance])


@contextlib.contextmanager
def booted(case, host, job):
    """The host lost its power and rebooted: its processes are gone, its /run is new, and it has another boot ID. The
    processes that libvirt's start triggers leave the job alone."""
    lab = case.lab
    lab.crash(host)
    name = lab.dir / f'boot-id-{host}'
    name.write_text(f'{uuid.uuid4()}\n')
    lab.run(host, ['mount', '--bind', name, '/proc/sys/kernel/random/boot_id'])
    try:
        with nobody_resumes(lab, job):
            lab.boot(host)
            yield
    finally:
        lab.run(host, ['umount', '/proc/sys/kernel/random/boot_id'])


def test_job_unit(case):
    """vmig-snap@JOB after the tool died past the switchover: the job reaches DONE."""
    put(case)
    move = case.migration(case.guest())
    call = move.start(fault='activate.resumed:kill')
    job = job_of(call)
    with nobody_resumes(case.lab, job):
        move.finish()
    unit = run_unit(case, 'a', 'vmig-snap@', job)
    out, err = unit.communicate(timeout=90)
    need(unit.returncode == DONE, 'the unit ended with', unit.returncode, out, err)
    need(state_of(case, 'a', job) == 'DONE', 'the job is in', state_of(case, 'a', job))
    prove_moved(case, move)


def test_boot_unit(case):
    """Both hosts lost power during the copy, and the source is back first. The guest, which starts with its host, runs
    at once, and vmig-snap-resume finishes the job when the destination answers."""
    put(case)
    lab = case.lab
    guest = case.guest()
    lab.virsh('a', 'autostart', 'g')
    move = case.migration(guest)
    call = move.start(fault='copy.sent:kill')
    job = job_of(call)
    move.finish()
    with contextlib.ExitStack() as silent:
        lab.silence(True, 'b')
        silent.callback(lab.silence, False, 'b')
        with booted(case, 'a', job):
            need(lab.state('a', 'g') == 'shut off', 'the guest is', lab.state('a', 'g'))
            unit = run_unit(case, 'a', 'vmig-snap-resume')
            wait_until(lambda: lab.state('a', 'g') == 'running' or unit.poll() is not None, 90, 'the guest')
            need(unit.poll() is None, 'the unit ended:', unit.poll() is not None and unit.communicate())
            need(lab.disks('a', 'g')['vda'] != guest.files['vda'][0], 'it runs on its base')
            # QEMU's emulated CPU can lose a page of a guest that is still booting (docs/reliability.md).
            lab.wait_writes('a', 'g', 3)
            silent.close()
            out, err = unit.communicate(timeout=120)
            need(unit.returncode in (DONE, ROLLED_BACK), 'the unit ended with', unit.returncode, out, err)
    wait_end(case, job, ('DONE', 'ROLLED_BACK'))
    here = 'b' if unit.returncode == DONE else 'a'
    lab.wait_writes(here, 'g', 5)
    wrong = move._who_runs(here, ['b' if here == 'a' else 'a']) + move._content(here)
    need(not wrong, '; '.join(wrong))


if __name__ == '__main__':
    sys.exit(main(__file__, globals()))
