/*
 * The broker and its front ends as one thing that starts and stops.
 *
 * It owns everything below the process: threads, partitions, listeners. It must
 * never touch signals, the terminal or the service manager, which are the
 * process's (kafkaesqued.c).
 */
#ifndef KQ_DAEMON_SERVICE_H
#define KQ_DAEMON_SERVICE_H

#include "base/config.h"
#include "base/err.h"

#include <stdbool.h>

struct service;

enum { SERVICE_ADDRESS_BYTES = CONFIG_TEXT_BYTES + 16 };

/* What a start failed at. */
enum service_part { SERVICE_NOTHING, SERVICE_MEMORY, SERVICE_BROKER, SERVICE_LISTENERS };

/* Main thread. interrupted says whether a start that waits for other brokers is to give up
 * (KQ_STOPPING then; NULL: never). cfg is borrowed until service_stop; cfg->data_dir is open and
 * locked. When it returns KQ_OK clients are served. Else *failed says at what, and
 * everything that had started is stopped again. */
enum kq_err service_start(struct service **service, const struct config *cfg, const char *version,
                          bool (*interrupted)(void), enum service_part *failed, struct fault *fault);

/* Main thread. Accepts no more, finishes what was read, flushes, closes. Joins
 * every thread. *service becomes NULL. */
void service_stop(struct service **service);

/* Main thread, after LIVE fields of the configuration changed. */
void service_reload(struct service *service);

/* Main thread, for the watchdog: asks the timer's thread for a sign of life, and
 * says whether it gave the one asked for before. */
bool service_turns(struct service *service);

/* Main thread. Where it listens, "127.0.0.1:8080" or "[::1]:8080", with the port
 * that was taken; and the host that one would type to reach it, and the port. */
void service_address(const struct service *service, char address[SERVICE_ADDRESS_BYTES],
                     char host[SERVICE_ADDRESS_BYTES], unsigned *port);
/* Main thread. The port on which Kafka clients reach it; 0: they are not served. */
unsigned service_kafka_port(const struct service *service);
/* Main thread. The port on which other brokers reach it. */
unsigned service_raft_port(const struct service *service);

#endif
