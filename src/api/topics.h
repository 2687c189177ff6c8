/* Topics: creating with settings, deleting, changing. */
#ifndef KQ_API_TOPICS_H
#define KQ_API_TOPICS_H

#include "api/broker.h"

enum { TOPIC_SETTINGS_MAX = 8 };

/* Belongs to the api from the call until done, which runs once, on any thread,
 * also before the call returns, and must not block. */
struct topic_request {
    void (*done)(struct topic_request *request);
    void *owner;
    struct fault fault; /* the answer */
    const char *name;   /* borrowed until done */
    uint32_t partitions;
    uint32_t replicas; /* 0: the default */
    struct topic_config_setting settings[TOPIC_SETTINGS_MAX];
    uint32_t setting_count;
    /* the api's */
    struct cluster_request cluster;
};

/* CRTP; see cluster_create_topic. Settings are set also when the topic existed. */
void topic_create(struct broker *broker, struct topic_request *request);
/* DELE; see cluster_delete_topic. */
void topic_delete(struct broker *broker, struct topic_request *request);

#endif
