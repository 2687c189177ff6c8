/*
 * Changes of who holds what: the operator's orders, and what brokers report of it.
 *
 * An order only says what is wanted, for all partitions at once; each group's leader
 * brings it about at its own pace. A list that is changed while an earlier change is
 * under way keeps everybody who may be in the group's configuration in `present`.
 */
#include "cluster/metadata.h"

#include "base/require.h"
#include "cluster/metadata_state.h"

#include <stdlib.h>

/* ---- one partition --------------------------------------------------------------------- */

static struct metadata_partition held(const struct metadata_topic *t, uint32_t p)
{
    if (t->changed != NULL && t->changed[p] != NULL)
        return *t->changed[p];
    struct metadata_partition h = {.changes = 1};
    h.present_count = metadata_present(t, p, h.present);
    return h;
}

static void propose_held(struct metadata *m, struct machine_turn *turn, const struct metadata_topic *t, uint32_t p,
                         const struct metadata_partition *h)
{
    metadata_propose(
        m, turn,
        &(struct metadata_record){.type = METADATA_RECORD_PARTITION, .topic_id = t->id, .partition = p, .holders = *h});
}

static const struct metadata_replica *find_replica(const struct metadata_replica *list, uint32_t count, uint32_t broker)
{
    for (uint32_t i = 0; i < count; i++)
        if (list[i].broker == broker)
            return &list[i];
    return NULL;
}

static struct uuid fresh_mix(struct metadata_partition *h)
{
    struct uuid mix = {{0}};
    put_le32(mix.bytes + UUID_BYTES - 4, h->changes++);
    return mix;
}

static bool same_brokers(const struct metadata_replica *list, uint32_t count, const uint32_t *brokers,
                         uint32_t broker_count)
{
    bool same = count == broker_count;
    for (uint32_t i = 0; i < count && same; i++)
        same = find_replica(list, count, brokers[i]) != NULL;
    return same;
}

/* Who holds it now or is about to goes on with what it has; others get a new replica.
 * False: the lists together are too long. */
static bool want(struct metadata *m, struct machine_turn *turn, const struct metadata_topic *t, uint32_t p,
                 const uint32_t *brokers, uint32_t count)
{
    struct metadata_partition h = held(t, p);
    struct metadata_replica list[METADATA_REPLICAS_MAX];
    for (uint32_t i = 0; i < h.wanted_count; i++) {
        if (find_replica(h.present, h.present_count, h.wanted[i].broker) != NULL)
            continue;
        if (h.present_count == METADATA_REPLICAS_MAX)
            return false;
        h.present[h.present_count++] = h.wanted[i];
    }
    for (uint32_t i = 0; i < count; i++) {
        const struct metadata_replica *known = find_replica(h.present, h.present_count, brokers[i]);
        list[i] = known != NULL ? *known : (struct metadata_replica){.broker = brokers[i], .mix = fresh_mix(&h)};
    }
    h.changes++;
    bool only_order = h.wanted_count == 0 && same_brokers(h.present, h.present_count, brokers, count);
    memcpy(only_order ? h.present : h.wanted, list, count * sizeof *list);
    h.wanted_count = only_order ? 0 : count;
    propose_held(m, turn, t, p, &h);
    return true;
}

static uint32_t target_brokers(const struct metadata_topic *t, uint32_t p, uint32_t brokers[METADATA_REPLICAS_MAX])
{
    struct metadata_replica list[METADATA_REPLICAS_MAX];
    uint32_t count = metadata_target(t, p, list);
    for (uint32_t i = 0; i < count; i++)
        brokers[i] = list[i].broker;
    return count;
}

static uint32_t without(uint32_t *list, uint32_t count, uint32_t broker)
{
    uint32_t left = 0;
    for (uint32_t i = 0; i < count; i++)
        if (list[i] != broker)
            list[left++] = list[i];
    return left;
}

/* ---- orders over many partitions --------------------------------------------------------- */

struct plan {
    struct metadata *m;
    struct metadata_call *call;
    struct machine_turn *turn;
    struct place_load *loads;
    size_t broker_count;
};

/* The one of the list with the fewest preferred leaders comes first, where that is a gain. */
static void balance_leader(struct plan *plan, uint32_t *list, uint32_t count)
{
    struct place_load *first = place_find(plan->loads, plan->broker_count, list[0]);
    uint32_t to = 0;
    for (uint32_t i = 1; i < count; i++) {
        const struct place_load *load = place_find(plan->loads, plan->broker_count, list[i]);
        const struct place_load *chosen = place_find(plan->loads, plan->broker_count, list[to]);
        if (load == NULL || !load->eligible)
            continue;
        if (chosen == NULL || !chosen->eligible || load->leaders + (to == 0) < chosen->leaders)
            to = i;
    }
    if (to == 0)
        return;
    uint32_t swapped = list[0];
    list[0] = list[to];
    list[to] = swapped;
    place_find(plan->loads, plan->broker_count, list[0])->leaders++;
    if (first != NULL)
        first->leaders--;
}

/* A replica moves from who has most to who has least, where that is a gain. */
static void balance_replicas(struct plan *plan, uint32_t *list, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        struct place_load *from = place_find(plan->loads, plan->broker_count, list[i]);
        struct place_load *to = NULL;
        for (size_t b = 0; b < plan->broker_count; b++) {
            struct place_load *load = &plan->loads[b];
            bool in_list = false;
            for (uint32_t k = 0; k < count; k++)
                in_list |= list[k] == load->id;
            if (!in_list && load->alive && load->eligible && (to == NULL || load->replicas < to->replicas))
                to = load;
        }
        bool leaves = from == NULL || !from->eligible;
        if (to == NULL || (!leaves && to->replicas + 1 >= from->replicas))
            continue;
        to->replicas++;
        to->leaders += i == 0;
        if (from != NULL) {
            from->replicas--;
            from->leaders -= i == 0;
        }
        list[i] = to->id;
    }
}

/* What the plan makes of one list; the new count. */
typedef uint32_t plan_list(struct plan *plan, const struct metadata_topic *t, uint32_t *list, uint32_t count);

static uint32_t plan_balance(struct plan *plan, const struct metadata_topic *t, uint32_t *list, uint32_t count)
{
    count = place_fill(plan->loads, plan->broker_count, list, count, t->desired_count);
    balance_replicas(plan, list, count);
    balance_leader(plan, list, count);
    return count;
}

static uint32_t plan_leave(struct plan *plan, const struct metadata_topic *t, uint32_t *list, uint32_t count)
{
    uint32_t left = without(list, count, plan->call->broker.id);
    (void)t;
    return left == count ? count : place_fill(plan->loads, plan->broker_count, list, left, count);
}

static uint32_t plan_grow(struct plan *plan, const struct metadata_topic *t, uint32_t *list, uint32_t count)
{
    if (!t->internal)
        return count;
    uint32_t grown = place_fill(plan->loads, plan->broker_count, list, count, METADATA_DEFAULT_REPLICAS);
    if (grown > count)
        balance_leader(plan, list, grown);
    return grown;
}

static void carry_out(struct plan *plan, plan_list *change)
{
    struct metadata *m = plan->m;
    for (size_t i = 0; i < m->topic_count; i++)
        for (uint32_t p = 0; p < m->topics[i]->partition_count; p++) {
            const struct metadata_topic *t = m->topics[i];
            uint32_t before[METADATA_REPLICAS_MAX];
            uint32_t list[METADATA_REPLICAS_MAX];
            uint32_t had = target_brokers(t, p, before);
            memcpy(list, before, had * sizeof *list);
            uint32_t count = change(plan, t, list, had);
            REQUIRE(count > 0);
            if ((count != had || memcmp(list, before, count * sizeof *list) != 0) &&
                want(m, plan->turn, t, p, list, count))
                plan->call->count++;
        }
}

/* Whether some partition would be left with nobody; *fault names it. */
static bool is_last(const struct plan *plan, struct fault *fault)
{
    const struct metadata *m = plan->m;
    uint32_t leaver = plan->call->broker.id;
    for (size_t i = 0; i < m->topic_count; i++)
        for (uint32_t p = 0; p < m->topics[i]->partition_count; p++) {
            uint32_t list[METADATA_REPLICAS_MAX];
            uint32_t count = target_brokers(m->topics[i], p, list);
            bool alone = count == 1 && list[0] == leaver;
            const struct place_load *self = place_find(plan->loads, plan->broker_count, leaver);
            uint32_t others = place_eligible(plan->loads, plan->broker_count, false) -
                              (self != NULL && self->alive && self->eligible);
            if (!alone || (others > 0 && self != NULL && self->alive))
                continue;
            (void)fault_set(fault, KQ_BAD_REPLICAS,
                            "broker %u holds the last replica of %.100s/%u, %s; nothing was changed", leaver,
                            m->topics[i]->name, p,
                            self != NULL && self->alive ? "and no other broker could take it: add one"
                                                        : "and cannot be reached: start it, or delete the topic");
            return true;
        }
    return false;
}

static bool holds_any(const struct metadata *m, uint32_t broker, bool target_only)
{
    for (size_t i = 0; i < m->topic_count; i++)
        for (uint32_t p = 0; p < m->topics[i]->partition_count; p++) {
            struct metadata_replica list[METADATA_REPLICAS_MAX];
            uint32_t count = metadata_target(m->topics[i], p, list);
            if (find_replica(list, count, broker) != NULL)
                return true;
            count = metadata_present(m->topics[i], p, list);
            if (!target_only && find_replica(list, count, broker) != NULL)
                return true;
        }
    return false;
}

static void set_draining(struct plan *plan, bool draining)
{
    uint32_t id = plan->call->broker.id;
    place_find(plan->loads, plan->broker_count, id)->eligible = !draining;
    if (metadata_find_broker(plan->m, id)->draining != draining)
        metadata_propose(plan->m, plan->turn,
                         &(struct metadata_record){
                             .type = METADATA_RECORD_BROKER_STATE, .broker = {.id = id}, .draining = draining});
}

static void drain(struct plan *plan)
{
    if (plan->broker_count == 1) {
        (void)fault_set(&plan->call->call.fault, KQ_BAD_REPLICAS,
                        "broker %u is the only one: there is nowhere to move its replicas", plan->call->broker.id);
        return;
    }
    if (is_last(plan, &plan->call->call.fault))
        return;
    set_draining(plan, true);
    carry_out(plan, plan_leave);
}

static void remove_broker(struct plan *plan)
{
    struct fault *fault = &plan->call->call.fault;
    uint32_t id = plan->call->broker.id;
    bool alive = place_find(plan->loads, plan->broker_count, id)->alive;
    if (plan->broker_count == 1) {
        (void)fault_set(fault, KQ_BAD_REPLICAS, "broker %u is the only one; it cannot be removed", id);
        return;
    }
    if (alive && holds_any(plan->m, id, false)) {
        (void)fault_set(fault, KQ_INVALID,
                        "broker %u still holds replicas, and was heard a moment ago; drain it first, and wait until it "
                        "is empty, or try again when it has been dead for some seconds",
                        id);
        return;
    }
    if (is_last(plan, fault))
        return;
    place_find(plan->loads, plan->broker_count, id)->eligible = false;
    carry_out(plan, plan_leave);
    struct uuid incarnation = metadata_find_broker(plan->m, id)->incarnation;
    metadata_propose(plan->m, plan->turn,
                     &(struct metadata_record){.type = METADATA_RECORD_BROKER, .gone = true, .broker = {.id = id}});
    metadata_propose(plan->m, plan->turn,
                     &(struct metadata_record){.type = METADATA_RECORD_BROKER_STATE,
                                               .broker = {.id = id, .incarnation = incarnation},
                                               .removed = true});
}

/* ---- one partition, by hand ----------------------------------------------------------------- */

static bool check_move(const struct plan *plan, const struct metadata_topic *t)
{
    const struct metadata_call *call = plan->call;
    struct fault *fault = &plan->call->call.fault;
    struct metadata_replica now[METADATA_REPLICAS_MAX];
    if (call->partition >= t->partition_count)
        return fault_set(fault, KQ_INVALID, "topic %.100s has partitions 0 to %u only", t->name,
                         t->partition_count - 1) == KQ_OK;
    if (call->broker_count == 0 || call->broker_count > METADATA_REPLICAS_MAX)
        return fault_set(fault, KQ_BAD_REPLICAS,
                         "a partition has 1 to %d replicas: the last one cannot be taken away; DELE removes the topic",
                         METADATA_REPLICAS_MAX) == KQ_OK;
    uint32_t count = metadata_target(t, call->partition, now);
    for (uint32_t i = 0; i < call->broker_count; i++) {
        uint32_t id = call->brokers[i];
        const struct place_load *load = place_find(plan->loads, plan->broker_count, id);
        if (load == NULL)
            return fault_set(fault, KQ_NOT_FOUND, "there is no broker %u in this cluster", id) == KQ_OK;
        for (uint32_t k = 0; k < i; k++)
            if (call->brokers[k] == id)
                return fault_set(fault, KQ_INVALID, "broker %u is named twice", id) == KQ_OK;
        bool holds = find_replica(now, count, id) != NULL;
        if (!holds && !load->alive)
            return fault_set(fault, KQ_INVALID, "broker %u cannot be reached; it cannot take a replica now", id) ==
                   KQ_OK;
        if (!holds && !load->eligible)
            return fault_set(fault, KQ_INVALID,
                             "broker %u is being drained; `kafkaesque cluster add %u` makes it take replicas again", id,
                             id) == KQ_OK;
    }
    return true;
}

static void move(struct plan *plan)
{
    struct metadata_call *call = plan->call;
    struct fault *fault = &call->call.fault;
    const struct metadata_topic *t = metadata_find_topic(plan->m, call->topic);
    if (t == NULL) {
        fault->err = KQ_UNKNOWN_TOPIC;
        return;
    }
    if (!check_move(plan, t))
        return;
    uint32_t now[METADATA_REPLICAS_MAX];
    uint32_t count = target_brokers(t, call->partition, now);
    if (count == call->broker_count && memcmp(now, call->brokers, count * sizeof *now) == 0)
        return;
    call->count = 1;
    if (!want(plan->m, plan->turn, t, call->partition, call->brokers, call->broker_count))
        (void)fault_set(fault, KQ_LIMIT, "too many changes of %.100s/%u are under way; wait for them, and try again",
                        t->name, call->partition);
}

static void run_order(struct plan *plan)
{
    switch (plan->call->order) {
    case CLUSTER_ADD_BROKER:
        set_draining(plan, false);
        carry_out(plan, plan_balance);
        break;
    case CLUSTER_DRAIN_BROKER:
        drain(plan);
        break;
    case CLUSTER_REMOVE_BROKER:
        remove_broker(plan);
        break;
    case CLUSTER_MOVE:
        move(plan);
        break;
    case CLUSTER_REBALANCE:
        carry_out(plan, plan_balance);
        break;
    case CLUSTER_TRANSFER:
        REQUIRE(false); /* the leader's business */
    }
}

void metadata_order(struct metadata *m, struct metadata_call *call, struct machine_turn *turn)
{
    bool of_broker = call->order == CLUSTER_ADD_BROKER || call->order == CLUSTER_DRAIN_BROKER ||
                     call->order == CLUSTER_REMOVE_BROKER;
    call->count = 0;
    if (of_broker && metadata_find_broker(m, call->broker.id) == NULL) {
        (void)fault_set(&call->call.fault, KQ_NOT_FOUND,
                        "there is no broker %u in this cluster; one joins when it is started with --peers naming "
                        "itself and a broker of the cluster",
                        call->broker.id);
        return;
    }
    struct plan plan = {.m = m,
                        .call = call,
                        .turn = turn,
                        .loads = place_loads(m, call->alive, call->alive_count),
                        .broker_count = m->broker_count};
    if (plan.loads == NULL)
        (void)fault_set(&call->call.fault, KQ_NO_MEMORY, "out of memory");
    else
        run_order(&plan);
    free(plan.loads);
}

static bool must_grow(const struct metadata *m, const struct place_load *loads)
{
    uint32_t could = place_eligible(loads, m->broker_count, false);
    if (could > METADATA_DEFAULT_REPLICAS)
        could = METADATA_DEFAULT_REPLICAS;
    for (size_t i = 0; i < m->topic_count; i++)
        if (m->topics[i]->internal && m->topics[i]->desired_count < could)
            return true;
    return false;
}

static void desire(struct metadata *m, struct machine_turn *turn, const struct metadata_topic *t, uint32_t desired)
{
    struct metadata_record r = {.type = METADATA_RECORD_TOPIC,
                                .topic_id = t->id,
                                .internal = t->internal,
                                .partition_count = t->partition_count,
                                .replica_count = t->replica_count,
                                .replicas = t->replicas,
                                .desired_count = desired,
                                .founder_count = t->founder_count,
                                .founders = t->founders};
    memcpy(r.topic, t->name, sizeof r.topic);
    metadata_propose(m, turn, &r);
}

void metadata_grow(struct metadata *m, struct metadata_call *call, struct machine_turn *turn)
{
    struct plan plan = {.m = m,
                        .call = call,
                        .turn = turn,
                        .loads = place_loads(m, call->alive, call->alive_count),
                        .broker_count = m->broker_count};
    call->count = 0;
    if (plan.loads != NULL && must_grow(m, plan.loads)) {
        uint32_t could = place_eligible(plan.loads, m->broker_count, false);
        for (size_t i = 0; i < m->topic_count; i++)
            if (m->topics[i]->internal && m->topics[i]->desired_count < METADATA_DEFAULT_REPLICAS)
                desire(m, turn, m->topics[i], could < METADATA_DEFAULT_REPLICAS ? could : METADATA_DEFAULT_REPLICAS);
        carry_out(&plan, plan_grow);
    }
    free(plan.loads);
}

/* ---- what brokers report ----------------------------------------------------------------------- */

static const struct metadata_topic *reported(const struct metadata *m, const struct metadata_call *call)
{
    const struct metadata_topic *t = metadata_find_id(m, &call->topic_id);
    return t != NULL && call->partition < t->partition_count ? t : NULL;
}

void metadata_settled(struct metadata *m, struct metadata_call *call, struct machine_turn *turn)
{
    const struct metadata_topic *t = reported(m, call);
    if (t == NULL)
        return;
    struct metadata_partition h = held(t, call->partition);
    bool as_wanted = h.wanted_count > 0 && h.wanted_count == call->replica_count && h.changes == call->count;
    for (uint32_t i = 0; i < call->replica_count && as_wanted; i++) {
        const struct metadata_replica *wanted = find_replica(h.wanted, h.wanted_count, call->replica[i].broker);
        as_wanted = wanted != NULL && uuid_equal(&wanted->mix, &call->replica[i].mix);
    }
    if (!as_wanted)
        return;
    memcpy(h.present, h.wanted, h.wanted_count * sizeof h.present[0]);
    h.present_count = h.wanted_count;
    h.wanted_count = 0;
    propose_held(m, turn, t, call->partition, &h);
}

static bool swap_mix(struct metadata_replica *list, uint32_t count, const struct metadata_replica *lost,
                     const struct uuid *mix)
{
    for (uint32_t i = 0; i < count; i++)
        if (list[i].broker == lost->broker && uuid_equal(&list[i].mix, &lost->mix)) {
            list[i].mix = *mix;
            return true;
        }
    return false;
}

void metadata_replace(struct metadata *m, struct metadata_call *call, struct machine_turn *turn)
{
    const struct metadata_topic *t = reported(m, call);
    if (t == NULL || call->replica_count != 1)
        return;
    struct metadata_partition h = held(t, call->partition);
    struct uuid mix = fresh_mix(&h);
    uint32_t wanted = h.wanted_count > 0 ? h.wanted_count : h.present_count;
    if (wanted < 2) /* with nobody to fill it from */
        return;
    bool found = swap_mix(h.present, h.present_count, &call->replica[0], &mix);
    found = swap_mix(h.wanted, h.wanted_count, &call->replica[0], &mix) || found;
    if (found)
        propose_held(m, turn, t, call->partition, &h);
}

static const struct metadata_replica *find_target(const struct metadata_partition *h,
                                                  const struct metadata_replica *replica)
{
    bool moving = h->wanted_count > 0;
    const struct metadata_replica *found =
        find_replica(moving ? h->wanted : h->present, moving ? h->wanted_count : h->present_count, replica->broker);
    return found != NULL && uuid_equal(&found->mix, &replica->mix) ? found : NULL;
}

void metadata_rehouse(struct metadata *m, struct metadata_call *call, struct machine_turn *turn)
{
    const struct metadata_topic *t = reported(m, call);
    call->count = 0;
    if (t == NULL || call->replica_count != 1)
        return;
    struct metadata_partition h = held(t, call->partition);
    struct place_load *loads = place_loads(m, call->alive, call->alive_count);
    if (loads == NULL || find_target(&h, &call->replica[0]) == NULL) {
        free(loads);
        return;
    }
    uint32_t list[METADATA_REPLICAS_MAX];
    uint32_t leaver = call->replica[0].broker;
    uint32_t had = target_brokers(t, call->partition, list);
    uint32_t left = without(list, had, leaver);
    struct place_load *self = place_find(loads, m->broker_count, leaver);
    if (self != NULL)
        self->eligible = false;
    if (had > 1 && place_fill(loads, m->broker_count, list, left, had) == had)
        call->count = want(m, turn, t, call->partition, list, had);
    free(loads);
}

void metadata_own(struct metadata *m, struct metadata_call *call, struct machine_turn *turn)
{
    const struct metadata_topic *t = reported(m, call);
    if (t == NULL || call->replica_count != 1 || t->founder_count > 0)
        return;
    struct metadata_partition h = held(t, call->partition);
    if (h.present_count != 1 || h.present[0].broker != call->replica[0].broker || !uuid_is_zero(&h.present[0].mix))
        return;
    h.present[0].mix = call->replica[0].mix;
    (void)swap_mix(h.wanted, h.wanted_count, &(struct metadata_replica){.broker = h.present[0].broker},
                   &h.present[0].mix);
    propose_held(m, turn, t, call->partition, &h);
}
