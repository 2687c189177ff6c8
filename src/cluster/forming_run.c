/*
 * The pump of forming.c: asks the listed peers round after round, and answers those who
 * ask here, until there is a founding, which is then made durable.
 *
 * Two threads: the main one asks; another accepts on the raft port and answers. What they
 * share is the state of forming.c, under a lock. Nothing here has a limit in time but
 * single connections; the main thread looks every moment whether it is to give up.
 */
#include "cluster/cluster_state.h"

#include "base/clock.h"
#include "base/logger.h"
#include "base/require.h"
#include "cluster/forming.h"
#include "cluster/peer_socket.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    TALK_US = 1000 * 1000,     /* for one exchange with a peer */
    ROUND_MS = 150,            /* between two rounds */
    SAY_US = 15 * 1000 * 1000, /* what is waited for is said again */
    FORM_BYTES_MAX = 16 * 1024,
};

struct pump {
    struct cluster *cluster;
    struct hello self;
    pthread_t thread;
    int wake[2]; /* closed at the end: the answering thread ends */
    pthread_mutex_t lock;
    struct forming forming;
    struct fault said[PEERS_MAX]; /* of each place of the list, as logged last */
    int64_t said_us[PEERS_MAX];
    char missing[1024];
    int64_t missing_us;
};

static struct hello hello_of(const struct cluster *c)
{
    return (struct hello){.version = PEER_VERSION,
                          .kind = PEER_KIND_FORM,
                          .broker_id = c->identity.broker_id,
                          .incarnation = c->identity.incarnation,
                          .boot = c->identity.boot};
}

/* ---- bodies --------------------------------------------------------------------------------- */

static void describe(const struct cluster *c, struct form *form)
{
    memset(form, 0, sizeof *form);
    form->self = (struct form_member){.broker_id = c->identity.broker_id,
                                      .incarnation = c->identity.incarnation,
                                      .port = c->options.port,
                                      .raft_port = c->options.raft_port};
    (void)snprintf(form->self.host, sizeof form->self.host, "%s", c->host);
    form->founded = true;
    form->founding = c->identity.founding;
}

bool forming_answer(void *context, const uint8_t *body, size_t body_bytes, struct buf *answer)
{
    struct cluster *c = context;
    struct form asked;
    struct form mine;
    if (form_decode(body, body_bytes, &asked) != KQ_OK)
        return false;
    describe(c, &mine);
    form_encode(&mine, answer);
    return !answer->bad;
}

/* Sends what is said and takes what the other says. */
static enum kq_err exchange(struct peer_socket *socket, struct pump *p, struct form *said, struct fault *fault)
{
    struct form mine;
    struct buf body;
    buf_init(&body, FORM_BYTES_MAX);
    (void)pthread_mutex_lock(&p->lock);
    forming_say(&p->forming, &mine);
    (void)pthread_mutex_unlock(&p->lock);
    form_encode(&mine, &body);
    REQUIRE(!body.bad);
    struct slice part = {.data = body.data, .len = body.len};
    int64_t deadline_us = clock_mono_us() + TALK_US;
    enum kq_err err = peer_socket_send(socket, PEER_FORM, &part, 1, deadline_us, fault);
    buf_fini(&body);
    struct peer_frame frame;
    uint8_t *answer = NULL;
    if (err == KQ_OK)
        err = peer_socket_receive(socket, FORM_BYTES_MAX, deadline_us, &frame, &answer, fault);
    if (err == KQ_OK && frame.type != PEER_FORM)
        err = KQ_GARBAGE;
    if (err == KQ_OK)
        err = form_decode(answer, frame.body_bytes, said);
    free(answer);
    return err;
}

/* ---- asking ------------------------------------------------------------------------------------ */

/* A disagreement is said once, and again after a while. A peer that is not there yet is no news. */
static void say(struct pump *p, uint32_t i, const struct fault *fault)
{
    const struct peer_address *peer = &p->forming.list.peers[i];
    int64_t now_us = clock_mono_us();
    if (strcmp(p->said[i].text, fault->text) == 0 && now_us < p->said_us[i] + SAY_US)
        return;
    p->said[i] = *fault;
    p->said_us[i] = now_us;
    SAY_WARNING("%u@%s:%u: %s", peer->broker_id, peer->host, peer->port, fault_text(fault));
}

/* KQ_OK: it was heard, or is not there. */
static enum kq_err ask_peer(struct pump *p, uint32_t i, struct fault *fault)
{
    const struct peer_address peer = p->forming.list.peers[i];
    struct peer_socket *socket = peer_socket_new();
    if (socket == NULL)
        return fault_set(fault, KQ_NO_MEMORY, "out of memory");
    struct hello self = p->self;
    struct hello other;
    struct form said;
    self.to_broker_id = peer.broker_id;
    enum kq_err err = peer_socket_connect(socket, peer.host, peer.port, clock_mono_us() + TALK_US, NULL, fault);
    bool there = err == KQ_OK;
    if (err == KQ_OK)
        err = peer_socket_greet(socket, &self, &other, clock_mono_us() + TALK_US, fault);
    if (err == KQ_OK)
        err = exchange(socket, p, &said, fault);
    peer_socket_free(&socket);
    if (err == KQ_OK) {
        (void)pthread_mutex_lock(&p->lock);
        err = forming_hear(&p->forming, peer.broker_id, &said, fault);
        (void)pthread_mutex_unlock(&p->lock);
        return err;
    }
    bool disagrees = err == KQ_INVALID || err == KQ_EXISTS || err == KQ_BAD_VERSION || err == KQ_GARBAGE;
    return there && disagrees ? err : KQ_OK;
}

static bool is_interrupted(const struct cluster *c)
{
    return c->options.interrupted != NULL && c->options.interrupted(c->options.context);
}

static void say_missing(struct pump *p)
{
    char missing[sizeof p->missing];
    (void)pthread_mutex_lock(&p->lock);
    forming_missing(&p->forming, missing, sizeof missing);
    (void)pthread_mutex_unlock(&p->lock);
    int64_t now_us = clock_mono_us();
    if (strcmp(missing, p->missing) == 0 && now_us < p->missing_us + SAY_US)
        return;
    memcpy(p->missing, missing, sizeof missing);
    p->missing_us = now_us;
    if (missing[0] != '\0')
        SAY_NOTICE("waiting to form or join a cluster: not reached yet: %s", missing);
    else
        SAY_NOTICE("all peers are reached; waiting for broker %u to form the cluster",
                   p->forming.list.peers[0].broker_id);
}

/* One round of asking; what came of it. */
static enum forming_verdict ask_all(struct pump *p)
{
    uint32_t self = p->cluster->identity.broker_id;
    (void)pthread_mutex_lock(&p->lock);
    forming_begin_round(&p->forming);
    (void)pthread_mutex_unlock(&p->lock);
    for (uint32_t i = 0; i < p->forming.list.count && !is_interrupted(p->cluster); i++) {
        struct fault fault = {.err = KQ_OK};
        if (p->forming.list.peers[i].broker_id != self && ask_peer(p, i, &fault) != KQ_OK)
            say(p, i, &fault);
    }
    (void)pthread_mutex_lock(&p->lock);
    enum forming_verdict verdict = forming_decide(&p->forming);
    (void)pthread_mutex_unlock(&p->lock);
    return verdict;
}

/* ---- answering ----------------------------------------------------------------------------------- */

static void answer(struct pump *p, int fd)
{
    struct peer_socket *socket = peer_socket_new();
    if (socket == NULL) {
        (void)close(fd);
        return;
    }
    struct fault fault = {.err = KQ_OK};
    struct hello self = p->self;
    struct hello other = {.kind = PEER_KIND_END};
    struct form said;
    enum kq_err err = peer_socket_take(socket, fd, &fault);
    if (err == KQ_OK)
        err = peer_socket_hear(socket, &other, clock_mono_us() + TALK_US, &fault);
    if (err == KQ_OK && hello_judge(&self, &other, peer_socket_place(socket), &fault) != KQ_OK) {
        SAY_WARNING("%s", fault_text(&fault));
        peer_socket_refuse(socket, &fault, clock_mono_us() + TALK_US);
        err = fault.err;
    }
    if (err == KQ_OK && other.kind != PEER_KIND_FORM) {
        err = fault_set(&fault, KQ_AGAIN, "broker %u has no cluster yet", self.broker_id);
        peer_socket_refuse(socket, &fault, clock_mono_us() + TALK_US);
    }
    if (err == KQ_OK)
        err = peer_socket_answer(socket, &self, &other, clock_mono_us() + TALK_US, &fault);
    if (err == KQ_OK)
        err = exchange(socket, p, &said, &fault);
    peer_socket_free(&socket);
    if (err != KQ_OK)
        return;
    (void)pthread_mutex_lock(&p->lock);
    if (!said.founded) /* who has a cluster is asked in a round */
        (void)forming_hear(&p->forming, 0, &said, &fault);
    (void)pthread_mutex_unlock(&p->lock);
}

static void *answer_all(void *argument)
{
    struct pump *p = argument;
    struct pollfd fds[2] = {{.fd = p->cluster->options.listen_fd, .events = POLLIN},
                            {.fd = p->wake[0], .events = POLLIN}};
    for (;;) {
        if (poll(fds, 2, -1) < 0)
            continue;
        if (fds[1].revents != 0)
            return NULL;
        int fd = accept4(p->cluster->options.listen_fd, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0)
            answer(p, fd);
    }
}

/* ---- the whole -------------------------------------------------------------------------------------- */

/* KQ_STOPPING: interrupted. */
static enum kq_err pump_rounds(struct pump *p, enum forming_verdict *verdict, struct fault *fault)
{
    for (;;) {
        *verdict = ask_all(p);
        if (*verdict != FORMING_WAIT)
            return KQ_OK;
        say_missing(p);
        if (is_interrupted(p->cluster))
            return fault_set(fault, KQ_STOPPING, "stopped while it waited for other brokers");
        (void)poll(NULL, 0, ROUND_MS);
    }
}

static enum kq_err keep(struct pump *p, enum forming_verdict verdict, struct fault *fault)
{
    struct cluster *c = p->cluster;
    struct identity *identity = &c->identity;
    struct uuid cluster_id = uuid_random();
    struct uuid metadata_id = uuid_random();
    if (verdict == FORMING_FOUND)
        forming_found(&p->forming, &cluster_id, &metadata_id, &identity->founding);
    else
        identity->founding = p->forming.founding;
    identity->joined = verdict == FORMING_JOIN;
    enum kq_err err = identity_store(c->io, c->data_dir, identity, fault);
    char id[UUID_TEXT_BYTES];
    if (err == KQ_OK)
        SAY_NOTICE("%s the cluster %s, which %u broker%s founded",
                   verdict == FORMING_JOIN ? "joining" : "this broker is a founder of",
                   uuid_format(&identity->founding.cluster_id, id), identity->founding.count,
                   identity->founding.count == 1 ? "" : "s");
    return err;
}

enum kq_err forming_run(struct cluster *c, const struct peer_list *list, struct fault *fault)
{
    struct pump *p = calloc(1, sizeof *p);
    if (p == NULL)
        return fault_set(fault, KQ_NO_MEMORY, "out of memory");
    p->cluster = c;
    p->self = hello_of(c);
    struct form self;
    describe(c, &self);
    forming_init(&p->forming, &self.self, list);
    (void)pthread_mutex_init(&p->lock, NULL);
    enum kq_err err = KQ_OK;
    if (pipe(p->wake) != 0) {
        err = fault_set(fault, KQ_IO, "no pipe could be had to wait for other brokers");
        goto out;
    }
    if (pthread_create(&p->thread, NULL, answer_all, p) != 0) {
        err = fault_set(fault, KQ_NO_MEMORY, "no thread could be started to wait for other brokers");
        (void)close(p->wake[1]);
        (void)close(p->wake[0]);
        goto out;
    }
    enum forming_verdict verdict = FORMING_WAIT;
    err = pump_rounds(p, &verdict, fault);
    (void)close(p->wake[1]);
    (void)pthread_join(p->thread, NULL);
    (void)close(p->wake[0]);
    if (err == KQ_OK)
        err = keep(p, verdict, fault);
out:
    (void)pthread_mutex_destroy(&p->lock);
    free(p);
    return err;
}
