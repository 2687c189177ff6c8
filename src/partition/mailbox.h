/*
 * The mailbox of an actor: a lock, a condition, two lanes, and the token that
 * says who runs the actor's turn. Many threads post; whoever holds the token
 * takes.
 *
 * The control lane (completions, ticks, stop) goes first and is never refused;
 * the data lane (publishes, calls) is counted in bytes, and whoever finds it
 * crowded stops reading from its client.
 *
 * The token: the actor has a thread of its own, which sleeps here. A thread that
 * brings a completion and finds the actor idle may run the turn itself and spare
 * two wake-ups (mailbox_post_and_claim), and so may one that brings a peer's message
 * or a publish (mailbox_post_or_claim); the actor's thread then is not woken
 * unless work is left. Exactly one thread holds the token at any time, and the
 * mutex orders turns of different threads.
 *
 * The actor's thread may be away with a job that blocks (mailbox_go_out): it spares
 * the wake-up of another thread for it. Mail that comes meanwhile calls a deputy, which
 * is given the token; so the actor is never deaf, however long the job takes.
 *
 * Locking: the mailbox's own mutex, held for a few instructions; nothing else is
 * locked inside it. Whoever posts must keep the box alive until the call returns.
 */
#ifndef KQ_PARTITION_MAILBOX_H
#define KQ_PARTITION_MAILBOX_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum mail_kind {
    /* control */
    MAIL_JOB_DONE,
    MAIL_TICK,
    MAIL_STOP,
    MAIL_CONFIGURE,
    MAIL_WAIT_CANCEL,
    MAIL_PARCEL, /* from a peer; bounded by its sender, see partition_receive() */
    MAIL_PEER,   /* news of links: claims, peers, the target */
    MAIL_ASK,
    MAIL_MEND, /* entries in place of damaged ones */
    /* data */
    MAIL_PUBLISH,
    MAIL_WAIT,
    MAIL_CALL,
};

/* The first member of whatever is posted. */
struct mail {
    struct mail *next;
    enum mail_kind kind;
    uint32_t size_bytes; /* what it counts for on the data lane */
};

struct mail_list {
    struct mail *first;
    struct mail *last;
    size_t count;
    size_t size_bytes;
};

void mail_list_append(struct mail_list *list, struct mail *mail);
/* The first, or NULL. */
struct mail *mail_list_take(struct mail_list *list);
/* Moves all of `from` to the end of `to`. */
void mail_list_move(struct mail_list *to, struct mail_list *from);

enum mail_lane { MAIL_CONTROL, MAIL_DATA, MAIL_LANE_COUNT };

struct mailbox {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct mail_list lanes[MAIL_LANE_COUNT];
    size_t data_limit_bytes;
    bool claimed;     /* somebody runs the actor's turn */
    bool asleep;      /* the actor's thread waits and was not signalled yet */
    bool data_wanted; /* the actor can use what is on the data lane */
    bool roused;      /* the actor's own thread must look, mail or not */
    bool lent;        /* other threads may run turns, too */
    bool away;        /* the actor's thread is out with a job */
    bool deputy;      /* one was called, and has not ended */
    bool closed;      /* nothing is taken any more */
    _Atomic uint64_t *handoffs;
    void (*call_deputy)(struct mailbox *box); /* NULL: the actor's thread never goes out */
};

void mailbox_init(struct mailbox *box, size_t data_limit_bytes, _Atomic uint64_t *handoffs);
void mailbox_fini(struct mailbox *box);

enum mailbox_post { MAILBOX_POSTED, MAILBOX_CROWDED, MAILBOX_CLOSED };

/* Any thread. POSTED and CROWDED: the box owns the mail (CROWDED: the data lane
 * is over its limit). CLOSED: the actor has gone, the caller keeps the mail. */
enum mailbox_post mailbox_post(struct mailbox *box, enum mail_lane lane, struct mail *mail);

/* Any thread but the actor's own. Posts on the control lane; true: the caller
 * now holds the token and runs turns by mailbox_take/mailbox_release. */
bool mailbox_post_and_claim(struct mailbox *box, struct mail *mail);

/* Any thread that is not in a turn of an actor. As mailbox_post; *claimed: the caller holds the
 * token and runs the turn, as nobody does, nothing else waits and the actor lends its turns. */
enum mailbox_post mailbox_post_or_claim(struct mailbox *box, enum mail_lane lane, struct mail *mail, bool *claimed);

/* The actor's thread, before its first mailbox_wait: from now on other threads may run turns. */
void mailbox_lend(struct mailbox *box);

/* Any thread. Control mail waits. */
bool mailbox_has_control(struct mailbox *box);

/* The actor's thread. The next mailbox_wait returns even without mail. */
void mailbox_rouse(struct mailbox *box);

/* The actor's thread. Sleeps until there is work and the token is free; then
 * holds the token. */
void mailbox_wait(struct mailbox *box);

/* Token holder. Moves all control mail and, if wanted, at most data_max_bytes of
 * data mail (at least one) to the lists. */
void mailbox_take(struct mailbox *box, struct mail_list *control, struct mail_list *data, bool data_wanted,
                  size_t data_max_bytes);

/* Token holder. The oldest control mail, which is there, alone. */
struct mail *mailbox_take_first(struct mailbox *box);

/* Token holder, after a turn. True: there is work already, the caller keeps the
 * token. False: the token is free. */
bool mailbox_release(struct mailbox *box, bool data_wanted);

/* Token holder that is not the actor's thread, after a turn. True: only control mail has come
 * meanwhile, and the caller keeps the token. False: nothing changes, mailbox_hand_over follows. */
bool mailbox_may_go_on(struct mailbox *box);

/* Token holder. Gives the token up though there may be work: the actor's thread
 * is woken for it, or at all events if rouse. */
void mailbox_hand_over(struct mailbox *box, bool data_wanted, bool rouse);

/* The actor's thread, token holder, after a turn. True: nothing waits, the token is free, and whoever
 * brings mail until mailbox_come_back() hands the token to a deputy by call_deputy(), which must not
 * block. False: there is work, the caller keeps the token. */
bool mailbox_go_out(struct mailbox *box, bool data_wanted);

/* The actor's thread. Posts on the control lane what it brings; true: it holds the token.
 * *alone: no deputy is at work. */
bool mailbox_come_back(struct mailbox *box, struct mail *mail, bool *alone);

/* The deputy, after a turn. True: there is work that nobody else can do now, it keeps the token and
 * goes on. */
bool mailbox_deputy_goes_on(struct mailbox *box, bool data_wanted);

/* The deputy, at its end: as mailbox_hand_over(). True: the actor's thread is not away. */
bool mailbox_deputy_ends(struct mailbox *box, bool data_wanted, bool rouse);

/* Token holder, at the end. What is left in the lanes goes to *rest. */
void mailbox_close(struct mailbox *box, struct mail_list *rest);

#endif
