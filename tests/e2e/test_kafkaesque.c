/*
 * The command-line client against the real daemon, as a script would use it: by
 * its arguments, its input, what it prints and its exit code.
 */
#include "e2e/command.h"
#include "e2e/e2e.h"
#include "e2e/scenario.h"

enum { LINES = 3000 };

static char broker[32];

/* Where the only broker is. */
static const char *at(int port)
{
    (void)snprintf(broker, sizeof(broker), "127.0.0.1:%d", port);
    return broker;
}
#define RUN(port, input, ...) command_run(at(port), (input), (const char *const[]){__VA_ARGS__, NULL})

/* ---- scenarios ------------------------------------------------------------------------- */

static void without_a_broker_it_says_what_to_do(void)
{
    struct daemon *d = daemon_fresh("gone");
    int port = daemon_port(d);
    daemon_end(&d);
    CU_ASSERT_EQUAL(RUN(port, NULL, "topic", "list"), 3);
    command_shows("connection refused");
    command_shows("kafkaesqued");
    command_shows("--port");
}

static void wrong_usage_is_told_from_everything_else(void)
{
    CU_ASSERT_EQUAL(RUN(1, NULL, "nonsense"), 2);
    CU_ASSERT_EQUAL(RUN(1, NULL, "topic"), 2);
    command_shows("create, list, describe or delete");
    CU_ASSERT_EQUAL(RUN(1, NULL, "consume"), 2);
    command_shows("kafkaesque consume --help");
    CU_ASSERT_EQUAL(RUN(1, NULL, "consume", "t", "--from", "nowhere"), 2);
    CU_ASSERT_EQUAL(RUN(1, NULL, "consume", "t", "--nonsense"), 2);
    CU_ASSERT_EQUAL(RUN(1, NULL, "topic", "list", "--port", "70000"), 2);
    CU_ASSERT_EQUAL(RUN(1, NULL, "topic", "create", "t", "--config", "noequals"), 2);
    CU_ASSERT_EQUAL(RUN(1, NULL, "topic", "list", "--broker", "a:1", "--port", "2"), 2);
    CU_ASSERT_EQUAL(RUN(1, NULL, "topic", "list", "--broker", "a:1,,b:2"), 2);
    CU_ASSERT_EQUAL(RUN(1, NULL, "cluster"), 2);
    command_shows("status, add, drain");
    CU_ASSERT_EQUAL(RUN(1, NULL, "cluster", "move", "orders", "--to", "1"), 2);
    command_shows("orders/0");
    CU_ASSERT_EQUAL(RUN(1, NULL, "cluster", "drain", "x"), 2);
    CU_ASSERT_EQUAL(RUN(1, NULL, "--version"), 0);
    command_shows("kafkaesque ");
    CU_ASSERT_EQUAL(RUN(1, NULL, "publish", "--help"), 0);
    command_shows("exactly once");
}

static void topics_come_and_go(void)
{
    struct daemon *d = daemon_fresh("topics");
    int port = daemon_port(d);
    CU_ASSERT_EQUAL(RUN(port, NULL, "topic", "list"), 0);
    command_shows("there are no topics");
    CU_ASSERT_EQUAL(RUN(port, NULL, "topic", "create", "orders", "-p", "3", "-c", "retention.ms=60000"), 0);
    CU_ASSERT_EQUAL(RUN(port, NULL, "topic", "create", "orders", "-p", "4"), 1);
    CU_ASSERT_EQUAL(RUN(port, NULL, "topic", "create", "other", "-c", "colour=red"), 1);
    command_shows("colour");
    CU_ASSERT_EQUAL(RUN(port, NULL, "--json", "topic", "list"), 0);
    REPLY_IS(command_printed, "[{\"Topic\":\"orders\",\"Partitions\":3}]\n");
    CU_ASSERT_EQUAL(RUN(port, NULL, "topic", "describe", "orders"), 0);
    command_shows("60000");
    CU_ASSERT_EQUAL(RUN(port, NULL, "topic", "delete", "orders"), 0);
    CU_ASSERT_EQUAL(RUN(port, NULL, "topic", "describe", "orders"), 1);
    command_shows("topic does not exist");
    CU_ASSERT_EQUAL(RUN(port, NULL, "info"), 0);
    command_shows("BrokerId");
    CU_ASSERT_EQUAL(RUN(port, NULL, "groups"), 0);
    daemon_end(&d);
}

static void lines_go_in_and_come_out(void)
{
    struct daemon *d = daemon_fresh("lines");
    int port = daemon_port(d);
    const char *input = command_numbered("input", "line", 0, LINES);
    CU_ASSERT_EQUAL(RUN(port, NULL, "publish", "none"), 1);
    command_shows("kafkaesque topic create none");
    CU_ASSERT_EQUAL(RUN(port, NULL, "topic", "create", "one"), 0);
    CU_ASSERT_EQUAL(RUN(port, NULL, "topic", "create", "many", "-p", "4"), 0);
    CU_ASSERT_EQUAL(RUN(port, input, "publish", "one"), 0);
    command_shows("published 3000 messages");
    CU_ASSERT_EQUAL(RUN(port, NULL, "publish", "many", input, "--json"), 0);
    command_shows("\"Published\":3000,");
    CU_ASSERT_EQUAL(RUN(port, NULL, "consume", "one"), 0);
    command_printed_are("line", 0, LINES, true);
    CU_ASSERT_EQUAL(RUN(port, NULL, "consume", "many"), 0);
    command_printed_are("line", 0, LINES, false);
    CU_ASSERT_EQUAL(RUN(port, NULL, "consume", "one", "--from", "2990"), 0);
    command_printed_are("line", 2990, LINES, true);
    CU_ASSERT_EQUAL(RUN(port, NULL, "consume", "one", "--from", "end"), 0);
    REPLY_IS(command_printed, "");
    CU_ASSERT_EQUAL(RUN(port, NULL, "consume", "one", "--from", "10", "-n", "5"), 0);
    command_printed_are("line", 10, 15, true);
    CU_ASSERT_EQUAL(RUN(port, NULL, "consume", "one", "--from", "3001"), 1);
    command_shows("from 0 to 3000");
    daemon_end(&d);
}

static void of_several_brokers_the_next_is_asked_when_one_is_away(void)
{
    struct daemon *d = daemon_fresh("several");
    char list[64];
    (void)snprintf(list, sizeof(list), "127.0.0.1:1,127.0.0.1:%d", daemon_port(d)); /* nobody listens on port 1 */
    const char *input = command_numbered("input", "line", 0, 100);
    CU_ASSERT_EQUAL(RUN(1, NULL, "topic", "create", "t", "-p", "2", "-b", list), 0);
    CU_ASSERT_EQUAL(RUN(1, input, "publish", "t", "--broker", list), 0);
    command_shows("published 100 messages");
    CU_ASSERT_EQUAL(RUN(1, NULL, "--broker", list, "consume", "t"), 0);
    command_printed_are("line", 0, 100, false);
    CU_ASSERT_EQUAL(RUN(1, NULL, "topic", "list", "--broker", "127.0.0.1:1,127.0.0.1:2", "--timeout", "1"), 3);
    command_shows("none of 2 brokers can be reached");
    daemon_end(&d);
}

static void keys_and_headers_are_kept_and_bad_lines_are_named(void)
{
    struct daemon *d = daemon_fresh("keys");
    int port = daemon_port(d);
    FILE *f = fopen(command_file("odd"), "w");
    CU_ASSERT_PTR_NOT_NULL_FATAL(f);
    (void)fprintf(f, "a \"quoted\" line\n\n\tgr\xc3\xbc\xc3\x9f\nnot \xff UTF-8\nnever\n");
    CU_ASSERT_EQUAL(fclose(f), 0);
    CU_ASSERT_EQUAL(RUN(port, NULL, "topic", "create", "t", "-p", "3"), 0);
    CU_ASSERT_EQUAL(RUN(port, command_file("odd"), "publish", "t", "-k", "key", "--header", "h"), 5);
    command_shows("line 4");
    command_shows("published 3 messages");
    CU_ASSERT_EQUAL(RUN(port, NULL, "consume", "t"), 0);
    REPLY_IS(command_printed, "a \"quoted\" line\n\n\tgr\xc3\xbc\xc3\x9f\n"); /* all in one partition, so in order */
    CU_ASSERT_EQUAL(RUN(port, NULL, "consume", "t", "--json", "-n", "1"), 0);
    command_shows("{\"Header\":\"h\",\"Body\":\"a \\\"quoted\\\" line\",\"Key\":\"key\",\"Offset\":0,\"Timestamp\":");
    daemon_end(&d);
}

static void a_group_goes_on_where_it_was(void)
{
    struct daemon *d = daemon_fresh("group");
    int port = daemon_port(d);
    const char *input = command_numbered("input", "line", 0, 100);
    CU_ASSERT_EQUAL(RUN(port, NULL, "topic", "create", "t"), 0);
    CU_ASSERT_EQUAL(RUN(port, input, "publish", "t"), 0);
    CU_ASSERT_EQUAL(RUN(port, NULL, "consume", "t", "-g", "readers", "-n", "40"), 0);
    command_printed_are("line", 0, 40, true);
    CU_ASSERT_EQUAL(RUN(port, NULL, "consume", "t", "-g", "readers", "--no-commit"), 0);
    command_printed_are("line", 40, 100, true);
    CU_ASSERT_EQUAL(RUN(port, NULL, "consume", "t", "-g", "readers"), 0);
    command_printed_are("line", 40, 100, true);
    CU_ASSERT_EQUAL(RUN(port, NULL, "consume", "t", "-g", "readers"), 0);
    REPLY_IS(command_printed, "");
    CU_ASSERT_EQUAL(RUN(port, NULL, "consume", "t", "-g", "readers", "--from", "start", "--no-commit"), 0);
    command_printed_are("line", 0, 100, true);
    CU_ASSERT_EQUAL(RUN(port, NULL, "groups", "readers"), 0);
    command_shows("100");
    daemon_end(&d);
}

/* The daemon is killed while one client publishes and another follows. */
static void a_killed_broker_costs_neither_loss_nor_doubles(void)
{
    struct daemon_spec spec = {.dir = temp_folder("killed")};
    struct daemon *d = daemon_start(&spec);
    spec.port = daemon_port(d);
    char followed[600];
    char count[16];
    const char *input = command_numbered("input", "line", 0, LINES);
    (void)snprintf(followed, sizeof(followed), "%s", command_file("followed"));
    (void)snprintf(count, sizeof(count), "%d", LINES);
    CU_ASSERT_EQUAL(RUN(spec.port, NULL, "topic", "create", "t", "-p", "2"), 0);
    pid_t follower =
        command_begin(at(spec.port), NULL, followed,
                      (const char *const[]){"consume", "t", "--follow", "-n", count, "--timeout", "60", NULL});
    pid_t publisher = command_begin(at(spec.port), NULL, command_file("summary"),
                                    (const char *const[]){"publish", "t", input, "--timeout", "60", NULL});
    struct client *c = client_open(spec.port);
    for (int kills = 0, seen = 0; kills < 2; kills++) {
        /* Some more were stored since the last time: it is in the middle. */
        int64_t deadline_us = now_us() + 60000000;
        while (partition_end(c, "t", 0) < seen + 200)
            CU_ASSERT_TRUE_FATAL(now_us() < deadline_us);
        seen += 400;
        client_close(&c);
        daemon_kill(&d);
        d = daemon_start(&spec);
        c = client_open(spec.port);
    }
    client_close(&c);
    CU_ASSERT_EQUAL(command_finish(publisher), 0);
    CU_ASSERT_EQUAL(command_finish(follower), 0);
    command_slurp(followed);
    command_printed_are("line", 0, LINES, false);
    CU_ASSERT_EQUAL(RUN(spec.port, NULL, "consume", "t"), 0);
    command_printed_are("line", 0, LINES, false);
    daemon_end(&d);
}

/* Inverts a bit of the body that holds `text`. */
static void damage(const char *path, const char *text)
{
    static char bytes[COMMAND_OUTPUT_BYTES];
    FILE *f = fopen(path, "r+");
    CU_ASSERT_PTR_NOT_NULL_FATAL(f);
    size_t len = fread(bytes, 1, sizeof(bytes), f);
    char *at = memmem(bytes, len, text, strlen(text));
    CU_ASSERT_PTR_NOT_NULL_FATAL(at);
    CU_ASSERT_EQUAL(fseek(f, at - bytes, SEEK_SET), 0);
    CU_ASSERT_EQUAL(fputc(*at ^ 1, f), *at ^ 1);
    CU_ASSERT_EQUAL(fclose(f), 0);
}

static void a_stopped_brokers_log_is_checked_and_repaired(void)
{
    struct daemon_spec spec = {.dir = temp_folder("log")};
    struct daemon *d = daemon_start(&spec);
    int port = daemon_port(d);
    CU_ASSERT_EQUAL(RUN(port, NULL, "topic", "create", "t"), 0);
    for (int i = 0; i < 3; i++)
        CU_ASSERT_EQUAL(RUN(port, command_numbered("input", "line", i, i + 1), "publish", "t"), 0);
    CU_ASSERT_EQUAL(RUN(port, NULL, "log", "check", spec.dir), 1);
    command_shows("in use by a running broker");
    daemon_end(&d);
    CU_ASSERT_EQUAL(RUN(port, NULL, "log", "check", spec.dir), 0);
    command_shows("no damage");
    CU_ASSERT_EQUAL(RUN(port, NULL, "log", "dump", path_in(spec.dir, "t-0"), "--records", "--from", "1"), 0);
    command_shows("line-1");
    command_shows("line-2");
    CU_ASSERT_PTR_NULL(strstr(command_printed, "line-0"));
    CU_ASSERT_EQUAL(RUN(port, NULL, "log", "dump", path_in(spec.dir, "t-0"), "-r", "--from", "1", "--json"), 0);
    command_shows("\"Type\":\"records\",\"Lost\":false,\"FirstOffset\":1,\"Count\":1,");
    command_shows("\"Body\":\"line-2\",\"Key\":\"\",\"Offset\":2,");
    CU_ASSERT_PTR_NULL(strstr(command_printed, "line-0"));
    damage(path_in(spec.dir, "t-0/00000000000000000000.log"), "line-1");
    CU_ASSERT_EQUAL(RUN(port, NULL, "log", "check", spec.dir), 6);
    command_shows("1 place is damaged, with 1 record;");
    CU_ASSERT_EQUAL(RUN(port, NULL, "log", "check", spec.dir, "--json"), 6);
    command_shows("\"Damaged\":1,");
    command_shows("t-0/00000000000000000000.log position ");
    CU_ASSERT_EQUAL(RUN(port, NULL, "log", "repair", spec.dir), 0);
    command_shows("1 record given up");
    CU_ASSERT_EQUAL(RUN(port, NULL, "log", "check", spec.dir), 0);
    d = daemon_start(&spec);
    CU_ASSERT_EQUAL(RUN(daemon_port(d), NULL, "consume", "t"), 0);
    REPLY_IS(command_printed, "line-0\nline-2\n");
    daemon_end(&d);
    CU_ASSERT_EQUAL(RUN(port, NULL, "log", "check", command_file("nowhere")), 5);
    const char *theirs = temp_folder("theirs");
    CU_ASSERT(file_write(path_in(theirs, "their.log"), "x", 1));
    CU_ASSERT_EQUAL(RUN(port, NULL, "log", "repair", theirs), 5);
}

static void the_load_generator_answers_in_figures(void)
{
    struct daemon *d = daemon_fresh("bench");
    int port = daemon_port(d);
    CU_ASSERT_EQUAL(RUN(port, NULL, "bench", "-n", "500", "-w", "10", "-C", "2", "-p", "2", "--json"), 0);
    command_shows("\"Messages\":500,\"Failed\":0,");
    command_shows("\"P99us\":");
    CU_ASSERT_EQUAL(RUN(port, NULL, "consume", "bench", "-n", "500"), 0);
    daemon_end(&d);
}

static const struct unit_case cases[] = {
    {"without a broker it says what to do", without_a_broker_it_says_what_to_do},
    {"wrong usage is told from everything else", wrong_usage_is_told_from_everything_else},
    {"topics come and go", topics_come_and_go},
    {"lines go in and come out", lines_go_in_and_come_out},
    {"of several brokers the next is asked when one is away", of_several_brokers_the_next_is_asked_when_one_is_away},
    {"keys and headers are kept, and bad lines are named", keys_and_headers_are_kept_and_bad_lines_are_named},
    {"a group goes on where it was", a_group_goes_on_where_it_was},
    {"a killed broker costs neither loss nor doubles", a_killed_broker_costs_neither_loss_nor_doubles},
    {"a stopped broker's log is checked and repaired", a_stopped_brokers_log_is_checked_and_repaired},
    {"the load generator answers in figures", the_load_generator_answers_in_figures},
};

E2E_MAIN("kafkaesque", cases)
