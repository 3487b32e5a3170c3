# SPDX-License-Identifier: LGPL-2.1-or-later
"""The text of docs/performance.md from the figures of bench.py: medians, ratios, goals, what stands in their way."""
import dataclasses
import statistics

import copies
import migrations

MIB, GIB, GB = 1 << 20, 1 << 30, 10 ** 9

NAMES = {
    'copies': {
        'tcp': 'vmig-snap over tcp', 'tls': 'vmig-snap over tls', 'ssh': 'vmig-snap over ssh (two connections)',
        'nbdcopy_direct': 'nbdcopy, 4 connections, direct I/O, preallocated',
        'nbdcopy_writeback': 'nbdcopy, 4 connections, page cache, sparse',
        'vol_upload': 'virsh vol-upload --sparse (tcp)',
        'scp': 'scp, aes128-gcm, synced', 'rsync': 'rsync -S -W over ssh, aes128-gcm, synced',
        'resumed': 'vmig-snap over ssh, half already copied',
        'way_back': 'vmig-snap over ssh, all already copied, 1 % changed'},
    'migrations': {
        'ssh': 'vmig-snap over ssh', 'tcp': 'vmig-snap over tcp', 'tls': 'vmig-snap over tls',
        'stock': 'stock over tcp (loses the snapshots)', 'resumed': 'vmig-snap resume, killed at 50 %, ssh',
        'way_back': 'vmig-snap over ssh, back with 1 % changed', 'four_ssh': 'four disks: vmig-snap over ssh',
        'four_stock': 'four disks: stock over tcp'}}


# Where else copies were measured: (in words within a sentence, what it is).
AROUND = {
    'own_disk': ('if the destination has a disk of its own', [
        'The source reads from one disk, and the destination writes to another: a file system in memory behind a loop',
        'device. The processors do the work of that disk. Only the source\'s disk is counted.']),
    'gigabit': ('over a link of 1 Gbit/s', [
        'Both hosts use one disk, but the link between them is the usual 1 Gbit/s.'])}


@dataclasses.dataclass
class Goal:
    """One goal and what was reached."""
    name: str
    wanted: str
    shown: str
    reached: bool
    why: str  # what limits it, with figures


def values(runs, kind, member):
    """That figure of each run, without runs that lack it."""
    found = [run[kind].get(member) for run in runs if kind in run]
    return [value for value in found if value is not None]


def median(runs, kind, member):
    """Its median; 0 if there is none."""
    found = values(runs, kind, member)
    return statistics.median(found) if found else 0


def with_kinds(runs, *kinds):
    """Those of the runs that have all of them."""
    return [run for run in runs if all(kind in run for kind in kinds)]


def has(runs, *kinds):
    """All of them were measured?"""
    return any(all(kind in run for kind in kinds) for run in runs)


def work(runs, kind):
    """What the machine did for a kind, in words."""
    seconds = median(runs, kind, 'seconds')
    read, written = median(runs, kind, 'disk_read'), median(runs, kind, 'disk_written')
    return f'{seconds:.1f} s; the disk read {read / GIB:.1f} GiB and wrote {written / GIB:.1f} GiB ' \
           f'({(read + written) / GIB / seconds:.2f} GiB/s), and the processors were ' \
           f'{median(runs, kind, "busy"):.0%} busy'


def cpu(runs, kind, member='cpu'):
    """Processor seconds for 10^9 bytes of the file that is copied."""
    return median(runs, kind, member) / (median(runs, 'tcp', 'size') or GB) * GB


def moved(runs, kind):
    """What the disk did for a kind, for a table."""
    return ' / '.join(f'{median(runs, kind, name) / GIB:.1f}' for name in ('disk_read', 'disk_written')) + ' GiB'


def disk(runs):
    """What the disk gives."""
    if not has(runs, 'disk'):
        return ''
    return f' The disk alone reads {median(runs, "disk", "read_rate") / GIB:.2f} GiB/s and writes ' \
           f'{median(runs, "disk", "write_rate") / GIB:.2f} GiB/s.'


def phases(runs, kind, least=0.25):
    """The states that took longest, in words."""
    runs = with_kinds(runs, kind)
    names = {name for run in runs for name in run[kind].get('states', {})}
    found = [(statistics.median(run[kind]['states'].get(name, 0) for run in runs), name) for name in names]
    return ', '.join(f'{name} {took:.2f} s' for took, name in sorted(found, reverse=True) if took >= least)


def ratio_goal(name, wanted, found, why):
    """A goal that a ratio is at most that; None if there is no ratio."""
    if not found:
        return None
    reached = statistics.median(found)
    shown = f'{reached:.3f}' if reached < 0.1 else f'{reached:.2f}'
    return Goal(name, f'at most {wanted}', shown, reached <= wanted, why)


def elsewhere(figures, name):
    """That ratio where the hosts share less, in words."""
    found = [(words, copies.ratios(figures.get(part, [])).get(name)) for part, (words, _) in AROUND.items()]
    shown = [f'{statistics.median(ratio):.2f} {words}' for words, ratio in found if ratio]
    return f' The ratio is {" and ".join(shown)}.' if shown else ''


def copy_goals(figures):
    """Those of the copy alone."""
    runs = figures['copies']
    sums = copies.ratios(runs)
    fast = min(('nbdcopy_direct', 'nbdcopy_writeback'), key=lambda kind: median(runs, kind, 'seconds'))
    against = f'nbdcopy: {work(runs, fast)}.{disk(runs)} Both hosts share this disk. vmig-snap reads the copy back ' \
              f'to verify it, and nbdcopy does not.'
    return [
        ratio_goal('copy over tcp, times nbdcopy', 1.0, sums['tcp / the faster nbdcopy'],
                   f'vmig-snap: {work(runs, "tcp")}. {against}{elsewhere(figures, "tcp / the faster nbdcopy")}'),
        ratio_goal('copy over tls, times nbdcopy in clear', 1.2, sums['tls / the faster nbdcopy'],
                   f'vmig-snap: {work(runs, "tls")}. {against}{elsewhere(figures, "tls / the faster nbdcopy")}'),
        ratio_goal('copy over ssh, times scp', 0.5, sums['ssh / scp'],
                   f'vmig-snap: {work(runs, "ssh")}. scp: {work(runs, "scp")}.{disk(runs)} Both ends of ssh run on '
                   f'these processors. A GB costs {cpu(runs, "ssh"):.1f} s of processor time, of which vmig-snap '
                   f'itself uses {cpu(runs, "ssh", "our_cpu"):.1f} s; with scp it costs '
                   f'{cpu(runs, "scp"):.1f} s.{elsewhere(figures, "ssh / scp")}')]


def migration_goals(figures):
    """Those of whole migrations."""
    runs, alone = figures['migrations'], figures['copies']
    sums = migrations.ratios(runs)
    runs = with_kinds(runs, 'ssh', 'stock', 'way_back')
    stall = [(run['ssh']['stall'] - run['stock']['stall']) * 1000 for run in runs]
    more = statistics.median(stall)
    copied = copies.ratios(alone)['way back, 1 % changed / ssh'] or [0]
    back = f'Back: {work(runs, "way_back")}. States: {phases(runs, "way_back")}.{disk(alone)} Both hosts read ' \
           f'the whole image from this disk to compare it. The ratio for the copy alone is ' \
           f'{statistics.median(copied):.2f} here.{elsewhere(figures, "way back, 1 % changed / ssh")}'
    return [
        ratio_goal('whole migration over ssh, times stock in clear', 0.85, sums['ssh / stock'],
                   f'vmig-snap: {work(runs, "ssh")}. States: {phases(runs, "ssh")}. Stock: {work(runs, "stock")}.'
                   f'{disk(alone)}'),
        ratio_goal('migration back with 1 % changed, bytes', 0.02, sums['way back: bytes / the first time'], back),
        ratio_goal('migration back with 1 % changed, time', 0.35, sums['way back: time / the first time'], back),
        Goal("longest stall of the guest's writes, over stock's", 'at most 100 ms more', f'{more:+.0f} ms', more <= 100,
             'The longest one ended in the states ' + ', '.join(str(run['ssh'].get('stall_in')) for run in runs) +
             f'. vmig-snap measured a downtime of {median(runs, "ssh", "downtime_ms"):.0f} ms. '
             f'{statistics.median(run["ssh"]["states"].get("ACTIVATE", 0) for run in runs) * 1000:.0f} ms of it are '
             f'ACTIVATE, which starts the commit before it resumes the guest. The rest is libvirt\'s own stop, the '
             f'fence and the token, which is synced to disk on both hosts.')]


def memory_goal(runs, alone):
    """The most that any run took."""
    ours = ('ssh', 'tcp', 'tls', 'way_back', 'resumed', 'four_ssh')
    found = [run[kind] for run in runs for kind in ours if kind in run] + [run['terabyte'] for run in alone]
    most = max(found, key=lambda one: one['memory'])
    peak = most['memory'] / MIB
    each = ', '.join(f'{words} {taken / MIB:.0f} MiB' for words, taken in most['memories'])
    return Goal('peak memory of tool, guard and agent together', 'under 128 MiB', f'{peak:.0f} MiB', peak < 128,
                f'The sum of the peaks of each process of vmig-snap on both hosts: {each}. What they share (libraries) '
                f'is counted in each.')


def goals(figures):
    """[Goal] of all that was measured."""
    found, alone, whole = [], figures['copies'], figures['migrations']
    if has(alone, 'tcp', 'tls', 'ssh', 'scp', 'nbdcopy_direct', 'nbdcopy_writeback'):
        found += copy_goals(figures)
    if has(whole, 'ssh', 'stock', 'way_back'):
        found += migration_goals(figures)
    if figures['memory']:
        found.append(memory_goal(whole, figures['memory']))
    return [goal for goal in found if goal is not None]


def row(name, found, unit='s', digits=2):
    """A line of a table: the median, and each run."""
    shown = ', '.join(f'{value:.{digits}f}' for value in found)
    return f'| {name} | {statistics.median(found):.{digits}f} {unit} | {shown} |'.replace('  ', ' ')


def ratio_rows(sums):
    """The table of ratios."""
    return ['| ratio, within each run | median | each run |', '|---|---|---|',
            *(row(name, found, '', 3) for name, found in sums.items() if found), '']


def copy_part(runs):
    """The copy alone."""
    return copy_table(runs, ['## The copy of a base alone', '',
                             'vmig-snap hashes on both hosts and reads back what it wrote; the other tools do not.',
                             '"CPU s a GB" is the processor time of all processes of the copy on both hosts for 10^9',
                             'bytes of the file, with the part of vmig-snap itself in parentheses.'])


def around_part(figures):
    """The copy alone where the hosts share less."""
    return [line for part, (words, what) in AROUND.items()
            for line in copy_table(figures.get(part, []), [f'## The copy {words}', '', *what])]


def copy_table(runs, head):
    """Copies as a table."""
    if not runs:
        return []
    kinds = [kind for kind in NAMES['copies'] if has(runs, kind)]
    lines = [*head, '',
             '| copy | median | each run | disk read / written | CPU s a GB |', '|---|---|---|---|---|']
    for kind in kinds:
        all_cpu, own = cpu(runs, kind), cpu(runs, kind, 'our_cpu')
        lines.append(row(NAMES['copies'][kind], values(runs, kind, 'seconds')) +
                     f' {moved(runs, kind)} | {all_cpu:.2f}' + (f' ({own:.2f})' if own else '') + ' |')
    lines.append('')
    if has(runs, 'disk'):
        lines += [disk(runs).strip(), '']
    return lines + ratio_rows(copies.ratios(runs))


def migration_part(runs):
    """Whole migrations."""
    if not runs:
        return []
    kinds = [kind for kind in NAMES['migrations'] if has(runs, kind)]
    lines = ['## Whole migrations', '',
             '| migration | median | each run | disk read / written | processors busy |', '|---|---|---|---|---|']
    for kind in kinds:
        lines.append(row(NAMES['migrations'][kind], values(runs, kind, 'seconds'), digits=1) +
                     f' {moved(runs, kind)} | {median(runs, kind, "busy"):.0%} |')
    lines += ['', *ratio_rows(migrations.ratios(runs)),
              '### What the guest noticed, measured from outside', '',
              f'The guest writes {migrations.RATE} blocks a second synchronously and reports each one on its console.',
              'The stall is the longest time without a report. The gap is the time from the last report on the',
              'source to the first on the destination.', '',
              '| migration | longest stall | each run | gap at the switchover | each run |', '|---|---|---|---|---|']
    for kind in kinds:
        stalls, gaps = ([value * 1000 for value in values(runs, kind, name)] for name in ('stall', 'gap'))
        if stalls and gaps:
            lines.append(row(NAMES['migrations'][kind], stalls, 'ms', 0) + row('', gaps, 'ms', 0)[3:])
    ours = [kind for kind in kinds if values(runs, kind, 'states')]
    lines += ['', '### What it costs', '',
              'The processes of vmig-snap on both hosts (tool, guard, agent): their processor time for 10^9 copied',
              'bytes, and the sum of their peak memory.', '',
              '| migration | CPU s a GB | peak memory |', '|---|---|---|']
    for kind in ours:
        if kind != 'way_back' and kind != 'resumed':
            own = statistics.median(run[kind]['our_cpu'] / run[kind]['copied'] * GB
                                    for run in with_kinds(runs, kind))
            lines.append(f'| {NAMES["migrations"][kind]} | {own:.2f} | {median(runs, kind, "memory") / MIB:.0f} MiB |')
    return [*lines, '', *(state_table(runs) if ours else [])]


def state_table(runs):
    """Where the time goes."""
    kinds = [kind for kind in ('ssh', 'way_back', 'four_ssh') if has(runs, kind)]
    names = []
    for kind in kinds:
        for run in with_kinds(runs, kind):
            names += [name for name in run[kind]['states'] if name not in names and name != 'end']
    lines = ['### Where the time goes', '', 'The median of the seconds in each state.', '',
             '| state | ' + ' | '.join(NAMES['migrations'][kind] for kind in kinds) + ' |',
             '|---' * (len(kinds) + 1) + '|']
    for name in names:
        took = (statistics.median(run[kind]['states'].get(name, 0) for run in with_kinds(runs, kind))
                for kind in kinds)
        lines.append(f'| {name} | ' + ' | '.join(f'{value:.2f}' for value in took) + ' |')
    return [*lines, '']


def memory_part(runs):
    """The image of 1 TiB."""
    if not runs:
        return []
    one = runs[0]['terabyte']
    return ['## Memory with an image of 1 TiB', '',
            f'A migration over ssh of an image file of 1 TiB, nearly all of it a hole, took {one["seconds"]:.1f} s.',
            f'The peak memory of all processes of vmig-snap on both hosts was {one["memory"] / MIB:.0f} MiB together.',
            '']


def connection_part(runs):
    """One connection and more."""
    if not runs:
        return []
    return ['## Connections', '',
            'The copy of a base alone with different numbers of connections (with ssh: of ssh connections).',
            '',
            '| copy | median | each run | processors busy |', '|---|---|---|---|',
            *(row(kind, values(runs, kind, 'seconds')) + f' {median(runs, kind, "busy"):.0%} |'
              for kind in runs[0]), '']


def goal_part(found):
    """The goals, and what limits those that were missed."""
    if not found:
        return []
    lines = ['## Goals', '', '| measure | goal | measured | reached |', '|---|---|---|---|',
             *(f'| {goal.name} | {goal.wanted} | {goal.shown} | {"yes" if goal.reached else "**no**"} |'
               for goal in found), '']
    missed = [goal for goal in found if not goal.reached]
    if missed:
        lines += ['What limits the goals that were missed, by the medians of this run:', '',
                  *(f'- **{goal.name}** ({goal.shown}): {goal.why}' for goal in missed), '']
    return lines


def text(figures):
    """The whole document."""
    link = f'{figures["mbit"]} Mbit/s' if figures['mbit'] else 'unlimited (virtual Ethernet)'
    loads = figures['loads'] or [0]
    return '\n'.join([
        '# Performance', '',
        'This page is generated by `python3 tests/bench/bench.py --write`; do not edit it. `--help` explains the',
        'measurement.', '',
        *goal_part(goals(figures)),
        '## How it was measured', '',
        f'{figures["date"]}, {figures["cpu"]}, both hosts, their one disk and the guest on this one machine',
        f'(tests/lab), guests emulated (TCG). Load average during the runs: {min(loads):.0f} to {max(loads):.0f}.',
        f'Link between the hosts: {link}.', '',
        f'Images: {figures["mib"]} MiB of random data. Whole migrations move one qcow2 disk, or four disks of a',
        'quarter of that size, with two internal snapshots with memory.',
        f'Complete runs: {figures["whole"]}, then {figures["short"]} runs of only the measurements with a goal.',
        'The order rotates from run to run, and caches are dropped before each measurement.',
        'Stock virsh, nbdcopy and vol-upload use plain TCP and do not hash.', '',
        *(line for failure in figures['failed'] for line in (f'**Failed**: {failure}', '')),
        *copy_part(figures['copies']), *around_part(figures), *connection_part(figures['connections']),
        *migration_part(figures['migrations']), *memory_part(figures['memory'])])
