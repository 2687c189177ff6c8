#!/bin/sh
# cppcheck over src/ and tests/, clang-tidy over src/ (it does not know that CUnit's
# fatal assertions do not return); what they find is an error. Takes
# CPPCHECK, CLANG_TIDY (a path, or no) and JOBS from the environment.
set -u
srcdir=${srcdir:-.}
cd "$srcdir" || exit 99
jobs=${JOBS:-$(nproc)}
failed=0
ran=0
# What configure would write, as far as the source asks for it.
scratch=$(mktemp -d) || exit 99
trap 'rm -rf "$scratch"' EXIT
echo '#define PACKAGE_VERSION "0"' >"$scratch/config.h"
SCRATCH=$scratch
export SCRATCH
if [ "${CPPCHECK:-cppcheck}" != no ] && command -v "${CPPCHECK:-cppcheck}" >/dev/null; then
    ran=1
    "${CPPCHECK:-cppcheck}" --quiet --std=c11 -j "$jobs" -D_GNU_SOURCE -I src -I tests --error-exitcode=1 \
        --enable=warning,portability --inline-suppr --suppressions-list=tests/house/cppcheck.txt \
        --template='{file}:{line}: {severity}: {message} [{id}]' src tests || failed=1
else
    echo 'lint.sh: no cppcheck'
fi
if [ "${CLANG_TIDY:-clang-tidy-14}" != no ] && command -v "${CLANG_TIDY:-clang-tidy-14}" >/dev/null; then
    ran=1
    find src -name '*.c' -print0 |
        xargs -0 -P "$jobs" -n 4 sh -c '"$0" --quiet --config-file=.clang-tidy "$@" -- \
            -std=c11 -D_GNU_SOURCE -Isrc -Itests -I"$SCRATCH" 2>/dev/null' "${CLANG_TIDY:-clang-tidy-14}" || failed=1
else
    echo 'lint.sh: no clang-tidy'
fi
[ $ran = 1 ] || { echo 'lint.sh: neither cppcheck nor clang-tidy is installed'; exit 77; }
exit $failed
