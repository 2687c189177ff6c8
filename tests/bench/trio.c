/* Starting, ending and breaking three servers; who of them leads. */
#include "bench/trio.h"

#include "bench/etcd.h"
#include "bench/nats.h"
#include "e2e/client.h"
#include "e2e/fleet.h"
#include "e2e/network.h"
#include "e2e/probe.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WHOLE_MS = 60000, ASK_MS = 250, ARG_BYTES = 512 };

static const char *const binaries[] = {
    [SERVER_REDIS] = "/usr/bin/redis-server", [SERVER_NATS] = "/usr/sbin/nats-server", [SERVER_ETCD] = "/usr/bin/etcd"};

bool have_kind(enum server_kind kind)
{
    return kind == SERVER_OURS || access(binaries[kind], X_OK) == 0;
}

/* ---- starting ------------------------------------------------------------------- */

static const char *host_of(const struct trio *t, int i)
{
    return t->networks ? network_address(i + 1) : "127.0.0.1";
}

static const char *listen_host(const struct trio *t)
{
    return t->networks ? "0.0.0.0" : "127.0.0.1";
}

static void write_nats_file(const struct trio *t, int i, const char *path)
{
    FILE *f = fopen(path, "w");
    if (f == NULL)
        harness_fail("cannot write the configuration of NATS");
    fprintf(f, "server_name: n%d\nlisten: \"%s:%d\"\nping_interval: \"1h\"\n", i, listen_host(t), t->servers[i].port);
    fprintf(f, "jetstream { store_dir: \"%s\", max_memory_store: 67108864, max_file_store: 17179869184 }\n",
            t->servers[i].dir);
    fprintf(f, "cluster {\n  name: bench\n  listen: \"%s:%d\"\n  routes: [", listen_host(t), t->raft_ports[i]);
    for (int k = 0; k < TRIO; k++)
        fprintf(f, "%s\"nats-route://%s:%d\"", k > 0 ? ", " : "", host_of(t, k), t->raft_ports[k]);
    fprintf(f, "]\n}\n");
    (void)fclose(f);
}

static void run_nats(const struct trio *t, int i)
{
    const char *path = path_in(t->servers[i].dir, "server.conf");
    (void)execl(binaries[SERVER_NATS], "nats-server", "-c", path, (char *)NULL);
}

static void run_etcd(const struct trio *t, int i)
{
    char all[ARG_BYTES] = "", name[16], client[ARG_BYTES], reached[ARG_BYTES], peer[ARG_BYTES], peered[ARG_BYTES];
    for (int k = 0; k < TRIO; k++) {
        size_t used = strlen(all);
        (void)snprintf(all + used, sizeof(all) - used, "%se%d=http://%s:%d", k > 0 ? "," : "", k, host_of(t, k),
                       t->raft_ports[k]);
    }
    (void)snprintf(name, sizeof(name), "e%d", i);
    (void)snprintf(client, sizeof(client), "http://%s:%d", listen_host(t), t->servers[i].port);
    (void)snprintf(reached, sizeof(reached), "http://%s:%d", host_of(t, i), t->servers[i].port);
    (void)snprintf(peer, sizeof(peer), "http://%s:%d", listen_host(t), t->raft_ports[i]);
    (void)snprintf(peered, sizeof(peered), "http://%s:%d", host_of(t, i), t->raft_ports[i]);
    (void)execl(binaries[SERVER_ETCD], "etcd", "--name", name, "--data-dir", path_in(t->servers[i].dir, "data"),
                "--listen-client-urls", client, "--advertise-client-urls", reached, "--listen-peer-urls", peer,
                "--initial-advertise-peer-urls", peered, "--initial-cluster", all, "--initial-cluster-state", "new",
                "--initial-cluster-token", "bench", "--logger", "zap", (char *)NULL);
}

static void launch(struct trio *t, int i)
{
    struct server *s = &t->servers[i];
    const char *log_path = path_in(s->dir, "output.log");
    pid_t parent = getpid();
    s->pid = fork();
    if (s->pid < 0)
        harness_fail("fork");
    if (s->pid > 0)
        return;
    int log = open(log_path, O_RDWR | O_CREAT | O_APPEND, 0644);
    (void)dup2(log, STDOUT_FILENO);
    (void)dup2(log, STDERR_FILENO);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    bool alone = getppid() != parent;
    if (alone || (s->network != NULL && setns(open(s->network, O_RDONLY | O_CLOEXEC), CLONE_NEWNET) != 0))
        _exit(126);
    if (t->kind == SERVER_NATS)
        run_nats(t, i);
    else
        run_etcd(t, i);
    _exit(127);
}

struct asking {
    const struct trio *t;
    int found;
};

/* NATS makes it once its own leader is elected; to be asked until then. */
static bool stream_is_made(void *arg)
{
    struct asking *a = arg;
    struct client *c = server_try_connect(&a->t->servers[0]);
    if (c == NULL)
        return false;
    const char *answer = nats_ask(c, "STREAM.CREATE." TRIO_TARGET,
                                  "{\"name\":\"" TRIO_TARGET "\",\"subjects\":[\"" TRIO_TARGET "\"],"
                                  "\"retention\":\"limits\",\"storage\":\"file\",\"num_replicas\":3,"
                                  "\"max_msgs\":-1,\"max_bytes\":-1,\"discard\":\"old\"}",
                                  ASK_MS);
    bool made = answer != NULL && strstr(answer, "\"config\":") != NULL; /* this one, or an earlier try */
    client_close(&c);
    return made;
}

static void start_fleet(struct trio *t, const char *const *settings)
{
    struct fleet_spec spec = {.brokers = TRIO, .networks = t->networks};
    for (int i = 0; settings != NULL && settings[i] != NULL && i < DAEMON_SETTINGS_MAX; i++)
        spec.settings[i] = settings[i];
    t->fleet = fleet_form(&spec);
    for (int i = 0; i < TRIO; i++) {
        t->servers[i].port = fleet_port(t->fleet, i + 1);
        t->servers[i].pid = fleet_pid(t->fleet, i + 1);
        t->servers[i].network = fleet_network(t->fleet, i + 1);
        t->servers[i].dir = fleet_dir(t->fleet, i + 1);
    }
    server_create(&t->servers[0], TRIO_TARGET, 1);
}

void trio_start(struct trio *t, enum server_kind kind, bool networks, const char *const *settings)
{
    *t = (struct trio){.kind = kind, .networks = networks};
    for (int i = 0; i < TRIO; i++)
        t->servers[i].kind = kind;
    if (kind == SERVER_OURS) {
        start_fleet(t, settings);
        trio_wait_whole(t);
        return;
    }
    for (int i = 0; i < TRIO; i++) {
        t->servers[i].dir = temp_folder(kind == SERVER_NATS ? "nats" : "etcd");
        t->servers[i].port = free_port();
        t->raft_ports[i] = free_port();
        if (networks) {
            network_make(i + 1);
            t->servers[i].network = network_path(i + 1);
        }
    }
    for (int i = 0; i < TRIO; i++) {
        if (kind == SERVER_NATS)
            write_nats_file(t, i, path_in(t->servers[i].dir, "server.conf"));
        launch(t, i);
    }
    struct asking a = {.t = t};
    if (kind == SERVER_NATS && !wait_until(stream_is_made, &a, WHOLE_MS))
        harness_fail("NATS did not make its stream");
    trio_wait_whole(t);
}

void trio_stop(struct trio *t)
{
    if (t->fleet != NULL) {
        fleet_end(&t->fleet);
        return;
    }
    for (int i = 0; i < TRIO; i++)
        (void)kill(t->servers[i].pid, SIGTERM);
    for (int i = 0; i < TRIO; i++)
        (void)waitpid(t->servers[i].pid, NULL, 0);
}

/* ---- who leads ------------------------------------------------------------------------ */

/* The leader as server i sees it; -1: it cannot say. */
static int leader_of_nats(const struct trio *t, struct client *c)
{
    (void)t;
    const char *answer = nats_ask(c, "STREAM.INFO." TRIO_TARGET, "", ASK_MS);
    const char *at = answer != NULL ? strstr(answer, "\"leader\":\"n") : NULL;
    int leader = at != NULL ? at[strlen("\"leader\":\"n")] - '0' : -1;
    return leader >= 0 && leader < TRIO ? leader : -1;
}

static int leader_of_etcd(const struct trio *t, struct client *c)
{
    struct etcd_status told, own;
    if (!etcd_status(c, &told) || told.leader == 0)
        return -1;
    for (int i = 0; i < TRIO; i++) {
        struct client *each = server_try_connect(&t->servers[i]);
        bool is = each != NULL && etcd_status(each, &own) && own.member == told.leader && own.leader == own.member;
        client_close(&each);
        if (is)
            return i;
    }
    return -1;
}

/* The leader as all of them know it; one that was broken
 * may still believe in itself. */
static bool leader_is_known(void *arg)
{
    struct asking *a = arg;
    const struct trio *t = a->t;
    a->found = -1;
    for (int i = 0; i < TRIO; i++) {
        int told = -1;
        if (t->kind == SERVER_OURS)
            told = fleet_leader(t->fleet, i + 1, TRIO_TARGET, 0, 0) - 1;
        else {
            struct client *c = server_try_connect(&t->servers[i]);
            if (c != NULL)
                told = t->kind == SERVER_NATS ? leader_of_nats(t, c) : leader_of_etcd(t, c);
            client_close(&c);
        }
        if (told < 0 || (a->found >= 0 && told != a->found))
            return false;
        a->found = told;
    }
    return true;
}

int trio_leader(const struct trio *t)
{
    struct asking a = {.t = t};
    if (!wait_until(leader_is_known, &a, WHOLE_MS))
        harness_fail("three servers do not agree who leads");
    return a.found;
}

/* They agree on a leader; and that of NATS names two replicas that are current. */
static bool is_whole(void *arg)
{
    struct asking *a = arg;
    if (!leader_is_known(a))
        return false;
    if (a->t->kind != SERVER_NATS)
        return true;
    struct client *c = server_try_connect(&a->t->servers[a->found]);
    const char *answer = c != NULL ? nats_ask(c, "STREAM.INFO." TRIO_TARGET, "", ASK_MS) : NULL;
    bool whole =
        answer != NULL && strstr(answer, "\"current\":true") != NULL && strstr(answer, "\"current\":false") == NULL;
    client_close(&c);
    return whole;
}

void trio_wait_whole(const struct trio *t)
{
    struct asking a = {.t = t};
    if (t->kind == SERVER_OURS && !fleet_whole(t->fleet, TRIO, WHOLE_MS))
        harness_fail("three brokers did not become whole");
    if (!wait_until(is_whole, &a, WHOLE_MS))
        harness_fail("three servers did not become whole");
}

/* ---- breaking ---------------------------------------------------------------------------- */

void trio_break(struct trio *t, int i, enum trio_fault fault)
{
    if (fault == TRIO_PAUSE)
        (void)kill(t->servers[i].pid, SIGSTOP);
    else if (fault == TRIO_CUT)
        network_cut(i + 1);
    else if (t->fleet != NULL)
        fleet_kill(t->fleet, i + 1);
    else {
        (void)kill(t->servers[i].pid, SIGKILL);
        (void)waitpid(t->servers[i].pid, NULL, 0);
    }
}

void trio_mend(struct trio *t, int i, enum trio_fault fault)
{
    if (fault == TRIO_PAUSE)
        (void)kill(t->servers[i].pid, SIGCONT);
    else if (fault == TRIO_CUT)
        network_heal(i + 1);
    else if (t->fleet != NULL) {
        fleet_start(t->fleet, i + 1);
        t->servers[i].pid = fleet_pid(t->fleet, i + 1);
    } else
        launch(t, i);
}

/* ---- counting ------------------------------------------------------------------------------- */

int64_t trio_cpu_us(const struct trio *t)
{
    int64_t us = 0;
    for (int i = 0; i < TRIO; i++)
        us += proc_cpu_us(t->servers[i].pid);
    return us;
}

int64_t trio_counter(const struct trio *t, const char *name)
{
    int64_t sum = 0;
    for (int i = 0; i < TRIO; i++) {
        int64_t n = server_counter(&t->servers[i], name);
        if (n < 0)
            return -1;
        sum += n;
    }
    return sum;
}
