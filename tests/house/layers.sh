#!/bin/sh
# Fails when a folder of src/ includes what stands above it, when a pure folder
# includes what is not pure, or when a header does not compile alone. At the end
# it plants such faults in a copy and fails if they are not found.
set -u
srcdir=${srcdir:-.}
CC=${CC:-cc}
scratch=$(mktemp -d) || exit 99
trap 'rm -rf "$scratch"' EXIT

# From the bottom to the top. Whoever stands higher may include what stands lower.
layers='base proto/kafka log raft proto/peer partition group cluster proto/text client api server daemon'
# These take time, bytes and randomness as arguments; see ARCHITECTURE.md.
pure='raft proto/kafka proto/peer proto/text'
impure='base/clock.h base/logger.h base/datadir.h'

rank() { # FOLDER: its place in layers, counted from 1; 0 if it has none
    place=0
    for layer in $layers; do
        place=$((place + 1))
        [ "$layer" = "$1" ] && { echo $place; return; }
    done
    echo 0
}

folder_of() { # PATH below src/: the layer it lies in, "." for the programs
    case $1 in
    proto/*/*) echo "$1" | cut -d/ -f1,2 ;;
    */*) echo "$1" | cut -d/ -f1 ;;
    *) echo . ;;
    esac
}

check_layers() { # TREE: prints what is wrong; true if nothing is
    find "$1/src" -name '*.[ch]' | sort | while read -r file; do
        path=${file#"$1/src/"}
        from=$(folder_of "$path")
        [ "$from" = . ] && continue # the programs stand above all
        from_rank=$(rank "$from")
        [ "$from_rank" = 0 ] && { echo "$path: src/$from/ has no place in the order; give it one in tests/house/layers.sh"; continue; }
        sed -n 's/^[[:space:]]*#[[:space:]]*include[[:space:]]*"\([^"]*\)".*/\1/p' "$file" | while read -r header; do
            [ "$header" = config.h ] && continue # what configure found: stands below all
            to=$(folder_of "$header")
            to_rank=$(rank "$to")
            if [ "$to_rank" = 0 ]; then
                echo "$path: includes \"$header\", which is not written from src/ on"
            elif [ "$to_rank" -gt "$from_rank" ]; then
                echo "$path: includes \"$header\", which stands above src/$from/"
            fi
            case " $pure " in *" $from "*)
                case " $impure " in *" $header "*) echo "$path: is pure and includes \"$header\"" ;; esac ;;
            esac
        done
    done >"$scratch/found"
    cat "$scratch/found"
    [ ! -s "$scratch/found" ]
}

check_headers() { # TREE: each header on its own, twice
    find "$1/src" -name '*.h' | sort | while read -r file; do
        path=${file#"$1/src/"}
        printf '#include "%s"\n#include "%s"\n' "$path" "$path" |
            $CC -std=c11 -D_GNU_SOURCE -I"$1/src" -fsyntax-only -x c - 2>"$scratch/said" || {
            echo "$path: does not compile alone:"
            sed 3q "$scratch/said"
        }
    done >"$scratch/found"
    cat "$scratch/found"
    [ ! -s "$scratch/found" ]
}

failed=0
check_layers "$srcdir" || failed=1
check_headers "$srcdir" || failed=1

# The test can fail: each planted fault must be seen.
mkdir -p "$scratch/bad/src/base" "$scratch/bad/src/raft" "$scratch/bad/src/server"
: >"$scratch/bad/src/server/server.h"
planted() { # NAME FILE TEXT CHECK
    printf '%s\n' "$3" >"$scratch/bad/src/$2"
    if "$4" "$scratch/bad" >/dev/null; then
        echo "layers.sh: did not see the planted fault: $1"
        failed=1
    fi
    rm "$scratch/bad/src/$2"
}
planted 'an include of what stands above' base/low.c '#include "server/server.h"' check_layers
planted 'a clock in a pure folder' raft/raft.c '#include "base/clock.h"' check_layers
planted 'a header that needs another' base/needy.h 'size_t needs_stddef(void);' check_headers
exit $failed
