/* What the witnesses' files share: witness.c (the whole), witness_publish.c and
 * witness_read.c (the threads). */
#ifndef KQ_TESTS_E2E_WITNESS_IMPL_H
#define KQ_TESTS_E2E_WITNESS_IMPL_H

#include "e2e/scenario.h"
#include "e2e/witness.h"
#include "support/history.h"

#include <pthread.h>
#include <stdatomic.h>

enum {
    WITNESS_LANES_MAX = 32,
    WITNESS_PARTITIONS_MAX = 16,
    WITNESS_SILENCE_MS = 1500, /* a broker that says nothing for so long is left */
    WITNESS_PAUSE_MS = 20,     /* after an error */
    WITNESS_FINISH_MS = 60000,
    WITNESS_WHY_BYTES = 300,
};

/* Processes of the history, by kind. */
enum { PROCESS_PUBLISH = 0, PROCESS_TAIL = 100000, PROCESS_FINAL = 200000, PROCESS_PLAIN = 1000000 };

/* A thread. Its own but for the atomics, which the main thread reads. */
struct lane {
    struct witness *w;
    pthread_t thread;
    int number; /* among its kind */
    struct history *history;
    int broker; /* that it talks to, or would */
    struct client *client;
    char id[ID_BYTES]; /* of a tail */
    _Atomic int64_t acked, errors, unknown, left, failed, longest_us, shown;
    _Atomic bool unfinished; /* it gave up with something under way */
    pthread_mutex_t why_lock;
    char why[WITNESS_WHY_BYTES];   /* the last error heard */
    char never[WITNESS_WHY_BYTES]; /* the first that must not have been; "" none */
};

struct witness {
    struct witness_spec spec;
    struct lane lanes[WITNESS_LANES_MAX];
    int lane_count;
    _Atomic bool stop; /* nothing new is begun; publishers finish what is under way */
};

/* Connects to the lane's broker, else the next that listens; false: none does now. */
bool lane_connect(struct lane *l);
/* Closes, and the next connection is to the next broker. */
void lane_leave(struct lane *l);
/* Lets time pass: a descriptor's timeout. */
void lane_pause(struct lane *l, int wait_ms);
/* Remembers an error for who reads of a failure; forbidden: it must not have been. */
void lane_heard(struct lane *l, const char *what, bool forbidden);

void *witness_publisher(void *lane);
void *witness_plain(void *lane);
void *witness_tail(void *lane);

/* "w-17" in a body; 0: no such. */
uint64_t witness_value(const char *body);
/* Reads all partitions at that broker from 0 to their ends. False: it could not, `why`. */
bool witness_read_all(const struct witness *w, int broker, struct history *h, uint32_t process, char *why, size_t size);
/* SUBS for all partitions in a fresh group; ids by partition. False: not yet. */
bool witness_subscribe(const struct witness *w, struct client *c, const char *group, char ids[][ID_BYTES], char *why,
                       size_t size);

#endif
