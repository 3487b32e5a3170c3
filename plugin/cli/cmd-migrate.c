/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vmig-snap migrate. */
#include "cli/cmd-plan.h"
#include "cli/outcome.h"
#include "cli/source-images.h"
#include "cli/watch.h"

static int run(const VmigRequestArgs *args, VmigBackground *background)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(VmigSession) session = vmig_session_new(args->connect);
    g_autoptr(VmigWatch) watch = vmig_watch_new(session, &args->mode, background);
    g_autoptr(JsonNode) result = vmig_session_migrate(session, args->request, vmig_watch_cancellable(watch), &error);
    int code = vmig_watch_end(watch, VMIG_WISH_FORWARD, result, error);
    if (code == VMIG_EXIT_DONE)
        vmig_say_source_images(watch, result);
    return code;
}

int vmig_cmd_migrate(int argc, char **argv)
{
    g_autoptr(VmigBackground) background = NULL;
    int code;
    g_autoptr(VmigRequestArgs) args = vmig_request_args_parse("migrate", argc, argv, &code);

    if (args == NULL)
        return code;
    if (args->dry_run)
        return vmig_run_plan(args);
    if (!args->detach)
        return run(args, NULL);
    background = vmig_background_start(&args->mode, &code);
    return background != NULL ? run(args, background) : code;
}
