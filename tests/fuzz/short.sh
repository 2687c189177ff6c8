#!/bin/sh
# Each harness given, over its kept seeds and then a fixed number of new inputs
# ($RUNS, at most $SECONDS_EACH seconds each), $JOBS at a time. What breaks one is left
# in the current folder as crash-*; keep it as a seed once mended.
set -u
srcdir=${srcdir:-.}
runs=${RUNS:-100000}
seconds=${SECONDS_EACH:-15}
scratch=$(mktemp -d) || exit 99
trap 'rm -rf "$scratch"' EXIT

try() {
    name=${1##*/}
    mkdir -p "$scratch/$name"
    if "$1" -seed=1 -runs="$runs" -max_total_time="$seconds" -rss_limit_mb=1024 -timeout=10 -print_final_stats=1 \
        "$scratch/$name" "$srcdir/tests/fuzz/seeds/$name" >"$scratch/$name.said" 2>&1; then
        echo "$name: $(sed -n 's/^stat::number_of_executed_units: *//p' "$scratch/$name.said") inputs, nothing found"
    else
        echo "$name: FAILED"
        tail -40 "$scratch/$name.said"
        touch "$scratch/failed"
    fi
}
# Two lists side by side, if there are two cores, and so on.
jobs=${JOBS:-$(nproc)}
job=0
while [ "$job" -lt "$jobs" ]; do
    (
        at=0
        for harness in "$@"; do
            [ $((at % jobs)) != "$job" ] || try "$harness"
            at=$((at + 1))
        done
    ) &
    job=$((job + 1))
done
wait
[ ! -e "$scratch/failed" ]
