/*
 * The daemon as a program: what it refuses to start on and with which words, its
 * signals, its options.
 */
#include "e2e/e2e.h"
#include "e2e/scenario.h"

#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* The exit codes of kafkaesqued(8). */
enum { EXIT_CONFIG = 2, EXIT_FOLDER = 3, EXIT_LISTEN = 4, EXIT_CUT_SHORT = 5, OUTPUT_BYTES = 8192 };

static void a_second_daemon_is_refused_with_the_pid_of_the_first(void)
{
    char output[OUTPUT_BYTES], pid[16];
    struct daemon_spec spec = {.dir = temp_folder("second")};
    struct daemon *d = daemon_start(&spec);
    CU_ASSERT_EQUAL(daemon_refused(&spec, output, sizeof(output)), EXIT_FOLDER);
    (void)snprintf(pid, sizeof(pid), "%d", (int)daemon_pid(d));
    REPLY_HOLDS(output, pid);
    REPLY_HOLDS(output, spec.dir);
    struct client *c = client_open(daemon_port(d)); /* the first goes on */
    topic_make(c, "t", 1, "");
    REPLY_IS(client_ask(c, "PUBS t {\"Body\":\"x\"}"), "Done");
    client_close(&c);
    daemon_kill(&d);
    d = daemon_start(&spec); /* a lock outlives nobody */
    daemon_end(&d);
}

/* Starts it on that port with stdin, stdout and stderr closed. */
static pid_t start_mute(const char *dir, const char *port)
{
    pid_t pid = fork();
    if (pid == 0) {
        for (int fd = 0; fd <= 2; fd++)
            (void)close(fd);
        (void)execl(daemon_binary(), "kafkaesqued", "--port", port, "--data-dir", dir, (char *)NULL);
        _exit(127);
    }
    return pid;
}

static bool answers(void *port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t) * (int *)port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool connected = connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0;
    (void)close(fd);
    return connected;
}

static void closed_standard_files_are_not_taken_for_its_own(void)
{
    char port_text[16];
    int status = 0;
    struct daemon *d = daemon_fresh("port");
    int port = daemon_port(d);
    daemon_end(&d);
    (void)snprintf(port_text, sizeof(port_text), "%d", port);
    const char *dir = temp_folder("mute");
    pid_t pid = start_mute(dir, port_text);
    CU_ASSERT(wait_until(answers, &port, READY_MS));
    struct client *c = client_open(port);
    REPLY_IS(client_ask(c, "CRTP t"), "Done");
    client_close(&c);
    CU_ASSERT_EQUAL(kill(pid, SIGTERM), 0);
    CU_ASSERT_EQUAL(waitpid(pid, &status, 0), pid);
    CU_ASSERT(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    CU_ASSERT(file_find(path_in(dir, "LOCK"), "listens", 7, false) < 0);
    CU_ASSERT(file_find(path_in(dir, "LOCK"), "stopping", 8, false) < 0);
}

static void a_taken_port_is_refused_by_number(void)
{
    char output[OUTPUT_BYTES], port[16];
    struct daemon *d = daemon_fresh("port");
    struct daemon_spec spec = {.dir = temp_folder("other"), .port = daemon_port(d)};
    CU_ASSERT_EQUAL(daemon_refused(&spec, output, sizeof(output)), EXIT_LISTEN);
    (void)snprintf(port, sizeof(port), "%d", daemon_port(d));
    REPLY_HOLDS(output, port);
    daemon_end(&d);
}

static void a_config_that_is_wrong_is_refused_with_file_and_line(void)
{
    static const struct {
        const char *text, *says, *line;
    } bad[] = {
        {"# fine\nsegment.bytes = 1MiB\nno.such.key = 1\n", "no.such.key", "3"},
        {"line.timeout = 30\n", "line.timeout", "1"},
        {"\n\nsegment.bytes = 12parsecs\n", "segment.bytes", "3"},
        {"workers.min = many\n", "workers.min", "1"},
        {"flush = sometimes\n", "flush", "1"},
        {"just words\n", "just words", "1"},
    };
    char output[OUTPUT_BYTES];
    const char *folder = temp_folder("config");
    const char *file = path_in(folder, "broker.conf");
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct daemon_spec spec = {.dir = path_in(folder, "data"), .config_file = file};
        CU_ASSERT(file_write(file, bad[i].text, strlen(bad[i].text)));
        CU_ASSERT_EQUAL(daemon_refused(&spec, output, sizeof(output)), EXIT_CONFIG);
        REPLY_HOLDS(output, bad[i].says);
        REPLY_HOLDS(output, "broker.conf");
        REPLY_HOLDS(output, bad[i].line);
    }
    struct daemon_spec spec = {.dir = path_in(folder, "data"), .settings = {"no.such.key=1"}};
    CU_ASSERT_EQUAL(daemon_refused(&spec, output, sizeof(output)), EXIT_CONFIG);
    REPLY_HOLDS(output, "no.such.key");
    spec = (struct daemon_spec){.dir = path_in(folder, "data"), .config_file = path_in(folder, "missing.conf")};
    CU_ASSERT_EQUAL(daemon_refused(&spec, output, sizeof(output)), EXIT_CONFIG);
    REPLY_HOLDS(output, "missing.conf");
}

static void a_config_file_is_read_and_options_win(void)
{
    static const char text[] = "# comment\ntopic.partitions.max = 7\nmessage.max.bytes = 2KiB # small\n";
    const char *folder = temp_folder("config");
    struct daemon_spec spec = {.dir = path_in(folder, "data"), .config_file = path_in(folder, "broker.conf")};
    CU_ASSERT(file_write(spec.config_file, text, strlen(text)));
    spec.settings[0] = "topic.partitions.max=9";
    struct daemon *d = daemon_start(&spec);
    struct client *c = client_open(daemon_port(d));
    REPLY_REFUSES(client_ask(c, "CRTP t 10"), "please try again with correct Partition number");
    REPLY_IS(client_ask(c, "CRTP t 9"), "Done");
    REPLY_REFUSES(client_ask(c, "PUBS t {\"Body\":\"%03000d\"}", 0), "too large");
    client_close(&c);
    daemon_end(&d);
}

static void a_read_only_folder_is_refused(void)
{
    char output[OUTPUT_BYTES];
    if (geteuid() != 0) {
        say_skipped("needs root, to become another user");
        return;
    }
    const char *folder = temp_folder("readonly");
    CU_ASSERT_EQUAL(chmod(folder, 0555), 0);
    struct daemon_spec spec = {.dir = folder, .uid = 65534};
    int code = daemon_refused(&spec, output, sizeof(output));
    if (code == 126 || code == 127) {
        say_skipped("another user cannot run the daemon here");
        return;
    }
    CU_ASSERT_EQUAL(code, EXIT_FOLDER);
    REPLY_HOLDS(output, folder);
}

static void no_folder_yet_is_made(void)
{
    const char *folder = path_in(temp_folder("new"), "kafkaesque-7");
    struct daemon_spec spec = {.dir = folder};
    struct daemon *d = daemon_start(&spec);
    CU_ASSERT_EQUAL(access(folder, F_OK), 0);
    daemon_end(&d);
    d = daemon_start(&spec);
    daemon_end(&d);
}

/* ---- signals ------------------------------------------------------------------------ */

static void sigterm_with_idle_and_waiting_sessions_ends_at_once(void)
{
    enum { IDLE = 50 };
    static struct client *idle[IDLE];
    char id[ID_BYTES], line[256];
    struct daemon *d = daemon_fresh("term");
    struct client *c = client_open(daemon_port(d));
    topic_make(c, "t", 1, "");
    publish_range(c, "t", "m", 0, 100, 0);
    subscribe(c, "t", "g", id);
    for (int i = 0; i < IDLE; i++)
        idle[i] = client_open(daemon_port(d));
    (void)snprintf(line, sizeof(line), "TAIL t %s\n", id);
    CU_ASSERT(client_send_text(c, line));
    CU_ASSERT(client_send_text(idle[0], "PUBS t {\"Body\":\"half a"));
    int64_t begin = now_us();
    CU_ASSERT_EQUAL(daemon_stop(&d), 0);
    CU_ASSERT(now_us() - begin < 10 * 1000000);
    for (int i = 0; i < IDLE; i++)
        client_close(&idle[i]);
    client_close(&c);
}

static void sigint_is_sigterm(void)
{
    struct daemon *d = daemon_fresh("int");
    daemon_signal(d, SIGINT);
    CU_ASSERT_EQUAL(daemon_wait(&d, STOP_MS), 0);
}

static void sigterm_with_a_client_that_never_reads(void)
{
    char id[ID_BYTES], line[256];
    struct daemon_spec spec = {.dir = temp_folder("term"), .settings = {"stop.timeout=1s"}};
    struct daemon *d = daemon_start(&spec);
    struct client *c = client_open(daemon_port(d)), *stuck = client_try_open(daemon_port(d), 4096);
    CU_ASSERT_PTR_NOT_NULL_FATAL(stuck);
    topic_make(c, "t", 1, "");
    publish_range(c, "t", "m", 0, 200, 100000);
    subscribe(c, "t", "g", id);
    (void)snprintf(line, sizeof(line), "CONS t %s 0\n", id);
    CU_ASSERT(client_send_text(stuck, line));
    CU_ASSERT_PTR_NULL(client_event(c, 100));
    int64_t begin = now_us();
    int code = daemon_stop(&d); /* its session is ended, or the stop says that it was cut short */
    CU_ASSERT(code == 0 || code == EXIT_CUT_SHORT);
    CU_ASSERT(now_us() - begin < 10 * 1000000);
    client_close(&c);
    client_close(&stuck);
}

static void sighup_takes_what_can_change_and_reopens_the_log(void)
{
    static const char before[] = "connections.per.address.max = 0\nlog.level = info\n";
    static const char after[] = "connections.per.address.max = 3\nlog.level = info\n";
    const char *folder = temp_folder("hup");
    struct daemon_spec spec = {.dir = path_in(folder, "data"), .config_file = path_in(folder, "broker.conf")};
    CU_ASSERT(file_write(spec.config_file, before, strlen(before)));
    struct daemon *d = daemon_start(&spec);
    struct client *c[6];
    for (int i = 0; i < 6; i++) {
        c[i] = client_open(daemon_port(d));
        REPLY_IS(client_ask(c[i], "PING"), "Done");
    }
    CU_ASSERT(file_write(spec.config_file, after, strlen(after)));
    daemon_signal(d, SIGHUP);
    CU_ASSERT(daemon_said(d, "connections.per.address.max", REPLY_MS));
    struct client *late = client_open(daemon_port(d));
    const char *reply = client_ask(late, "PING");
    CU_ASSERT_STRING_NOT_EQUAL(reply, "Done");
    REPLY_IS(client_ask(c[0], "PING"), "Done"); /* who is in stays in */
    client_close(&late);
    for (int i = 0; i < 6; i++)
        client_close(&c[i]);
    CU_ASSERT(file_write(spec.config_file, "rubbish\n", 8));
    daemon_signal(d, SIGHUP);
    CU_ASSERT(daemon_said(d, "rubbish", REPLY_MS)); /* said, and nothing else happens */
    CU_ASSERT(daemon_alive(d));
    daemon_end(&d);
}

struct log_wait {
    const char *path;
};

static bool log_is_there(void *arg)
{
    return file_bytes(((struct log_wait *)arg)->path) >= 0;
}

static void the_log_file_can_be_rotated(void)
{
    char setting[600], moved[600];
    const char *folder = temp_folder("rotate");
    const char *file = path_in(folder, "broker.log");
    (void)snprintf(setting, sizeof(setting), "log.file=%s", file);
    (void)snprintf(moved, sizeof(moved), "%s.1", file);
    struct daemon_spec spec = {.dir = path_in(folder, "data"), .settings = {setting}};
    struct daemon *d = daemon_start(&spec);
    struct log_wait w = {file};
    CU_ASSERT(wait_until(log_is_there, &w, REPLY_MS));
    CU_ASSERT_EQUAL(rename(file, moved), 0);
    daemon_signal(d, SIGHUP);
    CU_ASSERT(wait_until(log_is_there, &w, REPLY_MS));
    daemon_end(&d);
}

static void a_descriptor_limit_is_lived_with(void)
{
    enum { CLIENTS = 300 };
    static struct client *c[CLIENTS];
    int in = 0;
    struct daemon_spec spec = {.dir = temp_folder("nofile"), .nofile = 128, .settings = {"connections.max=1000"}};
    struct daemon *d = daemon_start(&spec);
    struct client *early = client_open(daemon_port(d));
    topic_make(early, "t", 1, "");
    for (int i = 0; i < CLIENTS; i++)
        if ((c[i] = client_try_open(daemon_port(d), 0)) != NULL)
            in++;
    CU_ASSERT(in > 100);
    publish_range(early, "t", "m", 0, 100, 0); /* who is in goes on */
    for (int i = 0; i < CLIENTS; i++)
        client_close(&c[i]);
    struct client *late = client_open(daemon_port(d)); /* and there is room again */
    REPLY_IS(client_ask(late, "PING"), "Done");
    client_close(&late);
    client_close(&early);
    CU_ASSERT(daemon_alive(d));
    daemon_end(&d);
}

static const struct unit_case cases[] = {
    {"a second daemon is refused with the pid of the first", a_second_daemon_is_refused_with_the_pid_of_the_first},
    {"closed standard files are not taken for its own", closed_standard_files_are_not_taken_for_its_own},
    {"a taken port is refused by number", a_taken_port_is_refused_by_number},
    {"a config that is wrong is refused with file and line", a_config_that_is_wrong_is_refused_with_file_and_line},
    {"a config file is read, and options win", a_config_file_is_read_and_options_win},
    {"a read-only folder is refused", a_read_only_folder_is_refused},
    {"a folder that is not there is made", no_folder_yet_is_made},
    {"SIGTERM with idle and waiting sessions ends at once", sigterm_with_idle_and_waiting_sessions_ends_at_once},
    {"SIGINT is SIGTERM", sigint_is_sigterm},
    {"SIGTERM with a client that never reads", sigterm_with_a_client_that_never_reads},
    {"SIGHUP takes what can change", sighup_takes_what_can_change_and_reopens_the_log},
    {"the log file can be rotated", the_log_file_can_be_rotated},
    {"a descriptor limit is lived with", a_descriptor_limit_is_lived_with},
};

E2E_MAIN("daemon", cases)
