/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Parses a destination's URI. Every part may contain only permitted characters: ssh takes a host that begins with '-'
 * for an option (CVE-2017-1000117) and passes host and user to shells (CVE-2023-51385). */
#include "link/destination.h"

#include <string.h>

#include "core/names.h"

#define HOST_CHARS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_"
#define IPV6_CHARS "abcdefABCDEF0123456789:."
#define USER_CHARS HOST_CHARS "+"
#define HINT "qemu+ssh://HOST/system, qemu+tls://HOST/system or qemu+tcp://HOST/system"

void vmig_destination_free(VmigDestination *destination)
{
    if (destination == NULL)
        return;
    g_free(destination->scheme);
    g_free(destination->user);
    g_free(destination->host);
    g_free(destination->keyfile);
    g_free(destination->socket);
    g_free(destination->mode);
    g_free(destination);
}

static gboolean refuse(GError **error, const char *uri, const char *why)
{
    g_autofree char *shown = vmig_text_escape(uri, (gssize)MIN(strlen(uri), 200));

    return vmig_fail(error, VMIG_ERROR_BAD_URI, HINT, "'%s': %s", shown, why);
}

static gboolean made_of(const char *text, const char *chars, gsize limit)
{
    gsize length = strlen(text);

    return length > 0 && length <= limit && *text != '-' && strspn(text, chars) == length;
}

/* "fe80::1%eth0": the zone is the name of a network interface. */
static gboolean is_ipv6(const char *host)
{
    g_auto(GStrv) parts = g_strsplit(host, "%", 2);

    return strchr(parts[0], ':') != NULL && made_of(parts[0], IPV6_CHARS, 45) &&
           (parts[1] == NULL || made_of(parts[1], HOST_CHARS, 15));
}

gboolean vmig_destination_is_host(const char *text)
{
    return made_of(text, HOST_CHARS, 255) || is_ipv6(text);
}

static const char *scheme_of(const char *scheme)
{
    static const char *const known[] = {"qemu+ssh", "qemu+tls", "qemu+tcp"};

    for (guint i = 0; i < G_N_ELEMENTS(known); i++)
        if (g_strcmp0(scheme, known[i]) == 0)
            return known[i] + strlen("qemu+");
    return NULL;
}

/* ssh expands '%' in the names of files, and gives "none" and ~ a special meaning. */
static gboolean is_plain_path(const char *path)
{
    if (*path != '/' || strlen(path) >= 4096 || strchr(path, '%') != NULL || strchr(path, '$') != NULL)
        return FALSE;
    for (const char *c = path; *c != '\0'; c++)
        if (!g_ascii_isprint(*c))
            return FALSE;
    return TRUE;
}

/* Whether the value is one of those that are permitted. */
typedef gboolean (*Check)(const char *value);

static gboolean is_mode(const char *value)
{
    static const char *const modes[] = {"auto", "direct", "legacy", NULL};

    return g_strv_contains(modes, value);
}

static gboolean is_proxy(const char *value)
{
    static const char *const proxies[] = {"auto", "netcat", "native", NULL};

    return g_strv_contains(proxies, value);
}

static gboolean is_one(const char *value)
{
    return g_str_equal(value, "1");
}

/* libvirt has more: command= and netcat= name programs to run, no_verify=1 gives up the proof of the host, known_hosts=
 * and sshauth= are for other ssh libraries, name= is for other drivers. */
static const struct {
    const char *name;
    Check check;
    const char *expected;
    gsize member; /* of VmigDestination, for the value; 0: it changes nothing */
} parameters[] = {
    {"keyfile", is_plain_path, "a plain absolute path", G_STRUCT_OFFSET(VmigDestination, keyfile)},
    {"socket", is_plain_path, "a plain absolute path", G_STRUCT_OFFSET(VmigDestination, socket)},
    {"mode", is_mode, "auto, direct or legacy", G_STRUCT_OFFSET(VmigDestination, mode)},
    {"proxy", is_proxy, "auto, netcat or native", 0},
    {"no_tty", is_one, "1", 0},
};

static gboolean read_parameter(VmigDestination *destination, guint i, const char *escaped, const char *uri,
                               GError **error)
{
    g_autofree char *value = g_uri_unescape_string(escaped, NULL);
    g_autofree char *why = NULL;

    if (!g_str_equal(destination->scheme, "ssh"))
        why = g_strdup_printf("%s= is only for ssh", parameters[i].name);
    else if (value == NULL || !parameters[i].check(value))
        why = g_strdup_printf("%s= is not %s", parameters[i].name, parameters[i].expected);
    if (why != NULL)
        return refuse(error, uri, why);
    if (parameters[i].member == 0)
        return TRUE;
    char **ret = G_STRUCT_MEMBER_P(destination, parameters[i].member);
    if (*ret != NULL) {
        why = g_strdup_printf("%s= is given twice", parameters[i].name);
        return refuse(error, uri, why);
    }
    *ret = g_steal_pointer(&value);
    return TRUE;
}

static gboolean read_query(VmigDestination *destination, const char *query, const char *uri, GError **error)
{
    g_auto(GStrv) parts = g_strsplit(query, "&", -1);

    if (*query == '\0')
        return refuse(error, uri, "the query is empty");
    for (guint i = 0; parts[i] != NULL; i++) {
        const char *equals = strchr(parts[i], '=');
        gsize length = equals != NULL ? (gsize)(equals - parts[i]) : 0;
        guint known = 0;
        while (known < G_N_ELEMENTS(parameters) &&
               (length != strlen(parameters[known].name) || strncmp(parts[i], parameters[known].name, length) != 0))
            known++;
        if (known == G_N_ELEMENTS(parameters))
            return refuse(error, uri, "the supported parameters are keyfile=, socket=, mode=, proxy= and no_tty=");
        if (!read_parameter(destination, known, equals + 1, uri, error))
            return FALSE;
    }
    if (destination->socket != NULL && destination->mode != NULL)
        return refuse(error, uri, "socket= and mode= exclude each other");
    return TRUE;
}

static gboolean read_parts(VmigDestination *destination, GUri *parsed, const char *uri, GError **error)
{
    const char *scheme = scheme_of(g_uri_get_scheme(parsed));
    const char *host = g_uri_get_host(parsed);
    const char *user = g_uri_get_user(parsed);
    gint port = g_uri_get_port(parsed);

    if (scheme == NULL)
        return refuse(error, uri, "it is not the libvirt of another host");
    if (g_uri_get_password(parsed) != NULL)
        return refuse(error, "(not shown)", "it contains a password");
    if (host == NULL || *host == '\0')
        return refuse(error, uri, "it has no host name");
    if (!made_of(host, HOST_CHARS, 255) && !is_ipv6(host))
        return refuse(error, uri, "the host name is invalid");
    if (user != NULL && !made_of(user, USER_CHARS, 255))
        return refuse(error, uri, "the user name is invalid");
    if (port == 0 || port > 65535)
        return refuse(error, uri, "the port is invalid");
    if (g_strcmp0(g_uri_get_path(parsed), "/system") != 0)
        return refuse(error, uri, "only the system libvirt (/system) can migrate");
    if (g_uri_get_fragment(parsed) != NULL)
        return refuse(error, uri, "it has a fragment");
    destination->scheme = g_strdup(scheme);
    destination->host = g_strdup(host);
    destination->user = g_strdup(user);
    destination->port = port > 0 ? (guint)port : 0;
    return g_uri_get_query(parsed) == NULL || read_query(destination, g_uri_get_query(parsed), uri, error);
}

VmigDestination *vmig_destination_parse(const char *uri, GError **error)
{
    g_autoptr(VmigDestination) destination = g_new0(VmigDestination, 1);

    for (const char *c = uri; *c != '\0'; c++) {
        if (!g_ascii_isgraph(*c)) {
            refuse(error, uri, "it contains spaces, control characters or characters that are not ASCII");
            return NULL;
        }
    }
    g_autoptr(GUri) parsed =
        strlen(uri) < 4096 ? g_uri_parse(uri, G_URI_FLAGS_HAS_PASSWORD | G_URI_FLAGS_ENCODED_QUERY, NULL) : NULL;
    if (parsed == NULL) {
        refuse(error, uri, "it is not a URI");
        return NULL;
    }
    return read_parts(destination, parsed, uri, error) ? g_steal_pointer(&destination) : NULL;
}
