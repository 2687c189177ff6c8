/*
 * Waiting for many files: epoll (level-triggered, EPOLLONESHOT), poll, event
 * counters; and names, which here are numbers, "localhost", or a node's.
 */
#include "base/require.h"
#include "sim/socket.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

static struct chance *luck(void)
{
    static struct chance chance;
    if (chance.state == 0)
        chance = chance_of(machine_seed(), 21);
    return &chance;
}

/* ---- what is so --------------------------------------------------------------------- */

static uint32_t stream_events(const struct end *end)
{
    if (end->state == END_CONNECTING)
        return 0;
    uint32_t events = 0;
    bool ended = end->in_ended || end->state == END_DEAD;
    if (end->in_bytes > 0 || ended || end->in_shut)
        events |= EPOLLIN;
    if (ended || end->in_shut)
        events |= EPOLLRDHUP;
    if (net_room(end) >= NET_SEND_BYTES / 3 || end->out_shut || end->state == END_DEAD)
        events |= EPOLLOUT;
    if (end->error != 0)
        events |= EPOLLERR;
    if (end->state == END_DEAD || (ended && end->out_shut))
        events |= EPOLLHUP;
    return events;
}

uint32_t socket_events(const struct file *file)
{
    switch (file->kind) {
    case FILE_LISTENER:
        return (file->backlog_count > 0 ? (uint32_t)EPOLLIN : 0) |
               (file->listening_over ? (uint32_t)EPOLLIN | EPOLLHUP : 0);
    case FILE_STREAM:
        return stream_events(file->end);
    case FILE_COUNTER:
        return (file->counter > 0 ? (uint32_t)EPOLLIN : 0) | EPOLLOUT;
    case FILE_FRESH:
        return EPOLLOUT | EPOLLHUP;
    case FILE_EPOLL:
    case FILE_TEXT:
    case FILE_OTHER:
        break;
    }
    return 0;
}

void socket_changed(struct file *file)
{
    waiters_wake_all(&file->waiters);
    for (struct watch *w = file->watches; w != NULL; w = w->next_of_file)
        waiters_wake_all(w->tell);
}

/* ---- watches --------------------------------------------------------------------------- */

static void watch_leave_file(struct watch *w)
{
    for (struct watch **at = &w->file->watches; *at != NULL; at = &(*at)->next_of_file)
        if (*at == w) {
            *at = w->next_of_file;
            return;
        }
}

/* A file that closes leaves all sets; a set that closes lets go of its files. */
void socket_unwatch_all(struct file *file)
{
    while (file->watches != NULL) {
        struct watch *w = file->watches;
        file->watches = w->next_of_file;
        w->file = NULL; /* the set's owner drops it */
    }
    while (file->set != NULL) {
        struct watch *w = file->set;
        file->set = w->next_of_set;
        if (w->file != NULL)
            watch_leave_file(w);
        free(w);
    }
}

static struct watch *watch_new(struct file *file, struct waiters *tell)
{
    struct watch *w = calloc(1, sizeof *w);
    REQUIRE(w != NULL);
    w->file = file;
    w->tell = tell;
    w->next_of_file = file->watches;
    file->watches = w;
    return w;
}

/* ---- epoll ------------------------------------------------------------------------------- */

int __wrap_epoll_create1(int flags);
int __wrap_epoll_ctl(int set, int what, int fd, struct epoll_event *event);
int __wrap_epoll_wait(int set, struct epoll_event *events, int most, int wait_ms);
int __wrap_eventfd(unsigned first, int flags);
int __wrap_eventfd_read(int fd, eventfd_t *value);
int __wrap_eventfd_write(int fd, eventfd_t value);
ssize_t __wrap_read(int fd, void *data, size_t bytes);
ssize_t __wrap_write(int fd, const void *data, size_t bytes);
int __wrap_pipe(int ends[2]);
int __wrap_pipe2(int ends[2], int flags);
int __wrap_poll(struct pollfd *fds, nfds_t count, int wait_ms);
int __wrap___poll_chk(struct pollfd *fds, nfds_t count, int wait_ms, size_t room);
int __wrap_getaddrinfo(const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **found);
void __wrap_freeaddrinfo(struct addrinfo *found);

int __wrap_epoll_create1(int flags)
{
    (void)flags;
    struct file *file = socket_file_new(FILE_EPOLL);
    return file == NULL ? -1 : file->fd;
}

int __wrap_epoll_ctl(int set, int what, int fd, struct epoll_event *event)
{
    struct file *epoll = socket_file(set), *file = socket_file(fd);
    fiber_point();
    struct watch **at = &epoll->set;
    while (*at != NULL && (*at)->file != file)
        at = &(*at)->next_of_set;
    struct watch *w = *at;
    if ((w != NULL) == (what == EPOLL_CTL_ADD)) {
        errno = w != NULL ? EEXIST : ENOENT;
        return -1;
    }
    if (what == EPOLL_CTL_DEL) {
        *at = w->next_of_set;
        watch_leave_file(w);
        free(w);
        return 0;
    }
    REQUIRE((event->events & EPOLLET) == 0);
    if (w == NULL) {
        w = watch_new(file, &epoll->set_waiters);
        w->next_of_set = epoll->set;
        epoll->set = w;
    }
    w->events = event->events;
    w->data = event->data.u64;
    w->armed = true;
    if ((socket_events(file) & (w->events | EPOLLERR | EPOLLHUP)) != 0)
        waiters_wake_all(&epoll->set_waiters);
    return 0;
}

static int collect(struct file *epoll, struct epoll_event *events, int most)
{
    int count = 0, seen = 0;
    for (struct watch **at = &epoll->set; *at != NULL;) {
        struct watch *w = *at;
        if (w->file == NULL) {
            *at = w->next_of_set;
            free(w);
            continue;
        }
        at = &w->next_of_set;
        uint32_t is = socket_events(w->file) & (w->events | EPOLLERR | EPOLLHUP);
        if (!w->armed || is == 0)
            continue;
        seen++;
        if (count == most)
            continue; /* the next call has it */
        if ((w->events & EPOLLONESHOT) != 0)
            w->armed = false;
        /* In any order. */
        int place = (int)chance_below(luck(), (uint64_t)++count);
        events[count - 1] = events[place];
        events[place] = (struct epoll_event){.events = is, .data.u64 = w->data};
    }
    (void)seen;
    return count;
}

int __wrap_epoll_wait(int set, struct epoll_event *events, int most, int wait_ms)
{
    int64_t until_ns = wait_ms < 0 ? MACHINE_NEVER : machine_now_ns() + (int64_t)wait_ms * MS_NS;
    fiber_point();
    for (;;) {
        struct file *epoll = socket_file(set);
        int count = collect(epoll, events, most);
        if (count > 0 || wait_ms == 0 || !fiber_wait(&epoll->set_waiters, until_ns))
            return count;
    }
}

int __wrap_eventfd(unsigned first, int flags)
{
    struct file *file = socket_file_new(FILE_COUNTER);
    if (file == NULL)
        return -1;
    file->counter = first;
    file->nonblock = (flags & EFD_NONBLOCK) != 0;
    return file->fd;
}

int __wrap_eventfd_read(int fd, eventfd_t *value)
{
    return __wrap_read(fd, value, sizeof *value) == (ssize_t)sizeof *value ? 0 : -1;
}

int __wrap_eventfd_write(int fd, eventfd_t value)
{
    return __wrap_write(fd, &value, sizeof value) == (ssize_t)sizeof value ? 0 : -1;
}

/* A connection of the computer with itself: what the product uses a pipe for, to wake
 * somebody in poll(2), it does as well. */
int __wrap_pipe2(int ends[2], int flags)
{
    struct file *from = socket_file_new(FILE_STREAM), *to = socket_file_new(FILE_STREAM);
    REQUIRE(from != NULL && to != NULL);
    socket_pair(from, to);
    from->nonblock = to->nonblock = (flags & O_NONBLOCK) != 0;
    ends[0] = from->fd;
    ends[1] = to->fd;
    return 0;
}

int __wrap_pipe(int ends[2])
{
    return __wrap_pipe2(ends, 0);
}

/* ---- poll ---------------------------------------------------------------------------------- */

static int poll_look(struct pollfd *fds, nfds_t count)
{
    int ready = 0;
    for (nfds_t i = 0; i < count; i++) {
        fds[i].revents = 0;
        if (fds[i].fd < 0)
            continue;
        uint32_t is = socket_events(socket_file(fds[i].fd)); /* EPOLL* and POLL* are the same bits */
        fds[i].revents = (short)(is & ((uint32_t)(uint16_t)fds[i].events | EPOLLERR | EPOLLHUP));
        ready += fds[i].revents != 0;
    }
    return ready;
}

struct poll_wait {
    struct waiters waiters;
    struct watch *watches;
};

int __wrap_poll(struct pollfd *fds, nfds_t count, int wait_ms)
{
    int64_t until_ns = wait_ms < 0 ? MACHINE_NEVER : machine_now_ns() + (int64_t)wait_ms * MS_NS;
    fiber_point();
    for (;;) {
        int ready = poll_look(fds, count);
        if (ready > 0 || wait_ms == 0)
            return ready;
        struct poll_wait *p = calloc(1, sizeof *p);
        REQUIRE(p != NULL);
        for (nfds_t i = 0; i < count; i++)
            if (fds[i].fd >= 0) {
                struct watch *w = watch_new(socket_file(fds[i].fd), &p->waiters);
                w->next_of_set = p->watches;
                p->watches = w;
            }
        bool woken = fiber_wait(&p->waiters, until_ns);
        while (p->watches != NULL) {
            struct watch *w = p->watches;
            p->watches = w->next_of_set;
            if (w->file != NULL)
                watch_leave_file(w);
            free(w);
        }
        free(p);
        if (!woken)
            return poll_look(fds, count);
    }
}

int __wrap___poll_chk(struct pollfd *fds, nfds_t count, int wait_ms, size_t room)
{
    REQUIRE(count <= room / sizeof *fds);
    return __wrap_poll(fds, count, wait_ms);
}

/* ---- names ----------------------------------------------------------------------------------- */

int __wrap_getaddrinfo(const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **found)
{
    struct {
        struct addrinfo info;
        struct sockaddr_in at;
    } *made = calloc(1, sizeof *made);
    REQUIRE(made != NULL);
    made->at.sin_family = AF_INET;
    made->at.sin_port = htons((uint16_t)(service == NULL ? 0 : strtol(service, NULL, 10)));
    if (name == NULL || strcmp(name, "localhost") == 0) {
        made->at.sin_addr.s_addr = htonl(net_address_of(machine_node()));
    } else if (inet_pton(AF_INET, name, &made->at.sin_addr) != 1) {
        free(made);
        return EAI_NONAME;
    }
    made->info =
        (struct addrinfo){.ai_family = AF_INET,
                          .ai_socktype = hints == NULL || hints->ai_socktype == 0 ? SOCK_STREAM : hints->ai_socktype,
                          .ai_addrlen = sizeof made->at,
                          .ai_addr = (struct sockaddr *)(void *)&made->at};
    *found = &made->info;
    return 0;
}

void __wrap_freeaddrinfo(struct addrinfo *found)
{
    free(found);
}
