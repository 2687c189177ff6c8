#!/usr/bin/env bash
# A Kafka client that others wrote, on real brokers: tests/clients/run.sh CLIENT BROKERS [CASE...]
#
# Starts 1 or 3 brokers on free ports of 127.0.0.1, runs tests/clients/CLIENT/run, and ends
# the brokers. A line a case: `ok  NAME`, or `FAILED  NAME: why`. Exit code 0; 1 if a case
# failed, or a broker died of itself, did not stop cleanly, or logged an error that nobody
# expects; 77 if the client is not there (an error with CI=1, unless CLIENT/optional says why not).
#
# CLIENT/run is a program that finds in its environment:
#   BOOTSTRAP    host:port,... of the brokers, as Kafka clients are told
#   BROKERS      how many there are
#   TEXT_PORTS   the ports for telnet, with a blank between them, that of broker 1 first
#   CLIENT_DIR   a folder of its own outside the source, kept from run to run: what it builds
#                or installs lies there
#   KQ_FAULT     a command:
#     $KQ_FAULT kill-leader TOPIC PARTITION   kill -9, and waits for nothing
#     $KQ_FAULT kill BROKER                   likewise, the one of that number
#     $KQ_FAULT kill-all                      likewise, every broker
#     $KQ_FAULT restart                       starts what was killed; returns once it answers
#   KQ_CODECS    a command: $KQ_CODECS TOPIC PARTITION prints the codecs of the batches that
#                lie in the log (none gzip snappy lz4 zstd), each once, in order
#   KQ_TEXT      a command: $KQ_TEXT LINE... sends these to the text port of a broker that
#                runs, and prints an answer a line
# Its arguments, if any, name the cases to run, as it names them. It prints a line a case and
# exits with 0, 1 (a case failed) or 77 (the client is not there).
# Error lines that its cases bring about match one of CLIENT/expected's patterns, if it exists.
#
# One broker is as unconfigured but for waits that would only take time: it makes topics that
# are named and not there. Three do not (auto.create.topics.enable=false).
set -u
here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)
[ $# -ge 2 ] && [ -x "$here/$1/run" ] && { [ "$2" = 1 ] || [ "$2" = 3 ]; } || {
    echo "usage: tests/clients/run.sh CLIENT 1|3 [CASE...]; there are: $(cd "$here" && ls -d -- */ | tr -d '/\n' | tr '\n' ' ')" >&2
    exit 2
}
client=$1
BROKERS=$2
patience=${CLIENT_SECONDS:-240}
CLIENT_DIR=${CLIENTS_DIR:-${TMPDIR:-/tmp}/kafkaesque-clients}/$client
mkdir -p "$CLIENT_DIR" || exit 1
CLIENT_DIR=$(cd "$CLIENT_DIR" && pwd)
KQ_DIR=$(mktemp -d "${TMPDIR:-/tmp}/kafkaesque-clients-XXXXXX") || exit 1
KAFKAESQUED=${KAFKAESQUED:-$top/build/src/kafkaesqued}
export BROKERS CLIENT_DIR KQ_DIR KAFKAESQUED KQ_CLUSTER=$top/contrib/cluster
export KQ_FAULT=$here/fault KQ_CODECS=$here/codecs KQ_TEXT=$here/text

say() {
    printf '%-7s %s\n' "$1" "$2"
}

settings=(--set group.initial.rebalance.delay=0 --set group.min.session.timeout=1s)
[ "$BROKERS" = 1 ] || settings+=(--set auto.create.topics.enable=false)
"$KQ_CLUSTER" "$BROKERS" --keep "$KQ_DIR" -- "${settings[@]}" >"$KQ_DIR/cluster.log" 2>&1 &
cluster=$!
end_brokers() {
    trap '' INT TERM
    "$KQ_CLUSTER" stop "$KQ_DIR" >>"$KQ_DIR/cluster.log" 2>&1
}
trap 'end_brokers; exit 1' INT TERM
for ((tries = 0; tries < 600; tries++)); do
    grep -qs 'contrib/cluster stop' "$KQ_DIR/cluster.log" && break
    kill -0 "$cluster" 2>/dev/null || break
    sleep 0.1
done
grep -qs 'contrib/cluster stop' "$KQ_DIR/cluster.log" || {
    cat "$KQ_DIR/cluster.log" "$KQ_DIR"/broker-*.log
    say FAILED "$BROKERS broker(s) did not start"
    end_brokers
    exit 1
}
# It has done its part; told nicely, or once no broker ran, it would end them all.
disown "$cluster"
kill -9 "$cluster"
BOOTSTRAP=$(while read -r _ _ port; do echo "127.0.0.1:$port"; done <"$KQ_DIR/ports" | paste -sd,)
TEXT_PORTS=$(while read -r port _; do echo "$port"; done <"$KQ_DIR/ports" | paste -sd' ')
export BOOTSTRAP TEXT_PORTS

# ---- the client ----------------------------------------------------------------------------

cd "$CLIENT_DIR" || exit 1
timeout -k 5 "$patience" "$here/$client/run" "${@:3}" </dev/null
status=$?
failed=0
case $status in
0) ;;
77)
    [ "${CI:-}" != 1 ] || [ -e "$here/$client/optional" ] || { say FAILED "$client is not there, and must be"; failed=1; }
    ;;
124 | 137)
    say FAILED "$client was not done within $patience s"
    failed=1
    ;;
*) failed=1 ;;
esac

# ---- the brokers -----------------------------------------------------------------------------

# A broker that runs no more and that nobody killed: nothing wrote its number into `killed`.
for ((id = 1; id <= BROKERS; id++)); do
    pid=$(cat "$KQ_DIR/broker-$id.pid" 2>/dev/null)
    grep -qs '^State:[[:space:]]*[RSDTt]' "/proc/${pid:-none}/status" && continue
    grep -qx "$id" "$KQ_DIR/killed" 2>/dev/null && continue
    say FAILED "broker $id died"
    failed=1
done
end_brokers
for ((id = 1; id <= BROKERS; id++)); do
    log=$KQ_DIR/broker-$id.log
    if ! grep -qx "$id" "$KQ_DIR/killed" 2>/dev/null && ! tail -n 1 "$log" | grep -q ' notice: stopped$'; then
        say FAILED "broker $id did not stop cleanly"
        failed=1
    fi
    if grep -E 'Sanitizer|runtime error:| error: ' "$log" |
        grep -vE -f <(cat "$here/expected" "$here/$client/expected" 2>/dev/null | grep -v '^#') >"$KQ_DIR/errors"; then
        sed "s/^/    /" "$KQ_DIR/errors" | head -n 20
        say FAILED "broker $id logged an error that is not expected"
        failed=1
    fi
done
if [ "$failed" != 0 ]; then
    echo "    the brokers' logs and data: $KQ_DIR"
    for log in "$KQ_DIR"/broker-*.log; do
        echo "    ---- $(basename "$log")"
        tail -n 15 "$log" | sed 's/^/    /'
    done
    exit 1
fi
rm -rf "$KQ_DIR"
exit "$status"
