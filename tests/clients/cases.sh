# For clients that are commands: `case_of NAME FUNCTION` runs a case in a shell of its own that
# its first failing command ends, and prints its line; `cases_end` is the exit code of them all.
# Within a case, `is WANTED GOT [WHAT]` compares and `until_true SECONDS COMMAND...` waits.
set -u
cases_failed=0

case_of() {
    local said status from=$SECONDS
    said=$(set -e; trap 'echo "line $LINENO: $BASH_COMMAND"' ERR; set -E; "$2" 2>&1)
    status=$?
    if [ $status = 0 ]; then
        printf 'ok      %s (%d s)\n' "$1" $((SECONDS - from))
    else
        printf 'FAILED  %s: %s\n' "$1" "$(tail -n 5 <<<"$said")"
        cases_failed=1
    fi
}

is() {
    [ "$1" = "$2" ] && return
    printf '%swanted %.300q, got %.300q\n' "${3:+$3: }" "$1" "$2"
    return 1
}

until_true() {
    local until=$((SECONDS + $1))
    shift
    until "$@"; do
        [ $SECONDS -lt $until ] || { echo "not within the time: $*"; return 1; }
        sleep 0.1
    done
}

cases_end() {
    exit $cases_failed
}
