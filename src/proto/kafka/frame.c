/* Sizes and headers of requests and answers, both sides. */
#include "base/require.h"
#include "proto/kafka/kafka.h"

enum kq_err kafka_frame_size(const uint8_t head[KAFKA_SIZE_BYTES], uint32_t limit_bytes, uint32_t *size_bytes)
{
    uint32_t size = get_be32(head);
    if (size > INT32_MAX || size < KAFKA_REQUEST_HEAD_MIN_BYTES)
        return KQ_GARBAGE;
    if (size > limit_bytes)
        return KQ_TOO_LARGE;
    *size_bytes = size;
    return KQ_OK;
}

/* Skips the tagged fields of a header: none of them means anything to us. */
static void skip_tags(struct cursor *in)
{
    uint32_t tags = cursor_uvarint(in);
    if (tags > KAFKA_TAGS_MAX)
        in->bad = true;
    for (; tags > 0 && !in->bad; tags--) {
        (void)cursor_uvarint(in);
        (void)cursor_bytes(in, cursor_uvarint(in));
    }
}

enum kq_err kafka_request_open(struct slice frame, struct kafka_request *request)
{
    struct cursor in = cursor_over(frame.data, frame.len);
    *request = (struct kafka_request){.key = (int16_t)cursor_be16(&in),
                                      .version = (int16_t)cursor_be16(&in),
                                      .correlation_id = (int32_t)cursor_be32(&in)};
    if (in.bad)
        return KQ_GARBAGE;
    request->api = kafka_api(request->key);
    if (request->api == NULL)
        return KQ_NOT_FOUND;
    if (request->version < request->api->first || request->version > request->api->last) {
        if (request->key == KAFKA_API_VERSIONS)
            request->version = 0;
        return KQ_BAD_VERSION;
    }
    int16_t client_bytes = (int16_t)cursor_be16(&in);
    if (client_bytes >= 0)
        request->client_id = slice_of(cursor_bytes(&in, (size_t)client_bytes), (size_t)client_bytes);
    if (client_bytes < -1)
        return KQ_GARBAGE;
    if (kafka_dialect(request->api, request->version).flexible)
        skip_tags(&in);
    request->body = in;
    return in.bad ? KQ_GARBAGE : KQ_OK;
}

static enum kq_err decode_whole(const struct kafka_shape *shape, struct kafka_dialect dialect, struct cursor *in,
                                struct kafka_arena *arena, void **to)
{
    *to = kafka_arena_take(arena, shape->bytes);
    return *to == NULL ? arena->err : kafka_decode(shape, dialect, in, arena, *to);
}

enum kq_err kafka_request_body(const struct kafka_request *request, struct kafka_arena *arena, void **body)
{
    struct cursor in = request->body;
    return decode_whole(request->api->request, kafka_dialect(request->api, request->version), &in, arena, body);
}

/* Writes what now is the size of the frame that began at start_at. */
static void finish(struct buf *out, size_t start_at, size_t spliced_bytes)
{
    if (out->bad)
        return;
    size_t size_bytes = out->len - start_at - KAFKA_SIZE_BYTES + spliced_bytes;
    if (size_bytes > INT32_MAX)
        out->bad = true;
    else
        put_be32(out->data + start_at, (uint32_t)size_bytes);
}

void kafka_answer_put(struct buf *out, const struct kafka_request *request, const void *answer,
                      struct kafka_splices *splices)
{
    struct kafka_dialect dialect = kafka_dialect(request->api, request->version);
    size_t start_at = out->len;
    size_t spliced_before_bytes = splices != NULL ? splices->total_bytes : 0;
    buf_be32(out, 0);
    buf_be32(out, (uint32_t)request->correlation_id);
    if (dialect.flexible && request->key != KAFKA_API_VERSIONS)
        buf_uvarint(out, 0);
    kafka_encode(request->api->response, dialect, answer, out, splices);
    finish(out, start_at, splices != NULL ? splices->total_bytes - spliced_before_bytes : 0);
}

void kafka_request_put(struct buf *out, const struct kafka_api *api, int16_t version, int32_t correlation_id,
                       struct slice client_id, const void *body)
{
    struct kafka_dialect dialect = kafka_dialect(api, version);
    size_t start_at = out->len;
    REQUIRE(client_id.len <= KAFKA_STRING_MAX_BYTES);
    buf_be32(out, 0);
    buf_be16(out, (uint16_t)api->key);
    buf_be16(out, (uint16_t)version);
    buf_be32(out, (uint32_t)correlation_id);
    buf_be16(out, slice_is_absent(client_id) ? UINT16_MAX : (uint16_t)client_id.len);
    if (client_id.len > 0)
        buf_put(out, client_id.data, client_id.len);
    if (dialect.flexible)
        buf_uvarint(out, 0);
    kafka_encode(api->request, dialect, body, out, NULL);
    finish(out, start_at, 0);
}

enum kq_err kafka_answer_open(struct slice frame, const struct kafka_api *api, int16_t version,
                              struct kafka_arena *arena, int32_t *correlation_id, void **answer)
{
    struct kafka_dialect dialect = kafka_dialect(api, version);
    struct cursor in = cursor_over(frame.data, frame.len);
    *correlation_id = (int32_t)cursor_be32(&in);
    if (dialect.flexible && api->key != KAFKA_API_VERSIONS)
        skip_tags(&in);
    return in.bad ? KQ_GARBAGE : decode_whole(api->response, dialect, &in, arena, answer);
}
