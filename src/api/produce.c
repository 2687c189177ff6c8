#include "api/produce.h"

enum { MAGIC_AT = 16, CODEC_ZSTD = 4 };

static enum produce_flaw flaw(struct fault *fault, enum produce_flaw what, enum kq_err err, const char *text)
{
    (void)fault_set(fault, err, "%s", text);
    return what;
}

/* What the batch's header says of itself. */
static enum produce_flaw check_header(const struct batch_info *info, struct fault *fault)
{
    if (info->record_count < 1 || info->record_count != info->last_offset_delta + 1)
        return flaw(fault, PRODUCE_BAD_RECORD, KQ_INVALID_RECORD,
                    "the batch's record count does not agree with its last offset delta");
    if ((info->attributes & BATCH_CONTROL) != 0)
        return flaw(fault, PRODUCE_CONTROL, KQ_INVALID_RECORD, "a client may not write control records");
    if (info->producer_id >= 0 && info->base_sequence < 0)
        return flaw(fault, PRODUCE_BAD_RECORD, KQ_INVALID_RECORD, "a batch of a producer has no sequence");
    if ((info->attributes & BATCH_TRANSACTIONAL) != 0)
        return flaw(fault, PRODUCE_TRANSACTIONAL, KQ_INVALID, "this broker has no transactions");
    return PRODUCE_GOOD;
}

/* What lies in a batch that is not compressed, so that no consumer meets what it cannot read. */
static enum produce_flaw check_records(const uint8_t *batch, const struct batch_info *info, struct fault *fault)
{
    int32_t bad;
    if (batch_check_records(batch, info, &bad) == KQ_OK)
        return PRODUCE_GOOD;
    (void)fault_set(fault, KQ_INVALID_RECORD,
                    "record %d of the batch cannot be read, or its offset is not the next one", (int)bad);
    return PRODUCE_BAD_RECORD;
}

static enum produce_flaw check_times(const struct batch_info *info, const struct partition_limits *limits,
                                     int64_t now_ms, struct fault *fault)
{
    if ((info->attributes & BATCH_LOG_APPEND_TIME) != 0)
        return flaw(fault, PRODUCE_BAD_TIME, KQ_INVALID, "a producer may not set the timestamp type LogAppendTime");
    if (limits->log_append_time)
        return PRODUCE_GOOD;
    bool too_old = info->base_time_ms >= 0 && now_ms - info->base_time_ms > limits->before_max_ms;
    bool too_new = info->max_time_ms >= 0 && info->max_time_ms - now_ms > limits->after_max_ms;
    if (!too_old && !too_new)
        return PRODUCE_GOOD;
    (void)fault_set(fault, KQ_INVALID, "the batch's time %lld is further %s the broker's %lld than %s allows",
                    (long long)(too_old ? info->base_time_ms : info->max_time_ms), too_old ? "behind" : "ahead of",
                    (long long)now_ms, too_old ? "message.timestamp.before.max.ms" : "message.timestamp.after.max.ms");
    return PRODUCE_BAD_TIME;
}

enum produce_flaw produce_check(struct slice records, const struct partition_limits *limits, bool zstd, int64_t now_ms,
                                struct batch_info *info, struct fault *fault)
{
    struct cursor at = cursor_over(records.data, records.len);
    const uint8_t *batch;
    if (records.len > MAGIC_AT && records.data[MAGIC_AT] < BATCH_MAGIC)
        return flaw(fault, PRODUCE_OLD_FORMAT, KQ_INVALID_RECORD,
                    "records in a format from before record batches (magic 2) are not taken");
    if (batch_next(&at, info, &batch) != KQ_OK || cursor_left(&at) > 0)
        return flaw(fault, PRODUCE_NOT_ONE_BATCH, KQ_INVALID_RECORD,
                    "the records of a partition must be exactly one record batch");
    if (info->base_off != 0)
        return flaw(fault, PRODUCE_BAD_RECORD, KQ_INVALID_RECORD, "the base offset of a client's batch must be 0");
    if (limits->max_message_bytes >= 0 && info->size_bytes > limits->max_message_bytes) {
        (void)fault_set(fault, KQ_TOO_LARGE, "message too large: the batch has %d bytes, max.message.bytes is %d",
                        (int)info->size_bytes, (int)limits->max_message_bytes);
        return PRODUCE_TOO_LARGE;
    }
    if (!batch_crc_ok(batch, info))
        return flaw(fault, PRODUCE_BAD_CHECKSUM, KQ_CORRUPT, "the batch does not match its checksum");
    enum produce_flaw found = check_header(info, fault);
    int codec = info->attributes & BATCH_CODEC_MASK;
    if (found == PRODUCE_GOOD && (codec > CODEC_ZSTD || (codec == CODEC_ZSTD && !zstd)))
        return flaw(fault, PRODUCE_NO_CODEC, KQ_INVALID,
                    "the batch's compression is not one that this version of Produce may use");
    if (found == PRODUCE_GOOD && codec == 0)
        found = check_records(batch, info, fault);
    return found == PRODUCE_GOOD ? check_times(info, limits, now_ms, fault) : found;
}
