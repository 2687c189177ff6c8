/*
 * One or three brokers that speak Kafka: ours, or Apache Kafka's where
 * kafka-peer.sh has fetched it. Fails through harness_fail.
 */
#ifndef KQ_TESTS_BENCH_KAFKA_SITE_H
#define KQ_TESTS_BENCH_KAFKA_SITE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum { SITE_BROKERS_MAX = 3 };

struct daemon;
struct fleet;

struct kafka_site {
    bool apache;
    int count;
    int ports[SITE_BROKERS_MAX];
    pid_t pids[SITE_BROKERS_MAX]; /* [0] == 0: it does not run */
    const char *dirs[SITE_BROKERS_MAX];
    struct daemon *daemon;
    struct fleet *fleet;
};

/* kafka-peer.sh. */
const char *site_script(void);
/* Its version, or NULL: it was not fetched. */
const char *site_apache_version(void);

/* settings: of ours, ended by NULL; NULL: none. Returns when all brokers take part. */
void site_start_ours(struct kafka_site *site, int count, const char *const *settings);
/* False: it is not there. */
bool site_start_apache(struct kafka_site *site, int count);
void site_stop(struct kafka_site *site);

/* Makes a topic with a replica on each broker, and waits until every partition has all replicas,
 * the first of which leads. */
void site_create(const struct kafka_site *site, const char *topic, int partitions);
/* The port of the broker that leads it. */
int site_leader_port(const struct kafka_site *site, const char *topic, int partition);
/* Of all brokers. */
int64_t site_cpu_us(const struct kafka_site *site);

#endif
