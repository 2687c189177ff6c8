/* Running the client, and what came of it. */
#include "e2e/command.h"

#include "e2e/e2e.h"

#include <fcntl.h>
#include <sys/wait.h>

enum { WORDS_MAX = 24 };

char command_printed[COMMAND_OUTPUT_BYTES];

const char *command_file(const char *name)
{
    static const char *folder;
    if (folder == NULL)
        folder = temp_folder("client");
    return path_in(folder, name);
}

static const char *binary(void)
{
    static char path[1024];
    const char *daemon = daemon_binary(); /* the client lies beside it: src/kafkaesque[d] */
    (void)snprintf(path, sizeof(path), "%.*s", (int)strlen(daemon) - 1, daemon);
    return path;
}

pid_t command_begin(const char *brokers, const char *input, const char *output, const char *const *words)
{
    char error[600];
    const char *argv[WORDS_MAX + 2] = {binary()};
    for (size_t i = 0; i < WORDS_MAX && words[i] != NULL; i++)
        argv[i + 1] = words[i];
    (void)snprintf(error, sizeof(error), "%s.error", output);
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    int in = open(input == NULL ? "/dev/null" : input, O_RDONLY);
    int out = open(output, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    int err = open(error, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (in < 0 || out < 0 || err < 0 || dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(err, 2) < 0 ||
        setenv("KAFKAESQUE_ADDRESS", brokers, 1) != 0)
        _exit(126);
    char *words_copy[WORDS_MAX + 2];
    memcpy(words_copy, argv, sizeof(argv));
    execv(words_copy[0], words_copy);
    _exit(127);
}

int command_finish(pid_t pid)
{
    int status = 0;
    if (waitpid(pid, &status, 0) != pid)
        return -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static size_t slurp(const char *path, char *text, size_t size)
{
    FILE *f = fopen(path, "r");
    size_t len = f == NULL ? 0 : fread(text, 1, size - 1, f);
    text[len] = 0;
    if (f != NULL)
        (void)fclose(f);
    return len;
}

void command_slurp(const char *path)
{
    (void)slurp(path, command_printed, sizeof(command_printed));
}

int command_run(const char *brokers, const char *input, const char *const *words)
{
    char output[600];
    (void)snprintf(output, sizeof(output), "%s", command_file("output"));
    int code = command_finish(command_begin(brokers, input, output, words));
    size_t len = slurp(output, command_printed, sizeof(command_printed));
    (void)snprintf(output, sizeof(output), "%s", command_file("output.error"));
    (void)slurp(output, command_printed + len, sizeof(command_printed) - len);
    return code;
}

void command_shows(const char *text)
{
    if (strstr(command_printed, text) == NULL) {
        fprintf(stderr, "\n  got:            %.300s\n  expected in it: %s\n", command_printed, text);
        CU_FAIL("it command_printed something else");
    }
}

const char *command_numbered(const char *name, const char *prefix, int from, int to)
{
    const char *path = command_file(name);
    FILE *f = fopen(path, "w");
    CU_ASSERT_PTR_NOT_NULL_FATAL(f);
    for (int i = from; i < to; i++)
        (void)fprintf(f, "%s-%d\n", prefix, i);
    CU_ASSERT_EQUAL(fclose(f), 0);
    return path;
}

void command_printed_are(const char *prefix, int from, int to, bool in_order)
{
    static unsigned char times[COMMAND_LINES_MAX];
    memset(times, 0, sizeof(times));
    int expected = from;
    int lines = 0;
    for (char *at = command_printed; *at != 0; lines++) {
        char *feed = strchr(at, '\n');
        CU_ASSERT_PTR_NOT_NULL_FATAL(feed);
        *feed = 0;
        size_t skip = strlen(prefix);
        CU_ASSERT_TRUE_FATAL(strncmp(at, prefix, skip) == 0 && at[skip] == '-');
        long number = strtol(at + skip + 1, NULL, 10);
        CU_ASSERT_TRUE_FATAL(number >= from && number < to);
        CU_ASSERT_EQUAL_FATAL(times[number - from]++, 0);
        CU_ASSERT_TRUE_FATAL(!in_order || number == expected);
        expected++;
        at = feed + 1;
    }
    CU_ASSERT_EQUAL(lines, to - from);
}
