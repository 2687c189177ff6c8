/*
 * Damage in sealed segments, mended with what a peer has: bits flipped in bodies and
 * heads, alone and in rows, at both ends of a segment, with the index gone as well. What
 * does not fit is refused; the power goes and calls fail meanwhile; nothing unchecked
 * is ever served.
 */
#include "base/crc32c.h"
#include "log/entry.h"
#include "support/log_mem_rig.h"

#include <errno.h>
#include <stdio.h>

enum { ENTRIES = 60 };

/* What a peer would give: every entry as it was. */
static struct {
    struct log_slice slice;
    struct buf body;
} peer[ENTRIES + 1];

static void fill(void)
{
    start();
    logger_set_level(LOGGER_ERROR - 1);
    rig.options.segment_bytes = 4096;
    log_set_segment_bytes(rig.log, 4096);
    for (uint64_t idx = 1; idx <= ENTRIES; idx++) {
        rig.term = (idx - 1) / 10 + 1;
        char text[] = "a configuration";
        struct iovec body = {text, sizeof text};
        struct log_entry config = {
            .type = LOG_ENTRY_CONFIG, .max_time_ms = -1, .body = &body, .body_count = 1, .body_bytes = sizeof text};
        enum kq_err err = idx % 7 == 0    ? log_rig_append_entry(&rig, &config)
                          : idx % 5 == 0  ? log_rig_noop(&rig)
                          : idx % 13 == 0 ? log_rig_append(&rig, 3, 1500, 1000 + (int64_t)idx)
                                          : log_rig_append(&rig, 2, 60, 1000 + (int64_t)idx);
        CU_ASSERT_EQUAL_FATAL(err, KQ_OK);
    }
    log_rig_flush(&rig);
    log_set_commit(rig.log, ENTRIES);
    for (uint64_t idx = 1; idx <= ENTRIES; idx++) {
        if (peer[idx].body.limit == 0)
            buf_init(&peer[idx].body, 1 << 20);
        CU_ASSERT_EQUAL(log_read(rig.log, idx, &peer[idx].slice, &peer[idx].body, &rig.fault), KQ_OK);
    }
}

/* The segments of the log, as files. */
struct place_of {
    char path[64];
    int64_t first_off;
    uint64_t first_idx;
    uint64_t last_idx;
    uint64_t pos[ENTRIES + 2]; /* of each entry in it, and after the last */
};
static struct place_of places[ENTRIES];
static int place_count;

static uint64_t size_of(uint64_t idx)
{
    struct log_range range;
    CU_ASSERT_EQUAL(log_plan(rig.log, idx, idx, 0, &range), KQ_OK);
    return range.bytes;
}

static void find_places(void)
{
    place_count = 0;
    uint64_t pos = 0;
    for (uint64_t idx = 1; idx <= ENTRIES; idx++) {
        char path[64];
        (void)snprintf(path, sizeof path, "/t-0/%020lld.log", (long long)peer[idx].slice.first_off);
        uint64_t size;
        const uint8_t *bytes = io_mem_bytes(mem, path, &size);
        if (bytes != NULL && get_le64(bytes + 40) == idx) { /* its head says that it begins here */
            struct place_of *p = &places[place_count++];
            memcpy(p->path, path, sizeof path);
            p->first_off = peer[idx].slice.first_off;
            p->first_idx = idx;
            pos = 4096;
        }
        struct place_of *p = &places[place_count - 1];
        p->last_idx = idx;
        p->pos[idx] = pos;
        pos += size_of(idx);
        p->pos[idx + 1] = pos;
    }
    CU_ASSERT_TRUE_FATAL(place_count > 4);
}

/* A sealed one, not the first, with some entries. */
static const struct place_of *roomy(void)
{
    for (int i = 1; i + 2 < place_count; i++)
        if (places[i].last_idx - places[i].first_idx > 4)
            return &places[i];
    CU_FAIL_FATAL("no segment has entries enough");
    return NULL;
}

static void remove_index(const struct place_of *p)
{
    char path[64];
    (void)snprintf(path, sizeof path, "/t-0/%020lld.index", (long long)p->first_off);
    CU_ASSERT_EQUAL(io_mem_io(mem)->ops->unlink(io_mem_io(mem), path), 0);
    CU_ASSERT_EQUAL(io_mem_io(mem)->ops->sync_dir(io_mem_io(mem), "/t-0"), 0);
}

/* Reads all; the damaged ones are noticed, none is ever other than it was. */
static int read_all(void)
{
    struct buf body;
    struct log_slice s;
    int damaged = 0;
    buf_init(&body, 1 << 20);
    for (uint64_t idx = 1; idx <= ENTRIES; idx++) {
        enum kq_err err = log_read(rig.log, idx, &s, &body, &rig.fault);
        CU_ASSERT_TRUE(err == KQ_OK || err == KQ_CORRUPT);
        damaged += err != KQ_OK;
        const struct log_slice *was = &peer[idx].slice;
        if (err == KQ_OK)
            CU_ASSERT_TRUE(s.type == was->type && s.term == was->term && s.first_off == was->first_off &&
                           s.record_count == was->record_count && s.body_bytes == was->body_bytes &&
                           (s.body_bytes == 0 || memcmp(s.body, was->body, s.body_bytes) == 0));
    }
    buf_fini(&body);
    return damaged;
}

static enum kq_err repair(uint64_t first, uint64_t last)
{
    struct log_slice entries[ENTRIES];
    for (uint64_t idx = first; idx <= last; idx++)
        entries[idx - first] = peer[idx].slice;
    return log_repair(rig.log, entries, (uint32_t)(last - first + 1), &rig.fault);
}

/* Runs the repair; what log_done said of it. */
static enum kq_err run_repair(uint64_t last)
{
    struct log_job *job;
    enum kq_err err = KQ_AGAIN;
    while ((job = log_rig_next(&rig, LOG_LANE_KEEP)) != NULL) {
        struct log_done d;
        log_job_run(job);
        log_job_done(rig.log, job, &d);
        CU_ASSERT_EQUAL(d.err, KQ_OK);
        if (d.repaired_idx == 0)
            continue;
        CU_ASSERT_EQUAL(d.repaired_idx, last);
        err = d.repair_err;
    }
    return err;
}

/* Until there is no damage; returns how many repairs it took. */
static int mend_all(void)
{
    struct log_damage d;
    int count = 0;
    while (log_next_damage(rig.log, 0, &d) && count < ENTRIES) {
        CU_ASSERT_TRUE(d.sealed);
        enum kq_err err = repair(d.first_idx, d.last_idx);
        CU_ASSERT_EQUAL(err, KQ_OK);
        if (err != KQ_OK) {
            fprintf(stderr, "%s\n", fault_text(&rig.fault));
            return -1;
        }
        CU_ASSERT_EQUAL(run_repair(d.last_idx), KQ_OK);
        count++;
    }
    return count;
}

/* Closes, damages one place and opens again. */
static void damage(const struct place_of *p, uint64_t pos, bool no_index)
{
    done();
    flip(p->path, pos);
    if (no_index)
        remove_index(p);
    CU_ASSERT_EQUAL_FATAL(reopen(), KQ_OK);
}

static void every_entry_can_be_mended(void)
{
    fill();
    find_places();
    for (int i = 0; i + 1 < place_count; i++)
        for (uint64_t idx = places[i].first_idx; idx <= places[i].last_idx; idx++)
            for (int how = 0; how < 4; how++) {
                uint64_t at = how < 2 ? places[i].pos[idx] + 40 : places[i].pos[idx + 1] - 1;
                damage(&places[i], at, how % 2 == 1);
                CU_ASSERT_EQUAL(read_all(), 1);
                struct log_damage d;
                CU_ASSERT_TRUE_FATAL(log_next_damage(rig.log, 0, &d));
                CU_ASSERT_EQUAL(d.first_idx, idx);
                CU_ASSERT_EQUAL(d.last_idx, idx);
                CU_ASSERT_EQUAL(mend_all(), 1);
                CU_ASSERT_EQUAL(read_all(), 0);
                CU_ASSERT_FALSE(log_next_damage(rig.log, 0, &d));
            }
    done();
    CU_ASSERT_EQUAL(reopen(), KQ_OK);
    CU_ASSERT_EQUAL(read_all(), 0);
    done();
}

static void readers_are_told_and_served_again(void)
{
    fill();
    find_places();
    const struct place_of *p = roomy();
    uint64_t idx = p->first_idx + 1;
    damage(p, p->pos[idx + 1] - 1, false);
    struct log_view *view = log_view_take(rig.log);
    struct log_iter it;
    struct log_slice s;
    CU_ASSERT_FALSE(log_view_has_damage(view));
    CU_ASSERT_EQUAL(log_iter_seek_idx(&it, view, idx), KQ_OK);
    CU_ASSERT_EQUAL(log_iter_next(&it, &s, &rig.fault), KQ_CORRUPT);
    CU_ASSERT_TRUE(log_view_has_damage(view));
    CU_ASSERT_EQUAL(repair(idx, idx), KQ_OK);
    CU_ASSERT_EQUAL(repair(idx, idx), KQ_AGAIN);
    CU_ASSERT_EQUAL(log_iter_next(&it, &s, &rig.fault), KQ_CORRUPT);
    CU_ASSERT_EQUAL(run_repair(idx), KQ_OK);
    CU_ASSERT_EQUAL(log_iter_next(&it, &s, &rig.fault), KQ_AGAIN);
    CU_ASSERT_FALSE(log_view_has_damage(view));
    log_view_drop(&view);
    view = log_view_take(rig.log);
    CU_ASSERT_EQUAL(log_iter_seek_idx(&it, view, idx), KQ_OK);
    CU_ASSERT_EQUAL(log_iter_next(&it, &s, &rig.fault), KQ_OK);
    CU_ASSERT_EQUAL(memcmp(s.body, peer[idx].slice.body, s.body_bytes), 0);
    log_view_drop(&view);
    CU_ASSERT_EQUAL(repair(idx, idx), KQ_OK); /* once more does no harm */
    CU_ASSERT_EQUAL(run_repair(idx), KQ_OK);
    CU_ASSERT_EQUAL(read_all(), 0);
    crash(); /* it is on the disk */
    CU_ASSERT_EQUAL_FATAL(reopen(), KQ_OK);
    CU_ASSERT_EQUAL(read_all(), 0);
    done();
}

/* Two heads are gone; only the second of the entries was asked for. */
static void what_is_needed_may_begin_before_what_was_met(void)
{
    fill();
    find_places();
    const struct place_of *p = roomy();
    uint64_t idx = p->first_idx + 2;
    uint64_t size;
    done();
    uint8_t *bytes = io_mem_bytes(mem, p->path, &size);
    bytes[p->pos[idx] + 40] ^= 1;
    bytes[p->pos[idx + 1] + 40] ^= 1;
    make_durable(p->path);
    CU_ASSERT_EQUAL_FATAL(reopen(), KQ_OK);
    struct log_slice s;
    struct buf body;
    struct log_damage d;
    buf_init(&body, 1 << 20);
    CU_ASSERT_FALSE(log_next_damage(rig.log, 0, &d));
    CU_ASSERT_EQUAL(log_read(rig.log, idx + 1, &s, &body, &rig.fault), KQ_CORRUPT);
    CU_ASSERT_TRUE(log_next_damage(rig.log, 0, &d));
    CU_ASSERT_EQUAL(d.first_idx, idx);
    CU_ASSERT_EQUAL(d.last_idx, idx + 1);
    CU_ASSERT_EQUAL(mend_all(), 1);
    CU_ASSERT_EQUAL(read_all(), 0);
    buf_fini(&body);
    done();
}

static void the_scrubber_finds_it(void)
{
    fill();
    find_places();
    CU_ASSERT_EQUAL(read_all(), 0);
    uint64_t size;
    uint64_t idx = places[2].first_idx;
    io_mem_bytes(mem, places[2].path, &size)[places[2].pos[idx + 1] - 3] ^= 4; /* though it was checked already */
    struct log_view *view = log_view_take(rig.log);
    uint64_t cursor = 0;
    bool round = false;
    int found = 0;
    while (!round)
        found += log_view_scrub(view, &cursor, 5000, &round, &rig.fault) != KQ_OK;
    CU_ASSERT_EQUAL(found, 1);
    log_view_drop(&view);
    CU_ASSERT_EQUAL(read_all(), 1);
    CU_ASSERT_EQUAL(mend_all(), 1);
    CU_ASSERT_EQUAL(read_all(), 0);
    done();
}

/* The power of a whole block: what lies in it is gone, heads and all. */
static void whole_blocks_can_be_mended(void)
{
    fill();
    find_places();
    for (int i = 0; i + 1 < place_count; i++)
        for (int no_index = 0; no_index < 2; no_index++)
            for (uint64_t pos = 4096; pos < places[i].pos[places[i].last_idx + 1]; pos += 512) {
                uint64_t end = places[i].pos[places[i].last_idx + 1];
                uint64_t size;
                done();
                uint8_t *bytes = io_mem_bytes(mem, places[i].path, &size);
                for (uint64_t at = pos; at < pos + 1024 && at < end; at++)
                    bytes[at] = (uint8_t)(no_index ? 0 : at * 7);
                make_durable(places[i].path);
                if (no_index != 0)
                    remove_index(&places[i]);
                CU_ASSERT_EQUAL_FATAL(reopen(), KQ_OK);
                CU_ASSERT_TRUE(read_all() > 0);
                CU_ASSERT_TRUE(mend_all() > 0);
                CU_ASSERT_EQUAL(read_all(), 0);
            }
    done();
}

/* The checksum that this body would have there. */
static void forge(struct log_slice *e)
{
    struct entry_seed seed = entry_seed_make(&rig.options.topic_id, 0, &log_hard_state(rig.log)->incarnation);
    e->body_crc = entry_body_crc(&seed, e->term, e->idx, crc32c(0, e->body, e->body_bytes), e->body_bytes);
}

static void what_does_not_fit_is_refused(void)
{
    fill();
    find_places();
    const struct place_of *p = roomy();
    uint64_t idx = p->first_idx + 1;
    while (peer[idx].slice.type != LOG_ENTRY_RECORDS || peer[idx + 1].slice.type != LOG_ENTRY_RECORDS)
        idx++;
    CU_ASSERT_TRUE_FATAL(idx + 1 < p->last_idx);
    uint64_t size;
    for (int heads = 0; heads < 2; heads++) {
        done();
        uint8_t *bytes = io_mem_bytes(mem, p->path, &size);
        bytes[p->pos[idx] + 40] ^= (uint8_t)heads; /* the head as well, and that of the next */
        bytes[p->pos[idx + 1] + 40] ^= (uint8_t)heads;
        bytes[p->pos[idx + 1] - 1] ^= 1;
        make_durable(p->path);
        CU_ASSERT_EQUAL_FATAL(reopen(), KQ_OK);
        CU_ASSERT_TRUE(read_all() > 0);
        struct log_damage d;
        CU_ASSERT_TRUE(log_next_damage(rig.log, 0, &d));
        CU_ASSERT_EQUAL(d.first_idx, idx);
        CU_ASSERT_EQUAL(d.last_idx, idx + (uint64_t)heads);
        CU_ASSERT_EQUAL(repair(idx + 1, idx + 1), heads ? KQ_INVALID : KQ_OK);
        if (!heads)
            CU_ASSERT_EQUAL(run_repair(idx + 1), KQ_OK);
        if (heads)
            CU_ASSERT_EQUAL(repair(idx, idx), KQ_INVALID);
        for (int how = 0; how < 9; how++) {
            struct log_slice e[2] = {peer[idx].slice, peer[idx + 1].slice};
            struct log_slice *other = how < 4 ? &e[0] : &e[heads];
            uint8_t *copy = calloc(1, other->body_bytes + 100u);
            memcpy(copy, other->body, other->body_bytes);
            other->body = copy;
            if (how == 0 || how == 4)
                copy[other->body_bytes / 2] ^= 1;
            else if (how == 1 || how == 5)
                other->body_bytes++;
            else if (how == 2)
                other->term++;
            else if (how == 3)
                other->record_count++;
            else if (how == 6)
                other->first_off++;
            else if (how == 7) /* another body, with the checksum that it would have */
                copy[other->body_bytes / 2] ^= 1;
            else
                e[0].term++; /* and of another term */
            if (how == 7)
                forge(other);
            else if (how == 8)
                forge(&e[0]);
            CU_ASSERT_EQUAL(log_repair(rig.log, e, 1 + (uint32_t)heads, &rig.fault), KQ_INVALID);
            free(copy);
        }
        CU_ASSERT_TRUE(read_all() > 0);
        CU_ASSERT_EQUAL(mend_all(), 1);
        CU_ASSERT_EQUAL(read_all(), 0);
    }
    uint64_t last = places[place_count - 1].first_idx; /* not sealed */
    CU_ASSERT_EQUAL(repair(last, last), KQ_NOT_FOUND);
    CU_ASSERT_EQUAL(repair(p->last_idx, p->last_idx + 1), KQ_NOT_FOUND);
    done();
}

/* Whatever goes wrong meanwhile: it is damaged still, or mended, and the rest is there. */
static void a_repair_may_be_cut_off_anywhere(void)
{
    for (int fail = 0; fail < 3; fail++)
        for (uint64_t n = 1; n < 40; n++) {
            fill();
            find_places();
            const struct place_of *p = roomy();
            done();
            uint64_t size;
            uint8_t *bytes = io_mem_bytes(mem, p->path, &size);
            memset(bytes + 4096 + 300, 0x55, 700);
            make_durable(p->path);
            CU_ASSERT_EQUAL_FATAL(reopen(), KQ_OK);
            int damaged = read_all();
            struct log_damage d;
            CU_ASSERT_TRUE_FATAL(log_next_damage(rig.log, 0, &d));
            CU_ASSERT_EQUAL(repair(d.first_idx, d.last_idx), KQ_OK);
            if (fail == 0)
                io_mem_cut_at(mem, io_mem_calls(mem) + n, IO_MEM_BY_CHANCE, n);
            else
                io_mem_fail(mem, IO_MEM_ANY, n - 1, fail == 1 ? EIO : ENOSPC, 1);
            struct log_job *job = log_rig_next(&rig, LOG_LANE_KEEP);
            CU_ASSERT_PTR_NOT_NULL_FATAL(job);
            struct log_done done_it;
            log_job_run(job);
            log_job_done(rig.log, job, &done_it);
            CU_ASSERT_EQUAL(done_it.err, KQ_OK); /* the log goes on */
            io_mem_fail_not(mem);
            if (fail == 0) {
                log_close(&rig.log, NULL, 0);
                io_mem_reboot(mem, IO_MEM_BY_CHANCE, n);
                CU_ASSERT_EQUAL_FATAL(reopen(), KQ_OK);
            }
            int left = read_all();
            CU_ASSERT_TRUE(left == 0 || left <= damaged);
            CU_ASSERT_TRUE(fail == 0 || done_it.repair_err == KQ_OK ? true : left <= damaged);
            (void)mend_all();
            left = read_all();
            CU_ASSERT_EQUAL(left, 0);
            if (left != 0)
                fprintf(stderr, "%d at %llu: %d left\n", fail, (unsigned long long)n, left);
            done();
            CU_ASSERT_EQUAL(reopen(), KQ_OK);
            CU_ASSERT_EQUAL(read_all(), 0);
            done();
        }
}

static void many_bits_are_flipped_and_mended(void)
{
    uint64_t random = 5;
    fill();
    find_places();
    for (int round = 0; round < 300; round++) {
        done();
        for (int n = 1 + round % 6; n > 0; n--) {
            random = random * UINT64_C(6364136223846793005) + 1442695040888963407u;
            const struct place_of *p = &places[(random >> 33) % (uint64_t)(place_count - 1)];
            random = random * UINT64_C(6364136223846793005) + 1442695040888963407u;
            uint64_t size;
            uint64_t bits = (p->pos[p->last_idx + 1] - 4096) * 8;
            uint64_t bit = (random >> 20) % bits;
            io_mem_bytes(mem, p->path, &size)[4096 + bit / 8] ^= (uint8_t)(1u << bit % 8);
            make_durable(p->path);
            if ((random >> 50) % 4 == 0) {
                char path[64];
                (void)snprintf(path, sizeof path, "/t-0/%020lld.index", (long long)p->first_off);
                if (io_mem_exists(mem, path))
                    remove_index(p);
            }
        }
        CU_ASSERT_EQUAL_FATAL(reopen(), KQ_OK);
        int damaged = read_all();
        CU_ASSERT_TRUE(mend_all() <= damaged);
        CU_ASSERT_EQUAL(read_all(), 0);
    }
    done();
}

/* Others may have it no more: it would stand before all that they can still give. */
static void damage_below_the_log_start_is_nobodys(void)
{
    fill();
    find_places();
    const struct place_of *p = roomy();
    uint64_t idx = p->first_idx + 1;
    done();
    flip(p->path, p->pos[idx + 1] - 1);
    CU_ASSERT_EQUAL_FATAL(log_rig_open(&rig), KQ_OK);
    CU_ASSERT_EQUAL(read_all(), 1);
    log_set_commit(rig.log, ENTRIES);
    struct log_damage d;
    CU_ASSERT_TRUE(log_next_damage(rig.log, 0, &d));
    log_set_start(rig.log, peer[idx + 1].slice.first_off); /* its segment stays, for what lies behind */
    CU_ASSERT_FALSE(log_next_damage(rig.log, 0, &d));
    struct log_view *view = log_view_take(rig.log);
    uint64_t cursor = 0;
    bool round = false;
    while (!round)
        CU_ASSERT_EQUAL(log_view_scrub(view, &cursor, 5000, &round, &rig.fault), KQ_OK);
    log_view_drop(&view);
    done();
}

static void a_cut_or_a_deletion_forgets_damage(void)
{
    fill();
    find_places();
    const struct place_of *p = roomy();
    uint64_t idx = p->first_idx + 1;
    done();
    flip(p->path, p->pos[idx + 1] - 1);
    CU_ASSERT_EQUAL_FATAL(log_rig_open(&rig), KQ_OK);
    CU_ASSERT_EQUAL(read_all(), 1);
    CU_ASSERT_EQUAL(repair(idx, idx), KQ_OK);
    log_set_commit(rig.log, ENTRIES);
    log_set_start(rig.log, p[1].first_off);
    struct log_job *job;
    while ((job = log_rig_next(&rig, LOG_LANE_KEEP)) != NULL) {
        struct log_done d;
        log_job_run(job);
        log_job_done(rig.log, job, &d);
        CU_ASSERT_EQUAL(d.err, KQ_OK);
    }
    CU_ASSERT_EQUAL(log_first_idx(rig.log), p[1].first_idx);
    struct log_damage d;
    CU_ASSERT_FALSE(log_next_damage(rig.log, 0, &d));
    CU_ASSERT_EQUAL(repair(idx, idx), KQ_NOT_FOUND);
    done();
    for (uint64_t i = 1; i <= ENTRIES; i++)
        buf_fini(&peer[i].body);
    memset(peer, 0, sizeof peer);
}

/* ---- heads of segments ------------------------------------------------------------------- */

static void scrub_round(void)
{
    struct log_view *view = log_view_take(rig.log);
    uint64_t cursor = 0;
    bool round = false;
    while (!round)
        (void)log_view_scrub(view, &cursor, 1 << 20, &round, &rig.fault);
    log_view_drop(&view);
}

static void run_keep_jobs(void)
{
    struct log_job *job;
    while ((job = log_rig_next(&rig, LOG_LANE_KEEP)) != NULL) {
        struct log_done d;
        log_job_run(job);
        log_job_done(rig.log, job, &d);
        CU_ASSERT_EQUAL(d.err, KQ_OK);
        CU_ASSERT_EQUAL(d.repaired_idx, 0);
    }
}

/* The head as it was, on the disk; the rest of its block is of no use. */
static uint8_t head_was[128];

static void keep_head(const char *path)
{
    uint64_t size;
    memcpy(head_was, io_mem_bytes(mem, path, &size), sizeof head_was);
}

static bool head_is_whole(const char *path)
{
    uint64_t size;
    const uint8_t *bytes = io_mem_durable(mem, path, &size);
    return bytes != NULL && size >= sizeof head_was && memcmp(bytes, head_was, sizeof head_was) == 0;
}

static void spoil_head(const char *path)
{
    uint64_t size;
    memset(io_mem_bytes(mem, path, &size), 0x5a, 4096);
    make_durable(path);
}

static void a_damaged_head_is_made_anew(void)
{
    fill();
    find_places();
    for (int i = 0; i + 1 < place_count; i++)
        for (int reopened = 0; reopened < 2; reopened++) {
            keep_head(places[i].path);
            if (reopened)
                done();
            spoil_head(places[i].path);
            if (reopened)
                CU_ASSERT_EQUAL_FATAL(reopen(), KQ_OK);
            run_keep_jobs();
            CU_ASSERT_FALSE(head_is_whole(places[i].path));
            scrub_round();
            run_keep_jobs();
            CU_ASSERT_TRUE(head_is_whole(places[i].path));
            CU_ASSERT_EQUAL(read_all(), 0);
        }
    done();
    CU_ASSERT_EQUAL(reopen(), KQ_OK);
    CU_ASSERT_EQUAL(read_all(), 0);
    done();
}

/* Of the first segment, when others were before it: its term before is known as long as the log
 * is open. After a start without that head it is not, and then nothing is made up. */
static void what_only_the_head_knew_is_not_made_up(void)
{
    for (int reopened = 0; reopened < 2; reopened++) {
        fill();
        find_places();
        log_set_start(rig.log, places[2].first_off);
        run_keep_jobs();
        CU_ASSERT_EQUAL(log_first_idx(rig.log), places[2].first_idx);
        uint64_t term = log_term_at(rig.log, places[2].first_idx - 1);
        keep_head(places[2].path);
        if (reopened)
            done();
        spoil_head(places[2].path);
        if (reopened)
            CU_ASSERT_EQUAL_FATAL(reopen(), KQ_OK);
        scrub_round();
        run_keep_jobs();
        CU_ASSERT_EQUAL(head_is_whole(places[2].path), !reopened);
        CU_ASSERT_EQUAL(log_term_at(rig.log, places[2].first_idx - 1), reopened ? 0 : term);
        done();
        CU_ASSERT_EQUAL(reopen(), KQ_OK);
        CU_ASSERT_EQUAL(log_last_idx(rig.log), ENTRIES);
        done();
    }
}

/* The segment that grows is walked from its head on at a start after a crash. */
static void the_head_of_the_unsealed_segment_is_made_anew_at_a_start(void)
{
    for (int alone = 0; alone < 2; alone++) {
        if (alone) {
            start();
            append_many(5, 2, 60);
        } else {
            fill();
            find_places();
            for (uint64_t idx = 1; idx <= 3; idx++)
                CU_ASSERT_EQUAL(log_rig_append(&rig, 2, 60, 1), KQ_OK);
            log_rig_flush(&rig);
        }
        const char *path = alone ? FIRST_LOG : places[place_count - 1].path;
        uint64_t last_idx = log_last_idx(rig.log);
        keep_head(path);
        crash();
        spoil_head(path);
        CU_ASSERT_EQUAL_FATAL(reopen(), KQ_OK);
        CU_ASSERT_EQUAL(log_last_idx(rig.log), last_idx);
        CU_ASSERT_TRUE(head_is_whole(path));
        CU_ASSERT_EQUAL(log_rig_append(&rig, 2, 60, 1), KQ_OK);
        log_rig_flush(&rig);
        crash();
        CU_ASSERT_EQUAL_FATAL(reopen(), KQ_OK);
        CU_ASSERT_EQUAL(log_last_idx(rig.log), last_idx + 1);
        crash();
        uint64_t size;
        uint8_t *bytes = io_mem_bytes(mem, path, &size);
        memset(bytes, 0, size); /* nothing is left that says what this is */
        make_durable(path);
        CU_ASSERT_EQUAL(reopen(), KQ_CORRUPT);
        CU_ASSERT_PTR_NULL(rig.log);
    }
}

static void mending_a_head_may_be_cut_off_anywhere(void)
{
    for (int fail = 0; fail < 3; fail++)
        for (uint64_t n = 1; n < 10; n++) {
            fill();
            find_places();
            keep_head(places[2].path);
            spoil_head(places[2].path);
            scrub_round();
            struct log_job *job = log_rig_next(&rig, LOG_LANE_KEEP);
            CU_ASSERT_PTR_NOT_NULL_FATAL(job);
            if (fail == 0)
                io_mem_cut_at(mem, io_mem_calls(mem) + n, IO_MEM_BY_CHANCE, n);
            else
                io_mem_fail(mem, IO_MEM_ANY, n - 1, fail == 1 ? EIO : ENOSPC, 1);
            struct log_done d;
            log_job_run(job);
            log_job_done(rig.log, job, &d);
            CU_ASSERT_EQUAL(d.err, KQ_OK); /* the log goes on */
            io_mem_fail_not(mem);
            if (fail == 0) {
                log_close(&rig.log, NULL, 0);
                io_mem_reboot(mem, IO_MEM_BY_CHANCE, n);
                CU_ASSERT_EQUAL_FATAL(reopen(), KQ_OK);
            }
            CU_ASSERT_EQUAL(read_all(), 0);
            crash(); /* what a failed write left in the cache is gone */
            CU_ASSERT_EQUAL_FATAL(reopen(), KQ_OK);
            scrub_round();
            run_keep_jobs();
            CU_ASSERT_TRUE(head_is_whole(places[2].path));
            done();
        }
}

static const struct unit_case cases[] = {
    {"a damaged head is made anew", a_damaged_head_is_made_anew},
    {"what only the head knew is not made up", what_only_the_head_knew_is_not_made_up},
    {"the head of the unsealed segment is made anew at a start",
     the_head_of_the_unsealed_segment_is_made_anew_at_a_start},
    {"mending a head may be cut off anywhere", mending_a_head_may_be_cut_off_anywhere},
    {"every entry can be mended", every_entry_can_be_mended},
    {"readers are told, and served again", readers_are_told_and_served_again},
    {"what is needed may begin before what was met", what_is_needed_may_begin_before_what_was_met},
    {"the scrubber finds it", the_scrubber_finds_it},
    {"whole blocks can be mended", whole_blocks_can_be_mended},
    {"what does not fit is refused", what_does_not_fit_is_refused},
    {"a repair may be cut off anywhere", a_repair_may_be_cut_off_anywhere},
    {"many bits are flipped and mended", many_bits_are_flipped_and_mended},
    {"damage below the log start is nobody's", damage_below_the_log_start_is_nobodys},
    {"a cut or a deletion forgets damage", a_cut_or_a_deletion_forgets_damage},
};
UNIT_MAIN("log heal", cases)
