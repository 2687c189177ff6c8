/* What CLUS STATUS says, member by member: scripts and the client read it. */
#include "api/survey.h"

#include "support/unit.h"

static struct buf out;

static void is(const struct cluster_survey *survey, const char *want)
{
    struct json json;
    buf_init(&out, 1 << 16);
    json_begin(&json, &out);
    survey_write(survey, &json);
    CU_ASSERT_FALSE(out.bad);
    CU_ASSERT_EQUAL(out.len, strlen(want));
    CU_ASSERT_TRUE(out.len == strlen(want) && memcmp(out.data, want, out.len) == 0);
    buf_fini(&out);
}

static void nothing_is_three_empty_things(void)
{
    struct cluster_survey survey = {0};
    is(&survey, "{\"Brokers\":[],\"Totals\":{\"Partitions\":0,\"Leaderless\":0,\"Lacking\":0,\"Moving\":0,\"Lost\":0},"
                "\"Partitions\":[]}");
}

static void what_is_not_known_is_null(void)
{
    struct cluster_survey_broker brokers[] = {
        {.id = 1, .host = "a", .port = 8081, .raft_port = 7071, .alive = true, .controller = true, .replicas = 2},
        {.id = 2, .host = "b\"", .port = 8082, .raft_port = 7072, .draining = true, .replicas = 1, .leaders = 1},
    };
    struct cluster_survey_partition partitions[] = {
        {.topic = "t",
         .partition = 3,
         .leader = 2,
         .moving = true,
         .replica_count = 2,
         .replicas = {{.broker = 2, .wanted = true, .voter = true, .in_sync = true}, {.broker = 1, .lag = 17}}},
        {.topic = "u",
         .lost = true,
         .replica_count = 1,
         .replicas = {{.broker = 1, .wanted = true, .voter = true, .lag = -1}}},
    };
    struct cluster_survey survey = {.brokers = brokers,
                                    .broker_count = 2,
                                    .partitions = partitions,
                                    .partition_count = 2,
                                    .total = 4,
                                    .leaderless = 1,
                                    .lacking = 2,
                                    .moving = 3,
                                    .lost = 1};
    is(&survey,
       "{\"Brokers\":["
       "{\"Broker\":1,\"Host\":\"a\",\"Port\":8081,\"RaftPort\":7071,\"Alive\":true,\"Draining\":false,"
       "\"Controller\":true,\"Replicas\":2,\"Leaders\":0},"
       "{\"Broker\":2,\"Host\":\"b\\\"\",\"Port\":8082,\"RaftPort\":7072,\"Alive\":false,\"Draining\":true,"
       "\"Controller\":false,\"Replicas\":1,\"Leaders\":1}],"
       "\"Totals\":{\"Partitions\":4,\"Leaderless\":1,\"Lacking\":2,\"Moving\":3,\"Lost\":1},"
       "\"Partitions\":[{\"Topic\":\"t\",\"Partition\":3,\"Leader\":2,\"Moving\":true,\"Lost\":false,\"Replicas\":["
       "{\"Broker\":2,\"Wanted\":true,\"Voter\":true,\"InSync\":true,\"Lag\":0},"
       "{\"Broker\":1,\"Wanted\":false,\"Voter\":false,\"InSync\":false,\"Lag\":17}]},"
       "{\"Topic\":\"u\",\"Partition\":0,\"Leader\":null,\"Moving\":false,\"Lost\":true,\"Replicas\":["
       "{\"Broker\":1,\"Wanted\":true,\"Voter\":true,\"InSync\":false,\"Lag\":null}]}]}");
}

static const struct unit_case cases[] = {
    {"nothing is three empty things", nothing_is_three_empty_things},
    {"what is not known is null", what_is_not_known_is_null},
};
UNIT_MAIN("survey", cases)
