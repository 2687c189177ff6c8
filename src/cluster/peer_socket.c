#include "cluster/peer_socket.h"

#include "base/require.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum { SOCKET_TAG = 0x9ee50c4e, PARTS_MAX = 1024 /* IOV_MAX */ };

struct peer_socket {
    uint32_t tag;
    pthread_mutex_t lock; /* over fd coming and going, and cut */
    int fd;               /* -1: none */
    bool cut;
    bool patient; /* reads block; the system wakes them now and then */
    uint32_t seed;
    size_t read_from; /* what was read and not yet taken */
    size_t read_to;
    char place[PEER_SOCKET_PLACE_BYTES];
    uint8_t read[PEER_SOCKET_READ_BYTES];
};

struct peer_socket *peer_socket_new(void)
{
    struct peer_socket *s = malloc(sizeof *s);
    if (s == NULL)
        return NULL;
    memset(s, 0, offsetof(struct peer_socket, read));
    s->tag = SOCKET_TAG;
    s->fd = -1;
    REQUIRE(pthread_mutex_init(&s->lock, NULL) == 0);
    return s;
}

void peer_socket_free(struct peer_socket **socket)
{
    struct peer_socket *s = *socket;
    *socket = NULL;
    if (s == NULL)
        return;
    TAG_CHECK(s, SOCKET_TAG);
    if (s->fd >= 0)
        (void)close(s->fd);
    (void)pthread_mutex_destroy(&s->lock);
    s->tag = TAG_DEAD;
    free(s);
}

void peer_socket_cut(struct peer_socket *s)
{
    TAG_CHECK(s, SOCKET_TAG);
    (void)pthread_mutex_lock(&s->lock);
    s->cut = true;
    if (s->fd >= 0)
        (void)shutdown(s->fd, SHUT_RDWR);
    (void)pthread_mutex_unlock(&s->lock);
}

bool peer_socket_is_closed(struct peer_socket *s)
{
    char byte;
    ssize_t n = recv(s->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return n >= 0 || (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR);
}

const char *peer_socket_place(const struct peer_socket *s)
{
    return s->place;
}

uint32_t peer_socket_seed(const struct peer_socket *s)
{
    return s->seed;
}

/* False: it was cut meanwhile; fd is still the caller's. */
static bool adopt(struct peer_socket *s, int fd)
{
    (void)pthread_mutex_lock(&s->lock);
    bool ok = !s->cut;
    if (ok)
        s->fd = fd;
    (void)pthread_mutex_unlock(&s->lock);
    return ok;
}

static bool is_cut(struct peer_socket *s)
{
    (void)pthread_mutex_lock(&s->lock);
    bool cut = s->cut;
    (void)pthread_mutex_unlock(&s->lock);
    return cut;
}

static void set_option(int fd, int level, int name, int value)
{
    (void)setsockopt(fd, level, name, &value, sizeof value); /* without it things are slower, not wrong */
}

static void set_options(int fd)
{
    set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, PEER_SOCKET_USER_TIMEOUT_MS);
    set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, PEER_SOCKET_KEEPALIVE_S);
    set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, PEER_SOCKET_KEEPALIVE_S);
}

/* ---- waiting -------------------------------------------------------------------------- */

static enum kq_err broken(struct peer_socket *s, int error_number, struct fault *fault)
{
    if (is_cut(s))
        return fault_set(fault, KQ_EOF, "the connection with %s was ended here", s->place);
    return fault_set(fault, KQ_IO, "the connection with %s broke: %s", s->place, strerror(error_number));
}

/* Until the socket is ready for events, or broken in a way that the next call will tell. */
static enum kq_err wait_ready(struct peer_socket *s, int fd, short events, int64_t deadline_us, struct fault *fault)
{
    for (;;) {
        int wait_ms = -1;
        if (deadline_us != CLOCK_NEVER) {
            int64_t left_us = deadline_us - clock_mono_us();
            if (left_us <= 0)
                return fault_set(fault, KQ_TIMEOUT, "%s did not answer in time", s->place);
            wait_ms = left_us > 1000 * 1000 * 1000 ? 1000 * 1000 : (int)((left_us + 999) / 1000);
        }
        struct pollfd p = {.fd = fd, .events = events};
        int n = poll(&p, 1, wait_ms);
        if (n > 0)
            return KQ_OK;
        if (n < 0 && errno != EINTR)
            return broken(s, errno, fault);
    }
}

/* ---- connecting ------------------------------------------------------------------------ */

/* 0 or an errno. The socket is s's when this returns 0. */
static int connect_one(struct peer_socket *s, const struct addrinfo *to, int64_t deadline_us)
{
    int fd = socket(to->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return errno;
    if (!adopt(s, fd)) {
        (void)close(fd);
        return ECANCELED;
    }
    int error_number = 0;
    if (connect(fd, to->ai_addr, to->ai_addrlen) != 0) {
        error_number = errno;
        if (error_number == EINPROGRESS) {
            socklen_t len = sizeof error_number;
            if (wait_ready(s, fd, POLLOUT, deadline_us, NULL) != KQ_OK)
                error_number = ETIMEDOUT;
            else if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error_number, &len) != 0)
                error_number = errno;
        }
    }
    int nonblocking = 0;
    if (error_number == 0 && ioctl(fd, FIONBIO, &nonblocking) != 0)
        error_number = errno;
    if (error_number == 0) {
        set_options(fd);
        return 0;
    }
    (void)pthread_mutex_lock(&s->lock);
    s->fd = -1;
    (void)pthread_mutex_unlock(&s->lock);
    (void)close(fd);
    return error_number;
}

/* An address needs no look-up. A name does, which blocks where its server is silent (bounded by
 * the daemon, see kafkaesqued.c), and is not begun for a connection that was given up. */
static enum kq_err look_up(struct peer_socket *s, const char *host, uint16_t port, struct addrinfo **list,
                           struct fault *fault)
{
    char service[8];
    (void)snprintf(service, sizeof service, "%u", (unsigned)port);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV | AI_NUMERICHOST};
    if (getaddrinfo(host, service, &hints, list) == 0)
        return KQ_OK;
    if (is_cut(s))
        return fault_set(fault, KQ_EOF, "the connection with %s was ended here", s->place);
    hints.ai_flags = AI_NUMERICSERV;
    int failed = getaddrinfo(host, service, &hints, list);
    return failed == 0
               ? KQ_OK
               : fault_set(fault, KQ_NOT_FOUND, "%s: the host name is not known: %s", s->place, gai_strerror(failed));
}

enum kq_err peer_socket_connect(struct peer_socket *s, const char *host, uint16_t port, int64_t deadline_us,
                                bool *refused, struct fault *fault)
{
    TAG_CHECK(s, SOCKET_TAG);
    REQUIRE(s->fd < 0);
    bool everywhere = true;
    if (refused != NULL)
        *refused = false;
    (void)snprintf(s->place, sizeof s->place, "%s:%u", host, (unsigned)port);
    struct addrinfo *list = NULL;
    enum kq_err err = look_up(s, host, port, &list, fault);
    if (err != KQ_OK)
        return err;
    int error_number = ECONNREFUSED;
    for (const struct addrinfo *at = list; at != NULL; at = at->ai_next) {
        error_number = connect_one(s, at, deadline_us);
        if (error_number == 0 || error_number == ECANCELED)
            break;
        everywhere = everywhere && error_number == ECONNREFUSED;
    }
    freeaddrinfo(list);
    if (error_number == 0)
        return KQ_OK;
    if (error_number == ECANCELED || is_cut(s))
        return fault_set(fault, KQ_EOF, "the connection with %s was ended here", s->place);
    if (refused != NULL)
        *refused = everywhere;
    return fault_set(fault, error_number == ETIMEDOUT ? KQ_TIMEOUT : KQ_IO, "cannot connect to %s: %s", s->place,
                     strerror(error_number));
}

enum kq_err peer_socket_take(struct peer_socket *s, int fd, struct fault *fault)
{
    TAG_CHECK(s, SOCKET_TAG);
    REQUIRE(s->fd < 0);
    struct sockaddr_storage address;
    socklen_t len = sizeof address;
    char host[128] = "?";
    if (getpeername(fd, (struct sockaddr *)&address, &len) == 0)
        (void)getnameinfo((struct sockaddr *)&address, len, host, sizeof host, NULL, 0, NI_NUMERICHOST);
    (void)snprintf(s->place, sizeof s->place, "%s", host);
    set_options(fd);
    if (adopt(s, fd))
        return KQ_OK;
    (void)close(fd);
    return fault_set(fault, KQ_EOF, "the connection with %s was ended here", s->place);
}

/* ---- writing --------------------------------------------------------------------------- */

/* Moves on by n bytes; how many whole parts are done. */
static int advance(struct iovec *parts, int part_count, size_t n)
{
    int done = 0;
    while (done < part_count && n >= parts[done].iov_len) {
        n -= parts[done].iov_len;
        done++;
    }
    if (n > 0) {
        parts[done].iov_base = (char *)parts[done].iov_base + n;
        parts[done].iov_len -= n;
    }
    return done;
}

enum kq_err peer_socket_try_write(struct peer_socket *s, struct iovec **parts, int *part_count, struct fault *fault)
{
    TAG_CHECK(s, SOCKET_TAG);
    while (*part_count > 0) {
        struct msghdr message = {.msg_iov = *parts,
                                 .msg_iovlen = (size_t)(*part_count < PARTS_MAX ? *part_count : PARTS_MAX)};
        ssize_t n = sendmsg(s->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n >= 0) {
            int done = advance(*parts, *part_count, (size_t)n);
            *parts += done;
            *part_count -= done;
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            return KQ_OK;
        } else if (errno != EINTR) {
            return broken(s, errno, fault);
        }
    }
    return KQ_OK;
}

enum kq_err peer_socket_write(struct peer_socket *s, struct iovec *parts, int part_count, int64_t deadline_us,
                              struct fault *fault)
{
    for (;;) {
        enum kq_err err = peer_socket_try_write(s, &parts, &part_count, fault);
        if (err != KQ_OK || part_count == 0)
            return err;
        err = wait_ready(s, s->fd, POLLOUT, deadline_us, fault);
        if (err != KQ_OK)
            return err;
    }
}

static enum kq_err send_seeded(struct peer_socket *s, uint32_t seed, enum peer_frame_type type,
                               const struct slice *parts, size_t part_count, int64_t deadline_us, struct fault *fault)
{
    enum { PARTS = 8 };
    REQUIRE(part_count < PARTS);
    uint8_t head[PEER_FRAME_HEAD_BYTES];
    peer_frame_head(head, seed, type, 0, parts, part_count);
    struct iovec iov[PARTS] = {{.iov_base = head, .iov_len = sizeof head}};
    int count = 1;
    for (size_t i = 0; i < part_count; i++)
        if (parts[i].len > 0)
            iov[count++] = (struct iovec){.iov_base = (void *)(uintptr_t)parts[i].data, .iov_len = parts[i].len};
    return peer_socket_write(s, iov, count, deadline_us, fault);
}

enum kq_err peer_socket_send(struct peer_socket *s, enum peer_frame_type type, const struct slice *parts,
                             size_t part_count, int64_t deadline_us, struct fault *fault)
{
    return send_seeded(s, s->seed, type, parts, part_count, deadline_us, fault);
}

/* ---- reading ----------------------------------------------------------------------------- */

/* At least one byte into room at to. KQ_EOF: the other side has closed. */
static enum kq_err read_some(struct peer_socket *s, uint8_t *to, size_t room, int64_t deadline_us, size_t *got,
                             struct fault *fault)
{
    for (;;) {
        bool blocks = s->patient || deadline_us == CLOCK_NEVER;
        ssize_t n = recv(s->fd, to, room, blocks ? 0 : MSG_DONTWAIT);
        if (n > 0) {
            *got = (size_t)n;
            return KQ_OK;
        }
        if (n == 0)
            return fault_set(fault, KQ_EOF, "%s closed the connection", s->place);
        if (errno == EINTR)
            continue;
        if (errno != EAGAIN && errno != EWOULDBLOCK)
            return broken(s, errno, fault);
        if (blocks && clock_mono_us() < deadline_us)
            continue;
        enum kq_err err = wait_ready(s, s->fd, POLLIN, deadline_us, fault);
        if (err != KQ_OK)
            return err;
    }
}

void peer_socket_be_patient(struct peer_socket *s)
{
    struct timeval limit = {.tv_sec = PEER_SOCKET_PATIENCE_S};
    s->patient = setsockopt(s->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) == 0;
}

static size_t take_read(struct peer_socket *s, uint8_t *to, size_t room)
{
    size_t have = s->read_to - s->read_from;
    size_t n = have < room ? have : room;
    memcpy(to, s->read + s->read_from, n);
    s->read_from += n;
    return n;
}

static enum kq_err read_head(struct peer_socket *s, uint8_t head[PEER_FRAME_HEAD_BYTES], int64_t deadline_us,
                             struct fault *fault)
{
    size_t have = take_read(s, head, PEER_FRAME_HEAD_BYTES);
    while (have < PEER_FRAME_HEAD_BYTES) {
        size_t got;
        enum kq_err err = read_some(s, s->read, sizeof s->read, deadline_us, &got, fault);
        if (err == KQ_EOF && have > 0)
            return fault_set(fault, KQ_IO, "%s closed the connection within a frame", s->place);
        if (err != KQ_OK)
            return err;
        s->read_from = 0;
        s->read_to = got;
        have += take_read(s, head + have, PEER_FRAME_HEAD_BYTES - have);
    }
    return KQ_OK;
}

/* The body grows as it comes, so that a length alone costs no memory. */
static enum kq_err read_body(struct peer_socket *s, size_t body_bytes, int64_t deadline_us, uint8_t **body,
                             struct fault *fault)
{
    size_t room = body_bytes < PEER_SOCKET_FIRST_BYTES ? body_bytes : PEER_SOCKET_FIRST_BYTES;
    uint8_t *data = malloc(room);
    enum kq_err err = data == NULL ? KQ_NO_MEMORY : KQ_OK;
    size_t have = data == NULL ? 0 : take_read(s, data, room);
    while (err == KQ_OK && have < body_bytes) {
        if (have == room) {
            room = room * 2 < body_bytes ? room * 2 : body_bytes;
            uint8_t *more = realloc(data, room);
            if (more == NULL) {
                err = KQ_NO_MEMORY;
                break;
            }
            data = more;
        }
        size_t got = 0;
        err = read_some(s, data + have, room - have, deadline_us, &got, fault);
        have += got;
        /* Also while bytes keep coming: behind a damaged length they are other frames'. */
        if (err == KQ_OK && have < body_bytes && clock_mono_us() >= deadline_us)
            err = fault_set(fault, KQ_TIMEOUT, "a frame of %zu bytes from %s does not end", body_bytes, s->place);
    }
    if (err == KQ_OK) {
        *body = data;
        return KQ_OK;
    }
    free(data);
    if (err == KQ_NO_MEMORY)
        return fault_set(fault, err, "no memory for a frame of %zu bytes from %s", body_bytes, s->place);
    return err == KQ_EOF ? fault_set(fault, KQ_IO, "%s closed the connection within a frame", s->place) : err;
}

enum kq_err peer_socket_receive_raw(struct peer_socket *s, uint32_t limit_bytes, int64_t deadline_us,
                                    struct peer_frame *frame, uint8_t **body, struct fault *fault)
{
    TAG_CHECK(s, SOCKET_TAG);
    *body = NULL;
    uint8_t head[PEER_FRAME_HEAD_BYTES];
    enum kq_err err = read_head(s, head, deadline_us, fault);
    if (err != KQ_OK)
        return err;
    err = peer_frame_parse(head, limit_bytes, frame);
    if (err == KQ_TOO_LARGE)
        return fault_set(fault, err, "%s sends a frame of %u bytes, more than the %u that it may", s->place,
                         get_le32(head), limit_bytes);
    if (err != KQ_OK)
        return fault_set(fault, err,
                         "%s sends what no broker of this version sends, or its bytes were changed on the way",
                         s->place);
    if (frame->body_bytes == 0)
        return KQ_OK;
    if (deadline_us == CLOCK_NEVER || s->patient) /* a damaged length must not make it wait for ever */
        deadline_us = clock_mono_us() + PEER_SOCKET_BODY_US + frame->body_bytes / PEER_SOCKET_LEAST_BYTES_US;
    return read_body(s, frame->body_bytes, deadline_us, body, fault);
}

static enum kq_err receive_seeded(struct peer_socket *s, uint32_t seed, uint32_t limit_bytes, int64_t deadline_us,
                                  struct peer_frame *frame, uint8_t **body, struct fault *fault)
{
    enum kq_err err = peer_socket_receive_raw(s, limit_bytes, deadline_us, frame, body, fault);
    if (err != KQ_OK || peer_frame_check(frame, seed, *body))
        return err;
    free(*body);
    *body = NULL;
    return fault_set(fault, KQ_GARBAGE, "a frame from %s does not match its checksum", s->place);
}

enum kq_err peer_socket_receive(struct peer_socket *s, uint32_t limit_bytes, int64_t deadline_us,
                                struct peer_frame *frame, uint8_t **body, struct fault *fault)
{
    return receive_seeded(s, s->seed, limit_bytes, deadline_us, frame, body, fault);
}

/* ---- the hello ------------------------------------------------------------------------------ */

static enum kq_err send_hello(struct peer_socket *s, struct hello *self, int64_t deadline_us, struct fault *fault)
{
    struct uuid random = uuid_random();
    self->version = PEER_VERSION;
    self->session = get_le64(random.bytes) | 1; /* 0 means none */
    uint8_t body[HELLO_BYTES];
    hello_encode(self, body);
    struct slice part = slice_of(body, sizeof body);
    return send_seeded(s, 0, PEER_HELLO, &part, 1, deadline_us, fault);
}

/* What the other side's refusal says. */
static enum kq_err refusal(const struct peer_socket *s, uint8_t *body, uint32_t body_bytes, struct fault *fault)
{
    if (body == NULL || body_bytes < 2)
        return fault_set(fault, KQ_INVALID, "%s refuses the connection", s->place);
    uint16_t err = get_le16(body);
    int n = body_bytes - 2 < FAULT_TEXT_BYTES ? (int)body_bytes - 2 : FAULT_TEXT_BYTES - 1;
    for (int i = 2; i < n + 2; i++)
        if (body[i] < ' ' || body[i] > '~')
            body[i] = '?';
    bool known = err == KQ_EXISTS || err == KQ_AGAIN || err == KQ_BAD_VERSION;
    return fault_set(fault, known ? (enum kq_err)err : KQ_INVALID, "%.*s", n, (const char *)body + 2);
}

enum kq_err peer_socket_hear(struct peer_socket *s, struct hello *other, int64_t deadline_us, struct fault *fault)
{
    struct peer_frame frame;
    uint8_t *body;
    enum kq_err err = receive_seeded(s, 0, PEER_FRAME_SMALL_BYTES, deadline_us, &frame, &body, fault);
    if (err != KQ_OK)
        return err;
    if (frame.type == PEER_REFUSAL) {
        err = refusal(s, body, frame.body_bytes, fault);
    } else if (frame.type != PEER_HELLO || hello_decode(body, frame.body_bytes, other) == KQ_GARBAGE) {
        err = fault_set(fault, KQ_GARBAGE, "%s does not greet as a broker does", s->place);
    } else if (other->version != PEER_VERSION) {
        err =
            fault_set(fault, KQ_BAD_VERSION,
                      "the broker at %s speaks version %u of the brokers' protocol, this one version %u: run versions "
                      "of kafkaesqued that know each other",
                      s->place, (unsigned)other->version, (unsigned)PEER_VERSION);
    }
    free(body);
    return err;
}

enum kq_err peer_socket_greet(struct peer_socket *s, struct hello *self, struct hello *other, int64_t deadline_us,
                              struct fault *fault)
{
    TAG_CHECK(s, SOCKET_TAG);
    enum kq_err err = send_hello(s, self, deadline_us, fault);
    if (err == KQ_OK)
        err = peer_socket_hear(s, other, deadline_us, fault);
    if (err == KQ_OK)
        s->seed = peer_frame_seed(self->session, other->session);
    return err;
}

enum kq_err peer_socket_answer(struct peer_socket *s, struct hello *self, const struct hello *other,
                               int64_t deadline_us, struct fault *fault)
{
    TAG_CHECK(s, SOCKET_TAG);
    enum kq_err err = send_hello(s, self, deadline_us, fault);
    s->seed = peer_frame_seed(other->session, self->session);
    return err;
}

void peer_socket_refuse(struct peer_socket *s, const struct fault *fault, int64_t deadline_us)
{
    uint8_t err[2];
    put_le16(err, (uint16_t)fault->err);
    const struct slice parts[] = {slice_of(err, sizeof err), slice_text(fault_text(fault))};
    (void)send_seeded(s, 0, PEER_REFUSAL, parts, 2, deadline_us, NULL);
}
