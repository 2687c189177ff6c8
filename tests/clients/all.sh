#!/usr/bin/env bash
# All Kafka clients, or those that are named, on one broker and on three: a line each, and
# what failed in full. CLIENT_JOBS of them at a time, which are two a core, as they mostly wait for
# sessions to end. Exit code 1 if one failed.
# Each run's output stays in $CLIENTS_DIR/CLIENT-BROKERS.log.
set -u
here=$(cd "$(dirname "$0")" && pwd)
CLIENTS_DIR=${CLIENTS_DIR:-${TMPDIR:-/tmp}/kafkaesque-clients}
export CLIENTS_DIR
# Those that take longest come first, so that none of them is alone at the end.
[ $# -gt 0 ] || set -- $({
    printf '%s\n' java librdkafka kafka-python confluent-python kafkajs platformatic sarama
    cd "$here" && ls -d -- */ | tr -d /
} | awk '!seen[$0]++')
mkdir -p "$CLIENTS_DIR" || exit 1

# one CLIENT: on one broker and then on three, as both use what it has built or installed.
one() {
    local brokers from status log failed=0
    for brokers in 1 3; do
        from=$SECONDS
        log=$CLIENTS_DIR/$1-$brokers.log
        "$here/run.sh" "$1" "$brokers" >"$log" 2>&1
        status=$?
        case $status in
        0) printf 'ok      %-14s %d broker(s), %3d cases %4d s\n' "$1" "$brokers" "$(grep -c '^ok ' "$log")" $((SECONDS - from)) ;;
        77) printf 'skipped %-14s %s\n' "$1" "$(tail -n 1 "$log")" ;;
        *)
            failed=1
            printf 'FAILED  %-14s %d broker(s), %4d s\n%s\n' "$1" "$brokers" $((SECONDS - from)) "$(sed 's/^/    /' "$log")"
            ;;
        esac
        [ "$status" != 77 ] || break
    done
    return $failed
}
export -f one
export here
printf '%s\n' "$@" | xargs -P "${CLIENT_JOBS:-$((2 * $(nproc)))}" -I '{}' bash -c 'one {}'
