# SPDX-License-Identifier: LGPL-2.1-or-later
"""The results of a crash run as figures, and as the table of docs/reliability.md."""
import pathlib

import points

DOCUMENT = pathlib.Path(__file__).resolve().parents[2] / 'docs/reliability.md'
BEGIN = '<!-- Written by tests/crash/run: begin -->'
END = '<!-- Written by tests/crash/run: end -->'
WAYS = {'forward': 'On the way forward', 'back': 'On the way back (after an error while libvirt migrates)',
        'mirror': 'On the way forward with --merge mirror', 'resume': 'In the resume after the tool was killed'}


def percentile(values, part):
    """The value below which this part of the values lies (nearest rank); None of nothing."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, -(-len(ordered) * part // 100) - 1))] if ordered else None


def _line(name, values):
    if not values:
        return f'{name}: none'
    return (f'{name}: median {percentile(values, 50):.2f} s, p99 {percentile(values, 99):.2f} s, '
            f'longest {max(values):.2f} s')


def latest(results):
    """{Trial.key: the last result of that trial}"""
    return {(result['point'], result['victim']) if result['point'] else
            (result.get('seed', ''), result.get('number', -1)): result for result in results}


def right(results):
    """The trials whose last result is right, as Trial.key has them."""
    return {key for key, result in latest(results).items() if not result['wrong']}


def figures(results):
    """Counts and times over results (dicts of trial.Result), in lines."""
    ran = [result for result in results if result['outcome'] != 'none' or result['wrong']]
    good = [result for result in ran if not result['wrong']]
    runs = [result for result in good if 'down' not in result['outcome'] and result['first'] is not None]
    ends = {}
    for result in good:
        ends[result['outcome']] = ends.get(result['outcome'], 0) + 1
    counts = ', '.join(f'{count} {name}' for name, count in sorted(ends.items()))
    return [f'{len(ran)} kills, {len(good)} right ({counts}), {len(ran) - len(good)} wrong',
            _line('from the start of the recovery to one running guest', [result['first'] for result in runs]),
            _line('longest silence of the guest from there to the end', [result['silence'] for result in runs]),
            _line('from the start of the recovery to the end of the job',
                  [result['ended'] for result in good if result['ended'] is not None])]


def _cell(result):
    """One cell."""
    if not result:
        return ''
    if result['wrong']:
        return f'**wrong** ({result["outcome"] or "no end"})'
    return {'none': '·'}.get(result['outcome'], result['outcome'])


def render(results):
    """The generated part of the document: the last result of each trial."""
    found = latest(results)
    at_points = [result for result in found.values() if result['point']]
    at_random = [result for result in found.values() if result.get('seed')]
    lines = [BEGIN, '', '### At the fault points', '', *[f'- {line}' for line in figures(at_points)]]
    if at_random:
        seeds = dict.fromkeys(result['seed'] for result in at_random)
        lines += ['', f'### At random moments (`--seed {", ".join(seeds)}`)', '',
                  *[f'- {line}' for line in figures(at_random)]]
    for way, title in WAYS.items():
        lines += ['', f'### {title}', '', f'| killed at | {" | ".join(points.VICTIMS.values())} |',
                  '|---|' + '---|' * len(points.VICTIMS)]
        for point in points.all_points():
            if point.way != way:
                continue
            name = f'`{point.name}`' if not point.killed else f'`{point.killed}`, then `{point.name}`'
            cells = [_cell(found.get((point.key, victim))) if point.has(victim) else '·' for victim in points.VICTIMS]
            lines.append(f'| {name} | {" | ".join(cells)} |')
    return '\n'.join([*lines, '', END])


def write(results):
    """Put the results between the markers of the document."""
    text = DOCUMENT.read_text()
    head, found, rest = text.partition(BEGIN)
    _, ended, tail = rest.partition(END)
    if not found or not ended:
        raise ValueError(f'{DOCUMENT} has no markers')
    DOCUMENT.write_text(head + render(results) + tail)
