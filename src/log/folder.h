/*
 * What lies in a replica's folder, by name. Private to src/log.
 */
#ifndef KQ_LOG_FOLDER_H
#define KQ_LOG_FOLDER_H

#include "base/err.h"
#include "log/io.h"

#include <stdbool.h>
#include <stdint.h>

struct offs {
    int64_t *at;
    uint32_t count;
};

struct folder {
    struct offs logs;
    struct offs indexes;
    bool hard_state;
    bool leftovers; /* files under temporary names */
    bool snapshot;
    bool strange;
    bool no_memory;
    const char *dir;
};

/* Any thread; blocks. Lists dir into f, whose offsets come out ascending, and says
 * what does not belong there. KQ_NOT_FOUND: no such folder. folder_fini in any case. */
enum kq_err folder_list(struct io *io, const char *dir, struct folder *f);
void folder_fini(struct folder *f);
/* For bsearch in offs.at. */
int offs_compare(const void *a, const void *b);

#endif
