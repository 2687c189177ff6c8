/* A harness defines this one function. Linked with libFuzzer (--enable-fuzz) it
 * is fed new inputs; linked with replay.c, by `make check`, the kept seeds. */
#ifndef KQ_TESTS_FUZZ_FUZZ_H
#define KQ_TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
