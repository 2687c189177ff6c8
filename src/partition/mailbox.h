/*
 * The mailbox of an actor: a lock, a condition, two lanes. Many threads post,
 * one takes. The control lane (completions, ticks, stop) goes first and is never
 * refused; the data lane (publishes, calls) is bounded in bytes.
 *
 * Locking: the mailbox's own mutex, held for a few instructions; nothing else is
 * locked inside it.
 */
#ifndef KQ_PARTITION_MAILBOX_H
#define KQ_PARTITION_MAILBOX_H

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
    /* data */
    MAIL_PUBLISH,
    MAIL_WAIT,
    MAIL_CALL,
    MAIL_SET_START,
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
struct mail *mail_list_take(struct mail_list *list); /* the first, or NULL */

#endif
