/* Starting a thread with a set stack, a name, and all signals blocked (the main
 * thread takes them by sigwait; SIGBUS and its kin cannot be blocked away). */
#ifndef KQ_BASE_THREADS_H
#define KQ_BASE_THREADS_H

#include "base/err.h"

#include <pthread.h>
#include <stddef.h>

/* name: at most 15 bytes are shown. KQ_LIMIT: the system gives no more threads. */
enum kq_err thread_start(pthread_t *thread, const char *name, size_t stack_bytes, void *(*run)(void *), void *argument,
                         struct fault *fault);

/*
 * How soon a thread that was woken gets a processor which others keep busy: not whether
 * it gets more of it. Without a say a Linux thread may find its processor taken for a
 * whole slice of somebody else's, 3 ms and more, each time it has waited for a disk of
 * 0.1 ms. A prompt one asks for short slices and so comes before long ones (Linux 6.12 and
 * later; elsewhere nothing changes). For the calling thread, and those that it starts.
 */
void thread_be_prompt(void);
/* Takes that back, for a thread with much to do that nobody waits for. */
void thread_be_patient(void);

#endif
