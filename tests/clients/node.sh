# For clients from npm: `node_client FOLDER` brings the packages of FOLDER's lock into CLIENT_DIR,
# unless they are there, with FOLDER's programs beside them; ends with 77 where that cannot be.
node_client() {
    command -v node >/dev/null && command -v npm >/dev/null || { echo 'node or npm is not there'; exit 77; }
    cd "$CLIENT_DIR" || exit 1
    cp "$1"/*.mjs "$1"/../cases.mjs . || exit 1
    cmp -s "$1/package-lock.json" installed-lock.json && return
    cp "$1/package.json" "$1/package-lock.json" . || exit 1
    npm ci --no-audit --no-fund --loglevel=error >npm.log 2>&1 || {
        tail -n 20 npm.log
        echo "$(basename "$1"): npm could not bring its packages"
        exit 77
    }
    cp package-lock.json installed-lock.json
}
