#include "support/log_life.h"

#include "base/logger.h"
#include "support/unit.h"

#include <errno.h>
#include <stdio.h>

enum { STEPS = 36 };

static struct life_version *now(struct life *k)
{
    return &k->v[k->count - 1];
}

static uint64_t chance(struct life *k)
{
    k->random = k->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return k->random >> 33;
}

static bool over(const struct life *k)
{
    return io_mem_is_cut(k->mem) || k->rig.failed != KQ_OK || k->rig.log == NULL;
}

static uint64_t term_at(const struct life_version *v, uint64_t idx)
{
    return idx == v->base_idx ? v->base_term : v->term_of[idx];
}

static void state_text(const struct life_version *v, uint64_t idx, char text[LIFE_TEXT_BYTES])
{
    (void)snprintf(text, LIFE_TEXT_BYTES, "state at %llu of term %llu", (unsigned long long)idx,
                   (unsigned long long)term_at(v, idx));
}

/* ---- appending ------------------------------------------------------------------------ */

static int count_of(uint64_t idx, uint64_t term)
{
    return 1 + (int)((idx + term) % 3);
}

static void make_body(struct buf *b, uint64_t idx, uint64_t term, int64_t off)
{
    static uint8_t value[8192];
    struct batch_maker m;
    int count = count_of(idx, term);
    size_t size = (size_t)((idx * 2654435761u + term * 40503u) % (idx % 11 == 0 ? 7000 : 500));
    memset(value, (int)(idx * 31 + term), size);
    batch_begin(&m, b, (int64_t)(1000 + idx));
    for (int i = 0; i < count; i++)
        batch_add(&m, (int64_t)(1000 + idx), slice_of(NULL, 0), slice_of(value, size), NULL, slice_of(NULL, 0));
    batch_end(&m, -1, -1, -1);
    batch_place(b->data, off, (int32_t)term);
}

void life_take_news(struct life *k)
{
    if (k->rig.log == NULL || k->rig.flushed_cuts != log_cuts(k->rig.log))
        return;
    struct life_version *v = now(k);
    if (k->count > 1) { /* the cut is durable: no older one may come back */
        k->v[0] = *v;
        k->count = 1;
        v = now(k);
    }
    CU_ASSERT_TRUE(k->rig.flushed_idx <= v->appended_idx);
    CU_ASSERT_EQUAL(k->rig.flushed_term, term_at(v, k->rig.flushed_idx));
    if (k->rig.flushed_idx > v->acked_idx)
        v->acked_idx = k->rig.flushed_idx;
}

static void give_roll_state(struct life *k)
{
    state_text(now(k), log_last_idx(k->rig.log), k->roll_state);
    k->rig.roll_state = k->roll_state;
    k->rig.roll_state_bytes = strlen(k->roll_state) + 1;
}

static void step(struct life *k)
{
    give_roll_state(k);
    log_rig_step(&k->rig, (enum log_lane)(chance(k) % 2));
    life_take_news(k);
}

void life_run_lane(struct life *k, enum log_lane lane)
{
    if (k->lag) {
        for (uint64_t i = chance(k) % 5; i > 0 && !over(k); i--)
            step(k);
        return;
    }
    give_roll_state(k);
    log_rig_run(&k->rig, lane);
    life_take_news(k);
}

void life_append(struct life *k)
{
    struct log *log = k->rig.log;
    struct life_version *v = now(k);
    uint64_t idx = log_last_idx(log) + 1;
    uint64_t term = k->rig.term;
    int64_t off = log_next_off(log);
    bool noop = chance(k) % 6 == 0;
    if (idx + 1 >= LIFE_IDX_MAX)
        return;
    struct buf b;
    buf_init(&b, 1 << 20);
    struct iovec body;
    struct log_entry e = {.type = LOG_ENTRY_NOOP, .max_time_ms = -1};
    if (!noop) {
        make_body(&b, idx, term, off);
        body = (struct iovec){b.data, b.len};
        e = (struct log_entry){.type = LOG_ENTRY_RECORDS,
                               .record_count = (uint32_t)count_of(idx, term),
                               .max_time_ms = (int64_t)(1000 + idx),
                               .body = &body,
                               .body_count = 1,
                               .body_bytes = (uint32_t)b.len};
    }
    e.term = term;
    e.idx = idx;
    e.first_off = off;
    e.old = idx / 20 % 2 == 1; /* space is zeroed, or reserved */
    give_roll_state(k);
    enum kq_err err = log_append(log, &e);
    for (int i = 0; i < 200 && err == KQ_AGAIN && !over(k); i++) {
        k->seen.waited++;
        if (k->lag) {
            step(k);
        } else {
            life_run_lane(k, LOG_LANE_FLUSH);
            life_run_lane(k, LOG_LANE_KEEP);
        }
        v = now(k);
        err = log_append(log, &e);
    }
    buf_fini(&b);
    CU_ASSERT_TRUE(err != KQ_AGAIN || over(k) || k->faulty);
    if (err == KQ_AGAIN || err == KQ_NO_SPACE) /* refused: it must never be seen */
        return;
    if (err != KQ_OK)
        k->rig.failed = err;
    v->term_of[idx] = term; /* done, or perhaps */
    v->noop_at[idx] = noop;
    v->off_of[idx] = off;
    v->off_of[idx + 1] = off + (noop ? 0 : count_of(idx, term));
    v->appended_idx = idx;
    if (err == KQ_OK && k->lag && chance(k) % 2 == 0)
        step(k);
}

/* ---- what else a life is made of ---------------------------------------------------------- */

static void commit(struct life *k)
{
    struct life_version *v = now(k);
    uint64_t idx = v->acked_idx < log_last_idx(k->rig.log) ? v->acked_idx : log_last_idx(k->rig.log);
    if (idx > now(k)->commit_idx)
        now(k)->commit_idx += 1 + chance(k) % (idx - now(k)->commit_idx);
    if (now(k)->commit_idx <= log_last_idx(k->rig.log))
        log_set_commit(k->rig.log, now(k)->commit_idx);
}

static struct life_version *fork_version(struct life *k)
{
    CU_ASSERT_FATAL(k->count < LIFE_VERSIONS_MAX);
    k->v[k->count] = *now(k);
    return &k->v[k->count++];
}

struct behind {
    int64_t off;
    uint64_t later;
    bool at;
};

static void see_file(void *context, const char *path)
{
    struct behind *b = context;
    const char *name = strrchr(path, '/') + 1;
    char *end;
    int64_t off = strtoll(name, &end, 10);
    if (strcmp(end, ".log") != 0 || end == name)
        return;
    b->later += off > b->off;
    b->at |= off == b->off;
}

static void note_kind(struct life *k, uint64_t from)
{
    struct behind b = {.off = now(k)->off_of[from]};
    io_mem_each(k->mem, see_file, &b);
    k->seen.inside += !b.at && b.later == 0;
    k->seen.border += b.at;
    k->seen.across += !b.at && b.later == 1;
    k->seen.far += !b.at && b.later > 1;
    k->seen.emptied += from == log_first_idx(k->rig.log);
    k->seen.twice += k->count > 1;
}

static void cut_from(struct life *k, uint64_t from)
{
    note_kind(k, from);
    struct life_version *v = fork_version(k);
    v->appended_idx = from - 1;
    if (v->acked_idx >= from)
        v->acked_idx = from - 1;
    uint64_t cuts = log_cuts(k->rig.log);
    if (log_truncate(k->rig.log, from) != KQ_OK) {
        k->rig.failed = KQ_IO; /* the index was to be read, and could not be */
        k->count--;
        return;
    }
    struct log *log = k->rig.log;
    CU_ASSERT_EQUAL(log_cuts(log), cuts + 1);
    CU_ASSERT_EQUAL(log_last_idx(log), from - 1);
    CU_ASSERT_EQUAL(log_last_term(log), term_at(v, from - 1));
    CU_ASSERT_EQUAL(log_next_off(log), v->off_of[from]);
    CU_ASSERT_TRUE(log_flushed_idx(log) < from);
    CU_ASSERT_EQUAL(log_make_room(log, LOG_ENTRY_NOOP, 0), KQ_AGAIN);
    k->rig.term += chance(k) % 2; /* another leader's entries; those of the same term, too: the log is not to mind */
}

static void truncate_some(struct life *k)
{
    uint64_t low = now(k)->commit_idx + 1;
    uint64_t last = log_last_idx(k->rig.log);
    if (low < log_first_idx(k->rig.log))
        low = log_first_idx(k->rig.log);
    if (last < low)
        return;
    uint64_t span = last - low + 1;
    uint64_t from = low;
    uint64_t how = chance(k) % 4;
    if (how == 1)
        from = last - chance(k) % (span < 4 ? span : 4);
    else if (how != 0)
        from = low + chance(k) % span;
    cut_from(k, from);
}

static void reset(struct life *k)
{
    struct life_version *v = now(k);
    uint64_t prev = now(k)->commit_idx + 1 + chance(k) % 20;
    if (chance(k) % 3 == 0)
        prev = v->appended_idx + chance(k) % 10 + 1;
    if (prev <= now(k)->commit_idx || prev + 60 >= LIFE_IDX_MAX)
        return;
    /* Often where a segment of this log begins, so that names are met again. */
    int64_t next_off = prev < v->appended_idx && prev > v->base_idx ? v->off_of[prev + 1] : (int64_t)(prev * 2);
    k->rig.term += 1;
    v = fork_version(k);
    v->base_idx = v->acked_idx = v->appended_idx = prev;
    v->base_term = k->rig.term;
    v->off_of[prev + 1] = next_off;
    char text[LIFE_TEXT_BYTES];
    state_text(v, prev, text);
    struct log_reset_to to = {prev, v->base_term, next_off, next_off, text, strlen(text) + 1};
    enum kq_err err = log_reset(k->rig.log, &to);
    if (err != KQ_OK) { /* it had failed already */
        CU_ASSERT_TRUE(k->faulty || io_mem_is_cut(k->mem));
        k->rig.failed = err;
        k->count--;
        return;
    }
    v->commit_idx = prev;
    v->start_off = next_off;
    k->seen.resets++;
    struct log *log = k->rig.log;
    CU_ASSERT_EQUAL(log_first_idx(log), prev + 1);
    CU_ASSERT_EQUAL(log_last_idx(log), prev);
    CU_ASSERT_EQUAL(log_last_term(log), v->base_term);
    CU_ASSERT_EQUAL(log_term_at(log, prev), v->base_term);
    CU_ASSERT_EQUAL(log_next_off(log), next_off);
    log_set_commit(log, prev);
}

static void snapshot(struct life *k)
{
    char text[LIFE_TEXT_BYTES];
    struct life_version *v = now(k);
    if (now(k)->commit_idx <= v->base_idx)
        return;
    commit(k);
    state_text(v, now(k)->commit_idx, text);
    enum kq_err err = log_store_snapshot(k->rig.log, now(k)->commit_idx, text, strlen(text) + 1);
    CU_ASSERT_TRUE(err == KQ_OK || err == KQ_AGAIN);
    life_run_lane(k, LOG_LANE_KEEP);
}

static void shrink(struct life *k)
{
    bool rolls;
    int64_t next_ms;
    int64_t start = log_retention_start(k->rig.log, 12000, -1, 0, &rolls, &next_ms);
    if (k->count > 1)
        return; /* what would be deleted may be of another version */
    now(k)->start_off = start;
    log_set_start(k->rig.log, start);
    life_run_lane(k, LOG_LANE_KEEP);
}

static void vote(struct life *k)
{
    struct log_hard_state s = *log_hard_state(k->rig.log);
    s.term = ++k->hard_asked;
    s.commit_idx = now(k)->commit_idx;
    uint64_t version = log_set_hard_state(k->rig.log, &s);
    k->rig.hard_state_version = 0;
    life_run_lane(k, LOG_LANE_FLUSH);
    if (k->rig.hard_state_version >= version)
        k->hard_acked = k->hard_asked;
}

bool life_open(struct life *k)
{
    return log_rig_open(&k->rig) == KQ_OK;
}

static void close_it(struct life *k)
{
    char text[LIFE_TEXT_BYTES];
    state_text(now(k), now(k)->appended_idx, text);
    log_rig_drain(&k->rig);
    life_take_news(k);
    bool failed = k->rig.failed != KQ_OK;
    log_close(&k->rig.log, text, strlen(text) + 1);
    if (io_mem_is_cut(k->mem) || k->faulty || failed)
        return;
    k->v[0] = *now(k); /* a close does what was asked for */
    k->count = 1;
    k->v[0].acked_idx = k->v[0].appended_idx;
    k->hard_acked = k->hard_asked;
}

static void live(struct life *k, int steps)
{
    for (int i = 0; i < steps && !over(k); i++) {
        uint64_t what = chance(k) % 40;
        k->rig.now_us += 50000;
        if (what < 20)
            for (uint64_t n = 1 + chance(k) % 4; n > 0 && !over(k); n--)
                life_append(k);
        else if (what < 26)
            life_run_lane(k, LOG_LANE_FLUSH);
        else if (what < 29)
            commit(k);
        else if (what < 33)
            truncate_some(k);
        else if (what == 33)
            reset(k);
        else if (what == 34)
            log_force_roll(k->rig.log);
        else if (what == 35)
            vote(k);
        else if (what == 36)
            snapshot(k);
        else if (what == 37)
            shrink(k);
        else if (what == 38)
            k->rig.term++;
        else
            life_run_lane(k, LOG_LANE_KEEP);
    }
}

void life_script(struct life *k)
{
    for (int life = 0; life < 3 && !io_mem_is_cut(k->mem); life++) {
        if (!life_open(k))
            return;
        if (now(k)->commit_idx <= log_last_idx(k->rig.log))
            log_set_commit(k->rig.log, now(k)->commit_idx);
        k->rig.term++;
        live(k, STEPS);
        bool failed = k->rig.failed != KQ_OK;
        close_it(k);
        if (failed)
            return;
    }
}

/* ---- what must hold ----------------------------------------------------------------------- */

static bool is_version(struct life *k, const struct life_version *v)
{
    struct log *log = k->rig.log;
    uint64_t last = log_last_idx(log);
    uint64_t first = log_first_idx(log);
    if (last < v->acked_idx || last > v->appended_idx || first <= v->base_idx || last + 1 < first)
        return false;
    if (first > v->base_idx + 1 && (first - 1 > v->commit_idx || v->off_of[first] > v->start_off))
        return false;
    if (log_next_off(log) != v->off_of[last + 1] || (last > 0 && log_last_term(log) != term_at(v, last)) ||
        (first > 1 && log_term_at(log, first - 1) != term_at(v, first - 1)))
        return false;
    struct buf b;
    struct buf body;
    struct log_slice s;
    buf_init(&b, 1 << 20);
    buf_init(&body, 1 << 20);
    bool same = true;
    for (uint64_t idx = first; same && idx <= last; idx++) {
        buf_reset(&b);
        if (!v->noop_at[idx])
            make_body(&b, idx, v->term_of[idx], v->off_of[idx]);
        same = log_read(log, idx, &s, &body, &k->rig.fault) == KQ_OK && s.idx == idx && s.term == v->term_of[idx] &&
               s.first_off == v->off_of[idx] && log_term_at(log, idx) == s.term && s.body_bytes == b.len &&
               (b.len == 0 || memcmp(s.body, b.data, b.len) == 0);
    }
    buf_fini(&b);
    buf_fini(&body);
    return same;
}

static bool state_fits(struct life *k, const struct life_version *v, uint64_t max)
{
    struct log *log = k->rig.log;
    void *state;
    size_t size;
    uint64_t at_idx;
    char text[LIFE_TEXT_BYTES] = "";
    bool fit = log_stored_state_at(log, max, &state, &size, &at_idx, &k->rig.fault) == KQ_OK && at_idx <= max;
    if (fit && state != NULL) {
        state_text(v, at_idx, text);
        fit = size == strlen(text) + 1 && memcmp(state, text, size) == 0;
    }
    if (max >= log_hard_state(log)->commit_idx) /* nothing that is deleted is missed */
        fit = fit && at_idx + 1 >= log_first_idx(log);
    if (!fit)
        fprintf(stderr, "asked for the state at %llu (commit %llu): got that of %llu: %s, expected %s\n",
                (unsigned long long)max, (unsigned long long)v->commit_idx, (unsigned long long)at_idx,
                state != NULL ? (const char *)state : "none", text);
    free(state);
    return fit;
}

static bool states_fit(struct life *k, const struct life_version *v)
{
    uint64_t last = log_last_idx(k->rig.log);
    uint64_t hint = log_hard_state(k->rig.log)->commit_idx;
    bool fit = state_fits(k, v, last) && (hint > last || state_fits(k, v, hint));
    for (uint64_t max = v->base_idx; fit && max < last; max += 9) /* each is read from a file */
        fit = state_fits(k, v, max);
    return fit;
}

static bool runs_fit(struct life *k, const struct life_version *v)
{
    struct log_run runs[64];
    struct log *log = k->rig.log;
    uint32_t count = log_term_runs(log, runs, 64);
    uint64_t idx = log_first_idx(log);
    bool fit = true;
    for (uint32_t i = 0; i < count && fit; i++) {
        fit = runs[i].first_idx == idx && runs[i].term == term_at(v, idx);
        while (idx <= log_last_idx(log) && term_at(v, idx) == runs[i].term)
            idx++;
    }
    return fit && idx == log_last_idx(log) + 1;
}

/* Which version it is becomes the only one. */
bool life_check(struct life *k)
{
    struct log *log = k->rig.log;
    int found = k->count - 1;
    while (found >= 0 && !is_version(k, &k->v[found]))
        found--;
    if (found < 0) {
        fprintf(stderr, "the log (%llu to %llu, next offset %lld) is none of %d:\n",
                (unsigned long long)log_first_idx(log), (unsigned long long)log_last_idx(log),
                (long long)log_next_off(log), k->count);
        for (int i = 0; i < k->count; i++)
            fprintf(stderr, "  behind %llu, acked %llu, appended %llu, start offset %lld commit %llu\n",
                    (unsigned long long)k->v[i].base_idx, (unsigned long long)k->v[i].acked_idx,
                    (unsigned long long)k->v[i].appended_idx, (long long)k->v[i].start_off,
                    (unsigned long long)k->v[i].commit_idx);
        return false;
    }
    if (found > 0)
        k->v[0] = k->v[found];
    k->count = 1;
    struct life_version *v = now(k);
    v->acked_idx = v->appended_idx = log_last_idx(log);
    bool states = states_fit(k, v);
    bool runs = runs_fit(k, v);
    bool fine = states && runs;
    if (!fine)
        fprintf(stderr, "log %llu to %llu: states %s, terms %s\n", (unsigned long long)log_first_idx(log),
                (unsigned long long)log_last_idx(log), states ? "fit" : "do not fit", runs ? "fit" : "do not fit");
    if (log_hard_state(log)->commit_idx > v->commit_idx) {
        fprintf(stderr, "entry %llu is said to be committed\n", (unsigned long long)log_hard_state(log)->commit_idx);
        fine = false;
    }
    bool voted = log_hard_state(log)->term >= k->hard_acked && log_hard_state(log)->term <= k->hard_asked;
    return fine && voted;
}

bool life_go_on(struct life *k)
{
    k->hard_acked = k->hard_asked = log_hard_state(k->rig.log)->term;
    k->rig.term += 10;
    if (now(k)->commit_idx <= log_last_idx(k->rig.log))
        log_set_commit(k->rig.log, now(k)->commit_idx);
    live(k, 6);
    life_append(k);
    if (over(k))
        return false;
    close_it(k);
    if (!life_open(k))
        return false;
    bool clean = k->rig.report.scanned_bytes == 0 && k->rig.report.cut_bytes == 0;
    if (!clean)
        fprintf(stderr, "it was not closed cleanly\n");
    bool fine = clean && life_check(k);
    life_append(k);
    log_rig_drain(&k->rig);
    log_rig_flush(&k->rig);
    life_take_news(k);
    fine = fine && life_check(k);
    log_close(&k->rig.log, NULL, 0);
    return fine;
}

/* The power goes right after more was appended and flushed, cut or not. */
bool life_dies_again(struct life *k, enum io_mem_mercy mercy, uint64_t seed)
{
    k->rig.term += 10;
    if (now(k)->commit_idx <= log_last_idx(k->rig.log))
        log_set_commit(k->rig.log, now(k)->commit_idx);
    if (seed % 3 == 0)
        truncate_some(k);
    for (int i = 0; i < 3 && !over(k); i++)
        life_append(k);
    life_run_lane(k, LOG_LANE_FLUSH);
    bool alive = !over(k);
    io_mem_cut_at(k->mem, io_mem_calls(k->mem) + 1, mercy, seed);
    log_close(&k->rig.log, NULL, 0);
    io_mem_reboot(k->mem, mercy, seed);
    return alive && life_open(k) && life_check(k);
}

void life_begin(struct life *k, struct io_mem *mem, uint64_t seed, bool lag)
{
    memset(k, 0, offsetof(struct life, seen));
    k->mem = mem;
    k->count = 1;
    k->random = seed;
    k->lag = lag;
    log_rig_init(&k->rig, io_mem_io(mem), "/t-0");
    k->rig.options.segment_bytes = 6 * 1024;
    k->rig.options.prepare_min_bytes = 4096;
    k->rig.options.prepare_max_bytes = 8 * 1024;
}
