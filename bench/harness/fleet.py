"""The clients of bench/reliability: processes of bench/stock-clients, and one report of all of them."""

import contextlib
import json
import subprocess
import threading
import time
from collections import Counter

from .processes import cpu_seconds
from .servers import BENCH, Failed

ROOM = "bench"
CONNECTS_PER_SECOND = 200
# Seconds from one cut of a client to the next, and to the first one.
CUTS = {"first": (5, 20), "every": (15, 20)}
# Each process has addresses of its own: 127.0.<this>.x, 127.0.<this + 1>.x and so on.
FIRST_SOURCE = 50
REPORT_TIMEOUT = 60
POLL = 0.05


class Generator:
    """One process with some of the clients."""

    def __init__(self, options):
        self.status, self.report = {}, None
        self.process = subprocess.Popen(
            ["node", str(BENCH / "stock-clients/fleet.js"), json.dumps(options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in self.process.stdout:
            found = json.loads(line)
            self.report = found.get("report")
            self.status = self.report or found

    def send(self, command):
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(command + "\n")
            self.process.stdin.flush()


class Fleet:
    """All clients of a run."""

    def __init__(self, options, url, auth, reconnection_delay, cuts):
        self.count = options.clients
        shares = [
            options.clients // options.generators + (number < options.clients % options.generators)
            for number in range(options.generators)
        ]
        self.generators = [
            Generator(
                {
                    "url": url,
                    "auth": auth,
                    "count": share,
                    "rate": CONNECTS_PER_SECOND / options.generators,
                    "room": ROOM,
                    "reconnection_delay": reconnection_delay,
                    "source": FIRST_SOURCE + number,
                    "cuts": cuts,
                }
            )
            for number, share in enumerate(shares)
        ]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for generator in self.generators:
            generator.process.kill()
            generator.process.wait()

    def send(self, command):
        for generator in self.generators:
            generator.send(command)

    def total(self, name):
        """Sum of a count over the processes, at most half a second old."""
        return sum(generator.status.get(name, 0) for generator in self.generators)

    def last_ready(self):
        """The time at which the last client became a member of the room, on the clock of `time.monotonic`."""
        return max(generator.status.get("last_ready", 0) for generator in self.generators) / 1e6

    def all_ready(self):
        return self.total("ready") == self.count

    def wait(self, condition, timeout):
        """Returns whether the condition holds within `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while not condition():
            for generator in self.generators:
                if generator.process.poll() is not None:
                    raise Failed(f"a client process exited with {generator.process.returncode}")
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL)
        return True

    def wait_until_quiet(self, seconds, timeout):
        """Waits until every client is ready and none has received anything for some seconds."""
        received, since = -1, time.monotonic()

        def is_quiet():
            nonlocal received, since
            if self.total("received") != received or not self.all_ready():
                received, since = self.total("received"), time.monotonic()
            return time.monotonic() - since > seconds

        return self.wait(is_quiet, timeout)

    def cpu(self):
        """CPU seconds of the processes so far."""
        return sum(cpu_seconds(generator.process.pid) for generator in self.generators)

    def finish(self, published, unconfirmed):
        """Ends the clients; returns the merged report."""
        self.send("finish " + json.dumps({"published": published, "unconfirmed": unconfirmed}))
        for generator in self.generators:
            generator.reader.join(REPORT_TIMEOUT)
            if generator.report is None:
                raise Failed("a client process did not report")
        return merge([generator.report for generator in self.generators])


def merge(reports):
    """Sums of counts and histograms."""
    merged = Counter()
    histograms = {name: Counter() for name in ("delays", "absences", "catch_ups")}
    reasons = {}
    for report in reports:
        for name, histogram in histograms.items():
            histogram.update(dict(report[name]))
        for kind, found in report["reasons"].items():
            reasons.setdefault(kind, Counter()).update(found)
        merged.update({name: value for name, value in report.items() if isinstance(value, int | float)})
    return {**merged, **histograms, "reasons": reasons}


def percentile(histogram, share):
    """The value below which this share of the samples lies, or None without samples."""
    left = share * histogram.total()
    for value in sorted(histogram):
        left -= histogram[value]
        if left <= 0:
            return value
    return max(histogram, default=None)
