# SPDX-License-Identifier: LGPL-2.1-or-later
"""Where a job is broken off: every fault point, how a job comes to it, and how it may end afterwards.

The points come from the binary (`vmig-snap --list-faults`); what is here must fit them exactly.
"""
import dataclasses
import subprocess

# States in which no step runs, so that their points are never passed.
NEVER = {f'{state}.{end}' for state in ('PLAN', 'DONE', 'ROLLED_BACK', 'SET_ASIDE', 'PARKED')
         for end in ('enter', 'leave')} | \
    {'rehearsal.started', 'pivot.before', 'pivot.asked'} | \
    {'aside.other', 'aside.released', 'aside.told'}
# tests/lab/test_rehearsal.py: nothing is touched there; tests/crash/pivot; tests/lab/test_others.py

# In the order in which a migration passes them.
FORWARD = ['LOCK.enter', 'LOCK.leave', 'OVERLAY.enter', 'overlay.made', 'overlay.held', 'OVERLAY.leave',
           'COPY.enter', 'copy.receiving', 'copy.sent', 'copy.placed', 'COPY.leave',
           'PREPARE.enter', 'prepare.overlays', 'PREPARE.leave', 'DROP_METADATA.enter', 'drop_metadata.one', 'DROP_METADATA.leave',
           'MIGRATE.enter', 'migrate.watched', 'migrate.released', 'migrate.running', 'migrate.arrived',
           'migrate.fenced', 'token.source', 'token.dest', 'MIGRATE.leave', 'ACTIVATE.enter', 'activate.ended', 'commit.started',
           'activate.resumed', 'ACTIVATE.leave', 'COMMIT.enter', 'COMMIT.leave', 'PIVOT.enter', 'pivot.suspended', 'pivot.pivoted',
           'PIVOT.leave', 'REDEFINE.enter', 'redefine.one', 'REDEFINE.leave', 'CLEANUP.enter', 'cleanup.undefined',
           'CLEANUP.leave']
TOKEN = FORWARD.index('token.source')
# From here on a guest may be whole on the destination although nobody has given it the token.
RUNNING = FORWARD.index('migrate.running')

# After an error at migrate.running that is not tried again.
BACK = ['rollback.dest', 'ROLLBACK.enter', 'ROLLBACK.leave', 'BACK_COMMIT.enter', 'commit.started', 'BACK_COMMIT.leave',
        'BACK_PIVOT.enter', 'pivot.suspended', 'pivot.pivoted', 'BACK_PIVOT.leave', 'BACK_REDEFINE.enter',
        'redefine.one', 'BACK_REDEFINE.leave']

# In a `resume` after the tool was killed at the first point.
AFTER_A_KILL = [('migrate.running', 'UNCERTAIN.enter'), ('migrate.running', 'UNCERTAIN.leave'),
                ('migrate.running', 'rollback.dest'), ('migrate.arrived', 'UNCERTAIN.leave'),
                ('migrate.fenced', 'UNCERTAIN.leave'),
                ('token.source', 'UNCERTAIN.enter'), ('token.source', 'token.dest')]

# With --merge mirror, where it differs: from the migration on. To the last one a job comes in its second try.
MIRROR = [name for name in FORWARD[FORWARD.index('MIGRATE.enter'):]
          if name not in ('commit.started', 'pivot.suspended', 'pivot.pivoted')] + ['copy.unplaced']

VICTIMS = {'tool': 'tool', 'agent': 'agent', 'source-libvirtd': 'source libvirtd', 'dest-libvirtd': 'dest. libvirtd',
           'source-qemu': 'source QEMU', 'dest-qemu': 'dest. QEMU'}

# The part for CI, by victim: each state from MIGRATE to CLEANUP, of the way back and of a resume, and for every
# victim the places where most is at stake. check_short() says what is not covered.
SHORT = {
    'tool': ['migrate.running', 'migrate.arrived', 'migrate.fenced', 'token.source', 'token.dest', 'activate.resumed',
             'COMMIT.leave', 'pivot.suspended', 'pivot.pivoted', 'redefine.one', 'cleanup.undefined',
             'back:rollback.dest', 'back:commit.started', 'back:pivot.pivoted', 'back:redefine.one',
             'migrate.running>UNCERTAIN.leave', 'token.source>token.dest', 'mirror:copy.unplaced'],
    'agent': ['copy.sent', 'token.source'],
    'source-libvirtd': ['migrate.running', 'migrate.arrived', 'back:pivot.suspended'],
    'dest-libvirtd': ['migrate.running', 'commit.started', 'pivot.suspended'],
    'source-qemu': ['overlay.made', 'migrate.arrived', 'back:commit.started'],
    'dest-qemu': ['migrate.running', 'token.dest', 'pivot.pivoted', 'mirror:migrate.running'],
}
SHORT_STATES = {'COPY', 'MIGRATE', 'ACTIVATE', 'COMMIT', 'PIVOT', 'REDEFINE', 'CLEANUP', 'ROLLBACK', 'BACK_COMMIT',
                'BACK_PIVOT', 'BACK_REDEFINE', 'UNCERTAIN'}


@dataclasses.dataclass(frozen=True)
class Point:
    """One point on one way. `killed`: where the first process died, when a resume comes to this point."""
    name: str
    way: str
    killed: str = ''

    @property
    def key(self):
        """What --only and the table call it."""
        return {'forward': self.name, 'back': f'back:{self.name}',
                'mirror': f'mirror:{self.name}'}.get(self.way, f'{self.killed}>{self.name}')

    def at(self):
        """How far forward the job is here; -1: it is not on its way forward."""
        if self.way not in ('forward', 'mirror'):
            return -1
        return FORWARD.index('MIGRATE.enter' if self.name == 'copy.unplaced' else self.name)

    def state(self):
        """The state in which the job is here."""
        if self.way == 'resume':
            return 'ROLLBACK' if self.name == 'rollback.dest' else 'UNCERTAIN'
        if self.name == 'copy.unplaced':
            return 'MIGRATE'
        names = BACK if self.way == 'back' else FORWARD
        return next(name for name in names[names.index(self.name):] if name.endswith(('.enter', '.leave')))[:-6]

    def faults(self):
        """VMIG_SNAP_FAULT of each process in turn; the last one stops at the point."""
        stop = f'{self.name}@1:stop'
        if self.way == 'back':
            return [f'migrate.running:error:interference,{stop}']
        if self.name == 'copy.unplaced':
            return [f'migrate.released@1:error:connection,{stop}']
        return [f'{self.killed}@1:kill', stop] if self.killed else [stop]

    def past_token(self):
        """Whether only the destination may run the guest."""
        if self.way == 'resume':
            return self.killed == 'token.source'
        return self.at() >= TOKEN

    def may_end(self, victim):
        """The ends that a job may come to when this victim was killed here."""
        if victim == 'source-qemu':
            return self._without_source()
        if victim == 'dest-qemu':
            return self._without_dest()
        if self.past_token():
            return {'done'}
        return {'back'} if self.way == 'back' or self.name == 'rollback.dest' else {'done', 'back'}

    def _without_source(self):
        if self.past_token():
            return {'done'}
        arriving = self.way == 'resume' or self.at() >= RUNNING
        return {'done', 'back down'} if arriving and self.name != 'rollback.dest' else {'back down'}

    def _without_dest(self):
        if self.past_token():
            return {'done', 'done down'}  # a guest whose QEMU died before the pivot is started again
        if self.name in ('migrate.arrived', 'migrate.fenced'):  # the token follows before anybody sees it, or after
            return {'done', 'back', 'done down'}
        return {'done', 'back'} if self.at() >= 0 else {'back'}

    def has(self, victim):
        """Whether this victim can be alive here (False is certain, True is not)."""
        if victim == 'dest-qemu':
            return self.way == 'resume' or self.at() >= RUNNING or \
                self.name == 'rollback.dest'
        if victim == 'source-qemu' and self.at() >= 0:
            return self.at() < FORWARD.index('activate.ended')
        return True


def all_points():
    """Every point on every way, in the order of the table."""
    return [*[Point(name, 'forward') for name in FORWARD], *[Point(name, 'back') for name in BACK],
            *[Point(name, 'mirror') for name in MIRROR],
            *[Point(name, 'resume', killed) for killed, name in AFTER_A_KILL]]


def check_short():
    """[] or what the part for CI names that is not there, or leaves out."""
    keys = {point.key: point for point in all_points()}
    wrong = [f'the short run kills at {key}, which is no point' for named in SHORT.values() for key in named
             if key not in keys]
    covered = {keys[key].state() for named in SHORT.values() for key in named if key in keys}
    wrong += [f'the short run has no kill in {state}' for state in sorted(SHORT_STATES - covered)]
    return wrong + [f'the short run has no kill of {victim}' for victim in VICTIMS if not SHORT.get(victim)]


def check_against(binary):
    """[] or how the lists above differ from what the binary has."""
    done = subprocess.run([binary, '--list-faults'], capture_output=True, text=True, check=False)
    real = set(done.stdout.split())
    if done.returncode or not real:
        return ['the binary has no fault points (meson setup -Dfaults=true)']
    here = {point.name for point in all_points()}
    return [f'no trial stops at {name}' for name in sorted(real - here - NEVER)] + \
        [f'the binary has no point {name}' for name in sorted((here | NEVER) - real)]
