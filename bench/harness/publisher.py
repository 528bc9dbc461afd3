"""A backend that publishes numbered messages at a fixed rate, each by one HTTP request."""

import http.client
import json
import threading
import time

from . import servers, tier
from .fleet import ROOM

INTERVAL = 0.5
RETRY = 0.05
REQUEST_TIMEOUT = 5
# Beyond twice the time that the messages take.
FINISH_TIMEOUT = 60
TEXT = "x" * 60


class Publisher(threading.Thread):
    """Publishes until `finish`, but at least `minimum` messages.

    A message that no node accepts is sent again, with the time of that attempt. If the connection breaks after a request
    was sent, nobody knows whether the message is published: it is `unconfirmed`, and neither expected nor a duplicate.
    """

    def __init__(self, apis, minimum):
        super().__init__(daemon=True)
        self.apis, self.minimum = apis, minimum
        self.published, self.unconfirmed = [], []
        # Why nodes did not accept a message -> how often.
        self.refusals = {}
        # The longest time in seconds until a node accepted a message.
        self.longest_pause = 0.0
        self._finish = threading.Event()
        self._abort = threading.Event()

    def run(self):
        number = 0
        while not self._abort.is_set() and not (self._finish.is_set() and number >= self.minimum):
            began = time.monotonic()
            self.publish(number)
            number += 1
            time.sleep(max(0, began + INTERVAL - time.monotonic()))

    def finish(self):
        """Waits until the last message is published."""
        self._finish.set()
        self.join(2 * self.minimum * INTERVAL + FINISH_TIMEOUT)
        if self.is_alive():
            counts = f"{len(self.published)} accepted, {len(self.unconfirmed)} without a response"
            raise servers.Failed(f"a backend could not publish {self.minimum} messages: {counts}, {self.refusals}")

    def abort(self):
        self._abort.set()
        self.join()

    def publish(self, number):
        began = time.monotonic()
        self.publish_at_some_node(number)
        self.longest_pause = max(self.longest_pause, time.monotonic() - began)

    def publish_at_some_node(self, number):
        while not self._abort.is_set():
            for api in list(self.apis):
                if self.request(api, number):
                    return
                # The next request begins with another node.
                self.apis.remove(api)
                self.apis.append(api)
            time.sleep(RETRY)

    def request(self, api, number):
        """Sends a message to one node; returns whether the matter is settled."""
        connection = http.client.HTTPConnection(api, timeout=REQUEST_TIMEOUT)
        try:
            connection.connect()
        except OSError as error:
            return self.refused(type(error).__name__)
        try:
            message = {"number": number, "sent": time.monotonic_ns() // 1000, "text": TEXT}
            body = json.dumps({"rooms": [ROOM], "event": "message", "args": [message]})
            headers = {"Authorization": f"Bearer {tier.KEY}", "Content-Type": "application/json"}
            connection.request("POST", "/api/v1/emit", body, headers)
            status = connection.getresponse().status
        except (OSError, http.client.HTTPException):
            self.unconfirmed.append(number)
            return True
        finally:
            connection.close()
        if status != 200:
            return self.refused(f"status {status}")
        self.published.append(number)
        return True

    def refused(self, reason):
        self.refusals[reason] = self.refusals.get(reason, 0) + 1
        return False
