/* One partition, read. */
#include "client/reader.h"

#include <stdio.h>
#include <stdlib.h>

/* Between yajl and the caller: what comes next is known here. */
static enum kq_err take_record(void *context, const struct reply_record *record)
{
    struct reader *reader = context;
    enum kq_err err = reader->take(reader->context, record);
    if (err == KQ_OK || err == KQ_LIMIT) /* KQ_LIMIT: taken, and the last that is wanted */
        reader->next_off = record->offset + 1;
    return err;
}

struct reader *reader_new(const char *topic, struct slice id, bool tail, int64_t from_off, records_take *take,
                          void *context)
{
    struct reader *reader = calloc(1, sizeof(*reader));
    if (reader == NULL || id.len > TEXT_ID_MAX_BYTES) {
        free(reader);
        return NULL;
    }
    *reader = (struct reader){
        .topic = topic, .tail = tail, .next_off = from_off, .committed_off = -1, .take = take, .context = context};
    memcpy(reader->id, id.data, id.len);
    return reader;
}

void reader_free(struct reader **reader)
{
    if (*reader == NULL)
        return;
    wire_close(&(*reader)->wire);
    records_free(&(*reader)->records);
    free(*reader);
    *reader = NULL;
}

enum kq_err reader_ask(struct reader *reader, struct brokers *brokers, int64_t deadline_us, struct fault *fault)
{
    if (reader->wire == NULL) {
        enum kq_err err = brokers_connect(brokers, &reader->wire, deadline_us, fault);
        if (err != KQ_OK)
            return err;
        reader->broker = brokers->at;
    }
    records_free(&reader->records);
    reader->records = records_new(take_record, reader);
    if (reader->records == NULL)
        return fault_set(fault, KQ_NO_MEMORY, "out of memory");
    struct buf *out = wire_out(reader->wire);
    buf_text(out, reader->tail ? "TAIL " : "CONS ");
    (void)client_put_field(out, reader->topic);
    buf_u8(out, ' ');
    (void)client_put_field(out, reader->id);
    if (reader->next_off != READER_FROM_DEFAULT)
        buf_printf(out, " %lld", (long long)reader->next_off);
    buf_u8(out, '\n');
    return wire_try_flush(reader->wire, fault);
}

/* A whole line was read. */
static void note_line(struct reader *reader, enum records_line line)
{
    const struct records_event *event = records_event(reader->records);
    if (line == RECORDS_REPLY && !reader->tail)
        reader->over = true;
    if (line == RECORDS_EVENT && strcmp(event->name, "revoked") == 0 && strcmp(event->id, reader->id) == 0)
        reader->over = true;
}

enum kq_err reader_try_read(struct reader *reader, struct fault *fault)
{
    enum kq_err err = wire_unsent(reader->wire) > 0 ? wire_try_flush(reader->wire, fault) : KQ_OK;
    size_t left = 0;
    (void)wire_in(reader->wire, &left);
    if (err == KQ_OK && left == 0)
        err = wire_try_fill(reader->wire, fault);
    if (err == KQ_AGAIN)
        return err;
    while (err == KQ_OK && !reader->over) {
        enum records_line line = RECORDS_DONE;
        size_t used = 0;
        const uint8_t *in = wire_in(reader->wire, &left);
        if (left == 0)
            return KQ_OK;
        err = records_feed(reader->records, in, left, &used, &line, fault);
        wire_eat(reader->wire, used);
        if (err == KQ_OK)
            note_line(reader, line);
        else if (err == KQ_AGAIN)
            err = KQ_OK; /* the middle of a line */
    }
    if (err != KQ_OK)
        wire_close(&reader->wire);
    return err;
}

bool reader_partition_of(const char *id, int64_t *partition)
{
    const char *dash = strchr(id, '-');
    const char *second = dash == NULL ? NULL : strchr(dash + 1, '-');
    char number[16];
    if (second == NULL || (size_t)(second - dash) > sizeof(number))
        return false;
    memcpy(number, dash + 1, (size_t)(second - dash) - 1);
    number[second - dash - 1] = 0;
    return options_parse_number(number, 0, INT32_MAX, partition);
}
