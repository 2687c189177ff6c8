/* The coordinator of groups, driven without threads: this file is its actor. */
#include "base/bytes.h"
#include "base/clock.h"
#include "base/require.h"
#include "base/slice.h"
#include "group/assign.h"
#include "group/group_state.h"
#include "support/unit.h"

#include <stdio.h>

enum { TOLD_MAX = 200000, TIMEOUT_US = 300 * 1000000, RETENTION_US = 1000 * 1000000 };

/* ---- an actor of a few lines ---------------------------------------------------- */

struct machine_turn {
    struct machine machine;
    struct group_machine *group;
    struct machine_now now;
    struct buf records; /* u16 key length, key, u16 value length or 0xffff, value */
    struct machine_note *notes;
    struct machine_note **last_note;
    size_t proposed_count; /* in this turn */
    size_t most_proposed;  /* in any turn so far */
};

/* What sessions were told: a subscription, or that it is revoked. */
struct told {
    struct group_session session;
    char id[SUBSCRIPTION_ID_TEXT_BYTES];
    char topic[64];
    bool over; /* given back or revoked: it must never work again */
};
static struct told told[TOLD_MAX];
static size_t told_count;
static size_t revoked_events;
static size_t assigned_events;
static uint64_t random_state;

static _Atomic int64_t timeout_us;
static _Atomic int64_t retention_us;

static uint32_t next_random(void)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(random_state >> 33);
}

static uint32_t below(uint32_t n)
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
    REQUIRE(told_count < TOLD_MAX);
    struct told *t = &told[told_count++];
    t->session = session;
    t->over = false;
    (void)snprintf(t->topic, sizeof t->topic, "%s", topic);
    (void)snprintf(t->id, sizeof t->id, "%s", id);
}

static struct told *find_told(const char *id)
{
    for (size_t i = told_count; i > 0; i--)
        if (strcmp(told[i - 1].id, id) == 0)
            return &told[i - 1];
    return NULL;
}

static void notify(void *context, const struct group_event *event)
{
    (void)context;
    struct told *t = find_told(event->id);
    if (event->kind == GROUP_EVENT_ASSIGNED) {
        CU_ASSERT_PTR_NULL(t);
        assigned_events++;
        tell_id(event->session, event->topic, event->id);
        return;
    }
    revoked_events++;
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
    REQUIRE(!"the coordinator keeps no call");
}

static struct group_machine *new_group(void)
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

static struct machine_turn *actor_new(void)
{
    struct machine_turn *turn = calloc(1, sizeof *turn);
    CU_ASSERT_PTR_NOT_NULL_FATAL(turn);
    timeout_us = TIMEOUT_US;
    retention_us = RETENTION_US;
    told_count = 0;
    revoked_events = 0;
    assigned_events = 0;
    random_state = 42;
    buf_init(&turn->records, 1u << 30);
    turn->last_note = &turn->notes;
    turn->group = new_group();
    turn->machine = group_machine_ops(turn->group);
    turn->now = (struct machine_now){.mono_us = 1000000, .wall_ms = 1700000000000};
    turn->machine.ops->leads(turn->group, true, &turn->now);
    return turn;
}

static void actor_free(struct machine_turn *turn)
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

static void pass(struct machine_turn *turn, int64_t us);

static enum kq_err run(struct machine_turn *turn, struct group_call *call)
{
    bool may_propose = turn->machine.ops->may_propose(&call->call);
    CU_ASSERT_TRUE(turn->machine.ops->call(turn->group, &call->call, turn, &turn->now));
    CU_ASSERT_TRUE(may_propose || turn->proposed_count == 0);
    for (uint32_t i = 0; i < call->id_count; i++) {
        char id[SUBSCRIPTION_ID_TEXT_BYTES];
        tell_id(call->session, call->topic, subscription_id_format(&call->ids[i], id));
    }
    commit_turn(turn);
    pass(turn, 0);
    return call->call.fault.err;
}

/* Moves the clocks; ticks as an actor would. */
static void pass(struct machine_turn *turn, int64_t us)
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

static struct group_session session(uint64_t id)
{
    return (struct group_session){.broker_id = 1, .id = id};
}

static struct uuid topic_uuid(uint8_t n)
{
    struct uuid id = {{n, 1, 2, 3}};
    return id;
}

/* One topic "t" of so many partitions, in group "g". */
static enum kq_err subscribe(struct machine_turn *turn, uint64_t who, uint32_t partitions, uint32_t wanted,
                             uint32_t *got)
{
    struct group_call call = {.verb = GROUP_SUBSCRIBE,
                              .session = session(who),
                              .group = "g",
                              .topic = "t",
                              .topic_id = topic_uuid(1),
                              .partition_count = partitions,
                              .wanted = wanted};
    enum kq_err err = run(turn, &call);
    if (got != NULL)
        *got = call.id_count;
    group_call_fini(&call);
    return err;
}

static enum kq_err with_id(struct machine_turn *turn, enum group_verb verb, uint64_t who, const char *topic,
                           const char *id, int64_t off, struct group_call *call)
{
    *call = (struct group_call){.verb = verb, .session = session(who), .topic = topic, .off = off};
    CU_ASSERT_TRUE_FATAL(subscription_id_parse(id, strlen(id), &call->id));
    return run(turn, call);
}

static bool works(const struct machine_turn *turn, const char *id)
{
    struct subscription_id parsed;
    CU_ASSERT_TRUE_FATAL(subscription_id_parse(id, strlen(id), &parsed));
    return group_find_subscription(turn->group, &parsed.secret) != NULL;
}

/* ---- ids, records ------------------------------------------------------------------ */

static void an_id_comes_back_from_its_text_and_nothing_else_is_one(void)
{
    struct subscription_id id = {7, 4000000000u, topic_uuid(9)};
    char text[SUBSCRIPTION_ID_TEXT_BYTES];
    (void)subscription_id_format(&id, text);
    struct subscription_id back;
    CU_ASSERT_TRUE(subscription_id_parse(text, strlen(text), &back));
    CU_ASSERT_EQUAL(back.coordinator, 7);
    CU_ASSERT_EQUAL(back.partition, 4000000000u);
    CU_ASSERT_TRUE(uuid_equal(&back.secret, &id.secret));
    static const char *const bad[] = {
        "",
        "-",
        "1",
        "1-",
        "1-2-",
        "1-2-00000000000000000000000000000000x",
        "1-2-0000000000000000000000000000000",
        "01-2-00000000000000000000000000000000",
        "1-4294967296-00000000000000000000000000000000",
        "1-99999999999999999999999999-00000000000000000000000000000000",
        "+1-2-00000000000000000000000000000000",
        " 1-2-00000000000000000000000000000000",
        "1-2-0000000000000000000000000000000g",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        CU_ASSERT_FALSE(subscription_id_parse(bad[i], strlen(bad[i]), &back));
}

static void every_record_comes_back_and_no_cut_one_does(void)
{
    struct group_record r = {.group = "group",
                             .topic = "topic",
                             .topic_id = topic_uuid(5),
                             .partition = 77,
                             .session = session(99),
                             .kind = GROUP_KIND_TEXT,
                             .generation = 12,
                             .empty_since_ms = 5,
                             .wanted = 4,
                             .partition_count = 8,
                             .secret = topic_uuid(6),
                             .off = 1234567890123,
                             .time_ms = 17,
                             .metadata = (const uint8_t *)"meta",
                             .metadata_bytes = 4};
    for (int type = GROUP_RECORD_GROUP; type <= GROUP_RECORD_OFFSET; type++) {
        r.type = (enum group_record_type)type;
        struct buf key;
        struct buf value;
        buf_init(&key, 10000);
        buf_init(&value, 10000);
        group_record_encode(&r, &key, &value);
        struct group_record back;
        CU_ASSERT_EQUAL(group_record_decode(&back, key.data, key.len, value.data, value.len), KQ_OK);
        struct buf key2;
        struct buf value2;
        buf_init(&key2, 10000);
        buf_init(&value2, 10000);
        group_record_encode(&back, &key2, &value2);
        CU_ASSERT_TRUE(key.len == key2.len && memcmp(key.data, key2.data, key.len) == 0);
        CU_ASSERT_TRUE(value.len == value2.len && memcmp(value.data, value2.data, value.len) == 0);
        for (size_t n = 0; n < key.len; n++)
            CU_ASSERT_NOT_EQUAL(group_record_decode(&back, key.data, n, value.data, value.len), KQ_OK);
        for (size_t n = 0; n < value.len; n++)
            CU_ASSERT_NOT_EQUAL(group_record_decode(&back, key.data, key.len, value.data, n), KQ_OK);
        value.data[0] = 3;
        CU_ASSERT_EQUAL(group_record_decode(&back, key.data, key.len, value.data, value.len), KQ_BAD_VERSION);
        buf_fini(&key);
        buf_fini(&value);
        buf_fini(&key2);
        buf_fini(&value2);
    }
}

/* ---- the rules ------------------------------------------------------------------------ */

static void a_member_gets_one_partition_unless_it_asks_for_more(void)
{
    struct machine_turn *turn = actor_new();
    uint32_t got;
    CU_ASSERT_EQUAL(subscribe(turn, 1, 3, 1, &got), KQ_OK);
    CU_ASSERT_EQUAL(got, 1);
    CU_ASSERT_EQUAL(subscribe(turn, 2, 3, 5, &got), KQ_OK);
    CU_ASSERT_EQUAL(got, 2);
    CU_ASSERT_EQUAL(subscribe(turn, 3, 3, 1, &got), KQ_OK);
    CU_ASSERT_EQUAL(got, 1);
    CU_ASSERT_EQUAL(revoked_events, 1);
    CU_ASSERT_EQUAL(subscribe(turn, 4, 3, 1, &got), KQ_ALL_ASSIGNED);
    CU_ASSERT_EQUAL(subscribe(turn, 1, 3, 1, &got), KQ_ALL_ASSIGNED);
    CU_ASSERT_EQUAL(got, 0);
    actor_free(turn);
}

static void who_holds_most_gives_up_one_to_a_newcomer_and_is_told(void)
{
    struct machine_turn *turn = actor_new();
    uint32_t got;
    CU_ASSERT_EQUAL(subscribe(turn, 1, 4, 3, &got), KQ_OK);
    CU_ASSERT_EQUAL(subscribe(turn, 2, 4, 1, &got), KQ_OK);
    CU_ASSERT_EQUAL(subscribe(turn, 3, 4, 1, &got), KQ_OK);
    CU_ASSERT_EQUAL(got, 1);
    CU_ASSERT_EQUAL(revoked_events, 1);
    size_t over = 0;
    for (size_t i = 0; i < told_count; i++) {
        CU_ASSERT_EQUAL(works(turn, told[i].id), !told[i].over);
        CU_ASSERT_TRUE(!told[i].over || told[i].session.id == 1);
        over += told[i].over;
    }
    CU_ASSERT_EQUAL(over, 1);
    actor_free(turn);
}

static void a_freed_partition_goes_to_who_asked_for_more(void)
{
    struct machine_turn *turn = actor_new();
    uint32_t got;
    struct group_call call;
    CU_ASSERT_EQUAL(subscribe(turn, 1, 2, 1, &got), KQ_OK);
    char first[SUBSCRIPTION_ID_TEXT_BYTES];
    memcpy(first, told[0].id, sizeof first);
    CU_ASSERT_EQUAL(subscribe(turn, 2, 2, 2, &got), KQ_OK);
    CU_ASSERT_EQUAL(got, 1);
    CU_ASSERT_EQUAL(with_id(turn, GROUP_UNSUBSCRIBE, 1, "t", first, 0, &call), KQ_OK);
    CU_ASSERT_EQUAL(assigned_events, 1);
    CU_ASSERT_EQUAL(told[told_count - 1].session.id, 2);
    CU_ASSERT_TRUE(works(turn, told[told_count - 1].id));
    CU_ASSERT_FALSE(works(turn, first));
    CU_ASSERT_EQUAL(with_id(turn, GROUP_UNSUBSCRIBE, 1, "t", first, 0, &call), KQ_UNKNOWN_SUBSCRIPTION);
    actor_free(turn);
}

static void a_closed_session_is_given_nothing_and_its_ids_live_on_until_they_expire(void)
{
    struct machine_turn *turn = actor_new();
    uint32_t got;
    struct group_call call;
    CU_ASSERT_EQUAL(subscribe(turn, 1, 2, 2, &got), KQ_OK);
    struct group_call close = {.verb = GROUP_SESSION_CLOSED, .session = session(1)};
    CU_ASSERT_EQUAL(run(turn, &close), KQ_OK);
    CU_ASSERT_EQUAL(subscribe(turn, 2, 2, 1, &got), KQ_OK); /* 1 gives one up and is not there to be told */
    CU_ASSERT_EQUAL(revoked_events, 0);
    char second[SUBSCRIPTION_ID_TEXT_BYTES];
    memcpy(second, told[told_count - 1].id, sizeof second);
    CU_ASSERT_EQUAL(with_id(turn, GROUP_UNSUBSCRIBE, 2, "t", second, 0, &call), KQ_OK);
    CU_ASSERT_EQUAL(assigned_events, 0); /* 1 asked for two, and is gone */
    size_t working = 0;
    for (size_t i = 0; i < told_count; i++)
        working += works(turn, told[i].id);
    CU_ASSERT_EQUAL(working, 1);
    pass(turn, TIMEOUT_US);
    for (size_t i = 0; i < told_count; i++)
        CU_ASSERT_FALSE(works(turn, told[i].id));
    struct group_call describe = {.verb = GROUP_DESCRIBE, .group = "g"};
    CU_ASSERT_EQUAL(run(turn, &describe), KQ_UNKNOWN_GROUP);
    CU_ASSERT_EQUAL(turn->machine.ops->deadline_us(turn->group), CLOCK_NEVER);
    actor_free(turn);
}

static void sessions_of_a_broker_that_is_gone_are_given_nothing_until_they_call_again(void)
{
    struct machine_turn *turn = actor_new();
    struct group_call call;
    uint32_t got;
    CU_ASSERT_EQUAL(subscribe(turn, 1, 2, 1, NULL), KQ_OK);
    CU_ASSERT_EQUAL(subscribe(turn, 2, 2, 2, &got), KQ_OK); /* wants two, gets one */
    CU_ASSERT_EQUAL(got, 1);
    struct group_call gone = {.verb = GROUP_BROKER_GONE, .session = {.broker_id = session(2).broker_id}};
    CU_ASSERT_EQUAL(run(turn, &gone), KQ_OK);
    CU_ASSERT_EQUAL(with_id(turn, GROUP_UNSUBSCRIBE, 1, "t", told[0].id, 0, &call), KQ_OK);
    CU_ASSERT_EQUAL(assigned_events, 0);
    CU_ASSERT_EQUAL(with_id(turn, GROUP_RESOLVE, 2, "t", told[1].id, 0, &call), KQ_OK);
    pass(turn, 1000);
    CU_ASSERT_EQUAL(assigned_events, 1);
    actor_free(turn);
}

static void each_use_gives_an_id_a_full_timeout_and_ping_renews_what_the_session_uses(void)
{
    struct machine_turn *turn = actor_new();
    struct group_call call;
    CU_ASSERT_EQUAL(subscribe(turn, 1, 3, 1, NULL), KQ_OK);
    CU_ASSERT_EQUAL(subscribe(turn, 2, 3, 1, NULL), KQ_OK);
    CU_ASSERT_EQUAL(subscribe(turn, 3, 3, 1, NULL), KQ_OK);
    pass(turn, TIMEOUT_US - 1000000);
    CU_ASSERT_EQUAL(with_id(turn, GROUP_RESOLVE, 9, "t", told[0].id, 0, &call), KQ_OK);
    struct group_call ping = {.verb = GROUP_RENEW, .session = session(2)};
    CU_ASSERT_EQUAL(run(turn, &ping), KQ_OK);
    pass(turn, TIMEOUT_US - 1000000);
    CU_ASSERT_TRUE(works(turn, told[0].id));
    CU_ASSERT_TRUE(works(turn, told[1].id));
    CU_ASSERT_FALSE(works(turn, told[2].id));
    ping.session = session(9); /* it used the first one from another session */
    CU_ASSERT_EQUAL(run(turn, &ping), KQ_OK);
    pass(turn, TIMEOUT_US - 1000000);
    CU_ASSERT_TRUE(works(turn, told[0].id));
    CU_ASSERT_FALSE(works(turn, told[1].id));
    pass(turn, 1000000);
    CU_ASSERT_FALSE(works(turn, told[0].id));
    actor_free(turn);
}

static void a_peek_finds_what_a_use_finds_and_renews_nothing(void)
{
    struct machine_turn *turn = actor_new();
    struct group_call call;
    CU_ASSERT_EQUAL(subscribe(turn, 1, 1, 1, NULL), KQ_OK);
    CU_ASSERT_EQUAL(with_id(turn, GROUP_COMMIT, 1, "t", told[0].id, 17, &call), KQ_OK);
    pass(turn, TIMEOUT_US / 2);
    CU_ASSERT_EQUAL(with_id(turn, GROUP_PEEK, 2, "t", told[0].id, 0, &call), KQ_OK);
    CU_ASSERT_EQUAL(call.committed_off, 17);
    CU_ASSERT_STRING_EQUAL(call.group_name, "g");
    CU_ASSERT_EQUAL(turn->proposed_count, 0);
    CU_ASSERT_EQUAL(with_id(turn, GROUP_PEEK, 2, "u", told[0].id, 0, &call), KQ_UNKNOWN_SUBSCRIPTION);
    pass(turn, TIMEOUT_US / 2);
    CU_ASSERT_FALSE(works(turn, told[0].id));
    actor_free(turn);
}

static void committed_offsets_stay_with_the_group_until_nobody_uses_it_for_the_retention(void)
{
    struct machine_turn *turn = actor_new();
    struct group_call call;
    CU_ASSERT_EQUAL(subscribe(turn, 1, 1, 1, NULL), KQ_OK);
    CU_ASSERT_EQUAL(with_id(turn, GROUP_RESOLVE, 1, "t", told[0].id, 0, &call), KQ_OK);
    CU_ASSERT_EQUAL(call.committed_off, -1);
    CU_ASSERT_STRING_EQUAL(call.group_name, "g");
    CU_ASSERT_EQUAL(with_id(turn, GROUP_COMMIT, 1, "t", told[0].id, 17, &call), KQ_OK);
    CU_ASSERT_EQUAL(with_id(turn, GROUP_COMMIT, 1, "u", told[0].id, 18, &call), KQ_UNKNOWN_SUBSCRIPTION);
    CU_ASSERT_EQUAL(with_id(turn, GROUP_COMMIT, 1, "t", told[0].id, -1, &call), KQ_INVALID);
    CU_ASSERT_EQUAL(with_id(turn, GROUP_UNSUBSCRIBE, 1, "t", told[0].id, 0, &call), KQ_OK);
    pass(turn, RETENTION_US - 1000000);
    CU_ASSERT_EQUAL(subscribe(turn, 2, 1, 1, NULL), KQ_OK);
    CU_ASSERT_EQUAL(with_id(turn, GROUP_RESOLVE, 2, "t", told[1].id, 0, &call), KQ_OK);
    CU_ASSERT_EQUAL(call.committed_off, 17);
    pass(turn, TIMEOUT_US);
    CU_ASSERT_FALSE(works(turn, told[1].id));
    pass(turn, RETENTION_US - 1000000);
    struct group_call describe = {.verb = GROUP_DESCRIBE, .group = "g"};
    CU_ASSERT_EQUAL(run(turn, &describe), KQ_OK);
    CU_ASSERT_EQUAL(describe.row_count, 1);
    CU_ASSERT_EQUAL(describe.rows[0].committed_off, 17);
    CU_ASSERT_FALSE(describe.rows[0].owned);
    group_call_fini(&describe);
    pass(turn, 1000000);
    describe = (struct group_call){.verb = GROUP_DESCRIBE, .group = "g"};
    CU_ASSERT_EQUAL(run(turn, &describe), KQ_UNKNOWN_GROUP);
    CU_ASSERT_EQUAL(turn->group->sessions.count, 0);
    actor_free(turn);
}

static void a_new_coordinator_gives_everyone_a_full_timeout_and_nothing_to_who_has_not_called(void)
{
    struct machine_turn *turn = actor_new();
    struct group_call call;
    CU_ASSERT_EQUAL(subscribe(turn, 1, 2, 1, NULL), KQ_OK);
    CU_ASSERT_EQUAL(subscribe(turn, 2, 2, 2, NULL), KQ_OK);
    pass(turn, TIMEOUT_US - 1000000);
    turn->machine.ops->leads(turn->group, false, &turn->now);
    turn->machine.ops->leads(turn->group, true, &turn->now);
    CU_ASSERT_EQUAL(with_id(turn, GROUP_UNSUBSCRIBE, 1, "t", told[0].id, 0, &call), KQ_OK);
    CU_ASSERT_EQUAL(assigned_events, 0);
    pass(turn, TIMEOUT_US - 1000000);
    CU_ASSERT_TRUE(works(turn, told[1].id));
    struct group_call ping = {.verb = GROUP_RENEW, .session = session(2)};
    CU_ASSERT_EQUAL(run(turn, &ping), KQ_OK);
    CU_ASSERT_EQUAL(assigned_events, 1);
    actor_free(turn);
}

static bool exists(void *context, const struct uuid *topic_id)
{
    return !uuid_equal(topic_id, context);
}

static void a_deleted_topic_takes_its_subscriptions_and_offsets_along(void)
{
    struct machine_turn *turn = actor_new();
    struct group_call call;
    CU_ASSERT_EQUAL(subscribe(turn, 1, 3, 3, NULL), KQ_OK);
    CU_ASSERT_EQUAL(with_id(turn, GROUP_COMMIT, 1, "t", told[0].id, 17, &call), KQ_OK);
    CU_ASSERT_EQUAL(with_id(turn, GROUP_COMMIT, 1, "t", told[1].id, 17, &call), KQ_OK);
    struct uuid id = topic_uuid(1);
    struct group_call drop = {.verb = GROUP_DROP_TOPICS, .exists = exists, .exists_context = &id};
    CU_ASSERT_EQUAL(run(turn, &drop), KQ_OK);
    CU_ASSERT_EQUAL(revoked_events, 3);
    CU_ASSERT_EQUAL(turn->group->groups.count, 0);
    CU_ASSERT_EQUAL(turn->group->sessions.count, 0);
    actor_free(turn);
}

static void much_is_dropped_in_pieces(void)
{
    enum { MANY = 1000 };
    struct machine_turn *turn = actor_new();
    struct group_call call;
    uint32_t got;
    CU_ASSERT_EQUAL(subscribe(turn, 1, MANY, MANY, &got), KQ_OK);
    CU_ASSERT_EQUAL_FATAL(got, MANY);
    for (size_t i = 0; i < MANY; i++)
        CU_ASSERT_EQUAL(with_id(turn, GROUP_COMMIT, 1, "t", told[i].id, 17, &call), KQ_OK);
    struct uuid id = topic_uuid(1);
    struct group_call drop = {.verb = GROUP_DROP_TOPICS, .exists = exists, .exists_context = &id};
    CU_ASSERT_TRUE(turn->machine.ops->call(turn->group, &drop.call, turn, &turn->now));
    CU_ASSERT_EQUAL(turn->proposed_count, 0);
    CU_ASSERT_EQUAL(with_id(turn, GROUP_RESOLVE, 1, "t", told[MANY - 1].id, 0, &call), KQ_UNKNOWN_SUBSCRIPTION);
    CU_ASSERT_EQUAL(revoked_events, MANY);
    CU_ASSERT_EQUAL(turn->group->groups.count, 0);
    CU_ASSERT_TRUE(turn->most_proposed < 2 * MANY); /* subscribing was one turn, dropping is many */
    turn->most_proposed = 0;
    CU_ASSERT_EQUAL(subscribe(turn, 2, MANY, MANY, &got), KQ_OK);
    for (size_t i = 0; i < MANY; i++)
        CU_ASSERT_EQUAL(with_id(turn, GROUP_COMMIT, 2, "t", told[MANY + i].id, 17, &call), KQ_OK);
    turn->most_proposed = 0;
    pass(turn, TIMEOUT_US);
    pass(turn, RETENTION_US);
    CU_ASSERT_EQUAL(turn->group->groups.count, 0);
    CU_ASSERT_TRUE(turn->most_proposed < MANY / 2);
    actor_free(turn);
}

static void names_and_numbers_that_cannot_be_are_refused(void)
{
    struct machine_turn *turn = actor_new();
    char name[GROUP_NAME_MAX_BYTES + 2];
    memset(name, 'x', sizeof name);
    name[GROUP_NAME_MAX_BYTES + 1] = '\0';
    struct group_call call = {.verb = GROUP_SUBSCRIBE,
                              .session = session(1),
                              .group = name,
                              .topic = "t",
                              .topic_id = topic_uuid(1),
                              .partition_count = 1,
                              .wanted = 1};
    CU_ASSERT_EQUAL(run(turn, &call), KQ_INVALID);
    call.group = "";
    CU_ASSERT_EQUAL(run(turn, &call), KQ_INVALID);
    call.group = "g";
    call.wanted = 0;
    CU_ASSERT_EQUAL(run(turn, &call), KQ_INVALID);
    CU_ASSERT_EQUAL(turn->records.len, 0);
    group_call_fini(&call);
    actor_free(turn);
}

/* ---- replay ------------------------------------------------------------------------------ */

/* Applies the records of [from, to) to m. */
static void replay(struct group_machine *m, const struct buf *records, size_t from, size_t to)
{
    struct machine machine = group_machine_ops(m);
    struct cursor c = cursor_over(records->data + from, to - from);
    while (cursor_left(&c) > 0) {
        struct record record = {0};
        size_t key_bytes = cursor_le16(&c);
        record.key = slice_of(cursor_bytes(&c, key_bytes), key_bytes);
        size_t value_bytes = cursor_le16(&c);
        if (value_bytes != 0xffff)
            record.value = slice_of(cursor_bytes(&c, value_bytes), value_bytes);
        REQUIRE(!c.bad);
        machine.ops->apply(m, 0, &record);
    }
    group_machine_check(m);
}

static void take_snapshot(struct group_machine *m, struct buf *out)
{
    buf_init(out, 1u << 30);
    group_machine_ops(m).ops->snapshot(m, out);
    CU_ASSERT_FALSE_FATAL(out->bad);
}

/* Everything from the beginning, and the snapshot taken at `mark` with the rest. */
static void check_replay(struct machine_turn *turn, const struct buf *snapshot, size_t mark)
{
    struct buf now;
    take_snapshot(turn->group, &now);
    for (int with_snapshot = 0; with_snapshot < 2; with_snapshot++) {
        struct group_machine *m = new_group();
        struct fault fault;
        if (with_snapshot)
            CU_ASSERT_EQUAL_FATAL(group_machine_ops(m).ops->restore(m, snapshot->data, snapshot->len, &fault), KQ_OK);
        replay(m, &turn->records, with_snapshot ? mark : 0, turn->records.len);
        struct buf again;
        take_snapshot(m, &again);
        CU_ASSERT_EQUAL_FATAL(again.len, now.len);
        CU_ASSERT_EQUAL_FATAL(memcmp(again.data, now.data, now.len), 0);
        buf_fini(&again);
        group_machine_free(&m);
    }
    buf_fini(&now);
}

static void a_damaged_snapshot_is_refused(void)
{
    struct machine_turn *turn = actor_new();
    CU_ASSERT_EQUAL(subscribe(turn, 1, 3, 2, NULL), KQ_OK);
    struct buf snapshot;
    take_snapshot(turn->group, &snapshot);
    struct fault fault;
    for (size_t n = 0; n < snapshot.len; n++) {
        struct group_machine *m = new_group();
        CU_ASSERT_EQUAL(group_machine_ops(m).ops->restore(m, snapshot.data, n, &fault), KQ_CORRUPT);
        group_machine_free(&m);
    }
    snapshot.data[0] = 9;
    struct group_machine *m = new_group();
    CU_ASSERT_EQUAL(group_machine_ops(m).ops->restore(m, snapshot.data, snapshot.len, &fault), KQ_BAD_VERSION);
    group_machine_free(&m);
    buf_fini(&snapshot);
    actor_free(turn);
}

/* ---- a long random life --------------------------------------------------------------------- */

enum { LIFE_STEPS = 20000, LIFE_SESSIONS = 7, LIFE_TOPICS = 3, LIFE_GROUPS = 3, RECENT = 40 };

struct life {
    struct machine_turn *turn;
    uint64_t sessions[LIFE_SESSIONS];
    uint64_t next_session;
    uint8_t topic_version[LIFE_TOPICS];
};

static const char *const life_topics[LIFE_TOPICS] = {"one", "three", "eight"};
static const uint32_t life_partitions[LIFE_TOPICS] = {1, 3, 8};
static const char *const life_groups[LIFE_GROUPS] = {"a", "b", "c"};

static struct uuid life_topic_id(const struct life *life, uint32_t topic)
{
    struct uuid id = {{(uint8_t)(topic + 1), life->topic_version[topic]}};
    return id;
}

static void life_subscribe(struct life *life)
{
    uint32_t topic = below(LIFE_TOPICS);
    struct group_call call = {.verb = GROUP_SUBSCRIBE,
                              .session = session(life->sessions[below(LIFE_SESSIONS)]),
                              .group = life_groups[below(LIFE_GROUPS)],
                              .topic = life_topics[topic],
                              .topic_id = life_topic_id(life, topic),
                              .partition_count = life_partitions[topic],
                              .wanted = 1 + below(life_partitions[topic] + 1)};
    enum kq_err err = run(life->turn, &call);
    CU_ASSERT_TRUE(err == KQ_OK ? call.id_count > 0 : err == KQ_ALL_ASSIGNED && call.id_count == 0);
    group_call_fini(&call);
}

/* With one of the last ids that anybody was told, working or not. */
static void life_use(struct life *life, enum group_verb verb)
{
    if (told_count == 0)
        return;
    size_t recent = told_count < RECENT ? told_count : RECENT;
    struct told *t = &told[told_count - 1 - below((uint32_t)recent)];
    bool worked = works(life->turn, t->id);
    struct group_call call;
    enum kq_err err =
        with_id(life->turn, verb, life->sessions[below(LIFE_SESSIONS)], t->topic, t->id, (int64_t)below(1000), &call);
    CU_ASSERT_EQUAL(err, worked ? KQ_OK : KQ_UNKNOWN_SUBSCRIPTION);
    if (verb == GROUP_UNSUBSCRIBE && err == KQ_OK)
        t->over = true;
}

static void life_close(struct life *life)
{
    uint32_t i = below(LIFE_SESSIONS);
    struct group_call call = {.verb = GROUP_SESSION_CLOSED, .session = session(life->sessions[i])};
    CU_ASSERT_EQUAL(run(life->turn, &call), KQ_OK);
    life->sessions[i] = ++life->next_session;
}

static void life_delete_topic(struct life *life)
{
    uint32_t topic = below(LIFE_TOPICS);
    struct uuid id = life_topic_id(life, topic);
    struct group_call call = {.verb = GROUP_DROP_TOPICS, .exists = exists, .exists_context = &id};
    CU_ASSERT_EQUAL(run(life->turn, &call), KQ_OK);
    life->topic_version[topic]++;
}

/* The log goes on elsewhere: from a snapshot or from its beginning. */
static void life_move(struct life *life)
{
    struct machine_turn *turn = life->turn;
    struct buf snapshot;
    take_snapshot(turn->group, &snapshot);
    struct fault fault;
    turn->machine.ops->leads(turn->group, false, &turn->now);
    turn->machine.ops->reset(turn->group);
    if (below(2) == 0)
        CU_ASSERT_EQUAL_FATAL(turn->machine.ops->restore(turn->group, snapshot.data, snapshot.len, &fault), KQ_OK)
    else
        replay(turn->group, &turn->records, 0, turn->records.len);
    turn->machine.ops->leads(turn->group, true, &turn->now);
    group_machine_check(turn->group);
    buf_fini(&snapshot);
}

static void check_group_topic(const struct life *life, const struct group_topic *t)
{
    uint32_t partition;
    bool is_free = assign_free_partition(t, t->partition_count, &partition);
    CU_ASSERT_TRUE(!is_free || assign_next_claimant(t) == NULL);
    for (const struct claim *c = t->claims; c != NULL; c = c->next)
        for (const struct subscription *s = c->held; s != NULL; s = s->next_held) {
            struct subscription_id id = {3, s->partition, s->secret};
            char text[SUBSCRIPTION_ID_TEXT_BYTES];
            const struct told *known = find_told(subscription_id_format(&id, text));
            CU_ASSERT_PTR_NOT_NULL_FATAL(known);
            CU_ASSERT_EQUAL(known->session.id, c->session->key.id);
            CU_ASSERT_FALSE(known->over);
            CU_ASSERT_TRUE(s->used_us + TIMEOUT_US > life->turn->now.mono_us);
        }
}

static void a_long_random_life_keeps_every_rule(void)
{
    struct life life = {.turn = actor_new(), .next_session = LIFE_SESSIONS};
    for (uint64_t i = 0; i < LIFE_SESSIONS; i++)
        life.sessions[i] = i + 1;
    struct buf snapshot;
    take_snapshot(life.turn->group, &snapshot);
    size_t mark = 0;
    for (int step = 0; step < LIFE_STEPS; step++) {
        uint32_t what = below(1000);
        if (what < 350)
            life_subscribe(&life);
        else if (what < 480)
            life_use(&life, GROUP_UNSUBSCRIBE);
        else if (what < 650)
            life_use(&life, GROUP_RESOLVE);
        else if (what < 750)
            life_use(&life, GROUP_COMMIT);
        else if (what < 850)
            life_close(&life);
        else if (what < 985)
            pass(life.turn, (int64_t)below(below(20) == 0 ? 1200000000 : 60000000));
        else if (what < 993)
            life_delete_topic(&life);
        else
            life_move(&life);
        struct map_walk w;
        for (map_walk_init(&w, &life.turn->group->groups); map_walk_next(&w);)
            for (const struct group_topic *t = ((struct group *)w.value)->topics; t != NULL; t = t->next)
                check_group_topic(&life, t);
        if (step % 500 == 0)
            check_replay(life.turn, &snapshot, mark);
        if (step % 700 == 0) {
            buf_fini(&snapshot);
            take_snapshot(life.turn->group, &snapshot);
            mark = life.turn->records.len;
        }
    }
    for (size_t i = 0; i < told_count; i++)
        CU_ASSERT_FALSE(told[i].over && works(life.turn, told[i].id));
    CU_ASSERT_TRUE(revoked_events > 100);
    CU_ASSERT_TRUE(assigned_events > 100);
    pass(life.turn, TIMEOUT_US + 2 * (int64_t)RETENTION_US);
    CU_ASSERT_EQUAL(life.turn->group->groups.count, 0);
    buf_fini(&snapshot);
    actor_free(life.turn);
}

static const struct unit_case cases[] = {
    {"an id comes back from its text, and nothing else is one", an_id_comes_back_from_its_text_and_nothing_else_is_one},
    {"every record comes back, and no cut one does", every_record_comes_back_and_no_cut_one_does},
    {"a member gets one partition unless it asks for more", a_member_gets_one_partition_unless_it_asks_for_more},
    {"who holds most gives up one to a newcomer and is told", who_holds_most_gives_up_one_to_a_newcomer_and_is_told},
    {"a freed partition goes to who asked for more", a_freed_partition_goes_to_who_asked_for_more},
    {"sessions of a broker that is gone are given nothing until they call again",
     sessions_of_a_broker_that_is_gone_are_given_nothing_until_they_call_again},
    {"a peek finds what a use finds, and renews nothing", a_peek_finds_what_a_use_finds_and_renews_nothing},
    {"a closed session is given nothing, and its ids live on until they expire",
     a_closed_session_is_given_nothing_and_its_ids_live_on_until_they_expire},
    {"each use gives an id a full timeout, and ping renews what the session uses",
     each_use_gives_an_id_a_full_timeout_and_ping_renews_what_the_session_uses},
    {"committed offsets stay until nobody uses the group for the retention",
     committed_offsets_stay_with_the_group_until_nobody_uses_it_for_the_retention},
    {"a new coordinator gives everyone a full timeout, and nothing to who has not called",
     a_new_coordinator_gives_everyone_a_full_timeout_and_nothing_to_who_has_not_called},
    {"a deleted topic takes its subscriptions and offsets along",
     a_deleted_topic_takes_its_subscriptions_and_offsets_along},
    {"much is dropped in pieces", much_is_dropped_in_pieces},
    {"names and numbers that cannot be are refused", names_and_numbers_that_cannot_be_are_refused},
    {"a damaged snapshot is refused", a_damaged_snapshot_is_refused},
    {"a long random life keeps every rule", a_long_random_life_keeps_every_rule},
};

UNIT_MAIN("group", cases)
