/* The actor on real files in a folder of its own, turn by turn. */
#include "base/clock.h"
#include "base/require.h"
#include "partition/actor_internal.h"
#include "support/folder.h"
#include "support/pump.h"
#include "support/unit.h"

#include <stdio.h>

static struct pump pump;
static char dir[FOLDER_PATH_BYTES];

static void open_pump(void)
{
    struct fault fault = {0};
    enum kq_err err = pump_open(&pump, &fault);
    if (err != KQ_OK)
        (void)fprintf(stderr, "open: %s\n", fault_text(&fault));
    CU_ASSERT_EQUAL_FATAL(err, KQ_OK);
}

static void begin(void)
{
    folder_make(dir);
    pump_init(&pump, io_posix(), dir);
}

static void restart(void)
{
    pump_close(&pump);
    open_pump();
}

static void end(void)
{
    pump_close(&pump);
    folder_remove(dir);
}

/* The value of the record at off, as text; "" if it cannot be read. */
static const char *read_at(int64_t off)
{
    static char text[64];
    struct log_iter it;
    struct log_slice slice;
    struct fault fault;
    text[0] = '\0';
    if (log_iter_seek(&it, pump.view, off) != KQ_OK)
        return text;
    while (log_iter_next(&it, &slice, &fault) == KQ_OK) {
        if (slice.type != LOG_ENTRY_RECORDS)
            continue;
        struct cursor at = cursor_over(slice.body, slice.body_bytes);
        while (cursor_left(&at) > 0) {
            struct batch_info info;
            const uint8_t *batch;
            struct record_walk walk;
            struct record record;
            if (batch_next(&at, &info, &batch) != KQ_OK)
                return text;
            record_walk_init(&walk, batch, &info);
            while (record_walk_next(&walk, &record) == KQ_OK)
                if (record.off == off) {
                    size_t n = record.value.len < sizeof text - 1 ? record.value.len : sizeof text - 1;
                    memcpy(text, record.value.data, n);
                    text[n] = '\0';
                    return text;
                }
        }
    }
    return text;
}

static void publish_text(struct pump_publish *publish, const char *text)
{
    pump_publish(&pump, publish, text, strlen(text), -1, 0);
}

/* Leads, so that the next publish costs one flush. */
static void warm_up(void)
{
    static struct pump_publish first;
    publish_text(&first, "first");
    pump_settle(&pump);
    CU_ASSERT_TRUE_FATAL(first.done);
    CU_ASSERT_EQUAL_FATAL(first.err, KQ_OK);
}

static void a_publish_is_answered_after_its_flush_and_not_before(void)
{
    begin();
    open_pump();
    warm_up();
    struct pump_publish a;
    publish_text(&a, "a");
    pump_turn(&pump);
    CU_ASSERT_FALSE(a.done);
    CU_ASSERT_TRUE(pump.job_out[LOG_LANE_FLUSH]);
    CU_ASSERT_EQUAL(log_view_high_watermark(pump.view), 1);
    CU_ASSERT_TRUE(pump_run_job(&pump, LOG_LANE_FLUSH));
    CU_ASSERT_FALSE(a.done);
    pump_turn(&pump);
    CU_ASSERT_TRUE(a.done);
    CU_ASSERT_EQUAL(a.err, KQ_OK);
    CU_ASSERT_EQUAL(a.base_off, 1);
    CU_ASSERT_EQUAL(log_view_high_watermark(pump.view), 2);
    CU_ASSERT_STRING_EQUAL(read_at(1), "a");
    end();
}

static void what_gathers_during_a_flush_becomes_one_entry(void)
{
    begin();
    open_pump();
    warm_up();
    static struct pump_publish many[50];
    struct pump_publish one, two;
    publish_text(&one, "one");
    pump_turn(&pump);
    publish_text(&two, "two");
    pump_turn(&pump);
    uint64_t entries = atomic_load(&pump.counters.entries);
    uint64_t fsyncs = atomic_load(&pump.counters.log.fsyncs);
    for (int i = 0; i < 50; i++)
        publish_text(&many[i], "x");
    pump_turn(&pump); /* two entries are in flight: the data lane waits */
    CU_ASSERT_FALSE(actor_wants_data(pump.actor));
    CU_ASSERT_EQUAL(atomic_load(&pump.counters.entries), entries);
    pump_settle(&pump);
    CU_ASSERT_EQUAL(atomic_load(&pump.counters.entries), entries + 1);
    CU_ASSERT_TRUE(atomic_load(&pump.counters.log.fsyncs) <= fsyncs + 3);
    for (int i = 0; i < 50; i++) {
        CU_ASSERT_TRUE(many[i].done);
        CU_ASSERT_EQUAL(many[i].base_off, 3 + i);
    }
    end();
}

static void everything_is_there_after_a_restart(void)
{
    begin();
    open_pump();
    static struct pump_publish some[20];
    char text[16];
    for (int i = 0; i < 20; i++) {
        (void)snprintf(text, sizeof text, "m%d", i);
        publish_text(&some[i], text);
        pump_settle(&pump);
    }
    restart();
    CU_ASSERT_EQUAL(log_view_high_watermark(pump.view), 20);
    CU_ASSERT_STRING_EQUAL(read_at(0), "m0");
    CU_ASSERT_STRING_EQUAL(read_at(19), "m19");
    struct pump_publish next;
    publish_text(&next, "after");
    pump_settle(&pump);
    CU_ASSERT_EQUAL(next.base_off, 20);
    CU_ASSERT_STRING_EQUAL(read_at(20), "after");
    end();
}

static void a_duplicate_is_answered_with_its_original(void)
{
    begin();
    open_pump();
    warm_up();
    struct pump_publish a, again, gap;
    pump_publish(&pump, &a, "a", 1, 77, 0);
    pump_turn(&pump);
    pump_publish(&pump, &again, "a", 1, 77, 0);
    pump_publish(&pump, &gap, "c", 1, 77, 2);
    pump_turn(&pump);
    CU_ASSERT_FALSE(again.done); /* its original is not committed yet */
    CU_ASSERT_TRUE(gap.done);
    CU_ASSERT_EQUAL(gap.err, KQ_SEQUENCE_GAP);
    pump_settle(&pump);
    CU_ASSERT_TRUE(a.done && again.done);
    CU_ASSERT_EQUAL(again.err, KQ_OK);
    CU_ASSERT_EQUAL(again.base_off, a.base_off);
    CU_ASSERT_EQUAL(log_view_high_watermark(pump.view), 2);
    restart();
    pump_publish(&pump, &again, "a", 1, 77, 0);
    pump_settle(&pump);
    CU_ASSERT_EQUAL(again.err, KQ_OK);
    CU_ASSERT_EQUAL(again.base_off, a.base_off);
    CU_ASSERT_EQUAL(log_view_high_watermark(pump.view), 2);
    end();
}

static void segments_roll_and_retention_moves_the_start(void)
{
    begin();
    pump.options.limits.retention_bytes = 40 * 1024;
    open_pump();
    static char value[1000];
    static struct pump_publish some[200];
    memset(value, 'v', sizeof value);
    for (int i = 0; i < 200; i++) {
        pump_publish(&pump, &some[i], value, sizeof value, -1, 0);
        pump_settle(&pump);
        CU_ASSERT_TRUE(some[i].done);
        CU_ASSERT_EQUAL(some[i].err, KQ_OK);
        CU_ASSERT_EQUAL(some[i].base_off, i);
    }
    int64_t start_off = log_view_start_off(pump.view);
    CU_ASSERT_TRUE(start_off > 100);
    CU_ASSERT_TRUE(start_off < 180);
    CU_ASSERT_STRING_EQUAL(read_at(start_off - 1), "");
    CU_ASSERT_TRUE(read_at(start_off)[0] == 'v');
    restart();
    CU_ASSERT_EQUAL(log_view_start_off(pump.view), start_off);
    CU_ASSERT_EQUAL(log_view_high_watermark(pump.view), 200);
    CU_ASSERT_TRUE(folder_size(dir) < 120 * 1024);
    end();
}

static void a_roll_waits_for_a_keeper_that_is_busy(void)
{
    begin();
    pump.options.log.prepare_min_bytes = 64 * 1024;
    pump.options.log.prepare_max_bytes = 64 * 1024;
    open_pump();
    warm_up();
    static char value[700];
    static struct pump_publish some[100];
    memset(value, 'v', sizeof value);
    bool keeper_was_late = false;
    for (int i = 0; i < 100; i++) {
        bool busy = pump.job_out[LOG_LANE_KEEP]; /* with the spare segment */
        pump_publish(&pump, &some[i], value, sizeof value, -1, 0);
        pump_turn(&pump);
        (void)pump_run_job(&pump, LOG_LANE_FLUSH);
        pump_turn(&pump);
        if (some[i].done)
            continue;
        keeper_was_late = keeper_was_late || busy;
        pump_settle(&pump);
        CU_ASSERT_TRUE_FATAL(some[i].done);
    }
    CU_ASSERT_TRUE(keeper_was_late);
    for (int i = 0; i < 100; i++)
        CU_ASSERT_TRUE(some[i].err == KQ_OK && some[i].base_off == i + 1);
    restart();
    CU_ASSERT_EQUAL(log_view_high_watermark(pump.view), 101);
    end();
}

static void a_segment_that_is_old_takes_no_more(void)
{
    begin();
    pump.options.limits.segment_ms = 60 * 1000;
    open_pump();
    warm_up(); /* offset 0 */
    pump_settle(&pump);
    CU_ASSERT_EQUAL(log_unsealed_off(pump.actor->log), 0);
    warm_up(); /* offset 1 */
    pump_settle(&pump);
    CU_ASSERT_EQUAL(log_unsealed_off(pump.actor->log), 0);
    pump_advance(&pump, 61 * 1000);
    warm_up(); /* offset 2 */
    pump_settle(&pump);
    CU_ASSERT_EQUAL(log_unsealed_off(pump.actor->log), 2);
    restart();
    CU_ASSERT_EQUAL(log_view_high_watermark(pump.view), 3);
    end();
}

static void age_empties_an_idle_partition(void)
{
    begin();
    pump.options.limits.retention_ms = 60 * 1000;
    open_pump();
    warm_up();
    pump_settle(&pump);
    for (int i = 0; i < 5; i++) {
        pump_advance(&pump, 61 * 1000);
        pump_settle(&pump);
    }
    CU_ASSERT_EQUAL(log_view_start_off(pump.view), 1);
    CU_ASSERT_EQUAL(log_view_high_watermark(pump.view), 1);
    restart();
    CU_ASSERT_EQUAL(log_view_start_off(pump.view), 1);
    warm_up(); /* offset 1 */
    CU_ASSERT_STRING_EQUAL(read_at(1), "first");
    end();
}

static void a_large_message_is_refused_by_name_and_others_go_on(void)
{
    begin();
    pump.options.limits.max_message_bytes = 500;
    open_pump();
    static char value[1000];
    struct pump_publish large, small;
    pump_publish(&pump, &large, value, sizeof value, -1, 0);
    publish_text(&small, "s");
    pump_settle(&pump);
    CU_ASSERT_EQUAL(large.err, KQ_TOO_LARGE);
    CU_ASSERT_EQUAL(small.err, KQ_OK);
    CU_ASSERT_EQUAL(small.base_off, 0);
    end();
}

static void an_entry_larger_than_a_segment_is_taken(void)
{
    begin();
    open_pump();
    static char value[100 * 1024];
    static struct pump_publish some[4];
    memset(value, 'L', sizeof value);
    for (int i = 0; i < 4; i++) {
        pump_publish(&pump, &some[i], value, sizeof value, -1, 0);
        pump_settle(&pump);
        CU_ASSERT_EQUAL(some[i].err, KQ_OK);
    }
    restart();
    CU_ASSERT_EQUAL(log_view_high_watermark(pump.view), 4);
    CU_ASSERT_TRUE(read_at(3)[0] == 'L');
    end();
}

struct told {
    struct wait_request request;
    int count;
};

static void be_told(struct wait_request *request)
{
    CONTAINER_OF(request, struct told, request)->count++;
}

static void a_reader_is_told_once_when_there_is_more(void)
{
    begin();
    open_pump();
    warm_up();
    struct told now = {.request = {.done = be_told, .off = 0}};
    struct told later = {.request = {.done = be_told, .off = 1}};
    struct told cancelled = {.request = {.done = be_told, .off = 1}};
    struct told *all[] = {&now, &later, &cancelled};
    for (int i = 0; i < 3; i++) {
        all[i]->request.mail = (struct mail){.kind = MAIL_WAIT};
        mail_list_append(&pump.data, &all[i]->request.mail);
    }
    pump_settle(&pump);
    CU_ASSERT_EQUAL(now.count, 1);
    CU_ASSERT_EQUAL(later.count, 0);
    CU_ASSERT_TRUE(actor_wait_claim_cancel(&cancelled.request));
    CU_ASSERT_FALSE(actor_wait_claim_cancel(&now.request));
    cancelled.request.cancel = (struct mail){.kind = MAIL_WAIT_CANCEL};
    struct pump_publish more;
    publish_text(&more, "more");
    pump_settle(&pump); /* the cancelled one is satisfied before its cancel comes */
    mail_list_append(&pump.data, &cancelled.request.cancel);
    pump_settle(&pump);
    CU_ASSERT_EQUAL(later.count, 1);
    CU_ASSERT_EQUAL(later.request.err, KQ_OK);
    CU_ASSERT_EQUAL(cancelled.count, 1);
    CU_ASSERT_EQUAL(cancelled.request.err, KQ_AGAIN);
    struct told last = {.request = {.done = be_told, .off = 2}};
    last.request.mail = (struct mail){.kind = MAIL_WAIT};
    mail_list_append(&pump.data, &last.request.mail);
    pump_settle(&pump);
    end();
    CU_ASSERT_EQUAL(last.count, 1);
    CU_ASSERT_EQUAL(last.request.err, KQ_STOPPING);
}

static void a_stop_answers_what_is_written_and_refuses_the_rest(void)
{
    begin();
    open_pump();
    warm_up();
    struct pump_publish written, more, late;
    publish_text(&written, "written");
    pump_turn(&pump);
    publish_text(&more, "more");
    pump_turn(&pump);
    publish_text(&late, "late");
    end();
    CU_ASSERT_EQUAL(written.err, KQ_OK);
    CU_ASSERT_EQUAL(more.err, KQ_OK);
    CU_ASSERT_TRUE(late.done);
    CU_ASSERT_EQUAL(late.err, KQ_STOPPING);
}

static void a_flush_that_hangs_leaves_the_outcome_unknown(void)
{
    begin();
    open_pump();
    warm_up();
    struct pump_publish a, b, c, d;
    publish_text(&a, "a");
    pump_turn(&pump);
    publish_text(&b, "b");
    pump_turn(&pump);
    publish_text(&c, "c");
    publish_text(&d, "d");
    pump_advance(&pump, 31 * 1000);
    pump_turn(&pump);
    CU_ASSERT_TRUE(a.done && b.done);
    CU_ASSERT_EQUAL(a.err, KQ_OUTCOME_UNKNOWN);
    pump_advance(&pump, 31 * 1000);
    CU_ASSERT_TRUE(c.done && d.done);
    CU_ASSERT_EQUAL(c.err, KQ_NO_LEADER); /* never written */
    pump_settle(&pump);
    CU_ASSERT_EQUAL(log_view_high_watermark(pump.view), 3);
    end();
}

/* ---- a machine that adds ----------------------------------------------------------- */

struct adder {
    int64_t sum;
    int64_t applied;
    int64_t shown; /* the sum when last told that all is committed */
    bool leads;
};

struct add_call {
    struct machine_call call;
    char number[16];
    int64_t sum;
    bool done;
};

struct add_note {
    struct machine_note note;
    enum kq_err err;
    bool delivered;
};

static struct add_note note_once;

static void add_done(struct machine_call *call)
{
    CONTAINER_OF(call, struct add_call, call)->done = true;
}

static void note_delivered(struct machine_note *note, enum kq_err err)
{
    struct add_note *told = CONTAINER_OF(note, struct add_note, note);
    told->delivered = true;
    told->err = err;
}

static bool adder_call(void *state, struct machine_call *call, struct machine_turn *turn, const struct machine_now *now)
{
    struct adder *adder = state;
    struct add_call *add = CONTAINER_OF(call, struct add_call, call);
    (void)now;
    CU_ASSERT_TRUE(adder->leads);
    machine_propose(turn, slice_text("add"), slice_text(add->number));
    add->sum = adder->sum;
    if (strcmp(add->number, "7") == 0) {
        note_once = (struct add_note){.note = {.deliver = note_delivered}};
        machine_note(turn, &note_once.note);
    }
    return true;
}

static void adder_apply(void *state, int64_t off, const struct record *record)
{
    struct adder *adder = state;
    char number[16] = "";
    memcpy(number, record->value.data, record->value.len);
    CU_ASSERT_EQUAL(off, adder->applied);
    adder->applied++;
    adder->sum += strtol(number, NULL, 10);
}

static void adder_committed(void *state, const struct machine_now *now)
{
    struct adder *adder = state;
    (void)now;
    adder->shown = adder->sum;
}

static void adder_leads(void *state, bool leads, const struct machine_now *now)
{
    (void)now;
    ((struct adder *)state)->leads = leads;
}

static void adder_snapshot(const void *state, struct buf *out)
{
    const struct adder *adder = state;
    buf_le64(out, (uint64_t)adder->sum);
    buf_le64(out, (uint64_t)adder->applied);
}

static enum kq_err adder_restore(void *state, const void *bytes, size_t size_bytes, struct fault *fault)
{
    struct adder *adder = state;
    struct cursor in = cursor_over(bytes, size_bytes);
    (void)fault;
    adder->sum = (int64_t)cursor_le64(&in);
    adder->applied = (int64_t)cursor_le64(&in);
    return in.bad ? KQ_CORRUPT : KQ_OK;
}

static void adder_reset(void *state)
{
    *(struct adder *)state = (struct adder){0};
}

static struct machine_ops adder_ops = {.name = "adder",
                                       .call = adder_call,
                                       .apply = adder_apply,
                                       .committed = adder_committed,
                                       .leads = adder_leads,
                                       .snapshot = adder_snapshot,
                                       .restore = adder_restore,
                                       .reset = adder_reset};

/* A machine asks for room for a whole turn of proposals: segments as in earnest. */
static void begin_machine(struct adder *adder, bool serial)
{
    begin();
    adder_ops.serial = serial;
    pump.options.machine = (struct machine){.ops = &adder_ops, .state = adder};
    pump.options.limits.segment_bytes = 256 * 1024;
    pump.options.log.segment_bytes = 256 * 1024;
    pump.options.log.prepare_min_bytes = 64 * 1024;
    pump.options.log.prepare_max_bytes = 128 * 1024;
    open_pump();
}

static void call_add(struct add_call *call, int number)
{
    *call = (struct add_call){.call = {.done = add_done}};
    (void)snprintf(call->number, sizeof call->number, "%d", number);
    call->call.mail = (struct mail){.kind = MAIL_CALL};
    mail_list_append(&pump.data, &call->call.mail);
}

static void a_machine_sees_its_own_changes_and_answers_when_committed(void)
{
    struct adder adder = {0};
    begin_machine(&adder, false);
    struct add_call a, b, c;
    call_add(&a, 1);
    pump_settle(&pump);
    CU_ASSERT_TRUE(a.done);
    call_add(&b, 5);
    call_add(&c, 7);
    pump_turn(&pump);
    CU_ASSERT_EQUAL(b.sum, 6);
    CU_ASSERT_EQUAL(c.sum, 13);
    CU_ASSERT_FALSE(b.done || c.done || note_once.delivered);
    CU_ASSERT_EQUAL(adder.shown, 1);
    pump_settle(&pump);
    CU_ASSERT_TRUE(b.done && c.done && note_once.delivered);
    CU_ASSERT_EQUAL(note_once.err, KQ_OK);
    CU_ASSERT_EQUAL(adder.shown, 13);
    CU_ASSERT_TRUE(adder.leads);
    restart();
    CU_ASSERT_EQUAL(adder.sum, 13);
    CU_ASSERT_EQUAL(adder.shown, 13);
    CU_ASSERT_FALSE(adder.leads);
    end();
}

static void a_serial_machine_takes_one_change_at_a_time(void)
{
    struct adder adder = {0};
    begin_machine(&adder, true);
    struct add_call a, b, c;
    call_add(&a, 1);
    pump_settle(&pump);
    call_add(&b, 2);
    call_add(&c, 3);
    pump_turn(&pump);
    CU_ASSERT_EQUAL(adder.sum, 3);
    pump_settle(&pump);
    CU_ASSERT_TRUE(b.done && c.done);
    CU_ASSERT_EQUAL(adder.sum, 6);
    end();
}

static void a_machines_log_stays_small(void)
{
    struct adder adder = {0};
    begin_machine(&adder, false);
    int64_t expected = 0;
    for (int i = 0; i < 15000; i++) {
        struct add_call add;
        call_add(&add, i % 1000);
        expected += i % 1000;
        pump_settle(&pump);
        CU_ASSERT_TRUE_FATAL(add.done);
    }
    CU_ASSERT_TRUE(folder_size(dir) < 1400 * 1024);
    CU_ASSERT_TRUE(log_view_start_off(pump.view) > 0);
    restart();
    CU_ASSERT_EQUAL(adder.sum, expected);
    CU_ASSERT_EQUAL(adder.applied, 15000);
    end();
}

static const struct unit_case cases[] = {
    {"a publish is answered after its flush and not before", a_publish_is_answered_after_its_flush_and_not_before},
    {"what gathers during a flush becomes one entry", what_gathers_during_a_flush_becomes_one_entry},
    {"everything is there after a restart", everything_is_there_after_a_restart},
    {"a duplicate is answered with its original", a_duplicate_is_answered_with_its_original},
    {"segments roll and retention moves the start", segments_roll_and_retention_moves_the_start},
    {"a roll waits for a keeper that is busy", a_roll_waits_for_a_keeper_that_is_busy},
    {"a segment that is old takes no more", a_segment_that_is_old_takes_no_more},
    {"age empties an idle partition", age_empties_an_idle_partition},
    {"a large message is refused by name and others go on", a_large_message_is_refused_by_name_and_others_go_on},
    {"an entry larger than a segment is taken", an_entry_larger_than_a_segment_is_taken},
    {"a reader is told once when there is more", a_reader_is_told_once_when_there_is_more},
    {"a stop answers what is written and refuses the rest", a_stop_answers_what_is_written_and_refuses_the_rest},
    {"a flush that hangs leaves the outcome unknown", a_flush_that_hangs_leaves_the_outcome_unknown},
    {"a machine sees its own changes and answers when committed",
     a_machine_sees_its_own_changes_and_answers_when_committed},
    {"a serial machine takes one change at a time", a_serial_machine_takes_one_change_at_a_time},
    {"a machine's log stays small", a_machines_log_stays_small},
};
UNIT_MAIN("actor", cases)
