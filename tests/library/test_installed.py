# SPDX-License-Identifier: LGPL-2.1-or-later
"""An installed copy of the library: its symbols, its headers, and programs that are built with it.

    python3 tests/library/test_installed.py BUILD
"""
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree

ROOT = pathlib.Path(__file__).resolve().parents[2]
HERE = ROOT / 'tests/library'
sys.path.insert(0, str(ROOT / 'tests/cli'))
from clitest import Counter  # noqa: E402
from installed import Installed, python  # noqa: E402

BUILD = pathlib.Path(sys.argv[1])
MAP = (ROOT / 'plugin/libvmig-snap.map').read_text()
[PUBLIC] = re.findall(r'^(VMIG_SNAP_\S+) \{', MAP, re.M)
GIR = {'core': 'http://www.gtk.org/introspection/core/1.0', 'c': 'http://www.gtk.org/introspection/c/1.0',
       'glib': 'http://www.gtk.org/introspection/glib/1.0'}

# Only a C program needs these: a function like printf(), and what the command does for other processes.
SKIPPED = {'vmig_error_set_hint', 'vmig_may_serve_agent', 'vmig_serve_agent', 'vmig_serve_guard', 'vmig_get_log_path', 'vmig_get_fault_points',
           'vmig_check_connect_uri'}

counter = Counter()
check = counter.check
folder = tempfile.TemporaryDirectory()
installed = Installed(BUILD, folder.name)
headers = installed.find('vmig-snap.h').parent


def mapped(node):
    """The symbols that the version script gives that node."""
    return set(re.findall(r'^    (vmig_\w+);', MAP[MAP.index(f'{node} {{'):].split('};')[0], re.M))


def exported(node):
    """The symbols that the library exports with that version."""
    said = subprocess.run(['nm', '-D', '--defined-only', '--with-symbol-versions', installed.library], capture_output=True,
                          text=True, check=True).stdout
    return {name for name, version in re.findall(r' [A-Z] (\w+)@@(\S+)$', said, re.M) if version == node and name != node}


def declared():
    """The functions that the installed headers declare."""
    text = ''.join(path.read_text() for path in headers.glob('*.h'))
    text = re.sub(r'^#.*$', '', re.sub(r'/\*.*?\*/', '', text, flags=re.S), flags=re.M)
    return set(re.findall(r'\b(vmig_\w+)\(', text)) | \
        {f'{name}_get_type' for name in re.findall(r'G_DECLARE_FINAL_TYPE\(\w+, (\w+),', text)}


def ran(argv, text, **options):
    """Check that a program ends well."""
    done = subprocess.run([str(word) for word in argv], capture_output=True, text=True, check=False, **options)
    check(done.returncode == 0, text, done.stdout + done.stderr)
    return done


def test_symbols():
    """The library exports exactly the symbols of the map, and the headers declare the public ones."""
    said = subprocess.run(['nm', '-D', '--defined-only', installed.library], capture_output=True, text=True, check=True).stdout
    names = {line.split()[-1].split('@')[0] for line in said.splitlines()} - {PUBLIC}
    check(names == mapped(PUBLIC), 'nothing but what the map lists is exported', names ^ mapped(PUBLIC))
    check(exported(PUBLIC) == mapped(PUBLIC) != set(), f'each symbol has the version {PUBLIC}', exported(PUBLIC) ^ mapped(PUBLIC))
    check(declared() == mapped(PUBLIC), 'the headers declare exactly the public symbols', declared() ^ mapped(PUBLIC))
    dynamic = subprocess.run(['readelf', '-d', installed.library], capture_output=True, text=True, check=True).stdout
    check('soname: [libvmig-snap.so.0]' in dynamic, 'the soname', dynamic)


def test_headers():
    """Each header compiles by itself, in C and in C++."""
    for header in sorted(headers.glob('*.h')):
        for compiler, standard, suffix in (('cc', 'c11', 'c'), ('c++', 'c++17', 'cc')):
            source = pathlib.Path(folder.name) / f'alone.{suffix}'
            source.write_text(f'#include <vmig-snap/{header.name}>\nint main(void) {{ return 0; }}\n')
            if not shutil.which(compiler):
                counter.skip(f'{header.name} alone as {standard}', f'there is no {compiler}')
                continue
            flags = [word for word in installed.flags() if not word.startswith('-l')]
            ran([compiler, f'-std={standard}', '-Wall', '-Wextra', '-Wpedantic', '-Werror', '-fsyntax-only', source, *flags],
                f'{header.name} alone as {standard}')


def test_programs():
    """A C program and a Python program pass with the copy."""
    env = {**os.environ, **installed.environment(), 'G_DEBUG': 'fatal-criticals'}
    for source in ('test-library', 'move'):
        installed.compile(HERE / f'{source}.c', pathlib.Path(folder.name) / source)
    ran([pathlib.Path(folder.name) / 'test-library'], 'test-library.c', env=env)
    if not installed.typelib() or not python():
        counter.skip('test_library.py', 'no typelib was built' if not installed.typelib() else 'there is no python3-gi')
        return
    ran([python(), HERE / 'test_library.py'], 'test_library.py', env=env)


def test_documentation():
    """The examples of docs/library.md compile, and report an invalid destination."""
    blocks = re.findall(r'^```(\w+)\n(.*?)^```', (ROOT / 'docs/library.md').read_text(), re.M | re.S)
    env = {**os.environ, **installed.environment()}
    done = {}
    for language, text in blocks:
        source = pathlib.Path(folder.name) / f'example.{ {"c": "c", "python": "py"}.get(language, language) }'
        source.write_text(text)
        if language == 'c':
            program = installed.compile(source, pathlib.Path(folder.name) / 'example')
            done[language] = subprocess.run([program, 'web1', 'nowhere'], env=env, capture_output=True, text=True, check=False)
        elif language == 'python' and installed.typelib() and python():
            done[language] = subprocess.run([python(), source, 'web1', 'nowhere'], env=env, capture_output=True, text=True,
                                            check=False)
    check('c' in done, 'there is a C program')
    for language, how in done.items():
        check(how.returncode == 1 and '[bad-uri]' in how.stderr, f'the {language} program of docs/library.md says what is wrong',
              how.stdout + how.stderr)


def test_gir():
    """Bindings have every public function and the error domain."""
    if not installed.typelib():
        counter.skip('VmigSnap-1.0.gir', 'no typelib was built')
        return
    tree = xml.etree.ElementTree.parse(installed.find('VmigSnap-1.0.gir')).getroot()
    name, no = f'{{{GIR["c"]}}}identifier', 'introspectable'
    functions = [each for kind in ('function', 'method', 'constructor') for each in tree.iter(f'{{{GIR["core"]}}}{kind}')]
    there = {each.get(name) for each in functions if each.get(no) != '0'}
    types = {each for each in declared() if each.endswith('_get_type')}
    check(declared() - types - there == SKIPPED, 'every function but those that are skipped',
          (declared() - types) ^ there)
    codes = tree.find('.//core:enumeration[@name="ErrorCode"]', GIR)
    check(codes is not None and codes.get(f'{{{GIR["glib"]}}}error-domain') is not None, 'the error domain')
    silent = [each for each in functions if each.find('core:doc', GIR) is None and each.find('core:return-value/core:doc', GIR) is None]
    check(not silent, 'every function is documented', [each.get(name) for each in silent])


sys.exit(counter.run([test_symbols, test_headers, test_programs, test_documentation, test_gir]))
