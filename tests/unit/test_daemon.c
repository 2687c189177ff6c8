#include "daemon/notify.h"
#include "daemon/options.h"
#include "support/unit.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { ARGS_MAX = 16 };

static struct fault fault;
static struct options options;
static struct config cfg;

/* The configuration that these arguments give. */
static enum kq_err given(const char *first, ...)
{
    char *argv[ARGS_MAX] = {(char *)(uintptr_t) "kafkaesqued"};
    int argc = 1;
    va_list args;
    va_start(args, first);
    for (const char *arg = first; arg != NULL; arg = va_arg(args, const char *))
        argv[argc++] = (char *)(uintptr_t)arg;
    va_end(args);
    memset(&fault, 0, sizeof fault);
    enum kq_err err = options_init(&options, argc, argv, &fault);
    if (err == KQ_OK)
        err = options_load(&options, &cfg, &fault);
    options_fini(&options);
    return err;
}

static void options_override_each_other_in_their_order(void)
{
    CU_ASSERT_EQUAL(given("--broker-id", "3", "--host=0.0.0.0", "--port", "1", "--set", "port=2", "--raft-port", "3",
                          "--data-dir", "/srv/d", NULL),
                    KQ_OK);
    CU_ASSERT_EQUAL(cfg.broker_id, 3);
    CU_ASSERT_STRING_EQUAL(cfg.host, "0.0.0.0");
    CU_ASSERT_EQUAL(cfg.port, 2);
    CU_ASSERT_EQUAL(cfg.raft_port, 3);
    CU_ASSERT_STRING_EQUAL(cfg.data_dir, "/srv/d");
}

static void the_command_line_stands_above_the_file(void)
{
    char path[] = "/tmp/test_daemon.XXXXXX";
    int fd = mkstemp(path);
    CU_ASSERT_EQUAL(write(fd, "port = 81\nhost = ::1\n", 21), 21);
    (void)close(fd);
    CU_ASSERT_EQUAL(given("--port", "82", "--config", path, NULL), KQ_OK);
    CU_ASSERT_EQUAL(cfg.port, 82);
    CU_ASSERT_STRING_EQUAL(cfg.host, "::1");
    (void)unlink(path);
}

static void the_data_folder_is_found_without_being_named(void)
{
    (void)unsetenv("STATE_DIRECTORY");
    (void)setenv("HOME", "/home/ann", 1);
    CU_ASSERT_EQUAL(given("--broker-id", "4", NULL), KQ_OK);
    CU_ASSERT_STRING_EQUAL(cfg.data_dir, "/home/ann/kafkaesque-4");
    (void)setenv("STATE_DIRECTORY", "/var/lib/kafkaesque:/var/lib/other", 1);
    CU_ASSERT_EQUAL(given(NULL), KQ_OK);
    CU_ASSERT_STRING_EQUAL(cfg.data_dir, "/var/lib/kafkaesque/kafkaesque-1");
    (void)unsetenv("STATE_DIRECTORY");
    (void)unsetenv("HOME");
    CU_ASSERT_EQUAL(given(NULL), KQ_INVALID);
    CU_ASSERT_PTR_NOT_NULL(strstr(fault.text, "--data-dir"));
}

static void wrong_options_are_named(void)
{
    static const struct {
        const char *args[2];
        const char *said;
    } wrong[] = {
        {{"--prot", "1"}, "unknown option --prot"},
        {{"--port", NULL}, "--port needs a value"},
        {{"--port", "http"}, "--port: port = http"},
        {{"--set", "line.mux=1MiB"}, "--set: unknown key line.mux; did you mean line.max?"},
        {{"--set", "port"}, "--set: port: key = value"},
        {{"start", NULL}, "unexpected argument start"},
        {{"--config", "/nonexistent"}, "/nonexistent"},
        {{"--check-config=yes", NULL}, "--check-config"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        CU_ASSERT_NOT_EQUAL(given(wrong[i].args[0], wrong[i].args[1], NULL), KQ_OK);
        CU_ASSERT_PTR_NOT_NULL(strstr(fault.text, wrong[i].said));
    }
}

/* Listens as a service manager does, sends, and returns what arrived. */
static const char *heard(const char *name, bool abstract)
{
    static char text[512];
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    size_t len = strlen(name);
    memcpy(at.sun_path, name, len);
    if (abstract)
        at.sun_path[0] = '\0';
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    CU_ASSERT_EQUAL(bind(fd, (struct sockaddr *)&at, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)), 0);
    (void)setenv("NOTIFY_SOCKET", name, 1);
    CU_ASSERT_TRUE(notify_send("READY=1\nSTATUS=%d", 7));
    ssize_t n = recv(fd, text, sizeof text - 1, 0);
    text[n > 0 ? n : 0] = '\0';
    (void)close(fd);
    (void)unsetenv("NOTIFY_SOCKET");
    return text;
}

static void the_service_manager_hears(void)
{
    char name[64];
    (void)snprintf(name, sizeof name, "/tmp/test_daemon.%d", (int)getpid());
    CU_ASSERT_STRING_EQUAL(heard(name, false), "READY=1\nSTATUS=7");
    (void)unlink(name);
    (void)snprintf(name, sizeof name, "@test_daemon.%d", (int)getpid());
    CU_ASSERT_STRING_EQUAL(heard(name, true), "READY=1\nSTATUS=7");
    CU_ASSERT_FALSE(notify_send("READY=1"));
}

static void the_watchdog_is_fed_twice_a_period_and_only_by_whom_it_means(void)
{
    char pid[32];
    (void)setenv("WATCHDOG_USEC", "30000000", 1);
    (void)unsetenv("WATCHDOG_PID");
    CU_ASSERT_EQUAL(notify_watchdog_us(), 15000000);
    (void)setenv("WATCHDOG_PID", "1", 1);
    CU_ASSERT_EQUAL(notify_watchdog_us(), 0);
    (void)snprintf(pid, sizeof pid, "%d", (int)getpid());
    (void)setenv("WATCHDOG_PID", pid, 1);
    CU_ASSERT_EQUAL(notify_watchdog_us(), 15000000);
    (void)setenv("WATCHDOG_USEC", "soon", 1);
    CU_ASSERT_EQUAL(notify_watchdog_us(), 0);
}

static void the_journal_is_known_by_its_inode(void)
{
    struct stat st;
    char stream[64];
    (void)unsetenv("JOURNAL_STREAM");
    CU_ASSERT_FALSE(notify_stderr_is_journal());
    CU_ASSERT_EQUAL(fstat(STDERR_FILENO, &st), 0);
    (void)snprintf(stream, sizeof stream, "%llu:%llu", (unsigned long long)st.st_dev, (unsigned long long)st.st_ino);
    (void)setenv("JOURNAL_STREAM", stream, 1);
    CU_ASSERT_TRUE(notify_stderr_is_journal());
    (void)setenv("JOURNAL_STREAM", "1:1", 1);
    CU_ASSERT_FALSE(notify_stderr_is_journal());
}

static const struct unit_case cases[] = {
    {"options override each other in their order", options_override_each_other_in_their_order},
    {"the command line stands above the file", the_command_line_stands_above_the_file},
    {"the data folder is found without being named", the_data_folder_is_found_without_being_named},
    {"wrong options are named", wrong_options_are_named},
    {"the service manager hears", the_service_manager_hears},
    {"the watchdog is fed twice a period and only by whom it means",
     the_watchdog_is_fed_twice_a_period_and_only_by_whom_it_means},
    {"the journal is known by its inode", the_journal_is_known_by_its_inode},
};
UNIT_MAIN("daemon", cases)
