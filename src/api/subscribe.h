/*
 * Consumer groups: what goes to the coordinator of a group, with the way there
 * (the offsets topic is made when the first group is), and the several questions
 * that go to all coordinators.
 *
 * A request belongs to the api from the call until `done`, which runs once, on
 * any thread, also before the call returns, and must not block.
 */
#ifndef KQ_API_SUBSCRIBE_H
#define KQ_API_SUBSCRIBE_H

#include "api/broker.h"

struct group_request {
    struct group_call call; /* the answer: call.call.fault and what group.h says */
    void (*done)(struct group_request *request);
    void *owner;
    struct image *image; /* held until group_request_fini: topics stay while their partitions are read */
    /* the api's */
    struct broker *broker;
    struct cluster_request ensure;
    uint32_t coordinator; /* of those that are all asked */
};

/* All: set call.session, what the verb takes (see group.h), done and owner; zero
 * the rest. Strings are borrowed until done.
 * SUBSCRIBE: group, topic, wanted. KQ_UNKNOWN_TOPIC and the coordinator's errors. */
void subscribe(struct broker *broker, struct group_request *request);
/* RESOLVE, UNSUBSCRIBE: topic, id. */
void subscription_resolve(struct broker *broker, struct group_request *request);
void subscription_end(struct broker *broker, struct group_request *request);
/* PING: renews all that the session uses, at all coordinators. */
void subscription_renew(struct broker *broker, struct group_request *request);
/* After done. */
void group_request_fini(struct group_request *request);

/* For api/offsets and api/groups: sends the call to the coordinator of its id. */
void group_request_send_to_id(struct broker *broker, struct group_request *request);
void group_request_send_to_group(struct broker *broker, struct group_request *request);

/* A session is gone: told to all coordinators. Nobody waits for it. */
void session_closed(struct broker *broker, const struct group_session *session);

#endif
