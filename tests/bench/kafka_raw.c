/* The bench's own Kafka client: a window of produce requests, and fetches one by one. */
#include "bench/kafka_raw.h"

#include "bench/kafka_wire.h"
#include "e2e/client.h"
#include "e2e/harness.h"
#include "proto/kafka/kafka.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum {
    ANSWERS_BYTES = 64 << 10,
    SWALLOW_BYTES = 256 << 10,
    RECORD_OVERHEAD_BYTES = 12, /* about: what a record has beside its value */
};

/* ---- frames ------------------------------------------------------------------------------------- */

unsigned raw_batch_records(const struct raw_load *load)
{
    size_t records = load->batch_bytes / (load->record_bytes + RECORD_OVERHEAD_BYTES);
    return records > 0 ? (unsigned)records : 1;
}

static void put_batch(struct buf *out, const struct raw_load *load)
{
    uint8_t *value = malloc(load->record_bytes + 1);
    if (value == NULL)
        harness_fail("out of memory");
    memset(value, 'x', load->record_bytes);
    buf_init(out, WIRE_FRAME_MAX_BYTES);
    wire_put_batch(out, slice_of(value, load->record_bytes), raw_batch_records(load));
    free(value);
}

size_t raw_batch_bytes(const struct raw_load *load)
{
    struct buf batch;
    put_batch(&batch, load);
    size_t bytes = batch.len;
    buf_fini(&batch);
    return bytes;
}

/* ---- produce --------------------------------------------------------------------------------------- */

struct window {
    int fd;
    struct buf frame;
    size_t error_at; /* in an answer */
    size_t owed;     /* bytes of requests begun that the socket has not taken */
    size_t sent;     /* bytes of the frame that is being sent */
    unsigned flying;
    uint8_t answers[ANSWERS_BYTES];
    size_t answers_len;
};

static bool window_send(struct window *w)
{
    while (w->owed > 0) {
        ssize_t sent = send(w->fd, w->frame.data + w->sent, w->frame.len - w->sent, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent < 0)
            return errno == EAGAIN || errno == EINTR;
        w->owed -= (size_t)sent;
        w->sent = (w->sent + (size_t)sent) % w->frame.len;
    }
    return true;
}

/* Answers that are there; -1: an error, or the end. */
static int window_receive(struct window *w)
{
    ssize_t got = recv(w->fd, w->answers + w->answers_len, sizeof(w->answers) - w->answers_len, MSG_DONTWAIT);
    if (got <= 0)
        return got < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : -1;
    w->answers_len += (size_t)got;
    size_t at = 0;
    int count = 0;
    while (w->answers_len - at >= KAFKA_SIZE_BYTES) {
        size_t whole = KAFKA_SIZE_BYTES + (size_t)get_be32(w->answers + at);
        if (w->answers_len - at < whole)
            break;
        int error = (int16_t)get_be16(w->answers + at + w->error_at);
        if (error != 0) {
            fprintf(stderr, "a produce request is answered with error %d\n", error);
            return -1;
        }
        at += whole;
        count++;
    }
    memmove(w->answers, w->answers + at, w->answers_len - at);
    w->answers_len -= at;
    return count;
}

static bool window_step(struct window *w, struct raw_result *r, const struct raw_load *load, bool more)
{
    struct pollfd wait = {.fd = w->fd, .events = POLLIN};
    while (more && w->flying < load->in_flight) {
        w->flying++;
        w->owed += w->frame.len;
    }
    if (!window_send(w))
        return false;
    if (w->owed > 0)
        wait.events |= POLLOUT;
    if (poll(&wait, 1, REPLY_MS) <= 0)
        return false;
    int answers = (wait.revents & (POLLIN | POLLERR | POLLHUP)) != 0 ? window_receive(w) : 0;
    if (answers < 0)
        return false;
    w->flying -= (unsigned)answers;
    r->requests += (uint64_t)answers;
    return true;
}

struct raw_result raw_produce(const struct raw_load *load)
{
    struct raw_result r = {0};
    struct window *w = calloc(1, sizeof(*w));
    struct client *c = client_open(load->port);
    if (w == NULL)
        harness_fail("out of memory");
    w->fd = client_fd(c);
    w->error_at = wire_produced_error_at(load->topic);
    struct buf batch;
    put_batch(&batch, load);
    buf_init(&w->frame, WIRE_FRAME_MAX_BYTES);
    wire_put_produce(&w->frame, load->topic, slice_of(batch.data, batch.len));
    buf_fini(&batch);
    uint64_t values = (uint64_t)raw_batch_records(load) * load->record_bytes;
    int64_t begin = now_us();
    for (bool more = true; !r.broken && (more || w->flying > 0);) {
        uint64_t begun = (r.requests + w->flying) * values;
        more = load->bytes > 0 ? begun < load->bytes : now_us() - begin < load->run_us;
        if (more || w->flying > 0)
            r.broken = !window_step(w, &r, load, more);
    }
    r.us = now_us() - begin;
    r.bytes = r.requests * values;
    r.records = r.requests * raw_batch_records(load);
    client_close(&c);
    buf_fini(&w->frame);
    free(w);
    return r;
}

/* ---- fetch ----------------------------------------------------------------------------------------- */

static bool take(int fd, uint8_t *to, size_t room, size_t bytes)
{
    while (bytes > 0) {
        ssize_t got = recv(fd, to, bytes < room ? bytes : room, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return false;
        bytes -= (size_t)got;
    }
    return true;
}

/* Bytes of records in the next answer, which are swallowed; -1: an error, or the end. */
static int64_t take_answer(int fd, const struct raw_load *load, uint8_t *swallow)
{
    size_t error_at = wire_fetched_error_at(load->topic), head = wire_fetched_records_at(load->topic);
    for (size_t have = 0; have < head;) {
        ssize_t got = recv(fd, swallow + have, head - have, 0);
        if (got <= 0)
            return -1;
        have += (size_t)got;
    }
    int error = (int16_t)get_be16(swallow + error_at);
    size_t rest = KAFKA_SIZE_BYTES + (size_t)get_be32(swallow) - head;
    int64_t records = (int32_t)get_be32(swallow + head - 4);
    if (error != 0)
        fprintf(stderr, "a fetch is answered with error %d\n", error);
    return take(fd, swallow, SWALLOW_BYTES, rest) && error == 0 ? records : -1;
}

struct raw_result raw_fetch(const struct raw_load *load, int64_t *off, size_t fetch_bytes)
{
    struct raw_result r = {0};
    struct client *c = client_open(load->port);
    uint8_t *swallow = malloc(SWALLOW_BYTES);
    size_t batch_bytes = raw_batch_bytes(load);
    unsigned batch_records = raw_batch_records(load);
    struct buf frame;
    buf_init(&frame, WIRE_FRAME_MAX_BYTES);
    if (swallow == NULL)
        harness_fail("out of memory");
    int64_t begin = now_us();
    while (!r.broken && r.bytes < load->bytes) {
        wire_put_fetch(&frame, load->topic, 0, *off, WIRE_TIMEOUT_MS, fetch_bytes);
        int64_t got = client_send(c, frame.data, frame.len) ? take_answer(client_fd(c), load, swallow) : -1;
        uint64_t batches = got > 0 ? (uint64_t)got / batch_bytes : 0;
        r.broken = batches == 0;
        r.bytes += got > 0 ? (uint64_t)got : 0;
        r.records += batches * batch_records;
        r.requests++;
        *off += (int64_t)(batches * batch_records);
    }
    r.us = now_us() - begin;
    client_close(&c);
    buf_fini(&frame);
    free(swallow);
    return r;
}
