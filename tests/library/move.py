# SPDX-License-Identifier: LGPL-2.1-or-later
"""A program that uses the installed library: move.py plan|migrate DOMAIN DESTINATION. It prints each event and the
document, one JSON object on each line. ^C rolls a migration back."""
import signal
import sys

import gi
gi.require_version('VmigSnap', '1.0')
from gi.repository import Gio, GLib, Json, VmigSnap


def show(node):
    """A JSON object on a line."""
    print(Json.to_string(node, False), flush=True)


def main(command, domain, destination):
    """Make the call in a main loop."""
    session = VmigSnap.Session()
    request = VmigSnap.MigrateRequest(domain=domain, destination=destination, merge=VmigSnap.Merge.AUTO,
                                      bandwidth=100_000_000)
    loop, cancellable = GLib.MainLoop(), Gio.Cancellable()
    finish = session.plan_finish if command == 'plan' else session.migrate_finish
    failed = []

    def on_end(_session, result):
        try:
            show(finish(result))
        except GLib.Error as error:
            failed.append(error)
        loop.quit()

    session.connect('event', lambda _session, event: show(event))
    GLib.unix_signal_add(GLib.PRIORITY_DEFAULT, signal.SIGINT, lambda: cancellable.cancel() or True)
    (session.plan_async if command == 'plan' else session.migrate_async)(request, cancellable, on_end)
    loop.run()
    for error in failed:
        print(f'{error.message} [{VmigSnap.error_get_name(error)}]\n{VmigSnap.error_get_hint(error) or ""}', file=sys.stderr)
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main(*sys.argv[1:]))
