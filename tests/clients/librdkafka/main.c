/* Runs the cases one by one, each in a process of its own, and prints a line for each. */
#include "cases.h"

#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

static bool is_named(const char *name, int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        if (strstr(name, argv[i]) != NULL)
            return true;
    return argc == 1;
}

static bool runs_well(const struct one_case *c)
{
    int64_t begun = now_ms();
    int status = -1;
    (void)fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        (void)alarm(CASE_SECONDS);
        c->run();
        _exit(0);
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        return false;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
        printf("ok      %s (%.1f s)\n", c->name, (double)(now_ms() - begun) / 1000);
        return true;
    }
    if (WIFSIGNALED(status))
        printf("        ended by signal %d\n", WTERMSIG(status));
    printf("FAILED  %s\n", c->name);
    return false;
}

int main(int argc, char **argv)
{
    const struct one_case *const files[] = {record_cases, offset_cases,      group_cases, once_cases,
                                            admin_cases,  admin_group_cases, error_cases};
    bool well = true;
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
        for (const struct one_case *c = files[i]; c->name != NULL; c++)
            if ((c->brokers == 0 || c->brokers == brokers()) && is_named(c->name, argc, argv))
                well = runs_well(c) && well;
    return well ? 0 : 1;
}
