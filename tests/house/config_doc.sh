#!/bin/sh
# Fails when etc/kafkaesqued.conf or the list in kafkaesqued.conf(5) says anything
# else than the configuration's table. With --write, makes them agree.
set -u
srcdir=${srcdir:-.}
doc=${CONFIG_DOC:-tests/house/config_doc}
conf=$srcdir/etc/kafkaesqued.conf
man=$srcdir/man/kafkaesqued.conf.5.in
scratch=$(mktemp -d) || exit 99
trap 'rm -rf "$scratch"' EXIT

"$doc" conf >"$scratch/conf" || exit 99
"$doc" man >"$scratch/keys" || exit 99
awk -v keys="$scratch/keys" '
    /^\.\\" keys begin/ { print; while ((getline line < keys) > 0) print line; inside = 1 }
    /^\.\\" keys end/ { inside = 0 }
    !inside { print }' "$man" >"$scratch/man"
if [ "${1:-}" = --write ]; then
    cp "$scratch/conf" "$conf"
    cp "$scratch/man" "$man"
    exit 0
fi
failed=0
diff -u "$conf" "$scratch/conf" || failed=1
diff -u "$man" "$scratch/man" || failed=1
[ $failed = 0 ] || echo 'config_doc.sh: `make documents` mends this'
exit $failed
