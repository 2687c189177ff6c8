#!/bin/sh
# The simulator's fixed seeds: the same runs each time, some of them twice, so that it
# is known that a seed says it all. `make soak` goes on from there. SIM_SHARE=short: a
# few of them, for builds that are slow.
set -e
: "${SIMULATE:=tests/sim/simulate}"
if [ "${SIM_SHARE:-}" = short ]; then
    "$SIMULATE" --world core --seed 1 --seeds 60
    "$SIMULATE" --brokers 1 --seed 1 --seeds 4 --twice
    "$SIMULATE" --brokers 3 --seed 101 --seeds 8
    "$SIMULATE" --kafka --brokers 3 --seed 401 --seeds 2
    exit 0
fi
"$SIMULATE" --world core --seed 1 --seeds 1200
"$SIMULATE" --brokers 1 --seed 1 --seeds 5 --twice
"$SIMULATE" --brokers 3 --seed 1 --seeds 5 --twice
for story in all-lose-power wiped-disk wiped-while-down slow-leader stalled-disk quarantined lost-half bit-flip bad-heads bad-tail \
    lost-folder asleep between-steps failing-calls long-tail full-disk left-behind forgetful founding \
    handover commits drain-leader move-leader remove-controller cut-learner topic-again deaf-leader mute-leader duplicate \
    session-order figure-8 same-index partly-connected; do
    "$SIMULATE" --scenario "$story" --seed 2 --once
done
"$SIMULATE" --scenario stalled-disk --seed 21 --once
"$SIMULATE" --scenario forgetful --seed 3 --seeds 2 --once
"$SIMULATE" --scenario between-steps --seed 11 --seeds 20
"$SIMULATE" --brokers 1 --seed 11 --seeds 40
"$SIMULATE" --brokers 3 --seed 101 --seeds 62
"$SIMULATE" --brokers 5 --seed 201 --seeds 20
"$SIMULATE" --brokers 3 --flush interval --seed 301 --seeds 14
"$SIMULATE" --brokers 3 --flush interval --seed 316
"$SIMULATE" --kafka --brokers 1 --seed 411 --seeds 12
"$SIMULATE" --kafka --brokers 3 --seed 401 --seeds 12
