/* DESC: a topic's partitions as their leaders know them, wherever these are. */
#ifndef KQ_API_DESCRIBE_H
#define KQ_API_DESCRIBE_H

#include "api/reader.h"

struct describe_row {
    uint32_t leader; /* 0: none known */
    uint32_t replicas[16];
    uint32_t replica_count;
    uint32_t in_sync[16];
    uint32_t in_sync_count;
    int64_t start_off; /* -1: nobody could say */
    int64_t end_off;
    bool here; /* there is a replica, and status is its */
    struct partition_status status;
};

/* Belongs to the api from the call until done, which runs once, on any thread, also before
 * the call returns, and must not block. Zeroed, then filled. */
struct topic_description {
    void (*done)(struct topic_description *description);
    void *owner;
    const char *topic;  /* borrowed until done */
    struct fault fault; /* KQ_UNKNOWN_TOPIC: as far as this broker knows */
    struct image *image;
    struct image_topic *found; /* in the image */
    struct describe_row *rows; /* one a partition */
    uint32_t row_count;
    /* the api's */
    struct broker *broker;
    struct cluster_survey survey;
    struct reader reader;
    bool reading;
    uint32_t next;
};
void topic_describe(struct broker *broker, struct topic_description *description);
/* After done. */
void topic_description_fini(struct topic_description *description);

#endif
