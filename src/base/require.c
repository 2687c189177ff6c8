#include "base/require.h"

#include <stdio.h>
#include <stdlib.h>

void require_failed(const char *condition, const char *file, int line, const char *function)
{
    (void)fprintf(stderr, "<0>bug: %s:%d: %s: this must hold and does not: %s\n", file, line, function, condition);
    (void)fflush(stderr);
    abort();
}
