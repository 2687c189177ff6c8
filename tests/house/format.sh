#!/bin/sh
# Fails when clang-format would lay out a source file differently. Layouts differ
# from one version to the next, so it is version 14 or none.
set -u
srcdir=${srcdir:-.}
tool=${CLANG_FORMAT:-clang-format-14}
if [ "$tool" = no ] || ! command -v "$tool" >/dev/null; then
    echo "format.sh: no clang-format-14; skipped"
    exit 77
fi
find "$srcdir/src" "$srcdir/tests" -name '*.[ch]' -print0 | xargs -0 "$tool" --dry-run -Werror 2>&1 | grep -E 'error:' | cut -d: -f1 |
    sort | uniq -c | sed 's/^ *\([0-9]*\) \(.*\)/\2: \1 places; make format mends them/' >&2
find "$srcdir/src" "$srcdir/tests" -name '*.[ch]' -print0 | xargs -0 "$tool" --dry-run -Werror >/dev/null 2>&1
