/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The search itself, the backing chains, and the lock. image-lookers.c looks for the users. */
#include "node/image-users.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/file-id.h"
#include "core/image-names.h"
#include "core/names.h"
#include "node/image-users-private.h"
#include "image/image.h"
#include "drivers/libvirt/libvirt-named.h"

#define CHAIN_MAX 64
#define FIRST_LOCK 100
#define LOCKS 200

static char *file_id(dev_t dev, ino_t ino)
{
    return g_strdup_printf("%" G_GUINT64_FORMAT ":%" G_GUINT64_FORMAT, (guint64)dev, (guint64)ino);
}

void vmig_image_search_unknown(VmigImageSearch *search, const char *format, ...)
{
    va_list args;

    if (search->unknown != NULL)
        return;
    va_start(args, format);
    g_autofree char *text = g_strdup_vprintf(format, args);
    va_end(args);
    search->unknown = vmig_text_escape(text, -1);
}

gboolean vmig_image_search_over(VmigImageSearch *search)
{
    if (g_get_monotonic_time() < search->deadline)
        return FALSE;
    vmig_image_search_unknown(search, "the search for its users takes too long");
    return TRUE;
}

void vmig_image_search_found(VmigImageSearch *search, dev_t dev, ino_t ino, const char *user)
{
    for (guint i = 0; i < search->targets->len; i++) {
        VmigImageTarget *target = search->targets->pdata[i];
        if (target->exists && target->user == NULL && vmig_file_id_is(target->id, dev, ino))
            target->user = vmig_text_escape(user, -1);
    }
}

gboolean vmig_image_search_is_leaving(const VmigImageSearch *search, dev_t dev, ino_t ino)
{
    struct stat st;

    for (guint i = 0; search->leaving != NULL && search->leaving[i] != NULL; i++)
        if (lstat(search->leaving[i], &st) == 0 && vmig_file_id_is(VMIG_FILE_ID(st), dev, ino))
            return TRUE;
    return FALSE;
}

/* --- backing chains --- */

typedef struct {
    VmigImageSearch *search;
    const char *top; /* the image at the top of the chain */
    const char *who; /* user of the top; NULL: the top merely exists */
    guint depth;
} Chain;

static void follow(const Chain *chain, const char *path);

static char *chain_user(const Chain *chain)
{
    if (chain->who == NULL)
        return g_strdup_printf("the image %s uses it", chain->top);
    if (chain->depth == 0)
        return g_strdup_printf("%s uses it", chain->who);
    return g_strdup_printf("%s uses %s, which uses it", chain->who, chain->top);
}

/* QEMU resolves a relative name against the folder of the name that the image was opened by, and the image may be
 * opened by any of its names. */
static void follow_name(const Chain *chain, const char *image, const char *name)
{
    g_autofree char *folder = g_path_get_dirname(image);
    g_autofree char *near = g_strconcat(folder, "/", name, NULL);

    if (*name == '/') {
        follow(chain, name);
        return;
    }
    follow(chain, near);
    char *real = realpath(image, NULL);
    if (real != NULL && strcmp(real, image) != 0) {
        g_autofree char *real_folder = g_path_get_dirname(real);
        g_autofree char *there = g_strconcat(real_folder, "/", name, NULL);
        follow(chain, there);
    }
    free(real);
}

static void look_below(const Chain *chain, int fd, const char *path)
{
    const Chain next = {chain->search, chain->top, chain->who, chain->depth + 1};
    g_autoptr(GError) error = NULL;
    struct stat st;

    if (chain->depth >= CHAIN_MAX) {
        vmig_image_search_unknown(chain->search, "the chain of %s is too long to be searched", chain->top);
        return;
    }
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || vmig_image_search_over(chain->search) ||
        !g_hash_table_add(chain->search->looked, file_id(st.st_dev, st.st_ino)))
        return;
    g_autoptr(GPtrArray) names = vmig_image_names(vmig_image_pread, GINT_TO_POINTER(fd), (guint64)st.st_size, &error);
    if (names == NULL)
        vmig_image_search_unknown(chain->search, "cannot read the header of %s: %s", path, error->message);
    for (guint i = 0; names != NULL && i < names->len; i++)
        follow_name(&next, path, names->pdata[i]);
}

static void follow(const Chain *chain, const char *path)
{
    g_autofree char *user = chain_user(chain);
    struct stat st;

    if (stat(path, &st) != 0) {
        /* A missing file cannot be one of the targets, which exist. */
        if (errno != ENOENT && errno != ENOTDIR && errno != ELOOP && errno != ENAMETOOLONG)
            vmig_image_search_unknown(chain->search, "cannot stat %s: %s", path, g_strerror(errno));
        return;
    }
    vmig_image_search_found(chain->search, st.st_dev, st.st_ino, user);
    if (!S_ISREG(st.st_mode))
        return;
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0) {
        if (errno != ENOENT)
            vmig_image_search_unknown(chain->search, "cannot open %s: %s", path, g_strerror(errno));
        return;
    }
    look_below(chain, fd, path);
    close(fd);
}

void vmig_image_search_path(VmigImageSearch *search, const char *path, const char *who)
{
    const Chain chain = {search, path, who, 0};

    follow(&chain, path);
}

void vmig_image_search_below(VmigImageSearch *search, int fd, const char *path)
{
    const Chain chain = {search, path, NULL, 0};

    look_below(&chain, fd, path);
}

/* --- definitions --- */

/* A path, or a text that contains paths, such as a QEMU argument. */
static void on_text(gpointer user, const char *who, const char *text)
{
    VmigImageSearch *search = user;
    g_auto(GStrv) parts = NULL;

    if (*text == '/')
        vmig_image_search_path(search, text, who);
    parts = g_strsplit_set(text, ",=:'\" \t\n", -1);
    for (guint i = 0; parts[i] != NULL; i++)
        if (*parts[i] == '/' && strcmp(parts[i], text) != 0)
            vmig_image_search_path(search, parts[i], who);
}

static void look_at_definitions(VmigImageSearch *search)
{
    g_autoptr(GError) error = NULL;

    if (!vmig_libvirt_named_texts(search->libvirt_uri, search->domain, on_text, search, &error))
        vmig_image_search_unknown(search, "libvirt does not report which guests use it: %s", error->message);
}

/* --- the search --- */

static void target_free(gpointer data)
{
    VmigImageTarget *target = data;

    g_free(target->path);
    g_free(target->user);
    g_free(target);
}

static VmigImageSearch *search_new(const VmigImageQuestion *question)
{
    VmigImageSearch *search = g_new0(VmigImageSearch, 1);

    search->libvirt_uri = g_strdup(question->libvirt_uri);
    search->domain = g_strdup(question->domain);
    search->taken = question->taken;
    search->roots = g_strdupv((char **)question->roots);
    search->leaving = g_strdupv((char **)question->leaving);
    search->targets = g_ptr_array_new_with_free_func(target_free);
    search->looked = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    search->folders = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    search->deadline = g_get_monotonic_time() + VMIG_IMAGE_USERS_SECONDS * G_USEC_PER_SEC * 3 / 4;
    for (guint i = 0; question->paths[i] != NULL; i++) {
        VmigImageTarget *target = g_new0(VmigImageTarget, 1);
        target->path = g_strdup(question->paths[i]);
        g_ptr_array_add(search->targets, target);
    }
    return search;
}

static void search_free(VmigImageSearch *search)
{
    g_free(search->libvirt_uri);
    g_free(search->domain);
    g_strfreev(search->roots);
    g_strfreev(search->leaving);
    g_ptr_array_unref(search->targets);
    g_hash_table_unref(search->looked);
    g_hash_table_unref(search->folders);
    g_free(search->unknown);
    g_free(search);
}

/* FALSE if none of them exists: then there is nothing to search for. */
static gboolean find_targets(VmigImageSearch *search)
{
    gboolean any = FALSE;
    struct stat st;

    for (guint i = 0; i < search->targets->len; i++) {
        VmigImageTarget *target = search->targets->pdata[i];
        if (lstat(target->path, &st) != 0) {
            if (errno != ENOENT && errno != ENOTDIR)
                target->user = g_strdup_printf("cannot stat it: %s", g_strerror(errno));
            continue;
        }
        target->exists = any = TRUE;
        target->id = VMIG_FILE_ID(st);
    }
    return any;
}

static void search_run(VmigImageSearch *search)
{
    if (!find_targets(search))
        return;
    /* The searches that name the user best come first. */
    look_at_definitions(search);
    vmig_image_look_at_processes(search);
    vmig_image_look_at_loops(search);
    vmig_image_look_at_locks(search);
    vmig_image_look_at_roots(search);
    for (guint i = 0; i < search->targets->len; i++) {
        VmigImageTarget *target = search->targets->pdata[i];
        if (target->exists && target->user == NULL && search->unknown != NULL)
            target->user = g_strdup_printf("it is not proven that it is unused: %s", search->unknown);
    }
}

/* --- runs in a thread, because a call that hangs in libvirtd or a file system cannot be interrupted --- */

typedef struct {
    gint refs;
    GMutex lock; /* for the members below */
    GCond changed;
    gboolean done;
    VmigImageSearch *search;
} Job;

static void job_unref(Job *job)
{
    if (!g_atomic_int_dec_and_test(&job->refs))
        return;
    search_free(job->search);
    g_mutex_clear(&job->lock);
    g_cond_clear(&job->changed);
    g_free(job);
}

static gpointer job_thread(gpointer data)
{
    Job *job = data;

    search_run(job->search);
    g_mutex_lock(&job->lock);
    job->done = TRUE;
    g_cond_broadcast(&job->changed);
    g_mutex_unlock(&job->lock);
    job_unref(job);
    return NULL;
}

GPtrArray *vmig_image_users(const VmigImageQuestion *question)
{
    GPtrArray *users = g_ptr_array_new_with_free_func(g_free);
    gint64 until = g_get_monotonic_time() + VMIG_IMAGE_USERS_SECONDS * G_USEC_PER_SEC;
    Job *job = g_new0(Job, 1);

    job->refs = 2;
    job->search = search_new(question);
    g_mutex_init(&job->lock);
    g_cond_init(&job->changed);
    g_thread_unref(g_thread_new("vmig-users", job_thread, job));
    g_mutex_lock(&job->lock);
    while (!job->done && g_cond_wait_until(&job->changed, &job->lock, until))
        continue;
    for (guint i = 0; question->paths[i] != NULL; i++)
        g_ptr_array_add(users, job->done ? g_strdup(((VmigImageTarget *)job->search->targets->pdata[i])->user)
                                         : g_strdup("the search for its users does not end"));
    g_mutex_unlock(&job->lock);
    job_unref(job);
    return users;
}

/* --- the lock --- */

gboolean vmig_image_take(int fd, char **why)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = FIRST_LOCK, .l_len = LOCKS};

    if (fcntl(fd, F_OFD_SETLK, &lock) == 0)
        return TRUE;
    *why = errno == EAGAIN || errno == EACCES ? g_strdup("it is in use: a process holds a QEMU lock on it")
                                              : g_strdup_printf("cannot lock it: %s", g_strerror(errno));
    return FALSE;
}
