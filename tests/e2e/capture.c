/* A packet socket on loopback, and just enough of TCP to put a few streams together. */
#include "e2e/capture.h"

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { FLOWS_MAX = 32, FLOW_BYTES = 256 * 1024, PACKET_BYTES = 128 * 1024, SOCKET_BYTES = 16 * 1024 * 1024 };

struct flow {
    uint16_t from;
    uint32_t next; /* sequence number */
    size_t len;
    uint8_t bytes[FLOW_BYTES];
};

struct capture {
    int fd;
    uint16_t port;
    size_t count;
    struct flow *flows[FLOWS_MAX];
};

struct capture *capture_begin(int port)
{
    struct sockaddr_ll at = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_IP)};
    int room = SOCKET_BYTES;
    at.sll_ifindex = (int)if_nametoindex("lo");
    int fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, htons(ETH_P_IP));
    if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof(at)) != 0) {
        if (fd >= 0)
            (void)close(fd);
        return NULL;
    }
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room));
    struct capture *c = calloc(1, sizeof(*c));
    if (c == NULL)
        abort();
    c->fd = fd;
    c->port = (uint16_t)port;
    return c;
}

static struct flow *flow_of(struct capture *c, uint16_t from)
{
    for (size_t i = c->count; i > 0; i--)
        if (c->flows[i - 1]->from == from)
            return c->flows[i - 1];
    return NULL;
}

static void take_packet(struct capture *c, const uint8_t *packet, size_t size)
{
    struct iphdr ip;
    struct tcphdr tcp;
    if (size < sizeof(ip))
        return;
    memcpy(&ip, packet, sizeof(ip));
    size_t head = (size_t)ip.ihl * 4;
    if (ip.protocol != IPPROTO_TCP || size < head + sizeof(tcp))
        return;
    memcpy(&tcp, packet + head, sizeof(tcp));
    head += (size_t)tcp.doff * 4;
    if (ntohs(tcp.dest) != c->port || head > size)
        return;
    if (tcp.syn != 0 && c->count < FLOWS_MAX) {
        struct flow *flow = calloc(1, sizeof(*flow));
        if (flow == NULL)
            abort();
        flow->from = ntohs(tcp.source);
        flow->next = ntohl(tcp.seq) + 1;
        c->flows[c->count++] = flow;
        return;
    }
    struct flow *flow = flow_of(c, ntohs(tcp.source));
    size_t len = size - head;
    if (flow == NULL || ntohl(tcp.seq) != flow->next || flow->len + len > FLOW_BYTES)
        return;
    memcpy(flow->bytes + flow->len, packet + head, len);
    flow->len += len;
    flow->next += (uint32_t)len;
}

size_t capture_take(struct capture *c, size_t least, uint8_t *bytes, size_t size)
{
    static uint8_t packet[PACKET_BYTES];
    struct sockaddr_ll from;
    socklen_t from_len = sizeof(from);
    ssize_t got;
    while ((got = recvfrom(c->fd, packet, sizeof(packet), 0, (struct sockaddr *)&from, &from_len)) > 0) {
        if (from.sll_pkttype != PACKET_OUTGOING) /* loopback shows each twice */
            take_packet(c, packet, (size_t)got);
        from_len = sizeof(from);
    }
    for (size_t i = 0; i < c->count; i++) {
        const struct flow *flow = c->flows[i];
        if (flow->len < least)
            continue;
        size_t len = flow->len < size ? flow->len : size;
        memcpy(bytes, flow->bytes, len);
        return len;
    }
    return 0;
}

void capture_end(struct capture **c)
{
    for (size_t i = 0; i < (*c)->count; i++)
        free((*c)->flows[i]);
    (void)close((*c)->fd);
    free(*c);
    *c = NULL;
}
