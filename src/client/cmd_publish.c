/*
 * `kafkaesque publish`: each line of a file or of stdin becomes a message, stored
 * exactly once.
 *
 * The outbox decides what may be sent and what must be sent again; here are the
 * socket, the input, the clock and the terminal around it. One thread: it waits
 * in poll(2) for the broker and the input together, so a person may type, and a
 * pipe may be slow, while replies come in.
 *
 * It ends early at the first message that the broker refuses for good, since
 * what comes after it in its partition is not to be stored without it.
 */
#include "base/clock.h"
#include "base/fnv.h"
#include "base/json.h"
#include "client/commands.h"
#include "client/lines.h"
#include "client/outbox.h"
#include "client/progress.h"
#include "client/show.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    UNSENT_MAX_BYTES = 4 * 1024 * 1024, /* queued for the socket; beyond it the input waits */
    BACKOFF_FIRST_US = 10 * 1000,
    BACKOFF_MOST_US = 1000 * 1000,
    TICK_MS = 100, /* the bar moves, a retry becomes due */
};

const struct option_row publish_options[] = {
    {"key", 'k', "KEY", "the key of every message; it decides the partition (default: no key, all partitions in turn)"},
    {"header", 0, "TEXT", "the Header of every message"},
    {"quiet", 'q', NULL, "no progress bar and no summary"},
    {NULL, 0, NULL, NULL},
};

struct publisher {
    struct client *client;
    const char *topic;
    const char *key;
    const char *header;
    bool quiet;
    uint32_t partition_count;
    uint32_t picked; /* the partition of the next line; partition_count: none */
    struct outbox *box;
    struct lines lines;
    struct buf json;
    bool input_ended;
    bool stopped; /* refused, or the input is bad: nothing new is sent */
    enum kq_err result;
    struct fault why;
    int64_t failing_since_us; /* 0: the last thing that happened was good */
    int64_t here_since_us;    /* when this broker was turned to */
    int64_t retry_at_us;
    int64_t backoff_us;
    int64_t begin_us;
    uint64_t replies;
    uint64_t acknowledged;
    uint64_t body_bytes;
    uint64_t input_bytes; /* the input's size; 0: not known */
    struct progress progress;
};

/* Stops with the first cause; what is under way is still waited for. */
static void stop_with(struct publisher *p, enum kq_err err, const struct fault *why)
{
    if (!p->stopped)
        p->why = *why;
    if (!p->stopped)
        p->result = err;
    p->stopped = true;
}

/* ---- the input --------------------------------------------------------------------------- */

/* Whether there is a partition for the next line. */
static bool have_partition(struct publisher *p)
{
    if (p->picked == p->partition_count && p->key != NULL) {
        uint32_t partition = fnv_partition(p->key, strlen(p->key), p->partition_count);
        p->picked = outbox_has_room(p->box, partition) ? partition : p->partition_count;
    } else if (p->picked == p->partition_count) {
        p->picked = outbox_pick(p->box);
    }
    return p->picked < p->partition_count;
}

static void add_line(struct publisher *p, struct slice body)
{
    struct json j;
    struct fault why;
    buf_reset(&p->json);
    json_begin(&j, &p->json);
    json_open(&j, '{');
    if (p->header != NULL)
        json_put_text(&j, "Header", p->header);
    if (p->key != NULL)
        json_put_text(&j, "Key", p->key);
    json_key(&j, "Body");
    if (!json_try_string(&p->json, body.data, body.len)) {
        (void)fault_set(&why, KQ_IO,
                        "line %llu of the input is not UTF-8, and the text protocol carries only text (base64 it)",
                        (unsigned long long)p->lines.count);
        stop_with(p, KQ_IO, &why);
        return;
    }
    json_close(&j, '}');
    if (p->json.bad || outbox_add(p->box, p->picked, p->lines.count, body.len, p->json.data, p->json.len) != KQ_OK) {
        (void)fault_set(&why, KQ_NO_MEMORY, "out of memory at line %llu of the input",
                        (unsigned long long)p->lines.count);
        stop_with(p, KQ_NO_MEMORY, &why);
        return;
    }
    p->picked = p->partition_count;
}

/* Takes lines that are here while there is room. True: the input must be read. */
static bool take_lines(struct publisher *p)
{
    while (!p->stopped && !p->input_ended && wire_unsent(p->client->wire) < UNSENT_MAX_BYTES && have_partition(p)) {
        struct slice line;
        enum kq_err err = lines_next(&p->lines, &line);
        if (err == KQ_AGAIN)
            return true;
        if (err == KQ_EOF) {
            p->input_ended = true;
        } else if (err != KQ_OK) {
            struct fault why;
            (void)fault_set(&why, KQ_IO, "line %llu of the input is longer than %d bytes",
                            (unsigned long long)p->lines.count + 1, LINES_MAX_BYTES);
            stop_with(p, KQ_IO, &why);
        } else {
            add_line(p, line);
        }
        /* What may go is queued at once, so that the bound above sees it. */
        for (const struct outbox_item *item; (item = outbox_send(p->box)) != NULL;)
            buf_put(wire_out(p->client->wire), item->line, item->line_bytes);
    }
    return false;
}

static void read_input(struct publisher *p)
{
    enum kq_err err = lines_read(&p->lines);
    if (err == KQ_OK || err == KQ_AGAIN)
        return;
    struct fault why;
    (void)fault_set(&why, KQ_IO, "cannot read the input: %s", err == KQ_NO_MEMORY ? "out of memory" : strerror(errno));
    stop_with(p, KQ_IO, &why);
}

/* ---- replies -------------------------------------------------------------------------------- */

static void note_failure(struct publisher *p, const struct fault *why)
{
    int64_t now_us = clock_mono_us();
    if (p->failing_since_us == 0) {
        p->failing_since_us = now_us;
        p->backoff_us = BACKOFF_FIRST_US;
    }
    if (!p->stopped)
        p->why = *why;
    p->retry_at_us = now_us + p->backoff_us;
}

static enum kq_err take_reply(struct publisher *p, struct slice line)
{
    enum answer_kind kind = answer_kind(line);
    if (kind == ANSWER_EVENT)
        return KQ_OK;
    struct fault why = {.err = KQ_OK};
    enum outbox_verdict verdict = OUTBOX_ACKNOWLEDGED;
    if (kind != ANSWER_DONE) {
        enum kq_err err = answer_fault(line, &why);
        if (err == KQ_GARBAGE || kind == ANSWER_DATA)
            return fault_set(&p->client->fault, KQ_GARBAGE, "the broker's reply to a publish is not of the protocol");
        verdict = err == KQ_OUTCOME_UNKNOWN || err == KQ_TIMEOUT ? OUTBOX_UNKNOWN
                  : client_may_pass(err)                         ? OUTBOX_RETRY
                                                                 : OUTBOX_REFUSE;
    }
    struct outbox_item item;
    if (!outbox_reply(p->box, verdict, &verdict, &item))
        return fault_set(&p->client->fault, KQ_GARBAGE, "the broker sent a reply that answers nothing: %s", why.text);
    p->replies++;
    if (verdict == OUTBOX_ACKNOWLEDGED) {
        p->acknowledged++;
        p->body_bytes += item.body_bytes;
        p->failing_since_us = 0;
    } else if (verdict == OUTBOX_RETRY || verdict == OUTBOX_UNKNOWN) {
        note_failure(p, &why);
    } else {
        struct fault refused;
        (void)fault_set(&refused, why.err, "line %llu was refused: %s", (unsigned long long)item.number, why.text);
        stop_with(p, why.err, &refused);
    }
    return KQ_OK;
}

static enum kq_err take_replies(struct publisher *p)
{
    enum kq_err err = KQ_OK;
    while (err == KQ_OK) {
        err = wire_try_fill(p->client->wire, &p->client->fault);
        size_t got = 0;
        const uint8_t *in = wire_in(p->client->wire, &got);
        size_t at = 0;
        for (const uint8_t *feed; got > at && (feed = memchr(in + at, '\n', got - at)) != NULL;) {
            enum kq_err taken = take_reply(p, slice_of(in + at, (size_t)(feed - in) - at));
            if (taken != KQ_OK)
                return taken;
            at = (size_t)(feed - in) + 1;
        }
        wire_eat(p->client->wire, at);
        if (err == KQ_OK && at == 0 && got >= 65536)
            return fault_set(&p->client->fault, KQ_GARBAGE, "the broker's reply to a publish has no end");
    }
    return err;
}

/* ---- trouble ----------------------------------------------------------------------------------- */

static bool out_of_time(const struct publisher *p, int64_t now_us)
{
    return p->failing_since_us != 0 && now_us - p->failing_since_us > p->client->timeout_us;
}

static void back_off(struct publisher *p)
{
    p->backoff_us = p->backoff_us * 2 < BACKOFF_MOST_US ? p->backoff_us * 2 : BACKOFF_MOST_US;
}

/* Connects again, to the next broker if there are several, for as long as the timeout
 * allows: at once after something good, later and later while nothing is. */
static enum kq_err reconnect(struct publisher *p)
{
    bool again = p->failing_since_us != 0;
    note_failure(p, &p->client->fault);
    wire_close(&p->client->wire);
    brokers_move_on(&p->client->brokers);
    outbox_disconnected(p->box);
    while (!out_of_time(p, clock_mono_us())) {
        if (again) {
            (void)poll(NULL, 0, (int)(p->backoff_us / 1000));
            back_off(p);
        }
        if (brokers_connect(&p->client->brokers, &p->client->wire, p->failing_since_us + p->client->timeout_us,
                            &p->client->fault) == KQ_OK) {
            p->here_since_us = clock_mono_us();
            return KQ_OK;
        }
        again = true;
    }
    return KQ_EOF;
}

/* With others to turn to: this broker says nothing, or nothing good, for too long. It may be
 * stopped, or cut off from the rest of the cluster. */
static bool is_of_no_use(const struct publisher *p, int64_t now_us, int64_t quiet_since_us)
{
    if (p->client->brokers.count == 1)
        return false;
    int64_t failing_us = p->failing_since_us > p->here_since_us ? p->failing_since_us : p->here_since_us;
    return now_us - quiet_since_us > BROKERS_PATIENCE_US ||
           (p->failing_since_us != 0 && now_us - failing_us > BROKERS_PATIENCE_US);
}

static void recover_if_due(struct publisher *p, int64_t now_us)
{
    if (outbox_failed(p->box) == 0 || p->stopped || now_us < p->retry_at_us)
        return;
    outbox_recover(p->box);
    back_off(p);
    p->retry_at_us = now_us + p->backoff_us;
}

/* ---- the loop ------------------------------------------------------------------------------------ */

/* All is said: nothing more comes in, and what can be is acknowledged. */
static bool is_over(const struct publisher *p)
{
    if (p->stopped)
        return outbox_sent(p->box) == 0;
    return p->input_ended && outbox_pending(p->box) == 0;
}

/* Waits for the broker, and for the input where a line could be taken. */
static void wait_and_read(struct publisher *p, bool want_input)
{
    struct pollfd waits[2] = {
        {.fd = wire_fd(p->client->wire), .events = (short)(POLLIN | (wire_unsent(p->client->wire) > 0 ? POLLOUT : 0))},
        {.fd = want_input ? p->lines.fd : -1, .events = POLLIN},
    };
    int64_t left_ms = outbox_failed(p->box) > 0 ? (p->retry_at_us - clock_mono_us()) / 1000 + 1 : TICK_MS;
    int ready = poll(waits, 2, left_ms > TICK_MS ? TICK_MS : left_ms < 0 ? 0 : (int)left_ms);
    if (ready > 0 && (waits[1].revents & (POLLIN | POLLHUP | POLLERR | POLLNVAL)) != 0)
        read_input(p);
}

/* Sends what may go, takes what has come. */
static enum kq_err exchange(struct publisher *p)
{
    bool want_input = take_lines(p);
    for (const struct outbox_item *item; !p->stopped && (item = outbox_send(p->box)) != NULL;)
        buf_put(wire_out(p->client->wire), item->line, item->line_bytes);
    enum kq_err err = wire_try_flush(p->client->wire, &p->client->fault);
    if (err != KQ_OK)
        return err;
    wait_and_read(p, want_input);
    return take_replies(p);
}

static enum kq_err publish_all(struct publisher *p)
{
    int64_t quiet_since_us = clock_mono_us();
    uint64_t seen = 0;
    p->here_since_us = quiet_since_us;
    while (!is_over(p)) {
        enum kq_err err = exchange(p);
        int64_t now_us = clock_mono_us();
        if (outbox_sent(p->box) == 0 || seen != p->replies)
            quiet_since_us = now_us;
        seen = p->replies;
        if ((err == KQ_OK || err == KQ_AGAIN) && is_of_no_use(p, now_us, quiet_since_us))
            err = fault_set(&p->client->fault, KQ_EOF, "the broker at %s port %s does not publish",
                            brokers_now(&p->client->brokers)->host, brokers_now(&p->client->brokers)->port);
        if (err == KQ_EOF) {
            err = reconnect(p);
            now_us = quiet_since_us = clock_mono_us();
        }
        if (err != KQ_OK && err != KQ_AGAIN)
            return err;
        if (now_us - quiet_since_us > p->client->timeout_us)
            return fault_set(&p->client->fault, KQ_TIMEOUT, "the broker does not answer");
        if (out_of_time(p, now_us)) {
            p->client->fault = p->why;
            return p->why.err;
        }
        recover_if_due(p, now_us);
        progress_update(&p->progress, now_us, p->acknowledged, p->lines.bytes, p->input_bytes);
    }
    return KQ_OK;
}

/* ---- begin and end --------------------------------------------------------------------------------- */

static enum kq_err take_producer_id(struct publisher *p)
{
    const char *id_path[] = {"Id", NULL};
    const char *epoch_path[] = {"Epoch", NULL};
    enum kq_err err = client_partition_count(p->client, p->topic, &p->partition_count);
    if (err == KQ_OK)
        err = CLIENT_INSIST(p->client, "PRID");
    if (err != KQ_OK)
        return err;
    yajl_val data = NULL;
    yajl_val root = show_parse(&p->client->line, &data, &p->client->fault);
    if (root == NULL)
        return p->client->fault.err;
    yajl_val id = yajl_tree_get(data, id_path, yajl_t_number);
    yajl_val epoch = yajl_tree_get(data, epoch_path, yajl_t_number);
    if (!YAJL_IS_INTEGER(id) || !YAJL_IS_INTEGER(epoch))
        err = fault_set(&p->client->fault, KQ_GARBAGE, "the broker's reply to PRID has no Id and Epoch");
    else if ((p->box = outbox_new(p->topic, p->partition_count, YAJL_GET_INTEGER(id),
                                  (int16_t)YAJL_GET_INTEGER(epoch))) == NULL)
        err = fault_set(&p->client->fault, KQ_NO_MEMORY, "out of memory");
    yajl_tree_free(root);
    p->picked = p->partition_count;
    return err;
}

static void summarise(const struct publisher *p)
{
    double seconds = (double)(clock_mono_us() - p->begin_us) / 1e6;
    double rate = seconds > 0 ? (double)p->acknowledged / seconds : 0;
    char bytes[24];
    if (p->client->json)
        (void)printf("{\"Published\":%llu,\"Lines\":%llu,\"Bytes\":%llu,\"Seconds\":%.3f,\"Rate\":%.0f}\n",
                     (unsigned long long)p->acknowledged, (unsigned long long)p->lines.count,
                     (unsigned long long)p->body_bytes, seconds, rate);
    else if (!p->quiet)
        (void)printf("published %llu message%s (%s) in %.2f s: %.0f a second\n", (unsigned long long)p->acknowledged,
                     p->acknowledged == 1 ? "" : "s", progress_bytes(bytes, (double)p->body_bytes), seconds, rate);
}

/* Says what became of the messages; the exit code. */
static int conclude(struct publisher *p, enum kq_err err)
{
    if (p->progress.shown && !p->quiet)
        progress_end(&p->progress);
    if (err == KQ_OK && p->stopped) {
        err = p->result;
        p->client->fault = p->why;
    }
    summarise(p);
    if (err == KQ_OK)
        return CLIENT_DONE;
    int code = client_fail(p->client, err);
    size_t uncertain = outbox_uncertain(p->box);
    if (uncertain > 0) {
        (void)fprintf(stderr, "kafkaesque: %zu more were sent and not acknowledged; they may yet appear\n", uncertain);
        code = CLIENT_UNKNOWN;
    }
    return code;
}

static enum kq_err open_input(struct publisher *p, const char *path)
{
    bool is_stdin = path == NULL || strcmp(path, "-") == 0;
    int fd = is_stdin ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    struct stat stat;
    if (fd < 0)
        return fault_set(&p->client->fault, KQ_IO, "cannot open %s: %s", path, strerror(errno));
    lines_init(&p->lines, fd);
    if (fstat(fd, &stat) == 0 && S_ISDIR(stat.st_mode))
        return fault_set(&p->client->fault, KQ_IO, "%s is a folder", is_stdin ? "the input" : path);
    if (S_ISREG(stat.st_mode))
        p->input_bytes = (uint64_t)stat.st_size;
    if (isatty(fd) == 1 && !p->quiet)
        (void)fprintf(stderr, "one message a line; Ctrl-D ends\n");
    return KQ_OK;
}

int command_publish(struct client *client, const struct arguments *arguments)
{
    struct publisher p = {
        .client = client,
        .topic = arguments->positional[0],
        .key = options_get(arguments, "key"),
        .header = options_get(arguments, "header"),
        .quiet = options_get(arguments, "quiet") != NULL,
        .lines = {.fd = -1},
    };
    if (p.key != NULL && p.key[0] == 0)
        p.key = NULL;
    buf_init(&p.json, 8UL * LINES_MAX_BYTES);
    enum kq_err err = open_input(&p, arguments->positional_count > 1 ? arguments->positional[1] : NULL);
    if (err == KQ_OK)
        err = take_producer_id(&p);
    p.begin_us = clock_mono_us();
    int code;
    if (err == KQ_OK) {
        progress_init(&p.progress, p.begin_us);
        p.progress.shown = p.progress.shown && !p.quiet;
        code = conclude(&p, publish_all(&p));
    } else {
        code = client_fail(client, err);
    }
    if (p.lines.fd > STDIN_FILENO)
        (void)close(p.lines.fd);
    lines_fini(&p.lines);
    buf_fini(&p.json);
    outbox_free(&p.box);
    return code;
}
