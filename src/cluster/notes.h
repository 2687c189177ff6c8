/*
 * The file REPLICAS: which replicas were made here, so that one whose folder is gone is
 * known to be lost. A replica that comes back empty under the same name would vote
 * against what it had voted for and acknowledged; a lost one is replaced by a new one
 * instead. Only replicas of groups of several are noted, each before it may vote.
 *
 *    "KQr1", 4 zero bytes, then records of 40 bytes:
 *    16 topic id | u32 partition | 16 incarnation of the replica | u32 CRC-32C of these
 *
 * It is appended to, and written anew (REPLICAS.new, renamed over it) when most of it is of
 * replicas that will never be asked for again. A record that does not check out is skipped: a torn one at the end
 * was not durable, so that its replica did not vote yet. One thread at a time; blocks.
 */
#ifndef KQ_CLUSTER_NOTES_H
#define KQ_CLUSTER_NOTES_H

#include "base/err.h"
#include "base/uuid.h"
#include "log/io.h"

#define NOTES_NAME "REPLICAS"
enum { NOTES_COMPACT_FROM = 64 /* records; a smaller file stays as it is */ };

struct notes;

struct note {
    struct uuid topic_id;
    uint32_t partition;
    struct uuid incarnation;
};

/* Reads the file, if there is one. data_dir is copied. */
enum kq_err notes_open(struct notes **notes, struct io *io, const char *data_dir, struct fault *fault);
void notes_close(struct notes **notes);
bool notes_has(const struct notes *notes, const struct note *note);
/* Whether another replica of its partition is noted, too. Looks at all. */
bool notes_has_other(const struct notes *notes, const struct note *note);
/* To be written with the next flush. KQ_NO_MEMORY. */
enum kq_err notes_add(struct notes *notes, const struct note *note);
/* Leaves out what keep() says of that it will never be asked for again, if that is more than
 * half of the file and worth it; *dropped says how many. What is left out is known until the
 * next start. Not while something
 * waits for a flush. Not KQ_OK: what is noted is noted still. */
enum kq_err notes_compact(struct notes *notes, bool (*keep)(void *context, const struct note *note), void *context,
                          uint64_t *dropped, struct fault *fault);
/* Everything that lies in the data folder, and then all that was added, is durable on KQ_OK.
 * Else what was added is not noted. */
enum kq_err notes_flush(struct notes *notes, struct fault *fault);

#endif
