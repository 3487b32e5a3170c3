/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Properties as members at an offset in the struct of the object. */
#include "api/properties.h"

static GParamSpec *spec_of(const VmigMember *member)
{
    const GParamFlags flags = G_PARAM_READWRITE | G_PARAM_CONSTRUCT | G_PARAM_STATIC_STRINGS;

    switch (member->kind) {
    case VMIG_MEMBER_TEXT:
        return g_param_spec_string(member->name, NULL, NULL, NULL, flags);
    case VMIG_MEMBER_TEXTS:
        return g_param_spec_boxed(member->name, NULL, NULL, G_TYPE_STRV, flags);
    case VMIG_MEMBER_FLAG:
        return g_param_spec_boolean(member->name, NULL, NULL, member->initial != 0, flags);
    case VMIG_MEMBER_NUMBER:
        return g_param_spec_uint64(member->name, NULL, NULL, 0, G_MAXUINT64, (guint64)member->initial, flags);
    case VMIG_MEMBER_ENUM:
        break;
    }
    return g_param_spec_enum(member->name, NULL, NULL, member->type(), (int)member->initial, flags);
}

void vmig_members_install(GObjectClass *klass, const VmigMember *members, guint n)
{
    for (guint i = 0; i < n; i++)
        g_object_class_install_property(klass, i + 1, spec_of(&members[i]));
}

void vmig_members_get(gconstpointer object, const VmigMember *member, GValue *value)
{
    gconstpointer at = (const char *)object + member->offset;

    switch (member->kind) {
    case VMIG_MEMBER_TEXT:
        g_value_set_string(value, *(char *const *)at);
        break;
    case VMIG_MEMBER_TEXTS:
        g_value_set_boxed(value, *(char **const *)at);
        break;
    case VMIG_MEMBER_FLAG:
        g_value_set_boolean(value, *(const gboolean *)at);
        break;
    case VMIG_MEMBER_NUMBER:
        g_value_set_uint64(value, *(const guint64 *)at);
        break;
    case VMIG_MEMBER_ENUM:
        g_value_set_enum(value, *(const int *)at);
        break;
    }
}

void vmig_members_set(gpointer object, const VmigMember *member, const GValue *value)
{
    gpointer at = (char *)object + member->offset;

    switch (member->kind) {
    case VMIG_MEMBER_TEXT:
        g_free(*(char **)at);
        *(char **)at = g_value_dup_string(value);
        break;
    case VMIG_MEMBER_TEXTS:
        g_strfreev(*(char ***)at);
        *(char ***)at = g_value_dup_boxed(value);
        break;
    case VMIG_MEMBER_FLAG:
        *(gboolean *)at = g_value_get_boolean(value);
        break;
    case VMIG_MEMBER_NUMBER:
        *(guint64 *)at = g_value_get_uint64(value);
        break;
    case VMIG_MEMBER_ENUM:
        *(int *)at = g_value_get_enum(value);
        break;
    }
}

void vmig_members_clear(gpointer object, const VmigMember *members, guint n)
{
    for (guint i = 0; i < n; i++) {
        gpointer at = (char *)object + members[i].offset;
        if (members[i].kind == VMIG_MEMBER_TEXT)
            g_clear_pointer((char **)at, g_free);
        else if (members[i].kind == VMIG_MEMBER_TEXTS)
            g_clear_pointer((char ***)at, g_strfreev);
    }
}
