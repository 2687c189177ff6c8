/* Kafkaesque and Redis: start, stop, and their wire forms; whose form a publish has. */
#include "bench/server.h"

#include "bench/etcd.h"
#include "bench/load.h"
#include "bench/nats.h"
#include "e2e/client.h"
#include "e2e/harness.h"
#include "e2e/json.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fcntl.h>

enum { READ_CHUNK = 1 << 20, XREAD_COUNT = 1000, CONNECT_US = 20000000 };

bool have_redis(void)
{
    return access("/usr/bin/redis-server", X_OK) == 0;
}

static void run_redis(const struct server *s)
{
    char port[16];
    (void)snprintf(port, sizeof(port), "%d", s->port);
    int log = open("/dev/null", O_RDWR);
    (void)dup2(log, STDOUT_FILENO);
    (void)dup2(log, STDERR_FILENO);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)execl("/usr/bin/redis-server", "redis-server", "--port", port, "--bind", "127.0.0.1", "--appendonly", "yes",
                "--appendfsync", "always", "--save", "", "--dir", s->dir, (char *)NULL);
    _exit(127);
}

static void run_ours(const struct server *s)
{
    char port[16];
    (void)snprintf(port, sizeof(port), "%d", s->port);
    int log = open(path_in(s->dir, "../bench-daemon.log"), O_RDWR | O_CREAT | O_APPEND, 0644);
    (void)dup2(log, STDOUT_FILENO);
    (void)dup2(log, STDERR_FILENO);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)execl(daemon_binary(), daemon_binary(), "--port", port, "--kafka-port", "0", "--raft-port", "0", "--data-dir",
                s->dir, (char *)NULL);
    _exit(127);
}

void server_launch(struct server *s)
{
    s->daemon = NULL;
    s->port = free_port();
    s->pid = fork();
    if (s->pid < 0)
        harness_fail("fork");
    if (s->pid > 0)
        return;
    pin_self(s->cpus);
    if (s->kind == SERVER_OURS)
        run_ours(s);
    run_redis(s);
}

void server_start(struct server *s)
{
    if (s->kind == SERVER_OURS) {
        struct daemon_spec spec = {.dir = s->dir, .cpus = s->cpus, .nofile = raise_nofile()};
        memcpy(spec.settings, s->settings, sizeof(s->settings));
        s->daemon = daemon_start(&spec);
        s->port = daemon_port(s->daemon);
        s->pid = daemon_pid(s->daemon);
        return;
    }
    server_launch(s);
    int64_t deadline = now_us() + CONNECT_US;
    struct client *c = NULL;
    while (c == NULL && now_us() < deadline) {
        c = client_try_open(s->port, 0);
        if (c == NULL)
            (void)poll(NULL, 0, 1);
    }
    if (c == NULL)
        harness_fail("redis-server does not answer");
    client_close(&c);
}

void server_stop(struct server *s)
{
    if (s->daemon != NULL) {
        if (daemon_stop(&s->daemon) != 0)
            harness_fail("the daemon did not stop with exit code 0");
        return;
    }
    (void)kill(s->pid, SIGTERM);
    (void)waitpid(s->pid, NULL, 0);
}

void server_kill(struct server *s)
{
    if (s->daemon != NULL) {
        daemon_kill(&s->daemon);
        return;
    }
    (void)kill(s->pid, SIGKILL);
    (void)waitpid(s->pid, NULL, 0);
}

void server_create(const struct server *s, const char *topic, int partitions)
{
    if (s->kind == SERVER_REDIS)
        return;
    struct client *c = server_connect(s);
    const char *reply = client_ask(c, "CRTP %s %d", topic, partitions);
    if (strcmp(reply, "Done") != 0)
        harness_fail(reply);
    client_close(&c);
}

struct client *server_try_connect(const struct server *s)
{
    struct client *c = client_try_open_in(s->network, s->port);
    if (c == NULL)
        return NULL;
    bool greeted = s->kind == SERVER_NATS ? nats_greet(c) : s->kind == SERVER_ETCD ? etcd_greet(c) : true;
    if (!greeted)
        client_close(&c);
    return c;
}

struct client *server_connect(const struct server *s)
{
    struct client *c = server_try_connect(s);
    if (c == NULL)
        harness_fail("cannot connect to a server");
    return c;
}

static size_t put_publish_ours(char *out, const char *target, size_t size)
{
    size_t used = (size_t)snprintf(out, size + 256, "PUBS %s {\"Body\":\"", target);
    memset(out + used, 'x', size);
    used += size;
    memcpy(out + used, "\"}\n", 3);
    return used + 3;
}

static size_t put_publish_redis(char *out, const char *target, size_t size)
{
    size_t used = (size_t)snprintf(out, size + 256, "*5\r\n$4\r\nXADD\r\n$%zu\r\n%s\r\n$1\r\n*\r\n$1\r\nb\r\n$%zu\r\n",
                                   strlen(target), target, size);
    memset(out + used, 'x', size);
    used += size;
    memcpy(out + used, "\r\n", 2);
    return used + 2;
}

size_t server_put_publish(const struct server *s, char *out, const char *target, size_t size)
{
    switch (s->kind) {
    case SERVER_OURS:
        return put_publish_ours(out, target, size);
    case SERVER_REDIS:
        return put_publish_redis(out, target, size);
    case SERVER_NATS:
        return nats_put_publish(out, target, size);
    case SERVER_ETCD:
        return etcd_put_publish(out, target, size);
    }
    abort();
}

void server_next_publish(const struct server *s, char *publish)
{
    if (s->kind == SERVER_ETCD)
        etcd_next_stream(publish);
}

static size_t take_reply_ours(const char *in, size_t n, bool *ok)
{
    const char *lf = memchr(in, '\n', n);
    if (lf == NULL)
        return 0;
    *ok = in[0] == 'D';
    return (size_t)(lf + 1 - in);
}

static size_t take_reply_redis(const char *in, size_t n, bool *ok)
{
    const char *lf = memchr(in, '\n', n);
    if (lf == NULL)
        return 0;
    *ok = in[0] == '$';
    if (!*ok)
        return (size_t)(lf + 1 - in);
    size_t whole = (size_t)(lf + 1 - in) + strtoul(in + 1, NULL, 10) + 2;
    return whole <= n ? whole : 0;
}

size_t server_take_reply(const struct server *s, const char *in, size_t n, bool *ok)
{
    switch (s->kind) {
    case SERVER_OURS:
        return take_reply_ours(in, n, ok);
    case SERVER_REDIS:
        return take_reply_redis(in, n, ok);
    case SERVER_NATS:
        return nats_take_reply(in, n, ok);
    case SERVER_ETCD:
        return etcd_take_reply(in, n, ok);
    }
    abort();
}

int64_t server_counter(const struct server *s, const char *name)
{
    char path[64];
    struct client *c = server_connect(s);
    struct json j = json_open(client_ask(c, "INFO"));
    (void)snprintf(path, sizeof(path), "Data.%s", name);
    int64_t value = json_number(&j, path);
    json_close(&j);
    client_close(&c);
    return value != JSON_NONE ? value : -1;
}

/* The offset of the last message in the end of a CONS reply, or -1. */
static int64_t last_offset(const char *tail, size_t size)
{
    static const char name[] = "\"Offset\":";
    int64_t offset = -1;
    for (const char *at = tail; (at = memmem(at, size - (size_t)(at - tail), name, sizeof(name) - 1)) != NULL; at++)
        offset = strtoll(at + sizeof(name) - 1, NULL, 10);
    return offset;
}

/* CONS from 0: one line. As XREAD's reader skips payloads by their length, this
 * one looks at the line's end alone; that every message is there and right is
 * what the scenario tests check. */
static struct read_result read_ours(const struct server *s, const char *target)
{
    enum { TAIL = 4096 };
    struct read_result r = {0};
    struct client *c = client_open(s->port);
    char *chunk = malloc(TAIL + READ_CHUNK + 1);
    char id[128], line[256];
    const char *reply = client_ask(c, "SUBS %s bench-%lld", target, (long long)now_us());
    if (chunk == NULL || sscanf(reply, "{\"Ok\":true,\"Data\":[\"%127[^\"]\"", id) != 1)
        harness_fail(reply);
    int n = snprintf(line, sizeof(line), "CONS %s %s 0\n", target, id);
    int64_t begin = now_us();
    size_t kept = 0;
    (void)client_send(c, line, (size_t)n);
    for (;;) {
        ssize_t got = recv(client_fd(c), chunk + kept, READ_CHUNK, 0);
        if (got <= 0)
            break;
        size_t used = kept + (size_t)got;
        if (chunk[used - 1] == '\n') {
            chunk[used] = '\0';
            r.messages = (uint64_t)(last_offset(chunk, used) + 1);
            break;
        }
        kept = used < TAIL ? used : TAIL;
        memmove(chunk, chunk + used - kept, kept);
    }
    r.us = now_us() - begin;
    r.broken = r.messages == 0;
    client_close(&c);
    free(chunk);
    return r;
}

/* Walks one RESP reply in a growing buffer: counts bulk strings and remembers
 * the last that looks like a stream id. */
struct resp {
    char *in;
    size_t used, at;
    uint64_t open; /* elements still to come */
    uint64_t bulks;
    char last_id[64];
};

/* True: the reply is whole. */
static bool resp_walk(struct resp *w)
{
    while (w->open > 0) {
        const char *lf = memchr(w->in + w->at, '\n', w->used - w->at);
        if (lf == NULL)
            return false;
        const char *token = w->in + w->at;
        long n = strtol(token + 1, NULL, 10);
        size_t next = (size_t)(lf + 1 - w->in);
        if (token[0] == '*')
            w->open += n > 0 ? (uint64_t)n : 0;
        else if (token[0] == '$' && n >= 0) {
            if (next + (size_t)n + 2 > w->used)
                return false;
            if (n < 32 && memchr(lf + 1, '-', (size_t)n) != NULL) {
                memcpy(w->last_id, lf + 1, (size_t)n);
                w->last_id[n] = '\0';
            }
            next += (size_t)n + 2;
            w->bulks++;
        }
        w->at = next;
        w->open--;
    }
    return true;
}

static struct read_result read_redis(const struct server *s, const char *target)
{
    struct read_result r = {0};
    struct client *c = client_open(s->port);
    struct resp w = {.in = malloc(64 << 20), .last_id = "0-0"};
    int64_t begin = now_us();
    for (bool more = w.in != NULL; more && !r.broken;) {
        char line[256];
        int n = snprintf(line, sizeof(line), "XREAD COUNT %d STREAMS %s %s\r\n", XREAD_COUNT, target, w.last_id);
        (void)client_send(c, line, (size_t)n);
        w.used = w.at = w.bulks = 0;
        w.open = 1;
        do {
            ssize_t got = recv(client_fd(c), w.in + w.used, READ_CHUNK, 0);
            r.broken = got <= 0;
            w.used += got > 0 ? (size_t)got : 0;
        } while (!r.broken && !resp_walk(&w));
        uint64_t entries = w.bulks / 3; /* id, field, value; and the name of the stream once */
        r.messages += entries;
        more = entries > 0;
    }
    r.us = now_us() - begin;
    client_close(&c);
    free(w.in);
    return r;
}

struct read_result server_read_all(const struct server *s, const char *target)
{
    return s->kind == SERVER_OURS ? read_ours(s, target) : read_redis(s, target);
}
