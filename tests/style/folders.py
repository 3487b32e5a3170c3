# SPDX-License-Identifier: LGPL-2.1-or-later
"""The folders of plugin/, lowest first: the main header of each, and which other folders it may include.

The main header's first comment says what the folder holds, in a paragraph that begins with "Folder plugin/NAME:".
docs/architecture.md has these paragraphs as a table. A folder may include only folders that are listed before it, so
that there is no cycle.
"""
import re

FOLDERS = {
    'vmig-snap': ('vmig-snap.h', []),
    'core': ('job.h', ['vmig-snap']),
    'definition': ('domain-xml.h', ['core']),
    'store': ('journal.h', ['core']),
    'os': ('tool.h', ['core', 'store']),
    'port': ('env.h', ['core', 'definition', 'os']),
    'drivers/libvirt': ('libvirt.h', ['core', 'definition', 'os', 'port']),
    'copy': ('copier.h', ['core', 'store', 'os', 'port']),
    'image': ('image.h', ['core', 'store', 'os', 'port', 'copy']),
    'guard': ('guard.h', ['core', 'store', 'image']),
    'node': ('node-local.h', ['core', 'definition', 'store', 'os', 'port', 'drivers/libvirt', 'copy', 'image', 'guard']),
    'link': ('ssh-link.h', ['core', 'os', 'port', 'drivers/libvirt', 'node']),
    'engine': ('machine.h', ['core', 'definition', 'store', 'os', 'port']),
    'plan': ('plan.h', ['core', 'definition', 'os', 'port', 'engine']),
    'verify': ('verify.h', ['core', 'definition', 'port', 'copy', 'image', 'engine', 'plan']),
    'flows/migrate': ('migrate-flow.h', ['core', 'definition', 'os', 'engine', 'plan', 'verify']),
    'doctor': ('doctor.h', ['core', 'definition', 'store', 'os', 'port', 'drivers/libvirt', 'image', 'guard', 'node',
                            'plan']),
    'api': ('session-private.h', ['vmig-snap', 'core', 'store', 'os', 'port', 'drivers/libvirt', 'copy', 'guard', 'node', 'link',
                          'engine', 'plan', 'verify', 'flows/migrate', 'doctor']),
    # The command is a user of the library: it includes the installed headers.
    'cli/render': ('render.h', ['vmig-snap']),
    'cli': ('cli.h', ['vmig-snap', 'cli/render']),
}
# What the installed headers may include.
PUBLIC_MAY = r'(glib|glib-object|gio/gio|json-glib/json-glib|vmig-snap/vmig-[a-z-]+)\.h'
# The hook must start within milliseconds: it may neither call libvirt nor use the network.
HOOKS_MAY = ['core', 'definition', 'store', 'os', 'hooks']
# The maximum number of sources in a folder, not counting headers.
MOST_SOURCES = 25


def head(root, name):
    """The paragraph about the folder in its main header, or None."""
    text = (root / 'plugin' / name / FOLDERS[name][0]).read_text(encoding='utf-8')
    found = re.search(rf'^/?[ *]*\*? Folder plugin/{re.escape(name)}: (.*?)(?:^ \*\n|\*/)', text, re.M | re.S)
    return ' '.join(found.group(1).replace('\n *', ' ').split()) if found else None
