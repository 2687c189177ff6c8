/* CLUS: a word says what is wanted, and what must follow it. */
#include "proto/text/command_internal.h"

#include "base/require.h"

#include <string.h>
#include <strings.h>

#define CLUSTER_WORD(name, form) #name,
static const char *const words[] = {TEXT_CLUSTER_TABLE(CLUSTER_WORD)};
#define CLUSTER_FORM(name, form) form,
static const char *const forms[] = {TEXT_CLUSTER_TABLE(CLUSTER_FORM)};

/* How many fields follow the word: at least, at most. */
static const struct {
    size_t least, most;
} counts[] = {
    [TEXT_CLUSTER_STATUS] = {0, 1},   [TEXT_CLUSTER_ADD] = {1, 1},  [TEXT_CLUSTER_DRAIN] = {1, 1},
    [TEXT_CLUSTER_REMOVE] = {1, 1},   [TEXT_CLUSTER_MOVE] = {3, 3}, [TEXT_CLUSTER_REBALANCE] = {0, 0},
    [TEXT_CLUSTER_TRANSFER] = {2, 3},
};

const char *text_cluster_word(enum text_cluster cluster)
{
    REQUIRE(cluster < TEXT_CLUSTER_COUNT);
    return words[cluster];
}

const char *text_cluster_form(enum text_cluster cluster)
{
    REQUIRE(cluster < TEXT_CLUSTER_COUNT);
    return forms[cluster];
}

static bool equals_word(struct slice field, const char *word)
{
    return field.len == strlen(word) && strncasecmp((const char *)field.data, word, field.len) == 0;
}

static enum kq_err take_broker(struct slice text, uint32_t *broker, struct fault *fault)
{
    int64_t number = 0;
    if (!text_parse_number(text, 1, TEXT_BROKER_ID_MAX, &number))
        return fault_set(fault, KQ_INVALID,
                         "`%.*s%s` is not a valid broker: it is the broker.id of one, a number from 1; CLUS STATUS "
                         "lists them",
                         SHOWN(text));
    *broker = (uint32_t)number;
    return KQ_OK;
}

/* `1,2,4`: each once. */
static enum kq_err take_brokers(struct slice list, struct text_command *command, struct fault *fault)
{
    for (size_t at = 0; at <= list.len;) {
        const uint8_t *comma = at == list.len ? NULL : memchr(list.data + at, ',', list.len - at);
        size_t end = comma == NULL ? list.len : (size_t)(comma - list.data);
        uint32_t broker = 0;
        enum kq_err err = take_broker(slice_of(list.data + at, end - at), &broker, fault);
        if (err != KQ_OK)
            return err;
        for (uint32_t i = 0; i < command->broker_count; i++)
            if (command->brokers[i] == broker)
                return fault_set(fault, KQ_BAD_REPLICAS, "broker %u is named twice; a broker holds a partition once",
                                 broker);
        if (command->broker_count == TEXT_REPLICAS_MAX)
            return fault_set(fault, KQ_BAD_REPLICAS, "more than %d brokers for one partition", TEXT_REPLICAS_MAX);
        command->brokers[command->broker_count++] = broker;
        at = end + 1;
    }
    return KQ_OK;
}

/* MOVE and TRANSFER. */
static enum kq_err take_partition(const struct text_fields *f, struct text_command *command, struct fault *fault)
{
    int64_t partition = 0;
    if (!text_have(f, 2))
        return text_say(fault, "topic name is required field");
    command->topic = f->at[2];
    enum kq_err err = text_take_number(f->at[3], "partition", INT32_MAX, &partition, fault);
    command->partition = (int32_t)partition;
    if (err != KQ_OK || f->count == 4)
        return err;
    return command->cluster == TEXT_CLUSTER_MOVE ? take_brokers(f->at[4], command, fault)
                                                 : take_broker(f->at[4], &command->broker, fault);
}

static enum kq_err wrong_form(enum text_cluster cluster, struct fault *fault)
{
    return fault_set(fault, KQ_INVALID, "the form is CLUS %s%s%s", words[cluster], forms[cluster][0] == 0 ? "" : " ",
                     forms[cluster]);
}

enum kq_err text_parse_cluster(const struct text_fields *f, const struct text_limits *limits,
                               struct text_command *command, struct fault *fault)
{
    (void)limits;
    int found = 0;
    while (f->count > 1 && found < TEXT_CLUSTER_COUNT && !equals_word(f->at[1], words[found]))
        found++;
    if (f->count == 1 || found == TEXT_CLUSTER_COUNT)
        return fault_set(fault, KQ_INVALID,
                         "`%.*s%s` is nothing that CLUS can do; there are STATUS, ADD, DRAIN, REMOVE, MOVE, REBALANCE "
                         "and TRANSFER",
                         SHOWN(f->count == 1 ? slice_text("") : f->at[1]));
    command->cluster = (enum text_cluster)found;
    size_t given = f->count - 2;
    if (given < counts[found].least || given > counts[found].most)
        return wrong_form(command->cluster, fault);
    switch (command->cluster) {
    case TEXT_CLUSTER_STATUS:
        command->all = given == 1;
        return given == 1 && !equals_word(f->at[2], "ALL") ? wrong_form(command->cluster, fault) : KQ_OK;
    case TEXT_CLUSTER_ADD:
    case TEXT_CLUSTER_DRAIN:
    case TEXT_CLUSTER_REMOVE:
        return take_broker(f->at[2], &command->broker, fault);
    case TEXT_CLUSTER_MOVE:
    case TEXT_CLUSTER_TRANSFER:
        return take_partition(f, command, fault);
    case TEXT_CLUSTER_REBALANCE:
    case TEXT_CLUSTER_COUNT:
        break;
    }
    return KQ_OK;
}
