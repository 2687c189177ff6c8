/*
 * Asking: link-ask dials and writes the questions, link-answers reads what comes back.
 *
 * Both use one socket. link-ask makes it; link-answers, when it has seen its end, marks
 * it broken and lets go of it once link-ask does not write. A question that waits when
 * the broker cannot be reached is answered so at once: whoever asks knows best whether
 * to ask another. So is one to a broker that is not heard any more, whatever its
 * deadline is: somebody else may lead by then.
 */
#include "cluster/links_impl.h"

#include "base/crc32c.h"
#include "base/require.h"
#include "proto/peer/ask_frame.h"

#include <stdlib.h>

enum { ASKS_AT_ONCE = 256 /* questions in one write */ };

void links_ask_done(struct ask *list)
{
    for (struct ask *next; list != NULL; list = next) {
        next = list->next;
        list->done(list);
    }
}

static const char not_heard[] = "the broker to be asked is not heard any more";

static void fail_one(struct ask *ask, enum kq_err err, const char *text)
{
    (void)fault_set(&ask->fault, err, "%s", text);
    ask->maybe_delivered = false;
    ask->next = NULL;
    ask->done(ask);
}

void links_ask(struct links *links, struct ask *ask)
{
    TAG_CHECK(links, LINKS_TAG);
    REQUIRE((unsigned)ask->verb < ASK_VERB_COUNT);
    buf_init(&ask->answer, PEER_FRAME_MAX_BYTES);
    links_count(&links->counters.asks_out, 1);
    if (atomic_load_explicit(&links->stopping, memory_order_acquire)) {
        fail_one(ask, KQ_STOPPING, err_text(KQ_STOPPING));
        return;
    }
    if (ask->broker_id == links->options.self.broker_id) {
        links_ask_self(links, ask);
        return;
    }
    struct link *link = links_find(links, ask->broker_id);
    if (link == NULL) {
        fail_one(ask, KQ_NO_LEADER, "the broker to be asked is not known");
        return;
    }
    (void)pthread_mutex_lock(&link->lock);
    bool over = link_over(link);
    bool silent = link->silent;
    bool wake = link->asks.first == NULL;
    bool added = !over && !silent && link_asks_add(&link->asks, ask);
    (void)pthread_mutex_unlock(&link->lock);
    if (added && wake)
        (void)pthread_cond_signal(&link->wake_ask);
    link_drop(&link);
    if (over)
        fail_one(ask, KQ_NO_LEADER, "the broker to be asked is no longer linked");
    else if (silent)
        fail_one(ask, KQ_NO_LEADER, not_heard);
    else if (!added)
        fail_one(ask, KQ_LIMIT, "too many questions wait for the broker to be asked");
}

void link_ask_hush(struct link *link, bool silent)
{
    (void)pthread_mutex_lock(&link->lock);
    link->silent = silent;
    struct ask *list = silent ? link_asks_fail(&link->asks, true, KQ_NO_LEADER, not_heard) : NULL;
    if (silent && link->ask != NULL)
        peer_socket_cut(link->ask); /* nor shall anybody wait for it to take a question */
    (void)pthread_mutex_unlock(&link->lock);
    links_ask_done(list);
}

/* ---- link-ask -------------------------------------------------------------------------------- */

/* Questions of one write; their memory stays until link_asks_written(). */
struct ask_batch {
    struct ask *asks[ASKS_AT_ONCE];
    uint32_t count;
    uint8_t heads[ASKS_AT_ONCE][PEER_FRAME_HEAD_BYTES + ASK_FRAME_HEAD_BYTES];
    struct iovec parts[ASKS_AT_ONCE * 4];
    int part_count;
    size_t bytes;
};

static size_t question_bytes(const struct ask *ask)
{
    size_t bytes = 0;
    for (int i = 0; i < ask->part_count; i++)
        bytes += ask->parts[i].iov_len;
    return bytes;
}

static void put_question(struct ask_batch *batch, const struct ask *ask, uint32_t n, uint32_t seed, int64_t now_us)
{
    uint8_t *head = batch->heads[n];
    uint8_t *own = head + PEER_FRAME_HEAD_BYTES;
    int64_t wait_us = ask->deadline_us > now_us ? ask->deadline_us - now_us : 0;
    struct ask_frame frame = {.number = ask->number, .wait_us = wait_us, .verb = (uint8_t)ask->verb};
    ask_frame_head(own, &frame);
    uint32_t crc = crc32c(0, own, ASK_FRAME_HEAD_BYTES);
    for (int i = 0; i < ask->part_count; i++)
        crc = crc32c(crc, ask->parts[i].iov_base, ask->parts[i].iov_len);
    size_t body_bytes = ASK_FRAME_HEAD_BYTES + question_bytes(ask);
    peer_frame_head_of(head, seed, PEER_ASK, 0, (uint32_t)body_bytes, crc);
    batch->parts[batch->part_count++] = (struct iovec){.iov_base = head, .iov_len = sizeof batch->heads[n]};
    for (int i = 0; i < ask->part_count; i++)
        if (ask->parts[i].iov_len > 0)
            batch->parts[batch->part_count++] = ask->parts[i];
    batch->bytes += body_bytes + PEER_FRAME_HEAD_BYTES;
}

/* With the lock. What fits into one write; a question too large for any is answered so. */
static struct ask *take_batch(struct link *link, struct ask_batch *batch)
{
    struct ask *too_large = NULL;
    int parts = 0;
    size_t bytes = 0;
    batch->count = 0;
    while (batch->count < ASKS_AT_ONCE && link->asks.first != NULL) {
        const struct ask *next = link->asks.first;
        size_t next_bytes = question_bytes(next);
        bool odd = next->part_count > ASKS_AT_ONCE || next_bytes > PEER_FRAME_MAX_BYTES - ASK_FRAME_HEAD_BYTES;
        if (!odd && batch->count > 0 &&
            (bytes + next_bytes > PEER_WRITE_MAX_BYTES || parts + 1 + next->part_count > ASKS_AT_ONCE * 4))
            break;
        struct ask *ask = link_asks_take(&link->asks);
        if (odd) {
            ask->state = LINK_ASK_SENT;
            (void)link_asks_answered(&link->asks, ask);
            (void)fault_set(&ask->fault, KQ_TOO_LARGE, "the question is larger than another broker takes");
            ask->next = too_large;
            too_large = ask;
            continue;
        }
        batch->asks[batch->count++] = ask;
        parts += 1 + next->part_count;
        bytes += next_bytes;
    }
    return too_large;
}

static void send_questions(struct link *link, struct ask_batch *batch)
{
    (void)pthread_mutex_lock(&link->lock);
    bool usable = link->ask_greeted && !link->ask_broken;
    struct ask *finished = usable ? take_batch(link, batch) : NULL;
    struct peer_socket *socket = link->ask;
    link->ask_writing = usable;
    (void)pthread_mutex_unlock(&link->lock);
    if (!usable)
        return; /* it has just ended */
    int64_t now_us = clock_mono_us();
    batch->part_count = 0;
    batch->bytes = 0;
    for (uint32_t i = 0; i < batch->count; i++)
        put_question(batch, batch->asks[i], i, peer_socket_seed(socket), now_us);
    size_t bytes = batch->bytes;
    enum kq_err err =
        peer_socket_write(socket, batch->parts, batch->part_count, now_us + LINK_WRITE_US + (int64_t)bytes, NULL);
    if (err != KQ_OK)
        peer_socket_cut(socket); /* link-answers then sees the end */
    else
        links_count(&link->links->counters.bytes_out, bytes);
    (void)pthread_mutex_lock(&link->lock);
    link->ask_writing = false;
    for (uint32_t i = 0; i < batch->count; i++) {
        struct ask *ask = batch->asks[i];
        if (!link_asks_written(&link->asks, ask, err == KQ_OK))
            continue;
        ask->next = finished;
        finished = ask;
    }
    (void)pthread_cond_signal(&link->wake_answers);
    (void)pthread_mutex_unlock(&link->lock);
    links_ask_done(finished);
}

static void fail_questions(struct link *link, enum kq_err err, const char *text)
{
    (void)pthread_mutex_lock(&link->lock);
    struct ask *list = link_asks_fail(&link->asks, true, err, text);
    (void)pthread_mutex_unlock(&link->lock);
    links_ask_done(list);
}

/* True: there is a question to be sent; false: the link ends. */
static bool wait_for_question(struct link *link, bool *greeted)
{
    (void)pthread_mutex_lock(&link->lock);
    while (!link_over(link) && (link->asks.first == NULL || link->ask_broken))
        links_cond_wait(&link->wake_ask, &link->lock, CLOCK_NEVER);
    *greeted = link->ask_greeted;
    (void)pthread_mutex_unlock(&link->lock);
    return !link_over(link);
}

static enum kq_err dial_to_ask(struct link *link, struct link_backoff *backoff, struct fault *fault)
{
    struct hello self;
    bool refused;
    if (clock_mono_us() < link->ask_again_us)
        return fault_set(fault, KQ_NO_LEADER, "broker %u is not reached", link->address.broker_id);
    enum kq_err err = link_dial(link, &link->ask, PEER_KIND_ASK, &self, &refused, fault);
    if (err != KQ_OK) {
        link->ask_again_us = clock_mono_us() + link_backoff_us(backoff, links_random());
        return err;
    }
    backoff->failed = 0;
    (void)pthread_mutex_lock(&link->lock);
    link->ask_greeted = true;
    (void)pthread_cond_signal(&link->wake_answers);
    (void)pthread_mutex_unlock(&link->lock);
    return KQ_OK;
}

void link_ask_run(struct link *link)
{
    struct link_backoff backoff = {0};
    struct ask_batch *batch = malloc(sizeof *batch);
    bool greeted;
    while (wait_for_question(link, &greeted)) {
        struct fault fault = {.err = KQ_OK};
        if (batch == NULL)
            fail_questions(link, KQ_NO_MEMORY, err_text(KQ_NO_MEMORY));
        else if (greeted || dial_to_ask(link, &backoff, &fault) == KQ_OK)
            send_questions(link, batch);
        else
            fail_questions(link, KQ_NO_LEADER, fault_text(&fault));
    }
    free(batch);
    (void)pthread_mutex_lock(&link->lock);
    (void)pthread_cond_signal(&link->wake_answers);
    (void)pthread_mutex_unlock(&link->lock);
    bool stopping = atomic_load_explicit(&link->links->stopping, memory_order_acquire);
    fail_questions(link, stopping ? KQ_STOPPING : KQ_NO_LEADER,
                   stopping ? err_text(KQ_STOPPING) : "the broker to be asked is no longer linked");
}

/* ---- link-answers ------------------------------------------------------------------------------ */

/* Takes body. False: not an answer. */
static bool take_answer(struct link *link, const struct peer_frame *frame, uint8_t *body)
{
    struct answer_frame answer;
    bool ok = frame->type == PEER_ANSWER && answer_frame_decode(body, frame->body_bytes, &answer) == KQ_OK;
    if (!ok) {
        free(body);
        return false;
    }
    (void)pthread_mutex_lock(&link->lock);
    struct ask *ask = link_asks_find(&link->asks, answer.number);
    bool out = false;
    if (ask != NULL) { /* else it was given up */
        ask->fault = answer.fault;
        ask->maybe_delivered = false;
        buf_put(&ask->answer, answer.answer.data, answer.answer.len);
        if (ask->answer.bad) {
            (void)fault_set(&ask->fault, KQ_NO_MEMORY, "no memory for the other broker's answer");
            ask->maybe_delivered = true;
        }
        out = link_asks_answered(&link->asks, ask);
    }
    (void)pthread_mutex_unlock(&link->lock);
    free(body);
    if (out) {
        ask->next = NULL;
        ask->done(ask);
    }
    return true;
}

static void receive_answers(struct link *link, struct peer_socket *socket)
{
    struct fault fault = {.err = KQ_OK};
    struct peer_frame frame;
    uint8_t *body;
    while (peer_socket_receive(socket, PEER_FRAME_MAX_BYTES, CLOCK_NEVER, &frame, &body, &fault) == KQ_OK)
        if (!take_answer(link, &frame, body))
            break;
}

void link_answers_run(struct link *link)
{
    for (;;) {
        (void)pthread_mutex_lock(&link->lock);
        while (!link_over(link) && !link->ask_greeted)
            links_cond_wait(&link->wake_answers, &link->lock, CLOCK_NEVER);
        struct peer_socket *socket = link->ask_greeted ? link->ask : NULL;
        (void)pthread_mutex_unlock(&link->lock);
        if (socket == NULL)
            return;
        receive_answers(link, socket);
        peer_socket_cut(socket);
        (void)pthread_mutex_lock(&link->lock);
        link->ask_broken = true;
        while (link->ask_writing)
            links_cond_wait(&link->wake_answers, &link->lock, CLOCK_NEVER);
        link->ask = NULL;
        link->ask_greeted = false;
        link->ask_broken = false;
        struct ask *lost = link_asks_fail(&link->asks, false, KQ_NO_LEADER, "the connection ended before the answer");
        (void)pthread_cond_signal(&link->wake_ask);
        (void)pthread_mutex_unlock(&link->lock);
        peer_socket_free(&socket);
        links_ask_done(lost);
    }
}
