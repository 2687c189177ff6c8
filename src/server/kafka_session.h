/*
 * The Kafka protocol on a connection: frames in -> calls -> answers in their order.
 *
 * Produce requests overlap; any other request begins when everything before it is
 * answered, as Kafka itself does it. A request that waits (a long poll, a join) holds no
 * thread. What each request means is in kafka_*.c, one file a family; what it does is in
 * src/api, for both protocols.
 */
#ifndef KQ_SERVER_KAFKA_SESSION_H
#define KQ_SERVER_KAFKA_SESSION_H

#include "api/broker.h"
#include "server/conn.h"

struct kafka_front;

/* What the Kafka sessions of a broker share. The main thread, before the server listens. */
enum kq_err kafka_front_new(struct kafka_front **front, struct broker *broker, const struct config *config,
                            struct fault *fault);
/* The main thread, after server_stop and before broker_stop: no timer any more. */
void kafka_front_stop(struct kafka_front *front);
/* The main thread, after broker_stop and server_free. */
void kafka_front_free(struct kafka_front **front);

/* server_listen: protocol, and context = the front. */
const struct conn_protocol *kafka_protocol(void);

#endif
