/* Starting, ending and cutting off the brokers of a cluster; asking what they see of each other. */
#include "e2e/fleet.h"

#include "e2e/json.h"
#include "e2e/network.h"

#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

enum { PEERS_BYTES = 512, HOST_BYTES = 128, SEEN_BYTES = 4096 };

struct member {
    struct daemon *daemon; /* NULL: down */
    const char *dir;
    int port, kafka_port, raft_port;
    const char *host;
    const char *network; /* NULL: this program's */
};

struct fleet {
    int size;
    bool networks;
    char peers[PEERS_BYTES];
    const char *settings[DAEMON_SETTINGS_MAX];
    struct member members[FLEET_MAX + 1]; /* by number, from 1 */
};

static const struct member *see(const struct fleet *f, int id)
{
    if (id < 1 || id > f->size)
        harness_fail("no such broker in this fleet");
    return &f->members[id];
}

static int networked(const struct fleet *f, int id)
{
    (void)see(f, id);
    if (!f->networks)
        harness_fail("this fleet has no networks of its own");
    return id;
}

static struct member *member_of(struct fleet *f, int id)
{
    (void)see(f, id);
    return &f->members[id];
}

/* ---- cables ------------------------------------------------------------------- */

void fleet_cut(struct fleet *f, int id)
{
    (void)networked(f, id);
    network_cut(id);
}

void fleet_heal(struct fleet *f, int id)
{
    (void)networked(f, id);
    network_heal(id);
}

void fleet_cut_one_way(struct fleet *f, int from, int to)
{
    network_cut_one_way(networked(f, from), networked(f, to));
}

void fleet_heal_one_way(struct fleet *f, int from, int to)
{
    network_heal_one_way(networked(f, from), networked(f, to));
}

/* ---- starting and ending --------------------------------------------------------- */

static void add_member(struct fleet *f)
{
    if (f->size == FLEET_MAX)
        harness_fail("more brokers than a fleet may have");
    struct member *m = &f->members[++f->size];
    m->host = "127.0.0.1";
    if (f->networks) {
        network_make(f->size);
        m->host = network_address(f->size);
        m->network = network_path(f->size);
    }
    m->port = free_port();
    m->raft_port = free_port();
    m->kafka_port = free_port();
    m->dir = temp_folder("broker");
}

static void begin_member(struct fleet *f, int id)
{
    struct member *m = member_of(f, id);
    if (m->daemon != NULL)
        harness_fail("this broker runs already");
    struct daemon_spec spec = {.dir = m->dir, .port = m->port, .raft_port = m->raft_port, .broker_id = (unsigned)id};
    spec.peers = f->peers;
    spec.kafka_port = m->kafka_port;
    if (f->networks) {
        spec.host = "0.0.0.0";
        spec.network = m->network;
    }
    memcpy(spec.settings, f->settings, sizeof(spec.settings));
    size_t used = 0;
    while (used < DAEMON_SETTINGS_MAX && spec.settings[used] != NULL)
        used++;
    char advertised[HOST_BYTES];
    (void)snprintf(advertised, sizeof(advertised), "advertised.host=%s", m->host);
    if (f->networks && used < DAEMON_SETTINGS_MAX)
        spec.settings[used] = advertised;
    spec.nofile = raise_nofile();
    m->daemon = daemon_begin(&spec);
}

/* Into the list of peers that brokers are started with. */
static void list_member(struct fleet *f, int id)
{
    size_t used = strlen(f->peers);
    (void)snprintf(f->peers + used, sizeof(f->peers) - used, "%s%d@%s:%d", used > 0 ? "," : "", id, f->members[id].host,
                   f->members[id].raft_port);
}

struct fleet *fleet_form(const struct fleet_spec *spec)
{
    struct fleet *f = calloc(1, sizeof(*f));
    if (f == NULL)
        abort();
    f->networks = spec->networks;
    memcpy(f->settings, spec->settings, sizeof(f->settings));
    for (int i = 0; i < spec->brokers; i++)
        add_member(f);
    for (int id = 1; id <= f->size; id++)
        list_member(f, id);
    fleet_start_all(f);
    if (!fleet_whole(f, f->size, FORM_MS))
        harness_fail("the brokers did not form a cluster");
    return f;
}

void fleet_start(struct fleet *f, int id)
{
    begin_member(f, id);
    daemon_ready(f->members[id].daemon);
}

void fleet_start_all(struct fleet *f)
{
    bool begun[FLEET_MAX + 1] = {false};
    for (int id = 1; id <= f->size; id++) {
        begun[id] = f->members[id].daemon == NULL;
        if (begun[id])
            begin_member(f, id);
    }
    for (int id = 1; id <= f->size; id++)
        if (begun[id])
            daemon_ready(f->members[id].daemon);
}

int fleet_grow(struct fleet *f)
{
    add_member(f);
    list_member(f, f->size);
    fleet_start(f, f->size);
    return f->size;
}

void fleet_stop(struct fleet *f, int id)
{
    int code = daemon_stop(&member_of(f, id)->daemon);
    if (code == 0)
        return;
    fprintf(stderr, "\nbroker %d: exit code %d\n", id, code);
    harness_fail("a broker did not stop with exit code 0");
}

void fleet_kill(struct fleet *f, int id)
{
    daemon_kill(&member_of(f, id)->daemon);
}

void fleet_drop(struct fleet **f)
{
    for (int id = 1; id <= (*f)->size; id++)
        if ((*f)->members[id].daemon != NULL)
            fleet_kill(*f, id);
    free(*f);
    *f = NULL;
}

void fleet_end(struct fleet **f)
{
    bool clean = true;
    for (int id = 1; id <= (*f)->size; id++)
        if ((*f)->members[id].daemon != NULL)
            daemon_signal((*f)->members[id].daemon, SIGTERM);
    for (int id = 1; id <= (*f)->size; id++)
        if ((*f)->members[id].daemon != NULL)
            clean = daemon_wait(&(*f)->members[id].daemon, STOP_MS) == 0 && clean;
    if (!clean)
        harness_fail("a broker did not stop with exit code 0");
    free(*f);
    *f = NULL;
}

static int remove_below(const char *path, const struct stat *st, int flag, struct FTW *walk)
{
    (void)st, (void)flag;
    return walk->level == 0 || remove(path) == 0 ? 0 : -1;
}

void fleet_wipe(struct fleet *f, int id)
{
    struct member *m = member_of(f, id);
    if (m->daemon != NULL || nftw(m->dir, remove_below, 16, FTW_DEPTH | FTW_PHYS) != 0)
        harness_fail("a broker's folder could not be emptied");
}

static bool has_stopped(void *pid)
{
    siginfo_t info = {.si_pid = 0};
    return waitid(P_PID, (id_t) * (pid_t *)pid, &info, WSTOPPED | WNOHANG) == 0 && info.si_pid != 0;
}

/* A process stops when one of its threads gets to run, and the others run until then. */
void fleet_pause(struct fleet *f, int id)
{
    pid_t pid = daemon_pid(member_of(f, id)->daemon);
    daemon_signal(member_of(f, id)->daemon, SIGSTOP);
    if (!wait_until(has_stopped, &pid, STOP_MS))
        harness_fail("a broker does not stand still");
}

void fleet_resume(struct fleet *f, int id)
{
    daemon_signal(member_of(f, id)->daemon, SIGCONT);
}

/* ---- looking at one --------------------------------------------------------------- */

int fleet_size(const struct fleet *f)
{
    return f->size;
}

bool fleet_runs(const struct fleet *f, int id)
{
    return see(f, id)->daemon != NULL;
}

int fleet_port(const struct fleet *f, int id)
{
    return see(f, id)->port;
}

int fleet_kafka_port(const struct fleet *f, int id)
{
    return see(f, id)->kafka_port;
}

int fleet_raft_port(const struct fleet *f, int id)
{
    return see(f, id)->raft_port;
}

pid_t fleet_pid(const struct fleet *f, int id)
{
    return daemon_pid(fleet_daemon(f, id));
}

const char *fleet_dir(const struct fleet *f, int id)
{
    return see(f, id)->dir;
}

const char *fleet_network(const struct fleet *f, int id)
{
    return see(f, id)->network;
}

struct daemon *fleet_daemon(const struct fleet *f, int id)
{
    struct daemon *d = see(f, id)->daemon;
    if (d == NULL)
        harness_fail("this broker is down");
    return d;
}

struct client *fleet_client(const struct fleet *f, int id)
{
    return client_open_in(fleet_network(f, id), fleet_port(f, id));
}

struct client *fleet_try_client(const struct fleet *f, int id)
{
    return client_try_open_in(fleet_network(f, id), fleet_port(f, id));
}

/* ---- waiting for the cluster ---------------------------------------------------------- */

/* A question to one broker, and what is looked for in the answer. */
struct question {
    const struct fleet *fleet;
    int id, alive, found;
    const char *ask, *path;
    char seen[SEEN_BYTES]; /* the last answer, for who reads of a failure */
};

/* The answer; freed by the caller's json_close. False: it cannot be asked now. */
static bool ask(struct question *q, int id, struct json *answer)
{
    struct client *c = fleet_try_client(q->fleet, id);
    if (c == NULL)
        return false;
    const char *reply = client_ask(c, "%s", q->ask);
    (void)snprintf(q->seen, sizeof(q->seen), "broker %d: %s", id, reply);
    *answer = json_open(reply);
    client_close(&c);
    return true;
}

static bool number_is_known(void *arg)
{
    struct question *q = arg;
    struct json j;
    if (!ask(q, q->id, &j))
        return false;
    int64_t n = json_number(&j, q->path);
    json_close(&j);
    q->found = n > 0 && n <= q->fleet->size ? (int)n : 0;
    return q->found != 0;
}

static int first_running(const struct fleet *f)
{
    for (int id = 1; id <= f->size; id++)
        if (f->members[id].daemon != NULL)
            return id;
    harness_fail("no broker of this fleet runs");
}

static int ask_number(const struct fleet *f, int id, const char *question, const char *path, int wait_ms)
{
    struct question q = {.fleet = f, .id = id != 0 ? id : first_running(f), .ask = question, .path = path};
    return wait_until(number_is_known, &q, wait_ms) ? q.found : 0;
}

int fleet_leader(const struct fleet *f, int id, const char *topic, int partition, int wait_ms)
{
    char question[300], path[64];
    (void)snprintf(question, sizeof(question), "DESC %s", topic);
    (void)snprintf(path, sizeof(path), "Data.Partitions.%d.Leader", partition);
    return ask_number(f, id, question, path, wait_ms);
}

int fleet_controller(const struct fleet *f, int id, int wait_ms)
{
    return ask_number(f, id, "INFO", "Data.Controller", wait_ms);
}

static bool sees_all(const struct json *j, int alive)
{
    int count = 0;
    char path[64];
    for (int64_t i = 0; i < json_count(j, "Data.Brokers"); i++) {
        (void)snprintf(path, sizeof(path), "Data.Brokers.%d.Alive", (int)i);
        count += json_is_true(j, path);
    }
    return count == alive && json_number(j, "Data.Totals.Leaderless") == 0 &&
           json_number(j, "Data.Totals.Lacking") == 0 && json_number(j, "Data.Totals.Moving") == 0;
}

static bool is_whole(void *arg)
{
    struct question *q = arg;
    for (int id = 1; id <= q->fleet->size; id++) {
        struct json j;
        if (q->fleet->members[id].daemon == NULL)
            continue;
        if (!ask(q, id, &j))
            return false;
        bool whole = sees_all(&j, q->alive);
        json_close(&j);
        if (!whole)
            return false;
    }
    return true;
}

bool fleet_whole(const struct fleet *f, int alive, int wait_ms)
{
    struct question q = {.fleet = f, .alive = alive, .ask = "CLUS STATUS"};
    bool whole = wait_until(is_whole, &q, wait_ms);
    if (!whole)
        fprintf(stderr, "\nnot whole: %s\n", q.seen);
    for (int id = 1; id <= f->size && !whole; id++)
        if (f->members[id].daemon != NULL)
            daemon_show(f->members[id].daemon);
    return whole;
}
