/*
 * The command line's commands and options as tables: parsing, --help and the
 * manual page come from the same rows.
 */
#ifndef KQ_CLIENT_OPTIONS_H
#define KQ_CLIENT_OPTIONS_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct option_row {
    const char *name;     /* "partitions", typed as --partitions N or --partitions=N; NULL ends a table */
    char letter;          /* 'k', typed as -k KEY or -kKEY; 0: none */
    const char *argument; /* "N"; NULL: the option takes none */
    const char *help;
};

/* Every command takes these too. */
extern const struct option_row common_options[];

enum { OPTIONS_POSITIONAL_MAX = 8, OPTIONS_GIVEN_MAX = 64 };

struct arguments {
    const char *positional[OPTIONS_POSITIONAL_MAX];
    size_t positional_count;
    struct {
        const struct option_row *row;
        const char *value;
    } given[OPTIONS_GIVEN_MAX];
    size_t given_count;
};

struct client;

struct command_row {
    const char *name;      /* "topic create"; NULL ends the table */
    const char *arguments; /* "NAME" */
    size_t positional_least;
    size_t positional_most;
    const char *about;   /* one line */
    const char *details; /* more for its own --help; may be NULL */
    const struct option_row *options;
    int (*run)(struct client *client, const struct arguments *arguments);
};

/* Reads what follows the command's name. KQ_INVALID: fault says what is wrong. */
enum kq_err options_parse(const struct command_row *command, int argc, char **argv, struct arguments *arguments,
                          struct fault *fault);

/* The value last given (for one without an argument: ""), or NULL. */
const char *options_get(const struct arguments *arguments, const char *name);

/* A number from least to most; *value stays as it is when the option is not
 * there. KQ_INVALID: fault names the option and the range. */
enum kq_err options_number(const struct arguments *arguments, const char *name, int64_t least, int64_t most,
                           int64_t *value, struct fault *fault);

/* Decimal digits with an optional minus and nothing else, from least to most. */
bool options_parse_number(const char *text, int64_t least, int64_t most, int64_t *value);

/* --help of one command. */
void options_print_help(FILE *to, const struct command_row *command);

#endif
