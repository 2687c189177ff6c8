/* Looking at groups: all of them, or one with its lag. */
#ifndef KQ_API_GROUPS_H
#define KQ_API_GROUPS_H

#include "api/reader.h"
#include "api/subscribe.h"

/* The groups of all coordinators, by name within each. */
struct groups_list {
    struct group_request request; /* set request.done; its fault is the answer */
    struct group_row *rows;
    uint32_t count;
};
void groups_list(struct broker *broker, struct groups_list *list);
void groups_list_fini(struct groups_list *list);

struct group_bounds {
    int64_t start_off; /* -1: not known */
    int64_t end_off;
};

/* DESCRIBE, with the ends of the partitions, wherever they are. Set request.call.group, done
 * and owner; the fault is request.call's: KQ_UNKNOWN_GROUP. */
struct group_description {
    void (*done)(struct group_description *description);
    void *owner;
    struct group_request request;
    struct group_bounds *bounds; /* one a row of the call */
    /* the api's */
    struct reader reader;
    uint32_t next;
};
void group_describe(struct broker *broker, struct group_description *description);
void group_description_fini(struct group_description *description);
/* Of a row: messages behind the committed offset (behind the log start when there is none);
 * -1: the topic is gone or not to be seen now. */
int64_t group_lag(const struct group_description *description, uint32_t row, int64_t *end_off);

#endif
