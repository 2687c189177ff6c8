/*
 * The daemon's command line, and the configuration that comes of it: the table's
 * defaults, then the file, then what the command line sets, in its order. Kept,
 * so that a reload goes the same way again.
 */
#ifndef KQ_DAEMON_OPTIONS_H
#define KQ_DAEMON_OPTIONS_H

#include "base/config.h"
#include "base/err.h"

#include <stddef.h>

enum options_action { OPTIONS_RUN, OPTIONS_CHECK_CONFIG, OPTIONS_VERSION, OPTIONS_HELP };

/* One setting of the command line; borrows argv's strings. */
struct options_setting {
    const char *option; /* "--port", for messages */
    const char *key;    /* NULL: value is "key=value" */
    const char *value;
};

struct options {
    enum options_action action;
    const char *config_path; /* NULL: none; borrowed from argv */
    struct options_setting *settings;
    size_t setting_count;
};

/* Main thread. Borrows argv. KQ_INVALID: *fault says what is wrong with it.
 * options_fini either way. */
enum kq_err options_init(struct options *options, int argc, char **argv, struct fault *fault);
void options_fini(struct options *options);

/* Main thread. Fills *cfg, data_dir included, and checks it. */
enum kq_err options_load(const struct options *options, struct config *cfg, struct fault *fault);

/* What --help prints. */
extern const char options_help[];

#endif
