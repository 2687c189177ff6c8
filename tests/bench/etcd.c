/*
 * Frames of HTTP/2 (RFC 7540): length (3 bytes), type, flags, stream (4), payload.
 * A call is HEADERS, then DATA with a gRPC message: 0, length (4), protobuf. Its
 * answer is HEADERS, DATA, and HEADERS that end the stream; an error has no DATA.
 * The flow-control window towards us is opened once to its largest; towards the
 * server one small message at a time is in flight.
 */
#include "bench/etcd.h"

#include "e2e/harness.h"

#include <poll.h>
#include <string.h>
#include <sys/socket.h>

enum {
    FRAME_HEADER = 9,
    TYPE_DATA = 0,
    TYPE_HEADERS = 1,
    TYPE_RST_STREAM = 3,
    TYPE_SETTINGS = 4,
    TYPE_GOAWAY = 7,
    TYPE_WINDOW_UPDATE = 8,
    FLAG_ACK = 1,
    FLAG_END_STREAM = 1,
    FLAG_END_HEADERS = 4,
    GRPC_PREFIX = 5,
    WINDOW_MORE = 0x7fffffff - 65535,
    STREAM_AT = 5,
};

static void put_be(char *at, uint64_t n, int bytes)
{
    for (int i = 0; i < bytes; i++)
        at[i] = (char)(n >> (8 * (bytes - 1 - i)));
}

static uint64_t get_be(const char *at, int bytes)
{
    uint64_t n = 0;
    for (int i = 0; i < bytes; i++)
        n = n << 8 | (uint8_t)at[i];
    return n;
}

static size_t put_frame(char *out, int type, int flags, uint32_t stream, size_t payload)
{
    put_be(out, payload, 3);
    out[3] = (char)type;
    out[4] = (char)flags;
    put_be(out + STREAM_AT, stream, 4);
    return FRAME_HEADER;
}

/* A literal field with a new name, not indexed; both below 127 bytes. */
static size_t put_field(char *out, const char *name, const char *value)
{
    size_t names = strlen(name), values = strlen(value);
    out[0] = 0;
    out[1] = (char)names;
    memcpy(out + 2, name, names);
    out[2 + names] = (char)values;
    memcpy(out + 3 + names, value, values);
    return 3 + names + values;
}

/* HEADERS of a call on stream 1. */
static size_t put_call(char *out, const char *path)
{
    size_t used = FRAME_HEADER;
    out[used++] = (char)0x83; /* :method: POST */
    out[used++] = (char)0x86; /* :scheme: http */
    used += put_field(out + used, ":path", path);
    used += put_field(out + used, ":authority", "bench");
    used += put_field(out + used, "content-type", "application/grpc");
    used += put_field(out + used, "te", "trailers");
    (void)put_frame(out, TYPE_HEADERS, FLAG_END_HEADERS, 1, used - FRAME_HEADER);
    return used;
}

/* A protobuf varint. */
static size_t put_varint(char *out, uint64_t n)
{
    size_t used = 0;
    for (; n >= 0x80; n >>= 7)
        out[used++] = (char)(n | 0x80);
    out[used++] = (char)n;
    return used;
}

size_t etcd_put_publish(char *out, const char *key, size_t size)
{
    size_t head = put_call(out, "/etcdserverpb.KV/Put"), keys = strlen(key);
    char *message = out + head + FRAME_HEADER + GRPC_PREFIX;
    size_t used = 0;
    message[used++] = 0x0a; /* key */
    used += put_varint(message + used, keys);
    memcpy(message + used, key, keys);
    used += keys;
    message[used++] = 0x12; /* value */
    used += put_varint(message + used, size);
    memset(message + used, 'x', size);
    used += size;
    (void)put_frame(out + head, TYPE_DATA, FLAG_END_STREAM, 1, GRPC_PREFIX + used);
    put_be(out + head + FRAME_HEADER, used, GRPC_PREFIX); /* a zero: not compressed; then the length */
    return head + FRAME_HEADER + GRPC_PREFIX + used;
}

void etcd_next_stream(char *publish)
{
    uint64_t stream = get_be(publish + STREAM_AT, 4) + 2;
    char *data = publish + FRAME_HEADER + get_be(publish, 3);
    put_be(publish + STREAM_AT, stream, 4);
    put_be(data + STREAM_AT, stream, 4);
}

/* The first whole frame at in, or 0. */
static size_t whole_frame(const char *in, size_t n)
{
    size_t whole = n >= FRAME_HEADER ? FRAME_HEADER + (size_t)get_be(in, 3) : SIZE_MAX;
    return whole <= n ? whole : 0;
}

size_t etcd_take_reply(const char *in, size_t n, bool *ok)
{
    bool answered = false;
    size_t at = 0, frame;
    for (; (frame = whole_frame(in + at, n - at)) > 0; at += frame) {
        int type = in[at + 3], flags = in[at + 4];
        answered = answered || (type == TYPE_DATA && frame > FRAME_HEADER + GRPC_PREFIX);
        bool failed = type == TYPE_RST_STREAM || type == TYPE_GOAWAY;
        if (failed || (type == TYPE_HEADERS && (flags & FLAG_END_STREAM) != 0)) {
            *ok = answered && !failed;
            return at + frame;
        }
    }
    return 0;
}

/* More bytes of the connection; false: closed, or nothing came. */
static bool take_more(struct client *c, char *in, size_t size, size_t *used)
{
    struct pollfd ready = {.fd = client_fd(c), .events = POLLIN};
    if (poll(&ready, 1, REPLY_MS) != 1)
        return false;
    ssize_t n = recv(client_fd(c), in + *used, size - *used, 0);
    *used += n > 0 ? (size_t)n : 0;
    return n > 0;
}

bool etcd_greet(struct client *c)
{
    static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    char out[128], in[256];
    size_t used = sizeof(preface) - 1, got = 0;
    memcpy(out, preface, used);
    used += put_frame(out + used, TYPE_SETTINGS, 0, 0, 0);
    used += put_frame(out + used, TYPE_WINDOW_UPDATE, 0, 0, 4);
    put_be(out + used, WINDOW_MORE, 4);
    used += 4;
    if (!client_send(c, out, used))
        return false;
    for (size_t at = 0, frame; at == 0 || at < got; at += frame)
        while ((frame = whole_frame(in + at, got - at)) == 0)
            if (got == sizeof(in) || !take_more(c, in, sizeof(in), &got))
                return false;
    if (in[3] != TYPE_SETTINGS)
        return false;
    used = put_frame(out, TYPE_SETTINGS, FLAG_ACK, 0, 0);
    return client_send(c, out, used);
}

/* The varint field of a protobuf message, 0 if it is not there; *inner: the bytes of field 1. */
static uint64_t find_field(const uint8_t *at, const uint8_t *end, unsigned wanted, const uint8_t **inner,
                           const uint8_t **inner_end)
{
    while (at < end) {
        uint64_t head = 0, n = 0;
        for (int shift = 0; at < end && shift < 64; shift += 7) {
            head |= (uint64_t)(*at & 0x7f) << shift;
            if ((*at++ & 0x80) == 0)
                break;
        }
        for (int shift = 0; at < end && shift < 64; shift += 7) {
            n |= (uint64_t)(*at & 0x7f) << shift;
            if ((*at++ & 0x80) == 0)
                break;
        }
        if ((head & 7) == 0 && head >> 3 == wanted)
            return n;
        if ((head & 7) == 2) {
            if (head >> 3 == 1 && inner != NULL && n <= (uint64_t)(end - at)) {
                *inner = at;
                *inner_end = at + n;
            }
            at += n <= (uint64_t)(end - at) ? n : (uint64_t)(end - at);
        }
    }
    return 0;
}

/* StatusResponse: 1 header (2 member_id), 4 leader. */
static bool read_status(const char *message, size_t size, struct etcd_status *status)
{
    const uint8_t *at = (const uint8_t *)message, *header = NULL, *header_end = NULL;
    status->leader = find_field(at, at + size, 4, &header, &header_end);
    if (header == NULL)
        return false;
    status->member = find_field(header, header_end, 2, NULL, NULL);
    return true;
}

bool etcd_status(struct client *c, struct etcd_status *status)
{
    char out[512], in[4096];
    size_t used = put_call(out, "/etcdserverpb.Maintenance/Status"), got = 0;
    used += put_frame(out + used, TYPE_DATA, FLAG_END_STREAM, 1, GRPC_PREFIX);
    memset(out + used, 0, GRPC_PREFIX);
    if (!client_send(c, out, used + GRPC_PREFIX))
        return false;
    bool ok;
    while (etcd_take_reply(in, got, &ok) == 0)
        if (got == sizeof(in) || !take_more(c, in, sizeof(in), &got))
            return false;
    size_t at = 0, frame;
    for (; ok && (frame = whole_frame(in + at, got - at)) > 0; at += frame)
        if (in[at + 3] == TYPE_DATA && frame > FRAME_HEADER + GRPC_PREFIX)
            return read_status(in + at + FRAME_HEADER + GRPC_PREFIX, frame - FRAME_HEADER - GRPC_PREFIX, status);
    return false;
}
