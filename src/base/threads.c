#include "base/threads.h"

#include "base/require.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { PROMPT_SLICE_NS = 100 * 1000 /* the least that the system gives */ };

/* struct sched_attr of <linux/sched/types.h>, which not every C library has, as of its first version. */
struct slice_attributes {
    uint32_t size_bytes;
    uint32_t policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime_ns; /* of an ordinary thread: its slice; 0: the system's choice */
    uint64_t deadline_ns;
    uint64_t period_ns;
};

/* Only an ordinary thread's; all else stays as it is. Refused or not known: so be it. */
static void set_slice(uint64_t slice_ns)
{
#if defined(SYS_sched_getattr) && defined(SYS_sched_setattr)
    struct slice_attributes attributes = {.size_bytes = sizeof attributes};
    if (syscall(SYS_sched_getattr, 0, &attributes, sizeof attributes, 0) != 0 || attributes.policy != 0)
        return;
    attributes.runtime_ns = slice_ns;
    (void)syscall(SYS_sched_setattr, 0, &attributes, 0);
#else
    (void)slice_ns;
#endif
}

void thread_be_prompt(void)
{
    set_slice(PROMPT_SLICE_NS);
}

void thread_be_patient(void)
{
    set_slice(0);
}

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
