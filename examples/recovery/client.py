"""A stock python-socketio client that continues its session: `client.py URL`. Prints what it receives in the room `news`.

`pip install "python-socketio[client]"`. See docs/delivery.md.
"""
import sys

import socketio


class Recovering:
    """The payload of each CONNECT: the session, and the position of the last event that was received."""

    def __init__(self):
        self.auth = {"roomwire": {"recover": True}}

    def __call__(self):
        return self.auth

    def follow(self, client, joined, handlers):
        """Registers handlers of events; `joined` is called when a new session begins."""

        def session(state, offset=None):
            self.auth["pid"] = state["pid"]
            self.auth["offset"] = state["offset"]
            if not state["recovered"]:
                joined(state["gap"])

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


def main(url):
    client = socketio.Client(reconnection_delay=0.2, reconnection_delay_max=1)
    recovering = Recovering()

    def joined(gap):
        print("new session", gap or "", flush=True)
        client.emit("roomwire:join", "news")

    recovering.follow(client, joined, {"message": lambda text: print(text, flush=True)})
    client.connect(url, auth=recovering, transports=["websocket"])
    client.wait()


if __name__ == "__main__":
    main(sys.argv[1])
