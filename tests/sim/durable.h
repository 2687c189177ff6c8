/*
 * A disk as a power cut would leave it if it came now and nothing were lucky: an io
 * table, for reading alone, over what io_mem.h holds as durable. Whoever judges a
 * promise that leaves a broker looks here and not at the broker's memory.
 */
#ifndef KQ_TESTS_SIM_DURABLE_H
#define KQ_TESTS_SIM_DURABLE_H

#include "log/io.h"
#include "support/io_mem.h"

struct durable {
    struct io io;
    struct io_mem *mem;
};

/* In place; nothing to undo. */
void durable_init(struct durable *durable, struct io_mem *mem);

#endif
