/* The file REPLICAS: what is noted is noted after any power cut, also while the file is
 * written anew without what is gone for good. */
#include "cluster/notes.h"

#include "base/logger.h"
#include "support/io_mem.h"
#include "support/unit.h"

#include <errno.h>

enum { MANY = 200, ALIVE = 60 };

static struct io_mem *mem;
static struct notes *notes;
static struct fault fault;

static struct note note_of(uint32_t n)
{
    struct note note = {.partition = n};
    note.topic_id.bytes[0] = (uint8_t)(n % 7 + 1);
    note.incarnation.bytes[3] = (uint8_t)(n + 1);
    return note;
}

static bool has(uint32_t n)
{
    struct note note = note_of(n);
    return notes_has(notes, &note);
}

static void open_notes(void)
{
    CU_ASSERT_EQUAL_FATAL(notes_open(&notes, io_mem_io(mem), "/d", &fault), KQ_OK);
}

static void add(uint32_t from, uint32_t to)
{
    for (uint32_t n = from; n < to; n++) {
        struct note note = note_of(n);
        CU_ASSERT_EQUAL(notes_add(notes, &note), KQ_OK);
    }
    CU_ASSERT_EQUAL(notes_flush(notes, &fault), KQ_OK);
}

static void begin(void)
{
    logger_set_level(LOGGER_ERROR);
    if (mem == NULL)
        mem = io_mem_new(1 << 20);
    io_mem_wipe(mem);
    struct io *io = io_mem_io(mem);
    CU_ASSERT_EQUAL(io->ops->mkdir(io, "/d"), 0);
    CU_ASSERT_EQUAL(io->ops->sync_dir(io, "/"), 0);
    open_notes();
    add(0, MANY / 2);
    add(MANY / 2, MANY);
}

static bool below(void *context, const struct note *note)
{
    return note->partition < *(uint32_t *)context;
}

static enum kq_err compact(uint32_t alive, uint64_t *dropped)
{
    return notes_compact(notes, below, &alive, dropped, &fault);
}

static uint64_t file_bytes(void)
{
    uint64_t size_bytes = 0;
    (void)io_mem_bytes(mem, "/d/REPLICAS", &size_bytes);
    return size_bytes;
}

static void all_are_there(uint32_t count)
{
    for (uint32_t n = 0; n < count; n++)
        CU_ASSERT_TRUE(has(n));
}

static void another_replica_of_the_partition_is_known(void)
{
    begin();
    struct note note = note_of(3);
    CU_ASSERT_FALSE(notes_has_other(notes, &note));
    struct note other = note;
    other.incarnation.bytes[5] ^= 1;
    CU_ASSERT_TRUE(notes_has_other(notes, &other));
    CU_ASSERT_EQUAL(notes_add(notes, &other), KQ_OK);
    CU_ASSERT_FALSE(notes_has_other(notes, &note)); /* not before it is durable */
    CU_ASSERT_EQUAL(notes_flush(notes, &fault), KQ_OK);
    CU_ASSERT_TRUE(notes_has_other(notes, &note));
    notes_close(&notes);
}

static void what_is_gone_is_left_out(void)
{
    begin();
    uint64_t before = file_bytes(), dropped;
    CU_ASSERT_EQUAL(compact(ALIVE, &dropped), KQ_OK);
    CU_ASSERT_EQUAL(dropped, MANY - ALIVE);
    CU_ASSERT_EQUAL(file_bytes(), before - 40 * (uint64_t)(MANY - ALIVE));
    add(MANY, MANY + 3); /* behind what was kept */
    notes_close(&notes);
    io_mem_reboot(mem, IO_MEM_ALL_LOST, 1);
    open_notes();
    all_are_there(ALIVE);
    CU_ASSERT_FALSE(has(ALIVE));
    CU_ASSERT_FALSE(has(MANY - 1));
    CU_ASSERT_TRUE(has(MANY) && has(MANY + 2));
    notes_close(&notes);
}

static void a_file_that_is_mostly_alive_stays(void)
{
    begin();
    uint64_t before = file_bytes(), dropped;
    CU_ASSERT_EQUAL(compact(MANY / 2, &dropped), KQ_OK);
    CU_ASSERT_EQUAL(dropped, 0);
    CU_ASSERT_EQUAL(file_bytes(), before);
    notes_close(&notes);
}

static void the_power_may_go_at_any_call(void)
{
    static const enum io_mem_mercy mercies[] = {IO_MEM_ALL_LOST, IO_MEM_ALL_KEPT, IO_MEM_BY_CHANCE};
    for (uint64_t seed = 0; seed < 30; seed++) {
        bool cut = true;
        for (uint64_t call = 1; cut; call++) {
            uint64_t dropped;
            begin();
            io_mem_calls_reset(mem);
            io_mem_cut_at(mem, call, mercies[seed % 3], seed);
            (void)compact(ALIVE, &dropped);
            struct note note = note_of(MANY);
            (void)notes_add(notes, &note);
            bool noted = notes_flush(notes, &fault) == KQ_OK;
            cut = io_mem_is_cut(mem);
            notes_close(&notes);
            io_mem_reboot(mem, mercies[seed % 3], seed);
            open_notes();
            all_are_there(ALIVE);
            CU_ASSERT_TRUE(!noted || has(MANY));
            CU_ASSERT_FALSE(io_mem_exists(mem, "/d/REPLICAS.new"));
            notes_close(&notes);
        }
    }
}

static void a_failing_call_loses_nothing(void)
{
    static const enum io_mem_op ops[] = {IO_MEM_OPEN, IO_MEM_WRITE, IO_MEM_SYNC, IO_MEM_RENAME, IO_MEM_SYNC_DIR};
    for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++) {
        uint64_t dropped;
        begin();
        io_mem_fail(mem, ops[i], 0, EIO, 1);
        CU_ASSERT_EQUAL(compact(ALIVE, &dropped), KQ_IO);
        io_mem_fail_not(mem);
        add(MANY, MANY + 1);
        notes_close(&notes);
        io_mem_reboot(mem, IO_MEM_ALL_LOST, 1);
        open_notes();
        all_are_there(ALIVE);
        CU_ASSERT_TRUE(has(MANY));
        notes_close(&notes);
    }
}

static const struct unit_case cases[] = {
    {"another replica of the partition is known", another_replica_of_the_partition_is_known},
    {"what is gone is left out", what_is_gone_is_left_out},
    {"a file that is mostly alive stays", a_file_that_is_mostly_alive_stays},
    {"the power may go at any call", the_power_may_go_at_any_call},
    {"a failing call loses nothing", a_failing_call_loses_nothing},
};
UNIT_MAIN("notes", cases)
