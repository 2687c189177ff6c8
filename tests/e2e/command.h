/*
 * The command-line client as a script would use it: by its arguments, its input, what it
 * prints and its exit code. Main thread only.
 */
#ifndef KQ_TESTS_E2E_COMMAND_H
#define KQ_TESTS_E2E_COMMAND_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

enum { COMMAND_OUTPUT_BYTES = 1 << 20, COMMAND_LINES_MAX = 20000 };

/* What the last run wrote to stdout, then to stderr. */
extern char command_printed[COMMAND_OUTPUT_BYTES];

/* A path in a folder of this program's own. */
const char *command_file(const char *name);

/* Starts it against the brokers at "host:port,..." with stdin from `input` (NULL: empty);
 * stdout goes to `output`, stderr to `output`.error. words end with a NULL. */
pid_t command_begin(const char *brokers, const char *input, const char *output, const char *const *words);
/* Waits for its end; the exit code, 128 + the signal if one ended it. */
int command_finish(pid_t pid);
/* Both; what it printed is in command_printed. */
int command_run(const char *brokers, const char *input, const char *const *words);
#define COMMAND(brokers, input, ...) command_run((brokers), (input), (const char *const[]){__VA_ARGS__, NULL})

/* The file into command_printed. */
void command_slurp(const char *path);
/* Fails the case unless command_printed holds the text. */
void command_shows(const char *text);

/* Lines `prefix-FROM` ... `prefix-(TO - 1)` into a file of that name; its path. */
const char *command_numbered(const char *name, const char *prefix, int from, int to);
/* Each of those lines is in command_printed once, and nothing else is; in order if it must
 * be. Spoils command_printed. */
void command_printed_are(const char *prefix, int from, int to, bool in_order);

#endif
