# SPDX-License-Identifier: LGPL-2.1-or-later
"""The library from Python: what test-library.c tries, through the typelib. test_installed.py says where that is."""
import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'cli'))
from clitest import Counter  # noqa: E402

import gi  # noqa: E402
gi.require_version('VmigSnap', '1.0')
from gi.repository import Gio, GLib, Json, VmigSnap  # noqa: E402

DEST = 'qemu+ssh://kvm2/system'
counter = Counter()
check = counter.check


def code_of(call, *args):
    """The code of the error that a call raises; None: it raises none."""
    try:
        call(*args)
    except GLib.Error as error:
        return VmigSnap.ErrorCode(error.code) if error.matches(VmigSnap.error_quark(), error.code) else error
    return None


def test_properties():
    """Each property has its default and keeps what it is given."""
    request = VmigSnap.MigrateRequest.new('web1', DEST)
    check((request.props.domain, request.props.destination, request.props.disks, request.props.merge,
           request.props.bandwidth, request.props.rehearse) == ('web1', DEST, [], VmigSnap.Merge.COMMIT, 0, True),
          'the defaults')
    request = VmigSnap.MigrateRequest(domain='web1', destination=DEST, disks=['vda', 'vdb'], merge=VmigSnap.Merge.MIRROR,
                                      map_dirs=['/a=/b'], bandwidth=5_000_000_000, verify=True)
    check((request.props.disks, request.props.map_dirs, request.props.merge, request.props.bandwidth,
           request.props.verify) == (['vda', 'vdb'], ['/a=/b'], VmigSnap.Merge.MIRROR, 5_000_000_000, True),
          'what was set')
    check(request.check(), 'a good request')


def test_errors():
    """Bad requests raise errors of the domain, with their codes."""
    session = VmigSnap.Session()
    for words, wanted in (({'domain': ''}, VmigSnap.ErrorCode.BAD_NAME), ({'destination': 'x'}, VmigSnap.ErrorCode.BAD_URI),
                          ({'maps': ['vda']}, VmigSnap.ErrorCode.USAGE), ({'timeout': 2 ** 40}, VmigSnap.ErrorCode.USAGE)):
        request = VmigSnap.MigrateRequest(**{'domain': 'web1', 'destination': DEST, **words})
        for call in (request.check, lambda request=request: session.plan(request, None)):
            code = code_of(call)
            check(code == wanted, f'{words} is {wanted.value_nick}', code)
    check(code_of(session.verify, None, None, None) == VmigSnap.ErrorCode.USAGE, 'verify of nothing')


def test_hints():
    """An error that Python made again has the hint of its original."""
    request = VmigSnap.MigrateRequest(domain='web1', destination=DEST, policy='../x')
    try:
        VmigSnap.Session().plan(request, None)
        check(False, 'a bad policy raises')
    except GLib.Error as error:
        check('policy.d' in (VmigSnap.error_get_hint(error) or ''), 'its hint', VmigSnap.error_get_hint(error))


def test_documents():
    """The typed members of a result."""
    node = Json.from_string(json.dumps({'job': 'a3f1c20b9d4e5f60', 'outcome': 'parked', 'state': 'PARKED', 'merge': 'commit',
                                        'downtime_ms': 34,
                                        'error': {'code': 'no-space', 'message': 'full', 'hint': 'Free 3 GB there.'}}))
    check((VmigSnap.document_get_job(node), VmigSnap.document_get_outcome(node), VmigSnap.document_get_merge(node),
           VmigSnap.document_get_downtime(node)) ==
          ('a3f1c20b9d4e5f60', VmigSnap.Outcome.PARKED, VmigSnap.Merge.COMMIT, 34), 'job, outcome, merge, downtime')
    error = VmigSnap.document_get_error(node)
    check(error.matches(VmigSnap.error_quark(), VmigSnap.ErrorCode.NO_SPACE) and error.message == 'full', 'its error', error)
    check(VmigSnap.error_get_hint(error) == 'Free 3 GB there.', 'the hint of its error', VmigSnap.error_get_hint(error))
    check(VmigSnap.job_state_get_phase('COMMIT') == (True, VmigSnap.Phase.AFTER), 'the phase of a state')
    check(VmigSnap.job_state_get_phase('NEWER')[0] is False, 'an unknown state')


def test_cancelled():
    """A call that is cancelled before it begins does nothing."""
    cancellable = Gio.Cancellable()
    cancellable.cancel()
    code = code_of(VmigSnap.Session().migrate, VmigSnap.MigrateRequest(domain='web1', destination=DEST), cancellable)
    check(code == VmigSnap.ErrorCode.CANCELLED, 'cancelled before it began', code)


def test_async():
    """An asynchronous call ends in the main loop."""
    loop, found = GLib.MainLoop(), []

    def on_end(session, result):
        found.append(code_of(session.migrate_finish, result))
        loop.quit()

    VmigSnap.Session().migrate_async(VmigSnap.MigrateRequest(domain='', destination=DEST), None, on_end)
    loop.run()
    check(found == [VmigSnap.ErrorCode.BAD_NAME], 'its error arrives', found)


sys.exit(counter.run([test_properties, test_errors, test_hints, test_documents, test_cancelled, test_async]))
