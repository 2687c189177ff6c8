/* Starting, watching and ending the witnesses. */
#include "e2e/witness_impl.h"

#include "e2e/e2e.h"
#include "support/checker.h"

#include <inttypes.h>
#include <poll.h>

/* ---- what the threads share ------------------------------------------------------ */

bool lane_connect(struct lane *l)
{
    int size = fleet_size(l->w->spec.fleet);
    for (int tried = 0; tried < size && l->client == NULL; tried++) {
        l->client = fleet_try_client(l->w->spec.fleet, l->broker);
        if (l->client == NULL)
            l->broker = l->broker % size + 1;
    }
    return l->client != NULL;
}

void lane_leave(struct lane *l)
{
    client_close(&l->client);
    l->broker = l->broker % fleet_size(l->w->spec.fleet) + 1;
    atomic_fetch_add(&l->left, 1);
}

void lane_pause(struct lane *l, int wait_ms)
{
    (void)l;
    (void)poll(NULL, 0, wait_ms);
}

void lane_heard(struct lane *l, const char *what, bool forbidden)
{
    (void)pthread_mutex_lock(&l->why_lock);
    (void)snprintf(l->why, sizeof(l->why), "%s", what);
    if (forbidden && l->never[0] == 0)
        (void)snprintf(l->never, sizeof(l->never), "%s", what);
    (void)pthread_mutex_unlock(&l->why_lock);
}

/* ---- begin ------------------------------------------------------------------------------ */

static void begin_lane(struct witness *w, int number, void *(*run)(void *), const char *id)
{
    if (w->lane_count == WITNESS_LANES_MAX)
        harness_fail("more witnesses than there is room for");
    struct lane *l = &w->lanes[w->lane_count++];
    l->w = w;
    l->number = number;
    l->broker = 1 + number % fleet_size(w->spec.fleet);
    l->history = history_new();
    (void)snprintf(l->id, sizeof(l->id), "%s", id);
    (void)pthread_mutex_init(&l->why_lock, NULL);
    if (pthread_create(&l->thread, NULL, run, l) != 0)
        harness_fail("a witness could not be started");
}

struct subscribing {
    struct witness *w;
    char ids[WITNESS_PARTITIONS_MAX][ID_BYTES];
    char why[WITNESS_WHY_BYTES];
};

static bool is_subscribed(void *arg)
{
    struct subscribing *s = arg;
    struct client *c = NULL;
    for (int id = 1; id <= fleet_size(s->w->spec.fleet) && c == NULL; id++)
        c = fleet_runs(s->w->spec.fleet, id) ? fleet_try_client(s->w->spec.fleet, id) : NULL;
    bool done = c != NULL && witness_subscribe(s->w, c, "witnesses", s->ids, s->why, sizeof(s->why));
    client_close(&c);
    return done;
}

struct witness *witness_begin(const struct witness_spec *spec)
{
    struct witness *w = calloc(1, sizeof(*w));
    struct subscribing s = {.w = w};
    if (w == NULL || spec->partitions > WITNESS_PARTITIONS_MAX)
        harness_fail("no room for witnesses");
    w->spec = *spec;
    if (!wait_until(is_subscribed, &s, REPLY_MS)) {
        fprintf(stderr, "\n  SUBS: %s\n", s.why);
        harness_fail("the witnesses could not subscribe");
    }
    for (int p = 0; p < spec->partitions; p++)
        begin_lane(w, p, witness_tail, s.ids[p]);
    for (int i = 0; i < spec->publishers; i++)
        begin_lane(w, i, witness_publisher, "");
    for (int i = 0; i < spec->plain; i++)
        begin_lane(w, i, witness_plain, "");
    return w;
}

/* ---- watching ----------------------------------------------------------------------------- */

struct witness_account witness_account(const struct witness *w)
{
    struct witness_account a = {0};
    for (int i = 0; i < w->lane_count; i++) {
        const struct lane *l = &w->lanes[i];
        a.acked += atomic_load(&l->acked);
        a.errors += atomic_load(&l->errors);
        a.unknown += atomic_load(&l->unknown);
        a.left += atomic_load(&l->left);
        a.plain_failed += atomic_load(&l->failed);
        a.tailed += atomic_load(&l->shown);
        if (atomic_load(&l->longest_us) > a.longest_us)
            a.longest_us = atomic_load(&l->longest_us);
    }
    return a;
}

struct advance {
    const struct witness *w;
    int64_t acked;
};

static bool has_advanced(void *arg)
{
    const struct advance *a = arg;
    return witness_account(a->w).acked >= a->acked;
}

static void print_heard(struct witness *w)
{
    for (int i = 0; i < w->lane_count; i++) {
        struct lane *l = &w->lanes[i];
        (void)pthread_mutex_lock(&l->why_lock);
        if (l->why[0] != 0)
            fprintf(stderr, "  witness %d heard last: %.250s\n", i, l->why);
        (void)pthread_mutex_unlock(&l->why_lock);
    }
}

bool witness_advances(struct witness *w, int more, int wait_ms)
{
    struct advance a = {.w = w, .acked = witness_account(w).acked + more};
    bool advanced = wait_until(has_advanced, &a, wait_ms);
    if (!advanced) {
        fprintf(stderr, "\n%" PRId64 " of %d more were acknowledged within %d ms\n",
                witness_account(w).acked + more - a.acked, more, wait_ms);
        print_heard(w);
    }
    return advanced;
}

bool witness_stands(struct witness *w, int most, int wait_ms)
{
    struct advance a = {.w = w, .acked = witness_account(w).acked + most + 1};
    return !wait_until(has_advanced, &a, wait_ms);
}

/* ---- the end -------------------------------------------------------------------------------- */

struct final_reading {
    struct witness *w;
    int broker;
    uint32_t process;
    struct history *history;
    char why[WITNESS_WHY_BYTES];
};

static bool is_read(void *arg)
{
    struct final_reading *r = arg;
    r->process++;
    return witness_read_all(r->w, r->broker, r->history, r->process, r->why, sizeof(r->why));
}

static void read_everywhere(struct witness *w, struct history *h)
{
    struct final_reading r = {.w = w, .process = PROCESS_FINAL, .history = h};
    history_final(h, now_us());
    for (r.broker = 1; r.broker <= fleet_size(w->spec.fleet); r.broker++) {
        if (!fleet_runs(w->spec.fleet, r.broker) || wait_until(is_read, &r, WITNESS_FINISH_MS))
            continue;
        fprintf(stderr, "\n  broker %d: %.250s\n", r.broker, r.why);
        CU_FAIL("what is there could not be read at the end");
    }
}

static void join(struct witness *w, struct history *h)
{
    for (int i = 0; i < w->lane_count; i++) {
        struct lane *l = &w->lanes[i];
        (void)pthread_join(l->thread, NULL);
        if (atomic_load(&l->unfinished)) {
            fprintf(stderr, "\n  witness %d could not finish: %.250s\n", i, l->why);
            CU_FAIL("something was under way and never answered");
        }
        if (l->never[0] != 0) {
            fprintf(stderr, "\n  witness %d heard: %.250s\n", i, l->never);
            CU_FAIL("an answer that must not be");
        }
        history_merge(h, l->history);
        history_free(&l->history);
        (void)pthread_mutex_destroy(&l->why_lock);
    }
}

void witness_end(struct witness **witness)
{
    struct witness *w = *witness;
    struct witness_account a = witness_account(w);
    struct history *all = history_new();
    struct check_report report;
    atomic_store(&w->stop, true);
    join(w, all);
    history_dense(all);
    read_everywhere(w, all);
    bool good = checker_judge(all, &report);
    if (!good)
        checker_print(&report, all, stderr);
    CU_ASSERT(good);
    printf("\n    %" PRIu64 " sent, %" PRId64 " acknowledged, %" PRId64 " errors (%" PRId64 " unknown), %" PRId64
           " refused PUBS, %" PRId64 " brokers left, longest wait %.2f s ... ",
           report.sends, a.acked, a.errors, a.unknown, a.plain_failed, a.left, (double)a.longest_us / 1e6);
    history_free(&all);
    free(w);
    *witness = NULL;
}
