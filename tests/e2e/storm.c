/* Publish storms and their account. */
#include "e2e/storm.h"

#include "e2e/e2e.h"
#include "e2e/scenario.h"

#include <poll.h>
#include <sys/socket.h>

enum { OUT_BYTES = 1 << 20 };

void storm_begin(struct storm *s, int port, const char *prefix, unsigned in_flight, size_t pad)
{
    struct client *c = client_open(port);
    memset(s, 0, sizeof(*s));
    s->in_flight = in_flight;
    s->pad = pad;
    for (int i = 0; i < STORM_LANES; i++) {
        (void)snprintf(s->lanes[i].topic, sizeof(s->lanes[i].topic), "%s-%d", prefix, i);
        topic_make(c, s->lanes[i].topic, 1, " segment.bytes=1048576");
    }
    client_close(&c);
}

/* Tops the window up. False: the daemon is gone. */
static bool lane_send(struct storm *s, struct storm_lane *n)
{
    static char out[OUT_BYTES];
    size_t used = 0;
    int begun = n->sent;
    while (begun - n->acked < (int)s->in_flight && used + s->pad + 256 < sizeof(out)) {
        used += (size_t)snprintf(out + used, 256, "PUBS %s {\"Body\":\"s-%d", n->topic, begun);
        memset(out + used, '.', s->pad);
        used += s->pad;
        memcpy(out + used, "\"}\n", 3);
        used += 3;
        begun++;
    }
    n->sent = begun; /* may be there from the moment a byte of it leaves */
    return used == 0 || client_send(n->c, out, used);
}

/* Takes the replies that are there. False: the daemon is gone. */
static bool lane_receive(struct storm_lane *n, bool struck)
{
    const char *reply;
    while ((reply = client_line(n->c, 0)) != NULL) {
        if (strcmp(reply, "Done") == 0 && n->refused == 0)
            n->acked++;
        else if (strncmp(reply, "Error, ", 7) == 0 && struck)
            n->refused++;
        else {
            fprintf(stderr, "\n  in a storm: %s; %d acknowledged, %d refused%s\n", reply, n->acked, n->refused,
                    struck ? "" : ", before anything was done to the daemon");
            CU_FAIL_FATAL("a reply that a storm does not expect");
        }
    }
    return !client_closed(n->c);
}

void storm_run(struct storm *s, int port, int messages, void (*strike)(void *arg), void *arg)
{
    struct pollfd ready[STORM_LANES];
    bool gone[STORM_LANES] = {false}, struck = false;
    int start = 0, left = STORM_LANES;
    int64_t deadline = now_us() + 60 * 1000000;
    for (int i = 0; i < STORM_LANES; i++) {
        s->lanes[i].c = client_open(port);
        s->lanes[i].refused = 0;
        start += s->lanes[i].acked;
    }
    while (left > 0 && now_us() < deadline) {
        int acked = -start;
        for (int i = 0; i < STORM_LANES; i++) {
            if (!gone[i] && s->lanes[i].refused == 0)
                (void)lane_send(s, &s->lanes[i]);
            acked += s->lanes[i].acked;
            ready[i] = (struct pollfd){.fd = gone[i] ? -1 : client_fd(s->lanes[i].c), .events = POLLIN};
        }
        if (!struck && acked >= messages) {
            strike(arg);
            struck = true;
        }
        (void)poll(ready, STORM_LANES, struck ? REPLY_MS : 1000);
        for (int i = 0; i < STORM_LANES; i++)
            if (!gone[i] && !lane_receive(&s->lanes[i], struck)) {
                gone[i] = true;
                left--;
            }
    }
    for (int i = 0; i < STORM_LANES && left > 0; i++)
        fprintf(stderr, "\n  %s: %d sent, %d acknowledged, %s, the daemon was %s\n", s->lanes[i].topic,
                s->lanes[i].sent, s->lanes[i].acked, gone[i] ? "closed" : "open", struck ? "struck" : "left alone");
    CU_ASSERT_EQUAL_FATAL(left, 0);
    for (int i = 0; i < STORM_LANES; i++)
        client_close(&s->lanes[i].c);
}

void storm_check(struct storm *s, int port)
{
    char id[ID_BYTES];
    struct client *c = client_open(port);
    for (int i = 0; i < STORM_LANES; i++) {
        struct storm_lane *n = &s->lanes[i];
        int there = (int)partition_end(c, n->topic, 0);
        if (there < n->acked || there > n->sent)
            fprintf(stderr, "\n  %s: %d acknowledged, %d sent, %d there\n", n->topic, n->acked, n->sent, there);
        CU_ASSERT(there >= n->acked);
        CU_ASSERT(there <= n->sent);
        subscribe(c, n->topic, "account", id);
        expect_range(c, n->topic, id, 0, "s", 0, there);
        REPLY_IS(client_ask(c, "UNSB %s %s", n->topic, id), "Done");
        n->sent = n->acked = there;
    }
    client_close(&c);
}
