"""A Prometheus of the least kind: reads /metrics once a second and notes how long that takes."""

import contextlib
import statistics
import threading
import time
import urllib.request

INTERVAL = 1.0


class Scraper(threading.Thread):
    """Runs until `stop`; `milliseconds` has how long each answer took."""

    def __init__(self, address):
        super().__init__(daemon=True)
        self.url = f"http://{address}/metrics"
        self.milliseconds = []
        self._ended = threading.Event()

    def run(self):
        while not self._ended.wait(INTERVAL):
            began = time.monotonic()
            # A node that starts or stops answers the next time.
            with contextlib.suppress(OSError), urllib.request.urlopen(self.url, timeout=5) as answer:
                answer.read()
                self.milliseconds.append((time.monotonic() - began) * 1000)

    def stop(self):
        self._ended.set()
        self.join()

    def figures(self):
        """What a run's record says of it."""
        if not self.milliseconds:
            return {}
        return {"scrape_ms": statistics.median(self.milliseconds), "scrape_ms_max": max(self.milliseconds)}
