/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The bounded qcow2 reader. */
#include "core/qcow2.h"
#include "tests/fuzz/fuzz.h"

typedef struct {
    const uint8_t *data;
    size_t size;
} Input;

static gboolean read_input(gpointer user, guint64 offset, gpointer buffer, gsize length, GError **error G_GNUC_UNUSED)
{
    const Input *input = user;

    g_assert(offset <= input->size && length <= input->size - offset);
    memcpy(buffer, input->data + offset, length);
    return TRUE;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Input input = {data, size};
    g_autoptr(GError) error = NULL;
    g_autoptr(GError) count_error = NULL;
    guint32 count = 0;

    g_autoptr(VmigQcow2) image = vmig_qcow2_read(read_input, &input, size, NULL, &error);
    g_assert((image == NULL) == (error != NULL));
    vmig_qcow2_count_snapshots(read_input, &input, size, &count, &count_error);
    if (image != NULL)
        g_assert(count_error == NULL && count == image->snapshots->len);
    if (image != NULL && image->backing_name != NULL && vmig_backing_name_is_plain(image->backing_name, NULL))
        g_free(vmig_backing_resolve("/images/a.qcow2", image->backing_name));
    return 0;
}
