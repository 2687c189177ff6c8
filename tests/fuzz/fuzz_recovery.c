/* libFuzzer: a good replica's folder with its files patched as the input says,
 * checksums mended where it asks for that, so that what lies behind them is reached
 * too. Opening, reading, appending, closing and the tool must never crash, hang, or
 * take memory by a length that a file tells.
 *
 * The input is a list of patches: file, kind, position (4, little-endian), length,
 * and as many bytes. */
#include "base/crc32c.h"
#include "base/logger.h"
#include "base/require.h"
#include "fuzz/fuzz.h"
#include "log/entry.h"
#include "log/tool.h"
#include "support/io_mem.h"
#include "support/log_rig.h"

#include <stdio.h>

enum { FILES_MAX = 32, FILE_BYTES_MAX = 1 << 20, READS_MAX = 10000, NAME_BYTES = 64 };

struct image {
    char path[NAME_BYTES];
    uint8_t *data;
    size_t size_bytes;
};

static struct io_mem *mem;
static struct log_rig rig;
static struct image images[FILES_MAX];
static int image_count;
static struct entry_seed seed;

/* ---- the good folder ------------------------------------------------------------------ */

static void keep_image(void *context, const char *path)
{
    (void)context;
    uint64_t size;
    const uint8_t *bytes = io_mem_bytes(mem, path, &size);
    if (image_count == FILES_MAX)
        return;
    struct image *image = &images[image_count++];
    (void)snprintf(image->path, sizeof image->path, "%s", path);
    image->data = malloc(size + 1);
    REQUIRE(image->data != NULL);
    memcpy(image->data, bytes, size);
    image->size_bytes = size;
}

static int by_path(const void *a, const void *b)
{
    const struct image *x = a;
    const struct image *y = b;
    return strcmp(x->path, y->path);
}

static void make_images(void)
{
    mem = io_mem_new(FILE_BYTES_MAX);
    logger_set_level(LOGGER_ERROR);
    log_rig_init(&rig, io_mem_io(mem), "/t-0");
    rig.options.segment_bytes = 8192;
    rig.options.prepare_min_bytes = 4096;
    rig.options.prepare_max_bytes = 4096;
    REQUIRE(log_rig_open(&rig) == KQ_OK);
    rig.roll_state = "some state";
    rig.roll_state_bytes = 11;
    seed = entry_seed_make(&rig.options.topic_id, 0, &log_hard_state(rig.log)->incarnation);
    for (int i = 0; i < 30; i++) {
        rig.term = 1 + (uint64_t)i / 7;
        REQUIRE((i % 7 == 0 ? log_rig_noop(&rig) : log_rig_append(&rig, 1 + i % 3, 400, 1000 + i)) == KQ_OK);
        log_rig_flush(&rig);
        if (i == 20) {
            log_set_commit(rig.log, 20);
            REQUIRE(log_store_snapshot(rig.log, 20, "a snapshot", 11) == KQ_OK);
            log_rig_run(&rig, LOG_LANE_KEEP);
        }
    }
    struct log_hard_state state = *log_hard_state(rig.log);
    state.term = 5;
    (void)log_set_hard_state(rig.log, &state);
    log_rig_flush(&rig);
    rig.now_us += 1000000;
    log_rig_flush(&rig);
    io_mem_cut_at(mem, io_mem_calls(mem) + 1, IO_MEM_ALL_KEPT, 1);
    log_close(&rig.log, NULL, 0);
    io_mem_reboot(mem, IO_MEM_ALL_KEPT, 1);
    io_mem_each(mem, keep_image, NULL);
    qsort(images, (size_t)image_count, sizeof images[0], by_path);
}

/* ---- patching ---------------------------------------------------------------------------- */

/* A checksum at data + at over [from, from + size), if that lies in the file. */
static void mend(struct image *f, uint64_t at, uint32_t start, uint64_t from, uint64_t size)
{
    if (from + size <= f->size_bytes && at + 4 <= f->size_bytes)
        put_le32(f->data + at, crc32c(start, f->data + from, size));
}

/* The head of an entry at pos: its values as they stand, its checksums made good. */
static void mend_entry(struct image *f, uint64_t pos)
{
    if (pos + ENTRY_HEAD_BYTES > f->size_bytes)
        return;
    uint8_t *p = f->data + pos;
    struct entry_head head = {.flushed_idx = get_le64(p + 8),
                              .flags = p[21],
                              .type = (enum log_entry_type)get_le16(p + 22),
                              .body_crc = get_le32(p + 28),
                              .body_bytes = get_le32(p + 32),
                              .record_count = get_le32(p + 36),
                              .term = get_le64(p + 40),
                              .idx = get_le64(p + 48),
                              .first_off = (int64_t)get_le64(p + 56),
                              .prev_crc = get_le32(p + 64)};
    if (head.body_bytes <= f->size_bytes - pos - ENTRY_HEAD_BYTES)
        head.body_crc = entry_body_crc(&seed, head.term, head.idx, crc32c(0, p + ENTRY_HEAD_BYTES, head.body_bytes),
                                       head.body_bytes);
    entry_encode(p, &head, &seed);
}

static void patch(struct image *f, unsigned kind, uint32_t pos, const uint8_t *bytes, size_t size)
{
    switch (kind % 9) {
    case 0:
    case 1:
        if (pos < f->size_bytes)
            memcpy(f->data + pos, bytes, size < f->size_bytes - pos ? size : f->size_bytes - pos);
        break;
    case 2:
        if (pos < f->size_bytes)
            f->size_bytes = pos;
        break;
    case 3: /* a segment's head, a slot, a snapshot's head */
        mend(f, 4, seed.shared, 8, 120);
        break;
    case 4:
        mend_entry(f, pos);
        break;
    case 5:
        mend(f, pos % 3 * 4096 + 4, 0, pos % 3 * 4096 + 8, 504);
        break;
    case 6: /* the trailer of a footer */
        if (f->size_bytes >= 32)
            mend(f, f->size_bytes - 28, seed.shared, f->size_bytes - 24, 24);
        break;
    case 7: /* a section of a footer */
        if ((uint64_t)pos + 12 <= f->size_bytes) {
            uint32_t length = get_le32(f->data + pos + 4);
            uint32_t start = crc32c(seed.shared, f->data + pos, 8);
            mend(f, (uint64_t)pos + 8, start, (uint64_t)pos + 12, length);
        }
        break;
    default:
        mend(f, 4, seed.shared, 8, 56);
        break;
    }
}

/* ---- what is done with it ------------------------------------------------------------------- */

static void use_log(void)
{
    if (log_rig_open(&rig) != KQ_OK) {
        REQUIRE(rig.fault.text[0] != '\0');
        return;
    }
    struct log *log = rig.log;
    uint64_t last = log_last_idx(log);
    bool cuts = last % 2 == 0; /* half of them: the last entry goes again */
    if (!cuts)
        log_set_commit(log, last);
    struct log_view *view = log_view_take(log);
    struct log_iter it;
    struct log_slice slice;
    enum kq_err err = log_iter_seek_idx(&it, view, log_first_idx(log));
    for (int i = 0; i < READS_MAX && err == KQ_OK; i++) {
        err = log_iter_next(&it, &slice, &rig.fault);
        if (err == KQ_CORRUPT || err == KQ_IO)
            err = log_iter_seek_idx(&it, view, ++it.idx);
    }
    (void)log_iter_seek(&it, view, log_view_high_watermark(view) / 2);
    int64_t off, found_ms;
    (void)log_view_find_time(view, 1010, &off, &found_ms, &rig.fault);
    uint64_t cursor = 0;
    bool round = false;
    for (int i = 0; i < READS_MAX && !round; i++)
        (void)log_view_scrub(view, &cursor, 1 << 20, &round, &rig.fault);
    log_view_drop(&view);
    for (uint64_t idx = log_first_idx(log); idx <= last && idx < log_first_idx(log) + READS_MAX; idx++)
        (void)log_term_at(log, idx);
    struct fault fault;
    struct log_damage damage;
    struct log_range range;
    struct log_run runs[8];
    (void)log_plan(log, log_first_idx(log), last, 10000, &range);
    (void)log_term_runs(log, runs, 8);
    (void)log_next_damage(log, 0, &damage);
    void *state;
    size_t state_bytes;
    uint64_t state_idx;
    if (log_stored_state_at(log, last, &state, &state_bytes, &state_idx, &fault) == KQ_OK)
        free(state);
    if (cuts && last > log_hard_state(log)->commit_idx && last >= log_first_idx(log)) {
        (void)log_truncate(log, last);
        log_rig_flush(&rig);
    }
    rig.term = log_last_term(log) + 1;
    if (rig.term <= INT32_MAX && log_next_off(log) < INT64_MAX - 10 && log_rig_append(&rig, 2, 100, 1) == KQ_OK)
        log_rig_flush(&rig);
    log_close(&rig.log, "x", 1);
}

static void hear(void *context, const char *line)
{
    uint64_t *lines = context;
    (*lines)++;
    REQUIRE(strlen(line) < 2000);
}

static void use_tool(void)
{
    uint64_t lines = 0;
    struct tool_out out = {.line = hear, .context = &lines};
    struct tool_counts counts;
    (void)tool_check(io_mem_io(mem), "/t-0", &out, &counts, &rig.fault);
    (void)tool_dump(io_mem_io(mem), "/t-0", 3, true, 100, &out, &counts, &rig.fault);
    (void)tool_repair(io_mem_io(mem), "/t-0", &out, &counts, &rig.fault);
}

static void put_images(struct image *patched)
{
    io_mem_wipe(mem);
    struct io *io = io_mem_io(mem);
    REQUIRE(io->ops->mkdir(io, "/t-0") == 0);
    for (int i = 0; i < image_count; i++)
        io_mem_put(mem, patched[i].path, patched[i].data, patched[i].size_bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct image patched[FILES_MAX];
    if (mem == NULL)
        make_images();
    for (int i = 0; i < image_count; i++) {
        patched[i] = images[i];
        patched[i].data = malloc(images[i].size_bytes + 1);
        REQUIRE(patched[i].data != NULL);
        memcpy(patched[i].data, images[i].data, images[i].size_bytes);
    }
    struct cursor c = cursor_over(data, size);
    while (cursor_left(&c) >= 7) {
        struct image *f = &patched[cursor_u8(&c) % image_count];
        unsigned kind = cursor_u8(&c);
        uint32_t pos = cursor_le32(&c);
        size_t length = cursor_u8(&c);
        if (length > cursor_left(&c))
            length = cursor_left(&c);
        patch(f, kind, pos, cursor_bytes(&c, length), length);
    }
    put_images(patched);
    use_log();
    put_images(patched);
    use_tool();
    use_log();
    for (int i = 0; i < image_count; i++)
        free(patched[i].data);
    return 0;
}
