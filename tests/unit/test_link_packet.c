/* Packets as frames and back: fresh entries, entries out of the log, what cannot be read,
 * what does not fit into one write. */
#include "base/crc32c.h"
#include "cluster/link_packet.h"
#include "log/entry.h"
#include "support/log_mem_rig.h"

static struct link_write write;

enum { SEED = 4711 };

/* Of all parts: what a socket would take. */
static uint8_t *written(size_t *bytes)
{
    uint8_t *all = malloc(write.bytes + 1);
    size_t at = 0;
    for (int i = 0; i < write.part_count; i++) {
        memcpy(all + at, write.parts[i].iov_base, write.parts[i].iov_len);
        at += write.parts[i].iov_len;
    }
    CU_ASSERT_EQUAL(at, write.bytes);
    *bytes = at;
    return all;
}

/* The frame at *at as a parcel. */
static struct parcel *next_parcel(const uint8_t *all, size_t bytes, size_t *at)
{
    struct peer_frame frame;
    struct parcel *parcel = NULL;
    CU_ASSERT_TRUE_FATAL(bytes - *at >= PEER_FRAME_HEAD_BYTES);
    CU_ASSERT_EQUAL_FATAL(peer_frame_parse(all + *at, PEER_FRAME_MAX_BYTES, &frame), KQ_OK);
    *at += PEER_FRAME_HEAD_BYTES;
    CU_ASSERT_TRUE_FATAL(bytes - *at >= frame.body_bytes);
    uint8_t *body = malloc(frame.body_bytes);
    memcpy(body, all + *at, frame.body_bytes);
    *at += frame.body_bytes;
    CU_ASSERT_EQUAL_FATAL(link_parcel_new(&parcel, &frame, SEED, body), KQ_OK);
    CU_ASSERT_EQUAL(parcel->mail.kind, MAIL_PARCEL);
    CU_ASSERT_EQUAL(parcel->mail.size_bytes, frame.body_bytes);
    return parcel;
}

static struct packet append_after(uint64_t prev_idx, uint64_t last_idx)
{
    struct packet p = {.group = {.partition = 3},
                       .message = {.type = RAFT_MSG_APPEND,
                                   .from = {.broker_id = 1},
                                   .to = {.broker_id = 2},
                                   .term = 9,
                                   .prev_idx = prev_idx,
                                   .last_idx = last_idx,
                                   .entry_term = rig.term}};
    return p;
}

/* ---- out of the log ---------------------------------------------------------------------- */

/* What comes of the packet's entries of the log's view, which is taken now. */
static struct parcel *through_the_view(struct packet *packet)
{
    size_t bytes;
    size_t at = 0;
    packet->view = log_view_take(rig.log);
    link_write_reset(&write);
    CU_ASSERT_EQUAL_FATAL(link_write_view(&write, SEED, packet, &rig.fault), KQ_OK);
    uint8_t *all = written(&bytes);
    struct parcel *parcel = next_parcel(all, bytes, &at);
    CU_ASSERT_EQUAL(at, bytes);
    free(all);
    return parcel;
}

static void entries_of_the_log_arrive_as_they_are(void)
{
    start();
    CU_ASSERT_EQUAL(log_rig_noop(&rig), KQ_OK);
    append_many(40, 3, 700);
    struct packet packet = append_after(5, 35);
    struct parcel *parcel = through_the_view(&packet);
    CU_ASSERT_EQUAL(parcel->group.partition, 3);
    CU_ASSERT_EQUAL(parcel->message.prev_idx, 5);
    CU_ASSERT_EQUAL(parcel->message.last_idx, 35);
    CU_ASSERT_EQUAL_FATAL(parcel->entry_count, 30);
    struct log_iter it;
    CU_ASSERT_EQUAL(log_iter_seek_idx(&it, packet.view, 6), KQ_OK);
    for (uint32_t i = 0; i < parcel->entry_count; i++) {
        const struct parcel_entry *e = &parcel->entries[i];
        struct log_slice slice;
        CU_ASSERT_EQUAL_FATAL(log_iter_next(&it, &slice, &rig.fault), KQ_OK);
        CU_ASSERT_EQUAL(e->idx, slice.idx);
        CU_ASSERT_EQUAL(e->term, slice.term);
        CU_ASSERT_EQUAL(e->type, slice.type);
        CU_ASSERT_EQUAL(e->first_off, slice.first_off);
        CU_ASSERT_EQUAL(e->record_count, slice.record_count);
        CU_ASSERT_EQUAL(e->max_time_ms, 1000 + (int64_t)slice.idx - 2); /* append_many counts it up */
        CU_ASSERT_EQUAL_FATAL(e->body_bytes, slice.body_bytes);
        CU_ASSERT_EQUAL(memcmp(e->body, slice.body, e->body_bytes), 0);
        CU_ASSERT_EQUAL(e->body_crc, crc32c(0, e->body, e->body_bytes));
    }
    parcel->release(parcel);
    log_view_drop(&packet.view);
    log_close(&rig.log, NULL, 0);
}

static void of_many_entries_the_first_ones_go(void)
{
    start();
    append_many(600, 1, 10);
    struct packet packet = append_after(0, 600);
    struct parcel *parcel = through_the_view(&packet);
    CU_ASSERT_TRUE(parcel->entry_count >= 400 && parcel->entry_count < 600);
    CU_ASSERT_EQUAL(parcel->message.last_idx, parcel->entry_count);
    parcel->release(parcel);
    log_view_drop(&packet.view);
    log_close(&rig.log, NULL, 0);
}

static void what_is_not_committed_or_of_another_term_stays(void)
{
    start();
    append_many(5, 1, 10); /* 1 .. 5, committed */
    CU_ASSERT_EQUAL(log_rig_append(&rig, 1, 10, 1), KQ_OK);
    log_rig_flush(&rig);
    struct packet packet = append_after(3, 6);
    struct parcel *parcel = through_the_view(&packet);
    CU_ASSERT_EQUAL(parcel->message.last_idx, 5);
    parcel->release(parcel);
    packet.message.prev_idx = 5;
    link_write_reset(&write);
    CU_ASSERT_NOT_EQUAL(link_write_view(&write, SEED, &packet, &rig.fault), KQ_OK);
    CU_ASSERT_EQUAL(write.bytes, 0);
    packet.message.prev_idx = 2;
    packet.message.entry_term = rig.term + 1;
    CU_ASSERT_NOT_EQUAL(link_write_view(&write, SEED, &packet, &rig.fault), KQ_OK);
    CU_ASSERT_EQUAL(write.bytes, 0);
    log_view_drop(&packet.view);
    log_close(&rig.log, NULL, 0);
}

/* ---- fresh ---------------------------------------------------------------------------------- */

static struct shared_entry *entry_of(uint64_t idx, uint32_t bytes)
{
    struct shared_entry *e = calloc(1, sizeof *e + bytes);
    e->type = LOG_ENTRY_RECORDS;
    e->term = rig.term;
    e->idx = idx;
    e->body_bytes = bytes;
    memset(e->body, (int)idx, bytes);
    e->body_crc = crc32c(0, e->body, bytes);
    return e;
}

static void several_packets_share_a_write_until_it_is_full(void)
{
    struct shared_entry *entries[200];
    for (uint32_t i = 0; i < 200; i++)
        entries[i] = entry_of(i + 1, 50 + i);
    link_write_reset(&write);
    struct packet packet = append_after(0, 200);
    packet.entries = entries;
    packet.entry_count = 200;
    struct slice beat = slice_text("beat");
    CU_ASSERT_TRUE(link_write_frame(&write, SEED, PEER_BEAT, &beat, 1));
    int count = 0;
    while (link_write_packet(&write, SEED, &packet))
        count++;
    CU_ASSERT_EQUAL(count, 5); /* 1,024 parts */
    CU_ASSERT_TRUE(write.part_count <= LINK_PARTS_MAX);
    size_t bytes;
    uint8_t *all = written(&bytes);
    size_t at = PEER_FRAME_HEAD_BYTES + 4;
    for (int i = 0; i < count; i++) {
        struct parcel *parcel = next_parcel(all, bytes, &at);
        CU_ASSERT_EQUAL(parcel->entry_count, 200);
        CU_ASSERT_EQUAL(parcel->entries[199].body[248], 200);
        parcel->release(parcel);
    }
    CU_ASSERT_EQUAL(at, bytes);
    free(all);
    link_write_reset(&write);
    struct packet small = {.message = {.type = RAFT_MSG_BEAT, .from = {.broker_id = 1}, .to = {.broker_id = 2}}};
    for (count = 0; link_write_packet(&write, SEED, &small);)
        count++;
    CU_ASSERT_TRUE(count > 1000);
    CU_ASSERT_EQUAL(write.part_count, 1); /* their heads are one piece */
    all = written(&bytes);
    at = 0;
    for (int i = 0; i < count; i++) {
        struct parcel *parcel = next_parcel(all, bytes, &at);
        parcel->release(parcel);
    }
    CU_ASSERT_EQUAL(at, bytes);
    free(all);
    for (int i = 0; i < 200; i++)
        free(entries[i]);
}

static void a_parcel_is_only_what_was_sent(void)
{
    struct shared_entry *entry = entry_of(1, 100);
    struct packet packet = append_after(0, 1);
    packet.entries = &entry;
    packet.entry_count = 1;
    link_write_reset(&write);
    CU_ASSERT_TRUE(link_write_packet(&write, SEED, &packet));
    size_t bytes;
    uint8_t *all = written(&bytes);
    for (size_t i = PEER_FRAME_HEAD_BYTES; i < bytes; i++) {
        struct peer_frame frame;
        struct parcel *parcel;
        all[i] ^= 0x10;
        CU_ASSERT_EQUAL(peer_frame_parse(all, PEER_FRAME_MAX_BYTES, &frame), KQ_OK);
        uint8_t *body = malloc(frame.body_bytes);
        memcpy(body, all + PEER_FRAME_HEAD_BYTES, frame.body_bytes);
        CU_ASSERT_EQUAL(link_parcel_new(&parcel, &frame, SEED, body), KQ_GARBAGE);
        CU_ASSERT_PTR_NULL(parcel);
        all[i] ^= 0x10;
    }
    struct peer_frame frame;
    struct parcel *parcel;
    CU_ASSERT_EQUAL(peer_frame_parse(all, PEER_FRAME_MAX_BYTES, &frame), KQ_OK);
    uint8_t *body = malloc(frame.body_bytes);
    memcpy(body, all + PEER_FRAME_HEAD_BYTES, frame.body_bytes);
    CU_ASSERT_EQUAL(link_parcel_new(&parcel, &frame, SEED + 1, body), KQ_GARBAGE); /* of another connection */
    free(all);
    free(entry);
}

static const struct unit_case cases[] = {
    {"entries of the log arrive as they are", entries_of_the_log_arrive_as_they_are},
    {"of many entries the first ones go", of_many_entries_the_first_ones_go},
    {"what is not committed, or of another term, stays", what_is_not_committed_or_of_another_term_stays},
    {"several packets share a write until it is full", several_packets_share_a_write_until_it_is_full},
    {"a parcel is only what was sent", a_parcel_is_only_what_was_sent},
};

int main(int argc, char **argv)
{
    if (!link_write_init(&write))
        return 2;
    int result = unit_main("link packets", cases, sizeof cases / sizeof cases[0], argc > 1 ? argv[1] : NULL);
    link_write_fini(&write);
    if (mem != NULL)
        io_mem_free(mem);
    return result;
}
