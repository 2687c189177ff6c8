#!/bin/sh
# Puts each bug kept beside this script into a copy of the source, one at a time, and
# demands that the simulator finds it on its fixed seeds within its CPU seconds.
# A patch that no longer applies, does not build or is not caught is a failure; so is
# a simulator that fails without any bug, for it would prove nothing.
# Never touches the source tree: all happens in a folder of its own, which is built
# once and then again only where a patch changes it. A line a bug says how it went.
#
#   run.sh            all patches        run.sh raft-07-*.patch   these alone
#   CPU_SECONDS=60    what the simulator may use for one bug
#   MUTANT_DIR=DIR    keep the copy there, so that the next run need not build it anew
#   MUTANT_JOBS=2     two bugs at a time, each in a copy of its own
# From the Makefile: srcdir, CC.
set -u
srcdir=$(cd "${srcdir:-.}" && pwd) || exit 99
cpu=${CPU_SECONDS:-60}
kept=${MUTANT_DIR:-}
workers=${MUTANT_JOBS:-1}
[ "$workers" = 1 ] || workers=2
scratch=$(mktemp -d) || exit 99
trap 'rm -rf "$scratch"' EXIT
trap 'exit 99' HUP INT TERM
first_scratch=$scratch
first_copy=${kept:-$scratch/copy-0}
good=$first_copy.good
copy=$first_copy
jobs=$(nproc 2>/dev/null || echo 2)

# The fixed seeds: small things first, so that what is easily seen costs little.
# steps FUNCTION: calls it with each line of arguments until it fails. The world of the core
# alone knows nothing of bugs outside src/raft ($subject: the name of the patch).
steps() {
    case $subject in raft-* | '')
        "$1" --world core --seed 1 --seeds 1200 || return 1
        "$1" --world core --seed 5361 --seeds 20 || return 1
        "$1" --world core --seed 13681 --seeds 20 || return 1
        ;;
    esac
    "$1" --brokers 1 --seed 1 --seeds 10 || return 1
    "$1" --kafka --brokers 1 --seed 411 --seeds 8 || return 1
    for story in $stories; do
        "$1" --scenario "$story" --seed 2 || return 1
    done
    "$1" --scenario drain-leader --seed 1 || return 1
    "$1" --kafka --brokers 3 --seed 401 --seeds 6 || return 1
    "$1" --scenario all-lose-power --seed 1 --seeds 12 || return 1
    "$1" --scenario between-steps --seed 1 --seeds 24 || return 1
    "$1" --scenario long-tail --seed 1 --seeds 16 || return 1
    for story in asleep lost-folder failing-calls left-behind full-disk forgetful founding handover commits session-order; do
        "$1" --scenario "$story" --seed 1 --seeds 6 || return 1
    done
    "$1" --brokers 3 --seed 101 --seeds 10 || return 1
    "$1" --brokers 5 --seed 201 --seeds 3 || return 1
    "$1" --brokers 3 --flush interval --seed 301 --seeds 4 || return 1
    "$1" --brokers 1 --seed 11 --seeds 10
}
# simulate ARGUMENTS: true if no seed fails, or the CPU seconds are used up ($over).
simulate() {
    (ulimit -c 0; exec "$copy/build/tests/sim/simulate" --first --once "$@") >"$scratch/said" 2>&1
    status=$?
    cpu_used
    if [ "$status" -ne 0 ]; then
        found="$*"
        return 1
    fi
    [ $((used - begun)) -lt "$budget" ] || { over=yes; return 1; }
}

# cpu_used: sets $used to the CPU seconds of all that this script has run to its end
# (not in a subshell, which would only know of its own).
cpu_used() {
    times >"$scratch/times"
    used=$(awk 'NR == 2 { gsub(/[ms]/, " "); print int($1 * 60 + $2 + $3 * 60 + $4) }' "$scratch/times")
}

# run_simulator: sets $found to what found something, $over if the time was used up.
run_simulator() {
    found=
    over=
    cpu_used
    begun=$used
    steps simulate
}

build() {
    make -s -C "$copy/build" -j"$jobs" tests/sim/simulate >"$scratch/made" 2>&1
}

# try PATCH NAME: says how it went, and fails unless the bug was caught.
try() {
    if ! patch -d "$copy" -p1 -F0 -s -f <"$1" >"$scratch/patch" 2>&1; then
        cat "$scratch/patch"
        restore "$1"
        echo "$2: FAILED: it no longer applies; make it anew"
        return 1
    fi
    if ! build; then
        grep -m 5 error: "$scratch/made"
        restore "$1"
        echo "$2: FAILED: it does not build"
        return 1
    fi
    subject=$2
    run_simulator
    used=$((used - begun))
    restore "$1"
    if [ -z "$found" ]; then
        echo "$2: FAILED: not noticed in $used CPU seconds${over:+, which is all it had}"
        return 1
    fi
    echo "$2: caught by $found, $used s"
}

# The files that the patch changes, as they were; newer than what was built of them.
restore() {
    sed -n 's/^+++ b\/\([^[:space:]]*\).*/\1/p' "$1" | while read -r file; do
        cp "$good/$file" "$copy/$file" && touch "$copy/$file"
        rm -f "$copy/$file.rej" "$copy/$file.orig"
    done
}

# take_source: the source as it is now, which may be edited while this runs.
take_source() {
    rm -rf "$good"
    mkdir -p "$good" || return 1
    (cd "$srcdir" && tar cf - --exclude=./build --exclude=./build-ci --exclude=.git --exclude=autom4te.cache .) | (cd "$good" && tar xf -) || return 1
    chmod -R u+w "$good"
    (cd "$good" && find . -type f) >"$scratch/files"
}

# take_changes: what differs in the copy becomes as it is in the source, and newer than what was
# built of it, whatever an earlier run left there.
take_changes() {
    mkdir -p "$copy/src" "$copy/tests" || return 1
    (cd "$copy" && find ./src ./tests -type f) | grep -vxFf "$first_scratch/files" | while read -r file; do
        rm -f "$copy/$file"
    done
    while read -r file; do
        cmp -s "$good/$file" "$copy/$file" && continue
        mkdir -p "$copy/${file%/*}" && cp "$good/$file" "$copy/$file" && touch "$copy/$file" || return 1
    done <"$first_scratch/files"
    [ -f "$copy/taken" ] || touch -t 197001010000 "$copy/taken"
    [ "$copy/Makefile.in" -nt "$copy/taken" ] || [ "$copy/Makefile.am" -nt "$copy/taken" ] &&
        for file in aclocal.m4 configure config.h.in Makefile.in; do # made of the others, in this order
            touch "$copy/$file"
        done
    [ "$good/configure.ac" -nt "$good/configure" ] && touch "$copy/configure.ac"
    [ "$good/Makefile.am" -nt "$good/Makefile.in" ] && touch "$copy/Makefile.am"
    touch "$copy/taken"
}

prepare() {
    take_changes || return 1
    mkdir -p "$copy/build"
    if [ ! -f "$copy/build/Makefile" ]; then
        (cd "$copy" && { [ -f configure ] || ./bootstrap; } && cd build && ../configure -q CC="${CC:-cc}" CFLAGS="-O2 -g0 -w") >"$scratch/made" 2>&1 || return 1
    fi
    build
}

if ! take_source || ! prepare; then
    tail -20 "$scratch/made"
    echo "the copy of the source does not build"
    exit 99
fi
stories=$(sed -n '/^for story in /,/; do$/p' "$good/tests/sim/seeds.sh" | tr -d '\\\n' | sed 's/^for story in //; s/; do$//')
[ -n "$stories" ] || { echo "tests/sim/seeds.sh names no stories"; exit 99; }
subject=
budget=$((2 * cpu)) # a busy machine makes seconds longer
run_simulator
budget=$cpu
if [ -n "$found$over" ]; then
    tail -20 "$scratch/said" | cut -c1-200
    echo "without any bug: ${found:-the fixed seeds} failed or took over $((2 * cpu)) CPU seconds; mend that first"
    exit 1
fi
echo "without any bug: good, $((used - begun)) CPU seconds (a bug has the first $cpu of them)"

[ $# -gt 0 ] || set -- "$good"/tests/mutants/*.patch
count=$#

# work NUMBER PATCH...: tries every patch whose turn is this worker's, in a copy of its own.
work() {
    number=$1
    shift
    if [ "$number" -ne 0 ]; then
        copy=$first_copy.$number
        if ! prepare; then
            tail -5 "$scratch/made"
            echo "FAILED: the copy of worker $number does not build"
            echo x >>"$missed"
        fi
    fi
    at=0
    for patch in "$@"; do
        at=$((at + 1))
        [ $(((at - 1) % workers)) -eq "$number" ] || continue
        if [ ! -r "$patch" ]; then
            said="$patch: FAILED: no such patch"
        else
            said=$(try "$patch" "$(basename "$patch" .patch)")
        fi
        echo "[$at of $count] $said"
        case $said in *FAILED*) echo x >>"$missed" ;; esac
    done
}

missed=$scratch/missed
: >"$missed"
if [ "$workers" = 2 ]; then
    (scratch=$scratch/1 && mkdir -p "$scratch" && work 1 "$@") &
fi
(scratch=$scratch/0 && mkdir -p "$scratch" && work 0 "$@")
wait
left=$(wc -l <"$missed")
echo "$((count - left)) of $count bugs caught"
[ "$left" -eq 0 ]
