#!/bin/sh
# Each harness given, over its kept seeds and then a fixed number of new inputs
# ($RUNS, at most $SECONDS_EACH seconds each). What breaks one is left in the
# current folder as crash-*; keep it as a seed once mended.
set -u
srcdir=${srcdir:-.}
runs=${RUNS:-100000}
seconds=${SECONDS_EACH:-15}
scratch=$(mktemp -d) || exit 99
trap 'rm -rf "$scratch"' EXIT
failed=0
for harness in "$@"; do
    name=${harness##*/}
    mkdir -p "$scratch/$name"
    if "$harness" -seed=1 -runs="$runs" -max_total_time="$seconds" -rss_limit_mb=1024 -timeout=10 -print_final_stats=1 \
        "$scratch/$name" "$srcdir/tests/fuzz/seeds/$name" >"$scratch/said" 2>&1; then
        echo "$name: $(sed -n 's/^stat::number_of_executed_units: *//p' "$scratch/said") inputs, nothing found"
    else
        echo "$name: FAILED"
        tail -40 "$scratch/said"
        failed=1
    fi
done
exit $failed
