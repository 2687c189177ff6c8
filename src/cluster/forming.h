/*
 * How brokers with empty folders become one cluster, and never two.
 *
 * Each asks every listed peer, round after round, what it has, and says the same of
 * itself (proto/peer/form.h). The rule:
 *
 *  - FOUND: the lowest id of the list writes the founding once every listed peer was
 *    reached and said that it is empty, with the same list. The founding names all
 *    (id, incarnation); incarnations are durable before anybody hears of them.
 *  - ADOPT: who meets a founding that names its own (id, incarnation) is a founder: it
 *    makes the founding durable and votes from then on.
 *  - JOIN: who meets a founding without its incarnation is a new member, which the
 *    cluster takes in. So a wiped broker that is started with the command that formed
 *    the cluster joins: it needs every peer to be empty to found anything, and one that
 *    has the founding says so.
 *  - WAIT else, for as long as it takes.
 *
 * Why no second cluster: a founding needs a word of "empty" from each listed peer's
 * present incarnation. Two foundings would need one peer to be empty in the eyes of
 * two lowest ids, so two incarnations of the lowest id, of which the later one asked
 * a peer after that had the founding of the earlier, or no peer has it: then it is
 * nobody's.
 *
 * This part decides, and is step-shaped: no clock, thread or socket. forming_run.c pumps.
 */
#ifndef KQ_CLUSTER_FORMING_H
#define KQ_CLUSTER_FORMING_H

#include "cluster/peers.h"
#include "proto/peer/form.h"

#include <stdbool.h>

struct forming_peer {
    bool reached; /* this incarnation said that it is empty */
    struct uuid incarnation;
    struct form_member member;
};

struct forming {
    struct peer_list list;
    struct form_member self;
    struct forming_peer peers[PEERS_MAX]; /* place for place of the list */
    bool met;                             /* in this round: a peer with a cluster, */
    bool conflict;                        /* and another with another one */
    struct founding founding;             /* that cluster's */
};

enum forming_verdict { FORMING_WAIT, FORMING_FOUND, FORMING_ADOPT, FORMING_JOIN };

/* The list is not empty and names self. */
void forming_init(struct forming *f, const struct form_member *self, const struct peer_list *list);
/* What this broker says of itself while it has no cluster. */
void forming_say(const struct forming *f, struct form *form);
/* A round of asking begins: what peers with a cluster said before is asked anew. */
void forming_begin_round(struct forming *f);
/* What a peer says. asked_id: whom its address belongs to in the list; 0: it came by itself.
 * KQ_OK: taken in. Else *fault says what is wrong between the two (lists that differ, another
 * broker's address, two brokers with one id, two clusters). */
enum kq_err forming_hear(struct forming *f, uint32_t asked_id, const struct form *said, struct fault *fault);
/* At the end of a round. */
enum forming_verdict forming_decide(const struct forming *f);
/* FOUND: with these new ids. */
void forming_found(const struct forming *f, const struct uuid *cluster_id, const struct uuid *metadata_id,
                   struct founding *founding);
/* "2@127.0.0.1:7071, 3@127.0.0.1:7072": who was not reached yet; "" nobody. */
void forming_missing(const struct forming *f, char *text, size_t room);

#endif
