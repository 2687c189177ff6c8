/*
 * Starting and ending the daemon. Its stdout and stderr go to one pipe, which a
 * thread empties into memory, so that it never blocks on a test that does not
 * read, and a test can wait for a line.
 */
#include "e2e/harness.h"

#include "e2e/client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { FOLDERS_MAX = 64, PATHS = 16, PATH_BYTES = 512, OUTPUT_MAX = 4 << 20, CHECK_EVERY_MS = 5 };

struct daemon {
    pid_t pid;
    int pid_fd;
    int port;
    int64_t begin_us;
    const char *network; /* borrowed; NULL: this program's own */
    int64_t ready_us;
    int pipe_fd;
    pthread_t reader;
    pthread_mutex_t lock; /* output, used, ended */
    pthread_cond_t more;
    char *output; /* NUL-terminated */
    size_t used;
    bool ended;
};

static char folders[FOLDERS_MAX][PATH_BYTES];
static size_t folder_count;

int64_t now_us(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *walk)
{
    (void)st, (void)flag, (void)walk;
    return remove(path) == 0 || errno == EBUSY ? 0 : -1;
}

static void at_end(int status, void *arg)
{
    (void)arg;
    for (size_t i = 0; i < folder_count; i++)
        if (status == 0)
            (void)nftw(folders[i], remove_one, 16, FTW_DEPTH | FTW_PHYS);
        else
            fprintf(stderr, "kept: %s\n", folders[i]);
}

const char *temp_folder(const char *name)
{
    const char *base = getenv("TMPDIR");
    if (folder_count == 0)
        (void)on_exit(at_end, NULL);
    if (folder_count == FOLDERS_MAX)
        harness_fail("too many temporary folders");
    char *path = folders[folder_count];
    (void)snprintf(path, PATH_BYTES, "%s/kafkaesque-e2e-%s-XXXXXX", base != NULL ? base : "/tmp", name);
    if (mkdtemp(path) == NULL) {
        perror(path);
        harness_fail("cannot make a temporary folder");
    }
    folder_count++;
    return path;
}

const char *path_in(const char *dir, const char *name)
{
    static char paths[PATHS][PATH_BYTES];
    static unsigned next;
    char *path = paths[next++ % PATHS];
    (void)snprintf(path, PATH_BYTES, "%s/%s", dir, name);
    return path;
}

const char *daemon_binary(void)
{
    static char path[PATH_BYTES];
    const char *given = getenv("KAFKAESQUED");
    if (given != NULL)
        return given;
    ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);
    path[n > 0 ? n : 0] = '\0';
    for (int up = 0; up < 3; up++) { /* tests/e2e/test_x -> the top of the build */
        char *slash = strrchr(path, '/');
        if (slash != NULL)
            *slash = '\0';
    }
    size_t used = strlen(path);
    (void)snprintf(path + used, sizeof(path) - used, "/src/kafkaesqued");
    return path;
}

static void *read_output(void *arg)
{
    struct daemon *d = arg;
    char chunk[8192];
    for (;;) {
        ssize_t n = read(d->pipe_fd, chunk, sizeof(chunk));
        if (n < 0 && errno == EINTR)
            continue;
        (void)pthread_mutex_lock(&d->lock);
        if (n <= 0)
            d->ended = true;
        else if (d->used + (size_t)n < OUTPUT_MAX) {
            memcpy(d->output + d->used, chunk, (size_t)n);
            d->used += (size_t)n;
            d->output[d->used] = '\0';
        }
        (void)pthread_cond_broadcast(&d->more);
        (void)pthread_mutex_unlock(&d->lock);
        if (n <= 0)
            return NULL;
    }
}

/* In the child: never returns. */
static void become_daemon(const struct daemon_spec *spec, int output_fd, pid_t parent)
{
    const char *argv[2 * DAEMON_SETTINGS_MAX + 24];
    char port[16], kafka_port[16], raft_port[16], id[16];
    const struct {
        const char *name, *value;
        bool given;
    } options[] = {
        {"--port", port, true},
        {"--kafka-port", kafka_port, true},
        {"--raft-port", raft_port, true},
        {"--broker-id", id, spec->broker_id != 0},
        {"--peers", spec->peers, spec->peers != NULL},
        {"--host", spec->host, spec->host != NULL},
        {"--data-dir", spec->dir, spec->dir != NULL},
        {"--config", spec->config_file, spec->config_file != NULL},
    };
    size_t n = 0;
    (void)snprintf(port, sizeof(port), "%d", spec->port);
    (void)snprintf(kafka_port, sizeof(kafka_port), "%d", spec->kafka_port);
    (void)snprintf(raft_port, sizeof(raft_port), "%d", spec->raft_port);
    (void)snprintf(id, sizeof(id), "%u", spec->broker_id);
    argv[n++] = daemon_binary();
    for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++)
        if (options[i].given) {
            argv[n++] = options[i].name;
            argv[n++] = options[i].value;
        }
    for (size_t i = 0; i < DAEMON_SETTINGS_MAX && spec->settings[i] != NULL; i++) {
        argv[n++] = "--set";
        argv[n++] = spec->settings[i];
    }
    argv[n] = NULL;
    (void)dup2(output_fd, STDOUT_FILENO);
    (void)dup2(output_fd, STDERR_FILENO);
    int nothing = open("/dev/null", O_RDONLY);
    (void)dup2(nothing, STDIN_FILENO);
    if (spec->nofile != 0) {
        struct rlimit limit = {spec->nofile, spec->nofile};
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
    if (spec->cpus != 0) {
        cpu_set_t set;
        CPU_ZERO(&set);
        for (size_t cpu = 0; cpu < 64; cpu++)
            if ((spec->cpus >> cpu & 1) != 0)
                CPU_SET(cpu, &set);
        (void)sched_setaffinity(0, sizeof(set), &set);
    }
    if (spec->network != NULL && setns(open(spec->network, O_RDONLY | O_CLOEXEC), CLONE_NEWNET) != 0)
        _exit(126);
    if (spec->uid != 0 && (setgid((gid_t)spec->uid) != 0 || setuid(spec->uid) != 0))
        _exit(126);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(126);
    (void)execv(argv[0], (char *const *)(uintptr_t)argv);
    perror(argv[0]);
    _exit(127);
}

struct daemon *daemon_begin(const struct daemon_spec *spec)
{
    int pipe_fds[2];
    struct daemon *d = calloc(1, sizeof(*d));
    if (d == NULL || (d->output = calloc(1, OUTPUT_MAX)) == NULL)
        abort();
    if (pipe2(pipe_fds, O_CLOEXEC) != 0)
        harness_fail("pipe");
    pid_t parent = getpid();
    d->begin_us = now_us();
    d->network = spec->network;
    d->pid = fork();
    if (d->pid == 0)
        become_daemon(spec, pipe_fds[1], parent);
    (void)close(pipe_fds[1]);
    if (d->pid < 0)
        harness_fail("fork");
    d->pid_fd = (int)syscall(SYS_pidfd_open, d->pid, 0);
    d->pipe_fd = pipe_fds[0];
    pthread_condattr_t monotonic;
    (void)pthread_condattr_init(&monotonic);
    (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&d->more, &monotonic);
    (void)pthread_condattr_destroy(&monotonic);
    (void)pthread_mutex_init(&d->lock, NULL);
    if (pthread_create(&d->reader, NULL, read_output, d) != 0)
        harness_fail("pthread_create");
    return d;
}

static void daemon_free(struct daemon **d)
{
    (void)pthread_join((*d)->reader, NULL);
    (void)close((*d)->pipe_fd);
    (void)close((*d)->pid_fd);
    (void)pthread_mutex_destroy(&(*d)->lock);
    (void)pthread_cond_destroy(&(*d)->more);
    free((*d)->output);
    free(*d);
    *d = NULL;
}

/* The first ":PORT" after "listens on " in a line that is whole, or 0. */
static int port_in(const char *output)
{
    const char *at = strstr(output, "listens on ");
    if (at == NULL || strchr(at, '\n') == NULL)
        return 0;
    const char *colon = strchr(at, ':');
    long port = colon != NULL ? strtol(colon + 1, NULL, 10) : 0;
    return port > 0 && port < 65536 ? (int)port : 0;
}

/* Waits until text is there (NULL: the line with the port). */
static bool wait_output(struct daemon *d, const char *text, int wait_ms)
{
    int64_t deadline = now_us() + (int64_t)wait_ms * 1000;
    struct timespec until = {deadline / 1000000, deadline % 1000000 * 1000};
    bool there = false;
    (void)pthread_mutex_lock(&d->lock);
    for (;;) {
        there = text != NULL ? strstr(d->output, text) != NULL : port_in(d->output) != 0;
        if (there || d->ended || pthread_cond_timedwait(&d->more, &d->lock, &until) == ETIMEDOUT)
            break;
    }
    (void)pthread_mutex_unlock(&d->lock);
    return there;
}

void daemon_show(struct daemon *d)
{
    (void)pthread_mutex_lock(&d->lock);
    size_t from = d->used > 4000 ? d->used - 4000 : 0;
    fprintf(stderr, "\n---- the daemon said:\n%s----\n", d->output + from);
    (void)pthread_mutex_unlock(&d->lock);
}

void daemon_ready(struct daemon *d)
{
    if (!wait_output(d, NULL, READY_MS)) {
        daemon_show(d);
        daemon_kill(&d);
        harness_fail("the daemon did not say where it listens");
    }
    d->ready_us = now_us() - d->begin_us;
    d->port = port_in(d->output);
    struct client *c = client_open_in(d->network, d->port);
    if (strcmp(client_ask(c, "PING"), "Done") != 0) {
        daemon_show(d);
        harness_fail("the daemon does not answer PING");
    }
    client_close(&c);
}

struct daemon *daemon_start(const struct daemon_spec *spec)
{
    struct daemon *d = daemon_begin(spec);
    daemon_ready(d);
    return d;
}

int daemon_refused(const struct daemon_spec *spec, char *output, size_t size)
{
    struct daemon *d = daemon_begin(spec);
    struct pollfd ended = {.fd = d->pid_fd, .events = POLLIN};
    bool gone = poll(&ended, 1, READY_MS) == 1;
    int status = 0;
    if (!gone)
        (void)kill(d->pid, SIGKILL);
    (void)waitpid(d->pid, &status, 0);
    (void)wait_output(d, "\a\a\a", READY_MS); /* to the end of the pipe */
    (void)snprintf(output, size, "%s", d->output);
    daemon_free(&d);
    if (!gone)
        return -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

void daemon_start_and_kill(const struct daemon_spec *spec, int after_us)
{
    struct daemon *d = daemon_begin(spec);
    struct pollfd ended = {.fd = d->pid_fd, .events = POLLIN};
    struct timespec wait = {0, (long)after_us * 1000};
    (void)ppoll(&ended, 1, &wait, NULL);
    daemon_kill(&d);
}

int daemon_port(const struct daemon *d)
{
    return d->port;
}

int daemon_kafka_port(struct daemon *d)
{
    static const char before[] = "Kafka clients find it on port ";
    if (!wait_output(d, before, READY_MS))
        harness_fail("the daemon does not say where Kafka clients find it");
    (void)pthread_mutex_lock(&d->lock);
    long port = strtol(strstr(d->output, before) + sizeof(before) - 1, NULL, 10);
    (void)pthread_mutex_unlock(&d->lock);
    return (int)port;
}

const char *daemon_network(const struct daemon *d)
{
    return d->network;
}

pid_t daemon_pid(const struct daemon *d)
{
    return d->pid;
}

int64_t daemon_ready_us(const struct daemon *d)
{
    return d->ready_us;
}

void daemon_signal(struct daemon *d, int signal_number)
{
    (void)kill(d->pid, signal_number);
}

int daemon_wait(struct daemon **d, int wait_ms)
{
    struct pollfd ended = {.fd = (*d)->pid_fd, .events = POLLIN};
    int status = 0;
    bool gone = poll(&ended, 1, wait_ms) == 1;
    if (!gone) {
        daemon_show(*d);
        (void)kill((*d)->pid, SIGKILL);
    }
    (void)waitpid((*d)->pid, &status, 0);
    if (gone && !(WIFEXITED(status) && WEXITSTATUS(status) == 0))
        daemon_show(*d);
    daemon_free(d);
    if (!gone)
        return -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int daemon_stop(struct daemon **d)
{
    daemon_signal(*d, SIGTERM);
    return daemon_wait(d, STOP_MS);
}

void daemon_kill(struct daemon **d)
{
    (void)kill((*d)->pid, SIGKILL);
    (void)waitpid((*d)->pid, NULL, 0);
    daemon_free(d);
}

bool daemon_alive(const struct daemon *d)
{
    struct pollfd ended = {.fd = d->pid_fd, .events = POLLIN};
    return poll(&ended, 1, 0) == 0;
}

bool daemon_said(struct daemon *d, const char *text, int wait_ms)
{
    bool said = wait_output(d, text, wait_ms);
    if (!said)
        daemon_show(d);
    return said;
}

bool wait_until(bool (*condition)(void *), void *arg, int wait_ms)
{
    int64_t deadline = now_us() + (int64_t)wait_ms * 1000;
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
    struct itimerspec every = {{0, CHECK_EVERY_MS * 1000000}, {0, CHECK_EVERY_MS * 1000000}};
    (void)timerfd_settime(timer, 0, &every, NULL);
    bool holds = condition(arg);
    while (!holds && now_us() < deadline) {
        uint64_t ticks;
        if (read(timer, &ticks, sizeof(ticks)) < 0 && errno != EINTR)
            break;
        holds = condition(arg);
    }
    (void)close(timer);
    return holds;
}

int free_port(void)
{
    enum { FIRST = 15000, COUNT = 17000 }; /* below what connections are given */
    static unsigned next;
    if (next == 0)
        next = (unsigned)getpid() * 97 + (unsigned)now_us() % COUNT;
    for (int tries = 0; tries < COUNT; tries++) {
        struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)(FIRST + next++ % COUNT))};
        at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        bool is_free = fd >= 0 && bind(fd, (struct sockaddr *)&at, sizeof(at)) == 0;
        (void)close(fd);
        if (is_free)
            return ntohs(at.sin_port);
    }
    harness_fail("no free port");
}

unsigned raise_nofile(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return 0;
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
    (void)getrlimit(RLIMIT_NOFILE, &limit);
    return (unsigned)limit.rlim_cur;
}

void say_skipped(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    printf("(skipped: ");
    vprintf(format, args);
    printf(") ");
    va_end(args);
}
