#!/bin/sh
# Puts each bug kept beside this script into a copy of src/raft, one at a time, and
# demands that a test program of the consensus core fails within its CPU seconds.
# A patch that no longer applies, changes nothing, does not build or is not caught
# is a failure; so is a test that fails without any bug, for it would prove nothing.
# Never touches the source tree: all happens in a temporary folder.
#
#   run.sh            all patches        run.sh raft-07-*.patch   these alone
#   CPU_SECONDS=60    the limit of each program
#   EVERY=yes         runs all four programs, not only up to the first that fails
# From the Makefile: srcdir, CC, MUTANT_CFLAGS, MUTANT_LIBS.
set -u
srcdir=${srcdir:-.}
cc=${CC:-cc}
cpu=${CPU_SECONDS:-60}
every=${EVERY:-}
programs='test_raft test_raft_group test_raft_leader test_raft_sim'
scratch=$(mktemp -d) || exit 99
trap 'rm -rf "$scratch"' EXIT
trap 'exit 99' HUP INT TERM
plain=$scratch/plain
mutant=$scratch/mutant
mkdir -p "$plain/src" "$scratch/objects" || exit 99
cp -R "$srcdir/src/raft" "$plain/src/raft" || exit 99
chmod -R u+w "$plain"

# compile FOLDER_OF_SRC SOURCE OBJECT: the copy's headers come before the tree's.
compile() {
    # shellcheck disable=SC2086
    $cc -I"$1/src" -I"$srcdir/src" -I"$srcdir/tests" $MUTANT_CFLAGS -w -c "$2" -o "$3"
}

# link_all FOLDER_OF_OBJECTS: the four programs, beside the objects.
link_all() {
    for program in $programs; do
        support=
        [ "$program" = test_raft_sim ] && support=$scratch/objects/raft_*.o
        # shellcheck disable=SC2086
        $cc $MUTANT_CFLAGS "$scratch/objects/$program.o" $support "$1"/*.o $MUTANT_LIBS -o "$1/$program" || return 1
    done
}

# run_all FOLDER: sets $caught to the programs that failed, $slow to those cut off.
run_all() {
    caught=
    slow=
    for program in $programs; do
        { # the group keeps the shell's own "Aborted" from the screen
            (
                cd "$1" || exit 99
                ulimit -c 0
                ulimit -S -t "$cpu" || exit 99
                exec "./$program"
            ) >"$scratch/said.$program" 2>&1
            status=$?
        } 2>/dev/null
        case $status in
        0) ;;
        99 | 126 | 127)
            echo "$1/$program cannot be run: $(cat "$scratch/said.$program")"
            exit 99
            ;;
        137 | 152) slow="$slow $program" ;; # killed, SIGXCPU: cut off is not the same as having found it
        *)
            caught="$caught $program"
            [ -n "$every" ] || return
            ;;
        esac
    done
}

# try PATCH: says how it went, and fails unless the bug was caught.
try() {
    rm -rf "$mutant"
    mkdir "$mutant" "$mutant/objects" && cp -R "$plain/src" "$mutant/src" || exit 99
    if ! patch -d "$mutant" -p1 -F0 -s -f <"$1" >"$scratch/patch" 2>&1; then
        cat "$scratch/patch"
        echo "$2: FAILED: it no longer applies to src/raft; make it anew"
        return 1
    fi
    if ! diff -q "$plain/src/raft/raft.h" "$mutant/src/raft/raft.h" >/dev/null ||
        ! diff -q "$plain/src/raft/raft_internal.h" "$mutant/src/raft/raft_internal.h" >/dev/null; then
        echo "$2: FAILED: it changes a header; patch .c files alone"
        return 1
    fi
    cp "$scratch/objects/plain/"*.o "$mutant/objects" || exit 99
    changed=0
    for source in "$mutant"/src/raft/*.c; do
        name=${source##*/}
        cmp -s "$source" "$plain/src/raft/$name" && continue
        changed=$((changed + 1))
        compile "$mutant" "$source" "$mutant/objects/${name%.c}.o" || changed=broken
        [ "$changed" = broken ] && break
    done
    if [ "$changed" = 0 ] || [ "$changed" = broken ] || ! link_all "$mutant/objects"; then
        echo "$2: FAILED: it does not build, or changes no .c file of src/raft"
        return 1
    fi
    run_all "$mutant/objects"
    if [ -z "$caught" ]; then
        echo "$2: FAILED: no program noticed${slow:+ (cut off after $cpu CPU seconds:$slow)}"
        return 1
    fi
    echo "$2: caught by$caught"
}

mkdir "$scratch/objects/plain"
for source in "$plain"/src/raft/*.c; do
    name=${source##*/}
    compile "$plain" "$source" "$scratch/objects/plain/${name%.c}.o" || exit 99
done
for source in "$srcdir"/tests/support/raft_*.c; do
    name=${source##*/}
    compile "$plain" "$source" "$scratch/objects/${name%.c}.o" || exit 99
done
for program in $programs; do
    compile "$plain" "$srcdir/tests/unit/$program.c" "$scratch/objects/$program.o" || exit 99
done
link_all "$scratch/objects/plain" || exit 99
run_all "$scratch/objects/plain"
if [ -n "$caught$slow" ]; then
    for program in $caught $slow; do
        tail -20 "$scratch/said.$program"
    done
    echo "without any bug:$caught$slow failed or took over $cpu CPU seconds; mend that first"
    exit 1
fi
rm -f "$scratch/objects/plain/test_"*

[ $# -gt 0 ] || set -- "$srcdir"/tests/mutants/*.patch
count=0
missed=0
for patch in "$@"; do
    if [ ! -r "$patch" ]; then
        echo "$patch: FAILED: no such patch"
        missed=$((missed + 1))
    else
        try "$patch" "$(basename "$patch" .patch)" || missed=$((missed + 1))
    fi
    count=$((count + 1))
done
echo "$((count - missed)) of $count bugs caught"
[ "$missed" -eq 0 ]
