/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reads the sources of the plan. Every call of vmig_fail(), or of a function with "refuse" in its name, is a place that
 * refuses. Two places never share a row, so that a copied rule needs a row, too. Anything that this parser does not
 * understand is a finding. */
#include "plan-sites.h"

#include <string.h>

/* Two places of one kind never share a row; a message and the error that carries it may. */
typedef enum {
    SAYS,   /* refuse(), vmig_fail(): contains the message */
    PASSES, /* vmig_plan_refuse_error(): contains an error */
    LISTS,  /* another function, which adds to a message */
    KINDS,
} Kind;

typedef struct {
    Kind kind;
    char *where; /* file and call, for messages */
    VmigErrorCode code;
    GRegex *message, *hint; /* or NULL */
    char *passes;           /* argument of vmig_plan_refuse_error(), or NULL */
} Site;

/* Calls that pass on what another place made. Each must occur once. */
static const char *const carriers[] = {
    "plan-rules.c: vmig_plan_refuse(plan,code,disk,hint,text)",
    "plan-rules.c: refuse(plan,VMIG_ERROR_ODD_PATH,disk,VMIG_PLAN_HINT_PATH,\"%s\",error->message)",
    "plan-rules.c: refuse(plan,code,disk,vmig_error_hint(error),\"%s\",error->message)",
    "plan-hosts.c: vmig_fail(&error,code,hint,\"%s\",text)",
    "plan-hosts.c: vmig_plan_refuse_error(plan,NULL,error)",
    "plan-definitions.c: vmig_plan_refuse(plan,VMIG_ERROR_DEFINITIONS_DIFFER,target,hint,text)",
    "plan-stay.c: vmig_plan_refuse(plan,code,disk->disk->target,hint,text)",
    "plan.c: vmig_fail(error,r->code,r->hint,\"%s\",r->message)",
    "plan.c: vmig_fail(error,first->code,first->hint,\"%s\",first->message)",
    "plan.c: vmig_fail(error,VMIG_ERROR_REFUSED,NULL,\"%s\",all->str)",
};

static void site_free(gpointer data)
{
    Site *site = data;

    g_free(site->where);
    g_free(site->passes);
    g_clear_pointer(&site->message, g_regex_unref);
    g_clear_pointer(&site->hint, g_regex_unref);
    g_free(site);
}

GHashTable *plan_sites_sources(void)
{
    GHashTable *sources = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    const char *root = g_getenv("VMIG_SOURCE_ROOT");
    g_autofree char *folder = g_build_filename(root != NULL ? root : ".", "plugin/plan", NULL);
    g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
    const char *name;

    g_assert_nonnull(dir);
    while ((name = g_dir_read_name(dir)) != NULL) {
        g_autofree char *path = g_build_filename(folder, name, NULL);
        char *text = NULL;
        if (!g_str_has_suffix(name, ".c") && !g_str_equal(name, "plan.h"))
            continue;
        g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
        g_hash_table_insert(sources, g_strdup(name), text);
    }
    return sources;
}

static char *substitute(char *text, const char *pattern, const char *with)
{
    g_autofree char *owned = text;
    g_autoptr(GRegex) regex = g_regex_new(pattern, G_REGEX_DOTALL | G_REGEX_MULTILINE, 0, NULL);
    char *result = g_regex_replace_literal(regex, owned, -1, 0, with, 0, NULL);

    g_assert_nonnull(result);
    return result;
}

/* Removes comments, joins each string, and replaces each string macro with its string. */
static char *simplify(const char *source, GHashTable *macros)
{
    char *text = substitute(g_strdup(source), "/\\*.*?\\*/", " ");
    GHashTableIter iter;
    gpointer name, value;

    text = substitute(text, "\\\\\n", " ");
    text = substitute(text, "\"\\s*G_GU?INT64_FORMAT\\s*\"", "d");
    g_hash_table_iter_init(&iter, macros);
    while (g_hash_table_iter_next(&iter, &name, &value)) {
        g_autofree char *word = g_strdup_printf("(?<!define )\\b%s\\b", (const char *)name);
        text = substitute(text, word, value);
    }
    return substitute(text, "\"\\s*\"", "");
}

static void read_macros(const char *source, GHashTable *macros)
{
    g_autofree char *text = substitute(g_strdup(source), "\\\\\n", " ");
    g_autofree char *joined = substitute(g_steal_pointer(&text), "\"\\s*\"", "");
    g_autoptr(GRegex) regex = g_regex_new("#define (\\w+)\\s+(\"[^\"\n]*\")", 0, 0, NULL);
    g_autoptr(GMatchInfo) match = NULL;

    for (g_regex_match(regex, joined, 0, &match); g_match_info_matches(match); g_match_info_next(match, NULL))
        g_hash_table_insert(macros, g_match_info_fetch(match, 1), g_match_info_fetch(match, 2));
}

/* The arguments of a call, starting at its opening parenthesis. */
static GPtrArray *split_arguments(const char *text)
{
    GPtrArray *arguments = g_ptr_array_new_with_free_func(g_free);
    const char *begin = text + 1;
    gboolean quoted = FALSE;
    guint depth = 0;

    for (const char *p = text; *p != '\0'; p++) {
        if (*p == '"')
            quoted = !quoted;
        if (quoted)
            continue;
        depth += *p == '(' ? 1 : 0;
        depth -= *p == ')' ? 1 : 0;
        if (depth == 0 || (depth == 1 && *p == ',')) {
            g_ptr_array_add(arguments, g_strstrip(g_strndup(begin, (gsize)(p - begin))));
            begin = p + 1;
        }
        if (depth == 0)
            return arguments;
    }
    g_error("a call without an end: %.80s", text);
}

static gboolean is_string(const char *argument)
{
    return *argument == '"' && strchr(argument + 1, '"') == argument + strlen(argument) - 1;
}

/* Matches every text that a format can produce, from its first to its last character. */
static GRegex *format_regex(const char *literal)
{
    g_autofree char *inner = g_strndup(literal + 1, strlen(literal) - 2);
    g_autofree char *escaped = g_regex_escape_string(inner, -1);
    g_autofree char *percent = substitute(g_steal_pointer(&escaped), "%%", "\001");
    g_autofree char *open = substitute(g_steal_pointer(&percent), "%l*[a-z]", "\002");
    g_autofree char *with_percent = substitute(g_steal_pointer(&open), "\001", "%");
    g_auto(GStrv) parts = g_strsplit(with_percent, "\002", -1);
    g_autofree char *body = g_strjoinv(".*", parts);
    g_autofree char *whole = g_strdup_printf("^%s$", body);
    GRegex *regex = g_regex_new(whole, 0, 0, NULL);

    g_assert_nonnull(regex);
    return regex;
}

static VmigErrorCode code_of(const char *argument)
{
    static const char *const symbols[] = {
#define VMIG_CODE(symbol, name, cls, meaning) "VMIG_ERROR_" #symbol,
#include "core/errors.def"
#undef VMIG_CODE
    };

    for (guint i = 0; i < G_N_ELEMENTS(symbols); i++)
        if (g_str_equal(symbols[i], argument))
            return (VmigErrorCode)i;
    return VMIG_ERROR_LAST;
}

/* The last string is the message; the one right before it is the hint. */
static void read_strings(Site *site, GPtrArray *arguments)
{
    guint last = arguments->len;

    for (guint i = 0; i < arguments->len; i++) {
        VmigErrorCode code = code_of(arguments->pdata[i]);
        site->code = code != VMIG_ERROR_LAST ? code : site->code;
        last = is_string(arguments->pdata[i]) ? i : last;
    }
    if (last == arguments->len)
        return;
    if (site->kind == LISTS) {
        g_autofree char *part = g_strdup_printf("\"%%s%.*s%%s\"", (int)strlen(arguments->pdata[last]) - 2,
                                                (const char *)arguments->pdata[last] + 1);
        site->message = format_regex(part);
        return;
    }
    if (last > 0 && is_string(arguments->pdata[last - 1]))
        site->hint = format_regex(arguments->pdata[last - 1]);
    if (site->hint != NULL || !g_str_equal(arguments->pdata[last], "\"%s\""))
        site->message = format_regex(arguments->pdata[last]);
}

static gboolean is_definition(GPtrArray *arguments)
{
    const char *first = arguments->pdata[0];

    return g_str_has_prefix(first, "VmigPlan *") || g_str_has_prefix(first, "GError **");
}

static gboolean is_carrier(const char *where, GHashTable *seen)
{
    for (guint i = 0; i < G_N_ELEMENTS(carriers); i++)
        if (g_str_equal(carriers[i], where))
            return g_hash_table_add(seen, g_strdup(where));
    return FALSE;
}

static Kind kind_of(const char *function)
{
    static const char *const with_message[] = {"refuse", "vmig_plan_refuse", "vmig_fail", NULL};

    if (g_str_equal(function, "vmig_plan_refuse_error"))
        return PASSES;
    return g_strv_contains(with_message, function) ? SAYS : LISTS;
}

static void read_call(GPtrArray *sites, const char *file, const char *name, const char *text, GHashTable *carried)
{
    g_autoptr(GPtrArray) arguments = split_arguments(text);
    g_autofree char *plain = NULL;

    if (is_definition(arguments))
        return;
    g_ptr_array_add(arguments, NULL);
    g_autofree char *joined = g_strjoinv(",", (char **)arguments->pdata);
    g_ptr_array_set_size(arguments, (int)arguments->len - 1);
    plain = g_strdup_printf("%s: %s(%s)", file, name, joined);
    if (is_carrier(plain, carried))
        return;
    Site *site = g_new0(Site, 1);
    site->where = g_steal_pointer(&plain);
    site->kind = kind_of(name);
    site->code = VMIG_ERROR_LAST;
    if (site->kind == PASSES)
        site->passes = g_strdup(arguments->pdata[arguments->len - 1]);
    else
        read_strings(site, arguments);
    g_ptr_array_add(sites, site);
}

static void read_calls(GPtrArray *sites, const char *file, const char *text, GHashTable *carried)
{
    g_autoptr(GRegex) regex = g_regex_new("\\b(\\w*refuse(?!d)\\w*|vmig_fail)(\\()", 0, 0, NULL);
    g_autoptr(GMatchInfo) match = NULL;

    for (g_regex_match(regex, text, 0, &match); g_match_info_matches(match); g_match_info_next(match, NULL)) {
        g_autofree char *name = g_match_info_fetch(match, 1);
        int begin = 0;
        g_match_info_fetch_pos(match, 2, &begin, NULL);
        read_call(sites, file, name, text + begin, carried);
    }
}

static gboolean fits(const Site *site, const PlanRow *row)
{
    if (site->kind == PASSES)
        return g_strcmp0(site->passes, row->passes) == 0;
    if (site->code != VMIG_ERROR_LAST && site->code != row->code)
        return FALSE;
    if (site->hint != NULL && (row->hint == NULL || !g_regex_match(site->hint, row->hint, 0, NULL)))
        return FALSE;
    return site->message != NULL && g_regex_match(site->message, row->message, 0, NULL);
}

/* Gives the site a row; others move to other rows of theirs if possible. taken[i]: the site that has the row. */
static gboolean give_row(GPtrArray *sites, guint index, const PlanRow *const *rows, guint length, guint *taken,
                         gboolean *tried)
{
    for (guint i = 0; i < length; i++) {
        if (tried[i] || !fits(sites->pdata[index], rows[i]))
            continue;
        tried[i] = TRUE;
        if (taken[i] == G_MAXUINT || give_row(sites, taken[i], rows, length, taken, tried)) {
            taken[i] = index;
            return TRUE;
        }
    }
    return FALSE;
}

static void match_sites(GPtrArray *sites, Kind kind, const PlanRow *const *rows, guint length, GPtrArray *findings)
{
    g_autofree guint *taken = g_new(guint, length);

    memset(taken, 0xff, sizeof *taken * length);
    for (guint i = 0; i < sites->len; i++) {
        const Site *site = sites->pdata[i];
        g_autofree gboolean *tried = g_new0(gboolean, length);
        if (site->kind == kind && !give_row(sites, i, rows, length, taken, tried))
            g_ptr_array_add(findings, g_strdup_printf("no row for %s", site->where));
    }
}

/* A string that begins with a capital letter and has several words is a hint, wherever it is. */
static void match_hints(const char *file, const char *text, const PlanRow *const *rows, guint length,
                        GPtrArray *findings)
{
    g_autoptr(GRegex) literal = g_regex_new("\"[A-Z](?!ARNING)[^\"\n]* [^\"\n]*\"", 0, 0, NULL);
    g_autoptr(GMatchInfo) match = NULL;

    for (g_regex_match(literal, text, 0, &match); g_match_info_matches(match); g_match_info_next(match, NULL)) {
        g_autofree char *hint = g_match_info_fetch(match, 0);
        g_autoptr(GRegex) regex = format_regex(hint);
        gboolean has_row = FALSE;
        for (guint i = 0; i < length && !has_row; i++)
            has_row = rows[i]->hint != NULL && g_regex_match(regex, rows[i]->hint, 0, NULL);
        if (!has_row)
            g_ptr_array_add(findings, g_strdup_printf("%s: no row for the hint %s", file, hint));
    }
}

static guint count(const char *text, const char *word)
{
    guint found = 0;

    for (const char *p = strstr(text, word); p != NULL; p = strstr(p + 1, word))
        found++;
    return found;
}

GPtrArray *plan_sites_without_row(GHashTable *sources, const PlanRow *const *rows, guint length)
{
    GPtrArray *findings = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GPtrArray) sites = g_ptr_array_new_with_free_func(site_free);
    g_autoptr(GHashTable) carried = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    GHashTableIter iter;
    gpointer file, source;
    guint additions = 0;

    g_hash_table_iter_init(&iter, sources);
    while (g_hash_table_iter_next(&iter, &file, &source)) {
        g_autoptr(GHashTable) macros = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
        read_macros(source, macros);
        g_autofree char *text = simplify(source, macros);
        additions += count(text, "add(plan->refusals");
        if (!g_str_has_prefix(file, "plan")) {
            if (count(text, "vmig_plan_refuse") > 0 || count(text, "->refusals") > 0)
                g_ptr_array_add(findings, g_strdup_printf("%s refuses, and is not read", (char *)file));
            continue;
        }
        match_hints(file, text, rows, length, findings);
        if (!g_str_equal(file, "plan.h"))
            read_calls(sites, file, text, carried);
    }
    for (Kind kind = 0; kind < KINDS; kind++)
        match_sites(sites, kind, rows, length, findings);
    if (additions != 1)
        g_ptr_array_add(findings,
                        g_strdup_printf("%u places add to the refusals, vmig_plan_refuse() is one", additions));
    return findings;
}
