/* Option tables: --name VALUE, --name=VALUE, -n VALUE, -nVALUE; `--` ends them. */
#include "client/options.h"

#include "base/require.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

const struct option_row common_options[] = {
    {"broker", 'b', "HOST:PORT,...", "where a broker is; of several, the next is asked when one does not answer"},
    {"host", 0, "ADDR", "the broker's address (default 127.0.0.1)"},
    {"port", 0, "N", "the broker's port (default 8080)"},
    {"timeout", 0, "SECONDS", "give up when the broker cannot be reached or does not answer for so long (default 30)"},
    {"json", 0, NULL, "print JSON, for programs"},
    {"help", 'h', NULL, "say how the command is used"},
    {NULL, 0, NULL, NULL},
};

static const struct option_row *find_in(const struct option_row *rows, const char *name, size_t len, char letter)
{
    for (; rows != NULL && rows->name != NULL; rows++) {
        if (letter != 0 ? rows->letter == letter : strlen(rows->name) == len && strncmp(rows->name, name, len) == 0)
            return rows;
    }
    return NULL;
}

static const struct option_row *find(const struct command_row *command, const char *name, size_t len, char letter)
{
    const struct option_row *row = find_in(command->options, name, len, letter);
    return row != NULL ? row : find_in(common_options, name, len, letter);
}

/* The option at argv[*i]; *i moves to its value if that is a word of its own. */
static enum kq_err take_option(const struct command_row *command, int argc, char **argv, int *i,
                               struct arguments *arguments, struct fault *fault)
{
    const char *word = argv[*i];
    bool is_long = word[1] == '-';
    const char *name = word + (is_long ? 2 : 1);
    size_t len = is_long ? strcspn(name, "=") : 1;
    const struct option_row *row = find(command, name, len, is_long ? 0 : name[0]);
    if (row == NULL)
        return fault_set(fault, KQ_INVALID, "unknown option %s", word);
    const char *value = name[len] == 0 ? NULL : name + len + (is_long ? 1 : 0);
    if (row->argument == NULL && value != NULL)
        return fault_set(fault, KQ_INVALID, "option --%s takes no value", row->name);
    if (row->argument != NULL && value == NULL) {
        if (*i + 1 >= argc)
            return fault_set(fault, KQ_INVALID, "option --%s needs a value: --%s %s", row->name, row->name,
                             row->argument);
        value = argv[++*i];
    }
    if (arguments->given_count == OPTIONS_GIVEN_MAX)
        return fault_set(fault, KQ_INVALID, "more than %d options", OPTIONS_GIVEN_MAX);
    arguments->given[arguments->given_count].row = row;
    arguments->given[arguments->given_count++].value = value == NULL ? "" : value;
    return KQ_OK;
}

enum kq_err options_parse(const struct command_row *command, int argc, char **argv, struct arguments *arguments,
                          struct fault *fault)
{
    *arguments = (struct arguments){.positional_count = 0};
    bool ended = false;
    for (int i = 0; i < argc; i++) {
        if (!ended && strcmp(argv[i], "--") == 0) {
            ended = true;
            continue;
        }
        if (!ended && argv[i][0] == '-' && argv[i][1] != 0) {
            enum kq_err err = take_option(command, argc, argv, &i, arguments, fault);
            if (err != KQ_OK)
                return err;
            continue;
        }
        if (arguments->positional_count == command->positional_most)
            return fault_set(fault, KQ_INVALID, "`%s` is one argument too many", argv[i]);
        arguments->positional[arguments->positional_count++] = argv[i];
    }
    if (arguments->positional_count < command->positional_least && options_get(arguments, "help") == NULL)
        return fault_set(fault, KQ_INVALID, "something is missing");
    return KQ_OK;
}

const char *options_get(const struct arguments *arguments, const char *name)
{
    const char *value = NULL;
    for (size_t i = 0; i < arguments->given_count; i++)
        if (strcmp(arguments->given[i].row->name, name) == 0)
            value = arguments->given[i].value;
    return value;
}

bool options_parse_number(const char *text, int64_t least, int64_t most, int64_t *value)
{
    const char *digits = text[0] == '-' ? text + 1 : text;
    if (digits[0] == 0 || digits[strspn(digits, "0123456789")] != 0)
        return false;
    errno = 0;
    long long number = strtoll(text, NULL, 10);
    if (errno != 0 || number < least || number > most)
        return false;
    *value = number;
    return true;
}

enum kq_err options_number(const struct arguments *arguments, const char *name, int64_t least, int64_t most,
                           int64_t *value, struct fault *fault)
{
    const char *text = options_get(arguments, name);
    if (text == NULL || options_parse_number(text, least, most, value))
        return KQ_OK;
    return fault_set(fault, KQ_INVALID, "--%s is a number from %lld to %lld, not `%s`", name, (long long)least,
                     (long long)most, text);
}

static void print_rows(FILE *to, const struct option_row *rows)
{
    enum { HELP_COLUMN = 28 };
    for (; rows != NULL && rows->name != NULL; rows++) {
        char letter[8] = "    ";
        if (rows->letter != 0)
            (void)snprintf(letter, sizeof(letter), "-%c, ", rows->letter);
        int used = fprintf(to, "  %s--%s%s%s", letter, rows->name, rows->argument == NULL ? "" : " ",
                           rows->argument == NULL ? "" : rows->argument);
        (void)fprintf(to, "%*s%s\n", used < HELP_COLUMN + 4 ? HELP_COLUMN + 4 - used : 1, "", rows->help);
    }
}

void options_print_help(FILE *to, const struct command_row *command)
{
    (void)fprintf(to, "Usage: kafkaesque %s%s%s [OPTION]...\n\n%s.\n", command->name,
                  command->arguments[0] == 0 ? "" : " ", command->arguments, command->about);
    if (command->details != NULL)
        (void)fprintf(to, "\n%s\n", command->details);
    if (command->options != NULL && command->options->name != NULL) {
        (void)fprintf(to, "\nOptions:\n");
        print_rows(to, command->options);
    }
    (void)fprintf(to, "\nOptions of every command:\n");
    print_rows(to, common_options);
}
