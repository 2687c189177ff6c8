#include "proto/peer/hello.h"

#include "proto/peer/frame.h"

enum { HELLO_MAGIC = 0x3170514b /* "KQp1" */ };

void hello_encode(const struct hello *hello, uint8_t out[HELLO_BYTES])
{
    put_le32(out, HELLO_MAGIC);
    put_le16(out + 4, hello->version);
    out[6] = (uint8_t)hello->kind;
    out[7] = 0;
    memcpy(out + 8, hello->cluster_id.bytes, UUID_BYTES);
    put_le32(out + 24, hello->broker_id);
    memcpy(out + 28, hello->incarnation.bytes, UUID_BYTES);
    put_le64(out + 44, hello->boot);
    put_le32(out + 52, hello->to_broker_id);
    memcpy(out + 56, hello->to_incarnation.bytes, UUID_BYTES);
    put_le64(out + 72, hello->session);
}

enum kq_err hello_decode(const uint8_t *body, size_t body_bytes, struct hello *hello)
{
    struct cursor c = cursor_over(body, body_bytes);
    *hello = (struct hello){.version = 0};
    uint32_t magic = cursor_le32(&c);
    hello->version = cursor_le16(&c);
    if (c.bad || magic != HELLO_MAGIC)
        return KQ_GARBAGE;
    if (hello->version != PEER_VERSION)
        return KQ_BAD_VERSION;
    uint8_t kind = cursor_u8(&c);
    uint8_t zero = cursor_u8(&c);
    cursor_copy(&c, hello->cluster_id.bytes, UUID_BYTES);
    hello->broker_id = cursor_le32(&c);
    cursor_copy(&c, hello->incarnation.bytes, UUID_BYTES);
    hello->boot = cursor_le64(&c);
    hello->to_broker_id = cursor_le32(&c);
    cursor_copy(&c, hello->to_incarnation.bytes, UUID_BYTES);
    hello->session = cursor_le64(&c);
    if (c.bad || cursor_left(&c) != 0 || zero != 0 || kind < PEER_KIND_RAFT || kind >= PEER_KIND_END ||
        hello->broker_id == 0 || uuid_is_zero(&hello->incarnation))
        return KQ_GARBAGE;
    hello->kind = (enum peer_kind)kind;
    return KQ_OK;
}

enum kq_err hello_judge(const struct hello *self, const struct hello *other, const char *place, struct fault *fault)
{
    if (other->broker_id == self->broker_id) {
        if (uuid_equal(&other->incarnation, &self->incarnation))
            return fault_set(fault, KQ_EXISTS,
                             "broker %u reached itself, or a copy of its own data folder, at %s: check the addresses "
                             "of the peers, and run a data folder once",
                             self->broker_id, place);
        return fault_set(fault, KQ_EXISTS,
                         "two brokers have the id %u: this one, and the one at %s: start one of them with another "
                         "--broker-id, in a data folder of its own",
                         self->broker_id, place);
    }
    if (other->to_broker_id != 0 && other->to_broker_id != self->broker_id)
        return fault_set(fault, KQ_INVALID,
                         "broker %u at %s looks for broker %u and reached broker %u: check the addresses of the peers",
                         other->broker_id, place, other->to_broker_id, self->broker_id);
    if (self->to_broker_id != 0 && self->to_broker_id != other->broker_id)
        return fault_set(fault, KQ_INVALID, "at %s is broker %u, not broker %u: check the addresses of the peers",
                         place, other->broker_id, self->to_broker_id);
    if (self->kind == PEER_KIND_FORM)
        return KQ_OK;
    if (!uuid_equal(&other->cluster_id, &self->cluster_id)) {
        char theirs[UUID_TEXT_BYTES];
        char ours[UUID_TEXT_BYTES];
        return fault_set(fault, KQ_INVALID,
                         "broker %u at %s belongs to another cluster (%s; broker %u belongs to %s): check the "
                         "addresses of the peers; to move a broker here, start it with an empty data folder",
                         other->broker_id, place, uuid_format(&other->cluster_id, theirs), self->broker_id,
                         uuid_format(&self->cluster_id, ours));
    }
    if (!uuid_is_zero(&other->to_incarnation) && !uuid_equal(&other->to_incarnation, &self->incarnation))
        return fault_set(fault, KQ_AGAIN,
                         "broker %u at %s looks for broker %u as it was before its data folder was emptied: it will "
                         "learn of the new one by itself",
                         other->broker_id, place, self->broker_id);
    if (!uuid_is_zero(&self->to_incarnation) && !uuid_equal(&self->to_incarnation, &other->incarnation))
        return fault_set(fault, KQ_AGAIN,
                         "broker %u at %s has a new data folder: it takes part when the cluster has taken it in",
                         other->broker_id, place);
    return KQ_OK;
}

const char *peer_kind_name(enum peer_kind kind)
{
    static const char *const names[PEER_KIND_END] = {"?", "raft", "catch-up", "ask", "form"};
    return (unsigned)kind < PEER_KIND_END ? names[kind] : names[0];
}
