/* See fiber.h. On x86-64 a switch is a few pushes and pops; elsewhere swapcontext(3),
 * which does the same and two system calls. Under each stack lies a page that
 * nobody may touch, so that an overflow is a crash and not a riddle. */
#include "sim/fiber.h"

#include "base/require.h"

#include <errno.h>
#include <link.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

enum { GUARD_BYTES = 4096, STACKS_KEPT = 4096 };

static struct {
    uint8_t *tls; /* of this thread, in the program itself (not its libraries) */
    size_t tls_bytes;
    uint8_t tls_first[FIBER_TLS_BYTES];
    struct {
        uint8_t *stack;
        size_t bytes;
    } kept[STACKS_KEPT];
    size_t kept_count;
} fibers;

static int find_tls(struct dl_phdr_info *info, size_t size, void *context)
{
    (void)size;
    (void)context;
    for (int i = 0; i < info->dlpi_phnum; i++)
        if (info->dlpi_phdr[i].p_type == PT_TLS) {
            fibers.tls = info->dlpi_tls_data;
            fibers.tls_bytes = info->dlpi_phdr[i].p_memsz;
        }
    return 1; /* the first is the program; no more */
}

void fiber_setup(struct fiber_place *home)
{
    pthread_attr_t mine;
    void *stack;
    memset(home, 0, sizeof *home);
    REQUIRE(pthread_getattr_np(pthread_self(), &mine) == 0);
    REQUIRE(pthread_attr_getstack(&mine, &stack, &home->stack_bytes) == 0);
    (void)pthread_attr_destroy(&mine);
    home->stack = stack;
    (void)dl_iterate_phdr(find_tls, NULL);
    REQUIRE(fibers.tls_bytes <= FIBER_TLS_BYTES);
    if (fibers.tls != NULL)
        memcpy(fibers.tls_first, fibers.tls, fibers.tls_bytes);
}

/* ---- stacks -------------------------------------------------------------------- */

static uint8_t *stack_take(size_t bytes)
{
    for (size_t i = fibers.kept_count; i-- > 0;)
        if (fibers.kept[i].bytes == bytes) {
            uint8_t *stack = fibers.kept[i].stack;
            fibers.kept[i] = fibers.kept[--fibers.kept_count];
#if defined(__SANITIZE_ADDRESS__)
            __asan_unpoison_memory_region(stack, bytes);
#endif
            return stack;
        }
    uint8_t *all = mmap(NULL, bytes + GUARD_BYTES, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
    REQUIRE(all != MAP_FAILED);
    REQUIRE(mprotect(all, GUARD_BYTES, PROT_NONE) == 0);
    return all + GUARD_BYTES;
}

void fiber_drop(struct fiber_place *place)
{
    REQUIRE(place->stack != NULL);
    if (fibers.kept_count < STACKS_KEPT) {
        fibers.kept[fibers.kept_count].stack = place->stack;
        fibers.kept[fibers.kept_count++].bytes = place->stack_bytes;
    } else {
        (void)munmap(place->stack - GUARD_BYTES, place->stack_bytes + GUARD_BYTES);
    }
    place->stack = NULL;
}

/* ---- the switch ------------------------------------------------------------------ */

/* The first thing that runs on a new stack. */
static void begin(void *argument)
{
    struct fiber_place *place = argument;
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(NULL, NULL, NULL);
#endif
    place->entry(place->argument);
    require_failed("a fiber's entry does not return", __FILE__, __LINE__, __func__);
}

#if defined(__x86_64__)
void fiber_swap(void **save, void *load);
void fiber_first(void);
__asm__(".text\n"
        ".globl fiber_swap\n"
        ".type fiber_swap, @function\n"
        "fiber_swap:\n"
        "    pushq %rbp\n"
        "    pushq %rbx\n"
        "    pushq %r12\n"
        "    pushq %r13\n"
        "    pushq %r14\n"
        "    pushq %r15\n"
        "    movq %rsp, (%rdi)\n"
        "    movq %rsi, %rsp\n"
        "    popq %r15\n"
        "    popq %r14\n"
        "    popq %r13\n"
        "    popq %r12\n"
        "    popq %rbx\n"
        "    popq %rbp\n"
        "    ret\n"
        ".size fiber_swap, . - fiber_swap\n"
        ".globl fiber_first\n"
        ".type fiber_first, @function\n"
        "fiber_first:\n" /* entry in r12, its argument in r13; the stack is aligned here */
        "    movq %r13, %rdi\n"
        "    call *%r12\n"
        "    ud2\n"
        ".size fiber_first, . - fiber_first\n");

static void first_frame(struct fiber_place *place)
{
    uintptr_t top = ((uintptr_t)place->stack + place->stack_bytes) & ~(uintptr_t)15;
    void **sp = (void **)(top - 16);
    *--sp = (void *)(uintptr_t)fiber_first;
    *--sp = NULL;                     /* rbp */
    *--sp = NULL;                     /* rbx */
    *--sp = (void *)(uintptr_t)begin; /* r12 */
    *--sp = place;                    /* r13 */
    *--sp = NULL;                     /* r14 */
    *--sp = NULL;                     /* r15 */
    place->sp = sp;
}

static void swap(struct fiber_place *from, struct fiber_place *to)
{
    fiber_swap(&from->sp, to->sp);
}
#else
static void first(unsigned high, unsigned low)
{
    begin((void *)(((uintptr_t)high << 16 << 16) | low));
}

static void first_frame(struct fiber_place *place)
{
    ucontext_t *context = (void *)place->stack; /* the lowest bytes of the stack hold it */
    REQUIRE(getcontext(context) == 0);
    context->uc_stack.ss_sp = place->stack + sizeof *context;
    context->uc_stack.ss_size = place->stack_bytes - sizeof *context;
    context->uc_link = NULL;
    uintptr_t at = (uintptr_t)place;
    makecontext(context, (void (*)(void))first, 2, (unsigned)(at >> 16 >> 16), (unsigned)at);
    place->sp = context;
}

static void swap(struct fiber_place *from, struct fiber_place *to)
{
    if (from->sp == NULL)
        from->sp = calloc(1, sizeof(ucontext_t));
    REQUIRE(from->sp != NULL && swapcontext(from->sp, to->sp) == 0);
}
#endif

void fiber_make(struct fiber_place *place, size_t stack_bytes, void (*entry)(void *argument), void *argument)
{
    memset(place, 0, sizeof *place);
    place->stack = stack_take(stack_bytes);
    place->stack_bytes = stack_bytes;
    memcpy(place->tls, fibers.tls_first, fibers.tls_bytes);
    place->entry = entry;
    place->argument = argument;
    first_frame(place);
}

void fiber_go(struct fiber_place *from, struct fiber_place *to)
{
    from->error = errno;
    if (fibers.tls_bytes > 0) {
        memcpy(from->tls, fibers.tls, fibers.tls_bytes);
        memcpy(fibers.tls, to->tls, fibers.tls_bytes);
    }
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(&from->sanitizer, to->stack, to->stack_bytes);
#endif
    swap(from, to);
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(from->sanitizer, NULL, NULL);
#endif
    errno = from->error;
}
