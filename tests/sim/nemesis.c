#include "sim/nemesis.h"

#include "base/require.h"
#include "sim/brokers.h"
#include "sim/clients.h"
#include "sim/disk.h"
#include "sim/flips.h"
#include "sim/frames.h"
#include "sim/leaders.h"
#include "sim/ledger.h"
#include "sim/net.h"
#include "sim/scenarios.h"
#include "sim/trace.h"
#include "sim/variant.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* FORGET_S: before a loss of power, what may not be on the disk yet; far more than the
 * flush interval, as disks stall. FILLED_S: after it, before it is asked whether all is
 * made good. */
enum { STARTS_MAX = 50, FORGET_S = 6, FILLED_S = 8, BEFORE_S = 3 };

enum fault_kind {
    FAULT_KILL,
    FAULT_POWER,
    FAULT_DIE_AT_CALL,
    FAULT_POWER_ALL,
    FAULT_SHUT,
    FAULT_PAUSE,
    FAULT_CUT,
    FAULT_SPLIT,
    FAULT_ALONE,
    FAULT_SLOW_LINK,
    FAULT_SLOW_DISK,
    FAULT_FULL_DISK,
    FAULT_BAD_DISK,
    FAULT_CLOCK_JUMP,
    FAULT_CLOCK_DRIFT,
    FAULT_WIPE,
    FAULT_ORDER,
    FAULT_DRAIN,
    FAULT_TOPIC,
    FAULT_AWAY,
    FAULT_FLIP,
    FAULT_KINDS,
};

static struct {
    struct node *harness;
    struct chance chance;
    unsigned kinds; /* those of this run: 1 << kind */
    int64_t pause_ns;
    bool stop, started, ended;
    struct waiters waiters;
    struct disk_style disks[BROKERS_MAX];
    bool bad_disk[BROKERS_MAX];
    bool drained[BROKERS_MAX];
    int64_t power_ns[BROKERS_MAX]; /* flush = interval: what it had in memory is gone; 0: made good */
    int64_t away_ns[BROKERS_MAX];  /* stays down until then */
    unsigned ill;                  /* whose disk spoils bits: one, so that the others can mend it */
    int64_t wiped_ns;              /* a disk was; until all is whole again no other is. 0: none */
} nemesis;

void nemesis_new(struct node *harness, uint64_t seed, bool hard)
{
    nemesis.harness = harness;
    nemesis.chance = chance_of(seed, 50);
    /* A run has some kinds of faults and not others, so that no kind hides another. */
    for (unsigned kind = 0; kind < FAULT_KINDS; kind++)
        if (chance_once_in(&nemesis.chance, 3))
            nemesis.kinds |= 1U << kind;
    if (chance_once_in(&nemesis.chance, 2))
        nemesis.kinds |= 1U << FAULT_POWER | 1U << FAULT_DIE_AT_CALL;
    if (brokers_count() < 3 || !hard)
        nemesis.kinds &= ~(1U << FAULT_WIPE | 1U << FAULT_ORDER | 1U << FAULT_DRAIN);
    /* Of three, two that remain cannot bear the loss of a disk. */
    if (brokers_count() < 4 || (nemesis.kinds & 1U << FAULT_WIPE) != 0)
        nemesis.kinds &= ~(1U << FAULT_DRAIN);
    /* What is on one disk alone must not be spoilt. */
    if (brokers_count() < 3 || (nemesis.kinds & 1U << FAULT_WIPE) != 0)
        nemesis.kinds &= ~(1U << FAULT_FLIP);
    if (variant()->flush_interval)
        nemesis.kinds = (nemesis.kinds & ~(1U << FAULT_WIPE)) | (brokers_count() >= 3 ? 1U << FAULT_FLIP : 0);
    nemesis.ill = 1 + (unsigned)chance_below(&nemesis.chance, brokers_count());
    nemesis.pause_ns = chance_magnitude(&nemesis.chance, 200, 4000) * MS_NS;
    for (unsigned i = 0; i < brokers_count(); i++)
        nemesis.disks[i] = *disk_style(broker_node(brokers_at(i + 1))->disk);
}

static struct chance *luck(void)
{
    return &nemesis.chance;
}

static struct sim_broker *any(void)
{
    return brokers_at(1 + (unsigned)chance_below(luck(), brokers_count()));
}

static int64_t a_while(int64_t most_ms)
{
    return chance_magnitude(luck(), 1, most_ms) * MS_NS;
}

static enum broker_death any_death(void)
{
    return chance_once_in(luck(), 2) ? DEATH_POWER : DEATH_KILL;
}

/* ---- what forgets with flush = interval -------------------------------------------------- */

/* The first that has forgotten something and may not have it again, but for this one. */
static int64_t forgot_since(const struct sim_broker *but)
{
    int64_t since_ns = 0, last_ns = 0;
    for (unsigned i = 0; i < brokers_count(); i++)
        if (nemesis.power_ns[i] != 0) {
            last_ns = nemesis.power_ns[i] > last_ns ? nemesis.power_ns[i] : last_ns;
            if (i + 1 != broker_number(but) && (since_ns == 0 || nemesis.power_ns[i] < since_ns))
                since_ns = nemesis.power_ns[i];
        }
    if (since_ns == 0 || machine_now_ns() < last_ns + FILLED_S * S_NS || !cluster_settles(0, NULL))
        return since_ns;
    memset(nemesis.power_ns, 0, sizeof nemesis.power_ns);
    return 0;
}

/* What is not on the broker's disk yet is about to be lost. False: that must not be now. */
static bool may_forget(const struct sim_broker *b)
{
    if (!variant()->flush_interval)
        return true;
    int64_t now_ns = machine_now_ns(), since_ns = forgot_since(b);
    bool many = since_ns != 0 || brokers_count() < 3;
    if (many && !variant()->power_of_many)
        return false;
    int64_t *mine_ns = &nemesis.power_ns[broker_number(b) - 1];
    if (many) {
        since_ns = since_ns == 0 ? now_ns : since_ns;
        since_ns = *mine_ns != 0 && *mine_ns < since_ns ? *mine_ns : since_ns;
        clients_may_have_lost(since_ns - FORGET_S * S_NS, now_ns + S_NS);
        ledger_forgive();
    }
    *mine_ns = now_ns;
    return true;
}

static void die(struct sim_broker *b, enum broker_death death)
{
    if (death == DEATH_POWER && !may_forget(b))
        death = DEATH_KILL;
    broker_die(b, death);
}

/* ---- each kind: does it, and mends what would not mend itself ------------------------- */

static void cut_some(void)
{
    const struct node *a = broker_node(any());
    bool clients = brokers_count() == 1 || chance_once_in(luck(), 3);
    const struct node *b = clients ? nemesis.harness : broker_node(any());
    bool one_way = chance_once_in(luck(), 2), other = chance_once_in(luck(), 2);
    if (a == b)
        return;
    net_link(a, b)->cut = !one_way || other;
    net_link(b, a)->cut = !one_way || !other;
    trace_say(TRACE_FAULT, "cut: %s to %s%s", other ? a->name : b->name, other ? b->name : a->name,
              one_way ? ", one way" : " and back");
    fiber_sleep(a_while(4000));
    net_link(a, b)->cut = net_link(b, a)->cut = false;
    trace_say(TRACE_FAULT, "%s and %s are joined again", a->name, b->name);
}

/* Links between the two sides, either way. */
static void cut_sides(unsigned side, bool there, bool back, bool cut)
{
    for (unsigned i = 1; i <= brokers_count(); i++)
        for (unsigned j = 1; j <= brokers_count(); j++)
            if ((side & 1U << i) != 0 && (side & 1U << j) == 0) {
                struct node *a = broker_node(brokers_at(i)), *b = broker_node(brokers_at(j));
                if (there)
                    net_link(a, b)->cut = cut;
                if (back)
                    net_link(b, a)->cut = cut;
            }
}

/* The brokers fall into two parts; clients reach both. */
static void split(unsigned side)
{
    bool one_way = chance_once_in(luck(), 3), there = !one_way || chance_once_in(luck(), 2);
    trace_say(TRACE_FAULT, "split: brokers %x apart from the others%s", side >> 1,
              !one_way ? ""
              : there  ? ", not heard"
                       : ", hear nothing");
    cut_sides(side, there, !one_way || !there, true);
    fiber_sleep(a_while(6000));
    cut_sides(side, true, true, false);
    trace_say(TRACE_FAULT, "the brokers are joined again");
}

/* One that leads something, most of the time. */
static unsigned somebody_important(void)
{
    unsigned leader = ledger_some_leader(chance_roll(luck()));
    return leader != 0 && !chance_once_in(luck(), 4) ? leader : broker_number(any());
}

static void slow_link(void)
{
    const struct node *a = broker_node(any());
    const struct node *b = brokers_count() == 1 ? nemesis.harness : broker_node(any());
    struct net_link was = *net_link(a, b);
    net_link(a, b)->delay_ns = a_while(300);
    net_link(a, b)->jitter_ns = a_while(300);
    net_link(a, b)->lose_in = 1 + chance_below(luck(), 20);
    trace_say(TRACE_FAULT, "slow: %s to %s", a->name, b->name);
    fiber_sleep(a_while(4000));
    *net_link(a, b) = was;
}

static void slow_disk(void)
{
    struct sim_broker *b = any();
    struct disk_style *style = disk_style(broker_node(b)->disk);
    style->sync_ns = a_while(200);
    style->stall_in = 3;
    style->stall_ns = a_while(3000) + 10 * MS_NS;
    trace_say(TRACE_FAULT, "%s has a slow disk", broker_node(b)->name);
    fiber_sleep(a_while(4000));
    *style = nemesis.disks[broker_number(b) - 1];
}

static void full_disk(void)
{
    struct sim_broker *b = any();
    struct io_mem *mem = disk_mem(broker_node(b)->disk);
    uint64_t free_bytes = 0;
    struct io *io = io_mem_io(mem);
    io_mem_set_capacity(mem, UINT64_C(1) << 40);
    (void)io->ops->space(io, "/", &free_bytes);
    uint64_t used = (UINT64_C(1) << 40) - free_bytes;
    io_mem_set_capacity(mem, used + chance_below(luck(), 256 * 1024));
    trace_say(TRACE_FAULT, "%s has a full disk", broker_node(b)->name);
    fiber_sleep(a_while(4000));
    io_mem_set_capacity(mem, 0);
    trace_say(TRACE_FAULT, "%s has room again", broker_node(b)->name);
}

static void bad_disk(void)
{
    struct sim_broker *b = any();
    if (!may_forget(b))
        return;
    struct io_mem *mem = disk_mem(broker_node(b)->disk);
    static const unsigned ops[] = {IO_MEM_SYNC, IO_MEM_WRITE, IO_MEM_SYNC | IO_MEM_WRITE,    IO_MEM_ZERO,
                                   IO_MEM_READ, IO_MEM_OPEN,  IO_MEM_RENAME | IO_MEM_UNLINK, IO_MEM_SYNC_DIR,
                                   IO_MEM_ANY};
    unsigned op = ops[chance_below(luck(), sizeof ops / sizeof ops[0])];
    io_mem_fail(mem, op, chance_below(luck(), 10), EIO, 1 + chance_below(luck(), 5));
    trace_say(TRACE_FAULT, "%s has a bad disk (%x)", broker_node(b)->name, op);
    nemesis.bad_disk[broker_number(b) - 1] = true;
    fiber_sleep(a_while(3000));
    io_mem_fail_not(mem);
    /* What stopped at the failure comes back only with its process. */
    die(b, any_death());
}

static void clock_jump(void)
{
    struct node *node = broker_node(any());
    int64_t by_ns = chance_between(luck(), -12 * 3600, 12 * 3600) * S_NS;
    node->wall_ns += by_ns;
    trace_say(TRACE_FAULT, "%s: its clock jumps by %lld s", node->name, (long long)(by_ns / S_NS));
}

/* Long enough for the log start to pass it by, where there is retention. */
static void be_away(void)
{
    unsigned n = broker_number(any());
    die(brokers_at(n), any_death());
    nemesis.away_ns[n - 1] = machine_now_ns() + a_while(10000);
}

/* Some at once; they show when the power goes, now or some time later. */
static void flip_some(void)
{
    struct sim_broker *b = brokers_at(nemesis.ill);
    for (int64_t left = chance_magnitude(luck(), 1, 8); left > 0; left--)
        (void)flips_do(b, luck());
    if (chance_once_in(luck(), 2))
        broker_die(b, DEATH_POWER);
}

/* flush = interval: one forgets what it has just acknowledged, another was cut off and
 * never had it, and the leader is not there to tell. If both elected, it would be lost. */
static void forget_one(void)
{
    unsigned leader = somebody_important(), n = brokers_count();
    unsigned forgets = leader % n + 1, lags = forgets % n + 1;
    if (chance_once_in(luck(), 2)) {
        unsigned swap = forgets;
        forgets = lags;
        lags = swap;
    }
    struct node *node = broker_node(brokers_at(leader));
    trace_say(TRACE_FAULT, "broker %u lags, broker %u forgets, broker %u is paused", lags, forgets, leader);
    cut_sides(1U << lags, true, true, true);
    fiber_sleep(a_while(1000));
    die(brokers_at(forgets), DEATH_POWER);
    node_pause(node, true);
    cut_sides(1U << lags, true, true, false);
    if (!broker_is_up(brokers_at(forgets)))
        broker_boot(brokers_at(forgets));
    fiber_sleep(a_while(6000));
    if (node->paused)
        node_pause(node, false);
    trace_say(TRACE_FAULT, "%s goes on", node->name);
}

static void stop_one(void)
{
    struct sim_broker *b = any();
    if (!broker_serves(b))
        return;
    broker_shut(b);
}

static void pause_one(void)
{
    struct node *node = broker_node(brokers_at(somebody_important()));
    trace_say(TRACE_FAULT, "%s is paused", node->name);
    node_pause(node, true);
    fiber_sleep(a_while(6000));
    if (node->paused)
        node_pause(node, false);
    trace_say(TRACE_FAULT, "%s goes on", node->name);
}

/* ---- what operators do ------------------------------------------------------------------- */

static void order(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void order(const char *format, ...)
{
    char line[120];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    free(clients_ask(broker_number(any()), line, 2 * S_NS));
}

/* Replicas elsewhere, as many as before; another leader; leaders evenly. */
static void order_something(void)
{
    unsigned topic = (unsigned)chance_below(luck(), clients_plan()->topics);
    unsigned partition = (unsigned)chance_below(luck(), clients_plan()->partitions[topic]);
    unsigned first = broker_number(any()), n = brokers_count();
    switch (chance_below(luck(), 4)) {
    case 0:
        order("CLUS REBALANCE");
        break;
    case 1:
        order("CLUS TRANSFER t%u %u", topic, partition);
        break;
    case 2:
        order("CLUS TRANSFER t%u %u %u", topic, partition, first);
        break;
    default: /* three neighbours */
        order("CLUS MOVE t%u %u %u,%u,%u", topic, partition, first, first % n + 1, (first + 1) % n + 1);
        break;
    }
}

static void drain_one(void)
{
    unsigned n = broker_number(any());
    for (unsigned i = 0; i < brokers_count(); i++)
        if (nemesis.drained[i])
            return;
    order("CLUS DRAIN %u", n);
    nemesis.drained[n - 1] = true;
    fiber_sleep(a_while(6000));
    order("CLUS ADD %u", n);
}

static void topic_comes_or_goes(void)
{
    unsigned n = (unsigned)chance_below(luck(), 2);
    if (chance_once_in(luck(), 2))
        order("CRTP side%u %d", n, 1 + (int)chance_below(luck(), 2));
    else
        order("DELE side%u", n);
    order("PUBS side%u {\"Body\":\"beside\"}", n);
}

/* One at a time: what is on one disk of three may be lost, not what is on two. */
static void wipe_one(void)
{
    struct sim_broker *b = brokers_at(somebody_important());
    if (brokers_count() < 3)
        return;
    if (nemesis.wiped_ns != 0 && (machine_now_ns() < nemesis.wiped_ns + 8 * S_NS || !cluster_settles(0, NULL)))
        return;
    if (nemesis.wiped_ns == 0 && !cluster_settles(0, NULL))
        return; /* every group must have three replicas first */
    broker_die(b, DEATH_POWER);
    broker_wipe(b);
    nemesis.wiped_ns = machine_now_ns();
}

static void do_fault(enum fault_kind kind)
{
    switch (kind) {
    case FAULT_KILL:
        broker_die(brokers_at(somebody_important()), DEATH_KILL);
        break;
    case FAULT_POWER:
        die(brokers_at(somebody_important()), DEATH_POWER);
        break;
    case FAULT_DIE_AT_CALL:
        broker_die_at_call(any(), (uint64_t)chance_magnitude(luck(), 0, 200),
                           variant()->flush_interval ? DEATH_KILL : any_death());
        break;
    case FAULT_POWER_ALL:
        for (unsigned i = 1; i <= brokers_count(); i++)
            die(brokers_at(i), DEATH_POWER);
        break;
    case FAULT_SHUT:
        stop_one();
        break;
    case FAULT_PAUSE:
        pause_one();
        break;
    case FAULT_CUT:
        cut_some();
        break;
    case FAULT_SPLIT:
        split((unsigned)chance_below(luck(), 1U << brokers_count()) << 1);
        break;
    case FAULT_ALONE:
        split(1U << somebody_important());
        break;
    case FAULT_SLOW_LINK:
        slow_link();
        break;
    case FAULT_SLOW_DISK:
        slow_disk();
        break;
    case FAULT_FULL_DISK:
        full_disk();
        break;
    case FAULT_BAD_DISK:
        bad_disk();
        break;
    case FAULT_CLOCK_JUMP:
        clock_jump();
        break;
    case FAULT_CLOCK_DRIFT:
        node_drift(broker_node(any()), chance_between(luck(), -500, 500));
        break;
    case FAULT_WIPE:
        wipe_one();
        break;
    case FAULT_ORDER:
        order_something();
        break;
    case FAULT_DRAIN:
        drain_one();
        break;
    case FAULT_TOPIC:
        topic_comes_or_goes();
        break;
    case FAULT_AWAY:
        be_away();
        break;
    case FAULT_FLIP:
        if (variant()->flush_interval)
            forget_one();
        else
            flip_some();
        break;
    case FAULT_KINDS:
        break;
    }
}

/* ---- all the while -------------------------------------------------------------------------- */

static void boot_the_dead(bool all)
{
    for (unsigned i = 1; i <= brokers_count(); i++)
        if (!broker_is_up(brokers_at(i)) &&
            (all || (machine_now_ns() >= nemesis.away_ns[i - 1] && !chance_once_in(luck(), 3))))
            broker_boot(brokers_at(i));
}

static void *nemesis_main(void *argument)
{
    (void)argument;
    if (variant()->power_of_many)
        fiber_sleep(BEFORE_S * S_NS); /* until the topics are on the disks */
    while (!nemesis.stop) {
        fiber_sleep(1 + (int64_t)chance_below(luck(), (uint64_t)nemesis.pause_ns));
        enum fault_kind kind = (enum fault_kind)chance_below(luck(), FAULT_KINDS);
        if (!nemesis.stop && (nemesis.kinds & 1U << kind) != 0)
            do_fault(kind);
        fiber_sleep(a_while(1000));
        boot_the_dead(false);
    }
    nemesis.ended = true;
    waiters_wake_all(&nemesis.waiters);
    return NULL;
}

void nemesis_start(void)
{
    nemesis.started = true;
    fiber_detach(fiber_start(nemesis.harness, "nemesis", 0, nemesis_main, NULL));
}

/* Until somebody takes the order. */
static void add_again(unsigned broker)
{
    char line[32];
    (void)snprintf(line, sizeof line, "CLUS ADD %u", broker);
    for (int i = 0; i < STARTS_MAX; i++) {
        char *reply = clients_ask(broker_number(any()), line, 2 * S_NS);
        bool done = reply != NULL && strncmp(reply, "Error", 5) != 0;
        free(reply);
        if (done)
            return;
        fiber_sleep(200 * MS_NS);
    }
}

/* What is spoilt is found by the start after a loss of power, by a reader, or by the
 * scrubber; what is not sealed yet is mended behind the next message. */
static void find_what_is_spoilt(void)
{
    struct sim_broker *b = brokers_at(nemesis.ill);
    if (!flips_done_to(b))
        return;
    broker_die(b, DEATH_POWER);
    broker_boot(b);
    fiber_sleep((BROKER_SCRUB_S + 5) * S_NS);
    (void)clients_probe(BROKER_SCRUB_S * S_NS);
    fiber_sleep((2 * BROKER_SCRUB_S + 5) * S_NS);
}

void nemesis_stop(void)
{
    nemesis.stop = true;
    while (nemesis.started && !nemesis.ended)
        (void)fiber_wait(&nemesis.waiters, MACHINE_NEVER);
    trace_say(TRACE_FAULT, "all faults end");
    net_heal();
    frames_heal();
    for (unsigned i = 1; i <= brokers_count(); i++) {
        struct node *node = broker_node(brokers_at(i));
        *disk_style(node->disk) = nemesis.disks[i - 1];
        io_mem_fail_not(disk_mem(node->disk));
        io_mem_set_capacity(disk_mem(node->disk), 0);
        broker_die_at_no_call(brokers_at(i));
        if (node->paused)
            node_pause(node, false);
        node_drift(node, 0);
    }
    /* A start that a fault had spoilt ends by itself; then it is tried again. */
    for (int i = 0; i < STARTS_MAX; i++) {
        boot_the_dead(true);
        bool serve = true;
        for (unsigned n = 1; n <= brokers_count(); n++)
            serve = serve && broker_serves(brokers_at(n));
        if (serve)
            break;
        fiber_sleep(200 * MS_NS);
    }
    leaders_judge();
    /* Twice: an order to drain that nobody answered may be taken late. */
    for (unsigned i = 0; i < 2 * brokers_count(); i++)
        if (nemesis.drained[i % brokers_count()]) {
            add_again(i % brokers_count() + 1);
            fiber_sleep(15 * S_NS);
        }
    find_what_is_spoilt();
}
