/* What the handlers of group requests (kafka_groups.c, kafka_commits.c, kafka_groups_admin.c) share:
 * classic_calls on their way to coordinators that are led here. */
#ifndef KQ_SERVER_KAFKA_GROUPS_H
#define KQ_SERVER_KAFKA_GROUPS_H

#include "group/classic.h"
#include "server/kafka_internal.h"

struct group_work;

/* One call to a coordinator. */
struct group_item {
    struct classic_call call; /* the handler's to fill: base.verb and inputs; answered when fill() runs */
    struct group_work *work;
    struct partition *partition; /* a reference while it is on its way */
    char group[GROUP_NAME_MAX_BYTES + 1];
    int16_t refused; /* not sent: why */
    void *answer;    /* the handler's */
};

struct group_work {
    struct kafka_call *call;
    struct image *image;                   /* held until the end: topics are looked up in it */
    void (*fill)(struct group_item *item); /* one item is answered or was refused; the call is nobody else's */
    _Atomic uint32_t left;
    _Atomic bool told; /* answered, or given up as the client is gone */
    uint32_t count;
    struct group_item items[];
};

/* What Kafka writes as empty, where we have nothing. */
static inline struct slice kafka_present(struct slice text)
{
    return slice_is_absent(text) ? slice_of("", 0) : text;
}

/* Any thread. NULL: out of memory, and the call was ended. Items are zeroed. */
struct group_work *group_work_new(struct kafka_call *call, uint32_t count, void (*fill)(struct group_item *item));
/* The worker. Finds the item's coordinator; item->refused says if it cannot be asked here. */
void group_work_aim(struct group_item *item, struct slice group);
/* The worker. Sends what is aimed; when all are answered, fills and answers. Not touched afterwards. */
void group_work_send(struct group_work *work);
/* The code for a client: of what was refused, of a fault, or of what became of it. */
int16_t group_item_code(const struct group_item *item);
int16_t group_answer_code(enum classic_answer answer);
/* kafka_commits.c. Where a partition's offset is; false: there is no such partition, and its answer says so. */
bool kafka_name_offset(const struct image *image, struct slice topic, int32_t p, struct classic_offset *to);

#endif
