/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The parser of the retry policy, and the decision. */
#include "core/retry.h"

#include <math.h>
#include <string.h>

/* Also policy/default.conf; a test compares the two. */
const char vmig_policy_default_text[] = "[transient]\n"
                                        "attempts=20\n"
                                        "first-delay=1\n"
                                        "growth=2\n"
                                        "ceiling=60\n"
                                        "jitter=0.2\n"
                                        "\n"
                                        "[no-space]\n"
                                        "attempts=30\n"
                                        "first-delay=10\n"
                                        "growth=1.5\n"
                                        "ceiling=120\n"
                                        "jitter=0.1\n"
                                        "\n"
                                        "[io]\n"
                                        "attempts=5\n"
                                        "first-delay=5\n"
                                        "growth=2\n"
                                        "ceiling=60\n"
                                        "jitter=0.2\n"
                                        "\n"
                                        "[gone]\n"
                                        "attempts=3\n"
                                        "first-delay=2\n"
                                        "growth=2\n"
                                        "ceiling=10\n"
                                        "jitter=0.2\n"
                                        "\n"
                                        "[unknown]\n"
                                        "attempts=3\n"
                                        "first-delay=5\n"
                                        "growth=2\n"
                                        "ceiling=30\n"
                                        "jitter=0.2\n"
                                        "\n"
                                        "[overall]\n"
                                        "deadline=3600\n"
                                        "then=rollback\n";

static const char *const row_names[] = {"transient", "no-space", "io", "gone", "unknown", "never"};

/* The position of the parser, for its messages. */
typedef struct {
    VmigPolicy *policy;
    guint line;
    int group; /* a VmigRetryRow; VMIG_RETRY_ROWS is [overall]; -1 before the first */
    GHashTable *seen;
} Parser;

const char *vmig_retry_row_name(VmigRetryRow row)
{
    return row <= VMIG_RETRY_NEVER ? row_names[row] : "?";
}

G_GNUC_PRINTF(3, 4)
static gboolean fail_line(GError **error, const Parser *parser, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    g_autofree char *what = g_strdup_vprintf(format, args);
    va_end(args);
    return vmig_fail(error, VMIG_ERROR_USAGE, "See policy/default.conf.", "policy %s, line %u: %s",
                     parser->policy->name, parser->line, what);
}

/* Accepts digits with at most one point: no sign, no exponent, no "inf", and the same in every locale. */
static gboolean parse_number(Parser *p, const char *key, const char *text, double low, double high, double *ret,
                             GError **error)
{
    gsize length = strlen(text);
    const char *point = strchr(text, '.');
    gboolean plain = length > 0 && length <= 15 && strspn(text, "0123456789.") == length && g_ascii_isdigit(text[0]) &&
                     g_ascii_isdigit(text[length - 1]) && (point == NULL || strchr(point + 1, '.') == NULL);

    if (!plain)
        return fail_line(error, p, "%s: '%s' is not a number", key, text);
    *ret = g_ascii_strtod(text, NULL);
    if (*ret < low || *ret > high)
        return fail_line(error, p, "%s: %s is not between %g and %g", key, text, low, high);
    return TRUE;
}

static gboolean parse_seconds(Parser *p, const char *key, const char *text, gint64 *ret, GError **error)
{
    double seconds = 0;

    if (!parse_number(p, key, text, 0, 30 * 86400.0, &seconds, error))
        return FALSE;
    *ret = llround(seconds * G_USEC_PER_SEC);
    return TRUE;
}

static gboolean parse_attempts(Parser *p, const char *text, guint *ret, GError **error)
{
    double number = 0;

    if (strcmp(text, "unlimited") == 0) {
        *ret = G_MAXUINT;
        return TRUE;
    }
    if (strchr(text, '.') != NULL)
        return fail_line(error, p, "attempts: '%s' is not a whole number", text);
    if (!parse_number(p, "attempts", text, 0, 1000000, &number, error))
        return FALSE;
    *ret = (guint)number;
    return TRUE;
}

static gboolean set_rule(Parser *p, const char *key, const char *value, GError **error)
{
    VmigRetryRule *rule = &p->policy->rules[p->group];

    if (strcmp(key, "attempts") == 0)
        return parse_attempts(p, value, &rule->attempts, error);
    if (strcmp(key, "first-delay") == 0)
        return parse_seconds(p, key, value, &rule->first_delay_us, error);
    if (strcmp(key, "growth") == 0)
        return parse_number(p, key, value, 1, 100, &rule->growth, error);
    if (strcmp(key, "ceiling") == 0)
        return parse_seconds(p, key, value, &rule->ceiling_us, error);
    if (strcmp(key, "jitter") == 0)
        return parse_number(p, key, value, 0, 1, &rule->jitter, error);
    return fail_line(error, p, "unknown key '%s' in [%s]", key, row_names[p->group]);
}

static gboolean set_overall(Parser *p, const char *key, const char *value, GError **error)
{
    if (strcmp(key, "deadline") == 0)
        return parse_seconds(p, key, value, &p->policy->deadline_us, error);
    if (strcmp(key, "then") == 0) {
        if (strcmp(value, "park") != 0 && strcmp(value, "rollback") != 0)
            return fail_line(error, p, "then: '%s' is neither park nor rollback", value);
        p->policy->then = strcmp(value, "park") == 0 ? VMIG_THEN_PARK : VMIG_THEN_ROLLBACK;
        return TRUE;
    }
    if (strcmp(key, "command") == 0) {
        if (*value != '/')
            return fail_line(error, p, "command: '%s' is not an absolute path", value);
        g_free(p->policy->command);
        p->policy->command = g_strdup(value);
        return TRUE;
    }
    return fail_line(error, p, "unknown key '%s' in [overall]", key);
}

static gboolean set_group(Parser *p, const char *line, GError **error)
{
    gsize length = strlen(line);

    if (line[length - 1] != ']')
        return fail_line(error, p, "'%s' is not a group", line);
    g_autofree char *name = g_strndup(line + 1, length - 2);
    p->group = -1;
    for (int i = 0; i < VMIG_RETRY_ROWS; i++)
        if (strcmp(name, row_names[i]) == 0)
            p->group = i;
    if (strcmp(name, "overall") == 0)
        p->group = VMIG_RETRY_ROWS;
    if (p->group < 0)
        return fail_line(error, p, "unknown group [%s]", name);
    if (!g_hash_table_add(p->seen, g_steal_pointer(&name)))
        return fail_line(error, p, "the group occurs twice");
    return TRUE;
}

static gboolean parse_line(Parser *p, char *line, GError **error)
{
    g_strstrip(line);
    if (*line == '\0' || *line == '#')
        return TRUE;
    if (*line == '[')
        return set_group(p, line, error);
    char *equals = strchr(line, '=');
    if (equals == NULL)
        return fail_line(error, p, "'%s' is neither a group nor key=value", line);
    *equals = '\0';
    const char *key = g_strchomp(line);
    const char *value = g_strchug(equals + 1);
    if (p->group < 0)
        return fail_line(error, p, "the key '%s' is in no group", key);
    if (!g_hash_table_add(p->seen, g_strdup_printf("%d/%s", p->group, key)))
        return fail_line(error, p, "the key '%s' occurs twice", key);
    return p->group == VMIG_RETRY_ROWS ? set_overall(p, key, value, error) : set_rule(p, key, value, error);
}

static gboolean parse_text(VmigPolicy *policy, const char *text, GError **error)
{
    g_autoptr(GHashTable) seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    Parser parser = {policy, 0, -1, seen};
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);

    if (!g_utf8_validate(text, -1, NULL))
        return vmig_fail(error, VMIG_ERROR_USAGE, NULL, "policy %s is not UTF-8 text", policy->name);
    for (guint i = 0; lines[i] != NULL; i++) {
        parser.line = i + 1;
        if (!parse_line(&parser, lines[i], error))
            return FALSE;
    }
    for (guint i = 0; i < VMIG_RETRY_ROWS; i++)
        if (policy->rules[i].ceiling_us < policy->rules[i].first_delay_us)
            return vmig_fail(error, VMIG_ERROR_USAGE, NULL, "policy %s, [%s]: ceiling is below first-delay",
                             policy->name, row_names[i]);
    return TRUE;
}

VmigPolicy *vmig_policy_parse(const char *text, const char *name, GError **error)
{
    g_autoptr(VmigPolicy) policy = g_new0(VmigPolicy, 1);

    policy->name = g_strdup(name);
    /* First the default, then the values of the text. */
    if (!parse_text(policy, vmig_policy_default_text, error) || !parse_text(policy, text, error))
        return NULL;
    return g_steal_pointer(&policy);
}

VmigPolicy *vmig_policy_default(void)
{
    return vmig_policy_parse("", "default", NULL);
}

void vmig_policy_free(VmigPolicy *policy)
{
    g_free(policy->name);
    g_free(policy->command);
    g_free(policy);
}

VmigRetryRow vmig_retry_row(const GError *error)
{
    if (error->domain != VMIG_ERROR)
        return VMIG_RETRY_UNKNOWN;
    switch (vmig_error_class((VmigErrorCode)error->code)) {
    case VMIG_CLASS_TRANSIENT:
        return VMIG_RETRY_TRANSIENT;
    case VMIG_CLASS_NO_SPACE:
        return VMIG_RETRY_NO_SPACE;
    case VMIG_CLASS_IO:
        return VMIG_RETRY_IO;
    case VMIG_CLASS_GONE:
        return VMIG_RETRY_GONE;
    case VMIG_CLASS_USAGE:
    case VMIG_CLASS_REFUSAL:
    case VMIG_CLASS_FATAL:
        break;
    }
    return VMIG_RETRY_NEVER;
}

/* Multiplies step by step, so that it stops at the ceiling instead of overflowing. */
static gint64 delay_of(const VmigRetryRule *rule, guint done, double random01)
{
    double delay = (double)rule->first_delay_us;
    double ceiling = (double)rule->ceiling_us;

    if (rule->growth > 1 && delay > 0)
        for (guint i = 0; i < done && delay < ceiling; i++)
            delay *= rule->growth;
    delay = MIN(delay, ceiling);
    /* Only downwards, so that the ceiling is never exceeded. */
    return (gint64)(delay - delay * rule->jitter * CLAMP(random01, 0, 1));
}

static VmigRetryDecision *give_up(VmigRetryDecision *decision, char *reason)
{
    decision->action = VMIG_RETRY_GIVE_UP;
    decision->at_us = 0;
    decision->reason = reason;
    return decision;
}

VmigRetryDecision *vmig_retry_decide(const VmigPolicy *policy, const GError *error, const VmigRetryState *state,
                                     gint64 now_us, double random01)
{
    VmigRetryDecision *decision = g_new0(VmigRetryDecision, 1);

    decision->row = vmig_retry_row(error);
    if (decision->row == VMIG_RETRY_NEVER)
        return give_up(decision, g_strdup_printf("'%s' is not retried, because a retry would fail again",
                                                 vmig_error_name_of(error)));
    const VmigRetryRule *rule = &policy->rules[decision->row];
    const char *name = row_names[decision->row];
    guint done = state->attempts[decision->row];
    decision->attempt = done;
    if (done >= rule->attempts && rule->attempts != G_MAXUINT)
        return give_up(decision, g_strdup_printf("%u of %u retries of class %s are used up (policy %s)", done,
                                                 rule->attempts, name, policy->name));
    gint64 delay = delay_of(rule, done, random01);
    gint64 since = state->failed ? now_us - state->first_failure_us : 0;
    /* A retry that would begin after the deadline is not made. */
    if (policy->deadline_us > 0 && since + delay >= policy->deadline_us)
        return give_up(
            decision, g_strdup_printf("the deadline of %.0f s has passed or is too near for the next retry (policy %s)",
                                      (double)policy->deadline_us / G_USEC_PER_SEC, policy->name));
    decision->attempt = done == G_MAXUINT ? done : done + 1;
    decision->at_us = now_us + delay;
    g_autofree char *of = rule->attempts == G_MAXUINT ? g_strdup("") : g_strdup_printf(" of %u", rule->attempts);
    decision->reason = g_strdup_printf("retry %u%s of class %s in %.1f s (policy %s)", decision->attempt, of, name,
                                       (double)delay / G_USEC_PER_SEC, policy->name);
    return decision;
}

void vmig_retry_count(VmigRetryState *state, const VmigRetryDecision *decision, gint64 now_us)
{
    if (!state->failed)
        state->first_failure_us = now_us;
    state->failed = TRUE;
    if (decision->action == VMIG_RETRY_AGAIN && state->attempts[decision->row] < G_MAXUINT)
        state->attempts[decision->row]++;
}

void vmig_retry_decision_free(VmigRetryDecision *decision)
{
    g_free(decision->reason);
    g_free(decision);
}
