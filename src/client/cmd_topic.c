/* Commands that are one call and one table: topics, groups, info, protocol. */
#include "client/commands.h"
#include "client/show.h"
#include "proto/text/reply.h"

#include <stdio.h>

enum { CREATE_FIELDS_MAX = OPTIONS_GIVEN_MAX + 8 };

const struct option_row topic_create_options[] = {
    {"partitions", 'p', "N", "how many partitions (default: the broker's, 1)"},
    {"replicas", 'r', "N", "on how many brokers each partition is kept (default: the broker's)"},
    {"config", 'c', "KEY=VALUE",
     "a setting of the topic, any number of times: retention.bytes, retention.ms (-1: no limit),"
     " segment.bytes, max.message.bytes; plain numbers"},
    {NULL, 0, NULL, NULL},
};

const struct option_row protocol_options[] = {
    {"man", 0, NULL, "print the table for a manual page, in roff"},
    {NULL, 0, NULL, NULL},
};

/* `Done`, or what a command without a table has to say. */
static int finish(struct client *client, enum kq_err err, const char *done, const char *what)
{
    if (err != KQ_OK)
        return client_fail(client, err);
    if (client->json)
        (void)printf("{\"Ok\":true}\n");
    else
        (void)printf("%s %s\n", done, what);
    return CLIENT_DONE;
}

int command_topic_create(struct client *client, const struct arguments *arguments)
{
    const char *fields[CREATE_FIELDS_MAX] = {"CRTP", arguments->positional[0]};
    size_t count = 2;
    const char *partitions = options_get(arguments, "partitions");
    const char *replicas = options_get(arguments, "replicas");
    if (partitions != NULL || replicas != NULL)
        fields[count++] = partitions != NULL ? partitions : "1";
    if (replicas != NULL)
        fields[count++] = replicas;
    for (size_t i = 0; i < arguments->given_count; i++) {
        if (strcmp(arguments->given[i].row->name, "config") != 0)
            continue;
        if (strchr(arguments->given[i].value, '=') == NULL) {
            (void)fault_set(&client->fault, KQ_INVALID, "--config takes KEY=VALUE, not `%s`",
                            arguments->given[i].value);
            return client_usage(client, "topic create");
        }
        fields[count++] = arguments->given[i].value;
    }
    return finish(client, client_call(client, fields), "created", arguments->positional[0]);
}

int command_topic_list(struct client *client, const struct arguments *arguments)
{
    (void)arguments;
    enum kq_err err = CLIENT_CALL(client, "LIST");
    return err != KQ_OK ? client_fail(client, err)
                        : show_reply(client, "there are no topics; `kafkaesque topic create NAME` makes one");
}

int command_topic_describe(struct client *client, const struct arguments *arguments)
{
    enum kq_err err = CLIENT_CALL(client, "DESC", arguments->positional[0]);
    return err != KQ_OK ? client_fail(client, err) : show_reply(client, "nothing");
}

int command_topic_delete(struct client *client, const struct arguments *arguments)
{
    return finish(client, CLIENT_CALL(client, "DELE", arguments->positional[0]), "deleted", arguments->positional[0]);
}

int command_groups(struct client *client, const struct arguments *arguments)
{
    /* With no group, the NULL ends the fields one earlier. */
    enum kq_err err = CLIENT_CALL(client, "GRPS", arguments->positional_count > 0 ? arguments->positional[0] : NULL);
    return err != KQ_OK ? client_fail(client, err) : show_reply(client, "there are no consumer groups");
}

int command_info(struct client *client, const struct arguments *arguments)
{
    (void)arguments;
    enum kq_err err = CLIENT_CALL(client, "INFO");
    return err != KQ_OK ? client_fail(client, err) : show_reply(client, "nothing");
}

/* Text for roff: a backslash is doubled, a leading dot or quote is guarded. */
static void print_roff(const char *text)
{
    if (text[0] == '.' || text[0] == '\'')
        (void)fputs("\\&", stdout);
    for (; *text != 0; text++) {
        if (*text == '\\')
            (void)fputs("\\e", stdout);
        else if (*text == '-')
            (void)fputs("\\-", stdout);
        else
            (void)putchar(*text);
    }
    (void)putchar('\n');
}

int command_protocol(struct client *client, const struct arguments *arguments)
{
    if (client->json) {
        struct buf out;
        buf_init(&out, 1 << 20);
        reply_help(&out, TEXT_NONE);
        (void)printf("%.*s", (int)out.len, (const char *)out.data);
        buf_fini(&out);
        return CLIENT_DONE;
    }
    bool man = options_get(arguments, "man") != NULL;
    for (int v = 0; v < TEXT_VERB_COUNT; v++) {
        enum text_verb verb = (enum text_verb)v;
        char form[128];
        (void)snprintf(form, sizeof(form), "%s %s", text_verb_name(verb), text_verb_form(verb));
        if (man) {
            (void)fputs(".TP\n.B ", stdout);
            print_roff(form);
            print_roff(text_verb_help(verb));
        } else {
            (void)printf("%-52s %s\n", form, text_verb_help(verb));
        }
    }
    return CLIENT_DONE;
}
