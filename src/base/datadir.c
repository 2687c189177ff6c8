#include "base/datadir.h"

#include "base/require.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { DATADIR_TAG = 0x0da7ad12, SMALL_FILE_BYTES = 256 };

struct datadir {
    uint32_t tag;
    int dir_fd;
    int lock_fd;
};

/* fault of a system call on the folder; what: "cannot lock". */
static enum kq_err fault_errno(struct fault *fault, const char *what, const char *path)
{
    int number = errno;
    enum kq_err err = err_from_errno(number);
    if (err == KQ_READ_ONLY)
        return fault_set(fault, err,
                         "%s the data folder %s: %s; the broker must be able to write there, so change its "
                         "owner or mount, or choose another with --data-dir",
                         what, path, strerror(number));
    return fault_set(fault, err, "%s the data folder %s: %s", what, path, strerror(number));
}

/* The whole of a small text file, with a NUL. -1 and errno. */
static ssize_t read_small(int dir_fd, const char *name, char text[SMALL_FILE_BYTES])
{
    int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    ssize_t n = pread(fd, text, SMALL_FILE_BYTES - 1, 0);
    int number = errno;
    (void)close(fd);
    errno = number;
    text[n > 0 ? n : 0] = '\0';
    return n;
}

static enum kq_err lock_folder(struct datadir *d, const char *path, struct fault *fault)
{
    d->lock_fd = openat(d->dir_fd, "LOCK", O_RDWR | O_CREAT | O_CLOEXEC, 0640);
    if (d->lock_fd < 0)
        return fault_errno(fault, "cannot write to", path);
    if (flock(d->lock_fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK)
            return fault_errno(fault, "cannot lock", path);
        char text[SMALL_FILE_BYTES];
        long pid = read_small(d->dir_fd, "LOCK", text) > 0 ? strtol(text, NULL, 10) : 0;
        if (pid <= 0)
            return fault_set(fault, KQ_LOCKED, "the data folder %s is in use by another process", path);
        return fault_set(fault, KQ_LOCKED,
                         "the data folder %s is in use by process %ld; stop it (kill %ld), or start this one with "
                         "another --broker-id or --data-dir",
                         path, pid, pid);
    }
    /* One width for all, written over the last: it needs no new block on a full disk, and the pid is
     * for people alone, so that a failure is no reason not to start. */
    char text[32];
    int len = snprintf(text, sizeof text, "%-20ld\n", (long)getpid());
    if (pwrite(d->lock_fd, text, (size_t)len, 0) != len && errno != ENOSPC && errno != EDQUOT)
        return fault_errno(fault, "cannot write to", path);
    return KQ_OK;
}

/* Makes FORMAT whole under its name, or leaves none. The folder is durable in its
 * parent before that. The name itself becomes durable with the first replica's
 * folder: log_open() syncs this folder before that one counts as made. */
static enum kq_err write_format(const struct datadir *d, const char *path, int64_t broker_id, struct fault *fault)
{
    char text[SMALL_FILE_BYTES];
    int len = snprintf(text, sizeof text, "format %d\nbroker %lld\n", DATADIR_FORMAT, (long long)broker_id);
    int fd = openat(d->dir_fd, "FORMAT.new", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
    if (fd < 0)
        return fault_errno(fault, "cannot write to", path);
    bool written = write(fd, text, (size_t)len) == len && fsync(fd) == 0;
    int number = errno;
    (void)close(fd);
    errno = number;
    if (!written)
        return fault_errno(fault, "cannot write to", path);
    int above = openat(d->dir_fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool synced = above >= 0 && fsync(above) == 0;
    number = errno;
    if (above >= 0)
        (void)close(above);
    errno = number;
    if (!synced)
        return fault_errno(fault, "cannot sync the parent of", path);
    if (renameat(d->dir_fd, "FORMAT.new", d->dir_fd, "FORMAT") != 0)
        return fault_errno(fault, "cannot write to", path);
    return KQ_OK;
}

/* Something in the folder that is not ours, or "" when there is nothing. */
static enum kq_err find_foreign(const struct datadir *d, const char *path, char name[NAME_MAX + 1], struct fault *fault)
{
    static const char *const own[] = {".", "..", "LOCK", "FORMAT.new", "lost+found"};
    name[0] = '\0';
    int fd = openat(d->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *list = fd >= 0 ? fdopendir(fd) : NULL;
    if (list == NULL) {
        if (fd >= 0)
            (void)close(fd);
        return fault_errno(fault, "cannot list", path);
    }
    for (const struct dirent *entry; name[0] == '\0' && (entry = readdir(list)) != NULL;) {
        bool known = false;
        for (size_t i = 0; i < sizeof own / sizeof own[0]; i++)
            known = known || strcmp(entry->d_name, own[i]) == 0;
        if (!known)
            (void)snprintf(name, NAME_MAX + 1, "%s", entry->d_name);
    }
    (void)closedir(list);
    return KQ_OK;
}

/* The number after the word at the beginning of a line, and on to the next line. -1: none. */
static int64_t take_field(const char **at, const char *word)
{
    if (strncmp(*at, word, strlen(word)) != 0)
        return -1;
    const char *digits = *at + strlen(word);
    char *end;
    long long number = strtoll(digits, &end, 10);
    if (end == digits || *end != '\n')
        return -1;
    *at = end + 1;
    return number;
}

/* FORMAT as it is, or made anew. */
static enum kq_err check_format(const struct datadir *d, const char *path, int64_t broker_id, bool create,
                                struct fault *fault)
{
    char text[SMALL_FILE_BYTES];
    if (read_small(d->dir_fd, "FORMAT", text) < 0) {
        if (errno != ENOENT)
            return fault_errno(fault, "cannot read FORMAT in", path);
        if (!create)
            return fault_set(fault, KQ_NOT_FOUND, "%s is not a broker's data folder: it holds no FORMAT", path);
        char foreign[NAME_MAX + 1];
        enum kq_err err = find_foreign(d, path, foreign, fault);
        if (err != KQ_OK)
            return err;
        if (foreign[0] != '\0')
            return fault_set(
                fault, KQ_INVALID,
                "%s is not a broker's data folder: it holds %.64s and no FORMAT; name a new or an empty one", path,
                foreign);
        return write_format(d, path, broker_id, fault);
    }
    const char *at = text;
    int64_t format = take_field(&at, "format ");
    int64_t broker = take_field(&at, "broker ");
    if (format > DATADIR_FORMAT)
        return fault_set(fault, KQ_BAD_VERSION,
                         "the data folder %s has format %lld, and this program knows up to %d; start the newer program "
                         "that wrote it",
                         path, (long long)format, DATADIR_FORMAT);
    if (format < 1 || broker < 0)
        return fault_set(fault, KQ_CORRUPT, "%s/FORMAT is damaged: it should read \"format 1\" and \"broker N\"", path);
    if (broker_id != DATADIR_ANY_BROKER && broker != broker_id)
        return fault_set(fault, KQ_INVALID,
                         "the data folder %s belongs to broker %lld, and this is broker %lld; start with --broker-id "
                         "%lld, or choose another --data-dir",
                         path, (long long)broker, (long long)broker_id, (long long)broker);
    return KQ_OK;
}

static enum kq_err make_folder(const char *path, struct fault *fault)
{
    if (mkdir(path, 0750) != 0) {
        if (errno == EEXIST)
            return KQ_OK;
        if (errno == ENOENT)
            return fault_set(fault, KQ_NOT_FOUND, "cannot make the data folder %s: the folder above it does not exist",
                             path);
        return fault_errno(fault, "cannot make", path);
    }
    return KQ_OK;
}

enum kq_err datadir_open(struct datadir **dir, const char *path, int64_t broker_id, bool create, struct fault *fault)
{
    REQUIRE(!create || broker_id >= 0);
    *dir = NULL;
    enum kq_err err = create ? make_folder(path, fault) : KQ_OK;
    if (err != KQ_OK)
        return err;
    struct datadir *d = malloc(sizeof *d);
    if (d == NULL)
        return fault_set(fault, KQ_NO_MEMORY, "no memory to open the data folder %s", path);
    *d = (struct datadir){.tag = DATADIR_TAG, .dir_fd = -1, .lock_fd = -1};
    d->dir_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    err = d->dir_fd < 0 ? fault_errno(fault, "cannot open", path) : KQ_OK;
    /* A tool that was pointed at a wrong folder must not leave a LOCK there. */
    if (err == KQ_OK && !create && faccessat(d->dir_fd, "FORMAT", F_OK, 0) != 0)
        err = check_format(d, path, broker_id, false, fault);
    if (err == KQ_OK)
        err = lock_folder(d, path, fault);
    if (err == KQ_OK)
        err = check_format(d, path, broker_id, create, fault);
    *dir = d;
    if (err != KQ_OK)
        datadir_close(dir);
    return err;
}

void datadir_close(struct datadir **dir)
{
    struct datadir *d = *dir;
    if (d == NULL)
        return;
    TAG_CHECK(d, DATADIR_TAG);
    *dir = NULL;
    d->tag = TAG_DEAD;
    if (d->lock_fd >= 0)
        (void)close(d->lock_fd);
    if (d->dir_fd >= 0)
        (void)close(d->dir_fd);
    free(d);
}
