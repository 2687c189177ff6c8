/* Questions to the actors of several partitions, put all at once; the last that comes back
 * answers the client. */
#ifndef KQ_SERVER_KAFKA_ASKING_H
#define KQ_SERVER_KAFKA_ASKING_H

#include "server/kafka_internal.h"

struct asking;

struct asking_one {
    struct partition_ask ask;
    struct asking *asking;
    struct partition *partition; /* a reference */
    void *answer;                /* the partition's struct in the answer */
};

struct asking {
    struct kafka_call *call;
    void (*fill)(struct asking_one *one); /* the last to come back: one of them was answered */
    _Atomic uint32_t left;                /* on their way, and one while they are sent */
    uint32_t count;
    struct asking_one ones[];
};

/* The handler's thread, all of these. Room for that many; NULL: the call was ended. */
struct asking *asking_new(struct kafka_call *call, size_t count, void (*fill)(struct asking_one *one));
void asking_add(struct asking *asking, struct partition *partition, const struct partition_ask *ask, void *answer);
/* Ends the call, once all are back; also if there are none. */
void asking_send(struct asking *asking);

/* The replica here that leads, if the client's leader epoch (-1: it has none) is the present one. */
int16_t asking_find_leader(struct kafka_call *call, const struct image *image, struct slice topic_name, int32_t p,
                           int32_t epoch, struct partition **partition, uint64_t *term);

#endif
