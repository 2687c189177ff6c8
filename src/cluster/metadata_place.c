/*
 * Placement: which brokers hold a partition, so that replicas and preferred leaders
 * are spread. Whoever has least gets the next; of equals they take turns.
 */
#include "base/require.h"
#include "cluster/metadata_state.h"

#include <stdlib.h>

static void count_topic(const struct metadata_topic *t, struct place_load *loads, size_t count)
{
    struct metadata_replica replicas[METADATA_REPLICAS_MAX];
    for (uint32_t p = 0; p < t->partition_count; p++) {
        uint32_t n = metadata_target(t, p, replicas);
        for (uint32_t i = 0; i < n; i++) {
            struct place_load *load = place_find(loads, count, replicas[i].broker);
            if (load == NULL)
                continue;
            load->replicas++;
            load->leaders += i == 0;
        }
    }
}

struct place_load *place_loads(const struct metadata *m, const uint32_t *alive, size_t alive_count)
{
    struct place_load *loads = calloc(m->broker_count + 1, sizeof *loads);
    if (loads == NULL)
        return NULL;
    for (size_t i = 0; i < m->broker_count; i++) {
        loads[i] =
            (struct place_load){.id = m->brokers[i]->id, .alive = alive == NULL, .eligible = !m->brokers[i]->draining};
        for (size_t a = 0; alive != NULL && a < alive_count; a++)
            loads[i].alive |= alive[a] == loads[i].id;
    }
    for (size_t i = 0; i < m->topic_count; i++)
        count_topic(m->topics[i], loads, m->broker_count);
    return loads;
}

struct place_load *place_find(struct place_load *loads, size_t count, uint32_t id)
{
    size_t low = 0;
    size_t high = count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (loads[middle].id == id)
            return &loads[middle];
        if (loads[middle].id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

uint32_t place_eligible(const struct place_load *loads, size_t count, bool dead)
{
    uint32_t n = 0;
    for (size_t i = 0; i < count; i++)
        n += loads[i].eligible && (loads[i].alive || dead);
    return n;
}

/* Whether a is to be taken before b. */
static bool better(const struct place_load *a, const struct place_load *b, bool leader)
{
    if (a->alive != b->alive)
        return a->alive;
    if (leader && a->leaders != b->leaders)
        return a->leaders < b->leaders;
    return a->replicas < b->replicas;
}

/* The best that is eligible and not taken, from place `turn` on; NULL: none. */
static struct place_load *best(struct place_load *loads, size_t count, size_t turn, bool leader)
{
    struct place_load *found = NULL;
    for (size_t i = 0; i < count; i++) {
        struct place_load *load = &loads[(turn + i) % count];
        if (load->eligible && !load->taken && (found == NULL || better(load, found, leader)))
            found = load;
    }
    return found;
}

void place_partition(struct place_load *loads, size_t count, size_t turn, uint32_t replica_count, uint32_t *replicas)
{
    for (size_t i = 0; i < count; i++)
        loads[i].taken = false;
    for (uint32_t i = 0; i < replica_count; i++) {
        struct place_load *load = best(loads, count, turn, i == 0);
        REQUIRE(load != NULL);
        load->taken = true;
        load->replicas++;
        load->leaders += i == 0;
        replicas[i] = load->id;
        turn = (size_t)(load - loads) + 1;
    }
}

uint32_t place_fill(struct place_load *loads, size_t count, uint32_t *list, uint32_t have, uint32_t wanted)
{
    for (size_t i = 0; i < count; i++)
        loads[i].taken = false;
    for (uint32_t i = 0; i < have; i++) {
        struct place_load *load = place_find(loads, count, list[i]);
        if (load != NULL)
            load->taken = true;
    }
    while (have < wanted && have < METADATA_REPLICAS_MAX) {
        struct place_load *load = best(loads, count, 0, false);
        if (load == NULL || !load->alive)
            break;
        load->taken = true;
        load->replicas++;
        list[have++] = load->id;
    }
    return have;
}
