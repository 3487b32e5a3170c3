# SPDX-License-Identifier: LGPL-2.1-or-later
"""The deliberate faults of tests/mutation/run, and the test that sees each.

one() is a single edit. layers() is a rule that stands in more than one place, each of which covers the others: all are
taken out together."""
import collections

Mutant = collections.namedtuple('Mutant', 'id edits harm test survives')

MUTANTS = []
# Few seeds, so that a fault costs seconds; tests/run makes a hundred thousand.
SIM = 'sim 600'


def one(name, path, old, new, harm, test, survives=None):
    MUTANTS.append(Mutant(name, [(path, old, new)], harm, test, survives))


def layers(name, edits, harm, test, survives=None):
    MUTANTS.append(Mutant(name, edits, harm, test, survives))


# The decision table: who may run the guest after something broke.
TABLE = 'plugin/core/uncertain.c'
one('table-two-runners', TABLE, '{.source = IS(RUNNING), .dest = IS(RUNNING), .decision = VMIG_DECIDE_ALARM}',
    '{.source = IS(RUNNING), .dest = IS(RUNNING), .decision = VMIG_DECIDE_BACK}',
    'two running copies are not noticed, and both go on', 'unit uncertain')
one('table-source-runs-given', TABLE,
    '    {.source = IS(RUNNING), .token = HALF_OR_GIVEN, .decision = VMIG_DECIDE_ALARM},\n', '',
    'a source that runs after it gave the token away is overlooked', 'unit uncertain')
one('table-owner-silent', TABLE, '{.dest = IS(UNREACHABLE), .token = GIVEN, .decision = VMIG_DECIDE_WAIT}',
    '{.dest = IS(UNREACHABLE), .token = GIVEN, .decision = VMIG_DECIDE_BACK}',
    'the source runs the guest again while its owner does not answer: two runners', 'unit uncertain')
one('table-half-silent', TABLE, '{.dest = IS(UNREACHABLE), .token = HALF_GIVEN, .decision = VMIG_DECIDE_WAIT}',
    '{.dest = IS(UNREACHABLE), .token = HALF_GIVEN, .decision = VMIG_DECIDE_BACK}',
    'a token that may have arrived is taken back: two runners', 'unit uncertain')
one('table-runs-without-token', TABLE, '{.dest = IS(RUNNING), .token = NOT_GIVEN, .decision = VMIG_DECIDE_ALARM}',
    '{.dest = IS(RUNNING), .token = NOT_GIVEN, .decision = VMIG_DECIDE_BACK}',
    'a guest that runs on the destination without the token is destroyed', 'unit uncertain')
one('table-unproven-forward', TABLE, '.proof = PROVEN, .decision = VMIG_DECIDE_FORWARD}',
    '.decision = VMIG_DECIDE_FORWARD}',
    'what arrived counts although the source may have run on: acknowledged writes are lost', 'unit uncertain')
one('table-gone-and-silent', TABLE,
    '{.source = IS(ABSENT), .dest = IS(UNREACHABLE), .token = NOT_GIVEN, .decision = VMIG_DECIDE_WAIT}',
    '{.source = IS(ABSENT), .dest = IS(UNREACHABLE), .token = NOT_GIVEN, .decision = VMIG_DECIDE_BACK}',
    'the guest starts on the source while it may run on a destination that does not answer', 'unit uncertain')
one('table-source-silent', TABLE, '{.source = IS(UNREACHABLE), .token = NOT_GIVEN, .decision = VMIG_DECIDE_WAIT}',
    '{.source = IS(UNREACHABLE), .token = NOT_GIVEN, .decision = VMIG_DECIDE_FORWARD}',
    'the destination runs the guest while the source may run it too', 'unit uncertain')
one('table-revoked-ignored', TABLE, 'facts->revoked && facts->token == VMIG_TOKEN_NONE',
    'FALSE && facts->token == VMIG_TOKEN_NONE',
    'a stale copy becomes the guest', 'unit uncertain')
one('table-stranger-ignored', TABLE, 'return facts->stranger && onward ?', 'return FALSE && onward ?',
    "the job goes on with another guest that has the UUID there", 'unit uncertain')

# Retries.
RETRY = 'plugin/core/retry.c'
one('retry-one-too-many', RETRY, 'if (done >= rule->attempts', 'if (done > rule->attempts',
    'the policy is not what its file says', 'unit retry')
one('retry-after-deadline', RETRY, 'since + delay >= policy->deadline_us', 'since >= policy->deadline_us',
    'it waits beyond the deadline that its user set', 'unit retry')
one('retry-refusals', RETRY, '    case VMIG_CLASS_USAGE:\n', '    case VMIG_CLASS_USAGE:\n        return VMIG_RETRY_IO;\n',
    'what the user typed wrongly is tried again for minutes', 'unit retry')
one('retry-no-ceiling', RETRY, '    delay = MIN(delay, ceiling);\n', '',
    'it waits longer than the ceiling', 'unit retry')

# The machine's table, names, the snapshot tree.
one('states-way-back-after', 'plugin/flows/migrate/states.def', 'NEXT(COMMIT, PARKED))', 'NEXT(COMMIT, ROLLBACK, PARKED))',
    'a job goes back although the destination owns the guest', 'unit states')
one('tree-parent', 'plugin/definition/snapshot-tree.c', 'if (g_strcmp0(a->parent, b->parent) != 0)', 'if (FALSE)',
    'a snapshot that came with another parent is taken for right', 'unit snapshot-tree')
one('tree-one-way', 'plugin/definition/snapshot-tree.c', 'return is_in(a, b, ret_difference) && is_in(b, a, ret_difference);',
    'return is_in(a, b, ret_difference);', 'a snapshot too many is not noticed', 'unit snapshot-tree')
one('tree-hidden-in-image', 'plugin/definition/snapshot-tree.c', 'if (!g_hash_table_contains(known, names->pdata[i]))',
    'if (FALSE)', 'a snapshot that only the image has is not told of', 'unit snapshot-tree')
one('told-keep-source', 'plugin/core/job-told.c',
    'if (source && own->options.keep_source && !told->options.keep_source)', 'if (FALSE)',
    "a hostile destination has the source's images removed", 'unit hostile')
one('told-paths', 'plugin/core/job-told.c',
    'same(c, own->path[VMIG_SOURCE], told->path[VMIG_SOURCE], "the path on the source", own->path[VMIG_SOURCE]) &&\n'
    '           ', '',
    'a hostile peer names any file of this host as the base to be removed', 'unit hostile')

# The journal.
JOURNAL = 'plugin/store/journal.c'
one('journal-two-jobs', JOURNAL, 'if (!check_unlocked(journal, job, error) || !vmig_db_put_texts_of',
    'if (!vmig_db_put_texts_of', 'two jobs work at one guest', 'unit journal /journal/jobs')
one('journal-record-moves-token', JOURNAL, 'if (row->token != job->owner)', 'if (FALSE)',
    'an old record changes who owns the guest', 'unit journal /journal/token')
one('journal-token-after-end', JOURNAL, '    if (row->finished != 0)\n        return vmig_fail(error, VMIG_ERROR_CONTRADICTION, '
    'NULL, "job %s has ended as %s: its token cannot move"', '    if (FALSE)\n        return vmig_fail(error, '
    'VMIG_ERROR_CONTRADICTION, NULL, "job %s has ended as %s: its token cannot move"',
    'a job that went back gives its guest away all the same', 'unit journal /journal/transitions')
one('journal-goes-back', JOURNAL, 'if (back && vmig_state_phase(old) == VMIG_PHASE_AFTER)',
    'if (FALSE && back)',
    'the other host takes a job back behind the switchover', 'unit journal /journal/put')
one('journal-wrong-end', JOURNAL, 'given == (vmig_state_end(state) == VMIG_END_MOVED))', 'given || TRUE)',
    'a job counts as rolled back while the destination owns the guest', 'unit journal /journal/put')
one('journal-two-processes', JOURNAL, '    if (strcmp(row->state, from) != 0)\n', '    if (FALSE)\n',
    'two processes drive one job, each from its own state', 'unit journal /journal/transitions')
one('journal-damage', JOURNAL, 'if (sqlite3_column_int(stmt, 5) != 1)', 'if (FALSE)',
    'a damaged row is taken for the truth', 'unit journal /journal/changed-rows')
one('journal-unknown-given', JOURNAL, 'if (row == NULL && new_job->job->owner == VMIG_DEST)', 'if (FALSE)',
    'an old journal takes a job without the files that it made', 'unit journal /journal/put')
one('journal-others-write', 'plugin/store/journal-open.c', 'if ((st.st_mode & 077) != 0)\n        return refuse(error, '
    'path, "Change', 'if (FALSE)\n        return refuse(error, path, "Change',
    'a journal that others could write is trusted', 'unit journal /journal/refused-files')

# What libvirt is asked for.
FLAGS = 'plugin/drivers/libvirt/migrate-arguments.c'
one('flags-not-paused', FLAGS, 'VIR_MIGRATE_PAUSED | ', '',
    'a lost reply of libvirt leaves the guest running on both hosts', 'unit migrate-arguments')
one('flags-io-error', FLAGS, ' | VIR_MIGRATE_ABORT_ON_ERROR', '',
    'a guest with an I/O error is moved, and its source goes', 'unit migrate-arguments')
one('flags-managed', FLAGS, 'VIR_MIGRATE_PEER2PEER | ', '',
    'the migration breaks when the tool dies', 'unit migrate-arguments')
one('flags-next-start', FLAGS,
    '    virTypedParamsAddString(params, n_params, &max, VIR_MIGRATE_PARAM_PERSIST_XML, p->persistent_xml);\n', '',
    'the next start on the destination looks for the paths of the source', 'unit migrate-arguments')

# The operation lock.
OPLOCK = 'plugin/store/oplock.c'
one('oplock-posix', OPLOCK, 'if (fcntl(fd, F_OFD_SETLK, &whole) == 0)', 'if (fcntl(fd, F_SETLK, &whole) == 0)',
    'closing any descriptor of the file lets go of the lock', 'unit oplock')
one('oplock-spelling', OPLOCK, 'g_ascii_strdown(uuid, -1)', 'g_strdup(uuid)',
    'two spellings of a UUID are two locks', 'unit oplock')
one('oplock-not-ours', OPLOCK, '|| st.st_nlink != 1)', ')',
    'a lock file that somebody linked elsewhere is written to', 'unit oplock')

# The gate for deletes.
GATE = 'plugin/store/gate.c'
one('gate-no-birth', GATE, '(both_born && file->born_ns != found->born_ns)', 'FALSE',
    'a file of somebody that got the inode number is deleted', 'unit gate')
one('gate-any-file', GATE, '        if (why != NULL)\n            return refuse(error, path, why);\n', '',
    'anything under the name of a file of the job is deleted', 'unit gate')
one('gate-overlay-snapshots', GATE, '        if (!check_no_snapshots(file, &found, error))\n            return FALSE;\n',
    '        (void)check_no_snapshots;\n', 'a snapshot that somebody made in the overlay is deleted with it', 'unit gate')
one('gate-other-mount', GATE, 'if (same_boot && found->folder_fd >= 0 && found->folder_dev != file->dev)', 'if (FALSE)',
    'a file counts as removed while its file system is not mounted', 'unit gate')
one('gate-intend-existing', GATE, '    if (found.exists)\n        return vmig_fail(error, VMIG_ERROR_DESTINATION_EXISTS, '
    'NULL, "%s exists, and this', '    if (FALSE)\n        return vmig_fail(error, VMIG_ERROR_DESTINATION_EXISTS, NULL, '
    '"%s exists, and this', "somebody's file becomes one of the job's, and is overwritten", 'unit gate')
one('gate-no-reason', GATE, "if (reason == NULL || *reason == '\\0')", 'if (reason == NULL)',
    'a file is deleted and the journal does not say why', 'unit gate')
one('gate-redundant-unsaid', GATE, 'if (!state_is(file, "redundant") && !kind_is(file, "part hold socket"))', 'if (FALSE)',
    'an overlay or seed is deleted that nobody called redundant', 'unit gate')
one('gate-adopt-any', GATE, '|| !vmig_file_id_is((VmigFileId){found.dev, found.ino}, dev, ino))', ')',
    'a file that took the base\'s place is deleted', 'unit gate')
layers('gate-rename-over', [
    (GATE, '        if (target->exists)\n            return vmig_fail(error, VMIG_ERROR_DESTINATION_EXISTS, NULL, '
           '"%s exists", new->path);\n', ''),
    (GATE, 'if (renameat2(source->folder_fd, source->name, target->folder_fd, target->name, RENAME_NOREPLACE) == 0)',
           'if (renameat2(source->folder_fd, source->name, target->folder_fd, target->name, 0) == 0)'),
], 'a seed is renamed over a file of somebody', 'unit gate')

# Beneath the image roots.
BENEATH = 'plugin/store/beneath.c'
one('beneath-symlinks', BENEATH, 'RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS', 'RESOLVE_BENEATH',
    'a symbolic link in a root leads to another file', 'unit beneath')
one('beneath-outermost', BENEATH, 'strlen(root) < strlen(best)', 'strlen(root) > strlen(best)',
    "an inner root's own name may be a link to anywhere", 'unit beneath')
one('beneath-outside', BENEATH, "(path[length] != '/' && path[length] != '\\0')", 'FALSE',
    '/images-of-others counts as beneath /images', 'unit beneath')

# The guard and its fence.
FENCE = 'plugin/guard/guard-fence.c'
one('fence-some-disks', FENCE, '        fence->held = all;\n', '        fence->held = !fence->taken;\n',
    'the fence of one disk counts while the guest runs on the other', 'unit guard-fence')
one('fence-taken-back', FENCE, 'if (!fence->held && has_writer(fence)) {', 'if (FALSE && has_writer(fence)) {',
    'the guest ran again on the source, and the token is given all the same: writes are lost', 'unit guard /guard/fence-notices-a-short-return')
layers('fence-taken-counts', [
    (FENCE, 'COUNT(guard, taken) == 0 && COUNT(guard, held) == 0)\n        take_fences',
            'COUNT(guard, held) == 0)\n        take_fences'),
    (FENCE, '            fence->free = FALSE;\n', ''),
], 'a fence is taken after the guest ran again: writes are lost', 'unit guard /guard/fence-notices-a-short-return')
one('fence-without-lock', FENCE, '        lock_no_write(fence, F_RDLCK);\n', '',
    "the source's QEMU can have its disks back", 'unit guard')

# The copy and its proof.
SEED = 'plugin/flows/migrate/copy.c'
one('copy-hash-ignored', SEED, 'if (g_strcmp0(copy->task.hash, got_hash) != 0)', 'if (FALSE)',
    'a damaged copy becomes the disk', SIM)
one('copy-base-changed', SEED, 'if (size == file->size && dev == file->dev && ino == file->ino && mtime_ns == '
    'file->mtime_ns)', 'if (TRUE)', 'a base that somebody wrote to while it was copied becomes the disk', SIM)
layers('copy-dirty-kept', [
    (SEED, '        if (file->copy != VMIG_BASE_COPY_DIRTY)\n            continue;\n', '        if (TRUE)\n            continue;\n'),
    (SEED, 'file->copy != VMIG_BASE_COPY_PLACED)', 'file->copy == VMIG_BASE_COPY_PART)'),
], 'with the merge "mirror" a half mirrored seed is taken for the base', SIM)
one('receiver-told-stale', 'plugin/copy/receiver.c',
    'else if ((receiver->told[i / 8] & 1 << i % 8) && (set == NULL || (set[i / 8] & 1 << i % 8)))', 'else if (FALSE)',
    'the hash is of what was there before, and the proof proves nothing', 'unit copier /copier/converges')
one('receiver-not-exclusive', 'plugin/copy/receiver.c', '        if (!receiver->exclusive)\n', '        if (FALSE)\n',
    'a second client changes the copy after it was hashed', 'unit copier /copier/second-client-in-old-part')
one('receiver-hard-link', 'plugin/copy/receiver.c', '    if (st.st_nlink != 1)\n', '    if (FALSE)\n',
    'a copy is written into a file of somebody else', 'unit copier /receiver/refuses')

# The engine, by the simulation.
RESOLVE = 'plugin/flows/migrate/resolve.c'
one('resolve-revoked-unsaved', RESOLVE, '    m->job->revoked = TRUE;\n    return vmig_journal_save(m->journal, m->job, error);',
    '    m->job->revoked = TRUE;\n    return TRUE;',
    'after a crash a copy counts that the source ran on from: acknowledged writes are lost', SIM)
one('resolve-fence-unasked', RESOLVE, 'return m->source_fenced || (source != NULL', 'return TRUE || (source != NULL',
    'what arrived counts although the source had its disks again: acknowledged writes are lost', SIM)
one('resolve-token-there-first', RESOLVE,
    '    if (source != NULL && !vmig_node_token_put(source->node, m->job, VMIG_DEST, error))\n        return FALSE;\n',
    '    if (!write_there(dest->node, m->job, error))\n        return FALSE;\n'
    '    if (source != NULL && !vmig_node_token_put(source->node, m->job, VMIG_DEST, error))\n        return FALSE;\n',
    'the destination owns a guest that the source does not know to be gone', SIM)
one('resolve-ends-strangers', RESOLVE, '*may = whose == VMIG_WHOSE_OURS;', '*may = TRUE;',
    'another guest under the UUID is destroyed on the destination', SIM)
one('resolve-loser', RESOLVE, 'facts->token == VMIG_TOKEN_NONE ? VMIG_DEST : VMIG_SOURCE;',
    'facts->token == VMIG_TOKEN_NONE ? VMIG_SOURCE : VMIG_DEST;',
    'of two runners the owner is suspended',
    SIM, survives='the simulation never makes two runners')
layers('resolve-source-fenced-for-ever', [
    (RESOLVE, 'if (source == NULL || !vmig_node_fence_drop(source->node, m->job, error))\n        return FALSE;\n'
             '    if (seen', 'if (source == NULL)\n        return FALSE;\n    if (seen'),
    (RESOLVE, '    if (!vmig_node_fence_drop(m->env->source.node, m->job, error))\n        return FALSE;\n'
             '    g_autoptr(GError) why = NULL;\n    if (vmig_overlay_hold_all', '    g_autoptr(GError) why = NULL;\n'
             '    if (vmig_overlay_hold_all'),
    (RESOLVE, '    if (!vmig_node_fence_drop(m->env->source.node, m->job, error))\n        return FALSE;\n    for',
             '    for'),
    ('plugin/flows/migrate/migrate.c', '    vmig_node_fence_drop(m->env->source.node, m->job, NULL);\n', ''),
    ('plugin/flows/migrate/commit.c', '!vmig_node_fence_drop(source->node, m->job, error) || ', ''),
], 'the guest goes back and cannot have its disks', 'sim 1800')
one('resolve-not-resumed', RESOLVE, '    if (seen != VMIG_SEEN_STOPPED)\n', '    if (TRUE || seen != VMIG_SEEN_STOPPED)\n',
    'the guest stays stopped after the way back', 'sim 1800')
MIGRATE = 'plugin/flows/migrate/migrate.c'
one('migrate-no-fence', MIGRATE, '    *fenced = info != NULL && info->run == VMIG_RUN_SHUTOFF && info->migrated;\n',
    '    *fenced = TRUE;\n', 'the token is given while the source may run', SIM)
one('migrate-leftover', MIGRATE, '    if (!vmig_resolve_remove_arrived(m, error) || !vmig_ours_require_none',
    '    if (!vmig_ours_require_none', 'a retry fails on what the last try left there',
    SIM, survives='the end of a failed try removes it too')
one('migrate-old-overlays', MIGRATE, ' || !vmig_prepare_fresh_overlays(m, error) ||\n', ' ||\n',
    'what an earlier try mirrored stays beneath the next: old blocks',
    SIM, survives='an overlay only gains blocks: the next mirror writes over all of it')
one('migrate-run-state', MIGRATE, ' || !note_run_state(m, error) ||', ' || (0 && !note_run_state(m, error)) ||',
    'a guest that its user suspended runs when it arrives', 'case suspended-while-copied')
layers('switched-without-token', [
    ('plugin/flows/migrate/activate.c', 'if (m->job->owner == VMIG_SOURCE)', 'if (FALSE)'),
    (MIGRATE, '*next = m->job->owner == VMIG_DEST ? VMIG_MIGRATE(ACTIVATE) : VMIG_MIGRATE(ROLLBACK);',
              '*next = VMIG_MIGRATE(ACTIVATE);'),
], 'the guest runs on the destination without the token', SIM)
one('overlay-config-unsynced', 'plugin/flows/migrate/overlay.c',
    'if (!vmig_host_require_persistent(m, VMIG_SOURCE, VMIG_CHAIN_OVERLAY, error) ||\n        '
    '!vmig_node_sync_config(m->env->source.node, error))',
    'if (!vmig_host_require_persistent(m, VMIG_SOURCE, VMIG_CHAIN_OVERLAY, error))',
    'after a power loss the guest starts on its bases, without its last writes', SIM)
layers('overlay-snapshot-looks', [
    ('plugin/engine/host.c', '        if (count > 0)\n            return fail_snapshot(m, host, overlay, count, error);\n',
     '        if (FALSE)\n            return fail_snapshot(m, host, overlay, count, error);\n'),
], 'a snapshot that somebody made in the overlay is lost: every look of the engine goes through this one', SIM)
one('pivot-running', 'plugin/flows/migrate/commit-pivot.c', '    if (run != VMIG_RUN_RUNNING)\n        return TRUE;\n    return '
    'host->hypervisor->ops->suspend', '    if (TRUE)\n        return TRUE;\n    return host->hypervisor->ops->suspend',
    'the guest writes between pivot and note: a crash then takes its disk back in time', SIM)
one('pivot-stays-suspended', 'plugin/flows/migrate/commit-pivot.c', '(run == VMIG_RUN_PAUSED && !host->hypervisor->ops->resume('
    'host->hypervisor, m->job->uuid, error)))', 'FALSE)', 'the guest stays suspended', SIM)
layers('pivot-unnoted', [
    ('plugin/flows/migrate/commit-pivot.c', '        disk->pivoted = TRUE;\n', ''),
    ('plugin/flows/migrate/commit-offline.c', 'disk->pivoted = chain == VMIG_CHAIN_BASE;', 'disk->pivoted = FALSE && chain == VMIG_CHAIN_BASE;'),
    ('plugin/flows/migrate/pivot-truth.c', '        disk->pivoted = TRUE;\n', '        ;\n'),
], 'a stale overlay is committed over newer data', 'case off-after-half-a-pivot')
one('pivot-late-is-lost', 'plugin/flows/migrate/pivot-truth.c', '        if (until == 0)\n            until = vmig_machine_now(m) + NOTED_LIMIT;\n', '',
    'a guest is destroyed because libvirt notes its pivot a moment late', SIM)
one('offline-stale-overlay', 'plugin/flows/migrate/commit-offline.c', 'return !disk->pivoted && vmig_disk_overlay(disk, role) != NULL;',
    'return vmig_disk_overlay(disk, role) != NULL;', 'an overlay that was left behind takes the disk back in time', 'case off-after-half-a-pivot')
one('back-diverged', 'plugin/flows/migrate/commit-offline.c', '    return !exists || m->job->overlays != VMIG_OVERLAYS_DIVERGED || fail_diverged(m, error);',
    '    return TRUE;', 'overlays are committed into bases that somebody reverted', 'case reverted-and-off')
one('back-thaw', 'plugin/flows/migrate/commit.c', ' || !vmig_node_thaw(source->node, m->job, error))', ')',
    'the way back cannot commit: our own hold keeps it out', SIM)
one('detach-order', 'plugin/flows/migrate/prepare.c', 'm->job->snapshots->pdata[i - 1];',
    'm->job->snapshots->pdata[m->job->snapshots->len - i];', "libvirt changes the children's parent: another tree", SIM)
one('redefine-tree-uncompared', 'plugin/flows/migrate/redefine.c',
    'if (vmig_snapshot_tree_equal(m->job->snapshots, after, &difference))', 'if (TRUE)',
    'a snapshot that is missing or changed after the move is not noticed', SIM)
one('cleanup-definitions', 'plugin/flows/migrate/cleanup.c',
    'if (dest == NULL || !vmig_host_require_on_bases(m, VMIG_DEST, error) ||', 'if (dest == NULL ||',
    'the overlay goes while the next start would use it: the guest does not start', SIM)
one('clean-keeps-nothing', 'plugin/flows/migrate/cleanup.c', 'return m->job->options.keep_source ? vmig_images_note_users(m)',
    'return FALSE ? vmig_images_note_users(m)', 'images are removed that were to be kept', SIM)
one('machine-migrate-again', 'plugin/engine/machine.c', '        state = vmig_state_next_that(state, VMIG_STATE_DECIDES);\n',
    '        (void)0;\n', 'a process that takes over migrates again, whoever has the guest', SIM)
one('records-overwritten', 'plugin/engine/records.c', '    return other > 1 && (other > own || (other == own && m->here == VMIG_SOURCE));',
    '    return FALSE;', 'a journal that was put back counts more than the truth', SIM)
one('rollback-arrived', 'plugin/flows/migrate/rollback.c', 'if (dest == NULL || !vmig_resolve_remove_arrived(m, error))',
    'if (dest == NULL)', 'a stale copy of the guest stays on the destination', SIM)

# Who needs an image that is to be removed.
USERS = 'plugin/node/image-users.c'
one('users-definitions', USERS, '    look_at_definitions(search);\n', '    if (FALSE)\n        look_at_definitions(search);\n',
    'the base of a guest that is off is deleted', 'unit image-users /image-users/definition')
one('users-processes', USERS, '    vmig_image_look_at_processes(search);\n', '',
    'an image that a program has open is deleted', 'unit image-users /image-users/open')
one('users-locks', USERS, '    vmig_image_look_at_locks(search);\n', '',
    'an image that a QEMU of another mount namespace has locked is deleted', 'unit image-users /image-users/locked')
one('users-roots', USERS, '    vmig_image_look_at_roots(search);\n', '',
    'an image that another image lies on is deleted', 'unit image-users')
one('users-unknown', USERS, 'if (target->exists && target->user == NULL && search->unknown != NULL)', 'if (FALSE)',
    'an image is deleted although libvirt did not say who uses it', 'unit image-users /image-users/no-libvirt')
one('users-relative', USERS, '    follow(chain, near);\n', '    (void)near;\n',
    'an image that another one names by a relative name is deleted', 'unit image-users')
one('users-real-folder', USERS, '        follow(chain, there);\n', '        (void)there;\n',
    'an image that another one names relative to its real folder is deleted',
    'unit image-users /image-users/definition-by-link')
one('users-take', USERS, 'if (fcntl(fd, F_OFD_SETLK, &lock) == 0)\n        return TRUE;\n    *why = errno == EAGAIN',
    'if (fcntl(fd, F_OFD_SETLK, &lock) == 0 || TRUE)\n        return TRUE;\n    *why = errno == EAGAIN',
    'a guest that starts at the same moment has its base deleted', 'unit image-users /image-users/locked')

# A disk that stays where it is.
STAY = 'plugin/plan/plan-stay.c'
one('stay-file', STAY, '    if (file->why_not == NULL || (missing', '    if (TRUE || file->why_not == NULL || (missing',
    'the guest goes on with another disk of the same name', 'unit plan-stay')
one('stay-backing', STAY, 'if (disk->stay->len != d->backing->len + 1 || (!raw && !d->chain_known))', 'if (FALSE)',
    'the guest goes on with another backing file', 'unit plan-stay')
one('stay-volume', STAY, '        rule_volume(plan, disk);\n', '        (void)rule_volume;\n',
    'the guest goes on with another volume of the same name', 'unit plan-stay')
one('stay-local-server', STAY, '    if (d->local_server)\n', '    if (FALSE)\n',
    "the destination's own server answers in the place of the source's", 'unit plan-stay')

# Events of libvirt.
EVENTS = 'plugin/drivers/libvirt/libvirt-events.c'
one('events-of-others', EVENTS, 'strcmp(uuid, sink->attended) == 0)', 'TRUE)',
    "another guest's migration wakes and disturbs this job", 'unit libvirt-events')
layers('events-stop-of-others', [
    (EVENTS, 'g_hash_table_lookup(sink->stopped, uuid)', 'g_hash_table_lookup(sink->stopped, "")'),
    (EVENTS, 'g_hash_table_replace(sink->stopped, g_strdup(uuid), at)',
             'g_hash_table_replace(sink->stopped, g_strdup(""), at)'),
], "another guest's switchover counts as this one's, and the migration fails", 'unit libvirt-events')

# What a peer may ask.
PEER = 'plugin/node/node-peer.c'
one('peer-no-lock', PEER, 'return vmig_local_holds(local, job, uuid) ||', 'return TRUE || vmig_local_holds(local, job, uuid) ||',
    'a peer works at a guest whose lock it does not hold', 'unit hostile')
one('peer-any-role', PEER, 'return own == role || vmig_fail(', 'return TRUE || vmig_fail(',
    'a peer has the images of a host removed that is not the source', 'unit hostile')
one('peer-any-domain', PEER, 'return (own.persistent == NULL && own.running == NULL) || vmig_own_domain_is_marked(',
    'return TRUE || vmig_own_domain_is_marked(', "a peer makes another guest of this host its job's", 'unit hostile')
one('peer-invented-source', PEER, 'return proven || vmig_fail(', 'return TRUE || vmig_fail(',
    'a peer says that this host was the source, and has its images removed', 'unit hostile')
one('peer-early-end', PEER, 'return own.running == NULL || vmig_fail(', 'return TRUE || vmig_fail(',
    'a peer says that the job is done while the guest runs here', 'unit hostile')
