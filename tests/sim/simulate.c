/*
 * The driver: a seed is a run of a whole cluster and its clients under faults, then
 * without them, then judged. Each runs in a child process, so that a broker's
 * REQUIRE that fails is the failure of that seed. See --help.
 */
#include "base/require.h"
#include "sim/brokers.h"
#include "sim/budgets.h"
#include "sim/calm.h"
#include "sim/clients.h"
#include "sim/frames.h"
#include "sim/judge.h"
#include "sim/leaders.h"
#include "sim/ledger.h"
#include "sim/machine.h"
#include "sim/nemesis.h"
#include "sim/net.h"
#include "sim/replicas.h"
#include "sim/scenarios.h"
#include "sim/states.h"
#include "sim/tail.h"
#include "sim/trace.h"
#include "sim/variant.h"
#include "support/checker.h"
#include "support/raft_world.h"

#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    TAIL_LINES = 60,
    CPU_LIMIT_S = 120,
    MAKE_TOPICS_S = 60,
    READ_ALL_S = 120,
    LATE_S = 600,
    BACK_S = 60,
    STORY_PUBLISHES = 2000, /* the story is what matters */
    SETTLE_S = 240,         /* a damaged length may be waited for so long: 160 MiB at 1 MiB/s */
    CALM_S = 4,
    BUDGETS_IN = 4, /* of so many seeds one: the model must rest for long */
    STACK_BYTES = 64 * 1024,
    STEPS_A_SECOND_MAX = 2000 * 1000,
};

struct options {
    uint64_t seed, seeds;
    unsigned brokers;
    bool trace, twice, once, first, hard;
    bool flush_interval, kafka;
    const struct scenario *scenario; /* in place of faults by chance */
    bool core;                       /* replicas of the consensus core alone */
    int64_t seconds, hours;
};

/* What a child says; in memory that both see. */
struct outcome {
    uint64_t hash;
    int64_t model_ns;
    int64_t led_ns;  /* after the faults, until every group has a leader */
    int64_t back_ns; /* after the faults, until every partition takes messages again */
    uint64_t steps, published, acknowledged, messages, promises, resets, states;
    bool ended, good;
};

static struct {
    struct options options;
    struct outcome *outcome;
    struct node *harness;
    uint64_t seed;
} sim;

static const unsigned told_kinds =
    1U << TRACE_FAULT | 1U << TRACE_BROKER | 1U << TRACE_JUDGE | 1U << TRACE_NET | 1U << TRACE_CLIENT;

/* ---- one seed ------------------------------------------------------------------------- */

static void failed(const char *why)
{
    fprintf(stderr, "seed %" PRIu64 " FAILED: %s\n  what explains it, of its trace:\n", sim.seed, why);
    tail_show(why, told_kinds, TAIL_LINES);
    const struct scenario *story = sim.options.scenario;
    fprintf(stderr, "  all of it: tests/sim/simulate --seed %" PRIu64 " --brokers %u%s%s%s%s%s --trace\n", sim.seed,
            sim.options.brokers, sim.options.hard ? " --hard" : "", sim.options.kafka ? " --kafka" : "",
            sim.options.flush_interval ? " --flush interval" : "", story != NULL ? " --scenario " : "",
            story != NULL ? story->name : "");
    fflush(stderr);
}

static void on_signal(int number)
{
    (void)signal(number, SIG_DFL);
    failed(number == SIGABRT   ? "a condition that must hold did not (see above)"
           : number == SIGXCPU ? "it runs on and on"
                               : "a bad access to memory");
    (void)raise(number);
}

static void catch_signals(void)
{
    static uint8_t stack[STACK_BYTES];
    stack_t alternative = {.ss_sp = stack, .ss_size = sizeof stack};
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_ONSTACK};
    (void)sigaltstack(&alternative, NULL);
    (void)sigaction(SIGABRT, &action, NULL);
    (void)sigaction(SIGSEGV, &action, NULL);
    (void)sigaction(SIGXCPU, &action, NULL);
}

/* The first finding, in words that the tail looks for. */
static void first_finding(const struct check_report *report, char *why, size_t bytes)
{
    int len = snprintf(why, bytes, "the history of the clients shows what must never be");
    for (int kind = 0; kind < CHECK_KINDS; kind++)
        if (report->counts[kind] > 0) {
            const struct check_finding *f = &report->examples[kind][0];
            len += snprintf(why + len, bytes - (size_t)len, ": %s: t%u/%u v%" PRIu64, check_name((enum check_kind)kind),
                            f->key / CLIENTS_PARTITIONS_MAX, f->key % CLIENTS_PARTITIONS_MAX, f->value);
            for (unsigned i = 0; i < f->op_count; i++)
                len += snprintf(why + len, bytes - (size_t)len, ", operation %" PRIu32, f->ops[i]);
            return;
        }
}

/* The judge's words, on stderr with the tail. */
static bool judged(void)
{
    struct check_report *report = calloc(1, sizeof *report);
    REQUIRE(report != NULL);
    bool good = checker_judge(clients_history(), report);
    if (!good) {
        checker_print(report, clients_history(), stderr);
        char why[400];
        first_finding(report, why, sizeof why);
        failed(why);
    }
    free(report);
    return good;
}

static bool play(void)
{
    const char *why = "";
    struct chance chance = chance_of(sim.seed, 80);
    if (sim.options.scenario != NULL && sim.options.scenario->begin != NULL)
        sim.options.scenario->begin(&chance);
    else
        for (unsigned i = 1; i <= brokers_count(); i++)
            broker_boot(brokers_at(i));
    if (!clients_make_topics(MAKE_TOPICS_S * S_NS)) {
        failed("topics could not be created");
        return false;
    }
    clients_start();
    if (sim.options.scenario != NULL) {
        if (!sim.options.scenario->play(&chance))
            return false;
    } else {
        nemesis_start();
        fiber_sleep(sim.options.seconds * S_NS);
    }
    nemesis_stop();
    sim.outcome->back_ns = clients_probe(BACK_S * S_NS);
    if (sim.outcome->back_ns < 0) {
        failed("long after the faults there is a partition that takes no message");
        return false;
    }
    fiber_sleep(CALM_S * S_NS);
    clients_stop();
    if (!cluster_settles(SETTLE_S * S_NS, &why)) {
        fprintf(stderr, "%s\n", why);
        failed("long after the faults the cluster is not whole");
        return false;
    }
    if (clients_probe(BACK_S * S_NS) < 0) { /* once more: behind whatever groups have committed */
        failed("at rest there is a partition that takes no message");
        return false;
    }
    int64_t final_ns = machine_now_ns();
    history_final(clients_history(), final_ns);
    if (!clients_read_all(READ_ALL_S * S_NS, &why)) {
        failed(why);
        return false;
    }
    if (clients_lost())
        history_forget(clients_history(), final_ns);
    else
        clients_tell_places();
    if (!judged())
        return false;
    if (sim.seed % BUDGETS_IN == 0 && brokers_count() > 1 && !variant_forgets())
        budgets_judge();
    for (unsigned i = 1; i <= brokers_count(); i++)
        broker_shut(brokers_at(i));
    if (!replicas_agree(&why)) {
        failed(why);
        return false;
    }
    return true;
}

/* Looks every now and then whether anybody turns without end: time would stand still for
 * a user, while the model's goes on. */
static void look_for_spinning(void *context, uint64_t steps_before)
{
    (void)context;
    uint64_t steps = machine_steps();
    if (steps - steps_before > STEPS_A_SECOND_MAX)
        judge_fails("somebody spins: %" PRIu64 " calls of the system in a second of the model, the last by %s",
                    steps - steps_before, machine_last());
    machine_at(machine_now_ns() + S_NS, look_for_spinning, NULL, steps);
}

/* Long after the end: somebody waits for what never comes. */
static void too_late(void *context, uint64_t number)
{
    (void)context;
    (void)number;
    failed("it does not come to an end");
    machine_show();
    sim.outcome->good = false;
    machine_stop();
}

static void *director(void *argument)
{
    (void)argument;
    sim.outcome->good = play();
    machine_stop();
    return NULL;
}

/* The consensus core alone, in the model world of tests/support/raft_world.h. */
static void run_core(void)
{
    struct outcome *o = sim.outcome;
    if (sim.options.trace)
        (void)setenv("RAFT_TRACE", "1", 1);
    struct world *world = world_play(sim.seed);
    o->good = !world->failed;
    if (world->failed)
        fprintf(stderr, "seed %" PRIu64 " FAILED: %s\n", sim.seed, world->failure);
    o->model_ns = world->now_us * 1000;
    o->steps = world->events;
    o->published = o->acknowledged = world->commits;
    o->hash = (uint64_t)world->now_us << 32 ^ world->events << 16 ^ world->commits;
    o->ended = true;
}

static void draw_world(void)
{
    variant_draw_machines(sim.seed);
    switch (sim.options.scenario == NULL ? WORLD_DRAWN : sim.options.scenario->world) {
    case WORLD_DRAWN:
        variant_draw(sim.seed, sim.options.flush_interval, sim.options.brokers == 1);
        break;
    case WORLD_KEEPS_ALL:
        break;
    case WORLD_DELETES:
        variant_deletes(sim.seed);
        break;
    case WORLD_INTERVAL:
        variant_flushes_late();
        break;
    }
}

static int run_seed(void)
{
    struct rlimit cpu = {.rlim_cur = CPU_LIMIT_S, .rlim_max = CPU_LIMIT_S + 10};
    (void)setrlimit(RLIMIT_CPU, &cpu);
    catch_signals();
    if (sim.options.core) {
        run_core();
        return sim.outcome->good ? 0 : 1;
    }
    trace_start(sim.options.trace);
    machine_start(sim.seed);
    draw_world();
    net_start(sim.seed);
    sim.harness = node_new("clients");
    net_add(sim.harness);
    ledger_start(sim.seed, !sim.options.hard && sim.options.scenario == NULL);
    frames_start(BROKER_RAFT_PORT, sim.seed);
    brokers_new(sim.options.scenario != NULL ? sim.options.scenario->brokers : sim.options.brokers, sim.seed);
    clients_new(sim.harness, sim.seed);
    if (sim.options.kafka)
        clients_speak_kafka();
    if (sim.options.scenario != NULL) {
        clients_plan()->replicas = sim.options.scenario->replicas;
        clients_plan()->publishes_max = STORY_PUBLISHES;
        if (clients_plan()->producers == 0 && !variant()->power_of_many)
            clients_plan()->producers = 1; /* what a replica knows of them must stand every story */
    }
    nemesis_new(sim.harness, sim.seed, sim.options.hard);
    fiber_detach(fiber_start(sim.harness, "director", 1024 * 1024, director, NULL));
    machine_at((sim.options.seconds + MAKE_TOPICS_S + READ_ALL_S + LATE_S) * S_NS, too_late, NULL, 0);
    calm_start();
    machine_at(S_NS, look_for_spinning, NULL, 0);
    if (!machine_run())
        failed("all wait for each other");
    if (judge_verdict() != NULL) {
        failed(judge_verdict());
        sim.outcome->good = false;
    }
    struct outcome *o = sim.outcome;
    o->hash = trace_hash();
    o->model_ns = machine_now_ns();
    o->steps = machine_steps();
    o->published = clients_published();
    o->acknowledged = clients_acknowledged();
    o->messages = ledger_messages();
    o->promises = ledger_promises();
    o->resets = ledger_resets();
    o->states = states_compared();
    o->led_ns = leaders_took_ns();
    o->ended = true;
    return o->good ? 0 : 1;
}

/* ---- many --------------------------------------------------------------------------------- */

static double cpu_of_children(void)
{
    struct rusage use;
    (void)getrusage(RUSAGE_CHILDREN, &use);
    return (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
           (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e6;
}

static bool child(uint64_t seed, struct outcome *outcome)
{
    memset(sim.outcome, 0, sizeof *sim.outcome);
    sim.seed = seed;
    (void)fflush(NULL);
    pid_t pid = fork();
    REQUIRE(pid >= 0);
    if (pid == 0)
        _exit(run_seed());
    int status;
    REQUIRE(waitpid(pid, &status, 0) == pid);
    *outcome = *sim.outcome;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 && outcome->ended;
}

/* The same seed gives the same run, or the report of a failure is worth nothing. */
static bool same_again(uint64_t seed, const struct outcome *first)
{
    struct outcome second;
    (void)child(seed, &second);
    if (second.hash == first->hash && second.steps == first->steps)
        return true;
    fprintf(stderr, "seed %" PRIu64 " FAILED: two runs of it differ: hash %016" PRIx64 " and %016" PRIx64 "\n", seed,
            first->hash, second.hash);
    return false;
}

static bool goes_on(uint64_t done, time_t began)
{
    return sim.options.hours > 0 ? time(NULL) - began < sim.options.hours * 3600 : done < sim.options.seeds;
}

static int run_all(void)
{
    uint64_t bad = 0;
    int64_t model_ns = 0;
    uint64_t ran = 0;
    for (time_t began = time(NULL); goes_on(ran, began) && !(bad > 0 && sim.options.first); ran++) {
        uint64_t seed = sim.options.seed + ran;
        struct outcome o;
        double before = cpu_of_children();
        bool good = child(seed, &o);
        double took = cpu_of_children() - before;
        if (good && (sim.options.twice || (ran == 0 && !sim.options.once)))
            good = same_again(seed, &o);
        printf("seed %" PRIu64 ": %s, hash %016" PRIx64 ", %.1f s of the model in %.2f s, %" PRIu64
               " published, %" PRIu64 " acknowledged, %" PRIu64 " steps, %" PRIu64 " raft messages, %" PRIu64
               " promises, %" PRIu64 " resets, %" PRIu64 " states, led in %.1f s, back in %.1f s\n",
               seed, good ? "good" : "FAILED", o.hash, (double)o.model_ns / 1e9, took, o.published, o.acknowledged,
               o.steps, o.messages, o.promises, o.resets, o.states, (double)o.led_ns / 1e9, (double)o.back_ns / 1e9);
        bad += !good;
        model_ns += o.model_ns;
    }
    double cpu = cpu_of_children();
    printf("%" PRIu64 " seeds, %" PRIu64 " failed; %.4f simulated hours a CPU second\n", ran, bad,
           cpu > 0 ? (double)model_ns / 3.6e12 / cpu : 0.0);
    return bad == 0 ? 0 : 1;
}

static void list_scenarios(FILE *to)
{
    unsigned count;
    const struct scenario *table = scenarios(&count);
    for (unsigned i = 0; i < count; i++)
        fprintf(to, "    %-18s %s\n", table[i].name, table[i].what);
}

static void usage(FILE *to)
{
    fprintf(to,
            "simulate [--world brokers|core] [--scenario NAME] [--hard] [--kafka] [--flush always|interval] [--seed N] "
            "[--seeds COUNT | --hours H] [--brokers "
            "N] [--seconds S] "
            "[--trace] [--twice | --once] [--first]\n"
            "  Runs whole brokers and their clients on one thread with a model clock, disk and\n"
            "  network, under faults drawn from the seed, and judges what clients were told.\n"
            "  --seeds COUNT   that many, from --seed on; --seconds S of faults each\n"
            "  --hard          disks are wiped and operators give orders, too\n"
            "  --kafka         some clients speak Kafka's protocol\n"
            "  --flush interval brokers acknowledge before the disk has it\n"
            "  --hours H       as many as there is time for, by the real clock\n"
            "  --trace         prints all that happens; --twice: every seed twice, to compare\n"
            "  --once          none twice; else it is the first\n"
            "  --first         ends at the first seed that fails\n"
            "  --scenario NAME a story in place of faults by chance:\n");
    list_scenarios(to);
}

static uint64_t number(const char *text)
{
    char *end;
    uint64_t n = strtoull(text, &end, 10);
    if (*text == '\0' || *end != '\0') {
        fprintf(stderr, "simulate: %s is no number\n", text);
        exit(2);
    }
    return n;
}

static const struct scenario *scenario_of(const char *name)
{
    unsigned count;
    const struct scenario *table = scenarios(&count);
    for (unsigned i = 0; i < count; i++)
        if (strcmp(table[i].name, name) == 0)
            return &table[i];
    fprintf(stderr, "simulate: there is no scenario %s; there are:\n", name);
    list_scenarios(stderr);
    exit(2);
}

static bool is_core(const char *world)
{
    if (strcmp(world, "core") != 0 && strcmp(world, "brokers") != 0) {
        fprintf(stderr, "simulate: there is no world %s; brokers or core\n", world);
        exit(2);
    }
    return strcmp(world, "core") == 0;
}

int main(int argc, char **argv)
{
    static const struct option known[] = {
        {"seed", required_argument, NULL, 's'},     {"seeds", required_argument, NULL, 'n'},
        {"brokers", required_argument, NULL, 'b'},  {"seconds", required_argument, NULL, 't'},
        {"trace", no_argument, NULL, 'v'},          {"twice", no_argument, NULL, '2'},
        {"hard", no_argument, NULL, 'x'},           {"kafka", no_argument, NULL, 'k'},
        {"first", no_argument, NULL, '1'},          {"hours", required_argument, NULL, 'H'},
        {"scenario", required_argument, NULL, 'S'}, {"flush", required_argument, NULL, 'f'},
        {"world", required_argument, NULL, 'w'},    {"once", no_argument, NULL, 'o'},
        {"help", no_argument, NULL, 'h'},           {NULL, 0, NULL, 0}};
    sim.options = (struct options){.seed = 1, .seeds = 1, .brokers = 1, .seconds = 20};
    for (int c; (c = getopt_long(argc, argv, "", known, NULL)) != -1;) {
        if (c == 's')
            sim.options.seed = number(optarg);
        else if (c == 'n')
            sim.options.seeds = number(optarg);
        else if (c == 'b')
            sim.options.brokers = (unsigned)number(optarg);
        else if (c == 't')
            sim.options.seconds = (int64_t)number(optarg);
        else if (c == 'H')
            sim.options.hours = (int64_t)number(optarg);
        else if (c == 'v')
            sim.options.trace = true;
        else if (c == 'S')
            sim.options.scenario = scenario_of(optarg);
        else if (c == 'w')
            sim.options.core = is_core(optarg);
        else if (c == 'f')
            sim.options.flush_interval = strcmp(optarg, "interval") == 0;
        else if (c == 'x')
            sim.options.hard = true;
        else if (c == 'k')
            sim.options.kafka = true;
        else if (c == '1')
            sim.options.first = true;
        else if (c == '2')
            sim.options.twice = true;
        else if (c == 'o')
            sim.options.once = true;
        else {
            usage(c == 'h' ? stdout : stderr);
            return c == 'h' ? 0 : 2;
        }
    }
#if defined(__SANITIZE_THREAD__)
    printf("there is one thread here, and the thread sanitizer knows nothing of fibers: skipped\n");
    return 77;
#endif
    sim.outcome = mmap(NULL, sizeof *sim.outcome, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    REQUIRE(sim.outcome != MAP_FAILED);
    return run_all();
}
