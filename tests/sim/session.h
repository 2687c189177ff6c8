/*
 * A client's connection: the text protocol over the simulated sockets, with the
 * calls that any program would make. For fibers of the harness.
 */
#ifndef KQ_TESTS_SIM_SESSION_H
#define KQ_TESTS_SIM_SESSION_H

#include "sim/brokers.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct session {
    int fd;           /* below 0: not connected */
    uint32_t process; /* of the history: a number for each connection */
    unsigned broker;  /* whom it talks to */
    char *buffer;
    size_t have, taken, room;
};

/* A socket that is connected to a port of a broker; below 0: none in time. The timeout is
 * that of each call on it, too. */
int session_dial(unsigned broker, int port, int64_t timeout_ns);

/* All zeros but fd -1 is closed. */
bool session_open(struct session *s, unsigned broker, int64_t timeout_ns);
void session_close(struct session *s);
void session_fini(struct session *s);
/* A line feed is added. False: the connection is gone. */
bool session_say(struct session *s, const char *line);
/* The next line, without its end; valid until the next call. NULL: the connection
 * is gone, or nothing came in time; it is closed then. Events (lines that begin with
 * {"Event") are passed over. */
const char *session_hear(struct session *s);
/* Both. */
const char *session_ask(struct session *s, const char *line);

#endif
