/*
 * Time. Code that decides something is given the time with its events; only
 * the threads that pump events call these.
 */
#ifndef KQ_BASE_CLOCK_H
#define KQ_BASE_CLOCK_H

#include <stdint.h>

/* A deadline that never comes. */
#define CLOCK_NEVER INT64_MAX

/* Any thread. Microseconds on CLOCK_MONOTONIC. */
int64_t clock_mono_us(void);

/* Any thread. Milliseconds since 1970 on CLOCK_REALTIME. */
int64_t clock_wall_ms(void);

#endif
