/* In a CUnit program, what the harness cannot do ends the running case. */
#include "e2e/harness.h"

#include <CUnit/Basic.h>
#include <stdio.h>
#include <stdlib.h>

void harness_fail(const char *why)
{
    fprintf(stderr, "\n%s\n", why);
    if (CU_get_current_test() == NULL)
        exit(1);
    CU_FAIL_FATAL("the harness could not go on");
    abort();
}
