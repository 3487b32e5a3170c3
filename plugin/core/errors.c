/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The error domain. Each GError carries the hint and the foreign code. */
#include "core/errors.h"

#include <errno.h>
#include <string.h>

typedef struct {
    char *hint;
    int foreign_domain;
    int foreign_code;
    gboolean has_foreign;
} VmigErrorPrivate;

static void vmig_error_private_init(VmigErrorPrivate *priv)
{
    memset(priv, 0, sizeof *priv);
}

static void vmig_error_private_copy(const VmigErrorPrivate *src, VmigErrorPrivate *dst)
{
    *dst = *src;
    dst->hint = g_strdup(src->hint);
}

static void vmig_error_private_clear(VmigErrorPrivate *priv)
{
    g_free(priv->hint);
}

G_DEFINE_EXTENDED_ERROR(VmigError, vmig_error)

static const struct {
    const char *name;
    VmigErrorClass cls;
    const char *meaning;
} codes[] = {
#define VMIG_CODE(symbol, name, cls, meaning) [VMIG_ERROR_##symbol] = {name, VMIG_CLASS_##cls, meaning},
#include "core/errors.def"
#undef VMIG_CODE
};
G_STATIC_ASSERT(G_N_ELEMENTS(codes) == VMIG_ERROR_LAST);

const char *vmig_error_name(VmigErrorCode code)
{
    /* A removed code leaves a number without a row. */
    return code < VMIG_ERROR_LAST && codes[code].name != NULL ? codes[code].name : "internal";
}

const char *vmig_error_meaning(VmigErrorCode code)
{
    return code < VMIG_ERROR_LAST && codes[code].name != NULL ? codes[code].meaning : "";
}

VmigErrorClass vmig_error_class(VmigErrorCode code)
{
    return code < VMIG_ERROR_LAST && codes[code].name != NULL ? codes[code].cls : VMIG_CLASS_FATAL;
}

VmigErrorCode vmig_error_from_name(const char *name)
{
    for (guint i = 0; i < VMIG_ERROR_LAST; i++)
        if (name != NULL && g_strcmp0(codes[i].name, name) == 0)
            return i;
    return VMIG_ERROR_LAST;
}

const char *vmig_error_name_of(const GError *error)
{
    return error->domain == VMIG_ERROR ? vmig_error_name((VmigErrorCode)error->code) : "internal";
}

const char *vmig_error_hint(const GError *error)
{
    return error->domain == VMIG_ERROR ? vmig_error_get_private(error)->hint : NULL;
}

void vmig_error_set_hint(GError *error, const char *format, ...)
{
    va_list args;

    if (error->domain != VMIG_ERROR)
        return;
    VmigErrorPrivate *priv = vmig_error_get_private(error);
    g_free(priv->hint);
    va_start(args, format);
    priv->hint = g_strdup_vprintf(format, args);
    va_end(args);
}

void vmig_error_set_foreign(GError *error, int domain, int code)
{
    if (error->domain != VMIG_ERROR)
        return;
    VmigErrorPrivate *priv = vmig_error_get_private(error);
    priv->foreign_domain = domain;
    priv->foreign_code = code;
    priv->has_foreign = TRUE;
}

gboolean vmig_error_get_foreign(const GError *error, int *domain, int *code)
{
    if (error->domain != VMIG_ERROR)
        return FALSE;
    const VmigErrorPrivate *priv = vmig_error_get_private(error);
    if (!priv->has_foreign)
        return FALSE;
    *domain = priv->foreign_domain;
    *code = priv->foreign_code;
    return TRUE;
}

gboolean vmig_fail(GError **error, VmigErrorCode code, const char *hint, const char *format, ...)
{
    va_list args;

    if (error == NULL)
        return FALSE;
    va_start(args, format);
    g_autofree char *message = g_strdup_vprintf(format, args);
    va_end(args);
    g_set_error_literal(error, VMIG_ERROR, (int)code, message);
    if (hint != NULL)
        vmig_error_set_hint(*error, "%s", hint);
    return FALSE;
}

gboolean vmig_fail_errno(GError **error, int errnum, const char *format, ...)
{
    va_list args;

    if (error == NULL)
        return FALSE;
    va_start(args, format);
    g_autofree char *what = g_strdup_vprintf(format, args);
    va_end(args);
    gboolean full = errnum == ENOSPC || errnum == EDQUOT;
    /* A system call that the kernel lacks, or that a filter refuses, would fail again. */
    gboolean lacks = errnum == ENOSYS;
    VmigErrorCode code = lacks ? VMIG_ERROR_UNSUPPORTED : full ? VMIG_ERROR_NO_SPACE : VMIG_ERROR_IO;
    g_set_error(error, VMIG_ERROR, (int)code, "%s: %s", what, g_strerror(errnum));
    vmig_error_set_foreign(*error, 0, errnum);
    if (lacks)
        vmig_error_set_hint(*error, "The kernel lacks a system call, or a filter refuses it. In a systemd unit "
                                    "RestrictSUIDSGID= refuses openat2(), which Linux has since 5.6.");
    return FALSE;
}

void vmig_error_adopt(GError **error, VmigErrorCode code)
{
    if (error == NULL || *error == NULL || (*error)->domain == VMIG_ERROR)
        return;
    g_autoptr(GError) old = g_steal_pointer(error);
    g_set_error_literal(error, VMIG_ERROR, (int)code, old->message);
}
