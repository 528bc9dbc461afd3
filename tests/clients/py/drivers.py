"""One interface for the two stock python-socketio clients, so that each test runs with both."""
import asyncio

import socketio

from ordered import in_order
from programs import TIMEOUT


class Driver:
    """The common part: received events by namespace. Created inside a running event loop."""

    serializer = "default"

    def __init__(self, namespaces=("/",)):
        self.loop = asyncio.get_running_loop()
        self.namespaces = list(namespaces)
        self.received = {namespace: asyncio.Queue() for namespace in namespaces}
        self.ended = asyncio.Queue()
        self.rejected = asyncio.Queue()
        self.client = self.make()
        for namespace in namespaces:
            self.client.on("*", self.listener(self.received[namespace]), namespace=namespace)
            self.client.on("disconnect", self.listener(self.ended), namespace=namespace)
            self.client.on("connect_error", self.listener(self.rejected), namespace=namespace)

    async def next(self, namespace="/"):
        return await asyncio.wait_for(self.received[namespace].get(), TIMEOUT)

    async def end(self):
        return await asyncio.wait_for(self.ended.get(), TIMEOUT)

    async def opened(self, url, transports, auth=None):
        options = dict(namespaces=self.namespaces, transports=transports, auth=auth, wait_timeout=TIMEOUT)
        await self.does(self.client.connect, url, **options)
        return self

    async def emit(self, event, *args, namespace="/"):
        await self.does(self.client.emit, event, args, namespace=namespace)

    async def call(self, event, *args, namespace="/"):
        return await self.does(self.client.call, event, args, namespace=namespace, timeout=TIMEOUT)

    async def close(self):
        await self.does(self.client.disconnect)


class Asynchronous(Driver):
    def make(self):
        return socketio.AsyncClient(reconnection=False, serializer=self.serializer)

    def listener(self, inbox):
        async def listen(*args):
            inbox.put_nowait(args)

        return listen

    async def does(self, call, *args, **options):
        return await call(*args, **options)


class Synchronous(Driver):
    def make(self):
        return in_order(socketio.Client(reconnection=False, serializer=self.serializer))

    def listener(self, inbox):
        def listen(*args):
            self.loop.call_soon_threadsafe(inbox.put_nowait, args)

        return listen

    async def does(self, call, *args, **options):
        return await asyncio.to_thread(call, *args, **options)


class AsynchronousMsgpack(Asynchronous):
    serializer = "msgpack"


class SynchronousMsgpack(Synchronous):
    serializer = "msgpack"
