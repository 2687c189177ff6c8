/* Groups with Kafka members, driven without threads: this file is the coordinator's actor, and
 * its clients join, compute assignments, die, leave, come again and commit at random. */
#include "base/bytes.h"
#include "base/clock.h"
#include "base/require.h"
#include "group/classic.h"
#include "group/classic_state.h"
#include "support/unit.h"

#include <stdio.h>

enum { CLIENTS = 6, PARTITIONS = 7, SESSION_MS = 10000, REBALANCE_MS = 30000, COORDINATORS_MAX = 64 };

static const struct uuid topic_id = {{7}};
static _Atomic int64_t timeout_us = 300 * 1000000;
static _Atomic int64_t retention_us = 1000 * 1000000;
static _Atomic int64_t delay_us;
static uint64_t random_state;

static uint32_t below(uint32_t n)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(random_state >> 33) % n;
}

/* ---- the actor ---------------------------------------------------------------------------- */

struct machine_turn {
    struct group_machine *group;
    struct machine machine;
    struct machine_now now;
    struct buf records; /* u16 key, u32 value (UINT32_MAX: none) */
    uint32_t record_count;
    struct machine_call *answered[CLIENTS * 2];
    uint32_t answered_count;
};

void machine_propose(struct machine_turn *turn, struct slice key, struct slice value)
{
    buf_le16(&turn->records, (uint16_t)key.len);
    buf_put(&turn->records, key.data, key.len);
    buf_le32(&turn->records, slice_is_absent(value) ? UINT32_MAX : (uint32_t)value.len);
    buf_put(&turn->records, value.data, value.len);
    REQUIRE(!turn->records.bad);
    turn->record_count++;
    struct record record = {.key = key, .value = value};
    turn->machine.ops->apply(turn->machine.state, 0, &record);
}

void machine_note(struct machine_turn *turn, struct machine_note *note)
{
    (void)turn;
    note->deliver(note, KQ_OK);
}

void machine_answer(struct machine_turn *turn, struct machine_call *call)
{
    REQUIRE(turn->answered_count < CLIENTS * 2);
    turn->answered[turn->answered_count++] = call;
}

static void fill_random(void *context, uint8_t bytes[UUID_BYTES])
{
    (void)context;
    for (int i = 0; i < UUID_BYTES; i += 4)
        put_le32(bytes + i, below(UINT32_MAX));
}

static void notify(void *context, const struct group_event *event)
{
    (void)context;
    (void)event;
}

static struct account memory;

static void machine_new(struct machine_turn *turn)
{
    struct group_options options = {.session_timeout_us = &timeout_us,
                                    .offsets_retention_us = &retention_us,
                                    .join_delay_us = &delay_us,
                                    .memory = &memory,
                                    .random = fill_random,
                                    .notify = notify};
    turn->group = group_machine_new(&options);
    REQUIRE(turn->group != NULL);
    turn->machine = group_machine_ops(turn->group);
}

static struct machine_turn *actor_new(uint64_t seed)
{
    account_init(&memory, INT64_MAX / 4);
    struct machine_turn *turn = calloc(1, sizeof *turn);
    REQUIRE(turn != NULL);
    random_state = seed * 7919 + 1;
    delay_us = 0;
    buf_init(&turn->records, 1u << 28);
    machine_new(turn);
    turn->now = (struct machine_now){.mono_us = 1000000, .wall_ms = 1700000000000};
    turn->machine.ops->leads(turn->group, true, &turn->now);
    return turn;
}

static void actor_free(struct machine_turn *turn)
{
    turn->machine.ops->leads(turn->group, false, &turn->now);
    group_machine_free(&turn->group);
    buf_fini(&turn->records);
    free(turn);
}

static void deliver(struct machine_turn *turn)
{
    group_machine_check(turn->group);
    uint32_t count = turn->answered_count;
    turn->answered_count = 0;
    for (uint32_t i = 0; i < count; i++)
        turn->answered[i]->done(turn->answered[i]);
}

static void pass(struct machine_turn *turn, int64_t us)
{
    int64_t until_us = turn->now.mono_us + us;
    for (int ticks = 0; turn->machine.ops->deadline_us(turn->group) <= until_us; ticks++) {
        int64_t due_us = turn->machine.ops->deadline_us(turn->group);
        CU_ASSERT_TRUE_FATAL(ticks < 10000);
        if (due_us > turn->now.mono_us) {
            turn->now.wall_ms += (due_us - turn->now.mono_us) / 1000;
            turn->now.mono_us = due_us;
        }
        turn->machine.ops->tick(turn->group, turn, &turn->now);
        deliver(turn);
    }
    turn->now.wall_ms += (until_us - turn->now.mono_us) / 1000;
    turn->now.mono_us = until_us;
}

/* What a replica that applied the records from `from` on has, as a snapshot. */
static void replay(const struct machine_turn *turn, struct group_machine *m)
{
    struct cursor c = cursor_over(turn->records.data, turn->records.len);
    while (cursor_left(&c) > 0) {
        struct record r = {0};
        size_t key_bytes = cursor_le16(&c);
        r.key = slice_of(cursor_bytes(&c, key_bytes), key_bytes);
        uint32_t value_bytes = cursor_le32(&c);
        if (value_bytes != UINT32_MAX)
            r.value = slice_of(cursor_bytes(&c, value_bytes), value_bytes);
        group_machine_ops(m).ops->apply(m, 0, &r);
    }
}

static void compare_with_follower(const struct machine_turn *turn)
{
    struct machine_turn follower = {0};
    struct buf a, b;
    buf_init(&a, 1u << 28);
    buf_init(&b, 1u << 28);
    machine_new(&follower);
    replay(turn, follower.group);
    turn->machine.ops->snapshot(turn->group, &a);
    follower.machine.ops->snapshot(follower.group, &b);
    CU_ASSERT_TRUE(a.len == b.len && memcmp(a.data, b.data, a.len) == 0);
    struct machine_turn restored = {0};
    machine_new(&restored);
    CU_ASSERT_EQUAL(restored.machine.ops->restore(restored.group, a.data, a.len, NULL), KQ_OK);
    buf_reset(&b);
    restored.machine.ops->snapshot(restored.group, &b);
    CU_ASSERT_TRUE(a.len == b.len && memcmp(a.data, b.data, a.len) == 0);
    group_machine_free(&restored.group);
    group_machine_free(&follower.group);
    buf_fini(&a);
    buf_fini(&b);
}

/* Another coordinator, which knows what was recorded. */
static void fail_over(struct machine_turn *turn)
{
    turn->machine.ops->leads(turn->group, false, &turn->now);
    group_machine_free(&turn->group);
    machine_new(turn);
    replay(turn, turn->group);
    turn->machine.ops->leads(turn->group, true, &turn->now);
    group_machine_check(turn->group);
}

/* The same one, which did not lead for a moment. */
static void comes_back(struct machine_turn *turn)
{
    turn->machine.ops->leads(turn->group, false, &turn->now);
    group_machine_check(turn->group);
    turn->machine.ops->leads(turn->group, true, &turn->now);
    group_machine_check(turn->group);
}

/* ---- clients ---------------------------------------------------------------------------------- */

enum client_state { AWAY, OUT, JOINING, HAS_JOINED, SYNCING, READS };

struct client {
    struct classic_call call;
    enum client_state state;
    char id[300];
    char instance[32]; /* "": dynamic */
    int32_t generation;
    bool leads;
    uint32_t member_count;
    char members[CLIENTS][300];
    uint32_t owned; /* bits of partitions */
    bool waits;
};

static struct client clients[CLIENTS];
static struct classic_protocol protocols[2] = {{{(const uint8_t *)"range", 5}, {(const uint8_t *)"subscribed", 10}},
                                               {{(const uint8_t *)"sticky", 6}, {(const uint8_t *)"s", 1}}};

static void client_out(struct client *client)
{
    client->state = OUT;
    client->owned = 0;
}

static void joined(struct client *client)
{
    const struct classic_call *call = &client->call;
    if (call->answer == CLASSIC_ID_REQUIRED || call->answer == CLASSIC_OK) {
        REQUIRE(call->member_id.len < sizeof client->id);
        memcpy(client->id, call->member_id.data, call->member_id.len);
        client->id[call->member_id.len] = '\0';
    }
    if (call->answer != CLASSIC_OK) {
        if (call->answer == CLASSIC_UNKNOWN_MEMBER || call->answer == CLASSIC_FENCED_INSTANCE)
            client->id[0] = '\0';
        client_out(client);
        return;
    }
    client->state = HAS_JOINED;
    client->generation = call->generation;
    client->leads = slice_equal_text(call->leader, client->id) && !call->skip;
    client->member_count = call->member_count;
    for (uint32_t i = 0; i < call->member_count; i++)
        (void)snprintf(client->members[i], sizeof client->members[i], "%.*s", (int)call->members[i].id.len,
                       (const char *)call->members[i].id.data);
}

static void synced(struct client *client)
{
    const struct classic_call *call = &client->call;
    if (call->answer != CLASSIC_OK) {
        if (call->answer == CLASSIC_UNKNOWN_MEMBER || call->answer == CLASSIC_FENCED_INSTANCE)
            client->id[0] = '\0';
        client_out(client);
        return;
    }
    client->state = READS;
    client->owned = call->assignment.len == 4 ? get_le32(call->assignment.data) : 0;
    for (int i = 0; i < CLIENTS; i++) { /* nobody of the same generation reads what this one does */
        const struct client *other = &clients[i];
        bool both = other != client && other->state == READS && other->generation == client->generation;
        CU_ASSERT_FALSE(both && (other->owned & client->owned) != 0);
    }
}

static void client_done(struct machine_call *base)
{
    struct client *client = CONTAINER_OF(CONTAINER_OF(base, struct group_call, call), struct client, call.base);
    client->waits = false;
    if (client->state == AWAY) {
        /* nobody waits for it */
    } else if (base->fault.err != KQ_OK) {
        client_out(client);
    } else if (client->call.base.verb == GROUP_JOIN) {
        joined(client);
    } else if (client->call.base.verb == GROUP_SYNC) {
        synced(client);
    } else if (client->call.base.verb == GROUP_HEARTBEAT && client->call.answer != CLASSIC_OK) {
        bool unknown = client->call.answer == CLASSIC_UNKNOWN_MEMBER || client->call.answer == CLASSIC_FENCED_INSTANCE;
        if (unknown)
            client->id[0] = '\0';
        client_out(client);
    }
    classic_call_fini(&client->call);
}

static void ask(struct machine_turn *turn, struct client *client, enum group_verb verb)
{
    REQUIRE(!client->waits);
    bool member = client->id[0] != '\0';
    struct classic_member_row rows[CLIENTS];
    uint8_t shares[CLIENTS][4];
    client->call = (struct classic_call){
        .base = {.verb = verb, .group = "g", .call = {.done = client_done}},
        .member_id = slice_text(member ? client->id : ""),
        .instance = client->instance[0] == '\0' ? slice_of(NULL, 0) : slice_text(client->instance),
        .client_id = slice_text("c"),
        .host = slice_text("/h"),
        .protocol_type = slice_text("consumer"),
        .protocols = protocols,
        .protocol_count = 2,
        .session_ms = SESSION_MS,
        .rebalance_ms = REBALANCE_MS,
        .needs_id = true,
        .may_skip = true,
        .generation = client->generation,
    };
    char id[300]; /* what was asked with stays until it is answered */
    memcpy(id, client->id, sizeof id);
    if (verb == GROUP_SYNC) {
        client->call.protocol_type = slice_of(NULL, 0);
        client->call.rows = rows;
        for (uint32_t i = 0; client->leads && i < client->member_count; i++) {
            uint32_t bits = 0;
            for (uint32_t p = i; p < PARTITIONS; p += client->member_count)
                bits |= 1u << p;
            put_le32(shares[i], bits);
            rows[client->call.row_count++] =
                (struct classic_member_row){.id = slice_text(client->members[i]), .assignment = slice_of(shares[i], 4)};
        }
    }
    if (verb == GROUP_LEAVE) {
        rows[0] = (struct classic_member_row){.id = slice_text(id), .instance = client->call.instance};
        client->call.rows = rows;
        client->call.row_count = 1;
    }
    client->waits = true;
    bool at_once = turn->machine.ops->call(turn->group, &client->call.base.call, turn, &turn->now);
    deliver(turn);
    if (at_once)
        client_done(&client->call.base.call);
}

/* The next thing that this client would do. */
static void client_step(struct machine_turn *turn, struct client *client)
{
    if (client->waits || client->state == AWAY)
        return;
    if (client->state == OUT) {
        client->state = JOINING;
        ask(turn, client, GROUP_JOIN);
    } else if (client->state == HAS_JOINED) {
        client->state = SYNCING;
        ask(turn, client, GROUP_SYNC);
    } else if (client->state == READS) {
        ask(turn, client, GROUP_HEARTBEAT);
    }
}

static void all_step(struct machine_turn *turn)
{
    for (int i = 0; i < CLIENTS; i++)
        client_step(turn, &clients[i]);
}

/* Everybody who is there reads, each partition once. */
static void check_calm(struct machine_turn *turn, uint32_t away)
{
    uint32_t owned = 0, present = 0;
    int32_t generation = -1;
    for (int i = 0; i < 40; i++) {
        all_step(turn);
        pass(turn, 3 * 1000000);
    }
    for (int i = 0; i < CLIENTS; i++) {
        if ((away & 1u << i) != 0)
            continue;
        CU_ASSERT_EQUAL(clients[i].state, READS);
        CU_ASSERT_TRUE(generation < 0 || generation == clients[i].generation);
        generation = clients[i].generation;
        CU_ASSERT_EQUAL(owned & clients[i].owned, 0);
        owned |= clients[i].owned;
        present++;
    }
    CU_ASSERT_TRUE(present == 0 || owned == (1u << PARTITIONS) - 1);
    compare_with_follower(turn);
}

static struct machine_turn *start(uint64_t seed, int present, int static_ones)
{
    struct machine_turn *turn = actor_new(seed);
    memset(clients, 0, sizeof clients);
    for (int i = 0; i < CLIENTS; i++) {
        clients[i].state = i < present ? OUT : AWAY;
        if (i < static_ones)
            (void)snprintf(clients[i].instance, sizeof clients[i].instance, "static-%d", i);
    }
    return turn;
}

static uint32_t away_now(void)
{
    uint32_t away = 0;
    for (int i = 0; i < CLIENTS; i++)
        away |= (uint32_t)(clients[i].state == AWAY) << i;
    return away;
}

/* A client's process is gone; who waits for it has given up. */
static void die(struct client *client)
{
    client->state = AWAY;
    client->owned = 0;
}

/* ---- cases ------------------------------------------------------------------------------------------ */

static void three_share_and_one_dies(void)
{
    struct machine_turn *turn = start(1, 3, 0);
    check_calm(turn, away_now());
    die(&clients[1]);
    check_calm(turn, away_now());
    ask(turn, &clients[2], GROUP_LEAVE);
    die(&clients[2]);
    check_calm(turn, away_now());
    CU_ASSERT_EQUAL(clients[0].owned, (1u << PARTITIONS) - 1);
    actor_free(turn);
}

static void the_first_wait_for_others(void)
{
    struct machine_turn *turn = start(2, 2, 0);
    delay_us = 3 * 1000000;
    all_step(turn);
    all_step(turn); /* with their ids */
    pass(turn, 2 * 1000000);
    CU_ASSERT_EQUAL(clients[0].state, JOINING);
    pass(turn, 3 * 1000000);
    CU_ASSERT_EQUAL(clients[0].state, HAS_JOINED);
    CU_ASSERT_EQUAL(clients[0].generation, 1);
    CU_ASSERT_EQUAL(clients[1].generation, 1);
    check_calm(turn, away_now());
    actor_free(turn);
}

static void a_static_member_comes_back_to_its_place(void)
{
    struct machine_turn *turn = start(3, 3, 3);
    check_calm(turn, away_now());
    int32_t generation = clients[0].generation;
    uint32_t owned = clients[1].owned;
    die(&clients[1]);
    pass(turn, 1000000);
    struct client *again = &clients[1];
    char before[300];
    memcpy(before, again->id, sizeof before);
    again->id[0] = '\0';
    again->state = OUT;
    client_step(turn, again);
    CU_ASSERT_EQUAL(again->state, HAS_JOINED);
    CU_ASSERT_EQUAL(again->generation, generation);
    client_step(turn, again);
    CU_ASSERT_EQUAL(again->owned, owned);
    CU_ASSERT_STRING_NOT_EQUAL(again->id, before);
    memcpy(again->id, before, sizeof before); /* the old one is fenced */
    ask(turn, again, GROUP_HEARTBEAT);
    CU_ASSERT_EQUAL(again->state, OUT);
    CU_ASSERT_EQUAL(clients[0].generation, generation);
    actor_free(turn);
}

static void a_new_coordinator_goes_on(void)
{
    struct machine_turn *turn = start(4, 4, 1);
    check_calm(turn, away_now());
    int32_t generation = clients[0].generation;
    fail_over(turn);
    check_calm(turn, away_now());
    comes_back(turn);
    check_calm(turn, away_now());
    CU_ASSERT_EQUAL(clients[0].generation, generation); /* nobody had to join again */
    die(&clients[3]);
    fail_over(turn);
    check_calm(turn, away_now());
    actor_free(turn);
}

/* The same broker loses the reign and has it again: of those that had joined, or only had an id, and were not
 * recorded, it knows nobody, and the next to come waits for nobody's session. */
static void a_coordinator_that_comes_back_waits_for_nobody(void)
{
    for (int steps = 1; steps <= 2; steps++) {
        struct machine_turn *turn = start(7, 1, 0);
        int64_t held = account_used(&memory);
        for (int i = 0; i < steps; i++)
            all_step(turn); /* it has an id, and then has joined */
        CU_ASSERT_EQUAL(clients[0].state, steps == 1 ? OUT : HAS_JOINED);
        die(&clients[0]);
        comes_back(turn);
        CU_ASSERT_EQUAL(account_used(&memory), held);
        clients[1].state = OUT;
        for (int i = 0; i < 4; i++) {
            all_step(turn);
            pass(turn, 1000);
        }
        CU_ASSERT_EQUAL(clients[1].state, READS);
        actor_free(turn);
    }
}

static void commits_are_their_members(void)
{
    struct machine_turn *turn = start(5, 2, 0);
    struct classic_offset offset = {.topic_id = topic_id, .topic = slice_text("t"), .off = 5, .leader_epoch = 3};
    struct classic_call call = {.base = {.verb = GROUP_COMMIT_ALL, .group = "g"}, .generation = -1};
    call.offsets = &offset;
    call.offset_count = 1;
    offset.metadata = slice_text("m");
    CU_ASSERT_TRUE(turn->machine.ops->call(turn->group, &call.base.call, turn, &turn->now));
    CU_ASSERT_EQUAL(offset.answer, CLASSIC_OK); /* nobody is in it */
    check_calm(turn, away_now());
    CU_ASSERT_TRUE(turn->machine.ops->call(turn->group, &call.base.call, turn, &turn->now));
    CU_ASSERT_EQUAL(offset.answer, CLASSIC_UNKNOWN_MEMBER);
    offset.answer = CLASSIC_OK;
    call.member_id = slice_text(clients[0].id);
    call.generation = clients[0].generation - 1;
    CU_ASSERT_TRUE(turn->machine.ops->call(turn->group, &call.base.call, turn, &turn->now));
    CU_ASSERT_EQUAL(offset.answer, CLASSIC_ILLEGAL_GENERATION);
    offset.answer = CLASSIC_OK;
    offset.off = 9;
    call.generation++;
    CU_ASSERT_TRUE(turn->machine.ops->call(turn->group, &call.base.call, turn, &turn->now));
    CU_ASSERT_EQUAL(offset.answer, CLASSIC_OK);
    struct classic_call look = {.base = {.verb = GROUP_OFFSETS, .group = "g"}, .all = true};
    CU_ASSERT_TRUE(turn->machine.ops->call(turn->group, &look.base.call, turn, &turn->now));
    CU_ASSERT_EQUAL_FATAL(look.offset_count, 1);
    CU_ASSERT_EQUAL(look.offsets[0].off, 9);
    CU_ASSERT_EQUAL(look.offsets[0].leader_epoch, 3);
    CU_ASSERT_TRUE(slice_equal_text(look.offsets[0].metadata, "m"));
    classic_call_fini(&look);
    struct classic_call forget = {.base = {.verb = GROUP_FORGET, .group = "g"}, .all = true};
    CU_ASSERT_TRUE(turn->machine.ops->call(turn->group, &forget.base.call, turn, &turn->now));
    CU_ASSERT_EQUAL(forget.answer, CLASSIC_NOT_EMPTY);
    compare_with_follower(turn);
    actor_free(turn);
}

static void done_nothing(struct machine_call *call)
{
    (void)call;
}

/* Joins a group of its own with this protocol type and metadata. */
static void join_with(struct machine_turn *turn, const char *type, struct slice metadata)
{
    const struct classic_protocol protocol = {.name = slice_text("range"), .metadata = metadata};
    struct classic_call call = {.base = {.verb = GROUP_JOIN, .group = "h"},
                                .client_id = slice_text("c"),
                                .host = slice_text("/"),
                                .protocol_type = slice_text(type),
                                .protocols = &protocol,
                                .protocol_count = 1,
                                .session_ms = SESSION_MS,
                                .rebalance_ms = REBALANCE_MS};
    call.base.call.done = done_nothing;
    bool now = turn->machine.ops->call(turn->group, &call.base.call, turn, &turn->now);
    if (!now)
        pass(turn, 1000000);
    CU_ASSERT_EQUAL(call.answer, CLASSIC_OK);
    classic_call_fini(&call);
}

static void offsets_of_topics_that_are_read_stay(void)
{
    static const uint8_t wants[] = {0, 0, 0, 0, 0, 1, 0, 1, 't', 255, 255, 255, 255};
    static const uint8_t garbage[] = {0, 0, 0, 0, 9, 9};
    static const struct uuid other_id = {{8}};
    const struct {
        const char *type;
        struct slice metadata;
        enum classic_answer call, t, u;
    } rows[] = {
        {NULL, {0}, CLASSIC_OK, CLASSIC_OK, CLASSIC_OK},
        {"consumer", slice_of(wants, sizeof wants), CLASSIC_OK, CLASSIC_SUBSCRIBED, CLASSIC_OK},
        {"consumer", slice_of(garbage, sizeof garbage), CLASSIC_OK, CLASSIC_SUBSCRIBED, CLASSIC_SUBSCRIBED},
        {"connect", slice_of(wants, sizeof wants), CLASSIC_NOT_EMPTY, CLASSIC_OK, CLASSIC_OK},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct machine_turn *turn = start(7, 1, 0);
        struct classic_offset offsets[] = {{.topic_id = topic_id, .topic = slice_text("t"), .off = 5},
                                           {.topic_id = other_id, .topic = slice_text("u"), .off = 6}};
        struct classic_call call = {
            .base = {.verb = GROUP_COMMIT_ALL, .group = "h"}, .generation = -1, .offsets = offsets, .offset_count = 2};
        CU_ASSERT_TRUE(turn->machine.ops->call(turn->group, &call.base.call, turn, &turn->now));
        if (rows[i].type != NULL)
            join_with(turn, rows[i].type, rows[i].metadata);
        call.base.verb = GROUP_FORGET;
        CU_ASSERT_TRUE(turn->machine.ops->call(turn->group, &call.base.call, turn, &turn->now));
        CU_ASSERT_EQUAL(call.answer, rows[i].call);
        CU_ASSERT_EQUAL(offsets[0].answer, rows[i].t);
        CU_ASSERT_EQUAL(offsets[1].answer, rows[i].u);
        struct classic_call look = {.base = {.verb = GROUP_OFFSETS, .group = "h"}, .all = true};
        CU_ASSERT_TRUE(turn->machine.ops->call(turn->group, &look.base.call, turn, &turn->now));
        bool none = rows[i].call != CLASSIC_OK;
        CU_ASSERT_EQUAL(look.offset_count, none ? 2 : (rows[i].t != CLASSIC_OK) + (rows[i].u != CLASSIC_OK));
        classic_call_fini(&look);
        actor_free(turn);
    }
}

/* A static member that joins a group of its own with this metadata, and syncs if it has to; the generation. */
static int32_t come_with(struct machine_turn *turn, struct slice metadata)
{
    const struct classic_protocol protocol = {.name = slice_text("cooperative-sticky"), .metadata = metadata};
    struct classic_call join = {.base = {.verb = GROUP_JOIN, .group = "h", .call = {.done = done_nothing}},
                                .client_id = slice_text("c"),
                                .host = slice_text("/"),
                                .instance = slice_text("named"),
                                .protocol_type = slice_text("consumer"),
                                .protocols = &protocol,
                                .protocol_count = 1,
                                .session_ms = SESSION_MS,
                                .rebalance_ms = REBALANCE_MS,
                                .may_skip = true};
    if (!turn->machine.ops->call(turn->group, &join.base.call, turn, &turn->now))
        pass(turn, 1000000);
    CU_ASSERT_EQUAL(join.answer, CLASSIC_OK);
    struct classic_member_row row = {.id = join.member_id, .assignment = slice_text("all")};
    struct classic_call sync = {.base = {.verb = GROUP_SYNC, .group = "h", .call = {.done = done_nothing}},
                                .member_id = join.member_id,
                                .instance = slice_text("named"),
                                .generation = join.generation,
                                .rows = &row,
                                .row_count = join.skip ? 0 : 1};
    if (!turn->machine.ops->call(turn->group, &sync.base.call, turn, &turn->now))
        pass(turn, 1000000);
    CU_ASSERT_EQUAL(sync.answer, CLASSIC_OK);
    CU_ASSERT(slice_equal_text(sync.assignment, "all"));
    int32_t generation = join.generation;
    classic_call_fini(&sync);
    classic_call_fini(&join);
    return generation;
}

/* A consumer that is started again owns nothing, and says so in its metadata. */
static void a_static_member_that_wants_the_same_topics_starts_no_round(void)
{
    static const uint8_t owns[] = {0, 1, 0, 0, 0, 1, 0,   1, 't', 0, 0, 0, 2, 9, 9,
                                   0, 0, 0, 1, 0, 1, 't', 0, 0,   0, 1, 0, 0, 0, 3};
    static const uint8_t owns_nothing[] = {0, 1, 0, 0, 0, 1, 0, 1, 't', 255, 255, 255, 255, 0, 0, 0, 0};
    static const uint8_t wants_other[] = {0, 1, 0, 0, 0, 1, 0, 1, 'u', 255, 255, 255, 255, 0, 0, 0, 0};
    struct machine_turn *turn = start(9, 0, 0);
    int32_t generation = come_with(turn, slice_of(owns, sizeof owns));
    CU_ASSERT_EQUAL(come_with(turn, slice_of(owns_nothing, sizeof owns_nothing)), generation);
    CU_ASSERT_EQUAL(come_with(turn, slice_of(wants_other, sizeof wants_other)), generation + 1);
    actor_free(turn);
}

/* A dynamic member joins group h with so much metadata; whether it was answered at once. */
static bool join_holding(struct machine_turn *turn, struct classic_call *join, struct classic_protocol *protocol,
                         size_t bytes, struct slice id)
{
    static const uint8_t metadata[64 * 1024];
    *protocol = (struct classic_protocol){.name = slice_text("range"), .metadata = slice_of(metadata, bytes)};
    *join = (struct classic_call){.base = {.verb = GROUP_JOIN, .group = "h", .call = {.done = done_nothing}},
                                  .client_id = slice_text("c"),
                                  .host = slice_text("/"),
                                  .member_id = id,
                                  .protocol_type = slice_text("consumer"),
                                  .protocols = protocol,
                                  .protocol_count = 1,
                                  .held_bytes = (int64_t)bytes,
                                  .session_ms = SESSION_MS,
                                  .rebalance_ms = INT32_MAX};
    return turn->machine.ops->call(turn->group, &join->base.call, turn, &turn->now);
}

static void what_members_hold_is_bounded_and_given_back(void)
{
    enum { MOST = 20, BYTES = 20 * 1000, LIMIT = 400 * 1000 };
    static struct classic_call join[MOST];
    static struct classic_protocol offered[MOST];
    struct machine_turn *turn = start(10, 0, 0);
    account_init(&memory, LIMIT);
    delay_us = 1000000; /* all of them wait for the first round */
    int in = 0;
    while (in < MOST && !join_holding(turn, &join[in], &offered[in], BYTES, slice_of(NULL, 0)))
        in++;
    CU_ASSERT_EQUAL_FATAL(join[in].answer, CLASSIC_FULL);
    CU_ASSERT(in >= LIMIT / (3 * BYTES) && in < LIMIT / (2 * BYTES)); /* each counts what waits, and the member */
    CU_ASSERT(account_used(&memory) <= LIMIT);
    pass(turn, 2 * delay_us);
    deliver(turn);
    int leaders = 0;
    for (int i = 0; i < in; i++) {
        CU_ASSERT_EQUAL(join[i].answer, CLASSIC_OK);
        leaders += join[i].member_count == (uint32_t)in;
    }
    CU_ASSERT_EQUAL(leaders, 1);
    CU_ASSERT(account_used(&memory) <= 2 * LIMIT);
    /* One that is there asks for no more, and then for more. */
    struct classic_call again, more, fresh;
    struct classic_protocol protocol;
    struct slice id = classic_keep(&join[MOST - 1], join[1].member_id);
    for (int i = 0; i <= in; i++)
        classic_call_fini(&join[i]);
    account_take(&memory, LIMIT);
    (void)join_holding(turn, &again, &protocol, BYTES, id);
    CU_ASSERT_EQUAL(again.answer, CLASSIC_OK);
    CU_ASSERT(join_holding(turn, &more, &protocol, 2 * BYTES, id));
    CU_ASSERT_EQUAL(more.answer, CLASSIC_FULL);
    /* At twice the limit nothing is told. */
    account_take(&memory, LIMIT);
    CU_ASSERT(join_holding(turn, &fresh, &protocol, BYTES, id));
    CU_ASSERT_EQUAL(fresh.base.call.fault.err, KQ_NO_MEMORY);
    (void)account_give(&memory, 2 * LIMIT);
    classic_call_fini(&again);
    classic_call_fini(&more);
    classic_call_fini(&fresh);
    classic_call_fini(&join[MOST - 1]);
    actor_free(turn);
    CU_ASSERT_EQUAL(account_used(&memory), 0);
}

/* Rounds can be as long as a client says; whoever is not there any more does not wait for their ends. */
static void who_waits_and_goes_away_is_missed(void)
{
    struct machine_turn *turn = start(11, 0, 0);
    struct classic_call stays, goes;
    struct classic_protocol protocol;
    _Atomic bool gone = false;
    delay_us = INT64_C(100) * SESSION_MS * 1000;
    CU_ASSERT(!join_holding(turn, &stays, &protocol, 10, slice_of(NULL, 0)));
    CU_ASSERT(!join_holding(turn, &goes, &protocol, 10, slice_of(NULL, 0)));
    goes.abandoned = &gone;
    for (int i = 0; i < 5; i++)
        pass(turn, SESSION_MS * 1000);
    CU_ASSERT_EQUAL(group_find(turn->group, "h")->classic->member_count, 2);
    atomic_store(&gone, true);
    for (int i = 0; i < 3; i++)
        pass(turn, SESSION_MS * 1000);
    CU_ASSERT_EQUAL(goes.answer, CLASSIC_UNKNOWN_MEMBER);
    CU_ASSERT_EQUAL(group_find(turn->group, "h")->classic->member_count, 1);
    actor_free(turn);
    classic_call_fini(&stays);
    classic_call_fini(&goes);
}

static void the_two_kinds_refuse_each_other(void)
{
    struct machine_turn *turn = start(6, 1, 0);
    struct group_call text = {.verb = GROUP_SUBSCRIBE,
                              .session = {.broker_id = 1, .id = 1},
                              .group = "g",
                              .topic = "t",
                              .topic_id = topic_id,
                              .partition_count = 2,
                              .wanted = 1};
    check_calm(turn, away_now());
    CU_ASSERT_TRUE(turn->machine.ops->call(turn->group, &text.call, turn, &turn->now));
    CU_ASSERT_EQUAL(text.call.fault.err, KQ_GROUP_KIND);
    ask(turn, &clients[0], GROUP_LEAVE);
    die(&clients[0]);
    CU_ASSERT_TRUE(turn->machine.ops->call(turn->group, &text.call, turn, &turn->now));
    CU_ASSERT_EQUAL(text.call.fault.err, KQ_OK);
    group_call_fini(&text);
    clients[0].id[0] = '\0';
    clients[0].state = OUT;
    client_step(turn, &clients[0]);
    CU_ASSERT_EQUAL(clients[0].call.answer, CLASSIC_INCONSISTENT);
    actor_free(turn);
}

/* Joins, deaths, returns, leaves, lost coordinators and time, in any order. */
static void chaos(void)
{
    for (uint64_t seed = 1; seed <= 150; seed++) {
        struct machine_turn *turn = start(seed, 1 + (int)(seed % CLIENTS), (int)(seed % 4));
        for (int i = 0; i < 400; i++) {
            struct client *client = &clients[below(CLIENTS)];
            uint32_t dice = below(100);
            if (dice < 3 && !client->waits && client->state != AWAY) {
                die(client);
            } else if (dice < 8 && client->state == AWAY && !client->waits) {
                client->id[0] = '\0';
                client_out(client);
            } else if (dice < 10 && client->state == READS) {
                ask(turn, client, GROUP_LEAVE);
                die(client);
            } else if (dice < 12) {
                (dice < 11 ? fail_over : comes_back)(turn);
            } else if (dice < 40) {
                pass(turn, below(4) * 1000000);
            } else {
                client_step(turn, client);
            }
        }
        check_calm(turn, away_now());
        for (int i = 0; i < CLIENTS; i++)
            die(&clients[i]);
        pass(turn, 2 * retention_us);
        CU_ASSERT_EQUAL(turn->group->groups.count, 0);
        actor_free(turn);
        if (CU_get_number_of_failures() > 0) {
            printf("seed %llu\n", (unsigned long long)seed);
            return;
        }
    }
}

static const struct unit_case cases[] = {
    {"three share, one dies, one leaves", three_share_and_one_dies},
    {"the first wait for others", the_first_wait_for_others},
    {"a static member comes back to its place", a_static_member_comes_back_to_its_place},
    {"a static member that wants the same topics starts no round",
     a_static_member_that_wants_the_same_topics_starts_no_round},
    {"a new coordinator goes on", a_new_coordinator_goes_on},
    {"a coordinator that comes back waits for nobody", a_coordinator_that_comes_back_waits_for_nobody},
    {"commits are their members'", commits_are_their_members},
    {"offsets of topics that are read stay", offsets_of_topics_that_are_read_stay},
    {"what members hold is bounded, and given back", what_members_hold_is_bounded_and_given_back},
    {"who waits and goes away is missed", who_waits_and_goes_away_is_missed},
    {"the two kinds refuse each other", the_two_kinds_refuse_each_other},
    {"chaos", chaos},
};
UNIT_MAIN("groups with Kafka members", cases)
