#include "support/turn_rig.h"

#include "base/clock.h"
#include "base/require.h"
#include "support/unit.h"

struct turn_told turn_told[TURN_TOLD_MAX];
size_t turn_told_count;
size_t turn_revoked_events;
size_t turn_assigned_events;
static uint64_t random_state;
static _Atomic int64_t timeout_us;
static _Atomic int64_t retention_us;

static uint32_t next_random(void)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(random_state >> 33);
}

uint32_t turn_below(uint32_t n)
{
    return next_random() % n;
}

static void fill_random(void *context, uint8_t bytes[UUID_BYTES])
{
    (void)context;
    for (int i = 0; i < UUID_BYTES; i += 4)
        put_le32(bytes + i, next_random());
}

static void tell_id(struct group_session session, const char *topic, const char *id)
{
    REQUIRE(turn_told_count < TURN_TOLD_MAX);
    struct turn_told *t = &turn_told[turn_told_count++];
    t->session = session;
    t->over = false;
    (void)snprintf(t->topic, sizeof t->topic, "%s", topic);
    (void)snprintf(t->id, sizeof t->id, "%s", id);
}

struct turn_told *turn_find_told(const char *id)
{
    for (size_t i = turn_told_count; i > 0; i--)
        if (strcmp(turn_told[i - 1].id, id) == 0)
            return &turn_told[i - 1];
    return NULL;
}

static void notify(void *context, const struct group_event *event)
{
    (void)context;
    struct turn_told *t = turn_find_told(event->id);
    if (event->kind == GROUP_EVENT_ASSIGNED) {
        CU_ASSERT_PTR_NULL(t);
        turn_assigned_events++;
        tell_id(event->session, event->topic, event->id);
        return;
    }
    turn_revoked_events++;
    CU_ASSERT_PTR_NOT_NULL_FATAL(t);
    CU_ASSERT_STRING_EQUAL(t->topic, event->topic);
    t->over = true;
}

void machine_propose(struct machine_turn *turn, struct slice key, struct slice value)
{
    buf_le16(&turn->records, (uint16_t)key.len);
    buf_put(&turn->records, key.data, key.len);
    buf_le16(&turn->records, slice_is_absent(value) ? 0xffff : (uint16_t)value.len);
    buf_put(&turn->records, value.data, value.len);
    REQUIRE(!turn->records.bad);
    turn->proposed_count++;
    struct record record = {.key = key, .value = value};
    turn->machine.ops->apply(turn->machine.state, 0, &record);
}

void machine_note(struct machine_turn *turn, struct machine_note *note)
{
    CU_ASSERT_TRUE(turn->proposed_count > 0);
    note->next = NULL;
    *turn->last_note = note;
    turn->last_note = &note->next;
}

void machine_answer(struct machine_turn *turn, struct machine_call *call)
{
    (void)turn;
    (void)call;
    require_failed("the coordinator keeps no call", __FILE__, __LINE__, __func__);
}

struct group_machine *turn_new_group(void)
{
    struct group_options options = {.coordinator = 3,
                                    .session_timeout_us = &timeout_us,
                                    .offsets_retention_us = &retention_us,
                                    .random = fill_random,
                                    .notify = notify};
    struct group_machine *m = group_machine_new(&options);
    CU_ASSERT_PTR_NOT_NULL_FATAL(m);
    return m;
}

struct machine_turn *turn_new(void)
{
    struct machine_turn *turn = calloc(1, sizeof *turn);
    CU_ASSERT_PTR_NOT_NULL_FATAL(turn);
    timeout_us = TURN_TIMEOUT_US;
    retention_us = TURN_RETENTION_US;
    turn_told_count = 0;
    turn_revoked_events = 0;
    turn_assigned_events = 0;
    random_state = 42;
    buf_init(&turn->records, 1u << 30);
    turn->last_note = &turn->notes;
    turn->group = turn_new_group();
    turn->machine = group_machine_ops(turn->group);
    turn->now = (struct machine_now){.mono_us = 1000000, .wall_ms = 1700000000000};
    turn->machine.ops->leads(turn->group, true, &turn->now);
    return turn;
}

void turn_free(struct machine_turn *turn)
{
    group_machine_free(&turn->group);
    buf_fini(&turn->records);
    free(turn);
}

static void commit_turn(struct machine_turn *turn)
{
    for (struct machine_note *n = turn->notes, *next; n != NULL; n = next) {
        next = n->next;
        n->deliver(n, KQ_OK);
    }
    turn->notes = NULL;
    turn->last_note = &turn->notes;
    if (turn->proposed_count > turn->most_proposed)
        turn->most_proposed = turn->proposed_count;
    turn->proposed_count = 0;
    turn->machine.ops->committed(turn->group, &turn->now);
    group_machine_check(turn->group);
}

enum kq_err turn_run(struct machine_turn *turn, struct group_call *call)
{
    bool may_propose = turn->machine.ops->may_propose(&call->call);
    CU_ASSERT_TRUE(turn->machine.ops->call(turn->group, &call->call, turn, &turn->now));
    CU_ASSERT_TRUE(may_propose || turn->proposed_count == 0);
    for (uint32_t i = 0; i < call->id_count; i++) {
        char id[SUBSCRIPTION_ID_TEXT_BYTES];
        tell_id(call->session, call->topic, subscription_id_format(&call->ids[i], id));
    }
    commit_turn(turn);
    turn_pass(turn, 0);
    return call->call.fault.err;
}

/* Moves the clocks; ticks as an actor would. */
void turn_pass(struct machine_turn *turn, int64_t us)
{
    int64_t until_us = turn->now.mono_us + us;
    for (;;) {
        int64_t due_us = turn->machine.ops->deadline_us(turn->group);
        if (due_us > until_us)
            break;
        if (due_us > turn->now.mono_us) {
            turn->now.wall_ms += (due_us - turn->now.mono_us) / 1000;
            turn->now.mono_us = due_us;
        }
        turn->machine.ops->tick(turn->group, turn, &turn->now);
        size_t progress = turn->proposed_count;
        commit_turn(turn);
        CU_ASSERT_TRUE_FATAL(progress > 0 || turn->machine.ops->deadline_us(turn->group) > due_us);
    }
    turn->now.wall_ms += (until_us - turn->now.mono_us) / 1000;
    turn->now.mono_us = until_us;
}

struct group_session turn_session(uint64_t id)
{
    return (struct group_session){.broker_id = 1, .id = id};
}

struct uuid turn_topic_uuid(uint8_t n)
{
    struct uuid id = {{n, 1, 2, 3}};
    return id;
}

/* One topic "t" of so many partitions, in group "g". */
enum kq_err turn_subscribe(struct machine_turn *turn, uint64_t who, uint32_t partitions, uint32_t wanted, uint32_t *got)
{
    struct group_call call = {.verb = GROUP_SUBSCRIBE,
                              .session = turn_session(who),
                              .group = "g",
                              .topic = "t",
                              .topic_id = turn_topic_uuid(1),
                              .partition_count = partitions,
                              .wanted = wanted};
    enum kq_err err = turn_run(turn, &call);
    if (got != NULL)
        *got = call.id_count;
    group_call_fini(&call);
    return err;
}

enum kq_err turn_with_id(struct machine_turn *turn, enum group_verb verb, uint64_t who, const char *topic,
                         const char *id, int64_t off, struct group_call *call)
{
    *call = (struct group_call){.verb = verb, .session = turn_session(who), .topic = topic, .off = off};
    CU_ASSERT_TRUE_FATAL(subscription_id_parse(id, strlen(id), &call->id));
    return turn_run(turn, call);
}

bool turn_id_works(const struct machine_turn *turn, const char *id)
{
    struct subscription_id parsed;
    CU_ASSERT_TRUE_FATAL(subscription_id_parse(id, strlen(id), &parsed));
    return group_find_subscription(turn->group, &parsed.secret) != NULL;
}

bool turn_is_not(void *context, const struct uuid *topic_id)
{
    return !uuid_equal(topic_id, context);
}
