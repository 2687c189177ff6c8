/*
 * pthreads of the product, as fibers. The memory of a mutex or a condition holds
 * its state here (all zeros, as the static initialisers have it, is: free). What is
 * taken away by node_crash stays as it was; its memory is never looked at again.
 */
#include "base/require.h"
#include "sim/machine.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>

struct model_mutex {
    struct fiber *owner;
    struct waiters waiters;
};

struct model_cond {
    struct waiters waiters;
    uint32_t wall; /* its deadlines are CLOCK_REALTIME's */
};

_Static_assert(sizeof(struct model_mutex) <= sizeof(pthread_mutex_t), "a mutex holds the model's");
_Static_assert(sizeof(struct model_cond) <= sizeof(pthread_cond_t), "a condition holds the model's");

static struct model_mutex *mutex_of(pthread_mutex_t *mutex)
{
    return (struct model_mutex *)(void *)mutex;
}

static struct model_cond *cond_of(pthread_cond_t *cond)
{
    return (struct model_cond *)(void *)cond;
}

static struct chance *luck(void)
{
    static struct chance chance;
    if (chance.state == 0)
        chance = chance_of(machine_seed(), 3);
    return &chance;
}

/* ---- threads ------------------------------------------------------------------------ */

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *argument);
int __wrap_pthread_join(pthread_t thread, void **result);
int __wrap_pthread_detach(pthread_t thread);
int __wrap_pthread_setname_np(pthread_t thread, const char *name);
pthread_t __wrap_pthread_self(void);
int __wrap_sched_yield(void);
pthread_t __real_pthread_self(void);

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *argument)
{
    size_t stack_bytes = 0;
    REQUIRE(machine_fiber() != NULL);
    if (attributes != NULL)
        (void)pthread_attr_getstacksize(attributes, &stack_bytes);
    struct fiber *fiber = fiber_start(machine_node(), "thread", stack_bytes, run, argument);
    *thread = (pthread_t)fiber;
    fiber_point();
    return 0;
}

int __wrap_pthread_join(pthread_t thread, void **result)
{
    fiber_join((struct fiber *)thread, result);
    return 0;
}

int __wrap_pthread_detach(pthread_t thread)
{
    fiber_detach((struct fiber *)thread);
    return 0;
}

int __wrap_pthread_setname_np(pthread_t thread, const char *name)
{
    fiber_name((struct fiber *)thread, name);
    return 0;
}

pthread_t __wrap_pthread_self(void)
{
    struct fiber *fiber = machine_fiber();
    return fiber == NULL ? __real_pthread_self() : (pthread_t)fiber;
}

int __wrap_sched_yield(void)
{
    /* Who spins waits for another: let it go on, and time pass. */
    fiber_sleep(1000);
    return 0;
}

/* ---- locks ---------------------------------------------------------------------------- */

int __wrap_pthread_mutex_init(pthread_mutex_t *mutex, const pthread_mutexattr_t *attributes);
int __wrap_pthread_mutex_destroy(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_lock(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_trylock(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_unlock(pthread_mutex_t *mutex);

int __wrap_pthread_mutex_init(pthread_mutex_t *mutex, const pthread_mutexattr_t *attributes)
{
    (void)attributes;
    memset(mutex, 0, sizeof *mutex);
    return 0;
}

int __wrap_pthread_mutex_destroy(pthread_mutex_t *mutex)
{
    REQUIRE(mutex_of(mutex)->owner == NULL);
    return 0;
}

int __wrap_pthread_mutex_lock(pthread_mutex_t *mutex)
{
    struct model_mutex *m = mutex_of(mutex);
    struct fiber *self = machine_fiber();
    if (self == NULL)
        return 0; /* before and after the model's time there is one thread */
    fiber_point();
    REQUIRE(m->owner != self); /* it would wait for itself for ever */
    while (m->owner != NULL)
        (void)fiber_wait(&m->waiters, MACHINE_NEVER);
    m->owner = self;
    return 0;
}

int __wrap_pthread_mutex_trylock(pthread_mutex_t *mutex)
{
    struct model_mutex *m = mutex_of(mutex);
    struct fiber *self = machine_fiber();
    if (self == NULL)
        return 0;
    fiber_point();
    if (m->owner != NULL)
        return EBUSY;
    m->owner = self;
    return 0;
}

static void let_go(struct model_mutex *m)
{
    REQUIRE(m->owner == machine_fiber());
    m->owner = NULL;
    (void)waiters_wake_one(&m->waiters);
}

int __wrap_pthread_mutex_unlock(pthread_mutex_t *mutex)
{
    if (machine_fiber() == NULL)
        return 0;
    let_go(mutex_of(mutex));
    fiber_point();
    return 0;
}

/* ---- conditions --------------------------------------------------------------------------- */

int __wrap_pthread_cond_init(pthread_cond_t *cond, const pthread_condattr_t *attributes);
int __wrap_pthread_cond_destroy(pthread_cond_t *cond);
int __wrap_pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex);
int __wrap_pthread_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *mutex, const struct timespec *until);
int __wrap_pthread_cond_signal(pthread_cond_t *cond);
int __wrap_pthread_cond_broadcast(pthread_cond_t *cond);

int __wrap_pthread_cond_init(pthread_cond_t *cond, const pthread_condattr_t *attributes)
{
    clockid_t clock = CLOCK_REALTIME;
    memset(cond, 0, sizeof *cond);
    if (attributes != NULL)
        (void)pthread_condattr_getclock(attributes, &clock);
    cond_of(cond)->wall = clock == CLOCK_REALTIME;
    return 0;
}

int __wrap_pthread_cond_destroy(pthread_cond_t *cond)
{
    REQUIRE(cond_of(cond)->waiters.first == NULL);
    return 0;
}

static bool cond_wait_until(pthread_cond_t *cond, pthread_mutex_t *mutex, int64_t until_ns)
{
    struct model_cond *c = cond_of(cond);
    fiber_point();
    if (chance_once_in(luck(), machine_style()->spurious_in)) {
        int64_t soon = machine_now_ns() + chance_magnitude(luck(), 100, 100000);
        until_ns = soon < until_ns ? soon : until_ns;
    }
    let_go(mutex_of(mutex));
    bool woken = fiber_wait(&c->waiters, until_ns);
    (void)__wrap_pthread_mutex_lock(mutex);
    return woken;
}

int __wrap_pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex)
{
    (void)cond_wait_until(cond, mutex, MACHINE_NEVER);
    return 0;
}

int __wrap_pthread_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *mutex, const struct timespec *until)
{
    const struct node *node = machine_node();
    int64_t mono_ns = (int64_t)until->tv_sec * S_NS + until->tv_nsec - (cond_of(cond)->wall != 0 ? node->wall_ns : 0);
    if (cond_wait_until(cond, mutex, node_when(node, mono_ns)))
        return 0;
    return node_mono_ns(node) >= mono_ns ? ETIMEDOUT : 0; /* earlier: for no reason, as POSIX allows */
}

int __wrap_pthread_cond_signal(pthread_cond_t *cond)
{
    (void)waiters_wake_one(&cond_of(cond)->waiters);
    fiber_point();
    return 0;
}

int __wrap_pthread_cond_broadcast(pthread_cond_t *cond)
{
    waiters_wake_all(&cond_of(cond)->waiters);
    fiber_point();
    return 0;
}
