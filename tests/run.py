# SPDX-License-Identifier: LGPL-2.1-or-later
"""The tests of vmig-snap from the first to the last; `tests/run` starts it and says how.

Every program counts for itself; here the counts are summed. A program that dies, takes too long or does
not say how it went counts as one failure more than it has told.
"""
import argparse
import concurrent.futures
import dataclasses
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
LAB = ROOT / 'tests/lab'
sys.path.insert(0, str(LAB))

# In this order, if they are there; others after them. The lab must be right before it judges anything.
LAB_ORDER = ['test_lab', 'test_rollback', 'test_migrate', 'test_refusals', 'test_doctor', 'test_hooks']
LAB_TIMEOUT = 25 * 60
RUNNING = set()  # programs of tests, to be ended with us
FAILURES = []  # what the failed tests printed, for the end of the report
FAILURE_LINES = 60  # of one failed test
# Programs in which a wrong byte in memory is most likely to matter: they read what others wrote.
VALGRIND = ['qcow2', 'domain-xml', 'snapshot-tree', 'job', 'path-map', 'retry', 'policy']
# A guest of the sanitizers: the first report ends the program, so that no test passes beside it.
SANITIZER_ENV = {'ASAN_OPTIONS': 'abort_on_error=1:detect_stack_use_after_return=1',
                 'UBSAN_OPTIONS': 'halt_on_error=1:print_stacktrace=1',
                 'LSAN_OPTIONS': f'print_suppressions=0:suppressions={ROOT}/tests/lsan.supp'}
SUM = re.compile(r'^(\d+) passed, (\d+) failed, (\d+) skipped$')
TAP_LINE = re.compile(r'^(not )?ok\b([^#]*)(?:#\s*(SKIP|TODO)\b\s*(.*))?', re.I)


@dataclasses.dataclass
class Count:
    """How something went."""
    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def __add__(self, other):
        return Count(self.passed + other.passed, self.failed + other.failed, self.skipped + other.skipped)

    def __str__(self):
        return f'{self.passed} passed, {self.failed} failed, {self.skipped} skipped'


class Interrupted(Exception):
    """A signal asked to stop."""


def say(text):
    """A line of our own."""
    print(text, flush=True)


class Failures:
    """Keeps what one program prints about its failed tests: `not ok` or `BAD: `, and the lines that explain it."""

    def __init__(self, name):
        self.name, self.open = name, 0

    def see(self, line):
        """A line of the program's output."""
        if line.startswith(('not ok', 'BAD: ')):
            self.open = FAILURE_LINES
        elif not line.startswith(('#', '    ')):
            self.open = 0
        if self.open:
            FAILURES.append(f'{self.name}{line}')
            self.open -= 1


def fail(text):
    """A failure that no test program reported."""
    say(f'not ok - {text}')
    FAILURES.append(f'not ok - {text}')


def run(argv, log=None, timeout=None, **options):
    """Run a command in a process group that dies with us; its exit code, None if it took too long.

    log: a file that gets the output; without, the output goes to the terminal.
    """
    out = open(log, 'w', encoding='utf-8') if log else None
    process = subprocess.Popen([str(word) for word in argv], stdin=subprocess.DEVNULL, stdout=out,
                               stderr=subprocess.STDOUT if out else None, start_new_session=True, **options)
    try:
        return process.wait(timeout)
    except subprocess.TimeoutExpired:
        return None
    finally:
        if process.poll() is None:
            end(process)
        if out:
            out.close()


def end(process):
    """End a process group: first with a word, so that a lab is taken down by who made it."""
    for sig, patience in ((signal.SIGINT, 20), (signal.SIGKILL, 5)):
        try:
            os.killpg(process.pid, sig)
            process.wait(patience)
            return
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


def count_tap(text):
    """The Count of one program's TAP (or of the sum that it prints), and the reasons of what it skipped."""
    count, reasons, own_sum = Count(), [], None
    for line in text.splitlines():
        own_sum = SUM.match(line) or own_sum
        match = TAP_LINE.match(line)
        if not match:
            continue
        if (match[3] or '').upper() == 'SKIP':
            count.skipped += 1
            reasons.append(f'{match[2].strip()}: {match[4].strip() or "no reason given"}')
        elif match[1]:
            count.failed += 1
        else:
            count.passed += 1
    return (Count(*map(int, own_sum.groups())) if own_sum else count), reasons


class Build:
    """One build folder of meson."""

    def __init__(self, folder, *options, env=None):
        self.folder, self.options = folder, options
        self.env = {**os.environ, **(env or {})}
        self.log = folder.with_suffix('.log')

    def make(self):
        """Configure (once) and build; a Count of one."""
        begin = time.monotonic()
        steps = [['meson', 'setup', self.folder, ROOT, *self.options]] \
            if not (self.folder / 'build.ninja').exists() else []
        for argv in [*steps, ['ninja', '-C', self.folder]]:
            if run(argv, log=self.log) != 0:
                print(self.log.read_text()[-8000:])
                fail(f'build {self.folder.name}')
                return Count(failed=1)
        say(f'ok - build {self.folder.name} {" ".join(self.options)} ({time.monotonic() - begin:.0f} s)')
        return Count(passed=1)

    def test(self, suites, names=(), more=()):
        """Run suites with `meson test` and count every single case in them."""
        argv = ['meson', 'test', '-C', self.folder, '--no-rebuild', '--print-errorlogs', *more]
        for suite in suites:
            argv += ['--suite', suite]
        log = self.folder / 'meson-logs/testlog.json'
        log.unlink(missing_ok=True)
        code = run([*argv, *names], env=self.env)
        total = Count()
        # meson names the log after the wrapper, if there is one.
        logs = sorted((self.folder / 'meson-logs').glob('testlog*.json'), key=lambda p: p.stat().st_mtime)
        entries = [json.loads(line) for line in logs[-1].read_text().splitlines()] if logs else []
        for entry in entries:
            total += self.judge(entry)
        if code != 0 and total.failed == 0:
            fail(f'meson test ended with {code}')
            total.failed += 1
        return total

    @staticmethod
    def judge(entry):
        """One program of a suite."""
        count, reasons = count_tap(entry.get('stdout') or '')
        for reason in reasons:
            say(f'skip - {entry["name"]} {reason}')
        if entry['result'] not in ('OK', 'SKIP', 'EXPECTEDFAIL'):
            # meson shows what a TAP program says on stderr only.
            say('\n'.join((entry.get('stdout') or '').splitlines()[-40:]))
            failures = Failures(f'{entry["name"]}: ')
            for line in (entry.get('stdout') or '').splitlines():
                failures.see(line)
        if entry['result'] not in ('OK', 'SKIP', 'EXPECTEDFAIL') and count.failed == 0:
            fail(f'{entry["name"]}: {entry["result"]}')
            count.failed += 1
        if count == Count():
            fail(f'{entry["name"]} does not say how it went')
            count.failed += 1
        return count


def stage(title, function, totals):
    """Run one stage under a heading and keep its Count."""
    say(f'\n== {title}')
    begin = time.monotonic()
    count = function()
    say(f'-- {title}: {count} ({time.monotonic() - begin:.0f} s)')
    totals.append((title, count, time.monotonic() - begin))


def suites_in(build, *wanted):
    """Those of the suites that the build has (a suite without tests is an error for meson)."""
    listed = subprocess.run(['meson', 'introspect', '--tests', str(build.folder)], capture_output=True, text=True,
                            check=True).stdout
    have = {suite.split(':')[-1] for test in json.loads(listed) for suite in test['suite']}
    return [suite for suite in wanted if suite in have]


def install_check(build):
    """What `meson install` puts in place, in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        code = run(['meson', 'install', '-C', build.folder, '--no-rebuild', '--destdir', folder],
                   log=build.log.with_suffix('.install.log'))
        have = [str(path.relative_to(folder)) for path in pathlib.Path(folder).rglob('*') if path.is_file()]
        tool = next((pathlib.Path(folder) / name for name in have if name.endswith('bin/vmig-snap')), None)
        # Without LD_LIBRARY_PATH, as sshd starts it.
        env = {name: value for name, value in os.environ.items() if name != 'LD_LIBRARY_PATH'}
        said = subprocess.run([tool, '--version'], capture_output=True, text=True, check=False, env=env).stdout if tool else ''
        faults = subprocess.run([tool, '--list-faults'], capture_output=True, check=False, env=env).returncode if tool else 0
    wanted = ['bin/vmig-snap', 'bin/vmig-snap-hook', 'policy.d/default.conf', 'vmig-snap/vmig-snap.h', 'vmig-snap.pc',
              'libvmig-snap.so.0'] + \
        (['man1/vmig-snap.1'] if (ROOT / 'docs/man/vmig-snap.1').exists() else [])
    checks = {'meson install': code == 0, 'the installed command says its version': said.startswith('vmig-snap '),
              'a build for users has no fault points': faults != 0,
              **{f'installs {name}': any(path.endswith(name) for path in have) for name in wanted}}
    for text, good in checks.items():
        if good:
            say(f'ok - {text}')
        else:
            fail(text)
    return Count(sum(checks.values()), len(checks) - sum(checks.values()))


def take_down(folder, hosts):
    """End what a killed lab test left, as the lab itself would."""
    if pathlib.Path(folder).exists():
        subprocess.run([sys.executable, str(hosts), 'down', '--dir', folder], check=False)


def lab_programs():
    """The lab's test programs in their order."""
    found = {path.stem: path for path in LAB.glob('test_*.py')}
    return [found[name] for name in [*LAB_ORDER, *sorted(set(found) - set(LAB_ORDER))] if name in found]


def trials(argv, tool, prefix=''):
    """A program of many trials with faults, which needs that tool; it prints its base copy and its own sum."""
    def go():
        if not shutil.which(tool):
            say(f'skip - {tool} is not installed')
            return forbid_skips(Count(skipped=1))
        return run_program([sys.executable, *argv], '/nonexistent', prefix)
    return go


def below_the_lab(build, totals):
    """What dies below libvirt: the tool at its system calls, the power, QEMU around the pivot."""
    tests, sim = ROOT / 'tests', build.folder / 'tests/sim/sim-disk'
    syscalls = [tests / 'syscalls/syscalls.py', '--sim', sim]
    power = [tests / 'power/journal.py', '--sim', sim, '--look', build.folder / 'tests/power/journal-look']
    block = [tests / 'block/run', '--binary', build.folder / 'tests/block/block-trial']
    named = [
        ('every system call: would it be seen', 'strace',
         [*syscalls, '--planted', '--only', 'happy path', '--trials', '90', '--seed', '1']),
        ('every system call', 'strace', syscalls),
        ('commit and pivot', 'qemu-storage-daemon', block),
        ('commit and pivot: would it be seen', 'qemu-storage-daemon', [*block, '--planted', '--trials', '60']),
        ('power loss, journal: would it be seen', 'strace', [*power, '--planted', '--states', '1']),
        ('power loss, journal', 'strace', power),
        ('power loss, images: would it be seen', 'qemu-storage-daemon',
         [*block, '--power', '4', '--trials', '6', '--planted']),
        ('power loss, images', 'qemu-storage-daemon', [*block, '--power', '10', '--trials', '20'])]
    side_by_side([(title, trials(argv, tool, f'{title}: ')) for title, tool, argv in named], totals)


def lab_test(program, binary):
    """One lab test program, with a lab in a folder of its own."""
    def go():
        folder = f'/var/tmp/vmig-lab-run-{os.getpid()}-{program.stem}'
        if os.geteuid() != 0:
            say(f'skip - {program.name}: needs root to make two hosts')
            return forbid_skips(Count(skipped=1))
        where = [folder] if program.stem == 'test_lab' else ['--binary', binary, '--dir', folder]
        return run_program([sys.executable, program, *where], folder, f'{program.stem}: ')
    return go


def crash_run(binary):
    """Kills at fault points and at random moments, judged on two hosts: the part of the crash run for CI."""
    def go():
        folder = f'/var/tmp/vmig-lab-run-{os.getpid()}-crash'
        if os.geteuid() != 0:
            say('skip - tests/crash/run: needs root to make two hosts')
            return forbid_skips(Count(skipped=1))
        return run_program([sys.executable, ROOT / 'tests/crash/run', '--short', '--binary', binary, '--dir', folder],
                           folder, 'crash: ')
    return go


def packages(build):
    """The packages are built, installed and removed, on a copy-on-write view of this machine."""
    program = ROOT / 'tests/packages/run'
    return trials([program, '--short', '--build', build.folder], 'dpkg-buildpackage', 'packages: ')


def booted_run():
    """A migration and its recoveries on two hosts that systemd has booted, with the packages of this tree."""
    folder = f'/var/tmp/vmig-booted-run-{os.getpid()}'
    if os.geteuid() != 0:
        say('skip - tests/booted: needs root to boot two hosts')
        return forbid_skips(Count(skipped=1))
    return run_program([sys.executable, ROOT / 'tests/booted/test_booted.py', '--dir', folder], folder, 'booted: ',
                       ROOT / 'tests/booted/hosts.py')


def run_program(argv, folder, prefix='', hosts=LAB / 'lab.py'):
    """Run a program that prints its own sum last; show its output as it comes, and count. hosts: takes down the lab in the
    folder."""
    process = subprocess.Popen([str(word) for word in argv], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, text=True, errors='replace', start_new_session=True)
    late = threading.Event()

    def too_late():
        late.set()
        end(process)

    timer = threading.Timer(LAB_TIMEOUT, too_late)
    timer.start()
    RUNNING.add(process)
    last, failures = '', Failures(prefix)
    try:
        for line in process.stdout:
            say(prefix + line.rstrip('\n'))
            failures.see(line.rstrip('\n'))
            last = line.strip() or last
        code = process.wait()
    finally:
        timer.cancel()
        if process.poll() is None:
            end(process)
        RUNNING.discard(process)
        take_down(folder, hosts)
    if late.is_set():
        fail(f'{prefix}it took longer than {LAB_TIMEOUT} s')
    match = SUM.match(last)
    count = Count(*map(int, match.groups())) if match else Count(failed=1)
    if not match:
        fail(f'{prefix}it does not say how it went')
    count = forbid_skips(count)
    if code != 0 and count.failed == 0:
        fail(f'{prefix}it ended with {code}')
        count.failed += 1
    return count


def side_by_side(stages, totals):
    """Run stages two at a time: each has its own hosts or files, and waits more than it works."""
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(stage, title, function, totals) for title, function in stages]
        try:
            for one in concurrent.futures.as_completed(waiting):
                one.result()
        except BaseException:
            for one in waiting:
                one.cancel()
            for process in list(RUNNING):
                end(process)
            raise


def forbid_skips(count):
    """In CI a lab test that was skipped is one that failed: nobody would notice otherwise."""
    if os.environ.get('CI') == 'true' and count.skipped:
        fail(f'{count.skipped} skipped, which CI=true forbids')
        return Count(count.passed, count.failed + count.skipped, 0)
    return count


def fast(builds, totals, simple):
    """Style, unit tests and simulation; then the same again under tools that look at memory."""
    plain = builds['faults']
    stage('build', plain.make, totals)
    if totals[-1][1].failed:
        return False
    stage('style, unit, simulation', lambda: plain.test(suites_in(plain, 'style', 'unit', 'sim')), totals)
    if simple:
        return True
    stage('build as users do', lambda: builds['users'].make() + install_check(builds['users']), totals)
    checked = builds['sanitized']
    stage('build with sanitizers', checked.make, totals)
    if not totals[-1][1].failed:
        stage('unit, simulation under AddressSanitizer and UBSan',
              lambda: checked.test(suites_in(checked, 'unit', 'sim-small'), more=['--timeout-multiplier', '6']), totals)
    stage('unit under valgrind', lambda: under_valgrind(plain), totals)
    return True


def under_valgrind(build):
    """A few unit tests under valgrind."""
    if not shutil.which('valgrind'):
        say('skip - valgrind is not installed')
        return Count(skipped=1)
    supp = '/usr/share/glib-2.0/valgrind/glib.supp'
    wrapper = 'valgrind -q --error-exitcode=99 --leak-check=full --errors-for-leak-kinds=definite ' \
              f'--child-silent-after-fork=yes --suppressions={ROOT}/tests/valgrind.supp' + \
              (f' --suppressions={supp}' if os.path.exists(supp) else '')
    names = [name for name in VALGRIND if (ROOT / f'tests/unit/test-{name}.c').exists()]
    return build.test(['unit'], names, ['--wrapper', wrapper, '--timeout-multiplier', '20'])


def all_stages(args, folder, totals):
    """What the command line asks for, the fast ones first."""
    builds = {
        'faults': Build(folder / 'faults', '-Dfaults=true'),
        'users': Build(folder / 'users', '--buildtype=release'),
        'sanitized': Build(folder / 'sanitized', '-Dfaults=true', '-Db_sanitize=address,undefined',
                           '-Db_lundef=false', env=SANITIZER_ENV),
    }
    if not args.lab and not fast(builds, totals, simple=args.fast):
        return
    if args.fast:
        return
    if not args.lab:
        below_the_lab(builds['faults'], totals)
    if args.lab:
        stage('build', builds['faults'].make, totals)
        if totals[-1][1].failed:
            return
    binary = builds['faults'].folder / 'plugin/vmig-snap'
    labs = [(f'lab: {program.stem}', lab_test(program, binary)) for program in lab_programs()]
    # test_lab is alone: it compares the machine before and after.
    for title, function in labs[:1]:
        stage(title, function, totals)
    # The long ones first, so that none is left alone at the end.
    side_by_side([*labs[1:3], ('crash run, short', crash_run(binary)), ('booted hosts', booted_run),
                  ('packages, short', packages(builds['faults'])), *labs[3:]], totals)


def on_signal(number, _):
    """They end everything, in order."""
    raise Interrupted(signal.Signals(number).name)


def main():
    """The command line."""
    parser = argparse.ArgumentParser(prog='tests/run', add_help=False)
    which = parser.add_mutually_exclusive_group()
    for name in ('--fast', '--lab', '--all'):
        which.add_argument(name, action='store_true')
    parser.add_argument('--no-install', action='store_true')
    parser.add_argument('--build', type=pathlib.Path)
    args = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, on_signal)
    totals, begin, broken = [], time.monotonic(), 0
    folder = args.build.resolve() if args.build else pathlib.Path(tempfile.mkdtemp(prefix='vmig-snap-tests-',
                                                                                   dir='/var/tmp'))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        all_stages(args, folder, totals)
    except Interrupted as signal_name:
        say(f'\nended by {signal_name}')
        broken = 1
    finally:
        if not args.build:
            shutil.rmtree(folder, ignore_errors=True)
    if FAILURES:
        say('\n'.join(['\n== what failed', *FAILURES]))
    say(f'\n== all, in {time.monotonic() - begin:.0f} s')
    for title, count, seconds in totals:
        say(f'{seconds:6.0f} s  {count}  {title}')
    total = sum((count for _, count, _ in totals), Count(failed=broken))
    print(total, flush=True)
    return 1 if total.failed or not total.passed else 0


if __name__ == '__main__':
    sys.exit(main())
