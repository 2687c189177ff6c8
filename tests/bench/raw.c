/* What the machine can do with nobody in between. */
#include "bench/bench.h"
#include "e2e/harness.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { BLOCK = 4096, ZEROED = 8 << 20, ASK_BYTES = 128, ANSWER_BYTES = 8 };

double raw_sync_us(const char *dir, int times)
{
    static char block[BLOCK];
    double *samples = calloc((size_t)times, sizeof(*samples));
    const char *path = path_in(dir, "raw-limit");
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0 || samples == NULL)
        harness_fail("no file for the raw limit");
    memset(block, 0, sizeof(block));
    for (int pos = 0; pos < ZEROED; pos += BLOCK)
        (void)!pwrite(fd, block, BLOCK, pos);
    (void)fsync(fd);
    memset(block, 'x', sizeof(block));
    for (int i = 0; i < times; i++) {
        int64_t begin = now_us();
        if (pwrite(fd, block, BLOCK, (off_t)i * BLOCK % ZEROED) != BLOCK || fdatasync(fd) != 0)
            harness_fail("the raw limit could not be written");
        samples[i] = (double)(now_us() - begin);
    }
    (void)close(fd);
    (void)unlink(path);
    double p50 = median(samples, (size_t)times);
    free(samples);
    return p50;
}

static bool exactly(ssize_t (*move)(int, void *, size_t, int), int fd, char *bytes, size_t size)
{
    for (size_t done = 0; done < size;) {
        ssize_t n = move(fd, bytes + done, size - done, 0);
        if (n <= 0)
            return false;
        done += (size_t)n;
    }
    return true;
}

static ssize_t send_some(int fd, void *bytes, size_t size, int flags)
{
    return send(fd, bytes, size, flags | MSG_NOSIGNAL);
}

static void *answer(void *arg)
{
    char ask[ASK_BYTES], reply[ANSWER_BYTES] = "Done";
    int listener = *(int *)arg, on = 1;
    int fd = accept(listener, NULL, NULL);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    while (exactly(recv, fd, ask, sizeof(ask)) && exactly(send_some, fd, reply, sizeof(reply)))
        ;
    (void)close(fd);
    return NULL;
}

double raw_ping_us(int times)
{
    struct sockaddr_in at = {.sin_family = AF_INET};
    socklen_t size = sizeof(at);
    char ask[ASK_BYTES] = "", reply[ANSWER_BYTES];
    int on = 1;
    pthread_t other;
    double *samples = calloc((size_t)times, sizeof(*samples));
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (samples == NULL || bind(listener, (struct sockaddr *)&at, size) != 0 || listen(listener, 1) != 0 ||
        getsockname(listener, (struct sockaddr *)&at, &size) != 0 ||
        pthread_create(&other, NULL, answer, &listener) != 0 || connect(fd, (struct sockaddr *)&at, size) != 0)
        harness_fail("no loopback connection");
    for (int i = 0; i < times; i++) {
        int64_t begin = now_us();
        if (!exactly(send_some, fd, ask, sizeof(ask)) || !exactly(recv, fd, reply, sizeof(reply)))
            harness_fail("the loopback connection broke");
        samples[i] = (double)(now_us() - begin);
    }
    (void)close(fd);
    (void)pthread_join(other, NULL);
    (void)close(listener);
    double p50 = median(samples, (size_t)times);
    free(samples);
    return p50;
}

double raw_write_mib(const char *dir)
{
    enum { PIECE = 1 << 20, PIECES = 128 };
    char *piece = malloc(PIECE);
    const char *path = path_in(dir, "raw-rate");
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0 || piece == NULL)
        harness_fail("no file for the raw rate");
    memset(piece, 'x', PIECE);
    int64_t begin = now_us();
    for (int i = 0; i < PIECES; i++)
        if (write(fd, piece, PIECE) != PIECE || fdatasync(fd) != 0)
            harness_fail("the raw rate could not be written");
    double mib = PIECES * 1e6 / (double)(now_us() - begin);
    (void)close(fd);
    (void)unlink(path);
    free(piece);
    return mib;
}

enum { STREAM_PIECE = 256 << 10, STREAM_PIECES = 2048 };
#define TOUCHED_MAX (UINT64_C(5) << 30)

static void *swallow(void *arg)
{
    char *piece = malloc(STREAM_PIECE);
    int fd = accept(*(int *)arg, NULL, NULL);
    while (piece != NULL && recv(fd, piece, STREAM_PIECE, 0) > 0)
        ;
    (void)close(fd); /* the other side waits for it */
    free(piece);
    return NULL;
}

double raw_loopback_mib(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET};
    socklen_t size = sizeof(at);
    char *piece = calloc(1, STREAM_PIECE), end;
    pthread_t other;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (piece == NULL || bind(listener, (struct sockaddr *)&at, size) != 0 || listen(listener, 1) != 0 ||
        getsockname(listener, (struct sockaddr *)&at, &size) != 0 ||
        pthread_create(&other, NULL, swallow, &listener) != 0 || connect(fd, (struct sockaddr *)&at, size) != 0)
        harness_fail("no loopback connection");
    int64_t begin = now_us();
    for (int i = 0; i < STREAM_PIECES; i++)
        if (!exactly(send_some, fd, piece, STREAM_PIECE))
            harness_fail("the loopback connection broke");
    (void)shutdown(fd, SHUT_WR);
    (void)recv(fd, &end, 1, 0);
    double mib = (double)STREAM_PIECE * STREAM_PIECES / 1048576 * 1e6 / (double)(now_us() - begin);
    (void)close(fd);
    (void)pthread_join(other, NULL);
    (void)close(listener);
    free(piece);
    return mib;
}

/* ---- sending what is mapped --------------------------------------------------------- */

enum { MAPPED_PIECE = 64 << 10, MAPPED_PIECES = 16, SWALLOW = 256 << 10, CACHED_PIECES = 1024 };

struct mapped {
    int listener;
    uint8_t *bytes;
    size_t size;
    int64_t cpu_us;
};

const char *raw_stream_file(const char *dir, uint64_t size)
{
    const char *path = strdup(path_in(dir, "stream"));
    uint8_t *piece = malloc(STREAM_PIECE);
    int fd = path == NULL ? -1 : open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0 || piece == NULL)
        harness_fail("no file to send");
    memset(piece, 'x', STREAM_PIECE);
    for (uint64_t done = 0; done < size; done += STREAM_PIECE)
        if (write(fd, piece, STREAM_PIECE) != STREAM_PIECE)
            harness_fail("the file to send could not be written");
    (void)close(fd);
    free(piece);
    return path;
}

static int64_t thread_cpu_us(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static uint64_t available_bytes(void)
{
    char line[128];
    unsigned long long kib = 0;
    FILE *f = fopen("/proc/meminfo", "re");
    if (f == NULL)
        return 0;
    while (fgets(line, sizeof(line), f) != NULL && sscanf(line, "MemAvailable: %llu kB", &kib) != 1)
        ;
    (void)fclose(f);
    return kib * 1024;
}

void raw_touch_memory(void)
{
    uint64_t size = available_bytes() / 2 / STREAM_PIECE * STREAM_PIECE;
    if (size > TOUCHED_MAX)
        size = TOUCHED_MAX;
    uint8_t *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (size == 0 || at == MAP_FAILED)
        return;
    (void)madvise(at, size, MADV_HUGEPAGE); /* else it takes longer */
    for (uint64_t i = 0; i < size; i += BLOCK)
        at[i] = 1;
    (void)munmap(at, size);
}

double raw_page_cache_s_per_gb(const char *dir)
{
    const char *path = path_in(dir, "page-cache");
    uint8_t *piece = malloc(STREAM_PIECE);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0 || piece == NULL)
        harness_fail("no file for the page cache");
    memset(piece, 'x', STREAM_PIECE);
    int64_t begin = thread_cpu_us();
    for (int i = 0; i < CACHED_PIECES; i++)
        if (write(fd, piece, STREAM_PIECE) != STREAM_PIECE)
            harness_fail("the page cache could not be written");
    int64_t us = thread_cpu_us() - begin;
    (void)close(fd);
    (void)unlink(path);
    free(piece);
    return (double)us * 1e3 / ((double)CACHED_PIECES * STREAM_PIECE);
}

static void *send_mapped(void *arg)
{
    struct mapped *m = arg;
    int fd = accept(m->listener, NULL, NULL);
    int64_t begin = thread_cpu_us();
    for (size_t done = 0; done < m->size;) {
        struct iovec pieces[MAPPED_PIECES];
        int count = 0;
        for (size_t at = done; count < MAPPED_PIECES && at < m->size; at += MAPPED_PIECE, count++) {
            size_t left = m->size - at;
            pieces[count] = (struct iovec){m->bytes + at, left < MAPPED_PIECE ? left : MAPPED_PIECE};
        }
        ssize_t sent = writev(fd, pieces, count);
        if (sent <= 0)
            break;
        done += (size_t)sent;
    }
    m->cpu_us = thread_cpu_us() - begin;
    (void)close(fd);
    return NULL;
}

struct raw_stream raw_stream_mapped(const char *path)
{
    struct sockaddr_in at = {.sin_family = AF_INET};
    socklen_t size = sizeof(at);
    struct stat file;
    pthread_t other;
    char *swallowed = malloc(SWALLOW);
    int in = open(path, O_RDONLY | O_CLOEXEC);
    if (swallowed == NULL || in < 0 || fstat(in, &file) != 0)
        harness_fail("no file to send");
    struct mapped m = {.size = (size_t)file.st_size};
    m.bytes = mmap(NULL, m.size, PROT_READ, MAP_SHARED | MAP_POPULATE, in, 0);
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    m.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (m.bytes == MAP_FAILED || bind(m.listener, (struct sockaddr *)&at, size) != 0 || listen(m.listener, 1) != 0 ||
        getsockname(m.listener, (struct sockaddr *)&at, &size) != 0 ||
        pthread_create(&other, NULL, send_mapped, &m) != 0 || connect(fd, (struct sockaddr *)&at, size) != 0)
        harness_fail("no loopback connection");
    int64_t begin = now_us();
    size_t got = 0;
    for (ssize_t n; (n = recv(fd, swallowed, SWALLOW, 0)) > 0;)
        got += (size_t)n;
    int64_t us = now_us() - begin;
    (void)pthread_join(other, NULL);
    if (got != m.size)
        harness_fail("the loopback connection broke");
    (void)close(fd);
    (void)close(m.listener);
    (void)munmap(m.bytes, m.size);
    (void)close(in);
    free(swallowed);
    return (struct raw_stream){.mb_per_s = (double)got / (double)us,
                               .cpu_s_per_gb = (double)m.cpu_us * 1e3 / (double)got};
}

struct relay {
    _Atomic uint32_t turn;
    int times;
    uint64_t cpus;
};

static void relay_wait(struct relay *r, uint32_t turn)
{
    uint32_t seen;
    while ((seen = atomic_load_explicit(&r->turn, memory_order_acquire)) != turn)
        (void)syscall(SYS_futex, &r->turn, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
}

static void relay_pass(struct relay *r, uint32_t turn)
{
    atomic_store_explicit(&r->turn, turn, memory_order_release);
    (void)syscall(SYS_futex, &r->turn, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static void *relay_other(void *arg)
{
    struct relay *r = arg;
    pin_self(r->cpus);
    for (int i = 0; i < r->times; i++) {
        relay_wait(r, 1);
        relay_pass(r, 0);
    }
    return NULL;
}

double raw_hand_off_us(bool other_core, int times)
{
    struct relay r = {.times = times, .cpus = other_core ? 2 : 1};
    double *samples = calloc((size_t)times, sizeof(*samples));
    pthread_t other;
    pin_self(1);
    if (samples == NULL || pthread_create(&other, NULL, relay_other, &r) != 0)
        harness_fail("no thread");
    for (int i = 0; i < times; i++) {
        int64_t begin = now_us();
        relay_pass(&r, 1);
        relay_wait(&r, 0);
        samples[i] = (double)(now_us() - begin) / 2;
    }
    (void)pthread_join(other, NULL);
    pin_self(0);
    double p50 = median(samples, (size_t)times);
    free(samples);
    return p50;
}

void rows_raw(void)
{
    struct row r = {.what = "raw: 4 KiB pwrite + fdatasync, zeroed file", .verdict = ROW_SHOWN};
    ROW_SET(r.figure, "p50 %.0f us", raw_sync_us(temp_folder("raw"), 400));
    table_add(&r);
    ROW_SET(r.what, "raw: loopback ping-pong, one core / two cores");
    pin_self(1);
    double one = raw_ping_us(2000);
    pin_self(0);
    ROW_SET(r.figure, "p50 %.1f / %.1f us", one, raw_ping_us(2000));
    table_add(&r);
    ROW_SET(r.what, "raw: waking a thread, same core / other core");
    one = raw_hand_off_us(false, 2000);
    ROW_SET(r.figure, "p50 %.1f / %.1f us", one, raw_hand_off_us(true, 2000));
    table_add(&r);
}
