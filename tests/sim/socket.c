/*
 * Socket calls. A number below SOCKET_FD_FIRST is a file of the process itself and
 * goes to the real call (log lines to stderr apart, which go into the trace). A
 * simulated one is looked up among those of the running node; a number that is not
 * open there is a bug of the product, and ends the run.
 */
#include "sim/socket.h"

#include "base/require.h"
#include "sim/trace.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

static struct file *table[NET_NODES_MAX][SOCKET_FILES_MAX];

/* ---- files ------------------------------------------------------------------------------ */

static bool is_ours(int fd)
{
    return fd >= SOCKET_FD_FIRST;
}

struct file *socket_file(int fd)
{
    const struct node *node = machine_node();
    REQUIRE(node != NULL && is_ours(fd));
    unsigned of = (unsigned)(fd - SOCKET_FD_FIRST) / SOCKET_FILES_MAX;
    struct file *file = table[of % NET_NODES_MAX][(unsigned)(fd - SOCKET_FD_FIRST) % SOCKET_FILES_MAX];
    REQUIRE(of == node->id); /* the number was another process's */
    REQUIRE(file != NULL);   /* used after it was closed */
    return file;
}

struct file *socket_file_new(enum file_kind kind)
{
    struct node *node = machine_node();
    REQUIRE(node != NULL);
    for (int i = 0; i < SOCKET_FILES_MAX; i++)
        if (table[node->id][i] == NULL) {
            struct file *file = calloc(1, sizeof *file);
            REQUIRE(file != NULL);
            file->kind = kind;
            file->fd = SOCKET_FD_FIRST + (int)node->id * SOCKET_FILES_MAX + i;
            file->node = node;
            table[node->id][i] = file;
            return file;
        }
    errno = EMFILE;
    return NULL;
}

static void end_changed(void *owner)
{
    socket_changed(owner);
}

/* What was set before there was a connection holds for it as well. */
static void set_end(struct file *file)
{
    struct end *end = file->end;
    if (end == NULL)
        return;
    end->user_timeout_ns = file->user_timeout_ns;
    if (!file->keep_alive || end->keep_every_ns > 0)
        return;
    end->keep_idle_ns = (file->keep_idle_s > 0 ? file->keep_idle_s : 7200) * S_NS;
    end->keep_every_ns = (file->keep_every_s > 0 ? file->keep_every_s : 75) * S_NS;
    end->keep_count = file->keep_count > 0 ? file->keep_count : 9;
    net_keep_alive(end);
}

static void own_end(struct file *file, struct end *end)
{
    file->kind = FILE_STREAM;
    file->end = end;
    set_end(file);
    end->owner = file;
    end->changed = end_changed;
}

void socket_pair(struct file *a, struct file *b)
{
    struct end *x = net_end_new(a->node), *y = net_end_new(b->node);
    x->peer = y;
    y->peer = x;
    x->peer_node = y->peer_node = a->node;
    x->state = y->state = END_OPEN;
    own_end(a, x);
    own_end(b, y);
}

static void file_free(struct file *file)
{
    table[file->node->id][(file->fd - SOCKET_FD_FIRST) % SOCKET_FILES_MAX] = NULL;
    socket_unwatch_all(file);
    waiters_wake_all(&file->waiters); /* rather a call on a closed file, which is noticed, than a hang */
    free(file);
}

static void file_close(struct file *file)
{
    if (file->kind == FILE_LISTENER) {
        net_unlisten(&file->listening);
        for (int i = 0; i < file->backlog_count; i++)
            net_close(file->backlog[i]);
    } else if (file->end != NULL) {
        net_close(file->end);
    }
    file_free(file);
}

void socket_node_killed(struct node *node)
{
    for (int i = 0; i < SOCKET_FILES_MAX; i++)
        if (table[node->id][i] != NULL)
            file_close(table[node->id][i]);
}

void socket_node_power_lost(struct node *node)
{
    net_node_power_lost(node);
    for (int i = 0; i < SOCKET_FILES_MAX; i++)
        if (table[node->id][i] != NULL)
            file_free(table[node->id][i]);
}

int __wrap_close(int fd);
int __real_close(int fd);
int __wrap_close(int fd)
{
    if (!is_ours(fd))
        return __real_close(fd);
    fiber_point();
    file_close(socket_file(fd));
    return 0;
}

int socket_text_open(const char *text, size_t bytes)
{
    struct file *file = socket_file_new(FILE_TEXT);
    if (file == NULL)
        return -1;
    REQUIRE(bytes <= sizeof file->text);
    memcpy(file->text, text, bytes);
    file->text_bytes = bytes;
    return file->fd;
}

/* ---- addresses ---------------------------------------------------------------------------- */

static struct sockaddr_in address_of(const struct node *node, uint16_t port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
    at.sin_addr.s_addr = htonl(net_address_of(node));
    return at;
}

static int give_address(struct sockaddr *into, socklen_t *bytes, const struct sockaddr_in *at)
{
    if (into == NULL)
        return 0;
    socklen_t step = *bytes < sizeof *at ? *bytes : (socklen_t)sizeof *at;
    memcpy(into, at, step);
    *bytes = sizeof *at;
    return 0;
}

int __wrap_socket(int family, int type, int protocol);
int __wrap_bind(int fd, const struct sockaddr *address, socklen_t bytes);
int __wrap_listen(int fd, int backlog);
int __wrap_accept4(int fd, struct sockaddr *peer, socklen_t *bytes, int flags);
int __wrap_connect(int fd, const struct sockaddr *address, socklen_t bytes);
int __wrap_getsockname(int fd, struct sockaddr *address, socklen_t *bytes);
int __wrap_getpeername(int fd, struct sockaddr *address, socklen_t *bytes);

int __wrap_socket(int family, int type, int protocol)
{
    (void)protocol;
    fiber_point();
    if (family != AF_INET || (type & 0xf) != SOCK_STREAM) {
        errno = EAFNOSUPPORT;
        return -1;
    }
    struct file *file = socket_file_new(FILE_FRESH);
    if (file == NULL)
        return -1;
    file->nonblock = (type & SOCK_NONBLOCK) != 0;
    return file->fd;
}

int __wrap_bind(int fd, const struct sockaddr *address, socklen_t bytes)
{
    struct file *file = socket_file(fd);
    REQUIRE(bytes >= sizeof(struct sockaddr_in) && address->sa_family == AF_INET);
    const struct sockaddr_in *at = (const struct sockaddr_in *)(const void *)address;
    uint32_t ip = ntohl(at->sin_addr.s_addr);
    if (ip != INADDR_ANY && ip != INADDR_LOOPBACK && ip != net_address_of(file->node)) {
        errno = EADDRNOTAVAIL;
        return -1;
    }
    file->port = ntohs(at->sin_port);
    if (file->port == 0)
        file->port = (uint16_t)(20000 + file->fd % SOCKET_FILES_MAX);
    return 0;
}

static bool syn_comes(void *owner, struct end *server)
{
    struct file *file = owner;
    if (file->backlog_count >= file->backlog_max)
        return false;
    file->backlog[file->backlog_count++] = server;
    socket_changed(file);
    return true;
}

int __wrap_listen(int fd, int backlog)
{
    struct file *file = socket_file(fd);
    fiber_point();
    file->kind = FILE_LISTENER;
    file->backlog_max = backlog < SOCKET_BACKLOG_MAX ? backlog : SOCKET_BACKLOG_MAX;
    file->listening = (struct listening){.node = file->node, .port = file->port, .syn = syn_comes, .owner = file};
    net_listen(&file->listening);
    return 0;
}

int __wrap_accept4(int fd, struct sockaddr *peer, socklen_t *bytes, int flags)
{
    struct file *file = socket_file(fd);
    fiber_point();
    REQUIRE(file->kind == FILE_LISTENER);
    while (file->backlog_count == 0) {
        if (file->listening_over) {
            errno = EINVAL;
            return -1;
        }
        if (file->nonblock) {
            errno = EAGAIN;
            return -1;
        }
        (void)fiber_wait(&file->waiters, MACHINE_NEVER);
        file = socket_file(fd);
    }
    struct file *made = socket_file_new(FILE_STREAM);
    if (made == NULL)
        return -1;
    struct end *end = file->backlog[0];
    memmove(file->backlog, file->backlog + 1, (size_t)--file->backlog_count * sizeof(struct end *));
    own_end(made, end);
    made->nonblock = (flags & SOCK_NONBLOCK) != 0;
    struct sockaddr_in at = address_of(end->peer_node, end->peer_port);
    (void)give_address(peer, bytes, &at);
    return made->fd;
}

static int take_error(struct end *end)
{
    int error = end->error;
    end->error = 0;
    return error;
}

int __wrap_connect(int fd, const struct sockaddr *address, socklen_t bytes)
{
    struct file *file = socket_file(fd);
    fiber_point();
    REQUIRE(bytes >= sizeof(struct sockaddr_in));
    const struct sockaddr_in *at = (const struct sockaddr_in *)(const void *)address;
    if (file->kind == FILE_FRESH) {
        uint32_t ip = ntohl(at->sin_addr.s_addr);
        struct node *to = ip == INADDR_LOOPBACK ? file->node : net_node_of(ip);
        if (to == NULL) {
            errno = ENETUNREACH;
            return -1;
        }
        own_end(file, net_end_new(file->node));
        net_connect(file->end, to, ntohs(at->sin_port));
        if (file->nonblock) {
            errno = EINPROGRESS;
            return -1;
        }
    }
    int64_t until_ns = file->send_timeout_ns > 0 ? machine_now_ns() + file->send_timeout_ns : MACHINE_NEVER;
    while (file->end->state == END_CONNECTING) {
        if (file->nonblock || !fiber_wait(&file->waiters, until_ns)) {
            errno = file->nonblock ? EALREADY : EINPROGRESS;
            return -1;
        }
        file = socket_file(fd);
    }
    if (file->end->error != 0) {
        errno = take_error(file->end);
        return -1;
    }
    return 0;
}

int __wrap_getsockname(int fd, struct sockaddr *address, socklen_t *bytes)
{
    const struct file *file = socket_file(fd);
    struct sockaddr_in at = address_of(file->node, file->end != NULL ? file->end->port : file->port);
    return give_address(address, bytes, &at);
}

int __wrap_getpeername(int fd, struct sockaddr *address, socklen_t *bytes)
{
    const struct file *file = socket_file(fd);
    if (file->end == NULL || file->end->state != END_OPEN) {
        errno = ENOTCONN;
        return -1;
    }
    struct sockaddr_in at = address_of(file->end->peer_node, file->end->peer_port);
    return give_address(address, bytes, &at);
}

/* ---- options ------------------------------------------------------------------------------- */

int __wrap_setsockopt(int fd, int level, int name, const void *value, socklen_t bytes);
int __wrap_getsockopt(int fd, int level, int name, void *value, socklen_t *bytes);
int __wrap_fcntl(int fd, int what, ...);
int __real_fcntl(int fd, int what, ...);
int __wrap_ioctl(int fd, unsigned long what, ...);
int __real_ioctl(int fd, unsigned long what, ...);

int __wrap_setsockopt(int fd, int level, int name, const void *value, socklen_t bytes)
{
    struct file *file = socket_file(fd);
    if (level == SOL_SOCKET && (name == SO_RCVTIMEO || name == SO_SNDTIMEO)) {
        struct timeval span;
        REQUIRE(bytes == sizeof span);
        memcpy(&span, value, sizeof span);
        int64_t ns = (int64_t)span.tv_sec * S_NS + (int64_t)span.tv_usec * 1000;
        if (name == SO_RCVTIMEO)
            file->receive_timeout_ns = ns;
        else
            file->send_timeout_ns = ns;
        return 0;
    }
    int number = 0;
    memcpy(&number, value, bytes < sizeof number ? bytes : sizeof number);
    if (level == SOL_SOCKET && name == SO_KEEPALIVE)
        file->keep_alive = number != 0;
    else if (level == IPPROTO_TCP && name == TCP_KEEPIDLE)
        file->keep_idle_s = number;
    else if (level == IPPROTO_TCP && name == TCP_KEEPINTVL)
        file->keep_every_s = number;
    else if (level == IPPROTO_TCP && name == TCP_KEEPCNT)
        file->keep_count = number;
    else if (level == IPPROTO_TCP && name == TCP_USER_TIMEOUT)
        file->user_timeout_ns = (int64_t)number * MS_NS;
    set_end(file);
    return 0;
}

int __wrap_getsockopt(int fd, int level, int name, void *value, socklen_t *bytes)
{
    struct file *file = socket_file(fd);
    int number = 0;
    if (level == SOL_SOCKET && name == SO_ERROR && file->end != NULL)
        number = take_error(file->end);
    else if (level == SOL_SOCKET && (name == SO_SNDBUF || name == SO_RCVBUF))
        number = NET_SEND_BYTES;
    memcpy(value, &number, *bytes < sizeof number ? *bytes : sizeof number);
    return 0;
}

int __wrap_fcntl(int fd, int what, ...)
{
    va_list arguments;
    va_start(arguments, what);
    long argument = va_arg(arguments, long);
    va_end(arguments);
    if (!is_ours(fd))
        return __real_fcntl(fd, what, argument);
    struct file *file = socket_file(fd);
    switch (what) {
    case F_GETFL:
        return O_RDWR | (file->nonblock ? O_NONBLOCK : 0);
    case F_SETFL:
        file->nonblock = (argument & O_NONBLOCK) != 0;
        return 0;
    case F_DUPFD_CLOEXEC: /* asked only whether there is a number left */
        file = socket_file_new(FILE_OTHER);
        return file == NULL ? -1 : file->fd;
    default:
        return 0;
    }
}

int __wrap_ioctl(int fd, unsigned long what, ...)
{
    va_list arguments;
    va_start(arguments, what);
    int *number = va_arg(arguments, int *);
    va_end(arguments);
    if (!is_ours(fd))
        return __real_ioctl(fd, what, number);
    struct file *file = socket_file(fd);
    if (what == FIONBIO) {
        file->nonblock = *number != 0;
        return 0;
    }
    REQUIRE(file->end != NULL && (what == FIONREAD || what == SIOCOUTQ));
    *number = (int)(what == FIONREAD ? file->end->in_bytes : file->end->flight_bytes);
    return 0;
}

/* ---- bytes ----------------------------------------------------------------------------------- */

static ssize_t receive(int fd, void *data, size_t bytes, int flags)
{
    struct file *file = socket_file(fd);
    fiber_point();
    if (file->kind == FILE_TEXT) {
        size_t take = bytes < file->text_bytes ? bytes : file->text_bytes;
        memcpy(data, file->text, take);
        memmove(file->text, file->text + take, file->text_bytes -= take);
        return (ssize_t)take;
    }
    if (file->end == NULL) {
        errno = ENOTCONN;
        return -1;
    }
    bool wait = !file->nonblock && (flags & MSG_DONTWAIT) == 0;
    int64_t until_ns = file->receive_timeout_ns > 0 ? machine_now_ns() + file->receive_timeout_ns : MACHINE_NEVER;
    size_t got = 0;
    for (;;) {
        struct end *end = file->end;
        got += net_receive(end, (uint8_t *)data + got, bytes - got, (flags & MSG_PEEK) != 0);
        if (got == bytes || (got > 0 && (flags & MSG_WAITALL) == 0))
            return (ssize_t)got;
        if (got == 0 && end->error != 0) {
            errno = take_error(end);
            return -1;
        }
        if (end->in_ended || end->in_shut || end->state == END_DEAD)
            return (ssize_t)got;
        if (!wait || !fiber_wait(&file->waiters, until_ns)) {
            errno = EAGAIN;
            return got > 0 ? (ssize_t)got : -1;
        }
        file = socket_file(fd);
    }
}

static ssize_t transmit(int fd, const void *data, size_t bytes, int flags)
{
    struct file *file = socket_file(fd);
    fiber_point();
    if (file->end == NULL) {
        errno = ENOTCONN;
        return -1;
    }
    bool wait = !file->nonblock && (flags & MSG_DONTWAIT) == 0;
    int64_t until_ns = file->send_timeout_ns > 0 ? machine_now_ns() + file->send_timeout_ns : MACHINE_NEVER;
    size_t sent = 0;
    for (;;) {
        struct end *end = file->end;
        if (end->error != 0 || end->out_shut || end->state != END_OPEN) {
            errno = end->error != 0 ? take_error(end) : EPIPE;
            return sent > 0 ? (ssize_t)sent : -1;
        }
        size_t room = net_room(end), step = bytes - sent < room ? bytes - sent : room;
        if (step > 0) {
            net_send(end, (const uint8_t *)data + sent, step);
            sent += step;
        }
        if (sent == bytes || (!wait && sent > 0))
            return (ssize_t)sent;
        if (!wait || !fiber_wait(&file->waiters, until_ns)) {
            errno = EAGAIN;
            return sent > 0 ? (ssize_t)sent : -1;
        }
        file = socket_file(fd);
    }
}

ssize_t __wrap_recv(int fd, void *data, size_t bytes, int flags);
ssize_t __wrap___recv_chk(int fd, void *data, size_t bytes, size_t room, int flags);
ssize_t __wrap_read(int fd, void *data, size_t bytes);
ssize_t __real_read(int fd, void *data, size_t bytes);
ssize_t __wrap___read_chk(int fd, void *data, size_t bytes, size_t room);
ssize_t __wrap_send(int fd, const void *data, size_t bytes, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags);
ssize_t __wrap_recvmsg(int fd, struct msghdr *message, int flags);
ssize_t __wrap_write(int fd, const void *data, size_t bytes);
ssize_t __real_write(int fd, const void *data, size_t bytes);
ssize_t __wrap_writev(int fd, const struct iovec *parts, int count);
ssize_t __real_writev(int fd, const struct iovec *parts, int count);
ssize_t __wrap_readv(int fd, const struct iovec *parts, int count);
ssize_t __real_readv(int fd, const struct iovec *parts, int count);
int __wrap_shutdown(int fd, int how);

ssize_t __wrap_recv(int fd, void *data, size_t bytes, int flags)
{
    return receive(fd, data, bytes, flags);
}

ssize_t __wrap___recv_chk(int fd, void *data, size_t bytes, size_t room, int flags)
{
    REQUIRE(bytes <= room);
    return receive(fd, data, bytes, flags);
}

ssize_t __wrap_send(int fd, const void *data, size_t bytes, int flags)
{
    return transmit(fd, data, bytes, flags);
}

static ssize_t transmit_parts(int fd, const struct iovec *parts, size_t count, int flags)
{
    ssize_t sent = 0;
    for (size_t i = 0; i < count; i++) {
        if (parts[i].iov_len == 0)
            continue;
        ssize_t step = transmit(fd, parts[i].iov_base, parts[i].iov_len, flags);
        if (step < 0)
            return sent > 0 ? sent : -1;
        sent += step;
        if ((size_t)step < parts[i].iov_len)
            break;
    }
    return sent;
}

static ssize_t receive_parts(int fd, const struct iovec *parts, size_t count, int flags)
{
    ssize_t got = 0;
    for (size_t i = 0; i < count; i++) {
        ssize_t step = receive(fd, parts[i].iov_base, parts[i].iov_len, i == 0 ? flags : flags | MSG_DONTWAIT);
        if (step < 0)
            return got > 0 ? got : -1;
        got += step;
        if ((size_t)step < parts[i].iov_len)
            break;
    }
    return got;
}

ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags)
{
    return transmit_parts(fd, message->msg_iov, message->msg_iovlen, flags);
}

ssize_t __wrap_recvmsg(int fd, struct msghdr *message, int flags)
{
    return receive_parts(fd, message->msg_iov, message->msg_iovlen, flags);
}

ssize_t __wrap_writev(int fd, const struct iovec *parts, int count)
{
    return is_ours(fd) ? transmit_parts(fd, parts, (size_t)count, 0) : __real_writev(fd, parts, count);
}

ssize_t __wrap_readv(int fd, const struct iovec *parts, int count)
{
    return is_ours(fd) ? receive_parts(fd, parts, (size_t)count, 0) : __real_readv(fd, parts, count);
}

ssize_t __wrap_read(int fd, void *data, size_t bytes)
{
    if (!is_ours(fd))
        return __real_read(fd, data, bytes);
    struct file *file = socket_file(fd);
    if (file->kind != FILE_COUNTER)
        return receive(fd, data, bytes, 0);
    fiber_point();
    REQUIRE(bytes == sizeof file->counter);
    while (file->counter == 0) {
        if (file->nonblock) {
            errno = EAGAIN;
            return -1;
        }
        (void)fiber_wait(&file->waiters, MACHINE_NEVER);
        file = socket_file(fd);
    }
    memcpy(data, &file->counter, bytes);
    file->counter = 0;
    return (ssize_t)bytes;
}

ssize_t __wrap___read_chk(int fd, void *data, size_t bytes, size_t room)
{
    REQUIRE(bytes <= room);
    return __wrap_read(fd, data, bytes);
}

ssize_t __wrap_write(int fd, const void *data, size_t bytes)
{
    if (!is_ours(fd)) {
        if (machine_node() == NULL || fd != STDERR_FILENO)
            return __real_write(fd, data, bytes);
        wrap_log_line(data, bytes);
        return (ssize_t)bytes;
    }
    struct file *file = socket_file(fd);
    if (file->kind != FILE_COUNTER)
        return transmit(fd, data, bytes, 0);
    uint64_t more;
    REQUIRE(bytes == sizeof more);
    memcpy(&more, data, sizeof more);
    file->counter += more;
    socket_changed(file);
    fiber_point();
    return (ssize_t)bytes;
}

int __wrap_shutdown(int fd, int how)
{
    struct file *file = socket_file(fd);
    fiber_point();
    if (file->kind == FILE_LISTENER) { /* as on Linux: it listens no more, and who waits for it wakes */
        net_unlisten(&file->listening);
        file->listening_over = true;
        socket_changed(file);
        return 0;
    }
    if (file->end == NULL || file->end->state == END_DEAD) {
        errno = ENOTCONN;
        return -1;
    }
    if (how == SHUT_WR || how == SHUT_RDWR)
        net_shut_out(file->end);
    if (how == SHUT_RD || how == SHUT_RDWR)
        file->end->in_shut = true;
    socket_changed(file);
    return 0;
}
