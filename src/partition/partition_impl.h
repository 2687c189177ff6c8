/* A partition, as the files partition*.c share it. */
#ifndef KQ_PARTITION_PARTITION_IMPL_H
#define KQ_PARTITION_PARTITION_IMPL_H

#include "partition/actor.h"
#include "partition/engine.h"
#include "partition/leadership.h"
#include "partition/mailbox.h"
#include "partition/partition.h"

#include <pthread.h>

struct lane_job {
    struct job job;
    struct actor_job_mail mail;
    struct partition *partition;
};

struct partition {
    uint32_t tag;
    _Atomic uint32_t references;
    struct partition_options options;
    char *dir;
    char *title;
    struct raft_member founders[LOG_VOTERS_MAX];
    struct mailbox box;
    pthread_t thread;
    struct actor *actor;  /* NULL: opening, failed to open, or closed */
    struct fault failure; /* token holder: it failed to open */
    struct lane_job lane_jobs[LOG_LANE_COUNT];
    bool own_turn;         /* token holder: it is the partition's own thread, */
    struct lane_job *kept; /* which will run this flush itself; NULL: none */
    struct job deputy_job;
    struct actor_stop_mail stop;
    void (*stopped)(void *context, struct partition *partition);
    void *stopped_context;
    struct job join_job;
    struct engine_deadline deadline;
    struct mail tick;
    atomic_bool tick_queued;
    int64_t armed_us;
    _Atomic uint64_t turns;         /* begun and ended: odd while one runs */
    _Atomic uint64_t watched_turns; /* partition_is_stuck: as of the last look, */
    _Atomic int64_t watched_us;     /* and since when it is so */
    _Atomic bool stuck;             /* as it was found then */
    _Atomic uint64_t parcels_bytes; /* received and not used up */
    struct engine_deadline scrub_deadline;
    struct job scrub_job;
    uint64_t scrub_cursor;
    atomic_bool ended;

    pthread_mutex_t tail_lock; /* partition_tail.c; a leaf */
    pthread_cond_t tail_news;
    struct log_damage tail_damage; /* its own thread's */
    struct partition_mend *tail_mend;
    bool tail_waits;
    bool tail_stop;

    pthread_mutex_t face_lock;
    struct log_view *view;
    struct fault face_fault;
    enum partition_state face_state;
    struct leadership leadership; /* token holder writes */
    _Atomic uint64_t size_bytes;
};

/* ---- partition.c --------------------------------------------------------------------- */

/* fault NULL: none. */
void partition_set_face(struct partition *p, enum partition_state state, const struct fault *fault);

/* ---- partition_tail.c ------------------------------------------------------------------ */

void partition_tail_init(struct partition *p);
void partition_tail_fini(struct partition *p);
/* The partition's own thread; blocks. actor_open, and what of a damaged tail others have. */
enum kq_err partition_open(struct partition *p, struct actor_options *options, struct fault *fault);
/* Any thread. False: it is not waiting for such. */
bool partition_tail_give(struct partition *p, struct partition_mend *mend);
/* Any thread. It waits no more. */
void partition_tail_stop(struct partition *p);

/* ---- partition_turns.c ---------------------------------------------------------------- */

void partition_turns_init(struct partition *p);
/* The partition's own thread: turns, until the actor has stopped; then it holds the token. */
void partition_serve(struct partition *p);
/* Of actor_env. Token holder. */
void partition_submit(void *context, enum log_lane lane, struct log_job *log_job, bool alone);
/* Any thread. A turn is wanted. */
void partition_fire_tick(struct engine_deadline *deadline);
/* A worker. Posts, and runs the turn where nobody does and it is small. */
enum mailbox_post partition_post_and_turn(struct partition *p, enum mail_lane lane, struct mail *mail);
/* A link's receiver. False: the partition has gone, the caller keeps the parcel. */
bool partition_take_ack(struct partition *p, struct parcel *parcel);

#endif
