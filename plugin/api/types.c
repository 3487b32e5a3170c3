/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The GTypes of the public enumerations, and what callers ask of an error. */
#include "vmig-snap/vmig-snap.h"

#include "api/hints.h"
#include "core/errors.h"

G_DEFINE_ENUM_TYPE(VmigMerge, vmig_merge, G_DEFINE_ENUM_VALUE(VMIG_MERGE_COMMIT, "commit"),
                   G_DEFINE_ENUM_VALUE(VMIG_MERGE_MIRROR, "mirror"), G_DEFINE_ENUM_VALUE(VMIG_MERGE_AUTO, "auto"))

G_DEFINE_ENUM_TYPE(VmigTransport, vmig_transport, G_DEFINE_ENUM_VALUE(VMIG_TRANSPORT_DEFAULT, "default"),
                   G_DEFINE_ENUM_VALUE(VMIG_TRANSPORT_SSH, "ssh"), G_DEFINE_ENUM_VALUE(VMIG_TRANSPORT_TLS, "tls"),
                   G_DEFINE_ENUM_VALUE(VMIG_TRANSPORT_TCP, "tcp"))

G_DEFINE_ENUM_TYPE(VmigSourceImages, vmig_source_images, G_DEFINE_ENUM_VALUE(VMIG_SOURCE_IMAGES_KEEP, "keep"),
                   G_DEFINE_ENUM_VALUE(VMIG_SOURCE_IMAGES_DELETE, "delete"))

G_DEFINE_FLAGS_TYPE(VmigListFlags, vmig_list_flags, G_DEFINE_ENUM_VALUE(VMIG_LIST_NONE, "none"),
                    G_DEFINE_ENUM_VALUE(VMIG_LIST_ALL, "all"))

G_DEFINE_FLAGS_TYPE(VmigDoctorFlags, vmig_doctor_flags, G_DEFINE_ENUM_VALUE(VMIG_DOCTOR_NONE, "none"),
                    G_DEFINE_ENUM_VALUE(VMIG_DOCTOR_FIX, "fix"))

G_DEFINE_FLAGS_TYPE(VmigPurgeFlags, vmig_purge_flags, G_DEFINE_ENUM_VALUE(VMIG_PURGE_NONE, "none"),
                    G_DEFINE_ENUM_VALUE(VMIG_PURGE_WITHOUT_DESTINATION, "without-destination"))

G_DEFINE_ENUM_TYPE(VmigErrorClass, vmig_error_class, G_DEFINE_ENUM_VALUE(VMIG_CLASS_USAGE, "usage"),
                   G_DEFINE_ENUM_VALUE(VMIG_CLASS_REFUSAL, "refusal"),
                   G_DEFINE_ENUM_VALUE(VMIG_CLASS_TRANSIENT, "transient"),
                   G_DEFINE_ENUM_VALUE(VMIG_CLASS_NO_SPACE, "no-space"), G_DEFINE_ENUM_VALUE(VMIG_CLASS_IO, "io"),
                   G_DEFINE_ENUM_VALUE(VMIG_CLASS_GONE, "gone"), G_DEFINE_ENUM_VALUE(VMIG_CLASS_FATAL, "fatal"))

/* G_DEFINE_ENUM_TYPE() cannot take its values from a table. */
GType vmig_error_get_type(void)
{
    static const GEnumValue values[] = {
#define VMIG_CODE(symbol, name, cls, meaning) {VMIG_ERROR_##symbol, "VMIG_ERROR_" #symbol, name},
#include "core/errors.def"
#undef VMIG_CODE
        {0, NULL, NULL},
    };
    static gsize type;

    if (g_once_init_enter(&type))
        g_once_init_leave(&type, g_enum_register_static(g_intern_static_string("VmigErrorCode"), values));
    return type;
}

/**
 * vmig_error_quark:
 *
 * Returns: the domain %VMIG_ERROR
 */

/**
 * vmig_error_get_name:
 * @error: an error
 *
 * The stable name of the error's code, as in JSON documents: "no-space".
 *
 * Returns: (transfer none): the name; "internal" for an error of another domain
 */
const char *vmig_error_get_name(const GError *error)
{
    g_return_val_if_fail(error != NULL, NULL);
    return vmig_error_name_of(error);
}

/**
 * vmig_error_get_hint:
 * @error: an error
 *
 * What to do about the error: a sentence or a command. The copy of an error that a language binding makes has the hint
 * of its original if that is one of the last 64 errors with a hint that the library returned in this process.
 *
 * Returns: (transfer none) (nullable): the hint, owned by the error
 */
const char *vmig_error_get_hint(const GError *error)
{
    g_return_val_if_fail(error != NULL, NULL);
    if (error->domain == VMIG_ERROR && vmig_error_hint(error) == NULL)
        vmig_hints_restore((GError *)error);
    return vmig_error_hint(error);
}

/**
 * vmig_error_set_hint: (skip)
 * @error: an error of this domain; another one is left alone
 * @format: a format of printf() for the hint
 * @...: its arguments
 *
 * Sets or replaces the hint.
 */

/**
 * vmig_error_code_get_name:
 * @code: a code
 *
 * Returns: (transfer none): the stable name of the code: "no-space"; "internal" if this version does not know it
 */
const char *vmig_error_code_get_name(VmigErrorCode code)
{
    return vmig_error_name(code);
}

/**
 * vmig_error_code_from_name:
 * @name: (nullable): the name of a code, as in documents
 * @code: (out): return location for the code
 *
 * Returns: %FALSE if this version does not know the name
 */
gboolean vmig_error_code_from_name(const char *name, VmigErrorCode *code)
{
    VmigErrorCode found = vmig_error_from_name(name);

    g_return_val_if_fail(code != NULL, FALSE);
    if (found == VMIG_ERROR_LAST)
        return FALSE;
    *code = found;
    return TRUE;
}

/**
 * vmig_error_code_get_class:
 * @code: a code
 *
 * Returns: the class of the code; %VMIG_CLASS_FATAL if this version does not know it
 */
VmigErrorClass vmig_error_code_get_class(VmigErrorCode code)
{
    return vmig_error_class(code);
}

/**
 * vmig_version:
 *
 * Returns: (transfer none): the version of the library: "1.0.0"
 */
const char *vmig_version(void)
{
    return VMIG_VERSION;
}
