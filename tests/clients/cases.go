// Package cases is for clients in Go: cases, waits, and what tests/clients/run.sh gives, as functions.
// A case ends at the first thing in it that is not as it is to be, which must be on its own goroutine.
package cases

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// What run.sh started.
var (
	Brokers, _ = strconv.Atoi(os.Getenv("BROKERS"))
	Bootstrap  = strings.Split(os.Getenv("BOOTSTRAP"), ",")
	failed     atomic.Bool
)

// What a case that failed panics with.
type failure string

// Fail ends the case, and names the line that called what is in here.
func Fail(format string, args ...any) {
	where := ""
	for depth := 1; where == "" || strings.HasPrefix(where, "cases.go"); depth++ {
		_, file, line, known := runtime.Caller(depth)
		if !known {
			break
		}
		where = fmt.Sprint(filepath.Base(file), " line ", line)
	}
	panic(failure(where + ": " + fmt.Sprintf(format, args...)))
}

// Is ends the case unless both are deeply equal.
func Is(wanted, got any) {
	if !reflect.DeepEqual(wanted, got) {
		Fail("wanted %.300s, got %.300s", fmt.Sprint(wanted), fmt.Sprint(got))
	}
}

// Well ends the case if there is an error.
func Well(err error) {
	if err != nil {
		Fail("%v", err)
	}
}

// Must ends the case if there is an error, and gives back the value otherwise.
func Must[T any](value T, err error) T {
	if err != nil {
		Fail("%v", err)
	}
	return value
}

// Until asks again until it is so.
func Until(what string, check func() bool) {
	for end := time.Now().Add(40 * time.Second); !check(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			Fail("%s: not within 40 s", what)
		}
	}
}

// Of runs a case and prints its line.
func Of(name string, body func()) {
	from := time.Now()
	defer func() {
		if f := recover(); f != nil {
			failed.Store(true)
			fmt.Printf("FAILED  %s: %v\n", name, f)
		} else {
			fmt.Printf("ok      %s (%.1f s)\n", name, time.Since(from).Seconds())
		}
	}()
	body()
}

// End ends the program with the exit code of all cases.
func End() {
	if failed.Load() {
		os.Exit(1)
	}
	os.Exit(0)
}

// Run runs one of run.sh's commands, KQ_FAULT, KQ_CODECS or KQ_TEXT, and gives back what it printed.
func Run(command string, args ...string) string {
	said, err := exec.Command(os.Getenv(command), args...).CombinedOutput()
	if err != nil {
		Fail("%s %v: %v: %s", command, args, err, said)
	}
	return strings.TrimSpace(string(said))
}

// Telnet is what telnet is given of a topic's first partition.
func Telnet(topic string) string {
	said := Run("KQ_TEXT", "SUBS "+topic+" telnet")
	id := said[strings.Index(said, `["`)+2 : strings.Index(said, `"]`)]
	return Run("KQ_TEXT", "CONS "+topic+" "+id+" 0")
}
