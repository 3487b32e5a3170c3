/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The tree of snapshots. Without recursion, because a chain of ten thousand is valid. */
#include "cli/render/render.h"

#include <string.h>

#include "cli/render/look.h"

/* Deeper snapshots are not indented further; their depth is printed instead. */
#define DEEPEST 20

typedef struct {
    JsonObject *snapshot;
    GPtrArray *children; /* Node */
    gboolean shown;
} Node;

typedef struct {
    Node *node;
    char *before; /* drawn to its left, without its own branch */
    guint depth;  /* 0: root */
    gboolean last;
} Visit;

static void node_free(Node *node)
{
    g_ptr_array_unref(node->children);
    g_free(node);
}

static void visit_free(Visit *visit)
{
    g_free(visit->before);
    g_free(visit);
}

static void push(GPtrArray *stack, GPtrArray *nodes, const char *before, guint depth)
{
    for (guint i = nodes->len; i > 0; i--) { /* the first one on top */
        Visit *visit = g_new0(Visit, 1);
        visit->node = nodes->pdata[i - 1];
        visit->before = g_strdup(before);
        visit->depth = depth;
        visit->last = i == nodes->len;
        g_ptr_array_add(stack, visit);
    }
}

static void append_snapshot(GString *out, const Visit *visit, const char *indent, gboolean utf8)
{
    JsonObject *s = visit->node->snapshot;
    g_autofree char *name = vmig_look_shown(s, "name");
    g_autofree char *state = vmig_look_shown(s, "state");
    g_autofree char *time = vmig_render_time(vmig_look_number(s, "creation_time"));
    static const char *const branches[2][2] = {{"|- ", "`- "}, {"├─ ", "└─ "}};
    const char *branch = visit->depth > 0 ? branches[utf8][visit->last] : "";

    g_string_append_printf(out, "%s%s", indent, visit->before);
    if (visit->depth > DEEPEST)
        g_string_append_printf(out, "(%u) ", visit->depth);
    else
        g_string_append(out, branch);
    g_string_append_printf(
        out, "%s  %s  %s%s%s%s\n", name, time, state, vmig_look_flag(s, "memory") ? ", with memory" : "",
        vmig_look_flag(s, "external") ? ", external" : "", vmig_look_flag(s, "current") ? "  <- current" : "");
}

static char *before_children(const Visit *visit, gboolean utf8)
{
    if (visit->depth == 0)
        return g_strdup("");
    if (visit->depth >= DEEPEST)
        return g_strdup(visit->before);
    return g_strconcat(visit->before, visit->last ? "   " : utf8 ? "│  " : "|  ", NULL);
}

static void walk(GString *out, GPtrArray *roots, const char *indent, gboolean utf8)
{
    g_autoptr(GPtrArray) stack = g_ptr_array_new();

    push(stack, roots, "", 0);
    while (stack->len > 0) {
        Visit *visit = g_ptr_array_steal_index(stack, stack->len - 1);
        if (!visit->node->shown) {
            g_autofree char *before = before_children(visit, utf8);
            visit->node->shown = TRUE;
            append_snapshot(out, visit, indent, utf8);
            push(stack, visit->node->children, before, visit->depth + 1);
        }
        visit_free(visit);
    }
}

void vmig_render_snapshots(GString *out, JsonObject *plan, const char *indent, gboolean utf8)
{
    guint n = vmig_look_count(plan, "snapshots");
    g_autoptr(GPtrArray) nodes = g_ptr_array_new_with_free_func((GDestroyNotify)node_free);
    g_autoptr(GPtrArray) roots = g_ptr_array_new();
    g_autoptr(GHashTable) by_name = g_hash_table_new(g_str_hash, g_str_equal);

    for (guint i = 0; i < n; i++) {
        Node *node = g_new0(Node, 1);
        node->snapshot = vmig_look_element(plan, "snapshots", i);
        node->children = g_ptr_array_new();
        g_ptr_array_add(nodes, node);
        const char *name = vmig_look_text(node->snapshot, "name");
        if (name != NULL)
            g_hash_table_insert(by_name, (gpointer)name, node);
    }
    for (guint i = 0; i < n; i++) {
        Node *node = nodes->pdata[i];
        const char *parent = vmig_look_text(node->snapshot, "parent");
        Node *above = parent != NULL ? g_hash_table_lookup(by_name, parent) : NULL;
        g_ptr_array_add(above != NULL ? above->children : roots, node);
    }
    walk(out, roots, indent, utf8);
    for (guint i = 0; i < n; i++) { /* a cycle has no root, but must be shown, too */
        Node *node = nodes->pdata[i];
        g_autoptr(GPtrArray) one = g_ptr_array_new();
        g_ptr_array_add(one, node);
        if (!node->shown)
            walk(out, one, indent, utf8);
    }
}
