# For clients in Go: `go_client NAME` builds the program NAME of the modules that go.sum names, goes
# into CLIENT_DIR where it lies, and becomes it; ends with 77 where go or a module is not there.
go_client() {
    command -v go >/dev/null || { echo 'go is not there'; exit 77; }
    cd "$(dirname "${BASH_SOURCE[0]}")" || exit 1
    export GOTOOLCHAIN=local GOFLAGS=-mod=readonly
    go mod download >"$CLIENT_DIR/go.log" 2>&1 || {
        tail -n 5 "$CLIENT_DIR/go.log"
        echo "$1: go could not bring its modules"
        exit 77
    }
    go build -buildvcs=false -o "$CLIENT_DIR/$1" "./$1" || exit 1
    cd "$CLIENT_DIR" && exec "./$1"
}
