/* The line parser: every row of the protocol's table, and every way to get a
 * line wrong. */
#include "proto/text/command.h"

#include "support/unit.h"

#include <stdio.h>

static const struct text_limits limits = {.partitions_max = 1000};
static char line[4096]; /* the slices of the command last parsed point here */
static struct text_command c;
static struct fault fault;

static enum kq_err parse_bytes(const void *bytes, size_t len)
{
    CU_ASSERT_TRUE_FATAL(len < sizeof(line));
    memcpy(line, bytes, len);
    fault = (struct fault){.err = KQ_OK};
    return text_command_parse((uint8_t *)line, len, &limits, &c, &fault);
}

static void takes(const char *text, enum text_verb verb)
{
    enum kq_err err = parse_bytes(text, strlen(text));
    if (err != KQ_OK || c.verb != verb) {
        printf("\n    %s: %s\n", text, fault.text);
        CU_FAIL("a good line was not taken");
    }
}

/* The whole text, or where it ends in '*' its beginning. */
static void refuses(const char *text, const char *why)
{
    enum kq_err err = parse_bytes(text, strlen(text));
    size_t len = strlen(why);
    bool same = why[len - 1] == '*' ? strncmp(fault.text, why, len - 1) == 0 : strcmp(fault.text, why) == 0;
    if (err == KQ_OK || !same) {
        printf("\n    %s: `%s`, not `%s`\n", text, fault.text, why);
        CU_FAIL("a bad line was not refused as it should be");
    }
}

static bool is(struct slice s, const char *text)
{
    return !slice_is_absent(s) && slice_equal_text(s, text);
}

static void empty_lines_are_no_command(void)
{
    takes("", TEXT_NONE);
    takes("\r", TEXT_NONE);
    takes("   ", TEXT_NONE);
    takes("  \r", TEXT_NONE);
}

static void names_have_no_case_and_spaces_no_number(void)
{
    takes("ping", TEXT_PING);
    takes("  PiNg  ", TEXT_PING);
    takes("PING\r", TEXT_PING);
    takes("\"PING\"", TEXT_PING);
    takes("pubs   t    {}", TEXT_PUBS);
    CU_ASSERT_TRUE(is(c.topic, "t"));
    CU_ASSERT_TRUE(is(c.message, "{}"));
}

static void quotes_hold_spaces_and_doubled_quotes(void)
{
    takes(
        "PUBS topic_name \"{\"\"Header\"\":\"\"header\"\",\"\"Key\"\":\"\"124\"\",\"\"Body\"\":\"\"Hello World!\"\"}\"",
        TEXT_PUBS);
    CU_ASSERT_TRUE(is(c.topic, "topic_name"));
    CU_ASSERT_TRUE(is(c.message, "{\"Header\":\"header\",\"Key\":\"124\",\"Body\":\"Hello World!\"}"));
    takes("SUBS \"t\" \"my group\" 2", TEXT_SUBS);
    CU_ASSERT_TRUE(is(c.group, "my group"));
    CU_ASSERT_EQUAL(c.partitions, 2);
    takes("SUBS t \"\"\"\"", TEXT_SUBS);
    CU_ASSERT_TRUE(is(c.group, "\""));
    takes("SUBS t \"a\"\"\"\"b\"", TEXT_SUBS);
    CU_ASSERT_TRUE(is(c.group, "a\"\"b"));
    takes("SUBS t a\"b", TEXT_SUBS);
    CU_ASSERT_TRUE(is(c.group, "a\"b"));
    refuses("PUBS t \"abc", "the quote at byte 7 is never closed; inside quotes, write \"\" for a quote");
    refuses("PUBS t \"", "the quote at byte 7 is never closed*");
    refuses("PUBS t \"abc\"\"", "the quote at byte 7 is never closed*");
    refuses("PUBS t \"a\"b", "the quote at byte 9 closes in the middle of a field*");
}

static void a_brace_runs_to_the_end_of_the_line(void)
{
    takes("PUBS topic_name {\"Key\":\"124\",\"Body\":\"Hello World! \"}", TEXT_PUBS);
    CU_ASSERT_TRUE(is(c.message, "{\"Key\":\"124\",\"Body\":\"Hello World! \"}"));
    takes("PUBS t {\"Body\":\"a\"} trailing", TEXT_PUBS);
    CU_ASSERT_TRUE(is(c.message, "{\"Body\":\"a\"} trailing")); /* the message parser refuses it, with the place */
    takes("PUBS t {}\r", TEXT_PUBS);
    CU_ASSERT_TRUE(is(c.message, "{}"));
    refuses("PUBS t a {b}", "too many fields; the form is PUBS topic message, and a field with spaces is quoted");
}

static void crtp(void)
{
    takes("CRTP x", TEXT_CRTP);
    CU_ASSERT_TRUE(is(c.topic, "x"));
    CU_ASSERT_EQUAL(c.partitions, 0);
    CU_ASSERT_EQUAL(c.replicas, 0);
    CU_ASSERT_EQUAL(c.settings_given, 0);
    takes("CRTP x 1000 3", TEXT_CRTP);
    CU_ASSERT_EQUAL(c.partitions, 1000);
    CU_ASSERT_EQUAL(c.replicas, 3);
    takes("CRTP x 2 retention.ms=-1 segment.bytes=1048576", TEXT_CRTP);
    CU_ASSERT_EQUAL(c.partitions, 2);
    CU_ASSERT_EQUAL(c.settings_given, 1U << TEXT_SETTING_RETENTION_MS | 1U << TEXT_SETTING_SEGMENT_BYTES);
    CU_ASSERT_EQUAL(c.setting[TEXT_SETTING_RETENTION_MS], -1);
    CU_ASSERT_EQUAL(c.setting[TEXT_SETTING_SEGMENT_BYTES], 1048576);
    takes("CRTP x 2 1 retention.bytes=1 retention.ms=2 segment.bytes=3 max.message.bytes=4", TEXT_CRTP);
    CU_ASSERT_EQUAL(c.setting[TEXT_SETTING_MAX_MESSAGE_BYTES], 4);
    takes("CRTP x retention.bytes=5", TEXT_CRTP);
    CU_ASSERT_EQUAL(c.partitions, 0);

    refuses("CRTP", "topic name is required field");
    refuses("CRTP \"\"", "topic name is required field");
    static const char *const bad[] = {"0", "-1", "1001", "abc", "1x", "99999999999999999999", "1.5", "\"\"", "+1"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char text[64];
        (void)snprintf(text, sizeof(text), "CRTP x %s", bad[i]);
        refuses(text, "please try again with correct Partition number");
    }
    refuses("CRTP x 1 0", "`0` is not a valid number of replicas: it is a number from 1");
    refuses("CRTP x 1 1 1", "`1` is not key=value; the form is CRTP topic*");
    refuses("CRTP x 1 color=red", "unknown setting `color`*");
    refuses("CRTP x retention.ms=abc", "`abc` is not a valid retention.ms: it is a number from -1");
    refuses("CRTP x retention.ms=", "`` is not a valid retention.ms*");
    refuses("CRTP x segment.bytes=0", "`0` is not a valid segment.bytes: it is a number from 1");
    refuses("CRTP x retention.ms=1 retention.ms=1", "setting retention.ms is given twice");
    refuses("CRTP x retention.ms=1 2", "`2` is not key=value*");
}

static void names_of_topics(void)
{
    char text[400] = "CRTP ";
    memset(text + 5, 'a', 249);
    takes(text, TEXT_CRTP);
    text[254] = 'a';
    refuses(text, "topic name `aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa...` is not valid*");
    takes("CRTP Az09._-", TEXT_CRTP);
    takes("CRTP ...", TEXT_CRTP);
    takes("CRTP _x", TEXT_CRTP);
    refuses("CRTP .", "topic name `.` is not valid*");
    refuses("CRTP ..", "topic name `..` is not valid*");
    refuses("CRTP a/b", "topic name `a/b` is not valid*");
    refuses("CRTP ../../etc", "topic name `../../etc` is not valid*");
    refuses("CRTP \"a b\"", "topic name `a b` is not valid*");
    refuses("CRTP gr\xc3\xbcn", "topic name `gr\xc3\xbcn` is not valid*");
    refuses("CRTP __consumer_offsets",
            "topic name `__consumer_offsets` is not valid: a name that begins with __ is the "
            "broker's own, and cannot be created");
    refuses("PUBS __x {}", "topic name `__x` is not valid*");
    refuses("PUBX __x 0 1 0 0 {}", "topic name `__x` is not valid*");
    refuses("DELE __x", "topic name `__x` is not valid*");
    takes("CONS __consumer_offsets id", TEXT_CONS);
    CU_ASSERT_EQUAL(fault.err, KQ_OK);
}

static void pubs(void)
{
    refuses("PUBS", "topic name is required field");
    refuses("PUBS t", "message is required field");
    takes("PUBS t plain", TEXT_PUBS);
    CU_ASSERT_TRUE(is(c.message, "plain"));
    takes("PUBS t \"\"", TEXT_PUBS); /* there, and not JSON: the message parser's */
    CU_ASSERT_TRUE(is(c.message, ""));
    refuses("PUBS t hello world", "too many fields; the form is PUBS topic message*");
}

static void pubx(void)
{
    takes("PUBX t 3 9223372036854775807 32767 2147483647 {\"Body\":\"a b\"}", TEXT_PUBX);
    CU_ASSERT_EQUAL(c.partition, 3);
    CU_ASSERT_EQUAL(c.producer_id, INT64_MAX);
    CU_ASSERT_EQUAL(c.producer_epoch, 32767);
    CU_ASSERT_EQUAL(c.sequence, INT32_MAX);
    CU_ASSERT_TRUE(is(c.message, "{\"Body\":\"a b\"}"));
    refuses("PUBX", "topic name is required field");
    refuses("PUBX t 1 2", "partition, id, epoch and sequence are required fields; the form is PUBX topic*");
    refuses("PUBX t 1 2 3 4", "message is required field");
    refuses("PUBX t -1 2 3 4 {}", "`-1` is not a valid partition: it is a number from 0 to 2147483647");
    refuses("PUBX t 1 x 3 4 {}", "`x` is not a valid producer id*");
    refuses("PUBX t 1 2 32768 4 {}", "`32768` is not a valid epoch: it is a number from 0 to 32767");
    refuses("PUBX t 1 2 3 2147483648 {}", "`2147483648` is not a valid sequence*");
}

static void subs(void)
{
    takes("SUBS t g", TEXT_SUBS);
    CU_ASSERT_EQUAL(c.partitions, 1);
    refuses("SUBS", "topic and consumer_group is a required field");
    refuses("SUBS t", "topic and consumer_group is a required field");
    refuses("SUBS t \"\"", "topic and consumer_group is a required field");
    refuses("SUBS t g 0", "0 is not a valid value for partition number");
    refuses("SUBS t g -3", "-3 is not a valid value for partition number");
    refuses("SUBS t g abc", "abc is not a valid value for partition number");
    refuses("SUBS t g 99999999999", "99999999999 is not a valid value for partition number");
    char text[400] = "SUBS t ";
    memset(text + 7, 'g', 249);
    takes(text, TEXT_SUBS);
    text[256] = 'g';
    refuses(text, "group name `gggg*");
}

static void cons_tail_and_cmit(void)
{
    static const char *const required = "subscriptionId and offset value are a required field";
    takes("CONS t id", TEXT_CONS);
    CU_ASSERT_FALSE(c.has_offset);
    CU_ASSERT_TRUE(is(c.id, "id"));
    takes("CONS t id 0", TEXT_CONS);
    CU_ASSERT_TRUE(c.has_offset);
    CU_ASSERT_EQUAL(c.offset, 0);
    takes("TAIL t id 12", TEXT_TAIL);
    CU_ASSERT_EQUAL(c.offset, 12);
    takes("CMIT t id 7", TEXT_CMIT);
    CU_ASSERT_EQUAL(c.offset, 7);
    refuses("CONS", required);
    refuses("CONS t", required);
    refuses("TAIL t", required);
    refuses("CMIT t", required);
    refuses("CMIT t id", required);
    refuses("CONS t id abc", "`abc` is not a valid offset: an offset is a number from 0");
    refuses("CONS t id -1", "`-1` is not a valid offset*");
    refuses("CONS t id 9223372036854775808", "`9223372036854775808` is not a valid offset*");
    takes("CONS t id 9223372036854775807", TEXT_CONS);
    CU_ASSERT_EQUAL(c.offset, INT64_MAX);
    char text[300] = "CONS t ";
    memset(text + 7, 'x', 129);
    refuses(text, "unknown, expired or revoked subscription");
}

static void the_others(void)
{
    takes("PRID", TEXT_PRID);
    takes("DISC", TEXT_DISC);
    takes("LIST", TEXT_LIST);
    takes("INFO", TEXT_INFO);
    takes("UNSB t id", TEXT_UNSB);
    CU_ASSERT_TRUE(is(c.id, "id"));
    refuses("UNSB t", "topic and subscriptionId are required fields");
    takes("DESC t", TEXT_DESC);
    refuses("DESC", "topic name is required field");
    takes("DELE t", TEXT_DELE);
    refuses("DELE", "topic name is required field");
    takes("GRPS", TEXT_GRPS);
    CU_ASSERT_TRUE(slice_is_absent(c.group));
    takes("GRPS g", TEXT_GRPS);
    CU_ASSERT_TRUE(is(c.group, "g"));
    takes("HELP", TEXT_HELP);
    CU_ASSERT_EQUAL(c.about, TEXT_NONE);
    takes("help pubs", TEXT_HELP);
    CU_ASSERT_EQUAL(c.about, TEXT_PUBS);
    refuses("HELP me", "unknown command me; HELP lists the commands");
    refuses("PING 1", "too many fields; the form is PING, and a field with spaces is quoted");
    refuses("DESC a b", "too many fields; the form is DESC topic*");
    refuses("FOO", "unknown command FOO; HELP lists the commands");
    refuses("PUBSX t {}", "unknown command PUBSX; HELP lists the commands");
    refuses("{\"Body\":1}", "unknown command {\"Body\":1}; HELP lists the commands");
    refuses("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            "unknown command aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa...; HELP lists the commands");
}

static void clus(void)
{
    takes("CLUS STATUS", TEXT_CLUS);
    CU_ASSERT_TRUE(c.cluster == TEXT_CLUSTER_STATUS && !c.all);
    takes("clus status all", TEXT_CLUS);
    CU_ASSERT_TRUE(c.cluster == TEXT_CLUSTER_STATUS && c.all);
    takes("CLUS DRAIN 4", TEXT_CLUS);
    CU_ASSERT_TRUE(c.cluster == TEXT_CLUSTER_DRAIN && c.broker == 4);
    takes("CLUS ADD 1000000", TEXT_CLUS);
    takes("CLUS MOVE t 3 2,1,40", TEXT_CLUS);
    CU_ASSERT_TRUE(c.cluster == TEXT_CLUSTER_MOVE && is(c.topic, "t") && c.partition == 3);
    CU_ASSERT_TRUE(c.broker_count == 3 && c.brokers[0] == 2 && c.brokers[1] == 1 && c.brokers[2] == 40);
    takes("CLUS MOVE t 3 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16", TEXT_CLUS);
    takes("CLUS REBALANCE", TEXT_CLUS);
    takes("CLUS TRANSFER t 0", TEXT_CLUS);
    CU_ASSERT_TRUE(c.cluster == TEXT_CLUSTER_TRANSFER && c.broker == 0);
    takes("CLUS TRANSFER t 0 7", TEXT_CLUS);
    CU_ASSERT_EQUAL(c.broker, 7);

    refuses("CLUS", "`` is nothing that CLUS can do; there are STATUS, ADD, DRAIN, REMOVE, MOVE, REBALANCE and *");
    refuses("CLUS STAT", "`STAT` is nothing that CLUS can do*");
    refuses("CLUS STATUS some", "the form is CLUS STATUS [ALL]");
    refuses("CLUS DRAIN", "the form is CLUS DRAIN broker");
    refuses("CLUS DRAIN 1 2", "the form is CLUS DRAIN broker");
    refuses("CLUS REBALANCE 1", "the form is CLUS REBALANCE");
    refuses("CLUS ADD 0", "`0` is not a valid broker: it is the broker.id of one, a number from 1; CLUS STATUS *");
    refuses("CLUS REMOVE 1000001", "`1000001` is not a valid broker*");
    refuses("CLUS MOVE t 0", "the form is CLUS MOVE topic partition broker,...");
    refuses("CLUS MOVE t 0 1 2", "too many fields*");
    refuses("CLUS MOVE t 0 1,", "`` is not a valid broker*");
    refuses("CLUS MOVE t 0 \"\"", "`` is not a valid broker*");
    refuses("CLUS MOVE t 0 1,2,1", "broker 1 is named twice*");
    refuses("CLUS MOVE t 3 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17", "more than 16 brokers for one partition");
    refuses("CLUS MOVE t -1 1", "`-1` is not a valid partition*");
    refuses("CLUS TRANSFER \"\" 1", "topic name is required field");
}

static void bytes_that_are_no_text(void)
{
    CU_ASSERT_EQUAL(parse_bytes("PING\0", 5), KQ_INVALID);
    CU_ASSERT_STRING_EQUAL(fault.text, "the line holds a NUL at byte 4; commands are UTF-8 text");
    refuses("PUBS t \xff", "the line is not UTF-8 at byte 7 (0xff)");
    refuses("PUBS t {\"Body\":\"\xc3", "the line is not UTF-8 at byte 16 (0xc3)");
    char text[200];
    memset(text, 'a', sizeof(text));
    for (size_t i = 0; i + 2 <= 120; i += 2)
        memcpy(text + 1 + i, "\xc3\xa9", 2);
    text[160] = 0;
    refuses(text, "unknown command a*"); /* the excerpt ends with a whole character */
    CU_ASSERT_PTR_NOT_NULL(strstr(fault.text, "\xc3\xa9...;"));
}

static void every_verb_has_form_and_help(void)
{
    for (int v = 0; v < TEXT_VERB_COUNT; v++) {
        enum text_verb verb = (enum text_verb)v;
        CU_ASSERT_EQUAL(text_verb_find(slice_text(text_verb_name(verb))), verb);
        CU_ASSERT_TRUE(strlen(text_verb_help(verb)) > 5);
    }
}

static void strangers(void)
{
    static const uint8_t kafka[] = {0, 0, 0, 0x2a, 0, 18, 0, 3, 0, 0, 0, 1};
    static const uint8_t tls[] = {0x16, 3, 1, 2, 0};
    CU_ASSERT_EQUAL(text_stranger_detect(kafka, sizeof(kafka)), TEXT_STRANGER_KAFKA);
    for (size_t n = 0; n < 8; n++)
        CU_ASSERT_EQUAL(text_stranger_detect(kafka, n), TEXT_STRANGER_UNSURE);
    CU_ASSERT_EQUAL(text_stranger_detect((const uint8_t *)"\0garbage", 8), TEXT_STRANGER_NONE);
    CU_ASSERT_EQUAL(text_stranger_detect(tls, sizeof(tls)), TEXT_STRANGER_TLS);
    static const char *const http[] = {"GET / HTTP/1.1", "POST /x HTTP/1.0", "OPTIONS * HTTP/1.1",
                                       "PRI * HTTP/2.0\r\n"};
    for (size_t i = 0; i < 4; i++)
        CU_ASSERT_EQUAL(text_stranger_detect((const uint8_t *)http[i], strlen(http[i])), TEXT_STRANGER_HTTP);
    CU_ASSERT_EQUAL(text_stranger_detect((const uint8_t *)"GET", 3), TEXT_STRANGER_UNSURE);
    for (int v = 0; v < TEXT_VERB_COUNT; v++) {
        char name[8];
        (void)snprintf(name, sizeof(name), "%s\n", text_verb_name((enum text_verb)v));
        CU_ASSERT_EQUAL(text_stranger_detect((const uint8_t *)name, 5), TEXT_STRANGER_NONE);
    }
    CU_ASSERT_EQUAL(text_stranger_detect((const uint8_t *)"\r\n", 2), TEXT_STRANGER_NONE);
    CU_ASSERT_PTR_NOT_NULL(strstr(text_stranger_text(TEXT_STRANGER_KAFKA), "this port speaks Kafkaesque's text"));
    CU_ASSERT_PTR_NOT_NULL(strstr(text_stranger_text(TEXT_STRANGER_HTTP), "this port speaks Kafkaesque's text"));
}

static const struct unit_case cases[] = {
    {"empty lines are no command", empty_lines_are_no_command},
    {"names have no case and spaces no number", names_have_no_case_and_spaces_no_number},
    {"quotes hold spaces and doubled quotes", quotes_hold_spaces_and_doubled_quotes},
    {"a brace runs to the end of the line", a_brace_runs_to_the_end_of_the_line},
    {"CRTP takes a topic, numbers and settings", crtp},
    {"topics' names are checked", names_of_topics},
    {"PUBS takes a topic and a message", pubs},
    {"PUBX takes partition, producer and sequence", pubx},
    {"SUBS takes a topic, a group and a number", subs},
    {"CONS, TAIL and CMIT take an id and an offset", cons_tail_and_cmit},
    {"CLUS takes a word and what belongs to it", clus},
    {"the other commands, and unknown ones", the_others},
    {"bytes that are no text are refused with their place", bytes_that_are_no_text},
    {"every verb has a form and a help line", every_verb_has_form_and_help},
    {"Kafka, HTTP and TLS are recognised", strangers},
};
UNIT_MAIN("text command", cases)
