/* See net.h. */
#include "sim/net.h"

#include "base/require.h"
#include "sim/trace.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* BLIND_BYTES: what is sent on though nothing is acknowledged. */
enum { HARNESS_ADDRESS = 100, FIRST_PORT = 30000, BLIND_BYTES = 16 * 1024 };
static const int64_t RETRY_FIRST_NS = 200 * MS_NS, RETRY_LAST_NS = 120 * S_NS, SYN_RETRY_NS = S_NS,
                     SYN_GIVE_UP_NS = 127 * S_NS, GIVE_UP_NS = 924 * S_NS;

static struct {
    struct chance chance;
    struct net_link first;
    struct net_link links[NET_NODES_MAX][NET_NODES_MAX];
    struct node *nodes[NET_NODES_MAX];
    struct listening *listening;
    struct end **ends; /* those that are not over */
    size_t end_count, end_max;
    uint16_t next_port;
    struct net_filter filter;
} net;

/* ---- addresses and links ------------------------------------------------------------ */

void net_start(uint64_t seed)
{
    net.chance = chance_of(seed, 20);
    net.next_port = FIRST_PORT;
    net.first.delay_ns = chance_magnitude(&net.chance, 10000, 5 * MS_NS);
    net.first.jitter_ns = chance_magnitude(&net.chance, 10000, 5 * MS_NS);
    net.first.ns_a_kib = chance_magnitude(&net.chance, 200, 100000);
    net.first.lose_in = chance_once_in(&net.chance, 2) ? 0 : 300;
    net_heal();
}

void net_add(struct node *node)
{
    REQUIRE(node->id < NET_NODES_MAX);
    net.nodes[node->id] = node;
}

void net_heal(void)
{
    for (int i = 0; i < NET_NODES_MAX; i++)
        for (int j = 0; j < NET_NODES_MAX; j++)
            net.links[i][j] = net.first;
}

struct net_link *net_link(const struct node *from, const struct node *to)
{
    return &net.links[from->id][to->id];
}

static bool passes(const struct node *from, const struct node *to)
{
    return from == to || !net_link(from, to)->cut;
}

uint32_t net_address_of(const struct node *node)
{
    return (UINT32_C(127) << 24) + (UINT32_C(1) << 8) + (node->id == 0 ? HARNESS_ADDRESS : node->id);
}

struct node *net_node_of(uint32_t address)
{
    for (size_t i = 0; i < NET_NODES_MAX; i++)
        if (net.nodes[i] != NULL && net_address_of(net.nodes[i]) == address)
            return net.nodes[i];
    return NULL;
}

static int64_t travel_ns(const struct node *from, const struct node *to, size_t bytes)
{
    const struct net_link *link = net_link(from, to);
    if (from == to)
        return 5000;
    int64_t ns = link->delay_ns + (int64_t)chance_below(&net.chance, (uint64_t)link->jitter_ns + 1);
    if (chance_once_in(&net.chance, link->lose_in))
        ns += RETRY_FIRST_NS;
    return ns + (int64_t)bytes * link->ns_a_kib / 1024;
}

/* ---- ends ------------------------------------------------------------------------------- */

struct end *net_end_new(struct node *node)
{
    struct end *e = calloc(1, sizeof *e);
    REQUIRE(e != NULL);
    e->node = node;
    if (net.end_count == net.end_max) {
        net.end_max = net.end_max * 2 + 64;
        net.ends = realloc(net.ends, net.end_max * sizeof(struct end *));
        REQUIRE(net.ends != NULL);
    }
    net.ends[net.end_count++] = e;
    return e;
}

static void tell(struct end *e)
{
    if (e->changed != NULL)
        e->changed(e->owner);
}

static void drop_pieces(struct end *e)
{
    while (e->first != NULL) {
        struct piece *next = e->first->next;
        free(e->first);
        e->first = next;
    }
    e->last = NULL;
    e->flight_bytes = e->unacked_bytes = 0;
}

/* Nothing goes or comes any more; error 0: no need to say. */
static void end_over(struct end *e, int error)
{
    if (e->state == END_DEAD)
        return;
    e->state = END_DEAD;
    e->error = error;
    e->in_ended = true;
    e->pump_number++;
    drop_pieces(e);
    if (e->closed || e->silent) {
        free(e->in);
        e->in = NULL;
        e->in_bytes = 0;
    }
    for (size_t i = 0; i < net.end_count; i++)
        if (net.ends[i] == e) {
            net.ends[i] = net.ends[--net.end_count];
            break;
        }
    tell(e);
}

static void reset_comes(void *context, uint64_t number)
{
    (void)number;
    struct end *e = context;
    if (!e->silent)
        end_over(e, e->state == END_CONNECTING ? ECONNREFUSED : ECONNRESET);
}

/* A reset travels to e. Lost if the way is cut: e's next packet brings another. */
static void send_reset(struct end *e, const struct node *from)
{
    if (passes(from, e->node))
        machine_at(machine_now_ns() + travel_ns(from, e->node, 0), reset_comes, e, 0);
}

/* ---- the way of a piece --------------------------------------------------------------------- */

static void pump(void *context, uint64_t number);

static void pump_at(struct end *e, int64_t at_ns)
{
    machine_at(at_ns, pump, e, ++e->pump_number);
}

/* Something does not get through. */
static void in_trouble(struct end *e)
{
    int64_t now_ns = machine_now_ns();
    if (e->trouble_ns == 0) {
        e->trouble_ns = now_ns;
        e->retry_ns = RETRY_FIRST_NS;
        e->retry_at_ns = now_ns + e->retry_ns;
    }
    int64_t limit_ns = e->user_timeout_ns > 0 ? e->user_timeout_ns : GIVE_UP_NS;
    if (now_ns - e->trouble_ns > limit_ns) {
        trace_say(TRACE_NET, "%s:%u to %s:%u gives up: nothing gets through", e->node->name, e->port,
                  e->peer_node->name, e->peer_port);
        end_over(e, ETIMEDOUT);
        return;
    }
    if (e->retry_at_ns <= now_ns) {
        e->retry_ns = e->retry_ns * 2 < RETRY_LAST_NS ? e->retry_ns * 2 : RETRY_LAST_NS;
        e->retry_at_ns = now_ns + e->retry_ns;
    }
    pump_at(e, e->retry_at_ns);
}

static void append_in(struct end *e, const uint8_t *data, size_t bytes)
{
    if (e->in == NULL) {
        e->in = malloc(NET_RECEIVE_BYTES);
        REQUIRE(e->in != NULL);
    }
    for (size_t done = 0; done < bytes;) {
        size_t at = (e->in_from + e->in_bytes) % NET_RECEIVE_BYTES;
        size_t step = NET_RECEIVE_BYTES - at < bytes - done ? NET_RECEIVE_BYTES - at : bytes - done;
        memcpy(e->in + at, data + done, step);
        done += step;
        e->in_bytes += step;
    }
}

/* The head arrives at the peer, as far as there is room. False: it must wait. */
static bool deliver(struct end *e)
{
    struct end *to = e->peer;
    struct piece *p = e->first;
    if (p->bytes == 0) { /* the end of what e sends */
        to->in_ended = true;
        e->fin_arrived = true;
        tell(to);
    } else {
        size_t room = NET_RECEIVE_BYTES - to->in_bytes;
        size_t step = p->bytes - p->taken;
        if (step > 1 && chance_once_in(&net.chance, 8))
            step = 1 + (size_t)chance_below(&net.chance, step);
        if (step > room)
            step = room;
        if (step == 0)
            return false; /* the reader says when there is room */
        append_in(to, p->data + p->taken, step);
        p->taken += step;
        e->unacked_bytes += step;
        tell(to);
        if (p->taken < p->bytes) {
            p->at_ns += 1000;
            return true;
        }
    }
    e->first = p->next;
    if (e->first == NULL)
        e->last = NULL;
    free(p);
    return true;
}

static void acknowledged(struct end *e)
{
    if (e->unacked_bytes == 0)
        return;
    e->flight_bytes -= e->unacked_bytes;
    e->unacked_bytes = 0;
    tell(e);
}

static bool is_over(struct end *e)
{
    return e->closed && e->first == NULL && e->unacked_bytes == 0 && e->fin_arrived && e->in_ended;
}

static void pump(void *context, uint64_t number)
{
    struct end *e = context;
    if (number != e->pump_number || e->state != END_OPEN)
        return;
    struct end *to = e->peer;
    bool there = passes(e->node, e->peer_node) && e->peer_node->up;
    bool back = passes(e->peer_node, e->node) && e->peer_node->up;
    if (there && (to->silent || to->state == END_DEAD)) {
        if (back)
            send_reset(e, e->peer_node);
        in_trouble(e);
        return;
    }
    bool moved = true;
    while (there && moved && e->first != NULL && e->first->at_ns <= machine_now_ns()) {
        if (to->closed && e->first->bytes > 0) {
            send_reset(e, e->peer_node);
            end_over(to, 0);
            return;
        }
        moved = deliver(e);
        if (is_over(to))
            end_over(to, 0);
    }
    if (back)
        acknowledged(e);
    if (is_over(e)) {
        end_over(e, 0);
        return;
    }
    if ((!there && e->first != NULL) || (!back && e->unacked_bytes > 0)) {
        in_trouble(e);
        return;
    }
    e->trouble_ns = 0;
    if (e->first != NULL && moved)
        pump_at(e, e->first->at_ns);
}

static void put_piece(struct end *e, const uint8_t *data, size_t bytes, int64_t extra_ns)
{
    struct piece *p = malloc(sizeof *p + bytes);
    REQUIRE(p != NULL);
    *p = (struct piece){.bytes = bytes};
    if (bytes > 0)
        memcpy(p->data, data, bytes);
    int64_t at_ns = machine_now_ns() + travel_ns(e->node, e->peer_node, bytes) + extra_ns;
    p->at_ns = at_ns > e->last_at_ns ? at_ns : e->last_at_ns + 100;
    e->last_at_ns = p->at_ns;
    e->flight_bytes += bytes;
    if (e->last != NULL) {
        e->last->next = p;
    } else {
        e->first = p;
        if (e->trouble_ns == 0 || e->unacked_bytes < BLIND_BYTES)
            pump_at(e, p->at_ns);
    }
    e->last = p;
}

size_t net_room(const struct end *end)
{
    return end->flight_bytes < NET_SEND_BYTES ? NET_SEND_BYTES - end->flight_bytes : 0;
}

void net_put(struct end *end, const uint8_t *data, size_t bytes, int64_t extra_ns)
{
    if (end->state == END_OPEN && bytes > 0)
        put_piece(end, data, bytes, extra_ns);
}

void net_send(struct end *end, const uint8_t *data, size_t bytes)
{
    if (net.filter.sent != NULL && (end->port == net.filter.port || end->peer_port == net.filter.port))
        net.filter.sent(net.filter.context, end, data, bytes);
    else
        net_put(end, data, bytes, 0);
}

size_t net_receive(struct end *end, uint8_t *into, size_t bytes, bool peek)
{
    size_t take = bytes < end->in_bytes ? bytes : end->in_bytes;
    for (size_t done = 0; done < take;) {
        size_t at = (end->in_from + done) % NET_RECEIVE_BYTES;
        size_t step = NET_RECEIVE_BYTES - at < take - done ? NET_RECEIVE_BYTES - at : take - done;
        memcpy(into + done, end->in + at, step);
        done += step;
    }
    if (peek || take == 0)
        return take;
    bool was_full = end->in_bytes == NET_RECEIVE_BYTES;
    end->in_from = (end->in_from + take) % NET_RECEIVE_BYTES;
    end->in_bytes -= take;
    struct end *from = end->peer;
    if (was_full && from != NULL && from->state == END_OPEN && from->first != NULL)
        pump_at(from, machine_now_ns() + travel_ns(end->node, from->node, 0));
    return take;
}

/* A probe: answered, reset, or nothing comes back. */
static void keep_comes(void *context, uint64_t number)
{
    struct end *e = context;
    (void)number;
    if (e->state != END_OPEN || e->closed || e->keep_every_ns == 0)
        return;
    bool reaches = e->peer_node->up && passes(e->node, e->peer_node) && passes(e->peer_node, e->node);
    if (reaches && (e->peer->silent || e->peer->state == END_DEAD) && !e->in_ended) {
        end_over(e, ECONNRESET);
        return;
    }
    e->keep_missed = reaches ? 0 : e->keep_missed + 1;
    if (e->keep_missed >= e->keep_count) {
        end_over(e, ETIMEDOUT);
        return;
    }
    machine_at(machine_now_ns() + (reaches ? e->keep_idle_ns : e->keep_every_ns), keep_comes, e, 0);
}

void net_keep_alive(struct end *end)
{
    if (end->keep_every_ns > 0)
        machine_at(machine_now_ns() + end->keep_idle_ns, keep_comes, end, 0);
}

void net_shut_out(struct end *end)
{
    if (end->out_shut || end->state != END_OPEN)
        return;
    end->out_shut = true;
    put_piece(end, NULL, 0, 0);
}

void net_close(struct end *end)
{
    if (end->closed)
        return;
    end->closed = true;
    end->changed = NULL;
    if (end->state == END_OPEN && end->in_bytes > 0) {
        send_reset(end->peer, end->node); /* what was not read is lost, and the peer shall know */
        end_over(end, 0);
    } else if (end->state == END_OPEN) {
        net_shut_out(end);
    } else {
        end_over(end, 0);
    }
}

/* ---- connecting ---------------------------------------------------------------------------------- */

void net_listen(struct listening *listening)
{
    listening->next = net.listening;
    net.listening = listening;
}

void net_unlisten(struct listening *listening)
{
    for (struct listening **at = &net.listening; *at != NULL; at = &(*at)->next)
        if (*at == listening) {
            *at = listening->next;
            return;
        }
}

static void syn_answered(void *context, uint64_t number)
{
    struct end *e = context;
    (void)number;
    if (e->state != END_CONNECTING)
        return;
    if (e->peer->state == END_DEAD) {
        end_over(e, ECONNRESET);
        return;
    }
    e->state = END_OPEN;
    tell(e);
}

static void syn_arrives(void *context, uint64_t number)
{
    struct end *e = context;
    if (e->state != END_CONNECTING || e->peer != NULL || number != e->pump_number)
        return;
    struct node *at = e->peer_node;
    int64_t now_ns = machine_now_ns();
    bool reaches = at->up && passes(e->node, at) && passes(at, e->node);
    struct listening *l = net.listening;
    while (l != NULL && (l->node != at || l->port != e->peer_port))
        l = l->next;
    if (reaches && l == NULL) {
        send_reset(e, at);
        return;
    }
    if (reaches) {
        struct end *server = net_end_new(at);
        server->peer = e;
        server->peer_node = e->node;
        server->port = e->peer_port;
        server->peer_port = e->port;
        server->state = END_OPEN;
        if (l->syn(l->owner, server)) {
            e->peer = server;
            machine_at(now_ns + travel_ns(at, e->node, 0), syn_answered, e, 0);
            return;
        }
        server->closed = true;
        end_over(server, 0);
    }
    if (now_ns - e->trouble_ns > SYN_GIVE_UP_NS) {
        end_over(e, ETIMEDOUT);
        return;
    }
    machine_at(now_ns + e->retry_ns, syn_arrives, e, e->pump_number);
    e->retry_ns *= 2;
}

void net_connect(struct end *end, struct node *to, uint16_t port)
{
    if (end->port == 0) {
        end->port = net.next_port++;
        if (net.next_port == UINT16_MAX)
            net.next_port = FIRST_PORT;
    }
    end->peer_node = to;
    end->peer_port = port;
    end->state = END_CONNECTING;
    end->trouble_ns = machine_now_ns();
    end->retry_ns = SYN_RETRY_NS;
    machine_at(machine_now_ns() + travel_ns(end->node, to, 0), syn_arrives, end, end->pump_number);
}

/* ---- power -------------------------------------------------------------------------------------------- */

void net_node_power_lost(struct node *node)
{
    for (size_t i = net.end_count; i-- > 0;) {
        struct end *e = net.ends[i];
        if (e->node != node)
            continue;
        e->silent = true;
        e->changed = NULL;
        end_over(e, 0);
    }
    for (struct listening **at = &net.listening; *at != NULL;)
        if ((*at)->node == node)
            *at = (*at)->next;
        else
            at = &(*at)->next;
}

void net_set_filter(const struct net_filter *filter)
{
    net.filter = *filter;
}
