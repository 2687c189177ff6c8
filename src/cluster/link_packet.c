#include "cluster/link_packet.h"

#include "base/crc32c.h"
#include "base/require.h"
#include "log/batch.h"

#include <stdlib.h>

/* ---- writing ------------------------------------------------------------------------ */

bool link_write_init(struct link_write *w)
{
    *w = (struct link_write){.heads = malloc(LINK_HEADS_BYTES), .parts = calloc(LINK_PARTS_MAX, sizeof *w->parts)};
    if (w->heads != NULL && w->parts != NULL)
        return true;
    link_write_fini(w);
    return false;
}

void link_write_fini(struct link_write *w)
{
    free(w->heads);
    free(w->parts);
    *w = (struct link_write){.heads = NULL};
}

void link_write_reset(struct link_write *w)
{
    w->heads_bytes = 0;
    w->part_count = 0;
    w->bytes = 0;
}

static void add_part(struct link_write *w, const void *data, size_t size_bytes)
{
    if (size_bytes == 0)
        return;
    struct iovec *last = w->part_count > 0 ? &w->parts[w->part_count - 1] : NULL;
    w->bytes += size_bytes;
    if (last != NULL && (const uint8_t *)last->iov_base + last->iov_len == (const uint8_t *)data) {
        last->iov_len += size_bytes; /* heads of small frames follow each other */
        return;
    }
    REQUIRE(w->parts != NULL);
    REQUIRE(w->part_count < LINK_PARTS_MAX);
    w->parts[w->part_count++] = (struct iovec){.iov_base = (void *)(uintptr_t)data, .iov_len = size_bytes};
}

bool link_write_frame(struct link_write *w, uint32_t seed, enum peer_frame_type type, const struct slice *parts,
                      size_t part_count)
{
    size_t size_bytes = PEER_FRAME_HEAD_BYTES;
    for (size_t i = 0; i < part_count; i++)
        size_bytes += parts[i].len;
    if (w->heads_bytes + size_bytes > LINK_HEADS_BYTES || w->part_count + 1 > LINK_PARTS_MAX)
        return false;
    uint8_t *at = w->heads + w->heads_bytes;
    peer_frame_head(at, seed, type, 0, parts, part_count);
    size_t done = PEER_FRAME_HEAD_BYTES;
    for (size_t i = 0; i < part_count; i++) {
        if (parts[i].len > 0)
            memcpy(at + done, parts[i].data, parts[i].len);
        done += parts[i].len;
    }
    add_part(w, at, size_bytes);
    w->heads_bytes += size_bytes;
    return true;
}

/* A frame that is being made: its meta lies in the heads, behind room for its own head. */
struct making {
    struct buf meta;
    uint32_t crc; /* of the bodies */
    uint64_t body_bytes;
};

static void begin(struct making *m, struct link_write *w, const struct packet *packet, uint32_t entry_count)
{
    struct raft_frame frame = {.topic_id = packet->group.topic_id,
                               .partition = packet->group.partition,
                               .message = packet->message,
                               .next_off = packet->next_off,
                               .start_off = packet->start_off,
                               .entry_count = entry_count,
                               .state_bytes = packet->state_bytes};
    if (packet->message.type == RAFT_MSG_APPEND)
        frame.message.last_idx = packet->message.prev_idx + entry_count;
    size_t from = w->heads_bytes + PEER_FRAME_HEAD_BYTES;
    /* A buffer over memory that it does not own: it has all the room it may take. */
    m->meta = (struct buf){.data = w->heads + from, .cap = LINK_HEADS_BYTES - from, .limit = LINK_HEADS_BYTES - from};
    m->crc = 0;
    m->body_bytes = 0;
    raft_frame_put_head(&m->meta, &frame);
}

static bool has_room(const struct link_write *w, const struct packet *packet, uint32_t entry_count)
{
    size_t seats = packet->message.config != NULL ? packet->message.config->count : 0;
    size_t meta_bytes = PEER_FRAME_HEAD_BYTES + RAFT_FRAME_HEAD_BYTES + seats * RAFT_FRAME_SEAT_BYTES +
                        (size_t)entry_count * RAFT_FRAME_ENTRY_BYTES;
    return w->heads_bytes + meta_bytes <= LINK_HEADS_BYTES &&
           (uint32_t)w->part_count + 2 + entry_count <= LINK_PARTS_MAX;
}

static void put_entry(struct making *m, const struct raft_frame_entry *entry)
{
    raft_frame_put_entry(&m->meta, entry);
    m->crc = crc32c_combine(m->crc, entry->body_crc, entry->body_bytes);
    m->body_bytes += entry->body_bytes;
}

/* Head and meta become a part; the bodies' parts follow. False: larger than a frame may be. */
static bool finish(struct making *m, struct link_write *w, uint32_t seed, const struct packet *packet)
{
    REQUIRE(!m->meta.bad);
    uint64_t all_bytes = m->meta.len + packet->state_bytes + m->body_bytes;
    if (all_bytes > PEER_FRAME_MAX_BYTES)
        return false;
    uint32_t crc = crc32c(0, m->meta.data, m->meta.len);
    crc = crc32c(crc, packet->state, packet->state_bytes);
    crc = crc32c_combine(crc, m->crc, m->body_bytes);
    uint8_t *head = w->heads + w->heads_bytes;
    peer_frame_head_of(head, seed, PEER_RAFT, 0, (uint32_t)all_bytes, crc);
    add_part(w, head, PEER_FRAME_HEAD_BYTES + m->meta.len);
    w->heads_bytes += PEER_FRAME_HEAD_BYTES + m->meta.len;
    add_part(w, packet->state, packet->state_bytes);
    return true;
}

bool link_write_packet(struct link_write *w, uint32_t seed, const struct packet *packet)
{
    uint32_t count = packet->entry_count;
    if (count > LINK_PARTS_MAX - 2)
        count = LINK_PARTS_MAX - 2; /* the rest is sent again, as if it were lost */
    if (!has_room(w, packet, count))
        return false;
    struct making m;
    begin(&m, w, packet, count);
    for (uint32_t i = 0; i < count; i++) {
        const struct shared_entry *e = packet->entries[i];
        struct raft_frame_entry entry = {.type = (uint8_t)e->type,
                                         .term = e->term,
                                         .idx = e->idx,
                                         .first_off = e->first_off,
                                         .record_count = e->record_count,
                                         .max_time_ms = e->max_time_ms,
                                         .body_bytes = e->body_bytes,
                                         .body_crc = e->body_crc};
        put_entry(&m, &entry);
    }
    if (!finish(&m, w, seed, packet))
        return true; /* no peer would take it; nothing is sent of it */
    for (uint32_t i = 0; i < count; i++)
        add_part(w, packet->entries[i]->body, packet->entries[i]->body_bytes);
    return true;
}

/* ---- out of the log -------------------------------------------------------------------- */

struct look {
    const struct log_slice *slice;
    struct raft_frame_entry entry;
};

/* Checksum and largest time of a body under its mapping. */
static void look_at_body(void *context)
{
    struct look *look = context;
    const struct log_slice *slice = look->slice;
    look->entry.body_crc = crc32c(0, slice->body, slice->body_bytes);
    look->entry.max_time_ms = -1;
    if (slice->type != LOG_ENTRY_RECORDS)
        return;
    struct cursor c = cursor_over(slice->body, slice->body_bytes);
    struct batch_info info;
    const uint8_t *batch;
    while (cursor_left(&c) > 0 && batch_next(&c, &info, &batch) == KQ_OK)
        if (info.max_time_ms > look->entry.max_time_ms)
            look->entry.max_time_ms = info.max_time_ms;
}

static enum kq_err look_at(struct look *look, const struct log_slice *slice, struct fault *fault)
{
    look->slice = slice;
    look->entry = (struct raft_frame_entry){.type = (uint8_t)slice->type,
                                            .term = slice->term,
                                            .idx = slice->idx,
                                            .first_off = slice->first_off,
                                            .record_count = slice->record_count,
                                            .body_bytes = slice->body_bytes};
    if (slice->body_bytes == 0) {
        look_at_body(look);
        return KQ_OK;
    }
    if (io_guarded(slice->body, slice->body_bytes, look_at_body, look))
        return KQ_OK;
    return fault_set(fault, KQ_IO, "the disk reported an error where entry %llu is", (unsigned long long)slice->idx);
}

enum { VIEW_ENTRIES_MAX = 512 /* of one frame */ };

enum kq_err link_write_view(struct link_write *w, uint32_t seed, const struct packet *packet, struct fault *fault)
{
    const struct raft_message *message = &packet->message;
    uint64_t wanted = message->last_idx - message->prev_idx;
    uint32_t room = wanted < VIEW_ENTRIES_MAX ? (uint32_t)wanted : VIEW_ENTRIES_MAX;
    if (!has_room(w, packet, room))
        return KQ_FULL;
    struct log_iter it;
    enum kq_err err = log_iter_seek_idx(&it, packet->view, message->prev_idx + 1);
    struct look looks[VIEW_ENTRIES_MAX / 8];
    struct look *all = room <= VIEW_ENTRIES_MAX / 8 ? looks : calloc(room, sizeof *all);
    const uint8_t **bodies = calloc(room + 1, sizeof *bodies);
    uint32_t count = 0;
    if (all == NULL || bodies == NULL) {
        free(all == looks ? NULL : all);
        free(bodies);
        return fault_set(fault, KQ_NO_MEMORY, "no memory to read the log for a peer");
    }
    while (err == KQ_OK && count < room) {
        struct log_slice slice;
        err = log_iter_next(&it, &slice, fault);
        if (err == KQ_OK && slice.term != message->entry_term)
            break; /* entries of one message are of one term */
        if (err == KQ_OK)
            err = look_at(&all[count], &slice, fault);
        if (err == KQ_OK)
            bodies[count++] = slice.body;
    }
    if (count > 0) {
        struct making m;
        begin(&m, w, packet, count);
        for (uint32_t i = 0; i < count; i++)
            put_entry(&m, &all[i].entry);
        err = KQ_OK;
        if (!finish(&m, w, seed, packet))
            err = fault_set(fault, KQ_TOO_LARGE, "an entry of the log is larger than a frame may be");
        for (uint32_t i = 0; err == KQ_OK && i < count; i++)
            add_part(w, bodies[i], all[i].entry.body_bytes);
    } else if (err == KQ_OK) {
        err = KQ_AGAIN;
    }
    if (all != looks)
        free(all);
    free(bodies);
    return err;
}

/* ---- reading ------------------------------------------------------------------------------ */

struct parcel_memory {
    struct parcel parcel;
    struct raft_config config;
    uint8_t *body;
    struct raft_seat *seats;
    struct parcel_entry entries[]; /* then the seats */
};

static void release(struct parcel *parcel)
{
    struct parcel_memory *memory = CONTAINER_OF(parcel, struct parcel_memory, parcel);
    free(memory->body);
    free(memory);
}

static void fill_entries(struct parcel_memory *memory, const struct raft_frame *frame)
{
    const uint8_t *body = frame->bodies;
    for (uint32_t i = 0; i < frame->entry_count; i++) {
        struct raft_frame_entry e;
        raft_frame_entry(frame, i, &e);
        memory->entries[i] = (struct parcel_entry){.type = (enum log_entry_type)e.type,
                                                   .term = e.term,
                                                   .idx = e.idx,
                                                   .first_off = e.first_off,
                                                   .record_count = e.record_count,
                                                   .max_time_ms = e.max_time_ms,
                                                   .body = body,
                                                   .body_bytes = e.body_bytes,
                                                   .body_crc = e.body_crc};
        body += e.body_bytes;
    }
}

enum kq_err link_parcel_new(struct parcel **parcel, const struct peer_frame *peer_frame, uint32_t seed, uint8_t *body)
{
    struct raft_frame frame;
    uint32_t crc;
    *parcel = NULL;
    if (raft_frame_decode(body, peer_frame->body_bytes, &frame) != KQ_OK || !raft_frame_crc(&frame, body, &crc) ||
        !peer_frame_check_crc(peer_frame, seed, crc)) {
        free(body);
        return KQ_GARBAGE;
    }
    struct parcel_memory *memory = malloc(sizeof *memory + frame.entry_count * sizeof memory->entries[0] +
                                          frame.seat_count * sizeof *memory->seats);
    if (memory == NULL) {
        free(body);
        return KQ_NO_MEMORY;
    }
    memory->body = body;
    memory->seats = (struct raft_seat *)(void *)&memory->entries[frame.entry_count];
    memory->config = (struct raft_config){.idx = frame.config_idx, .count = frame.seat_count, .seats = memory->seats};
    for (uint32_t i = 0; i < frame.seat_count; i++)
        raft_frame_seat(&frame, i, &memory->seats[i]);
    fill_entries(memory, &frame);
    memory->parcel = (struct parcel){
        .mail = {.kind = MAIL_PARCEL, .size_bytes = peer_frame->body_bytes},
        .group = {.topic_id = frame.topic_id, .partition = frame.partition},
        .message = frame.message,
        .entries = memory->entries,
        .entry_count = frame.entry_count,
        .next_off = frame.next_off,
        .start_off = frame.start_off,
        .state = frame.state,
        .state_bytes = frame.state_bytes,
        .release = release,
    };
    if (frame.has_config)
        memory->parcel.message.config = &memory->config;
    *parcel = &memory->parcel;
    return KQ_OK;
}
