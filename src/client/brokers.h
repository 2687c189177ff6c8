/*
 * The brokers that a command may talk to: any of a cluster takes any command, so
 * when one does not answer the next one is asked. All connections of a command go
 * to the broker of the moment; whoever finds it of no use moves on.
 */
#ifndef KQ_CLIENT_BROKERS_H
#define KQ_CLIENT_BROKERS_H

#include "client/wire.h"

enum {
    BROKERS_MAX = 32,
    /* With others to turn to, this long is waited for a connection or an answer. */
    BROKERS_PATIENCE_US = 5 * 1000 * 1000,
};

struct brokers {
    struct wire_address list[BROKERS_MAX];
    size_t count; /* at least 1 */
    size_t at;    /* the broker of the moment */
};

/* 127.0.0.1 port 8080. */
void brokers_init(struct brokers *brokers);
/* "host:port,host:port": what an address does not name is as in the first of the present
 * list. KQ_INVALID: *brokers is as it was. */
enum kq_err brokers_parse(struct brokers *brokers, const char *text, struct fault *fault);

/* The broker of the moment. */
const struct wire_address *brokers_now(const struct brokers *brokers);
/* It is of no use: the next one, and behind the last the first. */
void brokers_move_on(struct brokers *brokers);
/* How long an answer may take, until the deadline at most: with several brokers, before the
 * next is asked; else all the time there is. */
int64_t brokers_patience(const struct brokers *brokers, int64_t now_us, int64_t deadline_us);

/* Connects to the broker of the moment, else to the next that can be reached, each tried
 * once. KQ_EOF: none can; the fault names the last, and how many there were. */
enum kq_err brokers_connect(struct brokers *brokers, struct wire **wire, int64_t deadline_us, struct fault *fault);

#endif
