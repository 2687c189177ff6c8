/* The files that a simulated process has open: sockets, epoll sets, event counters.
 * Behind socket.c (calls) and socket_poll.c (waiting for many). */
#ifndef KQ_TESTS_SIM_SOCKET_H
#define KQ_TESTS_SIM_SOCKET_H

#include "sim/net.h"
#include "sim/wrap.h"

#include <stdint.h>

enum { SOCKET_FILES_MAX = 4096, SOCKET_BACKLOG_MAX = 128 };

enum file_kind { FILE_FRESH, FILE_LISTENER, FILE_STREAM, FILE_EPOLL, FILE_COUNTER, FILE_TEXT, FILE_OTHER };

/* Somebody wants to know of changes of a file: an epoll set, or a poll(2). */
struct watch {
    struct watch *next_of_file, *next_of_set;
    struct file *file;
    struct waiters *tell;
    uint32_t events;
    bool armed;
    uint64_t data;
};

struct file {
    enum file_kind kind;
    int fd;
    struct node *node;
    struct waiters waiters;
    struct watch *watches;
    bool nonblock;
    struct end *end; /* FILE_STREAM; FILE_FRESH: not yet connected */
    uint16_t port;   /* bound */
    int64_t receive_timeout_ns, send_timeout_ns, user_timeout_ns;
    bool keep_alive;
    int keep_idle_s, keep_every_s, keep_count;
    struct listening listening; /* FILE_LISTENER */
    struct end *backlog[SOCKET_BACKLOG_MAX];
    int backlog_count, backlog_max;
    bool listening_over;        /* shut down */
    uint64_t counter;           /* FILE_COUNTER */
    struct watch *set;          /* FILE_EPOLL: what it watches */
    struct waiters set_waiters; /* and who waits for it */
    char text[64];              /* FILE_TEXT */
    size_t text_bytes;
};

/* NULL and errno: no such file of the running node. */
struct file *socket_file(int fd);
struct file *socket_file_new(enum file_kind kind);
/* Two files of one node, connected. */
void socket_pair(struct file *a, struct file *b);
/* EPOLLIN and so on, that are so now. */
uint32_t socket_events(const struct file *file);
void socket_changed(struct file *file);
void socket_unwatch_all(struct file *file);

/* The node's process is gone: its kernel closes what it had. */
void socket_node_killed(struct node *node);
/* Its power is gone, and with it all that its kernel knew. */
void socket_node_power_lost(struct node *node);

#endif
