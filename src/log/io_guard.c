/*
 * Reads under a mapping: an I/O error there arrives as SIGBUS in the reading
 * thread, and becomes a false return of that read alone.
 *
 * Each thread has a chain of guards, innermost first. The handler jumps out only
 * for an address inside the innermost one; any other SIGBUS is a bug or a broken
 * machine and ends the process as it would have without us. A guarded body only
 * copies or checks: nothing it holds would be let go by the jump.
 */
#include "log/io.h"

#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>

struct guard {
    const char *from;
    const char *to;
    struct guard *outer;
    sigjmp_buf out;
};

static _Thread_local struct guard *innermost;

static void on_sigbus(int number, siginfo_t *info, void *context)
{
    (void)context;
    struct guard *g = innermost;
    const char *at = info->si_addr;
    if (g != NULL && at >= g->from && at < g->to) {
        /* The jump restores no mask, which saves a system call in each guarded read; so this does it here. */
        sigset_t again;
        (void)sigemptyset(&again);
        (void)sigaddset(&again, number);
        (void)pthread_sigmask(SIG_UNBLOCK, &again, NULL);
        siglongjmp(g->out, 1);
    }
    (void)signal(number, SIG_DFL); /* comes again at once, and ends the process */
}

void io_guard_install(void)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = on_sigbus;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    (void)sigemptyset(&action.sa_mask);
    (void)sigaction(SIGBUS, &action, NULL);
}

bool io_guarded(const void *address, size_t size_bytes, void (*body)(void *context), void *context)
{
    struct guard g = {.from = address, .to = (const char *)address + size_bytes, .outer = innermost};
    if (sigsetjmp(g.out, 0) != 0) {
        innermost = g.outer;
        return false;
    }
    innermost = &g;
    body(context);
    innermost = g.outer;
    return true;
}
