# SPDX-License-Identifier: LGPL-2.1-or-later
"""Debian's archive as this machine's own apt reaches it, for tests that make a root of a release."""
import pathlib
import re
import subprocess


def _found():
    """[(address, '' or '-updates' or '-security')] of the sources of this machine with Debian's component main."""
    listed = subprocess.run(['apt-get', 'indextargets', '--format',
                             '$(CREATED_BY) $(REPO_URI) $(RELEASE) $(COMPONENT) $(ORIGIN)'],
                            check=True, capture_output=True, text=True).stdout
    found = []
    for kind, address, release, component, origin in re.findall(r'^(\S+) (\S+) (\S+) (\S+) (.*)$', listed, re.M):
        ours = re.fullmatch(r'[a-z]+(-security|-updates)?', release)
        if kind == 'Packages' and origin == 'Debian' and component == 'main' and ours:
            found.append((address, ours[1] or ''))
    if not any(part == '' for _, part in found):
        raise LookupError('apt knows no archive of Debian (is `apt-get update` needed?)')
    return list(dict.fromkeys(found))


def address():
    """The address of the archive."""
    return next(address for address, part in _found() if part == '')


def sources(release):
    """The lines for apt of a release: itself, and its updates where this machine has its own. sid has none."""
    return [f'deb {address} {release}{part} main' for address, part in _found() if part == '' or release != 'sid']


def codename():
    """The code name of this machine's own release, or ''."""
    text = pathlib.Path('/etc/os-release').read_text(encoding='utf-8')
    return next((line.split('=')[1].strip('"') for line in text.splitlines() if line.startswith('VERSION_CODENAME=')), '')
