/*
 * The text protocol, row by row: what each command answers, what it refuses and
 * with which words, how lines may be written, and that replies keep their order.
 */
#include "e2e/e2e.h"
#include "e2e/scenario.h"

static struct daemon *shared;

static struct client *session(void)
{
    if (shared == NULL)
        shared = daemon_fresh("protocol");
    return client_open(daemon_port(shared));
}

/* ---- CRTP ------------------------------------------------------------------- */

static void crtp_says_done_also_for_what_exists_alike(void)
{
    struct client *c = session();
    REPLY_IS(client_ask(c, "CRTP first"), "Done");
    REPLY_IS(client_ask(c, "CRTP first"), "Done");
    REPLY_IS(client_ask(c, "CRTP first 1"), "Done");
    REPLY_IS(client_ask(c, "CRTP three 3"), "Done");
    REPLY_IS(client_ask(c, "CRTP three 3"), "Done");
    REPLY_REFUSES(client_ask(c, "CRTP three 4"), "3");
    REPLY_IS(client_ask(c, "CRTP one.replica 2 1"), "Done");
    REPLY_REFUSES(client_ask(c, "CRTP three.replicas 1 3"), "replica");
    client_close(&c);
}

static void crtp_refuses_numbers_that_are_none(void)
{
    static const char *const bad[] = {"0", "-1", "x", "1.5", "1001", "99999999999999999999", "1x", "\"\""};
    struct client *c = session();
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        REPLY_REFUSES(client_ask(c, "CRTP not.made %s", bad[i]), "please try again with correct Partition number");
    REPLY_REFUSES(client_ask(c, "DESC not.made"), "does not exist");
    CU_ASSERT_PTR_NULL(strstr(client_ask(c, "LIST"), "not.made"));
    REPLY_REFUSES(client_ask(c, "CRTP"), "topic name is required field");
    client_close(&c);
}

static void crtp_refuses_settings_that_are_none_and_makes_nothing(void)
{
    static const char *const bad[] = {"segment.bytes=1",
                                      "max.message.bytes=1000",
                                      "retention.ms=-2",
                                      "segment.bytes=1MiB",
                                      "retention.byte=1000000",
                                      "retention.ms=1 retention.ms=2",
                                      "retention.ms=1 segment.bytes=99999999999999"};
    struct client *c = session();
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        REPLY_REFUSES(client_ask(c, "CRTP not.set 1 %s", bad[i]), "");
        REPLY_REFUSES(client_ask(c, "PUBS not.set {\"Body\":\"x\"}"), "does not exist");
    }
    client_close(&c);
}

static void topic_names_are_checked(void)
{
    static const char *const bad[] = {"a/b", ".", "..", "__internal", "a:b", "\"a b\"", "\xc3\xa4"};
    char longest[260];
    struct client *c = session();
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        REPLY_REFUSES(client_ask(c, "CRTP %s", bad[i]), "topic name");
    memset(longest, 'n', sizeof(longest));
    longest[250] = '\0';
    REPLY_REFUSES(client_ask(c, "CRTP %s", longest), "topic name");
    longest[249] = '\0';
    REPLY_IS(client_ask(c, "CRTP %s", longest), "Done");
    REPLY_IS(client_ask(c, "PUBS %s {\"Body\":\"x\"}", longest), "Done");
    REPLY_IS(client_ask(c, "CRTP ...AZaz09._-"), "Done");
    REPLY_REFUSES(client_ask(c, "PUBS __consumer_offsets {\"Body\":\"x\"}"), "__");
    REPLY_REFUSES(client_ask(c, "DELE __consumer_offsets"), "__");
    client_close(&c);
}

/* ---- PUBS ------------------------------------------------------------------- */

static void pubs_refuses_what_is_no_message_and_stores_nothing(void)
{
    static const struct {
        const char *message, *says;
    } bad[] = {
        {"plain", "JSON"},
        {"{\"Bodyy\":\"typo\"}", "Bodyy"},
        {"{\"Body\":1}", "Body"},
        {"{\"Body\":null}", "Body"},
        {"{\"Body\":{\"a\":\"b\"}}", "Body"},
        {"{\"Body\":[\"a\"]}", "Body"},
        {"{\"Body\":\"a\",\"Body\":\"b\"}", "Body"},
        {"{\"Body\":\"a\"", "byte"},
        {"{\"Body\":\"a\"} more", "byte"},
        {"{\"Body\":\"\\q\"}", "byte"},
        {"{\"Body\":\"\\ud800\"}", "byte"},
        {"{Body:\"a\"}", "byte"},
        {"{\"Key\":7}", "Key"},
        {"\"[1]\"", "JSON"},
    };
    char id[ID_BYTES];
    struct client *c = session();
    topic_make(c, "strict", 1, "");
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        REPLY_REFUSES(client_ask(c, "PUBS strict %s", bad[i].message), bad[i].says);
    REPLY_REFUSES(client_ask(c, "PUBS strict"), "message is required field");
    REPLY_REFUSES(client_ask(c, "PUBS"), "is required field");
    REPLY_REFUSES(client_ask(c, "PUBS no.such.topic {\"Body\":\"x\"}"), "does not exist");
    subscribe(c, "strict", "g", id);
    REPLY_IS(client_ask(c, "CONS strict %s", id), "{\"Ok\":true,\"Data\":[]}");
    client_close(&c);
}

static void a_message_comes_back_as_it_was(void)
{
    char id[ID_BYTES];
    struct client *c = session();
    topic_make(c, "whole", 1, "");
    REPLY_IS(client_ask(c, "PUBS whole {\"Header\":\"header\",\"Key\":\"124\",\"Body\":\"Hello World!\"}"), "Done");
    REPLY_IS(client_ask(c, "PUBS whole \"{\"\"Header\"\":\"\"h\"\",\"\"Key\"\":\"\"k\"\",\"\"Body\"\":\"\"a b\"\"}\""),
             "Done");
    REPLY_IS(client_ask(c, "PUBS whole {\"Body\":\"\\u00e9 \\\"q\\\" \\\\ \\/ \\t\\n\\ud83d\\ude00 \xc3\xa4\"}"),
             "Done");
    REPLY_IS(client_ask(c, "PUBS whole {}"), "Done");
    REPLY_IS(client_ask(c, "PUBS whole {\"Body\":\"\"}"), "Done");
    REPLY_IS(client_ask(c, "PUBS whole { \"Key\" : \"\" , \"Body\" : \"spaces\" }"), "Done");
    subscribe(c, "whole", "g", id);
    struct json j = json_open(client_ask(c, "CONS whole %s", id));
    CU_ASSERT(json_is_true(&j, "Ok"));
    CU_ASSERT_EQUAL(json_count(&j, "Data"), 6);
    CU_ASSERT_STRING_EQUAL(json_text(&j, "Data.0.Header"), "header");
    CU_ASSERT_STRING_EQUAL(json_text(&j, "Data.0.Key"), "124");
    CU_ASSERT_STRING_EQUAL(json_text(&j, "Data.0.Body"), "Hello World!");
    CU_ASSERT_EQUAL(json_number(&j, "Data.0.Offset"), 0);
    CU_ASSERT(json_number(&j, "Data.0.Timestamp") > 1700000000000);
    CU_ASSERT_STRING_EQUAL(json_text(&j, "Data.1.Header"), "h");
    CU_ASSERT_STRING_EQUAL(json_text(&j, "Data.1.Key"), "k");
    CU_ASSERT_STRING_EQUAL(json_text(&j, "Data.1.Body"), "a b");
    CU_ASSERT_STRING_EQUAL(json_text(&j, "Data.2.Body"), "\xc3\xa9 \"q\" \\ / \t\n\xf0\x9f\x98\x80 \xc3\xa4");
    CU_ASSERT(json_is_null(&j, "Data.3.Body"));
    CU_ASSERT_STRING_EQUAL(json_text(&j, "Data.4.Body"), "");
    CU_ASSERT_STRING_EQUAL(json_text(&j, "Data.5.Body"), "spaces");
    CU_ASSERT_EQUAL(json_number(&j, "Data.5.Offset"), 5);
    json_close(&j);
    client_close(&c);
}

static uint32_t fnv1a(const char *text)
{
    uint32_t h = 2166136261u;
    for (; *text != '\0'; text++)
        h = (h ^ (uint8_t)*text) * 16777619u;
    return h;
}

static void a_key_chooses_its_partition_and_no_key_goes_round(void)
{
    int64_t expected[4] = {0};
    struct client *c = session();
    topic_make(c, "keyed", 4, "");
    for (int i = 0; i < 40; i++) {
        char key[16];
        (void)snprintf(key, sizeof(key), "key-%d", i);
        expected[(fnv1a(key) & 0x7fffffff) % 4]++;
        REPLY_IS(client_ask(c, "PUBS keyed {\"Key\":\"%s\",\"Body\":\"x\"}", key), "Done");
    }
    for (int p = 0; p < 4; p++)
        CU_ASSERT_EQUAL(partition_end(c, "keyed", p), expected[p]);
    topic_make(c, "round", 4, "");
    for (int i = 0; i < 40; i++)
        REPLY_IS(client_ask(c, "PUBS round {\"Body\":\"x\"}"), "Done");
    for (int p = 0; p < 4; p++)
        CU_ASSERT_EQUAL(partition_end(c, "round", p), 10);
    client_close(&c);
}

static void a_message_beyond_the_limit_is_refused(void)
{
    enum { LIMIT = 1 << 20, SLACK = 2048 };
    struct client *c = session();
    char *line = malloc(LIMIT + SLACK + 64);
    CU_ASSERT_PTR_NOT_NULL_FATAL(line);
    topic_make(c, "large", 1, "");
    size_t head = (size_t)snprintf(line, 64, "PUBS large {\"Body\":\"");
    memset(line + head, 'b', LIMIT + SLACK);
    memcpy(line + head + LIMIT - SLACK, "\"}\n", 3);
    CU_ASSERT(client_send(c, line, head + LIMIT - SLACK + 3));
    REPLY_IS(client_reply(c), "Done");
    memset(line + head, 'b', LIMIT + SLACK);
    memcpy(line + head + LIMIT + SLACK, "\"}\n", 3);
    CU_ASSERT(client_send(c, line, head + LIMIT + SLACK + 3));
    REPLY_REFUSES(client_reply(c), "too large");
    REPLY_IS(client_ask(c, "PING"), "Done");
    CU_ASSERT_EQUAL(partition_end(c, "large", 0), 1);
    REPLY_IS(client_ask(c, "CRTP smaller 1 max.message.bytes=1024"), "Done");
    REPLY_IS(client_ask(c, "PUBS smaller {\"Body\":\"short\"}"), "Done");
    REPLY_REFUSES(client_ask(c, "PUBS smaller {\"Body\":\"%02000d\"}", 0), "too large");
    free(line);
    client_close(&c);
}

/* ---- SUBS, CONS, CMIT, UNSB: what they refuse ------------------------------------ */

static void subs_refuses_with_the_words_of_old(void)
{
    struct client *c = session();
    topic_make(c, "sub", 1, "");
    REPLY_REFUSES(client_ask(c, "SUBS"), "topic and consumer_group is a required field");
    REPLY_REFUSES(client_ask(c, "SUBS sub"), "topic and consumer_group is a required field");
    REPLY_REFUSES(client_ask(c, "SUBS sub g 0"), "0 is not a valid value for partition number");
    REPLY_REFUSES(client_ask(c, "SUBS sub g -1"), "-1 is not a valid value for partition number");
    REPLY_REFUSES(client_ask(c, "SUBS sub g many"), "many is not a valid value for partition number");
    REPLY_REFUSES(client_ask(c, "SUBS no.such.topic g"), "does not exist");
    REPLY_HOLDS(client_ask(c, "SUBS sub g 1"), "{\"Ok\":true,\"Data\":[\"");
    REPLY_IS(client_ask(c, "SUBS sub g 1"),
             "Error, failed to create subscription: all partitions are already assigned");
    client_close(&c);
}

static void an_id_that_is_none_is_refused_everywhere(void)
{
    static const char *const forms[] = {"CONS known %s", "CONS known %s 0", "TAIL known %s", "CMIT known %s 0",
                                        "UNSB known %s"};
    static const char *const ids[] = {"nonsense", "0", "00000000000000000000000000000000", "\"\"", "-", "1-2-3"};
    char line[128], id[ID_BYTES];
    struct client *c = session();
    topic_make(c, "known", 1, "");
    topic_make(c, "other", 1, "");
    for (size_t f = 0; f < sizeof(forms) / sizeof(forms[0]); f++)
        for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
            const char *form = forms[f], *slot = strstr(form, "%s");
            (void)snprintf(line, sizeof(line), "%.*s%s%s", (int)(slot - form), form, ids[i], slot + 2);
            REPLY_REFUSES(client_ask(c, "%s", line), "");
        }
    REPLY_REFUSES(client_ask(c, "CONS known nonsense"), "unknown, expired or revoked subscription");
    REPLY_REFUSES(client_ask(c, "CONS known"), "subscriptionId and offset value are a required field");
    REPLY_REFUSES(client_ask(c, "CONS"), "required field");
    subscribe(c, "known", "g", id);
    REPLY_REFUSES(client_ask(c, "CONS other %s", id), "");
    REPLY_REFUSES(client_ask(c, "CONS no.such.topic %s", id), "");
    REPLY_REFUSES(client_ask(c, "CONS known %s first", id), "first");
    REPLY_REFUSES(client_ask(c, "CONS known %s -1", id), "-1");
    REPLY_REFUSES(client_ask(c, "CONS known %s 99999999999999999999", id), "99999999999999999999");
    REPLY_REFUSES(client_ask(c, "CMIT known %s", id), "");
    REPLY_REFUSES(client_ask(c, "CMIT known %s x", id), "x");
    REPLY_REFUSES(client_ask(c, "CMIT known %s 1", id), "");
    REPLY_IS(client_ask(c, "CMIT known %s 0", id), "Done");
    REPLY_IS(client_ask(c, "UNSB known %s", id), "Done");
    REPLY_REFUSES(client_ask(c, "UNSB known %s", id), "unknown, expired or revoked subscription");
    REPLY_REFUSES(client_ask(c, "CONS known %s", id), "unknown, expired or revoked subscription");
    client_close(&c);
}

static void cons_names_both_ends_when_the_offset_is_outside(void)
{
    char id[ID_BYTES];
    struct client *c = session();
    topic_make(c, "ends", 1, "");
    publish_range(c, "ends", "m", 0, 7, 0);
    subscribe(c, "ends", "g", id);
    REPLY_IS(client_ask(c, "CONS ends %s 7", id), "{\"Ok\":true,\"Data\":[]}");
    const char *reply = client_ask(c, "CONS ends %s 8", id);
    REPLY_REFUSES(reply, "0");
    REPLY_HOLDS(reply, "7");
    expect_range(c, "ends", id, 3, "m", 3, 7);
    client_close(&c);
}

/* ---- looking around -------------------------------------------------------------- */

static void list_desc_and_dele(void)
{
    struct client *c = session();
    topic_make(c, "seen", 3, "");
    REPLY_HOLDS(client_ask(c, "LIST"), "{\"Topic\":\"seen\",\"Partitions\":3}");
    struct json j = json_open(client_ask(c, "DESC seen"));
    CU_ASSERT(json_is_true(&j, "Ok"));
    CU_ASSERT_EQUAL(json_count(&j, "Data.Partitions"), 3);
    CU_ASSERT_EQUAL(json_number(&j, "Data.Partitions.2.Partition"), 2);
    CU_ASSERT_EQUAL(json_number(&j, "Data.Partitions.2.Leader"), 1);
    CU_ASSERT_EQUAL(json_number(&j, "Data.Partitions.2.Replicas.0"), 1);
    CU_ASSERT_EQUAL(json_number(&j, "Data.Partitions.2.InSync.0"), 1);
    CU_ASSERT_EQUAL(json_number(&j, "Data.Partitions.2.Start"), 0);
    CU_ASSERT_EQUAL(json_number(&j, "Data.Partitions.2.End"), 0);
    json_close(&j);
    REPLY_REFUSES(client_ask(c, "DESC"), "topic name is required field");
    REPLY_REFUSES(client_ask(c, "DESC never"), "does not exist");
    REPLY_REFUSES(client_ask(c, "DELE never"), "does not exist");
    REPLY_REFUSES(client_ask(c, "DELE"), "topic name is required field");
    REPLY_IS(client_ask(c, "DELE seen"), "Done");
    REPLY_REFUSES(client_ask(c, "DESC seen"), "does not exist");
    REPLY_REFUSES(client_ask(c, "PUBS seen {\"Body\":\"x\"}"), "does not exist");
    REPLY_REFUSES(client_ask(c, "DELE seen"), "does not exist");
    CU_ASSERT_PTR_NULL(strstr(client_ask(c, "LIST"), "\"seen\""));
    client_close(&c);
}

static void info_help_ping_and_unknown_commands(void)
{
    static const char *const verbs[] = {"CRTP", "PUBS", "SUBS", "CONS", "PRID", "PUBX", "DISC", "TAIL", "CMIT",
                                        "UNSB", "LIST", "DESC", "GRPS", "DELE", "INFO", "PING", "HELP"};
    struct client *c = session();
    REPLY_IS(client_ask(c, "PING"), "Done");
    struct json j = json_open(client_ask(c, "INFO"));
    CU_ASSERT(json_is_true(&j, "Ok"));
    CU_ASSERT(json_has(&j, "Data"));
    json_close(&j);
    for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
        REPLY_HOLDS(client_ask(c, "HELP"), verbs[i]);
        REPLY_HOLDS(client_ask(c, "HELP %s", verbs[i]), verbs[i]);
    }
    j = json_open(client_ask(c, "HELP"));
    CU_ASSERT_PTR_NOT_NULL(j.root);
    json_close(&j);
    REPLY_REFUSES(client_ask(c, "HELP NOPE"), "NOPE");
    REPLY_IS(client_ask(c, "NOPE some thing"), "Error, unknown command NOPE; HELP lists the commands");
    REPLY_REFUSES(client_ask(c, "GRPS no.such.group"), "");
    REPLY_HOLDS(client_ask(c, "GRPS"), "{\"Ok\":true");
    client_close(&c);
}

static void disc_closes_the_session(void)
{
    struct client *c = session();
    CU_ASSERT(client_send_text(c, "DISC\nPING\n"));
    (void)client_line(c, 1000); /* with a reply or without */
    CU_ASSERT(client_ends(c, REPLY_MS));
    client_close(&c);
}

/* ---- how lines may be written ----------------------------------------------------- */

static void lines_end_in_lf_or_crlf_and_names_in_any_case(void)
{
    struct client *c = session();
    CU_ASSERT(client_send_text(c, "crtp any.case\r\n\r\n\nCrTp ANY.CASE 2\r\n  PiNg  \n\n\n"));
    REPLY_IS(client_reply(c), "Done");
    REPLY_IS(client_reply(c), "Done");
    REPLY_IS(client_reply(c), "Done");
    CU_ASSERT(client_quiet(c, 50)); /* empty lines got none */
    REPLY_HOLDS(client_ask(c, "list"), "{\"Topic\":\"any.case\",\"Partitions\":1}");
    REPLY_HOLDS(client_ask(c, "LIST"), "{\"Topic\":\"ANY.CASE\",\"Partitions\":2}");
    REPLY_IS(client_ask(c, "  PUBS   \"any.case\"    {\"Body\":\"x\"}  "), "Done");
    REPLY_IS(client_ask(c, "PUBS any.case {\"Body\":\"x\"}\r"), "Done");
    client_close(&c);
}

static void a_line_may_come_in_pieces(void)
{
    static const char text[] = "PUBS pieces {\"Body\":\"piecewise\"}\r\nPING\n";
    char id[ID_BYTES];
    struct client *c = session();
    topic_make(c, "pieces", 1, "");
    for (size_t i = 0; i + 1 < sizeof(text); i++)
        CU_ASSERT(client_send(c, text + i, 1));
    REPLY_IS(client_reply(c), "Done");
    REPLY_IS(client_reply(c), "Done");
    subscribe(c, "pieces", "g", id);
    REPLY_HOLDS(client_ask(c, "CONS pieces %s", id), "\"piecewise\"");
    client_close(&c);
}

static void what_is_no_text_is_refused_and_the_session_goes_on(void)
{
    static const char nul[] = "PUBS any {\"Body\":\"a\0b\"}\n";
    struct client *c = session();
    topic_make(c, "text", 1, "");
    CU_ASSERT(client_send(c, nul, sizeof(nul) - 1));
    REPLY_REFUSES(client_reply(c), "NUL");
    REPLY_REFUSES(client_ask(c, "PUBS text {\"Body\":\"\xff\xfe\"}"), "UTF-8");
    REPLY_REFUSES(client_ask(c, "PUBS text {\"Body\":\"\xed\xa0\x80\"}"), "UTF-8");
    REPLY_REFUSES(client_ask(c, "PUBS text \"{\"\"Body\"\":\"\"x\"\"}"), "quote");
    REPLY_REFUSES(client_ask(c, "CRTP \"half"), "quote");
    REPLY_IS(client_ask(c, "PING"), "Done");
    client_close(&c);
}

/* ---- pipelining -------------------------------------------------------------------- */

static void replies_come_in_order_whatever_is_between(void)
{
    enum { LINES = 3000 };
    size_t used = 0, size = LINES * 64;
    char *all = malloc(size), expected[64];
    struct client *c = session();
    CU_ASSERT_PTR_NOT_NULL_FATAL(all);
    topic_make(c, "mixed", 2, "");
    for (int i = 0; i < LINES; i++)
        used += (size_t)snprintf(all + used, size - used,
                                 i % 3 == 0   ? "X%d\n"
                                 : i % 3 == 1 ? "PUBS mixed {\"Body\":\"%d\"}\n"
                                              : "HELP N%d\n",
                                 i);
    CU_ASSERT(client_send(c, all, used));
    for (int i = 0; i < LINES; i++) {
        const char *reply = client_reply(c);
        (void)snprintf(expected, sizeof(expected), i % 3 == 0 ? "command X%d;" : i % 3 == 1 ? "Done" : "N%d", i);
        if (strstr(reply, expected) == NULL) {
            fprintf(stderr, "\n  reply %d is %s\n", i, reply);
            CU_FAIL_FATAL("out of order");
        }
    }
    CU_ASSERT_EQUAL(partition_end(c, "mixed", 0) + partition_end(c, "mixed", 1), LINES / 3);
    free(all);
    client_close(&c);
}

static void one_write_may_create_publish_and_look(void)
{
    char all[4096] = "CRTP piped 1\n";
    struct client *c = session();
    for (int i = 0; i < 50; i++) {
        size_t used = strlen(all);
        (void)snprintf(all + used, sizeof(all) - used, "PUBS piped {\"Body\":\"m-%d\"}\n", i);
    }
    (void)strncat(all, "DESC piped\nDELE piped\nPUBS piped {\"Body\":\"late\"}\nCRTP piped 2\nLIST\n",
                  sizeof(all) - strlen(all) - 1);
    CU_ASSERT(client_send_text(c, all));
    for (int i = 0; i < 51; i++)
        REPLY_IS(client_reply(c), "Done");
    REPLY_HOLDS(client_reply(c), "\"End\":50");
    REPLY_IS(client_reply(c), "Done");
    REPLY_REFUSES(client_reply(c), "does not exist");
    REPLY_IS(client_reply(c), "Done");
    REPLY_HOLDS(client_reply(c), "{\"Topic\":\"piped\",\"Partitions\":2}");
    client_close(&c);
}

static void publishes_of_one_session_keep_their_order(void)
{
    char id[ID_BYTES];
    struct client *c = session();
    topic_make(c, "ordered", 1, "");
    publish_range(c, "ordered", "o", 0, 5000, 0);
    subscribe(c, "ordered", "g", id);
    expect_range(c, "ordered", id, -1, "o", 0, 5000);
    client_close(&c);
}

static void the_input_may_end_before_the_replies_are_read(void)
{
    struct client *c = session();
    CU_ASSERT(client_send_text(c, "CRTP halfclosed\nPUBS halfclosed {\"Body\":\"x\"}\nPING\n"));
    (void)shutdown(client_fd(c), SHUT_WR);
    REPLY_IS(client_reply(c), "Done");
    REPLY_IS(client_reply(c), "Done");
    REPLY_IS(client_reply(c), "Done");
    CU_ASSERT(client_ends(c, REPLY_MS));
    client_close(&c);
}

static void a_last_line_without_an_end_is_not_taken(void)
{
    enum { LONG = 2 << 20 };
    struct client *c = session();
    CU_ASSERT(client_send_text(c, "CRTP cut\nPING\nPUBS cut {\"Body\":\"x\"}"));
    (void)shutdown(client_fd(c), SHUT_WR);
    REPLY_IS(client_reply(c), "Done");
    REPLY_IS(client_reply(c), "Done");
    REPLY_REFUSES(client_reply(c), "line feed");
    CU_ASSERT(client_ends(c, REPLY_MS));
    client_close(&c);
    c = session();
    REPLY_HOLDS(client_ask(c, "DESC cut"), "\"Start\":0,\"End\":0,");
    char *line = malloc(LONG);
    CU_ASSERT_PTR_NOT_NULL_FATAL(line);
    memset(line, 'x', LONG);
    CU_ASSERT(client_send(c, line, LONG)); /* is answered once */
    free(line);
    (void)shutdown(client_fd(c), SHUT_WR);
    REPLY_REFUSES(client_reply(c), "too long");
    CU_ASSERT(client_ends(c, REPLY_MS));
    client_close(&c);
}

static void it_stops_cleanly_after_all_this(void)
{
    struct client *c = session();
    client_close(&c);
    daemon_end(&shared);
}

static const struct unit_case cases[] = {
    {"CRTP says Done, also for a topic that exists alike", crtp_says_done_also_for_what_exists_alike},
    {"CRTP refuses partition numbers that are none", crtp_refuses_numbers_that_are_none},
    {"CRTP refuses settings that are none and makes nothing", crtp_refuses_settings_that_are_none_and_makes_nothing},
    {"topic names are checked", topic_names_are_checked},
    {"PUBS refuses what is no message and stores nothing", pubs_refuses_what_is_no_message_and_stores_nothing},
    {"a message comes back as it was", a_message_comes_back_as_it_was},
    {"a key chooses its partition, no key goes round", a_key_chooses_its_partition_and_no_key_goes_round},
    {"a message beyond the limit is refused", a_message_beyond_the_limit_is_refused},
    {"SUBS refuses with the words of old", subs_refuses_with_the_words_of_old},
    {"an id that is none is refused everywhere", an_id_that_is_none_is_refused_everywhere},
    {"CONS names both ends when the offset is outside", cons_names_both_ends_when_the_offset_is_outside},
    {"LIST, DESC and DELE", list_desc_and_dele},
    {"INFO, HELP, PING and unknown commands", info_help_ping_and_unknown_commands},
    {"DISC closes the session", disc_closes_the_session},
    {"lines end in LF or CRLF, names come in any case", lines_end_in_lf_or_crlf_and_names_in_any_case},
    {"a line may come in pieces", a_line_may_come_in_pieces},
    {"what is no text is refused and the session goes on", what_is_no_text_is_refused_and_the_session_goes_on},
    {"replies come in order whatever is between", replies_come_in_order_whatever_is_between},
    {"one write may create, publish and look", one_write_may_create_publish_and_look},
    {"publishes of one session keep their order", publishes_of_one_session_keep_their_order},
    {"the input may end before the replies are read", the_input_may_end_before_the_replies_are_read},
    {"a last line without an end is not taken", a_last_line_without_an_end_is_not_taken},
    {"it stops cleanly after all this", it_stops_cleanly_after_all_this},
};

E2E_MAIN("protocol", cases)
