# SPDX-License-Identifier: LGPL-2.1-or-later
"""The arrows between the folders of plugin/: cli → api → flow → host → store → core, never the other way.

    python3 tests/style/arrows.py [SOURCE-ROOT]

hooks/ runs inside libvirt's calls and uses core and store only. Reads every #include of both folders; it also plants
wrong ones in a copy and must find each of them.
"""
import pathlib
import re
import shutil
import sys
import tempfile

from tap import Tap

ORDER = ['core', 'store', 'host', 'flow', 'api', 'cli']
INCLUDE = re.compile(r'^\s*#\s*include\s*(["<])([^">]+)[">]', re.M)
# What core may include of the system: nothing that opens, starts or connects to anything.
CORE_FORBIDDEN = re.compile(r'^(libvirt|libnbd|sqlite3|gio/|fcntl|unistd|sys/|spawn|netinet|arpa)')


# The hook must start within milliseconds and may neither call libvirt nor the network.
HOOKS_MAY = ['core', 'store', 'hooks']


def folder_of(path, plugin):
    """The folder under plugin/ that a file is in."""
    return path.relative_to(plugin).parts[0]


def wrong_arrows(root):
    """Every wrong include under ROOT/plugin, in words."""
    plugin = root / 'plugin'
    problems = []
    for path in sorted([*plugin.rglob('*.c'), *plugin.rglob('*.h'), *plugin.rglob('*.def')]):
        where = folder_of(path, plugin)
        shown = path.relative_to(root)
        if where not in ORDER:
            problems.append(f'{shown}: no folder of that name in the order of arrows')
            continue
        for kind, name in INCLUDE.findall(path.read_text()):
            problems += judge(shown, where, kind, name, plugin)
    return problems + wrong_in_hooks(root)


def wrong_in_hooks(root):
    """Every include of hooks/ that it may not have."""
    problems = []
    for path in sorted([*(root / 'hooks').rglob('*.c'), *(root / 'hooks').rglob('*.h')]):
        for kind, name in INCLUDE.findall(path.read_text()):
            if (kind == '"' and name.split('/')[0] not in HOOKS_MAY) or re.match('libvirt|libnbd', name):
                problems.append(f'{path.relative_to(root)} includes {name}: hooks may use core and store')
    return problems


def judge(shown, where, kind, name, plugin):
    """What is wrong with one include."""
    if kind == '<':
        if where == 'core' and CORE_FORBIDDEN.match(name):
            return [f'{shown} includes <{name}>: core does no I/O']
        return []
    to = name.split('/')[0]
    if to not in ORDER or not (plugin / name).is_file():
        return [f'{shown} includes "{name}": not a path from plugin/ that exists']
    if ORDER.index(to) > ORDER.index(where):
        return [f'{shown} includes "{name}": {where} must not know {to}']
    return []


def planted(root):
    """Plant wrong includes in a copy, one at a time; what was not found."""
    plants = [('core/names.c', '#include "store/journal.h"'), ('store/gate.c', '#include "host/env.h"'),
              ('host/copier.c', '  #  include "flow/machine.h"'), ('flow/copy.c', '#include "api/vmig-snap.h"'),
              ('core/names.c', '#include <libvirt/libvirt.h>'), ('flow/copy.c', '#include "machine.h"'),
              ('../hooks/planted.c', '#include "host/env.h"'),
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
    """Both checks."""
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else '.').resolve()
    tap = Tap()
    tap.check(wrong_arrows(root), 'no include points against cli → api → flow → host → store → core')
    tap.check(planted(root), 'a planted wrong include is found')
    return tap.end()


if __name__ == '__main__':
    sys.exit(main())
