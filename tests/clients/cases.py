"""For clients in Python: cases, what tests/clients/run.sh gives them, and group members that
are processes of their own, so that they can die.

    @case("what it shows")
    def name(): ...                 an exception, AssertionError first of all, is a failure
    main(member)                    runs all cases, in order; or is a member, see Member
"""
import json
import os
import subprocess
import sys
import threading
import time
import traceback

BOOTSTRAP = os.environ["BOOTSTRAP"]
BROKERS = int(os.environ["BROKERS"])
PATIENCE = 40  # seconds until something is a failure, on a busy machine
HOUR_AGO = int(time.time() * 1000) - 3600000  # ms; much older records may be deleted at once
_cases = []


def case(name, brokers=None):
    """With `brokers`, it is one for so many only."""
    def keep(function):
        if brokers in (None, BROKERS):
            _cases.append((name, function))
        return function
    return keep


def command(variable, *args):
    return subprocess.run([os.environ[variable], *map(str, args)], check=True, timeout=60,
                          stdout=subprocess.PIPE, universal_newlines=True).stdout.strip()


def fault(*args):
    return command("KQ_FAULT", *args)


def codecs(topic, partition=0):
    return command("KQ_CODECS", topic, partition)


def text(*lines):
    return command("KQ_TEXT", *lines).split("\n")


def equal(wanted, got, what=""):
    if wanted != got:
        raise AssertionError("%swanted %.300r, got %.300r" % (what and what + ": ", wanted, got))


def wait_until(condition, what, seconds=PATIENCE):
    """The first true value of condition()."""
    until = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > until:
            raise AssertionError("not within %d s: %s" % (seconds, what() if callable(what) else what))
        time.sleep(0.05)


def raises(kind, function, *args, **kwargs):
    """It must; what it raised."""
    try:
        function(*args, **kwargs)
    except kind as e:
        return e
    raise AssertionError("no %s" % getattr(kind, "__name__", kind))


class Member:
    """A consumer in a process of its own: `python3 CASES member ARGS...`, which calls the
    `member` given to main(). That one tells what it has with tell(), and ends when stdin does.

    has: its partitions now; read: [(partition, offset, value)] of all that it read."""

    def __init__(self, *args):
        self.has, self.read, self.seen = set(), [], []
        self.process = subprocess.Popen([sys.executable, "-B", sys.argv[0], "member", *map(str, args)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, universal_newlines=True)
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self):
        for line in self.process.stdout:
            word, what = json.loads(line)
            if word == "has":
                self.has = set(what)
                self.seen.append(sorted(what))
            else:
                self.read.append(tuple(what))

    def kill(self):
        """Without a farewell to the group."""
        self.process.kill()
        self.process.wait()
        self.has = set()

    def leave(self):
        self.process.stdin.close()
        equal(0, self.process.wait(PATIENCE), "a member's exit code")
        self.has = set()


def tell(word, what):
    print(json.dumps([word, what]), flush=True)


def told_to_end():
    """An event that is set when stdin ends."""
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    return ended


def share(members, partitions):
    """Waits until each partition is with exactly one of them, and none goes without."""
    def settled():
        had = [p for m in members for p in m.has]
        return sorted(had) == list(range(partitions)) and all(m.has for m in members)
    wait_until(settled, lambda: "shared: %s" % [sorted(m.has) for m in members])


def read_by_one(members, values):
    """Waits until every value was read, then says whether each was just once."""
    def all_read():
        return set(values) <= {r[2] for m in members for r in m.read}
    wait_until(all_read, lambda: "read: %d of %d" % (len({r[2] for m in members for r in m.read}), len(values)))
    read = [r[2] for m in members for r in m.read]
    equal(sorted(values), sorted(v for v in read if v in set(values)), "what members read")


def main(member=None):
    if sys.argv[1:2] == ["member"]:
        member(*sys.argv[2:])
        sys.exit(0)
    failed = 0
    for name, function in _cases:
        if sys.argv[1:] and function.__name__ not in sys.argv[1:]:
            continue
        begun = time.monotonic()
        try:
            function()
            print("ok      %s (%.1f s)" % (name, time.monotonic() - begun), flush=True)
        except Exception as e:
            failed = 1
            where = traceback.extract_tb(e.__traceback__)
            lines = ", ".join(str(f.lineno) for f in where if f.filename == sys.argv[0])
            print("FAILED  %s: %s: %s (lines %s)" % (name, type(e).__name__, e, lines), flush=True)
    sys.exit(failed)
