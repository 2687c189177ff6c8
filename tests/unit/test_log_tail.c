/*
 * Damage in the unsealed tail, below what was flushed, mended with what a peer has before the log is
 * open: bits flipped in bodies and heads, alone and in rows, at the end of the log with a mark and
 * without. Whatever is not certain keeps the log closed; what does not fit changes nothing; the
 * power goes and calls fail meanwhile.
 */
#include "log/entry.h"
#include "support/log_mem_rig.h"

#include <errno.h>
#include <stdio.h>

enum { ENTRIES = 24, HEAD = 4096 };

/* What a peer would give: every entry as it was. */
static struct {
    struct log_slice slice;
    struct buf body;
    uint64_t pos; /* here */
} peer[ENTRIES + 2];

static void remember(uint64_t last_idx)
{
    uint64_t pos = HEAD;
    for (uint64_t idx = 1; idx <= last_idx; idx++) {
        if (peer[idx].body.limit == 0)
            buf_init(&peer[idx].body, 1 << 20);
        CU_ASSERT_EQUAL_FATAL(log_read(rig.log, idx, &peer[idx].slice, &peer[idx].body, &rig.fault), KQ_OK);
        peer[idx].pos = pos;
        pos += ENTRY_HEAD_BYTES + peer[idx].slice.body_bytes;
    }
    peer[last_idx + 1].pos = pos;
}

/* Entries of several terms and sizes, all flushed; the mark says so, too, or does not know of the last. */
static void fill(bool mark)
{
    start();
    logger_set_level(LOGGER_ERROR - 1);
    for (uint64_t idx = 1; idx <= ENTRIES; idx++) {
        rig.term = (idx - 1) / 7 + 1;
        CU_ASSERT_EQUAL_FATAL(idx % 5 == 0   ? log_rig_noop(&rig)
                              : idx % 6 == 0 ? log_rig_append(&rig, 3, 1500, 1000)
                                             : log_rig_append(&rig, 2, 60, 1000 + (int64_t)idx),
                              KQ_OK);
        log_rig_flush(&rig);
    }
    log_set_commit(rig.log, ENTRIES);
    remember(ENTRIES);
    if (mark) {
        rig.now_us = log_next_deadline_us(rig.log);
        log_rig_flush(&rig);
    }
    crash();
}

static void spoil(uint64_t from, uint64_t to, uint8_t with)
{
    uint64_t size;
    uint8_t *bytes = io_mem_bytes(mem, FIRST_LOG, &size);
    for (uint64_t pos = from; pos < to; pos++)
        bytes[pos] = with == 0xff ? (uint8_t)(bytes[pos] ^ 0x10) : with;
    make_durable(FIRST_LOG);
}

/* Opens with what the peer has of these; 0: with nothing. */
static enum kq_err open_with(uint64_t first_idx, uint64_t last_idx, struct log_report *report)
{
    struct log_slice entries[ENTRIES];
    struct log_options options = rig.options;
    for (uint64_t idx = first_idx; idx <= last_idx && first_idx > 0; idx++)
        entries[idx - first_idx] = peer[idx].slice;
    options.tail = entries;
    options.tail_count = first_idx > 0 ? (uint32_t)(last_idx - first_idx + 1) : 0;
    return log_open(&rig.log, &options, NULL, report, &rig.fault);
}

static void expect_all(uint64_t last_idx)
{
    struct log_slice s;
    struct buf body;
    buf_init(&body, 1 << 20);
    CU_ASSERT_EQUAL(log_last_idx(rig.log), last_idx);
    for (uint64_t idx = 1; idx <= last_idx; idx++) {
        const struct log_slice *was = &peer[idx].slice;
        CU_ASSERT_EQUAL(log_read(rig.log, idx, &s, &body, &rig.fault), KQ_OK);
        CU_ASSERT_TRUE(s.type == was->type && s.term == was->term && s.first_off == was->first_off &&
                       s.record_count == was->record_count && s.body_bytes == was->body_bytes &&
                       (s.body_bytes == 0 || memcmp(s.body, was->body, s.body_bytes) == 0));
    }
    buf_fini(&body);
}

/* As a broker does it, until the log is open. */
static int mend_all(void)
{
    struct log_report report;
    int count = 0;
    enum kq_err err = open_with(0, 0, &report);
    while (err == KQ_CORRUPT && report.tail.first_idx > 0 && count < ENTRIES) {
        CU_ASSERT_PTR_NULL(rig.log);
        err = open_with(report.tail.first_idx, report.tail.last_idx, &report);
        count++;
    }
    return err == KQ_OK ? count : -1;
}

static void every_entry_of_the_tail_can_be_mended(void)
{
    for (uint64_t idx = 1; idx <= ENTRIES; idx++)
        for (int how = 0; how < 3; how++) {
            struct log_report report;
            if (how > 0 && peer[idx].slice.body_bytes == 0 && idx > 1)
                continue;
            fill(true);
            uint64_t at = how == 0 ? peer[idx].pos + 30 : peer[idx + 1].pos - 1;
            spoil(at, at + 1, 0xff);
            CU_ASSERT_EQUAL(open_with(0, 0, &report), KQ_CORRUPT);
            CU_ASSERT_EQUAL(report.tail.first_idx, idx);
            CU_ASSERT_EQUAL(report.tail.last_idx, idx);
            CU_ASSERT_EQUAL_FATAL(mend_all(), 1);
            expect_all(ENTRIES);
            log_set_commit(rig.log, ENTRIES);
            CU_ASSERT_EQUAL(log_rig_append(&rig, 2, 60, 1), KQ_OK);
            log_rig_flush(&rig);
            crash(); /* it was on the disk */
            CU_ASSERT_EQUAL_FATAL(log_rig_open(&rig), KQ_OK);
            CU_ASSERT_EQUAL(log_last_idx(rig.log), ENTRIES + 1);
            done();
        }
}

static void whole_blocks_of_the_tail_can_be_mended(void)
{
    for (int zero = 0; zero < 2; zero++)
        for (uint64_t pos = HEAD;; pos += 512) {
            fill(true);
            if (pos >= peer[ENTRIES + 1].pos)
                break;
            uint64_t end = pos + 1024 < peer[ENTRIES + 1].pos ? pos + 1024 : peer[ENTRIES + 1].pos;
            spoil(pos, end, zero ? 0 : 0x55);
            CU_ASSERT_TRUE_FATAL(mend_all() > 0);
            expect_all(ENTRIES);
            done();
        }
}

static void damage_in_several_places_is_mended_one_by_one(void)
{
    fill(true);
    spoil(peer[3].pos + 30, peer[3].pos + 31, 0xff);
    spoil(peer[9].pos + 30, peer[10].pos + 40, 0xff);
    spoil(peer[19].pos - 1, peer[19].pos, 0xff);
    CU_ASSERT_EQUAL_FATAL(mend_all(), 3);
    expect_all(ENTRIES);
    done();
}

/* The last entries may be gone with all that tells of them. */
static void an_end_that_nothing_tells_keeps_the_log_closed(void)
{
    struct log_report report;
    for (int how = 0; how < 3; how++) {
        fill(how == 2);
        uint64_t from = peer[how == 0 ? ENTRIES - 1 : ENTRIES - 2].pos + 30;
        if (how == 2) /* the mark knows the end, but something stands behind it */
            spoil(peer[ENTRIES + 1].pos, peer[ENTRIES + 1].pos + 9, 0x77);
        spoil(from, peer[ENTRIES + 1].pos, how == 0 ? 0xff : 0);
        enum kq_err err = open_with(0, 0, &report);
        CU_ASSERT_EQUAL(report.tail.first_idx, 0);
        if (how == 2) {
            CU_ASSERT_EQUAL(err, KQ_CORRUPT);
            CU_ASSERT_EQUAL(open_with(ENTRIES - 2, ENTRIES, &report), KQ_CORRUPT);
            CU_ASSERT_PTR_NULL(rig.log);
        } else {
            CU_ASSERT_EQUAL(err, KQ_OK); /* nobody was told that they were flushed, as far as is known here */
            done();
        }
    }
    /* Flushed, as an entry says that is gone itself but for its head. */
    fill(false);
    spoil(peer[ENTRIES - 2].pos + 30, peer[ENTRIES].pos, 0x77);
    spoil(peer[ENTRIES + 1].pos - 1, peer[ENTRIES + 1].pos, 0xff);
    CU_ASSERT_EQUAL(open_with(0, 0, &report), KQ_CORRUPT);
    CU_ASSERT_EQUAL(report.tail.first_idx, ENTRIES - 2);
    CU_ASSERT_EQUAL(report.tail.last_idx, ENTRIES - 1);
    CU_ASSERT_EQUAL(mend_all(), 1); /* and that one was never said to be flushed: torn */
    expect_all(ENTRIES - 1);
    done();
}

static void what_does_not_fit_changes_nothing(void)
{
    struct log_report report;
    for (int heads = 0; heads < 2; heads++) {
        fill(true);
        uint64_t idx = 11;
        spoil(peer[idx + 1].pos - 1, peer[idx + 1].pos + (heads ? 40 : 0), 0xff);
        uint64_t size;
        const uint8_t *bytes = io_mem_bytes(mem, FIRST_LOG, &size);
        uint8_t *was = malloc(size);
        memcpy(was, bytes, size);
        uint64_t last_idx = idx + (uint64_t)heads;
        for (int how = 0; how < 7; how++) {
            struct log_slice kept = peer[last_idx].slice;
            struct log_slice *e = &peer[last_idx].slice;
            uint8_t *copy = malloc(e->body_bytes + 100u);
            memcpy(copy, e->body, e->body_bytes);
            e->body = copy;
            copy[e->body_bytes / 2] ^= how == 0;
            e->body_crc ^= how == 1;
            e->term += how == 2;
            e->record_count += how == 3;
            e->first_off += how == 4;
            e->body_bytes -= how == 5 ? 8u : 0;
            CU_ASSERT_EQUAL(open_with(idx, last_idx - (how == 6), &report), KQ_CORRUPT);
            CU_ASSERT_PTR_NULL(rig.log);
            CU_ASSERT_EQUAL(report.tail.first_idx, idx);
            bytes = io_mem_bytes(mem, FIRST_LOG, &size);
            CU_ASSERT_EQUAL(memcmp(bytes, was, size), 0);
            peer[last_idx].slice = kept;
            free(copy);
        }
        free(was);
        CU_ASSERT_EQUAL(mend_all(), 1);
        expect_all(ENTRIES);
        done();
    }
}

static void mending_a_tail_may_be_cut_off_anywhere(void)
{
    for (int fail = 0; fail < 3; fail++)
        for (uint64_t n = 1; n < 60; n++) {
            struct log_report report;
            fill(true);
            spoil(peer[8].pos + 20, peer[12].pos + 30, 0x55);
            CU_ASSERT_EQUAL(open_with(0, 0, &report), KQ_CORRUPT);
            struct log_damage tail = report.tail;
            CU_ASSERT_EQUAL(tail.first_idx, 8);
            if (fail == 0)
                io_mem_cut_at(mem, io_mem_calls(mem) + n, IO_MEM_BY_CHANCE, n);
            else
                io_mem_fail(mem, IO_MEM_ANY, n - 1, fail == 1 ? EIO : ENOSPC, 1);
            enum kq_err err = open_with(tail.first_idx, tail.last_idx, &report);
            io_mem_fail_not(mem);
            if (err == KQ_OK && fail != 0)
                expect_all(ENTRIES);
            if (err == KQ_OK)
                log_close(&rig.log, NULL, 0);
            if (fail == 0)
                io_mem_reboot(mem, IO_MEM_BY_CHANCE, n);
            else
                io_mem_reboot(mem, IO_MEM_ALL_LOST, n);
            CU_ASSERT_TRUE_FATAL(mend_all() >= 0);
            expect_all(ENTRIES);
            done();
        }
}

static const struct unit_case cases[] = {
    {"every entry of the tail can be mended", every_entry_of_the_tail_can_be_mended},
    {"whole blocks of the tail can be mended", whole_blocks_of_the_tail_can_be_mended},
    {"damage in several places is mended one by one", damage_in_several_places_is_mended_one_by_one},
    {"an end that nothing tells keeps the log closed", an_end_that_nothing_tells_keeps_the_log_closed},
    {"what does not fit changes nothing", what_does_not_fit_changes_nothing},
    {"mending a tail may be cut off anywhere", mending_a_tail_may_be_cut_off_anywhere},
};
UNIT_MAIN("log tail", cases)
