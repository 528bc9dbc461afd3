"""One release of python-socketio, whichever is installed: what it can do with Roomwire, task by task.

Run by test_releases.py in the environment of that release: `release.py URL`. It prints a JSON object with the outcome of
each task. Between the line "restart" and a line of its input, the node is started again.
"""
import asyncio
import json
import queue
import sys
import threading
import time

import socketio

from ordered import in_order

TIMEOUT = 30
URL = sys.argv[1]
VALUES = (1, {"deep": [b"\x00\xff"]}, b"\x07", "é", None)


class Rejected(Exception):
    """The server has closed the session."""


def connected(connections, client):
    """Waits for the CONNECT response."""
    deadline = time.monotonic() + TIMEOUT
    while True:
        try:
            return connections.get(timeout=0.05)
        except queue.Empty:
            reconnects = getattr(client, "_reconnect_task", None)
            if client.eio.state == "disconnected" and not reconnects:
                raise Rejected() from None
            assert time.monotonic() < deadline, "no CONNECT response"


class Synchronous:
    """A connected synchronous client. Old releases know neither `wait_timeout` nor handlers of all events."""

    def __init__(self, transports, **options):
        self.events = queue.Queue()
        self.client = in_order(socketio.Client(reconnection_delay=0.05, reconnection_delay_max=0.25, **options))
        self.connections = queue.Queue()
        self.client.on("connect", lambda: self.connections.put(True))
        self.client.on("news", lambda *args: self.events.put(args))
        self.client.on("question", lambda number: number + 1)
        self.client.connect(URL, transports=transports)
        self.wait_connected()
        assert self.client.transport() == transports[-1], self.client.transport()

    def wait_connected(self):
        connected(self.connections, self.client)

    def call(self, event, *args):
        return self.client.call(event, args, timeout=TIMEOUT)

    def next(self):
        return self.events.get(timeout=TIMEOUT)

    def close(self):
        self.client.disconnect()


class Asynchronous:
    """The same with the asyncio client, in an event loop of its own."""

    def __init__(self, transports, **options):
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()
        self.events = queue.Queue()
        self.connections = queue.Queue()
        self.run(self.open(transports, options))
        connected(self.connections, self.client)
        assert self.client.transport() == transports[-1], self.client.transport()

    def run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(TIMEOUT)

    async def open(self, transports, options):
        self.client = socketio.AsyncClient(**options)
        self.client.on("connect", lambda: self.connections.put(True))
        self.client.on("news", lambda *args: self.events.put(args))
        self.client.on("question", lambda number: number + 1)
        await self.client.connect(URL, transports=transports)

    def call(self, event, *args):
        return self.run(self.client.call(event, args, timeout=TIMEOUT))

    def next(self):
        return self.events.get(timeout=TIMEOUT)

    def close(self):
        self.run(self.client.disconnect())


def exchange(kind, transports, **options):
    """Rooms, binary, and acks in both directions."""
    sender, member = kind(transports, **options), kind(transports, **options)
    assert member.call("roomwire:join", "r")["ok"] is True
    assert sender.call("roomwire:emit", "r", "news", *VALUES)["ok"] is True
    received = member.next()
    assert received == VALUES, received
    answer = sender.call("roomwire:ask", "r", "question", 41)
    assert answer == {"ok": True, "answer": [42]}, answer
    member.close()
    sender.close()


def both(transports, **options):
    try:
        exchange(Synchronous, transports, **options)
    except Rejected:
        return "no"
    exchange(Asynchronous, transports, **options)
    return "yes"


def msgpack():
    try:
        socketio.Client(serializer="msgpack")
    except TypeError:
        return "not in this release"
    return both(["websocket"], serializer="msgpack")


def reconnect():
    """By itself, after the node was killed."""
    client = Synchronous(["websocket"])
    print("restart", flush=True)
    sys.stdin.readline()
    client.wait_connected()
    assert client.call("roomwire:join", "r")["ok"] is True
    client.close()
    return "yes"


TASKS = {
    "polling only": lambda: both(["polling"]),
    "websocket only": lambda: both(["websocket"]),
    "polling, then upgrade": lambda: both(["polling", "websocket"]),
    "msgpack serializer": msgpack,
    "reconnect": reconnect,
}
print(json.dumps({name: task() for name, task in TASKS.items()}), flush=True)
