/*
 * The real daemon under test: started on a folder of its own, waited for by
 * what it prints, stopped, killed, started again. And the temporary folders.
 *
 * Every daemon dies with the program that started it. A program that fails
 * leaves its folders behind and says where they are; one that passes removes
 * them. All calls are for the main thread. A call that cannot do its part calls
 * harness_fail and does not return, so nothing is to be checked unless the
 * contract says so.
 */
#ifndef KQ_TESTS_E2E_HARNESS_H
#define KQ_TESTS_E2E_HARNESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum {
    DAEMON_SETTINGS_MAX = 16,
    READY_MS = 30000, /* a start, with a sanitizer, on a busy machine */
    STOP_MS = 30000,
    REPLY_MS = 20000, /* any one reply */
};

/* What is not set is left to the daemon's defaults. */
struct daemon_spec {
    const char *dir;                           /* --data-dir */
    const char *settings[DAEMON_SETTINGS_MAX]; /* "key=value", each a --set */
    const char *config_file;
    const char *peers;   /* --peers */
    const char *host;    /* --host */
    const char *network; /* the path of a network namespace that it runs in */
    unsigned broker_id;  /* 0: not said */
    int raft_port;       /* 0: one that is free */
    int port;            /* 0: one that is free */
    int kafka_port;      /* likewise */
    uid_t uid;           /* not 0: run as this user */
    unsigned nofile;     /* not 0: RLIMIT_NOFILE */
    uint64_t cpus;       /* not 0: a mask of the cores it may use */
};

struct daemon;

/* Not defined in harness.c: fail_case.c ends the running CUnit case, the
 * benchmarks end the program. */
void harness_fail(const char *why) __attribute__((noreturn));

/* A fresh folder under $TMPDIR or /tmp; the text lives as long as the program. */
const char *temp_folder(const char *name);
/* "dir/name", in one of a few rotating buffers. */
const char *path_in(const char *dir, const char *name);

/* The path of the daemon's binary: $KAFKAESQUED, else beside this program. */
const char *daemon_binary(void);

/* Returns once it has said where it listens and answers PING there. */
struct daemon *daemon_start(const struct daemon_spec *spec);
/* The same in two halves: for brokers that wait for each other. */
struct daemon *daemon_begin(const struct daemon_spec *spec);
void daemon_ready(struct daemon *d);
/* For those that should not start: the exit code, or -1 if it was still running
 * after READY_MS (and was killed); what it printed, cut to size, in output. */
int daemon_refused(const struct daemon_spec *spec, char *output, size_t size);

/* Starts it and kills it after_us later, wherever it is by then. */
void daemon_start_and_kill(const struct daemon_spec *spec, int after_us);

int daemon_port(const struct daemon *d);
/* Once it is ready. */
int daemon_kafka_port(struct daemon *d);
/* As in its spec; NULL: this program's own. */
const char *daemon_network(const struct daemon *d);
pid_t daemon_pid(const struct daemon *d);
/* Microseconds from fork to its first line that says where it listens. */
int64_t daemon_ready_us(const struct daemon *d);

/* SIGTERM; the exit code, 128 + the signal if one ended it, -1 if it was still
 * there after STOP_MS (and was killed). Frees *d. */
int daemon_stop(struct daemon **d);
/* SIGKILL, and waits until it is gone. Frees *d. */
void daemon_kill(struct daemon **d);
void daemon_signal(struct daemon *d, int signal_number);
/* Waits for its end without asking for it; as daemon_stop. */
int daemon_wait(struct daemon **d, int wait_ms);
bool daemon_alive(const struct daemon *d);

/* The last of what it printed, for who reads of a failure. */
void daemon_show(struct daemon *d);
/* Waits until it has printed text since it started. False: not within wait_ms. */
bool daemon_said(struct daemon *d, const char *text, int wait_ms);

/* Evaluates condition(arg) until it holds, with a timer descriptor between.
 * False: it did not within wait_ms. For what no descriptor reports. */
bool wait_until(bool (*condition)(void *), void *arg, int wait_ms);

int64_t now_us(void);

/* A TCP port of loopback that nobody listens on, and that no connection is given
 * as its own port, so that it is still free when a daemon starts on it again. */
int free_port(void);

/* Raises the soft limit of open files as far as it goes; what it is now. */
unsigned raise_nofile(void);

/* Prints "skipped: reason" under the running case. */
void say_skipped(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
