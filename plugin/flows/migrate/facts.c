/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The table of the facts that a migration may have in each state.
 *
 * A host's record may lag behind its token, which has a table of its own in the journal: the states before the
 * switchover admit either owner. A job that was set aside keeps the facts that it had, whatever they were.
 */
#include "flows/migrate/facts.h"

#define SOURCE_OWNS VMIG_SOURCE_OWNS
#define DEST_OWNS VMIG_DEST_OWNS
#define EITHER_OWNER VMIG_EITHER_OWNS
#define REQUIRED VMIG_FACT_REQUIRED
#define FORBIDDEN VMIG_FACT_FORBIDDEN

/* clang-format off */
#define AT(state) VMIG_MIGRATE_INDEX_##state
#define USE(what) (1u << VMIG_OVERLAYS_##what)
#define OVERLAYS(set) {.overlays = (set)}
#define STAGE(what) (1u << VMIG_MERGE_##what)
#define MERGE(set) {.stages = (set)}
#define COPY(what) (1u << VMIG_BASE_COPY_##what)
#define COPIES(set) {.copies = (set)}
#define MAY_BE_WRITTEN (USE(IN_USE) | USE(DIVERGED))

const VmigLegalFacts vmig_migrate_facts[VMIG_MIGRATE_STATES] = {
    /* Before the switchover nothing is merged. */
    [AT(PLAN)] = {.owner = SOURCE_OWNS, .overlays = OVERLAYS(USE(UNUSED)), .merge = MERGE(STAGE(NOT_BEGUN)),
        .copies = COPIES(COPY(PART)), .begun = FORBIDDEN, .revoked = FORBIDDEN, .suspended = FORBIDDEN,
        .start_again = FORBIDDEN, .verified = FORBIDDEN, .source_clean = FORBIDDEN},
    [AT(LOCK)] = {.overlays = OVERLAYS(USE(UNUSED)), .merge = MERGE(STAGE(NOT_BEGUN)),
        .copies = COPIES(COPY(PART)), .begun = FORBIDDEN, .revoked = FORBIDDEN, .suspended = FORBIDDEN,
        .start_again = FORBIDDEN, .verified = FORBIDDEN, .source_clean = FORBIDDEN},
    [AT(OVERLAY)] = {.overlays = OVERLAYS(USE(UNUSED) | USE(IN_USE)),
        .merge = MERGE(STAGE(NOT_BEGUN)), .copies = COPIES(COPY(PART)), .begun = FORBIDDEN, .revoked = FORBIDDEN,
        .suspended = FORBIDDEN, .start_again = FORBIDDEN, .verified = FORBIDDEN, .source_clean = FORBIDDEN},
    [AT(COPY)] = {.overlays = OVERLAYS(USE(IN_USE)), .merge = MERGE(STAGE(NOT_BEGUN)),
        .copies = COPIES(COPY(PART) | COPY(PLACED)), .begun = FORBIDDEN, .revoked = FORBIDDEN, .suspended = FORBIDDEN,
        .start_again = FORBIDDEN, .verified = FORBIDDEN, .source_clean = FORBIDDEN},
    [AT(PREPARE)] = {.overlays = OVERLAYS(USE(IN_USE)), .merge = MERGE(STAGE(NOT_BEGUN)),
        .copies = COPIES(COPY(PLACED)), .begun = FORBIDDEN, .revoked = FORBIDDEN, .suspended = FORBIDDEN,
        .start_again = FORBIDDEN, .verified = FORBIDDEN, .source_clean = FORBIDDEN},
    [AT(DROP_METADATA)] = {.overlays = OVERLAYS(USE(IN_USE)), .merge = MERGE(STAGE(NOT_BEGUN)),
        .copies = COPIES(COPY(PLACED)), .begun = FORBIDDEN, .revoked = FORBIDDEN, .suspended = FORBIDDEN,
        .start_again = FORBIDDEN, .verified = FORBIDDEN, .source_clean = FORBIDDEN},
    /* A new try proves a base copy again that the last one may have written to. */
    [AT(MIGRATE)] = {.overlays = OVERLAYS(USE(IN_USE)), .merge = MERGE(STAGE(NOT_BEGUN)), .begun = REQUIRED,
        .suspended = FORBIDDEN, .start_again = FORBIDDEN, .verified = FORBIDDEN, .source_clean = FORBIDDEN},
    /* Also entered from ROLLBACK, which may follow any state before it. */
    [AT(UNCERTAIN)] = {.merge = MERGE(STAGE(NOT_BEGUN)), .suspended = FORBIDDEN, .start_again = FORBIDDEN,
        .verified = FORBIDDEN, .source_clean = FORBIDDEN},

    /* After it the destination owns the guest, and every base copy is in place. */
    [AT(ACTIVATE)] = {.owner = DEST_OWNS, .overlays = OVERLAYS(MAY_BE_WRITTEN),
        .merge = MERGE(STAGE(NOT_BEGUN) | STAGE(COMMITTING)), .copies = COPIES(COPY(PLACED) | COPY(DIRTY)),
        .begun = REQUIRED, .revoked = FORBIDDEN, .suspended = FORBIDDEN, .start_again = FORBIDDEN,
        .verified = FORBIDDEN, .source_clean = FORBIDDEN},
    [AT(COMMIT)] = {.owner = DEST_OWNS, .overlays = OVERLAYS(MAY_BE_WRITTEN),
        .copies = COPIES(COPY(PLACED) | COPY(DIRTY)), .begun = REQUIRED, .revoked = FORBIDDEN, .verified = FORBIDDEN,
        .source_clean = FORBIDDEN},
    [AT(PIVOT)] = {.owner = DEST_OWNS, .overlays = OVERLAYS(MAY_BE_WRITTEN),
        .copies = COPIES(COPY(PLACED) | COPY(DIRTY)), .begun = REQUIRED, .revoked = FORBIDDEN, .verified = FORBIDDEN,
        .source_clean = FORBIDDEN},
    [AT(REDEFINE)] = {.owner = DEST_OWNS, .overlays = OVERLAYS(MAY_BE_WRITTEN), .merge = MERGE(STAGE(DONE)),
        .copies = COPIES(COPY(PLACED) | COPY(DIRTY)), .begun = REQUIRED, .revoked = FORBIDDEN, .suspended = FORBIDDEN,
        .verified = FORBIDDEN, .source_clean = FORBIDDEN},
    [AT(CLEANUP)] = {.owner = DEST_OWNS, .overlays = OVERLAYS(MAY_BE_WRITTEN), .merge = MERGE(STAGE(DONE)),
        .copies = COPIES(COPY(PLACED) | COPY(DIRTY)), .begun = REQUIRED, .revoked = FORBIDDEN, .suspended = FORBIDDEN},
    /* source_clean: a source that has lost its record of the job keeps its files. */
    [AT(DONE)] = {.owner = DEST_OWNS, .overlays = OVERLAYS(MAY_BE_WRITTEN), .merge = MERGE(STAGE(DONE)),
        .copies = COPIES(COPY(PLACED) | COPY(DIRTY)), .begun = REQUIRED, .revoked = FORBIDDEN, .suspended = FORBIDDEN},

    /* On the way back the source owns the guest and merges its own overlays. ROLLBACK itself still asks both hosts
     * which of them has the token. */
    [AT(ROLLBACK)] = {.merge = MERGE(STAGE(NOT_BEGUN)), .suspended = FORBIDDEN, .start_again = FORBIDDEN,
        .verified = FORBIDDEN, .source_clean = FORBIDDEN},
    [AT(BACK_COMMIT)] = {.owner = SOURCE_OWNS, .verified = FORBIDDEN, .source_clean = FORBIDDEN},
    [AT(BACK_PIVOT)] = {.owner = SOURCE_OWNS, .verified = FORBIDDEN, .source_clean = FORBIDDEN},
    [AT(BACK_REDEFINE)] = {.owner = SOURCE_OWNS, .suspended = FORBIDDEN, .verified = FORBIDDEN,
        .source_clean = FORBIDDEN},
    [AT(ROLLED_BACK)] = {.owner = SOURCE_OWNS, .suspended = FORBIDDEN, .verified = FORBIDDEN,
        .source_clean = FORBIDDEN},
    [AT(SET_ASIDE)] = {.owner = EITHER_OWNER},
    [AT(PARKED)] = {.owner = EITHER_OWNER}, /* the row of the state in which it parked counts */
};
/* clang-format on */
