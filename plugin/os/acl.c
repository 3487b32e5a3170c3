/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "os/acl.h"

#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <sys/xattr.h>

#define ENTRY(tag, perms, id)                                                                                          \
    {                                                                                                                  \
        GUINT16_TO_LE(tag), GUINT16_TO_LE((guint16)(perms)), GUINT32_TO_LE((guint32)(id))                              \
    }

/* The mask bounds what users other than the owner have. */
static int set(const char *path, const char *attribute, const VmigAcl *acl)
{
    const struct {
        struct posix_acl_xattr_header header;
        struct posix_acl_xattr_entry entries[5];
    } value = {
        {GUINT32_TO_LE(POSIX_ACL_XATTR_VERSION)},
        {
            ENTRY(ACL_USER_OBJ, acl->owner, ACL_UNDEFINED_ID),
            ENTRY(ACL_USER, acl->its, acl->user),
            ENTRY(ACL_GROUP_OBJ, 0, ACL_UNDEFINED_ID),
            ENTRY(ACL_MASK, acl->its, ACL_UNDEFINED_ID),
            ENTRY(ACL_OTHER, acl->others, ACL_UNDEFINED_ID),
        },
    };

    return setxattr(path, attribute, &value, sizeof value, 0);
}

int vmig_acl_set(const char *path, const VmigAcl *acl)
{
    return set(path, "system.posix_acl_access", acl);
}

int vmig_acl_set_default(const char *directory, const VmigAcl *acl)
{
    return set(directory, "system.posix_acl_default", acl);
}
