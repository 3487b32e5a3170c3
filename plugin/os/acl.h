/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* POSIX access lists (acl(5)) with one more user than the owner, so that a directory or a socket does not have to be
 * open to a whole group. Linux keeps them as extended attributes. */
#pragma once

#include <sys/types.h>

#include <glib.h>

/* Permissions are those of chmod: 4 read, 2 write, 1 search. */
typedef struct {
    uid_t user;
    guint owner, its, others; /* of the owner, of that user, of everybody else; the group has none */
} VmigAcl;

/* Both return 0, or -1 with errno; EOPNOTSUPP if the file system has no access lists. They follow symbolic links. */
int vmig_acl_set(const char *path, const VmigAcl *acl);
/* For the files that are created in the directory from now on. The umask does not apply to them, but the mode that
 * their creator asks for does. */
int vmig_acl_set_default(const char *directory, const VmigAcl *acl);
