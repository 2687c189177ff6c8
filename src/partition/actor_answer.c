/* Requests: what waits, what is in flight, and what everyone is told in the end. Each
 * request is answered once, by exactly one of the lists that it stands in. */
#include "partition/actor_internal.h"

/* ---- waiting readers ------------------------------------------------------------- */

static void finish_wait(struct wait_request *wait, enum kq_err err)
{
    int expected = WAIT_WAITING;
    wait->err = err;
    if (atomic_compare_exchange_strong_explicit(&wait->state, &expected, WAIT_DONE, memory_order_acq_rel,
                                                memory_order_acquire))
        wait->done(wait);
    /* else its cancel is on the way, and will run done */
}

bool actor_wait_claim_cancel(struct wait_request *wait)
{
    int expected = WAIT_WAITING;
    return atomic_compare_exchange_strong_explicit(&wait->state, &expected, WAIT_CANCELLING, memory_order_acq_rel,
                                                   memory_order_acquire);
}

/* What readers see: a reset that is still being written is not shown. */
static int64_t high_watermark(const struct actor *actor)
{
    return log_end_off_at(actor->log, actor->raft.commit_idx);
}

void actor_wake_waits(struct actor *actor, enum kq_err reason)
{
    int64_t end_off = high_watermark(actor);
    struct wait_request **link = &actor->waits;
    while (*link != NULL) {
        struct wait_request *wait = *link;
        if (reason == KQ_OK && wait->off >= end_off) {
            link = &wait->next;
            continue;
        }
        *link = wait->next;
        finish_wait(wait, reason);
    }
}

void actor_take_wait(struct actor *actor, struct wait_request *wait)
{
    if (actor->failure.err != KQ_OK) {
        finish_wait(wait, KQ_PARTITION_FAILED);
    } else if (actor->stopping) {
        finish_wait(wait, actor->stop_reason);
    } else if (wait->off < high_watermark(actor)) {
        finish_wait(wait, KQ_OK);
    } else {
        wait->next = actor->waits;
        actor->waits = wait;
    }
}

/* The canceller has set the state; whatever the wait came to, done runs here. */
void actor_cancel_wait(struct actor *actor, struct wait_request *wait)
{
    for (struct wait_request **link = &actor->waits; *link != NULL; link = &(*link)->next)
        if (*link == wait) {
            *link = wait->next;
            break;
        }
    wait->err = KQ_AGAIN;
    wait->done(wait);
}

/* ---- any mail --------------------------------------------------------------------- */

void actor_refuse(struct mail *mail, enum kq_err err, const struct fault *fault)
{
    struct fault answer = {.err = err};
    if (fault != NULL)
        answer = *fault;
    answer.err = err;
    switch (mail->kind) {
    case MAIL_PUBLISH: {
        struct publish_request *request = CONTAINER_OF(mail, struct publish_request, mail);
        request->fault = answer;
        request->done(request);
        break;
    }
    case MAIL_CALL: {
        struct machine_call *call = CONTAINER_OF(mail, struct machine_call, mail);
        call->fault = answer;
        call->done(call);
        break;
    }
    case MAIL_WAIT:
        finish_wait(CONTAINER_OF(mail, struct wait_request, mail), err);
        break;
    case MAIL_WAIT_CANCEL: {
        struct wait_request *wait = CONTAINER_OF(mail, struct wait_request, cancel);
        wait->err = KQ_AGAIN;
        wait->done(wait);
        break;
    }
    case MAIL_PARCEL: {
        struct parcel *parcel = CONTAINER_OF(mail, struct parcel, mail);
        parcel->release(parcel);
        break;
    }
    case MAIL_ASK: {
        struct partition_ask *ask = CONTAINER_OF(mail, struct partition_ask, mail);
        ask->fault = answer;
        ask->done(ask);
        break;
    }
    case MAIL_MEND: {
        struct partition_mend *mend = CONTAINER_OF(mail, struct partition_mend, mail);
        mend->fault = answer;
        mend->done(mend);
        break;
    }
    case MAIL_CONFIGURE:
    case MAIL_PEER:
        free(mail);
        break;
    case MAIL_JOB_DONE:
    case MAIL_TICK:
    case MAIL_STOP:
        break;
    }
}

uint64_t actor_wait_idx(const struct mail *mail)
{
    if (mail->kind == MAIL_PUBLISH)
        return ((const struct publish_request *)(const void *)mail)->wait_idx;
    return ((const struct machine_call *)(const void *)mail)->wait_idx;
}

static int64_t deadline_of(const struct mail *mail)
{
    return mail->kind == MAIL_PUBLISH ? ((const struct publish_request *)(const void *)mail)->deadline_us : CLOCK_NEVER;
}

void actor_refuse_list(struct mail_list *list, enum kq_err err, const struct fault *fault)
{
    struct mail *mail;
    while ((mail = mail_list_take(list)) != NULL)
        actor_refuse(mail, err, fault);
}

void actor_refuse_waiting(struct actor *actor, enum kq_err err, const struct fault *fault)
{
    for (struct mail *mail = actor->waiting.first; mail != NULL; mail = mail->next)
        if (mail->kind == MAIL_PUBLISH)
            CONTAINER_OF(mail, struct publish_request, mail)->term = actor->raft.term;
    actor_refuse_list(&actor->waiting, err, fault);
}

void actor_refuse_publishes(struct actor *actor, enum kq_err err)
{
    struct mail_list kept = {0};
    struct mail *mail;
    while ((mail = mail_list_take(&actor->waiting)) != NULL) {
        if (mail->kind != MAIL_PUBLISH) {
            mail_list_append(&kept, mail);
            continue;
        }
        CONTAINER_OF(mail, struct publish_request, mail)->term = actor->raft.term;
        actor_refuse(mail, err, NULL);
    }
    actor->waiting = kept;
}

/* ---- answers ------------------------------------------------------------------------ */

void actor_finish_committed(struct actor *actor)
{
    while (actor->inflight.first != NULL && actor_wait_idx(actor->inflight.first) <= actor->raft.commit_idx)
        mail_list_append(&actor->finished, mail_list_take(&actor->inflight));
}

void actor_answer_finished(struct actor *actor)
{
    struct mail *mail;
    while ((mail = mail_list_take(&actor->finished)) != NULL) {
        if (mail->kind == MAIL_PUBLISH) {
            struct publish_request *request = CONTAINER_OF(mail, struct publish_request, mail);
            request->done(request);
        } else {
            struct machine_call *call = CONTAINER_OF(mail, struct machine_call, mail);
            call->done(call);
        }
    }
}

void actor_answer_failure(struct actor *actor)
{
    struct fault unknown;
    (void)fault_set(&unknown, KQ_OUTCOME_UNKNOWN, "%s", fault_text(&actor->failure));
    actor_finish_committed(actor);
    actor_refuse_list(&actor->inflight, KQ_OUTCOME_UNKNOWN, &unknown);
    actor_refuse_list(&actor->cut, KQ_OUTCOME_UNKNOWN, &unknown);
    actor_refuse_list(&actor->waiting, KQ_PARTITION_FAILED, &actor->failure);
    actor_deliver_notes(actor, UINT64_MAX, KQ_PARTITION_FAILED);
    actor_refuse_asks(actor, KQ_PARTITION_FAILED, &actor->failure);
    actor_drop_doubts(actor, KQ_NOT_LEADER);
    actor_wake_waits(actor, KQ_PARTITION_FAILED);
    actor_drop_parcels(actor);
    actor_stop_machine(actor);
}

static void expire_list(struct actor *actor, struct mail_list *list, enum kq_err err, const char *text)
{
    struct mail_list kept = {0};
    struct mail *mail;
    struct fault fault;
    (void)fault_set(&fault, err, "%s", text);
    bool leaderless = list == &actor->waiting && actor->raft.leader.broker_id == 0 && !actor_is_alone(actor);
    while ((mail = mail_list_take(list)) != NULL) {
        bool over = deadline_of(mail) <= actor->now.mono_us || (leaderless && mail->kind == MAIL_CALL);
        if (over)
            actor_refuse(mail, err, &fault);
        else
            mail_list_append(&kept, mail);
    }
    *list = kept;
}

/* A call has no deadline of its own: it does not wait for a leader beyond a tick. */
void actor_expire(struct actor *actor)
{
    expire_list(actor, &actor->inflight, KQ_OUTCOME_UNKNOWN,
                "written, but not known to be durable within publish.timeout");
    expire_list(actor, &actor->cut, KQ_OUTCOME_UNKNOWN, "written, but another broker became the leader");
    expire_list(actor, &actor->waiting, KQ_NO_LEADER, "no leader within the timeout");
}
