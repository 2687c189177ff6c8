/*
 * The file `hard-state`: slots of 4 KiB. Little-endian.
 *
 *   slot 0, slot 1   the state, written in turn: an odd version goes to slot 0
 *   slot 2           the flush mark; not written before there is one, so that an
 *                    empty replica takes 8 KiB
 *
 * A slot (what follows the content is zero):
 *      0   4  magic "KQh1"
 *      4   4  CRC-32C of bytes 8-511, in every version of the format
 *      8   2  format version = 1
 *     10   2  kind: 1 state, 2 mark
 *     12   4  partition
 *     16  16  topic id
 *     32  16  incarnation of the replica
 *   a state:                              a mark:
 *     48   8  version                       48   8  version of the state then
 *     56   8  term                          56   8  flushed term
 *     64   8  commit idx (a hint)           64   8  flushed idx
 *     72   4  vote: broker id, 0 none       72   8  commit idx
 *     76   4  voter count                   80   8  next offset
 *     80  16  vote: incarnation             88   8  log start offset
 *     96  16  boot id, or zeros             96   8  first offset of the last segment, or -1
 *    112  20  each voter: broker id,       104   8  its first idx
 *             incarnation (at most 16)     112   8  where its entries end
 *                                          120   4  body checksum of the last entry
 *                                          124   4  checksum of its rows
 *                                          128   8  largest timestamp in it
 *                                          136   1  1: closed cleanly
 *                                          137   1  a cut to be done (enum log_cut)
 *                                          144   8  its first idx
 * All of it lies in one sector of 512 bytes.
 *
 * The newest good state wins. If one slot is bad the other is used unless it is
 * known to be stale: the mark saw a later version, or (open.c, unless the
 * group was created with one voter) an entry has a later term. A torn write damages only the slot that
 * was never spoken of; a stale vote would elect two leaders. Both bad: refused.
 * A bad mark is no mark: it can only make recovery trust less.
 */
#include "log/hard_state.h"

#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/require.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    SLOT_MAGIC = 0x3168514b, /* "KQh1" */
    SLOT_VERSION = 1,
    KIND_STATE = 1,
    KIND_MARK = 2,
    CRC_FROM = 8,
    CRC_TO = 512,
    CONTENT = 48,
    VOTERS = 112,
    VOTER_BYTES = 4 + UUID_BYTES,
    PATH_BYTES = 2048,
};

enum slot_kind { SLOT_EMPTY, SLOT_BAD, SLOT_NEWER, SLOT_GOOD };

static void put_uuid(uint8_t *at, const struct uuid *id)
{
    memcpy(at, id->bytes, UUID_BYTES);
}

static struct uuid get_uuid(const uint8_t *at)
{
    struct uuid id;
    memcpy(id.bytes, at, UUID_BYTES);
    return id;
}

static void slot_begin(uint8_t *slot, uint16_t kind, const struct log_hard_state *state)
{
    memset(slot, 0, HARD_STATE_SLOT_BYTES);
    put_le32(slot, SLOT_MAGIC);
    put_le16(slot + 8, SLOT_VERSION);
    put_le16(slot + 10, kind);
    put_le32(slot + 12, state->partition);
    put_uuid(slot + 16, &state->topic_id);
    put_uuid(slot + 32, &state->incarnation);
}

static void slot_end(uint8_t *slot)
{
    put_le32(slot + 4, crc32c(0, slot + CRC_FROM, CRC_TO - CRC_FROM));
}

static void encode_state(uint8_t *slot, const struct log_hard_state *state)
{
    REQUIRE(state->voter_count <= LOG_VOTERS_MAX);
    slot_begin(slot, KIND_STATE, state);
    put_le64(slot + 48, state->version);
    put_le64(slot + 56, state->term);
    put_le64(slot + 64, state->commit_idx);
    put_le32(slot + 72, state->vote_broker_id);
    put_le32(slot + 76, state->voter_count);
    put_uuid(slot + 80, &state->vote_incarnation);
    put_uuid(slot + 96, &state->boot_id);
    for (uint32_t i = 0; i < state->voter_count; i++) {
        uint8_t *at = slot + VOTERS + i * VOTER_BYTES;
        put_le32(at, state->voters[i].broker_id);
        put_uuid(at + 4, &state->voters[i].incarnation);
    }
    slot_end(slot);
}

static void encode_mark(uint8_t *slot, const struct log_hard_state *state, const struct log_mark *mark)
{
    slot_begin(slot, KIND_MARK, state);
    put_le64(slot + 48, mark->state_version);
    put_le64(slot + 56, mark->flushed_term);
    put_le64(slot + 64, mark->flushed_idx);
    put_le64(slot + 72, mark->commit_idx);
    put_le64(slot + 80, (uint64_t)mark->next_off);
    put_le64(slot + 88, (uint64_t)mark->start_off);
    put_le64(slot + 96, (uint64_t)mark->segment_off);
    put_le64(slot + 104, mark->segment_idx);
    put_le64(slot + 112, mark->end_pos);
    put_le32(slot + 120, mark->last_crc);
    put_le32(slot + 124, mark->index_crc);
    put_le64(slot + 128, (uint64_t)mark->max_time_ms);
    slot[136] = mark->clean;
    slot[137] = (uint8_t)mark->cut;
    put_le64(slot + 144, mark->cut_idx);
    slot_end(slot);
}

static enum slot_kind slot_look(const uint8_t *slot, uint16_t kind)
{
    bool zero = true;
    for (int i = 0; i < CRC_TO && zero; i++)
        zero = slot[i] == 0;
    if (zero)
        return SLOT_EMPTY;
    if (get_le32(slot) != SLOT_MAGIC || get_le32(slot + 4) != crc32c(0, slot + CRC_FROM, CRC_TO - CRC_FROM))
        return SLOT_BAD;
    if (get_le16(slot + 8) > SLOT_VERSION)
        return SLOT_NEWER;
    return get_le16(slot + 10) == kind ? SLOT_GOOD : SLOT_BAD;
}

static bool decode_state(const uint8_t *slot, struct log_hard_state *state)
{
    memset(state, 0, sizeof *state);
    state->partition = get_le32(slot + 12);
    state->topic_id = get_uuid(slot + 16);
    state->incarnation = get_uuid(slot + 32);
    state->version = get_le64(slot + 48);
    state->term = get_le64(slot + 56);
    state->commit_idx = get_le64(slot + 64);
    state->vote_broker_id = get_le32(slot + 72);
    state->voter_count = get_le32(slot + 76);
    state->vote_incarnation = get_uuid(slot + 80);
    state->boot_id = get_uuid(slot + 96);
    if (state->voter_count > LOG_VOTERS_MAX || state->version == 0)
        return false;
    for (uint32_t i = 0; i < state->voter_count; i++) {
        const uint8_t *at = slot + VOTERS + i * VOTER_BYTES;
        state->voters[i] = (struct log_voter){get_le32(at), get_uuid(at + 4)};
    }
    return true;
}

/* A mark of another replica or one that does not check out is no mark. */
static void decode_mark(const uint8_t *slot, const struct log_hard_state *state, struct log_mark *mark)
{
    *mark = (struct log_mark){.segment_off = -2};
    struct uuid topic_id = get_uuid(slot + 16);
    struct uuid incarnation = get_uuid(slot + 32);
    if (slot_look(slot, KIND_MARK) != SLOT_GOOD || get_le32(slot + 12) != state->partition ||
        !uuid_equal(&topic_id, &state->topic_id) || !uuid_equal(&incarnation, &state->incarnation))
        return;
    *mark = (struct log_mark){
        .clean = slot[136] == 1,
        .state_version = get_le64(slot + 48),
        .flushed_term = get_le64(slot + 56),
        .flushed_idx = get_le64(slot + 64),
        .commit_idx = get_le64(slot + 72),
        .next_off = (int64_t)get_le64(slot + 80),
        .start_off = (int64_t)get_le64(slot + 88),
        .segment_off = (int64_t)get_le64(slot + 96),
        .segment_idx = get_le64(slot + 104),
        .end_pos = get_le64(slot + 112),
        .last_crc = get_le32(slot + 120),
        .index_crc = get_le32(slot + 124),
        .max_time_ms = (int64_t)get_le64(slot + 128),
        .cut = (enum log_cut)slot[137],
        .cut_idx = get_le64(slot + 144),
    };
    bool cut_nowhere = mark->cut != LOG_CUT_NONE && (mark->segment_off < 0 || mark->cut_idx == 0);
    if (mark->segment_off < -1 || slot[137] > LOG_CUT_RESET || cut_nowhere)
        mark->segment_off = -2;
}

static void path_of(char path[PATH_BYTES], const char *dir, const char *name)
{
    REQUIRE(snprintf(path, PATH_BYTES, "%s/%s", dir, name) < PATH_BYTES);
}

static enum kq_err fail(struct fault *fault, enum kq_err err, const char *doing, const char *path)
{
    return fault_set(fault, err, "%s %s: %s", doing, path, err_text(err));
}

/* Writes one slot (or the whole new file) and makes it durable. */
static enum kq_err write_slot(struct io *io, const char *path, int flags, const uint8_t *data, size_t size_bytes,
                              uint64_t pos, struct fault *fault)
{
    struct io_file *file;
    enum kq_err err = io_open(io, path, flags, &file);
    if (err != KQ_OK)
        return fail(fault, err, "opening", path);
    err = io_write(io, file, data, size_bytes, pos);
    if (err == KQ_OK)
        err = err_from_errno(-io->ops->datasync(io, file));
    io_close(io, &file);
    return err == KQ_OK ? KQ_OK : fail(fault, err, "writing", path);
}

enum kq_err hard_state_prepare(struct io *io, const char *dir, const struct log_hard_state *state, struct fault *fault)
{
    char temp[PATH_BYTES];
    path_of(temp, dir, HARD_STATE_TEMP_NAME);
    REQUIRE(state->version == 1); /* an odd one: slot 0 */
    uint8_t *data = calloc(2, HARD_STATE_SLOT_BYTES);
    if (data == NULL)
        return fail(fault, KQ_NO_MEMORY, "making", temp);
    encode_state(data, state);
    /* Whole before it has its name: a file under the name is never half made. */
    enum kq_err err = write_slot(io, temp, IO_WRITE | IO_CREATE, data, 2 * HARD_STATE_SLOT_BYTES, 0, fault);
    free(data);
    return err;
}

enum kq_err hard_state_name(struct io *io, const char *dir, struct fault *fault)
{
    char path[PATH_BYTES];
    char temp[PATH_BYTES];
    path_of(path, dir, HARD_STATE_NAME);
    path_of(temp, dir, HARD_STATE_TEMP_NAME);
    enum kq_err err = err_from_errno(-io->ops->rename(io, temp, path));
    return err == KQ_OK ? KQ_OK : fail(fault, err, "naming", path);
}

static enum kq_err choose(const uint8_t *data, struct log_hard_state *state, struct log_mark *mark, bool *one_bad,
                          const char *path, struct fault *fault)
{
    struct log_hard_state *found = calloc(2, sizeof *found);
    if (found == NULL)
        return fail(fault, KQ_NO_MEMORY, "reading", path);
    enum slot_kind kind[2];
    for (int i = 0; i < 2; i++) {
        kind[i] = slot_look(data + i * HARD_STATE_SLOT_BYTES, KIND_STATE);
        if (kind[i] == SLOT_GOOD && !decode_state(data + i * HARD_STATE_SLOT_BYTES, &found[i]))
            kind[i] = SLOT_BAD;
    }
    enum kq_err err = KQ_OK;
    if (kind[0] == SLOT_NEWER || kind[1] == SLOT_NEWER)
        err = fault_set(fault, KQ_BAD_VERSION, "%s: written by a newer version of this program; start that one", path);
    else if (kind[0] != SLOT_GOOD && kind[1] != SLOT_GOOD)
        err = fault_set(fault, KQ_CORRUPT,
                        "%s: neither slot checks out; this replica can no longer vote. Restore the folder from a "
                        "backup, or see `kafkaesque log repair`",
                        path);
    if (err == KQ_OK) {
        int newest = kind[0] != SLOT_GOOD || (kind[1] == SLOT_GOOD && found[1].version > found[0].version);
        *state = found[newest];
        /* Slot 1 is empty only until version 2 is written. */
        enum slot_kind other = kind[1 - newest];
        *one_bad = other == SLOT_BAD || (other == SLOT_EMPTY && state->version > 1);
        decode_mark(data + 2 * HARD_STATE_SLOT_BYTES, state, mark);
        if (*one_bad && log_mark_is_set(mark) && mark->state_version > state->version)
            err = fault_set(fault, KQ_CORRUPT,
                            "%s: the newest slot (version %llu or later) does not check out and the other, version "
                            "%llu, is stale; this replica must not vote. See `kafkaesque log repair`",
                            path, (unsigned long long)mark->state_version, (unsigned long long)state->version);
    }
    free(found);
    return err;
}

enum kq_err hard_state_load(struct io *io, const char *dir, struct log_hard_state *state, struct log_mark *mark,
                            bool *one_bad, struct fault *fault)
{
    char path[PATH_BYTES];
    path_of(path, dir, HARD_STATE_NAME);
    struct io_file *file;
    enum kq_err err = io_open(io, path, 0, &file);
    if (err != KQ_OK)
        return err == KQ_NOT_FOUND ? err : fail(fault, err, "opening", path);
    uint8_t *data = calloc(3, HARD_STATE_SLOT_BYTES);
    err = data != NULL ? io_read(io, file, data, HARD_STATE_FILE_BYTES, 0, NULL) : KQ_NO_MEMORY;
    io_close(io, &file);
    *one_bad = false;
    if (err == KQ_OK || err == KQ_EOF) /* the mark may not be there yet */
        err = choose(data, state, mark, one_bad, path, fault);
    else
        (void)fail(fault, err, "reading", path);
    free(data);
    return err;
}

static enum kq_err store(struct io *io, const char *dir, const struct log_hard_state *state,
                         const struct log_mark *mark, struct fault *fault)
{
    char path[PATH_BYTES];
    path_of(path, dir, HARD_STATE_NAME);
    uint8_t *slot = malloc(HARD_STATE_SLOT_BYTES);
    if (slot == NULL)
        return fail(fault, KQ_NO_MEMORY, "writing", path);
    uint64_t number = 2;
    if (mark != NULL) {
        encode_mark(slot, state, mark);
    } else {
        encode_state(slot, state);
        number = 1 - state->version % 2;
    }
    enum kq_err err =
        write_slot(io, path, IO_WRITE, slot, HARD_STATE_SLOT_BYTES, number * HARD_STATE_SLOT_BYTES, fault);
    free(slot);
    return err;
}

enum kq_err hard_state_store(struct io *io, const char *dir, const struct log_hard_state *state, struct fault *fault)
{
    return store(io, dir, state, NULL, fault);
}

enum kq_err hard_state_store_mark(struct io *io, const char *dir, const struct log_hard_state *state,
                                  const struct log_mark *mark, struct fault *fault)
{
    return store(io, dir, state, mark, fault);
}

enum kq_err hard_state_store_again(struct io *io, const char *dir, const struct log_hard_state *state,
                                   const struct log_mark *mark, struct fault *fault)
{
    char path[PATH_BYTES];
    path_of(path, dir, HARD_STATE_NAME);
    uint8_t *slots = malloc(2 * HARD_STATE_SLOT_BYTES);
    struct io_file *file = NULL;
    enum kq_err err = slots != NULL ? io_open(io, path, IO_WRITE, &file) : KQ_NO_MEMORY;
    if (err == KQ_OK && mark != NULL) {
        encode_mark(slots, state, mark);
        err = io_write(io, file, slots, HARD_STATE_SLOT_BYTES, 2 * HARD_STATE_SLOT_BYTES);
    }
    if (err == KQ_OK && state->version > 1) { /* the first one was whole before it had its name */
        encode_state(slots + HARD_STATE_SLOT_BYTES, state);
        err = io_write(io, file, slots + HARD_STATE_SLOT_BYTES, HARD_STATE_SLOT_BYTES,
                       (1 - state->version % 2) * HARD_STATE_SLOT_BYTES);
    }
    if (err == KQ_OK)
        err = err_from_errno(-io->ops->datasync(io, file));
    io_close(io, &file);
    free(slots);
    return err == KQ_OK ? KQ_OK : fail(fault, err, "writing", path);
}
