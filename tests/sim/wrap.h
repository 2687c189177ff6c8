/* Between the files that stand in for the C library (wrap_*.c, socket*.c). */
#ifndef KQ_TESTS_SIM_WRAP_H
#define KQ_TESTS_SIM_WRAP_H

#include <stddef.h>

/* Numbers of simulated files begin here; those below are the process's own. */
enum { SOCKET_FD_FIRST = 1 << 20 };

/* A file that holds this text, for reading. */
int socket_text_open(const char *text, size_t bytes);
/* A line that the broker of the running fiber wrote to its log. */
void wrap_log_line(const char *data, size_t bytes);

#endif
