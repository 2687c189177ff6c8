/*
 * The daemon: the process around a broker. Options and configuration, limits of
 * the process, the data folder's lock, signals, the service manager; the broker
 * itself (modules, threads, their order) is daemon/service.c.
 *
 * The main thread does nothing but wait for signals, and for the watchdog's
 * period when there is one. All signals are blocked in every other thread.
 */
#include "base/clock.h"
#include "base/config.h"
#include "base/datadir.h"
#include "base/err.h"
#include "base/logger.h"
#include "base/standard_files.h"
#include "base/threads.h"
#include "config.h"
#include "daemon/notify.h"
#include "daemon/options.h"
#include "daemon/service.h"

#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <unistd.h>

/* Also in options_help and kafkaesqued(8). */
enum exit_code {
    EXIT_STOPPED = 0,  /* stopped on request */
    EXIT_FAILED = 1,   /* a start that failed for another reason than those below */
    EXIT_USAGE = 2,    /* wrong options or configuration */
    EXIT_DATA = 3,     /* the data folder cannot be used */
    EXIT_LISTEN = 4,   /* cannot listen */
    EXIT_CUT_SHORT = 5 /* the stop hung, or a second SIGINT came */
};

/* Open files that are not clients: logs, timers, the two of each partition are
 * beside it. */
enum { FILES_BESIDE_CLIENTS = 64, STOP_GRACE_S = 10 };

/* What the heap keeps of memory that was given back: enough for the requests that are on their
 * way to a busy partition, so that their pages are not given to the system and taken from it
 * again with each of them, and little enough for a small process. */
enum { ARENAS = 2, HEAP_PIECE_MAX_BYTES = 4 << 20, HEAP_KEPT_BYTES = 12 << 20 };

static int say_and_fail(const struct fault *fault, int code)
{
    fprintf(stderr, "kafkaesqued: %s\n", fault_text(fault));
    return code;
}

/* ---- the process ----------------------------------------------------------------- */

/* As many open files as the system grants, and a word if that is too few. */
static void raise_file_limit(const struct config *cfg)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
        SAY_WARNING("cannot raise the limit of open files: %s", strerror(errno));
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY)
        return;
    if ((int64_t)limit.rlim_cur < cfg->connections_max + FILES_BESIDE_CLIENTS)
        SAY_WARNING("connections.max is %lld, but this process may open %llu files only; raise LimitNOFILE or "
                    "ulimit -n, or lower connections.max",
                    (long long)cfg->connections_max, (unsigned long long)limit.rlim_cur);
}

static void block_signals(sigset_t *waited)
{
    (void)sigemptyset(waited);
    (void)sigaddset(waited, SIGTERM);
    (void)sigaddset(waited, SIGINT);
    (void)sigaddset(waited, SIGHUP);
    (void)sigaddset(waited, SIGALRM);
    (void)pthread_sigmask(SIG_BLOCK, waited, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
}

/* ---- while it runs --------------------------------------------------------------- */

static void say_changed(void *arg, const struct config_key *key, bool live)
{
    (void)arg;
    if (live)
        SAY_NOTICE("reload: %s changed", key->name);
    else
        SAY_WARNING("reload: %s changed in the file, and takes effect at the next start", key->name);
}

static void reload(const struct options *options, struct config *cfg, struct service *service)
{
    struct fault fault = {.err = KQ_OK};
    struct config next;
    (void)notify_send("RELOADING=1\nMONOTONIC_USEC=%lld", (long long)clock_mono_us());
    if (logger_reopen(&fault) != KQ_OK)
        SAY_ERROR("reload: %s; writing on to the old one", fault_text(&fault));
    if (options_load(options, &next, &fault) == KQ_OK) {
        config_take_live(cfg, &next, say_changed, NULL);
        logger_set_level((enum logger_level)config_log_level(cfg));
        service_reload(service);
        SAY_NOTICE("reload: done");
    } else {
        SAY_ERROR("reload: %s; nothing was changed", fault_text(&fault));
    }
    (void)notify_send("READY=1");
}

/* Until SIGTERM or SIGINT. The watchdog is fed only while the broker's threads
 * turn. */
static void run(const sigset_t *waited, const struct options *options, struct config *cfg, struct service *service)
{
    int64_t watchdog_us = notify_watchdog_us();
    struct timespec period = {.tv_sec = watchdog_us / 1000000, .tv_nsec = watchdog_us % 1000000 * 1000};
    for (;;) {
        int signal_number = watchdog_us > 0 ? sigtimedwait(waited, NULL, &period) : sigwaitinfo(waited, NULL);
        if (signal_number == SIGHUP)
            reload(options, cfg, service);
        if (signal_number == SIGTERM || signal_number == SIGINT) {
            SAY_NOTICE("stopping on %s", signal_number == SIGTERM ? "SIGTERM" : "SIGINT");
            return;
        }
        if (watchdog_us > 0 && service_turns(service))
            (void)notify_send("WATCHDOG=1");
    }
}

/* ---- the end ---------------------------------------------------------------------- */

/* Async-signal-safe. What is acknowledged is on disk as `flush` promises, so
 * there is nothing to lose by leaving at once. */
static void leave_now(int signal_number)
{
    static const char late[] = "kafkaesqued: the stop took 10 s longer than stop.timeout; leaving at once\n";
    static const char again[] = "kafkaesqued: told to stop again; leaving at once\n";
    const char *text = signal_number == SIGALRM ? late : again;
    ssize_t n = write(STDERR_FILENO, text, signal_number == SIGALRM ? sizeof late - 1 : sizeof again - 1);
    (void)n;
    _exit(EXIT_CUT_SHORT);
}

/* From here on a second SIGINT ends the process, and so does a stop that hangs: clients have stop.timeout, and what
 * comes after them (partitions flush and close) STOP_GRACE_S more. */
static void bound_the_stop(int64_t timeout_us)
{
    struct sigaction leave = {.sa_handler = leave_now};
    sigset_t ends;
    (void)sigemptyset(&ends);
    (void)sigaddset(&ends, SIGALRM);
    (void)sigaddset(&ends, SIGINT);
    (void)sigaction(SIGALRM, &leave, NULL);
    (void)sigaction(SIGINT, &leave, NULL);
    struct itimerval timer = {
        .it_value = {.tv_sec = STOP_GRACE_S + timeout_us / 1000000, .tv_usec = timeout_us % 1000000}};
    (void)setitimer(ITIMER_REAL, &timer, NULL);
    (void)pthread_sigmask(SIG_UNBLOCK, &ends, NULL);
}

/* ---- the beginning ----------------------------------------------------------------- */

/* Where it listens, where its data is, what to type next. */
static void say_hello(const struct config *cfg, const struct service *service)
{
    char address[SERVICE_ADDRESS_BYTES];
    char host[SERVICE_ADDRESS_BYTES];
    unsigned port;
    service_address(service, address, host, &port);
    printf("kafkaesqued %s, broker %lld, listens on %s\n", PACKAGE_VERSION, (long long)cfg->broker_id, address);
    printf("its data is in %s\n", cfg->data_dir);
    if (service_kafka_port(service) != 0)
        printf("Kafka clients find it on port %u\n", service_kafka_port(service));
    printf("other brokers reach it on port %u\n", service_raft_port(service));
    printf("in another terminal, type: telnet %s %u   and there: CRTP hello   PUBS hello {\"Body\":\"Hello World!\"}   "
           "HELP\n",
           host, port);
    (void)fflush(stdout);
}

static int exit_code_of(enum service_part failed)
{
    switch (failed) {
    case SERVICE_BROKER:
        return EXIT_DATA;
    case SERVICE_LISTENERS:
        return EXIT_LISTEN;
    case SERVICE_NOTHING:
    case SERVICE_MEMORY:
        break;
    }
    return EXIT_FAILED;
}

/* While the start waits for other brokers; the signals are blocked, and stay for run() to take. */
static bool told_to_stop(void)
{
    sigset_t pending;
    return sigpending(&pending) == 0 && (sigismember(&pending, SIGTERM) == 1 || sigismember(&pending, SIGINT) == 1);
}

static int serve(const struct options *options, struct config *cfg, const sigset_t *waited)
{
    struct fault fault = {.err = KQ_OK};
    struct datadir *dir = NULL;
    struct service *service = NULL;
    enum service_part failed;
    if (datadir_open(&dir, cfg->data_dir, cfg->broker_id, true, &fault) != KQ_OK)
        return say_and_fail(&fault, EXIT_DATA);
    int code = EXIT_STOPPED;
    enum kq_err err = service_start(&service, cfg, PACKAGE_VERSION, told_to_stop, &failed, &fault);
    if (err == KQ_STOPPING) {
        SAY_NOTICE("%s", fault_text(&fault));
    } else if (err != KQ_OK) {
        code = say_and_fail(&fault, exit_code_of(failed));
    } else {
        say_hello(cfg, service);
        (void)notify_send("READY=1\nSTATUS=serving");
        run(waited, options, cfg, service);
        (void)notify_send("STOPPING=1");
        bound_the_stop(cfg->stop_timeout_us);
        service_stop(&service);
        SAY_NOTICE("stopped");
    }
    datadir_close(&dir);
    return code;
}

/* Names of other brokers are looked up by the threads that dial them, and a stop waits for
 * these: a name server that is silent holds it up for a second, not for ten. Who knows better
 * says so in the environment. */
static void hurry_look_ups(void)
{
    (void)setenv("RES_OPTIONS", "timeout:1 attempts:1", 0); /* resolv.conf(5) */
}

static void tune_heap(void)
{
    (void)mallopt(M_ARENA_MAX, ARENAS); /* one a core is many for so many threads */
    (void)mallopt(M_MMAP_THRESHOLD, HEAP_PIECE_MAX_BYTES);
    (void)mallopt(M_TRIM_THRESHOLD, HEAP_KEPT_BYTES);
}

static int start(const struct options *options)
{
    struct fault fault = {.err = KQ_OK};
    static struct config cfg; /* static: 4 KiB of text, and threads hold pointers to it */
    if (options_load(options, &cfg, &fault) != KQ_OK)
        return say_and_fail(&fault, EXIT_USAGE);
    if (options->action == OPTIONS_CHECK_CONFIG) {
        printf("the configuration is good; the data would be in %s\n", cfg.data_dir);
        return EXIT_STOPPED;
    }
    if (logger_open(cfg.log_file[0] != '\0' ? cfg.log_file : NULL, (enum logger_level)config_log_level(&cfg),
                    notify_stderr_is_journal(), &fault) != KQ_OK)
        return say_and_fail(&fault, EXIT_USAGE);
    sigset_t waited;
    block_signals(&waited);
    raise_file_limit(&cfg);
    thread_be_prompt();
    hurry_look_ups();
    tune_heap();
    int code = serve(options, &cfg, &waited);
    logger_close();
    return code;
}

int main(int argc, char **argv)
{
    struct fault fault = {.err = KQ_OK};
    struct options options;
    int code;
    standard_files_hold();
    if (options_init(&options, argc, argv, &fault) != KQ_OK) {
        code = say_and_fail(&fault, EXIT_USAGE);
    } else if (options.action == OPTIONS_HELP) {
        (void)fputs(options_help, stdout);
        code = EXIT_STOPPED;
    } else if (options.action == OPTIONS_VERSION) {
        printf("kafkaesqued %s\n", PACKAGE_VERSION);
        code = EXIT_STOPPED;
    } else {
        code = start(&options);
    }
    options_fini(&options);
    return code;
}
