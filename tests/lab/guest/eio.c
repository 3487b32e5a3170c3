/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Preloaded into a QEMU: while the file that VMIG_EIO names exists, writes to the file whose path is in it fail with
 * EIO. Stands in for a broken disk under one image, which needs a device mapper elsewhere. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

static int is_broken(int fd)
{
    const char *trigger = getenv("VMIG_EIO");
    char wanted[4096], link[64], path[4096];

    int file = trigger != NULL ? open(trigger, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0)
        return 0;
    ssize_t n = read(file, wanted, sizeof wanted - 1);
    close(file);
    wanted[n > 0 ? n : 0] = '\0';
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t m = readlink(link, path, sizeof path - 1);
    path[m > 0 ? m : 0] = '\0';
    return n > 0 && m > 0 && strcmp(wanted, path) == 0;
}

#define WRITE(name, arguments, call)                                                                                   \
    ssize_t name arguments                                                                                             \
    {                                                                                                                  \
        static ssize_t(*next) arguments;                                                                               \
        if (next == NULL)                                                                                              \
            next = (ssize_t(*) arguments)dlsym(RTLD_NEXT, #name);                                                      \
        if (is_broken(fd)) {                                                                                           \
            errno = EIO;                                                                                               \
            return -1;                                                                                                 \
        }                                                                                                              \
        return next call;                                                                                              \
    }

WRITE(pwritev, (int fd, const struct iovec *iov, int n, off_t offset), (fd, iov, n, offset))
WRITE(pwritev64, (int fd, const struct iovec *iov, int n, off64_t offset), (fd, iov, n, offset))
WRITE(pwrite, (int fd, const void *data, size_t size, off_t offset), (fd, data, size, offset))
WRITE(pwrite64, (int fd, const void *data, size_t size, off64_t offset), (fd, data, size, offset))
