/*
 * Publish storms: several connections, each with many publishes in flight to a
 * topic of its own, until the daemon goes away under them. Then the account: all
 * that was acknowledged is there, in order, and beyond it nothing but a prefix
 * of what was in flight.
 */
#ifndef KQ_TESTS_E2E_STORM_H
#define KQ_TESTS_E2E_STORM_H

#include "e2e/client.h"

#include <stdint.h>

enum { STORM_LANES = 4 };

struct storm_lane {
    struct client *c;
    char topic[32];
    int sent;    /* publishes begun, numbered from 0 through all rounds */
    int acked;   /* of these, in order */
    int refused; /* answered with an error in this round; everything after it too */
};

struct storm {
    struct storm_lane lanes[STORM_LANES];
    unsigned in_flight; /* a lane */
    size_t pad;         /* bytes a body */
};

/* First round only: names the topics (prefix-0, ...) and creates them. */
void storm_begin(struct storm *s, int port, const char *prefix, unsigned in_flight, size_t pad);
/* Publishes until `messages` more are acknowledged in all, then calls strike(arg)
 * with the storm going on, and takes what replies still come until the daemon is
 * gone. */
void storm_run(struct storm *s, int port, int messages, void (*strike)(void *arg), void *arg);
/* With the daemon up again: the account, for every lane. Sets sent and acked to
 * what is there, so that the next round goes on from it. */
void storm_check(struct storm *s, int port);

#endif
