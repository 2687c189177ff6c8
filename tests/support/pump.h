/*
 * An actor without threads: a test posts mail, and the pump runs turns and jobs
 * one after another until nothing moves. The model of partition.c.
 */
#ifndef KQ_TESTS_SUPPORT_PUMP_H
#define KQ_TESTS_SUPPORT_PUMP_H

#include "partition/actor.h"

struct pump {
    struct actor_options options;
    struct actor *actor; /* NULL: not open */
    struct engine_counters counters;
    struct log_view *view;
    struct mail_list control;
    struct mail_list data;
    struct actor_job_mail jobs[LOG_LANE_COUNT];
    bool job_out[LOG_LANE_COUNT]; /* handed out, not yet run */
    struct actor_stop_mail stop;
    struct machine_now now;
};

/* Fills options with small limits: 16 KiB segments, 4 KiB steps, no retention. */
void pump_init(struct pump *pump, struct io *io, const char *dir);
enum kq_err pump_open(struct pump *pump, struct fault *fault);
/* One turn with all that was posted; jobs that come out wait in job_out. */
void pump_turn(struct pump *pump);
/* Runs the waiting job of this lane, if any, and posts its completion. */
bool pump_run_job(struct pump *pump, enum log_lane lane);
/* Turns and jobs until nothing is left to do. */
void pump_settle(struct pump *pump);
/* Moves the clocks on and sends a tick. */
void pump_advance(struct pump *pump, int64_t ms);
/* Stops, settles, and closes. */
void pump_close(struct pump *pump);
/* Frees what is left after the disk has gone. */
void pump_abandon(struct pump *pump);

/* A publish of one record from malloc: value is copied. done frees the batch and
 * keeps the answer. */
struct pump_publish {
    struct publish_request request;
    bool done;
    enum kq_err err;
    int64_t base_off;
};
void pump_publish(struct pump *pump, struct pump_publish *publish, const void *value, size_t value_bytes,
                  int64_t producer_id, int32_t sequence);

#endif
