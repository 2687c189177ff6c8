/*
 * The text protocol on a connection: bytes in -> commands -> ordered replies.
 *
 * A session is a set of steps: input (bytes), a publish that is done, a command
 * that is done, output that has drained. Consecutive publishes are folded and
 * overlap; any other command waits until everything before it is answered.
 * Replies leave in the order of the commands, whoever completes them.
 */
#ifndef KQ_SERVER_TEXT_SESSION_H
#define KQ_SERVER_TEXT_SESSION_H

#include "api/broker.h"
#include "server/conn.h"
#include "server/server.h"

struct text_front;

/* What the text sessions of a broker share. The main thread, before the server
 * listens and before the broker starts: sets broker's event and describe_server. */
enum kq_err text_front_new(struct text_front **front, struct broker *broker, struct fault *fault);
/* The main thread, before server_start: where counters come from. */
void text_front_serve(struct text_front *front, struct server *server);
/* The main thread, after server_stop and before broker_stop: no timer any more. */
void text_front_stop(struct text_front *front);
/* The main thread, after broker_stop and server_free. */
void text_front_free(struct text_front **front);

/* server_options: protocol, and context = the front. */
const struct conn_protocol *text_protocol(void);

#endif
