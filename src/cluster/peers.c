#include "cluster/peers.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

enum { BROKER_ID_MAX = 1000000, PORT_MAX = 65535 };

static const char shape[] = "ID@HOST:PORT is wanted, as in 1@127.0.0.1:7070,2@127.0.0.1:7071";

/* A number from 1 to most out of all of the bytes. */
static bool parse_number(const char *text, size_t len, uint32_t most, uint32_t *number)
{
    uint32_t n = 0;
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        n = n * 10 + (uint32_t)(text[i] - '0');
        if (n > most)
            return false;
    }
    *number = n;
    return len > 0 && n > 0;
}

static bool host_byte_ok(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '-' ||
           c == '_' || c == ':' || c == '%';
}

/* "[::1]" and "::1" alone are without doubt; a bare host must not have a colon. */
static bool parse_host(const char *text, size_t len, char host[PEER_HOST_MAX_BYTES + 1])
{
    bool brackets = len >= 2 && text[0] == '[' && text[len - 1] == ']';
    if (brackets) {
        text++;
        len -= 2;
    }
    if (len == 0 || len > PEER_HOST_MAX_BYTES)
        return false;
    for (size_t i = 0; i < len; i++)
        if (!host_byte_ok(text[i]) || (!brackets && text[i] == ':'))
            return false;
    memcpy(host, text, len);
    host[len] = '\0';
    return true;
}

static enum kq_err parse_one(const char *text, size_t len, struct peer_address *peer, struct fault *fault)
{
    int shown = len > 80 ? 80 : (int)len;
    const char *at = memchr(text, '@', len);
    const char *colon = NULL;
    for (size_t i = 0; i < len; i++)
        if (text[i] == ':')
            colon = text + i;
    if (at == NULL || colon == NULL || colon < at)
        return fault_set(fault, KQ_INVALID, "peers: %.*s: %s", shown, text, shape);
    if (!parse_number(text, (size_t)(at - text), BROKER_ID_MAX, &peer->broker_id))
        return fault_set(fault, KQ_INVALID, "peers: %.*s: the broker id must be a number from 1 to %d; %s", shown, text,
                         BROKER_ID_MAX, shape);
    uint32_t port;
    if (!parse_number(colon + 1, (size_t)(text + len - colon) - 1, PORT_MAX, &port))
        return fault_set(fault, KQ_INVALID, "peers: %.*s: the raft port must be a number from 1 to %d; %s", shown, text,
                         PORT_MAX, shape);
    peer->port = (uint16_t)port;
    if (!parse_host(at + 1, (size_t)(colon - at) - 1, peer->host))
        return fault_set(fault, KQ_INVALID, "peers: %.*s: not a host name or address (IPv6 goes in brackets); %s",
                         shown, text, shape);
    return KQ_OK;
}

static enum kq_err insert(struct peer_list *list, const struct peer_address *peer, struct fault *fault)
{
    if (list->count == PEERS_MAX)
        return fault_set(fault, KQ_INVALID, "peers: more than %d brokers; form the cluster with fewer, others join it",
                         PEERS_MAX);
    uint32_t at = 0;
    for (; at < list->count && list->peers[at].broker_id <= peer->broker_id; at++)
        if (list->peers[at].broker_id == peer->broker_id)
            return fault_set(fault, KQ_INVALID, "peers: broker %" PRIu32 " is named twice", peer->broker_id);
    for (uint32_t i = 0; i < list->count; i++)
        if (list->peers[i].port == peer->port && strcmp(list->peers[i].host, peer->host) == 0)
            return fault_set(fault, KQ_INVALID,
                             "peers: brokers %" PRIu32 " and %" PRIu32 " have one address, %.100s:%u; each needs its "
                             "own raft port",
                             list->peers[i].broker_id, peer->broker_id, peer->host, peer->port);
    memmove(&list->peers[at + 1], &list->peers[at], (list->count - at) * sizeof list->peers[0]);
    list->peers[at] = *peer;
    list->count++;
    return KQ_OK;
}

enum kq_err peers_parse(const char *text, struct peer_list *list, struct fault *fault)
{
    list->count = 0;
    if (text[strspn(text, " ")] == '\0')
        return KQ_OK;
    for (const char *from = text;;) {
        from += strspn(from, " ");
        size_t len = strcspn(from, ",");
        size_t bare = len;
        while (bare > 0 && from[bare - 1] == ' ')
            bare--;
        struct peer_address peer = {.broker_id = 0};
        enum kq_err err = parse_one(from, bare, &peer, fault);
        if (err == KQ_OK)
            err = insert(list, &peer, fault);
        if (err != KQ_OK || from[len] == '\0')
            return err;
        from += len + 1;
    }
}

const struct peer_address *peers_find(const struct peer_list *list, uint32_t broker_id)
{
    for (uint32_t i = 0; i < list->count; i++)
        if (list->peers[i].broker_id == broker_id)
            return &list->peers[i];
    return NULL;
}

enum kq_err peers_check(const char *text, uint32_t self, struct fault *fault)
{
    struct peer_list list;
    enum kq_err err = peers_parse(text, &list, fault);
    if (err == KQ_OK && list.count > 0 && peers_find(&list, self) == NULL)
        err = fault_set(fault, KQ_INVALID,
                        "peers: broker %" PRIu32 " is not among them; the list names all brokers that form the "
                        "cluster, this one too, the same at each",
                        self);
    return err;
}
