/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The copy of one file alone, with the copier and the receiver of vmig-snap, for tests/bench/bench.py and
 * test_memory.py.
 *
 *   bench-copy receive PART SIZE SOCKET          on a unix socket
 *   bench-copy receive PART SIZE FIRST-LAST DIR  on a port of that range; DIR: x509 files, "-" without TLS
 *       says "PORT FRESH" and then serves lines: "known FIRST" with a page in base64, "finish SET" with the hash and
 * the peak of its memory in KiB bench-copy send SOURCE WHERE... -- COMMAND... starts COMMAND, which is the above on the
 * other host, copies, and prints one JSON object. WHERE: sockets, or a URI with "PORT" in it
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "copy/copier.h"
#include "copy/receiver.h"
#include "os/tls-identity.h"

static int fail(const GError *error)
{
    fprintf(stderr, "bench-copy: %s\n", error->message);
    return 1;
}

/* Of this program alone: what getrusage() says counts what ran in the process before it, too. */
static long peak_memory_kib(void)
{
    g_autofree char *text = NULL;
    const char *line;

    if (!g_file_get_contents("/proc/self/status", &text, NULL, NULL) || (line = strstr(text, "VmHWM:")) == NULL)
        return -1;
    return atol(line + strlen("VmHWM:"));
}

static gboolean answer(VmigReceiver *receiver, char *line, gboolean *over, GError **error)
{
    g_auto(GStrv) words = g_strsplit(g_strchomp(line), " ", 2);

    if (g_strcmp0(words[0], "known") == 0) {
        g_autoptr(GBytes) page = NULL;
        if (!vmig_receiver_known(receiver, g_ascii_strtoull(words[1], NULL, 10), &page, error))
            return FALSE;
        g_autofree char *text = g_base64_encode(g_bytes_get_data(page, NULL), g_bytes_get_size(page));
        printf("%s\n", text);
    } else {
        g_autofree char *hash = NULL;
        const char *set = words[1] != NULL && strcmp(words[1], "-") != 0 ? words[1] : NULL;
        if (!vmig_receiver_finish(receiver, set, &hash, error))
            return FALSE;
        printf("%s %ld\n", hash, peak_memory_kib());
        *over = TRUE;
    }
    fflush(stdout);
    return TRUE;
}

/* Any will do: what the hash costs does not depend on it. */
static const VmigHashKey key = {{1, 2, 3}};

static int receive(int argc, char **argv)
{
    g_autoptr(GError) error = NULL;
    VmigListen to = {.socket = argc == 5 ? argv[4] : NULL};
    g_autofree char *identity = NULL;
    g_autofree char *line = NULL;
    gboolean over = FALSE;
    size_t room = 0;

    if (argc == 6) {
        to.tls_dir = strcmp(argv[5], "-") != 0 ? argv[5] : NULL;
        /* Both ends have the same certificates here. */
        to.identity = identity = to.tls_dir != NULL ? vmig_tls_identity(to.tls_dir, &error) : NULL;
        if (to.tls_dir != NULL && identity == NULL)
            return fail(error);
        to.first_port = (guint)atoi(argv[4]);
        to.last_port = strchr(argv[4], '-') != NULL ? (guint)atoi(strchr(argv[4], '-') + 1) : to.first_port;
    }
    g_autoptr(VmigReceiver) receiver =
        vmig_receiver_start_on(argv[2], g_ascii_strtoull(argv[3], NULL, 10), &to, &key, &error);
    if (receiver == NULL)
        return fail(error);
    printf("%u %d %s\n", vmig_receiver_get_port(receiver), vmig_receiver_is_fresh(receiver),
           vmig_receiver_get_export(receiver));
    fflush(stdout);
    while (!over && getline(&line, &room, stdin) > 0)
        if (!answer(receiver, line, &over, &error))
            return fail(error);
    return over ? 0 : 1;
}

typedef struct {
    FILE *to, *from;
    GMutex lock;
    VmigCopyProgress now;
} Peer;

static char *ask(Peer *peer, const char *question)
{
    char *line = NULL;
    size_t room = 0;
    g_autoptr(GMutexLocker) locker G_GNUC_UNUSED = g_mutex_locker_new(&peer->lock);

    if (question != NULL)
        fprintf(peer->to, "%s\n", question);
    fflush(peer->to);
    if (getline(&line, &room, peer->from) <= 0) {
        free(line);
        fprintf(stderr, "bench-copy: the other end went away\n");
        exit(1);
    }
    return g_strchomp(line);
}

static gboolean on_known(gpointer user, guint index G_GNUC_UNUSED, guint64 first, GBytes **page,
                         GError **error G_GNUC_UNUSED)
{
    g_autofree char *question = g_strdup_printf("known %" G_GUINT64_FORMAT, first);
    char *text = ask(user, question);
    gsize length;
    guint8 *bytes = g_base64_decode(text, &length);

    free(text);
    *page = g_bytes_new_take(bytes, length);
    return TRUE;
}

static void on_progress(gpointer user, guint index G_GNUC_UNUSED, const VmigCopyProgress *now)
{
    ((Peer *)user)->now = *now;
}

static int copy(const char *source, char **where, guint connections, Peer *peer)
{
    VmigFile file = {.path[VMIG_SOURCE] = (char *)source};
    VmigCopyTask task = {.file = &file, .sockets = (const char *const *)where, .key = key};
    VmigCopyEvents events = {on_known, on_progress, peer};
    g_autoptr(GPtrArray) tasks = g_ptr_array_new();
    g_autoptr(GError) error = NULL;
    struct stat st;
    int fresh = 0;
    guint port = 0;
    char export[33] = "";

    if (stat(source, &st) != 0)
        return 1;
    file.size = (guint64)st.st_size;
    char *ready = ask(peer, NULL);
    sscanf(ready, "%u %d %32s", &port, &fresh, export);
    free(ready);
    task.fresh = fresh != 0;
    g_autofree char *number = g_strdup_printf("%u/%s", port, export);
    for (char **each = where; *each != NULL; each++) {
        g_auto(GStrv) parts = g_strsplit(*each, "PORT", 2);
        g_free(*each);
        *each = g_strjoinv(number, parts);
    }
    gint64 began = g_get_monotonic_time();
    VmigCopier *copier = vmig_copier_new(0);
    vmig_copier_set_tuning(copier, connections, 0, 0);
    g_ptr_array_add(tasks, &task);
    if (!copier->ops->send(copier, tasks, &events, &error))
        return fail(error);
    g_autofree char *question = g_strconcat("finish ", task.rewritten != NULL ? task.rewritten : "-", NULL);
    char *told = ask(peer, question);
    g_auto(GStrv) words = g_strsplit(told, " ", 2);
    double seconds = (double)(g_get_monotonic_time() - began) / G_USEC_PER_SEC;
    printf("{\"seconds\":%.3f,\"sent\":%" G_GUINT64_FORMAT ",\"size\":%" G_GUINT64_FORMAT
           ",\"memory_kib\":%ld,\"memory_there_kib\":%ld,\"equal\":%s}\n",
           seconds, peer->now.sent, file.size, peak_memory_kib(), words[1] != NULL ? atol(words[1]) : -1,
           strcmp(words[0], task.hash) == 0 ? "true" : "false");
    free(told);
    g_free(task.hash);
    g_free(task.rewritten);
    vmig_copier_free(copier);
    return 0;
}

static int send_there(int argc, char **argv)
{
    g_autoptr(GPtrArray) where = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GError) error = NULL;
    Peer peer = {0};
    int i = 2, in = -1, out = -1;
    guint connections = 0; /* as the copier has it */

    if (strcmp(argv[i], "-c") == 0) {
        connections = (guint)atoi(argv[i + 1]);
        i += 2;
    }
    const char *source = argv[i++];
    for (; i < argc && strcmp(argv[i], "--") != 0; i++)
        g_ptr_array_add(where, g_strdup(argv[i]));
    g_ptr_array_add(where, NULL);
    if (where->len < 2 || i + 1 >= argc)
        return 2;
    if (!g_spawn_async_with_pipes(NULL, argv + i + 1, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL, &in, &out, NULL,
                                  &error))
        return fail(error);
    peer.to = fdopen(in, "w");
    peer.from = fdopen(out, "r");
    int status = copy(source, (char **)where->pdata, connections, &peer);
    fclose(peer.to);
    fclose(peer.from);
    return status;
}

int main(int argc, char **argv)
{
    if (argc >= 5 && argc <= 6 && strcmp(argv[1], "receive") == 0)
        return receive(argc, argv);
    if (argc >= 6 && strcmp(argv[1], "send") == 0)
        return send_there(argc, argv);
    fprintf(stderr, "bench-copy: see tests/bench/copy.c\n");
    return 2;
}
