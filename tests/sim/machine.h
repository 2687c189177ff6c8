/*
 * The machine: model time, computers ("nodes"), and the fibers that run on them.
 *
 * Whole brokers run here unchanged. What they call of the C library (threads,
 * locks, clocks, sockets) is replaced at link time (-Wl,--wrap, the SIM_WRAP list in
 * Makefile.am) by functions of this folder whose names begin with __wrap_. Each
 * such call is a point where the scheduler may let another fiber go on; between two
 * of them a fiber runs alone. Time stands still while anybody can run, but for a
 * little that each point costs, and jumps to the next deadline when nobody can.
 *
 * Everything is decided by one seed.
 */
#ifndef KQ_TESTS_SIM_MACHINE_H
#define KQ_TESTS_SIM_MACHINE_H

#include "sim/chance.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MACHINE_NEVER INT64_MAX
#define MS_NS INT64_C(1000000)
#define S_NS INT64_C(1000000000)

struct fiber;
struct disk;

/* Those who wait for one thing. All zeros: nobody does. */
struct waiters {
    struct fiber *first;
};

enum { NODE_NAME_BYTES = 16 };

/* A computer. The harness and its clients have one, too, which never fails. */
struct node {
    struct node *next;
    char name[NODE_NAME_BYTES];
    unsigned id;
    bool up;
    bool paused;           /* SIGSTOP: its fibers do not run, the rest of the world does */
    uint32_t life;         /* grows with each crash and each start */
    int64_t drift_ppm;     /* its clocks run so much faster */
    int64_t clock_from_ns; /* since then (model time) ... */
    int64_t clock_ns;      /* ... and showed this */
    int64_t wall_ns;       /* CLOCK_REALTIME is so far ahead of CLOCK_MONOTONIC */
    uint8_t boot_id[16];
    struct disk *disk;
    struct fiber *fibers;
    struct fiber *held; /* those that could run, were it not paused */
};

/* How the scheduler behaves in this run; drawn from the seed. */
struct machine_style {
    uint64_t switch_in;   /* at one point in so many another fiber goes on */
    uint64_t stall_in;    /* at one in so many a fiber is not run for a while; 0: never */
    int64_t stall_ns;     /* at most */
    uint64_t spurious_in; /* one in so many waits on a condition ends for no reason; 0: never */
    int64_t step_ns;      /* what a point costs at most */
    bool oldest_first;    /* of those that can run, the one that waits longest; else any */
};

/* Once a process. */
void machine_start(uint64_t seed);
uint64_t machine_seed(void);
struct machine_style *machine_style(void);
/* Runs until machine_stop, or nothing can ever happen again (false). */
bool machine_run(void);
void machine_stop(void);
int64_t machine_now_ns(void);
/* To stderr: every node's fibers, and whether they wait. */
void machine_show(void);
/* The fiber that runs; NULL: none, the caller is the process itself. */
struct fiber *machine_fiber(void);
/* The node of the fiber that runs. */
struct node *machine_node(void);
uint64_t machine_steps(void);
/* The name of the fiber that ran last. */
const char *machine_last(void);
/* Calls fire(context, number) at a time. */
void machine_at(int64_t at_ns, void (*fire)(void *context, uint64_t number), void *context, uint64_t number);

/* ---- nodes ---- */
struct node *node_new(const char *name);
/* Every fiber ends where it is; memory is left as it is. Called from a fiber of the
 * node itself it does not return. Sockets and disk are their owners' business. */
void node_crash(struct node *node);
void node_pause(struct node *node, bool paused);
/* Its clocks from now on. */
void node_drift(struct node *node, int64_t ppm);
int64_t node_mono_ns(const struct node *node);
/* Model time at which the node's clock will show it. */
int64_t node_when(const struct node *node, int64_t mono_ns);

/* ---- fibers ---- */
struct fiber *fiber_start(struct node *node, const char *name, size_t stack_bytes, void *(*run)(void *),
                          void *argument);
void fiber_join(struct fiber *fiber, void **result);
void fiber_detach(struct fiber *fiber);
void fiber_name(struct fiber *fiber, const char *name);
const char *fiber_name_of(const struct fiber *fiber);
/* A point: maybe another fiber goes on first. */
void fiber_point(void);
/* Until somebody wakes the waiters (true), or the time comes (false). waiters may be NULL. */
bool fiber_wait(struct waiters *waiters, int64_t until_ns);
void fiber_sleep(int64_t ns);
/* One of them, any; or all. */
bool waiters_wake_one(struct waiters *waiters);
void waiters_wake_all(struct waiters *waiters);

#endif
