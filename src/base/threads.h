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

#endif
