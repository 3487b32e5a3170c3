# SPDX-License-Identifier: LGPL-2.1-or-later
"""The rules of CONTRIBUTING.md that a program can check.

    python3 tests/style/check.py [SOURCE-ROOT]

Every exception is listed here with its reason; an exception that is not needed any more is a failure. Each rule is also
tested with a text that breaks it.
"""
import pathlib
import re
import shutil
import subprocess
import sys

from folders import FOLDERS
from tap import Tap

LIBRARY = [name for name in FOLDERS if not name.startswith('cli')]
FILE_LIMIT = 500
FUNCTION_LIMIT = 60
LONG_FILES = {
    'plugin/drivers/libvirt/libvirt.c': 'the one table of what libvirt is asked; its larger parts have files of their own',
}
LONG_FUNCTIONS = {}
# A child between fork and exec has no GError; its stderr is a pipe that the parent reads.
IN_A_CHILD = {'plugin/copy/receiver.c': {'perror'}}
# They receive an error that is already set and add to it; there is no success to report.
VOID_WITH_ERROR = {'vmig_error_adopt', 'explain'}
SKIPPED = {'build', '.git', '__pycache__'}

PRINTS = re.compile(r'(?<![\w.>])(printf|fprintf|dprintf|puts|fputs|putchar|perror|g_print|g_printerr|g_message|'
                    r'g_warning|g_critical|g_error|exit|abort)\s*\(')
# GLib does the same when memory is exhausted.
NO_MEMORY = 'g_error("out of memory")'
GOTO = re.compile(r'(?<!\w)goto\s+\w+\s*;')
VOID_ERROR = re.compile(r'^(?:static\s+)?void\s+\*?(\w+)\([^;{]*GError \*\*\w*\)', re.M)
# Returns TRUE right after it set an error.
SET_THEN_TRUE = re.compile(r'g_set_error\w*\([^;]*;\s*return TRUE;')
# Reads *error, which is NULL if the caller does not want the error, without a check in the lines before.
# Where messages between hosts may be JSON: the codec, and the lines of the agent's protocol.
JSON_PLACES = {'plugin/port/codec.c', 'plugin/port/codec.h', 'plugin/node/agent.c', 'plugin/node/agent-client.c',
               'plugin/node/agent-hello.c', 'plugin/node/agent-hello.h'}
JSON = re.compile(r'\b(?:Json(?:Object|Array|Node)|VmigReader|json_(?:object|array|node)_\w+)\b')
PEEK = re.compile(r'\(\*error\)->')
PEEK_GUARD = re.compile(r'error [!=]= NULL')


def sources(root, suffixes, folders=('plugin', 'tests', 'hooks', 'docs')):
    """Files with these suffixes, without those that a build creates."""
    found = []
    for folder in folders:
        for path in sorted((root / folder).rglob('*')):
            inner = set(path.relative_to(root).parts)
            if path.suffix in suffixes and path.is_file() and not inner & SKIPPED:
                found.append(path)
    return found


def without_comments(text):
    """The C text with comments and strings removed, so that words in them do not count."""
    return re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"',
                  lambda m: re.sub(r'[^\n]', ' ', m[0]) if m[0][0] == '/' else '""', text, flags=re.S)


def no_spdx(name, text):
    """Rule: the license is named within the first two lines."""
    return [] if 'SPDX-License-Identifier:' in ''.join(text.split('\n')[:2]) else [f'{name}: no SPDX line']


def has_goto(name, text):
    """Rule: no goto."""
    return [f'{name}: {found}' for found in GOTO.findall(without_comments(text))]


def prints_or_exits(name, text):
    """Rule: the library never prints and never exits."""
    return [f'{name}: {word}()' for word in PRINTS.findall(without_comments(text.replace(NO_MEMORY, '')))
            if word not in IN_A_CHILD.get(name, ())]


def error_law(name, text):
    """Rule: the parts of the GError law that a pattern can check."""
    plain = without_comments(text)
    problems = [f'{name}: void {word}() takes a GError **' for word in VOID_ERROR.findall(plain)
                if word not in VOID_WITH_ERROR]
    problems += [f'{name}: sets an error and returns TRUE' for _ in SET_THEN_TRUE.findall(plain)]
    lines = plain.split('\n')
    problems += [f'{name}:{i + 1}: reads *error, which may be NULL' for i, line in enumerate(lines)
                 if PEEK.search(line) and not any(map(PEEK_GUARD.search, lines[max(i - 4, 0):i + 1]))]
    return problems


def speaks_json(name, text):
    """Rule: messages are structures, except in the codec and in the agent's protocol."""
    return [] if name in JSON_PLACES else [f'{name}: {word}' for word in sorted(set(JSON.findall(without_comments(text))))]


def long_functions(name, text):
    """Rule: a function has at most FUNCTION_LIMIT lines, braces included."""
    problems, start, head = [], None, ''
    for number, line in enumerate(text.split('\n'), 1):
        if line.startswith('{'):
            start = number
        elif line.startswith('}') and start is not None:
            length = number - start + 1
            if length > FUNCTION_LIMIT and head not in LONG_FUNCTIONS.get(name, ()):
                problems.append(f'{name}: {head}() has {length} lines')
            start = None
        elif (match := re.match(r'\w[\w\s*]*?(\w+)\(', line)) and start is None:
            head = match[1]
    return problems


def over_all(rule, root, paths):
    """A rule over files."""
    return [problem for path in paths for problem in rule(str(path.relative_to(root)), path.read_text())]


def long_files(root):
    """Source files over the limit without an exception, and exceptions that are not needed."""
    problems = []
    for path in sources(root, {'.c', '.h'}, ['plugin']):
        name, lines = str(path.relative_to(root)), path.read_text().count('\n')
        if lines > FILE_LIMIT and name not in LONG_FILES:
            problems.append(f'{name}: {lines} lines')
        if lines <= FILE_LIMIT and name in LONG_FILES:
            problems.append(f'{name}: {lines} lines; its exception is not needed any more')
    return problems


def heaps(root):
    """Files with a name that says nothing about their contents."""
    return [str(path.relative_to(root)) for path in sources(root, {'.c', '.h', '.py'})
            if path.stem in ('util', 'utils', 'misc', 'helpers', 'common')]


def format_problems(root):
    """Files that clang-format would change; None if there is no clang-format 14."""
    tool = shutil.which('clang-format-14') or shutil.which('clang-format')
    if tool is None:
        return None
    said = subprocess.run([tool, '--version'], capture_output=True, text=True, check=False).stdout
    if 'version 14.' not in said:
        return None
    paths = sources(root, {'.c', '.h'}, ['plugin', 'tests', 'hooks'])
    done = subprocess.run([tool, '--dry-run', '-Werror', *map(str, paths)], cwd=root, capture_output=True, text=True,
                          check=False)
    places = [line.split(':')[:2] for line in done.stderr.splitlines() if '[-Wclang-format-violations]' in line]
    files = {}
    for file, number in places:
        files.setdefault(str(pathlib.Path(file).relative_to(root)), number)
    problems = [f'{file}:{number}: clang-format 14 formats it differently' for file, number in files.items()]
    return problems or (['clang-format failed: ' + done.stderr[:200]] if done.returncode else [])


def broken_rules():
    """Rules that accept a text that breaks them, or reject one that does not."""
    wrong = [(no_spdx, 'int x;\n'), (has_goto, 'void f(void)\n{\n    goto out;\n}\n'),
             (prints_or_exits, 'f();\nprintf("x");\n'), (prints_or_exits, '    exit(1);\n'),
             (error_law, 'static void f(int a, GError **error)\n{\n'), (error_law, 'if ((*error)->code)\n'),
             (error_law, 'g_set_error(error, A, B, "c");\n    return TRUE;\n'),
             (speaks_json, 'JsonObject *reply;\n'), (speaks_json, 'json_object_set_int_member(reply, "x", 1);\n'),
             (long_functions, 'int f(void)\n{\n' + '    g();\n' * 60 + '}\n')]
    right = [(has_goto, '/* goto x; */\n'), (prints_or_exits, 's = g_strdup_printf("exit(1)");\n'),
             (long_functions, 'int f(void)\n{\n' + '    g();\n' * 58 + '}\n')]
    return [f'{rule.__name__} passes {text!r}' for rule, text in wrong if not rule('x.c', text)] + \
           [f'{rule.__name__} fails {text!r}' for rule, text in right if rule('x.c', text)]


def missing_files(root, text):
    """The files of this project that a document names and that do not exist. Short names begin below plugin/."""
    folders = {path.name for path in (root / 'plugin').iterdir() if path.is_dir()}
    named = re.findall(r'[`(](?:\.\./)?([\w./-]+/[\w.-]+\.(?:c|h|def|py|md|in))(?=[ `:)])', text)
    return [name for name in dict.fromkeys(named)
            if (name.split('/')[0] in ('plugin', 'hooks', 'tests', 'docs', 'policy') and not (root / name).exists()) or
            (name.split('/')[0] in folders and not (root / 'plugin' / name).exists())]


def documented_files(root, tap):
    """What documents name exists, and a planted name that does not is noticed."""
    pages = [*sorted((root / 'docs').glob('*.md')), *(root / name for name in ('README.md', 'CONTRIBUTING.md'))]
    planted = missing_files(root, 'see `core/never.c` and [it](tests/never.py), not `block/mirror.c` or `core/job.c`')
    tap.check([f'noticed of the planted names: {planted}'] if planted != ['core/never.c', 'tests/never.py'] else [],
              'a document that names a missing file is noticed')
    tap.check([f'{page.relative_to(root)}: {name} does not exist' for page in pages if page.exists()
               for name in missing_files(root, page.read_text(encoding='utf-8'))], 'documents name files that exist')


def generated_docs(root, tap):
    """The generated documents are up to date."""
    text, tool = 'the generated documents are up to date', root / 'docs/gen/gen-docs.py'
    if not tool.exists():
        tap.skip(text, 'there is no docs/gen/gen-docs.py yet')
        return
    done = subprocess.run([sys.executable, str(tool), '--check'], cwd=root, capture_output=True, text=True,
                          check=False)
    tap.check((done.stdout + done.stderr).splitlines() or ['failed'] if done.returncode else [], text)


def main():
    """All rules."""
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else '.').resolve()
    tap = Tap()
    code = sources(root, {'.c', '.h'}, ['plugin', 'tests', 'hooks'])
    library = [path for path in code for folder in LIBRARY if path.is_relative_to(root / 'plugin' / folder)]
    texts = [*code, *sources(root, {'.def', '.py', '.sh'}), *sources(root, {'.conf'}, ['policy']),
             *[root / name for name in ('demo', 'tests/run', '.ci/run', 'meson.build') if (root / name).exists()],
             *[path for path in root.rglob('meson.build')
               if path.relative_to(root).parts[0] in ('plugin', 'policy', 'tests', 'docs')]]
    tap.check(broken_rules(), 'every rule notices a text that breaks it')
    tap.check(over_all(no_spdx, root, texts), 'every source names its license')
    tap.check(over_all(has_goto, root, code), 'no goto')
    tap.check(over_all(prints_or_exits, root, library), 'the library never prints and never exits')
    tap.check(over_all(error_law, root, [*library, *sources(root, {'.c'}, ['plugin/cli'])]),
              'the GError law, as far as a pattern can check it')
    tap.check(over_all(speaks_json, root, sources(root, {'.c', '.h'}, ['plugin/port', 'plugin/node'])),
              'the messages between hosts are JSON in the codec alone')
    tap.check(over_all(long_functions, root, sources(root, {'.c'}, ['plugin'])),
              f'no function over {FUNCTION_LIMIT} lines')
    tap.check(long_files(root), f'no source file over {FILE_LIMIT} lines')
    tap.check(heaps(root), 'no file named utils')
    wrong = format_problems(root)
    if wrong is None:
        tap.skip('clang-format changes nothing', 'clang-format 14 is not installed (another version formats otherwise)')
    else:
        tap.check(wrong, 'clang-format changes nothing')
    generated_docs(root, tap)
    documented_files(root, tap)
    return tap.end()


if __name__ == '__main__':
    sys.exit(main())
