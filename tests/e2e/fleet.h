/*
 * Several brokers that form one cluster, for tests and benchmarks: numbered from
 * 1, each with its folder and its two ports, which it keeps when it is started
 * again. All calls are for the main thread, and fail as those of harness.h do.
 *
 * With `networks` (see network.h: one such fleet at a time) each broker runs in a
 * network of its own and can be cut off. Clients enter that of the broker they
 * talk to, so that they reach one that is cut off, too.
 */
#ifndef KQ_TESTS_E2E_FLEET_H
#define KQ_TESTS_E2E_FLEET_H

#include "e2e/client.h"
#include "e2e/harness.h"

enum {
    FLEET_MAX = 8,   /* not above NETWORK_PLACES */
    FORM_MS = 60000, /* to become whole: formed, or caught up after a start */
};

struct fleet_spec {
    int brokers;                               /* that form the cluster */
    const char *settings[DAEMON_SETTINGS_MAX]; /* of each; borrowed while it lives */
    bool networks;                             /* if network_possible() */
};

struct fleet;

/* Starts all and waits until every broker sees all of them. */
struct fleet *fleet_form(const struct fleet_spec *spec);
/* Stops those that run, all at once; each must end with exit code 0. */
void fleet_end(struct fleet **f);
/* SIGKILL for all that run; their folders stay. */
void fleet_drop(struct fleet **f);

int fleet_size(const struct fleet *f);
bool fleet_runs(const struct fleet *f, int id);
int fleet_port(const struct fleet *f, int id);
int fleet_kafka_port(const struct fleet *f, int id);
int fleet_raft_port(const struct fleet *f, int id);
pid_t fleet_pid(const struct fleet *f, int id);
const char *fleet_dir(const struct fleet *f, int id);
const char *fleet_network(const struct fleet *f, int id);
struct daemon *fleet_daemon(const struct fleet *f, int id);

/* A session at that broker. */
struct client *fleet_client(const struct fleet *f, int id);
/* NULL: it does not listen. */
struct client *fleet_try_client(const struct fleet *f, int id);

/* ---- one broker ------------------------------------------------------------ */

/* Starts one that is down; returns once it answers PING. */
void fleet_start(struct fleet *f, int id);
/* Those that are down, all at once: for a cluster whose majority was down. */
void fleet_start_all(struct fleet *f);
/* One more, with the peers of the others and itself, that is to join; gives its number. */
int fleet_grow(struct fleet *f);
/* SIGTERM; it must end with exit code 0. */
void fleet_stop(struct fleet *f, int id);
/* SIGKILL. */
void fleet_kill(struct fleet *f, int id);
/* Empties the folder of one that is down. */
void fleet_wipe(struct fleet *f, int id);
/* SIGSTOP, and waits until it stands still; SIGCONT. */
void fleet_pause(struct fleet *f, int id);
void fleet_resume(struct fleet *f, int id);

/* ---- cables, of a fleet with networks ------------------------------------------ */

/* From and to all others. */
void fleet_cut(struct fleet *f, int id);
void fleet_heal(struct fleet *f, int id);
/* What `from` sends does not reach `to`; the other way goes on. */
void fleet_cut_one_way(struct fleet *f, int from, int to);
void fleet_heal_one_way(struct fleet *f, int from, int to);

/* ---- waiting for the cluster ----------------------------------------------------- */

/* The broker that leads, as broker `id` (0: the first that runs) knows it. 0: none
 * is known within wait_ms. */
int fleet_leader(const struct fleet *f, int id, const char *topic, int partition, int wait_ms);
/* The controller, likewise. */
int fleet_controller(const struct fleet *f, int id, int wait_ms);
/* Every broker that runs sees `alive` brokers alive, and no partition that lacks a
 * leader or a replica, or is moving. False: not within wait_ms; it says what is seen. */
bool fleet_whole(const struct fleet *f, int alive, int wait_ms);

#endif
