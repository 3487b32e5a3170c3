# SPDX-License-Identifier: LGPL-2.1-or-later
"""Tries every way to request what must be refused, and proves that nothing was changed."""
from cases import SILENT, TWO, Disk
from command import LOCKED, REFUSED, need
from facts import Untouched

HINT_FREE = {'unsupported', 'encrypted', 'refused', 'bad-image', 'chain', 'protocol', 'data-file'}


def refuse(case, guest, code, *args, domain='g', dest=None, exit_code=REFUSED, words=(), host='a',
           only=True, rehearsal=False):
    """Run plan and migrate: both refuse with this code and change nothing. Returns the plan.

    rehearsal: the rehearsal must refuse. Otherwise only plan runs one, because it costs seconds.
    """
    dest = dest or case.lab.uri('b')
    found = [] if rehearsal else ['--no-rehearsal']
    with Untouched(case, guest):
        plan = case.call(host, 'plan', domain, dest, '--json', *args)
        call = case.call(host, 'migrate', domain, dest, '--json', *found, *args)
        spoken = case.call(host, 'migrate', domain, dest, *found, *args)
    need(call.code == exit_code, f'migrate ended with {call.code}, not {exit_code}:', call.tail())
    need(plan.code == exit_code, f'plan ended with {plan.code}, not {exit_code}:', plan.tail())
    need(spoken.code == exit_code and spoken.stderr.startswith('vmig-snap: '), 'in words:',
         spoken.code, spoken.stderr)
    result = call.result
    wanted = 'locked' if exit_code == LOCKED else 'refused'
    need(result['outcome'] == wanted, 'the outcome is', result['outcome'])
    codes = [r['code'] for r in result.get('refusals', [])] or [result['error']['code']]
    need(code in codes, f'the codes are {codes}, not {code}:', call.tail())
    need(not only or set(codes) == {code}, f'more than {code} was refused:', call.tail())
    told = next((r for r in result.get('refusals', []) if r['code'] == code), result['error'])
    need(told['message'], 'no message')
    need(told['hint'] or code in HINT_FREE, 'no hint what to do:', told)
    for word in words:
        need(word in told['message'], f'the message does not say {word!r}:', told['message'])
    need(case.call('a', 'list', '--all', '--json').document['jobs'] == case.jobs_before,
         'the refusal is a job in the journal')
    return plan.document if plan.stdout else {}


def quiet(case):
    """The silent guest that the refusal tests share."""
    guest = case.guest_once('quiet', lambda: case.guest(disks=[Disk('vda'), Disk('vdb', fill_mb=1)],
                                                        cmdline=SILENT))
    case.jobs_before = case.call('a', 'list', '--all', '--json').document['jobs']
    return guest


def own(case, disks=None, **options):
    """A silent guest for one test."""
    guest = case.guest(disks=disks, cmdline=SILENT, **{'tree': TWO[:1], **options})
    case.jobs_before = case.call('a', 'list', '--all', '--json').document['jobs']
    return guest
