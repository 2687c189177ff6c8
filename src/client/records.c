/*
 * A streaming reader: yajl's callbacks with two levels of objects.
 *
 *   depth 1            {"Ok":.., "Data":[ .. ], "Error":".."}, or a record (TAIL), or an event
 *   depth 2 in Data    a record
 *
 * yajl's strings live until the next callback, so a record's are copied into
 * `store` and become slices when the record closes.
 */
#include "client/records.h"

#include "base/base64.h"

#include <stdlib.h>
#include <yajl/yajl_parse.h>

enum { TEXT_LINE_MAX_BYTES = 4096, DEPTH_MAX = 8 };

enum field { NO_FIELD, HEADER, BODY, KEY, OFFSET, TIMESTAMP, DATA, ERROR_TEXT, EVENT, ID, PARTITION, FIELD_COUNT };

static const struct {
    const char *name;
    enum field field;
    bool base64;
} names[] = {
    {"Header", HEADER, false},       {"Body", BODY, false},           {"Key", KEY, false},
    {"HeaderBase64", HEADER, true},  {"BodyBase64", BODY, true},      {"KeyBase64", KEY, true},
    {"Offset", OFFSET, false},       {"Timestamp", TIMESTAMP, false}, {"Data", DATA, false},
    {"Error", ERROR_TEXT, false},    {"Event", EVENT, false},         {"Id", ID, false},
    {"Partition", PARTITION, false},
};

struct records {
    records_take *take;
    void *context;
    yajl_handle yajl; /* NULL: the line is text, or has not begun */
    bool begun;
    struct buf text;  /* a line that is no JSON */
    struct buf store; /* the strings of the record in hand */
    struct {
        size_t at;
        size_t len;
        bool set;
    } string[KEY + 1];
    int64_t offset;
    int64_t timestamp_ms;
    enum field field; /* whose value comes */
    bool base64;
    int depth;    /* of objects */
    int brackets; /* of arrays */
    bool in_data;
    bool has_offset;     /* the object at depth 1 is a record */
    enum kq_err stop;    /* what take said */
    struct fault broken; /* the "Error" member of a reply */
    struct records_event event;
};

/* ---- values --------------------------------------------------------------------------- */

static void keep_short(char *to, size_t size, const unsigned char *data, size_t len)
{
    size_t keep = len < size - 1 ? len : size - 1;
    memcpy(to, data, keep);
    to[keep] = 0;
}

static int on_string(void *context, const unsigned char *data, size_t len)
{
    struct records *r = context;
    enum field field = r->field;
    r->field = NO_FIELD;
    if (field >= HEADER && field <= KEY) {
        size_t at = r->store.len;
        bool good = true;
        if (r->base64)
            good = base64_get(&r->store, (const char *)data, len);
        else
            buf_put(&r->store, data, len);
        if (!good || r->store.bad) {
            r->stop = good ? KQ_TOO_LARGE : KQ_GARBAGE;
            return 0;
        }
        r->string[field].at = at;
        r->string[field].len = r->store.len - at;
        r->string[field].set = true;
    } else if (field == ERROR_TEXT && r->depth == 1) {
        r->broken.err = KQ_IO;
        keep_short(r->broken.text, sizeof(r->broken.text), data, len);
    } else if (field == EVENT) {
        keep_short(r->event.name, sizeof(r->event.name), data, len);
    } else if (field == ID) {
        keep_short(r->event.id, sizeof(r->event.id), data, len);
    }
    return 1;
}

static int on_integer(void *context, long long value)
{
    struct records *r = context;
    if (r->field == OFFSET) {
        r->offset = value;
        r->has_offset = true;
    } else if (r->field == TIMESTAMP) {
        r->timestamp_ms = value;
    } else if (r->field == PARTITION) {
        r->event.partition = value;
    }
    r->field = NO_FIELD;
    return 1;
}

static int on_other(void *context)
{
    struct records *r = context;
    r->field = NO_FIELD;
    return 1;
}

static int on_boolean(void *context, int value)
{
    (void)value;
    return on_other(context);
}

static int on_double(void *context, double value)
{
    (void)value;
    return on_other(context);
}

/* ---- structure -------------------------------------------------------------------------- */

static void clear_record(struct records *r)
{
    buf_reset(&r->store);
    for (int i = HEADER; i <= KEY; i++)
        r->string[i].set = false;
    r->offset = -1;
    r->timestamp_ms = -1;
    r->has_offset = false;
}

static int on_open_object(void *context)
{
    struct records *r = context;
    r->field = NO_FIELD;
    if (++r->depth > DEPTH_MAX)
        return 0;
    if (r->depth == 1 || (r->depth == 2 && r->in_data))
        clear_record(r);
    return 1;
}

static int on_name(void *context, const unsigned char *name, size_t len)
{
    struct records *r = context;
    r->field = NO_FIELD;
    bool is_record = r->depth == 1 || (r->depth == 2 && r->in_data);
    for (size_t i = 0; is_record && i < sizeof(names) / sizeof(names[0]); i++) {
        if (strlen(names[i].name) == len && memcmp(names[i].name, name, len) == 0) {
            r->field = names[i].field;
            r->base64 = names[i].base64;
        }
    }
    return 1;
}

static struct slice string_of(const struct records *r, enum field field)
{
    if (!r->string[field].set)
        return slice_of(NULL, 0);
    if (r->string[field].len == 0)
        return slice_of("", 0);
    return slice_of(r->store.data + r->string[field].at, r->string[field].len);
}

static int on_close_object(void *context)
{
    struct records *r = context;
    bool is_record = r->depth == 2 ? r->in_data && r->brackets == 1 : r->depth == 1 && r->has_offset;
    r->depth--;
    if (!is_record)
        return 1;
    struct reply_record record = {.header = string_of(r, HEADER),
                                  .key = string_of(r, KEY),
                                  .body = string_of(r, BODY),
                                  .offset = r->offset,
                                  .timestamp_ms = r->timestamp_ms};
    r->stop = r->take(r->context, &record);
    return r->stop == KQ_OK ? 1 : 0;
}

static int on_open_array(void *context)
{
    struct records *r = context;
    r->in_data = r->in_data || (r->field == DATA && r->depth == 1);
    r->field = NO_FIELD;
    r->brackets++;
    return r->brackets > DEPTH_MAX ? 0 : 1;
}

static int on_close_array(void *context)
{
    struct records *r = context;
    r->brackets--;
    if (r->depth == 1) {
        r->in_data = false;
        r->has_offset = false;
    }
    return 1;
}

static const yajl_callbacks callbacks = {
    .yajl_null = on_other,
    .yajl_boolean = on_boolean,
    .yajl_integer = on_integer,
    .yajl_double = on_double,
    .yajl_string = on_string,
    .yajl_start_map = on_open_object,
    .yajl_map_key = on_name,
    .yajl_end_map = on_close_object,
    .yajl_start_array = on_open_array,
    .yajl_end_array = on_close_array,
};

/* ---- lines -------------------------------------------------------------------------------- */

struct records *records_new(records_take *take, void *context)
{
    struct records *r = calloc(1, sizeof(*r));
    if (r == NULL)
        return NULL;
    r->take = take;
    r->context = context;
    buf_init(&r->text, TEXT_LINE_MAX_BYTES);
    buf_init(&r->store, RECORDS_ONE_MAX_BYTES);
    return r;
}

void records_free(struct records **records)
{
    struct records *r = *records;
    if (r == NULL)
        return;
    if (r->yajl != NULL)
        yajl_free(r->yajl);
    buf_fini(&r->text);
    buf_fini(&r->store);
    free(r);
    *records = NULL;
}

const struct records_event *records_event(const struct records *records)
{
    return &records->event;
}

static bool begin_line(struct records *r, uint8_t first)
{
    r->begun = true;
    r->field = NO_FIELD;
    r->depth = 0;
    r->brackets = 0;
    r->in_data = false;
    r->stop = KQ_OK;
    r->broken = (struct fault){.err = KQ_OK};
    r->event = (struct records_event){.partition = -1};
    buf_reset(&r->text);
    clear_record(r);
    if (first != '{')
        return true;
    r->yajl = yajl_alloc(&callbacks, NULL, r);
    return r->yajl != NULL;
}

static void end_line(struct records *r)
{
    r->begun = false;
    if (r->yajl != NULL)
        yajl_free(r->yajl);
    r->yajl = NULL;
}

static enum kq_err tell_stop(struct records *r, struct fault *fault)
{
    enum kq_err stop = r->stop;
    end_line(r);
    if (stop == KQ_TOO_LARGE)
        return fault_set(fault, stop, "a record is larger than %d bytes", RECORDS_ONE_MAX_BYTES);
    if (stop != KQ_OK && stop != KQ_GARBAGE)
        return stop; /* take's own */
    return fault_set(fault, KQ_GARBAGE, "the broker's reply is not the JSON that it should be");
}

/* The line has ended: which was it? */
static enum kq_err finish_line(struct records *r, enum records_line *line, struct fault *fault)
{
    if (r->yajl == NULL) {
        struct slice text = slice_of(r->text.data, r->text.len);
        bool done = answer_kind(text) == ANSWER_DONE;
        *line = RECORDS_DONE;
        r->begun = false;
        return done ? KQ_OK : answer_fault(text, fault);
    }
    if (yajl_complete_parse(r->yajl) != yajl_status_ok)
        return tell_stop(r, fault);
    bool event = r->event.name[0] != 0;
    bool one = r->has_offset;
    end_line(r);
    if (r->broken.err != KQ_OK)
        return fault_set(fault, r->broken.err, "%s",
                         r->broken.text[0] == 0 ? "the broker broke off and gave no reason" : r->broken.text);
    *line = event ? RECORDS_EVENT : one ? RECORDS_ONE : RECORDS_REPLY;
    return KQ_OK;
}

enum kq_err records_feed(struct records *r, const uint8_t *bytes, size_t size_bytes, size_t *used,
                         enum records_line *line, struct fault *fault)
{
    *used = 0;
    if (size_bytes == 0)
        return KQ_AGAIN;
    if (!r->begun && !begin_line(r, bytes[0]))
        return fault_set(fault, KQ_NO_MEMORY, "out of memory for reading a reply");
    const uint8_t *feed = memchr(bytes, '\n', size_bytes);
    size_t take = feed == NULL ? size_bytes : (size_t)(feed - bytes);
    *used = feed == NULL ? take : take + 1;
    if (r->yajl != NULL) {
        if (take > 0 && yajl_parse(r->yajl, bytes, take) != yajl_status_ok)
            return tell_stop(r, fault);
    } else {
        size_t room = TEXT_LINE_MAX_BYTES - r->text.len; /* what is longer is cut */
        buf_put(&r->text, bytes, take < room ? take : room);
    }
    return feed == NULL ? KQ_AGAIN : finish_line(r, line, fault);
}
