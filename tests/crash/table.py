# SPDX-License-Identifier: LGPL-2.1-or-later
"""The results of a crash run as figures, and as the table of docs/reliability.md."""
import pathlib

import points

DOCUMENT = pathlib.Path(__file__).resolve().parents[2] / 'docs/reliability.md'
BEGIN = '<!-- Written by tests/crash/run: begin -->'
END = '<!-- Written by tests/crash/run: end -->'
WAYS = {'forward': 'On the way forward', 'back': 'On the way back (after an error while libvirt migrates)',
        'resume': 'In the resume after the tool was killed'}


def percentile(values, part):
    """The value below which this part of the values lies (nearest rank); None of nothing."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, -(-len(ordered) * part // 100) - 1))] if ordered else None


def _line(name, values):
    if not values:
        return f'{name}: none'
    return (f'{name}: median {percentile(values, 50):.2f} s, p99 {percentile(values, 99):.2f} s, '
            f'longest {max(values):.2f} s')


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


def _cell(results):
    """One cell; several results of one trial are all in it."""
    if not results:
        return ''
    words = [f'**wrong** ({result["outcome"] or "no end"})' if result['wrong'] else
             {'none': '·'}.get(result['outcome'], result['outcome']) for result in results]
    return ', '.join(dict.fromkeys(words))


def render(results):
    """The generated part of the document."""
    by_place = {}
    for result in results:
        by_place.setdefault((result['point'], result['victim']), []).append(result)
    lines = [BEGIN, '']
    lines += [f'- {line}' for line in figures(results)]
    for way, title in WAYS.items():
        lines += ['', f'### {title}', '', f'| killed at | {" | ".join(points.VICTIMS.values())} |',
                  '|---|' + '---|' * len(points.VICTIMS)]
        for point in points.all_points():
            if point.way != way:
                continue
            name = f'`{point.name}`' if not point.killed else f'`{point.killed}`, then `{point.name}`'
            cells = [_cell(by_place.get((point.key, victim), [])) if point.has(victim) else '·'
                     for victim in points.VICTIMS]
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
