#include "support/pump.h"

#include "base/clock.h"
#include "base/require.h"

#include <stdlib.h>

static void submit(void *context, enum log_lane lane, struct log_job *job, bool alone)
{
    struct pump *pump = context;
    (void)alone;
    REQUIRE(!pump->job_out[lane]);
    pump->jobs[lane] = (struct actor_job_mail){.mail = {.kind = MAIL_JOB_DONE}, .job = job, .lane = lane};
    pump->job_out[lane] = true;
}

static void show_view(void *context, struct log_view *view)
{
    struct pump *pump = context;
    if (pump->view != NULL)
        log_view_drop(&pump->view);
    pump->view = view;
}

void pump_init(struct pump *pump, struct io *io, const char *dir)
{
    *pump = (struct pump){0};
    pump->now = (struct machine_now){.mono_us = 1000000, .wall_ms = 1700000000000};
    pump->options = (struct actor_options){
        .log = {.io = io,
                .dir = dir,
                .title = "test-0",
                .topic_id = {{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}},
                .segment_bytes = 16 * 1024,
                .prepare_min_bytes = 4096,
                .prepare_max_bytes = 8192,
                .mark_delay_us = 100000,
                .counters = &pump->counters.log},
        .broker_id = 1,
        .incarnation = {{16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1}},
        .limits = {.segment_bytes = 16 * 1024, .retention_bytes = -1, .retention_ms = -1, .max_message_bytes = 1 << 20},
        .flush_always = true,
        .entry_max_bytes = 64 * 1024,
        .unflushed_entries = 2,
        .counters = &pump->counters,
        .env = {.context = pump, .submit = submit, .show_view = show_view},
    };
}

enum kq_err pump_open(struct pump *pump, struct fault *fault)
{
    return actor_open(&pump->actor, &pump->options, &pump->now, fault);
}

void pump_turn(struct pump *pump)
{
    struct mail_list control = {0};
    struct mail_list data = {0};
    mail_list_move(&control, &pump->control);
    if (actor_wants_data(pump->actor))
        mail_list_move(&data, &pump->data);
    actor_turn(pump->actor, &control, &data, &pump->now);
}

bool pump_run_job(struct pump *pump, enum log_lane lane)
{
    if (!pump->job_out[lane])
        return false;
    pump->job_out[lane] = false;
    log_job_run(pump->jobs[lane].job);
    mail_list_append(&pump->control, &pump->jobs[lane].mail);
    return true;
}

void pump_settle(struct pump *pump)
{
    bool moved;
    do {
        pump_turn(pump);
        moved = pump_run_job(pump, LOG_LANE_FLUSH);
        moved = pump_run_job(pump, LOG_LANE_KEEP) || moved;
        moved = moved || (pump->data.first != NULL && actor_wants_data(pump->actor));
    } while (moved);
}

void pump_advance(struct pump *pump, int64_t ms)
{
    static struct mail tick = {.kind = MAIL_TICK};
    pump->now.mono_us += ms * 1000;
    pump->now.wall_ms += ms;
    mail_list_append(&pump->control, &tick);
    pump_turn(pump);
}

void pump_close(struct pump *pump)
{
    pump->stop = (struct actor_stop_mail){.mail = {.kind = MAIL_STOP}, .reason = KQ_STOPPING};
    mail_list_append(&pump->control, &pump->stop.mail);
    pump_settle(pump);
    REQUIRE(actor_stopped(pump->actor));
    actor_close(&pump->actor);
    pump_abandon(pump);
}

void pump_abandon(struct pump *pump)
{
    if (pump->actor != NULL) {
        pump_close(pump);
        return;
    }
    if (pump->view != NULL)
        log_view_drop(&pump->view);
}

static void publish_done(struct publish_request *request)
{
    struct pump_publish *publish = CONTAINER_OF(request, struct pump_publish, request);
    REQUIRE(!publish->done);
    publish->done = true;
    publish->err = request->fault.err;
    publish->base_off = request->base_off;
    free(request->batches);
    request->batches = NULL;
}

void pump_publish(struct pump *pump, struct pump_publish *publish, const void *value, size_t value_bytes,
                  int64_t producer_id, int32_t sequence)
{
    struct buf bytes;
    struct batch_maker maker;
    size_t size_bytes;
    buf_init(&bytes, 64 << 20);
    batch_begin(&maker, &bytes, pump->now.wall_ms);
    batch_add(&maker, pump->now.wall_ms, (struct slice){0}, slice_of(value, value_bytes), NULL, (struct slice){0});
    batch_end(&maker, producer_id, producer_id < 0 ? -1 : 0, producer_id < 0 ? -1 : sequence);
    *publish = (struct pump_publish){0};
    publish->request.batches = buf_give(&bytes, &size_bytes);
    publish->request.batches_bytes = (uint32_t)size_bytes;
    publish->request.batch_count = 1;
    publish->request.record_count = 1;
    publish->request.deadline_us = pump->now.mono_us + 30 * 1000000;
    publish->request.done = publish_done;
    publish->request.mail = (struct mail){.kind = MAIL_PUBLISH, .size_bytes = (uint32_t)size_bytes};
    mail_list_append(&pump->data, &publish->request.mail);
}
