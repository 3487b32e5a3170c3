/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reports the images as unused only if the result proves it. */
#include "cli/source-images.h"

#include "cli/render/look.h"

void vmig_say_source_images(VmigWatch *watch, JsonNode *result)
{
    JsonObject *document = vmig_look(result);
    g_autoptr(GString) used = g_string_new(NULL);
    guint count = vmig_look_count(document, "source_images"), kept = 0;

    for (guint i = 0; i < count; i++) {
        JsonObject *image = vmig_look_element(document, "source_images", i);
        g_autofree char *path = vmig_look_shown(image, "path");
        g_autofree char *user = vmig_look_shown(image, "used_by");
        kept += vmig_look_flag(image, "kept") ? 1 : 0;
        if (vmig_look_text(image, "used_by") != NULL)
            g_string_append_printf(used, "  %s: %s\n", path, user);
    }
    if (kept == 0)
        return;
    if (used->len == 0)
        vmig_watch_say(watch, "The images on the source are kept; nothing uses them any longer.\n");
    else if (kept == count)
        vmig_watch_say(watch, "The images on the source are kept. These are still in use there:\n");
    else
        vmig_watch_say(watch, "The images on the source were removed, except these, which are still in use there:\n");
    vmig_watch_say(watch, used->str);
}
