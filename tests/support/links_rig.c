#include "support/links_rig.h"

#include "base/crc32c.h"
#include "base/require.h"
#include "base/threads.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- partitions ------------------------------------------------------------------------- */

static struct partition *hold(struct partition *p)
{
    (void)pthread_mutex_lock(&p->lock);
    p->references++;
    (void)pthread_mutex_unlock(&p->lock);
    return p;
}

static void drop(struct partition **partition)
{
    struct partition *p = *partition;
    *partition = NULL;
    (void)pthread_mutex_lock(&p->lock);
    p->references--;
    REQUIRE(p->references >= 0);
    (void)pthread_mutex_unlock(&p->lock);
}

/* The body of entry idx: bytes that count up. */
static void fill_body(uint8_t *body, uint64_t idx, uint32_t bytes)
{
    uint8_t cycle[256];
    for (int i = 0; i < 256; i++)
        cycle[i] = (uint8_t)(idx * 31 + (uint64_t)i);
    for (uint32_t at = 0; at < bytes; at += 256)
        memcpy(body + at, cycle, bytes - at < 256 ? bytes - at : 256);
}

static bool body_is(const uint8_t *body, uint64_t idx, uint32_t bytes)
{
    uint8_t cycle[256];
    fill_body(cycle, idx, 256);
    for (uint32_t at = 0; at < bytes; at += 256)
        if (memcmp(body + at, cycle, bytes - at < 256 ? bytes - at : 256) != 0)
            return false;
    return true;
}

static void check_entries(struct partition *p, const struct parcel *parcel)
{
    for (uint32_t i = 0; i < parcel->entry_count; i++) {
        const struct parcel_entry *e = &parcel->entries[i];
        if (e->body_crc != crc32c(0, e->body, e->body_bytes))
            p->wrong++;
        if (!body_is(e->body, e->idx, e->body_bytes))
            p->wrong++;
        if (e->idx != parcel->message.prev_idx + 1 + i)
            p->wrong++;
        p->last_idx = e->idx;
    }
    p->entries += parcel->entry_count;
}

static bool receive(struct partition *p, struct parcel *parcel)
{
    (void)pthread_mutex_lock(&p->lock);
    bool taken = !p->refuses;
    if (taken) {
        p->received++;
        check_entries(p, parcel);
        p->states += parcel->state_bytes;
        if (!body_is(parcel->state, 0, parcel->state_bytes))
            p->wrong++;
        if (parcel->message.type == RAFT_MSG_RESET &&
            (parcel->message.config == NULL || parcel->message.config->count != 2 || parcel->next_off != 70))
            p->wrong++;
        if (parcel->message.round > p->highest_round)
            p->highest_round = parcel->message.round;
    }
    (void)pthread_mutex_unlock(&p->lock);
    if (taken)
        parcel->release(parcel);
    return taken;
}

static void claim(struct partition *p, const struct raft_member *leader, uint64_t term, bool on)
{
    (void)pthread_mutex_lock(&p->lock);
    p->claimed = on;
    p->claimed_leader = *leader;
    p->claimed_term = term;
    (void)pthread_mutex_unlock(&p->lock);
}

static void peer_link(struct partition *p, const struct raft_member *member, bool on)
{
    REQUIRE(member->broker_id < RIG_BROKERS);
    (void)pthread_mutex_lock(&p->lock);
    p->linked[member->broker_id] = on;
    (void)pthread_mutex_unlock(&p->lock);
}

static void leader_gone(struct partition *p, const struct raft_member *leader)
{
    (void)pthread_mutex_lock(&p->lock);
    p->gone++;
    p->gone_leader = *leader;
    (void)pthread_mutex_unlock(&p->lock);
}

static bool is_stuck(struct partition *p, int64_t now_us, int64_t limit_us)
{
    (void)now_us;
    (void)limit_us;
    return RIG_LOCKED(p, p->stuck);
}

static void free_packet(struct packet **packet)
{
    struct packet *p = *packet;
    *packet = NULL;
    for (uint32_t i = 0; i < p->entry_count; i++)
        free(p->entries[i]);
    free(p->entries);
    free(p->config.seats);
    free(p->state);
    log_view_drop(&p->view);
    free(p);
}

static const struct links_upward upward = {
    .hold = hold,
    .drop = drop,
    .receive = receive,
    .claim = claim,
    .peer_link = peer_link,
    .leader_gone = leader_gone,
    .is_stuck = is_stuck,
    .packet_free = free_packet,
};

static struct partition *find(void *context, const struct group_id *group)
{
    struct rig_node *node = context;
    for (int i = 0; i < RIG_PARTITIONS; i++)
        if (memcmp(&node->partitions[i].group, group, sizeof *group) == 0)
            return hold(&node->partitions[i]);
    return NULL;
}

static void peer_changed(void *context, uint32_t broker_id, bool alive)
{
    struct rig_node *node = context;
    (void)broker_id;
    (void)alive;
    node->alive_changes++;
}

/* ---- nodes ----------------------------------------------------------------------------------- */

struct uuid rig_uuid(uint8_t n)
{
    struct uuid id;
    memset(id.bytes, n, sizeof id.bytes);
    return id;
}

struct group_id rig_group(uint32_t n)
{
    return (struct group_id){.topic_id = rig_uuid(77), .partition = n};
}

static int listen_on(uint16_t *port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(*port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int one = 1;
    socklen_t len = sizeof address;
    REQUIRE(fd >= 0);
    REQUIRE(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) == 0);
    REQUIRE(bind(fd, (struct sockaddr *)&address, sizeof address) == 0);
    REQUIRE(listen(fd, 64) == 0);
    REQUIRE(getsockname(fd, (struct sockaddr *)&address, &len) == 0);
    *port = ntohs(address.sin_port);
    return fd;
}

void rig_init(struct rig_node *node, uint32_t id, uint8_t cluster)
{
    memset(node, 0, sizeof *node);
    config_defaults(&node->config);
    node->config.beat_us = 20 * 1000;
    node->config.election_us = 400 * 1000;
    node->config.outbox_max_bytes = 1024 * 1024;
    node->options = (struct links_options){.config = &node->config,
                                           .self = {.broker_id = id,
                                                    .incarnation = rig_uuid((uint8_t)(100 + id)),
                                                    .cluster_id = rig_uuid(cluster),
                                                    .boot = 1},
                                           .context = node,
                                           .find = find,
                                           .peer_changed = peer_changed};
    for (uint32_t i = 0; i < RIG_PARTITIONS; i++) {
        node->partitions[i].group = rig_group(i);
        REQUIRE(pthread_mutex_init(&node->partitions[i].lock, NULL) == 0);
    }
}

void rig_start(struct rig_node *node)
{
    struct fault fault = {.err = KQ_OK};
    node->options.listen_fd = listen_on(&node->port);
    enum kq_err err = links_start_upon(&node->links, &node->options, &upward, &fault);
    if (err != KQ_OK)
        (void)fprintf(stderr, "%s\n", fault_text(&fault));
    REQUIRE(err == KQ_OK);
}

void rig_stop(struct rig_node *node)
{
    links_stop(&node->links);
    for (int i = 0; i < RIG_PARTITIONS; i++)
        REQUIRE(node->partitions[i].references == 0);
}

struct link_address rig_address(const struct rig_node *node)
{
    struct link_address address = {.broker_id = node->options.self.broker_id,
                                   .incarnation = node->options.self.incarnation,
                                   .host = "127.0.0.1",
                                   .port = node->port};
    return address;
}

void rig_link(struct rig_node *nodes, int count)
{
    struct link_address all[RIG_BROKERS];
    for (int i = 0; i < count; i++)
        all[i] = rig_address(&nodes[i]);
    for (int i = 0; i < count; i++)
        links_set_peers(nodes[i].links, all, (size_t)count);
}

void rig_news(struct rig_node *node, uint32_t n, uint64_t term, uint32_t leader_id)
{
    struct partition *p = &node->partitions[n];
    const struct partition_peers *peers = links_partition_peers(node->links);
    struct replica_news news = {.group = p->group,
                                .self = {node->options.self.broker_id, node->options.self.incarnation},
                                .term = term,
                                .leads = leader_id == node->options.self.broker_id,
                                .leader = {leader_id, rig_uuid((uint8_t)(100 + leader_id))}};
    peers->tell(peers->context, p, &news);
}

/* ---- packets -------------------------------------------------------------------------------------- */

static void packet_left(struct packet *packet, bool sent)
{
    struct rig_node *node = packet->left_context;
    if (sent)
        node->left_sent++;
    else
        node->left_dropped++;
}

static struct packet *packet_new(struct rig_node *node, uint32_t to, uint32_t n, enum raft_message_type type)
{
    struct packet *p = calloc(1, sizeof *p);
    REQUIRE(p != NULL);
    p->group = rig_group(n);
    p->message.type = type;
    p->message.from = (struct raft_member){node->options.self.broker_id, node->options.self.incarnation};
    p->message.to = (struct raft_member){to, rig_uuid((uint8_t)(100 + to))};
    p->message.term = 5;
    p->size_bytes = 300;
    p->left = packet_left;
    p->left_context = node;
    return p;
}

static void send_packet(struct rig_node *node, struct packet *packet)
{
    const struct partition_peers *peers = links_partition_peers(node->links);
    peers->send(peers->context, packet);
}

void rig_append(struct rig_node *node, uint32_t to, uint32_t n, uint64_t prev_idx, uint32_t entries, uint32_t bytes)
{
    struct packet *p = packet_new(node, to, n, RAFT_MSG_APPEND);
    p->message.prev_idx = prev_idx;
    p->message.last_idx = prev_idx + entries;
    p->message.entry_term = 5;
    p->entries = calloc(entries, sizeof *p->entries);
    p->entry_count = entries;
    p->size_bytes += entries * (bytes + 100);
    for (uint32_t i = 0; i < entries; i++) {
        struct shared_entry *e = malloc(sizeof *e + bytes);
        REQUIRE(e != NULL);
        memset(e, 0, sizeof *e);
        e->type = LOG_ENTRY_RECORDS;
        e->term = 5;
        e->idx = prev_idx + 1 + i;
        e->record_count = 1;
        e->body_bytes = bytes;
        fill_body(e->body, e->idx, bytes);
        e->body_crc = crc32c(0, e->body, bytes);
        p->entries[i] = e;
    }
    send_packet(node, p);
}

void rig_beat(struct rig_node *node, uint32_t to, uint32_t n, uint64_t round)
{
    struct packet *p = packet_new(node, to, n, RAFT_MSG_BEAT);
    p->message.round = round;
    send_packet(node, p);
}

void rig_reset(struct rig_node *node, uint32_t to, uint32_t n, uint32_t state_bytes)
{
    struct packet *p = packet_new(node, to, n, RAFT_MSG_RESET);
    p->config = (struct raft_config){.idx = 3, .count = 2, .seats = calloc(2, sizeof(struct raft_seat))};
    for (int i = 0; i < 2; i++)
        p->config.seats[i] = (struct raft_seat){{(uint32_t)i + 1, rig_uuid(9)}, RAFT_SEAT_VOTER};
    p->message.config = &p->config;
    p->next_off = 70;
    p->state = malloc(state_bytes);
    p->state_bytes = state_bytes;
    p->size_bytes += state_bytes;
    fill_body(p->state, 0, state_bytes);
    send_packet(node, p);
}

bool rig_wait(bool (*holds)(void *context), void *context)
{
    int64_t until_us = clock_mono_us() + 20 * 1000 * 1000;
    while (!holds(context)) {
        if (clock_mono_us() > until_us)
            return false;
        (void)poll(NULL, 0, 1);
    }
    return true;
}

/* ---- the proxy -------------------------------------------------------------------------------------- */

int rig_connect(uint16_t port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
        return fd;
    (void)close(fd);
    return -1;
}

bool rig_is_closed(int fd)
{
    struct timeval limit = {.tv_sec = 20};
    REQUIRE(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) == 0);
    char bytes[4096];
    ssize_t n;
    do
        n = recv(fd, bytes, sizeof bytes, 0);
    while (n > 0 || (n < 0 && errno == EINTR));
    return n == 0 || errno == ECONNRESET;
}

enum { PROXY_PAIRS = 32 };

struct pair {
    int fds[2]; /* the dialer, the target; -1: none */
    bool first;
};

static void close_pair(struct pair *pair)
{
    for (int i = 0; i < 2; i++) {
        if (pair->fds[i] >= 0)
            (void)close(pair->fds[i]);
        pair->fds[i] = -1;
    }
}

static void keep_record(struct rig_proxy *proxy, const uint8_t *bytes, size_t count)
{
    (void)pthread_mutex_lock(&proxy->lock);
    proxy->record = realloc(proxy->record, proxy->record_bytes + count);
    memcpy(proxy->record + proxy->record_bytes, bytes, count);
    proxy->record_bytes += count;
    (void)pthread_mutex_unlock(&proxy->lock);
}

/* From side i to the other. */
static void forward(struct rig_proxy *proxy, struct pair *pair, int i)
{
    uint8_t bytes[16384];
    ssize_t n = recv(pair->fds[i], bytes, sizeof bytes, MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0) {
        close_pair(pair);
        return;
    }
    if (pair->first && i == 0)
        keep_record(proxy, bytes, (size_t)n);
    for (ssize_t at = 0; at < n;) {
        ssize_t sent = send(pair->fds[1 - i], bytes + at, (size_t)(n - at), MSG_NOSIGNAL);
        if (sent <= 0) {
            close_pair(pair);
            return;
        }
        at += sent;
    }
}

static void take_one(struct rig_proxy *proxy, struct pair *pairs, bool *first)
{
    int fd = accept(proxy->listen_fd, NULL, NULL);
    if (fd < 0)
        return;
    int target = proxy->deaf ? -1 : rig_connect(proxy->target);
    for (int i = 0; target >= 0 && i < PROXY_PAIRS; i++) {
        if (pairs[i].fds[0] >= 0)
            continue;
        pairs[i] = (struct pair){.fds = {fd, target}, .first = *first};
        *first = false;
        return;
    }
    (void)close(fd);
    if (target >= 0)
        (void)close(target);
}

static void *proxy_run(void *argument)
{
    struct rig_proxy *proxy = argument;
    struct pair pairs[PROXY_PAIRS];
    bool first = true;
    for (int i = 0; i < PROXY_PAIRS; i++)
        pairs[i].fds[0] = pairs[i].fds[1] = -1;
    while (!proxy->stop) {
        struct pollfd polls[1 + 2 * PROXY_PAIRS] = {{.fd = proxy->listen_fd, .events = POLLIN}};
        for (int i = 0; i < PROXY_PAIRS; i++)
            for (int side = 0; side < 2; side++)
                polls[1 + 2 * i + side] =
                    (struct pollfd){.fd = proxy->frozen ? -1 : pairs[i].fds[side], .events = POLLIN};
        (void)poll(polls, 1 + 2 * PROXY_PAIRS, 2);
        if (polls[0].revents != 0)
            take_one(proxy, pairs, &first);
        for (int i = 0; i < PROXY_PAIRS; i++)
            for (int side = 0; side < 2; side++)
                if (pairs[i].fds[side] >= 0 && polls[1 + 2 * i + side].fd == pairs[i].fds[side] &&
                    polls[1 + 2 * i + side].revents != 0)
                    forward(proxy, &pairs[i], side);
        if (proxy->cut) {
            for (int i = 0; i < PROXY_PAIRS; i++)
                close_pair(&pairs[i]);
            proxy->cut = false;
        }
    }
    for (int i = 0; i < PROXY_PAIRS; i++)
        close_pair(&pairs[i]);
    return NULL;
}

void rig_proxy_start(struct rig_proxy *proxy, uint16_t target)
{
    memset(proxy, 0, sizeof *proxy);
    proxy->target = target;
    proxy->listen_fd = listen_on(&proxy->port);
    REQUIRE(pthread_mutex_init(&proxy->lock, NULL) == 0);
    REQUIRE(thread_start(&proxy->thread, "proxy", 256 * 1024, proxy_run, proxy, NULL) == KQ_OK);
}

void rig_proxy_stop(struct rig_proxy *proxy)
{
    proxy->stop = true;
    (void)pthread_join(proxy->thread, NULL);
    (void)close(proxy->listen_fd);
    (void)pthread_mutex_destroy(&proxy->lock);
    free(proxy->record);
}
