/* libFuzzer: any bytes as lines for the command parser. Invariants: slices lie in
 * the line, numbers in their ranges, and an error has a text of one line. */
#include "base/require.h"
#include "base/utf8.h"
#include "fuzz/fuzz.h"
#include "proto/text/command.h"
#include "proto/text/reply.h"

#include <stdlib.h>

static void check_slice(const uint8_t *line, size_t line_bytes, struct slice s)
{
    if (slice_is_absent(s))
        return;
    REQUIRE(s.data >= line);
    REQUIRE(s.data + s.len <= line + line_bytes);
    REQUIRE(utf8_is_valid(s.data, s.len));
}

static void check_line(const uint8_t *bytes, size_t line_bytes)
{
    static const struct text_limits limits = {.partitions_max = 100};
    uint8_t *line = malloc(line_bytes == 0 ? 1 : line_bytes); /* exactly as long, so that a step beyond is seen */
    REQUIRE(line != NULL);
    memcpy(line, bytes, line_bytes);
    struct text_command c;
    struct fault fault = {.err = KQ_OK};
    if (text_command_parse(line, line_bytes, &limits, &c, &fault) == KQ_OK) {
        check_slice(line, line_bytes, c.topic);
        check_slice(line, line_bytes, c.group);
        check_slice(line, line_bytes, c.id);
        check_slice(line, line_bytes, c.message);
        REQUIRE(c.verb <= TEXT_NONE);
        REQUIRE(c.verb != TEXT_CRTP || c.partitions <= limits.partitions_max);
        REQUIRE(c.verb != TEXT_CRTP || text_topic_name_is_valid(c.topic));
        REQUIRE(c.verb != TEXT_CLUS || (c.cluster < TEXT_CLUSTER_COUNT && c.broker <= TEXT_BROKER_ID_MAX));
        REQUIRE(c.broker_count <= TEXT_REPLICAS_MAX);
        for (uint32_t i = 0; i < c.broker_count; i++)
            REQUIRE(c.brokers[i] >= 1 && c.brokers[i] <= TEXT_BROKER_ID_MAX);
        REQUIRE(c.verb != TEXT_SUBS || c.partitions >= 1);
        REQUIRE(!c.has_offset || c.offset >= 0);
        REQUIRE(c.partition >= 0 && c.producer_id >= 0 && c.producer_epoch >= 0 && c.sequence >= 0);
    } else {
        struct buf out;
        buf_init(&out, 1 << 16);
        REQUIRE(fault.text[0] != 0);
        reply_fault(&out, fault.err, &fault);
        REQUIRE(!out.bad && memchr(out.data, '\n', out.len) == out.data + out.len - 1);
        REQUIRE(utf8_is_valid(out.data, out.len));
        buf_fini(&out);
    }
    free(line);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes)
{
    (void)text_stranger_detect(data, size_bytes);
    for (size_t at = 0; at <= size_bytes;) {
        const uint8_t *feed = size_bytes == at ? NULL : memchr(data + at, '\n', size_bytes - at);
        size_t end = feed == NULL ? size_bytes : (size_t)(feed - data);
        check_line(data + at, end - at);
        at = end + 1;
    }
    return 0;
}
