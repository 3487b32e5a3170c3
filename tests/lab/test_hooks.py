# SPDX-License-Identifier: LGPL-2.1-or-later
"""libvirt's hook on two real hosts: what it refuses, what it permits, and that jobs finish by themselves.

The program is BUILD/hooks/vmig-snap-hook beside the binary under test, or $VMIG_SNAP_HOOK.
"""
import contextlib
import fcntl
import os
import pathlib
import shutil
import signal
import statistics
import subprocess
import sys
import time

import facts
import migration
import oracle
from cases import define, main
from command import Failure, need
from hostns import HOSTS
from lab import wait_until

RUN = '/run/vmig-snap'
NAME = '50-vmig-snap'
PREPARE = ['prepare', 'begin', '-']
SECONDS = 60

# Retries once and gives up, to avoid waiting for permanent failures.
IMPATIENT = ''.join(f'[{name}]\nattempts=1\nfirst-delay=0.1\n' for name in
                    ('transient', 'no-space', 'io', 'gone', 'unknown')) + '[overall]\nthen=rollback\n'

# The proof for doctor stays.
_left = facts.run_folder_left
migration.run_folder_left = lambda lab, host: [x for x in _left(lab, host) if not x.endswith('/hook-seen')]


# --- the hook in the lab -------------------------------------------------------------------------

def program(case):
    """The hook under test."""
    beside = pathlib.Path(case.binary).parents[1] / 'hooks/vmig-snap-hook'
    path = pathlib.Path(os.environ.get('VMIG_SNAP_HOOK', beside))
    need(path.exists(), f'{path} does not exist: build it, or set VMIG_SNAP_HOOK')
    return path


def seen(lab, host):
    """When libvirtd of this host last called the hook; 0: never."""
    path = lab.path(host, f'{RUN}/hook-seen')
    return path.stat().st_mtime_ns if path.exists() else 0


def put(case):
    """Put the hook into its places on both hosts, as `meson install` does, without notifying libvirtd."""
    hook = program(case)
    if not (case.lab.bin / hook.name).exists():
        shutil.copy(hook, case.lab.bin)
    if not (case.lab.bin / 'vmig-snap').exists():
        case.lab.install(case.binary)
    for host in HOSTS:
        for driver in ('qemu.d', 'daemon.d'):
            folder = case.lab.path(host, f'/etc/libvirt/hooks/{driver}')
            folder.mkdir(exist_ok=True)
            if not (folder / NAME).is_symlink():
                (folder / NAME).symlink_to(case.lab.bin / 'vmig-snap-hook')


def reload(lab, host):
    """SIGHUP, and wait until libvirtd has looked for hooks again, which it shows by calling this one."""
    before = seen(lab, host)
    lab.reload_libvirtd(host)
    wait_until(lambda: seen(lab, host) > before, 20, f'the call of the hook after SIGHUP on {host}')


def install(case):
    """Install and load the hooks on both hosts."""
    put(case)
    for host in HOSTS:
        if not seen(case.lab, host):
            reload(case.lab, host)


def call_hook(lab, host, name, words, xml='', **options):
    """Run the hook as libvirtd does; the CompletedProcess."""
    return lab.run(host, [lab.bin / 'vmig-snap-hook', name, *words], check=False, input=xml, **options)


def watchers(lab, host):
    """PIDs of the processes that the hook left behind."""
    return [pid for pid, argv in lab.processes(host, 'vmig-snap-hook').items() if '--resume' in argv]


@contextlib.contextmanager
def nobody_resumes(lab, job):
    """During this block, resumes started by the hook find that another one already runs."""
    with contextlib.ExitStack() as stack:
        for host in HOSTS:
            folder = lab.path(host, f'{RUN}/lock')
            folder.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context(open(folder / f'{job}.watch.lock', 'w', encoding='utf-8'))
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


def job_of(call):
    """The ID of a job that has begun."""
    wait_until(lambda: call.states(), 60, 'the job')
    return next(event['job'] for _, event in call.events if event['event'] == 'state')


def open_jobs(case, host):
    """[(job, state)] of a host's unfinished jobs."""
    found = case.call(host, 'status', '--json').document['jobs']
    return [(entry['job'], entry['state']) for entry in found]


def state_of(case, host, job):
    """The state of a job in the journal of a host."""
    return case.call(host, 'status', job, '--json').document['jobs'][0]['state']


def wait_end(case, job, states=('DONE',), seconds=SECONDS):
    """Wait until both journals have the job in one of these final states, without any request; returns the state."""
    def ended():
        now = {state_of(case, host, job) for host in HOSTS}
        return now.pop() if len(now) == 1 and now <= set(states) else None
    try:
        return wait_until(ended, seconds, f'the end of job {job}', interval=0.2)
    except TimeoutError as why:
        logs = {host: read(case.lab, host, f'/var/lib/vmig-snap/log/{job}.log')[-2000:] for host in HOSTS}
        said = case.call('a', 'status', job).stdout
        raise Failure(f'{why}: {said} {logs}') from None


def read(lab, host, path):
    """A text file, '' if there is none."""
    file = lab.path(host, path)
    return file.read_text() if file.exists() else ''


def refused(done, *words):
    """The hook refused virsh start with these words."""
    text = done.stderr + done.stdout
    need(done.returncode != 0, 'the start was not refused')
    need('vmig-snap: ' in text, 'it was not refused by the hook:', text)
    for word in words:
        need(word in text, f'{word!r} is not in', text)


def start(lab, host):
    """virsh start g; the CompletedProcess."""
    return lab.virsh(host, 'start', 'g', check=False)


def killed_after_switchover(case, move):
    """A migration whose tool dies right after the guest is resumed on the destination; returns the job's ID."""
    call = move.start(fault='activate.resumed:kill')
    job = job_of(call)
    move.finish()
    need(call.code == -signal.SIGKILL, 'the tool was not killed:', call.code, call.tail())
    return job


def prove_moved(case, move):
    """The guest runs on b with everything, runs nowhere else, and no watcher is left."""
    lab = case.lab
    lab.wait_writes('b', 'g', 5)
    wrong = move._never_two() + move._who_runs('b', ['a']) + move._content('b')
    for host in HOSTS:
        wrong += oracle.leftovers(lab, host, move.files_before[host] | set(move.files_moved()),
                                  ['g'] if host == 'b' else [])
    need(not wrong, '; '.join(wrong))


# --- loading -------------------------------------------------------------------------------------

def test_is_not_loaded_until_sighup(case):
    """libvirtd ignores a first hook until SIGHUP; then `daemon.d` proves that it is loaded."""
    put(case)
    case.guest(tree=None)
    need(not seen(case.lab, 'a'), 'libvirtd called a hook that it has not looked for')
    case.lab.kill_qemu('a', 'g')
    wait_until(lambda: case.lab.state('a', 'g') == 'shut off', 20, 'the end of the guest')
    for host in HOSTS:
        reload(case.lab, host)
        words = read(case.lab, host, f'{RUN}/hook-seen').split()
        need(int(words[0]) == case.lab.libvirtd_pid(host) and words[3] == 'reload', 'the proof says', words)
    case.lab.virsh('a', 'start', 'g')
    need(read(case.lab, 'a', f'{RUN}/hook-seen').split()[3] in ('start', 'started'), 'not called for a start')


# --- a migration with hooks installed -------------------------------------------------------------

def test_migration(case):
    """The main case with hooks on both hosts: nothing is refused, disturbed, or left."""
    install(case)
    move = case.migration(case.guest())
    call = move.start()
    job = job_of(call)
    move.finish()
    move.prove_arrived(revert=None)
    for host in HOSTS:
        wait_until(lambda: not watchers(case.lab, host), 20, f'the end of the watchers on {host}')
        need(not read(case.lab, host, f'/var/lib/vmig-snap/log/{job}.log'), f'resume was run on {host}')


def killed_at(point):
    """A test: the tool is killed at a fault point at which no guest starts or stops; the job ends without a request."""
    def test(case):
        install(case)
        lab = case.lab
        move = case.migration(case.guest())
        call = move.start(fault=f'{point}:kill')
        job = job_of(call)
        move.finish()
        died = time.monotonic()
        need(call.code == -signal.SIGKILL, 'the tool was not killed:', call.code, call.tail())
        wait_until(lambda: any('resume' in argv for argv in lab.processes('a', 'vmig-snap').values()), 10,
                   'a process that goes on')
        print(f'# went on after {time.monotonic() - died:.1f} s', flush=True)
        wait_end(case, job)
        prove_moved(case, move)
    test.__doc__ = f'kill -9 at {point}: the watcher continues the job, and the guest arrives.'
    return test


test_killed_in_overlay = killed_at('overlay.made')
test_killed_in_copy = killed_at('copy.sent')


def test_systemd(case):
    """With systemd the hook starts the unit; if that fails, the hook's own process does the work."""
    install(case)
    lab = case.lab
    fake = lab.bin / 'fake-systemctl'
    move = case.migration(case.guest())
    call = move.start(fault='copy.sent:delay:5000')
    job = job_of(call)
    call.wait_state('COPY')
    wait_until(lambda: watchers(lab, 'a'), 5, 'the watcher of the migration itself')
    for pid in watchers(lab, 'a'):
        os.kill(pid, signal.SIGKILL)
    lab.run('a', ['mkdir', '-p', '/run/systemd/system'])
    try:
        for code, expected in ((0, 0), (1, 1)):
            fake.write_text(f'#!/bin/sh\necho "$*" >> /run/systemd/said\nexit {code}\n')
            fake.chmod(0o755)
            lab.run('a', ['mount', '--bind', fake, '/usr/bin/systemctl'])
            call_hook(lab, 'a', 'g', ['release', 'end', '-'], timeout=5)
            wait_until(lambda: read(lab, 'a', '/run/systemd/said'), 5, 'the call of systemctl')
            wait_until(lambda: len(watchers(lab, 'a')) == expected, 5, f'{expected} watchers')
            lab.run('a', ['umount', '/usr/bin/systemctl'])
            said = read(lab, 'a', '/run/systemd/said')
            need(said == f'start --no-block --quiet vmig-snap@{job}.service\n', 'systemctl was told', said)
            lab.run('a', ['rm', '/run/systemd/said'])
    finally:
        lab.run('a', ['rm', '-r', '/run/systemd'])
    move.finish()
    move.prove_arrived(revert=None)


def test_live_operation_is_left_alone(case):
    """Processes that the hook starts during a live operation wait, one at a time, and exit when the operation succeeds.
    """
    install(case)
    lab = case.lab
    guest = case.guest()
    xml = lab.virsh('a', 'dumpxml', 'g')
    move = case.migration(guest)
    call = move.start(fault='copy.sent:delay:6000')
    job = job_of(call)
    call.wait_state('COPY')
    for _ in range(3):
        begin = time.monotonic()
        done = call_hook(lab, 'a', 'g', ['started', 'begin', '-'], xml, timeout=5)
        need(done.returncode == 0 and not done.stdout and not done.stderr, 'it said', done)
        need(time.monotonic() - begin < 2, 'its pipes stayed open')
    wait_until(lambda: watchers(lab, 'a'), 5, 'the watcher')
    wait_until(lambda: len(watchers(lab, 'a')) == 1, 5, 'the end of the second and third watcher')
    descriptors = [os.readlink(f'/proc/{watchers(lab, "a")[0]}/fd/{n}') for n in (0, 1, 2)]
    need(descriptors[0] == '/dev/null' and not any('pipe' in d for d in descriptors), descriptors)
    move.finish()
    move.prove_arrived(revert=None)
    wait_until(lambda: not watchers(lab, 'a'), 20, 'the end of the watcher')
    need(not read(lab, 'a', f'/var/lib/vmig-snap/log/{job}.log'), 'resume was run beside a live operation')


# --- crashes -------------------------------------------------------------------------------------

def test_death_after_switchover(case):
    """kill -9 of the tool after the guest was resumed on the destination: the job reaches DONE by itself."""
    install(case)
    move = case.migration(case.guest())
    job = killed_after_switchover(case, move)
    begin = time.monotonic()
    wait_end(case, job)
    print(f'# DONE {time.monotonic() - begin:.1f} s after the death of the tool')
    prove_moved(case, move)


def test_reconnect(case):
    """A restarted libvirtd reconnects to the guest, and that resumes the job."""
    install(case)
    move = case.migration(case.guest())
    call = move.start(fault='activate.resumed:kill')
    job = job_of(call)
    with nobody_resumes(case.lab, job):
        move.finish()
        wait_until(lambda: case.lab.qemu_pid('a', 'g') is None, 30, 'the end of the source\'s QEMU')
        time.sleep(3)
        need(dict(open_jobs(case, 'b')).get(job), 'the job ended without anybody:', open_jobs(case, 'b'))
        pid = case.lab.qemu_pid('b', 'g')
    case.lab.restart_libvirtd('b')
    need(case.lab.qemu_pid('b', 'g') == pid, 'the hook made libvirtd kill the guest')
    wait_end(case, job)
    prove_moved(case, move)


def test_stale_twin(case):
    """The source's definition, after the token moved, cannot be started in any form, and the attempt finishes the job.
    """
    install(case)
    lab = case.lab
    guest = case.guest()
    plain = lab.virsh('a', 'dumpxml', 'g', '--inactive')
    move = case.migration(guest)
    call = move.start(fault='activate.resumed:kill')
    job = job_of(call)
    with nobody_resumes(lab, job):
        move.finish()
        wait_until(lambda: lab.state('a', 'g') == 'shut off', 30, 'the end of the source\'s guest')
        refused(start(lab, 'a'), 'moved to vmig-b', f'vmig-snap resume {job}')
        mine = lab.virsh('a', 'dumpxml', 'g', '--inactive')
        define(lab, 'a', plain)
        refused(start(lab, 'a'), 'moved to vmig-b')
        define(lab, 'a', mine)
        lab.restart_libvirtd('a')
        refused(start(lab, 'a'), 'moved to vmig-b')
        need(oracle.runners(lab, 'g') == ['b'], 'it runs on', oracle.runners(lab, 'g'))
    refused(start(lab, 'a'), 'moved to vmig-b')
    wait_end(case, job)
    prove_moved(case, move)


def test_guest_dies_before_switchover(case):
    """kill -9 of tool and QEMU in COPY: the guest starts from its overlay, not from its base, and the job rolls back.
    """
    install(case)
    lab = case.lab
    guest = case.guest()
    plain = lab.virsh('a', 'dumpxml', 'g', '--inactive')
    move = case.migration(guest)
    call = move.start(fault='copy.sent:kill')
    job = job_of(call)
    with nobody_resumes(lab, job):
        move.finish()
        lab.kill_qemu('a', 'g')
        wait_until(lambda: lab.state('a', 'g') == 'shut off', 30, 'the end of the guest')
        mine = lab.virsh('a', 'dumpxml', 'g', '--inactive')
        define(lab, 'a', plain)
        refused(start(lab, 'a'), 'without its last writes', job)
        define(lab, 'a', mine)
        lab.virsh('a', 'start', 'g')
        need(lab.disks('a', 'g')['vda'] != guest.files['vda'][0], 'it runs on its base')
        lab.wait_writes('a', 'g', 5)
        verdict = oracle.check_writes(lab, 'a', 'g')
        need(verdict.ok, verdict)
    lab.restart_libvirtd('a')
    # It runs, so there is no reason to roll back.
    wait_end(case, job)
    prove_moved(case, move)


def test_release_wakes(case):
    """The same crash without any user action: libvirt's `stopped` and `release` suffice for the rollback."""
    install(case)
    lab = case.lab
    for host in HOSTS:
        folder = lab.path(host, '/etc/vmig-snap/policy.d')
        folder.mkdir(exist_ok=True)
        (folder / 'impatient.conf').write_text(IMPATIENT)
    guest = case.guest()
    move = case.migration(guest, '--policy', 'impatient')
    call = move.start(fault='copy.sent:kill')
    job = job_of(call)
    move.finish()
    lab.kill_qemu('a', 'g')
    wait_end(case, job, ['ROLLED_BACK'])
    lab.virsh('a', 'start', 'g')
    lab.wait_writes('a', 'g', 5)
    need(lab.disks('a', 'g') == {'vda': guest.files['vda'][0]}, 'it is not on its base:', lab.disks('a', 'g'))
    verdict = oracle.check_writes(lab, 'a', 'g')
    wrong = move._content('a') + oracle.leftovers(lab, 'a', move.files_before['a'], ['g']) + \
        oracle.leftovers(lab, 'b', move.files_before['b'])
    need(verdict.ok and not wrong, verdict, wrong)


# --- the program itself --------------------------------------------------------------------------

def hook_cost(lab, words, xml, times=60):
    """(median wall, median CPU) in ms of the hook alone: nsenter only executes it."""
    walls, costs = [], []
    for _ in range(times):
        begin = time.monotonic()
        process = subprocess.Popen([*lab.enter('a'), lab.bin / 'vmig-snap-hook', 'g', *words],
                                   stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(xml.encode())
            process.stdin.close()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        walls.append((time.monotonic() - begin) * 1e3)
        costs.append((usage.ru_utime + usage.ru_stime) * 1e3)
    return statistics.median(walls), statistics.median(costs)


def test_time(case):
    """For a guest without a job: less than 10 ms of CPU, including nsenter and Python's fork."""
    install(case)
    guest = case.guest(tree=None)
    xml = case.lab.virsh('a', 'dumpxml', 'g')
    for words in (PREPARE, ['started', 'begin', '-']):
        wall, cost = hook_cost(case.lab, words, xml)
        print(f'# {words[0]}: median {wall:.1f} ms, {cost:.1f} ms of CPU, journal '
              f'{case.lab.path("a", "/var/lib/vmig-snap/journal.db").exists()}')
        need(cost < 20, f'{words[0]} costs {cost:.1f} ms')
    move = case.migration(guest)
    move.run()
    wall, cost = hook_cost(case.lab, PREPARE, xml)
    print(f'# prepare with a journal: median {wall:.1f} ms, {cost:.1f} ms of CPU')
    need(cost < 20, f'prepare costs {cost:.1f} ms')


def test_no_libvirt(case):
    """It is linked neither with libvirt nor with the libraries that move data."""
    said = case.lab.run('a', ['ldd', program(case)]).stdout
    need('libsqlite3' in said, said)
    need('libvirt' not in said and 'libnbd' not in said, said)


def hung(lab, words, xml=b''):
    """The hook with a stdin that is never closed: (exit code, seconds)."""
    begin = time.monotonic()
    process = lab.popen('a', [lab.bin / 'vmig-snap-hook', 'g', *words], stdin=subprocess.PIPE, text=False)
    process.stdin.write(xml)
    process.stdin.flush()
    code = process.wait(10)
    took = time.monotonic() - begin
    process.communicate()
    return code, took


def test_bad_input(case):
    """Garbage, too much input, no input, a stdin that never ends, names that are commands, operations that do not
    exist."""
    install(case)
    lab = case.lab
    for words in (PREPARE, ['reconnect', 'begin', '-'], ['stopped', 'end', '-'], ['migrate', 'begin', '-']):
        for xml in (b'', b'<domain>', b'\0\xff' * 5000):
            code, took = hung(lab, words, xml)
            need(code == 0 and took < 2.5, words, xml[:10], code, took)
        for xml in ('', 'garbage', '<domain/>', '<!DOCTYPE x [<!ENTITY a "b">]><domain>&a;</domain>'):
            done = call_hook(lab, 'a', 'g', words, xml)
            need(done.returncode == 0 and not done.stdout and not done.stderr, words, xml, done)
        with contextlib.suppress(BrokenPipeError):
            done = call_hook(lab, 'a', 'g', words, '<domain>' + 'x' * (17 << 20))
            need(done.returncode == 0, words, 'with 17 MiB', done.stderr)
    for name in ('$(touch /run/pwned)', '`id`', '', '-', '--help', '../../etc', 'ü\n\x1b[2J'):
        for words in (PREPARE, ['start', '-', 'start'], ['dance', 'begin', '-'], ['', '', '']):
            done = call_hook(lab, 'a', name, words)
            need(done.returncode == 0 and not done.stderr, name, words, done)
    need(not lab.path('a', '/run/pwned').exists(), 'a name was executed')


def test_bad_input_with_a_job(case):
    """The same for a guest during its migration: only prepare, restore and migrate refuse, in one line."""
    install(case)
    lab = case.lab
    guest = case.guest()
    move = case.migration(guest)
    call = move.start(fault='copy.sent:kill')
    job = job_of(call)
    with nobody_resumes(lab, job):
        move.finish()
        for xml in ('', 'garbage', '<domain/>'):
            for words in (['reconnect', 'begin', '-'], ['started', 'begin', '-'], ['stopped', 'end', '-'],
                          ['release', 'end', '-'], ['start', 'begin', '-'], ['attach', 'begin', '-']):
                done = call_hook(lab, 'a', 'g', words, xml)
                need(done.returncode == 0 and not done.stdout + done.stderr, words, xml, done)
            for words in (PREPARE, ['restore', 'begin', '-'], ['migrate', 'begin', '-']):
                done = call_hook(lab, 'a', 'g', words, xml)
                need(done.returncode == 1 and done.stderr.count('\n') == 1 and job in done.stderr, words, xml, done)
        code, took = hung(lab, ['reconnect', 'begin', '-'])
        need(code == 0 and took < 2.5, code, took)
        code, took = hung(lab, PREPARE)
        need(code == 1 and took < 2.5, code, took)
        xml = lab.virsh('a', 'dumpxml', 'g')
        many = [lab.popen('a', [lab.bin / 'vmig-snap-hook', 'g', *PREPARE], stdin=subprocess.PIPE) for _ in range(20)]
        said = {(process.communicate(xml)[1], process.returncode) for process in many}
        need(said == {('', 0)}, 'twenty at once said', said)
    case.call('a', 'resume', job)


if __name__ == '__main__':
    sys.exit(main(__file__, globals()))
