/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The first message of the agent. Data from the agent is not trusted. */
#include "node/agent-hello.h"

#include <string.h>

#include "core/names.h"
#include "node/agent.h"

/* Lines that a login shell may print before the agent begins. */
#define MAX_GREETING 1000
/* What prints and then does nothing more is not a login shell. */
#define GREETING_US (10 * G_USEC_PER_SEC)

GError *vmig_agent_failure(VmigReader *reply, JsonObject *object)
{
    VmigReader reader = vmig_reader(object);
    const char *name = vmig_reader_text(&reader, "code");
    const char *message = vmig_reader_text(&reader, "message");
    const char *hint = vmig_reader_maybe_text(&reader, "hint");
    gboolean has_foreign = json_object_has_member(object, "foreign_code");
    gint64 domain = has_foreign ? vmig_reader_number(&reader, "foreign_domain") : 0;
    gint64 code = has_foreign ? vmig_reader_number(&reader, "foreign_code") : 0;

    if (reader.member != NULL) {
        vmig_reader_mistake(reply, reader.member, reader.expected);
        return NULL;
    }
    VmigErrorCode known = vmig_error_from_name(name);
    g_autofree char *text = vmig_text_escape(message, -1);
    g_autofree char *advice = hint != NULL ? vmig_text_escape(hint, -1) : NULL;
    GError *failure = NULL;
    vmig_fail(&failure, known != VMIG_ERROR_LAST ? known : VMIG_ERROR_INTERNAL, advice, "%s", text);
    if (has_foreign)
        vmig_error_set_foreign(failure, (int)CLAMP(domain, G_MININT, G_MAXINT), (int)CLAMP(code, G_MININT, G_MAXINT));
    return failure;
}

/* The agent runs, but cannot serve. */
static gboolean is_refusal(const char *host, VmigReader *outer, GError **error)
{
    JsonObject *problem = vmig_reader_maybe_object(outer, "error");
    GError *why = problem != NULL ? vmig_agent_failure(outer, problem) : NULL;

    if (why == NULL)
        return FALSE;
    if (vmig_error_hint(why) != NULL) {
        g_autofree char *hint = g_strdup(vmig_error_hint(why));
        vmig_error_set_hint(why, "On %s: %s", host, hint);
    }
    g_propagate_prefixed_error(error, why, "%s: ", host);
    return TRUE;
}

/* Login shells print: a message of the day, or what somebody put into .bashrc, with or without the end of a line. Such
 * text before the hello is skipped. */
static const char *find_hello(const char *line, gsize length)
{
    static const char *const begins[] = {"{\"hello\":", "{\"error\":"};
    const char *found = NULL;

    for (guint i = 0; i < G_N_ELEMENTS(begins) && found == NULL; i++)
        found = g_strstr_len(line, (gssize)length, begins[i]);
    return found;
}

/* What came instead. */
static gboolean refuse_greeting(const char *host, const char *line, gsize length, GError **error)
{
    g_autofree char *words = vmig_text_escape(line, (gssize)MIN(length, 200));

    return vmig_fail(error, VMIG_ERROR_PROTOCOL, "Find out what that host runs instead of `vmig-snap agent`.",
                     "%s: received \"%s\" instead of the agent's hello", host, words);
}

static gboolean check_hello(const char *host, const char *line, gsize length, gboolean *said, GError **error)
{
    g_autoptr(JsonObject) object = vmig_json_parse(line, length, NULL);
    JsonObject *hello = NULL;

    if (object != NULL) {
        VmigReader outer = vmig_reader(object);
        hello = vmig_reader_maybe_object(&outer, "hello");
        *said = hello == NULL && is_refusal(host, &outer, error);
    }
    if (*said)
        return FALSE;
    if (hello == NULL)
        return refuse_greeting(host, line, length, error);
    VmigReader reader = vmig_reader(hello);
    gint64 protocol = vmig_reader_number(&reader, "protocol");
    const char *version = vmig_reader_text(&reader, "version");
    if (!vmig_reader_end(&reader, error, "%s: the agent's hello", host))
        return FALSE;
    if (protocol == VMIG_PROTOCOL)
        return TRUE;
    g_autofree char *theirs = vmig_text_escape(version, (gssize)MIN(strlen(version), 100));
    return vmig_fail(error, VMIG_ERROR_PROTOCOL, "Install the same version of vmig-snap on both hosts.",
                     "%s: vmig-snap %s uses protocol version %" G_GINT64_FORMAT ", but %s on this host uses version %d",
                     host, theirs, protocol, VMIG_VERSION, VMIG_PROTOCOL);
}

static gboolean no_hello(const char *host, VmigLineResult result, const char *greeting, GError **error)
{
    if (result != VMIG_LINE_END && result != VMIG_LINE_LATE) {
        g_prefix_error(error, "%s: ", host);
        return FALSE;
    }
    if (greeting != NULL)
        return refuse_greeting(host, greeting, strlen(greeting), error);
    return result == VMIG_LINE_END
               ? vmig_fail(error, VMIG_ERROR_NO_AGENT, "Install vmig-snap on that host.",
                           "%s: no vmig-snap agent was found", host)
               : vmig_fail(error, VMIG_ERROR_TIMEOUT, NULL, "%s: the agent did not send its hello in time", host);
}

gboolean vmig_agent_hello_await(VmigLines *lines, const char *host, gint64 until, gboolean *said, GError **error)
{
    g_autofree char *greeting = NULL; /* its first line */
    const char *line;
    gsize length;

    for (guint skipped = 0; skipped < MAX_GREETING; skipped++) {
        VmigLineResult result = vmig_lines_next(lines, -1, until, &line, &length, error);
        if (result != VMIG_LINE_GOT)
            return no_hello(host, result, greeting, error);
        const char *hello = find_hello(line, length);
        if (hello != NULL)
            return check_hello(host, hello, length - (gsize)(hello - line), said, error);
        if (greeting == NULL)
            greeting = g_strndup(line, length);
        until = MIN(until, g_get_monotonic_time() + GREETING_US);
    }
    return refuse_greeting(host, greeting, strlen(greeting), error);
}
