#!/bin/sh
# Fails when a document says anything else than the tables in the source: the
# sample configuration, the keys in kafkaesqued.conf(5), the commands in
# kafkaesque-protocol(7); and when kafkaesque(1) or kafkaesqued(8) leaves out an
# option that the program's own help names. With --write, mends the first three.
set -u
srcdir=${srcdir:-.}
doc=tests/house/config_doc
client=src/kafkaesque
daemon=src/kafkaesqued
scratch=$(mktemp -d) || exit 99
trap 'rm -rf "$scratch"' EXIT
failed=0

# between NAME PAGE NEW: PAGE on stdout, with what stands between the marks NAME taken from NEW.
between() {
    awk -v name="$1" -v new="$3" '
        index($0, ".\\\" " name " begin") == 1 { print; while ((getline line < new) > 0) print line; inside = 1 }
        index($0, ".\\\" " name " end") == 1 { inside = 0 }
        !inside { print }' "$2"
}
agree() { # FILE WANTED
    if [ "$mode" = --write ]; then
        cmp -s "$1" "$2" || cp "$2" "$1"
    else
        diff -u "$1" "$2" || failed=1
    fi
}
# every_option PAGE COMMAND...: each --option of the help is in the page, in bold or not.
every_option() {
    page=$1
    shift
    "$@" --help 2>/dev/null | grep -oE '(^|[ ,])--[a-z][a-z-]*' | tr -d ' ,' | sort -u | while read -r option; do
        sed 's/\\-/-/g' "$page" | grep -qE -e "$option([^a-z-]|\$)" || echo "$page does not name $option of \`$*\`"
    done
}

mode=${1:-}
"$doc" conf >"$scratch/conf" && "$doc" man >"$scratch/keys" || exit 99
"$client" protocol --man | sed 's/ *$//; s/"/\\(dq/g' >"$scratch/commands" || exit 99
between keys "$srcdir/man/kafkaesqued.conf.5.in" "$scratch/keys" >"$scratch/conf.5"
between commands "$srcdir/man/kafkaesque-protocol.7.in" "$scratch/commands" >"$scratch/protocol.7"
agree "$srcdir/etc/kafkaesqued.conf" "$scratch/conf"
agree "$srcdir/man/kafkaesqued.conf.5.in" "$scratch/conf.5"
agree "$srcdir/man/kafkaesque-protocol.7.in" "$scratch/protocol.7"
[ $failed = 0 ] || echo 'documents.sh: `make documents` mends this'

{
    every_option "$srcdir/man/kafkaesqued.8.in" "$daemon"
    for command in 'topic create' 'topic list' 'topic describe' 'topic delete' publish consume groups info \
        'cluster status' 'cluster add' 'cluster drain' 'cluster remove' 'cluster move' 'cluster rebalance' \
        'cluster transfer-leader' \
        'log check' 'log dump' 'log repair' bench protocol; do
        # shellcheck disable=SC2086 # two words
        every_option "$srcdir/man/kafkaesque.1.in" "$client" $command
    done
} | sort -u >"$scratch/missing"
cat "$scratch/missing"
[ ! -s "$scratch/missing" ] || failed=1
exit $failed
