# SPDX-License-Identifier: LGPL-2.1-or-later
"""The parts of tests/packages/run."""
import hashlib
import os
import pathlib
import re
import shutil
import signal
import subprocess

import debs
import policies
from clitest import Counter
from roots import Root, bootstrap, sh

ROOT = pathlib.Path(__file__).resolve().parents[2]
VERSION = re.search(r"version: '([^']+)'", (ROOT / 'meson.build').read_text())[1]
NEWER = VERSION + '+newer'
PACKAGES = ('vmig-snap', 'libvmig-snap0', 'libvmig-snap-dev', 'gir1.2-vmigsnap-1.0')
JOB = '0123456789abcdef'
HOOKS = ('etc/libvirt/hooks/qemu.d/50-vmig-snap', 'etc/libvirt/hooks/daemon.d/50-vmig-snap')
LOCAL = 'etc/apparmor.d/local/abstractions/libvirt-qemu'
ABSTRACTION = 'etc/apparmor.d/abstractions/libvirt-qemu'
LINE = 'include if exists <abstractions/libvirt-qemu.d/vmig-snap>'
# Which files (as regular expressions) each Debian package has, apart from its copyright and changelog. Every other file
# is a failure, and so is an expression that matches nothing.
CONTENTS = {
    'vmig-snap': [
        r'etc/apparmor.d/abstractions/libvirt-qemu.d/vmig-snap', *map(re.escape, HOOKS),
        r'(usr/)?lib/systemd/system/vmig-snap-resume.service', r'(usr/)?lib/systemd/system/vmig-snap@.service',
        r'usr/bin/vmig-snap', r'usr/bin/vmig-snap-hook', r'usr/lib/tmpfiles.d/vmig-snap.conf',
        r'usr/share/bash-completion/completions/vmig-snap', r'usr/share/polkit-1/actions/org.vmig-snap.policy',
        r'usr/share/polkit-1/rules.d/60-vmig-snap.rules', r'usr/share/selinux/packages/vmig_snap.pp',
        r'usr/share/vmig-snap/policy.d/(default|patient|quick).conf', r'usr/share/man/man1/vmig-snap.1.gz',
        r'usr/share/man/man5/vmig-snap.conf.5.gz', r'usr/share/man/man7/vmig-snap-json.7.gz',
        r'usr/share/man/man8/vmig-snap-(agent|hook|resume.service).8.gz', r'usr/share/man/man8/vmig-snap@.service.8.gz',
        r'usr/share/doc/vmig-snap/(NEWS|README.md|[a-z-]+.md)(.gz)?',
    ],
    'libvmig-snap0': [r'usr/lib/[^/]+/libvmig-snap.so.0', r'usr/lib/[^/]+/libvmig-snap.so.0.0.0'],
    'libvmig-snap-dev': [r'usr/include/vmig-snap/vmig-[a-z-]+.h', r'usr/lib/[^/]+/libvmig-snap.so',
                         r'usr/lib/[^/]+/pkgconfig/vmig-snap.pc', r'usr/share/gir-1.0/VmigSnap-1.0.gir'],
    'gir1.2-vmigsnap-1.0': [r'usr/lib/[^/]+/girepository-1.0/VmigSnap-1.0.typelib'],
}

# What the test itself leaves in a root.
OF_THE_TEST = {'reloads', 'usr/bin/systemctl', 'usr/local/sbin/libvirtd'}

# Stands in for systemctl: records how it is called; libvirtd is active.
SYSTEMCTL = '''#!/bin/sh
echo "$*" >> /systemctl.log
case "$*" in
    *is-active*virtqemud*) exit 3 ;;
esac
exit 0
'''
# A process of that name which SIGHUP reaches.
DAEMON = '''#!/bin/sh
trap 'echo reloaded >> /reloads' HUP
echo $$ > /run/libvirtd.pid
while true; do read -r line < /run/never || true; done
'''


def lines(*argv, **options):
    """The output of a command as lines."""
    return subprocess.run([str(word) for word in argv], check=True, capture_output=True, text=True, **options).stdout.splitlines()


def package_of(path):
    """The name of the package in a file vmig-snap_0.1.0_amd64.deb."""
    return path.name.split('_')[0]


def files_of(deb):
    """The files of a .deb, without folders."""
    return {re.sub(r'^\./', '', line.split(None, 5)[5].split(' -> ')[0]) for line in lines('dpkg-deb', '-c', deb)
            if not line.startswith('d')}


class Packages:
    """The parts in their order; each says what it proves."""

    def __init__(self, scratch, build):
        self.scratch, self.build = scratch, build
        self.counter, self.daemons = Counter(), []
        self.check = self.counter.check
        self.first = scratch / 'first'
        # Taken once: a file that is edited during the test does not make two builds different.
        self.tree = scratch / 'tree'
        debs.export(self.tree)

    def run(self, wanted):
        """Run these parts; the exit code."""
        return self.counter.run([getattr(self, f'test_{name}') for name in wanted])

    def close(self):
        """End what still runs."""
        for process in self.daemons:
            process.kill()
            process.wait()

    def debs(self):
        """{package: file} of the first build."""
        return {package_of(path): path for path in (self.first / 'debs').glob('*.deb')}

    # --- building ---

    def test_dist(self):
        """The tarball builds and passes its unit tests outside of git."""
        where = self.scratch / 'dist'
        sh('meson', 'setup', where / 'git', ROOT, '-Dtests=false', stdout=subprocess.DEVNULL)
        done = subprocess.run(['meson', 'dist', '-C', where / 'git', '--no-tests', '--allow-dirty'], capture_output=True,
                              text=True, check=False)
        self.check(done.returncode == 0, 'meson dist', done.stdout + done.stderr)
        [tarball] = (where / 'git/meson-dist').glob('*.tar.xz')
        sh('tar', '-xf', tarball, '-C', where)
        source, build = where / f'vmig-snap-{VERSION}', where / 'build'
        steps = [['meson', 'setup', build, source], ['ninja', '-C', build],
                 ['meson', 'test', '-C', build, '--no-rebuild', '--suite', 'unit', '--suite', 'style']]
        for argv in steps:
            done = subprocess.run([*map(str, argv)], capture_output=True, text=True, check=False)
            self.check(done.returncode == 0, f'the tarball: {" ".join(argv[:2])}', done.stdout[-4000:] + done.stderr[-2000:])
        self.check('-Werror' not in (build / 'build.ninja').read_text(), 'a warning is no error in a tarball')
        self.build = self.build or build

    def test_debs(self):
        """dpkg-buildpackage builds the four packages, with the version of meson.build."""
        code, log = debs.build(self.tree, self.first)
        self.check(code == 0, 'dpkg-buildpackage', log)
        names = {name for name in self.debs() if not name.endswith('-dbgsym')}
        self.check(names == set(PACKAGES), 'the packages that there must be', names)
        for name in PACKAGES:
            version = lines('dpkg-deb', '-f', self.debs()[name], 'Version')
            self.check(version == [VERSION], f'{name} has the version of meson.build', version)
        spec = re.search(r'^Version:\s+(\S+)$', (ROOT / 'vmig-snap.spec').read_text(), re.M)[1]
        self.check(spec == VERSION, 'and the spec file too', spec)

    def test_lintian(self):
        """lintian finds neither an error nor a warning."""
        [changes] = self.first.glob('*.changes')
        for path in (self.first / 'debs').glob('*.deb'):
            (self.first / path.name).hardlink_to(path)
        done = subprocess.run(['lintian', '--allow-root', '--fail-on', 'error,warning', changes], capture_output=True, text=True,
                              check=False)
        self.check(done.returncode == 0 and not re.search(r'^[EW]:', done.stdout, re.M), 'lintian', done.stdout + done.stderr)

    def test_contents(self):
        """Each package has its files, and the library the symbols of the map."""
        for name in PACKAGES:
            found, unused = files_of(self.debs()[name]), []
            common = {f'usr/share/doc/{name}/copyright', f'usr/share/doc/{name}/changelog.gz'}
            self.check(common <= found, f'{name} has its copyright and changelog', common - found)
            found -= common
            for pattern in CONTENTS[name]:
                matching = {file for file in found if re.fullmatch(pattern, file)}
                unused += [] if matching else [pattern]
                found -= matching
            self.check(not found and not unused, f'{name} has its files and no others', f'{found} {unused}')
        symbols = (ROOT / 'debian/libvmig-snap0.symbols').read_text()
        mapped = set(re.findall(r'^    (vmig_\w+);', (ROOT / 'plugin/libvmig-snap.map').read_text(), re.M))
        listed = set(re.findall(r'^ (vmig_\w+)@VMIG_SNAP_0 ', symbols, re.M))
        self.check(listed == mapped, 'the symbols file has the symbols of the map', listed ^ mapped)
        depends = lines('dpkg-deb', '-f', self.debs()['vmig-snap'], 'Depends')[0]
        for word in ('libvirt-daemon-system', 'qemu-utils', 'openssh-client', f'libvmig-snap0 (= {VERSION})'):
            self.check(word in depends, f'vmig-snap depends on {word}', depends)

    def test_reproducible(self):
        """Another path, another umask, another locale, another number of jobs: the same files."""
        # dpkg-buildflags does not map paths with blanks, so that those stay in what is built.
        other = self.scratch / 'a-longer-path' / 'second'
        code, log = debs.build(self.tree, other, jobs=1, umask=0o077, env={'LC_ALL': 'C', 'TZ': 'Pacific/Auckland', 'HOME': '/nonexistent'})
        self.check(code == 0, 'dpkg-buildpackage elsewhere', log)

        def sums(folder):
            return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (folder / 'debs').glob('*.deb')}
        one, two = sums(self.first), sums(other)
        self.check(one == two != {}, 'both builds are the same, byte for byte',
                   [name for name in {*one, *two} if one.get(name) != two.get(name)])

    def test_rpm(self):
        """The spec file builds, with the macros that Debian lacks, and divides the files as debian/ does."""
        where = self.scratch / 'rpm'
        (where / 'SOURCES').mkdir(parents=True)
        shutil.copytree(self.tree, where / f'vmig-snap-{VERSION}', symlinks=True)
        sh('tar', '-cJf', where / f'SOURCES/vmig-snap-{VERSION}.tar.xz', '-C', where, f'vmig-snap-{VERSION}')
        units = lines('pkg-config', '--variable=systemdsystemunitdir', 'systemd')[0]
        macros = {
            '_topdir': where, '_unitdir': units, '_tmpfilesdir': '/usr/lib/tmpfiles.d', 'meson_build': 'ninja -C build -j2',
            'meson': 'meson setup build --prefix=/usr --libdir=%{_libdir} --sysconfdir=/etc --buildtype=plain',
            'meson_install': 'DESTDIR=%{buildroot} meson install -C build --no-rebuild',
            **{f'systemd_{when}()': '%{nil}' for when in ('post', 'preun', 'postun')}}
        defines = [word for name, value in macros.items() for word in ('--define', f'{name} {value}')]
        done = subprocess.run(['rpmbuild', '-bb', '--nodeps', *defines, str(ROOT / 'vmig-snap.spec')], capture_output=True, text=True,
                              check=False)
        self.check(done.returncode == 0, 'rpmbuild', done.stdout[-3000:] + done.stderr[-3000:])
        rpms = sorted((where / 'RPMS').rglob('*.rpm'))
        names = {re.sub(rf'-{VERSION}.*', '', path.name) for path in rpms}
        self.check(names == {'vmig-snap', 'libvmig-snap', 'libvmig-snap-devel', 'vmig-snap-selinux'}, 'the packages', names)

        def plain(files):
            # The last two parts of the path: /usr/lib/x86_64-linux-gnu is /usr/lib64 there.
            return {re.sub(r'\.gz$', '', '/'.join(file.split('/')[-2:])) for file in files
                    if '/doc/' not in file and '/licenses/' not in file and '/apparmor.d/' not in f'/{file}' and
                    '.build-id' not in file}
        packed = [line.split() for path in rpms for line in lines('rpm', '-qp', '--qf', '[%{FILEMODES:perms} %{FILENAMES}\n]', path)]
        theirs = {re.sub(r'^lib64/', 'LIB/', name) for name in plain(name for mode, name in packed if mode[0] != 'd')}
        ours = {re.sub(r'^[a-z0-9_]+-linux-gnu/', 'LIB/', name)
                for package in PACKAGES for name in plain(files_of(self.debs()[package]))}
        self.check(theirs == ours, 'the same files as in the Debian packages', theirs ^ ours)

    # --- installing ---

    def newer(self, folder):
        """The same packages with a higher version."""
        folder.mkdir()
        for name in PACKAGES:
            tree = self.scratch / 'repack' / name
            tree.parent.mkdir(exist_ok=True)
            sh('dpkg-deb', '-R', self.debs()[name], tree)
            control = tree / 'DEBIAN/control'
            control.write_text(control.read_text().replace(f'Version: {VERSION}\n', f'Version: {NEWER}\n')
                               .replace(f'(= {VERSION})', f'(= {NEWER})'))
            sh('dpkg-deb', '--root-owner-group', '-b', tree, folder, stdout=subprocess.DEVNULL)
        shutil.rmtree(self.scratch / 'repack')
        return folder

    def put(self, root, folder, name):
        """The packages inside the root, in a folder; without those with debugging symbols."""
        root.at(name).mkdir(parents=True)
        for path in folder.glob('*.deb'):
            if package_of(path) in PACKAGES:
                shutil.copy(path, root.at(name))

    def dpkg(self, root, text, *argv, env=None):
        """Run a command of a package manager inside that must succeed."""
        done = root.run(*argv, env=env)
        self.check(done.returncode == 0, text, done.stdout)
        return done

    def status(self, root, name='vmig-snap'):
        """What dpkg says of a package."""
        return root.run('dpkg-query', '-W', '-f', '${db:Status-Status} ${Version}', name).stdout

    def journal(self, root, kind):
        """A journal with an unfinished job (0) or with one that has ended."""
        folder = root.at('/var/lib/vmig-snap')
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700)
        sh(self.build / 'tests/cli/make-journal', folder / 'journal.db', root.read('/etc/machine-id').strip() or 'none', kind)

    def daemon(self, root):
        """A libvirtd that notices SIGHUP."""
        root.write('/usr/local/sbin/libvirtd', DAEMON, 0o755)
        os.mkfifo(root.at('/run/never'))
        self.daemons.append(subprocess.Popen(['chroot', root.path, '/usr/local/sbin/libvirtd'], stderr=subprocess.DEVNULL))
        fifo = os.open(root.at('/run/never'), os.O_WRONLY)  # waits for the daemon
        return self.daemons[-1], fifo

    def reloads(self, root, fifo):
        """How often SIGHUP came: the trap runs before the next line is read."""
        os.write(fifo, b'\n')
        os.close(fifo)
        process = self.daemons.pop()
        process.send_signal(signal.SIGKILL)
        process.wait()
        root.forget('/run/never', '/run/libvirtd.pid')
        return root.read('/reloads').count('reloaded')

    def installed(self, root, version):
        """What an installation must have done."""
        for name in PACKAGES:
            self.check(self.status(root, name) == f'installed {version}', f'{name} {version} is installed', self.status(root, name))
        said = root.run('vmig-snap', '--version').stdout
        self.check(said == f'vmig-snap {VERSION}\n', 'the command runs', said)
        self.check(root.run('vmig-snap', '--list-faults').returncode != 0, 'it has no fault points')
        for link in HOOKS:
            done = root.run(f'/{link}')
            self.check(done.returncode == 2 and 'called by libvirt' in done.stdout, f'/{link} runs', done.stdout)
        wants = root.at('/etc/systemd/system/multi-user.target.wants/vmig-snap-resume.service')
        self.check(wants.is_symlink(), 'vmig-snap-resume.service is enabled')

    def life(self, root, install, apparmor):
        """From the installation to the purge. install: installs the packages of a folder."""
        self.put(root, self.first / 'debs', '/debs/now')
        self.put(root, self.newer(self.scratch / f'newer-{root.folder.name}'), '/debs/newer')
        _, fifo = self.daemon(root)
        self.dpkg(root, 'the packages are installed', *install('/debs/now'))
        self.check(self.reloads(root, fifo) == 1, 'libvirtd is told to look for hooks', root.read('/reloads'))
        self.installed(root, VERSION)
        apparmor(root)
        self.upgrade(root, install)
        self.removal(root)

    def upgrade(self, root, install):
        """In the middle of a job: nothing is started, stopped or restarted; the job's folder keeps its modes."""
        self.journal(root, '0')
        job = root.at(f'/run/vmig-snap/{JOB}')
        job.mkdir(parents=True, mode=0o711)
        job.parent.chmod(0o711)
        job.chmod(0o1711)
        root.write('/etc/vmig-snap/vmig-snap.conf', '[vmig-snap]\n')
        root.at('/run/systemd/system').mkdir(parents=True)
        # In place of the real one: apt runs dpkg with a PATH of its own.
        real = root.at('/usr/bin/systemctl').read_bytes() if root.at('/usr/bin/systemctl').exists() else None
        root.write('/usr/bin/systemctl', SYSTEMCTL, 0o755)
        root.forget('/usr/sbin/policy-rc.d')
        self.dpkg(root, 'the packages are upgraded in the middle of a job', *install('/debs/newer'))
        calls = root.read('/systemctl.log').splitlines()
        self.check([call for call in calls if call.split()[0] == 'reload'] == ['reload libvirtd.service'],
                   'an upgrade reloads libvirtd once', calls)
        wrong = [call for call in calls if re.search(r'\b(re)?start\b|\bstop\b', call)]
        self.check(not wrong, 'it starts, stops and restarts nothing', wrong)
        self.installed(root, NEWER)
        modes = [oct(path.stat().st_mode & 0o7777) for path in (job.parent, job)]
        self.check(modes == ['0o711', '0o1711'], "QEMU's user still reaches the job's sockets", modes)
        root.forget('/run/systemd', '/usr/bin/systemctl', '/systemctl.log')
        if real is not None:
            root.at('/usr/bin/systemctl').write_bytes(real)
            root.at('/usr/bin/systemctl').chmod(0o755)
        root.write('/usr/sbin/policy-rc.d', '#!/bin/sh\nexit 101\n', 0o755)

    def removal(self, root):
        """Not while a job is unfinished; then without traces, and the journal outlives the purge."""
        done = root.run('dpkg', '--remove', 'vmig-snap')
        self.check(done.returncode != 0 and JOB in done.stdout and 'resume JOB' in done.stdout,
                   'the package of an unfinished job is not removed', done.stdout)
        self.installed(root, NEWER)
        self.journal(root, 'older-ended')
        journal = root.at('/var/lib/vmig-snap/journal.db').read_bytes()
        self.dpkg(root, 'the packages are removed', 'dpkg', '--remove', *PACKAGES)
        left = [path for path in root.changes() if 'vmig' in path]
        allowed = {'etc/vmig-snap', 'etc/vmig-snap/vmig-snap.conf', 'var/lib/vmig-snap', 'var/lib/vmig-snap/journal.db',
                   'etc/apparmor.d/abstractions/libvirt-qemu.d/vmig-snap',
                   # debhelper's own way: whether a unit is enabled is configuration too.
                   'etc/systemd/system/multi-user.target.wants/vmig-snap-resume.service'}
        self.check(set(left) <= allowed, 'the configuration and the journal are left', set(left) - allowed)
        self.check(LINE not in root.read(LOCAL), "and no line in AppArmor's local file", root.read(LOCAL))
        self.dpkg(root, 'the packages are purged', 'dpkg', '--purge', *PACKAGES)
        left = root.changes() - self.before - {'var/lib/vmig-snap'}
        self.check(left == {'var/lib/vmig-snap/journal.db'}, 'a purge leaves the journal only', left)
        self.check(root.at('/var/lib/vmig-snap/journal.db').read_bytes() == journal, 'and does not change it')
        self.check(not root.at('/run/vmig-snap').exists(), 'nothing is left in /run')

    def test_machine(self):
        """The packages on this machine's own files."""
        root = Root(self.scratch / 'machine')
        root.run('dpkg', '--purge', '--force-depends', *PACKAGES)
        root.forget('/var/lib/vmig-snap', '/etc/vmig-snap', '/etc/libvirt/hooks', *(f'/{link}' for link in HOOKS))
        # As libvirt-daemon-system 9.0 has them; this machine may not have it.
        root.write(ABSTRACTION, '  #include <abstractions/base>\n  #include <local/abstractions/libvirt-qemu>\n')
        root.write(LOCAL, "# the administrator's\n/srv/key r,\n")
        self.before = root.changes() | OF_THE_TEST

        def apparmor(root):
            self.check(root.read(LOCAL) == f"# the administrator's\n/srv/key r,\n{LINE}\n",
                       "libvirt's abstraction includes the rules", root.read(LOCAL))
            root.write(ABSTRACTION, '  include if exists <abstractions/libvirt-qemu.d>\n')
            root.run('dpkg-trigger', '--by-package=vmig-snap', '--no-await', f'/{ABSTRACTION}')
            self.dpkg(root, 'libvirt is upgraded', 'dpkg', '--triggers-only', 'vmig-snap')
            self.check(root.read(LOCAL) == "# the administrator's\n/srv/key r,\n", 'libvirt 11 needs no line there',
                       root.read(LOCAL))
        self.life(root, lambda folder: ['sh', '-c', f'exec dpkg --install {folder}/*.deb'], apparmor)

    def test_root(self):
        """`apt install ./*.deb` on a fresh Debian, with the real libvirt."""
        base = self.scratch / 'base'
        bootstrap(base)
        root = Root(self.scratch / 'fresh', base)
        self.dpkg(root, 'the archive answers', 'apt-get', 'update', '-q')
        self.dpkg(root, 'libvirt is installed', 'apt-get', 'install', '-y', '-q', '--no-install-recommends', 'libvirt-daemon-system',
                  'apparmor', 'polkitd', 'bash-completion', 'qemu-utils', 'openssh-client', 'gir1.2-json-1.0', 'libglib2.0-dev',
                  'libjson-glib-dev', 'libnbd0', 'libxxhash0', 'systemd')
        self.before = root.changes() | OF_THE_TEST

        def apparmor(root):
            name, text = 'libvirt-00000000-0000-0000-0000-000000000001', root.read('/etc/apparmor.d/libvirt/TEMPLATE.qemu')
            # What virt-aa-helper makes of the template for one guest.
            root.write(f'/{name}', text.replace('LIBVIRT_TEMPLATE', name))
            done = root.run('apparmor_parser', '--preprocess', f'/{name}')
            self.check('/run/vmig-snap/*/ram.sock rw,' in done.stdout, "the profile of a guest has the rules", done.stdout[-2000:])
            done = root.run('apparmor_parser', '--skip-kernel-load', '--skip-cache', f'/{name}')
            self.check(done.returncode == 0, 'and compiles', done.stdout)
            root.forget(f'/{name}')
        # What is recommended, ssh's server and QEMU, takes minutes and proves nothing here.
        self.life(root, lambda folder: ['sh', '-c', f'exec apt-get install -y -q --no-install-recommends {folder}/*.deb'], apparmor)

    def test_policies(self):
        """polkit, AppArmor, SELinux."""
        root = Root(self.scratch / 'policies')
        root.run('dpkg', '--purge', '--force-depends', *PACKAGES)
        root.forget('/var/lib/vmig-snap', '/etc/vmig-snap')
        self.put(root, self.first / 'debs', '/debs/now')
        self.dpkg(root, 'the packages are installed', 'sh', '-c', 'exec dpkg --install /debs/now/*.deb')
        for test in (policies.test_polkit, policies.test_apparmor, policies.test_selinux):
            test(root, self.check)
