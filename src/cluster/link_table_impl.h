/* Inside of link_table.h: for link_table.c, link_claims.c and link_beats.c. */
#ifndef KQ_CLUSTER_LINK_TABLE_IMPL_H
#define KQ_CLUSTER_LINK_TABLE_IMPL_H

#include "base/map.h"
#include "cluster/link_table.h"
#include "proto/peer/beat.h"

enum { LINK_TABLE_TAG = 0x11b7ab1e, SENT_BEATS = 64 /* whose acknowledgement is understood */ };

struct peer;

/* What a peer says of its replica of a group. */
struct claim {
    struct claim *next; /* of the group */
    struct peer *peer;
    enum beat_kind kind; /* LEADS or FOLLOWS */
    uint64_t term;
    struct uuid incarnation;
    uint64_t list;                    /* the peer's list in which it was said */
    bool vouched;                     /* the local replica was told: claim */
    bool peer_linked;                 /* the local replica was told: peer_link, ... */
    struct raft_member linked_member; /* ... of this one */
};

struct group {
    struct group_id id;
    /* the local replica */
    struct partition *partition; /* NULL: none */
    struct replica_news news;
    bool stuck;
    uint64_t version;    /* of what is told of it; 0: never told */
    struct group *older; /* in the order of versions; those with version 0 are not in it */
    struct group *newer;
    struct claim *claims;
    uint32_t leader_id; /* as last said */
    uint64_t leader_term;
};

struct sent_beat {
    uint64_t number;
    uint64_t version; /* everything up to it had been told with this beat */
};

struct peer {
    struct peer *next;
    uint32_t broker_id;
    /* towards it */
    bool out_up;
    bool urgent; /* a beat should leave before beat_at_us */
    bool anew;   /* the next beat begins the list */
    uint64_t out_session;
    uint64_t number;       /* of the last beat */
    uint64_t sent_version; /* told up to here */
    uint64_t acked_number;
    uint64_t acked_version;
    bool confirmed; /* acknowledgements come */
    int64_t acked_us;
    int64_t beat_at_us;
    int64_t not_before_us; /* whatever is due */
    struct sent_beat sent[SENT_BEATS];
    /* from it */
    bool in_up;
    bool alive;
    bool listing; /* a whole list is coming */
    uint64_t in_session;
    uint64_t in_number;
    uint64_t list;
    int64_t heard_us;
    uint32_t claim_count;
};

struct link_table {
    uint32_t tag;
    uint32_t self_id;
    int64_t beat_us;
    int64_t election_us;
    struct link_hooks hooks;
    struct peer *peers;
    struct map groups;
    struct group *oldest;
    struct group *newest;
    uint64_t version;
    uint32_t gone;     /* groups without a replica that are still to be told of */
    int64_t looked_us; /* when stuck ones were looked for */
    int64_t ticked_us;
};

struct peer *link_peer(const struct link_table *t, uint32_t broker_id);
/* NULL: out of memory (make), or not there. */
struct group *link_group(struct link_table *t, const struct group_id *id, bool make);
/* Frees it if nothing is to be said or known of it any more. */
void link_group_tidy(struct link_table *t, struct group *g);
/* What is told of it has changed. */
void link_group_touch(struct link_table *t, struct group *g);
enum beat_kind link_kind_for(const struct group *g, const struct peer *p);

/* Tells the local replica what follows from c; anew: also what it was told before. */
void link_claim_settle(struct link_table *t, struct group *g, struct claim *c, bool anew);
void link_claim_remove(struct link_table *t, struct group *g, struct claim **at);
/* The same for all claims of a group (of one peer, if not NULL), and who leads. */
void link_group_settle(struct link_table *t, struct group *g, const struct peer *p, bool anew);
/* For all groups. */
void link_settle_all(struct link_table *t, const struct peer *p);
/* Acknowledgements of everything up to here have come. */
void link_peer_acked(struct link_table *t, struct peer *p, uint64_t number, int64_t now_us);

#endif
