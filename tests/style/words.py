# SPDX-License-Identifier: LGPL-2.1-or-later
"""The words of documents, comments and messages: docs/words.md has the forbidden phrases and the British spellings.

    python3 tests/style/words.py [SOURCE-ROOT]

A phrase is also found where it is split over two lines of a comment or of a string. Long sentences in docs/*.md are
printed as comments and are not failures. The test also plants wrong lines and must find each of them.
"""
import bisect
import pathlib
import re
import sys

from tap import Tap

MOST_WORDS = 30
SUFFIXES = {'.c', '.h', '.def', '.py', '.in', '.conf', '.md', '.1', '.build', '.pml'}
FOLDERS = ('plugin', 'hooks', 'tests', 'policy', 'docs')
SINGLE_FILES = ('README.md', 'CONTRIBUTING.md', 'NEWS', 'demo', 'meson.build', 'meson_options.txt', 'tests/run')
SKIPPED = {'build', '.git', '__pycache__', 'corpus', 'golden'}
# Files that must contain what is forbidden, each with its reason.
EXCEPTIONS = {
    'tests/style/words.py': 'it plants forbidden phrases',
    'plugin/cli/args.c': 'it tells a user of the old option --fold its new name',
    'tests/cli/test_cli.py': 'it tests that message',
    'tests/unit/test-journal-older.c': 'it writes journals that have the old names',
}
# What begins or ends a line of a comment, a list or a string, and is no part of the sentence.
LINE_HEAD = re.compile(r'^\s*(?:\*(?!/)|/\*+|//+|#+|[-*] |f?["\'])?\s*')
LINE_TAIL = re.compile(r'\s*["\']?\s*\\?\s*$')
ROW = re.compile(r'^\|(.+)\|$')
C_TOKEN = re.compile(r'/\*.*?\*/|//[^\n]*|\'(?:\\.|[^\'\\\n])*\'|"(?:\\.|[^"\\\n])*"|[^\s/\'"]+|.', re.S)


def table(text, head):
    """The rows of the table of docs/words.md whose first column is called HEAD, as lists of cells."""
    rows, inside = [], False
    for line in text.split('\n'):
        found = ROW.match(line)
        if found is None:
            inside = False
            continue
        cells = [cell.strip().replace('\\|', '|') for cell in re.split(r'(?<!\\)\|', found[1])]
        if cells[0] == head:
            inside = True
        elif inside and not cells[0].startswith('---'):
            rows.append(cells)
    return rows


def forbidden(text):
    """[(regular expression, better word, where: everywhere, documents or messages)] of docs/words.md."""
    rows = []
    for phrase, better, where in table(text, 'forbidden'):
        phrase = phrase.strip('`')
        capitals = 0 if re.search(r'[A-Z]', phrase) else re.IGNORECASE
        rows.append((re.compile(phrase, capitals), better, where))
    return rows


def british(text):
    """[(regular expression, American word)] of docs/words.md."""
    rows = []
    for word, american in table(text, 'British'):
        end = r'(?:e|es|ed|er|ers|ing|ation|ations)' if word.endswith('se') else r'(?:s|d|ed|ing|al|able|ment)?'
        stem = word[:-1] if word.endswith('se') else word
        rows.append((re.compile(rf'\b(?:un|re)?{stem}{end}\b', re.IGNORECASE), american))
    return rows


def joined(text):
    """The text as one line, without the marks of comments and strings, and where each line of it begins."""
    parts, starts, at = [], [], 0
    for line in text.split('\n'):
        line = LINE_TAIL.sub('', LINE_HEAD.sub('', line))
        starts.append(at)
        parts.append(line)
        at += len(line) + 1
    return ' '.join(parts), starts


def messages(shown, text):
    """The strings of a C file that can be messages, each at its place; everything else is blank."""
    if pathlib.PurePath(shown).parts[0] not in ('plugin', 'hooks') or not shown.endswith(('.c', '.h')):
        return ''
    return C_TOKEN.sub(lambda m: m[0] if m[0][0] == '"' and ' ' in m[0] else re.sub(r'[^\n]', ' ', m[0]), text)


def found_in(shown, text, rules):
    """What these rules find in a text."""
    line, starts = joined(text)
    return [f'{shown}:{bisect.bisect_right(starts, found.start())}: "{found[0]}"; write: {better}'
            for pattern, better in rules for found in pattern.finditer(line)]


def wrong_words(shown, text, phrases, spellings, document):
    """Every forbidden phrase and British spelling in a text."""
    everywhere = [(pattern, better) for pattern, better, where in phrases
                  if where == 'everywhere' or (where == 'documents' and document)]
    shorter = [(pattern, better) for pattern, better, where in phrases if where != 'everywhere']
    return found_in(shown, text, everywhere + spellings) + found_in(shown, messages(shown, text), shorter)


def is_document(shown):
    """Whether the rules for documents apply."""
    path = pathlib.PurePath(shown)
    return shown in ('README.md', 'CONTRIBUTING.md', 'NEWS') or path.parts[0] == 'docs' or path.suffix == '.def'


def files(root):
    """The checked files, as paths relative to the root."""
    found = [path for folder in FOLDERS for path in sorted((root / folder).rglob('*'))
             if path.is_file() and (path.suffix in SUFFIXES or path.name == 'run')]
    found += [root / name for name in SINGLE_FILES if (root / name).is_file()]
    shown = [path.relative_to(root) for path in found if not set(path.relative_to(root).parts) & SKIPPED]
    return [path.as_posix() for path in dict.fromkeys(shown) if path.as_posix() not in EXCEPTIONS]


def prose(shown, text):
    """The part of a text to check: docs/words.md up to its examples, docs/faults.md without the names of tests."""
    if shown == 'docs/words.md':
        return text.partition('| written | better |')[0]
    return re.sub(r'`[^`\n]*`', '``', text) if shown == 'docs/faults.md' else text


def long_sentences(text):
    """[(number of words, first words)] of the long sentences of a page, without its tables and code."""
    text = re.sub(r'^```.*?^```$|^\|.*?$|^#.*?$|<!--.*?-->', '\n', text, flags=re.S | re.M)
    found = []
    for paragraph in re.split(r'\n\s*\n|\n\s*(?:-|\d+\.) ', text):
        for sentence in re.split(r'(?<=[.?!:;])\s+', ' '.join(paragraph.split())):
            words = sentence.split()
            if len(words) > MOST_WORDS:
                found.append((len(words), ' '.join(words[:8])))
    return found


def show_long(root):
    """Print the long sentences as TAP comments."""
    for path in sorted((root / 'docs').glob('*.md')):
        for count, begin in long_sentences(path.read_text(encoding='utf-8')):
            print(f'# {path.relative_to(root)}: a sentence of {count} words: {begin} ...')


def missed(phrases, spellings):
    """Planted lines in which nothing is found, or something is found that is right."""
    wrong = [('docs/x.md', 'It was nobody of us.', 2), ('plugin/x.c', '/* The fold of a disk. */', 1),
             ('plugin/x.c', '    /* were\n     * it so */', 1), ('plugin/x.c', 'f("by want "\n  "of room");', 1),
             ('docs/x.md', 'The guest stood\nstill.', 1), ('tests/x.py', "# for\n# by want of room", 1),
             ('plugin/x.def', '"somebody changed it"', 1), ('plugin/x.c', '/* Serialised colours. */', 2),
             ('plugin/x.c', 'f("somebody " /* x */ "changed "\n  "the folder");', 2),
             ('hooks/x.h', '#define X "%s is no UUID"', 1), ('plugin/x.c', 'f("it is told"); /* told */', 2),
             ('docs/x.md', 'It is recognised; its behaviour; a licence.', 3), ('hooks/x.c', 'state HANDOVER', 1)]
    right = [('plugin/x.c', '/* somebody told "it" to the folder */'), ('plugin/x.c', 'f("%s is no longer on x", folder);'),
             ('plugin/x.c', 'f("told"); g("there is no job");'), ('tests/x.c', 'f("somebody told it");'),
             ('docs/x.md', 'A folder, a handover, a merge, an analysis.'),
             ('docs/x.md', 'The behavior is fulfilled; a color; it serializes precisely.'),
             ('tests/x.c', '"VMIG_HOOK_RESTORE", sim --seed 4, detached')]
    problems = []
    for shown, text, count in [*wrong, *((shown, text, 0) for shown, text in right)]:
        found = wrong_words(shown, text, phrases, spellings, is_document(shown))
        if len(found) != count:
            problems.append(f'{text!r} in {shown}: {len(found)} found instead of {count}: {found}')
    if len(long_sentences(f'Short.\n\n{"word " * (MOST_WORDS + 1)}.\n\n| {"cell " * 40}|\n')) != 1:
        problems.append('a long sentence is not found, or a table counts as one')
    return problems


def main():
    """All checks."""
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else '.').resolve()
    words, tap = (root / 'docs/words.md').read_text(encoding='utf-8'), Tap()
    phrases, spellings = forbidden(words), british(words)
    texts = {shown: prose(shown, (root / shown).read_text(encoding='utf-8')) for shown in files(root)}
    tap.check(missed(phrases, spellings), 'planted phrases and spellings are found, right ones are not')
    tap.check([problem for shown, text in texts.items()
               for problem in wrong_words(shown, text, phrases, [], is_document(shown))], 'no forbidden phrase')
    tap.check([problem for shown, text in texts.items()
               for problem in wrong_words(shown, text, [], spellings, False)], 'American spelling')
    tap.check([f'{name} ({reason})' for name, reason in EXCEPTIONS.items()
               if not (root / name).is_file() or not wrong_words(name, (root / name).read_text(encoding='utf-8'),
                                                                 phrases, spellings, False)],
              'every exception is needed')
    show_long(root)
    return tap.end()


if __name__ == '__main__':
    sys.exit(main())
