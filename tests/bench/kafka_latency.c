/* Each record carries the time at which it was due, so that a late publisher shows. */
#include "bench/kafka_latency.h"

#include "bench/bench.h"
#include "bench/kafka_wire.h"
#include "e2e/client.h"
#include "e2e/harness.h"
#include "log/batch.h"
#include "proto/kafka/kafka.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

enum { IN_BYTES = 4 << 20, FETCH_BYTES = 1 << 20, WAIT_MS = 500, GRACE_US = 20000000 };

/* What came on a connection and is no whole answer yet. */
struct inlet {
    struct client *c;
    uint8_t *in;
    size_t used;
};

struct run {
    const struct latency_load *load;
    struct inlet producer, consumer;
    struct buf value, batch, frame;
    double *samples;
    size_t sent, acknowledged, count, room;
    int64_t next_off; /* -1: not known */
    bool asked;       /* a fetch is on its way */
    bool broken;
};

static void inlet_open(struct inlet *inlet, int port)
{
    inlet->c = client_open(port);
    inlet->in = malloc(IN_BYTES);
    if (inlet->in == NULL)
        harness_fail("out of memory");
}

static void inlet_close(struct inlet *inlet)
{
    client_close(&inlet->c);
    free(inlet->in);
}

/* Bytes of the first whole answer; 0: there is none. */
static size_t inlet_whole(const struct inlet *inlet)
{
    if (inlet->used < KAFKA_SIZE_BYTES)
        return 0;
    size_t whole = KAFKA_SIZE_BYTES + (size_t)get_be32(inlet->in);
    return inlet->used >= whole ? whole : 0;
}

static void inlet_drop(struct inlet *inlet, size_t bytes)
{
    inlet->used -= bytes;
    memmove(inlet->in, inlet->in + bytes, inlet->used);
}

static bool inlet_receive(struct inlet *inlet)
{
    ssize_t got = recv(client_fd(inlet->c), inlet->in + inlet->used, IN_BYTES - inlet->used, MSG_DONTWAIT);
    inlet->used += got > 0 ? (size_t)got : 0;
    return got > 0 || (got < 0 && (errno == EAGAIN || errno == EINTR));
}

/* Not client_send(), which takes in what arrives meanwhile: that is what is timed here. */
static bool send_whole(const struct inlet *inlet, const struct buf *frame)
{
    return send(client_fd(inlet->c), frame->data, frame->len, MSG_NOSIGNAL) == (ssize_t)frame->len;
}

static void publish(struct run *run, int64_t due_us)
{
    put_be64(run->value.data, (uint64_t)due_us);
    buf_reset(&run->batch);
    wire_put_batch(&run->batch, slice_of(run->value.data, run->value.len), 1);
    wire_put_produce(&run->frame, run->load->topic, slice_of(run->batch.data, run->batch.len));
    run->broken = run->broken || !send_whole(&run->producer, &run->frame);
    run->sent++;
}

static void take_acknowledgements(struct run *run)
{
    size_t whole, at = wire_produced_error_at(run->load->topic);
    while ((whole = inlet_whole(&run->producer)) > 0) {
        const uint8_t *in = run->producer.in;
        run->broken = run->broken || get_be16(in + at) != 0;
        if (run->next_off < 0)
            run->next_off = (int64_t)get_be64(in + at + 2);
        inlet_drop(&run->producer, whole);
        run->acknowledged++;
    }
}

static void take_records(struct run *run, struct slice records, int64_t now)
{
    struct cursor at = cursor_over(records.data, records.len);
    struct batch_info info;
    const uint8_t *batch;
    while (cursor_left(&at) > 0 && batch_next(&at, &info, &batch) == KQ_OK) {
        struct record_walk walk;
        struct record record;
        record_walk_init(&walk, batch, &info);
        while (record_walk_next(&walk, &record) == KQ_OK)
            if (record.off >= run->next_off && record.value.len >= sizeof(int64_t) && run->count < run->room)
                run->samples[run->count++] = (double)(now - (int64_t)get_be64(record.value.data));
        run->next_off = info.base_off + info.last_offset_delta + 1;
    }
}

static void take_fetched(struct run *run)
{
    size_t whole = inlet_whole(&run->consumer), at = wire_fetched_records_at(run->load->topic);
    if (whole == 0)
        return;
    const uint8_t *in = run->consumer.in;
    run->broken = run->broken || whole < at || get_be16(in + wire_fetched_error_at(run->load->topic)) != 0;
    if (!run->broken)
        take_records(run, slice_of(in + at, get_be32(in + at - 4)), now_us());
    inlet_drop(&run->consumer, whole);
    run->asked = false;
}

static void fetch(struct run *run)
{
    if (run->asked || run->next_off < 0)
        return;
    wire_put_fetch(&run->frame, run->load->topic, 0, run->next_off, WAIT_MS, FETCH_BYTES);
    run->broken = run->broken || !send_whole(&run->consumer, &run->frame);
    run->asked = true;
}

static void step(struct run *run, int64_t until_us)
{
    struct pollfd wait[] = {{.fd = client_fd(run->producer.c), .events = POLLIN},
                            {.fd = client_fd(run->consumer.c), .events = POLLIN}};
    int64_t left_us = until_us - now_us();
    struct timespec most = {.tv_sec = left_us / 1000000, .tv_nsec = left_us % 1000000 * 1000};
    if (left_us <= 0)
        most = (struct timespec){0};
    if (ppoll(wait, 2, &most, NULL) <= 0)
        return;
    if (wait[1].revents != 0 && !inlet_receive(&run->consumer))
        run->broken = true;
    take_fetched(run);
    if (wait[0].revents != 0 && !inlet_receive(&run->producer))
        run->broken = true;
    take_acknowledgements(run);
}

struct latency_result latency_run(const struct latency_load *load)
{
    struct run run = {.load = load, .next_off = -1, .room = (size_t)(load->run_us / load->every_us) + 16};
    inlet_open(&run.producer, load->port);
    inlet_open(&run.consumer, load->port);
    run.samples = calloc(run.room, sizeof(*run.samples));
    buf_init(&run.value, WIRE_FRAME_MAX_BYTES);
    buf_init(&run.batch, WIRE_FRAME_MAX_BYTES);
    buf_init(&run.frame, WIRE_FRAME_MAX_BYTES);
    buf_zeros(&run.value, load->record_bytes);
    if (run.samples == NULL || run.value.bad)
        harness_fail("out of memory");
    int64_t begin = now_us(), due_us = begin, end = begin + load->run_us;
    bool more = true;
    while (!run.broken && (more || run.count < run.sent || run.acknowledged < run.sent) && now_us() < end + GRACE_US) {
        more = due_us < end;
        for (; more && due_us <= now_us(); due_us += load->every_us)
            publish(&run, due_us);
        fetch(&run);
        step(&run, more ? due_us : end + GRACE_US);
    }
    struct latency_result r = {.records = run.count};
    r.broken = run.broken || run.count != run.sent || run.acknowledged != run.sent;
    r.p50_us = percentile(run.samples, run.count, 0.50);
    r.p99_us = percentile(run.samples, run.count, 0.99);
    inlet_close(&run.producer);
    inlet_close(&run.consumer);
    buf_fini(&run.value);
    buf_fini(&run.batch);
    buf_fini(&run.frame);
    free(run.samples);
    return r;
}
