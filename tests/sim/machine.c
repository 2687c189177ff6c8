/*
 * See machine.h. The process's own stack runs the loop: what is due, then one of
 * the fibers that can run. A fiber leaves for the loop when it waits, ends, or the
 * seed says so at a point.
 */
#include "sim/machine.h"

#include "base/require.h"
#include "sim/fiber.h"
#include "sim/trace.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STACK_BYTES = 256 * 1024 };

enum fiber_state { FIBER_READY, FIBER_RUNNING, FIBER_WAITING, FIBER_HELD, FIBER_DONE };

struct fiber {
    struct fiber_place place;
    struct fiber *next, *prev;           /* of the node */
    struct fiber *wait_next, *wait_prev; /* of those who wait for the same; or of the held */
    struct waiters *waiters;
    struct waiters joiners;
    struct node *node;
    uint64_t id;
    uint64_t waits; /* counts them, so that a deadline of an earlier wait means nothing */
    size_t ready_at;
    enum fiber_state state;
    bool woken;
    bool detached;
    char name[NODE_NAME_BYTES];
    void *(*run)(void *);
    void *argument;
    void *result;
};

struct event {
    int64_t at_ns;
    uint64_t order;
    void (*fire)(void *context, uint64_t number);
    void *context;
    uint64_t number;
};

static struct {
    uint64_t seed;
    int64_t now_ns;
    uint64_t steps;
    uint64_t ids;
    struct machine_style style;
    struct chance chance;
    struct fiber_place home;
    struct fiber *running;
    const char *last;
    struct fiber **ready;
    size_t ready_count, ready_max;
    struct event *events; /* a heap */
    size_t event_count, event_max;
    uint64_t event_order;
    struct fiber *unused;
    struct node *nodes;
    unsigned node_count;
    bool stop;
} machine;

/* ---- events -------------------------------------------------------------------------- */

static bool before(const struct event *a, const struct event *b)
{
    return a->at_ns != b->at_ns ? a->at_ns < b->at_ns : a->order < b->order;
}

void machine_at(int64_t at_ns, void (*fire)(void *context, uint64_t number), void *context, uint64_t number)
{
    if (machine.event_count == machine.event_max) {
        machine.event_max = machine.event_max * 2 + 64;
        machine.events = realloc(machine.events, machine.event_max * sizeof *machine.events);
        REQUIRE(machine.events != NULL);
    }
    struct event e = {at_ns, machine.event_order++, fire, context, number};
    size_t i = machine.event_count++;
    while (i > 0 && before(&e, &machine.events[(i - 1) / 2])) {
        machine.events[i] = machine.events[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    machine.events[i] = e;
}

static struct event event_take(void)
{
    struct event first = machine.events[0];
    struct event last = machine.events[--machine.event_count];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child + 1 < machine.event_count && before(&machine.events[child + 1], &machine.events[child]))
            child++;
        if (child >= machine.event_count || !before(&machine.events[child], &last))
            break;
        machine.events[i] = machine.events[child];
        i = child;
    }
    machine.events[i] = last;
    return first;
}

/* ---- who can run ------------------------------------------------------------------------ */

static void ready_put(struct fiber *f)
{
    if (f->node->paused) {
        f->state = FIBER_HELD;
        f->wait_next = f->node->held;
        f->node->held = f;
        return;
    }
    if (machine.ready_count == machine.ready_max) {
        machine.ready_max = machine.ready_max * 2 + 64;
        machine.ready = realloc(machine.ready, machine.ready_max * sizeof(struct fiber *));
        REQUIRE(machine.ready != NULL);
    }
    f->state = FIBER_READY;
    f->ready_at = machine.ready_count;
    machine.ready[machine.ready_count++] = f;
}

static void ready_remove(struct fiber *f)
{
    size_t at = f->ready_at;
    machine.ready_count--;
    /* Order is kept, for oldest_first. */
    for (; at < machine.ready_count; at++) {
        machine.ready[at] = machine.ready[at + 1];
        machine.ready[at]->ready_at = at;
    }
}

static void waiters_leave(struct fiber *f)
{
    struct waiters *w = f->waiters;
    if (w == NULL)
        return;
    if (f->wait_prev != NULL)
        f->wait_prev->wait_next = f->wait_next;
    else
        w->first = f->wait_next;
    if (f->wait_next != NULL)
        f->wait_next->wait_prev = f->wait_prev;
    f->wait_next = f->wait_prev = NULL;
    f->waiters = NULL;
}

static void wake(struct fiber *f, bool by_somebody)
{
    REQUIRE(f->state == FIBER_WAITING);
    waiters_leave(f);
    f->woken = by_somebody;
    f->waits++;
    ready_put(f);
}

static void deadline_comes(void *context, uint64_t number)
{
    struct fiber *f = context;
    if (f->state == FIBER_WAITING && f->waits == number)
        wake(f, false);
}

bool waiters_wake_one(struct waiters *waiters)
{
    size_t count = 0;
    for (struct fiber *f = waiters->first; f != NULL; f = f->wait_next)
        count++;
    if (count == 0)
        return false;
    size_t pick = (size_t)chance_below(&machine.chance, count);
    struct fiber *f = waiters->first;
    while (pick-- > 0)
        f = f->wait_next;
    wake(f, true);
    return true;
}

void waiters_wake_all(struct waiters *waiters)
{
    while (waiters->first != NULL)
        wake(waiters->first, true);
}

/* ---- points ---------------------------------------------------------------------------------- */

static void leave(struct fiber *f)
{
    machine.running = NULL;
    fiber_go(&f->place, &machine.home);
}

bool fiber_wait(struct waiters *waiters, int64_t until_ns)
{
    struct fiber *f = machine.running;
    REQUIRE(f != NULL);
    if (until_ns <= machine.now_ns) {
        fiber_point();
        return false;
    }
    f->state = FIBER_WAITING;
    f->waiters = waiters;
    if (waiters != NULL) {
        f->wait_next = waiters->first;
        if (f->wait_next != NULL)
            f->wait_next->wait_prev = f;
        waiters->first = f;
    }
    if (until_ns != MACHINE_NEVER)
        machine_at(until_ns, deadline_comes, f, f->waits);
    leave(f);
    return f->woken;
}

void fiber_sleep(int64_t ns)
{
    (void)fiber_wait(NULL, machine.now_ns + ns);
}

void fiber_point(void)
{
    struct fiber *f = machine.running;
    if (f == NULL)
        return;
    machine.steps++;
    machine.now_ns += 1 + (int64_t)chance_below(&machine.chance, (uint64_t)machine.style.step_ns);
    if (f->node->id != 0 && chance_once_in(&machine.chance, machine.style.stall_in)) {
        fiber_sleep(chance_magnitude(&machine.chance, 1000, machine.style.stall_ns));
        return;
    }
    if (!f->node->paused && !chance_once_in(&machine.chance, machine.style.switch_in))
        return;
    ready_put(f);
    leave(f);
}

/* ---- fibers ------------------------------------------------------------------------------------ */

static void node_remove(struct fiber *f)
{
    if (f->prev != NULL)
        f->prev->next = f->next;
    else
        f->node->fibers = f->next;
    if (f->next != NULL)
        f->next->prev = f->prev;
    f->next = f->prev = NULL;
}

static void fiber_free(struct fiber *f)
{
    f->waits++;
    f->next = machine.unused;
    machine.unused = f;
}

static void fiber_entry(void *argument)
{
    struct fiber *f = argument;
    f->result = f->run(f->argument);
    f->state = FIBER_DONE;
    waiters_wake_all(&f->joiners);
    leave(f);
}

struct fiber *fiber_start(struct node *node, const char *name, size_t stack_bytes, void *(*run)(void *), void *argument)
{
    struct fiber *f = machine.unused;
    uint64_t waits = 0;
    if (f != NULL) {
        machine.unused = f->next;
        waits = f->waits + 1;
    } else {
        f = malloc(sizeof *f);
        REQUIRE(f != NULL);
    }
    memset(f, 0, sizeof *f);
    f->waits = waits;
    f->id = machine.ids++;
    f->node = node;
    f->run = run;
    f->argument = argument;
    fiber_name(f, name);
    f->next = node->fibers;
    if (f->next != NULL)
        f->next->prev = f;
    node->fibers = f;
    fiber_make(&f->place, stack_bytes > STACK_BYTES ? stack_bytes : STACK_BYTES, fiber_entry, f);
    ready_put(f);
    return f;
}

void fiber_join(struct fiber *fiber, void **result)
{
    while (fiber->state != FIBER_DONE)
        (void)fiber_wait(&fiber->joiners, MACHINE_NEVER);
    if (result != NULL)
        *result = fiber->result;
    fiber_free(fiber);
}

void fiber_detach(struct fiber *fiber)
{
    if (fiber->state == FIBER_DONE)
        fiber_free(fiber);
    else
        fiber->detached = true;
}

void fiber_name(struct fiber *fiber, const char *name)
{
    (void)snprintf(fiber->name, sizeof fiber->name, "%s", name);
}

const char *fiber_name_of(const struct fiber *fiber)
{
    return fiber->name;
}

/* ---- nodes --------------------------------------------------------------------------------------- */

struct node *node_new(const char *name)
{
    struct node *n = calloc(1, sizeof *n);
    REQUIRE(n != NULL);
    (void)snprintf(n->name, sizeof n->name, "%s", name);
    n->id = machine.node_count++;
    n->next = machine.nodes;
    machine.nodes = n;
    n->up = true;
    n->clock_from_ns = machine.now_ns;
    n->clock_ns = machine.now_ns + S_NS * 1000;
    n->wall_ns = INT64_C(1700000000) * S_NS;
    return n;
}

void node_crash(struct node *node)
{
    struct fiber *self = machine.running;
    bool own = self != NULL && self->node == node;
    node->life++;
    for (struct fiber *f = node->fibers, *next; f != NULL; f = next) {
        next = f->next;
        if (f->state == FIBER_READY)
            ready_remove(f);
        /* Those it waited with are gone as well, so no list needs mending. */
        if (f == self)
            continue;
        if (f->state == FIBER_WAITING)
            waiters_leave(f);
        f->next = f->prev = f->wait_next = f->wait_prev = NULL;
        if (f->state != FIBER_DONE)
            fiber_drop(&f->place);
        f->state = FIBER_DONE;
        fiber_free(f);
    }
    node->fibers = node->held = NULL;
    node->paused = false;
    if (own) {
        self->state = FIBER_DONE;
        self->detached = true;
        self->next = self->prev = NULL;
        leave(self);
    }
}

void node_pause(struct node *node, bool paused)
{
    node->paused = paused;
    if (paused) {
        for (size_t i = machine.ready_count; i-- > 0;) {
            struct fiber *f = machine.ready[i];
            if (f->node == node) {
                ready_remove(f);
                ready_put(f);
            }
        }
        return;
    }
    struct fiber *held = node->held;
    node->held = NULL;
    while (held != NULL) {
        struct fiber *f = held;
        held = f->wait_next;
        f->wait_next = NULL;
        ready_put(f);
    }
}

int64_t node_mono_ns(const struct node *node)
{
    int64_t passed = machine.now_ns - node->clock_from_ns;
    return node->clock_ns + passed + passed / 1000000 * node->drift_ppm;
}

void node_drift(struct node *node, int64_t ppm)
{
    node->clock_ns = node_mono_ns(node);
    node->clock_from_ns = machine.now_ns;
    node->drift_ppm = ppm;
}

int64_t node_when(const struct node *node, int64_t mono_ns)
{
    int64_t left = mono_ns - node_mono_ns(node);
    if (left <= 0)
        return machine.now_ns;
    if (left > INT64_MAX / 4)
        return MACHINE_NEVER;
    /* Rounded up: who is woken at the deadline must find that it has passed. */
    return machine.now_ns + left + (left / 1000000 + 1) * (node->drift_ppm < 0 ? -2 * node->drift_ppm : 1) + 1000;
}

/* ---- the loop ---------------------------------------------------------------------------------------- */

void machine_start(uint64_t seed)
{
    fiber_setup(&machine.home);
    machine.seed = seed;
    machine.chance = chance_of(seed, 1);
    struct chance style = chance_of(seed, 2);
    static const uint64_t switches[] = {1, 2, 5, 20, 100, 1000};
    machine.style.switch_in = switches[chance_below(&style, sizeof switches / sizeof switches[0])];
    machine.style.oldest_first = chance_once_in(&style, 3);
    machine.style.stall_in = chance_once_in(&style, 2) ? 0 : (uint64_t)chance_magnitude(&style, 5000, 1000000);
    machine.style.stall_ns = chance_magnitude(&style, MS_NS, 50 * MS_NS);
    machine.style.spurious_in = chance_once_in(&style, 2) ? 0 : 50;
    machine.style.step_ns = chance_magnitude(&style, 20, 400);
}

uint64_t machine_seed(void)
{
    return machine.seed;
}

struct machine_style *machine_style(void)
{
    return &machine.style;
}

void machine_stop(void)
{
    machine.stop = true;
}

int64_t machine_now_ns(void)
{
    return machine.now_ns;
}

void machine_show(void)
{
    static const char *const states[] = {"can run", "runs", "waits", "is held", "is over"};
    for (const struct node *n = machine.nodes; n != NULL; n = n->next)
        for (const struct fiber *f = n->fibers; f != NULL; f = f->next)
            fprintf(stderr, "    %s: %s %s\n", n->name, f->name, states[f->state]);
}

struct fiber *machine_fiber(void)
{
    return machine.running;
}

struct node *machine_node(void)
{
    return machine.running == NULL ? NULL : machine.running->node;
}

uint64_t machine_steps(void)
{
    return machine.steps;
}

const char *machine_last(void)
{
    return machine.last;
}

static void run_one(void)
{
    size_t pick = machine.style.oldest_first ? 0 : (size_t)chance_below(&machine.chance, machine.ready_count);
    struct fiber *f = machine.ready[pick];
    ready_remove(f);
    trace_mix(f->id);
    trace_mix((uint64_t)machine.now_ns);
    f->state = FIBER_RUNNING;
    machine.last = f->name;
    machine.running = f;
    fiber_go(&machine.home, &f->place);
    machine.running = NULL;
    if (f->state != FIBER_DONE)
        return;
    fiber_drop(&f->place);
    if (f->next != NULL || f->prev != NULL || f->node->fibers == f)
        node_remove(f);
    if (f->detached)
        fiber_free(f);
}

bool machine_run(void)
{
    while (!machine.stop) {
        while (machine.event_count > 0 && machine.events[0].at_ns <= machine.now_ns && !machine.stop) {
            struct event e = event_take();
            e.fire(e.context, e.number);
        }
        if (machine.stop)
            break;
        if (machine.ready_count > 0) {
            run_one();
        } else if (machine.event_count > 0) {
            if (machine.events[0].at_ns > machine.now_ns)
                machine.now_ns = machine.events[0].at_ns;
        } else {
            return false;
        }
    }
    return true;
}
