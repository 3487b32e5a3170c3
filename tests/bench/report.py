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
        'resumed': 'vmig-snap over ssh, half is there', 'way_back': 'vmig-snap over ssh, all is there, 1 % changed'},
    'migrations': {
        'ssh': 'vmig-snap over ssh', 'tcp': 'vmig-snap over tcp', 'tls': 'vmig-snap over tls',
        'stock': 'stock over tcp (loses the snapshots)', 'resumed': 'vmig-snap resume, killed at 50 %, ssh',
        'way_back': 'vmig-snap over ssh, back with 1 % changed', 'four_ssh': 'four disks: vmig-snap over ssh',
        'four_stock': 'four disks: stock over tcp'}}


# Where else copies were measured: (in words within a sentence, what it is).
AROUND = {
    'own_disk': ('where the destination has a disk of its own', [
        'The destination writes to another disk than the source reads from: a file system in memory, behind a loop',
        'device, so that the processors do the work of that disk. Only the source\'s disk is counted.']),
    'gigabit': ('over a link of 1 Gbit/s', [
        'As above, one disk for both, but the hosts are joined as most of them are.'])}


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
    return f'{seconds:.1f} s, in which the disk read {read / GIB:.1f} GiB and wrote {written / GIB:.1f} GiB ' \
           f'({(read + written) / GIB / seconds:.2f} GiB/s) and the processors were ' \
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
    return f' Reading alone the disk gives {median(runs, "disk", "read_rate") / GIB:.2f} GiB/s, writing alone ' \
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
    return f' It is {" and ".join(shown)}.' if shown else ''


def copy_goals(figures):
    """Those of the copy alone."""
    runs = figures['copies']
    sums = copies.ratios(runs)
    fast = min(('nbdcopy_direct', 'nbdcopy_writeback'), key=lambda kind: median(runs, kind, 'seconds'))
    against = f'nbdcopy: {work(runs, fast)}.{disk(runs)} Both hosts share this disk; vmig-snap reads the copy back ' \
              f'from it to prove it, nbdcopy does not.'
    return [
        ratio_goal('copy over tcp, times nbdcopy', 1.0, sums['tcp / the faster nbdcopy'],
                   f'vmig-snap: {work(runs, "tcp")}; {against}{elsewhere(figures, "tcp / the faster nbdcopy")}'),
        ratio_goal('copy over tls, times nbdcopy in clear', 1.2, sums['tls / the faster nbdcopy'],
                   f'vmig-snap: {work(runs, "tls")}; {against}{elsewhere(figures, "tls / the faster nbdcopy")}'),
        ratio_goal('copy over ssh, times scp', 0.5, sums['ssh / scp'],
                   f'vmig-snap: {work(runs, "ssh")}; scp: {work(runs, "scp")}.{disk(runs)} Both ends of ssh are on '
                   f'these processors: a GB takes {cpu(runs, "ssh"):.1f} s of them, '
                   f'{cpu(runs, "ssh", "our_cpu"):.1f} s of which are those of vmig-snap; scp takes '
                   f'{cpu(runs, "scp"):.1f} s.{elsewhere(figures, "ssh / scp")}')]


def migration_goals(figures):
    """Those of whole migrations."""
    runs, alone = figures['migrations'], figures['copies']
    sums = migrations.ratios(runs)
    runs = with_kinds(runs, 'ssh', 'stock', 'way_back')
    stall = [(run['ssh']['stall'] - run['stock']['stall']) * 1000 for run in runs]
    more = statistics.median(stall)
    copied = copies.ratios(alone)['way back, 1 % changed / ssh'] or [0]
    back = f'Back: {work(runs, "way_back")}; its states: {phases(runs, "way_back")}.{disk(alone)} Both hosts read ' \
           f'the whole image from this disk to compare it. For the copy alone it is ' \
           f'{statistics.median(copied):.2f} of the time here.{elsewhere(figures, "way back, 1 % changed / ssh")}'
    return [
        ratio_goal('whole migration over ssh, times stock in clear', 0.85, sums['ssh / stock'],
                   f'vmig-snap: {work(runs, "ssh")}; its states: {phases(runs, "ssh")}. Stock: {work(runs, "stock")}.'
                   f'{disk(alone)}'),
        ratio_goal('way back with 1 % changed, of the bytes', 0.02, sums['way back: bytes / the first time'], back),
        ratio_goal('way back with 1 % changed, of the time', 0.35, sums['way back: time / the first time'], back),
        Goal("longest stall of the guest's writes, over stock's", 'at most 100 ms more', f'{more:+.0f} ms', more <= 100,
             'The longest one ended in ' + ', '.join(str(run['ssh'].get('stall_in')) for run in runs) +
             f'. The guest stands still at the switchover for {median(runs, "ssh", "downtime_ms"):.0f} ms by the clock '
             f'of vmig-snap; ACTIVATE, in which the commit is started before it runs on, is '
             f'{statistics.median(run["ssh"]["states"].get("ACTIVATE", 0) for run in runs) * 1000:.0f} ms of them, the '
             f'rest is libvirt\'s own stop and the fence and the token, which is synced to the disk on both hosts.')]


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
                             'vmig-snap hashes on both sides and reads back what it wrote; the other tools do not.',
                             'CPU: of all processes of the copy on both hosts, for each 10^9 bytes of the file; in',
                             "brackets vmig-snap's part."])


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
              '### What the guest noticed, from outside of it', '',
              f'The guest writes {migrations.RATE} blocks a second, synchronously, and says each one on its console.',
              'The longest silence there is the stall; the gap is from the last word on the source to the first on',
              'the destination.', '',
              '| migration | longest stall | each run | gap at the switchover | each run |', '|---|---|---|---|---|']
    for kind in kinds:
        stalls, gaps = ([value * 1000 for value in values(runs, kind, name)] for name in ('stall', 'gap'))
        if stalls and gaps:
            lines.append(row(NAMES['migrations'][kind], stalls, 'ms', 0) + row('', gaps, 'ms', 0)[3:])
    ours = [kind for kind in kinds if values(runs, kind, 'states')]
    lines += ['', '### What it costs', '',
              'Processes of vmig-snap on both hosts (tool, guard, agent): CPU for each 10^9 bytes that were copied,',
              'and the sum of their peak memory.', '', '| migration | CPU s a GB | peak memory |', '|---|---|---|']
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
    lines = ['### Where the time goes', '', 'Seconds in each state, medians.', '',
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
            f'An image file that is 1 TiB long and nearly all of it a hole took {one["seconds"]:.1f} s to migrate over',
            f'ssh; the processes of vmig-snap on both hosts took {one["memory"] / MIB:.0f} MiB together at their '
            f'peaks.', '']


def connection_part(runs):
    """One connection and more."""
    if not runs:
        return []
    return ['## Connections', '', 'The copy alone with so many connections; for ssh: so many of ssh.', '',
            '| copy | median | each run | processors busy |', '|---|---|---|---|',
            *(row(kind, values(runs, kind, 'seconds')) + f' {median(runs, kind, "busy"):.0%} |'
              for kind in runs[0]), '']


def goal_part(found):
    """The goals, and what limits those that were missed."""
    if not found:
        return []
    lines = ['## Goals', '', '| goal | wanted | reached | |', '|---|---|---|---|',
             *(f'| {goal.name} | {goal.wanted} | {goal.shown} | {"yes" if goal.reached else "**no**"} |'
               for goal in found), '']
    missed = [goal for goal in found if not goal.reached]
    if missed:
        lines += ['What limits those that were missed, by the medians of this run:', '',
                  *(f'- **{goal.name}** ({goal.shown}): {goal.why}' for goal in missed), '']
    return lines


def text(figures):
    """The whole document."""
    link = f'{figures["mbit"]} Mbit/s' if figures['mbit'] else 'unlimited (virtual Ethernet)'
    loads = figures['loads'] or [0]
    return '\n'.join([
        '# Performance', '',
        'Written by `python3 tests/bench/bench.py --write`; do not edit. `--help` says how it measures.', '',
        *goal_part(goals(figures)),
        '## How it was measured', '',
        f'{figures["date"]}, {figures["cpu"]}, both hosts, their one disk and the guest on this one machine',
        f'(tests/lab), guests emulated (TCG). Load average meanwhile: {min(loads):.0f} to {max(loads):.0f}.',
        f'Link between the hosts: {link}.', '',
        f'Images: {figures["mib"]} MiB of random data; for whole migrations one qcow2 disk, or four of a quarter of',
        f'it, with two internal snapshots with memory. Whole runs: {figures["whole"]}, then',
        f'{figures["short"]} more of only what the goals are about; their order turned, caches dropped before each',
        'measurement. Stock virsh, nbdcopy and vol-upload go over plain TCP and hash nothing.', '',
        *(line for failure in figures['failed'] for line in (f'**Failed**: {failure}', '')),
        *copy_part(figures['copies']), *around_part(figures), *connection_part(figures['connections']),
        *migration_part(figures['migrations']), *memory_part(figures['memory'])])
