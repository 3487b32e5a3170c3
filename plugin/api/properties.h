/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A table of the properties of a request. Each property is a member of the object's struct. */
#pragma once

#include <glib-object.h>

typedef enum {
    VMIG_MEMBER_TEXT,   /* char * */
    VMIG_MEMBER_TEXTS,  /* char ** */
    VMIG_MEMBER_FLAG,   /* gboolean */
    VMIG_MEMBER_NUMBER, /* guint64 */
    VMIG_MEMBER_ENUM,   /* int */
} VmigMemberKind;

typedef struct {
    const char *name;
    VmigMemberKind kind;
    glong offset;
    gint64 initial;
    GType (*type)(void); /* the type of an enumeration */
} VmigMember;

/* The id of the property members[N] is N + 1. */
void vmig_members_install(GObjectClass *klass, const VmigMember *members, guint n);
void vmig_members_get(gconstpointer object, const VmigMember *member, GValue *value);
void vmig_members_set(gpointer object, const VmigMember *member, const GValue *value);
void vmig_members_clear(gpointer object, const VmigMember *members, guint n);
