/* Looking at groups: all of them, or one with its lag. */
#ifndef KQ_API_GROUPS_H
#define KQ_API_GROUPS_H

#include "api/subscribe.h"

/* The groups of all coordinators, by name within each. */
struct groups_list {
    struct group_request request; /* set request.done; its fault is the answer */
    struct group_row *rows;
    uint32_t count;
};
void groups_list(struct broker *broker, struct groups_list *list);
void groups_list_fini(struct groups_list *list);

/* DESCRIBE: call.group. KQ_UNKNOWN_GROUP. */
void group_describe(struct broker *broker, struct group_request *request);
/* After group_describe. Messages behind the committed offset (behind the log
 * start when there is none); -1: the topic is gone or not to be seen now. */
int64_t group_lag(const struct group_request *request, const struct group_partition_row *row, int64_t *end_off);

#endif
