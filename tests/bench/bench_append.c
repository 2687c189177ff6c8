/*
 * What an append and its flush cost, by how the space was prepared, how the bytes
 * are written, how large they are, and whether the page that is written into is
 * still in the cache. Prints figures; passes no judgement.
 *
 *     make tests/bench/bench_append && tests/bench/bench_append [FOLDER [APPENDS]]
 */
#include "base/clock.h"
#include "base/require.h"
#include "log/io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PAGE = 4096, APPENDS = 300, FILE_PAGES_EXTRA = 64 };

enum space { UNPREPARED, FALLOCATED, ZEROED };
enum how { BYTES_ALONE, WHOLE_PAGES, MAPPING };

static const char *const space_names[] = {"unprepared", "fallocated", "zeroed"};
static const char *const how_names[] = {"pwrite", "pwrite pages", "mapping"};

struct row {
    enum space space;
    enum how how;
    size_t size_bytes;
    bool cold;
};

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* Appends size bytes at pos; in whole pages the page's earlier bytes go again, and
 * zeros after. What stands in front of `data` is one page for them. */
static void append(int fd, uint8_t *map, const struct row *row, uint8_t *data, uint64_t pos)
{
    size_t size = row->size_bytes;
    if (row->how == MAPPING) {
        memcpy(map + pos, data + PAGE, size);
        return;
    }
    size_t prefix = row->how == WHOLE_PAGES ? (size_t)(pos % PAGE) : 0;
    size_t end = row->how == WHOLE_PAGES ? (size_t)((pos + size + PAGE - 1) / PAGE * PAGE - pos) : size;
    ssize_t n = pwrite(fd, data + PAGE - prefix, prefix + end, (off_t)(pos - prefix));
    REQUIRE(n == (ssize_t)(prefix + end));
}

static void prepare(int fd, const struct row *row, uint64_t file_bytes, const char *path)
{
    struct io *io = io_posix();
    struct io_file *file;
    REQUIRE(io_open(io, path, IO_WRITE, &file) == KQ_OK);
    if (row->space == FALLOCATED)
        REQUIRE(io->ops->allocate(io, file, 0, file_bytes) == 0);
    if (row->space == ZEROED)
        REQUIRE(io->ops->zero(io, file, 0, file_bytes) == 0);
    if (row->space == UNPREPARED && row->how == MAPPING)
        REQUIRE(ftruncate(fd, (off_t)file_bytes) == 0);
    io_close(io, &file);
    REQUIRE(fsync(fd) == 0);
}

static void run(const char *folder, const struct row *row, int appends)
{
    char path[512];
    (void)snprintf(path, sizeof path, "%s/bench-append-%d", folder, (int)getpid());
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    REQUIRE(fd >= 0);
    uint64_t file_bytes = ((uint64_t)appends * row->size_bytes / PAGE + FILE_PAGES_EXTRA) * PAGE;
    prepare(fd, row, file_bytes, path);
    uint8_t *map = NULL;
    if (row->how == MAPPING)
        map = mmap(NULL, file_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    REQUIRE(map != MAP_FAILED);
    uint8_t *data = malloc(PAGE + row->size_bytes + PAGE);
    double *write_us = calloc((size_t)appends, sizeof *write_us);
    double *both_us = calloc((size_t)appends, sizeof *both_us);
    REQUIRE(data != NULL && write_us != NULL && both_us != NULL);
    memset(data, 'x', PAGE + row->size_bytes);
    memset(data + PAGE + row->size_bytes, 0, PAGE);
    uint64_t pos = 100;
    int64_t begin_us = clock_mono_us();
    int64_t evicting_us = 0;
    for (int i = 0; i < appends; i++) {
        int64_t t0 = clock_mono_us();
        if (row->cold)
            (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
        int64_t t1 = clock_mono_us();
        append(fd, map, row, data, pos);
        int64_t t2 = clock_mono_us();
        REQUIRE(fdatasync(fd) == 0);
        int64_t t3 = clock_mono_us();
        evicting_us += t1 - t0;
        write_us[i] = (double)(t2 - t1);
        both_us[i] = (double)(t3 - t1);
        pos += row->size_bytes;
    }
    double seconds = (double)(clock_mono_us() - begin_us - evicting_us) / 1e6;
    qsort(write_us, (size_t)appends, sizeof *write_us, compare);
    qsort(both_us, (size_t)appends, sizeof *both_us, compare);
    int p99 = appends * 99 / 100;
    printf("%-10s  %-12s  %8zu  %-4s  %8.0f %8.0f   %8.0f %8.0f   %8.1f\n", space_names[row->space],
           how_names[row->how], row->size_bytes, row->cold ? "cold" : "warm", write_us[appends / 2], write_us[p99],
           both_us[appends / 2], both_us[p99], (double)appends * (double)row->size_bytes / 1e6 / seconds);
    (void)fflush(stdout);
    if (map != NULL)
        (void)munmap(map, file_bytes);
    (void)close(fd);
    (void)unlink(path);
    free(data);
    free(write_us);
    free(both_us);
}

int main(int argc, char **argv)
{
    const char *folder = argc > 1 ? argv[1] : ".";
    int appends = argc > 2 ? (int)strtol(argv[2], NULL, 10) : APPENDS;
    static const size_t sizes[] = {200, 4096, 65536, 1 << 20};
    REQUIRE(appends > 0);
    printf("%-10s  %-12s  %8s  %-4s  %8s %8s   %8s %8s   %8s\n", "space", "written by", "bytes", "page", "write p50",
           "p99 us", "+sync p50", "p99 us", "MB/s");
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        for (int space = UNPREPARED; space <= ZEROED; space++)
            for (int how = BYTES_ALONE; how <= MAPPING; how++)
                for (int cold = 0; cold < 2; cold++) {
                    struct row row = {(enum space)space, (enum how)how, sizes[i], cold != 0};
                    run(folder, &row, sizes[i] > 100000 ? appends / 5 + 1 : appends);
                }
    return 0;
}
