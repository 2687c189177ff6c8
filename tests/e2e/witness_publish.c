/*
 * The publishing witnesses.
 *
 * The exactly-once one stands on the client's outbox, which decides what may be sent and
 * what goes out again; a message is one operation of the history however often it is sent,
 * and each partition is a process, since that is where the order is promised. It paces
 * itself, so that it loads the brokers evenly and the history stays small.
 */
#include "e2e/witness_impl.h"

#include "client/outbox.h"
#include "e2e/e2e.h"

#include <inttypes.h>

enum { NUMBER_BITS = 32, LINE_BYTES = 4096, IDLE_MS = 2, OPS_FIRST = 1024 };

struct sent {
    uint32_t op; /* of the history; 0 with `begun` false: not sent yet */
    bool begun;
};

struct publisher {
    struct lane *l;
    struct outbox *box;
    int64_t producer_id;
    struct sent *sent; /* by number - 1 */
    uint64_t count, room;
    int64_t begin_us, last_ack_us, heard_us;
    bool failed;
};

/* Values of all publishers differ: the kind and the lane above, the number below. */
static uint64_t value_of(const struct lane *l, bool plain, uint64_t number)
{
    return ((uint64_t)(l->number + 1 + (plain ? 1000 : 0)) << NUMBER_BITS) + number;
}

static int put_body(char *line, size_t size, uint64_t value, size_t pad)
{
    return snprintf(line, size, "{\"Body\":\"w-%" PRIu64 "%.*s\"}", value, (int)pad,
                    "................................................................................"
                    "................................................................................"
                    "................................................................................"
                    "................................................................................"
                    "................................................................................"
                    "................................................................................"
                    "................................................................................");
}

static bool begins(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

/* Whether an error promises nothing but that it may pass. What the client retries. */
static bool may_pass(const char *reply)
{
    static const char *const texts[] = {"no leader",        "not enough replicas", "does not lead", "stopping",
                                        "not now",          "coordinator",         "timed out",     "queue is full",
                                        "cannot be reached"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        if (strstr(reply, texts[i]) != NULL)
            return true;
    return false;
}

static bool is_late(const struct lane *l, int64_t since_us)
{
    return atomic_load(&l->w->stop) && now_us() - since_us > (int64_t)WITNESS_FINISH_MS * 1000;
}

static void note_ack(struct lane *l, int64_t *last_us)
{
    int64_t now = now_us();
    if (now - *last_us > atomic_load(&l->longest_us) && !atomic_load(&l->w->stop))
        atomic_store(&l->longest_us, now - *last_us);
    *last_us = now;
    atomic_fetch_add(&l->acked, 1);
}

/* ---- exactly once ------------------------------------------------------------------------- */

static bool take_producer_id(struct publisher *p)
{
    struct lane *l = p->l;
    while (!atomic_load(&l->w->stop)) {
        if (lane_connect(l)) {
            const char *reply = client_ask(l->client, "PRID");
            struct json j = json_open(reply);
            p->producer_id = json_number(&j, "Data.Id");
            json_close(&j);
            if (p->producer_id != JSON_NONE)
                return true;
            lane_heard(l, reply, false);
            lane_leave(l);
        }
        lane_pause(l, WITNESS_PAUSE_MS);
    }
    return false;
}

static void add_some(struct publisher *p)
{
    const struct witness_spec *spec = &p->l->w->spec;
    uint64_t allowed = (uint64_t)((now_us() - p->begin_us) * spec->rate / 1000000) + 1;
    while (!atomic_load(&p->l->w->stop) && p->count < allowed) {
        char body[LINE_BYTES];
        uint32_t partition = outbox_pick(p->box);
        if (partition == (uint32_t)spec->partitions)
            return;
        if (p->count == p->room) {
            p->room = p->room == 0 ? OPS_FIRST : 2 * p->room;
            p->sent = realloc(p->sent, p->room * sizeof(*p->sent));
        }
        if (p->sent == NULL)
            abort();
        p->sent[p->count++] = (struct sent){.begun = false};
        int len = put_body(body, sizeof(body), value_of(p->l, false, p->count), spec->pad);
        if (outbox_add(p->box, partition, p->count, (size_t)len, (const uint8_t *)body, (size_t)len) != KQ_OK)
            abort();
    }
}

/* Sends what may go. False: the connection is gone. */
static bool send_some(struct publisher *p)
{
    struct lane *l = p->l;
    for (const struct outbox_item *item; (item = outbox_send(p->box)) != NULL;) {
        struct sent *sent = &p->sent[item->number - 1];
        if (!sent->begun) {
            uint32_t process = PROCESS_PUBLISH + (uint32_t)l->number * WITNESS_PARTITIONS_MAX + item->partition;
            sent->begun = true;
            sent->op = history_begin(l->history, process, now_us());
            uint32_t send = history_send(l->history, sent->op, item->partition, value_of(l, false, item->number));
            history_numbered(l->history, send, (uint64_t)p->producer_id + 1, 0, item->sequence);
        }
        if (!client_send(l->client, item->line, item->line_bytes))
            return false;
    }
    return true;
}

static void take_reply(struct publisher *p, const char *reply)
{
    struct lane *l = p->l;
    struct outbox_item item;
    enum outbox_verdict verdict = strcmp(reply, "Done") == 0                ? OUTBOX_ACKNOWLEDGED
                                  : begins(reply, "Error, outcome unknown") ? OUTBOX_UNKNOWN
                                  : may_pass(reply)                         ? OUTBOX_RETRY
                                                                            : OUTBOX_REFUSE;
    if (verdict != OUTBOX_ACKNOWLEDGED) {
        atomic_fetch_add(&l->errors, 1);
        atomic_fetch_add(&l->unknown, verdict == OUTBOX_UNKNOWN);
        lane_heard(l, reply, false);
    }
    if (!outbox_reply(p->box, verdict, &verdict, &item)) {
        lane_heard(l, reply, true);
        p->failed = true;
        return;
    }
    if (verdict == OUTBOX_ACKNOWLEDGED) {
        history_end(l->history, p->sent[item.number - 1].op, HISTORY_OK, now_us());
        note_ack(l, &p->last_ack_us);
    } else if (verdict == OUTBOX_REFUSE) {
        history_end(l->history, p->sent[item.number - 1].op, HISTORY_FAIL, now_us());
        lane_heard(l, reply, true);
        p->failed = true;
    }
}

/* One turn with a connection: sends, takes replies, or waits a little for them. */
static void exchange(struct publisher *p)
{
    struct lane *l = p->l;
    add_some(p);
    if (outbox_failed(p->box) > 0 && outbox_sent(p->box) == 0) {
        lane_pause(l, WITNESS_PAUSE_MS);
        outbox_recover(p->box);
    }
    bool sent = send_some(p);
    const char *reply = sent ? client_line(l->client, IDLE_MS) : NULL;
    int64_t now = now_us();
    if (outbox_sent(p->box) == 0 || reply != NULL)
        p->heard_us = now;
    for (; reply != NULL; reply = client_line(l->client, 0))
        take_reply(p, reply);
    if (!sent || client_closed(l->client) || now - p->heard_us > WITNESS_SILENCE_MS * 1000) {
        lane_leave(l);
        outbox_disconnected(p->box);
        p->heard_us = now;
    }
}

void *witness_publisher(void *lane)
{
    struct lane *l = lane;
    struct publisher p = {.l = l, .begin_us = now_us()};
    if (!take_producer_id(&p))
        return NULL;
    p.box = outbox_new(l->w->spec.topic, (uint32_t)l->w->spec.partitions, p.producer_id, 0);
    if (p.box == NULL)
        abort();
    int64_t going_us = now_us();
    p.last_ack_us = p.heard_us = going_us;
    while (!p.failed && (!atomic_load(&l->w->stop) || outbox_pending(p.box) > 0)) {
        going_us = atomic_load(&l->w->stop) ? going_us : now_us();
        if (is_late(l, going_us)) {
            atomic_store(&l->unfinished, true);
            break;
        }
        if (lane_connect(l))
            exchange(&p);
        else
            lane_pause(l, WITNESS_PAUSE_MS);
    }
    client_close(&l->client);
    outbox_free(&p.box);
    free(p.sent);
    return NULL;
}

/* ---- plain --------------------------------------------------------------------------------- */

/* One PUBS and its outcome. */
static void publish_plainly(struct lane *l, uint32_t process, uint64_t number, int64_t *last_us)
{
    char line[LINE_BYTES];
    int head = snprintf(line, sizeof(line), "PUBS %s ", l->w->spec.topic);
    head += put_body(line + head, sizeof(line) - (size_t)head, value_of(l, true, number), l->w->spec.pad);
    line[head++] = '\n';
    uint32_t op = history_begin(l->history, process, now_us());
    (void)history_send(l->history, op, HISTORY_KEY_ANY, value_of(l, true, number));
    const char *reply = client_send(l->client, line, (size_t)head) ? client_line(l->client, WITNESS_SILENCE_MS) : NULL;
    if (reply == NULL) {
        history_end(l->history, op, HISTORY_INFO, now_us());
        lane_leave(l);
    } else if (strcmp(reply, "Done") == 0) {
        history_end(l->history, op, HISTORY_OK, now_us());
        note_ack(l, last_us);
    } else if (begins(reply, "Error, outcome unknown")) {
        history_end(l->history, op, HISTORY_INFO, now_us());
        lane_heard(l, reply, false);
        lane_pause(l, WITNESS_PAUSE_MS);
    } else {
        history_end(l->history, op, HISTORY_FAIL, now_us());
        atomic_fetch_add(&l->failed, 1);
        lane_heard(l, reply, !begins(reply, "Error, ") || !may_pass(reply));
        lane_pause(l, WITNESS_PAUSE_MS);
    }
}

void *witness_plain(void *lane)
{
    struct lane *l = lane;
    const struct witness_spec *spec = &l->w->spec;
    int64_t begin_us = now_us();
    int64_t last_us = begin_us;
    uint32_t session = 0;
    uint64_t number = 0;
    while (!atomic_load(&l->w->stop)) {
        bool connected = l->client != NULL;
        if (!lane_connect(l)) {
            lane_pause(l, WITNESS_PAUSE_MS);
            continue;
        }
        session += !connected; /* another process of the history: a lost session's order is not promised */
        if (number > (uint64_t)((now_us() - begin_us) * spec->rate / 1000000)) {
            lane_pause(l, IDLE_MS);
            continue;
        }
        publish_plainly(l, PROCESS_PLAIN + (uint32_t)l->number * PROCESS_TAIL + session, ++number, &last_us);
    }
    client_close(&l->client);
    return NULL;
}
