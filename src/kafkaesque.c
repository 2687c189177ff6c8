/*
 * kafkaesque: the command-line client. This file has the table of commands and
 * what they share: the options of every command, --help, --version, exit codes.
 */
#include "base/standard_files.h"
#include "client/commands.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#ifndef PACKAGE_VERSION
#define PACKAGE_VERSION "unknown"
#endif

static const struct command_row commands[] = {
    {"topic create", "NAME", 1, 1, "Create a topic",
     "It is there when the command has ended well: on a majority of brokers, with leaders. Creating it\n"
     "again with as many partitions is no error. A name is 1 to 249 of A-Z a-z 0-9 . _ -",
     topic_create_options, command_topic_create},
    {"topic list", "", 0, 0, "List the topics", NULL, NULL, command_topic_list},
    {"topic describe", "NAME", 1, 1, "Show a topic's partitions: leader, replicas, where its log begins and ends", NULL,
     NULL, command_topic_describe},
    {"topic delete", "NAME", 1, 1, "Delete a topic and all its messages",
     "Nothing asks again, and nothing brings it back.", NULL, command_topic_delete},
    {"publish", "TOPIC [FILE]", 1, 2, "Publish each line of FILE, or of stdin, as a message's body",
     "Each line is stored exactly once, also over lost connections and restarts of the broker: what was\n"
     "not acknowledged is sent again, and the broker knows what it has. Publishing stops at the first line\n"
     "that the broker refuses. If --timeout passes without success, the exit code 4 says that messages may\n"
     "yet appear.",
     publish_options, command_publish},
    {"consume", "TOPIC", 1, 1, "Print messages' bodies, one a line",
     "Reads what is there and ends, or with --follow goes on. Without --group all partitions are read, from\n"
     "the start; with --group this is one member of the group, gets the partitions that are free, and moves\n"
     "the group's offset over what it has printed. --json prints whole messages, one object a line.",
     consume_options, command_consume},
    {"groups", "[GROUP]", 0, 1, "List the consumer groups, or show one: subscriptions, committed offsets, lag", NULL,
     NULL, command_groups},
    {"info", "", 0, 0, "Show the broker and its cluster", NULL, NULL, command_info},
    {"cluster status", "", 0, 0, "Show the brokers, and the partitions that lack a leader or replicas",
     "A replica that is behind is shown with the entries that it lacks.", cluster_status_options,
     command_cluster_status},
    {"cluster add", "BROKER", 1, 1, "Let a broker have its share of replicas and leaders",
     "For one that has joined, or was drained.", cluster_order_options, command_cluster_add},
    {"cluster drain", "BROKER", 1, 1, "Move all leaders and replicas away from a broker",
     "It goes on serving meanwhile, and may be stopped when this has ended.", cluster_order_options,
     command_cluster_drain},
    {"cluster remove", "BROKER", 1, 1, "Let the cluster forget a broker that is drained, or dead for good",
     "Refused while it has the last replica of a partition.", NULL, command_cluster_remove},
    {"cluster move", "TOPIC/PARTITION", 1, 1, "Say which brokers hold a partition", NULL, cluster_move_options,
     command_cluster_move},
    {"cluster rebalance", "", 0, 0, "Spread replicas and leaders evenly over the brokers", NULL, cluster_order_options,
     command_cluster_rebalance},
    {"cluster transfer-leader", "TOPIC/PARTITION", 1, 1, "Have another broker lead a partition", NULL,
     cluster_transfer_options, command_cluster_transfer},
    {"log check", "DIR", 1, 1, "Check the log of a stopped broker, or of one of its partitions",
     "Reads everything and changes nothing. The exit code is 6 if what may have been acknowledged is damaged;\n"
     "unfinished writes at the end are no damage.",
     NULL, command_log_check},
    {"log dump", "DIR", 1, 1, "Print the entries of a stopped broker's log", "With --json only the counts.",
     log_dump_options, command_log_dump},
    {"log repair", "DIR", 1, 1, "Make a damaged log readable again, giving up what cannot be read",
     "Each file is copied to NAME.aside before it is changed. The exit code is 6 if damage is left.", NULL,
     command_log_repair},
    {"bench", "", 0, 0, "Publish messages and print how fast that was", NULL, bench_options, command_bench},
    {"protocol", "", 0, 0, "Print the commands of the text protocol, for telnet and nc", NULL, protocol_options,
     command_protocol},
    {NULL, NULL, 0, 0, NULL, NULL, NULL, NULL},
};

static void print_usage(FILE *to)
{
    (void)fprintf(to, "Usage: kafkaesque COMMAND [ARGUMENT]... [OPTION]...\n"
                      "Topics, messages and groups of a Kafkaesque broker.\n\n");
    for (const struct command_row *row = commands; row->name != NULL; row++) {
        int used = fprintf(to, "  %s %s", row->name, row->arguments);
        (void)fprintf(to, "%*s%s\n", used < 44 ? 44 - used : 1, "", row->about);
    }
    (void)fprintf(
        to, "\n`kafkaesque COMMAND --help` says more about each. The brokers are where --broker says, or --host and\n"
            "--port, else KAFKAESQUE_ADDRESS=host:port,..., else at 127.0.0.1 port 8080. Any broker of a cluster\n"
            "takes any command; of several that are named, the next is asked when one does not answer.\n\n"
            "Exit codes: 0 done; 1 refused by the broker; 2 wrong usage; 3 no broker, or it went away or did\n"
            "not answer in time; 4 published, perhaps (outcome unknown); 5 a file, the output or memory on this\n"
            "side; 6 the log is damaged (log check).\n");
}

/* The command that argv begins with, and how many words its name has. */
static const struct command_row *find_command(int argc, char **argv, int *words)
{
    for (const struct command_row *row = commands; row->name != NULL; row++) {
        const char *space = strchr(row->name, ' ');
        size_t first = space == NULL ? strlen(row->name) : (size_t)(space - row->name);
        if (strlen(argv[0]) != first || strncmp(argv[0], row->name, first) != 0)
            continue;
        *words = space == NULL ? 1 : 2;
        if (space == NULL || (argc > 1 && strcmp(argv[1], space + 1) == 0))
            return row;
    }
    return NULL;
}

static enum kq_err take_common(struct client *client, const struct arguments *arguments)
{
    const char *environment = getenv("KAFKAESQUE_ADDRESS");
    const char *broker = options_get(arguments, "broker");
    const char *host = options_get(arguments, "host");
    const char *port = options_get(arguments, "port");
    int64_t seconds = client->timeout_us / 1000000;
    enum kq_err err = KQ_OK;
    client->json = options_get(arguments, "json") != NULL;
    if (environment != NULL && environment[0] != 0 &&
        brokers_parse(&client->brokers, environment, &client->fault) != KQ_OK) {
        struct fault inner = client->fault;
        return fault_set(&client->fault, KQ_INVALID, "in KAFKAESQUE_ADDRESS: %s", inner.text);
    }
    if (broker != NULL && (host != NULL || port != NULL))
        return fault_set(&client->fault, KQ_INVALID, "--broker says all that --host and --port say; leave them out");
    if (broker != NULL)
        err = brokers_parse(&client->brokers, broker, &client->fault);
    if (host != NULL || port != NULL)
        client->brokers.count = 1;
    if (host != NULL)
        err = wire_address_parse(host, &client->brokers.list[0], &client->fault);
    if (err == KQ_OK && port != NULL) {
        int64_t number = 0;
        err = options_number(arguments, "port", 1, 65535, &number, &client->fault);
        (void)snprintf(client->brokers.list[0].port, sizeof(client->brokers.list[0].port), "%lld", (long long)number);
    }
    if (err == KQ_OK)
        err = options_number(arguments, "timeout", 1, 86400, &seconds, &client->fault);
    client->timeout_us = seconds * 1000000;
    return err;
}

static int run(const struct command_row *command, int argc, char **argv)
{
    struct client client;
    struct arguments arguments;
    int code;
    client_init(&client);
    enum kq_err err = options_parse(command, argc, argv, &arguments, &client.fault);
    if (err == KQ_OK && options_get(&arguments, "help") != NULL) {
        options_print_help(stdout, command);
        code = CLIENT_DONE;
    } else if (err != KQ_OK || take_common(&client, &arguments) != KQ_OK) {
        code = client_usage(&client, command->name);
    } else {
        code = command->run(&client, &arguments);
    }
    client_fini(&client);
    if (fflush(stdout) != 0 && code == CLIENT_DONE) {
        perror("kafkaesque: cannot write the output");
        code = CLIENT_LOCAL;
    }
    return code;
}

/* How many words at the beginning of argv are options of every command: they may
 * stand before the command, too. */
static int leading_options(int argc, char **argv)
{
    int i = 1;
    while (i < argc && strncmp(argv[i], "--", 2) == 0) {
        size_t len = strcspn(argv[i] + 2, "=");
        const struct option_row *row = common_options;
        while (row->name != NULL && (strlen(row->name) != len || strncmp(row->name, argv[i] + 2, len) != 0))
            row++;
        if (row->name == NULL || strcmp(row->name, "help") == 0)
            break;
        i += row->argument != NULL && argv[i][2 + len] == 0 ? 2 : 1;
    }
    return i < argc ? i - 1 : 0;
}

static int no_such_command(int argc, char **argv, int words)
{
    if (argc > 1 && words == 2)
        (void)fprintf(stderr, "kafkaesque: `%s` is followed by %s\n", argv[1],
                      strcmp(argv[1], "log") == 0 ? "check, dump or repair"
                      : strcmp(argv[1], "cluster") == 0
                          ? "status, add, drain, remove, move, rebalance or transfer-leader"
                          : "create, list, describe or delete");
    else if (argc > 1)
        (void)fprintf(stderr, "kafkaesque: there is no command `%s`\n", argv[1]);
    print_usage(stderr);
    return CLIENT_USAGE;
}

int main(int argc, char **argv)
{
    char *arguments[256];
    int words = 0;
    standard_files_hold();
    if (argc < 2 || argc > (int)(sizeof(arguments) / sizeof(arguments[0])))
        return no_such_command(0, argv, 0);
    int leading = leading_options(argc, argv);
    int left = argc - 1 - leading;
    char **rest = argv + 1 + leading;
    const struct command_row *command = find_command(left, rest, &words);
    if (command != NULL) {
        memcpy(arguments, argv + 1, (size_t)leading * sizeof(arguments[0]));
        memcpy(arguments + leading, rest + words, (size_t)(left - words) * sizeof(arguments[0]));
        return run(command, leading + left - words, arguments);
    }
    if (strcmp(rest[0], "--version") == 0 || strcmp(rest[0], "-V") == 0) {
        (void)printf("kafkaesque %s\n", PACKAGE_VERSION);
        return CLIENT_DONE;
    }
    if (strcmp(rest[0], "--help") == 0 || strcmp(rest[0], "-h") == 0 || strcmp(rest[0], "help") == 0) {
        print_usage(stdout);
        return CLIENT_DONE;
    }
    return no_such_command(left + 1, rest - 1, words);
}
