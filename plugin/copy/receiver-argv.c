/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Only options: qemu-nbd gets the file as a descriptor and the socket by socket activation. */
#include "copy/receiver-argv.h"

/* Commas in option values are doubled (QEMU's util/keyval.c). */
static char *double_commas(const char *text)
{
    g_auto(GStrv) parts = g_strsplit(text != NULL ? text : "", ",", -1);

    return g_strjoinv(",,", parts);
}

char **vmig_receiver_argv(int file_fd, gboolean direct, const char *export, const VmigListen *to, GError **error)
{
    g_autofree char *program = g_find_program_in_path("qemu-nbd");

    if (program == NULL) {
        vmig_fail(error, VMIG_ERROR_IMAGE_TOOL, "Install qemu-utils.", "qemu-nbd is not installed");
        return NULL;
    }
    /* Without O_DIRECT (tmpfs, some network file systems) use the page cache and threads, because Linux AIO needs
     * O_DIRECT. */
    const char *mode = direct ? "file.cache.direct=on,file.aio=native" : "file.cache.direct=off,file.aio=threads";
    g_autofree char *image = g_strdup_printf("driver=raw,file.driver=file,file.filename=/dev/fd/%d,%s,"
                                             "file.discard=unmap,discard=unmap,detect-zeroes=off",
                                             file_fd, mode);
    g_autofree char *dir = double_commas(to->tls_dir), *identity = double_commas(to->identity);
    g_autofree char *name = g_strconcat("--export-name=", export, NULL);
    g_autofree char *authz = g_strdup_printf("authz-simple,id=authz,identity=%s", identity);
    g_autofree char *creds = g_strdup_printf("tls-creds-x509,id=tls,endpoint=server,verify-peer=yes,dir=%s", dir);
    const char *argv[] = {program,
                          "--image-opts",
                          image,
                          "--persistent",
                          "--shared=32",
                          "--discard=unmap",
                          "--detect-zeroes=off",
                          name,
                          to->tls_dir != NULL ? "--tls-creds=tls" : NULL,
                          "--object",
                          creds,
                          to->identity != NULL ? "--tls-authz=authz" : NULL,
                          "--object",
                          authz,
                          NULL};
    return g_strdupv((char **)argv);
}
