#include "partition/mailbox.h"

#include "base/require.h"

void mail_list_append(struct mail_list *list, struct mail *mail)
{
    mail->next = NULL;
    if (list->last == NULL)
        list->first = mail;
    else
        list->last->next = mail;
    list->last = mail;
    list->count++;
    list->size_bytes += mail->size_bytes;
}

struct mail *mail_list_take(struct mail_list *list)
{
    struct mail *mail = list->first;
    if (mail == NULL)
        return NULL;
    list->first = mail->next;
    if (list->first == NULL)
        list->last = NULL;
    list->count--;
    list->size_bytes -= mail->size_bytes;
    mail->next = NULL;
    return mail;
}

void mail_list_move(struct mail_list *to, struct mail_list *from)
{
    if (from->first == NULL)
        return;
    if (to->last == NULL)
        to->first = from->first;
    else
        to->last->next = from->first;
    to->last = from->last;
    to->count += from->count;
    to->size_bytes += from->size_bytes;
    *from = (struct mail_list){0};
}

void mailbox_init(struct mailbox *box, size_t data_limit_bytes, _Atomic uint64_t *handoffs)
{
    *box = (struct mailbox){.data_limit_bytes = data_limit_bytes, .handoffs = handoffs, .data_wanted = true};
    (void)pthread_mutex_init(&box->lock, NULL);
    (void)pthread_cond_init(&box->wake, NULL);
}

void mailbox_fini(struct mailbox *box)
{
    REQUIRE(box->lanes[MAIL_CONTROL].first == NULL);
    REQUIRE(box->lanes[MAIL_DATA].first == NULL);
    (void)pthread_cond_destroy(&box->wake);
    (void)pthread_mutex_destroy(&box->lock);
}

static bool has_work(const struct mailbox *box)
{
    return box->roused || box->lanes[MAIL_CONTROL].first != NULL ||
           (box->data_wanted && box->lanes[MAIL_DATA].first != NULL);
}

/* With the lock held: must the actor's thread be signalled? At most once a sleep. */
static bool claim_sleeper(struct mailbox *box)
{
    if (box->claimed || !box->asleep || !has_work(box))
        return false;
    box->asleep = false;
    return true;
}

/* With the lock held: must a deputy be called? The token is its own from now on. */
static bool claim_deputy(struct mailbox *box)
{
    if (box->claimed || !box->away || !has_work(box))
        return false;
    box->claimed = true;
    box->deputy = true;
    return true;
}

/* Lets go of the lock, and sees to that somebody does what waits. The signal is sent outside
 * the lock, so that the woken thread does not run into it. Whoever posts holds a reference to
 * what the box is part of. */
static void unlock_and_wake(struct mailbox *box)
{
    bool wake = claim_sleeper(box);
    bool call = claim_deputy(box);
    (void)pthread_mutex_unlock(&box->lock);
    if (wake) {
        (void)atomic_fetch_add_explicit(box->handoffs, 1, memory_order_relaxed);
        (void)pthread_cond_signal(&box->wake);
    }
    if (call)
        box->call_deputy(box);
}

enum mailbox_post mailbox_post(struct mailbox *box, enum mail_lane lane, struct mail *mail)
{
    (void)pthread_mutex_lock(&box->lock);
    if (box->closed) {
        (void)pthread_mutex_unlock(&box->lock);
        return MAILBOX_CLOSED;
    }
    mail_list_append(&box->lanes[lane], mail);
    bool crowded = box->lanes[MAIL_DATA].size_bytes > box->data_limit_bytes;
    unlock_and_wake(box);
    return crowded ? MAILBOX_CROWDED : MAILBOX_POSTED;
}

bool mailbox_post_and_claim(struct mailbox *box, struct mail *mail)
{
    (void)pthread_mutex_lock(&box->lock);
    REQUIRE(!box->closed);
    mail_list_append(&box->lanes[MAIL_CONTROL], mail);
    bool claims = !box->claimed;
    if (claims)
        box->claimed = true;
    (void)pthread_mutex_unlock(&box->lock);
    return claims;
}

static bool is_idle(const struct mailbox *box)
{
    return !box->claimed && !box->roused && box->lanes[MAIL_CONTROL].first == NULL &&
           box->lanes[MAIL_DATA].first == NULL;
}

enum mailbox_post mailbox_post_or_claim(struct mailbox *box, enum mail_lane lane, struct mail *mail, bool *claimed)
{
    *claimed = false;
    (void)pthread_mutex_lock(&box->lock);
    if (box->closed) {
        (void)pthread_mutex_unlock(&box->lock);
        return MAILBOX_CLOSED;
    }
    bool claims = box->lent && is_idle(box) && (lane == MAIL_CONTROL || box->data_wanted);
    mail_list_append(&box->lanes[lane], mail);
    bool crowded = box->lanes[MAIL_DATA].size_bytes > box->data_limit_bytes;
    *claimed = claims;
    if (claims)
        box->claimed = true;
    unlock_and_wake(box);
    return crowded ? MAILBOX_CROWDED : MAILBOX_POSTED;
}

void mailbox_lend(struct mailbox *box)
{
    (void)pthread_mutex_lock(&box->lock);
    box->lent = true;
    (void)pthread_mutex_unlock(&box->lock);
}

bool mailbox_may_go_on(struct mailbox *box)
{
    (void)pthread_mutex_lock(&box->lock);
    REQUIRE(box->claimed);
    bool may = !box->roused && box->lanes[MAIL_CONTROL].first != NULL && box->lanes[MAIL_DATA].first == NULL;
    (void)pthread_mutex_unlock(&box->lock);
    return may;
}

bool mailbox_has_control(struct mailbox *box)
{
    (void)pthread_mutex_lock(&box->lock);
    bool has = box->lanes[MAIL_CONTROL].first != NULL;
    (void)pthread_mutex_unlock(&box->lock);
    return has;
}

void mailbox_rouse(struct mailbox *box)
{
    (void)pthread_mutex_lock(&box->lock);
    box->roused = true;
    (void)pthread_mutex_unlock(&box->lock);
}

void mailbox_wait(struct mailbox *box)
{
    (void)pthread_mutex_lock(&box->lock);
    while (box->claimed || !has_work(box)) {
        box->asleep = true;
        (void)pthread_cond_wait(&box->wake, &box->lock);
    }
    box->asleep = false;
    box->roused = false;
    box->claimed = true;
    (void)pthread_mutex_unlock(&box->lock);
}

void mailbox_take(struct mailbox *box, struct mail_list *control, struct mail_list *data, bool data_wanted,
                  size_t data_max_bytes)
{
    (void)pthread_mutex_lock(&box->lock);
    REQUIRE(box->claimed);
    mail_list_move(control, &box->lanes[MAIL_CONTROL]);
    struct mail_list *lane = &box->lanes[MAIL_DATA];
    if (data_wanted && lane->size_bytes <= data_max_bytes) {
        mail_list_move(data, lane);
    } else if (data_wanted) {
        do
            mail_list_append(data, mail_list_take(lane));
        while (lane->first != NULL && data->size_bytes + lane->first->size_bytes <= data_max_bytes);
    }
    (void)pthread_mutex_unlock(&box->lock);
}

struct mail *mailbox_take_first(struct mailbox *box)
{
    (void)pthread_mutex_lock(&box->lock);
    REQUIRE(box->claimed);
    struct mail *mail = mail_list_take(&box->lanes[MAIL_CONTROL]);
    (void)pthread_mutex_unlock(&box->lock);
    REQUIRE(mail != NULL);
    return mail;
}

bool mailbox_release(struct mailbox *box, bool data_wanted)
{
    (void)pthread_mutex_lock(&box->lock);
    REQUIRE(box->claimed);
    box->data_wanted = data_wanted;
    bool keep = has_work(box);
    box->claimed = keep;
    (void)pthread_mutex_unlock(&box->lock);
    return keep;
}

void mailbox_hand_over(struct mailbox *box, bool data_wanted, bool rouse)
{
    (void)pthread_mutex_lock(&box->lock);
    REQUIRE(box->claimed);
    box->data_wanted = data_wanted;
    box->claimed = false;
    if (rouse)
        box->roused = true;
    unlock_and_wake(box);
}

bool mailbox_go_out(struct mailbox *box, bool data_wanted)
{
    (void)pthread_mutex_lock(&box->lock);
    REQUIRE(box->claimed);
    REQUIRE(!box->away);
    REQUIRE(!box->deputy);
    box->data_wanted = data_wanted;
    bool goes = !has_work(box);
    box->claimed = !goes;
    box->away = goes;
    (void)pthread_mutex_unlock(&box->lock);
    return goes;
}

bool mailbox_come_back(struct mailbox *box, struct mail *mail, bool *alone)
{
    (void)pthread_mutex_lock(&box->lock);
    REQUIRE(box->away);
    box->away = false;
    *alone = !box->deputy;
    mail_list_append(&box->lanes[MAIL_CONTROL], mail);
    bool claims = !box->claimed;
    if (claims)
        box->roused = false; /* it looks */
    box->claimed = true;
    (void)pthread_mutex_unlock(&box->lock);
    return claims;
}

bool mailbox_deputy_goes_on(struct mailbox *box, bool data_wanted)
{
    (void)pthread_mutex_lock(&box->lock);
    REQUIRE(box->deputy);
    REQUIRE(box->claimed);
    box->data_wanted = data_wanted;
    bool goes_on = box->away && has_work(box);
    (void)pthread_mutex_unlock(&box->lock);
    return goes_on;
}

bool mailbox_deputy_ends(struct mailbox *box, bool data_wanted, bool rouse)
{
    (void)pthread_mutex_lock(&box->lock);
    REQUIRE(box->deputy);
    REQUIRE(box->claimed);
    box->data_wanted = data_wanted;
    box->deputy = false;
    box->claimed = false;
    box->roused = box->roused || rouse;
    bool back = !box->away;
    unlock_and_wake(box);
    return back;
}

void mailbox_close(struct mailbox *box, struct mail_list *rest)
{
    (void)pthread_mutex_lock(&box->lock);
    REQUIRE(box->claimed);
    box->closed = true;
    mail_list_move(rest, &box->lanes[MAIL_CONTROL]);
    mail_list_move(rest, &box->lanes[MAIL_DATA]);
    (void)pthread_mutex_unlock(&box->lock);
}
