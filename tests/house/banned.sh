#!/bin/sh
# Fails when src/ calls what overflows, cannot report an error, or hides state,
# or when a test sleeps instead of waiting for a condition.
set -u
srcdir=${srcdir:-.}
failed=0
if grep -rnE '\b(strcpy|strcat|sprintf|vsprintf|gets|strtok|atoi|atol|atoll)[[:space:]]*\(' "$srcdir/src" --include='*.[ch]'; then
    echo 'banned.sh: use snprintf, memcpy with a known size, strtok_r, strtoll, or base/bytes.h'
    failed=1
fi
if grep -rnE '\b(sleep|usleep|nanosleep|clock_nanosleep)[[:space:]]*\(' "$srcdir/tests" --include='*.[ch]'; then
    echo 'banned.sh: a test waits for a condition with a deadline; it does not sleep'
    failed=1
fi
exit $failed
