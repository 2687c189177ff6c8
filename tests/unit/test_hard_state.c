#include "log/hard_state.h"

#include "base/bytes.h"
#include "base/crc32c.h"
#include "support/io_mem.h"
#include "support/unit.h"

static struct io_mem *mem;
static struct io *io;
static struct log_hard_state state;
static struct log_mark mark;
static struct fault fault;
static bool one_bad;

#define FILE_PATH "/r/hard-state"

static void start(void)
{
    if (mem == NULL)
        mem = io_mem_new(1 << 16);
    io_mem_wipe(mem);
    io = io_mem_io(mem);
    CU_ASSERT_EQUAL_FATAL(io->ops->mkdir(io, "/r"), 0);
    memset(&state, 0, sizeof state);
    state.version = 1;
    state.partition = 3;
    memset(state.topic_id.bytes, 5, UUID_BYTES);
    memset(state.incarnation.bytes, 6, UUID_BYTES);
    state.voter_count = LOG_VOTERS_MAX;
    for (uint32_t i = 0; i < LOG_VOTERS_MAX; i++)
        state.voters[i] = (struct log_voter){i + 1, {{(uint8_t)i}}};
    CU_ASSERT_EQUAL_FATAL(hard_state_prepare(io, "/r", &state, &fault), KQ_OK);
    CU_ASSERT_EQUAL_FATAL(hard_state_name(io, "/r", &fault), KQ_OK);
}

static void store(uint64_t version, uint64_t term)
{
    state.version = version;
    state.term = term;
    CU_ASSERT_EQUAL_FATAL(hard_state_store(io, "/r", &state, &fault), KQ_OK);
}

static enum kq_err load(void)
{
    memset(&state, 0xee, sizeof state);
    return hard_state_load(io, "/r", &state, &mark, &one_bad, &fault);
}

static uint8_t *bytes(void)
{
    uint64_t size;
    return io_mem_bytes(mem, FILE_PATH, &size);
}

static void a_state_comes_back_whole(void)
{
    start();
    state.vote_broker_id = 7;
    memset(state.vote_incarnation.bytes, 8, UUID_BYTES);
    memset(state.boot_id.bytes, 9, UUID_BYTES);
    state.commit_idx = 99;
    store(2, 40);
    CU_ASSERT_EQUAL_FATAL(load(), KQ_OK);
    CU_ASSERT_EQUAL(state.version, 2);
    CU_ASSERT_EQUAL(state.term, 40);
    CU_ASSERT_EQUAL(state.partition, 3);
    CU_ASSERT_EQUAL(state.vote_broker_id, 7);
    CU_ASSERT_EQUAL(state.vote_incarnation.bytes[15], 8);
    CU_ASSERT_EQUAL(state.boot_id.bytes[0] + state.boot_id.bytes[15], 18);
    CU_ASSERT_EQUAL(state.commit_idx, 99);
    CU_ASSERT_EQUAL(state.topic_id.bytes[0], 5);
    CU_ASSERT_EQUAL(state.incarnation.bytes[0], 6);
    CU_ASSERT_EQUAL(state.voter_count, LOG_VOTERS_MAX);
    CU_ASSERT_EQUAL(state.voters[15].broker_id, 16);
    CU_ASSERT_EQUAL(state.voters[15].incarnation.bytes[0], 15);
    CU_ASSERT_FALSE(one_bad);
    CU_ASSERT_FALSE(log_mark_is_set(&mark));
}

static void the_newest_of_two_slots_wins(void)
{
    start();
    for (uint64_t v = 2; v < 9; v++) {
        store(v, 10 * v);
        CU_ASSERT_EQUAL_FATAL(load(), KQ_OK);
        CU_ASSERT_EQUAL(state.version, v);
        CU_ASSERT_EQUAL(state.term, 10 * v);
        CU_ASSERT_FALSE(one_bad);
    }
}

static void a_write_touches_only_the_slot_that_was_older(void)
{
    uint8_t before[4096];
    start();
    store(2, 20);
    memcpy(before, bytes() + 4096, sizeof before); /* version 2 */
    store(3, 30);
    CU_ASSERT_EQUAL(memcmp(before, bytes() + 4096, sizeof before), 0);
    memcpy(before, bytes(), sizeof before); /* version 3 */
    store(4, 40);
    CU_ASSERT_EQUAL(memcmp(before, bytes(), sizeof before), 0);
}

static void a_torn_slot_leaves_the_other(void)
{
    start();
    store(2, 20);
    store(3, 30);
    bytes()[56] ^= 1;
    CU_ASSERT_EQUAL_FATAL(load(), KQ_OK);
    CU_ASSERT_TRUE(one_bad);
    CU_ASSERT_EQUAL(state.version, 2);
}

static void a_slot_that_is_known_to_be_stale_is_refused(void)
{
    start();
    store(2, 20);
    store(3, 30);
    struct log_mark m = {.state_version = 3, .flushed_idx = 5, .segment_off = -1};
    CU_ASSERT_EQUAL(hard_state_store_mark(io, "/r", &state, &m, &fault), KQ_OK);
    bytes()[56] ^= 1;
    CU_ASSERT_EQUAL(load(), KQ_CORRUPT);
    CU_ASSERT_PTR_NOT_NULL(strstr(fault.text, FILE_PATH));
    CU_ASSERT_PTR_NOT_NULL(strstr(fault.text, "stale"));
}

static void with_both_slots_bad_it_is_refused(void)
{
    start();
    store(2, 20);
    bytes()[56] ^= 1;
    bytes()[4096 + 56] ^= 1;
    CU_ASSERT_EQUAL(load(), KQ_CORRUPT);
    io_mem_put(mem, FILE_PATH, "", 0);
    CU_ASSERT_EQUAL(load(), KQ_CORRUPT);
    CU_ASSERT_EQUAL(io->ops->unlink(io, FILE_PATH), 0);
    CU_ASSERT_EQUAL(load(), KQ_NOT_FOUND);
}

static void a_newer_format_is_refused(void)
{
    start();
    put_le16(bytes() + 8, 2);
    put_le32(bytes() + 4, crc32c(0, bytes() + 8, 504));
    CU_ASSERT_EQUAL(load(), KQ_BAD_VERSION);
    CU_ASSERT_PTR_NOT_NULL(strstr(fault.text, "newer"));
}

static void a_mark_comes_back_and_a_bad_one_is_none(void)
{
    start();
    struct log_mark m = {.clean = true,
                         .state_version = 1,
                         .flushed_term = 2,
                         .flushed_idx = 3,
                         .commit_idx = 4,
                         .next_off = 5,
                         .start_off = 6,
                         .segment_off = 7,
                         .segment_idx = 8,
                         .end_pos = 9,
                         .last_crc = 10,
                         .index_crc = 11,
                         .max_time_ms = 12};
    CU_ASSERT_EQUAL(hard_state_store_mark(io, "/r", &state, &m, &fault), KQ_OK);
    CU_ASSERT_EQUAL_FATAL(load(), KQ_OK);
    CU_ASSERT_TRUE(mark.clean);
    CU_ASSERT_EQUAL(mark.flushed_term, 2);
    CU_ASSERT_EQUAL(mark.flushed_idx, 3);
    CU_ASSERT_EQUAL(mark.commit_idx, 4);
    CU_ASSERT_EQUAL(mark.next_off, 5);
    CU_ASSERT_EQUAL(mark.start_off, 6);
    CU_ASSERT_EQUAL(mark.segment_off, 7);
    CU_ASSERT_EQUAL(mark.segment_idx, 8);
    CU_ASSERT_EQUAL(mark.end_pos, 9);
    CU_ASSERT_EQUAL(mark.last_crc, 10);
    CU_ASSERT_EQUAL(mark.index_crc, 11);
    CU_ASSERT_EQUAL(mark.max_time_ms, 12);
    bytes()[8192 + 64] ^= 1;
    CU_ASSERT_EQUAL_FATAL(load(), KQ_OK);
    CU_ASSERT_FALSE(log_mark_is_set(&mark));
    CU_ASSERT_FALSE(mark.clean);
}

static const struct unit_case cases[] = {
    {"a state comes back whole", a_state_comes_back_whole},
    {"the newest of two slots wins", the_newest_of_two_slots_wins},
    {"a write touches only the slot that was older", a_write_touches_only_the_slot_that_was_older},
    {"a torn slot leaves the other", a_torn_slot_leaves_the_other},
    {"a slot that is known to be stale is refused", a_slot_that_is_known_to_be_stale_is_refused},
    {"with both slots bad it is refused", with_both_slots_bad_it_is_refused},
    {"a newer format is refused", a_newer_format_is_refused},
    {"a mark comes back and a bad one is none", a_mark_comes_back_and_a_bad_one_is_none},
};
UNIT_MAIN("hard state", cases)
