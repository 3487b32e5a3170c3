/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The two hosts of plan-env.h: their facts, and how a test changes them. plan-answers.c answers the plan. */
#include "plan-env.h"

#include <glib/gstdio.h>
#include <string.h>

#include "expect.h"
#include "plan-answers.h"
#include "store/journal.h"
#include "tests/unit/legal.h"

#define DOMAIN                                                                                                         \
    "<domain type='kvm'><name>@N@</name><uuid>" PLAN_UUID "</uuid><memory>1048576</memory>"                            \
    "<os><type arch='x86_64' machine='q35'>hvm</type></os><devices>%s</devices></domain>"

#define VDA                                                                                                            \
    "<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='@I@/g.qcow2'/>%s"                 \
    "<target dev='vda' bus='virtio'/></disk>"
#define VDA_CHAIN                                                                                                      \
    "<backingStore type='file'><format type='qcow2'/><source file='@I@/base.qcow2'/><backingStore/></backingStore>"
#define VDB                                                                                                            \
    "<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='@I@/data.raw'/>%s"                  \
    "<target dev='vdb' bus='virtio'/></disk>"

static void file_free(gpointer data)
{
    g_free(((PlanFile *)data)->path);
    g_free(data);
}

static void folder_free(gpointer data)
{
    g_free(((PlanFolder *)data)->path);
    g_free(data);
}

static void replace(char **text, const char *from, const char *to)
{
    g_auto(GStrv) parts = g_strsplit(*text, from, -1);

    g_free(*text);
    *text = g_strjoinv(to, parts);
}

char *plan_env_text(const PlanEnv *w, const char *text)
{
    char *result = g_strdup(text);

    replace(&result, "@I@", w->folder);
    replace(&result, "@N@", w->name);
    return result;
}

static void make_host(PlanEnv *w, PlanRole role)
{
    PlanHost *host = &w->hosts[role];

    host->env = w;
    host->role = role;
    host->files = g_ptr_array_new_with_free_func(file_free);
    host->folders = g_ptr_array_new_with_free_func(folder_free);
    host->roots = g_ptr_array_new_with_free_func(g_free);
    host->info = (VmigHypervisorInfo){.hostname = (char *)(role == HERE ? "kvm1" : "kvm2"),
                                      .uuid = (char *)(role == HERE ? "uuid-1" : "uuid-2"),
                                      .libvirt_version = 9000000,
                                      .qemu_version = 7002000};
    plan_answers_set(host);
    plan_env_add_root(w, role, "@I@");
    plan_env_mkdir(w, role, "@I@", 1, 100 * GIB);
}

PlanEnv *plan_env_new(const char *folder, const char *name)
{
    PlanEnv *w = g_new0(PlanEnv, 1);

    w->folder = folder;
    w->name = name;
    make_host(w, HERE);
    make_host(w, THERE);
    plan_env_add_root(w, THERE, "/big");
    plan_env_mkdir(w, THERE, "/big", 2, 100 * GIB);
    plan_env_put(
        w, HERE,
        (PlanFile){.path = (char *)"@I@/g.qcow2", .format = "qcow2", .backing = "@I@/base.qcow2", .size = GIB});
    plan_env_put(w, HERE, (PlanFile){.path = (char *)"@I@/base.qcow2", .format = "qcow2", .size = GIB});
    plan_env_put(w, HERE, (PlanFile){.path = (char *)"@I@/data.raw", .format = "raw", .size = GIB});
    w->guest = (VmigDomainInfo){.id = 1, .run = VMIG_RUN_RUNNING, .persistent = TRUE};
    w->xml[0] = g_strdup_printf(DOMAIN, VDA VDB);
    w->xml[1] = g_strdup_printf(DOMAIN, VDA VDB);
    replace(&w->xml[1], "%s", "");
    plan_env_edit_live(w, "g.qcow2'/>%s", "g.qcow2'/>" VDA_CHAIN);
    plan_env_edit_live(w, "data.raw'/>%s", "data.raw'/><backingStore/>");
    w->snapshots = g_ptr_array_new_with_free_func(g_free);
    w->disks = g_ptr_array_new_with_free_func(g_free);
    w->maps = g_ptr_array_new_with_free_func(g_free);
    w->map_dirs = g_ptr_array_new_with_free_func(g_free);
    w->options.merge = (char *)"commit";
    w->options.transport = (char *)"ssh";
    return w;
}

void plan_env_free(PlanEnv *w)
{
    for (guint i = 0; i < G_N_ELEMENTS(w->hosts); i++) {
        g_ptr_array_unref(w->hosts[i].files);
        g_ptr_array_unref(w->hosts[i].folders);
        g_ptr_array_unref(w->hosts[i].roots);
        g_free(w->xml[i]);
    }
    g_ptr_array_unref(w->snapshots);
    g_ptr_array_unref(w->disks);
    g_ptr_array_unref(w->maps);
    g_ptr_array_unref(w->map_dirs);
    g_clear_error(&w->dest_error);
    g_clear_pointer(&w->journal, vmig_journal_close);
    g_clear_pointer(&w->map, vmig_path_map_free);
    if (w->journal_dir != NULL) {
        g_autofree char *command = g_strdup_printf("rm -r %s", w->journal_dir);
        g_assert_true(g_spawn_command_line_sync(command, NULL, NULL, NULL, NULL));
    }
    g_free(w->journal_dir);
    g_free(w);
}

static VmigPathMap *make_map(const PlanEnv *w)
{
    VmigPathMap *map = vmig_path_map_new();

    for (guint i = 0; i < w->maps->len; i++)
        assert_ok(vmig_path_map_add_target(map, w->maps->pdata[i], &error_));
    for (guint i = 0; i < w->map_dirs->len; i++)
        assert_ok(vmig_path_map_add_dir(map, w->map_dirs->pdata[i], &error_));
    return map;
}

VmigPlan *plan_env_plan(PlanEnv *w)
{
    g_autoptr(GError) error = NULL;

    g_clear_pointer(&w->map, vmig_path_map_free);
    w->map = make_map(w);
    if (w->disks->len > 0 && w->disks->pdata[w->disks->len - 1] != NULL)
        g_ptr_array_add(w->disks, NULL);
    w->request = (VmigPlanRequest){.domain = w->wanted != NULL ? w->wanted : w->name,
                                   .disks = w->disks->len > 0 ? (const char *const *)w->disks->pdata : NULL,
                                   .map = w->map,
                                   .options = &w->options,
                                   .connect_uri = "qemu:///system",
                                   .dest_uri = "qemu+ssh://kvm2/system",
                                   .job_id = PLAN_JOB,
                                   .dest_error = w->dest_error};
    plan_answers_connect(w);
    VmigPlan *plan = vmig_plan_make(&w->env, w->journal, &w->request, &error);
    g_assert_no_error(error);
    return plan;
}

static PlanFile *find_file(PlanEnv *w, PlanRole role, const char *path)
{
    g_autofree char *real = plan_env_text(w, path);
    GPtrArray *files = w->hosts[role].files;

    for (guint i = 0; i < files->len; i++)
        if (g_str_equal(((PlanFile *)files->pdata[i])->path, real))
            return files->pdata[i];
    return NULL;
}

PlanFile *plan_env_file(PlanEnv *w, PlanRole role, const char *path)
{
    PlanFile *file = find_file(w, role, path);

    g_assert_nonnull(file);
    return file;
}

PlanFile *plan_env_put(PlanEnv *w, PlanRole role, PlanFile file)
{
    PlanFile *copy = g_memdup2(&file, sizeof file);

    g_assert_null(find_file(w, role, file.path));
    copy->path = plan_env_text(w, file.path);
    copy->version = file.version != 0 || g_strcmp0(file.format, "qcow2") != 0 ? file.version : 3;
    g_ptr_array_add(w->hosts[role].files, copy);
    return copy;
}

void plan_env_remove(PlanEnv *w, PlanRole role, const char *path)
{
    g_assert_true(g_ptr_array_remove(w->hosts[role].files, plan_env_file(w, role, path)));
}

PlanFolder *plan_env_folder(PlanEnv *w, PlanRole role, const char *path)
{
    g_autofree char *real = plan_env_text(w, path);
    GPtrArray *folders = w->hosts[role].folders;

    for (guint i = 0; i < folders->len; i++)
        if (g_str_equal(((PlanFolder *)folders->pdata[i])->path, real))
            return folders->pdata[i];
    g_error("there is no folder %s", real);
}

void plan_env_mkdir(PlanEnv *w, PlanRole role, const char *path, guint64 filesystem, guint64 room)
{
    PlanFolder *folder = g_new0(PlanFolder, 1);

    folder->path = plan_env_text(w, path);
    folder->filesystem = filesystem;
    folder->free = room;
    g_ptr_array_add(w->hosts[role].folders, folder);
}

void plan_env_rmdir(PlanEnv *w, PlanRole role, const char *path)
{
    g_ptr_array_remove(w->hosts[role].folders, plan_env_folder(w, role, path));
}

void plan_env_add_root(PlanEnv *w, PlanRole role, const char *path)
{
    g_ptr_array_add(w->hosts[role].roots, plan_env_text(w, path));
}

static void edit(char **xml, const char *from, const char *to)
{
    if (strstr(*xml, from) == NULL)
        g_error("'%s' is not in %s", from, *xml);
    replace(xml, from, to);
}

void plan_env_edit_live(PlanEnv *w, const char *from, const char *to)
{
    edit(&w->xml[0], from, to);
}

void plan_env_edit_next(PlanEnv *w, const char *from, const char *to)
{
    edit(&w->xml[1], from, to);
}

void plan_env_edit(PlanEnv *w, const char *from, const char *to)
{
    plan_env_edit_live(w, from, to);
    plan_env_edit_next(w, from, to);
}

void plan_env_add_device(PlanEnv *w, const char *xml)
{
    g_autofree char *with = g_strconcat(xml, "</devices>", NULL);

    plan_env_edit(w, "</devices>", with);
}

void plan_env_detach(PlanEnv *w, guint which, const char *target)
{
    g_auto(GStrv) disks = g_strsplit(w->xml[which], "<disk ", -1);
    g_autofree char *mark = g_strdup_printf("<target dev='%s'", target);
    GString *rest = g_string_new(disks[0]);

    for (guint i = 1; disks[i] != NULL; i++) {
        const char *end = strstr(disks[i], "</disk>") + strlen("</disk>");
        if (strstr(disks[i], mark) == NULL)
            g_string_append_printf(rest, "<disk %s", disks[i]);
        else
            g_string_append(rest, end);
    }
    g_free(w->xml[which]);
    w->xml[which] = g_string_free(rest, FALSE);
}

void plan_env_option(GPtrArray *list, const PlanEnv *w, const char *text)
{
    if (list->len > 0 && list->pdata[list->len - 1] == NULL)
        g_ptr_array_set_size(list, (int)list->len - 1);
    g_ptr_array_add(list, plan_env_text(w, text));
}

void plan_env_job(PlanEnv *w, const char *state)
{
    g_autoptr(VmigJob) job = vmig_job_new(&vmig_states_migrate);

    job->id = g_strdup("fedcba9876543210");
    job->uuid = g_strdup(PLAN_UUID);
    job->domain = g_strdup(w->name);
    job->host[VMIG_SOURCE] = g_strdup("kvm1");
    job->host[VMIG_DEST] = g_strdup("kvm3");
    job->started = 1700000000;
    g_free(job->state);
    job->state = g_strdup(state);
    put_facts(job, vmig_job_state(job));
    if (w->journal != NULL) {
        assert_ok(vmig_journal_put(w->journal, job, VMIG_SOURCE, &error_));
        return;
    }
    w->journal_dir = g_dir_make_tmp("vmig-plan-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(w->journal_dir, "journal.db", NULL);
    assert_ok((w->journal = vmig_journal_open(path, NULL, &error_)) != NULL);
    assert_ok(vmig_journal_create_job(w->journal, job, VMIG_SOURCE, &error_));
}
