#include "base/threads.h"

#include "base/require.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

enum kq_err thread_start(pthread_t *thread, const char *name, size_t stack_bytes, void *(*run)(void *), void *argument,
                         struct fault *fault)
{
    pthread_attr_t attributes;
    REQUIRE(pthread_attr_init(&attributes) == 0);
    if (stack_bytes < (size_t)PTHREAD_STACK_MIN)
        stack_bytes = (size_t)PTHREAD_STACK_MIN;
    (void)pthread_attr_setstacksize(&attributes, stack_bytes);
    sigset_t all, before;
    (void)sigfillset(&all);
    (void)sigdelset(&all, SIGBUS);
    (void)sigdelset(&all, SIGSEGV);
    (void)sigdelset(&all, SIGABRT);
    (void)sigdelset(&all, SIGFPE);
    (void)sigdelset(&all, SIGILL);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(thread, &attributes, run, argument);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    (void)pthread_attr_destroy(&attributes);
    if (failed != 0)
        return fault_set(fault, KQ_LIMIT, "cannot start the thread %s: %s; see ulimit -u and kernel.threads-max", name,
                         strerror(failed));
    char shown[16];
    (void)snprintf(shown, sizeof shown, "%s", name);
    (void)pthread_setname_np(*thread, shown);
    return KQ_OK;
}
