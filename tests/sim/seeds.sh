#!/bin/sh
# The simulator's fixed seeds: the same runs each time, and each run twice at first,
# so that it is known that a seed says it all. `make soak` goes on from there.
set -e
: "${SIMULATE:=tests/sim/simulate}"
"$SIMULATE" --seed 1 --seeds 10 --twice
"$SIMULATE" --seed 11 --seeds 140
