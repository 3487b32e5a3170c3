# SPDX-License-Identifier: LGPL-2.1-or-later
"""The arrows between the folders of plugin/: each folder includes only those that folders.py lets it include.

    python3 tests/style/arrows.py [SOURCE-ROOT]

hooks/ runs inside libvirt's calls and uses only core, definition, store and os. The test checks every #include of
plugin/ and hooks/. It also plants wrong ones in a copy and must find each of them.
"""
import pathlib
import re
import shutil
import sys
import tempfile

from folders import FOLDERS, HOOKS_MAY, MOST_SOURCES, PUBLIC_MAY, head
from tap import Tap

INCLUDE = re.compile(r'^\s*#\s*include\s*(["<])([^">]+)[">]', re.M)
# The system headers that the pure folders must not include: those that open, start or connect to something.
PURE = ('core', 'definition')
IMPURE = re.compile(r'^(libvirt|libnbd|sqlite3|gio/|fcntl|unistd|sys/|spawn|netinet|arpa)')
# Only these talk to libvirt and to NBD servers.
LIBVIRT_IN = ('drivers/libvirt',)


def folder_of(path, plugin):
    """The folder under plugin/ that a file is in."""
    return path.parent.relative_to(plugin).as_posix()


def sources(root):
    """Every C file of plugin/."""
    plugin = root / 'plugin'
    return sorted([*plugin.rglob('*.c'), *plugin.rglob('*.h'), *plugin.rglob('*.def')])


def wrong_arrows(root):
    """A message for every wrong include under ROOT."""
    plugin = root / 'plugin'
    problems = []
    for path in sources(root):
        where = folder_of(path, plugin)
        shown = path.relative_to(root)
        if where not in FOLDERS:
            problems.append(f'{shown}: folders.py has no folder of that name')
            continue
        for kind, name in INCLUDE.findall(path.read_text()):
            problems += judge(shown, where, kind, name, plugin)
    return problems + wrong_in_hooks(root)


def wrong_in_hooks(root):
    """A message for every include that hooks/ must not have."""
    problems = []
    for path in sorted([*(root / 'hooks').rglob('*.c'), *(root / 'hooks').rglob('*.h')]):
        for kind, name in INCLUDE.findall(path.read_text()):
            if (kind == '"' and name.split('/')[0] not in HOOKS_MAY) or re.match('libvirt|libnbd', name):
                problems.append(f'{path.relative_to(root)} includes {name}: hooks may use core, definition, store and os')
    return problems


def judge(shown, where, kind, name, plugin):
    """The problems of one include."""
    if where == 'vmig-snap' and (kind != '<' or not re.fullmatch(PUBLIC_MAY, name)):
        return [f'{shown} includes {name}: an installed header includes GLib, json-glib and installed headers only']
    if kind == '<':
        if where in PURE and IMPURE.match(name):
            return [f'{shown} includes <{name}>: {where} does no I/O']
        if name.startswith('libvirt/') and where not in LIBVIRT_IN:
            return [f'{shown} includes <{name}>: only {", ".join(LIBVIRT_IN)} calls libvirt']
        return []
    to = name.rsplit('/', 1)[0]
    if to not in FOLDERS or not (plugin / name).is_file():
        return [f'{shown} includes "{name}": not a path from plugin/ that exists']
    if to != where and to not in FOLDERS[where][1]:
        return [f'{shown} includes "{name}": {where} must not include {to}']
    return []


def wrong_table():
    """Folders that may include a later one, which would allow a cycle."""
    names = list(FOLDERS)
    return [f'folders.py: {name} may include {may}, which is not listed before it'
            for name, (_, all_may) in FOLDERS.items() for may in all_may if names.index(may) >= names.index(name)]


def unused(root):
    """Permissions that no include needs."""
    plugin = root / 'plugin'
    used = {(folder_of(path, plugin), name.rsplit('/', 1)[0]) for path in sources(root)
            for kind, name in INCLUDE.findall(path.read_text()) if kind == '"'}
    return [f'folders.py: nothing in {name} includes {may}' for name, (_, all_may) in FOLDERS.items()
            for may in all_may if (name, may) not in used]


def wrong_folders(root):
    """Folders that are too large, or whose header does not say what they hold."""
    problems = []
    for name, (header, _) in FOLDERS.items():
        count = len(list((root / 'plugin' / name).glob('*.c')))
        if count > MOST_SOURCES:
            problems.append(f'plugin/{name} has {count} sources, more than {MOST_SOURCES}')
        if head(root, name) is None:
            problems.append(f'plugin/{name}/{header} does not say what the folder holds')
    return problems


def planted(root):
    """Plant wrong includes in a copy, one at a time; a message for each that was not found."""
    plants = [('core/names.c', '#include "store/journal.h"'), ('store/gate.c', '#include "port/env.h"'),
              ('copy/copier.c', '  #  include "engine/machine.h"'),
              ('flows/migrate/copy.c', '#include "vmig-snap/vmig-snap.h"'),
              ('cli/watch.c', '#include "api/session-private.h"'), ('cli/outcome.c', '#include "core/states.h"'),
              ('cli/render/jobs.c', '#include "core/names.h"'), ('vmig-snap/vmig-session.h', '#include <core/job.h>'),
              ('vmig-snap/vmig-session.h', '#include "core/job.h"'),
              ('flows/migrate/copy.c', '#include "drivers/libvirt/libvirt.h"'),
              ('engine/machine.c', '#include "flows/migrate/migrate-flow.h"'),
              ('core/names.c', '#include <libvirt/libvirt.h>'), ('flows/migrate/copy.c', '#include "machine.h"'),
              ('plan/plan.c', '#include <libvirt/libvirt.h>'),
              ('../hooks/planted.c', '#include "port/env.h"'),
              ('../hooks/planted.c', '#include <libvirt/libvirt.h>')]
    missed = []
    with tempfile.TemporaryDirectory() as work:
        copy = pathlib.Path(work)
        shutil.copytree(root / 'plugin', copy / 'plugin')
        (copy / 'hooks').mkdir()
        (copy / 'hooks/planted.c').touch()
        before = len(wrong_arrows(copy))
        for file, line in plants:
            path = copy / 'plugin' / file
            text = path.read_text()
            path.write_text(f'{line}\n{text}')
            if len(wrong_arrows(copy)) != before + 1:
                missed.append(f'{line} in {file} was not found')
            path.write_text(text)
    return missed


def main():
    """All checks."""
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else '.').resolve()
    tap = Tap()
    tap.check(wrong_arrows(root), 'each folder includes only the folders that it may include')
    tap.check(wrong_table(), 'no folder may include one that is listed after it')
    tap.check(unused(root), 'each permission is used')
    tap.check(wrong_folders(root), f'each folder says what it holds, in at most {MOST_SOURCES} sources')
    tap.check(planted(root), 'a planted wrong include is found')
    return tap.end()


if __name__ == '__main__':
    sys.exit(main())
