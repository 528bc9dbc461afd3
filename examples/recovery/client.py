"""A stock python-socketio client that continues its session: `client.py URL`. Prints what it receives in the room `news`.

`pip install "python-socketio[asyncio_client]"`. See docs/delivery.md. The synchronous client is unsuitable: it calls its
handlers in a thread for each event, so that on a busy machine a later event can be handled, and counted as received, first.
"""
import asyncio
import sys

import socketio


class Recovering:
    """The payload of each CONNECT: the session, and the position of the last event that was received."""

    def __init__(self):
        self.auth = {"roomwire": {"recover": True}}

    def __call__(self):
        return self.auth

    def follow(self, client, joined, handlers):
        """Registers handlers of events; the coroutine `joined` is called when a new session begins.

        Handlers are plain functions: during the `await` of a coroutine the next event would be handled.
        """

        async def session(state, offset=None):
            self.auth["pid"] = state["pid"]
            self.auth["offset"] = state["offset"]
            if not state["recovered"]:
                await joined(state["gap"])

        client.on("roomwire:session", session)
        for event, handler in handlers.items():
            client.on(event, self.handler(handler))

    def handler(self, handler):
        def handle(*args):
            *args, offset = args
            handler(*args)
            # Only now: an event whose handler failed is received again.
            if offset is not None:
                self.auth["offset"] = offset

        return handle


async def main(url):
    client = socketio.AsyncClient(reconnection_delay=0.2, reconnection_delay_max=1)
    recovering = Recovering()

    async def joined(gap):
        print("new session", gap or "", flush=True)
        await client.emit("roomwire:join", "news")

    recovering.follow(client, joined, {"message": lambda text: print(text, flush=True)})
    await client.connect(url, auth=recovering, transports=["websocket"])
    await client.wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
