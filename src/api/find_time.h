/* Where in a partition a time is. */
#ifndef KQ_API_FIND_TIME_H
#define KQ_API_FIND_TIME_H

#include "api/broker.h"

enum { FIND_TIME_NEWEST = -1 }; /* the first record of the largest time there is */

/* Any thread that may read the disk. The first record at or after time_ms, by the index, the batches'
 * headers, and the records of that one batch, which is unpacked for it if it is compressed (one at
 * a time, of at most UNPACK_MAX_BYTES; where that cannot be, the batch's first record stands for it). *off and
 * *found_ms are -1 if there is none. KQ_AGAIN: the partition opens; and what else it says. */
enum kq_err find_time(struct partition *partition, int64_t time_ms, int64_t *off, int64_t *found_ms,
                      struct fault *fault);

#endif
