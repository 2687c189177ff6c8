/* What text_session.c (order, the protocol's table), text_input.c (lines, folds),
 * text_errand.c (commands that take time), text_read.c (CONS, TAIL), text_look.c
 * (what is known) and text_front.c share. Nobody else includes it. */
#ifndef KQ_SERVER_TEXT_INTERNAL_H
#define KQ_SERVER_TEXT_INTERNAL_H

#include "api/describe.h"
#include "api/groups.h"
#include "api/publish.h"
#include "api/reader.h"
#include "api/route.h"
#include "api/subscribe.h"
#include "api/topics.h"
#include "base/map.h"
#include "proto/text/command.h"
#include "proto/text/message.h"
#include "proto/text/reply.h"
#include "server/text_session.h"

struct text_session;

enum {
    TEXT_REPLY_MAX_BYTES = 64 * 1024 * 1024, /* LIST, DESC, GRPS */
    TEXT_EVENTS_MAX_BYTES = 1024 * 1024,     /* held back while a reply is under way */
    TEXT_PIECE_BYTES = 96 * 1024,            /* of CONS and TAIL at a time, unless one message is larger */
    TEXT_OUTPUT_LOW_BYTES = 64 * 1024,       /* CONS and TAIL go on when no more than this waits */
};

struct text_front {
    uint32_t tag;
    struct broker *broker;
    struct server *server;
    /* Guards what follows; taken inside a connection's lock, never the other way. */
    pthread_mutex_t lock;
    struct map sessions; /* group session id -> text_session */
    struct text_errand *tails;
    struct engine_deadline renewal; /* of what TAIL uses */
    struct pool_job renew_job;
    bool renewing; /* the deadline is set, or its job under way */
    bool stopped;
};

/* ---- what waits for its turn to be answered ------------------------------------------ */

struct text_pending {
    struct text_pending *next;
    bool is_fold; /* else a line */
};

struct text_fold {
    struct text_pending pending;
    struct text_session *session;
    struct publish_fold fold;
    uint32_t answered;
    bool sending;  /* the sender still looks at it */
    bool finished; /* all answered while it was being sent */
    int64_t held_bytes;
};

struct text_line {
    struct text_pending pending;
    size_t len;
    char text[];
};

/* ---- a session -------------------------------------------------------------------------- */

struct text_session {
    struct conn *conn;
    struct text_front *front;

    /* Under the connection's lock. */
    struct text_pending *first;
    struct text_pending **last;
    int64_t waiting; /* commands in that list */
    struct publish_flight flight;
    uint32_t crowded; /* parts at partitions that have enough */
    bool wants_quiet; /* the next command waits for all before it */
    struct text_errand *errand;
    struct group_session group; /* id 0: none yet */
    bool gone;                  /* cancelled: the front forgets it */
    struct buf events;          /* lines to go out when the reply under way has ended */

    /* The worker's. */
    bool greeted;   /* the first bytes were looked at */
    bool skipping;  /* the rest of a line that was too long */
    bool ended;     /* DISC */
    size_t scanned; /* of the line that has begun, without a line feed */
};

/* ---- a command that takes time --------------------------------------------------------------- */

enum errand_stage {
    ERRAND_ASKED, /* done will come, on some thread */
    ERRAND_WORK,  /* a worker is wanted */
    ERRAND_READS, /* CONS, TAIL: what is to be shown is on its way */
    ERRAND_WAITS, /* for a partition: to open, or for the next record */
};

struct text_errand {
    uint32_t refs; /* under the connection's lock */
    enum text_verb verb;
    enum errand_stage stage;
    struct text_session *session;
    char topic[TEXT_TOPIC_NAME_MAX_BYTES + 1];
    char group[TEXT_GROUP_NAME_MAX_BYTES + 1];
    struct subscription_id id;
    int64_t off;
    bool has_off;
    union {
        struct topic_request topic;
        struct cluster_request producer;
        struct group_request group;
        struct groups_list groups;
        struct group_description group_look;
        struct topic_description describe;
        struct cluster_order order;
        struct cluster_survey survey;
    } ask;
    void (*ask_fini)(struct text_errand *errand); /* NULL: nothing to free */

    /* PUBS and PUBX to a topic that was not known; the message is in `piece`. */
    struct text_command command;

    struct cluster_request catch_up; /* to know what is committed, once */
    bool caught_up;

    /* DESC, while a partition opens. */
    struct wait_request wait;
    struct partition *partition; /* a reference */

    /* CONS and TAIL. */
    struct reader reader;
    bool reading;         /* the reader is there */
    int64_t pulled_bytes; /* counted */
    struct buf piece;
    bool begun;         /* the first bytes of the reply are out */
    bool first;         /* no record yet */
    bool ends;          /* TAIL: when it has caught up */
    bool interrupted;   /* TAIL: at once */
    struct fault ended; /* TAIL: with this error; err KQ_OK: none */
    /* Under the front's lock. */
    struct text_errand *next_tail, *prev_tail;
    bool listed;
};

/* text_session.c */
/* Lock held. The reply of the errand's command is out: the session goes on. */
void text_errand_end(struct text_errand *errand);
/* Lock held. */
struct text_errand *text_errand_hold(struct text_errand *errand);
void text_errand_drop(struct text_errand *errand);
/* The worker, no lock held. An errand for a command, which somebody is asked to answer:
 * text_errand_answered() lets go of it. NULL: out of memory, and answered. */
struct text_errand *text_errand_new(struct text_session *session, const struct text_command *command);
/* Any thread: the answer has come. `reply` is whole; or (NULL) the errand wants a worker. */
void text_errand_answered(struct text_errand *errand, struct buf *reply);
/* Any thread. `Done`, or the error. */
void text_errand_answered_fault(struct text_errand *errand, const struct fault *fault);
/* The worker, no lock held; its stage is WORK. Somebody is asked again. */
void text_errand_asks(struct text_errand *errand);
/* Lock held. Appends a whole reply; what could not be made ends the session. */
void text_put(struct text_session *session, struct buf *reply);
void text_put_fault(struct text_session *session, enum kq_err err, const struct fault *fault);
/* Lock held. What was held back while a reply was under way. */
void text_put_events(struct text_session *session);

/* Lock held. A line of its own, in its place among the replies. */
void text_put_line(struct text_session *session, struct buf *reply);
/* No lock held. A list of folds that nobody needs any more. */
void text_folds_free(struct text_fold *fold);

/* text_input.c */
/* conn_protocol's input. */
void text_take_input(void *session, uint8_t *data, size_t size_bytes, struct worker *worker, struct conn_taken *taken);
/* The worker; the errand of text_publish_later, its stage is WORK. */
void text_publish_again(struct text_errand *errand, struct worker *worker);

/* text_errand.c: the worker, no lock held. An errand publishes it when this broker
 * knows what is committed. False: it cannot be made. */
bool text_publish_later(struct text_session *session, const struct text_command *command);

/* text_errand.c: the worker, no lock held. The command is quiet: nothing before it
 * is unanswered. It answers at once or leaves an errand. */
void text_run(struct text_session *session, const struct text_command *command);
/* The worker; the errand's stage is WORK. */
void text_errand_work(struct text_errand *errand, struct worker *worker);
/* The worker; the errand's stage is WORK, and will be again when this broker knows what is
 * committed. False: it was asked before. */
bool text_errand_catch_up(struct text_errand *errand);
/* The session's group identity, made when first needed. */
struct group_session text_group_session(struct text_session *session);

/* text_read.c */
void text_read_work(struct text_errand *errand);
/* No lock held. Ends a TAIL: at once, or when it has caught up. */
void text_read_interrupt(struct text_session *session, bool at_once);
void text_read_revoked(struct text_session *session, const struct subscription_id *id);
void text_read_unlist(struct text_errand *errand);
void text_renew_job(struct pool_job *job, struct worker *worker);
void text_renew_fire(struct engine_deadline *deadline);

/* text_ask.c: GRPS, INFO, DESC, CLUS. The worker, no lock held. */
void text_run_look(struct text_session *session, const struct text_command *command);
void text_look_work(struct text_errand *errand);

/* text_look.c: LIST, DESC, GRPS, INFO, as whole replies. */
void text_look_topics(struct broker *broker, struct buf *reply);
void text_look_topic(const struct topic_description *description, struct buf *reply);
/* The topic's first partition that is being opened, with a reference; NULL: none. */
struct partition *text_look_opening(struct broker *broker, const char *name);
void text_look_groups(const struct groups_list *list, struct buf *reply);
void text_look_group(const struct group_description *description, struct buf *reply);
void text_look_info(struct text_front *front, const struct groups_list *groups, struct buf *reply);

#endif
