"""A minimal stand-in for Prometheus: requests /metrics once a second and records the duration."""

import contextlib
import statistics
import threading
import time
import urllib.request

INTERVAL = 1.0


class Scraper(threading.Thread):
    """Runs until `stop`; `milliseconds` has the duration of each request."""

    def __init__(self, address):
        super().__init__(daemon=True)
        self.url = f"http://{address}/metrics"
        self.milliseconds = []
        self._ended = threading.Event()

    def run(self):
        while not self._ended.wait(INTERVAL):
            began = time.monotonic()
            # A node that is starting or stopping may not respond; the next request will succeed.
            with contextlib.suppress(OSError), urllib.request.urlopen(self.url, timeout=5) as response:
                response.read()
                self.milliseconds.append((time.monotonic() - began) * 1000)

    def stop(self):
        self._ended.set()
        self.join()

    def figures(self):
        """The fields for the record of a run."""
        if not self.milliseconds:
            return {}
        return {"scrape_ms": statistics.median(self.milliseconds), "scrape_ms_max": max(self.milliseconds)}
