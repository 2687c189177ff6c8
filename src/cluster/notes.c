#include "cluster/notes.h"

#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/map.h"
#include "base/require.h"
#include "cluster/home.h"

#include <stdlib.h>
#include <string.h>

enum { HEAD_BYTES = 8, RECORD_BYTES = 40, KEY_BYTES = 36, FILE_BYTES_MAX = 256 * 1024 * 1024, READ_BYTES = 64 * 1024 };
static const uint8_t head[HEAD_BYTES] = "KQr1";

struct notes {
    struct io *io;
    char data_dir[CLUSTER_PATH_BYTES];
    char path[CLUSTER_PATH_BYTES];
    char new_path[CLUSTER_PATH_BYTES];
    struct map known; /* the key of a record -> notes, as something that is not NULL */
    uint64_t end_pos; /* 0: there is no file */
    struct buf added;
};

static void key_of(const struct note *note, uint8_t key[KEY_BYTES])
{
    memcpy(key, note->topic_id.bytes, UUID_BYTES);
    put_le32(key + UUID_BYTES, note->partition);
    memcpy(key + UUID_BYTES + 4, note->incarnation.bytes, UUID_BYTES);
}

static void put_record(struct buf *out, const uint8_t key[KEY_BYTES])
{
    buf_put(out, key, KEY_BYTES);
    buf_le32(out, crc32c(0, key, KEY_BYTES));
}

static enum kq_err take_records(struct notes *notes, const uint8_t *bytes, size_t len)
{
    for (size_t at = 0; at + RECORD_BYTES <= len; at += RECORD_BYTES)
        if (get_le32(bytes + at + KEY_BYTES) == crc32c(0, bytes + at, KEY_BYTES) &&
            !map_put(&notes->known, bytes + at, KEY_BYTES, notes, NULL))
            return KQ_NO_MEMORY;
    return KQ_OK;
}

/* From the head on, a piece of whole records at a time. */
static enum kq_err read_all(struct notes *notes, struct io_file *file)
{
    static const size_t piece = READ_BYTES / RECORD_BYTES * RECORD_BYTES;
    uint8_t *bytes = malloc(READ_BYTES);
    size_t got = 0;
    enum kq_err err = bytes == NULL ? KQ_NO_MEMORY : io_read(notes->io, file, bytes, HEAD_BYTES, 0, &got);
    if (err == KQ_EOF) { /* torn as it was made: nothing is noted */
        free(bytes);
        return KQ_OK;
    }
    if (err == KQ_OK && memcmp(bytes, head, HEAD_BYTES) != 0)
        err = KQ_BAD_VERSION;
    notes->end_pos = HEAD_BYTES;
    while (err == KQ_OK) {
        err = io_read(notes->io, file, bytes, piece, notes->end_pos, &got);
        if (err != KQ_OK && err != KQ_EOF)
            break;
        bool last = err == KQ_EOF;
        err = take_records(notes, bytes, got);
        notes->end_pos += got / RECORD_BYTES * RECORD_BYTES;
        if (last)
            break;
    }
    free(bytes);
    return err;
}

enum kq_err notes_open(struct notes **out, struct io *io, const char *data_dir, struct fault *fault)
{
    struct notes *notes = calloc(1, sizeof *notes);
    if (notes == NULL)
        return fault_set(fault, KQ_NO_MEMORY, "out of memory");
    notes->io = io;
    map_init(&notes->known);
    buf_init(&notes->added, FILE_BYTES_MAX);
    *out = notes;
    if (strlen(data_dir) >= sizeof notes->data_dir || !home_path(notes->path, data_dir, NOTES_NAME) ||
        !home_path(notes->new_path, data_dir, NOTES_NAME ".new")) {
        notes_close(out);
        return fault_set(fault, KQ_INVALID, "%s: the path is too long", data_dir);
    }
    memcpy(notes->data_dir, data_dir, strlen(data_dir) + 1);
    (void)io->ops->unlink(io, notes->new_path); /* of a compaction that came to nothing */
    struct io_file *file;
    enum kq_err err = io_open(io, notes->path, 0, &file);
    if (err == KQ_NOT_FOUND)
        return KQ_OK;
    if (err == KQ_OK) {
        err = read_all(notes, file);
        io_close(io, &file);
    }
    if (err == KQ_OK)
        return KQ_OK;
    (void)fault_set(fault, err, "%s: cannot be read: %s", notes->path, err_text(err));
    notes_close(out);
    return err;
}

void notes_close(struct notes **notes)
{
    struct notes *n = *notes;
    *notes = NULL;
    if (n == NULL)
        return;
    map_fini(&n->known);
    buf_fini(&n->added);
    free(n);
}

bool notes_has(const struct notes *notes, const struct note *note)
{
    uint8_t key[KEY_BYTES];
    key_of(note, key);
    return map_get(&notes->known, key, KEY_BYTES) != NULL;
}

bool notes_has_other(const struct notes *notes, const struct note *note)
{
    uint8_t key[KEY_BYTES];
    struct map_walk walk;
    key_of(note, key);
    for (map_walk_init(&walk, &notes->known); map_walk_next(&walk);)
        if (walk.key_bytes == KEY_BYTES && memcmp(walk.key, key, UUID_BYTES + 4) == 0 &&
            memcmp(walk.key, key, KEY_BYTES) != 0)
            return true;
    return false;
}

enum kq_err notes_add(struct notes *notes, const struct note *note)
{
    uint8_t key[KEY_BYTES];
    key_of(note, key);
    put_record(&notes->added, key);
    return notes->added.bad ? KQ_NO_MEMORY : KQ_OK;
}

static enum kq_err write_added(struct notes *notes)
{
    struct io *io = notes->io;
    struct io_file *file;
    enum kq_err err = io_open(io, notes->path, IO_WRITE | IO_CREATE, &file);
    if (err != KQ_OK)
        return err;
    bool fresh = notes->end_pos == 0;
    if (fresh)
        err = io_write(io, file, head, HEAD_BYTES, 0);
    uint64_t pos = fresh ? HEAD_BYTES : notes->end_pos;
    if (err == KQ_OK)
        err = io_write(io, file, notes->added.data, notes->added.len, pos);
    if (err == KQ_OK)
        err = err_from_errno(-io->ops->datasync(io, file));
    io_close(io, &file);
    if (err == KQ_OK && fresh)
        err = err_from_errno(-io->ops->sync_dir(io, notes->data_dir));
    if (err == KQ_OK)
        notes->end_pos = pos + notes->added.len;
    return err;
}

enum kq_err notes_flush(struct notes *notes, struct fault *fault)
{
    enum kq_err err = notes->added.bad ? KQ_NO_MEMORY : KQ_OK;
    if (err == KQ_OK && notes->added.len == 0)
        return KQ_OK;
    if (err == KQ_OK)
        err = err_from_errno(-notes->io->ops->sync_dir(notes->io, notes->data_dir));
    if (err == KQ_OK)
        err = write_added(notes);
    if (err == KQ_OK)
        err = take_records(notes, notes->added.data, notes->added.len);
    buf_reset(&notes->added);
    if (err != KQ_OK)
        return fault_set(fault, err, "%s: cannot be written: %s", notes->path, err_text(err));
    return KQ_OK;
}

/* ---- compaction -------------------------------------------------------------------------- */

static struct note note_of(const uint8_t key[KEY_BYTES])
{
    struct note note;
    memcpy(note.topic_id.bytes, key, UUID_BYTES);
    note.partition = get_le32(key + UUID_BYTES);
    memcpy(note.incarnation.bytes, key + UUID_BYTES + 4, UUID_BYTES);
    return note;
}

static enum kq_err write_new(struct notes *notes, const struct buf *bytes)
{
    struct io *io = notes->io;
    struct io_file *file;
    enum kq_err err = io_open(io, notes->new_path, IO_WRITE | IO_CREATE | IO_EXCLUSIVE, &file);
    if (err != KQ_OK)
        return err;
    err = io_write(io, file, bytes->data, bytes->len, 0);
    if (err == KQ_OK)
        err = err_from_errno(-io->ops->datasync(io, file));
    io_close(io, &file);
    if (err == KQ_OK)
        err = err_from_errno(-io->ops->rename(io, notes->new_path, notes->path));
    if (err != KQ_OK)
        (void)io->ops->unlink(io, notes->new_path);
    return err;
}

enum kq_err notes_compact(struct notes *notes, bool (*keep)(void *context, const struct note *note), void *context,
                          uint64_t *dropped, struct fault *fault)
{
    uint64_t records = notes->end_pos < HEAD_BYTES ? 0 : (notes->end_pos - HEAD_BYTES) / RECORD_BYTES;
    *dropped = 0;
    if (records < NOTES_COMPACT_FROM || notes->added.len > 0)
        return KQ_OK;
    struct buf bytes;
    struct map_walk w;
    buf_init(&bytes, FILE_BYTES_MAX);
    buf_put(&bytes, head, HEAD_BYTES);
    for (map_walk_init(&w, &notes->known); map_walk_next(&w);) {
        struct note note = note_of(w.key);
        if (keep(context, &note))
            put_record(&bytes, w.key);
    }
    uint64_t kept = (bytes.len - HEAD_BYTES) / RECORD_BYTES;
    enum kq_err err = bytes.bad ? KQ_NO_MEMORY : KQ_OK;
    if (err == KQ_OK && records - kept <= records / 2) {
        buf_fini(&bytes);
        return KQ_OK;
    }
    if (err == KQ_OK)
        err = write_new(notes, &bytes);
    if (err == KQ_OK) { /* whichever of the two a power cut leaves has what is kept; a flush syncs the folder first */
        notes->end_pos = bytes.len;
        *dropped = records - kept;
        err = err_from_errno(-notes->io->ops->sync_dir(notes->io, notes->data_dir));
    }
    buf_fini(&bytes);
    if (err != KQ_OK)
        return fault_set(fault, err, "%s: cannot be written anew: %s", notes->path, err_text(err));
    return KQ_OK;
}
