#include "api/fetch.h"

#include "api/unpack.h"
#include "base/require.h"
#include "log/io.h"

#include <sched.h>
#include <stdlib.h>

enum { VIEW_TRIES = 100 };

/* Why there is no view. */
static enum kq_err no_view(struct partition *partition, struct fault *fault)
{
    struct partition_status status;
    partition_status(partition, &status);
    if (status.state == PARTITION_OPENING)
        return fault_set(fault, KQ_AGAIN, "%s is being opened", partition_title(partition));
    if (status.state == PARTITION_FAILED)
        return fault_set(fault, KQ_PARTITION_FAILED, "%s: %s", partition_title(partition), fault_text(&status.fault));
    return fault_set(fault, KQ_STOPPING, "%s is stopped", partition_title(partition));
}

bool fetch_bounds(struct partition *partition, int64_t *start_off, int64_t *end_off)
{
    struct log_view *view = partition_view(partition);
    if (view == NULL)
        return false;
    *start_off = log_view_start_off(view);
    *end_off = log_view_high_watermark(view);
    log_view_drop(&view);
    return true;
}

static enum kq_err out_of_range(const struct log_view *view, int64_t off, struct fault *fault)
{
    return fault_set(fault, KQ_OFFSET_OUT_OF_RANGE, "offset %lld is outside the log, which goes from %lld to %lld",
                     (long long)off, (long long)log_view_start_off(view), (long long)log_view_high_watermark(view));
}

enum kq_err fetch_open(struct fetch *fetch, struct partition *partition, int64_t off, struct fault *fault)
{
    *fetch = (struct fetch){0};
    struct log_view *view = partition_view(partition);
    if (view == NULL)
        return no_view(partition, fault);
    int64_t start_off = log_view_start_off(view), end_off = log_view_high_watermark(view);
    if (off == FETCH_FROM_START)
        off = start_off;
    if (off < start_off || off > end_off) {
        enum kq_err err = out_of_range(view, off, fault);
        log_view_drop(&view);
        return err;
    }
    *fetch = (struct fetch){.partition = partition_hold(partition), .next_off = off, .end_off = end_off};
    log_view_drop(&view);
    return KQ_OK;
}

static const char *title_of(const struct fetch *fetch)
{
    return fetch->remote ? fetch->title : partition_title(fetch->partition);
}

void fetch_open_remote(struct fetch *fetch, const char *title, int64_t off, int64_t end_off)
{
    *fetch = (struct fetch){.remote = true, .title = title, .next_off = off, .end_off = end_off};
    buf_init(&fetch->pulled, SIZE_MAX / 2);
}

void fetch_make_remote(struct fetch *fetch, const char *title)
{
    int64_t next_off = fetch->next_off, end_off = fetch->end_off;
    fetch_close(fetch);
    fetch_open_remote(fetch, title, next_off, end_off);
}

void fetch_feed(struct fetch *fetch, struct buf *answer, size_t head_bytes)
{
    REQUIRE(fetch->remote);
    REQUIRE(head_bytes <= answer->len);
    buf_fini(&fetch->pulled);
    fetch->pulled = *answer;
    buf_init(answer, answer->limit);
    fetch->entry = (struct log_slice){.body = fetch->pulled.data};
    fetch->batches = cursor_over(fetch->pulled.data + head_bytes, fetch->pulled.len - head_bytes);
    fetch->in_entry = cursor_left(&fetch->batches) > 0;
    fetch->in_batch = fetch->in_unpacked = false;
}

bool fetch_extend(struct fetch *fetch)
{
    int64_t start_off, end_off;
    if (fetch_bounds(fetch->partition, &start_off, &end_off) && end_off > fetch->end_off)
        fetch->end_off = end_off;
    return fetch->next_off < fetch->end_off;
}

void fetch_rest(struct fetch *fetch)
{
    if (fetch->view != NULL)
        log_view_drop(&fetch->view);
    if (!fetch->remote) /* else what was pulled is shown first */
        fetch->in_entry = fetch->in_batch = fetch->in_unpacked = false;
    if (!fetch->in_unpacked)
        buf_fini(&fetch->unpacked);
}

void fetch_close(struct fetch *fetch)
{
    fetch_rest(fetch);
    partition_drop(&fetch->partition);
    buf_fini(&fetch->pulled);
    buf_fini(&fetch->unpacked);
    *fetch = (struct fetch){0};
}

/* Takes a view and stands at next_off. The log start may have passed it while
 * nothing was held: what retention has taken is gone, and that is an error. */
static enum kq_err fetch_seek(struct fetch *fetch, struct fault *fault)
{
    for (int tries = 0; tries < VIEW_TRIES; tries++) {
        fetch_rest(fetch);
        fetch->view = partition_view(fetch->partition);
        if (fetch->view == NULL)
            return no_view(fetch->partition, fault);
        enum kq_err err = log_iter_seek(&fetch->iter, fetch->view, fetch->next_off);
        if (err == KQ_OFFSET_OUT_OF_RANGE)
            return out_of_range(fetch->view, fetch->next_off, fault);
        if (err != KQ_AGAIN)
            return err == KQ_OK ? KQ_OK : fault_set(fault, err, "%s", err_text(err));
        (void)sched_yield(); /* the commit is ahead of the view by some instructions of its partition */
    }
    return fault_set(fault, KQ_AGAIN, "%s changes too quickly to be read; try again",
                     partition_title(fetch->partition));
}

/* The next entry with records. KQ_EOF: there is none now. */
static enum kq_err fetch_entry(struct fetch *fetch, struct fault *fault)
{
    for (int tries = 0; tries < VIEW_TRIES;) {
        enum kq_err err = fetch->view == NULL ? KQ_AGAIN : log_iter_next(&fetch->iter, &fetch->entry, fault);
        if (err == KQ_AGAIN) {
            tries++;
            err = fetch_seek(fetch, fault);
            if (err != KQ_OK)
                return err;
        } else if (err != KQ_OK) {
            return err;
        } else if (fetch->entry.type == LOG_ENTRY_RECORDS && fetch->entry.record_count > 0) {
            fetch->batches = cursor_over(fetch->entry.body, fetch->entry.body_bytes);
            fetch->in_entry = true;
            fetch->in_batch = false;
            return KQ_OK;
        }
    }
    return fault_set(fault, KQ_AGAIN, "%s changes too quickly to be read; try again",
                     partition_title(fetch->partition));
}

/* ---- inside an entry: under the mapping --------------------------------------------------- */

struct walk {
    struct fetch *fetch;
    bool (*each)(void *context, struct record *record);
    void *context;
    enum kq_err err; /* KQ_OK: each said enough; KQ_AGAIN: the entry is done; KQ_FULL: `packed` is to be unpacked */
    struct slice packed;
    struct batch_info info; /* of that batch */
};

/* The next batch that has something at or after next_off. */
static enum kq_err walk_batch(struct walk *w)
{
    struct fetch *fetch = w->fetch;
    while (cursor_left(&fetch->batches) > 0) {
        struct batch_info info;
        const uint8_t *batch;
        enum kq_err err = batch_next(&fetch->batches, &info, &batch);
        if (err != KQ_OK)
            return err;
        int64_t last_off = info.base_off + info.last_offset_delta;
        if (last_off < fetch->next_off)
            continue;
        if ((info.attributes & BATCH_CONTROL) != 0) {
            fetch->next_off = last_off + 1;
            continue;
        }
        if ((info.attributes & BATCH_CODEC_MASK) != 0) {
            w->packed = slice_of(batch + BATCH_HEADER_BYTES, (size_t)info.size_bytes - BATCH_HEADER_BYTES);
            w->info = info;
            return KQ_FULL;
        }
        record_walk_init(&fetch->walk, batch, &info);
        fetch->in_batch = true;
        return KQ_OK;
    }
    return KQ_EOF;
}

/* The records of the batch. KQ_EOF: no more; KQ_OK: each said enough; KQ_FULL: the end is reached. */
static enum kq_err walk_records(struct walk *w)
{
    struct fetch *fetch = w->fetch;
    for (;;) {
        struct record record;
        enum kq_err err = record_walk_next(&fetch->walk, &record);
        if (err == KQ_EOF)
            fetch->in_batch = false;
        if (err != KQ_OK)
            return err;
        if (record.off >= fetch->end_off)
            return KQ_FULL;
        if (record.off < fetch->next_off)
            continue;
        bool more = w->each(w->context, &record);
        fetch->next_off = record.off + 1;
        if (!more)
            return KQ_OK;
    }
}

/* The same of a batch that was unpacked, which lies in memory of our own. True: go on behind it. */
static bool walk_unpacked(struct walk *w)
{
    struct fetch *fetch = w->fetch;
    w->err = walk_records(w);
    if (w->err == KQ_FULL)
        w->err = KQ_EOF;
    else if (w->err == KQ_EOF) {
        fetch->in_unpacked = false;
        int64_t behind_off = fetch->walk.info.base_off + fetch->walk.info.last_offset_delta + 1;
        if (fetch->next_off < behind_off)
            fetch->next_off = behind_off;
        return true;
    }
    return false;
}

static void walk_entry(void *context)
{
    struct walk *w = context;
    struct fetch *fetch = w->fetch;
    for (;;) {
        if (!fetch->in_batch) {
            w->err = walk_batch(w);
            if (w->err != KQ_OK)
                break;
        }
        w->err = walk_records(w);
        if (w->err == KQ_OK)
            return;
        if (w->err == KQ_FULL) {
            w->err = KQ_OK;
            break;
        }
        if (w->err != KQ_EOF)
            break;
    }
    if (w->err == KQ_FULL)
        return;
    if (w->err == KQ_EOF) {
        fetch->in_entry = false;
        if (fetch->next_off < fetch->entry.first_off + fetch->entry.record_count)
            fetch->next_off = fetch->entry.first_off + fetch->entry.record_count;
        w->err = KQ_AGAIN;
    } else if (w->err == KQ_OK) {
        w->err = KQ_EOF;
    }
}

struct copying {
    struct slice from;
    uint8_t *to;
};

static void copy_packed(void *context)
{
    struct copying *copying = context;
    memcpy(copying->to, copying->from.data, copying->from.len);
}

/* A batch that was compressed: unpacked into memory of our own, where walk_unpacked goes on. Nothing
 * is unpacked from the mapping itself, as an I/O error under it could come at any moment. */
static enum kq_err unpack_batch(struct walk *w, struct fault *fault)
{
    struct fetch *fetch = w->fetch;
    REQUIRE(w->packed.data != NULL);
    struct copying copying = {.from = w->packed, .to = malloc(w->packed.len + 1)};
    if (copying.to == NULL)
        return fault_set(fault, KQ_NO_MEMORY, "%s", err_text(KQ_NO_MEMORY));
    bool read = true;
    if (fetch->remote)
        copy_packed(&copying);
    else
        read = io_guarded(fetch->entry.body, fetch->entry.body_bytes, copy_packed, &copying);
    int codec = w->info.attributes & BATCH_CODEC_MASK;
    const char *name = unpack_name(codec) == NULL ? "unknown" : unpack_name(codec);
    buf_fini(&fetch->unpacked);
    buf_init(&fetch->unpacked, UNPACK_MAX_BYTES);
    enum kq_err err = read ? unpack(codec, slice_of(copying.to, w->packed.len), &fetch->unpacked) : KQ_IO;
    free(copying.to);
    record_walk_over(&fetch->walk, fetch->unpacked.data, fetch->unpacked.len, &w->info);
    fetch->in_unpacked = fetch->in_batch = err == KQ_OK;
    if (err == KQ_OK)
        return KQ_OK;
    if (err == KQ_IO)
        return fault_set(fault, KQ_IO, "%s: the disk could not read the messages around offset %lld", title_of(fetch),
                         (long long)fetch->next_off);
    if (err == KQ_BAD_VERSION)
        return fault_set(fault, err,
                         "%s: the messages from offset %lld on are compressed (codec %d, %s), which this broker was "
                         "built without; read them with a Kafka client",
                         title_of(fetch), (long long)fetch->next_off, codec, name);
    return fault_set(fault, err,
                     "%s: the messages from offset %lld on are compressed with %s and cannot be unpacked: %s",
                     title_of(fetch), (long long)fetch->next_off, name, err_text(err));
}

static enum kq_err walk_fault(const struct walk *w, struct fault *fault)
{
    const char *title = title_of(w->fetch);
    return fault_set(fault, w->err, "%s: what is stored at offset %lld is no record batch", title,
                     (long long)w->fetch->next_off);
}

enum kq_err fetch_some(struct fetch *fetch, bool (*each)(void *context, struct record *record), void *context,
                       struct fault *fault)
{
    REQUIRE(fetch_is_open(fetch));
    struct walk walk = {.fetch = fetch, .each = each, .context = context};
    while (fetch->next_off < fetch->end_off) {
        if (fetch->in_unpacked) {
            if (walk_unpacked(&walk))
                continue;
            return walk.err == KQ_OK || walk.err == KQ_EOF ? walk.err : walk_fault(&walk, fault);
        }
        if (!fetch->in_entry && fetch->remote) {
            buf_fini(&fetch->pulled);
            return KQ_AGAIN;
        }
        if (!fetch->in_entry) {
            enum kq_err err = fetch_entry(fetch, fault);
            if (err != KQ_OK)
                return err;
        }
        if (fetch->remote)
            walk_entry(&walk);
        else if (!io_guarded(fetch->entry.body, fetch->entry.body_bytes, walk_entry, &walk))
            return fault_set(fault, KQ_IO, "%s: the disk could not read the messages around offset %lld",
                             partition_title(fetch->partition), (long long)fetch->next_off);
        if (walk.err == KQ_OK || walk.err == KQ_EOF)
            return walk.err;
        enum kq_err err = walk.err == KQ_FULL ? unpack_batch(&walk, fault) : KQ_OK;
        if (err != KQ_OK)
            return err;
        if (walk.err != KQ_AGAIN && walk.err != KQ_FULL)
            return walk_fault(&walk, fault);
    }
    return KQ_EOF;
}

/* ---- whole batches, for another broker ------------------------------------------------------ */

struct copy {
    struct fetch *fetch;
    struct buf *out;
    size_t max_bytes;
    enum kq_err err; /* KQ_OK: enough; KQ_AGAIN: the entry is done; KQ_EOF: the end */
};

static void copy_entry(void *context)
{
    struct copy *copy = context;
    struct fetch *fetch = copy->fetch;
    for (;;) {
        struct cursor before = fetch->batches;
        struct batch_info info;
        const uint8_t *batch;
        if (cursor_left(&fetch->batches) == 0) {
            copy->err = KQ_AGAIN;
            return;
        }
        copy->err = batch_next(&fetch->batches, &info, &batch);
        if (copy->err != KQ_OK)
            return;
        if (info.base_off >= fetch->end_off) {
            copy->err = KQ_EOF;
            return;
        }
        int64_t last_off = info.base_off + info.last_offset_delta;
        if (last_off < fetch->next_off)
            continue;
        if (copy->out->len > 0 && copy->out->len + (size_t)info.size_bytes > copy->max_bytes) {
            fetch->batches = before;
            return;
        }
        buf_put(copy->out, batch, (size_t)info.size_bytes);
        fetch->next_off = last_off + 1;
    }
}

enum kq_err fetch_batches(struct fetch *fetch, struct buf *out, size_t max_bytes, struct fault *fault)
{
    REQUIRE(fetch->partition != NULL);
    struct copy copy = {.fetch = fetch, .out = out, .max_bytes = max_bytes};
    while (fetch->next_off < fetch->end_off && out->len < max_bytes) {
        if (!fetch->in_entry) {
            enum kq_err err = fetch_entry(fetch, fault);
            if (err != KQ_OK)
                return err;
        }
        (void)buf_reserve(out, fetch->entry.body_bytes); /* nothing is to be allocated under the guard */
        if (out->bad)
            return fault_set(fault, KQ_NO_MEMORY, "%s", err_text(KQ_NO_MEMORY));
        if (!io_guarded(fetch->entry.body, fetch->entry.body_bytes, copy_entry, &copy))
            return fault_set(fault, KQ_IO, "%s: the disk could not read the messages around offset %lld",
                             partition_title(fetch->partition), (long long)fetch->next_off);
        if (copy.err == KQ_OK || copy.err == KQ_EOF)
            return copy.err;
        if (copy.err != KQ_AGAIN)
            return fault_set(fault, copy.err, "%s: what is stored at offset %lld is no record batch",
                             partition_title(fetch->partition), (long long)fetch->next_off);
        fetch->in_entry = false;
    }
    return fetch->next_off < fetch->end_off ? KQ_OK : KQ_EOF;
}

/* ---- whole batches, for a client that takes them as they are --------------------------------- */

enum { PIECES_FIRST = 8, COPIES_MAX_BYTES = 64 * 1024 * 1024 };

void fetch_pieces_init(struct fetch_pieces *pieces)
{
    *pieces = (struct fetch_pieces){0};
    buf_init(&pieces->copies, COPIES_MAX_BYTES);
}

void fetch_pieces_fini(struct fetch_pieces *pieces)
{
    for (uint32_t i = 0; i < pieces->count; i++)
        if (pieces->piece[i].view != NULL)
            log_view_drop(&pieces->piece[i].view);
    free(pieces->piece);
    buf_fini(&pieces->copies);
    *pieces = (struct fetch_pieces){0};
}

static bool pieces_reserve(struct fetch_pieces *pieces)
{
    if (pieces->count < pieces->room)
        return true;
    uint32_t room = pieces->room == 0 ? PIECES_FIRST : pieces->room * 2;
    struct fetch_piece *larger = realloc(pieces->piece, room * sizeof(*larger));
    if (larger == NULL)
        return false;
    pieces->piece = larger;
    pieces->room = room;
    return true;
}

/* The batches of an entry that are wanted: they lie side by side. */
struct run {
    struct fetch *fetch;
    struct buf *copies;
    size_t room_bytes;
    bool one_at_least;
    const uint8_t *data;
    size_t size_bytes;
    enum kq_err err; /* KQ_OK: enough; KQ_AGAIN: the entry is done; KQ_EOF: the end */
};

static void run_of_entry(void *context)
{
    struct run *run = context;
    struct fetch *fetch = run->fetch;
    run->err = KQ_AGAIN;
    while (run->err == KQ_AGAIN && cursor_left(&fetch->batches) > 0) {
        struct cursor before = fetch->batches;
        struct batch_info info;
        const uint8_t *batch;
        enum kq_err err = batch_next(&fetch->batches, &info, &batch);
        size_t size_bytes = (size_t)info.size_bytes;
        int64_t last_off = info.base_off + info.last_offset_delta;
        if (err != KQ_OK || info.base_off >= fetch->end_off) {
            run->err = err != KQ_OK ? err : KQ_EOF;
        } else if (last_off < fetch->next_off) {
            continue;
        } else if (size_bytes > run->room_bytes && !run->one_at_least) {
            fetch->batches = before;
            run->err = KQ_OK;
        } else {
            run->data = run->data == NULL ? batch : run->data;
            run->size_bytes += size_bytes;
            run->room_bytes -= size_bytes < run->room_bytes ? size_bytes : run->room_bytes;
            run->one_at_least = false;
            fetch->next_off = last_off + 1;
        }
    }
    if (run->size_bytes > 0 && run->size_bytes < FETCH_COPY_BELOW_BYTES)
        buf_put(run->copies, run->data, run->size_bytes); /* room was made for it */
}

static void pieces_add(struct fetch_pieces *pieces, const struct run *run)
{
    struct fetch_piece *last = pieces->count == 0 ? NULL : &pieces->piece[pieces->count - 1];
    bool copied = run->size_bytes < FETCH_COPY_BELOW_BYTES;
    pieces->size_bytes += run->size_bytes;
    if (copied && last != NULL && last->view == NULL) {
        last->size_bytes += run->size_bytes;
        return;
    }
    REQUIRE(pieces->piece != NULL); /* pieces_reserve */
    pieces->piece[pieces->count++] = (struct fetch_piece){
        .view = copied ? NULL : log_view_hold(run->fetch->view),
        .data = copied ? NULL : run->data,
        .at = copied ? pieces->copies.len - run->size_bytes : 0,
        .size_bytes = run->size_bytes,
    };
}

enum kq_err fetch_gather(struct fetch *fetch, struct fetch_pieces *pieces, size_t max_bytes, bool first_whole,
                         struct fault *fault)
{
    REQUIRE(fetch->partition != NULL);
    while (fetch->next_off < fetch->end_off) {
        enum kq_err err = fetch->in_entry ? KQ_OK : fetch_entry(fetch, fault);
        if (err != KQ_OK)
            return err;
        struct run run = {
            .fetch = fetch,
            .copies = &pieces->copies,
            .room_bytes = max_bytes > pieces->size_bytes ? max_bytes - pieces->size_bytes : 0,
            .one_at_least = first_whole && pieces->size_bytes == 0,
        };
        (void)buf_reserve(&pieces->copies, FETCH_COPY_BELOW_BYTES); /* nothing is to be allocated under the guard */
        if (pieces->copies.bad || !pieces_reserve(pieces))
            return fault_set(fault, KQ_NO_MEMORY, "%s", err_text(KQ_NO_MEMORY));
        if (!io_guarded(fetch->entry.body, fetch->entry.body_bytes, run_of_entry, &run))
            return fault_set(fault, KQ_IO, "%s: the disk could not read the messages around offset %lld",
                             partition_title(fetch->partition), (long long)fetch->next_off);
        if (run.size_bytes > 0)
            pieces_add(pieces, &run);
        if (run.err == KQ_OK || run.err == KQ_EOF)
            return run.err;
        if (run.err != KQ_AGAIN)
            return fault_set(fault, run.err, "%s: what is stored at offset %lld is no record batch",
                             partition_title(fetch->partition), (long long)fetch->next_off);
        fetch->in_entry = false;
    }
    return KQ_EOF;
}
