/* Stories of damage that is mended in place: bits of one disk change, and what stood there comes back
 * without the replica being filled anew. */
#include "log/segment.h"
#include "sim/disk.h"
#include "sim/flips.h"
#include "sim/judge.h"
#include "sim/scenarios.h"
#include "sim/story.h"
#include "sim/trace.h"

#include <stdio.h>
#include <string.h>

enum { PATH_BYTES = 256, HEAD_SEEN_BYTES = 64, HEADS_BEGIN = 8, MEND_S = 60, TAIL_ROUNDS = 4 };

/* Logs of a data partition on one disk: the first and the last. */
struct logs {
    char first[PATH_BYTES], last[PATH_BYTES];
};

static void see_log(void *context, const char *path)
{
    struct logs *l = context;
    const char *name = strrchr(path, '/');
    size_t len = strlen(path);
    if (strstr(path, "/t0-0/") == NULL || len < 4 || strcmp(path + len - 4, ".log") != 0 || name[1] < '0' ||
        name[1] > '9' || len >= PATH_BYTES)
        return;
    if (l->first[0] == '\0' || strcmp(path, l->first) < 0)
        (void)snprintf(l->first, PATH_BYTES, "%s", path);
    if (strcmp(path, l->last) > 0)
        (void)snprintf(l->last, PATH_BYTES, "%s", path);
}

static struct io_mem *disk_of(unsigned broker)
{
    return disk_mem(broker_node(brokers_at(broker))->disk);
}

static struct logs logs_of(unsigned broker)
{
    struct logs l = {{0}, {0}};
    io_mem_each_durable(disk_of(broker), see_log, &l);
    return l;
}

static bool is_aside(const char *path)
{
    return strstr(path, "/t0-0.stray-") != NULL;
}

static void count_aside(void *context, const char *path)
{
    *(unsigned *)context += is_aside(path);
}

static unsigned files_aside(unsigned broker)
{
    unsigned count = 0;
    io_mem_each_durable(disk_of(broker), count_aside, &count);
    return count;
}

/* A bit of the head changes; what it was until then goes to `was`. False: there is no such file, or no entry in it,
 * without which it cannot be told from one that lost all it had. */
static bool flip_in_head(unsigned broker, const char *path, uint8_t was[HEAD_SEEN_BYTES], struct chance *chance)
{
    uint64_t size_bytes = 0;
    const uint8_t *bytes = io_mem_durable(disk_of(broker), path, &size_bytes);
    if (bytes == NULL || size_bytes < SEGMENT_HEAD_BYTES + ENTRY_HEAD_BYTES ||
        get_le64(bytes + SEGMENT_HEAD_BYTES + ENTRY_LOCAL_BYTES) == 0)
        return false;
    memcpy(was, bytes, HEAD_SEEN_BYTES);
    uint64_t pos = HEADS_BEGIN + chance_below(chance, HEAD_SEEN_BYTES - HEADS_BEGIN);
    io_mem_flip(disk_of(broker), path, pos, (uint8_t)(1U << chance_below(chance, 8)));
    trace_say(TRACE_FAULT, "broker %u: a bit flips in the head of %s at %llu", broker, path, (unsigned long long)pos);
    return true;
}

/* Deleted meanwhile, or as it was. */
static bool head_is(unsigned broker, const char *path, const uint8_t was[HEAD_SEEN_BYTES])
{
    uint64_t size_bytes = 0;
    const uint8_t *bytes = io_mem_durable(disk_of(broker), path, &size_bytes);
    return bytes == NULL || (size_bytes >= HEAD_SEEN_BYTES && memcmp(bytes, was, HEAD_SEEN_BYTES) == 0);
}

static bool head_comes_back(unsigned broker, const char *path, const uint8_t was[HEAD_SEEN_BYTES])
{
    int64_t until_ns = machine_now_ns() + MEND_S * S_NS;
    while (!head_is(broker, path, was) && machine_now_ns() < until_ns)
        story_load(1000);
    if (head_is(broker, path, was))
        return true;
    judge_fails("broker %u: %s had a bit flipped in its head, and has it after %d s", broker, path, (int)MEND_S);
    return false;
}

/* What a head says is known without it: it is made anew, of what is sealed by the scrubber, of what
 * grows by the start that has to read it. */
bool story_heads_are_damaged(struct chance *chance)
{
    uint8_t was[HEAD_SEEN_BYTES];
    if (!story_settles("it begins"))
        return false;
    story_load(8000);
    unsigned ill = 1 + (unsigned)chance_below(chance, brokers_count());
    unsigned aside = files_aside(ill);
    struct logs l = logs_of(ill);
    if (strcmp(l.first, l.last) != 0 && flip_in_head(ill, l.first, was, chance) && !head_comes_back(ill, l.first, was))
        return false;
    broker_die(brokers_at(ill), story_death(chance));
    l = logs_of(ill);
    bool flipped = l.last[0] != '\0' && flip_in_head(ill, l.last, was, chance);
    broker_boot(brokers_at(ill));
    if (flipped && !head_comes_back(ill, l.last, was))
        return false;
    if (!story_settles("heads of segments were damaged"))
        return false;
    if (files_aside(ill) != aside)
        judge_fails("broker %u: a replica was filled anew for a head that can be told without it", ill);
    return judge_verdict() == NULL && story_takes_messages("heads of segments were damaged", 20);
}

/* Of what is not sealed yet, below what was flushed: it is not opened with that, and the others have it. It comes back
 * as the replica that it was, whoever leads. */
bool story_a_tail_is_damaged(struct chance *chance)
{
    if (!story_settles("it begins"))
        return false;
    for (int round = 0; round < TAIL_ROUNDS; round++) {
        unsigned ill = story_wait_for_leader("t0", 0);
        if (ill == 0)
            return false;
        if (chance_once_in(chance, 2))
            ill = story_another(ill, chance);
        story_load(chance_between(chance, 500, 2500));
        unsigned aside = files_aside(ill);
        broker_die(brokers_at(ill), DEATH_POWER);
        for (int64_t i = chance_between(chance, 1, 3); i > 0; i--)
            (void)flips_do_in_tail(brokers_at(ill), "t0", chance);
        if (chance_once_in(chance, 2))
            story_load(chance_between(chance, 100, 3000));
        broker_boot(brokers_at(ill));
        story_load(5000); /* after three seconds a new one would be asked for */
        if (!story_settles("a tail was damaged"))
            return false;
        if (files_aside(ill) != aside) {
            judge_fails("broker %u: a replica was filled anew for damage in its tail that the others can mend", ill);
            return false;
        }
    }
    return story_takes_messages("tails were damaged", 20);
}
