/*
 * Reply lines. Texts of errors pass json_plain_line or json_string, so that no
 * line feed of a client, a file name or an operating system ever splits a reply.
 */
#include "proto/text/reply.h"

#include "base/base64.h"

static const char OUTCOME_UNKNOWN[] = "outcome unknown: ";

void reply_done(struct buf *out)
{
    buf_put(out, "Done\n", 5);
}

void reply_error(struct buf *out, const char *text)
{
    buf_text(out, "Error, ");
    json_plain_line(out, text, strlen(text));
    buf_u8(out, '\n');
}

void reply_fault(struct buf *out, enum kq_err err, const struct fault *fault)
{
    const char *text = fault != NULL && fault->text[0] != 0 ? fault->text : err_text(err);
    buf_text(out, "Error, ");
    if (err == KQ_OUTCOME_UNKNOWN && strncmp(text, OUTCOME_UNKNOWN, sizeof(OUTCOME_UNKNOWN) - 1) != 0) {
        buf_text(out, OUTCOME_UNKNOWN);
        if (strcmp(text, err_text(err)) == 0)
            text = "the publish may yet appear";
    }
    json_plain_line(out, text, strlen(text));
    buf_u8(out, '\n');
}

void reply_data_begin(struct json *j, struct buf *out)
{
    json_begin(j, out);
    json_open(j, '{');
    json_put_bool(j, "Ok", true);
    json_key(j, "Data");
}

void reply_data_end(struct json *j)
{
    json_close(j, '}');
    buf_u8(j->out, '\n');
}

void reply_help(struct buf *out, enum text_verb about)
{
    struct json j;
    reply_data_begin(&j, out);
    json_open(&j, '[');
    for (int verb = 0; verb < TEXT_VERB_COUNT; verb++) {
        if (about != TEXT_NONE && (int)about != verb)
            continue;
        const char *name = text_verb_name((enum text_verb)verb);
        const char *form = text_verb_form((enum text_verb)verb);
        json_open(&j, '{');
        json_put_text(&j, "Command", name);
        json_key(&j, "Form");
        buf_u8(out, '"');
        buf_printf(out, "%s%s%s\"", name, form[0] == 0 ? "" : " ", form);
        j.comma = true;
        json_put_text(&j, "Help", text_verb_help((enum text_verb)verb));
        json_close(&j, '}');
    }
    json_close(&j, ']');
    reply_data_end(&j);
}

void reply_producer(struct buf *out, int64_t producer_id, int16_t producer_epoch)
{
    struct json j;
    reply_data_begin(&j, out);
    json_open(&j, '{');
    json_put_number(&j, "Id", producer_id);
    json_put_number(&j, "Epoch", producer_epoch);
    json_close(&j, '}');
    reply_data_end(&j);
}

/* ---- records ------------------------------------------------------------------------ */

/* `"Name":"..."`, or `"NameBase64":"..."` where value is no UTF-8. */
static void put_member(struct buf *out, const char *name, size_t name_bytes, struct slice value)
{
    size_t before = out->len;
    buf_u8(out, '"');
    buf_put(out, name, name_bytes);
    buf_put(out, "\":", 2);
    if (json_try_string(out, value.data, value.len))
        return;
    out->len = before;
    buf_u8(out, '"');
    buf_put(out, name, name_bytes);
    buf_put(out, "Base64\":\"", 9);
    base64_put(out, value.data, value.len);
    buf_u8(out, '"');
}

void reply_record_object(struct buf *out, const struct reply_record *record)
{
    buf_u8(out, '{');
    put_member(out, "Header", 6, record->header);
    buf_u8(out, ',');
    if (slice_is_absent(record->body))
        buf_put(out, "\"Body\":null", 11);
    else
        put_member(out, "Body", 4, record->body);
    buf_u8(out, ',');
    put_member(out, "Key", 3, record->key);
    buf_put(out, ",\"Offset\":", 10);
    json_number(out, record->offset);
    buf_put(out, ",\"Timestamp\":", 13);
    json_number(out, record->timestamp_ms);
    buf_u8(out, '}');
}

void reply_records_begin(struct buf *out)
{
    buf_text(out, "{\"Ok\":true,\"Data\":[");
}

void reply_records_add(struct buf *out, const struct reply_record *record, bool first)
{
    if (!first)
        buf_u8(out, ',');
    reply_record_object(out, record);
}

void reply_records_end(struct buf *out)
{
    buf_put(out, "]}\n", 3);
}

void reply_records_fail(struct buf *out, const char *text)
{
    buf_text(out, "],\"Error\":");
    json_string(out, text, strlen(text));
    buf_put(out, "}\n", 2);
}

void reply_tail_record(struct buf *out, const struct reply_record *record)
{
    reply_record_object(out, record);
    buf_u8(out, '\n');
}

/* ---- events ---------------------------------------------------------------------------- */

static void put_event(struct buf *out, const char *event, struct slice topic, int32_t partition, struct slice id)
{
    struct json j;
    json_begin(&j, out);
    json_open(&j, '{');
    json_put_text(&j, "Event", event);
    json_put_string(&j, "Topic", topic);
    json_put_number(&j, "Partition", partition);
    json_put_string(&j, "Id", id);
    json_close(&j, '}');
    buf_u8(out, '\n');
}

void reply_event_revoked(struct buf *out, struct slice topic, int32_t partition, struct slice id)
{
    put_event(out, "revoked", topic, partition, id);
}

void reply_event_assigned(struct buf *out, struct slice topic, int32_t partition, struct slice id)
{
    put_event(out, "assigned", topic, partition, id);
}
