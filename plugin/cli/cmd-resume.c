/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vmig-snap resume: the named job, the only unfinished one, or all of them. */
#include "cli/fail.h"
#include "vmig-snap/vmig-snap.h"
#include "cli/args.h"
#include "cli/render/look.h"
#include "cli/outcome.h"
#include "cli/source-images.h"
#include "cli/output.h"
#include "cli/resume-all.h"
#include "cli/watch.h"

/* What the operator stated on the command line. */
typedef struct {
    char *fenced; /* the source that is switched off, or NULL */
    gboolean without_verify;
    gboolean set_aside;
    gboolean unless_busy; /* no word about another process that works on the job */
} Word;

static int resume_one(VmigSession *session, const VmigMode *mode, const char *job, const Word *word)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(VmigWatch) watch = vmig_watch_new(session, mode, NULL);
    g_autoptr(VmigResumeRequest) request = vmig_resume_request_new(job);

    g_object_set(request, "fenced-source", word->fenced, "without-verify", word->without_verify, "set-aside",
                 word->set_aside, NULL);
    g_autoptr(JsonNode) result = vmig_session_resume(session, request, vmig_watch_cancellable(watch), &error);

    if (word->unless_busy && result == NULL && g_error_matches(error, VMIG_ERROR, VMIG_ERROR_LOCKED))
        return VMIG_EXIT_LOCKED;
    int code = vmig_watch_end(watch, VMIG_WISH_FORWARD, result, error);
    if (code == VMIG_EXIT_DONE)
        vmig_say_source_images(watch, result);
    return code;
}

static int resume_all(VmigSession *session, const VmigMode *mode, JsonObject *list)
{
    const char *job = vmig_look_text(vmig_look_element(list, "jobs", 0), "job");
    const Word none = {0};

    if (vmig_look_count(list, "jobs") > 1)
        return vmig_resume_each(mode, list);
    return job != NULL ? resume_one(session, mode, job, &none) : VMIG_EXIT_DONE;
}

static gboolean check_only_one(JsonObject *list, GError **error)
{
    g_autoptr(GString) jobs = g_string_new(NULL);
    guint n = vmig_look_count(list, "jobs");

    if (n <= 1)
        return TRUE;
    for (guint i = 0; i < n && i < 10; i++) {
        g_autofree char *job = vmig_look_shown(vmig_look_element(list, "jobs", i), "job");
        g_string_append_printf(jobs, "%s%s", i > 0 ? ", " : "", job);
    }
    return vmig_cli_fail(error, VMIG_ERROR_USAGE, "Name one of them, or use --all.", "%u jobs are unfinished: %s%s", n,
                         jobs->str, n > 10 ? "..." : "");
}

static gboolean check_word(const char *job, const Word *word, GError **error)
{
    const char *option = word->fenced != NULL ? "--source-is-fenced"
                         : word->set_aside    ? "--set-aside"
                                              : "--without-verify";

    if (word->fenced == NULL && !word->without_verify && !word->set_aside)
        return TRUE;
    if (job == NULL)
        return vmig_cli_fail(error, VMIG_ERROR_USAGE, "vmig-snap status lists the jobs.",
                             "resume: %s needs the name of one job", option);
    if ((word->fenced != NULL) + word->without_verify + word->set_aside > 1)
        return vmig_cli_fail(error, VMIG_ERROR_USAGE, "Use only one of them.", "resume: %s and %s cannot be combined",
                             word->fenced != NULL ? "--source-is-fenced" : "--set-aside",
                             word->without_verify ? "--without-verify" : "--set-aside");
    return word->fenced == NULL || vmig_args_check_name("host", word->fenced, error);
}

static int run(const VmigMode *mode, const char *job, gboolean all, const Word *word)
{
    g_autoptr(GError) error = NULL;

    if (job != NULL && !vmig_args_check_name("job or domain", job, &error))
        return vmig_end_with_error(mode, error);
    if (job != NULL && all) {
        g_autofree char *shown = vmig_text_escape(job, -1);
        vmig_cli_fail(&error, VMIG_ERROR_USAGE, "Use only one of them.", "resume: '%s' and --all cannot be combined",
                      shown);
        return vmig_end_with_error(mode, error);
    }
    if (!check_word(job, word, &error))
        return vmig_end_with_error(mode, error);
    g_autoptr(VmigSession) session = vmig_session_new(NULL);
    if (job != NULL)
        return resume_one(session, mode, job, word);
    g_autoptr(JsonNode) list = vmig_session_list(session, VMIG_LIST_NONE, NULL, &error);
    if (list == NULL || (!all && !check_only_one(vmig_look(list), &error)))
        return vmig_end_with_error(mode, error);
    if (vmig_look_count(vmig_look(list), "jobs") == 0 && !mode->json && !mode->quiet)
        vmig_out("There are no unfinished jobs.\n");
    return vmig_end(resume_all(session, mode, vmig_look(list)));
}

int vmig_cmd_resume(int argc, char **argv)
{
    static const char *const names[] = {"JOB", NULL};
    VmigMode mode = {FALSE, FALSE};
    gboolean all = FALSE;
    Word word = {0};
    const GOptionEntry entries[] = {
        {"all", 0, 0, G_OPTION_ARG_NONE, &all, "Resume all unfinished jobs", NULL},
        {"source-is-fenced", 0, 0, G_OPTION_ARG_STRING, &word.fenced,
         "The source is off for good: run the guest that arrived here", "HOST"},
        {"without-verify", 0, 0, G_OPTION_ARG_NONE, &word.without_verify,
         "End the job without its verification; keep the source's images", NULL},
        {"set-aside", 0, 0, G_OPTION_ARG_NONE, &word.set_aside,
         "Give the job up: the guest stays as it is, every file is kept", NULL},
        {"unless-busy", 0, 0, G_OPTION_ARG_NONE, &word.unless_busy,
         "Print nothing if another process works on the job (exit code 6)", NULL},
        {"json", 0, 0, G_OPTION_ARG_NONE, &mode.json, "Print JSON", NULL},
        {"quiet", 0, 0, G_OPTION_ARG_NONE, &mode.quiet, "Print only errors", NULL},
        G_OPTION_ENTRY_NULL,
    };
    const VmigUsage usage = {
        .command = "resume",
        .arguments = "[JOB|DOMAIN]",
        .summary = "Continues a job after a crash, a reboot or a park: forward or back, as the facts require.\nWithout "
                   "an argument there must be at most one unfinished job.",
        .most = 1,
        .names = names,
    };
    g_auto(GStrv) rest = NULL;
    int code;

    if (vmig_args_parse(&usage, entries, argc, argv, &mode, &rest, &code) == VMIG_ARGS_END)
        return code;
    code = run(&mode, rest[0], all, &word);
    g_free(word.fenced);
    return code;
}
