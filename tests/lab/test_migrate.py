# SPDX-License-Identifier: LGPL-2.1-or-later
"""Live migrations that succeed: every guest arrives with everything that it had, and nothing is left over."""
import contextlib
import json
import os
import re
import shutil
import sys
import xml.etree.ElementTree as ET

import cases
import oracle
from cases import SILENT, TWO, Disk, define, main, one_of_many
from command import DONE, LOCKED, need
from facts import Untouched, backing_names, gather
from lab import IMAGES, IMAGES2, wait_until

OFF = [('off', 'while off'), ('off & on', 'twice')]


def seconds_in(call, state):
    """How long a job was in a state."""
    states = call.states()
    index = [name for _, name in states].index(state)
    return states[index + 1][0] - states[index][0]


def offline_guest(case, first, *others):
    """A guest whose first disk has snapshots, taken while it was off and had no other disk: libvirt requires all disks
    in an internal snapshot, or none."""
    lab = case.lab
    guest = case.guest(disks=[first], tree=None, start=False)
    for name, text in OFF:
        lab.take_snapshot('a', 'g', name, text)
    uuid = lab.virsh('a', 'domuuid', 'g').strip()
    guest.files |= {disk.target: cases.make_disk(lab, 'a', 'g', disk) for disk in others}
    guest.disks += others
    define(lab, 'a', cases.guest_xml(lab, 'g', guest.disks, guest.files, uuid=uuid))
    lab.virsh('a', 'start', 'g')
    lab.wait_writes('a', 'g', 5)
    return guest


def image_snapshots(case, path):
    """The names of an image's own snapshots, according to qemu-img."""
    info = json.loads(case.lab.run('a', ['qemu-img', 'info', '-U', '--output=json', path]).stdout)
    return [snapshot['name'] for snapshot in info.get('snapshots', [])]


# --- disks and chains ----------------------------------------------------------------------------

def test_one_disk(case):
    """The main case: one disk, two snapshots with memory, a guest that keeps writing."""
    move = case.migration(case.guest())
    move.run()
    move.prove_arrived()


def test_three_disks(case):
    """One atomic overlay over all disks, base copies in parallel, one pivot for all."""
    move = case.migration(case.guest(disks=[Disk('vda'), Disk('vdb', size='160M', fill_mb=4),
                                            Disk('vdc', options={'cluster_size': '256k'})]))
    move.run()
    move.prove_arrived()


def chain(case, relative):
    """A disk of three files, each with its own snapshots."""
    disk = Disk('vda', below=(f'{IMAGES}/middle.qcow2', f'{IMAGES}/deep.qcow2'), relative=relative)
    guest = case.guest(disks=[disk])
    need([len(image_snapshots(case, path)) for path in guest.files['vda']] == [2, 1, 1],
         'the lab made the wrong chain')
    return guest


@one_of_many
def test_chain_relative(case):
    """Three files with relative backing names: copied byte for byte, the names stay."""
    move = case.migration(chain(case, True))
    move.run()
    move.prove_arrived()


@one_of_many
def test_chain_absolute(case):
    """Three files with absolute backing names."""
    move = case.migration(chain(case, False))
    move.run()
    move.prove_arrived()


def test_plain_disks_beside(case):
    """A qcow2 disk without snapshots and a raw disk beside the one with snapshots."""
    guest = offline_guest(case, Disk('vda'), Disk('vdb', attributes="snapshot='no'"),
                          Disk('vdc', fmt='raw', attributes="snapshot='no'"))
    move = case.migration(guest)
    need(set(move.before.tree) == {'off', 'off & on'}, 'the lab made no tree', move.before.tree)
    move.run()
    move.prove_arrived(revert=None)
    case.lab.revert('b', 'g', 'off', '--running')
    case.lab.wait_writes('b', 'g', 5)


def test_no_snapshots(case):
    """No snapshots, only the disks: one qcow2 and one raw."""
    move = case.migration(case.guest(disks=[Disk('vda'), Disk('vdb', fmt='raw')], tree=None))
    move.run()
    move.prove_arrived()


def test_large_clusters_and_zeros(case):
    """Holes stay holes: the copy does not occupy more space than the original."""
    guest = case.guest(disks=[Disk('vda', size='4G', fill_mb=2)], tree=TWO[:1])
    move = case.migration(guest)
    move.run()
    move.prove_arrived(revert=None)
    sizes = {host: os.stat(case.lab.path(host, guest.files['vda'][0])).st_blocks * 512 >> 20
             for host in 'ab'}
    need(sizes['b'] < sizes['a'] + 40, 'the copy is larger than the original, MiB:', sizes)


# --- where the files go --------------------------------------------------------------------------

def test_map(case):
    """--map: another path; definition, snapshots and revert know it."""
    guest = case.guest()
    there = f'{IMAGES2}/moved here.qcow2'
    move = case.migration(guest, '--map', f'vda={there}', paths={guest.files['vda'][0]: there})
    move.run()
    move.prove_arrived(revert='two')
    xml = case.lab.virsh('b', 'snapshot-dumpxml', '--domain', 'g', '--snapshotname', 'one')
    need(there in xml and guest.files['vda'][0] not in xml, 'the snapshot names the old path:', xml)


@one_of_many
def test_map_dir_chain(case):
    """--map-dir moves a whole chain; absolute backing names are rewritten."""
    guest = chain(case, False)
    paths = {path: path.replace(IMAGES, IMAGES2) for path in guest.all_files()}
    move = case.migration(guest, '--map-dir', f'{IMAGES}={IMAGES2}', paths=paths)
    move.run()
    move.prove_arrived()
    for path, below in zip(guest.all_files(), guest.all_files()[1:]):
        name, _ = backing_names(case.lab, 'b', paths[path])
        need(name == paths[below], f'{paths[path]} lies on {name}')


@one_of_many
def test_map_dir_relative_chain(case):
    """--map-dir with relative names: they lead to the right files and stay as they are."""
    guest = chain(case, True)
    paths = {path: path.replace(IMAGES, IMAGES2) for path in guest.all_files()}
    move = case.migration(guest, '--map-dir', f'{IMAGES}={IMAGES2}', paths=paths)
    move.run()
    move.prove_arrived()
    name, _ = backing_names(case.lab, 'b', paths[guest.files['vda'][0]])
    need(name == 'middle.qcow2', f'the relative name became {name}')


def test_disk_subset(case):
    """--disk moves one of two disks. The other one must already be there, and libvirt must agree: it accepts a
    read-only file, but not a writable one on storage that is not shared."""
    lab = case.lab
    readonly = Disk('vdb', path=f'{IMAGES2}/readonly.qcow2', xml='<readonly/>')
    guest = case.guest(disks=[Disk('vda'), readonly], cmdline=cases.CALM + ' vmig.disks=a')
    refused = case.call('a', 'migrate', 'g', lab.uri('b'), '--json', '--disk', 'vda')
    need(refused.code == 3 and refused.error['code'] == 'media-missing',
         'a disk that the destination lacks:', refused.code, refused.tail())
    with open(lab.path('a', readonly.path), 'rb') as here:
        lab.path('b', readonly.path).write_bytes(here.read())
    move = case.migration(guest, '--disk', 'vda', moved=['vda'])
    move.run()
    move.prove_arrived()


def test_disk_left_out(case):
    """A writable disk on local storage that is left out: refused before anything is changed."""
    lab = case.lab
    guest = case.guest(disks=[Disk('vda'), Disk('vdb')], cmdline=SILENT)
    lab.make_disk('b', guest.files['vdb'][0], '192M')
    with Untouched(case, guest):
        call = case.call('a', 'migrate', 'g', lab.uri('b'), '--json', '--disk', 'vda')
    need(call.code == 3 and 'vdb' in call.error['message'], call.code, call.tail())


@contextlib.contextmanager
def shared_folder(case, folder):
    """One folder on both hosts, as clients of a cluster file system see it: a FUSE mount of its type on each."""
    lab = case.lab
    behind = lab.dir / 'shared'
    behind.mkdir()
    try:
        for host in 'ab':
            lab.run(host, ['mkdir', '-p', folder])
            lab.run(host, ['bindfs', '-o', 'subtype=glusterfs,allow_other', behind, folder])
        yield
    finally:
        case.clean()
        for host in 'ab':
            lab.run(host, ['umount', '-l', folder], check=False)
            wait_until(lambda host=host: not lab.processes(host, 'bindfs'), 20, 'the end of bindfs')
            lab.run(host, ['rm', '-rf', os.path.dirname(folder)], check=False)
        shutil.rmtree(behind)


def asks_for_access(case, folder):
    """QEMU on the destination cannot use the storage that both hosts share: plan reports it, and the hint helps."""
    lab = case.lab
    above = os.path.dirname(folder)

    def told():
        plan = case.call('a', 'plan', 'g', lab.uri('b'), '--json').document
        return [(r['code'], r['disk'], r['message']) for r in plan['refusals']]

    lab.run('b', ['sh', '-c', f'chown 65534:65534 {above} && chmod 0700 {above}'])
    need(len(told()) == 1 and told()[0][:2] == ('no-access', 'vdb') and above in told()[0][2], 'a closed folder:', told())
    lab.run('b', ['chmod', 'o+x', above])
    lab.run('b', ['mount', '-o', 'remount,bind,ro', folder])
    need(len(told()) == 1 and told()[0][:2] == ('no-access', 'vdb'), 'a mount that takes no writes:', told())
    lab.run('b', ['mount', '-o', 'remount,bind,rw', folder])


def test_disk_on_shared_storage(case):
    """A writable disk on storage that is proven to be the same on both hosts is not moved, even without --disk, and the
    guest keeps using it. (A block device that stays needs a WWN as proof. Loop devices have none, and the lab has no
    others, so only test-plan-stay /plan-stay/block covers it.)"""
    lab = case.lab
    folder = f'{IMAGES2}/cluster/data'
    with shared_folder(case, folder):
        disks = [Disk('vda'), Disk('vdb', path=f'{folder}/data.qcow2', attributes="snapshot='no'")]
        guest = case.guest(disks=disks, tree=None, cmdline=cases.CALM + ' vmig.disks=a')
        asks_for_access(case, folder)
        plan = case.call('a', 'plan', 'g', lab.uri('b'), '--json')
        moved = {disk['target']: disk['moved'] for disk in plan.document['disks']}
        need(plan.code == DONE and moved == {'vda': True, 'vdb': False}, plan.code, plan.tail())
        move = case.migration(guest, moved=['vda'])
        move.run()
        move.prove_arrived(revert=None)
        need(lab.disks('b', 'g')['vdb'] == disks[1].path, 'the disk that stays:', lab.disks('b', 'g'))


def test_source_images_delete(case):
    """--source-images delete: nothing of the guest stays on the source."""
    guest = chain(case, True)
    move = case.migration(guest, '--source-images', 'delete')
    move.run()
    move.prove_arrived(keep=False)


def test_there_and_back(case):
    """The guest migrates, its source images are removed, and it comes back."""
    guest = case.guest()
    move = case.migration(guest, '--source-images', 'delete')
    move.run()
    move.prove_arrived(keep=False, revert=None)
    case.lab.take_snapshot('b', 'g', 'made there')
    back = case.migration(guest, '--source-images', 'delete', source='b', dest='a')
    back.run()
    need(back.call.code == DONE, 'the way back:', back.call.tail())
    case.lab.wait_writes('a', 'g', 5)
    need(list(back.before.tree) == list(gather(case.lab, 'a', guest).tree),
         'the tree changed on the way back')
    need(gather(case.lab, 'a', guest).images == back.before.images,
         'the snapshots changed on the way back')


# --- options -------------------------------------------------------------------------------------

def test_bandwidth(case):
    """--bandwidth is effective: the base copy takes as long as it must, not much longer."""
    guest = case.guest(disks=[Disk('vda', fill_mb=48)])
    move = case.migration(guest, '--bandwidth', '40M')
    call = move.run()
    move.prove_arrived(revert=None)
    wanted = call.result['bytes_copied'] / (40 << 20)
    took = seconds_in(call, 'COPY')
    need(0.8 * wanted < took < 1.5 * wanted + 1, f'COPY took {took:.1f} s at 40 MiB/s, not {wanted:.1f}')
    rates = [event['rate'] for _, event in call.events
             if event['event'] == 'progress' and event['phase'] == 'COPY' and event['rate']]
    # The start may use what the token bucket has saved up.
    need(rates and max(rates[len(rates) // 2:]) < 80 << 20, 'rates told at 40 MiB/s:', rates)
    told = [when for when, event in call.events if event['event'] == 'progress' and event['phase'] == 'MIGRATE']
    gaps = [later - when for when, later in zip(told, told[1:])]
    need(len(told) > 4 and max(gaps) < 3, 'while libvirt migrated, nothing was told for', gaps)


def test_migration_options(case):
    """--max-downtime, --auto-converge and --timeout reach libvirt."""
    move = case.migration(case.guest(), '--max-downtime', '200', '--auto-converge', '--timeout', '60')
    move.run()
    move.prove_arrived(revert=None)


def test_detach(case):
    """--detach: the command exits at once and names the job that continues; status follows it."""
    move = case.migration(case.guest())
    with contextlib.ExitStack() as stack:
        move.watch = stack.enter_context(oracle.RunnerWatch(case.lab, 'g'))
        move.call = case.call('a', 'migrate', 'g', case.lab.uri('b'), '--detach', '--json',
                              '--bandwidth', '60M')
        need(move.call.code == DONE, 'exit code', move.call.code, move.call.tail())
        said = move.call.document
        need(said['event'] == 'detached' and re.fullmatch('[0-9a-f]{16}', said['job']),
             'it said', said)
        job = said['job']
        status = case.call('a', 'status', job, '--json').document['jobs'][0]
        need(status['job'] == job and status['domain'] == 'g' and not status['ended'],
             'status right after:', status)
        by_name = case.call('a', 'status', 'g', '--json').document['jobs'][0]
        need(by_name['job'] == job, 'status by name:', by_name)
        second = case.call('a', 'migrate', 'g', case.lab.uri('b'), '--json')
        need(second.code == LOCKED and job in second.error['message'],
             'a second one meanwhile:', second.code, second.tail())
        wait_until(lambda: case.call('a', 'status', job, '--json').document['jobs'][0]['state'] ==
                   'DONE', 60, 'the end of the job')
    move.prove_arrived(json_lines=False)
    log = case.lab.path('a', said['log']).read_text()
    need('done' in log.lower() or 'DONE' in log, 'the log does not say how it ended:', log)


def test_quiet(case):
    """--quiet prints nothing at all if all is well."""
    move = case.migration(case.guest(tree=TWO[:1]), '--quiet')
    call = move.run(json_lines=False)
    need(call.stdout == '' and call.stderr == '', 'it said', call.stdout, call.stderr)
    move.prove_arrived(json_lines=False, revert=None)


def test_words(case):
    """Without --json: text, and no control characters if there is no terminal."""
    move = case.migration(case.guest(tree=TWO[:1]))
    call = move.run(json_lines=False)
    need('\x1b' not in call.stdout and '\r' not in call.stdout, 'control characters:', call.stdout)
    need(call.stderr == '' and 'vmig-b' in call.stdout, 'it said', call.stdout, call.stderr)
    move.prove_arrived(json_lines=False, revert=None)


# --- snapshots -----------------------------------------------------------------------------------

def test_tree(case):
    """A tree with branches, and names and descriptions that need quoting, each snapshot with memory."""
    tree = [*cases.guests.TREE, ('take', '  two  blanks  ', 'Ünïcödé → 漢字 \t tab'),
            ('take', 'a.b:c;d|e*?[f]', '{"json": "like"}'), ('revert', "it's 100% ü", None),
            ('take', '~$HOME`id`%s%n', 'another branch')]
    move = case.migration(case.guest(tree=tree))
    parents = {name: facts['parent'] for name, facts in move.before.tree.items()}
    need(len(parents) == 7 and len(set(parents.values())) < 7, 'the lab made no tree:', parents)
    move.run()
    move.prove_arrived(revert="it's 100% ü")
    case.lab.revert('b', 'g', '~$HOME`id`%s%n')
    case.lab.wait_writes('b', 'g', 5)
    case.lab.take_snapshot('b', 'g', 'one more')
    case.lab.virsh('b', 'snapshot-delete', '--domain', 'g', '--snapshotname', '7')


def test_snapshot_without_metadata(case):
    """A snapshot that only the image has is migrated, and plan reports it."""
    guest = case.guest(tree=None, start=False)
    path = guest.files['vda'][0]
    case.lab.run('a', ['qemu-img', 'snapshot', '-c', 'only & here', path])
    case.lab.virsh('a', 'start', 'g')
    case.lab.wait_writes('a', 'g', 5)
    case.lab.take_snapshot('a', 'g', 'known')
    notes = case.call('a', 'plan', 'g', case.lab.uri('b'), '--json').document['notes']
    need(any('only & here' in note for note in notes), 'plan does not tell:', notes)
    move = case.migration(guest)
    need([fact.name for fact in move.before.images[path]] == ['only & here', 'known'])
    move.run()
    move.prove_arrived()


def test_metadata_without_snapshot(case):
    """A snapshot that only libvirt has: plan reports it, and it exists again afterwards."""
    guest = case.guest()
    case.lab.virsh('a', 'destroy', 'g')
    case.lab.run('a', ['qemu-img', 'snapshot', '-d', 'one', guest.files['vda'][0]])
    case.lab.virsh('a', 'start', 'g')
    case.lab.wait_writes('a', 'g', 5)
    notes = case.call('a', 'plan', 'g', case.lab.uri('b'), '--json').document['notes']
    need(any('one' in note for note in notes), 'plan does not tell:', notes)
    move = case.migration(guest)
    move.run()
    move.prove_arrived(revert='two')


# --- the guest -----------------------------------------------------------------------------------

def test_paused_guest(case):
    """A guest that its user paused arrives paused, and never runs in between."""
    guest = case.guest()
    case.lab.virsh('a', 'suspend', 'g')
    move = case.migration(guest)
    move.run()
    ran = [states for _, states in move.watch.changes if 'running' in states.values()]
    need(not ran and not case.lab.console('b', 'g'), 'the guest ran:', ran)
    move.prove_arrived(revert=None)
    case.lab.virsh('b', 'resume', 'g')
    case.lab.wait_writes('b', 'g', 5)
    need(oracle.check_writes(case.lab, 'b', 'g').ok, 'after the resume')


def test_autostart(case):
    """Autostart is migrated, and the source does not start the guest again."""
    guest = case.guest(tree=TWO[:1])
    case.lab.virsh('a', 'autostart', 'g')
    move = case.migration(guest)
    move.run()
    move.prove_arrived(revert=None)
    links = case.lab.path('a', '/etc/libvirt/qemu/autostart')
    need(not links.exists() or not list(links.iterdir()), 'autostart is left on the source')


def test_definition(case):
    """Title, description and foreign metadata arrive unchanged."""
    text = ('  <title>A &amp; B — ü</title>\n'
            '  <description><![CDATA[if (a < b && c) { "quoted" }\nline two ]]]]><![CDATA[> end]]>'
            '</description>\n'
            '  <metadata><app:x xmlns:app="http://example.org/app/1" kind="a&amp;b">'
            '<app:y/> t&lt;xt </app:x></metadata>\n')
    guest = case.guest(tree=TWO[:1],
                       edit=lambda xml: xml.replace('  <memory ', text + '  <memory ', 1))
    move = case.migration(guest)
    move.run()
    move.prove_arrived(revert=None)
    for kind in ([], ['--inactive']):
        root = ET.fromstring(case.lab.virsh('b', 'dumpxml', 'g', *kind))
        need(root.findtext('description') ==
             'if (a < b && c) { "quoted" }\nline two ]]> end', root.findtext('description'))
        need(root.find('metadata/{http://example.org/app/1}x').text is None or
             root.find('metadata/{http://example.org/app/1}x').get('kind') == 'a&b', 'metadata')


def test_odd_names(case):
    """A domain and images with blanks, quotes and UTF-8 in their names."""
    name = "Zoë's g & <b> 100%"
    disk = Disk('vda', path=f"{IMAGES}/it's % \"ü\" & <x>.qcow2")
    xml = case.lab.guest_xml('odd', [{'path': disk.path}], memory_mib=128, cmdline=cases.CALM)
    cases.make_disk(case.lab, 'a', 'odd', disk)
    define(case.lab, 'a', xml.replace('<name>odd</name>',
                                      '<name>Zoë\'s g &amp; &lt;b&gt; 100%</name>'))
    case.lab.virsh('a', 'start', name)
    wait_until(lambda: case.lab.count_writes('a', 'odd').get('a', 0) > 10, 30, 'writes')
    case.lab.take_snapshot('a', name, 'one')
    facts = oracle.image_facts(case.lab, 'a', disk.path)
    call = case.call('a', 'migrate', name, case.lab.uri('b'), '--json')
    need(call.code == DONE, 'exit code', call.code, call.tail())
    need(call.result['domain'] == name, 'the result names', call.result['domain'])
    need(oracle.image_facts(case.lab, 'b', disk.path) == facts, 'the snapshots changed')
    before = case.lab.count_writes('b', 'odd').get('a', 0)
    wait_until(lambda: case.lab.count_writes('b', 'odd').get('a', 0) > before + 5, 30, 'writes there')
    case.lab.revert('b', name, 'one')


def test_i440fx(case):
    """The other machine type, two CPUs, a cdrom that both hosts have."""
    lab = case.lab
    for host in 'ab':
        lab.run(host, ['truncate', '-s', '1M', f'{IMAGES}/medium.iso'])
    cdrom = (f"<disk type='file' device='cdrom'><driver name='qemu' type='raw'/>"
             f"<source file='{IMAGES}/medium.iso'/><target dev='hdc' bus='ide'/><readonly/></disk>")
    move = case.migration(case.guest(machine='pc-i440fx-7.2', vcpus=2, devices=cdrom))
    move.run()
    move.prove_arrived()


# --- plan, status, list --------------------------------------------------------------------------

def test_plan(case):
    """plan reports everything and changes nothing; so does migrate --dry-run."""
    guest = case.guest(disks=[Disk('vda'), Disk('vdb', fill_mb=0)], cmdline=SILENT)
    for argv in (['plan', 'g', case.lab.uri('b'), '--json'], ['plan', 'g', case.lab.uri('b')],
                 ['migrate', 'g', case.lab.uri('b'), '--dry-run', '--json'], ['plan', 'g',
                  case.lab.uri('b'), '--json', '--map-dir', f'{IMAGES}={IMAGES2}']):
        with Untouched(case, guest):
            call = case.call('a', *argv)
        need(call.code == DONE, argv, 'exit code', call.code, call.tail())
        if '--json' not in argv:
            need('vda' in call.stdout and 'vmig-b' in call.stdout and 'two' in call.stdout,
                 call.stdout)
            continue
        plan = call.document
        need(plan['can_migrate'] and plan['refusals'] == [], plan)
        need([disk['target'] for disk in plan['disks'] if disk['moved']] == ['vda', 'vdb'], plan)
        need([s['name'] for s in plan['disks'][0]['chain'][0]['snapshots']] == ['one', 'two'], plan)
        need({s['name']: s['parent'] for s in plan['snapshots']} == {'one': None, 'two': 'one'}, plan)
        need(plan['bytes_to_copy'] > 60 << 20 and plan['destination_needs'] > plan['bytes_to_copy']
             and plan['source']['libvirt'] and plan['destination']['qemu'], plan)


def test_plan_all_refusals(case):
    """Every reason at once, each with its code and remedy."""
    lab = case.lab
    guest = case.guest(disks=[Disk('vda'), Disk('vdb')], cmdline=SILENT, tree=TWO[:1])
    lab.make_disk('b', guest.files['vda'][0], '1M')
    define(lab, 'b', lab.guest_xml('g', []))
    lab.run('a', ['touch', f'{IMAGES}/m.iso'])
    lab.virsh('a', 'attach-disk', 'g', f'{IMAGES}/m.iso', 'sda', '--type', 'cdrom', '--config',
              check=False)
    lab.virsh('a', 'blockcopy', 'g', 'vdb', f'{IMAGES2}/copy.qcow2', '--transient-job',
              '--bandwidth', '1', '--bytes', check=False)
    with Untouched(case, guest):
        call = case.call('a', 'plan', 'g', lab.uri('b'), '--json', '--map', 'vdb=/etc/x.qcow2',
                         '--postcopy')
    lab.virsh('a', 'blockjob', 'g', 'vdb', '--abort', check=False)
    codes = {refusal['code'] for refusal in call.document['refusals']}
    wanted = {'destination-exists', 'domain-exists', 'block-job', 'outside-roots', 'unsupported'}
    need(call.code == 3 and wanted <= codes, 'refusals', codes, 'not', wanted - codes)
    need(all(refusal['message'] for refusal in call.document['refusals']), call.document)


def test_status_and_list(case):
    """Afterwards both hosts know the job, by ID and by domain; no job is unfinished."""
    move = case.migration(case.guest(tree=TWO[:1]))
    job = move.run().result['job']
    move.prove_arrived(revert=None)
    for host, role in (('a', 'source'), ('b', 'destination')):
        need(case.call(host, 'status', '--json').document == {'jobs': []}, 'open jobs on', host)
        listed = case.call(host, 'list', '--all', '--json').document['jobs']
        mine = [entry for entry in listed if entry['job'] == job]
        need(len(mine) == 1, f'list on {host}:', listed)
        entry = mine[0]
        need((entry['state'], entry['role'], entry['domain'], entry['owner'], entry['error']) ==
             ('DONE', role, 'g', 'dest', None) or entry['owner'], f'list on {host}:', entry)
        need((entry['state'], entry['role'], entry['source'], entry['destination']) ==
             ('DONE', role, 'vmig-a', 'vmig-b') and entry['ended'] >= entry['started'] > 0,
             f'list on {host}:', entry)
        need(listed[0]['job'] == job, 'the newest is not first:', listed)
        one = case.call(host, 'status', job, '--json').document['jobs']
        need(len(one) == 1 and one[0] == entry, f'status {job} on {host}:', one)
        need(job in case.call(host, 'list', '--all').stdout, 'list in words')
    missing = case.call('a', 'status', 'nobody', '--json')
    need(missing.code == 2, 'status of an unknown job:', missing.code, missing.tail())


def test_large_snapshots(case):
    """12 snapshots with 18 MB of definitions, more than fits into one message to the other host: migrated and rolled
    back by a failure, then migrated with the tool killed after the switchover and resumed by the destination."""
    lab = case.lab
    guest = case.guest(tree=None, start=False)
    path = guest.files['vda'][0]
    names = [f"s{i}" for i in range(12)]
    lab.run('a', ['sh', '-c', f'for n in {" ".join(names)}; do qemu-img snapshot -c $n {path} || exit 1; done'])
    domain = lab.virsh('a', 'dumpxml', 'g', '--security-info')
    folder = lab.path('a', '/run/redefine')
    folder.mkdir()
    for i, name in enumerate(names):
        parent = f'<parent><name>{names[i - 1]}</name></parent>' if i else ''
        (folder / name).write_text(
            f'<domainsnapshot><name>{name}</name><description>{(name + ", kept &lt;by hand&gt; ") * 60000}</description>'
            f'<state>shutoff</state>{parent}<creationTime>{1700000000 + i}</creationTime><memory snapshot="no"/>'
            f'<disks><disk name="vda" snapshot="internal"/></disks>{domain}</domainsnapshot>')
    lab.virsh('a', '; '.join(f'snapshot-create g /run/redefine/{name} --redefine' for name in names))
    lab.virsh('a', 'snapshot-current', 'g', names[-1])
    lab.virsh('a', 'start', 'g')
    lab.wait_writes('a', 'g', 5)
    move = case.migration(guest)
    move.run(fault='DROP_METADATA.leave:error:interference')
    move.prove_back('interference')
    move = case.migration(guest)
    move.start(fault='activate.ended:kill')
    move.finish()
    status = case.call('b', 'status', 'g', '--json', timeout=10)
    need(status.code in (0, 5, 6), 'status', status.code, status.tail())
    move.call = case.call('b', 'resume', 'g', '--json', timeout=120)
    move.prove_arrived(revert=None)


if __name__ == '__main__':
    sys.exit(main(__file__, globals()))
