#include "sim/calm.h"

#include "sim/brokers.h"
#include "sim/flips.h"
#include "sim/machine.h"
#include "sim/net.h"

enum { REPLICAS_DEFAULT = 3 };

static const int64_t LOOK_EVERY_NS = 50 * MS_NS, BEFORE_NS = 3 * S_NS;

/* A reader waits so long for a leader, and then takes what there is (forward.timeout is 10 s). */
static const int64_t PATIENCE_NS = 8 * S_NS;

static int64_t doubtful_ns[BROKERS_MAX]; /* when it was so last */

static bool runs(unsigned broker)
{
    return broker_serves(brokers_at(broker)) && !broker_node(brokers_at(broker))->paused;
}

static bool linked(unsigned a, unsigned b)
{
    const struct node *from = broker_node(brokers_at(a)), *to = broker_node(brokers_at(b));
    return a == b || (!net_link(from, to)->cut && !net_link(to, from)->cut);
}

/* Of any replicas: at most as many brokers are out of reach as the smallest group can spare. */
static bool has_majority(unsigned broker)
{
    unsigned count = 0, replicas = brokers_count() < REPLICAS_DEFAULT ? brokers_count() : REPLICAS_DEFAULT;
    for (unsigned i = 1; i <= brokers_count(); i++)
        count += runs(i) && linked(broker, i);
    return runs(broker) && count + (replicas - 1) / 2 >= brokers_count();
}

static void look(void *context, uint64_t number)
{
    (void)context;
    for (unsigned i = 1; i <= brokers_count(); i++)
        if (!has_majority(i))
            doubtful_ns[i - 1] = machine_now_ns();
    machine_at(machine_now_ns() + LOOK_EVERY_NS, look, NULL, number + 1);
}

void calm_start(void)
{
    look(NULL, 0);
}

bool calm_since(unsigned broker, int64_t since_ns)
{
    if (brokers_count() == 1)
        return true;
    return doubtful_ns[broker - 1] < since_ns - BEFORE_NS && machine_now_ns() - since_ns < PATIENCE_NS &&
           !flips_done_to(brokers_at(broker));
}
