#include "cluster/forming.h"

#include "base/require.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

void forming_init(struct forming *f, const struct form_member *self, const struct peer_list *list)
{
    REQUIRE(list->count > 0);
    REQUIRE(peers_find(list, self->broker_id) != NULL);
    *f = (struct forming){.list = *list, .self = *self};
    for (uint32_t i = 0; i < list->count; i++)
        if (list->peers[i].broker_id == self->broker_id)
            f->peers[i] = (struct forming_peer){.reached = true, .incarnation = self->incarnation, .member = *self};
}

void forming_say(const struct forming *f, struct form *form)
{
    memset(form, 0, sizeof *form);
    form->self = f->self;
    form->listed_count = f->list.count;
    for (uint32_t i = 0; i < f->list.count; i++)
        form->listed[i] = f->list.peers[i].broker_id;
}

void forming_begin_round(struct forming *f)
{
    f->met = false;
    f->conflict = false;
}

static bool same_list(const struct forming *f, const struct form *said)
{
    bool same = said->listed_count == f->list.count;
    for (uint32_t i = 0; i < f->list.count && same; i++)
        same = said->listed[i] == f->list.peers[i].broker_id;
    return same;
}

static struct forming_peer *peer_of(struct forming *f, uint32_t broker_id)
{
    for (uint32_t i = 0; i < f->list.count; i++)
        if (f->list.peers[i].broker_id == broker_id)
            return &f->peers[i];
    return NULL;
}

static enum kq_err hear_founding(struct forming *f, const struct form *said, struct fault *fault)
{
    if (f->met && !uuid_equal(&f->founding.cluster_id, &said->founding.cluster_id)) {
        f->conflict = true;
        return fault_set(fault, KQ_INVALID,
                         "broker %" PRIu32 " belongs to another cluster than a peer before it; a broker can join one "
                         "only: take it out of --peers, or empty its data folder",
                         said->self.broker_id);
    }
    f->met = true;
    f->founding = said->founding;
    return KQ_OK;
}

enum kq_err forming_hear(struct forming *f, uint32_t asked_id, const struct form *said, struct fault *fault)
{
    uint32_t id = said->self.broker_id;
    if (id == f->self.broker_id && !uuid_equal(&said->self.incarnation, &f->self.incarnation))
        return fault_set(fault, KQ_EXISTS,
                         "two brokers have the id %" PRIu32 ": this one, and one that is reached at %.100s:%u; start "
                         "one of them with another --broker-id",
                         id, said->self.host, said->self.raft_port);
    if (asked_id != 0 && id != asked_id)
        return fault_set(fault, KQ_INVALID,
                         "--peers calls it broker %" PRIu32 ", and broker %" PRIu32 " answers there; mend the list",
                         asked_id, id);
    if (id == f->self.broker_id)
        return KQ_OK;
    if (said->founded)
        return hear_founding(f, said, fault);
    struct forming_peer *peer = peer_of(f, id);
    if (peer != NULL && same_list(f, said)) {
        *peer = (struct forming_peer){.reached = true, .incarnation = said->self.incarnation, .member = said->self};
        return KQ_OK;
    }
    if (peer != NULL)
        peer->reached = false;
    return fault_set(fault, KQ_INVALID,
                     "broker %" PRIu32 " has another list of --peers; all brokers that form a cluster need the same",
                     id);
}

enum forming_verdict forming_decide(const struct forming *f)
{
    if (f->conflict)
        return FORMING_WAIT;
    if (f->met) {
        const struct form_member *me = founding_find(&f->founding, f->self.broker_id);
        bool founder = me != NULL && uuid_equal(&me->incarnation, &f->self.incarnation);
        return founder ? FORMING_ADOPT : FORMING_JOIN;
    }
    for (uint32_t i = 0; i < f->list.count; i++)
        if (!f->peers[i].reached)
            return FORMING_WAIT;
    return f->list.peers[0].broker_id == f->self.broker_id ? FORMING_FOUND : FORMING_WAIT;
}

void forming_found(const struct forming *f, const struct uuid *cluster_id, const struct uuid *metadata_id,
                   struct founding *founding)
{
    *founding = (struct founding){.cluster_id = *cluster_id, .metadata_id = *metadata_id, .count = f->list.count};
    for (uint32_t i = 0; i < f->list.count; i++) {
        REQUIRE(f->peers[i].reached);
        founding->members[i] = f->peers[i].member;
    }
}

void forming_missing(const struct forming *f, char *text, size_t room)
{
    size_t len = 0;
    text[0] = '\0';
    for (uint32_t i = 0; i < f->list.count && len < room; i++) {
        const struct peer_address *p = &f->list.peers[i];
        if (f->peers[i].reached)
            continue;
        int n = snprintf(text + len, room - len, "%s%" PRIu32 "@%.100s:%u", len == 0 ? "" : ", ", p->broker_id, p->host,
                         p->port);
        len += n > 0 ? (size_t)n : 0;
    }
}
