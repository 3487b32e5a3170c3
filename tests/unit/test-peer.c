/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The copier detects a bad NBD server: one that says nothing, too little or something else, lies about the size, fails,
 * forgets, sends replies to no request or disconnects. Each has its code, names the file, and ends in time.
 *
 * The server is the test's own; Play describes what it does.
 */
#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <glib/gstdio.h>

#include "copy/copier.h"

#define MIB (1024 * 1024)
#define STALL (G_USEC_PER_SEC / 2)
#define OPT_GO 7
#define OPT_ABORT 2
#define REP_ACK 1
#define REP_INFO 3
#define REP_UNSUPPORTED 0x80000001
#define REPLY_MAGIC G_GUINT64_CONSTANT(0x3e889045565a9)
#define OPTION_MAGIC G_GUINT64_CONSTANT(0x49484156454f5054)
#define FLAGS (1 | 1 << 2) /* has flags, can flush */
#define FLAG_READ_ONLY (1 << 1)

typedef enum { GREET, SILENT, GARBAGE, HALF_GREETING, HANG_UP, NO_EXPORT } Greeting;

/* The behavior of the server. */
typedef struct {
    Greeting greeting;
    gint64 size;      /* of the export, relative to that of the file: 0, more or less */
    guint16 flags;    /* of the export */
    guint32 error;    /* the reply to each write */
    guint answers;    /* this many writes get a reply */
    guint half;       /* this many bytes of the next reply are sent */
    gboolean strange; /* the next reply belongs to no request */
    gboolean close;   /* then the connection ends; otherwise nothing more comes */
} Play;

typedef struct {
    const Play *play;
    int listen_fd;
    guint port;
    GThread *thread;
    char *dir;
    VmigFile *file;
    VmigCopier *copier;
} Peer;

static gboolean get(int fd, void *data, gsize length)
{
    for (gsize done = 0; done < length;) {
        ssize_t got = recv(fd, (char *)data + done, length - done, 0);
        if (got <= 0)
            return FALSE;
        done += (gsize)got;
    }
    return TRUE;
}

static void put(int fd, const void *data, gsize length)
{
    (void)!send(fd, data, length, MSG_NOSIGNAL);
}

static void answer_option(int fd, guint32 option, guint32 type, const void *data, guint32 length)
{
    struct {
        guint64 magic;
        guint32 option, type, length;
    } __attribute__((packed)) head = {htobe64(REPLY_MAGIC), htobe32(option), htobe32(type), htobe32(length)};

    put(fd, &head, sizeof head);
    put(fd, data, length);
}

static gboolean negotiate(Peer *peer, int fd)
{
    struct {
        guint64 magic;
        guint32 option, length;
    } __attribute__((packed)) head;
    guint32 client;
    char data[4096];

    put(fd, "NBDMAGICIHAVEOPT\0\3", 18); /* fixed newstyle, no zeroes */
    if (!get(fd, &client, sizeof client))
        return FALSE;
    while (get(fd, &head, sizeof head) && be32toh(head.length) <= sizeof data && get(fd, data, be32toh(head.length))) {
        struct {
            guint16 type;
            guint64 size;
            guint16 flags;
        } __attribute__((packed))
        info = {0, htobe64(peer->file->size + (guint64)peer->play->size), htobe16(peer->play->flags)};
        guint32 option = be32toh(head.option);
        g_assert_cmpuint(be64toh(head.magic), ==, OPTION_MAGIC);
        if (option != OPT_GO || peer->play->greeting == NO_EXPORT) {
            answer_option(fd, option, option == OPT_ABORT ? REP_ACK : REP_UNSUPPORTED, NULL, 0);
            continue;
        }
        answer_option(fd, option, REP_INFO, &info, sizeof info);
        answer_option(fd, option, REP_ACK, NULL, 0);
        return TRUE;
    }
    return FALSE;
}

static void wait_for_the_end(int fd)
{
    char byte[4096];

    while (recv(fd, byte, sizeof byte, 0) > 0)
        continue;
}

static void serve(Peer *peer, int fd)
{
    const Play *play = peer->play;
    struct {
        guint32 magic;
        guint16 flags, type;
        guint64 cookie, offset;
        guint32 length;
    } __attribute__((packed)) request;
    g_autofree char *data = g_malloc(4 * MIB);

    for (guint i = 0; get(fd, &request, sizeof request); i++) {
        struct {
            guint32 magic, error;
            guint64 cookie;
        } __attribute__((packed)) reply = {htobe32(0x67446698), htobe32(play->error), request.cookie};
        if (be16toh(request.type) == 1 && !get(fd, data, be32toh(request.length)))
            return;
        if (i >= play->answers) {
            reply.cookie += play->strange ? 1 : 0;
            put(fd, &reply, play->strange ? sizeof reply : play->half);
            if (!play->close)
                wait_for_the_end(fd);
            return;
        }
        put(fd, &reply, sizeof reply);
    }
}

static gpointer peer_thread(gpointer data)
{
    Peer *peer = data;
    int fd;

    while ((fd = accept(peer->listen_fd, NULL, NULL)) >= 0) {
        switch (peer->play->greeting) {
        case GREET:
        case NO_EXPORT:
            if (negotiate(peer, fd))
                serve(peer, fd);
            break;
        case HALF_GREETING:
            put(fd, "NBDMAG", 6);
            wait_for_the_end(fd);
            break;
        case GARBAGE:
            put(fd, "SSH-2.0-OpenSSH_9.2p1\r\n", 23);
            wait_for_the_end(fd);
            break;
        case SILENT:
            wait_for_the_end(fd);
            break;
        default:
            break;
        }
        close(fd);
    }
    return NULL;
}

static void set_up(Peer *peer, gconstpointer data)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    g_autofree guint8 *noise = g_malloc(2 * MIB);

    for (guint i = 0; i < 2 * MIB; i++)
        noise[i] = (guint8)g_test_rand_int();
    peer->play = data;
    peer->dir = g_strdup("/var/tmp/vmig-peer-XXXXXX");
    g_assert_nonnull(g_mkdtemp(peer->dir));
    peer->file = vmig_file_new();
    peer->file->path[VMIG_SOURCE] = g_build_filename(peer->dir, "source", NULL);
    peer->file->size = 2 * MIB;
    g_assert_true(g_file_set_contents(peer->file->path[VMIG_SOURCE], (char *)noise, 2 * MIB, NULL));
    peer->copier = vmig_copier_new(0);
    vmig_copier_set_stall_limit(peer->copier, STALL);
    peer->listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    g_assert_cmpint(bind(peer->listen_fd, (struct sockaddr *)&address, sizeof address), ==, 0);
    g_assert_cmpint(getsockname(peer->listen_fd, (struct sockaddr *)&address, &length), ==, 0);
    peer->port = ntohs(address.sin_port);
    if (data == NULL)
        return; /* no listener: connections are refused */
    g_assert_cmpint(listen(peer->listen_fd, 8), ==, 0);
    peer->thread = g_thread_new("peer", peer_thread, peer);
}

static void tear_down(Peer *peer, gconstpointer data G_GNUC_UNUSED)
{
    shutdown(peer->listen_fd, SHUT_RDWR); /* ends accept() */
    if (peer->thread != NULL)
        g_thread_join(peer->thread);
    close(peer->listen_fd);
    vmig_copier_free(peer->copier);
    g_unlink(peer->file->path[VMIG_SOURCE]);
    g_assert_cmpint(g_rmdir(peer->dir), ==, 0);
    vmig_file_free(peer->file);
    g_free(peer->dir);
}

/* The copy fails with this code, reports these words and the file, and does not hang. */
static void expect(Peer *peer, VmigErrorCode code, const char *words)
{
    g_autofree char *uri = g_strdup_printf("nbd://localhost:%u/", peer->port);
    const char *sockets[] = {uri, NULL};
    VmigCopyTask task = {.file = peer->file, .sockets = sockets, .fresh = TRUE};
    VmigCopyEvents events = {0};
    g_autoptr(GPtrArray) tasks = g_ptr_array_new();
    g_autoptr(GError) error = NULL;
    gint64 before = g_get_monotonic_time();

    g_ptr_array_add(tasks, &task);
    g_assert_false(peer->copier->ops->send(peer->copier, tasks, &events, &error));
    g_assert_null(task.hash);
    g_test_message("%s", error->message);
    g_assert_error(error, VMIG_ERROR, (int)code);
    g_assert_nonnull(strstr(error->message, peer->file->path[VMIG_SOURCE]));
    g_assert_nonnull(strstr(error->message, uri));
    if (strstr(error->message, words) == NULL)
        g_error("'%s' is not in: %s", words, error->message);
    g_assert_cmpint(g_get_monotonic_time() - before, <, 40 * G_USEC_PER_SEC);
}

static void test_refused(Peer *peer, gconstpointer data G_GNUC_UNUSED)
{
    expect(peer, VMIG_ERROR_CONNECTION, "Connection refused");
}

static void test_stalls(Peer *peer, gconstpointer data G_GNUC_UNUSED)
{
    expect(peer, VMIG_ERROR_STALLED, "has made no progress for ");
}

/* libnbd reports it in several ways, depending on what the kernel reports first: an end, a reset, a broken pipe. */
static void test_goes_away(Peer *peer, gconstpointer data G_GNUC_UNUSED)
{
    expect(peer, VMIG_ERROR_CONNECTION, "");
}

static void test_nonsense(Peer *peer, gconstpointer data G_GNUC_UNUSED)
{
    expect(peer, VMIG_ERROR_PROTOCOL, "is not the receiver that was started: ");
}

static void test_smaller(Peer *peer, gconstpointer data G_GNUC_UNUSED)
{
    expect(peer, VMIG_ERROR_IMAGE_TOOL, "offers 1048576 bytes for a file of 2097152");
}

static void test_read_only(Peer *peer, gconstpointer data G_GNUC_UNUSED)
{
    expect(peer, VMIG_ERROR_IMAGE_TOOL, "read-only");
}

static void test_no_space(Peer *peer, gconstpointer data G_GNUC_UNUSED)
{
    expect(peer, VMIG_ERROR_NO_SPACE, "No space left");
}

static void test_io(Peer *peer, gconstpointer data G_GNUC_UNUSED)
{
    expect(peer, VMIG_ERROR_IO, "Input/output error");
}

static void add(const char *path, const Play *play, void (*test)(Peer *, gconstpointer))
{
    g_test_add(path, Peer, play, set_up, test, tear_down);
}

int main(int argc, char **argv)
{
    static const Play silent = {.greeting = SILENT}, garbage = {.greeting = GARBAGE};
    static const Play half_greeting = {.greeting = HALF_GREETING}, hang_up = {.greeting = HANG_UP};
    static const Play no_export = {.greeting = NO_EXPORT};
    static const Play smaller = {.size = -MIB, .flags = FLAGS, .answers = 99};
    static const Play read_only = {.flags = FLAGS | FLAG_READ_ONLY, .answers = 99};
    static const Play full = {.flags = FLAGS, .error = 28, .answers = 99};
    static const Play broken = {.flags = FLAGS, .error = 5, .answers = 99};
    static const Play forgets = {.flags = FLAGS, .answers = 1};
    static const Play half_answer = {.flags = FLAGS, .answers = 1, .half = 7};
    static const Play half_answer_close = {.flags = FLAGS, .answers = 1, .half = 7, .close = TRUE};
    static const Play goes_away = {.flags = FLAGS, .answers = 1, .close = TRUE};
    static const Play strange = {.flags = FLAGS, .answers = 1, .strange = TRUE};

    g_test_init(&argc, &argv, NULL);
    add("/peer/refused-port", NULL, test_refused);
    add("/peer/says-nothing", &silent, test_stalls);
    add("/peer/half-a-greeting", &half_greeting, test_stalls);
    add("/peer/hangs-up", &hang_up, test_goes_away);
    add("/peer/is-no-nbd-server", &garbage, test_nonsense);
    add("/peer/has-no-export", &no_export, test_nonsense);
    add("/peer/offers-too-little", &smaller, test_smaller);
    add("/peer/is-read-only", &read_only, test_read_only);
    add("/peer/is-full", &full, test_no_space);
    add("/peer/fails", &broken, test_io);
    add("/peer/forgets-a-write", &forgets, test_stalls);
    add("/peer/half-an-answer", &half_answer, test_stalls);
    add("/peer/half-an-answer-and-away", &half_answer_close, test_goes_away);
    add("/peer/goes-away", &goes_away, test_goes_away);
    add("/peer/answers-what-nobody-asked", &strange, test_goes_away);
    return g_test_run();
}
