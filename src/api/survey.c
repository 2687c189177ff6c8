#include "api/survey.h"

static void put_number_or_null(struct json *json, const char *name, bool known, int64_t value)
{
    json_key(json, name);
    if (known)
        json_add_number(json, value);
    else
        json_add_null(json);
}

static void write_broker(const struct cluster_survey_broker *broker, struct json *json)
{
    json_open(json, '{');
    json_put_number(json, "Broker", broker->id);
    json_put_text(json, "Host", broker->host);
    json_put_number(json, "Port", broker->port);
    json_put_number(json, "RaftPort", broker->raft_port);
    json_put_bool(json, "Alive", broker->alive);
    json_put_bool(json, "Draining", broker->draining);
    json_put_bool(json, "Controller", broker->controller);
    json_put_number(json, "Replicas", broker->replicas);
    json_put_number(json, "Leaders", broker->leaders);
    json_close(json, '}');
}

static void write_partition(const struct cluster_survey_partition *partition, struct json *json)
{
    json_open(json, '{');
    json_put_text(json, "Topic", partition->topic);
    json_put_number(json, "Partition", partition->partition);
    put_number_or_null(json, "Leader", partition->leader != 0, partition->leader);
    json_put_bool(json, "Moving", partition->moving);
    json_put_bool(json, "Lost", partition->lost);
    json_key(json, "Replicas");
    json_open(json, '[');
    for (uint32_t i = 0; i < partition->replica_count; i++) {
        const struct cluster_survey_replica *replica = &partition->replicas[i];
        json_open(json, '{');
        json_put_number(json, "Broker", replica->broker);
        json_put_bool(json, "Wanted", replica->wanted);
        json_put_bool(json, "Voter", replica->voter);
        json_put_bool(json, "InSync", replica->in_sync);
        put_number_or_null(json, "Lag", replica->lag >= 0, replica->lag);
        json_close(json, '}');
    }
    json_close(json, ']');
    json_close(json, '}');
}

void survey_write(const struct cluster_survey *survey, struct json *json)
{
    json_open(json, '{');
    json_key(json, "Brokers");
    json_open(json, '[');
    for (uint32_t i = 0; i < survey->broker_count; i++)
        write_broker(&survey->brokers[i], json);
    json_close(json, ']');
    json_key(json, "Totals");
    json_open(json, '{');
    json_put_number(json, "Partitions", survey->total);
    json_put_number(json, "Leaderless", survey->leaderless);
    json_put_number(json, "Lacking", survey->lacking);
    json_put_number(json, "Moving", survey->moving);
    json_put_number(json, "Lost", survey->lost);
    json_close(json, '}');
    json_key(json, "Partitions");
    json_open(json, '[');
    for (uint32_t i = 0; i < survey->partition_count; i++)
        write_partition(&survey->partitions[i], json);
    json_close(json, ']');
    json_close(json, '}');
}
