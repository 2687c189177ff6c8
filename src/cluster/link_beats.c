/* The beats to the peers: what is told when, and what they have acknowledged. */
#include "cluster/link_table_impl.h"

#include "base/clock.h"
#include "base/require.h"

enum beat_kind link_kind_for(const struct group *g, const struct peer *p)
{
    if (g->partition == NULL || g->stuck || g->news.term == 0)
        return BEAT_NONE;
    if (g->news.leads)
        return BEAT_LEADS;
    return g->news.leader.broker_id == p->broker_id && !g->news.forgot ? BEAT_FOLLOWS : BEAT_NONE;
}

/* The first that was not told to p. */
static const struct group *first_untold(const struct link_table *t, const struct peer *p)
{
    const struct group *first = NULL;
    for (const struct group *g = t->newest; g != NULL && g->version > p->sent_version; g = g->older)
        first = g;
    return first;
}

bool link_table_compose(struct link_table *t, uint32_t broker_id, int64_t now_us, struct buf *out)
{
    TAG_CHECK(t, LINK_TABLE_TAG);
    struct peer *p = link_peer(t, broker_id);
    buf_reset(out);
    if (p == NULL || !p->out_up)
        return false;
    bool news = p->sent_version < t->version;
    if (now_us < p->not_before_us)
        return false;
    if (!p->anew && !news && !p->urgent && now_us < p->beat_at_us)
        return false;
    struct beat beat = {.number = p->number + 1,
                        .ack_session = p->in_up ? p->in_session : 0,
                        .ack_number = p->in_up ? p->in_number : 0,
                        .anew = p->number == 0};
    bool whole = p->anew; /* a list of what is: what is not is left out */
    beat_put_head(out, &beat);
    const struct group *g = first_untold(t, p);
    uint64_t version = t->version;
    for (; g != NULL; g = g->newer) {
        if (beat.change_count == BEAT_CHANGES_MAX) {
            beat.more = true;
            break;
        }
        version = g->version;
        struct beat_change change = {.topic_id = g->id.topic_id,
                                     .partition = g->id.partition,
                                     .kind = link_kind_for(g, p),
                                     .term = g->news.term,
                                     .incarnation = g->news.self.incarnation};
        if (whole && change.kind == BEAT_NONE)
            continue;
        beat_put_change(out, &change);
        beat.change_count++;
    }
    if (out->bad)
        return false;
    put_le32(out->data + 24, beat.change_count); /* known only now */
    if (beat.more)
        out->data[28] |= 2;
    p->number = beat.number;
    p->sent_version = beat.more ? version : t->version;
    p->anew = whole && beat.more;
    p->urgent = false;
    p->beat_at_us = now_us + t->beat_us;
    p->sent[p->number % SENT_BEATS] = (struct sent_beat){.number = p->number, .version = p->sent_version};
    return true;
}

void link_table_put_off(struct link_table *t, uint32_t broker_id, int64_t now_us)
{
    TAG_CHECK(t, LINK_TABLE_TAG);
    struct peer *p = link_peer(t, broker_id);
    if (p != NULL)
        p->not_before_us = now_us + t->beat_us / 4;
}

void link_peer_acked(struct link_table *t, struct peer *p, uint64_t number, int64_t now_us)
{
    const struct sent_beat *sent = &p->sent[number % SENT_BEATS];
    if (number <= p->acked_number || number > p->number)
        return;
    p->acked_number = number;
    p->acked_us = now_us;
    bool was_confirmed = p->confirmed;
    uint64_t old = p->acked_version;
    p->confirmed = true;
    if (sent->number == number)
        p->acked_version = sent->version;
    if (!was_confirmed) {
        link_settle_all(t, p);
        return;
    }
    for (struct group *g = t->newest; g != NULL && g->version > old; g = g->older)
        if (g->version <= p->acked_version)
            link_group_settle(t, g, p, false);
}

int64_t link_table_deadline_us(const struct link_table *t)
{
    int64_t due_us = CLOCK_NEVER;
    bool alive = false;
    for (const struct peer *p = t->peers; p != NULL; p = p->next) {
        if (p->out_up) {
            int64_t at_us = p->urgent || p->anew || p->sent_version < t->version ? 0 : p->beat_at_us;
            if (at_us < p->not_before_us)
                at_us = p->not_before_us;
            due_us = at_us < due_us ? at_us : due_us;
        }
        if (p->out_up && p->confirmed && p->acked_us + t->election_us < due_us)
            due_us = p->acked_us + t->election_us;
        alive = alive || p->alive;
    }
    if (alive && (t->ticked_us == INT64_MIN || t->ticked_us + t->beat_us < due_us)) /* see link_table_tick: late */
        due_us = t->ticked_us == INT64_MIN ? 0 : t->ticked_us + t->beat_us;
    return due_us;
}
