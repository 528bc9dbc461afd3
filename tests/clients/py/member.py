"""The members of the cluster besides Roomwire: a stock python-socketio server, and clients."""
import asyncio
import queue
import threading

import socketio
import uvicorn

from ordered import in_order
from programs import HOST, TIMEOUT, free_port, until


class PythonServer:
    """A stock python-socketio server on uvicorn, in a thread with its own event loop.

    Without Redis it is a single server. `prepare` receives it before it starts, to add handlers.
    """

    def __init__(self, redis_url=None, prepare=None, port=None):
        self.port = port or free_port()
        self.url = f"http://{HOST}:{self.port}"
        manager = socketio.AsyncRedisManager(redis_url) if redis_url else None
        self.sio = socketio.AsyncServer(async_mode="asgi", client_manager=manager, namespaces=["/", "/custom"])
        if prepare:
            prepare(self.sio)
        config = uvicorn.Config(socketio.ASGIApp(self.sio), host=HOST, port=self.port, log_level="warning")
        self.server = uvicorn.Server(config)
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()
        until("python-socketio server", lambda: self.server.started)

    def _serve(self):
        asyncio.set_event_loop(self.loop)
        self.loop.run_until_complete(self._until_stopped())

    async def _until_stopped(self):
        await self.server.serve()
        left_over = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left_over:
            task.cancel()
        await asyncio.gather(*left_over, return_exceptions=True)

    def run(self, coroutine):
        """Runs a coroutine of the server in its event loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(TIMEOUT)

    def emit(self, *args, **options):
        self.run(self.sio.emit(*args, **options))

    def stop(self):
        self.server.should_exit = True
        self.server.force_exit = True
        self.thread.join(10)


class Person:
    """A stock synchronous client that records the events it receives."""

    def __init__(self, url, namespace="/", transports=("websocket",), acks=None):
        self.namespace = namespace
        self.received = queue.Queue()
        self.ended = queue.Queue()
        self.acks = acks or {}
        self.client = in_order(socketio.Client(reconnection=False))
        self.client.on("*", self._receive, namespace=namespace)
        self.client.on("disconnect", self.ended.put, namespace=namespace)
        self.client.connect(url, namespaces=[namespace], transports=list(transports), wait_timeout=TIMEOUT)

    @property
    def sid(self):
        return self.client.get_sid(self.namespace)

    def _receive(self, event, *args):
        self.received.put((event, *args))
        return self.acks.get(event)

    def next(self):
        return self.received.get(timeout=TIMEOUT)

    def receives(self, *expected):
        """The next events received are exactly these."""
        assert [self.next() for _ in expected] == list(expected)

    def call(self, event, *args):
        return self.client.call(event, args, namespace=self.namespace, timeout=TIMEOUT)

    def join(self, *rooms):
        for room in rooms:
            assert self.call("roomwire:join", room)["ok"] is True

    def publish(self, room, event, *args):
        assert self.call("roomwire:emit", room, event, *args)["ok"] is True

    def close(self):
        self.client.disconnect()
