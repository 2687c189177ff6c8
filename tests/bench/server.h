/*
 * The servers that are compared, behind one face: how to start one, what a
 * publish and a reply look like on its wire. NATS and etcd run three at a time;
 * see trio.h.
 */
#ifndef KQ_TESTS_BENCH_SERVER_H
#define KQ_TESTS_BENCH_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum server_kind { SERVER_OURS, SERVER_REDIS, SERVER_NATS, SERVER_ETCD };

struct client;
struct daemon;

struct server {
    enum server_kind kind;
    const char *dir;
    uint64_t cpus;       /* 0: all */
    const char *network; /* NULL: this program's; else a place of network.h */
    int port;
    pid_t pid;
    struct daemon *daemon; /* ours */
    const char *settings[8];
};

/* Both start on s->dir and return when a connection is taken. s->port 0: free. */
void server_start(struct server *s);
void server_stop(struct server *s);
void server_kill(struct server *s);
/* Starts it and returns at once; s->port is set. For measuring starts. */
void server_launch(struct server *s);

/* False: there is no redis-server on this machine. */
bool have_redis(void);

/* Makes a topic; nothing to do at Redis. */
void server_create(const struct server *s, const char *topic, int partitions);

/* A connection that is ready for publishes. NULL: it does not listen. */
struct client *server_try_connect(const struct server *s);
struct client *server_connect(const struct server *s);

/* The bytes of one publish of size payload bytes to target; needs size + 256. */
size_t server_put_publish(const struct server *s, char *out, const char *target, size_t size);
/* Makes of the bytes of one publish those of the next on the same connection. */
void server_next_publish(const struct server *s, char *publish);
/* Bytes of the first whole reply at in, or 0; *ok: it acknowledges. */
size_t server_take_reply(const struct server *s, const char *in, size_t n, bool *ok);

/* A number of our INFO, as "Counters.fsyncs", or -1. */
int64_t server_counter(const struct server *s, const char *name);

/* Reads all of target from its begin; messages, and the time that it took. */
struct read_result {
    uint64_t messages;
    int64_t us;
    bool broken;
};
struct read_result server_read_all(const struct server *s, const char *target);

#endif
