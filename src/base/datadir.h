/*
 * A broker's data folder as a whole: that one process at a time uses it, and
 * that its format and its broker are those of this program. What lies in it
 * (partitions' folders) is others' business.
 *
 *   LOCK     locked with flock(2) while in use; holds the holder's pid as text,
 *            for messages alone: a stale pid without the lock means nothing
 *   FORMAT   text: "format 1\nbroker 7\n"; written once, before anything else
 *            is, and durable before datadir_open returns
 *
 * It never takes over a folder that holds other things, and never repairs one.
 */
#ifndef KQ_BASE_DATADIR_H
#define KQ_BASE_DATADIR_H

#include "base/err.h"

#include <stdint.h>

struct datadir;

enum { DATADIR_FORMAT = 1, DATADIR_ANY_BROKER = -1 };

/* Main thread. Locks the folder; with create, makes and marks it if it is absent
 * or empty. broker_id DATADIR_ANY_BROKER: whoever's it is (tools). Gives *dir.
 * KQ_LOCKED: *fault names the pid of the holder. KQ_BAD_VERSION: a newer format.
 * KQ_READ_ONLY, KQ_NO_SPACE, KQ_IO: as named. KQ_NOT_FOUND: without create, no
 * such folder or none of a broker. KQ_INVALID: other things lie there, or it
 * belongs to another broker. */
enum kq_err datadir_open(struct datadir **dir, const char *path, int64_t broker_id, bool create, struct fault *fault);

/* Unlocks. *dir becomes NULL. */
void datadir_close(struct datadir **dir);

#endif
