/*
 * What the client's commands share: where the broker is, one call that sends a
 * command and takes its reply, and how failures become exit codes.
 */
#ifndef KQ_CLIENT_CLIENT_H
#define KQ_CLIENT_CLIENT_H

#include "base/slice.h"
#include "client/brokers.h"
#include "client/options.h"
#include "client/wire.h"

#include <yajl/yajl_tree.h>

/* Documented in --help and kafkaesque(1). */
enum client_exit {
    CLIENT_DONE = 0,
    CLIENT_REFUSED = 1,     /* the broker answered with an error */
    CLIENT_USAGE = 2,       /* the command line is wrong */
    CLIENT_UNREACHABLE = 3, /* no broker there, it went away, or it did not answer in time */
    CLIENT_UNKNOWN = 4,     /* published, perhaps: the outcome is unknown */
    CLIENT_LOCAL = 5,       /* something on this side: a file, memory, the output */
    CLIENT_DAMAGE = 6,      /* log check: the log is damaged */
};

struct client {
    struct brokers brokers;
    bool json;
    int64_t timeout_us;
    struct wire *wire; /* NULL: not connected */
    struct buf line;   /* the last reply */
    struct fault fault;
    /* Gets the events that come between replies; NULL: they are passed over. */
    void (*on_event)(void *context, yajl_val event);
    void *event_context;
};

void client_init(struct client *client);
void client_fini(struct client *client);

/* Connects unless it is connected: to the broker of the moment, else to the next that can be
 * reached. Waits at most the timeout. */
enum kq_err client_connect(struct client *client);

/*
 * Sends the fields (ended by NULL; quoted where needed) as one command and waits
 * for its reply, past events. KQ_OK: `Done` or JSON in client->line. An error of
 * the broker: its code as far as it can be told (KQ_INVALID if not), and its text
 * in client->fault. Connects first where needed.
 */
enum kq_err client_call(struct client *client, const char *const *fields);
#define CLIENT_CALL(client, ...) client_call((client), (const char *const[]){__VA_ARGS__, NULL})

/*
 * The same for what may be said twice (questions, and what does no more the second time): a
 * broker that goes away or says nothing is left for the next, and an error that may pass
 * (client_may_pass) is waited out, for as long as the timeout.
 */
enum kq_err client_insist(struct client *client, const char *const *fields);
#define CLIENT_INSIST(client, ...) client_insist((client), (const char *const[]){__VA_ARGS__, NULL})

/* Whether a refusal may be gone in a moment: no leader now, not enough replicas, stopping. */
bool client_may_pass(enum kq_err err);

/* Hands the event in client->line to on_event. */
void client_event(struct client *client);

/* Appends a field, quoted where it must be. False: it holds a line feed or a NUL. */
bool client_put_field(struct buf *out, const char *field);

/* Says what is in client->fault on stderr; the exit code for err. */
int client_fail(const struct client *client, enum kq_err err);
/* The same for a usage error found by a command, with where to find help. */
int client_usage(const struct client *client, const char *command);

/* The exit code for err. */
int client_exit_code(enum kq_err err);

/* ---- reading replies ---------------------------------------------------------------- */

enum answer_kind {
    ANSWER_DONE,
    ANSWER_DATA,    /* {"Ok":... */
    ANSWER_EVENT,   /* {"Event":... */
    ANSWER_ERROR,   /* Error, ... */
    ANSWER_GARBAGE, /* no reply of this protocol */
};
/* By its first bytes; a CR at its end does not matter. */
enum answer_kind answer_kind(struct slice line);
/* The code behind `Error, text`: the row of the error table whose sentence the
 * text holds; KQ_INVALID if none. Fills the fault with the text. */
enum kq_err answer_fault(struct slice line, struct fault *fault);

/* ---- partitions ------------------------------------------------------------------------ */

/* The number of partitions of a topic. KQ_UNKNOWN_TOPIC with what to do about it. */
enum kq_err client_partition_count(struct client *client, const char *topic, uint32_t *count);
/* Where DESC's Data says that the partition's log starts, or ends; -1: it does not say. */
int64_t client_partition_bound(yajl_val data, int64_t partition, bool start);

#endif
