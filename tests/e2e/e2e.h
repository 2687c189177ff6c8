/* What every scenario program includes. */
#ifndef KQ_TESTS_E2E_E2E_H
#define KQ_TESTS_E2E_E2E_H

#include "e2e/client.h"
#include "e2e/harness.h"
#include "e2e/json.h"
#include "e2e/probe.h"
#include "support/unit.h"

#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

/* A sanitizer's allocator keeps what is freed: amounts of memory say nothing. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

/* A reply that must be exactly this, shown when it is not. */
#define REPLY_IS(reply, expected)                                                                                      \
    do {                                                                                                               \
        const char *reply_got = (reply);                                                                               \
        if (strcmp(reply_got, (expected)) != 0)                                                                        \
            fprintf(stderr, "\n  got:      %.300s\n  expected: %s\n", reply_got, (expected));                          \
        CU_ASSERT_STRING_EQUAL(reply_got, (expected));                                                                 \
    } while (0)

/* A reply that must hold this text. */
#define REPLY_HOLDS(reply, expected)                                                                                   \
    do {                                                                                                               \
        const char *reply_got = (reply);                                                                               \
        bool reply_holds = strstr(reply_got, (expected)) != NULL;                                                      \
        if (!reply_holds)                                                                                              \
            fprintf(stderr, "\n  got:          %.300s\n  expected in it: %s\n", reply_got, (expected));                \
        CU_ASSERT(reply_holds);                                                                                        \
    } while (0)

/* An error reply ("Error, ...") that names this. */
#define REPLY_REFUSES(reply, expected)                                                                                 \
    do {                                                                                                               \
        const char *refusal = (reply);                                                                                 \
        bool refused = strncmp(refusal, "Error, ", 7) == 0;                                                            \
        if (!refused)                                                                                                  \
            fprintf(stderr, "\n  got:      %.300s\n  expected: Error, ...%s\n", refusal, (expected));                  \
        CU_ASSERT(refused);                                                                                            \
        if (refused)                                                                                                   \
            REPLY_HOLDS(refusal, expected);                                                                            \
    } while (0)

/* The process has not come to hold much more since it held `before` KiB. */
static inline void expect_memory_near(pid_t pid, int64_t before)
{
    enum { SLACK_KIB = 24 << 10 };
    int64_t now = SANITIZED ? before : proc_anonymous_kib(pid);
    if (now - before > SLACK_KIB)
        fprintf(stderr, "\n  anonymous memory: %lld KiB before, %lld now\n", (long long)before, (long long)now);
    CU_ASSERT(now - before <= SLACK_KIB);
}

/* As UNIT_MAIN. SIGPIPE is not for tests. */
#define E2E_MAIN(suite_name, cases)                                                                                    \
    int main(int argc, char **argv)                                                                                    \
    {                                                                                                                  \
        (void)signal(SIGPIPE, SIG_IGN);                                                                                \
        if (access(daemon_binary(), X_OK) != 0) {                                                                      \
            fprintf(stderr, "no daemon at %s\n", daemon_binary());                                                     \
            return 1;                                                                                                  \
        }                                                                                                              \
        return unit_main(suite_name, cases, sizeof(cases) / sizeof((cases)[0]), argc > 1 ? argv[1] : NULL);            \
    }

#endif
