/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A program that uses the installed library: move plan|migrate DOMAIN DESTINATION. It prints each event and the
 * document, one JSON object on each line. ^C rolls a migration back. */
#include <glib-unix.h>
#include <stdio.h>
#include <string.h>
#include <vmig-snap/vmig-snap.h>

typedef struct {
    GMainLoop *loop;
    GCancellable *cancellable;
    gboolean plan;
    JsonNode *document;
    GError *error;
} Program;

static void print(JsonNode *node)
{
    g_autofree char *text = json_to_string(node, FALSE);

    puts(text);
    fflush(stdout);
}

static void on_event(VmigSession *session G_GNUC_UNUSED, JsonNode *event, gpointer user G_GNUC_UNUSED)
{
    print(event);
}

static void on_end(GObject *source, GAsyncResult *result, gpointer user)
{
    Program *program = user;
    VmigSession *session = VMIG_SESSION(source);

    program->document = program->plan ? vmig_session_plan_finish(session, result, &program->error)
                                      : vmig_session_migrate_finish(session, result, &program->error);
    g_main_loop_quit(program->loop);
}

static gboolean on_signal(gpointer user)
{
    g_cancellable_cancel(((Program *)user)->cancellable);
    return G_SOURCE_CONTINUE;
}

int main(int argc, char **argv)
{
    Program program = {g_main_loop_new(NULL, FALSE), g_cancellable_new(), FALSE, NULL, NULL};

    if (argc != 4) {
        fprintf(stderr, "usage: move plan|migrate DOMAIN DESTINATION\n");
        return 2;
    }
    program.plan = strcmp(argv[1], "plan") == 0;
    g_autoptr(VmigSession) session = vmig_session_new(NULL);
    g_autoptr(VmigMigrateRequest) request = vmig_migrate_request_new(argv[2], argv[3]);
    g_object_set(request, "merge", VMIG_MERGE_AUTO, "bandwidth", G_GUINT64_CONSTANT(100000000), NULL);
    g_signal_connect(session, "event", G_CALLBACK(on_event), NULL);
    g_unix_signal_add(SIGINT, on_signal, &program);
    if (program.plan)
        vmig_session_plan_async(session, request, program.cancellable, on_end, &program);
    else
        vmig_session_migrate_async(session, request, program.cancellable, on_end, &program);
    g_main_loop_run(program.loop);
    g_main_loop_unref(program.loop);
    g_object_unref(program.cancellable);
    if (program.document == NULL) {
        const char *hint = vmig_error_get_hint(program.error);
        fprintf(stderr, "%s [%s]\n%s\n", program.error->message, vmig_error_get_name(program.error),
                hint != NULL ? hint : "");
        g_error_free(program.error);
        return 1;
    }
    print(program.document);
    json_node_unref(program.document);
    return 0;
}
