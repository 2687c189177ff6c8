/*
 * Who votes on the metadata, as the controller knows it: what each of them has is known to
 * the leader of a group alone.
 *
 *    question (ASK_QUORUM): u8 version = 1
 *    answer:                u8 version = 1 | u64 term | i64 high watermark | u8 members | for each:
 *                           u32 broker, 16 incarnation, u8 flags (1: voter, 2: linked, 4: in sync),
 *                           u64 match, i64 end of its records (-1: not known)
 *
 * Little-endian.
 */
#include "cluster/cluster_state.h"

#include "base/require.h"

#include <stdlib.h>

enum { VERSION = 1, VOTER = 1, LINKED = 2, IN_SYNC = 4, ANSWER_BYTES_MAX = 64 * 1024 };

/* ---- on the wire --------------------------------------------------------------------------- */

static void encode(const struct partition_ask *told, struct buf *out)
{
    buf_u8(out, VERSION);
    buf_le64(out, told->term);
    buf_le64(out, (uint64_t)told->off);
    buf_u8(out, (uint8_t)told->member_count);
    for (uint32_t i = 0; i < told->member_count; i++) {
        const struct partition_member_row *row = &told->members[i];
        int flags = ((row->kinds & RAFT_SEAT_VOTER) != 0 ? VOTER : 0) | (row->linked ? LINKED : 0) |
                    (row->in_sync ? IN_SYNC : 0);
        buf_le32(out, row->member.broker_id);
        buf_put(out, row->member.incarnation.bytes, UUID_BYTES);
        buf_u8(out, (uint8_t)flags);
        buf_le64(out, row->match_idx);
        buf_le64(out, (uint64_t)row->end_off);
    }
}

/* False: it cannot be read. */
static bool decode(const struct buf *answer, struct partition_ask *told)
{
    struct cursor c = cursor_over(answer->data, answer->len);
    if (cursor_u8(&c) != VERSION)
        return false;
    told->term = cursor_le64(&c);
    told->off = (int64_t)cursor_le64(&c);
    told->member_count = cursor_u8(&c);
    if (c.bad || told->member_count > PARTITION_MEMBERS_MAX)
        return false;
    for (uint32_t i = 0; i < told->member_count; i++) {
        struct partition_member_row *row = &told->members[i];
        row->member.broker_id = cursor_le32(&c);
        const uint8_t *incarnation = cursor_bytes(&c, UUID_BYTES);
        if (incarnation != NULL)
            memcpy(row->member.incarnation.bytes, incarnation, UUID_BYTES);
        uint8_t flags = cursor_u8(&c);
        row->kinds = (flags & VOTER) != 0 ? RAFT_SEAT_VOTER : RAFT_SEAT_LEARNER;
        row->linked = (flags & LINKED) != 0;
        row->in_sync = (flags & IN_SYNC) != 0;
        row->match_idx = cursor_le64(&c);
        row->end_off = (int64_t)cursor_le64(&c);
    }
    return !c.bad && cursor_left(&c) == 0;
}

/* ---- asking ----------------------------------------------------------------------------------- */

static void told_here(struct partition_ask *ask)
{
    struct cluster_quorum *quorum = CONTAINER_OF(ask, struct cluster_quorum, told);
    quorum->by_leader = ask->fault.err == KQ_OK && ask->leader.broker_id == quorum->cluster->identity.broker_id;
    quorum->done(quorum);
}

static void ask_here(struct cluster_quorum *quorum)
{
    quorum->told = (struct partition_ask){
        .question = PARTITION_ASK_MEMBERS, .deadline_us = quorum->deadline_us, .done = told_here};
    partition_ask(quorum->cluster->metadata_partition, &quorum->told);
}

/* Any thread. */
static void told_there(struct ask *ask)
{
    struct cluster_quorum *quorum = ask->owner;
    quorum->told = (struct partition_ask){.leader = {.broker_id = ask->broker_id}};
    quorum->by_leader = ask->fault.err == KQ_OK && decode(&ask->answer, &quorum->told);
    buf_fini(&ask->answer);
    if (quorum->by_leader)
        quorum->done(quorum);
    else
        ask_here(quorum);
}

void cluster_ask_quorum(struct cluster *cluster, struct cluster_quorum *quorum)
{
    static uint8_t version = VERSION;
    static const struct iovec question = {.iov_base = &version, .iov_len = 1};
    TAG_CHECK(cluster, CLUSTER_TAG);
    quorum->cluster = cluster;
    uint32_t controller = cluster_controller(cluster);
    if (controller == 0 || controller == cluster->identity.broker_id) {
        ask_here(quorum);
        return;
    }
    quorum->ask = (struct ask){.broker_id = controller,
                               .verb = ASK_QUORUM,
                               .parts = &question,
                               .part_count = 1,
                               .deadline_us = quorum->deadline_us,
                               .done = told_there,
                               .owner = quorum};
    links_ask(cluster->links, &quorum->ask);
}

/* ---- answering ----------------------------------------------------------------------------------- */

struct served {
    struct partition_ask ask;
    struct cluster *cluster;
    struct asked *asked;
};

/* The metadata actor's turn. */
static void served_done(struct partition_ask *ask)
{
    struct served *served = CONTAINER_OF(ask, struct served, ask);
    struct fault fault = ask->fault;
    struct buf out;
    buf_init(&out, ANSWER_BYTES_MAX);
    if (fault.err == KQ_OK && ask->leader.broker_id != served->cluster->identity.broker_id)
        fault = (struct fault){.err = KQ_NOT_LEADER};
    if (fault.err == KQ_OK)
        encode(ask, &out);
    if (out.bad)
        fault = (struct fault){.err = KQ_NO_MEMORY};
    const struct iovec part = {.iov_base = out.data, .iov_len = out.len};
    ask_answer(served->asked, &fault, &part, fault.err == KQ_OK ? 1 : 0);
    buf_fini(&out);
    free(served);
}

void quorum_serve(void *context, struct asked *asked)
{
    struct cluster *c = context;
    struct served *served = NULL;
    struct fault fault = {.err = KQ_OK};
    if (asked->body_bytes != 1 || asked->body[0] != VERSION)
        fault.err = KQ_BAD_VERSION;
    else if ((served = calloc(1, sizeof *served)) == NULL)
        fault.err = KQ_NO_MEMORY;
    if (served == NULL) {
        ask_answer(asked, &fault, NULL, 0);
        return;
    }
    *served = (struct served){.cluster = c, .asked = asked};
    served->ask = (struct partition_ask){
        .question = PARTITION_ASK_MEMBERS, .deadline_us = asked->deadline_us, .done = served_done};
    partition_ask(c->metadata_partition, &served->ask);
}
