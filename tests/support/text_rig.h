/*
 * A text session driven by bytes. The conn is a real one over a socket pair; cluster and
 * partitions are played by text_rig.c, and answer when the test says so.
 */
#ifndef KQ_TESTS_SUPPORT_TEXT_RIG_H
#define KQ_TESTS_SUPPORT_TEXT_RIG_H

#include "cluster/links.h"
#include "server/text_session.h"

enum { RIG_PARTITIONS = 3, RIG_REQUESTS_MAX = 4096 };

struct partition {
    uint32_t number;
    bool crowded;
    char bodies[64 * 1024]; /* of all records, each followed by a space */
    size_t bodies_len;
};

extern struct partition rig_partitions[RIG_PARTITIONS];

/* What was asked of them and of other brokers, and is not answered. */
struct rig_asked {
    struct publish_request *publishes[RIG_REQUESTS_MAX];
    struct partition *at[RIG_REQUESTS_MAX];
    size_t count;
    size_t answered;
    struct cluster_request *creates[16];
    size_t create_count;
    struct cluster_request *catch_up;
    bool late_topic_known;
    struct ask *asks[64]; /* of other brokers */
    size_t ask_count;
    struct engine_deadline *deadline;
};
extern struct rig_asked rig_asked;

/* Who leads all partitions, as the session is told. */
struct rig_leader {
    uint32_t broker_id; /* 0: nobody */
    uint64_t term;
    bool majority;
    bool lost; /* for good */
};
extern struct rig_leader rig_leader;

struct rig {
    struct config config;
    struct broker broker;
    struct text_front *front;
    struct conn_home home;
    struct conn_front text;
    _Atomic uint64_t handoffs;
    struct conn *conn;
    int peer;
    struct worker worker;
    char kept[256 * 1024]; /* what the session left */
    size_t kept_len;
    bool mid_line;
    char got[256 * 1024]; /* all replies so far */
    size_t got_len;
};

/* A session whose configuration has these settings ("key=value", NULL ends; or NULL); everything as new. */
struct rig *rig_new(const char *const *settings);
void rig_free(struct rig *rig);
bool rig_ready(struct rig *rig);
/* Gives the session what is kept, as a worker would. The bytes are given in
 * memory of exactly their size, so that a sanitizer sees a step too far. */
void rig_go_on(struct rig *rig);
/* More from the client. */
void rig_feed(struct rig *rig, const char *bytes, size_t size_bytes);
void rig_text(struct rig *rig, const char *text);
/* All replies up to now. */
const char *rig_replies(struct rig *rig);
/* The i-th publish. */
void rig_answer(size_t i, enum kq_err err);
/* A worker of the pool then publishes, and the session goes on. */
void rig_answer_catch_up(struct rig *rig, enum kq_err err);
/* Answers everything, until nothing more is asked for. */
void rig_answer_all(struct rig *rig);

#endif
