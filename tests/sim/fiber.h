/*
 * A fiber is what a thread of the product becomes: a stack of its own and a place
 * where it left off. Fibers run one at a time on the process's only thread, and a
 * switch happens only where the code asks for one, so a run is repeatable.
 *
 * This is the bare mechanism; who runs when is machine.h's.
 */
#ifndef KQ_TESTS_SIM_FIBER_H
#define KQ_TESTS_SIM_FIBER_H

#include <stddef.h>
#include <stdint.h>

enum { FIBER_TLS_BYTES = 256 };

struct fiber_place {
    void *sp;
    uint8_t *stack; /* its lowest usable byte */
    size_t stack_bytes;
    uint8_t tls[FIBER_TLS_BYTES]; /* thread-local variables of the program, while it does not run */
    int error;                    /* errno, likewise */
    void *sanitizer;              /* AddressSanitizer's view of the stack */
    void (*entry)(void *argument);
    void *argument;
};

/* Once, before any fiber: notes where thread-local variables lie, and their first
 * values; home becomes the process's own stack. */
void fiber_setup(struct fiber_place *home);
/* A place that begins in entry(argument), which must never return. Stacks of places
 * that were given back are used again. */
void fiber_make(struct fiber_place *place, size_t stack_bytes, void (*entry)(void *argument), void *argument);
/* Leaves from, goes on at to. */
void fiber_go(struct fiber_place *from, struct fiber_place *to);
/* The stack is free for others. The place must not be the running one. */
void fiber_drop(struct fiber_place *place);

#endif
