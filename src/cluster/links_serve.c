/*
 * Being asked: link-in receives questions and calls their handlers; answers are given
 * on any thread and written by link-answer, in the order in which they are given.
 *
 * No question is read while more than SERVED_BYTES of answers wait for the asker to take
 * them, or SERVED_MAX questions for their answers: then the asker waits, not this broker's
 * memory. What is answered after the end of its connection
 * goes nowhere.
 *
 * An asker that lost a connection goes on over the next one, and takes it that what it
 * sends there comes behind all it sent before: so does a session that was answered `outcome
 * unknown`. What of the older connection still lies in this computer's buffers must not be
 * taken after that. So before a question of the newer one is read, the older one is
 * superseded (links_accept.c), and a question of its that is just being taken is waited
 * for. Both sides set their flag before they look at the other's.
 */
#include "cluster/links_impl.h"

#include "base/logger.h"
#include "base/require.h"
#include "base/threads.h"
#include "proto/peer/ask_frame.h"

#include <stdlib.h>

enum { ANSWERS_AT_ONCE = 256 };

/* A frame to be written, head included. */
struct answer {
    struct answer *next;
    size_t size_bytes;
    uint8_t data[];
};

struct served {
    _Atomic uint32_t references;
    struct inbound *inbound; /* until the connection has ended */
    uint32_t seed;
    pthread_mutex_t lock;
    pthread_cond_t wake_writer;
    pthread_cond_t wake_reader;
    struct answer *first;
    struct answer **last;
    size_t queued_bytes;
    uint32_t unanswered;
    bool over;
};

/* What a handler has. */
struct asked_here {
    struct asked asked;
    struct served *served; /* NULL: this broker asks itself */
    struct ask *ask;
    uint64_t number;
    uint8_t *body;
};

static void served_drop(struct served *s)
{
    if (atomic_fetch_sub_explicit(&s->references, 1, memory_order_acq_rel) != 1)
        return;
    for (struct answer *a = s->first, *next; a != NULL; a = next) {
        next = a->next;
        free(a);
    }
    (void)pthread_cond_destroy(&s->wake_writer);
    (void)pthread_cond_destroy(&s->wake_reader);
    (void)pthread_mutex_destroy(&s->lock);
    free(s);
}

/* ---- answers -------------------------------------------------------------------------------- */

/* A whole frame; an error instead where the answer has no room. NULL: no memory. */
static struct answer *make_answer(const struct served *s, uint64_t number, const struct fault *fault,
                                  const struct iovec *parts, int part_count)
{
    struct buf head;
    buf_init(&head, ANSWER_FRAME_HEAD_BYTES + FAULT_TEXT_BYTES);
    answer_frame_put(&head, number, fault);
    size_t bytes = 0;
    for (int i = 0; i < part_count; i++)
        bytes += parts[i].iov_len;
    struct answer *a = NULL;
    if (!head.bad && bytes <= PEER_FRAME_MAX_BYTES - head.len)
        a = malloc(sizeof *a + PEER_FRAME_HEAD_BYTES + head.len + bytes);
    if (a != NULL) {
        uint8_t *at = a->data + PEER_FRAME_HEAD_BYTES;
        memcpy(at, head.data, head.len);
        at += head.len;
        for (int i = 0; i < part_count; i++) {
            if (parts[i].iov_len > 0)
                memcpy(at, parts[i].iov_base, parts[i].iov_len);
            at += parts[i].iov_len;
        }
        a->next = NULL;
        a->size_bytes = PEER_FRAME_HEAD_BYTES + head.len + bytes;
        struct slice body = slice_of(a->data + PEER_FRAME_HEAD_BYTES, head.len + bytes);
        peer_frame_head(a->data, s->seed, PEER_ANSWER, 0, &body, 1);
    }
    buf_fini(&head);
    return a;
}

static void answer_peer(struct served *s, uint64_t number, const struct fault *fault, const struct iovec *parts,
                        int part_count)
{
    struct answer *a = make_answer(s, number, fault, parts, part_count);
    if (a == NULL) {
        struct fault instead = {.err = KQ_NO_MEMORY, .text = "no memory for the answer, or it is too large"};
        a = make_answer(s, number, &instead, NULL, 0);
    }
    (void)pthread_mutex_lock(&s->lock);
    s->unanswered--;
    bool drop = s->over || a == NULL; /* without memory for an error the asker's deadline will tell */
    bool wake = s->first == NULL;
    if (!drop) {
        *s->last = a;
        s->last = &a->next;
        s->queued_bytes += a->size_bytes;
    }
    (void)pthread_cond_signal(&s->wake_reader);
    (void)pthread_mutex_unlock(&s->lock);
    if (drop)
        free(a);
    else if (wake)
        (void)pthread_cond_signal(&s->wake_writer);
    served_drop(s);
}

static void answer_self(struct ask *ask, const struct fault *fault, const struct iovec *parts, int part_count)
{
    ask->fault = *fault;
    if (fault->err == KQ_OK)
        ask->fault.text[0] = '\0';
    for (int i = 0; i < part_count; i++)
        buf_put(&ask->answer, parts[i].iov_base, parts[i].iov_len);
    if (ask->answer.bad) {
        (void)fault_set(&ask->fault, KQ_NO_MEMORY, "no memory for the answer");
        ask->maybe_delivered = true;
    }
    ask->next = NULL;
    ask->done(ask);
}

void ask_answer(struct asked *asked, const struct fault *fault, const struct iovec *parts, int part_count)
{
    struct asked_here *here = CONTAINER_OF(asked, struct asked_here, asked);
    if (here->served != NULL)
        answer_peer(here->served, here->number, fault, parts, part_count);
    else
        answer_self(here->ask, fault, parts, part_count);
    free(here->body);
    free(here);
}

/* ---- questions -------------------------------------------------------------------------------- */

/* A question that comes while the broker starts waits a moment for its handler. */
static ask_handler *handler_of(struct links *links, const struct asked *asked, void **context)
{
    int64_t until_us = clock_mono_us() + LINK_HELLO_US;
    if (asked->deadline_us < until_us)
        until_us = asked->deadline_us;
    (void)pthread_mutex_lock(&links->lock);
    while ((unsigned)asked->verb < ASK_VERB_COUNT && links->handlers[asked->verb] == NULL &&
           !atomic_load_explicit(&links->stopping, memory_order_acquire) && clock_mono_us() < until_us)
        links_cond_wait(&links->served, &links->lock, until_us);
    ask_handler *handler = NULL;
    if ((unsigned)asked->verb < ASK_VERB_COUNT) {
        handler = links->handlers[asked->verb];
        *context = links->handler_contexts[asked->verb];
    }
    (void)pthread_mutex_unlock(&links->lock);
    return handler;
}

/* False: a newer connection is there, and this question came too late. */
static bool begin_taking(struct inbound *in)
{
    atomic_store(&in->taking, true);
    return !atomic_load(&in->superseded);
}

static void end_taking(struct inbound *in)
{
    atomic_store(&in->taking, false);
    if (!atomic_load(&in->superseded))
        return;
    (void)pthread_mutex_lock(&in->links->lock);
    (void)pthread_cond_broadcast(&in->links->taken);
    (void)pthread_mutex_unlock(&in->links->lock);
}

/* With the lock. */
static bool older_takes(const struct inbound *in)
{
    for (const struct inbound *at = in->links->inbounds; at != NULL; at = at->next)
        if (at->hello.kind == PEER_KIND_ASK && at->hello.broker_id == in->hello.broker_id &&
            atomic_load(&at->superseded) && atomic_load(&at->taking))
            return true;
    return false;
}

static void wait_for_older(struct inbound *in)
{
    (void)pthread_mutex_lock(&in->links->lock);
    while (older_takes(in))
        links_cond_wait(&in->links->taken, &in->links->lock, CLOCK_NEVER);
    (void)pthread_mutex_unlock(&in->links->lock);
}

static void handle(struct links *links, struct asked_here *here, struct inbound *in)
{
    void *context = NULL;
    ask_handler *handler = handler_of(links, &here->asked, &context);
    if (in != NULL && !begin_taking(in)) {
        end_taking(in);
        struct fault late = {.err = KQ_NO_LEADER, .text = "not taken: it came over a connection that was replaced"};
        ask_answer(&here->asked, &late, NULL, 0);
        return;
    }
    if (handler != NULL) {
        handler(context, &here->asked);
    } else {
        struct fault fault;
        (void)fault_set(&fault, KQ_INVALID, "broker %u does not know what it is asked (%d)",
                        links->options.self.broker_id, (int)here->asked.verb);
        ask_answer(&here->asked, &fault, NULL, 0);
    }
    if (in != NULL)
        end_taking(in);
}

void links_ask_self(struct links *links, struct ask *ask)
{
    size_t bytes = 0;
    for (int i = 0; i < ask->part_count; i++)
        bytes += ask->parts[i].iov_len;
    struct asked_here *here = calloc(1, sizeof *here);
    uint8_t *body = malloc(bytes + 1);
    if (here == NULL || body == NULL) {
        free(here);
        free(body);
        struct fault fault = {.err = KQ_NO_MEMORY, .text = ""};
        answer_self(ask, &fault, NULL, 0);
        return;
    }
    size_t at = 0;
    for (int i = 0; i < ask->part_count; i++) {
        if (ask->parts[i].iov_len > 0)
            memcpy(body + at, ask->parts[i].iov_base, ask->parts[i].iov_len);
        at += ask->parts[i].iov_len;
    }
    *here = (struct asked_here){.asked = {.broker_id = ask->broker_id,
                                          .verb = ask->verb,
                                          .body = body,
                                          .body_bytes = bytes,
                                          .deadline_us = ask->deadline_us},
                                .ask = ask,
                                .body = body};
    handle(links, here, NULL);
}

/* Takes body. False: not a question. */
static bool take_question(struct served *s, const struct peer_frame *frame, uint8_t *body)
{
    struct inbound *in = s->inbound;
    struct ask_frame question;
    struct asked_here *here = calloc(1, sizeof *here);
    if (here == NULL || frame->type != PEER_ASK || ask_frame_decode(body, frame->body_bytes, &question) != KQ_OK) {
        free(here);
        free(body);
        return false;
    }
    int64_t now_us = clock_mono_us();
    int64_t wait_us = question.wait_us < CLOCK_NEVER - now_us ? question.wait_us : CLOCK_NEVER - now_us;
    *here = (struct asked_here){.asked = {.broker_id = in->hello.broker_id,
                                          .verb = (enum ask_verb)question.verb,
                                          .body = body + (frame->body_bytes - question.question.len),
                                          .body_bytes = question.question.len,
                                          .deadline_us = now_us + wait_us},
                                .served = s,
                                .number = question.number,
                                .body = body};
    (void)atomic_fetch_add_explicit(&s->references, 1, memory_order_relaxed);
    (void)pthread_mutex_lock(&s->lock);
    s->unanswered++;
    while (!s->over && (s->unanswered > SERVED_MAX || s->queued_bytes > SERVED_BYTES))
        links_cond_wait(&s->wake_reader, &s->lock, CLOCK_NEVER);
    (void)pthread_mutex_unlock(&s->lock);
    handle(in->links, here, in);
    return true;
}

/* ---- the two threads ----------------------------------------------------------------------------- */

static void write_answers(struct served *s, struct answer *list, enum kq_err *err)
{
    while (list != NULL && *err == KQ_OK) {
        struct iovec parts[ANSWERS_AT_ONCE];
        int count = 0;
        size_t bytes = 0;
        struct answer *at = list;
        for (; at != NULL && count < ANSWERS_AT_ONCE && (bytes == 0 || bytes + at->size_bytes <= PEER_WRITE_MAX_BYTES);
             at = at->next) {
            parts[count++] = (struct iovec){.iov_base = at->data, .iov_len = at->size_bytes};
            bytes += at->size_bytes;
        }
        *err =
            peer_socket_write(s->inbound->socket, parts, count, clock_mono_us() + LINK_WRITE_US + (int64_t)bytes, NULL);
        if (*err == KQ_OK)
            links_count(&s->inbound->links->counters.bytes_out, bytes);
        (void)pthread_mutex_lock(&s->lock);
        s->queued_bytes -= bytes;
        (void)pthread_cond_signal(&s->wake_reader);
        (void)pthread_mutex_unlock(&s->lock);
        for (struct answer *next; list != at; list = next) {
            next = list->next;
            free(list);
        }
    }
    for (struct answer *next; list != NULL; list = next) {
        next = list->next;
        free(list);
    }
}

static void *writer_run(void *argument)
{
    struct served *s = argument;
    enum kq_err err = KQ_OK;
    (void)pthread_mutex_lock(&s->lock);
    while (!s->over && err == KQ_OK) {
        struct answer *list = s->first;
        if (list == NULL) {
            links_cond_wait(&s->wake_writer, &s->lock, CLOCK_NEVER);
            continue;
        }
        s->first = NULL;
        s->last = &s->first;
        (void)pthread_mutex_unlock(&s->lock);
        write_answers(s, list, &err);
        (void)pthread_mutex_lock(&s->lock);
    }
    s->over = true; /* what is answered from now on goes nowhere */
    (void)pthread_cond_signal(&s->wake_reader);
    (void)pthread_mutex_unlock(&s->lock);
    peer_socket_cut(s->inbound->socket);
    return NULL;
}

static struct served *served_new(struct inbound *in)
{
    struct served *s = calloc(1, sizeof *s);
    if (s == NULL)
        return NULL;
    atomic_init(&s->references, 1);
    s->inbound = in;
    s->seed = peer_socket_seed(in->socket);
    s->last = &s->first;
    REQUIRE(pthread_mutex_init(&s->lock, NULL) == 0);
    links_cond_init(&s->wake_writer);
    links_cond_init(&s->wake_reader);
    return s;
}

void links_serve_run(struct inbound *in)
{
    struct fault fault = {.err = KQ_OK};
    struct served *s = served_new(in);
    pthread_t writer;
    if (s == NULL)
        return;
    if (thread_start(&writer, "link-answer", in->links->stack_bytes, writer_run, s, &fault) != KQ_OK) {
        SAY_ERROR("broker %u cannot ask: %s", in->hello.broker_id, fault_text(&fault));
        served_drop(s);
        return;
    }
    struct peer_frame frame;
    uint8_t *body;
    enum kq_err err;
    wait_for_older(in);
    while ((err = peer_socket_receive(in->socket, PEER_FRAME_MAX_BYTES, CLOCK_NEVER, &frame, &body, &fault)) == KQ_OK)
        if (!take_question(s, &frame, body))
            break;
    if (err == KQ_GARBAGE || err == KQ_TOO_LARGE)
        SAY_WARNING("a connection of broker %u is ended: %s", in->hello.broker_id, fault_text(&fault));
    (void)pthread_mutex_lock(&s->lock);
    s->over = true;
    (void)pthread_cond_signal(&s->wake_writer);
    (void)pthread_mutex_unlock(&s->lock);
    peer_socket_cut(in->socket);
    (void)pthread_join(writer, NULL);
    served_drop(s);
}
