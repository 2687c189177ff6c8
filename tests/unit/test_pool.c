/*
 * A hammer of many threads on the pool, and on connections: clients over real
 * sockets against a protocol whose answers come from other threads, late and
 * from several at once. Run it under the thread sanitizer.
 */
#include "base/clock.h"
#include "base/require.h"
#include "server/pool.h"
#include "server/server.h"
#include "support/unit.h"

#include <arpa/inet.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- the pool alone --------------------------------------------------------------- */

enum { POSTERS = 6, JOBS_EACH = 4000 };

struct counted_job {
    struct pool_job job;
    _Atomic int *left;
    bool lingers;
    bool blocks;
};

static void run_counted(struct pool_job *job, struct worker *worker)
{
    struct counted_job *counted = CONTAINER_OF(job, struct counted_job, job);
    if (counted->lingers && pool_linger_begin(worker->pool))
        pool_linger_end(worker->pool);
    if (counted->blocks) {
        pool_block_begin(worker->pool);
        worker->buffer[0] = 1;
        pool_block_end(worker->pool);
    }
    atomic_fetch_sub(counted->left, 1);
}

struct poster {
    struct pool *pool;
    struct counted_job *jobs;
};

static void *post_all(void *argument)
{
    struct poster *poster = argument;
    for (int i = 0; i < JOBS_EACH; i++)
        pool_post(poster->pool, &poster->jobs[i].job);
    return NULL;
}

static void every_job_runs_once(void)
{
    struct pool_options options = {.min = 1, .max = 8, .running_max = 3, .stack_bytes = 256 * 1024, .idle_us = 1000};
    for (int round = 0; round < 3; round++) {
        struct pool *pool = NULL;
        CU_ASSERT_EQUAL_FATAL(pool_start(&pool, &options, NULL), KQ_OK);
        _Atomic int left = POSTERS * JOBS_EACH;
        struct counted_job *jobs = calloc(POSTERS * JOBS_EACH, sizeof(*jobs));
        for (int i = 0; i < POSTERS * JOBS_EACH; i++) {
            jobs[i] = (struct counted_job){.left = &left, .lingers = i % 7 == 0, .blocks = i % 5 == 0};
            jobs[i].job.run = run_counted;
        }
        pthread_t threads[POSTERS];
        struct poster posters[POSTERS];
        for (int i = 0; i < POSTERS; i++) {
            posters[i] = (struct poster){.pool = pool, .jobs = jobs + i * JOBS_EACH};
            (void)pthread_create(&threads[i], NULL, post_all, &posters[i]);
        }
        for (int i = 0; i < POSTERS; i++)
            (void)pthread_join(threads[i], NULL);
        CU_ASSERT(pool_workers(pool) <= 8);
        pool_stop(&pool); /* runs what is queued */
        CU_ASSERT_EQUAL(atomic_load(&left), 0);
        free(jobs);
    }
}

static void the_pool_shrinks_to_its_minimum(void)
{
    struct pool_options options = {.min = 2, .max = 8, .stack_bytes = 256 * 1024, .idle_us = 1000};
    struct pool *pool = NULL;
    CU_ASSERT_EQUAL_FATAL(pool_start(&pool, &options, NULL), KQ_OK);
    _Atomic int left = 200;
    struct counted_job jobs[200];
    for (int i = 0; i < 200; i++) {
        jobs[i] = (struct counted_job){.job.run = run_counted, .left = &left, .blocks = true};
        pool_post(pool, &jobs[i].job);
    }
    int64_t until_us = clock_mono_us() + 10 * 1000 * 1000;
    while ((atomic_load(&left) > 0 || pool_workers(pool) != 2) && clock_mono_us() < until_us)
        (void)sched_yield();
    CU_ASSERT_EQUAL(pool_workers(pool), 2);
    pool_stop(&pool);
}

/* ---- a protocol: each line is answered by itself, later, in order ---------------------- */

struct echo;

struct echo_line {
    struct echo_line *next;       /* in the session's order */
    struct echo_line *next_asked; /* at the answerers */
    struct echo *echo;
    bool answered;
    size_t len;
    char text[];
};

struct echo {
    struct conn *conn;
    struct echo_line *first;
    struct echo_line **last;
    int waiting;
};

enum { ECHO_WAITING_MAX = 50, ANSWERERS = 3 };

static struct {
    pthread_mutex_t lock;
    pthread_cond_t some;
    struct echo_line *asked;
    bool stop;
} desk = {.lock = PTHREAD_MUTEX_INITIALIZER, .some = PTHREAD_COND_INITIALIZER};

static void desk_ask(struct echo_line *line)
{
    (void)pthread_mutex_lock(&desk.lock);
    line->next_asked = desk.asked; /* last in, first out: answers come out of order */
    desk.asked = line;
    (void)pthread_cond_signal(&desk.some);
    (void)pthread_mutex_unlock(&desk.lock);
}

static void echo_answer(struct echo_line *line)
{
    struct echo *echo = line->echo;
    struct conn *conn = echo->conn;
    struct echo_line *spent = NULL;
    conn_lock(conn);
    line->answered = true;
    while (echo->first != NULL && echo->first->answered) {
        struct echo_line *first = echo->first;
        echo->first = first->next;
        if (echo->first == NULL)
            echo->last = &echo->first;
        echo->waiting--;
        conn_put(conn, first->text, first->len);
        first->next = spent;
        spent = first;
    }
    conn_answered(conn);
    conn_unlock(conn);
    while (spent != NULL) {
        struct echo_line *next = spent->next;
        free(spent);
        conn_drop(conn);
        spent = next;
    }
}

static void *answerer(void *argument)
{
    (void)argument;
    (void)pthread_mutex_lock(&desk.lock);
    for (;;) {
        while (desk.asked == NULL && !desk.stop)
            (void)pthread_cond_wait(&desk.some, &desk.lock);
        struct echo_line *line = desk.asked;
        if (line == NULL)
            break;
        desk.asked = line->next_asked;
        (void)pthread_mutex_unlock(&desk.lock);
        echo_answer(line);
        (void)pthread_mutex_lock(&desk.lock);
    }
    (void)pthread_mutex_unlock(&desk.lock);
    return NULL;
}

static void echo_open(void *session, struct conn *conn)
{
    struct echo *echo = session;
    echo->conn = conn;
    echo->last = &echo->first;
}

static void echo_input(void *session, uint8_t *data, size_t size_bytes, struct worker *worker, struct conn_taken *taken)
{
    (void)worker;
    struct echo *echo = session;
    for (;;) {
        uint8_t *from = data + taken->bytes;
        uint8_t *end = memchr(from, '\n', size_bytes - taken->bytes);
        taken->mid_line = end == NULL && taken->bytes < size_bytes;
        if (end == NULL)
            return;
        conn_lock(echo->conn);
        taken->blocked = echo->waiting >= ECHO_WAITING_MAX;
        if (taken->blocked) {
            taken->mid_line = false;
            conn_unlock(echo->conn);
            return;
        }
        size_t len = (size_t)(end - from) + 1;
        struct echo_line *line = malloc(sizeof(*line) + len);
        *line = (struct echo_line){.echo = echo, .len = len};
        memcpy(line->text, from, len);
        *echo->last = line;
        echo->last = &line->next;
        echo->waiting++;
        (void)conn_hold(echo->conn);
        conn_unlock(echo->conn);
        taken->bytes += len;
        desk_ask(line);
    }
}

static bool echo_ready(const void *session)
{
    return ((const struct echo *)session)->waiting < ECHO_WAITING_MAX;
}

static bool echo_settled(const void *session)
{
    return ((const struct echo *)session)->waiting == 0;
}

static bool echo_may_linger(const void *session)
{
    (void)session;
    return true;
}

static bool echo_has_work(const void *session, size_t output_bytes)
{
    (void)session;
    (void)output_bytes;
    return false;
}

static void echo_nothing(void *session)
{
    (void)session;
}

static void echo_late(void *session)
{
    conn_put(((struct echo *)session)->conn, "late\n", 5);
}

static void echo_work(void *session, struct worker *worker)
{
    (void)session;
    (void)worker;
}

static const struct conn_protocol echo_protocol = {
    .name = "echo",
    .lines = true,
    .session_bytes = sizeof(struct echo),
    .open = echo_open,
    .input = echo_input,
    .work = echo_work,
    .ready = echo_ready,
    .may_linger = echo_may_linger,
    .has_work = echo_has_work,
    .settled = echo_settled,
    .late = echo_late,
    .cut = echo_nothing,
    .hangup = echo_nothing,
    .cancel = echo_nothing,
    .fini = echo_nothing,
};

/* ---- the frame: a server and its answerers ------------------------------------------- */

struct rig {
    struct config config;
    struct server *server;
    uint16_t port;
    pthread_t answerers[ANSWERERS];
};

static void rig_start(struct rig *rig, const char *const *settings)
{
    config_defaults(&rig->config);
    CU_ASSERT_EQUAL_FATAL(config_set(&rig->config, "port=0", "test", NULL), KQ_OK);
    CU_ASSERT_EQUAL_FATAL(config_set(&rig->config, "stack.bytes=256KiB", "test", NULL), KQ_OK);
    for (; settings != NULL && *settings != NULL; settings++)
        CU_ASSERT_EQUAL_FATAL(config_set(&rig->config, *settings, "test", NULL), KQ_OK);
    desk.stop = false;
    for (int i = 0; i < ANSWERERS; i++)
        (void)pthread_create(&rig->answerers[i], NULL, answerer, NULL);
    struct fault fault;
    CU_ASSERT_EQUAL_FATAL(server_new(&rig->server, &rig->config, &fault), KQ_OK);
    CU_ASSERT_EQUAL_FATAL(server_listen(rig->server, &echo_protocol, NULL, rig->config.host, 0, &rig->port, &fault),
                          KQ_OK);
    CU_ASSERT_EQUAL_FATAL(server_start(rig->server, &fault), KQ_OK);
}

static void rig_stop(struct rig *rig)
{
    server_stop(rig->server);
    (void)pthread_mutex_lock(&desk.lock);
    desk.stop = true;
    (void)pthread_cond_broadcast(&desk.some);
    (void)pthread_mutex_unlock(&desk.lock);
    for (int i = 0; i < ANSWERERS; i++)
        (void)pthread_join(rig->answerers[i], NULL);
    CU_ASSERT_EQUAL(server_memory_bytes(rig->server), 0);
    server_free(&rig->server);
}

static int dial(const struct rig *rig)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(rig->port)};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(fd, (struct sockaddr *)&at, sizeof(at)) != 0) {
        (void)close(fd);
        return -1;
    }
    struct timeval patience = {.tv_sec = 20};
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    return fd;
}

static ssize_t receive(int fd, void *bytes, size_t size)
{
    ssize_t n;
    do
        n = recv(fd, bytes, size, 0);
    while (n < 0 && errno == EINTR);
    return n;
}

static bool read_line(int fd, char *line, size_t cap)
{
    for (size_t len = 0; len + 1 < cap; len++) {
        if (receive(fd, line + len, 1) != 1)
            return false;
        if (line[len] == '\n') {
            line[len + 1] = '\0';
            return true;
        }
    }
    return false;
}

/* ---- many clients ------------------------------------------------------------------------ */

enum { CLIENTS = 12, LINES_EACH = 600 };

struct client {
    const struct rig *rig;
    int number;
    int failed;
};

/* Even clients send one line and wait, odd ones send all and then read; some
 * leave in the middle of a line. */
static void *client_main(void *argument)
{
    struct client *client = argument;
    int fd = dial(client->rig);
    client->failed = fd < 0;
    bool pipelined = client->number % 2 == 1;
    char line[64], got[64];
    for (int i = 0; i < LINES_EACH && pipelined && client->failed == 0; i++) {
        int len = snprintf(line, sizeof(line), "%d %d\n", client->number, i);
        client->failed |= send(fd, line, (size_t)len, MSG_NOSIGNAL) != len;
    }
    for (int i = 0; i < LINES_EACH && client->failed == 0; i++) {
        int len = snprintf(line, sizeof(line), "%d %d\n", client->number, i);
        if (!pipelined)
            client->failed |= send(fd, line, (size_t)len, MSG_NOSIGNAL) != len;
        client->failed |= !read_line(fd, got, sizeof(got)) || strcmp(got, line) != 0;
    }
    if (client->number % 3 == 0 && client->failed == 0)
        client->failed |= send(fd, "cut", 3, MSG_NOSIGNAL) != 3;
    if (fd >= 0)
        (void)close(fd);
    return NULL;
}

static void hammer(const char *const *settings)
{
    struct rig rig;
    rig_start(&rig, settings);
    pthread_t threads[CLIENTS];
    struct client clients[CLIENTS];
    for (int i = 0; i < CLIENTS; i++) {
        clients[i] = (struct client){.rig = &rig, .number = i};
        (void)pthread_create(&threads[i], NULL, client_main, &clients[i]);
    }
    for (int i = 0; i < CLIENTS; i++) {
        (void)pthread_join(threads[i], NULL);
        CU_ASSERT_EQUAL(clients[i].failed, 0);
    }
    rig_stop(&rig);
}

static void every_line_is_answered_in_order(void)
{
    hammer(NULL);
}

static void one_worker_without_linger_serves_all_too(void)
{
    const char *settings[] = {"workers.min=1", "workers.max=1", "worker.linger=0", NULL};
    hammer(settings);
}

static void what_was_sent_before_the_client_shut_its_side_is_answered(void)
{
    struct rig rig;
    rig_start(&rig, NULL);
    int fd = dial(&rig);
    char line[64];
    for (int i = 0; i < 300; i++) {
        int len = snprintf(line, sizeof(line), "line %d\n", i);
        CU_ASSERT_EQUAL(send(fd, line, (size_t)len, MSG_NOSIGNAL), len);
    }
    (void)shutdown(fd, SHUT_WR);
    for (int i = 0; i < 300; i++) {
        char wanted[64];
        (void)snprintf(wanted, sizeof(wanted), "line %d\n", i);
        CU_ASSERT_FATAL(read_line(fd, line, sizeof(line)));
        CU_ASSERT_STRING_EQUAL(line, wanted);
    }
    CU_ASSERT_EQUAL(receive(fd, line, 1), 0);
    (void)close(fd);
    rig_stop(&rig);
}

static void limits_are_answered_with_a_line(void)
{
    const char *settings[] = {"connections.max=3", "connections.per.address.max=2", NULL};
    struct rig rig;
    rig_start(&rig, settings);
    int first = dial(&rig), second = dial(&rig), third = dial(&rig);
    char line[200];
    CU_ASSERT_FATAL(read_line(third, line, sizeof(line)));
    CU_ASSERT_PTR_NOT_NULL(strstr(line, "Error, too many connections from your address"));
    CU_ASSERT_EQUAL(receive(third, line, 1), 0);
    (void)close(third);
    (void)close(second);
    int64_t until_us = clock_mono_us() + 10 * 1000 * 1000;
    bool served = false;
    while (!served && clock_mono_us() < until_us) { /* the place of the second is free again */
        second = dial(&rig);
        served = send(second, "here\n", 5, MSG_NOSIGNAL) == 5 && read_line(second, line, sizeof(line)) &&
                 strcmp(line, "here\n") == 0;
        if (!served)
            (void)close(second);
    }
    CU_ASSERT(served);
    (void)close(second);
    (void)close(first);
    rig_stop(&rig);
}

static void a_line_that_does_not_end_ends_the_session(void)
{
    const char *settings[] = {"line.timeout=200ms", NULL};
    struct rig rig;
    rig_start(&rig, settings);
    int fd = dial(&rig);
    CU_ASSERT_EQUAL(send(fd, "whole\nhalf", 10, MSG_NOSIGNAL), 10);
    char line[64];
    CU_ASSERT_FATAL(read_line(fd, line, sizeof(line)));
    CU_ASSERT_STRING_EQUAL(line, "whole\n");
    CU_ASSERT_FATAL(read_line(fd, line, sizeof(line)));
    CU_ASSERT_STRING_EQUAL(line, "late\n");
    CU_ASSERT_EQUAL(receive(fd, line, 1), 0);
    (void)close(fd);
    rig_stop(&rig);
}

static void who_does_not_read_is_ended_and_holds_nobody_up(void)
{
    const char *settings[] = {"reply.timeout=300ms", "workers.max=2", "memory.max=4MiB", NULL};
    struct rig rig;
    rig_start(&rig, settings);
    int rude = dial(&rig), polite = dial(&rig);
    char *much = malloc(1024 * 1024);
    memset(much, 'x', 1024 * 1024);
    for (size_t i = 999; i < 1024 * 1024; i += 1000)
        much[i] = '\n';
    bool open = true;
    char line[64];
    int64_t until_us = clock_mono_us() + 20 * 1000 * 1000;
    while (open && clock_mono_us() < until_us) {
        ssize_t sent = send(rude, much, 1024 * 1024, MSG_DONTWAIT | MSG_NOSIGNAL);
        open = sent >= 0 || errno == EAGAIN;
        CU_ASSERT_EQUAL_FATAL(send(polite, "please\n", 7, MSG_NOSIGNAL), 7);
        CU_ASSERT_FATAL(read_line(polite, line, sizeof(line)));
    }
    CU_ASSERT(!open);
    free(much);
    (void)close(rude);
    (void)close(polite);
    rig_stop(&rig);
}

enum { LARGE_LINE = 1024 * 1024, LARGE_CLIENTS = 12 };

struct large_client {
    const struct rig *rig;
    pthread_barrier_t *begun;
    int failed;
};

static void *large_main(void *argument)
{
    struct large_client *client = argument;
    char *line = malloc(LARGE_LINE);
    memset(line, 'l', LARGE_LINE);
    line[LARGE_LINE - 1] = '\n';
    int fd = dial(client->rig);
    client->failed = fd < 0;
    size_t half = LARGE_LINE / 2;
    client->failed |= send(fd, line, half, MSG_NOSIGNAL) != (ssize_t)half;
    (void)pthread_barrier_wait(client->begun); /* all have begun a line, none has ended it */
    client->failed |= send(fd, line + half, half, MSG_NOSIGNAL) != (ssize_t)half;
    for (size_t got = 0; got < LARGE_LINE && !client->failed;) {
        ssize_t n = receive(fd, line, LARGE_LINE - got);
        client->failed = n <= 0;
        got += n > 0 ? (size_t)n : 0;
    }
    (void)close(fd);
    free(line);
    return NULL;
}

/* Begun lines of all together are three times what memory.max allows. */
static void begun_lines_beyond_memory_max_end_one_after_the_other(void)
{
    const char *settings[] = {"memory.max=4MiB", "line.max=2MiB", "line.timeout=5s", NULL};
    struct rig rig;
    rig_start(&rig, settings);
    pthread_t threads[LARGE_CLIENTS];
    struct large_client clients[LARGE_CLIENTS];
    pthread_barrier_t begun;
    (void)pthread_barrier_init(&begun, NULL, LARGE_CLIENTS + 1);
    for (int i = 0; i < LARGE_CLIENTS; i++) {
        clients[i] = (struct large_client){.rig = &rig, .begun = &begun};
        (void)pthread_create(&threads[i], NULL, large_main, &clients[i]);
    }
    int64_t until_us = clock_mono_us() + 10 * 1000 * 1000;
    while (server_memory_bytes(rig.server) <= rig.config.memory_max_bytes && clock_mono_us() < until_us)
        (void)sched_yield();
    CU_ASSERT(server_memory_bytes(rig.server) > rig.config.memory_max_bytes);
    (void)pthread_barrier_wait(&begun);
    for (int i = 0; i < LARGE_CLIENTS; i++) {
        (void)pthread_join(threads[i], NULL);
        CU_ASSERT_EQUAL(clients[i].failed, 0);
    }
    (void)pthread_barrier_destroy(&begun);
    rig_stop(&rig);
}

static void a_stop_delivers_what_was_read(void)
{
    struct rig rig;
    rig_start(&rig, NULL);
    int fd = dial(&rig);
    char line[64];
    CU_ASSERT_EQUAL(send(fd, "one\n", 4, MSG_NOSIGNAL), 4);
    CU_ASSERT_FATAL(read_line(fd, line, sizeof(line)));
    rig_stop(&rig);
    CU_ASSERT_EQUAL(receive(fd, line, 1), 0);
    (void)close(fd);
}

static const struct unit_case cases[] = {
    {"every job runs once", every_job_runs_once},
    {"the pool shrinks to its minimum", the_pool_shrinks_to_its_minimum},
    {"every line is answered in order", every_line_is_answered_in_order},
    {"one worker without linger serves all too", one_worker_without_linger_serves_all_too},
    {"what was sent before the client shut its side is answered",
     what_was_sent_before_the_client_shut_its_side_is_answered},
    {"limits are answered with a line", limits_are_answered_with_a_line},
    {"a line that does not end ends the session", a_line_that_does_not_end_ends_the_session},
    {"who does not read is ended and holds nobody up", who_does_not_read_is_ended_and_holds_nobody_up},
    {"begun lines beyond memory.max end one after the other", begun_lines_beyond_memory_max_end_one_after_the_other},
    {"a stop delivers what was read", a_stop_delivers_what_was_read},
};
UNIT_MAIN("pool and connections", cases)
