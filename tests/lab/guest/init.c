/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The only program of the lab's guest: it writes self-describing blocks and says on the serial
 * console which of them the disk has acknowledged. What it prints is a promise the disk must keep
 * through every migration, crash and merge; tests/lab/console.py and oracle.py hold the disk to it.
 *
 * Lines (one write(2) each, so that several writers never mix):
 *   B <nonce>                                      boot
 *   W <disk> <block> <seq> <ms.us> <hash> <prev>   acknowledged write; started at that guest time
 *   S <disk> <ms> <seq>                            the longest write so far (over 20 ms)
 *   E <disk> <block> <seq> <errno>                 a write failed; the same one is tried again
 *   ERROR <disk> <block> <seq> <what>              a read-back found something else (vmig.verify=1)
 *   P off                                          power button seen, going down
 * <hash> is a 64-bit hash of the write and of <prev>, the hash of the writer's previous write: after a
 * revert to a snapshot the sequence numbers repeat, and only this chain tells the branches apart. Of
 * 32-bit hashes, two of 8,000 writes are equal once in 130 times: that looks like a second writer.
 *
 * Kernel command line: vmig.rate=50 (writes a second and disk, 0 = none), vmig.region_mb=64,
 * vmig.offset_mb=0, vmig.verify=0, vmig.disks=abc (default: all).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <linux/input.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/random.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define BLOCK 4096
#define MAGIC "VMIGBLK1"

/* The head of a block on disk, little endian; payload follows, CRC32 of all before it ends it. */
typedef struct {
    char magic[8];
    uint8_t disk;
    uint8_t zero[7];
    uint64_t block;
    uint64_t seq;
    uint64_t nonce;
    uint64_t us;
    uint64_t hash;
    uint64_t prev;
} Head;

/* What was last acknowledged for a block: enough to rebuild its whole content. */
typedef struct {
    uint64_t seq;
    uint64_t us;
    uint64_t hash;
    uint64_t prev;
} Acked;

typedef struct {
    char disk;
    int fd;
    uint64_t first;
    uint64_t blocks;
    uint64_t nonce;
    uint64_t longest_us;
    uint64_t random;
    Acked *acked;
    uint8_t *out;
    uint8_t *in;
} Writer;

static uint32_t crc_table[256];
static char cmdline[4096];

static void crc_init(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;

        for (int k = 0; k < 8; k++)
            c = c & 1 ? 0xedb88320u ^ (c >> 1) : c >> 1;
        crc_table[i] = c;
    }
}

static uint32_t crc32(const void *data, size_t length)
{
    const uint8_t *p = data;
    uint32_t c = 0xffffffffu;

    while (length--)
        c = crc_table[(c ^ *p++) & 0xff] ^ (c >> 8);
    return c ^ 0xffffffffu;
}

static uint64_t next_random(uint64_t *state)
{
    uint64_t x = *state;

    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return *state = x;
}

static uint64_t now_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static void __attribute__((format(printf, 1, 2))) say(const char *format, ...)
{
    char line[200];
    va_list args;
    int length;

    va_start(args, format);
    length = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    if (length > 0 && write(1, line, (size_t)length) < 0)
        _exit(3);
}

static long option(const char *name, long fallback)
{
    const char *at = strstr(cmdline, name);

    return at ? strtol(at + strlen(name), NULL, 0) : fallback;
}

/* The finalizer of SplitMix64: every bit of the input changes half of the output. */
static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

/* The hash that names a write: same fields, same order as console.py's chain_hash(). */
static uint64_t chain_hash(uint64_t nonce, char disk, uint64_t block, uint64_t seq, uint64_t us, uint64_t prev)
{
    const uint64_t in[] = {nonce, block, seq, us, (uint8_t)disk, prev};
    uint64_t hash = 0;

    for (size_t i = 0; i < sizeof in / sizeof in[0]; i++)
        hash = mix(hash + 0x9e3779b97f4a7c15u + in[i]);
    return hash;
}

static void build_block(uint8_t *to, const Writer *writer, uint64_t block, const Acked *write)
{
    Head head = {.disk = (uint8_t)writer->disk,
                 .block = block,
                 .seq = write->seq,
                 .nonce = writer->nonce,
                 .us = write->us,
                 .hash = write->hash,
                 .prev = write->prev};
    uint64_t state = (writer->nonce ^ write->seq * 0x9e3779b97f4a7c15u ^ block << 40) | 1;
    uint64_t word;
    uint32_t crc;

    memcpy(head.magic, MAGIC, 8);
    memcpy(to, &head, sizeof head);
    for (size_t at = sizeof head; at < BLOCK - 8; at += 8) {
        word = next_random(&state);
        memcpy(to + at, &word, 8);
    }
    memset(to + BLOCK - 8, 0, 4);
    crc = crc32(to, BLOCK - 4);
    memcpy(to + BLOCK - 4, &crc, 4);
}

static void report_stall(Writer *writer, uint64_t us, uint64_t seq)
{
    if (us <= writer->longest_us || us < 20000)
        return;
    writer->longest_us = us;
    say("S %c %" PRIu64 ".%03" PRIu64 " %" PRIu64 "\n", writer->disk, us / 1000, us % 1000, seq);
}

static void write_block(Writer *writer, uint64_t index, const Acked *write)
{
    uint64_t block = writer->first + index;

    build_block(writer->out, writer, block, write);
    while (pwrite(writer->fd, writer->out, BLOCK, (off_t)(block * BLOCK)) != BLOCK) {
        say("E %c %" PRIu64 " %" PRIu64 " %d\n", writer->disk, block, write->seq, errno);
        usleep(200000);
    }
    /* O_DSYNC: returned means on stable storage as far as the guest can know. Print only now. */
    say("W %c %" PRIu64 " %" PRIu64 " %" PRIu64 ".%03" PRIu64 " %016" PRIx64 " %016" PRIx64 "\n", writer->disk, block,
        write->seq, write->us / 1000, write->us % 1000, write->hash, write->prev);
    report_stall(writer, now_us() - write->us, write->seq);
    writer->acked[index] = *write;
}

static void verify_random_block(Writer *writer)
{
    uint64_t index = next_random(&writer->random) % writer->blocks;
    uint64_t block = writer->first + index;
    const Acked *acked = &writer->acked[index];

    if (acked->seq == 0)
        return;
    if (pread(writer->fd, writer->in, BLOCK, (off_t)(block * BLOCK)) != BLOCK) {
        say("ERROR %c %" PRIu64 " %" PRIu64 " read errno %d\n", writer->disk, block, acked->seq, errno);
        return;
    }
    build_block(writer->out, writer, block, acked);
    if (memcmp(writer->in, writer->out, BLOCK) != 0)
        say("ERROR %c %" PRIu64 " %" PRIu64 " mismatch\n", writer->disk, block, acked->seq);
}

static void write_forever(Writer *writer, long rate, int verify)
{
    uint64_t prev = chain_hash(writer->nonce, writer->disk, 0, 0, 0, 0);
    uint64_t pause = 1000000 / (uint64_t)rate;
    uint64_t due = now_us();

    for (uint64_t seq = 1;; seq++) {
        Acked write = {.seq = seq, .us = now_us(), .prev = prev};
        uint64_t index = next_random(&writer->random) % writer->blocks;
        uint64_t now;

        write.hash = chain_hash(writer->nonce, writer->disk, writer->first + index, seq, write.us, prev);
        write_block(writer, index, &write);
        prev = write.hash;
        if (verify)
            verify_random_block(writer);
        due += pause;
        now = now_us();
        if (due > now)
            usleep((useconds_t)(due - now));
        else
            due = now; /* no catching up: a stall must not be followed by a burst */
    }
}

static int open_disk(Writer *writer)
{
    char path[] = "/dev/vd?";
    uint64_t bytes = 0;
    int read_only = 0;
    uint64_t most;

    path[7] = writer->disk;
    writer->fd = open(path, O_RDWR | O_DIRECT | O_DSYNC | O_CLOEXEC);
    if (writer->fd < 0)
        return 0;
    if (ioctl(writer->fd, BLKGETSIZE64, &bytes) < 0 || ioctl(writer->fd, BLKROGET, &read_only) < 0 || read_only)
        return 0;
    writer->first = (uint64_t)option("vmig.offset_mb=", 0) * 256;
    writer->blocks = (uint64_t)option("vmig.region_mb=", 64) * 256;
    most = bytes / BLOCK > writer->first ? bytes / BLOCK - writer->first : 0;
    if (writer->blocks > most)
        writer->blocks = most;
    return writer->blocks > 0;
}

static void run_writer(char disk, uint64_t nonce)
{
    Writer writer = {.disk = disk, .nonce = nonce};
    long rate = option("vmig.rate=", 50);

    if (rate <= 0 || !open_disk(&writer))
        _exit(0);
    writer.random = (nonce ^ (uint64_t)disk << 32) | 1;
    writer.acked = calloc(writer.blocks, sizeof *writer.acked);
    if (!writer.acked || posix_memalign((void **)&writer.out, BLOCK, BLOCK) ||
        posix_memalign((void **)&writer.in, BLOCK, BLOCK)) {
        say("ERROR %c 0 0 no memory\n", disk);
        _exit(1);
    }
    write_forever(&writer, rate, option("vmig.verify=", 0) != 0);
}

static void start_writers(uint64_t nonce)
{
    const char *only = strstr(cmdline, "vmig.disks=");

    for (char disk = 'a'; disk <= 'z'; disk++) {
        char path[] = "/dev/vd?";

        path[7] = disk;
        if (access(path, F_OK) < 0)
            continue;
        if (only && !memchr(only + 11, disk, strcspn(only + 11, " \n")))
            continue;
        if (fork() == 0)
            run_writer(disk, nonce);
    }
}

/* QEMU before 9.0 forgets to tell the emulated CPU when a migration has taken note of what was written (03bfc2188f,
 * "physmem: Fix migration dirty bitmap coherency with TCG memory access"): what it then writes by an entry that its TLB
 * still has is not sent, and the guest arrives with old memory, about once in 200 migrations on a busy machine. With
 * hardware virtualization there is no such thing. A switch to another address space empties that TLB; a guest whose
 * only busy program is the writer hardly ever makes one. So another program does it, all the time. */
static void start_switcher(void)
{
    const struct timespec nap = {0, 1000000};

    if (fork() != 0)
        return;
    for (;;)
        nanosleep(&nap, NULL);
}

static void load_modules(void)
{
    FILE *list = fopen("/modules/order", "re");
    char name[100], path[120];

    while (list && fscanf(list, "%99s", name) == 1) {
        snprintf(path, sizeof path, "/modules/%s", name);
        int fd = open(path, O_RDONLY | O_CLOEXEC);

        if (fd < 0 || (syscall(SYS_finit_module, fd, "", 0) < 0 && errno != EEXIST))
            say("ERROR - 0 0 module %s errno %d\n", name, errno);
        if (fd >= 0)
            close(fd);
    }
    if (list)
        fclose(list);
}

/* `virsh shutdown` presses the ACPI power button; it reaches us as a key on an input device. */
static void wait_for_power_button(void)
{
    struct pollfd fds[8];
    struct input_event event;
    nfds_t n = 0;

    for (int i = 0; i < 8; i++) {
        char path[40];

        snprintf(path, sizeof path, "/dev/input/event%d", i);
        fds[n].fd = open(path, O_RDONLY | O_CLOEXEC);
        fds[n].events = POLLIN;
        n += fds[n].fd >= 0;
    }
    for (;;) {
        if (poll(fds, n, 1000) > 0)
            for (nfds_t i = 0; i < n; i++)
                if (fds[i].revents & POLLIN && read(fds[i].fd, &event, sizeof event) == sizeof event &&
                    event.type == EV_KEY && event.code == KEY_POWER && event.value)
                    return;
        while (waitpid(-1, NULL, WNOHANG) > 0)
            continue;
    }
}

static uint64_t make_nonce(void)
{
    uint64_t nonce = 0;

    if (getrandom(&nonce, sizeof nonce, GRND_NONBLOCK | GRND_INSECURE) != sizeof nonce) {
        nonce = now_us() * 0x9e3779b97f4a7c15u ^ __builtin_ia32_rdtsc();
    }
    return nonce;
}

int main(void)
{
    uint64_t nonce;
    int fd;

    mkdir("/dev", 0755);
    mkdir("/proc", 0755);
    mount("dev", "/dev", "devtmpfs", 0, "");
    mount("proc", "/proc", "proc", 0, "");
    fd = open("/dev/console", O_RDWR | O_CLOEXEC);
    dup2(fd, 0);
    dup2(fd, 1);
    dup2(fd, 2);
    fd = open("/proc/cmdline", O_RDONLY | O_CLOEXEC);
    if (fd < 0 || read(fd, cmdline, sizeof cmdline - 1) < 0)
        say("ERROR - 0 0 no command line\n");
    crc_init();
    load_modules();
    nonce = make_nonce();
    say("\nB %016" PRIx64 "\n", nonce);
    start_writers(nonce);
    start_switcher();
    wait_for_power_button();
    kill(-1, SIGKILL);
    say("P off\n");
    sync();
    reboot(RB_POWER_OFF);
    for (;;)
        pause();
}
