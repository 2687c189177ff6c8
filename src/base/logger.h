/*
 * The log for the operator: one line an event, to stderr with journald
 * priorities (`<3>...`) or to a file with times. Rate-limited at each call site,
 * so that a client or a disk cannot fill the journal.
 *
 * The one global of the program besides constant tables and the signal flag.
 */
#ifndef KQ_BASE_LOGGER_H
#define KQ_BASE_LOGGER_H

#include "base/err.h"

#include <stdatomic.h>
#include <stdint.h>

enum logger_level { LOGGER_ERROR = 3, LOGGER_WARNING = 4, LOGGER_NOTICE = 5, LOGGER_INFO = 6, LOGGER_DEBUG = 7 };

/* What one call site has said lately: at most LOGGER_BURST lines in
 * LOGGER_WINDOW_MS; the next line after that says how many were left out. */
enum { LOGGER_BURST = 10, LOGGER_WINDOW_MS = 10000 };
struct logger_site {
    _Atomic int64_t window_ms;
    _Atomic uint32_t said;
    _Atomic uint32_t left_out;
};

/* Main thread, before any other. path NULL: stderr. journald: prefix priorities. */
enum kq_err logger_open(const char *path, enum logger_level level, bool journald, struct fault *fault);
/* Any thread. Opens the file of logger_open anew (after rotation). */
enum kq_err logger_reopen(struct fault *fault);
/* Any thread. */
void logger_set_level(enum logger_level level);
enum logger_level logger_get_level(void);
/* "error", "warning", "notice", "info", "debug". False: none of these. */
bool logger_parse_level(const char *text, enum logger_level *level);
/* Main thread, after all others. */
void logger_close(void);

/* Any thread; use the macros. */
void logger_say(struct logger_site *site, enum logger_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#define LOGGER_SAY(level, ...)                                                                                         \
    do {                                                                                                               \
        static struct logger_site logger_site_here;                                                                    \
        if ((level) <= logger_get_level())                                                                             \
            logger_say(&logger_site_here, (level), __VA_ARGS__);                                                       \
    } while (0)
#define SAY_ERROR(...) LOGGER_SAY(LOGGER_ERROR, __VA_ARGS__)
#define SAY_WARNING(...) LOGGER_SAY(LOGGER_WARNING, __VA_ARGS__)
#define SAY_NOTICE(...) LOGGER_SAY(LOGGER_NOTICE, __VA_ARGS__)
#define SAY_INFO(...) LOGGER_SAY(LOGGER_INFO, __VA_ARGS__)
#define SAY_DEBUG(...) LOGGER_SAY(LOGGER_DEBUG, __VA_ARGS__)

#endif
