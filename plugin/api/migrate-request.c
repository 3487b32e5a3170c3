/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The request of a plan or a migration: its properties, and the checks that need no host. */
#include <string.h>

#include "api/hints.h"
#include "api/properties.h"
#include "api/requests.h"
#include "core/errors.h"
#include "core/names.h"
#include "link/destination.h"

/* QEMU's own limits: MAX_MIGRATE_DOWNTIME of migration/options.c, and multifd-channels is an uint8. */
#define MAX_DOWNTIME_MS (2000 * 1000)
#define MAX_PARALLEL 255
#define MAX_TIMEOUT_S (365 * 24 * 3600)
#define NAME_LIMIT 255 /* a domain's name is also a file's name for libvirt */
#define POLICY_CHARS "abcdefghijklmnopqrstuvwxyz0123456789-"

G_DEFINE_FINAL_TYPE(VmigMigrateRequest, vmig_migrate_request, G_TYPE_OBJECT)

#define MEMBER(name, kind, member, ...)                                                                                \
    {                                                                                                                  \
        name, kind, G_STRUCT_OFFSET(VmigMigrateRequest, member), __VA_ARGS__                                           \
    }

static const VmigMember members[] = {
    /**
     * VmigMigrateRequest:domain:
     *
     * Name or UUID of the guest.
     */
    MEMBER("domain", VMIG_MEMBER_TEXT, domain, 0, NULL),
    /**
     * VmigMigrateRequest:destination:
     *
     * libvirt URI of the destination: qemu+ssh://HOST/system, qemu+tls://HOST/system or qemu+tcp://HOST/system.
     */
    MEMBER("destination", VMIG_MEMBER_TEXT, destination, 0, NULL),
    /**
     * VmigMigrateRequest:disks:
     *
     * Targets of the disks to move: "vda". %NULL: every writable disk that the hosts do not share.
     */
    MEMBER("disks", VMIG_MEMBER_TEXTS, disks, 0, NULL),
    /**
     * VmigMigrateRequest:maps:
     *
     * Where disks go on the destination, each "TARGET=PATH".
     */
    MEMBER("maps", VMIG_MEMBER_TEXTS, maps, 0, NULL),
    /**
     * VmigMigrateRequest:map-dirs:
     *
     * Where the files of folders go on the destination, each "OLD=NEW".
     */
    MEMBER("map-dirs", VMIG_MEMBER_TEXTS, map_dirs, 0, NULL),
    /**
     * VmigMigrateRequest:merge:
     *
     * How later writes get into the copy.
     */
    MEMBER("merge", VMIG_MEMBER_ENUM, merge, VMIG_MERGE_COMMIT, vmig_merge_get_type),
    /**
     * VmigMigrateRequest:transport:
     *
     * How disks and memory travel.
     */
    MEMBER("transport", VMIG_MEMBER_ENUM, transport, VMIG_TRANSPORT_DEFAULT, vmig_transport_get_type),
    /**
     * VmigMigrateRequest:source-images:
     *
     * What happens to the images on the source.
     */
    MEMBER("source-images", VMIG_MEMBER_ENUM, source_images, VMIG_SOURCE_IMAGES_KEEP, vmig_source_images_get_type),
    /**
     * VmigMigrateRequest:policy:
     *
     * Name of the file in policy.d that says when a failed step is repeated. %NULL: "default".
     */
    MEMBER("policy", VMIG_MEMBER_TEXT, policy, 0, NULL),
    /**
     * VmigMigrateRequest:migrate-host:
     *
     * The destination's name or address for libvirt on the source. %NULL: the one in #VmigMigrateRequest:destination.
     */
    MEMBER("migrate-host", VMIG_MEMBER_TEXT, migrate_host, 0, NULL),
    /**
     * VmigMigrateRequest:bandwidth:
     *
     * Limit of all storage traffic in bytes a second; 0: no limit. vmig_session_set_bandwidth() changes it later.
     */
    MEMBER("bandwidth", VMIG_MEMBER_NUMBER, bandwidth, 0, NULL),
    /**
     * VmigMigrateRequest:max-downtime:
     *
     * How long the guest may be stopped for the switchover, in milliseconds; 0: libvirt's default.
     */
    MEMBER("max-downtime", VMIG_MEMBER_NUMBER, max_downtime, 0, NULL),
    /**
     * VmigMigrateRequest:parallel:
     *
     * Number of connections for the memory; 0: one, without QEMU's multifd.
     */
    MEMBER("parallel", VMIG_MEMBER_NUMBER, parallel, 0, NULL),
    /**
     * VmigMigrateRequest:timeout:
     *
     * Seconds after which the migration of the memory is given up; 0: none.
     */
    MEMBER("timeout", VMIG_MEMBER_NUMBER, timeout, 0, NULL),
    /**
     * VmigMigrateRequest:auto-converge:
     *
     * Whether QEMU slows the guest down if it writes faster than memory can be sent.
     */
    MEMBER("auto-converge", VMIG_MEMBER_FLAG, auto_converge, FALSE, NULL),
    /**
     * VmigMigrateRequest:postcopy:
     *
     * Whether memory may follow the guest after the switchover.
     */
    MEMBER("postcopy", VMIG_MEMBER_FLAG, postcopy, FALSE, NULL),
    /**
     * VmigMigrateRequest:verify:
     *
     * Whether every snapshot is compared on both hosts before the job is done.
     */
    MEMBER("verify", VMIG_MEMBER_FLAG, verify, FALSE, NULL),
    /**
     * VmigMigrateRequest:rehearse:
     *
     * Whether the destination first proves that it starts the guest, with a paused twin on empty disks.
     */
    MEMBER("rehearse", VMIG_MEMBER_FLAG, rehearse, TRUE, NULL),
    /**
     * VmigMigrateRequest:accept-unrevertable:
     *
     * Whether snapshots that the destination could not revert to are accepted.
     */
    MEMBER("accept-unrevertable", VMIG_MEMBER_FLAG, accept_unrevertable, FALSE, NULL),
};

static void vmig_migrate_request_get_property(GObject *object, guint id, GValue *value, GParamSpec *spec G_GNUC_UNUSED)
{
    vmig_members_get(object, &members[id - 1], value);
}

static void vmig_migrate_request_set_property(GObject *object, guint id, const GValue *value,
                                              GParamSpec *spec G_GNUC_UNUSED)
{
    vmig_members_set(object, &members[id - 1], value);
}

static void vmig_migrate_request_finalize(GObject *object)
{
    vmig_members_clear(object, members, G_N_ELEMENTS(members));
    G_OBJECT_CLASS(vmig_migrate_request_parent_class)->finalize(object);
}

static void vmig_migrate_request_class_init(VmigMigrateRequestClass *klass)
{
    GObjectClass *object_class = G_OBJECT_CLASS(klass);

    object_class->get_property = vmig_migrate_request_get_property;
    object_class->set_property = vmig_migrate_request_set_property;
    object_class->finalize = vmig_migrate_request_finalize;
    vmig_members_install(object_class, members, G_N_ELEMENTS(members));
}

static void vmig_migrate_request_init(VmigMigrateRequest *self G_GNUC_UNUSED)
{
}

/**
 * vmig_migrate_request_new:
 * @domain: name or UUID of the guest
 * @destination: libvirt URI of the destination
 *
 * A request with the default of every other property.
 *
 * Returns: (transfer full): a new request
 */
VmigMigrateRequest *vmig_migrate_request_new(const char *domain, const char *destination)
{
    return g_object_new(VMIG_TYPE_MIGRATE_REQUEST, "domain", domain, "destination", destination, NULL);
}

/* --- checks --- */

static gboolean check_name(const char *property, const char *name, GError **error)
{
    if (name == NULL || *name == '\0')
        return vmig_fail(error, VMIG_ERROR_BAD_NAME, NULL, "%s: the name is empty", property);
    g_autofree char *shown = vmig_text_escape(name, (gssize)MIN(strlen(name), 200));
    if (strlen(name) > NAME_LIMIT)
        return vmig_fail(error, VMIG_ERROR_BAD_NAME, NULL, "%s: '%s...' has more than %d bytes", property, shown,
                         NAME_LIMIT);
    gboolean plain = g_utf8_validate(name, -1, NULL);
    for (const char *c = name; plain && *c != '\0'; c = g_utf8_next_char(c))
        plain = !g_unichar_iscntrl(g_utf8_get_char(c));
    return plain || vmig_fail(error, VMIG_ERROR_BAD_NAME, NULL,
                              "%s: '%s' has control characters or is not UTF-8, so it is not a name", property, shown);
}

static gboolean check_disks(char **disks, GError **error)
{
    for (guint i = 0; disks != NULL && disks[i] != NULL; i++) {
        if (!check_name("disks", disks[i], error))
            return FALSE;
        for (guint k = 0; k < i; k++)
            if (strcmp(disks[k], disks[i]) == 0)
                return vmig_fail(error, VMIG_ERROR_USAGE, NULL, "disks: '%s' is given twice", disks[i]);
    }
    return TRUE;
}

/* It becomes the name of a file in /etc/vmig-snap/policy.d. */
static gboolean check_policy(const char *policy, GError **error)
{
    if (policy == NULL)
        return TRUE;
    gsize length = strlen(policy);
    if (length > 0 && length <= 64 && *policy != '-' && strspn(policy, POLICY_CHARS) == length)
        return TRUE;
    g_autofree char *shown = vmig_text_escape(policy, -1);
    return vmig_fail(
        error, VMIG_ERROR_BAD_NAME,
        "The name consists of small letters, digits and '-', like that of its file in /etc/vmig-snap/policy.d.",
        "policy: '%s' is not the name of a policy", shown);
}

/* It becomes a part of a URI. */
static gboolean check_migrate_host(const char *host, GError **error)
{
    if (host == NULL || vmig_destination_is_host(host))
        return TRUE;
    g_autofree char *shown = vmig_text_escape(host, -1);
    return vmig_fail(error, VMIG_ERROR_BAD_NAME, NULL, "migrate-host: '%s' is not the name or address of a host",
                     shown);
}

static gboolean check_number(const char *property, guint64 value, guint64 max, GError **error)
{
    return value <= max || vmig_fail(error, VMIG_ERROR_USAGE, NULL,
                                     "%s: %" G_GUINT64_FORMAT " is more than %" G_GUINT64_FORMAT, property, value, max);
}

static gboolean check_destination(const char *uri, GError **error)
{
    g_autoptr(VmigDestination) destination = vmig_destination_parse(uri != NULL ? uri : "", error);

    if (destination == NULL)
        g_prefix_error(error, "destination: ");
    return destination != NULL;
}

static gboolean check(VmigMigrateRequest *request, GError **error)
{
    g_autoptr(VmigPathMap) map = NULL;

    if (!check_name("domain", request->domain, error) || !check_destination(request->destination, error) ||
        !check_disks(request->disks, error))
        return FALSE;
    map = vmig_migrate_request_map(request, error);
    return map != NULL && check_policy(request->policy, error) && check_migrate_host(request->migrate_host, error) &&
           check_number("bandwidth", request->bandwidth, G_MAXINT64, error) &&
           check_number("max-downtime", request->max_downtime, MAX_DOWNTIME_MS, error) &&
           check_number("parallel", request->parallel, MAX_PARALLEL, error) &&
           check_number("timeout", request->timeout, MAX_TIMEOUT_S, error);
}

/**
 * vmig_migrate_request_check:
 * @request: a request
 * @error: return location for an error
 *
 * Checks what can be checked without a host: names, paths, numbers and the form of the URI. Every call that takes a
 * request does it too. The message of the error begins with the name of the property.
 *
 * Returns: %TRUE if nothing is wrong; else %FALSE with %VMIG_ERROR_USAGE, %VMIG_ERROR_BAD_NAME, %VMIG_ERROR_BAD_PATH or
 *   %VMIG_ERROR_BAD_URI
 */
gboolean vmig_migrate_request_check(VmigMigrateRequest *request, GError **error)
{
    GError *why = NULL;

    g_return_val_if_fail(VMIG_IS_MIGRATE_REQUEST(request), FALSE);
    gboolean good = check(request, &why);
    return vmig_hints_pass(good, why, error);
}

/* --- what the flow takes --- */

static const char *nick(GType type, int value)
{
    g_autoptr(GEnumClass) klass = g_type_class_ref(type);
    const GEnumValue *found = g_enum_get_value(klass, value);

    return found != NULL ? found->value_nick : NULL;
}

void vmig_migrate_request_options(const VmigMigrateRequest *request, const char *scheme, VmigOptions *options)
{
    gboolean follows = request->transport == VMIG_TRANSPORT_DEFAULT;

    options->merge = g_strdup(nick(VMIG_TYPE_MERGE, request->merge));
    options->transport = g_strdup(follows ? scheme : nick(VMIG_TYPE_TRANSPORT, request->transport));
    options->policy = g_strdup(request->policy != NULL ? request->policy : "default");
    options->bandwidth = request->bandwidth;
    options->max_downtime = request->max_downtime;
    options->parallel = request->parallel;
    options->timeout = request->timeout;
    options->auto_converge = request->auto_converge;
    options->postcopy = request->postcopy;
    options->verify = request->verify;
    options->no_rehearsal = !request->rehearse;
    options->accept_unrevertable = request->accept_unrevertable;
    options->migrate_host = g_strdup(request->migrate_host);
    options->keep_source = request->source_images == VMIG_SOURCE_IMAGES_KEEP;
}

void vmig_migrate_request_options_clear(VmigOptions *options)
{
    g_clear_pointer(&options->merge, g_free);
    g_clear_pointer(&options->transport, g_free);
    g_clear_pointer(&options->policy, g_free);
    g_clear_pointer(&options->migrate_host, g_free);
}

VmigPathMap *vmig_migrate_request_map(const VmigMigrateRequest *request, GError **error)
{
    g_autoptr(VmigPathMap) map = vmig_path_map_new();

    for (char **text = request->maps; text != NULL && *text != NULL; text++)
        if (!vmig_path_map_add_target(map, *text, error)) {
            g_prefix_error(error, "maps: ");
            return NULL;
        }
    for (char **text = request->map_dirs; text != NULL && *text != NULL; text++)
        if (!vmig_path_map_add_dir(map, *text, error)) {
            g_prefix_error(error, "map-dirs: ");
            return NULL;
        }
    return g_steal_pointer(&map);
}
