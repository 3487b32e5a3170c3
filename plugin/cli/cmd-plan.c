/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vmig-snap plan, and migrate --dry-run. */
#include "cli/cmd-plan.h"

#include "cli/interrupt.h"
#include "cli/render/look.h"
#include "cli/outcome.h"
#include "cli/output.h"
#include "cli/render/render.h"

static void on_interrupt(gpointer user)
{
    vmig_err("vmig-snap: interrupted: the plan ends within seconds. It has changed nothing.\n");
    g_cancellable_cancel(user);
}

/* A plan that just died would leave its directory of sockets, and the destination would only notice that it is alone.
 */
static JsonNode *ask(const VmigRequestArgs *args, GError **error)
{
    g_autoptr(VmigSession) session = vmig_session_new(args->connect);
    g_autoptr(GCancellable) cancellable = g_cancellable_new();
    VmigInterrupt *interrupt = vmig_interrupt_new(on_interrupt, cancellable);
    JsonNode *node = vmig_session_plan(session, args->request, cancellable, error);

    vmig_interrupt_free(interrupt);
    return node;
}

int vmig_run_plan(const VmigRequestArgs *args)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(JsonNode) node = ask(args, &error);

    if (node == NULL)
        return vmig_end_with_error(&args->mode, error);
    JsonObject *plan = vmig_look(node);
    if (args->mode.json) {
        vmig_out_json(node);
    } else if (!args->mode.quiet) {
        g_autofree char *page = vmig_render_plan(plan, vmig_out_is_utf8());
        vmig_out(page);
    }
    g_autofree char *refusals = vmig_plan_refusals_text(plan);
    if (refusals != NULL)
        vmig_err(refusals);
    return vmig_end((int)vmig_exit_of_plan(plan));
}

int vmig_cmd_plan(int argc, char **argv)
{
    int code;
    g_autoptr(VmigRequestArgs) args = vmig_request_args_parse("plan", argc, argv, &code);

    return args != NULL ? vmig_run_plan(args) : code;
}
