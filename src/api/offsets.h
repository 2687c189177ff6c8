/* Committed offsets of a group. */
#ifndef KQ_API_OFFSETS_H
#define KQ_API_OFFSETS_H

#include "api/reader.h"
#include "api/subscribe.h"

/* CMIT: call.topic, call.id, call.off. KQ_OFFSET_OUT_OF_RANGE: beyond the end of
 * the partition, which is named. See subscribe.h. */
void offset_commit(struct broker *broker, struct group_request *request);

#endif
