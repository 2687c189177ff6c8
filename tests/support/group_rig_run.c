/* Time in the group: turns, the ledger, waiting, publishing, and the last judgement. */
#include "support/group_rig.h"

#include "base/clock.h"
#include "base/crc32c.h"
#include "base/require.h"
#include "partition/actor_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the ledger ----------------------------------------------------------------------- */

static void check_entry(struct group_node *node, const struct log_slice *slice)
{
    struct group *group = node->group;
    if (slice->idx >= GROUP_ENTRIES_MAX) {
        group_fail(group, "more entries than the ledger holds");
        return;
    }
    uint32_t crc = crc32c(slice->type, slice->body, slice->body_bytes);
    if (group->ledger[slice->idx].term == 0) {
        group->ledger[slice->idx].term = slice->term;
        group->ledger[slice->idx].crc = crc;
        group->ledger[slice->idx].bytes = slice->body_bytes;
    } else if (group->ledger[slice->idx].term != slice->term || group->ledger[slice->idx].crc != crc ||
               group->ledger[slice->idx].bytes != slice->body_bytes) {
        group_fail(group, "node %d committed entry %llu of term %llu; others one of term %llu", node->number,
                   (unsigned long long)slice->idx, (unsigned long long)slice->term,
                   (unsigned long long)group->ledger[slice->idx].term);
    }
}

/* What this replica shows as committed since the last look is what all others show. */
static void check_node(struct group_node *node)
{
    struct log_view *view = node->pump.view;
    if (view == NULL || node->blind)
        return;
    int64_t end_off = log_view_high_watermark(view);
    if (end_off < node->shown_end_off)
        group_fail(node->group, "node %d: its end went back", node->number);
    node->shown_end_off = end_off;
    struct log_iter it;
    struct log_slice slice;
    struct fault fault = {0};
    enum kq_err err = KQ_OFFSET_OUT_OF_RANGE;
    if (node->checked_idx > 0)
        err = log_iter_seek_idx(&it, view, node->checked_idx + 1);
    if (err != KQ_OK)
        err = log_iter_seek(&it, view, log_view_start_off(view));
    while (err == KQ_OK && (err = log_iter_next(&it, &slice, &fault)) == KQ_OK) {
        check_entry(node, &slice);
        node->checked_idx = slice.idx;
    }
    if (err == KQ_CORRUPT || err == KQ_IO)
        group_fail(node->group, "node %d cannot be read: %s", node->number, fault_text(&fault));
}

/* ---- time -------------------------------------------------------------------------------- */

static bool run_jobs(struct group_node *node)
{
    struct group *group = node->group;
    bool ran = false;
    for (int lane = 0; lane < LOG_LANE_COUNT; lane++) {
        if (!node->pump.job_out[lane])
            continue;
        if (node->job_at_us[lane] == 0)
            node->job_at_us[lane] = group->now_us + 50 + (int64_t)group_random(group, (uint64_t)group->disk_us);
        if (node->job_at_us[lane] > group->now_us)
            continue;
        node->job_at_us[lane] = 0;
        ran = pump_run_job(&node->pump, (enum log_lane)lane) || ran;
    }
    return ran;
}

static void look_at_links(struct group_node *node)
{
    struct group *group = node->group;
    if (!group->links)
        return;
    for (int n = 0; n < GROUP_NODES_MAX; n++) {
        struct group_node *other = &group->nodes[n];
        if (n == node->number || !other->up)
            continue;
        bool cut = group->cut[n][node->number] || group->cut[node->number][n];
        struct actor_peer_mail *mail = calloc(1, sizeof *mail);
        REQUIRE(mail != NULL);
        mail->mail.kind = MAIL_PEER;
        mail->member = node->news.self;
        mail->term = node->news.term;
        mail->news = cut ? ACTOR_PEER_LEADER_GONE : ACTOR_PEER_CLAIM;
        mail->on = true;
        mail_list_append(&other->pump.control, &mail->mail);
        struct actor_peer_mail *link = calloc(1, sizeof *link);
        REQUIRE(link != NULL);
        link->mail.kind = MAIL_PEER;
        link->member = other->news.self;
        link->news = ACTOR_PEER_LINK;
        link->on = !cut;
        mail_list_append(&node->pump.control, &link->mail);
    }
}

static void stop_claiming(struct group_node *node, uint64_t term)
{
    struct group *group = node->group;
    for (int n = 0; n < GROUP_NODES_MAX && group->links; n++) {
        if (n == node->number || !group->nodes[n].up)
            continue;
        struct actor_peer_mail *mail = calloc(1, sizeof *mail);
        REQUIRE(mail != NULL);
        mail->mail.kind = MAIL_PEER;
        mail->news = ACTOR_PEER_CLAIM;
        mail->member = node->news.self;
        mail->term = term;
        mail_list_append(&group->nodes[n].pump.control, &mail->mail);
    }
}

static void turn(struct group_node *node)
{
    struct group *group = node->group;
    struct pump *pump = &node->pump;
    pump->now.wall_ms += (group->now_us - pump->now.mono_us) / 1000;
    pump->now.mono_us = group->now_us;
    int64_t deadline_us = actor_deadline_us(pump->actor);
    if (deadline_us < node->armed_us)
        node->armed_us = deadline_us; /* never taken back, as the engine's */
    bool due = node->armed_us <= group->now_us;
    if (due) {
        mail_list_append(&pump->control, &node->tick);
        node->armed_us = CLOCK_NEVER;
    }
    bool data = pump->data.first != NULL && actor_wants_data(pump->actor);
    if (pump->control.first == NULL && !data)
        return;
    uint64_t term = node->news.term;
    bool led = node->news.leads;
    pump_turn(pump);
    check_node(node);
    if (node->news.leads && (!led || term != node->news.term))
        look_at_links(node);
    if (led && !node->news.leads)
        stop_claiming(node, term);
    struct partition_status status;
    actor_status(pump->actor, &status);
    if (status.state == PARTITION_FAILED && !node->failed)
        group_fail(group, "node %d failed: %s", node->number, fault_text(&status.fault));
}

void group_step(struct group *group)
{
    int64_t before_ms = group->now_us / (int64_t)(50 * 1000);
    group->now_us += 100 + (int64_t)group_random(group, 900);
    bool beat = group->now_us / (int64_t)(50 * 1000) != before_ms;
    group_deliver(group);
    for (int n = 0; n < GROUP_NODES_MAX && !group->failed; n++) {
        struct group_node *node = &group->nodes[n];
        node->tick.kind = MAIL_TICK;
        if (!node->up)
            continue;
        (void)run_jobs(node);
        if (beat && node->news.leads)
            look_at_links(node);
        turn(node);
    }
}

void group_run(struct group *group, int64_t ms)
{
    int64_t end_us = group->now_us + ms * 1000;
    while (group->now_us < end_us && !group->failed)
        group_step(group);
}

int group_leader(const struct group *group)
{
    int leader = -1;
    for (int n = 0; n < GROUP_NODES_MAX; n++)
        if (group->nodes[n].up && group->nodes[n].news.leads &&
            (leader < 0 || group->nodes[n].news.term > group->nodes[leader].news.term))
            leader = n;
    return leader;
}

int group_wait_leader(struct group *group, int64_t ms)
{
    int64_t end_us = group->now_us + ms * 1000;
    while (group->now_us < end_us && !group->failed && group_leader(group) < 0)
        group_step(group);
    return group_leader(group);
}

static bool is_even(const struct group *group)
{
    int leader = group_leader(group);
    if (leader < 0)
        return false;
    int64_t end_off = log_view_high_watermark(group->nodes[leader].pump.view);
    for (int n = 0; n < GROUP_NODES_MAX; n++) {
        const struct group_node *node = &group->nodes[n];
        bool wanted = group->target_count == 0 ? n < group->founders : false;
        for (uint32_t i = 0; i < group->target_count; i++)
            wanted = wanted || group->target[i].member.broker_id == (uint32_t)n + 1;
        if (node->up && wanted && log_view_high_watermark(node->pump.view) != end_off)
            return false;
    }
    return true;
}

bool group_wait_publishes(struct group *group, int64_t ms)
{
    int64_t end_us = group->now_us + ms * 1000;
    bool all = false;
    while (group->now_us < end_us && !group->failed && !all) {
        group_step(group);
        all = true;
        for (uint32_t i = 0; i < group->publish_count; i++)
            all = all && group->publishes[i].publish.done;
        for (uint32_t i = 0; i < group->call_count; i++)
            all = all && group->calls[i].done;
    }
    return all;
}

bool group_wait_even(struct group *group, int64_t ms)
{
    int64_t end_us = group->now_us + ms * 1000;
    int64_t since_us = group->now_us;
    while (group->now_us < end_us && !group->failed) {
        group_step(group);
        if (!is_even(group))
            since_us = group->now_us;
        else if (group->now_us - since_us > 300 * 1000)
            return true;
    }
    return false;
}

void group_show(const struct group *group)
{
    for (int n = 0; n < GROUP_NODES_MAX; n++) {
        const struct group_node *node = &group->nodes[n];
        if (!node->up || node->pump.actor == NULL)
            continue;
        const struct actor *a = node->pump.actor;
        const struct raft *r = &a->raft;
        (void)fprintf(
            stderr,
            "node %d incarnation %u: role %d term %llu leader %u%s log %llu..%llu/%llu flushed %llu commit %llu "
            "config %llu vote %u deadline %lld now %lld amnesiac %d room_wanted %d noop %d parcels %zu "
            "held %u stopping %d jobs %d data %zu waiting %zu inflight %zu due %lld\n",
            n, node->incarnation, (int)r->role, (unsigned long long)r->term, r->leader.broker_id,
            r->claimed ? " (claimed)" : "", (unsigned long long)r->base_idx, (unsigned long long)r->last_idx,
            (unsigned long long)r->last_term, (unsigned long long)r->flushed_idx, (unsigned long long)r->commit_idx,
            (unsigned long long)r->config.idx, r->vote.broker_id, (long long)raft_deadline_us(r),
            (long long)group->now_us, r->amnesiac, a->room_wanted, a->noop_wanted, a->parcels.count, a->held_count,
            a->stopping, a->jobs_out, node->pump.data.count, a->waiting.count, a->inflight.count,
            (long long)actor_deadline_us(a));
        for (uint32_t i = 0; i < r->config.count; i++)
            (void)fprintf(
                stderr, "    seat %u/%u kinds %u match %llu next %llu state %u paused %d stalled %d linked %d\n",
                r->config.seats[i].member.broker_id, r->config.seats[i].member.incarnation.bytes[0],
                r->config.seats[i].kinds, (unsigned long long)r->peers[i].match, (unsigned long long)r->peers[i].next,
                r->peers[i].state, r->peers[i].paused, r->peers[i].stalled, r->peers[i].linked);
    }
}

static bool asked;

static void mend_done(struct partition_mend *mend)
{
    (void)mend;
    asked = true;
}

enum kq_err group_mend(struct group *group, int n, int from)
{
    enum { MEND_MAX = 64 };
    struct group_node *node = &group->nodes[n];
    struct log_slice slices[MEND_MAX];
    struct buf bodies[MEND_MAX];
    struct fault fault = {0};
    uint32_t count = 0;
    for (uint64_t idx = node->damage_first; idx <= node->damage_last && count < MEND_MAX; idx++, count++) {
        buf_init(&bodies[count], 1 << 20);
        REQUIRE(log_read(group->nodes[from].pump.actor->log, idx, &slices[count], &bodies[count], &fault) == KQ_OK);
    }
    struct partition_mend mend = {.mail = {.kind = MAIL_MEND}, .entries = slices, .count = count, .done = mend_done};
    node->damage_first = 0;
    asked = false;
    mail_list_append(&node->pump.control, &mend.mail);
    for (int i = 0; i < 100 && !asked; i++)
        group_step(group);
    REQUIRE(asked);
    for (uint32_t i = 0; i < count; i++)
        buf_fini(&bodies[i]);
    return mend.fault.err;
}

bool group_is_amnesiac(const struct group *group, int n)
{
    return group->nodes[n].up && group->nodes[n].pump.actor->raft.amnesiac;
}

/* ---- asking it for something ------------------------------------------------------------------ */

static void post_publish(struct group *group, int n, struct group_publish *publish, int64_t producer_id,
                         int32_t sequence)
{
    char value[8192];
    memset(value, 'a' + (int)(publish->number % 26), publish->bytes);
    (void)snprintf(value, 16, "%u", publish->number);
    pump_publish(&group->nodes[n].pump, &publish->publish, value, publish->bytes, producer_id, sequence);
    publish->publish.request.deadline_us = group->now_us + 3000 * 1000;
}

struct group_publish *group_publish(struct group *group, int n, size_t bytes, int64_t producer_id, int32_t sequence)
{
    REQUIRE(group->publish_count < GROUP_PUBLISHES_MAX);
    struct group_publish *publish = &group->publishes[group->publish_count];
    publish->bytes = bytes < 16 ? 16 : bytes > 8000 ? 8000 : bytes;
    publish->number = group->publish_count++;
    post_publish(group, n, publish, producer_id, sequence);
    return publish;
}

void group_publish_again(struct group *group, int n, struct group_publish *publish, int64_t producer_id,
                         int32_t sequence)
{
    REQUIRE(publish->publish.done);
    publish->maybe = publish->maybe || publish->publish.err == KQ_OUTCOME_UNKNOWN;
    post_publish(group, n, publish, producer_id, sequence);
}

static void call_done(struct machine_call *base)
{
    struct toy_call *call = (struct toy_call *)(void *)base;
    REQUIRE(!call->done);
    call->done = true;
    call->err = base->fault.err;
}

struct toy_call *group_call(struct group *group, int n)
{
    REQUIRE(group->call_count < GROUP_CALLS_MAX);
    struct toy_call *call = &group->calls[group->call_count];
    *call = (struct toy_call){.number = group->call_count++};
    call->call.done = call_done;
    call->call.mail = (struct mail){.kind = MAIL_CALL, .size_bytes = 256};
    mail_list_append(&group->nodes[n].pump.data, &call->call.mail);
    return call;
}

static void ask_done(struct partition_ask *ask)
{
    (void)ask;
    asked = true;
}

void group_ask(struct group *group, int n, struct partition_ask *ask)
{
    asked = false;
    ask->done = ask_done;
    ask->deadline_us = group->now_us + 2000 * 1000;
    ask->mail = (struct mail){.kind = MAIL_ASK, .size_bytes = 64};
    mail_list_append(&group->nodes[n].pump.control, &ask->mail);
    for (int i = 0; i < 10000 && !asked && !group->failed; i++)
        group_step(group);
    if (!asked)
        group_fail(group, "node %d does not answer a question", n);
}

/* ---- the last judgement --------------------------------------------------------------------------- */

/* Where each message stands; -1: nowhere. */
struct places {
    int64_t at[GROUP_PUBLISHES_MAX];
    uint32_t times[GROUP_PUBLISHES_MAX];
};

static void note_records(struct group *group, const struct log_slice *slice, struct places *places)
{
    struct cursor at = cursor_over(slice->body, slice->body_bytes);
    while (cursor_left(&at) > 0) {
        struct batch_info info;
        const uint8_t *batch;
        struct record_walk walk;
        struct record record;
        if (batch_next(&at, &info, &batch) != KQ_OK || !batch_crc_ok(batch, &info)) {
            group_fail(group, "a batch in entry %llu is not whole", (unsigned long long)slice->idx);
            return;
        }
        record_walk_init(&walk, batch, &info);
        while (record_walk_next(&walk, &record) == KQ_OK) {
            unsigned long number = strtoul((const char *)record.value.data, NULL, 10);
            REQUIRE(number < group->publish_count);
            places->at[number] = record.off;
            places->times[number]++;
        }
    }
}

static void find_places(struct group *group, struct group_node *node, struct places *places, int64_t *start_off)
{
    struct log_iter it;
    struct log_slice slice;
    struct fault fault = {0};
    for (uint32_t i = 0; i < GROUP_PUBLISHES_MAX; i++) {
        places->at[i] = -1;
        places->times[i] = 0;
    }
    *start_off = log_view_start_off(node->pump.view);
    enum kq_err err = log_iter_seek(&it, node->pump.view, *start_off);
    while (err == KQ_OK && (err = log_iter_next(&it, &slice, &fault)) == KQ_OK)
        if (slice.type == LOG_ENTRY_RECORDS)
            note_records(group, &slice, places);
    if (err != KQ_EOF)
        group_fail(group, "node %d: reading it all: %s: %s", node->number, err_name(err), fault_text(&fault));
}

static void judge_publish(struct group *group, int n, const struct group_publish *publish, const struct places *places,
                          int64_t start_off, int64_t end_off)
{
    uint32_t i = publish->number;
    const struct pump_publish *p = &publish->publish;
    if (!p->done)
        group_fail(group, "message %u was never answered", i);
    if (places->times[i] > 1)
        group_fail(group, "node %d has message %u %u times", n, i, places->times[i]);
    if (p->err == KQ_OK && p->base_off >= start_off && p->base_off < end_off && places->at[i] != p->base_off)
        group_fail(group, "node %d: message %u was acknowledged at %lld and stands at %lld", n, i,
                   (long long)p->base_off, (long long)places->at[i]);
    if (p->err != KQ_OK && p->err != KQ_OUTCOME_UNKNOWN && !publish->maybe && places->times[i] > 0)
        group_fail(group, "node %d has message %u, which was refused: %s", n, i, err_name(p->err));
}

void group_check(struct group *group)
{
    struct places *places = malloc(sizeof *places);
    REQUIRE(places != NULL);
    for (int n = 0; n < GROUP_NODES_MAX && !group->failed; n++) {
        struct group_node *node = &group->nodes[n];
        if (!node->up || group->machine)
            continue;
        int64_t start_off;
        find_places(group, node, places, &start_off);
        /* Who leads has everything; who follows may be behind. */
        int leader = group_leader(group);
        int64_t end_off = n == leader ? INT64_MAX : log_view_high_watermark(node->pump.view);
        if (leader >= 0 && node->pump.actor->raft.commit_idx == group->nodes[leader].pump.actor->raft.commit_idx &&
            start_off != log_view_start_off(group->nodes[leader].pump.view))
            group_fail(group, "node %d begins at %lld, its leader at %lld", n, (long long)start_off,
                       (long long)log_view_start_off(group->nodes[leader].pump.view));
        for (uint32_t i = 0; i < group->publish_count; i++)
            judge_publish(group, n, &group->publishes[i], places, start_off, end_off);
    }
    free(places);
    for (uint32_t i = 0; i < group->call_count && !group->failed; i++) {
        const struct toy_call *call = &group->calls[i];
        if (!call->done)
            group_fail(group, "call %u was never answered", i);
        else if (call->err == KQ_OK && group->chains[call->count_after] != 0 &&
                 group->chains[call->count_after] != call->chain_after)
            group_fail(group, "call %u was acknowledged as number %llu: something else is there", i,
                       (unsigned long long)call->count_after);
    }
}
