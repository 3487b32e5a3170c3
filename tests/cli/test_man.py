# SPDX-License-Identifier: LGPL-2.1-or-later
"""The documentation is about the program that there is.

    VMIG_SNAP=build/plugin/vmig-snap python3 tests/cli/test_man.py [SOURCE-ROOT]

Every command, option and argument of --help is in the man page and the other way round, exit codes too; the other man
pages have the keys, events and units that there are; the generated pages are what the tables say; every JSON example
parses, and every member that the library writes has one.
"""
import json
import pathlib
import re
import shutil
import subprocess
import sys

from clitest import Counter, binary, call

SNAP = binary('VMIG_SNAP')
ROOT = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).resolve().parents[2])
MAN = ROOT / 'docs/man/vmig-snap.1'
# Which commands a part of the man page's options is about.
PARTS = {'plan and migrate': ('plan', 'migrate'), 'list and resume': ('list', 'resume'), 'resume': ('resume',), 'agent': ('agent',),
         'doctor': ('doctor',), 'purge': ('purge',), 'verify': ('verify',),
         'All commands but agent': ('plan', 'migrate', 'status', 'list', 'resume', 'cancel', 'set', 'verify', 'doctor', 'purge')}
# What the text of the page says of single commands.
LEFT_OUT = {('plan', '--dry-run'), ('status', '--quiet'), ('list', '--quiet'),
            ('doctor', '--quiet'), ('purge', '--quiet'), ('set', '--quiet'), ('verify', '--quiet')}
counter = Counter()
check = counter.check


def plain(line):
    """A heading of the man page without its markup. Macros of two fonts (.BI) join their words, .B does not."""
    macro, _, words = line.partition(' ')
    if macro == '.B':
        line = words
    elif macro.startswith('.'):
        line = ''.join(quoted or word for quoted, word in re.findall(r'"([^"]*)"|(\S+)', words))
    return re.sub(r'\\f[A-Z]|\\c', '', line).replace('\\-', '-')


def sections(page=MAN):
    """{section: {part: lines}} of a man page."""
    found, section, part = {}, None, None
    for line in page.read_text(encoding='utf-8').splitlines():
        if line.startswith('.SH '):
            section, part = line[4:].strip('"'), ''
        elif line.startswith('.SS '):
            part = line[4:].strip('"')
        elif section is not None:
            found.setdefault(section, {}).setdefault(part, []).append(line)
    return found


def heads(lines):
    """What stands after each .TP and .TQ."""
    return [plain(lines[i + 1]) for i, line in enumerate(lines) if line in ('.TP', '.TQ')]


def options_of_help(command):
    """{option: value} of `vmig-snap COMMAND --help`."""
    text = call([SNAP, command, '--help']).out
    return {m[1]: m[2] or '' for m in re.finditer(r'^  (?:-\w, )?(--[a-z-]+)(?:=(\S+))?  ', text, re.M)}


def test_commands():
    """Commands and their arguments."""
    text = call([SNAP, '--help']).out
    block = text.split('Commands:\n', 1)[1].split('\n\n', 1)[0]
    helped = {re.split(r'  +', line.strip())[0] for line in block.splitlines()}
    manual = {re.sub(r' ?([\[\]|]) ?', r'\1', head).replace('[', ' [')
              for head in heads(sections()['COMMANDS'][''])}
    check(helped == manual, 'every command of --help is in the man page, and the other way round', helped ^ manual)
    for command in sorted(h.split()[0] for h in helped):
        usage = call([SNAP, command, '--help']).out.splitlines()[1]
        arguments = next(h for h in helped if h.split()[0] == command).partition(' ')[2]
        check(usage.replace('[OPTION…]', '').split() == ['vmig-snap', command, *arguments.split()],
              f'{command} --help names the same arguments', usage)


def test_options():
    """Options and their values, for each command."""
    parts = sections()['OPTIONS']
    manual = {}
    for part, commands in PARTS.items():
        for head in heads(parts[part]):
            name, _, value = head.partition(' ')
            for command in commands:
                if (command, name) not in LEFT_OUT:
                    manual.setdefault(command, {})[name] = value.replace(' ', '')
    for command in sorted(manual):
        helped = options_of_help(command)
        helped.pop('--help')
        check(helped == manual[command], f'every option of {command} is in the man page, and the other way round',
              set(helped.items()) ^ set(manual[command].items()))
    top = set(re.findall(r'^  (--[a-z-]+)', call([SNAP, '--help']).out, re.M))
    general = set(re.findall(r'--[a-z-]+', ' '.join(heads(parts['General']))))
    check(top == general, 'the options without a command too', top ^ general)
    check(set(parts) - set(PARTS) == {'', 'General'}, 'this test knows every part of the options', set(parts))


def test_exit_codes():
    """The codes of cli.h."""
    declared = set(re.findall(r'VMIG_EXIT_\w+ = (\d)', (ROOT / 'plugin/cli/cli.h').read_text(encoding='utf-8')))
    manual = set(heads(sections()['EXIT STATUS']['']))
    check(declared == manual, 'every exit code is in the man page, and the other way round', declared ^ manual)


def test_man_is_well_formed():
    """groff has nothing to say."""
    pages = sorted(MAN.parent.iterdir())
    installed = re.findall(r"'man/(\S+)'", (ROOT / 'docs/meson.build').read_text(encoding='utf-8'))
    check([page.name for page in pages] == sorted(installed), 'every page is installed', installed)
    if shutil.which('groff') is None:
        counter.skip('groff reads the man pages without a warning', 'there is no groff')
        return
    for page in pages:
        if '\n.so ' in page.read_text(encoding='utf-8'):
            target = re.search(r'^\.so man\d/(\S+)$', page.read_text(encoding='utf-8'), re.M)[1]
            check((MAN.parent / target).exists(), f'{page.name} names a page that there is', target)
            continue
        done = subprocess.run(['groff', '-man', '-ww', '-z', '-Kutf8', str(page)], capture_output=True, text=True,
                              check=False)
        check(done.returncode == 0 and not done.stdout + done.stderr, f'groff reads {page.name} without a warning',
              done.stdout + done.stderr)


def test_references():
    """Every page of ours that a page names exists."""
    for page in sorted(MAN.parent.iterdir()):
        text = page.read_text(encoding='utf-8').replace('\\-', '-')
        named = {f'{name}.{section}' for name, section in re.findall(r'^\.BR (vmig-snap\S*) \((\d)\)', text, re.M)}
        missing = {name for name in named if not (MAN.parent / name).exists()}
        check(not missing, f'{page.name} names only pages that there are', missing)


def test_configuration():
    """vmig-snap.conf(5): the keys and defaults of config.c, the groups and keys of the default policy."""
    parts = sections(MAN.parent / 'vmig-snap.conf.5')
    source = (ROOT / 'plugin/os/config.c').read_text(encoding='utf-8')
    known = re.search(r'keys\[\] = \{(.*?)NULL\}', source, re.S)[1]
    keys = set(re.findall(r'"([a-z-]+)"', known))
    manual = heads(parts['CONFIGURATION'][''])
    check(keys == set(manual), 'every key of the configuration is in vmig-snap.conf(5), and the other way round',
          keys ^ set(manual))
    text = '\n'.join(parts['CONFIGURATION']['']).replace('\\-', '-')
    defaults = re.findall(r'config->\w+ = g_strdup\("([^"]+)"\)', source) + \
        re.findall(r'"(/[^"]+)"', re.search(r'roots\[\] = \{(.*?)\}', source, re.S)[1])
    check(len(defaults) > 6 and all(default in text for default in defaults), 'and every default',
          [default for default in defaults if default not in text])
    policy = (ROOT / 'policy/default.conf').read_text(encoding='utf-8')
    groups = {group: set(re.findall(r'^#?([a-z-]+)=', body, re.M))
              for group, body in re.findall(r'^\[([a-z-]+)\]\n(.*?)(?=^\[|\Z)', policy, re.S | re.M)}
    errors = heads(parts['POLICIES']['Groups of errors'])
    whole = heads(parts['POLICIES']['The whole job'])
    check({f'[{group}]' for group in groups if group != 'overall'} == {head for head in errors if head[0] == '['},
          'every group of a policy', errors)
    check(groups['transient'] == {head for head in errors if head[0] != '['}, 'every key of such a group', errors)
    check(groups['overall'] | {'[overall]'} == set(whole),
          'every key of the whole job', whole)


def test_json_page():
    """vmig-snap-json(7): the events and the outcomes of docs/json.md."""
    parts = sections(MAN.parent / 'vmig-snap-json.7')
    text = (ROOT / 'docs/json.md').read_text(encoding='utf-8')
    events = re.findall(r'^### (\w+)$', text[text.index('## Events'):text.index('## Documents')], re.M)
    check(events == heads(parts['EVENTS']['']), 'every event', heads(parts['EVENTS']['']))
    outcomes = re.findall(r'^\| `([a-z-]+)` \|', text, re.M)
    check(outcomes == heads(parts['OUTCOMES']['']), 'every outcome', heads(parts['OUTCOMES']['']))
    codes = re.findall(r'^\| `[a-z-]+` \|[^|]*\| (\d)', text, re.M)
    told = re.findall(r'^Exit code (\d)', '\n'.join(parts['OUTCOMES']['']), re.M)
    check(codes == told, 'and its exit code', told)


def test_units_and_hook():
    """vmig-snap-hook(8) and vmig-snap-resume.service(8): the operations and the exit codes."""
    source = (ROOT / 'hooks/hook-decide.c').read_text(encoding='utf-8') + \
        (ROOT / 'hooks/hook-facts.c').read_text(encoding='utf-8')
    manual = {word for head in heads(sections(MAN.parent / 'vmig-snap-hook.8')['OPERATIONS']['']) for word in head.split(', ')}
    missing = {word for word in manual if f'"{word}"' not in source}
    check(manual and not missing, 'the hook knows every operation of its page', missing)
    page = (MAN.parent / 'vmig-snap-resume.service.8').read_text(encoding='utf-8').replace('\\-', '-')
    for unit in ('vmig-snap-resume.service', 'vmig-snap@.service'):
        text = (ROOT / f'hooks/{unit}.in').read_text(encoding='utf-8')
        command = re.search(r'^ExecStart=@bindir@/(.*?)(?: %i)?$', text, re.M)[1]
        check(f'.B "{command}"' in page, f'the page has the command of {unit}', command)
        check('man:vmig-snap' in text, f'{unit} names its page')


def test_generated():
    """docs/states.md and docs/errors.md."""
    done = subprocess.run([sys.executable, str(ROOT / 'docs/gen/gen-docs.py'), '--check', str(ROOT)],
                          capture_output=True, text=True, check=False)
    check(done.returncode == 0, 'the generated pages are what the tables say', done.stderr)


def members(value):
    """All names of members in a JSON value."""
    if isinstance(value, dict):
        return set(value).union(*(members(v) for v in value.values()))
    if isinstance(value, list):
        return set().union(*(members(v) for v in value))
    return set()


def test_json():
    """docs/json.md"""
    text = (ROOT / 'docs/json.md').read_text(encoding='utf-8')
    seen, events = set(), set()
    for block in re.findall(r'^```json\n(.*?)^```', text, re.S | re.M):
        documents = [block] if block.startswith('{\n') else block.splitlines()
        for document in documents:
            try:
                value = json.loads(document)
            except ValueError as error:
                check(False, 'every example is JSON', f'{error}: {document}')
                continue
            seen |= members(value)
            events.add(value.get('event'))
    written = set()
    for name in ('plugin/api/documents.c', 'plugin/api/doctor.c', 'plugin/api/verify.c', 'plugin/cli/background.c', 'plugin/cli/outcome.c'):
        source = (ROOT / name).read_text(encoding='utf-8')
        written |= set(re.findall(r'(?:text|number|flag|begin_list|host_member|vmig_json_error|differences_member)\(b, "(\w+)"', source))
        written |= set(re.findall(r'set_member_name\(\w+, "(\w+)"', source))
    check(len(written) > 40 and written == seen, 'every member that is written has an example, and the other way round',
          f'only in the sources: {sorted(written - seen)}\nonly in json.md: {sorted(seen - written)}')
    source = (ROOT / 'plugin/api/documents.c').read_text(encoding='utf-8')
    told = set(re.findall(r'event_new\("(\w+)"', source)) | {'result', 'detached'}
    check(told == events - {None} and all(f'\n### {event}\n' in text for event in told), 'every event has its section',
          told ^ (events - {None}))


if __name__ == '__main__':
    sys.exit(counter.run([test_commands, test_options, test_exit_codes, test_man_is_well_formed, test_references,
                          test_configuration, test_json_page, test_units_and_hook, test_generated, test_json]))
