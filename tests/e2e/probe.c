/* /proc readers and file tools. */
#include "e2e/probe.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { PROBE_PATH_BYTES = 1024, COPY_BYTES = 1 << 20 };

/* The number behind "name" in a file of "Name: 123" lines, summed over lines. */
static int64_t number_in(const char *path, const char *name)
{
    FILE *f = fopen(path, "re");
    char line[512];
    int64_t sum = -1;
    if (f == NULL)
        return -1;
    size_t name_bytes = strlen(name);
    while (fgets(line, sizeof(line), f) != NULL)
        if (strncmp(line, name, name_bytes) == 0)
            sum = (sum < 0 ? 0 : sum) + strtoll(line + name_bytes, NULL, 10);
    (void)fclose(f);
    return sum;
}

static int64_t proc_number(pid_t pid, const char *file, const char *name)
{
    char path[PROBE_PATH_BYTES];
    (void)snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
    return number_in(path, name);
}

int64_t proc_rss_kib(pid_t pid)
{
    return proc_number(pid, "status", "VmRSS:");
}

int64_t proc_anonymous_kib(pid_t pid)
{
    return proc_number(pid, "smaps_rollup", "Anonymous:");
}

int64_t proc_io_read_bytes(pid_t pid)
{
    return proc_number(pid, "io", "rchar:");
}

int64_t proc_threads(pid_t pid)
{
    return proc_number(pid, "status", "Threads:");
}

int64_t proc_switches(pid_t pid)
{
    char path[PROBE_PATH_BYTES];
    (void)snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
    DIR *dir = opendir(path);
    int64_t sum = 0;
    if (dir == NULL)
        return -1;
    for (struct dirent *e = readdir(dir); e != NULL; e = readdir(dir)) {
        if (e->d_name[0] == '.')
            continue;
        (void)snprintf(path, sizeof(path), "/proc/%d/task/%s/status", (int)pid, e->d_name);
        int64_t asked = number_in(path, "voluntary_ctxt_switches:");
        int64_t forced = number_in(path, "nonvoluntary_ctxt_switches:");
        sum += (asked > 0 ? asked : 0) + (forced > 0 ? forced : 0);
    }
    (void)closedir(dir);
    return sum;
}

int64_t proc_cpu_us(pid_t pid)
{
    clockid_t clock;
    struct timespec t;
    if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &t) != 0)
        return -1;
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

int64_t proc_sockets(pid_t pid)
{
    char path[PROBE_PATH_BYTES], target[64];
    int64_t count = 0;
    (void)snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
    DIR *dir = opendir(path);
    if (dir == NULL)
        return -1;
    for (struct dirent *e = readdir(dir); e != NULL; e = readdir(dir)) {
        ssize_t n = readlinkat(dirfd(dir), e->d_name, target, sizeof(target));
        count += n > 7 && memcmp(target, "socket:", 7) == 0;
    }
    (void)closedir(dir);
    return count;
}

static bool file_copy(const char *from, const char *to)
{
    int in = open(from, O_RDONLY | O_CLOEXEC);
    int out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    char *buffer = malloc(COPY_BYTES);
    bool ok = in >= 0 && out >= 0 && buffer != NULL;
    while (ok) {
        ssize_t n = read(in, buffer, COPY_BYTES);
        if (n <= 0) {
            ok = n == 0;
            break;
        }
        ok = write(out, buffer, (size_t)n) == n;
    }
    free(buffer);
    if (in >= 0)
        (void)close(in);
    if (out >= 0)
        (void)close(out);
    return ok;
}

/* Calls visit for each file and folder directly in dir; stops when it says so. */
static bool each_in(const char *dir, bool (*visit)(const char *path, const struct stat *st, void *arg), void *arg)
{
    char path[PROBE_PATH_BYTES];
    struct stat st;
    bool on = true;
    DIR *d = opendir(dir);
    if (d == NULL)
        return false;
    for (struct dirent *e = readdir(d); on && e != NULL; e = readdir(d)) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        (void)snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
        if (lstat(path, &st) == 0)
            on = visit(path, &st, arg);
    }
    (void)closedir(d);
    return on;
}

static const char *name_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

static bool copy_one(const char *path, const struct stat *st, void *arg)
{
    char to[PROBE_PATH_BYTES];
    (void)snprintf(to, sizeof(to), "%s/%s", (const char *)arg, name_of(path));
    if (S_ISDIR(st->st_mode))
        return folder_copy(path, to);
    return !S_ISREG(st->st_mode) || file_copy(path, to);
}

bool folder_copy(const char *from, const char *to)
{
    char target[PROBE_PATH_BYTES];
    if (mkdir(to, 0755) != 0 && errno != EEXIST)
        return false;
    (void)snprintf(target, sizeof(target), "%s", to);
    return each_in(from, copy_one, target);
}

static bool add_size(const char *path, const struct stat *st, void *arg)
{
    *(int64_t *)arg += (int64_t)st->st_blocks * 512;
    if (S_ISDIR(st->st_mode))
        (void)each_in(path, add_size, arg);
    return true;
}

int64_t folder_disk_bytes(const char *path)
{
    int64_t sum = 0;
    (void)each_in(path, add_size, &sum);
    return sum;
}

struct search {
    const char *suffix;
    int count;
    const void *bytes;
    size_t size;
    char names[4096][64];
};

static bool ends_in(const char *name, const char *suffix)
{
    size_t n = strlen(name), s = strlen(suffix);
    return n >= s && strcmp(name + n - s, suffix) == 0;
}

static bool count_one(const char *path, const struct stat *st, void *arg)
{
    struct search *s = arg;
    if (S_ISDIR(st->st_mode))
        (void)each_in(path, count_one, arg);
    else if (ends_in(path, s->suffix))
        s->count++;
    return true;
}

int folder_count(const char *path, const char *suffix)
{
    struct search *s = calloc(1, sizeof(*s));
    if (s == NULL)
        return -1;
    s->suffix = suffix;
    (void)each_in(path, count_one, s);
    int count = s->count;
    free(s);
    return count;
}

static bool list_one(const char *path, const struct stat *st, void *arg)
{
    struct search *s = arg;
    if (S_ISREG(st->st_mode) && ends_in(path, s->suffix) && s->count < 4096)
        (void)snprintf(s->names[s->count++], sizeof(s->names[0]), "%s", name_of(path));
    return true;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(a, b);
}

bool folder_nth(const char *dir, const char *suffix, int nth, char *path, size_t size)
{
    struct search *s = calloc(1, sizeof(*s));
    if (s == NULL)
        return false;
    s->suffix = suffix;
    (void)each_in(dir, list_one, s);
    qsort(s->names, (size_t)s->count, sizeof(s->names[0]), by_name);
    bool there = nth < s->count;
    if (there)
        (void)snprintf(path, size, "%s/%s", dir, s->names[nth]);
    free(s);
    return there;
}

int64_t file_bytes(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 ? (int64_t)st.st_size : -1;
}

/* The whole file, to be freed; NULL: could not. */
static char *file_read(const char *path, size_t *size)
{
    int64_t bytes = file_bytes(path);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    char *data = bytes >= 0 && fd >= 0 ? malloc((size_t)bytes + 1) : NULL;
    size_t used = 0;
    while (data != NULL && used < (size_t)bytes) {
        ssize_t n = read(fd, data + used, (size_t)bytes - used);
        if (n <= 0)
            break;
        used += (size_t)n;
    }
    if (fd >= 0)
        (void)close(fd);
    *size = used;
    return data;
}

int64_t file_find(const char *path, const void *bytes, size_t size, bool backwards)
{
    size_t used = 0;
    int64_t found = -1;
    char *data = file_read(path, &used);
    if (data == NULL)
        return -1;
    for (char *at = data; (at = memmem(at, used - (size_t)(at - data), bytes, size)) != NULL; at++) {
        found = at - data;
        if (!backwards)
            break;
    }
    free(data);
    return found;
}

bool file_flip_bit(const char *path, int64_t pos, int bit)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);
    unsigned char byte;
    if (fd < 0)
        return false;
    bool ok = pread(fd, &byte, 1, pos) == 1;
    byte = (unsigned char)(byte ^ 1U << bit);
    ok = ok && pwrite(fd, &byte, 1, pos) == 1;
    (void)close(fd);
    return ok;
}

bool file_write(const char *path, const void *bytes, size_t size)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0)
        return false;
    bool ok = write(fd, bytes, size) == (ssize_t)size;
    (void)close(fd);
    return ok;
}

static bool holds_one(const char *path, const struct stat *st, void *arg)
{
    struct search *s = arg;
    if (S_ISDIR(st->st_mode))
        return each_in(path, holds_one, arg);
    return !S_ISREG(st->st_mode) || file_find(path, s->bytes, s->size, false) < 0;
}

bool folder_holds(const char *path, const void *bytes, size_t size)
{
    struct search *s = calloc(1, sizeof(*s));
    if (s == NULL)
        return false;
    s->bytes = bytes;
    s->size = size;
    bool holds = !each_in(path, holds_one, s);
    free(s);
    return holds;
}
