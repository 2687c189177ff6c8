/*
 * The file `snapshot`, little-endian:
 *
 *      0   4  magic "KQp1"
 *      4   4  CRC-32C seeded with topic id and partition, over bytes 8-63, in every version
 *      8   4  version = 1
 *     12   4  partition
 *     16  16  topic id
 *     32   8  idx: the state is what the entries up to it made
 *     40   8  bytes of the state
 *     48   4  CRC-32C of the state, seeded likewise
 *     52  12  zero
 *     64  ..  the state
 *
 * Written under another name, made durable, renamed, and the folder synced: under
 * its name the file is always whole.
 */
#include "log/snapshot.h"

#include "base/crc32c.h"

#include <stdlib.h>
#include <string.h>

enum { SNAPSHOT_MAGIC = 0x3170514b, SNAPSHOT_VERSION = 1, SNAPSHOT_HEAD_BYTES = 64 };

static enum kq_err write_whole(struct place *place, struct io_file *file, const uint8_t *head, const void *state,
                               size_t state_bytes)
{
    enum kq_err err = err_from_errno(-place->io->ops->truncate(place->io, file, 0));
    if (err == KQ_OK)
        err = io_write(place->io, file, head, SNAPSHOT_HEAD_BYTES, 0);
    if (err == KQ_OK && state_bytes > 0)
        err = io_write(place->io, file, state, state_bytes, SNAPSHOT_HEAD_BYTES);
    return err == KQ_OK ? place_datasync(place, file) : err;
}

enum kq_err snapshot_write(struct place *place, const char *name, uint64_t idx, const void *state, size_t state_bytes,
                           struct fault *fault)
{
    uint8_t head[SNAPSHOT_HEAD_BYTES] = {0};
    put_le32(head, SNAPSHOT_MAGIC);
    put_le32(head + 8, SNAPSHOT_VERSION);
    put_le32(head + 12, place->partition);
    memcpy(head + 16, place->topic_id.bytes, UUID_BYTES);
    put_le64(head + 32, idx);
    put_le64(head + 40, state_bytes);
    put_le32(head + 48, crc32c(place->seed.shared, state, state_bytes));
    put_le32(head + 4, crc32c(place->seed.shared, head + 8, SNAPSHOT_HEAD_BYTES - 8));
    char path[SEGMENT_PATH_BYTES];
    place_path(place, name, path);
    struct io_file *file;
    enum kq_err err = io_open(place->io, path, IO_WRITE | IO_CREATE, &file);
    if (err == KQ_OK) {
        err = write_whole(place, file, head, state, state_bytes);
        io_close(place->io, &file);
    }
    if (err == KQ_OK)
        return KQ_OK;
    (void)place->io->ops->unlink(place->io, path);
    return fault_set(fault, err, "writing %s: %s", path, err_text(err));
}

enum kq_err snapshot_store(struct place *place, uint64_t idx, const void *state, size_t state_bytes,
                           struct fault *fault)
{
    char path[SEGMENT_PATH_BYTES];
    char temp[SEGMENT_PATH_BYTES];
    place_path(place, SNAPSHOT_NAME, path);
    place_path(place, SNAPSHOT_TEMP_NAME, temp);
    enum kq_err err = snapshot_write(place, SNAPSHOT_TEMP_NAME, idx, state, state_bytes, fault);
    if (err != KQ_OK)
        return err;
    err = err_from_errno(-place->io->ops->rename(place->io, temp, path));
    if (err == KQ_OK)
        err = place_sync_dir(place);
    return err == KQ_OK ? KQ_OK : fault_set(fault, err, "writing %s: %s", path, err_text(err));
}

static enum kq_err load(struct place *place, struct io_file *file, uint64_t *idx, void **state, size_t *state_bytes)
{
    uint8_t head[SNAPSHOT_HEAD_BYTES];
    uint64_t file_bytes;
    enum kq_err err = err_from_errno(-place->io->ops->size(place->io, file, &file_bytes));
    if (err == KQ_OK)
        err = io_read(place->io, file, head, sizeof head, 0, NULL);
    if (err != KQ_OK)
        return err == KQ_EOF ? KQ_CORRUPT : err;
    if (get_le32(head) != SNAPSHOT_MAGIC ||
        get_le32(head + 4) != crc32c(place->seed.shared, head + 8, SNAPSHOT_HEAD_BYTES - 8))
        return KQ_CORRUPT;
    if (get_le32(head + 8) > SNAPSHOT_VERSION)
        return KQ_BAD_VERSION;
    uint64_t size = get_le64(head + 40);
    if (size > LOG_STATE_BYTES_MAX || size > file_bytes - SNAPSHOT_HEAD_BYTES)
        return KQ_CORRUPT;
    *idx = get_le64(head + 32);
    *state_bytes = size;
    if (size == 0)
        return KQ_OK;
    *state = malloc(size);
    if (*state == NULL)
        return KQ_NO_MEMORY;
    err = io_read(place->io, file, *state, size, SNAPSHOT_HEAD_BYTES, NULL);
    if (err == KQ_OK && crc32c(place->seed.shared, *state, size) != get_le32(head + 48))
        err = KQ_CORRUPT;
    return err == KQ_EOF ? KQ_CORRUPT : err;
}

enum kq_err snapshot_load(struct place *place, uint64_t *idx, void **state, size_t *state_bytes, struct fault *fault)
{
    char path[SEGMENT_PATH_BYTES];
    place_path(place, SNAPSHOT_NAME, path);
    *idx = 0;
    *state = NULL;
    *state_bytes = 0;
    struct io_file *file;
    enum kq_err err = io_open(place->io, path, 0, &file);
    if (err == KQ_NOT_FOUND)
        return err;
    if (err == KQ_OK) {
        err = load(place, file, idx, state, state_bytes);
        io_close(place->io, &file);
    }
    if (err == KQ_OK)
        return KQ_OK;
    free(*state);
    *state = NULL;
    *state_bytes = 0;
    return fault_set(fault, err, "reading %s: %s", path, err_text(err));
}
