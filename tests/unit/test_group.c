/* The coordinator of groups: ids, records, and the rules of who gets what. */
#include "base/bytes.h"
#include "base/clock.h"
#include "base/require.h"
#include "base/slice.h"
#include "group/assign.h"
#include "support/turn_rig.h"
#include "support/unit.h"

#include <stdio.h>

/* ---- ids, records ------------------------------------------------------------------ */

static void an_id_comes_back_from_its_text_and_nothing_else_is_one(void)
{
    struct subscription_id id = {7, 4000000000u, turn_topic_uuid(9)};
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
                             .topic_id = turn_topic_uuid(5),
                             .partition = 77,
                             .session = turn_session(99),
                             .kind = GROUP_KIND_TEXT,
                             .generation = 12,
                             .empty_since_ms = 5,
                             .wanted = 4,
                             .partition_count = 8,
                             .secret = turn_topic_uuid(6),
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
    struct machine_turn *turn = turn_new();
    uint32_t got;
    CU_ASSERT_EQUAL(turn_subscribe(turn, 1, 3, 1, &got), KQ_OK);
    CU_ASSERT_EQUAL(got, 1);
    CU_ASSERT_EQUAL(turn_subscribe(turn, 2, 3, 5, &got), KQ_OK);
    CU_ASSERT_EQUAL(got, 2);
    CU_ASSERT_EQUAL(turn_subscribe(turn, 3, 3, 1, &got), KQ_OK);
    CU_ASSERT_EQUAL(got, 1);
    CU_ASSERT_EQUAL(turn_revoked_events, 1);
    CU_ASSERT_EQUAL(turn_subscribe(turn, 4, 3, 1, &got), KQ_ALL_ASSIGNED);
    CU_ASSERT_EQUAL(turn_subscribe(turn, 1, 3, 1, &got), KQ_ALL_ASSIGNED);
    CU_ASSERT_EQUAL(got, 0);
    turn_free(turn);
}

static void who_holds_most_gives_up_one_to_a_newcomer_and_is_told(void)
{
    struct machine_turn *turn = turn_new();
    uint32_t got;
    CU_ASSERT_EQUAL(turn_subscribe(turn, 1, 4, 3, &got), KQ_OK);
    CU_ASSERT_EQUAL(turn_subscribe(turn, 2, 4, 1, &got), KQ_OK);
    CU_ASSERT_EQUAL(turn_subscribe(turn, 3, 4, 1, &got), KQ_OK);
    CU_ASSERT_EQUAL(got, 1);
    CU_ASSERT_EQUAL(turn_revoked_events, 1);
    size_t over = 0;
    for (size_t i = 0; i < turn_told_count; i++) {
        CU_ASSERT_EQUAL(turn_id_works(turn, turn_told[i].id), !turn_told[i].over);
        CU_ASSERT_TRUE(!turn_told[i].over || turn_told[i].session.id == 1);
        over += turn_told[i].over;
    }
    CU_ASSERT_EQUAL(over, 1);
    turn_free(turn);
}

static void a_freed_partition_goes_to_who_asked_for_more(void)
{
    struct machine_turn *turn = turn_new();
    uint32_t got;
    struct group_call call;
    CU_ASSERT_EQUAL(turn_subscribe(turn, 1, 2, 1, &got), KQ_OK);
    char first[SUBSCRIPTION_ID_TEXT_BYTES];
    memcpy(first, turn_told[0].id, sizeof first);
    CU_ASSERT_EQUAL(turn_subscribe(turn, 2, 2, 2, &got), KQ_OK);
    CU_ASSERT_EQUAL(got, 1);
    CU_ASSERT_EQUAL(turn_with_id(turn, GROUP_UNSUBSCRIBE, 1, "t", first, 0, &call), KQ_OK);
    CU_ASSERT_EQUAL(turn_assigned_events, 1);
    CU_ASSERT_EQUAL(turn_told[turn_told_count - 1].session.id, 2);
    CU_ASSERT_TRUE(turn_id_works(turn, turn_told[turn_told_count - 1].id));
    CU_ASSERT_FALSE(turn_id_works(turn, first));
    CU_ASSERT_EQUAL(turn_with_id(turn, GROUP_UNSUBSCRIBE, 1, "t", first, 0, &call), KQ_UNKNOWN_SUBSCRIPTION);
    turn_free(turn);
}

static void a_closed_session_is_given_nothing_and_its_ids_live_on_until_they_expire(void)
{
    struct machine_turn *turn = turn_new();
    uint32_t got;
    struct group_call call;
    CU_ASSERT_EQUAL(turn_subscribe(turn, 1, 2, 2, &got), KQ_OK);
    struct group_call close = {.verb = GROUP_SESSION_CLOSED, .session = turn_session(1)};
    CU_ASSERT_EQUAL(turn_run(turn, &close), KQ_OK);
    CU_ASSERT_EQUAL(turn_subscribe(turn, 2, 2, 1, &got), KQ_OK); /* 1 gives one up and is not there to be told */
    CU_ASSERT_EQUAL(turn_revoked_events, 0);
    char second[SUBSCRIPTION_ID_TEXT_BYTES];
    memcpy(second, turn_told[turn_told_count - 1].id, sizeof second);
    CU_ASSERT_EQUAL(turn_with_id(turn, GROUP_UNSUBSCRIBE, 2, "t", second, 0, &call), KQ_OK);
    CU_ASSERT_EQUAL(turn_assigned_events, 0); /* 1 asked for two, and is gone */
    size_t working = 0;
    for (size_t i = 0; i < turn_told_count; i++)
        working += turn_id_works(turn, turn_told[i].id);
    CU_ASSERT_EQUAL(working, 1);
    turn_pass(turn, TURN_TIMEOUT_US);
    for (size_t i = 0; i < turn_told_count; i++)
        CU_ASSERT_FALSE(turn_id_works(turn, turn_told[i].id));
    struct group_call describe = {.verb = GROUP_DESCRIBE, .group = "g"};
    CU_ASSERT_EQUAL(turn_run(turn, &describe), KQ_UNKNOWN_GROUP);
    CU_ASSERT_EQUAL(turn->machine.ops->deadline_us(turn->group), CLOCK_NEVER);
    turn_free(turn);
}

static void sessions_of_a_broker_that_is_gone_are_given_nothing_until_they_call_again(void)
{
    struct machine_turn *turn = turn_new();
    struct group_call call;
    uint32_t got;
    CU_ASSERT_EQUAL(turn_subscribe(turn, 1, 2, 1, NULL), KQ_OK);
    CU_ASSERT_EQUAL(turn_subscribe(turn, 2, 2, 2, &got), KQ_OK); /* wants two, gets one */
    CU_ASSERT_EQUAL(got, 1);
    struct group_call gone = {.verb = GROUP_BROKER_GONE, .session = {.broker_id = turn_session(2).broker_id}};
    CU_ASSERT_EQUAL(turn_run(turn, &gone), KQ_OK);
    CU_ASSERT_EQUAL(turn_with_id(turn, GROUP_UNSUBSCRIBE, 1, "t", turn_told[0].id, 0, &call), KQ_OK);
    CU_ASSERT_EQUAL(turn_assigned_events, 0);
    CU_ASSERT_EQUAL(turn_with_id(turn, GROUP_RESOLVE, 2, "t", turn_told[1].id, 0, &call), KQ_OK);
    turn_pass(turn, 1000);
    CU_ASSERT_EQUAL(turn_assigned_events, 1);
    turn_free(turn);
}

static void each_use_gives_an_id_a_full_timeout_and_ping_renews_what_the_session_uses(void)
{
    struct machine_turn *turn = turn_new();
    struct group_call call;
    CU_ASSERT_EQUAL(turn_subscribe(turn, 1, 3, 1, NULL), KQ_OK);
    CU_ASSERT_EQUAL(turn_subscribe(turn, 2, 3, 1, NULL), KQ_OK);
    CU_ASSERT_EQUAL(turn_subscribe(turn, 3, 3, 1, NULL), KQ_OK);
    turn_pass(turn, TURN_TIMEOUT_US - 1000000);
    CU_ASSERT_EQUAL(turn_with_id(turn, GROUP_RESOLVE, 9, "t", turn_told[0].id, 0, &call), KQ_OK);
    struct group_call ping = {.verb = GROUP_RENEW, .session = turn_session(2)};
    CU_ASSERT_EQUAL(turn_run(turn, &ping), KQ_OK);
    turn_pass(turn, TURN_TIMEOUT_US - 1000000);
    CU_ASSERT_TRUE(turn_id_works(turn, turn_told[0].id));
    CU_ASSERT_TRUE(turn_id_works(turn, turn_told[1].id));
    CU_ASSERT_FALSE(turn_id_works(turn, turn_told[2].id));
    ping.session = turn_session(9); /* it used the first one from another session */
    CU_ASSERT_EQUAL(turn_run(turn, &ping), KQ_OK);
    turn_pass(turn, TURN_TIMEOUT_US - 1000000);
    CU_ASSERT_TRUE(turn_id_works(turn, turn_told[0].id));
    CU_ASSERT_FALSE(turn_id_works(turn, turn_told[1].id));
    turn_pass(turn, 1000000);
    CU_ASSERT_FALSE(turn_id_works(turn, turn_told[0].id));
    turn_free(turn);
}

static void a_peek_finds_what_a_use_finds_and_renews_nothing(void)
{
    struct machine_turn *turn = turn_new();
    struct group_call call;
    CU_ASSERT_EQUAL(turn_subscribe(turn, 1, 1, 1, NULL), KQ_OK);
    CU_ASSERT_EQUAL(turn_with_id(turn, GROUP_COMMIT, 1, "t", turn_told[0].id, 17, &call), KQ_OK);
    turn_pass(turn, TURN_TIMEOUT_US / 2);
    CU_ASSERT_EQUAL(turn_with_id(turn, GROUP_PEEK, 2, "t", turn_told[0].id, 0, &call), KQ_OK);
    CU_ASSERT_EQUAL(call.committed_off, 17);
    CU_ASSERT_STRING_EQUAL(call.group_name, "g");
    CU_ASSERT_EQUAL(turn->proposed_count, 0);
    CU_ASSERT_EQUAL(turn_with_id(turn, GROUP_PEEK, 2, "u", turn_told[0].id, 0, &call), KQ_UNKNOWN_SUBSCRIPTION);
    turn_pass(turn, TURN_TIMEOUT_US / 2);
    CU_ASSERT_FALSE(turn_id_works(turn, turn_told[0].id));
    turn_free(turn);
}

static void committed_offsets_stay_with_the_group_until_nobody_uses_it_for_the_retention(void)
{
    struct machine_turn *turn = turn_new();
    struct group_call call;
    CU_ASSERT_EQUAL(turn_subscribe(turn, 1, 1, 1, NULL), KQ_OK);
    CU_ASSERT_EQUAL(turn_with_id(turn, GROUP_RESOLVE, 1, "t", turn_told[0].id, 0, &call), KQ_OK);
    CU_ASSERT_EQUAL(call.committed_off, -1);
    CU_ASSERT_STRING_EQUAL(call.group_name, "g");
    CU_ASSERT_EQUAL(turn_with_id(turn, GROUP_COMMIT, 1, "t", turn_told[0].id, 17, &call), KQ_OK);
    CU_ASSERT_EQUAL(turn_with_id(turn, GROUP_COMMIT, 1, "u", turn_told[0].id, 18, &call), KQ_UNKNOWN_SUBSCRIPTION);
    CU_ASSERT_EQUAL(turn_with_id(turn, GROUP_COMMIT, 1, "t", turn_told[0].id, -1, &call), KQ_INVALID);
    CU_ASSERT_EQUAL(turn_with_id(turn, GROUP_UNSUBSCRIBE, 1, "t", turn_told[0].id, 0, &call), KQ_OK);
    turn_pass(turn, TURN_RETENTION_US - 1000000);
    CU_ASSERT_EQUAL(turn_subscribe(turn, 2, 1, 1, NULL), KQ_OK);
    CU_ASSERT_EQUAL(turn_with_id(turn, GROUP_RESOLVE, 2, "t", turn_told[1].id, 0, &call), KQ_OK);
    CU_ASSERT_EQUAL(call.committed_off, 17);
    turn_pass(turn, TURN_TIMEOUT_US);
    CU_ASSERT_FALSE(turn_id_works(turn, turn_told[1].id));
    turn_pass(turn, TURN_RETENTION_US - 1000000);
    struct group_call describe = {.verb = GROUP_DESCRIBE, .group = "g"};
    CU_ASSERT_EQUAL(turn_run(turn, &describe), KQ_OK);
    CU_ASSERT_EQUAL(describe.row_count, 1);
    CU_ASSERT_EQUAL(describe.rows[0].committed_off, 17);
    CU_ASSERT_FALSE(describe.rows[0].owned);
    group_call_fini(&describe);
    turn_pass(turn, 1000000);
    describe = (struct group_call){.verb = GROUP_DESCRIBE, .group = "g"};
    CU_ASSERT_EQUAL(turn_run(turn, &describe), KQ_UNKNOWN_GROUP);
    CU_ASSERT_EQUAL(turn->group->sessions.count, 0);
    turn_free(turn);
}

static void a_new_coordinator_gives_everyone_a_full_timeout_and_nothing_to_who_has_not_called(void)
{
    struct machine_turn *turn = turn_new();
    struct group_call call;
    CU_ASSERT_EQUAL(turn_subscribe(turn, 1, 2, 1, NULL), KQ_OK);
    CU_ASSERT_EQUAL(turn_subscribe(turn, 2, 2, 2, NULL), KQ_OK);
    turn_pass(turn, TURN_TIMEOUT_US - 1000000);
    turn->machine.ops->leads(turn->group, false, &turn->now);
    turn->machine.ops->leads(turn->group, true, &turn->now);
    CU_ASSERT_EQUAL(turn_with_id(turn, GROUP_UNSUBSCRIBE, 1, "t", turn_told[0].id, 0, &call), KQ_OK);
    CU_ASSERT_EQUAL(turn_assigned_events, 0);
    turn_pass(turn, TURN_TIMEOUT_US - 1000000);
    CU_ASSERT_TRUE(turn_id_works(turn, turn_told[1].id));
    struct group_call ping = {.verb = GROUP_RENEW, .session = turn_session(2)};
    CU_ASSERT_EQUAL(turn_run(turn, &ping), KQ_OK);
    CU_ASSERT_EQUAL(turn_assigned_events, 1);
    turn_free(turn);
}

static void a_deleted_topic_takes_its_subscriptions_and_offsets_along(void)
{
    struct machine_turn *turn = turn_new();
    struct group_call call;
    CU_ASSERT_EQUAL(turn_subscribe(turn, 1, 3, 3, NULL), KQ_OK);
    CU_ASSERT_EQUAL(turn_with_id(turn, GROUP_COMMIT, 1, "t", turn_told[0].id, 17, &call), KQ_OK);
    CU_ASSERT_EQUAL(turn_with_id(turn, GROUP_COMMIT, 1, "t", turn_told[1].id, 17, &call), KQ_OK);
    struct uuid id = turn_topic_uuid(1);
    struct group_call drop = {.verb = GROUP_DROP_TOPICS, .exists = turn_is_not, .exists_context = &id};
    CU_ASSERT_EQUAL(turn_run(turn, &drop), KQ_OK);
    CU_ASSERT_EQUAL(turn_revoked_events, 3);
    CU_ASSERT_EQUAL(turn->group->groups.count, 0);
    CU_ASSERT_EQUAL(turn->group->sessions.count, 0);
    turn_free(turn);
}

static void much_is_dropped_in_pieces(void)
{
    enum { MANY = 1000 };
    struct machine_turn *turn = turn_new();
    struct group_call call;
    uint32_t got;
    CU_ASSERT_EQUAL(turn_subscribe(turn, 1, MANY, MANY, &got), KQ_OK);
    CU_ASSERT_EQUAL_FATAL(got, MANY);
    for (size_t i = 0; i < MANY; i++)
        CU_ASSERT_EQUAL(turn_with_id(turn, GROUP_COMMIT, 1, "t", turn_told[i].id, 17, &call), KQ_OK);
    struct uuid id = turn_topic_uuid(1);
    struct group_call drop = {.verb = GROUP_DROP_TOPICS, .exists = turn_is_not, .exists_context = &id};
    CU_ASSERT_TRUE(turn->machine.ops->call(turn->group, &drop.call, turn, &turn->now));
    CU_ASSERT_EQUAL(turn->proposed_count, 0);
    CU_ASSERT_EQUAL(turn_with_id(turn, GROUP_RESOLVE, 1, "t", turn_told[MANY - 1].id, 0, &call),
                    KQ_UNKNOWN_SUBSCRIPTION);
    CU_ASSERT_EQUAL(turn_revoked_events, MANY);
    CU_ASSERT_EQUAL(turn->group->groups.count, 0);
    CU_ASSERT_TRUE(turn->most_proposed < 2 * MANY); /* subscribing was one turn, dropping is many */
    turn->most_proposed = 0;
    CU_ASSERT_EQUAL(turn_subscribe(turn, 2, MANY, MANY, &got), KQ_OK);
    for (size_t i = 0; i < MANY; i++)
        CU_ASSERT_EQUAL(turn_with_id(turn, GROUP_COMMIT, 2, "t", turn_told[MANY + i].id, 17, &call), KQ_OK);
    turn->most_proposed = 0;
    turn_pass(turn, TURN_TIMEOUT_US);
    turn_pass(turn, TURN_RETENTION_US);
    CU_ASSERT_EQUAL(turn->group->groups.count, 0);
    CU_ASSERT_TRUE(turn->most_proposed < MANY / 2);
    turn_free(turn);
}

static void names_and_numbers_that_cannot_be_are_refused(void)
{
    struct machine_turn *turn = turn_new();
    char name[GROUP_NAME_MAX_BYTES + 2];
    memset(name, 'x', sizeof name);
    name[GROUP_NAME_MAX_BYTES + 1] = '\0';
    struct group_call call = {.verb = GROUP_SUBSCRIBE,
                              .session = turn_session(1),
                              .group = name,
                              .topic = "t",
                              .topic_id = turn_topic_uuid(1),
                              .partition_count = 1,
                              .wanted = 1};
    CU_ASSERT_EQUAL(turn_run(turn, &call), KQ_INVALID);
    call.group = "";
    CU_ASSERT_EQUAL(turn_run(turn, &call), KQ_INVALID);
    call.group = "g";
    call.wanted = 0;
    CU_ASSERT_EQUAL(turn_run(turn, &call), KQ_INVALID);
    CU_ASSERT_EQUAL(turn->records.len, 0);
    group_call_fini(&call);
    turn_free(turn);
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
};
UNIT_MAIN("group", cases)
