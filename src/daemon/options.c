#include "daemon/options.h"

#include "cluster/peers.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SETTING_BYTES = CONFIG_LINE_BYTES };

const char options_help[] = "Usage: kafkaesqued [OPTION]...\n"
                            "A message broker with durable partitions. Stays in the foreground; see kafkaesqued(8).\n"
                            "\n"
                            "  --config FILE      read this configuration file; see kafkaesqued.conf(5)\n"
                            "  --broker-id N      which broker this is (1)\n"
                            "  --host ADDR        listen on this address (127.0.0.1)\n"
                            "  --port N           listen for clients on this port (8080); 0 takes a free one\n"
                            "  --kafka-port N     listen for Kafka clients on this port (9092); 0 takes a free one\n"
                            "  --raft-port N      the port for other brokers (7070); 0 takes a free one\n"
                            "  --peers LIST       form a cluster: ID@HOST:RAFT_PORT,... of all brokers; counts in\n"
                            "                     an empty folder\n"
                            "  --advertised-host ADDR  where brokers and clients find this one (that of --host)\n"
                            "  --data-dir DIR     the broker's own folder ($HOME/kafkaesque-N)\n"
                            "  --set KEY=VALUE    set any key of the configuration; may be repeated\n"
                            "  --check-config     say whether the configuration is good, and exit\n"
                            "  --version          print the version, and exit\n"
                            "  --help             print this, and exit\n"
                            "\n"
                            "Exit codes: 0 stopped on request, 1 failed, 2 wrong options or configuration,\n"
                            "3 the data folder cannot be used, 4 cannot listen, 5 the stop was cut short.\n";

enum { OPTION_CONFIG = 1, OPTION_SET, OPTION_CHECK, OPTION_VERSION, OPTION_HELP, OPTION_KEYS };

static const struct option longs[] = {
    {"config", required_argument, NULL, OPTION_CONFIG},
    {"set", required_argument, NULL, OPTION_SET},
    {"check-config", no_argument, NULL, OPTION_CHECK},
    {"version", no_argument, NULL, OPTION_VERSION},
    {"help", no_argument, NULL, OPTION_HELP},
    {"broker-id", required_argument, NULL, OPTION_KEYS},
    {"host", required_argument, NULL, OPTION_KEYS + 1},
    {"port", required_argument, NULL, OPTION_KEYS + 2},
    {"raft-port", required_argument, NULL, OPTION_KEYS + 3},
    {"data-dir", required_argument, NULL, OPTION_KEYS + 4},
    {"peers", required_argument, NULL, OPTION_KEYS + 5},
    {"advertised-host", required_argument, NULL, OPTION_KEYS + 6},
    {"kafka-port", required_argument, NULL, OPTION_KEYS + 7},
    {NULL, 0, NULL, 0},
};

/* The keys that have an option of their own, from OPTION_KEYS on. */
static const struct {
    const char *option;
    const char *key;
} shorthands[] = {
    {"--broker-id", "broker.id"},
    {"--host", "host"},
    {"--port", "port"},
    {"--raft-port", "raft.port"},
    {"--data-dir", "data.dir"},
    {"--peers", "peers"},
    {"--advertised-host", "advertised.host"},
    {"--kafka-port", "kafka.port"},
};

static enum kq_err take_option(struct options *o, int option, struct fault *fault)
{
    switch (option) {
    case OPTION_CONFIG:
        if (o->config_path != NULL)
            return fault_set(fault, KQ_INVALID, "--config is given twice; a broker has one configuration file");
        o->config_path = optarg;
        return KQ_OK;
    case OPTION_SET:
        o->settings[o->setting_count++] = (struct options_setting){"--set", NULL, optarg};
        return KQ_OK;
    case OPTION_CHECK:
        o->action = OPTIONS_CHECK_CONFIG;
        return KQ_OK;
    case OPTION_VERSION:
        o->action = OPTIONS_VERSION;
        return KQ_OK;
    case OPTION_HELP:
        o->action = OPTIONS_HELP;
        return KQ_OK;
    default:
        o->settings[o->setting_count++] = (struct options_setting){shorthands[option - OPTION_KEYS].option,
                                                                   shorthands[option - OPTION_KEYS].key, optarg};
        return KQ_OK;
    }
}

enum kq_err options_init(struct options *options, int argc, char **argv, struct fault *fault)
{
    *options = (struct options){.action = OPTIONS_RUN};
    options->settings = calloc((size_t)argc, sizeof *options->settings);
    if (options->settings == NULL)
        return fault_set(fault, KQ_NO_MEMORY, "no memory for the options");
    opterr = 0;
    optind = 0; /* glibc: start anew */
    for (;;) {
        int option = getopt_long(argc, argv, ":", longs, NULL);
        if (option == -1)
            break;
        if (option == ':')
            return fault_set(fault, KQ_INVALID, "%s needs a value; --help lists the options", argv[optind - 1]);
        if (option == '?')
            return fault_set(fault, KQ_INVALID, "unknown option %s; --help lists the options", argv[optind - 1]);
        enum kq_err err = take_option(options, option, fault);
        if (err != KQ_OK)
            return err;
        if (options->action == OPTIONS_HELP || options->action == OPTIONS_VERSION)
            return KQ_OK;
    }
    if (optind < argc)
        return fault_set(fault, KQ_INVALID, "unexpected argument %s; --help lists the options", argv[optind]);
    return KQ_OK;
}

void options_fini(struct options *options)
{
    free(options->settings);
    options->settings = NULL;
}

/* Where the data lies when nobody said it. */
static enum kq_err default_data_dir(struct config *cfg, struct fault *fault)
{
    const char *state = getenv("STATE_DIRECTORY"); /* systemd's; one or more, parted by colons */
    const char *home = getenv("HOME");
    const char *above = state != NULL && state[0] != '\0' ? state : home;
    if (above == NULL || above[0] != '/')
        return fault_set(fault, KQ_INVALID, "no data folder: HOME is not set; say --data-dir DIR");
    int above_len = (int)strcspn(above, above == state ? ":" : "");
    int len = snprintf(cfg->data_dir, sizeof cfg->data_dir, "%.*s/kafkaesque-%lld", above_len, above,
                       (long long)cfg->broker_id);
    if (len < 0 || (size_t)len >= sizeof cfg->data_dir)
        return fault_set(fault, KQ_INVALID, "the path of the data folder is too long; say --data-dir DIR");
    return KQ_OK;
}

enum kq_err options_load(const struct options *options, struct config *cfg, struct fault *fault)
{
    config_defaults(cfg);
    enum kq_err err = KQ_OK;
    if (options->config_path != NULL)
        err = config_load_file(cfg, options->config_path, fault);
    for (size_t i = 0; i < options->setting_count && err == KQ_OK; i++) {
        const struct options_setting *s = &options->settings[i];
        char assignment[SETTING_BYTES];
        int len = s->key != NULL ? snprintf(assignment, sizeof assignment, "%s=%s", s->key, s->value)
                                 : snprintf(assignment, sizeof assignment, "%s", s->value);
        if (len < 0 || (size_t)len >= sizeof assignment)
            return fault_set(fault, KQ_INVALID, "%s: longer than %d bytes", s->option, SETTING_BYTES - 1);
        err = config_set(cfg, assignment, s->option, fault);
    }
    if (err == KQ_OK)
        err = config_check(cfg, fault);
    if (err == KQ_OK)
        err = peers_check(cfg->peers, (uint32_t)cfg->broker_id, fault);
    if (err == KQ_OK && cfg->data_dir[0] == '\0')
        err = default_data_dir(cfg, fault);
    return err;
}
