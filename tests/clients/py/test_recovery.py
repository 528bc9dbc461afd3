"""The client of examples/recovery, stock python-socketio, continues its session after its node was killed."""
import contextlib
import sys
import time

import pytest
import socketio

from programs import ROOT, Node, Redis, until

sys.path.insert(0, str(ROOT / "examples/recovery"))
from client import Recovering  # noqa: E402


@pytest.mark.parametrize("transport", ["polling", "websocket"])
def test_everything_is_received_once_and_in_order_over_kills_of_the_node(transport):
    with contextlib.ExitStack() as stack:
        redis = Redis()
        stack.callback(redis.stop)
        settings = dict(APP__KIND="relay", BUS__REDIS_URL=redis.url, RECOVERY__NAMESPACES="/")
        one, two = (Node(**settings) for _ in range(2))
        stack.callback(one.stop)
        stack.callback(two.stop)
        recovering, numbers, sessions = Recovering(), [], []
        client = socketio.Client(reconnection_delay=0.1, reconnection_delay_max=0.3)
        stack.callback(client.shutdown)

        def joined(gap):
            sessions.append(gap)
            client.emit("roomwire:join", "news", callback=sessions.append)

        recovering.follow(client, joined, {"n": numbers.append})
        client.connect(one.url, auth=recovering, transports=[transport])
        until("a join", lambda: len(sessions) == 2)
        publisher = socketio.Client()
        publisher.connect(two.url, transports=["websocket"])
        stack.callback(publisher.disconnect)
        sent = 0

        def emit(count):
            nonlocal sent
            for _ in range(count):
                sent += 1
                assert publisher.call("roomwire:emit", ("news", "n", sent))["ok"]

        for _ in range(3):
            emit(5)
            one.kill()
            emit(20)
            one.start()
            until("a session", lambda: client.connected)
            emit(5)
            until("all events", lambda: len(numbers) >= sent)
            time.sleep(0.1)
            assert numbers == list(range(1, sent + 1))
        assert len(sessions) == 2, "no new session"
